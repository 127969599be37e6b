using System.Collections.Concurrent;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>A run that this host drives, with its claim and the origin of its events.</summary>
sealed record DrivenRun(Claim Claim, Origin By)
{
    public string Org => Claim.Org;

    public RunKey Key => new(Claim.Key);

    /// <summary>The call under way that the budget holds; null: none.</summary>
    public HeldCall? Held { get; set; }

    /// <summary>What drivers before this one had reserved is settled.</summary>
    public bool HasSettledLost { get; set; }
}

/// <summary>The runs that this host drives, one driver at a time for each. A cancel request stops the driver.</summary>
public sealed partial class DrivenRuns(FeedHub hub, IRunQueries queries, TimeProvider clock, ILogger<DrivenRuns> logger)
{
    /// <summary>Long enough to check once for many writes of other nodes, short enough to stop a run within a second.</summary>
    static readonly TimeSpan LookForCancelEvery = TimeSpan.FromMilliseconds(100);

    readonly ConcurrentDictionary<(string Org, RunKey Run), Entry> driving = new();

    /// <summary>Checks after writes of other nodes for cancel requests of this host's runs, until the token is cancelled.</summary>
    public async Task WatchOthers(CancellationToken ct)
    {
        using var subscription = hub.WatchOthers();
        while (true)
        {
            await subscription.Read(ct);
            await Task.Delay(LookForCancelEvery, clock, ct);
            subscription.Drain();
            try
            {
                foreach (var org in driving.Keys.Select(d => d.Org).Distinct().ToList())
                {
                    foreach (var run in await queries.Cancelling(org, ct))
                    {
                        if (driving.TryGetValue((org, run), out var entry))
                        {
                            await Stop(entry.Stop);
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

    /// <summary>Drives a run with a token that a cancel request cancels. Waits for an earlier driver of the run on this host.</summary>
    internal async Task<T> Drive<T>(Claim claim, Func<CancellationToken, Task<T>> drive, CancellationToken ct)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(ct);
        var here = new Entry(stop);
        var run = (claim.Org, new RunKey(claim.Key));
        while (!driving.TryAdd(run, here))
        {
            // The earlier claim is done or lost, and its driver does not know yet: a decision may arrive before the answer to the commit that requested it.
            if (driving.TryGetValue(run, out var before))
            {
                await before.Over.Task.WaitAsync(ct);
            }
        }
        using var subscription = hub.WatchRun(claim.Org, new(claim.Key));
        using var ended = new CancellationTokenSource();
        var watching = Watch(subscription, here, ended.Token);
        try
        {
            return await drive(stop.Token);
        }
        finally
        {
            driving.TryRemove(run, out _);
            here.Over.SetResult();
            await ended.CancelAsync();
            await watching;
        }
    }

    /// <summary>
    /// True: another node has written since this was asked last, perhaps to the run. What is to be as new as this host can know, such as a request that shows feedback, is read
    /// from the log then.
    /// </summary>
    internal bool OthersWrote(string org, RunKey run) => driving.TryGetValue((org, run), out var entry) && entry.TakeOthersWrote();

    static async Task Watch(FeedSubscription subscription, Entry entry, CancellationToken ended)
    {
        try
        {
            while (true)
            {
                if (await subscription.Read(ended) is not { } heard)
                {
                    entry.HeardOfOthers();
                }
                else if (heard.Is<RunEvent.RunCancelRequested>())
                {
                    await Stop(entry.Stop);
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

    [LoggerMessage(Level = LogLevel.Warning, Message = "Could not look for runs to cancel: {Reason}")]
    static partial void LogAway(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Could not look for runs to cancel")]
    static partial void LogNotWatched(ILogger logger, Exception e);

    /// <summary>A run under way here, until <see cref="Over"/>, and how it is stopped.</summary>
    sealed record Entry(CancellationTokenSource Stop)
    {
        int othersWrote;

        public TaskCompletionSource Over { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public void HeardOfOthers() => Volatile.Write(ref othersWrote, 1);

        public bool TakeOthersWrote() => Interlocked.Exchange(ref othersWrote, 0) == 1;
    }
}
