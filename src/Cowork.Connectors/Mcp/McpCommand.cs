using System.Collections.Immutable;

namespace Cowork.Connectors;

/// <summary>A program that speaks MCP over its standard input and output, as the administrator configured it (<c>Cowork:Connectors:McpCommands</c>).</summary>
/// <param name="Program">Absolute path, or a name that is looked for in the usual folders.</param>
/// <param name="Environment">Variables that it always has.</param>
/// <param name="Variables">Names of variables that a connection gives values to, for example a token.</param>
public sealed record McpCommand(string Program, ImmutableList<string> Arguments, ImmutableDictionary<string, string> Environment, ImmutableList<string> Variables)
{
    /// <summary>Never shows the values of variables.</summary>
    public override string ToString() => Program;
}

/// <param name="Folder">Such as the temporary one: each process gets a folder of its own in it, which goes with the process.</param>
public sealed record McpCommands(ImmutableDictionary<string, McpCommand> ByName, string Folder);
