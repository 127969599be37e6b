using System.Text;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Body of <c>POST /sessions/{id}/turn</c>.</summary>
/// <param name="Message">Not blank, at most 256 KiB.</param>
/// <param name="Model">Name of a configured model; null: the session's, or else the host's default.</param>
/// <param name="IdempotencyKey">Unique within the session, without expiry: the same key and message answer with the same run.</param>
/// <param name="WaitForCompletion">Default true.</param>
/// <param name="WaitTimeoutSeconds">0 to 3600, default 300.</param>
public sealed record NewTurn(
    [property: NeverNull] string? Message, string? Model = null, string? IdempotencyKey = null, bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null)
    : IRequestBody<NewTurn>
{
    public static JsonTypeInfo<NewTurn> Json => AgentServiceJson.Default.NewTurn;

    public static IReadOnlyList<string> WaitFields => Waiting.Fields;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Message))
        {
            errors.Add("$.message", "A message is required and must not be blank.");
        }
        else if (Encoding.UTF8.GetByteCount(Message) > Limits.MessageBytesMax)
        {
            errors.Add("$.message", $"A message has at most {Limits.MessageBytesMax} bytes.");
        }
        Waiting.Validate(IdempotencyKey, WaitTimeoutSeconds, errors);
    }
}

/// <summary>A turn's answer.</summary>
/// <param name="StopReason">Why the reply ends early: <c>length</c>, <c>content_filter</c>, or the provider's own word. Null: the model ended it.</param>
/// <param name="Reused">True: an earlier request with the same key started the run.</param>
/// <param name="Run">The run as <c>GET /runs/{id}</c> shows it at this moment.</param>
public sealed record TurnAnswer(
    RunKey RunId, SessionKey SessionId, [property: RunStatus] string Status, Content? Reply, RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds,
    long TotalTokens, int ToolCalls, decimal CostUsd, DateTimeOffset CreatedAt, string? StopReason, bool Reused, RunDetails Run)
{
    public static TurnAnswer Of(RunRow run, bool reused) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd,
        run.CreatedAt, run.StopReason, reused, RunDetails.Of(run));
}

static class TurnEndpoints
{
    public static void MapTurns(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/sessions/{session_id}/turn", Take).WithName("takeTurn").RequireMember().WithTags("Runs")
            .WithSummary("Say something in a session: one run, waited for unless told otherwise")
            .TakesPrefer()
            .Produces<TurnAnswer>(200).Produces<TurnAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 507);

    static async Task<IResult> Take(PathKey<SessionKey> session, Body<NewTurn> body, Caller caller, Turns turns, TurnWaiter waiter, HttpContext http, CancellationToken ct)
    {
        var asked = new TurnRequest(session.Key, body.Value.Message!, body.Value.Model, body.Value.IdempotencyKey, body.Key);
        var (turn, refused) = await turns.Submit(caller.Org, caller.Origin, asked, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var wait = waiter.Time(http, body.Value.WaitForCompletion, body.Value.WaitTimeoutSeconds);
        return waiter.Answer(caller.Org, turn, wait, run => TurnAnswer.Of(run, turn.Reused), AgentServiceJson.Answers.TurnAnswer, ct);
    }
}

/// <summary>Waits for runs on behalf of clients. A run continues when its client disconnects.</summary>
public sealed class TurnWaiter(
    FeedHub hub, CommandHandler commands, RunViews views, HostSettings settings, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <summary>Time between two reads of the row, in case a wake-up of another node is lost.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <inheritdoc cref="Waiting.ForRun"/>
    public TimeSpan Time(HttpContext http, bool? waitForCompletion, double? waitTimeoutSeconds, bool waitsUnasked = true) =>
        Waiting.ForRun(http, settings, waitForCompletion, waitTimeoutSeconds, waitsUnasked);

    /// <summary>Answers a request that starts a run: 200 when the run has ended or waits for an approval, otherwise 202.</summary>
    public LateResult Answer<T>(string org, Turn turn, TimeSpan wait, Func<RunRow, T> answer, JsonTypeInfo<T> json, CancellationToken ct)
    {
        var location = $"/runs/{turn.Run}";
        return new(Answer()) { Location = location, Replayed = turn.Replayed };

        async Task<IResult> Answer()
        {
            var run = await Until(org, turn, wait, ct);
            return JsonResult.Of(IsSettled(run) ? 200 : 202, answer(run), json) with { Location = location, Replayed = turn.Replayed };
        }
    }

    /// <summary>Returns the run when it has ended or waits for an approval, and its present state when the time is over or the host stops.</summary>
    public async Task<RunRow> Until(string org, Turn turn, TimeSpan wait, CancellationToken ct)
    {
        using var watch = hub.WatchRun(org, turn.Run);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(ct, lifetime.ApplicationStopping);
        var until = clock.GetUtcNow() + wait;
        RunRow? seen = null;
        Task<FeedEntry?>? heard = null;
        // A run that this request started has hardly ended. Its first event comes sooner than a read of its row.
        var known = turn.Accepted is null ? null : commands.CachedRow(org, Projections.Runs.Model, turn.Run.Value, version: 1);
        var look = known is null || wait == TimeSpan.Zero || IsSettled(known);
        known = look ? known : null;
        while (true)
        {
            if (look)
            {
                seen = known ?? await Look(org, turn.Run, ct) ?? seen;
                known = null;
                if (seen is not null && IsSettled(seen))
                {
                    break;
                }
            }
            var left = until - clock.GetUtcNow();
            if (left <= TimeSpan.Zero || lifetime.ApplicationStopping.IsCancellationRequested)
            {
                seen = look ? seen : await Look(org, turn.Run, ct) ?? seen;
                break;
            }
            heard ??= watch.Read(over.Token).AsTask();
            using var enough = CancellationTokenSource.CreateLinkedTokenSource(over.Token);
            await Task.WhenAny(heard, Task.Delay(left < LookEvery ? left : LookEvery, clock, enough.Token));
            await enough.CancelAsync();
            ct.ThrowIfCancellationRequested();
            if (heard.IsCompleted)
            {
                // Rows of this node's commits are cached. Other nodes' writes are only in the database.
                known = heard is { IsCompletedSuccessfully: true, Result: { } entry } ? commands.CachedRow(org, Projections.Runs.Model, turn.Run.Value, entry.Version) : null;
                heard = null;
                watch.Drain();
            }
            look = true;
        }
        // The database became unavailable after the commit: the answer is this node's last commit on the run, or else the accepted run.
        seen ??= commands.CachedRow(org, Projections.Runs.Model, turn.Run.Value, version: 1) ?? turn.Accepted?.Row(Projections.Runs.Model)
            ?? throw new StorageUnavailableException("The run cannot be looked at.");
        return await views.WithTexts(seen, ct);
    }

    static bool IsSettled(RunRow run) => run.HasEnded || run.Status == "approval_required";

    /// <summary>Null: there is no such run, or the database is unavailable and the wait continues.</summary>
    async ValueTask<RunRow?> Look(string org, RunKey run, CancellationToken ct)
    {
        try
        {
            return await views.Row(org, run, ct);
        }
        catch (StorageUnavailableException)
        {
            return null;
        }
    }
}
