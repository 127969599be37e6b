using System.Collections.Immutable;
using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>Body of <c>POST /sessions/{sessionId}/tasks</c>.</summary>
/// <param name="Prompt">Not blank, at most 256 KiB.</param>
/// <param name="Model">Name of a configured model; null: the session's, or else the host's default.</param>
/// <param name="ContextFiles">Paths inside the session's grants whose text becomes part of the prompt.</param>
public sealed record NewTask([property: NeverNull] string? Prompt, string? Model = null, IReadOnlyList<string>? ContextFiles = null) : IRequestBody<NewTask>
{
    public static JsonTypeInfo<NewTask> Json => DesktopJson.Default.NewTask;

    public void Validate(ValidationErrors errors)
    {
        TaskFields.ValidateText(Prompt, "$.prompt", errors);
        if (ContextFiles?.Count > Limits.TaskFilesMax)
        {
            errors.Add("$.contextFiles", $"A task has at most {Limits.TaskFilesMax} context files.");
        }
        foreach (var (i, path) in (ContextFiles ?? []).Index())
        {
            if (string.IsNullOrWhiteSpace(path))
            {
                errors.Add($"$.contextFiles[{i}]", "A path is required.");
            }
        }
    }
}

/// <summary>Body of <c>POST /tasks/{taskId}/feedback</c>.</summary>
/// <param name="Feedback">Not blank, at most 256 KiB.</param>
public sealed record NewFeedback([property: NeverNull] string? Feedback) : IRequestBody<NewFeedback>
{
    public static JsonTypeInfo<NewFeedback> Json => DesktopJson.Default.NewFeedback;

    public void Validate(ValidationErrors errors) => TaskFields.ValidateText(Feedback, "$.feedback", errors);
}

static class TaskFields
{
    public static void ValidateText(string? text, string place, ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            errors.Add(place, "Is required and must not be blank.");
        }
        else if (Encoding.UTF8.GetByteCount(text) > Limits.MessageBytesMax)
        {
            errors.Add(place, $"Has at most {Limits.MessageBytesMax} bytes.");
        }
    }
}

/// <summary>A task: a run as contract C shows it.</summary>
/// <param name="Title">The beginning of the prompt; null: it has nothing to show.</param>
/// <param name="ContextFiles">Paths as the request named them.</param>
/// <param name="Reply">The reply, or as much as was said of one. A text that turns out to be no reply, because calls follow or the model is asked again, goes.</param>
/// <param name="PendingApprovalIds">Approvals that it waits for.</param>
/// <param name="Steps">What has been done: the retrieval of memories, answers of the model and results of calls.</param>
/// <param name="UpdatedAt">Time of its last event that is no piece of text.</param>
public sealed record DesktopTask(
    string TaskId, SessionKey SessionId, string? Title, string Prompt, [property: DesktopTaskStatus] string Status, string Model, IReadOnlyList<string> ContextFiles, string? Reply,
    RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds, int Steps, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    /// <param name="run">With its texts.</param>
    /// <param name="isFirst">It is the first in its session's queue.</param>
    /// <param name="said">What was said of a reply that is not there; null: nothing.</param>
    public static DesktopTask Of(RunRow run, bool isFirst, string? said)
    {
        var prompt = Text(run.Message) ?? "";
        return new(
            run.RunId.TaskId, run.SessionId, Session.TitleOf(prompt), prompt, TaskStatuses.Of(run, isFirst), run.Model, run.ContextFiles ?? [], Text(run.Reply) ?? said,
            RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.Steps, run.CreatedAt, run.UpdatedAt ?? run.CompletedAt ?? run.StartedAt ?? run.CreatedAt);
    }

    static string? Text(Content? content) => (content as Content.Inline)?.Text;
}

static class TaskEndpoints
{
    /// <summary>A task that is stopped has ended by then, unless its host is gone.</summary>
    static readonly TimeSpan StopWait = TimeSpan.FromSeconds(2);

    static readonly TextQuery Status = new("status", "", $"Only tasks of these statuses, separated by commas: {string.Join(", ", TaskStatuses.All)}.");

    public static void MapTasks(this IEndpointRouteBuilder routes)
    {
        var ofSession = routes.MapGroup("/sessions/{sessionId}/tasks").WithTags("Tasks");
        ofSession.MapPost("", Create).WithName("createTask").RequireMember()
            .WithSummary("Give a session's agent a task")
            .Produces<DesktopTask>(201).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        ofSession.MapGet("", List).WithName("listTasks")
            .WithSummary("List a session's tasks, newest first")
            .Takes(Lists.LimitOfPage).Takes(Status)
            .TakesAsOf()
            .Produces<IReadOnlyList<DesktopTask>>().Refuses(404, 422);
        ofSession.MapGet("/{taskId}", GetOfSession).WithName("getTaskOfSession")
            .WithSummary("Show a task of a session")
            .TakesAsOf()
            .Produces<DesktopTask>().Refuses(404, 422);
        var task = routes.MapGroup("/tasks/{taskId}").WithTags("Tasks");
        task.MapGet("", Get).WithName("getTask")
            .WithSummary("Show a task")
            .TakesAsOf()
            .Produces<DesktopTask>().Refuses(404, 422);
        task.MapPost("/stop", Stop).WithName("cancelTask").RequireMember()
            .WithSummary("Stop a task, and show what it has done")
            .Produces<DesktopTask>().Refuses(400, 404, 409, 413, 415, 422);
        task.MapPost("/feedback", GiveFeedback).WithName("addFeedback").RequireMember()
            .WithSummary("Say something to a task's agent: its model sees it with the next request")
            .Produces<DesktopTask>(202).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
    }

    static async Task<IResult> Create(
        PathKey<SessionKey> session, Body<NewTask> body, Caller caller, Turns turns, ContextFiles files, IBlobs blobs, Subjects subjects, RunViews views, TaskViews tasks,
        IRows rows, CommandAnswers answers, CancellationToken ct)
    {
        if (await rows.FindSession(caller, session.Key, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        // A repeat is answered like its first request, whatever has become of the files.
        var paths = await answers.IsRepeat(caller.Org, body.Key, ct) ? null : body.Value.ContextFiles;
        var (context, unreadable) = await Context(
            caller.Org, session.Key, paths, files, blobs.For(caller.Org, await subjects.Of(caller.Org, session.Key, ct)), ct);
        if (unreadable is not null)
        {
            return unreadable;
        }
        var asked = new TurnRequest(session.Key, body.Value.Prompt!, body.Value.Model, null, body.Key, ContextFiles: context);
        var (turn, refused) = await turns.Submit(caller.Org, caller.Origin, asked, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        return (turn.Accepted?.Row(Projections.Runs.Model) ?? await views.Row(caller.Org, turn.Run, ct)) is { } run
            ? JsonResult.Of(201, await tasks.Of(caller.Org, run, ct), DesktopJson.Answers.DesktopTask) with
            {
                Location = $"{DesktopDialect.BasePath}/tasks/{turn.Run.TaskId}",
                Replayed = turn.Replayed,
            }
            : ErrorResult.NotFound("task");
    }

    /// <summary>Reads the files that a task names, or says which of them cannot be read.</summary>
    static async ValueTask<(ImmutableList<ContextText>? Context, ErrorResult? Refused)> Context(
        string org, SessionKey session, IReadOnlyList<string>? paths, ContextFiles files, IBlobs blobs, CancellationToken ct)
    {
        if (paths is null or [])
        {
            return (null, null);
        }
        if (await files.Read(org, session, paths, ct) is not { } read)
        {
            return (null, ErrorResult.NotFound("session"));
        }
        var errors = new ValidationErrors();
        var context = ImmutableList.CreateBuilder<ContextText>();
        foreach (var (i, file) in read.Index())
        {
            switch (file)
            {
                case ContextFile.Refused refused:
                    errors.Add($"$.contextFiles[{i}]", refused.Why);
                    break;
                case ContextFile.Read found:
                    context.Add(new(found.Path, found.Sha256, found.Bytes, await blobs.Store(found.Text, ct), found.IsCut));
                    break;
            }
        }
        errors.ThrowIfAny();
        return (context.ToImmutable(), null);
    }

    static async Task<IResult> List(PathKey<SessionKey> session, HttpContext http, Caller caller, TaskViews tasks, ReadView view, CancellationToken ct)
    {
        var (limit, statuses) = ((int)Lists.LimitOfPage.Read(http), ReadStatuses(http));
        return await view.Rows.FindSession(caller, session.Key, ct) is not null
            ? JsonResult.Of(200, await tasks.List(view, caller.Org, session.Key, statuses, limit, ct), DesktopJson.Answers.IReadOnlyListDesktopTask)
            : ErrorResult.NotFound("session");
    }

    /// <summary>The statuses that a request asks for; empty: any. They may stand in one parameter or in several.</summary>
    static HashSet<string> ReadStatuses(HttpContext http)
    {
        if (!http.Request.Query.TryGetValue(Status.Name, out var sent))
        {
            return [];
        }
        var statuses = sent.SelectMany(one => (one ?? "").Split(',')).ToHashSet(StringComparer.Ordinal);
        return statuses.IsSubsetOf(TaskStatuses.All)
            ? statuses
            : throw new UnreadableRequestException(ErrorResult.Invalid(Status.Name, $"Must be of {string.Join(", ", TaskStatuses.All)}."));
    }

    static async Task<IResult> GetOfSession(PathKey<SessionKey> session, PathKey<RunKey> task, Caller caller, ReadView view, TaskViews tasks, CancellationToken ct) =>
        await view.FindRun(caller, task.Key, ct) is { } run && run.SessionId.Value == session.Key.Value
            ? JsonResult.Of(200, await tasks.Of(view, caller.Org, run, ct), DesktopJson.Answers.DesktopTask)
            : ErrorResult.NotFound("task");

    static async Task<IResult> Get(PathKey<RunKey> task, Caller caller, ReadView view, TaskViews tasks, CancellationToken ct) =>
        await view.FindRun(caller, task.Key, ct) is { } run
            ? JsonResult.Of(200, await tasks.Of(view, caller.Org, run, ct), DesktopJson.Answers.DesktopTask)
            : ErrorResult.NotFound("task");

    static async Task<IResult> Stop(
        PathKey<RunKey> task, Body<NoBody> body, Caller caller, RunViews views, TaskViews tasks, TurnWaiter waiter, ICommandExecutor commands, CancellationToken ct)
    {
        if (await views.Find(caller, task.Key, ct) is null)
        {
            return ErrorResult.NotFound("task");
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new CancelRun(task.Key, body.Key), ct);
        if (result.Refused is { Code: not "idempotency_key_claimed" } refused)
        {
            return ErrorResult.Of(refused);
        }
        var run = await waiter.Until(caller.Org, new(task.Key, Reused: false, Replayed: false), StopWait, ct);
        return JsonResult.Of(200, await tasks.Of(caller.Org, run, ct), DesktopJson.Answers.DesktopTask) with { Replayed = result.Refused is not null };
    }

    static async Task<IResult> GiveFeedback(
        PathKey<RunKey> task, Body<NewFeedback> body, Caller caller, RunViews views, TaskViews tasks, TextCommands commands, TenantUsage usage, CommandAnswers answers,
        CancellationToken ct)
    {
        if (await views.Find(caller, task.Key, ct) is null)
        {
            return ErrorResult.NotFound("task");
        }
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var text = NamedText.Of(body.Value.Feedback!);
        var result = await commands.Execute(caller.Org, caller.Origin, new GiveFeedback(task.Key, text.Content, body.Key), text, ct);
        return await answers.Of(
            caller.Org, result, Run.Aggregate.Stream(task.Key), body.Key,
            async after => JsonResult.Of(202, await tasks.Of(caller.Org, after.Row(Projections.Runs.Model), ct), DesktopJson.Answers.DesktopTask), ct);
    }
}

/// <summary>Reads runs as tasks.</summary>
public sealed class TaskViews(ReadView now, RunViews views)
{
    /// <summary>A run as a task, with what was said of its reply.</summary>
    public ValueTask<DesktopTask> Of(string org, RunRow run, CancellationToken ct) => Of(now, org, run, ct);

    /// <inheritdoc cref="Of(string, RunRow, CancellationToken)"/>
    public async ValueTask<DesktopTask> Of(ReadView view, string org, RunRow run, CancellationToken ct)
    {
        var isFirst = run.Status == Projections.Runs.Queued && (await First(view, org, run.SessionId, run.RunId, ct)).Contains(run.RunId);
        return DesktopTask.Of(await views.WithTexts(run, ct), isFirst, await Said(view, org, run, inLog: false, ct));
    }

    /// <summary>The newest tasks of a session.</summary>
    /// <param name="statuses">Empty: of any status.</param>
    public async ValueTask<IReadOnlyList<DesktopTask>> List(ReadView view, string org, SessionKey session, IReadOnlySet<string> statuses, int limit, CancellationToken ct)
    {
        var table = Projections.Runs.Model.Table;
        IReadOnlyList<Row> found;
        if (statuses.Count == 0)
        {
            found = await view.Rows.List(org, table, new(session.Value, Limit: limit, Bytes: PageBytes.Max), ct);
        }
        else
        {
            // Some more, because the first in a queue has a status of its own; it is the oldest of those that wait.
            var next = await First(view, org, session, null, ct);
            var more = Math.Max(1, next.Count);
            var queries = statuses.SelectMany(TaskStatuses.RowStatusesOf).Distinct().Select(status => new RowQuery(session.Value, status, limit + more, Bytes: PageBytes.Max));
            var lists = await view.Rows.Lists(org, table, [.. queries], ct);
            var first = statuses.Contains(TaskStatuses.Ready) && next.Count > 0 ? await view.Rows.Get(org, table, [.. next.Select(run => run.Value)], ct) : [];
            found = [.. lists.SelectMany(list => list).Concat(first).DistinctBy(row => row.Key).OrderByDescending(row => row.Created)];
        }
        var tasks = new List<DesktopTask>();
        var room = new ListRoom();
        foreach (var row in found)
        {
            var run = Projections.Runs.Model.Read(row.Json.Span);
            var isFirst = run.Status == Projections.Runs.Queued && (await First(view, org, session, run.RunId, ct)).Contains(run.RunId);
            if (statuses.Count > 0 && !statuses.Contains(TaskStatuses.Of(run, isFirst)))
            {
                continue;
            }
            if (tasks.Count == limit || !room.Takes(row, run.Message, run.Reply))
            {
                break;
            }
            tasks.Add(DesktopTask.Of(await views.WithTexts(run, ct), isFirst, await Said(view, org, run, inLog: false, ct)));
        }
        return tasks;
    }

    /// <summary>What was said of a reply that is not there; null: nothing.</summary>
    /// <param name="inLog">True: as the log has it. False: it may be as old as this host's last look at a run that another host drives.</param>
    internal ValueTask<string?> Said(string org, RunRow run, bool inLog, CancellationToken ct) => Said(now, org, run, inLog, ct);

    static async ValueTask<string?> Said(ReadView view, string org, RunRow run, bool inLog, CancellationToken ct) =>
        run is not { Reply: null, HasText: true } ? null : SaidIn(await view.Known(
            org, Run.Aggregate, run.RunId, state => state is Run.Ended || !(inLog || run.HasEnded), ct));

    /// <inheritdoc cref="Said(string, RunRow, bool, CancellationToken)"/>
    internal static string? SaidIn(Run state) => state switch
    {
        Run.Active { Reply: null, Partial.Length: > 0 } active => active.Partial,
        Run.Suspended { Before: { Reply: null, Partial.Length: > 0 } before } => before.Partial,
        Run.Ended { Reply: null } ended => ended.Partial,
        _ => null,
    };

    /// <summary>The first in the session's queue, and in each of its lanes.</summary>
    /// <param name="waiting">A run that must be in one of them; null: none is known.</param>
    internal ValueTask<IReadOnlyList<RunKey>> First(string org, SessionKey session, RunKey? waiting, CancellationToken ct) => First(now, org, session, waiting, ct);

    static async ValueTask<IReadOnlyList<RunKey>> First(ReadView view, string org, SessionKey session, RunKey? waiting, CancellationToken ct) =>
        await view.Known(org, Session.Aggregate, session, state => waiting is { } run && state is Session.Open && !state.QueueOf(run).IsEmpty, ct) is Session.Open open
            ? [.. open.FirstRuns()]
            : [];
}
