using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Creates a schedule.</summary>
/// <param name="By">The principal of the schedule's runs.</param>
/// <param name="Active">False: the schedule starts paused.</param>
/// <param name="Unfit">Why the skill cannot run with these parameters; null: it can, or the schedule has a prompt.</param>
/// <param name="Subject">The data subject whose texts it has, where it has no session; null: nobody's. With a session it is the session's.</param>
public sealed record CreateSchedule(
    ScheduleKey Schedule, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, bool Active, RequestKey? Header = null,
    Refusal? Unfit = null, string? Subject = null) : ICommand
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
        if (await MisplacedTarget(work) is { } misplaced)
        {
            return misplaced;
        }
        var first = Active ? Timing.First(work.Now, work.NextTime) : null;
        if (first is { } due)
        {
            work.Start(new Job(Scheduler.JobKind, Schedule.Value, due));
        }
        var subject = Target.SessionId is { } of ? (await work.State(Session.Aggregate, of) as IOfSubject)?.Subject : Subject;
        var create = new ScheduleCommand.Create(Schedule, Name, Target, Timing, Misfire, Overlap, By, first, work.Now, work.By.Issuers, subject);
        return await work.Do(Domain.Schedule.Aggregate, Schedule, create, Target.SessionId);
    }

    async ValueTask<Refusal?> MisplacedTarget(UnitOfWork work)
    {
        // Pinned: no schedule begins in a project that is deleted at the same time.
        if (Target.ProjectOfSessions() is { } project && await work.PinnedState(Project.Aggregate, project) is not Project.Live)
        {
            return Refusal.NotFound("project");
        }
        return Target.SessionId is not { } key ? null
            : await work.State(Session.Aggregate, key) is not Session.Open session ? Refusal.NotFound("session")
            : await SessionOfGroup.WhyRefused(work, session) is { } ofGroup ? ofGroup
            : Target.Project is not null && session.Project != Target.ProjectOfSessions()
                ? Refusal.Invalid("invalid_request", "$.conversation_id", "The conversation belongs to another project.")
            : null;
    }
}

/// <summary>Changes a schedule that has a prompt. What is left out stays.</summary>
/// <param name="Prompt">Null: as it is.</param>
/// <param name="Expression">Cron expression; null: as it is.</param>
/// <param name="Zone">Null: as it is.</param>
/// <param name="Active">False: it is paused. Null: as it is.</param>
public sealed record ChangeSchedule(
    ScheduleKey Schedule, Content? Prompt, string? Expression, string? Zone, Misfire? Misfire, Overlap? Overlap, bool? Active, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (Domain.Schedule.PlanOf(await work.State(Domain.Schedule.Aggregate, Schedule)) is not { Target.Prompt: not null, Timing: Timing.Times before } plan)
        {
            return Refusal.NotFound("schedule");
        }
        var (times, unfit) = Timing.Times.Of(Expression ?? before.Expression, Zone ?? before.Zone, "$.cron", "$.timezone", work.NextTime);
        if (times is null)
        {
            return unfit;
        }
        var change = new ScheduleCommand.Change(
            plan.Target with { Prompt = Prompt ?? plan.Target.Prompt }, times, Misfire ?? plan.Misfire, Overlap ?? plan.Overlap, work.Now, work.NextTime);
        ScheduleCommand? then = Active switch
        {
            true => new ScheduleCommand.Resume(work.Now, work.NextTime),
            false => new ScheduleCommand.Pause(work.Now),
            null => null,
        };
        return await ScheduleWork.Change(work, Schedule, then is null ? [change] : [change, then], Header);
    }
}

/// <summary>Pauses a schedule until it is resumed.</summary>
public sealed record PauseSchedule(ScheduleKey Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, [new ScheduleCommand.Pause(work.Now)], Header);
}

/// <summary>Resumes a paused schedule, planned from now.</summary>
public sealed record ResumeSchedule(ScheduleKey Schedule, RequestKey? Header = null) : ICommand
{
    public ValueTask<Refusal?> Decide(UnitOfWork work) => ScheduleWork.Change(work, Schedule, [new ScheduleCommand.Resume(work.Now, work.NextTime)], Header);
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

/// <summary>Deletes schedules with one commit. Those that were deleted before are passed over.</summary>
public sealed record DeleteSchedules(IReadOnlyList<ScheduleKey> Schedules) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        foreach (var schedule in Schedules)
        {
            if (Schedule.PlanOf(await work.State(Schedule.Aggregate, schedule)) is not null && await new DeleteSchedule(schedule).Decide(work) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }
}

/// <summary>Starts a run of a schedule by a manual trigger.</summary>
/// <param name="Turn">The run.</param>
/// <param name="Opens">The session that begins with it; null: there is one.</param>
public sealed record TriggerSchedule(ScheduleKey Schedule, SubmitTurn Turn, OpenSession? Opens = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var trigger = new ScheduleCommand.Trigger(Turn.RunId, Turn.Source!.SkillVersion, work.Now);
        // A used key answers first, whatever has happened to the schedule since.
        return await ScheduleWork.Open(work, Opens) ?? await Turn.Decide(work) ?? await ScheduleWork.Do(work, Schedule, trigger, Turn);
    }
}

/// <summary>Starts the run of a slot. The slot, its run and the job of the next slot are one commit, so that none is lost or repeated.</summary>
/// <param name="Claim">The claim on the schedule's job.</param>
/// <param name="Turn">The run.</param>
/// <param name="Opens">The session that begins with it; null: there is one.</param>
public sealed record FireSlot(ScheduleKey Schedule, Claim Claim, DateTimeOffset Slot, bool CaughtUp, SubmitTurn Turn, OpenSession? Opens = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var before = await work.State(Domain.Schedule.Aggregate, Schedule);
        var fire = new ScheduleCommand.Fire(Slot, Turn.RunId, Turn.Source!.SkillVersion, CaughtUp, work.Now, work.NextTime);
        var unopened = await ScheduleWork.Open(work, Opens);
        if (await ScheduleWork.Do(work, Schedule, fire, Turn) is { } decided)
        {
            return decided;
        }
        if (before is Schedule.Active { Plan.Overlap: Overlap.Skip, LastRunId: { } last } && await IsLive(work, last))
        {
            return new Refusal(Domain.Schedule.Overlapped, 409, $"The previous run, {last}, has not ended.");
        }
        if (unopened is not null)
        {
            return unopened.Code == "not_found" ? new Refusal("project_not_found", 404, "The project was deleted.") : unopened;
        }
        return await work.State(Session.Aggregate, Turn.Session) is not Session.Open ? Gone
            : await Turn.Decide(work) switch
            {
                null => await ScheduleWork.PlanNext(work, Schedule, Claim),
                // The session's project was deleted, and it will be.
                { Code: "not_found" } => Gone,
                var refused => refused,
            };
    }

    static Refusal Gone => new("session_not_found", 404, "The session was deleted.");

    /// <summary>The run waits, works or is suspended, in whichever session.</summary>
    static async ValueTask<bool> IsLive(UnitOfWork work, RunKey run) => await work.State(Run.Aggregate, run) is not (Run.Ended or Run.None);
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
    /// <summary>Executes a command; its events also appear in the feed of the run's session, or of the schedule's.</summary>
    /// <param name="turn">The run that it starts; null: none.</param>
    public static async ValueTask<Refusal?> Do(UnitOfWork work, ScheduleKey schedule, ScheduleCommand command, SubmitTurn? turn = null)
    {
        var plan = Schedule.PlanOf(await work.State(Schedule.Aggregate, schedule));
        if (plan is { Subject: null, Target.SessionId: { } of })
        {
            // An earlier release did not record whose texts it has: the session tells.
            await work.State(Session.Aggregate, of);
        }
        return await work.Do(Schedule.Aggregate, schedule, command, turn?.Session ?? plan?.Target.SessionId, turn?.RunId);
    }

    /// <summary>Opens the session of a run. The session's feed begins with it.</summary>
    /// <param name="session">Null: there is one.</param>
    public static async ValueTask<Refusal?> Open(UnitOfWork work, OpenSession? session)
    {
        if (session is null)
        {
            return null;
        }
        var refused = await session.Decide(work);
        work.ContinueAfter();
        return refused;
    }

    public static async ValueTask<Refusal?> Change(UnitOfWork work, ScheduleKey schedule, IReadOnlyList<ScheduleCommand> changes, RequestKey? header)
    {
        var before = await work.State(Schedule.Aggregate, schedule);
        Refusal? refused = null;
        foreach (var command in changes)
        {
            refused ??= await Do(work, schedule, command);
        }
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
