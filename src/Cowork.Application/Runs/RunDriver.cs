using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Drives runs: asks <see cref="Run.Next"/>, executes the step, appends the outcome, and repeats. It has no state outside the log, so after a crash at any
/// point another driver continues.
/// </summary>
public sealed partial class RunDriver(
    CommandHandler commands, DrivenRuns driven, RunRecorder recorder, MemoryStep memory, ModelStep model, ToolStep tool, RunOptions options, string node, TimeProvider clock,
    ILogger<RunDriver> logger) : IJobHandler
{
    /// <summary>The longest time of a timer. A run with a longer time limit is not stopped within a step.</summary>
    static readonly TimeSpan LongestTimer = TimeSpan.FromDays(49);

    internal static readonly Func<ILogger, string, string?, IDisposable?> InRun = LoggerMessage.DefineScope<string, string?>("{RunId} {TraceId}");

    /// <summary>As whom a run is driven.</summary>
    internal const string Actor = "agent";

    public string Kind => Run.Aggregate.Name;

    /// <summary>Drives a run until it has ended, waits for an approval, is taken over, or the token is cancelled.</summary>
    async Task<bool> IJobHandler.Run(Claim claim, CancellationToken ct)
    {
        // On every node and after a crash the run stays in the trace of the request that asked for it.
        var key = new RunKey(claim.Key);
        var start = await commands.StartOf(claim.Org, Run.Aggregate, key, ct);
        using var scope = InRun(logger, key.Id, start?.Correlation);
        using var span = Spans.Run(claim, start, node);
        var run = new DrivenRun(claim, new Origin(Actor, start?.Correlation));
        return await driven.Drive(
            claim,
            async stop =>
            {
                var finished = await Drive(run, stop, ct);
                if (span is not null && await commands.State(claim.Org, Run.Aggregate, key, ct) is Run.Ended end)
                {
                    span.SetTag("cowork.run.outcome", end.Status);
                }
                return finished;
            },
            ct);
    }

    /// <summary>True when a commit finished the job.</summary>
    async Task<bool> Drive(DrivenRun run, CancellationToken stop, CancellationToken ct)
    {
        NextStep? last = null;
        var isTimeUp = false;
        while (true)
        {
            ct.ThrowIfCancellationRequested();
            var state = await commands.State(run.Org, Run.Aggregate, run.Key, ct);
            // The timer and the time of day are two clocks. When they differ, asking the model again would repeat its text.
            var now = isTimeUp && TimeUpAt(state) is { } end && end > clock.GetUtcNow() ? end : clock.GetUtcNow();
            var next = state is Run.Active active && active.Epoch != run.Claim.Epoch
                ? new NextStep.Start()
                : Run.Next(state, options.Limits, now);
            if (next is NextStep.AskModel && driven.OthersWrote(run.Org, run.Key)
                && !ReferenceEquals(state, await commands.LatestState(run.Org, Run.Aggregate, run.Key, ct)))
            {
                // Feedback that another node took.
                continue;
            }
            if (next is NextStep.Done or NextStep.WaitApproval)
            {
                // The claim can arrive before the cache has the new run, or the approval that another node recorded. No append guards a decision to do nothing, so
                // read the log.
                if (last is null
                    && Run.Next(await commands.LatestState(run.Org, Run.Aggregate, run.Key, ct), options.Limits, clock.GetUtcNow())
                        is not (NextStep.Done or NextStep.WaitApproval))
                {
                    continue;
                }
                // A step that ends or suspends a run also finishes the job. A run that had ended before it started leaves the job.
                return last is not (null or NextStep.Start);
            }
            last = next;
            Refusal? refused;
            using var span = Spans.Step(next, run.Claim);
            using var timeUp = TimeUp(state);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, timeUp.Token);
            try
            {
                refused = await Do(next, run, state, either.Token, ct);
            }
            catch (OperationCanceledException) when (either.IsCancellationRequested && !ct.IsCancellationRequested)
            {
                // A cancel request, perhaps on another node, or the time limit stopped the step: continue from the log.
                isTimeUp = timeUp.IsCancellationRequested;
                await commands.LatestState(run.Org, Run.Aggregate, run.Key, ct);
                continue;
            }
            catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
            {
                span.SetError("internal_error");
                LogFailed(logger, e, run.Key, next.GetType().Name);
                refused = await recorder.Fail(run, "internal_error", "The host could not go on with this run.", ct);
            }
            if (refused is not null)
            {
                LogFenced(logger, run.Key, run.Claim.Epoch, refused.Code);
                return true;
            }
        }
    }

    /// <summary>Cancelled at the run's time limit, which also stops a step that never ends.</summary>
    CancellationTokenSource TimeUp(Run state)
    {
        if (TimeUpAt(state) is not { } end)
        {
            return new();
        }
        var left = end - clock.GetUtcNow();
        return left < LongestTimer ? new(left > TimeSpan.Zero ? left : TimeSpan.Zero, clock) : new();
    }

    /// <summary>The first millisecond after the run's time limit; null: the run is not active.</summary>
    DateTimeOffset? TimeUpAt(Run state) => (state as Run.Active)?.TimeUpAt(options.Limits);

    ValueTask<Refusal?> Do(NextStep next, DrivenRun run, Run state, CancellationToken stop, CancellationToken ct) => (next, state) switch
    {
        (NextStep.Start, _) => Start(run, state, ct),
        (NextStep.RetrieveMemory, Run.Active active) => RetrieveMemory(run, active.Request, ct),
        (NextStep.AskModel, Run.Active active) => model.Ask(run, active, stop, ct),
        (NextStep.CallTool call, Run.Active active) => tool.Call(run, active, call, stop, ct),
        (NextStep.EvaluatePolicy or NextStep.Finish, _) => recorder.Record(run, null, ct),
        (NextStep.GiveUp why, _) => recorder.End(run, now => new RunCommand.Fail(run.Claim.Epoch, why.Code, why.Message, now), ct),
        (NextStep.ConfirmCancel, _) => recorder.End(run, now => new RunCommand.ConfirmCancel(run.Claim.Epoch, now), ct),
        _ => throw new UnreachableException(next.GetType().Name),
    };

    async ValueTask<Refusal?> Start(DrivenRun run, Run state, CancellationToken ct)
    {
        var memories = state is Run.Queued { Past: null } queued ? await memory.Retrieve(run, queued.Request, ct) : null;
        return await recorder.Start(run, node, memories, ct);
    }

    async ValueTask<Refusal?> RetrieveMemory(DrivenRun run, RunRequest request, CancellationToken ct)
    {
        var memories = await memory.Retrieve(run, request, ct);
        return await recorder.Record(run, now => memories with { Now = now }, ct);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Run {Run} is no longer driven here under epoch {Epoch}: {Code}")]
    static partial void LogFenced(ILogger logger, RunKey run, long epoch, string code);

    [LoggerMessage(Level = LogLevel.Error, Message = "Run {Run} failed at {Step}")]
    static partial void LogFailed(ILogger logger, Exception e, RunKey run, string step);
}
