using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Cowork.Application.Storage;

/// <summary>
/// The hash of contracts/decisions.md ("Hash chain"): hex SHA-256 of the previous event's hash in the stream (32 bytes) and the RFC 8785 form of
/// <c>{tenant_id, stream_id, version, id, type, ts, actor, data}</c>.
/// </summary>
public static class HashChain
{
    /// <summary>What stands before version 1: 32 zero bytes, in hex.</summary>
    public static string Root { get; } = new('0', 64);

    /// <summary>A timestamp as answers and hashes have it: ISO-8601, UTC, milliseconds, <c>Z</c>.</summary>
    public static string Timestamp(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    /// <param name="canonicalData">The event's data in its RFC 8785 form.</param>
    public static string Next(
        string previous, string org, string stream, long version, Guid id, string type, DateTimeOffset at, string actor, ReadOnlySpan<byte> canonicalData)
    {
        var body = new ArrayBufferWriter<byte>(canonicalData.Length + 400);
        Convert.FromHexString(previous, body.GetSpan(32), out _, out var written);
        body.Advance(written);
        // The members stand in the order that RFC 8785 sorts them into.
        body.Write("{\"actor\":"u8);
        CanonicalJson.WriteString(body, actor);
        body.Write(",\"data\":"u8);
        body.Write(canonicalData);
        body.Write(",\"id\":\""u8);
        body.Write(Encoding.ASCII.GetBytes(id.ToString("D")));
        body.Write("\",\"stream_id\":"u8);
        CanonicalJson.WriteString(body, stream);
        body.Write(",\"tenant_id\":"u8);
        CanonicalJson.WriteString(body, org);
        body.Write(",\"ts\":\""u8);
        body.Write(Encoding.ASCII.GetBytes(Timestamp(at)));
        body.Write("\",\"type\":"u8);
        CanonicalJson.WriteString(body, type);
        body.Write(",\"version\":"u8);
        body.Write(Encoding.ASCII.GetBytes(version.ToString(CultureInfo.InvariantCulture)));
        body.Write("}"u8);
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(body.WrittenSpan, hash);
        return Convert.ToHexStringLower(hash);
    }
}
