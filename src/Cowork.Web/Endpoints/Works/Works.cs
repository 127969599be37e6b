using System.Collections.Immutable;
using System.Globalization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Works;

/// <summary>The query parameters of the list of works. One that is empty is as one that is not there: search boxes send it.</summary>
static class WorkQueries
{
    public static TextQuery Bucket { get; } = new("bucket", "", $"Only works of this bucket: {string.Join(", ", WorkBuckets.All)}, or an alias of one.");

    public static TextQuery Words { get; } = new("q", "", "Only works with all of these words, or parts of words, in label, preview or tags.");

    public static TextQuery Cursor { get; } = new("cursor", "", "The next_cursor of the page before, with the same bucket and q.");

    /// <summary>The bucket; null: any.</summary>
    /// <exception cref="UnreadableRequestException">There is no such bucket.</exception>
    public static string? ReadBucket(HttpContext http) => Read(Bucket, http) is not { Length: > 0 } name ? null
        : WorkBuckets.Find(name) ?? throw new UnreadableRequestException(ErrorResult.Invalid(Bucket.Name, $"Must be one of {string.Join(", ", WorkBuckets.All)}."));

    /// <summary>The words that works must have; none: all works.</summary>
    /// <exception cref="UnreadableRequestException">They are too many, or no text.</exception>
    public static IReadOnlyList<string> ReadWords(HttpContext http)
    {
        var text = Read(Words, http);
        SearchQuery.Check(Words.Name, text);
        return PartsOfWords.Words(text);
    }

    /// <summary>The parameter's text; empty: it is not there, or is empty.</summary>
    /// <exception cref="UnreadableRequestException">It is there twice.</exception>
    public static string Read(TextQuery query, HttpContext http) =>
        !http.Request.Query.TryGetValue(query.Name, out var sent) ? ""
        : sent is [{ } text] ? text
        : throw new UnreadableRequestException(ErrorResult.Invalid(query.Name, "Must be given once."));
}

/// <summary>The header <c>If-Match</c>, and what works answer in <c>ETag</c>.</summary>
static class WorkTags
{
    public static string Of(long version) => string.Create(CultureInfo.InvariantCulture, $"\"{version}\"");

    /// <summary>The versions that a client expects; null: any will do. A tag that is none of a work's, or a weak one, fits no version (RFC 9110, section 13.1.1).</summary>
    public static ImmutableList<long>? Expected(HttpContext http)
    {
        var tags = http.Request.Headers.IfMatch;
        return tags.Count == 0 || Tags(tags).Contains("*") ? null
            : [.. Tags(tags).Where(tag => tag is ['"', .., '"']).Select(Version)];
    }

    /// <summary>True: the client has this version already (RFC 9110, section 13.1.2).</summary>
    public static bool IsKnown(HttpContext http, string tag) =>
        Tags(http.Request.Headers.IfNoneMatch).Any(known => known == "*" || known == tag || known == $"W/{tag}");

    /// <summary>-1: no work has such a version.</summary>
    static long Version(string tag) => long.TryParse(tag.AsSpan(1, tag.Length - 2), NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : -1;

    static IEnumerable<string> Tags(Microsoft.Extensions.Primitives.StringValues header) =>
        header.SelectMany(value => (value ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));
}

static class WorkEndpoints
{
    const string IfMatch = "Only while the work has one of these versions, as ETag has them.";

    public static void MapWorks(this IEndpointRouteBuilder routes)
    {
        var works = routes.MapGroup("").WithTags("Works");
        works.MapGet("", List).WithName("listWorks")
            .WithSummary("List the caller's works, the last changed first")
            .Takes(WorkQueries.Bucket).Takes(WorkQueries.Words).Takes(Lists.LimitOfWorks).Takes(WorkQueries.Cursor)
            .TakesAsOf()
            .Produces<WorkListAnswer>().Refuses(422);
        works.MapPost("", Create).WithName("createWork").RequireMember()
            .WithSummary("Create a work")
            .Produces<WorkAnswer>(201).Refuses(400, 409, 413, 415, 422, 507);
        works.MapGet("/{work_id}", Get).WithName("getWork")
            .WithSummary("Show a work with its payload")
            .TakesHeader("If-None-Match", "Answer 304 when the work has one of these versions, as ETag has them.")
            .TakesAsOf()
            .Produces<WorkAnswer>().Produces(304).Refuses(404, 422);
        works.MapPatch("/{work_id}", Change).WithName("changeWork").RequireMember()
            .WithSummary("Change a work; what is left out stays")
            .TakesHeader("If-Match", IfMatch)
            .Produces<WorkAnswer>().Refuses(400, 404, 409, 412, 413, 415, 422, 507);
        works.MapDelete("/{work_id}", Delete).WithName("deleteWork").RequireMember()
            .WithSummary("Delete a work; the log keeps what happened")
            .TakesHeader("If-Match", IfMatch)
            .Produces<WorkDeletedAnswer>().Refuses(404, 409, 412, 422);
        works.MapPost("/{work_id}/duplicate", Duplicate).WithName("duplicateWork").RequireMember()
            .WithSummary("Create a work with the payload of another one")
            .Produces<WorkAnswer>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, MasterKeyring keys, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (limit, bucket, words) = (Lists.LimitOfWorks.Read(http), WorkQueries.ReadBucket(http), WorkQueries.ReadWords(http));
        var list = new WorkList(caller.Org, caller.Actor, bucket, words);
        WorkCursor? cursor = null;
        if (WorkQueries.Read(WorkQueries.Cursor, http) is { Length: > 0 } sent)
        {
            cursor = WorkCursor.Read(sent, list, keys, now);
            // A cursor keeps its moment: one beside it must be the same.
            if (cursor is null || (view.Position is { } asked && !(cursor.IsAsOf && cursor.Position == asked)))
            {
                return NoCursor();
            }
            view = cursor.IsAsOf ? ReadView.At(http, cursor.Position) : view;
        }
        var query = new MomentQuery(caller.Actor, bucket, words, (int)limit, cursor?.Position ?? view.Position, cursor?.After, PageBytes.Max);
        if (await view.Rows.PageAt(caller.Org, Projections.Works.Model.Table, query, ct) is not { } page)
        {
            return NoCursor();
        }
        var shown = new List<WorkSummary>(page.Rows.Count);
        foreach (var (_, row) in page.Rows)
        {
            shown.Add(await Summary(Projections.Works.Model.Read(row.Json.Span), blobs, ct));
        }
        var next = page.HasMore ? new WorkCursor(page.Position, page.Rows[^1].Place, cursor?.PinnedAt ?? now) { IsAsOf = view.Position is not null }.Write(list, keys) : null;
        return JsonResult.Of(200, WorkListAnswer.Of(shown, next), WorksJson.Answers.WorkListAnswer);
    }

    static async Task<IResult> Create(
        Body<NewWork> body, Caller caller, TextCommands commands, Subjects subjects, CommandAnswers answers, WorkViews views, TenantUsage usage, TimeProvider clock,
        CancellationToken ct)
    {
        var payload = NamedText.Of(body.Value.Payload!.Value.GetRawText());
        if (await usage.StorageRefusal(caller.Org, ct, payload.Bytes.Length) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var work = WorkKey.New(clock.GetUtcNow());
        var (subject, erased) = await subjects.Of(caller.Org, caller.Actor, body.Value.Subject, ct);
        if (erased is not null)
        {
            return ErrorResult.Of(erased);
        }
        var create = new CreateWork(work, WorkBuckets.Find(body.Value.Bucket!)!, body.Value.Card(), payload.Content, body.Key, subject);
        var result = await commands.Execute(caller.Org, caller.Origin, create, payload, ct);
        return await answers.Of(caller.Org, result, Work.Aggregate.Stream(work), body.Key, after => views.Of(201, caller.Org, after, ct), ct);
    }

    static async Task<IResult> Get(PathKey<WorkKey> work, HttpContext http, Caller caller, ReadView view, WorkViews views, CancellationToken ct)
    {
        if (await view.State(caller.Org, Work.Aggregate, work.Key, ct) is not Work.Live live || live.Owner != caller.Actor)
        {
            return ErrorResult.NotFound("work");
        }
        var tag = WorkTags.Of(live.Version);
        if (WorkTags.IsKnown(http, tag))
        {
            http.Response.Headers.ETag = tag;
            return TypedResults.StatusCode(304);
        }
        return await views.Of(200, live, ct);
    }

    static async Task<IResult> Change(
        PathKey<WorkKey> work, Body<WorkChanges> body, HttpContext http, Caller caller, TextCommands commands, CommandAnswers answers, WorkViews views, TenantUsage usage,
        CancellationToken ct)
    {
        var payload = body.Value.Payload is { } given ? NamedText.Of(given.GetRawText()) : null;
        if (await usage.StorageRefusal(caller.Org, ct, payload?.Bytes.Length ?? 0) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var change = new ChangeWork(work.Key, body.Value.Change(payload?.Content), WorkTags.Expected(http), body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, change, payload is null ? [] : [payload], ct);
        return await answers.Of(caller.Org, result, Work.Aggregate.Stream(work.Key), body.Key, after => views.Of(200, caller.Org, after, ct), ct);
    }

    static async Task<IResult> Delete(PathKey<WorkKey> work, HttpContext http, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new DeleteWork(work.Key, WorkTags.Expected(http)), ct) is { Refused: { } refused }
            ? ErrorResult.Of(refused)
            : JsonResult.Of(200, WorkDeletedAnswer.Of(work.Key), WorksJson.Answers.WorkDeletedAnswer);

    static async Task<IResult> Duplicate(
        PathKey<WorkKey> work, Body<WorkCopy> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, WorkViews views, TenantUsage usage, TimeProvider clock,
        CancellationToken ct)
    {
        if (await usage.StorageRefusal(caller.Org, ct) is { } full && !await answers.IsRepeat(caller.Org, body.Key, ct))
        {
            return ErrorResult.Of(full);
        }
        var copy = WorkKey.New(clock.GetUtcNow());
        var result = await commands.Execute(caller.Org, caller.Origin, new DuplicateWork(work.Key, copy, body.Value.Label, body.Key), ct);
        return await answers.Of(caller.Org, result, Work.Aggregate.Stream(copy), body.Key, after => views.Of(201, caller.Org, after, ct), ct);
    }

    static async ValueTask<WorkSummary> Summary(WorkRow work, IBlobs blobs, CancellationToken ct) => new(
        work.WorkId, work.Bucket, work.Card.Label, work.CreatedAt, work.UpdatedAt, await WorkViews.Json(work.Card.Metadata, blobs, ct), work.Card.Preview, work.Card.Tags);

    static ErrorResult NoCursor() => ErrorResult.Invalid(
        WorkQueries.Cursor.Name, "Is no cursor of this list, or older than an hour. Begin with the first page.", "unknown_cursor");
}

/// <summary>Shows works with their payloads.</summary>
public sealed class WorkViews(CommandHandler commands, IBlobs blobs)
{
    /// <summary>A work as a commit has left it.</summary>
    public async ValueTask<JsonResult<WorkAnswer>> Of(int status, string org, StreamResult after, CancellationToken ct) =>
        await commands.StateAt(org, Work.Aggregate, new WorkKey(after.Key), after.Version, ct) is Work.Live live
            ? await Of(status, live, ct)
            : throw new InvalidOperationException($"{after.Stream} is no work at version {after.Version}.");

    public async ValueTask<JsonResult<WorkAnswer>> Of(int status, Work.Live work, CancellationToken ct) =>
        JsonResult.Of(status, WorkAnswer.Of(await Details(work, ct)), WorksJson.Answers.WorkAnswer) with
        {
            Location = status == 201 ? $"{WorksDialect.BasePath}/{work.WorkId}" : null,
            ETag = WorkTags.Of(work.Version),
        };

    /// <summary>Null: there is none.</summary>
    internal static async ValueTask<JsonText?> Json(Content? content, IBlobs blobs, CancellationToken ct) => content is null ? null : new(await blobs.Text(content, ct));

    async ValueTask<WorkDetails> Details(Work.Live work, CancellationToken ct) => new(
        work.WorkId, work.Bucket, work.Card.Label, work.CreatedAt, work.UpdatedAt, await Json(work.Card.Metadata, blobs, ct), work.Card.Preview, work.Card.Tags)
    {
        Payload = new(await blobs.Text(work.Payload, ct)),
    };
}
