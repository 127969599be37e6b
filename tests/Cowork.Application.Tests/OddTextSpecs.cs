using System.Text;

using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Whatever a file or a message holds, it is cut, searched and answered without an exception.</summary>
public sealed class OddTextSpecs
{
    static readonly string[] Pieces =
    [
        "a", "B", "wörd", "camelCase", "snake_case", "7", "3.14", ".", ",", ";", "\t", "\"", "'", "’", "\n", "\r\n", "\r", "\0", "\ud83d", "\ude00", "😀", "東", "京", "\u0301", "ß",
        "{", "}", "[", "]", ":", "null", "true", "\\", "\\ud800", "```", "```python\n",
        "/tool ", "/say ", "/sleep ", "/fail ", "\n- [mem_1] ", " ", " ", "how many ", "rows ", "a.csv",
    ];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Any_text_can_be_searched_and_every_passage_shown(int seed)
    {
        var random = new Random(Seeds.One(seed));
        for (var i = 0; i < 1_000; i++)
        {
            var text = Text(random);
            foreach (var ending in (string[])[".csv", ".tsv", ".json", ".jsonl", ".md"])
            {
                var index = TextIndex.Of("a" + ending, text);
                for (var passage = 0; passage < index.Count; passage++)
                {
                    Assert.InRange(index.Passage(passage).FirstLine, 1, Math.Max(1, index.Lines));
                }
                TextSearch.Find([index], Text(random), 5);
            }
        }
    }

    [Theory]
    [InlineData(5)]
    [InlineData(6)]
    public async Task Any_message_is_answered(int seed)
    {
        using var work = new Workspace();
        var random = new Random(Seeds.One(seed));
        using var model = new OfflineModel(Workspace.Files(), TimeProvider.System);
        for (var i = 0; i < 300; i++)
        {
            File.WriteAllBytes(Path.Combine(work.Root, $"{i % 20}.csv"), Encoding.UTF8.GetBytes(Text(random)));
            var message = Text(random).Replace("/sleep", "/say", StringComparison.Ordinal);
            var response = await Record.ExceptionAsync(async () =>
            {
                var answer = await model.GetResponseAsync(
                    [new(ChatRole.System, "Memories:" + Text(random)), new(ChatRole.Assistant, Text(random)), new(ChatRole.User, message)],
                    new() { AdditionalProperties = new() { [OfflineModel.Workspace] = work.Folder } });
                Assert.NotNull(answer.FinishReason);
                SessionNotes.Learning(message, SessionNotes.Summary(Text(random), SessionNotes.Turn(message, answer.Text)), [new("x", Text(random), false)]);
            });
            Assert.True(response is null or OfflineModelFailedException, response?.ToString());
        }
    }

    static string Text(Random random)
    {
        var text = new StringBuilder();
        for (var length = random.Next(40); length > 0; length--)
        {
            text.Append(Pieces[random.Next(Pieces.Length)]);
        }
        return text.ToString();
    }
}
