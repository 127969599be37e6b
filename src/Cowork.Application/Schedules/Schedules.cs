using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a schedule.</summary>
/// <param name="By">The principal of the schedule's runs.</param>
/// <param name="Active">False: the schedule starts paused.</param>
/// <param name="Unfit">Why the skill cannot run with these parameters; null: it can.</param>
public sealed record CreateSchedule(
    ScheduleKey Schedule, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, bool Active, RequestKey? Header = null,
    Refusal? Unfit = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Create(work);
        return Header is null ? refused : await Header.Claim(work, Domain.Schedule.Aggregate, Schedule) ?? refused;
    }

    async ValueTask<Refusal?> Create(UnitOfWork work)
    {
        if (Unfit is not null)
        {
            return Unfit;
        }
        if (await work.State(Session.Aggregate, Target.SessionId) is not Session.Open)
        {
            return Refusal.NotFound("session");
        }
        var first = Active ? Timing.First(work.Now, work.NextTime) : null;
        if (first is { } due)
        {
            work.Start(new Job(Scheduler.JobKind, Schedule.Value, due));
        }
        return await work.Do(
            Domain.Schedule.Aggregate, Schedule, new ScheduleCommand.Create(Schedule, Name, Target, Timing, Misfire, Overlap, By, first, work.Now, work.By.Issuers),
            Target.SessionId);
    }
}

/// <summary>Pauses a schedule until it is resumed.</summary>
public sealed record PauseSchedule(ScheduleKey Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Pause(work.Now), Header);
}

/// <summary>Resumes a paused schedule, planned from now.</summary>
public sealed record ResumeSchedule(ScheduleKey Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Resume(work.Now, work.NextTime), Header);
}

/// <summary>Deletes a schedule. Its live runs continue.</summary>
public sealed record DeleteSchedule(ScheduleKey Schedule) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Cancel(Scheduler.JobKind, Schedule.Value);
        return await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Delete(work.Now));
    }
}

/// <summary>Starts a run of a schedule by a manual trigger.</summary>
/// <param name="Turn">The run.</param>
public sealed record TriggerSchedule(ScheduleKey Schedule, SubmitTurn Turn) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var trigger = new ScheduleCommand.Trigger(Turn.RunId, Turn.Source!.SkillVersion!.Value, work.Now);
        // A used key answers first, whatever has happened to the schedule since.
        return await Turn.Decide(work) ?? await ScheduleWork.Do(work, Schedule, trigger, Turn.RunId);
    }
}

/// <summary>Starts the run of a slot. The slot, its run and the job of the next slot are one commit, so that none is lost or repeated.</summary>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Turn">The run.</param>
public sealed record FireSlot(ScheduleKey Schedule, Claim Claim, DateTimeOffset Slot, bool CaughtUp, SubmitTurn Turn) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Domain.Schedule.Aggregate, Schedule);
        var fire = new ScheduleCommand.Fire(Slot, Turn.RunId, Turn.Source!.SkillVersion!.Value, CaughtUp, work.Now, work.NextTime);
        if (await ScheduleWork.Do(work, Schedule, fire, Turn.RunId) is { } decided)
        {
            return decided;
        }
        var active = (Schedule.Active)before;
        switch (await work.State(Session.Aggregate, Turn.Session))
        {
            case Session.Open session when active is { Plan.Overlap: Overlap.Skip, LastRunId: { } last } && session.Queue.Contains(last):
                return new Refusal(Domain.Schedule.Overlapped, 409, $"The previous run, {last}, has not ended.");
            case Session.Open:
                return await Turn.Decide(work) ?? await ScheduleWork.PlanNext(work, Schedule, Claim);
            default:
                return new Refusal("session_not_found", 404, "The session was deleted.");
        }
    }
}

/// <summary>Records that a slot, or a series of slots, has no run.</summary>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Through">The last slot of the series.</param>
/// <param name="Count">Number of slots; null: too many to count.</param>
public sealed record SkipSlots(ScheduleKey Schedule, Claim Claim, DateTimeOffset Slot, DateTimeOffset Through, long? Count, string Reason, string Detail) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Skip(Slot, Through, Count, Reason, Detail, work.Now, work.NextTime))
            ?? await ScheduleWork.PlanNext(work, Schedule, Claim);
}

/// <summary>Plans the next slot again after the clock was set back.</summary>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Slot">The slot that was next.</param>
public sealed record ReplanSchedule(ScheduleKey Schedule, Claim Claim, DateTimeOffset Slot) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Replan(Slot, work.Now, work.NextTime)) ?? await ScheduleWork.PlanNext(work, Schedule, Claim);
}

/// <summary>Steps that the commands to schedules share.</summary>
static class ScheduleWork
{
    /// <summary>Executes a command; its events also appear in the feed of the schedule's session.</summary>
    public static async ValueTask<Refusal?> Do(UnitOfWork work, ScheduleKey schedule, ScheduleCommand command, RunKey? run = null)
    {
        var plan = Schedule.PlanOf(await work.State(Schedule.Aggregate, schedule));
        return await work.Do(Schedule.Aggregate, schedule, command, plan?.Target.SessionId, run);
    }

    public static async ValueTask<Refusal?> Change(UnitOfWork work, ScheduleKey schedule, ScheduleCommand command, RequestKey? header)
    {
        var before = await work.State(Schedule.Aggregate, schedule);
        var refused = await Do(work, schedule, command);
        var after = await work.State(Schedule.Aggregate, schedule);
        if (!ReferenceEquals(before, after))
        {
            if (after is Schedule.Active { Slot: { } slot })
            {
                work.Start(new Job(Scheduler.JobKind, schedule.Value, slot));
            }
            else
            {
                work.Cancel(Scheduler.JobKind, schedule.Value);
            }
        }
        return header is null ? refused : await header.Claim(work, Schedule.Aggregate, schedule) ?? refused;
    }

    /// <summary>Finishes the claimed job and starts the job of the next slot.</summary>
    public static async ValueTask<Refusal?> PlanNext(UnitOfWork work, ScheduleKey schedule, Claim claim)
    {
        work.Finish(claim);
        if (await work.State(Schedule.Aggregate, schedule) is Schedule.Active { Slot: { } slot })
        {
            work.Start(new Job(Scheduler.JobKind, schedule.Value, slot));
        }
        return null;
    }
}
