using System.Threading.Channels;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Tells other nodes that this one wrote, and hears of theirs: a notification beside the writing transactions, never in them. What a notification misses is
/// found by the heartbeat, which brings the position of the log's end.
/// </summary>
sealed partial class Wakeups : IAsyncDisposable
{
    /// <summary>Between two notifications; what is written in between goes along with the next one.</summary>
    static readonly TimeSpan NotifyPause = TimeSpan.FromMilliseconds(10);

    static readonly TimeSpan ListenAgainAfter = TimeSpan.FromSeconds(1);

    readonly Channel<bool> wrote = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    readonly CancellationTokenSource stopping = new();
    readonly Database database;
    readonly StorageOptions options;
    readonly NodeHeartbeat heartbeat;
    readonly JobQueue jobs;
    readonly ILogger logger;
    readonly string channel;
    long seen;
    Task loops = Task.CompletedTask;

    public Wakeups(Database database, StorageOptions options, NodeHeartbeat heartbeat, JobQueue jobs)
    {
        (this.database, this.options, this.heartbeat, this.jobs) = (database, options, heartbeat, jobs);
        logger = options.Logs.CreateLogger<Wakeups>();
        channel = $"{database.Schema}_wrote";
        heartbeat.PeersNeeded += Wrote;
        // The others learn of this node at once, so that they tell it what they write from then on.
        heartbeat.Registered += () => wrote.Writer.TryWrite(true);
    }

    public void Start(EventWriter writer)
    {
        heartbeat.Beaten += pulse =>
        {
            if (pulse.Head > Math.Max(seen, writer.Head))
            {
                OthersWrote();
            }
            seen = pulse.Head;
        };
        heartbeat.Unanswered += writer.Suspect;
        loops = Task.WhenAll(Notify(stopping.Token), Listen(stopping.Token));
    }

    /// <summary>This node has written.</summary>
    public void Wrote()
    {
        if (heartbeat.HasPeers)
        {
            wrote.Writer.TryWrite(true);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await loops;
        stopping.Dispose();
    }

    async Task Notify(CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await wrote.Reader.ReadAsync(ct);
                await database.WithReconnect(
                    ScopedConnection.Everyone,
                    async connection =>
                        await connection.Execute([new("SELECT pg_notify($1, $2)") { Parameters = { Parameter.Text(channel), Parameter.Text(heartbeat.Node) } }], ct),
                    ct);
                await Task.Delay(NotifyPause, options.Clock, ct);
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
            catch (StorageUnavailableException)
            {
                // The others' heartbeat finds it.
            }
        }
    }

    async Task Listen(CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await using var connection = database.Apart("listener");
                connection.Notification += (_, e) =>
                {
                    if (e.Payload != heartbeat.Node)
                    {
                        heartbeat.HeardOfPeer();
                        OthersWrote();
                    }
                };
                await connection.OpenAsync(ct);
                await using (var command = new NpgsqlCommand($"LISTEN {channel}", connection))
                {
                    await command.ExecuteNonQueryAsync(ct);
                }
                // What was written before it listened.
                OthersWrote();
                while (true)
                {
                    await connection.WaitAsync(ct);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (Database.IsAway(e))
            {
                LogListener(e.Message);
                await options.Clock.Pause(ListenAgainAfter, ct);
            }
        }
    }

    void OthersWrote()
    {
        database.Observer?.OthersWrote();
        jobs.Poke();
    }

    [LoggerMessage(1, LogLevel.Warning, "Not listening to other nodes: {Reason}")]
    partial void LogListener(string reason);
}
