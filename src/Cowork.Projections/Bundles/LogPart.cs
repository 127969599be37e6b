using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>What signed the events of a bundle.</summary>
/// <param name="IsPinned">The key is one that the reader brought; otherwise it is the bundle's own, and whoever made up the bundle can have made it.</param>
public sealed record TraceSignature(long HeadNumber, long TreeSize, DateTimeOffset Timestamp, string Kid, bool IsPinned);

/// <summary>
/// The part <c>log</c> of a bundle: the first signed head that covers all of its events, the key that signed it, what the tree has of each event beside what the bundle has, and
/// one proof for all of them. It stands outside of the digests, because the events are there before a head covers them; each of its bytes is checked by itself.
/// </summary>
static class LogPart
{
    /// <summary>The member of the bundle; it is not there as long as no head covers the events.</summary>
    public const string Name = "log";

    static readonly string[] Members = ["head", "key", "leaves", "proof"];
    static readonly string[] HeadMembers = ["kid", "number", "root_hash", "signature", "timestamp", "tree_size"];
    static readonly string[] KeyMembers = ["crv", "kty", "x", "y"];
    static readonly string[] LeafMembers = ["causation_id", "feed_id", "run_id", "session_id"];

    public static void Write(Utf8JsonWriter writer, LogProof proof, IReadOnlySet<long> own)
    {
        var head = proof.Head.Head;
        writer.WriteStartObject();
        writer.WriteStartObject("head");
        writer.WriteNumber("number", proof.Head.Number);
        writer.WriteNumber("tree_size", head.TreeSize);
        writer.WriteString("root_hash", head.RootHash);
        writer.WriteString("timestamp", HashChain.Timestamp(head.Timestamp));
        writer.WriteString("kid", head.Kid);
        writer.WriteString("signature", head.Signature);
        writer.WriteEndObject();
        writer.WriteStartObject("key");
        Jws.WriteMembers(writer, proof.Key);
        writer.WriteEndObject();
        writer.WriteStartArray("leaves");
        foreach (var leaf in proof.Leaves)
        {
            writer.WriteStartObject();
            Put(writer, "causation_id", leaf.Causation);
            if (!own.Contains(leaf.Position))
            {
                if (leaf.FeedId > 0)
                {
                    writer.WriteNumber("feed_id", leaf.FeedId);
                }
                Put(writer, "run_id", leaf.Run?.Id);
                Put(writer, "session_id", leaf.Session?.Id);
            }
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
        writer.WriteStartArray("proof");
        foreach (var hash in proof.Hashes)
        {
            writer.WriteStringValue(Convert.ToHexStringLower(hash));
        }
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>Checks the part against the events. Null: no head covers them.</summary>
    /// <param name="entries">The run's events and those that go with it.</param>
    /// <param name="keys">The only keys to trust; null: the one that the bundle names.</param>
    public static TraceSignature? Check(
        JsonElement root, RunKey run, IReadOnlyList<TraceEntry> entries, IReadOnlyDictionary<string, PublicKey>? keys, CancellationToken ct)
    {
        if (!root.TryGetProperty(Name, out var part))
        {
            return null;
        }
        const string At = "$.log";
        RequireMembers(Object(part, At), At, Members);
        var (head, key) = (Object(Member(part, "head", At), "$.log.head"), Object(Member(part, "key", At), "$.log.key"));
        RequireMembers(head, "$.log.head", HeadMembers);
        RequireMembers(key, "$.log.key", KeyMembers);
        Require(Text(key, "kty", "$.log.key") == "EC" && Text(key, "crv", "$.log.key") == "P-256", "$.log.key", "It is no key of P-256.");
        var named = new PublicKey(Text(key, "x", "$.log.key"), Text(key, "y", "$.log.key"));
        var signed = HeadLine.Parse(head.GetRawText()) ?? throw Fault("$.log.head", "It is no head.");
        Require(Text(head, "timestamp", "$.log.head") == HashChain.Timestamp(signed.Timestamp), "$.log.head.timestamp", "It is not a timestamp.");
        Require(Jws.Thumbprint(named) == signed.Kid, "$.log.key", "It is not the key that the head names.");
        var isPinned = keys?.TryGetValue(signed.Kid, out var pinned) == true && pinned == named;
        Require(keys is null || isPinned, "$.log.head.kid", "The key is not among those that are trusted.");
        if (HeadText.WhyWrong(signed.Head, _ => named).AsTask().GetAwaiter().GetResult() is { } why)
        {
            throw Fault("$.log.head", why);
        }
        var ordered = entries.OrderBy(entry => entry.Event.Position).ToList();
        var given = List(part, "leaves", At);
        Require(given.GetArrayLength() == ordered.Count, "$.log.leaves", $"The bundle has {ordered.Count} events, not {given.GetArrayLength()}.");
        var leaves = new List<(long Leaf, byte[] Hash)>();
        foreach (var (i, (entry, more)) in ordered.Zip(given.EnumerateArray()).Index())
        {
            ct.ThrowIfCancellationRequested();
            leaves.Add((entry.Event.Position - 1, Leaf(entry, Object(more, $"$.log.leaves[{i}]"), $"$.log.leaves[{i}]", run)));
        }
        var hashes = new List<byte[]>();
        foreach (var (i, text) in List(part, "proof", At).EnumerateArray().Index())
        {
            Require(
                text.ValueKind == JsonValueKind.String && text.GetString() is { Length: 2 * MerkleTree.HashBytes } hex && hex.All(char.IsAsciiHexDigitLower), $"$.log.proof[{i}]",
                "It is not a hash.");
            hashes.Add(Convert.FromHexString(text.GetString()!));
        }
        var made = MerkleTree.Root(leaves, signed.TreeSize, hashes);
        Require(
            made is not null && Convert.ToHexStringLower(made) == signed.RootHash, "$.log.proof",
            "The events and the proof do not make the root of the signed head: an event is not the one that the log has at its place, or its place is another one.");
        return new(signed.Number, signed.TreeSize, signed.Timestamp, signed.Kid, isPinned);
    }

    static byte[] Leaf(TraceEntry entry, JsonElement more, string at, RunKey run)
    {
        var (e, isRunEvent) = (entry.Event, entry.Json.TryGetProperty("feed_id", out _));
        foreach (var member in more.EnumerateObject())
        {
            Require(LeafMembers.Contains(member.Name) && (!isRunEvent || member.Name == "causation_id"), $"{at}.{Quoted(member.Name)}", "The member is unknown.");
        }
        string? Optional(string name) => more.TryGetProperty(name, out _) ? Text(more, name, at) : null;
        var feedId = isRunEvent ? Number(entry.Json, "feed_id", entry.At) : more.TryGetProperty("feed_id", out _) ? Number(more, "feed_id", at) : 0;
        var session = isRunEvent ? Text(entry.Json, "session_id", entry.At) : Optional("session_id");
        RunKey? of = isRunEvent ? run : Optional("run_id") is { } named ? RunKey.FromId(named) : null;
        return new AuditLeaf(
            e.Position, e.Org, e.Stream, e.Version, e.Hash, feedId, session is null ? null : SessionKey.FromId(session), of, e.Correlation,
            Optional("causation_id")).LeafHash();
    }

    static void Put(Utf8JsonWriter writer, string name, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(name, value);
        }
    }
}
