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
        Lists = RowLists.ByScope | RowLists.ByScopeAndStatus,
        OwnerMember = "created_by",
        Form = 2,
    };

    /// <summary>The scratchpads of a conversation, newest first, without replays.</summary>
    public static RowQuery Query(SessionKey session, int limit) => new(session.Value, OfItsOwn, limit, Bytes: PageBytes.Max);

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
