using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a cell of a scratchpad.</summary>
[JsonConverter(typeof(KeyConverter<CellKey>))]
public readonly record struct CellKey(string Value) : IKey<CellKey>
{
    const string IdPrefix = "cell_";

    public static string Noun => "cell";

    public static string FieldName => "cell_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static CellKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>cell_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static CellKey? Parse(string id) => Ids.Key(id, "cell") is { } key ? new(key) : null;

    public static CellKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(CellKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
