using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a group. Its session has a key of the same value.</summary>
[JsonConverter(typeof(KeyConverter<GroupKey>))]
public readonly record struct GroupKey(string Value) : IKey<GroupKey>
{
    const string IdPrefix = "grp_";

    public static string Noun => "group";

    public static string FieldName => "group_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    /// <summary>The session in whose feed the group's conversation stands.</summary>
    public SessionKey Session => new(Value);

    public static GroupKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>grp_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static GroupKey? Parse(string id) => Ids.Key(id, "grp") is { } key ? new(key) : null;

    public static GroupKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(GroupKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
