using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a bearer token; the secret is no part of it.</summary>
[JsonConverter(typeof(KeyConverter<TokenKey>))]
public readonly record struct TokenKey(string Value) : IKey<TokenKey>
{
    const string IdPrefix = "token_";

    public static string Noun => "token";

    public static string FieldName => "token_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static TokenKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>token_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static TokenKey? Parse(string id) => Ids.Key(id, "token") is { } key ? new(key) : null;

    public static TokenKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(TokenKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
