using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// One file that proves what a run did and is checked offline: <c>{format, run, events, related, artifacts, artifact_bytes, blobs, head, digests, log}</c> in canonical
/// form (RFC 8785). It is a pure function of the log: two requests return the same bytes, but for <c>log</c>, which is there from the first signed head on that covers the events.
/// <see cref="TraceVerifier"/> checks it.
/// </summary>
public static class TraceBundle
{
    public const string Format = "cowork-trace/4";

    /// <summary>The format without <c>related</c>. The verifier still accepts it.</summary>
    public const string ThirdFormat = "cowork-trace/3";

    /// <summary>The format without the members of the original service (docs/compatibility.md). The verifier still accepts it.</summary>
    public const string SecondFormat = "cowork-trace/2";

    /// <summary>The format that has no <c>artifact_bytes</c> either. The verifier still accepts it.</summary>
    public const string FirstFormat = "cowork-trace/1";

    /// <summary>The formats that the verifier reads, newest first.</summary>
    public static readonly IReadOnlyList<string> Formats = [Format, ThirdFormat, SecondFormat, FirstFormat];

    /// <summary>What a format does not cover and later ones do.</summary>
    public static IReadOnlyList<string> NotCovered(string format) => format switch
    {
        FirstFormat => ["the bytes of artifacts", .. NotCovered(SecondFormat)],
        SecondFormat => ["the head's digest of all parts", .. NotCovered(ThirdFormat)],
        ThirdFormat => ["what the run used of other streams"],
        _ => [],
    };

    /// <summary>Whether a format's head has the digest of the digests.</summary>
    internal static bool HasDigestInHead(string? format) => format is not (SecondFormat or FirstFormat);

    /// <summary>The bundle of a run at the log's present end; null: the run does not exist.</summary>
    /// <param name="proofs">Null: the bundle has no signed head.</param>
    public static async Task<byte[]?> Build(
        IEventLog log, IBlobs blobs, string org, SessionKey session, RunKey run, CancellationToken ct, LogProofs? proofs = null)
    {
        // Before its events are read: there is no other one up to here.
        var through = proofs is null ? 0 : (await log.Feed(org, null, 0, 1, ct)).Head;
        var entries = await log.OfRun(org, session, run, ct);
        var stream = Run.Aggregate.Stream(run);
        var own = await log.Load(org, stream, 0, int.MaxValue, ct);
        if (own.Events.Count == 0)
        {
            return null;
        }
        var (json, isOpen) = (new ArrayBufferWriter<byte>(), false);
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("format", Format);
            writer.WritePropertyName("run");
            WriteRun(writer, own.Events);
            writer.WriteStartArray("artifacts");
            foreach (var artifact in Artifacts.DiscoveredIn(entries))
            {
                artifact.WriteTo(writer);
            }
            writer.WriteEndArray();
            writer.WritePropertyName("artifact_bytes");
            await ArtifactBytes.Write(writer, Artifacts.Discovered(entries).Select(artifact => (artifact.Sha256, artifact.Bytes)), blobs, ct);
            writer.WriteStartArray("events");
            var previous = new Dictionary<string, (long Version, string Hash)>();
            var digests = new SortedSet<string>(StringComparer.Ordinal);
            foreach (var entry in entries)
            {
                // The session's stream also has events of other runs, which the bundle does not include.
                var hash = entry.Version == 1 ? HashChain.Root
                    : previous.TryGetValue(entry.Stream, out var before) && before.Version == entry.Version - 1 ? before.Hash
                    : (await log.Load(org, entry.Stream, entry.Version - 2, 1, ct)).Hash;
                previous[entry.Stream] = (entry.Version, entry.Hash);
                var data = CanonicalJson.Of(entry.Data.Span);
                var open = entry.IsSealed ? CanonicalJson.Of(entry.Open().Span) : data;
                FindBlobs(JsonElement.Parse(open), digests);
                writer.WriteStartObject();
                writer.WriteString("tenant_id", entry.Org);
                writer.WriteString("stream_id", entry.Stream);
                writer.WriteNumber("version", entry.Version);
                writer.WriteString("id", entry.Id);
                writer.WriteString("type", entry.Type);
                writer.WriteString("event_type", EventTypes.FeedType(entry.Type));
                writer.WriteString("session_id", entry.Session?.Id);
                writer.WriteString("ts", HashChain.Timestamp(entry.At));
                writer.WriteString("actor", entry.Actor);
                writer.WritePropertyName("data");
                writer.WriteRawValue(data);
                writer.WritePropertyName("payload");
                writer.WriteRawValue(open);
                BundledContents.WriteKey(writer, entry.Org, entry.Stream, data, entry.Keys);
                writer.WriteString("prev_hash", hash);
                writer.WriteString("hash", entry.Hash);
                writer.WriteNumber("gid", entry.Position);
                writer.WriteNumber("feed_id", entry.FeedId);
                if (entry.Correlation is not null)
                {
                    writer.WriteString("correlation_id", entry.Correlation);
                }
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
            writer.WriteStartArray("related");
            var used = await RelatedEvents.Of(log, org, session, run, own.Events, entries, ct);
            foreach (var related in used)
            {
                var data = CanonicalJson.Of(related.Event.Data.Span);
                FindBlobs(JsonElement.Parse(RelatedEvents.Open(related, data, log.Keys)), digests);
                RelatedEvents.Write(writer, related, data, log.Keys);
            }
            writer.WriteEndArray();
            foreach (var sha256 in SettingsNamedBy(own.Events.Select(e => e.Event)))
            {
                // Settings that are gone prove less, and do not keep the run from being proved.
                _ = await blobs.Get(sha256, ct) is not null && digests.Add(sha256);
            }
            writer.WriteStartArray("blobs");
            foreach (var sha256 in digests)
            {
                var bytes = await blobs.Get(sha256, ct) ?? throw new InvalidDataException($"The blob {sha256} is missing.");
                writer.WriteStartObject();
                writer.WriteString("sha256", sha256);
                writer.WriteNumber("bytes", bytes.Length);
                writer.WriteBase64String("base64", bytes);
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
            writer.WriteStartObject("head");
            writer.WriteString("stream_id", stream);
            writer.WriteNumber("version", own.Version);
            writer.WriteString("hash", own.Hash);
            writer.WriteEndObject();
            HashSet<long> ofRun = [.. entries.Select(entry => entry.Position)];
            long[] positions = [.. ofRun.Concat(used.Select(related => related.Event.Position)).Order()];
            if (proofs is not null && await proofs.Of(org, positions, ct) is { } proof)
            {
                writer.WritePropertyName(LogPart.Name);
                LogPart.Write(writer, proof, ofRun);
                isOpen = !HasEnded(own.Events);
            }
            writer.WriteEndObject();
        }
        var bundle = JsonNode.Parse(json.WrittenSpan)!.AsObject();
        Seal(bundle);
        if (isOpen && await LogPart.State(proofs!, bundle["head"]!, Math.Max(through, entries[^1].Position), ct) is { } statement)
        {
            var part = bundle[LogPart.Name]!.AsObject();
            part[LogPart.Statement] = SignedParts.Node(statement);
            part[LogPart.Through] = Math.Max(through, entries[^1].Position);
        }
        return Canonical(bundle);
    }

    /// <summary>Puts the digests into a bundle, and the digest of the digests into its head: what covers the head covers everything.</summary>
    public static void Seal(JsonObject bundle)
    {
        bundle["digests"] = Digests(bundle);
        if (HasDigestInHead((string?)bundle["format"]))
        {
            bundle["head"]!["digest"] = Digest(bundle["digests"]);
        }
    }

    static JsonSerializerOptions DefaultJson { get; } = new() { TypeInfoResolver = new System.Text.Json.Serialization.Metadata.DefaultJsonTypeInfoResolver() };

    /// <summary>Whether the run's own events have its end.</summary>
    internal static bool HasEnded(IEnumerable<RecordedEvent> own) => own.Aggregate((RunRow?)null, Runs.Evolve)?.HasEnded == true;

    /// <summary>Writes the run's summary, folded from its stream only.</summary>
    internal static void WriteRun(Utf8JsonWriter writer, IEnumerable<RecordedEvent> events)
    {
        var row = events.Aggregate((RunRow?)null, Runs.Evolve) ?? throw new InvalidDataException("The stream does not begin with run_created.");
        JsonSerializer.Serialize(writer, RunSummary.Of(row), BundleJson.Default.RunSummary);
    }

    /// <summary>SHA-256 of each part but the head, which holds the digest of these, and the log's signature; in the formats before, of the head too.</summary>
    static JsonObject Digests(JsonObject bundle)
    {
        var digests = new JsonObject();
        foreach (var (name, part) in bundle)
        {
            if (name is not ("digests" or LogPart.Name) && (name != "head" || !HasDigestInHead((string?)bundle["format"])))
            {
                digests[name] = part is JsonArray items ? new JsonArray([.. items.Select(item => (JsonNode?)Digest(item))]) : Digest(part);
            }
        }
        return digests;
    }

    static string Digest(JsonNode? part) => Convert.ToHexStringLower(SHA256.HashData(Canonical(part)));

    internal static byte[] Canonical(JsonNode? part) => CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(part, DefaultJson));

    /// <summary>The settings that a run was driven under, by the digests that its own events name.</summary>
    internal static IEnumerable<string> SettingsNamedBy(IEnumerable<Event> own) =>
        own.Select(e => (e as RunEvent.RunStarted)?.Settings ?? (e as RunEvent.RunResumed)?.Settings).OfType<string>();

    /// <summary>Adds the digests of all <c>{sha256, bytes}</c> objects below a part.</summary>
    internal static void FindBlobs(JsonElement part, ISet<string> found)
    {
        switch (part.ValueKind)
        {
            case JsonValueKind.Object when part.GetPropertyCount() == 2 && part.TryGetProperty("sha256", out var sha256) && sha256.ValueKind == JsonValueKind.String
                && part.TryGetProperty("bytes", out var bytes) && bytes.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array or JsonValueKind.Null):
                found.Add(sha256.GetString()!);
                break;
            case JsonValueKind.Object:
                foreach (var member in part.EnumerateObject())
                {
                    FindBlobs(member.Value, found);
                }
                break;
            case JsonValueKind.Array:
                foreach (var item in part.EnumerateArray())
                {
                    FindBlobs(item, found);
                }
                break;
        }
    }
}
