using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>list_files {path?}</c>: lists the session's folder, or a folder in it.</summary>
public sealed class ListFiles(Policy policy, RunFiles uploads) : ITool
{
    /// <summary>Largest number of entries in one answer: about 30 000 characters, which fits a model's context.</summary>
    const int EntriesMax = 500;

    public string Name => "list_files";

    public string Description =>
        $"Lists the files and folders below a path of the session's folder, with their sizes in bytes; at most {EntriesMax}. "
        + $"What the user uploaded to the conversation or its project is below {RunFiles.Folder}/.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","properties":{
          "path":{"type":"string","description":"A folder or file, relative to the session's folder, or absolute in another granted one. Default: all of the session's folder."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input) => PathArgument.SubjectOf(context, "list", input, defaultPath: ".");

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var path = ToolInput.Text(input, "path", required: false, out _) ?? ".";
        var uploaded = await uploads.Under(context, path, ct);
        if (uploaded.Count > 0 && !RunFiles.IsInFolder(context, path))
        {
            // The policy judges the path as it judged the call.
            return policy.Reevaluate(Name, SubjectOf(context, input), context.Granted) ?? ToolOutcome.Ok(List(uploaded, EntriesMax));
        }
        if (PathArgument.Open(context, "list", Name, input, ".", policy, out var found) is { } error)
        {
            return error;
        }
        using (found)
        {
            return ToolOutcome.Ok(
                !found.IsDirectory ? Line(found.Shown, found.Size)
                : uploaded.Count == 0 ? List(context.Grants, found, ct)
                : $"{List(context.Grants, found, ct)}\n{List(uploaded, EntriesMax)}");
        }
    }

    /// <summary>A line for each uploaded file that the policy lets be read.</summary>
    string List(IReadOnlyList<RunFile> uploaded, int max)
    {
        var shown = uploaded.Where(file => policy.MayShow(file.Path)).ToList();
        var text = new StringBuilder();
        foreach (var file in shown.Take(max))
        {
            var why = file.File.WhyNoText is { } reason ? $"; no text: {reason}" : "";
            text.AppendLine(CultureInfo.InvariantCulture, $"{file.Shown} (uploaded, {file.File.Bytes} bytes{why})");
        }
        if (shown.Count > max)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"[Cut at {max} uploaded files: search_files finds places in the others.]");
        }
        if (shown.Count < uploaded.Count)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"[{uploaded.Count - shown.Count} uploaded files are kept back by policy.]");
        }
        return text.ToString().TrimEnd();
    }

    string List(Grants grants, GrantedPath.Found folder, CancellationToken ct)
    {
        var walk = FolderWalk.Run(grants, folder, policy, new WalkBounds(Entries: EntriesMax), ct);
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
        if (folder.Name == "." && !grants.IsImplicit)
        {
            foreach (var grant in grants)
            {
                text.AppendLine($"[Granted: {grant.Shown}.]");
            }
        }
        return text.ToString().TrimEnd();
    }

    static string Line(string path, long size) => string.Create(CultureInfo.InvariantCulture, $"{path} ({size} bytes)");
}
