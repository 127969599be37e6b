using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A memory in the index.</summary>
/// <param name="Session">The session that it came from; null: a user stated it.</param>
/// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
/// <param name="Created">Position of its first event.</param>
/// <param name="From">Its origin.</param>
/// <param name="Kept">The answer of a search; null: the text is long, and is read when a search finds it.</param>
sealed record KeptMemory(MemoryKey Key, SessionKey? Session, ProjectKey? Project, long Version, long Created, Provenance From, RetrievedMemory? Kept)
{
    /// <summary>Characters of a text that is kept in memory. Runs never get a longer one.</summary>
    const int KeptCharsMax = Limits.MemoryCharsMax;

    /// <summary>Characters of a text that are indexed.</summary>
    const int SearchedCharsMax = 100_000;

    public static KeptMemory Of(Row row, out List<string> terms)
    {
        var memory = Memories.Model.Read(row.Json.Span);
        return Of(new(row.Key), memory.SessionId, memory.Project, row.Version, row.Created, Recall(row, memory), out terms);
    }

    public static KeptMemory Of(
        MemoryKey key, SessionKey? session, ProjectKey? project, long version, long created, RetrievedMemory whole, out List<string> terms)
    {
        var text = (whole.Text as Content.Inline)?.Text ?? "";
        terms = TermIndex.Terms(text.AsSpan(0, Math.Min(text.Length, SearchedCharsMax)));
        return new(key, session, project, version, created, whole.From, text.Length > KeptCharsMax ? null : whole);
    }

    public static RetrievedMemory Recall(Row row) => Recall(row, Memories.Model.Read(row.Json.Span));

    static RetrievedMemory Recall(Row row, MemoryRow memory) => new(new(memory.Kind, memory.MemoryId, row.Version, memory.RunId, memory.Event), memory.Text);
}

/// <param name="Score">Of <see cref="TermIndex"/>.</param>
readonly record struct MemoryHit(KeptMemory Memory, double Score);

/// <summary>An event that concerns a tenant's memories.</summary>
/// <param name="Read">Parses the event.</param>
readonly record struct MemoryNews(string Stream, long Version, long Position, Func<Event> Read);

/// <summary>
/// A tenant's newest memories. The thread that commits only queues events here; the thread that searches applies them.
/// </summary>
sealed class MemoryWindow
{
    /// <summary>Queued events between two searches. Beyond it the window is dropped, and the next search loads it again.</summary>
    const int NewsMax = 1_000;

    /// <summary>Rough size in memory of a memory beside its text and terms.</summary>
    const int BytesPerMemory = 500;

    readonly TaskCompletionSource loading = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Lock newsGate = new();
    readonly Lock gate = new();
    readonly TermIndex index = new();
    readonly Dictionary<MemoryKey, (KeptMemory Memory, int Slot)> byKey = [];
    readonly Queue<MemoryKey> byAge = new();

    /// <summary>Sessions that exist. An event says when one is deleted.</summary>
    readonly HashSet<SessionKey> sure = [];
    List<MemoryNews> news = [];
    KeptMemory?[] bySlot = new KeptMemory?[256];
    int deletions;
    long textChars;
    long bytes;
    volatile bool isLoaded;
    volatile bool isLost;

    public bool IsLoaded => isLoaded;

    /// <summary>Too many events were queued.</summary>
    public bool IsLost => isLost;

    /// <summary>The tenant has no older memories.</summary>
    public bool IsWhole { get; private set; }

    /// <summary>Ends when the window is loaded, or could not be.</summary>
    public Task Loading => loading.Task;

    /// <summary>Order of use.</summary>
    public long AskedAt { get; set; }

    /// <summary>Estimated bytes in memory.</summary>
    public long Bytes => Volatile.Read(ref bytes);

    long Size => index.Bytes + ((long)byKey.Count * BytesPerMemory) + (2 * textChars);

    /// <param name="failure">Null: it is loaded.</param>
    public void EndLoading(Exception? failure)
    {
        if (failure is null)
        {
            loading.TrySetResult();
        }
        else
        {
            loading.TrySetException(failure);
        }
    }

    public void Hear(MemoryNews heard)
    {
        lock (newsGate)
        {
            if (news.Count == NewsMax)
            {
                isLost = true;
                news = [];
            }
            if (!isLost)
            {
                news.Add(heard);
            }
        }
    }

    /// <summary>Takes in what the database has, as of something later than the first news.</summary>
    /// <param name="newest">Newest first.</param>
    /// <param name="sessions">The sessions that are there.</param>
    public void Load(IReadOnlyList<Row> newest, IEnumerable<SessionKey> sessions, bool isWhole)
    {
        lock (gate)
        {
            IsWhole = isWhole;
            sure.UnionWith(sessions);
            for (var i = newest.Count - 1; i >= 0; i--)
            {
                Put(KeptMemory.Of(newest[i], out var terms), terms);
            }
            Trim();
            isLoaded = true;
            Volatile.Write(ref bytes, Size);
        }
    }

    /// <summary>The best memories of a project, and of none, for a query, and the sessions whose existence must be checked before they are answered.</summary>
    /// <returns>Sessions that perhaps are there no more, and the mark that <see cref="Settle"/> wants.</returns>
    public (List<MemoryHit> Hits, List<SessionKey> Unsure, int Mark) Find(ProjectKey? project, IReadOnlyList<string> question, int max)
    {
        lock (gate)
        {
            TakeIn();
            var best = new List<MemoryHit>(max + 1);
            foreach (var (slot, score) in index.Find(question))
            {
                var hit = new MemoryHit(bySlot[slot]!, score);
                if (hit.Memory.Project is { } of && of != project)
                {
                    continue;
                }
                var at = best.Count;
                while (at > 0 && (score > best[at - 1].Score || (score == best[at - 1].Score && hit.Memory.Created > best[at - 1].Memory.Created)))
                {
                    at--;
                }
                if (at < max)
                {
                    best.Insert(at, hit);
                    if (best.Count > max)
                    {
                        best.RemoveAt(max);
                    }
                }
            }
            return (best, [.. best.Select(hit => hit.Memory.Session).OfType<SessionKey>().Distinct().Where(session => !sure.Contains(session))], deletions);
        }
    }

    /// <summary>Records which of the sessions exist. No-op when a session was deleted since the check began.</summary>
    public void Settle(IReadOnlyList<SessionKey> unsure, IReadOnlySet<SessionKey> alive, int mark)
    {
        lock (gate)
        {
            if (mark == deletions)
            {
                foreach (var session in unsure)
                {
                    if (alive.Contains(session))
                    {
                        sure.Add(session);
                    }
                    else
                    {
                        Forget(session);
                    }
                }
            }
        }
    }

    /// <summary>The score of a memory that is not in the window.</summary>
    public double Score(IReadOnlyList<string> question, IReadOnlyList<string> terms)
    {
        lock (gate)
        {
            return index.Score(question, terms);
        }
    }

    /// <summary>Those of the rows' keys that are not in the window.</summary>
    public List<string> Without(IEnumerable<string> keys)
    {
        lock (gate)
        {
            return [.. keys.Where(key => !byKey.ContainsKey(new(key)))];
        }
    }

    void TakeIn()
    {
        List<MemoryNews> heard;
        lock (newsGate)
        {
            heard = news;
            news = [];
        }
        foreach (var one in heard)
        {
            try
            {
                switch (one.Read())
                {
                    case SessionEvent.SessionDeleted:
                        deletions++;
                        Forget(new(Session.Aggregate.KeyOf(one.Stream)));
                        break;
                    case MemoryEvent.MemoryWritten w:
                        Written(one, w.SessionId, w.Project, new(w.Kind, w.MemoryId, one.Version, w.RunId, w.Event), w.Text);
                        break;
                    case MemoryEvent.MemoryCreated c:
                        Written(one, null, c.Project, new(Memory.Fact, c.MemoryId, one.Version), c.Text);
                        break;
                    case MemoryEvent.MemoryChanged c:
                        Changed(one, c.Text);
                        break;
                    case MemoryEvent.MemoryDeleted:
                        Remove(new(Memory.Aggregate.KeyOf(one.Stream)));
                        break;
                }
            }
            catch (JsonException)
            {
                // A memory that this version cannot read is not indexed.
            }
        }
    }

    /// <summary>A changed text of a memory that is here. Any other is too old, or its session was deleted.</summary>
    void Changed(MemoryNews one, Content text)
    {
        if (byKey.TryGetValue(new(Memory.Aggregate.KeyOf(one.Stream)), out var known))
        {
            var memory = known.Memory;
            Written(one, memory.Session, memory.Project, memory.From with { Version = one.Version }, text);
        }
    }

    void Written(MemoryNews one, SessionKey? session, ProjectKey? project, Provenance from, Content text)
    {
        var key = new MemoryKey(Memory.Aggregate.KeyOf(one.Stream));
        var isKnown = byKey.TryGetValue(key, out var known);
        // A later version of a memory that is not here: the memory is too old, or its session was deleted.
        if (isKnown ? known.Memory.Version >= one.Version : one.Version > 1)
        {
            return;
        }
        var whole = new RetrievedMemory(from, text);
        var memory = KeptMemory.Of(key, session, project, one.Version, isKnown ? known.Memory.Created : one.Position, whole, out var terms);
        if (isKnown)
        {
            Remove(key);
        }
        Put(memory, terms, isNew: !isKnown);
        Trim();
        Volatile.Write(ref bytes, Size);
    }

    /// <summary>Removes the oldest memories beyond the limits.</summary>
    void Trim()
    {
        while (byKey.Count > MemoryIndex.NewestMax || (Size > MemoryIndex.TenantBytesMax && byKey.Count > 1))
        {
            IsWhole = false;
            Remove(byAge.Dequeue());
            if (index.IsSparse)
            {
                Compact();
            }
        }
    }

    void Put(KeptMemory memory, List<string> terms, bool isNew = true)
    {
        if (index.IsSparse)
        {
            Compact();
        }
        var slot = index.Add(terms);
        if (slot >= bySlot.Length)
        {
            Array.Resize(ref bySlot, bySlot.Length * 2);
        }
        bySlot[slot] = memory;
        byKey[memory.Key] = (memory, slot);
        textChars += CharsOf(memory);
        if (isNew)
        {
            byAge.Enqueue(memory.Key);
        }
        if (byAge.Count > (2 * byKey.Count) + MemoryIndex.NewestMax)
        {
            // Keys of deleted sessions' memories.
            var rest = byAge.Where(byKey.ContainsKey).ToList();
            byAge.Clear();
            rest.ForEach(byAge.Enqueue);
        }
    }

    void Remove(MemoryKey key)
    {
        if (byKey.Remove(key, out var known))
        {
            index.Remove(known.Slot);
            bySlot[known.Slot] = null;
            textChars -= CharsOf(known.Memory);
        }
    }

    void Forget(SessionKey session)
    {
        sure.Remove(session);
        foreach (var key in byKey.Where(m => m.Value.Memory.Session == session).Select(m => m.Key).ToList())
        {
            Remove(key);
        }
    }

    void Compact()
    {
        var moved = index.Compact();
        var compacted = new KeptMemory?[Math.Max(256, bySlot.Length / 2)];
        foreach (var (key, (memory, slot)) in byKey.ToList())
        {
            compacted[moved[slot]] = memory;
            byKey[key] = (memory, moved[slot]);
        }
        bySlot = compacted;
    }

    static int CharsOf(KeptMemory memory) => (memory.Kept?.Text as Content.Inline)?.Text.Length ?? 0;
}
