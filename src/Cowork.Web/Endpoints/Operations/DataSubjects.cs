using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Somebody whose texts are sealed under a key of their own.</summary>
/// <param name="State"><c>active</c>: the key is there. <c>erasing</c>: it was destroyed, nobody reads what it opened, and copies are being removed. <c>erased</c>.</param>
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

    static async Task<IResult> Get(string subject, Caller caller, ISubjectStore store, CommandHandler handler, CancellationToken ct) =>
        await store.Get(caller.Org, subject, ct) is { } found
            ? JsonResult.Of(200, await Shape(caller.Org, found, handler, ct), OperationsJson.Answers.DataSubjectShape)
            : ErrorResult.NotFound("subject");

    static async Task<IResult> Erase(string subject, Caller caller, Subjects subjects, ISubjectStore store, CommandHandler handler, CancellationToken ct)
    {
        if (await subjects.Erase(caller.Org, caller.Origin, subject, ct) is { } refused)
        {
            return ErrorResult.Of(refused);
        }
        return await store.Get(caller.Org, subject, ct) is { } found
            ? JsonResult.Of(202, await Shape(caller.Org, found, handler, ct), OperationsJson.Answers.DataSubjectShape) with
            {
                Location = $"/subjects/{Uri.EscapeDataString(subject)}",
            }
            : ErrorResult.NotFound("subject");
    }

    static async ValueTask<DataSubjectShape> Shape(string org, ListedSubject subject, CommandHandler handler, CancellationToken ct)
    {
        var erased = subject.Erased == 0 ? null : await handler.LatestState(org, DataSubject.Aggregate, DataSubject.KeyOf(subject.Subject), ct) as DataSubject.Erased;
        return new(
            subject.Subject, erased is null ? "active" : erased.CompletedAt is null ? "erasing" : "erased", subject.Streams,
            erased?.CompletedAt is null ? subject.Blobs : erased.Blobs, erased?.ErasedAt, erased?.By, erased?.CompletedAt);
    }
}
