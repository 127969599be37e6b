namespace Cowork.Application;

/// <summary>Makes the tree over the log anew from the log, beside its users, and compares the two.</summary>
public sealed class MerkleRebuild(IMerkleStore store)
{
    const int PageMax = 2_000;

    /// <summary>Writes what the log makes of each tile in place of what is there, as far as the tree had come. Answers the number of events.</summary>
    /// <exception cref="InvalidDataException">The log has a gap.</exception>
    public async Task<long> Rebuild(CancellationToken ct)
    {
        var size = await store.Size(ct);
        await foreach (var tiles in Made(size, ct))
        {
            await store.Replace(tiles, ct);
        }
        return size;
    }

    /// <summary>The first event whose leaf the tree has otherwise than the log, or the first node above the leaves that differs; null: there is none.</summary>
    /// <exception cref="InvalidDataException">The log has a gap.</exception>
    public async Task<string?> FindDifference(CancellationToken ct)
    {
        await foreach (var tiles in Made(await store.Size(ct), ct))
        {
            var there = await store.Tiles([.. tiles.Select(tile => tile.Key)], ct);
            foreach (var tile in tiles.OrderBy(tile => (tile.Key.Level, tile.Key.Number)))
            {
                var made = tile.Hashes.Span;
                var stored = there.TryGetValue(tile.Key, out var found) ? found.Span : [];
                // A tile at the edge may have grown since.
                if (stored.Length >= made.Length && stored[..made.Length].SequenceEqual(made))
                {
                    continue;
                }
                var same = made.CommonPrefixLength(stored) / MerkleTree.HashBytes;
                var index = tile.Key.Number * MerkleTiles.Width + same;
                return tile.Key.Level == 0 ? $"event {index + 1}" : $"node {index} of level {tile.Key.Level * MerkleTiles.Height}";
            }
        }
        return null;
    }

    /// <summary>The tiles of the tree's first events as the log makes them, in pieces; a tile at the end of a piece comes again with the next one.</summary>
    async IAsyncEnumerable<IReadOnlyList<MerkleTile>> Made(long size, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var edge = await MerkleEdge.Load(store, 0, ct);
        while (edge.Size < size)
        {
            var page = await store.Read(edge.Size, (int)Math.Min(PageMax, size - edge.Size), ct);
            foreach (var (leaf, id) in page.Entries)
            {
                if (leaf.Position != edge.Size + 1)
                {
                    throw new InvalidDataException($"The log has no event at position {edge.Size + 1}.");
                }
                edge.Add(leaf.LeafHash(), id);
            }
            if (page.Entries.Count == 0)
            {
                throw new InvalidDataException($"The log has no event at position {edge.Size + 1}, and the tree over it has {size}.");
            }
            yield return edge.Take();
        }
    }
}
