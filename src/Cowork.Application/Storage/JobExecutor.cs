using Microsoft.Extensions.Logging;

namespace Cowork.Application.Storage;

/// <summary>
/// Runs a claimed job's handler to its end: through outages of the database, until the lease is lost or the host stops. What was recorded is not done again.
/// </summary>
/// <param name="stopping">Cancelled when the host stops: what is not finished is given back.</param>
public sealed partial class JobExecutor(IJobQueue queue, TimeProvider clock, ILogger<JobExecutor> logger, CancellationToken stopping)
{
    static readonly TimeSpan StorageRetry = TimeSpan.FromMilliseconds(250);
    static readonly TimeSpan LeftRetry = TimeSpan.FromSeconds(5);

    /// <summary>No-op when this node does not hold the job any more.</summary>
    public async Task Execute(IJobHandler handler, Claim claim)
    {
        if (queue.LeaseOf(claim) is not { } lost)
        {
            return;
        }
        using var either = CancellationTokenSource.CreateLinkedTokenSource(lost, stopping);
        while (true)
        {
            try
            {
                either.Token.ThrowIfCancellationRequested();
                if (!await handler.Run(claim, either.Token))
                {
                    await queue.Complete(claim, either.Token);
                }
                else
                {
                    // No-op when the handler's commit has finished the job. A job that stayed claimed here would be done by no node while this one lives.
                    await queue.Release(claim, LeftRetry, either.Token);
                }
                return;
            }
            catch (OperationCanceledException) when (lost.IsCancellationRequested)
            {
                LogLost(claim.Kind, claim.Key);
                return;
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                await GiveBack(claim);
                return;
            }
            catch (StorageUnavailableException)
            {
                // The claim stays here for as long as the lease holds.
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
                LogFailed(e, claim.Kind, claim.Key);
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
            LogNotGivenBack(claim.Kind, claim.Key, e.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The {Kind} job {Key} failed and is tried again")]
    partial void LogFailed(Exception e, string kind, string key);

    [LoggerMessage(Level = LogLevel.Information, Message = "The lease on the {Kind} job {Key} was lost")]
    partial void LogLost(string kind, string key);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The {Kind} job {Key} could not be given back: {Reason}")]
    partial void LogNotGivenBack(string kind, string key, string reason);
}
