using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A call of a model for which the tenant's budget has a reservation.</summary>
/// <param name="Day">The stream with the reservation, which settles it also when midnight has passed.</param>
public sealed record HeldCall(BudgetKey Day, RunKey Run, SessionKey Session)
{
    /// <summary>What the call has cost so far: nothing before it is sent. Null: unknown, so that all of the reservation counts as spent.</summary>
    public long? SpentMicroUsd { get; set; } = 0;
}
