using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>Body of <c>POST /api/cowork/context/sync</c>.</summary>
/// <param name="Files">
/// Absolute paths of files that were changed, added or removed, and of folders, which stand for all files below them. At most 10 000; none: nothing changes.
/// </param>
public sealed record FilesToSync([property: NeverNull] IReadOnlyList<string?>? Files) : IRequestBody<FilesToSync>
{
    public static JsonTypeInfo<FilesToSync> Json => DesktopJson.Default.FilesToSync;

    public void Validate(ValidationErrors errors)
    {
        if (Files is null || Files.Count > Domain.Limits.ContextPathsMax)
        {
            errors.Add("$.files", $"A list of at most {Domain.Limits.ContextPathsMax} paths is required.");
            return;
        }
        foreach (var (place, path) in Files.Index())
        {
            if (path is null || !Path.IsPathFullyQualified(path) || Encoding.UTF8.GetByteCount(path) > Domain.Limits.PathBytesMax)
            {
                errors.Add($"$.files[{place}]", $"Must be an absolute path of at most {Domain.Limits.PathBytesMax} bytes.");
            }
        }
    }
}

/// <summary>Body of <c>POST /api/cowork/context/query</c>.</summary>
/// <param name="Query">1 to 4 000 characters.</param>
/// <param name="TopK">Passages at the most, 1 to 50.</param>
public sealed record ContextQuery([property: NeverNull] string? Query, int TopK = 10) : IRequestBody<ContextQuery>
{
    public static JsonTypeInfo<ContextQuery> Json => DesktopJson.Default.ContextQuery;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Query) || Query.Length > Domain.Limits.QueryCharsMax)
        {
            errors.Add("$.query", $"A query of 1 to {Domain.Limits.QueryCharsMax} characters is required, and must not be blank.");
        }
        if (TopK is < 1 or > Domain.Limits.ContextItemsMax)
        {
            errors.Add("$.topK", $"Must be 1 to {Domain.Limits.ContextItemsMax}.");
        }
    }
}

static class ContextEndpoints
{
    /// <summary>How the passages of an answer were found. A body that is a bare array has no place to say it.</summary>
    const string SearchHeader = "Cowork-Search";

    public static void MapContext(this IEndpointRouteBuilder routes)
    {
        var context = routes.MapGroup("/context").WithTags("Context").RequireMember();
        context.MapPost("/sync", Sync).WithName("importContext")
            .WithSummary("Index files of the caller's sessions that are new or changed, and forget those that are gone")
            .Produces<ContextSync>().Refuses(400, 409, 413, 415, 422, 429);
        context.MapPost("/query", Query).WithName("searchContext")
            .WithSummary("Find the passages of indexed files that answer a query best")
            .Produces<IReadOnlyList<ContextItem>>().Refuses(400, 409, 413, 415, 422);
    }

    static async Task<IResult> Sync(Body<FilesToSync> body, Caller caller, ContextIndex index, CancellationToken ct)
    {
        var (done, refused) = await index.Sync(caller.Org, caller.Actor, body.Value.Files!.OfType<string>().ToList(), ct);
        return refused is null ? JsonResult.Of(200, done!, DesktopJson.Answers.ContextSync) : ErrorResult.Of(refused);
    }

    static async Task<IResult> Query(HttpContext http, Body<ContextQuery> body, Caller caller, ContextIndex index, CancellationToken ct)
    {
        var found = await index.Query(caller.Org, caller.Actor, body.Value.Query!, body.Value.TopK, ct);
        http.Response.Headers[SearchHeader] = found.ByVectors ? "full-text, vectors" : "full-text";
        return JsonResult.Of(200, found.Items, DesktopJson.Answers.IReadOnlyListContextItem);
    }
}
