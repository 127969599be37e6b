using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Makes a schedule.</summary>
/// <param name="Key">Of the schedule's stream.</param>
/// <param name="By">The principal for which its runs act.</param>
/// <param name="Active">False: it begins paused.</param>
/// <param name="Unfit">Why its skill comes to nothing with these parameters; null: it comes to something.</param>
public sealed record CreateSchedule(
    string Key, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, bool Active, RequestKey? Header = null,
    Refusal? Unfit = null) : ICommand
{
    public string ScheduleId => $"sched_{Key}";

    /// <summary>Makes what the request is answered with, kept for who sends it again; it is given the first slot and the time of the schedule's beginning.</summary>
    [JsonIgnore]
    public Func<DateTimeOffset?, DateTimeOffset, ValueTask<StoredAnswer>>? Answer { get; init; }

    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var first = Active ? Timing.First(work.Now, work.NextTime) : null;
        var answer = Answer is null ? null : await Answer(first, work.Now);
        if (Header is not null && await Header.Claim(work, null, answer) is { } claimed)
        {
            return claimed;
        }
        if (Unfit is not null)
        {
            return Unfit;
        }
        var session = Ids.SessionKey(Target.SessionId)!;
        if (await work.State(Session.Aggregate, session) is not Session.Open)
        {
            return Refusal.NotFound("session");
        }
        if (first is { } due)
        {
            work.Start(new Job(Scheduler.JobKind, Key, due));
        }
        return await work.Do(
            Schedule.Aggregate, Key, new ScheduleCommand.Create(ScheduleId, Name, Target, Timing, Misfire, Overlap, By, first, work.Now), session);
    }
}

/// <summary>Has a schedule wait until it is resumed.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record PauseSchedule(string Schedule, RequestKey? Header = null) : ICommand
{
    /// <summary>Makes what the request is answered with from the schedule as it is then, kept for who sends it again.</summary>
    [JsonIgnore]
    public Func<Schedule, DateTimeOffset, ValueTask<StoredAnswer>>? Answer { get; init; }

    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Pause(work.Now), Header, Answer);
}

/// <summary>Lets a paused schedule go on, planned from now.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record ResumeSchedule(string Schedule, RequestKey? Header = null) : ICommand
{
    /// <summary>Makes what the request is answered with from the schedule as it is then, kept for who sends it again.</summary>
    [JsonIgnore]
    public Func<Schedule, DateTimeOffset, ValueTask<StoredAnswer>>? Answer { get; init; }

    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, new ScheduleCommand.Resume(work.Now, work.NextTime), Header, Answer);
}

/// <summary>Deletes a schedule; runs that it started go on.</summary>
/// <param name="Schedule">Key of the schedule.</param>
public sealed record DeleteSchedule(string Schedule) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Cancel(Scheduler.JobKind, Schedule);
        return await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Delete(work.Now));
    }
}

/// <summary>Starts a run of a schedule now, because somebody asks for it.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Turn">The run.</param>
public sealed record TriggerSchedule(string Schedule, SubmitTurn Turn) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var trigger = new ScheduleCommand.Trigger(Turn.RunId, Turn.Source!.SkillVersion!.Value, work.Now);
        // A key that was used before speaks first, whatever became of the schedule since.
        return await Turn.Decide(work) ?? await ScheduleWork.Do(work, Schedule, trigger, Ids.Key(Turn.RunId, "run"));
    }
}

/// <summary>Starts the run of a slot. The slot, its run and the job of the next slot are one commit, so that none of them is lost and none comes twice.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">To decide its slots.</param>
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
                return new Refusal(Domain.Schedule.Overlapped, 409, $"The run before, {last}, has not ended.");
            case Session.Open:
                return await Turn.Decide(work) ?? await ScheduleWork.GoOn(work, Schedule, Claim);
            default:
                return new Refusal("session_not_found", 404, "The session was deleted.");
        }
    }
}

/// <summary>Notes that a slot, or a row of them, has no run.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">To decide its slots.</param>
/// <param name="Through">The last slot of the row.</param>
/// <param name="Count">How many they are; null: too many to be counted.</param>
public sealed record SkipSlots(string Schedule, Claim Claim, DateTimeOffset Slot, DateTimeOffset Through, long? Count, string Reason, string Detail) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Skip(Slot, Through, Count, Reason, Detail, work.Now, work.NextTime))
            ?? await ScheduleWork.GoOn(work, Schedule, Claim);
}

/// <summary>Plans anew after the clock was set back.</summary>
/// <param name="Schedule">Key of the schedule.</param>
/// <param name="Claim">To decide its slots.</param>
/// <param name="Slot">The one that was next.</param>
public sealed record ReplanSchedule(string Schedule, Claim Claim, DateTimeOffset Slot) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work) =>
        await ScheduleWork.Do(work, Schedule, new ScheduleCommand.Replan(Slot, work.Now, work.NextTime)) ?? await ScheduleWork.GoOn(work, Schedule, Claim);
}

/// <summary>What the commands to schedules have in common.</summary>
static class ScheduleWork
{
    /// <summary>Puts a command's events into the feed of the session that the schedule is for.</summary>
    public static async ValueTask<Refusal?> Do(UnitOfWork work, string schedule, ScheduleCommand command, string? run = null)
    {
        var plan = Schedule.PlanOf(await work.State(Schedule.Aggregate, schedule));
        return await work.Do(Schedule.Aggregate, schedule, command, plan is null ? null : Ids.SessionKey(plan.Target.SessionId), run);
    }

    public static async ValueTask<Refusal?> Change(
        UnitOfWork work, string schedule, ScheduleCommand command, RequestKey? header, Func<Schedule, DateTimeOffset, ValueTask<StoredAnswer>>? answer)
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
        var stored = refused is null && answer is not null ? await answer(after, work.Now) : null;
        // A key that was used before speaks first, whatever became of the schedule since.
        return header is null ? refused : await header.Claim(work, null, stored) ?? refused;
    }

    /// <summary>Ends the claim, and begins the wait for the slot that is next now.</summary>
    public static async ValueTask<Refusal?> GoOn(UnitOfWork work, string schedule, Claim claim)
    {
        work.Finish(claim);
        if (await work.State(Schedule.Aggregate, schedule) is Schedule.Active { Slot: { } slot })
        {
            work.Start(new Job(Scheduler.JobKind, schedule, slot));
        }
        return null;
    }
}
