using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.SkillEvent;

namespace Cowork.Projections;

/// <summary>A skill as <c>GET /skills</c> and <c>GET /skills/{id}</c> show it: its latest version.</summary>
public sealed record SkillRow(SkillKey SkillId, int LatestVersion, SkillDefinition Definition, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>The read model of skills. A deleted skill has no row.</summary>
public static class Skills
{
    public static ReadModel<SkillRow> Model { get; } = new("skills", Skill.Aggregate.Name, RowJson.Default.SkillRow, Evolve)
    {
        Lists = RowLists.OfTenant,
        OwnerMember = "created_by",
        Form = 2,
    };

    public static SkillRow? Evolve(SkillRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (SkillCreated c, _) => new(c.SkillId, 1, c.Definition, e.Actor, e.At, e.At),
        (_, null) => null,
        (SkillVersionAdded v, { } r) => r with { LatestVersion = v.Version, Definition = v.Definition, UpdatedAt = e.At },
        (SkillDeleted, _) => null,
        (_, { } r) => r,
    };
}

/// <summary>A version of a skill as <c>GET /skills/{id}/versions</c> shows it. It never changes.</summary>
public sealed record SkillVersionRow(SkillKey SkillId, int Version, SkillDefinition Definition, DateTimeOffset CreatedAt);

/// <summary>The read model of skill versions. The versions of a deleted skill stay, because runs refer to them; no endpoint shows them.</summary>
public static class SkillVersions
{
    public static ReadModel<SkillVersionRow> Model { get; } = new(
        "skill_versions", Skill.Aggregate.Name, RowJson.Default.SkillVersionRow, Evolve,
        Scope: row => row.SkillId.Value,
        Key: e => e.Event switch
        {
            SkillCreated => KeyOf(new(Skill.Aggregate.KeyOf(e.Stream)), 1),
            SkillVersionAdded v => KeyOf(new(Skill.Aggregate.KeyOf(e.Stream)), v.Version),
            _ => null,
        })
    {
        Lists = RowLists.ByScope,
        OwnerMember = "skill_id",
        StreamKey = row => row.SkillId.Value,
    };

    /// <summary>Key of the row.</summary>
    public static string KeyOf(SkillKey skill, int version) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{skill.Value}.{version}");

    public static SkillVersionRow? Evolve(SkillVersionRow? row, RecordedEvent e) => e.Event switch
    {
        SkillCreated c => new(c.SkillId, 1, c.Definition, e.At),
        SkillVersionAdded v => new(new(Skill.Aggregate.KeyOf(e.Stream)), v.Version, v.Definition, e.At),
        _ => row,
    };
}
