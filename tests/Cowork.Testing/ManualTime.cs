namespace Cowork.Testing;

/// <summary>A clock that stands until it is told to go on; timers fire while it does.</summary>
public sealed class ManualTime(DateTimeOffset start) : TimeProvider
{
    readonly Lock gate = new();
    readonly List<Timer> timers = [];
    DateTimeOffset now = start;
    TimeSpan wrong;

    public ManualTime()
        : this(new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero))
    {
    }

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override DateTimeOffset GetUtcNow()
    {
        lock (gate)
        {
            return now + wrong;
        }
    }

    public override long GetTimestamp()
    {
        lock (gate)
        {
            return now.Ticks;
        }
    }

    /// <summary>Somebody sets the clock: it shows another time, and no time has passed.</summary>
    public void Set(TimeSpan by)
    {
        lock (gate)
        {
            wrong += by;
        }
    }

    /// <summary>Goes on, stopping at every timer on the way.</summary>
    public void Advance(TimeSpan by)
    {
        DateTimeOffset until;
        lock (gate)
        {
            until = now + by;
        }
        while (true)
        {
            Timer? due;
            lock (gate)
            {
                due = timers.Where(t => t.Due <= until).MinBy(t => t.Due);
                now = due is null ? until : due.Due > now ? due.Due : now;
                due?.Next();
            }
            if (due is null)
            {
                return;
            }
            due.Fire();
        }
    }

    /// <summary>How many timers wait: a test goes on when what it waits for has begun to wait.</summary>
    public int Waiting
    {
        get
        {
            lock (gate)
            {
                return timers.Count;
            }
        }
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new Timer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    sealed class Timer(ManualTime owner, TimerCallback callback, object? state) : ITimer
    {
        TimeSpan period;

        public DateTimeOffset Due { get; private set; }

        public bool Change(TimeSpan dueTime, TimeSpan newPeriod)
        {
            var fire = false;
            lock (owner.gate)
            {
                owner.timers.Remove(this);
                period = newPeriod;
                if (dueTime != Timeout.InfiniteTimeSpan)
                {
                    Due = owner.now + dueTime;
                    fire = dueTime <= TimeSpan.Zero;
                    if (!fire || Repeats)
                    {
                        owner.timers.Add(this);
                    }
                }
            }
            if (fire)
            {
                Fire();
            }
            return true;
        }

        public void Next()
        {
            if (Repeats)
            {
                Due += period;
            }
            else
            {
                owner.timers.Remove(this);
            }
        }

        public void Fire() => callback(state);

        public void Dispose()
        {
            lock (owner.gate)
            {
                owner.timers.Remove(this);
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }

        bool Repeats => period > TimeSpan.Zero;
    }
}
