using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Runtime.CompilerServices;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Notifies subscribers of feeds and of runs. A subscriber gets entries directly from the writer while it keeps up, and reads the log again when it does
/// not: a slow subscriber costs a bounded buffer, and none misses or repeats an id.
/// </summary>
public sealed class FeedHub(IEventLog log) : ICommitObserver
{
    /// <summary>Entries buffered for one subscriber; past it the subscriber reads the log again.</summary>
    const int BufferMax = 256;

    const int PageMax = 500;

    static readonly FrozenSet<Type> StatusChanges =
    [
        typeof(RunEvent.RunCompleted), typeof(RunEvent.RunFailed), typeof(RunEvent.RunCancelled), typeof(RunEvent.RunCancelRequested), typeof(RunEvent.ApprovalRequested),
        typeof(RunEvent.RunResumed),
    ];

    readonly ConcurrentDictionary<string, HashSet<FeedSubscription>> subscriptions = new();
    long lastPosition;

    /// <summary>
    /// A session's feed after an id, or with <paramref name="session"/> null the tenant's after a position, until the token is cancelled: every entry once, in
    /// order.
    /// </summary>
    public async IAsyncEnumerable<FeedEntry> Follow(string org, SessionKey? session, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        using var subscription = Subscribe(session is { } of ? Session(org, of) : Tenant(org));
        var last = since;
        while (true)
        {
            subscription.TakeStale();
            while (true)
            {
                var page = await log.Feed(org, session, last, PageMax, ct);
                foreach (var entry in page.Entries)
                {
                    last = IdOf(entry);
                    yield return entry;
                }
                if (page.Entries.Count < PageMax && !page.IsCut)
                {
                    break;
                }
            }
            while (await subscription.Read(ct) is { } entry && !subscription.TakeStale())
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

    /// <summary>A page of a feed. Waits for the first entry when the page is empty.</summary>
    public async Task<FeedPage> Page(string org, SessionKey? session, long since, int max, TimeSpan wait, TimeProvider clock, CancellationToken ct)
    {
        using var subscription = Subscribe(session is { } of ? Session(org, of) : Tenant(org));
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
                await subscription.Read(either.Token);
                subscription.Drain();
                page = await log.Feed(org, session, since, max, either.Token);
            }
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // Timeout: answer the empty page.
        }
        return page;
    }

    /// <summary>Subscribes to events that change a run's status. Dispose the subscription when done.</summary>
    public FeedSubscription WatchRun(string org, RunKey run) => Subscribe(Run(org, run));

    /// <summary>
    /// A stream's events after a version, until the token is cancelled: every one once, in order. They are those of a stream whose events are in a session's feed, and have
    /// no ids of that.
    /// </summary>
    public async IAsyncEnumerable<FeedEntry> FollowStream(
        string org, SessionKey session, string stream, long since, [EnumeratorCancellation] CancellationToken ct)
    {
        using var subscription = Subscribe(Session(org, session));
        var last = since;
        while (true)
        {
            subscription.TakeStale();
            while (await log.Load(org, stream, last, PageMax, ct) is { Events: [_, ..] events })
            {
                foreach (var e in events)
                {
                    last = e.Version;
                    yield return new(0, e.Position, org, session, null, e.Id, e.Type, e.At, stream, e.Version, e.Hash, e.Actor, e.Data, e.Correlation, e.Causation)
                    {
                        Keys = log.Keys,
                    };
                }
                if (events.Count < PageMax)
                {
                    break;
                }
            }
            while (await subscription.Read(ct) is { } entry && !subscription.TakeStale())
            {
                if (entry.Stream != stream || entry.Version <= last)
                {
                    continue;
                }
                if (entry.Version != last + 1)
                {
                    break;
                }
                last = entry.Version;
                yield return entry;
            }
        }
    }

    /// <summary>Subscribes to the events of a session. Dispose the subscription when done.</summary>
    public FeedSubscription WatchSession(string org, SessionKey session) => Subscribe(Session(org, session));

    /// <summary>Subscribes to commits of other nodes. Dispose the subscription when done.</summary>
    public FeedSubscription WatchOthers() => Subscribe("o");

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        if (entries.Count == 0)
        {
            return;
        }
        var before = Interlocked.Exchange(ref lastPosition, entries[^1].Position);
        if (subscriptions.IsEmpty)
        {
            return;
        }
        if (entries[0].Position != before + 1)
        {
            // Another node wrote in between, and its entries are only in the log. Mark subscribers stale before they get the new entries.
            foreach (var (key, _) in subscriptions.Where(f => f.Key[0] == 't'))
            {
                Notify(key, null);
            }
        }
        foreach (var entry in entries)
        {
            if (entry.Session is { } session)
            {
                Notify(Session(entry.Org, session), entry);
            }
            Notify(Tenant(entry.Org), entry);
            if (entry.Run is { } run && ChangesStatus(entry.Type))
            {
                Notify(Run(entry.Org, run), entry);
            }
        }
    }

    public void OthersWrote()
    {
        foreach (var (key, _) in subscriptions)
        {
            Notify(key, null);
        }
    }

    static bool ChangesStatus(string type) => EventTypes.TypeOf(type) is { } known && StatusChanges.Contains(known);

    static string Session(string org, SessionKey session) => $"s\n{org}\n{session.Value}";

    static string Tenant(string org) => $"t\n{org}";

    static string Run(string org, RunKey run) => $"r\n{org}\n{run.Value}";

    void Notify(string key, FeedEntry? entry)
    {
        if (subscriptions.TryGetValue(key, out var subscribed))
        {
            lock (subscribed)
            {
                foreach (var subscription in subscribed)
                {
                    subscription.Offer(entry);
                }
            }
        }
    }

    FeedSubscription Subscribe(string key)
    {
        var subscription = new FeedSubscription(this, key, BufferMax);
        while (true)
        {
            var subscribed = subscriptions.GetOrAdd(key, _ => []);
            lock (subscribed)
            {
                // The empty set may have been removed between the two lines.
                if (subscriptions.TryGetValue(key, out var still) && ReferenceEquals(still, subscribed))
                {
                    subscribed.Add(subscription);
                    return subscription;
                }
            }
        }
    }

    internal void Unsubscribe(FeedSubscription subscription)
    {
        if (subscriptions.TryGetValue(subscription.Key, out var subscribed))
        {
            lock (subscribed)
            {
                subscribed.Remove(subscription);
                if (subscribed.Count == 0)
                {
                    subscriptions.TryRemove(subscription.Key, out _);
                }
            }
        }
    }
}
