using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Sets what the tenant's models may cost in a day, from now on.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record SetBudget(BudgetLimits Limits, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.Do(Budget.Aggregate, BudgetKey.Limits, new BudgetCommand.SetLimits(Limits, work.Now));
        return Header is null ? refused : await Header.Claim(work, Budget.Aggregate, BudgetKey.Limits) ?? refused;
    }
}
