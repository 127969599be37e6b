using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Agents of groups: whom a message addresses, what they are told, and how they address each other.</summary>
public sealed class GroupRunSpecs
{
    [Fact]
    public async Task A_message_addresses_by_id_or_else_by_nickname_or_else_the_first_agent()
    {
        var bench = new GroupHarness((_, _) => "ok");
        var host = await bench.Open();
        Assert.Equal(["alpha"], Called(await GroupHarness.Post(host, "Hello")));
        Assert.Equal(["gamma", "beta"], Called(await GroupHarness.Post(host, "@gamma and @beta, please")));
        Assert.Equal(["beta"], Called(await GroupHarness.Post(host, "@gamma, please", null, "beta")));
        var (_, refused) = await host.Messages.Post(RunHarness.Org, new("user:ann"), GroupHarness.Key, "ann", "Hello", null, ["alpha", "nobody"], default);
        Assert.Equal(("unknown_agent", "$.agent_ids[1]"), (refused!.Code, refused.Path));
        await host.Drive();
        Assert.Equal(4, (await bench.Answered()).Count);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task Agents_answer_beside_each_other_and_each_one_thing_after_the_other()
    {
        var bench = new GroupHarness((_, _) => "ok");
        var host = await bench.Open();
        await GroupHarness.Post(host, "one", null, "alpha");
        await GroupHarness.Post(host, "two", null, "alpha", "beta");
        Assert.Equal(
            [("alpha", 0), ("alpha", 1), ("beta", 0)], (await bench.Of<SessionEvent.RunQueued>()).Select(queued => (queued.Lane!, queued.Ahead)));
        Assert.Equal(2, bench.Bench.Engine.Jobs.Count);
        await host.Drive();
        Assert.Equal(3, (await bench.Of<RunEvent.RunCompleted>()).Count);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task An_agent_that_waits_for_an_approval_keeps_no_other_one_from_answering()
    {
        var bench = new GroupHarness((nickname, _) => nickname == "alpha" ? """read_file {"path":"a"}""" : "ok", policy: new([new("all", PolicyOutcome.Confirm, "It asks.")]));
        var host = await bench.Open();
        await GroupHarness.Post(host, "one", null, "alpha");
        await host.Drive();
        var asked = Assert.Single(await bench.Of<RunEvent.ApprovalRequested>());
        await GroupHarness.Post(host, "two", null, "beta");
        await GroupHarness.Post(host, "three", null, "alpha");
        await host.Drive();
        Assert.Equal(["beta"], await bench.Answered());
        Assert.Null(await host.Decide(asked.ApprovalId, approved: false));
        await host.Drive();
        Assert.Equal("alpha", (await bench.Answered())[1]);
    }

    [Fact]
    public async Task An_agent_is_told_who_said_what_and_what_it_said_itself()
    {
        var bench = new GroupHarness((nickname, text) => $"{nickname} heard {text.Length}");
        var host = await bench.Open();
        await GroupHarness.Post(host, "first\nline", null, "alpha");
        await host.Drive();
        await GroupHarness.Post(host, "second", null, "beta");
        await host.Drive();
        await GroupHarness.Post(host, "third", null, "alpha");
        await host.Drive();
        var (nickname, messages) = bench.Model.Asked[^1];
        Assert.Equal("alpha", nickname);
        Assert.Equal(
            ["user: ann:\n> first\n> line", "assistant: alpha heard 10", "user: ann:\n> second", "user: @Beta:\n> Beta heard 6", "user: third"],
            messages.Where(m => m.Role != ChatRole.System).Select(m => $"{m.Role}: {m.Text}"));
        Assert.Contains("The last message, which is not quoted, is by ann. Answer it.", messages.Select(m => m.Text));
        Assert.Contains("Be strict.", bench.Model.Asked[1].Messages.Select(m => m.Text));
        await AssertWhole(bench);
    }

    [Fact]
    public async Task An_agent_calls_the_tools_that_it_names_and_no_others()
    {
        var bench = new GroupHarness((_, text) => text);
        var host = await bench.Open();
        await GroupHarness.Post(host, """list_files {"path":"."}""", null, "gamma");
        await GroupHarness.Post(host, """read_file {"path":"a"}""", null, "gamma");
        await host.Drive();
        Assert.All(bench.Model.Offered, offered => Assert.Equal(["read_file"], offered));
        Assert.Equal(
            [(PolicyOutcome.Deny, CallPolicy.AgentTools), (PolicyOutcome.Allow, "read_inside")],
            (await bench.Of<RunEvent.PolicyDecision>()).Select(decision => (decision.Outcome, decision.Rule)));
        Assert.Single(bench.Bench.Tool.Calls);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task An_agent_that_addresses_another_one_is_answered_by_it()
    {
        var bench = new GroupHarness((nickname, _) => nickname == "alpha" ? "@beta is it so?" : "It is.");
        var host = await bench.Open();
        await GroupHarness.Post(host, "Hello", "m-1");
        await host.Drive();
        var (asker, answerer) = (await bench.Of<RunEvent.RunCreated>()) is [var one, var two] ? (one, two) : throw new InvalidOperationException();
        Assert.Equal(new("beta", "Beta", "alpha", "ann", "m-1", 1, Content.Of("Be strict."), null, asker.RunId), answerer.Agent);
        Assert.Equal(Content.Of("@beta is it so?"), answerer.Message);
        Assert.Equal(["alpha", "beta"], await bench.Answered());
        Assert.Equal(
            ["user: ann:\n> Hello", "user: @beta is it so?"],
            bench.Model.Asked[1].Messages.Where(m => m.Role != ChatRole.System).Select(m => $"{m.Role}: {m.Text}"));
        Assert.Contains("The last message, which is not quoted, is by the agent @alpha. Answer it.", bench.Model.Asked[1].Messages.Select(m => m.Text));
        // Whoever may not approve what they asked for may not do so by way of an agent either.
        var row = await ((IRows)bench.Bench.Engine).Get(RunHarness.Org, Runs.Model.Table, answerer.RunId.Value, default);
        Assert.Equal("user:ann", Runs.Model.Read(row!.Json.Span).RequestedBy);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task An_agent_does_not_address_itself_or_who_is_no_agent_of_the_group()
    {
        var bench = new GroupHarness((_, _) => "@alpha @nobody @assistant");
        var host = await bench.Open();
        await GroupHarness.Post(host, "Hello");
        await host.Drive();
        Assert.Null(Assert.Single(await bench.Of<GroupEvent.GroupAgentAnswered>()).Calls);
        Assert.Empty(await bench.Of<GroupEvent.GroupCallsStopped>());
    }

    [Fact]
    public async Task Agents_hand_on_ten_times_and_no_more()
    {
        var bench = new GroupHarness((nickname, _) => nickname == "alpha" ? "@beta your turn" : "@alpha your turn");
        var host = await bench.Open();
        await GroupHarness.Post(host, "Hello");
        await host.Drive();
        Assert.Equal(Enumerable.Range(0, 11), (await bench.Of<RunEvent.RunCreated>()).Select(run => run.Agent!.Depth));
        var stopped = Assert.Single(await bench.Of<GroupEvent.GroupCallsStopped>());
        Assert.Equal(("alpha", StoppedCalls.Depth, Limits.AgentDepthMax), (stopped.AgentId, stopped.Reason, stopped.Depth));
        Assert.Equal(["beta"], stopped.Addressed);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task An_agent_is_told_no_more_of_what_was_said_than_its_prompt_may_have()
    {
        var answer = new string('x', 300_000);
        var bench = new GroupHarness((nickname, _) => nickname == "alpha" ? answer : "ok");
        var host = await bench.Open();
        for (var i = 0; i < 5; i++)
        {
            await GroupHarness.Post(host, $"question {i}", null, "alpha");
            await host.Drive();
        }
        await GroupHarness.Post(host, "and now?", null, "beta");
        await host.Drive();
        var told = bench.Model.Asked[^1].Messages.Where(m => m.Role != ChatRole.System).Select(m => m.Text!.Length < 100 ? m.Text : $"{m.Text.Length}").ToList();
        Assert.Equal(["ann:\n> question 2", "300010", "ann:\n> question 3", "300010", "ann:\n> question 4", "300010", "and now?"], told);
        await AssertWhole(bench);
    }

    [Fact]
    public async Task A_message_leads_to_a_hundred_runs_and_no_more()
    {
        var bench = new GroupHarness((nickname, _) => nickname switch { "alpha" => "@beta @gamma", "Beta" => "@alpha @gamma", _ => "@alpha @beta" });
        var host = await bench.Open();
        await GroupHarness.Post(host, "Hello");
        await host.Drive();
        Assert.InRange((await bench.Of<RunEvent.RunCompleted>()).Count, Limits.RunsPerMessageMax - 1, Limits.RunsPerMessageMax);
        Assert.All(await bench.Of<GroupEvent.GroupCallsStopped>(), stopped => Assert.Equal(StoppedCalls.Runs, stopped.Reason));
        await AssertWhole(bench);
    }

    [Fact]
    public async Task What_an_agent_hands_on_when_too_many_runs_wait_is_told_and_the_answer_stands()
    {
        var bench = new GroupHarness((nickname, _) => nickname == "alpha" ? "@beta" : "ok", new() { QueuedPerSessionMax = 1 });
        var host = await bench.Open();
        await GroupHarness.Post(host, "one", null, "beta");
        await GroupHarness.Post(host, "two", null, "beta");
        await GroupHarness.Post(host, "three", null, "alpha");
        var (_, refused) = await host.Messages.Post(RunHarness.Org, new("user:ann"), GroupHarness.Key, "ann", "four", null, ["beta"], default);
        Assert.Equal("session_queue_full", refused!.Code);
        // The agent's run is the last that became due, and is driven while the others wait.
        bench.Model.Before = async (nickname, ct) =>
        {
            if (nickname == "Beta" && (await bench.Answered()).Count == 0)
            {
                await host.DriveOne();
            }
        };
        await host.Drive();
        Assert.Equal(StoppedCalls.QueueFull, Assert.Single(await bench.Of<GroupEvent.GroupCallsStopped>()).Reason);
        Assert.Equal(["alpha", "beta", "beta"], await bench.Answered());
    }

    [Fact]
    public async Task A_repeated_message_is_answered_with_the_stored_one_and_stores_nothing()
    {
        var bench = new GroupHarness((_, _) => "ok");
        var host = await bench.Open();
        var first = await GroupHarness.Post(host, "Hello", "m-1");
        await host.Drive();
        var other = bench.Bench.AddHost("n1");
        foreach (var asked in (RunHarness.Host[])[host, other])
        {
            var again = await GroupHarness.Post(asked, "Hello", "m-1");
            Assert.Equal((first.FeedId, true, first.Stored.Calls[0].RunId), (again.FeedId, again.Repeated, again.Stored.Calls[0].RunId));
        }
        var (_, refused) = await other.Messages.Post(RunHarness.Org, new("user:ann"), GroupHarness.Key, "ann", "Bye", "m-1", null, default);
        Assert.Equal(("idempotency_key_reused", "$.message_id"), (refused!.Code, refused.Path));
        Assert.Single(await bench.Of<GroupEvent.GroupMessageStored>());
        Assert.Single(await bench.Of<RunEvent.RunCreated>());
    }

    [Fact]
    public async Task A_bundle_without_what_was_said_in_the_group_does_not_verify()
    {
        var bench = new GroupHarness((_, _) => "ok");
        var host = await bench.Open();
        await GroupHarness.Post(host, "one", null, "alpha");
        await host.Drive();
        var run = (await GroupHarness.Post(host, "two", null, "beta")).Stored.Calls[0].RunId;
        await host.Drive();
        var bundle = JsonNode.Parse(await TraceBundle.Build(bench.Bench.Engine, bench.Bench.Blobs, RunHarness.Org, GroupHarness.Key.Session, run, default))!.AsObject();
        var related = bundle["related"]!.AsArray();
        Assert.Equal(["session_created.v1", "run_created.v1", "assistant_reply.v1"], related.Select(e => (string)e!["type"]!));
        related.RemoveAt(2);
        TamperedBundles.Seal(bundle);
        var (_, fault) = TraceVerifier.Verify(CanonicalJson.Of(Encoding.UTF8.GetBytes(bundle.ToJsonString())));
        Assert.Contains("is missing", fault!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_said_in_a_group_is_remembered_in_it_and_nowhere_else()
    {
        var bench = new GroupHarness((_, _) => "The password is swordfish.");
        var host = await bench.Open();
        await GroupHarness.Post(host, "What is the password?");
        await host.Drive();
        Assert.All(await bench.Of<MemoryEvent.MemoryWritten>(), written => Assert.Equal(GroupHarness.Key.Value, written.Project!.Value.Value));
        Assert.NotEmpty(await host.Queries.RecallAll(RunHarness.Org, new(GroupHarness.Key.Value), "password", 10, default));
        Assert.Empty(await host.Queries.RecallAll(RunHarness.Org, null, "password", 10, default));
    }

    [Fact]
    public async Task A_group_that_is_closed_ends_the_runs_of_all_lanes_and_nothing_is_handed_on()
    {
        var bench = new GroupHarness((_, _) => "@beta");
        // The runs wait for another host when the group is closed.
        var host = await bench.Open("n0", Run.Aggregate.Name);
        await GroupHarness.Post(host, "one", null, "alpha", "beta");
        await GroupHarness.Post(host, "two", null, "alpha");
        Assert.Null((await host.Commands.Execute(RunHarness.Org, new("user:ann"), new ArchiveGroup(GroupHarness.Key, null, "ann", ByAdmin: false), default)).Refused);
        await host.Drive();
        var (_, refused) = await host.Messages.Post(RunHarness.Org, new("user:ann"), GroupHarness.Key, "ann", "three", null, null, default);
        Assert.Equal("group_archived", refused!.Code);
        Assert.Equal(3, (await bench.Of<RunEvent.RunCancelled>()).Count);
        Assert.Equal(3, (await bench.Of<SessionEvent.RunDequeued>()).Count);
    }

    [Theory]
    [InlineData(false)] // before the commit
    [InlineData(true)] // after it, and nobody was told
    public async Task A_host_that_dies_at_any_commit_leaves_exactly_one_run_for_each_address(bool after)
    {
        for (var at = 0; ; at++)
        {
            var (bench, crashes) = await TalkDyingAt([(at, after)]);
            if (crashes == 0)
            {
                // Each of six runs is begun and ended.
                Assert.Equal(12, at);
                break;
            }
            await AssertTalked(bench);
        }
    }

    [Fact]
    public async Task Hosts_that_die_again_and_again_leave_exactly_one_run_for_each_address()
    {
        foreach (var seed in Seeds.Many(ordinary: 30, chaos: 2_000))
        {
            var random = new Random(seed);
            var (bench, _) = await TalkDyingAt([.. Enumerable.Range(0, 20).Where(_ => random.Next(2) == 0).Select(at => (at, random.Next(2) == 0))]);
            await AssertTalked(bench);
        }
    }

    /// <summary>Alpha asks beta and gamma; beta asks gamma; gamma asks nobody when alpha asked, and alpha when beta did; alpha then asks beta, who ends it.</summary>
    static async Task<(GroupHarness Bench, int Crashes)> TalkDyingAt(IReadOnlyList<(int At, bool After)> deaths)
    {
        var bench = new GroupHarness((nickname, text) => (nickname, text) switch
        {
            ("alpha", "Hello") => "@beta @gamma first",
            ("Beta", "@beta @gamma first") => "@gamma second",
            ("gamma", "@gamma second") => "@alpha third",
            ("alpha", "@alpha third") => "@beta fourth",
            _ => "enough",
        });
        var first = await bench.Open();
        await GroupHarness.Post(first, "Hello", "m-1");
        bench.Bench.DieAt(deaths);
        var (_, crashes) = await bench.Bench.Outlive(first, async host =>
        {
            await host.Drive();
            return bench.Bench.Engine.Jobs.Count > 0;
        });
        bench.Bench.Engine.FailPoint = null;
        return (bench, crashes);
    }

    static async Task AssertTalked(GroupHarness bench)
    {
        Assert.Equal(
            ["alpha<-ann 0", "alpha<-gamma 3", "beta<-alpha 1", "beta<-alpha 4", "gamma<-Beta 2", "gamma<-alpha 1"],
            (await bench.Of<RunEvent.RunCreated>()).Select(run => $"{run.Agent!.Id}<-{run.Agent.By} {run.Agent.Depth}").Order(StringComparer.Ordinal));
        Assert.Equal(6, (await bench.Of<RunEvent.RunCompleted>()).Count);
        await AssertWhole(bench);
    }

    /// <summary>Nothing waits, what is called is there once, and rows and bundles are those of the log.</summary>
    static async Task AssertWhole(GroupHarness bench)
    {
        Assert.Empty(bench.Bench.Engine.Jobs);
        var runs = (await bench.Of<RunEvent.RunCreated>()).Select(run => run.RunId).ToList();
        Assert.Equal(runs.Count, (await bench.Of<RunEvent.RunCompleted>()).Count);
        Assert.Equal(runs.Count, (await bench.Of<SessionEvent.RunDequeued>()).Count);
        var called = (await bench.Of<GroupEvent.GroupMessageStored>()).SelectMany(message => message.Calls)
            .Concat((await bench.Of<GroupEvent.GroupAgentAnswered>()).SelectMany(answer => answer.Calls ?? []));
        Assert.Equal(runs.Select(run => run.Value).Order(StringComparer.Ordinal), called.Select(call => call.RunId.Value).Order(StringComparer.Ordinal));
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Bench.Engine).FindDifference(model, default));
        }
        foreach (var run in runs)
        {
            var bundle = (await TraceBundle.Build(bench.Bench.Engine, bench.Bench.Blobs, RunHarness.Org, GroupHarness.Key.Session, run, default))!;
            var (report, fault) = TraceVerifier.Verify(bundle);
            Assert.Null(fault);
            Assert.Equal("completed", report!.Status);
            // What the agent was told follows from the record, also from that of the bundle alone.
            foreach (var record in (IRunRecord[])[new LoggedRun(bench.Bench.Engine, bench.Bench.Blobs, RunHarness.Org, run), BundledRun.Read(bundle, default).Run!])
            {
                var replay = await RunReplay.Of(record, default);
                Assert.Equal((ReplayReport.Equal, null), (replay.Verdict, replay.Divergence));
            }
        }
    }

    static IEnumerable<string> Called(PostedMessage posted) => posted.Stored.Calls.Select(call => call.AgentId);
}
