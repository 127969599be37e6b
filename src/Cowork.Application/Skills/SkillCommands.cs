using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a skill with version 1. Refused: another skill has the name.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateSkill(SkillKey Skill, SkillDefinition Definition, RequestKey? Header = null) : ICommand
{
    internal const string NameKind = "skill";

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await ClaimName(work, Definition.Name, Skill)
            ?? await work.Do(Domain.Skill.Aggregate, Skill, new SkillCommand.Create(Skill, Definition, work.Now));
        return Header is null ? refused : await Header.Claim(work, Domain.Skill.Aggregate, Skill) ?? refused;
    }

    internal static ValueTask<Refusal?> ClaimName(UnitOfWork work, string name, SkillKey skill) => work.Do(
        UniqueName.Aggregate, UniqueName.StreamKey(NameKind, name), new UniqueNameCommand.Claim(NameKind, name, skill.Id, work.Now));

    internal static ValueTask<Refusal?> ReleaseName(UnitOfWork work, string name, SkillKey skill) => work.Do(
        UniqueName.Aggregate, UniqueName.StreamKey(NameKind, name), new UniqueNameCommand.Release(skill.Id, work.Now));
}

/// <summary>The members that a new version changes; null or left out: unchanged.</summary>
/// <param name="RequiredParams">The parameters of <paramref name="PromptTemplate"/>.</param>
public sealed record SkillChange(
    string? Name = null, string? Description = null, string? Metadata = null, Content? PromptTemplate = null, ImmutableList<string>? RequiredParams = null,
    Optional<Content> Instructions = default, ImmutableList<string>? Tools = null)
{
    public SkillDefinition ApplyTo(SkillDefinition before) => new(
        Name ?? before.Name, Description ?? before.Description, Metadata ?? before.Metadata, PromptTemplate ?? before.PromptTemplate,
        RequiredParams ?? before.RequiredParams, Instructions.Or(before.Instructions), Tools ?? before.Tools);
}

/// <summary>Adds a version to a skill.</summary>
/// <param name="OnlyIfDifferent">True: a version that says the same as the latest is not added.</param>
public sealed record AddSkillVersion(SkillKey Skill, SkillChange Change, RequestKey? Header = null, bool OnlyIfDifferent = false) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Add(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Skill.Aggregate, Skill) ?? refused;
    }

    async ValueTask<Refusal?> Add(UnitOfWork work)
    {
        if (await work.State(Domain.Skill.Aggregate, Skill) is not Skill.Live { Latest.Definition: var before })
        {
            return Refusal.NotFound("skill");
        }
        var after = Change.ApplyTo(before);
        if (after.Name != before.Name
            && (await CreateSkill.ClaimName(work, after.Name, Skill) ?? await CreateSkill.ReleaseName(work, before.Name, Skill)) is { } refused)
        {
            return refused;
        }
        return await work.Do(Domain.Skill.Aggregate, Skill, OnlyIfDifferent ? new SkillCommand.Change(after, work.Now) : new SkillCommand.AddVersion(after, work.Now));
    }
}

/// <summary>Deletes a skill and frees its name. Runs that used it still record the version.</summary>
public sealed record DeleteSkill(SkillKey Skill) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Domain.Skill.Aggregate, Skill);
        return await work.Do(Domain.Skill.Aggregate, Skill, new SkillCommand.Delete(work.Now))
            ?? (before is Skill.Live { Latest.Definition.Name: var name } ? await CreateSkill.ReleaseName(work, name, Skill) : null);
    }
}
