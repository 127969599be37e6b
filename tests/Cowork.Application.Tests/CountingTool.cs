using System.Text.Json;

namespace Cowork.Application.Tests;

/// <summary>A tool with an effect on the world outside: it counts its calls by idempotency token, as a service that honours the token would see them.</summary>
sealed class CountingTool : ITool
{
    public string Name => "read_file";

    public string Description => "Counts.";

    public JsonElement Schema { get; } = JsonDocument.Parse("""{"type":"object"}""").RootElement;

    public List<(string Token, int Attempt)> Calls { get; } = [];

    /// <summary>Done before anything is answered.</summary>
    public Action Before { get; set; } = () => { };

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(new CallSubject("read", "x"));

    public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        Before();
        Calls.Add((context.IdempotencyToken, context.Attempt));
        return Task.FromResult(new ToolOutcome($"result of {input.GetRawText()}", IsError: false));
    }
}
