using System.Buffers;

namespace Cowork.Connectors;

/// <summary>Reads header fields that users and models write.</summary>
static class HttpHeaders
{
    const int ValueCharsMax = 8_192;

    /// <summary>RFC 9110, section 5.6.2.</summary>
    static readonly SearchValues<char> Token = SearchValues.Create("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    /// <summary>Why it is no header, as a sentence; null: it is one.</summary>
    public static string? FaultOf(string name, string value) =>
        name.Length == 0 || name.AsSpan().ContainsAnyExcept(Token) ? "Its name has characters that no header's name has."
        : value.Length > ValueCharsMax ? $"Its value has more than {ValueCharsMax} characters."
        : value.Any(c => c is (< ' ' and not '\t') or > '~') ? "Its value has characters that no header's value has."
        : null;

    /// <summary>Lines of <c>Name: value</c>.</summary>
    /// <param name="fault">Why the text is none, as a sentence that does not repeat it.</param>
    /// <returns>Null: see <paramref name="fault"/>.</returns>
    public static IReadOnlyList<KeyValuePair<string, string>>? Lines(string text, out string? fault)
    {
        var headers = new List<KeyValuePair<string, string>>();
        foreach (var line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (line.Split(':', 2, StringSplitOptions.TrimEntries) is not [var name, var value])
            {
                fault = "Must be lines such as X-Api-Key: value.";
                return null;
            }
            if (FaultOf(name, value) is { } wrong)
            {
                fault = $"Line {headers.Count + 1}: {wrong}";
                return null;
            }
            headers.Add(new(name, value));
        }
        fault = null;
        return headers;
    }
}
