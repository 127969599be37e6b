using static Cowork.Domain.GroupSessionCommand;
using static Cowork.Domain.GroupSessionEvent;

namespace Cowork.Domain;

public abstract record GroupSessionCommand(DateTimeOffset Now)
{
    /// <inheritdoc cref="GroupSessionOpened"/>
    public sealed record Open(GroupKey GroupId, string Kid, string User, string App, DateTimeOffset ExpiresAt, DateTimeOffset Now) : GroupSessionCommand(Now);

    /// <inheritdoc cref="GroupCleanedUp"/>
    public sealed record CleanUp(string? Reason, DateTimeOffset Now) : GroupSessionCommand(Now);
}

public abstract record GroupSessionEvent(DateTimeOffset At) : Event(At)
{
    /// <summary>Whoever has the private half of this key acts as the group's controller until the session ends.</summary>
    /// <param name="Kid">The thumbprint of the session's public key (RFC 7638, SHA-256, base64url).</param>
    /// <param name="User">The member for whom the app opened it.</param>
    /// <param name="App">Id of the app: <c>support-desk@acme</c>.</param>
    public sealed record GroupSessionOpened(GroupKey GroupId, string Kid, string User, string App, DateTimeOffset ExpiresAt, DateTimeOffset At) : GroupSessionEvent(At);

    /// <summary>The group's controller is done: its key and certificate are worth nothing from now on. Runs that it began go on.</summary>
    /// <param name="Reason">As the controller gave it; null: it gave none.</param>
    public sealed record GroupCleanedUp(GroupKey GroupId, string Kid, [property: Personal] string? Reason, DateTimeOffset At) : GroupSessionEvent(At);
}

/// <summary>A session of a group's controller: a key pair, of which the private half is shown once and kept nowhere.</summary>
public abstract record GroupSession
{
    public sealed record None : GroupSession;

    public sealed record Live(GroupKey GroupId, string Kid, string User, string App, DateTimeOffset ExpiresAt) : GroupSession;

    public sealed record Closed : GroupSession;

    /// <summary>The refusal of what a session that was closed asks for.</summary>
    public static Refusal IsClosed { get; } = new("session_closed", 401, "The controller's session was closed by a cleanup. Let the app open another one.");

    public static Aggregate<DigestKey, GroupSessionCommand, GroupSessionEvent, GroupSession> Aggregate { get; } = new("group_session", new None(), Decide, Evolve);

    public static DigestKey StreamKey(string kid) => new(Ids.KeyOf(kid));

    public static Decision<GroupSessionEvent> Decide(GroupSessionCommand command, GroupSession state) => (command, state) switch
    {
        (Open c, None) => new GroupSessionOpened(c.GroupId, c.Kid, c.User, c.App, c.ExpiresAt, c.Now),
        (Open, _) => Decision<GroupSessionEvent>.Nothing,
        (CleanUp c, Live s) => new GroupCleanedUp(s.GroupId, s.Kid, c.Reason, c.Now),
        (CleanUp, Closed) => Decision<GroupSessionEvent>.Nothing,
        _ => Refusal.NotFound("group session"),
    };

    public static GroupSession Evolve(GroupSession state, GroupSessionEvent e) => e switch
    {
        GroupSessionOpened o => new Live(o.GroupId, o.Kid, o.User, o.App, o.ExpiresAt),
        GroupCleanedUp => new Closed(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
