using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a work of contract E.</summary>
[JsonConverter(typeof(KeyConverter<WorkKey>))]
public readonly record struct WorkKey(string Value) : IKey<WorkKey>
{
    const string IdPrefix = "work_";

    public static string Noun => "work";

    public static string FieldName => "work_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static WorkKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>work_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static WorkKey? Parse(string id) => Ids.Key(id, "work") is { } key ? new(key) : null;

    public static WorkKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(WorkKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
