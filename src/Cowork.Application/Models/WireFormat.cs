using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>A provider's request and response format over HTTP.</summary>
interface IWireFormat
{
    /// <summary>The base address when none is configured.</summary>
    Uri DefaultBaseUrl { get; }

    /// <summary>The address of requests below a base address.</summary>
    Uri Endpoint(Uri baseUrl);

    void Authorize(HttpRequestMessage request, string? key);

    void WriteRequest(Utf8JsonWriter json, ModelSettings settings, IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools);

    WireAnswer NewAnswer();
}

/// <summary>One streamed answer, built event by event.</summary>
abstract class WireAnswer
{
    /// <summary>More tool calls than any model makes in one answer; a provider that sends more is broken.</summary>
    const int CallsMax = 1_000;

    readonly List<WireCall> calls = [];

    /// <summary>The provider has marked the answer's end; later events are not read.</summary>
    public bool IsDone { get; protected set; }

    /// <summary>The answer would be complete if the stream ended here.</summary>
    public bool IsComplete => IsDone || FinishReason is not null;

    public string? ModelId { get; protected set; }

    protected ChatFinishReason? FinishReason { get; set; }

    protected long? InputTokens { get; set; }

    protected long? OutputTokens { get; set; }

    protected long? CachedTokens { get; set; }

    /// <summary>Reads one event of the stream and answers its text; null: it has none.</summary>
    /// <exception cref="ModelException">The provider reports an error.</exception>
    /// <exception cref="JsonException">The event is not of the format.</exception>
    public abstract string? Read(string eventType, string data);

    /// <summary>The last update of the answer: its tool calls, usage and finish reason.</summary>
    public ChatResponseUpdate ToUpdate()
    {
        var contents = calls.Select(AIContent (c) => CallArguments.Call(c.Id ?? "", c.Name, c.Arguments)).ToList();
        if (InputTokens is not null || OutputTokens is not null)
        {
            contents.Add(new UsageContent(new()
            {
                InputTokenCount = InputTokens ?? 0,
                OutputTokenCount = OutputTokens ?? 0,
                CachedInputTokenCount = CachedTokens,
            }));
        }
        return new(ChatRole.Assistant, contents) { ModelId = ModelId, FinishReason = FinishReason ?? ChatFinishReason.Stop };
    }

    /// <summary>The call of this index, added if it is new.</summary>
    protected WireCall GetOrAddCall(long? index)
    {
        if (index is { } given && FindCall(given) is { } call)
        {
            return call;
        }
        if (calls.Count == CallsMax)
        {
            throw new ModelException(ModelException.Failed, $"The model asked for more than {CallsMax} tool calls at once.");
        }
        calls.Add(new() { Index = index ?? long.MinValue + calls.Count });
        return calls[^1];
    }

    protected WireCall? FindCall(long index) => calls.Find(c => c.Index == index);

    /// <summary>The latest call, added if there is none.</summary>
    protected WireCall LastOrNewCall() => calls.Count > 0 ? calls[^1] : GetOrAddCall(null);

    protected static JsonElement Parse(string data)
    {
        var json = JsonElement.Parse(data);
        return json.ValueKind == JsonValueKind.Object ? json : throw new JsonException("An event of the stream is not an object.");
    }
}

/// <summary>A tool call of a streamed answer, built piece by piece.</summary>
sealed class WireCall
{
    readonly System.Text.StringBuilder arguments = new();

    public required long Index { get; init; }

    public string? Id { get; set; }

    public string Name { get; set; } = "";

    /// <summary>The arguments as the model wrote them, which may not be valid JSON.</summary>
    public string Arguments => arguments.Length > 0 ? arguments.ToString() : DefaultArguments;

    /// <summary>The arguments of a call that gets no pieces of them.</summary>
    public string DefaultArguments { get; set; } = "";

    public void Append(string? piece) => arguments.Append(piece);
}
