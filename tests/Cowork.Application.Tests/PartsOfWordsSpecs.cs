using Xunit;

namespace Cowork.Application.Tests;

public sealed class PartsOfWordsSpecs
{
    [Theory]
    [InlineData("", "")]
    [InlineData("  Kitchen \t\n\u00a0 PHOTO ", "kitchen photo ")]
    [InlineData("ÄÖÜ Straße", "äöü straße")]
    [InlineData("😀\u0007x", "😀 x")]
    public void A_text_is_folded(string text, string folded) => Assert.Equal(folded, PartsOfWords.Fold(text));

    [Fact]
    public void A_query_has_distinct_words_and_no_more_than_are_looked_for()
    {
        Assert.Equal(["elm", "street"], PartsOfWords.Words(" Elm street  ELM"));
        Assert.Empty(PartsOfWords.Words(" \n"));
        Assert.Equal(PartsOfWords.WordsMax, PartsOfWords.Words(string.Join(' ', Enumerable.Range(0, 100))).Count);
    }

    [Fact]
    public void The_pieces_of_a_word_are_among_those_of_every_text_that_has_it_in_the_same_scope_alone()
    {
        var text = PartsOfWords.Pieces("acme", "user:ann", "a kitchen, redone");
        Assert.Subset(text.ToHashSet(), PartsOfWords.Pieces("acme", "user:ann", "kitchen", "redo").ToHashSet());
        Assert.Equal(5, PartsOfWords.Pieces("acme", "user:ann", "kitchen").Length);
        Assert.Empty(PartsOfWords.Pieces("acme", "user:ann", "ki", ""));
        foreach (var (org, scope) in ((string, string?)[])[("acme", "user:bob"), ("acme", null), ("acmeuser", ":ann"), ("other", "user:ann")])
        {
            Assert.Empty(text.Intersect(PartsOfWords.Pieces(org, scope, "a kitchen, redone")));
        }
    }

    [Fact]
    public void All_pieces_have_words_of_one_and_two_characters_too()
    {
        var text = PartsOfWords.AllPieces("acme", "session", "a kitchen, 日本").ToHashSet();
        Assert.Subset(text, PartsOfWords.AskedPieces("acme", "session", ["kitchen", "it", "a", "日"]).ToHashSet());
        Assert.DoesNotContain(PartsOfWords.AskedPieces("acme", "session", ["z"]).Single(), text);
        Assert.Equal(2, PartsOfWords.AskedPieces("acme", "session", ["abcd"]).Count);
        Assert.Empty(text.Intersect(PartsOfWords.AllPieces("acme", "skill", "a kitchen, 日本")));
    }
}
