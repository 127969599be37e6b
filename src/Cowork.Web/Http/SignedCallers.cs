using System.Buffers.Text;
using System.Security.Cryptography;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: an app signs the request, with a key that is registered for it.</summary>
/// <param name="OrBearer">True: who has a bearer token may call, too.</param>
public sealed record TakesAppSignature(bool OrBearer = false);

/// <summary>Endpoint metadata: a group's controller signs the request with its session's key, and shows the session's certificate.</summary>
/// <param name="Audience">Of the signature.</param>
public sealed record TakesSessionSignature(string Audience);

/// <summary>Who signed a request, and what was signed.</summary>
/// <param name="App">Id of the app; null: a group's controller signed it.</param>
/// <param name="Session">Null: an app signed it.</param>
/// <param name="AppKey">The app's key that signed it; null: a group's controller did.</param>
public sealed record SignedCall(SignedRequest Request, AppId? App, CertifiedSession? Session, DigestKey? AppKey = null)
{
    const string Key = "cowork.signed";

    /// <summary>What the commit of the request's effect claims.</summary>
    public SingleUse Use => Request.Use;

    /// <summary>Null: the request is not a signed one.</summary>
    public static SignedCall? Find(HttpContext http) => (SignedCall?)http.Items[Key];

    /// <summary>The endpoint's parameter. <see cref="Body{T}"/>, which every such endpoint takes, compares the body with what was signed.</summary>
    public static ValueTask<SignedCall?> BindAsync(HttpContext http) => ValueTask.FromResult(Find(http));

    /// <exception cref="UnreadableRequestException">Another body was signed.</exception>
    public static void RequireBody(HttpContext http, ReadOnlySpan<byte> body)
    {
        if (Find(http) is { } signed && Base64Url.EncodeToString(SHA256.HashData(body)) != signed.Request.BodySha256)
        {
            throw new UnreadableRequestException(ErrorResult.Of(SignedRequests.Mismatch("bsh is not the digest of its body.")));
        }
    }

    internal void Enter(HttpContext http) => http.Items[Key] = this;
}

/// <summary>Finds out who signed a request. A request that is refused costs at most one look into the database, and no write.</summary>
public sealed class SignedCallers(IRows rows, SessionCertificates certificates, TimeProvider clock)
{
    /// <summary>The header with a session's certificate.</summary>
    public const string CertificateHeader = "X-Session-Cert";

    const string Scheme = "Signature ";

    /// <summary>Who signed the request as an app.</summary>
    /// <param name="bearer">As it was sent; null: none was, or several.</param>
    internal async ValueTask<(SignedCall? Signed, Caller? Caller, Refusal? Refused)> ByApp(HttpContext http, string? bearer)
    {
        if (bearer is null)
        {
            return (null, null, new("unauthorized", 401, "An app signs this request: Authorization: Bearer and a JWT of a registered key."));
        }
        if (Jws.Read(bearer, SignedRequests.AppTyp) is not { } token)
        {
            return (null, null, TokenRefusals.Invalid($"A JWT with alg ES256, typ {SignedRequests.AppTyp} and a kid is wanted."));
        }
        if (!token.Payload.TryGetProperty("iss", out var issuer) || issuer.ValueKind != System.Text.Json.JsonValueKind.String || AppId.Parse(issuer.GetString()!) is not { } app
            || await rows.Get(app.Org, AppKeys.Model.Table, AppKey.StreamKey(token.Kid).Value, http.RequestAborted) is not { } found
            || AppKeys.Model.Read(found.Json.Span) is not { } key || key.App != app.Name || key.Kid != token.Kid || !await Jws.IsSignedBy(token, key.Public))
        {
            return (null, null, TokenRefusals.Invalid("No registered key of an app signed it."));
        }
        var (request, refused) = SignedRequests.Check(token, app.ToString(), SignedRequests.Orchestrator, TargetOf(http), clock.GetUtcNow());
        return request is null
            ? (null, null, refused)
            : (
                new(request, app, null, AppKey.StreamKey(token.Kid)),
                new(app.Org, app.Actor, [], IsOperator: false, TraceId.Of(http), Issuers: [new(key.RegisteredBy), .. key.Issuers ?? []]), null);
    }

    /// <summary>Which group's controller signed the request.</summary>
    internal async ValueTask<(SignedCall? Signed, Caller? Caller, Refusal? Refused)> BySession(HttpContext http, string audience)
    {
        var headers = http.Request.Headers;
        if (headers[CertificateHeader] is not [{ Length: > 0 } certificate] || headers.Authorization is not [{ } authorization]
            || !authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return (null, null, new("unauthorized", 401, $"A group's controller signs this request: {CertificateHeader}, and Authorization: Signature and a JWT."));
        }
        var (session, refused) = await certificates.Verify(certificate, http.RequestAborted);
        if (session is null)
        {
            return (null, null, refused);
        }
        if (Jws.Read(authorization[Scheme.Length..].Trim(), SignedRequests.SessionTyp) is not { } token)
        {
            return (null, null, TokenRefusals.Invalid($"A JWT with alg ES256, typ {SignedRequests.SessionTyp} and a kid is wanted."));
        }
        if (token.Kid != session.Kid || !await Jws.IsSignedBy(token, session.Key))
        {
            return (null, null, TokenRefusals.Invalid("The key of the certificate did not sign it."));
        }
        (var request, refused) = SignedRequests.Check(token, session.Controller, audience, TargetOf(http), clock.GetUtcNow());
        if (request is null)
        {
            return (null, null, refused);
        }
        if (await rows.Get(session.Org, AppKeys.Model.Table, session.AppKey.Value, http.RequestAborted) is null)
        {
            return (null, null, new("certificate_invalid", 401, "The key of the app that opened the session was revoked."));
        }
        // Two sessions of a group have one controller's name: what is used once is the session's.
        request = request with { Use = request.Use with { Issuer = $"{request.Use.Issuer} {session.Kid}" } };
        var persons = Issuer.Union([new($"user:{session.User}")], session.Issuers ?? [], "");
        return (new(request, null, session), new(session.Org, $"controller:{session.Controller}", [], IsOperator: false, TraceId.Of(http), Issuers: persons), null);
    }

    /// <summary>Where the client says that it sends the request: behind a trusted proxy, with the scheme, host and prefix that the proxy names.</summary>
    static RequestTarget TargetOf(HttpContext http)
    {
        var request = http.Request;
        var target = http.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        // A client that speaks to a proxy names the whole address (RFC 9112, 3.2.2).
        var path = target.IndexOf("://", StringComparison.Ordinal) is > 0 and var scheme && target.IndexOf('/', scheme + 3) is > 0 and var at ? target[at..] : target;
        return new(request.Method, $"{request.Scheme}://{request.Host.Value}", request.PathBase.ToUriComponent() + path);
    }
}
