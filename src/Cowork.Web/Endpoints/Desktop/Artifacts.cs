using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>A file that a task wrote below an output root.</summary>
/// <param name="TaskId">Null: a cell of a scratchpad wrote it.</param>
/// <param name="Path">Relative to the session's first folder, or absolute in another granted one.</param>
/// <param name="ContentType">As its content is served.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Version">Version of the content at this path in this session, from 1.</param>
public sealed record ArtifactMetadata(
    ArtifactKey ArtifactId, string? TaskId, string Name, string Path, [property: ArtifactType] string Type, string ContentType, long Size, string Sha256, int Version,
    DateTimeOffset CreatedAt)
{
    public static ArtifactMetadata Of(ArtifactEvent.ArtifactDiscovered artifact) => new(
        artifact.ArtifactId, artifact.RunId?.TaskId, Projections.Artifacts.NameOf(artifact.Path), artifact.Path, artifact.Type ?? ArtifactTypes.OfPath(artifact.Path),
        ArtifactPaths.ContentType(artifact.MediaType), artifact.Bytes, artifact.Sha256, artifact.Version, artifact.At);
}

static class DesktopArtifactEndpoints
{
    public static void MapDesktopArtifacts(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/tasks/{taskId}/artifacts", List).WithName("listTaskArtifacts").WithTags("Artifacts")
            .WithSummary("List what a task made below the session's output roots, oldest first")
            .TakesAsOf()
            .Produces<IReadOnlyList<ArtifactMetadata>>().Refuses(404, 422);
        routes.MapGet("/artifacts/{artifactId}/content", Content).WithName("downloadArtifact").WithTags("Artifacts").WithMetadata(Exports.Of<ArtifactKey>("artifact"))
            .WithSummary("The bytes of an artifact's latest version as a page in a sandbox, whole or a range; the entity tag is their SHA-256")
            .Produces<byte[]>(200, "application/octet-stream").Produces<byte[]>(206, "application/octet-stream").Produces(304).Refuses(404, 412, 416, 422);
    }

    static async Task<IResult> List(PathKey<RunKey> task, Caller caller, ReadView view, CancellationToken ct) =>
        await view.FindRun(caller, task.Key, ct) is { } run
            ? JsonResult.Of<IReadOnlyList<ArtifactMetadata>>(
                200, [.. Projections.Artifacts.Discovered(await view.OfRun(caller.Org, run.SessionId, task.Key, ct)).Select(ArtifactMetadata.Of)],
                DesktopJson.Answers.IReadOnlyListArtifactMetadata)
            : ErrorResult.NotFound("task");

    static async Task<IResult> Content(PathKey<ArtifactKey> artifact, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct) =>
        await rows.FindArtifact(caller, artifact.Key, ct) is { } row ? ArtifactPaths.Page(row, blobs) : ErrorResult.NotFound("artifact");
}
