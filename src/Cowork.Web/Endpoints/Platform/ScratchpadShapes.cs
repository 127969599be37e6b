using System.Text;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>A notebook of a conversation.</summary>
/// <param name="Id">The scratchpad id.</param>
/// <param name="Cells">In their order. Behind each code cell with results stands a cell of the type <c>output</c>.</param>
/// <param name="Saved">It is kept as artifacts: a notebook and a web page.</param>
/// <param name="ArtifactIds">The artifacts that it was kept as last; empty: it never was, or is not any more.</param>
/// <param name="Kernel">What executes its code cells.</param>
/// <param name="ReplayOf">The scratchpad that it executes once more; null: it is no replay.</param>
public sealed record ScratchpadDetails(
    ScratchpadKey Id, string ConversationId, string Title, IReadOnlyList<CellDetails> Cells, bool Saved, IReadOnlyList<ArtifactKey> ArtifactIds, KernelDetails Kernel,
    ScratchpadKey? ReplayOf, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>The kernel of a scratchpad.</summary>
/// <param name="Status"><c>none</c>; <c>waiting</c>: cells wait for one; <c>idle</c>; <c>busy</c>.</param>
/// <param name="Name">Of its specification; null: there is none.</param>
/// <param name="Queued">Executions that wait.</param>
public sealed record KernelDetails([property: KernelStatus] string Status, string? Name, string? Language, int Queued)
{
    public static KernelDetails Of(Scratchpad.Live pad) => new(
        pad.Running is not null ? "busy" : pad.Queue.Count > 0 ? pad.Kernel is null ? "waiting" : "busy" : pad.Kernel is null ? "none" : "idle",
        pad.Kernel?.Kernel, pad.Kernel?.Language, pad.Queue.Count);
}

/// <summary>A cell.</summary>
/// <param name="Type"><c>markdown</c>, <c>code</c>, or <c>output</c>: the results of the code cell before it.</param>
/// <param name="Content">Empty in a cell of the type <c>output</c>.</param>
/// <param name="Language">Of a code cell; null: it is none.</param>
/// <param name="Status"><c>pending</c>: it waits, or was not executed since its content was written; null: it is no code cell.</param>
/// <param name="Outputs">The results of its last execution.</param>
/// <param name="Error">Why the execution failed; null: it did not.</param>
/// <param name="ErrorCode"><c>exception</c>, a limit (<c>limit_…</c>), or what befell it; null: it did not fail.</param>
/// <param name="Index">Its place among the scratchpad's cells, from 0; of a cell of the type <c>output</c> that of its code cell.</param>
/// <param name="ExecutionCount">Number of the execution since the kernel's start.</param>
/// <param name="DurationMs">Of the execution.</param>
/// <param name="Truncated">There was more output than is kept.</param>
/// <param name="Queued">Executions of it that wait.</param>
public sealed record CellDetails(
    CellKey Id, [property: CellType] string Type, string Content, string? Language, [property: CellStatus] string? Status, IReadOnlyList<OutputEntry> Outputs, string? Error,
    string? ErrorCode, int Index, int? ExecutionCount, long? DurationMs, bool Truncated, int Queued)
{
    /// <summary>The cells of a scratchpad as they are shown: of each, and behind a code cell with results those by themselves.</summary>
    /// <param name="outputs">The results as they are now.</param>
    public static IEnumerable<CellDetails> Of(Scratchpad.Live pad, Cell cell, string content, IReadOnlyList<NotebookOutput> outputs)
    {
        var isWaiting = cell.Result is null || pad.IsQueued(cell.CellId);
        var shown = With(pad, cell, content, !cell.IsCode ? null : pad.IsRunning(cell.CellId) ? "running" : isWaiting ? "pending" : StatusOf(cell.Result!), cell.Result, outputs);
        yield return shown;
        if (shown.Outputs.Count > 0)
        {
            yield return shown with { Id = new(Ids.KeyOf($"output of {cell.CellId.Id}")), Type = CellTypes.Output, Content = "", Language = null };
        }
    }

    /// <summary>A cell with what became of one execution of it, also when others wait, or came after it.</summary>
    public static CellDetails Of(Scratchpad.Live pad, Cell cell, string content, CellResult result, IReadOnlyList<NotebookOutput> outputs) =>
        With(pad, cell, content, StatusOf(result), result, outputs);

    static string StatusOf(CellResult result) => result.Error is null ? "success" : "error";

    static CellDetails With(Scratchpad.Live pad, Cell cell, string content, string? status, CellResult? result, IReadOnlyList<NotebookOutput> outputs)
    {
        var error = status is "success" or "error" ? result?.Error : null;
        return new(
            cell.CellId, cell.Type, content, cell.Language, status, OutputEntry.Of(outputs), error?.Message, error?.Code, pad.Cells.IndexOf(cell), result?.ExecutionCount,
            result?.DurationMs, result?.Truncated ?? false, pad.Queue.Count(q => q.CellId == cell.CellId));
    }
}

/// <summary>One form of something in the output of a cell.</summary>
/// <param name="Mime"><c>text/plain</c> of what was printed.</param>
/// <param name="Data">Text; of an image a data URL; of JSON its text. HTML is as the code wrote it: show it sanitised or in a sandbox.</param>
/// <param name="Group">Entries of one group are forms of the same thing. Groups are numbered in the order in which they began.</param>
/// <param name="Name"><c>stdout</c>, <c>stderr</c>, <c>traceback</c>; null: it is displayed, or the value of the last expression.</param>
public sealed partial record OutputEntry(string Mime, string Data, int Group, string? Name)
{
    public static IReadOnlyList<OutputEntry> Of(IEnumerable<NotebookOutput> outputs) => [.. outputs.SelectMany(Of)];

    public static IEnumerable<OutputEntry> Of(NotebookOutput output) => output switch
    {
        NotebookOutput.Stream s => [Text(s, s.Text)],
        NotebookOutput.Display d => d.Data.Select(form => new OutputEntry(form.Mime, DataOf(form), d.Group, null)),
        NotebookOutput.Error e => [new("text/plain", Colours().Replace(e.Traceback.IsEmpty ? $"{e.Name}: {e.Value}" : string.Join('\n', e.Traceback), ""), e.Group, "traceback")],
        _ => throw new System.Diagnostics.UnreachableException(output.GetType().Name),
    };

    public static OutputEntry Text(NotebookOutput.Stream stream, string text) => new("text/plain", text, stream.Group, stream.Name);

    /// <summary>What a form is shown as: a kernel sends images in Base64, and SVG as text.</summary>
    static string DataOf(MimeData form) =>
        form.IsJson ? form.Data
        : form.Mime == "image/svg+xml" ? $"data:{form.Mime};base64,{Convert.ToBase64String(Encoding.UTF8.GetBytes(form.Data))}"
        : form.Mime.StartsWith("image/", StringComparison.Ordinal) ? $"data:{form.Mime};base64,{form.Data.ReplaceLineEndings("")}"
        : form.Data;

    /// <summary>Colours of a terminal.</summary>
    [GeneratedRegex("\u001b\\[[0-9;]*[A-Za-z]")]
    private static partial Regex Colours();
}

/// <summary>One step of who follows the outputs as entries.</summary>
/// <param name="Name">As of <see cref="CellEvent"/>'s action.</param>
/// <param name="Entry">Null: the action is about all.</param>
public sealed record OutputAction(string Name, OutputEntry? Entry)
{
    /// <summary>The steps that make of the entries before a change those after it, in their order.</summary>
    public static IEnumerable<OutputAction> Of(OutputChange change) => change switch
    {
        OutputChange.Added a => OutputEntry.Of(a.Output).Select(entry => new OutputAction("add", entry)),
        OutputChange.Appended a => [new("append", OutputEntry.Text(a.Output, a.Text))],
        OutputChange.LineReplaced l => [new("replace_line", OutputEntry.Text(l.Output, l.Text))],
        OutputChange.Replaced r => Replacing([.. OutputEntry.Of(r.Before)], [.. OutputEntry.Of(r.Output)]),
        OutputChange.Cleared => [new("clear", null)],
        _ => throw new System.Diagnostics.UnreachableException(change.GetType().Name),
    };

    /// <summary>Forms that are there before and after are replaced where they stand. From the first one on that would stand elsewhere, they go and come again.</summary>
    static IEnumerable<OutputAction> Replacing(List<OutputEntry> before, List<OutputEntry> after)
    {
        var left = before.Where(entry => after.Exists(other => other.Mime == entry.Mime)).ToList();
        var kept = left.Zip(after).TakeWhile(pair => pair.First.Mime == pair.Second.Mime).Count();
        return
        [
            .. before.Except(left.Take(kept)).Select(entry => new OutputAction("remove", entry with { Data = "" })),
            .. after.Take(kept).Select(entry => new OutputAction("replace", entry)),
            .. after.Skip(kept).Select(entry => new OutputAction("add", entry)),
        ];
    }
}

/// <summary>An event of a cell's execution, with the members that its type has.</summary>
/// <param name="Type"><c>cell.queued</c>, <c>cell.started</c>, <c>cell.output</c>, and at the end exactly one <c>cell.completed</c>.</param>
/// <param name="SequenceNumber">From 0, without a gap; the same in every reading of the execution.</param>
/// <param name="Execution">Numbers the executions of the scratchpad from 1.</param>
/// <param name="Ahead">Executions of the scratchpad that wait before this one.</param>
/// <param name="Attempt">2 or more: an earlier attempt was lost with its kernel. Its outputs are void.</param>
/// <param name="StateLost">Variables are gone: those of earlier executions when this one began, or all at its end.</param>
/// <param name="Action">
/// What becomes of the outputs: <c>add</c>, an entry behind all whose group is not greater; <c>append</c>, text behind that of the last entry; <c>replace_line</c>,
/// text in the place of what stands behind its last line break; <c>replace</c>, an entry in the place of that of its group and type; <c>remove</c>, the entry of that
/// group and type goes; <c>clear</c>, all go.
/// </param>
/// <param name="Output">The entry, or the text, that the action is about; null: it is about all.</param>
/// <param name="Status"><c>success</c> or <c>error</c>.</param>
public sealed record CellEvent(
    string Type, long SequenceNumber, ScratchpadKey ScratchpadId, CellKey CellId, int Execution,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? Ahead = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? Attempt = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? StateLost = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Action = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] OutputEntry? Output = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Status = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Error = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? ErrorCode = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? DurationMs = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? Truncated = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<OutputEntry>? Outputs = null);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ScratchpadList(string Object, IReadOnlyList<ScratchpadDetails> Data, long Total, long Limit, long Offset, bool HasMore);

/// <param name="InterruptRequested">False: it neither waited nor was it executed.</param>
public sealed record CellInterrupted(CellKey Id, [property: CellStatus] string? Status, bool InterruptRequested);

/// <summary>The code cells of a scratchpad once more, from the top, in a kernel of their own.</summary>
/// <param name="Id">The replay, which is a scratchpad with the cells as they were executed.</param>
/// <param name="Status"><c>in_progress</c> or <c>completed</c>.</param>
/// <param name="Equal">How many cells had the same results as before.</param>
public sealed record ReplayDetails(
    ScratchpadKey Id, ScratchpadKey ScratchpadId, [property: ReplayStatus] string Status, int Equal, int Different, int Failed, int Pending, IReadOnlyList<ReplayedCell> Cells,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <param name="CellId">The cell, which has the same id in both scratchpads.</param>
/// <param name="Result"><c>equal</c>; <c>different</c>; <c>failed</c>: it did not fail before; <c>pending</c>.</param>
/// <param name="Before">What the scratchpad has; null: the same as the replay, or the replay has nothing yet.</param>
/// <param name="After">What the replay has; null: the same as the scratchpad, or nothing yet.</param>
public sealed record ReplayedCell(CellKey CellId, int Index, [property: ReplayResult] string Result, ReplaySide? Before, ReplaySide? After);

/// <param name="Status"><c>pending</c>: it was not executed.</param>
/// <param name="Environment">What it was executed with; null: nothing, or it is not known.</param>
public sealed record ReplaySide(
    [property: CellStatus] string Status, string? Error, string? ErrorCode, IReadOnlyList<OutputEntry> Outputs, ReplayEnvironment? Environment);

/// <param name="Packages">As <c>name==version</c>, those alone that the other side does not have so.</param>
public sealed record ReplayEnvironment(string Kernel, string Language, string Version, IReadOnlyList<string> Packages);

/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record ReplayList(string Object, IReadOnlyList<ReplayDetails> Data, long Total, long Limit, long Offset, bool HasMore);
