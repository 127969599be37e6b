using System.Globalization;

namespace Cowork.Application;

/// <summary>Finds whom a text addresses: <c>@nickname</c>, where the sign begins a word, in any case of letters, and not inside code.</summary>
public static class Mentions
{
    /// <summary>The names that are mentioned, once each, in the order of the text.</summary>
    /// <param name="names">Of <c>[A-Za-z0-9_-]</c>, no two alike but for case.</param>
    public static IReadOnlyList<string> In(string text, IReadOnlyCollection<string> names)
    {
        var found = new List<string>();
        string? fence = null;
        // An answer may have a megabyte, of which no line is copied.
        foreach (var place in text.AsSpan().Split('\n'))
        {
            var trimmed = text.AsSpan(place).Trim();
            if (fence is not null)
            {
                fence = trimmed.SequenceEqual(fence) ? null : fence;
            }
            else if (trimmed.StartsWith("```", StringComparison.Ordinal))
            {
                fence = trimmed[..^trimmed.TrimStart('`').Length].ToString();
            }
            else
            {
                InLine(text, place, names, found);
            }
        }
        return found;
    }

    static void InLine(string text, Range line, IReadOnlyCollection<string> names, List<string> found)
    {
        var (first, last) = (line.Start.Value, line.End.Value);
        for (var i = first; i < last; i++)
        {
            if (text[i] == '`')
            {
                // A lone one begins no code.
                var end = text.IndexOf('`', i + 1, last - i - 1);
                i = end < 0 ? i : end;
            }
            else if (text[i] == '@' && (i == first || !IsOfWord(text, i - 1)))
            {
                var end = i + 1;
                while (end < last && IsOfWord(text, end))
                {
                    end++;
                }
                var word = text.AsSpan(i + 1, end - i - 1);
                if ((Named(word, names) ?? Named(word.TrimEnd("-_"), names)) is { } name && !found.Contains(name))
                {
                    found.Add(name);
                }
                i = end - 1;
            }
        }
    }

    static string? Named(ReadOnlySpan<char> word, IReadOnlyCollection<string> names)
    {
        foreach (var name in names)
        {
            if (word.Equals(name, StringComparison.OrdinalIgnoreCase))
            {
                return name;
            }
        }
        return null;
    }

    /// <summary>An address of mail is no mention, and neither is a longer name, also one that goes on with a letter of two chars or a mark on the last letter.</summary>
    static bool IsOfWord(string text, int at)
    {
        var start = at > 0 && char.IsSurrogatePair(text[at - 1], text[at]) ? at - 1 : at;
        return text[at] is '_' or '-' || CharUnicodeInfo.GetUnicodeCategory(text, start) is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter
            or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter or UnicodeCategory.DecimalDigitNumber
            or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark;
    }
}
