using System.Collections.Concurrent;

using Microsoft.Extensions.Time.Testing;

namespace Cowork.Testing;

/// <summary>
/// <see cref="FakeTimeProvider"/> that begins at a fixed morning and adds what it lacks: a wall clock that somebody sets while the
/// monotonic timestamps go on, and the timers that wait.
/// </summary>
public sealed class TestClock() : FakeTimeProvider(new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero))
{
    long adjusted;
    readonly ConcurrentDictionary<ITimer, TimeSpan> waiting = new();

    /// <summary>How many timers wait. A spec advances the clock when the code under test has begun to wait.</summary>
    public int Waiting => waiting.Count;

    /// <summary>Whether a timer waits that was set to fire after <paramref name="dueTime"/>.</summary>
    public bool IsWaiting(TimeSpan dueTime) => waiting.Values.Contains(dueTime);

    /// <summary>Moves the wall clock forward or, when <paramref name="by"/> is negative, back. No time passes and no timer fires.</summary>
    public void Set(TimeSpan by)
    {
        adjusted += by.Ticks;
        AdjustTime(GetUtcNow() + by);
    }

    /// <summary>Ticks of 100 ns that have passed; unlike the base class's, a wall clock that is set does not change them.</summary>
    public override long GetTimestamp() => base.GetTimestamp() - adjusted;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        new CountedTimer(this, callback, state, dueTime, period);

    ITimer CreateUncounted(TimerCallback callback, object? state) => base.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

    /// <summary>Counts while it waits: from a due time until it has fired for the last time or is disposed.</summary>
    sealed class CountedTimer : ITimer
    {
        readonly Lock gate = new();
        readonly TestClock clock;
        readonly ITimer timer;
        TimeSpan period;

        public CountedTimer(TestClock clock, TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            this.clock = clock;
            timer = clock.CreateUncounted(
                state =>
                {
                    lock (gate)
                    {
                        if (clock.waiting.TryRemove(this, out _) && this.period > TimeSpan.Zero)
                        {
                            clock.waiting[this] = this.period;
                        }
                    }
                    callback(state);
                },
                state);
            Change(dueTime, period);
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (gate)
            {
                this.period = period;
                if (dueTime >= TimeSpan.Zero)
                {
                    clock.waiting[this] = dueTime;
                }
                else
                {
                    clock.waiting.TryRemove(this, out _);
                }
            }
            return timer.Change(dueTime, period);
        }

        public void Dispose()
        {
            lock (gate)
            {
                clock.waiting.TryRemove(this, out _);
            }
            timer.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
