using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A request to change one scratchpad.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public abstract record ChangeOfScratchpad(ScratchpadKey Scratchpad, RequestKey? Header) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await work.State(Domain.Scratchpad.Aggregate, Scratchpad) is Domain.Scratchpad.Live before ? await Apply(work, before) : Refusal.NotFound("scratchpad");
        return Header is null ? refused : await Header.Claim(work, Domain.Scratchpad.Aggregate, Scratchpad) ?? refused;
    }

    protected abstract ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before);

    /// <summary>Decides a command; its events are in the feed of the scratchpad's session.</summary>
    protected ValueTask<Refusal?> Do(UnitOfWork work, Scratchpad.Live before, ScratchpadCommand command) =>
        work.Do(Domain.Scratchpad.Aggregate, Scratchpad, command, before.SessionId);
}

/// <summary>Creates a scratchpad. Refused: there is no such conversation.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record CreateScratchpad(ScratchpadKey Scratchpad, SessionKey Session, Content Title, ImmutableList<NewCell> Cells, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await SessionOfGroup.WhyRefused(work, Session, "conversation") ?? await Begin(work, Scratchpad, Session, Title, Cells);
        return Header is null ? refused : await Header.Claim(work, Domain.Scratchpad.Aggregate, Scratchpad) ?? refused;
    }

    /// <summary>For clients, and for the tool of a run, which may be that of a group's agent.</summary>
    internal static async ValueTask<Refusal?> Begin(UnitOfWork work, ScratchpadKey scratchpad, SessionKey session, Content title, ImmutableList<NewCell> cells) =>
        // Pinned: no scratchpad begins in a conversation that is deleted at the same time.
        await work.PinnedState(Domain.Session.Aggregate, session) is not Domain.Session.Open open ? Refusal.NotFound("conversation")
            : await work.Do(
                Domain.Scratchpad.Aggregate, scratchpad, new ScratchpadCommand.Create(scratchpad, session, title, cells, work.Now, Subject: open.Subject),
                session, isNew: true);
}

/// <summary>Changes a scratchpad's title, and whether it is kept as artifacts.</summary>
/// <param name="Title">Null: as it is.</param>
/// <param name="Save">Null: as it is.</param>
public sealed record ChangeScratchpad(ScratchpadKey Scratchpad, Content? Title, SaveScratchpad? Save, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override async ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before) =>
        Title is { } title && await Do(work, before, new ScratchpadCommand.Rename(title, work.Now)) is { } refused ? refused
        : Save is null ? null
        : await Save.Apply(work, before);
}

/// <summary>Deletes a scratchpad, its cells and its replays. What they execute ends with them.</summary>
public sealed record DeleteScratchpads(IReadOnlyList<ScratchpadKey> Scratchpads) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        foreach (var scratchpad in Scratchpads)
        {
            if (await work.State(Scratchpad.Aggregate, scratchpad) is Scratchpad.Live live
                && await work.Do(Scratchpad.Aggregate, scratchpad, new ScratchpadCommand.Delete(work.Now), live.SessionId) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }
}

/// <param name="Index">Place among the cells, from 0; null: behind the last.</param>
public sealed record AppendCell(ScratchpadKey Scratchpad, NewCell Cell, int? Index, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before) => Do(work, before, new ScratchpadCommand.Append(Cell, Index, work.Now));
}

/// <param name="Content">Null: as it is.</param>
/// <param name="Index">Null: where it is.</param>
public sealed record ChangeCell(ScratchpadKey Scratchpad, CellKey Cell, Content? Content, int? Index, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override async ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before) =>
        before.Find(Cell) is null ? Refusal.NotFound("cell")
        : Content is { } content && await Do(work, before, new ScratchpadCommand.Edit(Cell, content, work.Now)) is { } refused ? refused
        : Index is { } index ? await Do(work, before, new ScratchpadCommand.Move(Cell, index, work.Now))
        : null;
}

public sealed record DeleteCell(ScratchpadKey Scratchpad, CellKey Cell) : ChangeOfScratchpad(Scratchpad, null)
{
    protected override ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before) => Do(work, before, new ScratchpadCommand.DeleteCell(Cell, work.Now));
}

/// <summary>Queues a cell, and starts the job that holds the kernel where there is none.</summary>
/// <param name="Run">The run whose tool asks for it; null: a client does.</param>
public sealed record RunCell(ScratchpadKey Scratchpad, CellKey Cell, RunKey? Run = null, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override async ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before)
    {
        if (await Do(work, before, new ScratchpadCommand.Queue(Cell, Run, work.Now)) is { } refused)
        {
            return refused;
        }
        // Whoever has the kernel, or is about to start one, hears of the cell from the log.
        if (before is { Kernel: null, Running: null, Queue.Count: 0 })
        {
            work.Start(new Job(ScratchpadHolder.JobKind, Scratchpad.Value));
        }
        return null;
    }
}

/// <summary>A run's tool executes code: appends the cell and queues it. No-op when an earlier attempt of the call did so.</summary>
/// <param name="Begins">The scratchpad is made when it is not there.</param>
public sealed record RunCode(ScratchpadKey Scratchpad, SessionKey Session, Content Title, NewCell Cell, RunKey Run, bool Begins) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await work.State(Domain.Scratchpad.Aggregate, Scratchpad) is Domain.Scratchpad.Live live && live.Find(Cell.CellId) is not null)
        {
            return null;
        }
        if (Begins && await CreateScratchpad.Begin(work, Scratchpad, Session, Title, []) is { } notMade)
        {
            return notMade;
        }
        return await new AppendCell(Scratchpad, Cell, null).Decide(work) ?? await new RunCell(Scratchpad, Cell.CellId, Run).Decide(work);
    }
}

public sealed record InterruptCell(ScratchpadKey Scratchpad, CellKey Cell, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before) => Do(work, before, new ScratchpadCommand.Interrupt(Cell, work.Now));
}

public sealed record RestartKernel(ScratchpadKey Scratchpad, RequestKey? Header = null) : ChangeOfScratchpad(Scratchpad, Header)
{
    protected override async ValueTask<Refusal?> Apply(UnitOfWork work, Scratchpad.Live before)
    {
        if (await Do(work, before, new ScratchpadCommand.Restart(work.Now)) is { } refused)
        {
            return refused;
        }
        if (before.Kernel is not null)
        {
            // A job that became a dead letter is there again.
            work.Start(new Job(ScratchpadHolder.JobKind, Scratchpad.Value));
        }
        return null;
    }
}

/// <summary>
/// Executes all code cells of a scratchpad once more, from the top, in a kernel of their own. The replay is a scratchpad beside it, with the cells and the results as they
/// are now.
/// </summary>
public sealed record ReplayScratchpad(ScratchpadKey Scratchpad, ScratchpadKey Replay, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Apply(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Scratchpad.Aggregate, Replay) ?? refused;
    }

    async ValueTask<Refusal?> Apply(UnitOfWork work)
    {
        // Pinned: what is replayed is what is there.
        if (await work.PinnedState(Domain.Scratchpad.Aggregate, Scratchpad) is not Domain.Scratchpad.Live { ReplayOf: null } of)
        {
            return Refusal.NotFound("scratchpad");
        }
        if (of.Queue.Count > 0 || of.Running is not null)
        {
            return Refusal.Conflict("scratchpad_busy", "Cells of the scratchpad wait or are being executed: what is compared with would change.");
        }
        var cells = of.Cells.Where(cell => cell.IsCode).Select(cell => new NewCell(cell.CellId, cell.Type, cell.Content, cell.Language, cell.Result)).ToImmutableList();
        if (cells.IsEmpty)
        {
            return Refusal.Invalid("scratchpad_without_code", "scratchpad_id", "The scratchpad has no code cell.");
        }
        var create = new ScratchpadCommand.Create(Replay, of.SessionId, of.Title, cells, work.Now, Scratchpad, of.Subject);
        if (await work.Do(Domain.Scratchpad.Aggregate, Replay, create, of.SessionId, isNew: true) is { } refused)
        {
            return refused;
        }
        foreach (var cell in cells)
        {
            if (await work.Do(Domain.Scratchpad.Aggregate, Replay, new ScratchpadCommand.Queue(cell.CellId, null, work.Now), of.SessionId) is { } full)
            {
                return full;
            }
        }
        work.Start(new Job(ScratchpadHolder.JobKind, Replay.Value));
        return null;
    }
}
