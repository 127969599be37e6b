using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>delete_file {path}</c>: removes one file.</summary>
public sealed class DeleteFile(Policy policy) : ITool
{
    public string Name => "delete_file";

    public string Description => "Deletes one file of the session's folder; no folders.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["path"],"properties":{
          "path":{"type":"string","description":"The file, relative to the session's folder, or absolute in another granted one."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input) => PathArgument.ChangeSubject(context, "delete", input, "path");

    public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var path = ToolInput.Text(input, "path", required: true, out var error);
        return Task.FromResult(error is null ? Delete(context, path!) : ToolOutcome.Error(error));
    }

    ToolOutcome Delete(ToolContext context, string path)
    {
        var deletedBefore = "";
        var (entry, error) = PathArgument.OpenEntry(
            context, Name, path, makeFolders: false, policy,
            e =>
            {
                deletedBefore = context.Attempt > 1 && !e.Exists ? e.Shown : "";
                return PathArgument.ChangeSubject("delete", e);
            });
        using (entry)
        {
            // An earlier attempt has deleted the file.
            return deletedBefore.Length > 0 ? ToolOutcome.Ok($"Deleted {deletedBefore}.")
                : entry is null ? error!
                : entry.Remove() is { } failed ? ToolOutcome.Error($"{entry.Shown} was not deleted. {failed}")
                : ToolOutcome.Ok($"Deleted {entry.Shown}.");
        }
    }
}
