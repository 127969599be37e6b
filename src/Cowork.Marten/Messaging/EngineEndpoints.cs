using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;

using Wolverine.Http;

namespace Cowork.Marten;

/// <summary>Whose jobs a request may see. The host puts it into the request's items before an endpoint of this project runs.</summary>
/// <param name="Org">Null: those of all tenants.</param>
public sealed record DeadLetterScope(string? Org)
{
    internal static string? Of(HttpContext http) => ((DeadLetterScope)http.Items[typeof(DeadLetterScope)]!).Org;

    public void Enter(HttpContext http) => http.Items[typeof(DeadLetterScope)] = this;
}

public sealed record DeadLetterList(IReadOnlyList<DeadLetter> DeadLetters);

/// <summary>Body of <c>POST /engine/dead-letters/replay</c>. Ids of letters that are not there, or no longer, are passed over.</summary>
public sealed record ReplayDeadLetters(IReadOnlyList<Guid>? Ids);

/// <param name="Count">Of those that are tried again.</param>
public sealed record Replayed(int Count);

/// <summary>The jobs that were given up, for administrators. Wolverine.Http serves them.</summary>
public static class DeadLetterEndpoints
{
    public const string Path = "/engine/dead-letters";

    /// <summary>Letters that a list shows at most.</summary>
    const int ListMax = 1_000;

    [WolverineGet(Path)]
    public static async Task<DeadLetterList> List(HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        new(await letters.List(DeadLetterScope.Of(http), ListMax, ct));

    [WolverineGet(Path + "/{id}")]
    public static async Task<DeadLetter?> Get(Guid id, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        await letters.Find(DeadLetterScope.Of(http), id, ct);

    [WolverinePost(Path + "/replay")]
    public static async Task<Replayed> Replay(ReplayDeadLetters? body, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        body is null
            ? throw new BadHttpRequestException("The body is null.")
            : new(await letters.Replay(DeadLetterScope.Of(http), [.. body.Ids ?? []], ct));

    [WolverineDelete(Path + "/{id}")]
    public static async Task Discard(Guid id, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        http.Response.StatusCode = await letters.Discard(DeadLetterScope.Of(http), id, ct) ? StatusCodes.Status204NoContent : StatusCodes.Status404NotFound;
}

/// <param name="ExpiresAt">When its lease ends if it is not heard of again.</param>
/// <param name="IsAnswering">This is the host that answers.</param>
public sealed record EngineNode(string Id, DateTimeOffset ExpiresAt, bool IsAnswering);

public sealed record EngineNodeList(IReadOnlyList<EngineNode> Nodes);

/// <summary>The hosts that work on the database, for administrators.</summary>
public static class NodeEndpoints
{
    public const string Path = "/engine/nodes";

    [WolverineGet(Path)]
    public static async Task<EngineNodeList> List([FromServices] StorageEngine engine, CancellationToken ct) => new(await engine.Nodes(ct));
}
