using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application;

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

    public static async ValueTask Write(Utf8JsonWriter json, IEnumerable<(string Sha256, long Bytes)> artifacts, IBlobs blobs, CancellationToken ct)
    {
        json.WriteStartArray();
        foreach (var (sha256, size, leftOut) in Plan(artifacts))
        {
            var bytes = leftOut is null ? await blobs.Get(sha256, ct) : null;
            json.WriteStartObject();
            json.WriteString("sha256", sha256);
            json.WriteNumber("bytes", size);
            if (bytes is null)
            {
                json.WriteString("left_out", leftOut ?? Missing);
            }
            else
            {
                json.WriteBase64String("base64", bytes);
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
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
