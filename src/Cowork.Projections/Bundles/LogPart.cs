using System.Globalization;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// The part <c>log</c> of a bundle: the first signed head that covers all of its events, the key that signed it, what the tree has of each event beside what the bundle has, and
/// one proof for all of them. It stands outside of the digests, because the events are there before a head covers them; each of its bytes is checked by itself.
/// </summary>
static class LogPart
{
    /// <summary>The member of the bundle; it is not there as long as no head covers the events.</summary>
    public const string Name = "log";

    /// <summary>Of a run that has not ended: what the host said of its last event.</summary>
    public const string Statement = "statement";

    /// <summary>Beside the statement: the position up to which the log had no other event of the run.</summary>
    public const string Through = "through";

    static readonly string[] Members = ["head", "key", "leaves", "proof"];
    static readonly string[] LeafMembers = ["causation_id", "feed_id", "run_id", "session_id"];

    /// <param name="own">Positions of the run's events.</param>
    /// <param name="statement">Of a run that has not ended; null: nothing is stated.</param>
    public static void Write(Utf8JsonWriter writer, LogProof proof, IReadOnlySet<long> own, SignedStatement? statement, long through)
    {
        writer.WriteStartObject();
        SignedParts.WriteHead(writer, proof.Head, proof.Key);
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
        SignedParts.WriteHashes(writer, "proof", proof.Hashes);
        if (statement is not null)
        {
            writer.WritePropertyName(Statement);
            SignedParts.WriteStatement(writer, statement);
            writer.WriteNumber(Through, through);
        }
        writer.WriteEndObject();
    }

    /// <summary>Says of a run that has not ended which its last event is; null: this host cannot sign now.</summary>
    /// <param name="head">The bundle's head in canonical form, with the digest of its digests.</param>
    /// <param name="through">Position up to which the log has no other event of the run.</param>
    public static ValueTask<SignedStatement?> State(LogProofs proofs, string head, long through, CancellationToken ct) =>
        proofs.State(SignedParts.RunTyp, Payload(head, through), ct);

    static string Payload(string head, long through) => string.Create(CultureInfo.InvariantCulture, $"{{\"head\":{head},\"through\":{through}}}");

    /// <summary>Checks the part against the events. The signature is null: no head covers them.</summary>
    /// <param name="entries">The run's events and those that go with it.</param>
    /// <param name="anchors">Null: the key is taken that the bundle names.</param>
    public static (TraceSignature? Signature, bool IsEndStated) Check(
        JsonElement root, RunKey run, bool hasEnded, IReadOnlyList<TraceEntry> entries, TrustAnchors? anchors, CancellationToken ct)
    {
        if (!root.TryGetProperty(Name, out var part))
        {
            return (null, false);
        }
        const string At = "$.log";
        var hasStatement = Object(part, At).TryGetProperty(Statement, out _);
        RequireMembers(part, At, hasStatement ? [.. Members, Statement, Through] : Members);
        var (signed, signature) = SignedParts.CheckHead(part, At, anchors);
        var ordered = entries.OrderBy(entry => entry.Event.Position).ToList();
        var given = List(part, "leaves", At);
        Require(given.GetArrayLength() == ordered.Count, "$.log.leaves", $"The bundle has {ordered.Count} events, not {given.GetArrayLength()}.");
        var leaves = new List<(long Leaf, byte[] Hash)>();
        foreach (var (i, (entry, more)) in ordered.Zip(given.EnumerateArray()).Index())
        {
            ct.ThrowIfCancellationRequested();
            leaves.Add((entry.Event.Position - 1, Leaf(entry, Object(more, $"$.log.leaves[{i}]"), $"$.log.leaves[{i}]", run)));
        }
        var hashes = SignedParts.Hashes(part, "proof", At);
        var made = MerkleTree.Root(leaves, signed.TreeSize, hashes);
        Require(
            made is not null && Convert.ToHexStringLower(made) == signed.RootHash, "$.log.proof",
            "The events and the proof do not make the root of the signed head: an event is not the one that the log has at its place, or its place is another one.");
        if (hasStatement)
        {
            Require(!hasEnded, $"{At}.{Statement}", "The run has ended: nothing is said of its end.");
            var through = Number(part, Through, At);
            Require(through >= ordered[^1].Event.Position, $"{At}.{Through}", "It is before the last event.");
            SignedParts.CheckStatement(part, At, SignedParts.RunTyp, Payload(Encoding.UTF8.GetString(Bytes(Member(root, "head", "$"))), through), anchors);
        }
        return (signature, hasStatement);
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
