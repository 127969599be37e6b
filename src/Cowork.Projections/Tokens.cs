using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>An API token for <c>GET /tokens</c> and for the authorisation of requests. A revoked token has no row.</summary>
/// <param name="SecretSha256">No answer shows it.</param>
public sealed record TokenRow(
    TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, string CreatedBy, DateTimeOffset CreatedAt);

/// <summary>The read model of API tokens.</summary>
public static class Tokens
{
    public static ReadModel<TokenRow> Model { get; } = new("tokens", ApiToken.Aggregate.Name, RowJson.Default.TokenRow, Evolve)
    {
        Lists = RowLists.OfTenant,
    };

    public static TokenRow? Evolve(TokenRow? row, RecordedEvent e) => e.Event switch
    {
        ApiTokenEvent.TokenIssued t => new(t.TokenId, t.Name, t.User, t.Roles, t.SecretSha256, e.Actor, e.At),
        ApiTokenEvent.TokenRevoked => null,
        _ => row,
    };
}
