using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Storage.Tests;

public abstract partial class StorageContract
{
    [Fact]
    public async Task The_tree_has_the_root_of_the_logs_leaves_and_proves_each_of_its_events()
    {
        var node = await Open("a");
        var leaves = await Fill(node, commits: 70);
        var tree = Tree(node);
        Assert.True(await tree.CatchUp(None));
        Assert.Equal(new TreeProgress(leaves.Count, leaves.Count, null), tree.Progress);
        foreach (var size in (int[])[1, 2, 3, 31, 32, 33, 64, 100, leaves.Count])
        {
            var root = await tree.Tiles.Root(size, None);
            Assert.Equal(RootOf(leaves[..size]), root);
            foreach (var position in new[] { 1, size / 2, size }.Where(position => position > 0))
            {
                Assert.True(MerkleTree.Includes(leaves[position - 1], position - 1, size, await tree.Tiles.Inclusion(position, size, None), root));
            }
            Assert.True(MerkleTree.Extends(size, root, leaves.Count, RootOf(leaves), await tree.Tiles.Consistency(size, leaves.Count, None)));
        }
    }

    [Fact]
    public async Task A_tree_that_several_nodes_grow_is_the_one_that_a_single_node_makes()
    {
        var nodes = new[] { await Open("a"), await Open("b"), await Open("c") };
        var trees = nodes.Select(Tree).ToList();
        var writing = Task.Run(() => Fill(nodes[0], commits: 40));
        while (!writing.IsCompleted)
        {
            await Task.WhenAll(trees.Select(tree => tree.CatchUp(None)));
        }
        var leaves = await writing;
        Assert.True(await trees[1].CatchUp(None));
        Assert.Equal(RootOf(leaves), await trees[2].Tiles.Root(leaves.Count, None));
        var made = new MerkleRebuild(nodes[0].Merkle);
        Assert.Null(await made.FindDifference(None));
    }

    [Fact]
    public async Task A_tile_that_differs_from_the_log_is_found_and_made_anew()
    {
        var node = await Open("a");
        var leaves = await Fill(node, commits: 30);
        var tree = Tree(node);
        await tree.CatchUp(None);
        var key = new TileKey(0, 1);
        var tile = (await node.Merkle.Tiles([key], None))[key].ToArray();
        tile[40] ^= 1;
        Assert.Equal(1, await node.Merkle.Replace([new(key, tile)], None));
        Assert.Equal("event 34", await new MerkleRebuild(node.Merkle).FindDifference(None));
        Assert.Equal(leaves.Count, await new MerkleRebuild(node.Merkle).Rebuild(None));
        Assert.Null(await new MerkleRebuild(node.Merkle).FindDifference(None));
        Assert.Equal(RootOf(leaves), await tree.Tiles.Root(leaves.Count, None));
    }

    [Fact]
    public async Task A_tenants_event_is_found_by_position_and_by_id_and_no_other_tenants()
    {
        var node = await Open("a");
        await Fill(node, commits: 12);
        var tree = Tree(node);
        // Its id says another time, as that of a clock that was wrong.
        var odd = new Chain(Org, "run-odd").Commit("odd");
        odd = odd with { Writes = [odd.Writes[0] with { Events = [odd.Writes[0].Events[0] with { Id = Ids.NewEventId(Chain.Start.AddDays(-3)) }] }] };
        await node.Log.Append(odd, None);
        var fresh = (await node.Log.Feed(Org, null, 0, 1, None)).Entries[0];
        Assert.Equal(fresh.Position, await node.Positions.Of(Org, fresh.Id, None));
        await tree.CatchUp(None);
        foreach (var e in (await node.Log.Feed(Org, null, 0, int.MaxValue, None)).Entries)
        {
            var position = await node.Positions.Of(Org, e.Id, None);
            Assert.Equal(e.Position, position);
            Assert.Equal(e.Id, (await node.Merkle.Find(Org, position!.Value, None))!.Id);
            Assert.Null(await node.Positions.Of("other", e.Id, None));
            Assert.Null(await node.Merkle.Find("other", e.Position, None));
        }
        Assert.Null(await node.Merkle.Find(Org, 0, None));
        Assert.Null(await node.Merkle.Find(Org, long.MaxValue, None));
    }

    protected static AuditTree Tree(Node node) => new(node.Merkle, TimeProvider.System, NullLogger<AuditTree>.Instance);

    static byte[] RootOf(IEnumerable<byte[]> leaves)
    {
        var frontier = new MerkleFrontier();
        foreach (var leaf in leaves)
        {
            frontier.Add(leaf);
        }
        return frontier.Root();
    }

    /// <summary>Commits of two tenants, in sessions' feeds and outside them. Answers the hashes of the log's leaves.</summary>
    static async Task<List<byte[]>> Fill(Node node, int commits)
    {
        var mine = new Chain(Org, "run-1", "s1", "1");
        var theirs = new Chain("theirs", "run-2");
        for (var i = 0; i < commits; i++)
        {
            await node.Log.Append(mine.Commit("one", "two"), None);
            await node.Log.Append(theirs.Commit("three"), None);
        }
        var leaves = new SortedDictionary<long, byte[]>();
        foreach (var org in (string[])[Org, "theirs"])
        {
            var feed = await node.Log.Feed(org, null, 0, int.MaxValue, None);
            var ids = (await node.Log.Feed(Org, new("s1"), 0, int.MaxValue, None)).Entries.ToDictionary(e => e.Position, e => e.FeedId);
            foreach (var e in feed.Entries)
            {
                var leaf = new AuditLeaf(
                    e.Position, e.Org, e.Stream, e.Version, e.Hash, ids.GetValueOrDefault(e.Position), e.Session, e.Run, e.Correlation, e.Causation);
                leaves.Add(e.Position, leaf.LeafHash());
            }
        }
        return [.. leaves.Values];
    }
}
