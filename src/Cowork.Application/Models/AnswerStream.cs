namespace Cowork.Application.Models;

/// <summary>A model's answer as bytes: with an end to its patience, and to its length.</summary>
/// <param name="arrived">Called with every piece.</param>
sealed class AnswerStream(Stream bytes, Action arrived) : Stream
{
    /// <summary>More than any model says; a server that never stops must not fill the memory.</summary>
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
        arrived();
        total += count;
        return total <= BytesMax ? count : throw new ModelException(ModelException.Failed, $"The model's answer is longer than {BytesMax} bytes.");
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("An answer is awaited.");

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
