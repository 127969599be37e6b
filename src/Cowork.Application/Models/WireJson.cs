using System.Globalization;
using System.Text;
using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>Reads the JSON of providers, which may have any shape, and writes JSON that every provider accepts.</summary>
static class WireJson
{
    /// <summary>More tokens than any answer has. Larger counts are errors of a provider, and their sums must not overflow.</summary>
    const long TokenCountMax = 1_000_000_000;

    /// <summary>Longest tool name that providers accept.</summary>
    public const int NameCharsMax = 64;

    /// <summary>The limit of an answer among the members that are added to each request; null: none of them is one.</summary>
    public static int? OutputLimit(ModelSettings settings)
    {
        int? limit = null;
        foreach (var name in (string[])["max_tokens", "max_completion_tokens", "max_output_tokens"])
        {
            if (settings.Request.TryGetValue(name, out var member) && member.ValueKind == JsonValueKind.Number && member.TryGetInt32(out var tokens) && tokens > (limit ?? 0))
            {
                limit = tokens;
            }
        }
        return limit;
    }

    /// <summary>The member of an object. An element of kind Undefined: the value is not an object, or has no such member.</summary>
    public static JsonElement Member(this JsonElement json, string name) =>
        json.ValueKind == JsonValueKind.Object && json.TryGetProperty(name, out var value) ? value : default;

    /// <summary>The elements of an array; empty: the value is not an array.</summary>
    public static IEnumerable<JsonElement> Items(this JsonElement json) => json.ValueKind == JsonValueKind.Array ? json.EnumerateArray() : [];

    /// <summary>The string, including half surrogate pairs: the other half may come with the next event. Null: the value is not a string.</summary>
    public static string? Text(this JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.String)
        {
            return null;
        }
        var raw = json.GetRawText().AsSpan()[1..^1];
        var at = raw.IndexOf('\\');
        if (at < 0)
        {
            return raw.ToString();
        }
        var text = new StringBuilder(raw.Length);
        for (; at >= 0; at = raw.IndexOf('\\'))
        {
            text.Append(raw[..at]);
            var isCode = raw[at + 1] == 'u';
            text.Append(raw[at + 1] switch
            {
                'u' => (char)ushort.Parse(raw.Slice(at + 2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\b',
                'f' => '\f',
                var itself => itself,
            });
            raw = raw[(at + (isCode ? 6 : 2))..];
        }
        return text.Append(raw).ToString();
    }

    /// <summary>The string, or the JSON text of another value, because some servers send arguments as an object. Null: there is no value.</summary>
    public static string? TextOrJson(this JsonElement json) =>
        json.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null ? null : json.Text() ?? json.GetRawText();

    /// <summary>A count of tokens; null: the value is not a number.</summary>
    public static long? TokenCount(this JsonElement json) =>
        json.ValueKind == JsonValueKind.Number && json.TryGetDouble(out var number) ? (long)Math.Clamp(number, 0, TokenCountMax) : null;

    /// <summary>A tool name with the characters and length that providers accept; a model may have called any name.</summary>
    public static string ToolName(string calledName)
    {
        var name = string.Concat(calledName.Take(NameCharsMax).Select(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' ? c : '_'));
        return name.Length == 0 ? "_" : name;
    }

    /// <summary>
    /// The arguments of an earlier call as a JSON object, which providers require. Text of the model that is not an object becomes a member of one; the tool's
    /// answer says what was wrong with it.
    /// </summary>
    public static string ArgumentsObject(FunctionCallContent call)
    {
        var text = CallArguments.Text(call);
        if (ToolInput.Read(text, out _) is null)
        {
            return string.IsNullOrWhiteSpace(text) ? "{}" : text;
        }
        return $"{{\"not_json\":{JsonSerializer.Serialize(StorableText.Escape(text), AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(string)))}}}";
    }

    /// <summary>
    /// Writes the start of a request: the configured members, except those that the host controls, then the model and <c>stream</c>. Answers the names of the
    /// configured members.
    /// </summary>
    /// <param name="reserved">Members that the format controls.</param>
    public static HashSet<string> BeginRequest(Utf8JsonWriter json, ModelSettings settings, params ReadOnlySpan<string> reserved)
    {
        json.WriteStartObject();
        var configured = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, value) in settings.Request)
        {
            if (name is not ("model" or "messages" or "stream" or "tools") && !reserved.Contains(name) && value.ValueKind != JsonValueKind.Undefined && configured.Add(name))
            {
                json.WritePropertyName(name);
                value.WriteTo(json);
            }
        }
        json.WriteString("model", settings.Model);
        json.WriteBoolean("stream", true);
        return configured;
    }

    /// <summary>Writes an object's members into the object that is open; no-op when the element is no object.</summary>
    public static void WriteMembers(Utf8JsonWriter json, JsonElement members, string? except = null)
    {
        if (members.ValueKind != JsonValueKind.Object)
        {
            return;
        }
        foreach (var member in members.EnumerateObject())
        {
            if (member.Name != except)
            {
                json.WritePropertyName(member.Name);
                json.WriteRawValue(member.Value.GetRawText());
            }
        }
    }

    /// <summary>Writes the tools. Without tools it writes nothing, because some servers refuse an empty list.</summary>
    public static void WriteTools(Utf8JsonWriter json, IEnumerable<AIFunctionDeclaration> tools, Action<AIFunctionDeclaration> write)
    {
        if (tools.ToList() is not { Count: > 0 } all)
        {
            return;
        }
        json.WriteStartArray("tools");
        foreach (var tool in all)
        {
            json.WriteStartObject();
            write(tool);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }
}
