using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Configuration <c>Cowork:Runs</c>.</summary>
public sealed record RunOptions
{
    /// <summary>The model of a turn that names none.</summary>
    public string DefaultModel { get; init; } = "offline";

    /// <summary>What one run may use.</summary>
    public RunLimits Limits { get; init; } = RunLimits.Default;

    /// <summary>How long an <c>Idempotency-Key</c> header holds.</summary>
    public TimeSpan IdempotencyKept { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Runs that this host drives at once; the others wait in the database.</summary>
    public int Parallel { get; init; } = 1_000;

    /// <summary>Streamed text is committed, and then shown, at least this often.</summary>
    public TimeSpan DeltaEvery { get; init; } = TimeSpan.FromMilliseconds(100);
}
