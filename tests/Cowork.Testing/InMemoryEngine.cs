using System.Runtime.CompilerServices;
using System.Threading.Channels;

using Cowork.Application.Storage;

namespace Cowork.Testing;

/// <summary>
/// The whole of an engine in memory: the log with its positions and feeds, rows, snapshots and jobs with leases. Nodes that share one see one database.
/// </summary>
public sealed class InMemoryEngine(IReadOnlyList<IReadModel> models, TimeProvider clock) : IEventLog, IRows, ISnapshots
{
    readonly Lock gate = new();
    readonly List<(Recorded Event, string? Session, string? Run, long FeedId)> log = [];
    readonly Dictionary<(string Org, string Stream), List<Recorded>> streams = [];
    readonly Dictionary<(string Org, string Session), long> feeds = [];
    readonly Dictionary<(string Org, string Stream, string Schema), Snapshot> snapshots = [];
    readonly Dictionary<(string Org, string Kind, string Key), JobRow> jobs = [];
    readonly List<Node> nodes = [];
    Dictionary<string, SortedDictionary<(string Org, string Key), StoredRow>> tables = models.ToDictionary(m => m.Table, _ => NewTable());

    /// <summary>Called with each commit before and after it happens; what it throws is what the caller gets.</summary>
    public Action<Commit, bool>? FailPoint { get; set; }

    /// <summary>A host with this database.</summary>
    /// <param name="observer">Told of this node's commits, and that others wrote.</param>
    public Node AddNode(string id, ICommitObserver observer, TimeSpan lease)
    {
        lock (gate)
        {
            var node = new Node(this, id, observer, lease);
            nodes.Add(node);
            return node;
        }
    }

    /// <summary>The open jobs, as (kind, key, holder).</summary>
    public IReadOnlyList<(string Kind, string Key, string? Holder)> Jobs
    {
        get
        {
            lock (gate)
            {
                return [.. jobs.Select(j => (j.Key.Kind, j.Key.Key, j.Value.Holder?.Id))];
            }
        }
    }

    public ValueTask<Past> Load(string org, string stream, long after, int max, CancellationToken ct)
    {
        lock (gate)
        {
            var all = streams.GetValueOrDefault((org, stream)) ?? [];
            var events = all.Skip((int)after).Take(max).ToList();
            var last = events.Count > 0 ? events[^1] : after > 0 && after <= all.Count ? all[(int)after - 1] : null;
            return new(new Past(last?.Version ?? 0, last?.Hash ?? HashChain.Root, events));
        }
    }

    public ValueTask<Appended> Append(Commit commit, CancellationToken ct) => new(Append(commit, null));

    public ValueTask<FeedPage> Feed(string org, string? session, long after, int max, CancellationToken ct)
    {
        lock (gate)
        {
            var entries = log.Where(e => e.Event.Org == org && (session is null ? e.Event.Position > after : e.Session == session && e.FeedId > after))
                .Take(max).Select(Entry).ToList();
            var head = session is null ? log.Count : feeds.GetValueOrDefault((org, session));
            return new(new FeedPage(entries, head));
        }
    }

    public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, string session, string run, CancellationToken ct)
    {
        lock (gate)
        {
            return new([.. log.Where(e => e.Event.Org == org && e.Session == session && e.Run == run).Select(Entry)]);
        }
    }

    public async IAsyncEnumerable<Recorded> Scan(long after, [EnumeratorCancellation] CancellationToken ct)
    {
        List<Recorded> events;
        lock (gate)
        {
            events = [.. log.Skip((int)after).Select(e => e.Event)];
        }
        foreach (var e in events)
        {
            await Task.CompletedTask;
            yield return e;
        }
    }

    ValueTask<Row?> IRows.Get(string org, string table, string key, CancellationToken ct)
    {
        lock (gate)
        {
            return new(tables[table].TryGetValue((org, key), out var row) ? row.Row : null);
        }
    }

    public ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct)
    {
        lock (gate)
        {
            return new([
                .. tables[table].Where(r => r.Key.Org == org
                        && (query.Scope is null || r.Value.Value.Scope == query.Scope)
                        && (query.Status is null || r.Value.Value.Status == query.Status)
                        && (query.Before is null || r.Value.Row.Created < query.Before))
                    .Select(r => r.Value.Row).OrderByDescending(r => r.Created).Take(query.Limit)]);
        }
    }

    public ValueTask<long> Count(string org, string table, string status, long atMost, CancellationToken ct)
    {
        lock (gate)
        {
            return new(Math.Min(atMost, tables[table].LongCount(r => r.Key.Org == org && r.Value.Value.Status == status)));
        }
    }

    public ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, CancellationToken ct)
    {
        var words = Words(query);
        lock (gate)
        {
            return new([
                .. tables[table].Where(r => r.Key.Org == org)
                    .Select(r => (r.Value.Row, Rank: Words(r.Value.Value.Search ?? "").Count(words.Contains)))
                    .Where(r => r.Rank > 0).OrderByDescending(r => r.Rank).ThenByDescending(r => r.Row.Created).Take(limit).Select(r => r.Row)]);
        }

        static HashSet<string> Words(string text) =>
            [.. string.Concat(text.ToLowerInvariant().Select(c => char.IsLetterOrDigit(c) ? c : ' ')).Split(' ').Where(w => w.Length > 2)];
    }

    public Task<long> Rebuild(IReadModel model, CancellationToken ct)
    {
        lock (gate)
        {
            tables[model.Table] = Folded(model);
            return Task.FromResult((long)log.Count);
        }
    }

    public Task<string?> FindDifference(IReadModel model, CancellationToken ct)
    {
        lock (gate)
        {
            var (live, folded) = (tables[model.Table], Folded(model));
            var different = live.Keys.Union(folded.Keys).FirstOrDefault(
                key => !live.TryGetValue(key, out var a) || !folded.TryGetValue(key, out var b)
                    || a.Row.Version != b.Row.Version || a.Row.Created != b.Row.Created || !a.Row.Json.Span.SequenceEqual(b.Row.Json.Span));
            return Task.FromResult(different == default ? null : $"{different.Org} {different.Key}");
        }
    }

    ValueTask<Snapshot?> ISnapshots.Load(string org, string stream, string schema, CancellationToken ct)
    {
        lock (gate)
        {
            return new(snapshots.GetValueOrDefault((org, stream, schema)));
        }
    }

    public ValueTask Save(string org, string stream, Snapshot snapshot, CancellationToken ct)
    {
        lock (gate)
        {
            snapshots[(org, stream, snapshot.Schema)] = snapshot;
        }
        return default;
    }

    Appended Append(Commit commit, Node? by)
    {
        if (commit.Writes.Any(w => w.Events.Count == 0))
        {
            throw new ArgumentException("A write has no events.", nameof(commit));
        }
        FailPoint?.Invoke(commit, false);
        var entries = new List<FeedEntry>();
        long first;
        lock (gate)
        {
            if (commit.Done is { } done && !(jobs.TryGetValue((done.Org, done.Kind, done.Key), out var held) && held.Epoch == done.Epoch))
            {
                return new Appended.Fenced();
            }
            foreach (var write in commit.Writes)
            {
                if ((streams.GetValueOrDefault((commit.Org, write.Stream))?.Count ?? 0) != write.Expected)
                {
                    return new Appended.Moved(write.Stream);
                }
            }
            first = log.Count + 1;
            foreach (var write in commit.Writes)
            {
                var position = log.Count + 1;
                foreach (var e in write.Events)
                {
                    entries.Add(Add(e, write));
                }
                foreach (var change in write.Rows)
                {
                    Put(tables[change.Table], commit.Org, change, position);
                }
            }
            if (commit.Done is { } finished)
            {
                jobs.Remove((finished.Org, finished.Kind, finished.Key));
            }
            foreach (var job in commit.Jobs)
            {
                if (jobs.TryAdd((commit.Org, job.Kind, job.Key), new() { Due = job.Due }) && job.Due is null)
                {
                    by?.Take((commit.Org, job.Kind, job.Key));
                }
            }
            foreach (var node in nodes)
            {
                if (node == by)
                {
                    node.Observer.Committed(entries);
                }
                else
                {
                    node.Observer.OthersWrote();
                }
            }
        }
        FailPoint?.Invoke(commit, true);
        return new Appended.Ok(first);
    }

    FeedEntry Add(Recorded e, Write write)
    {
        var recorded = e with { Position = log.Count + 1 };
        var feedId = 0L;
        if (write.Session is not null)
        {
            feedId = feeds[(e.Org, write.Session)] = feeds.GetValueOrDefault((e.Org, write.Session)) + 1;
        }
        log.Add((recorded, write.Session, write.Run, feedId));
        if (!streams.TryGetValue((e.Org, e.Stream), out var stream))
        {
            streams[(e.Org, e.Stream)] = stream = [];
        }
        stream.Add(recorded);
        return Entry(log[^1]);
    }

    static FeedEntry Entry((Recorded Event, string? Session, string? Run, long FeedId) e) => new(
        e.FeedId, e.Event.Position, e.Event.Org, e.Session, e.Run, e.Event.Id, e.Event.Type, e.Event.At, e.Event.Stream, e.Event.Version, e.Event.Hash,
        e.Event.Actor, e.Event.Data);

    SortedDictionary<(string Org, string Key), StoredRow> Folded(IReadModel model)
    {
        var table = NewTable();
        foreach (var ((org, stream), events) in streams.Where(s => s.Key.Stream.StartsWith($"{model.Aggregate}-", StringComparison.Ordinal)))
        {
            object? row = null;
            foreach (var e in events)
            {
                row = model.Evolve(row, e);
                Put(table, org, new(model.Table, stream[(model.Aggregate.Length + 1)..], e.Version, row is null ? null : model.Value(row)), e.Position);
            }
        }
        return table;
    }

    static SortedDictionary<(string Org, string Key), StoredRow> NewTable() =>
        new(Comparer<(string Org, string Key)>.Create((a, b) =>
            string.CompareOrdinal(a.Org, b.Org) is var org && org != 0 ? org : string.CompareOrdinal(a.Key, b.Key)));

    static void Put(SortedDictionary<(string Org, string Key), StoredRow> table, string org, RowChange change, long position)
    {
        if (change.Row is null)
        {
            table.Remove((org, change.Key));
            return;
        }
        var created = table.TryGetValue((org, change.Key), out var before) ? before.Row.Created : position;
        table[(org, change.Key)] = new(new(change.Key, created, change.Version, change.Row.Json), change.Row);
    }

    sealed record StoredRow(Row Row, RowValue Value);

    sealed class JobRow
    {
        public DateTimeOffset? Due { get; set; }

        public Node? Holder { get; set; }

        public long Epoch { get; set; }
    }

    /// <summary>One host: what it commits it hears of at once, and the jobs that it holds are its own until its lease runs out.</summary>
    public sealed class Node : IEventLog, IJobQueue
    {
        readonly InMemoryEngine engine;
        readonly TimeSpan lease;
        readonly Channel<(Claim, CancellationToken)> claims = Channel.CreateUnbounded<(Claim, CancellationToken)>();
        CancellationTokenSource lost = new();
        DateTimeOffset expires;

        internal Node(InMemoryEngine engine, string id, ICommitObserver observer, TimeSpan lease)
        {
            this.engine = engine;
            this.lease = lease;
            Id = id;
            Observer = observer;
            expires = engine.Clock.GetUtcNow() + lease;
        }

        public string Id { get; }

        internal ICommitObserver Observer { get; }

        /// <summary>A node that is gone without a word: its claims are there for the others at once.</summary>
        public void Die()
        {
            lock (engine.gate)
            {
                expires = DateTimeOffset.MinValue;
                engine.nodes.Remove(this);
                lost.Cancel();
            }
        }

        /// <summary>Says that it lives. A lease that has run out cancels what the node was doing.</summary>
        public void Beat()
        {
            lock (engine.gate)
            {
                if (expires <= engine.Clock.GetUtcNow())
                {
                    lost.Cancel();
                    lost = new();
                }
                expires = engine.Clock.GetUtcNow() + lease;
            }
        }

        /// <summary>Takes jobs that are due and that no living node holds.</summary>
        public int ClaimDue()
        {
            lock (engine.gate)
            {
                var now = engine.Clock.GetUtcNow();
                var free = engine.jobs.Where(j => (j.Value.Due is null || j.Value.Due <= now) && (j.Value.Holder is null || j.Value.Holder.expires <= now))
                    .Select(j => j.Key).ToList();
                free.ForEach(Take);
                return free.Count;
            }
        }

        public ValueTask<Past> Load(string org, string stream, long after, int max, CancellationToken ct) => engine.Load(org, stream, after, max, ct);

        public ValueTask<Appended> Append(Commit commit, CancellationToken ct) => new(engine.Append(commit, this));

        public ValueTask<FeedPage> Feed(string org, string? session, long after, int max, CancellationToken ct) => engine.Feed(org, session, after, max, ct);

        public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, string session, string run, CancellationToken ct) => engine.OfRun(org, session, run, ct);

        public IAsyncEnumerable<Recorded> Scan(long after, CancellationToken ct) => engine.Scan(after, ct);

        public IAsyncEnumerable<(Claim Claim, CancellationToken Lost)> Claims(CancellationToken ct) => claims.Reader.ReadAllAsync(ct);

        public ValueTask Complete(Claim claim, CancellationToken ct)
        {
            lock (engine.gate)
            {
                var key = (claim.Org, claim.Kind, claim.Key);
                if (engine.jobs.TryGetValue(key, out var job) && job.Epoch == claim.Epoch)
                {
                    engine.jobs.Remove(key);
                }
            }
            return default;
        }

        public ValueTask Release(Claim claim, TimeSpan after, CancellationToken ct)
        {
            lock (engine.gate)
            {
                if (engine.jobs.TryGetValue((claim.Org, claim.Kind, claim.Key), out var job) && job.Epoch == claim.Epoch)
                {
                    job.Holder = null;
                    job.Due = engine.Clock.GetUtcNow() + after;
                }
            }
            return default;
        }

        internal void Take((string Org, string Kind, string Key) key)
        {
            var job = engine.jobs[key];
            job.Holder = this;
            job.Epoch++;
            claims.Writer.TryWrite((new(key.Org, key.Kind, key.Key, job.Epoch), lost.Token));
        }
    }

    TimeProvider Clock => clock;
}
