using System.Text;

namespace Cowork.Application;

/// <summary>
/// Finds texts by parts of words, without regard to case: what is typed into a search box. An index holds the three-character pieces of a text; what it finds is compared
/// with the words themselves.
/// </summary>
public static class PartsOfWords
{
    /// <summary>Characters of a piece. A shorter word has none, and is compared with each text.</summary>
    public const int PieceChars = 3;

    /// <summary>Words of a query that are looked for; further ones are not.</summary>
    public const int WordsMax = 16;

    /// <summary>The text in lower case, with one space in place of each run of white space and control characters.</summary>
    public static string Fold(string text)
    {
        var folded = new StringBuilder(text.Length);
        foreach (var c in text)
        {
            if (!char.IsWhiteSpace(c) && !char.IsControl(c))
            {
                folded.Append(char.ToLowerInvariant(c));
            }
            else if (folded is [.., not ' '])
            {
                folded.Append(' ');
            }
        }
        return folded.ToString();
    }

    /// <summary>The distinct words of a query, folded.</summary>
    public static IReadOnlyList<string> Words(string query) =>
        [.. Fold(query).Split(' ', StringSplitOptions.RemoveEmptyEntries).Distinct(StringComparer.Ordinal).Take(WordsMax)];

    /// <summary>True: the folded text has each of the words.</summary>
    public static bool Has(string text, IReadOnlyList<string> words) => words.All(word => text.Contains(word, StringComparison.Ordinal));

    /// <summary>The distinct pieces of folded texts, as hashes that differ by tenant and scope, so that an index of all tenants' rows is none of each.</summary>
    public static long[] Pieces(string org, string? scope, params IEnumerable<string> texts)
    {
        var begin = Begin(org, scope);
        var pieces = new HashSet<long>();
        foreach (var text in texts)
        {
            AddPieces(pieces, begin, text, PieceChars);
        }
        return [.. pieces];
    }

    /// <summary>The distinct pieces of a folded text, also those of one and two characters, by which words that short are found.</summary>
    public static IReadOnlyCollection<long> AllPieces(string org, string? scope, string text)
    {
        var begin = Begin(org, scope);
        var pieces = new HashSet<long>();
        for (var chars = 1; chars <= PieceChars; chars++)
        {
            AddPieces(pieces, begin, text, chars);
        }
        return pieces;
    }

    /// <summary>Those of <see cref="AllPieces"/> that every text with the words has.</summary>
    public static IReadOnlyCollection<long> AskedPieces(string org, string? scope, IReadOnlyList<string> words)
    {
        var begin = Begin(org, scope);
        var pieces = new HashSet<long>();
        foreach (var word in words)
        {
            AddPieces(pieces, begin, word, Math.Min(PieceChars, word.Length));
        }
        return pieces;
    }

    static ulong Begin(string org, string? scope) => Hash(Hash(Hash(14_695_981_039_346_656_037, org), "\n"), scope);

    static void AddPieces(HashSet<long> pieces, ulong begin, string text, int chars)
    {
        for (var i = 0; i + chars <= text.Length; i++)
        {
            pieces.Add(unchecked((long)Hash(begin, text.AsSpan(i, chars))));
        }
    }

    /// <summary>FNV-1a over 16-bit characters.</summary>
    static ulong Hash(ulong from, ReadOnlySpan<char> text)
    {
        foreach (var c in text)
        {
            from = unchecked((from ^ c) * 1_099_511_628_211);
        }
        return from;
    }
}
