using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a scratchpad of contract B.</summary>
[JsonConverter(typeof(KeyConverter<ScratchpadKey>))]
public readonly record struct ScratchpadKey(string Value) : IKey<ScratchpadKey>
{
    const string IdPrefix = "sp_";

    public static string Noun => "scratchpad";

    public static string FieldName => "scratchpad_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static ScratchpadKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>sp_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ScratchpadKey? Parse(string id) => Ids.Key(id, "sp") is { } key ? new(key) : null;

    public static ScratchpadKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ScratchpadKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
