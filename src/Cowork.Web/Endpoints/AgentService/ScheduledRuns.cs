using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /scheduled-runs</c>.</summary>
/// <param name="Name">Null: the skill's name and the interval, <c>churn-every-60s</c>.</param>
/// <param name="SkillVersion">Null: the latest version when a run starts.</param>
/// <param name="Params">Strings, numbers and booleans by name; others than the template's are ignored.</param>
/// <param name="IntervalSeconds">Seconds between two planned times; left out: an hour.</param>
/// <param name="StartInSeconds">Seconds until the first planned time; default 0.</param>
/// <param name="Active">False: the schedule starts paused. Default true.</param>
/// <param name="Misfire">Missed runs to catch up: <c>one</c> (default), <c>none</c> or <c>all</c>.</param>
/// <param name="Overlap">What happens while the previous run is live: <c>skip</c> (default), <c>queue</c> or <c>parallel</c>.</param>
public sealed record NewScheduledRun(
    [property: NeverNull] string? SessionId, [property: NeverNull] string? SkillId, string? Name = null,
    [property: NeverNull] long? IntervalSeconds = NewScheduledRun.IntervalSecondsDefault, int? SkillVersion = null, JsonElement? Params = null,
    long? StartInSeconds = null, bool? Active = null, [property: MisfirePolicy] string? Misfire = null, [property: OverlapPolicy] string? Overlap = null)
    : IRequestBody<NewScheduledRun>
{
    const long IntervalSecondsDefault = 3600;

    public static JsonTypeInfo<NewScheduledRun> Json => AgentServiceJson.Default.NewScheduledRun;

    public void Validate(ValidationErrors errors)
    {
        if (Name is not null && (string.IsNullOrWhiteSpace(Name) || Name.Length > Limits.ScheduleNameCharsMax))
        {
            errors.Add("$.name", $"A name has 1 to {Limits.ScheduleNameCharsMax} characters.");
        }
        if (string.IsNullOrEmpty(SessionId))
        {
            errors.Add("$.session_id", "A session is required.");
        }
        if (string.IsNullOrEmpty(SkillId))
        {
            errors.Add("$.skill_id", "A skill is required.");
        }
        if (Params is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.params", "Must be an object.");
        }
        if (IntervalSeconds is not (>= 1 and <= Limits.IntervalSecondsMax))
        {
            errors.Add("$.interval_seconds", $"A whole number from 1 to {Limits.IntervalSecondsMax} is required.");
        }
        if (StartInSeconds is < 0 or > Limits.IntervalSecondsMax)
        {
            errors.Add("$.start_in_seconds", $"Must be from 0 to {Limits.IntervalSecondsMax}.");
        }
        Choice<Misfire>("$.misfire", Misfire, errors);
        Choice<Overlap>("$.overlap", Overlap, errors);
    }

    /// <summary>The value of a word; null: the first value.</summary>
    public static T ChoiceOf<T>(string? word)
        where T : struct, Enum =>
        word is null ? default : Enum.GetValues<T>().Single(choice => Word(choice) == word);

    public static void Choice<T>(string path, string? word, ValidationErrors errors)
        where T : struct, Enum
    {
        if (word is not null && !Enum.GetValues<T>().Select(Word).Contains(word))
        {
            errors.Add(path, $"Must be one of {string.Join(", ", Enum.GetValues<T>().Select(Word))}.");
        }
    }

    static string Word<T>(T choice)
        where T : struct, Enum => choice.ToString().ToLowerInvariant();
}

/// <summary>Body of <c>POST /scheduled-runs/{id}/trigger</c>; every field is optional.</summary>
/// <param name="WaitForCompletion">Default false.</param>
public sealed record NewTrigger(string? IdempotencyKey = null, bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null) : IRequestBody<NewTrigger>
{
    public static JsonTypeInfo<NewTrigger> Json => AgentServiceJson.Default.NewTrigger;

    public static IReadOnlyList<string> WaitFields => Waiting.Fields;

    public static NewTrigger WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors) => Waiting.Validate(IdempotencyKey, WaitTimeoutSeconds, errors);
}

/// <param name="SkillVersion">Null: the latest version when due.</param>
/// <param name="IntervalSeconds">Null: the schedule has a cron expression.</param>
/// <param name="NextRunAt">The next planned time; null: paused.</param>
/// <param name="LastSkip">The last skipped slots; null: a run has started since.</param>
/// <param name="Id">The schedule id.</param>
public sealed record ScheduledRunDetails(
    ScheduleKey ScheduleId, string Name, SessionKey SessionId, SkillKey SkillId, int? SkillVersion, JsonElement Params, long? IntervalSeconds,
    [property: ScheduleStatus] string Status, [property: MisfirePolicy] string Misfire, [property: OverlapPolicy] string Overlap, DateTimeOffset? NextRunAt, RunKey? LastRunId,
    DateTimeOffset? LastRunAt, SkippedSlot? LastSkip, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, ScheduleKey Id);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record ScheduledRunList(IReadOnlyList<ScheduledRunDetails> ScheduledRuns, string? NextCursor);

/// <summary>The outcome of a slot or of a manual trigger.</summary>
/// <param name="Slot">The planned time; null: a manual trigger.</param>
/// <param name="Through">The last slot of a series; null: one slot.</param>
/// <param name="Count">Number of slots in the series; null: one slot, or too many to count.</param>
/// <param name="Outcome"><c>fired</c>, <c>caught_up</c>, <c>skipped</c> or <c>replanned</c>.</param>
/// <param name="Status">Status of the run.</param>
public sealed record LedgerShape(
    DateTimeOffset? Slot, DateTimeOffset? Through, long? Count, [property: SlotOutcome] string Outcome, [property: TriggerMode] string Mode, RunKey? RunId,
    [property: RunStatus] string? Status, int? SkillVersion, string? Reason, string? Detail, DateTimeOffset DecidedAt);

public sealed record ScheduledRunLedger(ScheduleKey ScheduleId, IReadOnlyList<LedgerShape> Runs);

/// <summary>A turn's answer with the triggered schedule.</summary>
/// <param name="RenderedPrompt">The run's message: the skill's template with the parameters filled in.</param>
/// <param name="Schedule">The schedule after the trigger; null: it was deleted meanwhile, or the database is away.</param>
public sealed record TriggerAnswer(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, Content? Reply, RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds,
    long TotalTokens, int ToolCalls, decimal CostUsd, DateTimeOffset CreatedAt, string? StopReason, bool Reused, ScheduleKey ScheduleId, SkillKey SkillId, int SkillVersion,
    Content RenderedPrompt, ScheduledRunDetails? Schedule, RunDetails Run)
{
    public static TriggerAnswer Of(RunRow run, bool reused, ScheduleKey schedule, ScheduledRunDetails? shown) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd,
        run.CreatedAt, run.StopReason, reused, schedule, run.Source!.SkillId!.Value, run.Source.SkillVersion!.Value, run.Message, shown, RunDetails.Of(run));
}

static class ScheduledRunEndpoints
{
    static readonly ChoiceQuery Status = new("status", [Schedules.Active, Schedules.Paused, "all"], "all", "Only those in this state.", "ScheduleStatusFilter");

    public static void MapScheduledRuns(this IEndpointRouteBuilder routes)
    {
        var schedules = routes.MapGroup("/scheduled-runs").WithTags("Schedules");
        schedules.MapPost("", Create).WithName("createSchedule").RequireMember()
            .WithSummary("Plan to run a skill in a session again and again")
            .Produces<ScheduledRunDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        schedules.MapGet("", List).WithName("listSchedules")
            .WithSummary("List schedules, newest first")
            .Takes(Status).Takes(NameQuery.Words).Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<ScheduledRunList>().Refuses(422);
        schedules.MapGet("/{schedule_id}", Get).WithName("getSchedule")
            .WithSummary("Show a schedule")
            .TakesAsOf()
            .Produces<ScheduledRunDetails>().Refuses(404, 422);
        schedules.MapDelete("/{schedule_id}", Delete).WithName("deleteSchedule").RequireMember()
            .WithSummary("Delete a schedule; runs that it started go on")
            .Produces(204).Refuses(404, 422);
        schedules.MapGet("/{schedule_id}/runs", Ledger).WithName("listScheduleRuns")
            .WithSummary("What became of a schedule's planned times, newest first: runs, and why there was none")
            .Takes(Lists.Limit)
            .TakesAsOf()
            .Produces<ScheduledRunLedger>().Refuses(404, 422);
        schedules.MapPost("/{schedule_id}/trigger", Trigger).WithName("triggerSchedule").RequireMember()
            .WithSummary("Run a schedule's skill now, whatever is planned")
            .Produces<TriggerAnswer>(200).Produces<TriggerAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 507);
        schedules.MapPost("/{schedule_id}/pause", Pause).WithName("pauseSchedule").RequireMember()
            .WithSummary("Have a schedule wait until it is resumed")
            .Produces<ScheduledRunDetails>().Refuses(400, 404, 409, 413, 415, 422);
        schedules.MapPost("/{schedule_id}/resume", Resume).WithName("resumeSchedule").RequireMember()
            .WithSummary("Let a paused schedule go on, planned from now")
            .Produces<ScheduledRunDetails>().Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> Create(
        Body<NewScheduledRun> body, Caller caller, TextCommands commands, CommandAnswers answers, TenantUsage usage, ScheduledRuns runs, IBlobs blobs, HostSettings settings,
        TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        if (asked.IntervalSeconds < settings.ScheduleIntervalMin.TotalSeconds)
        {
            return ErrorResult.Invalid("$.interval_seconds", $"The shortest interval here is {settings.ScheduleIntervalMin.TotalSeconds} s (Cowork:Scheduler:IntervalMin).");
        }
        if (await usage.ScheduleRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var session = PathIds.Key<SessionKey>(asked.SessionId!, "$.session_id");
        var skill = PathIds.Key<SkillKey>(asked.SkillId!, "$.skill_id");
        var now = clock.GetUtcNow();
        var from = TimestampConverter.Whole(now).AddSeconds(asked.StartInSeconds ?? 0);
        var given = NamedText.Of(CompactJson.Object(asked.Params, except: null));
        var target = new ScheduleTarget(session, skill, asked.SkillVersion, given.Content);
        var interval = new Timing.Interval(asked.IntervalSeconds!.Value, from);
        var (skillName, unfit) = await runs.Check(caller.Org, new(skill, asked.SkillVersion, asked.Params), ct);
        var name = asked.Name ?? string.Create(CultureInfo.InvariantCulture, $"{skillName}-every-{interval.Seconds}s");
        var create = new CreateSchedule(
            ScheduleKey.New(now), name, target, interval, NewScheduledRun.ChoiceOf<Misfire>(asked.Misfire), NewScheduledRun.ChoiceOf<Overlap>(asked.Overlap), caller.Actor,
            asked.Active != false, body.Key, unfit);
        var result = await commands.Execute(caller.Org, caller.Origin, create, given, ct);
        if (result.Refused is null)
        {
            usage.Made(caller.Org, schedules: 1);
        }
        return await answers.Of(
            caller.Org, result, Schedule.Aggregate.Stream(create.Schedule), body.Key,
            async after => await Shown(201, after, blobs, ct) with { Location = $"/scheduled-runs/{create.Schedule.Id}" }, ct);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, "schedules", Status.Name, NameQuery.Words.Name);
        var (status, limit) = (Status.Read(http), (int)Lists.Limit.Read(http));
        var query = new RowQuery(Schedules.WithSkill, status == "all" ? null : status, limit + 1, page.Before, PageBytes.Max)
        {
            Named = NameQuery.Read(http, Schedule.Aggregate.Name),
        };
        var rows = await view.Rows.List(caller.Org, Schedules.Model.Table, query, ct);
        var shown = new List<ScheduledRunDetails>();
        var room = new ListRoom();
        foreach (var found in rows)
        {
            var schedule = Schedules.Model.Read(found.Json.Span);
            if (shown.Count == limit || !room.Takes(found, schedule.Params))
            {
                break;
            }
            shown.Add(await Details(schedule, blobs, ct));
        }
        return JsonResult.Of(200, new(shown, page.Next(http, rows, shown.Count)), AgentServiceJson.Answers.ScheduledRunList);
    }

    static async Task<IResult> Get(PathKey<ScheduleKey> schedule, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await Find(caller.Org, schedule.Key, view.Rows, ct) is { } found
            ? JsonResult.Of(200, await Details(found.Schedule, blobs, ct), AgentServiceJson.Answers.ScheduledRunDetails)
            : ErrorResult.NotFound("scheduled run");

    /// <summary>A schedule with its stream's version. Null: there is none, or it has a prompt, which contract B alone can show.</summary>
    static async ValueTask<(ScheduleRow Schedule, long Version)?> Find(string org, ScheduleKey schedule, IRows rows, CancellationToken ct) =>
        await rows.Get(org, Schedules.Model.Table, schedule.Value, ct) is { } row && Schedules.Model.Read(row.Json.Span) is { Prompt: null } found
            ? (found, row.Version)
            : null;

    static async Task<IResult> Delete(PathKey<ScheduleKey> schedule, Caller caller, IRows rows, ICommandExecutor commands, CancellationToken ct) =>
        await Find(caller.Org, schedule.Key, rows, ct) is null ? ErrorResult.NotFound("scheduled run")
        : await commands.Execute(caller.Org, caller.Origin, new DeleteSchedule(schedule.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();

    static async Task<IResult> Ledger(PathKey<ScheduleKey> schedule, HttpContext http, Caller caller, ReadView view, CancellationToken ct)
    {
        var limit = (int)Lists.Limit.Read(http);
        if (await Find(caller.Org, schedule.Key, view.Rows, ct) is not { } found)
        {
            return ErrorResult.NotFound("scheduled run");
        }
        var shown = new List<LedgerShape>();
        foreach (var line in await LedgerLine.Last(view.Log, caller.Org, schedule.Key, found.Version, limit, ct))
        {
            var status = line.RunId is { } run ? (await view.RunRow(caller.Org, run, ct))?.Status : null;
            shown.Add(new(
                line.Slot, line.Through, line.Count, line.Outcome, line.Mode, line.RunId, status, line.SkillVersion, line.Reason, line.Detail, line.DecidedAt));
        }
        return JsonResult.Of(200, new(schedule.Key, shown), AgentServiceJson.Answers.ScheduledRunLedger);
    }

    static async Task<IResult> Trigger(
        PathKey<ScheduleKey> schedule, Body<NewTrigger> body, Caller caller, ScheduledRuns runs, TurnWaiter waiter, IRows rows, IBlobs blobs, HttpContext http,
        CancellationToken ct)
    {
        var asked = body.Value;
        var (turn, refused) = await runs.Trigger(caller.Org, caller.Origin, schedule.Key, hasPrompt: false, asked.IdempotencyKey, body.Key, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var shown = await Triggered(caller.Org, schedule.Key, rows, blobs, ct);
        var wait = waiter.Time(http, asked.WaitForCompletion, asked.WaitTimeoutSeconds, waitsUnasked: false);
        return waiter.Answer(caller.Org, turn, wait, run => TriggerAnswer.Of(run, turn.Reused, schedule.Key, shown), AgentServiceJson.Answers.TriggerAnswer, ct);
    }

    /// <summary>Null: the schedule was deleted, or the database went away after the trigger was accepted, which the answer must not conceal.</summary>
    static async ValueTask<ScheduledRunDetails?> Triggered(string org, ScheduleKey schedule, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        try
        {
            return await Find(org, schedule, rows, ct) is { } found ? await Details(found.Schedule, blobs, ct) : null;
        }
        catch (StorageUnavailableException)
        {
            return null;
        }
    }

    static Task<IResult> Pause(
        PathKey<ScheduleKey> schedule, Body<NoBody> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, IRows rows, IBlobs blobs, CancellationToken ct) =>
        Change(schedule, new PauseSchedule(schedule.Key, body.Key), body.Key, caller, commands, answers, rows, blobs, ct);

    static Task<IResult> Resume(
        PathKey<ScheduleKey> schedule, Body<NoBody> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, IRows rows, IBlobs blobs, CancellationToken ct) =>
        Change(schedule, new ResumeSchedule(schedule.Key, body.Key), body.Key, caller, commands, answers, rows, blobs, ct);

    static async Task<IResult> Change(
        PathKey<ScheduleKey> schedule, ICommand change, RequestKey? key, Caller caller, ICommandExecutor commands, CommandAnswers answers, IRows rows, IBlobs blobs,
        CancellationToken ct)
    {
        if (await Find(caller.Org, schedule.Key, rows, ct) is null)
        {
            return ErrorResult.NotFound("scheduled run");
        }
        var result = await commands.Execute(caller.Org, caller.Origin, change, ct);
        return await answers.Of(caller.Org, result, Schedule.Aggregate.Stream(schedule.Key), key, after => Shown(200, after, blobs, ct), ct);
    }

    static async ValueTask<JsonResult<ScheduledRunDetails>> Shown(int status, StreamResult after, IBlobs blobs, CancellationToken ct) =>
        JsonResult.Of(status, await Details(after.Row(Schedules.Model), blobs, ct), AgentServiceJson.Answers.ScheduledRunDetails);

    static async ValueTask<ScheduledRunDetails> Details(ScheduleRow schedule, IBlobs blobs, CancellationToken ct) => new(
        schedule.ScheduleId, schedule.Name, schedule.SessionId!.Value, schedule.SkillId!.Value, schedule.SkillVersion,
        await blobs.JsonObject(schedule.Params!, ct),
        (schedule.Timing as Timing.Interval)?.Seconds, schedule.Status, schedule.Misfire, schedule.Overlap, schedule.NextRunAt, schedule.LastRunId, schedule.LastRunAt,
        schedule.LastSkip, schedule.CreatedAt, schedule.UpdatedAt, schedule.ScheduleId);
}
