using System.Text;

namespace Cowork.Application;

/// <summary>Reads file contents as text and shortens text.</summary>
public static class FileText
{
    static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Bytes that decide whether a file is text or binary.</summary>
    const int ProbeBytes = 64 * 1024;

    /// <summary>
    /// The encoding of a file by its first bytes: that of a byte order mark, else UTF-8 if they are valid, else Latin-1 if they have no control character.
    /// Null: the file is binary.
    /// </summary>
    /// <param name="isWhole">True: the file ends after these bytes.</param>
    public static Encoding? DetectEncoding(ReadOnlySpan<byte> start, bool isWhole)
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
        // The bytes may end inside a character.
        for (var cut = 0; cut <= (isWhole ? 0 : Math.Min(3, start.Length)); cut++)
        {
            try
            {
                StrictUtf8.GetCharCount(start[..^cut]);
                return Encoding.UTF8;
            }
            catch (DecoderFallbackException)
            {
                // Not valid UTF-8; a shorter start may be.
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

    /// <summary>The text without a byte order mark; null: the bytes are not text.</summary>
    public static string? Decode(ReadOnlySpan<byte> bytes)
    {
        if (DetectEncoding(bytes, isWhole: true) is not { } encoding)
        {
            return null;
        }
        var text = encoding.GetString(bytes);
        return text.StartsWith('\ufeff') ? text[1..] : text;
    }

    /// <summary>The file's first bytes, up to the limit.</summary>
    public static byte[] ReadBytes(GrantedPath.Found file, int bytesMax)
    {
        using var stream = file.OpenRead();
        var bytes = new byte[Math.Min(file.Size, bytesMax)];
        var read = stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return read == bytes.Length ? bytes : bytes[..read];
    }

    /// <summary>The text truncated to a length, at a word boundary if possible; <c>…</c> marks a truncated text.</summary>
    public static string Truncate(string text, int charsMax)
    {
        if (text.Length <= charsMax)
        {
            return text;
        }
        var end = charsMax - 1;
        var space = text.LastIndexOf(' ', end, Math.Min(end, 40));
        end = space > 0 ? space : char.IsLowSurrogate(text[end]) ? end - 1 : end;
        return text[..end].TrimEnd() + "…";
    }

    /// <summary>The text in one line, with single spaces.</summary>
    public static string OneLine(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
}
