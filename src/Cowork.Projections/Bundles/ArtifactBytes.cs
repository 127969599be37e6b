using System.Buffers;
using System.Buffers.Text;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>
/// The contents of a bundle's artifacts, each once and in the order of the artifacts: <c>{sha256, bytes, base64}</c> for a small content,
/// <c>{sha256, bytes, left_out}</c> for another. The artifacts alone decide which contents are included, so that a verifier knows what must be there.
/// </summary>
static class ArtifactBytes
{
    /// <summary>Largest content that a bundle includes, in bytes.</summary>
    public const long ContentBytesMax = 64 * 1024;

    /// <summary>Largest sum of included contents, in bytes. A content that would exceed it is left out; a later, smaller one may still fit.</summary>
    public const long TotalBytesMax = 1024 * 1024;

    const string TooLarge = "too_large";
    const string PastTotal = "past_all";

    /// <summary>Reason for leaving a content out: the blob store has lost it.</summary>
    public const string Missing = "missing";

    /// <summary>The contents with their bytes, one after the other.</summary>
    public static async IAsyncEnumerable<BundledBytes> Of(
        IEnumerable<(string Sha256, long Bytes)> artifacts, IBlobs blobs, [EnumeratorCancellation] CancellationToken ct)
    {
        foreach (var (sha256, size, leftOut) in Plan(artifacts))
        {
            var bytes = leftOut is null ? await blobs.Get(sha256, ct) : null;
            yield return new(sha256, size, bytes is null ? leftOut ?? Missing : null, bytes);
        }
    }

    /// <summary>Writes a content, or why it is left out, in canonical form.</summary>
    public static void Write(PooledBuffer json, BundledBytes content)
    {
        json.Write("{"u8);
        if (content.Content is { } bytes)
        {
            json.Write("\"base64\":\""u8);
            Base64.EncodeToUtf8(bytes, json.GetSpan(Base64.GetMaxEncodedToUtf8Length(bytes.Length)), out _, out var written);
            json.Advance(written);
            json.Write("\","u8);
        }
        json.Member("\"bytes\":"u8, content.Bytes);
        json.Member(",\"left_out\":"u8, content.LeftOut);
        json.Member(",\"sha256\":"u8, content.Sha256);
        json.Write("}"u8);
    }

    /// <summary>Each content's digest, size and reason for leaving it out; null: the bundle includes it, unless it is <see cref="Missing"/>.</summary>
    public static IEnumerable<(string Sha256, long Bytes, string? LeftOut)> Plan(IEnumerable<(string Sha256, long Bytes)> artifacts)
    {
        var total = 0L;
        foreach (var (sha256, bytes) in artifacts.DistinctBy(a => a.Sha256))
        {
            var leftOut = bytes > ContentBytesMax ? TooLarge : bytes > TotalBytesMax - total ? PastTotal : null;
            total += leftOut is null ? bytes : 0;
            yield return (sha256, bytes, leftOut);
        }
    }

    public static bool HaveDigest(byte[] bytes, string sha256) => Convert.ToHexStringLower(SHA256.HashData(bytes)) == sha256;
}

/// <summary>Bytes in a bundle.</summary>
/// <param name="LeftOut">Why they are not there; null: they are.</param>
/// <param name="Content">Null: left out.</param>
readonly record struct BundledBytes(string Sha256, long Bytes, string? LeftOut, byte[]? Content);
