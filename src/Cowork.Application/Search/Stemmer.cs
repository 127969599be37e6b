using System.Globalization;
using System.Text;

namespace Cowork.Application;

/// <summary>
/// Turns text into search terms: lower case, without accents, identifiers split, English endings removed. Chinese, Japanese and Korean text, which has no
/// spaces, becomes character bigrams.
/// </summary>
public static class Stemmer
{
    static readonly HashSet<string> StopWords = new(
        """
        a about an and any are as at be been but by call called can could did do does each find for from give had has have how i if in into is it its list many me
        much my named of on one or our please show so tell than that the their them then there these they this those to us was we were what when where which
        who whom whose why will with would you your
        """.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries),
        StringComparer.Ordinal);

    /// <summary>Longest term in characters; longer words are truncated.</summary>
    const int WordCharsMax = 64;

    /// <summary>True for words that are too common to select a text.</summary>
    public static bool IsStopWord(string word) => StopWords.Contains(word.ToLowerInvariant());

    /// <summary>The distinct terms of a query without stop words; of a query with only stop words, those.</summary>
    public static IReadOnlyList<string> QueryTerms(string text)
    {
        var all = new List<string>();
        Collect(text, all, keepStopWords: false);
        if (all.Count == 0)
        {
            Collect(text, all, keepStopWords: true);
        }
        return [.. all.Distinct(StringComparer.Ordinal)];
    }

    /// <summary>Adds the terms of a text in order to a list.</summary>
    public static void Collect(ReadOnlySpan<char> text, List<string> terms, bool keepStopWords = true)
    {
        Span<char> word = stackalloc char[WordCharsMax];
        var length = 0;
        var part = 0; // start of the identifier's current part within the word
        var parts = 0;
        var lastLower = false;
        var lastCjk = '\0';
        for (var i = 0; i <= text.Length; i++)
        {
            var c = i < text.Length ? text[i] : ' ';
            if (IsCjk(c))
            {
                End(word);
                if (lastCjk != '\0')
                {
                    terms.Add(new string([lastCjk, c]));
                }
                else if (i + 1 >= text.Length || !IsCjk(text[i + 1]))
                {
                    terms.Add(c.ToString());
                }
                lastCjk = c;
                continue;
            }
            lastCjk = '\0';
            var isPoint = c == '.' && length > 0 && char.IsAsciiDigit(word[length - 1]) && i + 1 < text.Length && char.IsAsciiDigit(text[i + 1]);
            if (char.IsLetterOrDigit(c) || isPoint || (char.IsSurrogate(c) && IsLetterPair(text, i)))
            {
                if (lastLower && char.IsUpper(c))
                {
                    parts++;
                    AddPart(word[part..length]);
                    part = length;
                }
                lastLower = char.IsLower(c);
                Put(word, c);
                continue;
            }
            // "airport's" and "O'Hare" are one word each; a combining accent belongs to the letter before it.
            if (length > 0 && (c is '\'' or '’' || char.GetUnicodeCategory(c) == UnicodeCategory.NonSpacingMark))
            {
                continue;
            }
            End(word);
        }

        void Put(Span<char> word, char c)
        {
            foreach (var folded in Fold(char.ToLowerInvariant(c)))
            {
                if (length < WordCharsMax)
                {
                    word[length++] = folded;
                }
            }
        }

        void AddPart(ReadOnlySpan<char> piece)
        {
            if (piece.Length > 1)
            {
                Add(piece);
            }
        }

        void End(Span<char> word)
        {
            if (length > 0)
            {
                if (parts > 0)
                {
                    AddPart(word[part..length]);
                }
                Add(word[..length]);
            }
            length = 0;
            part = 0;
            parts = 0;
            lastLower = false;
        }

        void Add(ReadOnlySpan<char> piece)
        {
            var text = piece.ToString();
            if (keepStopWords || !StopWords.Contains(text))
            {
                terms.Add(Stem(text));
            }
        }
    }

    static bool IsLetterPair(ReadOnlySpan<char> text, int i) =>
        char.IsHighSurrogate(text[i])
            ? i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]) && Rune.IsLetterOrDigit(new Rune(text[i], text[i + 1]))
            : i > 0 && char.IsHighSurrogate(text[i - 1]) && Rune.IsLetterOrDigit(new Rune(text[i - 1], text[i]));

    static bool IsCjk(char c) => c is (>= '\u3040' and <= '\u30ff') or (>= '\u3400' and <= '\u9fff') or (>= '\uac00' and <= '\ud7a3');

    // The rules are coarse, which is enough because query and text use the same.
    static string Stem(string word)
    {
        if (word.Length < 4 || word.AsSpan().ContainsAnyExceptInRange('a', 'z'))
        {
            return word;
        }
        if (word.EndsWith("ies", StringComparison.Ordinal) && word.Length > 4)
        {
            return word[..^3] + "y";
        }
        if (word[^1] == 's' && word[^2] is not ('s' or 'u' or 'i'))
        {
            word = word[..^1];
        }
        foreach (var ending in (ReadOnlySpan<string>)["ing", "ed"])
        {
            if (word.Length >= ending.Length + 4 && word.EndsWith(ending, StringComparison.Ordinal))
            {
                word = word[..^ending.Length];
                break;
            }
        }
        return word.Length > 4 && word[^1] == 'e' ? word[..^1] : word;
    }

    // The host runs without culture data, so this table removes the accents of Latin letters.
    static string Fold(char c) => c < 'à' ? c.ToString() : c switch
    {
        >= 'à' and <= 'å' or 'ā' or 'ă' or 'ą' => "a",
        'æ' => "ae",
        'ç' or 'ć' or 'ĉ' or 'ċ' or 'č' => "c",
        'ď' or 'đ' or 'ð' => "d",
        >= 'è' and <= 'ë' or 'ē' or 'ĕ' or 'ė' or 'ę' or 'ě' => "e",
        'ĝ' or 'ğ' or 'ġ' or 'ģ' => "g",
        'ĥ' or 'ħ' => "h",
        >= 'ì' and <= 'ï' or 'ĩ' or 'ī' or 'ĭ' or 'į' or 'ı' => "i",
        'ĵ' => "j",
        'ķ' => "k",
        'ĺ' or 'ļ' or 'ľ' or 'ŀ' or 'ł' => "l",
        'ñ' or 'ń' or 'ņ' or 'ň' => "n",
        >= 'ò' and <= 'ö' or 'ø' or 'ō' or 'ŏ' or 'ő' => "o",
        'œ' => "oe",
        'ŕ' or 'ŗ' or 'ř' => "r",
        'ß' => "ss",
        'ś' or 'ŝ' or 'ş' or 'š' or 'ș' => "s",
        'ţ' or 'ť' or 'ŧ' or 'ț' => "t",
        'þ' => "th",
        >= 'ù' and <= 'ü' or 'ũ' or 'ū' or 'ŭ' or 'ů' or 'ű' or 'ų' => "u",
        'ŵ' => "w",
        'ý' or 'ÿ' or 'ŷ' => "y",
        'ź' or 'ż' or 'ž' => "z",
        _ => c.ToString(),
    };
}
