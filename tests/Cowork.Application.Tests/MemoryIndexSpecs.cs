using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>What a run is reminded of is the same on every node, and costs the same at any number of memories.</summary>
public sealed class MemoryIndexSpecs
{
    const string Org = RunHarness.Org;

    readonly RunHarness bench = new();

    [Fact]
    public async Task What_another_node_has_kept_is_recalled_by_the_next_turn_here()
    {
        var (here, there) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await here.OpenSession("s");
        await there.OpenSession("t");
        Assert.Empty((await Turn(here, "s", "kraken")).Provenance);
        await Keep(there, "t", "m1", "The kraken sleeps.");
        var (_, learned) = (await Turn(here, "s", "Where is the kraken?"), await Turn(there, "t", "zebra"));
        Assert.DoesNotContain(learned.Provenance, p => p.Kind == "memory");
        Assert.Contains((await Turn(here, "s", "the kraken")).Provenance, p => p.Kind == "memory");
    }

    [Fact]
    public async Task What_a_session_left_that_another_node_deletes_is_recalled_no_more()
    {
        var (here, there) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await here.OpenSession("s");
        await here.OpenSession("t");
        await Keep(here, "t", "m1", "The kraken sleeps.");
        Assert.Single((await Turn(here, "s", "kraken")).Provenance);
        Assert.Null((await ((ICommandExecutor)there.Commands).Execute(Org, RunHarness.User, new DeleteSession(new("t")), default)).Refused);
        // A tool that was still running when the session went.
        await Keep(there, "t", "m2", "The kraken wakes.");
        Assert.DoesNotContain((await Turn(here, "s", "kraken")).Provenance, p => p.Kind == "memory");
        Assert.DoesNotContain(await here.Queries.RecallAll(Org, null, "kraken", 10, default), r => r.From.Kind == "memory");
    }

    [Fact]
    public async Task A_memory_that_is_written_anew_is_found_by_its_new_words_only()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await Keep(host, "s", "m1", "The kraken sleeps.");
        Assert.Single(await host.Queries.RecallAll(Org, null, "kraken", 10, default));
        await Keep(host, "s", "m1", "The zebra sleeps.");
        Assert.Empty(await host.Queries.RecallAll(Org, null, "kraken", 10, default));
        var found = Assert.Single(await host.Queries.RecallAll(Org, null, "zebra", 10, default));
        Assert.Equal((2L, Content.Of("The zebra sleeps.")), (found.From.Version, found.Text));
    }

    [Fact]
    public async Task The_best_come_first_and_of_equal_ones_the_newest()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        foreach (var (key, text) in ((string, string)[])[("a", "ferry"), ("b", "zeppelin and ferry"), ("c", "ferry"), ("d", "ferry")])
        {
            await Keep(host, "s", key, text);
        }
        Assert.Equal(["mem_b", "mem_d", "mem_c"], (await host.Queries.Recall(Org, null, "zeppelin, ferry", 3, 0, default)).Select(r => r.From.Id.Id));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Every_node_recalls_what_the_log_says(int seed)
    {
        var random = new Random(seed);
        RunHarness.Host[] hosts = [bench.AddHost("n0"), bench.AddHost("n1"), bench.AddHost("n2")];
        var (open, kept) = (new List<string>(), new Dictionary<string, (string Session, string Text)>());
        for (var i = 0; i < 400; i++)
        {
            // Mostly one node writes, so that it need not read, and now and then another does.
            var host = hosts[random.Next(4) == 0 ? random.Next(3) : 0];
            switch (random.Next(10))
            {
                case 0 or 1:
                    open.Add($"s{i}");
                    await host.OpenSession($"s{i}");
                    break;
                case 2 when open.Count > 1:
                    var gone = open[random.Next(open.Count)];
                    open.Remove(gone);
                    Assert.Null((await ((ICommandExecutor)host.Commands).Execute(Org, RunHarness.User, new DeleteSession(new(gone)), default)).Refused);
                    kept = kept.Where(m => m.Value.Session != gone).ToDictionary();
                    break;
                default:
                    if (open.Count > 0)
                    {
                        var again = random.Next(3) == 0 && kept.Count > 0 ? kept.Keys.ElementAt(random.Next(kept.Count)) : null;
                        var session = again is null ? open[random.Next(open.Count)] : kept[again].Session;
                        var (key, text) = (again ?? $"m{i}", $"w{random.Next(8)} w{random.Next(8)}");
                        await Keep(host, session, key, text);
                        kept[key] = (session, text);
                    }
                    break;
            }
            var asker = hosts[random.Next(3)];
            var word = $"w{random.Next(8)}";
            var since = (await bench.Engine.Progress(default)).Head;
            Assert.Equal(
                kept.Where(m => m.Value.Text.Split(' ').Contains(word)).Select(m => $"mem_{m.Key}").Order(),
                (await asker.Queries.Recall(Org, null, word, 1_000, random.Next(2) == 0 ? since : long.MaxValue, default)).Select(r => r.From.Id.Id).Order());
        }
    }

    [Fact]
    public async Task Old_memories_do_not_remind_a_run_and_are_found_by_recall()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await Keep(host, "s", "old", "The zeppelin leaves at nine.");
        await Keep(host, "s", "older", new string('x', 5_000) + " zeppelin");
        Assert.Equal(2, (await host.Queries.Recall(Org, null, "zeppelin", 10, long.MaxValue, default)).Count);
        for (var i = 0; i < MemoryIndex.NewestMax; i++)
        {
            await Keep(host, "s", $"m{i}", $"It leaves at {i}.");
        }
        await new Projector(bench.Engine, ReadModels.AsyncProjections, bench.Clock, NullLogger<Projector>.Instance).CatchUp(default);
        foreach (var index in (MemoryIndex[])[host.Memories, bench.AddHost("n1").Memories])
        {
            Assert.Empty(await index.Newest(Org, null, "zeppelin", 10, long.MaxValue, default));
            Assert.Equal(["mem_old", "mem_older"], (await index.All(Org, null, "zeppelin", 10, default)).Select(r => r.From.Id.Id).Order());
            // The rare word wins although all others are newer.
            Assert.Equal("mem_old", (await index.All(Org, null, "When does the zeppelin leave?", 8, default))[0].From.Id.Id);
        }
        Assert.Null(await bench.Engine.FindDifference(MemoryWords.Model, default));
        await Keep(host, "s", "old", "The balloon leaves at nine.");
        await host.OpenSession("t");
        Assert.DoesNotContain((await Turn(host, "t", "balloon")).Provenance, p => p.Id.Id == "mem_old");
    }

    [Fact]
    public async Task A_node_that_is_far_behind_reads_its_memories_anew()
    {
        var (here, there) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await there.OpenSession("s");
        Assert.Empty(await here.Queries.RecallAll(Org, null, "kraken", 10, default));
        for (var i = 0; i < 5_600; i++)
        {
            await Keep(there, "s", $"m{i % 100}", i == 5_500 ? "kraken" : $"zebra {i}");
        }
        Assert.Equal(["mem_m0"], (await here.Queries.RecallAll(Org, null, "kraken", 10, default)).Select(r => r.From.Id.Id));
    }

    [Fact]
    public async Task Memories_behind_many_of_a_deleted_session_are_found_by_a_node_that_begins()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.OpenSession("gone");
        await Keep(host, "s", "kept", "The kraken sleeps.");
        for (var i = 0; i < 1_100; i++)
        {
            await Keep(host, "gone", $"m{i}", "The kraken wakes.");
        }
        await ((ICommandExecutor)host.Commands).Execute(Org, RunHarness.User, new DeleteSession(new("gone")), default);
        Assert.Equal(["mem_kept"], (await bench.AddHost("n1").Memories.Newest(Org, null, "kraken", 10, 0, default)).Select(r => r.From.Id.Id));
    }

    [Fact]
    public async Task A_tenant_of_long_memories_keeps_fewer_of_them_in_memory_and_loses_none()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        await host.Queries.Recall(Org, null, "anything", 10, 0, default);
        var random = new Random(Seeds.One(1));
        for (var i = 0; i < 150; i++)
        {
            await Keep(host, "s", $"m{i}", $"serial{i} " + string.Join(' ', Enumerable.Range(0, 600).Select(_ => $"w{random.Next(1_000_000)}")));
        }
        await new Projector(bench.Engine, ReadModels.AsyncProjections, bench.Clock, NullLogger<Projector>.Instance).CatchUp(default);
        foreach (var index in (MemoryIndex[])[host.Memories, bench.AddHost("n1").Memories])
        {
            Assert.Empty(await index.Newest(Org, null, "serial0", 10, 0, default));
            Assert.Equal(["mem_m149"], (await index.Newest(Org, null, "serial149", 10, 0, default)).Select(r => r.From.Id.Id));
            Assert.Equal(["mem_m0"], (await index.All(Org, null, "serial0", 10, default)).Select(r => r.From.Id.Id));
        }
    }

    static async Task Keep(RunHarness.Host host, string session, string key, string text) =>
        Assert.Null((await ((ICommandExecutor)host.Commands).Execute(Org, RunHarness.User, new KeepMemory(new(key), "memory", Content.Of(text), new(session), new("none")), default)).Refused);

    async Task<RunEvent.MemoryRetrieval> Turn(RunHarness.Host host, string session, string message)
    {
        var run = await host.Send(session, message);
        await host.Drive();
        return (await bench.Engine.Load(Org, Run.Aggregate.Stream(run), 0, 100, default)).Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single();
    }
}
