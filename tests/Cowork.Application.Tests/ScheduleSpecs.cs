using System.Globalization;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Slots of schedules on hosts that die, pause, are late, and have wrong clocks: each is decided once, and its run is there when it says so.</summary>
public sealed class ScheduleSpecs
{
    static readonly SkillKey Skill = new("01k9sk1110000000000000000a");
    static readonly ScheduleKey Key = new("01k9sched0000000000000000a");
    const string Run = "run";

    /// <summary>Of the bench's clock.</summary>
    static readonly DateTimeOffset Start = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    static readonly Origin Ann = new("user:ann");

    readonly RunHarness bench = new();

    /// <summary>Cancelled, as far as the code can tell: nothing may be recorded of it.</summary>
    sealed class HostDiedException : OperationCanceledException;

    [Fact]
    public async Task Slots_fire_by_the_plan_however_late_the_host_is()
    {
        var host = await Ready(Every(3600));
        foreach (var late in (int[])[0, 17, 59, 3])
        {
            await Settle(host);
            bench.Clock.Advance(TimeSpan.FromSeconds(3600 + late - Passed() % 3600));
        }
        await Settle(host);
        Assert.Equal(["fired 0", "fired 3600", "fired 7200", "fired 10800", "fired 14400"], await Ledger());
        var runs = Runs();
        Assert.Equal(5, runs.Count);
        Assert.All(runs, run => Assert.Equal(("completed", "user:ann"), (run.Status, run.RequestedBy)));
        Assert.Equal(
            new RunSource(Skill, 1, Key, At(14_400)), runs[0].Source);
        Assert.Equal((At(18_000), runs[0].RunId), ((await Row()).NextRunAt, (await Row()).LastRunId));
        await Consistent();
    }

    [Fact]
    public async Task The_feed_of_the_session_and_the_bundle_of_the_run_tell_of_the_slot()
    {
        var host = await Ready(Every(3600));
        await Settle(host);
        var run = Assert.Single(Runs());
        var feed = (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, 100, default)).Entries;
        Assert.Equal(
            ["session_created", "schedule_created", "schedule_triggered", "run_created", "run_queued"], feed.Take(5).Select(e => EventTypes.FeedType(e.Type)));
        Assert.Contains("\"mode\":\"automatic\"", System.Text.Encoding.UTF8.GetString(feed[2].Data.Span));
        var bundle = await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, new("s"), run.RunId, default);
        Assert.Null(TraceVerifier.Verify(bundle).Fault);
        Assert.Contains("schedule_triggered", System.Text.Encoding.UTF8.GetString(bundle!));
    }

    [Theory]
    [InlineData(Misfire.One, "skipped 0 to 259020 missed x4318, caught up 259080, skipped 259140 overlap, skipped 259200 overlap")]
    [InlineData(Misfire.None, "skipped 0 to 259080 missed x4319, fired 259140, skipped 259200 overlap")]
    public async Task After_three_days_down_a_minutes_schedule_starts_one_run(Misfire misfire, string ledger)
    {
        await Ready(Every(60), misfire);
        bench.Clock.Advance(TimeSpan.FromDays(3));
        await Settle(Planner("n1"));
        Assert.Equal(ledger, string.Join(", ", await Ledger()));
        Assert.Single(Runs());
        await Consistent();
    }

    [Fact]
    public async Task All_that_was_missed_is_caught_up_to_a_hundred()
    {
        await Ready(Every(60), Misfire.All, Overlap.Queue);
        bench.Clock.Advance(TimeSpan.FromDays(3));
        await Settle(Planner("n1"));
        var ledger = await Ledger();
        Assert.Equal("skipped 0 to 253080 missed x4219", ledger[0]);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"caught up {253_140 + (i * 60)}"), ledger.Skip(1).Take(100));
        Assert.Equal(["fired 259140", "fired 259200"], ledger.Skip(101));
        Assert.Equal(102, Runs().Count);
        await Consistent();
    }

    [Fact]
    public async Task While_the_run_before_has_not_ended_a_slot_is_skipped_and_by_hand_it_is_not()
    {
        await Ready(Every(60));
        var planner = Planner("n1");
        await Settle(planner);
        bench.Clock.Advance(TimeSpan.FromSeconds(60));
        await Settle(planner);
        Assert.NotNull((await planner.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, null, null, default)).Turn);
        Assert.Equal(["fired 0", "skipped 60 overlap", "manual"], await Ledger());
        Assert.Null((await Row()).LastSkip);

        // Another host drives the runs; the planner has not heard of it, and asks.
        await Settle(bench.AddHost("n2", Scheduler.JobKind));
        bench.Clock.Advance(TimeSpan.FromSeconds(60));
        await Settle(planner);
        Assert.Equal("fired 120", (await Ledger())[^1]);
        await Consistent();
    }

    [Theory]
    [InlineData(Overlap.Queue)]
    [InlineData(Overlap.Parallel)] // in one session, too, runs go one at a time
    public async Task Runs_that_may_overlap_wait_their_turn_in_the_session(Overlap overlap)
    {
        var host = await Ready(Every(60), overlap: overlap);
        var planner = Planner("n1");
        for (var slot = 0; slot < 3; slot++)
        {
            await Settle(planner);
            bench.Clock.Advance(TimeSpan.FromSeconds(60));
        }
        Assert.Equal(["fired 0", "fired 60", "fired 120"], await Ledger());
        Assert.Equal(["queued", "queued", "queued"], Runs().Select(r => r.Status));
        await Settle(host);
        Assert.All(Runs(), run => Assert.Equal("completed", run.Status));
    }

    [Fact]
    public async Task A_run_that_fails_pauses_nothing()
    {
        bench.Model.Before = _ => throw new InvalidOperationException("out of order");
        var host = await Ready(Every(60));
        for (var slot = 0; slot < 3; slot++)
        {
            await Settle(host);
            bench.Clock.Advance(TimeSpan.FromSeconds(60));
        }
        Assert.Equal(["fired 0", "fired 60", "fired 120"], await Ledger());
        Assert.Equal(["failed", "failed", "failed"], Runs().Select(r => r.Status));
        Assert.Equal("active", (await Row()).Status);
    }

    [Fact]
    public async Task A_schedule_whose_skill_or_session_has_gone_goes_on_and_says_why_there_is_no_run()
    {
        var host = await Ready(Every(60));
        await Settle(host);
        await Next("""{"a":"x"}""", new AddSkillVersion(Skill, new(PromptTemplate: Content.Of("{b}"), RequiredParams: ["b"])));
        Assert.Equal("skipped 60 missing_params", (await Ledger())[^1]);
        Assert.Equal("Parameters are missing: b.", (await Row()).LastSkip!.Detail);
        await Next("", new DeleteSkill(Skill));
        Assert.Equal("skipped 120 skill_not_found", (await Ledger())[^1]);
        Assert.Equal(("active", "skill_not_found", At(180)), ((await Row()).Status, (await Row()).LastSkip!.Reason, (await Row()).NextRunAt));
        Assert.Null(await Do(host, new CreateSkill(new("01k9sk1110000000000000000b"), Template("{a}"))));
        await Next("", new CreateSchedule(
            new("01k9sched0000000000000000b"), "other", Target(new("01k9sk1110000000000000000b")), Every(60, At(180)), Misfire.One, Overlap.Skip, "user:ann", Active: true));
        Assert.Equal(["fired 180"], await Ledger(new ScheduleKey("01k9sched0000000000000000b")));
        await Next("", new DeleteSession(new("s")));
        Assert.Equal("skipped 240 session_not_found", (await Ledger(new ScheduleKey("01k9sched0000000000000000b")))[^1]);
        Assert.Equal("skipped 240 skill_not_found", (await Ledger())[^1]);
        await Consistent();

        async Task Next(string _, ICommand command)
        {
            Assert.Null(await Do(host, command));
            bench.Clock.Advance(TimeSpan.FromSeconds(60));
            await Settle(host);
        }
    }

    [Fact]
    public async Task A_session_that_takes_no_more_turns_has_its_slots_skipped()
    {
        var full = new RunHarness { Options = new() { DefaultModel = "scripted", QueuedPerSessionMax = 1 } };
        var specs = new ScheduleSpecs(full);
        await specs.Ready(Every(60), overlap: Overlap.Queue);
        var planner = specs.Planner("n1");
        for (var slot = 0; slot < 3; slot++)
        {
            await specs.Settle(planner);
            full.Clock.Advance(TimeSpan.FromSeconds(60));
        }
        Assert.Equal(["fired 0", "fired 60", "skipped 120 session_queue_full"], await specs.Ledger());
        Assert.Equal(2, specs.Runs().Count);
        await specs.Consistent();
    }

    [Fact]
    public async Task A_paused_schedule_sleeps_through_its_slots_and_goes_on_from_now()
    {
        var host = await Ready(Every(60));
        await Settle(host);
        Assert.Null(await Do(host, new PauseSchedule(Key)));
        Assert.Equal(("paused", (DateTimeOffset?)null), ((await Row()).Status, (await Row()).NextRunAt));
        Assert.Empty(bench.Engine.Jobs);
        bench.Clock.Advance(TimeSpan.FromSeconds(610));
        await Settle(host);
        Assert.Equal(["fired 0"], await Ledger());
        Assert.Empty(bench.Engine.Jobs);

        // By hand it runs nevertheless.
        Assert.NotNull((await host.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, null, null, default)).Turn);
        Assert.Null(await Do(host, new ResumeSchedule(Key)));
        Assert.Null(await Do(host, new ResumeSchedule(Key)));
        Assert.Equal(("active", At(670)), ((await Row()).Status, (await Row()).NextRunAt));
        bench.Clock.Advance(TimeSpan.FromSeconds(125));
        await Settle(host);
        Assert.Equal(["fired 0", "manual", "caught up 670", "fired 730"], await Ledger());
        await Consistent();
    }

    [Fact]
    public async Task A_host_that_thinks_the_schedule_paused_looks_before_it_forgets_the_slot()
    {
        var host = await Ready(Every(60));
        var other = bench.AddHost("n1");
        Assert.Null(await Do(host, new PauseSchedule(Key)));
        Assert.IsType<Schedule.Paused>(await other.Commands.State(RunHarness.Org, Schedule.Aggregate, Key, default));
        Assert.Null(await Do(host, new ResumeSchedule(Key)));
        bench.Clock.Advance(TimeSpan.FromSeconds(60));
        await Settle(other);
        Assert.Equal(["fired 60"], await Ledger());
    }

    [Fact]
    public async Task A_deleted_schedule_is_left_alone()
    {
        var host = await Ready(Every(60));
        Assert.Null(await Do(host, new DeleteSchedule(Key)));
        Assert.Empty(bench.Engine.Jobs);
        Assert.Equal("not_found", (await host.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, null, null, default)).Refused?.Code);
        Assert.Equal("not_found", await Do(host, new ResumeSchedule(Key)));
        Assert.Empty(Runs());
        await Consistent();
    }

    [Fact]
    public async Task The_same_wish_twice_is_one_run()
    {
        var host = await Ready(Every(3600));
        var (first, _) = await host.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, "once", null, default);
        Assert.Null(await Do(host, new AddSkillVersion(Skill, new(PromptTemplate: Content.Of("{b}"), RequiredParams: ["b"]))));
        var (again, _) = await host.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, "once", null, default);
        Assert.Equal((first!.Run, true), (again!.Run, again.Reused));
        Assert.Equal(["manual"], await Ledger());
        Assert.Equal("missing_params", (await host.Scheduled.Trigger(RunHarness.Org, RunHarness.User, Key, hasPrompt: false, "twice", null, default)).Refused?.Code);
        Assert.Null(Runs()[0].Source!.Slot);
    }

    [Fact]
    public async Task A_cron_schedule_goes_by_its_zone()
    {
        // Nine o'clock in New York is two in the afternoon; on March 8 it becomes one.
        var host = await Ready(new Timing.Times("0 9 * * *", "America/New_York"));
        bench.Clock.Advance(new DateTimeOffset(2026, 3, 7, 0, 0, 0, TimeSpan.Zero) - At(0));
        await Settle(host);
        Assert.Equal(new DateTimeOffset(2026, 3, 7, 14, 0, 0, TimeSpan.Zero), (await Row()).NextRunAt);
        foreach (var hour in (int[])[14, 24 + 13, 48 + 13])
        {
            bench.Clock.Advance(new DateTimeOffset(2026, 3, 7, 0, 0, 0, TimeSpan.Zero).AddHours(hour) - bench.Clock.GetUtcNow());
            await Settle(host);
        }
        Assert.Equal(["fired 5634000", "fired 5716800", "fired 5803200"], (await Ledger()).TakeLast(3));
        await Consistent();
    }

    [Fact]
    public async Task Every_next_slot_is_found_by_who_was_named_for_it()
    {
        var specs = new ScheduleSpecs(new RunHarness { NextTime = static (cron, zone, after) => CronTimes.Next(cron, zone, after)?.AddSeconds(7) });
        var (clock, host) = (specs.bench.Clock, await specs.Ready(new Timing.Times("*/10 * * * *", "UTC")));
        clock.Advance(TimeSpan.FromSeconds(607));
        await specs.Settle(host);
        clock.Advance(TimeSpan.FromSeconds(2_900));
        await specs.Settle(host);
        Assert.Null(await Do(host, new PauseSchedule(Key)));
        Assert.Null(await Do(host, new ResumeSchedule(Key)));
        clock.Set(TimeSpan.FromSeconds(-2_000));
        await ((IJobQueue)host.Node).Hurry(Scheduler.JobKind, default);
        await specs.Settle(host);
        Assert.Equal(["fired 607", "skipped 1207 to 2407 missed x3", "caught up 3007", "replanned 3607"], await specs.Ledger());
        var story = (await specs.bench.Engine.Load(RunHarness.Org, Schedule.Aggregate.Stream(Key), 0, int.MaxValue, default)).Events;
        Assert.Equal([607, 1207, 3007, 3607, 3607, 1807], story.Select(e => NextIn(e.Event)).OfType<DateTimeOffset>().Select(next => (next - At(0)).TotalSeconds));

        static DateTimeOffset? NextIn(Event e) => e switch
        {
            ScheduleEvent.ScheduleCreated c => c.Next,
            ScheduleEvent.ScheduleTriggered t => t.Next,
            ScheduleEvent.ScheduleSkipped s => s.Next,
            ScheduleEvent.ScheduleResumed r => r.Next,
            ScheduleEvent.ScheduleReplanned r => r.Next,
            _ => null,
        };
    }

    [Theory]
    [InlineData(false)] // the host dies before the commit
    [InlineData(true)]  // the commit happened, and the host died before it heard of it
    public async Task A_host_that_dies_at_any_commit_leaves_each_slot_decided_once_and_its_run_with_it(bool after)
    {
        for (var at = 0; ; at++)
        {
            var specs = new ScheduleSpecs(new RunHarness());
            await specs.Ready(Every(60));
            specs.bench.Clock.Advance(TimeSpan.FromSeconds(250));
            var (commits, died) = (0, false);
            specs.bench.Engine.FailPoint = (_, happened) =>
            {
                if (happened == after && commits++ == at)
                {
                    died = true;
                    throw new HostDiedException();
                }
            };
            var host = specs.bench.AddHost("n1");
            try
            {
                await specs.Settle(host);
            }
            catch (HostDiedException)
            {
                specs.bench.Engine.FailPoint = null;
                host.Node.Die();
                await specs.Settle(specs.bench.AddHost("n2"));
            }
            var ledger = await specs.Ledger();
            Assert.Equal(["skipped 0 to 120 missed x3", "caught up 180"], ledger.Take(2));
            Assert.Equal("240", Assert.Single(ledger.Skip(2)).Split(' ')[1]);
            var fired = ledger.Count(line => !line.StartsWith("skipped", StringComparison.Ordinal));
            var runs = specs.Runs();
            Assert.Equal(fired, runs.Count);
            Assert.Equal(runs.Count, runs.Select(r => r.Source!.Slot).Distinct().Count());
            Assert.All(runs, run => Assert.Equal("completed", run.Status));
            await specs.Consistent();
            if (!died)
            {
                Assert.True(at > 5);
                return;
            }
        }
    }

    [Fact]
    public async Task A_host_that_was_paused_between_claim_and_run_is_fenced()
    {
        var slow = await Ready(Every(60));
        var quick = bench.AddHost("n1");
        var paused = false;
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (!after && !paused && commit.Writes.Any(w => w.Events.Any(e => e.Event is ScheduleEvent.ScheduleTriggered)))
            {
                // It stands still with its decision in hand for longer than its lease, and the other one decides.
                paused = true;
                slow.Node.Pause();
                bench.Clock.Advance(TimeSpan.FromSeconds(11));
                Settle(quick).GetAwaiter().GetResult();
                slow.Node.Resume();
            }
        };
        await Settle(slow);
        Assert.True(paused);
        Assert.Equal(["fired 0"], await Ledger());
        Assert.Equal("completed", Assert.Single(Runs()).Status);
        await Consistent();
    }

    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    public async Task Many_hosts_at_once_decide_each_slot_once(int hosts)
    {
        await Ready(Every(60), overlap: Overlap.Queue);
        using var stopping = new CancellationTokenSource();
        var working = Enumerable.Range(1, hosts).Select(i => bench.AddHost($"n{i}")).Select(host => Task.Run(() => host.Work(stopping.Token))).ToList();
        for (var slot = 0; slot < 20; slot++)
        {
            bench.Clock.Advance(TimeSpan.FromSeconds(60) - Until(() => Ledger().GetAwaiter().GetResult().Count == slot + 1));
        }
        Until(() => Runs() is { Count: 21 } runs && runs.All(r => r.HasEnded));
        await stopping.CancelAsync();
        await Task.WhenAll(working);
        Assert.Equal(Enumerable.Range(0, 21).Select(i => $"fired {i * 60}"), await Ledger());
        await Consistent();
    }

    /// <summary>
    /// Waits, and lets time go on when it takes long: who lost a race tries again after a pause by the hosts' clock. Answers how much time went on, which is less than a slot.
    /// </summary>
    TimeSpan Until(Func<bool> holds)
    {
        var (since, passed) = (TimeProvider.System.GetTimestamp(), TimeSpan.Zero);
        Assert.True(
            SpinWait.SpinUntil(
                () =>
                {
                    var due = TimeProvider.System.GetElapsedTime(since) - TimeSpan.FromSeconds(5);
                    if (due > passed && due < TimeSpan.FromSeconds(50))
                    {
                        bench.Clock.Advance(due - passed);
                        passed = due;
                    }
                    return holds();
                },
                Patience.Limit),
            $"{Runs().Count(r => r.HasEnded)} of {Runs().Count} runs have ended. Jobs: {string.Join(", ", bench.Engine.Jobs)}");
        return passed;
    }

    [Fact]
    public async Task A_host_that_leaves_schedules_to_others_never_decides_a_slot()
    {
        var host = await Ready(Every(60));
        host.Node.Die();
        await Settle(bench.AddHost("n1", Scheduler.JobKind));
        Assert.Empty(await Ledger());
        await Settle(bench.AddHost("n2"));
        Assert.Equal(["fired 0"], await Ledger());
    }

    [Fact]
    public async Task A_job_that_is_due_by_another_clock_waits()
    {
        var host = await Ready(Every(60, At(30)));
        await host.Node.Hurry(Scheduler.JobKind, default);
        await Settle(host);
        Assert.Empty(await Ledger());
        bench.Clock.Advance(TimeSpan.FromSeconds(30));
        await Settle(host);
        Assert.Equal(["fired 30"], await Ledger());
    }

    [Fact]
    public async Task A_clock_that_is_set_forward_by_ten_years_makes_no_storm_and_set_back_no_stall()
    {
        var host = await Ready(Every(60));
        using var stopping = new CancellationTokenSource();
        var watching = host.Watch.Run(stopping.Token);
        await Settle(host);
        var decade = TimeSpan.FromDays(3_652);
        bench.Clock.Set(decade);
        await Settle(Planner("n1"));
        Assert.Equal(
            ["fired 0", "skipped 60 to 315532620 missed x5258877", "caught up 315532680", "skipped 315532740 overlap", "skipped 315532800 overlap"], await Ledger());
        await Settle(host);
        await Tick();
        bench.Clock.Set(-decade);
        await Settle(host);
        Assert.Equal(5, (await Ledger()).Count);
        await Tick();
        await Patience.Until(() => host.Node.ClaimDue() > 0);
        await Settle(host);
        Assert.Equal("replanned 315532860", (await Ledger())[^1]);
        for (var i = 0; i < 2; i++)
        {
            bench.Clock.Advance(TimeSpan.FromSeconds(60));
            await Settle(host);
        }
        Assert.Equal(["fired 62", "fired 122"], (await Ledger()).TakeLast(2));
        await Consistent();
        await stopping.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watching);

        // The watch has looked, and waits again.
        async Task Tick()
        {
            await Patience.Until(() => bench.Clock.Waiting == 1);
            bench.Clock.Advance(TimeSpan.FromSeconds(1));
            await Patience.Until(() => bench.Clock.Waiting == 1);
        }
    }

    [Fact]
    public async Task A_clock_that_was_set_back_while_no_host_was_there_is_noticed_at_the_next_start()
    {
        bench.Clock.Set(TimeSpan.FromDays(365));
        var host = await Ready(Every(3600));
        await Settle(host);
        host.Node.Die();
        bench.Clock.Set(-TimeSpan.FromDays(365));
        var next = bench.AddHost("n1");
        using var stopping = new CancellationTokenSource();
        var watching = next.Watch.Run(stopping.Token);
        await Patience.Until(() => next.Node.ClaimDue() > 0);
        await Settle(next);
        Assert.StartsWith("replanned", (await Ledger())[^1], StringComparison.Ordinal);
        Assert.Equal(bench.Clock.GetUtcNow().AddHours(1), (await Row()).NextRunAt);
        await stopping.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watching);
    }

    [Fact]
    public async Task A_look_at_the_clock_that_fails_is_taken_again()
    {
        bench.Clock.Set(TimeSpan.FromDays(365));
        var host = await Ready(Every(3600));
        await Settle(host);
        bench.Clock.Set(-TimeSpan.FromDays(365));
        using var stopping = new CancellationTokenSource();
        var watching = new ClockWatch(new OnceUnreadable(host.Node), host.Node, bench.Clock, NullLogger<ClockWatch>.Instance).Run(stopping.Token);
        await Patience.Until(() => bench.Clock.Waiting == 1 || watching.IsCompleted);
        Assert.Equal(0, host.Node.ClaimDue());
        bench.Clock.Advance(TimeSpan.FromSeconds(1));
        await Patience.Until(() => host.Node.ClaimDue() > 0 || watching.IsCompleted);
        await stopping.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watching);
        await Settle(host);
        Assert.StartsWith("replanned", (await Ledger())[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_clock_that_flaps_changes_nothing()
    {
        var host = await Ready(Every(60));
        for (var i = 0; i < 120; i++)
        {
            bench.Clock.Set(TimeSpan.FromSeconds(i % 2 == 0 ? -1 : 1));
            bench.Clock.Advance(TimeSpan.FromSeconds(1));
            await Settle(host);
        }
        Assert.Equal(["fired 0", "fired 60", "fired 120"], await Ledger());
    }

    public ScheduleSpecs()
        : this(new RunHarness())
    {
    }

    ScheduleSpecs(RunHarness bench) => this.bench = bench;

    static Timing.Interval Every(long seconds, DateTimeOffset? from = null) => new(seconds, from ?? Start);

    static SkillDefinition Template(string text) => new($"skill{text.Length}", "", "{}", Content.Of(text), SkillTemplate.Parse(text).Template!.RequiredParams, null, []);

    static ScheduleTarget Target(SkillKey skill) => new(new("s"), skill, null, Content.Of("""{"a":"hello"}"""));

    static async Task<string?> Do(RunHarness.Host host, ICommand command) => (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, Ann, command, default)).Refused?.Code;

    /// <summary>A host with a session, a skill and a schedule that begins at once, or by its own times.</summary>
    async Task<RunHarness.Host> Ready(Timing timing, Misfire misfire = Misfire.One, Overlap overlap = Overlap.Skip)
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        Assert.Null(await Do(host, new CreateSkill(Skill, Template("Say {a}"))));
        var from = timing is Timing.Interval interval && interval.From == Start ? interval with { From = bench.Clock.GetUtcNow() } : timing;
        Assert.Null(await Do(host, new CreateSchedule(Key, "daily", Target(Skill), from, misfire, overlap, "user:ann", Active: true)));
        return host;
    }

    /// <summary>A host that decides slots and drives no run.</summary>
    RunHarness.Host Planner(string name) => bench.AddHost(name, Run);

    /// <summary>Does what is due, one job after the other, until nothing is.</summary>
    async Task Settle(RunHarness.Host host)
    {
        host.Node.ClaimDue();
        while (host.Node.Ready > 0)
        {
            await foreach (var (claim, lost) in host.Node.Claims(default))
            {
                IJobHandler handler = claim.Kind == Scheduler.JobKind ? host.Scheduler : host.Driver;
                if (!await handler.Run(claim, lost))
                {
                    await host.Node.Complete(claim, default);
                }
                break;
            }
            host.Node.ClaimDue();
        }
    }

    static DateTimeOffset At(double seconds) => Start.AddSeconds(seconds);

    /// <summary>Its last event cannot be read at the first time: a newer host has written it.</summary>
    sealed class OnceUnreadable(IEventLog log) : IEventLog
    {
        bool read;

        public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct) => log.Load(org, stream, after, max, ct);

        public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => log.Append(commit, ct);

        public ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct) => log.Feed(org, session, after, max, ct);

        public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct) =>
            log.FeedOfRun(org, session, run, after, max, ct);

        public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue) =>
            log.OfRun(org, session, run, ct, after, max);

        public IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct)
        {
            if (!read)
            {
                read = true;
                throw new JsonException("Nobody here knows an event of that name.");
            }
            return log.Scan(after, ct);
        }
    }

    double Passed() => (bench.Clock.GetUtcNow() - At(0)).TotalSeconds;

    async Task<ScheduleRow> Row() => Schedules.Model.Read((await bench.Engine.Get(RunHarness.Org, Schedules.Model.Table, Key.Value, default))!.Json.Span);

    IReadOnlyList<RunRow> Runs() => [.. bench.Engine.All(RunHarness.Org, Projections.Runs.Model.Table).Select(row => Projections.Runs.Model.Read(row.Json.Span))];

    /// <summary>What became of the slots, oldest first, in seconds since the clock's beginning.</summary>
    async Task<List<string>> Ledger(ScheduleKey? key = null)
    {
        var past = await bench.Engine.Load(RunHarness.Org, Schedule.Aggregate.Stream(key ?? Key), 0, int.MaxValue, default);
        return [.. (await LedgerLine.Last(bench.Engine, RunHarness.Org, key ?? Key, past.Version, 1_000, default)).Reverse().Select(Words)];
    }

    static string Words(LedgerLine line) => line switch
    {
        { Mode: "manual" } => "manual",
        { Outcome: "skipped", Through: { } through } => $"skipped {Seconds(line.Slot)} to {Seconds(through)} {line.Reason} x{line.Count}",
        { Outcome: "skipped" } => $"skipped {Seconds(line.Slot)} {line.Reason}",
        _ => $"{line.Outcome.Replace('_', ' ')} {Seconds(line.Slot)}",
    };

    static string Seconds(DateTimeOffset? time) => (time!.Value - At(0)).TotalSeconds.ToString(CultureInfo.InvariantCulture);

    async Task Consistent()
    {
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }
        // A folded state that was put aside is the one that it was.
        var state = (await bench.AddHost("reader").Commands.State(RunHarness.Org, Schedule.Aggregate, Key, default));
        var json = JsonSerializer.SerializeToUtf8Bytes(state, EventJson.Options.GetTypeInfo(typeof(Schedule)));
        Assert.Equal(state, JsonSerializer.Deserialize(json, EventJson.Options.GetTypeInfo(typeof(Schedule))));
    }
}
