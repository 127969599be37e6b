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
/// <param name="IdempotencyKey">Unique within the session, without expiry: the same key and message answer with the same run.</param>
/// <param name="WaitForCompletion">Default true.</param>
/// <param name="WaitTimeoutSeconds">0 to 3600, default 300.</param>
public sealed record NewTurn(string? Message, string? IdempotencyKey = null, bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null)
    : IRequestBody<NewTurn>
{
    public static JsonTypeInfo<NewTurn> Json => AgentServiceJson.Default.NewTurn;

    public static IReadOnlyList<string> WaitFields => WaitOptions.Fields;

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
        WaitOptions.Validate(IdempotencyKey, WaitTimeoutSeconds, errors);
    }
}

/// <summary>The idempotency and wait fields of requests that start a run.</summary>
static class WaitOptions
{
    /// <summary>Names of the fields in JSON.</summary>
    public static readonly IReadOnlyList<string> Fields = ["wait_for_completion", "wait_timeout_seconds"];

    const double SecondsMax = 3600;
    const double SecondsDefault = 300;

    /// <summary>The time that the request waits for the run.</summary>
    public static TimeSpan Of(bool? waitForCompletion, double? waitTimeoutSeconds) =>
        waitForCompletion == false ? TimeSpan.Zero : TimeSpan.FromSeconds(waitTimeoutSeconds ?? SecondsDefault);

    public static void Validate(string? idempotencyKey, double? waitTimeoutSeconds, ValidationErrors errors)
    {
        if (idempotencyKey is { Length: 0 or > Limits.IdempotencyKeyCharsMax })
        {
            errors.Add("$.idempotency_key", $"A key has 1 to {Limits.IdempotencyKeyCharsMax} characters.");
        }
        if (waitTimeoutSeconds is < 0 or > SecondsMax)
        {
            errors.Add("$.wait_timeout_seconds", $"Must be from 0 to {SecondsMax}.");
        }
    }
}

/// <summary>A turn's answer.</summary>
/// <param name="Reused">True: an earlier request with the same key started the run.</param>
public sealed record TurnAnswer(
    RunKey RunId, SessionKey SessionId, string Status, Content? Reply, RunErrorShape? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds, long TotalTokens, int ToolCalls,
    decimal CostUsd, DateTimeOffset CreatedAt, bool Reused)
{
    public static TurnAnswer Of(RunRow run, bool reused) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, RunErrorShape.Of(run.Error), run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd,
        run.CreatedAt, reused);
}

static class TurnEndpoints
{
    public static void MapTurns(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/sessions/{session_id}/turn", Take).RequireMember().WithTags("Runs")
            .WithSummary("Say something in a session: one run, waited for unless told otherwise")
            .Produces<TurnAnswer>(200).Produces<TurnAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 429);

    static async Task<IResult> Take(PathKey<SessionKey> session, Body<NewTurn> body, Caller caller, Turns turns, TurnWaiter waiting, CancellationToken ct)
    {
        var asked = new TurnRequest(session.Key, body.Value.Message!, Model: null, body.Value.IdempotencyKey, body.Key);
        var (turn, refused) = await turns.Submit(caller.Org, caller.Origin, asked, ct);
        if (turn is null)
        {
            return ErrorResult.Of(refused!);
        }
        var run = await waiting.Until(caller.Org, turn, WaitOptions.Of(body.Value.WaitForCompletion, body.Value.WaitTimeoutSeconds), ct);
        return Answer(turn, run, TurnAnswer.Of(run, turn.Reused), AgentServiceJson.Answers.TurnAnswer);
    }

    /// <summary>Answers a request that starts a run: 200 when the run has ended or waits for an approval, otherwise 202.</summary>
    public static JsonResult<T> Answer<T>(Turn turn, RunRow run, T answer, JsonTypeInfo<T> json) =>
        JsonResult.Of(run.HasEnded || run.Status == "approval_required" ? 200 : 202, answer, json) with { Replayed = turn.Replayed };
}

/// <summary>Waits for runs on behalf of clients. A run continues when its client disconnects.</summary>
public sealed class TurnWaiter(FeedHub hub, CommandHandler commands, RunViews views, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <summary>Time between two reads of the row, in case a wake-up of another node is lost.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

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
