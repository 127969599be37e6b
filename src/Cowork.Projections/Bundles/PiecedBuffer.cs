using System.Buffers;

namespace Cowork.Projections;

/// <summary>Bytes in pieces of one size out of the shared pool: it grows without a copy of what it has, and leaves nothing behind for the garbage collector.</summary>
sealed class PiecedBuffer : IDisposable
{
    /// <summary>Below the size from which on the runtime keeps arrays apart and moves none.</summary>
    const int PieceBytes = 64 * 1024;

    readonly List<byte[]> pieces = [];
    int inLast = PieceBytes;

    public long Length => pieces.Count == 0 ? 0 : ((long)(pieces.Count - 1) * PieceBytes) + inLast;

    /// <summary>What was written. It is gone with the buffer.</summary>
    public IEnumerable<ReadOnlyMemory<byte>> Pieces => pieces.Select((piece, i) => new ReadOnlyMemory<byte>(piece, 0, i < pieces.Count - 1 ? PieceBytes : inLast));

    public void Write(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (inLast == PieceBytes)
            {
                pieces.Add(ArrayPool<byte>.Shared.Rent(PieceBytes));
                inLast = 0;
            }
            var part = bytes[..Math.Min(bytes.Length, PieceBytes - inLast)];
            part.CopyTo(pieces[^1].AsSpan(inLast));
            inLast += part.Length;
            bytes = bytes[part.Length..];
        }
    }

    public void Dispose()
    {
        pieces.ForEach(piece => ArrayPool<byte>.Shared.Return(piece));
        pieces.Clear();
        inLast = PieceBytes;
    }
}
