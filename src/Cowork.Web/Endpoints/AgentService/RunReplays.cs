using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Runs that are replayed, and runs beside each other.</summary>
static class RunReplayEndpoints
{
    static readonly IdQuery Left = new("left", "A run.", IsRequired: true);
    static readonly IdQuery Right = new("right", "The run that is compared with it.", IsRequired: true);

    public static void MapRunReplays(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/runs/{run_id}/replay", Replay).WithName("replayRun").WithTags("Runs").RequireMember()
            .WithSummary("Run the agent loop again on what the run recorded, without a model, a tool or an effect, and compare what it makes with what is recorded")
            .Produces<ReplayReport>().Refuses(400, 404, 409, 413, 415, 422);
        routes.MapGet("/runs/diff", Diff).WithName("getRunDiff").WithTags("Runs")
            .WithSummary("Align two runs by step: the first difference, and the deltas of tokens, cost, time, arguments, artifacts and reply")
            .Takes(Left).Takes(Right)
            .Produces<RunDifference>().Refuses(404, 409, 422);
    }

    static async Task<IResult> Replay(PathKey<RunKey> run, Body<NoBody> body, Caller caller, RunViews views, RunReplays replays, CancellationToken ct)
    {
        if (await views.Find(caller, run.Key, ct) is null)
        {
            return ErrorResult.NotFound("run");
        }
        var (report, refused) = await replays.Replay(caller.Org, run.Key, ct);
        return report is null ? ErrorResult.Of(refused!) : JsonResult.Of(200, report, AgentServiceJson.Answers.ReplayReport);
    }

    static async Task<IResult> Diff(HttpContext http, Caller caller, RunViews views, RunReplays replays, CancellationToken ct)
    {
        var (left, right) = (Left.Read<RunKey>(http)!.Value, Right.Read<RunKey>(http)!.Value);
        if (await views.Find(caller, left, ct) is null || await views.Find(caller, right, ct) is null)
        {
            return ErrorResult.NotFound("run");
        }
        var (difference, refused) = await replays.Compare(caller.Org, left, right, ct);
        return difference is null ? ErrorResult.Of(refused!) : JsonResult.Of(200, difference, AgentServiceJson.Answers.RunDifference);
    }
}
