using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The tools by name. The input is JSON text as the model wrote it; invalid input gives an error outcome, never an exception.
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

    /// <summary>Ordered by name.</summary>
    public IReadOnlyList<ITool> Tools { get; }

    /// <summary>The declarations for <see cref="ChatOptions.Tools"/>. A client cannot invoke a declaration, so that no call bypasses the policy.</summary>
    public IReadOnlyList<AITool> Declarations { get; }

    /// <summary>The declarations of the tools that a run may call.</summary>
    public IReadOnlyList<AITool> DeclarationsFor(RunRequest run) => run.Skills is null ? Declarations : [.. Declarations.Where(tool => run.MayCall(tool.Name))];

    public bool Has(string name) => byName.ContainsKey(name);

    /// <summary>What the call would touch. An unknown tool or an invalid input sets <see cref="CallSubject.Invalid"/>.</summary>
    public ValueTask<CallSubject> Subject(ToolContext context, string name, string input, CancellationToken ct) =>
        Resolve(name, input, out var tool, out var arguments) is { } error ? new(new CallSubject("invalid", Invalid: error)) : tool.Subject(context, arguments, ct);

    /// <summary>Executes a call that the policy allowed. The tool lets the policy judge again what it opened.</summary>
    public Task<ToolOutcome> Run(ToolContext context, string name, string input, CancellationToken ct) =>
        Resolve(name, input, out var tool, out var arguments) is { } error
            ? Task.FromResult(ToolOutcome.Error(error))
            : tool.Run(context, arguments, ct);

    /// <summary>Answers the error; null: the tool and its arguments were found.</summary>
    string? Resolve(string name, string input, out ITool tool, out JsonElement arguments)
    {
        arguments = default;
        return byName.TryGetValue(name, out tool!)
            ? ToolInput.Read(input, out arguments)
            : $"There is no tool named \"{FileText.Truncate(name, 100)}\". There are: {string.Join(", ", byName.Keys.Order(StringComparer.Ordinal))}.";
    }
}
