using System.Threading.Channels;

using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>How far the tree over the log has come at this host's last look.</summary>
/// <param name="Size">Events that the tree has.</param>
/// <param name="Head">The log's last position.</param>
/// <param name="Fault">Why the tree does not grow, as a sentence; null: it does.</param>
public sealed record TreeProgress(long Size, long Head, string? Fault);

/// <summary>
/// Grows the Merkle tree over the log, a little behind it and off the path of appends. Every host runs one: a batch is counted by the host that writes it first, and the others
/// leave the tree to it for a while. What a killed host had not written is done again, so that the tree of a large log that had none is made in the background, in pieces.
/// </summary>
public sealed partial class AuditTree(IMerkleStore store, TimeProvider clock, ILogger<AuditTree> logger) : ICommitObserver, IDisposable
{
    /// <summary>Events that a step adds at most.</summary>
    public const int StepMax = 2_000;

    /// <summary>Between two steps of a tree that keeps up: what is committed meanwhile goes into one.</summary>
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>Another host was first: the tree is left to it for so long.</summary>
    static readonly TimeSpan OutrunPause = TimeSpan.FromSeconds(1);

    static readonly TimeSpan FaultPause = TimeSpan.FromSeconds(5);
    static readonly TimeSpan StorageRetry = TimeSpan.FromMilliseconds(500);

    readonly Channel<bool> commits = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    readonly SemaphoreSlim one = new(1, 1);
    readonly MerkleTiles tiles = new(store);
    MerkleEdge? edge;
    volatile TreeProgress progress = new(0, 0, null);

    public TreeProgress Progress => progress;

    public MerkleTiles Tiles => tiles;

    /// <summary>Called after each step with the tree's size, before the next one begins.</summary>
    public Func<TreeProgress, CancellationToken, ValueTask>? Grown { get; set; }

    public void Committed(IReadOnlyList<FeedEntry> entries) => OthersWrote();

    public void OthersWrote() => commits.Writer.TryWrite(true);

    /// <summary>Grows the tree until the token is cancelled.</summary>
    public async Task Run(CancellationToken stopping)
    {
        await Task.Yield();
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var step = await Next(stopping);
                if (Grown is { } grown)
                {
                    await grown(progress, stopping);
                }
                switch (step)
                {
                    case Step.AtTheEnd:
                        await Task.Delay(Pause, clock, stopping);
                        await commits.Reader.ReadAsync(stopping);
                        break;
                    case Step.Outrun:
                        await Task.Delay(OutrunPause, clock, stopping);
                        break;
                    case Step.Faulty:
                        await Task.Delay(FaultPause, clock, stopping);
                        break;
                }
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (StorageUnavailableException)
            {
                edge = null;
                await clock.Pause(StorageRetry, stopping);
            }
            catch (Exception e)
            {
                edge = null;
                LogFailed(e);
                await clock.Pause(FaultPause, stopping);
            }
        }
    }

    /// <summary>Adds all that the log has now. False: something stands in the way.</summary>
    public async Task<bool> CatchUp(CancellationToken ct)
    {
        while (true)
        {
            switch (await Next(ct))
            {
                case Step.AtTheEnd:
                    return true;
                case Step.Faulty:
                    return false;
            }
        }
    }

    async ValueTask<Step> Next(CancellationToken ct)
    {
        await one.WaitAsync(ct);
        try
        {
            var size = await store.Size(ct);
            if (edge?.Size != size)
            {
                edge = await MerkleEdge.Load(store, size, ct);
            }
            var page = await store.Read(size, StepMax, ct);
            if (page.Head < size)
            {
                return Stop(size, page.Head, $"The log ends at position {page.Head}, and the tree over it has {size} events: the end of the log is gone.");
            }
            foreach (var (leaf, id) in page.Entries)
            {
                if (leaf.Position != edge.Size + 1)
                {
                    edge = null;
                    return Stop(size, page.Head, $"The log has no event at position {size + 1}, and has later ones.");
                }
                edge.Add(leaf.LeafHash(), id);
            }
            if (page.Entries.Count > 0 && !await store.Grow(size, edge.Size, edge.Take(), ct))
            {
                edge = null;
                return Step.Outrun;
            }
            if (progress.Fault is not null)
            {
                LogMended(edge.Size);
            }
            progress = new(edge.Size, Math.Max(page.Head, edge.Size), null);
            return edge.Size >= page.Head ? Step.AtTheEnd : Step.Further;
        }
        catch (InvalidDataException e)
        {
            edge = null;
            return Stop(progress.Size, progress.Head, e.Message);
        }
        finally
        {
            one.Release();
        }
    }

    public void Dispose() => one.Dispose();

    Step Stop(long size, long head, string fault)
    {
        if (progress.Fault != fault)
        {
            LogFault(fault);
        }
        progress = new(size, head, fault);
        return Step.Faulty;
    }

    enum Step
    {
        Further,

        AtTheEnd,

        /// <summary>Another host has grown the tree in the meantime.</summary>
        Outrun,

        /// <summary>The log or the tree is not what it must be.</summary>
        Faulty,
    }

    [LoggerMessage(
        Level = LogLevel.Critical,
        Message = "The tree over the log does not grow, and no head is signed: {Fault} Somebody has changed the database; \"cowork verify --database\" looks for what")]
    partial void LogFault(string fault);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The tree over the log grows again, and has {Size} events")]
    partial void LogMended(long size);

    [LoggerMessage(Level = LogLevel.Error, Message = "The tree over the log could not be grown, and that is tried again")]
    partial void LogFailed(Exception e);
}
