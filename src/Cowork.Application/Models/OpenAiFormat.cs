using System.Net.Http.Headers;
using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>The chat completions of OpenAI, which vLLM, Ollama, LM Studio, llama.cpp and most other servers speak too.</summary>
sealed class OpenAiFormat : IWireFormat
{
    public Uri Home { get; } = new("https://api.openai.com/v1");

    public Uri Address(Uri baseUrl) => new($"{baseUrl.GetLeftPart(UriPartial.Path).TrimEnd('/')}/chat/completions{baseUrl.Query}");

    public void Authorize(HttpRequestMessage request, string? key)
    {
        if (key is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    public void WriteRequest(Utf8JsonWriter json, ModelSettings settings, IEnumerable<ChatMessage> messages, IEnumerable<AIFunctionDeclaration> tools)
    {
        var configured = WireJson.Begin(json, settings);
        if (!configured.Contains("stream_options"))
        {
            json.WriteStartObject("stream_options");
            json.WriteBoolean("include_usage", true);
            json.WriteEndObject();
        }
        // OpenAI's newer models know only the one name, other servers often only the other.
        var limit = settings.BaseUrl is null ? "max_completion_tokens" : "max_tokens";
        if (settings.MaxOutputTokens is { } most && !configured.Contains(limit))
        {
            json.WriteNumber(limit, most);
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

    public WireAnswer Begin() => new Answer();

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
                json.WriteString("name", WireJson.Name(call.Name));
                json.WriteString("arguments", WireJson.Arguments(call));
                json.WriteEndObject();
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteEndObject();
    }

    sealed class Answer : WireAnswer
    {
        public override string? Take(string eventType, string data)
        {
            if (data.AsSpan().Trim() is "[DONE]")
            {
                IsDone = true;
                return null;
            }
            var chunk = Parse(data);
            if (chunk.Member("error") is { ValueKind: not (JsonValueKind.Undefined or JsonValueKind.Null) } error)
            {
                throw HttpModel.SaidItself(error);
            }
            ModelId ??= chunk.Member("model").Text();
            if (chunk.Member("usage") is { ValueKind: JsonValueKind.Object } usage)
            {
                // Servers that count in every chunk count from the beginning each time.
                InputTokens = usage.Member("prompt_tokens").Count() ?? InputTokens;
                OutputTokens = usage.Member("completion_tokens").Count() ?? OutputTokens;
                CachedTokens = usage.Member("prompt_tokens_details").Member("cached_tokens").Count() ?? CachedTokens;
            }
            string? text = null;
            foreach (var choice in chunk.Member("choices").Items())
            {
                if (choice.Member("index").Count() is null or 0)
                {
                    text += TakeDelta(choice.Member("delta"));
                    if (choice.Member("finish_reason").Text() is { } reason && !string.IsNullOrWhiteSpace(reason))
                    {
                        FinishReason = new(reason == "function_call" ? "tool_calls" : reason);
                    }
                }
            }
            return text;
        }

        string? TakeDelta(JsonElement delta)
        {
            foreach (var piece in delta.Member("tool_calls").Items())
            {
                TakeCall(piece);
            }
            var content = delta.Member("content");
            return content.ValueKind == JsonValueKind.Array
                ? string.Concat(content.EnumerateArray().Select(part => part.Member("type").Text() == "text" ? part.Member("text").Text() : null))
                : content.Text() ?? delta.Member("refusal").Text();
        }

        /// <summary>A piece of a call. It names the call by its index; servers that leave that out send the call's id or name with its first piece.</summary>
        void TakeCall(JsonElement piece)
        {
            var id = piece.Member("id").Text() is { Length: > 0 } given ? given : null;
            var function = piece.Member("function");
            var name = function.Member("name").Text() is { Length: > 0 } called ? called : null;
            var index = piece.Member("index").Count();
            var call = index is not null ? Call(index) : LastCall();
            if (index is null && (id ?? call.Id) != call.Id)
            {
                call = call.Id is null && call.Name.Length == 0 ? call : Call(null);
            }
            else if (index is null && id is null && name is not null && call.Name.Length > 0)
            {
                call = Call(null);
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
