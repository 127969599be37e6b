using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ArtifactEvent;

namespace Cowork.Projections;

/// <summary>An artifact as <c>GET /artifacts/{id}</c> shows it: by what was written last.</summary>
/// <param name="RunId">The run that wrote it last.</param>
/// <param name="CreatedAt">When it was there first.</param>
/// <param name="UpdatedAt">When it was written last.</param>
public sealed record ArtifactRow(
    string ArtifactId, string SessionId, string RunId, string Path, string Sha256, long Bytes, int Version, string MediaType, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt);

/// <summary>
/// The artifacts' read model; and what a run made, folded from the events that concern it and from nothing else: <c>GET /runs/{id}/artifacts</c>, and a
/// bundle's <c>artifacts</c>.
/// </summary>
public static class Artifacts
{
    const string Type = "artifact_discovered.v1";

    public static ReadModel<ArtifactRow> Model { get; } = new(
        "artifacts", Artifact.Aggregate.Name, RowJson.Default.ArtifactRow, Evolve, Scope: row => Ids.SessionKey(row.SessionId));

    public static ArtifactRow? Evolve(ArtifactRow? row, RecordedEvent e) => e.Event switch
    {
        ArtifactDiscovered d => new(
            d.ArtifactId, d.SessionId, d.RunId, d.Path, d.Sha256, d.Bytes, d.Version, d.MediaType, row?.CreatedAt ?? e.At, e.At),
        _ => row,
    };

    /// <summary>Writes an array, oldest first, of <c>{artifact_id, session_id, run_id, path, sha256, bytes, version, media_type, created_at}</c>.</summary>
    public static void Write(Utf8JsonWriter json, IEnumerable<FeedEntry> ofRun)
    {
        json.WriteStartArray();
        foreach (var artifact in In(ofRun))
        {
            artifact.WriteTo(json);
        }
        json.WriteEndArray();
    }

    /// <summary>The artifacts that a run's events tell of, oldest first.</summary>
    internal static IEnumerable<JsonObject> In(IEnumerable<FeedEntry> ofRun) =>
        ofRun.Where(e => e.Type == Type).Select(e => Of(JsonNode.Parse(e.Data.Span)!.AsObject(), HashChain.Timestamp(e.At)));

    /// <summary>The artifact that an event of a bundle tells of; null when it tells of something else.</summary>
    internal static JsonObject? In(JsonObject e) => (string?)e["type"] == Type && e["data"] is JsonObject data ? Of(data, (string)e["ts"]!) : null;

    static JsonObject Of(JsonObject data, string at)
    {
        var artifact = data.DeepClone().AsObject();
        artifact["created_at"] = at;
        return artifact;
    }
}

/// <summary>A version of an artifact as <c>GET /artifacts/{id}/versions</c> shows it: a content that never changes.</summary>
/// <param name="RunId">The run that wrote it first.</param>
public sealed record ArtifactVersionRow(string ArtifactId, int Version, string Sha256, long Bytes, string MediaType, string RunId, DateTimeOffset CreatedAt);

/// <summary>The versions' read model: a row for each content in a row.</summary>
public static class ArtifactVersions
{
    public static ReadModel<ArtifactVersionRow> Model { get; } = new(
        "artifact_versions", Artifact.Aggregate.Name, RowJson.Default.ArtifactVersionRow, Evolve,
        Scope: row => Ids.Key(row.ArtifactId, "art"),
        Key: e => e.Event is ArtifactDiscovered d ? KeyOf(e.Stream[(Artifact.Aggregate.Name.Length + 1)..], d.Version) : null);

    /// <param name="artifact">Key of the artifact.</param>
    public static string KeyOf(string artifact, int version) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{artifact}.{version}");

    public static ArtifactVersionRow? Evolve(ArtifactVersionRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        // The same content again, by a later run, is the version that is there.
        (ArtifactDiscovered d, null) => new(d.ArtifactId, d.Version, d.Sha256, d.Bytes, d.MediaType, d.RunId, e.At),
        (_, _) => row,
    };
}
