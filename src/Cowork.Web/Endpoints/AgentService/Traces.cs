using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>The bundle that proves a run, in canonical form (RFC 8785).</summary>
/// <remarks><see cref="TraceBundle"/> writes it; this is its shape in /openapi.json.</remarks>
/// <param name="Run">Folded from the run's own stream.</param>
/// <param name="Digests">SHA-256 of each part but the head; of a list, of each item.</param>
public sealed record RunTrace(
    string Format, RunSummary Run, IReadOnlyList<TraceEvent> Events, IReadOnlyList<ArtifactDetails> Artifacts, IReadOnlyList<TraceContent> ArtifactBytes,
    IReadOnlyList<TraceBlob> Blobs, TraceHead Head, JsonElement Digests);

/// <summary>A stored event.</summary>
/// <param name="Type">The stored name, with its version.</param>
/// <param name="EventType">The type as the feed names it.</param>
/// <param name="Payload">The same as <c>data</c>.</param>
/// <param name="PrevHash">Hash of the event before it in its stream; zeros: it is the first.</param>
/// <param name="CorrelationId">The trace id of the request that caused it.</param>
public sealed record TraceEvent(
    string TenantId, string StreamId, long Version, Guid Id, string Type, string EventType, SessionKey SessionId, DateTimeOffset Ts, string Actor, JsonElement Data,
    JsonElement Payload, string PrevHash, string Hash, long Gid, long FeedId,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? CorrelationId = null);

/// <summary>The content of an artifact: its bytes, or why they are left out.</summary>
/// <param name="LeftOut"><c>too_large</c>, <c>past_all</c> or <c>missing</c>.</param>
public sealed record TraceContent(
    string Sha256, long Bytes, [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] byte[]? Base64 = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? LeftOut = null);

/// <summary>The bytes behind a <c>{sha256, bytes}</c> of an event.</summary>
public sealed record TraceBlob(string Sha256, long Bytes, byte[] Base64);

/// <summary>The last event of the run's own stream.</summary>
/// <param name="Digest">SHA-256 of <c>digests</c>: what covers the head covers the whole bundle.</param>
public sealed record TraceHead(string StreamId, long Version, string Hash, string Digest);
