using System.Text.Json.Serialization;

namespace Cowork.Domain;

/// <summary>Names a run, which is also a response and a task: one thing under three contracts.</summary>
[JsonConverter(typeof(KeyConverter<RunKey>))]
public readonly record struct RunKey(string Value) : IKey<RunKey>
{
    const string IdPrefix = "run_";

    public static string Noun => "run";

    public static string FieldName => "run_id";

    /// <summary>An id that was read without its prefix is written without it.</summary>
    bool IsBare { get; init; }

    public string Prefix => IsBare ? "" : IdPrefix;

    public string Id => Prefix + Value;

    /// <summary>The id of the response in contract B.</summary>
    public string ResponseId => "resp_" + Value;

    /// <summary>The id of the task in contract C.</summary>
    public string TaskId => "task_" + Value;

    public static RunKey New(DateTimeOffset now) => new(Ids.NewKey(now));

    /// <summary>A <c>run_</c>, <c>resp_</c> or <c>task_</c> id, or the bare ULID. Null: the text is none of them.</summary>
    public static RunKey? Parse(string id) => Ids.Key(id, "run", "resp", "task") is { } key ? new(key) : null;

    public static RunKey FromId(string id) =>
        id.StartsWith(IdPrefix, StringComparison.Ordinal) ? new(id[IdPrefix.Length..]) : new(id) { IsBare = true };

    public bool Equals(RunKey other) => Value == other.Value;

    public override int GetHashCode() => Value.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Id;
}
