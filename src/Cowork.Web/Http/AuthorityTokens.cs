using System.Text;
using System.Text.Json;

using Cowork.Domain;

using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Cowork.Web.Http;

/// <summary>What a token of the authority is worth at a time.</summary>
/// <param name="Caller">Null: it lets nobody in.</param>
/// <param name="Refused">The refusal; null: none.</param>
/// <param name="Reason">Of a refusal, as security events name it; null: it is none of who asks (the authority is away).</param>
sealed record AuthorityAdmission(Caller? Caller, ErrorResult? Refused, string? Reason);

/// <summary>
/// Checks tokens of the authority (JWT, RFC 7519, as RFC 8725 and RFC 9068 want it): signed by a key that the authority shows now, with an algorithm of two keys, by and
/// for whom the settings say, and at this time; and says whom its claims mean here.
/// </summary>
public sealed class AuthorityTokens(OidcSettings settings, AuthorityKeys keys, TimeProvider clock)
{
    const int CharsMax = 16 << 10;

    /// <summary>Of a principal's name: twice what a tenant's may have, because what is escaped is longer.</summary>
    public const int UserCharsMax = 2 * Limits.IdCharsMax;

    /// <summary>Neither none nor any HS: with those, who knows the public key could sign.</summary>
    static readonly string[] Algorithms =
    [
        SecurityAlgorithms.RsaSha256, SecurityAlgorithms.RsaSha384, SecurityAlgorithms.RsaSha512, SecurityAlgorithms.RsaSsaPssSha256, SecurityAlgorithms.RsaSsaPssSha384,
        SecurityAlgorithms.RsaSsaPssSha512, SecurityAlgorithms.EcdsaSha256, SecurityAlgorithms.EcdsaSha384, SecurityAlgorithms.EcdsaSha512,
    ];

    /// <summary>Of access tokens; a token that says nothing is one. One for another purpose (a logout, a security event) is not.</summary>
    static readonly string[] Types = ["", "JWT", "at+jwt", "application/at+jwt"];

    readonly JsonWebTokenHandler handler = new() { MaximumTokenSizeInBytes = CharsMax };

    /// <summary>Whether a bearer token is to be looked at here: it has the form of a JWT.</summary>
    public static bool IsFormed(string bearer) => bearer.Length <= CharsMax && bearer.Count(c => c == '.') == 2 && bearer.StartsWith("ey", StringComparison.Ordinal);

    /// <summary>True for the name of a user as principals have it.</summary>
    public static bool IsUser(string name) =>
        name.Length is > 0 and <= UserCharsMax && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' or '%');

    internal async ValueTask<AuthorityAdmission> Identify(string bearer, string trace, CancellationToken ct)
    {
        JsonWebToken token;
        try
        {
            token = handler.ReadJsonWebToken(bearer);
        }
        catch (Exception e) when (e is ArgumentException or SecurityTokenException or JsonException or FormatException)
        {
            return Unauthorized("unknown", "The token is not valid here.");
        }
        if (!Algorithms.Contains(token.Alg) || !Types.Contains(token.Typ ?? "", StringComparer.OrdinalIgnoreCase))
        {
            return Unauthorized("bad_algorithm", "The token is not valid here.");
        }
        if (token.Issuer?.TrimEnd('/') != settings.Authority.TrimEnd('/'))
        {
            return Unauthorized("foreign_issuer", "The token is of another issuer.");
        }
        if (await keys.Get(ct) is not { } known)
        {
            return Away();
        }
        if (!string.IsNullOrEmpty(token.Kid) && !known.HasId(token.Kid))
        {
            if (await keys.After(known, ct) is not { } renewed)
            {
                return Away();
            }
            known = renewed;
        }
        var validated = await Validate(token, known);
        if (string.IsNullOrEmpty(token.Kid) && validated.Exception is SecurityTokenSignatureKeyNotFoundException or SecurityTokenInvalidSignatureException)
        {
            // It names no key, so that a new one cannot be told from a wrong one.
            if (await keys.After(known, ct) is not { } renewed)
            {
                return Away();
            }
            validated = renewed == known ? validated : await Validate(token, renewed);
        }
        if (!validated.IsValid)
        {
            return validated.Exception switch
            {
                SecurityTokenInvalidAudienceException => Unauthorized("foreign_audience", "The token is for another audience."),
                SecurityTokenInvalidIssuerException => Unauthorized("foreign_issuer", "The token is of another issuer."),
                _ => Unauthorized("bad_signature", "The token is not valid here."),
            };
        }
        try
        {
            return Admit(token, AuthorityKeys.Thumbprint(token.SigningKey), trace);
        }
        catch (InvalidOperationException)
        {
            // A claim holds half of a surrogate pair, which is no text.
            return Unauthorized("unknown", "The token is not valid here.");
        }
    }

    Task<TokenValidationResult> Validate(JsonWebToken token, AuthorityKeys.KeySet known) => handler.ValidateTokenAsync(token, new TokenValidationParameters
    {
        ValidIssuer = known.Issuer,
        ValidAudiences = settings.Audiences,
        ValidAlgorithms = Algorithms,
        IssuerSigningKeys = known.Keys,
        // A token that names its key is signed by that one.
        TryAllIssuerSigningKeys = string.IsNullOrEmpty(token.Kid),
        RequireSignedTokens = true,
        // By this host's clock, see Admit.
        ValidateLifetime = false,
    });

    AuthorityAdmission Admit(JsonWebToken token, string key, string trace)
    {
        using var payload = JsonDocument.Parse(Base64UrlEncoder.DecodeBytes(token.EncodedPayload));
        var claims = payload.RootElement;
        var now = clock.GetUtcNow();
        if (TimeOf(claims, "exp") is not { } until)
        {
            return Unauthorized("unknown", "The token has no end (exp).");
        }
        if (until <= now - settings.ClockSkew)
        {
            return Unauthorized("expired", "The token has expired.", "token_expired");
        }
        if (TimeOf(claims, "nbf") > now + settings.ClockSkew)
        {
            return Unauthorized("unknown", "The token is not valid yet (nbf).");
        }
        if (Texts(claims, settings.UserClaim) is not [var user] || UserOf(user) is not { } name)
        {
            return Forbidden("unknown_user", $"The token names no user in {settings.UserClaim}, or none that can be one here.");
        }
        if (OrgOf(claims) is not { } org)
        {
            return Forbidden("unknown_org", settings.Orgs.Count > 0
                ? $"The token's {settings.OrgClaim} names no tenant of this host, or several."
                : $"The token names no tenant in {settings.OrgClaim}, or several, or one that an authority may not name.");
        }
        var values = Texts(claims, settings.RoleClaim).SelectMany(value => value.Split(' ', StringSplitOptions.RemoveEmptyEntries)).ToList();
        List<string> roles = [.. ApiToken.Roles.Where(role => settings.Roles.Count == 0
            ? values.Contains(role)
            : values.Exists(value => settings.Roles.TryGetValue(value, out var meant) && meant.Contains(role)))];
        var end = until > now ? until : until + settings.ClockSkew;
        var caller = new Caller(org, $"user:{name}", roles, IsOperator: false, trace, Authority: new(key, end));
        return roles.Count > 0
            ? new(caller, null, null)
            : new(caller, new(403, "no_role", $"The token names no role of this host in {settings.RoleClaim}."), null);
    }

    /// <summary>The operators' tenant is an authority's only where the settings say so: there, roles open what is about all tenants.</summary>
    string? OrgOf(JsonElement claims)
    {
        if (settings.Org is not null)
        {
            return settings.Org;
        }
        if (Texts(claims, settings.OrgClaim) is not [var value])
        {
            return null;
        }
        return settings.Orgs.Count > 0 ? settings.Orgs.GetValueOrDefault(value)
            : value != RequestAuthorization.LocalOrg && BearerToken.IsOrg(value) ? value
            : null;
    }

    /// <summary>What a principal's name does not take is written <c>%40</c> and so on, so that different users stay different. Null: it is too long, or nothing.</summary>
    static string? UserOf(string value)
    {
        var name = new StringBuilder();
        foreach (var b in Encoding.UTF8.GetBytes(value))
        {
            _ = char.IsAsciiLetterOrDigit((char)b) || b is (byte)'.' or (byte)'_' or (byte)'-' ? name.Append((char)b) : name.Append('%').Append(b.ToString("X2"));
        }
        return name.Length is > 0 and <= UserCharsMax ? name.ToString() : null;
    }

    static DateTimeOffset? TimeOf(JsonElement claims, string name) =>
        claims.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var seconds)
            ? DateTimeOffset.FromUnixTimeMilliseconds((long)Math.Clamp(seconds * 1000, 0, DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()))
            : null;

    /// <summary>The texts at a claim: one, those of a list, or the names of an object's members (Keycloak's organisations).</summary>
    static List<string> Texts(JsonElement claims, string path) => Find(claims, path) switch
    {
        { ValueKind: JsonValueKind.String } text => text.GetString() is { Length: > 0 } value ? [value] : [],
        { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Where(e => e.ValueKind == JsonValueKind.String).Select(e => e.GetString()!)],
        { ValueKind: JsonValueKind.Object } named => [.. named.EnumerateObject().Select(member => member.Name)],
        _ => [],
    };

    /// <summary>A member of that whole name comes first, since names may have dots (<c>https://example.com/roles</c>); then each dot may lead one level down.</summary>
    static JsonElement? Find(JsonElement at, string path)
    {
        if (at.ValueKind != JsonValueKind.Object)
        {
            return null;
        }
        if (at.TryGetProperty(path, out var whole))
        {
            return whole;
        }
        for (var dot = path.IndexOf('.', StringComparison.Ordinal); dot >= 0; dot = path.IndexOf('.', dot + 1))
        {
            if (at.TryGetProperty(path[..dot], out var inner) && Find(inner, path[(dot + 1)..]) is { } found)
            {
                return found;
            }
        }
        return null;
    }

    static AuthorityAdmission Unauthorized(string reason, string detail, string code = "unauthorized") =>
        new(null, new ErrorResult(401, code, detail) { Challenge = "Bearer realm=\"cowork\", error=\"invalid_token\"" }, reason);

    static AuthorityAdmission Forbidden(string code, string detail) => new(null, new ErrorResult(403, code, detail), code);

    static AuthorityAdmission Away() => new(
        null,
        new ErrorResult(503, "authority_unavailable", "The authority that signed the token does not answer, so that the token cannot be checked. API tokens work.")
        {
            RetryAfter = 5,
        },
        null);
}
