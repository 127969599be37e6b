using System.Threading.Channels;

using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Folds the log into the models that follow it, each in a loop of its own, woken by commits. Every host runs one: whoever is first with a batch has counted
/// it, the others leave it to him for a while. An event that cannot be folded parks its model and nothing else. A host tries such an event once in its
/// life, so that one with mended code goes on where the others stand.
/// </summary>
public sealed partial class Projector(IAsyncProjectionStore store, IReadOnlyList<IAsyncProjection> models, TimeProvider clock, ILogger<Projector> logger) : ICommitObserver
{
    const int EventsMax = 500;

    /// <summary>Between two batches of a model that keeps up: what is committed meanwhile goes into one. So far a model lags behind by itself.</summary>
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>Another host was first: it is left alone for so long, and is missed no longer than that when it dies.</summary>
    static readonly TimeSpan OutrunPause = TimeSpan.FromSeconds(1);

    static readonly TimeSpan ParkedPause = TimeSpan.FromSeconds(5);
    static readonly TimeSpan StorageRetry = TimeSpan.FromMilliseconds(500);
    static readonly TimeSpan FailureRetry = TimeSpan.FromSeconds(5);

    readonly RecentEvents recent = new();
    readonly Progression[] projections = [.. models.Select(model => new Progression(model))];

    /// <summary>Tables of the models that stand before an event which cannot be folded, as this host has seen it last.</summary>
    public IReadOnlyList<string> Parked => [.. projections.Where(f => f.IsParked).Select(f => f.Model.Table)];

    public Task Run(CancellationToken stopping) => Task.WhenAll(projections.Select(f => Follow(f, stopping)));

    /// <summary>Folds what there is now, as far as it can be folded.</summary>
    public async Task CatchUp(CancellationToken ct)
    {
        foreach (var projection in projections)
        {
            while (await Next(projection, ct) is Step.Further or Step.Outrun)
            {
            }
        }
    }

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        recent.Add(entries);
        OthersWrote();
    }

    public void OthersWrote() => Array.ForEach(projections, f => f.Wake());

    async Task Follow(Progression projection, CancellationToken stopping)
    {
        await Task.Yield();
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var step = await Next(projection, stopping);
                switch (step)
                {
                    case Step.AtTheEnd:
                        await Task.Delay(Pause, clock, stopping);
                        await projection.Woken(stopping);
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
                LogFailed(e, projection.Model.Table);
                await clock.Pause(FailureRetry, stopping);
            }
        }
    }

    async ValueTask<Step> Next(Progression projection, CancellationToken ct)
    {
        var model = projection.Model;
        var progress = await store.Progress(ct);
        var known = progress.Of(model.Table);
        projection.IsParked = known.Parked is not null;
        if (known.Parked is { } parked && parked.Position == projection.FailedAt)
        {
            return Step.Parked;
        }
        var from = known.Checkpoint;
        projection.At = from.Position;
        recent.Trim(projections.Min(f => f.At));
        var page = recent.Read(projection.Types, from.Position, projection.Max) ?? await store.Read(model.Types, from.Position, projection.Max, ct);
        if (page is { Events: [], Unreadable: { } unreadable })
        {
            return await Park(projection, from, unreadable with { At = clock.GetUtcNow() }, null, ct);
        }
        if (page.Through == from.Position)
        {
            return Step.AtTheEnd;
        }
        try
        {
            if (!await Advance(model, from, page, ct))
            {
                return Step.Outrun;
            }
        }
        catch (Exception e) when (page.Events.Count > 0 && e is not (OperationCanceledException or StorageUnavailableException))
        {
            if (page.Events is [var only])
            {
                var why = e is FoldException { InnerException: { } thrown } ? thrown : e;
                return await Park(projection, from, Poison.Of(only, why.Message, clock.GetUtcNow()), why, ct);
            }
            // What comes before it is folded first; by halves, when it is a row that all of them lead to.
            projection.Max = Math.Max(1, e is FoldException failed ? page.Events.Count(before => before.Position < failed.Position) : page.Events.Count / 2);
            return Step.Further;
        }
        projection.Max = Math.Min(EventsMax, projection.Max * 2);
        if (projection.IsParked)
        {
            LogResumed(model.Table, page.Through);
            projection.IsParked = false;
        }
        // What was committed since the beginning of this step can wait for the next batch, or a busy log would be folded event by event.
        return page.Through >= progress.Head ? Step.AtTheEnd : Step.Further;
    }

    /// <summary>Folds the events after a checkpoint. False: another host was first.</summary>
    async ValueTask<bool> Advance(IAsyncProjection model, Checkpoint from, LogPage page, CancellationToken ct)
    {
        using var span = Spans.Project(model.Table, page.Events);
        try
        {
            var rows = await ProjectedRow.Fold(model, page.Events, keys => store.Load(model.Table, keys, ct));
            var isFirst = await store.Advance(model.Table, from, page.Through, rows, ct) is not null;
            span?.SetTag("cowork.projection.outcome", isFirst ? "ok" : "outrun");
            return isFirst;
        }
        catch (Exception e)
        {
            span.SetError((e is FoldException { InnerException: { } thrown } ? thrown : e).GetType().Name);
            throw;
        }
    }

    async ValueTask<Step> Park(Progression projection, Checkpoint at, Poison poison, Exception? e, CancellationToken ct)
    {
        projection.FailedAt = poison.Position;
        if (!await store.Park(projection.Model.Table, at, poison, ct))
        {
            return Step.Outrun;
        }
        LogParked(e, projection.Model.Table, poison.Position, poison.Type, poison.EventId, poison.Stream, poison.Error);
        projection.IsParked = true;
        return Step.Parked;
    }

    enum Step
    {
        /// <summary>A batch was folded, or will be in smaller ones.</summary>
        Further,

        AtTheEnd,

        /// <summary>Another host moved the checkpoint in the meantime.</summary>
        Outrun,

        Parked,
    }

    sealed class Progression(IAsyncProjection model)
    {
        readonly Channel<bool> commits = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
        volatile bool parked;

        public IAsyncProjection Model => model;

        public IReadOnlyCollection<string> Types { get; } = model.Types.ToHashSet(StringComparer.Ordinal);

        public int Max { get; set; } = EventsMax;

        /// <summary>Position of the checkpoint as it was seen last.</summary>
        public long At { get; set; }

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

    [LoggerMessage(Level = LogLevel.Error, Message = "The projection {Model} failed and is tried again")]
    partial void LogFailed(Exception e, string model);
}
