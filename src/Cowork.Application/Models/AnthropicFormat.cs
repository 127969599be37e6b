using System.Text;
using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>Anthropic's Messages API.</summary>
sealed class AnthropicFormat : IWireFormat
{
    const string Version = "2023-06-01";

    /// <summary>The format requires a limit. This one suffices for an agent's answers, and every current model accepts it.</summary>
    const int DefaultMaxTokens = 8_192;

    public int? DefaultOutputTokens => DefaultMaxTokens;

    public Uri DefaultBaseUrl { get; } = new("https://api.anthropic.com");

    public Uri Endpoint(Uri baseUrl)
    {
        var path = baseUrl.GetLeftPart(UriPartial.Path).TrimEnd('/');
        return new($"{path}{(path.EndsWith("/v1", StringComparison.Ordinal) ? "" : "/v1")}/messages{baseUrl.Query}");
    }

    public void Authorize(HttpRequestMessage request, string? key)
    {
        request.Headers.TryAddWithoutValidation("anthropic-version", Version);
        if (key is not null)
        {
            request.Headers.TryAddWithoutValidation("x-api-key", key);
        }
    }

    public void WriteRequest(Utf8JsonWriter json, ModelSettings settings, WirePrompt prompt)
    {
        var configured = WireJson.BeginRequest(json, settings, "system");
        if (!configured.Contains("max_tokens"))
        {
            json.WriteNumber("max_tokens", settings.MaxOutputTokens ?? DefaultMaxTokens);
        }
        if (prompt.System.Length > 0)
        {
            json.WriteString("system", prompt.System);
        }
        json.WriteStartArray("messages");
        WriteMessages(json, prompt);
        json.WriteEndArray();
        WireJson.WriteTools(json, prompt.Tools, tool =>
        {
            json.WriteString("name", prompt.WireName(tool.Name));
            json.WriteString("description", tool.Description);
            json.WritePropertyName("input_schema");
            tool.JsonSchema.WriteTo(json);
        });
        json.WriteEndObject();
    }

    public WireAnswer NewAnswer() => new Answer();

    /// <summary>User and assistant messages alternate, so adjacent messages of one role become one. Tool results belong to the user.</summary>
    static void WriteMessages(Utf8JsonWriter json, WirePrompt prompt)
    {
        string? open = null;
        foreach (var message in prompt.Messages)
        {
            var role = message.Role == ChatRole.Assistant ? "assistant" : "user";
            if (open != role)
            {
                if (open is not null)
                {
                    json.WriteEndArray();
                    json.WriteEndObject();
                }
                json.WriteStartObject();
                json.WriteString("role", role);
                json.WriteStartArray("content");
                open = role;
            }
            if (message.Role == ChatRole.Assistant)
            {
                WriteAssistant(json, message, prompt);
            }
            else
            {
                foreach (var content in message.Contents)
                {
                    WriteContent(json, content, prompt);
                }
            }
        }
        if (open is not null)
        {
            json.WriteEndArray();
            json.WriteEndObject();
        }
    }

    /// <summary>The blocks as the model wrote them: the provider checks that thinking stands where it stood.</summary>
    static void WriteAssistant(Utf8JsonWriter json, ChatMessage message, WirePrompt prompt)
    {
        var text = message.Text;
        var calls = message.Contents.OfType<FunctionCallContent>().ToList();
        var (textDone, callsDone) = (0, 0);
        foreach (var thinking in Reasoning.Of(message, ModelSettings.Anthropic).Member("blocks").Items())
        {
            WriteUpTo((int)Math.Min(thinking.Member("text_before").TokenCount() ?? 0, text.Length), (int)Math.Min(thinking.Member("calls_before").TokenCount() ?? 0, calls.Count));
            json.WriteRawValue(thinking.Member("block").GetRawText());
        }
        WriteUpTo(text.Length, calls.Count);

        void WriteUpTo(int textEnd, int callsEnd)
        {
            if (textEnd > 0 && textEnd < text.Length && char.IsLowSurrogate(text[textEnd]) && char.IsHighSurrogate(text[textEnd - 1]))
            {
                textEnd++;
            }
            if (textEnd > textDone)
            {
                WriteContent(json, new TextContent(text[textDone..textEnd]), prompt);
                textDone = textEnd;
            }
            for (; callsDone < callsEnd; callsDone++)
            {
                WriteContent(json, calls[callsDone], prompt);
            }
        }
    }

    /// <summary>Writes a block. The provider refuses text without a visible character, so that such a text is left out.</summary>
    static void WriteContent(Utf8JsonWriter json, AIContent content, WirePrompt prompt)
    {
        switch (content)
        {
            case TextContent text when !string.IsNullOrWhiteSpace(text.Text):
                json.WriteStartObject();
                json.WriteString("type", "text");
                json.WriteString("text", text.Text);
                json.WriteEndObject();
                break;
            case FunctionCallContent call:
                json.WriteStartObject();
                json.WriteString("type", "tool_use");
                json.WriteString("id", call.CallId);
                json.WriteString("name", prompt.WireName(call.Name));
                json.WritePropertyName("input");
                json.WriteRawValue(WireJson.ArgumentsObject(call));
                json.WriteEndObject();
                break;
            case FunctionResultContent result:
                json.WriteStartObject();
                json.WriteString("type", "tool_result");
                json.WriteString("tool_use_id", result.CallId);
                json.WriteString("content", WirePrompt.ResultText(result));
                json.WriteEndObject();
                break;
        }
    }

    sealed class Answer : WireAnswer
    {
        /// <summary>More blocks of thinking than any model makes in one answer; a provider that sends more is broken.</summary>
        const int BlocksMax = 1_000;

        readonly StringBuilder text = new();
        readonly List<ThinkingBlock> thinking = [];
        int measured;
        int measuredLength;
        long input;
        long cacheWrites;
        long cacheReads;

        public override WirePiece Read(string eventType, string data)
        {
            if (IsDoneMark(data))
            {
                // Not of this format, and sent by gateways all the same.
                IsDone = true;
                return default;
            }
            var e = Parse(data);
            var type = e.Member("type").Text() ?? eventType;
            if (type == "error" || IsGiven(e.Member("error")))
            {
                throw ProviderError.Of(e).ToException();
            }
            var piece = type switch
            {
                "content_block_start" => ReadBlockStart(Index(e), e.Member("content_block")),
                "content_block_delta" => ReadDelta(Index(e), e.Member("delta")),
                _ => default,
            };
            switch (type)
            {
                case "message_start":
                    var message = e.Member("message");
                    ModelId ??= message.Member("model").Text();
                    // The output that is counted here is a beginning; it stands until the end tells the whole.
                    ReadUsage(message.Member("usage"));
                    break;
                case "message":
                    // A server that does not stream sends all at once.
                    ModelId ??= e.Member("model").Text();
                    ReadUsage(e.Member("usage"));
                    IsOutputWhole |= e.Member("usage").Member("output_tokens").TokenCount() is > 0;
                    piece = ReadBlocks(e.Member("content"));
                    SetEnd(e.Member("stop_reason").Text());
                    return piece;
                case "message_delta":
                    ReadUsage(e.Member("usage"));
                    IsOutputWhole |= e.Member("usage").Member("output_tokens").TokenCount() is > 0;
                    SetEnd(e.Member("delta").Member("stop_reason").Text());
                    break;
                case "message_stop":
                    IsDone = true;
                    break;
            }
            text.Append(piece.Text);
            AddContent(piece.Text);
            AddContent(piece.Thinking);
            return piece;
        }

        protected override string? WriteReasoning()
        {
            if (thinking.Count == 0)
            {
                return null;
            }
            var json = new StringBuilder("""{"format":"anthropic","blocks":[""");
            for (var i = 0; i < thinking.Count; i++)
            {
                json.Append(i > 0 ? "," : "").Append("""{"block":""");
                thinking[i].Block.Write(json);
                json.Append($$""","calls_before":{{thinking[i].CallsBefore}},"text_before":{{thinking[i].TextBefore}}}""");
            }
            return json.Append("]}").ToString();
        }

        WirePiece ReadBlocks(JsonElement content)
        {
            var (said, thought) = (new StringBuilder(), new StringBuilder());
            foreach (var (index, block) in content.Items().Index())
            {
                var piece = ReadBlockStart(index, block);
                text.Append(piece.Text);
                said.Append(piece.Text);
                thought.Append(piece.Thinking);
                AddContent(piece.Text);
                AddContent(piece.Thinking);
            }
            return new(said.ToString(), thought.ToString());
        }

        static long Index(JsonElement e) => e.Member("index").TokenCount() ?? 0;

        WirePiece ReadBlockStart(long index, JsonElement block)
        {
            switch (block.Member("type").Text())
            {
                case "text":
                    return new(block.Member("text").Text());
                case "tool_use":
                    var id = block.Member("id").Text();
                    var call = FindCall(index) is { } begun && begun.Id == id ? begun : AddCall(index);
                    call.Id = id;
                    call.Name = block.Member("name").Text() ?? "";
                    call.DefaultArguments = block.Member("input").TextOrJson() ?? "{}";
                    AddContent(call.Name);
                    return default;
                case "thinking" or "redacted_thinking":
                    if (thinking.Count == BlocksMax)
                    {
                        throw new ModelException(ModelException.Failed, $"The model's answer has more than {BlocksMax} blocks of thinking.");
                    }
                    var thought = new ThinkingBlock(index, LengthOfText(), Calls.Count, Budget);
                    thought.Block.Add(block);
                    thinking.Add(thought);
                    AddContent(block.Member("data").Text());
                    return new(null, block.Member("thinking").Text());
                default:
                    return default;
            }
        }

        /// <summary>
        /// Characters of the text as it is recorded, in which the halves of broken surrogate pairs are escaped. What was measured once is not measured again; a half at
        /// the end may still become a whole.
        /// </summary>
        int LengthOfText()
        {
            var hasHalf = text.Length > 0 && char.IsHighSurrogate(text[^1]);
            var end = text.Length - (hasHalf ? 1 : 0);
            measuredLength += StorableText.Escape(text.ToString(measured, end - measured)).Length;
            measured = end;
            return measuredLength + (hasHalf ? StorableText.Escape(text[^1].ToString()).Length : 0);
        }

        WirePiece ReadDelta(long index, JsonElement delta)
        {
            switch (delta.Member("type").Text())
            {
                case "text_delta":
                    return new(delta.Member("text").Text());
                case "input_json_delta":
                    var arguments = delta.Member("partial_json").Text();
                    FindCall(index)?.Append(arguments);
                    AddContent(arguments);
                    return default;
                case "thinking_delta" when delta.Member("thinking").Text() is { } piece:
                    FindThinking(index)?.Block.Append("thinking", piece);
                    return new(null, piece);
                case "signature_delta" when delta.Member("signature").Text() is { } signature:
                    if (FindThinking(index) is { } signed && !signed.Block.Is("signature", signature))
                    {
                        signed.Block.Append("signature", signature);
                    }
                    AddContent(signature);
                    return default;
                default:
                    return default;
            }
        }

        WireCall? FindCall(long index) => Calls.FindLast(c => c.Index == index);

        ThinkingBlock? FindThinking(long index) => thinking.FindLast(t => t.Index == index);

        /// <summary>
        /// Usage may come twice, the second time complete, or with zeros for what was said before. Tokens written to and read from the cache are not part of the
        /// input count.
        /// </summary>
        void ReadUsage(JsonElement usage)
        {
            var (given, writes, reads) = (
                usage.Member("input_tokens").TokenCount(), usage.Member("cache_creation_input_tokens").TokenCount(), usage.Member("cache_read_input_tokens").TokenCount());
            if (given > 0 || writes > 0 || reads > 0)
            {
                (input, cacheWrites, cacheReads) = (Later(given, input), Later(writes, cacheWrites), Later(reads, cacheReads));
                (InputTokens, CachedTokens) = (input + cacheWrites + cacheReads, cacheReads);
            }
            OutputTokens = usage.Member("output_tokens").TokenCount() is > 0 and var output ? output : OutputTokens;

            static long Later(long? said, long before) => said is > 0 and var count ? count : before;
        }
    }

    /// <param name="TextBefore">Characters of the answer's text before the block.</param>
    /// <param name="CallsBefore">Tool calls before it.</param>
    sealed record ThinkingBlock(long Index, int TextBefore, int CallsBefore, OpaqueBudget Budget)
    {
        public OpaqueJson Block { get; } = new(Budget);
    }
}
