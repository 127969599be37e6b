using System.Net.Http.Headers;
using System.Text;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;

namespace Cowork.Connectors;

/// <summary>The body of a response as text, as far as it is read.</summary>
/// <param name="Text">Null: it is no text.</param>
/// <param name="IsCut">The body goes on.</param>
sealed record BodyText(string? Text, bool IsCut)
{
    const int ReadBytes = 16 * 1024;

    /// <summary>Reads no more than a limit of decoded bytes, whatever comes after them.</summary>
    /// <exception cref="InvalidDataException">The body cannot be unpacked.</exception>
    public static async Task<BodyText> Read(HttpContent content, int bytesMax, CancellationToken ct)
    {
        if (ContentCoding.Unknown(content) is not null)
        {
            throw new InvalidDataException("The body has a coding that was not asked for.");
        }
        using var bytes = new PooledBuffer(ReadBytes);
        await using var body = await ContentCoding.Open(content, ct);
        while (bytes.Length <= bytesMax)
        {
            var count = await body.ReadAsync(bytes.GetMemory(ReadBytes), ct);
            if (count == 0)
            {
                return new(Decode(bytes.Written, content.Headers.ContentType, isWhole: true, bytesMax), IsCut: false);
            }
            bytes.Advance(count);
        }
        return new(Decode(bytes.Written[..bytesMax], content.Headers.ContentType, isWhole: false, bytesMax), IsCut: true);
    }

    /// <summary>The beginning of a text that fits so many bytes of UTF-8, whole characters.</summary>
    public static string Fit(string text, int bytesMax)
    {
        if (Encoding.UTF8.GetByteCount(text) <= bytesMax)
        {
            return text;
        }
        var bytes = new byte[bytesMax];
        Encoding.UTF8.GetEncoder().Convert(text, bytes, flush: false, out var charsUsed, out _, out _);
        return text[..(charsUsed > 0 && char.IsHighSurrogate(text[charsUsed - 1]) ? charsUsed - 1 : charsUsed)];
    }

    /// <summary>Null: the bytes are no text.</summary>
    static string? Decode(ReadOnlySpan<byte> bytes, MediaTypeHeaderValue? type, bool isWhole, int bytesMax)
    {
        var encoding = Named(type?.CharSet) is { } named && FileText.DetectEncoding(bytes[..Math.Min(bytes.Length, 2)], isWhole: false) is not UnicodeEncoding
            ? named
            : FileText.DetectEncoding(bytes, isWhole);
        if (encoding is null)
        {
            return null;
        }
        // What is cut may end inside a character, which the decoder keeps to itself.
        var decoder = encoding.GetDecoder();
        var chars = new char[encoding.GetMaxCharCount(bytes.Length)];
        var text = new string(chars, 0, decoder.GetChars(bytes, chars, flush: isWhole)).TrimStart('\ufeff');
        return text.Contains('\0', StringComparison.Ordinal) ? null : Fit(text, bytesMax);
    }

    /// <summary>The encoding that a response names; null: it names none, or none that is known.</summary>
    static Encoding? Named(string? charset)
    {
        if (string.IsNullOrWhiteSpace(charset))
        {
            return null;
        }
        var name = charset.Trim('"', ' ');
        try
        {
            return CodePagesEncodingProvider.Instance.GetEncoding(name) ?? Encoding.GetEncoding(name);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            return null;
        }
    }
}
