using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Domain;

namespace Cowork.Web;

/// <summary>Reads <c>Cowork:Agents</c>: the agents that groups may have (docs/groups.md).</summary>
static class AgentConfiguration
{
    static readonly string[] Known = ["Id", "Nickname", "Model", "Instructions", "Tools"];

    /// <summary>The configured agents, in their order.</summary>
    /// <exception cref="ArgumentException">The message is a sentence about the setting that does not fit.</exception>
    public static IReadOnlyList<AgentDefinition> Read(IConfigurationSection section, IReadOnlyList<ModelSettings> models)
    {
        var read = section.GetChildren().Select(entry => (entry.Path, Agent: ReadOne(entry, models))).ToList();
        var all = new AgentCatalog([.. read.Select(entry => entry.Agent).DistinctBy(agent => agent.Id)]).Agents;
        foreach (var (place, (path, agent)) in read.Index())
        {
            if (read.Take(place).Any(other => other.Agent.Id == agent.Id))
            {
                throw new ArgumentException($"{path}:Id is \"{agent.Id}\", as another agent's is. Each agent has an id of its own.");
            }
            if (all.FirstOrDefault(other => other.Id != agent.Id && other.Nickname.Equals(agent.Nickname, StringComparison.OrdinalIgnoreCase)) is { } other)
            {
                throw new ArgumentException(
                    $"{path}:Nickname is \"{agent.Nickname}\", as that of {other.Id} is; upper and lower case are the same. Each agent has a nickname of its own.");
            }
        }
        return [.. read.Select(entry => entry.Agent)];
    }

    static AgentDefinition ReadOne(IConfigurationSection entry, IReadOnlyList<ModelSettings> models)
    {
        if (entry.GetChildren().FirstOrDefault(c => !Known.Contains(c.Key, StringComparer.OrdinalIgnoreCase)) is { } unknown)
        {
            throw new ArgumentException($"{entry.Path} has no setting {unknown.Key}; it has {string.Join(", ", Known)}.");
        }
        var id = entry.Text("Id") ?? throw new ArgumentException($"{entry.Path} has no Id: what groups name the agent by.");
        if (!IsName(id))
        {
            throw entry.InvalidValue("Id", AllowedName);
        }
        var nickname = entry.Text("Nickname") ?? id;
        if (!IsName(nickname))
        {
            throw entry.InvalidValue("Nickname", AllowedName);
        }
        var model = entry.Text("Model");
        if (model is not null && model != OfflineModel.Name && models.All(m => m.Name != model))
        {
            throw entry.InvalidValue("Model", $"one of {string.Join(", ", models.Select(m => m.Name).Append(OfflineModel.Name))}");
        }
        var instructions = entry.Text("Instructions");
        if (instructions is not null && System.Text.Encoding.UTF8.GetByteCount(instructions) > Limits.InstructionsBytesMax)
        {
            throw new ArgumentException($"{entry.Path}:Instructions has more than {Limits.InstructionsBytesMax} bytes.");
        }
        var tools = entry.GetSection("Tools").GetChildren().ToList();
        foreach (var tool in tools.Where(tool => !Toolbox.HostNames.Contains(tool.Value ?? "") && !OutsideToolNames.IsOne(tool.Value ?? "")))
        {
            throw new ArgumentException(
                $"{tool.Path} is \"{tool.Value}\"; it may be {string.Join(", ", Toolbox.HostNames)}, or the name of an MCP server's tool, mcp__CONNECTION__TOOL.");
        }
        return new(id, nickname, model, instructions, tools.Count == 0 ? null : [.. tools.Select(tool => tool.Value!)]);
    }

    static readonly string AllowedName = $"1 to {Limits.AgentNameCharsMax} letters, digits, underscores and hyphens, beginning and ending with a letter or a digit";

    static bool IsName(string name) =>
        name.Length <= Limits.AgentNameCharsMax && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-')
        && char.IsAsciiLetterOrDigit(name[0]) && char.IsAsciiLetterOrDigit(name[^1]);
}
