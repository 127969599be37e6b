namespace Cowork.Application.Storage;

/// <summary>
/// Work that a commit causes. One node does it, and tries again until it succeeds. A job that is asked for again while a node does it is done once more afterwards.
/// A job that is asked for again while it waits stays one job, due at the earlier time.
/// </summary>
/// <param name="Due">Null: at once.</param>
/// <param name="Epoch">Of the claim under which this node has the job from the commit on (<see cref="JobAdmission"/>); null: one of the database's.</param>
public sealed record Job(string Kind, string Key, DateTimeOffset? Due = null, long? Epoch = null);

/// <summary>
/// A reservation of this node for a job that it is about to commit, until it is disposed. The commit that asks for the job may start it under the epoch. When the node
/// cannot hold the job after all, the node that claims it gets a higher epoch.
/// </summary>
/// <param name="Epoch">For one job that there has not been before.</param>
/// <param name="IsAlone">No other node is known to live on the database.</param>
public sealed record JobAdmission(long Epoch, bool IsAlone, Action Leave) : IDisposable
{
    public void Dispose() => Leave();
}

/// <summary>A node's right to do a job, until another takes it over with a higher epoch. Epochs grow over all jobs, so none comes twice.</summary>
public sealed record Claim(string Org, string Kind, string Key, long Epoch);

/// <param name="Waiting">Due, and held by no living node.</param>
/// <param name="Held">Held by a living node.</param>
/// <param name="Later">Not due yet. Dead letters are none of them.</param>
public sealed record Backlog(long Waiting, long Held, long Later);

/// <summary>The jobs of one kind, of all tenants and nodes.</summary>
/// <param name="Waiting">Due, and held by no living node.</param>
/// <param name="Held">Held by a living node.</param>
/// <param name="Later">Not due yet: planned, or between two tries.</param>
/// <param name="GivenUp">Dead letters.</param>
/// <param name="OldestDue">When the one that waits longest was due; null: none waits.</param>
/// <param name="NextDue">When the next of the later ones is due; null: there is none.</param>
public sealed record KindBacklog(string Kind, long Waiting, long Held, long Later, long GivenUp, DateTimeOffset? OldestDue, DateTimeOffset? NextDue);

/// <summary>Carries jobs that this node has claimed to their handlers.</summary>
public interface IJobDispatcher
{
    /// <summary>
    /// Returns at once; the handler runs elsewhere. It is called on the thread that commits, so it must not block. False: nothing here handles jobs of the kind.
    /// </summary>
    bool Dispatch(Claim claim);
}

/// <summary>The jobs of this node: rows with a lease and an epoch, which survive any node.</summary>
public interface IJobQueue
{
    /// <summary>
    /// From now on this node claims jobs and hands each to the dispatcher: at once those that it commits itself, and those that are left over as it finds them.
    /// </summary>
    void StartDispatching(IJobDispatcher dispatcher);

    /// <summary>This node claims no more jobs. What it holds stays its own until it is completed or released.</summary>
    void StopDispatching();

    /// <summary>Reserves a slot for a tenant's job that is due at once; null: the tenant has its share, or the node is busy, does not work, or has no epoch in stock.</summary>
    JobAdmission? Admit(string org, string kind);

    /// <summary>Cancelled when the lease is lost. Null: this node does not hold the job any more.</summary>
    CancellationToken? LeaseOf(Claim claim);

    /// <summary>The job is done. No-op when a commit finished it already or the claim was taken over.</summary>
    ValueTask Complete(Claim claim, CancellationToken ct);

    /// <summary>Gives the job back: claimable again by any node after the delay. No-op when this node does not hold it.</summary>
    ValueTask Release(Claim claim, TimeSpan after, CancellationToken ct);

    /// <summary>The job could not be done: it is tried again after a pause, and becomes a dead letter after the last of <see cref="StorageOptions.JobRetries"/>.</summary>
    ValueTask Fail(Claim claim, Exception why, CancellationToken ct);

    /// <summary>What this node does at once, and for whom.</summary>
    JobSlots Slots { get; }

    /// <summary>A tenant's jobs of a kind that wait, or are not due yet: those that are due first, with their time.</summary>
    ValueTask<IReadOnlyList<(string Key, DateTimeOffset Due)>> Upcoming(string org, string kind, int max, CancellationToken ct);

    /// <summary>How many jobs there are now, of all tenants and nodes.</summary>
    ValueTask<Backlog> Backlog(CancellationToken ct);

    /// <summary>The same by kind, in the order of their names. A kind without a job is not there.</summary>
    ValueTask<IReadOnlyList<KindBacklog>> BacklogByKind(CancellationToken ct);

    /// <summary>Makes every waiting job of a kind due now, for a caller that doubts the clock by which it was to be due.</summary>
    ValueTask Hurry(string kind, CancellationToken ct);
}

/// <summary>Does one kind of job. It may be called again for a job that it did before, or did in part.</summary>
public interface IJobHandler
{
    string Kind { get; }

    /// <summary>
    /// True: a commit has finished the job (<see cref="Commit.Done"/>), it was given back, or another node has it. False: the caller completes it.
    /// </summary>
    Task<bool> Run(Claim claim, CancellationToken ct);
}
