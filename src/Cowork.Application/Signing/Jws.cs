using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Domain;

using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Cowork.Application;

/// <summary>
/// Signed JSON (JWS compact, RFC 7515) with ES256 and nothing else. Each kind of token has its own <c>typ</c>, so that one kind is never taken for another (RFC 8725, 3.11).
/// </summary>
public static class Jws
{
    /// <summary>Characters of a token that is looked at: a session certificate has about 600.</summary>
    public const int CharsMax = 8 << 10;

    const int CoordinateBytes = 32;

    /// <summary>Members of a header that change what is signed or name a key of the sender's: a token with one of them is refused, whatever it says.</summary>
    static readonly string[] ForbiddenHeaders = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc"];

    static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false, MaxDepth = 8 };

    static readonly JsonWebTokenHandler Handler = new() { SetDefaultTimesOnTokenCreation = false, MaximumTokenSizeInBytes = CharsMax };

    /// <summary>Signs a payload.</summary>
    /// <param name="typ">The kind of the token.</param>
    /// <param name="payload">A JSON object.</param>
    public static string Sign(ECDsa key, string kid, string typ, string payload) => Handler.CreateToken(
        payload,
        new SigningCredentials(new ECDsaSecurityKey(key) { KeyId = kid }, SecurityAlgorithms.EcdsaSha256),
        new Dictionary<string, object> { [JwtHeaderParameterNames.Typ] = typ });

    /// <summary>
    /// Reads a token without trusting it: its form, its header and its payload. Null: it is no token of this kind with ES256, it has a member twice or a member that is not
    /// allowed in its header, or it names no key.
    /// </summary>
    public static UnverifiedJws? Read(string token, string typ)
    {
        if (token.Length > CharsMax || token.Count(c => c == '.') != 2)
        {
            return null;
        }
        try
        {
            var parsed = Handler.ReadJsonWebToken(token);
            using var header = JsonDocument.Parse(Base64Url.DecodeFromChars(parsed.EncodedHeader), Strict);
            using var payload = JsonDocument.Parse(Base64Url.DecodeFromChars(parsed.EncodedPayload), Strict);
            return header.RootElement.ValueKind == JsonValueKind.Object && payload.RootElement.ValueKind == JsonValueKind.Object
                && TextOf(header.RootElement, "alg") == SecurityAlgorithms.EcdsaSha256 && TextOf(header.RootElement, "typ") == typ
                && TextOf(header.RootElement, "kid") is { Length: > 0 and <= Limits.IdCharsMax } kid
                && !ForbiddenHeaders.Any(name => header.RootElement.TryGetProperty(name, out _))
                ? new(parsed, kid, payload.RootElement.Clone())
                : null;
        }
        catch (Exception e) when (e is ArgumentException or SecurityTokenException or JsonException or FormatException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>Whether the token says that it is of this kind. It is read for it, and nothing else of it is looked at.</summary>
    public static bool IsOfKind(string token, string typ)
    {
        try
        {
            using var header = JsonDocument.Parse(Base64Url.DecodeFromChars(token.AsSpan(0, token.IndexOf('.', StringComparison.Ordinal))), Strict);
            return header.RootElement.ValueKind == JsonValueKind.Object && TextOf(header.RootElement, "typ") == typ;
        }
        catch (Exception e) when (e is ArgumentException or JsonException or FormatException or InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Whether this key signed the token.</summary>
    public static async ValueTask<bool> IsSignedBy(UnverifiedJws token, PublicKey key)
    {
        if (Import(key) is not { } known)
        {
            return false;
        }
        using (known)
        {
            return await IsSignedBy(token, known);
        }
    }

    /// <summary>Whether this key signed the token.</summary>
    public static async ValueTask<bool> IsSignedBy(UnverifiedJws token, ECDsa key) => (await Handler.ValidateTokenAsync(token.Parsed, new TokenValidationParameters
    {
        IssuerSigningKey = new ECDsaSecurityKey(key) { KeyId = token.Kid, CryptoProviderFactory = NoCache },
        ValidAlgorithms = [SecurityAlgorithms.EcdsaSha256],
        RequireSignedTokens = true,
        RequireExpirationTime = false,
        // What the claims mean is the caller's matter: each kind of token has claims of its own.
        ValidateIssuer = false,
        ValidateAudience = false,
        ValidateLifetime = false,
    })).IsValid;

    /// <summary>The public half of a key pair.</summary>
    public static PublicKey PublicOf(ECDsa key)
    {
        var point = key.ExportParameters(includePrivateParameters: false).Q;
        return new(Base64Url.EncodeToString(point.X), Base64Url.EncodeToString(point.Y));
    }

    /// <summary>Writes the members of a public key as a JWK has them (RFC 7518, 6.2.1), into an object that is begun.</summary>
    public static void WriteMembers(Utf8JsonWriter json, PublicKey key)
    {
        json.WriteString("kty", "EC");
        json.WriteString("crv", "P-256");
        json.WriteString("x", key.X);
        json.WriteString("y", key.Y);
    }

    /// <summary>The key to verify with, which the caller disposes; null: it is no point of the curve P-256.</summary>
    public static ECDsa? Import(PublicKey key)
    {
        if (Coordinate(key.X) is not { } x || Coordinate(key.Y) is not { } y)
        {
            return null;
        }
        try
        {
            return ECDsa.Create(new ECParameters { Curve = ECCurve.NamedCurves.nistP256, Q = new() { X = x, Y = y } });
        }
        catch (CryptographicException)
        {
            return null;
        }
    }

    /// <summary>The id that follows from a public key: its thumbprint (RFC 7638).</summary>
    public static string Thumbprint(PublicKey key) => Base64Url.EncodeToString(
        new JsonWebKey { Kty = JsonWebAlgorithmsKeyTypes.EllipticCurve, Crv = JsonWebKeyECTypes.P256, X = key.X, Y = key.Y }.ComputeJwkThumbprint());

    /// <summary>Keys come and go with requests: none of them is kept by the library.</summary>
    static CryptoProviderFactory NoCache { get; } = new() { CacheSignatureProviders = false };

    static byte[]? Coordinate(string text) =>
        Base64Url.IsValid(text, out var bytes) && bytes == CoordinateBytes && Base64Url.DecodeFromChars(text) is var coordinate && Base64Url.EncodeToString(coordinate) == text
            ? coordinate
            : null;

    static string? TextOf(JsonElement of, string name) =>
        of.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}

/// <summary>A token of the right kind and form. Nobody has looked at its signature.</summary>
/// <param name="Kid">The key that the token says it is signed with.</param>
public sealed record UnverifiedJws(JsonWebToken Parsed, string Kid, JsonElement Payload);
