using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

using SessionEndpoints = Cowork.Web.Endpoints.AgentService.SessionEndpoints;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>A folder that a session is to be granted.</summary>
/// <param name="Path">Absolute path of a folder that is there. Links in it are followed now, and not again.</param>
/// <param name="AllowWrite">Default false.</param>
/// <param name="AllowCreate">Default false.</param>
/// <param name="AllowDelete">Default false.</param>
/// <param name="OutputRoots">Folders in it where writing and creating need no approval: relative to it, or absolute.</param>
public sealed record NewFolderGrant(
    [property: NeverNull] string? Path = null, bool? AllowWrite = null, bool? AllowCreate = null, bool? AllowDelete = null, IReadOnlyList<string>? OutputRoots = null);

/// <summary>Connections that a session is to be granted.</summary>
/// <param name="Provider">The kind of connection: a connector's <c>spec_id</c>.</param>
/// <param name="ConnectionId">The only connection; null: any of the provider.</param>
/// <param name="Scopes">Kept, and shown again.</param>
/// <param name="AllowActions">Default false: the connections are only read.</param>
public sealed record NewConnectorGrant(
    [property: NeverNull] string? Provider = null, string? ConnectionId = null, IReadOnlyList<string>? Scopes = null, bool? AllowActions = null);

/// <summary>Body of <c>POST /api/cowork/sessions</c>.</summary>
/// <param name="Grants">Empty or left out: the session has a folder of its own, as one of the other contracts.</param>
/// <param name="Connectors">Empty or left out: the session uses no connection.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewDesktopSession(IReadOnlyList<NewFolderGrant>? Grants = null, IReadOnlyList<NewConnectorGrant>? Connectors = null, string? Subject = null)
    : IRequestBody<NewDesktopSession>
{
    public static JsonTypeInfo<NewDesktopSession> Json => DesktopJson.Default.NewDesktopSession;

    public static NewDesktopSession WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        SubjectField.Validate(Subject, errors);
        if (HasAtMost(Grants, Limits.FolderGrantsMax, "$.grants", errors))
        {
            foreach (var (i, grant) in (Grants ?? []).Index())
            {
                Validate(grant, string.Create(CultureInfo.InvariantCulture, $"$.grants[{i}]"), errors);
            }
        }
        if (HasAtMost(Connectors, Limits.ConnectorGrantsMax, "$.connectors", errors))
        {
            foreach (var (i, grant) in (Connectors ?? []).Index())
            {
                Validate(grant, string.Create(CultureInfo.InvariantCulture, $"$.connectors[{i}]"), errors);
            }
        }
    }

    public IReadOnlyList<FolderGrant> Folders() =>
        [.. (Grants ?? []).Select(g => new FolderGrant(g.Path!, g.AllowWrite == true, g.AllowCreate == true, g.AllowDelete == true, [.. g.OutputRoots ?? []]))];

    /// <exception cref="UnreadableRequestException">No connection can have such an id.</exception>
    public ImmutableList<ConnectorGrant> Connections() =>
    [
        .. (Connectors ?? []).Select((g, i) => new ConnectorGrant(
            g.Provider!, g.ConnectionId is { } id ? PathIds.Key<ConnectionKey>(id, string.Create(CultureInfo.InvariantCulture, $"$.connectors[{i}].connectionId")) : null,
            [.. g.Scopes ?? []], g.AllowActions == true)),
    ];

    static void Validate(NewFolderGrant? grant, string place, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(grant?.Path))
        {
            errors.Add(grant is null ? place : $"{place}.path", "A folder is required.");
        }
        if (HasAtMost(grant?.OutputRoots, Limits.OutputRootsMax, $"{place}.outputRoots", errors))
        {
            foreach (var (i, root) in (grant?.OutputRoots ?? []).Index().Where(root => string.IsNullOrWhiteSpace(root.Item)))
            {
                errors.Add(string.Create(CultureInfo.InvariantCulture, $"{place}.outputRoots[{i}]"), "Must not be blank.");
            }
        }
    }

    static void Validate(NewConnectorGrant? grant, string place, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(grant?.Provider) || grant.Provider.Length > Limits.ScopeCharsMax)
        {
            errors.Add(grant is null ? place : $"{place}.provider", $"A provider of at most {Limits.ScopeCharsMax} characters is required.");
        }
        if (HasAtMost(grant?.Scopes, Limits.ConnectorGrantsMax, $"{place}.scopes", errors))
        {
            foreach (var (i, scope) in (grant?.Scopes ?? []).Index().Where(scope => string.IsNullOrWhiteSpace(scope.Item) || scope.Item.Length > Limits.ScopeCharsMax))
            {
                errors.Add(string.Create(CultureInfo.InvariantCulture, $"{place}.scopes[{i}]"), $"A scope has 1 to {Limits.ScopeCharsMax} characters.");
            }
        }
    }

    static bool HasAtMost<T>(IReadOnlyList<T>? list, int max, string place, ValidationErrors errors)
    {
        if (list?.Count > max)
        {
            errors.Add(place, string.Create(CultureInfo.InvariantCulture, $"A list has at most {max} entries."));
            return false;
        }
        return true;
    }
}

/// <summary>A session as contract C shows it. One that another contract created has its one implicit grant.</summary>
/// <param name="UserId">The user who created it.</param>
/// <param name="Connectors">Empty: the session may use the connections of its project when another contract created it, and none when this one did.</param>
public sealed record DesktopSession(
    SessionKey SessionId, string UserId, IReadOnlyList<FolderGrant> Grants, IReadOnlyList<ConnectorGrant> Connectors, DateTimeOffset CreatedAt,
    [property: DesktopSessionStatus] string Status)
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
        sessions.MapPost("", Create).WithName("createDesktopSession").RequireMember()
            .WithSummary("Create a session with the folders and connections that its agent may use")
            .Produces<DesktopSession>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        sessions.MapGet("", List).WithName("listDesktopSessions")
            .WithSummary("List sessions, newest first")
            .Takes(Lists.Limit)
            .TakesAsOf()
            .Produces<IReadOnlyList<DesktopSession>>().Refuses(422);
        sessions.MapGet("/{sessionId}", Get).WithName("getDesktopSession")
            .WithSummary("Show a session with its grants")
            .TakesAsOf()
            .Produces<DesktopSession>().Refuses(404, 422);
        sessions.MapDelete("/{sessionId}", SessionEndpoints.Delete).WithName("deleteDesktopSession").RequireMember()
            .WithSummary("Delete a session and cancel its live tasks; the log keeps what happened, and the granted folders stay")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Create(
        Body<NewDesktopSession> body, Caller caller, ICommandExecutor commands, Subjects subjects, CommandAnswers answers, TenantUsage usage, Workspaces workspaces,
        ConnectorCatalog catalog, IRows rows, TimeProvider clock, CancellationToken ct)
    {
        var (asked, connectors) = (body.Value.Folders(), body.Value.Connections());
        if (await usage.SessionRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var session = SessionKey.New(clock.GetUtcNow());
        var (path, grants, unfit) = await Folders(caller.Org, session, asked, workspaces, ct);
        unfit ??= await WhyUnknown(connectors, caller.Org, catalog, rows, ct);
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var open = new OpenSession(session, path, "{}", null, body.Key, Grants: grants, Connectors: connectors, Unfit: unfit, Subject: subject);
        var result = await commands.Execute(caller.Org, caller.Origin, open, ct);
        if (result.Refused is null)
        {
            usage.Made(caller.Org, sessions: 1);
        }
        return await answers.Of(
            caller.Org, result, Session.Aggregate.Stream(session), body.Key,
            after =>
            {
                var opened = after.Row(Projections.Sessions.Model);
                return JsonResult.Of(201, DesktopSession.Of(opened), DesktopJson.Answers.DesktopSession) with
                {
                    Location = $"{DesktopDialect.BasePath}/sessions/{opened.SessionId}",
                };
            },
            ct);
    }

    /// <summary>The session's folder and grants, or why it cannot have them.</summary>
    static async ValueTask<(string Path, ImmutableList<FolderGrant>? Grants, Refusal? Unfit)> Folders(
        string org, SessionKey session, IReadOnlyList<FolderGrant> asked, Workspaces workspaces, CancellationToken ct)
    {
        if (asked.Count == 0)
        {
            var (path, notMade) = await workspaces.Prepare(org, session, null, ct);
            return (path ?? "", null, notMade);
        }
        var (grants, refused) = await workspaces.Granted(org, asked, ct);
        return (grants?[0].Path ?? "", grants, refused);
    }

    /// <summary>The refusal when a grant names a provider that this host has not, a connection that the tenant has not, or one of another provider; null: none does.</summary>
    static async ValueTask<Refusal?> WhyUnknown(ImmutableList<ConnectorGrant> connectors, string org, ConnectorCatalog catalog, IRows rows, CancellationToken ct)
    {
        foreach (var (i, grant) in connectors.Index())
        {
            if (catalog.Find(grant.Provider) is null)
            {
                return Refusal.Invalid(
                    "unknown_spec", string.Create(CultureInfo.InvariantCulture, $"$.connectors[{i}].provider"),
                    $"There is no such connector. There are: {string.Join(", ", catalog.Specs.Select(spec => spec.Id))}.");
            }
            if (grant.ConnectionId is { } id
                && (await rows.Get(org, Connections.Model.Table, id.Value, ct) is not { } row || Connections.Model.Read(row.Json.Span).SpecId != grant.Provider))
            {
                return Refusal.Invalid(
                    "unknown_connection", string.Create(CultureInfo.InvariantCulture, $"$.connectors[{i}].connectionId"), $"There is no such connection of {grant.Provider}.");
            }
        }
        return null;
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, CancellationToken ct)
    {
        var found = await view.Rows.List(caller.Org, Projections.Sessions.Model.Table, new(Limit: (int)Lists.Limit.Read(http), Bytes: PageBytes.Max), ct);
        return JsonResult.Of<IReadOnlyList<DesktopSession>>(
            200, [.. found.Select(row => DesktopSession.Of(Projections.Sessions.Model.Read(row.Json.Span)))], DesktopJson.Answers.IReadOnlyListDesktopSession);
    }

    static async Task<IResult> Get(PathKey<SessionKey> session, Caller caller, ReadView view, CancellationToken ct) =>
        await view.Rows.FindSession(caller, session.Key, ct) is { } row
            ? JsonResult.Of(200, DesktopSession.Of(row), DesktopJson.Answers.DesktopSession)
            : ErrorResult.NotFound("session");
}
