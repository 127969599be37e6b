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

/// <param name="Notes">Not empty.</param>
public sealed record RecordSecurity(ImmutableList<SecurityNote> Notes, DateTimeOffset Now);

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
}

/// <summary>The security events of a tenant on a day (UTC): nothing is decided by them, so the state is only how many there are.</summary>
public sealed record SecurityDay(long Events)
{
    public static Aggregate<DayKey, RecordSecurity, SecurityEvent, SecurityDay> Aggregate { get; } =
        new("security", new(0), Decide, static (state, _) => new(state.Events + 1));

    public static Decision<SecurityEvent> Decide(RecordSecurity command, SecurityDay state) =>
        Decision<SecurityEvent>.Of([.. command.Notes.Select(note => EventOf(note, command.Now))]);

    static SecurityEvent EventOf(SecurityNote n, DateTimeOffset now) => n.Kind switch
    {
        SecurityKind.Granted => new AccessGranted(n.Actor!, n.Token, n.Address, n.Roles!, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Refused => new AccessRefused(n.What!, n.Token, n.Address, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Denied => new AccessDenied(n.Actor!, n.Token, n.Address, n.Roles!, n.What!, n.Of!, n.Count, n.FirstAt, n.LastAt, now),
        SecurityKind.Exported => new DataExported(n.Actor!, n.Token, n.Address, n.Roles!, n.What!, n.Of!, n.Count, n.FirstAt, n.LastAt, now),
        _ => throw new System.Diagnostics.UnreachableException(n.Kind.ToString()),
    };
}
