using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A run is told of the turns before it, whoever drove them.</summary>
public sealed class SessionHistorySpecs
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task A_run_comes_after_the_turns_before_it_on_whatever_node_each_was_driven(int seed)
    {
        var bench = new RunHarness();
        RunHarness.Host[] hosts = [bench.AddHost("n0"), bench.AddHost("n1"), bench.AddHost("n2")];
        string[] sessions = ["s", "t"];
        foreach (var session in sessions)
        {
            await hosts[0].OpenSession(session);
        }
        var random = new Random(Seeds.One(seed));
        var before = sessions.ToDictionary(s => s, _ => new List<RunKey>());
        for (var i = 0; i < 60; i++)
        {
            var session = sessions[random.Next(2)];
            // Mostly one node, so that it remembers, and now and then another, so that what it remembers is out of date.
            var host = hosts[random.Next(4) == 0 ? random.Next(3) : 0];
            var waiting = Enumerable.Range(0, random.Next(1, 4)).ToList();
            var runs = new List<RunKey>();
            foreach (var _ in waiting)
            {
                runs.Add(await host.Send(session, $"turn {i}"));
            }
            RunKey? cancelled = runs.Count > 1 && random.Next(3) == 0 ? runs[^1] : null;
            if (cancelled is { } late)
            {
                Assert.Null((await ((ICommandExecutor)hosts[1].Commands).Execute(RunHarness.Org, RunHarness.User, new CancelRun(late, null), default)).Refused);
            }
            await host.Drive();
            foreach (var run in runs.Where(r => r != cancelled))
            {
                Assert.Equal(before[session].TakeLast(Limits.HistoryTurnsMax), (await Retrieved(bench, run)).History);
                before[session].Add(run);
            }
        }
    }

    [Fact]
    public async Task A_run_that_did_not_complete_is_not_told_of()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var first = await host.Send("s", "one");
        await host.Drive();
        bench.Model.Before = _ => throw new InvalidOperationException("No.");
        await host.Send("s", "two");
        await host.Drive();
        bench.Model.Before = _ => Task.CompletedTask;
        var third = await host.Send("s", "three");
        await host.Drive();
        Assert.Equal([first], (await Retrieved(bench, third)).History);
    }

    static async Task<RunEvent.MemoryRetrieval> Retrieved(RunHarness bench, RunKey run) =>
        (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, 100, default)).Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single();
}
