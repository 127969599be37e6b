using System.Diagnostics;

using Cowork.Application;

using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>Gives the server's span of a request the name and attributes of OpenTelemetry's conventions. The query is none of them: it may hold a token.</summary>
public sealed class RequestSpan(RequestDelegate next)
{
    static readonly HashSet<string> Methods = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

    public async Task InvokeAsync(HttpContext http)
    {
        try
        {
            await next(http);
        }
        finally
        {
            if (http.Features.Get<IHttpActivityFeature>()?.Activity is { IsAllDataRequested: true } span)
            {
                Describe(span, http);
            }
        }
    }

    static void Describe(Activity span, HttpContext http)
    {
        var (request, status) = (http.Request, http.Response.StatusCode);
        var isKnown = Methods.Contains(request.Method);
        var method = isKnown ? request.Method : "_OTHER";
        var route = (http.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText;
        span.DisplayName = (isKnown ? method : "HTTP") + (route is null ? "" : $" {route}");
        span.SetTag("http.request.method", method).SetTag("http.route", route).SetTag("http.response.status_code", status)
            .SetTag("url.scheme", request.Scheme).SetTag("url.path", request.PathBase.Add(request.Path).Value)
            .SetTag("server.address", request.Host.Host).SetTag("server.port", request.Host.Port)
            .SetTag("network.protocol.version", request.Protocol["HTTP/".Length..]).SetTag("cowork.org", Caller.Find(http)?.Org);
        if (status >= 500)
        {
            span.Failed(status.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
    }
}
