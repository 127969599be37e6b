using System.Collections.Immutable;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a routing token says: for a short time, this user may reach this group.</summary>
/// <param name="Org">The group's tenant.</param>
/// <param name="User">The user's name, as in the principal <c>user:NAME</c>.</param>
/// <param name="Role">The user's role in the group when the token was issued.</param>
/// <param name="Issuers">The persons behind the token, beside its user: who registered the key of the app that asked for it, for example. Null: nobody else.</param>
/// <param name="Via">What the token was asked for with: what it opened ends when that is revoked. Null: nothing that can be.</param>
public sealed record RoutingGrant(string Org, GroupKey Group, string User, string Role, ImmutableList<Issuer>? Issuers = null, RoutingCredential? Via = null);

/// <summary>What kind of credential a routing token was asked for with.</summary>
public enum RoutingCredentialKind
{
    ApiToken,
    AppKey,

    /// <summary>A token of the authority (OpenID Connect).</summary>
    AuthorityToken,
}

/// <summary>The credential with which a routing token was asked for.</summary>
/// <param name="Key">Key of the row of an API token or of an app's key; the thumbprint of the key that signed a token of the authority.</param>
/// <param name="Secret">Which of the API token's secrets was sent: the beginning of its digest. Null: the others have none.</param>
/// <param name="Until">When the authority's token ends. Null: the row of the others tells it.</param>
public sealed record RoutingCredential(RoutingCredentialKind Kind, string Key, string? Secret = null, DateTimeOffset? Until = null)
{
    const int SecretChars = 16;

    /// <summary>An API token, and the secret of it that was sent.</summary>
    /// <param name="secretSha256">Hex digest.</param>
    public static RoutingCredential OfToken(string key, string secretSha256) => new(RoutingCredentialKind.ApiToken, key, secretSha256[..SecretChars]);

    /// <summary>Whether this is the secret that was sent.</summary>
    /// <param name="secretSha256">Hex digest; null: there is no such secret.</param>
    public bool IsOf(string? secretSha256) => Secret is not null && secretSha256?.StartsWith(Secret, StringComparison.Ordinal) == true;
}

/// <summary>Routing tokens: signed by the orchestrator, kept nowhere, and believed by every host of the database.</summary>
public sealed class RoutingTokens(SigningKeyring keyring, TimeProvider clock)
{
    /// <summary>The token's <c>typ</c>.</summary>
    public const string Typ = "cowork-routing+jwt";

    /// <summary>The token's <c>iss</c>.</summary>
    public const string Issuer = "orchestrator";

    const string TokenClaim = "via_token";
    const string SecretClaim = "via_secret";
    const string AppKeyClaim = "via_app_key";
    const string AuthorityClaim = "via_authority_key";
    const string UntilClaim = "via_until";

    /// <summary>The token's <c>aud</c>.</summary>
    public const string Audience = "groups";

    /// <summary>Signs a token. It says nothing of whether the user may have it: who calls has looked.</summary>
    public async ValueTask<(string Token, DateTimeOffset ExpiresAt)> Issue(RoutingGrant grant, CancellationToken ct)
    {
        var issued = DateTimeOffset.FromUnixTimeSeconds(clock.GetUtcNow().ToUnixTimeSeconds());
        var expires = issued + Limits.RoutingTokenLifetime;
        using var payload = new PooledBuffer(512);
        using (var json = new Utf8JsonWriter(payload))
        {
            json.WriteStartObject();
            json.WriteString("iss", Issuer);
            json.WriteString("aud", Audience);
            json.WriteString("sub", grant.User);
            json.WriteString("group_id", grant.Group.Id);
            json.WriteString("org", grant.Org);
            json.WriteString("role", grant.Role);
            json.WriteNumber("iat", issued.ToUnixTimeSeconds());
            json.WriteNumber("exp", expires.ToUnixTimeSeconds());
            if (grant.Via is { } via)
            {
                json.WriteString(ClaimOf(via.Kind), via.Key);
                if (via.Secret is { } secret)
                {
                    json.WriteString(SecretClaim, secret);
                }
                if (via.Until is { } until)
                {
                    json.WriteNumber(UntilClaim, until.ToUnixTimeSeconds());
                }
            }
            if (grant.Issuers is { IsEmpty: false } issuers)
            {
                PersonsClaim.Write(json, issuers);
            }
            json.WriteEndObject();
        }
        return (await keyring.Sign(SigningKeys.Orchestrator, Typ, Encoding.UTF8.GetString(payload.Written), ct), expires);
    }

    /// <summary>
    /// What a token says, or why it says nothing: 401 with <c>token_invalid</c>, <c>token_expired</c>, <c>token_not_yet_valid</c> or <c>foreign_audience</c>, 403 with
    /// <c>foreign_group</c>. Whether the user still is a member, and the group still is there, is for who asks to look at.
    /// </summary>
    /// <param name="token">As it was sent; null: none was.</param>
    /// <param name="group">The group that the request is about.</param>
    public async ValueTask<(RoutingGrant? Grant, DateTimeOffset ExpiresAt, Refusal? Refused)> Verify(string? token, GroupKey group, CancellationToken ct)
    {
        if (token is null || await keyring.Verify(SigningKeys.Orchestrator, Typ, token, ct) is not { Payload: var claims })
        {
            return Refused(TokenRefusals.Invalid("A routing token of this service is wanted."));
        }
        if (TokenClaims.Text(claims, "iss") != Issuer || !TokenClaims.IsFor(claims, Audience))
        {
            return Refused(TokenRefusals.ForeignAudience);
        }
        if (TokenClaims.WhyNotNow(claims, Limits.RoutingTokenLifetime, clock.GetUtcNow()) is { } refused)
        {
            return Refused(refused);
        }
        return TokenClaims.Text(claims, "sub") is { } user && TokenClaims.Text(claims, "org") is { } org && TokenClaims.Text(claims, "role") is { } role
            && TokenClaims.Text(claims, "group_id") is { } id && GroupKey.Parse(id) is { } of
            ? of == group
                ? (new(org, of, user, role, PersonsClaim.Read(claims), ViaOf(claims)), TokenClaims.Time(claims, "exp")!.Value, null)
                : Refused(new("foreign_group", 403, "The token is for another group."))
            : Refused(TokenRefusals.Invalid("It lacks a claim."));
    }

    static RoutingCredential? ViaOf(JsonElement claims) =>
        TokenClaims.Text(claims, TokenClaim) is { } token ? new(RoutingCredentialKind.ApiToken, token, TokenClaims.Text(claims, SecretClaim))
        : TokenClaims.Text(claims, AppKeyClaim) is { } key ? new(RoutingCredentialKind.AppKey, key)
        : TokenClaims.Text(claims, AuthorityClaim) is { } signedBy ? new(RoutingCredentialKind.AuthorityToken, signedBy, Until: TokenClaims.Time(claims, UntilClaim))
        : null;

    static string ClaimOf(RoutingCredentialKind kind) => kind switch
    {
        RoutingCredentialKind.AppKey => AppKeyClaim,
        RoutingCredentialKind.AuthorityToken => AuthorityClaim,
        _ => TokenClaim,
    };

    static (RoutingGrant?, DateTimeOffset, Refusal?) Refused(Refusal why) => (null, default, why);
}

/// <summary>The claim <c>behind</c> of tokens that this service signs: the persons behind the token, beside its subject.</summary>
static class PersonsClaim
{
    const string Name = "behind";

    public static void Write(Utf8JsonWriter json, ImmutableList<Issuer> issuers)
    {
        json.WriteStartArray(Name);
        foreach (var issuer in issuers)
        {
            json.WriteStartObject();
            json.WriteString("actor", issuer.Actor);
            if (issuer.Operator == true)
            {
                json.WriteBoolean("operator", true);
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    /// <summary>Of a token whose signature is right. Null: nobody else is behind it.</summary>
    public static ImmutableList<Issuer>? Read(JsonElement claims) => !claims.TryGetProperty(Name, out var issuers) ? null
        : [.. issuers.EnumerateArray().Select(issuer => new Issuer(issuer.GetProperty("actor").GetString()!, issuer.TryGetProperty("operator", out _) ? true : null))];
}
