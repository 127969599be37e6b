using System.Text.Json;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Reads the claims of tokens strictly: a claim of another type is none.</summary>
static class TokenClaims
{
    /// <summary>A claim's text; null: it is missing, no text, empty, longer than any that is wanted, or none that the log can keep.</summary>
    public static string? Text(JsonElement claims, string name, int charsMax = 512) =>
        claims.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String && TextOf(value) is { Length: > 0 } text && text.Length <= charsMax
            && StorableText.IsStorable(text)
            ? text
            : null;

    /// <summary>Whether the token is for this audience and no other: the claim is its name, or a list of that alone (RFC 7519, 4.1.3).</summary>
    public static bool IsFor(JsonElement claims, string audience) =>
        claims.TryGetProperty("aud", out var value) && (value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 1 ? value[0] : value) is var only
            && only.ValueKind == JsonValueKind.String && TextOf(only) == audience;

    /// <summary>Why a token is worth nothing at a time; null: it is.</summary>
    /// <param name="lifetimeMax">From <c>iat</c> to <c>exp</c>.</param>
    public static Refusal? WhyNotNow(JsonElement claims, TimeSpan lifetimeMax, DateTimeOffset now)
    {
        if (Time(claims, "iat") is not { } issued || Time(claims, "exp") is not { } expires)
        {
            return TokenRefusals.Invalid("It needs iat and exp, as numbers of seconds.");
        }
        if (claims.TryGetProperty("nbf", out _) && Time(claims, "nbf") is null)
        {
            return TokenRefusals.Invalid("Its nbf is no number of seconds.");
        }
        return expires <= issued || expires - issued > lifetimeMax ? TokenRefusals.Invalid($"Its exp must be later than its iat, by {lifetimeMax.TotalSeconds:0} s at the most.")
            : issued > now + Limits.TokenClockSkew || Time(claims, "nbf") > now + Limits.TokenClockSkew ? TokenRefusals.NotYetValid
            : expires + Limits.TokenClockSkew <= now ? TokenRefusals.Expired
            : null;
    }

    /// <summary>A NumericDate; null: it is missing, no number, or beyond what dates there are.</summary>
    public static DateTimeOffset? Time(JsonElement claims, string name) =>
        claims.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var seconds) && seconds is > 0 and < 1e11
            ? DateTimeOffset.FromUnixTimeMilliseconds((long)(seconds * 1_000))
            : null;

    /// <summary>Null: half of a surrogate pair, which is no text.</summary>
    static string? TextOf(JsonElement value)
    {
        try
        {
            return value.GetString();
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}

/// <summary>Why signed tokens are refused. None of them tells what the right token would be.</summary>
public static class TokenRefusals
{
    public static Refusal Expired { get; } = new("token_expired", 401, "The token has expired.");

    public static Refusal NotYetValid { get; } = new("token_not_yet_valid", 401, "The token is from the future. Set the clock of who signs it.");

    public static Refusal ForeignAudience { get; } = new("foreign_audience", 401, "The token is for another audience.");

    public static Refusal Invalid(string detail) => new("token_invalid", 401, $"The token is not valid here. {detail}");
}
