using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>list_files {path?}</c>: lists the session's folder, or a folder in it.</summary>
public sealed class ListFiles(Policy policy) : ITool
{
    /// <summary>Largest number of entries in one answer: about 30 000 characters, which fits a model's context.</summary>
    const int EntriesMax = 500;

    public string Name => "list_files";

    public string Description => $"Lists the files and folders below a path of the session's folder, with their sizes in bytes; at most {EntriesMax}.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """{"type":"object","properties":{"path":{"type":"string","description":"A folder or file, relative to the session's folder. Default: all of it."}}}""");

    public CallSubject Subject(ToolContext context, JsonElement input) => PathArgument.SubjectOf(context, "list", input, defaultPath: ".");

    public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        if (PathArgument.Open(context, "list", Name, input, ".", policy, out var found) is { } error)
        {
            return Task.FromResult(error);
        }
        using (found)
        {
            return Task.FromResult(ToolOutcome.Ok(found.IsDirectory ? List(context.Workspace, found, ct) : Line(found.Shown, found.Size)));
        }
    }

    string List(Grant workspace, GrantedPath.Found folder, CancellationToken ct)
    {
        var walk = FolderWalk.Run(workspace, folder, policy, new WalkBounds(Entries: EntriesMax), ct);
        var text = new StringBuilder();
        foreach (var entry in walk.Entries)
        {
            text.AppendLine(entry switch
            {
                { IsLink: true } => $"{entry.Shown} (link)",
                { IsNotWalked: true } => $"{entry.Shown}/ (not opened; list it by its path)",
                { IsDirectory: true } => $"{entry.Shown}/",
                _ => Line(entry.Shown, entry.Size),
            });
        }
        if (walk.Entries.Count == 0)
        {
            text.AppendLine("The folder is empty.");
        }
        if (walk.IsTruncated)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"[Cut at {EntriesMax} entries: list a folder below to see more.]");
        }
        if (walk.Withheld > 0)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"[{walk.Withheld} entries are kept back by policy.]");
        }
        return text.ToString().TrimEnd();
    }

    static string Line(string path, long size) => string.Create(CultureInfo.InvariantCulture, $"{path} ({size} bytes)");
}
