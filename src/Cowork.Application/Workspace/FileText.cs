using System.Text;

namespace Cowork.Application;

/// <summary>A file's bytes as text.</summary>
public static class FileText
{
    static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Bytes by which a file is told to be text or binary.</summary>
    const int ProbeBytes = 64 * 1024;

    /// <summary>
    /// The encoding that the first bytes of a file speak for, or null when they are not text: a byte order mark, else UTF-8 when it is valid, else
    /// Latin-1 when there is no control character in it.
    /// </summary>
    /// <param name="isWhole">False when the file goes on after these bytes.</param>
    public static Encoding? EncodingOf(ReadOnlySpan<byte> start, bool isWhole)
    {
        isWhole &= start.Length <= ProbeBytes;
        start = start[..Math.Min(start.Length, ProbeBytes)];
        if (start.StartsWith((ReadOnlySpan<byte>)[0xff, 0xfe]))
        {
            return Encoding.Unicode;
        }
        if (start.StartsWith((ReadOnlySpan<byte>)[0xfe, 0xff]))
        {
            return Encoding.BigEndianUnicode;
        }
        if (start.Contains((byte)0))
        {
            return null;
        }
        // The probe may end inside a character.
        for (var cut = 0; cut <= (isWhole ? 0 : Math.Min(3, start.Length)); cut++)
        {
            try
            {
                Strict.GetCharCount(start[..^cut]);
                return Encoding.UTF8;
            }
            catch (DecoderFallbackException)
            {
                // Not UTF-8, if no shorter start is.
            }
        }
        foreach (var b in start)
        {
            if (b is < 0x20 and not ((byte)'\t' or (byte)'\n' or (byte)'\r' or (byte)'\f' or 0x1b))
            {
                return null;
            }
        }
        return Encoding.Latin1;
    }

    /// <summary>The whole text, without a byte order mark; null when the bytes are not text.</summary>
    public static string? Decode(ReadOnlySpan<byte> bytes)
    {
        if (EncodingOf(bytes, isWhole: true) is not { } encoding)
        {
            return null;
        }
        var text = encoding.GetString(bytes);
        return text.StartsWith('\ufeff') ? text[1..] : text;
    }

    /// <summary>The file's bytes, as many as there are but no more than the limit.</summary>
    public static byte[] ReadBytes(GrantedPath.Found file, int atMost)
    {
        using var stream = file.OpenRead();
        var bytes = new byte[Math.Min(file.Size, atMost)];
        var read = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return read == bytes.Length ? bytes : bytes[..read];
    }

    /// <summary>The text cut to a length, at a word where there is one, with <c>…</c> when something was cut.</summary>
    public static string Cut(string text, int chars)
    {
        if (text.Length <= chars)
        {
            return text;
        }
        var end = chars - 1;
        var space = text.LastIndexOf(' ', end, Math.Min(end, 40));
        end = space > 0 ? space : char.IsLowSurrogate(text[end]) ? end - 1 : end;
        return text[..end].TrimEnd() + "…";
    }

    /// <summary>The text in one line.</summary>
    public static string OneLine(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
}
