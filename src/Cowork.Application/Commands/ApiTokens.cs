using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Issues an API token; once more under the same key is silence.</summary>
/// <param name="User">The principal that the token acts as.</param>
/// <param name="SecretSha256">Hex SHA-256 of the secret part.</param>
/// <param name="Header">Claimed with the token.</param>
/// <param name="ExpiresAt">Null: the token has no end.</param>
/// <param name="Addresses">Networks (CIDR) that it may be used from; null: any.</param>
/// <param name="Issuers">The persons behind the token, beside its user.</param>
/// <param name="IsOperator">It is a further operator's token, of the operators' tenant.</param>
public sealed record IssueToken(
    TokenKey Token, string Name, string User, ImmutableList<string> Roles, string SecretSha256, RequestKey? Header = null, DateTimeOffset? ExpiresAt = null,
    ImmutableList<string>? Addresses = null, ImmutableList<Issuer>? Issuers = null, bool IsOperator = false) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(
            ApiToken.Aggregate, Token,
            new ApiTokenCommand.Issue(Token, Name, User, Roles, SecretSha256, work.Now, ExpiresAt, Addresses, Issuers, IsOperator));
        if (refused is null && IsOperator)
        {
            refused = await work.Do(Operators.Aggregate, Operators.Key, new OperatorsCommand.Add(Token, work.Now));
        }
        return Header is null ? refused : await Header.Claim(work, ApiToken.Aggregate, Token) ?? refused;
    }
}

/// <summary>
/// Sees to it that a host's operator's token works, or that another one does: issues it when no operator's token works, and puts tokens of earlier releases on the
/// list of <see cref="Operators"/>.
/// </summary>
/// <param name="Token">The token of the host's data directory.</param>
/// <param name="SecretSha256">Hex SHA-256 of its secret part.</param>
/// <param name="Others">Tokens that hosts of earlier releases issued at their start.</param>
/// <param name="Anyway">Issue it also when another operator's token works.</param>
public sealed record EnsureOperator(TokenKey Token, string SecretSha256, ImmutableList<TokenKey> Others, bool Anyway) : ICommand
{
    /// <summary>The refusal when another operator's token works and this one does not.</summary>
    public const string Exists = "operator_exists";

    /// <summary>The refusal when no operator's token works, and this one was revoked or has expired: another one is wanted.</summary>
    public const string Worthless = "token_worthless";

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var own = await work.State(ApiToken.Aggregate, Token);
        var living = await Living(work, [.. (await work.State(Operators.Aggregate, Operators.Key)).Tokens, .. Others]);
        if (own is ApiToken.None && (living.IsEmpty || Anyway))
        {
            if (await work.Do(
                ApiToken.Aggregate, Token, new ApiTokenCommand.Issue(Token, "admin", "admin", ApiToken.Roles, SecretSha256, work.Now, IsOperator: true)) is { } refused)
            {
                return refused;
            }
            living = living.Add(Token);
        }
        else if (ApiToken.IsLiving(own, work.Now))
        {
            living = living.Contains(Token) ? living : living.Add(Token);
        }
        else
        {
            return living.IsEmpty || (Anyway && own is not ApiToken.None)
                ? Refusal.Conflict(Worthless, "The operator's token of this data directory was revoked or has expired.")
                : Refusal.Conflict(Exists, "Another operator's token works.");
        }
        foreach (var token in living)
        {
            if (await work.Do(Operators.Aggregate, Operators.Key, new OperatorsCommand.Add(token, work.Now)) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }

    /// <summary>Those of the tokens that work now, each once.</summary>
    internal static async ValueTask<ImmutableList<TokenKey>> Living(UnitOfWork work, IEnumerable<TokenKey> tokens)
    {
        var living = ImmutableList.CreateBuilder<TokenKey>();
        foreach (var token in tokens.Distinct())
        {
            if (ApiToken.IsLiving(await work.State(ApiToken.Aggregate, token), work.Now))
            {
                living.Add(token);
            }
        }
        return living.ToImmutable();
    }
}

/// <summary>Gives a token a new secret; the old one works until the overlap is over.</summary>
/// <param name="SecretSha256">Hex SHA-256 of the new secret part.</param>
/// <param name="Lifetime">Of the token from now on; null, or a token without an end: none.</param>
/// <param name="Issuers">Persons who learn the secret: who rotates the token, and those behind theirs.</param>
/// <param name="Header">Claimed with the rotation.</param>
public sealed record RotateToken(
    TokenKey Token, string SecretSha256, TimeSpan Overlap, TimeSpan? Lifetime, ImmutableList<Issuer> Issuers, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var expires = await work.State(ApiToken.Aggregate, Token) is ApiToken.Valid { ExpiresAt: not null } ? work.Now + Lifetime : null;
        var refused = await work.Do(ApiToken.Aggregate, Token, new ApiTokenCommand.Rotate(SecretSha256, Overlap, expires, Issuers, work.Now));
        return Header is null ? refused : await Header.Claim(work, ApiToken.Aggregate, Token) ?? refused;
    }
}

/// <summary>Gives a token other roles.</summary>
public sealed record ChangeTokenRoles(TokenKey Token, ImmutableList<string> Roles, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(ApiToken.Aggregate, Token, new ApiTokenCommand.ChangeRoles(Roles, work.Now));
        return Header is null ? refused : await Header.Claim(work, ApiToken.Aggregate, Token) ?? refused;
    }
}

/// <summary>Makes a token worthless from now on. The last operator's token that works stays.</summary>
/// <param name="IsOperator">It is an operator's.</param>
public sealed record RevokeToken(TokenKey Token, bool IsOperator = false) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (IsOperator)
        {
            var living = await EnsureOperator.Living(work, (await work.State(Operators.Aggregate, Operators.Key)).Tokens);
            if (await work.Do(Operators.Aggregate, Operators.Key, new OperatorsCommand.Remove(Token, living, work.Now)) is { } last)
            {
                return last;
            }
        }
        return await work.Do(ApiToken.Aggregate, Token, new ApiTokenCommand.Revoke(work.Now));
    }
}
