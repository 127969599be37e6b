namespace Cowork.Application;

/// <summary>
/// What a zone's clocks show, and when. It asks the zone only for its offset at an instant, which is always one: what a local time means, when clocks are
/// set forward or back between, or a whole day is left out, follows from the offsets around it.
/// </summary>
readonly struct ZoneClock(TimeZoneInfo zone)
{
    /// <summary>More than any clock was ever off UTC, so that what happens farther away from a local time does not concern it.</summary>
    static readonly TimeSpan Wide = TimeSpan.FromHours(16);

    readonly TimeZoneInfo zone = zone;

    /// <summary>Local times that the clocks show twice, because they are set back.</summary>
    /// <param name="Turn">The instant at which they are.</param>
    /// <param name="Begin">The first of the times.</param>
    /// <param name="End">The first time after them.</param>
    /// <param name="Before">The offset until then.</param>
    /// <param name="After">The offset from then on.</param>
    public sealed record Repeated(DateTimeOffset Turn, DateTime Begin, DateTime End, TimeSpan Before, TimeSpan After);

    public static DateTimeOffset Instant(DateTime local, TimeSpan offset) => new(local - offset, TimeSpan.Zero);

    /// <summary>What the clocks show at an instant; null: what no calendar has.</summary>
    public DateTime? At(DateTimeOffset instant)
    {
        var ticks = instant.UtcTicks + zone.GetUtcOffset(instant).Ticks;
        return ticks >= 0 && ticks <= DateTime.MaxValue.Ticks ? new DateTime(ticks) : null;
    }

    /// <summary>The first instant at which the clocks show a time or, when they leave it out, one after it.</summary>
    public DateTimeOffset? First(DateTime local)
    {
        var (before, after) = Around(local);
        if (before == after)
        {
            return Fits(local, before);
        }
        var turn = Turn(local, before);
        var early = local.Ticks - before.Ticks;
        return early < turn.UtcTicks ? new(early, TimeSpan.Zero) : local.Ticks - after.Ticks >= turn.UtcTicks ? Fits(local, after) : turn;
    }

    /// <summary>The repeated times that a time is among.</summary>
    public Repeated? Repeats(DateTime local)
    {
        var (before, after) = Around(local);
        if (after >= before)
        {
            return null;
        }
        var turn = Turn(local, before);
        var repeated = new Repeated(turn, (turn + after).DateTime, (turn + before).DateTime, before, after);
        return local >= repeated.Begin && local < repeated.End ? repeated : null;
    }

    static DateTimeOffset? Fits(DateTime local, TimeSpan offset) =>
        local.Ticks - offset.Ticks is >= 0 and var ticks && ticks <= DateTime.MaxValue.Ticks ? new(ticks, TimeSpan.Zero) : null;

    (TimeSpan Before, TimeSpan After) Around(DateTime local) => (OffsetNear(local, -Wide), OffsetNear(local, Wide));

    TimeSpan OffsetNear(DateTime local, TimeSpan away) =>
        zone.GetUtcOffset(new DateTimeOffset(Math.Clamp(local.Ticks + away.Ticks, 0, DateTime.MaxValue.Ticks), TimeSpan.Zero));

    /// <summary>The instant near a local time at which the offset stops being what it was before.</summary>
    DateTimeOffset Turn(DateTime local, TimeSpan before)
    {
        var (low, high) = ((local - Wide).Ticks / TimeSpan.TicksPerSecond, (local + Wide).Ticks / TimeSpan.TicksPerSecond);
        while (high - low > 1)
        {
            var middle = low + ((high - low) / 2);
            if (zone.GetUtcOffset(new DateTimeOffset(middle * TimeSpan.TicksPerSecond, TimeSpan.Zero)) == before)
            {
                low = middle;
            }
            else
            {
                high = middle;
            }
        }
        return new(high * TimeSpan.TicksPerSecond, TimeSpan.Zero);
    }
}
