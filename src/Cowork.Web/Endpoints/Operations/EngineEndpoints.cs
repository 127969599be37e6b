using Cowork.Marten;
using Cowork.Web.Http;

using Wolverine.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>The operations that Wolverine.Http serves, behind the authorisation that all addresses have.</summary>
static class EngineEndpoints
{
    static readonly Dictionary<(string Method, string Pattern), (string Summary, int[] Refuses)> Described = new()
    {
        [("GET", DeadLetterEndpoints.Path)] = ("List the jobs that were given up", []),
        [("GET", DeadLetterEndpoints.Path + "/{id}")] = ("Show a job that was given up", [404]),
        [("POST", DeadLetterEndpoints.Path + "/replay")] = ("Try jobs again that were given up", [400, 415]),
        [("DELETE", DeadLetterEndpoints.Path + "/{id}")] = ("Forget a job that was given up", [404]),
        [("GET", NodeEndpoints.Path)] = ("List the hosts that work on the database", []),
    };

    public static void MapEngine(this IEndpointRouteBuilder routes) => routes.MapWolverineEndpoints(options => options.ConfigureEndpoints(chain =>
    {
        var (summary, refuses) = Described[(chain.HttpMethods.Single(), chain.RoutePattern!.RawText!)];
        chain.Metadata.WithTags("Engine").WithSummary(summary).NeedsAdmin().Refuses(refuses);
    }));

    /// <summary>Tells the endpoints whose jobs the caller may see.</summary>
    public static void UseEngineScope(this WebApplication app) => app.Use((http, next) =>
    {
        if (Caller.Find(http) is { } caller)
        {
            new DeadLetterScope(caller.IsOperator ? null : caller.Org).Enter(http);
        }
        return next(http);
    });
}
