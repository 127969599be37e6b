using System.Globalization;
using System.Text;
using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>Reads what a provider sent, which may be anything, and writes what every provider takes.</summary>
static class WireJson
{
    /// <summary>No answer has more: what a provider counts beyond that is a mistake, and no sum of it may overflow.</summary>
    const long CountMax = 1_000_000_000;

    /// <summary>Longest name of a tool that providers take back.</summary>
    const int NameCharsMax = 64;

    /// <summary>The member of an object; of anything else, and where there is none, an element of kind Undefined.</summary>
    public static JsonElement Member(this JsonElement json, string name) =>
        json.ValueKind == JsonValueKind.Object && json.TryGetProperty(name, out var value) ? value : default;

    /// <summary>The elements of an array; of anything else, none.</summary>
    public static IEnumerable<JsonElement> Items(this JsonElement json) => json.ValueKind == JsonValueKind.Array ? json.EnumerateArray() : [];

    /// <summary>A string with what the provider put into it, half surrogate pairs included, whose other half may come with the next piece. Null: it is no string.</summary>
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

    /// <summary>A string, or the JSON text of anything else that is there: some servers send arguments as an object.</summary>
    public static string? TextOrJson(this JsonElement json) =>
        json.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null ? null : json.Text() ?? json.GetRawText();

    /// <summary>A count of tokens; null: there is none.</summary>
    public static long? Count(this JsonElement json) =>
        json.ValueKind == JsonValueKind.Number && json.TryGetDouble(out var number) ? (long)Math.Clamp(number, 0, CountMax) : null;

    /// <summary>A name as providers take it back, whatever the model had called.</summary>
    public static string Name(string called)
    {
        var name = string.Concat(called.Take(NameCharsMax).Select(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' ? c : '_'));
        return name.Length == 0 ? "_" : name;
    }

    /// <summary>
    /// The arguments of an earlier call as a JSON object. Providers refuse anything else, or hand it to a template that fails on it; so what the model wrote
    /// and was no object goes back inside one, beside the tool's answer that says what was wrong with it.
    /// </summary>
    public static string Arguments(FunctionCallContent call)
    {
        var text = CallArguments.Text(call);
        if (ToolInput.Read(text, out _) is null)
        {
            return string.IsNullOrWhiteSpace(text) ? "{}" : text;
        }
        return $"{{\"not_json\":{JsonSerializer.Serialize(StorableText.Escape(text), AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(string)))}}}";
    }

    /// <summary>
    /// What every request begins with: the members that configuration adds, but for those that we must know, then which model is asked and that it is to
    /// stream. Answers the configured ones.
    /// </summary>
    /// <param name="ours">What the format must know beside what all must.</param>
    public static HashSet<string> Begin(Utf8JsonWriter json, ModelSettings settings, params ReadOnlySpan<string> ours)
    {
        json.WriteStartObject();
        var configured = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, value) in settings.Request)
        {
            if (name is not ("model" or "messages" or "stream" or "tools") && !ours.Contains(name) && value.ValueKind != JsonValueKind.Undefined && configured.Add(name))
            {
                json.WritePropertyName(name);
                value.WriteTo(json);
            }
        }
        json.WriteString("model", settings.Model);
        json.WriteBoolean("stream", true);
        return configured;
    }

    /// <summary>The tools that may be called; none at all is no empty list, which some servers refuse.</summary>
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
