using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary><c>Cowork:Retention</c>: how long data is kept where the tenant says nothing else.</summary>
public sealed record RetentionOptions
{
    /// <summary>The shortest period, so that nobody empties the log by a typo. The database refuses to remove what is younger.</summary>
    public const int DaysMin = 1;

    public const int DaysMax = 36_500;

    /// <summary><c>Cowork:Retention:Sessions</c>, in days; 0: for ever.</summary>
    public int SessionsDays { get; init; }

    /// <summary><c>Cowork:Retention:Security</c>, in days; 0: for ever.</summary>
    public int SecurityDays { get; init; }

    /// <summary><c>Cowork:Retention:Every</c>: the pause between two looks for what is due.</summary>
    public TimeSpan Every { get; init; } = TimeSpan.FromHours(1);

    public bool Any => SessionsDays > 0 || SecurityDays > 0;

    /// <summary>The periods that hold for a tenant; 0: for ever.</summary>
    public (int SessionsDays, int SecurityDays) Of(RetentionPeriods tenant) => (tenant.SessionsDays ?? SessionsDays, tenant.SecurityDays ?? SecurityDays);
}

/// <summary>What is due in a tenant.</summary>
/// <param name="Sessions">Sessions that are deleted next, or whose data is removed.</param>
/// <param name="Days">Streams of days whose data is removed.</param>
/// <param name="IsCut">There are more than were counted.</param>
public sealed record RetentionDue(IReadOnlyList<SessionKey> Sessions, IReadOnlyList<string> Days, bool IsCut);

/// <summary>
/// Looks in a tenant for what is kept no longer: deletes sessions in which nothing happened for the period, and lets days of security events expire. It is one job of the
/// tenant, which waits for the next look; where nothing is set there is none. What it begins is brought to its end by <see cref="ExpiryRemoval"/>.
/// </summary>
public sealed class RetentionSweep(
    CommandHandler commands, ICommandExecutor executor, IExpiryStore store, IRetentionQueries queries, IJobQueue queue, ExpiredBlobs blobs, RetentionOptions options,
    TimeProvider clock) : IJobHandler
{
    public const string JobKind = "retention";

    /// <summary>The tenant's one job.</summary>
    public const string JobKey = "sweep";

    const int StreamsMax = 500;

    /// <summary>Things that an answer names.</summary>
    const int ShownMax = 1_000;

    /// <summary>Who deletes and removes what is kept no longer.</summary>
    public static readonly Origin System = new("system:retention");

    static readonly string[] OfDays = [SecurityDay.Aggregate.Name, HostDay.Aggregate.Name];

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        var (sessions, security) = await Periods(claim.Org, ct);
        if (sessions > 0)
        {
            await foreach (var (key, state, version) in DueSessions(claim.Org, sessions, ct))
            {
                if (state is Session.Open)
                {
                    await executor.Execute(claim.Org, System, new RetireSession(key, sessions, version), ct, waitForStorage: true);
                }
                else
                {
                    await executor.Execute(claim.Org, System, new StartRemoval(Session.Aggregate.Stream(key)), ct, waitForStorage: true);
                }
            }
        }
        if (security > 0)
        {
            await foreach (var stream in DueDays(claim.Org, security, ct))
            {
                if (await store.Named(claim.Org, stream, ct) is { } named)
                {
                    await executor.Execute(claim.Org, System, new ExpireDay(stream, named.After(security)), ct, waitForStorage: true);
                }
            }
        }
        bool isBusy;
        try
        {
            isBusy = await blobs.Sweep(ct);
        }
        catch (StorageUnavailableException e) when (e.OfBlobs)
        {
            // To be tried again with the next look and not at once: each try reads the log.
            isBusy = true;
        }
        if (sessions == 0 && security == 0 && !isBusy)
        {
            return false;
        }
        await queue.Release(claim, options.Every, ct);
        return true;
    }

    /// <summary>The periods that hold for a tenant, in days; 0: for ever.</summary>
    public async ValueTask<(int Sessions, int Security)> Periods(string org, CancellationToken ct) =>
        options.Of((await commands.LatestState(org, Domain.Retention.Aggregate, Domain.Retention.Key, ct)).Periods);

    /// <summary>The time by which periods are over: the host's or the database's, whichever is behind. A clock that goes ahead deletes nothing early.</summary>
    internal async ValueTask<DateTimeOffset> Now(CancellationToken ct)
    {
        var (mine, theirs) = (clock.GetUtcNow(), await store.Now(ct));
        return mine < theirs ? mine : theirs;
    }

    /// <summary>What a look would begin now, under the periods that hold or under others. It changes nothing.</summary>
    /// <param name="periods">In days; 0: for ever.</param>
    public async ValueTask<RetentionDue> Due(string org, (int Sessions, int Security) periods, CancellationToken ct)
    {
        var (sessions, days) = (new List<SessionKey>(), new List<string>());
        if (periods.Sessions > 0)
        {
            await foreach (var (key, _, _) in DueSessions(org, periods.Sessions, ct))
            {
                sessions.Add(key);
                if (sessions.Count == ShownMax)
                {
                    break;
                }
            }
        }
        if (periods.Security > 0)
        {
            await foreach (var stream in DueDays(org, periods.Security, ct))
            {
                days.Add(stream);
                if (days.Count == ShownMax)
                {
                    break;
                }
            }
        }
        return new(sessions, days, sessions.Count == ShownMax || days.Count == ShownMax);
    }

    async IAsyncEnumerable<(SessionKey Key, Session State, long Version)> DueSessions(
        string org, int days, [global::System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var before = await Now(ct) - TimeSpan.FromDays(days);
        IReadOnlySet<string>? inUse = null;
        await foreach (var stream in Quiet(org, Session.Aggregate.Name, before, ct))
        {
            var key = new SessionKey(Session.Aggregate.KeyOf(stream));
            var known = await commands.Known(org, Session.Aggregate, key, static _ => false, ct);
            var isOver = known.State switch
            {
                Session.Open { IsHeld: false, Group: null } or Session.Deleted { IsHeld: false, IsOfGroup: false } => !known.State.LiveRuns().Any(),
                // It was interrupted, and its job is gone.
                Session.Expired { IsRemoved: false } => true,
                _ => false,
            };
            if (isOver && await store.LastAt(org, stream, ct) <= before && !(inUse ??= await queries.InUse(org, ct)).Contains(key.Value))
            {
                yield return (key, known.State, known.Version);
            }
        }
    }

    async IAsyncEnumerable<string> DueDays(string org, int days, [global::System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var before = await Now(ct) - TimeSpan.FromDays(days);
        foreach (var aggregate in OfDays)
        {
            await foreach (var stream in Quiet(org, aggregate, before, ct))
            {
                yield return stream;
            }
        }
    }

    async IAsyncEnumerable<string> Quiet(
        string org, string aggregate, DateTimeOffset before, [global::System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        for (var after = ""; ;)
        {
            var page = await store.Quiet(org, aggregate, after, before, StreamsMax, ct);
            foreach (var stream in page)
            {
                yield return stream;
            }
            if (page.Count < StreamsMax)
            {
                yield break;
            }
            after = page[^1];
        }
    }
}

/// <summary>Starts the removal of what was deleted or has expired.</summary>
public sealed record StartRemoval(string Stream) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Start(new Job(ExpiryRemoval.JobKind, Stream));
        return new((Refusal?)null);
    }
}

/// <summary>Sees to it that each tenant has its look, where the host's settings say how long data is kept.</summary>
public sealed class RetentionStart(ICommandExecutor executor, IExpiryStore store, RetentionOptions options, TimeProvider clock)
{
    static readonly TimeSpan RetryStorageAfter = TimeSpan.FromSeconds(5);

    /// <summary>Runs until the token is cancelled.</summary>
    public async Task Run(CancellationToken stopping)
    {
        while (options.Any && !stopping.IsCancellationRequested)
        {
            var pause = options.Every;
            try
            {
                foreach (var org in await store.Tenants(stopping))
                {
                    await executor.Execute(org, RetentionSweep.System, new StartSweep(), stopping);
                }
            }
            catch (StorageUnavailableException)
            {
                pause = RetryStorageAfter;
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            await clock.Pause(pause, stopping);
        }
        await clock.Pause(Timeout.InfiniteTimeSpan, stopping);
    }
}

/// <summary>Starts the tenant's look for what is kept no longer.</summary>
public sealed record StartSweep : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Start(new Job(RetentionSweep.JobKind, RetentionSweep.JobKey));
        return new((Refusal?)null);
    }
}
