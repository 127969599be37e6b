using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Rows that are read in pages of one moment, the last change first.</summary>
public abstract partial class StorageContract
{
    const string Cards = "cards";

    protected static Chain Card(string stream, string org = Org) => new(org, $"run-{stream}", also: Chain.Cards);

    protected static ValueTask<MomentPage?> Page(Node node, MomentQuery query, string org = Org) => node.Rows.PageAt(org, Cards, query, None);

    protected static async Task<string> Shown(Node node, MomentQuery query, string org = Org)
    {
        var page = (await Page(node, query, org))!;
        return string.Join(' ', page.Rows.Select(r => r.Row.Key)) + (page.HasMore ? " …" : "");
    }

    [Fact]
    public async Task Pages_of_one_moment_show_what_was_there_whatever_is_written_meanwhile()
    {
        var (node, other) = (await Open("a"), await Open("b"));
        var chains = Enumerable.Range(0, 12).Select(i => Card($"{i:d2}")).ToList();
        foreach (var chain in chains)
        {
            await node.Log.Append(chain.Commit("begins"), None);
        }
        // Two changes come before the rest; of equal times the later position comes first.
        await node.Log.Append(chains[5].Commit("again"), None);
        await node.Log.Append(chains[2].Commit("again"), None);

        var first = (await Page(node, new("s", null, [], 3)))!;
        Assert.Equal((14L, true), (first.Position, first.HasMore));
        Assert.Equal(["02", "05", "11"], first.Rows.Select(r => r.Row.Key));
        var (seen, page) = (first.Rows.Select(r => (r.Row.Key, Text: Chain.Cards.Read(r.Row.Json.Span).Text)).ToList(), first);
        foreach (var round in Enumerable.Range(0, 10))
        {
            // Changed, changed twice in one commit, deleted and made anew: before the place of the pages and behind it.
            await other.Log.Append(chains[round].Commit("later"), None);
            await node.Log.Append(chains[9 - round].Commit("later", "and later"), None);
            await other.Log.Append(chains[(round * 7) % 12].Commit("gone"), None);
            await node.Log.Append(Card($"new-{round}").Commit("new"), None);
            if (page.HasMore)
            {
                page = (await Page(round % 2 == 0 ? other : node, new("s", null, [], 3, first.Position, page.Rows[^1].Place)))!;
                seen.AddRange(page.Rows.Select(r => (r.Row.Key, Chain.Cards.Read(r.Row.Json.Span).Text)));
            }
        }
        Assert.False(page.HasMore);
        Assert.Equal(
            ["02 again", "05 again", .. ((int[])[11, 10, 9, 8, 7, 6, 4, 3, 1, 0]).Select(i => $"{i:d2} begins")], seen.Select(s => $"{s.Key} {s.Text}"));
        // At once, and after a rebuild, it is the same.
        Assert.Equal("02 05 11 10 09 08 07 06 04 03 01 00", await Shown(node, new("s", null, [], 100, first.Position)));
        Assert.Null(await node.Rows.FindDifference(Chain.Cards, None));
        await node.Rows.Rebuild(Chain.Cards, None);
        Assert.Null(await node.Rows.FindDifference(Chain.Cards, None));
        Assert.Equal("02 05 11 10 09 08 07 06 04 03 01 00", await Shown(other, new("s", null, [], 100, first.Position)));
        await AssertLedger(node);
    }

    [Theory]
    [InlineData("kitchen", "3 1")]
    [InlineData("itche", "3 1")]        // a part of a word
    [InlineData("KITCHEN Photo", "1")]  // all of them, without regard to case
    [InlineData("kitchen kitchens", "")]
    [InlineData("50%", "2")]            // no pattern
    [InlineData("_", "")]
    [InlineData("a", "4 3 2")]         // shorter than a piece
    [InlineData("a sale", "2")]
    [InlineData("北京", "4")]
    [InlineData("京房", "")]
    [InlineData("北京市", "4")]
    [InlineData("😀", "4")]
    [InlineData("straße", "4")]
    public async Task Rows_are_found_by_parts_of_words(string query, string found)
    {
        var node = await Open("a");
        foreach (var (stream, text) in ((string, string)[])
        [
            ("1", "Kitchen\u00a0photo"), ("2", "Sale: 50% off a flat"), ("3", "a kitchen,\nredone"), ("4", "北京市 😀 Straße"),
        ])
        {
            await node.Log.Append(Card(stream).Commit(text), None);
        }
        await node.Log.Append(Card("5", "other").Commit("kitchen photo 50% a sale 北京市"), None);
        var words = Application.PartsOfWords.Words(query);
        Assert.Equal(found, await Shown(node, new("s", null, words, 10)));
        Assert.Equal(found, await Shown(node, new("s", "few", words, 10)));
        Assert.Equal("", await Shown(node, new("s", "many", words, 10)));
        Assert.Equal("", await Shown(node, new("t", null, words, 10)));
        // In what was there before everything changed, too.
        var moment = (await Page(node, new("s", null, words, 10)))!.Position;
        foreach (var stream in (string[])["1", "2", "3", "4"])
        {
            var chain = Card(stream);
            await chain.Reload(node.Log);
            await node.Log.Append(chain.Commit(stream == "1" ? "gone" : "nothing of it: ~"), None);
        }
        Assert.Equal("", await Shown(node, new("s", null, words.Append("kitchen").ToList(), 10)));
        Assert.Equal(found, await Shown(node, new("s", null, words, 10, moment)));
    }

    [Fact]
    public async Task A_page_of_a_moment_has_a_limit_of_rows_and_of_bytes_and_none_is_of_a_moment_to_come()
    {
        var node = await Open("a");
        Assert.Equal("", await Shown(node, new("s", null, [], 10)));
        Assert.Equal(0, (await Page(node, new("s", null, ["word"], 10)))!.Position);
        foreach (var stream in (string[])["1", "2", "3"])
        {
            await node.Log.Append(Card(stream).Commit("a word"), None);
        }
        Assert.Equal("3 2 …", await Shown(node, new("s", null, [], 2)));
        Assert.Equal("3 2 …", await Shown(node, new("s", null, ["word"], 2)));
        Assert.Equal("3 2 1", await Shown(node, new("s", null, [], 3)));
        Assert.Equal("3 …", await Shown(node, new("s", null, [], 3, Bytes: 1))); // the first always fits
        Assert.Equal("3 …", await Shown(node, new("s", null, ["word"], 3, Bytes: 1)));
        Assert.Null(await Page(node, new("s", null, [], 3, 4)));
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Rows.List(Org, Cards, new(), None));
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Rows.PageAt(Org, "marks", new("s", null, [], 3), None));
    }
}
