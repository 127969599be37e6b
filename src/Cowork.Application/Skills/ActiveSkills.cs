using System.Collections.Immutable;
using System.Text;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The skills that a turn asks for, beside those of its project.</summary>
/// <param name="Ids">Each must exist.</param>
/// <param name="Name">The name that the message begins with, as <see cref="Skill.NameAskedFor"/> reads it; without a skill of that name the message is text. Null: none.</param>
public sealed record SkillSelection(ImmutableList<SkillKey> Ids, string? Name);

/// <summary>Finds the skills that are active in a run, with the versions that are the latest when its turn is accepted.</summary>
static class ActiveSkills
{
    /// <summary>
    /// The project's skills, then the one that the message names, then those that the request names, each once; null: none. A skill of the project that was deleted
    /// since is left out. Refused: the request names a skill that does not exist, or the instructions are too long together.
    /// </summary>
    public static async ValueTask<(ImmutableList<ActiveSkill>? Skills, Refusal? Refused)> Of(UnitOfWork work, ProjectDefinition? project, SkillSelection? asked)
    {
        var active = ImmutableList.CreateBuilder<ActiveSkill>();
        foreach (var skill in project?.SkillIds ?? [])
        {
            await Add(skill);
        }
        if (asked?.Name is { } name
            && await work.PinnedState(UniqueName.Aggregate, UniqueName.StreamKey(CreateSkill.NameKind, name)) is UniqueName.Taken { Owner: var owner })
        {
            await Add(SkillKey.FromId(owner));
        }
        foreach (var (place, skill) in (asked?.Ids ?? []).Index())
        {
            if (!await Add(skill))
            {
                return (null, Refusal.Invalid("unknown_skill", $"$.skill_ids[{place}]", $"There is no skill {skill}."));
            }
        }
        return active.Sum(skill => skill.Instructions is Content.Inline { Text: var text } ? (long)Encoding.UTF8.GetByteCount(text) : 0) > Limits.ActiveInstructionsBytesMax
            ? (null, Refusal.Invalid(
                "instructions_too_long", "$.skill_ids", $"The instructions of the turn's skills have more than {Limits.ActiveInstructionsBytesMax} bytes together."))
            : (active.Count == 0 ? null : active.ToImmutable(), null);

        async ValueTask<bool> Add(SkillKey key)
        {
            if (await work.PinnedState(Skill.Aggregate, key) is not Skill.Live { Latest: var latest } skill)
            {
                return false;
            }
            if (active.All(other => other.Id != skill.SkillId))
            {
                active.Add(Of(skill.SkillId, latest));
            }
            return true;
        }
    }

    /// <summary>A version of a skill as a run has it.</summary>
    public static ActiveSkill Of(SkillKey key, SkillVersion version) => new(
        key, version.Definition.Name, version.Version, version.Definition.Instructions, version.Definition.Tools.IsEmpty ? null : version.Definition.Tools);
}
