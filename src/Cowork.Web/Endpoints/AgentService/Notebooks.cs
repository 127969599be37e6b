using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>A scratchpad in the list of the tenant's; <c>GET /api/v1/scratchpads/{id}</c> has its cells.</summary>
/// <param name="CreatedBy">Who made it.</param>
public sealed record NotebookSummary(ScratchpadKey ScratchpadId, SessionKey SessionId, string Title, string CreatedBy, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="NextCursor">Null: there are no further scratchpads. Otherwise there may be, also behind a page with fewer than were asked for.</param>
public sealed record NotebookList(IReadOnlyList<NotebookSummary> Scratchpads, string? NextCursor);

/// <summary>An execution of a cell.</summary>
/// <param name="Execution">Numbers the scratchpad's executions from 1.</param>
/// <param name="RunId">The run whose tool asked for it; null: a client did.</param>
/// <param name="RequestedBy">Who asked for it.</param>
/// <param name="StartedAt">Of the last attempt; null: it has not begun.</param>
/// <param name="ErrorCode">Null: it did not fail.</param>
/// <param name="DurationMs">From the kernel's taking the code; null: it was not executed, or goes on.</param>
/// <param name="Kernel">Name of the kernel's specification.</param>
/// <param name="Files">How many files it wrote below the output root.</param>
public sealed record NotebookExecution(
    int Execution, CellKey CellId, RunKey? RunId, string RequestedBy, DateTimeOffset QueuedAt, DateTimeOffset? StartedAt, DateTimeOffset? CompletedAt,
    [property: CellStatus] string Status, string? ErrorCode, int Attempt, long? DurationMs, string? Kernel, int Files);

/// <param name="HasMore">There were earlier ones.</param>
public sealed record NotebookExecutionList(ScratchpadKey ScratchpadId, SessionKey SessionId, IReadOnlyList<NotebookExecution> Executions, bool HasMore);

static class NotebookEndpoints
{
    public static void MapNotebooks(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/scratchpads", List).WithName("listNotebooks").WithTags("Scratchpads")
            .WithSummary("List the scratchpads of all conversations, newest first, without replays")
            .Takes(SessionInQuery.Parameter).Takes(NameQuery.Words).Takes(Lists.LimitOfPage).Takes(ListCursors.Cursor)
            .Produces<NotebookList>().Refuses(404, 422);
        routes.MapGet("/scratchpads/{scratchpad_id}/executions", Executions).WithName("listNotebookExecutions").WithTags("Scratchpads")
            .WithSummary("List who executed a scratchpad's cells, and for which run, newest first")
            .Takes(Lists.LimitOfPage)
            .Produces<NotebookExecutionList>().Refuses(404, 422);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, IRows rows, IBlobs blobs, CancellationToken ct)
    {
        var page = ListCursors.Enter(http, "scratchpads", SessionInQuery.Parameter.Name, NameQuery.Words.Name);
        var (session, limit) = (SessionInQuery.Read(http), (int)Lists.LimitOfPage.Read(http));
        if (session is { } of && await rows.FindSession(caller, of, ct) is null)
        {
            return ErrorResult.NotFound("session");
        }
        var query = (session is { } within ? Scratchpads.Query(within, limit + 1) : Scratchpads.OfAll(limit + 1)) with
        {
            Before = page.Before,
            Named = NameQuery.Read(http, Scratchpad.Aggregate.Name, session),
        };
        var found = await rows.List(caller.Org, Scratchpads.Model.Table, query, ct);
        var shown = new List<NotebookSummary>();
        var read = 0;
        foreach (var row in found.Take(limit).Select(row => Scratchpads.Model.Read(row.Json.Span)))
        {
            read++;
            if (row.ReplayOf is null)
            {
                shown.Add(new(row.ScratchpadId, row.SessionId, await blobs.Text(row.Title, ct), row.CreatedBy, row.CreatedAt, row.UpdatedAt));
            }
        }
        return JsonResult.Of(200, new(shown, page.Next(http, found, read)), AgentServiceJson.Answers.NotebookList);
    }

    static async Task<IResult> Executions(PathKey<ScratchpadKey> pad, HttpContext http, Caller caller, IRows rows, IEventLog log, CancellationToken ct)
    {
        var limit = (int)Lists.LimitOfPage.Read(http);
        if (await rows.Find(caller, Scratchpads.Model, pad.Key.Value, ct) is not var (stored, row))
        {
            return ErrorResult.NotFound("scratchpad");
        }
        var found = await ExecutedCell.Last(log, caller.Org, pad.Key, stored.Version, limit + 1, ct);
        return JsonResult.Of(
            200,
            new(
                pad.Key, row.SessionId,
                [.. found.Take(limit).Select(e => new NotebookExecution(
                    e.Execution, e.CellId, e.RunId, e.RequestedBy, e.QueuedAt, e.StartedAt, e.CompletedAt,
                    e.CompletedAt is not null ? e.Result?.Error is null ? "success" : "error" : e.StartedAt is not null ? "running" : "pending", e.Result?.Error?.Code, e.Attempt,
                    e.Result?.DurationMs, e.Kernel, e.Result?.Files?.Count ?? 0))],
                found.Count > limit),
            AgentServiceJson.Answers.NotebookExecutionList);
    }
}
