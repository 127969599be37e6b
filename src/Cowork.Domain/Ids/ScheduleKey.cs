using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a schedule.</summary>
[JsonConverter(typeof(KeyConverter<ScheduleKey>))]
public readonly record struct ScheduleKey(string Value) : IKey<ScheduleKey>
{
    const string IdPrefix = "sched_";

    public static string Noun => "scheduled run";

    public static string FieldName => "schedule_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    public static ScheduleKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>sched_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static ScheduleKey? Parse(string id) => Ids.Key(id, "sched") is { } key ? new(key) : null;

    public static ScheduleKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(ScheduleKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
