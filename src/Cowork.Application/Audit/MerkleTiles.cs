namespace Cowork.Application;

/// <summary>
/// The tree in tiles of five levels: a root or a proof reads one tile for every five levels of the tree and end of a range, whatever the tree's size.
/// </summary>
public sealed class MerkleTiles(IMerkleStore store)
{
    /// <summary>Levels that a tile spans.</summary>
    public const int Height = 5;

    /// <summary>Hashes of a full tile.</summary>
    public const int Width = 1 << Height;

    public async ValueTask<byte[]> Root(long size, CancellationToken ct) => MerkleTree.Root(await Nodes(MerkleTree.NodesOf(size), ct));

    /// <summary>The path of the event at a position.</summary>
    public ValueTask<IReadOnlyList<byte[]>> Inclusion(long position, long size, CancellationToken ct) => Proof(MerkleTree.Inclusion(position - 1, size), ct);

    public ValueTask<IReadOnlyList<byte[]>> Consistency(long first, long second, CancellationToken ct) => Proof(MerkleTree.Consistency(first, second), ct);

    /// <summary>One proof of several events.</summary>
    /// <param name="positions">Ascending.</param>
    public ValueTask<IReadOnlyList<byte[]>> Inclusion(IReadOnlyList<long> positions, long size, CancellationToken ct) =>
        Proof(MerkleTree.Inclusion([.. positions.Select(position => position - 1)], size), ct);

    /// <summary>The hashes of complete subtrees.</summary>
    /// <exception cref="InvalidDataException">A tile is missing or short: the tree is not what was written.</exception>
    public async ValueTask<IReadOnlyList<byte[]>> Nodes(IReadOnlyList<MerkleNode> nodes, CancellationToken ct)
    {
        var tiles = await Tiles(nodes, ct);
        return [.. nodes.Select(node => Hash(node, tiles))];
    }

    async ValueTask<IReadOnlyList<byte[]>> Proof(IReadOnlyList<IReadOnlyList<MerkleNode>> of, CancellationToken ct)
    {
        var tiles = await Tiles(of.SelectMany(nodes => nodes), ct);
        return [.. of.Select(nodes => MerkleTree.Root([.. nodes.Select(node => Hash(node, tiles))]))];
    }

    async ValueTask<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>> Tiles(IEnumerable<MerkleNode> nodes, CancellationToken ct)
    {
        var keys = nodes.Select(Of).ToHashSet();
        return keys.Count == 0 ? System.Collections.Frozen.FrozenDictionary<TileKey, ReadOnlyMemory<byte>>.Empty : await store.Tiles(keys, ct);
    }

    static TileKey Of(MerkleNode node) => new(node.Level / Height, (node.Index << (node.Level % Height)) >> Height);

    static byte[] Hash(MerkleNode node, IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>> tiles)
    {
        var (first, count) = ((int)((node.Index << (node.Level % Height)) % Width), 1 << (node.Level % Height));
        if (!tiles.TryGetValue(Of(node), out var tile) || tile.Length < (first + count) * MerkleTree.HashBytes)
        {
            throw new InvalidDataException($"The tree over the log has no subtree {node.Index} of level {node.Level}. cowork rebuild makes it anew from the log.");
        }
        return MerkleTree.HashOfSubtree(tile.Span.Slice(first * MerkleTree.HashBytes, count * MerkleTree.HashBytes));
    }
}

/// <summary>The tiles at the right edge of the tree, and what becomes of them as it grows.</summary>
public sealed class MerkleEdge
{
    /// <summary>The tile of each level that is not full; a level without one has an empty list.</summary>
    readonly List<List<byte[]>> open = [];
    readonly HashSet<int> grown = [];
    readonly Dictionary<TileKey, MerkleTile> changed = [];
    (Guid Least, Guid Greatest) ids;

    MerkleEdge(long size) => Size = size;

    public long Size { get; private set; }

    /// <summary>The edge of the tree as it is stored.</summary>
    /// <exception cref="InvalidDataException">A tile is missing or short.</exception>
    public static async ValueTask<MerkleEdge> Load(IMerkleStore store, long size, CancellationToken ct)
    {
        var edge = new MerkleEdge(size);
        var keys = new List<TileKey>();
        for (var (level, count) = (0, size); count > 0; level++, count >>= MerkleTiles.Height)
        {
            if (count % MerkleTiles.Width != 0)
            {
                keys.Add(new(level, count >> MerkleTiles.Height));
            }
        }
        var tiles = keys.Count == 0 ? null : await store.Tiles(keys, ct);
        foreach (var key in keys)
        {
            var wanted = (int)((size >> (MerkleTiles.Height * key.Level)) % MerkleTiles.Width);
            if (!tiles!.TryGetValue(key, out var tile) || tile.Length < wanted * MerkleTree.HashBytes)
            {
                throw new InvalidDataException($"The tree over the log has no tile {key.Number} of level {key.Level}. cowork rebuild makes it anew from the log.");
            }
            for (var i = 0; i < wanted; i++)
            {
                edge.Open(key.Level).Add(tile.Slice(i * MerkleTree.HashBytes, MerkleTree.HashBytes).ToArray());
            }
        }
        // Ids of the tile that goes on were seen by whoever wrote it: the store keeps the wider of two ranges.
        return edge;
    }

    public void Add(byte[] leafHash, Guid id)
    {
        ids = Open(0).Count == 0 || ids == default ? (id, id) : (id.CompareTo(ids.Least) < 0 ? id : ids.Least, id.CompareTo(ids.Greatest) > 0 ? id : ids.Greatest);
        Push(0, Size, leafHash);
        Size++;
    }

    /// <summary>The tiles that have changed since they were taken last.</summary>
    public IReadOnlyList<MerkleTile> Take()
    {
        foreach (var level in grown.Where(level => open[level].Count > 0))
        {
            Keep(level, (Size >> (MerkleTiles.Height * level)) >> MerkleTiles.Height);
        }
        grown.Clear();
        MerkleTile[] tiles = [.. changed.Values];
        changed.Clear();
        return tiles;
    }

    /// <param name="index">Of the hash, among those of its level.</param>
    void Push(int level, long index, byte[] hash)
    {
        var tile = Open(level);
        tile.Add(hash);
        grown.Add(level);
        if (tile.Count < MerkleTiles.Width)
        {
            return;
        }
        Keep(level, index >> MerkleTiles.Height);
        var all = Bytes(tile);
        tile.Clear();
        Push(level + 1, index >> MerkleTiles.Height, MerkleTree.HashOfSubtree(all));
    }

    void Keep(int level, long number) => changed[new(level, number)] = new(new(level, number), Bytes(open[level]), level == 0 ? ids : null);

    List<byte[]> Open(int level)
    {
        while (open.Count <= level)
        {
            open.Add([]);
        }
        return open[level];
    }

    static byte[] Bytes(List<byte[]> hashes)
    {
        var all = new byte[hashes.Count * MerkleTree.HashBytes];
        for (var i = 0; i < hashes.Count; i++)
        {
            hashes[i].CopyTo(all, i * MerkleTree.HashBytes);
        }
        return all;
    }
}
