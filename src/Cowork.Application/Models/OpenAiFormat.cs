using System.Net.Http.Headers;
using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>OpenAI's chat completions, which vLLM, Ollama, LM Studio, llama.cpp and most other servers also speak.</summary>
sealed class OpenAiFormat : IWireFormat
{
    public Uri DefaultBaseUrl { get; } = new("https://api.openai.com/v1");

    public Uri Endpoint(Uri baseUrl) => new($"{baseUrl.GetLeftPart(UriPartial.Path).TrimEnd('/')}/chat/completions{baseUrl.Query}");

    public void Authorize(HttpRequestMessage request, string? key)
    {
        if (key is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    public void WriteRequest(Utf8JsonWriter json, ModelSettings settings, IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools)
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
        foreach (var message in messages)
        {
            WriteMessage(json, message);
        }
        json.WriteEndArray();
        WireJson.WriteTools(json, tools, tool =>
        {
            json.WriteString("type", "function");
            json.WriteStartObject("function");
            json.WriteString("name", tool.Name);
            json.WriteString("description", tool.Description);
            json.WritePropertyName("parameters");
            tool.JsonSchema.WriteTo(json);
            json.WriteEndObject();
        });
        json.WriteEndObject();
    }

    public WireAnswer NewAnswer() => new Answer();

    static void WriteMessage(Utf8JsonWriter json, ChatMessage message)
    {
        if (message.Role == ChatRole.Tool)
        {
            foreach (var result in message.Contents.OfType<FunctionResultContent>())
            {
                json.WriteStartObject();
                json.WriteString("role", "tool");
                json.WriteString("tool_call_id", result.CallId);
                json.WriteString("content", (string?)result.Result ?? "");
                json.WriteEndObject();
            }
            return;
        }
        json.WriteStartObject();
        json.WriteString("role", message.Role.Value);
        var calls = message.Contents.OfType<FunctionCallContent>().ToList();
        if (calls.Count > 0 && message.Text.Length == 0)
        {
            json.WriteNull("content");
        }
        else
        {
            json.WriteString("content", message.Text);
        }
        if (calls.Count > 0)
        {
            json.WriteStartArray("tool_calls");
            foreach (var call in calls)
            {
                json.WriteStartObject();
                json.WriteString("id", call.CallId);
                json.WriteString("type", "function");
                json.WriteStartObject("function");
                json.WriteString("name", WireJson.ToolName(call.Name));
                json.WriteString("arguments", WireJson.ArgumentsObject(call));
                json.WriteEndObject();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    sealed class Answer : WireAnswer
    {
        public override string? Read(string eventType, string data)
        {
            if (data.AsSpan().Trim() is "[DONE]")
            {
                IsDone = true;
                return null;
            }
            var chunk = Parse(data);
            if (chunk.Member("error") is { ValueKind: not (JsonValueKind.Undefined or JsonValueKind.Null) } error)
            {
                throw HttpModel.StreamError(error);
            }
            ModelId ??= chunk.Member("model").Text();
            if (chunk.Member("usage") is { ValueKind: JsonValueKind.Object } usage)
            {
                // A server that sends usage with every chunk sends the total so far.
                InputTokens = usage.Member("prompt_tokens").TokenCount() ?? InputTokens;
                OutputTokens = usage.Member("completion_tokens").TokenCount() ?? OutputTokens;
                CachedTokens = usage.Member("prompt_tokens_details").Member("cached_tokens").TokenCount() ?? CachedTokens;
            }
            string? text = null;
            foreach (var choice in chunk.Member("choices").Items())
            {
                if (choice.Member("index").TokenCount() is null or 0)
                {
                    text += ReadDelta(choice.Member("delta"));
                    if (choice.Member("finish_reason").Text() is { } reason && !string.IsNullOrWhiteSpace(reason))
                    {
                        FinishReason = new(reason == "function_call" ? "tool_calls" : reason);
                    }
                }
            }
            return text;
        }

        string? ReadDelta(JsonElement delta)
        {
            foreach (var piece in delta.Member("tool_calls").Items())
            {
                ReadCall(piece);
            }
            var content = delta.Member("content");
            return content.ValueKind == JsonValueKind.Array
                ? string.Concat(content.EnumerateArray().Select(part => part.Member("type").Text() == "text" ? part.Member("text").Text() : null))
                : content.Text() ?? delta.Member("refusal").Text();
        }

        /// <summary>Reads a piece of a call. Its index identifies the call; servers without indexes send the id or name with the first piece.</summary>
        void ReadCall(JsonElement piece)
        {
            var id = piece.Member("id").Text() is { Length: > 0 } given ? given : null;
            var function = piece.Member("function");
            var name = function.Member("name").Text() is { Length: > 0 } text ? text : null;
            var index = piece.Member("index").TokenCount();
            var call = index is not null ? GetOrAddCall(index) : LastOrNewCall();
            if (index is null && (id ?? call.Id) != call.Id)
            {
                call = call.Id is null && call.Name.Length == 0 ? call : GetOrAddCall(null);
            }
            else if (index is null && id is null && name is not null && call.Name.Length > 0)
            {
                call = GetOrAddCall(null);
            }
            call.Id ??= id;
            if (call.Name.Length == 0)
            {
                call.Name = name ?? "";
            }
            call.Append(function.Member("arguments").TextOrJson());
        }
    }
}
