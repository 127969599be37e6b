namespace Cowork.Application;

/// <summary>Configuration <c>Cowork:Kernels</c>.</summary>
public sealed record ScratchpadOptions
{
    /// <summary>A kernel may take so much memory, one with pandas takes a fifth of it.</summary>
    const long MemoryOfKernel = 512L << 20;

    /// <summary>Kernels that this host holds at once; executions of other scratchpads wait. One tenant alone has four fifths of them (<see cref="Storage.JobSlots"/>).</summary>
    public int Max { get; init; } = (int)Math.Clamp(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / MemoryOfKernel, 4, 32);

    /// <summary>A kernel that has executed nothing for so long is ended. Its variables are gone; the next execution gets another one.</summary>
    public TimeSpan IdleTime { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>What the kernels say is committed, and then shown, at least this often.</summary>
    public TimeSpan OutputEvery { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>What one cell may use.</summary>
    public KernelLimits Limits { get; init; } = KernelLimits.Default;
}
