using System.Collections.Immutable;

using static Cowork.Domain.SessionCommand;
using static Cowork.Domain.SessionEvent;

namespace Cowork.Domain;

/// <summary>Commands to a session. A session is also a conversation and a desktop session: one thing under three contracts.</summary>
public abstract record SessionCommand(DateTimeOffset Now)
{
    /// <param name="SessionId">The id as A shows it: <c>sess_ULID</c>, or the client's own.</param>
    /// <param name="WorkspacePath">Absolute path of the session's folder.</param>
    /// <param name="Metadata">The client's own JSON object, as text, so that it comes back as it came.</param>
    /// <param name="AuthContext">A JSON object as text, for policy; never echoed.</param>
    public sealed record Create(string SessionId, string WorkspacePath, string Metadata, string? AuthContext, DateTimeOffset Now) : SessionCommand(Now);

    /// <summary>Puts a run at the end of the session's queue.</summary>
    /// <param name="WaitingMax">Runs that may wait behind the first.</param>
    public sealed record Enqueue(string RunId, int WaitingMax, DateTimeOffset Now) : SessionCommand(Now);

    /// <summary>Takes an ended run out of the session's queue, wherever it stands.</summary>
    public sealed record Dequeue(string RunId, DateTimeOffset Now) : SessionCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : SessionCommand(Now);
}

public abstract record SessionEvent(DateTimeOffset At) : Event(At)
{
    public sealed record SessionCreated(string SessionId, string WorkspacePath, string Metadata, string? AuthContext, DateTimeOffset At) : SessionEvent(At);

    /// <summary>The run waits for its turn in the session; <paramref name="Ahead"/> runs are before it, 0: it may start.</summary>
    public sealed record RunQueued(string RunId, int Ahead, DateTimeOffset At) : SessionEvent(At);

    /// <summary>The run has ended and the next one, if any, may start.</summary>
    public sealed record RunDequeued(string RunId, string? NextRunId, DateTimeOffset At) : SessionEvent(At);

    public sealed record SessionDeleted(DateTimeOffset At) : SessionEvent(At);
}

/// <summary>One conversation with an agent over one workspace. Its runs go one at a time, in the order of their turns.</summary>
public abstract record Session
{
    public sealed record None : Session;

    /// <param name="Queue">Ids of the runs that have not ended; the first one may run.</param>
    public sealed record Open(string SessionId, string WorkspacePath, string? AuthContext, ImmutableList<string> Queue) : Session;

    /// <summary>Its live runs are being cancelled; what happened stays in the log.</summary>
    public sealed record Deleted(ImmutableList<string> Queue) : Session;

    public static Aggregate<SessionCommand, SessionEvent, Session> Aggregate { get; } = new("session", new None(), Decide, Evolve);

    public static Decision<SessionEvent> Decide(SessionCommand command, Session state) => (command, state) switch
    {
        (Create c, None) => new SessionCreated(c.SessionId, c.WorkspacePath, c.Metadata, c.AuthContext, c.Now),
        (Create c, _) => Refusal.Conflict("session_exists", $"There is, or was, a session {c.SessionId}.") with { Existing = c.SessionId },
        (Enqueue c, Open s) when s.Queue.Contains(c.RunId) => Decision<SessionEvent>.Nothing,
        (Enqueue c, Open s) when s.Queue.Count > c.WaitingMax =>
            Refusal.TooMany("session_queue_full", $"{c.WaitingMax} turns already wait in this session."),
        (Enqueue c, Open s) => new RunQueued(c.RunId, s.Queue.Count, c.Now),
        (Dequeue c, Open s) => Leave(c, s.Queue),
        (Dequeue c, Deleted s) => Leave(c, s.Queue),
        (Delete c, Open) => new SessionDeleted(c.Now),
        _ => Refusal.NotFound("session"),
    };

    public static Session Evolve(Session state, SessionEvent e) => (e, state) switch
    {
        (SessionCreated c, _) => new Open(c.SessionId, c.WorkspacePath, c.AuthContext, []),
        (RunQueued q, Open s) => s with { Queue = s.Queue.Add(q.RunId) },
        (RunDequeued d, Open s) => s with { Queue = s.Queue.Remove(d.RunId) },
        (RunDequeued d, Deleted s) => new Deleted(s.Queue.Remove(d.RunId)),
        (SessionDeleted, Open s) => new Deleted(s.Queue),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    static Decision<SessionEvent> Leave(Dequeue c, ImmutableList<string> queue) => queue.IndexOf(c.RunId) switch
    {
        < 0 => Decision<SessionEvent>.Nothing,
        0 => new RunDequeued(c.RunId, queue.Count > 1 ? queue[1] : null, c.Now),
        // A run cancelled while it waited: nobody's turn has come.
        _ => new RunDequeued(c.RunId, null, c.Now),
    };
}
