using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>The models that runs may ask, by name; the offline one is always among them.</summary>
public sealed class ModelCatalog : IDisposable
{
    readonly Dictionary<string, IChatClient> clients;

    /// <exception cref="ArgumentException">A provider is unknown, or a name is there twice or is the offline model's.</exception>
    public ModelCatalog(IReadOnlyList<ModelSettings> settings, OfflineModel offline, TimeProvider clock)
    {
        clients = new(StringComparer.Ordinal) { [OfflineModel.Name] = offline };
        foreach (var model in settings)
        {
            IChatClient client = model.Provider switch
            {
                ModelSettings.OpenAi => HttpModel.Over(new OpenAiFormat(), model, clock),
                ModelSettings.Anthropic => HttpModel.Over(new AnthropicFormat(), model, clock),
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

    /// <summary>The model of a turn that names none, when nothing else is said: the first that is ready, else the offline one.</summary>
    public static string Default(IEnumerable<ModelSettings> settings) => settings.FirstOrDefault(s => s.IsReady)?.Name ?? OfflineModel.Name;

    public void Dispose()
    {
        foreach (var client in clients.Values)
        {
            client.Dispose();
        }
    }
}
