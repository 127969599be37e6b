namespace Cowork.Application;

/// <summary>Waiting for loops that end quietly when they are told to.</summary>
public static class Pauses
{
    /// <summary>True when the time has passed, false when it was cut short.</summary>
    public static async Task<bool> Pause(this TimeProvider clock, TimeSpan time, CancellationToken ct)
    {
        try
        {
            await Task.Delay(time, clock, ct);
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }
}
