using System.Collections.Immutable;

using Xunit;

using static Cowork.Domain.ScratchpadCommand;
using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Domain.Tests;

public sealed class ScratchpadSpec
{
    static readonly Spec<ScratchpadKey, ScratchpadCommand, ScratchpadEvent, Scratchpad> Spec = new(Scratchpad.Aggregate);
    static readonly ScratchpadKey Pad = ScratchpadKey.FromId("sp_01kdvkjr000000000000000010");
    static readonly CellKey Text = CellKey.FromId("cell_01kdvkjr000000000000000011");
    static readonly CellKey Code = CellKey.FromId("cell_01kdvkjr000000000000000012");
    static readonly CellKey More = CellKey.FromId("cell_01kdvkjr000000000000000013");
    static readonly Content Title = Content.Of("Sales");
    static readonly NewCell TextCell = new(Text, CellTypes.Markdown, Content.Of("# Sales"), null);
    static readonly NewCell CodeCell = new(Code, CellTypes.Code, Content.Of("1+1"), "python");
    static readonly NewCell MoreCell = new(More, CellTypes.Code, Content.Of("2+2"), "python");
    static readonly ScratchpadCreated Created = new(Pad, A.Session, Title, [TextCell, CodeCell, MoreCell], A.Morning);
    static readonly CellQueued Queued = new(Code, 1, CodeCell.Content, "python", 0, A.Morning);
    static readonly CellQueued QueuedMore = new(More, 2, MoreCell.Content, "python", 1, A.Morning);
    static readonly KernelStarted Kernel = new(7, "n1", "python3", "python", A.Morning);
    static readonly CellStarted Started = new(Code, 1, 1, 7, "python3", A.Morning);
    static readonly CellResult Two = new(null, 5, Outputs: Content.Of("""[{"output_type":"execute_result"}]"""));
    static readonly CellCompleted Done = new(Code, 1, Two, IsStateLost: false, A.Morning);

    static CellResult Withdrawn(string code, string message) => CellResult.Withdrawn(code, message);

    static Scratchpad.Live Live(params ScratchpadEvent[] past) => (Scratchpad.Live)Spec.Given([Created, .. past]).State;

    [Fact]
    public void A_scratchpad_is_created_once()
    {
        Spec.Given().When(new Create(Pad, A.Session, Title, Created.Cells, A.Morning)).Then(Created);
        Spec.Given(Created).When(new Create(Pad, A.Session, Title, [], A.Morning)).ThenNothing();
    }

    [Fact]
    public void Its_title_changes_and_it_is_kept_and_given_up()
    {
        var copy = new SavedCopy("a.ipynb", "1", "a.html", "2");
        Spec.Given(Created).When(new Rename(Content.Of("Q2"), A.Morning)).Then(new ScratchpadRenamed(Content.Of("Q2"), A.Morning));
        Spec.Given(Created).When(new Rename(Title, A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Save(copy, A.Morning)).Then(new ScratchpadSaved(copy, A.Morning));
        Spec.Given(Created, new ScratchpadSaved(copy, A.Morning)).When(new Save(copy, A.Morning)).ThenNothing();
        Spec.Given(Created, new ScratchpadSaved(copy, A.Morning)).When(new Save(null, A.Morning)).Then(new ScratchpadSaved(null, A.Morning));
        Spec.Given(Created).When(new Save(null, A.Morning)).ThenNothing();
    }

    [Fact]
    public void Cells_stand_in_an_order()
    {
        var cell = new NewCell(CellKey.FromId("cell_01kdvkjr000000000000000014"), CellTypes.Code, Content.Of("x"), "python");
        Spec.Given(Created).When(new Append(cell, null, A.Morning)).Then(new CellAppended(cell, 3, A.Morning));
        Spec.Given(Created).When(new Append(cell, 0, A.Morning)).Then(new CellAppended(cell, 0, A.Morning));
        Spec.Given(Created).When(new Append(cell, 99, A.Morning)).Then(new CellAppended(cell, 3, A.Morning));
        Spec.Given(Created).When(new Append(CodeCell, null, A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Move(Text, 2, A.Morning)).Then(new CellMoved(Text, 2, A.Morning));
        Spec.Given(Created).When(new Move(Text, 99, A.Morning)).Then(new CellMoved(Text, 2, A.Morning));
        Spec.Given(Created).When(new Move(Text, 0, A.Morning)).ThenNothing();
        Assert.Equal([Code, More, Text], Live(new CellMoved(Text, 2, A.Morning)).Cells.Select(c => c.CellId));
        Assert.Equal([More, Text, Code], Live(new CellMoved(More, 0, A.Morning)).Cells.Select(c => c.CellId));
        Spec.Given(Created).When(new Move(cell.CellId, 0, A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void A_code_cell_is_queued_started_and_completed()
    {
        Spec.Given(Created).When(new Queue(Code, null, A.Morning)).Then(Queued);
        Spec.Given(Created, Queued).When(new Queue(More, null, A.Morning)).Then(QueuedMore);
        Spec.Given(Created, Queued).When(new Start(7, 1, A.Morning)).ThenRefused("scratchpad_fenced");
        Spec.Given(Created, Queued).When(new StartKernel(7, "n1", "python3", "python", A.Morning)).Then(Kernel);
        Spec.Given(Created, Queued, QueuedMore, Kernel).When(new Start(7, 1, A.Morning)).Then(Started);
        Spec.Given(Created, Queued, QueuedMore, Kernel).When(new Start(7, 2, A.Morning)).ThenNothing();
        // The running cell's own displays are its outputs; another cell's are changed when it has results.
        Spec.Given(Created, Queued, Kernel, Started).When(new UpdateDisplays(7, 1, Code, Content.Of("[]"), A.Morning)).ThenNothing();
        Spec.Given(Created, Queued, Kernel, Started).When(new RecordOutput(7, 1, Content.Of("[]"), A.Morning)).Then(new CellOutput(Code, 1, Content.Of("[]"), A.Morning));
        var state = (Scratchpad.Live)Spec.Given(Created, Queued, QueuedMore, Kernel, Started).When(new Complete(7, 1, Two, false, false, A.Morning)).Then(Done);
        Assert.Equal(Two, state.Find(Code)!.Result);
        Assert.Equal((null, 2), (state.Running, state.Queue.Single().Execution));
        Spec.Given(Created).When(new Queue(Text, null, A.Morning)).ThenRefused("cell_not_code");
        Spec.Given(Created).When(new Queue(CellKey.FromId("cell_01kdvkjr000000000000000099"), null, A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void An_execution_knows_where_it_begins_in_the_stream_and_what_code_it_has()
    {
        var queued = Live(Queued, QueuedMore).Queue;
        Assert.Equal([2L, 3L], queued.Select(q => q.Since));
        Assert.Equal(MoreCell.Content, queued[1].Code);
    }

    [Fact]
    public void A_cell_may_wait_twice()
    {
        var again = Queued with { Execution = 2, Ahead = 1 };
        Spec.Given(Created, Queued, Kernel, Started).When(new Queue(Code, null, A.Morning)).Then(again);
        var state = Live(Queued, Kernel, Started, again, Done);
        Assert.True(state.IsQueued(Code));
        Assert.False(state.IsRunning(Code));
    }

    [Fact]
    public void An_edit_clears_the_outputs_and_withdraws_what_waits()
    {
        var edited = new CellEdited(Code, Content.Of("3"), A.Morning);
        var withdrawn = new CellCompleted(Code, 1, Withdrawn(CellErrorCodes.CellEdited, "The cell was edited before it began."), false, A.Morning);
        Spec.Given(Created).When(new Edit(Code, Content.Of("3"), A.Morning)).Then(edited);
        Spec.Given(Created).When(new Edit(Code, CodeCell.Content, A.Morning)).ThenNothing();
        Assert.Null(Live(Queued, Kernel, Started, Done, edited).Find(Code)!.Result);
        Spec.Given(Created, Queued).When(new Edit(Code, Content.Of("3"), A.Morning)).Then(withdrawn, edited);
        Spec.Given(Created, Queued, Kernel, Started).When(new Edit(Code, Content.Of("3"), A.Morning)).ThenRefused("cell_running");
    }

    [Fact]
    public void What_is_withdrawn_before_it_begins_leaves_the_cell_as_it_was()
    {
        var again = Queued with { Execution = 2 };
        var state = Live(Queued, Kernel, Started, Done, again, new CellCompleted(Code, 2, Withdrawn(CellErrorCodes.Interrupted, "x"), false, A.Morning));
        Assert.Equal(Two, state.Find(Code)!.Result);
        Assert.Empty(state.Queue);
    }

    [Fact]
    public void An_interruption_withdraws_what_waits_and_is_asked_of_what_runs()
    {
        var requested = new CellInterruptRequested(Code, 1, A.Morning);
        Spec.Given(Created, Queued).When(new Interrupt(Code, A.Morning))
            .Then(new CellCompleted(Code, 1, Withdrawn(CellErrorCodes.Interrupted, "It was interrupted before it began."), false, A.Morning));
        Spec.Given(Created, Queued, Kernel, Started).When(new Interrupt(Code, A.Morning)).Then(requested);
        Spec.Given(Created, Queued, Kernel, Started, requested).When(new Interrupt(Code, A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Interrupt(Code, A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_restart_withdraws_all_that_waits_and_asks_for_a_new_kernel()
    {
        var withdrawn = new CellCompleted(More, 2, Withdrawn(CellErrorCodes.KernelRestarted, "The kernel was restarted before it began."), false, A.Morning);
        Spec.Given(Created, Queued, QueuedMore, Kernel, Started).When(new Restart(A.Morning)).Then(withdrawn, new KernelRestartRequested(A.Morning));
        Spec.Given(Created, Kernel, new KernelRestartRequested(A.Morning)).When(new Restart(A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Restart(A.Morning)).ThenNothing();
        Spec.Given(Created, Kernel, new KernelRestartRequested(A.Morning)).When(new RecordRestart(7, A.Morning)).Then(new KernelRestarted(A.Morning));
        Assert.False(Live(Kernel, new KernelRestartRequested(A.Morning), new KernelRestarted(A.Morning)).IsRestartRequested);
    }

    [Fact]
    public void A_later_claim_executes_once_more_what_was_lost_and_then_what_waits()
    {
        var lost = new KernelLost(KernelStopReasons.HostGone, 9, A.Morning);
        var state = (Scratchpad.Live)Spec.Given(Created, Queued, QueuedMore, Kernel, Started).When(new TakeOver(9, A.Morning)).Then(lost);
        Assert.Equal([(1, 2), (2, 1)], state.Queue.Select(q => (q.Execution, q.Attempt)));
        Assert.Equal(A.Morning, state.Queue[0].StartedAt);
        Spec.Given(Created, Queued, Kernel, Started, lost, Kernel with { Epoch = 9 }).When(new Start(9, 1, A.Later(9)))
            .Then(Started with { Attempt = 2, Epoch = 9, At = A.Later(9), IsStateLost = true });
        Spec.Given(Created, Kernel).When(new TakeOver(7, A.Morning)).ThenNothing();
        Spec.Given(Created, Kernel).When(new TakeOver(6, A.Morning)).ThenRefused("scratchpad_fenced");
    }

    [Fact]
    public void An_earlier_claim_writes_nothing_more()
    {
        var past = (ScratchpadEvent[])[Created, Queued, Kernel, Started, new KernelLost(KernelStopReasons.HostGone, 9, A.Morning), Kernel with { Epoch = 9 }, Started with { Attempt = 2, Epoch = 9 }];
        foreach (var late in (ScratchpadCommand[])[
            new RecordOutput(7, 1, Content.Of("[]"), A.Morning), new Complete(7, 1, Two, false, false, A.Morning), new StopKernel(7, "idle", A.Morning), new LoseKernel(7, A.Morning),
            new RecordRestart(7, A.Morning), new StartKernel(7, "n1", "python3", "python", A.Morning), new Start(7, 1, A.Morning)])
        {
            Spec.Given(past).When(late).ThenRefused("scratchpad_fenced");
        }
    }

    [Fact]
    public void What_is_lost_with_its_kernel_is_tried_three_times_and_not_when_it_was_to_be_interrupted()
    {
        var third = (ScratchpadEvent[])[Created, Queued, Kernel, Started with { Attempt = 3 }];
        var why = Spec.Given(third).When(new TakeOver(9, A.Morning)).ThenSome() is Scratchpad.Live state ? state.Find(Code)!.Result!.Error!.Code : null;
        Assert.Equal(CellErrorCodes.KernelLost, why);
        var interrupted = (Scratchpad.Live)Spec.Given(Created, Queued, Kernel, Started, new CellInterruptRequested(Code, 1, A.Morning)).When(new TakeOver(9, A.Morning)).ThenSome();
        Assert.Equal((CellErrorCodes.Interrupted, 0), (interrupted.Find(Code)!.Result!.Error!.Code, interrupted.Queue.Count));
        var restarted = (Scratchpad.Live)Spec.Given(Created, Queued, Kernel, Started, new KernelRestartRequested(A.Morning)).When(new TakeOver(9, A.Morning)).ThenSome();
        Assert.Equal((CellErrorCodes.KernelRestarted, false), (restarted.Find(Code)!.Result!.Error!.Code, restarted.IsRestartRequested));
    }

    [Fact]
    public void A_kernel_stops_when_nothing_waits()
    {
        Spec.Given(Created, Kernel).When(new StopKernel(7, KernelStopReasons.Idle, A.Morning)).Then(new KernelStopped(KernelStopReasons.Idle, A.Morning));
        Spec.Given(Created, Kernel, Queued).When(new StopKernel(7, KernelStopReasons.Idle, A.Morning)).ThenNothing();
        Spec.Given(Created, Queued, Kernel, Started).When(new StopKernel(7, KernelStopReasons.Idle, A.Morning)).ThenNothing();
        Spec.Given(Created, Kernel).When(new LoseKernel(7, A.Morning)).Then(new KernelLost(KernelStopReasons.Died, 7, A.Morning));
    }

    /// <summary>Whatever took the variables, the next execution says it, and no later one does.</summary>
    [Fact]
    public void The_first_execution_without_the_variables_of_earlier_ones_says_so()
    {
        var again = new CellQueued(More, 2, MoreCell.Content, "python", 0, A.Morning);
        var third = again with { Execution = 3 };
        bool? IsLost(params ScratchpadEvent[] past) =>
            Assert.IsType<CellStarted>(Assert.Single(Scratchpad.Decide(new Start(7, Live(past).Queue[0].Execution, A.Morning), Live(past)).Events)).IsStateLost;
        ScratchpadEvent[] past = [Queued, Kernel, Started, Done];
        Assert.Null(IsLost(Queued, Kernel));
        Assert.Null(IsLost(Queued, Kernel, new KernelStopped(KernelStopReasons.Idle, A.Morning), Kernel));
        Assert.Null(IsLost([.. past, again]));
        foreach (var loss in (ScratchpadEvent[][])[
            [new KernelLost(KernelStopReasons.Died, 7, A.Morning), Kernel],
            [new KernelLost(KernelStopReasons.HostGone, 7, A.Morning), Kernel],
            [new KernelStopped(KernelStopReasons.Idle, A.Morning), Kernel],
            [new KernelRestartRequested(A.Morning), new KernelRestarted(A.Morning)],
            [Kernel with { Kernel = "ir", Language = "r" }]])
        {
            Assert.True(IsLost([.. past, .. loss, again]));
            Assert.Null(IsLost([.. past, .. loss, again, new CellStarted(More, 2, 1, 7, "python3", A.Morning, true), Done with { CellId = More, Execution = 2 }, third]));
        }
        Assert.True(IsLost(Queued, Kernel, Started, Done with { IsStateLost = true }, again));
    }

    [Fact]
    public void A_withdrawn_execution_that_took_the_kernel_with_it_is_a_loss_of_the_log()
    {
        var gone = new CellCompleted(Code, 1, Withdrawn(CellErrorCodes.CellDeleted, "The cell was deleted."), false, A.Morning);
        Spec.Given(Created, Queued, Kernel, Started, gone, new CellDeleted(Code, A.Morning))
            .When(new Complete(7, 1, Two, IsStateLost: true, IsKernelGone: false, A.Morning))
            .Then(new KernelLost(KernelStopReasons.Died, 7, A.Morning), Kernel);
    }

    [Fact]
    public void A_kernel_that_dies_takes_only_its_own_execution_with_it()
    {
        var result = new CellResult(new(CellErrorCodes.KernelDied, "It died."), 1);
        var state = (Scratchpad.Live)Spec.Given(Created, Queued, QueuedMore, Kernel, Started)
            .When(new Complete(7, 1, result, IsStateLost: true, IsKernelGone: true, A.Morning))
            .Then(new CellCompleted(Code, 1, result, true, A.Morning), new KernelLost(KernelStopReasons.Died, 7, A.Morning));
        Assert.Equal((null, null, 2), (state.Kernel, state.Running, state.Queue.Single().Execution));
    }

    [Fact]
    public void Where_no_kernel_starts_the_first_that_waits_fails()
    {
        var failed = new CellCompleted(Code, 1, Withdrawn(CellErrorCodes.KernelUnavailable, "Install it."), false, A.Morning);
        var state = (Scratchpad.Live)Spec.Given(Created, Queued, QueuedMore).When(new FailFirst(CellErrorCodes.KernelUnavailable, "Install it.", A.Morning)).Then(failed);
        Assert.Equal((CellErrorCodes.KernelUnavailable, 2), (state.Find(Code)!.Result!.Error!.Code, state.Queue.Single().Execution));
    }

    [Fact]
    public void Deleting_a_cell_or_the_scratchpad_ends_what_it_executes()
    {
        var gone = new CellCompleted(Code, 1, Withdrawn(CellErrorCodes.CellDeleted, "The cell was deleted."), false, A.Morning);
        var state = (Scratchpad.Live)Spec.Given(Created, Queued, Kernel, Started).When(new DeleteCell(Code, A.Morning)).Then(gone, new CellDeleted(Code, A.Morning));
        Assert.Null(state.Running);
        Spec.Given(Created, Queued, Kernel, Started, gone, new CellDeleted(Code, A.Morning)).When(new Complete(7, 1, Two, false, false, A.Morning)).ThenNothing();
        Spec.Given(Created, Queued, Kernel, Started, gone, new CellDeleted(Code, A.Morning)).When(new RecordOutput(7, 1, Content.Of("[]"), A.Morning)).ThenNothing();
        var end = Withdrawn(CellErrorCodes.CellDeleted, "The scratchpad was deleted.");
        Spec.Given(Created, Queued, QueuedMore, Kernel, Started).When(new Delete(A.Morning))
            .Then(new CellCompleted(More, 2, end, false, A.Morning), new CellCompleted(Code, 1, end, false, A.Morning), new ScratchpadDeleted(A.Morning));
        foreach (var command in (ScratchpadCommand[])[new Queue(Code, null, A.Morning), new Rename(Title, A.Morning), new Delete(A.Morning), new Complete(7, 1, Two, false, false, A.Morning)])
        {
            Spec.Given(Created, new ScratchpadDeleted(A.Morning)).When(command).ThenRefused("not_found");
        }
    }

    [Fact]
    public void A_scratchpad_is_bounded()
    {
        var cells = Enumerable.Range(0, Limits.ScratchpadCellsMax).Select(i => TextCell with { CellId = new($"{i:0000000000000000000000000a}") }).ToImmutableList();
        Spec.Given(Created with { Cells = cells }).When(new Append(CodeCell, null, A.Morning)).ThenRefused("scratchpad_cells_full");
        var large = TextCell with { Content = new Content.Blob("", Limits.ScratchpadContentBytesMax) };
        Spec.Given(Created).When(new Append(large with { CellId = new("01kdvkjr000000000000000015") }, null, A.Morning)).ThenRefused("scratchpad_content_full");
        Spec.Given(Created).When(new Edit(Code, large.Content, A.Morning)).ThenRefused("scratchpad_content_full");
        var full = Two with { Outputs = new Content.Blob("", Limits.ScratchpadOutputBytesMax) };
        Spec.Given(Created, Queued, Kernel, Started, Done with { Result = full }).When(new Queue(More, null, A.Morning)).ThenRefused("scratchpad_outputs_full");
        Spec.Given(Created, Queued, Kernel, Started, Done with { Result = full }).When(new Queue(Code, null, A.Morning)).Then(Queued with { Execution = 2 });
        var queue = Enumerable.Range(1, Limits.CellsQueuedMax).Select(i => (ScratchpadEvent)(Queued with { Execution = i }));
        Spec.Given([Created, .. queue]).When(new Queue(More, null, A.Morning)).ThenRefused("scratchpad_queue_full");
    }

    [Fact]
    public void A_replay_has_the_results_that_it_is_compared_with_and_none_of_its_own()
    {
        var replay = (Scratchpad.Live)Spec.Given(Created with { Cells = [CodeCell with { Result = Two }], ReplayOf = Pad }).State;
        Assert.Equal((null, Two), (replay.Cells[0].Result, replay.Cells[0].Expected));
        var import = (Scratchpad.Live)Spec.Given(Created with { Cells = [CodeCell with { Result = Two }] }).State;
        Assert.Equal((Two, null), (import.Cells[0].Result, import.Cells[0].Expected));
    }
}
