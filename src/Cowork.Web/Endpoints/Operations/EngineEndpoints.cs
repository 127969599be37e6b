using Cowork.Marten;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http.Features;

using Wolverine.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>The operations that Wolverine.Http serves, with this host's authorisation and errors.</summary>
static class EngineEndpoints
{
    static readonly Dictionary<(string Method, string Pattern), (string Summary, int[] Refuses)> Descriptions = new()
    {
        [("GET", DeadLetterEndpoints.Path)] = ("List the jobs that were given up", []),
        [("GET", DeadLetterEndpoints.Path + "/{id}")] = ("Show a job that was given up", [404]),
        [("POST", DeadLetterEndpoints.Path + "/replay")] = ("Try jobs again that were given up", [400, 415]),
        [("DELETE", DeadLetterEndpoints.Path + "/{id}")] = ("Forget a job that was given up", [404]),
        [("GET", NodeEndpoints.Path)] = ("List the hosts that work on the database", []),
    };

    public static void MapEngine(this IEndpointRouteBuilder routes) => routes.MapWolverineEndpoints(options => options.ConfigureEndpoints(chain =>
    {
        var (summary, refuses) = Descriptions[(chain.HttpMethods.Single(), chain.RoutePattern!.RawText!)];
        // Wolverine describes its endpoints by their chains, which know nothing of the group that they are mapped in.
        chain.Metadata.WithTags("Engine").WithSummary(summary).WithMetadata(new ServedByWolverine(), OperationsDialect.Dialect).RequireAdmin().Refuses(refuses);
    }));

    /// <summary>Middleware around those endpoints: sets the tenant whose jobs the caller sees, and answers Wolverine's errors in the contract's form.</summary>
    public static void UseEngine(this WebApplication app) => app.Use(async (http, next) =>
    {
        if (http.GetEndpoint()?.Metadata.GetMetadata<ServedByWolverine>() is null)
        {
            await next(http);
            return;
        }
        var caller = Caller.Of(http);
        new DeadLetterScope(caller.IsOperator ? null : caller.Org).Enter(http);
        var body = http.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        using var answer = new MemoryStream();
        http.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(answer));
        try
        {
            await next(http);
        }
        finally
        {
            http.Features.Set(body);
        }
        if (http.Response.StatusCode is >= 400 and var status)
        {
            http.Response.Headers.Remove("Content-Type");
            var refused = status switch
            {
                400 => new ErrorResult(400, "malformed_json", "The body is not the JSON that is wanted; see /openapi.json."),
                404 => ErrorResult.NotFound("dead letter"),
                _ => ErrorResult.OfStatus(status),
            };
            await refused.ExecuteAsync(http);
        }
        else if (answer.Length > 0)
        {
            await body.Stream.WriteAsync(answer.GetBuffer().AsMemory(0, (int)answer.Length), http.RequestAborted);
        }
    });

    sealed record ServedByWolverine;
}
