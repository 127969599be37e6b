using System.Buffers.Text;
using System.Collections.Immutable;
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
        foreach (var form in forms)
        {
            text = text.Replace(form, Mark, StringComparison.OrdinalIgnoreCase);
        }
        return text;
    }

    /// <summary>A secret of several lines or words, such as a header with its name, is one in each of them.</summary>
    static IEnumerable<string> Words(string value) => value.Split([' ', '\t', '\r', '\n', '"', ','], StringSplitOptions.RemoveEmptyEntries) is { Length: > 1 } words
        ? words.Where(word => word.Length >= EncodedCharsMin)
        : [];

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
}
