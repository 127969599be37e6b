using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>The first fault of a bundle. Both texts may repeat what the bundle says: escape them where they are shown.</summary>
/// <param name="Location">A JSON path, or <c>byte n</c>.</param>
public sealed record TraceFault(string Location, string Message);

/// <summary>The summary of a sound bundle. The run's id is what the bundle says: escape it where it is shown.</summary>
/// <param name="Format">The format that the bundle was judged by.</param>
/// <param name="Artifacts">Number of artifact contents with their bytes.</param>
/// <param name="LeftOut">Number of artifact contents with their digest only.</param>
/// <param name="Head">Hash of the last event of the run's own stream. It covers what docs/trace.md says, and no more.</param>
/// <param name="Digest">Digest of the bundle's <c>digests</c>, which cover every other part but the head: two bundles with the same one are the same file.</param>
public sealed record TraceReport(string RunId, string Status, string Format, int Events, int Blobs, int Artifacts, int LeftOut, string Head, string Digest)
{
    /// <summary>The signed head that covers all of the bundle's events; null: none does.</summary>
    public TraceSignature? Signature { get; init; }

    /// <summary>Events with texts that were erased: the events are proved, and nobody reads the texts.</summary>
    public int Erased { get; init; }

    /// <summary>Memories that the run was told of, and whose own events have expired since: their texts are in the run.</summary>
    public int Expired { get; init; }

    /// <summary>The run had not ended, and nothing signed says that these are its newest events.</summary>
    public bool IsOpen { get; init; }

    /// <summary>What the format, or this bundle of it, does not cover and others do.</summary>
    public IReadOnlyList<string> NotCovered => [.. TraceBundle.NotCovered(Format), .. IsOpen ? (string[])["the newest events of a run that has not ended"] : []];
}

/// <summary>
/// Checks a trace bundle offline: the canonical form, the hash chain, the rules of <see cref="TraceRules"/>, the run's summary, which it folds again from the events, blobs,
/// artifacts and digests. The work is linear in the bundle's bytes. docs/trace.md says what is found and what is not.
/// </summary>
public static class TraceVerifier
{
    /// <summary>Largest bundle that is read, in bytes: more than a run within the default limits can make.</summary>
    public const int BundleBytesMax = 256 * 1024 * 1024;

    /// <summary>Objects and lists within each other. The deepest event of ours has 6.</summary>
    public const int DepthMax = 64;

    static readonly string[] FirstFormatMembers = ["artifacts", "blobs", "digests", "events", "format", "head", "run"];

    static readonly string[] EarlierMembers = [.. FirstFormatMembers, "artifact_bytes"];

    static readonly string[] BundleMembers = [.. EarlierMembers, "related"];

    static readonly string[] EarlierEventMembers =
        ["actor", "data", "feed_id", "gid", "hash", "id", "prev_hash", "stream_id", "tenant_id", "ts", "type", "version"];

    internal static readonly string[] RelatedMembers = [.. EarlierEventMembers.Where(member => member != "feed_id")];

    static readonly string[] EventMembers = [.. EarlierEventMembers, "event_type", "payload", "session_id"];

    static readonly string[] EarlierHeadMembers = ["hash", "stream_id", "version"];

    static readonly string[] HeadMembers = [.. EarlierHeadMembers, "digest"];

    /// <summary>The report of a sound bundle, else the first fault; the other is null.</summary>
    /// <param name="format">The only format that is accepted; null: every one.</param>
    /// <param name="anchors">A head that agrees with them must cover the events. Null: a head is checked by the key that the bundle names.</param>
    /// <exception cref="OperationCanceledException">The check was cancelled.</exception>
    public static (TraceReport? Report, TraceFault? Fault) Verify(
        ReadOnlySpan<byte> bundle, string? format = null, TrustAnchors? anchors = null, CancellationToken ct = default)
    {
        if (bundle.Length > BundleBytesMax)
        {
            return (null, new("$", $"The file has more than {BundleBytesMax} bytes."));
        }
        try
        {
            if (CanonicalJson.FirstDeviation(bundle, DepthMax, ct) is { } at)
            {
                return (null, new($"byte {at}", "From here on the file is not in canonical form (RFC 8785)."));
            }
            return (Check(JsonElement.Parse(bundle, new() { MaxDepth = DepthMax }), format, anchors, ct), null);
        }
        catch (JsonException e)
        {
            var location = e.BytePositionInLine is { } at ? $"line {e.LineNumber + 1}, byte {at}" : "$";
            return (null, new(location, $"The file is not valid JSON of a bundle: {Quoted(e.Message)}"));
        }
        catch (TraceFaultException e)
        {
            return (null, e.Fault);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            return (null, new("$", $"The data is none that this version writes: {Quoted(e.Message)}"));
        }
    }

    static TraceReport Check(JsonElement root, string? required, TrustAnchors? anchors, CancellationToken ct)
    {
        Object(root, "$");
        var format = Text(root, "format", "$");
        Require(TraceBundle.Formats.Contains(format), "$.format", $"The format is none of {string.Join(", ", TraceBundle.Formats)}.");
        Require(required is null || format == required, "$.format", $"The format is {format}, and {required} is required.");
        var isFirst = format == TraceBundle.FirstFormat;
        var isEarlier = !TraceBundle.HasDigestInHead(format);
        var hasRelated = format == TraceBundle.Format;
        RequireMembers(
            root, "$", isFirst ? FirstFormatMembers : !hasRelated ? EarlierMembers : root.TryGetProperty(LogPart.Name, out _) ? [.. BundleMembers, LogPart.Name] : BundleMembers);
        var (run, head) = (Part(root, "run"), Part(root, "head"));
        RequireMembers(head, "$.head", isEarlier ? EarlierHeadMembers : HeadMembers);

        var entries = CheckChain(List(root, "events", "$"), Text(head, "stream_id", "$.head"), isEarlier ? EarlierEventMembers : EventMembers, ct);
        if (!isEarlier)
        {
            CheckCopies(run, entries);
        }
        var own = entries.Where(entry => entry.IsOwn).ToList();
        var last = own.Count > 0 ? own[^1].Event : throw Fault("$.events", "The run's own stream has no event.");
        Require(Number(head, "version", "$.head") == last.Version, "$.head.version", $"The last event of the stream is version {last.Version}.");
        Require(Text(head, "hash", "$.head") == last.Hash, "$.head.hash", "It is not the hash of the stream's last event.");

        ct.ThrowIfCancellationRequested();
        var related = hasRelated ? CheckRelatedChain(List(root, "related", "$"), ct) : [];
        if (!hasRelated && entries.Find(entry => entry.Subject is not null) is { } closed)
        {
            throw Fault($"{closed.At}.data", "Texts are sealed in it, and no bundle of its format has such.");
        }
        var erasures = BundledContents.CheckErasures([.. entries, .. related]);
        CheckSummary(run, own, isEarlier);
        TraceRules.Check(entries, own, TraceRules.PastOf(own, related), ct);
        if (hasRelated)
        {
            RelatedRules.Check(related, entries, own, erasures, ct);
        }
        var blobs = CheckBlobs(root, [.. entries, .. related], ct);
        var artifacts = CheckArtifacts(root, entries, isEarlier);
        var included = isFirst ? artifacts.DistinctBy(a => a.Sha256).Select(_ => false).ToList() : CheckContents(root, artifacts, ct);
        var digests = Part(root, "digests");
        CheckDigests(root, digests, isEarlier, ct);
        var digest = Digest(Bytes(digests));
        Require(isEarlier || Text(head, "digest", "$.head") == digest, "$.head.digest", "It is not the digest of the digests.");
        var contents = included.Count(isIncluded => isIncluded);
        var hasEnded = TraceBundle.HasEnded(own.Select(entry => entry.Event));
        var (signature, isEndStated) = hasRelated
            ? LogPart.Check(root, RunKey.FromId(Text(run, "run_id", "$.run")), hasEnded, [.. entries, .. related], anchors, ct)
            : (null, false);
        Require(signature is not null || anchors is null, "$.log", "No signed head covers the events, and one of a trusted key is required.");
        return new(Text(run, "run_id", "$.run"), Text(run, "status", "$.run"), format, entries.Count, blobs, contents, included.Count - contents, last.Hash, digest)
        {
            Signature = signature,
            Erased = entries.Concat(related).Count(entry => entry.IsErased),
            Expired = related.Count(entry => entry.Event.Event is Tombstone),
            IsOpen = !hasEnded && !isEndStated,
        };
    }

    /// <summary>Checks each event's hash against its predecessor, and that positions ascend. The run's own stream has no gap.</summary>
    static List<TraceEntry> CheckChain(JsonElement events, string ownStream, string[] members, CancellationToken ct)
    {
        var entries = new List<TraceEntry>(events.GetArrayLength());
        var heads = new Dictionary<string, (long Version, string Hash)>(StringComparer.Ordinal);
        var (gid, feed) = (0L, 0L);
        foreach (var (i, e) in events.EnumerateArray().Index())
        {
            ct.ThrowIfCancellationRequested();
            var entry = CheckEvent($"$.events[{i}]", e, members, heads, ownStream);
            var (at, stream, version) = (entry.At, entry.Event.Stream, entry.Event.Version);
            var next = heads.GetValueOrDefault(stream).Version + 1;
            Require(stream != ownStream || version == next, at, $"Version {next} of the run's stream is missing.");
            heads[stream] = (version, entry.Event.Hash);
            var (position, feedId) = (entry.Event.Position, Number(e, "feed_id", at));
            Require(position > gid, $"{at}.gid", $"The event before it has position {gid}.");
            Require(feedId > feed, $"{at}.feed_id", $"The event before it has feed id {feed}.");
            // Both are dense, and each number in the feed is of an event with a position of its own.
            Require(position - gid >= feedId - feed, $"{at}.gid", $"The feed has {feedId - feed} events after the one before it, and the log {position - gid}.");
            (gid, feed) = (position, feedId);
            entries.Add(entry);
        }
        return entries;
    }

    /// <summary>Checks the same of events of other streams, of which the bundle has some.</summary>
    static List<TraceEntry> CheckRelatedChain(JsonElement events, CancellationToken ct)
    {
        var entries = new List<TraceEntry>(events.GetArrayLength());
        var heads = new Dictionary<string, (long Version, string Hash)>(StringComparer.Ordinal);
        var gid = 0L;
        foreach (var (i, e) in events.EnumerateArray().Index())
        {
            ct.ThrowIfCancellationRequested();
            var entry = CheckEvent($"$.related[{i}]", e, RelatedMembers, heads, isRelated: true);
            Require(entry.Event.Position > gid, $"{entry.At}.gid", $"The event before it has position {gid}.");
            heads[entry.Event.Stream] = (entry.Event.Version, entry.Event.Hash);
            gid = entry.Event.Position;
            entries.Add(entry);
        }
        return entries;
    }

    /// <summary>Checks an event by itself and against the last one of its stream that the list has.</summary>
    /// <param name="ownStream">The run's; empty: it is none of theirs.</param>
    /// <param name="isRelated">An event of the list speaks of another stream's, and names it.</param>
    internal static TraceEntry CheckEvent(
        string at, JsonElement e, string[] members, Dictionary<string, (long Version, string Hash)> heads, string ownStream = "", bool isRelated = false)
    {
        // The text of a memory that expired is in the run that was told of it.
        var hashed = HashedEvent.Check(at, e, members, stream => isRelated && stream.StartsWith(Memory.Aggregate.Name + "-", StringComparison.Ordinal));
        var (stream, version, previous) = (hashed.Stream, hashed.Version, hashed.Previous);
        if (heads.TryGetValue(stream, out var before))
        {
            Require(version > before.Version, $"{at}.version", $"The event before it has version {before.Version}.");
            Require(version - 1 > before.Version || previous == before.Hash, $"{at}.prev_hash", "It is not the hash of the event before it.");
        }
        var data = Member(e, "data", at);
        var open = BundledContents.Open(at, e, new(hashed.Org, stream, version), hashed.Type, Bytes(data));
        var read = hashed.IsExpired
            ? Tombstones.Read(Bytes(data), hashed.At)
            : Read(at, hashed.Type, open is { } opened ? JsonElement.Parse(opened.Data) : data, hashed.At);
        return new(
            at, e,
            new(
                hashed.Org, stream, version, hashed.Id, hashed.Type, read, open?.Data, hashed.At, hashed.Actor, hashed.Hash, hashed.Position, hashed.Correlation),
            stream == ownStream)
        {
            Subject = open?.Subject,
            IsErased = open is { IsErased: true },
        };
    }

    /// <summary>The event's data with the texts of data subjects opened.</summary>
    internal static JsonElement DataOf(TraceEntry entry) => entry.Event.Data.IsEmpty ? Member(entry.Json, "data", entry.At) : JsonElement.Parse(entry.Event.Data.Span);

    static Event Read(string at, string type, JsonElement data, DateTimeOffset ts)
    {
        try
        {
            return EventJson.Read(type, Bytes(data), ts);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            throw Fault(at, $"The event cannot be read: {Quoted(e.Message)}");
        }
    }

    /// <summary>Checks the members that say again what others say: no hash of an event covers them.</summary>
    static void CheckCopies(JsonElement run, List<TraceEntry> entries)
    {
        var session = Text(run, "session_id", "$.run");
        foreach (var entry in entries)
        {
            var (at, e, _, _) = entry;
            var type = EventTypes.FeedType(Text(e, "type", at));
            Require(Text(e, "event_type", at) == type, $"{at}.event_type", $"The event's type is {type}.");
            Require(Text(e, "session_id", at) == session, $"{at}.session_id", $"The run's session is {Quoted(session)}.");
            Require(Bytes(Member(e, "payload", at)).SequenceEqual(Bytes(DataOf(entry))), $"{at}.payload", "It is not the event's data.");
        }
    }

    /// <param name="isEarlier">The bundle's format is one without the members of the original service.</param>
    static void CheckSummary(JsonElement run, List<TraceEntry> own, bool isEarlier)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            try
            {
                TraceBundle.WriteRun(writer, own.Select(entry => entry.Event));
            }
            catch (Exception e) when (IsUnreadable(e))
            {
                throw Fault("$.events", $"The run cannot be folded: {Quoted(e.Message)}");
            }
        }
        var folded = JsonElement.Parse(CanonicalJson.Of(json.WrittenSpan)).EnumerateObject()
            .Where(member => !isEarlier || !RunSummary.SinceThirdFormat.Contains(member.Name)).ToList();
        RequireMembers(run, "$.run", [.. folded.Select(member => member.Name)]);
        foreach (var member in folded)
        {
            Require(
                Bytes(member.Value).SequenceEqual(Bytes(Member(run, member.Name, "$.run"))), $"$.run.{member.Name}", $"The events give {Quoted(member.Value.GetRawText())}.");
        }
    }

    /// <summary>Checks the artifacts against the events, in order and member by member. Answers the artifacts of the events.</summary>
    static List<(string Sha256, long Bytes)> CheckArtifacts(JsonElement root, List<TraceEntry> entries, bool isEarlier)
    {
        var given = List(root, "artifacts", "$");
        var expected = entries.Where(entry => entry.Event.Event is ArtifactEvent.ArtifactDiscovered).ToList();
        foreach (var (i, artifact) in given.EnumerateArray().Take(expected.Count).Index())
        {
            var at = $"$.artifacts[{i}]";
            var recorded = Artifacts.DiscoveredIn(JsonNode.Parse(Bytes(DataOf(expected[i])))!.AsObject(), expected[i].Event.At);
            if (isEarlier)
            {
                _ = (recorded.Remove("id"), recorded.Remove("kind"));
            }
            RequireMembers(Object(artifact, at), at, [.. recorded.Select(member => member.Key)]);
            foreach (var (name, value) in recorded)
            {
                Require(
                    TraceBundle.Canonical(value).AsSpan().SequenceEqual(Bytes(Member(artifact, name, at))), $"{at}.{Quoted(name)}",
                    $"The event gives {Quoted(value?.ToJsonString() ?? "null")}.");
            }
        }
        Require(given.GetArrayLength() == expected.Count, "$.artifacts", $"The events record {expected.Count} artifacts, not {given.GetArrayLength()}.");
        return [.. expected.Select(entry => (ArtifactEvent.ArtifactDiscovered)entry.Event.Event).Select(artifact => (artifact.Sha256, artifact.Bytes))];
    }

    /// <summary>Checks each content against its digest, and that only large or missing ones are left out. Answers for each content whether it is included.</summary>
    static List<bool> CheckContents(JsonElement root, List<(string Sha256, long Bytes)> artifacts, CancellationToken ct)
    {
        var given = List(root, "artifact_bytes", "$");
        var expected = ArtifactBytes.Plan(artifacts).ToList();
        var included = new List<bool>();
        foreach (var (i, content) in given.EnumerateArray().Take(expected.Count).Index())
        {
            ct.ThrowIfCancellationRequested();
            var at = $"$.artifact_bytes[{i}]";
            var (sha256, size, leftOut) = expected[i];
            var isIncluded = Object(content, at).TryGetProperty("base64", out _);
            RequireMembers(content, at, isIncluded ? ["base64", "bytes", "sha256"] : ["bytes", "left_out", "sha256"]);
            Require(Text(content, "sha256", at) == sha256, $"{at}.sha256", $"The artifacts give {Quoted(sha256)}.");
            Require(Number(content, "bytes", at) == size, $"{at}.bytes", $"The artifacts give {size}.");
            if (isIncluded)
            {
                Require(leftOut is null, $"{at}.base64", $"A bundle does not include this content: {leftOut}.");
                var bytes = Base64(content, at);
                Require(ArtifactBytes.HaveDigest(bytes, sha256), at, $"The bytes do not have the digest {Quoted(sha256)}.");
                Require(bytes.Length == size, $"{at}.bytes", $"The content has {bytes.Length} bytes.");
            }
            else
            {
                Require(Text(content, "left_out", at) == (leftOut ?? ArtifactBytes.Missing), $"{at}.left_out", $"The artifacts give {leftOut ?? ArtifactBytes.Missing}.");
            }
            included.Add(isIncluded);
        }
        Require(given.GetArrayLength() == expected.Count, "$.artifact_bytes", $"The artifacts have {expected.Count} contents, not {given.GetArrayLength()}.");
        return included;
    }

    static int CheckBlobs(JsonElement root, List<TraceEntry> entries, CancellationToken ct)
    {
        var wanted = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            TraceBundle.FindBlobs(DataOf(entry), wanted);
        }
        var settings = TraceBundle.SettingsNamedBy(entries.Where(entry => entry.IsOwn).Select(entry => entry.Event.Event)).ToHashSet(StringComparer.Ordinal);
        var blobs = List(root, "blobs", "$");
        foreach (var (i, blob) in blobs.EnumerateArray().Index())
        {
            ct.ThrowIfCancellationRequested();
            var at = $"$.blobs[{i}]";
            RequireMembers(Object(blob, at), at, ["base64", "bytes", "sha256"]);
            var bytes = Base64(blob, at);
            var sha256 = Text(blob, "sha256", at);
            Require(ArtifactBytes.HaveDigest(bytes, sha256), at, $"The bytes do not have the digest {Quoted(sha256)}.");
            Require(Number(blob, "bytes", at) == bytes.Length, $"{at}.bytes", $"The content has {bytes.Length} bytes.");
            Require(wanted.Remove(sha256) | settings.Remove(sha256), at, "No event refers to it, or it is there twice.");
        }
        Require(wanted.Count == 0, "$.blobs", $"The blob {Quoted(wanted.Min ?? "")} is missing.");
        return blobs.GetArrayLength();
    }

    static void CheckDigests(JsonElement root, JsonElement digests, bool isEarlier, CancellationToken ct)
    {
        var parts = root.EnumerateObject().Where(part => part.Name is not ("digests" or LogPart.Name) && (isEarlier || part.Name != "head")).ToList();
        RequireMembers(digests, "$.digests", [.. parts.Select(part => part.Name)]);
        foreach (var part in parts)
        {
            var given = Member(digests, part.Name, "$.digests");
            if (part.Value.ValueKind != JsonValueKind.Array)
            {
                Require(IsDigest(given, part.Value), $"$.{part.Name}", "The part does not match its digest.");
                continue;
            }
            List(digests, part.Name, "$.digests");
            Require(given.GetArrayLength() == part.Value.GetArrayLength(), $"$.digests.{part.Name}", $"The bundle has {part.Value.GetArrayLength()} parts.");
            foreach (var (i, (digest, item)) in given.EnumerateArray().Zip(part.Value.EnumerateArray()).Index())
            {
                ct.ThrowIfCancellationRequested();
                Require(IsDigest(digest, item), $"$.{part.Name}[{i}]", "The part does not match its digest.");
            }
        }

        static bool IsDigest(JsonElement given, JsonElement part) => given.ValueKind == JsonValueKind.String && given.ValueEquals(Digest(Bytes(part)));
    }

    static string Digest(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}
