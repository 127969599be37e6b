using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Testing;

public sealed partial class InMemoryEngine : IExpiryStore
{
    readonly Dictionary<string, (DateTimeOffset? At, int Revision)> expiredBlobs = [];

    /// <summary>Called before each step of a removal and after it.</summary>
    public Action<bool>? RemovalPoint { get; set; }

    /// <summary>So much the clock of hosts is ahead of the database's.</summary>
    public TimeSpan HostsAreAhead { get; set; }

    public ValueTask<DateTimeOffset> Now(CancellationToken ct) => new(clock.GetUtcNow() - HostsAreAhead);

    public ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct) => Locked<IReadOnlyList<string>>(() => [.. streams.Keys.Select(key => key.Org).Distinct().Order()]);

    public ValueTask<IReadOnlyList<string>> Quiet(string org, string aggregate, string after, DateTimeOffset before, int max, CancellationToken ct) =>
        Locked<IReadOnlyList<string>>(() =>
        [
            .. streams.Where(s => s.Key.Org == org && s.Key.Stream.StartsWith(aggregate + "-", StringComparison.Ordinal) && string.CompareOrdinal(s.Key.Stream, after) > 0
                && s.Value[^1].At <= before && s.Value[^1].Event is not IRemovalEvent).Select(s => s.Key.Stream).Order(StringComparer.Ordinal).Take(max),
        ]);

    public ValueTask<DateTimeOffset?> LastAt(string org, string stream, CancellationToken ct) =>
        Locked(() => ExpiryRemoval.SessionOf(stream) is { } session ? feeds.GetValueOrDefault((org, session))?[^1].At : streams.GetValueOrDefault((org, stream))?[^1].At);

    public ValueTask<NamedEvents?> Named(string org, string stream, CancellationToken ct) => Locked(() =>
    {
        using var digest = new ExpiredDigest();
        var all = NamedBy(org, stream).ToList();
        foreach (var (_, e) in all)
        {
            digest.Add(e.Position, e.Stream, e.Version, e.Id, e.Type, e.At, e.Actor, e.Hash);
        }
        var last = ExpiryRemoval.SessionOf(stream) is { } session ? feeds.GetValueOrDefault((org, session))?[^1].At : all.LastOrDefault().Event?.At;
        return all.Count == 0 ? null : new NamedEvents(all[^1].At, all.Count, digest.Hex(), last ?? default);
    });

    public ValueTask<long?> ExpiredAt(string org, string stream, CancellationToken ct) => Locked(() => AuthorityOf(org, stream)?.Position);

    public async ValueTask<Removal> Remove(string org, string stream, long after, int max, CancellationToken ct)
    {
        RemovalPoint?.Invoke(false);
        var removal = await Locked(() =>
        {
            if (AuthorityOf(org, stream) is not { Event: IExpiryEvent expiry } authority)
            {
                return new(RemovalStep.Done, 0, after);
            }
            if (followed.Values.Any(f => f.Checkpoint.Position < authority.Position))
            {
                return new Removal(RemovalStep.Later, 0, after);
            }
            var page = NamedBy(org, stream).Where(e => e.At > after && e.At <= expiry.Expired.Through).Take(max).ToList();
            var living = page.Where(e => e.Event.Event is not Tombstone).Select(e => e.Event).ToList();
            living.ForEach(e => Replace(e, authority.Position));
            return new(page.Count < max ? RemovalStep.Done : RemovalStep.Further, living.Count, page.Count == 0 ? after : page[^1].At);
        });
        RemovalPoint?.Invoke(true);
        return removal;
    }

    public ValueTask<RemovedFigures> Figures(string org, string stream, CancellationToken ct) => Locked(() =>
    {
        var stones = NamedBy(org, stream).Select(e => e.Event.Event).OfType<Tombstone>().ToList();
        using var digest = new TombstoneDigest();
        stones.ForEach(digest.Add);
        return new RemovedFigures(stones.Count, stones.Sum(s => s.Bytes), stones.Sum(s => s.Blobs), digest.Hex());
    });

    public ValueTask<IReadOnlyList<ExpiredBlob>> Blobs(DateTimeOffset before, int max, CancellationToken ct) => Locked<IReadOnlyList<ExpiredBlob>>(() =>
        [
            .. expiredBlobs.Where(b => b.Value.At is not { } at || at <= before).OrderBy(b => b.Key, StringComparer.Ordinal).Take(max)
                .Select(b => new ExpiredBlob(b.Key, b.Value.At, $"{b.Value.Revision}")),
        ]);

    public ValueTask<IReadOnlySet<string>> StillNamed(IReadOnlyCollection<string> digests, CancellationToken ct) =>
        Locked<IReadOnlySet<string>>(() => BlobContent.NamedBy(events.Select(e => e.Data)).Intersect(digests).ToHashSet());

    public ValueTask Note(IReadOnlyCollection<string> digests, DateTimeOffset at, CancellationToken ct)
    {
        lock (sync)
        {
            foreach (var sha256 in digests.Where(expiredBlobs.ContainsKey))
            {
                expiredBlobs[sha256] = (at, expiredBlobs[sha256].Revision);
            }
        }
        return default;
    }

    public ValueTask Forget(IReadOnlyCollection<ExpiredBlob> blobs, CancellationToken ct)
    {
        lock (sync)
        {
            foreach (var blob in blobs.Where(blob => expiredBlobs.TryGetValue(blob.Sha256, out var known) && blob.Revision == $"{known.Revision}"))
            {
                expiredBlobs.Remove(blob.Sha256);
            }
        }
        return default;
    }

    public ValueTask Drop(IReadOnlyCollection<string> digests, CancellationToken ct)
    {
        lock (sync)
        {
            foreach (var sha256 in digests)
            {
                expiredBlobs.Remove(sha256);
            }
        }
        return default;
    }

    ValueTask<T> Locked<T>(Func<T> work)
    {
        lock (sync)
        {
            ThrowIfAway(null);
            return new(work());
        }
    }

    IEnumerable<(long At, RecordedEvent Event)> NamedBy(string org, string stream) => ExpiryRemoval.SessionOf(stream) is { } session
        ? (feeds.GetValueOrDefault((org, session)) ?? []).Where(e => ExpiredEvents.Aggregates.Contains(e.Stream[..e.Stream.IndexOf('-', StringComparison.Ordinal)]))
            .Select(e => (e.FeedId, events[(int)e.Position - 1]))
        : (streams.GetValueOrDefault((org, stream)) ?? []).Select(e => (e.Version, e));

    RecordedEvent? AuthorityOf(string org, string stream) => streams.GetValueOrDefault((org, stream))?.LastOrDefault(e => e.Event is IExpiryEvent);

    void Replace(RecordedEvent e, long by)
    {
        foreach (var model in models.Values)
        {
            IEnumerable<string> keys = model switch
            {
                IReadModel inline => IsOf(e, inline) && inline.KeyOf(e) is { } key ? [key] : [],
                IAsyncProjection following => following.Types.Contains(e.Type) ? following.OwnedBy(e).Select(key => key.Key) : [],
                _ => [],
            };
            foreach (var key in keys)
            {
                tables[model.Table].Remove((e.Org, key));
                gone.RemoveAll(row => row.Table == model.Table && row.Org == e.Org && row.Key == key);
                past.RemoveAll(row => row.Table == model.Table && row.Org == e.Org && row.Key == key);
            }
        }
        snapshots.Remove((e.Org, e.Stream));
        foreach (var sha256 in BlobContent.NamedBy([e.Data]))
        {
            expiredBlobs[sha256] = (null, expiredBlobs.TryGetValue(sha256, out var known) ? known.Revision + 1 : 0);
        }
        var stone = Tombstones.Of(e, by, models.Values.OfType<IAsyncProjection>().Any(m => m.CountsStored && m.Types.Contains(e.Type)));
        var data = Tombstones.Write(stone);
        var after = e with { Event = stone, Data = data };
        events[(int)e.Position - 1] = after;
        streams[(e.Org, e.Stream)][(int)e.Version - 1] = after;
        var entry = log[(int)e.Position - 1] with { Data = data };
        log[(int)e.Position - 1] = entry;
        if (entry.Session is { } session)
        {
            feeds[(e.Org, session)][(int)entry.FeedId - 1] = entry;
        }
    }
}
