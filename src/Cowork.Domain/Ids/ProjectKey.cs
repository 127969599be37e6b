using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a project.</summary>
[JsonConverter(typeof(KeyConverter<ProjectKey>))]
public readonly record struct ProjectKey(string Value) : IKey<ProjectKey>
{
    const string IdPrefix = "proj_";

    public static string Noun => "project";

    public static string FieldName => "project_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    /// <summary>The built-in project of every tenant. Conversations without a project belong to it.</summary>
    public static ProjectKey General { get; } = new("00000000000000000000000000");

    public bool IsGeneral => this == General;

    public static ProjectKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>proj_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ProjectKey? Parse(string id) => Ids.Key(id, "proj") is { } key ? new(key) : null;

    public static ProjectKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ProjectKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
