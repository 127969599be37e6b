using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Issues an API token; once more under the same key is silence.</summary>
/// <param name="User">The principal that the token acts as.</param>
/// <param name="SecretSha256">Hex SHA-256 of the secret part.</param>
/// <param name="Header">Claimed with the token.</param>
public sealed record IssueToken(
    TokenKey Token, string Name, string User, ImmutableList<string> Roles, string SecretSha256, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(ApiToken.Aggregate, Token, new ApiTokenCommand.Issue(Token, Name, User, Roles, SecretSha256, work.Now));
        return Header is null ? refused : await Header.Claim(work, ApiToken.Aggregate, Token) ?? refused;
    }
}

/// <summary>Makes a token worthless from now on.</summary>
public sealed record RevokeToken(TokenKey Token) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(ApiToken.Aggregate, Token, new ApiTokenCommand.Revoke(work.Now));
}
