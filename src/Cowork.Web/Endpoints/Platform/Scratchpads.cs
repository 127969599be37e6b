using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>A cell to be made.</summary>
/// <param name="Type"><c>markdown</c> or <c>code</c>.</param>
/// <param name="Language">Of a code cell; null: <c>python</c>.</param>
/// <param name="Index">Place among the scratchpad's cells, from 0; null: behind the last.</param>
public sealed record NewCellBody([property: NeverNull, NewCellType] string? Type, string? Content = null, string? Language = null, long? Index = null) : IRequestBody<NewCellBody>
{
    public const string UsualLanguage = "python";

    public static JsonTypeInfo<NewCellBody> Json => PlatformJson.Default.NewCellBody;

    public void Validate(ValidationErrors errors) => Validate("$", errors);

    public void Validate(string path, ValidationErrors errors)
    {
        if (Type is not (CellTypes.Markdown or CellTypes.Code))
        {
            errors.Add($"{path}.type", $"Must be {CellTypes.Markdown} or {CellTypes.Code}. Results stand behind the code cell that they are of.");
        }
        CellFields.ValidateContent(Content, $"{path}.content", errors);
        if (Language is not null && (Language.Length is 0 or > Limits.LanguageCharsMax || !Language.All(c => char.IsAsciiLetterOrDigit(c) || c is '+' or '#' or '-' or '.' or '_')))
        {
            errors.Add($"{path}.language", $"The name of a language has 1 to {Limits.LanguageCharsMax} letters and digits.");
        }
        CellFields.ValidateIndex(Index, $"{path}.index", errors);
    }

    public NewCell Cell(CellKey key, Content content) =>
        new(key, Type!, content, Type == CellTypes.Code ? Language?.ToLowerInvariant() ?? UsualLanguage : null);
}

/// <summary>Body of <c>POST /api/v1/scratchpads</c>.</summary>
/// <param name="ConversationId">The conversation that it belongs to.</param>
/// <param name="Title">1 to 200 characters; null: "Scratchpad".</param>
/// <param name="Cells">Its first cells; null: none.</param>
public sealed record NewScratchpad([property: NeverNull] string? ConversationId, string? Title = null, IReadOnlyList<NewCellBody>? Cells = null) : IRequestBody<NewScratchpad>
{
    public const string UsualTitle = "Scratchpad";

    public static JsonTypeInfo<NewScratchpad> Json => PlatformJson.Default.NewScratchpad;

    public void Validate(ValidationErrors errors)
    {
        CellFields.ValidateConversation(ConversationId, errors);
        ConversationFields.ValidateTitle(Title, errors);
        if (Cells?.Count > Limits.ScratchpadCellsMax)
        {
            errors.Add("$.cells", $"A scratchpad has at most {Limits.ScratchpadCellsMax} cells.");
            return;
        }
        foreach (var (place, cell) in (Cells ?? []).Index())
        {
            if (cell is null)
            {
                errors.Add($"$.cells[{place}]", "Must be a cell.");
                continue;
            }
            cell.Validate($"$.cells[{place}]", errors);
        }
    }
}

/// <summary>Body of <c>PATCH /api/v1/scratchpads/{id}</c>. A member that is left out keeps its value.</summary>
/// <param name="Saved">True: what is there now is kept as artifacts, a notebook and a web page. False: it counts as kept no longer; the artifacts stay.</param>
public sealed record ScratchpadChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Title = default, [property: NeverNull] bool? Saved = null)
    : IRequestBody<ScratchpadChanges>
{
    public static JsonTypeInfo<ScratchpadChanges> Json => PlatformJson.Default.ScratchpadChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Title.IsGiven)
        {
            ConversationFields.ValidateTitle(Title.Value ?? "", errors);
        }
    }
}

/// <summary>Body of <c>PATCH /api/v1/scratchpads/{id}/cells/{id}</c>. A member that is left out keeps its value.</summary>
/// <param name="Content">Another content: the cell's results go, and its status is <c>pending</c>.</param>
/// <param name="Index">Its new place, from 0; beyond the last, the last.</param>
public sealed record CellChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Content = default, [property: NeverNull] long? Index = null)
    : IRequestBody<CellChanges>
{
    public static JsonTypeInfo<CellChanges> Json => PlatformJson.Default.CellChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Content is { IsGiven: true, Value: null })
        {
            errors.Add("$.content", "Must be a text.");
        }
        CellFields.ValidateContent(Content.Value, "$.content", errors);
        CellFields.ValidateIndex(Index, "$.index", errors);
    }
}

/// <summary>Body of <c>POST …/cells/{id}/run</c>.</summary>
/// <param name="Stream">Default true: the answer is the stream of the execution's events. False: the cell with that execution's results, when it has ended.</param>
public sealed record CellRun(bool? Stream = null) : IRequestBody<CellRun>
{
    public static JsonTypeInfo<CellRun> Json => PlatformJson.Default.CellRun;

    public static CellRun WhenEmpty { get; } = new();

    public static IReadOnlyList<string> WaitFields { get; } = ["stream"];

    public void Validate(ValidationErrors errors)
    {
    }
}

/// <summary>Body of <c>POST /api/v1/scratchpads/{id}/replay</c>.</summary>
/// <param name="WaitForCompletion">True: the answer comes when all cells were executed, or the wait is over. Default false.</param>
public sealed record ReplayRequest(bool? WaitForCompletion = null) : IRequestBody<ReplayRequest>
{
    public static JsonTypeInfo<ReplayRequest> Json => PlatformJson.Default.ReplayRequest;

    public static ReplayRequest WhenEmpty { get; } = new();

    public static IReadOnlyList<string> WaitFields { get; } = ["wait_for_completion"];

    public void Validate(ValidationErrors errors)
    {
    }
}

/// <summary>What bodies of scratchpads have in common.</summary>
static class CellFields
{
    public static void ValidateConversation(string? conversation, ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(conversation))
        {
            errors.Add("$.conversation_id", "A conversation is required.");
        }
    }

    public static void ValidateContent(string? content, string path, ValidationErrors errors)
    {
        if (content is not null && Encoding.UTF8.GetByteCount(content) > Limits.CellContentBytesMax)
        {
            errors.Add(path, $"A cell has at most {Limits.CellContentBytesMax} bytes of content.");
        }
    }

    public static void ValidateIndex(long? index, string path, ValidationErrors errors)
    {
        if (index is < 0 or > int.MaxValue)
        {
            errors.Add(path, "Must be a whole number from 0.");
        }
    }
}

static class ScratchpadEndpoints
{
    const string BasePath = "/api/v1/scratchpads";

    static readonly IdQuery OfConversation = new("conversation_id", "Of this conversation.", IsRequired: true);

    public static void MapScratchpads(this IEndpointRouteBuilder routes)
    {
        var pads = routes.MapGroup("/scratchpads").WithTags("Scratchpads");
        pads.MapPost("", Create).WithName("createScratchpad").RequireMember()
            .WithSummary("Create a scratchpad in a conversation")
            .Produces<ScratchpadDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        pads.MapGet("", List).WithName("listScratchpads")
            .WithSummary("List a conversation's scratchpads, newest first")
            .Takes(OfConversation).Takes(Lists.Limit).Takes(Lists.Offset)
            .TakesAsOf()
            .Produces<ScratchpadList>().Refuses(404, 422);
        var pad = pads.MapGroup("/{scratchpad_id}").OfVisibleSessions();
        pad.MapGet("", Get).WithName("getScratchpad")
            .WithSummary("Show a scratchpad with all its cells")
            .TakesAsOf()
            .Produces<ScratchpadDetails>().Refuses(404, 422);
        pad.MapPatch("", Change).WithName("changeScratchpad").RequireMember()
            .WithSummary("Change a scratchpad's title, or keep it as artifacts; what is left out stays")
            .Produces<ScratchpadDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        pad.MapDelete("", Delete).WithName("deleteScratchpad").RequireMember()
            .WithSummary("Delete a scratchpad, its cells and its replays; what they execute ends, and the log keeps what happened")
            .Produces(204).Refuses(404, 409, 422);
        pad.MapPost("/restart", Restart).WithName("restartScratchpad").RequireMember()
            .WithSummary("Give a scratchpad a kernel without variables; what waits is withdrawn, and what is executed ends")
            .Produces<ScratchpadDetails>(202).Refuses(400, 404, 409, 413, 415, 422);
        pad.MapPost("/cells", Append).WithName("appendCell").RequireMember()
            .WithSummary("Append a cell, or put one at a place")
            .Produces<CellDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        var cell = pad.MapGroup("/cells/{cell_id}");
        cell.MapGet("", GetCell).WithName("getCell")
            .WithSummary("Show a cell")
            .TakesAsOf()
            .Produces<CellDetails>().Refuses(404, 422);
        cell.MapPatch("", ChangeCell).WithName("changeCell").RequireMember()
            .WithSummary("Change a cell's content or place; another content clears its results")
            .Produces<CellDetails>().Refuses(400, 404, 409, 413, 415, 422, 507);
        cell.MapDelete("", DeleteCell).WithName("deleteCell").RequireMember()
            .WithSummary("Delete a cell; an execution of it ends")
            .Produces(204).Refuses(404, 409, 422);
        cell.MapPost("/run", Run).WithName("runCell").RequireMember()
            .WithSummary("Execute a code cell: its events as they happen, or the cell when it was executed")
            .Produces<CellDetails>().AlsoAsText("text/event-stream").Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        cell.MapGet("/events", Events).WithName("streamCell")
            .WithSummary("The events of a cell's latest execution as they happen (server-sent events, resumed with Last-Event-ID)")
            .TakesLastEventId()
            .Produces<string>(200, "text/event-stream").Produces(204).Refuses(404, 422);
        cell.MapPost("/interrupt", Interrupt).WithName("interruptCell").RequireMember()
            .WithSummary("Withdraw what waits of a cell, and interrupt it when it is executed")
            .Produces<CellInterrupted>().Produces<CellInterrupted>(202).Refuses(400, 404, 409, 413, 415, 422);
    }

    /// <summary>Scratchpads of a group's session: who does not see the group finds none, and nobody changes one but the group's agents.</summary>
    internal static RouteGroupBuilder OfVisibleSessions(this RouteGroupBuilder pads) => pads.AddEndpointFilter(static async (context, next) =>
    {
        var http = context.HttpContext;
        if (http.Request.Query.ContainsKey(AsOf.Name))
        {
            // What is shown of an earlier moment may be deleted today: the view asks who sees its session.
            return await next(context);
        }
        var (caller, of) = (Caller.Of(http), http.RequestServices);
        var pad = PathIds.Key<ScratchpadKey>((string?)http.Request.RouteValues[ScratchpadKey.FieldName] ?? "", ScratchpadKey.FieldName);
        var handler = of.GetRequiredService<CommandHandler>();
        // Neither a scratchpad's session nor a session's group ever changes, so that a state which is behind the log tells both.
        if (await handler.State(caller.Org, Scratchpad.Aggregate, pad, http.RequestAborted) is not Scratchpad.Live live
            || await handler.State(caller.Org, Session.Aggregate, live.SessionId, http.RequestAborted) is not Session.Open { Group: { } group })
        {
            return await next(context);
        }
        return await of.GetRequiredService<IRows>().FindSession(caller, live.SessionId, http.RequestAborted) is null ? ErrorResult.NotFound("scratchpad")
            : HttpMethods.IsGet(http.Request.Method) ? await next(context)
            : ErrorResult.Of(SessionOfGroup.Refused(group));
    });

    static async Task<IResult> Create(
        Body<NewScratchpad> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IRows rows, IBlobs blobs, Subjects subjects,
        ScratchpadViews views, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var session = PathIds.Key<SessionKey>(body.Value.ConversationId!, "$.conversation_id");
        if (!await answers.IsRepeat(caller.Org, body.Key, ct) && await WhyFull(caller.Org, session, usage, rows, ct) is { } full)
        {
            return ErrorResult.Of(full);
        }
        var kept = blobs.For(caller.Org, await subjects.Of(caller.Org, session, ct));
        var cells = ImmutableList.CreateBuilder<NewCell>();
        foreach (var cell in body.Value.Cells ?? [])
        {
            cells.Add(cell.Cell(CellKey.New(now), await kept.Store(cell.Content ?? "", ct)));
        }
        var pad = ScratchpadKey.New(now);
        var create = new CreateScratchpad(pad, session, Content.Of(body.Value.Title ?? NewScratchpad.UsualTitle), cells.ToImmutable(), body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, create, ct);
        return await answers.Of(caller.Org, result, Scratchpad.Aggregate.Stream(pad), body.Key, async after => await views.Shown(201, caller.Org, after, ct), ct);
    }

    /// <summary>The refusal of a further scratchpad of a conversation; null: there is room.</summary>
    public static async ValueTask<Refusal?> WhyFull(string org, SessionKey session, TenantUsage usage, IRows rows, CancellationToken ct) =>
        await usage.StorageRefusal(org, ct)
        ?? ((await rows.Page(org, Scratchpads.Model.Table, Scratchpads.Query(session, 1), 0, ct)).Total >= Limits.ScratchpadsPerSessionMax
            ? Refusal.TooMany("scratchpads_full", $"The conversation has {Limits.ScratchpadsPerSessionMax} scratchpads, and may not have more. Delete some.")
            : null);

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, ScratchpadViews views, CancellationToken ct)
    {
        var (session, limit, offset) = (OfConversation.Read<SessionKey>(http)!.Value, Lists.Limit.Read(http), Lists.Offset.Read(http));
        if (await view.Rows.FindSession(caller, session, ct) is null)
        {
            return ErrorResult.NotFound("conversation");
        }
        var page = await view.Rows.Page(caller.Org, Scratchpads.Model.Table, Scratchpads.Query(session, (int)limit), offset, ct);
        var (shown, bytes) = (new List<ScratchpadDetails>(), 0L);
        foreach (var row in page.Rows)
        {
            if (await views.Find(view, caller.Org, Scratchpads.Model.Read(row.Json.Span), PageBytes.Max - bytes, isFirst: shown.Count == 0, ct) is not var (details, size))
            {
                break;
            }
            bytes += size;
            shown.Add(details);
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.ScratchpadList);
    }

    static async Task<IResult> Get(PathKey<ScratchpadKey> pad, Caller caller, ReadView view, ScratchpadViews views, CancellationToken ct) =>
        await ScratchpadViews.Sees(view, caller, pad.Key, ct)
        && await views.Find(view, caller.Org, pad.Key, ct) is { } shown ? JsonResult.Of(200, shown, PlatformJson.Answers.ScratchpadDetails) : ErrorResult.NotFound("scratchpad");

    static async Task<IResult> Change(
        PathKey<ScratchpadKey> pad, Body<ScratchpadChanges> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, ScratchpadViews views,
        NotebookCopies copies, CancellationToken ct)
    {
        var isRepeat = await answers.IsRepeat(caller.Org, body.Key, ct);
        if (!isRepeat && await usage.StorageRefusal(caller.Org, ct) is { } full)
        {
            return ErrorResult.Of(full);
        }
        var title = body.Value.Title.Value;
        var save = body.Value.Saved switch
        {
            true when !isRepeat => await copies.Save(caller.Org, pad.Key, title, ct),
            false => new SaveScratchpad(null, []),
            _ => null,
        };
        var change = new ChangeScratchpad(pad.Key, title is null ? null : Content.Of(title), save, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(caller.Org, result, Scratchpad.Aggregate.Stream(pad.Key), body.Key, async after => await views.Shown(200, caller.Org, after, ct), ct);
    }

    static async Task<IResult> Delete(
        PathKey<ScratchpadKey> pad, Caller caller, CommandHandler handler, ICommandExecutor commands, ScratchpadDeletion deletion, CancellationToken ct)
    {
        if (await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is not Scratchpad.Live live)
        {
            return ErrorResult.NotFound("scratchpad");
        }
        if (await commands.Execute(caller.Org, caller.Origin, new DeleteScratchpads([pad.Key]), ct) is { Refused: { } refused })
        {
            return ErrorResult.Of(refused);
        }
        await deletion.SweepReplays(caller.Org, caller.Origin, live.SessionId, pad.Key, ct);
        return TypedResults.NoContent();
    }

    static async Task<IResult> Restart(
        PathKey<ScratchpadKey> pad, Body<NoBody> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, ScratchpadViews views, CancellationToken ct)
    {
        var result = await commands.Execute(caller.Org, caller.Origin, new RestartKernel(pad.Key, body.Key), ct);
        return await answers.Of(caller.Org, result, Scratchpad.Aggregate.Stream(pad.Key), body.Key, async after => await views.Shown(202, caller.Org, after, ct), ct);
    }

    static async Task<IResult> Append(
        PathKey<ScratchpadKey> pad, Body<NewCellBody> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, ScratchpadViews views,
        TimeProvider clock, CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var (cell, content) = (CellKey.New(clock.GetUtcNow()), NamedText.Of(body.Value.Content ?? ""));
        var append = new AppendCell(pad.Key, body.Value.Cell(cell, content.Content), (int?)body.Value.Index, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, append, content, ct);
        return await answers.Of(
            caller.Org, result, Scratchpad.Aggregate.Stream(pad.Key), body.Key,
            // A repeat shows the cell that the first request appended: the newest one at that version.
            async after => await views.Cell(201, caller.Org, after, pad => pad.Find(cell) ?? pad.Cells.MaxBy(c => c.CellId.Value, StringComparer.Ordinal)!, ct), ct);
    }

    static async Task<IResult> GetCell(PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, Caller caller, ReadView view, ScratchpadViews views, CancellationToken ct) =>
        await ScratchpadViews.Sees(view, caller, pad.Key, ct)
        && await view.State(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is Scratchpad.Live live && live.Find(cell.Key) is { } found
            ? JsonResult.Of(200, (await views.Cells(view, caller.Org, live, found, ct))[0], PlatformJson.Answers.CellDetails)
            : ErrorResult.NotFound("cell");

    static async Task<IResult> ChangeCell(
        PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, Body<CellChanges> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage,
        ScratchpadViews views, CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var content = NamedText.Of(body.Value.Content.Value ?? "");
        var change = new Application.ChangeCell(pad.Key, cell.Key, body.Value.Content.IsGiven ? content.Content : null, (int?)body.Value.Index, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, content, ct);
        return await answers.Of(
            caller.Org, result, Scratchpad.Aggregate.Stream(pad.Key), body.Key, async after => await views.Cell(200, caller.Org, after, pad => pad.Find(cell.Key)!, ct), ct);
    }

    static async Task<IResult> DeleteCell(PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new Application.DeleteCell(pad.Key, cell.Key), ct) is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : TypedResults.NoContent();

    static async Task<IResult> Run(
        PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, Body<CellRun> body, HttpContext http, Caller caller, CommandHandler handler, ICommandExecutor commands,
        CommandAnswers answers, TenantUsage usage, IKernels kernels, EventStream stream, CellStreams streams, ScratchpadViews views, HostSettings settings,
        TimeProvider clock, CancellationToken ct)
    {
        var isRepeat = await answers.IsRepeat(caller.Org, body.Key, ct);
        if (!isRepeat && await WhyNotRun(caller.Org, pad.Key, cell.Key, handler, usage, kernels, ct) is { } refused)
        {
            return refused;
        }
        // An execution that cannot be streamed is not begun.
        var (place, full) = body.Value.Stream ?? true ? stream.Open(http) : default;
        using var counted = place;
        if (full is not null)
        {
            return full;
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new RunCell(pad.Key, cell.Key, Header: body.Key), ct);
        var begun = result.Refused switch
        {
            null => result.On(Scratchpad.Aggregate.Stream(pad.Key)).Version,
            { Code: "idempotency_key_claimed" } => (await answers.EffectOf(caller.Org, body.Key!, ct))?.Version ?? 0,
            _ => 0,
        };
        if (begun == 0 || await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is not Scratchpad.Live { SessionId: var session })
        {
            return result.Refused is { Code: not "idempotency_key_claimed" } no ? ErrorResult.Of(no) : ErrorResult.NotFound("scratchpad");
        }
        var (execution, location) = (new CellExecution(caller.Org, session, pad.Key, cell.Key, begun), $"{BasePath}/{pad.Key}/cells/{cell.Key}");
        if (place is not null)
        {
            http.Response.Begin(200, $"{location}/events", isRepeat);
            return await streams.Follow(http, place, execution);
        }
        return new LateResult(Answer()) { Location = location, Replayed = isRepeat };

        async Task<IResult> Answer()
        {
            using var late = new CancellationTokenSource(settings.WaitMax < UsualWait ? settings.WaitMax : UsualWait, clock);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, late.Token);
            try
            {
                var (ended, outputs) = await streams.Completed(execution, either.Token);
                return JsonResult.Of(200, await views.Executed(execution, ended, outputs, ct), PlatformJson.Answers.CellDetails) with { Location = location, Replayed = isRepeat };
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                // It is shown as it is now.
            }
            return await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is Scratchpad.Live live && live.Find(cell.Key) is { } shown
                ? JsonResult.Of(200, (await views.Cells(caller.Org, live, shown, ct))[0], PlatformJson.Answers.CellDetails) with { Location = location, Replayed = isRepeat }
                : ErrorResult.NotFound("cell");
        }
    }

    static TimeSpan UsualWait => TimeSpan.FromMinutes(5);

    /// <summary>Why a cell cannot be executed; null: it can.</summary>
    static async ValueTask<ErrorResult?> WhyNotRun(
        string org, ScratchpadKey pad, CellKey key, CommandHandler handler, TenantUsage usage, IKernels kernels, CancellationToken ct)
    {
        if (await handler.LatestState(org, Scratchpad.Aggregate, pad, ct) is not Scratchpad.Live live)
        {
            return ErrorResult.NotFound("scratchpad");
        }
        if (live.Find(key) is not { } cell)
        {
            return ErrorResult.NotFound("cell");
        }
        // The command refuses it.
        if (!cell.IsCode)
        {
            return null;
        }
        if (await kernels.WhyUnavailable(ct) is { } why)
        {
            return KernelUnavailable(why);
        }
        if (kernels.Specs.All(spec => spec.Language != cell.Language))
        {
            var installed = string.Join(", ", kernels.Specs.Select(spec => spec.Language).Distinct());
            return ErrorResult.Invalid("cell_id", $"No kernel for {cell.Language} is installed; there are kernels for {installed}.", "unknown_language");
        }
        return await usage.StorageRefusal(org, ct) is { } full ? ErrorResult.Of(full) : null;
    }

    public static ErrorResult KernelUnavailable(string why) => new(503, "kernel_unavailable", why) { RetryAfter = 30 };

    static async Task<IResult> Events(
        PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, HttpContext http, Caller caller, CommandHandler handler, EventStream stream, CellStreams streams, CancellationToken ct)
    {
        var seen = LastEventId.ReadLastEventId(http);
        if (await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is not Scratchpad.Live live || live.Find(cell.Key) is not { } found)
        {
            return ErrorResult.NotFound("cell");
        }
        // A reader that reconnects goes on with the execution that it has begun with.
        var (since, number) = seen is { } id ? CellStreams.Place(id) : (found.Since, -1);
        if (since == 0 && seen is null)
        {
            return ErrorResult.NotFound("execution of the cell");
        }
        var execution = new CellExecution(caller.Org, live.SessionId, pad.Key, cell.Key, since);
        if (seen is not null)
        {
            if (since == 0 || await streams.Known(execution, ct) is not var (count, hasEnded) || number >= count)
            {
                return ErrorResult.Invalid("Last-Event-ID", "It is none of this cell's: begin without it.", "cursor_ahead");
            }
            if (hasEnded && number == count - 1)
            {
                return TypedResults.NoContent();
            }
        }
        var (place, full) = stream.Open(http);
        using var counted = place;
        return place is null ? full! : await streams.Follow(http, place, execution, number);
    }

    static readonly WholeNumberQuery LastEventId = new("last_event_id", 0, long.MaxValue, 0, "Only events after this id.");

    static async Task<IResult> Interrupt(
        PathKey<ScratchpadKey> pad, PathKey<CellKey> cell, Body<NoBody> body, Caller caller, CommandHandler handler, ICommandExecutor commands, CommandAnswers answers,
        ScratchpadViews views, CancellationToken ct)
    {
        var result = await commands.Execute(caller.Org, caller.Origin, new InterruptCell(pad.Key, cell.Key, body.Key), ct);
        return await answers.Of(
            caller.Org, result, Scratchpad.Aggregate.Stream(pad.Key), body.Key,
            async after =>
            {
                var live = (Scratchpad.Live)await handler.StateAt(caller.Org, Scratchpad.Aggregate, pad.Key, after.Version, ct);
                var isAsked = after.HasChanged || live.IsRunning(cell.Key);
                return JsonResult.Of(
                    isAsked ? 202 : 200, new CellInterrupted(cell.Key, (await views.Cells(caller.Org, live, live.Find(cell.Key)!, ct))[0].Status, isAsked),
                    PlatformJson.Answers.CellInterrupted);
            },
            ct);
    }
}

/// <summary>Scratchpads and cells as they are shown.</summary>
public sealed class ScratchpadViews(ReadView now, CommandHandler commands, CellStreams streams, IBlobs blobs)
{
    /// <summary>Null: there is none.</summary>
    public async ValueTask<ScratchpadDetails?> Find(ReadView view, string org, ScratchpadKey pad, CancellationToken ct) =>
        await view.Rows.Get(org, Scratchpads.Model.Table, pad.Value, ct) is { } row
        && await view.State(org, Scratchpad.Aggregate, pad, ct) is Scratchpad.Live live
            ? await Details(view, org, live, Scratchpads.Model.Read(row.Json.Span), ct)
            : null;

    /// <summary>The view shows the scratchpad to the caller, or it is as it is now, and the route asked.</summary>
    internal static async ValueTask<bool> Sees(ReadView view, Caller caller, ScratchpadKey pad, CancellationToken ct) =>
        view.Position is null || await view.Rows.Find(caller, Scratchpads.Model, pad.Value, ct) is not null;

    /// <summary>A scratchpad of a list, and its bytes, about; null: there is not as much room, or it was deleted.</summary>
    /// <param name="isFirst">It is shown however large it is.</param>
    public async ValueTask<(ScratchpadDetails Details, long Bytes)?> Find(
        ReadView view, string org, ScratchpadRow row, long room, bool isFirst, CancellationToken ct)
    {
        if (await view.State(org, Scratchpad.Aggregate, row.ScratchpadId, ct) is not Scratchpad.Live live)
        {
            return null;
        }
        var bytes = live.Cells.Sum(cell => Scratchpad.BytesOf(cell.Content) + (2 * Scratchpad.BytesOf(cell.Result?.Outputs)));
        return bytes > room && !isFirst ? null : (await Details(view, org, live, row, ct), bytes);
    }

    /// <summary>A scratchpad after a commit.</summary>
    public async ValueTask<JsonResult<ScratchpadDetails>> Shown(int status, string org, StreamResult after, CancellationToken ct)
    {
        var row = after.Row(Scratchpads.Model);
        var live = (Scratchpad.Live)await commands.StateAt(org, Scratchpad.Aggregate, row.ScratchpadId, after.Version, ct);
        return JsonResult.Of(status, await Details(now, org, live, row, ct), PlatformJson.Answers.ScratchpadDetails) with
        {
            Location = status == 201 ? $"/api/v1/scratchpads/{row.ScratchpadId}" : null,
        };
    }

    /// <summary>A cell after a commit.</summary>
    public async ValueTask<JsonResult<CellDetails>> Cell(int status, string org, StreamResult after, Func<Scratchpad.Live, Cell> which, CancellationToken ct)
    {
        var pad = new ScratchpadKey(after.Key);
        var live = (Scratchpad.Live)await commands.StateAt(org, Scratchpad.Aggregate, pad, after.Version, ct);
        var shown = (await Cells(org, live, which(live), ct))[0];
        return JsonResult.Of(status, shown, PlatformJson.Answers.CellDetails) with
        {
            Location = status == 201 ? $"/api/v1/scratchpads/{pad}/cells/{shown.Id}" : null,
        };
    }

    /// <summary>A cell, and behind it its results by themselves, where it has some.</summary>
    public ValueTask<IReadOnlyList<CellDetails>> Cells(string org, Scratchpad.Live pad, Cell cell, CancellationToken ct) => Cells(now, org, pad, cell, ct);

    /// <inheritdoc cref="Cells(string, Scratchpad.Live, Cell, CancellationToken)"/>
    public async ValueTask<IReadOnlyList<CellDetails>> Cells(ReadView view, string org, Scratchpad.Live pad, Cell cell, CancellationToken ct)
    {
        var outputs = pad.Running is { } running && running.Of.CellId == cell.CellId
            ? await streams.Outputs(new(org, pad.SessionId, pad.ScratchpadId, cell.CellId, running.Of.Since), view.Position, ct)
            : await blobs.Outputs(cell.Result?.Outputs, ct);
        return [.. CellDetails.Of(pad, cell, await blobs.Text(cell.Content, ct), outputs)];
    }

    /// <summary>A cell with what became of one execution of it. One that was deleted meanwhile is shown as it was when it was queued.</summary>
    public async ValueTask<CellDetails> Executed(CellExecution execution, CellResult result, ImmutableList<NotebookOutput> outputs, CancellationToken ct)
    {
        var pad = await commands.LatestState(execution.Org, Scratchpad.Aggregate, execution.Scratchpad, ct) as Scratchpad.Live;
        if (pad?.Find(execution.Cell) is null)
        {
            pad = (Scratchpad.Live)await commands.StateAt(execution.Org, Scratchpad.Aggregate, execution.Scratchpad, execution.Since, ct) with { Queue = [] };
        }
        var cell = pad.Find(execution.Cell)!;
        return CellDetails.Of(pad, cell, await blobs.Text(cell.Content, ct), result, outputs);
    }

    async ValueTask<ScratchpadDetails> Details(ReadView view, string org, Scratchpad.Live pad, ScratchpadRow row, CancellationToken ct)
    {
        var cells = new List<CellDetails>();
        foreach (var cell in pad.Cells)
        {
            cells.AddRange(await Cells(view, org, pad, cell, ct));
        }
        return new(
            pad.ScratchpadId, pad.SessionId.ConversationId, await blobs.Text(pad.Title, ct), cells, pad.Saved is not null,
            pad.Saved is { } saved ? [Artifact.KeyOf(pad.SessionId, saved.Notebook), Artifact.KeyOf(pad.SessionId, saved.Page)] : [], KernelDetails.Of(pad), pad.ReplayOf,
            row.CreatedAt, row.UpdatedAt);
    }
}
