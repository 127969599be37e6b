using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class TextSearchSpecs
{
    [Theory]
    [InlineData("The Airports are located", "the airport are locat")]
    [InlineData("readFileAsync snake_case", "read file async readfileasync snak case")]
    [InlineData("O'Hare's 71.2854475 v1.2.", "ohar 71.2854475 v1.2")]
    [InlineData("Zürich São Paulo Łódź", "zurich sao paulo lodz")]
    [InlineData("Zu\u0308rich", "zurich")]              // the accent as a character of its own
    [InlineData("cities city classes", "city city class")]
    [InlineData("東京都 x", "東京 京都 x")]
    [InlineData("{\"a\":[1,2]}", "a 1 2")]
    [InlineData("😀 \ud83d", "")]
    public void Text_is_searched_by_its_terms(string text, string terms)
    {
        var collected = new List<string>();
        Stemmer.Collect(text, collected);
        Assert.Equal(terms, string.Join(' ', collected));
    }

    [Fact]
    public void Questions_leave_out_what_says_nothing() =>
        Assert.Equal(["airport", "barrow", "alaska"], Stemmer.QueryTerms("Which airport is in Barrow, Alaska?"));

    [Fact]
    public void A_question_of_stop_words_only_keeps_them() => Assert.Equal(["who", "are", "you"], Stemmer.QueryTerms("Who are you?"));

    [Fact]
    public void A_row_is_found_with_its_line_and_its_columns()
    {
        var found = TextSearch.Find([TextIndex.Of("airports.csv", Airports.Csv)], "Which airport is in Barrow, Alaska?", 3);
        Assert.Equal("airports.csv:5", found.Hits[0].Passage.Location);
        Assert.Equal(
            "iata=BRW, name=Wiley Post Will Rogers Memorial, city=Barrow, state=AK, country=USA, latitude=71.2854475, longitude=-156.7660019",
            found.Hits[0].Passage.Text);
        Assert.Equal(["alaska"], found.UnknownTerms);
    }

    [Fact]
    public void Words_for_the_table_itself_do_not_lead_to_the_rows_that_happen_to_say_them()
    {
        var table = TextIndex.Of("airports.csv", "name,city\nCounty Airport,Elsewhere\nWiley Post,Barrow\nMeigs,Chicago\nMidway,Chicago\n");
        Assert.Equal("airports.csv:3", TextSearch.Find([table], "Which airport is in the city of Barrow?", 1).Hits[0].Passage.Location);
        Assert.Equal("airports.csv:2", TextSearch.Find([table], "airport", 1).Hits[0].Passage.Location);
    }

    [Fact]
    public void A_quoted_value_may_span_lines_and_a_stray_quote_may_not()
    {
        var quoted = TextIndex.Of("a.csv", "id,note\n1,\"two\nlines, \"\"quoted\"\"\"\n2,last\n");
        Assert.Equal((2, 4), (quoted.Records, quoted.Lines));
        Assert.Equal(new Passage("a.csv", 2, 3, "id=1, note=two\nlines, \"quoted\""), quoted.Passage(0));
        Assert.Equal(new Passage("a.csv", 4, 4, "id=2, note=last"), quoted.Passage(1));

        var stray = TextIndex.Of("b.csv", "id,note\n1,\"never closed\n2,last\n");
        Assert.Equal(2, stray.Records);
    }

    [Theory]
    [InlineData("a.csv", "x;y\n1;2\n", "x=1, y=2", 2)]
    [InlineData("a.tsv", "x\ty\n1\t2\n", "x=1, y=2", 2)]
    [InlineData("a.csv", "1,2\n3,4\n", "column 1=1, column 2=2", 1)]  // no header
    [InlineData("a.csv", "x,y\r\n1,2\r\n", "x=1, y=2", 2)]
    [InlineData("a.json", "[\n {\"x\": 1,\n  \"y\": [2]}\n]", "x=1, y=2", 2)]
    [InlineData("a.json", "{\"rows\":[{\"x\":{\"z\":1}}]}", "x.z=1", 1)]
    [InlineData("a.jsonl", "{\"x\":1}\n{\"x\":2}\n", "x=1", 1)]
    [InlineData("a.json", "{\"x\": broken", "{\"x\": broken", 1)]
    [InlineData("a.md", "\n\n# Title\ntext\n", "# Title\ntext", 3)]
    public void The_first_passage_of_a_text(string source, string text, string passage, int line)
    {
        var first = TextIndex.Of(source, text).Passage(0);
        Assert.Equal((passage, line), (first.Text, first.FirstLine));
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("a", 1)]
    [InlineData("a\n", 1)]
    [InlineData("a\nb", 2)]
    [InlineData("\n\n", 2)]
    public void Lines_are_counted(string text, int lines) => Assert.Equal(lines, TextIndex.Of("a.txt", text).Lines);

    [Fact]
    public void Every_line_lies_in_one_passage_that_says_where()
    {
        var lines = Enumerable.Range(1, 500).Select(i => i % 7 == 0 ? "" : $"line{i} {new string('x', i % 90)}").ToList();
        lines[99] = string.Join(' ', Enumerable.Range(0, 2_000).Select(i => $"long{i}"));
        var index = TextIndex.Of("a.txt", string.Join('\n', lines));
        for (var i = 1; i <= 500; i++)
        {
            if (i % 7 != 0 && i != 100)
            {
                var posting = Assert.Single(index.Postings($"line{i}").ToArray());
                var passage = index.Passage(posting.Passage);
                Assert.InRange(i, passage.FirstLine, passage.LastLine);
                Assert.Contains($"line{i} ", passage.Text + " ", StringComparison.Ordinal);
            }
        }
        Assert.Equal(100, index.Passage(Assert.Single(index.Postings("long1234").ToArray()).Passage).FirstLine);
    }

    [Fact]
    public void Chunks_cover_a_text_have_about_400_tokens_and_begin_with_the_end_of_the_one_before()
    {
        foreach (var seed in Seeds.Many(ordinary: 20, chaos: 500))
        {
            var random = new Random(seed);
            var lines = Enumerable.Range(0, random.Next(400)).Select(i => $"line{i} {new string(random.Next(4) == 0 ? 'ä' : 'x', random.Next(100) == 0 ? 3_000 : random.Next(120))}").ToList();
            // What it looks like makes no difference.
            var index = TextIndex.OfChunks("a.json", string.Join('\n', lines));
            var chunks = Enumerable.Range(0, index.Count).Select(index.Passage).ToList();
            Assert.All(chunks, chunk => Assert.InRange(System.Text.Encoding.UTF8.GetByteCount(chunk.Text), 1, 1_600));
            Assert.All(chunks.Zip(chunks.Skip(1)), pair => Assert.InRange(pair.Second.FirstLine, pair.First.FirstLine, pair.First.LastLine));
            Assert.Equal(lines.Count, index.Lines);
            for (var i = 0; i < lines.Count; i++)
            {
                Assert.Contains(chunks, chunk => chunk.FirstLine <= i + 1 && chunk.LastLine >= i + 1 && (chunk.Text + " ").Contains($"line{i} ", StringComparison.Ordinal));
            }
        }
        Assert.Equal(0, TextIndex.OfChunks("a.md", "").Count);
        Assert.Equal(0, TextIndex.OfChunks("a.md", " \n\n ").Count);
    }

    [Fact]
    public void A_passage_that_speaks_of_all_of_the_question_wins()
    {
        var found = TextSearch.Find(
            [TextIndex.Of("a.md", "Invoices are due in thirty days."), TextIndex.Of("b.md", "Invoices invoices invoices invoices."), TextIndex.Of("c.md", "Something else.")],
            "When are invoices due?", 5);
        Assert.Equal(["a.md:1", "b.md:1"], found.Hits.Select(h => h.Passage.Location));
        Assert.Equal(1, found.Hits[0].Coverage, 6);
    }

    [Fact]
    public void Nothing_is_found_where_nothing_is() => Assert.Empty(TextSearch.Find([], "anything", 5).Hits);

    [Theory]
    [InlineData("[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]")]
    [InlineData("{\"a\":\"\\ud800\"}")]
    [InlineData("[1,2,3")]
    [InlineData("\u0000")]
    [InlineData("")]
    public void Odd_json_is_searched_as_it_is(string json) => Assert.True(TextIndex.Of("a.json", json).Count <= 1);
}
