using Cowork.Application;

namespace Cowork.Web;

/// <summary>What the host gives its clients at once, and how long it waits for them. Configuration <c>Cowork:Http</c>; docs/limits.md.</summary>
public sealed record HttpLimits
{
    static readonly TimeSpan RequestTimeoutMin = TimeSpan.FromMilliseconds(100);

    /// <summary>Connections from one address: an IPv4 address, or the /64 of an IPv6 address.</summary>
    public int ConnectionsPerAddress { get; init; } = 2_500;

    /// <summary>Event streams that are open; never more than four fifths of the connections, so that other requests get in.</summary>
    public int Streams { get; init; } = 4_000;

    /// <summary>Event streams that are open to one address.</summary>
    public int StreamsPerAddress { get; init; } = 2_000;

    /// <summary>Event streams that one token has open.</summary>
    public int StreamsPerToken { get; init; } = 1_000;

    /// <summary>WebSockets that one member of a group has open.</summary>
    public int SocketsPerMember { get; init; } = 100;

    /// <summary>Messages of one member in a second, on the average; five times as many may come at once.</summary>
    public int MessagesPerSecond { get; init; } = 20;

    /// <summary>What a WebSocket takes of its client.</summary>
    public Http.FrameLimits Frames { get; init; } = Http.FrameLimits.Default;

    /// <summary>Wrong tokens from one address in a minute, from which on its tokens are looked up slowly.</summary>
    public int FailuresPerMinute { get; init; } = 60;

    /// <summary>From a connection's begin to its first byte, and from a request's first byte to the end of its headers.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>From the end of a request's headers to the end of its body: what has come of one is kept in memory for so long at most.</summary>
    public TimeSpan BodyTimeout => RequestTimeout * 4;

    public static HttpLimits Read(IConfiguration http)
    {
        var usual = new HttpLimits();
        return new()
        {
            ConnectionsPerAddress = http.Number("ConnectionsPerAddress", 1, int.MaxValue) ?? usual.ConnectionsPerAddress,
            Streams = http.Number("Streams", 1, int.MaxValue) ?? usual.Streams,
            StreamsPerAddress = http.Number("StreamsPerAddress", 1, int.MaxValue) ?? usual.StreamsPerAddress,
            StreamsPerToken = http.Number("StreamsPerToken", 1, int.MaxValue) ?? usual.StreamsPerToken,
            SocketsPerMember = http.Number("SocketsPerMember", 1, int.MaxValue) ?? usual.SocketsPerMember,
            MessagesPerSecond = http.Number("MessagesPerSecond", 1, 100_000) ?? usual.MessagesPerSecond,
            FailuresPerMinute = http.Number("FailuresPerMinute", 1, int.MaxValue) ?? usual.FailuresPerMinute,
            RequestTimeout = http.Time("RequestTimeout", RequestTimeoutMin, TimeSpan.FromHours(1)) ?? usual.RequestTimeout,
        };
    }
}

/// <summary>Reads <see cref="TenantQuotas"/>.</summary>
static class QuotaConfiguration
{
    public static TenantQuotas Read(IConfiguration quotas)
    {
        var usual = Read(quotas, new());
        return new(usual, quotas.GetSection("Tenants").GetChildren().ToDictionary(tenant => tenant.Key, tenant => Read(tenant, usual)));
    }

    static TenantQuota Read(IConfiguration section, TenantQuota usual) => new()
    {
        RequestsPerSecond = section.Number("RequestsPerSecond", 1, 1_000_000) ?? usual.RequestsPerSecond,
        Streams = section.Number("Streams", 0, int.MaxValue) ?? usual.Streams,
        Sessions = section.Number("Sessions", 0, long.MaxValue) ?? usual.Sessions,
        Schedules = section.Number("Schedules", 0, long.MaxValue) ?? usual.Schedules,
        QueuedRuns = section.Number("QueuedRuns", 0, int.MaxValue) ?? usual.QueuedRuns,
        StoredBytes = section.Number("StoredBytes", 0, long.MaxValue) ?? usual.StoredBytes,
        Blobs = section.Number("Blobs", 0, long.MaxValue) ?? usual.Blobs,
    };
}
