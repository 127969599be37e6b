using System.Security.Cryptography;
using System.Text;

using Cowork.Application;

namespace Cowork.Marten;

/// <summary>
/// The words by which a searched row is found, as its table's index has them: the terms of <see cref="Stemmer"/>, each behind its tenant's mark, so that what
/// a search costs does not grow with what other tenants keep.
/// </summary>
static class SearchTerms
{
    /// <summary>The indexed expression: a row's terms.</summary>
    public const string Column = "string_to_array(search, ' ')";

    /// <summary>Text beyond this does not help to find a row.</summary>
    const int CharsMax = 200_000;

    /// <summary>Terms of a row; a text of more is about everything.</summary>
    const int TermsMax = 4_000;

    /// <summary>Characters and terms of a query that are looked at.</summary>
    const int AskedCharsMax = 4_000;
    const int AskedMax = 32;

    /// <summary>A row's terms, each once, between spaces; null: it is not found.</summary>
    public static string? Of(string org, string? text) => text is null ? null : string.Join(' ', Terms(org, text, CharsMax, TermsMax));

    /// <summary>A query's terms.</summary>
    public static string[] Asked(string org, string query) => [.. Terms(org, query, AskedCharsMax, AskedMax)];

    static IEnumerable<string> Terms(string org, string text, int charsMax, int termsMax)
    {
        var terms = new List<string>();
        Stemmer.Collect(text.AsSpan(0, Math.Min(text.Length, charsMax)), terms, keepStopWords: false);
        var mark = Mark(org);
        return terms.Distinct(StringComparer.Ordinal).Take(termsMax).Select(term => $"{mark}:{term}");
    }

    static string Mark(string org)
    {
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(Encoding.UTF8.GetBytes(org), hash);
        return Convert.ToHexStringLower(hash[..6]);
    }
}
