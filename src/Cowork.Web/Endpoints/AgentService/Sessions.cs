using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

using Microsoft.Extensions.AI;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /sessions</c>; every field is optional.</summary>
/// <param name="SessionId"><c>[A-Za-z0-9._-]{1,128}</c>, unique within the tenant, also after deletion.</param>
/// <param name="WorkspacePath">An absolute path inside a configured root. A missing folder is created.</param>
/// <param name="Metadata">Any object. Its member <c>auth_context</c> is stored for policy and is in no answer.</param>
/// <param name="Model">Name of a configured model, for turns that name none; null: the host's default at the time of the turn.</param>
/// <param name="Subject">The data subject whose texts it has: they are sealed under a key of theirs, and can be erased. It never changes. Null: nobody.</param>
public sealed record NewSession(string? SessionId = null, string? WorkspacePath = null, JsonElement? Metadata = null, string? Model = null, string? Subject = null)
    : IRequestBody<NewSession>
{
    public static JsonTypeInfo<NewSession> Json => AgentServiceJson.Default.NewSession;

    public static NewSession WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
        if (SessionId is not null && !Ids.IsClientChosen(SessionId))
        {
            errors.Add(
                "$.session_id",
                $"An id of your own has 1 to {Limits.IdCharsMax} letters, digits, dots, underscores and hyphens, and does not start like a generated one "
                + $"({string.Join("_, ", Ids.Prefixes)}_).");
        }
        SubjectField.Validate(Subject, errors);
        if (WorkspacePath is not null && string.IsNullOrWhiteSpace(WorkspacePath))
        {
            errors.Add("$.workspace_path", "Must not be blank.");
        }
        if (MetadataField.IsValid(Metadata, errors) && AuthContextIn(Metadata) is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.metadata.auth_context", "Must be an object.");
        }
    }

    /// <summary>The metadata without <c>auth_context</c>.</summary>
    public string MetadataText() => CompactJson.Object(Metadata, except: "auth_context");

    public string? AuthContextText() => AuthContextIn(Metadata) is { ValueKind: JsonValueKind.Object } context ? CompactJson.Object(context, except: null) : null;

    static JsonElement? AuthContextIn(JsonElement? metadata) =>
        metadata is { ValueKind: JsonValueKind.Object } some && some.TryGetProperty("auth_context", out var context) ? context : null;
}

/// <param name="Model">The model of turns that name none; null: the host's default.</param>
public sealed record SessionAnswer(SessionKey SessionId, string WorkspacePath, JsonElement Metadata, string? Model, DateTimeOffset CreatedAt)
{
    public static SessionAnswer Of(SessionRow session) =>
        new(session.SessionId, session.WorkspacePath, JsonElement.Parse(session.Metadata), session.Model, session.CreatedAt);
}

/// <param name="Model">The model of turns that name none; null: the host's default.</param>
/// <param name="Runs">Number of runs.</param>
/// <param name="LiveRuns">Number of runs that have not ended.</param>
/// <param name="ForkedFrom">Where it forked from; null: it has a beginning of its own.</param>
/// <param name="Title">What a client called it, or its first message; null: it has none. A client of this API may give one as <c>metadata.title</c>.</param>
public sealed record SessionDetails(
    SessionKey SessionId, string WorkspacePath, JsonElement Metadata, string? Model, string CreatedBy, int Runs, int LiveRuns, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt, ForkOrigin? ForkedFrom, Content? Title);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record SessionList(IReadOnlyList<SessionDetails> Sessions, string? NextCursor);

static class SessionEndpoints
{
    public static void MapSessions(this IEndpointRouteBuilder routes)
    {
        var sessions = routes.MapGroup("/sessions").WithTags("Sessions");
        sessions.MapPost("", Create).WithName("createSession").RequireMember()
            .WithSummary("Create a session")
            .Produces<SessionAnswer>(201).Refuses(400, 409, 413, 415, 422, 507);
        sessions.MapGet("", List).WithName("listSessions")
            .WithSummary("List sessions, newest first")
            .Takes(NameQuery.Words).Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<SessionList>().Refuses(422);
        sessions.MapGet("/{session_id}", Get).WithName("getSession")
            .WithSummary("Show a session")
            .TakesAsOf()
            .Produces<SessionDetails>().Refuses(404, 422);
        sessions.MapGet("/{session_id}/trace", Trace).WithName("getSessionTrace").WithMetadata(Exports.Of<SessionKey>("session_trace"))
            .WithSummary("The session's whole feed with hashes, what its runs used of other streams, and the blobs, as lines of JSON; cowork verify checks it offline")
            .Produces<string>(200, StreamedFile.Lines).Refuses(404, 410, 422);
        sessions.MapDelete("/{session_id}", Delete).WithName("deleteSession").RequireMember()
            .WithSummary("Delete a session and cancel its live runs; the log keeps what happened")
            .Produces(204).Refuses(404, 409, 422);
    }

    static async Task<IResult> Create(
        Body<NewSession> body, Caller caller, ICommandExecutor commands, Subjects subjects, CommandAnswers answers, TenantUsage usage, Workspaces workspaces,
        IReadOnlyDictionary<string, IChatClient> models, TimeProvider clock, CancellationToken ct)
    {
        if (ModelCatalog.Unknown(models, body.Value.Model) is { } unknown)
        {
            return ErrorResult.Of(unknown);
        }
        var session = body.Value.SessionId is { } own ? SessionKey.Own(own) : SessionKey.New(clock.GetUtcNow());
        if (await usage.SessionRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var workspace = await workspaces.Prepare(caller.Org, session, body.Value.WorkspacePath, ct);
        if (workspace.Refused is { } outside)
        {
            return ErrorResult.Of(outside);
        }
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var open = new OpenSession(session, workspace.Path!, body.Value.MetadataText(), body.Value.AuthContextText(), body.Key, body.Value.Model,
            Subject: subject);
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
                return JsonResult.Of(201, SessionAnswer.Of(opened), AgentServiceJson.Answers.SessionAnswer) with { Location = $"/sessions/{opened.SessionId}" };
            },
            ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, "sessions", NameQuery.Words.Name);
        var limit = (int)Lists.Limit.Read(http);
        var query = new RowQuery(Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max) { Named = NameQuery.Read(http, Session.Aggregate.Name) };
        var found = await view.Rows.List(caller.Org, Projections.Sessions.Model.Table, query, ct);
        SessionDetails[] shown = [.. found.Take(limit).Select(row => Details(Projections.Sessions.Model.Read(row.Json.Span)))];
        return JsonResult.Of(200, new(shown, page.Next(http, found, shown.Length)), AgentServiceJson.Answers.SessionList);
    }

    static async Task<IResult> Get(PathKey<SessionKey> session, Caller caller, ReadView view, CancellationToken ct) =>
        await view.Rows.FindSession(caller, session.Key, ct) is { } row
            ? JsonResult.Of(200, Details(row), AgentServiceJson.Answers.SessionDetails)
            : ErrorResult.NotFound("session");

    static async Task<IResult> Trace(PathKey<SessionKey> session, Caller caller, IRows rows, IEventLog log, IBlobs blobs, LogProofs proofs, CancellationToken ct) =>
        await rows.FindSession(caller, session.Key, ct) is { } row
            ? new StreamedFile(
                StreamedFile.Lines, $"{session.Key.Value}.ndjson",
                (output, aborted) => SessionBundle.Write(log, blobs, proofs, caller.Org, row.SessionId, output, aborted))
            : await Expiries.NotFound(caller, log, "session", Session.Aggregate.Stream(session.Key), ct);

    /// <summary>Deletes a session, by whatever name a contract has for it, and what was uploaded to it and computed in it.</summary>
    internal static async Task<IResult> Delete(
        PathKey<SessionKey> session, Caller caller, ICommandExecutor commands, FileDeletion files, ScratchpadDeletion scratchpads, CancellationToken ct)
    {
        if (await commands.Execute(caller.Org, caller.Origin, new DeleteSession(session.Key), ct) is { Refused: { } refused })
        {
            return ErrorResult.Of(refused);
        }
        await files.Sweep(caller.Org, caller.Origin, session.Key, ct);
        await scratchpads.Sweep(caller.Org, caller.Origin, session.Key, ct);
        return TypedResults.NoContent();
    }

    static SessionDetails Details(SessionRow session) => new(
        session.SessionId, session.WorkspacePath, JsonElement.Parse(session.Metadata), session.Model, session.CreatedBy, session.Runs, session.LiveRuns, session.CreatedAt,
        session.UpdatedAt, ForkOrigin.Of(session.Fork), session.Title);
}

/// <summary>The member <c>metadata</c> of a session or skill.</summary>
static class MetadataField
{
    /// <summary>False: it is no object, or too long, as <paramref name="errors"/> says now.</summary>
    public static bool IsValid(JsonElement? metadata, ValidationErrors errors)
    {
        var fault = metadata switch
        {
            { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) } => "Must be an object.",
            { } given when Encoding.UTF8.GetByteCount(given.GetRawText()) > Limits.MetadataBytesMax => $"Has at most {Limits.MetadataBytesMax} bytes.",
            _ => null,
        };
        if (fault is not null)
        {
            errors.Add("$.metadata", fault);
        }
        return fault is null;
    }
}

/// <summary>A client's JSON object without white space, in the order of its members. Of a duplicate member the last one counts, as in other parsers.</summary>
static class CompactJson
{
    public static string Object(JsonElement? value, string? except)
    {
        if (value is not { ValueKind: JsonValueKind.Object } some)
        {
            return "{}";
        }
        var output = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(output, RelaxedJson.Writing))
        {
            Write(json, some, except);
        }
        return Encoding.UTF8.GetString(output.WrittenSpan);
    }

    static void Write(Utf8JsonWriter json, JsonElement value, string? except = null)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                json.WriteStartObject();
                var last = new Dictionary<string, JsonElement>();
                foreach (var member in value.EnumerateObject())
                {
                    last[member.Name] = member.Value;
                }
                foreach (var (name, member) in last)
                {
                    if (name != except)
                    {
                        json.WritePropertyName(name);
                        Write(json, member);
                    }
                }
                json.WriteEndObject();
                break;
            case JsonValueKind.Array:
                json.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                {
                    Write(json, item);
                }
                json.WriteEndArray();
                break;
            default:
                value.WriteTo(json);
                break;
        }
    }
}
