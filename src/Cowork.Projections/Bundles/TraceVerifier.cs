using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>The first fault of a bundle.</summary>
/// <param name="Location">A JSON path, or <c>byte n</c>.</param>
public sealed record TraceFault(string Location, string Message);

/// <summary>The summary of a sound bundle.</summary>
/// <param name="Artifacts">Number of artifact contents with their bytes.</param>
/// <param name="LeftOut">Number of artifact contents with their digest only.</param>
public sealed record TraceReport(string RunId, string Status, int Events, int Blobs, int Artifacts, int LeftOut, string Head);

/// <summary>Checks a trace bundle offline: the hash chain, digests, blobs, and the run's summary, which it folds again from the events.</summary>
public static class TraceVerifier
{
    static readonly string[] FirstFormatMembers = ["artifacts", "blobs", "digests", "events", "format", "head", "run"];

    static readonly string[] BundleMembers = [.. FirstFormatMembers, "artifact_bytes"];

    static readonly string[] EarlierEventMembers =
        ["actor", "data", "feed_id", "gid", "hash", "id", "prev_hash", "stream_id", "tenant_id", "ts", "type", "version"];

    static readonly string[] EventMembers = [.. EarlierEventMembers, "event_type", "payload", "session_id"];

    /// <summary>Optional: some events have no trace. The event's digest detects its removal or change.</summary>
    const string Correlation = "correlation_id";

    /// <summary>The report of a sound bundle, else the first fault; the other is null.</summary>
    public static (TraceReport? Report, TraceFault? Fault) Verify(ReadOnlySpan<byte> bundle)
    {
        JsonObject root;
        byte[] canonical;
        try
        {
            canonical = CanonicalJson.Of(bundle);
            root = JsonNode.Parse(canonical) as JsonObject ?? throw new JsonException("The bundle is not a JSON object.");
        }
        catch (JsonException e)
        {
            var location = e.BytePositionInLine is { } at ? $"line {e.LineNumber + 1}, byte {at}" : "$";
            return (null, new(location, $"The file is not valid JSON of a bundle: {e.Message}"));
        }
        try
        {
            return (Check(root, bundle, canonical), null);
        }
        catch (FaultException e)
        {
            return (null, e.Fault);
        }
    }

    static TraceReport Check(JsonObject root, ReadOnlySpan<byte> bundle, byte[] canonical)
    {
        var isFirstFormat = Text(root, "format", "$") == TraceBundle.FirstFormat;
        var isEarlier = isFirstFormat || Text(root, "format", "$") == TraceBundle.SecondFormat;
        Require(isEarlier || Text(root, "format", "$") == TraceBundle.Format, "$.format", $"The format is not {TraceBundle.Format}.");
        RequireMembers(root, "$", isFirstFormat ? FirstFormatMembers : BundleMembers);
        var events = Array(root, "events");
        var digests = root["digests"] as JsonObject ?? throw Fault("$.digests", "It is not an object.");
        var run = root["run"] as JsonObject ?? throw Fault("$.run", "It is not an object.");
        var head = root["head"] as JsonObject ?? throw Fault("$.head", "It is not an object.");
        RequireMembers(head, "$.head", ["hash", "stream_id", "version"]);

        // Each part of a canonical document is canonical.
        var raw = JsonElement.Parse(canonical);
        var rawEvents = raw.GetProperty("events").EnumerateArray().ToList();
        var own = CheckChain(events, rawEvents, Text(head, "stream_id", "$.head"), isEarlier ? EarlierEventMembers : EventMembers);
        if (!isEarlier)
        {
            CheckCopies(run, events, rawEvents);
        }
        var last = own.Count > 0 ? own[^1] : throw Fault("$.events", "The run's own stream has no event.");
        Require(Number(head, "version", "$.head") == last.Version, "$.head.version", $"The last event of the stream is version {last.Version}.");
        Require(Text(head, "hash", "$.head") == last.Hash, "$.head.hash", "It is not the hash of the stream's last event.");

        CheckSummary(run, raw.GetProperty("run"), own, isEarlier);
        var blobs = CheckBlobs(root, events);
        var artifacts = CheckArtifacts(root, events, isEarlier);
        var included = isFirstFormat ? artifacts.DistinctBy(a => (string)a["sha256"]!).Select(_ => false).ToList() : CheckContents(root, artifacts);
        CheckDigests(raw, digests);
        if (!bundle.SequenceEqual(canonical))
        {
            var at = bundle.CommonPrefixLength(canonical);
            throw Fault($"byte {at}", "From here on the file is not in canonical form (RFC 8785).");
        }
        var contents = included.Count(isIncluded => isIncluded);
        return new(Text(run, "run_id", "$.run"), Text(run, "status", "$.run"), events.Count, blobs, contents, included.Count - contents, last.Hash);
    }

    /// <summary>Checks each event's hash against its predecessor, and that positions ascend. Answers the events of the run's own stream, which has no gap.</summary>
    static List<RecordedEvent> CheckChain(JsonArray events, List<JsonElement> raw, string ownStream, string[] members)
    {
        var own = new List<RecordedEvent>();
        var heads = new Dictionary<string, (long Version, string Hash)>();
        var (gid, feed) = (0L, 0L);
        for (var i = 0; i < events.Count; i++)
        {
            var at = $"$.events[{i}]";
            var e = events[i] as JsonObject ?? throw Fault(at, "It is not an object.");
            RequireMembers(e, at, e.ContainsKey(Correlation) ? [.. members, Correlation] : members);
            Require(!e.ContainsKey(Correlation) || Text(e, Correlation, at).Length > 0, $"{at}.{Correlation}", "It is empty.");
            var (org, stream, type, actor) = (Text(e, "tenant_id", at), Text(e, "stream_id", at), Text(e, "type", at), Text(e, "actor", at));
            var (version, hash, previous) = (Number(e, "version", at), Text(e, "hash", at), Text(e, "prev_hash", at));
            var id = Guid.TryParseExact(Text(e, "id", at), "D", out var parsed) ? parsed : throw Fault($"{at}.id", "It is not an event id.");
            var ts = DateTimeOffset.TryParseExact(
                Text(e, "ts", at), "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
                ? time
                : throw Fault($"{at}.ts", "It is not a timestamp.");
            Require(previous.Length == 64 && previous.All(char.IsAsciiHexDigitLower), $"{at}.prev_hash", "It is not a hash.");
            var data = Bytes(raw[i].GetProperty("data")).ToArray();
            var computed = HashChain.Next(previous, org, stream, version, id, type, ts, actor, data);
            Require(computed == hash, at, $"Event {version} of {stream} ({type}) does not have the hash {hash}: its content, its predecessor or the hash was changed.");
            if (heads.TryGetValue(stream, out var before))
            {
                Require(version > before.Version, $"{at}.version", $"The event before it has version {before.Version}.");
                Require(version > before.Version + 1 || previous == before.Hash, $"{at}.prev_hash", "It is not the hash of the event before it.");
                Require(stream != ownStream || version == before.Version + 1, at, $"Version {before.Version + 1} of {stream} is missing.");
            }
            else
            {
                Require(stream != ownStream || version == 1, at, $"Version 1 of {stream} is missing.");
                Require(version > 1 || previous == HashChain.Root, $"{at}.prev_hash", "Version 1 must have a previous hash of zeros.");
            }
            heads[stream] = (version, hash);
            var (position, feedId) = (Number(e, "gid", at), Number(e, "feed_id", at));
            Require(position > gid, $"{at}.gid", $"The event before it has position {gid}.");
            Require(feedId > feed, $"{at}.feed_id", $"The event before it has feed id {feed}.");
            (gid, feed) = (position, feedId);
            if (stream == ownStream)
            {
                try
                {
                    own.Add(new(org, stream, version, id, type, EventJson.Read(type, data, ts), data, ts, actor, hash, position));
                }
                catch (JsonException unreadable)
                {
                    throw Fault(at, unreadable.Message);
                }
            }
        }
        return own;
    }

    /// <summary>Checks the members that say again what others say: no hash of an event covers them.</summary>
    static void CheckCopies(JsonObject run, JsonArray events, List<JsonElement> raw)
    {
        var session = Text(run, "session_id", "$.run");
        for (var i = 0; i < events.Count; i++)
        {
            var (at, e) = ($"$.events[{i}]", events[i]!.AsObject());
            var type = EventTypes.FeedType(Text(e, "type", at));
            Require(Text(e, "event_type", at) == type, $"{at}.event_type", $"The event's type is {type}.");
            Require(Text(e, "session_id", at) == session, $"{at}.session_id", $"The run's session is {session}.");
            Require(Bytes(raw[i].GetProperty("payload")).SequenceEqual(Bytes(raw[i].GetProperty("data"))), $"{at}.payload", "It is not the event's data.");
        }
    }

    /// <param name="isEarlier">The bundle's format is one without the members of the original service.</param>
    static void CheckSummary(JsonObject run, JsonElement raw, List<RecordedEvent> own, bool isEarlier)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            try
            {
                TraceBundle.WriteRun(writer, own);
            }
            catch (InvalidDataException e)
            {
                throw Fault("$.events", e.Message);
            }
        }
        var folded = JsonElement.Parse(CanonicalJson.Of(json.WrittenSpan)).EnumerateObject()
            .Where(member => !isEarlier || !RunSummary.SinceThirdFormat.Contains(member.Name)).ToList();
        RequireMembers(run, "$.run", [.. folded.Select(member => member.Name)]);
        foreach (var member in folded)
        {
            Require(Bytes(member.Value).SequenceEqual(Bytes(raw.GetProperty(member.Name))), $"$.run.{member.Name}", $"The events give {member.Value.GetRawText()}.");
        }
    }

    /// <summary>Checks the artifacts against the events, in order and member by member. Answers the artifacts of the events.</summary>
    static List<JsonObject> CheckArtifacts(JsonObject root, JsonArray events, bool isEarlier)
    {
        var given = Array(root, "artifacts");
        var expected = events.Select(e => Artifacts.DiscoveredIn(e!.AsObject())).OfType<JsonObject>().ToList();
        if (isEarlier)
        {
            expected.ForEach(artifact => _ = (artifact.Remove("id"), artifact.Remove("kind")));
        }
        for (var i = 0; i < Math.Min(given.Count, expected.Count); i++)
        {
            var at = $"$.artifacts[{i}]";
            var artifact = given[i] as JsonObject ?? throw Fault(at, "It is not an object.");
            RequireMembers(artifact, at, [.. expected[i].Select(member => member.Key)]);
            // A forged event with a valid hash may lack these members.
            Text(expected[i], "sha256", at);
            Number(expected[i], "bytes", at);
            foreach (var (name, value) in expected[i])
            {
                Require(TraceBundle.Digest(value) == TraceBundle.Digest(artifact[name]), $"{at}.{name}", $"The event gives {value?.ToJsonString() ?? "null"}.");
            }
        }
        Require(given.Count == expected.Count, "$.artifacts", $"The events record {expected.Count} artifacts, not {given.Count}.");
        return expected;
    }

    /// <summary>Checks each content against its digest, and that only large or missing ones are left out. Answers for each content whether it is included.</summary>
    static List<bool> CheckContents(JsonObject root, List<JsonObject> artifacts)
    {
        var given = Array(root, "artifact_bytes");
        var expected = ArtifactBytes.Plan(artifacts).ToList();
        var included = new List<bool>();
        for (var i = 0; i < Math.Min(given.Count, expected.Count); i++)
        {
            var at = $"$.artifact_bytes[{i}]";
            var (sha256, size, leftOut) = expected[i];
            var content = given[i] as JsonObject ?? throw Fault(at, "It is not an object.");
            var isIncluded = content.ContainsKey("base64");
            RequireMembers(content, at, isIncluded ? ["base64", "bytes", "sha256"] : ["bytes", "left_out", "sha256"]);
            Require(Text(content, "sha256", at) == sha256, $"{at}.sha256", $"The artifacts give {sha256}.");
            Require(Number(content, "bytes", at) == size, $"{at}.bytes", $"The artifacts give {size}.");
            if (isIncluded)
            {
                Require(leftOut is null, $"{at}.base64", $"A bundle does not include this content: {leftOut}.");
                var bytes = Base64(content, at);
                Require(ArtifactBytes.HaveDigest(bytes, sha256), at, $"The bytes do not have the digest {sha256}.");
                Require(bytes.Length == size, $"{at}.bytes", $"The content has {bytes.Length} bytes.");
            }
            else
            {
                Require(Text(content, "left_out", at) == (leftOut ?? ArtifactBytes.Missing), $"{at}.left_out", $"The artifacts give {leftOut ?? ArtifactBytes.Missing}.");
            }
            included.Add(isIncluded);
        }
        Require(given.Count == expected.Count, "$.artifact_bytes", $"The artifacts have {expected.Count} contents, not {given.Count}.");
        return included;
    }

    static int CheckBlobs(JsonObject root, JsonArray events)
    {
        var wanted = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var e in events)
        {
            TraceBundle.FindBlobs(e!["data"], wanted);
        }
        var blobs = Array(root, "blobs");
        for (var i = 0; i < blobs.Count; i++)
        {
            var at = $"$.blobs[{i}]";
            var blob = blobs[i] as JsonObject ?? throw Fault(at, "It is not an object.");
            RequireMembers(blob, at, ["base64", "bytes", "sha256"]);
            var bytes = Base64(blob, at);
            var sha256 = Text(blob, "sha256", at);
            Require(ArtifactBytes.HaveDigest(bytes, sha256), at, $"The bytes do not have the digest {sha256}.");
            Require(Number(blob, "bytes", at) == bytes.Length, $"{at}.bytes", $"The content has {bytes.Length} bytes.");
            Require(wanted.Remove(sha256), at, "No event refers to it, or it is there twice.");
        }
        Require(wanted.Count == 0, "$.blobs", $"The blob {wanted.FirstOrDefault()} is missing.");
        return blobs.Count;
    }

    static void CheckDigests(JsonElement raw, JsonObject digests)
    {
        var parts = raw.EnumerateObject().Where(part => part.Name != "digests").ToList();
        RequireMembers(digests, "$.digests", [.. parts.Select(part => part.Name)]);
        foreach (var part in parts)
        {
            if (part.Value.ValueKind == JsonValueKind.Array)
            {
                var given = digests[part.Name] as JsonArray ?? throw Fault($"$.digests.{part.Name}", "It is not an array.");
                Require(given.Count == part.Value.GetArrayLength(), $"$.digests.{part.Name}", $"The bundle has {part.Value.GetArrayLength()} parts.");
                foreach (var (i, item) in part.Value.EnumerateArray().Index())
                {
                    Require(IsDigest(given[i], item), $"$.{part.Name}[{i}]", "The part does not match its digest.");
                }
            }
            else
            {
                Require(IsDigest(digests[part.Name], part.Value), $"$.{part.Name}", "The part does not match its digest.");
            }
        }

        static bool IsDigest(JsonNode? given, JsonElement part) =>
            given is JsonValue value && value.TryGetValue<string>(out var digest) && digest == Convert.ToHexStringLower(SHA256.HashData(Bytes(part)));
    }

    /// <summary>The bytes of a part in the bundle.</summary>
    static ReadOnlySpan<byte> Bytes(JsonElement part) => JsonMarshal.GetRawUtf8Value(part);

    static void RequireMembers(JsonObject o, string at, string[] names)
    {
        foreach (var name in names)
        {
            Require(o.ContainsKey(name), $"{at}.{name}", "The member is missing.");
        }
        foreach (var (name, _) in o)
        {
            Require(names.Contains(name), $"{at}.{name}", "The member is unknown.");
        }
    }

    static byte[] Base64(JsonObject o, string at)
    {
        try
        {
            return Convert.FromBase64String(Text(o, "base64", at));
        }
        catch (FormatException)
        {
            throw Fault($"{at}.base64", "It is not valid base64.");
        }
    }

    static string Text(JsonObject o, string name, string at) =>
        o[name] is JsonValue value && value.TryGetValue<string>(out var text) ? text : throw Fault($"{at}.{name}", "It is not a string.");

    static long Number(JsonObject o, string name, string at) =>
        o[name] is JsonValue value && value.TryGetValue<long>(out var number) ? number : throw Fault($"{at}.{name}", "It is not an integer.");

    static JsonArray Array(JsonObject root, string name) => root[name] as JsonArray ?? throw Fault($"$.{name}", "It is not an array.");

    static void Require(bool holds, string location, string message)
    {
        if (!holds)
        {
            throw Fault(location, message);
        }
    }

    static FaultException Fault(string location, string message) => new(new(location, message));

    sealed class FaultException(TraceFault fault) : Exception(fault.Message)
    {
        public TraceFault Fault { get; } = fault;
    }
}
