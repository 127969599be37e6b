using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Drives runs: asks <see cref="Run.Next"/>, does it, appends the outcome, and asks again. It keeps nothing that is not in the log, so a crash at any
/// point is only another beginning.
/// </summary>
public sealed partial class RunDriver(
    CommandHandler commands, DrivenRuns driven, RunRecorder recorder, MemoryStep memory, ModelStep model, ToolStep tool, RunOptions options, string node, TimeProvider clock,
    ILogger<RunDriver> logger) : IJobHandler
{
    /// <summary>What a timer can wait for; a run of more time is not stopped within a step.</summary>
    static readonly TimeSpan LongestTimer = TimeSpan.FromDays(49);

    internal static readonly Func<ILogger, string, string?, IDisposable?> InRun = LoggerMessage.DefineScope<string, string?>("{RunId} {TraceId}");

    public string Kind => Run.Aggregate.Name;

    /// <summary>Drives a run until it has ended, waits for an approval, is taken over, or the token is cancelled.</summary>
    async Task<bool> IJobHandler.Run(Claim claim, CancellationToken ct)
    {
        // Whoever drives, wherever and after whatever crash: the run stays in the trace of the request that asked for it.
        var key = new RunKey(claim.Key);
        var began = await commands.Began(claim.Org, Run.Aggregate, key, ct);
        using var scope = InRun(logger, key.Id, began?.Correlation);
        using var span = Spans.Run(claim, began, node);
        var run = new DrivenRun(claim, new Origin("agent", began?.Correlation));
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
            // A timer and the time of day are two clocks. Asking a model once more because they differ would say twice what it had said.
            var now = isTimeUp && TimeUpAt(state) is { } end && end > clock.GetUtcNow() ? end : clock.GetUtcNow();
            var next = state is Run.Active active && active.Epoch != run.Claim.Epoch
                ? new NextStep.Begin()
                : Run.Next(state, options.Limits, now);
            if (next is NextStep.Done or NextStep.WaitApproval)
            {
                // The claim of a new run can be here before its own submitter has put the state into the cache, that of an approved one before this node has
                // heard of the approval, and no append guards a decision to do nothing.
                if (last is null
                    && Run.Next(await commands.Fresh(run.Org, Run.Aggregate, run.Key, ct), options.Limits, clock.GetUtcNow())
                        is not (NextStep.Done or NextStep.WaitApproval))
                {
                    continue;
                }
                // Every step that ends or suspends a run finishes the job too. One that had ended before it could begin leaves the job over.
                return last is not (null or NextStep.Begin);
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
                // The step was stopped because cancelling was asked for, maybe through another node, or the run's time is up: go by what the log says.
                isTimeUp = timeUp.IsCancellationRequested;
                await commands.Fresh(run.Org, Run.Aggregate, run.Key, ct);
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

    /// <summary>Cancelled when the run's time is up, so that a step without end does not outlive it.</summary>
    CancellationTokenSource TimeUp(Run state)
    {
        if (TimeUpAt(state) is not { } end)
        {
            return new();
        }
        var left = end - clock.GetUtcNow();
        return left < LongestTimer ? new(left > TimeSpan.Zero ? left : TimeSpan.Zero, clock) : new();
    }

    /// <summary>The first moment that is past a run's time.</summary>
    DateTimeOffset? TimeUpAt(Run state) =>
        state is Run.Active run ? run.StartedAt + run.Waited + options.Limits.Time + TimeSpan.FromMilliseconds(1) : null;

    ValueTask<Refusal?> Do(NextStep next, DrivenRun run, Run state, CancellationToken stop, CancellationToken ct) => (next, state) switch
    {
        (NextStep.Begin, _) => Begin(run, state, ct),
        (NextStep.RetrieveMemory, Run.Active active) => Remember(run, active.Request, ct),
        (NextStep.AskModel, Run.Active active) => model.Ask(run, active, stop, ct),
        (NextStep.CallTool call, Run.Active active) => tool.Call(run, active, call, stop, ct),
        (NextStep.JudgeCall or NextStep.Finish, _) => recorder.Record(run, null, ct),
        (NextStep.GiveUp why, _) => recorder.End(run, now => new RunCommand.Fail(run.Claim.Epoch, why.Code, why.Message, now), ct),
        (NextStep.ConfirmCancel, _) => recorder.End(run, now => new RunCommand.ConfirmCancel(run.Claim.Epoch, now), ct),
        _ => throw new UnreachableException(next.GetType().Name),
    };

    async ValueTask<Refusal?> Begin(DrivenRun run, Run state, CancellationToken ct)
    {
        var recalled = state is Run.Queued queued ? await memory.Recall(run, queued.Request, ct) : null;
        return await recorder.Begin(run, node, recalled, ct);
    }

    async ValueTask<Refusal?> Remember(DrivenRun run, RunRequest request, CancellationToken ct)
    {
        var recalled = await memory.Recall(run, request, ct);
        return await recorder.Record(run, now => recalled with { Now = now }, ct);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Run {Run} is no longer driven here under epoch {Epoch}: {Code}")]
    static partial void LogFenced(ILogger logger, RunKey run, long epoch, string code);

    [LoggerMessage(Level = LogLevel.Error, Message = "Run {Run} failed at {Step}")]
    static partial void LogFailed(ILogger logger, Exception e, RunKey run, string step);
}
