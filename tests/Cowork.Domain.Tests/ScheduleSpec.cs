using System.Globalization;

using Xunit;

using static Cowork.Domain.ScheduleCommand;
using static Cowork.Domain.ScheduleEvent;

namespace Cowork.Domain.Tests;

public sealed class ScheduleSpec
{
    static readonly ScheduleKey Id = ScheduleKey.FromId("sched_01kdvkjr000000000000000007");
    static readonly SkillKey Skill = SkillKey.FromId("skill_01kdvkjr000000000000000008");
    const string Ann = "user:ann";

    static readonly Spec<ScheduleKey, ScheduleCommand, ScheduleEvent, Schedule> Spec = new(Schedule.Aggregate);
    static readonly ScheduleTarget Target = new(A.Session, Skill, null, Content.Of("{}"));
    static readonly Timing.Interval Hourly = Every(3600);
    static readonly ScheduleCreated Created = Of(Hourly, A.Morning);

    static Timing.Interval Every(long seconds) => new Timing.Interval(seconds, A.Morning);

    static Timing.Times Cron(string expression, string zone = "UTC") => new Timing.Times(expression, zone);

    static ScheduleCreated Of(Timing timing, DateTimeOffset? first, Misfire misfire = Misfire.One) =>
        new(Id, "daily", Target, timing, misfire, Overlap.Skip, Ann, first, A.Morning);

    static ScheduleTriggered Triggered(DateTimeOffset slot, DateTimeOffset next, DateTimeOffset at, bool caughtUp = false) =>
        new(Id, slot, Skill, 1, A.Run, TriggerMode.Automatic, caughtUp, next, at);

    [Fact]
    public void A_schedule_is_created_once()
    {
        var create = new Create(Id, "daily", Target, Hourly, Misfire.One, Overlap.Skip, Ann, A.Morning, A.Morning);
        Spec.Given().When(create).Then(Created);
        Spec.Given(Created).When(create).ThenNothing();
    }

    [Fact]
    public void A_slot_that_fires_is_followed_by_the_next_one_planned_whenever_it_fired()
    {
        var late = A.Later(17);
        var fired = Spec.Given(Created).When(new Fire(A.Morning, A.Run, 1, CaughtUp: false, late, A.NextTime)).Then(Triggered(A.Morning, A.Later(3600), late));
        Assert.Equal((A.Later(3600), A.Run), (((Schedule.Active)fired).Slot, ((Schedule.Active)fired).LastRunId));
    }

    [Fact]
    public void Another_timing_is_planned_from_now_and_another_prompt_moves_no_slot()
    {
        var (daily, later) = (Cron("0 12 * * *"), A.Later(60));
        var prompt = new ScheduleTarget(null, null, null, null, Content.Of("Report."), A.Project);
        var created = Created with { Target = prompt, Timing = daily, Next = A.Later(3 * 3600) };
        var other = prompt with { Prompt = Content.Of("Report more.") };
        Spec.Given(created).When(new Change(prompt, daily, Misfire.One, Overlap.Skip, later, A.NextTime)).ThenNothing();
        Spec.Given(created).When(new Change(other, daily, Misfire.One, Overlap.Skip, later, A.NextTime))
            .Then(new ScheduleChanged(other, daily, Misfire.One, Overlap.Skip, A.Later(3 * 3600), later));
        var hourly = Cron("0 * * * *");
        var changed = new ScheduleChanged(prompt, hourly, Misfire.All, Overlap.Queue, A.Later(3600), later);
        var active = (Schedule.Active)Spec.Given(created).When(new Change(prompt, hourly, Misfire.All, Overlap.Queue, later, A.NextTime)).Then(changed);
        Assert.Equal((A.Later(3600), hourly, Misfire.All, Overlap.Queue), (active.Slot, active.Plan.Timing, active.Plan.Misfire, active.Plan.Overlap));
        Spec.Given(created, new SchedulePaused(A.Morning)).When(new Change(prompt, hourly, Misfire.All, Overlap.Queue, later, A.NextTime)).Then(changed with { Next = null });
        Spec.Given(created, new ScheduleDeleted(A.Morning)).When(new Change(prompt, hourly, Misfire.All, Overlap.Queue, later, A.NextTime)).ThenRefused("not_found");
    }

    [Fact]
    public void A_schedule_with_a_prompt_fires_without_a_skill()
    {
        var created = Created with { Target = new(null, null, null, null, Content.Of("Report."), A.Project) };
        Spec.Given(created).When(new Fire(A.Morning, A.Run, null, CaughtUp: false, A.Morning, A.NextTime))
            .Then(new ScheduleTriggered(Id, A.Morning, null, null, A.Run, TriggerMode.Automatic, CaughtUp: false, A.Later(3600), A.Morning));
        Spec.Given(created).When(new Trigger(A.Run, null, A.Morning))
            .Then(new ScheduleTriggered(Id, null, null, null, A.Run, TriggerMode.Manual, CaughtUp: false, null, A.Morning));
    }

    [Fact]
    public void A_slot_is_decided_once()
    {
        var decided = Spec.Given(Created, Triggered(A.Morning, A.Later(3600), A.Morning));
        decided.When(new Fire(A.Morning, A.OtherRun, 1, CaughtUp: false, A.Later(1), A.NextTime)).ThenRefused("slot_decided");
        decided.When(new Skip(A.Morning, A.Morning, 1, "overlap", "", A.Later(1), A.NextTime)).ThenRefused("slot_decided");
        decided.When(new Replan(A.Morning, A.Later(1), A.NextTime)).ThenRefused("slot_decided");
        decided.When(new Fire(A.Later(7200), A.OtherRun, 1, CaughtUp: false, A.Later(7200), A.NextTime)).ThenRefused("slot_decided");
    }

    [Fact]
    public void A_skipped_slot_says_why_and_a_row_of_them_how_many()
    {
        Spec.Given(Created)
            .When(new Skip(A.Morning, A.Morning, 1, "overlap", "The last run has not ended.", A.Later(1), A.NextTime))
            .Then(new ScheduleSkipped(Id, A.Morning, "overlap", "The last run has not ended.", A.Later(3600), A.Later(1)));
        Spec.Given(Created)
            .When(new Skip(A.Morning, A.Later(3 * 3600), 4, "missed", "", A.Later(4 * 3600), A.NextTime))
            .Then(new ScheduleSkipped(Id, A.Morning, "missed", "", A.Later(4 * 3600), A.Later(4 * 3600), A.Later(3 * 3600), 4));
    }

    [Fact]
    public void By_hand_it_runs_at_once_also_when_paused_and_no_plan_changes()
    {
        var manual = new ScheduleTriggered(Id, null, Skill, 2, A.Run, TriggerMode.Manual, CaughtUp: false, null, A.Later(5));
        var active = Spec.Given(Created).When(new Trigger(A.Run, 2, A.Later(5))).Then(manual);
        Assert.Equal((A.Morning, A.Run), (((Schedule.Active)active).Slot, ((Schedule.Active)active).LastRunId));
        Spec.Given(Created, new SchedulePaused(A.Morning)).When(new Trigger(A.Run, 2, A.Later(5))).Then(manual);
        Spec.Given().When(new Trigger(A.Run, 2, A.Later(5))).ThenRefused("not_found");
    }

    [Fact]
    public void A_paused_schedule_has_no_slot_and_resumes_from_now()
    {
        var paused = Spec.Given(Created).When(new Pause(A.Later(10))).Then(new SchedulePaused(A.Later(10)));
        Assert.Equal(new SlotStep.Idle(), Schedule.Next(paused, A.Later(1_000_000), A.NextTime));
        var events = new ScheduleEvent[] { Created, new SchedulePaused(A.Later(10)) };
        Spec.Given(events).When(new Pause(A.Later(11))).ThenNothing();
        Spec.Given(events).When(new Fire(A.Morning, A.Run, 1, CaughtUp: false, A.Later(11), A.NextTime)).ThenRefused("slot_decided");
        Spec.Given(events).When(new Resume(A.Later(100_000), A.NextTime))
            .Then(new ScheduleResumed(new Timing.Interval(3600, A.Later(103_600)), A.Later(103_600), A.Later(100_000)));
        Spec.Given(Created).When(new Resume(A.Later(10), A.NextTime)).ThenNothing();
        Spec.Given(Of(Cron("0 12 * * *"), null)).When(new Resume(A.Later(10), A.NextTime)).Then(new ScheduleResumed(Cron("0 12 * * *"), A.Later(3 * 3600), A.Later(10)));
    }

    [Fact]
    public void A_deleted_schedule_is_gone()
    {
        Spec.Given(Created).When(new Delete(A.Later(1))).Then(new ScheduleDeleted(A.Later(1)));
        var deleted = Spec.Given(Created, new ScheduleDeleted(A.Later(1)));
        deleted.When(new Delete(A.Later(2))).ThenRefused("not_found");
        deleted.When(new Resume(A.Later(2), A.NextTime)).ThenRefused("not_found");
        deleted.When(new Fire(A.Morning, A.Run, 1, CaughtUp: false, A.Later(2), A.NextTime)).ThenRefused("not_found");
        Assert.Equal(new SlotStep.Idle(), Schedule.Next(deleted.State, A.Later(2), A.NextTime));
    }

    /// <summary>Seconds after the first slot: how it is decided.</summary>
    [Theory]
    [InlineData(3600, Misfire.One, -1, "wait 0")]
    [InlineData(3600, Misfire.One, 0, "fire 0")]
    [InlineData(3600, Misfire.One, 60, "fire 0")]
    [InlineData(3600, Misfire.One, 60.001, "catch up 0")]
    [InlineData(3600, Misfire.One, 3599, "catch up 0")]
    [InlineData(3600, Misfire.One, 3660, "catch up 0")] // the next one is not missed yet
    [InlineData(3600, Misfire.One, 3660.001, "skip 0 to 0, 1")]
    [InlineData(3600, Misfire.One, 8000, "skip 0 to 3600, 2")]
    [InlineData(3600, Misfire.None, 60, "fire 0")]
    [InlineData(3600, Misfire.None, 61, "skip 0 to 0, 1")]
    [InlineData(3600, Misfire.None, 8000, "skip 0 to 7200, 3")]
    [InlineData(3600, Misfire.All, 8000, "catch up 0")]
    [InlineData(3600, Misfire.All, 359_999, "catch up 0")] // a hundred
    [InlineData(3600, Misfire.All, 360_061, "skip 0 to 0, 1")]
    [InlineData(5, Misfire.One, 5, "fire 0")]
    [InlineData(5, Misfire.One, 5.001, "catch up 0")]
    [InlineData(5, Misfire.One, 13, "skip 0 to 0, 1")]
    [InlineData(60, Misfire.One, 3 * 86_400, "skip 0 to 259020, 4318")] // three days down: of 4321 slots two are in time and one is caught up
    [InlineData(60, Misfire.None, 3 * 86_400, "skip 0 to 259080, 4319")]
    [InlineData(60, Misfire.All, 3 * 86_400, "skip 0 to 253080, 4219")]
    [InlineData(1, Misfire.One, 315_360_000, "skip 0 to 315359997, 315359998")] // the clock was set forward by ten years
    public void What_is_missed_follows_from_the_time(long interval, Misfire misfire, double seconds, string step) =>
        Assert.Equal(step, Words(Schedule.Next(Spec.Given(Of(Every(interval), A.Morning, misfire)).State, A.Later(seconds), A.NextTime)));

    /// <summary>The same by cron: the slots are those of a minute, of nine o'clock in Berlin, of the quarters of an hour that end a morning.</summary>
    [Theory]
    [InlineData("* * * * *", Misfire.One, 60, "fire 0")]
    [InlineData("* * * * *", Misfire.One, 3 * 86_400, "skip 0 to 259020, 4318")]
    [InlineData("* * * * *", Misfire.All, 3 * 86_400, "skip 0 to 253080, 4219")]
    [InlineData("* * * * *", Misfire.None, 3 * 86_400, "skip 0 to 259080, 4319")]
    [InlineData("* * * * *", Misfire.One, 315_360_000, "skip 0 to 315359820, uncounted")]
    [InlineData("* * * * *", Misfire.All, 315_360_000, "skip 0 to 315353880, uncounted")]
    [InlineData("0 9 * * *", Misfire.One, 61, "catch up 0")]
    [InlineData("0 9 * * *", Misfire.One, 86_400 + 60, "catch up 0")]
    [InlineData("0 9 * * *", Misfire.One, 86_400 + 61, "skip 0 to 0, 1")]
    [InlineData("*/15 8-11 * * *", Misfire.None, 86_400, "skip 0 to 85500, 16")]
    public void What_is_missed_follows_from_a_cron_expression_alike(string expression, Misfire misfire, double seconds, string step) =>
        Assert.Equal(step, Words(Schedule.Next(Spec.Given(Of(Cron(expression), A.Morning, misfire)).State, A.Later(seconds), A.NextTime)));

    [Fact]
    public void After_three_days_down_a_minutes_schedule_catches_up_once_and_goes_on()
    {
        var steps = Play(Every(60), Misfire.One, A.Later(3 * 86_400));
        Assert.Equal(["skip 0 to 259020, 4318", "catch up 259080", "fire 259140", "fire 259200", "wait 259260"], steps);
    }

    [Fact]
    public void All_that_was_missed_is_caught_up_to_a_hundred()
    {
        var steps = Play(Every(60), Misfire.All, A.Later(3 * 86_400));
        Assert.Equal("skip 0 to 253080, 4219", steps[0]);
        Assert.Equal(100, steps.Count(step => step.StartsWith("catch up", StringComparison.Ordinal)));
        Assert.Equal("wait 259260", steps[^1]);
    }

    [Theory]
    [InlineData("interval 60", -1, "wait 60")] // a clock that flaps
    [InlineData("interval 60", -60, "wait 60")]
    [InlineData("interval 60", -61, "replan 60, then -1")]
    [InlineData("interval 60", -3600, "replan 60, then -3540")]
    [InlineData("interval 60", -315_360_000, "replan 60, then -315359940")]
    [InlineData("interval 86400", -3600, "replan 86400, then 82800")]
    [InlineData("*/10 * * * *", -60, "wait 600")]
    [InlineData("*/10 * * * *", -3600, "replan 600, then -3000")]
    [InlineData("0 9 * * *", -3600, "wait 86400")] // nine o'clock was served
    [InlineData("0 9 * * *", -3 * 3600, "wait 86400")]
    [InlineData("0 9 * * *", -4 * 3600, "replan 86400, then 0")] // what was served was served by a wrong clock
    [InlineData("0 9 * * *", -315_360_000, "replan 86400, then -315273600")]
    public void A_clock_that_is_set_back_is_waited_for_or_gone_by(string plan, double seconds, string step)
    {
        Timing timing = plan.StartsWith("interval ", StringComparison.Ordinal) ? Every(long.Parse(plan[9..], CultureInfo.InvariantCulture)) : Cron(plan);
        var next = timing.Next(A.Morning, A.NextTime)!.Value;
        var fired = Spec.Given(Of(timing, A.Morning), Triggered(A.Morning, next, A.Morning));
        var todo = Schedule.Next(fired.State, A.Later(seconds), A.NextTime);
        var words = Words(todo);
        if (todo is SlotStep.Replan replan)
        {
            // Not at the very time that it shows now, but at the first one after it.
            var after = (Schedule.Active)fired.When(new Replan(replan.Slot, A.Later(seconds), A.NextTime)).ThenSome();
            words += $", then {Seconds(after.Slot!.Value)}";
            Assert.Equal(new SlotStep.Wait(after.Slot.Value), Schedule.Next(after, A.Later(seconds), A.NextTime));
        }
        Assert.Equal(step, words);
    }

    [Fact]
    public void A_day_in_the_life_of_a_cron_schedule_follows_the_zones_clocks()
    {
        var timing = Cron("30 2 * * *", "Europe/Berlin");
        var march = new DateTimeOffset(2026, 3, 28, 1, 30, 0, TimeSpan.Zero);
        var gap = new DateTimeOffset(2026, 3, 29, 1, 0, 0, TimeSpan.Zero);
        Spec.Given(Of(timing, march)).When(new Fire(march, A.Run, 1, CaughtUp: false, march, A.NextTime)).Then(Triggered(march, gap, march));
        Spec.Given(Of(timing, gap)).When(new Fire(gap, A.Run, 1, CaughtUp: false, gap, A.NextTime)).Then(Triggered(gap, new(2026, 3, 30, 0, 30, 0, TimeSpan.Zero), gap));
    }

    [Fact]
    public void An_interval_ends_with_the_calendar()
    {
        var interval = new Timing.Interval(Limits.IntervalSecondsMax, new(9995, 1, 1, 0, 0, 0, TimeSpan.Zero));
        Assert.Null(interval.Next(interval.From, A.NextTime));
        Assert.Equal(interval.From.AddSeconds(-Limits.IntervalSecondsMax), interval.Next(interval.From.AddSeconds(-Limits.IntervalSecondsMax - 1), A.NextTime));
    }

    /// <summary>Does what is to be done at a time until there is nothing more.</summary>
    static List<string> Play(Timing timing, Misfire misfire, DateTimeOffset now)
    {
        var state = Spec.Given(Of(timing, A.Morning, misfire)).State;
        var steps = new List<string>();
        while (true)
        {
            var step = Schedule.Next(state, now, A.NextTime);
            steps.Add(Words(step));
            ScheduleCommand? command = step switch
            {
                SlotStep.Fire f => new Fire(f.Slot, A.Run, 1, f.CaughtUp, now, A.NextTime),
                SlotStep.Skip s => new Skip(s.Slot, s.Through, s.Count, Schedule.Missed, "", now, A.NextTime),
                _ => null,
            };
            if (command is null)
            {
                return steps;
            }
            state = Schedule.Aggregate.Decide(command, state).Events.Aggregate(state, Schedule.Evolve);
        }
    }

    static string Words(SlotStep step) => step switch
    {
        SlotStep.Idle => "idle",
        SlotStep.Wait w => $"wait {Seconds(w.Until)}",
        SlotStep.Fire f => $"{(f.CaughtUp ? "catch up" : "fire")} {Seconds(f.Slot)}",
        SlotStep.Skip s => $"skip {Seconds(s.Slot)} to {Seconds(s.Through)}, {s.Count?.ToString(CultureInfo.InvariantCulture) ?? "uncounted"}",
        SlotStep.Replan r => $"replan {Seconds(r.Slot)}",
        _ => throw new System.Diagnostics.UnreachableException(step.GetType().Name),
    };

    static double Seconds(DateTimeOffset time) => (time - A.Morning).TotalSeconds;
}
