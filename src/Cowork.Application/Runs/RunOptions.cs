using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Configuration <c>Cowork:Runs</c>.</summary>
public sealed record RunOptions
{
    /// <summary>The model of a turn that names none.</summary>
    public string DefaultModel { get; init; } = "offline";

    /// <summary>What one run may use.</summary>
    public RunLimits Limits { get; init; } = RunLimits.Default;

    /// <summary>Turns that may wait in one session.</summary>
    public int QueuedPerSessionMax { get; init; } = Domain.Limits.QueuedPerSessionMax;

    /// <summary>Runs that may wait in one tenant.</summary>
    public int QueuedPerTenantMax { get; init; } = Domain.Limits.QueuedPerTenantMax;

    /// <summary>How long an <c>Idempotency-Key</c> header holds.</summary>
    public TimeSpan IdempotencyKept { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Runs that this host drives at once; the others wait in the database. One tenant alone has four fifths of them (<see cref="Storage.JobSlots"/>).</summary>
    public int Parallel { get; init; } = 1_250;

    /// <summary>Streamed text is committed, and then shown, at least this often.</summary>
    public TimeSpan DeltaEvery { get; init; } = TimeSpan.FromMilliseconds(100);
}

/// <summary>Configuration <c>Cowork:Memory</c>.</summary>
public sealed record MemoryOptions
{
    /// <summary>The model that answered a run is asked for its notes when it has completed; false: they are extracted by rule, as they are for the offline model.</summary>
    public bool NotesByModel { get; init; } = true;
}

/// <summary>Configuration <c>Cowork:Approvals</c>.</summary>
public sealed record ApprovalOptions
{
    /// <summary>How long a call waits for a decision before it counts as rejected.</summary>
    public TimeSpan ExpireAfter { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Who sent the turn may not decide about its calls.</summary>
    public bool FourEyes { get; init; }
}
