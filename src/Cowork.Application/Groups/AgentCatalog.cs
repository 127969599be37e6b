using System.Collections.Frozen;
using System.Collections.Immutable;

namespace Cowork.Application;

/// <summary>An agent of <c>Cowork:Agents</c>.</summary>
/// <param name="Id">What groups and clients name it by.</param>
/// <param name="Nickname">What messages address it by, after an <c>@</c>.</param>
/// <param name="Model">Name of a configured model; null: the host's default.</param>
/// <param name="Instructions">Part of each of its prompts; null: it has none of its own.</param>
/// <param name="Tools">The only tools that it may call; null: all that there are.</param>
public sealed record AgentDefinition(string Id, string Nickname, string? Model = null, string? Instructions = null, ImmutableList<string>? Tools = null)
{
    /// <summary>The agent that there is without configuration.</summary>
    public static AgentDefinition Assistant { get; } = new("assistant", "assistant");
}

/// <summary>The agents of this host: those that are configured, and the built-in <c>assistant</c> unless one has its id.</summary>
public sealed class AgentCatalog(IReadOnlyList<AgentDefinition> configured)
{
    readonly FrozenDictionary<string, AgentDefinition> byId = All(configured).ToFrozenDictionary(agent => agent.Id, StringComparer.Ordinal);

    /// <summary>In the order of the configuration; the built-in one, when it was not configured, is the last.</summary>
    public IReadOnlyList<AgentDefinition> Agents { get; } = [.. All(configured)];

    /// <summary>Null: this host has no such agent.</summary>
    public AgentDefinition? Find(string id) => byId.GetValueOrDefault(id);

    static IEnumerable<AgentDefinition> All(IReadOnlyList<AgentDefinition> configured) =>
        configured.Any(agent => agent.Id == AgentDefinition.Assistant.Id) ? configured : configured.Append(AgentDefinition.Assistant);
}
