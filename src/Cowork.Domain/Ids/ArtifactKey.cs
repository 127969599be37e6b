using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names an artifact: one path of one session.</summary>
[JsonConverter(typeof(KeyConverter<ArtifactKey>))]
public readonly record struct ArtifactKey(string Value) : IKey<ArtifactKey>
{
    const string IdPrefix = "art_";

    public static string Noun => "artifact";

    public static string FieldName => "artifact_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static ArtifactKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>art_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ArtifactKey? Parse(string id) => Ids.Key(id, "art") is { } key ? new(key) : null;

    public static ArtifactKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ArtifactKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
