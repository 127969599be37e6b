using System.Collections.Immutable;
using System.Text.Json.Serialization;

using static Cowork.Domain.ScheduleCommand;
using static Cowork.Domain.ScheduleEvent;

namespace Cowork.Domain;

/// <summary>Commands to a schedule. A command that decides a slot names it; if another slot is next, it is refused with <c>slot_decided</c>.</summary>
public abstract record ScheduleCommand(DateTimeOffset Now)
{
    /// <param name="By">The principal of the schedule's runs.</param>
    /// <param name="First">The first slot; null: the schedule starts paused.</param>
    /// <param name="Subject">The data subject whose texts it has; null: nobody's.</param>
    public sealed record Create(
        ScheduleKey ScheduleId, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, DateTimeOffset? First, DateTimeOffset Now,
        ImmutableList<Issuer>? Issuers = null, string? Subject = null) : ScheduleCommand(Now);

    /// <summary>Changes what is run, and when. Another timing is planned from now.</summary>
    public sealed record Change(ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);

    public sealed record Pause(DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>Resumes from now. Slots during the pause do not count as missed.</summary>
    public sealed record Resume(DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>Starts a run now, independent of the plan.</summary>
    /// <param name="SkillVersion">Null: the schedule has a prompt.</param>
    public sealed record Trigger(RunKey RunId, int? SkillVersion, DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>Starts the run of a slot.</summary>
    /// <param name="SkillVersion">Null: the schedule has a prompt.</param>
    public sealed record Fire(DateTimeOffset Slot, RunKey RunId, int? SkillVersion, bool CaughtUp, DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);

    /// <summary>Skips a slot, or a series of slots.</summary>
    /// <param name="Count">Number of slots; null: too many to count.</param>
    public sealed record Skip(DateTimeOffset Slot, DateTimeOffset Through, long? Count, string Reason, string Detail, DateTimeOffset Now, NextTime NextTime)
        : ScheduleCommand(Now);

    /// <summary>Restarts the plan at the present time, because the clock was set back.</summary>
    /// <param name="Slot">The slot that was next.</param>
    public sealed record Replan(DateTimeOffset Slot, DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);
}

/// <summary>Events of a schedule. An event that changes the next slot records it, because a slot must not change with the rules of a time zone.</summary>
public abstract record ScheduleEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="By">The principal of the schedule's runs.</param>
    /// <param name="Issuers">The persons behind the token that the schedule was made with; null: nobody else.</param>
    /// <param name="Next">The next slot; null: the schedule is paused.</param>
    /// <param name="Subject">The data subject whose texts it has; null: nobody's, or those of its session's subject (an earlier release did not record it).</param>
    public sealed record ScheduleCreated(
        ScheduleKey ScheduleId, [property: Personal] string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, DateTimeOffset? Next,
        DateTimeOffset At, ImmutableList<Issuer>? Issuers = null, string? Subject = null) : ScheduleEvent(At);

    /// <param name="Next">The next slot; null: there is none, or the schedule is paused.</param>
    public sealed record ScheduleChanged(ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, DateTimeOffset? Next, DateTimeOffset At) : ScheduleEvent(At);

    public sealed record SchedulePaused(DateTimeOffset At) : ScheduleEvent(At);

    public sealed record ScheduleResumed(Timing Timing, DateTimeOffset? Next, DateTimeOffset At) : ScheduleEvent(At);

    /// <summary>The same commit started a run.</summary>
    /// <param name="Slot">The planned time; null: a manual trigger.</param>
    /// <param name="SkillId">Null: the schedule has a prompt.</param>
    /// <param name="CaughtUp">The slot was missed and is caught up.</param>
    /// <param name="Next">The next slot; null also for a manual trigger, which does not change the plan.</param>
    public sealed record ScheduleTriggered(
        ScheduleKey ScheduleId, DateTimeOffset? Slot, SkillKey? SkillId, int? SkillVersion, RunKey RunId, TriggerMode Mode, bool CaughtUp, DateTimeOffset? Next, DateTimeOffset At)
        : ScheduleEvent(At);

    /// <summary>A slot, or a series of slots, without a run.</summary>
    /// <param name="Reason"><c>missed</c>, <c>overlap</c>, or the code of the refusal that prevented the run.</param>
    /// <param name="Through">The last slot of a series; null: one slot.</param>
    /// <param name="Count">Number of slots in the series; null: one slot, or too many to count.</param>
    public sealed record ScheduleSkipped(
        ScheduleKey ScheduleId, DateTimeOffset Slot, string Reason, string Detail, DateTimeOffset? Next, DateTimeOffset At, DateTimeOffset? Through = null, long? Count = null)
        : ScheduleEvent(At);

    /// <summary>The clock was set back. Times at which slots were decided by the wrong clock may come again.</summary>
    /// <param name="Slot">The slot that was next before.</param>
    public sealed record ScheduleReplanned(ScheduleKey ScheduleId, DateTimeOffset Slot, string Reason, Timing Timing, DateTimeOffset? Next, DateTimeOffset At) : ScheduleEvent(At);

    public sealed record ScheduleDeleted(DateTimeOffset At) : ScheduleEvent(At);
}

/// <summary>
/// What a schedule runs as a turn: in contract A a skill's template with parameters, in contract B a prompt in a project.
/// </summary>
/// <param name="SessionId">Null: a new session for each run.</param>
/// <param name="SkillId">Null: the schedule has a prompt.</param>
/// <param name="SkillVersion">Null: the latest version when a run starts.</param>
/// <param name="Params">The client's JSON object as text, so that it returns unchanged.</param>
/// <param name="Prompt">Null: the schedule has a skill.</param>
/// <param name="Project">Of a schedule with a prompt: the project of its sessions, which may be the built-in one.</param>
public sealed record ScheduleTarget(
    SessionKey? SessionId, SkillKey? SkillId, int? SkillVersion, [property: Personal(PersonalAttribute.Object)] Content? Params, Content? Prompt = null,
    ProjectKey? Project = null)
{
    /// <summary>The project of the schedule's new sessions; null: the built-in one.</summary>
    public ProjectKey? ProjectOfSessions() => Project is { IsGeneral: true } ? null : Project;
}

/// <summary>The policy for missed slots.</summary>
public enum Misfire
{
    /// <summary>Catches up the last missed slot.</summary>
    One,
    None,

    /// <summary>Catches up the last <see cref="Limits.SlotsCaughtUpMax"/> missed slots.</summary>
    All,
}

/// <summary>The policy for a slot while an earlier run of the schedule is live.</summary>
public enum Overlap
{
    Skip,

    /// <summary>The run waits in the session's queue.</summary>
    Queue,

    /// <summary>The run starts as soon as the session's queue allows.</summary>
    Parallel,
}

public enum TriggerMode
{
    Automatic,
    Manual,
}

/// <summary>The next step for a schedule.</summary>
public abstract record SlotStep
{
    /// <summary>No step until a command changes the schedule.</summary>
    public sealed record Idle : SlotStep;

    public sealed record Wait(DateTimeOffset Until) : SlotStep;

    public sealed record Fire(DateTimeOffset Slot, bool CaughtUp) : SlotStep;

    public sealed record Skip(DateTimeOffset Slot, DateTimeOffset Through, long? Count) : SlotStep;

    public sealed record Replan(DateTimeOffset Slot) : SlotStep;
}

/// <summary>
/// A plan of times at which a skill runs. Slots are decided in order and once each: a command for a decided slot is refused. The next step at a time follows
/// from the state (<see cref="Next"/>).
/// </summary>
public abstract record Schedule
{
    public const string Missed = "missed";
    public const string Overlapped = "overlap";

    public sealed record None : Schedule;

    /// <param name="Slot">The next slot; null: there is none.</param>
    /// <param name="LastRunId">Id of the last run.</param>
    /// <param name="DecidedAt">Time of the last event.</param>
    public sealed record Active(SchedulePlan Plan, DateTimeOffset? Slot, RunKey? LastRunId, DateTimeOffset DecidedAt) : Schedule, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Plan.Subject;
    }

    public sealed record Paused(SchedulePlan Plan, RunKey? LastRunId) : Schedule, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Plan.Subject;
    }

    public sealed record Deleted : Schedule;

    public static Aggregate<ScheduleKey, ScheduleCommand, ScheduleEvent, Schedule> Aggregate { get; } = new("schedule", new None(), Decide, Evolve);

    /// <summary>The plan; null: the schedule does not exist.</summary>
    public static SchedulePlan? PlanOf(Schedule state) => state switch
    {
        Active a => a.Plan,
        Paused p => p.Plan,
        _ => null,
    };

    public static Decision<ScheduleEvent> Decide(ScheduleCommand command, Schedule state) => (command, state) switch
    {
        (Create c, None) => new ScheduleCreated(c.ScheduleId, c.Name, c.Target, c.Timing, c.Misfire, c.Overlap, c.By, c.First, c.Now, c.Issuers, c.Subject),
        (Create c, _) when PlanOf(state)?.ScheduleId == c.ScheduleId => Decision<ScheduleEvent>.Nothing,
        (Change c, Active or Paused) => Changed(c, state, PlanOf(state)!),
        (Pause c, Active) => new SchedulePaused(c.Now),
        (Pause, Paused) => Decision<ScheduleEvent>.Nothing,
        (Resume c, Paused p) => Resumed(p.Plan.Timing.Restart(c.Now, c.NextTime), c.Now),
        (Resume, Active) => Decision<ScheduleEvent>.Nothing,
        (Delete c, Active or Paused) => new ScheduleDeleted(c.Now),
        (Trigger c, _) when PlanOf(state) is { } plan =>
            new ScheduleTriggered(plan.ScheduleId, null, plan.Target.SkillId, c.SkillVersion, c.RunId, TriggerMode.Manual, CaughtUp: false, null, c.Now),
        (Fire c, Active a) when a.Slot == c.Slot => new ScheduleTriggered(
            a.Plan.ScheduleId, c.Slot, a.Plan.Target.SkillId, c.SkillVersion, c.RunId, TriggerMode.Automatic, c.CaughtUp, a.Plan.Timing.Next(c.Slot, c.NextTime), c.Now),
        (Skip c, Active a) when a.Slot == c.Slot => Skipped(c, a.Plan),
        (Replan c, Active a) when a.Slot == c.Slot => Replanned(c, a.Plan, a.Plan.Timing.AfterSetBack(c.Now, a.DecidedAt, c.Slot, c.NextTime)),
        (Fire or Skip or Replan, Active or Paused) => Refusal.Conflict("slot_decided", "Another slot is next."),
        _ => Refusal.NotFound("scheduled run"),
    };

    public static Schedule Evolve(Schedule state, ScheduleEvent e) => (e, state) switch
    {
        (ScheduleCreated { Next: { } first } c, _) => new Active(NewPlan(c), first, null, c.At),
        (ScheduleCreated c, _) => new Paused(NewPlan(c), null),
        (ScheduleChanged c, Active a) => a with { Plan = Changed(a.Plan, c), Slot = c.Next, DecidedAt = c.At },
        (ScheduleChanged c, Paused p) => p with { Plan = Changed(p.Plan, c) },
        (SchedulePaused, Active a) => new Paused(a.Plan, a.LastRunId),
        (ScheduleResumed r, Paused p) => new Active(p.Plan with { Timing = r.Timing }, r.Next, p.LastRunId, r.At),
        (ScheduleTriggered { Mode: TriggerMode.Automatic } t, Active a) => a with { Slot = t.Next, LastRunId = t.RunId, DecidedAt = t.At },
        (ScheduleTriggered t, Active a) => a with { LastRunId = t.RunId, DecidedAt = t.At },
        (ScheduleTriggered t, Paused p) => p with { LastRunId = t.RunId },
        (ScheduleSkipped s, Active a) => a with { Slot = s.Next, DecidedAt = s.At },
        (ScheduleReplanned r, Active a) => a with { Plan = a.Plan with { Timing = r.Timing }, Slot = r.Next, DecidedAt = r.At },
        (ScheduleDeleted, Active or Paused) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    public static SlotStep Next(Schedule state, DateTimeOffset now, NextTime nextTime) => state switch
    {
        Active { Slot: { } slot } a when slot > now => a.DecidedAt - now > a.Plan.Timing.SetBackTolerance ? new SlotStep.Replan(slot) : new SlotStep.Wait(slot),
        Active { Slot: { } slot } a when !a.Plan.Timing.IsMissed(slot, now, nextTime) => new SlotStep.Fire(slot, CaughtUp: false),
        Active { Slot: { } slot } a => a.Plan.Timing.Skippable(slot, now, CatchUpMax(a.Plan.Misfire), nextTime) is { } skippable
            ? new SlotStep.Skip(slot, skippable.Through, skippable.Count)
            : new SlotStep.Fire(slot, CaughtUp: true),
        _ => new SlotStep.Idle(),
    };

    static int CatchUpMax(Misfire misfire) => misfire switch
    {
        Misfire.None => 0,
        Misfire.One => 1,
        _ => Limits.SlotsCaughtUpMax,
    };

    static SchedulePlan NewPlan(ScheduleCreated c) => new(c.ScheduleId, c.Target, c.Timing, c.Misfire, c.Overlap, c.By, c.Issuers, c.Subject);

    static SchedulePlan Changed(SchedulePlan plan, ScheduleChanged c) =>
        plan with { Target = c.Target, Timing = c.Timing, Misfire = c.Misfire, Overlap = c.Overlap };

    static Decision<ScheduleEvent> Changed(Change c, Schedule state, SchedulePlan plan)
    {
        var isReplanned = c.Timing != plan.Timing;
        return !isReplanned && (c.Target, c.Misfire, c.Overlap) == (plan.Target, plan.Misfire, plan.Overlap)
            ? Decision<ScheduleEvent>.Nothing
            : new ScheduleChanged(
                c.Target, c.Timing, c.Misfire, c.Overlap, state is not Active active ? null : isReplanned ? c.Timing.First(c.Now, c.NextTime) : active.Slot, c.Now);
    }

    static ScheduleResumed Resumed((Timing Timing, DateTimeOffset? Next) restarted, DateTimeOffset now) => new(restarted.Timing, restarted.Next, now);

    static ScheduleSkipped Skipped(Skip c, SchedulePlan plan)
    {
        var isSeries = c.Through > c.Slot;
        return new(plan.ScheduleId, c.Slot, c.Reason, c.Detail, plan.Timing.Next(c.Through, c.NextTime), c.Now, isSeries ? c.Through : null, isSeries ? c.Count : null);
    }

    static ScheduleReplanned Replanned(Replan c, SchedulePlan plan, (Timing Timing, DateTimeOffset? Next) restarted) =>
        new(plan.ScheduleId, c.Slot, "clock_set_back", restarted.Timing, restarted.Next, c.Now);
}

/// <summary>What a schedule runs, and when.</summary>
/// <param name="By">The principal of the runs.</param>
/// <param name="Issuers">The persons behind that principal's token; null: nobody else.</param>
/// <param name="Subject">As in <see cref="ScheduleCreated"/>.</param>
public sealed record SchedulePlan(
    ScheduleKey ScheduleId, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, ImmutableList<Issuer>? Issuers = null,
    string? Subject = null);
