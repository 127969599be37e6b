using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Cowork.Web.Http;

/// <summary>
/// Judges the bytes of a JSON body before anything is made of them: what is no JSON is 400, what is JSON but more than PostgreSQL or I-JSON can
/// hold is a fault with its path.
/// </summary>
public static class JsonScan
{
    /// <summary>Largest JSON body, in bytes (contracts/decisions.md, "Errors").</summary>
    public const int BodyBytesMax = 4 << 20;

    /// <summary>Objects and arrays inside each other, the outermost counted.</summary>
    public const int DepthMax = 64;

    /// <summary>Characters of a member's name that a fault's path shows.</summary>
    const int NameCharsShown = 100;

    /// <summary>The JSON without its byte order mark.</summary>
    /// <exception cref="UnreadableRequestException">It is not JSON.</exception>
    public static ReadOnlyMemory<byte> Check(ReadOnlyMemory<byte> body, Faults faults)
    {
        if (body.Span.StartsWith("\uFEFF"u8))
        {
            body = body[3..];
        }
        if (!Utf8.IsValid(body.Span))
        {
            throw NotJson("It is not UTF-8.");
        }
        try
        {
            Walk(body.Span, faults);
        }
        catch (JsonException e)
        {
            throw NotJson(string.Create(CultureInfo.InvariantCulture, $"See line {(e.LineNumber ?? 0) + 1}, byte {(e.BytePositionInLine ?? 0) + 1}."));
        }
        return body;
    }

    static UnreadableRequestException NotJson(string where) => new(new ErrorResult(400, "malformed_json", $"The body is not JSON. {where}"));

    static void Walk(ReadOnlySpan<byte> json, Faults faults)
    {
        // Well-formed at any depth is told apart from malformed; the reader keeps one bit for each level.
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = BodyBytesMax });
        var path = new Stack<Place>();
        var tooDeep = false;
        while (reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject or JsonTokenType.StartArray:
                    Next(path);
                    if (reader.CurrentDepth >= DepthMax && !tooDeep)
                    {
                        tooDeep = true;
                        faults.Add(Text(path), $"Nested deeper than {DepthMax} levels.");
                    }
                    if (!tooDeep)
                    {
                        path.Push(new(reader.TokenType == JsonTokenType.StartArray));
                    }
                    break;
                case JsonTokenType.EndObject or JsonTokenType.EndArray when !tooDeep:
                    path.Pop();
                    break;
                case JsonTokenType.PropertyName:
                    if (!Holds(reader))
                    {
                        faults.Add(Text(path), "A member's name holds a NUL or a lone surrogate.");
                    }
                    else if (!tooDeep)
                    {
                        path.Peek().Name = reader.GetString();
                    }
                    break;
                case JsonTokenType.String:
                    Next(path);
                    if (!Holds(reader))
                    {
                        faults.Add(Text(path), "Holds a NUL or a lone surrogate.");
                    }
                    break;
                case JsonTokenType.Number:
                    Next(path);
                    if (!reader.TryGetDouble(out var number) || !double.IsFinite(number))
                    {
                        faults.Add(Text(path), "The number is out of range.");
                    }
                    break;
                default:
                    Next(path);
                    break;
            }
        }
    }

    /// <summary>Counts the elements of an array as they begin.</summary>
    static void Next(Stack<Place> path)
    {
        if (path.TryPeek(out var here) && here.IsArray)
        {
            here.Index++;
        }
    }

    static string Text(Stack<Place> path)
    {
        var text = new StringBuilder("$");
        foreach (var place in path.Reverse())
        {
            if (place.IsArray)
            {
                text.Append(CultureInfo.InvariantCulture, $"[{place.Index}]");
            }
            else if (place.Name is { } name)
            {
                var plain = name.Length is > 0 and <= NameCharsShown && name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_');
                text.Append(plain ? $".{name}" : $"['{Shortened(name)}']");
            }
        }
        return text.ToString();
    }

    static string Shortened(string name) =>
        name.Length <= NameCharsShown ? name : string.Concat(name.AsSpan(0, char.IsHighSurrogate(name[NameCharsShown - 1]) ? NameCharsShown - 1 : NameCharsShown), "…");

    /// <summary>Whether a string, as it stands in the JSON, comes to text without NUL and lone surrogates. Raw UTF-8 was judged before, so only escapes can.</summary>
    static bool Holds(in Utf8JsonReader reader)
    {
        if (!reader.ValueIsEscaped)
        {
            return true;
        }
        var text = reader.ValueSpan;
        var high = false;
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\')
            {
                if (high)
                {
                    return false;
                }
                continue;
            }
            i++;
            if (text[i] != 'u')
            {
                if (high)
                {
                    return false;
                }
                continue;
            }
            var unit = int.Parse(text.Slice(i + 1, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            i += 4;
            if (unit == 0 || high != unit is >= 0xDC00 and <= 0xDFFF)
            {
                return false;
            }
            high = unit is >= 0xD800 and <= 0xDBFF;
        }
        return !high;
    }

    sealed class Place(bool isArray)
    {
        public bool IsArray { get; } = isArray;

        public int Index { get; set; } = -1;

        public string? Name { get; set; }
    }
}
