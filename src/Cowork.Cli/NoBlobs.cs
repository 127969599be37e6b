using Cowork.Application;

namespace Cowork.Cli;

/// <summary>For commands whose events name no blobs.</summary>
sealed class NoBlobs : IBlobs
{
    public bool HasRoom() => true;

    public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => throw new NotSupportedException();

    public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => throw new NotSupportedException();

    public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => throw new NotSupportedException();

    public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => throw new NotSupportedException();

    public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => throw new NotSupportedException();
}
