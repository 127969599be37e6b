using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;

namespace Cowork.Projections;

/// <summary>
/// The bytes of a bundle's artifacts: each content once, in the order of the artifacts, as <c>{sha256, bytes, base64}</c> where it is small and
/// <c>{sha256, bytes, left_out}</c> where it is not. Which is which follows from the artifacts alone, so that a verifier knows what must be there.
/// </summary>
static class ArtifactBytes
{
    /// <summary>Largest content that a bundle holds, in bytes.</summary>
    public const long EachMax = 64 * 1024;

    /// <summary>Most that a bundle holds of all of them, in bytes; one that would go past it is left out, and a later one that fits is not.</summary>
    public const long AllMax = 1024 * 1024;

    const string TooLarge = "too_large";
    const string PastAll = "past_all";

    /// <summary>The blob store does not have it any more.</summary>
    public const string Missing = "missing";

    public static async ValueTask Write(Utf8JsonWriter json, IEnumerable<JsonObject> artifacts, IBlobs blobs, CancellationToken ct)
    {
        json.WriteStartArray();
        foreach (var (sha256, size, why) in Plan(artifacts))
        {
            var bytes = why is null ? await blobs.Get(sha256, ct) : null;
            json.WriteStartObject();
            json.WriteString("sha256", sha256);
            json.WriteNumber("bytes", size);
            if (bytes is null)
            {
                json.WriteString("left_out", why ?? Missing);
            }
            else
            {
                json.WriteBase64String("base64", bytes);
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    /// <summary>What there must be of each content, and why its bytes are not there; null: they are.</summary>
    public static IEnumerable<(string Sha256, long Bytes, string? LeftOut)> Plan(IEnumerable<JsonObject> artifacts)
    {
        var all = 0L;
        foreach (var (sha256, bytes) in artifacts.Select(a => (Sha256: (string)a["sha256"]!, Bytes: (long)a["bytes"]!)).DistinctBy(a => a.Sha256))
        {
            var why = bytes > EachMax ? TooLarge : all + bytes > AllMax ? PastAll : null;
            all += why is null ? bytes : 0;
            yield return (sha256, bytes, why);
        }
    }

    public static bool Are(byte[] bytes, string sha256) => Convert.ToHexStringLower(SHA256.HashData(bytes)) == sha256;
}
