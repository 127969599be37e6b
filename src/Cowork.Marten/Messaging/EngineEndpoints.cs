using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;

using Wolverine.Http;

namespace Cowork.Marten;

/// <summary>Which jobs a request is about. The host reads it from the request, and puts it into the request's items, before an endpoint of this project runs.</summary>
/// <param name="Org">The tenant whose jobs the caller may see; null: those of all tenants.</param>
/// <param name="Ids">Letters that are to be tried again. Ids of letters that are not there, or no longer, are passed over.</param>
/// <param name="Kind">Of the jobs that a list has; null: any.</param>
/// <param name="Key">Of the jobs that a list has; null: any.</param>
public sealed record DeadLetterRequest(string? Org, IReadOnlyList<Guid> Ids, string? Kind = null, string? Key = null)
{
    internal static DeadLetterRequest Of(HttpContext http) => (DeadLetterRequest)http.Items[typeof(DeadLetterRequest)]!;

    public void Enter(HttpContext http) => http.Items[typeof(DeadLetterRequest)] = this;
}

/// <param name="DeadLetters">The newest, at most 1 000.</param>
/// <param name="Total">How many there are, of those that were asked for.</param>
public sealed record DeadLetterList(IReadOnlyList<DeadLetter> DeadLetters, long Total);

/// <param name="Count">Of those that are tried again.</param>
public sealed record Replayed(int Count);

/// <summary>The jobs that were given up, for administrators. Wolverine.Http serves them.</summary>
public static class DeadLetterEndpoints
{
    public const string Path = "/engine/dead-letters";

    /// <summary>Letters that a list shows at most.</summary>
    const int ListMax = 1_000;

    [WolverineGet(Path)]
    public static async Task<DeadLetterList> List(HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct)
    {
        var (org, _, kind, key) = DeadLetterRequest.Of(http);
        return new(await letters.List(org, ListMax, ct, kind, key), await letters.Count(org, ct, kind, key));
    }

    [WolverineGet(Path + "/{id}")]
    public static async Task<DeadLetter?> Get(Guid id, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        await letters.Find(DeadLetterRequest.Of(http).Org, id, ct);

    [WolverinePost(Path + "/replay")]
    public static async Task<Replayed> Replay(HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        new(await letters.Replay(DeadLetterRequest.Of(http).Org, [.. DeadLetterRequest.Of(http).Ids], ct));

    [WolverineDelete(Path + "/{id}")]
    public static async Task Discard(Guid id, HttpContext http, [FromServices] DeadLetters letters, CancellationToken ct) =>
        http.Response.StatusCode = await letters.Discard(DeadLetterRequest.Of(http).Org, id, ct) ? StatusCodes.Status204NoContent : StatusCodes.Status404NotFound;
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
