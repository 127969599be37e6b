using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a skill with all its versions.</summary>
[JsonConverter(typeof(KeyConverter<SkillKey>))]
public readonly record struct SkillKey(string Value) : IKey<SkillKey>
{
    const string IdPrefix = "skill_";

    public static string Noun => "skill";

    public static string FieldName => "skill_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static SkillKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>skill_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static SkillKey? Parse(string id) => Ids.Key(id, "skill") is { } key ? new(key) : null;

    public static SkillKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(SkillKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
