using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>The models by name. The offline model is always there.</summary>
public sealed class ModelCatalog : IDisposable
{
    readonly Dictionary<string, IChatClient> clients;

    /// <exception cref="ArgumentException">A provider is unknown, or two models have one name.</exception>
    public ModelCatalog(IReadOnlyList<ModelSettings> settings, OfflineModel offline, TimeProvider clock)
    {
        clients = new(StringComparer.Ordinal) { [OfflineModel.Name] = offline };
        foreach (var model in settings)
        {
            IChatClient client = model.Provider switch
            {
                ModelSettings.OpenAi => HttpModel.Create(new OpenAiFormat(), model, clock),
                ModelSettings.Anthropic => HttpModel.Create(new AnthropicFormat(), model, clock),
                ModelSettings.Offline => offline,
                _ => throw new ArgumentException($"There is no provider \"{model.Provider}\"."),
            };
            if (!clients.TryAdd(model.Name, client) && !(model.Name == OfflineModel.Name && client == offline))
            {
                throw new ArgumentException($"There are two models \"{model.Name}\".");
            }
        }
    }

    public IReadOnlyDictionary<string, IChatClient> Clients => clients;

    /// <summary>The default model when none is configured: the first that is ready, else the offline model.</summary>
    public static string Default(IEnumerable<ModelSettings> settings) => settings.FirstOrDefault(s => s.IsReady)?.Name ?? OfflineModel.Name;

    /// <summary>Refuses a name that no model has; null: there is such a model, or none is named.</summary>
    public static Refusal? Unknown(IReadOnlyDictionary<string, IChatClient> models, string? name) => name is null || models.ContainsKey(name)
        ? null
        : Refusal.Invalid("unknown_model", "$.model", $"There is no such model; there are {string.Join(", ", models.Keys.Order(StringComparer.Ordinal))}.");

    public void Dispose()
    {
        foreach (var client in clients.Values)
        {
            client.Dispose();
        }
    }
}
