using System.Buffers.Text;
using System.Net;
using System.Text;
using System.Text.Encodings.Web;

namespace Cowork.Connectors;

/// <summary>Takes a connection's secrets out of what its source says: some repeat what they were sent, in an error or on purpose.</summary>
public sealed class SecretMask
{
    /// <summary>What stands in place of a secret.</summary>
    public const string Mark = "•••";

    /// <summary>Shorter ones are everywhere by chance: to remove them would break the text and tell what they are.</summary>
    const int CharsMin = 4;

    /// <summary>So many characters of base64 that depend on a secret alone are no chance.</summary>
    const int Base64CharsMin = 8;

    readonly string[] forms;

    /// <param name="secrets">As they are; empty ones and null count for nothing.</param>
    public SecretMask(params IEnumerable<string?> secrets) => forms =
        [.. secrets.OfType<string>().Where(secret => secret.Length >= CharsMin).SelectMany(Forms).Distinct().OrderByDescending(form => form.Length)];

    /// <summary>The text without the secrets, also where they are written for a URL, for JSON or HTML, or in base64 within something else.</summary>
    public string Apply(string text)
    {
        foreach (var form in forms)
        {
            text = text.Replace(form, Mark, StringComparison.Ordinal);
        }
        return text;
    }

    static IEnumerable<string> Forms(string secret)
    {
        // A form's text or an address may stand in JSON.
        foreach (var form in (string[])[secret, Uri.EscapeDataString(secret), WebUtility.UrlEncode(secret)])
        {
            yield return form;
            yield return JavaScriptEncoder.Default.Encode(form);
            yield return JavaScriptEncoder.UnsafeRelaxedJsonEscaping.Encode(form);
        }
        yield return WebUtility.HtmlEncode(secret);
        var bytes = Encoding.UTF8.GetBytes(secret);
        for (var offset = 0; offset < 3; offset++)
        {
            var shifted = new byte[offset + bytes.Length];
            bytes.CopyTo(shifted, offset);
            // Characters at both ends have bits of what stands around the secret.
            var (first, end) = (((offset * 8) + 5) / 6, shifted.Length * 8 / 6);
            if (end - first >= Base64CharsMin)
            {
                yield return Convert.ToBase64String(shifted)[first..end];
                yield return Base64Url.EncodeToString(shifted)[first..end];
            }
        }
    }
}
