using System.Threading.Channels;

using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Folds the log into the models that follow it, each in a loop of its own, woken by commits. Every host runs one: whoever is first with a batch has counted
/// it, the others leave it to him for a while. An event that cannot be folded parks its model and nothing else. A host tries such an event once in its
/// life, so that one with mended code goes on where the others stand.
/// </summary>
public sealed partial class Projector(IAsyncProjectionStore following, IReadOnlyList<IAsyncProjection> models, TimeProvider clock, ILogger<Projector> logger) : ICommitObserver
{
    const int EventsMax = 500;

    /// <summary>Between two batches of a model that keeps up: what is committed meanwhile goes into one. So far a model lags behind by itself.</summary>
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>Another host was first: it is left alone for so long, and is missed no longer than that when it dies.</summary>
    static readonly TimeSpan OutrunPause = TimeSpan.FromSeconds(1);

    static readonly TimeSpan ParkedPause = TimeSpan.FromSeconds(5);
    static readonly TimeSpan StorageRetry = TimeSpan.FromMilliseconds(500);
    static readonly TimeSpan FailureRetry = TimeSpan.FromSeconds(5);

    readonly FeedSubscription[] followers = [.. models.Select(model => new FeedSubscription(model))];

    /// <summary>Tables of the models that stand before an event which cannot be folded, as this host has seen it last.</summary>
    public IReadOnlyList<string> Parked => [.. followers.Where(f => f.IsParked).Select(f => f.Model.Table)];

    public Task Run(CancellationToken stopping) => Task.WhenAll(followers.Select(f => Follow(f, stopping)));

    /// <summary>Folds what there is now, as far as it can be folded.</summary>
    public async Task CatchUp(CancellationToken ct)
    {
        foreach (var follower in followers)
        {
            while (await Next(follower, ct) is Step.Further or Step.Outrun)
            {
            }
        }
    }

    public void Committed(IReadOnlyList<FeedEntry> entries) => OthersWrote();

    public void OthersWrote() => Array.ForEach(followers, f => f.Wake());

    async Task Follow(FeedSubscription follower, CancellationToken stopping)
    {
        await Task.Yield();
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var step = await Next(follower, stopping);
                if ((step is Step.AtTheEnd || (step is Step.Further && follower.Max == EventsMax)) && await LeaveToEngine(follower, stopping))
                {
                    continue;
                }
                switch (step)
                {
                    case Step.AtTheEnd:
                        await Task.Delay(Pause, clock, stopping);
                        await follower.Woken(stopping);
                        break;
                    case Step.Outrun:
                        await Task.Delay(OutrunPause, clock, stopping);
                        break;
                    case Step.Parked:
                        await Task.Delay(ParkedPause, clock, stopping);
                        break;
                }
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (StorageUnavailableException)
            {
                await clock.Pause(StorageRetry, stopping);
            }
            catch (Exception e)
            {
                LogFailed(e, follower.Model.Table);
                await clock.Pause(FailureRetry, stopping);
            }
        }
    }

    /// <summary>
    /// Leaves the model to the engine's own means, on this node or on another that is further, until it has failed or stands still before events that wait.
    /// False: the engine has none.
    /// </summary>
    async ValueTask<bool> LeaveToEngine(FeedSubscription follower, CancellationToken ct)
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(ct);
        if (following.Follow(follower.Model.Table, left.Token) is not { } folding)
        {
            return false;
        }
        var still = StandsStill(follower, left.Token);
        try
        {
            if (await Task.WhenAny(folding, still) == folding)
            {
                await folding;
            }
            await still;
        }
        catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
        {
            LogSteppedIn(e, follower.Model.Table);
            // Were it to fail for nothing that is in the events, it would be started again at once, for ever.
            await Task.Delay(OutrunPause, clock, ct);
        }
        finally
        {
            await left.CancelAsync();
            await Task.WhenAll(folding, still).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        return true;
    }

    /// <summary>Ends when the model is parked, or has not moved for a while although events wait: whoever was at it has died, or is paused.</summary>
    async Task StandsStill(FeedSubscription follower, CancellationToken ct)
    {
        for (Checkpoint? seen = null; ;)
        {
            var progress = await following.Progress(ct);
            var known = progress.Of(follower.Model.Table);
            follower.IsParked = known.Parked is not null;
            if (follower.IsParked)
            {
                return;
            }
            if (known.Checkpoint == seen)
            {
                LogStoodStill(follower.Model.Table, seen.Position);
                return;
            }
            seen = known.Checkpoint.Position < progress.Head ? known.Checkpoint : null;
            if (seen is null)
            {
                await follower.Woken(ct);
            }
            await Task.Delay(OutrunPause, clock, ct);
        }
    }

    async ValueTask<Step> Next(FeedSubscription follower, CancellationToken ct)
    {
        var model = follower.Model;
        var progress = await following.Progress(ct);
        var known = progress.Of(model.Table);
        follower.IsParked = known.Parked is not null;
        if (known.Parked is { } parked && parked.Position == follower.FailedAt)
        {
            return Step.Parked;
        }
        var from = known.Checkpoint;
        var page = await following.Read(model.Types, from.Position, follower.Max, ct);
        if (page is { Events: [], Unreadable: { } unreadable })
        {
            return await Park(follower, from, unreadable with { At = clock.GetUtcNow() }, null, ct);
        }
        if (page.Through == from.Position)
        {
            return Step.AtTheEnd;
        }
        try
        {
            if (!await Advance(following, model, from, page, ct))
            {
                return Step.Outrun;
            }
        }
        catch (Exception e) when (page.Events.Count > 0 && e is not (OperationCanceledException or StorageUnavailableException))
        {
            if (page.Events is [var only])
            {
                var why = e is FoldException { InnerException: { } thrown } ? thrown : e;
                return await Park(follower, from, Poison.Of(only, why.Message, clock.GetUtcNow()), why, ct);
            }
            // What comes before it is folded first; by halves, when it is a row that all of them lead to.
            follower.Max = Math.Max(1, e is FoldException failed ? page.Events.Count(before => before.Position < failed.Position) : page.Events.Count / 2);
            return Step.Further;
        }
        follower.Max = Math.Min(EventsMax, follower.Max * 2);
        if (follower.IsParked)
        {
            follower.IsParked = false;
            LogResumed(model.Table, page.Through);
        }
        // What was committed since the beginning of this step can wait for the next batch, or a busy log would be folded event by event.
        return page.Through >= progress.Head ? Step.AtTheEnd : Step.Further;
    }

    /// <summary>Folds a stretch of the log that begins at a checkpoint. False: somebody else was first.</summary>
    public static async ValueTask<bool> Advance(IAsyncProjectionStore following, IAsyncProjection model, Checkpoint from, LogPage page, CancellationToken ct)
    {
        using var span = Spans.Project(model.Table, page.Events);
        try
        {
            var rows = await ProjectedRow.Fold(model, page.Events, keys => following.Load(model.Table, keys, ct));
            var isFirst = await following.Advance(model.Table, from, page.Through, rows, ct) is not null;
            span?.SetTag("cowork.projection.outcome", isFirst ? "ok" : "outrun");
            return isFirst;
        }
        catch (Exception e)
        {
            span.Failed((e is FoldException { InnerException: { } thrown } ? thrown : e).GetType().Name);
            throw;
        }
    }

    async ValueTask<Step> Park(FeedSubscription follower, Checkpoint at, Poison poison, Exception? e, CancellationToken ct)
    {
        follower.FailedAt = poison.Position;
        if (!await following.Park(follower.Model.Table, at, poison, ct))
        {
            return Step.Outrun;
        }
        follower.IsParked = true;
        LogParked(e, follower.Model.Table, poison.Position, poison.Type, poison.EventId, poison.Stream, poison.Error);
        return Step.Parked;
    }

    enum Step
    {
        /// <summary>A batch was folded, or will be in smaller ones.</summary>
        Further,

        AtTheEnd,

        /// <summary>Somebody else moved the checkpoint in the meantime.</summary>
        Outrun,

        Parked,
    }

    sealed class FeedSubscription(IAsyncProjection model)
    {
        readonly Channel<bool> commits = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
        volatile bool parked;

        public IAsyncProjection Model => model;

        public int Max { get; set; } = EventsMax;

        /// <summary>Position of the event that this process could not fold.</summary>
        public long FailedAt { get; set; }

        public bool IsParked
        {
            get => parked;
            set => parked = value;
        }

        public void Wake() => commits.Writer.TryWrite(true);

        public ValueTask<bool> Woken(CancellationToken ct) => commits.Reader.ReadAsync(ct);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The projection {Model} is PARKED before event {Position} ({Type} {EventId} in {Stream}): {Error}. "
        + "The log goes on; a host whose code folds the event, or cowork rebuild, goes past it")]
    partial void LogParked(Exception? e, string model, long position, string type, Guid eventId, string stream, string error);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The projection {Model} is no longer parked: it has come to {Position}")]
    partial void LogResumed(string model, long position);

    [LoggerMessage(Level = LogLevel.Information, Message = "The projection {Model} stands at {Position} although events wait; this host goes on with it")]
    partial void LogStoodStill(string model, long position);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The engine could not fold a batch of the projection {Model}; it is gone through in smaller ones")]
    partial void LogSteppedIn(Exception e, string model);

    [LoggerMessage(Level = LogLevel.Error, Message = "The projection {Model} failed and is tried again")]
    partial void LogFailed(Exception e, string model);
}
