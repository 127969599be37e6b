using System.Buffers.Text;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;

namespace Cowork.Application;

/// <summary>
/// Takes the secrets of a connection out of a text that its source wrote: an error that repeats a password, an answer that shows the request's headers. It finds them as they
/// are, in JSON, in URLs, in base64 at any offset, and in hexadecimal.
/// </summary>
public sealed class SecretScrubber
{
    /// <summary>What stands in a secret's place.</summary>
    public const string Mark = "***";

    /// <summary>Shorter ones are not looked for: they would be found in every word.</summary>
    const int CharsMin = 4;

    /// <summary>How often a text is looked at with one more level of JSON's escapes undone.</summary>
    const int EscapesMax = 3;

    /// <summary>The part of a longer secret in base64 that is the same wherever it begins has at least so many characters.</summary>
    const int EncodedCharsMin = 8;

    readonly ImmutableArray<string> forms;

    SecretScrubber(IEnumerable<string> secrets) =>
        // The longest first, so that no form of one secret leaves a piece of another.
        forms = [.. secrets.Where(secret => secret.Length >= CharsMin).SelectMany(Forms).Where(form => form.Length >= CharsMin).Distinct().OrderByDescending(form => form.Length)];

    /// <summary>Of all values that the spec does not call public, and of the user information in every URL.</summary>
    public static SecretScrubber Of(ConnectionSettings settings, ConnectorSpec spec)
    {
        var shown = spec.Fields.Where(field => !field.IsSecret).Select(field => field.Key).ToHashSet();
        return new(settings.Fields.SelectMany(field => shown.Contains(field.Key) ? UserInfo(field.Value) : [field.Value, .. Words(field.Value), .. UserInfo(field.Value)]));
    }

    /// <summary>The text without the secrets.</summary>
    public string Scrub(string text)
    {
        var found = new List<(int Start, int End)>();
        var (level, plain) = (0, EscapedText.Of(text));
        while (true)
        {
            foreach (var form in forms)
            {
                for (var at = 0; (at = plain.Text.IndexOf(form, at, StringComparison.OrdinalIgnoreCase)) >= 0; at += form.Length)
                {
                    found.Add((plain.Starts(at), plain.Starts(at + form.Length)));
                }
            }
            // Who writes JSON may escape any character, also within a text that is JSON itself.
            if (level++ == EscapesMax || plain.Unescape() is not { } next)
            {
                return found.Count == 0 ? text : Marked(text, found);
            }
            plain = next;
        }
    }

    static string Marked(string text, List<(int Start, int End)> found)
    {
        var (shown, at) = (new StringBuilder(), 0);
        foreach (var (start, end) in found.OrderBy(range => range.Start).ThenByDescending(range => range.End))
        {
            if (start >= at)
            {
                shown.Append(text, at, start - at).Append(Mark);
            }
            at = Math.Max(at, end);
        }
        return shown.Append(text, at, text.Length - at).ToString();
    }

    /// <summary>
    /// A secret of several lines or words, such as a header with its name, is one in each of them, and in what a line has behind its name: <c>NAME=value</c>,
    /// <c>Name: value</c>.
    /// </summary>
    static IEnumerable<string> Words(string value) =>
    [
        .. value.Split([' ', '\t', '\r', '\n', '"', ','], StringSplitOptions.RemoveEmptyEntries) is { Length: > 1 } words
            ? words.Where(word => word.Length >= EncodedCharsMin)
            : [],
        .. value.Split(['\r', '\n']).SelectMany(line => (string[])[After(line, '='), After(line, ':')]),
    ];

    static string After(string line, char sign) => line[(line.IndexOf(sign, StringComparison.Ordinal) + 1)..].Trim();

    static IEnumerable<string> UserInfo(string value)
    {
        if (!Uri.TryCreate(value, UriKind.Absolute, out var url) || url.UserInfo.Length == 0)
        {
            return [];
        }
        var password = url.UserInfo[(url.UserInfo.IndexOf(':', StringComparison.Ordinal) + 1)..];
        return [url.UserInfo, password, Uri.UnescapeDataString(url.UserInfo), Uri.UnescapeDataString(password)];
    }

    static IEnumerable<string> Forms(string secret)
    {
        var bytes = Encoding.UTF8.GetBytes(secret);
        // A form's text or an address may stand in JSON.
        foreach (var form in (string[])[secret, Uri.EscapeDataString(secret), System.Net.WebUtility.UrlEncode(secret)])
        {
            yield return form;
            yield return JsonEncodedText(form, JavaScriptEncoder.Default);
            yield return JsonEncodedText(form, JavaScriptEncoder.UnsafeRelaxedJsonEscaping);
        }
        yield return System.Net.WebUtility.HtmlEncode(secret);
        yield return Convert.ToHexString(bytes);
        for (var offset = 0; offset < 3; offset++)
        {
            // Only the characters whose six bits are all the secret's are the same whatever stands before and after it.
            var padded = new byte[offset + bytes.Length];
            bytes.CopyTo(padded, offset);
            var (first, last) = (((offset * 8) + 5) / 6, padded.Length * 8 / 6);
            if (last - first >= EncodedCharsMin)
            {
                yield return Convert.ToBase64String(padded)[first..last];
                yield return Base64Url.EncodeToString(padded)[first..last];
            }
        }
    }

    static string JsonEncodedText(string text, JavaScriptEncoder encoder) => System.Text.Json.JsonEncodedText.Encode(text, encoder).ToString();

    /// <summary>A text with JSON's escapes undone, and where each of its characters stands in the original.</summary>
    sealed class EscapedText
    {
        /// <summary>Null: each stands where it stands in the original.</summary>
        readonly List<int>? starts;

        EscapedText(string text, List<int>? starts) => (Text, this.starts) = (text, starts);

        public string Text { get; }

        public static EscapedText Of(string text) => new(text, null);

        /// <summary>Where a character begins in the original; the place behind the last one is its end.</summary>
        public int Starts(int at) => starts?[at] ?? at;

        /// <summary>With one level of escapes undone; null: there is none.</summary>
        public EscapedText? Unescape()
        {
            if (!Text.Contains('\\', StringComparison.Ordinal))
            {
                return null;
            }
            var (plain, places) = (new StringBuilder(Text.Length), new List<int>(Text.Length + 1));
            for (var at = 0; at < Text.Length;)
            {
                places.Add(Starts(at));
                var (character, length) = CharacterAt(at);
                plain.Append(character);
                at += length;
            }
            places.Add(Starts(Text.Length));
            return new(plain.ToString(), places);
        }

        (char Character, int Length) CharacterAt(int at)
        {
            if (Text[at] != '\\' || at + 1 == Text.Length)
            {
                return (Text[at], 1);
            }
            return Text[at + 1] switch
            {
                'u' when at + 6 <= Text.Length && ushort.TryParse(Text.AsSpan(at + 2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) =>
                    ((char)code, 6),
                'n' => ('\n', 2),
                't' => ('\t', 2),
                'r' => ('\r', 2),
                'b' => ('\b', 2),
                'f' => ('\f', 2),
                '"' or '\\' or '/' => (Text[at + 1], 2),
                _ => (Text[at], 1),
            };
        }
    }
}
