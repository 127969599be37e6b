using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>Anthropic's Messages API.</summary>
sealed class AnthropicFormat : IWireFormat
{
    const string Version = "2023-06-01";

    /// <summary>The format requires a limit. This one suffices for an agent's answers, and every current model accepts it.</summary>
    const int DefaultMaxTokens = 8_192;

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

    public void WriteRequest(Utf8JsonWriter json, ModelSettings settings, IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools)
    {
        var all = messages.ToList();
        var configured = WireJson.BeginRequest(json, settings, "system");
        if (!configured.Contains("max_tokens"))
        {
            json.WriteNumber("max_tokens", settings.MaxOutputTokens ?? DefaultMaxTokens);
        }
        var system = string.Join("\n\n", all.Where(m => m.Role == ChatRole.System).Select(m => m.Text));
        if (system.Length > 0)
        {
            json.WriteString("system", system);
        }
        json.WriteStartArray("messages");
        WriteMessages(json, all);
        json.WriteEndArray();
        WireJson.WriteTools(json, tools, tool =>
        {
            json.WriteString("name", tool.Name);
            json.WriteString("description", tool.Description);
            json.WritePropertyName("input_schema");
            tool.JsonSchema.WriteTo(json);
        });
        json.WriteEndObject();
    }

    public WireAnswer NewAnswer() => new Answer();

    /// <summary>User and assistant messages alternate, so adjacent messages of one role become one. Tool results belong to the user.</summary>
    static void WriteMessages(Utf8JsonWriter json, List<ChatMessage> all)
    {
        string? open = null;
        foreach (var message in all.Where(m => m.Role != ChatRole.System))
        {
            var role = message.Role == ChatRole.Assistant ? "assistant" : "user";
            foreach (var content in message.Contents)
            {
                // The provider refuses text without a visible character.
                if (content is not (FunctionCallContent or FunctionResultContent) && (content is not TextContent text || string.IsNullOrWhiteSpace(text.Text)))
                {
                    continue;
                }
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
                WriteContent(json, content);
            }
        }
        if (open is not null)
        {
            json.WriteEndArray();
            json.WriteEndObject();
        }
    }

    static void WriteContent(Utf8JsonWriter json, AIContent content)
    {
        json.WriteStartObject();
        switch (content)
        {
            case TextContent text:
                json.WriteString("type", "text");
                json.WriteString("text", text.Text);
                break;
            case FunctionCallContent call:
                json.WriteString("type", "tool_use");
                json.WriteString("id", call.CallId);
                json.WriteString("name", WireJson.ToolName(call.Name));
                json.WritePropertyName("input");
                json.WriteRawValue(WireJson.ArgumentsObject(call));
                break;
            case FunctionResultContent result:
                json.WriteString("type", "tool_result");
                json.WriteString("tool_use_id", result.CallId);
                json.WriteString("content", (string?)result.Result ?? "");
                break;
        }
        json.WriteEndObject();
    }

    sealed class Answer : WireAnswer
    {
        long input;
        long cacheWrites;
        long cacheReads;

        public override string? Read(string eventType, string data)
        {
            var e = Parse(data);
            switch (e.Member("type").Text() ?? eventType)
            {
                case "message_start":
                    var message = e.Member("message");
                    ModelId ??= message.Member("model").Text();
                    ReadUsage(message.Member("usage"));
                    return null;
                case "content_block_start":
                    return ReadBlockStart(Index(e), e.Member("content_block"));
                case "content_block_delta":
                    return ReadDelta(Index(e), e.Member("delta"));
                case "message_delta":
                    ReadUsage(e.Member("usage"));
                    if (e.Member("delta").Member("stop_reason").Text() is { } reason && !string.IsNullOrWhiteSpace(reason))
                    {
                        FinishReason = new(reason switch
                        {
                            "end_turn" or "stop_sequence" => "stop",
                            "max_tokens" or "model_context_window_exceeded" => "length",
                            "tool_use" => "tool_calls",
                            "refusal" => "content_filter",
                            _ => reason,
                        });
                    }
                    return null;
                case "message_stop":
                    IsDone = true;
                    return null;
                case "error":
                    throw HttpModel.StreamError(e.Member("error"));
                default:
                    // A ping, or an event that this version does not know.
                    return null;
            }
        }

        static long Index(JsonElement e) => e.Member("index").TokenCount() ?? 0;

        string? ReadBlockStart(long index, JsonElement block)
        {
            switch (block.Member("type").Text())
            {
                case "text":
                    return block.Member("text").Text();
                case "tool_use":
                    var call = GetOrAddCall(index);
                    call.Id = block.Member("id").Text();
                    call.Name = block.Member("name").Text() ?? "";
                    call.DefaultArguments = block.Member("input").TextOrJson() ?? "{}";
                    return null;
                default:
                    return null;
            }
        }

        string? ReadDelta(long index, JsonElement delta)
        {
            switch (delta.Member("type").Text())
            {
                case "text_delta":
                    return delta.Member("text").Text();
                case "input_json_delta":
                    FindCall(index)?.Append(delta.Member("partial_json").Text());
                    return null;
                default:
                    return null;
            }
        }

        /// <summary>Usage may come twice, the second time complete. Tokens written to and read from the cache are not part of the input count.</summary>
        void ReadUsage(JsonElement usage)
        {
            if (usage.ValueKind != JsonValueKind.Object)
            {
                return;
            }
            input = usage.Member("input_tokens").TokenCount() ?? input;
            cacheWrites = usage.Member("cache_creation_input_tokens").TokenCount() ?? cacheWrites;
            cacheReads = usage.Member("cache_read_input_tokens").TokenCount() ?? cacheReads;
            (InputTokens, CachedTokens) = (input + cacheWrites + cacheReads, cacheReads);
            OutputTokens = usage.Member("output_tokens").TokenCount() ?? OutputTokens;
        }
    }
}
