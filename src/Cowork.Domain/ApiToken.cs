using System.Collections.Immutable;

using static Cowork.Domain.ApiTokenCommand;
using static Cowork.Domain.ApiTokenEvent;

namespace Cowork.Domain;

public abstract record ApiTokenCommand(DateTimeOffset Now)
{
    /// <param name="SecretSha256">Hex SHA-256 of the secret, which is shown once and never stored.</param>
    /// <param name="User">The principal of the token.</param>
    /// <param name="Roles">A subset of <see cref="ApiToken.Roles"/>.</param>
    /// <param name="ExpiresAt">The token is worth nothing from then on; null: it has no end.</param>
    /// <param name="Addresses">Networks (CIDR) that it may be used from; null: any.</param>
    /// <param name="Issuers">The persons behind the token, see <see cref="Issuer"/>; null: the user alone.</param>
    /// <param name="IsOperator">The token is an operator's: it may act for every tenant.</param>
    public sealed record Issue(
        TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, DateTimeOffset Now, DateTimeOffset? ExpiresAt = null,
        ImmutableList<string>? Addresses = null, ImmutableList<Issuer>? Issuers = null, bool IsOperator = false) : ApiTokenCommand(Now);

    /// <summary>Gives the token a new secret. The old one works until the overlap is over.</summary>
    /// <param name="ExpiresAt">Of the token with the new secret; null: it has no end.</param>
    /// <param name="Issuers">Persons who learn the new secret, beside the token's user.</param>
    public sealed record Rotate(string SecretSha256, TimeSpan Overlap, DateTimeOffset? ExpiresAt, ImmutableList<Issuer> Issuers, DateTimeOffset Now) : ApiTokenCommand(Now);

    /// <param name="Roles">All roles that the token has from now on.</param>
    public sealed record ChangeRoles(ImmutableList<string> Roles, DateTimeOffset Now) : ApiTokenCommand(Now);

    public sealed record Revoke(DateTimeOffset Now) : ApiTokenCommand(Now);
}

public abstract record ApiTokenEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="ExpiresAt">Null: the token has no end, as those of earlier releases.</param>
    /// <param name="Issuers">Null: the user alone is behind it, or an earlier release issued it.</param>
    /// <param name="Operator">True: an operator's token. Those that a host made at its start are too, without this.</param>
    public sealed record TokenIssued(
        TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, DateTimeOffset At, DateTimeOffset? ExpiresAt = null,
        ImmutableList<string>? Addresses = null, ImmutableList<Issuer>? Issuers = null, bool? Operator = null) : ApiTokenEvent(At);

    /// <param name="PreviousUntil">The secret before works until then.</param>
    /// <param name="ExpiresAt">Null: the token has no end.</param>
    /// <param name="Issuers">All persons behind the token from now on; null: the user alone.</param>
    public sealed record TokenRotated(
        string SecretSha256, DateTimeOffset PreviousUntil, DateTimeOffset? ExpiresAt, ImmutableList<Issuer>? Issuers, DateTimeOffset At) : ApiTokenEvent(At);

    public sealed record TokenRolesChanged(ImmutableList<string> Roles, DateTimeOffset At) : ApiTokenEvent(At);

    public sealed record TokenRevoked(DateTimeOffset At) : ApiTokenEvent(At);
}

/// <summary>A bearer token of the REST API.</summary>
public abstract record ApiToken
{
    /// <summary>The roles of contracts/decisions.md, "Who may call".</summary>
    public static ImmutableList<string> Roles { get; } = ["admin", "approver", "member", "auditor"];

    public sealed record None : ApiToken;

    /// <param name="ExpiresAt">Null: it has no end.</param>
    /// <param name="Issuers">The persons behind it, beside its user.</param>
    public sealed record Valid(string User, ImmutableList<string> Held, DateTimeOffset? ExpiresAt, ImmutableList<Issuer> Issuers) : ApiToken;

    public sealed record Revoked : ApiToken;

    public static Aggregate<TokenKey, ApiTokenCommand, ApiTokenEvent, ApiToken> Aggregate { get; } = new("token", new None(), Decide, Evolve);

    public static Decision<ApiTokenEvent> Decide(ApiTokenCommand command, ApiToken state) => (command, state) switch
    {
        (Issue { Roles: var roles }, None) when Unfit(roles) is { } unfit => unfit,
        (Issue { ExpiresAt: { } end } c, None) when end <= c.Now => Refusal.Invalid("invalid_expiry", "$.expires_at", "The token would have expired already."),
        (Issue c, None) => new TokenIssued(
            c.TokenId, c.Name, c.User, c.Roles, c.SecretSha256, c.Now, c.ExpiresAt, c.Addresses, c.Issuers is { IsEmpty: false } ? c.Issuers : null, c.IsOperator ? true : null),
        (Issue, _) => Decision<ApiTokenEvent>.Nothing,
        (ApiTokenCommand c, Valid { ExpiresAt: { } end }) when c is not Revoke && end <= c.Now =>
            Refusal.Conflict("token_expired", "The token has expired. Issue another one."),
        (Rotate c, Valid v) => Rotated(c, v),
        (ChangeRoles { Roles: var roles }, Valid) when Unfit(roles) is { } unfit => unfit,
        (ChangeRoles c, Valid v) => c.Roles.ToHashSet().SetEquals(v.Held) ? Decision<ApiTokenEvent>.Nothing : new TokenRolesChanged(c.Roles, c.Now),
        (Revoke c, Valid) => new TokenRevoked(c.Now),
        _ => Refusal.NotFound("token"),
    };

    public static ApiToken Evolve(ApiToken state, ApiTokenEvent e) => (e, state) switch
    {
        (TokenIssued i, _) => new Valid(i.User, i.Roles, i.ExpiresAt, i.Issuers ?? []),
        (TokenRotated r, Valid v) => v with { ExpiresAt = r.ExpiresAt, Issuers = r.Issuers ?? [] },
        (TokenRolesChanged c, Valid v) => v with { Held = c.Roles },
        (TokenRevoked, _) => new Revoked(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    /// <summary>Whether the state is that of a token that works at a time.</summary>
    public static bool IsLiving(ApiToken state, DateTimeOffset now) => state is Valid { ExpiresAt: var end } && !(end <= now);

    static Refusal? Unfit(ImmutableList<string> roles) =>
        roles.IsEmpty ? Refusal.Invalid("roles_required", "$.roles", "A token needs at least one role.")
        : roles.FirstOrDefault(r => !Roles.Contains(r)) is { } unknown
            ? Refusal.Invalid("unknown_role", "$.roles", $"There is no role \"{unknown}\"; the roles are {string.Join(", ", Roles)}.")
        : null;

    /// <summary>The old secret does not outlive the token that it was for.</summary>
    static TokenRotated Rotated(Rotate c, Valid v)
    {
        var until = c.Now + c.Overlap;
        var issuers = Issuer.Union(v.Issuers, c.Issuers, $"user:{v.User}");
        return new(c.SecretSha256, v.ExpiresAt < until ? v.ExpiresAt.Value : until, c.ExpiresAt, issuers.IsEmpty ? null : issuers, c.Now);
    }
}
