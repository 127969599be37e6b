using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Reads public keys as JSON Web Keys have them (RFC 7517; RFC 7518, 6.2.1), all of them alike, wherever they come from.</summary>
public static class PublicJwk
{
    /// <summary>The key of an object; null: it is none to verify ES256 with, or says that it is for something else. Members of no meaning here are not looked at.</summary>
    public static PublicKey? Read(JsonElement jwk) =>
        jwk.ValueKind == JsonValueKind.Object && IsOrAbsent(jwk, "use", "sig") && IsOrAbsent(jwk, "alg", "ES256")
            ? Of(Text(jwk, "kty"), Text(jwk, "crv"), Text(jwk, "x"), Text(jwk, "y"))
            : null;

    /// <summary>The key that some members make; null: it is no point of P-256, or a coordinate is not written in the one way that base64url has for 32 bytes.</summary>
    public static PublicKey? Of(string? kty, string? crv, string? x, string? y)
    {
        if (kty != "EC" || crv != "P-256" || x is null || y is null)
        {
            return null;
        }
        var key = new PublicKey(x, y);
        using var point = Jws.Import(key);
        return point is null ? null : key;
    }

    static string? Text(JsonElement jwk, string name) => jwk.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    static bool IsOrAbsent(JsonElement jwk, string name, string wanted) => !jwk.TryGetProperty(name, out _) || Text(jwk, name) == wanted;
}
