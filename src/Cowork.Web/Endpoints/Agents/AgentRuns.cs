using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Agents;

/// <summary>A message of a conversation that a group's controller keeps.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
/// <param name="Content">Text.</param>
public sealed record NewAgentMessage([property: NeverNull, AgentMessageRole] string? Role, [property: NeverNull] string? Content);

/// <summary>Body of <c>POST /agents/run</c> and <c>POST /agents/run-stream</c>.</summary>
/// <param name="AgentId">An agent of the group.</param>
/// <param name="Messages">The conversation, in place of the group's; the last one is the user's, and is answered.</param>
/// <param name="Context">What the agent is told beside it: any JSON object.</param>
public sealed record NewAgentRun(
    [property: NeverNull] string? AgentId, [property: NeverNull] IReadOnlyList<NewAgentMessage>? Messages, JsonElement? Context = null) : IRequestBody<NewAgentRun>
{
    const int MessagesMax = 200;

    public static JsonTypeInfo<NewAgentRun> Json => AgentsJson.Default.NewAgentRun;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(AgentId) || AgentId.Length > Limits.IdCharsMax)
        {
            errors.Add("$.agent_id", $"An id of 1 to {Limits.IdCharsMax} characters is required.");
        }
        if (Context is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.context", "Must be an object.");
        }
        if (Messages is not { Count: > 0 and <= MessagesMax })
        {
            errors.Add("$.messages", $"A list of 1 to {MessagesMax} messages is required.");
            return;
        }
        foreach (var (place, message) in Messages.Index())
        {
            if (message?.Role is not ("system" or "user" or "assistant") || string.IsNullOrWhiteSpace(message.Content))
            {
                errors.Add($"$.messages[{place}]", "A message has a role (system, user or assistant) and a content that is not blank.");
            }
            else if (Encoding.UTF8.GetByteCount(message.Content) > Limits.MessageBytesMax)
            {
                errors.Add($"$.messages[{place}].content", $"Has at most {Limits.MessageBytesMax} bytes.");
            }
        }
        if (Messages[^1] is { Role: not (null or "user") })
        {
            errors.Add($"$.messages[{Messages.Count - 1}].role", "The last message is the user's.");
        }
    }

    /// <summary>What the agent is to answer, of a valid body.</summary>
    internal AgentRunRequest Request()
    {
        var before = Messages!.Take(Messages!.Count - 1).Select(message => (message.Role!, message.Content!));
        return new(
            AgentId!, Messages[^1].Content!,
            Context is { ValueKind: JsonValueKind.Object } context ? [("system", $"Context: {context.GetRawText()}"), .. before] : [.. before]);
    }
}

static class AgentRunEndpoints
{
    const string Lines = "application/x-ndjson";

    const string Events = "text/event-stream";

    /// <summary>Id of the last result that the client has.</summary>
    static readonly WholeNumberQuery After = new("after", 0, long.MaxValue, 0, "Only results after this id.");

    public static void MapAgentRuns(this IEndpointRouteBuilder routes)
    {
        var agents = routes.MapGroup("").WithTags("Agents").WithMetadata(new TakesSessionSignature(SignedRequests.Agents));
        agents.MapPost("/run", Run).WithName("runAgent")
            .WithSummary("Have an agent answer, as lines of results; the run goes on when the client goes away, and comes back under the same Idempotency-Key")
            .Takes(After)
            .Produces<AgentRunResult>(200, Lines).Refuses(400, 404, 409, 413, 415, 422, 429);
        agents.MapPost("/run-stream", Stream).WithName("runAgentStream")
            .WithSummary("Have an agent answer, as server-sent events, resumed with Last-Event-ID under the same Idempotency-Key")
            .Takes(After).TakesLastEventId()
            .Produces<string>(200, Events).Refuses(400, 404, 409, 413, 415, 422, 429);
    }

    static Task<IResult> Run(
        Body<NewAgentRun> body, HttpContext http, Caller caller, SignedCall signed, AgentRuns runs, IEventLog log, FeedHub hub, EventStream stream, CancellationToken ct) =>
        Answer(body, http, caller, signed, runs, log, hub, stream, Lines, After.Read(http), After.Name, ct);

    static Task<IResult> Stream(
        Body<NewAgentRun> body, HttpContext http, Caller caller, SignedCall signed, AgentRuns runs, IEventLog log, FeedHub hub, EventStream stream, CancellationToken ct) =>
        Answer(body, http, caller, signed, runs, log, hub, stream, Events, After.ReadLastEventId(http) ?? After.Read(http), After.PlaceOrLastEventId(http), ct);

    static async Task<IResult> Answer(
        Body<NewAgentRun> body, HttpContext http, Caller caller, SignedCall signed, AgentRuns runs, IEventLog log, FeedHub hub, EventStream stream, string form, long after,
        string cursor, CancellationToken ct)
    {
        // A run that cannot be streamed is not begun.
        var (place, full) = stream.Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        var session = signed.Session!;
        // What ended a session of the group before is not the end of this one, whose commit looks whether it goes on.
        var before = (await log.Feed(session.Org, session.Group.Session, long.MaxValue, 1, ct)).Head;
        var (begun, replayed, refused) = await runs.Begin(caller.Origin, session, body.Value.Request(), signed.Use, body.Key, ct);
        if (begun is not { } run)
        {
            return ErrorResult.Of(refused!);
        }
        var entries = await log.OfRun(session.Org, session.Group.Session, run, ct);
        var known = new AgentRunFold(run);
        foreach (var entry in entries)
        {
            known.Add(entry);
        }
        if (after > known.Last)
        {
            return ErrorResult.Invalid(cursor, $"The run's results end at {known.Last}: this cursor is not one of its.", "cursor_ahead");
        }
        http.Response.Begin(200, $"/runs/{run}", replayed);
        var (fold, last) = (new AgentRunFold(run), entries[0].FeedId - 1);
        return await stream.Send(
            http, place, ending => hub.Follow(session.Org, session.Group.Session, last, ending),
            (output, entry) =>
            {
                last = entry.FeedId;
                foreach (var result in fold.Add(entry).Where(result => result.Id > after))
                {
                    Write(output, result, form);
                }
                return !fold.HasEnded && !entry.Is<SessionEvent.SessionDeleted>() && !(entry.FeedId > before && IsEndOf(session, entry));
            },
            entry => entry.At, form == Lines ? static () => "\n"u8.ToArray() : null, form);
    }

    /// <summary>True: the session that asked was closed, or its user is no member any more. The run goes on.</summary>
    static bool IsEndOf(CertifiedSession session, FeedEntry entry) =>
        (entry.Is<GroupSessionEvent.GroupCleanedUp>() && entry.Stream == GroupSession.Aggregate.Stream(GroupSession.StreamKey(session.Kid)))
        || (entry.Is<GroupEvent.GroupMemberRemoved>()
            && entry.Read() is GroupEvent.GroupMemberRemoved removed && removed.User == session.User);

    static void Write(PipeWriter output, AgentRunResult result, string form)
    {
        if (form == Events)
        {
            output.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"id: {result.Id}\nevent: {result.Type}\ndata: ")));
        }
        using (var json = new Utf8JsonWriter((IBufferWriter<byte>)output, AgentsJson.Answers.AgentRunResult.Writing()))
        {
            JsonSerializer.Serialize(json, result, AgentsJson.Answers.AgentRunResult);
        }
        output.Write(form == Events ? "\n\n"u8 : "\n"u8);
    }
}
