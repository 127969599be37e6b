using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a memory.</summary>
[JsonConverter(typeof(KeyConverter<MemoryKey>))]
public readonly record struct MemoryKey(string Value) : IKey<MemoryKey>
{
    const string IdPrefix = "mem_";

    public static string Noun => "memory";

    public static string FieldName => "memory_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static MemoryKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>mem_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static MemoryKey? Parse(string id) => Ids.Key(id, "mem") is { } key ? new(key) : null;

    public static MemoryKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(MemoryKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
