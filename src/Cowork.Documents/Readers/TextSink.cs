using System.Buffers.Binary;
using System.Text;

namespace Cowork.Documents;

/// <summary>The text has reached its limit: nothing more is read of the document. It is no failure.</summary>
sealed class TextFullException : Exception;

/// <summary>
/// Takes the text of a document and writes it as UTF-8 in frames: the number of bytes as a 32-bit little-endian number, and as many bytes. Lines end with a line feed;
/// control characters other than tabs, line feeds and form feeds are left out; half of a surrogate pair becomes U+FFFD.
/// </summary>
sealed class TextSink(Stream output, int bytesMax)
{
    const int FrameBytes = 32 * 1024;

    /// <summary>Room for a character that needs up to four bytes, and for what the encoder holds back.</summary>
    const int SpareBytes = 16;

    readonly byte[] frame = new byte[4 + FrameBytes + SpareBytes];
    readonly char[] clean = new char[FrameBytes / 4];
    readonly Encoder encoder = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false).GetEncoder();
    int used;
    long written;
    bool afterReturn;

    /// <summary>False: all text so far is white space.</summary>
    public bool HasText { get; private set; }

    /// <summary>The last character that was written; a line feed at the beginning.</summary>
    public char Last { get; private set; } = '\n';

    /// <exception cref="TextFullException">The text is as long as it may be.</exception>
    public void Write(ReadOnlySpan<char> text)
    {
        var count = 0;
        foreach (var c in text)
        {
            if (c == '\n' && afterReturn)
            {
                afterReturn = false;
                continue;
            }
            afterReturn = c == '\r';
            var written = afterReturn ? '\n' : c;
            if (char.IsControl(written) && written is not ('\t' or '\n' or '\f'))
            {
                continue;
            }
            HasText |= !char.IsWhiteSpace(written);
            clean[count++] = Last = written;
            if (count == clean.Length)
            {
                Encode(clean, flush: false);
                count = 0;
            }
        }
        Encode(clean.AsSpan(0, count), flush: false);
    }

    public void Write(char c) => Write([c]);

    /// <summary>Ends the line unless it is empty.</summary>
    public void EndLine()
    {
        if (Last is not ('\n' or '\f'))
        {
            Write('\n');
        }
    }

    /// <summary>Ends a page, a sheet or a slide.</summary>
    public void EndPage()
    {
        EndLine();
        if (Last != '\f' && HasText)
        {
            Write('\f');
        }
    }

    /// <summary>Writes what is held back.</summary>
    public void Flush()
    {
        try
        {
            Encode([], flush: true);
        }
        catch (TextFullException)
        {
            // At most half of a pair was held back.
        }
        WriteFrame();
    }

    void Encode(ReadOnlySpan<char> chars, bool flush)
    {
        bool isDone;
        do
        {
            var room = (int)Math.Min(FrameBytes + SpareBytes - used, bytesMax - written - used);
            if (room < 4 && (chars.Length > 0 || flush))
            {
                if (written + used + 4 > bytesMax)
                {
                    throw new TextFullException();
                }
                WriteFrame();
                room = (int)Math.Min(FrameBytes + SpareBytes, bytesMax - written);
            }
            encoder.Convert(chars, frame.AsSpan(4 + used, Math.Max(0, room)), flush, out var charsUsed, out var bytesUsed, out isDone);
            used += bytesUsed;
            chars = chars[charsUsed..];
            if (used >= FrameBytes)
            {
                WriteFrame();
            }
        }
        while (!isDone);
    }

    void WriteFrame()
    {
        if (used > 0)
        {
            BinaryPrimitives.WriteInt32LittleEndian(frame, used);
            output.Write(frame, 0, 4 + used);
            written += used;
            used = 0;
        }
    }
}
