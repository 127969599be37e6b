using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>What the models may cost the tenant in the UTC day.</summary>
/// <param name="SoftLimitUsd">Where a warning comes.</param>
/// <param name="SpentUsd">By calls that are done, or whose host was lost.</param>
/// <param name="ReservedUsd">For calls under way.</param>
/// <param name="RemainingUsd">What calls may still cost before midnight UTC.</param>
/// <param name="ResetsAt">The next midnight UTC.</param>
/// <param name="ModelsNotHeld">Models without a known price: the budget does not hold them.</param>
public sealed record TenantBudget(
    decimal DailyLimitUsd, decimal SoftLimitUsd, decimal SpentUsd, decimal ReservedUsd, decimal RemainingUsd, DateTimeOffset ResetsAt, IReadOnlyList<string> ModelsNotHeld)
{
    public static TenantBudget Of(Budget day, BudgetLimits limits, DateTimeOffset now, IReadOnlyList<string> notHeld) => new(
        Money.Usd(limits.DailyMicroUsd), Money.Usd(limits.SoftMicroUsd), Money.Usd(day.SpentMicroUsd), Money.Usd(day.ReservedMicroUsd),
        Money.Usd(day.RemainingMicroUsd(limits)), new(now.UtcDateTime.Date.AddDays(1), TimeSpan.Zero), notHeld);
}

static class TenantBudgetEndpoints
{
    public static void MapTenantBudget(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/budget", Get).WithName("getTenantBudget").WithTags("Budget")
            .WithSummary("Show what the tenant's models have cost today, and may still cost")
            .Produces<TenantBudget>().Refuses();

    static async Task<IResult> Get(Caller caller, Budgets budgets, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (day, limits) = await budgets.Show(caller.Org, now, ct);
        return JsonResult.Of(200, TenantBudget.Of(day, limits, now, budgets.NotHeld), AgentServiceJson.Answers.TenantBudget);
    }
}
