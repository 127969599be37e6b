using System.Net;

namespace Cowork.Web.Http;

/// <summary>
/// Protects local mode, in which every request acts as the local user, against web pages and against proxies that let others in: DNS rebinding shows in <c>Host</c>, a
/// cross-site request in <c>Origin</c>, a proxy in <c>Forwarded</c> (RFC 7239) or its forerunners. Configured origins get CORS.
/// </summary>
public sealed class OriginGuard(RequestDelegate next, HostSettings settings)
{
    /// <summary>What a page may read of an answer beside the headers that it always may: each that this host sends and a client can use.</summary>
    const string Exposed = "Accept-Ranges, Allow, Content-Range, Contract-Version, Cowork-Search, ETag, Idempotency-Replayed, Location, Preference-Applied, Repr-Digest, "
        + "Retry-After, WWW-Authenticate";

    readonly HashSet<string> allowedHosts = new(settings.AllowedHosts, StringComparer.OrdinalIgnoreCase);
    readonly HashSet<string> origins = new(settings.CorsOrigins.Select(o => o.TrimEnd('/')), StringComparer.OrdinalIgnoreCase);

    public async Task InvokeAsync(HttpContext http)
    {
        var (request, response) = (http.Request, http.Response);
        if (origins.Count > 0)
        {
            // Also of an answer to nobody's page: a cache must not give it to a page, which would find no CORS in it.
            response.Headers.Vary = "Origin";
        }
        if (!settings.TokenMode && request.Headers.Keys.Any(IsOfProxy))
        {
            const string Proxied = "The request came through a proxy. In local mode everybody who reaches this host is its administrator: use Cowork:Auth:Mode=token behind one.";
            await new ErrorResult(403, "forwarded", Proxied).ExecuteAsync(http);
            return;
        }
        if (!IsOurs(request))
        {
            await new ErrorResult(403, "foreign_host", settings.TokenMode
                ? "This host answers to the names in Cowork:AllowedHosts and to those of loopback."
                : "This host answers to loopback names only; Cowork:AllowedHosts can name more.").ExecuteAsync(http);
            return;
        }
        if (request.Headers.Origin is [{ Length: > 0 } origin])
        {
            if (origins.Contains(origin))
            {
                response.Headers.AccessControlAllowOrigin = origin;
                // A page that asks with credentials hears nothing otherwise. Nothing here goes by cookies.
                response.Headers.AccessControlAllowCredentials = "true";
                response.Headers.AccessControlExposeHeaders = Exposed;
                if (HttpMethods.IsOptions(request.Method) && request.Headers.AccessControlRequestMethod.Count > 0)
                {
                    response.Headers.AccessControlAllowMethods = "GET, HEAD, POST, PUT, PATCH, DELETE";
                    // Clients send headers that nobody here reads: of tracing (baggage, sentry-trace), of their library (X-Requested-With, x-stainless-lang), Cache-Control.
                    response.Headers.AccessControlAllowHeaders = request.Headers.AccessControlRequestHeaders;
                    response.Headers.AccessControlMaxAge = "600";
                    response.StatusCode = 204;
                    return;
                }
            }
            else if (!settings.TokenMode && !origin.Equals($"{request.Scheme}://{request.Host.Value}", StringComparison.OrdinalIgnoreCase))
            {
                await new ErrorResult(403, "foreign_origin", "Pages of other sites may not call; Cowork:Cors:Origins can list some.").ExecuteAsync(http);
                return;
            }
        }
        else if (request.Headers.Origin.Count > 1)
        {
            await ErrorResult.OfStatus(400).ExecuteAsync(http);
            return;
        }
        await next(http);
    }

    static bool IsOfProxy(string header) =>
        header.Equals("Forwarded", StringComparison.OrdinalIgnoreCase) || header.StartsWith("X-Forwarded-", StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// In token mode a page under a name that was bound to this host has no credential, because none is a cookie. There, names count where some are listed, so that a
    /// request that was signed for another host cannot be brought here under that one's name. Probes of health ask under the host's address.
    /// </summary>
    bool IsOurs(HttpRequest request) => settings.TokenMode
        ? allowedHosts.Count == 0 || IsOurs(request.Host.Host) || request.Path.StartsWithSegments("/health")
        : IsOurs(request.Host.Host);

    bool IsOurs(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address))
        || allowedHosts.Contains(host);
}
