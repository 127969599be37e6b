using System.Runtime.CompilerServices;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Testing;

/// <summary>
/// The whole of an engine in memory: the log with its positions and feeds, rows, snapshots and jobs with leases. Nodes that share one see one database.
/// Used without a node it hands no jobs out. What it keeps is what a database would: it outlives any node.
/// </summary>
public sealed partial class InMemoryEngine(IReadOnlyList<IRowModel> models, TimeProvider clock) : IEventLog, IPositions, IRows, ISnapshots, ITokenUses, IAsyncProjectionStore
{
    static readonly TimeSpan PollPause = TimeSpan.FromSeconds(1);

    readonly Lock sync = new();
    readonly TimeProvider clock = clock;
    readonly List<RecordedEvent> events = [];

    /// <summary>The node that wrote each of <see cref="events"/>.</summary>
    readonly List<Node?> writtenBy = [];
    readonly List<FeedEntry> log = [];
    readonly Dictionary<(string Org, string Stream), List<RecordedEvent>> streams = [];
    readonly Dictionary<(string Org, SessionKey Session), List<FeedEntry>> feeds = [];
    readonly Dictionary<string, IRowModel> models = models.ToDictionary(m => m.Table);
    readonly Dictionary<string, Dictionary<(string Org, string Key), StoredRow>> tables = models.ToDictionary(m => m.Table, _ => new Dictionary<(string, string), StoredRow>());
    /// <summary>Rows that were replaced in tables that keep their history, each with the position from which on another one stood in its place.</summary>
    readonly List<(string Table, string Org, string Key, StoredRow Row, long Until)> past = [];
    /// <summary>Rows that were deleted from tables that are read as of an earlier position, each with the position from which on it was gone.</summary>
    readonly List<(string Table, string Org, string Key, StoredRow Row, long Until)> gone = [];
    readonly Dictionary<string, Followed> followed =
        models.OfType<IAsyncProjection>().ToDictionary(m => m.Table, m => new Followed(m.Table, new(0, clock.GetUtcNow()), null));
    readonly Dictionary<(string Org, string Stream), Snapshot> snapshots = [];
    readonly Dictionary<(string Org, TokenKey Token), DateTimeOffset> tokenUses = [];
    readonly Dictionary<(string Org, string Kind, string Key), JobRow> jobs = [];
    readonly List<Node> nodes = [];
    TaskCompletionSource change = new(TaskCreationOptions.RunContinuationsAsynchronously);
    long epochs;
    bool isAway;

    /// <summary>Called with each commit before and after it happens; what it throws is what the caller gets.</summary>
    public Action<Commit, bool>? FailPoint { get; set; }

    /// <summary>The database is away for every node.</summary>
    public bool IsAway
    {
        get => Volatile.Read(ref isAway);
        set
        {
            lock (sync)
            {
                isAway = value;
                Changed();
            }
        }
    }

    /// <summary>The open jobs, as (kind, key, holder).</summary>
    public IReadOnlyList<(string Kind, string Key, string? Holder)> Jobs
    {
        get
        {
            lock (sync)
            {
                return [.. jobs.Select(j => (j.Key.Kind, j.Key.Key, j.Value.Holder?.Id))];
            }
        }
    }

    /// <summary>An escaped NUL. One whose backslash is itself escaped is the six characters of <see cref="Cowork.Domain.StorableText"/>, which any database holds.</summary>
    static bool HoldsNul(ReadOnlySpan<byte> json)
    {
        for (var at = json.IndexOf("\\u0000"u8); at >= 0; at = json.IndexOf("\\u0000"u8))
        {
            if ((at - json[..at].TrimEnd((byte)'\\').Length) % 2 == 0)
            {
                return true;
            }
            json = json[(at + 1)..];
        }
        return false;
    }

    /// <summary>Jobs of each kind that a node does at once, from the next node on.</summary>
    public int Parallel { get; set; } = 1_000;

    /// <summary>A host with this database. It lives until it is told otherwise.</summary>
    /// <param name="observer">Told of this node's commits, and that others wrote.</param>
    /// <param name="leftToOthers">Kinds of jobs that it never claims.</param>
    public Node AddNode(string id, ICommitObserver? observer, TimeSpan lease, params string[] leftToOthers)
    {
        lock (sync)
        {
            var node = new Node(this, id, observer, lease, leftToOthers, Parallel);
            nodes.Add(node);
            return node;
        }
    }

    public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            var all = streams.GetValueOrDefault((org, stream)) ?? [];
            var from = (int)Math.Min(after, all.Count);
            var found = all.GetRange(from, Math.Min(max, all.Count - from));
            var last = from + found.Count;
            return new(new StreamSlice(last, last == 0 ? HashChain.Root : all[last - 1].Hash, found));
        }
    }

    public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => Append(commit, null, ct);

    async ValueTask<AppendResult> Append(Commit commit, Node? by, CancellationToken ct)
    {
        CommitRules.Check(commit, table => models.GetValueOrDefault(table) is IReadModel);
        ct.ThrowIfCancellationRequested();
        FailPoint?.Invoke(commit, false);
        AppendResult appended;
        List<Node> others;
        lock (sync)
        {
            ThrowIfAway(by);
            appended = Write(commit, by);
            others = appended is AppendResult.Ok ? [.. nodes.Where(n => n != by && !n.IsDead)] : [];
        }
        others.ForEach(n => n.Observer?.OthersWrote());
        if (appended is AppendResult.Ok)
        {
            FailPoint?.Invoke(commit, true);
        }
        // The commit takes its place in the order of the calls; the answer comes later, as from a database.
        await Task.Yield();
        return appended;
    }

    public ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (session is not { } of)
            {
                return new(new FeedPage(
                    [.. log.Skip((int)Math.Min(after, log.Count)).Where(e => e.Org == org).Take(max).Select(e => e with { FeedId = 0 })], log.Count));
            }
            var feed = feeds.GetValueOrDefault((org, of)) ?? [];
            return new(new FeedPage([.. feed.Skip((int)Math.Min(after, feed.Count)).Take(max)], feed.Count));
        }
    }

    public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            var feed = feeds.GetValueOrDefault((org, session)) ?? [];
            return new(new FeedPage([.. feed.Where(e => e.Run == run && e.FeedId > after && e.FeedId <= after + IEventLog.FeedWindow).Take(max)], feed.Count));
        }
    }

    public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([.. (feeds.GetValueOrDefault((org, session)) ?? []).Where(e => e.Run == run && e.FeedId > after).Take(max)]);
        }
    }

    public async IAsyncEnumerable<RecordedEvent> Scan(long after, [EnumeratorCancellation] CancellationToken ct)
    {
        while (true)
        {
            List<RecordedEvent> page;
            lock (sync)
            {
                ThrowIfAway(null);
                page = [.. events.Skip((int)Math.Min(after, events.Count)).Take(100)];
            }
            foreach (var e in page)
            {
                ct.ThrowIfCancellationRequested();
                yield return e;
            }
            if (page.Count == 0)
            {
                yield break;
            }
            after = page[^1].Position;
            await Task.Yield();
        }
    }

    public ValueTask<long> Head(CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(log.Count);
        }
    }

    public ValueTask<long?> Of(string org, Guid id, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(log.FirstOrDefault(e => e.Org == org && e.Id == id)?.Position);
        }
    }

    public ValueTask<long> At(DateTimeOffset time, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(log.LastOrDefault(e => e.At <= time)?.Position ?? 0);
        }
    }

    public ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([
                .. PastOf(org, table, query).Skip((int)query.Offset).Take(query.Limit)
                    .Select(r => new PastRow(r.Key, r.Row.Created, r.IsGone ? 0 : r.Row.Version, r.IsGone || r.Row.Updated > query.Position, r.IsGone ? default : r.Row.Value.Json)),
            ]);
        }
    }

    public ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(PastOf(org, table, query).LongCount());
        }
    }

    IEnumerable<(string Key, StoredRow Row, bool IsGone)> PastOf(string org, string table, PastQuery query)
    {
        if (models.GetValueOrDefault(table) is not { OwnerMember: { } owner })
        {
            throw new ArgumentException($"{table} is not read as of a position.", nameof(table));
        }
        return Table(table).Where(r => r.Key.Org == org).Select(r => (r.Key.Key, Row: r.Value, IsGone: false))
            .Where(r => r.Row.Updated > query.Position || (!query.OnlyChanged && (query.Status ?? r.Row.Value.Status) == r.Row.Value.Status))
            .Concat(gone.Where(g => g.Table == table && g.Org == org && g.Until > query.Position && (query.Viewer is not { } viewer || g.Row.Value.Member(owner) == viewer))
                .Select(g => (g.Key, g.Row, IsGone: true)))
            .Where(r => r.Row.Created <= query.Position && (query.Scope ?? r.Row.Value.Scope) == r.Row.Value.Scope && query.Keys?.Contains(r.Key) != false)
            .Where(r => query.Before is not { } before || r.Row.Created < before)
            .OrderByDescending(r => r.Row.Created);
    }

    public ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(Table(table).GetValueOrDefault((org, key))?.Shown(key));
        }
    }

    public ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([.. keys.Distinct().Where(key => Table(table).ContainsKey((org, key))).Select(key => Table(table)[(org, key)].Shown(key))]);
        }
    }

    /// <summary>A tenant's rows, newest first, whatever ways to list them the model has.</summary>
    public IReadOnlyList<Row> All(string org, string table)
    {
        lock (sync)
        {
            return [.. Table(table).Where(r => r.Key.Org == org).OrderByDescending(r => r.Value.Created).Select(r => r.Value.Shown(r.Key.Key))];
        }
    }

    public ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([.. Bounded(Listed(org, table, query), query)]);
        }
    }

    public async ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct)
    {
        var lists = new List<IReadOnlyList<Row>>();
        foreach (var query in queries)
        {
            lists.Add(await List(org, table, query, ct));
        }
        return lists;
    }

    public ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            var all = Listed(org, table, query).ToList();
            return new(new RowPage([.. Bounded(all.Skip((int)Math.Min(offset, all.Count)), query)], all.Count));
        }
    }

    public ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (!models.TryGetValue(table, out var model) || !model.KeepsHistory)
            {
                throw new ArgumentException($"{table} keeps no history.", nameof(table));
            }
            var position = query.Position ?? log.Count;
            if (position > log.Count)
            {
                return new((MomentPage?)null);
            }
            var all = Table(table).Where(r => r.Key.Org == org).Select(r => (r.Key.Key, Row: r.Value))
                .Concat(past.Where(p => !query.OnlyUnchanged && p.Table == table && p.Org == org && p.Until > position).Select(p => (p.Key, p.Row)))
                .Where(r => r.Row.Updated <= position && r.Row.Value.Scope == query.Scope && (query.Status ?? r.Row.Value.Status) == r.Row.Value.Status)
                .Where(r => PartsOfWords.Has(r.Row.Value.Place!.Text, query.Words))
                .Select(r => (Place: new ChangePlace(r.Row.Value.Place!.At, r.Row.Updated), Row: r.Row.Shown(r.Key)))
                .Where(r => query.After is not { } after || (r.Place.At, r.Place.Position).CompareTo((after.At, after.Position)) < 0)
                .OrderByDescending(r => r.Place.At).ThenByDescending(r => r.Place.Position).ToList();
            var bytes = 0L;
            var rows = all.Take(query.Limit).TakeWhile(r => (bytes += r.Row.Json.Length) - r.Row.Json.Length <= query.Bytes).ToList();
            return new(new MomentPage(position, rows, rows.Count < all.Count));
        }
    }

    static IEnumerable<Row> Bounded(IEnumerable<Row> rows, RowQuery query)
    {
        var bytes = 0L;
        return rows.Take(query.Limit).TakeWhile(row => (bytes += row.Json.Length) - row.Json.Length <= query.Bytes);
    }

    IEnumerable<Row> Listed(string org, string table, RowQuery query)
    {
        models.GetValueOrDefault(table)?.Check(query);
        return Table(table)
            .Where(r => r.Key.Org == org && (query.Scope ?? r.Value.Value.Scope) == r.Value.Value.Scope && (query.Status ?? r.Value.Value.Status) == r.Value.Value.Status)
            .Where(r => query.Before is null || r.Value.Created < query.Before)
            .Where(r => query.Owner is null || IsOwned(org, r.Value.Value, query.Owner))
            .Where(r => query.Having is not { } having || Member(r.Value.Value, having.Member) == having.Text)
            .Where(r => query.Named is not { } named || IsNamed(org, r.Key.Key, named))
            .OrderByDescending(r => r.Value.Created).Select(r => r.Value.Shown(r.Key.Key));
    }

    bool IsOwned(string org, RowValue row, RowOwner owner) =>
        (owner.Member is { } member ? Member(row, member) : row.Scope) is not { } key || Table(owner.Table).ContainsKey((org, key))
        || (owner.OrTable is { } other && Table(other).ContainsKey((org, key)));

    bool IsNamed(string org, string key, NamedLike named) =>
        Table(named.Table).TryGetValue((org, $"{named.Kind}-{(named.ByParent ? key[..key.IndexOf('.', StringComparison.Ordinal)] : key)}"), out var name)
        && PartsOfWords.Has(name.Value.Search!, named.Words);

    static bool IsShared(RowValue row, RowShare share) => Member(row, share.Member) is not { } value || value == share.Value;

    static string? Member(RowValue row, string name)
    {
        using var json = System.Text.Json.JsonDocument.Parse(row.Json);
        return json.RootElement.TryGetProperty(name, out var member) ? member.GetString() : null;
    }

    public ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            models.GetValueOrDefault(table)?.Check(new(Status: status));
            return new(Math.Min(
                atMost, Table(table).LongCount(r => r.Key.Org == org && r.Value.Value.Status == status && (owner is null || IsOwned(org, r.Value.Value, owner)))));
        }
    }

    public ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (!models.TryGetValue(table, out var model) || !model.Searched)
            {
                throw new ArgumentException($"{table} is not searched.", nameof(table));
            }
            var wanted = Words(query).ToHashSet();
            return new([.. Table(table).Where(r => r.Key.Org == org && (owner is null || IsOwned(org, r.Value.Value, owner)))
                .Where(r => status is null || r.Value.Value.Status == status)
                .Where(r => share is null || IsShared(r.Value.Value, share))
                .Select(r => (r.Key, Row: r.Value, Rank: Words(r.Value.Value.Search ?? "").Count(wanted.Contains)))
                .Where(r => r.Rank > 0).OrderByDescending(r => r.Rank).ThenByDescending(r => r.Row.Created).Take(limit).Select(r => r.Row.Shown(r.Key.Key))]);
        }
    }

    public async Task<long> Rebuild(IRowModel model, CancellationToken ct)
    {
        _ = Table(model.Table);
        while (true)
        {
            long head;
            lock (sync)
            {
                ThrowIfAway(null);
                if (model is IReadModel inline)
                {
                    tables[model.Table] = Fold(inline);
                    return events.LongCount(e => IsOf(e, inline));
                }
                head = events.Count;
            }
            var following = (IAsyncProjection)model;
            var made = await Fold(following, head);
            lock (sync)
            {
                if (head == events.Count)
                {
                    tables[model.Table] = made;
                    followed[model.Table] = new(model.Table, After(followed[model.Table].Checkpoint, head), null);
                    return events.LongCount(e => following.Types.Contains(e.Type));
                }
            }
        }
    }

    public async Task<string?> FindDifference(IRowModel model, CancellationToken ct)
    {
        Dictionary<(string Org, string Key), StoredRow> live, made;
        var position = 0L;
        lock (sync)
        {
            ThrowIfAway(null);
            live = new(Table(model.Table));
            made = model is IReadModel inline ? Fold(inline) : [];
            position = followed.GetValueOrDefault(model.Table)?.Checkpoint.Position ?? 0;
        }
        if (model is IAsyncProjection following)
        {
            made = await Fold(following, position);
        }
        foreach (var key in live.Keys.Union(made.Keys))
        {
            var (left, right) = (live.GetValueOrDefault(key), made.GetValueOrDefault(key));
            if (left is null || right is null || !left.IsSame(right))
            {
                return $"{key.Org} {key.Key}";
            }
        }
        return null;
    }

    public ValueTask<Progress> Progress(CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(new Progress(events.Count, [.. followed.Values.OrderBy(f => f.Table, StringComparer.Ordinal)]));
        }
    }

    public ValueTask<LogPage> Read(IReadOnlyCollection<string> types, long after, int max, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            List<RecordedEvent> page = [.. events.Skip((int)Math.Min(after, events.Count)).Where(e => types.Contains(e.Type)).Take(max)];
            return new(new LogPage(page, page.Count == max ? page[^1].Position : Math.Max(after, events.Count)));
        }
    }

    public ValueTask<IReadOnlyDictionary<RowKey, Row>> Load(string table, IReadOnlyCollection<RowKey> keys, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            var rows = followed.ContainsKey(table) ? Table(table) : throw new ArgumentException($"No model {table} follows the log.", nameof(table));
            return new(keys.Where(k => rows.ContainsKey((k.Org, k.Key))).ToDictionary(k => k, k => rows[(k.Org, k.Key)].Shown(k.Key)));
        }
    }

    public async ValueTask<Checkpoint?> Advance(string table, Checkpoint from, long to, IReadOnlyList<ProjectedRow> rows, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        // As a database would: somebody else may come first.
        await Task.Yield();
        lock (sync)
        {
            ThrowIfAway(null);
            if (followed[table].Checkpoint != from)
            {
                return null;
            }
            foreach (var row in rows.Where(r => r.Value is not null))
            {
                ThrowIfNoJson(row);
            }
            foreach (var row in rows)
            {
                Put(tables[table], row);
            }
            var at = After(from, to);
            followed[table] = new(table, at, null);
            return at;
        }
    }

    public ValueTask<bool> Park(string table, Checkpoint at, Poison poison, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (followed[table].Checkpoint != at)
            {
                return new(false);
            }
            followed[table] = followed[table] with { Parked = poison };
            return new(true);
        }
    }

    public ValueTask<Snapshot?> Load(string org, string stream, string schema, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new(snapshots.GetValueOrDefault((org, stream)) is { } kept && kept.Schema == schema ? kept : null);
        }
    }

    public ValueTask Save(string org, string stream, Snapshot snapshot, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            if (snapshots.GetValueOrDefault((org, stream)) is not { } kept || kept.Schema != snapshot.Schema || kept.Version < snapshot.Version)
            {
                snapshots[(org, stream)] = snapshot;
            }
            return default;
        }
    }

    public ValueTask<IReadOnlyList<TokenUse>> Get(string org, IReadOnlyList<TokenKey> tokens, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            return new([.. tokens.Where(token => tokenUses.ContainsKey((org, token))).Select(token => new TokenUse(org, token, tokenUses[(org, token)]))]);
        }
    }

    public ValueTask Put(IReadOnlyList<TokenUse> uses, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        lock (sync)
        {
            ThrowIfAway(null);
            foreach (var use in uses.Where(use => !(tokenUses.GetValueOrDefault((use.Org, use.Token)) >= use.At)))
            {
                tokenUses[(use.Org, use.Token)] = use.At;
            }
            return default;
        }
    }

    /// <summary>Called under the lock.</summary>
    AppendResult Write(Commit commit, Node? by)
    {
        if (commit.Done is { } done && by?.Holds(done) != true)
        {
            by?.Lose(done);
            return new AppendResult.Fenced();
        }
        if (commit.Knows is { } knows && writtenBy.Skip((int)knows).Any(node => node != by))
        {
            return new AppendResult.Moved(commit.Writes[0].Stream);
        }
        if (commit.Pins.FirstOrDefault(pin => (streams.GetValueOrDefault((commit.Org, pin.Stream))?.Count ?? 0) != pin.Version) is { } unpinned)
        {
            return new AppendResult.Moved(unpinned.Stream);
        }
        var versions = new Dictionary<string, long>();
        foreach (var write in commit.Writes)
        {
            var version = versions.TryGetValue(write.Stream, out var earlier) ? earlier : streams.GetValueOrDefault((commit.Org, write.Stream))?.Count ?? 0;
            if (version != write.Expected)
            {
                return new AppendResult.Moved(write.Stream);
            }
            versions[write.Stream] = version + write.Events.Count;
        }
        // What PostgreSQL cannot hold, nothing here may hold either.
        if (commit.Writes.SelectMany(w => w.Events).Any(e => HoldsNul(e.Data.Span)))
        {
            throw new InvalidOperationException("The database refused the commit: it cannot hold \\u0000.");
        }
        var first = log.Count + 1L;
        var entries = new List<FeedEntry>();
        foreach (var write in commit.Writes)
        {
            var from = log.Count + 1L;
            foreach (var e in write.Events)
            {
                var recorded = e with { Position = log.Count + 1 };
                events.Add(recorded);
                writtenBy.Add(by);
                Of(streams, (commit.Org, write.Stream)).Add(recorded);
                var feed = write.Session is { } session ? Of(feeds, (commit.Org, session)) : null;
                var entry = new FeedEntry(
                    feed is null ? 0 : feed.Count + 1, recorded.Position, commit.Org, write.Session, write.Run, e.Id, e.Type, e.At, e.Stream, e.Version, e.Hash, e.Actor, e.Data,
                    e.Correlation, e.Causation);
                log.Add(entry);
                feed?.Add(entry);
                entries.Add(entry);
            }
            foreach (var change in write.Rows)
            {
                var table = tables[change.Table];
                var key = (commit.Org, change.Key);
                if (models[change.Table].KeepsHistory && table.TryGetValue(key, out var replaced))
                {
                    past.Add((change.Table, commit.Org, change.Key, replaced, log.Count));
                }
                if (change.Ended > 0 && models[change.Table].OwnerMember is not null && table.TryGetValue(key, out var ended))
                {
                    gone.Add((change.Table, commit.Org, change.Key, ended, from + change.Ended - write.Expected - 1));
                }
                if (change.Row is null)
                {
                    table.Remove(key);
                }
                else
                {
                    var created = change.Made > 0 ? from + change.Made - write.Expected - 1 : table.TryGetValue(key, out var before) ? before.Created : from;
                    table[key] = new(created, from + change.Version - write.Expected - 1, change.Version, change.Row);
                }
            }
        }
        if (commit.Done is { } finished)
        {
            by!.Finish(finished);
        }
        foreach (var (kind, name) in commit.Cancelled)
        {
            if (jobs.GetValueOrDefault((commit.Org, kind, name)) is { Holder: null })
            {
                jobs.Remove((commit.Org, kind, name));
            }
        }
        foreach (var job in commit.Jobs)
        {
            Start(commit.Org, job, by);
        }
        by?.Observer?.Committed(entries);
        Changed();
        return new AppendResult.Ok(commit.Writes.Count == 0 ? 0 : first);
    }

    void Start(string org, Job job, Node? by)
    {
        var key = (org, job.Kind, job.Key);
        var due = job.Due ?? clock.GetUtcNow();
        if (!jobs.TryGetValue(key, out var known))
        {
            jobs.Add(key, new() { Due = due });
            if (job.Due is null && by?.Takes(job.Kind) == true && (job.Epoch is not null || by.Slots.TryTake(job.Kind, org)))
            {
                by.Take(key, job.Epoch);
                if (job.Epoch is null)
                {
                    by.Slots.Leave(job.Kind, org);
                }
            }
        }
        else if (known.Holder is null)
        {
            known.Due = known.Due < due ? known.Due : due;
        }
        else
        {
            known.Again = known.Again < due ? known.Again : due;
        }
    }

    void Changed()
    {
        change.TrySetResult();
        change = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    static List<T> Of<TKey, T>(Dictionary<TKey, List<T>> lists, TKey key)
        where TKey : notnull
    {
        if (!lists.TryGetValue(key, out var list))
        {
            lists.Add(key, list = []);
        }
        return list;
    }

    void ThrowIfAway(Node? by)
    {
        if (isAway || by is { IsDead: true })
        {
            throw new StorageUnavailableException("The database is away.");
        }
    }

    Dictionary<(string Org, string Key), StoredRow> Table(string table) =>
        tables.TryGetValue(table, out var rows) ? rows : throw new ArgumentException($"There is no read model {table}.", nameof(table));

    static bool IsOf(RecordedEvent e, IReadModel model) => e.Stream.StartsWith(model.Aggregate + "-", StringComparison.Ordinal);

    Dictionary<(string Org, string Key), StoredRow> Fold(IReadModel model)
    {
        var rows = new Dictionary<(string Org, string Key), StoredRow>();
        foreach (var ((org, _), past) in streams)
        {
            if (past.Any(e => e.Event is Tombstone))
            {
                continue;
            }
            var made = new Dictionary<string, (object? Row, long Created, RecordedEvent Last)>();
            foreach (var e in past.Where(e => IsOf(e, model)))
            {
                if (model.KeyOf(e) is { } key)
                {
                    var (before, created, _) = made.GetValueOrDefault(key);
                    made[key] = (model.Evolve(before, e), before is null ? e.Position : created, e);
                }
            }
            foreach (var (key, (row, created, last)) in made)
            {
                if (row is not null)
                {
                    rows.Add((org, key), new(created, last.Position, last.Version, model.Value(row)));
                }
            }
        }
        return rows;
    }

    Checkpoint After(Checkpoint before, long position)
    {
        var now = clock.GetUtcNow();
        return new(position, now > before.At ? now : before.At.AddTicks(1));
    }

    static void ThrowIfNoJson(ProjectedRow row)
    {
        try
        {
            System.Text.Json.JsonDocument.Parse(row.Value!.Json).Dispose();
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new InvalidOperationException($"The database refused the rows: {e.Message}", e);
        }
    }

    static void Put(Dictionary<(string Org, string Key), StoredRow> rows, ProjectedRow row)
    {
        if (row.Value is null)
        {
            rows.Remove((row.Key.Org, row.Key.Key));
        }
        else
        {
            rows[(row.Key.Org, row.Key.Key)] = new(row.Created, row.Updated, row.Updated, row.Value);
        }
    }

    async Task<Dictionary<(string Org, string Key), StoredRow>> Fold(IAsyncProjection model, long through)
    {
        List<RecordedEvent> past;
        lock (sync)
        {
            past = [.. events.Take((int)through).Where(e => model.Types.Contains(e.Type))];
        }
        var rows = new Dictionary<(string Org, string Key), StoredRow>();
        // Event by event: what a batch makes of them must not depend on where it was cut.
        foreach (var e in past)
        {
            var changed = await ProjectedRow.Fold(
                model, [e],
                keys => new(keys.Where(k => rows.ContainsKey((k.Org, k.Key))).ToDictionary(k => k, k => rows[(k.Org, k.Key)].Shown(k.Key))));
            foreach (var row in changed)
            {
                Put(rows, row);
            }
        }
        return rows;
    }

    /// <summary>Words as PostgreSQL's English dictionary would find them, very nearly.</summary>
    static IEnumerable<string> Words(string text)
    {
        var word = new StringBuilder();
        foreach (var c in text + " ")
        {
            if (char.IsLetterOrDigit(c))
            {
                word.Append(char.ToLowerInvariant(c));
            }
            else if (word.Length > 0)
            {
                var found = word.ToString();
                word.Clear();
                if (!StopWords.Contains(found))
                {
                    yield return found.Length > 3 ? found.TrimEnd('s') : found;
                }
            }
        }
    }

    static readonly HashSet<string> StopWords =
        [
            "a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "has", "how", "i", "in", "is", "it", "of", "on", "or", "that", "the", "to",
            "was", "what", "with",
        ];

    sealed record StoredRow(long Created, long Updated, long Version, RowValue Value)
    {
        public Row Shown(string key) => new(key, Created, Version, Value.Json);

        public bool IsSame(StoredRow other) =>
            (Created, Updated, Version, Value.Scope, Value.Status, Value.Search)
                == (other.Created, other.Updated, other.Version, other.Value.Scope, other.Value.Status, other.Value.Search)
            && Value.Place == other.Value.Place && Value.Json.Span.SequenceEqual(other.Value.Json.Span);
    }

    sealed class JobRow
    {
        public DateTimeOffset Due { get; set; }

        public Node? Holder { get; set; }

        public long Epoch { get; set; }

        /// <summary>It was asked for anew while somebody was at it.</summary>
        public DateTimeOffset? Again { get; set; }
    }

    /// <summary>One host: what it commits it hears of at once, and the jobs that it holds are its own until it has been silent for a lease.</summary>
    public sealed class Node : IEventLog, IJobQueue
    {
        static readonly TimeSpan FailureRetry = TimeSpan.FromSeconds(5);

        readonly InMemoryEngine engine;
        readonly TimeSpan lease;
        readonly Dictionary<Claim, CancellationTokenSource> held = [];
        readonly Queue<Claim> ready = [];
        readonly string[] leftToOthers;
        CancellationTokenSource? dispatching;
        DateTimeOffset? silentSince;

        internal Node(InMemoryEngine engine, string id, ICommitObserver? observer, TimeSpan lease, string[] leftToOthers, int parallel)
        {
            Slots = new(_ => parallel);
            this.engine = engine;
            this.lease = lease;
            this.leftToOthers = leftToOthers;
            Id = id;
            Observer = observer;
        }

        public string Id { get; }

        /// <summary>It admits jobs also while a test does them itself.</summary>
        public bool Admits { get; set; }

        /// <summary>It has not heard of the others yet.</summary>
        public bool SeemsAlone { get; set; }

        internal ICommitObserver? Observer { get; }

        internal bool IsDead { get; private set; }

        /// <summary>Claims that <see cref="Claims"/> would hand out at once.</summary>
        public int Ready
        {
            get
            {
                lock (engine.sync)
                {
                    return ready.Count(held.ContainsKey);
                }
            }
        }

        internal bool IsAlive => !IsDead && (silentSince is not { } since || engine.clock.GetUtcNow() < since + lease);

        /// <summary>Gone without a word, and known to be: its jobs are there for the others at once, and nothing that it still calls has any effect.</summary>
        public void Die()
        {
            lock (engine.sync)
            {
                IsDead = true;
                engine.nodes.Remove(this);
                LoseAll();
                engine.Changed();
            }
        }

        /// <summary>Stopped in its tracks, as by SIGSTOP: it gives no more signs of life, and notices nothing.</summary>
        public void Pause()
        {
            lock (engine.sync)
            {
                silentSince ??= engine.clock.GetUtcNow();
            }
        }

        /// <summary>It goes on. When it was silent for a lease its jobs are lost.</summary>
        public void Resume()
        {
            lock (engine.sync)
            {
                if (!IsAlive)
                {
                    foreach (var (claim, _) in held)
                    {
                        if (Holds(claim))
                        {
                            engine.jobs[(claim.Org, claim.Kind, claim.Key)].Holder = null;
                        }
                    }
                    LoseAll();
                }
                silentSince = null;
                engine.Changed();
            }
        }

        /// <summary>Takes jobs that are due and that no living node holds. <see cref="Claims"/> does so by itself; this is for who wants them at once.</summary>
        public int ClaimDue()
        {
            lock (engine.sync)
            {
                var now = engine.clock.GetUtcNow();
                var free = engine.jobs.Where(j => j.Value.Due <= now && Takes(j.Key.Kind) && j.Value.Holder is not { IsAlive: true }).OrderBy(j => j.Value.Due).Select(j => j.Key).ToList();
                Slots.SetWaiting([]);
                var (taken, _) = Slots.Now();
                var places = taken.ToDictionary(t => (t.Kind, t.Org), t => t.Count);
                // Who has fewest comes first, as with the real one.
                var placed = free.Select(key => (Key: key, Place: places[(key.Kind, key.Org)] = places.GetValueOrDefault((key.Kind, key.Org)) + 1)).OrderBy(p => p.Place).ToList();
                var waiting = new List<(string Kind, string Org, string Key)>();
                foreach (var (key, _) in placed)
                {
                    if (!waiting.Exists(w => (w.Kind, w.Org) == (key.Kind, key.Org)) && Slots.TryTake(key.Kind, key.Org))
                    {
                        Take(key);
                        Slots.Leave(key.Kind, key.Org);
                    }
                    else
                    {
                        waiting.Add((key.Kind, key.Org, key.Key));
                    }
                }
                Slots.SetWaiting(waiting.Select(w => (w.Kind, w.Org)));
                return free.Count - waiting.Count;
            }
        }

        public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct) => engine.Load(org, stream, after, max, ct);

        public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => engine.Append(commit, this, ct);

        public ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct) => engine.Feed(org, session, after, max, ct);

        public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct) =>
            engine.FeedOfRun(org, session, run, after, max, ct);

        public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue) =>
            engine.OfRun(org, session, run, ct, after, max);

        public IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct) => engine.Scan(after, ct);

        public void StartDispatching(IJobDispatcher dispatcher)
        {
            dispatching = new();
            _ = Dispatch(dispatcher, dispatching.Token);
        }

        public void StopDispatching() => dispatching?.Cancel();

        public JobSlots Slots { get; }

        public JobAdmission? Admit(string org, string kind)
        {
            lock (engine.sync)
            {
                return (Admits || dispatching is { IsCancellationRequested: false }) && IsAlive && Takes(kind) && Slots.TryTake(kind, org)
                    ? new(++engine.epochs, IsAlone: SeemsAlone, () => Slots.Leave(kind, org))
                    : null;
            }
        }

        public CancellationToken? LeaseOf(Claim claim)
        {
            lock (engine.sync)
            {
                return held.TryGetValue(claim, out var lost) ? lost.Token : null;
            }
        }

        async Task Dispatch(IJobDispatcher dispatcher, CancellationToken ct)
        {
            try
            {
                await foreach (var (claim, _) in Claims(ct))
                {
                    dispatcher.Dispatch(claim);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                // Told to stop.
            }
        }

        /// <summary>Claims one after another, for a test that does the jobs itself.</summary>
        public async IAsyncEnumerable<(Claim Claim, CancellationToken Lost)> Claims([EnumeratorCancellation] CancellationToken ct)
        {
            while (true)
            {
                ct.ThrowIfCancellationRequested();
                (Claim, CancellationToken)? next = null;
                Task changed;
                TimeSpan wait;
                lock (engine.sync)
                {
                    changed = engine.change.Task;
                    var now = engine.clock.GetUtcNow();
                    if (!engine.isAway && silentSince is null && !IsDead)
                    {
                        if (ready.Count == 0)
                        {
                            ClaimDue();
                        }
                        while (next is null && ready.TryDequeue(out var claim))
                        {
                            next = held.TryGetValue(claim, out var lost) ? (claim, lost.Token) : null;
                        }
                    }
                    var due = engine.jobs.Values.Where(j => j.Due > now).Select(j => j.Due - now).DefaultIfEmpty(PollPause).Min();
                    wait = due < PollPause ? due : PollPause;
                }
                if (next is { } found)
                {
                    yield return found;
                    continue;
                }
                using var awake = CancellationTokenSource.CreateLinkedTokenSource(ct);
                await Task.WhenAny(changed, Task.Delay(wait, engine.clock, awake.Token));
                await awake.CancelAsync();
            }
        }

        public ValueTask Complete(Claim claim, CancellationToken ct)
        {
            ct.ThrowIfCancellationRequested();
            lock (engine.sync)
            {
                engine.ThrowIfAway(this);
                if (Holds(claim))
                {
                    Finish(claim);
                }
                return default;
            }
        }

        public ValueTask Release(Claim claim, TimeSpan after, CancellationToken ct)
        {
            lock (engine.sync)
            {
                if (Holds(claim))
                {
                    var job = engine.jobs[(claim.Org, claim.Kind, claim.Key)];
                    var due = engine.clock.GetUtcNow() + after;
                    (job.Holder, job.Due, job.Again) = (null, job.Again < due ? job.Again.Value : due, null);
                    Drop(claim);
                    engine.Changed();
                }
                return default;
            }
        }

        public ValueTask<IReadOnlyList<(string Key, DateTimeOffset Due)>> Upcoming(string org, string kind, int max, CancellationToken ct)
        {
            lock (engine.sync)
            {
                return new([
                    .. engine.jobs.Where(j => j.Key.Org == org && j.Key.Kind == kind && j.Value.Holder is null).OrderBy(j => j.Value.Due).Take(max)
                        .Select(j => (j.Key.Key, j.Value.Due)),
                ]);
            }
        }

        public ValueTask<Backlog> Backlog(CancellationToken ct)
        {
            ct.ThrowIfCancellationRequested();
            lock (engine.sync)
            {
                engine.ThrowIfAway(this);
                var now = engine.clock.GetUtcNow();
                var held = engine.jobs.Values.LongCount(j => j.Holder is { IsAlive: true });
                var waiting = engine.jobs.Values.LongCount(j => j.Holder is not { IsAlive: true } && j.Due <= now);
                return new(new Backlog(waiting, held, engine.jobs.Count - held - waiting));
            }
        }

        public ValueTask<IReadOnlyList<KindBacklog>> BacklogByKind(CancellationToken ct)
        {
            ct.ThrowIfCancellationRequested();
            lock (engine.sync)
            {
                engine.ThrowIfAway(this);
                var now = engine.clock.GetUtcNow();
                return new([
                    .. engine.jobs.GroupBy(j => j.Key.Kind, j => j.Value).OrderBy(kind => kind.Key, StringComparer.Ordinal).Select(kind =>
                    {
                        var free = kind.Where(j => j.Holder is not { IsAlive: true }).Select(j => j.Due).ToList();
                        var (waiting, later) = (free.Where(due => due <= now).ToList(), free.Where(due => due > now).ToList());
                        return new KindBacklog(
                            kind.Key, waiting.Count, kind.Count() - free.Count, later.Count, 0, waiting.Count == 0 ? null : waiting.Min(), later.Count == 0 ? null : later.Min());
                    }),
                ]);
            }
        }

        public ValueTask Hurry(string kind, CancellationToken ct)
        {
            ct.ThrowIfCancellationRequested();
            lock (engine.sync)
            {
                engine.ThrowIfAway(this);
                var now = engine.clock.GetUtcNow();
                foreach (var job in engine.jobs.Where(j => j.Key.Kind == kind && j.Value.Holder is null && j.Value.Due > now).Select(j => j.Value))
                {
                    job.Due = now;
                }
                engine.Changed();
                return default;
            }
        }

        internal bool Takes(string kind) => !leftToOthers.Contains(kind);

        public ValueTask Fail(Claim claim, Exception why, CancellationToken ct) => Release(claim, FailureRetry, ct);

        internal bool Holds(Claim claim) =>
            held.ContainsKey(claim) && engine.jobs.TryGetValue((claim.Org, claim.Kind, claim.Key), out var job) && job.Holder == this && job.Epoch == claim.Epoch;

        /// <param name="epoch">That was given out with an admission; null: a new one.</param>
        internal void Take((string Org, string Kind, string Key) key, long? epoch = null)
        {
            var job = engine.jobs[key];
            job.Holder = this;
            job.Epoch = epoch ?? ++engine.epochs;
            var claim = new Claim(key.Org, key.Kind, key.Key, job.Epoch);
            held.Add(claim, new());
            Slots.Take(key.Kind, key.Org);
            ready.Enqueue(claim);
        }

        internal void Finish(Claim claim)
        {
            var key = (claim.Org, claim.Kind, claim.Key);
            Drop(claim);
            if (engine.jobs[key] is { Again: { } again } job)
            {
                (job.Holder, job.Due, job.Again) = (null, again, null);
                engine.Changed();
            }
            else
            {
                engine.jobs.Remove(key);
            }
        }

        internal void Lose(Claim claim)
        {
            if (held.TryGetValue(claim, out var lost))
            {
                Drop(claim);
                lost.Cancel();
            }
        }

        void Drop(Claim claim)
        {
            if (held.Remove(claim) && Slots.Leave(claim.Kind, claim.Org))
            {
                engine.Changed();
            }
        }

        void LoseAll()
        {
            foreach (var claim in held.Keys.ToList())
            {
                Lose(claim);
            }
            ready.Clear();
        }
    }
}
