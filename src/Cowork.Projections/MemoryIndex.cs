using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// The full text of each tenant's newest memories, in this process: a run that starts is reminded in the same time at any number of memories. It is kept up with
/// this node's commits, as long as their positions follow each other; where another node wrote they do not, and what is missing is read from the log before
/// anything is answered that must know of it. Older memories are found in the database, by <see cref="All"/> only.
/// </summary>
public sealed class MemoryIndex(IRows rows, IAsyncProjectionStore log) : ICommitObserver, IDisposable
{
    /// <summary>Memories of a tenant that are kept here, the newest by when they were first written.</summary>
    public const int NewestMax = 2_000;

    /// <summary>Older memories that <see cref="All"/> looks at.</summary>
    const int OlderMax = 50;

    /// <summary>What all tenants may take together; the one that was asked for longest ago goes first.</summary>
    const long BytesMax = 64 << 20;

    /// <summary>Characters of a question that are looked at.</summary>
    const int QuestionCharsMax = 4_000;

    const int EventsPerPage = 500;

    /// <summary>Pages of rows that are read to find enough memories whose sessions are not deleted.</summary>
    const int RowPagesMax = 4;

    /// <summary>Pages of the log that are worth reading to catch up; further behind, the tenants are read anew.</summary>
    const int PagesMax = 10;

    static readonly IReadOnlyList<string> Types = [.. EventTypes.NamesOf(typeof(MemoryEvent.MemoryWritten)), .. EventTypes.NamesOf(typeof(SessionEvent.SessionDeleted))];

    readonly Lock gate = new();
    readonly Dictionary<string, MemoryWindow> tenants = [];
    readonly SemaphoreSlim reading = new(1);

    /// <summary>Everything up to this position has been handed to the tenants.</summary>
    long through;

    /// <summary>Position of the last event that this node wrote: what was written before it is known to whoever asks, too.</summary>
    long written;
    long asked;

    /// <summary>Newest memories that share a word with the text, by how much they share, then the newest.</summary>
    /// <param name="since">Position of something in the log: whatever was written before it, on any node, is found.</param>
    public async ValueTask<IReadOnlyList<RetrievedMemory>> Newest(string org, string text, int max, long since, CancellationToken ct)
    {
        var question = Question(text);
        var tenant = await Ready(org, since, ct);
        var hits = await Hits(org, tenant, question, max, ct);
        return await Recall(org, hits, ct);
    }

    /// <summary>As <see cref="Newest"/>, of all memories, as of now. Older ones are searched in the database, a little behind the log.</summary>
    public async ValueTask<IReadOnlyList<RetrievedMemory>> All(string org, string text, int max, CancellationToken ct)
    {
        var question = Question(text);
        var tenant = await Ready(org, long.MaxValue, ct);
        var hits = await Hits(org, tenant, question, max, ct);
        if (!tenant.IsWhole && question.Count > 0)
        {
            var found = await rows.Search(org, MemoryWords.Model.Table, text, OlderMax, Sessions.Model.Table, ct);
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
                    // Known already, or after something of another node that is still to be read.
                    continue;
                }
                through = entry.Position;
                if (Types.Contains(entry.Type) && tenants.TryGetValue(entry.Org, out var tenant))
                {
                    tenant.Hear(new(entry.Stream, entry.Version, entry.Position, () => EventJson.Read(entry.Type, entry.Data.Span, entry.At)));
                }
            }
        }
    }

    /// <summary>It shows by a position that is missing.</summary>
    public void OthersWrote()
    {
    }

    public void Dispose() => reading.Dispose();

    static List<string> Question(string text) => TermIndex.Terms(text.AsSpan(0, Math.Min(text.Length, QuestionCharsMax)));

    /// <summary>The tenant with all that was written before a position.</summary>
    async ValueTask<MemoryWindow> Ready(string org, long since, CancellationToken ct)
    {
        while (true)
        {
            MemoryWindow? tenant;
            lock (gate)
            {
                since = Math.Max(since, written);
                tenant = tenants.GetValueOrDefault(org);
                if (tenant is { IsLoaded: true, IsLost: false } && through >= since)
                {
                    tenant.AskedAt = ++asked;
                    return tenant;
                }
            }
            await reading.WaitAsync(ct);
            try
            {
                lock (gate)
                {
                    tenant = tenants.GetValueOrDefault(org);
                }
                if (tenant is not { IsLoaded: true, IsLost: false })
                {
                    tenant = await Load(org, ct);
                }
                if (since == long.MaxValue || Volatile.Read(ref through) < since)
                {
                    if (!await CatchUp(since, ct))
                    {
                        continue;
                    }
                }
                lock (gate)
                {
                    tenant.AskedAt = ++asked;
                }
                return tenant;
            }
            finally
            {
                reading.Release();
            }
        }
    }

    /// <summary>Reads a tenant's newest memories, while it already hears of what is committed.</summary>
    async ValueTask<MemoryWindow> Load(string org, CancellationToken ct)
    {
        var tenant = new MemoryWindow();
        var isFirst = false;
        lock (gate)
        {
            isFirst = tenants.Count == 0;
        }
        var head = isFirst ? (await log.Progress(ct)).Head : 0;
        lock (gate)
        {
            if (isFirst)
            {
                // Nobody has listened so far.
                through = Math.Max(through, head);
            }
            tenants[org] = tenant;
        }
        try
        {
            var (memories, alive, before, isWhole) = (new List<Row>(), new HashSet<SessionKey>(), (long?)null, false);
            for (var pages = 0; pages < RowPagesMax && memories.Count < NewestMax && !isWhole; pages++)
            {
                var page = await rows.List(org, Memories.Model.Table, new(Limit: NewestMax, Before: before), ct);
                var read = page.Select(row => (Row: row, Session: Memories.Model.Read(row.Json.Span).SessionId)).ToList();
                alive.UnionWith(await Alive(org, read.Select(r => r.Session).Distinct(), ct));
                memories.AddRange(read.Where(r => alive.Contains(r.Session)).Select(r => r.Row).Take(NewestMax - memories.Count));
                (before, isWhole) = (page is [.., var last] ? last.Created : null, page.Count < NewestMax);
            }
            tenant.Load(memories, alive, isWhole);
        }
        catch
        {
            lock (gate)
            {
                tenants.Remove(org);
            }
            throw;
        }
        lock (gate)
        {
            for (var bytes = tenants.Values.Sum(t => t.Bytes); bytes > BytesMax && tenants.Count > 1;)
            {
                var (oldest, other) = tenants.Where(t => t.Value != tenant).MinBy(t => t.Value.AskedAt);
                bytes -= other.Bytes;
                tenants.Remove(oldest);
            }
        }
        return tenant;
    }

    /// <summary>Reads the log up to a position, or to its end. False: it was too much, and all tenants are to be read anew.</summary>
    async ValueTask<bool> CatchUp(long since, CancellationToken ct)
    {
        for (var pages = 0; ; pages++)
        {
            var from = Volatile.Read(ref through);
            if (from >= since)
            {
                return true;
            }
            if (pages == PagesMax)
            {
                lock (gate)
                {
                    tenants.Clear();
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
                // One that this version cannot read reminds nobody.
                through = Math.Max(through, page.Unreadable?.Position ?? page.Through);
            }
            if (page.Unreadable is null && page.Through == from)
            {
                return true;
            }
        }
    }

    /// <summary>The best of the newest, without those of sessions that are gone.</summary>
    async ValueTask<List<MemoryHit>> Hits(string org, MemoryWindow tenant, List<string> question, int max, CancellationToken ct)
    {
        while (true)
        {
            var (hits, unsure, deletions) = tenant.Find(question, max);
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
        return asked.Count == 0 ? [] : [.. (await rows.Get(org, Sessions.Model.Table, asked, ct)).Select(row => new SessionKey(row.Key))];
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
