using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// The tools by name: the host's own, and those of outside sources that a run was offered. The input is JSON text as the model wrote it; invalid input gives an error outcome,
/// never an exception.
/// </summary>
public sealed class Toolbox
{
    readonly Dictionary<string, ITool> byName;
    readonly OutsideTools? outside;

    /// <param name="outside">Null: nothing reaches outside sources.</param>
    public Toolbox(IEnumerable<ITool> tools, OutsideTools? outside = null)
    {
        this.outside = outside;
        byName = tools.ToDictionary(t => t.Name, StringComparer.Ordinal);
        Tools = [.. byName.Values.OrderBy(t => t.Name, StringComparer.Ordinal)];
        Declarations = [.. Tools.Select(t => AIFunctionFactory.CreateDeclaration(t.Name, t.Description, t.Schema))];
    }

    /// <summary>Names of the tools that every host has of its own, ordered.</summary>
    public static IReadOnlyList<string> HostNames { get; } =
        ["delete_file", "list_files", "move_file", "query_connector", "read_file", "recall", "remember", "scratchpad", "search_files", "write_file"];

    /// <summary>The host's own, ordered by name.</summary>
    public IReadOnlyList<ITool> Tools { get; }

    /// <summary>The declarations for <see cref="ChatOptions.Tools"/>. A client cannot invoke a declaration, so that no call bypasses the policy.</summary>
    public IReadOnlyList<AITool> Declarations { get; }

    /// <summary>The declarations of the tools that a run may call, the host's own first.</summary>
    public async ValueTask<IReadOnlyList<AITool>> DeclarationsFor(Run.Active run, CancellationToken ct)
    {
        var own = run.Request is { Skills: null, Agent: null } ? Declarations : [.. Declarations.Where(tool => run.Request.MayCall(tool.Name))];
        return outside is null || run.Offered is null
            ? own
            : [.. own, .. (await outside.Read(run.Offered, ct)).Select(tool => AIFunctionFactory.CreateDeclaration(tool.Name, tool.Description, tool.Schema))];
    }

    /// <summary>What the run's model is to be offered of outside sources before its next request; null: what it was offered before.</summary>
    public async ValueTask<ToolOffer?> Look(string org, Run.Active run, CancellationToken ct) =>
        outside is null ? null : await outside.Look(org, run.Request, run.Offered, ct);

    /// <summary>The tool's name for traces: a model may write anything where a name belongs, and sources name their tools as they like.</summary>
    public string TracedName(string name) => byName.ContainsKey(name) ? name : OutsideToolNames.IsOne(name) ? "mcp" : "_OTHER";

    /// <summary>What the call would touch. An unknown tool or an invalid input sets <see cref="CallSubject.Invalid"/>.</summary>
    public ValueTask<CallSubject> Subject(ToolContext context, string name, string input, CancellationToken ct) =>
        Resolve(name, input, out var tool, out var arguments) is { } error ? new(new CallSubject("invalid", Invalid: error))
        : tool is null ? outside!.Subject(context, name, arguments, ct)
        : tool.Subject(context, arguments, ct);

    /// <summary>True: no call of the tool changes anything.</summary>
    /// <param name="offered">As in <see cref="ToolContext.Offered"/>.</param>
    public async ValueTask<bool> IsRead(Content? offered, string name, CancellationToken ct) =>
        ReadNames.Contains(name) || (outside is not null && OutsideToolNames.IsOne(name) && (await outside.Read(offered, ct)).Any(tool => tool.Name == name && tool.IsRead));

    static readonly string[] ReadNames = ["list_files", "read_file", "recall", "search_files"];

    /// <summary>What the call would touch, as far as it can be told without asking an outside source: what is no read for certain counts as a write.</summary>
    public async ValueTask<CallSubject> SubjectUnasked(ToolContext context, string name, string input, CancellationToken ct)
    {
        if (Resolve(name, input, out var tool, out var arguments) is { } error)
        {
            return new("invalid", Invalid: error);
        }
        if (tool is QueryConnector)
        {
            return QueryConnector.SubjectUnasked(arguments);
        }
        return tool is null
            ? new((await outside!.Read(context.Offered, ct)).Any(offered => offered.Name == name && offered.IsRead) ? CallSubject.ConnectorRead : CallSubject.ConnectorWrite)
            : await tool.Subject(context, arguments, ct);
    }

    /// <summary>Executes a call that the policy allowed. The tool lets the policy judge again what it opened.</summary>
    public Task<ToolOutcome> Run(ToolContext context, string name, string input, CancellationToken ct) =>
        Resolve(name, input, out var tool, out var arguments) is { } error ? Task.FromResult(ToolOutcome.Error(error))
        : tool is null ? outside!.Run(context, name, arguments, ct)
        : tool.Run(context, arguments, ct);

    /// <summary>Answers the error; null: the tool and its arguments were found.</summary>
    /// <param name="tool">Null: it is one of an outside source.</param>
    string? Resolve(string name, string input, out ITool? tool, out JsonElement arguments)
    {
        arguments = default;
        return byName.TryGetValue(name, out tool) || (outside is not null && OutsideToolNames.IsOne(name))
            ? ToolInput.Read(input, out arguments)
            : $"There is no tool named \"{FileText.Truncate(name, 100)}\". There are: {string.Join(", ", byName.Keys.Order(StringComparer.Ordinal))}.";
    }
}
