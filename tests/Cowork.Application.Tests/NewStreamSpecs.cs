using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Streams that cannot be there yet are not looked for, and one that is there all the same is found out by the append.</summary>
public sealed class NewStreamSpecs
{
    [Fact]
    public async Task A_turn_looks_for_no_stream_that_it_begins()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var log = new Asked(host.Node);
        var commands = new CommandHandler(log, bench.Engine, bench.Blobs, ReadModels.All, bench.Clock, bench.NextTime);
        var memory = new MemoryStep(host.Commands, host.Queries, host.History, bench.Blobs, host.Settings, "n0");
        var turns = new Turns(commands, commands, host.Usage, memory, host.Node, bench.Blobs, bench.Models, bench.Options, bench.Clock);
        var header = new RequestKey("POST /turn", "h", "00", TimeSpan.FromHours(1));
        Assert.NotNull((await turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "one", null, "k", header), default)).Turn);
        Assert.Equal(["session-s"], log.Streams);
    }

    [Theory]
    [InlineData("one", null)]
    [InlineData("two", "idempotency_key_reused")]
    public async Task A_key_that_another_node_has_taken_leads_to_its_run(string message, string? refusal)
    {
        var bench = new RunHarness();
        var (first, second) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await first.OpenSession("s");
        var run = await first.Send("s", "one", "k");
        var (turn, refused) = await second.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), message, null, "k", null), default);
        Assert.Equal((refusal, refusal is null ? (RunKey?)run : null), (refused?.Code, turn?.Run));
        Assert.Equal(refusal is null, turn?.Reused ?? false);
        Assert.Equal(1, (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, 100, default)).Entries.Count(e => e.Type == "run_created.v1"));
    }

    [Fact]
    public async Task A_repeat_leads_to_its_run_even_if_its_model_has_gone()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var asked = new TurnRequest(new("s"), "one", "scripted", "k", null);
        var (turn, _) = await host.Turns.Submit(RunHarness.Org, RunHarness.User, asked, default);
        var memory = new MemoryStep(host.Commands, host.Queries, host.History, bench.Blobs, host.Settings, "n0");
        // The same node with no model but those of the harness, which has none beside the scripted one.
        var later = new Turns(host.Commands, host.Commands, host.Usage, memory, host.Node, bench.Blobs, bench.Models, bench.Options, bench.Clock);
        var (again, _) = await later.Submit(RunHarness.Org, RunHarness.User, asked, default);
        Assert.Equal((turn!.Run, true), (again!.Run, again.Reused));
        foreach (var other in (TurnRequest[])[asked with { Key = "other" }, asked with { Message = "two" }])
        {
            Assert.Equal("unknown_model", (await later.Submit(RunHarness.Org, RunHarness.User, other, default)).Refused?.Code);
        }
    }

    [Fact]
    public async Task A_refusal_beside_a_key_that_was_taken_for_free_is_judged_once_more()
    {
        var bench = new RunHarness { Options = new() { DefaultModel = "scripted", QueuedPerSessionMax = 1 } };
        var (first, second) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await first.OpenSession("s");
        var run = await first.Send("s", "one", "k");
        await first.Send("s", "two");
        // The queue is full, which would be the answer if the key were free.
        var (turn, _) = await second.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "one", null, "k", null), default);
        Assert.Equal((run, true), (turn?.Run, turn?.Reused));
    }

    /// <summary>Writes down what is asked for.</summary>
    sealed class Asked(IEventLog log) : IEventLog
    {
        public List<string> Streams { get; } = [];

        public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct)
        {
            Streams.Add(stream);
            return log.Load(org, stream, after, max, ct);
        }

        public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => log.Append(commit, ct);

        public ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct) => log.Feed(org, session, after, max, ct);

        public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct) =>
            log.FeedOfRun(org, session, run, after, max, ct);

        public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue) =>
            log.OfRun(org, session, run, ct, after, max);

        public IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct) => log.Scan(after, ct);
    }
}
