using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>OpenAI's chat completions, which vLLM, Ollama, LM Studio, llama.cpp and most other servers also speak.</summary>
sealed class OpenAiFormat : IWireFormat
{
    /// <summary>
    /// Members of an assistant message that a server wants back with the result of a tool call: DeepSeek's, Moonshot's and vLLM's thinking, OpenRouter's, LiteLLM's and
    /// Copilot's forms of it, and Gemini's signatures.
    /// </summary>
    static readonly string[] OpaqueMembers =
    [
        "reasoning_content", "reasoning", "reasoning_text", "reasoning_opaque", "reasoning_details", "reasoning_signature", "thinking_blocks", "thought_signature",
        "extra_content", "provider_specific_fields",
    ];

    /// <summary>Members of a tool call of that kind.</summary>
    static readonly string[] OpaqueCallMembers = ["extra_content", "provider_specific_fields", "thought_signature"];

    /// <summary>Members with readable thinking. A server that has two of them says the same in both.</summary>
    static readonly string[] ThinkingMembers = ["reasoning_content", "reasoning", "reasoning_text"];

    public int? DefaultOutputTokens => null;

    public Uri DefaultBaseUrl { get; } = new("https://api.openai.com/v1");

    public Uri Endpoint(Uri baseUrl) => new($"{baseUrl.GetLeftPart(UriPartial.Path).TrimEnd('/')}/chat/completions{baseUrl.Query}");

    public void Authorize(HttpRequestMessage request, string? key)
    {
        if (key is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    public void WriteRequest(Utf8JsonWriter json, ModelSettings settings, WirePrompt prompt)
    {
        var configured = WireJson.BeginRequest(json, settings);
        if (!configured.Contains("stream_options"))
        {
            json.WriteStartObject("stream_options");
            json.WriteBoolean("include_usage", true);
            json.WriteEndObject();
        }
        // OpenAI's newer models accept only the first name, other servers often only the second.
        var limit = settings.BaseUrl is null ? "max_completion_tokens" : "max_tokens";
        if (settings.MaxOutputTokens is { } max && !configured.Contains(limit))
        {
            json.WriteNumber(limit, max);
        }
        json.WriteStartArray("messages");
        if (prompt.System.Length > 0)
        {
            json.WriteStartObject();
            json.WriteString("role", "system");
            json.WriteString("content", prompt.System);
            json.WriteEndObject();
        }
        foreach (var message in prompt.Messages)
        {
            WriteMessage(json, message, prompt);
        }
        json.WriteEndArray();
        WireJson.WriteTools(json, prompt.Tools, tool =>
        {
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", prompt.WireName(tool.Name));
            json.WriteString("description", tool.Description);
            json.WritePropertyName("parameters");
            tool.JsonSchema.WriteTo(json);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    public WireAnswer NewAnswer() => new Answer();

    static void WriteMessage(Utf8JsonWriter json, ChatMessage message, WirePrompt prompt)
    {
        if (message.Role == ChatRole.Tool)
        {
            foreach (var result in message.Contents.OfType<FunctionResultContent>())
            {
                json.WriteStartObject();
                json.WriteString("role", "tool");
                json.WriteString("tool_call_id", result.CallId);
                json.WriteString("content", WirePrompt.ResultText(result));
                json.WriteEndObject();
            }
            return;
        }
        json.WriteStartObject();
        json.WriteString("role", message.Role.Value);
        var reasoning = Reasoning.Of(message, ModelSettings.OpenAi);
        WriteContent(json, message, reasoning.Member("message").Member("content"));
        WireJson.WriteMembers(json, reasoning.Member("message"), except: "content");
        WriteCalls(json, [.. message.Contents.OfType<FunctionCallContent>()], [.. reasoning.Member("calls").Items()], prompt);
        json.WriteEndObject();
    }

    static void WriteContent(Utf8JsonWriter json, ChatMessage message, JsonElement thinkingParts)
    {
        if (thinkingParts.ValueKind == JsonValueKind.Array)
        {
            json.WriteStartArray("content");
            foreach (var part in thinkingParts.EnumerateArray())
            {
                json.WriteRawValue(part.GetRawText());
            }
            if (message.Text.Length > 0)
            {
                json.WriteStartObject();
                json.WriteString("type", "text");
                json.WriteString("text", message.Text);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        else if (message.Text.Length == 0 && message.Contents.Any(c => c is FunctionCallContent))
        {
            json.WriteNull("content");
        }
        else
        {
            json.WriteString("content", message.Text);
        }
    }

    static void WriteCalls(Utf8JsonWriter json, List<FunctionCallContent> calls, List<JsonElement> opaque, WirePrompt prompt)
    {
        if (calls.Count == 0)
        {
            return;
        }
        json.WriteStartArray("tool_calls");
        for (var i = 0; i < calls.Count; i++)
        {
            json.WriteStartObject();
            json.WriteString("id", calls[i].CallId);
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", prompt.WireName(calls[i].Name));
            json.WriteString("arguments", WireJson.ArgumentsObject(calls[i]));
            json.WriteEndObject();
            if (i < opaque.Count)
            {
                WireJson.WriteMembers(json, opaque[i]);
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    sealed class Answer : WireAnswer
    {
        readonly OpaqueJson opaque;
        bool isRefusal;
        bool hasText;
        bool hasCalls;

        public Answer() => opaque = new(Budget);

        public override WirePiece Read(string eventType, string data)
        {
            if (IsDoneMark(data))
            {
                IsDone = true;
                return default;
            }
            var chunk = Parse(data);
            if (IsError(eventType, chunk))
            {
                throw ProviderError.Of(chunk).ToException();
            }
            ModelId ??= chunk.Member("model").Text();
            ReadUsage(chunk.Member("usage"));
            ReadUsage(chunk.Member("x_groq").Member("usage"));
            var (text, thinking) = (new StringBuilder(), new StringBuilder());
            foreach (var choice in chunk.Member("choices").Items())
            {
                if (choice.Member("index").TokenCount() is null or 0)
                {
                    ReadUsage(choice.Member("usage"));
                    var piece = ReadPiece(choice);
                    text.Append(piece.Text);
                    thinking.Append(piece.Thinking);
                    SetEnd(choice.Member("finish_reason").Text());
                    if (isRefusal && FinishReason == ChatFinishReason.Stop)
                    {
                        SetEnd("refusal");
                    }
                }
            }
            return new(text.ToString(), thinking.ToString());
        }

        protected override string? WriteReasoning()
        {
            // With calls, an empty text counts as well: a server that wants its thinking back wants to see that there was none.
            if (!opaque.HasValue && Calls.TrueForAll(c => !c.Opaque.HasValue) && (opaque.IsAbsent || Calls.Count == 0))
            {
                return null;
            }
            var json = new StringBuilder("""{"format":"openai","message":""");
            if (opaque.IsAbsent)
            {
                json.Append("{}");
            }
            else
            {
                opaque.Write(json);
            }
            if (Calls.Exists(c => c.Opaque.HasValue))
            {
                json.Append(""","calls":[""").AppendJoin(',', Calls.Select(c => c.Opaque.ToString())).Append(']');
            }
            return json.Append('}').ToString();
        }

        /// <summary>Servers write an error in the middle of a stream as an event of its own, as a member of a chunk, or in place of one.</summary>
        static bool IsError(string eventType, JsonElement chunk) =>
            eventType == "error" || chunk.Member("object").Text() == "error" || chunk.Member("type").Text() == "error"
            || IsGiven(chunk.Member("error")) || IsGiven(chunk.Member("errors")) || IsCode(chunk.Member("error_code"))
            || IsCode(chunk.Member("base_resp").Member("status_code")) || chunk.Member("choices").Items().Any(choice => IsGiven(choice.Member("error")))
            || (chunk.Member("choices").ValueKind == JsonValueKind.Undefined && chunk.Member("usage").ValueKind == JsonValueKind.Undefined
                && (IsGiven(chunk.Member("detail")) || (IsGiven(chunk.Member("message")) && (IsGiven(chunk.Member("code")) || IsGiven(chunk.Member("type"))))));

        /// <summary>Baidu's and MiniMax's codes; 0 stands for success.</summary>
        static bool IsCode(JsonElement json) => json.ValueKind == JsonValueKind.Number && IsGiven(json);

        /// <summary>A server that sends usage with every chunk sends the total so far. A count of 0 says nothing.</summary>
        void ReadUsage(JsonElement usage)
        {
            if (usage.ValueKind != JsonValueKind.Object)
            {
                return;
            }
            var input = Count(usage, "prompt_tokens", "input_tokens");
            var output = Count(usage, "completion_tokens", "output_tokens");
            var total = Count(usage, "total_tokens");
            if (output is not null && total > input + output)
            {
                // Gemini and Grok count thinking in the total alone.
                output = total - input;
            }
            TotalTokens = total ?? TotalTokens;
            InputTokens = input ?? InputTokens;
            OutputTokens = output ?? OutputTokens;
            IsOutputWhole |= output is not null;
            CachedTokens = usage.Member("prompt_tokens_details").Member("cached_tokens").TokenCount() ?? usage.Member("input_tokens_details").Member("cached_tokens").TokenCount()
                ?? usage.Member("prompt_cache_hit_tokens").TokenCount() ?? usage.Member("cached_tokens").TokenCount() ?? CachedTokens;
        }

        static long? Count(JsonElement usage, params ReadOnlySpan<string> names)
        {
            foreach (var name in names)
            {
                if (usage.Member(name).TokenCount() is > 0 and var count)
                {
                    return count;
                }
            }
            return null;
        }

        WirePiece ReadPiece(JsonElement choice)
        {
            if (choice.Member("delta") is { ValueKind: JsonValueKind.Object } delta)
            {
                var piece = ReadDelta(delta);
                hasText |= piece.Text is { Length: > 0 };
                hasCalls |= Calls.Count > 0;
                return piece;
            }
            if (choice.Member("message") is { ValueKind: JsonValueKind.Object } message)
            {
                return ReadMessage(message);
            }
            // Servers of completions have it there.
            var text = choice.Member("text").Text();
            AddContent(text);
            return new(text);
        }

        /// <summary>A server that cannot stream may send its whole message as one piece. Others, such as MiniMax's, send it after its pieces, and it repeats them.</summary>
        WirePiece ReadMessage(JsonElement message)
        {
            if (!hasText && !hasCalls)
            {
                return ReadDelta(message);
            }
            if (!hasCalls)
            {
                ReadCalls(message);
            }
            var text = hasText ? null : ReadContent(message).Text;
            AddContent(text);
            return new(text);
        }

        WirePiece ReadDelta(JsonElement delta)
        {
            ReadCalls(delta);
            foreach (var name in OpaqueMembers)
            {
                opaque.Add(name, delta.Member(name));
            }
            var (text, thinking) = ReadContent(delta);
            AddContent(text);
            AddContent(thinking);
            if (string.IsNullOrEmpty(thinking) && Array.Exists(OpaqueMembers, name => IsGiven(delta.Member(name))))
            {
                // A signature or an encrypted piece of thinking is a part of the answer too.
                MarkContent();
            }
            return new(text, thinking);
        }

        void ReadCalls(JsonElement delta)
        {
            foreach (var piece in delta.Member("tool_calls").Items())
            {
                ReadCall(piece, piece.Member("function"));
            }
            if (delta.Member("function_call") is { ValueKind: JsonValueKind.Object } function)
            {
                // The old form has one call and no id.
                ReadCall(default, function);
            }
        }

        WirePiece ReadContent(JsonElement delta)
        {
            var shown = Array.Find(ThinkingMembers, name => delta.Member(name).Text() is { Length: > 0 }) is { } member ? delta.Member(member).Text()
                : string.Concat(delta.Member("reasoning_details").Items().Select(d => d.Member("text").Text() ?? d.Member("summary").Text()));
            var content = delta.Member("content");
            if (content.ValueKind is not (JsonValueKind.Array or JsonValueKind.Object))
            {
                var refusal = delta.Member("refusal").Text();
                isRefusal |= refusal is { Length: > 0 };
                return new(content.Text() is { Length: > 0 } said ? said : refusal, shown);
            }
            var (text, thinking) = (new StringBuilder(), new StringBuilder(shown));
            foreach (var part in content.ValueKind == JsonValueKind.Array ? content.Items() : [content])
            {
                if (part.Member("type").Text() == "thinking")
                {
                    opaque.Add("content", JsonElement.Parse($"[{part.GetRawText()}]"));
                    thinking.Append(part.Member("thinking").Text() ?? string.Concat(part.Member("thinking").Items().Select(p => p.Member("text").Text())));
                }
                else
                {
                    text.Append(part.Text() ?? (part.Member("type").Text() == "text" ? part.Member("text").Text() : null));
                }
            }
            return new(text.ToString(), thinking.ToString());
        }

        void ReadCall(JsonElement piece, JsonElement function)
        {
            var id = piece.Member("id").Text() is { Length: > 0 } given ? given : null;
            var name = function.Member("name").Text() is { Length: > 0 } text ? text : null;
            var arguments = function.Member("arguments").TextOrJson();
            var index = piece.Member("index").TokenCount();
            if (index is not null && id is not null && Calls.Exists(c => c.Index == index && c.HasId(id) && c.Name == name && c.Says(arguments) && c.IsWhole))
            {
                // Some servers say a call that came in pieces once more as a whole.
                return;
            }
            var call = FindCall(index, id, name, arguments) ?? AddCall(index ?? (Calls.Count > 0 ? Calls[^1].Index + 1 : 0));
            if (id is not null)
            {
                call.AddId(id);
            }
            if (call.Name.Length == 0)
            {
                call.Name = name ?? "";
            }
            call.Append(arguments);
            foreach (var member in OpaqueCallMembers)
            {
                call.Opaque.Add(member, piece.Member(member));
            }
            AddContent(name);
            AddContent(arguments);
        }

        /// <summary>
        /// The call that a piece continues; null: it begins another one. Its index tells, and its id where servers give all calls one index or none. A server that
        /// gives each piece of a call another id is found out by the missing name, or by arguments that are not whole.
        /// </summary>
        WireCall? FindCall(long? index, string? id, string? name, string? arguments)
        {
            var candidates = index is null ? Calls : Calls.FindAll(c => c.Index == index);
            var known = id is null ? null : candidates.FindLast(c => c.HasId(id));
            if ((known ?? candidates.LastOrDefault()) is not { } call || name is null || call.Name.Length == 0)
            {
                return known ?? candidates.LastOrDefault();
            }
            var isBlank = string.IsNullOrWhiteSpace(arguments);
            bool isAnother;
            if (known is not null)
            {
                isAnother = !isBlank && call.IsWhole;
            }
            else if (id is null && index is not null)
            {
                isAnother = name != call.Name || (!isBlank && call.IsWhole);
            }
            else
            {
                isAnother = name != call.Name || (call.HasArguments ? call.IsWhole || arguments?.TrimStart().StartsWith('{') == true : isBlank);
            }
            return isAnother ? null : call;
        }
    }
}
