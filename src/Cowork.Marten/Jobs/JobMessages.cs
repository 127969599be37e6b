using System.Runtime.ExceptionServices;

using Cowork.Application.Storage;

namespace Cowork.Marten;

/// <summary>Handles the messages that go with jobs.</summary>
public sealed class JobMessages
{
    /// <summary>A job that is due within this time is waited for; for a later one the message goes back to the database.</summary>
    static readonly TimeSpan WaitHere = TimeSpan.FromSeconds(2);

    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromMilliseconds(250);

    readonly WolverineJobs jobs;
    readonly IReadOnlyList<TimeSpan> retries;
    readonly TimeProvider clock;

    internal JobMessages(WolverineJobs jobs, EngineOptions options) => (this.jobs, retries, clock) = (jobs, options.JobRetries, options.Clock);

    /// <summary>
    /// Claims the job and waits until it is done, given back, lost or failed. Ends quietly when there is nothing to claim: the job is done, another node that
    /// lives has it, or this node takes up none of the kind. Whatever is left over is found by <see cref="WolverineJobs"/>.
    /// </summary>
    /// <param name="attempt">From 1: how often the message has been handled.</param>
    /// <returns>When the message is to come again.</returns>
    internal async Task<DateTimeOffset?> Do(string org, JobDue due, int attempt, CancellationToken ct)
    {
        while (jobs.MayTake(due.Kind))
        {
            JobFound found;
            try
            {
                found = await jobs.Claim(org, due.Kind, due.Key, ct);
            }
            catch (StorageUnavailableException)
            {
                await Task.Delay(RetryStorageAfter, clock, ct);
                continue;
            }
            switch (found)
            {
                case JobFound.Nothing:
                    return null;
                case JobFound.Later(var wait) when wait > WaitHere:
                    return clock.GetUtcNow() + wait;
                case JobFound.Later(var wait):
                    await Task.Delay(wait, clock, ct);
                    break;
                case JobFound.Mine(var claim, var holder) when jobs.Hand(claim, holder, watched: true) is { } hold:
                    // Done or given back: maybe it was asked for again in the meantime, and this is the message that knows of it.
                    if (await hold.Ended is HeldJobOutcome.Failed failed)
                    {
                        await jobs.Release(claim, attempt > retries.Count ? LeasedJobs.DeadLettered : retries[attempt - 1], CancellationToken.None);
                        ExceptionDispatchInfo.Throw(failed.Why);
                    }
                    break;
            }
        }
        return null;
    }
}
