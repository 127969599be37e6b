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

static class MemoryEndpoints
{
    public static void MapMemories(this IEndpointRouteBuilder routes)
    {
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

    static async ValueTask<MemoryDetails> Details(long version, MemoryRow memory, IBlobs blobs, CancellationToken ct) =>
        new(
            memory.MemoryId, memory.Kind, await blobs.Text(memory.Text, ct), version, memory.SessionId,
            memory.RunId, memory.Event is { } e ? new(e.StreamId, e.Version) : null, memory.Notes is { } notes ? Shape(notes) : null, memory.CreatedAt, memory.UpdatedAt);

    static ModelNotesShape Shape(ModelNotes notes) => new(
        notes.Model, notes.RequestSha256, notes.InputTokens, notes.OutputTokens, Money.Usd(notes.CostMicroUsd),
        notes.Failure is { } failure ? new(failure.Code, failure.Message) : null);
}
