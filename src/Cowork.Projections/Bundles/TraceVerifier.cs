using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>What is wrong with a bundle.</summary>
/// <param name="Place">Where, as a JSON path, or <c>byte n</c>.</param>
public sealed record TraceFault(string Place, string What);

/// <summary>What a sound bundle shows.</summary>
/// <param name="Artifacts">Contents of artifacts whose bytes are in it.</param>
/// <param name="LeftOut">Contents of artifacts of which it has only the digest.</param>
public sealed record TraceReport(string RunId, string Status, int Events, int Blobs, int Artifacts, int LeftOut, string Head);

/// <summary>Checks a trace bundle with nothing but the bundle: chain, digests, blobs, and the run's summary folded again from its events.</summary>
public static class TraceVerifier
{
    static readonly string[] PartsBefore = ["artifacts", "blobs", "digests", "events", "format", "head", "run"];

    static readonly string[] Parts = [.. PartsBefore, "artifact_bytes"];

    static readonly string[] EventMembers =
        ["actor", "data", "feed_id", "gid", "hash", "id", "prev_hash", "stream_id", "tenant_id", "ts", "type", "version"];

    /// <summary>Not every event was caused within a trace. That it is there, gone or changed shows in the event's digest.</summary>
    const string Correlation = "correlation_id";

    /// <summary>The first fault, or the report of a bundle without one.</summary>
    public static (TraceReport? Report, TraceFault? Fault) Verify(ReadOnlySpan<byte> bundle)
    {
        JsonObject root;
        byte[] canonical;
        try
        {
            canonical = CanonicalJson.Of(bundle);
            root = JsonNode.Parse(canonical) as JsonObject ?? throw new JsonException("The bundle is no JSON object.");
        }
        catch (JsonException e)
        {
            var place = e.BytePositionInLine is { } at ? $"line {e.LineNumber + 1}, byte {at}" : "$";
            return (null, new(place, $"The file is not the JSON of a bundle: {e.Message}"));
        }
        try
        {
            return (Check(root, bundle, canonical), null);
        }
        catch (FaultException found)
        {
            return (null, found.Fault);
        }
    }

    static TraceReport Check(JsonObject root, ReadOnlySpan<byte> bundle, byte[] canonical)
    {
        var isBefore = Text(root, "format", "$") == TraceBundle.FormatBefore;
        Require(isBefore || Text(root, "format", "$") == TraceBundle.Format, "$.format", $"The format is not {TraceBundle.Format}.");
        Members(root, "$", isBefore ? PartsBefore : Parts);
        var events = Array(root, "events");
        var digests = root["digests"] as JsonObject ?? throw Fault("$.digests", "It is no object.");
        var run = root["run"] as JsonObject ?? throw Fault("$.run", "It is no object.");
        var head = root["head"] as JsonObject ?? throw Fault("$.head", "It is no object.");
        Members(head, "$.head", ["hash", "stream_id", "version"]);

        // What is canonical as a whole is so in every part.
        var raw = JsonElement.Parse(canonical);
        var own = Chain(events, [.. raw.GetProperty("events").EnumerateArray()], Text(head, "stream_id", "$.head"));
        var last = own.Count > 0 ? own[^1] : throw Fault("$.events", "There is no event of the run's own stream.");
        Require(Number(head, "version", "$.head") == last.Version, "$.head.version", $"The last event of the stream is version {last.Version}.");
        Require(Text(head, "hash", "$.head") == last.Hash, "$.head.hash", "It is not the hash of the stream's last event.");

        Refold(run, raw.GetProperty("run"), own);
        var blobs = Blobs(root, events);
        var made = Made(root, events);
        var kept = isBefore ? made.DistinctBy(a => (string)a["sha256"]!).Select(_ => false).ToList() : Kept(root, made);
        Sums(raw, digests);
        if (!bundle.SequenceEqual(canonical))
        {
            var at = bundle.CommonPrefixLength(canonical);
            throw Fault($"byte {at}", "The file is not in its canonical form (RFC 8785) from here on.");
        }
        return new(Text(run, "run_id", "$.run"), Text(run, "status", "$.run"), events.Count, blobs, kept.Count(isThere => isThere), kept.Count(isThere => !isThere), last.Hash);
    }

    /// <summary>Every event's hash from what it follows, every stream's versions without a gap. Answers the events of the run's own stream.</summary>
    static List<RecordedEvent> Chain(JsonArray events, List<JsonElement> raw, string ownStream)
    {
        var own = new List<RecordedEvent>();
        var heads = new Dictionary<string, (long Version, string Hash)>();
        var (gid, feed) = (0L, 0L);
        for (var i = 0; i < events.Count; i++)
        {
            var at = $"$.events[{i}]";
            var e = events[i] as JsonObject ?? throw Fault(at, "It is no object.");
            Members(e, at, e.ContainsKey(Correlation) ? [.. EventMembers, Correlation] : EventMembers);
            Require(!e.ContainsKey(Correlation) || Text(e, Correlation, at).Length > 0, $"{at}.{Correlation}", "It is empty.");
            var (org, stream, type, actor) = (Text(e, "tenant_id", at), Text(e, "stream_id", at), Text(e, "type", at), Text(e, "actor", at));
            var (version, hash, previous) = (Number(e, "version", at), Text(e, "hash", at), Text(e, "prev_hash", at));
            var id = Guid.TryParseExact(Text(e, "id", at), "D", out var parsed) ? parsed : throw Fault($"{at}.id", "It is no event id.");
            var ts = DateTimeOffset.TryParseExact(
                Text(e, "ts", at), "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
                ? time
                : throw Fault($"{at}.ts", "It is no timestamp.");
            Require(previous.Length == 64 && previous.All(char.IsAsciiHexDigitLower), $"{at}.prev_hash", "It is no hash.");
            var data = Bytes(raw[i].GetProperty("data")).ToArray();
            var computed = HashChain.Next(previous, org, stream, version, id, type, ts, actor, data);
            Require(computed == hash, at, $"Event {version} of {stream} ({type}) does not have the hash {hash}: its content, its predecessor or the hash was changed.");
            if (heads.TryGetValue(stream, out var before))
            {
                Require(version > before.Version, $"{at}.version", $"It follows version {before.Version}.");
                Require(version > before.Version + 1 || previous == before.Hash, $"{at}.prev_hash", "It is not the hash of the event before.");
                Require(stream != ownStream || version == before.Version + 1, at, $"Version {before.Version + 1} of {stream} is missing.");
            }
            else
            {
                Require(stream != ownStream || version == 1, at, $"Version 1 of {stream} is missing.");
                Require(version > 1 || previous == HashChain.Root, $"{at}.prev_hash", "Before version 1 stand zeros.");
            }
            heads[stream] = (version, hash);
            var (position, feedId) = (Number(e, "gid", at), Number(e, "feed_id", at));
            Require(position > gid, $"{at}.gid", $"It follows position {gid}.");
            Require(feedId > feed, $"{at}.feed_id", $"It follows feed id {feed}.");
            (gid, feed) = (position, feedId);
            if (stream == ownStream)
            {
                try
                {
                    own.Add(new(org, stream, version, id, type, EventJson.Read(type, data, ts), data, ts, actor, hash, position));
                }
                catch (JsonException unknown)
                {
                    throw Fault(at, unknown.Message);
                }
            }
        }
        return own;
    }

    static void Refold(JsonObject run, JsonElement raw, List<RecordedEvent> own)
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
        var folded = JsonElement.Parse(CanonicalJson.Of(json.WrittenSpan)).EnumerateObject().ToList();
        Members(run, "$.run", [.. folded.Select(member => member.Name)]);
        foreach (var member in folded)
        {
            Require(Bytes(member.Value).SequenceEqual(Bytes(raw.GetProperty(member.Name))), $"$.run.{member.Name}", $"The events make it {member.Value.GetRawText()}.");
        }
    }

    /// <summary>The artifacts are those that the events tell of, in their order, member by member.</summary>
    static List<JsonObject> Made(JsonObject root, JsonArray events)
    {
        var given = Array(root, "artifacts");
        var made = events.Select(e => Artifacts.In(e!.AsObject())).OfType<JsonObject>().ToList();
        for (var i = 0; i < Math.Min(given.Count, made.Count); i++)
        {
            var at = $"$.artifacts[{i}]";
            var artifact = given[i] as JsonObject ?? throw Fault(at, "It is no object.");
            Members(artifact, at, [.. made[i].Select(member => member.Key)]);
            // Whoever computes hashes can put anything into an event.
            Text(made[i], "sha256", at);
            Number(made[i], "bytes", at);
            foreach (var (name, value) in made[i])
            {
                Require(TraceBundle.Digest(value) == TraceBundle.Digest(artifact[name]), $"{at}.{name}", $"The event makes it {value?.ToJsonString() ?? "null"}.");
            }
        }
        Require(given.Count == made.Count, "$.artifacts", $"The events tell of {made.Count} artifacts, not of {given.Count}.");
        return made;
    }

    /// <summary>The artifacts' bytes are what their digests say, and nothing is left out that need not be. Answers for each content whether it is there.</summary>
    static List<bool> Kept(JsonObject root, List<JsonObject> made)
    {
        var given = Array(root, "artifact_bytes");
        var wanted = ArtifactBytes.Plan(made).ToList();
        var kept = new List<bool>();
        for (var i = 0; i < Math.Min(given.Count, wanted.Count); i++)
        {
            var at = $"$.artifact_bytes[{i}]";
            var (sha256, size, why) = wanted[i];
            var content = given[i] as JsonObject ?? throw Fault(at, "It is no object.");
            var isThere = content.ContainsKey("base64");
            Members(content, at, isThere ? ["base64", "bytes", "sha256"] : ["bytes", "left_out", "sha256"]);
            Require(Text(content, "sha256", at) == sha256, $"{at}.sha256", $"The artifacts make it {sha256}.");
            Require(Number(content, "bytes", at) == size, $"{at}.bytes", $"The artifacts make it {size}.");
            if (isThere)
            {
                Require(why is null, $"{at}.base64", $"A bundle does not hold it: {why}.");
                var bytes = Base64(content, at);
                Require(ArtifactBytes.Are(bytes, sha256), at, $"The bytes do not have the digest {sha256}.");
                Require(bytes.Length == size, $"{at}.bytes", $"There are {bytes.Length}.");
            }
            else
            {
                Require(Text(content, "left_out", at) == (why ?? ArtifactBytes.Missing), $"{at}.left_out", $"The artifacts make it {why ?? ArtifactBytes.Missing}.");
            }
            kept.Add(isThere);
        }
        Require(given.Count == wanted.Count, "$.artifact_bytes", $"The artifacts have {wanted.Count} contents, not {given.Count}.");
        return kept;
    }

    static int Blobs(JsonObject root, JsonArray events)
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
            var blob = blobs[i] as JsonObject ?? throw Fault(at, "It is no object.");
            Members(blob, at, ["base64", "bytes", "sha256"]);
            var bytes = Base64(blob, at);
            var sha256 = Text(blob, "sha256", at);
            Require(ArtifactBytes.Are(bytes, sha256), at, $"The bytes do not have the digest {sha256}.");
            Require(Number(blob, "bytes", at) == bytes.Length, $"{at}.bytes", $"There are {bytes.Length}.");
            Require(wanted.Remove(sha256), at, "No event speaks of it, or it stands twice.");
        }
        Require(wanted.Count == 0, "$.blobs", $"The blob {wanted.FirstOrDefault()} is missing.");
        return blobs.Count;
    }

    static void Sums(JsonElement raw, JsonObject digests)
    {
        var parts = raw.EnumerateObject().Where(part => part.Name != "digests").ToList();
        Members(digests, "$.digests", [.. parts.Select(part => part.Name)]);
        foreach (var part in parts)
        {
            if (part.Value.ValueKind == JsonValueKind.Array)
            {
                var given = digests[part.Name] as JsonArray ?? throw Fault($"$.digests.{part.Name}", "It is no array.");
                Require(given.Count == part.Value.GetArrayLength(), $"$.digests.{part.Name}", $"There are {part.Value.GetArrayLength()} parts.");
                foreach (var (i, item) in part.Value.EnumerateArray().Index())
                {
                    Require(IsDigest(given[i], item), $"$.{part.Name}[{i}]", "The part does not have its digest.");
                }
            }
            else
            {
                Require(IsDigest(digests[part.Name], part.Value), $"$.{part.Name}", "The part does not have its digest.");
            }
        }

        static bool IsDigest(JsonNode? given, JsonElement part) =>
            given is JsonValue value && value.TryGetValue<string>(out var digest) && digest == Convert.ToHexStringLower(SHA256.HashData(Bytes(part)));
    }

    /// <summary>A part as it stands in the bundle.</summary>
    static ReadOnlySpan<byte> Bytes(JsonElement part) => JsonMarshal.GetRawUtf8Value(part);

    static void Members(JsonObject o, string at, string[] names)
    {
        foreach (var name in names)
        {
            Require(o.ContainsKey(name), $"{at}.{name}", "It is missing.");
        }
        foreach (var (name, _) in o)
        {
            Require(names.Contains(name), $"{at}.{name}", "It does not belong here.");
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
            throw Fault($"{at}.base64", "It is no base64.");
        }
    }

    static string Text(JsonObject o, string name, string at) =>
        o[name] is JsonValue value && value.TryGetValue<string>(out var text) ? text : throw Fault($"{at}.{name}", "It is no string.");

    static long Number(JsonObject o, string name, string at) =>
        o[name] is JsonValue value && value.TryGetValue<long>(out var number) ? number : throw Fault($"{at}.{name}", "It is no whole number.");

    static JsonArray Array(JsonObject root, string name) => root[name] as JsonArray ?? throw Fault($"$.{name}", "It is no array.");

    static void Require(bool holds, string place, string what)
    {
        if (!holds)
        {
            throw Fault(place, what);
        }
    }

    static FaultException Fault(string place, string what) => new(new(place, what));

    sealed class FaultException(TraceFault fault) : Exception(fault.What)
    {
        public TraceFault Fault { get; } = fault;
    }
}
