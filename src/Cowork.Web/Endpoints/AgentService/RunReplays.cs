using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /runs/{id}/replay</c>; it has no member.</summary>
public sealed record NewReplay : IRequestBody<NewReplay>
{
    public static JsonTypeInfo<NewReplay> Json => AgentServiceJson.Default.NewReplay;

    public static NewReplay WhenEmpty { get; } = new();

    public void Validate(ValidationErrors errors)
    {
    }
}

/// <summary>Runs that are replayed, and runs beside each other.</summary>
static class RunReplayEndpoints
{
    static readonly QueryText Left = QueryText.Required("left", "Id of a run."), Right = QueryText.Required("right", "Id of the run that is compared with it.");

    public static void MapRunReplays(this IEndpointRouteBuilder routes)
    {
        routes.MapPost("/runs/{run_id}/replay", Replay).WithName("replayRun").WithTags("Runs").RequireMember()
            .WithSummary("Run the agent loop again on what the run recorded, without a model, a tool or an effect, and compare what it makes with what is recorded")
            .Produces<ReplayReport>().Refuses(400, 404, 413, 415, 422);
    }
}
