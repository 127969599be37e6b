using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>An artifact with its latest content.</summary>
/// <param name="Path">Relative to the session's folder.</param>
/// <param name="RunId">The run that wrote the latest content; null: a cell of a scratchpad did.</param>
/// <param name="Version">Version of the content at this path in this session, from 1.</param>
/// <param name="Id">The artifact id.</param>
/// <param name="Kind">The path's ending without the dot; <c>file</c>: it has none.</param>
public sealed record ArtifactSummary(
    ArtifactKey ArtifactId, SessionKey SessionId, RunKey? RunId, string Path, string Sha256, long Bytes, int Version, string MediaType, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt, ArtifactKey Id, string Kind);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record ArtifactSummaryList(IReadOnlyList<ArtifactSummary> Artifacts, string? NextCursor);

/// <param name="RunId">The run that wrote this content first; null: a cell of a scratchpad did.</param>
public sealed record ArtifactVersionDetails(int Version, string Sha256, long Bytes, string MediaType, RunKey? RunId, DateTimeOffset CreatedAt);

public sealed record ArtifactVersionList(ArtifactKey ArtifactId, SessionKey SessionId, string Path, IReadOnlyList<ArtifactVersionDetails> Versions);

static class ArtifactEndpoints
{
    public static void MapArtifacts(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/artifacts", List).WithName("listArtifacts").WithTags("Artifacts")
            .WithSummary("List the artifacts of all sessions, those that were made last first")
            .Takes(SessionInQuery.Parameter).Takes(NameQuery.Words).Takes(Lists.LimitOfPage).Takes(ListCursors.Cursor)
            .Produces<ArtifactSummaryList>().Refuses(404, 422);
        var artifact = routes.MapGroup("/artifacts/{artifact_id}").WithTags("Artifacts");
        artifact.MapGet("", Get).WithName("getArtifact")
            .WithSummary("Show an artifact: a file that a session's runs wrote below the output root")
            .Produces<ArtifactSummary>().Refuses(404, 422);
        artifact.MapGet("/versions", Versions).WithName("listArtifactVersions")
            .WithSummary("List an artifact's versions with their digests, newest first")
            .Takes(Lists.Limit)
            .Produces<ArtifactVersionList>().Refuses(404, 422);
        artifact.MapGet("/versions/{version}/content", Content).WithName("downloadArtifactVersion").WithMetadata(Exports.Of<ArtifactKey>("artifact"))
            .WithSummary("The bytes of a version, whole or a range; the entity tag is their SHA-256")
            .Produces<byte[]>(200, "application/octet-stream").Produces<byte[]>(206, "application/octet-stream").Produces(304).Refuses(404, 412, 416, 422);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var page = ListCursors.Enter(http, "artifacts", SessionInQuery.Parameter.Name, NameQuery.Words.Name);
        var (session, limit) = (SessionInQuery.Read(http), (int)Lists.LimitOfPage.Read(http));
        if (session is { } of && await rows.FindSession(caller, of, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        var named = NameQuery.Read(http, Artifact.Aggregate.Name, session);
        var found = session is { } within
            ? await rows.List(
                caller.Org, SessionArtifacts.Model.Table, new(within.Value, Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max) { Named = named }, ct)
            : await rows.List(caller.Org, Artifacts.Model.Table, Artifacts.Query(null, null, limit + 1) with { Before = page.Before, Named = named }, ct);
        var shown = found.Take(limit).Select(row => Summary(Artifacts.Model.Read(row.Json.Span))).ToList();
        return JsonResult.Of(200, new(shown, page.Next(http, found, shown.Count)), AgentServiceJson.Answers.ArtifactSummaryList);
    }

    static async Task<IResult> Get(PathKey<ArtifactKey> artifact, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.FindArtifact(caller, artifact.Key, ct) is { } row
            ? JsonResult.Of(200, Summary(row), AgentServiceJson.Answers.ArtifactSummary)
            : ErrorResult.NotFound("artifact");

    static ArtifactSummary Summary(ArtifactRow row) => new(
        row.ArtifactId, row.SessionId, row.RunId, row.Path, row.Sha256, row.Bytes, row.Version, row.MediaType, row.CreatedAt, row.UpdatedAt, row.ArtifactId,
        Artifacts.KindOf(row.Path));

    static async Task<IResult> Versions(PathKey<ArtifactKey> artifact, HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var limit = (int)Lists.Limit.Read(http);
        if (await rows.FindArtifact(caller, artifact.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("artifact");
        }
        var found = await rows.List(caller.Org, ArtifactVersions.Model.Table, new(Scope: artifact.Key.Value, Limit: limit, Bytes: PageBytes.Max), ct);
        var versions = found.Select(v => ArtifactVersions.Model.Read(v.Json.Span))
            .Select(v => new ArtifactVersionDetails(v.Version, v.Sha256, v.Bytes, v.MediaType, v.RunId, v.CreatedAt));
        return JsonResult.Of(200, new(row.ArtifactId, row.SessionId, row.Path, [.. versions]), AgentServiceJson.Answers.ArtifactVersionList);
    }

    static async Task<IResult> Content(PathKey<ArtifactKey> artifact, VersionInPath number, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        if (await rows.FindArtifact(caller, artifact.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("artifact");
        }
        return await rows.Get(caller.Org, ArtifactVersions.Model.Table, ArtifactVersions.KeyOf(artifact.Key, number.Number), ct) is { } found
            && ArtifactVersions.Model.Read(found.Json.Span) is var version
            ? new BlobResult(blobs, version.Sha256, version.Bytes, version.MediaType, row.Path[(row.Path.LastIndexOf('/') + 1)..])
            : ErrorResult.NotFound("version of the artifact");
    }
}
