using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>What signed the events of a bundle.</summary>
/// <param name="IsPinned">The key is one that the reader brought; otherwise it is the bundle's own, and whoever made up the bundle can have made it.</param>
public sealed record TraceSignature(long HeadNumber, long TreeSize, DateTimeOffset Timestamp, string Kid, bool IsPinned)
{
    /// <summary>The head is one that a witness keeps.</summary>
    public bool IsWitnessed { get; init; }
}

/// <summary>The head, the key, proofs and statements as all kinds of bundles have them.</summary>
static class SignedParts
{
    /// <summary>The <c>typ</c> of a statement about the end of a bundle in lines.</summary>
    public const string LinesTyp = "cowork-lines+jws";

    /// <summary>The <c>typ</c> of a statement about a run that has not ended.</summary>
    public const string RunTyp = "cowork-run+jws";

    static readonly string[] HeadMembers = ["kid", "number", "root_hash", "signature", "timestamp", "tree_size"];
    static readonly string[] KeyMembers = ["crv", "kty", "x", "y"];
    static readonly string[] StatementMembers = ["key", "signature"];

    /// <summary>Writes the members <c>head</c> and <c>key</c>.</summary>
    public static void WriteHead(Utf8JsonWriter writer, NumberedHead numbered, PublicKey key)
    {
        var head = numbered.Head;
        writer.WriteStartObject("head");
        writer.WriteNumber("number", numbered.Number);
        writer.WriteNumber("tree_size", head.TreeSize);
        writer.WriteString("root_hash", head.RootHash);
        writer.WriteString("timestamp", HashChain.Timestamp(head.Timestamp));
        writer.WriteString("kid", head.Kid);
        writer.WriteString("signature", head.Signature);
        writer.WriteEndObject();
        writer.WriteStartObject("key");
        Jws.WriteMembers(writer, key);
        writer.WriteEndObject();
    }

    public static void WriteHashes(Utf8JsonWriter writer, string name, IEnumerable<byte[]> hashes)
    {
        writer.WriteStartArray(name);
        foreach (var hash in hashes)
        {
            writer.WriteStringValue(Convert.ToHexStringLower(hash));
        }
        writer.WriteEndArray();
    }

    /// <summary>Writes the value of a member <c>statement</c>.</summary>
    public static void WriteStatement(Utf8JsonWriter writer, SignedStatement statement)
    {
        writer.WriteStartObject();
        writer.WriteStartObject("key");
        Jws.WriteMembers(writer, statement.Key);
        writer.WriteEndObject();
        writer.WriteString("signature", statement.Signature);
        writer.WriteEndObject();
    }

    /// <summary>Checks the members <c>head</c> and <c>key</c> of a part.</summary>
    public static (HeadLine Head, TraceSignature Signature) CheckHead(JsonElement part, string at, TrustAnchors? anchors)
    {
        var (headAt, keyAt) = ($"{at}.head", $"{at}.key");
        var head = Object(Member(part, "head", at), headAt);
        RequireMembers(head, headAt, HeadMembers);
        var named = Key(part, at);
        var signed = HeadLine.Parse(head.GetRawText()) ?? throw Fault(headAt, "It is no head.");
        Require(Text(head, "timestamp", headAt) == HashChain.Timestamp(signed.Timestamp), $"{headAt}.timestamp", "It is not a timestamp.");
        Require(Jws.Thumbprint(named) == signed.Kid, keyAt, "It is not the key that the head names.");
        var isPinned = anchors?.Trusts(signed.Kid, named) == true;
        Require(anchors?.Keys is null || isPinned, $"{headAt}.kid", "The key is not among those that are trusted.");
        if (HeadText.WhyWrong(signed.Head, _ => named).AsTask().GetAwaiter().GetResult() is { } why)
        {
            throw Fault(headAt, why);
        }
        if (anchors?.WhyNotKept(signed, named) is { } notKept)
        {
            throw Fault(headAt, notKept);
        }
        return (signed, new(signed.Number, signed.TreeSize, signed.Timestamp, signed.Kid, isPinned) { IsWitnessed = anchors?.HasHeads == true });
    }

    /// <summary>Checks the member <c>statement</c> of a part.</summary>
    /// <param name="payload">What it must be over.</param>
    public static void CheckStatement(JsonElement part, string at, string typ, string payload, TrustAnchors? anchors)
    {
        at = $"{at}.statement";
        var statement = Object(part.TryGetProperty("statement", out var found) ? found : throw Fault(at, "The member is missing."), at);
        RequireMembers(statement, at, StatementMembers);
        var key = Key(statement, at);
        var kid = Jws.Thumbprint(key);
        Require(anchors is null || anchors.Trusts(kid, key), $"{at}.key", "The key is not among those that are trusted.");
        if (HeadText.WhyWrong(Text(statement, "signature", at), typ, payload, kid, key).AsTask().GetAwaiter().GetResult() is { } why)
        {
            throw Fault($"{at}.signature", why);
        }
    }

    public static List<byte[]> Hashes(JsonElement part, string name, string at)
    {
        var hashes = new List<byte[]>();
        foreach (var (i, text) in List(part, name, at).EnumerateArray().Index())
        {
            Require(
                text.ValueKind == JsonValueKind.String && text.GetString() is { Length: 2 * MerkleTree.HashBytes } hex && hex.All(char.IsAsciiHexDigitLower), $"{at}.{name}[{i}]",
                "It is not a hash.");
            hashes.Add(Convert.FromHexString(text.GetString()!));
        }
        return hashes;
    }

    /// <summary>The payload of a statement about the end of a bundle in lines: the last line's object without what signs it.</summary>
    public static string PayloadOf(JsonElement end) =>
        $"{{{string.Join(',', end.EnumerateObject().Where(member => member.Name != LogPart.Name).Select(member => $"\"{member.Name}\":{member.Value.GetRawText()}"))}}}";

    /// <summary>The leaf of an event whose line has all that the tree has of it. Optional members that are there are texts, and <c>feed_id</c> is a number.</summary>
    public static AuditLeaf LeafOf(JsonElement e, HashedEvent hashed, string at)
    {
        string? Optional(string name) => e.TryGetProperty(name, out _) ? Text(e, name, at) : null;
        var (session, run, isInFeed) = (Optional("session_id"), Optional("run_id"), e.TryGetProperty("feed_id", out _));
        var feedId = isInFeed ? Number(e, "feed_id", at) : 0;
        Require(!isInFeed || feedId > 0, $"{at}.feed_id", "Feeds begin at 1.");
        return new(
            hashed.Position, hashed.Org, hashed.Stream, hashed.Version, hashed.Hash, feedId,
            session is null ? null : SessionKey.FromId(session), run is null ? null : RunKey.FromId(run), hashed.Correlation, Optional("causation_id"));
    }

    static PublicKey Key(JsonElement part, string at)
    {
        at = $"{at}.key";
        var key = Object(part.TryGetProperty("key", out var found) ? found : throw Fault(at, "The member is missing."), at);
        RequireMembers(key, at, KeyMembers);
        return PublicJwk.Read(key) ?? throw Fault(at, "It is no key of P-256.");
    }
}
