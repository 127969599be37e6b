
using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

public sealed record RunErrorShape(string Code, string Message)
{
    public static RunErrorShape? Of(RunError? error) => error is null ? null : new(error.Code, error.Message);
}

/// <summary>A run as <c>GET /runs/{id}</c> shows it. The members after <c>lineage</c> are those of the original service (docs/compatibility.md).</summary>
/// <param name="StopReason">Why the reply ends early: <c>length</c>, <c>content_filter</c>, or the provider's own word. Null: the model ended it.</param>
/// <param name="Skills">The skills that were active.</param>
/// <param name="Id">The run id.</param>
/// <param name="Prompt">The message.</param>
/// <param name="Response">The reply.</param>
/// <param name="CancelRequested">True: somebody asked for the run to be cancelled; it may not have stopped yet.</param>
/// <param name="WorkerMode">Always <c>queue</c>: a run is taken from the durable queue of its session, and no request carries it.</param>
public sealed record RunDetails(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, Content? Reply, RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds,
    long TotalTokens, int ToolCalls, decimal CostUsd, DateTimeOffset CreatedAt, Content Message, string Model, SkillKey? SkillId, int? SkillVersion, ScheduleKey? ScheduleId,
    DateTimeOffset? StartedAt, DateTimeOffset? CompletedAt, int Attempt, string? StopReason, IReadOnlyList<RunSkill> Skills, RunLineage? Lineage, RunKey Id,
    Content Prompt, Content? Response, long InputTokens, long OutputTokens, bool CancelRequested, [property: WorkerMode] string WorkerMode)
{
    public static RunDetails Of(RunRow run) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd,
        run.CreatedAt, run.Message, run.Model, run.Source?.SkillId, run.Source?.SkillVersion, run.Source?.ScheduleId, run.StartedAt, run.CompletedAt, run.Attempt,
        run.StopReason, run.Skills ?? [], run.Lineage, run.RunId, run.Message, run.Reply, run.InputTokens, run.OutputTokens, run.CancelRequested, RunSummary.WorkerModeOfAll);
}

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record RunList(SessionKey SessionId, IReadOnlyList<RunDetails> Runs, string? NextCursor);

/// <param name="Message">What has come of the request, as a sentence.</param>
public sealed record CancelAnswer(RunKey RunId, [property: RunStatus] string Status, bool CancelRequested, string Message);

/// <param name="Path">Relative to the session's folder.</param>
/// <param name="Version">Version of the content at this path in this session, from 1.</param>
/// <param name="Id">The artifact id.</param>
/// <param name="Kind">The path's ending without the dot; <c>file</c>: it has none.</param>
public sealed record ArtifactDetails(
    ArtifactKey ArtifactId, long Bytes, string MediaType, string Path, RunKey RunId, SessionKey SessionId, string Sha256, int Version, DateTimeOffset CreatedAt,
    ArtifactKey Id, string Kind);

public sealed record ArtifactList(RunKey RunId, IReadOnlyList<ArtifactDetails> Artifacts);

static class RunEndpoints
{
    const string WithContent = "content";

    static readonly ChoiceQuery Include = new(
        "include", ["none", WithContent], "none", "content: a ZIP archive of the bundle and the bytes of the artifacts and blobs that it names.", "TraceInclude");

    public static void MapRuns(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sessions/{session_id}/runs", List).WithName("listRuns").WithTags("Runs")
            .WithSummary("List a session's runs, newest first")
            .Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<RunList>().Refuses(404, 422);
        var runs = routes.MapGroup("/runs/{run_id}").WithTags("Runs");
        runs.MapGet("", Get).WithName("getRun")
            .WithSummary("Show a run")
            .TakesAsOf()
            .Produces<RunDetails>().Refuses(404, 422);
        runs.MapPost("/cancel", Cancel).WithName("cancelRun").RequireMember()
            .WithSummary("Ask for a run to be cancelled")
            .Produces<CancelAnswer>(200).Produces<CancelAnswer>(202).Refuses(400, 404, 409, 413, 415, 422);
        runs.MapGet("/artifacts", Artifacts).WithName("listRunArtifacts")
            .WithSummary("List what a run made below its output roots")
            .TakesAsOf()
            .Produces<ArtifactList>().Refuses(404, 422);
        runs.MapGet("/trace", Trace).WithName("getRunTrace").WithMetadata(Exports.Of<RunKey>("trace"))
            .WithSummary("The reproducibility bundle: every event with its stored data, hashes and digests, in RFC 8785 form; cowork verify checks it offline")
            .Takes(Include)
            .Produces<RunTrace>().WithMetadata(new AnswersAsBytes(StreamedFile.Zip)).Refuses(404, 410, 422);
    }

    static async Task<IResult> List(PathKey<SessionKey> session, HttpContext http, Caller caller, RunViews views, ReadView view, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, $"runs of {session.Key.Value}");
        var limit = (int)Lists.Limit.Read(http);
        if (await view.Rows.FindSession(caller, session.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("session");
        }
        var query = new RowQuery(session.Key.Value, Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max);
        var rows = await view.Rows.List(caller.Org, Projections.Runs.Model.Table, query, ct);
        var runs = new List<RunDetails>(rows.Count);
        var room = new ListRoom();
        foreach (var found in rows)
        {
            var run = Projections.Runs.Model.Read(found.Json.Span);
            if (runs.Count == limit || !room.Takes(found, copies: 2, run.Message, run.Reply))
            {
                break;
            }
            runs.Add(RunDetails.Of(await views.WithTexts(run, ct)));
        }
        return JsonResult.Of(200, new(row.SessionId, runs, page.Next(http, rows, runs.Count)), AgentServiceJson.Answers.RunList);
    }

    static async Task<IResult> Get(PathKey<RunKey> run, Caller caller, RunViews views, ReadView view, CancellationToken ct) =>
        await view.FindRun(caller, run.Key, ct) is { } row
            ? JsonResult.Of(200, RunDetails.Of(await views.WithTexts(row, ct)), AgentServiceJson.Answers.RunDetails)
            : ErrorResult.NotFound("run");

    static async Task<IResult> Cancel(
        PathKey<RunKey> run, Body<NoBody> body, Caller caller, RunViews views, ICommandExecutor commands, CommandAnswers answers, CancellationToken ct)
    {
        if (await views.Find(caller, run.Key, ct) is null)
        {
            return ErrorResult.NotFound("run");
        }
        var result = await commands.Execute(caller.Org, caller.Origin, new CancelRun(run.Key, body.Key), ct);
        return await answers.Of(caller.Org, result, Run.Aggregate.Stream(run.Key), body.Key, Cancelled, ct);
    }

    static JsonResult<CancelAnswer> Cancelled(StreamResult after)
    {
        var run = after.Row(Projections.Runs.Model);
        // Cancelling ends a run that no driver works on at once. A run that had ended before is unchanged.
        var isRequested = after.HasChanged || !run.HasEnded;
        var message = !isRequested ? $"The run had ended before: it is {run.Status}." : run.HasEnded ? "The run is cancelled." : "The run will be cancelled.";
        return JsonResult.Of(isRequested ? 202 : 200, new CancelAnswer(run.RunId, run.Status, isRequested, message), AgentServiceJson.Answers.CancelAnswer);
    }

    static async Task<IResult> Artifacts(PathKey<RunKey> run, Caller caller, ReadView view, CancellationToken ct)
    {
        if (await view.FindRun(caller, run.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("run");
        }
        var artifacts = Projections.Artifacts.Discovered(await view.OfRun(caller.Org, row.SessionId, run.Key, ct))
            .Select(a => new ArtifactDetails(
                a.ArtifactId, a.Bytes, a.MediaType, a.Path, run.Key, a.SessionId, a.Sha256, a.Version, a.At, a.ArtifactId, Projections.Artifacts.KindOf(a.Path)));
        return JsonResult.Of(200, new(row.RunId, [.. artifacts]), AgentServiceJson.Answers.ArtifactList);
    }

    static async Task<IResult> Trace(
        PathKey<RunKey> run, HttpContext http, Caller caller, RunViews views, IEventLog log, IBlobs blobs, LogProofs proofs,
        CancellationToken ct)
    {
        var withContent = Include.Read(http) == WithContent;
        if (await views.Find(caller, run.Key, ct) is not { } row
            || await TraceBundle.Assemble(log, blobs, caller.Org, row.SessionId, run.Key, ct, proofs) is not { } bundle)
        {
            return await Expiries.NotFound(caller, log, "run", Run.Aggregate.Stream(run.Key), ct);
        }
        http.Response.RegisterForDispose(bundle);
        return withContent
            ? new StreamedFile(StreamedFile.Zip, $"{run.Key.Id}.zip", (output, aborted) => ZipBundle.Write(bundle, blobs, output, aborted))
            : new WrittenJsonResult(bundle.Length, bundle.WriteTo);
    }
}

/// <summary>Reads runs for answers.</summary>
public sealed class RunViews(IRows rows, IBlobs blobs)
{
    /// <summary>Null: it does not exist, belongs to another tenant, its session is deleted, or that of a group which the caller does not see.</summary>
    public async ValueTask<RunRow?> Find(Caller caller, RunKey run, CancellationToken ct) => (await rows.Find(caller, Projections.Runs.Model, run.Value, ct))?.Row;

    /// <summary>The run's row, also when its session is deleted, for a caller who was found to see it.</summary>
    public async ValueTask<RunRow?> Row(string org, RunKey run, CancellationToken ct) =>
        await rows.Get(org, Projections.Runs.Model.Table, run.Value, ct) is { } found ? Projections.Runs.Model.Read(found.Json.Span) : null;

    /// <summary>The row with its texts from the blob store.</summary>
    public async ValueTask<RunRow> WithTexts(RunRow row, CancellationToken ct) => row is { Reply: Content.Blob } or { Message: Content.Blob }
        ? row with
        {
            Reply = row.Reply is Content.Blob reply ? Content.Of(await blobs.Text(reply, ct)) : row.Reply,
            Message = row.Message is Content.Blob message ? Content.Of(await blobs.Text(message, ct)) : row.Message,
        }
        : row;
}
