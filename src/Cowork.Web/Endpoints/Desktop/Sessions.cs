using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>A session as contract C shows it. One that another contract created has its one implicit grant.</summary>
/// <param name="UserId">The user who created it.</param>
/// <param name="Connectors">Empty: the session may use the connections of its project when another contract created it, and none when this one did.</param>
public sealed record DesktopSession(
    SessionKey SessionId, string UserId, IReadOnlyList<FolderGrant> Grants, IReadOnlyList<ConnectorGrant> Connectors, DateTimeOffset CreatedAt,
    [property: ConversationStatus] string Status)
{
    const string UserPrefix = "user:";

    public static DesktopSession Of(SessionRow session) => new(
        session.SessionId,
        session.CreatedBy.StartsWith(UserPrefix, StringComparison.Ordinal) ? session.CreatedBy[UserPrefix.Length..] : session.CreatedBy,
        session.Grants ?? [FolderGrant.Implicit(session.WorkspacePath)], session.Connectors ?? [], session.CreatedAt,
        session.Archived ? Projections.Sessions.Archived : Projections.Sessions.Active);
}

static class DesktopSessionEndpoints
{
    public static void MapDesktopSessions(this IEndpointRouteBuilder routes)
    {
        var sessions = routes.MapGroup("/sessions").WithTags("Desktop sessions");
        sessions.MapGet("", List).WithName("listDesktopSessions")
            .WithSummary("List sessions, newest first")
            .Takes(Lists.Limit)
            .Produces<IReadOnlyList<DesktopSession>>().Refuses(422);
        sessions.MapGet("/{sessionId}", Get).WithName("getDesktopSession")
            .WithSummary("Show a session with its grants")
            .Produces<DesktopSession>().Refuses(404, 422);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var found = await rows.List(caller.Org, Projections.Sessions.Model.Table, new(Limit: (int)Lists.Limit.Read(http), Bytes: PageBytes.Max), ct);
        return JsonResult.Of<IReadOnlyList<DesktopSession>>(
            200, [.. found.Select(row => DesktopSession.Of(Projections.Sessions.Model.Read(row.Json.Span)))], DesktopJson.Answers.IReadOnlyListDesktopSession);
    }

    static async Task<IResult> Get(PathKey<SessionKey> session, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, Projections.Sessions.Model.Table, session.Key.Value, ct) is { } row
            ? JsonResult.Of(200, DesktopSession.Of(Projections.Sessions.Model.Read(row.Json.Span)), DesktopJson.Answers.DesktopSession)
            : ErrorResult.NotFound("session");
}
