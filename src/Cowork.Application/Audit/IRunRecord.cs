using System.Runtime.CompilerServices;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Everything that is recorded of a run and that its loop rests on: its own events, the texts that they name, the settings, and what came before it. It is only read.
/// </summary>
public interface IRunRecord : IEarlierTurns
{
    string Org { get; }

    RunKey Run { get; }

    /// <summary>The run's own stream from version 1 on, in order.</summary>
    IAsyncEnumerable<RecordedEvent> Events(CancellationToken ct);

    /// <summary>The stream of the run whose beginning is this one's past, from version 1 up to the cut, in order.</summary>
    IAsyncEnumerable<RecordedEvent> Past(RunCut cut, CancellationToken ct);

    /// <summary>What the run left in other streams (<see cref="RunEffects.Is"/>), in the order of the log.</summary>
    IAsyncEnumerable<RecordedEvent> Effects(CancellationToken ct);

    /// <summary>The artifacts and memories that the other run had left where this one goes off from it, in the order of the log.</summary>
    IAsyncEnumerable<RecordedEvent> PastEffects(RunCut cut, CancellationToken ct);

    /// <summary>The files that the cell wrote which a step of a run executed; null: the record does not say.</summary>
    ValueTask<IReadOnlyList<CellFile>?> FilesOfCell(RunKey of, int step, CancellationToken ct);

    /// <summary>What the blob store has under a digest; null: nothing.</summary>
    ValueTask<byte[]?> Blob(string sha256, CancellationToken ct);
}

/// <summary>A run as the log of this host has it, read in pages.</summary>
public sealed class LoggedRun(IEventLog log, IBlobs blobs, string org, RunKey run) : IRunRecord
{
    const int PageEvents = 200;

    /// <summary>Each round of a run shows the same ones.</summary>
    readonly Dictionary<RunKey, EarlierTurn?> turns = [];

    readonly Dictionary<RunCut, EarlierPart?> parts = [];

    readonly Dictionary<RunKey, Dictionary<CellKey, IReadOnlyList<CellFile>>> cells = [];

    long? through;

    public string Org { get; } = org;

    public RunKey Run { get; } = run;

    public async IAsyncEnumerable<RecordedEvent> Events([EnumeratorCancellation] CancellationToken ct)
    {
        var end = await Through(ct);
        await foreach (var e in Pages(log, Org, Run, ct))
        {
            if (e.Position > end)
            {
                yield break;
            }
            yield return e;
        }
    }

    public async IAsyncEnumerable<RecordedEvent> Effects([EnumeratorCancellation] CancellationToken ct)
    {
        var end = await Through(ct);
        await foreach (var entry in EntriesOf(log, Org, Run, ct))
        {
            if (entry.Position <= end && RunEffects.Is(entry.Type))
            {
                yield return Recorded(entry);
            }
        }
    }

    public IAsyncEnumerable<RecordedEvent> PastEffects(RunCut cut, CancellationToken ct) => LeftBy(log, Org, cut, ct);

    /// <summary>The artifacts and memories that a run had left at one of its events.</summary>
    public static async IAsyncEnumerable<RecordedEvent> LeftBy(IEventLog log, string org, RunCut cut, [EnumeratorCancellation] CancellationToken ct)
    {
        var isBehind = false;
        await foreach (var entry in EntriesOf(log, org, cut.RunId, ct))
        {
            isBehind |= entry.Stream == Domain.Run.Aggregate.Stream(cut.RunId) && entry.Version > cut.Version;
            // Behind the event lie artifacts of its own commit, which may have judged the next calls too, and refused them.
            if (isBehind && entry.Read() is RunEvent later
                && later is not (RunEvent.PolicyDecision or RunEvent.ApprovalRequested or RunEvent.ToolResult { IsError: true, StartedAt: null }))
            {
                yield break;
            }
            if (entry.Is<ArtifactEvent.ArtifactDiscovered>() || (!isBehind && entry.Is<MemoryEvent.MemoryWritten>()))
            {
                yield return Recorded(entry);
            }
        }
    }

    public async ValueTask<IReadOnlyList<CellFile>?> FilesOfCell(RunKey of, int step, CancellationToken ct)
    {
        if (!cells.TryGetValue(of, out var known))
        {
            cells[of] = known = await CellsOf(of, ct);
        }
        return known.GetValueOrDefault(UseScratchpad.CellOf(of, step));
    }

    /// <summary>The files of each cell that a run executed.</summary>
    async ValueTask<Dictionary<CellKey, IReadOnlyList<CellFile>>> CellsOf(RunKey of, CancellationToken ct)
    {
        var (found, executions) = (new Dictionary<CellKey, IReadOnlyList<CellFile>>(), new HashSet<(string Stream, int Execution)>());
        if (await SessionOf(log, Org, of, ct) is not { } session || await log.OfRun(Org, session, of, ct, 0, 1) is not [var first, ..])
        {
            return found;
        }
        var (end, stream) = (await Through(ct), Domain.Run.Aggregate.Stream(of));
        for (var after = first.FeedId; (await log.Feed(Org, session, after, PageEvents, ct)).Entries is [.., var newest] page; after = newest.FeedId)
        {
            foreach (var entry in page)
            {
                if (entry.Position > end || (entry.Stream == stream && (entry.Is<RunEvent.RunCompleted>() || entry.Is<RunEvent.RunFailed>() || entry.Is<RunEvent.RunCancelled>())))
                {
                    return found;
                }
                if (entry.Is<ScratchpadEvent.CellQueued>() && entry.Read() is ScratchpadEvent.CellQueued queued && queued.RunId == of)
                {
                    executions.Add((entry.Stream, queued.Execution));
                }
                else if (entry.Is<ScratchpadEvent.CellCompleted>() && entry.Read() is ScratchpadEvent.CellCompleted done && executions.Contains((entry.Stream, done.Execution)))
                {
                    found[done.CellId] = done.Result.Files ?? [];
                }
            }
        }
        return found;
    }

    /// <summary>What is recorded by now: what comes later, while the record is read, is not in it.</summary>
    async ValueTask<long> Through(CancellationToken ct) => through ??= (await log.Feed(Org, null, long.MaxValue - 1, 1, ct)).Head;

    static async ValueTask<SessionKey?> SessionOf(IEventLog log, string org, RunKey of, CancellationToken ct) =>
        (await log.Load(org, Domain.Run.Aggregate.Stream(of), 0, 1, ct)).Events is [{ Event: RunEvent.RunCreated created }] ? created.SessionId : null;

    /// <summary>All that concerns a run, in the order of the log.</summary>
    static async IAsyncEnumerable<FeedEntry> EntriesOf(IEventLog log, string org, RunKey of, [EnumeratorCancellation] CancellationToken ct)
    {
        if (await SessionOf(log, org, of, ct) is not { } session)
        {
            yield break;
        }
        for (var after = 0L; await log.OfRun(org, session, of, ct, after, PageEvents) is [.., var newest] page; after = newest.FeedId)
        {
            foreach (var entry in page)
            {
                yield return entry;
            }
        }
    }

    static RecordedEvent Recorded(FeedEntry entry) => new(
        entry.Org, entry.Stream, entry.Version, entry.Id, entry.Type, entry.Read(), entry.Data, entry.At, entry.Actor, entry.Hash, entry.Position, entry.Correlation,
        entry.Causation);

    public IAsyncEnumerable<RecordedEvent> Past(RunCut cut, CancellationToken ct) => RunRecords.UpTo(log, Org, cut.RunId, cut.Version, ct);

    /// <summary>The turn of a run, from its own stream; null: it has not completed.</summary>
    public async ValueTask<EarlierTurn?> Turn(RunKey of, CancellationToken ct)
    {
        if (turns.TryGetValue(of, out var known))
        {
            return known;
        }
        Content? message = null, reply = null;
        var hasCompleted = false;
        await foreach (var e in Pages(log, Org, of, ct))
        {
            message = e.Event is RunEvent.RunCreated created ? created.Message : message;
            reply = e.Event is RunEvent.AssistantReply said ? said.Content : reply;
            hasCompleted |= e.Event is RunEvent.RunCompleted;
        }
        return turns[of] = hasCompleted && message is not null && reply is not null ? new(of, message, reply) : null;
    }

    /// <summary>What was said in a group, from the streams of its runs.</summary>
    public async ValueTask<IReadOnlyList<Content?>> Said(string org, IReadOnlyList<GroupEntry> entries, CancellationToken ct)
    {
        var found = new List<Content?>(entries.Count);
        foreach (var entry in entries)
        {
            // A run that answers a message need not have ended.
            found.Add(entry.AgentId is not null ? (await Turn(entry.RunId, ct))?.Reply
                : (await log.Load(Org, Domain.Run.Aggregate.Stream(entry.RunId), 0, 1, ct)).Events is [{ Event: RunEvent.RunCreated created }] ? created.Message
                : null);
        }
        return found;
    }

    public async ValueTask<EarlierPart?> Part(string org, RunCut cut, CancellationToken ct)
    {
        if (parts.TryGetValue(cut, out var known))
        {
            return known;
        }
        var state = Domain.Run.Aggregate.Initial;
        await foreach (var e in Pages(log, Org, cut.RunId, ct))
        {
            if (e.Version > cut.Version)
            {
                break;
            }
            state = Domain.Run.Evolve(state, (RunEvent)e.Event);
        }
        return parts[cut] = EarlierPart.Of(state);
    }

    /// <summary>A run's own stream, in order, read in pages.</summary>
    internal static async IAsyncEnumerable<RecordedEvent> Pages(IEventLog log, string org, RunKey of, [EnumeratorCancellation] CancellationToken ct)
    {
        var stream = Domain.Run.Aggregate.Stream(of);
        var after = 0L;
        while (true)
        {
            var page = await log.Load(org, stream, after, PageEvents, ct);
            foreach (var e in page.Events)
            {
                yield return e;
            }
            if (page.Events.Count < PageEvents)
            {
                yield break;
            }
            after = page.Version;
        }
    }

    public ValueTask<byte[]?> Blob(string sha256, CancellationToken ct) => blobs.Get(sha256, ct);

    public async ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<RunKey> runs, CancellationToken ct)
    {
        var found = new List<EarlierTurn>(runs.Count);
        foreach (var run in runs)
        {
            if (await Turn(run, ct) is { } turn)
            {
                found.Add(turn);
            }
        }
        return found;
    }
}

/// <summary>The blobs of a record. Nothing is stored: what a replay makes is what the record has, or it is not kept.</summary>
sealed class RecordedBlobs(IRunRecord record) : IBlobs
{
    public bool HasRoom() => true;

    public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => throw Effect();

    public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => throw Effect();

    public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => throw Effect();

    public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => record.Blob(sha256, ct);

    public async ValueTask<Stream?> Open(string sha256, CancellationToken ct) => await Get(sha256, ct) is { } bytes ? new MemoryStream(bytes, writable: false) : null;

    static InvalidOperationException Effect() => new("A replay stores nothing.");
}
