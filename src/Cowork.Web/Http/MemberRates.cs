using System.Threading.RateLimiting;

namespace Cowork.Web.Http;

/// <summary>The messages of each member of groups in a second at this host: a bucket for each member who sends some, which goes when the member has been idle.</summary>
sealed class MemberRates(HttpLimits limits) : IDisposable
{
    /// <summary>Seconds of messages that may come at once.</summary>
    const int BurstSeconds = 5;

    readonly PartitionedRateLimiter<(string Org, string User)> limiter = PartitionedRateLimiter.Create<(string Org, string User), (string Org, string User)>(
        member => RateLimitPartition.GetTokenBucketLimiter(member, _ => new()
        {
            TokenLimit = BurstSeconds * limits.MessagesPerSecond,
            TokensPerPeriod = 1,
            ReplenishmentPeriod = TimeSpan.FromSeconds(1) / limits.MessagesPerSecond,
            QueueLimit = 0,
            AutoReplenishment = true,
        }));

    /// <summary>Null: the member may send another message.</summary>
    public Endpoints.Groups.ClientFault? Take(string org, string user)
    {
        using var lease = limiter.AttemptAcquire((org, user));
        return lease.IsAcquired ? null : new("rate_limited", $"You send more than {limits.MessagesPerSecond} messages in a second to this host.");
    }

    public void Dispose() => limiter.Dispose();
}
