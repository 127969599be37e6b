using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Read models with several rows for a stream, each by a key of its own.</summary>
public abstract partial class StorageContract
{
    [Fact]
    public async Task A_stream_has_a_row_for_each_of_its_keys()
    {
        var node = await Open("a");
        var (one, two) = (new Chain(Org, "run-1"), new Chain(Org, "run-2"));
        await node.Log.Append(one.Commit("begins", "a=1", "b=1", "a=2"), None);
        await node.Log.Append(two.Commit("a=9"), None);
        await node.Log.Append(one.Commit("b=2", "concerns no row"), None);

        // A row shows the stream as of the last event that went into it, and was made by the first.
        Assert.Equal(["1.a 2 4 {2 2}", "1.b 3 5 {2 2}", "2.a 5 1 {1 9}"], await Marks(node));
        Assert.Equal(["2.a", "1.b", "1.a"], (await node.Rows.List(Org, "marks", new(), None)).Select(r => r.Key));
        Assert.Equal(["1.a"], (await node.Rows.List(Org, "marks", new(Before: 3), None)).Select(r => r.Key));
        Assert.Equal(["2.a"], (await node.Rows.List(Org, "marks", new(Bytes: 1), None)).Select(r => r.Key)); // the first always fits
        Assert.Equal(3, await node.Rows.Count(Org, "marks", "few", 10, null, None));
        Assert.Null(await node.Rows.Get(Org, "marks", "1", None));
        await AssertLedger(node);
    }

    public static TheoryData<string, string> Fates => new()
    {
        { "a=1", "1.a 2 1 {1 1}" },                           // made
        { "a=1 a=2 a=3", "1.a 2 3 {3 3}" },                   // made and changed
        { "a=1 a=gone", "" },                                 // made and removed
        { "a=1 a=gone a=2", "1.a 4 3 {1 2}" },                // made, removed and made again: another row
        { "a=gone", "" },                                     // removed without having been there
        { "a=1 | a=gone", "" },                               // removed
        { "a=1 | a=gone a=2", "1.a 4 3 {1 2}" },              // removed and made again
        { "a=1 | a=2 a=gone a=3 a=4", "1.a 5 5 {2 4}" },      // changed, removed, made again and changed
        { "a=1 | a=gone a=2 a=gone", "" },                    // removed, made again and removed
        { "a=1 | a=gone | a=2", "1.a 4 3 {1 2}" },            // each in a commit of its own
        { "a=1 b=1 | a=gone b=2 c=1", "1.b 3 4 {2 2}, 1.c 6 5 {1 1}" },
    };

    [Theory]
    [MemberData(nameof(Fates))]
    public async Task A_row_may_be_made_changed_and_removed_in_one_commit(string story, string left)
    {
        foreach (var together in (bool[])[false, true])
        {
            var node = await Open(together ? "b" : "a");
            var org = together ? "together" : Org;
            var chain = new Chain(org, "run-1");
            var commits = story.Split(" | ").Select(texts => chain.Commit(texts.Split(' '))).Prepend(new Chain(org, "run-0").Commit("before")).ToList();
            // One after another, or as many in one flush as the engine takes.
            var before = (await node.Log.Feed(org, null, 0, int.MaxValue, None)).Head;
            if (together)
            {
                await Task.WhenAll(commits.Select(commit => node.Log.Append(commit, None).AsTask()));
            }
            foreach (var commit in together ? [] : commits)
            {
                Assert.IsType<AppendResult.Ok>(await node.Log.Append(commit, None));
            }
            Assert.Equal(left, string.Join(", ", await Marks(node, org, before)));
            await AssertLedger(node);
            await node.Rows.Rebuild(Chain.Marks, None);
            Assert.Equal(left, string.Join(", ", await Marks(node, org, before)));
            await node.Stop();
        }
    }

    [Fact]
    public async Task Rebuilt_rows_of_keys_are_the_live_ones()
    {
        var node = await Open("a");
        var random = new Random(Seeds.One(4711));
        var chains = Enumerable.Range(0, 20).Select(i => new Chain(i % 2 == 0 ? Org : "other", $"run-{i:d3}", $"s{i % 5}")).ToList();
        for (var i = 0; i < 200; i++)
        {
            var texts = Enumerable.Range(0, random.Next(1, 6))
                .Select(_ => random.Next(5) == 0 ? "nothing" : $"{(char)('a' + random.Next(4))}={(random.Next(4) == 0 ? "gone" : i)}").ToList();
            await node.Log.Append(chains[random.Next(chains.Count)].Commit(texts), None);
        }
        var (before, others) = (await Marks(node), await Marks(node, "other"));
        Assert.NotEmpty(before);
        await AssertLedger(node);
        await node.Rows.Rebuild(Chain.Marks, None);
        Assert.Equal(before, await Marks(node));
        Assert.Equal(others, await Marks(node, "other"));
        await AssertLedger(node);
    }

    /// <summary>The rows as key, position after <paramref name="since"/> that made it, version and content, in the order of their keys.</summary>
    static async Task<IEnumerable<string>> Marks(Node node, string org = Org, long since = 0) =>
        (await node.Rows.List(org, "marks", new(Limit: 1_000), None)).OrderBy(r => r.Key, StringComparer.Ordinal)
            .Select(r => (Row: r, Tally: Chain.Marks.Read(r.Json.Span)))
            .Select(r => $"{r.Row.Key} {r.Row.Created - since} {r.Row.Version} {{{r.Tally.Events} {r.Tally.Text}}}");
}
