using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>An API token for <c>GET /tokens</c> and for the authorisation of requests. A revoked token has no row, an expired one has.</summary>
/// <param name="SecretSha256">No answer shows it.</param>
/// <param name="ExpiresAt">Null: it has no end.</param>
/// <param name="Addresses">Networks (CIDR) that it may be used from; null: any.</param>
/// <param name="Issuers">The persons behind it, beside its user; null: none.</param>
/// <param name="Operator">True: an operator's.</param>
/// <param name="PreviousSha256">Of the secret before the last rotation, which works until <paramref name="PreviousUntil"/>. No answer shows it.</param>
public sealed record TokenRow(
    TokenKey TokenId, string Name, string User, ImmutableList<string> Roles, string SecretSha256, string CreatedBy, DateTimeOffset CreatedAt,
    DateTimeOffset? ExpiresAt = null, ImmutableList<string>? Addresses = null, ImmutableList<Issuer>? Issuers = null, bool? Operator = null,
    DateTimeOffset? RotatedAt = null, string? PreviousSha256 = null, DateTimeOffset? PreviousUntil = null);

/// <summary>The read model of API tokens.</summary>
public static class Tokens
{
    public static ReadModel<TokenRow> Model { get; } = new("tokens", ApiToken.Aggregate.Name, RowJson.Default.TokenRow, Evolve)
    {
        Lists = RowLists.OfTenant,
        Form = 2,
    };

    public static TokenRow? Evolve(TokenRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ApiTokenEvent.TokenIssued t, _) => new(
            t.TokenId, t.Name, t.User, t.Roles, t.SecretSha256, e.Actor, e.At, t.ExpiresAt, t.Addresses, t.Issuers ?? OfEarlierRelease(t, e.Actor),
            t.Operator == true || e.Actor == Operators.HostActor ? true : null),
        (ApiTokenEvent.TokenRotated t, { } r) => r with
        {
            SecretSha256 = t.SecretSha256,
            ExpiresAt = t.ExpiresAt,
            Issuers = Issuer.Union(r.Issuers ?? [], t.Issuers ?? [], $"user:{r.User}") is { IsEmpty: false } issuers ? issuers : null,
            RotatedAt = e.At,
            PreviousSha256 = t.PreviousUntil > e.At ? r.SecretSha256 : null,
            PreviousUntil = t.PreviousUntil > e.At ? t.PreviousUntil : null,
        },
        (ApiTokenEvent.TokenRolesChanged t, { } r) => r with { Roles = t.Roles },
        (ApiTokenEvent.TokenRevoked, _) => null,
        (_, _) => row,
    };

    /// <summary>An earlier release did not write down whether an operator issued a token, and it nearly always was one.</summary>
    static ImmutableList<Issuer>? OfEarlierRelease(ApiTokenEvent.TokenIssued t, string actor) =>
        actor == Operators.HostActor || actor == $"user:{t.User}" ? null : [new(actor, Operator: true)];
}
