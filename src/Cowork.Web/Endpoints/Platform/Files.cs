using System.Security.Cryptography;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>The form of <c>POST /api/v1/files</c>.</summary>
/// <param name="File">The file's bytes, in a part with a file name.</param>
/// <param name="ProjectId">The project that it belongs to.</param>
/// <param name="ConversationId">The conversation that it belongs to, alone or beside a project.</param>
public sealed record FileForm([property: NeverNull, FileBytes] string? File, [property: NeverNull] string? ProjectId = null, [property: NeverNull] string? ConversationId = null);

/// <param name="Id">The file id.</param>
/// <param name="MimeType">What the content is, whatever the client said.</param>
/// <param name="Size">Bytes of the content.</param>
/// <param name="ProjectId">Null: none, or the built-in project "General".</param>
/// <param name="ConversationId">Null: none.</param>
/// <param name="Status"><c>processing</c> while the text is extracted, then <c>ready</c>, or <c>failed</c>: the file is there and has no text.</param>
/// <param name="StatusCode">Why it has no text; null: it has, or it is not known yet.</param>
/// <param name="StatusDetail">The same as a sentence; of a file with text, what is worth knowing of it.</param>
public sealed record FileDetails(
    FileKey Id, string Name, string MimeType, long Size, ProjectKey? ProjectId, string? ConversationId, [property: FileStatus] string Status, string? StatusCode,
    string? StatusDetail, DateTimeOffset CreatedAt)
{
    public static FileDetails Of(FileRow file) => new(
        file.FileId, file.Name, file.MediaType, file.Bytes, file.ProjectId, file.SessionId?.ConversationId, file.Status, file.StatusCode, file.StatusDetail, file.CreatedAt);
}

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record FileList(string Object, IReadOnlyList<FileDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <summary>A place in a file's text.</summary>
/// <param name="FirstLine">Of the extracted text, from 1.</param>
/// <param name="Snippet">The place's text on one line, shortened.</param>
/// <param name="Score">How well it fits, to be compared with those of the same answer.</param>
public sealed record FileHit(
    FileKey FileId, string Name, ProjectKey? ProjectId, string? ConversationId, int FirstLine, int LastLine, string Snippet, double Score);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Data">Best first; a file may have several places.</param>
public sealed record FileHitList(string Object, IReadOnlyList<FileHit> Data, long Limit, long Offset, bool HasMore);

static class FileEndpoints
{
    /// <summary>Longest query, in characters.</summary>

    /// <summary>Characters of a snippet, and of what stands in it before the first word of the query.</summary>
    const int SnippetChars = 600;
    const int SnippetBeforeChars = 200;

    /// <summary>Places that are looked for beyond those that are shown, because some may be in files that are deleted or of another project.</summary>
    const int HitsBeyond = 100;

    static readonly IdQuery OfConversation = new("conversation_id", "Only of this conversation.");

    static readonly IdQuery After = new("after", "Only what stands behind this file in the list, as OpenAI's clients turn pages; `total` counts from there.");

    public static void MapFiles(this IEndpointRouteBuilder routes)
    {
        var files = routes.MapGroup("/files").WithTags("Files");
        files.MapPost("", Upload).WithName("uploadFile").RequireMember().WithMetadata(new TakesForm(typeof(FileForm)))
            .WithSummary("Upload a file to a project, a conversation, both, or the tenant")
            .Produces<FileDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 507);
        files.MapGet("", List).WithName("listFiles")
            .WithSummary("List files, newest first")
            .Takes(ProjectInQuery.Parameter).Takes(OfConversation).Takes(NameQuery.Words).Takes(Lists.Limit).Takes(Lists.Offset).Takes(After)
            .Produces<FileList>().Refuses(404, 422);
        files.MapGet("/search", Search).WithName("searchFiles")
            .WithSummary("Find places in the text of files, best first")
            .Takes(SearchQuery.Words).Takes(ProjectInQuery.Parameter).Takes(OfConversation).Takes(Lists.Limit).Takes(SearchQuery.Offset)
            .Produces<FileHitList>().Refuses(404, 422);
        files.MapGet("/{file_id}", Get).WithName("getFile")
            .WithSummary("Show a file")
            .Produces<FileDetails>().Refuses(404, 422);
        files.MapDelete("/{file_id}", Delete).WithName("deleteFile").RequireMember()
            .WithSummary("Delete a file; the log keeps what happened")
            .Produces(204).Refuses(404, 422);
        files.MapGet("/{file_id}/content", Content).WithName("downloadFile").WithMetadata(Exports.Of<FileKey>("file"))
            .WithSummary("The bytes of a file, whole or a range; the entity tag is their SHA-256")
            .Produces<byte[]>(200, "application/octet-stream").Produces<byte[]>(206, "application/octet-stream").Produces(304).Refuses(404, 412, 416, 422);
    }

    const string SubjectName = "subject";

    static async Task<IResult> Upload(
        HttpContext http, Caller caller, HostSettings settings, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IBlobs blobs, Subjects subjects,
        TimeProvider clock, CancellationToken ct)
    {
        var (errors, options) = (new ValidationErrors(), http.RequestServices.GetRequiredService<RunOptions>());
        var header = IdempotencyHeader.Read(http, errors);
        errors.ThrowIfAny();
        var isRepeat = await answers.IsRepeat(caller.Org, KeyOf(""), ct);
        if (!isRepeat && await usage.StorageRefusal(caller.Org, ct) is { } full)
        {
            return ErrorResult.Of(full);
        }
        var form = await UploadForm.Read(http, blobs, [ProjectInQuery.Parameter.Name, OfConversation.Name, SubjectName], settings.FileBytesMax);
        var isPersonal = form.Fields.TryGetValue(SubjectName, out var sent) && sent.Length > 0;
        try
        {
            return await Made();
        }
        finally
        {
            if (isPersonal)
            {
                // What was refused or cut off does not lie there as it came until a sweep finds it; what was accepted is there sealed.
                await blobs.Discard(form.File.Sha256, CancellationToken.None);
            }
        }

        async Task<IResult> Made()
        {
            var (project, session) = (Named<ProjectKey>(ProjectInQuery.Parameter.Name), Named<SessionKey>(OfConversation.Name));
            var file = form.File;
            if (!isRepeat && await usage.StorageRefusal(caller.Org, ct, file.Bytes) is { } tooMuch)
            {
                return ErrorResult.Of(tooMuch);
            }
            var named = isPersonal ? sent : null;
            if (named is not null && SubjectField.WhyNot(named) is { } whyNot)
            {
                return ErrorResult.Invalid(SubjectName, whyNot);
            }
            var (subject, erased) = session is { } of && named is null && await subjects.Of(caller.Org, of, ct) is { } conversations
                ? (conversations, null)
                : await subjects.Of(caller.Org, caller.Actor, named, ct);
            isPersonal |= subject is not null;
            if (erased is not null)
            {
                return ErrorResult.Of(erased);
            }
            if (subject is not null)
            {
                await blobs.Seal(caller.Org, subject, file.Sha256, ct);
            }
            var upload = new FileUpload(
                file.Name, file.DeclaredMediaType, MediaTypes.Detect(file.Name, file.Start.Span, isWhole: file.Start.Length == file.Bytes), file.Sha256, file.Bytes,
                project is { IsGeneral: true } ? null : project, session, subject);
            var (key, request) = (FileKey.New(clock.GetUtcNow()), KeyOf(DigestOf(upload)));
            var result = await commands.Execute(caller.Org, caller.Origin, new UploadFile(key, upload, request), ct);
            if (result.Refused is null)
            {
                usage.Made(caller.Org, storedBytes: file.Bytes, blobs: 1);
            }
            return await answers.Of(
                caller.Org, result, UploadedFile.Aggregate.Stream(key), request,
                after => JsonResult.Of(201, FileDetails.Of(after.Row(Files.Model)), PlatformJson.Answers.FileDetails) with
                {
                    Location = $"/api/v1/files/{after.Row(Files.Model).FileId}",
                },
                ct);
        }

        // A page's form sends a field that was left empty.
        TKey? Named<TKey>(string field)
            where TKey : struct, IKey<TKey> =>
            form.Fields.TryGetValue(field, out var id) && id.Length > 0 ? PathIds.Key<TKey>(id, field) : null;

        RequestKey? KeyOf(string digest) => header is null ? null : new(IdempotencyHeader.Scope(http), header, digest, options.IdempotencyKept);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var (limit, offset) = (Lists.Limit.Read(http), Lists.Offset.Read(http));
        var (project, session, missing) = await Filters(http, caller, rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var query = Files.Query(project, session, (int)limit) with { Named = NameQuery.Read(http, UploadedFile.Aggregate.Name, session) };
        if (After.Read<FileKey>(http) is { } after)
        {
            if (await rows.Get(caller.Org, Files.Model.Table, after.Value, ct) is not { } last)
            {
                return ErrorResult.NotFound("file");
            }
            query = query with { Before = last.Created };
        }
        var page = await rows.Page(caller.Org, Files.Model.Table, query, offset, ct);
        var shown = page.Rows.Select(row => FileDetails.Of(Files.Model.Read(row.Json.Span))).ToList();
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.FileList);
    }

    static async Task<IResult> Search(HttpContext http, Caller caller, IRows rows, ITexts texts, CancellationToken ct)
    {
        var (query, limit, offset) = (SearchQuery.Read(http), (int)Lists.Limit.Read(http), (int)SearchQuery.Offset.Read(http));
        var (project, session, missing) = await Filters(http, caller, rows, ct);
        if (missing is not null)
        {
            return missing;
        }
        var scope = session is { } of ? TextScope.Conversation(of) : project is { } within ? TextScope.Project(within) : TextScope.Uploads;
        var found = await TextSearch.Find(texts, caller.Org, [scope], query, offset + limit + 1 + HitsBeyond, ct);
        var keys = found.Hits.Select(hit => TextKey.FileOf(hit.Owner).Value).Distinct();
        // The index may know of a file for a moment longer than the read model.
        var there = (await rows.Get(caller.Org, Files.Model.Table, [.. keys], ct)).ToDictionary(row => row.Key, row => Files.Model.Read(row.Json.Span));
        var hits = found.Hits
            .Select(hit => (Hit: hit, File: there.GetValueOrDefault(TextKey.FileOf(hit.Owner).Value)))
            .Where(found => found.File is not null && (project is null || Files.ProjectOf(found.File) == project)).Skip(offset).Take(limit + 1)
            .Select(found => new FileHit(
                found.File!.FileId, found.File.Name, found.File.ProjectId, found.File.SessionId?.ConversationId, found.Hit.Passage.FirstLine, found.Hit.Passage.LastLine,
                SnippetOf(found.Hit.Passage.Text, query), found.Hit.Score)).ToList();
        return JsonResult.Of(200, new("list", [.. hits.Take(limit)], limit, offset, hits.Count > limit), PlatformJson.Answers.FileHitList);
    }

    /// <summary>The part of a passage that begins shortly before the first word of the query.</summary>
    static string SnippetOf(string passage, string query)
    {
        var text = FileText.OneLine(passage);
        if (text.Length > SnippetChars)
        {
            var first = Stemmer.QueryTerms(query).Select(term => text.IndexOf(term, StringComparison.OrdinalIgnoreCase)).Where(at => at >= 0).DefaultIfEmpty().Min();
            var begin = first <= SnippetBeforeChars ? 0 : text.IndexOf(' ', first - SnippetBeforeChars) is var space && space >= 0 && space < first ? space + 1 : first;
            text = (begin > 0 ? "…" : "") + text[begin..];
        }
        return FileText.Truncate(text, SnippetChars);
    }

    static async Task<IResult> Get(PathKey<FileKey> file, Caller caller, IRows rows, CancellationToken ct) =>
        await Find(caller.Org, file.Key, rows, ct) is { } row
            ? JsonResult.Of(200, FileDetails.Of(row), PlatformJson.Answers.FileDetails)
            : ErrorResult.NotFound("file");

    static async Task<IResult> Delete(PathKey<FileKey> file, Caller caller, ICommandExecutor commands, CancellationToken ct) =>
        await commands.Execute(caller.Org, caller.Origin, new DeleteUploadedFile(file.Key), ct) is { Refused: { } refused } ? ErrorResult.Of(refused) : TypedResults.NoContent();

    static async Task<IResult> Content(PathKey<FileKey> file, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct) =>
        await Find(caller.Org, file.Key, rows, ct) is { } row
            ? new BlobResult(blobs, row.Sha256, row.Bytes, row.MediaType, row.Name)
            : ErrorResult.NotFound("file");

    /// <summary>What a list is narrowed to, and the answer when there is no such thing.</summary>
    static async ValueTask<(ProjectKey? Project, SessionKey? Session, ErrorResult? Missing)> Filters(HttpContext http, Caller caller, IRows rows, CancellationToken ct)
    {
        var session = OfConversation.Read<SessionKey>(http);
        var (project, missing) = await ProjectInQuery.Find(http, caller, rows, ct);
        return missing is not null ? (null, null, missing)
            : session is { } within && await rows.FindSession(caller, within, ct) is null ? (null, null, ErrorResult.NotFound("conversation"))
            : (project, session, null);
    }

    /// <summary>Null: it does not exist, is deleted, or belongs to another tenant.</summary>
    static async ValueTask<FileRow?> Find(string org, FileKey file, IRows rows, CancellationToken ct) =>
        await rows.Get(org, Files.Model.Table, file.Value, ct) is { } row ? Files.Model.Read(row.Json.Span) : null;

    /// <summary>What two uploads under one key have in common: the file and the fields, not how they lie in the form.</summary>
    static string DigestOf(FileUpload upload) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
        string.Join('\n', upload.Name, upload.DeclaredMediaType, upload.Sha256, upload.Bytes.ToString(System.Globalization.CultureInfo.InvariantCulture),
            upload.ProjectId?.Value, upload.SessionId?.Value))));
}
