using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>The bundle that proves a run, in canonical form (RFC 8785).</summary>
/// <remarks><see cref="TraceBundle"/> writes it; this is its shape in /openapi.json.</remarks>
/// <param name="Run">Folded from the run's own stream.</param>
/// <param name="Related">What the run used of other streams, in the order of the log.</param>
/// <param name="Digests">SHA-256 of each part but the head and <paramref name="Log"/>; of a list, of each item.</param>
/// <param name="Log">Left out as long as no signed head covers the events.</param>
public sealed record RunTrace(
    string Format, RunSummary Run, IReadOnlyList<TraceEvent> Events, IReadOnlyList<TraceRelatedEvent> Related, IReadOnlyList<TraceArtifact> Artifacts,
    IReadOnlyList<TraceContent> ArtifactBytes, IReadOnlyList<TraceBlob> Blobs, TraceHead Head, JsonElement Digests,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] TraceLog? Log = null);

/// <summary>That the log has all of the events at their places, by the first signed head that covers them.</summary>
/// <param name="Leaves">What the tree has of each event beside what the bundle has, in the order of the log.</param>
/// <param name="Proof">The hashes beside the leaves' ways to the root, from the left.</param>
/// <param name="Through">Of a run that has not ended: up to this position the log had no other event of it.</param>
/// <param name="Statement">Beside <paramref name="Through"/>.</param>
public sealed record TraceLog(
    TraceLogHead Head, TraceLogKey Key, IReadOnlyList<TraceLeaf> Leaves, IReadOnlyList<string> Proof,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Through = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] TraceStatement? Statement = null);

/// <summary>What the host says of the bundle's head and position (JWS, RFC 7515), by a key of heads.</summary>
public sealed record TraceStatement(TraceLogKey Key, string Signature);

/// <summary>The head (docs/audit.md).</summary>
public sealed record TraceLogHead(long Number, long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature);

/// <summary>The public key that signed the head (JWK).</summary>
public sealed record TraceLogKey(string Kty, string Crv, string X, string Y);

/// <param name="CausationId">Id of the command that caused it.</param>
/// <param name="FeedId">Of a related event, its id in the feed of <paramref name="SessionId"/>.</param>
public sealed record TraceLeaf(
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? CausationId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? FeedId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? RunId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? SessionId = null);

/// <summary>A stored event.</summary>
/// <param name="Type">The stored name, with its version.</param>
/// <param name="EventType">The type as the feed names it.</param>
/// <param name="Payload">The same as <c>data</c>.</param>
/// <param name="PrevHash">Hash of the event before it in its stream; zeros: it is the first.</param>
/// <param name="CorrelationId">The trace id of the request that caused it.</param>
/// <param name="ContentKey">Base64 of the key of the stream's contents, where the event has sealed texts and their subject was not erased.</param>
public sealed record TraceEvent(
    string TenantId, string StreamId, long Version, Guid Id, string Type, string EventType, SessionKey SessionId, DateTimeOffset Ts, string Actor, JsonElement Data,
    JsonElement Payload, string PrevHash, string Hash, long Gid, long FeedId,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? CorrelationId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? ContentKey = null);

/// <summary>A stored event of another stream that the run's own events name: a version of a skill or a memory, an earlier turn, the execution of a cell.</summary>
/// <param name="Type">The stored name, with its version.</param>
/// <param name="PrevHash">Hash of the event before it in its stream; zeros: it is the first.</param>
/// <param name="CorrelationId">The trace id of the request that caused it.</param>
/// <param name="Withheld">Name of a member of the data that no reader sees; without it, the hash is that of the data.</param>
/// <param name="ContentKey">As in an event of the run.</param>
public sealed record TraceRelatedEvent(
    string TenantId, string StreamId, long Version, Guid Id, string Type, DateTimeOffset Ts, string Actor, JsonElement Data, string PrevHash, string Hash, long Gid,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? CorrelationId = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Withheld = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? ContentKey = null);

/// <summary>An artifact as the run wrote it.</summary>
/// <param name="Path">Relative to the session's folder.</param>
/// <param name="Version">Version of the content at this path in this session, from 1.</param>
/// <param name="Id">The artifact id.</param>
/// <param name="Kind">The path's ending without the dot; <c>file</c>: it has none.</param>
/// <param name="Type">What it is to contract B; left out by earlier releases.</param>
/// <param name="Title">What its content calls itself, if anything.</param>
/// <param name="Project">The session's project, unless that is the built-in one.</param>
public sealed record TraceArtifact(
    ArtifactKey ArtifactId, long Bytes, string MediaType, string Path, RunKey RunId, SessionKey SessionId, string Sha256, int Version, DateTimeOffset CreatedAt,
    ArtifactKey Id, string Kind, [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Type = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Title = null,
    [property: NeverNull, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ProjectKey? Project = null);

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
