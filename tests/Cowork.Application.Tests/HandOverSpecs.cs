using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A new run is handed to its driver the moment that it is committed, before its submitter has heard of it.</summary>
public sealed class HandOverSpecs
{
    [Fact]
    public async Task A_driver_that_is_quicker_than_the_submitter_does_not_lose_the_run()
    {
        var bench = new Bench();
        var host = bench.AddHost("n");
        await host.OpenSession("s");
        using var stopping = new CancellationTokenSource();
        var working = Task.Run(() => host.Work(stopping.Token));
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (after && commit.Writes.Any(w => w.Events.Any(e => e.Event is RunEvent.RunCreated)))
            {
                // The submitter stands here, between its commit and its knowing, for as long as the driver needs.
                SpinWait.SpinUntil(() => bench.Engine.Jobs.Count == 0, TimeSpan.FromSeconds(20));
            }
        };
        var run = await Task.Run(() => host.Send("s", "hello"));
        Assert.Equal("run_completed", (await bench.Story($"run-{run}"))[^1]);
        await stopping.CancelAsync();
        await working;
    }
}
