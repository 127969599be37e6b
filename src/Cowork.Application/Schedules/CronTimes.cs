using System.Runtime.CompilerServices;

using Cowork.Domain;

using Cronos;

namespace Cowork.Application;

/// <summary>
/// Next times of cron expressions. The Cronos library finds the clock time, on a calendar without zones; <see cref="ZoneClock"/> finds the instant at which a
/// zone's clocks show it (docs/decisions/0027 says why the library is not asked about zones).
/// </summary>
public static class CronTimes
{
    /// <summary>Expressions have whole minutes, so that this is the last clock time that one can name.</summary>
    static readonly DateTime LastMinute = new(9999, 12, 31, 23, 59, 0, DateTimeKind.Utc);

    /// <summary>To go through many slots of one plan reads its expression once.</summary>
    static readonly ConditionalWeakTable<Cron, CronExpression> Calendars = [];

    /// <summary>
    /// A <see cref="NextTime"/>. A time that the zone's clocks leave out comes at the first instant after the gap. Of times that they show twice, <see cref="Cron.IsInterval"/>
    /// says whether each comes once or twice.
    /// </summary>
    public static DateTimeOffset? Next(Cron cron, TimeZoneInfo zone, DateTimeOffset after)
    {
        var (calendar, clock) = (Calendars.GetValue(cron, static c => CronExpression.Parse(c.Text)), new ZoneClock(zone));
        if (clock.At(after) is not { } from)
        {
            // The zone's clocks show a time before the calendar's first or after its last.
            return zone.GetUtcOffset(after) > TimeSpan.Zero ? null : Later(calendar, clock, DateTime.MinValue, after, inclusive: true);
        }
        if (clock.Repeats(from) is { } repeated)
        {
            if (after < repeated.Turn)
            {
                if (First(calendar, from, inclusive: false) is { } first && first < repeated.End)
                {
                    return ZoneClock.Instant(first, repeated.Before);
                }
                from = repeated.Begin.AddTicks(-1);
            }
            if (cron.IsInterval && First(calendar, from, inclusive: false) is { } again && again < repeated.End)
            {
                return ZoneClock.Instant(again, repeated.After);
            }
            return Later(calendar, clock, repeated.End, after, inclusive: true);
        }
        return Later(calendar, clock, from, after, inclusive: false);
    }

    /// <summary>The first clock time from another one on whose instant is in the calendar and after the question.</summary>
    static DateTimeOffset? Later(CronExpression calendar, ZoneClock clock, DateTime from, DateTimeOffset after, bool inclusive)
    {
        for (var due = First(calendar, from, inclusive); due is { } local; due = First(calendar, local, inclusive: false))
        {
            if (clock.First(local) is { } instant && instant > after)
            {
                return instant;
            }
        }
        return null;
    }

    static DateTime? First(CronExpression calendar, DateTime from, bool inclusive) =>
        from >= LastMinute && !(inclusive && from == LastMinute) ? null : calendar.GetNextOccurrence(DateTime.SpecifyKind(from, DateTimeKind.Utc), inclusive);
}
