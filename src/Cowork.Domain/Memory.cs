using System.Text.Json.Serialization;

using static Cowork.Domain.MemoryCommand;
using static Cowork.Domain.MemoryEvent;

namespace Cowork.Domain;

public abstract record MemoryCommand(DateTimeOffset Now)
{
    /// <summary>Creates or replaces the memory.</summary>
    /// <param name="Kind"><c>session_summary</c>, <c>learning</c> or <c>memory</c>.</param>
    /// <param name="RunId">The run that it came from.</param>
    /// <param name="Event">The event of that run that it was derived from.</param>
    /// <param name="Notes">The result of asking a model for notes; null: no model was asked.</param>
    public sealed record Write(
        MemoryKey MemoryId, string Kind, Content Text, SessionKey SessionId, RunKey RunId, DateTimeOffset Now, EventRef? Event = null, ModelNotes? Notes = null)
        : MemoryCommand(Now);
}

public abstract record MemoryEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Event">The event of the run that it was derived from.</param>
    /// <param name="Notes">The result of asking a model for notes; null: no model was asked.</param>
    public sealed record MemoryWritten(
        MemoryKey MemoryId, string Kind, Content Text, [property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey SessionId, RunKey RunId, DateTimeOffset At,
        EventRef? Event = null, ModelNotes? Notes = null)
        : MemoryEvent(At);
}

/// <summary>A reference to an event by its stream and version.</summary>
public sealed record EventRef(string StreamId, long Version);

/// <summary>The result of asking a run's model for notes.</summary>
/// <param name="RequestSha256">Digest of the canonical request; the request itself follows from the run's events.</param>
/// <param name="CostMicroUsd">Cost in micro-USD; null: the model has no price.</param>
/// <param name="Failure">Why a rule extracted the note instead; null: the model wrote it.</param>
/// <param name="UsageEstimated">True: tokens that the provider did not report are estimated from the text. Null: it reported all.</param>
public sealed record ModelNotes(
    string Model, string RequestSha256, long InputTokens, long OutputTokens, long? CostMicroUsd, RunError? Failure = null, bool? UsageEstimated = null);

/// <summary>A memory across runs: a session summary, a learning, or a fact that the agent was told to remember.</summary>
public abstract record Memory
{
    public sealed record None : Memory;

    public sealed record Kept(string Kind, Content Text, RunKey RunId) : Memory;

    public static Aggregate<MemoryKey, MemoryCommand, MemoryEvent, Memory> Aggregate { get; } = new("memory", new None(), Decide, Evolve);

    public static Decision<MemoryEvent> Decide(MemoryCommand command, Memory state) => (command, state) switch
    {
        (Write c, Kept k) when k.RunId == c.RunId && k.Text == c.Text => Decision<MemoryEvent>.Nothing,
        (Write c, _) => new MemoryWritten(c.MemoryId, c.Kind, c.Text, c.SessionId, c.RunId, c.Now, c.Event, c.Notes),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static Memory Evolve(Memory state, MemoryEvent e) => e switch
    {
        MemoryWritten w => new Kept(w.Kind, w.Text, w.RunId),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
