using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;

namespace Cowork.Application.Storage;

/// <summary>
/// The hash of contracts/decisions.md ("Hash chain"): hex SHA-256 of the previous event's hash in the stream (32 bytes) and the RFC 8785 form of
/// <c>{tenant_id, stream_id, version, id, type, ts, actor, data}</c>.
/// </summary>
public static class HashChain
{
    const int HashBytes = 32;

    const string TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z'";

    /// <summary>What stands before version 1: 32 zero bytes, in hex.</summary>
    public static string Root { get; } = new('0', 64);

    /// <summary>A timestamp as answers and hashes have it: ISO-8601, UTC, milliseconds, <c>Z</c>.</summary>
    public static string Timestamp(DateTimeOffset at) => at.UtcDateTime.ToString(TimestampFormat, CultureInfo.InvariantCulture);

    /// <param name="canonicalData">The event's data in its RFC 8785 form.</param>
    public static string Next(
        string previous, string org, string stream, long version, Guid id, string type, DateTimeOffset at, string actor, ReadOnlySpan<byte> canonicalData)
    {
        Span<byte> hash = stackalloc byte[HashBytes];
        Compute(hash, previous, org, stream, version, id, type, at, actor, canonicalData);
        return Convert.ToHexStringLower(hash);
    }

    /// <summary>Whether it is the hash that <see cref="Next"/> gives, which is not made a text for it.</summary>
    /// <inheritdoc cref="Next"/>
    public static bool IsNext(
        string hash, string previous, string org, string stream, long version, Guid id, string type, DateTimeOffset at, string actor, ReadOnlySpan<byte> canonicalData)
    {
        Span<byte> computed = stackalloc byte[HashBytes];
        Compute(computed, previous, org, stream, version, id, type, at, actor, canonicalData);
        Span<char> hex = stackalloc char[2 * HashBytes];
        return Convert.TryToHexStringLower(computed, hex, out _) && hex.SequenceEqual(hash);
    }

    static void Compute(
        Span<byte> hash, string previous, string org, string stream, long version, Guid id, string type, DateTimeOffset at, string actor,
        ReadOnlySpan<byte> canonicalData)
    {
        using var body = new PooledBuffer(canonicalData.Length + 512);
        Convert.FromHexString(previous, body.GetSpan(HashBytes), out _, out var written);
        body.Advance(written);
        // The members stand in the order that RFC 8785 sorts them into.
        body.Write("{\"actor\":"u8);
        CanonicalJson.WriteString(body, actor);
        body.Write(",\"data\":"u8);
        body.Write(canonicalData);
        body.Write(",\"id\":\""u8);
        id.TryFormat(body.GetSpan(36), out written, "D");
        body.Advance(written);
        body.Write("\",\"stream_id\":"u8);
        CanonicalJson.WriteString(body, stream);
        body.Write(",\"tenant_id\":"u8);
        CanonicalJson.WriteString(body, org);
        body.Write(",\"ts\":\""u8);
        at.UtcDateTime.TryFormat(body.GetSpan(32), out written, TimestampFormat, CultureInfo.InvariantCulture);
        body.Advance(written);
        body.Write("\",\"type\":"u8);
        CanonicalJson.WriteString(body, type);
        body.Write(",\"version\":"u8);
        version.TryFormat(body.GetSpan(20), out written, provider: CultureInfo.InvariantCulture);
        body.Advance(written);
        body.Write("}"u8);
        SHA256.HashData(body.Written, hash);
    }
}
