using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.SessionEvent;

namespace Cowork.Projections;

/// <summary>A session as <c>GET /sessions/{id}</c> shows it, and as the conversation of <c>GET /api/v1/conversations/{id}</c>.</summary>
/// <param name="Metadata">The client's JSON object, as text.</param>
/// <param name="LiveRuns">Number of runs that have not ended, including the one that runs.</param>
/// <param name="Model">The model of turns that name none; null: the project's, or the host's default.</param>
/// <param name="Project">Null: the built-in one.</param>
/// <param name="Grants">The folders that the session may use; null: <see cref="FolderGrant.Implicit"/>.</param>
/// <param name="Connectors">The connections that the session may use; null: those of its project.</param>
/// <param name="Group">The group whose conversation it is; null: it is no group's.</param>
/// <param name="Fork">Where it forked from; null: it has a beginning of its own.</param>
public sealed record SessionRow(
    SessionKey SessionId, string WorkspacePath, string Metadata, string CreatedBy, int LiveRuns, int Runs, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt,
    string? Model = null, ProjectKey? Project = null, Content? Title = null, Content? Goal = null, bool Archived = false, ImmutableList<FolderGrant>? Grants = null,
    ImmutableList<ConnectorGrant>? Connectors = null, GroupKey? Group = null, SessionFork? Fork = null);

/// <summary>
/// The read model of sessions: <c>GET /sessions</c>, <c>GET /sessions/{id}</c>, and the same of <c>/api/v1/conversations</c>, by project and status. A deleted session has
/// no row.
/// </summary>
public static class Sessions
{
    public const string Active = "active";
    public const string Archived = "archived";

    public static ReadModel<SessionRow> Model { get; } = new(
        "sessions", Session.Aggregate.Name, RowJson.Default.SessionRow, Evolve,
        Scope: row => (row.Project ?? ProjectKey.General).Value,
        Status: row => row.Archived ? Archived : Active)
    {
        Lists = RowLists.All | RowLists.ByScopeAndStatus,
        OwnerMember = "created_by",
        Form = 3,
    };

    /// <summary>Narrows a list to the sessions that a principal created.</summary>
    public static (string Member, string Text) By(string actor) => ("created_by", actor);

    /// <summary>A group's session has no row here, so that whatever asks for a session by this table finds none: see <see cref="GroupSessions"/>.</summary>
    public static SessionRow? Evolve(SessionRow? row, RecordedEvent e) => e.Event is SessionCreated { Group: not null } ? null : Fold(row, e);

    internal static SessionRow? Fold(SessionRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (SessionCreated c, _) =>
            new(c.SessionId, c.WorkspacePath, c.Metadata, e.Actor, 0, 0, e.At, e.At, c.Model, c.Project, c.Title, c.Goal, Grants: c.Grants, Connectors: c.Connectors,
                Group: c.Group, Fork: c.Fork),
        (_, null) => null,
        (SessionChanged c, { } r) => r with { Title = c.Title, Goal = c.Goal, Archived = c.Archived, UpdatedAt = e.At },
        (RunQueued q, { } r) => r with { LiveRuns = r.LiveRuns + 1, Runs = r.Runs + 1, Title = q.Title ?? r.Title, Archived = false, UpdatedAt = e.At },
        (RunDequeued, { } r) => r with { LiveRuns = r.LiveRuns - 1, UpdatedAt = e.At },
        (SessionDeleted, _) => null,
        (_, { } r) => r,
    };
}

/// <summary>
/// The read model of the sessions of groups. They have a table of their own, because who may see them is another question than of the others: what lists sessions, or
/// shows what belongs to one, leaves them out unless it was written to ask who sees the group.
/// </summary>
public static class GroupSessions
{
    public static ReadModel<SessionRow> Model { get; } = new("group_sessions", Session.Aggregate.Name, RowJson.Default.SessionRow, Evolve)
    {
        Lists = RowLists.None,
        OwnerMember = "created_by",
    };

    public static SessionRow? Evolve(SessionRow? row, RecordedEvent e) => e.Event is SessionCreated { Group: null } ? null : Sessions.Fold(row, e);
}
