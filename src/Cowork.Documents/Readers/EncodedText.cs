using System.Text;

namespace Cowork.Documents;

/// <summary>Text files: their encoding, and their text as it stands.</summary>
static class EncodedText
{
    static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Windows-1252, which has the printable characters of Latin-1 and more.</summary>
    public static Encoding Western { get; } = MakeWestern();

    /// <summary>
    /// The encoding of text by its first bytes: that of a byte order mark, else UTF-16 when every other byte is zero, else UTF-8 if they are valid, else Windows-1252 if they
    /// have no control characters. Null: they are no text.
    /// </summary>
    /// <param name="isWhole">True: the text ends after these bytes. Otherwise they may end within a character.</param>
    public static Encoding? Detect(ReadOnlySpan<byte> start, bool isWhole)
    {
        if (start.StartsWith((ReadOnlySpan<byte>)[0xef, 0xbb, 0xbf]))
        {
            return Encoding.UTF8;
        }
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
            return DetectUtf16(start);
        }
        if (IsUtf8(start, isWhole))
        {
            return Encoding.UTF8;
        }
        foreach (var b in start)
        {
            if (b is < 0x20 and not ((byte)'\t' or (byte)'\n' or (byte)'\r' or (byte)'\f' or 0x1b))
            {
                return null;
            }
        }
        return Western;
    }

    /// <summary>Writes the text of a file. True: there is more than is read of a document.</summary>
    public static bool Write(FileStream file, TextSink sink)
    {
        var bytes = new byte[DocumentKind.ProbeBytes];
        var length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        var decoder = (Detect(bytes.AsSpan(0, length), isWhole: length < bytes.Length) ?? Western).GetDecoder();
        var chars = new char[DocumentKind.ProbeBytes + 8];
        for (var isFirst = true; ; isFirst = false)
        {
            var count = decoder.GetChars(bytes.AsSpan(0, length), chars, flush: length == 0);
            var text = chars.AsSpan(0, count);
            sink.Write(isFirst && text.StartsWith("\ufeff") ? text[1..] : text);
            if (length == 0)
            {
                return false;
            }
            length = file.Read(bytes);
        }
    }

    static bool IsUtf8(ReadOnlySpan<byte> start, bool isWhole)
    {
        for (var cut = 0; cut <= (isWhole ? 0 : Math.Min(3, start.Length)); cut++)
        {
            try
            {
                StrictUtf8.GetCharCount(start[..^cut]);
                return true;
            }
            catch (DecoderFallbackException)
            {
                // A shorter start may be valid.
            }
        }
        return false;
    }

    /// <summary>Text without a byte order mark has its ASCII characters and zeros in turn; a binary file has zeros at both.</summary>
    static Encoding? DetectUtf16(ReadOnlySpan<byte> start)
    {
        var (even, odd, ascii) = (0, 0, 0);
        for (var i = 0; i + 1 < start.Length; i += 2)
        {
            even += start[i] == 0 ? 1 : 0;
            odd += start[i + 1] == 0 ? 1 : 0;
            ascii += start[i] + start[i + 1] is >= 0x20 or 9 or 10 or 13 ? 1 : 0;
        }
        var pairs = start.Length / 2;
        return ascii < pairs ? null
            : even == 0 && odd > pairs * 2 / 5 ? Encoding.Unicode
            : odd == 0 && even > pairs * 2 / 5 ? Encoding.BigEndianUnicode
            : null;
    }

    static Encoding MakeWestern()
    {
        Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);
        return Encoding.GetEncoding(1252);
    }
}
