using Cowork.Application;
using Cowork.Application.Storage;

using Marten;

namespace Cowork.Marten;

/// <summary>
/// The storage of this node: the log in Marten's tables, read models, jobs and snapshots, in one PostgreSQL schema. Streams, raw events and live aggregates can
/// be read with <see cref="Store"/>; what appends goes through <see cref="Log"/>.
/// </summary>
public sealed class StorageEngine : IAsyncDisposable
{
    /// <summary>As <c>/health/ready</c> and <c>/metrics</c> name it.</summary>
    public const string Name = "marten";

    /// <summary>Rights that a sentence names.</summary>
    const int MissingMax = 5;

    readonly StorageOptions options;
    readonly JobTable jobTable;
    readonly JobQueue jobs;
    readonly NodeHeartbeat heartbeat;
    readonly RowStore rows;
    readonly EventWriter writer;
    readonly Wakeups wakeups;
    readonly TableUpkeep upkeep;
    readonly VectorStore vectors;
    bool started;

    internal StorageEngine(Database database, StorageOptions options, IDocumentStore store)
    {
        (Database, this.options, Store) = (database, options, store);
        jobTable = new(database, options);
        heartbeat = new(jobTable, options);
        jobs = new(jobTable, heartbeat, options);
        wakeups = new(database, options, heartbeat, jobs);
        writer = new(database, options, heartbeat, jobs, wakeups, new(options.Schema, options.Models, store));
        upkeep = new(database, options);
        AsyncProjectionStore projections = new(database, options.Models);
        rows = new(database, projections, options.Models);
        AsyncProjections = projections;
        SubjectStore = new SubjectStore(database, rows);
        Subjects = database.Subjects = new(SubjectStore, options.MasterKeys ?? (static () => null));
        Log = new EventLog(database, writer);
        Positions = new PositionLookup(database);
        Snapshots = new SnapshotStore(database);
        TokenUses = new TokenUseStore(database);
        Groups = new GroupStore(database);
        Expiry = new ExpiryStore(database, options.Models);
        MerkleStore merkle = new(database);
        (Merkle, HeadDeliveries) = (merkle, merkle);
        Texts = new TextStore(database);
        vectors = new(database, options.VectorDimensions);
        DeadLetters = new(database, jobs);
    }

    /// <summary>An engine outside a host, for tools: with a document store of its own, and without Wolverine.</summary>
    public static StorageEngine New(StorageOptions options)
    {
        var database = new Database(options);
        return new(database, options, DocumentStore.For(store => StoreConfiguration.Apply(store, database, options)));
    }

    public IDocumentStore Store { get; }

    public IEventLog Log { get; }

    public IPositions Positions { get; }

    public ISubjectStore SubjectStore { get; }

    /// <summary>The keys of data subjects.</summary>
    public SubjectKeyring Subjects { get; }

    public IRows Rows => rows;

    public IJobQueue Jobs => jobs;

    public DeadLetters DeadLetters { get; }

    public ISnapshots Snapshots { get; }

    public ITokenUses TokenUses { get; }

    public IGroupStore Groups { get; }

    public IExpiryStore Expiry { get; }

    public IMerkleStore Merkle { get; }

    public IHeadDeliveries HeadDeliveries { get; }

    public ITexts Texts { get; }

    public IVectors Vectors => vectors;

    public IAsyncProjectionStore AsyncProjections { get; }

    /// <summary>Hears of commits. Set before the start: what listens to the log usually needs the log first.</summary>
    public ICommitObserver? Observer
    {
        get => Database.Observer;
        set => Database.Observer = value;
    }

    /// <summary>True while it can write.</summary>
    public bool IsUp => writer.IsUp;

    /// <summary>The id under which this node holds jobs now. It changes when a lease was lost.</summary>
    public string Node => heartbeat.Node;

    internal Database Database { get; }

    internal NodeHeartbeat Heartbeat => heartbeat;

    internal EventWriter Writer => writer;

    internal TableUpkeep Upkeep => upkeep;

    /// <summary>
    /// Makes the tables that are missing, folds read models that are new, and takes part in the work. It may be called again after it has failed.
    /// </summary>
    /// <exception cref="StorageUnavailableException">The database is away.</exception>
    /// <exception cref="InvalidOperationException">
    /// The schema was made by a newer version, the role may not make or use it, or it is none that this version can work with. The message is a sentence for whoever
    /// starts the host.
    /// </exception>
    public async Task StartAsync(CancellationToken ct)
    {
        try
        {
            await Begin(ct);
        }
        catch (StorageUnavailableException e) when (e.IsDenied)
        {
            var role = new Npgsql.NpgsqlConnectionStringBuilder(options.Owner).Username ?? Environment.UserName;
            throw new InvalidOperationException(
                $"{e.Message}{(e.Message.EndsWith('.') ? "" : ".")} The role \"{role}\" needs the schema \"{options.Schema}\" as its own. Somebody who may makes it: "
                + $"CREATE SCHEMA {options.Schema} AUTHORIZATION \"{role}\" (docs/deploy.md)", e);
        }
        catch (Exception e) when (e is not (StorageUnavailableException or InvalidOperationException or OperationCanceledException or ArgumentException))
        {
            throw new InvalidOperationException($"The schema \"{options.Schema}\" cannot be prepared: {e.Message.Split('\n')[0]}", e);
        }
    }

    async Task Begin(CancellationToken ct)
    {
        try
        {
            await Migrate(ct);
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            throw Database.Unavailable(e);
        }
        await writer.Connect();
        await heartbeat.Start(ct);
        jobs.Start();
        writer.Start();
        wakeups.Start(writer);
        upkeep.Start(Node);
        started = true;
    }

    /// <summary>Waits until tables of an earlier release are brought up to date in the background, or that is left to the next start.</summary>
    public Task Upkept() => upkeep.Done;

    /// <summary>Makes and migrates the tables, where this node knows a role that may, and sees to it that the host's role may do what it has to.</summary>
    async Task Migrate(CancellationToken ct)
    {
        await using var host = Database.Apart("start");
        await host.OpenAsync(ct);
        var role = await Role(host, ct);
        string? whyNoVectors = null;
        var owned = await Database.OnOwnersConnection(async owner =>
        {
            var owning = await Role(owner, ct);
            if (owning == role && await Schema.IsOthers(owner, options.Schema, ct))
            {
                return false;
            }
            foreach (var model in await Schema.Ensure(owner, options.Schema, options.Models, Store, owning == role ? null : role, ct))
            {
                await rows.Rebuild(model, ct);
            }
            whyNoVectors = options.VectorDimensions is { } dimensions
                ? await VectorTable.Ensure(owner, options.Schema, dimensions, owning == role ? null : role, ct)
                : null;
            return true;
        });
        if (await Fence.Missing(host, options.Schema, options.Models, role, ct) is [_, ..] missing)
        {
            throw new InvalidOperationException(
                $"The role \"{role}\" has not all the rights that a host needs. Missing: {string.Join(", ", missing.Take(MissingMax))}{(missing.Count > MissingMax ? ", …" : "")}. "
                + $"\"cowork migrate\" grants them, with the owner's address in ConnectionStrings__CoworkOwner; or the role owns the schema: "
                + $"CREATE SCHEMA {options.Schema} AUTHORIZATION \"{role}\" (docs/deploy.md).");
        }
        if (!owned)
        {
            await Schema.Require(host, options.Schema, options.Models, ct);
        }
        await vectors.Find(host, whyNoVectors, ct);
    }

    static async Task<string> Role(Npgsql.NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new Npgsql.NpgsqlCommand("SELECT current_user::text", connection);
        return (string)(await ask.ExecuteScalarAsync(ct))!;
    }

    /// <summary>The nodes whose lease is not over, this one included.</summary>
    public async ValueTask<IReadOnlyList<EngineNode>> Nodes(CancellationToken ct) =>
        [.. (await jobTable.Nodes(ct)).Select(node => new EngineNode(node.Id, node.Expires, node.Id == Node))];

    /// <summary>Commits what is queued, gives the jobs back, and takes the node out of the list.</summary>
    public async ValueTask DisposeAsync()
    {
        if (started)
        {
            started = false;
            await upkeep.DisposeAsync();
            await wakeups.DisposeAsync();
            await writer.DisposeAsync();
            await jobs.StopAsync();
            await heartbeat.DisposeAsync();
        }
        Store.Dispose();
        await Database.DisposeAsync();
    }
}
