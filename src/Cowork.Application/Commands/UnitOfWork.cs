using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The content of one commit: decisions on several streams, each seeing the ones before it.</summary>
public sealed class UnitOfWork
{
    readonly CommandHandler commands;
    readonly string org;
    readonly CancellationToken ct;
    readonly Dictionary<string, Draft> drafts = [];
    readonly List<Part> written = [];
    readonly List<Job> jobs = [];
    readonly List<(string Kind, string Key)> cancelled = [];
    List<(string Stream, Draft Draft)>? pinned;
    List<SubjectKeyChange>? subjectKeys;
    SealingCommit? sealing;
    Claim? done;
    string? actor;
    long? knows;
    RecordedEvent? first;
    readonly long generation;
    int order;
    int kept;

    internal UnitOfWork(CommandHandler commands, string org, Origin by, DateTimeOffset now, bool isFirstTry, CancellationToken ct)
    {
        By = by;
        IsFirstTry = isFirstTry;
        this.commands = commands;
        this.org = org;
        this.ct = ct;
        Now = now;
        generation = commands.Generation;
    }

    /// <summary>Finds the next times of schedules.</summary>
    public NextTime NextTime => commands.NextTime;

    /// <summary>Who and what causes the commit.</summary>
    public Origin By { get; }

    /// <summary>The commit's time, whole milliseconds.</summary>
    public DateTimeOffset Now { get; }

    /// <summary>
    /// True: streams that are said to be new are not loaded, because the expected version of the append guards that. False: an earlier try lost a race, or decided on
    /// what may be behind the log.
    /// </summary>
    public bool IsFirstTry { get; }

    internal bool IsEmpty => done is null && jobs.Count == 0 && cancelled.Count == 0 && written.Count == 0;

    /// <summary>The streams that the commit writes to.</summary>
    internal IEnumerable<string> Written => written.Select(part => part.Stream);

    /// <summary>The streams that must not move before the commit: those that it writes to or is pinned to.</summary>
    internal IEnumerable<string> Guarded => pinned is null ? Written : Written.Concat(pinned.Select(p => p.Stream));

    /// <summary>The data subject whose texts the commit has; null: nobody's.</summary>
    internal string? Subject => drafts.Values.Select(d => d.Subject).FirstOrDefault(subject => subject is not null);

    /// <summary>Blobs that the commit names only within what is sealed, and which are not sealed themselves.</summary>
    internal IReadOnlyCollection<string> HiddenBlobs => sealing?.OpenBlobs ?? [];

    internal bool UsedCache { get; private set; }

    /// <summary>A command was a no-op on a cached state, which may be behind the log, of a stream without new events.</summary>
    internal bool IsSilentOnCache => drafts.Values.Any(d => d is { WasSilent: true, IsCached: true, Fresh.Count: 0 });

    /// <summary>The state that the next decision on the stream will see.</summary>
    public async ValueTask<TState> State<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class =>
        (TState)(await DraftOf(aggregate, key)).Stream.State;

    /// <summary>
    /// The state that the next decision on the stream will see. When the stream has changed by the time of the commit, which may write nothing to it, the commit is
    /// refused and decided again.
    /// </summary>
    public async ValueTask<TState> PinnedState<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var draft = await DraftOf(aggregate, key);
        (pinned ??= []).Add((aggregate.Stream(key), draft));
        return (TState)draft.Stream.State;
    }

    /// <summary>The stream's version with the new events so far.</summary>
    public async ValueTask<long> Version<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var draft = await DraftOf(aggregate, key);
        return draft.Expected + draft.Fresh.Count;
    }

    /// <summary>The effect on a stream with the new events so far.</summary>
    public async ValueTask<RequestEffect> Effect<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var draft = await DraftOf(aggregate, key);
        return new(aggregate.Stream(key), draft.Expected, draft.Expected + draft.Fresh.Count);
    }

    /// <summary>Decides a command and adds its events, or answers its refusal.</summary>
    /// <param name="session">The events appear in its feed.</param>
    /// <param name="run">The events concern it.</param>
    /// <param name="isNew">True: the stream probably does not exist, so it is not loaded. If it exists, the append fails and the work is repeated.</param>
    public async ValueTask<Refusal?> Do<TKey, TCommand, TEvent, TState>(
        Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, TCommand command, SessionKey? session = null, RunKey? run = null, bool isNew = false)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var draft = await DraftOf(aggregate, key, isNew);
        if (draft.IsExpired && command is not IExpiryCommand)
        {
            return Refusal.Expired(aggregate.Name);
        }
        var decision = aggregate.Decide(command, (TState)draft.Stream.State);
        if (decision.Refused is { } refused)
        {
            return refused;
        }
        draft.WasSilent |= decision.Events.Count == 0;
        foreach (var e in decision.Events)
        {
            // One run may leave a session's queue and another one join it with the same commit: each event is of the run that it is about.
            if (draft.Last is not { } part || part.Actor != actor || part.Order != order || (part.Session, part.Run) != (session, run))
            {
                draft.Last = part = new(aggregate.Stream(key), draft, actor, order) { Session = session, Run = run };
                written.Add(part);
            }
            part.Count++;
            if (aggregate.PastOf is not null && draft is { Expected: 0, Fresh.Count: 0 })
            {
                draft.Stream = draft.Stream with { State = await commands.BeginOf(org, aggregate, e, ct) };
            }
            draft.Fresh.Add(e);
            draft.Stream = draft.Stream with { State = aggregate.Evolve((TState)draft.Stream.State, e) };
        }
        return null;
    }

    /// <summary>Records what follows after all that came before, under another actor.</summary>
    /// <param name="by">As in <see cref="Origin.Actor"/>.</param>
    public void ContinueAs(string by) => actor = by;

    /// <summary>Records what follows after all that came before, also what goes into a stream that was written to.</summary>
    public void ContinueAfter() => order++;

    /// <summary>Refuses the commit, and has it decided again, when another node wrote after a position.</summary>
    /// <param name="position">Up to which the decision knows the log; null: it does not matter.</param>
    public void Knows(long? position) => knows = position;

    /// <summary>Starts a job with the commit.</summary>
    public void Start(Job job) => jobs.Add(job);

    /// <summary>Cancels a job that is not due yet; a running job continues.</summary>
    public void Cancel(string kind, string key) => cancelled.Add((kind, key));

    /// <summary>Makes or destroys the key of a data subject with the commit.</summary>
    public void Change(SubjectKeyChange key) => (subjectKeys ??= []).Add(key);

    /// <summary>Finishes a job with the commit.</summary>
    public void Finish(Claim claim) => done = claim;

    /// <summary>
    /// Finds the data subjects whose texts the commit has, and pins their keys: when one is destroyed before the commit, it is decided again. Refused: the key is gone, and a
    /// person says something new. What the host itself still says of an erased subject's work is committed without the texts.
    /// </summary>
    internal async ValueTask<Refusal?> PinSubjects()
    {
        string? ofCommit = null;
        Dictionary<string, bool>? subjects = null;
        foreach (var draft in drafts.Values)
        {
            if (draft.Subject is { } subject)
            {
                ofCommit ??= subject;
                (subjects ??= [])[subject] = false;
            }
        }
        if (subjects is null)
        {
            return null;
        }
        foreach (var subject in subjects.Keys.ToList())
        {
            subjects[subject] = await PinnedState(DataSubject.Aggregate, DataSubject.KeyOf(subject)) is DataSubject.Active;
        }
        sealing = new(commands.Subjects ?? throw new InvalidOperationException("This program has no keys of data subjects."), org, ofCommit!, subjects);
        return By.Actor.StartsWith("user:", StringComparison.Ordinal)
            && drafts.Values.FirstOrDefault(d => d.Fresh.Count > 0 && !subjects[d.Subject ?? ofCommit!] && d.Fresh.Any(SealingCommit.HasPersonal)) is { } erased
            ? DataSubject.WhyErased(erased.Subject ?? ofCommit!)
            : null;
    }

    async ValueTask<Draft> DraftOf<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TKey key, bool isNew = false)
        where TKey : struct, IStreamKey
        where TEvent : Event
        where TState : class
    {
        var stream = aggregate.Stream(key);
        if (!drafts.TryGetValue(stream, out var draft))
        {
            draft = new(
                aggregate.Name, isNew && IsFirstTry ? commands.Begin(org, aggregate, key) : await commands.Load(org, aggregate, key, ct),
                aggregate.SizeOf is { } sizeOf ? state => sizeOf((TState)state) : null);
            UsedCache |= draft.Stream.Cached;
            drafts.Add(stream, draft);
        }
        return draft;
    }

    internal Commit ToCommit(Origin by)
    {
        var writes = new List<Write>();
        foreach (var part in written)
        {
            var (stream, draft) = (part.Stream, part.Draft);
            if (draft.Before is Run)
            {
                Spans.LinkToRun(draft.Stream.Start, by);
            }
            var who = part.Actor ?? by.Actor;
            var models = commands.ModelsOf(draft.Aggregate);
            var expected = draft.Stream.Version;
            var (version, hash, rows) = (expected, draft.Stream.Hash, draft.Stream.Rows);
            var events = new List<RecordedEvent>(part.Count);
            var changed = new List<(IReadModel Model, string Key, long Version, long Made, long Ended)>(1);
            foreach (var e in draft.Fresh.GetRange(draft.Recorded, part.Count))
            {
                var id = Ids.NewEventId(Now);
                var type = EventTypes.NameOf(e);
                var data = EventJson.Write(e);
                version++;
                var happened = e;
                if (sealing?.Seal(data, type, new(org, stream, version), draft.Subject) is { } closed)
                {
                    (data, happened) = closed.IsErased ? (closed.Data, EventJson.Read(type, closed.Data, Now)) : (closed.Data, e);
                    draft.IsErased |= closed.IsErased;
                }
                hash = HashChain.Next(hash, org, stream, version, id, type, Now, who, data);
                var recorded = new RecordedEvent(org, stream, version, id, type, happened, data, Now, who, hash, Correlation: by.Correlation, Causation: by.Causation);
                events.Add(recorded);
                foreach (var model in models)
                {
                    var before = rows;
                    rows = rows.After(model, recorded, out var key);
                    if (key is not null)
                    {
                        var known = changed.FindIndex(c => c.Model == model && c.Key == key);
                        var (was, now) = (before.Get(model, key), rows.Get(model, key));
                        var made = was is null && now is not null ? version : known < 0 ? 0 : changed[known].Made;
                        var ended = was is not null && now is null ? version : known < 0 ? 0 : changed[known].Ended;
                        if (known >= 0)
                        {
                            changed.RemoveAt(known);
                        }
                        changed.Add((model, key, version, made, ended));
                    }
                }
            }
            draft.Recorded += part.Count;
            draft.Stream = new(
                version, hash, draft.Stream.State, rows, draft.Stream.Start ?? StreamStart.Of(events[0]), IsExpired: draft.IsExpired,
                Bytes: draft.SizeOf is { } sizeOf ? sizeOf(draft.Stream.State) : draft.Stream.Bytes + events.Sum(e => (long)e.Data.Length));
            first ??= events[0];
            // A feed is named by the key alone, also when a client chose the id and it looks like one of ours.
            SessionKey? session = part.Session is { } of ? new(of.Value) : null;
            writes.Add(new(stream, expected, events, session, part.Run, [.. changed.Select(c => rows.Change(c.Model, c.Key, c.Version, c.Made, c.Ended))]));
        }
        return new(org, writes, jobs, done, by)
        {
            Cancelled = cancelled,
            Knows = knows,
            Pins = Pins(),
            SubjectKeys = subjectKeys ?? [],
            SubjectStreams = sealing?.Streams ?? [],
            SealedBlobs = sealing?.Blobs ?? [],
        };
    }

    /// <summary>What is written to is guarded by its write.</summary>
    IReadOnlyList<StreamPin> Pins() => pinned is null
        ? []
        : [.. pinned.Where(p => p.Draft is { Fresh.Count: 0, Expected: > 0 }).Select(p => new StreamPin(p.Stream, p.Draft.Expected)).Distinct()];

    /// <summary>The streams of the decisions after the commit.</summary>
    internal CommandResult Result() => new(null, [.. drafts.Select(d => new StreamResult(d.Key, d.Value.Expected, d.Value.Stream.Version, d.Value.Stream.Rows))]);

    /// <summary>Records metrics of the committed events.</summary>
    internal void Measure()
    {
        if (!Measures.Events.Enabled)
        {
            return;
        }
        foreach (var draft in drafts.Values.Where(d => d.Fresh.Count > 0))
        {
            Measures.Events.Add(draft.Fresh.Count);
            Measures.BudgetWarnings.Add(draft.Fresh.Count(e => e is BudgetEvent.BudgetSoftLimitReached));
            foreach (var e in draft.Fresh.OfType<RunEvent>())
            {
                Measures.RunEventAppended(e, (Run)draft.Before, draft.Stream.Start!);
            }
        }
    }

    /// <summary>Caches the new states, once: the first caller that knows of the commit does it.</summary>
    /// <param name="begin">Position of the work's first event.</param>
    internal void Keep(StateCache cache, long begin)
    {
        if (Interlocked.Exchange(ref kept, 1) == 1)
        {
            return;
        }
        var position = begin - 1;
        foreach (var part in written)
        {
            position += part.Count;
            if (part.Draft.IsErased)
            {
                // The state was made of what the commit does not have.
                cache.Remove(org, part.Stream);
            }
            else if (part.Draft.Last == part)
            {
                cache.Put(org, part.Stream, part.Draft.Stream with { Position = position }, generation);
            }
        }
    }

    internal void Forget(StateCache cache)
    {
        foreach (var stream in drafts.Keys)
        {
            cache.Remove(org, stream);
        }
    }

    /// <summary>Whether the work's events are in the log: all of them or none.</summary>
    internal async ValueTask<bool> IsInLog(IEventLog log, CancellationToken ct)
    {
        if (first is null)
        {
            // It was never sent: the database became unavailable while it was being decided.
            return false;
        }
        var past = await log.Load(org, first.Stream, first.Version - 1, 1, ct);
        return past.Events is [var there, ..] && there.Id == first.Id;
    }

    sealed class Draft(string aggregate, StreamState folded, Func<object, long>? sizeOf)
    {
        public string Aggregate { get; } = aggregate;

        /// <summary>Of the aggregate; null: a state weighs as much as its events.</summary>
        public Func<object, long>? SizeOf { get; } = sizeOf;

        public long Expected { get; } = folded.Version;

        public object Before { get; } = folded.State;

        public StreamState Stream { get; set; } = folded;

        public bool IsCached { get; } = folded.Cached;

        public bool IsExpired { get; } = folded.IsExpired;

        public bool WasSilent { get; set; }

        /// <summary>Texts of an erased subject were left out.</summary>
        public bool IsErased { get; set; }

        /// <summary>The data subject of the stream; null: nobody.</summary>
        public string? Subject => (Stream.State as IOfSubject)?.Subject ?? (Before as IOfSubject)?.Subject;

        public List<Event> Fresh { get; } = [];

        /// <summary>How many of <see cref="Fresh"/> have become part of the commit.</summary>
        public int Recorded { get; set; }

        public Part? Last { get; set; }
    }

    /// <summary>What one actor does to one stream, in a row, that appears in one session's feed and concerns one run.</summary>
    /// <param name="actor">Null: the actor of the commit.</param>
    /// <param name="order">Of <see cref="ContinueAfter"/>.</param>
    sealed class Part(string stream, Draft draft, string? actor, int order)
    {
        public int Order { get; } = order;

        public string Stream { get; } = stream;

        public Draft Draft { get; } = draft;

        public string? Actor { get; } = actor;

        public int Count { get; set; }

        public SessionKey? Session { get; init; }

        public RunKey? Run { get; init; }
    }
}
