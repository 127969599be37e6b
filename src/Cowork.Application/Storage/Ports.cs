using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application.Storage;

/// <summary>An event as it lies in the log.</summary>
/// <param name="Org">The tenant.</param>
/// <param name="Stream">For example <c>run-01h…</c>.</param>
/// <param name="Version">From 1, dense within the stream.</param>
/// <param name="Type">The stored name, <see cref="EventTypes"/>.</param>
/// <param name="Data">The event as JSON; its RFC 8785 form is what the hash covers.</param>
/// <param name="At">Whole milliseconds, UTC.</param>
/// <param name="Hash">Hex SHA-256, chained to the stream's previous event (<see cref="HashChain"/>).</param>
/// <param name="Position">Global, dense from 1 in commit order; 0 until it is committed.</param>
/// <param name="Correlation">See <see cref="Origin"/>. The hash does not cover it.</param>
/// <param name="Causation">See <see cref="Origin"/>. The hash does not cover it.</param>
public sealed record RecordedEvent(
    string Org, string Stream, long Version, Guid Id, string Type, Event Event, ReadOnlyMemory<byte> Data, DateTimeOffset At, string Actor, string Hash,
    long Position = 0, string? Correlation = null, string? Causation = null);

/// <summary>A stream from some version on.</summary>
/// <param name="Version">Of the last event, 0: the stream does not exist.</param>
/// <param name="Hash">Of the last event; <see cref="HashChain.Root"/> before the first.</param>
public sealed record StreamSlice(long Version, string Hash, IReadOnlyList<RecordedEvent> Events);

/// <summary>Events for one stream, already named, numbered and hashed. <paramref name="Expected"/> pins the version before them, and so the hash.</summary>
/// <param name="Events">Not empty.</param>
/// <param name="Session">The session in whose feed they appear; null: only the tenant's has them.</param>
/// <param name="Run">The run that they concern.</param>
/// <param name="Rows">The read models' rows as these events leave them.</param>
public sealed record Write(string Stream, long Expected, IReadOnlyList<RecordedEvent> Events, SessionKey? Session, RunKey? Run, IReadOnlyList<RowChange> Rows);

/// <summary>A read model's row as it is after a write; <paramref name="Row"/> null: gone.</summary>
/// <param name="Version">The stream's version that the row shows: of the last event that went into it.</param>
/// <param name="Made">Version of the event of this write that made the row; 0: it was there before.</param>
/// <param name="Ended">Version of the event of this write that took the row away; 0: none did. What one write makes and takes away leaves nothing; no command does that.</param>
public sealed record RowChange(string Table, string Key, long Version, RowValue? Row, long Made = 0, long Ended = 0);

/// <param name="Scope">What the row is listed under, for example a session's key.</param>
/// <param name="Search">Text by which it is found, when its table is searched.</param>
public sealed record RowValue(string? Scope, string? Status, string? Search, ReadOnlyMemory<byte> Json)
{
    /// <summary>Of a row that is read in pages of one moment; null: it is not.</summary>
    public RowPlace? Place { get; init; }

    /// <summary>The text of a member of the JSON; null: it has none.</summary>
    public string? Member(string name)
    {
        using var json = JsonDocument.Parse(Json);
        return json.RootElement.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.String ? member.GetString() : null;
    }
}

/// <summary>Where a row stands in the pages of one moment, and by what it is found there.</summary>
/// <param name="At">Time of its last change, in milliseconds since 1970 (UTC).</param>
/// <param name="Text">Folded by <see cref="PartsOfWords.Fold"/>.</param>
public sealed record RowPlace(long At, string Text);

/// <summary>Who and what caused a commit.</summary>
/// <param name="Actor">The principal: <c>user:ann</c>, <c>system</c>.</param>
/// <param name="Correlation">W3C trace id, when there is one: of the request, and for a run's driver of the request that asked for the run.</param>
/// <param name="Causation">Id of the command; when it is traced, that of its span.</param>
/// <param name="Issuers">The persons behind the principal's token; null: nobody else.</param>
public sealed record Origin(string Actor, string? Correlation = null, string? Causation = null, ImmutableList<Issuer>? Issuers = null)
{
    /// <summary>The user of a principal: <c>ann</c> of <c>user:ann</c>.</summary>
    public static string UserOf(string actor) => actor[(actor.IndexOf(':', StringComparison.Ordinal) + 1)..];
}

/// <summary>Several streams, rows and jobs, one transaction.</summary>
/// <param name="Done">A job that this commit finishes. A claim that was taken over refuses the whole commit.</param>
public sealed record Commit(string Org, IReadOnlyList<Write> Writes, IReadOnlyList<Job> Jobs, Claim? Done, Origin By)
{
    /// <summary>Jobs to cancel. A job that waits is deleted with the commit; a job that a node does is left to that node. None of <see cref="Jobs"/>.</summary>
    public IReadOnlyList<(string Kind, string Key)> Cancelled { get; init; } = [];

    /// <summary>Position up to which the decision knew the log. The commit is refused as moved when another node wrote after it. Null: it does not matter.</summary>
    public long? Knows { get; init; }

    /// <summary>Streams that the decision rests on and writes nothing to. When one is at another version, the commit is refused as moved. None of <see cref="Writes"/>.</summary>
    public IReadOnlyList<StreamPin> Pins { get; init; } = [];

    /// <summary>Keys of data subjects that it makes or destroys.</summary>
    public IReadOnlyList<SubjectKeyChange> SubjectKeys { get; init; } = [];

    /// <summary>Streams in which it seals texts of a data subject.</summary>
    public IReadOnlyList<SubjectStream> SubjectStreams { get; init; } = [];

    /// <summary>Blobs of data subjects that its events name.</summary>
    public IReadOnlyList<SealedBlob> SealedBlobs { get; init; } = [];
}

/// <summary>A stream with texts of a data subject.</summary>
public sealed record SubjectStream(string Subject, string Stream);

/// <summary>A stream at a version.</summary>
/// <param name="Version">From 1: the stream exists.</param>
public sealed record StreamPin(string Stream, long Version);

/// <summary>What became of a commit. A lost race is a value, never an exception.</summary>
public abstract record AppendResult
{
    /// <param name="First">Position of the first event; 0 when there is none.</param>
    public sealed record Ok(long First) : AppendResult;

    /// <summary>Another commit wrote to the stream first: load, decide and append again.</summary>
    public sealed record Moved(string Stream) : AppendResult;

    /// <summary>The claim in <see cref="Commit.Done"/> is another node's now.</summary>
    public sealed record Fenced : AppendResult;
}

/// <summary>An event as a feed shows it.</summary>
/// <param name="FeedId">Dense from 1 within the session; 0 when it is in no session's feed, or was read from the tenant's.</param>
/// <param name="Position">Global, dense from 1.</param>
/// <param name="Type">The stored name, <see cref="EventTypes"/>.</param>
public sealed record FeedEntry(
    long FeedId, long Position, string Org, SessionKey? Session, RunKey? Run, Guid Id, string Type, DateTimeOffset At, string Stream, long Version, string Hash,
    string Actor, ReadOnlyMemory<byte> Data, string? Correlation = null, string? Causation = null)
{
    /// <summary>What opens the texts of data subjects in <see cref="Data"/>; null: nothing does.</summary>
    public IContentKeys? Keys { get; init; }

    /// <summary>True: <see cref="Data"/> has texts of a data subject, which are opened anew each time, because they may be erased meanwhile.</summary>
    public bool IsSealed => EventSeal.MayBeSealed(Data.Span);

    /// <summary>It is read as this type, whatever version it was stored in.</summary>
    public bool Is<TEvent>()
        where TEvent : Event => EventTypes.Is<TEvent>(Type);

    /// <summary>The event, with the texts of data subjects opened, or what stands for erased ones.</summary>
    public Event Read() => EventJson.ReadStored(Type, Open().Span, At);

    /// <summary>The data with the texts of data subjects opened. What a hash covers is <see cref="Data"/>.</summary>
    public ReadOnlyMemory<byte> Open() => IsSealed ? EventSeal.Open(Data.Span, Type, new(Org, Stream, Version), Keys ?? NoContentKeys.Instance).Data : Data;
}

/// <param name="Head">The feed's last id at the time of reading (of the tenant's feed: the log's last position): a cursor beyond it is none of ours.</param>
/// <param name="IsCut">The page ends before the number of entries that was asked for, because of their size: there are more.</param>
public sealed record FeedPage(IReadOnlyList<FeedEntry> Entries, long Head, bool IsCut = false);

/// <summary>The log. Implementations throw <see cref="StorageUnavailableException"/> when the database is away, and nothing else that a caller could expect.</summary>
public interface IEventLog
{
    /// <summary>Ids of a session's feed that are looked through for a run's.</summary>
    const int FeedWindow = 10_000;

    /// <summary>What opens the texts of data subjects in what it reads; null: nothing does.</summary>
    IContentKeys? Keys => null;

    /// <summary>The stream's events after a version, oldest first, no more than <paramref name="max"/>. Version and hash are those of the last one answered.</summary>
    ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct);

    /// <summary>
    /// All of the commit or nothing. A failure of one commit never fails another. When the call ends with
    /// <see cref="StorageUnavailableException"/> the commit may or may not have happened: a caller that needs to know loads the stream and looks for the event's id.
    /// </summary>
    ValueTask<AppendResult> Append(Commit commit, CancellationToken ct);

    /// <summary>The feed of a session, or with <paramref name="session"/> null the tenant's by global position, after an id, oldest first.</summary>
    ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct);

    /// <summary>
    /// What concerns a run in the next <see cref="FeedWindow"/> ids of its session's feed, oldest first: so a page costs the same in a feed of any length. It goes up to the
    /// last entry when it has as many as were asked for or is cut, else up to the window's end.
    /// </summary>
    ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct);

    /// <summary>What concerns a run, whatever stream it lies in, in the order of the log.</summary>
    /// <param name="after">Only what comes after this id of the session's feed.</param>
    /// <param name="max">Not more than so many; and of several, only so many as fit into a page. <see cref="int.MaxValue"/>: all, however much it is.</param>
    ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue);

    /// <summary>Every event of every tenant after a position, in order, in pages: for rebuilding.</summary>
    IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct);
}

/// <summary>A read model's row as it is stored.</summary>
/// <param name="Created">Position of the event that made it; lists are newest first by it.</param>
public sealed record Row(string Key, long Created, long Version, ReadOnlyMemory<byte> Json);

/// <param name="Before">Only rows made before this position.</param>
/// <param name="Bytes">The list ends after the row with which it has more bytes.</param>
/// <param name="Owner">Only rows whose owner is there.</param>
public sealed record RowQuery(
    string? Scope = null, string? Status = null, int Limit = 100, long? Before = null, long Bytes = long.MaxValue, RowOwner? Owner = null)
{
    /// <summary>Only rows with this text as a member of their JSON. No index helps: the rows of the list are read. Null: all.</summary>
    public (string Member, string Text)? Having { get; init; }

    /// <summary>Only rows whose thing has a name like that. Null: all.</summary>
    public NamedLike? Named { get; init; }
}

/// <summary>Things of one kind by parts of the words of their names.</summary>
/// <param name="Table">A model that is found by parts of words (<see cref="IRowModel.ByParts"/>): it has a row for each thing, made by the event that made the thing's own.</param>
/// <param name="Kind">Scope of the things in that table; with a hyphen, the beginning of their keys there.</param>
/// <param name="Words">Each is a part of the name, folded by <see cref="PartsOfWords"/>.</param>
public sealed record NamedLike(string Table, string Kind, IReadOnlyList<string> Words)
{
    /// <summary>True: the list's scope has so few rows that each is compared. Otherwise an index finds them among any number of things.</summary>
    public bool OfFew { get; init; }

    /// <summary>True: a row's key is its thing's, a dot and more. Only of few.</summary>
    public bool ByParent { get; init; }
}

/// <summary>What rows belong to: what belongs to something that was deleted is not found. A row whose JSON has no such member belongs to nothing, and is found.</summary>
/// <param name="Member">Of the row's JSON, with the key of a row of the table; null: the row's scope is that key.</param>
public sealed record RowOwner(string? Member, string Table)
{
    /// <summary>A second table of such rows; null: there is none.</summary>
    public string? OrTable { get; init; }
}

/// <summary>Rows whose JSON has this member with this value, or no such member.</summary>
/// <param name="Value">Null: only those that have no such member.</param>
public sealed record RowShare(string Member, string? Value);

/// <param name="Total">Rows of the whole list.</param>
public sealed record RowPage(IReadOnlyList<Row> Rows, long Total);

/// <summary>Rows of a scope that keeps its history, as they were at one position of the log, the last change first.</summary>
/// <param name="Status">Null: any.</param>
/// <param name="Words">Each is a part of the row's text, folded by <see cref="PartsOfWords"/>.</param>
/// <param name="Position">Null: the end of the log. One of those that an earlier page answered, not longer ago than <see cref="RowHistory.Kept"/>.</param>
/// <param name="After">The list goes on after this place; null: it begins at its beginning.</param>
/// <param name="Bytes">The list ends after the row with which it has more bytes.</param>
public sealed record MomentQuery(
    string Scope, string? Status, IReadOnlyList<string> Words, int Limit, long? Position = null, ChangePlace? After = null, long Bytes = long.MaxValue)
{
    /// <summary>Rows that were replaced since the position are left out: they may be kept no longer, and are folded instead. The position may then be of any age.</summary>
    public bool OnlyUnchanged { get; init; }
}

/// <summary>A change's place among others: no two changes have both in common.</summary>
/// <param name="At">Milliseconds since 1970 (UTC).</param>
/// <param name="Position">Of the event that made the change.</param>
public readonly record struct ChangePlace(long At, long Position);

/// <param name="Position">The position as of which the rows are.</param>
/// <param name="HasMore">There are further rows after them.</param>
public sealed record MomentPage(long Position, IReadOnlyList<(ChangePlace Place, Row Row)> Rows, bool HasMore);

public static class RowHistory
{
    /// <summary>For so long a page can be followed by another one of the same moment (contracts/decisions.md, "E, the rest").</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromHours(1);
}

/// <summary>Rows of a table that were there at a position of the log, newest first.</summary>
/// <param name="Position">Not beyond the end of the log.</param>
/// <param name="Scope">Null: any.</param>
/// <param name="Status">Rows that have not changed since have this status; those that have are answered whatever theirs was. Null: any.</param>
/// <param name="Keys">Only rows with these keys; null: all.</param>
/// <param name="Before">Only rows made before this position.</param>
public sealed record PastQuery(long Position, string? Scope = null, string? Status = null, IReadOnlyList<string>? Keys = null, long? Before = null, int Limit = 100)
{
    /// <summary>So many of the newest are passed over.</summary>
    public long Offset { get; init; }

    /// <summary>Rows that have not changed since the position are left out.</summary>
    public bool OnlyChanged { get; init; }

    /// <summary>Rows that were deleted since are answered only when this is their <see cref="IRowModel.OwnerMember"/>; null: all of them.</summary>
    public string? Viewer { get; init; }
}

/// <summary>A row that was there at a position.</summary>
/// <param name="Version">Of its stream, as the row is now; 0: it is gone.</param>
/// <param name="IsChanged">True: it has changed since, or is gone: what it was is the fold of its stream up to the position, which may also find that it was gone by then.</param>
/// <param name="Json">As it is now; empty where it has changed, and is not needed to find its stream.</param>
public sealed record PastRow(string Key, long Created, long Version, bool IsChanged, ReadOnlyMemory<byte> Json);

/// <summary>Positions of the log by what a reader knows of a moment.</summary>
public interface IPositions
{
    /// <summary>The position of the last event; 0: the log is empty.</summary>
    ValueTask<long> Head(CancellationToken ct);

    /// <summary>
    /// The position of a tenant's event; null: it has no such event. One that was stored more than a few minutes away from the time in its id is found once the tree over the log
    /// has it.
    /// </summary>
    /// <param name="id">Usually a UUID of version 7: its time tells where in the log to look.</param>
    ValueTask<long?> Of(string org, Guid id, CancellationToken ct);

    /// <summary>
    /// The position of the last event, of any tenant, that was recorded at or before a time; 0: all were recorded after it. Where clocks of hosts differ, or one was set back,
    /// the times in the log do not only rise: the answer then is a position where they pass the given one, and so the same every time.
    /// </summary>
    ValueTask<long> At(DateTimeOffset time, CancellationToken ct);
}

/// <summary>The read models' tables.</summary>
public interface IRows
{
    ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct);

    /// <summary>Those of the rows that are there, in no order.</summary>
    ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct);

    /// <summary>Newest first.</summary>
    ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct);

    /// <summary>Several lists of a table, asked for at once.</summary>
    ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct);

    /// <summary>Rows of a list from a place in it, newest first, and how many the list has.</summary>
    /// <param name="offset">Newer rows that are passed over.</param>
    ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct);

    /// <summary>
    /// A page of one moment: pages of one position together show each row of that position once, whatever is written meanwhile. The cost does not grow with the rows of other
    /// scopes, nor, where the words are of three characters or more, with those that do not have them.
    /// Null: the log has not come to the query's position.
    /// </summary>
    ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct);

    /// <summary>Rows that were there at a position, of a model with an <see cref="IRowModel.OwnerMember"/>. Rows that are gone are among them.</summary>
    ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct);

    /// <summary>How many rows <see cref="Past"/> has for a query without a status, whatever its limit.</summary>
    ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct);

    /// <summary>How many rows have the status, counted no further than <paramref name="atMost"/>.</summary>
    /// <param name="owner">Only rows whose owner is there; null: all.</param>
    ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct);

    /// <summary>
    /// Rows of a searched table that share a word with the query, those first that share most, then the newest. What is looked at is bounded at any number of
    /// rows: some that have all of the words, and some for each word. A word that few rows have finds them all.
    /// </summary>
    /// <param name="owner">Only rows whose owner is there; null: all.</param>
    /// <param name="status">Only rows of this status; null: any.</param>
    /// <param name="share">Only these rows; null: all.</param>
    ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct);

    /// <summary>
    /// Makes a table anew from the log beside the live one, and swaps. One that follows the log is then at its end, and no longer parked. Answers how many
    /// events were folded.
    /// </summary>
    Task<long> Rebuild(IRowModel model, CancellationToken ct);

    /// <summary>
    /// Compares a table with what the log makes of it, up to where the table has come: the first differing row's tenant and key, or null.
    /// </summary>
    Task<string?> FindDifference(IRowModel model, CancellationToken ct);
}

/// <summary>A folded state that was put aside, so that a long stream need not be read from its beginning.</summary>
/// <param name="Schema">Of the code that wrote it; other code does not read it.</param>
public sealed record Snapshot(long Version, string Hash, string Schema, ReadOnlyMemory<byte> State, ReadOnlyMemory<byte> Rows);

public interface ISnapshots
{
    ValueTask<Snapshot?> Load(string org, string stream, string schema, CancellationToken ct);

    ValueTask Save(string org, string stream, Snapshot snapshot, CancellationToken ct);
}

/// <summary>The database, or the server of the blobs, is away, or did not answer in time.</summary>
public sealed class StorageUnavailableException : Exception
{
    /// <summary>True: the database answers, and denies this host's role what the host must do. It passes when somebody gives the right back.</summary>
    public bool IsDenied { get; init; }

    /// <summary>True: it is the blob store that is away, where blobs lie on a server of their own.</summary>
    public bool OfBlobs { get; init; }

    public StorageUnavailableException()
    {
    }

    public StorageUnavailableException(string message)
        : base(message)
    {
    }

    public StorageUnavailableException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>Hears of commits: what feeds and waiting requests are woken by. It must not block.</summary>
public interface ICommitObserver
{
    /// <summary>Entries of one or more commits of this node, in the order of the log. Called after the commit and before its callers are answered.</summary>
    void Committed(IReadOnlyList<FeedEntry> entries);

    /// <summary>Another node wrote, or may have: subscribers must read again.</summary>
    void OthersWrote();
}
