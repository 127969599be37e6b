using Cowork.Marten;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Metadata;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Addresses that one engine has and another has not: where it has none, they are unknown ones.</summary>
static class EngineEndpoints
{
    public static void MapEngine(this IEndpointRouteBuilder routes, string engine)
    {
        if (engine == "marten")
        {
            foreach (var route in EngineRoutes.All)
            {
                MapRoute(routes, route);
            }
        }
    }

    static void MapRoute(IEndpointRouteBuilder routes, EngineRoute route)
    {
        var endpoint = routes.MapMethods(route.Pattern, [route.Method], (HttpContext http, HostLifecycle lifecycle) => Forward(http, lifecycle, route))
            .WithTags("Engine").WithSummary(route.Summary).NeedsAdmin().Refuses([.. route.Refuses]);
        if (route.Takes is { } body)
        {
            endpoint.WithMetadata(new AcceptsMetadata(["application/json"], body));
        }
        if (route.Answers is { } answer)
        {
            endpoint.Produces(200, answer, "application/json");
        }
        else
        {
            endpoint.Produces(204);
        }
    }

    /// <summary>Passes a request on. What is refused there is refused in our words, as everywhere.</summary>
    static async Task Forward(HttpContext http, HostLifecycle lifecycle, EngineRoute route)
    {
        var caller = Caller.Of(http);
        EngineRoutes.Enter(http, caller.IsOperator ? null : caller.Org);
        var body = http.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        using var answer = new MemoryStream();
        http.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(answer));
        try
        {
            await ((MartenEngine)lifecycle.Engine).Serve(http, route);
        }
        finally
        {
            http.Features.Set(body);
        }
        if (http.Response.StatusCode is >= 400 and var status)
        {
            http.Response.Headers.Remove("Content-Type");
            var problem = status switch
            {
                400 => new ErrorResult(400, "malformed_json", "The body is not the JSON that is wanted; see /openapi.json."),
                404 => ErrorResult.NotFound("dead letter"),
                _ => ErrorResult.OfStatus(status),
            };
            await problem.ExecuteAsync(http);
            return;
        }
        if (answer.Length == 0)
        {
            return;
        }
        await body.Stream.WriteAsync(answer.GetBuffer().AsMemory(0, (int)answer.Length), http.RequestAborted);
    }
}
