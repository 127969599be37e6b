using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a project. Refused: it names a skill or a connection that does not exist.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateProject(ProjectKey Project, ProjectDefinition Definition, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await ProjectParts.Unknown(work, Definition.SkillIds, Definition.ConnectorIds)
            ?? await work.Do(Domain.Project.Aggregate, Project, new ProjectCommand.Create(Project, Definition, work.Now));
        return Header is null ? refused : await Header.Claim(work, Domain.Project.Aggregate, Project) ?? refused;
    }
}

/// <summary>The members of a project that a client changes.</summary>
/// <param name="Name">Null: as it is.</param>
/// <param name="ConnectorIds">Null: as they are.</param>
/// <param name="SkillIds">Null: as they are.</param>
public sealed record ProjectChange(
    string? Name, Optional<string> Description, ImmutableList<string>? ConnectorIds, ImmutableList<SkillKey>? SkillIds, Optional<string> Model)
{
    public ProjectDefinition ApplyTo(ProjectDefinition before) => new(
        Name ?? before.Name, Description.Or(before.Description), ConnectorIds ?? before.ConnectorIds, SkillIds ?? before.SkillIds, Model.Or(before.Model));
}

/// <summary>Changes a project. Refused: it names a skill or a connection that does not exist, or is the built-in one.</summary>
public sealed record ChangeProject(ProjectKey Project, ProjectChange Change, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Apply(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Project.Aggregate, Project) ?? refused;
    }

    async ValueTask<Refusal?> Apply(UnitOfWork work) => Project.IsGeneral ? Domain.Project.BuiltIn
        : await work.State(Domain.Project.Aggregate, Project) is not Domain.Project.Live before ? Refusal.NotFound("project")
        : await ProjectParts.Unknown(work, Change.SkillIds ?? [], Change.ConnectorIds ?? [])
            ?? await work.Do(Domain.Project.Aggregate, Project, new ProjectCommand.Change(Change.ApplyTo(before.Definition), work.Now));
}

/// <summary>
/// Deletes a project. From this commit on no conversation begins in it and no turn is accepted there; <see cref="ProjectDeletion"/> deletes its conversations, by the
/// request itself or, when that does not come to its end, by a job.
/// </summary>
public sealed record DeleteProject(ProjectKey Project) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (Project.IsGeneral)
        {
            return Domain.Project.BuiltIn;
        }
        if (await work.Do(Domain.Project.Aggregate, Project, new ProjectCommand.Delete(work.Now)) is { } refused)
        {
            return refused;
        }
        work.Start(new Storage.Job(ProjectDeletion.JobKind, Project.Value, work.Now + ProjectDeletion.TakenOverAfter));
        return null;
    }
}

static class ProjectParts
{
    /// <summary>Refuses skills and connections that do not exist; null: all exist.</summary>
    public static async ValueTask<Refusal?> Unknown(UnitOfWork work, ImmutableList<SkillKey> skills, ImmutableList<string> connections)
    {
        for (var i = 0; i < skills.Count; i++)
        {
            if (await work.PinnedState(Skill.Aggregate, skills[i]) is not Skill.Live)
            {
                return Refusal.Invalid("unknown_skill", $"$.skill_ids[{i}]", $"There is no skill {skills[i]}.");
            }
        }
        var unknown = new List<int>();
        for (var i = 0; i < connections.Count; i++)
        {
            if (ConnectionKey.Parse(connections[i]) is not { } key || await work.PinnedState(Connection.Aggregate, key) is not Connection.Live)
            {
                unknown.Add(i);
            }
        }
        return unknown.Count == 0 ? null : Refusal.Invalid(
            "unknown_connection", $"$.connector_ids[{unknown[0]}]",
            $"There is no such connection: {string.Join(", ", unknown.Select(i => VisibleText.Of(connections[i])))}.");
    }
}
