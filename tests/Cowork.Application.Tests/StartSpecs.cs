using Cowork.Application.Storage;
using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A run is accepted and started by one commit when no run is before it in its session and the node has room.</summary>
public sealed class StartSpecs
{
    readonly RunHarness bench = new();

    [Fact]
    public async Task A_plain_turn_is_two_commits_and_reads_as_it_always_did()
    {
        var host = await Ready("n0");
        var commits = new List<Commit>();
        bench.Engine.FailPoint = (commit, after) => commits.AddRange(after ? [commit] : []);
        await host.Send("s", "hello");
        await host.Drive();
        Assert.Equal(2, commits.Count);
        Assert.Equal(
            [("run_created", "user:local"), ("run_queued", "user:local"), ("run_started", "agent"), ("memory_retrieval", "agent")],
            commits[0].Writes.SelectMany(w => w.Events).Select(e => (EventTypes.FeedType(e.Type), e.Actor)));
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task The_answer_of_the_request_shows_the_run_as_the_commit_left_it()
    {
        var host = await Ready("n0");
        var (turn, _) = await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "hello", null, null, null), default);
        Assert.Equal(3, turn!.Accepted!.Version);
        Assert.IsType<Run.Active>(await host.Commands.State(RunHarness.Org, Run.Aggregate, turn.Run, default));
    }

    [Fact]
    public async Task A_run_behind_another_is_only_queued()
    {
        var host = await Ready("n0");
        await host.Send("s", "one");
        var second = await host.Send("s", "two");
        Assert.Equal(["run_created"], await bench.Story($"run-{second.Value}"));
        await host.Drive();
        Assert.Equal("run_completed", (await bench.Story($"run-{second.Value}"))[^1]);
    }

    [Fact]
    public async Task When_another_node_was_quicker_the_run_is_only_queued()
    {
        var (slow, quick) = (await Ready("n0"), bench.AddHost("n1"));
        await slow.Commands.State(RunHarness.Org, Session.Aggregate, new SessionKey("s"), default);
        await quick.Send("s", "one");
        var second = await slow.Send("s", "two");
        Assert.Equal(["run_created"], await bench.Story($"run-{second.Value}"));
        Assert.Equal(["session_created", "run_queued", "run_queued"], await bench.Story("session-s"));
    }

    [Fact]
    public async Task A_run_whose_node_dies_with_the_commit_goes_on_elsewhere_under_a_higher_epoch()
    {
        var (first, second) = (await Ready("n0"), bench.AddHost("n1"));
        var run = await first.Send("s", "hello");
        first.Node.Die();
        await second.Drive();
        var story = await bench.Story($"run-{run.Value}");
        Assert.Equal(["run_created", "run_started", "memory_retrieval", "run_resumed"], story.Take(4));
        Assert.Equal("run_completed", story[^1]);
        var past = await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default);
        Assert.True(past.Events.Select(e => e.Event).OfType<RunEvent.RunResumed>().Single().Epoch > past.Events.Select(e => e.Event).OfType<RunEvent.RunStarted>().Single().Epoch);
    }

    [Fact]
    public async Task A_run_that_is_cancelled_before_its_driver_takes_it_ends_as_cancelled()
    {
        var host = await Ready("n0");
        var run = await host.Send("s", "hello");
        await host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default);
        await host.Drive();
        Assert.Equal("run_cancelled", (await bench.Story($"run-{run.Value}"))[^1]);
        Assert.Empty(bench.Model.Rounds);
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task It_knows_the_turns_and_memories_before_it_also_those_that_another_node_has_just_written()
    {
        var (here, there) = (await Ready("n0"), bench.AddHost("n1"));
        var first = await here.Send("s", "the kraken sleeps");
        await here.Drive();
        await there.OpenSession("t");
        await there.Commands.Execute(RunHarness.Org, RunHarness.User, new KeepMemory(new("m1"), "memory", Content.Of("The kraken wakes."), new("t"), first), default);
        var second = await here.Send("s", "what of the kraken");
        var past = await bench.Engine.Load(RunHarness.Org, $"run-{second.Value}", 0, int.MaxValue, default);
        var memory = past.Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single();
        Assert.Equal([first], memory.History);
        Assert.Contains(new MemoryKey("m1"), memory.Provenance.Select(p => p.Id));
    }

    [Fact]
    public async Task A_node_that_only_seems_to_be_alone_does_not_start_a_run_without_what_another_has_just_written()
    {
        var (here, there) = (await Ready("n0"), bench.AddHost("n1"));
        here.Node.SeemsAlone = true;
        var first = await here.Send("s", "the kraken sleeps");
        await here.Drive();
        Assert.Equal("run_started", (await bench.Story($"run-{(await here.Send("s", "and the squid")).Value}"))[1]);
        await here.Drive();
        await there.OpenSession("t");
        await there.Commands.Execute(RunHarness.Org, RunHarness.User, new KeepMemory(new("m1"), "memory", Content.Of("The kraken wakes."), new("t"), first), default);
        var second = await here.Send("s", "what of the kraken");
        Assert.Equal(["run_created"], await bench.Story($"run-{second.Value}"));
        await here.Drive();
        var past = await bench.Engine.Load(RunHarness.Org, $"run-{second.Value}", 0, int.MaxValue, default);
        Assert.Contains(new MemoryKey("m1"), past.Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single().Provenance.Select(p => p.Id));
    }

    async Task<RunHarness.Host> Ready(string name)
    {
        var host = bench.AddHost(name);
        host.Node.Admits = true;
        await host.OpenSession("s");
        return host;
    }
}
