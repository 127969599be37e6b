using Cowork.Application;
using Cowork.Application.Storage;

using JasperFx;
using JasperFx.Events;
using JasperFx.Events.Daemon;
using JasperFx.Events.Daemon.HighWater;
using JasperFx.Events.Projections;

using Marten;
using Marten.Events.Daemon;
using Marten.Storage;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Marten;

/// <summary>
/// Marten's async daemon: looks where the log ends, loads events, and hands them on in batches, which go through the port's guarded advance. It has no leader
/// among the nodes: whoever was first goes on, and whoever was not leaves it to him.
/// </summary>
sealed class AsyncDaemon : ISubscriptionRunner<IAsyncProjection>, IHighWaterDetector, IAsyncDisposable
{
    /// <summary>How soon it is noticed that a shard has stopped by itself.</summary>
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(250);

    readonly Func<IAsyncProjectionStore> following;
    readonly Func<DocumentStore> store;
    readonly TimeProvider clock;
    readonly SemaphoreSlim starting = new(1);
    ProjectionDaemon? daemon;
    bool detects;
    int disposed;

    /// <param name="following">Where its batches go to: what surrounds the daemon is made after what it is made of.</param>
    public AsyncDaemon(EngineOptions options, Func<IAsyncProjectionStore> following, Func<DocumentStore> store)
    {
        (this.following, this.store, clock) = (following, store, options.Clock);
        Wakeup = new(clock) { Next = options.Observer };
        Projections = [.. options.Models.OfType<IAsyncProjection>().Select(model => new FollowingProjection(model, this))];
    }

    public CommitWakeup Wakeup { get; }

    public IReadOnlyList<FollowingProjection> Projections { get; }

    public Uri DatabaseUri => store().Storage.Database.Describe().DatabaseUri();

    /// <summary>Runs a model's shard from its checkpoint: <see cref="IAsyncProjectionStore.Follow"/>.</summary>
    public Task Follow(string table, CancellationToken ct) => Run(Projections.Single(p => p.Name == table).Shard, ct);

    /// <summary>A batch of the daemon's.</summary>
    public async Task ExecuteAsync(IAsyncProjection subscription, IEventDatabase database, EventRange range, ShardExecutionMode mode, CancellationToken token)
    {
        var at = (await following().Progress(token)).Of(subscription.Table).Checkpoint;
        var page = new LogPage([.. range.Events.Select(e => MartenLog.Recorded(e.TenantId, e.StreamKey!, e))], range.SequenceCeiling);
        if (at.Position != range.SequenceFloor || !await Projector.Advance(following(), subscription, at, page, token))
        {
            throw new ProgressionProgressOutOfOrderException(range.ShardName);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Positions are dense and in the order of commits: there is nothing before the head that may still come.</remarks>
    public async Task<HighWaterStatistics> Detect(CancellationToken token)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(token, Wakeup.Ended);
        var head = (await following().Progress(either.Token)).Head;
        return new() { LastMark = head, SafeStartMark = head, CurrentMark = head, HighestSequence = head, Timestamp = clock.GetUtcNow() };
    }

    public Task<HighWaterStatistics> DetectInSafeZone(CancellationToken token) => Detect(token);

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposed, 1) == 1)
        {
            return;
        }
        Wakeup.End();
        // One that was just being started would outlive the daemon's end.
        await starting.WaitAsync();
        if (daemon is not null)
        {
            await daemon.StopAllAsync();
            daemon.Dispose();
        }
        Wakeup.Dispose();
        starting.Dispose();
    }

    async Task Run(ShardName shard, CancellationToken ct)
    {
        try
        {
            var agent = await Start(shard, ct);
            try
            {
                Wakeup.Began();
                while (agent.Status == AgentStatus.Running)
                {
                    await Task.Delay(LookEvery, clock, ct);
                }
            }
            finally
            {
                Wakeup.Left();
                // Cancels what it is at, and waits until it has noticed.
                await agent.HardStopAsync();
                await agent.StopAndDrainAsync(CancellationToken.None);
                daemon!.EjectPausedShard(shard.Identity);
            }
            if (agent.Failure is { Category: not ShardFailureCategory.ProgressionOutOfOrder } failure)
            {
                throw new InvalidOperationException(failure.Message, daemon!.Tracker.CurrentState(shard)?.Exception);
            }
        }
        catch (Exception e) when (e is not OperationCanceledException && MartenEngine.Outage(e) is { } outage)
        {
            throw outage;
        }
    }

    /// <summary>From the model's checkpoint.</summary>
    async Task<ISubscriptionAgent> Start(ShardName shard, CancellationToken ct)
    {
        await starting.WaitAsync(ct);
        try
        {
            Wakeup.Ended.ThrowIfCancellationRequested();
            // What goes wrong comes out where somebody waits for it; that another node was first is nothing to tell.
            daemon ??= new(store(), (MartenDatabase)store().Storage.Database, NullLogger.Instance, this);
            if (!detects)
            {
                // A start that fails, as when the database is away, would leave it taken for started.
                await daemon.RestartHighWaterAgentAsync(ct);
                detects = true;
            }
            // It slept while no shard ran, and no shard may begin after where it has seen the log end.
            await daemon.Tracker.MarkHighWaterAsync((await following().Progress(ct)).Head);
            return await daemon.StartAgentAsync(shard, ct);
        }
        finally
        {
            starting.Release();
        }
    }
}
