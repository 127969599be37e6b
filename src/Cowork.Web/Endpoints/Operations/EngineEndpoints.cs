using System.Text.Json.Serialization.Metadata;

using Cowork.Domain;
using Cowork.Marten;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http.Features;

using Wolverine.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Body of <c>POST /engine/dead-letters/replay</c>.</summary>
/// <param name="Ids">Ids of letters that are not there, or no longer, are passed over.</param>
public sealed record DeadLettersToReplay(IReadOnlyList<string?>? Ids) : IRequestBody<DeadLettersToReplay>
{
    /// <summary>As many as a list shows.</summary>
    const int IdsMax = 1_000;

    public static JsonTypeInfo<DeadLettersToReplay> Json => OperationsJson.Default.DeadLettersToReplay;

    public void Validate(ValidationErrors errors)
    {
        if (Ids is null)
        {
            errors.Add("$.ids", "A list of ids is required.");
        }
        if (Ids is { Count: > IdsMax })
        {
            errors.Add("$.ids", $"At most {IdsMax} at a time.");
            return;
        }
        foreach (var (place, id) in (Ids ?? []).Index())
        {
            if (!Guid.TryParseExact(id, "D", out _))
            {
                errors.Add($"$.ids[{place}]", "Is not the id of a dead letter.");
            }
        }
    }
}

/// <summary>The operations that Wolverine.Http serves, with this host's authorisation and errors.</summary>
static class EngineEndpoints
{
    const string ListOperation = "listDeadLetters";

    static readonly Dictionary<(string Method, string Pattern), (string Name, string Summary, int[] Refuses)> Descriptions = new()
    {
        [("GET", DeadLetterEndpoints.Path)] = (ListOperation, "List the jobs that were given up, the newest first", [404, 422]),
        [("GET", DeadLetterEndpoints.Path + "/{id}")] = ("getDeadLetter", "Show a job that was given up", [404]),
        [("POST", DeadLetterEndpoints.Path + "/replay")] = ("replayDeadLetters", "Try jobs again that were given up", [400, 413, 415, 422]),
        [("DELETE", DeadLetterEndpoints.Path + "/{id}")] = ("discardDeadLetter", "Forget a job that was given up", [404]),
        [("GET", NodeEndpoints.Path)] = ("listNodes", "List the hosts that work on the database", []),
    };

    static readonly TextQuery Kind = new("kind", "", "Only jobs of this kind.");
    static readonly TextQuery Key = new("key", "", "Only jobs with this key.");
    static readonly IdQuery Run = new("run_id", "Only jobs of this run.");

    public static void MapEngine(this IEndpointRouteBuilder routes) => routes.MapWolverineEndpoints(options => options.ConfigureEndpoints(chain =>
    {
        var (name, summary, refuses) = Descriptions[(chain.HttpMethods.Single(), chain.RoutePattern!.RawText!)];
        // Wolverine describes its endpoints by their chains, which know nothing of the group that they are mapped in.
        var described = chain.Metadata.WithTags("Engine").WithSummary(summary)
            .WithMetadata(new EndpointNameMetadata(name), new ServedByWolverine(), OperationsDialect.Dialect).Refuses(refuses);
        _ = chain.HttpMethods.Single() == HttpMethods.Get ? described.RequireAuditor() : described.RequireAdmin();
        if (name == ListOperation)
        {
            chain.Metadata.Takes(Kind).Takes(Key).Takes(Run);
        }
        if (chain.RoutePattern.RawText == NodeEndpoints.Path)
        {
            chain.Metadata.RequireOperator();
        }
        if (chain.HttpMethods.Single() == HttpMethods.Post)
        {
            chain.Metadata.Accepts<DeadLettersToReplay>("application/json");
        }
    }));

    /// <summary>Middleware around those endpoints: reads what the request is about as all endpoints do, and answers Wolverine's errors in the contract's form.</summary>
    public static void UseEngine(this WebApplication app) => app.Use(async (http, next) =>
    {
        if (http.GetEndpoint()?.Metadata.GetMetadata<ServedByWolverine>() is null)
        {
            await next(http);
            return;
        }
        var caller = Caller.Of(http);
        var (kind, key) = http.GetEndpoint()?.Metadata.GetMetadata<IEndpointNameMetadata>()?.EndpointName == ListOperation ? Asked(http) : default;
        var ids = HttpMethods.IsPost(http.Request.Method) ? (await Body<DeadLettersToReplay>.BindAsync(http)).Value.Ids! : [];
        new DeadLetterRequest(caller.IsOperator ? null : caller.Org, [.. ids.Select(id => Guid.ParseExact(id!, "D"))], kind, key).Enter(http);
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
            await (status == 404 ? ErrorResult.NotFound("dead letter") : ErrorResult.OfStatus(status)).ExecuteAsync(http);
        }
        else if (answer.Length > 0)
        {
            await body.Stream.WriteAsync(answer.GetBuffer().AsMemory(0, (int)answer.Length), http.RequestAborted);
        }
    });

    /// <summary>Jobs of a run have its key, whatever they do.</summary>
    static (string? Kind, string? Key) Asked(HttpContext http)
    {
        var (kind, key, run) = (Kind.Read(http), Key.Read(http), Run.Read<RunKey>(http));
        return run is not null && key.Length > 0
            ? throw new UnreadableRequestException(ErrorResult.Invalid(Key.Name, "Leave key or run_id out."))
            : (kind.Length == 0 ? null : kind, run?.Value ?? (key.Length == 0 ? null : key));
    }

    sealed record ServedByWolverine;
}
