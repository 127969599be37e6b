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
        foreach (var line in text.Split('\n'))
        {
            var trimmed = line.Trim();
            if (fence is not null)
            {
                fence = trimmed == fence ? null : fence;
            }
            else if (trimmed.StartsWith("```", StringComparison.Ordinal))
            {
                fence = trimmed[..^trimmed.TrimStart('`').Length];
            }
            else
            {
                InLine(line, names, found);
            }
        }
        return found;
    }

    static void InLine(string line, IReadOnlyCollection<string> names, List<string> found)
    {
        for (var i = 0; i < line.Length; i++)
        {
            if (line[i] == '`')
            {
                // A lone one begins no code.
                var end = line.IndexOf('`', i + 1);
                i = end < 0 ? i : end;
            }
            else if (line[i] == '@' && (i == 0 || !IsOfWord(line[i - 1])))
            {
                var end = i + 1;
                while (end < line.Length && IsOfWord(line[end]))
                {
                    end++;
                }
                var word = line.AsSpan(i + 1, end - i - 1);
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

    /// <summary>An address of mail is no mention, and neither is a longer name.</summary>
    static bool IsOfWord(char c) => char.IsLetterOrDigit(c) || c is '_' or '-';
}
