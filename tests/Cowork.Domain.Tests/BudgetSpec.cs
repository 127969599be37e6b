using Xunit;

using static Cowork.Domain.BudgetCommand;
using static Cowork.Domain.BudgetEvent;

namespace Cowork.Domain.Tests;

public sealed class BudgetSpec
{
    static readonly Spec<BudgetKey, BudgetCommand, BudgetEvent, Budget> Day = new(Budget.Aggregate);
    static readonly BudgetLimits Limits = new(1_000, 800);

    [Fact]
    public void A_call_is_reserved_and_settled_with_what_it_cost()
    {
        var state = Day.Given(Reserved(A.Run, 300)).When(new Settle(A.Run, 120, A.Morning)).Then(Settled(A.Run, 300, 120));
        Assert.Equal((120, 0, 120), (state.SpentMicroUsd, state.ReservedMicroUsd, state.UsedMicroUsd));
        Assert.Empty(state.Open);
    }

    [Theory]
    [InlineData(1_000, 700, true)] // exactly what remains
    [InlineData(999, 700, false)]
    [InlineData(0, 1, false)]      // a limit of zero pays for nothing that costs
    [InlineData(0, 0, true)]
    [InlineData(Domain.Limits.MicroUsdMax, long.MaxValue, true)] // more than an event can hold is as much as it can
    public void A_call_that_could_exceed_the_limit_is_refused(long limit, long cost, bool pays)
    {
        var day = limit == 1_000 || limit == 999 ? Day.Given(Reserved(A.OtherRun, 200), Reserved(A.ThirdRun, 150), Settled(A.ThirdRun, 150, 100)) : Day.Given();
        var outcome = day.When(Reserve(A.Run, cost, new(limit, limit + 1)));
        if (pays)
        {
            Assert.True(outcome.ThenSome().UsedMicroUsd <= limit);
        }
        else
        {
            Assert.Contains("midnight UTC", outcome.ThenRefused("budget_exceeded").Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void What_a_lost_driver_reserved_counts_as_spent_and_the_next_attempt_reserves_anew()
    {
        var state = Day.Given(Reserved(A.Run, 300)).When(Reserve(A.Run, 300, Limits, attempt: 2))
            .Then(Settled(A.Run, 300, 300, assumed: true), Reserved(A.Run, 300, attempt: 2));
        Assert.Equal((300, 300), (state.SpentMicroUsd, state.ReservedMicroUsd));
        Day.Given(Reserved(A.Run, 600)).When(Reserve(A.Run, 600, Limits, attempt: 2)).ThenRefused("budget_exceeded");
    }

    [Fact]
    public void A_call_of_unknown_cost_counts_as_all_that_was_reserved() =>
        Day.Given(Reserved(A.Run, 300)).When(new Settle(A.Run, null, A.Morning)).Then(Settled(A.Run, 300, 300, assumed: true));

    [Fact]
    public void What_is_settled_is_settled_once() =>
        Day.Given(Reserved(A.Run, 300), Settled(A.Run, 300, 10)).When(new Settle(A.Run, 10, A.Morning)).ThenNothing();

    [Fact]
    public void The_soft_limit_is_told_once_and_again_when_a_higher_one_is_reached()
    {
        var warned = new BudgetSoftLimitReached(800, 900, A.Morning);
        Day.Given(Reserved(A.OtherRun, 700)).When(Reserve(A.Run, 200, Limits)).Then(Reserved(A.Run, 200), warned);
        Day.Given(Reserved(A.OtherRun, 700), Reserved(A.ThirdRun, 200), warned).When(Reserve(A.Run, 50, Limits)).Then(Reserved(A.Run, 50));
        Day.Given(Reserved(A.OtherRun, 700), Reserved(A.ThirdRun, 200), warned).When(Reserve(A.Run, 50, new(1_000, 940)))
            .Then(Reserved(A.Run, 50), new BudgetSoftLimitReached(940, 950, A.Morning));
    }

    [Fact]
    public void A_call_that_costs_more_than_its_reservation_leaves_nothing_and_not_less()
    {
        var state = Day.Given(Reserved(A.Run, 300)).When(new Settle(A.Run, long.MaxValue, A.Morning)).ThenSome();
        Assert.Equal((Domain.Limits.MicroUsdMax, 0), (state.SpentMicroUsd, state.RemainingMicroUsd(Limits)));
        Assert.Equal(Domain.Limits.MicroUsdMax, state.UsedMicroUsd);
    }

    [Fact]
    public void A_limit_that_is_lowered_below_what_is_used_leaves_nothing() =>
        Assert.Equal(0, Day.Given(Reserved(A.Run, 300)).State.RemainingMicroUsd(new(100, 80)));

    [Fact]
    public void Limits_are_set_once()
    {
        var set = new BudgetLimitsSet(1_000, 800, A.Morning);
        Day.Given().When(new SetLimits(Limits, A.Morning)).Then(set);
        Day.Given(set).When(new SetLimits(Limits, A.Morning)).ThenNothing();
        Day.Given(set).When(new SetLimits(new(1_000, 900), A.Morning)).Then(new BudgetLimitsSet(1_000, 900, A.Morning));
    }

    [Fact]
    public void A_state_weighs_as_much_as_the_calls_under_way()
    {
        var sizeOf = Budget.Aggregate.SizeOf!;
        var day = Day.Given([.. Enumerable.Range(0, 1_000).SelectMany(_ => new BudgetEvent[] { Reserved(A.Run, 1), Settled(A.Run, 1, 1) }), Reserved(A.Run, 1)]).State;
        Assert.Equal(sizeOf(Day.Given(Reserved(A.Run, 1)).State), sizeOf(day));
        Assert.Equal(0, sizeOf(Day.Given().State));
    }

    [Fact]
    public void A_day_ends_at_midnight_utc()
    {
        var late = new DateTimeOffset(2026, 1, 1, 23, 59, 59, 999, TimeSpan.Zero);
        Assert.Equal(("20260101", "20260102"), (BudgetKey.Of(late).Value, BudgetKey.Of(late.AddMilliseconds(1)).Value));
        Assert.Equal("20260101", BudgetKey.Of(late.ToOffset(TimeSpan.FromHours(9))).Value);
    }

    static Reserve Reserve(RunKey run, long cost, BudgetLimits limits, int attempt = 1) => new(new(run, 2, attempt, "m", 10, 20, cost), limits, A.Morning);

    static BudgetReserved Reserved(RunKey run, long cost, int attempt = 1) => new(run, 2, attempt, "m", 10, 20, cost, A.Morning);

    static BudgetSettled Settled(RunKey run, long reserved, long spent, bool? assumed = null) => new(run, 2, 1, reserved, spent, A.Morning, assumed);
}
