namespace Cowork.Domain;

/// <summary>The slots of a schedule: a pure function of the plan and of the times in the question.</summary>
public abstract record Timing
{
    /// <summary>A slot was missed if its run has not started within this time, or by the next slot if that comes earlier.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(60);

    /// <summary>A fixed interval, counted from a planned time and not from the start of runs, so that slots do not drift.</summary>
    public sealed record Interval(long Seconds, DateTimeOffset From) : Timing
    {
        TimeSpan Length => TimeSpan.FromSeconds(Seconds);

        public override TimeSpan SetBackTolerance => Grace;

        public override DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime)
        {
            var (slots, rest) = Math.DivRem((after - From).Ticks, Length.Ticks);
            return At(From, rest < 0 ? slots : slots + 1);
        }

        public override DateTimeOffset? First(DateTimeOffset now, NextTime nextTime) => From;

        public override (Timing Timing, DateTimeOffset? Next) Restart(DateTimeOffset now, NextTime nextTime) => StartingAt(now + Length);

        public override (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime) =>
            StartingAt(now + (planned - decided));

        public override Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int catchUp, NextTime nextTime)
        {
            var late = (now - first - (Length < Grace ? Length : Grace)).Ticks;
            var skipped = late <= 0 ? 0 : ((late - 1) / Length.Ticks) + 1 - catchUp;
            return skipped > 0 && At(first, skipped - 1) is { } through ? new(through, skipped) : null;
        }

        (Timing Timing, DateTimeOffset? Next) StartingAt(DateTimeOffset from) => (this with { From = from }, from);

        DateTimeOffset? At(DateTimeOffset from, long slot)
        {
            var ticks = from.UtcTicks + ((Int128)slot * Length.Ticks);
            return ticks >= 0 && ticks <= DateTimeOffset.MaxValue.UtcTicks ? new((long)ticks, TimeSpan.Zero) : null;
        }
    }

    /// <summary>The times of a cron expression in a time zone.</summary>
    /// <param name="Expression">An expression that <see cref="Cron.Parse"/> accepts.</param>
    /// <param name="Zone">A zone that <see cref="TimeZones.Find"/> finds.</param>
    public sealed record Times(string Expression, string Zone) : Timing
    {
        /// <summary>A longer series is skipped without a count, because enumerating ten years of minutes takes seconds.</summary>
        const int CountedMax = 50_000;

        /// <summary>Cron's rule: times of the day that were due do not come again after a smaller correction of the clock.</summary>
        static readonly TimeSpan CorrectionMax = TimeSpan.FromHours(3);

        /// <summary>Answers the times, or why the expression or the zone is refused.</summary>
        /// <param name="expressionAt">JSON path of the expression in the request.</param>
        /// <param name="zoneAt">JSON path of the zone in the request.</param>
        public static (Times? Times, Refusal? Refused) Of(string expression, string zone, string expressionAt, string zoneAt, NextTime nextTime) =>
            Cron.Parse(expression) is { Fault: { } fault } ? (null, Refusal.Invalid("invalid_cron", expressionAt, fault))
            : TimeZones.Find(zone) is null ? (null, Refusal.Invalid("unknown_time_zone", zoneAt, $"There is no time zone \"{zone}\" here; a name is wanted like Europe/Berlin."))
            // From a fixed time: close to the calendar's end a valid expression has no further slot.
            : new Times(expression, zone) is var times && times.Next(DateTimeOffset.UnixEpoch, nextTime) is null
                ? (null, Refusal.Invalid("invalid_cron", expressionAt, "It never comes due."))
            : (times, null);

        public override TimeSpan SetBackTolerance => Read().Cron.IsInterval ? Grace : CorrectionMax;

        public override DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime)
        {
            var (cron, zone) = Read();
            return nextTime(cron, zone, after);
        }

        public override DateTimeOffset? First(DateTimeOffset now, NextTime nextTime) => Next(now, nextTime);

        public override (Timing Timing, DateTimeOffset? Next) Restart(DateTimeOffset now, NextTime nextTime) => (this, Next(now, nextTime));

        public override (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime) =>
            Restart(now, nextTime);

        public override Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int catchUp, NextTime nextTime)
        {
            var (cron, zone) = Read();
            var tail = new Queue<DateTimeOffset>(catchUp + 1);
            Skippable? skippable = null;
            long? count = 0;
            DateTimeOffset? slot = first;
            while (slot is { } missed && IsMissed(missed, now, nextTime))
            {
                var after = missed;
                tail.Enqueue(missed);
                if (tail.Count > catchUp)
                {
                    skippable = new(tail.Dequeue(), ++count);
                    if (count == CountedMax && FindTailStart(cron, zone, missed, now, catchUp, nextTime) is { } tailStart)
                    {
                        // Only the last slots matter from here on.
                        (after, count) = (tailStart, null);
                        tail.Clear();
                    }
                }
                slot = nextTime(cron, zone, after);
            }
            return skippable;
        }

        /// <summary>A time after which more slots were missed than are caught up; null: the caller must enumerate every slot.</summary>
        DateTimeOffset? FindTailStart(Cron cron, TimeZoneInfo zone, DateTimeOffset after, DateTimeOffset now, int catchUp, NextTime nextTime)
        {
            for (var back = Grace * (catchUp + 2); now - back > after; back *= 2)
            {
                var (slot, missed) = (nextTime(cron, zone, now - back), 0);
                while (slot is { } current && IsMissed(current, now, nextTime) && missed <= catchUp)
                {
                    (slot, missed) = (nextTime(cron, zone, current), missed + 1);
                }
                if (missed > catchUp)
                {
                    return now - back;
                }
            }
            return null;
        }

        (Cron Cron, TimeZoneInfo Zone) Read()
        {
            var (cron, fault) = Cron.Parse(Expression);
            return (
                cron ?? throw new InvalidOperationException(fault),
                TimeZones.Find(Zone) ?? throw new TimeZoneNotFoundException($"The time zone database of this machine has no {Zone}."));
        }
    }

    /// <summary>The first slot after a time; null: there is none.</summary>
    public abstract DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime);

    /// <summary>The first slot of a plan that starts now; null: there is none.</summary>
    public abstract DateTimeOffset? First(DateTimeOffset now, NextTime nextTime);

    /// <summary>The plan restarted now, with its next slot.</summary>
    public abstract (Timing Timing, DateTimeOffset? Next) Restart(DateTimeOffset now, NextTime nextTime);

    /// <summary>A clock set back further than this restarts the plan; otherwise the next slot stays.</summary>
    public abstract TimeSpan SetBackTolerance { get; }

    /// <summary>The plan after the clock was set back, with its next slot.</summary>
    /// <param name="decided">Time of the last decision by the wrong clock.</param>
    /// <param name="planned">The slot that was next at that time.</param>
    public abstract (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime);

    /// <summary>The missed slots that are not caught up, from the first one on; null: none.</summary>
    /// <param name="catchUp">Number of last missed slots to catch up.</param>
    public abstract Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int catchUp, NextTime nextTime);

    /// <summary>The slot's grace time has passed.</summary>
    public bool IsMissed(DateTimeOffset slot, DateTimeOffset now, NextTime nextTime)
    {
        var late = now - slot;
        return late > Grace || (late > TimeSpan.Zero && Next(slot, nextTime) is { } next && late > next - slot);
    }
}

/// <summary>A series of slots to skip.</summary>
/// <param name="Through">The last slot of the series.</param>
/// <param name="Count">Number of slots; null: too many to count.</param>
public sealed record Skippable(DateTimeOffset Through, long? Count);
