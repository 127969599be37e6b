using System.Buffers;
using System.Text;
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

    const int PageEvents = 500;

    /// <summary>As <see cref="Assemble"/>, in one piece.</summary>
    public static async Task<byte[]?> Build(
        IEventLog log, IBlobs blobs, string org, SessionKey session, RunKey run, CancellationToken ct, LogProofs? proofs = null)
    {
        using var bundle = await Assemble(log, blobs, org, session, run, ct, proofs);
        return bundle?.ToArray();
    }

    /// <summary>
    /// The bundle of a run at the log's present end; null: the run does not exist. The events are read in pages, and each part is written once: memory holds the bundle, a page
    /// and a few words for each event.
    /// </summary>
    /// <param name="proofs">Null: the bundle has no signed head.</param>
    public static async Task<RunBundle?> Assemble(
        IEventLog log, IBlobs blobs, string org, SessionKey session, RunKey run, CancellationToken ct, LogProofs? proofs = null)
    {
        var bundle = new RunBundle();
        try
        {
            if (await Fill(bundle, log, blobs, (org, session, run), proofs, ct))
            {
                return bundle;
            }
        }
        catch
        {
            bundle.Dispose();
            throw;
        }
        bundle.Dispose();
        return null;
    }

    /// <summary>False: the run does not exist.</summary>
    static async Task<bool> Fill(RunBundle bundle, IEventLog log, IBlobs blobs, (string Org, SessionKey Session, RunKey Run) of, LogProofs? proofs, CancellationToken ct)
    {
        var (org, session, run) = of;
        // Before its events are read: there is no other one up to here.
        var through = proofs is null ? 0 : (await log.Feed(org, null, 0, 1, ct)).Head;
        var stream = Run.Aggregate.Stream(run);
        bundle.Set("format", Encoding.ASCII.GetBytes($"\"{Format}\""));
        Array.ForEach(["artifact_bytes", "artifacts", "blobs", "events", "related"], bundle.List);
        using var json = new PooledBuffer(16 * 1024);
        var (row, head, used) = ((RunRow?)null, (Version: 0L, Hash: ""), new UsedByRun());
        var artifacts = new List<(string Sha256, long Bytes)>();
        var settings = new HashSet<string>(StringComparer.Ordinal);
        var digests = new SortedSet<string>(StringComparer.Ordinal);
        // The session's stream also has events of other runs, which the bundle does not include.
        var hashes = new PreviousHashes(log, org);
        var told = new HashSet<long>();
        var keys = new DisclosedKeys(log.Keys);
        var last = 0L;
        for (var after = 0L; await log.OfRun(org, session, run, ct, after, PageEvents) is [.., var newest] page; after = newest.FeedId)
        {
            foreach (var entry in page)
            {
                Add(entry with { Keys = keys }, await hashes.Before(entry, ct));
            }
        }
        if (head.Version == 0)
        {
            return false;
        }
        bundle.Set("run", Canonical(json, writer => WriteRun(writer, row)));
        await foreach (var content in ArtifactBytes.Of(artifacts, blobs, ct))
        {
            json.Clear();
            ArtifactBytes.Write(json, content);
            bundle.Add("artifact_bytes", json.Written);
            bundle.AddContent(content.Sha256, content.Bytes);
        }
        var related = await RelatedEvents.WithErasures(log, org, await RelatedEvents.Of(log, org, session, run, used, told, ct), keys, ct);
        foreach (var one in related)
        {
            var data = CanonicalJson.Of(one.Event.Data.Span);
            FindBlobs(RelatedEvents.Open(one, data, keys), digests);
            bundle.Add("related", Canonical(json, writer => RelatedEvents.Write(writer, one, data, keys)));
        }
        foreach (var sha256 in settings)
        {
            // Settings that are gone prove less, and do not keep the run from being proved.
            _ = await blobs.Get(sha256, ct) is not null && digests.Add(sha256);
        }
        foreach (var sha256 in digests)
        {
            var bytes = await blobs.Get(sha256, ct) ?? throw new InvalidDataException($"The blob {sha256} is missing.");
            json.Clear();
            ArtifactBytes.Write(json, new(sha256, bytes.Length, null, bytes));
            bundle.Add("blobs", json.Written);
            bundle.AddContent(sha256, bytes.Length);
        }
        var digest = bundle.SetDigests("digests");
        var signed = Encoding.UTF8.GetString(Canonical(json, writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("stream_id", stream);
            writer.WriteNumber("version", head.Version);
            writer.WriteString("hash", head.Hash);
            writer.WriteString("digest", digest);
            writer.WriteEndObject();
        }));
        bundle.Set("head", json.Written);
        long[] positions = [.. told.Concat(related.Select(one => one.Event.Position)).Order()];
        if (proofs is not null && await proofs.Of(org, positions, ct) is { } proof)
        {
            var until = Math.Max(through, last);
            var statement = row?.HasEnded == true ? null : await LogPart.State(proofs, signed, until, ct);
            bundle.Set(LogPart.Name, Canonical(json, writer => LogPart.Write(writer, proof, told, statement, until)));
        }
        return true;

        void Add(FeedEntry entry, string previousHash)
        {
            var data = CanonicalJson.Of(entry.Data.Span);
            var open = entry.IsSealed ? CanonicalJson.Of(entry.Open().Span) : data;
            FindBlobs(open, digests);
            json.Clear();
            WriteEvent(json, entry, data, open, previousHash);
            bundle.Add("events", json.Written);
            told.Add(entry.Position);
            last = entry.Position;
            if (entry.Is<ArtifactEvent.ArtifactDiscovered>())
            {
                var artifact = (ArtifactEvent.ArtifactDiscovered)entry.Read();
                bundle.Add("artifacts", Canonical(Artifacts.DiscoveredIn(JsonNode.Parse(open)!.AsObject(), entry.At)));
                artifacts.Add((artifact.Sha256, artifact.Bytes));
            }
            if (entry.Stream == stream)
            {
                var e = entry.Read();
                used.Add(e, entry.FeedId);
                settings.UnionWith(SettingsNamedBy([e]));
                row = Runs.Evolve(
                    row,
                    new(
                        org, stream, entry.Version, entry.Id, entry.Type, e, entry.Data, entry.At, entry.Actor, entry.Hash, entry.Position, entry.Correlation,
                        entry.Causation));
                head = (entry.Version, entry.Hash);
            }
        }
    }

    /// <summary>Writes an event with what its hash covers, its hash, its places in log and feed, and the members of the original service.</summary>
    static void WriteEvent(PooledBuffer json, FeedEntry entry, byte[] data, byte[] open, string previousHash)
    {
        // The members stand in the order that RFC 8785 sorts them into.
        json.Member("{\"actor\":"u8, entry.Actor);
        json.Member(",\"content_key\":"u8, BundledContents.KeyOf(entry.Org, entry.Stream, data, entry.Keys));
        json.Member(",\"correlation_id\":"u8, entry.Correlation);
        json.Write(",\"data\":"u8);
        json.Write(data);
        json.Member(",\"event_type\":"u8, EventTypes.FeedType(entry.Type));
        json.Member(",\"feed_id\":"u8, entry.FeedId);
        json.Member(",\"gid\":"u8, entry.Position);
        json.Member(",\"hash\":"u8, entry.Hash);
        json.Member(",\"id\":"u8, entry.Id.ToString("D"));
        json.Write(",\"payload\":"u8);
        json.Write(open);
        json.Member(",\"prev_hash\":"u8, previousHash);
        json.Member(",\"session_id\":"u8, entry.Session!.Value.Id);
        json.Member(",\"stream_id\":"u8, entry.Stream);
        json.Member(",\"tenant_id\":"u8, entry.Org);
        json.Member(",\"ts\":"u8, HashChain.Timestamp(entry.At));
        json.Member(",\"type\":"u8, entry.Type);
        json.Member(",\"version\":"u8, entry.Version);
        json.Write("}"u8);
    }

    /// <summary>The canonical form of what is written. It is gone with the next use of the buffer.</summary>
    static ReadOnlySpan<byte> Canonical(PooledBuffer json, Action<Utf8JsonWriter> write)
    {
        using var given = new PooledBuffer(1_024);
        using (var writer = new Utf8JsonWriter(given))
        {
            write(writer);
        }
        json.Clear();
        CanonicalJson.Write(json, given.Written);
        return json.Written;
    }

    static JsonSerializerOptions DefaultJson { get; } = new() { TypeInfoResolver = new System.Text.Json.Serialization.Metadata.DefaultJsonTypeInfoResolver() };

    /// <summary>Whether the run's own events have its end.</summary>
    internal static bool HasEnded(IEnumerable<RecordedEvent> own) => own.Aggregate((RunRow?)null, Runs.Evolve)?.HasEnded == true;

    /// <summary>Writes the run's summary, folded from its stream only.</summary>
    internal static void WriteRun(Utf8JsonWriter writer, IEnumerable<RecordedEvent> events) => WriteRun(writer, events.Aggregate((RunRow?)null, Runs.Evolve));

    static void WriteRun(Utf8JsonWriter writer, RunRow? row) => JsonSerializer.Serialize(
        writer, RunSummary.Of(row ?? throw new InvalidDataException("The stream does not begin with run_created.")), BundleJson.Default.RunSummary);

    internal static byte[] Canonical(JsonNode? part) => CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(part, DefaultJson));

    /// <summary>The settings that a run was driven under, by the digests that its own events name.</summary>
    internal static IEnumerable<string> SettingsNamedBy(IEnumerable<Event> own) =>
        own.Select(e => (e as RunEvent.RunStarted)?.Settings ?? (e as RunEvent.RunResumed)?.Settings).OfType<string>();

    /// <summary>Adds the digests of all <c>{sha256, bytes}</c> objects in a text.</summary>
    /// <param name="json">In canonical form, which escapes no letter.</param>
    internal static void FindBlobs(byte[] json, ISet<string> found)
    {
        if (json.AsSpan().IndexOf("\"sha256\":"u8) >= 0)
        {
            FindBlobs(JsonElement.Parse(json), found);
        }
    }

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
