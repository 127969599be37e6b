using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Schedules of contract B: a prompt in a project, in one conversation or a new one for each run.</summary>
public sealed class PromptScheduleSpecs
{
    const string Org = RunHarness.Org;

    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");
    static readonly ScheduleKey Key = new("01k9sched0000000000000000a");
    static readonly SkillKey Brief = new("01k9sk1110000000000000000a");

    readonly RunHarness harness = new();

    static async Task<string?> Do(RunHarness.Host host, ICommand command) => (await ((ICommandExecutor)host.Commands).Execute(Org, new("user:ann"), command, default)).Refused?.Code;

    static CreateSchedule Hourly(string prompt, string? conversation = null, ProjectKey? project = null, Overlap overlap = Overlap.Skip) => new(
        Key, "x", new(conversation is null ? null : new(conversation), null, null, null, Content.Of(prompt), project ?? Sales), new Timing.Times("0 * * * *", "UTC"), Misfire.One,
        overlap, "user:ann", Active: true);

    async Task<RunHarness.Host> Ready(string prompt = "Report please", string? conversation = null, Overlap overlap = Overlap.Skip)
    {
        var host = harness.AddHost("a");
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [], null))));
        Assert.Null(await Do(host, new OpenSession(new("s"), "/w", "{}", null, Project: Sales)));
        Assert.Null(await Do(host, Hourly(prompt, conversation, overlap: overlap)));
        return host;
    }

    /// <summary>Does what is due.</summary>
    /// <param name="drives">False: runs stay where they are.</param>
    static async Task Settle(RunHarness.Host host, bool drives = true)
    {
        host.Node.ClaimDue();
        while (host.Node.Ready > 0)
        {
            await foreach (var (claim, lost) in host.Node.Claims(default))
            {
                IJobHandler? handler = claim.Kind == Scheduler.JobKind ? host.Scheduler : claim.Kind == ProjectDeletion.JobKind ? host.Deletion : drives ? host.Driver : null;
                if (handler is not null && !await handler.Run(claim, lost))
                {
                    await host.Node.Complete(claim, default);
                }
                break;
            }
            host.Node.ClaimDue();
        }
    }

    Task NextHour(RunHarness.Host host, bool drives = true)
    {
        harness.Clock.Advance(TimeSpan.FromHours(1));
        return Settle(host, drives);
    }

    IReadOnlyList<RunRow> Runs() => [.. harness.Engine.All(Org, Projections.Runs.Model.Table).Select(row => Projections.Runs.Model.Read(row.Json.Span)).OrderBy(run => run.CreatedAt)];

    IReadOnlyList<SessionRow> Sessions() => [.. harness.Engine.All(Org, Projections.Sessions.Model.Table).Select(row => Projections.Sessions.Model.Read(row.Json.Span))];

    async Task<string> Ledger()
    {
        var events = (await harness.Engine.Load(Org, Schedule.Aggregate.Stream(Key), 0, int.MaxValue, default)).Events;
        return string.Join(' ', events.Select(LedgerLine.Of).OfType<LedgerLine>().Select(line => line.Reason ?? line.Outcome));
    }

    [Fact]
    public async Task Each_slot_begins_a_conversation_of_the_project_with_the_prompt_as_its_title()
    {
        var host = await Ready("/brief Report please");
        Assert.Null(await Do(host, new CreateSkill(Brief, new("brief", "d", "{}", null, [], Content.Of("Be brief."), []))));
        await NextHour(host);
        await NextHour(host);
        Assert.Equal("fired fired", await Ledger());
        var runs = Runs();
        Assert.All(runs, run => Assert.Equal(
            ("completed", "user:ann", Content.Of("/brief Report please"), Key, "brief"), (run.Status, run.RequestedBy, run.Message, run.Source!.ScheduleId, run.Skills![0].Name)));
        Assert.Equal(2, runs.Select(run => run.SessionId).Distinct().Count());
        Assert.All(
            runs.Select(run => Sessions().Single(session => session.SessionId == run.SessionId)),
            session => Assert.Equal((Sales, Content.Of("/brief Report please")), (session.Project, session.Title)));
        Assert.Equal(
            ["session_created", "schedule_triggered", "run_created", "run_queued"],
            (await harness.Engine.Feed(Org, runs[0].SessionId, 0, 4, default)).Entries.Select(e => EventTypes.FeedType(e.Type)));
        var (report, fault) = TraceVerifier.Verify((await TraceBundle.Build(harness.Engine, harness.Blobs, Org, runs[0].SessionId, runs[0].RunId, default))!);
        Assert.True(report is not null, fault?.ToString());
        await Consistent();
    }

    [Fact]
    public async Task A_slot_is_skipped_while_the_run_before_it_is_live_in_another_conversation()
    {
        var host = await Ready();
        await NextHour(host, drives: false);
        await NextHour(host, drives: false);
        Assert.Equal("fired overlap", await Ledger());
        Assert.Null(await Do(host, new CancelRun(Runs()[0].RunId, null)));
        await NextHour(host, drives: false);
        Assert.Equal("fired overlap fired", await Ledger());
        await Consistent();
    }

    [Fact]
    public async Task Runs_of_one_conversation_go_on_with_it_and_slots_are_skipped_when_it_was_deleted()
    {
        var host = await Ready(conversation: "s");
        await NextHour(host);
        await NextHour(host);
        Assert.All(Runs(), run => Assert.Equal("s", run.SessionId.Value));
        Assert.Null(await Do(host, new DeleteSession(new("s"))));
        await NextHour(host);
        Assert.Equal("fired fired session_not_found", await Ledger());
        await Consistent();
    }

    [Fact]
    public async Task Project_and_conversation_exist_and_fit_each_other()
    {
        var host = harness.AddHost("a");
        Assert.Equal("not_found", await Do(host, Hourly("x")));
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [], null))));
        Assert.Equal("not_found", await Do(host, Hourly("x", "s")));
        Assert.Null(await Do(host, new OpenSession(new("s"), "/w", "{}", null)));
        Assert.Equal("invalid_request", await Do(host, Hourly("x", "s")));
        Assert.Null(await Do(host, Hourly("x", "s", ProjectKey.General)));
        Assert.Empty(harness.Engine.All("other", Schedules.Model.Table));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("s")]
    public async Task A_slot_that_fires_while_its_project_is_deleted_leaves_nothing_behind(string? conversation)
    {
        var (host, other) = (await Ready(conversation: conversation), harness.AddHost("b"));
        await NextHour(other);
        Assert.Null(await Do(host, new DeleteProject(Sales)));
        harness.Clock.Advance(TimeSpan.FromHours(1));
        // The other host decides the slot before the deletion has come to the schedule.
        other.Node.ClaimDue();
        await foreach (var (claim, lost) in other.Node.Claims(default))
        {
            if (claim.Kind == Scheduler.JobKind)
            {
                Assert.True(await other.Scheduler.Run(claim, lost));
                break;
            }
            Assert.False(await other.Deletion.Run(claim, lost));
            await other.Node.Complete(claim, default);
            break;
        }
        await host.Deletion.Sweep(Org, RunHarness.User, Sales, default);
        await Settle(host);
        await Settle(other);
        Assert.Empty(Sessions());
        Assert.Empty(harness.Engine.All(Org, Schedules.Model.Table));
        Assert.Single(Runs());
        harness.Clock.Advance(TimeSpan.FromHours(5));
        await Settle(other);
        Assert.Single(Runs());
        Assert.DoesNotContain(harness.Engine.Jobs, job => job.Kind == Scheduler.JobKind);
        Assert.Equal("not_found", await Do(other, Hourly("x") with { Schedule = new("01k9sched0000000000000000b") }));
        await Consistent();
    }

    [Fact]
    public async Task A_run_by_hand_begins_a_conversation_too_and_a_repeat_begins_none()
    {
        var host = await Ready();
        var key = new RequestKey("user:ann POST /run", "once", new string('a', 64), TimeSpan.FromHours(24));
        var first = (await host.Scheduled.Trigger(Org, RunHarness.User, Key, hasPrompt: true, null, key, default)).Turn!;
        var again = (await host.Scheduled.Trigger(Org, RunHarness.User, Key, hasPrompt: true, null, key, default)).Turn!;
        Assert.Equal((first.Run, false, true), (again.Run, first.Replayed, again.Replayed));
        Assert.Equal(2, Sessions().Count);
        Assert.Equal("fired", await Ledger());
        Assert.Equal("not_found", (await host.Scheduled.Trigger(Org, RunHarness.User, Key, hasPrompt: false, null, null, default)).Refused?.Code);
        await Consistent();
    }

    [Fact]
    public async Task A_change_plans_from_now_and_keeps_what_it_leaves_out()
    {
        var host = await Ready();
        Task<string?> Change(string? cron = null, string? zone = null, string? prompt = null, bool? active = null) =>
            Do(host, new ChangeSchedule(Key, prompt is null ? null : Content.Of(prompt), cron, zone, null, null, active));
        async Task<ScheduleRow> Row() => Schedules.Model.Read((await harness.Engine.Get(Org, Schedules.Model.Table, Key.Value, default))!.Json.Span);
        var next = (await Row()).NextRunAt;
        Assert.Null(await Change(prompt: "Report more"));
        Assert.Equal((next, Content.Of("Report more")), ((await Row()).NextRunAt, (await Row()).Prompt));
        Assert.Null(await Change(cron: "30 * * * *"));
        Assert.Equal(next - TimeSpan.FromMinutes(30), (await Row()).NextRunAt);
        Assert.Null(await Change(zone: "Asia/Kolkata"));
        Assert.Equal((next, new Timing.Times("30 * * * *", "Asia/Kolkata")), ((await Row()).NextRunAt, (await Row()).Timing));
        Assert.Equal(("invalid_cron", "unknown_time_zone"), (await Change(cron: "* * *"), await Change(zone: "Mars/Base")));
        Assert.Null(await Change(active: false, prompt: "Third"));
        Assert.Equal((null, "paused", Content.Of("Third")), ((await Row()).NextRunAt, (await Row()).Status, (await Row()).Prompt));
        await NextHour(host);
        await NextHour(host);
        Assert.Equal("", await Ledger());
        Assert.Null(await Change(active: true, cron: "0 0 * * *", zone: "UTC"));
        Assert.Equal(new(2026, 1, 2, 0, 0, 0, TimeSpan.Zero), (await Row()).NextRunAt);
        harness.Clock.Advance((await Row()).NextRunAt!.Value - harness.Clock.GetUtcNow());
        await Settle(host);
        Assert.Equal(("fired", Content.Of("Third")), (await Ledger(), Assert.Single(Runs()).Message));
        await Consistent();
    }

    async Task Consistent()
    {
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)harness.Engine).FindDifference(model, default));
        }
    }
}
