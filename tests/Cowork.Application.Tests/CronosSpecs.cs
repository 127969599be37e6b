using Cowork.Domain;
using Cowork.Testing;

using Cronos;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Next times are those that the Cronos library finds in a zone, but for instants that .NET's zone contradicts itself about.</summary>
public sealed class CronosSpecs(ITestOutputHelper output)
{
    static readonly int Triples = Seeds.Chaos ? 500_000 : 10_000;

    static readonly string[] Months = ["JAN", "feb", "Mar", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    static readonly string[] Days = ["SUN", "mon", "Tue", "WED", "THU", "FRI", "SAT"];
    static readonly string[] Macros = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@every_minute"];

    readonly Dictionary<(string Zone, int Year), List<DateTimeOffset>> changes = [];

    [Fact]
    public void The_library_finds_the_same_next_time()
    {
        var seed = Seeds.One(20261125);
        var random = new Random(seed);
        var zones = TimeZoneInfo.GetSystemTimeZones();
        var differences = new List<string>();
        var (near, past, contradictions) = (0, 0, 0);
        for (var i = 0; i < Triples; i++)
        {
            var zone = zones[random.Next(zones.Count)];
            var after = Instant(random, zone, ref near);
            var (cron, fault) = Cron.Parse(Expression(random));
            Assert.Null(fault);
            var (ours, theirs) = (CronTimes.Next(cron!, zone, after), CronExpression.Parse(cron!.Text).GetNextOccurrence(after, zone));
            Assert.True(ours is null || ours > after, $"\"{cron.Text}\" in {zone.Id} after {after.UtcDateTime:O}: {ours:O}");
            if (ours == theirs)
            {
                continue;
            }
            if (theirs <= after)
            {
                past++;
                continue;
            }
            if (Contradicts(zone, ours) || Contradicts(zone, theirs))
            {
                contradictions++;
                continue;
            }
            differences.Add($"\"{cron.Text}\" in {zone.Id} after {after.UtcDateTime:O}: {ours:O}, the library {theirs:O}");
        }
        output.WriteLine($"{near} near a change of clocks, {contradictions} where .NET's zone contradicts itself, {past} that the library finds in the past");
        Assert.True(differences.Count == 0, $"seed {seed}, {differences.Count} differences:\n{string.Join('\n', differences.Take(20))}");
        Assert.InRange(near, Triples / 20, Triples);
        Assert.InRange(past + contradictions, 0, Triples / 1_000);
    }

    /// <summary>
    /// Around some changes of clocks, most of them long ago, .NET says of a local time that it is left out or comes twice, or that its offset is one, where its
    /// own offsets of instants say otherwise. The library asks for the one, <see cref="CronTimes"/> for the other, so that neither can be measured by the other there.
    /// </summary>
    static bool Contradicts(TimeZoneInfo zone, DateTimeOffset? at)
    {
        if (at is not { } some)
        {
            return false;
        }
        var shown = some.UtcDateTime + zone.GetUtcOffset(some);
        for (var minutes = -26 * 60; minutes <= 26 * 60; minutes += 5)
        {
            var local = DateTime.SpecifyKind(shown.AddMinutes(minutes), DateTimeKind.Unspecified);
            var offsets = Enumerable.Range(-30, 61).Select(hours => zone.GetUtcOffset(new DateTimeOffset(local.AddHours(hours), TimeSpan.Zero)))
                .Distinct().Where(offset => zone.GetUtcOffset(new DateTimeOffset(local - offset, TimeSpan.Zero)) == offset).ToList();
            if (zone.IsInvalidTime(local) != (offsets.Count == 0) || zone.IsAmbiguousTime(local) != (offsets.Count > 1)
                || (offsets.Count == 1 && zone.GetUtcOffset(local) != offsets[0]))
            {
                return true;
            }
        }
        return false;
    }

    /// <summary>Any time, or every other time one in the day before a change of the zone's clocks.</summary>
    DateTimeOffset Instant(Random random, TimeZoneInfo zone, ref int near)
    {
        var year = random.Next(10) == 0 ? random.Next(1901, 1970) : random.Next(1970, 2060);
        var begin = new DateTimeOffset(year, 1, 1, 0, 0, 0, TimeSpan.Zero);
        var at = begin.AddSeconds(random.NextInt64(366L * 86_400));
        if (random.Next(2) == 0 && Changes(zone, begin) is [_, ..] all)
        {
            near++;
            at = all[random.Next(all.Count)].AddSeconds(-random.Next(30 * 3_600));
        }
        return random.Next(3) == 0 ? at.AddTicks(random.Next((int)TimeSpan.TicksPerSecond)) : at;
    }

    /// <summary>The days of a year at whose end the zone's offset is another than at their beginning.</summary>
    List<DateTimeOffset> Changes(TimeZoneInfo zone, DateTimeOffset begin)
    {
        if (!changes.TryGetValue((zone.Id, begin.Year), out var found))
        {
            changes.Add((zone.Id, begin.Year), found = []);
            var last = zone.GetUtcOffset(begin);
            // Weeks first. A change that is undone within a week is not sought out.
            for (var week = 7; week <= 371; week += 7)
            {
                if (zone.GetUtcOffset(begin.AddDays(week)) == last)
                {
                    continue;
                }
                for (var day = week - 6; day <= Math.Min(week, 366); day++)
                {
                    var now = zone.GetUtcOffset(begin.AddDays(day));
                    if (now != last)
                    {
                        found.Add(begin.AddDays(day));
                        last = now;
                    }
                }
            }
        }
        return found;
    }

    static string Expression(Random random) => random.Next(60) == 0
        ? Macros[random.Next(Macros.Length)]
        : string.Join(
            random.Next(20) == 0 ? "  " : " ", Field(random, 0, 59, 12), Field(random, 0, 23, 6), DayOfMonth(random), Named(random, Field(random, 1, 12, 4), Months, 1),
            DayOfWeek(random));

    static string DayOfMonth(Random random) => random.Next(10) switch
    {
        0 => "L",
        1 => "LW",
        2 => $"L-{random.Next(31)}",
        3 => $"{random.Next(1, 32)}W",
        4 => $"L-{random.Next(31)}W",
        5 => "?",
        6 or 7 => "*",
        _ => Field(random, 1, 31, 8),
    };

    static string DayOfWeek(Random random) => random.Next(8) switch
    {
        0 => $"{random.Next(8)}L",
        1 => $"{random.Next(8)}#{random.Next(1, 6)}",
        2 => "?",
        3 or 4 => "*",
        _ => Named(random, Field(random, 0, 7, 3), Days, 0),
    };

    static string Field(Random random, int low, int high, int listMax) => random.Next(9) switch
    {
        0 or 1 => "*",
        2 => $"*/{random.Next(1, high + 1)}",
        3 => Range(random, low, high),
        4 => $"{Range(random, low, high)}/{random.Next(1, high + 1)}",
        5 => $"{random.Next(low, high + 1)}/{random.Next(1, high + 1)}",
        6 => string.Join(',', Enumerable.Range(0, random.Next(2, listMax)).Select(_ => random.Next(3) == 0 ? Range(random, low, high) : $"{random.Next(low, high + 1)}")),
        _ => $"{random.Next(low, high + 1)}",
    };

    static string Range(Random random, int low, int high) => $"{random.Next(low, high + 1)}-{random.Next(low, high + 1)}";

    static string Named(Random random, string field, string[] names, int first) =>
        random.Next(3) == 0 && int.TryParse(field, out var one) ? names[(one - first) % names.Length] : field;
}
