using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Cowork.Web.Http;

/// <summary>
/// Validates the bytes of a JSON body before they are deserialised. Malformed JSON is a 400; JSON that PostgreSQL or I-JSON (RFC 7493) cannot hold is a
/// validation error with its path.
/// </summary>
public static class JsonValidator
{
    /// <summary>Largest JSON body, in bytes (contracts/decisions.md, "Errors").</summary>
    public const int BodyBytesMax = 4 << 20;

    /// <summary>Nesting of objects and arrays, with the outermost as 1.</summary>
    public const int DepthMax = 64;

    /// <summary>Characters of a member's name in the path of an error.</summary>
    const int NameCharsShown = 100;

    /// <summary>Returns the JSON without a byte order mark.</summary>
    /// <param name="opaque">Members of the body that are JSON and nothing more, with the nesting that they may have, themselves as 1.</param>
    /// <exception cref="UnreadableRequestException">The body is not JSON.</exception>
    public static ReadOnlyMemory<byte> Validate(ReadOnlyMemory<byte> body, ValidationErrors errors, IReadOnlyDictionary<string, int> opaque)
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
            Walk(body.Span, errors, opaque);
        }
        catch (JsonException e)
        {
            throw NotJson(string.Create(CultureInfo.InvariantCulture, $"See line {(e.LineNumber ?? 0) + 1}, byte {(e.BytePositionInLine ?? 0) + 1}."));
        }
        return body;
    }

    static UnreadableRequestException NotJson(string where) => new(new ErrorResult(400, "malformed_json", $"The body is not JSON. {where}"));

    static void Walk(ReadOnlySpan<byte> json, ValidationErrors errors, IReadOnlyDictionary<string, int> opaque)
    {
        // Deep JSON must be told from malformed JSON, so the reader accepts any depth: it keeps one bit for each level.
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = BodyBytesMax });
        var path = new Stack<Place>();
        var tooDeep = false;
        // A body of faults would cost a path for each of its bytes.
        while (!errors.IsFull && reader.Read())
        {
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject or JsonTokenType.StartArray:
                    Next(path);
                    if (reader.CurrentDepth >= DepthMax && !tooDeep)
                    {
                        tooDeep = true;
                        errors.Add(Text(path), $"Nested deeper than {DepthMax} levels.");
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
                        errors.Add(Text(path), "A member's name holds a NUL or a lone surrogate.");
                    }
                    else if (!tooDeep)
                    {
                        path.Peek().Name = reader.GetString();
                        if (reader.CurrentDepth == 1 && opaque.TryGetValue(path.Peek().Name!, out var levels) && !Pass(ref reader, levels))
                        {
                            errors.Add(Text(path), $"Nested deeper than {levels} levels.");
                        }
                    }
                    break;
                case JsonTokenType.String:
                    Next(path);
                    if (!Holds(reader))
                    {
                        errors.Add(Text(path), "Holds a NUL or a lone surrogate.");
                    }
                    break;
                case JsonTokenType.Number:
                    Next(path);
                    if (!reader.TryGetDouble(out var number) || !double.IsFinite(number))
                    {
                        errors.Add(Text(path), "The number is out of range.");
                    }
                    break;
                default:
                    Next(path);
                    break;
            }
        }
    }

    /// <summary>Goes past a member's value. False: it is nested deeper than so many levels.</summary>
    static bool Pass(ref Utf8JsonReader reader, int levels)
    {
        var deepest = 0;
        if (!reader.Read() || reader.TokenType is not (JsonTokenType.StartObject or JsonTokenType.StartArray))
        {
            return true;
        }
        for (var around = reader.CurrentDepth; reader.TokenType is not (JsonTokenType.EndObject or JsonTokenType.EndArray) || reader.CurrentDepth > around;)
        {
            if (reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                deepest = Math.Max(deepest, reader.CurrentDepth - around + 1);
            }
            if (!reader.Read())
            {
                break;
            }
        }
        return deepest <= levels;
    }

    /// <summary>Counts an element when its array is the innermost container.</summary>
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

    /// <summary>True: the string has no NUL and no lone surrogate. Only escapes can produce them, because the bytes are valid UTF-8.</summary>
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
