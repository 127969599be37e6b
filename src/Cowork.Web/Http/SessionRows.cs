using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

namespace Cowork.Web.Http;

/// <summary>
/// Sessions and what belongs to them, as a caller may see it. What belongs to a deleted session is hidden. A group's session has no row among the others
/// (<see cref="GroupSessions"/>), so that no list of sessions shows it and nothing that belongs to it is found but here, by those who see the group.
/// </summary>
static class SessionRows
{
    /// <summary>Finds a session. Null: it does not exist, is deleted, belongs to another tenant, or is that of a group which the caller does not see.</summary>
    public static async ValueTask<SessionRow?> FindSession(this IRows rows, Caller caller, SessionKey session, CancellationToken ct) =>
        await rows.Get(caller.Org, Projections.Sessions.Model.Table, session.Value, ct) is { } found ? Projections.Sessions.Model.Read(found.Json.Span)
        : await rows.Get(caller.Org, GroupSessions.Model.Table, session.Value, ct) is { } ofGroup && await rows.FindGroup(caller, new(session.Value), ct) is not null
            ? GroupSessions.Model.Read(ofGroup.Json.Span)
            : null;

    /// <summary>The session is a group's, and the caller does not see the group. What was deleted is not hidden.</summary>
    public static async ValueTask<bool> IsHidden(this IRows rows, Caller caller, SessionKey session, CancellationToken ct) =>
        await rows.Get(caller.Org, GroupSessions.Model.Table, session.Value, ct) is not null && await rows.FindGroup(caller, new(session.Value), ct) is null;

    /// <summary>Those of the sessions that <see cref="FindSession"/> would find, in three queries at most, whatever their number.</summary>
    public static async ValueTask<IReadOnlyDictionary<SessionKey, SessionRow>> FindSessions(
        this IRows rows, Caller caller, IReadOnlyCollection<SessionKey> sessions, CancellationToken ct)
    {
        var found = new Dictionary<SessionKey, SessionRow>(sessions.Count);
        if (sessions.Count == 0)
        {
            return found;
        }
        foreach (var row in await rows.Get(caller.Org, Projections.Sessions.Model.Table, [.. sessions.Select(session => session.Value)], ct))
        {
            found[new(row.Key)] = Projections.Sessions.Model.Read(row.Json.Span);
        }
        string[] others = [.. sessions.Where(session => !found.ContainsKey(session)).Select(session => session.Value)];
        var ofGroups = others.Length == 0 ? [] : await rows.Get(caller.Org, GroupSessions.Model.Table, others, ct);
        if (ofGroups.Count > 0)
        {
            var groups = await (rows is RowsAsOf past ? past.Now : rows).Get(caller.Org, Groups.Model.Table, [.. ofGroups.Select(row => row.Key)], ct);
            HashSet<string> seen = [.. groups.Where(row => IsSeen(Groups.Model.Read(row.Json.Span), caller)).Select(row => row.Key)];
            foreach (var row in ofGroups.Where(row => seen.Contains(row.Key)))
            {
                found[new(row.Key)] = GroupSessions.Model.Read(row.Json.Span);
            }
        }
        return found;
    }

    /// <summary>Finds a row by its key, of a model whose scope is the session. Null: it does not exist, or its session is not found.</summary>
    public static async ValueTask<(Row Stored, TRow Row)?> Find<TRow>(this IRows rows, Caller caller, ReadModel<TRow> model, string key, CancellationToken ct)
        where TRow : class =>
        await rows.Get(caller.Org, model.Table, key, ct) is { } stored
        && model.Read(stored.Json.Span) is var row
        && (model.Scope!(row) is not { } session || await rows.FindSession(caller, new(session), ct) is not null)
            ? (stored, row)
            : null;

    /// <summary>Finds an artifact. Null: it does not exist, or its session is not found.</summary>
    public static async ValueTask<ArtifactRow?> FindArtifact(this IRows rows, Caller caller, ArtifactKey artifact, CancellationToken ct) =>
        await rows.Get(caller.Org, Artifacts.Model.Table, artifact.Value, ct) is { } stored
        && Artifacts.Model.Read(stored.Json.Span) is var row
        && await rows.FindSession(caller, new(row.Owner), ct) is not null
            ? row
            : null;

    /// <summary>The caller sees what is asked for in a session: who sees the session, and whoever decides.</summary>
    public static async ValueTask<bool> SeesApprovalsOf(this IRows rows, Caller caller, SessionKey session, CancellationToken ct) =>
        await rows.FindSession(caller, session, ct) is not null
        || (caller.Roles.Contains(Roles.Approver) && await rows.Get(caller.Org, GroupSessions.Model.Table, session.Value, ct) is not null);

    /// <summary>
    /// Finds a group. Null: it does not exist, belongs to another tenant, or is private and the caller neither a member nor an auditor or administrator of the tenant.
    /// </summary>
    /// <remarks>Who sees it is asked today, also for what it was at an earlier moment.</remarks>
    public static async ValueTask<GroupRow?> FindGroup(this IRows rows, Caller caller, GroupKey group, CancellationToken ct) =>
        await (rows is RowsAsOf past ? past.Now : rows).Get(caller.Org, Groups.Model.Table, group.Value, ct) is { } found
        && Groups.Model.Read(found.Json.Span) is var row && IsSeen(row, caller)
            ? row
            : null;

    static bool IsSeen(GroupRow group, Caller caller) =>
        !group.IsPrivate || group.Member(caller.User) is not null || caller.Roles.Contains(Roles.Auditor) || caller.Roles.Contains(Roles.Admin);
}
