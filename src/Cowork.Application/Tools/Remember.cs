using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary><c>remember {content}</c>: stores a memory for later runs.</summary>
public sealed class Remember(IMemories memories) : ITool
{
    public string Name => "remember";

    public string Description => $"Keeps a fact for later turns and sessions, at most {Limits.MemoryCharsMax} characters.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """{"type":"object","required":["content"],"properties":{"content":{"type":"string","description":"What to keep, in words that make sense by themselves."}}}""");

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        Content(input, out var error);
        return new("remember", Invalid: error);
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var content = Content(input, out var error);
        return error is not null
            ? ToolOutcome.Error(error)
            : await memories.Remember(context, content!, ct) is { } memory
                ? ToolOutcome.Ok($"Remembered as {memory}.")
                : ToolOutcome.Error("The session's project was deleted.");
    }

    // A longer memory would never fit a prompt.
    internal static string? Content(JsonElement input, out string? error)
    {
        var content = ToolInput.Text(input, "content", required: true, out error);
        if (content?.Length > Limits.MemoryCharsMax)
        {
            error = $"The argument \"content\" is longer than {Limits.MemoryCharsMax} characters.";
        }
        return content;
    }
}
