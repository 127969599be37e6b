namespace Cowork.Domain;

/// <summary>A fact of one stream. Its time is stored beside the data, not in it.</summary>
public abstract record Event(DateTimeOffset At);

/// <summary>An expected refusal. <paramref name="Code"/> is stable snake_case (docs/errors.md), <paramref name="Status"/> the HTTP status of the answer.</summary>
public sealed record Refusal(string Code, int Status, string Detail)
{
    /// <summary>JSON path of the fault in the request; null: it has no single place.</summary>
    public string? Path { get; init; }

    /// <summary>Id of the object that causes the conflict; null: none that the caller may read.</summary>
    public string? Existing { get; init; }

    /// <summary>What is not there any more; null: the refusal is another one.</summary>
    public string? Missing { get; init; }

    public static Refusal Conflict(string code, string detail) => new(code, 409, detail);

    public static Refusal Invalid(string code, string path, string detail) => new(code, 422, detail) { Path = path };

    public static Refusal NotFound(string what) => new("not_found", 404, $"There is no such {what}.");

    public static Refusal Expired(string what) =>
        new("expired", 410, $"The {what} expired: its period of retention is over, and what it held is being removed, or is gone.") { Missing = what };

    public static Refusal TooMany(string code, string detail) => new(code, 429, detail);
}

/// <summary>The outcome of a command: events to append (none: a no-op), or a refusal.</summary>
public sealed record Decision<TEvent>(IReadOnlyList<TEvent> Events, Refusal? Refused)
    where TEvent : Event
{
    public static Decision<TEvent> Nothing { get; } = new([], null);

    public static Decision<TEvent> Of(params IReadOnlyList<TEvent> events) => new(events, null);

    public static implicit operator Decision<TEvent>(TEvent e) => new([e], null);

    public static implicit operator Decision<TEvent>(Refusal refused) => new([], refused);
}

/// <summary>An aggregate: the pure functions that decide a command on a state and that apply an event to a state.</summary>
/// <param name="Name">Prefix of its streams' names: <c>run</c> in <c>run-01h…</c>.</param>
public sealed record Aggregate<TKey, TCommand, TEvent, TState>(
    string Name,
    TState Initial,
    Func<TCommand, TState, Decision<TEvent>> Decide,
    Func<TState, TEvent, TState> Evolve)
    where TKey : struct, IStreamKey
    where TEvent : Event
{
    /// <summary>Bytes of a state that forgets its events, so that a long stream's weighs no more than a short one's. Null: it weighs as much as its events.</summary>
    public Func<TState, long>? SizeOf { get; init; }

    /// <summary>
    /// Of a stream whose past is the beginning of another one: that stream and the version up to which it is. The fold of the stream begins with the state there. Null: no
    /// stream has another's past, or this one has not.
    /// </summary>
    public Func<TEvent, (TKey Key, long Version)?>? PastOf { get; init; }

    public string Stream(TKey key) => $"{Name}-{key.Value}";

    /// <summary>The bare key in the name of one of its streams.</summary>
    public string KeyOf(string stream) => stream[(Name.Length + 1)..];
}
