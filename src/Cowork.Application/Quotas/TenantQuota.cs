namespace Cowork.Application;

/// <summary>What one tenant may have and do. Configuration <c>Cowork:Quotas</c>, and for one tenant <c>Cowork:Quotas:Tenants:NAME</c>.</summary>
public sealed record TenantQuota
{
    /// <summary>Requests that one host answers in a second, in the long run; twice as many at once.</summary>
    public int RequestsPerSecond { get; init; } = 5_000;

    /// <summary>Event streams that are open at one host.</summary>
    public int Streams { get; init; } = 2_000;

    /// <summary>Sessions that were not deleted.</summary>
    public long Sessions { get; init; } = 1_000_000;

    /// <summary>Schedules that were not deleted.</summary>
    public long Schedules { get; init; } = 10_000;

    /// <summary>Runs that wait to start; null: <see cref="RunOptions.QueuedPerTenantMax"/>.</summary>
    public int? QueuedRuns { get; init; }

    /// <summary>Bytes of what the tenant's events tell, and of the texts and files that they name.</summary>
    public long StoredBytes { get; init; } = 1L << 40;

    /// <summary>Texts above 64 KiB and versions of files that events name.</summary>
    public long Blobs { get; init; } = 10_000_000;
}

/// <summary>The quotas of a host's tenants.</summary>
/// <param name="Usual">Of a tenant that has none of its own.</param>
/// <param name="OfTenants">By the tenant's name.</param>
public sealed record TenantQuotas(TenantQuota Usual, IReadOnlyDictionary<string, TenantQuota> OfTenants)
{
    public static TenantQuotas Default { get; } = new(new(), new Dictionary<string, TenantQuota>());

    public TenantQuota Of(string org) => OfTenants.GetValueOrDefault(org, Usual);
}

/// <summary>What a tenant has, as far as the log was followed.</summary>
/// <param name="StoredBytes">See <see cref="TenantQuota.StoredBytes"/>.</param>
public sealed record TenantFigures(long Sessions, long Schedules, long StoredBytes, long Blobs)
{
    public static TenantFigures None { get; } = new(0, 0, 0, 0);
}
