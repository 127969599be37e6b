using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /responses</c>.</summary>
/// <param name="ConversationId">The conversation to go on with.</param>
/// <param name="Conversation">The same under the name that the clients of OpenAI have: an id, or an object with one.</param>
/// <param name="Input">The user's message: a text, or a list of messages of the user, as the clients of OpenAI send it.</param>
/// <param name="Stream">Default true; false where a client of OpenAI asks.</param>
/// <param name="Model">Name of a configured model; null: the conversation's, or else the project's, or else the host's default.</param>
/// <param name="SkillIds">Skills that are active for this response, beside those of the project; each must exist.</param>
public sealed record NewResponse(
    [property: NeverNull, TextOrList] JsonElement? Input, string? ConversationId = null, [property: ObjectOrText] JsonElement? Conversation = null, bool? Stream = null,
    string? Model = null, IReadOnlyList<string>? SkillIds = null)
    : IRequestBody<NewResponse>
{
    public static JsonTypeInfo<NewResponse> Json => PlatformJson.Default.NewResponse;

    public static IReadOnlyList<string> WaitFields { get; } = ["stream"];

    /// <summary>Null: the request names none.</summary>
    [JsonIgnore]
    public string? NamedConversation => ConversationId ?? OtherConversation;

    string? OtherConversation => Conversation switch
    {
        { ValueKind: JsonValueKind.String } id => id.GetString(),
        { ValueKind: JsonValueKind.Object } with when with.TryGetProperty("id", out var id) && id.ValueKind == JsonValueKind.String => id.GetString(),
        _ => null,
    };

    /// <summary>The message as one text; null: there is none, or it is not one of the user's.</summary>
    [JsonIgnore]
    public string? Message => Input is { } input ? ResponseInput.Text(input) : null;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(NamedConversation))
        {
            errors.Add("$.conversation_id", "A conversation is required.");
        }
        else if (OtherConversation is { } other && SessionKey.Parse(other) != SessionKey.Parse(NamedConversation))
        {
            errors.Add("$.conversation", "Names another conversation than conversation_id.");
        }
        if (Message is not { } message)
        {
            errors.Add("$.input", "A text is required, or a list of messages of the user with text.");
        }
        else if (string.IsNullOrWhiteSpace(message))
        {
            errors.Add("$.input", "Must not be blank.");
        }
        else if (Encoding.UTF8.GetByteCount(message) > Limits.MessageBytesMax)
        {
            errors.Add("$.input", $"Has at most {Limits.MessageBytesMax} bytes.");
        }
        ProjectFields.ValidateIds(SkillIds, "$.skill_ids", errors);
    }
}

/// <summary>Body of <c>POST /responses/cancel</c>.</summary>
public sealed record ConversationToCancel([property: NeverNull] string? ConversationId) : IRequestBody<ConversationToCancel>
{
    public static JsonTypeInfo<ConversationToCancel> Json => PlatformJson.Default.ConversationToCancel;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(ConversationId))
        {
            errors.Add("$.conversation_id", "A conversation is required.");
        }
    }
}

/// <summary>The input of a response in the forms that clients send it.</summary>
static class ResponseInput
{
    /// <summary>Null: it is none of them.</summary>
    public static string? Text(JsonElement input) => input.ValueKind switch
    {
        JsonValueKind.String => input.GetString(),
        JsonValueKind.Array => Join(input, OfMessage),
        _ => null,
    };

    /// <summary>What the agent said before is in the conversation already, so that messages of other roles are none of the user's.</summary>
    static string? OfMessage(JsonElement message) =>
        message.ValueKind == JsonValueKind.Object
        && (!message.TryGetProperty("role", out var role) || (role.ValueKind == JsonValueKind.String && role.ValueEquals("user")))
        && message.TryGetProperty("content", out var content)
            ? content.ValueKind == JsonValueKind.Array ? Join(content, OfPart) : content.ValueKind == JsonValueKind.String ? content.GetString() : null
            : null;

    static string? OfPart(JsonElement part) =>
        part.ValueKind == JsonValueKind.Object && part.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.ValueEquals("input_text")
        && part.TryGetProperty("text", out var text) && text.ValueKind == JsonValueKind.String
            ? text.GetString()
            : null;

    static string? Join(JsonElement list, Func<JsonElement, string?> of)
    {
        var texts = new List<string>();
        foreach (var item in list.EnumerateArray())
        {
            if (of(item) is not { } text)
            {
                return null;
            }
            texts.Add(text);
        }
        return texts.Count == 0 ? null : string.Join("\n\n", texts);
    }
}

static class ResponseEndpoints
{
    const string BasePath = "/api/v1/responses";

    static readonly WholeNumberQuery StartingAfter = new("starting_after", -1, long.MaxValue, -1, "Only events after this sequence number.");
    static readonly WholeNumberQuery FromSeq = new("from_seq", 0, long.MaxValue, 0, "Only events from this sequence number on.");
    static readonly ChoiceQuery Streamed = new("stream", ["true", "false"], "false", "Whether to answer with the stream of the response's events.");
    static readonly WholeNumberQuery Offset = new("offset", 0, 1_000_000, 0, "Leaves out so many.");
    static readonly IdQuery OfConversation = new("conversation_id", "Of this conversation.", IsRequired: true);
    static readonly IdQuery OnlyOfConversation = OfConversation with { IsRequired = false };

    public static void MapResponses(this IEndpointRouteBuilder routes)
    {
        var responses = routes.MapGroup("/responses").WithTags("Responses");
        responses.MapPost("", Create).WithName("createResponse").RequireMember()
            .WithSummary("Say something in a conversation: one response, streamed unless told otherwise")
            .TakesPrefer()
            .Produces<ResponseDetails>().AlsoAsText("text/event-stream").Refuses(400, 404, 409, 413, 415, 422, 429);
        responses.MapGet("/in-flight", InFlight).WithName("getInFlightResponse")
            .WithSummary("Show the response that a conversation is working on")
            .Takes(OfConversation)
            .Produces<InFlightResponse>().Refuses(404, 422);
        responses.MapGet("/in-flight-list", ListInFlight).WithName("listInFlightResponses")
            .WithSummary("List responses that have not ended, newest first")
            .Takes(OnlyOfConversation).Takes(Lists.Limit).Takes(Offset)
            .Produces<InFlightList>().Refuses(404, 422);
        responses.MapGet("/tail", Tail).WithName("streamLatestResponse")
            .WithSummary("The events of a conversation's latest response as they happen (server-sent events)")
            .Takes(OfConversation).Takes(FromSeq).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Produces(204).Refuses(404, 422);
        responses.MapPost("/cancel", CancelInConversation).WithName("cancelInFlightResponse").RequireMember()
            .WithSummary("Ask for the response to be cancelled that a conversation is working on")
            .Produces<ResponseDetails>().Refuses(400, 404, 409, 413, 415, 422);
        var response = responses.MapGroup("/{run_id}");
        response.MapGet("", Get).WithName("getResponse")
            .WithSummary("Show a response, or follow it")
            .Takes(Streamed).Takes(StartingAfter)
            .TakesAsOf()
            .Produces<ResponseDetails>().AlsoAsText("text/event-stream").Refuses(404, 422);
        response.MapGet("/events", Events).WithName("streamResponse")
            .WithSummary("A response's events as they happen (server-sent events, resumed with Last-Event-ID)")
            .Takes(StartingAfter).TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Produces(204).Refuses(404, 422);
        response.MapPost("/cancel", Cancel).WithName("cancelResponse").RequireMember()
            .WithSummary("Ask for a response to be cancelled")
            .Produces<ResponseDetails>().Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> Create(
        Body<NewResponse> body, Caller caller, Turns turns, TurnWaiter waiter, Responses responses, EventStream stream, HttpContext http, CancellationToken ct)
    {
        var session = PathIds.Key<SessionKey>(body.Value.NamedConversation!, "$.conversation_id");
        // A response that cannot be streamed is not begun.
        var isStreamed = body.Value.Stream ?? !OpenAiClients.Sent(http.Request);
        var (place, full) = isStreamed ? stream.Open(http) : default;
        using var counted = place;
        if (full is not null)
        {
            return full;
        }
        var message = body.Value.Message!;
        var skills = new SkillSelection(ProjectFields.Skills(body.Value.SkillIds ?? []), Skill.NameAskedFor(message));
        var (turn, refused) = await turns.Submit(caller.Org, caller.Origin, new(session, message, body.Value.Model, null, body.Key, Skills: skills), ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var location = $"{BasePath}/{turn.Run.ResponseId}";
        if (place is not null)
        {
            http.Response.Begin(200, location, turn.Replayed);
            return await responses.Follow(http, place, caller.Org, turn.Run, after: -1, StartingAfter.Name);
        }
        return new LateResult(Answer()) { Location = location, Replayed = turn.Replayed };

        async Task<IResult> Answer()
        {
            var run = await waiter.Until(caller.Org, turn, waiter.Time(http, waitForCompletion: null, waitTimeoutSeconds: null), ct);
            return Shown(http, await responses.Details(caller.Org, run, ct)) with { Location = location, Replayed = turn.Replayed };
        }
    }

    static async Task<IResult> Get(PathKey<RunKey> run, HttpContext http, Caller caller, ReadView view, Responses responses, CancellationToken ct)
    {
        var (isStreamed, after) = (Streamed.Read(http) == "true", StartingAfter.Read(http));
        return isStreamed && view.Position is not null ? AsOf.Unsupported("A stream is only shown as it is now.")
            : await view.FindRun(caller, run.Key, ct) is not { } row ? ErrorResult.NotFound("response")
            : isStreamed ? await responses.Follow(http, caller.Org, run.Key, after, StartingAfter.Name)
            : Shown(http, await responses.Details(view, caller.Org, row, ct));
    }

    static async Task<IResult> Events(PathKey<RunKey> run, HttpContext http, Caller caller, RunViews views, Responses responses, CancellationToken ct)
    {
        // A reader that reconnects sends the header and its first address, so the header wins.
        var after = StartingAfter.ReadLastEventId(http) ?? StartingAfter.Read(http);
        return await views.Find(caller, run.Key, ct) is null
            ? ErrorResult.NotFound("response")
            : await responses.Follow(http, caller.Org, run.Key, after, StartingAfter.PlaceOrLastEventId(http), seen: after);
    }

    static async Task<IResult> Tail(HttpContext http, Caller caller, IRows rows, Responses responses, CancellationToken ct)
    {
        // The number in the header may be that of an earlier response, so that the stream begins where its address says.
        var (session, from, seen) = (OfConversation.Read<SessionKey>(http)!.Value, FromSeq.Read(http), StartingAfter.ReadLastEventId(http));
        return await Latest(caller, session, rows, ct) is { } run
            ? await responses.Follow(http, caller.Org, run.RunId, from - 1, FromSeq.Name, seen ?? from - 1)
            : ErrorResult.NotFound("response");
    }

    static async Task<IResult> InFlight(HttpContext http, Caller caller, Responses responses, CancellationToken ct) =>
        await responses.First(caller, OfConversation.Read<SessionKey>(http)!.Value, ct) is { } run
        && await responses.InFlight(caller.Org, run.SessionId, run.RunId, ct) is { } flying
            ? JsonResult.Of(200, flying, PlatformJson.Answers.InFlightResponse)
            : ErrorResult.NotFound("response");

    static async Task<IResult> ListInFlight(HttpContext http, Caller caller, IRows rows, Responses responses, CancellationToken ct)
    {
        var (limit, offset) = ((int)Lists.Limit.Read(http), (int)Offset.Read(http));
        var session = OnlyOfConversation.Read<SessionKey>(http);
        if (session is { } one && await rows.FindSession(caller, one, ct) is null)
        {
            return ErrorResult.NotFound("conversation");
        }
        var (live, total) = session is { } of ? await responses.Live(caller.Org, of, ct) : await responses.Live(caller.Org, offset + limit, ct);
        var page = new List<InFlightResponse>();
        foreach (var (conversation, run) in live.Skip(offset).Take(limit))
        {
            if (await responses.InFlight(caller.Org, conversation, run, ct) is { } flying)
            {
                page.Add(flying);
            }
        }
        return JsonResult.Of(200, new InFlightList("list", page, total, limit, offset, offset + page.Count < total), PlatformJson.Answers.InFlightList);
    }

    static async Task<IResult> Cancel(
        PathKey<RunKey> run, Body<NoBody> body, HttpContext http, Caller caller, RunViews views, Responses responses, ICommandExecutor commands, CancellationToken ct) =>
        await views.Find(caller, run.Key, ct) is null
            ? ErrorResult.NotFound("response")
            : await CancelRun(http, run.Key, body.Key, caller, views, responses, commands, ct);

    static async Task<IResult> CancelInConversation(
        Body<ConversationToCancel> body, HttpContext http, Caller caller, RunViews views, Responses responses, ICommandExecutor commands, CancellationToken ct) =>
        await responses.First(caller, PathIds.Key<SessionKey>(body.Value.ConversationId!, "$.conversation_id"), ct) is { } run
            ? await CancelRun(http, run.RunId, body.Key, caller, views, responses, commands, ct)
            : ErrorResult.NotFound("response");

    static async Task<IResult> CancelRun(
        HttpContext http, RunKey run, RequestKey? key, Caller caller, RunViews views, Responses responses, ICommandExecutor commands, CancellationToken ct)
    {
        var result = await commands.Execute(caller.Org, caller.Origin, new Application.CancelRun(run, key), ct);
        if (result.Refused is { Code: not "idempotency_key_claimed" } refused)
        {
            return ErrorResult.Of(refused);
        }
        return await views.Find(caller, run, ct) is { } after
            ? Shown(http, await responses.Details(caller.Org, after, ct)) with { Replayed = result.Refused is not null }
            : ErrorResult.NotFound("response");
    }

    static JsonResult<ResponseDetails> Shown(HttpContext http, ResponseDetails response) => OpenAiClients.Sent(http.Request)
        ? JsonResult.Of(200, OpenAiClients.Adapt(response), PlatformJson.OpenAis.ResponseDetails)
        : JsonResult.Of(200, response, PlatformJson.Answers.ResponseDetails);

    static async ValueTask<RunRow?> Latest(Caller caller, SessionKey session, IRows rows, CancellationToken ct) =>
        await rows.FindSession(caller, session, ct) is not null
        && await rows.List(caller.Org, Projections.Runs.Model.Table, new(Scope: session.Value, Limit: 1), ct) is [var row]
            ? Projections.Runs.Model.Read(row.Json.Span)
            : null;
}

/// <summary>Reads runs as responses.</summary>
public sealed class Responses(ReadView now, IEventLog log, IRows rows, RunViews views, CommandHandler commands, EventStream stream)
{
    /// <summary>Runs that are read of each status: more in a tenant are not in flight for a reader's purpose.</summary>
    const int LiveMax = 1_000;

    /// <summary>Runs of conversations that are listed: those of groups are left out.</summary>
    static readonly RowOwner InConversation = new(null, Sessions.Model.Table);

    /// <summary>The response of a run that is there.</summary>
    public ValueTask<ResponseDetails> Details(string org, RunRow run, CancellationToken ct) => Details(now, org, run, ct);

    /// <inheritdoc cref="Details(string, RunRow, CancellationToken)"/>
    public async ValueTask<ResponseDetails> Details(ReadView view, string org, RunRow run, CancellationToken ct) =>
        (await Fold(view, org, run.SessionId, run.RunId, await Input(run, ct), ct)).Details;

    /// <summary>Null: nothing of the run is there.</summary>
    public async ValueTask<InFlightResponse?> InFlight(string org, SessionKey session, RunKey run, CancellationToken ct)
    {
        var fold = await Fold(now, org, session, run, input: "", ct);
        return fold.CreatedAt is { } created ? new(true, run.ResponseId, session.ConversationId, fold.Next - 1, created) : null;
    }

    /// <summary>Sends the events of a response as they happen, until it has ended.</summary>
    /// <param name="after">Events after this sequence number; -1: all.</param>
    /// <param name="seen">
    /// The number of the last event that a reader has. When the response has ended with it the answer is 204, which has a reader stop: an EventSource
    /// reconnects to every stream that ends, for ever.
    /// </param>
    public async Task<IResult> Follow(HttpContext http, string org, RunKey run, long after, string cursor, long? seen = null)
    {
        var (place, full) = stream.Open(http);
        using var counted = place;
        return place is null ? full! : await Follow(http, place, org, run, after, cursor, seen);
    }

    /// <inheritdoc cref="Follow(HttpContext, string, RunKey, long, string, long?)"/>
    /// <param name="place">Of <see cref="EventStream.Open"/>.</param>
    public async Task<IResult> Follow(HttpContext http, OpenStreams.Place place, string org, RunKey run, long after, string cursor, long? seen = null)
    {
        if (await Begin(org, run, http.RequestAborted) is not var (session, first, ends, hasEnded, input))
        {
            return ErrorResult.NotFound("response");
        }
        if (hasEnded && seen == ends - 1)
        {
            return TypedResults.NoContent();
        }
        if (after >= ends)
        {
            return ErrorResult.Invalid(cursor, $"The response's events end at {ends - 1}: this cursor is not one of its.", "cursor_ahead");
        }
        var fold = new ResponseFold(run, input);
        var isOpenAis = OpenAiClients.Sent(http.Request);
        var json = (isOpenAis ? PlatformJson.OpenAis : PlatformJson.Answers).ResponseEvent;
        return await stream.Send(http, place, org, session, first - 1, (output, entry) =>
        {
            var events = entry.Is<SessionEvent.SessionDeleted>() ? fold.Cancel(entry.At) : fold.Add(entry);
            foreach (var e in events.Where(e => e.SequenceNumber > after))
            {
                if ((isOpenAis ? OpenAiClients.Adapt(e) : e) is { } told)
                {
                    Write(output, told, json);
                }
            }
            return !fold.HasEnded && !entry.Is<SessionEvent.SessionDeleted>();
        });
    }

    /// <summary>The run that a conversation is working on; null: it is working on none.</summary>
    public async ValueTask<RunRow?> First(Caller caller, SessionKey session, CancellationToken ct)
    {
        foreach (var run in await Queue(caller.Org, session, ct))
        {
            if (await views.Find(caller, run, ct) is { HasEnded: false } row)
            {
                return row;
            }
        }
        return null;
    }

    /// <summary>The runs of a conversation that have not ended, newest first, and how many there are.</summary>
    public async ValueTask<(IReadOnlyList<(SessionKey Session, RunKey Run)> Runs, int Total)> Live(string org, SessionKey session, CancellationToken ct) =>
        await Queue(org, session, ct) is var queue ? ([.. queue.Reverse().Select(run => (session, run))], queue.Count) : default;

    /// <summary>The tenant's newest runs that have not ended and are not those of groups, newest first, and how many there are in all.</summary>
    public async ValueTask<(IReadOnlyList<(SessionKey Session, RunKey Run)> Runs, int Total)> Live(string org, int max, CancellationToken ct)
    {
        var (found, total) = (new List<(long Created, SessionKey Session, RunKey Run)>(), 0L);
        foreach (var status in Runs.Live)
        {
            total += await rows.Count(org, Runs.Model.Table, status, LiveMax, InConversation, ct);
            // Rows have messages in them, so that they are read in parts and only their names are kept.
            var next = new RowQuery(Status: status, Limit: Math.Min(max, LiveMax), Bytes: PageBytes.Max, Owner: InConversation);
            while (next.Limit > 0 && await rows.List(org, Runs.Model.Table, next, ct) is [.., var last] part)
            {
                found.AddRange(part.Select(row => (row.Created, Run: Runs.Model.Read(row.Json.Span))).Select(row => (row.Created, row.Run.SessionId, row.Run.RunId)));
                next = next with { Limit = next.Limit - part.Count, Before = last.Created };
            }
        }
        return ([.. found.OrderByDescending(run => run.Created).Select(run => (run.Session, run.Run)).DistinctBy(run => run.Run)], (int)total);
    }

    /// <summary>The runs of a conversation that have not ended, the one that it works on first, as the log has them: a list of rows may be cut.</summary>
    async ValueTask<IReadOnlyList<RunKey>> Queue(string org, SessionKey session, CancellationToken ct) =>
        await commands.LatestState(org, Session.Aggregate, session, ct) is Session.Open open ? [.. open.LiveRuns()] : [];

    /// <summary>
    /// What is known of a response before its stream begins: its session, the id of its first entry there, how many events it has, whether they are all, and
    /// the message. Null: there is none.
    /// </summary>
    /// <remarks>By itself, so that a stream does not keep for as long as it is open what was read for its begin.</remarks>
    async ValueTask<(SessionKey Session, long First, long Ends, bool HasEnded, string Input)?> Begin(string org, RunKey run, CancellationToken ct)
    {
        if (await views.Row(org, run, ct) is not { } row || await log.OfRun(org, row.SessionId, run, ct) is not [var first, ..] entries)
        {
            return null;
        }
        var input = await Input(row, ct);
        var known = new ResponseFold(run, input);
        var ends = entries.Sum(entry => known.Add(entry).Count);
        return (row.SessionId, first.FeedId, ends, known.HasEnded, input);
    }

    async ValueTask<string> Input(RunRow run, CancellationToken ct) => (await views.WithTexts(run with { Reply = null }, ct)).Message is Content.Inline inline ? inline.Text : "";

    static void Write(PipeWriter output, ResponseEvent e, JsonTypeInfo<ResponseEvent> form)
    {
        output.Write(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"id: {e.SequenceNumber}\nevent: {e.Type}\ndata: ")));
        using (var json = new Utf8JsonWriter((IBufferWriter<byte>)output, form.Writing()))
        {
            JsonSerializer.Serialize(json, e, form);
        }
        output.Write("\n\n"u8);
    }

    static async ValueTask<ResponseFold> Fold(ReadView view, string org, SessionKey session, RunKey run, string input, CancellationToken ct)
    {
        var fold = new ResponseFold(run, input);
        foreach (var entry in await view.OfRun(org, session, run, ct))
        {
            fold.Add(entry);
        }
        return fold;
    }
}
