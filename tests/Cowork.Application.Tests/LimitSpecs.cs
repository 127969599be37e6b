using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A run that would not end by itself ends at its limits, and a queue that would not end at its caps.</summary>
public sealed class LimitSpecs
{
    [Fact]
    public async Task A_model_that_loops_forever_ends_as_limit_rounds()
    {
        var bench = new RunHarness { Model = new() { Loops = true }, Options = new() { DefaultModel = "scripted" } };
        var run = await RunToEnd(bench, "go\nread_file {}");
        Assert.Equal(("failed", "limit_rounds"), (run.Status, run.Error!.Code));
        Assert.Equal(RunLimits.Default.Rounds, bench.Model.Rounds.Count);
    }

    [Fact]
    public async Task A_model_that_asks_for_ever_more_calls_ends_as_limit_tool_calls()
    {
        var bench = new RunHarness { Model = new() { Loops = true }, Options = new() { DefaultModel = "scripted" } };
        var run = await RunToEnd(bench, "go\nread_file {}\nread_file {}\nread_file {}");
        Assert.Equal(("failed", "limit_tool_calls"), (run.Status, run.Error!.Code));
        Assert.True(bench.Tool.Calls.Count <= RunLimits.Default.ToolCalls);
    }

    [Fact]
    public async Task A_model_that_never_answers_ends_as_limit_time()
    {
        var bench = new RunHarness { Model = new() { Before = ct => Task.Delay(Timeout.InfiniteTimeSpan, ct) } };
        var run = await RunToEnd(bench, "go", bench.Clock);
        Assert.Equal(("failed", "limit_time"), (run.Status, run.Error!.Code));
    }

    [Fact]
    public async Task The_caps_of_the_queues_are_configured()
    {
        var bench = new RunHarness { Options = new() { DefaultModel = "scripted", QueuedPerSessionMax = 1, QueuedPerTenantMax = 3 } };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        await host.OpenSession("t");
        await host.Send("s", "first");
        await host.Send("s", "waits");
        Assert.Equal("session_queue_full", (await Assert.ThrowsAsync<InvalidOperationException>(() => host.Send("s", "too many"))).Message);
        await host.Send("t", "elsewhere");
        bench.Clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("tenant_queue_full", (await Assert.ThrowsAsync<InvalidOperationException>(() => host.Send("t", "too many"))).Message);
    }

    static async Task<RunRow> RunToEnd(RunHarness bench, string message, TestClock? goesOn = null)
    {
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", message);
        using var stop = new CancellationTokenSource();
        var working = host.Work(stop.Token);
        async Task<RunRow> Now() => Runs.Model.Read((await ((Storage.IRows)bench.Engine).Get(RunHarness.Org, Runs.Model.Table, run.Value, default))!.Json.Span);
        var row = await Now();
        await Patience.Until(
            async () =>
            {
                // Leaps shorter than a lease: the host lives.
                goesOn?.Advance(TimeSpan.FromMinutes(1));
                return (row = await Now()).HasEnded;
            },
            () => $"It is still {row.Status}.", "the run has ended", pause: 1);
        await stop.CancelAsync();
        await working;
        return row;
    }
}
