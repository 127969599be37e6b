using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <param name="StreamId">The stream id in the feed.</param>
public sealed record EventShape(string StreamId, long Version);

/// <param name="Failure">Why the memory was extracted by rule instead; null: the model wrote it.</param>
public sealed record ModelNotesShape(string Model, string RequestSha256, long InputTokens, long OutputTokens, decimal? CostUsd, RunErrorShape? Failure);

/// <summary>A memory. <c>memory_retrieval</c> and <c>recall</c> name it by its id.</summary>
/// <param name="Kind"><c>session_summary</c>, <c>learning</c> or <c>memory</c>.</param>
/// <param name="Version">Number of writes; <c>memory_retrieval</c> names the version that it found.</param>
/// <param name="SessionId">The session of that run; null: a user stated the memory.</param>
/// <param name="RunId">The run that the memory comes from; null: a user stated the memory.</param>
/// <param name="Event">The event of that run that the memory follows from; null: an earlier release wrote the memory, or a user stated it.</param>
/// <param name="Notes">The result of asking the model for notes; null: no model was asked.</param>
public sealed record MemoryDetails(
    MemoryKey MemoryId, [property: MemoryKind] string Kind, string Content, long Version, SessionKey? SessionId, RunKey? RunId, EventShape? Event,
    ModelNotesShape? Notes, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record MemoryList(SessionKey SessionId, IReadOnlyList<MemoryDetails> Memories, string? NextCursor);

/// <summary>Memories of all sessions that the caller sees, and those that users stated.</summary>
/// <param name="NextCursor">Null: there are no further memories. Otherwise there may be, also behind a page with fewer than were asked for.</param>
public sealed record TenantMemoryList(IReadOnlyList<MemoryDetails> Memories, string? NextCursor);

static class MemoryEndpoints
{
    /// <summary>Rows that one request looks at: what is rare is found over several pages, each at the same cost.</summary>
    const int LookedAtMax = 2_000;

    const int ChunkRows = 250;

    static readonly ChoiceQuery Kind = new("kind", ["all", .. new MemoryKindAttribute().Words], "all", "Only of this kind.", "MemoryKindFilter");

    public static void MapMemories(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/memories", ListAll).WithName("listTenantMemories").WithTags("Memories")
            .WithSummary("List the memories of all sessions that the caller sees, and those that users stated, newest first")
            .Takes(Kind).Takes(Lists.LimitOfRuns).Takes(ListCursors.Cursor)
            .Produces<TenantMemoryList>().Refuses(422);
        routes.MapGet("/memories/{memory_id}", Get).WithName("getMemory").WithTags("Memories")
            .WithSummary("Show a memory, and the run and event that it came from")
            .Produces<MemoryDetails>().Refuses(404, 422);
        routes.MapGet("/sessions/{session_id}/memories", List).WithName("listMemories").WithTags("Memories")
            .WithSummary("List the memories that a session's runs left, newest first")
            .Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .Produces<MemoryList>().Refuses(404, 422);
    }

    static async Task<IResult> Get(PathKey<MemoryKey> memory, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct) =>
        await rows.Find(caller, Memories.Model, memory.Key.Value, ct) is { } found
            ? JsonResult.Of(200, await Details(found.Stored.Version, found.Row, blobs, ct), AgentServiceJson.Answers.MemoryDetails)
            : ErrorResult.NotFound("memory");

    static async Task<IResult> List(PathKey<SessionKey> session, HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var page = ListCursors.Enter(http, $"memories of {session.Key.Value}");
        var limit = (int)Lists.Limit.Read(http);
        if (await rows.FindSession(caller, session.Key, ct) is not { } row)
        {
            return ErrorResult.NotFound("session");
        }
        var shown = new List<MemoryDetails>();
        var room = new ListRoom();
        var list = await rows.List(caller.Org, Memories.Model.Table, new(session.Key.Value, Limit: limit + 1, Before: page.Before, Bytes: PageBytes.Max), ct);
        foreach (var found in list)
        {
            var memory = Memories.Model.Read(found.Json.Span);
            if (shown.Count == limit || !room.Takes(found, memory.Text))
            {
                break;
            }
            shown.Add(await Details(found.Version, memory, blobs, ct));
        }
        return JsonResult.Of(200, new(row.SessionId, shown, page.Next(http, list, shown.Count)), AgentServiceJson.Answers.MemoryList);
    }

    static async Task<IResult> ListAll(HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var page = ListCursors.Enter(http, "memories", Kind.Name);
        var (limit, kind) = ((int)Lists.LimitOfRuns.Read(http), Kind.Read(http));
        var (shown, room, lookedAt, before, next, isOver) = (new List<MemoryDetails>(), new ListRoom(), 0, page.Before, (long?)null, false);
        while (!isOver && next is null)
        {
            var max = lookedAt == 0 ? limit + 1 : ChunkRows;
            var chunk = await rows.List(caller.Org, Memories.Model.Table, new(Limit: max, Before: before, Bytes: PageBytes.Max), ct);
            List<(Row Stored, MemoryRow Memory)> found =
                [.. chunk.Select(row => (row, Memories.Model.Read(row.Json.Span))).Where(row => kind == Kind.Default || row.Item2.Kind == kind)];
            var seen = await rows.FindSessions(caller, [.. found.Select(row => row.Memory.SessionId).OfType<SessionKey>().Distinct()], ct);
            foreach (var (stored, memory) in found.Where(row => row.Memory.SessionId is not { } session || seen.ContainsKey(session)))
            {
                if (shown.Count == limit || !room.Takes(stored, memory.Text))
                {
                    next = before;
                    break;
                }
                shown.Add(await Details(stored.Version, memory, blobs, ct));
                before = stored.Created;
            }
            if (next is not null)
            {
                break;
            }
            lookedAt += max;
            isOver = chunk.Count < max && chunk.Sum(row => (long)row.Json.Length) <= PageBytes.Max;
            before = chunk is [.., var last] ? last.Created : before;
            next = !isOver && lookedAt >= LookedAtMax ? before : null;
        }
        return JsonResult.Of(200, new TenantMemoryList(shown, next is { } behind ? page.After(http, behind) : null), AgentServiceJson.Answers.TenantMemoryList);
    }

    static async ValueTask<MemoryDetails> Details(long version, MemoryRow memory, IBlobs blobs, CancellationToken ct) =>
        new(
            memory.MemoryId, memory.Kind, await blobs.Text(memory.Text, ct), version, memory.SessionId,
            memory.RunId, memory.Event is { } e ? new(e.StreamId, e.Version) : null, memory.Notes is { } notes ? Shape(notes) : null, memory.CreatedAt, memory.UpdatedAt);

    static ModelNotesShape Shape(ModelNotes notes) => new(
        notes.Model, notes.RequestSha256, notes.InputTokens, notes.OutputTokens, Money.Usd(notes.CostMicroUsd),
        notes.Failure is { } failure ? new(failure.Code, failure.Message) : null);
}
