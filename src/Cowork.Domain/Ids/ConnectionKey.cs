using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a connection to an outside source.</summary>
[JsonConverter(typeof(KeyConverter<ConnectionKey>))]
public readonly record struct ConnectionKey(string Value) : IKey<ConnectionKey>
{
    const string IdPrefix = "conn_";

    public static string Noun => "connection";

    public static string FieldName => "connection_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static ConnectionKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>conn_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ConnectionKey? Parse(string id) => Ids.Key(id, "conn") is { } key ? new(key) : null;

    public static ConnectionKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ConnectionKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
