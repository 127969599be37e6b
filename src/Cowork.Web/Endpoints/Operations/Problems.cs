using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>What does not do its work: all is well where every list is empty, every number 0 and nothing true.</summary>
/// <param name="Parked">Projections that stand before an event which they cannot fold.</param>
/// <param name="Behind">Projections that go on, and have not come so far as they usually have.</param>
/// <param name="DeadLetters">Jobs that were given up: of the tenant, and for an operator of all tenants.</param>
/// <param name="AuditFault">No head of the log is signed, or heads cannot be sent.</param>
public sealed record ProblemSummary(IReadOnlyList<string> Parked, IReadOnlyList<string> Behind, long DeadLetters, bool AuditFault);

static class ProblemEndpoints
{
    /// <summary>Positions that a projection is behind by when it does not keep up: it folds so many in a second or less.</summary>
    const int LagMax = 1_000;

    public static void MapProblems(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/engine/problems", Get).WithName("getProblems").RequireAuditor().WithTags("Engine")
            .WithSummary("Whether something is parked, behind or given up, in one small answer")
            .Produces<ProblemSummary>().Refuses();

    static async Task<IResult> Get(
        Caller caller, IAsyncProjectionStore projections, DeadLetters letters, AuditTree tree, HeadSigner heads, HeadPublisher publisher, CancellationToken ct)
    {
        var progress = await projections.Progress(ct);
        return JsonResult.Of(
            200,
            new ProblemSummary(
                [.. progress.Models.Where(m => m.Parked is not null).Select(m => m.Table)],
                [.. progress.Models.Where(m => m.Parked is null && progress.Head - m.Checkpoint.Position > LagMax).Select(m => m.Table)],
                await letters.Count(caller.IsOperator ? null : caller.Org, ct),
                HealthEndpoints.AuditFault(tree, heads, publisher) is not null),
            OperationsJson.Answers.ProblemSummary);
    }
}
