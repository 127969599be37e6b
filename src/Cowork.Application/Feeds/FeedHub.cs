using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Runtime.CompilerServices;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Wakes who follows a feed or waits for a run. A follower gets entries straight from the writer while it keeps up and reads the log again
/// when it does not, so that a slow one costs a bounded buffer and nobody ever misses or repeats an id.
/// </summary>
public sealed class FeedHub(IEventLog log) : ICommitObserver
{
    /// <summary>Entries held for one follower; beyond that it reads the log again.</summary>
    const int BufferMax = 256;

    const int PageMax = 500;

    static readonly FrozenSet<Type> StatusChanges =
    [
        typeof(RunEvent.RunCompleted), typeof(RunEvent.RunFailed), typeof(RunEvent.RunCancelled), typeof(RunEvent.RunCancelRequested), typeof(RunEvent.ApprovalRequested),
        typeof(RunEvent.RunResumed),
    ];

    readonly ConcurrentDictionary<string, HashSet<FeedSubscription>> followers = new();
    long lastPosition;

    /// <summary>
    /// A session's feed after an id, or with <paramref name="session"/> null the tenant's after a position, for as long as the token allows: every
    /// entry once, in order.
    /// </summary>
    public async IAsyncEnumerable<FeedEntry> Follow(string org, SessionKey? session, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        using var follower = Subscribe(session is { } of ? Session(org, of) : Tenant(org));
        var last = since;
        while (true)
        {
            follower.TakeStale();
            while (true)
            {
                var page = await log.Feed(org, session, last, PageMax, ct);
                foreach (var entry in page.Entries)
                {
                    last = IdOf(entry);
                    yield return entry;
                }
                if (page.Entries.Count < PageMax)
                {
                    break;
                }
            }
            while (await follower.Read(ct) is { } entry && !follower.TakeStale())
            {
                var id = IdOf(entry);
                if (id <= last)
                {
                    continue;
                }
                if (session is not null && id != last + 1)
                {
                    break;
                }
                last = id;
                yield return entry;
            }
        }

        long IdOf(FeedEntry entry) => session is null ? entry.Position : entry.FeedId;
    }

    /// <summary>A page of a feed; when there is none yet, waits for one.</summary>
    public async Task<FeedPage> Page(string org, SessionKey? session, long since, int max, TimeSpan wait, TimeProvider clock, CancellationToken ct)
    {
        using var follower = Subscribe(session is { } of ? Session(org, of) : Tenant(org));
        var page = await log.Feed(org, session, since, max, ct);
        if (page.Entries.Count > 0 || page.Head < since || wait <= TimeSpan.Zero)
        {
            return page;
        }
        using var timeout = new CancellationTokenSource(wait, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, timeout.Token);
        try
        {
            while (page.Entries.Count == 0)
            {
                await follower.Read(either.Token);
                follower.Drain();
                page = await log.Feed(org, session, since, max, either.Token);
            }
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // The wait is over; the page is what it was.
        }
        return page;
    }

    /// <summary>Hears of what may end, suspend or stop a run. Dispose it when done.</summary>
    public FeedSubscription WatchRun(string org, RunKey run) => Subscribe(Run(org, run));

    /// <summary>Hears that other nodes wrote. Dispose it when done.</summary>
    public FeedSubscription WatchOthers() => Subscribe("o");

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        if (entries.Count == 0)
        {
            return;
        }
        var before = Interlocked.Exchange(ref lastPosition, entries[^1].Position);
        if (followers.IsEmpty)
        {
            return;
        }
        if (entries[0].Position != before + 1)
        {
            // Another node wrote in between, and its entries come only by reading. The flags are up before the entries are handed over.
            foreach (var (key, _) in followers.Where(f => f.Key[0] == 't'))
            {
                Wake(key, null);
            }
        }
        foreach (var entry in entries)
        {
            if (entry.Session is { } session)
            {
                Wake(Session(entry.Org, session), entry);
            }
            Wake(Tenant(entry.Org), entry);
            if (entry.Run is { } run && ChangesStatus(entry.Type))
            {
                Wake(Run(entry.Org, run), entry);
            }
        }
    }

    public void OthersWrote()
    {
        foreach (var (key, _) in followers)
        {
            Wake(key, null);
        }
    }

    static bool ChangesStatus(string type) => EventTypes.TypeOf(type) is { } known && StatusChanges.Contains(known);

    static string Session(string org, SessionKey session) => $"s\n{org}\n{session.Value}";

    static string Tenant(string org) => $"t\n{org}";

    static string Run(string org, RunKey run) => $"r\n{org}\n{run.Value}";

    void Wake(string key, FeedEntry? entry)
    {
        if (followers.TryGetValue(key, out var here))
        {
            lock (here)
            {
                foreach (var follower in here)
                {
                    follower.Offer(entry);
                }
            }
        }
    }

    FeedSubscription Subscribe(string key)
    {
        var follower = new FeedSubscription(this, key, BufferMax);
        while (true)
        {
            var here = followers.GetOrAdd(key, _ => []);
            lock (here)
            {
                // The set may have been taken out, empty, between the two lines.
                if (followers.TryGetValue(key, out var still) && ReferenceEquals(still, here))
                {
                    here.Add(follower);
                    return follower;
                }
            }
        }
    }

    internal void Unsubscribe(FeedSubscription follower)
    {
        if (followers.TryGetValue(follower.Key, out var here))
        {
            lock (here)
            {
                here.Remove(follower);
                if (here.Count == 0)
                {
                    followers.TryRemove(follower.Key, out _);
                }
            }
        }
    }
}
