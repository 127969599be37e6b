using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>search_files {query, limit?}</c>: finds passages in the session's text files.</summary>
public sealed class SearchFiles(SessionFiles files) : ITool
{
    const int DefaultLimit = 10;
    const int MaxLimit = 50;

    /// <summary>Characters of a passage in the answer.</summary>
    const int PassageChars = 600;

    public string Name => "search_files";

    public string Description =>
        "Finds passages and table rows in the text files of the session's folders and in uploaded files by full-text rank, best first, each with its file and lines.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["query"],"properties":{
          "query":{"type":"string","description":"Words to look for."},
          "limit":{"type":"integer","minimum":1,"maximum":50,"description":"How many places, 10 by default."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        Arguments(input, out var error);
        return new("search", ".", Invalid: error);
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var (query, limit) = Arguments(input, out var error);
        if (error is not null)
        {
            return ToolOutcome.Error(error);
        }
        var found = await files.Search(new(context.Org, context.Session, context.Grants, context.Subject), query!, limit, ct);
        var text = new StringBuilder();
        foreach (var hit in found.Result.Hits)
        {
            text.AppendLine($"{hit.Passage.Location}: {FileText.Truncate(FileText.OneLine(hit.Passage.Text), PassageChars)}");
        }
        if (found.Result.Hits.Count == 0)
        {
            text.AppendLine($"Nothing found in {found.Files.Count} text files.");
        }
        foreach (var note in found.Notes)
        {
            text.AppendLine($"[{note}]");
        }
        return ToolOutcome.Ok(text.ToString().TrimEnd());
    }

    static (string? Query, int Limit) Arguments(JsonElement input, out string? error)
    {
        var query = ToolInput.Text(input, "query", required: true, out error);
        var limit = ToolInput.Number(input, "limit", DefaultLimit, 1, MaxLimit, out var limitError);
        error ??= limitError;
        return (query, (int)limit);
    }
}
