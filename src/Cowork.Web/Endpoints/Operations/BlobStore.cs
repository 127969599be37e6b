using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <param name="DryRun">Nothing was removed: the figures say what would be.</param>
/// <param name="Left">Files that no commit has named yet, and that are too young to be removed.</param>
public sealed record SweptBlobs(bool DryRun, long Removed, long RemovedBytes, long Left);

static class BlobStoreEndpoints
{
    static readonly ChoiceQuery DryRun = new("dry_run", ["true", "false"], "false", "Say what would be removed, and remove nothing.");

    public static void MapBlobStore(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/engine/blobs/sweep", Sweep).WithName("discardBlobs").RequireOperator().RequireAdmin().WithTags("Operations")
            .WithSummary("Remove what was stored in the blob store and that no commit named in time")
            .Takes(DryRun)
            .Produces<SweptBlobs>().Refuses(400, 409, 413, 415, 422);

    static async Task<IResult> Sweep(Body<NoBody> body, HttpContext http, BlobSweep sweep, CancellationToken ct)
    {
        _ = body;
        var dryRun = DryRun.Read(http) == "true";
        return await sweep.Sweep(dryRun, ct) is { } swept
            ? JsonResult.Of(200, new SweptBlobs(dryRun, swept.Removed, swept.RemovedBytes, swept.Left), OperationsJson.Answers.SweptBlobs)
            : new ErrorResult(409, "sweep_under_way", "Another host sweeps the blob store at the moment.");
    }
}
