using System.Text;
using System.Text.RegularExpressions;

namespace Cowork.Application;

/// <param name="Tool">The tool's name.</param>
public sealed record ToolFinding(string Tool, string Text, bool IsError);

/// <summary>
/// What is kept of a run for later ones, extracted by rule, not by a model: the same run always leaves the same notes.
/// </summary>
public static partial class SessionNotes
{
    /// <summary>Characters of a summary; a run gets 4 000 of all memories together.</summary>
    public const int SummaryChars = 1_500;

    /// <summary>Characters of a learning.</summary>
    public const int LearningChars = 1_000;

    const int QuestionChars = 160;
    const int AnswerChars = 240;
    const int TurnChars = QuestionChars + AnswerChars + 24;
    const int FactsMax = 5;
    const int FactChars = 240;

    /// <summary>What the session was about: its last turns, one line each, oldest first, as many as fit. Runs whose notes come late are told after later ones.</summary>
    /// <param name="previous">The summary without this run.</param>
    /// <param name="turn">What the run was about: of <see cref="Turn"/>, or a model's words.</param>
    public static string Summary(string? previous, string turn)
    {
        var turns = (previous ?? "").Split('\n').Where(l => l.Length > 0).ToList();
        turns.Add(FileText.Truncate(FileText.OneLine(turn), TurnChars));
        while (turns.Sum(t => t.Length + 1) - 1 > SummaryChars)
        {
            turns.RemoveAt(0);
        }
        return string.Join('\n', turns);
    }

    /// <summary>What the run was about, on one line.</summary>
    public static string Turn(string message, string reply) => $"Asked: {Short(Question(message), QuestionChars)} Answered: {Short(reply, AnswerChars)}";

    /// <summary>
    /// What the run found out: the question, and the facts with their sources that the reply or the tools named. Null when there is none.
    /// </summary>
    public static string? Learning(string message, string reply, IReadOnlyList<ToolFinding> toolResults)
    {
        var facts = Facts(reply);
        if (facts.Count == 0)
        {
            facts = [.. toolResults.Where(r => !r.IsError).SelectMany(r => Facts(r.Text)).Distinct(StringComparer.Ordinal)];
        }
        if (facts.Count == 0)
        {
            return null;
        }
        var text = new StringBuilder(Short(Question(message), QuestionChars));
        foreach (var fact in facts.Take(FactsMax).Where(f => text.Length + f.Length + 3 <= LearningChars))
        {
            text.Append("\n- ").Append(fact);
        }
        return text.ToString();
    }

    /// <summary>Lines that name a file and a line: <c>- airports.csv:42: iata=…</c>, <c>2 of the … (airports.csv:4, airports.csv:5)</c>.</summary>
    static List<string> Facts(string text) =>
    [
        .. text.Split('\n')
            .Select(l => l.Trim())
            .Where(l => Sourced().IsMatch(l))
            .Select(l => Short(l.StartsWith("- ", StringComparison.Ordinal) ? l[2..] : l, FactChars))
            .Distinct(StringComparer.Ordinal),
    ];

    /// <summary>The message without its directives, or with nothing else the tools that it names.</summary>
    static string Question(string message)
    {
        var directives = Directives.Of(message);
        return directives.Question.Length > 0 ? directives.Question
            : directives.Calls.Count > 0 ? $"use of {string.Join(", ", directives.Calls.Select(c => c.Name).Distinct(StringComparer.Ordinal))}"
            : message;
    }

    static string Short(string text, int chars) => FileText.Truncate(FileText.OneLine(text.Replace(OfflineModel.Disclaimer, "", StringComparison.Ordinal)), chars);

    [GeneratedRegex(@"^(- )?(?!\d+:)([^\s:]+|[^:]*[./][^:]*):\d+(-\d+)?: \S|\((?!\d+:)[^\s:()]+:\d+[,)]")]
    private static partial Regex Sourced();
}
