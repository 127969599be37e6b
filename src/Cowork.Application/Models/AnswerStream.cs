namespace Cowork.Application.Models;

/// <summary>The bytes of a model's answer, with a limit to its length.</summary>
/// <param name="onRead">Called after each read.</param>
sealed class AnswerStream(Stream bytes, Action onRead) : Stream
{
    /// <summary>More than any model answers. A server that never stops must not fill the memory.</summary>
    public const int BytesMax = 32 * 1024 * 1024;

    long total;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await bytes.ReadAsync(buffer, cancellationToken);
        onRead();
        total += count;
        return total <= BytesMax ? count : throw new ModelException(ModelException.Failed, $"The model's answer is longer than {BytesMax} bytes.");
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Use ReadAsync.");

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
