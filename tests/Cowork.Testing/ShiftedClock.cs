namespace Cowork.Testing;

/// <summary>A clock that goes as the system's does, from another day on. Timers and timestamps are the system's.</summary>
public sealed class ShiftedClock : TimeProvider
{
    public TimeSpan Shift { get; set; }

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + Shift;
}
