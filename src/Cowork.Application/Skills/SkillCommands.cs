using System.Collections.Immutable;
using System.Text.Json.Serialization;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Makes a skill with its version 1, or answers that there is one of this name.</summary>
/// <param name="Key">Of the skill's stream.</param>
/// <param name="Header">Claimed together with the skill's beginning.</param>
public sealed record CreateSkill(string Key, SkillDefinition Definition, RequestKey? Header = null) : ICommand
{
    internal const string NameKind = "skill";

    public string SkillId => $"skill_{Key}";

    /// <summary>Makes what the request is answered with, kept for who sends it again; it is given the time of the skill's beginning.</summary>
    [JsonIgnore]
    public Func<DateTimeOffset, ValueTask<StoredAnswer>>? Answer { get; init; }

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var answer = Answer is null ? null : await Answer(work.Now);
        if (Header is not null && await Header.Claim(work, null, answer) is { } claimed)
        {
            return claimed;
        }
        return await ClaimName(work, Definition.Name, SkillId)
            ?? await work.Do(Skill.Aggregate, Key, new SkillCommand.Create(SkillId, Definition, work.Now));
    }

    internal static ValueTask<Refusal?> ClaimName(UnitOfWork work, string name, string skillId) => work.Do(
        UniqueName.Aggregate, UniqueName.StreamKey(NameKind, name), new UniqueNameCommand.Claim(NameKind, name, skillId, work.Now));

    internal static ValueTask<Refusal?> ReleaseName(UnitOfWork work, string name, string skillId) => work.Do(
        UniqueName.Aggregate, UniqueName.StreamKey(NameKind, name), new UniqueNameCommand.Release(skillId, work.Now));
}

/// <summary>What a new version says otherwise than the one before; null: the same.</summary>
/// <param name="RequiredParams">Those of <paramref name="PromptTemplate"/>.</param>
public sealed record SkillChange(
    string? Name = null, string? Description = null, string? Metadata = null, Content? PromptTemplate = null, ImmutableList<string>? RequiredParams = null,
    Content? Instructions = null, ImmutableList<string>? Tools = null)
{
    public SkillDefinition Of(SkillDefinition before) => new(
        Name ?? before.Name, Description ?? before.Description, Metadata ?? before.Metadata, PromptTemplate ?? before.PromptTemplate,
        RequiredParams ?? before.RequiredParams, Instructions ?? before.Instructions, Tools ?? before.Tools);
}

/// <summary>Adds a version to a skill.</summary>
/// <param name="Key">Of the skill's stream.</param>
public sealed record AddSkillVersion(string Key, SkillChange Change, RequestKey? Header = null) : ICommand
{
    /// <summary>Makes what the request is answered with, kept for who sends it again.</summary>
    [JsonIgnore]
    public Func<SkillVersion, ValueTask<StoredAnswer>>? Answer { get; init; }

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Add(work);
        var stored = refused is null && Answer is not null && await work.State(Skill.Aggregate, Key) is Skill.Live skill ? await Answer(skill.Latest) : null;
        // A key that was used before speaks first, whatever became of the skill since.
        return Header is null ? refused : await Header.Claim(work, null, stored) ?? refused;
    }

    async ValueTask<Refusal?> Add(UnitOfWork work)
    {
        if (await work.State(Skill.Aggregate, Key) is not Skill.Live { SkillId: var id, Latest.Definition: var before })
        {
            return Refusal.NotFound("skill");
        }
        var after = Change.Of(before);
        if (after.Name != before.Name
            && (await CreateSkill.ClaimName(work, after.Name, id) ?? await CreateSkill.ReleaseName(work, before.Name, id)) is { } refused)
        {
            return refused;
        }
        return await work.Do(Skill.Aggregate, Key, new SkillCommand.AddVersion(after, work.Now));
    }
}

/// <summary>Deletes a skill; its name is free again. Runs that used it still say which version it was.</summary>
/// <param name="Key">Of the skill's stream.</param>
public sealed record DeleteSkill(string Key) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Skill.Aggregate, Key);
        return await work.Do(Skill.Aggregate, Key, new SkillCommand.Delete(work.Now))
            ?? (before is Skill.Live { SkillId: var id, Latest.Definition.Name: var name } ? await CreateSkill.ReleaseName(work, name, id) : null);
    }
}
