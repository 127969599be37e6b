using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>What a run made, folded from the events that concern it and from nothing else: <c>GET /runs/{id}/artifacts</c>, and a bundle's <c>artifacts</c>.</summary>
public static class Artifacts
{
    const string Type = "artifact_discovered.v1";

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
