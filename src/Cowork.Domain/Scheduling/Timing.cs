namespace Cowork.Domain;

/// <summary>When a schedule's slots are: a pure function of what was planned and of the times that it is asked about.</summary>
public abstract record Timing
{
    /// <summary>A slot that starts later than this was missed; of slots that follow sooner on one another, later than the next one.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(60);

    /// <summary>Every so many seconds, counted from a planned time and never from when something happened, so that it does not drift.</summary>
    public sealed record Interval(long Seconds, DateTimeOffset From) : Timing
    {
        TimeSpan Length => TimeSpan.FromSeconds(Seconds);

        public override TimeSpan SetBackBorne => Grace;

        public override DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime)
        {
            var (slots, rest) = Math.DivRem((after - From).Ticks, Length.Ticks);
            return At(From, rest < 0 ? slots : slots + 1);
        }

        public override DateTimeOffset? First(DateTimeOffset now, NextTime nextTime) => From;

        public override (Timing Timing, DateTimeOffset? Next) Anew(DateTimeOffset now, NextTime nextTime) => Beginning(now + Length);

        public override (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime) =>
            Beginning(now + (planned - decided));

        public override Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int kept, NextTime nextTime)
        {
            var late = (now - first - (Length < Grace ? Length : Grace)).Ticks;
            var skipped = late <= 0 ? 0 : ((late - 1) / Length.Ticks) + 1 - kept;
            return skipped > 0 && At(first, skipped - 1) is { } through ? new(through, skipped) : null;
        }

        (Timing Timing, DateTimeOffset? Next) Beginning(DateTimeOffset from) => (this with { From = from }, from);

        DateTimeOffset? At(DateTimeOffset from, long slot)
        {
            var ticks = from.UtcTicks + ((Int128)slot * Length.Ticks);
            return ticks >= 0 && ticks <= DateTimeOffset.MaxValue.UtcTicks ? new((long)ticks, TimeSpan.Zero) : null;
        }
    }

    /// <summary>At the times of a cron expression, by the clocks of a zone.</summary>
    /// <param name="Expression">One that <see cref="Cron.Parse"/> takes.</param>
    /// <param name="Zone">One that <see cref="TimeZones.Find"/> finds.</param>
    public sealed record Times(string Expression, string Zone) : Timing
    {
        /// <summary>More slots than these are skipped without being counted: to go through ten years of minutes takes seconds.</summary>
        const int CountedMax = 50_000;

        /// <summary>As cron has always had it: times of the day that were served are not served again, unless the clock was plainly wrong before.</summary>
        static readonly TimeSpan Correction = TimeSpan.FromHours(3);

        /// <summary>The times that somebody asks for, or what is wrong with them.</summary>
        /// <param name="expressionAt">Where in the request the expression stands.</param>
        /// <param name="zoneAt">Where in the request the zone stands.</param>
        public static (Times? Times, Refusal? Refused) Of(string expression, string zone, string expressionAt, string zoneAt, NextTime nextTime) =>
            Cron.Parse(expression) is { Fault: { } fault } ? (null, Refusal.Invalid("invalid_cron", expressionAt, fault))
            : TimeZones.Find(zone) is null ? (null, Refusal.Invalid("unknown_time_zone", zoneAt, $"There is no time zone \"{zone}\" here; a name is wanted like Europe/Berlin."))
            // Not asked from the request's own time: close to the calendar's end nothing comes any more of an expression that is right.
            : new Times(expression, zone) is var times && times.Next(DateTimeOffset.UnixEpoch, nextTime) is null
                ? (null, Refusal.Invalid("invalid_cron", expressionAt, "It never comes due."))
            : (times, null);

        public override TimeSpan SetBackBorne => Read().Cron.IsInterval ? Grace : Correction;

        public override DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime)
        {
            var (cron, zone) = Read();
            return nextTime(cron, zone, after);
        }

        public override DateTimeOffset? First(DateTimeOffset now, NextTime nextTime) => Next(now, nextTime);

        public override (Timing Timing, DateTimeOffset? Next) Anew(DateTimeOffset now, NextTime nextTime) => (this, Next(now, nextTime));

        public override (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime) =>
            Anew(now, nextTime);

        public override Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int kept, NextTime nextTime)
        {
            var (cron, zone) = Read();
            var tail = new Queue<DateTimeOffset>(kept + 1);
            Skippable? skippable = null;
            long? count = 0;
            DateTimeOffset? slot = first;
            while (slot is { } missed && IsMissed(missed, now, nextTime))
            {
                var after = missed;
                tail.Enqueue(missed);
                if (tail.Count > kept)
                {
                    skippable = new(tail.Dequeue(), ++count);
                    if (count == CountedMax && Behind(cron, zone, missed, now, kept, nextTime) is { } far)
                    {
                        // From here on only those are of interest that come last.
                        (after, count) = (far, null);
                        tail.Clear();
                    }
                }
                slot = nextTime(cron, zone, after);
            }
            return skippable;
        }

        /// <summary>A time after which no fewer slots were missed than are kept, and one more; null: all are to be gone through.</summary>
        DateTimeOffset? Behind(Cron cron, TimeZoneInfo zone, DateTimeOffset after, DateTimeOffset now, int kept, NextTime nextTime)
        {
            for (var back = Grace * (kept + 2); now - back > after; back *= 2)
            {
                var (slot, missed) = (nextTime(cron, zone, now - back), 0);
                while (slot is { } some && IsMissed(some, now, nextTime) && missed <= kept)
                {
                    (slot, missed) = (nextTime(cron, zone, some), missed + 1);
                }
                if (missed > kept)
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

    /// <summary>The first slot after a time; null: there is none any more.</summary>
    public abstract DateTimeOffset? Next(DateTimeOffset after, NextTime nextTime);

    /// <summary>The first slot of a plan that is made now; null: it never comes.</summary>
    public abstract DateTimeOffset? First(DateTimeOffset now, NextTime nextTime);

    /// <summary>The plan when it begins anew now.</summary>
    public abstract (Timing Timing, DateTimeOffset? Next) Anew(DateTimeOffset now, NextTime nextTime);

    /// <summary>How far the clock may be set back before the plan is made anew; until then the next slot is waited for.</summary>
    public abstract TimeSpan SetBackBorne { get; }

    /// <summary>The plan after the clock was set back.</summary>
    /// <param name="decided">When, by the clock of before, the last decision was taken.</param>
    /// <param name="planned">The slot that was next then.</param>
    public abstract (Timing Timing, DateTimeOffset? Next) AfterSetBack(DateTimeOffset now, DateTimeOffset decided, DateTimeOffset planned, NextTime nextTime);

    /// <summary>Which of the missed slots, from a first one on, come before the last ones, that are kept; null: none.</summary>
    public abstract Skippable? Skippable(DateTimeOffset first, DateTimeOffset now, int kept, NextTime nextTime);

    /// <summary>It is too late to start the slot in time.</summary>
    public bool IsMissed(DateTimeOffset slot, DateTimeOffset now, NextTime nextTime)
    {
        var late = now - slot;
        return late > Grace || (late > TimeSpan.Zero && Next(slot, nextTime) is { } next && late > next - slot);
    }
}

/// <summary>A row of slots to be skipped.</summary>
/// <param name="Through">The last of them.</param>
/// <param name="Count">Null: too many to be counted.</param>
public sealed record Skippable(DateTimeOffset Through, long? Count);
