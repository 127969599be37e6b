using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Projections;

/// <summary>
/// A run's bundle with the bytes of what it names: a ZIP archive (<see cref="StoredZip"/>) of <c>bundle.json</c>, which is the bundle as it is without them, and
/// <c>content/SHA256</c> for each artifact and each blob. <see cref="ZipVerifier"/> checks it.
/// </summary>
public static class ZipBundle
{
    public const string BundleName = "bundle.json";
    public const string ContentFolder = "content/";

    /// <summary>Largest sum of contents, in bytes, so that no archive needs ZIP64. A content that would exceed it is left out; a later, smaller one may still fit.</summary>
    public const long ContentBytesMax = 2L * 1024 * 1024 * 1024;

    const int PieceBytes = 64 * 1024;

    /// <summary>Writes the archive. Memory does not grow with the contents. What the blob store has lost is left out, as in the bundle.</summary>
    public static async Task Write(RunBundle bundle, IBlobs blobs, PipeWriter output, CancellationToken ct)
    {
        var zip = new StoredZipWriter(output);
        await zip.Add(BundleName, bundle.Pieces(), ct);
        foreach (var (sha256, bytes) in Fitting(bundle.Contents, content => content.Bytes))
        {
            await using var content = await blobs.Open(sha256, ct);
            if (content is null)
            {
                continue;
            }
            var crc = await Checked(content, sha256, bytes, ct);
            content.Position = 0;
            await zip.Add(ContentFolder + sha256, crc, bytes, content, ct);
        }
        await zip.End(ct);
    }

    /// <summary>The contents that an archive of a sound bundle may have, in their order. Must be: the bundle has the bytes, too.</summary>
    internal static IEnumerable<(string Sha256, long Bytes, bool MustBe)> Contents(JsonElement bundle)
    {
        IEnumerable<JsonElement> artifacts = bundle.TryGetProperty("artifact_bytes", out var given) ? given.EnumerateArray() : [];
        var contents = artifacts.Concat(bundle.GetProperty("blobs").EnumerateArray())
            .Select(content => (Sha256: content.GetProperty("sha256").GetString()!, Bytes: content.GetProperty("bytes").GetInt64(), content.TryGetProperty("base64", out _)));
        return Fitting(contents.DistinctBy(content => content.Sha256), content => content.Bytes);
    }

    static IEnumerable<T> Fitting<T>(IEnumerable<T> contents, Func<T, long> bytesOf)
    {
        var total = 0L;
        foreach (var content in contents)
        {
            if (bytesOf(content) <= ContentBytesMax - total)
            {
                total += bytesOf(content);
                yield return content;
            }
        }
    }

    /// <summary>The CRC of a content that is what its digest says.</summary>
    static async Task<uint> Checked(Stream content, string sha256, long bytes, CancellationToken ct)
    {
        using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var piece = new byte[PieceBytes];
        var (crc, length) = (0u, 0L);
        while (await content.ReadAsync(piece, ct) is > 0 and var read)
        {
            digest.AppendData(piece, 0, read);
            crc = StoredZip.Crc(crc, piece.AsSpan(0, read));
            length += read;
        }
        return length == bytes && Convert.ToHexStringLower(digest.GetCurrentHash()) == sha256 ? crc : throw new InvalidDataException($"The blob {sha256} was changed.");
    }
}
