using System.Collections.Immutable;

using static Cowork.Domain.BudgetCommand;
using static Cowork.Domain.BudgetEvent;

namespace Cowork.Domain;

/// <summary>The key of a stream of a tenant's budget: a UTC day (<c>20260101</c>), or that of the limits. Clients see it in the names of streams only.</summary>
public readonly record struct BudgetKey(string Value) : IStreamKey
{
    /// <summary>The one stream that holds what an administrator set.</summary>
    public static BudgetKey Limits { get; } = new("limits");

    /// <summary>The day in which a call of a model is reserved and settled.</summary>
    public static BudgetKey Of(DateTimeOffset at) => new(DayKey.Of(at).Value);
}

/// <summary>What the calls of models with a price may cost in a UTC day, in micro-USD.</summary>
/// <param name="DailyMicroUsd">No call is made that could bring the day above it.</param>
/// <param name="SoftMicroUsd">A warning is in the log when reservations reach it.</param>
public sealed record BudgetLimits(long DailyMicroUsd, long SoftMicroUsd)
{
    /// <summary>Of a tenant whose administrator set none: 10.00 USD (contracts/decisions.md, "C, the rest").</summary>
    public static BudgetLimits Default { get; } = Of(10_000_000);

    /// <summary>A daily limit with the usual soft one: four fifths of it.</summary>
    public static BudgetLimits Of(long dailyMicroUsd) => new(dailyMicroUsd, dailyMicroUsd * 4 / 5);
}

/// <summary>What one call of a model may cost.</summary>
/// <param name="Step">Of the run; null: the notes on the run.</param>
/// <param name="Attempt">At the step, from 1.</param>
/// <param name="Model">The model's configured name.</param>
/// <param name="InputTokens">Estimate of the prompt's.</param>
/// <param name="OutputTokens">The limit of the answer.</param>
/// <param name="MicroUsd">The price of both, which settles the call also when the model's price has changed since.</param>
public sealed record Reservation(RunKey RunId, int? Step, int Attempt, string Model, long InputTokens, long OutputTokens, long MicroUsd);

public abstract record BudgetCommand(DateTimeOffset Now)
{
    /// <summary>What an administrator allows, from this command on.</summary>
    public sealed record SetLimits(BudgetLimits Limits, DateTimeOffset Now) : BudgetCommand(Now);

    /// <summary>Reserves a call. What the same run had reserved and not settled counts as spent: its driver was lost, and the provider may have been paid.</summary>
    public sealed record Reserve(Reservation Call, BudgetLimits Limits, DateTimeOffset Now) : BudgetCommand(Now);

    /// <summary>Settles the reservation of a run. No-op when it has none.</summary>
    /// <param name="SpentMicroUsd">Null: unknown, so that all of the reservation counts as spent.</param>
    public sealed record Settle(RunKey RunId, long? SpentMicroUsd, DateTimeOffset Now) : BudgetCommand(Now);
}

public abstract record BudgetEvent(DateTimeOffset At) : Event(At)
{
    public sealed record BudgetLimitsSet(long DailyLimitMicroUsd, long SoftLimitMicroUsd, DateTimeOffset At) : BudgetEvent(At);

    /// <inheritdoc cref="Reservation"/>
    public sealed record BudgetReserved(
        RunKey RunId, int? Step, int Attempt, string Model, long InputTokens, long OutputTokens, long ReservedMicroUsd, DateTimeOffset At) : BudgetEvent(At);

    /// <param name="Step">Of the run; null: the notes on the run.</param>
    /// <param name="Assumed">True: the provider did not say what the call used, so that all of the reservation counts as spent. Null: it is known.</param>
    public sealed record BudgetSettled(
        RunKey RunId, int? Step, int Attempt, long ReservedMicroUsd, long SpentMicroUsd, DateTimeOffset At, bool? Assumed = null) : BudgetEvent(At);

    /// <summary>What is spent and reserved has reached the soft limit. It happens once in a day for each limit.</summary>
    /// <param name="UsedMicroUsd">Spent and reserved.</param>
    public sealed record BudgetSoftLimitReached(long SoftLimitMicroUsd, long UsedMicroUsd, DateTimeOffset At) : BudgetEvent(At);
}

/// <summary>A tenant's budget in a UTC day; in the stream of the limits, the limits. Its size follows the calls under way, not those of the day.</summary>
/// <param name="Limits">Null: none were set in this stream.</param>
/// <param name="SpentMicroUsd">By settled calls.</param>
/// <param name="ReservedMicroUsd">By those of <paramref name="Open"/>.</param>
/// <param name="Open">The reservation of each run that has one, by the run's key: a run makes one call at a time.</param>
/// <param name="WarnedAtMicroUsd">The highest soft limit that was reached; null: none.</param>
public sealed record Budget(
    BudgetLimits? Limits, long SpentMicroUsd, long ReservedMicroUsd, ImmutableDictionary<string, Reservation> Open, long? WarnedAtMicroUsd = null)
{
    public static Aggregate<BudgetKey, BudgetCommand, BudgetEvent, Budget> Aggregate { get; } =
        new("budget", new(null, 0, 0, ImmutableDictionary<string, Reservation>.Empty), Decide, Evolve) { SizeOf = static state => state.Open.Count * ReservationBytes };

    /// <summary>Of a reservation in memory, about.</summary>
    const long ReservationBytes = 300;

    /// <summary>Spent and reserved.</summary>
    public long UsedMicroUsd => Sum(SpentMicroUsd, ReservedMicroUsd);

    /// <summary>What may still be reserved; not below 0, also when calls cost more than was reserved for them, or the limit was lowered.</summary>
    public long RemainingMicroUsd(BudgetLimits limits) => Math.Max(0, limits.DailyMicroUsd - UsedMicroUsd);

    public static Decision<BudgetEvent> Decide(BudgetCommand command, Budget state) => command switch
    {
        SetLimits c when c.Limits == state.Limits => Decision<BudgetEvent>.Nothing,
        SetLimits c => new BudgetLimitsSet(c.Limits.DailyMicroUsd, c.Limits.SoftMicroUsd, c.Now),
        Reserve c => TryReserve(c, state),
        Settle c when state.Open.TryGetValue(c.RunId.Value, out var call) => Settled(call, c.SpentMicroUsd, c.Now),
        Settle => Decision<BudgetEvent>.Nothing,
        _ => throw new System.Diagnostics.UnreachableException(command.GetType().Name),
    };

    public static Budget Evolve(Budget state, BudgetEvent e) => e switch
    {
        BudgetLimitsSet l => state with { Limits = new(l.DailyLimitMicroUsd, l.SoftLimitMicroUsd) },
        BudgetReserved r => state with
        {
            ReservedMicroUsd = Sum(state.ReservedMicroUsd, r.ReservedMicroUsd),
            Open = state.Open.Add(r.RunId.Value, new(r.RunId, r.Step, r.Attempt, r.Model, r.InputTokens, r.OutputTokens, r.ReservedMicroUsd)),
        },
        BudgetSettled s => state with
        {
            SpentMicroUsd = Sum(state.SpentMicroUsd, s.SpentMicroUsd),
            ReservedMicroUsd = state.ReservedMicroUsd - s.ReservedMicroUsd,
            Open = state.Open.Remove(s.RunId.Value),
        },
        BudgetSoftLimitReached w => state with { WarnedAtMicroUsd = w.SoftLimitMicroUsd },
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    static Decision<BudgetEvent> TryReserve(Reserve c, Budget state)
    {
        var events = new List<BudgetEvent>();
        if (state.Open.TryGetValue(c.Call.RunId.Value, out var lost))
        {
            events.Add(Settled(lost, null, c.Now));
        }
        // What was lost stays used: as spent instead of reserved.
        var (remaining, cost) = (state.RemainingMicroUsd(c.Limits), Math.Clamp(c.Call.MicroUsd, 0, Domain.Limits.MicroUsdMax));
        if (cost > remaining)
        {
            return new Refusal(
                "budget_exceeded", 409,
                $"The call of the model {c.Call.Model} may cost {Usd(cost)} USD, and {Usd(remaining)} of {Usd(c.Limits.DailyMicroUsd)} USD remain until midnight UTC.");
        }
        var call = c.Call;
        events.Add(new BudgetReserved(call.RunId, call.Step, call.Attempt, call.Model, call.InputTokens, call.OutputTokens, cost, c.Now));
        var used = Sum(state.UsedMicroUsd, cost);
        if (used >= c.Limits.SoftMicroUsd && !(state.WarnedAtMicroUsd >= c.Limits.SoftMicroUsd))
        {
            events.Add(new BudgetSoftLimitReached(c.Limits.SoftMicroUsd, used, c.Now));
        }
        return Decision<BudgetEvent>.Of(events);
    }

    static BudgetSettled Settled(Reservation call, long? spent, DateTimeOffset now) => new(
        call.RunId, call.Step, call.Attempt, call.MicroUsd, Math.Clamp(spent ?? call.MicroUsd, 0, Domain.Limits.MicroUsdMax), now, spent is null ? true : null);

    /// <summary>The sum, or the greatest amount that an event can hold.</summary>
    static long Sum(long a, long b) => Math.Min(Domain.Limits.MicroUsdMax, a + b);

    static string Usd(long microUsd) => Money.Usd(microUsd).ToString("0.00####", System.Globalization.CultureInfo.InvariantCulture);
}
