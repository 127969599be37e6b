using System.Buffers;
using System.Text.RegularExpressions;

namespace Cowork.Application;

/// <summary>
/// Answers "how many" questions: rows, records and lines of the session's files, and rows with the values that the question names. Each answer says what was
/// counted; there is none when the question names nothing to count.
/// </summary>
static partial class RowCount
{
    /// <summary>Largest number of words in a value.</summary>
    const int ValueWords = 5;

    /// <summary>Number of the question's words that are used.</summary>
    const int QuestionWords = 200;

    const int FilesMax = 5;

    /// <summary>True: the question is one that is answered by counting.</summary>
    public static bool IsAsked(string question) => HowMany().IsMatch(question);

    /// <param name="question">One that <see cref="IsAsked"/>.</param>
    public static IEnumerable<string> Answers(IReadOnlyList<TextIndex> texts, string question, CancellationToken ct)
    {
        var named = texts.Where(t => question.Contains(Path.GetFileName(t.Source), StringComparison.OrdinalIgnoreCase)
            || question.Contains(Path.GetFileNameWithoutExtension(t.Source), StringComparison.OrdinalIgnoreCase)).ToList();
        var tables = (named.Count > 0 ? named : texts).Where(t => t.Records > 0).Take(FilesMax).ToList();
        var answered = false;
        foreach (var table in tables)
        {
            var name = Path.GetFileName(table.Source);
            if (CountMatchingRows(table, question.Replace(name, " ", StringComparison.OrdinalIgnoreCase), ct) is { } matching)
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

    /// <summary>A sentence with the number of rows that have every value of the question; null: the question names no value of this table.</summary>
    static string? CountMatchingRows(TextIndex table, string question, CancellationToken ct)
    {
        var words = Normalize(question).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        words = words[..Math.Min(words.Length, QuestionWords)];
        var conditions = new List<(string Value, SortedSet<string> Columns, HashSet<int> Rows)>();
        for (var i = 0; i < words.Length;)
        {
            var length = Math.Min(ValueWords, words.Length - i);
            for (; length > 0; length--)
            {
                // A column name before the value ("state AK", "state = AK") selects the column.
                if (FindRows(table, string.Join(' ', words[i..(i + length)]), i > 0 ? words[i - 1] : "", ct) is { } found)
                {
                    conditions.Add(found);
                    break;
                }
            }
            i += Math.Max(1, length);
        }
        if (conditions.Count == 0)
        {
            return null;
        }
        List<int> rows = [.. conditions.Select(c => c.Rows).Aggregate((a, b) => [.. a.Intersect(b)]).Order()];
        var condition = string.Join(" and ", conditions.Select(c => $"{string.Join(" or ", c.Columns)} = {c.Value}"));
        var places = rows.Count == 0 ? "" : $" ({string.Join(", ", rows.Take(3).Select(r => table.Passage(r).Location))}{(rows.Count > 3 ? ", …" : "")})";
        return $"{rows.Count} of the {table.Records} rows of {table.Source} have {condition}{places}.";
    }

    /// <summary>The rows in which a column has this value; null: there is none.</summary>
    static (string Value, SortedSet<string> Columns, HashSet<int> Rows)? FindRows(TextIndex table, string value, string wordBefore, CancellationToken ct)
    {
        // "in" is a word, "IN" may be Indiana: a stop word is a value only in upper case.
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
                // A long question on a large table takes long, and a cancelled run must stop.
                ct.ThrowIfCancellationRequested();
                foreach (var (column, cell) in table.IsRecord(posting.Passage) ? table.Fields(posting.Passage) : [])
                {
                    if (Normalize(cell).Equals(value, isCommon ? StringComparison.Ordinal : StringComparison.OrdinalIgnoreCase))
                    {
                        columns.Add(column);
                        rows.Add((posting.Passage, column));
                    }
                }
            }
        }
        if (columns.Any(c => c.Equals(wordBefore, StringComparison.OrdinalIgnoreCase)))
        {
            columns.RemoveWhere(c => !c.Equals(wordBefore, StringComparison.OrdinalIgnoreCase));
        }
        return columns.Count == 0 ? null : (value, columns, [.. rows.Where(r => columns.Contains(r.Column)).Select(r => r.Row)]);
    }

    /// <summary>The letters, digits and decimal points with single spaces, as a question spells a value.</summary>
    static string Normalize(string text) =>
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
