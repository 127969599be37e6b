using System.Runtime.InteropServices;
using System.Text.Json;

namespace Cowork.Projections;

/// <summary>Reads the members of a bundle, or throws the fault that names the place.</summary>
static class TraceJson
{
    /// <summary>Characters of a text of the bundle that a fault repeats.</summary>
    const int QuotedCharsMax = 80;

    /// <summary>The bytes of a part in the bundle. Each part of a canonical document is canonical.</summary>
    public static ReadOnlySpan<byte> Bytes(JsonElement part) => JsonMarshal.GetRawUtf8Value(part);

    public static JsonElement Member(JsonElement o, string name, string at) =>
        o.TryGetProperty(name, out var member) ? member : throw Fault($"{at}.{name}", "The member is missing.");

    public static string Text(JsonElement o, string name, string at) =>
        o.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.String ? member.GetString()! : throw Fault($"{at}.{name}", "It is not a string.");

    public static long Number(JsonElement o, string name, string at) =>
        o.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.Number && member.TryGetInt64(out var number)
            ? number
            : throw Fault($"{at}.{name}", "It is not an integer.");

    public static JsonElement Part(JsonElement root, string name) => Object(Member(root, name, "$"), $"$.{name}");

    public static JsonElement Object(JsonElement part, string at) => part.ValueKind == JsonValueKind.Object ? part : throw Fault(at, "It is not an object.");

    public static JsonElement List(JsonElement o, string name, string at) =>
        o.TryGetProperty(name, out var member) && member.ValueKind == JsonValueKind.Array ? member : throw Fault($"{at}.{name}", "It is not an array.");

    public static byte[] Base64(JsonElement o, string at) =>
        Member(o, "base64", at) is { ValueKind: JsonValueKind.String } text && text.TryGetBytesFromBase64(out var bytes)
            ? bytes
            : throw Fault($"{at}.base64", "It is not valid base64.");

    /// <summary>Requires exactly these members. A canonical object has none twice.</summary>
    public static void RequireMembers(JsonElement o, string at, IReadOnlyCollection<string> names)
    {
        var found = 0;
        foreach (var member in o.EnumerateObject())
        {
            Require(names.Contains(member.Name), $"{at}.{Quoted(member.Name)}", "The member is unknown.");
            found++;
        }
        if (found < names.Count)
        {
            throw Fault($"{at}.{names.First(name => !o.TryGetProperty(name, out _))}", "The member is missing.");
        }
    }

    /// <summary>A text of the bundle as a fault repeats it: its begin, when it is long.</summary>
    public static string Quoted(string text) => text.Length <= QuotedCharsMax ? text : text[..QuotedCharsMax] + "…";

    public static void Require(bool holds, string location, string message)
    {
        if (!holds)
        {
            throw Fault(location, message);
        }
    }

    /// <summary>Data with a valid hash may be none that a version of ours writes: what reads and folds it throws one of these.</summary>
    public static bool IsUnreadable(Exception e) => e is
        JsonException or InvalidDataException or InvalidOperationException or FormatException or ArgumentException or OverflowException or NotSupportedException
        or KeyNotFoundException or NullReferenceException;

    public static TraceFaultException Fault(string location, string message) => new(new(location, message));
}

/// <summary>Ends the check of a bundle at its first fault.</summary>
sealed class TraceFaultException(TraceFault fault) : Exception(fault.Message)
{
    public TraceFault Fault { get; } = fault;
}
