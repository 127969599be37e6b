using System.Buffers.Binary;
using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Marten;

/// <summary>
/// The terms of a searched row in its table's index: those of <see cref="Stemmer"/>, each with its tenant's prefix, so that a search does not slow down with the rows
/// of other tenants.
/// </summary>
static class SearchTerms
{
    /// <summary>The indexed expression: a row's terms.</summary>
    public const string Column = "string_to_array(search, ' ')";

    /// <summary>Characters of a text that are indexed.</summary>
    const int CharsMax = 200_000;

    /// <summary>Distinct terms of a row that are indexed.</summary>
    const int TermsMax = 4_000;

    /// <summary>Characters and terms of a query that are searched for.</summary>
    const int AskedCharsMax = 4_000;
    const int AskedMax = 32;

    /// <summary>A row's distinct terms, separated by spaces; null: the row is not searched.</summary>
    public static string? Of(IRowModel model, string org, RowValue row) =>
        row.Search is not { } text ? null
        : string.Join(' ', model.ByParts ? Terms(PartsOfWords.AllPieces(org, row.Scope, text)) : Terms(org, text, CharsMax, TermsMax));

    /// <summary>A query's terms.</summary>
    public static string[] Asked(string org, string query) => [.. Terms(org, query, AskedCharsMax, AskedMax)];

    /// <summary>The terms of parts of words.</summary>
    public static string[] Asked(string org, NamedLike query) => [.. Terms(PartsOfWords.AskedPieces(org, query.Kind, query.Words))];

    /// <summary>Eight characters each: two pieces that share them cost a comparison.</summary>
    static IEnumerable<string> Terms(IEnumerable<long> pieces)
    {
        var bytes = new byte[sizeof(long)];
        foreach (var piece in pieces)
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes, piece);
            yield return Base64Url.EncodeToString(bytes.AsSpan(0, 6));
        }
    }

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
