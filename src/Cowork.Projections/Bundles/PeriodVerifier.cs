using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>The summary of a sound export of a period. The texts are what the file says: escape them where they are shown.</summary>
/// <param name="After">The events have positions above this one.</param>
/// <param name="Through">And are all of the tenant's up to this one.</param>
/// <param name="Digest">SHA-256 of the file up to its last line.</param>
/// <param name="Expired">Events that have a tombstone in place of their data: the file tells their hash, and not what it was of.</param>
public sealed record PeriodReport(string Format, string TenantId, long Events, int Streams, long After, long Through, string Digest, long Expired = 0)
{
    /// <summary>The signed head that covers the period; null: none does.</summary>
    public TraceSignature? Signature { get; init; }
}

/// <summary>
/// Exports of a tenant that follow each other, as far as they were checked: what the next one must go on from. One that has begun to be checked and is not sound ends it.
/// </summary>
public sealed class ExportChain
{
    /// <summary>The newest event of each stream: half of the digest of its name, the version, and half of the hash.</summary>
    internal Dictionary<UInt128, (long Version, UInt128 Hash)> Streams { get; } = [];

    internal string? Tenant { get; set; }

    /// <summary>The first of them begins behind this position.</summary>
    internal long First { get; set; }

    /// <summary>The last of them begins behind this position.</summary>
    internal long After { get; set; }

    /// <summary>And ends at this one.</summary>
    internal long Through { get; set; }

    /// <summary>Root of the tree over the log up to there; null: no head covers it.</summary>
    internal byte[]? Root { get; set; }

    internal HeadLine? Head { get; set; }
}

/// <summary>
/// Checks an export of a period: each line's form, each event's hash, that positions ascend, that no stream has a gap once it has begun, which is at version 1 where the
/// export begins with the log, and the count and digest at the end; where it has a signed head, that the events and the hashes between them make its root, and that a host has
/// said what the end is. It does not read what the events say, so that an export of a later release is checked too. Memory grows with the number of streams, which is bounded,
/// and with the longest line alone.
/// </summary>
static class PeriodVerifier
{
    /// <summary>Streams of one file, or of several that follow each other: about 100 bytes each. A day with half a million runs has fewer.</summary>
    public const int StreamsMax = 2_000_000;

    static readonly string[] HeaderMembers = ["after", "from", "tenant_id", "to"];

    static readonly string[] EventMembers = TraceVerifier.RelatedMembers;

    static readonly string[] EndMembers = ["count", "last", "sha256", "through"];

    static readonly string[] LogMembers = ["head", "key", "proof", "statement"];

    /// <param name="anchors">A head that agrees with them must cover the period. Null: it need not, and its key is the file's own.</param>
    /// <param name="chain">The exports before it, to which it is added; one that is empty takes any.</param>
    public static async Task<PeriodReport> Check(LineReader lines, JsonElement first, TrustAnchors? anchors, ExportChain chain, CancellationToken ct)
    {
        var header = BundleLines.Header(first, HeaderMembers);
        const string headerAt = "line 1.header";
        var (tenant, after) = (Text(header, "tenant_id", headerAt), Number(header, "after", headerAt));
        Require(after >= 0, $"{headerAt}.after", "Positions begin at 1.");
        BundleLines.RequireTimeOrNull(header, "from", headerAt);
        BundleLines.RequireTimeOrNull(header, "to", headerAt);
        var check = new PeriodCheck(Text(first, "format", "line 1"), tenant, after, anchors, chain);
        check.Join(headerAt);
        while (await lines.Next(ct) is { } line)
        {
            var at = $"{line.At}.{line.Kind}";
            switch (line.Kind)
            {
                case "event":
                    check.Event(at, line.Of);
                    break;
                case "gap" when check.HasProofs:
                    check.Gap(at, line.Of);
                    break;
                case "end":
                    var report = check.End(at, line.Of, line.Before!);
                    await BundleLines.RequireEnd(lines, ct);
                    check.Keep();
                    return report;
                default:
                    throw Fault(line.At, $"An export has no {Quoted(line.Kind)}.");
            }
        }
        throw Fault("end", $"The file ends before its last line: it is cut. What is behind position {check.Last} is missing.");
    }

    /// <summary>Half of a digest, which nobody finds twice.</summary>
    static UInt128 Short(byte[] digest) => BinaryPrimitives.ReadUInt128BigEndian(digest);

    /// <summary>What was read of an export so far.</summary>
    sealed class PeriodCheck(string format, string tenant, long after, TrustAnchors? anchors, ExportChain chain)
    {
        readonly MerkleFrontier tree = new();
        long count;
        long expired;
        long through;

        /// <summary>Positions were passed over without their hashes: the file has no root.</summary>
        bool hasHoles;

        /// <summary>Root of the tree over the log up to where the export begins.</summary>
        byte[]? before;

        byte[]? root;
        HeadLine? head;

        public bool HasProofs { get; } = format != PeriodExport.FirstFormat;

        public long Last { get; private set; }

        /// <summary>The export goes on where the one before it ends.</summary>
        public void Join(string at)
        {
            Last = after;
            if (chain.Tenant is null)
            {
                chain.First = after;
                return;
            }
            Require(tenant == chain.Tenant, $"{at}.tenant_id", $"The export before it is of {Quoted(chain.Tenant)}.");
            Require(
                after == chain.Through, $"{at}.after",
                after > chain.Through ? $"The export before it ends at position {chain.Through}: what lies from {chain.Through + 1} to {after} is missing."
                : after > chain.After ? $"The export before it ends at position {chain.Through}: positions from {after + 1} to {chain.Through} are in both."
                : $"It begins behind position {after}, and the export before it behind {chain.After}: the exports are in another order, or one is there twice.");
        }

        public void Event(string at, JsonElement e)
        {
            var members = BundleLines.WithOptional(e, EventMembers, HasProofs ? ["causation_id", "run_id", "session_id"] : ["run_id", "session_id"]);
            var hasFeedId = HasProofs && e.ValueKind == JsonValueKind.Object && e.TryGetProperty("feed_id", out _);
            var hashed = HashedEvent.Check(at, e, hasFeedId ? [.. members, "feed_id"] : members, static _ => true);
            expired += hashed.IsExpired ? 1 : 0;
            Require(hashed.Org == tenant, $"{at}.tenant_id", $"The export is of {Quoted(tenant)}.");
            Require(hashed.Position > Last, $"{at}.gid", Last == after ? $"The export begins behind position {after}." : $"The event before it has position {Last}.");
            Last = hashed.Position;
            count++;
            Stream(at, hashed);
            hasHoles |= tree.Size != hashed.Position - 1;
            if (HasProofs && !hasHoles)
            {
                Begins();
                tree.Add(SignedParts.LeafOf(e, hashed, at).LeafHash());
            }
        }

        public void Gap(string at, JsonElement gap)
        {
            RequireMembers(gap, at, ["hashes", "to"]);
            var to = Number(gap, "to", at);
            Require(to > tree.Size && (tree.Size >= after || to <= after), $"{at}.to", $"The tree has {tree.Size} events.");
            Require(!hasHoles, at, "Positions before it are missing.");
            Begins();
            Add(to, SignedParts.Hashes(gap, "hashes", at), $"{at}.hashes");
        }

        public PeriodReport End(string at, JsonElement end, string digest)
        {
            var hasLog = HasProofs && end.TryGetProperty(LogPart.Name, out _);
            RequireMembers(end, at, hasLog ? [.. EndMembers, LogPart.Name] : EndMembers);
            Require(Number(end, "count", at) == count, $"{at}.count", $"The file has {count} events.");
            Require(Number(end, "last", at) == Last, $"{at}.last", $"The last event has position {Last}.");
            through = Number(end, "through", at);
            Require(through >= Last || count == 0, $"{at}.through", $"The last event has position {Last}.");
            Require(Text(end, "sha256", at) == digest, $"{at}.sha256", "It is not the digest of the lines before it.");
            var signature = hasLog ? Log($"{at}.log", end) : null;
            Require(
                signature is not null || anchors is null, $"{at}.log",
                "No signed head covers the period, and one that agrees with the keys or heads that were given is required.");
            return new(format, tenant, count, chain.Streams.Count, after, through, digest, expired) { Signature = signature };
        }

        /// <summary>What the next export goes on from.</summary>
        public void Keep() => (chain.Tenant, chain.After, chain.Through, chain.Root, chain.Head) = (tenant, after, Math.Max(through, Last), root, head);

        TraceSignature Log(string at, JsonElement end)
        {
            var part = Object(Member(end, LogPart.Name, at), at);
            var hasConsistency = part.TryGetProperty("consistency", out var consistency);
            RequireMembers(part, at, hasConsistency ? [.. LogMembers, "consistency"] : LogMembers);
            Require(!hasHoles && tree.Size == through, at, "Positions of the period have neither an event nor a hash.");
            Begins();
            (head, var signature) = SignedParts.CheckHead(part, at, anchors);
            Require(head.TreeSize >= through, $"{at}.head.tree_size", $"The period ends at position {through}.");
            root = tree.Root();
            Add(head.TreeSize, SignedParts.Hashes(part, "proof", at), $"{at}.proof");
            Require(
                Convert.ToHexStringLower(tree.Root()) == head.RootHash, $"{at}.proof",
                "The events and the hashes do not make the root of the signed head: an event is not the one that the log has at its place, or its place is another one.");
            SignedParts.CheckStatement(part, at, SignedParts.LinesTyp, SignedParts.PayloadOf(end), anchors);
            if (chain.Root is { } known)
            {
                Require(before is not null && known.AsSpan().SequenceEqual(before), at, "The log up to where it begins is another one than that of the export before it.");
            }
            if (hasConsistency)
            {
                RequireMembers(Object(consistency, $"{at}.consistency"), $"{at}.consistency", ["hashes", "tree_size"]);
            }
            if (chain.Head is { } earlier)
            {
                var proof = hasConsistency && Number(consistency, "tree_size", $"{at}.consistency") == earlier.TreeSize
                    ? SignedParts.Hashes(consistency, "hashes", $"{at}.consistency")
                    : [];
                Require(
                    MerkleTree.Extends(earlier.TreeSize, Convert.FromHexString(earlier.RootHash), head.TreeSize, Convert.FromHexString(head.RootHash), proof), $"{at}.consistency",
                    $"It is not proved that the tree of head {head.Number} begins with that of head {earlier.Number}, which the export before it has.");
            }
            return signature;
        }

        /// <summary>Notes the root at which the export begins.</summary>
        void Begins() => before = before is null && tree.Size == after && after > 0 ? tree.Root() : before;

        void Add(long to, List<byte[]> hashes, string at)
        {
            var nodes = MerkleTree.NodesBetween(tree.Size, to);
            Require(hashes.Count == nodes.Count, at, $"What lies from position {tree.Size + 1} to {to} has {nodes.Count} hashes.");
            foreach (var (node, hash) in nodes.Zip(hashes))
            {
                tree.Add(hash, node.Level);
            }
        }

        void Stream(string at, HashedEvent hashed)
        {
            var heads = chain.Streams;
            var (stream, hash) = (Short(SHA256.HashData(Encoding.UTF8.GetBytes(hashed.Stream))), Short(Convert.FromHexString(hashed.Hash)));
            if (heads.TryGetValue(stream, out var newest))
            {
                Require(
                    hashed.Version - 1 == newest.Version, at, $"The event before it in {Quoted(hashed.Stream)} has version {newest.Version}: one is missing, or was put in.");
                Require(Short(Convert.FromHexString(hashed.Previous)) == newest.Hash, $"{at}.prev_hash", "It is not the hash of the event before it.");
            }
            else
            {
                Require(
                    chain.First > 0 || hashed.Version == 1, at, $"The export begins with the log, and {Quoted(hashed.Stream)} with version {hashed.Version}: one is missing.");
            }
            Require(newest.Version > 0 || heads.Count < StreamsMax, at, $"There are more than {StreamsMax} streams. Export shorter periods.");
            heads[stream] = (hashed.Version, hash);
        }
    }
}

/// <summary>What the kinds of bundles in lines have in common.</summary>
static class BundleLines
{
    /// <summary>The header of a bundle whose format was looked at.</summary>
    public static JsonElement Header(JsonElement first, string[] members)
    {
        RequireMembers(first, "line 1", ["format", "header"]);
        var header = Object(Member(first, "header", "line 1"), "line 1.header");
        RequireMembers(header, "line 1.header", members);
        return header;
    }

    public static void RequireTimeOrNull(JsonElement o, string name, string at)
    {
        if (Member(o, name, at).ValueKind != JsonValueKind.Null)
        {
            Require(DateTimeOffset.TryParse(Text(o, name, at), System.Globalization.CultureInfo.InvariantCulture, out _), $"{at}.{name}", "It is not a time.");
        }
    }

    /// <summary>Nothing follows the last line.</summary>
    public static async ValueTask RequireEnd(LineReader lines, CancellationToken ct) =>
        Require(await lines.Next(ct) is null, "end", "Something follows the last line.");

    /// <summary>The members, with those of the optional ones that an object has, which must be texts.</summary>
    public static string[] WithOptional(JsonElement e, string[] members, params ReadOnlySpan<string> optional)
    {
        List<string> all = [.. members];
        foreach (var name in optional)
        {
            if (e.ValueKind == JsonValueKind.Object && e.TryGetProperty(name, out var value))
            {
                Require(value.ValueKind == JsonValueKind.String, name, "It is not a string.");
                all.Add(name);
            }
        }
        return [.. all];
    }
}
