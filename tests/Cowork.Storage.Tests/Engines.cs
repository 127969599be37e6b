using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

public sealed class InMemoryEngineSpec : StorageContract
{
    readonly InMemoryEngine engine = new([Chain.Tallies, Chain.Marks, Chain.Words()], TimeProvider.System);
    readonly Dictionary<string, InMemoryEngine.Node> nodes = [];

    public override ValueTask InitializeAsync() => default;

    public override ValueTask DisposeAsync() => default;

    protected override Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead)
    {
        Array.ForEach(dead, d => nodes[d].Die());
        var node = nodes[name] = engine.AddNode(name, observer, Lease);
        return Task.FromResult(new Node(
            node, engine, engine, node, engine,
            () =>
            {
                node.Die();
                return Task.CompletedTask;
            },
            paused =>
            {
                if (paused)
                {
                    node.Pause();
                }
                else
                {
                    node.Resume();
                }
            }));
    }
}

public sealed partial class NpgsqlEngineSpec : PostgresStorageContract
{
    protected override IEngine New(EngineOptions options) => new NpgsqlEngine(options);

    [Fact]
    public async Task A_stream_has_the_times_of_its_first_and_its_last_event()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1").Commit("one", "two"), None);
        Assert.Equal("2026-01-01 09:00:00.009+00 2026-01-01 09:00:00.008+00", await Ask("SELECT timestamp::text || ' ' || created FROM cowork.mt_streams"));
    }
}

public sealed class NpgsqlFaultSpec : PostgresFaultContract
{
    protected override IEngine New(EngineOptions options) => new NpgsqlEngine(options);
}
