using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Kill.Tests;

/// <summary>What specs have in common that need a PostgreSQL of their own, because they stop it or change it.</summary>
public abstract class OwnPostgresHarness : StorageHarness
{
    readonly List<StorageEngine> engines = [];
    PrivatePostgres? postgres;

    /// <summary>The server, which a test may stop and boot anew.</summary>
    protected PrivatePostgres Postgres
    {
        get => postgres!;
        set => postgres = value;
    }

    protected string DataDirectory { get; } = TestPostgres.NewDirectory();

    /// <summary>Of <c>postgresql.conf</c>.</summary>
    protected virtual IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>();

    /// <summary>Where the nodes connect.</summary>
    protected virtual string Address => Postgres.ConnectionString;

    /// <summary>Where the tables' owner connects; null: the nodes' role is the owner.</summary>
    protected virtual string? Owner => Postgres.OwnerConnectionString;

    public override async ValueTask InitializeAsync() => Postgres = await Boot();

    public override async ValueTask DisposeAsync()
    {
        foreach (var engine in engines)
        {
            await engine.DisposeAsync();
        }
        await Postgres.DisposeAsync();
        Directory.Delete(DataDirectory, recursive: true);
    }

    protected Task<PrivatePostgres> Boot() => PrivatePostgres.Start(new(DataDirectory) { Settings = Settings }, NullLogger.Instance, None);

    protected override async Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead) => NodeOf(await Start(Address, name, observer));

    protected async Task<StorageEngine> Start(string at, string name, ICommitObserver? observer = null)
    {
        var engine = StorageEngine.New(new(at, name, [Chain.Tallies, Chain.Marks]) { OwnerConnectionString = Owner, Lease = Lease, Heartbeat = Lease / 6 });
        engine.Observer = observer;
        engines.Add(engine);
        await engine.StartAsync(None);
        return engine;
    }
}
