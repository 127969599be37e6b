using Cowork.Application;
using Cowork.Marten;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

public sealed record Liveness([property: HealthStatus] string Status);

/// <param name="Parked">Projections that cannot fold their next event. Their answers are old; everything else works.</param>
public sealed record Readiness([property: HealthStatus] string Status, string Engine, IReadOnlyList<string> Parked);

static class HealthEndpoints
{
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var health = routes.MapGroup("/health").WithTags("Operations").AllowAnonymous();
        health.MapGet("", IResult (HostLifecycle lifecycle) => lifecycle.IsReady ? JsonResult.Of(200, new Liveness("ok"), OperationsJson.Answers.Liveness) : Waits())
            .WithName("getHealth").WithSummary("The host can do its work: the same as /health/ready, in the words of the original service")
            .Produces<Liveness>().Refuses(503);
        health.MapGet("/live", () => JsonResult.Of(200, new Liveness("live"), OperationsJson.Answers.Liveness))
            .WithName("getLiveness").WithSummary("The process answers")
            .Produces<Liveness>();
        health.MapGet("/ready", Ready).WithName("getReadiness")
            .WithSummary("The database answers too, and runs go on")
            .Produces<Readiness>().Refuses(503);
    }

    static IResult Ready(HostLifecycle lifecycle, Projector projector) =>
        lifecycle.IsReady
            ? JsonResult.Of(200, new Readiness("ready", StorageEngine.Name, projector.Parked), OperationsJson.Answers.Readiness)
            : Waits();

    static ErrorResult Waits() => ErrorResult.Unavailable("The host waits for its database.");
}
