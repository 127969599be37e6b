using System.Buffers;
using System.Text.RegularExpressions;

namespace Cowork.Application;

/// <summary>
/// Answers to "how many": rows, records and lines of the session's files, and rows that have the values which the question names. It says what
/// exactly was counted, and says nothing when the question names no such thing.
/// </summary>
static partial class RowCount
{
    /// <summary>Words of a value that is looked for in the question, at most.</summary>
    const int ValueWords = 5;

    const int FilesMax = 5;

    public static IEnumerable<string> Answers(IReadOnlyList<TextIndex> texts, string question)
    {
        if (!HowMany().IsMatch(question))
        {
            yield break;
        }
        var named = texts.Where(t => question.Contains(Path.GetFileName(t.Source), StringComparison.OrdinalIgnoreCase)
            || question.Contains(Path.GetFileNameWithoutExtension(t.Source), StringComparison.OrdinalIgnoreCase)).ToList();
        var tables = (named.Count > 0 ? named : texts).Where(t => t.Records > 0).Take(FilesMax).ToList();
        var answered = false;
        foreach (var table in tables)
        {
            if (Matching(table, question) is { } matching)
            {
                answered = true;
                yield return matching;
            }
        }
        if (answered)
        {
            yield break;
        }
        if (Lines().IsMatch(question))
        {
            foreach (var text in (named.Count > 0 ? named : texts).Take(FilesMax))
            {
                yield return $"{text.Source} has {text.Lines} lines.";
            }
        }
        else if (Rows().IsMatch(question) || named.Count > 0)
        {
            foreach (var table in tables)
            {
                yield return $"{table.Source} has {table.Records} rows{(table.Columns.Count > 0 ? " below its header" : "")}.";
            }
        }
    }

    /// <summary>How many rows have every value that the question names, or null when it names none of this table.</summary>
    static string? Matching(TextIndex table, string question)
    {
        var values = new Dictionary<string, HashSet<string>>(StringComparer.OrdinalIgnoreCase);
        var exact = new HashSet<string>(StringComparer.Ordinal);
        for (var i = 0; i < table.Count; i++)
        {
            if (table.IsRecord(i))
            {
                foreach (var (column, value) in table.Fields(i))
                {
                    var plain = Plain(value);
                    if (plain.Length is > 0 and <= 80)
                    {
                        exact.Add(plain);
                        if (!values.TryGetValue(plain, out var columns))
                        {
                            values[plain] = columns = new(StringComparer.Ordinal);
                        }
                        columns.Add(column);
                    }
                }
            }
        }

        var words = Plain(question).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var wanted = new List<(string Value, HashSet<string> Columns)>();
        for (var i = 0; i < words.Length;)
        {
            var length = Math.Min(ValueWords, words.Length - i);
            for (; length > 0; length--)
            {
                var value = string.Join(' ', words[i..(i + length)]);
                // "in" is a word, "IN" may be Indiana: a common word counts as a value only when it is written like one.
                var isWord = length == 1 && Words.IsStopWord(value) && !(exact.Contains(value) && !value.Any(char.IsLower) && value.Length > 1);
                if (!isWord && values.TryGetValue(value, out var columns))
                {
                    // A column named right before its value ("state AK", "state = AK") is the one that is meant.
                    var named = i > 0 ? columns.Where(c => c.Equals(words[i - 1], StringComparison.OrdinalIgnoreCase)).ToHashSet(StringComparer.Ordinal) : [];
                    wanted.Add((value, named.Count > 0 ? named : columns));
                    break;
                }
            }
            i += Math.Max(1, length);
        }
        if (wanted.Count == 0)
        {
            return null;
        }

        var (count, lines) = (0, new List<int>());
        for (var i = 0; i < table.Count; i++)
        {
            if (table.IsRecord(i))
            {
                var fields = table.Fields(i);
                if (wanted.TrueForAll(w => fields.Any(f => w.Columns.Contains(f.Name) && Plain(f.Value).Equals(w.Value, StringComparison.OrdinalIgnoreCase))))
                {
                    count++;
                    if (lines.Count < 3)
                    {
                        lines.Add(table.Passage(i).FirstLine);
                    }
                }
            }
        }
        var conditions = string.Join(" and ", wanted.Select(w => $"{string.Join(" or ", w.Columns.Order(StringComparer.Ordinal))} = {w.Value}"));
        return $"{count} of the {table.Records} rows of {table.Source} have {conditions}{(count > 0 ? $" (lines {string.Join(", ", lines)}{(count > lines.Count ? ", …" : "")})" : "")}.";
    }

    /// <summary>Letters, digits and points of numbers, with single spaces: as a question writes a value.</summary>
    static string Plain(string text) =>
        text.AsSpan().IndexOfAnyExcept(PlainAscii) < 0
            ? text
            : NotPlain().Replace(text.Replace("'", "", StringComparison.Ordinal), " ").Trim();

    static readonly SearchValues<char> PlainAscii = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

    [GeneratedRegex(@"\b(how many|number of|count( of)?)\b", RegexOptions.IgnoreCase)]
    private static partial Regex HowMany();

    [GeneratedRegex(@"\blines\b", RegexOptions.IgnoreCase)]
    private static partial Regex Lines();

    [GeneratedRegex(@"\b(rows|records|entries|items|objects)\b", RegexOptions.IgnoreCase)]
    private static partial Regex Rows();

    [GeneratedRegex(@"[^\p{L}\p{N}.\-]+|\.(?!\d)")]
    private static partial Regex NotPlain();
}
