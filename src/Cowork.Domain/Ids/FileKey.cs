using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names an uploaded file.</summary>
[JsonConverter(typeof(KeyConverter<FileKey>))]
public readonly record struct FileKey(string Value) : IKey<FileKey>
{
    const string IdPrefix = "file_";

    public static string Noun => "file";

    public static string FieldName => "file_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static FileKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>file_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static FileKey? Parse(string id) => Ids.Key(id, "file") is { } key ? new(key) : null;

    public static FileKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(FileKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
