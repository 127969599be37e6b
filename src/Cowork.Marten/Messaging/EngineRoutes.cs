using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;

using Wolverine.Http;
using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>An address of this engine, as the outer host offers and describes it. All of them are for administrators.</summary>
/// <param name="Takes">Its body.</param>
/// <param name="Answers">What it answers 200 with; null: 204.</param>
public sealed record EngineRoute(string Method, string Pattern, string Summary, Type? Takes, Type? Answers, IReadOnlyList<int> Refuses);

/// <summary>What Wolverine.Http serves: operations of this engine, and commands whose body is the message.</summary>
public static class EngineRoutes
{
    const string OrgItem = "cowork.engine.org";

    public static IReadOnlyList<EngineRoute> All { get; } =
    [
        new("GET", DeadLetterEndpoints.Path, "List the jobs that were given up", null, typeof(DeadLetterList), []),
        new("GET", DeadLetterEndpoints.Path + "/{id}", "Show a job that was given up", null, typeof(DeadLetter), [404]),
        new("POST", DeadLetterEndpoints.Path + "/replay", "Have jobs that were given up tried again", typeof(ReplayDeadLetters), typeof(Replayed), [400, 415]),
        new("DELETE", DeadLetterEndpoints.Path + "/{id}", "Forget a job that was given up", null, null, [404]),
        new("GET", NodeEndpoints.Path, "List the hosts that work on the database", null, typeof(EngineNodeList), []),
    ];

    /// <summary>Says what the caller may see: one tenant's, or with null everything.</summary>
    public static void Enter(HttpContext http, string? org) => http.Items[OrgItem] = org;

    internal static string? OrgOf(HttpContext http) => (string?)http.Items[OrgItem];
}

/// <summary>Body of <c>POST /engine/dead-letters/replay</c>. What is not there, or no longer, is passed over.</summary>
public sealed record ReplayDeadLetters(IReadOnlyList<Guid>? Ids);

/// <param name="Count">Of those that are tried again.</param>
public sealed record Replayed(int Count);

public static class DeadLetterEndpoints
{
    public const string Path = "/engine/dead-letters";

    [WolverineGet(Path)]
    public static async Task<DeadLetterList> List(HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        new(await letters.List(EngineRoutes.OrgOf(http), ct));

    [WolverineGet(Path + "/{id}")]
    public static Task<DeadLetter?> Get(Guid id, HttpContext http, [FromServices] DeadLetters letters) => letters.Find(EngineRoutes.OrgOf(http), id);

    [WolverinePost(Path + "/replay")]
    public static async Task<Replayed> Replay(ReplayDeadLetters body, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        new(await letters.Replay(EngineRoutes.OrgOf(http), body.Ids ?? [], ct));

    [WolverineDelete(Path + "/{id}")]
    public static async Task Discard(Guid id, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        http.Response.StatusCode = await letters.Discard(EngineRoutes.OrgOf(http), id, ct) ? StatusCodes.Status204NoContent : StatusCodes.Status404NotFound;
}

/// <param name="Number">As messages in the database name their owner.</param>
/// <param name="IsLeader">It deals out the work that one node does for all.</param>
/// <param name="Agents">The work of that kind that it does.</param>
public sealed record EngineNode(int Number, bool IsLeader, DateTimeOffset StartedAt, DateTimeOffset SeenAt, IReadOnlyList<string> Agents);

public sealed record EngineNodeList(IReadOnlyList<EngineNode> Nodes);

public static class NodeEndpoints
{
    public const string Path = "/engine/nodes";

    [WolverineGet(Path)]
    public static async Task<EngineNodeList> List(IWolverineRuntime runtime, CancellationToken ct)
    {
        var nodes = await runtime.Storage.Nodes.LoadAllNodesAsync(ct);
        return new([.. nodes.OrderBy(n => n.AssignedNodeNumber).Select(n =>
            new EngineNode(n.AssignedNodeNumber, n.IsLeader(), n.Started, n.LastHealthCheck, [.. n.ActiveAgents.Select(a => a.ToString()).Order()]))]);
    }
}
