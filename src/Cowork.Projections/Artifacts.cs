using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.ArtifactEvent;

namespace Cowork.Projections;

/// <summary>An artifact as <c>GET /artifacts/{id}</c> and <c>GET /api/v1/artifacts/{id}</c> show it: its latest version.</summary>
/// <param name="RunId">The run that wrote it last; null: a cell of a scratchpad did.</param>
/// <param name="CreatedAt">Time of the first version.</param>
/// <param name="UpdatedAt">Time of the last write.</param>
/// <param name="Type">One of <see cref="ArtifactTypes"/>.</param>
/// <param name="Title">What the content calls itself, else the file's name.</param>
/// <param name="Owner">Key of the session: a row of a deleted one is not shown.</param>
/// <param name="Project">Null: the built-in one.</param>
public sealed record ArtifactRow(
    ArtifactKey ArtifactId, SessionKey SessionId, RunKey? RunId, string Path, string Sha256, long Bytes, int Version, string MediaType, DateTimeOffset CreatedAt,
    DateTimeOffset UpdatedAt, string Type, string Title, string Owner, ProjectKey? Project = null);

/// <summary>
/// The read model of artifacts: of the tenant, of a project, and those at one path of a project, which is a row's status in the table. Beside it, the artifacts of one
/// run, folded from that run's events only: <c>GET /runs/{id}/artifacts</c> and a bundle's <c>artifacts</c>.
/// </summary>
public static class Artifacts
{
    public static ReadModel<ArtifactRow> Model { get; } = new(
        "artifacts", Artifact.Aggregate.Name, RowJson.Default.ArtifactRow, Evolve, Scope: row => (row.Project ?? ProjectKey.General).Value, Status: row => PlaceOf(row.Path))
    {
        Lists = RowLists.OfTenant | RowLists.ByScope | RowLists.ByScopeAndStatus,
        Form = 2,
    };

    /// <summary>The artifacts of sessions that were not deleted, newest first.</summary>
    /// <param name="project">Null: of any project.</param>
    /// <param name="type">One of <see cref="ArtifactTypes"/>; null: any.</param>
    public static RowQuery Query(ProjectKey? project, string? type, int limit) => new(project?.Value, Limit: limit, Bytes: PageBytes.Max)
    {
        Owner = Living,
        Having = type is null ? null : ("type", type),
    };

    /// <summary>The artifacts at a path of a project: each session that wrote there has one.</summary>
    /// <param name="path">Relative to the session's folder.</param>
    public static RowQuery At(ProjectKey project, string path, int limit) => new(project.Value, PlaceOf(path), limit) { Owner = Living };

    static RowOwner Living => new("owner", Sessions.Model.Table);

    /// <summary>A path as an index holds it, however long it is.</summary>
    static string PlaceOf(string path) => Ids.KeyOf($"path {path}");

    public static ArtifactRow? Evolve(ArtifactRow? row, RecordedEvent e) => e.Event switch
    {
        ArtifactDiscovered d => new(
            d.ArtifactId, d.SessionId, d.RunId, d.Path, d.Sha256, d.Bytes, d.Version, d.MediaType, row?.CreatedAt ?? e.At, e.At,
            d.Type ?? ArtifactTypes.OfPath(d.Path), d.Title ?? NameOf(d.Path), d.SessionId.Value, d.Project),
        _ => row,
    };

    /// <summary>The last part of a path.</summary>
    public static string NameOf(string path) => path[(path.LastIndexOf('/') + 1)..];

    /// <summary>What an artifact is by the ending of its path, without the dot and as it is written: <c>csv</c>; <c>file</c>: it has none.</summary>
    public static string KindOf(string path)
    {
        var name = NameOf(path);
        return name.LastIndexOf('.') is > 0 and var dot && dot < name.Length - 1 ? name[(dot + 1)..] : "file";
    }

    /// <summary>The artifacts that a run's events record, oldest first, each with its event's time.</summary>
    public static IEnumerable<ArtifactDiscovered> Discovered(IEnumerable<FeedEntry> runEvents) =>
        runEvents.Where(e => e.Is<ArtifactDiscovered>()).Select(e => (ArtifactDiscovered)e.Read());

    /// <summary>
    /// One of them in the form of a bundle: <c>{artifact_id, session_id, run_id, path, sha256, bytes, version, media_type, created_at, id, kind}</c>.
    /// </summary>
    /// <param name="data">Of its event.</param>
    internal static JsonObject DiscoveredIn(JsonObject data, DateTimeOffset at) => Completed(data, HashChain.Timestamp(at));

    static JsonObject Completed(JsonObject artifact, string createdAt)
    {
        artifact["created_at"] = createdAt;
        artifact["id"] = artifact["artifact_id"]?.DeepClone();
        artifact["kind"] = artifact["path"] is JsonValue value && value.TryGetValue<string>(out var path) ? KindOf(path) : null;
        return artifact;
    }
}

/// <summary>The read model of a session's artifacts: what a snapshot of contract C shows.</summary>
public static class SessionArtifacts
{
    public static ReadModel<ArtifactRow> Model { get; } = new(
        "session_artifacts", Artifact.Aggregate.Name, RowJson.Default.ArtifactRow, Artifacts.Evolve, Scope: row => row.Owner)
    {
        Lists = RowLists.ByScope,
    };
}

/// <summary>A version of an artifact as <c>GET /artifacts/{id}/versions</c> shows it. It never changes.</summary>
/// <param name="RunId">The run that wrote it first; null: a cell of a scratchpad did.</param>
public sealed record ArtifactVersionRow(ArtifactKey ArtifactId, int Version, string Sha256, long Bytes, string MediaType, RunKey? RunId, DateTimeOffset CreatedAt);

/// <summary>The read model of artifact versions. Writing the same content twice in a row makes one version.</summary>
public static class ArtifactVersions
{
    public static ReadModel<ArtifactVersionRow> Model { get; } = new(
        "artifact_versions", Artifact.Aggregate.Name, RowJson.Default.ArtifactVersionRow, Evolve,
        Scope: row => row.ArtifactId.Value,
        Key: e => e.Event is ArtifactDiscovered d ? KeyOf(new(Artifact.Aggregate.KeyOf(e.Stream)), d.Version) : null)
    {
        Lists = RowLists.ByScope,
    };

    /// <summary>Key of the row.</summary>
    public static string KeyOf(ArtifactKey artifact, int version) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{artifact.Value}.{version}");

    public static ArtifactVersionRow? Evolve(ArtifactVersionRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        // A later run wrote the same content: its event has the version that exists.
        (ArtifactDiscovered d, null) => new(d.ArtifactId, d.Version, d.Sha256, d.Bytes, d.MediaType, d.RunId, e.At),
        (_, _) => row,
    };
}
