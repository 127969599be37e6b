using System.IO.Compression;

namespace Cowork.Application.Models;

/// <summary>Reads a response's body without the codings that its server put around it (RFC 9110, section 8.4.1).</summary>
public static class ContentCoding
{
    /// <summary>Each coding takes memory of its own.</summary>
    const int CodingsMax = 2;

    /// <summary>Null: each coding of the body can be removed. Else the first that is not known here.</summary>
    public static string? Unknown(HttpContent content) =>
        content.Headers.ContentEncoding.FirstOrDefault(coding => coding.ToLowerInvariant() is not ("gzip" or "x-gzip" or "deflate" or "br" or "identity"));

    /// <summary>The decoded body. It is decoded as it is read, so that a reader who stops at a limit is safe from a body that unpacks to more. Unknown codings stay.</summary>
    /// <exception cref="InvalidDataException">The body has more codings than anybody needs.</exception>
    public static async Task<Stream> Open(HttpContent content, CancellationToken ct)
    {
        var body = await content.ReadAsStreamAsync(ct);
        if (content.Headers.ContentEncoding.Count > CodingsMax)
        {
            throw new InvalidDataException("The answer is compressed more than once.");
        }
        foreach (var coding in content.Headers.ContentEncoding.Reverse())
        {
            body = coding.ToLowerInvariant() switch
            {
                "gzip" or "x-gzip" => new GZipStream(body, CompressionMode.Decompress),
                "deflate" => await Inflate(body, ct),
                "br" => new BrotliStream(body, CompressionMode.Decompress),
                _ => body,
            };
        }
        return body;
    }

    /// <summary>The header <c>deflate</c> stands for zlib's form (RFC 9110), and for some servers for the bare one. The first two bytes tell (RFC 1950).</summary>
    static async Task<Stream> Inflate(Stream body, CancellationToken ct)
    {
        var first = new byte[2];
        var count = await body.ReadAtLeastAsync(first, first.Length, throwOnEndOfStream: false, ct);
        var whole = new PrefixedStream(first.AsMemory(0, count), body);
        return (first[0] & 0x0F) == 8 && ((first[0] << 8) + first[1]) % 31 == 0
            ? new ZLibStream(whole, CompressionMode.Decompress)
            : new DeflateStream(whole, CompressionMode.Decompress);
    }
}
