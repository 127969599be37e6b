using System.Globalization;

using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>
/// When an expression comes due: after the second column the times of the third, one after the other. Times are UTC, <c>month-day hour:minute</c>, in the
/// year that was named last; the values follow from a calendar and from the zones' laws.
/// </summary>
public sealed class CronTimesSpecs
{
    static readonly DateTimeOffset Nine = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    /// <summary>2026 begins on a Thursday. February, March and November begin on a Sunday, August on a Saturday.</summary>
    public static TheoryData<string, string, string> Calendar => Table(
        """
        * * * * *              | 2026-01-01 09:00 | 01-01 09:01, 01-01 09:02
        0 9 * * *              | 2026-01-01 09:00 | 01-02 09:00, 01-03 09:00
        59 23 31 12 *          | 2026-12-31 23:59 | 2027-12-31 23:59
        */15 * * * *           | 2026-01-01 09:00 | 01-01 09:15, 01-01 09:30, 01-01 09:45, 01-01 10:00
        3/15 9 * * *           | 2026-01-01 00:00 | 01-01 09:03, 01-01 09:18, 01-01 09:33, 01-01 09:48, 01-02 09:03
        */24 0 * * *           | 2026-01-01 00:00 | 01-01 00:24, 01-01 00:48, 01-02 00:00
        10-40/15 0 * * *       | 2026-01-01 00:00 | 01-01 00:10, 01-01 00:25, 01-01 00:40, 01-02 00:10
        0,7,30 12 * * *        | 2026-01-01 00:00 | 01-01 12:00, 01-01 12:07, 01-01 12:30, 01-02 12:00
        0 3,5-11/3,12 * * *    | 2026-01-01 00:00 | 01-01 03:00, 01-01 05:00, 01-01 08:00, 01-01 11:00, 01-01 12:00
        0 0 1 * *              | 2026-01-31 00:00 | 02-01 00:00, 03-01 00:00
        0 0 31 * *             | 2026-01-31 00:00 | 03-31 00:00, 05-31 00:00, 07-31 00:00, 08-31 00:00
        0 9 * JaN-mAr wEd      | 2026-01-01 00:00 | 01-07 09:00, 01-14 09:00
        0 0 1 jan,JUL *        | 2026-02-01 00:00 | 07-01 00:00, 2027-01-01 00:00
        0 0 ? * ?              | 2026-01-01 00:00 | 01-02 00:00
          0	0   1 * *          | 2026-01-15 00:00 | 02-01 00:00

        0 0 * * 0              | 2026-01-01 00:00 | 01-04 00:00, 01-11 00:00
        0 0 * * 7              | 2026-01-01 00:00 | 01-04 00:00, 01-11 00:00
        0 0 * * SUN            | 2026-01-01 00:00 | 01-04 00:00, 01-11 00:00
        0 0 * * MON-FRI        | 2026-01-01 00:00 | 01-02 00:00, 01-05 00:00, 01-06 00:00
        0 0 * * */2            | 2026-01-01 00:00 | 01-03 00:00, 01-04 00:00, 01-06 00:00, 01-08 00:00
        0 0 * * 1/2            | 2026-01-01 00:00 | 01-02 00:00, 01-04 00:00, 01-05 00:00, 01-07 00:00
        0 0 * * 5-7            | 2026-01-01 00:00 | 01-02 00:00, 01-03 00:00, 01-04 00:00, 01-09 00:00

        0 22-1 * * *           | 2026-01-01 00:00 | 01-01 01:00, 01-01 22:00, 01-01 23:00, 01-02 00:00, 01-02 01:00
        50-10/10 12 * * *      | 2026-01-01 00:00 | 01-01 12:00, 01-01 12:10, 01-01 12:50
        55-5/3 12 * * *        | 2026-01-01 00:00 | 01-01 12:01, 01-01 12:04, 01-01 12:55, 01-01 12:58
        30,45-15/2 1 * * *     | 2026-01-01 01:14 | 01-01 01:15, 01-01 01:30, 01-01 01:45, 01-01 01:47
        0 0 1 nov-feb *        | 2026-01-15 00:00 | 02-01 00:00, 11-01 00:00, 12-01 00:00, 2027-01-01 00:00
        0 0 28-3/2 * *         | 2026-01-27 00:00 | 01-28 00:00, 01-30 00:00, 02-01 00:00, 02-03 00:00, 02-28 00:00, 03-01 00:00
        0 0 * * FRI-MON        | 2026-01-01 00:00 | 01-02 00:00, 01-03 00:00, 01-04 00:00, 01-05 00:00, 01-09 00:00
        0 0 * * 7-1            | 2026-01-01 00:00 | 01-04 00:00, 01-05 00:00, 01-11 00:00
        0 0 * * 7-3/2          | 2026-01-01 00:00 | 01-06 00:00, 01-13 00:00, 01-20 00:00

        0 0 L * *              | 2026-01-01 00:00 | 01-31 00:00, 02-28 00:00, 03-31 00:00, 04-30 00:00
        0 0 l-3 * *            | 2026-01-01 00:00 | 01-28 00:00, 02-25 00:00, 03-28 00:00
        0 0 L-0 * *            | 2026-01-01 00:00 | 01-31 00:00
        0 0 L-29 * *           | 2026-01-01 00:00 | 01-02 00:00, 03-02 00:00, 04-01 00:00
        0 0 LW * *             | 2026-01-01 00:00 | 01-30 00:00, 02-27 00:00, 03-31 00:00, 04-30 00:00, 05-29 00:00
        0 0 L-1W * *           | 2026-05-01 00:00 | 05-29 00:00, 06-29 00:00
        0 0 15W * *            | 2026-01-01 00:00 | 01-15 00:00, 02-16 00:00, 03-16 00:00
        0 0 15w 8 *            | 2026-01-01 00:00 | 08-14 00:00, 2027-08-16 00:00
        0 0 15W * *            | 2026-02-15 12:00 | 02-16 00:00
        0 0 1W * *             | 2026-01-31 00:00 | 02-02 00:00, 03-02 00:00, 04-01 00:00
        0 0 1W 8 *             | 2026-01-01 00:00 | 08-03 00:00
        0 0 31W * *            | 2026-01-01 00:00 | 01-30 00:00, 03-31 00:00, 05-29 00:00
        0 0 15W * MON          | 2026-01-01 00:00 | 02-16 00:00, 03-16 00:00
        0 0 * * 5L             | 2026-01-01 00:00 | 01-30 00:00, 02-27 00:00, 03-27 00:00
        0 0 * * friL           | 2026-01-01 00:00 | 01-30 00:00, 02-27 00:00, 03-27 00:00
        0 0 * * 7L             | 2026-01-01 00:00 | 01-25 00:00, 02-22 00:00, 03-29 00:00
        0 0 * * MON#2          | 2026-01-01 00:00 | 01-12 00:00, 02-09 00:00, 03-09 00:00
        0 0 * * 1#5            | 2026-01-01 00:00 | 03-30 00:00, 06-29 00:00
        0 0 * * 7#1            | 2026-01-01 00:00 | 01-04 00:00, 02-01 00:00, 03-01 00:00
        0 0 13 * FRI           | 2026-01-01 00:00 | 02-13 00:00, 03-13 00:00, 11-13 00:00
        0 0 L * FRI            | 2026-01-01 00:00 | 07-31 00:00, 2027-04-30 00:00
        0 0 1-7 * MON          | 2026-01-01 00:00 | 01-05 00:00, 02-02 00:00, 03-02 00:00

        0 0 29 2 *             | 2026-01-01 00:00 | 2028-02-29 00:00, 2032-02-29 00:00
        0 0 29 2 *             | 2096-02-29 00:00 | 2104-02-29 00:00
        0 0 29 2 MON           | 2026-01-01 00:00 | 2044-02-29 00:00
        0 0 L 2 *              | 2026-01-01 00:00 | 02-28 00:00, 2027-02-28 00:00, 2028-02-29 00:00
        0 0 L-28 2 *           | 2026-01-01 00:00 | 2028-02-01 00:00

        @yearly                | 2026-01-01 00:00 | 2027-01-01 00:00
        @Annually              | 2026-01-01 00:00 | 2027-01-01 00:00
        @monthly               | 2026-01-01 00:00 | 02-01 00:00
        @WEEKLY                | 2026-01-01 00:00 | 01-04 00:00
        @daily                 | 2026-01-01 00:00 | 01-02 00:00
        @midnight              | 2026-01-01 00:00 | 01-02 00:00
        @hourly                | 2026-01-01 00:00 | 01-01 01:00
        @every_minute          | 2026-01-01 00:00 | 01-01 00:01
        """);

    [Theory]
    [MemberData(nameof(Calendar))]
    public void An_expression_comes_due_by_the_calendar(string expression, string after, string times) => Comes(expression, "UTC", after, times);

    public static TheoryData<string, string, string> Berlin => Table(
        """
        0 9 * * MON            | 2026-03-22 12:00 | 03-23 08:00, 03-30 07:00
        30 2 * * *             | 2026-03-27 12:00 | 03-28 01:30, 03-29 01:00, 03-30 00:30
        15,45 2 * * *          | 2026-03-28 12:00 | 03-29 01:00, 03-30 00:15, 03-30 00:45
        */20 2 * * *           | 2026-03-28 12:00 | 03-29 01:00, 03-30 00:00, 03-30 00:20
        0,30 2,3 * * *         | 2026-03-28 12:00 | 03-29 01:00, 03-29 01:30, 03-30 00:00
        */30 * * * *           | 2026-03-29 00:00 | 03-29 00:30, 03-29 01:00, 03-29 01:30
        15,45 * * * *          | 2026-03-29 00:30 | 03-29 00:45, 03-29 01:00, 03-29 01:15

        30 2 * * *             | 2026-10-24 12:00 | 10-25 00:30, 10-26 01:30
        30 2 * * *             | 2026-10-25 00:30 | 10-26 01:30
        30 2 * * *             | 2026-10-25 01:00 | 10-26 01:30
        0 2 * * *              | 2026-10-24 12:00 | 10-25 00:00, 10-26 01:00
        0 3 * * *              | 2026-10-24 12:00 | 10-25 02:00, 10-26 02:00
        15,45 2 * * *          | 2026-10-24 12:00 | 10-25 00:15, 10-25 00:45, 10-26 01:15
        0 */2 * * *            | 2026-10-24 21:00 | 10-24 22:00, 10-25 00:00, 10-25 01:00, 10-25 03:00
        */10 * * * *           | 2026-10-25 00:35 | 10-25 00:40, 10-25 00:50, 10-25 01:00, 10-25 01:10
        */10 * * * *           | 2026-10-25 01:35 | 10-25 01:40, 10-25 01:50, 10-25 02:00, 10-25 02:10
        30 2-2 * * *           | 2026-10-24 12:00 | 10-25 00:30, 10-25 01:30, 10-26 01:30
        """);

    [Theory]
    [MemberData(nameof(Berlin))]
    public void In_Berlin_clocks_go_forward_on_March_29_and_back_on_October_25_at_one_UTC(string expression, string after, string times) =>
        Comes(expression, "Europe/Berlin", after, times);

    public static TheoryData<string, string, string> NewYork => Table(
        """
        0 9 * * MON            | 2026-03-01 00:00 | 03-02 14:00, 03-09 13:00
        30 2 * * *             | 2026-03-07 12:00 | 03-08 07:00, 03-09 06:30
        30 1 * * *             | 2026-10-31 12:00 | 11-01 05:30, 11-02 06:30
        30 * * * *             | 2026-11-01 05:00 | 11-01 05:30, 11-01 06:30, 11-01 07:30
        0 2 * * *              | 2026-10-31 12:00 | 11-01 07:00, 11-02 07:00
        59 1 * * *             | 2026-11-01 06:30 | 11-02 06:59
        0 0 1 * *              | 2026-10-15 00:00 | 11-01 04:00, 12-01 05:00
        """);

    [Theory]
    [MemberData(nameof(NewYork))]
    public void In_New_York_clocks_go_forward_on_March_8_at_seven_UTC_and_back_on_November_1_at_six(string expression, string after, string times) =>
        Comes(expression, "America/New_York", after, times);

    public static TheoryData<string, string, string> LordHowe => Table(
        """
        0 9 * * *              | 2026-04-03 00:00 | 04-03 22:00, 04-04 22:30
        */10 * * * *           | 2026-04-04 14:40 | 04-04 14:50, 04-04 15:00, 04-04 15:10, 04-04 15:20, 04-04 15:30
        45 1 * * *             | 2026-04-04 00:00 | 04-04 14:45, 04-05 15:15
        45 * * * *             | 2026-04-04 14:00 | 04-04 14:45, 04-04 15:15, 04-04 16:15
        15 2 * * *             | 2026-10-03 00:00 | 10-03 15:30, 10-04 15:15
        0 2 * * *              | 2026-10-03 00:00 | 10-03 15:30, 10-04 15:00
        */10 * * * *           | 2026-10-03 15:10 | 10-03 15:20, 10-03 15:30, 10-03 15:40
        """);

    [Theory]
    [MemberData(nameof(LordHowe))]
    public void On_Lord_Howe_summer_time_is_half_an_hour(string expression, string after, string times) => Comes(expression, "Australia/Lord_Howe", after, times);

    /// <summary>After 2011-12-29 24:00, ten hours behind UTC, it was 2011-12-31 00:00, fourteen hours ahead of it.</summary>
    public static TheoryData<string, string, string> Apia => Table(
        """
        0 12 * * *             | 2011-12-28 22:00 | 12-29 22:00, 12-30 10:00, 12-30 22:00
        0 0 * * *              | 2011-12-29 00:00 | 12-29 10:00, 12-30 10:00, 12-31 10:00
        0 * * * *              | 2011-12-30 08:30 | 12-30 09:00, 12-30 10:00, 12-30 11:00
        0 9 30 12 *            | 2011-12-01 00:00 | 12-30 10:00, 2012-12-29 19:00
        0 9 * * FRI            | 2011-12-23 00:00 | 12-23 19:00, 12-30 10:00, 2012-01-05 19:00
        """);

    [Theory]
    [MemberData(nameof(Apia))]
    public void In_Apia_a_day_was_left_out(string expression, string after, string times) => Comes(expression, "Pacific/Apia", after, times);

    public static TheoryData<string, string, string, string> Elsewhere => Table4(
        """
        0 9 * * *   | Asia/Kathmandu    | 2026-01-01 00:00 | 01-01 03:15, 01-02 03:15
        30 1 * * *  | Europe/Dublin     | 2026-03-28 12:00 | 03-29 01:00, 03-30 00:30
        30 1 * * *  | Europe/Dublin     | 2026-10-24 12:00 | 10-25 00:30, 10-26 01:30
        30 1 * * *  | Europe/Dublin     | 2026-10-25 00:10 | 10-25 00:30, 10-26 01:30
        0 * * * *   | Europe/Dublin     | 2026-10-24 23:30 | 10-25 00:00, 10-25 01:00, 10-25 02:00
        0 * * * *   | Europe/Dublin     | 2017-03-26 00:26 | 03-26 01:00, 03-26 02:00
        * * * * *   | Europe/Dublin     | 2009-10-25 01:07 | 10-25 01:08, 10-25 01:09
        0 * * * *   | Africa/Casablanca | 2024-03-10 01:10 | 03-10 02:00, 03-10 03:00, 03-10 04:00
        30 2 * * *  | Africa/Casablanca | 2024-04-13 03:00 | 04-14 02:00, 04-15 01:30
        30 * * * *  | America/Caracas   | 2007-12-09 05:45 | 12-09 06:30, 12-09 07:00, 12-09 08:00
        0 0 * * *   | America/Sao_Paulo | 2018-11-03 12:00 | 11-04 03:00, 11-05 02:00
        30 1 * * *  | Antarctica/Troll  | 2026-03-28 12:00 | 03-29 01:00, 03-29 23:30
        0 * * * *   | Antarctica/Troll  | 2026-10-24 23:30 | 10-25 00:00, 10-25 01:00, 10-25 02:00, 10-25 03:00
        30 2 * * *  | Antarctica/Troll  | 2026-10-24 12:00 | 10-25 00:30, 10-26 02:30
        0 12 * * *  | Etc/GMT+12        | 2026-01-01 12:00 | 01-02 00:00
        0 12 * * *  | Pacific/Kiritimati | 2026-01-01 12:00 | 01-01 22:00
        0 9 29 2 *  | Asia/Tokyo        | 2026-01-01 00:00 | 2028-02-29 00:00
        """);

    [Theory]
    [MemberData(nameof(Elsewhere))]
    public void Other_zones_have_other_laws(string expression, string zone, string after, string times) => Comes(expression, zone, after, times);

    [Theory]
    [InlineData("0 0 30 2 *")]
    [InlineData("0 0 31 4,6,9,11 *")]
    [InlineData("0 0 1 * MON#2")] // the second Monday is never the first
    [InlineData("0 0 8 * SUN#1")]
    [InlineData("0 0 31W 2 *")]
    [InlineData("0 0 L-30 2 *")]
    [InlineData("0 0 30 2 MON#5")]
    public void What_no_calendar_has_never_comes_due(string expression)
    {
        Assert.Null(Next(expression, "UTC", Nine));
        Assert.Null(Next(expression, "Europe/Berlin", Nine));
    }

    [Fact]
    public void Nothing_comes_due_after_the_last_year_of_the_calendar()
    {
        Assert.Null(Next("* * * * *", "UTC", DateTimeOffset.MaxValue));
        Assert.Null(Next("* * * * *", "Asia/Tokyo", DateTimeOffset.MaxValue));
        Assert.Null(Next("0 0 29 2 *", "UTC", new(9999, 1, 1, 0, 0, 0, TimeSpan.Zero)));
        Assert.Equal(new(9999, 12, 31, 23, 59, 0, TimeSpan.Zero), Next("* * * * *", "UTC", new(9999, 12, 31, 23, 58, 59, TimeSpan.Zero)));
        Assert.Null(Next("* * * * *", "UTC", new(9999, 12, 31, 23, 59, 0, TimeSpan.Zero)));
        Assert.Equal(new(1, 1, 1, 0, 1, 0, TimeSpan.Zero), Next("* * * * *", "UTC", DateTimeOffset.MinValue));
    }

    /// <summary>West of Greenwich the clocks still show the year 0 when UTC begins, and east of it they show the year 10000 before UTC ends.</summary>
    [Theory]
    [InlineData("@daily", "Etc/GMT+12", "0001-01-01T00:00:00Z", "0001-01-01T12:00:00Z")]
    [InlineData("@daily", "Etc/GMT-12", "0001-01-01T00:00:00Z", "0001-01-01T12:00:00Z")]
    [InlineData("@daily", "Europe/Berlin", "0001-01-01T00:00:00Z", "0001-01-01T23:06:00Z")] // local mean time, by whole minutes in .NET
    [InlineData("@daily", "Europe/Berlin", "9999-12-31T23:59:59Z", null)]
    [InlineData("* * * * *", "Etc/GMT+12", "9999-12-31T23:58:59Z", "9999-12-31T23:59:00Z")]
    [InlineData("* * * * *", "Etc/GMT+12", "9999-12-31T23:59:59Z", null)]
    [InlineData("* * * * *", "Etc/GMT-12", "9999-12-31T11:58:59Z", "9999-12-31T11:59:00Z")]
    [InlineData("* * * * *", "Etc/GMT-12", "9999-12-31T12:00:00Z", null)]
    public void The_calendar_begins_and_ends_by_the_zones_clocks(string expression, string zone, string after, string? next) =>
        Assert.Equal(next is null ? null : At(next), Next(expression, zone, At(after)));

    [Fact]
    public void Every_answer_in_every_zone_at_both_ends_of_the_calendar_is_after_the_question()
    {
        foreach (var zone in TimeZoneInfo.GetSystemTimeZones())
        {
            foreach (var expression in (string[])["* * * * *", "59 23 31 12 *", "0 0 1 1 *", "30 2 * * *", "0 */5 LW * *"])
            {
                for (var hours = 0; hours <= 60; hours += 3)
                {
                    foreach (var after in (DateTimeOffset[])[DateTimeOffset.MinValue.AddHours(hours), DateTimeOffset.MaxValue.AddHours(-hours)])
                    {
                        var next = CronTimes.Next(Read(expression), zone, after);
                        Assert.True(next is null || next > after, $"{expression} in {zone.Id} after {after:O}: {next:O}");
                    }
                }
            }
        }
    }

    [Fact]
    public void The_time_itself_does_not_count()
    {
        Assert.Equal(Nine, Next("0 9 * * *", "UTC", Nine.AddMilliseconds(-1)));
        Assert.Equal(Nine.AddDays(1), Next("0 9 * * *", "UTC", Nine));
        Assert.Equal(Nine.AddDays(1), Next("0 9 * * *", "UTC", Nine.AddMilliseconds(1)));
        // Neither does an instant that only stands for a time that the clocks left out.
        var gap = new DateTimeOffset(2026, 3, 29, 1, 0, 0, TimeSpan.Zero);
        Assert.Equal(gap, Next("30 2 * * *", "Europe/Berlin", gap.AddTicks(-1)));
        Assert.Equal(gap.AddHours(23.5), Next("30 2 * * *", "Europe/Berlin", gap));
    }

    [Fact]
    public void Times_are_answered_in_UTC_however_they_are_asked_for()
    {
        var next = Next("0 9 * * *", "Europe/Berlin", new(2026, 7, 1, 9, 0, 0, TimeSpan.FromHours(2)));
        Assert.Equal((new DateTime(2026, 7, 2, 7, 0, 0), TimeSpan.Zero), (next!.Value.DateTime, next.Value.Offset));
    }

    static void Comes(string expression, string zone, string after, string times)
    {
        var at = Time(after, 0);
        foreach (var expected in times.Split(", "))
        {
            var next = Next(expression, zone, at);
            Assert.Equal(Time(expected, at.Year), next);
            at = next!.Value;
        }
    }

    static DateTimeOffset Time(string text, int year) =>
        DateTimeOffset.ParseExact(text.Length == 16 ? text : $"{year}-{text}", "yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);

    static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);

    static DateTimeOffset? Next(string expression, string zone, DateTimeOffset after) =>
        CronTimes.Next(Read(expression), TimeZoneInfo.FindSystemTimeZoneById(zone), after);

    static Cron Read(string expression)
    {
        var (cron, fault) = Cron.Parse(expression);
        Assert.Null(fault);
        return cron!;
    }

    static TheoryData<string, string, string> Table(string rows)
    {
        var cases = new TheoryData<string, string, string>();
        foreach (var row in Rows(rows))
        {
            cases.Add(row[0], row[1], row[2]);
        }
        return cases;
    }

    static TheoryData<string, string, string, string> Table4(string rows)
    {
        var cases = new TheoryData<string, string, string, string>();
        foreach (var row in Rows(rows))
        {
            cases.Add(row[0], row[1], row[2], row[3]);
        }
        return cases;
    }

    static IEnumerable<string[]> Rows(string rows) => rows.Split('\n').Where(r => r.Length > 0).Select(r => r.Split('|', StringSplitOptions.TrimEntries));
}
