using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>delete_file {path}</c>: removes one file.</summary>
public sealed class DeleteFile(Policy policy) : ITool
{
    public string Name => "delete_file";

    public string Description => "Deletes one file of the session's folder; no folders.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """{"type":"object","required":["path"],"properties":{"path":{"type":"string","description":"The file, relative to the session's folder."}}}""");

    public CallSubject Subject(ToolContext context, JsonElement input) => PathArgument.Change(context, "delete", input, "path");

    public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var path = ToolInput.Text(input, "path", required: true, out var wrong);
        return Task.FromResult(wrong is null ? Delete(context, path!) : ToolOutcome.Error(wrong));
    }

    ToolOutcome Delete(ToolContext context, string path)
    {
        var gone = "";
        var (entry, error) = PathArgument.OpenEntry(
            context, Name, path, make: false, policy,
            e =>
            {
                gone = context.Attempt > 1 && !e.Exists ? e.Relative : "";
                return PathArgument.Change("delete", e);
            });
        using (entry)
        {
            // What an earlier attempt has deleted is deleted.
            return gone.Length > 0 ? ToolOutcome.Ok($"Deleted {gone}.")
                : entry is null ? error!
                : entry.Remove() is { } failed ? ToolOutcome.Error($"{entry.Relative} was not deleted. {failed}")
                : ToolOutcome.Ok($"Deleted {entry.Relative}.");
        }
    }
}
