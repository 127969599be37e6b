using System.Numerics;

namespace Cowork.Domain;

/// <summary>
/// Finds the first time after another at which an expression comes due in a zone; null: never. An engine may bring a library along that does, which a spec
/// holds to the answers of <see cref="Cron.Own"/>.
/// </summary>
public delegate DateTimeOffset? NextTime(Cron cron, TimeZoneInfo zone, DateTimeOffset after);

/// <summary>
/// A cron expression of five fields: minute, hour, day of month, month, day of week. It means what it means to the Cronos library: all fields must fit,
/// also both fields of the day (docs/schedules.md has the grammar). It knows no clock and no zone; both are given to it.
/// </summary>
public sealed class Cron
{
    /// <summary>The calendar repeats after so many years: what has not come by then never does.</summary>
    const int CalendarYears = 400;

    readonly ulong minutes;
    readonly ulong hours;
    readonly ulong months;
    readonly DaysOfMonth daysOfMonth;
    readonly DaysOfWeek daysOfWeek;

    internal Cron(string text, ulong minutes, ulong hours, DaysOfMonth daysOfMonth, ulong months, DaysOfWeek daysOfWeek, bool isInterval)
    {
        Text = text;
        this.minutes = minutes;
        this.hours = hours;
        this.daysOfMonth = daysOfMonth;
        this.months = months;
        this.daysOfWeek = daysOfWeek;
        IsInterval = isInterval;
    }

    /// <summary>The expression as it was written.</summary>
    public string Text { get; }

    /// <summary>
    /// Minutes or hours are given as a star, a range or a step: it is about going on at a pace. The others are about times of the day, of which each comes
    /// once a day, also when the clock shows it twice.
    /// </summary>
    public bool IsInterval { get; }

    /// <summary>Next times as this class finds them.</summary>
    public static NextTime Own { get; } = static (cron, zone, after) => cron.Next(zone, after);

    /// <summary>The expression that a text is, or what is wrong with it, in words.</summary>
    public static (Cron? Cron, string? Fault) Parse(string text) => CronText.Read(text);

    /// <summary>
    /// The first time after another at which it comes due in a zone; null: never. What falls into hours that the zone's clocks leave out comes at the first
    /// instant after them. Of hours that they repeat, <see cref="IsInterval"/> says whether each comes once or twice.
    /// </summary>
    /// <param name="inclusive">The time itself counts, too.</param>
    public DateTimeOffset? Next(TimeZoneInfo zone, DateTimeOffset after, bool inclusive = false)
    {
        if (inclusive && after.UtcTicks > 0)
        {
            after = after.AddTicks(-1);
        }
        var clock = new ZoneClock(zone);
        if (clock.At(after) is not { } from)
        {
            return null;
        }
        if (clock.Repeats(from) is { } repeated)
        {
            if (after < repeated.Turn)
            {
                if (NextLocal(from, repeated.End) is { } first)
                {
                    return ZoneClock.Instant(first, repeated.Before);
                }
                from = repeated.Begin.AddTicks(-1);
            }
            if (IsInterval && NextLocal(from, repeated.End) is { } again)
            {
                return ZoneClock.Instant(again, repeated.After);
            }
            from = repeated.End.AddTicks(-1);
        }
        return NextLocal(from, DateTime.MaxValue) is { } due ? clock.First(due) : null;
    }

    /// <summary>The first matching time on a calendar without zones, after one and before another.</summary>
    DateTime? NextLocal(DateTime after, DateTime before)
    {
        if (after >= DateTime.MaxValue.AddMinutes(-2))
        {
            return null;
        }
        var from = after.AddTicks(TimeSpan.TicksPerMinute - (after.Ticks % TimeSpan.TicksPerMinute));
        var last = Math.Min(after.Year + CalendarYears, DateTime.MaxValue.Year);
        for (var month = new DateTime(from.Year, from.Month, 1); ; month = month.AddMonths(1))
        {
            if (Has(months, month.Month))
            {
                foreach (var day in Days(month))
                {
                    if (day >= from.Date && TimeOf(day, day > from.Date ? TimeSpan.Zero : from.TimeOfDay) is { } due)
                    {
                        return due < before ? due : null;
                    }
                }
            }
            if (month.Year == last && month.Month == 12)
            {
                return null;
            }
        }
    }

    IEnumerable<DateTime> Days(DateTime month)
    {
        var length = DateTime.DaysInMonth(month.Year, month.Month);
        for (var day = 1; day <= length; day++)
        {
            var date = month.AddDays(day - 1);
            if (daysOfMonth.Has(date, length) && daysOfWeek.Has(date, length))
            {
                yield return date;
            }
        }
    }

    DateTime? TimeOf(DateTime day, TimeSpan from)
    {
        for (var hour = from.Hours; (hour = FirstFrom(hours, hour)) >= 0; hour++)
        {
            if (FirstFrom(minutes, hour == from.Hours ? from.Minutes : 0) is >= 0 and var minute)
            {
                return day.AddMinutes((hour * 60) + minute);
            }
        }
        return null;
    }

    internal static bool Has(ulong set, int value) => (set >> value & 1) != 0;

    /// <summary>The least member that is not less than another; -1: there is none.</summary>
    static int FirstFrom(ulong set, int from) => set >> from is > 0 and var rest ? from + BitOperations.TrailingZeroCount(rest) : -1;

    /// <param name="Set">Days by number.</param>
    /// <param name="FromLast">Counted back from the month's last day instead; null: by number.</param>
    /// <param name="NearestWeekday">Moved off Saturday or Sunday to the nearest other day of the month.</param>
    internal sealed record DaysOfMonth(ulong Set, int? FromLast = null, bool NearestWeekday = false)
    {
        public bool Has(DateTime date, int length)
        {
            if (!NearestWeekday)
            {
                return FromLast is { } back ? date.Day == length - back : Cron.Has(Set, date.Day);
            }
            var meant = FromLast is { } before ? length - before : BitOperations.TrailingZeroCount(Set);
            return meant >= 1 && meant <= length && Nearest(date.AddDays(meant - date.Day), length) == date.Day;
        }

        static int Nearest(DateTime day, int length) => day.DayOfWeek switch
        {
            DayOfWeek.Saturday => day.Day == 1 ? 3 : day.Day - 1,
            DayOfWeek.Sunday => day.Day == length ? length - 2 : day.Day + 1,
            _ => day.Day,
        };
    }

    /// <param name="Set">0, Sunday, to 6.</param>
    /// <param name="Nth">Only the month's first to fifth such day; null: any.</param>
    /// <param name="Last">Only the month's last such day.</param>
    internal sealed record DaysOfWeek(ulong Set, int? Nth = null, bool Last = false)
    {
        public bool Has(DateTime date, int length) =>
            Cron.Has(Set, (int)date.DayOfWeek) && (Nth is not { } nth || (date.Day - 1) / 7 == nth - 1) && (!Last || date.Day + 7 > length);
    }
}
