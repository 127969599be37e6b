using System.Text.Json;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The tools by name. Input is taken as the model wrote it, as JSON text, and whatever is wrong with it is an answer, never an exception.
/// </summary>
public sealed class Toolbox
{
    readonly Dictionary<string, ITool> byName;

    public Toolbox(IEnumerable<ITool> tools)
    {
        byName = tools.ToDictionary(t => t.Name, StringComparer.Ordinal);
        Tools = [.. byName.Values.OrderBy(t => t.Name, StringComparer.Ordinal)];
        Declarations = [.. Tools.Select(t => AIFunctionFactory.CreateDeclaration(t.Name, t.Description, t.Schema))];
    }

    /// <summary>In order of their names.</summary>
    public IReadOnlyList<ITool> Tools { get; }

    /// <summary>What the model is told, for <see cref="ChatOptions.Tools"/>: declarations only, nothing that could be invoked past the policy.</summary>
    public IReadOnlyList<AITool> Declarations { get; }

    public bool Has(string name) => byName.ContainsKey(name);

    /// <summary>What the call would touch; <see cref="CallSubject.Invalid"/> is set when there is no such tool or its input is wrong.</summary>
    public CallSubject Subject(ToolContext context, string name, string input) =>
        Find(name, input, out var tool, out var arguments) is { } wrong ? new("invalid", Invalid: wrong) : tool.Subject(context, arguments);

    /// <summary>Makes the call. Policy must have allowed it; the tool looks again at what it really opened.</summary>
    public Task<ToolOutcome> Run(ToolContext context, string name, string input, CancellationToken ct) =>
        Find(name, input, out var tool, out var arguments) is { } wrong
            ? Task.FromResult(ToolOutcome.Error(wrong))
            : tool.Run(context, arguments, ct);

    string? Find(string name, string input, out ITool tool, out JsonElement arguments)
    {
        arguments = default;
        return byName.TryGetValue(name, out tool!)
            ? ToolInput.Read(input, out arguments)
            : $"There is no tool named \"{FileText.Cut(name, 100)}\". There are: {string.Join(", ", byName.Keys.Order(StringComparer.Ordinal))}.";
    }
}
