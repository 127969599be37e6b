using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>Prices in US dollars per million tokens.</summary>
/// <param name="Cached">Of input tokens from the provider's cache; null: the same as <paramref name="Input"/>.</param>
public sealed record ModelPriceShape(decimal Input, decimal Output, decimal? Cached);

/// <summary>A model that turns and sessions may name.</summary>
/// <param name="Model">The provider's name of it.</param>
/// <param name="IsDefault">Turns get it where neither they, nor their session, nor its project name one.</param>
/// <param name="IsReady">It has a key, or an address of its own, where a key is often not needed.</param>
/// <param name="MaxOutputTokens">Of one answer; null: the provider's own limit.</param>
/// <param name="Price">Null: unknown, and so are costs.</param>
public sealed record ModelShape(string Name, string Provider, string Model, bool IsDefault, bool IsReady, int? MaxOutputTokens, ModelPriceShape? Price);

/// <param name="Default">Name of the default model.</param>
public sealed record ModelList(string Default, IReadOnlyList<ModelShape> Models);

static class ModelEndpoints
{
    /// <summary>It is always there, configured or not.</summary>
    static readonly ModelSettings Offline = new() { Name = OfflineModel.Name, Provider = ModelSettings.Offline, Model = OfflineModel.Name };

    public static void MapModels(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/models", List).WithName("listModels").WithTags("Operations")
            .WithSummary("List the models that turns may name, with their prices")
            .Produces<ModelList>().Refuses();

    static JsonResult<ModelList> List(HostSettings settings)
    {
        var known = settings.Models.Any(model => model.Name == OfflineModel.Name) ? settings.Models : settings.Models.Append(Offline);
        return JsonResult.Of(
            200,
            new ModelList(settings.Runs.DefaultModel, [.. known.OrderBy(model => model.Name, StringComparer.Ordinal).Select(model => Shape(model, settings.Runs.DefaultModel))]),
            OperationsJson.Answers.ModelList);
    }

    /// <summary>Neither keys nor addresses, which may hold a secret.</summary>
    static ModelShape Shape(ModelSettings model, string usual) => new(
        model.Name, model.Provider, model.Model, model.Name == usual, model.IsReady || model.Provider == ModelSettings.Offline, model.MaxOutputTokens,
        model.Price is { } price ? new(price.Input, price.Output, price.Cached) : null);
}
