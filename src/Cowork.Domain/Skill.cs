using System.Collections.Immutable;

using static Cowork.Domain.SkillCommand;
using static Cowork.Domain.SkillEvent;

namespace Cowork.Domain;

/// <summary>Commands to a skill: A's prompt template, B's instructions and tools, one thing under both contracts.</summary>
public abstract record SkillCommand(DateTimeOffset Now)
{
    public sealed record Create(string SkillId, SkillDefinition Definition, DateTimeOffset Now) : SkillCommand(Now);

    /// <param name="Definition">The whole of the new version, also what stays as it was.</param>
    public sealed record AddVersion(SkillDefinition Definition, DateTimeOffset Now) : SkillCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : SkillCommand(Now);
}

public abstract record SkillEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>The skill with its version 1.</summary>
    public sealed record SkillCreated(string SkillId, SkillDefinition Definition, DateTimeOffset At) : SkillEvent(At);

    public sealed record SkillVersionAdded(int Version, SkillDefinition Definition, DateTimeOffset At) : SkillEvent(At);

    public sealed record SkillDeleted(DateTimeOffset At) : SkillEvent(At);
}

/// <summary>What a version of a skill says. Either of template and instructions may be null, and both.</summary>
/// <param name="Name">As <see cref="Skill.IsName"/> has it.</param>
/// <param name="Metadata">The client's own JSON object, as text, so that it comes back as it came.</param>
/// <param name="PromptTemplate">A's: becomes a turn's message. Text that <see cref="SkillTemplate.Parse"/> takes.</param>
/// <param name="RequiredParams">The template's parameters, sorted; empty without a template.</param>
/// <param name="Instructions">B's: put before the model while the skill is active.</param>
/// <param name="Tools">B's: the only tools of a run while the skill is active; empty: all.</param>
public sealed record SkillDefinition(
    string Name, string Description, string Metadata, Content? PromptTemplate, ImmutableList<string> RequiredParams, Content? Instructions, ImmutableList<string> Tools);

/// <param name="Version">From 1.</param>
public sealed record SkillVersion(int Version, SkillDefinition Definition, DateTimeOffset At);

/// <summary>A reusable prompt: versions that never change, of which a run names the one that it used.</summary>
public abstract record Skill
{
    public sealed record None : Skill;

    /// <param name="Versions">All of them, version 1 first.</param>
    public sealed record Live(string SkillId, ImmutableList<SkillVersion> Versions) : Skill
    {
        public SkillVersion Latest => Versions[^1];
    }

    public sealed record Deleted : Skill;

    public static Aggregate<SkillCommand, SkillEvent, Skill> Aggregate { get; } = new("skill", new None(), Decide, Evolve);

    /// <summary>True for <c>[A-Za-z0-9_-]{1,64}</c>.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and <= Limits.SkillNameCharsMax && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-');

    public static Decision<SkillEvent> Decide(SkillCommand command, Skill state) => (command, state) switch
    {
        (Create c, None) => new SkillCreated(c.SkillId, c.Definition, c.Now),
        (Create c, Live s) when s.SkillId == c.SkillId => Decision<SkillEvent>.Nothing,
        (AddVersion, Live s) when s.Versions.Count >= Limits.SkillVersionsMax =>
            Refusal.Conflict("skill_versions_full", $"A skill has at most {Limits.SkillVersionsMax} versions."),
        (AddVersion c, Live s) => new SkillVersionAdded(s.Latest.Version + 1, c.Definition, c.Now),
        (Delete c, Live) => new SkillDeleted(c.Now),
        _ => Refusal.NotFound("skill"),
    };

    public static Skill Evolve(Skill state, SkillEvent e) => (e, state) switch
    {
        (SkillCreated c, _) => new Live(c.SkillId, [new(1, c.Definition, c.At)]),
        (SkillVersionAdded v, Live s) => s with { Versions = s.Versions.Add(new(v.Version, v.Definition, v.At)) },
        (SkillDeleted, Live) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>The version that is to be run by its template, or why there is none.</summary>
    /// <param name="number">Null: the latest.</param>
    public static (SkillVersion? Version, Refusal? Refused) ToRun(Skill state, int? number) => state switch
    {
        Live s when (number is { } n ? s.Versions.Find(v => v.Version == n) : s.Latest) is { } version => version.Definition.PromptTemplate is not null
            ? (version, null)
            : (null, Refusal.Invalid("skill_without_template", "$.version", $"Version {version.Version} of the skill has no prompt template.")),
        Live => (null, Refusal.NotFound("version of the skill")),
        _ => (null, Refusal.NotFound("skill")),
    };
}
