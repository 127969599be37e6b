using System.Collections.Immutable;

using static Cowork.Domain.SecurityEvent;

namespace Cowork.Domain;

/// <summary>What is written down of who came in, who did not, and what was taken out.</summary>
public enum SecurityKind
{
    /// <summary>A token let requests in.</summary>
    Granted,

    /// <summary>Requests came without credentials, or with none that are worth anything.</summary>
    Refused,

    /// <summary>Who was let in asked for what they may not.</summary>
    Denied,

    /// <summary>A bundle, or the bytes of an artifact, went out.</summary>
    Exported,
}

/// <summary>Equal occurrences, folded into one.</summary>
/// <param name="Actor">The principal; null: nobody was let in. <c>*</c>: several, of more than are told apart.</param>
/// <param name="Token">The token of the tenant that was sent; null: none.</param>
/// <param name="Address">Of the client; <c>*</c>: several, of more than are told apart.</param>
/// <param name="What">Why it was refused, the code of the denial, or the kind of thing that went out; null for a grant.</param>
/// <param name="Of">The request, or the id of the thing; <c>*</c>: several, of more than are told apart.</param>
/// <param name="Roles">Of the principal; null for a refusal.</param>
public sealed record SecurityNote(
    SecurityKind Kind, string? Actor, TokenKey? Token, string Address, string? What, string? Of, ImmutableList<string>? Roles, long Count, DateTimeOffset FirstAt,
    DateTimeOffset LastAt);

/// <summary>Commands to a day of security events.</summary>
public abstract record SecurityCommand(DateTimeOffset Now);

/// <param name="Notes">Not empty.</param>
public sealed record RecordSecurity(ImmutableList<SecurityNote> Notes, DateTimeOffset Now) : SecurityCommand(Now);

/// <summary>Lets the data of the day's events expire.</summary>
public sealed record ExpireSecurity(ExpiredEvents Expired, DateTimeOffset Now) : SecurityCommand(Now);

/// <summary>The data is gone.</summary>
public sealed record FinishSecurityExpiry(long Events, string TombstonesSha256, DateTimeOffset Now) : SecurityCommand(Now), IExpiryCommand;

/// <summary>Security events of a tenant, each of one or more equal occurrences between two times.</summary>
public abstract record SecurityEvent(DateTimeOffset At) : Event(At)
{
    public sealed record AccessGranted(
        string Actor, TokenKey? TokenId, string Address, ImmutableList<string> Roles, long Count, DateTimeOffset FirstAt, DateTimeOffset LastAt, DateTimeOffset At)
        : SecurityEvent(At);

    /// <param name="Reason">
    /// <c>no_credentials</c>, <c>unknown</c>, <c>wrong_secret</c>, <c>expired</c> or <c>foreign_address</c>; of an authority's token also <c>bad_algorithm</c>,
    /// <c>bad_signature</c>, <c>foreign_issuer</c>, <c>foreign_audience</c>, <c>unknown_user</c> or <c>unknown_org</c>; of a signed request the code of the answer.
    /// </param>
    /// <param name="TokenId">Null: no token of the tenant was sent.</param>
    public sealed record AccessRefused(
        string Reason, TokenKey? TokenId, string Address, long Count, DateTimeOffset FirstAt, DateTimeOffset LastAt, DateTimeOffset At) : SecurityEvent(At);

    /// <param name="Code">As in the answer: <c>role_missing</c>, <c>four_eyes</c> and the like.</param>
    /// <param name="Request">Method and route.</param>
    public sealed record AccessDenied(
        string Actor, TokenKey? TokenId, string Address, ImmutableList<string> Roles, string Code, string Request, long Count, DateTimeOffset FirstAt, DateTimeOffset LastAt,
        DateTimeOffset At) : SecurityEvent(At);

    /// <param name="What"><c>trace</c>, <c>session_trace</c>, <c>artifact</c>, <c>group</c> or <c>events</c>.</param>
    /// <param name="Id">Of the run, the session, the artifact or the group; of events the period, for example <c>2026-01-01T00:00:00.000Z/..</c>.</param>
    public sealed record DataExported(
        string Actor, TokenKey? TokenId, string Address, ImmutableList<string> Roles, string What, string Id, long Count, DateTimeOffset FirstAt, DateTimeOffset LastAt,
        DateTimeOffset At) : SecurityEvent(At);

    /// <summary>The data of the day's events expired.</summary>
    public sealed record SecurityExpired(ExpiredEvents Expired, DateTimeOffset At) : SecurityEvent(At), IExpiryEvent;

    /// <summary>The data is gone.</summary>
    public sealed record SecurityRemoved(long Events, DateTimeOffset At, string? TombstonesSha256 = null) : SecurityEvent(At), IRemovalEvent;
}

/// <summary>What became of a day's events.</summary>
public enum DayExpiry
{
    /// <summary>They are kept.</summary>
    None,

    /// <summary>Their data may be removed.</summary>
    Expired,

    /// <summary>It is gone.</summary>
    Removed,
}

/// <summary>The security events of a tenant on a day (UTC): nothing is decided by them, so the state is how many there are, and what became of them.</summary>
public sealed record SecurityDay(long Events, DayExpiry Expiry = DayExpiry.None)
{
    public static Aggregate<DayKey, SecurityCommand, SecurityEvent, SecurityDay> Aggregate { get; } = new("security", new(0), Decide, Evolve);

    public static Decision<SecurityEvent> Decide(SecurityCommand command, SecurityDay state) => (command, state.Expiry) switch
    {
        (RecordSecurity c, _) => Decision<SecurityEvent>.Of([.. c.Notes.Select(note => EventOf(note, c.Now))]),
        (ExpireSecurity c, DayExpiry.None) when state.Events > 0 => new SecurityExpired(c.Expired, c.Now),
        (FinishSecurityExpiry c, DayExpiry.Expired) => new SecurityRemoved(c.Events, c.Now, c.TombstonesSha256),
        _ => Decision<SecurityEvent>.Nothing,
    };

    static SecurityDay Evolve(SecurityDay state, SecurityEvent e) => e switch
    {
        SecurityExpired => state with { Expiry = DayExpiry.Expired },
        SecurityRemoved => state with { Expiry = DayExpiry.Removed },
        AccessGranted or AccessRefused or AccessDenied or DataExported => state with { Events = state.Events + 1 },
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    static SecurityEvent EventOf(SecurityNote n, DateTimeOffset now) => n.Kind switch
    {
        SecurityKind.Granted => new AccessGranted(n.Actor!, n.Token, n.Address, n.Roles!, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Refused => new AccessRefused(n.What!, n.Token, n.Address, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Denied => new AccessDenied(n.Actor!, n.Token, n.Address, n.Roles!, n.What!, n.Of!, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Exported => new DataExported(n.Actor!, n.Token, n.Address, n.Roles!, n.What!, n.Of!, n.Count, n.FirstAt, n.LastAt, now),
        _ => throw new System.Diagnostics.UnreachableException(n.Kind.ToString()),
    };
}
