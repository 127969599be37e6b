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
        foreach (var entry in ofRun.Where(e => e.Type == Type))
        {
            Of(JsonNode.Parse(entry.Data.Span)!.AsObject(), HashChain.Timestamp(entry.At)).WriteTo(json);
        }
        json.WriteEndArray();
    }

    /// <summary>The artifact that an event of a bundle tells of; null when it tells of something else.</summary>
    internal static JsonObject? In(JsonObject e) => (string?)e["type"] == Type && e["data"] is JsonObject data ? Of(data, (string)e["ts"]!) : null;

    static JsonObject Of(JsonObject data, string at)
    {
        var artifact = data.DeepClone().AsObject();
        artifact["created_at"] = at;
        return artifact;
    }
}
