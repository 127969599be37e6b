namespace Cowork.Documents;

/// <summary>The time after which a reader stops with the text that it has, before the process is killed with it.</summary>
sealed class ReadingTime(TimeSpan time, TimeProvider clock)
{
    readonly long start = clock.GetTimestamp();

    public bool IsOver => clock.GetElapsedTime(start) > time;
}
