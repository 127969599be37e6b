using System.Buffers;
using System.Globalization;
using System.Text;

namespace Cowork.Domain;

/// <summary>
/// Text that may be personal or large (prompts, replies, tool inputs and outputs) in one of three interchangeable forms
/// (contracts/decisions.md, "Hash chain"). In JSON: a string, <c>{sha256, bytes}</c>, or <c>{enc, subject, ciphertext}</c>.
/// </summary>
public abstract record Content
{
    /// <summary>The text itself, up to <see cref="Limits.InlineBytesMax"/> bytes.</summary>
    public sealed record Inline(string Text) : Content;

    /// <summary>The text is in the blob store, by the SHA-256 (lower-case hex) of its UTF-8 bytes.</summary>
    public sealed record Blob(string Sha256, long Bytes) : Content;

    /// <summary>The text is encrypted with the key of a data subject, so that deleting the key deletes the text.</summary>
    public sealed record Sealed(string Enc, string Subject, string Ciphertext) : Content;

    /// <summary>Short text that fits an event.</summary>
    public static Content Of(string text) => new Inline(text);
}

/// <summary>Text that PostgreSQL and I-JSON (RFC 7493) can store.</summary>
public static class StorableText
{
    static readonly SearchValues<char> Suspects = SearchValues.Create(
        [.. Enumerable.Range(0xD800, 0x800).Select(c => (char)c), '\0']);

    /// <summary>True: the text has no NUL and no lone surrogate.</summary>
    public static bool IsStorable(ReadOnlySpan<char> text)
    {
        for (var i = text.IndexOfAny(Suspects); i >= 0 && i < text.Length; i++)
        {
            if (text[i] == '\0' || char.IsLowSurrogate(text[i]))
            {
                return false;
            }
            if (char.IsHighSurrogate(text[i]))
            {
                if (i + 1 >= text.Length || !char.IsLowSurrogate(text[i + 1]))
                {
                    return false;
                }
                i++;
            }
        }
        return true;
    }

    /// <summary>
    /// Replaces each NUL and lone surrogate by its six-character escape (<c>\u0000</c>), because the output of a model, tool, cell or document must never fail
    /// an append.
    /// </summary>
    public static string Escape(string text)
    {
        if (IsStorable(text))
        {
            return text;
        }
        var escaped = new StringBuilder(text.Length + 16);
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                escaped.Append(c).Append(text[++i]);
            }
            else if (c == '\0' || char.IsSurrogate(c))
            {
                escaped.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture));
            }
            else
            {
                escaped.Append(c);
            }
        }
        return escaped.ToString();
    }
}
