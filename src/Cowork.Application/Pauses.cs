namespace Cowork.Application;

/// <summary>Waiting in loops that end without an exception when they are cancelled.</summary>
public static class Pauses
{
    /// <summary>True: the time has passed. False: the pause was cancelled.</summary>
    public static async Task<bool> Pause(this TimeProvider clock, TimeSpan time, CancellationToken ct)
    {
        var delay = Task.Delay(time, clock, ct);
        await delay.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return delay.IsCompletedSuccessfully;
    }
}
