using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Lists by parts of words of names, which an index that follows the log finds.</summary>
public abstract partial class StorageContract
{
    [Fact]
    public async Task A_list_by_name_has_what_a_list_has_whose_names_have_each_word()
    {
        var node = await OpenNamed();
        string[] names = ["Quarterly figures", "figs", "The FIG tree", "plum", "fig\tand plum", "x", "日本語"];
        foreach (var (i, name) in names.Index())
        {
            await node.Log.Append(new Chain(Org, $"run-{i}", i % 2 == 0 ? "even" : "odd").Commit(name), None);
        }
        await node.Log.Append(new Chain("other", "run-0").Commit("fig of another"), None);
        await Named(node);

        Assert.Equal(["4", "2", "1", "0"], await Found("FIG"));
        Assert.Equal(["4", "2"], await Found("fig", limit: 2));
        Assert.Equal(["1", "0"], await Found("fig", before: 3));
        Assert.Equal(["4"], await Found("um ig"));
        Assert.Equal(["5"], await Found("x"));
        Assert.Equal(["6"], await Found("本"));
        Assert.Equal(["4", "3"], await Found("lu"));
        Assert.Empty(await Found("figtree"));
        Assert.Equal(["4", "2", "1", "0"], await Found("fig", scope: "s"));
        Assert.Equal(["4", "2", "1", "0"], await Found("fig", scope: "s", ofFew: true));
        Assert.Empty(await Found("fig", scope: "t", ofFew: true));
        var page = await node.Rows.Page(Org, "tallies", new(Limit: 2) { Named = Chain.NamedLike("fig") }, 1, None);
        Assert.Equal((4, "2 1"), (page.Total, string.Join(' ', page.Rows.Select(row => row.Key))));
        Assert.Equal("0", Assert.Single(await node.Rows.List("other", "tallies", new() { Named = Chain.NamedLike("fig") }, None)).Key);
        Assert.Null(await node.Rows.FindDifference(Chain.Names, None));

        async Task<IEnumerable<string>> Found(string words, int limit = 10, long? before = null, string? scope = null, bool ofFew = false) =>
            (await node.Rows.List(Org, "tallies", new(scope, Limit: limit, Before: before) { Named = Chain.NamedLike(words) with { OfFew = ofFew } }, None)).Select(row => row.Key);
    }

    [Fact]
    public async Task A_name_is_found_behind_many_others_and_what_it_was_before_is_not()
    {
        var node = await OpenNamed();
        var (old, gone) = (new Chain(Org, "run-old"), new Chain(Org, "run-gone"));
        await node.Log.Append(old.Commit("a needle"), None);
        await node.Log.Append(gone.Commit("needle two"), None);
        for (var i = 0; i < 12; i++)
        {
            await node.Log.Append(new(Org, [.. Enumerable.Range(0, 100).Select(n => new Chain(Org, $"run-{i}x{n}").Next($"straw {i} {n}"))], [], null, Chain.By), None);
        }
        await Named(node);
        Assert.Equal(["gone", "old"], await Found("needle"));
        Assert.Equal(["old"], await Found("needle", 2));
        Assert.Equal(["0x0", "gone"], (await node.Rows.List(Org, "tallies", new(Limit: 2, Before: 4) { Named = Chain.NamedLike("w") }, None)).Select(row => row.Key));
        Assert.Equal(1_200, (await node.Rows.List(Org, "tallies", new(Limit: 2_000) { Named = Chain.NamedLike("straw") }, None)).Count);

        await node.Log.Append(old.Commit("a pin"), None);
        await node.Log.Append(gone.Commit("gone"), None);
        // Until the index has come so far, what is found is what is there.
        Assert.Equal(["old"], await Found("needle"));
        await Named(node);
        Assert.Empty(await Found("needle"));
        Assert.Equal(["old"], await Found("pin"));
        Assert.Equal(1_204, await node.Rows.Rebuild(Chain.Names, None));
        Assert.Equal(["old"], await Found("pin"));

        async Task<IEnumerable<string>> Found(string words, long? before = null) =>
            (await node.Rows.List(Org, "tallies", new(Limit: 5, Before: before) { Named = Chain.NamedLike(words) }, None)).Select(row => row.Key);
    }

    /// <summary>A node with names for its tallies.</summary>
    protected abstract Task<Node> OpenNamed();

    static Task Named(Node node) => Projector(node, Chain.Names).Projector.CatchUp(None);
}
