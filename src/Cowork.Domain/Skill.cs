using System.Collections.Immutable;

using static Cowork.Domain.SkillCommand;
using static Cowork.Domain.SkillEvent;

namespace Cowork.Domain;

/// <summary>Commands to a skill, which has a prompt template in contract A and instructions and tools in contract B.</summary>
public abstract record SkillCommand(DateTimeOffset Now)
{
    public sealed record Create(SkillKey SkillId, SkillDefinition Definition, DateTimeOffset Now) : SkillCommand(Now);

    /// <param name="Definition">The complete new version, including unchanged members.</param>
    public sealed record AddVersion(SkillDefinition Definition, DateTimeOffset Now) : SkillCommand(Now);

    /// <summary>Adds a version when it says something else than the latest.</summary>
    /// <param name="Definition">The complete definition, including unchanged members.</param>
    public sealed record Change(SkillDefinition Definition, DateTimeOffset Now) : SkillCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : SkillCommand(Now);
}

public abstract record SkillEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>The skill was created with version 1.</summary>
    public sealed record SkillCreated(SkillKey SkillId, SkillDefinition Definition, DateTimeOffset At) : SkillEvent(At);

    public sealed record SkillVersionAdded(int Version, SkillDefinition Definition, DateTimeOffset At) : SkillEvent(At);

    public sealed record SkillDeleted(DateTimeOffset At) : SkillEvent(At);
}

/// <summary>The content of a skill's version. Template and instructions may both be null.</summary>
/// <param name="Name">A name that <see cref="Skill.IsName"/> accepts.</param>
/// <param name="Metadata">The client's JSON object as text, so that it returns unchanged.</param>
/// <param name="PromptTemplate">Contract A: the template of a turn's message, in the syntax of <see cref="SkillTemplate.Parse"/>.</param>
/// <param name="RequiredParams">The template's parameters, sorted; empty without a template.</param>
/// <param name="Instructions">Contract B: part of the prompt while the skill is active.</param>
/// <param name="Tools">Contract B: the only tools of a run while the skill is active; empty: all tools.</param>
public sealed record SkillDefinition(
    string Name, string Description, string Metadata, Content? PromptTemplate, ImmutableList<string> RequiredParams, Content? Instructions, ImmutableList<string> Tools)
{
    public bool Equals(SkillDefinition? other) =>
        other is not null
        && (Name, Description, Metadata, PromptTemplate, Instructions) == (other.Name, other.Description, other.Metadata, other.PromptTemplate, other.Instructions)
        && RequiredParams.SequenceEqual(other.RequiredParams) && Tools.SequenceEqual(other.Tools);

    public override int GetHashCode() => HashCode.Combine(Name, Description, Metadata, PromptTemplate, Instructions, RequiredParams.Count, Tools.Count);
}

/// <summary>A version of a skill.</summary>
/// <param name="Version">Number, from 1.</param>
public sealed record SkillVersion(int Version, SkillDefinition Definition, DateTimeOffset At);

/// <summary>A reusable prompt with immutable versions. Each run records the version that it used.</summary>
public abstract record Skill
{
    public sealed record None : Skill;

    /// <param name="Versions">All versions, version 1 first.</param>
    public sealed record Live(SkillKey SkillId, ImmutableList<SkillVersion> Versions) : Skill
    {
        public SkillVersion Latest => Versions[^1];
    }

    public sealed record Deleted : Skill;

    public static Aggregate<SkillKey, SkillCommand, SkillEvent, Skill> Aggregate { get; } = new("skill", new None(), Decide, Evolve);

    /// <summary>Code of a refusal, 400: a request names a version below 1.</summary>
    public const string InvalidVersion = "invalid_version";

    /// <summary>True for <c>[A-Za-z0-9_-]{1,64}</c>.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and <= Limits.SkillNameCharsMax && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-');

    /// <summary>True for kebab case: lower-case letters and digits in words that single hyphens join, at most 64 characters. Contract B gives such names alone.</summary>
    public static bool IsKebabCase(string text) =>
        IsName(text) && text.Split('-').All(word => word.Length > 0 && word.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c)));

    /// <summary>The name in <c>/name args…</c>, with which a message asks for a skill; null: the message does not begin like that.</summary>
    public static string? NameAskedFor(string message)
    {
        if (!message.StartsWith('/'))
        {
            return null;
        }
        var end = message.AsSpan().IndexOfAny([' ', '\t', '\r', '\n']);
        var name = end < 0 ? message[1..] : message[1..end];
        return IsName(name) ? name : null;
    }

    public static Decision<SkillEvent> Decide(SkillCommand command, Skill state) => (command, state) switch
    {
        (Create c, None) => new SkillCreated(c.SkillId, c.Definition, c.Now),
        (Create c, Live s) when s.SkillId == c.SkillId => Decision<SkillEvent>.Nothing,
        (Change c, Live s) when s.Latest.Definition == c.Definition => Decision<SkillEvent>.Nothing,
        (AddVersion or Change, Live s) when s.Versions.Count >= Limits.SkillVersionsMax =>
            Refusal.Conflict("skill_versions_full", $"A skill has at most {Limits.SkillVersionsMax} versions."),
        (AddVersion c, Live s) => new SkillVersionAdded(s.Latest.Version + 1, c.Definition, c.Now),
        (Change c, Live s) => new SkillVersionAdded(s.Latest.Version + 1, c.Definition, c.Now),
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

    /// <summary>The version to run by its template, or why it cannot run.</summary>
    /// <param name="number">Null: the latest version.</param>
    public static (SkillVersion? Version, Refusal? Refused) ToRun(Skill state, int? number) => state switch
    {
        _ when number < 1 => (null, new(InvalidVersion, 400, "A version is a whole number from 1.")),
        Live s when (number is { } n ? s.Versions.Find(v => v.Version == n) : s.Latest) is { } version => version.Definition.PromptTemplate is not null
            ? (version, null)
            : (null, Refusal.Invalid("skill_without_template", "$.version", $"Version {version.Version} of the skill has no prompt template.")),
        Live => (null, Refusal.NotFound("version of the skill")),
        _ => (null, Refusal.NotFound("skill")),
    };
}
