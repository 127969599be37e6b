using System.Collections.Concurrent;

using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>Does the jobs that this node holds, many at once, until it is told to stop; then it gives back what it had not finished.</summary>
public sealed partial class JobRunner(IJobQueue queue, IReadOnlyList<IJobHandler> handlers, int parallel, TimeProvider clock, ILogger<JobRunner> logger)
{
    static readonly TimeSpan StorageRetry = TimeSpan.FromMilliseconds(250);
    static readonly TimeSpan LeftRetry = TimeSpan.FromSeconds(5);

    readonly Dictionary<string, IJobHandler> handlerOf = handlers.ToDictionary(h => h.Kind);

    public async Task Run(CancellationToken stopping)
    {
        using var slots = new SemaphoreSlim(parallel, parallel);
        var running = new ConcurrentDictionary<Claim, Task>();
        try
        {
            await foreach (var (claim, lost) in queue.Claims(stopping))
            {
                await slots.WaitAsync(stopping);
                var work = Do(claim, lost, stopping);
                running[claim] = work;
                _ = work.ContinueWith(
                    _ =>
                    {
                        running.TryRemove(claim, out Task? _);
                        slots.Release();
                    },
                    CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // Told to stop.
        }
        await Task.WhenAll(running.Values);
    }

    async Task Do(Claim claim, CancellationToken lost, CancellationToken stopping)
    {
        await Task.Yield();
        using var either = CancellationTokenSource.CreateLinkedTokenSource(lost, stopping);
        while (true)
        {
            try
            {
                if (!await handlerOf[claim.Kind].Run(claim, either.Token))
                {
                    await queue.Complete(claim, either.Token);
                }
                else
                {
                    // Nothing happens when it is so. A job that still is this node's, whatever its handler thinks, would be nobody's for as long as the node lives.
                    await queue.Release(claim, LeftRetry, either.Token);
                }
                return;
            }
            catch (OperationCanceledException) when (lost.IsCancellationRequested)
            {
                LogLost(logger, claim.Kind, claim.Key);
                return;
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                await GiveBack(claim);
                return;
            }
            catch (StorageUnavailableException)
            {
                // The claim stays here for as long as the lease holds; what was recorded is not done again.
                if (!await clock.Pause(StorageRetry, either.Token))
                {
                    if (!lost.IsCancellationRequested)
                    {
                        await GiveBack(claim);
                    }
                    return;
                }
            }
            catch (Exception e)
            {
                LogFailed(logger, e, claim.Kind, claim.Key);
                await Leave(claim, () => queue.Fail(claim, e, CancellationToken.None));
                return;
            }
        }
    }

    Task GiveBack(Claim claim) => Leave(claim, () => queue.Release(claim, TimeSpan.Zero, CancellationToken.None));

    async Task Leave(Claim claim, Func<ValueTask> how)
    {
        try
        {
            await how();
        }
        catch (StorageUnavailableException e)
        {
            // Nothing is lost: without this node's heartbeat the lease runs out.
            LogNotGivenBack(logger, claim.Kind, claim.Key, e.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The {Kind} job {Key} failed and is tried again")]
    static partial void LogFailed(ILogger logger, Exception e, string kind, string key);

    [LoggerMessage(Level = LogLevel.Information, Message = "The lease on the {Kind} job {Key} was lost")]
    static partial void LogLost(ILogger logger, string kind, string key);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The {Kind} job {Key} could not be given back: {Reason}")]
    static partial void LogNotGivenBack(ILogger logger, string kind, string key, string reason);
}
