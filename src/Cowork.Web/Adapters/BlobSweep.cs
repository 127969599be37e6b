using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Web;

/// <summary>When the blob store is swept.</summary>
public sealed record BlobSweepOptions
{
    /// <summary><c>Cowork:Blobs:SweepEvery</c>: the pause between two sweeps of this host; zero: this host sweeps only when it is asked to.</summary>
    public TimeSpan Every { get; init; } = TimeSpan.FromHours(1);

    /// <summary><c>Cowork:Blobs:SweepAfter</c>: the age at which what no commit has named is removed. A run that waits longer for its database does its step once more.</summary>
    public TimeSpan After { get; init; } = TimeSpan.FromDays(1);
}

/// <summary>Sweeps the blob store now and then, and when an operator asks.</summary>
public sealed partial class BlobSweep(IBlobSweeper blobs, HostSettings settings, TimeProvider clock, ILogger<BlobSweep> logger)
{
    /// <summary>Runs until the token is cancelled.</summary>
    public async Task Run(CancellationToken stopping)
    {
        var options = settings.BlobSweep;
        while (options.Every > TimeSpan.Zero && await clock.Pause(options.Every, stopping))
        {
            try
            {
                await Sweep(dryRun: false, stopping);
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or StorageUnavailableException)
            {
                LogFailed(logger, e.Message);
            }
        }
        await clock.Pause(Timeout.InfiniteTimeSpan, stopping);
    }

    /// <summary>Null: another host sweeps at the moment.</summary>
    public async ValueTask<SweepResult?> Sweep(bool dryRun, CancellationToken ct)
    {
        var swept = await blobs.Sweep(settings.BlobSweep.After, dryRun, clock, ct);
        if (swept is { Removed: > 0 } && !dryRun)
        {
            Measures.BlobsSwept.Add(swept.Removed);
            Measures.BlobBytesSwept.Add(swept.RemovedBytes);
            LogSwept(logger, swept.Removed, swept.RemovedBytes, swept.Left);
        }
        return swept;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Removed {Files} files ({Bytes} bytes) of the blob store that no commit named; {Left} are younger")]
    static partial void LogSwept(ILogger logger, long files, long bytes, long left);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The blob store could not be swept ({Reason}); it is tried again")]
    static partial void LogFailed(ILogger logger, string reason);
}
