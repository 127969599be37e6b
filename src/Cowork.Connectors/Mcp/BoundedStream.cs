using Cowork.Application.Storage;

namespace Cowork.Connectors;

/// <summary>What ends a message in a stream.</summary>
enum MessageEnd
{
    /// <summary>The end of the stream: it is one message.</summary>
    Stream,

    /// <summary>A line feed.</summary>
    Line,

    /// <summary>A blank line, as in a stream of events.</summary>
    BlankLine,
}

/// <summary>A peer sent a message that is longer than anybody reads.</summary>
sealed class MessageTooLongException(int bytesMax) : IOException($"it sent a message of more than {bytesMax >> 20} MiB");

/// <summary>Reads a stream of messages, each up to a length. Whoever puts a message together from it needs no limit of his own.</summary>
/// <param name="onTooLong">Called once, before the exception.</param>
sealed class BoundedStream(Stream inner, MessageEnd end, int bytesMax, Action<MessageTooLongException> onTooLong) : ReadOnlyStream
{
    int message;
    int line;

    public override int Read(byte[] buffer, int offset, int count) => Count(buffer.AsSpan(offset, inner.Read(buffer, offset, count)));

    public override int Read(Span<byte> buffer) => Count(buffer[..inner.Read(buffer)]);

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await inner.ReadAsync(buffer, cancellationToken);
        return Count(buffer.Span[..read]);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            inner.Dispose();
        }
        base.Dispose(disposing);
    }

    int Count(ReadOnlySpan<byte> bytes)
    {
        foreach (var one in bytes)
        {
            if (++message > bytesMax)
            {
                var tooLong = new MessageTooLongException(bytesMax);
                onTooLong(tooLong);
                throw tooLong;
            }
            if (one == '\n')
            {
                message = end == MessageEnd.Line || (end == MessageEnd.BlankLine && line == 0) ? 0 : message;
                line = 0;
            }
            else if (one != '\r')
            {
                line++;
            }
        }
        return bytes.Length;
    }
}
