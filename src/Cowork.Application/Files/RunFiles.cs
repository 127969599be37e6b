using Cowork.Domain;

namespace Cowork.Application;

/// <summary>An uploaded file as the tools of a run name it.</summary>
/// <param name="Path">Below <see cref="RunFiles.Folder"/>.</param>
public sealed record RunFile(string Path, VisibleFile File)
{
    /// <summary>The path for people and models.</summary>
    public string Shown => VisibleText.Of(Path);
}

/// <summary>
/// The uploaded files of a run's conversation and project, as if they lay in the session's folder: <c>files/NAME</c>, and of several of one name the newest. Each is
/// also <c>files/ID/NAME</c>. What lies in the folder itself comes first. No tool changes an uploaded file.
/// </summary>
public sealed class RunFiles(IFileQueries queries)
{
    public const string Folder = "files";

    /// <summary>The newest files of a conversation or project, which are listed and found by name; others are found by their id.</summary>
    const int FilesMax = 1_000;

    /// <summary>The files at and below a path, newest first.</summary>
    public async ValueTask<IReadOnlyList<RunFile>> Under(ToolContext context, string path, CancellationToken ct)
    {
        if (Relative(context, path) is not { } relative || !(relative is "." or Folder || relative.StartsWith(Folder + "/", StringComparison.Ordinal)))
        {
            return [];
        }
        return
        [
            .. (await All(context.Org, context.Session, context.Subject, ct))
                .Where(file => relative is "." or Folder || Matches(file.Path, relative) || Matches(PathById(file.File), relative)),
        ];
    }

    /// <summary>The files that are listed and found by name, newest first.</summary>
    /// <param name="subject">The data subject of the runs; null: nobody.</param>
    public async ValueTask<IReadOnlyList<RunFile>> All(string org, SessionKey session, string? subject, CancellationToken ct)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        return
        [
            .. (await queries.VisibleTo(org, session, subject, FilesMax, ct))
                .Select(file => new RunFile(names.Add(file.Name) ? $"{Folder}/{file.Name}" : PathById(file), file)),
        ];
    }

    /// <summary>The file at a path; null: there is none, or something lies there in the session's folder.</summary>
    public async ValueTask<RunFile?> Find(ToolContext context, string path, CancellationToken ct)
    {
        if (Relative(context, path) is not { } relative || !relative.StartsWith(Folder + "/", StringComparison.Ordinal) || IsInFolder(context, path))
        {
            return null;
        }
        return relative.Split('/') is [_, var id, _] && FileKey.Parse(id) is { } key
            ? await queries.Visible(context.Org, context.Session, context.Subject, key, ct) is { } file && Matches(PathById(file), relative) ? new(PathById(file), file) : null
            : await Under(context, path, ct) is [var first, ..] ? first : null;
    }

    /// <summary>Something lies at the path in the session's folder.</summary>
    public static bool IsInFolder(ToolContext context, string path)
    {
        using var granted = GrantedPath.Open(context.Grants, path);
        return granted is not GrantedPath.Missing;
    }

    /// <summary>The path by which a file is always found.</summary>
    public static string PathById(VisibleFile file) => $"{Folder}/{file.File.Id}/{file.Name}";

    /// <summary>The error of a call that would change an uploaded file; null: there is none at the path.</summary>
    public async ValueTask<ToolOutcome?> ReadOnlyAt(ToolContext context, string path, CancellationToken ct) =>
        await Find(context, path, ct) is { } file
            ? ToolOutcome.Error($"{file.Shown} is an uploaded file: it is read, and not changed, moved or deleted. Write another file.")
            : null;

    /// <summary>A model may write a name as it was shown to it.</summary>
    static bool Matches(string path, string asked) => path == asked || VisibleText.Of(path) == asked;

    /// <summary>The path relative to the session's folder by its text alone; null: it is outside.</summary>
    static string? Relative(ToolContext context, string path) =>
        string.IsNullOrWhiteSpace(path) || !StorableText.IsStorable(path) ? null
        : GrantedPath.RelativeTo(context.Grants.First.Path, Path.TrimEndingDirectorySeparator(Path.GetFullPath(Path.Combine(context.Grants.First.Path, path))));
}
