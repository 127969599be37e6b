using Cowork.Application.Storage;
using Cowork.Testing;

namespace Cowork.Storage.Tests;

public sealed class InMemoryStorageSpec : StorageContract
{
    InMemoryEngine engine = new([Chain.Tallies, Chain.Marks, Chain.Cards, Chain.Lives, Chain.Words()], TimeProvider.System);
    readonly Dictionary<string, InMemoryEngine.Node> nodes = [];

    public override ValueTask InitializeAsync() => default;

    public override ValueTask DisposeAsync() => default;

    protected override Task<Node> OpenNamed()
    {
        engine = new([Chain.Tallies, Chain.Marks, Chain.Names], TimeProvider.System);
        return Open("a");
    }

    protected override Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead)
    {
        Array.ForEach(dead, d => nodes[d].Die());
        engine.Parallel = Parallel;
        var node = nodes[name] = engine.AddNode(name, observer, Lease);
        return Task.FromResult(new Node(
            node, engine, engine, engine, engine, node, engine,
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
            },
            engine, engine));
    }
}
