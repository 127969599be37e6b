using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>The tools of a server.</summary>
/// <param name="Unusable">What it lists besides.</param>
/// <param name="IsCut">It has more.</param>
sealed record McpTools(IReadOnlyList<McpTool> Listed, IReadOnlyList<UnusableTool> Unusable, bool IsCut);

/// <summary>A tool as its server lists it. What is missing or malformed in it takes nothing from the other tools.</summary>
/// <param name="InputSchema">In JSON; <c>{}</c> when the server gives none that is an object.</param>
/// <param name="IsRead">The server annotates it as read-only, and not as destructive too.</param>
sealed record McpTool(string Name, string Description, string InputSchema, bool IsRead)
{
    const int NameCharsMax = 128;

    /// <summary>The tools of a page and where the next one begins.</summary>
    /// <exception cref="JsonException">It is no list of tools.</exception>
    public static (IReadOnlyList<McpTool> Tools, IReadOnlyList<UnusableTool> Unusable, string? NextCursor) Page(JsonNode? result)
    {
        var listed = (result as JsonObject)?["tools"] is JsonArray tools ? tools.Select(McpText.Element).ToList() : throw new JsonException();
        if (listed.Count > 0 && !listed.Exists(tool => tool.ValueKind == JsonValueKind.Object))
        {
            throw new JsonException();
        }
        var cursor = McpText.Element(result["nextCursor"]);
        var read = listed.Select(tool => (Tool: Of(tool, out var unusable), Unusable: unusable)).ToList();
        return (
            [.. read.Select(one => one.Tool).OfType<McpTool>()], [.. read.Select(one => one.Unusable).OfType<UnusableTool>()],
            cursor.ValueKind == JsonValueKind.String ? cursor.GetString() : null);
    }

    static McpTool? Of(JsonElement tool, out UnusableTool? unusable)
    {
        unusable = null;
        if (McpText.String(tool, "name") is not { Length: > 0 } name)
        {
            unusable = new(null, "It is no tool, or has no name.");
            return null;
        }
        if (name.Length > NameCharsMax || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' or '/'))
        {
            unusable = new(PlainReason.Quoted(name, 100), $"Its name is none: 1 to {NameCharsMax} letters, digits, _, -, . and / make one.");
            return null;
        }
        var schema = McpText.Member(tool, "inputSchema") is { ValueKind: JsonValueKind.Object } given ? given.GetRawText() : "{}";
        return new(
            name, McpText.String(tool, "description") ?? McpText.String(tool, "title") ?? "", schema, IsReadOnly(McpText.Member(tool, "annotations")));
    }

    /// <summary>Whoever says of a tool that it destroys is believed, whatever else he says of it.</summary>
    static bool IsReadOnly(JsonElement? annotations) =>
        annotations is { } said
            && McpText.Member(said, "readOnlyHint") is { ValueKind: JsonValueKind.True }
            && (McpText.Member(said, "destructiveHint")?.ValueKind ?? JsonValueKind.Null) is JsonValueKind.False or JsonValueKind.Null;
}

/// <summary>What a tool answers, as text.</summary>
static class McpText
{
    const string UnknownKind = "(content of an unknown kind)";

    /// <exception cref="JsonException">It is no answer of a tool.</exception>
    public static (string Text, bool IsCut, bool IsError) Of(JsonNode? result, int bytesMax)
    {
        if (result is not JsonObject answer || answer["content"] is not (null or JsonArray))
        {
            throw new JsonException();
        }
        var text = new StringBuilder();
        foreach (var block in answer["content"] as JsonArray ?? [])
        {
            text.Append(text.Length > 0 ? "\n" : "").Append(Of(Element(block)));
            if (text.Length > bytesMax)
            {
                break;
            }
        }
        if (text.Length == 0 && Element(answer["structuredContent"]) is { ValueKind: not (JsonValueKind.Null or JsonValueKind.Undefined) } structured)
        {
            text.Append(structured.GetRawText());
        }
        var whole = text.ToString();
        var fit = BodyText.Fit(whole, bytesMax);
        return (fit, fit.Length < whole.Length, Element(answer["isError"]).ValueKind == JsonValueKind.True);
    }

    /// <summary>A part of a message by itself; undefined when it cannot be read, for example because half of a surrogate pair is in it.</summary>
    public static JsonElement Element(JsonNode? part)
    {
        try
        {
            return part is null ? default : part.Deserialize<JsonElement>();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            return default;
        }
    }

    /// <summary>Null: there is no such member.</summary>
    public static JsonElement? Member(JsonElement from, string name) => from.ValueKind == JsonValueKind.Object && from.TryGetProperty(name, out var member) ? member : null;

    /// <summary>Null: there is no such member, or it is no text.</summary>
    public static string? String(JsonElement from, string name) => Member(from, name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    static string Of(JsonElement block) => String(block, "type") switch
    {
        "text" => String(block, "text") ?? UnknownKind,
        "image" or "audio" => $"({PlainReason.Quoted(String(block, "mimeType") ?? String(block, "type")!, 100)}, which is no text)",
        "resource" when Member(block, "resource") is { ValueKind: JsonValueKind.Object } resource =>
            String(resource, "text") ?? $"({PlainReason.Quoted(String(resource, "uri") ?? "resource", 300)}, which is no text)",
        "resource_link" => $"{PlainReason.Quoted(String(block, "name") ?? "", 200)}: {PlainReason.Quoted(String(block, "uri") ?? "", 2_000)}",
        _ => UnknownKind,
    };
}
