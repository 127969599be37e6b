using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Drives runs: asks <see cref="Run.Next"/>, does it, appends the outcome, and asks again. It keeps nothing that is not in the log, so a crash at any
/// point is only another beginning.
/// </summary>
public sealed partial class RunDriver(
    CommandHandler commands, FeedHub hub, IRunQueries queries, IReadOnlyDictionary<string, IChatClient> models, Toolbox toolbox, Policy policy, IBlobs blobs,
    RunOptions options, ApprovalOptions approvals, MemoryOptions memory, string node, TimeProvider clock, ILogger<RunDriver> logger) : IJobHandler
{
    /// <summary>Characters of an error's message that are kept.</summary>
    const int ErrorCharsMax = 2_000;

    /// <summary>Long enough that many writes of other nodes cost one look, short enough to stop a run within a second.</summary>
    static readonly TimeSpan LookForCancelEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>What a timer can wait for; a run of more time is not stopped within a step.</summary>
    static readonly TimeSpan LongestTimer = TimeSpan.FromDays(49);

    internal static readonly Func<ILogger, string, string?, IDisposable?> InRun = LoggerMessage.DefineScope<string, string?>("{RunId} {TraceId}");

    readonly ConcurrentDictionary<(string Org, string Run), Driven> driving = new();

    public string Kind => Run.Aggregate.Name;

    /// <summary>Drives a run until it has ended, waits for an approval, is taken over, or the token is cancelled.</summary>
    async Task<bool> IJobHandler.Run(Claim claim, CancellationToken ct)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct);
        // Whoever drives, wherever and after whatever crash: the run stays in the trace of the request that asked for it.
        var began = await commands.Began(claim.Org, Run.Aggregate, claim.Key, ct);
        using var scope = InRun(logger, $"run_{claim.Key}", began?.Correlation);
        using var span = Spans.Run(claim, began, node);
        var here = new Driven(stop, new Origin("agent", began?.Correlation));
        while (!driving.TryAdd((claim.Org, claim.Key), here))
        {
            // The claim before this one is done or lost and its driver about to hear of it: a decision may come before the answer to the commit that asked for it.
            if (driving.TryGetValue((claim.Org, claim.Key), out var before))
            {
                await before.Over.Task.WaitAsync(ct);
            }
        }
        using var follower = hub.WatchRun(claim.Org, claim.Key);
        using var ended = new CancellationTokenSource();
        var watching = WatchForCancel(follower, stop, ended.Token);
        try
        {
            var finished = await Drive(claim, stop.Token, ct);
            if (span is not null && await commands.State(claim.Org, Run.Aggregate, claim.Key, ct) is Run.Ended end)
            {
                span.SetTag("cowork.run.outcome", end.Status);
            }
            return finished;
        }
        finally
        {
            driving.TryRemove((claim.Org, claim.Key), out _);
            here.Over.SetResult();
            await ended.CancelAsync();
            await watching;
        }
    }

    /// <summary>Looks, whenever other nodes wrote, whether one of the runs driven here is to be stopped. Runs until the token is cancelled.</summary>
    public async Task WatchOthers(CancellationToken ct)
    {
        using var follower = hub.WatchOthers();
        while (true)
        {
            await follower.Read(ct);
            await Task.Delay(LookForCancelEvery, clock, ct);
            follower.Drain();
            try
            {
                foreach (var org in driving.Keys.Select(d => d.Org).Distinct().ToList())
                {
                    foreach (var run in await queries.Cancelling(org, ct))
                    {
                        if (driving.TryGetValue((org, run), out var driven))
                        {
                            await Stop(driven.Stop);
                        }
                    }
                }
            }
            catch (StorageUnavailableException e)
            {
                // The engine says that others wrote when it has found the database again.
                LogAway(logger, e.Message);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                LogNotWatched(logger, e);
            }
        }
    }

    static async Task WatchForCancel(FeedSubscription follower, CancellationTokenSource stop, CancellationToken ended)
    {
        try
        {
            while (true)
            {
                if (await follower.Read(ended) is { Type: "run_cancel_requested.v1" })
                {
                    await Stop(stop);
                }
            }
        }
        catch (OperationCanceledException) when (ended.IsCancellationRequested)
        {
            // The run is no longer driven here.
        }
    }

    static async Task Stop(CancellationTokenSource stop)
    {
        try
        {
            await stop.CancelAsync();
        }
        catch (ObjectDisposedException)
        {
            // The run ended at the same moment.
        }
    }

    /// <summary>True when a commit finished the job.</summary>
    async Task<bool> Drive(Claim claim, CancellationToken stop, CancellationToken ct)
    {
        NextStep? last = null;
        var isTimeUp = false;
        while (true)
        {
            ct.ThrowIfCancellationRequested();
            var state = await commands.State(claim.Org, Run.Aggregate, claim.Key, ct);
            // A timer and the time of day are two clocks. Asking a model once more because they differ would say twice what it had said.
            var now = isTimeUp && TimeUpAt(state) is { } end && end > clock.GetUtcNow() ? end : clock.GetUtcNow();
            var next = state is Run.Active active && active.Epoch != claim.Epoch
                ? new NextStep.Begin()
                : Run.Next(state, options.Limits, now);
            if (next is NextStep.Done or NextStep.WaitApproval)
            {
                // The claim of a new run can be here before its own submitter has put the state into the cache, that of an approved one before this node has
                // heard of the approval, and no append guards a decision to do nothing.
                if (last is null
                    && Run.Next(await commands.Fresh(claim.Org, Run.Aggregate, claim.Key, ct), options.Limits, clock.GetUtcNow())
                        is not (NextStep.Done or NextStep.WaitApproval))
                {
                    continue;
                }
                // Every step that ends or suspends a run finishes the job too. One that had ended before it could begin leaves the job over.
                return last is not (null or NextStep.Begin);
            }
            last = next;
            Refusal? refused;
            using var span = Spans.Step(next, claim);
            using var timeUp = TimeUp(state);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, timeUp.Token);
            try
            {
                refused = await Do(next, claim, state, either.Token, ct);
            }
            catch (OperationCanceledException) when (either.IsCancellationRequested && !ct.IsCancellationRequested)
            {
                // The step was stopped because cancelling was asked for, maybe through another node, or the run's time is up: go by what the log says.
                isTimeUp = timeUp.IsCancellationRequested;
                await commands.Fresh(claim.Org, Run.Aggregate, claim.Key, ct);
                continue;
            }
            catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
            {
                span.Failed("internal_error");
                LogFailed(logger, e, claim.Key, next.GetType().Name);
                refused = await End(claim, now => new RunCommand.Fail(claim.Epoch, "internal_error", "The host could not go on with this run.", now), ct);
            }
            if (refused is not null)
            {
                LogFenced(logger, claim.Key, claim.Epoch, refused.Code);
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

    ValueTask<Refusal?> Do(NextStep next, Claim claim, Run state, CancellationToken stop, CancellationToken ct) => (next, state) switch
    {
        (NextStep.Begin, _) => Begin(claim, state, ct),
        (NextStep.RetrieveMemory, Run.Active run) => Remember(claim, run.Request, ct),
        (NextStep.AskModel, Run.Active run) => AskModel(claim, run, stop, ct),
        (NextStep.CallTool call, Run.Active run) => CallTool(claim, run, call, stop, ct),
        (NextStep.JudgeCall or NextStep.Finish, _) => Record(claim, null, ct),
        (NextStep.GiveUp why, _) => End(claim, now => new RunCommand.Fail(claim.Epoch, why.Code, why.Message, now), ct),
        (NextStep.ConfirmCancel, _) => End(claim, now => new RunCommand.ConfirmCancel(claim.Epoch, now), ct),
        _ => throw new UnreachableException(next.GetType().Name),
    };

    Origin ByOf(Claim claim) => driving[(claim.Org, claim.Key)].By;

    async ValueTask<Refusal?> Begin(Claim claim, Run state, CancellationToken ct)
    {
        var recalled = state is Run.Queued queued ? await Recall(claim, queued.Request, ct) : null;
        return await commands.Commit(
            claim.Org, ByOf(claim),
            async work =>
            {
                // Between the claim and now the run may have been cancelled: then there is nothing to begin.
                var found = await work.State(Run.Aggregate, claim.Key);
                if (found is Run.Ended)
                {
                    return null;
                }
                // Or this node knew it only as queued, and another had begun it: then what there is to be recalled may have been recorded.
                return await Command(work, claim, new RunCommand.Begin(claim.Epoch, node, work.Now))
                    ?? (recalled is null || found is not Run.Queued ? null : await Command(work, claim, recalled with { Now = work.Now }));
            },
            ct, patient: true);
    }

    async ValueTask<Refusal?> Remember(Claim claim, RunRequest request, CancellationToken ct)
    {
        var recalled = await Recall(claim, request, ct);
        return await Record(claim, now => recalled with { Now = now }, ct);
    }

    async ValueTask<RunCommand.RecordMemory> Recall(Claim claim, RunRequest request, CancellationToken ct)
    {
        var message = await blobs.Text(request.Message, ct);
        var items = new List<Recalled>();
        var chars = 0;
        foreach (var item in await queries.Recall(claim.Org, message, Limits.MemoriesPerRunMax, ct))
        {
            var text = await blobs.Text(item.Text, ct);
            if (chars + text.Length <= Limits.MemoryCharsMax)
            {
                chars += text.Length;
                items.Add(item);
            }
        }
        var earlier = await queries.Earlier(claim.Org, Ids.SessionKey(request.SessionId)!, Limits.HistoryTurnsMax, ct);
        return new(claim.Epoch, [.. items], [.. earlier.Select(turn => turn.RunId)], default);
    }

    async ValueTask<Refusal?> AskModel(Claim claim, Run.Active run, CancellationToken stop, CancellationToken ct)
    {
        if (!models.TryGetValue(run.Request.Model, out var model))
        {
            return await Fail(claim, "unknown_model", $"There is no model \"{run.Request.Model}\".", ct);
        }
        if (await Workspace(claim, run, ct) is not { } workspace)
        {
            return await Fail(claim, "session_deleted", "The session was deleted.", ct);
        }
        var tools = toolbox.Declarations;
        var prompt = await Prompt.Build(claim.Org, run, tools, queries, blobs, ct);
        var chat = new ChatOptions { ModelId = run.Request.Model, Tools = [.. tools], AdditionalProperties = new() { [OfflineModel.Workspace] = workspace } };
        var terms = model.GetService(typeof(ModelTerms)) as ModelTerms ?? ModelTerms.Unknown;
        ModelRound round;
        for (var attempt = 1; ; attempt++)
        {
            round = new(run, options.DeltaEvery, clock);
            using var call = ModelCall.Begin(model, run.Request.Model, run.Request.RunId, run.Request.SessionId, clock);
            try
            {
                await round.Read(
                    model.GetStreamingResponseAsync(prompt.Messages, chat, stop),
                    async text =>
                    {
                        if (await Record(claim, now => new RunCommand.RecordText(claim.Epoch, text, now), ct) is { } refused)
                        {
                            throw new RunFencedException(refused);
                        }
                    },
                    stop);
                if (call is not null)
                {
                    round.Describe(call, terms.Price);
                }
                break;
            }
            catch (RunFencedException fenced)
            {
                call?.Failed(fenced.Refused.Code);
                return fenced.Refused;
            }
            catch (ModelException e)
            {
                call?.Failed(e.Code);
                // The provider's words may hold pieces of the prompt; they stand in the run's events, where the prompt does.
                LogNoAnswer(logger, claim.Key, run.Request.Model, e.Code, e.InnerException?.GetType().Name);
                if (!e.CanRetry || terms.Retries.After(attempt, e.RetryAfter, $"{claim.Key}:{run.StepsDone}") is not { } wait)
                {
                    return await Fail(claim, e.Code, e.Message, ct);
                }
                // What came so far was perhaps shown: the log says that it does not count.
                if (await Record(claim, now => new RunCommand.RetryModel(claim.Epoch, e.Code, ErrorText(e.Message), wait, now), ct) is { } refused)
                {
                    return refused;
                }
                await Task.Delay(wait, clock, stop);
            }
            catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
            {
                call?.Failed(ModelException.Failed);
                LogModelFailed(logger, e, claim.Key, run.Request.Model);
                return await Fail(claim, ModelException.Failed, e.Message, ct);
            }
        }
        var answer = await round.Answer(prompt.Sha256, terms.Price, blobs, ct);
        var reply = answer.Calls.IsEmpty ? await blobs.Store(round.Text, ct) : null;
        return await Record(claim, now => new RunCommand.RecordAnswer(claim.Epoch, round.Tail, reply, answer, now), ct);
    }

    async ValueTask<Refusal?> CallTool(Claim claim, Run.Active run, NextStep.CallTool step, CancellationToken stop, CancellationToken ct)
    {
        if (await Context(claim, run, step.Step, step.Attempt, ct) is not { } context)
        {
            return await Fail(claim, "session_deleted", "The session was deleted.", ct);
        }
        var outcome = await MakeCall(claim, context with { Granted = step.Granted }, step.Call, stop, ct);
        var content = await blobs.Store(outcome.Text, ct);
        return await Record(
            claim, now => new RunCommand.RecordResult(claim.Epoch, step.Call.Id, content, outcome.IsError, now), ct,
            also: work => Discover(work, run.Request, claim.Key, outcome.Wrote));
    }

    async Task<ToolOutcome> MakeCall(Claim claim, ToolContext context, RequestedCall call, CancellationToken stop, CancellationToken ct)
    {
        // A model may write anything where a tool's name belongs.
        using var span = Spans.Tool(toolbox.Has(call.Name) ? call.Name : "_OTHER", context);
        try
        {
            var input = await blobs.Text(call.Input, ct);
            var outcome = context.Granted is { } granted && granted.ArgsDigest != ArgsDigest(input)
                ? ToolOutcome.Error("Refused: the arguments are not those that were approved.")
                : await toolbox.Run(context, call.Name, input, stop);
            if (outcome.IsError)
            {
                span.Failed("tool_error");
            }
            return outcome;
        }
        catch (Exception e) when (e is not StorageUnavailableException && !(e is OperationCanceledException && stop.IsCancellationRequested))
        {
            span.Failed(e.GetType().Name);
            LogToolFailed(logger, e, claim.Key, call.Name);
            return ToolOutcome.Error("The tool failed.");
        }
    }

    /// <summary>What the call wrote becomes part of the session's artifacts with its result.</summary>
    static async ValueTask<Refusal?> Discover(UnitOfWork work, RunRequest request, string run, IReadOnlyList<WrittenFile> written)
    {
        foreach (var file in written)
        {
            var key = Artifact.KeyOf(request.SessionId, file.Path);
            var discover = new ArtifactCommand.Discover(
                $"art_{key}", request.SessionId, request.RunId, file.Path, file.Sha256, file.Bytes, OutputRoot.MediaType(file.Path), work.Now);
            if (await work.Do(Artifact.Aggregate, key, discover, Ids.SessionKey(request.SessionId), run) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }

    static string ArgsDigest(string input) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(input)));

    ValueTask<Refusal?> Fail(Claim claim, string code, string message, CancellationToken ct) =>
        End(claim, now => new RunCommand.Fail(claim.Epoch, code, ErrorText(message), now), ct);

    internal static string ErrorText(string message) => StorableText.Escape(FileText.Cut(message, ErrorCharsMax));

    /// <summary>Ends the run and gives the session's queue on.</summary>
    ValueTask<Refusal?> End(Claim claim, Func<DateTimeOffset, RunCommand> command, CancellationToken ct) => commands.Commit(
        claim.Org, ByOf(claim),
        async work =>
        {
            var session = Turns.SessionOf(await work.State(Run.Aggregate, claim.Key))!;
            if (await Command(work, claim, command(work.Now)) is { } refused)
            {
                return refused;
            }
            work.Finish(claim);
            return await Turns.LeaveQueue(work, session, claim.Key);
        },
        ct, patient: true);

    /// <summary>
    /// Records an outcome with all that follows from it without the world: verdicts on the calls that come next, the question to a person, or the run's
    /// end. One commit, so that a run waits for the disk once for each thing that it does.
    /// </summary>
    /// <param name="also">What else goes into the commit.</param>
    ValueTask<Refusal?> Record(
        Claim claim, Func<DateTimeOffset, RunCommand>? outcome, CancellationToken ct, Func<UnitOfWork, ValueTask<Refusal?>>? also = null) => commands.Commit(
        claim.Org, ByOf(claim),
        async work =>
        {
            if (outcome is not null && await Command(work, claim, outcome(work.Now)) is { } fenced)
            {
                return fenced;
            }
            if (also is not null && await also(work) is { } impossible)
            {
                return impossible;
            }
            while (true)
            {
                var state = await work.State(Run.Aggregate, claim.Key);
                var refused = (Run.Next(state, options.Limits, work.Now), state) switch
                {
                    (NextStep.JudgeCall judge, Run.Active run) => await Judge(work, claim, run, judge.Call, ct),
                    (NextStep.Finish, Run.Active run) => await Complete(work, claim, run, ct),
                    _ => null,
                };
                var after = await work.State(Run.Aggregate, claim.Key);
                if (refused is not null || ReferenceEquals(after, state))
                {
                    return refused;
                }
            }
        },
        ct, patient: true);

    async ValueTask<Refusal?> Judge(UnitOfWork work, Claim claim, Run.Active run, RequestedCall call, CancellationToken ct)
    {
        if (await Context(claim, run, run.StepsDone + 1, run.StepAttempt, ct) is not { } context)
        {
            return null;
        }
        var input = await blobs.Text(call.Input, ct);
        var subject = toolbox.Subject(context, call.Name, input);
        var verdict = policy.Judge(call.Name, subject);
        return verdict.Outcome == PolicyOutcome.Confirm
            ? await Ask(work, claim, call, verdict with { Reason = WithPaths(verdict.Reason, subject) }, ArgsDigest(input), subject)
            : await Command(work, claim, new RunCommand.RecordPolicy(claim.Epoch, call.Id, verdict.Outcome, verdict.Rule, verdict.Reason, work.Now));
    }

    /// <summary>Asks a person about the call, and gives the job up: the decision, or its lack, starts it again.</summary>
    async ValueTask<Refusal?> Ask(UnitOfWork work, Claim claim, RequestedCall call, PolicyVerdict verdict, string argsDigest, CallSubject subject)
    {
        var (key, until) = (Ids.NewKey(work.Now), work.Now + approvals.ExpireAfter);
        var ask = new RunCommand.RequestApproval(
            claim.Epoch, call.Id, $"appr_{key}", verdict.Rule, verdict.Reason, argsDigest, until, work.Now, subject.Paths.Any() ? [.. subject.Paths] : null);
        if (await Command(work, claim, ask) is { } refused)
        {
            return refused;
        }
        work.Finish(claim);
        work.Start(new Job(ApprovalExpiry.JobKind, key, until));
        return null;
    }

    /// <summary>The reason with what it is about, as the paths resolve: what a person is to decide on.</summary>
    static string WithPaths(string reason, CallSubject subject) =>
        subject.Paths.Any() ? $"{reason} ({string.Join(" → ", subject.Paths.Select(path => FileText.Cut(path, 500)))})" : reason;

    async ValueTask<Refusal?> Complete(UnitOfWork work, Claim claim, Run.Active run, CancellationToken ct)
    {
        var session = Ids.SessionKey(run.Request.SessionId)!;
        if (await Command(work, claim, new RunCommand.Complete(claim.Epoch, work.Now)) is { } refused)
        {
            return refused;
        }
        work.Finish(claim);
        if (await Turns.LeaveQueue(work, session, claim.Key) is { } stuck)
        {
            return stuck;
        }
        if (memory.NotesByModel && models.TryGetValue(run.Request.Model, out var model) && model is not OfflineModel)
        {
            work.Start(new Job(RunNotes.JobKind, claim.Key));
            return null;
        }
        var message = await blobs.Text(run.Request.Message, ct);
        var reply = await blobs.Text(run.Reply!, ct);
        var results = new List<ToolFinding>();
        foreach (var result in run.Transcript.OfType<ConversationEntry.ByTool>())
        {
            results.Add(new(result.Name, await blobs.Text(result.Content, ct), result.IsError));
        }
        return await MemoryBook.WriteNotes(
            work, session, claim.Key, SessionNotes.Turn(message, reply), SessionNotes.Learning(message, reply, results), await MemoryBook.LastOf(work, claim.Key), notes: null);
    }

    static async ValueTask<Refusal?> Command(UnitOfWork work, Claim claim, RunCommand command)
    {
        var session = Turns.SessionOf(await work.State(Run.Aggregate, claim.Key));
        return await work.Do(Run.Aggregate, claim.Key, command, session, claim.Key);
    }

    async ValueTask<ToolContext?> Context(Claim claim, Run.Active run, int step, int attempt, CancellationToken ct) =>
        await Workspace(claim, run, ct) is { } workspace
            ? new(claim.Org, Ids.SessionKey(run.Request.SessionId)!, claim.Key, workspace, $"run_{claim.Key}:{step}", attempt) { Correlation = ByOf(claim).Correlation }
            : null;

    async ValueTask<string?> Workspace(Claim claim, Run.Active run, CancellationToken ct) =>
        (await commands.State(claim.Org, Session.Aggregate, Ids.SessionKey(run.Request.SessionId)!, ct) as Session.Open)?.WorkspacePath;

    [LoggerMessage(Level = LogLevel.Information, Message = "Run {Run} is no longer driven here under epoch {Epoch}: {Code}")]
    static partial void LogFenced(ILogger logger, string run, long epoch, string code);

    [LoggerMessage(Level = LogLevel.Error, Message = "Run {Run} failed at {Step}")]
    static partial void LogFailed(ILogger logger, Exception e, string run, string step);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The model {Model} gave no whole answer in run {Run}: {Code} ({Cause})")]
    static partial void LogNoAnswer(ILogger logger, string run, string model, string code, string? cause);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The model {Model} failed in run {Run}")]
    static partial void LogModelFailed(ILogger logger, Exception e, string run, string model);

    [LoggerMessage(Level = LogLevel.Error, Message = "The tool {Tool} failed in run {Run}")]
    static partial void LogToolFailed(ILogger logger, Exception e, string run, string tool);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Could not look for runs to cancel: {Reason}")]
    static partial void LogAway(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Could not look for runs to cancel")]
    static partial void LogNotWatched(ILogger logger, Exception e);

    /// <summary>A run under way here, until <see cref="Over"/>: how it is stopped, and as whom it is written.</summary>
    sealed record Driven(CancellationTokenSource Stop, Origin By)
    {
        public TaskCompletionSource Over { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>Carries a refusal out of the reading of a model's stream.</summary>
    sealed class RunFencedException(Refusal refused) : Exception(refused.Code)
    {
        public Refusal Refused { get; } = refused;
    }
}
