using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>
/// Writes a bundle in lines, each a JSON object in canonical form with one member that says what it is, except the first: <c>{"format":…,"header":{…}}</c>, then
/// <c>{"event":{…}}</c>, <c>{"gap":{…}}</c>, <c>{"related":{…}}</c> and <c>{"blob":{…}}</c>, and at the end <c>{"end":{…}}</c> with the SHA-256 of all bytes before that line.
/// </summary>
sealed class LineWriter(PipeWriter output) : IDisposable
{
    /// <summary>Bytes that are handed on together.</summary>
    const int PieceBytes = 64 * 1024;

    readonly PooledBuffer piece = new(PieceBytes + (16 * 1024));
    readonly IncrementalHash digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Events written so far, without related ones.</summary>
    public long Events { get; private set; }

    public void Dispose()
    {
        piece.Dispose();
        digest.Dispose();
    }

    /// <param name="header">Members of the header in their order, with values as JSON.</param>
    public ValueTask Begin(string format, IReadOnlyList<(string Name, string Json)> header, CancellationToken ct)
    {
        piece.Write(Encoding.UTF8.GetBytes($"{{\"format\":\"{format}\",\"header\":{{{Members(header)}}}}}\n"));
        return Flush(isEnd: false, ct);
    }

    /// <param name="contentKey">What opens the texts of a data subject in it; null: nothing.</param>
    /// <param name="leaf">What the tree over the log has of the event; null: it is not asked, and the entry tells what it knows.</param>
    public ValueTask Event(FeedEntry entry, string previousHash, AuditLeaf? leaf, CancellationToken ct, string? contentKey = null)
    {
        Events++;
        leaf ??= new(
            entry.Position, entry.Org, entry.Stream, entry.Version, entry.Hash, entry.FeedId, entry.Session, entry.Run, entry.Correlation, entry.Causation);
        piece.Write("{\"event\":"u8);
        WriteEvent(leaf, entry.Id, entry.Type, entry.At, entry.Actor, entry.Data.Span, previousHash, contentKey);
        piece.Write("}\n"u8);
        return Flush(isEnd: false, ct);
    }

    /// <param name="leaf">As for an event.</param>
    public ValueTask Related(ChainedEvent chained, ReadOnlySpan<byte> data, AuditLeaf? leaf, string? contentKey, CancellationToken ct)
    {
        var e = chained.Event;
        leaf ??= new(e.Position, e.Org, e.Stream, e.Version, e.Hash, Correlation: e.Correlation);
        piece.Write("{\"related\":"u8);
        WriteEvent(leaf, e.Id, e.Type, e.At, e.Actor, data, chained.PreviousHash, contentKey);
        piece.Write("}\n"u8);
        return Flush(isEnd: false, ct);
    }

    /// <summary>Positions without an event of the bundle, as hashes of complete subtrees of the tree over the log.</summary>
    /// <param name="to">The last of them.</param>
    public ValueTask Gap(long to, IEnumerable<byte[]> hashes, CancellationToken ct)
    {
        piece.Write("{\"gap\":{\"hashes\":["u8);
        var isFirst = true;
        foreach (var hash in hashes)
        {
            piece.Write(isFirst ? "\""u8 : ",\""u8);
            isFirst = false;
            piece.Write(Encoding.ASCII.GetBytes(Convert.ToHexStringLower(hash)));
            piece.Write("\""u8);
        }
        piece.Write("]"u8);
        piece.Member(",\"to\":"u8, to);
        piece.Write("}}\n"u8);
        return Flush(isEnd: false, ct);
    }

    public ValueTask Blob(string sha256, byte[] bytes, CancellationToken ct)
    {
        piece.Write("{\"blob\":"u8);
        ArtifactBytes.Write(piece, new(sha256, bytes.Length, null, bytes));
        piece.Write("}\n"u8);
        return Flush(isEnd: false, ct);
    }

    /// <summary>Writes the last line. The digest is put among the members.</summary>
    /// <param name="members">In their order, with values as JSON, without <c>count</c> and <c>sha256</c>.</param>
    /// <param name="log">Makes the member <c>log</c> in canonical form, if there is one, of the line's object without it.</param>
    public async ValueTask End(IReadOnlyList<(string Name, string Json)> members, Func<string, ValueTask<string?>> log, CancellationToken ct)
    {
        await Flush(isEnd: true, ct);
        var sha256 = Convert.ToHexStringLower(digest.GetCurrentHash());
        List<(string Name, string Json)> all =
        [
            .. members, ("count", Events.ToString(CultureInfo.InvariantCulture)), ("sha256", $"\"{sha256}\""),
        ];
        all.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        if (await log($"{{{Members(all)}}}") is { } signed)
        {
            all.Add((LogPart.Name, signed));
            all.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        }
        piece.Write(Encoding.UTF8.GetBytes($"{{\"end\":{{{Members(all)}}}}}\n"));
        await Flush(isEnd: true, ct);
    }

    /// <summary>A text as JSON; null: <c>null</c>.</summary>
    public static string Json(string? text)
    {
        if (text is null)
        {
            return "null";
        }
        using var json = new PooledBuffer(text.Length + 16);
        CanonicalJson.WriteString(json, text);
        return Encoding.UTF8.GetString(json.Written);
    }

    static string Members(IReadOnlyList<(string Name, string Json)> members) => string.Join(',', members.Select(member => $"\"{member.Name}\":{member.Json}"));

    void WriteEvent(AuditLeaf leaf, Guid id, string type, DateTimeOffset at, string actor, ReadOnlySpan<byte> data, string previousHash, string? contentKey)
    {
        // The members stand in the order that RFC 8785 sorts them into.
        var withheld = HiddenMembers.Without(type, data);
        piece.Member("{\"actor\":"u8, actor);
        piece.Member(",\"causation_id\":"u8, leaf.Causation);
        piece.Member(",\"content_key\":"u8, contentKey);
        piece.Member(",\"correlation_id\":"u8, leaf.Correlation);
        piece.Write(",\"data\":"u8);
        piece.Write(withheld is { Data: var shown } ? shown : data);
        if (leaf.FeedId > 0)
        {
            piece.Member(",\"feed_id\":"u8, leaf.FeedId);
        }
        piece.Member(",\"gid\":"u8, leaf.Position);
        piece.Member(",\"hash\":"u8, leaf.Hash);
        piece.Member(",\"id\":"u8, id.ToString("D"));
        piece.Member(",\"prev_hash\":"u8, previousHash);
        piece.Member(",\"run_id\":"u8, leaf.Run?.Id);
        piece.Member(",\"session_id\":"u8, leaf.Session?.Id);
        piece.Member(",\"stream_id\":"u8, leaf.Stream);
        piece.Member(",\"tenant_id\":"u8, leaf.Org);
        piece.Member(",\"ts\":"u8, HashChain.Timestamp(at));
        piece.Member(",\"type\":"u8, type);
        piece.Member(",\"version\":"u8, leaf.Version);
        piece.Member(",\"withheld\":"u8, withheld?.Withheld);
        piece.Write("}"u8);
    }

    /// <summary>Hands on what was written, once there is enough of it, or it is the end.</summary>
    async ValueTask Flush(bool isEnd, CancellationToken ct)
    {
        if (piece.Length == 0 || (!isEnd && piece.Length < PieceBytes))
        {
            return;
        }
        digest.AppendData(piece.Written);
        output.Write(piece.Written);
        piece.Clear();
        await output.FlushAsync(ct);
    }
}

/// <summary>The hashes of the newest events of streams that were written, so that the next event of a stream has its predecessor's without a query.</summary>
sealed class PreviousHashes(IEventLog log, string org)
{
    /// <summary>Streams that are remembered: about 200 bytes each.</summary>
    const int StreamsMax = 50_000;

    readonly Dictionary<string, (long Version, string Hash)> newest = new(StringComparer.Ordinal);

    /// <summary>The hash of the event before this one. It is asked for once, in the order of the log.</summary>
    public async ValueTask<string> Before(FeedEntry entry, CancellationToken ct)
    {
        var hash = entry.Version == 1 ? HashChain.Root
            : newest.TryGetValue(entry.Stream, out var before) && before.Version == entry.Version - 1 ? before.Hash
            : (await log.Load(org, entry.Stream, entry.Version - 2, 1, ct)).Hash;
        if (newest.Count >= StreamsMax)
        {
            newest.Clear();
        }
        newest[entry.Stream] = (entry.Version, entry.Hash);
        return hash;
    }
}
