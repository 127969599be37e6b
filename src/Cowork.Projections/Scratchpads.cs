using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Projections;

/// <summary>A scratchpad as lists find it. Its cells are a fold of its stream and are read from there.</summary>
/// <param name="ReplayOf">The scratchpad that it executes once more; null: it is one of its own.</param>
public sealed record ScratchpadRow(
    ScratchpadKey ScratchpadId, SessionKey SessionId, Content Title, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, ScratchpadKey? ReplayOf = null);

/// <summary>
/// The read model of scratchpads: <c>GET /api/v1/scratchpads</c>. A deleted one has no row. A row's scope is its conversation; its status in the table tells replays from
/// the others, so that the index of lists finds either. What is said while a cell is executed changes no row.
/// </summary>
public static class Scratchpads
{
    /// <summary>Status of a scratchpad that is none of the replays.</summary>
    const string OfItsOwn = "scratchpad";

    public static ReadModel<ScratchpadRow> Model { get; } = new(
        "scratchpads", Scratchpad.Aggregate.Name, RowJson.Default.ScratchpadRow, Evolve,
        Scope: row => row.SessionId.Value,
        Status: row => row.ReplayOf?.Value ?? OfItsOwn,
        Key: e => e.Event is CellOutput or CellDisplaysUpdated ? null : Scratchpad.Aggregate.KeyOf(e.Stream))
    {
        Lists = RowLists.OfTenant | RowLists.ByScope | RowLists.ByScopeAndStatus,
        OwnerMember = "created_by",
        Form = 3,
    };

    /// <summary>The scratchpads of a conversation, newest first, without replays.</summary>
    public static RowQuery Query(SessionKey session, int limit) => new(session.Value, OfItsOwn, limit, Bytes: PageBytes.Max);

    /// <summary>The scratchpads of conversations that were not deleted, and replays, newest first.</summary>
    public static RowQuery OfAll(int limit) => new(Limit: limit, Bytes: PageBytes.Max, Owner: new(null, Sessions.Model.Table));

    /// <summary>The replays of a scratchpad, newest first.</summary>
    public static RowQuery Replays(SessionKey session, ScratchpadKey scratchpad, int limit) => new(session.Value, scratchpad.Value, limit, Bytes: PageBytes.Max);

    public static ScratchpadRow? Evolve(ScratchpadRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ScratchpadCreated c, _) => new(c.ScratchpadId, c.SessionId, c.Title, e.Actor, e.At, e.At, c.ReplayOf),
        (_, null) => null,
        (ScratchpadDeleted, _) => null,
        (ScratchpadRenamed r, { } known) => known with { Title = r.Title, UpdatedAt = e.At },
        (CellOutput or CellDisplaysUpdated or KernelStarted or KernelRestartRequested or KernelRestarted or KernelLost or KernelStopped, { } known) => known,
        (_, { } known) => known with { UpdatedAt = e.At },
    };
}

/// <summary>The queries of jobs and tools on the read model of scratchpads.</summary>
public sealed class ScratchpadQueries(IRows rows) : IScratchpadQueries
{
    public ValueTask<IReadOnlyList<ScratchpadKey>> All(string org, SessionKey session, int max, CancellationToken ct) => Keys(org, new(session.Value, Limit: max), ct);

    public ValueTask<IReadOnlyList<ScratchpadKey>> Of(string org, SessionKey session, int max, CancellationToken ct) => Keys(org, Scratchpads.Query(session, max), ct);

    public ValueTask<IReadOnlyList<ScratchpadKey>> Replays(string org, SessionKey session, ScratchpadKey scratchpad, int max, CancellationToken ct) =>
        Keys(org, Scratchpads.Replays(session, scratchpad, max), ct);

    async ValueTask<IReadOnlyList<ScratchpadKey>> Keys(string org, RowQuery query, CancellationToken ct) =>
        [.. (await rows.List(org, Scratchpads.Model.Table, query, ct)).Select(row => new ScratchpadKey(row.Key))];
}

/// <summary>An execution of a cell, as its scratchpad's events have it.</summary>
/// <param name="RequestedBy">The actor of the event that queued it.</param>
/// <param name="StartedAt">Of the last attempt; null: none began.</param>
/// <param name="Result">Null: it has not ended.</param>
public sealed record ExecutedCell(
    int Execution, CellKey CellId, RunKey? RunId, string RequestedBy, DateTimeOffset QueuedAt, DateTimeOffset? StartedAt, DateTimeOffset? CompletedAt, int Attempt,
    string? Kernel, CellResult? Result)
{
    const int ChunkEvents = 500;

    /// <summary>Events that are looked at: a cell may say much while it is executed.</summary>
    const int EventsMax = 20_000;

    /// <summary>The latest executions, newest first.</summary>
    /// <param name="version">Version of the scratchpad's stream.</param>
    public static async ValueTask<IReadOnlyList<ExecutedCell>> Last(IEventLog log, string org, ScratchpadKey scratchpad, long version, int max, CancellationToken ct)
    {
        var found = new List<ExecutedCell>();
        var started = new Dictionary<int, CellStarted>();
        var ended = new Dictionary<int, CellCompleted>();
        for (var before = version; before > 0 && found.Count < max && version - before < EventsMax;)
        {
            var after = Math.Max(0, before - ChunkEvents);
            foreach (var e in (await log.Load(org, Scratchpad.Aggregate.Stream(scratchpad), after, (int)(before - after), ct)).Events.Reverse())
            {
                switch (e.Event)
                {
                    case CellCompleted c:
                        ended.TryAdd(c.Execution, c);
                        break;
                    case CellStarted s:
                        started.TryAdd(s.Execution, s);
                        break;
                    case CellQueued q when found.Count < max:
                        var (begun, end) = (started.GetValueOrDefault(q.Execution), ended.GetValueOrDefault(q.Execution));
                        found.Add(new(
                            q.Execution, q.CellId, q.RunId, e.Actor, e.At, begun?.At, end?.At, begun?.Attempt ?? 1, begun?.Kernel, end?.Result));
                        break;
                }
            }
            before = after;
        }
        return found;
    }
}
