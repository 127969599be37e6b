using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.SessionEvent;

namespace Cowork.Projections;

/// <summary>A session as <c>GET /sessions/{id}</c> shows it.</summary>
/// <param name="Metadata">The client's JSON object, as text.</param>
/// <param name="LiveRuns">Number of runs that have not ended, including the one that runs.</param>
/// <param name="Model">The model of turns that name none; null: the host's default.</param>
public sealed record SessionRow(
    SessionKey SessionId, string WorkspacePath, string Metadata, string CreatedBy, int LiveRuns, int Runs, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    string? Model = null);

/// <summary>The read model of sessions: <c>GET /sessions</c>, <c>GET /sessions/{id}</c>. A deleted session has no row.</summary>
public static class Sessions
{
    public static ReadModel<SessionRow> Model { get; } = new("sessions", Session.Aggregate.Name, RowJson.Default.SessionRow, Evolve)
    {
        Lists = RowLists.OfTenant,
    };

    public static SessionRow? Evolve(SessionRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (SessionCreated c, _) => new(c.SessionId, c.WorkspacePath, c.Metadata, e.Actor, 0, 0, e.At, e.At, c.Model),
        (_, null) => null,
        (RunQueued, { } r) => r with { LiveRuns = r.LiveRuns + 1, Runs = r.Runs + 1, UpdatedAt = e.At },
        (RunDequeued, { } r) => r with { LiveRuns = r.LiveRuns - 1, UpdatedAt = e.At },
        (SessionDeleted, _) => null,
        (_, { } r) => r,
    };
}
