using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A call that a person has to confirm suspends its run, durably, and the decision lets the very call be made, wherever and whenever.</summary>
public sealed class ApprovalSpecs : IDisposable
{
    const string Message = "go\nwrite_file {\"path\":\"report.md\",\"content\":\"hello\"}";

    static readonly string[] UntilAsked =
        ["run_created", "run_started", "memory_retrieval", "llm_response", "tool_call", "policy_decision", "approval_requested"];

    static readonly string[] Whole =
        [.. UntilAsked, "approval_decided", "tool_result", "output_delta", "llm_response", "assistant_reply", "run_completed"];

    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task A_call_to_be_confirmed_waits_and_is_made_once_it_is_approved()
    {
        var (bench, host, run, approval) = await Asked();
        Assert.Equal(UntilAsked, await bench.Story($"run-{run.Value}"));
        Assert.False(File.Exists(Path.Combine(work.Root, "report.md")));
        var pending = await Row(bench, run);
        Assert.Equal(("approval_required", approval), (pending.Status, Assert.Single(pending.PendingApprovalIds)));

        Assert.Null(await host.Decide(approval, approved: true, "fine"));
        Assert.Equal("running", (await Row(bench, run)).Status);
        await host.Drive();
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(work.Root, "report.md")));
        Assert.Equal(Whole, (await bench.Story($"run-{run.Value}")).Where(type => type != "run_resumed"));
        var ended = await Row(bench, run);
        Assert.Equal(("completed", 1), (ended.Status, ended.Attempt));
        Assert.Empty(ended.PendingApprovalIds);

        var shown = await Approval(bench, approval);
        Assert.Equal(
            ("approved", "user:bob", "fine", "write_file", "create_inside", "A new file outside the output root. (report.md)"),
            (shown.Status, shown.DecidedBy, shown.DecisionNote, shown.ToolName, shown.Rule, shown.Reason));
        await AssertSound(bench, run, "completed");
    }

    [Fact]
    public async Task A_rejected_call_is_not_made_and_the_model_is_told_why()
    {
        var (bench, host, run, approval) = await Asked();
        Assert.Null(await host.Decide(approval, approved: false, "not there"));
        await host.Drive();
        Assert.False(File.Exists(Path.Combine(work.Root, "report.md")));
        var result = await Result(bench, run);
        Assert.Equal((true, Content.Of("Refused by user:bob: not there"), 1), (result.IsError, result.Content, result.Attempt));
        Assert.Equal(("completed", "rejected"), ((await Row(bench, run)).Status, (await Approval(bench, approval)).Status));
        await AssertSound(bench, run, "completed");
    }

    [Fact]
    public async Task Nobody_decides_and_after_a_day_the_system_rejects()
    {
        var (bench, host, run, approval) = await Asked();
        bench.Clock.Advance(TimeSpan.FromHours(24) - TimeSpan.FromSeconds(1));
        Assert.Equal(0, host.Node.ClaimDue());
        bench.Clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("approval_decided", await host.Decide(approval, approved: true));
        await host.DriveOne();
        var expired = await Approval(bench, approval);
        Assert.Equal(("expired", "system"), (expired.Status, expired.DecidedBy));
        Assert.Equal("approval_decided", await host.Decide(approval, approved: false));
        await host.Drive();
        Assert.Equal(Content.Of("Refused: nobody approved this call in time."), (await Result(bench, run)).Content);
        await AssertSound(bench, run, "completed");
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task Expiring_early_late_or_again_does_no_harm()
    {
        var (bench, host, run, approval) = await Asked();
        var claim = new Claim(RunHarness.Org, ApprovalExpiry.JobKind, approval.Value, 1);
        // Too early, by another clock: it does not ask the database again and again.
        var early = host.Expiry.Run(claim, default);
        await Patience.Until(() => bench.Clock.Waiting > 0);
        bench.Clock.Advance(TimeSpan.FromMilliseconds(999));
        Assert.False(early.IsCompleted);
        bench.Clock.Advance(TimeSpan.FromMilliseconds(1));
        Assert.False(await early); // the job stays
        Assert.Equal(UntilAsked, await bench.Story($"run-{run.Value}"));
        Assert.Null(await host.Decide(approval, approved: true));
        await host.Drive();
        Assert.False(await host.Expiry.Run(claim with { Key = Ids.NewKey(bench.Clock.GetUtcNow()) }, default)); // of no approval
        bench.Clock.Advance(TimeSpan.FromHours(25));
        await host.Drive();
        Assert.Equal("approved", (await Approval(bench, approval)).Status);
        Assert.Empty(bench.Engine.Jobs);
        await AssertSound(bench, run, "completed");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_decision_takes_back_the_job_that_would_have_expired_it(bool approved)
    {
        var (bench, host, _, approval) = await Asked();
        Assert.Single(bench.Engine.Jobs, job => job.Kind == ApprovalExpiry.JobKind);
        Assert.Null(await host.Decide(approval, approved));
        await host.Drive();
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task Cancelling_while_it_waits_ends_the_run_and_starts_the_next()
    {
        var (bench, host, run, approval) = await Asked();
        var next = await host.Send("s", "next");
        Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default)).Refused);
        var row = await Row(bench, run);
        Assert.Equal("cancelled", row.Status);
        Assert.Empty(row.PendingApprovalIds);
        Assert.Equal(("rejected", "system"), ((await Approval(bench, approval)).Status, (await Approval(bench, approval)).DecidedBy));
        Assert.Equal("approval_decided", await host.Decide(approval, approved: true));
        await host.Drive();
        Assert.Equal("completed", (await Row(bench, next)).Status);
        await AssertSound(bench, run, "cancelled");
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task With_four_eyes_who_sent_the_turn_may_not_decide()
    {
        var (_, host, _, approval) = await Asked(new() { FourEyes = true });
        Assert.Equal("four_eyes", await host.Decide(approval, approved: true, by: RunHarness.User.Actor));
        Assert.Null(await host.Decide(approval, approved: true, by: "user:bob"));
    }

    [Fact]
    public async Task An_unknown_approval_is_not_found()
    {
        var (bench, host, _, _) = await Asked();
        Assert.Equal("not_found", await host.Decide(ApprovalKey.New(bench.Clock.GetUtcNow()), approved: true));
    }

    [Fact]
    public async Task Decided_on_one_host_the_run_goes_on_on_another()
    {
        var (bench, first, run, approval) = await Asked();
        var second = bench.AddHost("n2");
        // It knows the run as it waits, and must not go by that when it gets the job.
        Assert.IsType<Run.Suspended>(await second.Commands.State(RunHarness.Org, Run.Aggregate, run, default));
        Assert.Null(await first.Decide(approval, approved: true));
        first.Node.Die();
        await second.Drive();
        var resumed = (await Events(bench, run)).OfType<RunEvent.RunResumed>().Single();
        Assert.Equal("n2", resumed.Node);
        await AssertSound(bench, run, "completed");
    }

    [Fact]
    public async Task Approve_and_reject_racing_leave_one_decision()
    {
        for (var round = 0; round < 8; round++)
        {
            var (bench, first, run, approval) = await Asked();
            var second = bench.AddHost("n2");
            var decisions = await Task.WhenAll(Enumerable.Range(0, 64).Select(
                i => Task.Run(() => (i % 4 < 2 ? first : second).Decide(approval, approved: i % 2 == 0, by: $"user:{i}"))));
            var decided = Assert.Single((await Events(bench, run)).OfType<RunEvent.ApprovalDecided>());
            var won = decided.Outcome == ApprovalOutcome.Approved ? 0 : 1;
            Assert.All(decisions.Select((code, i) => (code, i)), d => Assert.Equal(d.i % 2 == won ? null : "approval_decided", d.code));
            await first.Drive();
            await second.Drive();
            Assert.Equal(won == 0, File.Exists(Path.Combine(work.Root, "report.md")));
            File.Delete(Path.Combine(work.Root, "report.md"));
            await AssertSound(bench, run, "completed");
        }
    }

    [Fact]
    public async Task A_file_that_appeared_while_the_approval_was_pending_is_not_overwritten()
    {
        var (bench, host, run, approval) = await Asked();
        work.Write("report.md", "somebody else's");
        Assert.Null(await host.Decide(approval, approved: true));
        await host.Drive();
        Assert.Equal("somebody else's", await File.ReadAllTextAsync(Path.Combine(work.Root, "report.md")));
        Assert.True((await Result(bench, run)).IsError);
    }

    [Fact]
    public async Task A_link_turned_while_the_approval_was_pending_does_not_lead_the_call_elsewhere()
    {
        work.Write("asked/a.txt", "what was asked about");
        work.Write("other/a.txt", "what was not");
        work.Link("way", "asked");
        var (bench, host, run, approval) = await Asked(message: "go\nwrite_file {\"path\":\"way/a.txt\",\"content\":\"x\"}");
        Assert.Equal("A file outside the output root would get another content. (asked/a.txt)", (await Approval(bench, approval)).Reason);
        File.Delete(Path.Combine(work.Root, "way"));
        work.Link("way", "other");
        Assert.Null(await host.Decide(approval, approved: true));
        await host.Drive();
        Assert.Equal("what was not", await File.ReadAllTextAsync(Path.Combine(work.Root, "other/a.txt")));
        Assert.Equal("what was asked about", await File.ReadAllTextAsync(Path.Combine(work.Root, "asked/a.txt")));
        Assert.True((await Result(bench, run)).IsError);
    }

    [Theory]
    [InlineData(false)] // the host dies before the commit
    [InlineData(true)]  // the commit happened, and the host died before it heard of it
    public async Task A_host_that_dies_at_any_commit_leaves_a_run_that_another_ends(bool after)
    {
        var commits = 0;
        for (var at = 0; ; at++)
        {
            var (bench, tool, run, crashes) = await RunDyingAt([(at, after)]);
            await AssertWhole(bench, tool, run, crashes);
            if (crashes == 0)
            {
                break;
            }
            commits++;
        }
        Assert.Equal(6, commits); // started, asked, decided, resumed, result, reply with the end
    }

    [Fact]
    public async Task Hosts_that_die_again_and_again_still_get_it_done()
    {
        foreach (var seed in Seeds.Many(ordinary: 30, chaos: 2_500))
        {
            var random = new Random(seed);
            var deaths = Enumerable.Range(0, 14).Where(_ => random.Next(2) == 0).Select(at => (at, random.Next(2) == 0)).ToList();
            var (bench, tool, run, crashes) = await RunDyingAt(deaths);
            await AssertWhole(bench, tool, run, crashes);
        }
    }

    [Fact]
    public async Task An_effect_without_its_record_is_repeated_as_the_second_attempt_with_the_same_token()
    {
        // Commit by commit: started, asked, decided, resumed, and then the result, which is lost.
        var (bench, tool, run, crashes) = await RunDyingAt([(4, false)]);
        Assert.Equal(1, crashes);
        Assert.Equal([($"{run.Id}:3", 1), ($"{run.Id}:3", 2)], tool.Calls);
        Assert.Equal(2, (await Result(bench, run)).Attempt);
        await AssertWhole(bench, tool, run, crashes);
    }

    async Task AssertWhole(RunHarness bench, RecordingTool tool, RunKey run, int crashes)
    {
        Assert.Equal(Whole, (await bench.Story($"run-{run.Value}")).Where(type => type != "run_resumed"));
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(work.Root, "report.md")));
        Assert.Equal(["report.md"], Directory.EnumerateFileSystemEntries(work.Root).Select(Path.GetFileName));
        Assert.Single(tool.Calls.Select(c => c.Token).Distinct());
        Assert.True(tool.Calls.Count <= 1 + crashes);
        Assert.False((await Result(bench, run)).IsError);
        await AssertSound(bench, run, "completed");
    }

    /// <param name="deaths">Numbers of the commits after the turn's, from 0, at which the host dies, and whether after or before it.</param>
    async Task<(RunHarness RunHarness, RecordingTool Tool, RunKey Run, int Crashes)> RunDyingAt(IReadOnlyList<(int At, bool After)> deaths)
    {
        File.Delete(Path.Combine(work.Root, "report.md"));
        var (bench, tool) = NewBench(new());
        var first = bench.AddHost("n0");
        await first.OpenSession("s");
        var run = await first.Send("s", Message);
        bench.DieAt(deaths);
        var (left, crashes) = await bench.Outlive(first, async host =>
        {
            var state = await host.Commands.LatestState(RunHarness.Org, Run.Aggregate, run, default);
            if (state is Run.Suspended { Pending: { } asked })
            {
                Assert.Null(await host.Decide(asked.ApprovalId, approved: true));
            }
            else if (state is not Run.Ended)
            {
                await host.DriveOne();
            }
            return state is not Run.Ended;
        });
        bench.Engine.FailPoint = null;
        bench.Clock.Advance(TimeSpan.FromHours(24));
        await left.Drive();
        Assert.Empty(bench.Engine.Jobs);
        return (bench, tool, run, crashes);
    }

    (RunHarness RunHarness, RecordingTool Tool) NewBench(ApprovalOptions options)
    {
        var blobs = new Testing.InMemoryBlobs();
        var tool = new RecordingTool(new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads));
        return (new() { Blobs = blobs, Workspace = work.Root, Tools = [tool], Approvals = options }, tool);
    }

    /// <summary>A run that waits for an approval.</summary>
    async Task<(RunHarness RunHarness, RunHarness.Host Host, RunKey Run, ApprovalKey Approval)> Asked(ApprovalOptions? options = null, string message = Message)
    {
        var (bench, _) = NewBench(options ?? new());
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", message);
        await host.Drive();
        var waiting = Assert.IsType<Run.Suspended>(await host.Commands.State(RunHarness.Org, Run.Aggregate, run, default));
        return (bench, host, run, waiting.Pending!.ApprovalId);
    }

    static async Task AssertSound(RunHarness bench, RunKey run, string status)
    {
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }
        var (report, fault) = TraceVerifier.Verify(await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, new("s"), run, default));
        Assert.Null(fault);
        Assert.Equal(status, report!.Status);
    }

    static async Task<RunRow> Row(RunHarness bench, RunKey run) =>
        Runs.Model.Read((await ((IRows)bench.Engine).Get(RunHarness.Org, Runs.Model.Table, run.Value, default))!.Json.Span);

    static async Task<ApprovalRow> Approval(RunHarness bench, ApprovalKey approval) =>
        Approvals.Model.Read((await ((IRows)bench.Engine).Get(RunHarness.Org, Approvals.Model.Table, approval.Value, default))!.Json.Span);

    static async Task<IEnumerable<Event>> Events(RunHarness bench, RunKey run) =>
        (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events.Select(e => e.Event);

    static async Task<RunEvent.ToolResult> Result(RunHarness bench, RunKey run) => (await Events(bench, run)).OfType<RunEvent.ToolResult>().Single();

    /// <summary>A tool, and the calls that it got.</summary>
    sealed class RecordingTool(ITool tool) : ITool
    {
        public List<(string Token, int Attempt)> Calls { get; } = [];

        public string Name => tool.Name;

        public string Description => tool.Description;

        public JsonElement Schema => tool.Schema;

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => tool.Subject(context, input, ct);

        public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
        {
            Calls.Add((context.IdempotencyToken, context.Attempt));
            return tool.Run(context, input, ct);
        }
    }
}
