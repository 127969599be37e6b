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

/// <summary>Body of <c>POST /api/v1/schedules</c>.</summary>
/// <param name="ProjectId">The project of its conversations.</param>
/// <param name="Cron">Five fields, or a macro like <c>@daily</c>.</param>
/// <param name="Prompt">The message of each run; <c>/name</c> at its beginning asks for a skill.</param>
/// <param name="Timezone">IANA name; null: UTC.</param>
/// <param name="ConversationId">The conversation that each run goes on with, of the same project; null: a new one for each run.</param>
/// <param name="Misfire">Missed runs to catch up: <c>one</c> (default), <c>none</c> or <c>all</c>.</param>
/// <param name="Overlap">What happens while the previous run is live: <c>skip</c> (default), <c>queue</c> or <c>parallel</c>.</param>
/// <param name="Status"><c>active</c> (default), or <c>paused</c>: it starts paused.</param>
public sealed record NewPlatformSchedule(
    [property: NeverNull] string? ProjectId, [property: NeverNull] string? Cron, [property: NeverNull] string? Prompt, string? Timezone = null, string? ConversationId = null,
    [property: MisfirePolicy] string? Misfire = null, [property: OverlapPolicy] string? Overlap = null, [property: ScheduleStatus] string? Status = null)
    : IRequestBody<NewPlatformSchedule>
{
    public static JsonTypeInfo<NewPlatformSchedule> Json => PlatformJson.Default.NewPlatformSchedule;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(ProjectId))
        {
            errors.Add("$.project_id", "A project is required.");
        }
        PlatformScheduleFields.ValidateText(Cron, "$.cron", "A cron expression of five fields is required.", errors);
        PlatformScheduleFields.ValidatePrompt(Prompt, errors);
        NewScheduledRun.Choice<Misfire>("$.misfire", Misfire, errors);
        NewScheduledRun.Choice<Overlap>("$.overlap", Overlap, errors);
        if (Status is not (null or Schedules.Active or Schedules.Paused))
        {
            errors.Add("$.status", $"Must be {Schedules.Active} or {Schedules.Paused}.");
        }
    }
}

/// <summary>
/// Body of <c>PATCH /api/v1/schedules/{id}</c>. What is left out stays. Another <c>cron</c> or <c>timezone</c>, and <c>active</c> after <c>paused</c>, plan from now.
/// </summary>
public sealed record PlatformScheduleChanges(
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Cron = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Prompt = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter))] Optional<string> Timezone = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter)), ScheduleStatus] Optional<string> Status = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter)), MisfirePolicy] Optional<string> Misfire = default,
    [property: NeverNull, JsonConverter(typeof(OptionalTextConverter)), OverlapPolicy] Optional<string> Overlap = default)
    : IRequestBody<PlatformScheduleChanges>
{
    public static JsonTypeInfo<PlatformScheduleChanges> Json => PlatformJson.Default.PlatformScheduleChanges;

    public void Validate(ValidationErrors errors)
    {
        if (Cron.IsGiven)
        {
            PlatformScheduleFields.ValidateText(Cron.Value, "$.cron", "Must be a cron expression of five fields.", errors);
        }
        if (Prompt.IsGiven)
        {
            PlatformScheduleFields.ValidatePrompt(Prompt.Value, errors);
        }
        if (Timezone.IsGiven)
        {
            PlatformScheduleFields.ValidateText(Timezone.Value, "$.timezone", "Must be the IANA name of a time zone.", errors);
        }
        if (Status is { IsGiven: true, Value: not (Schedules.Active or Schedules.Paused) })
        {
            errors.Add("$.status", $"Must be {Schedules.Active} or {Schedules.Paused}.");
        }
        Choice<Misfire>("$.misfire", Misfire, errors);
        Choice<Overlap>("$.overlap", Overlap, errors);
    }

    static void Choice<T>(string path, Optional<string> word, ValidationErrors errors)
        where T : struct, Enum
    {
        if (word.IsGiven)
        {
            NewScheduledRun.Choice<T>(path, word.Value ?? "", errors);
        }
    }
}

/// <summary>A prompt that is run again and again in a project.</summary>
/// <param name="ConversationId">Null: a new conversation for each run.</param>
/// <param name="NextRunAt">The next planned time; null: paused, or no more comes.</param>
public sealed record PlatformSchedule(
    [property: JsonPropertyName("id")] ScheduleKey ScheduleId, ProjectKey ProjectId, string Cron, string Timezone, string Prompt, string? ConversationId,
    [property: ScheduleStatus] string Status, [property: MisfirePolicy] string Misfire, [property: OverlapPolicy] string Overlap, DateTimeOffset? LastRunAt,
    DateTimeOffset? NextRunAt, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record PlatformScheduleList(string Object, IReadOnlyList<PlatformSchedule> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>The outcome of a slot or of a run by hand.</summary>
/// <param name="Slot">The planned time; null: by hand.</param>
/// <param name="Through">The last slot of a series; null: one slot.</param>
/// <param name="Count">Number of slots in the series; null: one slot, or too many to count.</param>
/// <param name="ConversationId">Of the response; null: there is none, or its conversation was deleted.</param>
/// <param name="Status">Of the response.</param>
public sealed record PlatformScheduleRun(
    DateTimeOffset? Slot, DateTimeOffset? Through, long? Count, [property: SlotOutcome] string Outcome, [property: TriggerMode] string Mode, string? ResponseId,
    string? ConversationId, [property: ResponseStatus] string? Status, string? Reason, string? Detail, DateTimeOffset DecidedAt);

/// <param name="Object"><c>list</c>.</param>
/// <param name="HasMore">There are older ones.</param>
public sealed record PlatformScheduleLedger(string Object, IReadOnlyList<PlatformScheduleRun> Data, long Limit, long Offset, bool HasMore);

/// <summary>The members that both bodies have.</summary>
static class PlatformScheduleFields
{
    public static void ValidatePrompt(string? prompt, ValidationErrors errors)
    {
        ValidateText(prompt, "$.prompt", "A prompt is required, and must not be blank.", errors);
        if (prompt is not null && Encoding.UTF8.GetByteCount(prompt) > Limits.MessageBytesMax)
        {
            errors.Add("$.prompt", $"A prompt has at most {Limits.MessageBytesMax} bytes.");
        }
    }

    public static void ValidateText(string? text, string path, string wanted, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            errors.Add(path, wanted);
        }
    }
}

static class PlatformScheduleEndpoints
{
    /// <summary>So far back a ledger is read; the tenant's feed has all of it.</summary>
    static readonly WholeNumberQuery LedgerOffset = Lists.Offset with { Max = 100_000 };

    static readonly ChoiceQuery OfStatus = new("status", [Schedules.Active, Schedules.Paused, "all"], "all", "Only those in this state.", "ScheduleStatusFilter");

    public static void MapPlatformSchedules(this IEndpointRouteBuilder routes)
    {
        var schedules = routes.MapGroup("/schedules").WithTags("Schedules");
        schedules.MapPost("", Create).WithName("createPromptSchedule").RequireMember()
            .WithSummary("Plan to run a prompt in a project by a cron expression")
            .Produces<PlatformSchedule>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        schedules.MapGet("", List).WithName("listPromptSchedules")
            .WithSummary("List schedules, newest first")
            .Takes(ProjectInQuery.Parameter).Takes(OfStatus).Takes(NameQuery.Words).Takes(Lists.Limit).Takes(Lists.Offset)
            .TakesAsOf()
            .Produces<PlatformScheduleList>().Refuses(404, 422);
        schedules.MapGet("/{schedule_id}", Get).WithName("getPromptSchedule")
            .WithSummary("Show a schedule")
            .TakesAsOf()
            .Produces<PlatformSchedule>().Refuses(404, 422);
        schedules.MapPatch("/{schedule_id}", Change).WithName("changePromptSchedule").RequireMember()
            .WithSummary("Change, pause or resume a schedule; what is left out stays")
            .Produces<PlatformSchedule>().Refuses(400, 404, 409, 413, 415, 422, 507);
        schedules.MapDelete("/{schedule_id}", Delete).WithName("deletePromptSchedule").RequireMember()
            .WithSummary("Delete a schedule; responses that it started go on")
            .Produces(204).Refuses(404, 422);
        schedules.MapPost("/{schedule_id}/run", Run).WithName("runPromptSchedule").RequireMember()
            .WithSummary("Run a schedule's prompt now, whatever is planned")
            .TakesPrefer()
            .Produces<ResponseDetails>(200).Produces<ResponseDetails>(202).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        schedules.MapGet("/{schedule_id}/runs", Ledger).WithName("listPromptScheduleRuns")
            .WithSummary("What became of a schedule's planned times, newest first: responses, and why there was none")
            .Takes(Lists.Limit).Takes(LedgerOffset)
            .TakesAsOf()
            .Produces<PlatformScheduleLedger>().Refuses(404, 422);
    }

    static async Task<IResult> Create(
        Body<NewPlatformSchedule> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, Subjects subjects, IBlobs blobs, NextTime nextTime,
        TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        var project = PathIds.Key<ProjectKey>(asked.ProjectId!, "$.project_id");
        SessionKey? conversation = asked.ConversationId is { } id ? PathIds.Key<SessionKey>(id, "$.conversation_id") : null;
        if (await usage.ScheduleRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var (times, unfit) = Timing.Times.Of(asked.Cron!, asked.Timezone ?? "UTC", "$.cron", "$.timezone", nextTime);
        if (times is null)
        {
            return ErrorResult.Of(unfit!);
        }
        // A conversation tells whose texts the schedule has.
        var (subject, erased) = conversation is null ? await subjects.Of(caller.Org, caller.Actor, null, ct) : (null, null);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var prompt = NamedText.Of(asked.Prompt!);
        var create = new CreateSchedule(
            ScheduleKey.New(clock.GetUtcNow()), Session.TitleOf(asked.Prompt!) ?? "schedule", new(conversation, null, null, null, prompt.Content, project), times,
            NewScheduledRun.ChoiceOf<Misfire>(asked.Misfire), NewScheduledRun.ChoiceOf<Overlap>(asked.Overlap), caller.Actor, asked.Status != Schedules.Paused, body.Key,
            Subject: subject);
        var result = await commands.Execute(caller.Org, caller.Origin, create, prompt, ct);
        if (result.Refused is null)
        {
            usage.Made(caller.Org, schedules: 1);
        }
        return await answers.Of(caller.Org, result, Schedule.Aggregate.Stream(create.Schedule), body.Key, after => Shown(201, after, blobs, ct), ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        var (limit, offset, status) = (Lists.Limit.Read(http), Lists.Offset.Read(http), OfStatus.Read(http));
        var (project, missing) = await ProjectInQuery.Find(http, caller, view.Rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var query = new RowQuery(Schedules.WithPrompt, status == OfStatus.Default ? null : status, (int)limit, Bytes: PageBytes.Max)
        {
            Having = project is { } of ? Schedules.Of(of) : null,
            Named = NameQuery.Read(http, Schedule.Aggregate.Name),
        };
        var page = await view.Rows.Page(caller.Org, Schedules.Model.Table, query, offset, ct);
        var (shown, room) = (new List<PlatformSchedule>(), new ListRoom());
        foreach (var row in page.Rows)
        {
            var schedule = Schedules.Model.Read(row.Json.Span);
            if (!room.Takes(row, schedule.Prompt))
            {
                break;
            }
            shown.Add(await Details(schedule, blobs, ct));
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.PlatformScheduleList);
    }

    static async Task<IResult> Get(PathKey<ScheduleKey> schedule, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await Find(caller.Org, schedule.Key, view.Rows, ct) is { } found
            ? JsonResult.Of(200, await Details(found.Schedule, blobs, ct), PlatformJson.Answers.PlatformSchedule)
            : ErrorResult.NotFound("schedule");

    static async Task<IResult> Change(
        PathKey<ScheduleKey> schedule, Body<PlatformScheduleChanges> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var asked = body.Value;
        var prompt = NamedText.Of(asked.Prompt.Value ?? "");
        var change = new ChangeSchedule(
            schedule.Key, asked.Prompt.IsGiven ? prompt.Content : null, asked.Cron.Value, asked.Timezone.Value,
            asked.Misfire.IsGiven ? NewScheduledRun.ChoiceOf<Misfire>(asked.Misfire.Value) : null,
            asked.Overlap.IsGiven ? NewScheduledRun.ChoiceOf<Overlap>(asked.Overlap.Value) : null,
            asked.Status.IsGiven ? asked.Status.Value == Schedules.Active : null, body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, prompt, ct);
        return await answers.Of(caller.Org, result, Schedule.Aggregate.Stream(schedule.Key), body.Key, after => Shown(200, after, blobs, ct), ct);
    }

    static async Task<IResult> Delete(PathKey<ScheduleKey> schedule, Caller caller, IRows rows, ICommandExecutor commands, CancellationToken ct) =>
        await Find(caller.Org, schedule.Key, rows, ct) is null ? ErrorResult.NotFound("schedule")
        : await commands.Execute(caller.Org, caller.Origin, new DeleteSchedule(schedule.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused)
        : TypedResults.NoContent();

    static async Task<IResult> Run(
        PathKey<ScheduleKey> schedule, Body<NoBody> body, HttpContext http, Caller caller, ScheduledRuns runs, TurnWaiter waiter, Responses responses, CancellationToken ct)
    {
        var (turn, refused) = await runs.Trigger(caller.Org, caller.Origin, schedule.Key, hasPrompt: true, null, body.Key, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var location = $"/api/v1/responses/{turn.Run.ResponseId}";
        return new LateResult(Answer()) { Location = location, Replayed = turn.Replayed };

        async Task<IResult> Answer()
        {
            var run = await waiter.Until(caller.Org, turn, waiter.Time(http, waitForCompletion: null, waitTimeoutSeconds: null, waitsUnasked: false), ct);
            var isSettled = run.HasEnded || run.PendingApprovalIds.Count > 0;
            return JsonResult.Of(isSettled ? 200 : 202, await responses.Details(caller.Org, run, ct), PlatformJson.Answers.ResponseDetails) with
            {
                Location = location,
                Replayed = turn.Replayed,
            };
        }
    }

    static async Task<IResult> Ledger(PathKey<ScheduleKey> schedule, HttpContext http, Caller caller, ReadView view, CancellationToken ct)
    {
        var (limit, offset) = ((int)Lists.Limit.Read(http), (int)LedgerOffset.Read(http));
        if (await Find(caller.Org, schedule.Key, view.Rows, ct) is not { } found)
        {
            return ErrorResult.NotFound("schedule");
        }
        var lines = await LedgerLine.Last(view.Log, caller.Org, schedule.Key, found.Version, offset + limit + 1, ct);
        var shown = new List<PlatformScheduleRun>();
        foreach (var line in lines.Skip(offset).Take(limit))
        {
            var run = line.RunId is { } key ? await view.FindRun(caller, key, ct) : null;
            shown.Add(new(
                line.Slot, line.Through, line.Count, line.Outcome, line.Mode, line.RunId?.ResponseId, run?.SessionId.ConversationId,
                run is null ? null : ResponseDetails.StatusOf(run), line.Reason, line.Detail, line.DecidedAt));
        }
        return JsonResult.Of(200, new("list", shown, limit, offset, lines.Count > offset + limit), PlatformJson.Answers.PlatformScheduleLedger);
    }

    /// <summary>A schedule with its stream's version. Null: there is none, or it has a skill, which contract A alone can show.</summary>
    static async ValueTask<(ScheduleRow Schedule, long Version)?> Find(string org, ScheduleKey schedule, IRows rows, CancellationToken ct) =>
        await rows.Get(org, Schedules.Model.Table, schedule.Value, ct) is { } row && Schedules.Model.Read(row.Json.Span) is { Prompt: not null } found
            ? (found, row.Version)
            : null;

    static async ValueTask<JsonResult<PlatformSchedule>> Shown(int status, StreamResult after, IBlobs blobs, CancellationToken ct)
    {
        var schedule = after.Row(Schedules.Model);
        return JsonResult.Of(status, await Details(schedule, blobs, ct), PlatformJson.Answers.PlatformSchedule) with
        {
            Location = status == 201 ? $"/api/v1/schedules/{schedule.ScheduleId}" : null,
        };
    }

    static async ValueTask<PlatformSchedule> Details(ScheduleRow schedule, IBlobs blobs, CancellationToken ct)
    {
        var times = (Timing.Times)schedule.Timing;
        return new(
            schedule.ScheduleId, schedule.Project!.Value, times.Expression, times.Zone, await blobs.Text(schedule.Prompt!, ct), schedule.SessionId?.ConversationId,
            schedule.Status, schedule.Misfire, schedule.Overlap, schedule.LastRunAt, schedule.NextRunAt, schedule.CreatedAt, schedule.UpdatedAt);
    }
}
