namespace Cowork.Domain;

/// <summary>What happened, as a fact of one stream. The time is the envelope's: it is stored beside the data, not in it.</summary>
public abstract record Event(DateTimeOffset At);

/// <summary>An expected "no". <paramref name="Code"/> is stable snake_case (docs/errors.md), <paramref name="Status"/> the HTTP status that it answers with.</summary>
public sealed record Refusal(string Code, int Status, string Detail)
{
    /// <summary>Where in the request the fault lies, as a JSON path, when there is one place.</summary>
    public string? Path { get; init; }

    /// <summary>The id of the thing that stands in the way, when the caller can go and look at it.</summary>
    public string? Existing { get; init; }

    public static Refusal Conflict(string code, string detail) => new(code, 409, detail);

    public static Refusal Invalid(string code, string path, string detail) => new(code, 422, detail) { Path = path };

    public static Refusal NotFound(string what) => new("not_found", 404, $"There is no such {what}.");

    public static Refusal TooMany(string code, string detail) => new(code, 429, detail);
}

/// <summary>The outcome of a decision: events to append (none: the command was already done), or a refusal.</summary>
public sealed record Decision<TEvent>(IReadOnlyList<TEvent> Events, Refusal? Refused)
    where TEvent : Event
{
    public static Decision<TEvent> Nothing { get; } = new([], null);

    public static Decision<TEvent> Of(params IReadOnlyList<TEvent> events) => new(events, null);

    public static implicit operator Decision<TEvent>(TEvent e) => new([e], null);

    public static implicit operator Decision<TEvent>(Refusal refused) => new([], refused);
}

/// <summary>An aggregate: how a command is judged against a state, and how an event changes the state. Both are pure.</summary>
/// <param name="Name">The first part of its streams' names: <c>run</c> in <c>run-01h…</c>.</param>
public sealed record Aggregate<TCommand, TEvent, TState>(
    string Name,
    TState Initial,
    Func<TCommand, TState, Decision<TEvent>> Decide,
    Func<TState, TEvent, TState> Evolve)
    where TEvent : Event
{
    public string Stream(string key) => $"{Name}-{key}";
}
