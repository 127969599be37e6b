using Xunit;

namespace Cowork.Domain.Tests;

/// <summary>What is a cron expression, and what is said of a text that is none. When an expression comes due is in CronTimesSpecs.</summary>
public sealed class CronSpec
{
    [Theory]
    [InlineData("* 1 * * *", true)]
    [InlineData("0 * * * *", true)]
    [InlineData("0 ? * * *", true)]
    [InlineData("0,5 0/10 1 * *", true)]
    [InlineData("0-5 1 * * *", true)]
    [InlineData("30 1 * * *", false)]
    [InlineData("0,45 1,2 * * *", false)]
    [InlineData("0 9 1-7 */2 MON-FRI", false)] // stars, ranges and steps of days do not count
    public void What_goes_on_at_a_pace(string expression, bool isInterval) => Assert.Equal(isInterval, Read(expression).IsInterval);

    [Theory]
    [InlineData("", "this one has 0")]
    [InlineData("* * * *", "this one has 4")]
    [InlineData("* * * * * *", "this one has 6")]
    [InlineData("0 0 1 1 * 2026", "this one has 6")]
    [InlineData("60 * * * *", "60 is not from 0 to 59")]
    [InlineData("* 24 * * *", "24 is not from 0 to 23")]
    [InlineData("* * 0 * *", "0 is not from 1 to 31")]
    [InlineData("* * 32 * *", "32 is not from 1 to 31")]
    [InlineData("* * * 0 *", "0 is not from 1 to 12")]
    [InlineData("* * * 13 *", "13 is not from 1 to 12")]
    [InlineData("* * * * 8", "8 is not from 0 to 7")]
    [InlineData("001 * * * *", "001 is not from 0 to 59")]
    [InlineData("-1 * * * *", "a number is wanted before \"-1\"")]
    [InlineData("1.5 * * * *", "\".5\" cannot stand there")]
    [InlineData("*/0 * * * *", "0 is not from 1 to 59")]
    [InlineData("*/60 * * * *", "60 is not from 1 to 59")]
    [InlineData("* */24 * * *", "24 is not from 1 to 23")]
    [InlineData("*/ * * * *", "a number is wanted at its end")]
    [InlineData("5- * * * *", "a number is wanted at its end")]
    [InlineData("5-70 * * * *", "70 is not from 0 to 59")]
    [InlineData("1, * * * *", "a number is wanted at its end")]
    [InlineData(",1 * * * *", "a number is wanted before \",1\"")]
    [InlineData("*,5 * * * *", "\",5\" cannot stand there")]
    [InlineData("5,* * * * *", "a number is wanted before \"*\"")]
    [InlineData("1-5-9 * * * *", "\"-9\" cannot stand there")]
    [InlineData("** * * * *", "\"*\" cannot stand there")]
    [InlineData("H * * * *", "\"H\" is no value")]
    [InlineData("L * * * *", "\"L\" is no value")]
    [InlineData("MON * * * *", "\"MON\" is no value")]
    [InlineData("* * * JANUARY *", "\"UARY\" cannot stand there")]
    [InlineData("* * * * MONDAY", "\"DAY\" cannot stand there")]
    [InlineData("* * * * JAN", "\"JAN\" is no value")]
    [InlineData("* * * * L", "\"L\" is no value")]
    [InlineData("* * * * MON#0", "0 is not from 1 to 5")]
    [InlineData("* * * * MON#6", "6 is not from 1 to 5")]
    [InlineData("* * * * MON#", "a number is wanted at its end")]
    [InlineData("* * * * MON#1,TUE#2", "\",TUE#2\" cannot stand there")]
    [InlineData("* * * * MON-FRIL", "\"L\" cannot stand there")]
    [InlineData("* * L-31 * *", "31 is not from 0 to 30")]
    [InlineData("* * L,15 * *", "\",15\" cannot stand there")]
    [InlineData("* * 15W,16 * *", "\",16\" cannot stand there")]
    [InlineData("* * 1-5W * *", "\"W\" cannot stand there")]
    [InlineData("* * W * *", "\"W\" is no value")]
    [InlineData("* * 15WL * *", "\"L\" cannot stand there")]
    [InlineData("0 0 1\n1 *", "this one has 4")]
    [InlineData("１ * * * *", "a number is wanted before \"１\"")] // a digit, but not of ASCII
    [InlineData("@every_second", "There is no @every_second")]
    [InlineData("@reboot", "There is no @reboot")]
    [InlineData("@daily 5", "There is no @daily 5")]
    [InlineData("@", "There is no @;")]
    public void What_is_no_expression_is_refused_in_words(string text, string words)
    {
        var (cron, fault) = Cron.Parse(text);
        Assert.Null(cron);
        Assert.Contains(words, fault);
    }

    [Fact]
    public void A_text_without_end_is_refused()
    {
        Assert.NotNull(Cron.Parse(string.Join(',', Enumerable.Repeat("1", 1_000)) + " * * * *").Fault);
        // What says each value of each field is none.
        var all = string.Join(' ', new[] { (0, 60), (0, 24), (1, 31), (1, 12), (0, 8) }.Select(f => string.Join(',', Enumerable.Range(f.Item1, f.Item2))));
        Assert.Equal(A.Morning.AddMinutes(1), A.NextTime(Read(all), TimeZoneInfo.Utc, A.Morning));
    }

    static Cron Read(string expression)
    {
        var (cron, fault) = Cron.Parse(expression);
        Assert.Null(fault);
        return cron!;
    }
}
