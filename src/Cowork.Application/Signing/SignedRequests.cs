using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A request as the server has it, for comparison with what was signed.</summary>
/// <param name="Method">In capitals.</param>
/// <param name="Origin">Scheme and authority as the client asks for them: <c>https://cowork.example</c>.</param>
/// <param name="PathAndQuery">As it was sent, byte for byte.</param>
public sealed record RequestTarget(string Method, string Origin, string PathAndQuery);

/// <summary>A request whose signature, claims and target are right. Its body is compared when it has been read.</summary>
/// <param name="BodySha256">Base64url of the digest that the body must have.</param>
/// <param name="Use">What the commit of its effect claims.</param>
public sealed record SignedRequest(string BodySha256, SingleUse Use);

/// <summary>
/// Signed requests of apps and of group controllers (contracts/decisions.md, "D, the rest"): <c>iss</c>, <c>aud</c>, <c>htm</c>, <c>htu</c>, <c>bsh</c>, <c>iat</c>,
/// <c>exp</c> and <c>jti</c>.
/// </summary>
public static class SignedRequests
{
    /// <summary>The <c>typ</c> of an app's request.</summary>
    public const string AppTyp = "cowork-app+jwt";

    /// <summary>The <c>typ</c> of a group controller's request.</summary>
    public const string SessionTyp = "cowork-session+jwt";

    /// <summary>The <c>aud</c> of requests to <c>/infra</c>.</summary>
    public const string Orchestrator = "orchestrator";

    /// <summary>The <c>aud</c> of requests to <c>/agents</c>.</summary>
    public const string Agents = "agents";

    const int Sha256Chars = 43;

    /// <summary>Looks at the claims of a request whose signature is right.</summary>
    public static (SignedRequest? Request, Refusal? Refused) Check(UnverifiedJws token, string issuer, string audience, RequestTarget target, DateTimeOffset now)
    {
        var claims = token.Payload;
        if (TokenClaims.Text(claims, "iss") != issuer)
        {
            return (null, TokenRefusals.Invalid("Its iss is not who signed it."));
        }
        if (!TokenClaims.IsFor(claims, audience))
        {
            return (null, TokenRefusals.ForeignAudience);
        }
        if (TokenClaims.WhyNotNow(claims, Limits.SignedRequestLifetime, now) is { } refused)
        {
            return (null, refused);
        }
        if (TokenClaims.Text(claims, "htm") != target.Method || TokenClaims.Text(claims, "htu", charsMax: 8 << 10) is not { } address || !IsAt(address, target))
        {
            return (null, Mismatch("htm and htu are not its method and address. The address is signed with its query, as it is sent."));
        }
        return TokenClaims.Text(claims, "bsh") is not { Length: Sha256Chars } digest ? (null, TokenRefusals.Invalid("Its bsh is no SHA-256 in base64url."))
            : TokenClaims.Text(claims, "jti", Limits.IdCharsMax) is not { } id ? (null, TokenRefusals.Invalid($"It needs a jti of 1 to {Limits.IdCharsMax} characters."))
            : (new(digest, new(issuer, id, TokenClaims.Time(claims, "exp")!.Value)), null);
    }

    /// <summary>The refusal of a signature that is for another request.</summary>
    public static Refusal Mismatch(string detail) => new("request_mismatch", 401, $"The signature is for another request: {detail}");

    /// <summary>
    /// Whether a signed address is the request's. Scheme and host are compared as such, so that case and the scheme's own port do not matter; path and query are compared
    /// as they are, so that nothing that a server could read in two ways is the same.
    /// </summary>
    static bool IsAt(string address, RequestTarget target)
    {
        var path = address.IndexOf("://", StringComparison.Ordinal) is > 0 and var scheme ? address.IndexOfAny(['/', '?', '#'], scheme + 3) : -1;
        return path > 0 && address[path] == '/' && address[path..] == target.PathAndQuery
            && Uri.TryCreate(address[..path], UriKind.Absolute, out var signed) && Uri.TryCreate(target.Origin, UriKind.Absolute, out var asked)
            && signed.UserInfo.Length == 0 && signed.Scheme == asked.Scheme && signed.IdnHost == asked.IdnHost && signed.Port == asked.Port;
    }
}
