using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Infra;

/// <summary>A public key (JWK, RFC 7517).</summary>
/// <param name="Kty"><c>EC</c>.</param>
/// <param name="Crv"><c>P-256</c>.</param>
/// <param name="X">Base64url of 32 bytes.</param>
/// <param name="Y">Base64url of 32 bytes.</param>
/// <param name="Kid">The key's thumbprint (RFC 7638).</param>
/// <param name="Use"><c>sig</c>.</param>
/// <param name="Alg"><c>ES256</c>.</param>
/// <param name="Purpose">What it signs: <c>orchestrator</c> (session certificates and routing tokens) or <c>heads</c> (heads of the log).</param>
public sealed record Jwk(string Kty, string Crv, string X, string Y, string Kid, string Use, string Alg, string Purpose)
{
    public static Jwk Of(SigningKey key) => new("EC", "P-256", key.Public.X, key.Public.Y, key.Kid, "sig", "ES256", key.Purpose);
}

public sealed record JwkSet(IReadOnlyList<Jwk> Keys);

/// <summary>Body of <c>POST /infra/signing-keys</c>.</summary>
public sealed record NewSigningKey([property: NeverNull, SigningPurpose] string? Purpose) : IRequestBody<NewSigningKey>
{
    public static JsonTypeInfo<NewSigningKey> Json => InfraJson.Default.NewSigningKey;

    public void Validate(ValidationErrors errors)
    {
        if (Purpose is null || !SigningKeys.Purposes.Contains(Purpose))
        {
            errors.Add("$.purpose", $"One of {string.Join(", ", SigningKeys.Purposes)} is required.");
        }
    }
}

static class JwksEndpoints
{
    /// <summary>Caches may keep the set for so long. Who meets a key that the set does not have asks again.</summary>
    const string Kept = "public, max-age=300";

    /// <summary>A set in which a purpose has no key yet is asked for each time: its first key may come any moment.</summary>
    const string AskedAgain = "no-cache";

    public static void MapJwks(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/jwks.json", Get).WithName("getSigningKeys").WithTags("Trust").AllowAnonymous()
            .WithSummary("Show the public keys that this service signs with, and those it signed with before as long as they verify; none of a purpose that has signed nothing yet")
            .Produces<JwkSet>().Refuses(503);
        routes.MapPost("/signing-keys", Rotate).WithName("rotateSigningKey").WithTags("Trust").RequireOperator().RequireAdmin()
            .WithSummary("Sign with a new key from now on; the one before verifies what it signed")
            .Produces<Jwk>(201).Refuses(400, 413, 415, 422);
    }

    static async Task<IResult> Rotate(Body<NewSigningKey> body, SigningKeyring keyring, CancellationToken ct) =>
        JsonResult.Of(201, Jwk.Of(await keyring.Rotate(body.Value.Purpose!, ct)), InfraJson.Answers.Jwk) with { Location = "/infra/jwks.json" };

    static async Task<IResult> Get(SigningKeyring keyring, HttpContext http, CancellationToken ct)
    {
        var keys = await keyring.Published(ct);
        http.Response.Headers.CacheControl = SigningKeys.Purposes.All(purpose => keys.Any(key => key.Purpose == purpose)) ? Kept : AskedAgain;
        return JsonResult.Of(200, new JwkSet([.. keys.Select(Jwk.Of)]), InfraJson.Answers.JwkSet);
    }
}
