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

    /// <summary>Words of a question that are looked at.</summary>
    const int QuestionWords = 200;

    const int FilesMax = 5;

    public static IEnumerable<string> Answers(IReadOnlyList<TextIndex> texts, string question, CancellationToken ct)
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
            var name = Path.GetFileName(table.Source);
            if (Matching(table, question.Replace(name, " ", StringComparison.OrdinalIgnoreCase), ct) is { } matching)
            {
                answered = true;
                yield return matching;
            }
        }
        if (answered)
        {
            yield break;
        }
        if (LinesWord().IsMatch(question))
        {
            foreach (var text in (named.Count > 0 ? named : texts).Take(FilesMax))
            {
                yield return $"{text.Source} has {text.Lines} lines.";
            }
        }
        else if (RowsWord().IsMatch(question) || named.Count > 0)
        {
            foreach (var table in tables)
            {
                yield return $"{table.Source} has {table.Records} rows{(table.Columns.Count > 0 ? " below its header" : "")}.";
            }
        }
    }

    /// <summary>How many rows have every value that the question names, or null when it names none of this table.</summary>
    static string? Matching(TextIndex table, string question, CancellationToken ct)
    {
        var words = Plain(question).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        words = words[..Math.Min(words.Length, QuestionWords)];
        var wanted = new List<(string Value, SortedSet<string> Columns, HashSet<int> Rows)>();
        for (var i = 0; i < words.Length;)
        {
            var length = Math.Min(ValueWords, words.Length - i);
            for (; length > 0; length--)
            {
                // A column named right before its value ("state AK", "state = AK") is the one that is meant.
                if (Rows(table, string.Join(' ', words[i..(i + length)]), i > 0 ? words[i - 1] : "", ct) is { } found)
                {
                    wanted.Add(found);
                    break;
                }
            }
            i += Math.Max(1, length);
        }
        if (wanted.Count == 0)
        {
            return null;
        }
        List<int> rows = [.. wanted.Select(w => w.Rows).Aggregate((a, b) => [.. a.Intersect(b)]).Order()];
        var conditions = string.Join(" and ", wanted.Select(w => $"{string.Join(" or ", w.Columns)} = {w.Value}"));
        var places = rows.Count == 0 ? "" : $" ({string.Join(", ", rows.Take(3).Select(r => table.Passage(r).Place))}{(rows.Count > 3 ? ", …" : "")})";
        return $"{rows.Count} of the {table.Records} rows of {table.Source} have {conditions}{places}.";
    }

    /// <summary>The rows in which some column is this value, or null when there is none.</summary>
    static (string Value, SortedSet<string> Columns, HashSet<int> Rows)? Rows(TextIndex table, string value, string before, CancellationToken ct)
    {
        // "in" is a word, "IN" may be Indiana: a common word is a value only where it is written like one.
        var isCommon = Stemmer.IsStopWord(value);
        if (isCommon && (value.Length < 2 || value.Any(char.IsLower)))
        {
            return null;
        }
        var terms = new List<string>();
        Stemmer.Collect(value, terms);
        var columns = new SortedSet<string>(StringComparer.Ordinal);
        var rows = new List<(int Row, string Column)>();
        if (terms.Count > 0)
        {
            foreach (var posting in table.Postings(terms.MinBy(t => table.Postings(t).Length)!))
            {
                // A long question over a large table takes its time, and a run must stop when it is told to.
                ct.ThrowIfCancellationRequested();
                foreach (var (column, cell) in table.IsRecord(posting.Passage) ? table.Fields(posting.Passage) : [])
                {
                    if (Plain(cell).Equals(value, isCommon ? StringComparison.Ordinal : StringComparison.OrdinalIgnoreCase))
                    {
                        columns.Add(column);
                        rows.Add((posting.Passage, column));
                    }
                }
            }
        }
        if (columns.Any(c => c.Equals(before, StringComparison.OrdinalIgnoreCase)))
        {
            columns.RemoveWhere(c => !c.Equals(before, StringComparison.OrdinalIgnoreCase));
        }
        return columns.Count == 0 ? null : (value, columns, [.. rows.Where(r => columns.Contains(r.Column)).Select(r => r.Row)]);
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
    private static partial Regex LinesWord();

    [GeneratedRegex(@"\b(rows|records|entries|items|objects)\b", RegexOptions.IgnoreCase)]
    private static partial Regex RowsWord();

    [GeneratedRegex(@"[^\p{L}\p{N}.\-]+|\.(?!\d)")]
    private static partial Regex NotPlain();
}
