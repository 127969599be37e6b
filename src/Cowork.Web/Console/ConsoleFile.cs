using System.IO.Compression;
using System.Security.Cryptography;

namespace Cowork.Web;

/// <summary>A file of the console, and its compressed forms, which are made when somebody first asks for them and then kept.</summary>
public sealed class ConsoleFile(string path, byte[] bytes)
{
    readonly Lazy<byte[]> brotli = new(() => Brotli(bytes));
    readonly Lazy<byte[]> gzip = new(() => Gzip(bytes));

    public string MediaType { get; } = Path.GetExtension(path) switch
    {
        ".html" => "text/html; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".svg" => "image/svg+xml",
        ".woff2" => "font/woff2",
        ".txt" => "text/plain; charset=utf-8",
        var other => throw new InvalidOperationException($"The console has no files that end in {other}."),
    };

    public ReadOnlySpan<byte> Bytes => bytes;

    /// <summary>Hex SHA-256 of the bytes.</summary>
    public string Digest { get; } = Convert.ToHexStringLower(SHA256.HashData(bytes));

    /// <summary>Base64 SHA-256 of the one script that stands in the file, as a policy names it.</summary>
    public string ScriptDigest()
    {
        var (from, to) = (bytes.AsSpan().IndexOf("<script>"u8) + "<script>".Length, bytes.AsSpan().IndexOf("</script>"u8));
        return Convert.ToBase64String(SHA256.HashData(bytes.AsSpan(from..to)));
    }

    /// <summary>Fonts are compressed already.</summary>
    bool IsText => !path.EndsWith(".woff2", StringComparison.Ordinal);

    /// <summary>The smallest form that a client takes.</summary>
    /// <param name="accepted">The header <c>Accept-Encoding</c>.</param>
    /// <returns>The name of the encoding; null: the bytes as they are.</returns>
    public (string? Encoding, byte[] Bytes) For(string accepted) =>
        IsText && Accepts(accepted, "br") ? ("br", brotli.Value)
        : IsText && Accepts(accepted, "gzip") ? ("gzip", gzip.Value)
        : (null, bytes);

    static bool Accepts(string accepted, string encoding) => accepted.Split(',')
        .Select(part => part.Split(';', StringSplitOptions.TrimEntries))
        .Any(part => part[0].Equals(encoding, StringComparison.OrdinalIgnoreCase) && !(part.Length > 1 && part[1].Replace(" ", "", StringComparison.Ordinal) is "q=0" or "q=0.0"));

    /// <summary>Quality 9: the highest takes ten times as long, on the first request of somebody who waits, for one byte in twenty.</summary>
    static byte[] Brotli(byte[] bytes)
    {
        var packed = new byte[BrotliEncoder.GetMaxCompressedLength(bytes.Length)];
        return BrotliEncoder.TryCompress(bytes, packed, out var length, quality: 9, window: 22)
            ? packed[..length]
            : throw new InvalidOperationException("A buffer of the greatest length was too short.");
    }

    static byte[] Gzip(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var stream = new GZipStream(packed, CompressionLevel.Optimal))
        {
            stream.Write(bytes);
        }
        return packed.ToArray();
    }
}
