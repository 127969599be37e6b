using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Marten;

/// <summary>
/// This node's signs of life. A node holds its jobs for as long as it says by the database's clock that it lives; one that is not heard of for a lease loses
/// them to the others, and takes a new name before it goes on. The same round trip brings what a poll would ask for: the log's end, other nodes, waiting jobs.
/// </summary>
sealed partial class NodeHeartbeat : IAsyncDisposable
{
    readonly CancellationTokenSource stopping = new();
    readonly StorageOptions options;
    readonly JobTable table;
    readonly ILogger logger;
    Task loop = Task.CompletedTask;
    volatile string node;
    volatile bool registered;
    int incarnation = 1;
    long lastBeat;
    long lastHeard;

    public NodeHeartbeat(JobTable table, StorageOptions options)
    {
        (this.table, this.options) = (table, options);
        logger = options.Logs.CreateLogger<NodeHeartbeat>();
        node = options.Node;
    }

    /// <summary>The lease is over, and <see cref="Node"/> is a new name.</summary>
    public event Action? Lapsed;

    /// <summary>A sign of life was given.</summary>
    public event Action<JobTable.Pulse>? Beaten;

    /// <summary>The database did not answer.</summary>
    public event Action? Unanswered;

    /// <summary>This node lives from now on, and the others are to know.</summary>
    public event Action? Registered;

    /// <summary>Called when other nodes ought to look for jobs.</summary>
    public event Action? PeersNeeded;

    /// <summary>The name under which this node holds jobs.</summary>
    public string Node => node;

    public bool IsRegistered => registered;

    /// <summary>Other nodes live on the database, as far as is known.</summary>
    public bool HasPeers { get; private set; }

    /// <summary>For tests: a node that is stopped in its tracks neither gives signs of life nor notices.</summary>
    internal bool IsPaused { get; set; }

    /// <summary>Something was given back or made due.</summary>
    public void TellPeers()
    {
        if (HasPeers)
        {
            PeersNeeded?.Invoke();
        }
    }

    /// <summary>Another node was heard of before the next sign of life could tell of it.</summary>
    public void HeardOfPeer()
    {
        Volatile.Write(ref lastHeard, options.Clock.GetTimestamp());
        HasPeers = true;
    }

    public async Task Start(CancellationToken ct)
    {
        await table.ForgetDeadNodes(ct);
        await Register(ct);
        await Beat(ct);
        loop = Run(stopping.Token);
    }

    /// <summary>Ends the signs of life and frees what the node held.</summary>
    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await loop;
        stopping.Dispose();
        try
        {
            await table.Leave(node);
        }
        catch (StorageUnavailableException e)
        {
            LogNotGivenBack(e.Message);
        }
    }

    async Task Register(CancellationToken ct)
    {
        var asked = options.Clock.GetTimestamp();
        await table.Register(node, ct);
        Volatile.Write(ref lastBeat, asked);
        registered = true;
        Registered?.Invoke();
    }

    /// <summary>False: the lease is over by the database's clock.</summary>
    async Task<bool> Beat(CancellationToken ct)
    {
        var asked = options.Clock.GetTimestamp();
        var pulse = await table.Beat(node, ct);
        // A node that was heard of meanwhile may have begun after the database had counted.
        HasPeers = pulse.Peers > 0 || Volatile.Read(ref lastHeard) >= asked;
        if (pulse.IsAlive)
        {
            Volatile.Write(ref lastBeat, asked);
            Beaten?.Invoke(pulse);
        }
        return pulse.IsAlive;
    }

    async Task Run(CancellationToken ct)
    {
        while (await options.Clock.Pause(options.Heartbeat, ct))
        {
            if (IsPaused)
            {
                continue;
            }
            try
            {
                // An answer that takes longer is worth less than a look at the clock.
                using var deadline = new CancellationTokenSource(options.Lease / 4, options.Clock);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, deadline.Token);
                if (!registered)
                {
                    await Register(either.Token);
                }
                if (!await Beat(either.Token))
                {
                    Lapse();
                    await Register(either.Token);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
#pragma warning disable CA1031 // Whatever it is, a node that gave no more signs of life would lose every job from now on.
            catch (Exception e)
#pragma warning restore CA1031
            {
                if (e is not (StorageUnavailableException or OperationCanceledException))
                {
                    LogFailed(e);
                }
                Unanswered?.Invoke();
                if (registered && options.Clock.GetElapsedTime(Volatile.Read(ref lastBeat)) + options.Heartbeat >= options.Lease)
                {
                    Lapse();
                }
            }
        }
    }

    /// <summary>The others may have the jobs by now. What still runs here is told, and what it writes under the old name is refused.</summary>
    void Lapse()
    {
        registered = false;
        var old = node;
        node = $"{options.Node}.{++incarnation}";
        LogLapsed(old, node);
        Lapsed?.Invoke();
    }

    [LoggerMessage(1, LogLevel.Warning, "{Old} was not heard of for a lease; it goes on as {New}, and its jobs are free")]
    partial void LogLapsed(string old, string @new);

    [LoggerMessage(2, LogLevel.Warning, "The jobs could not be given back, and are free when the lease is over: {Reason}")]
    partial void LogNotGivenBack(string reason);

    [LoggerMessage(3, LogLevel.Error, "This node's sign of life failed, and is tried again")]
    partial void LogFailed(Exception e);
}
