using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A run whose host dies after every commit, and before every commit, ends as it would have ended.</summary>
public sealed class CrashSpecs
{
    const string Message = "go\nread_file {\"path\":\"a\"}\nread_file {\"path\":\"b\"}";

    static readonly string[] Whole =
    [
        "run_created", "run_started", "memory_retrieval", "llm_response", "tool_call", "tool_call", "policy_decision",
        "tool_result", "policy_decision", "tool_result", "output_delta", "llm_response", "assistant_reply", "run_completed",
    ];

    [Fact]
    public async Task Nothing_dies_and_the_run_goes_from_created_to_completed()
    {
        var (bench, run, crashes) = await RunDyingAt([]);
        Assert.Equal(0, crashes);
        Assert.Equal(Whole, await bench.Story($"run-{run.Value}"));
        Assert.Equal(["session_created", "run_queued", "run_dequeued"], await bench.Story("session-s"));
        Assert.Empty(bench.Engine.Jobs);
    }

    [Theory]
    [InlineData(false, false, 5)] // the host dies before the commit: started, asked, first result, second result, reply with the end
    [InlineData(true, false, 5)] // the commit happened, and the host died before it heard of it
    [InlineData(false, true, 4)] // the run was started by the commit that accepted it
    [InlineData(true, true, 4)]
    public async Task A_host_that_dies_at_any_commit_leaves_a_run_that_another_ends(bool after, bool atOnce, int all)
    {
        var commits = 0;
        for (var at = 0; ; at++)
        {
            var (bench, run, crashes) = await RunDyingAt([(at, after)], atOnce);
            if (crashes == 0)
            {
                break;
            }
            commits++;
            await AssertWhole(bench, run, crashes);
        }
        Assert.Equal(all, commits);
    }

    [Fact]
    public async Task Hosts_that_die_again_and_again_still_get_it_done()
    {
        foreach (var seed in Seeds.Many(ordinary: 50, chaos: 5_000))
        {
            var random = new Random(seed);
            var deaths = Enumerable.Range(0, 12).Where(_ => random.Next(2) == 0).Select(at => (at, random.Next(2) == 0)).ToList();
            var (bench, run, crashes) = await RunDyingAt(deaths, atOnce: random.Next(2) == 0);
            Assert.True(crashes == 0 || deaths.Count > 0, $"seed {seed}");
            await AssertWhole(bench, run, crashes);
        }
    }

    [Theory]
    [InlineData(false)] // the commit did not happen
    [InlineData(true)]  // it did, and nobody was told
    public async Task A_database_that_goes_away_at_any_commit_is_waited_for_and_nothing_is_done_twice(bool after)
    {
        for (var at = 0; at < 5; at++)
        {
            // The clock runs freely here, so it must neither cut the text into pieces nor end the run.
            var never = TimeSpan.FromDays(10_000);
            var bench = new RunHarness { Options = new() { DefaultModel = "scripted", DeltaEvery = never, Limits = RunLimits.Default with { Time = never } } };
            var host = bench.AddHost("n0");
            await host.OpenSession("s");
            var run = await host.Send("s", Message);
            var commits = 0;
            bench.Engine.FailPoint = (_, happened) =>
            {
                if (happened == after && commits++ == at)
                {
                    throw new StorageUnavailableException("away");
                }
            };
            var driving = host.DriveOne();
            while (!driving.IsCompleted)
            {
                bench.Clock.Advance(TimeSpan.FromMilliseconds(100));
                await Task.Yield();
            }
            await driving;
            Assert.Equal(Whole, await bench.Story($"run-{run.Value}"));
            Assert.Equal(2, bench.Tool.Calls.Count);
            await AssertWhole(bench, run, crashes: 0);
        }
    }

    [Fact]
    public async Task A_database_that_is_away_while_a_commit_is_decided_is_waited_for()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var tries = 0;
        var committing = host.Commands.Commit(
            RunHarness.Org, RunHarness.User,
            async work =>
            {
                var refused = await work.Do(Session.Aggregate, new("s"), new SessionCommand.Enqueue(new("1"), 10, work.Now), new SessionKey("s"));
                return ++tries == 1 ? throw new StorageUnavailableException("away") : refused;
            },
            default, waitForStorage: true).AsTask();
        while (!committing.IsCompleted)
        {
            bench.Clock.Advance(TimeSpan.FromMilliseconds(100));
            await Task.Yield();
        }
        Assert.Null(await committing);
        Assert.Equal(2, tries);
        Assert.Equal(["session_created", "run_queued"], await bench.Story("session-s"));
    }

    [Fact]
    public async Task A_job_that_is_handed_out_before_its_commit_is_answered_finds_its_run()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var found = new List<Run>();
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (after && commit.Jobs is [{ } job])
            {
                // The engine has told of the job, and the turn's own caller has heard nothing yet.
                found.Add(host.Commands.State(RunHarness.Org, Run.Aggregate, new RunKey(job.Key), default).AsTask().GetAwaiter().GetResult());
            }
        };
        await host.Send("s", Message);
        Assert.IsType<Run.Queued>(Assert.Single(found));
    }

    [Fact]
    public async Task A_host_that_knew_a_run_only_as_queued_takes_it_over_where_another_left_it()
    {
        var bench = new RunHarness();
        var sender = bench.AddHost("n0");
        await sender.OpenSession("s");
        var run = await sender.Send("s", Message);
        await foreach (var (claim, _) in sender.Node.Claims(CancellationToken.None))
        {
            await sender.Node.Release(claim, TimeSpan.Zero, default);
            break;
        }
        var other = bench.AddHost("n1");
        other.Node.ClaimDue();
        // It dies when it has begun the run and recorded what was to be recalled, of which the sender has heard nothing.
        bench.Engine.FailPoint = (_, after) =>
        {
            if (after)
            {
                throw new HostDiedException();
            }
        };
        await Assert.ThrowsAsync<HostDiedException>(other.DriveOne);
        bench.Engine.FailPoint = null;
        other.Node.Die();
        Assert.Equal(["run_created", "run_started", "memory_retrieval"], await bench.Story($"run-{run.Value}"));

        sender.Node.ClaimDue();
        await sender.DriveOne();
        await AssertWhole(bench, run, crashes: 1);
    }

    static async Task AssertWhole(RunHarness bench, RunKey run, int crashes)
    {
        var story = await bench.Story($"run-{run.Value}");
        Assert.Equal(Whole, story.Where(type => type != "run_resumed"));
        Assert.True(story.Count(type => type == "run_resumed") <= crashes);

        // Every call of the tool that was repeated had the token of the first attempt, and one result was recorded for each.
        Assert.Equal(2, bench.Tool.Calls.Select(c => c.Token).Distinct().Count());
        Assert.True(bench.Tool.Calls.Count <= 2 + crashes);
        Assert.True(bench.Model.Rounds.Count <= 2 + crashes);

        var past = await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default);
        var repeated = past.Events.Select(e => e.Event).OfType<RunEvent.ToolResult>().Where(r => r.Attempt > 1).ToList();
        Assert.All(repeated, r => Assert.Contains((Token: $"{run.Id}:{r.Step}", r.Attempt), bench.Tool.Calls));

        Assert.Empty(bench.Engine.Jobs);
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }
        var bundle = await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, new("s"), run, default);
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        Assert.Equal("completed", report!.Status);
    }

    /// <param name="deaths">Numbers of the drivers' commits, from 0, at which the host dies, and whether after or before it.</param>
    /// <param name="atOnce">The run is started by the commit that accepts it.</param>
    static async Task<(RunHarness RunHarness, RunKey Run, int Crashes)> RunDyingAt(IReadOnlyList<(int At, bool After)> deaths, bool atOnce = false)
    {
        var bench = new RunHarness();
        var first = bench.AddHost("n0");
        first.Node.Admits = atOnce;
        await first.OpenSession("s");
        var run = await first.Send("s", Message);
        bench.DieAt(deaths);
        var (_, crashes) = await bench.Outlive(first, async host =>
        {
            await host.Drive();
            return bench.Engine.Jobs.Count > 0;
        });
        bench.Engine.FailPoint = null;
        return (bench, run, crashes);
    }
}
