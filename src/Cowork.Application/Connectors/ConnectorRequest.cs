using System.Collections.Immutable;
using System.Text.Json;

namespace Cowork.Application;

/// <summary>What is asked of a source.</summary>
public abstract record ConnectorRequest
{
    /// <summary>What there is: tables and columns, tools and their inputs, operations.</summary>
    public sealed record Schema : ConnectorRequest;

    /// <summary>Some rows of one thing that <see cref="Schema"/> named.</summary>
    /// <param name="Name">As the schema has it: <c>public.orders</c>.</param>
    /// <param name="Limit">Rows, 1 to <see cref="ConnectorLimits.RowsMax"/>.</param>
    public sealed record Sample(string Name, int Limit) : ConnectorRequest;

    /// <summary>A read in the source's own language: SQL, or a JSON object for what has none. It is executed so that it cannot change anything.</summary>
    /// <param name="Limit">Rows, 1 to <see cref="ConnectorLimits.RowsMax"/>.</param>
    public sealed record Query(string Text, int Limit) : ConnectorRequest;

    /// <summary>What may change something: SQL, or the call of a tool. It happens once a person has agreed to exactly this text.</summary>
    /// <param name="IdempotencyToken">The same at each attempt of one call, for sources that can tell a repeat.</param>
    public sealed record Write(string Text, int Limit, string IdempotencyToken) : ConnectorRequest;

    /// <summary>The tools that the source has now (<see cref="IConnector.HasTools"/>).</summary>
    public sealed record Tools : ConnectorRequest;

    /// <summary>Calls a tool of the source.</summary>
    /// <param name="Tool">As the source names it.</param>
    /// <param name="Arguments">A JSON object.</param>
    /// <param name="MayWrite">False: a tool that the source does not call read-only by now is not called.</param>
    public sealed record Call(string Tool, JsonElement Arguments, bool MayWrite) : ConnectorRequest;
}

/// <summary>What a request would do at its source, for the policy (contracts/decisions.md, "Tools and policy").</summary>
public enum ConnectorEffect
{
    /// <summary>A read of a bounded part.</summary>
    Read,

    /// <summary>A read of everything that is there: SQL with neither WHERE nor LIMIT.</summary>
    Scan,

    /// <summary>It may change data, or it is not known what it does.</summary>
    Write,

    /// <summary>It changes or drops structures, or is several statements in one. It is never executed.</summary>
    Alter,
}

/// <summary>What a source answered.</summary>
public abstract record ConnectorAnswer
{
    /// <param name="Rows">Each with a text for each column; null: no value. At most <see cref="ConnectorLimits.RowsMax"/>.</param>
    /// <param name="Cut">Why the answer is not all of it, as a sentence; null: it is all.</param>
    public sealed record Table(ImmutableArray<string> Columns, IReadOnlyList<IReadOnlyList<string?>> Rows, string? Cut = null) : ConnectorAnswer;

    /// <param name="Cut">As in <see cref="Table"/>.</param>
    public sealed record Text(string Content, string? Cut = null) : ConnectorAnswer;

    /// <param name="Unusable">What the source lists besides, and why it is no tool that can be called.</param>
    /// <param name="Cut">As in <see cref="Table"/>.</param>
    public sealed record Tools(IReadOnlyList<SourceTool> Listed, IReadOnlyList<UnusableTool> Unusable, string? Cut = null) : ConnectorAnswer;

    /// <param name="Reason">A plain sentence without secrets, at most <see cref="ConnectorLimits.ReasonCharsMax"/> characters.</param>
    /// <param name="IsUnreachable">The source itself is at fault (away, refuses the credentials), not this request.</param>
    public sealed record Failed(string Reason, bool IsUnreachable = false) : ConnectorAnswer;
}

/// <summary>A tool as its source lists it. All of it is the source's word.</summary>
/// <param name="Name">1 to 128 letters, digits, <c>_</c>, <c>-</c>, <c>.</c> and <c>/</c>.</param>
/// <param name="InputSchema">A JSON object, which need be no JSON Schema.</param>
/// <param name="IsRead">The source says that it changes nothing.</param>
public sealed record SourceTool(string Name, string Description, string InputSchema, bool IsRead);

/// <param name="Name">What it is called, made visible and cut; null: nothing can be said of it.</param>
/// <param name="Reason">A sentence.</param>
public sealed record UnusableTool(string? Name, string Reason);

/// <summary>The bounds of what a source may cost. Each connector keeps them, whatever its source does.</summary>
public static class ConnectorLimits
{
    /// <summary>Rows of one answer.</summary>
    public const int RowsMax = 1_000;

    /// <summary>UTF-8 bytes of one answer, all cells together.</summary>
    public const int BytesMax = 1 << 20;

    /// <summary>Characters of one cell; what is longer is cut, and says so.</summary>
    public const int CellCharsMax = 4_000;

    /// <summary>Columns of one answer: as many as PostgreSQL lets a query have.</summary>
    public const int ColumnsMax = 1_664;

    /// <summary>Characters of a request's text.</summary>
    public const int TextCharsMax = 64 * 1024;

    /// <summary>Tools of one source that are looked at.</summary>
    public const int ToolsMax = 500;

    /// <summary>Sources with tools that one run is offered, in the order of their connections' creation.</summary>
    public const int OfferedSourcesMax = 20;

    /// <summary>Tools of sources that one request to a model declares. Providers take 128, the host's own included.</summary>
    public const int OfferedToolsMax = 100;

    /// <summary>UTF-8 bytes of their declarations: about 16 000 tokens, in every request.</summary>
    public const int OfferedBytesMax = 64 * 1024;

    /// <summary>Characters of a tool's description, and of each description in its schema.</summary>
    public const int DescriptionCharsMax = 1_000;

    /// <summary>UTF-8 bytes of a tool's input schema.</summary>
    public const int SchemaBytesMax = 16 * 1024;

    /// <summary>Characters of a plain reason.</summary>
    public const int ReasonCharsMax = 500;

    /// <summary>From the call to its answer, also when the source says nothing at all.</summary>
    public static TimeSpan AskTime { get; } = TimeSpan.FromSeconds(30);

    /// <summary>As <see cref="AskTime"/>, of a probe.</summary>
    public static TimeSpan ProbeTime { get; } = TimeSpan.FromSeconds(10);
}
