using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Somebody whose texts are sealed under a key of their own.</summary>
/// <param name="State"><c>active</c>: the key is there. <c>erasing</c>: it was destroyed, nobody reads what it opened, and copies are being removed. <c>erased</c>.
/// <c>unreadable</c>: it is gone, and nobody erased the subject.</param>
/// <param name="Streams">Streams of the log with texts of the subject.</param>
/// <param name="Blobs">Sealed files of the blob store; after the erasure, those that nobody can open any more.</param>
/// <param name="ErasedAt">Null: the key is there.</param>
/// <param name="ErasedBy">The principal; null: the key is there.</param>
/// <param name="CompletedAt">When the last copy was gone; null: some may be there.</param>
public sealed record DataSubjectShape(
    string Subject, [property: SubjectState] string State, long Streams, long Blobs, DateTimeOffset? ErasedAt, string? ErasedBy, DateTimeOffset? CompletedAt);

/// <param name="Next">Give it as <c>after</c> for the subjects that follow; null: there are none.</param>
public sealed record DataSubjectList(IReadOnlyList<DataSubjectShape> Subjects, string? Next);

static class DataSubjectEndpoints
{
    static readonly TextQuery After = new("after", "", "Only subjects whose names come after this one.");

    public static void MapDataSubjects(this IEndpointRouteBuilder routes)
    {
        var subjects = routes.MapGroup("/subjects").WithTags("Data subjects");
        subjects.MapGet("", List).WithName("listSubjects").RequireAuditor()
            .WithSummary("List data subjects by name")
            .Takes(Lists.Limit).Takes(After)
            .Produces<DataSubjectList>().Refuses(422);
        subjects.MapGet("/{subject}", Get).WithName("getSubject").RequireAuditor()
            .WithSummary("Show a data subject, and how far its erasure is")
            .Produces<DataSubjectShape>().Refuses(404);
        subjects.MapDelete("/{subject}", Erase).WithName("eraseSubject").RequireAdmin()
            .WithSummary("Destroy a data subject's key: nobody reads its texts any more, and the log stays provable. It cannot be undone")
            .Produces<DataSubjectShape>(202).Refuses(404, 409);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ISubjectStore store, CommandHandler handler, CancellationToken ct)
    {
        var limit = (int)Lists.Limit.Read(http);
        var found = await store.List(caller.Org, After.Read(http), limit + 1, ct);
        var shown = new List<DataSubjectShape>();
        foreach (var subject in found.Take(limit))
        {
            shown.Add(await Shape(caller.Org, subject, handler, ct));
        }
        return JsonResult.Of(200, new DataSubjectList(shown, found.Count > limit ? shown[^1].Subject : null), OperationsJson.Answers.DataSubjectList);
    }

    static async Task<IResult> Get(string subject, HttpContext http, Caller caller, ISubjectStore store, CommandHandler handler, CancellationToken ct) =>
        await Find(http, subject, caller.Org, store, ct) is { } found
            ? JsonResult.Of(200, await Shape(caller.Org, found, handler, ct), OperationsJson.Answers.DataSubjectShape)
            : ErrorResult.NotFound("subject");

    /// <summary>
    /// The subject that an address names. Earlier releases took names with slashes and names of dots alone: an address has such a name percent-encoded, and the dots twice
    /// (<c>%252E</c>), because everybody on the way takes a dot that is encoded once for a dot.
    /// </summary>
    /// <param name="decoded">The last part of the address, in which the server leaves <c>%2F</c> as it is.</param>
    static async ValueTask<ListedSubject?> Find(HttpContext http, string decoded, string org, ISubjectStore store, CancellationToken ct)
    {
        var target = (http.Features.Get<IHttpRequestFeature>()?.RawTarget ?? "").Split('?')[0].TrimEnd('/');
        var named = target.Length > 0 ? Uri.UnescapeDataString(target[(target.LastIndexOf('/') + 1)..]) : decoded;
        return await store.Get(org, named, ct) ?? (named is "%2E" or "%2E%2E" ? await store.Get(org, Uri.UnescapeDataString(named), ct) : null);
    }

    static string AddressOf(string subject) => $"/subjects/{(subject is "." or ".." ? subject.Replace(".", "%252E", StringComparison.Ordinal) : Uri.EscapeDataString(subject))}";

    static async Task<IResult> Erase(
        string subject, HttpContext http, Caller caller, Subjects subjects, ISubjectStore store, CommandHandler handler, CancellationToken ct)
    {
        var name = (await Find(http, subject, caller.Org, store, ct))?.Subject ?? subject;
        if (await subjects.Erase(caller.Org, caller.Origin, name, ct) is { } refused)
        {
            return ErrorResult.Of(refused);
        }
        return await store.Get(caller.Org, name, ct) is { } found
            ? JsonResult.Of(202, await Shape(caller.Org, found, handler, ct), OperationsJson.Answers.DataSubjectShape) with
            {
                Location = AddressOf(name),
            }
            : ErrorResult.NotFound("subject");
    }

    static async ValueTask<DataSubjectShape> Shape(string org, ListedSubject subject, CommandHandler handler, CancellationToken ct)
    {
        var status = await SubjectStatus.Of(handler, org, subject, ct);
        return new(subject.Subject, status.State, subject.Streams, status.Blobs, status.Erased?.ErasedAt, status.Erased?.By, status.Erased?.CompletedAt);
    }
}
