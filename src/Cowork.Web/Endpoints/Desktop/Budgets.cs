using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>Body of <c>PUT /api/cowork/config/budget</c>. What is beyond a millionth of a US dollar is cut off.</summary>
/// <param name="DailyLimitUsd">What the models with a price may cost in a UTC day, 0 to 1 000 000 000 US dollars.</param>
/// <param name="SoftLimitUsd">Where a warning comes, at most the daily limit; null: four fifths of it.</param>
public sealed record NewBudget(
    [property: JsonPropertyName("dailyLimitUSD"), NeverNull] decimal? DailyLimitUsd, [property: JsonPropertyName("softLimitUSD")] decimal? SoftLimitUsd = null)
    : IRequestBody<NewBudget>
{
    public static JsonTypeInfo<NewBudget> Json => DesktopJson.Default.NewBudget;

    public void Validate(ValidationErrors errors)
    {
        if (DailyLimitUsd is not (>= 0 and <= Domain.Limits.DailyUsdMax))
        {
            errors.Add("$.dailyLimitUSD", $"An amount of 0 to {Domain.Limits.DailyUsdMax} US dollars is required.");
        }
        else if (SoftLimitUsd is { } soft && (soft < 0 || soft > DailyLimitUsd))
        {
            errors.Add("$.softLimitUSD", "The soft limit is 0 or more, and no more than the daily one.");
        }
    }

    public BudgetLimits Limits()
    {
        var usual = BudgetLimits.Of(Money.MicroUsd(DailyLimitUsd!.Value));
        return SoftLimitUsd is { } soft ? usual with { SoftMicroUsd = Money.MicroUsd(soft) } : usual;
    }
}

/// <param name="DailyLimitUsd">What the models with a price may cost in a UTC day.</param>
/// <param name="RemainingUsd">What calls may still cost before midnight UTC.</param>
/// <param name="SoftLimitUsd">Where a warning comes.</param>
/// <param name="SpentUsd">By calls that are done, or whose host was lost.</param>
/// <param name="ReservedUsd">For calls under way.</param>
/// <param name="ResetsAt">The next midnight UTC.</param>
/// <param name="ModelsNotHeld">Models without a known price: the budget does not hold them.</param>
public sealed record DesktopBudget(
    [property: JsonPropertyName("dailyLimitUSD")] decimal DailyLimitUsd, [property: JsonPropertyName("remainingUSD")] decimal RemainingUsd,
    [property: JsonPropertyName("softLimitUSD")] decimal SoftLimitUsd, [property: JsonPropertyName("spentUSD")] decimal SpentUsd,
    [property: JsonPropertyName("reservedUSD")] decimal ReservedUsd, DateTimeOffset ResetsAt, IReadOnlyList<string> ModelsNotHeld)
{
    public static DesktopBudget Of(Budget day, BudgetLimits limits, DateTimeOffset now, IReadOnlyList<string> notHeld) => new(
        Money.Usd(limits.DailyMicroUsd), Money.Usd(day.RemainingMicroUsd(limits)), Money.Usd(limits.SoftMicroUsd), Money.Usd(day.SpentMicroUsd),
        Money.Usd(day.ReservedMicroUsd), new(now.UtcDateTime.Date.AddDays(1), TimeSpan.Zero), notHeld);
}

static class BudgetEndpoints
{
    public static void MapBudget(this IEndpointRouteBuilder routes)
    {
        var config = routes.MapGroup("/config/budget").WithTags("Budget");
        config.MapGet("", Get).WithName("getBudget")
            .WithSummary("Show what the tenant's models may still cost today")
            .Produces<DesktopBudget>();
        config.MapPut("", Put).WithName("changeBudget").RequireAdmin()
            .WithSummary("Set what the tenant's models may cost in a day, from now on")
            .Produces<DesktopBudget>().Refuses(400, 409, 413, 415, 422);
    }

    static async Task<IResult> Get(Caller caller, Budgets budgets, TimeProvider clock, CancellationToken ct) => await Shown(caller.Org, budgets, clock, ct);

    static async Task<IResult> Put(
        Body<NewBudget> body, Caller caller, ICommandExecutor commands, CommandAnswers answers, Budgets budgets, TimeProvider clock, CancellationToken ct)
    {
        var result = await commands.Execute(caller.Org, caller.Origin, new SetBudget(body.Value.Limits(), body.Key), ct);
        return await answers.Of(
            caller.Org, result, Budget.Aggregate.Stream(BudgetKey.Limits), body.Key, async _ => await Shown(caller.Org, budgets, clock, ct), ct);
    }

    static async ValueTask<JsonResult<DesktopBudget>> Shown(string org, Budgets budgets, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (day, limits) = await budgets.Show(org, now, ct);
        return JsonResult.Of(200, DesktopBudget.Of(day, limits, now, budgets.NotHeld), DesktopJson.Answers.DesktopBudget);
    }
}
