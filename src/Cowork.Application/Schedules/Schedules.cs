using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a schedule.</summary>
/// <param name="Key">Key of the schedule.</param>
/// <param name="By">The principal of the schedule's runs.</param>
/// <param name="Active">False: the schedule starts paused.</param>
/// <param name="Unfit">Why the skill cannot run with these parameters; null: it can.</param>
public sealed record CreateSchedule(
    string Key, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, bool Active, RequestKey? Header = null,
    Refusal? Unfit = null) : ICommand
{
    public string ScheduleId => $"sched_{Key}";

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Create(work);
        return Header is null ? refused : await Header.Claim(work, Schedule.Aggregate, Key) ?? refused;
    }

    async ValueTask<Refusal?> Create(UnitOfWork work)
    {
        if (Unfit is not null)
        {
            return Unfit;
        }
        var session = Ids.SessionKey(Target.SessionId)!;
        if (await work.State(Session.Aggregate, session) is not Session.Open)
        {
            return Refusal.NotFound("session");
        }
        var first = Active ? Timing.First(work.Now, work.NextTime) : null;
        if (first is { } due)
        {
            work.Start(new Job(Scheduler.JobKind, Key, due));
        }
        return await work.Do(
            Schedule.Aggregate, Key, new ScheduleCommand.Create(ScheduleId, Name, Target, Timing, Misfire, Overlap, By, first, work.Now), session);
    }
}

/// <summary>Pauses a schedule until it is resumed.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record PauseSchedule(string Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Pause(work.Now), Header);
}

/// <summary>Resumes a paused schedule, planned from now.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record ResumeSchedule(string Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Resume(work.Now, work.NextTime), Header);
}

/// <summary>Deletes a schedule. Its live runs continue.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record DeleteSchedule(string Schedule) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Cancel(Scheduler.JobKind, Schedule);
        return await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Delete(work.Now));
    }
}

/// <summary>Starts a run of a schedule by a manual trigger.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Turn">The run.</param>
public sealed record TriggerSchedule(string Schedule, SubmitTurn Turn) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var trigger = new ScheduleCommand.Trigger(Turn.RunId, Turn.Source!.SkillVersion!.Value, work.Now);
        // A used key answers first, whatever has happened to the schedule since.
        return await Turn.Decide(work) ?? await ScheduleWork.Do(work, Schedule, trigger, Ids.Key(Turn.RunId, "run"));
    }
}

/// <summary>Starts the run of a slot. The slot, its run and the job of the next slot are one commit, so that none is lost or repeated.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Turn">The run.</param>
public sealed record FireSlot(string Schedule, Claim Claim, DateTimeOffset Slot, bool CaughtUp, SubmitTurn Turn) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Domain.Schedule.Aggregate, Schedule);
        var fire = new ScheduleCommand.Fire(Slot, Turn.RunId, Turn.Source!.SkillVersion!.Value, CaughtUp, work.Now, work.NextTime);
        if (await ScheduleWork.Do(work, Schedule, fire, Ids.Key(Turn.RunId, "run")) is { } decided)
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
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Through">The last slot of the series.</param>
/// <param name="Count">Number of slots; null: too many to count.</param>
public sealed record SkipSlots(string Schedule, Claim Claim, DateTimeOffset Slot, DateTimeOffset Through, long? Count, string Reason, string Detail) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Skip(Slot, Through, Count, Reason, Detail, work.Now, work.NextTime))
            ?? await ScheduleWork.PlanNext(work, Schedule, Claim);
}

/// <summary>Plans the next slot again after the clock was set back.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Slot">The slot that was next.</param>
public sealed record ReplanSchedule(string Schedule, Claim Claim, DateTimeOffset Slot) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Replan(Slot, work.Now, work.NextTime)) ?? await ScheduleWork.PlanNext(work, Schedule, Claim);
}

/// <summary>Steps that the commands to schedules share.</summary>
static class ScheduleWork
{
    /// <summary>Executes a command; its events also appear in the feed of the schedule's session.</summary>
    public static async ValueTask<Refusal?> Do(UnitOfWork work, string schedule, ScheduleCommand command, string? run = null)
    {
        var plan = Schedule.PlanOf(await work.State(Schedule.Aggregate, schedule));
        return await work.Do(Schedule.Aggregate, schedule, command, plan is null ? null : Ids.SessionKey(plan.Target.SessionId), run);
    }

    public static async ValueTask<Refusal?> Change(UnitOfWork work, string schedule, ScheduleCommand command, RequestKey? header)
    {
        var before = await work.State(Schedule.Aggregate, schedule);
        var refused = await Do(work, schedule, command);
        var after = await work.State(Schedule.Aggregate, schedule);
        if (!ReferenceEquals(before, after))
        {
            if (after is Schedule.Active { Slot: { } slot })
            {
                work.Start(new Job(Scheduler.JobKind, schedule, slot));
            }
            else
            {
                work.Cancel(Scheduler.JobKind, schedule);
            }
        }
        return header is null ? refused : await header.Claim(work, Schedule.Aggregate, schedule) ?? refused;
    }

    /// <summary>Finishes the claimed job and starts the job of the next slot.</summary>
    public static async ValueTask<Refusal?> PlanNext(UnitOfWork work, string schedule, Claim claim)
    {
        work.Finish(claim);
        if (await work.State(Schedule.Aggregate, schedule) is Schedule.Active { Slot: { } slot })
        {
            work.Start(new Job(Scheduler.JobKind, schedule, slot));
        }
        return null;
    }
}
