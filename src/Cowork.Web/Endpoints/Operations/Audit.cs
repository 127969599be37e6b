using System.Globalization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>A signed head of the log (docs/audit.md).</summary>
/// <param name="Number">From 1, without a gap, in the order in which they were signed.</param>
/// <param name="TreeSize">Events that the tree has: the position of the last of them.</param>
/// <param name="RootHash">Root of the Merkle tree (RFC 6962) over them, hex SHA-256.</param>
/// <param name="Kid">The key that signed it; <c>GET /infra/jwks.json</c> has it.</param>
/// <param name="Signature">A JWS (RFC 7515, compact, ES256) over the size, the root and the time.</param>
public sealed record HeadShape(long Number, long TreeSize, string RootHash, DateTimeOffset Timestamp, string Kid, string Signature)
{
    public static HeadShape Of(NumberedHead head) =>
        new(head.Number, head.Head.TreeSize, head.Head.RootHash, head.Head.Timestamp, head.Head.Kid, head.Head.Signature);
}

/// <param name="NextSince">Give it as <c>since</c> to get the heads after these.</param>
public sealed record HeadList(IReadOnlyList<HeadShape> Heads, long NextSince);

/// <summary>That the log has an event at its place.</summary>
/// <param name="Leaf">The bytes that the tree has of the event, as text: RFC 8785, without content.</param>
/// <param name="LeafHash">Hex SHA-256 of a zero byte and the leaf.</param>
/// <param name="LeafIndex">The event's position less 1.</param>
/// <param name="Path">The hashes beside the leaf's way to the root, from the leaf upwards (RFC 6962, 2.1.1).</param>
/// <param name="Head">The head with this tree; null: none was signed over this size.</param>
public sealed record InclusionProof(
    long Gid, Guid EventId, string Leaf, string LeafHash, long LeafIndex, long TreeSize, string RootHash, IReadOnlyList<string> Path, HeadShape? Head);

/// <summary>That the log's first <c>to</c> events begin with its first <c>from</c>.</summary>
/// <param name="Proof">As RFC 6962, 2.1.2, has it.</param>
public sealed record ConsistencyProof(long From, long To, string FromRootHash, string ToRootHash, IReadOnlyList<string> Proof);

static class AuditEndpoints
{
    static readonly WholeNumberQuery Since = new("since", 0, long.MaxValue, 0, "Only heads after this number; next_since of the page before.");
    static readonly TextQuery Event = new("event", null, "The event: its gid, or its id.");
    static readonly WholeNumberQuery TreeSize = new("tree_size", 1, long.MaxValue, null, "The tree to prove it in. Default: that of the first head that covers the event.");
    static readonly WholeNumberQuery From = new("from", 1, long.MaxValue, null, "Size of the smaller tree.", IsRequired: true);
    static readonly WholeNumberQuery To = new("to", 1, long.MaxValue, null, "Size of the larger tree. Default: that of the latest head.");

    public static void MapAudit(this IEndpointRouteBuilder routes)
    {
        var audit = routes.MapGroup("/audit").WithTags("Audit").RequireAuditor();
        audit.MapGet("/heads", List).WithName("listHeads")
            .WithSummary("List the signed heads of the log, oldest first")
            .Takes(Since, Lists.Limit)
            .Produces<HeadList>().Refuses(422);
        audit.MapGet("/heads/latest", Latest).WithName("getLatestHead")
            .WithSummary("Show the latest signed head of the log")
            .Produces<HeadShape>().Refuses(404);
        audit.MapGet("/proof", Prove).WithName("getInclusionProof")
            .WithSummary("Prove that the log has an event of the tenant at its place")
            .Takes(Event).Takes(TreeSize)
            .Produces<InclusionProof>().Refuses(404, 409, 422);
        audit.MapGet("/consistency", Extend).WithName("getConsistencyProof")
            .WithSummary("Prove that nothing of the log's beginning was changed between two of its sizes")
            .Takes(From, To)
            .Produces<ConsistencyProof>().Refuses(404, 422);
    }

    static async Task<IResult> List(HttpContext http, AuditHeadLog heads, CancellationToken ct)
    {
        var since = Since.Read(http);
        var found = await heads.After(since, (int)Lists.Limit.Read(http), ct);
        return JsonResult.Of(200, new HeadList([.. found.Select(HeadShape.Of)], found is [.., var last] ? last.Number : since), OperationsJson.Answers.HeadList);
    }

    static async Task<IResult> Latest(AuditHeadLog heads, CancellationToken ct) =>
        await heads.Latest(ct) is { } head ? JsonResult.Of(200, HeadShape.Of(head), OperationsJson.Answers.HeadShape) : ErrorResult.NotFound("head");

    static async Task<IResult> Prove(HttpContext http, Caller caller, IPositions positions, IMerkleStore store, AuditTree tree, AuditHeadLog heads, CancellationToken ct)
    {
        var asked = Event.Read(http);
        AuditEntry? found;
        if (Guid.TryParseExact(asked, "D", out var id))
        {
            found = await positions.Of(caller.Org, id, ct) is { } byId ? await store.Find(caller.Org, byId, ct) : null;
        }
        else if (long.TryParse(asked, NumberStyles.None, CultureInfo.InvariantCulture, out var gid))
        {
            found = await store.Find(caller.Org, gid, ct);
        }
        else
        {
            return ErrorResult.Invalid(Event.Name, "Must be a gid, which is a whole number, or an event's id, which is a UUID.");
        }
        if (found is null)
        {
            return ErrorResult.NotFound("event");
        }
        var position = found.Leaf.Position;
        var wanted = TreeSize.Find(http);
        var head = await heads.Covering(Math.Max(position, wanted ?? 0), ct);
        var size = wanted ?? head?.Head.TreeSize ?? 0;
        if (size == 0)
        {
            return new ErrorResult(409, "not_covered", "No signed head covers the event yet; one does within a minute.") { RetryAfter = 5 };
        }
        if (size < position || size > await store.Size(ct))
        {
            return ErrorResult.Invalid(TreeSize.Name, $"Must be from {position}, the event's position, to {await store.Size(ct)}, the tree's size.");
        }
        var path = await tree.Tiles.Inclusion(position, size, ct);
        return JsonResult.Of(
            200,
            new InclusionProof(
                position, found.Id, System.Text.Encoding.UTF8.GetString(found.Leaf.Canonical()), Convert.ToHexStringLower(found.Leaf.LeafHash()), position - 1, size,
                Convert.ToHexStringLower(await tree.Tiles.Root(size, ct)), [.. path.Select(Convert.ToHexStringLower)],
                head is { } there && there.Head.TreeSize == size ? HeadShape.Of(there) : null),
            OperationsJson.Answers.InclusionProof);
    }

    static async Task<IResult> Extend(HttpContext http, IMerkleStore store, AuditTree tree, AuditHeadLog heads, CancellationToken ct)
    {
        var from = From.Read(http);
        if ((To.Find(http) ?? (await heads.Latest(ct))?.Head.TreeSize) is not { } to)
        {
            return ErrorResult.NotFound("head");
        }
        var size = await store.Size(ct);
        if (to > size)
        {
            return ErrorResult.Invalid(To.Name, $"Must be at most {size}, the tree's size.");
        }
        if (from > to)
        {
            return ErrorResult.Invalid(From.Name, $"Must be at most {to}, the size of the larger tree.");
        }
        var proof = await tree.Tiles.Consistency(from, to, ct);
        return JsonResult.Of(
            200,
            new ConsistencyProof(
                from, to, Convert.ToHexStringLower(await tree.Tiles.Root(from, ct)), Convert.ToHexStringLower(await tree.Tiles.Root(to, ct)),
                [.. proof.Select(Convert.ToHexStringLower)]),
            OperationsJson.Answers.ConsistencyProof);
    }
}
