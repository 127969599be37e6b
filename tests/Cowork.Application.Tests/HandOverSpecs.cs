using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A new run is handed to its driver the moment that it is committed, before its submitter has heard of it.</summary>
public sealed class HandOverSpecs
{
    [Fact]
    public async Task A_driver_that_is_quicker_than_the_submitter_does_not_lose_the_run()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n");
        await host.OpenSession("s");
        using var stopping = new CancellationTokenSource();
        var working = Task.Run(() => host.Work(stopping.Token));
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (after && commit.Writes.Any(w => w.Events.Any(e => e.Event is RunEvent.RunCreated)))
            {
                // The submitter stands here, between its commit and its knowing, for as long as the driver needs.
                Assert.True(SpinWait.SpinUntil(() => bench.Engine.Jobs.Count == 0, Patience.Limit));
            }
        };
        var run = await Task.Run(() => host.Send("s", "hello"));
        Assert.Equal("run_completed", (await bench.Story($"run-{run.Value}"))[^1]);
        Assert.Equal(["session_created", "run_queued", "run_dequeued"], await bench.Story("session-s"));
        await stopping.CancelAsync();
        await working;
    }

    [Fact]
    public async Task A_host_that_knew_the_session_before_the_run_was_queued_takes_it_out_of_the_queue()
    {
        var bench = new RunHarness();
        var (first, second) = (bench.AddHost("n1"), bench.AddHost("n2"));
        await first.OpenSession("s");
        await second.Commands.State(RunHarness.Org, Session.Aggregate, new SessionKey("s"), default);
        var run = await first.Send("s", "hello");
        first.Node.Die();
        second.Node.ClaimDue();
        using var stopping = new CancellationTokenSource();
        var working = Task.Run(() => second.Work(stopping.Token));
        await Patience.Until(() => bench.Engine.Jobs.Count == 0);
        Assert.Equal("run_completed", (await bench.Story($"run-{run.Value}"))[^1]);
        Assert.Equal(["session_created", "run_queued", "run_dequeued"], await bench.Story("session-s"));
        await stopping.CancelAsync();
        await working;
    }
}
