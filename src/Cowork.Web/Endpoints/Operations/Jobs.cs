using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>The jobs of one kind, of all tenants and hosts.</summary>
/// <param name="Waiting">Due, and done by no host.</param>
/// <param name="Held">A host does them.</param>
/// <param name="Later">Planned, or between two tries.</param>
/// <param name="GivenUp"><c>GET /engine/dead-letters</c> has them.</param>
/// <param name="OldestDueAt">When the one that waits longest was due; null: none waits.</param>
/// <param name="NextDueAt">When the next of the later ones is due; null: there is none.</param>
public sealed record JobKindShape(string Kind, long Waiting, long Held, long Later, long GivenUp, DateTimeOffset? OldestDueAt, DateTimeOffset? NextDueAt);

/// <param name="Jobs">By the names of their kinds; a kind without a job is not there.</param>
public sealed record JobKindList(IReadOnlyList<JobKindShape> Jobs);

static class JobEndpoints
{
    public static void MapJobs(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/engine/jobs", List).WithName("listJobs").RequireOperator().WithTags("Engine")
            .WithSummary("How many jobs wait, are being done, are planned and were given up, by kind")
            .Produces<JobKindList>().Refuses();

    static async Task<IResult> List(IJobQueue jobs, CancellationToken ct) => JsonResult.Of(
        200,
        new JobKindList([.. (await jobs.BacklogByKind(ct)).Select(of => new JobKindShape(of.Kind, of.Waiting, of.Held, of.Later, of.GivenUp, of.OldestDue, of.NextDue))]),
        OperationsJson.Answers.JobKindList);
}
