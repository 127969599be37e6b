using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <param name="Id">The artifact id.</param>
/// <param name="ProjectId">Null: the built-in project "General".</param>
/// <param name="Title">What a web page or a Markdown file calls itself, else the file's name.</param>
/// <param name="Path">Relative to the project.</param>
/// <param name="UpdatedAt">When a run wrote it last.</param>
public sealed record PlatformArtifactDetails(
    ArtifactKey Id, ProjectKey? ProjectId, string Title, [property: ArtifactType] string Type, string Path, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt)
{
    public static PlatformArtifactDetails Of(ArtifactRow artifact) => new(
        artifact.ArtifactId, artifact.Project, artifact.Title, artifact.Type, ArtifactPaths.InProject(artifact.Path), artifact.CreatedAt, artifact.UpdatedAt);
}

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record PlatformArtifactList(string Object, IReadOnlyList<PlatformArtifactDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <param name="Url">Where the file is served, relative to this host.</param>
/// <param name="Size">Bytes of the file.</param>
/// <param name="Etag">The entity tag, as the file is served with it.</param>
/// <param name="Content">The text of a file of at most 256 KiB; null: it is larger, or no text.</param>
public sealed record ArtifactPreview(PlatformArtifactDetails Artifact, string Url, string ContentType, long Size, string Etag, string? Content);

/// <summary>Body of <c>POST /api/v1/artifacts/open</c>.</summary>
public sealed record ArtifactToOpen([property: NeverNull] string? ArtifactId) : IRequestBody<ArtifactToOpen>
{
    public static JsonTypeInfo<ArtifactToOpen> Json => PlatformJson.Default.ArtifactToOpen;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrEmpty(ArtifactId))
        {
            errors.Add("$.artifact_id", "An artifact is required.");
        }
    }
}

/// <param name="DeliveredTo">Shells of the tenant that are connected to this host and were told; 0: none is.</param>
public sealed record ArtifactOpened(int DeliveredTo);

/// <summary>Paths of artifacts as contract B has them.</summary>
static class ArtifactPaths
{
    /// <summary>The path relative to the project: below the output root, or as the session of contract C has it, without a slash before it.</summary>
    public static string InProject(string path) => OutputRoot.Contains(path) ? path[(OutputRoot.Path.Length + 1)..] : path.TrimStart('/');

    /// <summary>The paths in sessions that <see cref="InProject"/> may stand for.</summary>
    public static IEnumerable<string> InSessions(string path) => OutputRoot.Contains(path) ? [$"{OutputRoot.Path}/{path}"] : [$"{OutputRoot.Path}/{path}", path, $"/{path}"];

    /// <summary>Where an artifact is served.</summary>
    public static string Url(ArtifactRow artifact) =>
        $"/api/v1/artifacts/serve/{artifact.Project ?? ProjectKey.General}/{string.Join('/', InProject(artifact.Path).Split('/').Select(Uri.EscapeDataString))}";

    /// <summary>The media type with the encoding of text: runs write UTF-8.</summary>
    public static string ContentType(string mediaType) =>
        mediaType.StartsWith("text/", StringComparison.Ordinal) || mediaType == "application/json" ? $"{mediaType}; charset=utf-8" : mediaType;

    /// <summary>The bytes of an artifact as a page in a sandbox.</summary>
    public static BlobResult Page(ArtifactRow artifact, IBlobs blobs) =>
        new(blobs, artifact.Sha256, artifact.Bytes, ContentType(artifact.MediaType), Artifacts.NameOf(artifact.Path)) { IsPage = true };

    public static bool IsText(string mediaType) =>
        mediaType.StartsWith("text/", StringComparison.Ordinal)
        || mediaType is "application/json" or "application/x-ipynb+json" or "application/xml" or "application/yaml" or "image/svg+xml";
}

static class PlatformArtifactEndpoints
{
    /// <summary>Largest file whose text a preview holds, in bytes.</summary>
    const int PreviewBytesMax = 256 * 1024;

    /// <summary>Conversations that are looked at for who wrote a path last: those that wrote it first most recently.</summary>
    const int WritersMax = 200;

    static readonly TextQuery Project = new("project_id", null, "The project of the artifact.");
    static readonly TextQuery Path = new("path", null, "Path of the artifact, relative to the project.");
    static readonly ChoiceQuery OfType = new("type", [.. ArtifactTypes.All, "all"], "all", "Only of this type.", "ArtifactTypeFilter");

    public static void MapPlatformArtifacts(this IEndpointRouteBuilder routes)
    {
        var artifacts = routes.MapGroup("/artifacts").WithTags("Artifacts");
        artifacts.MapGet("", List).WithName("listProjectArtifacts")
            .WithSummary("List artifacts, newest first")
            .Takes(ProjectInQuery.Parameter).Takes(OfType).Takes(Lists.LimitOfPage).Takes(Lists.Offset)
            .Produces<PlatformArtifactList>().Refuses(404, 422);
        artifacts.MapGet("/{artifact_id}", Get).WithName("getProjectArtifact")
            .WithSummary("Show an artifact")
            .Produces<PlatformArtifactDetails>().Refuses(404, 422);
        artifacts.MapGet("/preview", Preview).WithName("previewArtifact").WithMetadata(Exports.Of<ArtifactKey>("artifact"))
            .WithSummary("Show what lies at a path of a project, with the text of a small file")
            .Takes(Path).Takes(Project)
            .Produces<ArtifactPreview>().Refuses(404, 422);
        artifacts.MapGet("/serve/{project_id}/{**path}", Serve).WithName("downloadArtifactFile").WithMetadata(Exports.Of<ArtifactKey>("artifact"))
            .WithSummary("The bytes at a path of a project as a page in a sandbox, whole or a range")
            .Produces<byte[]>(200, "application/octet-stream").Produces<byte[]>(206, "application/octet-stream").Produces(304).Refuses(404, 412, 416, 422);
        artifacts.MapPost("/open", Open).WithName("openArtifact").RequireMember()
            .WithSummary("Ask the shells that are connected to show an artifact")
            .Produces<ArtifactOpened>(202).Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var (limit, offset, type) = (Lists.LimitOfPage.Read(http), Lists.Offset.Read(http), OfType.Read(http));
        var (project, missing) = await ProjectInQuery.Find(http, caller, rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var page = await rows.Page(caller.Org, Artifacts.Model.Table, Artifacts.Query(project, type == OfType.Default ? null : type, (int)limit), offset, ct);
        var shown = page.Rows.Select(row => PlatformArtifactDetails.Of(Artifacts.Model.Read(row.Json.Span))).ToList();
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.PlatformArtifactList);
    }

    static async Task<IResult> Get(PathKey<ArtifactKey> artifact, Caller caller, IRows rows, CancellationToken ct) =>
        await rows.FindArtifact(caller, artifact.Key, ct) is { } row
            ? JsonResult.Of(200, PlatformArtifactDetails.Of(row), PlatformJson.Answers.PlatformArtifactDetails)
            : ErrorResult.NotFound("artifact");

    static async Task<IResult> Preview(HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var path = Path.Read(http);
        var project = PathIds.Key<ProjectKey>(Project.Read(http), Project.Name);
        if (await At(http, caller.Org, project, path, rows, ct) is not { } row)
        {
            return ErrorResult.NotFound("artifact");
        }
        if (row.Sha256 == PersonalAttribute.Digest)
        {
            return BlobResult.Erased;
        }
        var content = ArtifactPaths.IsText(row.MediaType) && row.Bytes <= PreviewBytesMax
            ? FileText.Decode(await blobs.Get(row.Sha256, ct) ?? throw new InvalidDataException($"The blob {row.Sha256} is missing."))
            : null;
        return JsonResult.Of(
            200,
            new(PlatformArtifactDetails.Of(row), ArtifactPaths.Url(row), ArtifactPaths.ContentType(row.MediaType), row.Bytes, $"\"{row.Sha256}\"", content),
            PlatformJson.Answers.ArtifactPreview);
    }

    static async Task<IResult> Serve(PathKey<ProjectKey> project, string? path, HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct) =>
        await At(http, caller.Org, project.Key, path ?? "", rows, ct) is { } row
            ? ArtifactPaths.Page(row, blobs)
            : ErrorResult.NotFound("artifact");

    static async Task<IResult> Open(Body<ArtifactToOpen> body, Caller caller, IRows rows, Shells shells, ICommandExecutor commands, CancellationToken ct)
    {
        var artifact = PathIds.Key<ArtifactKey>(body.Value.ArtifactId!, "$.artifact_id");
        if (await rows.FindArtifact(caller, artifact, ct) is not { } row)
        {
            return ErrorResult.NotFound("artifact");
        }
        if (await rows.Get(caller.Org, GroupSessions.Model.Table, row.Owner, ct) is not null)
        {
            // Every shell of the tenant hears of what is opened.
            return ErrorResult.Of(SessionOfGroup.Refused(new(row.Owner)));
        }
        var claimed = body.Key is { } key ? (await commands.Execute(caller.Org, caller.Origin, new OpenArtifact(artifact, key), ct)).Refused : null;
        if (claimed is { Code: not "idempotency_key_claimed" })
        {
            return ErrorResult.Of(claimed);
        }
        // A repeat opens nothing again.
        var told = claimed is null ? shells.Tell(caller.Org, new(ShellEvent.Open, PlatformArtifactDetails.Of(row), ArtifactPaths.Url(row))) : 0;
        return JsonResult.Of(202, new(told), PlatformJson.Answers.ArtifactOpened) with { Replayed = claimed is not null };
    }

    /// <summary>
    /// What lies at a path of a project: of several conversations that wrote it, the file of the one that wrote last. No path reaches a folder of the host: it is compared
    /// with those that runs have written.
    /// </summary>
    static async ValueTask<ArtifactRow?> At(HttpContext http, string org, ProjectKey project, string path, IRows rows, CancellationToken ct)
    {
        var there = new List<ArtifactRow>();
        foreach (var place in ArtifactPaths.InSessions(path))
        {
            there.AddRange((await rows.List(org, Artifacts.Model.Table, Artifacts.At(project, place, WritersMax), ct)).Select(row => Artifacts.Model.Read(row.Json.Span)));
        }
        var found = there.MaxBy(row => row.UpdatedAt);
        // The audit names the artifact, whatever the address was.
        http.Request.RouteValues[ArtifactKey.FieldName] = found?.ArtifactId.Id;
        return found;
    }
}
