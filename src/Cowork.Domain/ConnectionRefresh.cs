using static Cowork.Domain.ConnectionRefreshCommand;
using static Cowork.Domain.ConnectionRefreshEvent;

namespace Cowork.Domain;

/// <summary>Commands to the refreshing of a connection's tokens (RFC 6749, section 6).</summary>
public abstract record ConnectionRefreshCommand(DateTimeOffset Now)
{
    /// <param name="Revision">Of the connection's credentials that the refresh replaces.</param>
    /// <param name="Holder">Names the attempt: who finds it in the state afterwards does the refresh.</param>
    /// <param name="Until">When nothing has come of it until then, another attempt may begin.</param>
    public sealed record Begin(long Revision, string Holder, DateTimeOffset Until, DateTimeOffset Now) : ConnectionRefreshCommand(Now);

    /// <param name="IsFinal">The source does not take the refresh token any more; false: it could not be asked.</param>
    public sealed record Fail(string Holder, bool IsFinal, DateTimeOffset Now) : ConnectionRefreshCommand(Now);
}

public abstract record ConnectionRefreshEvent(DateTimeOffset At) : Event(At)
{
    public sealed record ConnectionRefreshStarted(long Revision, string Holder, DateTimeOffset Until, DateTimeOffset At) : ConnectionRefreshEvent(At);

    /// <param name="IsFinal">The source does not take the refresh token any more: the user has to agree again.</param>
    public sealed record ConnectionRefreshFailed(long Revision, bool IsFinal, DateTimeOffset At) : ConnectionRefreshEvent(At);
}

/// <summary>
/// Who refreshes a connection's tokens. Of several hosts one does at a time: a source that gives another refresh token with each answer takes the old one, when it comes again,
/// for stolen (RFC 9700, section 4.14.2). A refresh that succeeded shows in the connection's revision.
/// </summary>
public abstract record ConnectionRefresh
{
    public sealed record Idle : ConnectionRefresh;

    public sealed record Running(long Revision, string Holder, DateTimeOffset Until) : ConnectionRefresh;

    /// <summary>The credentials of the revision are worth nothing.</summary>
    public sealed record Spent(long Revision) : ConnectionRefresh;

    public static Aggregate<ConnectionKey, ConnectionRefreshCommand, ConnectionRefreshEvent, ConnectionRefresh> Aggregate { get; } =
        new("refresh", new Idle(), Decide, Evolve);

    public static Decision<ConnectionRefreshEvent> Decide(ConnectionRefreshCommand command, ConnectionRefresh state) => (command, state) switch
    {
        (Begin c, Running s) when s.Revision >= c.Revision && c.Now < s.Until => Decision<ConnectionRefreshEvent>.Nothing,
        (Begin c, Spent s) when s.Revision >= c.Revision => Decision<ConnectionRefreshEvent>.Nothing,
        (Begin c, _) => new ConnectionRefreshStarted(c.Revision, c.Holder, c.Until, c.Now),
        (Fail c, Running s) when s.Holder == c.Holder => new ConnectionRefreshFailed(s.Revision, c.IsFinal, c.Now),
        (Fail, _) => Decision<ConnectionRefreshEvent>.Nothing,
        _ => throw new System.Diagnostics.UnreachableException($"{command.GetType().Name} in {state.GetType().Name}"),
    };

    public static ConnectionRefresh Evolve(ConnectionRefresh state, ConnectionRefreshEvent e) => e switch
    {
        ConnectionRefreshStarted c => new Running(c.Revision, c.Holder, c.Until),
        ConnectionRefreshFailed { IsFinal: true } c => new Spent(c.Revision),
        ConnectionRefreshFailed => new Idle(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
