using System.Collections.Immutable;

using Cowork.Connectors;

namespace Cowork.Web;

/// <summary>Reads <c>Cowork:Connectors:McpCommands</c>: the programs that connections to MCP servers may start.</summary>
static class McpConfiguration
{
    /// <exception cref="ArgumentException">The message is a sentence about the setting that does not fit.</exception>
    public static ImmutableDictionary<string, McpCommand> Read(IConfigurationSection section) => section.GetChildren().ToImmutableDictionary(entry => entry.Key, CommandOf);

    static McpCommand CommandOf(IConfigurationSection entry)
    {
        var program = entry.Text("Command") ?? throw new ArgumentException($"{entry.Path}:Command is missing: the program that speaks MCP over its standard input and output.");
        if (program.Contains('/', StringComparison.Ordinal) && !Path.IsPathFullyQualified(program))
        {
            throw entry.InvalidValue("Command", "an absolute path, or the name of a program in /usr/local/bin, /usr/bin or /bin");
        }
        return new(
            program,
            [.. entry.GetSection("Arguments").Get<string[]>() ?? []],
            entry.GetSection("Environment").GetChildren().ToImmutableDictionary(variable => variable.Key, variable => variable.Value ?? ""),
            [.. entry.GetSection("Variables").Get<string[]>() ?? []]);
    }
}
