using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Load, fold, decide, append for every aggregate. A commit may span streams. When another writer was first, the command is decided again on the new
/// state.
/// </summary>
public sealed class CommandHandler(IEventLog log, ISnapshots snapshots, IBlobs blobs, IReadOnlyList<IReadModel> models, TimeProvider clock, NextTime nextTime,
    SubjectKeyring? subjects = null)
    : ICommandExecutor, ICommitObserver
{
    /// <summary>
    /// Attempts at one commit before <c>stream_busy</c>. Within a process the second one nearly always succeeds: it has the locks of all streams that the commit writes to or is
    /// pinned to, and other commits to them wait. Other nodes do not.
    /// </summary>
    const int TriesMax = 20;

    /// <summary>Number of events after which a stream's state is stored as a snapshot.</summary>
    const int SnapshotAfter = 200;

    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromMilliseconds(100);

    readonly Dictionary<string, IReadModel[]> modelsOf = models.GroupBy(m => m.Aggregate).ToDictionary(m => m.Key, m => m.ToArray());
    readonly StateCache cache = new(StateCache.OfProcess);
    readonly KeyedLock gate = new();

    /// <summary>Units of work with a pending commit, by the id of their first event.</summary>
    readonly ConcurrentDictionary<Guid, UnitOfWork> underway = new();

    /// <summary>Version of the folding code. Snapshots of other code are not read.</summary>
    readonly string schema = string.Join(
        '.', models.Select(m => m.GetType().GetProperty(nameof(ReadModel<>.Evolve))?.GetValue(m)).OfType<Delegate>().Select(d => d.Method.Module)
            .Append(typeof(Run).Module).Append(typeof(EventJson).Module).Distinct().Select(m => m.ModuleVersionId.ToString("N")));

    /// <summary>Of the cached states.</summary>
    internal long Generation => cache.Generation;

    internal NextTime NextTime { get; } = nextTime;

    /// <summary>Null: this program seals nothing.</summary>
    internal SubjectKeyring? Subjects { get; } = subjects;

    /// <summary>Midnight, UTC.</summary>
    internal DateTime Today => clock.GetUtcNow().UtcDateTime.Date;

    /// <summary>Commits the events that <paramref name="decide"/> adds to the unit of work, or answers its refusal. It is called again after a lost race.</summary>
    /// <param name="waitForStorage">
    /// True: wait while the database is unavailable, until <paramref name="ct"/> is cancelled; false: throw <see cref="StorageUnavailableException"/>. A commit
    /// without an answer is looked up in the log, never repeated.
    /// </param>
    /// <param name="name">Name of the span.</param>
    public async ValueTask<Refusal?> Commit(
        string org, Origin by, Func<UnitOfWork, ValueTask<Refusal?>> decide, CancellationToken ct, bool waitForStorage = false, [CallerMemberName] string name = "") =>
        (await Decide(org, by, decide, waitForStorage, name, ct)).Refused;

    public ValueTask<CommandResult> Execute(string org, Origin by, ICommand command, CancellationToken ct, bool waitForStorage = false) =>
        Decide(org, by, command.Decide, waitForStorage, command.GetType().Name, ct);

    /// <summary>
    /// What the command would be refused with if it were executed now; null: it would be accepted. It commits nothing. It loads streams that are probably new, because no
    /// append finds out that they are not.
    /// </summary>
    public async ValueTask<Refusal?> WhyRefused(string org, Origin by, ICommand command, CancellationToken ct) =>
        (await Judge(org, by, command, ct)).Refused;

    /// <summary>As <see cref="WhyRefused"/>, with the data subject whose texts the commit would seal; null: nobody's.</summary>
    internal async ValueTask<(Refusal? Refused, string? Subject)> Judge(string org, Origin by, ICommand command, CancellationToken ct)
    {
        string? subject = null;
        var result = await Try(
            org, by,
            async work =>
            {
                var refused = await command.Decide(work);
                subject = work.Subject;
                return refused;
            },
            waitForStorage: false, ct, commits: false);
        return (result.Refused, subject);
    }

    /// <summary>Before what needed the database is tried again.</summary>
    internal Task Pause(CancellationToken ct) => Task.Delay(RetryStorageAfter, clock, ct);

    ValueTask<CommandResult> Decide(string org, Origin by, Func<UnitOfWork, ValueTask<Refusal?>> decide, bool waitForStorage, string name, CancellationToken ct) =>
        Spans.Source.HasListeners() ? Traced(org, by, decide, waitForStorage, name, ct) : Try(org, by, decide, waitForStorage, ct);

    /// <summary>Within a span whose ids the events carry, so that the log leads to the trace.</summary>
    async ValueTask<CommandResult> Traced(string org, Origin by, Func<UnitOfWork, ValueTask<Refusal?>> decide, bool waitForStorage, string name, CancellationToken ct)
    {
        using var span = Spans.Command(name, org);
        if (span is { Recorded: true })
        {
            by = by with { Correlation = by.Correlation ?? span.TraceId.ToHexString(), Causation = by.Causation ?? span.SpanId.ToHexString() };
        }
        try
        {
            var result = await Try(org, by, decide, waitForStorage, ct);
            span?.SetTag("cowork.refusal", result.Refused?.Code);
            return result;
        }
        catch (Exception e)
        {
            span.SetError(e.GetType().Name);
            throw;
        }
    }

    async ValueTask<CommandResult> Try(
        string org, Origin by, Func<UnitOfWork, ValueTask<Refusal?>> decide, bool waitForStorage, CancellationToken ct, bool commits = true)
    {
        KeyedLock.Held? held = null;
        try
        {
            var certain = false;
            for (var tries = 0; ; tries++)
            {
                var work = new UnitOfWork(this, org, by, Now(), isFirstTry: commits && tries == 0, ct);
                try
                {
                    var refused = await decide(work) ?? await work.PinSubjects();
                    if (refused is not null || work.IsEmpty)
                    {
                        if (certain || !work.UsedCache)
                        {
                            return refused is null ? work.Result() : Refused(refused);
                        }
                        // No append will guard this answer, and another node may have written: judge once more on what is in the log.
                        work.Forget(cache);
                        certain = true;
                        continue;
                    }
                    if (work.IsSilentOnCache && tries < TriesMax)
                    {
                        // What is appended is guarded, and what was silent beside it is not: look whether it stays silent on what is in the log.
                        work.Forget(cache);
                        continue;
                    }
                    if (!commits)
                    {
                        return work.Result();
                    }
                    if (held is null && !gate.IsIdle && gate.IsAnyHeld(work.Written.Select(KeyOf)))
                    {
                        // Somebody has lost a race and decides again. A commit that passed by would make them lose once more, and many of them for ever.
                        held = await gate.Enter(work.Written.Select(KeyOf), ct);
                        tries--;
                        continue;
                    }
                    switch (await Append(work, work.ToCommit(by), ct))
                    {
                        case AppendResult.Ok ok:
                            work.Measure();
                            work.Keep(cache, ok.First);
                            return work.Result();
                        case AppendResult.Fenced:
                            work.Forget(cache);
                            return Refused(Refusal.Conflict("run_fenced", "Another node has taken over."));
                        case AppendResult.Moved moved:
                            work.Forget(cache);
                            cache.Remove(org, moved.Stream);
                            if (tries >= TriesMax)
                            {
                                return Refused(Refusal.Conflict("stream_busy", "Others kept changing it at the same time."));
                            }
                            var keys = work.Guarded.Append(moved.Stream).Select(KeyOf).Union(held?.Keys ?? []).ToList();
                            if (held is null || keys.Count > held.Keys.Count())
                            {
                                held?.Dispose();
                                held = null;
                                held = await gate.Enter(keys, ct);
                            }
                            // Otherwise it was one that was under way when the locks were taken. Who gave them back would meet the next one.
                            break;
                    }
                }
                catch (StorageUnavailableException) when (waitForStorage)
                {
                    // Those who do not want to wait for the database must not wait for this commit either.
                    held?.Dispose();
                    held = null;
                    work.Forget(cache);
                    if (await HappenedAfterAll(work, ct))
                    {
                        work.Measure();
                        return work.Result();
                    }
                }
                catch (StorageUnavailableException)
                {
                    work.Forget(cache);
                    throw;
                }
            }
        }
        finally
        {
            held?.Dispose();
        }

        string KeyOf(string stream) => $"{org}\n{stream}";
    }

    /// <summary>The state of a stream that this node knows, never older than its own writes.</summary>
    public async ValueTask<TState> State<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        (TState)(await Load(org, aggregate, key, ct)).State;

    /// <summary>The state of a stream in the log, including writes of other nodes.</summary>
    public async ValueTask<TState> LatestState<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        (TState)(await LoadLatest(org, aggregate, key, ct)).State;

    /// <summary>A stream's state with its place in the log: the cached one if <paramref name="does"/> accepts it, otherwise the one in the log.</summary>
    /// <param name="does">True: the state is new enough.</param>
    public async ValueTask<KnownState<TState>> Known<TKey, TCommand, TEvent, TState>(
        string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, Func<TState, bool> does, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var known = await Load(org, aggregate, key, ct);
        if (known.Cached && !does((TState)known.State))
        {
            known = await LoadLatest(org, aggregate, key, ct);
        }
        return new((TState)known.State, known.Version, known.Position);
    }

    /// <summary>A cached row, never older than this node's own writes; null: none is cached.</summary>
    /// <param name="key">Of the row, and of the stream.</param>
    /// <param name="version">The stream's version that it must at least show.</param>
    public TRow? CachedRow<TRow>(string org, ReadModel<TRow> model, string key, long version)
        where TRow : class =>
        cache.Get(org, $"{model.Aggregate}-{key}") is { } known && known.Version >= version ? (TRow?)known.Rows.Get(model, key) : null;

    /// <summary>
    /// Keeps the states that a commit of this node has led to before anybody hears of it: who is woken by a commit, or handed a job by it, finds them.
    /// </summary>
    /// <summary>Forgets every state: some may have texts that were erased.</summary>
    public void ForgetAll() => cache.Clear();

    public void Committed(IReadOnlyList<FeedEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (underway.TryRemove(entry.Id, out var work))
            {
                work.Keep(cache, entry.Position);
            }
        }
    }

    /// <summary>What others wrote is found out by the expected version of the next append.</summary>
    void ICommitObserver.OthersWrote()
    {
    }

    /// <summary>The start of a stream; null: the stream does not exist.</summary>
    public async ValueTask<StreamStart?> StartOf<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        (await Load(org, aggregate, key, ct)).Start;

    /// <summary>A stream as it was at a version.</summary>
    /// <param name="effect">Of a request that was committed.</param>
    public async ValueTask<StreamResult> At(string org, RequestEffect effect, CancellationToken ct)
    {
        var (stream, before, version) = effect;
        if (cache.Get(org, stream) is { } known && known.Version == version)
        {
            return new(stream, before, version, known.Rows);
        }
        var rows = StreamRows.None;
        foreach (var e in Living((await log.Load(org, stream, 0, checked((int)version), ct)).Events))
        {
            rows = After(rows, e);
        }
        return new(stream, before, version, rows);
    }

    /// <summary>The state of a stream as it was at a version.</summary>
    public async ValueTask<TState> StateAt<TKey, TCommand, TEvent, TState>(
        string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, long version, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var stream = aggregate.Stream(key);
        if (cache.Get(org, stream) is { } known && known.Version == version)
        {
            return (TState)known.State;
        }
        var past = (await log.Load(org, stream, 0, checked((int)version), ct)).Events;
        var begin = past is [{ Event: TEvent first }, ..] && !HasTombstone(past) ? await BeginOf(org, aggregate, first, ct) : aggregate.Initial;
        return Living(past).Aggregate(begin, (state, e) => aggregate.Evolve(state, (TEvent)e.Event));
    }

    /// <summary>The state with which the fold of a stream begins: the initial one, or that of the stream whose beginning is its past.</summary>
    /// <param name="first">The stream's first event.</param>
    public async ValueTask<TState> BeginOf<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TEvent first, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        aggregate.PastOf?.Invoke(first) is var (key, version) ? await StateAt(org, aggregate, key, version, ct) : aggregate.Initial;

    /// <summary>The state of a stream as it was at a position of the log; its initial one: the stream was not there.</summary>
    public async ValueTask<TState> StateAsOf<TKey, TCommand, TEvent, TState>(
        string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, long position, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var stream = aggregate.Stream(key);
        var begin = await BeginUpTo(org, stream, position, ct);
        var state = begin switch
        {
            { Cached: { } cached } => (TState)cached.State,
            { Kept: { } kept } => (TState)JsonSerializer.Deserialize(kept.State.Span, EventJson.Options.GetTypeInfo(typeof(TState)))!,
            _ => aggregate.Initial,
        };
        await foreach (var e in EventsUpTo(org, stream, begin.Version, position, ct))
        {
            state = aggregate.Evolve(e.Version == 1 ? await BeginOf(org, aggregate, (TEvent)e.Event, ct) : state, (TEvent)e.Event);
        }
        return state;
    }

    /// <summary>The rows of a stream as they were at a position of the log.</summary>
    /// <returns>With the version that the stream had, and the position of the event with that version; 0: the stream was not there.</returns>
    internal async ValueTask<(StreamRows Rows, long Version, long Updated)> RowsAsOf(string org, string stream, long position, CancellationToken ct)
    {
        var begin = await BeginUpTo(org, stream, position, ct);
        var rows = begin switch
        {
            { Cached: { } cached } => cached.Rows,
            { Kept: { } kept } => StreamRows.Read(kept.Rows.Span, ModelsOf(stream[..stream.IndexOf('-', StringComparison.Ordinal)])),
            _ => StreamRows.None,
        };
        var (version, updated) = (begin.Version, begin.Position);
        await foreach (var e in EventsUpTo(org, stream, begin.Version, position, ct))
        {
            (rows, version, updated) = (After(rows, e), e.Version, e.Position);
        }
        return (rows, version, updated);
    }

    /// <summary>What a stream's fold up to a position begins with: the cached state or the stored snapshot, unless it is of a later position; otherwise nothing.</summary>
    async ValueTask<FoldBegin> BeginUpTo(string org, string stream, long position, CancellationToken ct)
    {
        if (cache.Get(org, stream) is { Position: > 0 } known && known.Position <= position)
        {
            return new(known, null, known.Version, known.Position);
        }
        // A stream that was short by then has no snapshot that helps.
        return await log.Load(org, stream, SnapshotAfter - 1, 1, ct) is { Events: [{ Position: var there }] } && there <= position
            && await snapshots.Load(org, stream, schema, ct) is { } snapshot
            && await log.Load(org, stream, snapshot.Version - 1, 1, ct) is { Events: [{ Position: var last }] } && last <= position
                ? new(null, snapshot, snapshot.Version, last)
                : new(null, null, 0, 0);
    }

    /// <param name="Position">Of the event with the version.</param>
    sealed record FoldBegin(StreamState? Cached, Snapshot? Kept, long Version, long Position);

    /// <summary>Events without those whose data expired, and without what lies between them: they are folded as if they had never been.</summary>
    static IEnumerable<RecordedEvent> Living(IReadOnlyList<RecordedEvent> events, bool isExpired = false) =>
        isExpired || HasTombstone(events) ? events.Where(e => e.Event is IExpiryEvent or IRemovalEvent) : events;

    static bool HasTombstone(IReadOnlyList<RecordedEvent> events)
    {
        foreach (var e in events)
        {
            if (e.Event is Tombstone)
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>A stream's events after a version and up to a position, in pages that grow: most folds end in the first.</summary>
    async IAsyncEnumerable<RecordedEvent> EventsUpTo(string org, string stream, long after, long position, [EnumeratorCancellation] CancellationToken ct)
    {
        var isExpired = false;
        for (var page = 64; ; page = Math.Min(page * 4, 1_024))
        {
            var slice = await log.Load(org, stream, after, page, ct);
            isExpired |= HasTombstone(slice.Events);
            foreach (var e in Living(slice.Events, isExpired))
            {
                if (e.Position > position)
                {
                    yield break;
                }
                yield return e;
            }
            if (slice.Events.Count < page)
            {
                yield break;
            }
            after = slice.Version;
        }
    }

    static CommandResult Refused(Refusal refused) => new(refused, []);

    async ValueTask<AppendResult> Append(UnitOfWork work, Commit commit, CancellationToken ct)
    {
        if (BlobContent.NamedBy(commit.Writes.SelectMany(w => w.Events).Select(e => e.Data)) is { Count: > 0 } named)
        {
            await blobs.Keep(named, ct);
        }
        if (work.HiddenBlobs is { Count: > 0 } hidden)
        {
            await blobs.Keep(hidden, ct);
        }
        var first = commit.Writes is [var write, ..] ? write.Events[0].Id : Guid.Empty;
        if (first != Guid.Empty)
        {
            underway[first] = work;
        }
        try
        {
            return Spans.Source.HasListeners() || Measures.AppendDuration.Enabled ? await Observed(commit, ct) : await log.Append(commit, ct);
        }
        finally
        {
            underway.TryRemove(first, out _);
        }
    }

    async ValueTask<AppendResult> Observed(Commit commit, CancellationToken ct)
    {
        using var span = Spans.Append(commit);
        var started = clock.GetTimestamp();
        var outcome = "lost";
        try
        {
            var appended = await log.Append(commit, ct);
            outcome = appended switch
            {
                AppendResult.Ok => "ok",
                AppendResult.Moved => "moved",
                AppendResult.Fenced => "fenced",
                _ => throw new UnreachableException(appended.GetType().Name),
            };
            if (appended is AppendResult.Ok { First: > 0 and var first })
            {
                span?.SetTag("cowork.gid", first);
            }
            return appended;
        }
        catch (Exception e)
        {
            span.SetError(e.GetType().Name);
            throw;
        }
        finally
        {
            span?.SetTag("cowork.append.outcome", outcome);
            Measures.AppendDuration.Record(clock.GetElapsedTime(started).TotalSeconds, new KeyValuePair<string, object?>("cowork.append.outcome", outcome));
        }
    }

    /// <summary>Waits for the database, then checks whether the log has the events.</summary>
    async Task<bool> HappenedAfterAll(UnitOfWork work, CancellationToken ct)
    {
        while (true)
        {
            await Task.Delay(RetryStorageAfter, clock, ct);
            try
            {
                return await work.IsInLog(log, ct);
            }
            catch (StorageUnavailableException)
            {
                // Still unavailable. The caller chose to wait, and its token bounds the wait.
            }
        }
    }

    /// <summary>The state of a stream that is taken not to be there yet, unless this node knows better. The append's expected version guards it.</summary>
    internal StreamState Begin<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        (cache.Get(org, aggregate.Stream(key)) ?? new(0, HashChain.Root, aggregate.Initial, StreamRows.None, null)) with { Cached = true };

    async ValueTask<StreamState> LoadLatest<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var stream = aggregate.Stream(key);
        var generation = cache.Generation;
        if (cache.Get(org, stream) is not { } known)
        {
            return await Load(org, aggregate, key, ct);
        }
        var now = Fold(aggregate, known, await log.Load(org, stream, known.Version, int.MaxValue, ct));
        cache.Put(org, stream, now, generation);
        return now;
    }

    internal async ValueTask<StreamState> Load<TKey, TCommand, TEvent, TState>(string org, Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, CancellationToken ct)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var stream = aggregate.Stream(key);
        var generation = cache.Generation;
        if (cache.Get(org, stream) is { } known)
        {
            return known with { Cached = true };
        }
        var past = await log.Load(org, stream, 0, SnapshotAfter + 1, ct);
        var begin = new StreamState(0, HashChain.Root, aggregate.Initial, StreamRows.None, past.Events is [var first, ..] ? StreamStart.Of(first) : null);
        if (past.Events.Count > SnapshotAfter)
        {
            if (!HasTombstone(past.Events) && await snapshots.Load(org, stream, schema, ct) is { } snapshot)
            {
                var state = JsonSerializer.Deserialize(snapshot.State.Span, EventJson.Options.GetTypeInfo(typeof(TState)))!;
                begin = new(
                    snapshot.Version, snapshot.Hash, state, StreamRows.Read(snapshot.Rows.Span, ModelsOf(aggregate.Name)), begin.Start,
                    Bytes: snapshot.State.Length + snapshot.Rows.Length);
            }
            past = await log.Load(org, stream, begin.Version, int.MaxValue, ct);
        }
        if (begin.Version == 0 && past.Events is [{ Event: TEvent one }, ..] && !HasTombstone(past.Events))
        {
            begin = begin with { State = await BeginOf(org, aggregate, one, ct) };
        }
        var folded = Fold(aggregate, begin, past);
        if (past.Events.Count > SnapshotAfter && !folded.IsExpired)
        {
            var state = JsonSerializer.SerializeToUtf8Bytes(folded.State, EventJson.Options.GetTypeInfo(typeof(TState)));
            await snapshots.Save(org, stream, new(folded.Version, folded.Hash, schema, state, folded.Rows.Write()), ct);
        }
        if (folded.Version > 0)
        {
            // A missing stream is not cached: the handler of a job must find the stream that the job's commit begins.
            cache.Put(org, stream, folded, generation);
        }
        return folded;
    }

    internal IReadModel[] ModelsOf(string aggregate) => modelsOf.GetValueOrDefault(aggregate) ?? [];

    StreamState Fold<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, StreamState from, StreamSlice past)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var state = (TState)from.State;
        var (rows, bytes) = (from.Rows, from.Bytes);
        var isExpired = from.IsExpired || HasTombstone(past.Events);
        if (isExpired && !from.IsExpired)
        {
            (state, rows) = (aggregate.Initial, StreamRows.None);
        }
        foreach (var e in Living(past.Events, isExpired))
        {
            state = aggregate.Evolve(state, (TEvent)e.Event);
            rows = After(rows, e);
            bytes += e.Data.Length;
        }
        return past.Events.Count == 0
            ? from
            : new(
                past.Version, past.Hash, state, rows, from.Start, past.Events[^1].Position, Bytes: aggregate.SizeOf is { } sizeOf ? sizeOf(state) : bytes,
                IsExpired: isExpired);
    }

    StreamRows After(StreamRows rows, RecordedEvent e)
    {
        foreach (var model in ModelsOf(e.Stream[..e.Stream.IndexOf('-', StringComparison.Ordinal)]))
        {
            rows = rows.After(model, e, out _);
        }
        return rows;
    }

    DateTimeOffset Now()
    {
        var now = clock.GetUtcNow();
        return TimestampConverter.Whole(now);
    }
}
