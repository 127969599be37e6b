using System.Threading.Channels;

using Cowork.Application.Storage;

using JasperFx.Events.Daemon.HighWater;

namespace Cowork.Marten;

/// <summary>
/// Lets Marten's daemon look where the log ends when there was a commit, here or elsewhere, instead of asking all the time. Whoever else listens to
/// commits hears of them from here.
/// </summary>
sealed class CommitWakeup(TimeProvider clock) : IDaemonWakeup, ICommitObserver
{
    /// <summary>Between two looks: what is committed meanwhile goes into one batch.</summary>
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    readonly Channel<bool> commits = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    readonly CancellationTokenSource ended = new();
    int shards;

    public ICommitObserver? Next { get; set; }

    /// <summary>Cancelled when the daemon shall end.</summary>
    public CancellationToken Ended => ended.Token;

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        Wake();
        Next?.Committed(entries);
    }

    public void OthersWrote()
    {
        Wake();
        Next?.OthersWrote();
    }

    /// <summary>A shard runs on this node from here on. While there is none, nobody needs to look.</summary>
    public void Began()
    {
        Interlocked.Increment(ref shards);
        Wake();
    }

    public void Left() => Interlocked.Decrement(ref shards);

    /// <inheritdoc/>
    /// <remarks>Whatever is thrown here costs the daemon the whole timeout.</remarks>
    public async Task WaitAsync(TimeSpan timeout, CancellationToken token)
    {
        using var waiting = CancellationTokenSource.CreateLinkedTokenSource(token, ended.Token);
        try
        {
            // The end interrupts only what comes after: who waits for the daemon to end must not have it look without a pause until it does.
            await Task.Delay(Pause, clock, token);
            waiting.CancelAfter(timeout);
            await commits.Reader.ReadAsync(waiting.Token);
        }
        catch (OperationCanceledException)
        {
            // It is time to look anyway, or to end.
        }
    }

    public void End() => ended.Cancel();

    public void Dispose() => ended.Dispose();

    void Wake()
    {
        if (Volatile.Read(ref shards) > 0)
        {
            commits.Writer.TryWrite(true);
        }
    }
}
