using Cowork.Application.Storage;
using Cowork.Npgsql;
using Cowork.Testing;

namespace Cowork.Engine.Tests;

public sealed class InMemoryEngineSpec : EngineContract
{
    readonly InMemoryEngine engine = new([Chain.Tallies, Chain.Marks, Chain.Words()], TimeProvider.System);
    readonly Dictionary<string, InMemoryEngine.Node> nodes = [];

    public override Task InitializeAsync() => Task.CompletedTask;

    public override Task DisposeAsync() => Task.CompletedTask;

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

public sealed partial class NpgsqlEngineSpec : EngineContract
{
    readonly List<NpgsqlEngine> engines = [];
    string connectionString = "";

    public override async Task InitializeAsync() => connectionString = await TestPostgres.NewDatabase();

    public override async Task DisposeAsync()
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
    }

    protected override async Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead) =>
        NodeOf(await Start(connectionString, name, observer, dead));

    async Task<NpgsqlEngine> Start(string at, string name, ICommitObserver? observer = null, params string[] dead) =>
        await Start(at, name, observer, dead, leftToOthers: []);

    async Task<NpgsqlEngine> Start(string at, string name, ICommitObserver? observer, string[] dead, string[] leftToOthers)
    {
        var engine = new NpgsqlEngine(new(at, name, [Chain.Tallies, Chain.Marks, Chain.Words()])
        {
            Observer = observer,
            DeadNodes = dead,
            KindsLeftToOthers = leftToOthers,
            Lease = Lease,
            Heartbeat = Lease / 6,
        });
        await engine.StartAsync(CancellationToken.None);
        engines.Add(engine);
        return engine;
    }

    static Node NodeOf(NpgsqlEngine engine) =>
        new(engine.Log, engine.Rows, engine.Snapshots, engine.Jobs, engine.Following, () => engine.DisposeAsync().AsTask(), paused => engine.JobsOfThisNode.Paused = paused);
}
