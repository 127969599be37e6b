using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary><c>recall {query}</c>: finds memories.</summary>
public sealed class Recall(IMemories memories) : ITool
{
    public string Name => "recall";

    public string Description => "Finds what was remembered in earlier turns and sessions: memories, session summaries and learnings, best first.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """{"type":"object","required":["query"],"properties":{"query":{"type":"string","description":"Words to look for."}}}""");

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        ToolInput.Text(input, "query", required: true, out var error);
        return new("recall", Invalid: error);
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var query = ToolInput.Text(input, "query", required: true, out var error);
        if (error is not null)
        {
            return ToolOutcome.Error(error);
        }
        var found = await memories.Recall(context, query!, Limits.MemoriesPerRunMax, ct);
        return ToolOutcome.Ok(found.Count == 0
            ? "Nothing is remembered about this."
            : string.Join('\n', found.Select(m => $"{m.From.Id} ({m.From.Kind}{Origin(m.From)}): {FileText.OneLine(m.Text)}")));
    }

    static string Origin(Provenance from) => from switch
    {
        { RunId: { } run, Event: { } e } => $"; {run}, event {e.Version}",
        { RunId: { } run } => $"; {run}",
        _ => "",
    };
}
