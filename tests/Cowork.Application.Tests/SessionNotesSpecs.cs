using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

public sealed partial class SessionNotesSpecs
{
    [Fact]
    public void A_summary_holds_the_last_turns_oldest_first()
    {
        var first = SessionNotes.Summary(null, SessionNotes.Turn("Where is\nBarrow?", "In Alaska."));
        Assert.Equal("Asked: Where is Barrow? Answered: In Alaska.", first);
        Assert.Equal($"{first}\nAsked: And Nome? Answered: There too.", SessionNotes.Summary(first, SessionNotes.Turn("And Nome?", "There too.")));
    }

    [Fact]
    public void A_summary_stays_within_its_bounds_and_keeps_the_newest()
    {
        var summary = "";
        for (var i = 0; i < 50; i++)
        {
            summary = SessionNotes.Summary(
                summary, SessionNotes.Turn($"Question {i} {string.Concat(Enumerable.Repeat("word ", 200))}", string.Concat(Enumerable.Repeat("answer ", 200))));
            Assert.InRange(summary.Length, 1, SessionNotes.SummaryChars);
        }
        Assert.Contains("Question 49 ", summary, StringComparison.Ordinal);
        Assert.DoesNotContain("Question 40 ", summary, StringComparison.Ordinal);
        Assert.All(summary.Split('\n'), l => Assert.Matches("^Asked: Question \\d+ .*word… Answered: .*answer…$", l));
    }

    [Fact]
    public void A_models_words_on_a_turn_are_one_line_within_bounds()
    {
        Assert.Equal("One.\nTwo lines.", SessionNotes.Summary("One.", " Two\nlines. "));
        var longest = SessionNotes.Summary(null, string.Concat(Enumerable.Repeat("word ", 1_000)));
        Assert.InRange(longest.Length, 300, 450);
    }

    [Fact]
    public void Directives_are_not_what_was_asked()
    {
        Assert.Equal("Asked: Look. Answered: Done.", SessionNotes.Turn("Look.\n/tool list_files\n/say Done.", "Done."));
        Assert.Equal("Asked: use of list_files Answered: Done.", SessionNotes.Turn("/tool list_files", $"Done. {OfflineModel.Disclaimer}"));
    }

    [Fact]
    public void A_learning_is_the_question_and_the_facts_with_their_sources()
    {
        var reply = "From the session's files:\n- a.csv:5: city=Barrow\n- a.csv:11: city=Winder\nNo file has: alaska.\n";
        Assert.Equal("Where is Barrow?\n- a.csv:5: city=Barrow\n- a.csv:11: city=Winder", SessionNotes.Learning("Where is Barrow?", reply, []));
    }

    [Fact]
    public void A_learning_may_be_a_count() =>
        Assert.Equal("How many?\n- 1 of the 2 rows of a.csv have x = y (a.csv:2).", SessionNotes.Learning("How many?", "1 of the 2 rows of a.csv have x = y (a.csv:2).", []));

    [Fact]
    public void A_learning_may_come_from_the_tools() =>
        Assert.Equal(
            "use of search_files\n- data/b c.md:1-3: found",
            SessionNotes.Learning("/tool search_files {}", "Done.", [new("search_files", "data/b c.md:1-3: found\n[note]", false), new("read_file", "x.md:1: refused", true)]));

    [Theory]
    [InlineData("I found nothing about this.")]
    [InlineData("It is 12:30: late.")]
    [InlineData("It is late (12:30).")]
    [InlineData("")]
    public void Where_nothing_was_found_there_is_no_learning(string reply) => Assert.Null(SessionNotes.Learning("Where?", reply, []));

    [Fact]
    public void A_learning_stays_within_its_bounds()
    {
        var reply = string.Join('\n', Enumerable.Range(1, 100).Select(i => $"- a.csv:{i}: {new string('x', 1_000)}"));
        Assert.InRange(SessionNotes.Learning("Where?", reply, [])!.Length, 200, SessionNotes.LearningChars);
    }

    /// <summary>What names a source is said by one expression, which looks at a line once for each of its dots. The code that looks at it once finds the same.</summary>
    [Fact]
    public void A_fact_is_what_the_plain_expression_says()
    {
        const string letters = "a.:/ 1-(),٣\u00a0";
        foreach (var seed in Seeds.Many(20_000, 2_000_000))
        {
            var random = new Random(seed);
            var line = string.Create(random.Next(1, 14), random, (text, r) =>
            {
                for (var i = 0; i < text.Length; i++)
                {
                    text[i] = letters[r.Next(letters.Length)];
                }
            }).Trim();
            Assert.Equal(Sourced().IsMatch(line), SessionNotes.Learning("q", line, []) is not null);
        }
    }

    [Theory]
    [InlineData(".")]
    [InlineData("(")]
    [InlineData("1")]
    [InlineData("- ")]
    [InlineData("a.b/")]
    public void A_line_of_megabytes_is_looked_at_once(string repeated) =>
        Assert.Null(SessionNotes.Learning("q", string.Concat(Enumerable.Repeat(repeated, 2_000_000)), []));

    [System.Text.RegularExpressions.GeneratedRegex(@"^(- )?(?!\d+:)([^\s:]+|[^:]*[./][^:]*):\d+(-\d+)?: \S|\((?!\d+:)[^\s:()]+:\d+[,)]")]
    private static partial System.Text.RegularExpressions.Regex Sourced();
}
