using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;

using static Cowork.Domain.ScratchpadCommand;
using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Domain;

/// <summary>Commands to a scratchpad of contract B.</summary>
public abstract record ScratchpadCommand(DateTimeOffset Now)
{
    /// <param name="ReplayOf">The scratchpad whose cells are executed once more; null: it is one of its own.</param>
    public sealed record Create(
        ScratchpadKey ScratchpadId, SessionKey SessionId, Content Title, ImmutableList<NewCell> Cells, DateTimeOffset Now, ScratchpadKey? ReplayOf = null,
        string? Subject = null)
        : ScratchpadCommand(Now);

    public sealed record Rename(Content Title, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Records that the scratchpad was kept as artifacts, or is kept no longer.</summary>
    /// <param name="Copy">What was kept; null: it is not to be kept any more.</param>
    public sealed record Save(SavedCopy? Copy, DateTimeOffset Now) : ScratchpadCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <param name="Index">Place among the cells, from 0; null: behind the last.</param>
    public sealed record Append(NewCell Cell, int? Index, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Gives a cell another content: its outputs are cleared, and what was queued of it is withdrawn.</summary>
    public sealed record Edit(CellKey CellId, Content Content, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <param name="Index">The cell's new place, from 0; one behind the last is the last.</param>
    public sealed record Move(CellKey CellId, int Index, DateTimeOffset Now) : ScratchpadCommand(Now);

    public sealed record DeleteCell(CellKey CellId, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Queues the execution of a code cell behind what is queued.</summary>
    /// <param name="RunId">The run whose tool asked for it; null: a client did.</param>
    public sealed record Queue(CellKey CellId, RunKey? RunId, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Withdraws what is queued of a cell, and asks the kernel to interrupt it when it runs.</summary>
    public sealed record Interrupt(CellKey CellId, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Withdraws all that is queued, and asks for a kernel without variables.</summary>
    public sealed record Restart(DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>A claim begins to hold the scratchpad: the kernel of an earlier claim is gone with its variables.</summary>
    public sealed record TakeOver(long Epoch, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Records a kernel that takes code.</summary>
    public sealed record StartKernel(long Epoch, string Node, string Kernel, string Language, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Records that the kernel was replaced by one without variables, as it was asked for.</summary>
    public sealed record RecordRestart(long Epoch, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Ends the kernel when nothing is queued. No-op when something is.</summary>
    /// <param name="Reason">One of <see cref="KernelStopReasons"/>.</param>
    public sealed record StopKernel(long Epoch, string Reason, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Records that the kernel is gone by itself while nothing was executed.</summary>
    public sealed record LoseKernel(long Epoch, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Begins the execution that is first in the queue.</summary>
    public sealed record Start(long Epoch, int Execution, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <param name="Messages">A JSON list of what the kernel said, in order.</param>
    public sealed record RecordOutput(long Epoch, int Execution, Content Messages, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <inheritdoc cref="CellDisplaysUpdated"/>
    public sealed record UpdateDisplays(long Epoch, int Execution, CellKey CellId, Content Outputs, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <inheritdoc cref="CellCompleted"/>
    /// <param name="IsStateLost">The kernel has no variables any more.</param>
    /// <param name="IsKernelGone">The kernel is gone and takes no more code.</param>
    public sealed record Complete(
        long Epoch, int Execution, CellResult Result, bool IsStateLost, bool IsKernelGone, DateTimeOffset Now) : ScratchpadCommand(Now);

    /// <summary>Fails the execution that is first in the queue, because no kernel starts.</summary>
    public sealed record FailFirst(string Code, string Message, DateTimeOffset Now) : ScratchpadCommand(Now);
}

public abstract record ScratchpadEvent(DateTimeOffset At) : Event(At)
{
    /// <inheritdoc cref="ScratchpadCommand.Create"/>
    public sealed record ScratchpadCreated(
        ScratchpadKey ScratchpadId, SessionKey SessionId, Content Title, ImmutableList<NewCell> Cells, DateTimeOffset At, ScratchpadKey? ReplayOf = null,
        string? Subject = null)
        : ScratchpadEvent(At);

    public sealed record ScratchpadRenamed(Content Title, DateTimeOffset At) : ScratchpadEvent(At);

    /// <inheritdoc cref="ScratchpadCommand.Save"/>
    public sealed record ScratchpadSaved(SavedCopy? Copy, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>Read models forget the scratchpad. The log keeps it.</summary>
    public sealed record ScratchpadDeleted(DateTimeOffset At) : ScratchpadEvent(At);

    /// <inheritdoc cref="ScratchpadCommand.Append"/>
    public sealed record CellAppended(NewCell Cell, int Index, DateTimeOffset At) : ScratchpadEvent(At);

    /// <inheritdoc cref="ScratchpadCommand.Edit"/>
    public sealed record CellEdited(CellKey CellId, Content Content, DateTimeOffset At) : ScratchpadEvent(At);

    /// <inheritdoc cref="ScratchpadCommand.Move"/>
    public sealed record CellMoved(CellKey CellId, int Index, DateTimeOffset At) : ScratchpadEvent(At);

    public sealed record CellDeleted(CellKey CellId, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>A cell waits to be executed, behind <paramref name="Ahead"/> others of the scratchpad.</summary>
    /// <param name="Execution">Numbers the scratchpad's executions from 1.</param>
    /// <param name="Code">The cell's content as it is executed.</param>
    /// <param name="RunId">The run whose tool asked for it; null: a client did.</param>
    public sealed record CellQueued(CellKey CellId, int Execution, Content Code, string Language, int Ahead, DateTimeOffset At, RunKey? RunId = null) : ScratchpadEvent(At);

    /// <param name="Attempt">2 or more: an earlier attempt was lost with its kernel, and may have taken effect.</param>
    /// <param name="Epoch">Of the claim that executes it.</param>
    /// <param name="IsStateLost">True: the variables of earlier executions are gone, and no execution since has said so. Null: they are there, or there were none.</param>
    public sealed record CellStarted(CellKey CellId, int Execution, int Attempt, long Epoch, string Kernel, DateTimeOffset At, bool? IsStateLost = null) : ScratchpadEvent(At);

    /// <inheritdoc cref="ScratchpadCommand.RecordOutput"/>
    public sealed record CellOutput(CellKey CellId, int Execution, [property: Personal(PersonalAttribute.List)] Content Messages, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>An execution put something else in the place of what an earlier cell displays.</summary>
    /// <param name="CellId">The earlier cell.</param>
    /// <param name="Execution">The execution that did it.</param>
    /// <param name="Outputs">All outputs of the earlier cell from now on, as <see cref="CellResult.Outputs"/>.</param>
    public sealed record CellDisplaysUpdated(CellKey CellId, int Execution, [property: Personal(PersonalAttribute.List)] Content Outputs, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>An execution has ended, or was withdrawn.</summary>
    /// <param name="IsStateLost">The kernel has no variables any more.</param>
    public sealed record CellCompleted(CellKey CellId, int Execution, CellResult Result, bool IsStateLost, DateTimeOffset At) : ScratchpadEvent(At);

    public sealed record CellInterruptRequested(CellKey CellId, int Execution, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>A kernel without variables takes code.</summary>
    /// <param name="Epoch">Of the claim that holds it.</param>
    /// <param name="Node">Of the host.</param>
    public sealed record KernelStarted(long Epoch, string Node, string Kernel, string Language, DateTimeOffset At) : ScratchpadEvent(At);

    public sealed record KernelRestartRequested(DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>The kernel has no variables any more, as it was asked for.</summary>
    public sealed record KernelRestarted(DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>The kernel and its variables went with the host that held it, or by themselves.</summary>
    /// <param name="Reason">One of <see cref="KernelStopReasons"/>.</param>
    /// <param name="Epoch">Of the claim that found out.</param>
    public sealed record KernelLost(string Reason, long Epoch, DateTimeOffset At) : ScratchpadEvent(At);

    /// <summary>The host ended the kernel. The next execution gets another one, without variables.</summary>
    /// <inheritdoc cref="ScratchpadCommand.StopKernel"/>
    public sealed record KernelStopped(string Reason, DateTimeOffset At) : ScratchpadEvent(At);
}

/// <summary>Why a kernel is no longer there.</summary>
public static class KernelStopReasons
{
    /// <summary>Nothing was executed for a while.</summary>
    public const string Idle = "idle";

    /// <summary>Other scratchpads waited for a kernel.</summary>
    public const string Room = "room_needed";

    /// <summary>All cells of a replay were executed.</summary>
    public const string Done = "done";

    /// <summary>The host that held it died, or gave it up.</summary>
    public const string HostGone = "host_gone";

    /// <summary>The host was told to stop while nothing was executed.</summary>
    public const string HostStopped = "host_stopped";

    /// <summary>It ended by itself.</summary>
    public const string Died = "died";
}

/// <summary>What a cell is.</summary>
public static class CellTypes
{
    public const string Markdown = "markdown";
    public const string Code = "code";

    /// <summary>The results of the code cell before it. It is shown and never stored.</summary>
    public const string Output = "output";
}

/// <summary>Why an execution failed, when it was not the code.</summary>
public static class CellErrorCodes
{
    /// <summary>The code raised an exception.</summary>
    public const string Exception = "exception";
    public const string Interrupted = "interrupted";
    public const string KernelDied = "kernel_died";
    public const string KernelLost = "kernel_lost";
    public const string KernelRestarted = "kernel_restarted";
    public const string KernelUnavailable = "kernel_unavailable";
    public const string CellEdited = "cell_edited";
    public const string CellDeleted = "cell_deleted";
}

/// <summary>A cell as it begins.</summary>
/// <param name="Type"><see cref="CellTypes.Markdown"/> or <see cref="CellTypes.Code"/>.</param>
/// <param name="Language">Of a code cell, in lower case; null: it is none.</param>
/// <param name="Result">What the cell came with from elsewhere: of an imported notebook, or in a replay of the scratchpad that is replayed. Null: nothing.</param>
public sealed record NewCell(CellKey CellId, string Type, Content Content, string? Language, CellResult? Result = null);

/// <summary>How an execution ended.</summary>
/// <param name="Error">Null: it succeeded.</param>
/// <param name="DurationMs">From the kernel's taking the code; null: it was not executed.</param>
/// <param name="Truncated">There was more output than is kept, or more files.</param>
/// <param name="Outputs">A JSON list of the outputs as they are at the end; null: there are none.</param>
/// <param name="ExecutionCount">Number of the execution since the kernel's start; null: the kernel gave none.</param>
/// <param name="Environment">What the code was executed with; null: it was not executed, or the kernel did not tell.</param>
/// <param name="Files">What it wrote below the session's output root; null: nothing.</param>
public sealed record CellResult(
    CellError? Error, long? DurationMs = null, bool Truncated = false, [property: Personal(PersonalAttribute.List)] Content? Outputs = null,
    int? ExecutionCount = null, CellEnvironment? Environment = null, ImmutableList<CellFile>? Files = null)
{
    /// <summary>Of an execution that was withdrawn before it began.</summary>
    public static CellResult Withdrawn(string code, string message) => new(new CellError(code, message));
}

/// <summary>A file that a cell wrote.</summary>
/// <param name="Path">Relative to the session's folder.</param>
/// <param name="Sha256">Hex SHA-256 of its content in the blob store.</param>
public sealed record CellFile([property: Personal] string Path, [property: Personal(PersonalAttribute.Digest)] string Sha256, long Bytes);

/// <summary>Why an execution failed.</summary>
/// <param name="Code">
/// One of <see cref="CellErrorCodes"/>, or a limit: <c>limit_time</c>, <c>limit_output</c>, <c>limit_memory</c>, <c>limit_processes</c>, <c>limit_disk</c>.
/// </param>
/// <param name="Message">For people: of an exception its class and what it says.</param>
public sealed record CellError(string Code, [property: Personal] string Message);

/// <summary>What code is executed with.</summary>
/// <param name="Kernel">Name of the kernel's specification.</param>
/// <param name="Version">Of the language.</param>
/// <param name="Packages">Those that are installed, as <c>name==version</c>, in order.</param>
public sealed record CellEnvironment(string Kernel, string Language, string Version, ImmutableList<string> Packages);

/// <summary>The artifacts of a scratchpad that was kept, by the hex SHA-256 of their content.</summary>
/// <param name="Notebook">Path of the notebook, relative to the session's folder.</param>
/// <param name="Page">Path of the web page, relative to the session's folder.</param>
public sealed record SavedCopy(
    string Notebook, [property: Personal(PersonalAttribute.Digest)] string NotebookSha256, string Page, [property: Personal(PersonalAttribute.Digest)] string PageSha256);

/// <summary>A cell of a scratchpad.</summary>
/// <param name="Result">Of its last execution; null: there was none since the content was written.</param>
/// <param name="Expected">In a replay, what the scratchpad that is replayed has; null: nothing.</param>
/// <param name="Since">The stream's version of the event that queued it last; 0: none did.</param>
public sealed record Cell(CellKey CellId, string Type, Content Content, string? Language, CellResult? Result = null, CellResult? Expected = null, long Since = 0)
{
    public bool IsCode => Type == CellTypes.Code;
}

/// <summary>An execution that waits.</summary>
/// <param name="Since">The stream's version of its <see cref="CellQueued"/>.</param>
/// <param name="Attempt">Of its next start, or of the one that is under way.</param>
/// <param name="StartedAt">When its first attempt began; null: none did.</param>
public sealed record QueuedExecution(
    int Execution, CellKey CellId, Content Code, string Language, long Since, RunKey? RunId = null, int Attempt = 1, DateTimeOffset? StartedAt = null);

/// <summary>The execution that is under way.</summary>
/// <param name="IsInterrupted">Its interruption was asked for.</param>
public sealed record RunningExecution(QueuedExecution Of, bool IsInterrupted = false);

/// <summary>What the next execution finds of the variables of earlier ones.</summary>
public enum KernelVariables
{
    /// <summary>Nothing was executed yet.</summary>
    None,

    /// <summary>Those of the executions since the kernel began.</summary>
    Kept,

    /// <summary>There were some, and they went with their kernel.</summary>
    Lost,
}

/// <summary>A kernel that is held.</summary>
public sealed record HeldKernel(long Epoch, string Node, string Kernel, string Language);

/// <summary>
/// A notebook of a conversation: cells in an order, executed one at a time by a kernel that keeps its variables from cell to cell. Whoever holds the kernel has a claim;
/// its epoch fences what an earlier holder would still write.
/// </summary>
public abstract record Scratchpad
{
    public sealed record None : Scratchpad;

    /// <param name="Version">Of the stream.</param>
    /// <param name="Executions">How many there have been.</param>
    /// <param name="Running">Null: nothing is executed.</param>
    /// <param name="Kernel">Null: none is held.</param>
    /// <param name="IsRestartRequested">The kernel is to be replaced by one without variables.</param>
    /// <param name="Saved">Null: it is not kept.</param>
    /// <param name="Variables">Of the kernel that is held, or of the next one.</param>
    public sealed record Live(
        ScratchpadKey ScratchpadId, SessionKey SessionId, Content Title, ImmutableList<Cell> Cells, ImmutableList<QueuedExecution> Queue, long Version, int Executions = 0,
        RunningExecution? Running = null, HeldKernel? Kernel = null, bool IsRestartRequested = false, SavedCopy? Saved = null, ScratchpadKey? ReplayOf = null,
        KernelVariables Variables = KernelVariables.None, string? Subject = null) : Scratchpad, IOfSubject
    {
        public Cell? Find(CellKey cell) => Cells.Find(c => c.CellId == cell);

        public bool IsQueued(CellKey cell) => Queue.Exists(q => q.CellId == cell);

        public bool IsRunning(CellKey cell) => Running?.Of.CellId == cell;
    }

    public sealed record Deleted(SessionKey SessionId) : Scratchpad;

    public static Aggregate<ScratchpadKey, ScratchpadCommand, ScratchpadEvent, Scratchpad> Aggregate { get; } = new("scratchpad", new None(), Decide, Evolve);

    public static Decision<ScratchpadEvent> Decide(ScratchpadCommand command, Scratchpad state) => (command, state) switch
    {
        (Create c, None) => WhyTooLarge([], c.Cells) is { } tooLarge ? tooLarge : new ScratchpadCreated(
            c.ScratchpadId, c.SessionId, c.Title, c.Cells, c.Now, c.ReplayOf, c.Subject),
        (Create c, Live s) when s.ScratchpadId == c.ScratchpadId => Decision<ScratchpadEvent>.Nothing,
        (Rename c, Live s) when s.Title == c.Title => Decision<ScratchpadEvent>.Nothing,
        (Rename c, Live) => new ScratchpadRenamed(c.Title, c.Now),
        (Save c, Live s) when s.Saved == c.Copy => Decision<ScratchpadEvent>.Nothing,
        (Save c, Live) => new ScratchpadSaved(c.Copy, c.Now),
        (Delete c, Live s) => Decision<ScratchpadEvent>.Of(
            [.. Withdrawn(s, _ => true, CellErrorCodes.CellDeleted, "The scratchpad was deleted.", withRunning: true, c.Now), new ScratchpadDeleted(c.Now)]),
        (Append c, Live s) => Appended(c, s),
        (Edit or Move or DeleteCell or Queue or Interrupt, Live s) => OfCell(command, s),
        (Restart c, Live s) => Restarted(c, s),
        (TakeOver or StartKernel or RecordRestart or StopKernel or LoseKernel or Start or RecordOutput or UpdateDisplays or Complete or FailFirst, Live s) => OfHolder(command, s),
        _ => Refusal.NotFound("scratchpad"),
    };

    public static Scratchpad Evolve(Scratchpad state, ScratchpadEvent e) => (e, state) switch
    {
        (ScratchpadCreated c, _) => new Live(
            c.ScratchpadId, c.SessionId, c.Title, [.. c.Cells.Select(cell => Begin(cell, isReplay: c.ReplayOf is not null))], [], Version: 1, ReplayOf: c.ReplayOf,
            Subject: c.Subject),
        (ScratchpadDeleted, Live s) => new Deleted(s.SessionId),
        (_, Live s) => After(s, e) with { Version = s.Version + 1 },
        _ => throw new UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>Bytes of a text in UTF-8.</summary>
    public static long BytesOf(Content? content) => content switch
    {
        null => 0,
        Content.Inline inline => Encoding.UTF8.GetByteCount(inline.Text),
        Content.Blob blob => blob.Bytes,
        Content.Sealed closed => closed.Ciphertext.Length,
        _ => throw new UnreachableException(content.GetType().Name),
    };

    static Live After(Live s, ScratchpadEvent e) => e switch
    {
        ScratchpadRenamed r => s with { Title = r.Title },
        ScratchpadSaved r => s with { Saved = r.Copy },
        CellAppended a => s with { Cells = s.Cells.Insert(a.Index, Begin(a.Cell, s.ReplayOf is not null)) },
        CellEdited x => s with { Cells = s.Cells.Replace(s.Find(x.CellId)!, s.Find(x.CellId)! with { Content = x.Content, Result = null }) },
        CellMoved m => s with { Cells = s.Cells.Remove(s.Find(m.CellId)!).Insert(m.Index, s.Find(m.CellId)!) },
        CellDeleted d => s with { Cells = s.Cells.RemoveAll(c => c.CellId == d.CellId) },
        CellQueued q => s with
        {
            Queue = s.Queue.Add(new(q.Execution, q.CellId, q.Code, q.Language, s.Version + 1, q.RunId)),
            Executions = q.Execution,
            Cells = s.Cells.Replace(s.Find(q.CellId)!, s.Find(q.CellId)! with { Since = s.Version + 1 }),
        },
        CellStarted c => s with
        {
            Queue = s.Queue.RemoveAt(0),
            Running = new(s.Queue[0] with { Attempt = c.Attempt, StartedAt = s.Queue[0].StartedAt ?? c.At }),
            Cells = s.Cells.Replace(s.Find(c.CellId)!, s.Find(c.CellId)! with { Result = null }),
            Variables = KernelVariables.Kept,
        },
        CellOutput => s,
        CellDisplaysUpdated u when s.Find(u.CellId) is { Result: { } result } cell =>
            s with { Cells = s.Cells.Replace(cell, cell with { Result = result with { Outputs = u.Outputs } }) },
        CellCompleted c => Completed(s, c),
        CellInterruptRequested => s with { Running = s.Running! with { IsInterrupted = true } },
        KernelStarted k => s with { Kernel = new(k.Epoch, k.Node, k.Kernel, k.Language), IsRestartRequested = false, Variables = AfterLoss(s) },
        KernelRestartRequested => s with { IsRestartRequested = true },
        KernelRestarted => s with { IsRestartRequested = false, Variables = AfterLoss(s) },
        KernelLost => s with
        {
            Kernel = null,
            Variables = AfterLoss(s),
            IsRestartRequested = false,
            // What it was doing comes first, once more.
            Queue = s.Running is { } lost ? s.Queue.Insert(0, lost.Of with { Attempt = lost.Of.Attempt + 1 }) : s.Queue,
            Running = null,
        },
        KernelStopped => s with { Kernel = null, IsRestartRequested = false, Variables = AfterLoss(s) },
        _ => throw new UnreachableException(e.GetType().Name),
    };

    static KernelVariables AfterLoss(Live s) => s.Variables == KernelVariables.None ? KernelVariables.None : KernelVariables.Lost;

    static Live Completed(Live s, CellCompleted c) => s with
    {
        Queue = s.Queue.RemoveAll(q => q.Execution == c.Execution),
        Running = s.Running?.Of.Execution == c.Execution ? null : s.Running,
        // What was withdrawn before it began leaves the cell as it was.
        Cells = s.Find(c.CellId) is { } cell && (s.Running?.Of.Execution == c.Execution || c.Result.Error?.Code == CellErrorCodes.KernelUnavailable)
            ? s.Cells.Replace(cell, cell with { Result = c.Result })
            : s.Cells,
        Variables = c.IsStateLost ? AfterLoss(s) : s.Variables,
    };

    static Cell Begin(NewCell cell, bool isReplay) =>
        isReplay ? new(cell.CellId, cell.Type, cell.Content, cell.Language, Expected: cell.Result) : new(cell.CellId, cell.Type, cell.Content, cell.Language, cell.Result);

    static Decision<ScratchpadEvent> Appended(Append c, Live s) =>
        s.Find(c.Cell.CellId) is not null ? Decision<ScratchpadEvent>.Nothing
        : WhyTooLarge(s.Cells, [c.Cell]) is { } tooLarge ? tooLarge
        : new CellAppended(c.Cell, Math.Min(c.Index ?? s.Cells.Count, s.Cells.Count), c.Now);

    static Decision<ScratchpadEvent> OfCell(ScratchpadCommand command, Live s) => command switch
    {
        Edit c => Edited(c, s),
        Move c => s.Find(c.CellId) is not { } cell ? NoCell
            : Math.Min(c.Index, s.Cells.Count - 1) is var index && s.Cells.IndexOf(cell) == index ? Decision<ScratchpadEvent>.Nothing
            : new CellMoved(c.CellId, index, c.Now),
        DeleteCell c => s.Find(c.CellId) is null ? NoCell : Decision<ScratchpadEvent>.Of(
            [.. Withdrawn(s, cell => cell == c.CellId, CellErrorCodes.CellDeleted, "The cell was deleted.", withRunning: true, c.Now), new CellDeleted(c.CellId, c.Now)]),
        Queue c => Queued(c, s),
        Interrupt c => s.Find(c.CellId) is null ? NoCell : Decision<ScratchpadEvent>.Of(
        [
            .. Withdrawn(s, cell => cell == c.CellId, CellErrorCodes.Interrupted, "It was interrupted before it began.", withRunning: false, c.Now),
            .. s.IsRunning(c.CellId) && !s.Running!.IsInterrupted ? [new CellInterruptRequested(c.CellId, s.Running.Of.Execution, c.Now)] : Array.Empty<ScratchpadEvent>(),
        ]),
        _ => throw new UnreachableException(command.GetType().Name),
    };

    static Refusal NoCell => Refusal.NotFound("cell");

    static Decision<ScratchpadEvent> Edited(Edit c, Live s)
    {
        if (s.Find(c.CellId) is not { } cell)
        {
            return NoCell;
        }
        if (cell.Content == c.Content)
        {
            return Decision<ScratchpadEvent>.Nothing;
        }
        if (s.IsRunning(c.CellId))
        {
            return Refusal.Conflict("cell_running", "The cell is being executed: interrupt it, or wait for its end.");
        }
        return WhyTooLarge(s.Cells.Remove(cell), [new(c.CellId, cell.Type, c.Content, cell.Language)]) is { } tooLarge
            ? tooLarge
            : Decision<ScratchpadEvent>.Of(
                [.. Withdrawn(s, id => id == c.CellId, CellErrorCodes.CellEdited, "The cell was edited before it began.", withRunning: false, c.Now),
                    new CellEdited(c.CellId, c.Content, c.Now)]);
    }

    static Decision<ScratchpadEvent> Queued(Queue c, Live s)
    {
        if (s.Find(c.CellId) is not { } cell)
        {
            return NoCell;
        }
        if (!cell.IsCode)
        {
            return Refusal.Invalid("cell_not_code", "cell_id", "Only code cells are executed.");
        }
        if (s.Queue.Count >= Limits.CellsQueuedMax && s.ReplayOf is null)
        {
            return Refusal.TooMany("scratchpad_queue_full", $"{Limits.CellsQueuedMax} executions already wait in this scratchpad.");
        }
        if (s.Cells.Where(other => other.CellId != c.CellId).Sum(other => BytesOf(other.Result?.Outputs)) >= Limits.ScratchpadOutputBytesMax)
        {
            return Refusal.Conflict(
                "scratchpad_outputs_full", $"The other cells' outputs have {Limits.ScratchpadOutputBytesMax} bytes, and may not have more. Delete cells, or edit them.");
        }
        return new CellQueued(c.CellId, s.Executions + 1, cell.Content, cell.Language!, s.Queue.Count + (s.Running is null ? 0 : 1), c.Now, c.RunId);
    }

    static Decision<ScratchpadEvent> Restarted(Restart c, Live s) => Decision<ScratchpadEvent>.Of(
    [
        .. Withdrawn(s, _ => true, CellErrorCodes.KernelRestarted, "The kernel was restarted before it began.", withRunning: false, c.Now),
        .. (s.Kernel is not null || s.Running is not null) && !s.IsRestartRequested ? [new KernelRestartRequested(c.Now)] : Array.Empty<ScratchpadEvent>(),
    ]);

    static Decision<ScratchpadEvent> OfHolder(ScratchpadCommand command, Live s) => command switch
    {
        TakeOver c when s.Kernel is { } held && held.Epoch > c.Epoch => Fenced,
        TakeOver c when s.Kernel is { } held && held.Epoch < c.Epoch => Decision<ScratchpadEvent>.Of(Lost(s, KernelStopReasons.HostGone, c.Epoch, c.Now)),
        TakeOver => Decision<ScratchpadEvent>.Nothing,
        StartKernel c when s.Kernel is not null && s.Kernel.Epoch != c.Epoch => Fenced,
        StartKernel c => new KernelStarted(c.Epoch, c.Node, c.Kernel, c.Language, c.Now),
        FailFirst c => s.Queue is [var first, ..] && s.Running is null
            ? new CellCompleted(first.CellId, first.Execution, CellResult.Withdrawn(c.Code, c.Message), IsStateLost: false, c.Now)
            : Decision<ScratchpadEvent>.Nothing,
        _ when s.Kernel?.Epoch != EpochOf(command) => Fenced,
        RecordRestart c when s.IsRestartRequested => new KernelRestarted(c.Now),
        RecordRestart => Decision<ScratchpadEvent>.Nothing,
        StopKernel when s.Queue.Count > 0 || s.Running is not null || s.IsRestartRequested => Decision<ScratchpadEvent>.Nothing,
        StopKernel c => new KernelStopped(c.Reason, c.Now),
        LoseKernel c => Decision<ScratchpadEvent>.Of(Lost(s, KernelStopReasons.Died, c.Epoch, c.Now)),
        Start c when s.Running is null && s.Queue is [var first, ..] && first.Execution == c.Execution =>
            new CellStarted(
                first.CellId, first.Execution, first.Attempt, c.Epoch, s.Kernel!.Kernel, c.Now, s.Variables == KernelVariables.Lost ? true : null),
        RecordOutput c when s.Running?.Of.Execution == c.Execution => new CellOutput(s.Running.Of.CellId, c.Execution, c.Messages, c.Now),
        UpdateDisplays c when s.Running?.Of.Execution == c.Execution && !s.IsRunning(c.CellId) && s.Find(c.CellId)?.Result is { } result && result.Outputs != c.Outputs =>
            new CellDisplaysUpdated(c.CellId, c.Execution, c.Outputs, c.Now),
        Complete c => Ended(c, s),
        // It was withdrawn meanwhile, or the other cell was edited or deleted.
        Start or RecordOutput or UpdateDisplays => Decision<ScratchpadEvent>.Nothing,
        _ => throw new UnreachableException(command.GetType().Name),
    };

    static long EpochOf(ScratchpadCommand command) => command switch
    {
        RecordRestart c => c.Epoch,
        StopKernel c => c.Epoch,
        LoseKernel c => c.Epoch,
        Start c => c.Epoch,
        RecordOutput c => c.Epoch,
        UpdateDisplays c => c.Epoch,
        Complete c => c.Epoch,
        _ => throw new UnreachableException(command.GetType().Name),
    };

    static Refusal Fenced => Refusal.Conflict("scratchpad_fenced", "Another host holds the scratchpad's kernel.");

    /// <summary>The end of an execution, or of one that was withdrawn while it was under way, and what it did to the kernel.</summary>
    static Decision<ScratchpadEvent> Ended(Complete c, Live s) => Decision<ScratchpadEvent>.Of(
    [
        .. s.Running?.Of.Execution == c.Execution
            ? [new CellCompleted(s.Running.Of.CellId, c.Execution, c.Result, c.IsStateLost, c.Now)]
            // The log has no end of it that could say that its kernel was replaced.
            : c is { IsStateLost: true, IsKernelGone: false } && !s.IsRestartRequested
                ? [new KernelLost(KernelStopReasons.Died, c.Epoch, c.Now), new KernelStarted(c.Epoch, s.Kernel!.Node, s.Kernel.Kernel, s.Kernel.Language, c.Now)]
            : Array.Empty<ScratchpadEvent>(),
        .. c.IsKernelGone ? [new KernelLost(KernelStopReasons.Died, c.Epoch, c.Now)] : Array.Empty<ScratchpadEvent>(),
    ]);

    /// <summary>The kernel is lost. What it was doing is done once more, unless that was asked not to be, or was tried often enough.</summary>
    static ImmutableList<ScratchpadEvent> Lost(Live s, string reason, long epoch, DateTimeOffset now)
    {
        var lost = new KernelLost(reason, epoch, now);
        if (s.Running is not { } running)
        {
            return [lost];
        }
        var why = running.IsInterrupted ? CellResult.Withdrawn(CellErrorCodes.Interrupted, "It was interrupted.")
            : s.IsRestartRequested ? CellResult.Withdrawn(CellErrorCodes.KernelRestarted, "The kernel was restarted.")
            : running.Of.Attempt >= Limits.CellAttemptsMax
                ? CellResult.Withdrawn(CellErrorCodes.KernelLost, $"Its kernel was lost {running.Of.Attempt} times, with the host or by itself.")
            : null;
        return why is null ? [lost] : [new CellCompleted(running.Of.CellId, running.Of.Execution, why, IsStateLost: true, now), lost];
    }

    static IEnumerable<ScratchpadEvent> Withdrawn(Live s, Func<CellKey, bool> of, string code, string message, bool withRunning, DateTimeOffset now) =>
        s.Queue.Where(q => of(q.CellId))
            .Concat(withRunning && s.Running is { } running && of(running.Of.CellId) ? [running.Of] : Array.Empty<QueuedExecution>())
            .Select(q => new CellCompleted(q.CellId, q.Execution, CellResult.Withdrawn(code, message), IsStateLost: false, now));

    /// <summary>Why the scratchpad cannot have more cells; null: it can.</summary>
    static Refusal? WhyTooLarge(ImmutableList<Cell> there, ImmutableList<NewCell> more) =>
        there.Count + more.Count > Limits.ScratchpadCellsMax
            ? Refusal.Conflict("scratchpad_cells_full", $"A scratchpad has at most {Limits.ScratchpadCellsMax} cells.")
        : there.Sum(c => BytesOf(c.Content)) + more.Sum(c => BytesOf(c.Content)) > Limits.ScratchpadContentBytesMax
            ? Refusal.Conflict("scratchpad_content_full", $"The cells of a scratchpad have at most {Limits.ScratchpadContentBytesMax} bytes of content.")
        : there.Sum(c => BytesOf(c.Result?.Outputs)) + more.Sum(c => BytesOf(c.Result?.Outputs)) > Limits.ScratchpadOutputBytesMax + Limits.CellOutputBytesMax
            ? Refusal.Conflict("scratchpad_outputs_full", $"The outputs of a scratchpad have at most {Limits.ScratchpadOutputBytesMax} bytes.")
        : null;
}
