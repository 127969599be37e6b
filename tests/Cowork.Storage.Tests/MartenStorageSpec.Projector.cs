using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Testing;

using Npgsql;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Projections that follow the log, with <see cref="Projector"/> running as in a host.</summary>
public sealed partial class MartenStorageSpec
{
    [Fact]
    public async Task Nodes_follow_one_log_and_count_every_event_once()
    {
        await using var a = await Follow("a");
        await using var b = await Follow("b");
        await using var c = await Follow("c");
        await Write(a.Node, c.Node);
        await Patience.Until(async () => await Lag(a.Node) == 0, "the model has come to the end");
        Assert.Equal((200, 200), ((await Count(a.Node, Org, "same"))!.Times, (await Count(a.Node, "other", "same"))!.Times));
        await AssertFollowed(a.Node);
        await AssertLedger(a.Node);
    }

    [Fact]
    public async Task Where_one_node_has_stopped_the_other_goes_on()
    {
        var writer = await Open("writer");
        var chain = new Chain(Org, "run-1", "s1");
        await using var a = await Follow("a");
        await using var b = await Follow("b");
        var word = 0;
        await Counts();
        await a.DisposeAsync();
        await Counts();
        await Counts();
        await AssertFollowed(writer);

        async Task Counts()
        {
            var next = $"word {++word}";
            await writer.Log.Append(chain.Commit(next), None);
            await Patience.Until(async () => await Count(writer, Org, next) is { Times: 1 }, $"{next} is counted");
        }
    }

    [Fact]
    public async Task A_running_projection_that_cannot_fold_an_event_is_parked_before_it_and_goes_on_where_the_code_is_mended()
    {
        await using var old = await Follow("a", Chain.Words(dies: "poison"));
        var log = old.Node.Log;
        var chain = new Chain(Org, "run-1", "s1");
        await log.Append(chain.Commit("before"), None);
        await Patience.Until(async () => await Lag(old.Node) == 0, "the projection is at the end");
        await log.Append(chain.Commit([.. Enumerable.Range(0, 40).Select(i => i == 25 ? "poison" : "same")]), None);
        await log.Append(new Chain("other", "run-1").Commit("after"), None);
        await Patience.Until(() => old.Projector.Parked.Count == 1, "the model is parked");
        var stands = (await old.Node.AsyncProjections.Progress(None)).Models[0];
        Assert.Equal((26L, 27L, "It is poison."), (stands.Checkpoint.Position, stands.Parked!.Position, stands.Parked.Error));
        Assert.Equal(25, (await Count(old.Node, Org, "same"))!.Times);
        await Patience.Until(
            () => Task.FromResult(old.Alerts.Count(alert => alert.Contains("words is PARKED before event 27", StringComparison.Ordinal)) == 1),
            "the node that could not fold it says so");
        await AssertFollowed(old.Node, through: 26);
        // The log goes on, and so does what is written with it.
        await log.Append(chain.Commit("later"), None);
        await AssertLedger(old.Node);

        await using var mended = await Follow("b");
        await Patience.Until(async () => await Lag(old.Node) == 0, "the mended code goes past it");
        await Patience.Until(() => old.Projector.Parked.Count == 0, "the old node sees that it is no longer parked");
        await Patience.Until(
            () => Task.FromResult(mended.Alerts.Count(alert => alert.Contains("words is no longer parked", StringComparison.Ordinal)) == 1),
            "the node whose code is mended says that it is no longer parked");
        await log.Append(chain.Commit("last"), None);
        await Patience.Until(async () => await Count(old.Node, Org, "last") is { Times: 1 }, "the model goes on from the new checkpoint");
        await AssertFollowed(old.Node);
    }

    [Fact]
    public async Task What_a_node_had_loaded_before_a_rebuild_does_not_come_over_it()
    {
        using var held = new Held(Chain.Words());
        await using var loop = await Follow("a", held);
        var node = loop.Node;
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("same"), None);
        await Patience.Until(async () => await Lag(node) == 0, "the projection is at the end");
        // A row that a rebuild mends, and that the batch begins with.
        await Ask("UPDATE cowork.words SET row = '{\"Times\":900,\"Last\":\"run-1\",\"By\":\"run-1\"}' WHERE id = 'same'; SELECT ''");
        held.Hold();
        await node.Log.Append(chain.Commit("same"), None);
        await held.Reached.WaitAsync(Deadline);
        await node.Rows.Rebuild(Chain.Words(), None);
        Assert.Equal(2, (await Count(node, Org, "same"))!.Times);
        held.GoOn();
        await node.Log.Append(chain.Commit("same", "after"), None);
        await Patience.Until(async () => await Lag(node) == 0, "the model goes on from where the rebuild ended");
        Assert.Equal(3, (await Count(node, Org, "same"))!.Times);
        Assert.DoesNotContain(loop.Alerts, alert => alert.Contains("PARKED", StringComparison.Ordinal));
        await AssertFollowed(node);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)] // the server's answers are lost first, so that batches are written of which nobody hears
    public async Task A_database_that_was_away_is_followed_on_from_where_it_was(bool deaf)
    {
        var server = new NpgsqlConnectionStringBuilder(ConnectionString);
        await using var proxy = new CuttingProxy(Path.Combine(server.Host!, $".s.PGSQL.{server.Port}"));
        await using var loop = await Follow("a", at: new NpgsqlConnectionStringBuilder(ConnectionString) { Host = "127.0.0.1", Port = proxy.Port }.ConnectionString);
        var writer = await Open("writer");
        var chain = new Chain(Org, "run-1", "s1");
        for (var i = 0; i < 10; i++)
        {
            await writer.Log.Append(chain.Commit("same", $"word {i}"), None);
            await Patience.Until(async () => await Lag(writer) == 0, "the projection is at the end");
            proxy.IsDeaf = deaf;
            await writer.Log.Append(chain.Commit("same"), None);
            proxy.Cut();
            proxy.IsDeaf = false;
        }
        await Patience.Until(async () => await Lag(writer) == 0, "the projection is at the end");
        Assert.Equal(20, (await Count(writer, Org, "same"))!.Times);
        Assert.DoesNotContain(loop.Alerts, alert => alert.Contains("PARKED", StringComparison.Ordinal) || alert.Contains("failed", StringComparison.Ordinal));
        await AssertFollowed(writer);
    }

    /// <summary>A node whose projector runs as in a host.</summary>
    async Task<Loop> Follow(string name, IAsyncProjection? model = null, string? at = null)
    {
        var (woken, folded) = (new Late(), model ?? Chain.Words());
        var node = NodeOf(await Start(at ?? ConnectionString, name, woken, o => o with { Models = [Chain.Tallies, Chain.Marks, folded] }));
        var (projector, alerts) = Projector(node, folded);
        woken.Observer = projector;
        return new(node, projector, alerts);
    }

    static Task Write(Node one, Node two) => Task.WhenAll(Enumerable.Range(0, 8).Select(i => Task.Run(async () =>
    {
        var chain = new Chain(i % 2 == 0 ? Org : "other", $"run-w{i}", $"s{i % 3}");
        for (var n = 0; n < 50; n++)
        {
            await (i < 4 ? one : two).Log.Append(chain.Commit($"word {n % 7}", "same"), None);
        }
    })));

    sealed class Loop : IAsyncDisposable
    {
        readonly CancellationTokenSource stop = new();
        readonly List<string> alerts;
        readonly Task running;

        public Loop(Node node, Projector projector, List<string> alerts)
        {
            (Node, Projector, this.alerts) = (node, projector, alerts);
            running = projector.Run(stop.Token);
        }

        public Node Node { get; }

        public Projector Projector { get; }

        public IReadOnlyList<string> Alerts
        {
            get
            {
                lock (alerts)
                {
                    return [.. alerts];
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await running;
        }
    }

    /// <summary>Stops in the middle of a batch, after its rows were loaded, until it is told to go on.</summary>
    sealed class Held(IAsyncProjection whole) : IAsyncProjection, IDisposable
    {
        readonly TaskCompletionSource reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        readonly ManualResetEventSlim open = new(true);

        public Task Reached => reached.Task;

        public string Table => whole.Table;

        public bool Searched => whole.Searched;

        public IReadOnlyCollection<string> Types => whole.Types;

        public void Hold() => open.Reset();

        public void GoOn() => open.Set();

        public IReadOnlyList<RowKey> KeysOf(RecordedEvent e) => whole.KeysOf(e);

        public IReadOnlyList<(RowKey Key, object? Row)> Evolve(Func<RowKey, object?> before, RecordedEvent e)
        {
            if (!open.IsSet)
            {
                reached.TrySetResult();
                Assert.True(open.Wait(Deadline));
            }
            return whole.Evolve(before, e);
        }

        public RowValue Value(object row) => whole.Value(row);

        public object Read(ReadOnlySpan<byte> json) => whole.Read(json);

        public void Dispose() => open.Dispose();
    }
}
