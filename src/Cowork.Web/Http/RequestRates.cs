using System.Collections.Concurrent;
using System.Threading.RateLimiting;

using Cowork.Application;

namespace Cowork.Web.Http;

/// <summary>
/// The requests of each tenant in a second at this host: a bucket of tokens for each tenant that sends some, which goes when the tenant has been idle. Only tenants
/// whose token was right have one, so that their number is bounded by that of the tenants.
/// </summary>
public sealed class RequestRates(TenantQuotas quotas) : IDisposable
{
    /// <summary>Below so many requests in a second one token comes at a time.</summary>
    const int CoarseMin = 10;

    readonly ConcurrentDictionary<string, long> refused = new();
    readonly PartitionedRateLimiter<string> limiter = PartitionedRateLimiter.Create<string, string>(
        org => RateLimitPartition.GetTokenBucketLimiter(org, name => Bucket(quotas.Of(name))));

    /// <summary>The refusal of a request of the tenant; null: it may go on.</summary>
    public ErrorResult? Take(string org)
    {
        using var lease = limiter.AttemptAcquire(org);
        if (lease.IsAcquired)
        {
            return null;
        }
        refused.AddOrUpdate(org, 1, static (_, count) => count + 1);
        var wait = lease.TryGetMetadata(MetadataName.RetryAfter, out var after) ? after : TimeSpan.FromSeconds(1);
        return new(429, "rate_limited", $"The tenant sends more than {quotas.Of(org).RequestsPerSecond} requests in a second to this host.")
        {
            RetryAfter = Math.Max(1, (int)Math.Ceiling(wait.TotalSeconds)),
        };
    }

    /// <summary>Requests of the tenant that were refused since the host's start.</summary>
    public long Refused(string org) => refused.GetValueOrDefault(org);

    public void Dispose() => limiter.Dispose();

    /// <summary>The bucket of a tenant with the quota.</summary>
    public static TokenBucketRateLimiterOptions Bucket(TenantQuota quota)
    {
        var rate = quota.RequestsPerSecond;
        var tokens = Math.Max(1, rate / CoarseMin);
        // The period is what so many tokens take, so that a rate that is no multiple loses nothing.
        var period = TimeSpan.FromSeconds(1) * tokens / rate;
        return new() { TokenLimit = (int)Math.Min(int.MaxValue, 2L * rate), TokensPerPeriod = tokens, ReplenishmentPeriod = period, QueueLimit = 0, AutoReplenishment = true };
    }
}
