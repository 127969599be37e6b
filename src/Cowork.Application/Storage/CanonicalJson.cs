using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Cowork.Application.Storage;

/// <summary>The canonical form of JSON by RFC 8785: members sorted by UTF-16 code units, numbers as ECMAScript prints them, no white space.</summary>
public static class CanonicalJson
{
    /// <summary>The canonical form of one JSON value.</summary>
    /// <exception cref="JsonException">The text is not JSON, or not I-JSON: no UTF-8, a lone surrogate, a member twice, a number that is no finite double.</exception>
    public static byte[] Of(ReadOnlySpan<byte> json)
    {
        if (!Utf8.IsValid(json))
        {
            throw new JsonException("The text is not UTF-8.");
        }
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 1100 });
        var output = new ArrayBufferWriter<byte>(json.Length + 16);
        if (!reader.Read())
        {
            throw new JsonException("Empty JSON.");
        }
        Value(ref reader, output);
        if (reader.Read())
        {
            throw new JsonException("More than one JSON value.");
        }
        return output.WrittenSpan.ToArray();
    }

    /// <summary>Writes a JSON string in its canonical form.</summary>
    public static void WriteString(IBufferWriter<byte> output, ReadOnlySpan<char> text)
    {
        output.Write("\""u8);
        while (!text.IsEmpty)
        {
            var plain = text.IndexOfAny(MustEscape);
            var run = plain < 0 ? text : text[..plain];
            if (!run.IsEmpty)
            {
                var span = output.GetSpan(Encoding.UTF8.GetMaxByteCount(run.Length));
                output.Advance(Encoding.UTF8.GetBytes(run, span));
            }
            if (plain < 0)
            {
                break;
            }
            Escape(output, text[plain]);
            text = text[(plain + 1)..];
        }
        output.Write("\""u8);
    }

    static readonly SearchValues<char> MustEscape = SearchValues.Create(
        [.. Enumerable.Range(0, 0x20).Select(c => (char)c), '"', '\\']);

    static void Escape(IBufferWriter<byte> output, char c)
    {
        switch (c)
        {
            case '"':
                output.Write("\\\""u8);
                break;
            case '\\':
                output.Write("\\\\"u8);
                break;
            case '\b':
                output.Write("\\b"u8);
                break;
            case '\t':
                output.Write("\\t"u8);
                break;
            case '\n':
                output.Write("\\n"u8);
                break;
            case '\f':
                output.Write("\\f"u8);
                break;
            case '\r':
                output.Write("\\r"u8);
                break;
            default:
                output.Write(Encoding.ASCII.GetBytes($"\\u{(int)c:x4}"));
                break;
        }
    }

    static void Value(ref Utf8JsonReader reader, ArrayBufferWriter<byte> output)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartObject:
                Object(ref reader, output);
                break;
            case JsonTokenType.StartArray:
                output.Write("["u8);
                for (var first = true; reader.Read() && reader.TokenType != JsonTokenType.EndArray; first = false)
                {
                    if (!first)
                    {
                        output.Write(","u8);
                    }
                    Value(ref reader, output);
                }
                output.Write("]"u8);
                break;
            case JsonTokenType.String:
                String(ref reader, output);
                break;
            case JsonTokenType.Number:
                Number(ref reader, output);
                break;
            case JsonTokenType.True:
                output.Write("true"u8);
                break;
            case JsonTokenType.False:
                output.Write("false"u8);
                break;
            case JsonTokenType.Null:
                output.Write("null"u8);
                break;
            default:
                throw new JsonException($"Unexpected {reader.TokenType}.");
        }
    }

    static void Object(ref Utf8JsonReader reader, ArrayBufferWriter<byte> output)
    {
        // Members are written one after another as they come, then copied in order of their names.
        List<(string Name, int Start, int End)>? members = null;
        var inner = new ArrayBufferWriter<byte>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            var name = Text(ref reader);
            var start = inner.WrittenCount;
            WriteString(inner, name);
            inner.Write(":"u8);
            reader.Read();
            Value(ref reader, inner);
            (members ??= []).Add((name, start, inner.WrittenCount));
        }
        output.Write("{"u8);
        if (members is not null)
        {
            members.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
            for (var i = 0; i < members.Count; i++)
            {
                if (i > 0)
                {
                    if (members[i].Name == members[i - 1].Name)
                    {
                        throw new JsonException($"The member \"{members[i].Name}\" stands twice.");
                    }
                    output.Write(","u8);
                }
                output.Write(inner.WrittenSpan[members[i].Start..members[i].End]);
            }
        }
        output.Write("}"u8);
    }

    static void String(ref Utf8JsonReader reader, ArrayBufferWriter<byte> output)
    {
        if (!reader.ValueIsEscaped)
        {
            // Nothing escaped means nothing that would have to be.
            output.Write("\""u8);
            output.Write(reader.ValueSpan);
            output.Write("\""u8);
            return;
        }
        WriteString(output, Text(ref reader));
    }

    static string Text(ref Utf8JsonReader reader)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new JsonException("A string holds a lone surrogate.", e);
        }
    }

    static void Number(ref Utf8JsonReader reader, ArrayBufferWriter<byte> output)
    {
        if (reader.TryGetInt64(out var whole) && whole is >= -(1L << 53) and <= 1L << 53)
        {
            var span = output.GetSpan(20);
            System.Buffers.Text.Utf8Formatter.TryFormat(whole, span, out var written);
            output.Advance(written);
            return;
        }
        var value = reader.GetDouble();
        if (!double.IsFinite(value))
        {
            throw new JsonException("A number is out of range.");
        }
        output.Write(Encoding.ASCII.GetBytes(Ecma(value)));
    }

    /// <summary>ECMA-262, Number::toString(10), from .NET's shortest round-trip digits.</summary>
    static string Ecma(double value)
    {
        if (value == 0)
        {
            return "0";
        }
        var shortest = Math.Abs(value).ToString("R", CultureInfo.InvariantCulture);
        // Digits and exponent of the shortest form, whichever notation .NET chose for it.
        var e = shortest.IndexOf('E');
        var mantissa = e < 0 ? shortest : shortest[..e];
        var exponent = e < 0 ? 0 : int.Parse(shortest[(e + 1)..], CultureInfo.InvariantCulture);
        var point = mantissa.IndexOf('.');
        var digits = mantissa.Replace(".", "", StringComparison.Ordinal);
        var n = (point < 0 ? mantissa.Length : point) + exponent;
        var leading = digits.Length - digits.TrimStart('0').Length;
        digits = digits.TrimStart('0');
        n -= leading;
        digits = digits.TrimEnd('0');
        var k = digits.Length;
        var sign = value < 0 ? "-" : "";
        if (k <= n && n <= 21)
        {
            return sign + digits + new string('0', n - k);
        }
        if (n is > 0 and <= 21)
        {
            return $"{sign}{digits[..n]}.{digits[n..]}";
        }
        if (n is > -6 and <= 0)
        {
            return $"{sign}0.{new string('0', -n)}{digits}";
        }
        var power = (n - 1) < 0 ? $"e-{1 - n}" : $"e+{n - 1}";
        return k == 1 ? $"{sign}{digits}{power}" : $"{sign}{digits[..1]}.{digits[1..]}{power}";
    }
}
