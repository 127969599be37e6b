using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>Body of <c>POST /api/v1/scratchpads/import</c>.</summary>
/// <param name="ConversationId">The conversation that the scratchpad is to belong to.</param>
/// <param name="Notebook">A notebook of Jupyter (format 4), as it lies in its file.</param>
/// <param name="Title">1 to 200 characters; null: that of the notebook's metadata, or "Scratchpad".</param>
public sealed record NotebookImport([property: NeverNull] string? ConversationId, [property: NeverNull] JsonElement? Notebook, string? Title = null) : IRequestBody<NotebookImport>
{
    public static JsonTypeInfo<NotebookImport> Json => PlatformJson.Default.NotebookImport;

    public void Validate(ValidationErrors errors)
    {
        CellFields.ValidateConversation(ConversationId, errors);
        ConversationFields.ValidateTitle(Title, errors);
        if (Notebook is not { ValueKind: JsonValueKind.Object } notebook)
        {
            errors.Add("$.notebook", "A notebook is required: the JSON object of an .ipynb file.");
            return;
        }
        foreach (var (path, fault) in Application.Notebook.Read(notebook, "$.notebook").Faults)
        {
            errors.Add(path, fault);
        }
    }
}

/// <summary>Notebooks that come and go, and cells that are executed once more.</summary>
static class ReplayEndpoints
{
    const string MediaType = "application/x-ipynb+json";

    public static void MapReplays(this IEndpointRouteBuilder routes)
    {
        var pads = routes.MapGroup("/scratchpads").WithTags("Scratchpads");
        pads.MapPost("/import", Import).WithName("importNotebook").RequireMember()
            .WithSummary("Make a scratchpad of a notebook of Jupyter")
            .Produces<ScratchpadDetails>(201).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        var pad = pads.MapGroup("/{scratchpad_id}").OfVisibleSessions();
        pad.MapGet("/ipynb", Export).WithName("downloadNotebook").WithMetadata(Exports.Of<ScratchpadKey>("scratchpad"))
            .WithSummary("A scratchpad as a notebook of Jupyter (nbformat 4.5)")
            .Produces<byte[]>(200, "application/octet-stream").Refuses(404, 422);
        pad.MapPost("/replay", Replay).WithName("replayScratchpad").RequireMember()
            .WithSummary("Execute all code cells once more, from the top, in a kernel of their own, and compare the results")
            .TakesPrefer()
            .Produces<ReplayDetails>().Produces<ReplayDetails>(202).Refuses(400, 404, 409, 413, 415, 422, 429, 507);
        pad.MapGet("/replay", Get).WithName("getReplay")
            .WithSummary("Show what became of a replay's cells; scratchpad_id is the replay's id")
            .Produces<ReplayDetails>().Refuses(404, 422);
        pad.MapGet("/replays", List).WithName("listReplays")
            .WithSummary("List a scratchpad's replays, newest first")
            .Takes(Lists.LimitOfPage).Takes(Lists.Offset)
            .Produces<ReplayList>().Refuses(404, 422);
    }

    static async Task<IResult> Import(
        Body<NotebookImport> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, TenantUsage usage, IRows rows, NotebookCopies copies, ScratchpadViews views,
        TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var session = PathIds.Key<SessionKey>(body.Value.ConversationId!, "$.conversation_id");
        if (!await answers.IsRepeat(caller.Org, body.Key, ct) && await ScratchpadEndpoints.WhyFull(caller.Org, session, usage, rows, ct) is { } full)
        {
            return ErrorResult.Of(full);
        }
        var (cells, named, _) = Notebook.Read(body.Value.Notebook!.Value, "$.notebook");
        var title = body.Value.Title ?? (string.IsNullOrWhiteSpace(named) ? NewScratchpad.UsualTitle : FileText.Truncate(FileText.OneLine(named), Limits.TitleCharsMax));
        var pad = ScratchpadKey.New(now);
        var create = new CreateScratchpad(pad, session, Content.Of(StorableText.Escape(title)), await copies.Import(caller.Org, session, cells, now, ct), body.Key);
        var result = await commands.Execute(caller.Org, caller.Origin, create, ct);
        return await answers.Of(caller.Org, result, Scratchpad.Aggregate.Stream(pad), body.Key, async after => await views.Shown(201, caller.Org, after, ct), ct);
    }

    static async Task<IResult> Export(
        PathKey<ScratchpadKey> pad, HttpContext http, Caller caller, CommandHandler handler, NotebookCopies copies, IBlobs blobs, CancellationToken ct)
    {
        if (await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is not Scratchpad.Live live)
        {
            return ErrorResult.NotFound("scratchpad");
        }
        // What code has made is never a page of this host.
        http.Response.Headers.ContentSecurityPolicy = "sandbox; default-src 'none'";
        return TypedResults.Bytes(Notebook.Write(await blobs.Text(live.Title, ct), await copies.Cells(live, ct)), MediaType, $"{pad.Key}.ipynb");
    }

    static async Task<IResult> Replay(
        PathKey<ScratchpadKey> pad, Body<ReplayRequest> body, HttpContext http, Caller caller, CommandHandler handler, ICommandExecutor commands, CommandAnswers answers,
        TenantUsage usage, IKernels kernels, IRows rows, ReplayViews replays, HostSettings settings, TimeProvider clock, CancellationToken ct)
    {
        var isRepeat = await answers.IsRepeat(caller.Org, body.Key, ct);
        if (!isRepeat && await WhyNot(caller.Org, pad.Key, handler, usage, kernels, rows, ct) is { } refused)
        {
            return refused;
        }
        var replay = ScratchpadKey.New(clock.GetUtcNow());
        var result = await commands.Execute(caller.Org, caller.Origin, new ReplayScratchpad(pad.Key, replay, body.Key), ct);
        if (result.Refused is { Code: "idempotency_key_claimed" } && await answers.EffectOf(caller.Org, body.Key!, ct) is { } effect)
        {
            replay = new(Scratchpad.Aggregate.KeyOf(effect.StreamId));
        }
        else if (result.Refused is { } no)
        {
            return ErrorResult.Of(no);
        }
        var location = $"/api/v1/scratchpads/{replay}/replay";
        var wait = AgentService.Waiting.ForRun(http, settings, body.Value.WaitForCompletion, null, waitsUnasked: false);
        return wait == TimeSpan.Zero ? await Answer() : new LateResult(Answer()) { Location = location, Replayed = isRepeat };

        async Task<IResult> Answer()
        {
            await replays.Completed(caller.Org, replay, wait, ct);
            return await replays.Find(caller.Org, replay, ct) is { } shown
                ? JsonResult.Of(shown.Status == ReplayViews.IsOver ? 200 : 202, shown, PlatformJson.Answers.ReplayDetails) with { Location = location, Replayed = isRepeat }
                : ErrorResult.NotFound("replay");
        }
    }

    static async ValueTask<ErrorResult?> WhyNot(
        string org, ScratchpadKey pad, CommandHandler handler, TenantUsage usage, IKernels kernels, IRows rows, CancellationToken ct)
    {
        if (await handler.LatestState(org, Scratchpad.Aggregate, pad, ct) is not Scratchpad.Live live)
        {
            return ErrorResult.NotFound("scratchpad");
        }
        if (await kernels.WhyUnavailable(ct) is { } why)
        {
            return ScratchpadEndpoints.KernelUnavailable(why);
        }
        return await usage.StorageRefusal(org, ct) is { } full ? ErrorResult.Of(full)
            : (await rows.Page(org, Scratchpads.Model.Table, Scratchpads.Replays(live.SessionId, pad, 1), 0, ct)).Total >= Limits.ScratchpadsPerSessionMax
                ? ErrorResult.Of(Refusal.TooMany(
                    "scratchpads_full", $"The scratchpad has {Limits.ScratchpadsPerSessionMax} replays, and may not have more. Delete some, as scratchpads are deleted."))
            : null;
    }

    static async Task<IResult> Get(PathKey<ScratchpadKey> replay, Caller caller, ReplayViews replays, CancellationToken ct) =>
        await replays.Find(caller.Org, replay.Key, ct) is { } shown ? JsonResult.Of(200, shown, PlatformJson.Answers.ReplayDetails) : ErrorResult.NotFound("replay");

    static async Task<IResult> List(PathKey<ScratchpadKey> pad, HttpContext http, Caller caller, CommandHandler handler, IRows rows, ReplayViews replays, CancellationToken ct)
    {
        var (limit, offset) = (Lists.LimitOfPage.Read(http), Lists.Offset.Read(http));
        if (await handler.LatestState(caller.Org, Scratchpad.Aggregate, pad.Key, ct) is not Scratchpad.Live live)
        {
            return ErrorResult.NotFound("scratchpad");
        }
        var page = await rows.Page(caller.Org, Scratchpads.Model.Table, Scratchpads.Replays(live.SessionId, pad.Key, (int)limit), offset, ct);
        var shown = new List<ReplayDetails>();
        foreach (var row in page.Rows)
        {
            if (await replays.Find(caller.Org, new(row.Key), ct) is { } found)
            {
                shown.Add(found);
            }
        }
        return JsonResult.Of(200, new("list", shown, page.Total, limit, offset, offset + shown.Count < page.Total), PlatformJson.Answers.ReplayList);
    }
}

/// <summary>Replays as they are shown.</summary>
public sealed class ReplayViews(CommandHandler commands, FeedHub hub, IRows rows, IBlobs blobs, TimeProvider clock)
{
    public const string InProgress = "in_progress";
    public const string IsOver = "completed";

    /// <summary>Waits until all cells of a replay were executed, or the time is over.</summary>
    public async Task Completed(string org, ScratchpadKey replay, TimeSpan wait, CancellationToken ct)
    {
        if (wait <= TimeSpan.Zero || await commands.LatestState(org, Scratchpad.Aggregate, replay, ct) is not Scratchpad.Live { SessionId: var session } live || !IsUnderWay(live))
        {
            return;
        }
        using var late = new CancellationTokenSource(wait, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, late.Token);
        try
        {
            await foreach (var entry in hub.FollowStream(org, session, Scratchpad.Aggregate.Stream(replay), live.Version, either.Token))
            {
                if ((entry.Is<ScratchpadEvent.CellCompleted>() && !IsUnderWay(await commands.LatestState(org, Scratchpad.Aggregate, replay, ct)))
                    || entry.Is<ScratchpadEvent.ScratchpadDeleted>())
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            // It is shown as it is now.
        }
    }

    /// <summary>Null: there is no such replay.</summary>
    public async ValueTask<ReplayDetails?> Find(string org, ScratchpadKey replay, CancellationToken ct)
    {
        if (await rows.Get(org, Scratchpads.Model.Table, replay.Value, ct) is not { } found
            || await commands.LatestState(org, Scratchpad.Aggregate, replay, ct) is not Scratchpad.Live { ReplayOf: { } of } live)
        {
            return null;
        }
        var cells = new List<ReplayedCell>();
        foreach (var (index, cell) in live.Cells.Index())
        {
            cells.Add(await Compared(cell, index, ct));
        }
        int Count(string result) => cells.Count(cell => cell.Result == result);
        var row = Scratchpads.Model.Read(found.Json.Span);
        return new(
            replay, of, IsUnderWay(live) ? InProgress : IsOver, Count(ReplayComparison.Equal), Count(ReplayComparison.Different), Count(ReplayComparison.Failed),
            Count(ReplayComparison.Pending), cells, row.CreatedAt, row.UpdatedAt);
    }

    async ValueTask<ReplayedCell> Compared(Cell cell, int index, CancellationToken ct)
    {
        var (before, after) = (await blobs.Outputs(cell.Expected?.Outputs, ct), await blobs.Outputs(cell.Result?.Outputs, ct));
        var result = ReplayComparison.Compare(cell.Expected, before, cell.Result, after);
        return result is ReplayComparison.Equal or ReplayComparison.Pending
            ? new(cell.CellId, index, result, null, null)
            : new(cell.CellId, index, result, Side(cell.Expected, before, cell.Result), Side(cell.Result, after, cell.Expected));
    }

    static ReplaySide Side(CellResult? result, IReadOnlyList<NotebookOutput> outputs, CellResult? other) => new(
        result is null ? "pending" : result.Error is null ? "success" : "error", result?.Error?.Message, result?.Error?.Code, OutputEntry.Of(outputs),
        result?.Environment is { } known
            ? new(known.Kernel, known.Language, known.Version, [.. known.Packages.Except(other?.Environment?.Packages ?? [], StringComparer.Ordinal)])
            : null);

    static bool IsUnderWay(Scratchpad state) => state is Scratchpad.Live live && (live.Queue.Count > 0 || live.Running is not null);
}
