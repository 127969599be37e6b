using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>How long rows are kept for pages of an earlier moment, and what finds them.</summary>
public sealed partial class MartenStorageSpec
{
    [Fact]
    public async Task What_was_replaced_longer_than_an_hour_ago_goes_with_the_next_writes()
    {
        var node = await Open("a");
        var chain = Card("1");
        await node.Log.Append(chain.Commit("one"), None);
        foreach (var text in (string[])["two", "three", "four"])
        {
            await node.Log.Append(chain.Commit(text), None);
        }
        Assert.Equal("1 2 3", await Ask("SELECT string_agg(updated::text, ' ' ORDER BY updated) FROM cowork.cards_past"));
        await Ask("UPDATE cowork.cards_past SET until_at = until_at - CASE updated WHEN 1 THEN interval '71 minutes' ELSE interval '69 minutes' END; SELECT ''");
        await node.Log.Append(Card("2").Commit("another"), None);
        Assert.Equal("2 3", await Ask("SELECT string_agg(updated::text, ' ' ORDER BY updated) FROM cowork.cards_past"));
    }

    [Fact]
    public async Task Rare_words_are_found_through_the_index_among_many_rows()
    {
        var node = await Open("a");
        // More than are compared one by one before the index is asked.
        for (var batch = 0; batch < 5; batch++)
        {
            await Task.WhenAll(Enumerable.Range(batch * 500, 500).Select(i => node.Log.Append(Card($"{i:d4}").Commit(i % 1000 == 7 ? "a rare one" : $"number {i}"), None).AsTask()));
        }
        Assert.Equal("0007 1007 2007", string.Join(' ', (await Shown(node, new("s", null, ["rare"], 10))).Split(' ').Order()));
        var page = (await Page(node, new("s", "few", ["rare", "one"], 2)))!;
        var last = (await Page(node, new("s", "few", ["rare", "one"], 2, page.Position, page.Rows[^1].Place)))!;
        Assert.Equal(["0007", "1007", "2007"], page.Rows.Concat(last.Rows).Select(r => r.Row.Key).Order());
        Assert.True(page.HasMore && !last.HasMore);
    }
}
