using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Cowork.Application.Storage;

/// <summary>The canonical form of JSON by RFC 8785: members sorted by UTF-16 code units, numbers as ECMAScript prints them, no white space.</summary>
public static class CanonicalJson
{
    static readonly JsonReaderOptions Reading = new() { MaxDepth = 1100 };

    /// <summary>The canonical form of one JSON value.</summary>
    /// <exception cref="JsonException">The text is not JSON, or not I-JSON: no UTF-8, a lone surrogate, a member twice, a number that is no finite double.</exception>
    public static byte[] Of(ReadOnlySpan<byte> json)
    {
        using var output = new PooledBuffer(json.Length + 16);
        Write(output, json);
        return output.Written.ToArray();
    }

    /// <summary>
    /// Writes the canonical form of one JSON value in one pass, and, when an object's members do not stand in order, copies it once more in order. Each member is sorted
    /// once, however deep it lies, so that what others wrote costs no more than its length and the sorting of its names.
    /// </summary>
    /// <exception cref="JsonException">As of <see cref="Of"/>.</exception>
    public static void Write(PooledBuffer output, ReadOnlySpan<byte> json)
    {
        if (!Utf8.IsValid(json))
        {
            throw new JsonException("The text is not UTF-8.");
        }
        var reader = new Utf8JsonReader(json, Reading);
        if (!reader.Read())
        {
            throw new JsonException("Empty JSON.");
        }
        var start = output.Length;
        var order = MemberOrder.Take();
        Value(ref reader, output, order);
        if (reader.Read())
        {
            throw new JsonException("More than one JSON value.");
        }
        order.Arrange(output, start);
    }

    /// <summary>
    /// Offset of the first byte that is not what the canonical form has there; null: the text is its own canonical form. It is one pass in which nothing is sorted or copied,
    /// so that what others wrote costs no more than it is long.
    /// </summary>
    /// <param name="depthMax">Objects and lists within each other.</param>
    /// <exception cref="JsonException">As of <see cref="Of"/>, or the text is deeper.</exception>
    public static long? FirstDeviation(ReadOnlySpan<byte> json, int depthMax, CancellationToken ct)
    {
        if (!Utf8.IsValid(json))
        {
            throw new JsonException("The text is not UTF-8.");
        }
        var reader = new Utf8JsonReader(json, new() { MaxDepth = depthMax });
        // For each container around the token: whether it has an item already, and its last member's name.
        var around = new (bool HasItem, string? Name)[depthMax + 1];
        var (depth, next, tokens) = (0, 0L, 0);
        var isValue = false;
        while (reader.Read())
        {
            if ((++tokens & 0xfff) == 0)
            {
                ct.ThrowIfCancellationRequested();
            }
            var isEnd = reader.TokenType is JsonTokenType.EndObject or JsonTokenType.EndArray;
            if (!isEnd && !isValue && around[depth].HasItem)
            {
                if (json[(int)next] != ',')
                {
                    return next;
                }
                next++;
            }
            if (reader.TokenStartIndex != next)
            {
                return next;
            }
            switch (reader.TokenType)
            {
                case JsonTokenType.StartObject or JsonTokenType.StartArray:
                    around[depth].HasItem = true;
                    around[++depth] = default;
                    next++;
                    break;
                case JsonTokenType.EndObject or JsonTokenType.EndArray:
                    depth--;
                    next++;
                    break;
                default:
                    if (ScalarDeviation(ref reader, json[(int)next..]) is { } within)
                    {
                        return next + within;
                    }
                    next += reader.ValueSpan.Length + (reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName ? 2 : 0);
                    around[depth].HasItem |= reader.TokenType != JsonTokenType.PropertyName;
                    break;
            }
            isValue = reader.TokenType == JsonTokenType.PropertyName;
            if (!isValue)
            {
                continue;
            }
            var name = reader.GetString()!;
            switch (around[depth].Name is { } before ? string.CompareOrdinal(before, name) : -1)
            {
                case 0:
                    throw new JsonException($"The member \"{name}\" stands twice.");
                case > 0:
                    return reader.TokenStartIndex;
            }
            around[depth].Name = name;
            if (json[(int)next] != ':')
            {
                return next;
            }
            next++;
        }
        return next == json.Length ? null : next;
    }

    /// <summary>Where a string, number or word differs from its canonical form, from its own begin; null: it does not.</summary>
    static int? ScalarDeviation(ref Utf8JsonReader reader, ReadOnlySpan<byte> rest)
    {
        var isText = reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName;
        // The reader has refused what must be escaped and is not; words have one form.
        if ((isText && !reader.ValueIsEscaped) || reader.TokenType is JsonTokenType.True or JsonTokenType.False or JsonTokenType.Null)
        {
            return null;
        }
        var given = rest[..(reader.ValueSpan.Length + (isText ? 2 : 0))];
        using var canonical = new PooledBuffer(given.Length + 16);
        if (isText)
        {
            String(ref reader, canonical);
        }
        else
        {
            Number(ref reader, canonical);
        }
        return given.SequenceEqual(canonical.Written) ? null : given.CommonPrefixLength(canonical.Written);
    }

    /// <summary>Writes a JSON string in its canonical form.</summary>
    public static void WriteString(IBufferWriter<byte> output, ReadOnlySpan<char> text)
    {
        output.Write("\""u8);
        while (!text.IsEmpty)
        {
            var plain = text.IndexOfAny(MustEscape);
            var run = plain < 0 ? text : text[..plain];
            while (!run.IsEmpty)
            {
                // In pieces, so that a long text does not ask for room for the longest that it could become. No piece ends within a character.
                var length = Math.Min(run.Length, PieceChars);
                length -= length < run.Length && char.IsHighSurrogate(run[length - 1]) ? 1 : 0;
                var span = output.GetSpan(Encoding.UTF8.GetMaxByteCount(length));
                output.Advance(Encoding.UTF8.GetBytes(run[..length], span));
                run = run[length..];
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

    const int PieceChars = 8_192;

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

    static void Value(ref Utf8JsonReader reader, PooledBuffer output, MemberOrder order)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartObject:
                Object(ref reader, output, order);
                break;
            case JsonTokenType.StartArray:
                output.Write("["u8);
                for (var first = true; reader.Read() && reader.TokenType != JsonTokenType.EndArray; first = false)
                {
                    if (!first)
                    {
                        output.Write(","u8);
                    }
                    Value(ref reader, output, order);
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

    static void Object(ref Utf8JsonReader reader, PooledBuffer output, MemberOrder order)
    {
        var (start, members) = (output.Length, order.Begin());
        var (isSorted, isPlain) = (true, true);
        ReadOnlySpan<byte> previous = default;
        output.Write("{"u8);
        for (var isFirst = true; reader.Read() && reader.TokenType != JsonTokenType.EndObject; isFirst = false)
        {
            if (!isFirst)
            {
                output.Write(","u8);
            }
            // The order of bytes is that of UTF-16 only as long as names are plain.
            isPlain = isPlain && !reader.ValueIsEscaped && Ascii.IsValid(reader.ValueSpan);
            isSorted = isSorted && isPlain && (isFirst || previous.SequenceCompareTo(reader.ValueSpan) < 0);
            previous = reader.ValueSpan;
            var name = output.Length;
            String(ref reader, output);
            order.Add(name, output.Length);
            output.Write(":"u8);
            reader.Read();
            Value(ref reader, output, order);
        }
        output.Write("}"u8);
        if (isSorted)
        {
            order.Forget(members);
        }
        else
        {
            order.End(members, isPlain, output.Written, start);
        }
    }

    /// <summary>Where the members of the objects stand in a text that is canonical but for their order. One for each thread, so that an event costs no garbage.</summary>
    sealed class MemberOrder
    {
        /// <summary>Members that a thread keeps room for.</summary>
        const int RoomMax = 4_096;

        /// <summary>Members up to which they are put into order one by one. It takes no memory, and with more of them too long.</summary>
        const int FewMax = 24;

        [ThreadStatic]
        static MemberOrder? Mine;

        /// <summary>Members of the objects that are open, by the offsets of their names.</summary>
        readonly List<(int Start, int NameEnd)> members = [];

        /// <summary>Objects whose members must be moved; after <see cref="Arrange"/> began, in the order of their begins.</summary>
        readonly List<Unordered> unordered = [];

        /// <summary>The members of these, in order.</summary>
        readonly List<(int Start, int NameEnd, int End)> moved = [];

        public static MemberOrder Take()
        {
            var order = Mine ??= new();
            order.members.Clear();
            order.unordered.Clear();
            order.moved.Clear();
            if (order.members.Capacity > RoomMax || order.unordered.Capacity > RoomMax || order.moved.Capacity > RoomMax)
            {
                Mine = order = new();
            }
            return order;
        }

        /// <summary>An object begins. Answers what its end has to be told.</summary>
        public int Begin() => members.Count;

        public void Add(int start, int nameEnd) => members.Add((start, nameEnd));

        /// <summary>An object ends whose members stand in order.</summary>
        public void Forget(int first) => members.RemoveRange(first, members.Count - first);

        /// <summary>The object that began at an offset ends where the text ends, and its members may stand in another order.</summary>
        /// <param name="isPlain">The names are ASCII without escapes: the order of their bytes is that of their characters.</param>
        /// <exception cref="JsonException">A member stands twice.</exception>
        public void End(int first, bool isPlain, ReadOnlySpan<byte> text, int start)
        {
            var (begin, count) = (moved.Count, members.Count - first);
            for (var i = 0; i < count; i++)
            {
                var (from, nameEnd) = members[first + i];
                moved.Add((from, nameEnd, (i + 1 < count ? members[first + i + 1].Start : text.Length) - 1));
            }
            var ranges = CollectionsMarshal.AsSpan(moved)[begin..];
            if (isPlain && count <= FewMax)
            {
                SortFew(ranges, text);
            }
            else
            {
                var names = new string[count];
                for (var i = 0; i < count; i++)
                {
                    names[i] = NameOf(ranges[i], text);
                }
                names.AsSpan().Sort(ranges, StringComparer.Ordinal);
                for (var i = 1; i < count; i++)
                {
                    if (names[i] == names[i - 1])
                    {
                        throw Twice(names[i]);
                    }
                }
            }
            unordered.Add(new(start, text.Length, begin, count));
            Forget(first);
        }

        static void SortFew(Span<(int Start, int NameEnd, int End)> ranges, ReadOnlySpan<byte> text)
        {
            for (var i = 1; i < ranges.Length; i++)
            {
                var range = ranges[i];
                var name = text[range.Start..range.NameEnd];
                var at = i;
                for (; at > 0; at--)
                {
                    var before = ranges[at - 1];
                    var order = text[(before.Start + 1)..(before.NameEnd - 1)].SequenceCompareTo(name[1..^1]);
                    if (order == 0)
                    {
                        throw Twice(NameOf(range, text));
                    }
                    if (order < 0)
                    {
                        break;
                    }
                    ranges[at] = before;
                }
                ranges[at] = range;
            }
        }

        static string NameOf((int Start, int NameEnd, int End) range, ReadOnlySpan<byte> text)
        {
            var reader = new Utf8JsonReader(text[range.Start..range.NameEnd]);
            reader.Read();
            return reader.GetString()!;
        }

        static JsonException Twice(string name) => new($"The member \"{name}\" stands twice.");

        /// <summary>Puts all members into order, in what was written from an offset on.</summary>
        public void Arrange(PooledBuffer output, int start)
        {
            if (unordered.Count == 0)
            {
                return;
            }
            unordered.Sort(static (a, b) => a.Start.CompareTo(b.Start));
            using var arranged = new PooledBuffer(output.Length - start);
            Copy(output.Written, start, output.Length, arranged);
            arranged.Written.CopyTo(output.Written[start..]);
        }

        void Copy(ReadOnlySpan<byte> text, int from, int to, PooledBuffer arranged)
        {
            for (var next = FirstFrom(from); next < unordered.Count && unordered[next].Start < to; next = FirstFrom(from))
            {
                var found = unordered[next];
                arranged.Write(text[from..found.Start]);
                arranged.Write("{"u8);
                for (var i = 0; i < found.Count; i++)
                {
                    if (i > 0)
                    {
                        arranged.Write(","u8);
                    }
                    var member = moved[found.First + i];
                    Copy(text, member.Start, member.End, arranged);
                }
                arranged.Write("}"u8);
                from = found.End;
            }
            arranged.Write(text[from..to]);
        }

        /// <summary>The first object that begins at an offset or behind it.</summary>
        int FirstFrom(int offset)
        {
            var (low, high) = (0, unordered.Count);
            while (low < high)
            {
                var middle = (low + high) / 2;
                (low, high) = unordered[middle].Start < offset ? (middle + 1, high) : (low, middle);
            }
            return low;
        }

        /// <param name="First">Of its members in <see cref="moved"/>.</param>
        readonly record struct Unordered(int Start, int End, int First, int Count);
    }

    static void String(ref Utf8JsonReader reader, PooledBuffer output)
    {
        if (!reader.ValueIsEscaped)
        {
            // Nothing escaped means nothing that would have to be.
            output.Write("\""u8);
            output.Write(reader.ValueSpan);
            output.Write("\""u8);
            return;
        }
        var text = ArrayPool<char>.Shared.Rent(reader.ValueSpan.Length);
        try
        {
            WriteString(output, text.AsSpan(0, reader.CopyString(text)));
        }
        catch (InvalidOperationException e)
        {
            throw new JsonException("A string holds a lone surrogate.", e);
        }
        finally
        {
            ArrayPool<char>.Shared.Return(text);
        }
    }

    static void Number(ref Utf8JsonReader reader, PooledBuffer output)
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
