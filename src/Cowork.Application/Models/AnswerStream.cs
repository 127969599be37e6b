using System.Text;

using Cowork.Application.Storage;

namespace Cowork.Application.Models;

/// <summary>
/// The bytes of a model's answer, with a limit to its length. At their end it adds a blank line, which ends the last event where the provider left it out.
/// </summary>
sealed class AnswerStream(Stream bytes) : ReadOnlyStream
{
    /// <summary>More than any model answers. A server that never stops must not fill the memory.</summary>
    public const int BytesMax = 32 * 1024 * 1024;

    /// <summary>Longer than any event of any provider: a tool call with a whole file has two.</summary>
    public const int LineBytesMax = 8 * 1024 * 1024;

    /// <summary>Bytes of the beginning and of the end in which a reason is looked for when there was no answer.</summary>
    const int EndBytesMax = 8 * 1024;

    static readonly ReadOnlyMemory<byte> BlankLine = "\n\n"u8.ToArray();

    ReadOnlyMemory<byte> rest = BlankLine;
    readonly byte[] head = new byte[EndBytesMax];
    readonly byte[] tail = new byte[EndBytesMax];
    long total;
    long line;
    int headLength;
    int tailLength;

    /// <summary>All bytes were read, so that an event which is not whole is the last one.</summary>
    public bool HasEnded { get; private set; }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = HasEnded || buffer.IsEmpty ? 0 : await bytes.ReadAsync(buffer, cancellationToken);
        if (count == 0 && !buffer.IsEmpty)
        {
            HasEnded = true;
            count = Math.Min(rest.Length, buffer.Length);
            rest[..count].CopyTo(buffer);
            rest = rest[count..];
        }
        total += count;
        MeasureLine(buffer.Span[..count]);
        KeepEnds(buffer.Span[..count]);
        return total <= BytesMax ? count : throw new ModelException(ModelException.Failed, $"The model's answer is longer than {BytesMax} bytes.");
    }

    /// <summary>
    /// What the provider said where an answer belongs: a page, a document, or lines of JSON in place of events, or a line <c>error:</c> behind them. Null: none of these.
    /// </summary>
    public ProviderError? ReasonOfEnd()
    {
        var begin = Encoding.UTF8.GetString(head, 0, headLength).TrimStart('\ufeff', ' ', '\r', '\n', '\t');
        var lines = Encoding.UTF8.GetString(tail, 0, tailLength).Split('\n', StringSplitOptions.TrimEntries);
        var said = Array.FindLast(lines, text => text.StartsWith("error:", StringComparison.Ordinal)) is { } error ? error["error:".Length..]
            : begin.StartsWith('<') || begin.StartsWith('{') || begin.StartsWith('[') ? begin
            : "";
        // Of lines of JSON, the last one may tell the error, and the first one tells at least what came.
        var reason = begin.StartsWith('{') && Array.FindLast(lines, text => text.StartsWith('{') && text.Contains("error", StringComparison.Ordinal)) is { } last && said == begin
            ? ProviderError.Read(last)
            : ProviderError.Read(said);
        return reason.Reason.Length > 0 ? reason : null;
    }

    void KeepEnds(ReadOnlySpan<byte> read)
    {
        var first = read[..Math.Min(read.Length, EndBytesMax - headLength)];
        first.CopyTo(head.AsSpan(headLength));
        headLength += first.Length;
        var last = read[^Math.Min(read.Length, EndBytesMax)..];
        var kept = Math.Min(tailLength, EndBytesMax - last.Length);
        tail.AsSpan(tailLength - kept, kept).CopyTo(tail);
        last.CopyTo(tail.AsSpan(kept));
        tailLength = kept + last.Length;
    }

    /// <summary>Ends an answer whose line does not end, before the line is put together in memory.</summary>
    void MeasureLine(ReadOnlySpan<byte> read)
    {
        var end = read.IndexOfAny("\r\n"u8);
        line += end < 0 ? read.Length : end;
        if (line > LineBytesMax)
        {
            throw new ModelException(ModelException.Failed, $"A line of the model's answer is longer than {LineBytesMax} bytes.");
        }
        if (end >= 0)
        {
            line = read.Length - 1 - read.LastIndexOfAny("\r\n"u8);
        }
    }
}

/// <summary>A stream whose first bytes were read already.</summary>
sealed class PrefixedStream(ReadOnlyMemory<byte> prefix, Stream bytes) : ReadOnlyStream
{
    ReadOnlyMemory<byte> rest = prefix;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (rest.IsEmpty)
        {
            return await bytes.ReadAsync(buffer, cancellationToken);
        }
        var count = Math.Min(rest.Length, buffer.Length);
        rest[..count].CopyTo(buffer);
        rest = rest[count..];
        return count;
    }
}
