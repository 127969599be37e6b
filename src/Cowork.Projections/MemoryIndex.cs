using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// A full-text index over each tenant's newest memories, in this process, so that a search costs the same at any number of memories. It follows this node's commits
/// as long as their positions are consecutive. Positions are missing where another node wrote; the index reads those events from the log before it answers a
/// search that must know of them. Older memories are searched in the database, by <see cref="All"/> only.
/// </summary>
public sealed class MemoryIndex(IRows rows, IAsyncProjectionStore log) : ICommitObserver, IDisposable
{
    /// <summary>Memories of a tenant in the index: the newest by the time of their first version.</summary>
    public const int NewestMax = 2_000;

    /// <summary>Older memories that <see cref="All"/> ranks.</summary>
    const int OlderMax = 50;

    /// <summary>Bytes of a tenant. Beyond it the oldest memories are left to the database.</summary>
    public const long TenantBytesMax = 16 << 20;

    /// <summary>Bytes of all tenants together. Beyond it the least recently used tenant is dropped.</summary>
    const long BytesMax = 64 << 20;

    /// <summary>Characters of a query that are searched for.</summary>
    const int QuestionCharsMax = 4_000;

    const int EventsPerPage = 500;

    const int RowsPerPage = 500;

    /// <summary>Rows to read at most while too few of the memories belong to sessions that exist.</summary>
    const int RowsMax = 4 * NewestMax;

    /// <summary>Searches between two checks of what all tenants take.</summary>
    const int SearchesPerCheck = 256;

    /// <summary>Pages of the log to read at most. An index that is further behind is dropped and loaded again.</summary>
    const int PagesMax = 10;

    static readonly IReadOnlyList<string> Types = [.. Memories.EventNames, .. EventTypes.NamesOf(typeof(SessionEvent.SessionDeleted))];

    readonly Lock gate = new();
    readonly Dictionary<string, MemoryWindow> tenants = [];
    readonly SemaphoreSlim reading = new(1);

    /// <summary>The tenants have received every event up to this position.</summary>
    long through;

    /// <summary>Position of the last event that this node wrote. A client of this node may know of every event before it.</summary>
    long written;
    long asked;

    /// <summary>The tenants receive the events after <see cref="through"/>. False: <see cref="through"/> is of no use yet.</summary>
    volatile bool isListening;

    /// <summary>The position of the log up to which the index knows every event.</summary>
    public long Through => Volatile.Read(ref through);

    /// <summary>The newest memories of a project, and of none, that share a word with the text, by score, then the newest first.</summary>
    /// <param name="project">Null: the built-in one.</param>
    /// <param name="since">A position in the log. Memories that any node wrote before it are found.</param>
    public async ValueTask<IReadOnlyList<RetrievedMemory>> Newest(string org, ProjectKey? project, string text, int max, long since, CancellationToken ct)
    {
        var question = Question(text);
        var tenant = await Ready(org, since, ct);
        var hits = await Hits(org, tenant, project, question, max, ct);
        return await Recall(org, hits, ct);
    }

    /// <summary>As <see cref="Newest"/>, over all memories of now. Older ones come from a table that follows the log by some milliseconds.</summary>
    public async ValueTask<IReadOnlyList<RetrievedMemory>> All(string org, ProjectKey? project, string text, int max, CancellationToken ct)
    {
        var question = Question(text);
        var tenant = await Ready(org, long.MaxValue, ct);
        var hits = await Hits(org, tenant, project, question, max, ct);
        if (!tenant.IsWhole && question.Count > 0)
        {
            var found = await rows.Search(org, MemoryWords.Model.Table, text, OlderMax, Memories.OwnerOfRetrieved, null, MemoryWords.For(project), ct);
            var older = tenant.Without(found.Select(row => row.Key));
            foreach (var row in older.Count > 0 ? await rows.Get(org, Memories.Model.Table, older, ct) : [])
            {
                var memory = KeptMemory.Of(row, out var words);
                hits.Add(new(memory, tenant.Score(question, words)));
            }
            hits = [.. hits.Where(hit => hit.Score > 0).OrderByDescending(hit => hit.Score).ThenByDescending(hit => hit.Memory.Created).Take(max)];
        }
        return await Recall(org, hits, ct);
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        lock (gate)
        {
            written = entries is [.., var last] ? last.Position : written;
            foreach (var entry in entries)
            {
                if (entry.Position != through + 1)
                {
                    // The index has it already, or events of another node are missing before it.
                    continue;
                }
                through = entry.Position;
                if (Types.Contains(entry.Type) && tenants.TryGetValue(entry.Org, out var tenant))
                {
                    tenant.Hear(new(entry.Stream, entry.Version, entry.Position, () => entry.Read()));
                }
            }
        }
    }

    /// <summary>No-op: a missing position tells.</summary>
    public void OthersWrote()
    {
    }

    /// <summary>Forgets a tenant's memories: some may have been erased. The next search reads them again.</summary>
    public void Forget(string org)
    {
        lock (gate)
        {
            tenants.Remove(org);
        }
    }

    public void Dispose() => reading.Dispose();

    static List<string> Question(string text) => TermIndex.Terms(text.AsSpan(0, Math.Min(text.Length, QuestionCharsMax)));

    /// <summary>The tenant's index with all events before a position.</summary>
    async ValueTask<MemoryWindow> Ready(string org, long since, CancellationToken ct)
    {
        while (true)
        {
            MemoryWindow? tenant;
            var isWanted = false;
            lock (gate)
            {
                since = Math.Max(since, written);
                tenant = tenants.GetValueOrDefault(org);
                if (tenant is { IsLoaded: true, IsLost: false } && through >= since)
                {
                    tenant.AskedAt = ++asked;
                    return tenant;
                }
                isWanted = isListening && (tenant is null || tenant.IsLost);
                if (isWanted)
                {
                    tenants[org] = tenant = new();
                }
            }
            if (isWanted)
            {
                // Every search of the tenant waits for it, so that no single request may cancel it.
                _ = Load(org, tenant!);
            }
            if (tenant is not null)
            {
                await tenant.Loading.WaitAsync(ct);
            }
            await reading.WaitAsync(ct);
            try
            {
                if (!isListening)
                {
                    // The tenants receive every event from here on.
                    var head = (await log.Progress(ct)).Head;
                    lock (gate)
                    {
                        through = Math.Max(through, head);
                        isListening = true;
                    }
                }
                else if ((since == long.MaxValue || Through < since) && await CatchUp(since, ct) && since == long.MaxValue)
                {
                    lock (gate)
                    {
                        if (tenant is { IsLoaded: true, IsLost: false } && tenants.GetValueOrDefault(org) == tenant)
                        {
                            tenant.AskedAt = ++asked;
                            return tenant;
                        }
                    }
                }
            }
            finally
            {
                reading.Release();
            }
        }
    }

    /// <summary>Loads a tenant's newest memories. The index receives commits meanwhile.</summary>
    async Task Load(string org, MemoryWindow tenant)
    {
        try
        {
            var (memories, alive, before, isWhole, bytes) = (new List<Row>(), new HashSet<SessionKey>(), (long?)null, false, 0L);
            for (var read = 0; memories.Count < NewestMax && !isWhole && read < RowsMax && bytes < TenantBytesMax; read += RowsPerPage)
            {
                var page = await rows.List(org, Memories.Model.Table, new(Limit: RowsPerPage, Before: before), CancellationToken.None);
                var found = page.Select(row => (Row: row, Session: Memories.Model.Read(row.Json.Span).SessionId)).ToList();
                alive.UnionWith(await Alive(org, found.Select(r => r.Session).OfType<SessionKey>().Distinct(), CancellationToken.None));
                var kept = found.Where(r => r.Session is not { } session || alive.Contains(session)).Select(r => r.Row).Take(NewestMax - memories.Count).ToList();
                memories.AddRange(kept);
                bytes += kept.Sum(row => (long)row.Json.Length);
                (before, isWhole) = (page is [.., var last] ? last.Created : null, page.Count < RowsPerPage);
            }
            tenant.Load(memories, alive, isWhole);
            Evict(tenant);
            tenant.EndLoading(null);
        }
#pragma warning disable CA1031 // Every search that waits for it hears of it.
        catch (Exception e)
#pragma warning restore CA1031
        {
            lock (gate)
            {
                if (tenants.GetValueOrDefault(org) == tenant)
                {
                    tenants.Remove(org);
                }
            }
            tenant.EndLoading(e);
        }
    }

    /// <summary>Drops the least recently used tenants beyond the limit.</summary>
    /// <param name="but">The one that is in use.</param>
    void Evict(MemoryWindow but)
    {
        lock (gate)
        {
            for (var bytes = tenants.Values.Sum(t => t.Bytes); bytes > BytesMax && tenants.Count > 1;)
            {
                var (oldest, other) = tenants.Where(t => t.Value != but).MinBy(t => t.Value.AskedAt);
                bytes -= other.Bytes;
                tenants.Remove(oldest);
            }
        }
    }

    /// <summary>Reads the log up to a position, or to its end. False: the index was too far behind, and every tenant was dropped.</summary>
    async ValueTask<bool> CatchUp(long since, CancellationToken ct)
    {
        for (var pages = 0; ; pages++)
        {
            var from = Through;
            if (from >= since)
            {
                return true;
            }
            if (pages == PagesMax)
            {
                lock (gate)
                {
                    tenants.Clear();
                    isListening = false;
                }
                return false;
            }
            var page = await log.Read(Types, from, EventsPerPage, ct);
            lock (gate)
            {
                foreach (var e in page.Events)
                {
                    if (e.Position > through && tenants.TryGetValue(e.Org, out var tenant))
                    {
                        tenant.Hear(new(e.Stream, e.Version, e.Position, () => e.Event));
                    }
                }
                // A memory that this version cannot read is not indexed.
                through = Math.Max(through, page.Unreadable?.Position ?? page.Through);
            }
            if (page.Unreadable is null && page.Through == from)
            {
                return true;
            }
        }
    }

    /// <summary>The best of the newest memories whose sessions exist.</summary>
    async ValueTask<List<MemoryHit>> Hits(string org, MemoryWindow tenant, ProjectKey? project, List<string> question, int max, CancellationToken ct)
    {
        if (Volatile.Read(ref asked) % SearchesPerCheck == 0)
        {
            Evict(tenant);
        }
        while (true)
        {
            var (hits, unsure, deletions) = tenant.Find(project, question, max);
            if (unsure.Count == 0)
            {
                return hits;
            }
            tenant.Settle(unsure, await Alive(org, unsure, ct), deletions);
        }
    }

    async ValueTask<HashSet<SessionKey>> Alive(string org, IEnumerable<SessionKey> sessions, CancellationToken ct)
    {
        List<string> asked = [.. sessions.Select(session => session.Value)];
        if (asked.Count == 0)
        {
            return [];
        }
        HashSet<SessionKey> alive = [.. (await rows.Get(org, Sessions.Model.Table, asked, ct)).Select(row => new SessionKey(row.Key))];
        if (alive.Count < asked.Count)
        {
            alive.UnionWith((await rows.Get(org, GroupSessions.Model.Table, asked, ct)).Select(row => new SessionKey(row.Key)));
        }
        return alive;
    }

    async ValueTask<IReadOnlyList<RetrievedMemory>> Recall(string org, List<MemoryHit> hits, CancellationToken ct)
    {
        var elsewhere = hits.Where(hit => hit.Memory.Kept is null).Select(hit => hit.Memory.Key.Value).ToList();
        Dictionary<string, RetrievedMemory> read = [];
        foreach (var row in elsewhere.Count == 0 ? [] : await rows.Get(org, Memories.Model.Table, elsewhere, ct))
        {
            read.Add(row.Key, KeptMemory.Recall(row));
        }
        return [.. hits.Select(hit => hit.Memory.Kept ?? read.GetValueOrDefault(hit.Memory.Key.Value)).OfType<RetrievedMemory>()];
    }
}
