using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.UploadedFileEvent;

namespace Cowork.Projections;

/// <summary>A file as <c>GET /api/v1/files/{id}</c> shows it.</summary>
/// <param name="MediaType">What the content is, as far as it was looked at.</param>
/// <param name="Status"><see cref="Files.Processing"/>, <see cref="Files.Ready"/> or <see cref="Files.Failed"/>.</param>
/// <param name="StatusCode">Why it has no text; null: it has, or it is not known yet.</param>
/// <param name="StatusDetail">The same as a sentence; of a file with text, what is worth knowing of it.</param>
/// <param name="Text">The text in the blob store; null: there is none.</param>
/// <param name="Subject">The data subject whose file it is; null: nobody's.</param>
public sealed record FileRow(
    FileKey FileId, string Name, string? DeclaredMediaType, string MediaType, string Sha256, long Bytes, ProjectKey? ProjectId, SessionKey? SessionId, string CreatedBy,
    DateTimeOffset CreatedAt, string Status, string? StatusCode = null, string? StatusDetail = null, Content.Blob? Text = null, bool IsCut = false, string? Subject = null)
{
    /// <summary>Name, content and text were erased with the personal data of the subject.</summary>
    [JsonIgnore]
    public bool IsErased => Sha256 == PersonalAttribute.Digest;
}

/// <summary>
/// The read model of uploaded files: <c>GET /api/v1/files</c>, by project, by conversation, by both, or all of the tenant. A deleted file has no row. A row's scope is
/// its project, and its status in the table is its conversation, so that the indexes of lists serve both.
/// </summary>
public static class Files
{
    public const string Processing = "processing";
    public const string Ready = "ready";
    public const string Failed = "failed";

    /// <summary>Tells that the file has more text.</summary>
    /// <summary>Why a file has no text: it was erased with the personal data of its subject.</summary>
    public const string Erased = "erased";

    const string ErasedDetail = "The file was erased with the personal data of its subject.";

    const string CutDetail = "The file has more text than is kept: the beginning is read and searched.";

    public static ReadModel<FileRow> Model { get; } = new(
        "files", UploadedFile.Aggregate.Name, RowJson.Default.FileRow, Evolve,
        Scope: row => ProjectOf(row)?.Value,
        Status: row => row.SessionId?.Value)
    {
        Lists = RowLists.All | RowLists.ByScopeAndStatus,
        Form = 2,
    };

    /// <summary>The project whose conversations see the file; null: one conversation alone does.</summary>
    public static ProjectKey? ProjectOf(FileRow row) => row.ProjectId ?? (row.SessionId is null ? ProjectKey.General : null);

    /// <param name="project">Null: of any. The built-in one has the files that have neither project nor conversation.</param>
    /// <param name="session">Null: of any.</param>
    public static RowQuery Query(ProjectKey? project, SessionKey? session, int limit) => new(project?.Value, session?.Value, limit, Bytes: PageBytes.Max);

    public static FileRow? Evolve(FileRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (FileUploaded { Sha256: PersonalAttribute.Digest } u, _) => Uploaded(u, e) with { Status = Failed, StatusCode = Erased, StatusDetail = ErasedDetail },
        (FileUploaded u, _) => Uploaded(u, e),
        (_, null) => null,
        (FileTextExtracted or FileExtractionFailed, { IsErased: true } r) => r,
        (FileTextExtracted t, { } r) => r with
        {
            MediaType = t.MediaType,
            Status = Ready,
            StatusDetail = t.IsCut ? CutDetail : null,
            Text = new(t.Sha256, t.Bytes),
            IsCut = t.IsCut,
        },
        (FileExtractionFailed f, { } r) => r with { MediaType = f.MediaType, Status = Failed, StatusCode = f.Code, StatusDetail = f.Detail },
        (FileDeleted, _) => null,
        (_, { } r) => r,
    };

    static FileRow Uploaded(FileUploaded u, RecordedEvent e) =>
        new(u.FileId, u.Name, u.DeclaredMediaType, u.MediaType, u.Sha256, u.Bytes, u.ProjectId, u.SessionId, e.Actor, e.At, Processing, Subject: u.Subject);
}

/// <summary>
/// The queries of jobs and tools on the read model of files. Most conversations have none: that is remembered until a file is uploaded, or another host has written. A host
/// hears of others' commits before its own next one is done, so a turn that follows an upload sees it, on whatever host.
/// </summary>
public sealed class FileQueries(IRows rows) : IFileQueries, ICommitObserver
{
    /// <summary>Number of conversations whose project is remembered.</summary>
    const int ProjectsMax = 10_000;

    // A conversation's project never changes. Of one that is deleted no run asks.
    readonly LastUsed<(string Org, SessionKey Session), OfProject> projects = new(ProjectsMax);

    // Conversations that had no file when so much had been heard.
    readonly LastUsed<(string Org, SessionKey Session), NoFile> without = new(ProjectsMax);
    long heard;

    sealed record OfProject(ProjectKey Project);

    sealed record NoFile(long Heard);

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        if (entries.Any(entry => entry.Is<FileUploaded>()))
        {
            Interlocked.Increment(ref heard);
        }
    }

    public void OthersWrote() => Interlocked.Increment(ref heard);

    public ValueTask<IReadOnlyList<FileKey>> Of(string org, SessionKey session, int max, CancellationToken ct) => Keys(org, new(Status: session.Value, Limit: max), ct);

    public ValueTask<IReadOnlyList<FileKey>> Of(string org, ProjectKey project, int max, CancellationToken ct) => Keys(org, new(Scope: project.Value, Limit: max), ct);

    public async ValueTask<VisibleFile?> Visible(string org, SessionKey session, string? subject, FileKey file, CancellationToken ct) =>
        await ProjectOf(org, session, ct) is { } project
        && await rows.Get(org, Files.Model.Table, file.Value, ct) is { } found && Files.Model.Read(found.Json.Span) is var row
        && (row.SessionId == session || Files.ProjectOf(row) == project) && IsSeen(row, session, subject)
            ? Shown(row)
            : null;

    /// <summary>What a run without the subject quotes would be left when the subject is erased. Who puts a file into a conversation wants it there.</summary>
    static bool IsSeen(FileRow row, SessionKey session, string? subject) => !row.IsErased && (row.Subject is null || row.Subject == subject || row.SessionId == session);

    public async ValueTask<(FileUpload Upload, Content.Blob Text)?> TextOf(string org, FileKey file, CancellationToken ct) =>
        await rows.Get(org, Files.Model.Table, file.Value, ct) is { } found && Files.Model.Read(found.Json.Span) is { Text: { } text } row
            ? (new(row.Name, row.DeclaredMediaType, row.MediaType, row.Sha256, row.Bytes, row.ProjectId, row.SessionId, row.Subject), text)
            : null;

    public async ValueTask<IReadOnlyList<VisibleFile>> VisibleTo(string org, SessionKey session, string? subject, int max, CancellationToken ct)
    {
        var before = Interlocked.Read(ref heard);
        if (without.Get((org, session))?.Heard == before || await ProjectOf(org, session, ct) is not { } project)
        {
            return [];
        }
        RowQuery[] queries =
        [
            new(Status: session.Value, Limit: max), new(Scope: project.Value, Limit: max),
            // However many of the project's newest are others'.
            .. subject is null ? Array.Empty<RowQuery>() : [new(Scope: project.Value, Limit: max) { Having = ("subject", subject) }],
        ];
        var lists = await rows.Lists(org, Files.Model.Table, queries, ct);
        if (lists.All(list => list.Count == 0))
        {
            without.Put((org, session), new(before));
        }
        return
        [
            .. lists.SelectMany(list => list).DistinctBy(row => row.Key).OrderByDescending(row => row.Created).Select(row => Files.Model.Read(row.Json.Span))
                .Where(row => IsSeen(row, session, subject)).Take(max).Select(Shown),
        ];
    }

    /// <summary>The project of a conversation; null: there is no such conversation.</summary>
    async ValueTask<ProjectKey?> ProjectOf(string org, SessionKey session, CancellationToken ct)
    {
        if (projects.Get((org, session)) is { } known)
        {
            return known.Project;
        }
        if ((await rows.Get(org, Sessions.Model.Table, session.Value, ct) ?? await rows.Get(org, GroupSessions.Model.Table, session.Value, ct)) is not { } found)
        {
            return null;
        }
        var project = Sessions.Model.Read(found.Json.Span).Project ?? ProjectKey.General;
        projects.Put((org, session), new(project));
        return project;
    }

    static VisibleFile Shown(FileRow row) =>
        new(
            row.FileId, row.Name, row.Bytes, row.Text, row.IsCut, row.Text is not null ? null : row.StatusDetail ?? "Its text is still being extracted.", Files.ProjectOf(row),
            row.Status == Files.Processing);

    async ValueTask<IReadOnlyList<FileKey>> Keys(string org, RowQuery query, CancellationToken ct) =>
        [.. (await rows.List(org, Files.Model.Table, query, ct)).Select(row => new FileKey(row.Key))];
}
