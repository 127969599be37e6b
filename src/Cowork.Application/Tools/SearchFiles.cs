using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>search_files {query, limit?}</c>: the places in the session's text files that speak of something.</summary>
public sealed class SearchFiles(SessionFiles files) : ITool
{
    const int LimitDefault = 10;
    const int LimitMax = 50;

    /// <summary>Characters of one passage that are shown.</summary>
    const int PassageChars = 600;

    public string Name => "search_files";

    public string Description => "Finds passages and table rows in the session's text files by full-text rank, best first, each with its file and lines.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["query"],"properties":{
          "query":{"type":"string","description":"Words to look for."},
          "limit":{"type":"integer","minimum":1,"maximum":50,"description":"How many places, 10 by default."}}}
        """);

    public CallSubject Subject(ToolContext context, JsonElement input)
    {
        Arguments(input, out var error);
        return new("search", ".", Invalid: error);
    }

    public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var (query, limit) = Arguments(input, out var error);
        if (error is not null)
        {
            return Task.FromResult(ToolOutcome.Error(error));
        }
        var read = files.Read(context.Workspace, ct);
        var found = TextSearch.Find(read.Texts, query!, limit, ct);
        var text = new StringBuilder();
        foreach (var hit in found.Hits)
        {
            text.AppendLine($"{hit.Passage.Place}: {FileText.Cut(FileText.OneLine(hit.Passage.Text), PassageChars)}");
        }
        if (found.Hits.Count == 0)
        {
            text.AppendLine($"Nothing found in {read.Texts.Count} text files.");
        }
        foreach (var note in read.Notes)
        {
            text.AppendLine($"[{note}]");
        }
        return Task.FromResult(ToolOutcome.Ok(text.ToString().TrimEnd()));
    }

    static (string? Query, int Limit) Arguments(JsonElement input, out string? error)
    {
        var query = ToolInput.Text(input, "query", required: true, out error);
        var limit = ToolInput.Number(input, "limit", LimitDefault, 1, LimitMax, out var wrongLimit);
        error ??= wrongLimit;
        return (query, (int)limit);
    }
}
