using System.Collections.Immutable;

using static Cowork.Domain.ProjectCommand;
using static Cowork.Domain.ProjectEvent;

namespace Cowork.Domain;

/// <summary>Commands to a project of contract B.</summary>
public abstract record ProjectCommand(DateTimeOffset Now)
{
    public sealed record Create(ProjectKey ProjectId, ProjectDefinition Definition, DateTimeOffset Now) : ProjectCommand(Now);

    /// <param name="Definition">The complete definition, including unchanged members.</param>
    public sealed record Change(ProjectDefinition Definition, DateTimeOffset Now) : ProjectCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : ProjectCommand(Now);
}

public abstract record ProjectEvent(DateTimeOffset At) : Event(At)
{
    public sealed record ProjectCreated(ProjectKey ProjectId, ProjectDefinition Definition, DateTimeOffset At) : ProjectEvent(At);

    /// <param name="Definition">The complete definition after the change.</param>
    public sealed record ProjectChanged(ProjectDefinition Definition, DateTimeOffset At) : ProjectEvent(At);

    /// <summary>The project takes no more conversations and turns. Its conversations are being deleted.</summary>
    public sealed record ProjectDeleted(DateTimeOffset At) : ProjectEvent(At);
}

/// <summary>What a client says of a project.</summary>
/// <param name="ConnectorIds">Connections that its conversations may use, as the client named them.</param>
/// <param name="SkillIds">Skills for all of its conversations. They existed when they were named.</param>
/// <param name="Model">The model of turns that name none; null: the session's, or else the host's default.</param>
public sealed record ProjectDefinition(
    string Name, string? Description, ImmutableList<string> ConnectorIds, ImmutableList<SkillKey> SkillIds, string? Model)
{
    public bool Equals(ProjectDefinition? other) =>
        other is not null && (Name, Description, Model) == (other.Name, other.Description, other.Model)
        && ConnectorIds.SequenceEqual(other.ConnectorIds) && SkillIds.SequenceEqual(other.SkillIds);

    public override int GetHashCode() => HashCode.Combine(Name, Description, Model, ConnectorIds.Count, SkillIds.Count);
}

/// <summary>
/// A workspace that groups conversations. The built-in project <see cref="ProjectKey.General"/> has no stream: it is there for every tenant and never changes.
/// </summary>
public abstract record Project
{
    public sealed record None : Project;

    public sealed record Live(ProjectKey ProjectId, ProjectDefinition Definition) : Project;

    public sealed record Deleted : Project;

    public static Aggregate<ProjectKey, ProjectCommand, ProjectEvent, Project> Aggregate { get; } = new("project", new None(), Decide, Evolve);

    public static Decision<ProjectEvent> Decide(ProjectCommand command, Project state) => (command, state) switch
    {
        (Create { ProjectId.IsGeneral: true }, _) => BuiltIn,
        (Create c, None) => new ProjectCreated(c.ProjectId, c.Definition, c.Now),
        (Create c, Live s) when s.ProjectId == c.ProjectId => Decision<ProjectEvent>.Nothing,
        (Change c, Live s) when s.Definition == c.Definition => Decision<ProjectEvent>.Nothing,
        (Change c, Live) => new ProjectChanged(c.Definition, c.Now),
        (Delete c, Live) => new ProjectDeleted(c.Now),
        _ => Refusal.NotFound("project"),
    };

    public static Project Evolve(Project state, ProjectEvent e) => (e, state) switch
    {
        (ProjectCreated c, _) => new Live(c.ProjectId, c.Definition),
        (ProjectChanged c, Live s) => s with { Definition = c.Definition },
        (ProjectDeleted, Live) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>The refusal of a change to the built-in project.</summary>
    public static Refusal BuiltIn { get; } = Refusal.Conflict("project_built_in", "The project \"General\" is built in: it is neither changed nor deleted.");
}
