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
    /// <param name="Project">The session's project; null: the built-in one.</param>
    public sealed record Write(
        MemoryKey MemoryId, string Kind, Content Text, SessionKey SessionId, RunKey RunId, DateTimeOffset Now, EventRef? Event = null, ModelNotes? Notes = null,
        ProjectKey? Project = null, string? Subject = null)
        : MemoryCommand(Now);

    /// <summary>Keeps a fact that a user states.</summary>
    /// <param name="Project">Null: for every conversation.</param>
    public sealed record Create(MemoryKey MemoryId, Content Text, ProjectKey? Project, DateTimeOffset Now, string? Subject = null) : MemoryCommand(Now);

    /// <summary>Changes the text of a fact.</summary>
    public sealed record Change(Content Text, DateTimeOffset Now) : MemoryCommand(Now);

    /// <summary>Deletes a fact.</summary>
    public sealed record Delete(DateTimeOffset Now) : MemoryCommand(Now);
}

public abstract record MemoryEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Event">The event of the run that it was derived from.</param>
    /// <param name="Notes">The result of asking a model for notes; null: no model was asked.</param>
    /// <param name="Project">The session's project, whose runs alone retrieve it; null: every run may.</param>
    public sealed record MemoryWritten(
        MemoryKey MemoryId, string Kind, Content Text, [property: JsonConverter(typeof(BareSessionKeyConverter))] SessionKey SessionId, RunKey RunId, DateTimeOffset At,
        EventRef? Event = null, ModelNotes? Notes = null, ProjectKey? Project = null, string? Subject = null)
        : MemoryEvent(At);

    /// <summary>A user stated a fact.</summary>
    /// <param name="Project">The project whose runs alone retrieve it; null: every run may.</param>
    public sealed record MemoryCreated(MemoryKey MemoryId, Content Text, ProjectKey? Project, DateTimeOffset At, string? Subject = null) : MemoryEvent(At);

    /// <summary>A user changed the text of a fact, whoever it came from.</summary>
    public sealed record MemoryChanged(Content Text, DateTimeOffset At) : MemoryEvent(At);

    /// <summary>The fact is retrieved no more.</summary>
    public sealed record MemoryDeleted(DateTimeOffset At) : MemoryEvent(At);
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

/// <summary>A memory across runs: a session summary, a learning, or a fact that the agent was told to remember or that a user stated.</summary>
public abstract record Memory
{
    /// <summary>The kind of a fact: the memories of contract B, which alone are changed and deleted.</summary>
    public const string Fact = "memory";

    public sealed record None : Memory;

    /// <param name="RunId">The run that wrote it; null: a user stated it.</param>
    /// <param name="SessionId">The session of that run.</param>
    /// <param name="IsEdited">True: a user changed it after it was written.</param>
    public sealed record Kept(string Kind, Content Text, RunKey? RunId, SessionKey? SessionId = null, bool IsEdited = false, string? Subject = null)
        : Memory, IOfSubject;

    public sealed record Deleted : Memory;

    public static Aggregate<MemoryKey, MemoryCommand, MemoryEvent, Memory> Aggregate { get; } = new("memory", new None(), Decide, Evolve);

    public static Decision<MemoryEvent> Decide(MemoryCommand command, Memory state) => (command, state) switch
    {
        (Write c, Kept k) when k.RunId == c.RunId && k.Text == c.Text => Decision<MemoryEvent>.Nothing,
        // A call that is made once more: what a user has said since stands.
        (Write, Kept { IsEdited: true } or Deleted) => Decision<MemoryEvent>.Nothing,
        (Write c, _) => new MemoryWritten(
            c.MemoryId, c.Kind, c.Text, c.SessionId, c.RunId, c.Now, c.Event, c.Notes, c.Project, c.Subject),
        (Create c, None) => new MemoryCreated(c.MemoryId, c.Text, c.Project, c.Now, c.Subject),
        (Create, Kept) => Decision<MemoryEvent>.Nothing,
        (Change c, Kept { Kind: Fact } k) when k.Text == c.Text => Decision<MemoryEvent>.Nothing,
        (Change c, Kept { Kind: Fact }) => new MemoryChanged(c.Text, c.Now),
        (Delete c, Kept { Kind: Fact }) => new MemoryDeleted(c.Now),
        _ => Refusal.NotFound("memory"),
    };

    public static Memory Evolve(Memory state, MemoryEvent e) => (e, state) switch
    {
        (MemoryWritten w, _) => new Kept(w.Kind, w.Text, w.RunId, w.SessionId, Subject: w.Subject),
        (MemoryCreated c, _) => new Kept(Fact, c.Text, null, Subject: c.Subject),
        (MemoryChanged c, Kept k) => k with { Text = c.Text, IsEdited = true },
        (MemoryDeleted, Kept) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };
}
