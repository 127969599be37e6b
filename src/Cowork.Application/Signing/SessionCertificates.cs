using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A session of a group's controller, as its certificate says.</summary>
/// <param name="Org">The group's tenant.</param>
/// <param name="User">The user for whom the app opened it.</param>
/// <param name="App">Id of the app.</param>
/// <param name="AppKey">The app's key that opened it: the session ends with the key.</param>
/// <param name="Kid">The thumbprint of the session's public key, which names the session.</param>
/// <param name="Issuers">The persons behind it, beside its user.</param>
public sealed record CertifiedSession(
    string Org, GroupKey Group, string User, string App, DigestKey AppKey, PublicKey Key, string Kid, DateTimeOffset ExpiresAt, ImmutableList<Issuer>? Issuers = null)
{
    /// <summary>The controller's id, the same for each session of the group.</summary>
    public string Controller => GroupController.IdOf(Group);
}

/// <summary>A group's controller: what acts for a group with the key of a session.</summary>
public static class GroupController
{
    public static string IdOf(GroupKey group) => $"gc_{group.Value}";
}

/// <summary>
/// Session certificates: the orchestrator says whose key a session's is (<c>cnf.jwk</c>, RFC 7800). They are kept nowhere, and every host of the database believes them.
/// </summary>
public sealed class SessionCertificates(SigningKeyring keyring, TimeProvider clock)
{
    /// <summary>The certificate's <c>typ</c>.</summary>
    public const string Typ = "cowork-cert+jwt";

    const string AppKeyClaim = "app_key";

    /// <summary>A new key pair. The caller hands the private key out and forgets it.</summary>
    /// <returns>The private key as PKCS#8 PEM, the public one, and its thumbprint.</returns>
    public static (string PrivatePem, PublicKey Public, string Kid) NewKey()
    {
        using var pair = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var publicKey = Jws.PublicOf(pair);
        return (pair.ExportPkcs8PrivateKeyPem(), publicKey, Jws.Thumbprint(publicKey));
    }

    /// <summary>When a session ends that begins now: whole seconds, as certificates have them.</summary>
    public DateTimeOffset Expiry() => DateTimeOffset.FromUnixTimeSeconds(clock.GetUtcNow().ToUnixTimeSeconds()) + Limits.SessionCertificateLifetime;

    public ValueTask<string> Issue(CertifiedSession session, CancellationToken ct)
    {
        using var payload = new PooledBuffer(1024);
        using (var json = new Utf8JsonWriter(payload))
        {
            json.WriteStartObject();
            json.WriteString("iss", RoutingTokens.Issuer);
            json.WriteString("sub", session.Group.Id);
            json.WriteString("org", session.Org);
            json.WriteString("user", session.User);
            json.WriteString("app", session.App);
            json.WriteString(AppKeyClaim, session.AppKey.Value);
            json.WriteNumber("iat", (session.ExpiresAt - Limits.SessionCertificateLifetime).ToUnixTimeSeconds());
            json.WriteNumber("exp", session.ExpiresAt.ToUnixTimeSeconds());
            json.WriteStartObject("cnf");
            json.WriteStartObject("jwk");
            Jws.WriteMembers(json, session.Key);
            json.WriteEndObject();
            json.WriteEndObject();
            if (session.Issuers is { IsEmpty: false } issuers)
            {
                PersonsClaim.Write(json, issuers);
            }
            json.WriteEndObject();
        }
        return keyring.Sign(SigningKeys.Orchestrator, Typ, Encoding.UTF8.GetString(payload.Written), ct);
    }

    /// <summary>
    /// The session that a certificate is of, or why it is of none: 401 with <c>certificate_invalid</c> or <c>certificate_expired</c>. Whether the session was closed, its
    /// app's key was revoked, and the group still is there, is for who asks to look at.
    /// </summary>
    public async ValueTask<(CertifiedSession? Session, Refusal? Refused)> Verify(string certificate, CancellationToken ct)
    {
        if (await keyring.Verify(SigningKeys.Orchestrator, Typ, certificate, ct) is not { Payload: var claims } || TokenClaims.Text(claims, "iss") != RoutingTokens.Issuer)
        {
            return (null, Invalid);
        }
        if (TokenClaims.WhyNotNow(claims, Limits.SessionCertificateLifetime, clock.GetUtcNow()) is { } refused)
        {
            return (null, refused == TokenRefusals.Expired ? Expired : Invalid);
        }
        return TokenClaims.Text(claims, "sub") is { } id && GroupKey.Parse(id) is { } group && TokenClaims.Text(claims, "org") is { } org
            && TokenClaims.Text(claims, "user") is { } user && TokenClaims.Text(claims, "app") is { } app
            && TokenClaims.Text(claims, AppKeyClaim) is { } appKey && KeyOf(claims) is { } key
            ? (new(org, group, user, app, new(appKey), key, Jws.Thumbprint(key), TokenClaims.Time(claims, "exp")!.Value, PersonsClaim.Read(claims)), null)
            : (null, Invalid);
    }

    static PublicKey? KeyOf(JsonElement claims) =>
        claims.TryGetProperty("cnf", out var cnf) && cnf.ValueKind == JsonValueKind.Object && cnf.TryGetProperty("jwk", out var jwk) ? PublicJwk.Read(jwk) : null;

    static Refusal Invalid { get; } = new("certificate_invalid", 401, "X-Session-Cert is no session certificate of this service.");

    static Refusal Expired { get; } = new("certificate_expired", 401, "The session's certificate has expired. Let the app open another session: POST /infra/groups.");
}
