using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What became of a cell that was executed once more.</summary>
public static class ReplayComparison
{
    public const string Equal = "equal";
    public const string Different = "different";

    /// <summary>It failed, and did not before.</summary>
    public const string Failed = "failed";

    /// <summary>It was not executed yet.</summary>
    public const string Pending = "pending";

    /// <summary>
    /// Compares results byte by byte. The names under which things are displayed, and the places in an exception's trace, which number the executions, make no difference.
    /// </summary>
    public static string Compare(CellResult? before, ImmutableList<NotebookOutput> outputsBefore, CellResult? after, ImmutableList<NotebookOutput> outputsAfter) =>
        after is null ? Pending
        : after.Error is not null && before?.Error is null ? Failed
        : before is not null && before.Error == after.Error && before.Truncated == after.Truncated && Plain(outputsBefore) == Plain(outputsAfter) ? Equal
        : Different;

    static string Plain(ImmutableList<NotebookOutput> outputs) => OutputJson.Write([.. outputs.Select(output => output switch
    {
        NotebookOutput.Display d => d with { DisplayId = null },
        NotebookOutput.Error e => e with { Traceback = [] },
        _ => output,
    })]);
}
