using static Cowork.Domain.ScheduleCommand;
using static Cowork.Domain.ScheduleEvent;

namespace Cowork.Domain;

/// <summary>Commands to a schedule. Those that decide a slot name it: one that is not the next one any more is refused with <c>slot_decided</c>.</summary>
public abstract record ScheduleCommand(DateTimeOffset Now)
{
    /// <param name="By">The principal for which the schedule's runs act.</param>
    /// <param name="First">Its first slot; null: it begins paused.</param>
    public sealed record Create(
        string ScheduleId, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, DateTimeOffset? First, DateTimeOffset Now)
        : ScheduleCommand(Now);

    public sealed record Pause(DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>Goes on from now: what would have been meanwhile is not missed.</summary>
    public sealed record Resume(DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>Somebody wants a run now, whatever is planned.</summary>
    public sealed record Trigger(string RunId, int SkillVersion, DateTimeOffset Now) : ScheduleCommand(Now);

    /// <summary>The slot's run starts.</summary>
    public sealed record Fire(DateTimeOffset Slot, string RunId, int SkillVersion, bool CaughtUp, DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);

    /// <summary>The slot, or a row of slots up to another one, has no run.</summary>
    /// <param name="Count">How many slots that are; null: too many to be counted.</param>
    public sealed record Skip(DateTimeOffset Slot, DateTimeOffset Through, long? Count, string Reason, string Detail, DateTimeOffset Now, NextTime NextTime)
        : ScheduleCommand(Now);

    /// <summary>The clock was set back: the plan begins anew by what it shows now.</summary>
    /// <param name="Slot">The one that was next.</param>
    public sealed record Replan(DateTimeOffset Slot, DateTimeOffset Now, NextTime NextTime) : ScheduleCommand(Now);
}

/// <summary>Facts about a schedule. Those after which another slot comes next say which: what was planned must not change with the rules of a time zone.</summary>
public abstract record ScheduleEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="By">The principal for which the schedule's runs act.</param>
    /// <param name="Next">The next slot; null: it is paused.</param>
    public sealed record ScheduleCreated(
        string ScheduleId, string Name, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By, DateTimeOffset? Next, DateTimeOffset At)
        : ScheduleEvent(At);

    public sealed record SchedulePaused(DateTimeOffset At) : ScheduleEvent(At);

    public sealed record ScheduleResumed(Timing Timing, DateTimeOffset? Next, DateTimeOffset At) : ScheduleEvent(At);

    /// <summary>A run was started, in the same commit.</summary>
    /// <param name="Slot">The planned time; null: by hand.</param>
    /// <param name="CaughtUp">The slot had been missed.</param>
    /// <param name="Next">The slot after it; null also when by hand, which changes no plan.</param>
    public sealed record ScheduleTriggered(
        string ScheduleId, DateTimeOffset? Slot, string SkillId, int SkillVersion, string RunId, TriggerMode Mode, bool CaughtUp, DateTimeOffset? Next, DateTimeOffset At)
        : ScheduleEvent(At);

    /// <summary>A planned time without a run, or a row of them.</summary>
    /// <param name="Reason"><c>missed</c>, <c>overlap</c>, or why no run could be started.</param>
    /// <param name="Through">The last slot of the row; null: it is one slot.</param>
    /// <param name="Count">How many slots the row has; null without a row, and when they were too many to be counted.</param>
    public sealed record ScheduleSkipped(
        string ScheduleId, DateTimeOffset Slot, string Reason, string Detail, DateTimeOffset? Next, DateTimeOffset At, DateTimeOffset? Through = null, long? Count = null)
        : ScheduleEvent(At);

    /// <summary>The clock was set back, and slots may come by its times that came before by the wrong ones.</summary>
    /// <param name="Slot">The one that was next before.</param>
    public sealed record ScheduleReplanned(string ScheduleId, DateTimeOffset Slot, string Reason, Timing Timing, DateTimeOffset? Next, DateTimeOffset At) : ScheduleEvent(At);

    public sealed record ScheduleDeleted(DateTimeOffset At) : ScheduleEvent(At);
}

/// <summary>What a schedule starts: a skill's template with parameters, as a turn of a session.</summary>
/// <param name="SkillVersion">Null: the latest when a run starts.</param>
/// <param name="Params">The client's own JSON object, as text, so that it comes back as it came.</param>
public sealed record ScheduleTarget(string SessionId, string SkillId, int? SkillVersion, Content Params);

/// <summary>What becomes of slots that were missed.</summary>
public enum Misfire
{
    /// <summary>The last of them is caught up.</summary>
    One,
    None,

    /// <summary>They are caught up, but no more than the last <see cref="Limits.SlotsCaughtUpMax"/>.</summary>
    All,
}

/// <summary>What becomes of a slot while an earlier run of the schedule has not ended.</summary>
public enum Overlap
{
    Skip,

    /// <summary>Its run waits its turn in the session.</summary>
    Queue,

    /// <summary>Its run starts as soon as it can: in a session that others use, in its turn.</summary>
    Parallel,
}

public enum TriggerMode
{
    Automatic,
    Manual,
}

/// <summary>The one thing to be done about a schedule now.</summary>
public abstract record SlotStep
{
    /// <summary>Nothing, until somebody changes it.</summary>
    public sealed record Idle : SlotStep;

    public sealed record Wait(DateTimeOffset Until) : SlotStep;

    public sealed record Fire(DateTimeOffset Slot, bool CaughtUp) : SlotStep;

    public sealed record Skip(DateTimeOffset Slot, DateTimeOffset Through, long? Count) : SlotStep;

    public sealed record Replan(DateTimeOffset Slot) : SlotStep;
}

/// <summary>
/// A plan of times at which a skill is run. Its slots are decided one after the other, each once, by the stream's order: who wants to decide one that
/// another has decided is refused. What is to be done at a time follows from the state (<see cref="Next"/>).
/// </summary>
public abstract record Schedule
{
    public const string Missed = "missed";
    public const string Overlapped = "overlap";

    public sealed record None : Schedule;

    /// <param name="Slot">The next slot; null: none comes any more.</param>
    /// <param name="LastRunId">Of the run that was started last.</param>
    /// <param name="Decided">When something happened to it last.</param>
    public sealed record Active(SchedulePlan Plan, DateTimeOffset? Slot, string? LastRunId, DateTimeOffset Decided) : Schedule;

    public sealed record Paused(SchedulePlan Plan, string? LastRunId) : Schedule;

    public sealed record Deleted : Schedule;

    public static Aggregate<ScheduleCommand, ScheduleEvent, Schedule> Aggregate { get; } = new("schedule", new None(), Decide, Evolve);

    /// <summary>What is planned; null: there is no schedule.</summary>
    public static SchedulePlan? PlanOf(Schedule state) => state switch
    {
        Active a => a.Plan,
        Paused p => p.Plan,
        _ => null,
    };

    public static Decision<ScheduleEvent> Decide(ScheduleCommand command, Schedule state) => (command, state) switch
    {
        (Create c, None) => new ScheduleCreated(c.ScheduleId, c.Name, c.Target, c.Timing, c.Misfire, c.Overlap, c.By, c.First, c.Now),
        (Create c, _) when PlanOf(state)?.ScheduleId == c.ScheduleId => Decision<ScheduleEvent>.Nothing,
        (Pause c, Active) => new SchedulePaused(c.Now),
        (Pause, Paused) => Decision<ScheduleEvent>.Nothing,
        (Resume c, Paused p) => Resumed(p.Plan.Timing.Anew(c.Now, c.NextTime), c.Now),
        (Resume, Active) => Decision<ScheduleEvent>.Nothing,
        (Delete c, Active or Paused) => new ScheduleDeleted(c.Now),
        (Trigger c, _) when PlanOf(state) is { } plan =>
            new ScheduleTriggered(plan.ScheduleId, null, plan.Target.SkillId, c.SkillVersion, c.RunId, TriggerMode.Manual, CaughtUp: false, null, c.Now),
        (Fire c, Active a) when a.Slot == c.Slot => new ScheduleTriggered(
            a.Plan.ScheduleId, c.Slot, a.Plan.Target.SkillId, c.SkillVersion, c.RunId, TriggerMode.Automatic, c.CaughtUp, a.Plan.Timing.Next(c.Slot, c.NextTime), c.Now),
        (Skip c, Active a) when a.Slot == c.Slot => Skipped(c, a.Plan),
        (Replan c, Active a) when a.Slot == c.Slot => Replanned(c, a.Plan, a.Plan.Timing.AfterSetBack(c.Now, a.Decided, c.Slot, c.NextTime)),
        (Fire or Skip or Replan, Active or Paused) => Refusal.Conflict("slot_decided", "Another slot is next."),
        _ => Refusal.NotFound("scheduled run"),
    };

    public static Schedule Evolve(Schedule state, ScheduleEvent e) => (e, state) switch
    {
        (ScheduleCreated { Next: { } first } c, _) => new Active(PlanIn(c), first, null, c.At),
        (ScheduleCreated c, _) => new Paused(PlanIn(c), null),
        (SchedulePaused, Active a) => new Paused(a.Plan, a.LastRunId),
        (ScheduleResumed r, Paused p) => new Active(p.Plan with { Timing = r.Timing }, r.Next, p.LastRunId, r.At),
        (ScheduleTriggered { Mode: TriggerMode.Automatic } t, Active a) => a with { Slot = t.Next, LastRunId = t.RunId, Decided = t.At },
        (ScheduleTriggered t, Active a) => a with { LastRunId = t.RunId, Decided = t.At },
        (ScheduleTriggered t, Paused p) => p with { LastRunId = t.RunId },
        (ScheduleSkipped s, Active a) => a with { Slot = s.Next, Decided = s.At },
        (ScheduleReplanned r, Active a) => a with { Plan = a.Plan with { Timing = r.Timing }, Slot = r.Next, Decided = r.At },
        (ScheduleDeleted, Active or Paused) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    public static SlotStep Next(Schedule state, DateTimeOffset now, NextTime nextTime) => state switch
    {
        Active { Slot: { } slot } a when slot > now => a.Decided - now > a.Plan.Timing.SetBackBorne ? new SlotStep.Replan(slot) : new SlotStep.Wait(slot),
        Active { Slot: { } slot } a when !a.Plan.Timing.IsMissed(slot, now, nextTime) => new SlotStep.Fire(slot, CaughtUp: false),
        Active { Slot: { } slot } a => a.Plan.Timing.Skippable(slot, now, Kept(a.Plan.Misfire), nextTime) is { } skippable
            ? new SlotStep.Skip(slot, skippable.Through, skippable.Count)
            : new SlotStep.Fire(slot, CaughtUp: true),
        _ => new SlotStep.Idle(),
    };

    static int Kept(Misfire misfire) => misfire switch
    {
        Misfire.None => 0,
        Misfire.One => 1,
        _ => Limits.SlotsCaughtUpMax,
    };

    static SchedulePlan PlanIn(ScheduleCreated c) => new(c.ScheduleId, c.Target, c.Timing, c.Misfire, c.Overlap, c.By);

    static ScheduleResumed Resumed((Timing Timing, DateTimeOffset? Next) anew, DateTimeOffset now) => new(anew.Timing, anew.Next, now);

    static ScheduleSkipped Skipped(Skip c, SchedulePlan plan)
    {
        var isRow = c.Through > c.Slot;
        return new(plan.ScheduleId, c.Slot, c.Reason, c.Detail, plan.Timing.Next(c.Through, c.NextTime), c.Now, isRow ? c.Through : null, isRow ? c.Count : null);
    }

    static ScheduleReplanned Replanned(Replan c, SchedulePlan plan, (Timing Timing, DateTimeOffset? Next) anew) =>
        new(plan.ScheduleId, c.Slot, "clock_set_back", anew.Timing, anew.Next, c.Now);
}

/// <param name="By">The principal for which the runs act.</param>
public sealed record SchedulePlan(string ScheduleId, ScheduleTarget Target, Timing Timing, Misfire Misfire, Overlap Overlap, string By);
