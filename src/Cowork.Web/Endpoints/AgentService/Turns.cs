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
/// <param name="IdempotencyKey">Within the session, for ever: the same key and message answer with the same run.</param>
/// <param name="WaitForCompletion">Default true.</param>
/// <param name="WaitTimeoutSeconds">0 to 3600, default 300.</param>
public sealed record NewTurn(string? Message, string? IdempotencyKey = null, bool? WaitForCompletion = null, double? WaitTimeoutSeconds = null)
    : IRequestBody<NewTurn>
{
    const double WaitSecondsMax = 3600;
    const double WaitSecondsDefault = 300;

    public static JsonTypeInfo<NewTurn> Json => WebJson.Default.NewTurn;

    /// <summary>How long the client wants to wait for the run.</summary>
    public TimeSpan Wait() => WaitForCompletion == false ? TimeSpan.Zero : TimeSpan.FromSeconds(WaitTimeoutSeconds ?? WaitSecondsDefault);

    public void Check(Faults faults)
    {
        if (string.IsNullOrWhiteSpace(Message))
        {
            faults.Add("$.message", "A message is required and must not be blank.");
        }
        else if (Encoding.UTF8.GetByteCount(Message) > Limits.MessageBytesMax)
        {
            faults.Add("$.message", $"A message has at most {Limits.MessageBytesMax} bytes.");
        }
        if (IdempotencyKey is { Length: 0 or > Limits.IdempotencyKeyCharsMax })
        {
            faults.Add("$.idempotency_key", $"A key has 1 to {Limits.IdempotencyKeyCharsMax} characters.");
        }
        if (WaitTimeoutSeconds is < 0 or > WaitSecondsMax)
        {
            faults.Add("$.wait_timeout_seconds", $"Must be from 0 to {WaitSecondsMax}.");
        }
    }
}

/// <summary>A turn's answer; <see cref="RunSummary"/> writes it.</summary>
/// <param name="Reused">The run was there before: the body's idempotency key had been used.</param>
public sealed record TurnAnswer(
    string RunId, string SessionId, string Status, string? Reply, RunErrorShape? Error, IReadOnlyList<string> PendingApprovalIds, long TotalTokens, int ToolCalls,
    decimal CostUsd, DateTimeOffset CreatedAt, bool Reused);

static class TurnEndpoints
{
    public static void MapTurns(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/sessions/{session_id}/turn", Take).NeedsMember().WithTags("Runs")
            .WithSummary("Say something in a session: one run, waited for unless told otherwise")
            .Produces<TurnAnswer>(200).Produces<TurnAnswer>(202).Refuses(400, 404, 409, 413, 415, 422, 429);

    static async Task<IResult> Take(SessionInPath session, Body<NewTurn> body, Caller caller, Turns turns, WaitingTurns waiting, CancellationToken ct)
    {
        var asked = new TurnRequest(session.Key, body.Value.Message!, Model: null, body.Value.IdempotencyKey, body.Key);
        var (turn, refused) = await turns.Submit(caller.Org, caller.Origin, asked, ct);
        if (turn is null)
        {
            return Problem.Of(refused!);
        }
        var view = await waiting.Until(caller.Org, turn, body.Value, session.Key, body.Value.Wait(), ct);
        return JsonAnswer.Of(
            view.Row.HasEnded || view.Row.Status == "approval_required" ? 200 : 202,
            json =>
            {
                json.WriteStartObject();
                view.WriteTurn(json);
                json.WriteBoolean("reused", turn.Reused);
                json.WriteEndObject();
            }) with
        { Replayed = turn.Replayed };
    }
}

/// <summary>Waits for runs to end on behalf of their clients. A client that goes away stops waiting, the run goes on.</summary>
public sealed class WaitingTurns(FeedHub hub, Commands commands, RunViews views, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <summary>How long another node's write may go unheard before the row is looked at anyway.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>The run when it has ended or waits for an approval, or as it is when the time is over or the host stops.</summary>
    public async Task<RunView> Until(string org, Turn turn, NewTurn asked, string session, TimeSpan wait, CancellationToken ct)
    {
        using var watch = hub.WatchRun(org, turn.Run);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(ct, lifetime.ApplicationStopping);
        var until = clock.GetUtcNow() + wait;
        RunRow? seen = null;
        Task<FeedEntry?>? heard = null;
        // A run that was accepted just now has hardly ended: its first word is worth waiting for before the first look.
        var look = turn.Reused || turn.Replayed || wait == TimeSpan.Zero || await commands.State(org, Run.Aggregate, turn.Run, ct) is Run.Ended;
        while (true)
        {
            if (look)
            {
                seen = await Look(org, turn.Run, ct) ?? seen;
                if (seen is { HasEnded: true } or { Status: "approval_required" })
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
                heard = null;
                watch.Drain();
            }
            look = true;
        }
        // Accepted, and the database went away before it could be seen again: the answer is what was accepted.
        seen ??= turn.Reused || turn.Replayed ? throw new StorageUnavailableException("The run cannot be looked at.") : Accepted(turn, asked, session, until - wait);
        return await views.View(seen, ct);
    }

    /// <summary>Null: not there, or the database is away, which the wait is there to sit out.</summary>
    async ValueTask<RunRow?> Look(string org, string run, CancellationToken ct)
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

    static RunRow Accepted(Turn turn, NewTurn asked, string session, DateTimeOffset at) => new(
        $"run_{turn.Run}", Ids.IsKey(session) ? $"sess_{session}" : session, "queued", Content.Of(asked.Message!), "", null, null, [], 0, 0, 0, 0, false, asked.IdempotencyKey,
        "", at, null, null);
}
