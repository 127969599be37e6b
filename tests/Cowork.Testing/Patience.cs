using System.Globalization;
using System.Runtime.CompilerServices;

using Xunit;

namespace Cowork.Testing;

/// <summary>How specs wait.</summary>
public static class Patience
{
    /// <summary>How long a spec waits for what must come to pass. It is no bound on speed: a machine may be busy with other specs for a minute and more.</summary>
    public const int Seconds = 150;

    /// <inheritdoc cref="Seconds"/>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(Seconds);

    /// <summary>Looks that are taken one right after another: much is there a moment later.</summary>
    const int LooksAtOnce = 8;

    /// <summary>Milliseconds between two looks at what takes its time. The pauses grow up to it.</summary>
    const int PauseMax = 20;

    /// <summary>Waits until something holds, or fails and says what did not.</summary>
    /// <param name="what">Is told where it never comes: as it is written in the spec, if nothing else is said.</param>
    /// <param name="pause">Milliseconds between two looks, for a look that lets a clock go on; 0: looks are as frequent as is good.</param>
    public static Task Until(Func<bool> holds, [CallerArgumentExpression(nameof(holds))] string what = "", int pause = 0) => Until(holds, () => "", what, pause);

    /// <inheritdoc cref="Until(Func{bool}, string, int)"/>
    /// <param name="state">Says how things are instead, where it never comes.</param>
    public static Task Until(Func<bool> holds, Func<string> state, [CallerArgumentExpression(nameof(holds))] string what = "", int pause = 0) =>
        Until(() => Task.FromResult(holds()), state, what, pause);

    /// <inheritdoc cref="Until(Func{bool}, string, int)"/>
    public static Task Until(Func<Task<bool>> holds, [CallerArgumentExpression(nameof(holds))] string what = "", int pause = 0) => Until(holds, () => "", what, pause);

    /// <inheritdoc cref="Until(Func{bool}, Func{string}, string, int)"/>
    public static async Task Until(Func<Task<bool>> holds, Func<string> state, [CallerArgumentExpression(nameof(holds))] string what = "", int pause = 0)
    {
        var since = TimeProvider.System.GetTimestamp();
        for (var looks = 1; !await holds(); looks++)
        {
            if (TimeProvider.System.GetElapsedTime(since) > Limit)
            {
                Assert.Fail($"Not within {Seconds} s: {what}\n{state()}".TrimEnd());
            }
            if (pause == 0 && looks < LooksAtOnce)
            {
                await Task.Yield();
            }
            else
            {
                await Task.Delay(pause > 0 ? pause : Math.Min(looks - LooksAtOnce + 1, PauseMax));
            }
        }
    }

    /// <summary>Asks until the answer fits, and answers it; or fails with the last one.</summary>
    /// <param name="told">Of an answer, for the failure; null: the answer as text.</param>
    public static async Task<T> Until<T>(Func<Task<T>> ask, Func<T, bool> fits, Func<T, string?>? told = null, [CallerArgumentExpression(nameof(fits))] string what = "")
    {
        T? last = default;
        await Until(async () => fits(last = await ask()), () => $"The last answer: {(told is null ? $"{last}" : told(last!))}", what);
        return last!;
    }

    /// <summary>
    /// Does what only succeeds before something ends by itself, as with a token that expires. What fails after that end was too slow, and is begun anew with four times as long;
    /// what fails before it has failed.
    /// </summary>
    /// <param name="first">What a machine with nothing else to do needs.</param>
    /// <param name="attempt">Is given the end that it is to set.</param>
    public static async Task<T> Before<T>(TimeSpan first, Func<DateTimeOffset, Task<T>> attempt)
    {
        for (var lifetime = first; ; lifetime *= 4)
        {
            var end = TimeProvider.System.GetUtcNow() + lifetime;
            try
            {
                return await attempt(end);
            }
            catch (Exception) when (TimeProvider.System.GetUtcNow() >= end && lifetime < Limit)
            {
                // Once more, with more time.
            }
        }
    }

    /// <summary>Does what is promised to be done within a time, and fails when it took longer than that is <see cref="Stretched"/>.</summary>
    public static async Task<T> Within<T>(TimeSpan promised, Func<Task<T>> done)
    {
        var since = TimeProvider.System.GetTimestamp();
        var answer = await done();
        Assert.InRange(TimeProvider.System.GetElapsedTime(since), TimeSpan.Zero, Stretched(promised));
        return answer;
    }

    /// <summary>
    /// A time that is promised, as far as this machine can keep it now: longer by as much as there is more to do than its processors do at once. The average over a minute lags
    /// behind a burst, so that it counts twice. A machine with nothing else to do is held to the promise.
    /// </summary>
    public static TimeSpan Stretched(TimeSpan promised)
    {
        var load = File.ReadAllText("/proc/loadavg").Split(' ')[0];
        return promised * Math.Max(1, 2 * double.Parse(load, CultureInfo.InvariantCulture) / Environment.ProcessorCount);
    }
}
