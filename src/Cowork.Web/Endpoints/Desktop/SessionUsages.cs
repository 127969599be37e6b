using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>What a session's runs have used, with the attempts of models that failed.</summary>
/// <param name="TotalTokens">Read and written by all models.</param>
/// <param name="TotalCostUsd">Of all calls with a known price.</param>
/// <param name="Breakdown">By the models' configured names, in their order.</param>
public sealed record DesktopUsage(long TotalTokens, [property: JsonPropertyName("totalCostUSD")] decimal TotalCostUsd, IReadOnlyList<DesktopModelUsage> Breakdown)
{
    public static DesktopUsage Of(IReadOnlyList<UsageOfModel> models) => new(
        models.Sum(model => model.InputTokens + model.OutputTokens), Money.Usd(models.Sum(model => model.CostMicroUsd)),
        [
            .. models.Select(model => new DesktopModelUsage(
                model.Model, model.InputTokens, model.OutputTokens, model.IsPriced ? Money.Usd(model.CostMicroUsd) : null)),
        ]);
}

/// <param name="InputTokens">All, with those that the provider had cached.</param>
/// <param name="Cost">In US dollars; null: the price of some of the tokens is not known.</param>
public sealed record DesktopModelUsage(string Model, long InputTokens, long OutputTokens, decimal? Cost);

static class SessionUsageEndpoints
{
    public static void MapSessionUsage(this IEndpointRouteBuilder routes) => routes.MapGet("/sessions/{sessionId}/usage", Get)
        .WithName("getSessionUsage").WithTags("Desktop sessions")
        .WithSummary("Show what a session's runs have used, by model")
        .Produces<DesktopUsage>().Refuses(404, 422);

    static async Task<IResult> Get(PathKey<SessionKey> session, Caller caller, IRows rows, SessionUsage usage, CancellationToken ct) =>
        await rows.FindSession(caller, session.Key, ct) is not null
            ? JsonResult.Of(200, DesktopUsage.Of(await usage.Of(caller.Org, session.Key, ct)), DesktopJson.Answers.DesktopUsage)
            : ErrorResult.NotFound("session");
}
