using System.Text;
using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>A provider's request and response format over HTTP.</summary>
interface IWireFormat
{
    /// <summary>The base address when none is configured.</summary>
    Uri DefaultBaseUrl { get; }

    /// <summary>The limit that a request has when none is configured; null: it has none, and the provider's own holds.</summary>
    int? DefaultOutputTokens { get; }

    /// <summary>The address of requests below a base address.</summary>
    Uri Endpoint(Uri baseUrl);

    void Authorize(HttpRequestMessage request, string? key);

    void WriteRequest(Utf8JsonWriter json, ModelSettings settings, WirePrompt prompt);

    WireAnswer NewAnswer();
}

/// <summary>What one event of a stream adds to what readers see.</summary>
readonly record struct WirePiece(string? Text, string? Thinking = null);

/// <summary>One streamed answer, built event by event.</summary>
abstract class WireAnswer
{
    /// <summary>More tool calls than any model makes in one answer; a provider that sends more is broken.</summary>
    const int CallsMax = 1_000;

    /// <summary>
    /// More text, thinking and arguments than any model answers: a million tokens are about four of these. What a provider sends is kept in memory, and then in the log.
    /// </summary>
    const int ContentBytesMax = 8 * 1024 * 1024;

    /// <summary>More values than an event of any provider has. With this the work on one event is bounded, whatever is in it.</summary>
    const int TokensMax = 100_000;

    long answeredBytes;

    /// <summary>The provider has marked the answer's end; later events are not read.</summary>
    public bool IsDone { get; protected set; }

    /// <summary>The provider said how the answer ended, so that it would be complete if the stream ended here.</summary>
    public bool IsComplete => FinishReason is not null;

    public string? ModelId { get; protected set; }

    /// <summary>Number of events that brought a part of the answer. Heartbeats, pings and empty pieces bring none.</summary>
    public long Contents { get; private set; }

    protected ChatFinishReason? FinishReason { get; private set; }

    protected List<WireCall> Calls { get; } = [];

    /// <summary>For all that is kept of the answer and only its provider understands.</summary>
    protected OpaqueBudget Budget { get; } = new();

    protected long? InputTokens { get; set; }

    protected long? OutputTokens { get; set; }

    protected long? CachedTokens { get; set; }

    /// <summary>Input and output in one count.</summary>
    protected long? TotalTokens { get; set; }

    /// <summary>False: the output that the provider counted is only the beginning of the answer.</summary>
    protected bool IsOutputWhole { get; set; }

    /// <summary>What the provider has said so far that the answer uses; null: nothing.</summary>
    public UsageDetails? Reported => (InputTokens ?? 0) + (OutputTokens ?? 0) == 0 ? null : NewUsage(InputTokens ?? 0, OutputTokens ?? 0);

    /// <summary>Reads one event of the stream.</summary>
    /// <exception cref="ModelException">The provider reports an error.</exception>
    /// <exception cref="JsonException">The event is not of the format.</exception>
    public abstract WirePiece Read(string eventType, string data);

    /// <summary>Throws when the provider broke the answer off: an answer counts when the provider said how it ended and that was a good end.</summary>
    /// <exception cref="ModelException">The provider gave no end, or a bad one.</exception>
    public void RequireEnd()
    {
        if (FinishReason is not { } reason)
        {
            throw new ModelException(ModelException.Failed, "The model's answer ended before it was complete.");
        }
        if (AnswerEnd.IsFailure(reason.Value))
        {
            throw new ModelException(ModelException.Failed, $"The model broke off its answer: {reason.Value}");
        }
        if (reason == ChatFinishReason.ToolCalls && Calls.Count == 0 && answeredBytes == 0)
        {
            throw new ModelException(ModelException.Failed, "The model's answer ended with tool calls and holds none.");
        }
    }

    /// <summary>The last update of the answer: its tool calls, reasoning, usage and finish reason.</summary>
    /// <param name="requestBytes">Length of the request, from which input tokens are estimated that the provider did not report.</param>
    public ChatResponseUpdate ToUpdate(WirePrompt prompt, long requestBytes)
    {
        var contents = Calls.Select(AIContent (c) => CallArguments.Call(c.Id ?? "", prompt.ToolName(c.Name), c.Arguments)).ToList();
        if (WriteReasoning() is { } reasoning)
        {
            contents.Add(Reasoning.Content(reasoning));
        }
        contents.Add(new UsageContent(Usage(requestBytes)));
        return new(ChatRole.Assistant, contents) { ModelId = ModelId, FinishReason = FinishReason };
    }

    /// <summary>What the provider wants back with the next request, as JSON; null: nothing.</summary>
    protected abstract string? WriteReasoning();

    /// <summary>Notes how the answer ended. A later end counts unless it is a better one: gateways add a good end of their own to answers that broke off.</summary>
    protected void SetEnd(string? reason)
    {
        if (AnswerEnd.Of(reason) is { } end && (FinishReason is not { } known || AnswerEnd.Badness(end.Value) >= AnswerEnd.Badness(known.Value)))
        {
            FinishReason = end;
        }
    }

    /// <summary>Notes that a part of the answer came.</summary>
    protected void AddContent(string? part)
    {
        if (part is { Length: > 0 })
        {
            MarkContent();
            answeredBytes += TokenEstimate.BytesOf(part);
            if (answeredBytes > ContentBytesMax)
            {
                throw new ModelException(ModelException.Failed, $"The model's answer says more than {ContentBytesMax} bytes.");
            }
        }
    }

    /// <summary>Notes that a part of the answer came that is no text.</summary>
    protected void MarkContent() => Contents++;

    protected WireCall AddCall(long index)
    {
        if (Calls.Count == CallsMax)
        {
            throw new ModelException(ModelException.Failed, $"The model asked for more than {CallsMax} tool calls at once.");
        }
        Calls.Add(new(Budget) { Index = index });
        return Calls[^1];
    }

    protected static bool IsDoneMark(string data) => data.AsSpan().Trim() is "[DONE]";

    /// <summary>The member is there and says something: not null, false, 0 or empty.</summary>
    protected static bool IsGiven(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.Undefined or JsonValueKind.Null or JsonValueKind.False => false,
        JsonValueKind.Object => json.EnumerateObject().Any(),
        JsonValueKind.Array => json.GetArrayLength() > 0,
        JsonValueKind.Number => json.GetRawText() != "0",
        _ => json.Text() is not "",
    };

    protected static JsonElement Parse(string data)
    {
        // A value takes two characters at least.
        if (data.Length > 2 * TokensMax && CountTokens(data) > TokensMax)
        {
            throw new ModelException(ModelException.Failed, $"An event of the model's answer has more than {TokensMax} values.");
        }
        var json = JsonElement.Parse(data);
        return json.ValueKind == JsonValueKind.Object ? json : throw new JsonException("An event of the stream is not an object.");
    }

    /// <summary>Names, values and brackets of a JSON text, counted a little further than the limit.</summary>
    static int CountTokens(string data)
    {
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(data));
        var tokens = 0;
        while (tokens <= TokensMax && reader.Read())
        {
            tokens++;
        }
        return tokens;
    }

    UsageDetails Usage(long requestBytes)
    {
        var isInputKnown = InputTokens > 0;
        var isOutputKnown = (OutputTokens > 0 && IsOutputWhole) || answeredBytes == 0;
        var output = isOutputKnown ? OutputTokens ?? 0 : TokenEstimate.Of(answeredBytes);
        var usage = NewUsage(isInputKnown ? InputTokens!.Value : TotalTokens is { } total ? Math.Max(0, total - output) : TokenEstimate.Of(requestBytes), output);
        if (!isInputKnown || !isOutputKnown)
        {
            TokenEstimate.SetEstimated(usage);
        }
        return usage;
    }

    UsageDetails NewUsage(long input, long output) => new() { InputTokenCount = input, OutputTokenCount = output, CachedInputTokenCount = CachedTokens };
}

/// <summary>A tool call of a streamed answer, built piece by piece.</summary>
sealed class WireCall(OpaqueBudget budget)
{
    /// <summary>Ids of a call's pieces that are remembered. Models send one, and some servers one with each piece.</summary>
    const int IdsMax = 1_000;

    readonly StringBuilder arguments = new();
    readonly HashSet<string> ids = new(StringComparer.Ordinal);
    ObjectEnd end;
    bool? isWhole;

    public required long Index { get; init; }

    public string? Id { get; set; }

    /// <summary>One of its pieces had the id: some servers give each piece another one.</summary>
    public bool HasId(string id) => ids.Contains(id);

    public void AddId(string id)
    {
        Id ??= id;
        if (ids.Count < IdsMax)
        {
            ids.Add(id);
        }
    }

    public string Name { get; set; } = "";

    /// <summary>The arguments as the model wrote them, which may not be valid JSON.</summary>
    public string Arguments => arguments.Length > 0 ? arguments.ToString() : DefaultArguments;

    /// <summary>The arguments of a call that gets no pieces of them.</summary>
    public string DefaultArguments { get; set; } = "";

    /// <summary>Members of the call that only its provider understands.</summary>
    public OpaqueJson Opaque { get; } = new(budget);

    public bool HasArguments => arguments.Length > 0;

    /// <summary>The arguments are a whole JSON object, to which nothing can be added.</summary>
    public bool IsWhole => end.IsReached && (isWhole ??= ToolInput.Read(arguments.ToString(), out _) is null);

    /// <summary>The arguments so far are this text.</summary>
    public bool Says(string? text) => arguments.Equals(text.AsSpan());

    public void Append(string? piece)
    {
        arguments.Append(piece);
        end.Read(piece);
    }

    /// <summary>
    /// Finds out, character by character, where the brackets of an object that comes in pieces are closed. Only then the text may be JSON, so that it is parsed once and
    /// not with each piece.
    /// </summary>
    struct ObjectEnd
    {
        int depth;
        bool hasBegun;
        bool isInText;
        bool isEscaped;
        bool isNone;

        /// <summary>The object has ended, and nothing but white space follows.</summary>
        public readonly bool IsReached => hasBegun && depth == 0 && !isNone;

        public void Read(ReadOnlySpan<char> piece)
        {
            foreach (var c in piece)
            {
                if (isNone)
                {
                    return;
                }
                if (isInText)
                {
                    isInText = isEscaped || c != '"';
                    isEscaped = !isEscaped && c == '\\';
                    continue;
                }
                switch (c)
                {
                    case ' ' or '\t' or '\r' or '\n':
                        break;
                    case '{' when !hasBegun:
                        (hasBegun, depth) = (true, 1);
                        break;
                    case var _ when depth == 0:
                        // Before the object, or behind it.
                        isNone = true;
                        break;
                    case '"':
                        isInText = true;
                        break;
                    case '{' or '[':
                        depth++;
                        break;
                    case '}' or ']':
                        depth--;
                        break;
                }
            }
        }
    }
}
