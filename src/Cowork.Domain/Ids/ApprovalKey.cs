using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names an approval that a run waits for.</summary>
[JsonConverter(typeof(KeyConverter<ApprovalKey>))]
public readonly record struct ApprovalKey(string Value) : IKey<ApprovalKey>
{
    const string IdPrefix = "appr_";

    public static string Noun => "approval";

    public static string FieldName => "approval_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static ApprovalKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>appr_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ApprovalKey? Parse(string id) => Ids.Key(id, "appr") is { } key ? new(key) : null;

    public static ApprovalKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ApprovalKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
