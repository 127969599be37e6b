using System.Collections.Concurrent;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

namespace Cowork.Marten;

/// <summary>
/// The jobs of this node: those that its own commits start come with the commit, all others are found by a look at the table, which a timer starts when the
/// next job is due and a wake-up starts when there may be one. See <see cref="NodeHeartbeat"/> for how long they stay this node's.
/// </summary>
sealed partial class JobQueue : IJobQueue, IDisposable
{
    /// <summary>Jobs that one look claims.</summary>
    const int ClaimsMax = 256;

    /// <summary>Epochs that are kept at hand, and how few of them are a reason to fetch as many again.</summary>
    const int EpochsKept = 256;
    const int EpochsMin = 64;

    /// <summary>A timer's precision; a job is claimed so much later than its due time at the most.</summary>
    static readonly TimeSpan WaitMin = TimeSpan.FromMilliseconds(1);

    static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(250);

    /// <summary>So much later than a slot is given back, waiting jobs are looked for: many slots, one look.</summary>
    static readonly TimeSpan SlotsSettle = TimeSpan.FromMilliseconds(10);

    readonly ConcurrentDictionary<Claim, HeldJob> held = new();
    readonly ConcurrentQueue<(Claim Claim, string Holder, DateTimeOffset Due)> unreleased = new();
    readonly ConcurrentQueue<long> epochs = new();
    readonly CancellationTokenSource stopping = new();
    readonly StorageOptions options;
    readonly JobTable table;
    readonly NodeHeartbeat heartbeat;
    readonly ILogger logger;
    readonly JobSlots slots;
    readonly Lock gate = new();
    TaskCompletionSource woken = new(TaskCreationOptions.RunContinuationsAsynchronously);
    DateTimeOffset? nextLook;
    Task loop = Task.CompletedTask;
    volatile IJobDispatcher? dispatcher;
    volatile bool reconcile;
    volatile bool orphans;

    public JobQueue(JobTable table, NodeHeartbeat heartbeat, StorageOptions options)
    {
        (this.table, this.heartbeat, this.options) = (table, heartbeat, options);
        logger = options.Logs.CreateLogger<JobQueue>();
        slots = new(options.SlotsOf);
        heartbeat.Lapsed += () =>
        {
            foreach (var claim in held.Keys)
            {
                Lose(claim);
            }
            unreleased.Clear();
        };
        heartbeat.Beaten += pulse =>
        {
            if (pulse.HasOrphans || pulse.NextDue <= TimeSpan.Zero)
            {
                orphans |= pulse.HasOrphans;
                Poke();
            }
            else if (pulse.NextDue is { } wait)
            {
                LookAt(options.Clock.GetUtcNow() + wait);
            }
        };
    }

    public void Start() => loop = Look(stopping.Token);

    public void StartDispatching(IJobDispatcher dispatcher)
    {
        this.dispatcher = dispatcher;
        Poke();
    }

    public void StopDispatching() => dispatcher = null;

    public JobSlots Slots => slots;

    public JobAdmission? Admit(string org, string kind)
    {
        if (!Works(kind) || !slots.TryTake(kind, org))
        {
            return null;
        }
        var has = epochs.TryDequeue(out var epoch);
        if (epochs.Count < EpochsMin)
        {
            Poke();
        }
        if (!has)
        {
            Leave(kind, org);
            return null;
        }
        return new(epoch, !heartbeat.HasPeers, () => Leave(kind, org));
    }

    /// <summary>Reserves slots for the jobs of a flush.</summary>
    public JobReservation Reserve() => new(this);

    public CancellationToken? LeaseOf(Claim claim) => held.TryGetValue(claim, out var job) ? job.Lost.Token : null;

    public async ValueTask Complete(Claim claim, CancellationToken ct)
    {
        if (held.TryGetValue(claim, out var job))
        {
            await table.Complete(claim, job.Holder, ct);
            Drop(claim);
            Poke();
        }
    }

    public async ValueTask Release(Claim claim, TimeSpan after, CancellationToken ct)
    {
        if (Drop(claim) is not { } job)
        {
            return;
        }
        try
        {
            await table.Release(claim, job.Holder, after, ct);
        }
        catch (Exception e) when (e is StorageUnavailableException or OperationCanceledException)
        {
            // No handler here does it any more, and the lease does not run out while this node lives: it is given back as soon as the database allows.
            unreleased.Enqueue((claim, job.Holder, options.Clock.GetUtcNow() + after));
        }
        Poke();
        heartbeat.TellPeers();
    }

    public async ValueTask Fail(Claim claim, Exception why, CancellationToken ct)
    {
        if (Drop(claim) is not { } job)
        {
            return;
        }
        try
        {
            await table.Fail(claim, job.Holder, why, ct);
        }
        catch (StorageUnavailableException)
        {
            // The failure is not counted; the job is tried again.
            unreleased.Enqueue((claim, job.Holder, options.Clock.GetUtcNow() + options.JobRetries[0]));
        }
        Poke();
    }

    public ValueTask<IReadOnlyList<(string Key, DateTimeOffset Due)>> Upcoming(string org, string kind, int max, CancellationToken ct) => table.Upcoming(org, kind, max, ct);

    public ValueTask<Backlog> Backlog(CancellationToken ct) => table.Backlog(ct);

    public ValueTask<IReadOnlyList<KindBacklog>> BacklogByKind(CancellationToken ct) => table.BacklogByKind(ct);

    public async ValueTask Hurry(string kind, CancellationToken ct)
    {
        await table.Hurry(kind, ct);
        Poke();
        heartbeat.TellPeers();
    }

    /// <summary>Whether this node works, and does jobs of the kind.</summary>
    internal bool Works(string kind) => dispatcher is not null && heartbeat.IsRegistered && !options.KindsLeftToOthers.Contains(kind);

    /// <summary>Takes a slot for a job that is about to be committed. False: it waits in the table.</summary>
    internal bool TakeSlot(string org, string kind) => Works(kind) && slots.TryTake(kind, org);

    internal void Leave(string kind, string org)
    {
        if (slots.Leave(kind, org))
        {
            LookAt(options.Clock.GetUtcNow() + SlotsSettle);
        }
    }

    /// <summary>The name under which a claim is held here; null: it is not.</summary>
    public string? HolderOf(Claim claim) => held.TryGetValue(claim, out var job) ? job.Holder : null;

    /// <summary>A job that a commit of this node started and claimed, or a look has claimed. No-op when it was claimed under a name that has lapsed.</summary>
    public void Hand(Claim claim, string holder)
    {
        if (holder != heartbeat.Node || !held.TryAdd(claim, new(holder)))
        {
            return;
        }
        slots.Take(claim.Kind, claim.Org);
        Measures.JobsHeld.Add(1, new KeyValuePair<string, object?>("cowork.job.kind", claim.Kind));
        if (dispatcher is { } ready)
        {
            if (!ready.Dispatch(claim))
            {
                _ = Fail(claim, new InvalidOperationException($"Nothing on this host handles jobs of the kind {claim.Kind}."), CancellationToken.None).AsTask();
            }
        }
        else if (Drop(claim) is not null)
        {
            unreleased.Enqueue((claim, holder, options.Clock.GetUtcNow()));
            Poke();
        }
    }

    /// <summary>A commit has finished the job.</summary>
    public void Forget(Claim claim) => Drop(claim);

    /// <summary>Another node has the job.</summary>
    public void Lose(Claim claim) => Drop(claim)?.Lost.Cancel();

    /// <summary>There may be something to claim.</summary>
    public void Poke() => LookAt(DateTimeOffset.MinValue);

    /// <summary>A job is due then.</summary>
    public void LookAt(DateTimeOffset due)
    {
        lock (gate)
        {
            if (nextLook is { } known && known <= due)
            {
                return;
            }
            nextLook = due;
            woken.TrySetResult();
        }
    }

    /// <summary>A commit of this node may have taken place without its jobs having been handed over.</summary>
    public void Reconcile()
    {
        reconcile = true;
        Poke();
    }

    /// <summary>Ends the look and frees every job: whatever still runs here is told that its lease is lost.</summary>
    public async Task StopAsync()
    {
        await stopping.CancelAsync();
        await loop;
        foreach (var claim in held.Keys)
        {
            Lose(claim);
        }
    }

    public void Dispose() => stopping.Dispose();

    HeldJob? Drop(Claim claim)
    {
        if (!held.TryRemove(claim, out var job))
        {
            return null;
        }
        Leave(claim.Kind, claim.Org);
        Measures.JobsHeld.Add(-1, new KeyValuePair<string, object?>("cowork.job.kind", claim.Kind));
        return job;
    }

    async Task Look(CancellationToken ct)
    {
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await UntilNextLook(ct);
                while (unreleased.TryDequeue(out var back))
                {
                    await GiveBack(back, ct);
                }
                if (dispatcher is null || heartbeat.IsPaused)
                {
                    continue;
                }
                if (reconcile)
                {
                    reconcile = false;
                    var me = heartbeat.Node;
                    (await table.HeldBy(me, ct)).ForEach(claim => Hand(claim, me));
                }
                await Find(ct);
                if (epochs.Count < EpochsMin)
                {
                    (await table.Epochs(EpochsKept, ct)).ForEach(epochs.Enqueue);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
            catch (StorageUnavailableException)
            {
                reconcile = true;
                LookAt(options.Clock.GetUtcNow() + RetryAfter);
            }
#pragma warning disable CA1031 // Whatever it is, jobs that no node looks for would wait until the host is started anew.
            catch (Exception e)
#pragma warning restore CA1031
            {
                LogFailed(e);
                reconcile = true;
                LookAt(options.Clock.GetUtcNow() + RetryAfter);
            }
        }
    }

    /// <summary>Waits for the time of the next look, which may come nearer meanwhile.</summary>
    async Task UntilNextLook(CancellationToken ct)
    {
        while (true)
        {
            DateTimeOffset? at;
            Task sooner;
            lock (gate)
            {
                at = nextLook;
                if (at <= options.Clock.GetUtcNow())
                {
                    nextLook = null;
                    return;
                }
                if (woken.Task.IsCompleted)
                {
                    woken = new(TaskCreationOptions.RunContinuationsAsynchronously);
                }
                sooner = woken.Task;
            }
            if (at is not { } due)
            {
                await sooner.WaitAsync(ct);
                continue;
            }
            var wait = due - options.Clock.GetUtcNow();
            using var either = CancellationTokenSource.CreateLinkedTokenSource(ct);
            // The heartbeat tells of what is due later than a timer can wait for.
            await Task.WhenAny(sooner, Task.Delay(wait < WaitMin ? WaitMin : wait > options.Lease ? options.Lease : wait, options.Clock, either.Token));
            await either.CancelAsync();
            ct.ThrowIfCancellationRequested();
        }
    }

    async Task GiveBack((Claim Claim, string Holder, DateTimeOffset Due) back, CancellationToken ct)
    {
        var after = back.Due - options.Clock.GetUtcNow();
        try
        {
            await table.Release(back.Claim, back.Holder, after > TimeSpan.Zero ? after : TimeSpan.Zero, ct);
            Poke();
        }
        catch
        {
            unreleased.Enqueue(back);
            throw;
        }
    }

    async Task Find(CancellationToken ct)
    {
        if (!heartbeat.IsRegistered)
        {
            LookAt(options.Clock.GetUtcNow() + RetryAfter);
            return;
        }
        if (orphans)
        {
            orphans = false;
            await table.FreeOrphans(ct);
        }
        var me = heartbeat.Node;
        var found = await table.Take(me, ClaimsMax, slots.Now(), ct);
        foreach (var claim in found.Claims)
        {
            if (slots.TryTakeFound(claim.Kind, claim.Org))
            {
                Hand(claim, me);
                // It has a slot of its own now.
                slots.Leave(claim.Kind, claim.Org);
            }
            else
            {
                unreleased.Enqueue((claim, me, options.Clock.GetUtcNow()));
                found.Waiting.Add((claim.Kind, claim.Org));
                LookAt(options.Clock.GetUtcNow() + SlotsSettle);
            }
        }
        slots.SetWaiting(found.Waiting);
        if (found.Claims.Count == ClaimsMax)
        {
            Poke();
        }
        else if (found.IsMissed)
        {
            LookAt(options.Clock.GetUtcNow() + RetryAfter);
        }
        if (found.NextDue is { } wait)
        {
            LookAt(options.Clock.GetUtcNow() + wait);
        }
    }

    [LoggerMessage(1, LogLevel.Error, "The look for jobs failed and is tried again")]
    partial void LogFailed(Exception e);

    /// <summary>A job in the hands of this node.</summary>
    sealed class HeldJob(string holder)
    {
        /// <summary>The node's name when it claimed the job.</summary>
        public string Holder { get; } = holder;

        /// <summary>Never disposed: a handler may look at its token at any time, and it has no timer.</summary>
        public CancellationTokenSource Lost { get; } = new();
    }
}

/// <summary>Slots for the jobs of one flush, until they are handed over or the flush has failed.</summary>
sealed class JobReservation(JobQueue queue) : IDisposable
{
    readonly List<(string Kind, string Org)> taken = [];

    /// <summary>Whether this node takes the job as soon as it is committed. One that was admitted has its slot.</summary>
    public bool Takes(string org, Job job)
    {
        if (job.Epoch is not null)
        {
            return queue.Works(job.Kind);
        }
        if (!queue.TakeSlot(org, job.Kind))
        {
            return false;
        }
        taken.Add((job.Kind, org));
        return true;
    }

    public void Dispose()
    {
        taken.ForEach(slot => queue.Leave(slot.Kind, slot.Org));
        taken.Clear();
    }
}
