using System.Collections.Concurrent;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Compares what tenants have with their quotas. The figures follow the log of all hosts and are asked for once a second: the request that finds them old asks, and the
/// others go by what was known. What this host has let be made since is counted at once. So a quota is exceeded by what other hosts make, and runs store, in that second.
/// </summary>
public sealed class TenantUsage(IRunQueries queries, TenantQuotas quotas, RunOptions options, TimeProvider clock)
{
    static readonly TimeSpan KnownFor = TimeSpan.FromSeconds(1);

    /// <summary>The projection has certainly come to what was made so long ago, unless it stands still.</summary>
    static readonly TimeSpan Lag = TimeSpan.FromSeconds(5);

    readonly ConcurrentDictionary<string, Known> known = new();

    /// <summary>The refusal of a further session; null: there is room.</summary>
    public async ValueTask<Refusal?> SessionRefusal(string org, CancellationToken ct)
    {
        var (of, quota) = (await Of(org, ct), quotas.Of(org));
        return of.Figures.Sessions >= quota.Sessions
            ? Refusal.TooMany("tenant_sessions_full", $"The tenant has {quota.Sessions} sessions, and may not have more. Delete some.")
            : of.StorageRefusal(quota);
    }

    /// <summary>The refusal of a further schedule; null: there is room.</summary>
    public async ValueTask<Refusal?> ScheduleRefusal(string org, CancellationToken ct)
    {
        var (of, quota) = (await Of(org, ct), quotas.Of(org));
        return of.Figures.Schedules >= quota.Schedules
            ? Refusal.TooMany("tenant_schedules_full", $"The tenant has {quota.Schedules} schedules, and may not have more. Delete some.")
            : of.StorageRefusal(quota);
    }

    /// <summary>This host has made something, which the figures will show in a moment.</summary>
    public void Made(string org, int sessions = 0, int schedules = 0, long storedBytes = 0, int blobs = 0)
    {
        if (known.TryGetValue(org, out var of))
        {
            of.Add(new(sessions, schedules, storedBytes, blobs), clock.GetTimestamp());
        }
    }

    /// <summary>The refusal of a further run, or of what else stores something; null: there is room.</summary>
    public async ValueTask<Refusal?> RunRefusal(string org, CancellationToken ct)
    {
        var (of, quota) = (await Of(org, ct), quotas.Of(org));
        return of.Queued >= QueuedMax(quota) ? Refusal.TooMany("tenant_queue_full", $"{QueuedMax(quota)} runs already wait.") : of.StorageRefusal(quota);
    }

    /// <summary>The refusal of what stores something; null: there is room.</summary>
    /// <param name="bytes">Bytes that it stores, as far as they are known.</param>
    public async ValueTask<Refusal?> StorageRefusal(string org, CancellationToken ct, long bytes = 0) => (await Of(org, ct)).StorageRefusal(quotas.Of(org), bytes);

    /// <summary>What the tenant has and may have.</summary>
    public async ValueTask<(TenantFigures Has, long QueuedRuns, TenantQuota May)> Show(string org, CancellationToken ct)
    {
        var (of, quota) = (await Of(org, ct), quotas.Of(org));
        return (of.Figures, of.Queued, quota with { QueuedRuns = QueuedMax(quota) });
    }

    int QueuedMax(TenantQuota quota) => quota.QueuedRuns ?? options.QueuedPerTenantMax;

    async ValueTask<Known> Of(string org, CancellationToken ct)
    {
        var of = known.GetOrAdd(org, static _ => new());
        if (of.At is not { } at || (clock.GetElapsedTime(at) >= KnownFor && of.Claim()))
        {
            var asked = clock.GetTimestamp();
            try
            {
                var queued = await queries.Queued(org, QueuedMax(quotas.Of(org)), ct);
                of.Refresh(await queries.Figures(org, ct), queued, asked, clock);
            }
            catch (StorageUnavailableException) when (of.At is not null)
            {
                // The last figures do: whether there is a database to write to is found out by who writes.
            }
            finally
            {
                of.Release();
            }
        }
        return of;
    }

    /// <summary>What is known of one tenant.</summary>
    sealed class Known
    {
        TenantFigures figures = TenantFigures.None;
        long? madeAt;
        int claimed;

        /// <summary>True: the caller asks for new figures, and nobody else does until it calls <see cref="Release"/>.</summary>
        public bool Claim() => Interlocked.CompareExchange(ref claimed, 1, 0) == 0;

        public void Release() => Volatile.Write(ref claimed, 0);

        /// <summary>Timestamp of the look, so that a clock that is set changes nothing; null: there was none.</summary>
        public long? At { get; private set; }

        public long Queued { get; private set; }

        public TenantFigures Figures
        {
            get
            {
                lock (this)
                {
                    return figures;
                }
            }
        }

        public void Add(TenantFigures made, long now)
        {
            lock (this)
            {
                figures = new(
                    figures.Sessions + made.Sessions, figures.Schedules + made.Schedules, figures.StoredBytes + made.StoredBytes, figures.Blobs + made.Blobs);
                madeAt = now;
            }
        }

        public Refusal? StorageRefusal(TenantQuota quota, long bytes = 0) => Figures switch
        {
            var has when has.StoredBytes >= quota.StoredBytes || bytes > quota.StoredBytes - has.StoredBytes =>
                new("tenant_storage_full", 507, $"The tenant has stored {quota.StoredBytes} bytes, and may not store more."),
            var has when has.Blobs >= quota.Blobs =>
                new("tenant_blobs_full", 507, $"The tenant has stored {quota.Blobs} long texts and files, and may not store more."),
            _ => null,
        };

        /// <summary>What this host let be made a moment ago may not be in the figures yet.</summary>
        public void Refresh(TenantFigures read, long queued, long asked, TimeProvider clock)
        {
            lock (this)
            {
                figures = madeAt is not { } made || clock.GetElapsedTime(made, asked) >= Lag ? read : read with
                {
                    Sessions = Math.Max(read.Sessions, figures.Sessions),
                    Schedules = Math.Max(read.Schedules, figures.Schedules),
                    StoredBytes = Math.Max(read.StoredBytes, figures.StoredBytes),
                    Blobs = Math.Max(read.Blobs, figures.Blobs),
                };
                (Queued, At) = (queued, asked);
            }
        }
    }
}
