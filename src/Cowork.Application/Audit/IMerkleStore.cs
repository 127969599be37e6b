namespace Cowork.Application;

/// <summary>Names a tile: 32 hashes side by side, of complete subtrees of <c>32^Level</c> leaves each.</summary>
/// <param name="Number">From 0, from the left.</param>
public readonly record struct TileKey(int Level, long Number);

/// <summary>A tile as some leaves leave it.</summary>
/// <param name="Hashes">One after the other, 32 bytes each, 1 to 32 of them.</param>
/// <param name="Ids">The least and the greatest id of its events; null: it is no tile of leaves.</param>
public sealed record MerkleTile(TileKey Key, ReadOnlyMemory<byte> Hashes, (Guid Least, Guid Greatest)? Ids = null);

/// <summary>An event as the tree takes it.</summary>
/// <param name="Id">The event's id, by which proofs are asked for.</param>
public sealed record AuditEntry(AuditLeaf Leaf, Guid Id);

/// <param name="Head">The log's last position.</param>
/// <param name="Entries">In order, from the one after the position that was asked for. A gap in their positions is one in the log.</param>
public sealed record AuditPage(long Head, IReadOnlyList<AuditEntry> Entries);

/// <summary>The tiles of the tree over the log, and what of the log its leaves are made of.</summary>
public interface IMerkleStore
{
    /// <summary>Events that the tree has.</summary>
    ValueTask<long> Size(CancellationToken ct);

    /// <summary>What the leaves of the events after a position are made of, of every tenant.</summary>
    ValueTask<AuditPage> Read(long after, int max, CancellationToken ct);

    /// <summary>Writes tiles and the tree's new size, if it still has the size that they were made on. False: another host was first.</summary>
    ValueTask<bool> Grow(long from, long to, IReadOnlyList<MerkleTile> tiles, CancellationToken ct);

    /// <summary>Puts hashes in place of those that are there, leaves what a tile has beyond them, and answers how many tiles were different.</summary>
    ValueTask<int> Replace(IReadOnlyList<MerkleTile> tiles, CancellationToken ct);

    /// <summary>Those of the tiles that are there.</summary>
    ValueTask<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>> Tiles(IReadOnlyCollection<TileKey> keys, CancellationToken ct);

    /// <summary>The tenant's event at a position; null: it has none there.</summary>
    ValueTask<AuditEntry?> Find(string org, long position, CancellationToken ct);

    /// <summary>Those of the positions at which the tenant has an event, in order.</summary>
    ValueTask<IReadOnlyList<AuditEntry>> Find(string org, IReadOnlyList<long> positions, CancellationToken ct);
}
