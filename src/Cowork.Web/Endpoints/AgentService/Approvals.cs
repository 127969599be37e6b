using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /approvals/{id}/decision</c>.</summary>
/// <param name="Note">The reason. The model reads it when the call is rejected.</param>
public sealed record NewDecision([property: NeverNull] bool? Approved, string? Note = null) : IRequestBody<NewDecision>
{
    public static JsonTypeInfo<NewDecision> Json => AgentServiceJson.Default.NewDecision;

    public void Validate(ValidationErrors errors)
    {
        if (Approved is null)
        {
            errors.Add("$.approved", "Say true or false.");
        }
        if (Note?.Length > Limits.NoteCharsMax)
        {
            errors.Add("$.note", $"A note has at most {Limits.NoteCharsMax} characters.");
        }
    }
}

/// <summary>An approval.</summary>
/// <param name="ToolInput">
/// The call's arguments: an object, or the model's text if it is none. A long list shows <c>{sha256, bytes}</c> instead.
/// </param>
/// <param name="ArgsDigest">Hex SHA-256 of the arguments' text: the decision is for this call only.</param>
/// <param name="Id">The approval id.</param>
/// <param name="DecidedByIssuers">Who issued the token that decided, and who is behind theirs: as one person with <c>decided_by</c> they have decided.</param>
public sealed record ApprovalDetails(
    ApprovalKey ApprovalId, SessionKey SessionId, RunKey RunId, string ToolCallId, string ToolName,
    [property: ObjectOrText] JsonElement ToolInput, string ArgsDigest, string Reason, string Rule,
    [property: ApprovalStatus] string Status, DateTimeOffset CreatedAt, DateTimeOffset ExpiresAt, DateTimeOffset? DecidedAt, string? DecidedBy, string? DecisionNote,
    ApprovalKey Id, IReadOnlyList<string> DecidedByIssuers)
{
    public static ApprovalDetails Of(ApprovalRow row) => new(
        row.ApprovalId, row.SessionId, row.RunId, row.ToolCallId, row.ToolName, Projections.Approvals.Shown(row.ToolInput), row.ArgsDigest, row.Reason, row.Rule,
        row.Status, row.CreatedAt, row.ExpiresAt, row.DecidedAt, row.DecidedBy, row.DecisionNote, row.ApprovalId, [.. (row.Issuers ?? []).Select(issuer => issuer.Actor)]);
}

/// <param name="SessionId">The session in the query; null: all sessions.</param>
/// <param name="NextCursor">Of the page behind this one; null: there is none.</param>
public sealed record ApprovalList(SessionKey? SessionId, IReadOnlyList<ApprovalDetails> Approvals, string? NextCursor);

static class ApprovalEndpoints
{
    /// <summary>Total bytes of arguments that a list reads from the blob store.</summary>
    const long ListedInputBytesMax = 4 << 20;

    /// <summary>Smallest page of rows that is read at once.</summary>
    const int PageRows = 100;

    static readonly ChoiceQuery Status = new("status", ["pending", "approved", "rejected", "expired", "all"], "pending", "Only those in this state.", "ApprovalStatusFilter");

    public static void MapApprovals(this IEndpointRouteBuilder routes)
    {
        var approvals = routes.MapGroup("/approvals").WithTags("Approvals");
        approvals.MapGet("", List).WithName("listApprovals")
            .WithSummary("List approvals, newest first: what is asked for and why, and who decided what, when and why")
            .Takes(Status).Takes(SessionInQuery.Parameter).Takes(Lists.Limit).Takes(ListCursors.Cursor)
            .TakesAsOf()
            .Produces<ApprovalList>().Refuses(404, 422);
        approvals.MapGet("/{approval_id}", Get).WithName("getApproval")
            .WithSummary("Show an approval")
            .TakesAsOf()
            .Produces<ApprovalDetails>().Refuses(404, 422);
        approvals.MapPost("/{approval_id}/decision", Decide).WithName("decideApproval").RequireApprover()
            .WithSummary("Approve or reject the call; its run goes on")
            .Produces<ApprovalDetails>(200).Refuses(400, 404, 409, 413, 415, 422);
    }

    static async Task<IResult> List(HttpContext http, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct)
    {
        (var page, view) = ListCursors.Enter(http, view, "approvals", Status.Name, SessionInQuery.Parameter.Name);
        var status = Status.Read(http);
        var limit = (int)Lists.Limit.Read(http);
        var session = SessionInQuery.Read(http);
        SessionRow? of = null;
        if (session is { } asked && (of = await view.Rows.FindSession(caller, asked, ct)) is null)
        {
            return ErrorResult.NotFound("session");
        }
        var shown = new List<ApprovalDetails>();
        var (left, room) = (ListedInputBytesMax, new ListRoom());
        var query = new RowQuery(session?.Value, status == "all" ? null : status, Math.Max(limit, PageRows), page.Before, PageBytes.Max);
        var (last, next) = (0L, (string?)null);
        await foreach (var (found, row) in Newest(caller, query, view.Rows, ct))
        {
            if (shown.Count == limit || !room.Takes(found))
            {
                next = page.After(http, last);
                break;
            }
            last = found.Created;
            // Arguments that do not fit are shown as their digest; GET /approvals/{id} shows them whole.
            var bytes = (row.ToolInput as Content.Blob)?.Bytes ?? 0;
            shown.Add(ApprovalDetails.Of(bytes <= left ? await WithInput(row, blobs, ct) : row));
            left -= bytes <= left ? bytes : 0;
        }
        return JsonResult.Of(200, new(of?.SessionId, shown, next), AgentServiceJson.Answers.ApprovalList);
    }

    static async Task<IResult> Get(PathKey<ApprovalKey> approval, Caller caller, ReadView view, IBlobs blobs, CancellationToken ct) =>
        await Find(caller, approval.Key, view.Rows, ct) is { } row
            ? JsonResult.Of(200, ApprovalDetails.Of(await WithInput(row, blobs, ct)), AgentServiceJson.Answers.ApprovalDetails)
            : ErrorResult.NotFound("approval");

    static async Task<IResult> Decide(
        PathKey<ApprovalKey> approval, Body<NewDecision> body, Caller caller, ApprovalDecisions decisions, CommandAnswers answers, IRows rows, IBlobs blobs,
        CancellationToken ct)
    {
        if (await Find(caller, approval.Key, rows, ct) is not { } asked)
        {
            return ErrorResult.NotFound("approval");
        }
        var note = string.IsNullOrWhiteSpace(body.Value.Note) ? null : body.Value.Note;
        var result = await decisions.Decide(caller.Org, caller.Origin, approval.Key, body.Value.Approved == true, note, body.Key, ct);
        return await answers.Of(
            caller.Org, result, Run.Aggregate.Stream(asked.RunId), body.Key,
            async after => JsonResult.Of(
                200, ApprovalDetails.Of(await WithInput(after.Row(Projections.Approvals.Model, approval.Key.Value), blobs, ct)), AgentServiceJson.Answers.ApprovalDetails),
            ct);
    }

    /// <summary>Newest first, without approvals of sessions whose approvals the caller does not see.</summary>
    static async IAsyncEnumerable<(Row Found, ApprovalRow Row)> Newest(Caller caller, RowQuery query, IRows rows, [EnumeratorCancellation] CancellationToken ct)
    {
        var isThere = new Dictionary<SessionKey, bool>();
        while (true)
        {
            var page = await rows.List(caller.Org, Projections.Approvals.Model.Table, query, ct);
            foreach (var found in page)
            {
                var row = Projections.Approvals.Model.Read(found.Json.Span);
                var of = row.SessionId;
                if (!isThere.TryGetValue(of, out var there))
                {
                    isThere.Add(of, there = await rows.SeesApprovalsOf(caller, of, ct));
                }
                if (there)
                {
                    yield return (found, row);
                }
            }
            if (page.Count < query.Limit && page.Sum(found => (long)found.Json.Length) <= query.Bytes)
            {
                yield break;
            }
            query = query with { Before = page[^1].Created };
        }
    }

    /// <summary>Null: it does not exist, belongs to another tenant, or the caller does not see those of its session.</summary>
    static async ValueTask<ApprovalRow?> Find(Caller caller, ApprovalKey approval, IRows rows, CancellationToken ct) =>
        await rows.Get(caller.Org, Projections.Approvals.Model.Table, approval.Value, ct) is { } stored
        && Projections.Approvals.Model.Read(stored.Json.Span) is var row
        && await rows.SeesApprovalsOf(caller, row.SessionId, ct)
            ? row
            : null;

    /// <summary>The row with its arguments from the blob store.</summary>
    static async ValueTask<ApprovalRow> WithInput(ApprovalRow row, IBlobs blobs, CancellationToken ct) =>
        row.ToolInput is Content.Blob input ? row with { ToolInput = Content.Of(await blobs.Text(input, ct)) } : row;
}
