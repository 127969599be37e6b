using Xunit;

namespace Cowork.Application.Tests;

public sealed class TermIndexSpecs
{
    [Fact]
    public void A_rare_word_counts_more_than_a_common_one_and_a_second_mention_less_than_the_first()
    {
        var index = new TermIndex();
        foreach (var text in (string[])["the ferry leaves", "the ferry waits", "the ferry sank", "a zeppelin", "ferry, ferry, ferry", "nothing"])
        {
            index.Add(TermIndex.Terms(text));
        }
        Assert.Equal([3, 4], Best(index, "ferry or zeppelin").Take(2));
        Assert.Equal([4, 0, 1, 2], Best(index, "Ferries"));
        Assert.Empty(Best(index, "the"));
        Assert.Empty(Best(index, ""));
    }

    [Fact]
    public void Equal_texts_score_the_same_however_long_they_are()
    {
        var index = new TermIndex();
        index.Add(TermIndex.Terms("ferry"));
        index.Add(TermIndex.Terms("the ferry to the island, which leaves at nine when there is no storm"));
        var found = index.Find(TermIndex.Terms("ferry"));
        Assert.Equal(2, found.Count);
        Assert.Equal(found[0].Score, found[1].Score);
        Assert.Equal(found[0].Score, index.Score(TermIndex.Terms("ferry"), TermIndex.Terms("a ferry elsewhere")));
    }

    [Fact]
    public void Words_that_no_text_has_do_not_crowd_out_those_that_one_has()
    {
        var index = new TermIndex();
        var slot = index.Add(TermIndex.Terms("the launch password is marmalade"));
        var question = TermIndex.Terms(string.Join(' ', Enumerable.Range(0, 200).Select(n => $"unknown{n}")) + " launch password");
        Assert.Equal(slot, Assert.Single(index.Find(question)).Slot);
        Assert.True(index.Score(question, TermIndex.Terms("the launch password")) > 0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void What_was_taken_out_is_not_found_and_its_room_is_used_again(int seed)
    {
        var random = new Random(seed);
        var index = new TermIndex();
        var texts = new Dictionary<int, string>();
        for (var i = 0; i < 3_000; i++)
        {
            if (texts.Count > 0 && random.Next(5) < 2)
            {
                var slot = texts.Keys.ElementAt(random.Next(texts.Count));
                index.Remove(slot);
                texts.Remove(slot);
            }
            else
            {
                var text = string.Join(' ', Enumerable.Range(0, 1 + random.Next(6)).Select(_ => $"w{random.Next(40)}"));
                texts.Add(index.Add(TermIndex.Terms(text)), text);
            }
            if (index.IsSparse)
            {
                var moved = index.Compact();
                texts = texts.ToDictionary(t => moved[t.Key], t => t.Value);
                Assert.Equal(texts.Keys.Order(), Enumerable.Range(0, texts.Count));
            }
            Assert.Equal(texts.Count, index.Count);
            if (i % 50 == 0)
            {
                var word = $"w{random.Next(40)}";
                Assert.Equal(texts.Where(t => t.Value.Split(' ').Contains(word)).Select(t => t.Key).Order(), index.Find([word]).Select(f => f.Slot).Order());
            }
        }
        var bytes = index.Bytes;
        foreach (var slot in texts.Keys)
        {
            index.Remove(slot);
        }
        index.Compact();
        Assert.True(bytes > 0);
        Assert.Equal((0, 0L), (index.Count, index.Bytes));
    }

    static IEnumerable<int> Best(TermIndex index, string question) =>
        index.Find(TermIndex.Terms(question)).OrderByDescending(f => f.Score).ThenBy(f => f.Slot).Select(f => f.Slot);
}
