using static Cowork.Domain.ArtifactCommand;
using static Cowork.Domain.ArtifactEvent;

namespace Cowork.Domain;

public abstract record ArtifactCommand(DateTimeOffset Now)
{
    /// <summary>Records that a run, or a cell of a scratchpad, has written the file.</summary>
    /// <param name="RunId">Null: no run did.</param>
    /// <param name="Path">Path relative to the session's folder.</param>
    /// <param name="Sha256">Hex SHA-256 of the content in the blob store.</param>
    /// <param name="Type">One of <see cref="ArtifactTypes"/>; null: as the path says.</param>
    /// <param name="Title">What the content calls itself; null: nothing.</param>
    /// <param name="Project">The session's project; null: the built-in one.</param>
    public sealed record Discover(
        ArtifactKey ArtifactId, SessionKey SessionId, RunKey? RunId, string Path, string Sha256, long Bytes, string MediaType, DateTimeOffset Now, string? Type = null,
        string? Title = null, ProjectKey? Project = null) : ArtifactCommand(Now);
}

public abstract record ArtifactEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="RunId">Null: a cell of a scratchpad wrote it for a client, or the scratchpad itself was kept.</param>
    /// <param name="Version">Version of the content at this path in this session, from 1. The same content written by a later run keeps the version.</param>
    /// <param name="Type">One of <see cref="ArtifactTypes"/>; null in events of earlier releases: as the path says.</param>
    /// <param name="Title">What the content calls itself; null: nothing, or the event is of an earlier release.</param>
    /// <param name="Project">The session's project; null: the built-in one.</param>
    public sealed record ArtifactDiscovered(
        ArtifactKey ArtifactId, SessionKey SessionId, RunKey? RunId, [property: Personal] string Path, [property: Personal(PersonalAttribute.Digest)] string Sha256, long Bytes,
        int Version, string MediaType, DateTimeOffset At, string? Type = null, [property: Personal] string? Title = null, ProjectKey? Project = null) : ArtifactEvent(At);
}

/// <summary>A file that a session's runs and cells write below its output root. Each path is one artifact; each change of its content is a version.</summary>
public abstract record Artifact
{
    public sealed record None : Artifact;

    public sealed record Kept(RunKey? RunId, string Sha256, int Version) : Artifact;

    public static Aggregate<ArtifactKey, ArtifactCommand, ArtifactEvent, Artifact> Aggregate { get; } = new("artifact", new None(), Decide, Evolve);

    /// <summary>Key of the artifact at a path of a session.</summary>
    public static ArtifactKey KeyOf(SessionKey session, string path) => new(Ids.KeyOf($"artifact {session.Id} {path}"));

    public static Decision<ArtifactEvent> Decide(ArtifactCommand command, Artifact state) => (command, state) switch
    {
        (Discover c, Kept k) when k.RunId == c.RunId && k.Sha256 == c.Sha256 => Decision<ArtifactEvent>.Nothing,
        (Discover c, Kept k) => Discovered(c, k.Sha256 == c.Sha256 ? k.Version : k.Version + 1),
        (Discover c, _) => Discovered(c, 1),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static Artifact Evolve(Artifact state, ArtifactEvent e) => e switch
    {
        ArtifactDiscovered d => new Kept(d.RunId, d.Sha256, d.Version),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    static ArtifactDiscovered Discovered(Discover c, int version) =>
        new(c.ArtifactId, c.SessionId, c.RunId, c.Path, c.Sha256, c.Bytes, version, c.MediaType, c.Now, c.Type, c.Title, c.Project);
}
