using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The events that may expire together, as they are now.</summary>
/// <param name="Through">Id in the session's feed, or version in the stream, of the last of them.</param>
/// <param name="Digest">See <see cref="ExpiredDigest"/>.</param>
/// <param name="LastAt">Time of the last event of the feed, or of the stream.</param>
public sealed record NamedEvents(long Through, long Events, string Digest, DateTimeOffset LastAt)
{
    public ExpiredEvents After(int days) => new(Through, Events, Digest, days);
}

/// <summary>What became of one bounded step.</summary>
public enum RemovalStep
{
    /// <summary>There may be more.</summary>
    Further,

    /// <summary>All data is gone.</summary>
    Done,

    /// <summary>Read models have not folded what is to go, or are being rebuilt: later.</summary>
    Later,

    /// <summary>The database keeps it for now: the expiry has not been in the log for long enough, or no head that it takes for one has it.</summary>
    Kept,
}

/// <param name="Events">Events that were removed with this step.</param>
/// <param name="Through">Where the next step goes on: an id in the feed, or a version.</param>
public sealed record Removal(RemovalStep Step, int Events, long Through);

/// <summary>What tombstones of a session or day have kept.</summary>
/// <param name="TombstonesSha256">See <see cref="TombstoneDigest"/>.</param>
public sealed record RemovedFigures(long Events, long Bytes, long Blobs, string TombstonesSha256);

/// <summary>
/// The engine's part of retention. Streams are those of a session (<c>session-…</c>, which stands for all that is in its feed and its own: <see cref="ExpiredEvents.Aggregates"/>)
/// and of days.
/// </summary>
public interface IExpiryStore
{
    /// <summary>The time by the database's clock.</summary>
    ValueTask<DateTimeOffset> Now(CancellationToken ct);

    /// <summary>Every tenant that has a stream.</summary>
    ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct);

    /// <summary>A tenant's streams of an aggregate whose last event is before a time, by name; without those whose data was removed.</summary>
    /// <param name="after">A stream's name; empty: from the first one on.</param>
    ValueTask<IReadOnlyList<string>> Quiet(string org, string aggregate, string after, DateTimeOffset before, int max, CancellationToken ct);

    /// <summary>Time of the last event of a session's feed, or of a day's stream; null: there is none.</summary>
    ValueTask<DateTimeOffset?> LastAt(string org, string stream, CancellationToken ct);

    /// <summary>The events that may expire together; null: there are none.</summary>
    ValueTask<NamedEvents?> Named(string org, string stream, CancellationToken ct);

    /// <summary>Position of the event by which the data of a stream expired; null: it did not.</summary>
    ValueTask<long?> ExpiredAt(string org, string stream, CancellationToken ct);

    /// <summary>
    /// Puts tombstones in place of the data of the next events that the stream's expiry names, and deletes rows, snapshots and what else was folded from these events, with one
    /// transaction. What it did before is passed over.
    /// </summary>
    /// <param name="after">What an earlier step answered; 0: from the beginning.</param>
    ValueTask<Removal> Remove(string org, string stream, long after, int max, CancellationToken ct);

    /// <summary>What the tombstones of a stream's expiry have kept.</summary>
    ValueTask<RemovedFigures> Figures(string org, string stream, CancellationToken ct);

    /// <summary>Blobs that removed events named: those that were not made pending yet, and those that were before a time.</summary>
    ValueTask<IReadOnlyList<ExpiredBlob>> Blobs(DateTimeOffset before, int max, CancellationToken ct);

    /// <summary>Those of the digests that an event of any tenant names. It reads the whole log.</summary>
    ValueTask<IReadOnlySet<string>> StillNamed(IReadOnlyCollection<string> digests, CancellationToken ct);

    /// <summary>Notes when blobs were taken back.</summary>
    ValueTask Note(IReadOnlyCollection<string> digests, DateTimeOffset at, CancellationToken ct);

    /// <summary>
    /// Forgets blobs because they are named, all but those that more removed events named since they were found: what named them then may be what is gone now.
    /// </summary>
    ValueTask Forget(IReadOnlyCollection<ExpiredBlob> blobs, CancellationToken ct);

    /// <summary>Forgets blobs that nothing names and that the store is about to lose: whoever looks for what they were finds another one that is the same.</summary>
    ValueTask Drop(IReadOnlyCollection<string> digests, CancellationToken ct);
}

/// <param name="WithdrawnAt">When it was made pending again; null: it was not yet.</param>
/// <param name="Revision">Another one after each removal of events that named it.</param>
public sealed record ExpiredBlob(string Sha256, DateTimeOffset? WithdrawnAt, string Revision);

/// <summary>What read models know of sessions that others rest on.</summary>
public interface IRetentionQueries
{
    /// <summary>Sessions that a schedule runs in, and those that a session which was not deleted forked from, or has runs of for its past.</summary>
    ValueTask<IReadOnlySet<string>> InUse(string org, CancellationToken ct);
}
