using System.Collections.Immutable;

using static Cowork.Domain.ApiTokenCommand;
using static Cowork.Domain.ApiTokenEvent;

namespace Cowork.Domain;

public abstract record ApiTokenCommand(DateTimeOffset Now)
{
    /// <param name="SecretSha256">Hex SHA-256 of the secret, which is shown once and never stored.</param>
    /// <param name="User">The principal of the token.</param>
    /// <param name="Roles">A subset of <see cref="ApiToken.Roles"/>.</param>
    public sealed record Issue(TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, DateTimeOffset Now) : ApiTokenCommand(Now);

    public sealed record Revoke(DateTimeOffset Now) : ApiTokenCommand(Now);
}

public abstract record ApiTokenEvent(DateTimeOffset At) : Event(At)
{
    public sealed record TokenIssued(TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, DateTimeOffset At) : ApiTokenEvent(At);

    public sealed record TokenRevoked(DateTimeOffset At) : ApiTokenEvent(At);
}

/// <summary>A bearer token of the REST API.</summary>
public abstract record ApiToken
{
    /// <summary>The roles of contracts/decisions.md, "Who may call".</summary>
    public static ImmutableList<string> Roles { get; } = ["admin", "approver", "member", "auditor"];

    public sealed record None : ApiToken;

    public sealed record Valid : ApiToken;

    public sealed record Revoked : ApiToken;

    public static Aggregate<TokenKey, ApiTokenCommand, ApiTokenEvent, ApiToken> Aggregate { get; } = new("token", new None(), Decide, Evolve);

    public static Decision<ApiTokenEvent> Decide(ApiTokenCommand command, ApiToken state) => (command, state) switch
    {
        (Issue { Roles.Count: 0 }, None) => Refusal.Invalid("roles_required", "$.roles", "A token needs at least one role."),
        (Issue c, None) when c.Roles.FirstOrDefault(r => !Roles.Contains(r)) is { } unknown =>
            Refusal.Invalid("unknown_role", "$.roles", $"There is no role \"{unknown}\"; the roles are {string.Join(", ", Roles)}."),
        (Issue c, None) => new TokenIssued(c.TokenId, c.Name, c.User, c.Roles, c.SecretSha256, c.Now),
        (Issue, _) => Decision<ApiTokenEvent>.Nothing,
        (Revoke c, Valid) => new TokenRevoked(c.Now),
        _ => Refusal.NotFound("token"),
    };

    public static ApiToken Evolve(ApiToken state, ApiTokenEvent e) => e switch
    {
        TokenIssued => new Valid(),
        TokenRevoked => new Revoked(),
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };
}
