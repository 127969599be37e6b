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

    /// <summary>A memory's text; of a session's summary the line of its last run.</summary>
    internal static string LastLine(string kind, string text) => kind == "session_summary" ? text[(text.LastIndexOf('\n') + 1)..] : text;

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
            .Where(l => BeginsWithSource(l) || SourceInBrackets().IsMatch(l))
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

    /// <summary>The line begins with a name or a path, a line number and a text: <c>airports.csv:42: iata</c>. A line may be megabytes long; this looks at it once.</summary>
    static bool BeginsWithSource(string line)
    {
        return Begins(line) || (line.StartsWith("- ", StringComparison.Ordinal) && Begins(line.AsSpan(2)));

        static bool Begins(ReadOnlySpan<char> text)
        {
            var colon = text.IndexOf(':');
            if (colon <= 0)
            {
                return false;
            }
            var name = text[..colon];
            if (CountDigits(name) == name.Length || (!name.ContainsAny('.', '/') && HasWhiteSpace(name)))
            {
                return false;
            }
            var rest = text[(colon + 1)..];
            var first = CountDigits(rest);
            if (first == 0)
            {
                return false;
            }
            rest = rest[first..];
            if (rest.StartsWith("-") && CountDigits(rest[1..]) is > 0 and var last)
            {
                rest = rest[(1 + last)..];
            }
            return rest.StartsWith(": ") && rest.Length > 2 && !char.IsWhiteSpace(rest[2]);
        }

        static int CountDigits(ReadOnlySpan<char> text)
        {
            var count = 0;
            while (count < text.Length && char.IsDigit(text[count]))
            {
                count++;
            }
            return count;
        }

        static bool HasWhiteSpace(ReadOnlySpan<char> text)
        {
            foreach (var c in text)
            {
                if (char.IsWhiteSpace(c))
                {
                    return true;
                }
            }
            return false;
        }
    }

    [GeneratedRegex(@"\((?!\d+:)[^\s:()]+:\d+[,)]")]
    private static partial Regex SourceInBrackets();
}
