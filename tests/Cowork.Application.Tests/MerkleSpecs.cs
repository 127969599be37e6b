using System.Text;

using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The tree against its definition in RFC 6962, at every size and place.</summary>
public sealed class MerkleSpecs
{
    const int SizeMax = 70;

    static readonly byte[][] Leaves = [.. Enumerable.Range(0, SizeMax).Select(i => MerkleTree.HashOfLeaf(Encoding.ASCII.GetBytes($"leaf {i}")))];

    [Theory]
    // The roots that certificate transparency's own tests have for the first leaves of theirs.
    [InlineData(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    [InlineData(1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d")]
    [InlineData(2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125")]
    [InlineData(3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77")]
    [InlineData(8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")]
    public void Roots_are_those_of_certificate_transparency(int size, string root)
    {
        string[] leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        var frontier = new MerkleFrontier();
        foreach (var leaf in leaves[..size])
        {
            frontier.Add(MerkleTree.HashOfLeaf(Convert.FromHexString(leaf)));
        }
        Assert.Equal(root, Convert.ToHexStringLower(frontier.Root()));
    }

    [Fact]
    public void Every_leaf_is_proved_in_every_tree_and_nothing_else_is()
    {
        for (var size = 1; size <= SizeMax; size++)
        {
            var root = Root(0, size);
            for (var leaf = 0; leaf < size; leaf++)
            {
                var path = Hashes(MerkleTree.Inclusion(leaf, size));
                Assert.Equal(Path(leaf, 0, size).Select(Convert.ToHexString), path.Select(Convert.ToHexString));
                Assert.True(MerkleTree.Includes(Leaves[leaf], leaf, size, path, root));
                Assert.False(MerkleTree.Includes(Leaves[(leaf + 1) % SizeMax], leaf, size, path, root));
                Assert.False(MerkleTree.Includes(Leaves[leaf], leaf + 1, size, path, root));
                Assert.False(MerkleTree.Includes(Leaves[leaf], leaf, size, [.. path, root], root));
                Assert.False(path.Count > 0 && MerkleTree.Includes(Leaves[leaf], leaf, size, [.. path.Skip(1)], root));
            }
        }
    }

    [Fact]
    public void Every_tree_extends_every_smaller_one_and_no_other()
    {
        for (var second = 1; second <= SizeMax; second++)
        {
            for (var first = 1; first <= second; first++)
            {
                var proof = Hashes(MerkleTree.Consistency(first, second));
                var (one, two) = (Root(0, first), Root(0, second));
                Assert.True(MerkleTree.Extends(first, one, second, two, proof));
                var other = MerkleTree.HashOfNode(one, two);
                Assert.False(MerkleTree.Extends(first, other, second, two, proof));
                Assert.False(MerkleTree.Extends(first, one, second, other, proof));
                Assert.False(MerkleTree.Extends(first, one, second, two, [.. proof, other]));
                Assert.False(first < second && MerkleTree.Extends(second, two, first, one, proof));
            }
        }
    }

    [Fact]
    public void A_leaf_names_what_the_event_has_and_nothing_of_its_content()
    {
        var leaf = new AuditLeaf(7, "acme", "run-1", 3, new('a', 64), 2, new SessionKey("mine"), new RunKey("01hzzzzzzzzzzzzzzzzzzzzzzz"), "trace", "command");
        Assert.Equal(
            $$"""{"causation_id":"command","correlation_id":"trace","feed_id":2,"gid":7,"hash":"{{new string('a', 64)}}","run_id":"run_01hzzzzzzzzzzzzzzzzzzzzzzz","""
            + "\"session_id\":\"mine\",\"stream_id\":\"run-1\",\"tenant_id\":\"acme\",\"version\":3}",
            Encoding.UTF8.GetString(leaf.Canonical()));
        Assert.Equal(
            $$"""{"gid":7,"hash":"{{new string('a', 64)}}","stream_id":"x","tenant_id":"acme","version":1}""",
            Encoding.UTF8.GetString(new AuditLeaf(7, "acme", "x", 1, new('a', 64)).Canonical()));
    }

    static List<byte[]> Hashes(IReadOnlyList<IReadOnlyList<MerkleNode>> of) =>
        [.. of.Select(nodes => MerkleTree.Root([.. nodes.Select(node => Root((int)(node.Index << node.Level), (int)((node.Index + 1) << node.Level)))]))];

    /// <summary>MTH of the definition.</summary>
    static byte[] Root(int from, int to) => to - from == 1 ? Leaves[from] : MerkleTree.HashOfNode(Root(from, from + Split(to - from)), Root(from + Split(to - from), to));

    /// <summary>PATH of the definition.</summary>
    static IEnumerable<byte[]> Path(int leaf, int from, int to) =>
        to - from == 1 ? []
        : leaf < from + Split(to - from) ? Path(leaf, from, from + Split(to - from)).Append(Root(from + Split(to - from), to))
        : Path(leaf, from + Split(to - from), to).Append(Root(from, from + Split(to - from)));

    static int Split(int size)
    {
        var k = 1;
        while (k * 2 < size)
        {
            k *= 2;
        }
        return k;
    }
}
