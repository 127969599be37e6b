using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Issues an API token; once more under the same key is silence.</summary>
/// <param name="Key">Of the token's stream.</param>
/// <param name="User">The principal that the token acts as.</param>
/// <param name="SecretSha256">Hex SHA-256 of the secret part.</param>
/// <param name="Header">Claimed with the token.</param>
public sealed record IssueToken(
    string Key, string Name, string User, ImmutableList<string> Roles, string SecretSha256, RequestKey? Header = null) : ICommand
{
    public string TokenId => $"token_{Key}";

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(ApiToken.Aggregate, Key, new ApiTokenCommand.Issue(TokenId, Name, User, Roles, SecretSha256, work.Now));
        return Header is null ? refused : await Header.Claim(work, ApiToken.Aggregate, Key) ?? refused;
    }
}

/// <summary>Makes a token worthless from now on.</summary>
/// <param name="Key">Of the token's stream.</param>
public sealed record RevokeToken(string Key) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => work.Do(ApiToken.Aggregate, Key, new ApiTokenCommand.Revoke(work.Now));
}
