using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>How a kind of provider is asked over HTTP, and how it answers.</summary>
interface IWireFormat
{
    /// <summary>Where requests go when nothing else is configured.</summary>
    Uri Home { get; }

    /// <summary>Of the one address that is asked.</summary>
    Uri Address(Uri baseUrl);

    void Authorize(HttpRequestMessage request, string? key);

    void WriteRequest(Utf8JsonWriter json, ModelSettings settings, IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools);

    WireAnswer Begin();
}

/// <summary>One answer as it comes in, event by event.</summary>
abstract class WireAnswer
{
    /// <summary>More than any model asks for in one go; a provider that sends more is broken.</summary>
    const int CallsMax = 1_000;

    readonly List<WireCall> calls = [];

    /// <summary>The answer is whole: what may still come is not needed.</summary>
    public bool IsDone { get; protected set; }

    /// <summary>Nothing that matters is missing, should the stream end here.</summary>
    public bool IsWhole => IsDone || FinishReason is not null;

    public string? ModelId { get; protected set; }

    protected ChatFinishReason? FinishReason { get; set; }

    protected long? InputTokens { get; set; }

    protected long? OutputTokens { get; set; }

    protected long? CachedTokens { get; set; }

    /// <summary>Takes one event of the stream; answers the piece of text that came with it, if any.</summary>
    /// <exception cref="ModelException">The provider says that it failed.</exception>
    /// <exception cref="JsonException">This is no event of the format.</exception>
    public abstract string? Take(string eventType, string data);

    /// <summary>What the whole answer asks for and says beside its text.</summary>
    public ChatResponseUpdate End()
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

    /// <summary>The call of this index, begun now when there was none.</summary>
    protected WireCall Call(long? index)
    {
        if (index is { } known && Begun(known) is { } begun)
        {
            return begun;
        }
        if (calls.Count == CallsMax)
        {
            throw new ModelException(ModelException.Failed, $"The model asked for more than {CallsMax} tool calls at once.");
        }
        calls.Add(new() { Index = index ?? long.MinValue + calls.Count });
        return calls[^1];
    }

    protected WireCall? Begun(long index) => calls.Find(c => c.Index == index);

    /// <summary>The call that was begun last, or a first one.</summary>
    protected WireCall LastCall() => calls.Count > 0 ? calls[^1] : Call(null);

    protected static JsonElement Parse(string data)
    {
        var json = JsonElement.Parse(data);
        return json.ValueKind == JsonValueKind.Object ? json : throw new JsonException("An event of the stream is no object.");
    }
}

/// <summary>A call as it comes in, piece by piece.</summary>
sealed class WireCall
{
    readonly System.Text.StringBuilder arguments = new();

    public required long Index { get; init; }

    public string? Id { get; set; }

    public string Name { get; set; } = "";

    /// <summary>As the model wrote them, broken or not.</summary>
    public string Arguments => arguments.Length > 0 ? arguments.ToString() : Otherwise;

    /// <summary>The arguments when no piece of them comes.</summary>
    public string Otherwise { get; set; } = "";

    public void Append(string? piece) => arguments.Append(piece);
}
