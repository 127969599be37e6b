using System.Buffers;
using System.Numerics;
using System.Security.Cryptography;

using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>A complete subtree: the hash over the leaves from <c>Index × 2^Level</c> on, <c>2^Level</c> of them.</summary>
public readonly record struct MerkleNode(int Level, long Index);

/// <summary>
/// The hashes of RFC 6962, section 2.1, with SHA-256: of leaves, nodes and roots, and proofs with their checks. What a proof is made of is asked for as complete
/// subtrees, so that whoever stores those reads a number of them that grows with the logarithm of the tree's size.
/// </summary>
public static class MerkleTree
{
    /// <summary>Bytes of a hash.</summary>
    public const int HashBytes = 32;

    /// <summary>What stands before a leaf where it is hashed.</summary>
    public const byte LeafPrefix = 0;

    /// <summary>Levels of the largest tree.</summary>
    public const int LevelsMax = 63;

    /// <summary>Root of the tree without leaves.</summary>
    public static byte[] EmptyRoot => SHA256.HashData([]);

    public static byte[] HashOfLeaf(ReadOnlySpan<byte> leaf)
    {
        using var input = new PooledBuffer(leaf.Length + 1);
        input.Write((ReadOnlySpan<byte>)[LeafPrefix]);
        input.Write(leaf);
        return SHA256.HashData(input.Written);
    }

    public static byte[] HashOfNode(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        Span<byte> input = stackalloc byte[1 + 2 * HashBytes];
        input[0] = 1;
        left.CopyTo(input[1..]);
        right.CopyTo(input[(1 + HashBytes)..]);
        return SHA256.HashData(input);
    }

    /// <summary>The hash over a power of two of hashes of one level.</summary>
    /// <param name="hashes">One after the other.</param>
    public static byte[] HashOfSubtree(ReadOnlySpan<byte> hashes)
    {
        if (hashes.Length == HashBytes)
        {
            return hashes.ToArray();
        }
        var half = hashes.Length / 2;
        return HashOfNode(HashOfSubtree(hashes[..half]), HashOfSubtree(hashes[half..]));
    }

    /// <summary>The complete subtrees that make the root of the first leaves, the largest first.</summary>
    public static IReadOnlyList<MerkleNode> NodesOf(long size) => NodesOf(0, size);

    /// <summary>The path of a leaf (2.1.1): for each of its hashes the complete subtrees that it is made of.</summary>
    /// <param name="leaf">From 0, less than <paramref name="size"/>.</param>
    public static IReadOnlyList<IReadOnlyList<MerkleNode>> Inclusion(long leaf, long size)
    {
        var path = new List<IReadOnlyList<MerkleNode>>();
        for (var (from, to) = (0L, size); to - from > 1;)
        {
            var middle = from + Split(to - from);
            if (leaf < middle)
            {
                path.Add(NodesOf(middle, to));
                to = middle;
            }
            else
            {
                path.Add(NodesOf(from, middle));
                from = middle;
            }
        }
        path.Reverse();
        return path;
    }

    /// <summary>
    /// One proof of several leaves: the ranges without any of them, from the left, whose hashes together with the leaves' make the root. What their paths share is there once.
    /// </summary>
    /// <param name="leaves">From 0, ascending, at least one.</param>
    public static IReadOnlyList<IReadOnlyList<MerkleNode>> Inclusion(IReadOnlyList<long> leaves, long size)
    {
        var proof = new List<IReadOnlyList<MerkleNode>>();
        Descend(leaves, 0, leaves.Count, 0, size, (from, to) =>
        {
            proof.Add(NodesOf(from, to));
            return [];
        }, _ => [], (_, _) => []);
        return proof;
    }

    /// <summary>The root that leaves and their common proof make; null: the proof has too few hashes, or too many.</summary>
    /// <param name="leaves">From 0, ascending, with their hashes.</param>
    public static byte[]? Root(IReadOnlyList<(long Leaf, byte[] Hash)> leaves, long size, IReadOnlyList<byte[]> proof)
    {
        long[] indexes = [.. leaves.Select(leaf => leaf.Leaf)];
        if (indexes.Length == 0 || indexes[0] < 0 || indexes[^1] >= size || indexes.Zip(indexes.Skip(1)).Any(pair => pair.First >= pair.Second))
        {
            return null;
        }
        var used = 0;
        var root = Descend(
            indexes, 0, indexes.Length, 0, size, (_, _) => used < proof.Count ? proof[used++] : [], i => leaves[i].Hash,
            (left, right) => left.Length == HashBytes && right.Length == HashBytes ? HashOfNode(left, right) : []);
        return used == proof.Count && root.Length == HashBytes ? root : null;
    }

    /// <summary>Goes through a tree from the left, and no further down than leaves are there.</summary>
    /// <param name="first">The first of the leaves that are in the range.</param>
    /// <param name="end">The first that is not.</param>
    static byte[] Descend(
        IReadOnlyList<long> leaves, int first, int end, long from, long to, Func<long, long, byte[]> without, Func<int, byte[]> leaf, Func<byte[], byte[], byte[]> node)
    {
        if (first == end)
        {
            return without(from, to);
        }
        if (to - from == 1)
        {
            return leaf(first);
        }
        var middle = from + Split(to - from);
        var (half, high) = (first, end);
        while (half < high)
        {
            var between = (half + high) / 2;
            (half, high) = leaves[between] < middle ? (between + 1, high) : (half, between);
        }
        var left = Descend(leaves, first, half, from, middle, without, leaf, node);
        return node(left, Descend(leaves, half, end, middle, to, without, leaf, node));
    }

    /// <summary>The proof that a tree begins with a smaller one (2.1.2): for each of its hashes the complete subtrees that it is made of.</summary>
    /// <param name="first">From 1, no more than <paramref name="second"/>. Equal: the proof is empty.</param>
    public static IReadOnlyList<IReadOnlyList<MerkleNode>> Consistency(long first, long second)
    {
        var proof = new List<IReadOnlyList<MerkleNode>>();
        var isWhole = true;
        for (var (from, to) = (0L, second); ;)
        {
            if (first == to)
            {
                if (!isWhole)
                {
                    proof.Add(NodesOf(from, to));
                }
                proof.Reverse();
                return proof;
            }
            var middle = from + Split(to - from);
            if (first <= middle)
            {
                proof.Add(NodesOf(middle, to));
                to = middle;
            }
            else
            {
                proof.Add(NodesOf(from, middle));
                (from, isWhole) = (middle, false);
            }
        }
    }

    /// <summary>The hash over some leaves from its complete subtrees, the largest first.</summary>
    public static byte[] Root(IReadOnlyList<byte[]> nodes)
    {
        if (nodes.Count == 0)
        {
            return EmptyRoot;
        }
        var root = nodes[^1];
        for (var i = nodes.Count - 2; i >= 0; i--)
        {
            root = HashOfNode(nodes[i], root);
        }
        return root;
    }

    /// <summary>True: the leaf is in the tree (RFC 9162, section 2.1.3.2).</summary>
    /// <param name="leaf">From 0.</param>
    public static bool Includes(byte[] leafHash, long leaf, long size, IReadOnlyList<byte[]> path, byte[] root)
    {
        if (leaf < 0 || leaf >= size || path.Any(hash => hash.Length != HashBytes))
        {
            return false;
        }
        var (node, last, hash) = (leaf, size - 1, leafHash);
        foreach (var sibling in path)
        {
            if (last == 0)
            {
                return false;
            }
            if (node % 2 == 1 || node == last)
            {
                hash = HashOfNode(sibling, hash);
                while (node % 2 == 0 && node != 0)
                {
                    (node, last) = (node >> 1, last >> 1);
                }
            }
            else
            {
                hash = HashOfNode(hash, sibling);
            }
            (node, last) = (node >> 1, last >> 1);
        }
        return last == 0 && root.AsSpan().SequenceEqual(hash);
    }

    /// <summary>True: the second tree begins with the first one (RFC 9162, section 2.1.4.2).</summary>
    public static bool Extends(long first, byte[] firstRoot, long second, byte[] secondRoot, IReadOnlyList<byte[]> proof)
    {
        if (first < 1 || first > second || proof.Any(hash => hash.Length != HashBytes))
        {
            return false;
        }
        if (first == second)
        {
            return proof.Count == 0 && firstRoot.AsSpan().SequenceEqual(secondRoot);
        }
        var hashes = proof.ToList();
        if (BitOperations.IsPow2(first))
        {
            hashes.Insert(0, firstRoot);
        }
        if (hashes.Count == 0)
        {
            return false;
        }
        var (node, last) = (first - 1, second - 1);
        while (node % 2 == 1)
        {
            (node, last) = (node >> 1, last >> 1);
        }
        var (one, two) = (hashes[0], hashes[0]);
        foreach (var hash in hashes.Skip(1))
        {
            if (last == 0)
            {
                return false;
            }
            if (node % 2 == 1 || node == last)
            {
                (one, two) = (HashOfNode(hash, one), HashOfNode(hash, two));
                while (node % 2 == 0 && node != 0)
                {
                    (node, last) = (node >> 1, last >> 1);
                }
            }
            else
            {
                two = HashOfNode(two, hash);
            }
            (node, last) = (node >> 1, last >> 1);
        }
        return last == 0 && firstRoot.AsSpan().SequenceEqual(one) && secondRoot.AsSpan().SequenceEqual(two);
    }

    /// <summary>The complete subtrees of leaves from an offset on, which is a multiple of the largest of them.</summary>
    static List<MerkleNode> NodesOf(long from, long to)
    {
        var nodes = new List<MerkleNode>();
        while (from < to)
        {
            var level = BitOperations.Log2((ulong)(to - from));
            nodes.Add(new(level, from >> level));
            from += 1L << level;
        }
        return nodes;
    }

    /// <summary>The complete subtrees of any range of leaves, from the left, each as large as its place allows.</summary>
    /// <param name="from">The first leaf, from 0.</param>
    /// <param name="to">The first one behind it.</param>
    public static IReadOnlyList<MerkleNode> NodesBetween(long from, long to)
    {
        var nodes = new List<MerkleNode>();
        while (from < to)
        {
            var room = BitOperations.Log2((ulong)(to - from));
            var level = from == 0 ? room : Math.Min(room, BitOperations.TrailingZeroCount(from));
            nodes.Add(new(level, from >> level));
            from += 1L << level;
        }
        return nodes;
    }

    /// <summary>The largest power of two below a number of leaves, which is at least 2.</summary>
    static long Split(long size) => 1L << BitOperations.Log2((ulong)(size - 1));
}

/// <summary>A tree that grows leaf by leaf and remembers no more than the complete subtrees of its right edge: as much as its root needs.</summary>
public sealed class MerkleFrontier
{
    readonly List<byte[]> nodes;

    public MerkleFrontier()
        : this(0, [])
    {
    }

    /// <param name="nodes">Those of <see cref="MerkleTree.NodesOf(long)"/>.</param>
    public MerkleFrontier(long size, IEnumerable<byte[]> nodes) => (Size, this.nodes) = (size, [.. nodes]);

    public long Size { get; private set; }

    public IReadOnlyList<byte[]> Nodes => nodes;

    /// <param name="completed">Called with the level and the hash of each subtree that the leaf completes, itself first.</param>
    public void Add(byte[] leafHash, Action<int, byte[]>? completed = null) => Add(leafHash, 0, completed);

    /// <summary>Adds a complete subtree of <c>2^level</c> leaves, of which the tree has a multiple.</summary>
    public void Add(byte[] subtree, int level, Action<int, byte[]>? completed = null)
    {
        var (hash, of) = (subtree, level);
        completed?.Invoke(of, hash);
        for (var size = Size >> level; size % 2 == 1; size >>= 1)
        {
            hash = MerkleTree.HashOfNode(nodes[^1], hash);
            nodes.RemoveAt(nodes.Count - 1);
            completed?.Invoke(++of, hash);
        }
        nodes.Add(hash);
        Size += 1L << level;
    }

    public byte[] Root() => MerkleTree.Root(nodes);
}
