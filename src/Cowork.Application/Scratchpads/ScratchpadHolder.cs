using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Holds a scratchpad: executes its queued cells in order with one kernel, keeps that while it is used, and ends it afterwards. A request that any host accepts queues a
/// cell in the log; the holder hears of it there. All that a later holder needs is in the log, so that after a crash another one goes on, without the kernel's variables.
/// </summary>
public sealed partial class ScratchpadHolder(
    CommandHandler commands, IKernels kernels, IWorkspaces workspaces, IBlobs blobs, FeedHub hub, IJobQueue queue, IdleKernels idle, ScratchpadOptions options, string node,
    TimeProvider clock, ILogger<ScratchpadHolder> logger) : IJobHandler
{
    /// <summary>The job's key is the scratchpad's.</summary>
    public const string JobKind = "scratchpad";

    /// <summary>As whom cells are executed.</summary>
    static readonly Origin Kernel = new("kernel");

    readonly CommandHandler commands = commands;
    readonly IKernels kernels = kernels;
    readonly IWorkspaces workspaces = workspaces;
    readonly IBlobs blobs = blobs;
    readonly FeedHub hub = hub;
    readonly IJobQueue queue = queue;
    readonly IdleKernels idle = idle;
    readonly ScratchpadOptions options = options;
    readonly string node = node;
    readonly TimeProvider clock = clock;
    readonly ILogger logger = logger;

    public string Kind => JobKind;

    /// <summary>Holds the scratchpad until nothing is executed any more, it is taken over, or the token is cancelled.</summary>
    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        if (await commands.LatestState(claim.Org, Scratchpad.Aggregate, new ScratchpadKey(claim.Key), ct) is not Scratchpad.Live state)
        {
            return false;
        }
        var holding = new Holding(this, claim, state.SessionId);
        await using (holding)
        {
            try
            {
                return await holding.Run(ct);
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                await holding.GiveUp();
                throw;
            }
            catch (FencedException)
            {
                LogFenced(logger, holding.Scratchpad, claim.Epoch);
                return true;
            }
        }
    }

    /// <summary>Another claim holds the scratchpad.</summary>
    sealed class FencedException : Exception;

    /// <summary>One claim's hold on a scratchpad.</summary>
    sealed class Holding(ScratchpadHolder of, Claim claim, SessionKey session) : IAsyncDisposable
    {
        /// <summary>Bytes of messages, about, that one event holds.</summary>
        const int BatchBytes = 48 * 1024;

        /// <summary>So often an idle kernel looks whether others wait for one.</summary>
        static readonly TimeSpan LookForWaiting = TimeSpan.FromMilliseconds(250);

        /// <summary>One look for many writes of other hosts.</summary>
        static readonly TimeSpan OthersSettle = TimeSpan.FromMilliseconds(100);

        /// <summary>A kernel has told its packages by then, or does not.</summary>
        static readonly TimeSpan EnvironmentTime = TimeSpan.FromSeconds(5);

        /// <summary>A host that stops has little time.</summary>
        static readonly TimeSpan GiveUpTime = TimeSpan.FromSeconds(2);

        readonly SemaphoreSlim changed = new(0, 1);
        readonly CancellationTokenSource over = new();
        readonly string stream = Domain.Scratchpad.Aggregate.Stream(new(claim.Key));
        (int Execution, CancellationTokenSource Interrupt)? underway;
        IKernel? kernel;
        string? language;
        Task watching = Task.CompletedTask;

        public ScratchpadKey Scratchpad { get; } = new(claim.Key);

        public async Task<bool> Run(CancellationToken ct)
        {
            var subscription = of.hub.WatchSession(claim.Org, session);
            watching = Watch(subscription);
            // What was written before the subscription is not heard of.
            await of.commands.LatestState(claim.Org, Domain.Scratchpad.Aggregate, Scratchpad, ct);
            await Do(now => new ScratchpadCommand.TakeOver(claim.Epoch, now), ct);
            while (true)
            {
                ct.ThrowIfCancellationRequested();
                if (await State(ct) is not { } state)
                {
                    return false;
                }
                if (HasLostVariables)
                {
                    await Lose(ct);
                }
                else if (state.IsRestartRequested)
                {
                    await Restart(ct);
                }
                else if (state.Queue is [var first, ..])
                {
                    await Execute(first, ct);
                }
                else if (kernel is null)
                {
                    if (state.Kernel is not null)
                    {
                        await Do(now => new ScratchpadCommand.LoseKernel(claim.Epoch, now), ct);
                    }
                    return false;
                }
                else if (await WhyStop(state, ct) is { } reason && await Stop(reason, ct))
                {
                    return true;
                }
            }
        }

        /// <summary>The host stops: an idle kernel is said to have ended. What is executed is left to the next holder.</summary>
        public async ValueTask GiveUp()
        {
            using var late = new CancellationTokenSource(GiveUpTime, of.clock);
            try
            {
                if (kernel is not null)
                {
                    await Do(now => new ScratchpadCommand.StopKernel(claim.Epoch, KernelStopReasons.HostStopped, now), late.Token, finishes: true);
                }
            }
            catch (Exception e) when (e is FencedException or OperationCanceledException or StorageUnavailableException)
            {
                // The next holder finds out by itself.
            }
        }

        public async ValueTask DisposeAsync()
        {
            await over.CancelAsync();
            await watching;
            await Drop();
            over.Dispose();
            changed.Dispose();
        }

        /// <summary>The kernel that is held, if any, ended or was replaced while nothing was executed.</summary>
        bool HasLostVariables => kernel is { Ended.IsCompleted: true } or { Lost.IsCompleted: true };

        /// <summary>Says that the kernel is lost. The next execution gets another one, whose log begins with that.</summary>
        async ValueTask Lose(CancellationToken ct)
        {
            await Drop();
            await Do(now => new ScratchpadCommand.LoseKernel(claim.Epoch, now), ct);
        }

        /// <summary>Null: the scratchpad was deleted.</summary>
        async ValueTask<Scratchpad.Live?> State(CancellationToken ct) =>
            await of.commands.State(claim.Org, Domain.Scratchpad.Aggregate, Scratchpad, ct) as Scratchpad.Live;

        async ValueTask Drop()
        {
            if (kernel is { } ended)
            {
                kernel = null;
                await ended.DisposeAsync();
            }
        }

        /// <summary>Records a command. No-op when the scratchpad was deleted meanwhile.</summary>
        /// <exception cref="FencedException">Another claim holds the scratchpad.</exception>
        async ValueTask Do(Func<DateTimeOffset, ScratchpadCommand> command, CancellationToken ct, Func<UnitOfWork, ValueTask<Refusal?>>? also = null, bool finishes = false)
        {
            var refused = await of.commands.Commit(
                claim.Org, Kernel,
                async work =>
                {
                    if (await work.State(Domain.Scratchpad.Aggregate, Scratchpad) is not Domain.Scratchpad.Live)
                    {
                        return null;
                    }
                    if (await work.Do(Domain.Scratchpad.Aggregate, Scratchpad, command(work.Now), session) is { } no)
                    {
                        return no;
                    }
                    if (finishes && await work.State(Domain.Scratchpad.Aggregate, Scratchpad) is Domain.Scratchpad.Live { Kernel: null })
                    {
                        work.Finish(claim);
                    }
                    return also is null ? null : await also(work);
                },
                ct, waitForStorage: true);
            if (refused is not null)
            {
                throw new FencedException();
            }
        }

        /// <summary>Waits until something is to be done, or the kernel is to be ended. Answers why it is; null: there is something to do.</summary>
        async ValueTask<string?> WhyStop(Scratchpad.Live state, CancellationToken ct)
        {
            if (state.ReplayOf is not null)
            {
                return KernelStopReasons.Done;
            }
            using var place = of.idle.Add(this, claim.Org);
            var since = of.clock.GetTimestamp();
            while (true)
            {
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(ct);
                var change = changed.WaitAsync(enough.Token);
                await Task.WhenAny(change, kernel!.Ended, kernel.Lost, Task.Delay(LookForWaiting, of.clock, enough.Token));
                await enough.CancelAsync();
                ct.ThrowIfCancellationRequested();
                // Cancelled or done: a change that came at the last moment is not lost.
                await ((Task)change).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                if (change.IsCompletedSuccessfully || HasLostVariables)
                {
                    return null;
                }
                if (of.clock.GetElapsedTime(since) >= of.options.IdleTime)
                {
                    return KernelStopReasons.Idle;
                }
                if (of.queue.Slots.WantsRoom(JobKind, claim.Org) && of.idle.IsOldest(this, claim.Org))
                {
                    return KernelStopReasons.Room;
                }
            }
        }

        /// <summary>True: the kernel was ended, and the job is done. False: something was queued at the same time.</summary>
        async ValueTask<bool> Stop(string reason, CancellationToken ct)
        {
            await Do(now => new ScratchpadCommand.StopKernel(claim.Epoch, reason, now), ct, finishes: true);
            if (await State(ct) is { Kernel: not null })
            {
                return false;
            }
            await Drop();
            return true;
        }

        async ValueTask Restart(CancellationToken ct)
        {
            try
            {
                if (kernel is not null)
                {
                    await kernel.Restart(ct);
                }
            }
            catch (KernelUnavailableException e)
            {
                LogRestart(of.logger, Scratchpad, e.Message);
                await Lose(ct);
                return;
            }
            await Do(now => new ScratchpadCommand.RecordRestart(claim.Epoch, now), ct);
        }

        async ValueTask Execute(QueuedExecution queued, CancellationToken ct)
        {
            if (await of.commands.State(claim.Org, Session.Aggregate, session, ct) is not Session.Open open
                || await of.workspaces.Grants(claim.Org, open, ct) is not { } grants)
            {
                await Fail("A folder of the conversation is none that its tenant may use (Cowork:WorkspaceRoots).", ct);
                return;
            }
            if (!await Started(queued.Language, grants, ct))
            {
                return;
            }
            var code = await of.blobs.Text(queued.Code, ct);
            var before = CellFiles.Look(grants, queued.StartedAt, ct);
            if (HasLostVariables)
            {
                // The next turn says so, and gets a kernel for the cell.
                return;
            }
            await Do(now => new ScratchpadCommand.Start(claim.Epoch, queued.Execution, now), ct);
            using var interrupt = CancellationTokenSource.CreateLinkedTokenSource(ct);
            lock (changed)
            {
                underway = (queued.Execution, interrupt);
            }
            try
            {
                // It may have been withdrawn before it began.
                if (await State(ct) is { Running.Of.Execution: var running } && running == queued.Execution)
                {
                    await InterruptWhenAsked(ct);
                    try
                    {
                        await Execute(queued, code, grants, before, interrupt, ct);
                    }
                    catch (Exception e) when (e is not (OperationCanceledException or FencedException or StorageUnavailableException))
                    {
                        LogFailed(of.logger, e, Scratchpad, queued.Execution);
                        await Drop();
                        var result = CellResult.Withdrawn(CellErrorCodes.KernelDied, "The host could not go on with this cell.");
                        await Do(now => new ScratchpadCommand.Complete(claim.Epoch, queued.Execution, result, IsStateLost: true, IsKernelGone: true, now), ct);
                    }
                }
            }
            finally
            {
                lock (changed)
                {
                    underway = null;
                }
            }
        }

        ValueTask Fail(string why, CancellationToken ct) =>
            Do(now => new ScratchpadCommand.FailFirst(CellErrorCodes.KernelUnavailable, StorableText.Escape(why), now), ct);

        /// <summary>A kernel of the language takes code. False: none starts, and the execution has failed.</summary>
        async ValueTask<bool> Started(string asked, Grants grants, CancellationToken ct)
        {
            if (kernel is not null && language == asked)
            {
                return true;
            }
            await Drop();
            if (of.kernels.Specs.FirstOrDefault(spec => spec.Language == asked) is not { } spec)
            {
                await Fail($"No kernel for {asked} is installed on the host that has the scratchpad.", ct);
                return false;
            }
            try
            {
                (kernel, language) = (await of.kernels.Start(new(grants, of.options.Limits, spec.Name), ct), asked);
            }
            catch (KernelUnavailableException e)
            {
                await Fail(e.Message, ct);
                return false;
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                LogNotStarted(of.logger, e, Scratchpad);
                await Fail("The kernel did not start.", ct);
                return false;
            }
            await Do(now => new ScratchpadCommand.StartKernel(claim.Epoch, of.node, spec.Name, spec.Language, now), ct);
            return true;
        }

        async ValueTask Execute(
            QueuedExecution queued, string code, Grants grants, IReadOnlyDictionary<string, (long Length, DateTime WrittenAt)> before, CancellationTokenSource interrupt,
            CancellationToken ct)
        {
            var kept = of.blobs.For(claim.Org, (await State(ct))?.Subject);
            var (outputs, isCut, isReplaced, error) = (CellOutputs.None, false, false, (KernelMessage.Error?)null);
            KernelMessage.Done? done = null;
            ILookup<string, CellKey>? displayed = null;
            await foreach (var batch in Batches(kernel!.Execute(code, interrupt.Token), interrupt, ct))
            {
                var said = new List<OutputMessage>();
                foreach (var message in batch)
                {
                    (isCut, error, done) = (isCut || message is KernelMessage.Truncated, message as KernelMessage.Error ?? error, message as KernelMessage.Done);
                    // It was lost in the moment after it was looked at: the execution's end tells it.
                    isReplaced |= message is KernelMessage.Restarted;
                    foreach (var output in OutputJson.Of(message))
                    {
                        // Code may print thousands of short texts at once.
                        if (output is OutputMessage.Stream more && said is [.., OutputMessage.Stream last] && last.Name == more.Name)
                        {
                            said[^1] = last with { Text = last.Text + more.Text };
                        }
                        else
                        {
                            said.Add(output);
                        }
                    }
                }
                var elsewhere = new Dictionary<string, OutputMessage.UpdateDisplay>(StringComparer.Ordinal);
                foreach (var output in said)
                {
                    outputs = outputs.Add(output).After;
                    if (output is OutputMessage.UpdateDisplay update)
                    {
                        elsewhere[update.DisplayId] = update;
                    }
                }
                if (said.Count > 0)
                {
                    var content = await kept.Store(OutputJson.Write(said), ct);
                    await Do(now => new ScratchpadCommand.RecordOutput(claim.Epoch, queued.Execution, content, now), ct);
                }
                if (elsewhere.Count > 0)
                {
                    displayed ??= await DisplayedElsewhere(queued.CellId, ct);
                    await UpdateElsewhere(queued, elsewhere, displayed, ct);
                }
            }
            var end = done ?? throw new InvalidOperationException("A kernel ended a cell without saying so.");
            var (files, areMore) = await CellFiles.Keep(grants, before, kept, ct);
            var result = new CellResult(
                await ErrorOf(end, error, ct), (long)end.Took.TotalMilliseconds, isCut || areMore,
                outputs.Items.IsEmpty ? null : await kept.Store(OutputJson.Write(outputs.Items), ct), end.ExecutionCount, await Environment(ct),
                files.Count == 0 ? null : [.. files.Select(file => new CellFile(file.Path, file.Sha256, file.Bytes))]);
            var isGone = kernel.Ended.IsCompleted;
            await Do(
                now => new ScratchpadCommand.Complete(claim.Epoch, queued.Execution, result, end.IsStateLost || isReplaced || isGone, isGone, now), ct,
                // What a run's tool had written is the run's, and recorded with the tool's result.
                also: work => queued.RunId is null ? CellFiles.Discover(work, session, files) : default);
            if (isGone)
            {
                await Drop();
            }
        }

        /// <summary>The cells but one that display something under an id, by that.</summary>
        async ValueTask<ILookup<string, CellKey>> DisplayedElsewhere(CellKey but, CancellationToken ct)
        {
            var displayed = new List<(string Id, CellKey Cell)>();
            foreach (var cell in (await State(ct))?.Cells.Where(cell => cell.CellId != but && cell.Result?.Outputs is not null) ?? [])
            {
                var outputs = await of.blobs.Outputs(cell.Result!.Outputs, ct);
                displayed.AddRange(outputs.OfType<NotebookOutput.Display>().Where(shown => shown.DisplayId is not null).Select(shown => (shown.DisplayId!, cell.CellId)));
            }
            return displayed.Distinct().ToLookup(shown => shown.Id, shown => shown.Cell, StringComparer.Ordinal);
        }

        /// <summary>Updates what other cells display, as Jupyter does wherever in the notebook it stands.</summary>
        /// <param name="updates">The last one of each id.</param>
        async ValueTask UpdateElsewhere(
            QueuedExecution queued, Dictionary<string, OutputMessage.UpdateDisplay> updates, ILookup<string, CellKey> displayed, CancellationToken ct)
        {
            foreach (var cell in updates.SelectMany(update => displayed[update.Key].Select(cell => (Cell: cell, Update: update.Value))).ToLookup(u => u.Cell, u => u.Update))
            {
                if (await State(ct) is not { } state || state.Find(cell.Key)?.Result?.Outputs is not { } before)
                {
                    continue;
                }
                var shown = cell.Aggregate(new CellOutputs(await of.blobs.Outputs(before, ct)), (outputs, update) => outputs.Add(update).After);
                var content = await of.blobs.For(claim.Org, state.Subject).Store(OutputJson.Write(shown.Items), ct);
                await Do(now => new ScratchpadCommand.UpdateDisplays(claim.Epoch, queued.Execution, cell.Key, content, now), ct);
            }
        }

        /// <summary>Why it failed; null: it did not.</summary>
        async ValueTask<CellError?> ErrorOf(KernelMessage.Done end, KernelMessage.Error? error, CancellationToken ct)
        {
            if (end.Outcome == KernelOutcome.Succeeded)
            {
                return null;
            }
            var said = end.Why ?? (error is null ? null : error.Value.Length == 0 ? error.Name : $"{error.Name}: {error.Value}");
            return end switch
            {
                _ when await State(ct) is { IsRestartRequested: true } => new(CellErrorCodes.KernelRestarted, "The kernel was restarted."),
                { Limit: { } limit } => new(limit, Shown(said ?? $"It went past a limit: {limit}.")),
                { Outcome: KernelOutcome.Interrupted } => new(CellErrorCodes.Interrupted, Shown(said ?? "It was interrupted.")),
                { Outcome: KernelOutcome.Died } => new(CellErrorCodes.KernelDied, Shown(said ?? "The kernel died.")),
                _ => new(CellErrorCodes.Exception, Shown(said ?? "The code failed.")),
            };

            static string Shown(string message) => RunRecorder.ErrorText(message);
        }

        async ValueTask<CellEnvironment?> Environment(CancellationToken ct)
        {
            try
            {
                var told = await kernel!.Environment.WaitAsync(EnvironmentTime, of.clock, ct);
                return new(told.Kernel, told.Language, told.Version, [.. told.Packages.Select(package => $"{package.Name}=={package.Version}")]);
            }
            catch (Exception e) when (e is TimeoutException or KernelUnavailableException)
            {
                return null;
            }
        }

        /// <summary>What the kernel says, put together until there is enough of it, or a reader has waited long enough.</summary>
        async IAsyncEnumerable<List<KernelMessage>> Batches(
            IAsyncEnumerable<KernelMessage> messages, CancellationTokenSource interrupt, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
        {
            var said = messages.GetAsyncEnumerator(CancellationToken.None);
            var next = said.MoveNextAsync().AsTask();
            try
            {
                var (batch, bytes, hasEnded) = (new List<KernelMessage>(), 0L, false);
                while (!hasEnded)
                {
                    hasEnded = !await next.WaitAsync(ct);
                    var began = of.clock.GetTimestamp();
                    while (!hasEnded)
                    {
                        batch.Add(said.Current);
                        bytes += BytesOf(said.Current);
                        next = said.MoveNextAsync().AsTask();
                        if (bytes >= BatchBytes || !await Within(next, of.options.OutputEvery - of.clock.GetElapsedTime(began), ct))
                        {
                            break;
                        }
                        hasEnded = !await next;
                    }
                    if (batch.Count > 0)
                    {
                        yield return batch;
                        (batch, bytes) = ([], 0);
                    }
                }
            }
            finally
            {
                if (!next.IsCompleted)
                {
                    // The enumerator must not be disposed while it moves. A kernel whose cell is left is of no more use.
                    await interrupt.CancelAsync();
                    await Drop();
                    await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }
                await said.DisposeAsync();
            }
        }

        /// <summary>True: the task was done within the time.</summary>
        async ValueTask<bool> Within(Task task, TimeSpan time, CancellationToken ct)
        {
            if (!task.IsCompleted && time > TimeSpan.Zero)
            {
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(ct);
                await Task.WhenAny(task, Task.Delay(time, of.clock, enough.Token));
                await enough.CancelAsync();
                ct.ThrowIfCancellationRequested();
            }
            return task.IsCompleted;
        }

        static long BytesOf(KernelMessage message) => message switch
        {
            KernelMessage.Stream s => s.Text.Length,
            KernelMessage.Display d => d.Data.GetRawText().Length,
            KernelMessage.UpdateDisplay u => u.Data.GetRawText().Length,
            KernelMessage.Error e => e.Traceback.Sum(line => line.Length),
            _ => 0,
        };

        /// <summary>Hears of what others ask of the scratchpad, on this host and on others.</summary>
        async Task Watch(FeedSubscription subscription)
        {
            using (subscription)
            {
                while (true)
                {
                    try
                    {
                        var entry = await subscription.Read(over.Token);
                        if (subscription.TakeStale())
                        {
                            await Task.Delay(OthersSettle, of.clock, over.Token);
                            subscription.Drain();
                            subscription.TakeStale();
                            await of.commands.LatestState(claim.Org, Domain.Scratchpad.Aggregate, Scratchpad, over.Token);
                        }
                        else if (entry?.Stream != stream)
                        {
                            continue;
                        }
                        await InterruptWhenAsked(over.Token);
                        lock (changed)
                        {
                            if (changed.CurrentCount == 0)
                            {
                                changed.Release();
                            }
                        }
                    }
                    catch (OperationCanceledException) when (over.IsCancellationRequested)
                    {
                        return;
                    }
                    catch (StorageUnavailableException)
                    {
                        // The engine says that others wrote when it has found the database again.
                    }
                    catch (Exception e) when (e is not OperationCanceledException)
                    {
                        LogNotWatched(of.logger, e, Scratchpad);
                    }
                }
            }
        }

        async ValueTask InterruptWhenAsked(CancellationToken ct)
        {
            var state = await State(ct);
            CancellationTokenSource? interrupt;
            lock (changed)
            {
                var goesOn = state is { IsRestartRequested: false, Running: { IsInterrupted: false } running } && running.Of.Execution == underway?.Execution;
                interrupt = goesOn ? null : underway?.Interrupt;
            }
            try
            {
                await (interrupt?.CancelAsync() ?? Task.CompletedTask);
            }
            catch (ObjectDisposedException)
            {
                // It ended at the same moment.
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Scratchpad {Scratchpad} is no longer held here under epoch {Epoch}")]
    static partial void LogFenced(ILogger logger, ScratchpadKey scratchpad, long epoch);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The kernel of scratchpad {Scratchpad} could not be restarted, and was ended: {Reason}")]
    static partial void LogRestart(ILogger logger, ScratchpadKey scratchpad, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "A kernel for scratchpad {Scratchpad} did not start")]
    static partial void LogNotStarted(ILogger logger, Exception e, ScratchpadKey scratchpad);

    [LoggerMessage(Level = LogLevel.Error, Message = "Execution {Execution} of scratchpad {Scratchpad} failed on this host")]
    static partial void LogFailed(ILogger logger, Exception e, ScratchpadKey scratchpad, int execution);

    [LoggerMessage(Level = LogLevel.Error, Message = "Could not look for what is asked of scratchpad {Scratchpad}")]
    static partial void LogNotWatched(ILogger logger, Exception e, ScratchpadKey scratchpad);
}
