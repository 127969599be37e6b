using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.Logging;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Models that follow the log: every event counted once, whoever folds, whatever fails.</summary>
public abstract partial class StorageContract
{
    protected static readonly string[] Texts = ["output_delta.v1"];

    [Fact]
    public async Task A_following_model_folds_many_streams_in_the_order_of_the_log()
    {
        var node = await Open("a");
        var (one, two, foreign) = (new Chain(Org, "run-1"), new Chain(Org, "run-2"), new Chain("other", "run-1"));
        await node.Log.Append(one.Commit("apple", "pear"), None);
        await node.Log.Append(foreign.Commit("apple"), None);
        await node.Log.Append(two.Commit("apple", "plum", "forget pear"), None);
        await node.Log.Append(one.Commit("pear"), None);
        var (projector, _) = Projector(node, Chain.Words());
        await projector.CatchUp(None);

        Assert.Equal(new WordCount(2, "run-2", "run-1 run-2"), await Count(node, Org, "apple"));
        Assert.Equal(new WordCount(1, "run-1", "run-1"), await Count(node, "other", "apple"));
        Assert.Equal(new WordCount(1, "run-1", "run-1"), await Count(node, Org, "pear"));
        Assert.Null(await Count(node, Org, "cherry"));
        // A word that was forgotten is a new row when it comes again.
        Assert.Equal([("pear", 7L, 7L), ("plum", 5L, 5L), ("apple", 1L, 4L)], (await node.Rows.List(Org, "words", new(), None)).Select(r => (r.Key, r.Created, r.Version)));
        Assert.Equal(["pear", "plum"], (await node.Rows.List(Org, "words", new(Status: "once"), None)).Select(r => r.Key));
        var progress = await node.AsyncProjections.Progress(None);
        var words = Assert.Single(progress.Models);
        Assert.Equal((7L, "words", 7L, null), (progress.Head, words.Table, words.Checkpoint.Position, words.Parked));

        await node.Log.Append(two.Commit("plum", "forget apple"), None);
        await projector.CatchUp(None);
        Assert.Null(await Count(node, Org, "apple"));
        Assert.Equal(2, (await Count(node, Org, "plum"))!.Times);
        await AssertFollowed(node);
    }

    [Fact]
    public async Task Pages_of_the_log_hold_the_events_that_are_asked_for_and_say_how_far_they_go()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        await node.Log.Append(new Chain("other", "run-1").Commit("three"), None);

        Assert.Equal("1 2 3 | 3", Told(await node.AsyncProjections.Read(Texts, 0, 10, None)));
        Assert.Equal("1 2 | 2", Told(await node.AsyncProjections.Read(Texts, 0, 2, None)));
        Assert.Equal("2 3 | 3", Told(await node.AsyncProjections.Read(Texts, 1, 2, None)));
        Assert.Equal(" | 3", Told(await node.AsyncProjections.Read(Texts, 3, 2, None)));
        Assert.Equal(" | 3", Told(await node.AsyncProjections.Read(["run_created.v1"], 0, 2, None)));
        Assert.Equal(" | 3", Told(await node.AsyncProjections.Read([], 1, 2, None)));
        var read = (await node.AsyncProjections.Read(Texts, 2, 1, None)).Events[0];
        Assert.Equal(("other", "run-1", 1L, new RunEvent.OutputDelta("three", Chain.Start.AddMilliseconds(1))), (read.Org, read.Stream, read.Version, read.Event));

        static string Told(LogPage page) => $"{string.Join(' ', page.Events.Select(e => e.Position))} | {page.Through}";
    }

    [Fact]
    public async Task A_checkpoint_moves_with_its_rows_and_only_from_where_it_is()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        var start = (await node.AsyncProjections.Progress(None)).Models[0].Checkpoint;
        Assert.Equal(0, start.Position);
        var key = new RowKey(Org, "one");
        ProjectedRow[] rows = [new(key, 1, 1, Chain.Words().Value(new WordCount(1, "run-1", "run-1")), true)];

        var first = await node.AsyncProjections.Advance("words", start, 1, rows, None);
        Assert.Equal(1, first!.Position);
        Assert.Equal(first, (await node.AsyncProjections.Progress(None)).Models[0].Checkpoint);
        Assert.Equal(1, (await node.AsyncProjections.Load("words", [key, new(Org, "none"), new("other", "one")], None)).Single().Value.Created);

        // Somebody who began before, for example a host that was paused in the middle.
        ProjectedRow[] late = [new(key, 1, 2, Chain.Words().Value(new WordCount(9, "run-9", "run-9")), false)];
        Assert.Null(await node.AsyncProjections.Advance("words", start, 2, late, None));
        Assert.Null(await node.AsyncProjections.Advance("words", first with { At = first.At.AddSeconds(-1) }, 2, late, None));
        Assert.False(await node.AsyncProjections.Park("words", start, new(1, Org, "run-1", Guid.Empty, "output_delta.v1", "no", Chain.Start), None));
        Assert.Equal(1, (await Count(node, Org, "one"))!.Times);

        // What the engine cannot hold changes nothing: neither the rows before it nor the checkpoint.
        ProjectedRow[] broken = [new(key, 1, 2, null, false), new(new(Org, "two"), 2, 2, new(null, null, null, "{"u8.ToArray()), true)];
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await node.AsyncProjections.Advance("words", first, 2, broken, None));
        Assert.Equal(first, (await node.AsyncProjections.Progress(None)).Models[0].Checkpoint);
        Assert.Equal(1, (await Count(node, Org, "one"))!.Times);

        Assert.Equal(2, (await node.AsyncProjections.Advance("words", first, 2, [new(key, 1, 2, null, false)], None))!.Position);
        Assert.Null(await Count(node, Org, "one"));
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.AsyncProjections.Load("tallies", [key], None));
    }

    [Fact]
    public async Task Two_projectors_at_once_count_every_event_once()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        using var stop = new CancellationTokenSource();
        var loops = new[] { Projector(a, Chain.Words()), Projector(b, Chain.Words()) }.Select(p => Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await p.Projector.CatchUp(None);
            }
        })).ToList();
        var writers = Enumerable.Range(0, 8).Select(i => Task.Run(async () =>
        {
            var chain = new Chain(i % 2 == 0 ? Org : "other", $"run-{i}", "s1");
            for (var n = 0; n < 100; n++)
            {
                await (i < 4 ? a : b).Log.Append(chain.Commit($"word {n % 7}", "same"), None);
            }
        })).ToList();
        await Task.WhenAll(writers);
        await Patience.Until(async () => await Lag(a) == 0, "the model has come to the end");
        await stop.CancelAsync();
        await Task.WhenAll(loops);
        Assert.Equal(400, (await Count(a, Org, "same"))!.Times);
        Assert.Equal(400, (await Count(a, "other", "same"))!.Times);
        await AssertFollowed(a);
        await AssertLedger(a);
    }

    [Fact]
    public async Task The_loop_follows_commits_of_its_own_node_and_of_others()
    {
        var woken = new Late();
        var (a, b) = (await Open("a", woken), await Open("b"));
        var (projector, _) = Projector(a, Chain.Words());
        woken.Observer = projector;
        using var stop = new CancellationTokenSource();
        var loop = projector.Run(stop.Token);
        await a.Log.Append(new Chain(Org, "run-1").Commit("mine"), None);
        await Patience.Until(async () => await Count(a, Org, "mine") is { Times: 1 }, "its own commit is folded");
        await b.Log.Append(new Chain(Org, "run-2").Commit("theirs"), None);
        await Patience.Until(async () => await Count(a, Org, "theirs") is { Times: 1 }, "the other's commit is folded");
        await stop.CancelAsync();
        await loop;
        await AssertFollowed(a);
    }

    [Fact]
    public async Task An_event_that_cannot_be_folded_parks_its_model_and_nothing_else()
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1");
        for (var i = 0; i < 20; i++)
        {
            await node.Log.Append(chain.Commit($"before {i}", "same"), None);
        }
        await node.Log.Append(chain.Commit("poison", "after"), None);
        await node.Log.Append(new Chain("other", "run-1").Commit("after"), None);

        var (old, alerts) = Projector(node, Chain.Words(dies: "poison"));
        await old.CatchUp(None);
        var stands = (await node.AsyncProjections.Progress(None)).Models[0];
        Assert.Equal((40L, 41L, Org, "run-1", "output_delta.v1", "It is poison."),
            (stands.Checkpoint.Position, stands.Parked!.Position, stands.Parked.Org, stands.Parked.Stream, stands.Parked.Type, stands.Parked.Error));
        Assert.Equal(20, (await Count(node, Org, "same"))!.Times);
        Assert.Null(await Count(node, Org, "after"));
        Assert.Equal(["words"], old.Parked);
        Assert.Contains("words is PARKED before event 41", Assert.Single(alerts), StringComparison.Ordinal);

        // It is alerted of once, the log goes on, and what was folded before still is what the log makes of it.
        await node.Log.Append(chain.Commit("later"), None);
        await old.CatchUp(None);
        Assert.Single(alerts);
        await AssertFollowed(node, through: 40);

        // Another host of the old code stands there too; one with mended code goes on from there, and the old ones follow.
        var (alsoOld, others) = Projector(node, Chain.Words(dies: "poison"));
        await alsoOld.CatchUp(None);
        Assert.Single(others);
        var (mended, news) = Projector(node, Chain.Words());
        await mended.CatchUp(None);
        Assert.Contains("no longer parked", Assert.Single(news), StringComparison.Ordinal);
        Assert.Null((await node.AsyncProjections.Progress(None)).Models[0].Parked);
        Assert.Equal((1, 1), ((await Count(node, Org, "after"))!.Times, (await Count(node, "other", "after"))!.Times));
        await node.Log.Append(chain.Commit("last"), None);
        await old.CatchUp(None);
        Assert.Equal(1, (await Count(node, Org, "last"))!.Times);
        Assert.Empty(old.Parked);
        await AssertFollowed(node);
    }

    [Fact]
    public async Task A_row_that_the_engine_cannot_hold_parks_the_model_before_its_event()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("fine", "fine", "broken row", "fine"), None);
        var (projector, alerts) = Projector(node, new Breaking(Chain.Words()));
        await projector.CatchUp(None);
        Assert.Equal(3, (await node.AsyncProjections.Progress(None)).Models[0].Parked!.Position);
        Assert.Equal(2, (await Count(node, Org, "fine"))!.Times);
        Assert.Single(alerts);
        await Projector(node, Chain.Words()).Projector.CatchUp(None);
        await AssertFollowed(node);
    }

    [Fact]
    public async Task A_rebuilt_following_model_is_the_live_one()
    {
        var node = await Open("a");
        var random = new Random(Seeds.One(4712));
        var chains = Enumerable.Range(0, 10).Select(i => new Chain(i % 2 == 0 ? Org : "other", $"run-{i}", $"s{i % 3}")).ToList();
        var (projector, _) = Projector(node, Chain.Words());
        for (var i = 0; i < 300; i++)
        {
            var word = $"word {random.Next(9)}";
            await node.Log.Append(chains[random.Next(chains.Count)].Commit(random.Next(4) == 0 ? $"forget {word}" : word), None);
            if (random.Next(10) == 0)
            {
                await projector.CatchUp(None);
            }
        }
        await projector.CatchUp(None);
        var before = await Dump(node);
        Assert.NotEmpty(before);
        Assert.Equal(300, await node.Rows.Rebuild(Chain.Words(), None));
        Assert.Equal(before, await Dump(node));
        await AssertFollowed(node);
    }

    [Fact]
    public async Task A_rebuild_goes_past_what_parked_the_model_and_fences_who_had_begun_before()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("fine", "poison", "fine"), None);
        var (old, _) = Projector(node, Chain.Words(dies: "poison"));
        await old.CatchUp(None);
        Assert.Equal(2, (await Assert.ThrowsAsync<FoldException>(() => node.Rows.Rebuild(Chain.Words(dies: "poison"), None))).Position);
        Assert.Equal(2, (await node.AsyncProjections.Progress(None)).Models[0].Parked!.Position);
        await node.Rows.Rebuild(Chain.Words(), None);
        var rebuilt = (await node.AsyncProjections.Progress(None)).Models[0];
        Assert.Equal((3L, null), (rebuilt.Checkpoint.Position, rebuilt.Parked));
        Assert.Equal(2, (await Count(node, Org, "fine"))!.Times);

        // The position is the same after another rebuild. Whoever loaded rows before it must not write them over the new ones.
        await node.Rows.Rebuild(Chain.Words(), None);
        await node.Log.Append(new Chain(Org, "run-2").Commit("fine"), None);
        Assert.Null(await node.AsyncProjections.Advance("words", rebuilt.Checkpoint, 4, [], None));
        await old.CatchUp(None);
        Assert.Empty(old.Parked);
        Assert.Equal(3, (await Count(node, Org, "fine"))!.Times);
        await AssertFollowed(node);
    }

    [Fact]
    public async Task A_rebuild_while_the_log_is_written_and_followed_counts_every_event_once()
    {
        var node = await Open("a");
        var (projector, _) = Projector(node, Chain.Words());
        using var stop = new CancellationTokenSource();
        var writers = Enumerable.Range(0, 4).Select(i => Task.Run(async () =>
        {
            var chain = new Chain(Org, $"run-{i}", "s1");
            while (!stop.IsCancellationRequested)
            {
                await node.Log.Append(chain.Commit("same", chain.Version % 9 == 0 ? "forget same" : "other"), None);
            }
        })).ToList();
        var following = Task.Run(async () =>
        {
            while (!stop.IsCancellationRequested)
            {
                await projector.CatchUp(None);
            }
        });
        for (var i = 0; i < 3; i++)
        {
            await node.Rows.Rebuild(Chain.Words(), None);
            Assert.Null(await node.Rows.FindDifference(Chain.Words(), None));
        }
        await stop.CancelAsync();
        await Task.WhenAll(writers);
        await following;
        await projector.CatchUp(None);
        await AssertFollowed(node);
    }

    protected static (Projector Projector, List<string> Alerts) Projector(Node node, IAsyncProjection model)
    {
        var alerts = new Alerts();
        return (new(node.AsyncProjections, [model], TimeProvider.System, alerts), alerts.Told);
    }

    protected static async Task<WordCount?> Count(Node node, string org, string word) =>
        await node.Rows.Get(org, "words", word, None) is { } row ? Chain.Words().Read(row.Json.Span) : null;

    protected static async Task<long> Lag(Node node)
    {
        var progress = await node.AsyncProjections.Progress(None);
        return progress.Head - progress.Models[0].Checkpoint.Position;
    }

    static async Task<List<string>> Dump(Node node)
    {
        var rows = new List<string>();
        foreach (var org in (string[])[Org, "other"])
        {
            rows.AddRange((await node.Rows.List(org, "words", new(Limit: 1000), None))
                .Select(r => $"{org} {r.Key} {r.Created} {r.Version} {Encoding.UTF8.GetString(r.Json.Span)}").Order());
        }
        return rows;
    }

    /// <summary>The rows are what a plain loop over the log makes of it, and what the engine itself finds.</summary>
    protected static async Task AssertFollowed(Node node, long? through = null)
    {
        var progress = await node.AsyncProjections.Progress(None);
        Assert.Equal(through ?? progress.Head, progress.Models[0].Checkpoint.Position);
        Assert.Null(await node.Rows.FindDifference(Chain.Words(), None));
        var counts = new SortedDictionary<string, int>(StringComparer.Ordinal);
        await foreach (var e in node.Log.Scan(0, None))
        {
            if (e.Position <= progress.Models[0].Checkpoint.Position)
            {
                var text = ((RunEvent.OutputDelta)e.Event).Text;
                if (text.StartsWith("forget ", StringComparison.Ordinal))
                {
                    counts.Remove($"{e.Org} {text["forget ".Length..]}");
                }
                else
                {
                    counts[$"{e.Org} {text}"] = counts.GetValueOrDefault($"{e.Org} {text}") + 1;
                }
            }
        }
        foreach (var (word, times) in counts)
        {
            var at = word.IndexOf(' ', StringComparison.Ordinal);
            Assert.Equal((word, times), (word, (await Count(node, word[..at], word[(at + 1)..]))?.Times ?? 0));
        }
    }

    /// <summary>Writes JSON that is none for one word.</summary>
    sealed class Breaking(IAsyncProjection whole) : IAsyncProjection
    {
        public string Table => whole.Table;

        public bool Searched => whole.Searched;

        public IReadOnlyCollection<string> Types => whole.Types;

        public IReadOnlyList<RowKey> KeysOf(RecordedEvent e) => whole.KeysOf(e);

        public IReadOnlyList<(RowKey Key, object? Row)> Evolve(Func<RowKey, object?> before, RecordedEvent e) =>
            e.Event is RunEvent.OutputDelta { Text: "broken row" }
                ? [.. whole.Evolve(before, e).Select(r => (r.Key, (object?)new WordCount(-1, "", "")))]
                : whole.Evolve(before, e);

        public RowValue Value(object row) =>
            row is WordCount { Times: -1 } ? whole.Value(row) with { Json = "{"u8.ToArray() } : whole.Value(row);

        public object Read(ReadOnlySpan<byte> json) => whole.Read(json);
    }

    /// <summary>What listens is made after what it listens to.</summary>
    protected sealed class Late : ICommitObserver
    {
        public Projector? Observer { get; set; }

        public void Committed(IReadOnlyList<FeedEntry> entries) => Observer?.Committed(entries);

        public void OthersWrote() => Observer?.OthersWrote();
    }

    sealed class Alerts : ILogger<Projector>
    {
        public List<string> Told { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (Told)
            {
                Told.Add(formatter(state, exception));
            }
        }
    }
}
