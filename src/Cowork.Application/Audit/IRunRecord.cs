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

    /// <summary>What the run made below its output roots, in order.</summary>
    ValueTask<IReadOnlyList<ArtifactEvent.ArtifactDiscovered>> Artifacts(CancellationToken ct);

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

    public string Org { get; } = org;

    public RunKey Run { get; } = run;

    public IAsyncEnumerable<RecordedEvent> Events(CancellationToken ct) => Pages(log, Org, Run, ct);

    public IAsyncEnumerable<RecordedEvent> Past(RunCut cut, CancellationToken ct) => RunRecords.UpTo(log, Org, cut.RunId, cut.Version, ct);

    public async ValueTask<IReadOnlyList<ArtifactEvent.ArtifactDiscovered>> Artifacts(CancellationToken ct)
    {
        var begin = await log.Load(Org, Domain.Run.Aggregate.Stream(Run), 0, 1, ct);
        return begin.Events is [{ Event: RunEvent.RunCreated created }]
            ? [.. (await log.OfRun(Org, created.SessionId, Run, ct)).Where(entry => entry.Is<ArtifactEvent.ArtifactDiscovered>())
                .Select(entry => (ArtifactEvent.ArtifactDiscovered)entry.Read())]
            : [];
    }

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
