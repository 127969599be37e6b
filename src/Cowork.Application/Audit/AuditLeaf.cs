using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// What the tree over the log says of an event: where it stands, in which feed, and the hash that its stream's chain gives it, which covers its content. It tells nothing of
/// the content, and nobody can guess it who does not have the event: its hash covers a random id.
/// </summary>
/// <param name="Position">From 1.</param>
/// <param name="FeedId">0: the event is in no session's feed.</param>
/// <param name="Hash">Hex SHA-256 (<see cref="HashChain"/>). Of an event that another program wrote without one: the hash that it would have as the first of its stream.</param>
public sealed record AuditLeaf(
    long Position, string Org, string Stream, long Version, string Hash, long FeedId = 0, SessionKey? Session = null, RunKey? Run = null, string? Correlation = null,
    string? Causation = null)
{
    /// <summary>
    /// The leaf's bytes: RFC 8785 of <c>{causation_id, correlation_id, feed_id, gid, hash, run_id, session_id, stream_id, tenant_id, version}</c>, without the members
    /// that the event does not have.
    /// </summary>
    public byte[] Canonical()
    {
        using var json = new PooledBuffer(512);
        Write(json);
        return json.Written.ToArray();
    }

    public byte[] LeafHash()
    {
        using var input = new PooledBuffer(512);
        input.Write((ReadOnlySpan<byte>)[MerkleTree.LeafPrefix]);
        Write(input);
        return SHA256.HashData(input.Written);
    }

    void Write(PooledBuffer json)
    {
        json.Write("{"u8);
        Text(json, "\"causation_id\":"u8, Causation);
        Text(json, "\"correlation_id\":"u8, Correlation);
        if (FeedId > 0)
        {
            Number(json, "\"feed_id\":"u8, FeedId);
        }
        Number(json, "\"gid\":"u8, Position);
        Text(json, "\"hash\":"u8, Hash);
        Text(json, "\"run_id\":"u8, Run?.Id);
        Text(json, "\"session_id\":"u8, Session?.Id);
        Text(json, "\"stream_id\":"u8, Stream);
        Text(json, "\"tenant_id\":"u8, Org);
        Number(json, "\"version\":"u8, Version);
        json.Write("}"u8);
    }

    static void Name(PooledBuffer json, ReadOnlySpan<byte> name)
    {
        if (json.Written[^1] != '{')
        {
            json.Write(","u8);
        }
        json.Write(name);
    }

    static void Text(PooledBuffer json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            Name(json, name);
            CanonicalJson.WriteString(json, value);
        }
    }

    static void Number(PooledBuffer json, ReadOnlySpan<byte> name, long value)
    {
        Name(json, name);
        value.TryFormat(json.GetSpan(20), out var written, provider: CultureInfo.InvariantCulture);
        json.Advance(written);
    }
}
