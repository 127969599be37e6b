using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A tool of an outside source as a run's model is offered it (<see cref="RunEvent.ToolsOffered"/>).</summary>
/// <param name="Name">What the model calls it (<see cref="OutsideToolNames"/>).</param>
/// <param name="Tool">What the source calls it.</param>
/// <param name="Schema">JSON Schema of the input (<see cref="OutsideToolSchema"/>).</param>
/// <param name="IsRead">The source said that it changes nothing when the tool was offered.</param>
public sealed record OutsideTool(string Name, ConnectionKey ConnectionId, string Tool, string Description, JsonElement Schema, bool IsRead)
{
    /// <summary>The declaration in RFC 8785 form.</summary>
    public byte[] Declaration()
    {
        using var json = new PooledBuffer(4 * 1024);
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("connection_id", ConnectionId.Id);
            writer.WriteString("description", Description);
            writer.WriteString("name", Name);
            writer.WriteBoolean("read_only", IsRead);
            writer.WritePropertyName("schema");
            Schema.WriteTo(writer);
            writer.WriteString("tool", Tool);
            writer.WriteEndObject();
        }
        return CanonicalJson.Of(json.Written);
    }

    /// <summary>The tools of a list of declarations.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    public static IReadOnlyList<OutsideTool> Read(string declarations)
    {
        var listed = JsonElement.Parse(declarations);
        return listed.ValueKind == JsonValueKind.Array ? [.. listed.EnumerateArray().Select(Of)] : throw new JsonException("A list of tools is none.");
    }

    static OutsideTool Of(JsonElement tool)
    {
        string Text(string name) => tool.GetProperty(name).GetString()!;
        return new(
            Text("name"), ConnectionKey.FromId(Text("connection_id")), Text("tool"), Text("description"), tool.GetProperty("schema"), tool.GetProperty("read_only").GetBoolean());
    }
}

/// <summary>
/// The names of tools of outside sources, <c>mcp__CONNECTION__TOOL</c> (contracts/decisions.md, "Tools and policy"): at most 64 letters, digits, <c>_</c> and <c>-</c>, as all
/// models take them.
/// </summary>
public static class OutsideToolNames
{
    public const string Pattern = $"{Prefix}<connection>__<tool>";

    public const string Prefix = "mcp__";

    /// <summary>Longest name, in characters.</summary>
    public const int CharsMax = 64;

    /// <summary>Longest part of a name that stands for the connection.</summary>
    const int ConnectionCharsMax = 24;

    const int DigestChars = 8;

    /// <summary>The name belongs to a tool of an outside source, if to any.</summary>
    public static bool IsOne(string name) => name.StartsWith(Prefix, StringComparison.Ordinal);

    const int KeyChars = 6;

    /// <summary>
    /// What connections are called in names of tools. Several may have one name: the one that was made first is called by it, the others by it and the end of their ids. So a
    /// connection never takes the name of an older one.
    /// </summary>
    public static IReadOnlyDictionary<ConnectionKey, string> OfConnections(IEnumerable<(ConnectionKey Key, string Name)> connections)
    {
        var (names, taken) = (new Dictionary<ConnectionKey, string>(), new HashSet<string>(StringComparer.Ordinal));
        foreach (var (key, name) in connections.OrderBy(connection => connection.Key.Value, StringComparer.Ordinal))
        {
            var plain = Plain(name);
            var own = plain;
            for (var chars = KeyChars; !taken.Add(own); chars++)
            {
                var end = key.Value[^Math.Min(chars, key.Value.Length)..];
                own = $"{plain[..Math.Min(plain.Length, Math.Max(1, ConnectionCharsMax - end.Length - 1))]}-{end}";
            }
            names[key] = own;
        }
        return names;
    }

    /// <summary>The name of a tool. What is too long, or has characters that names have not, is told apart by a digest.</summary>
    /// <param name="connection">As <see cref="OfConnections"/> answers it.</param>
    public static string OfTool(string connection, string tool)
    {
        var start = $"{Prefix}{connection}__";
        var safe = string.Concat(tool.Select(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' ? c : '_'));
        if (safe == tool && start.Length + tool.Length <= CharsMax)
        {
            return start + tool;
        }
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(tool)))[..DigestChars];
        return $"{start}{safe[..Math.Min(safe.Length, CharsMax - start.Length - DigestChars - 1)]}_{digest}";
    }

    /// <summary>Two underscores stand between the parts of a name alone, so that it is read in one way.</summary>
    static string Plain(string name)
    {
        var plain = new StringBuilder();
        foreach (var c in name)
        {
            if (char.IsAsciiLetterOrDigit(c) || c == '-')
            {
                plain.Append(c);
            }
            else if (plain.Length > 0 && plain[^1] != '_')
            {
                plain.Append('_');
            }
        }
        var text = plain.ToString()[..Math.Min(plain.Length, ConnectionCharsMax)].TrimEnd('_');
        return text.Length > 0 ? text : "connection";
    }
}
