using static Cowork.Domain.MemoryCommand;
using static Cowork.Domain.MemoryEvent;

namespace Cowork.Domain;

public abstract record MemoryCommand(DateTimeOffset Now)
{
    /// <summary>Writes the memory, or writes it anew.</summary>
    /// <param name="Kind"><c>session_summary</c>, <c>learning</c> or <c>memory</c>.</param>
    /// <param name="RunId">The run that it came from.</param>
    public sealed record Write(string MemoryId, string Kind, Content Text, string SessionId, string RunId, DateTimeOffset Now) : MemoryCommand(Now);
}

public abstract record MemoryEvent(DateTimeOffset At) : Event(At)
{
    public sealed record MemoryWritten(string MemoryId, string Kind, Content Text, string SessionId, string RunId, DateTimeOffset At) : MemoryEvent(At);
}

/// <summary>Something to remember across runs: what a session was about, what was learned, or what the agent was told to keep.</summary>
public abstract record Memory
{
    public sealed record None : Memory;

    public sealed record Kept(string Kind, Content Text, string RunId) : Memory;

    public static Aggregate<MemoryCommand, MemoryEvent, Memory> Aggregate { get; } = new("memory", new None(), Decide, Evolve);

    public static Decision<MemoryEvent> Decide(MemoryCommand command, Memory state) => (command, state) switch
    {
        (Write c, Kept k) when k.RunId == c.RunId && k.Text == c.Text => Decision<MemoryEvent>.Nothing,
        (Write c, _) => new MemoryWritten(c.MemoryId, c.Kind, c.Text, c.SessionId, c.RunId, c.Now),
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static Memory Evolve(Memory state, MemoryEvent e) => e switch
    {
        MemoryWritten w => new Kept(w.Kind, w.Text, w.RunId),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
