using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Npgsql;

/// <param name="ConnectionString">Of a role that may make tables in the schema, or has made them.</param>
/// <param name="Node">Names this node among those on the database. A host takes a new one at every start.</param>
/// <param name="Models">Every read model that is written in the append transaction.</param>
public sealed record NpgsqlEngineOptions(string ConnectionString, string Node, IReadOnlyList<IReadModel> Models)
{
    /// <summary>Lower-case letters, digits and underscores.</summary>
    public string Schema { get; init; } = "cowork";

    /// <summary>Earlier nodes that are known to be dead: their jobs can be claimed at once instead of when their lease runs out.</summary>
    public IReadOnlyList<string> DeadNodes { get; init; } = [];

    public ICommitObserver? Observer { get; init; }

    public TimeProvider Clock { get; init; } = TimeProvider.System;

    public ILoggerFactory Logs { get; init; } = NullLoggerFactory.Instance;

    /// <summary>How long a node that is not heard of keeps its jobs.</summary>
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Between two signs of life; several must fit into a lease.</summary>
    public TimeSpan Heartbeat { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long callers wait for a database that went away before they hear of it.</summary>
    public TimeSpan OutagePatience { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long one command may take.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>The storage engine over plain Npgsql: the log in Marten's tables, read models, jobs and snapshots, on one PostgreSQL schema.</summary>
public sealed class NpgsqlEngine : IAsyncDisposable
{
    readonly NpgsqlEngineOptions options;
    readonly Database database;
    readonly NpgsqlJobs jobs;
    readonly NpgsqlRows rows;
    readonly EventWriter writer;
    readonly Wakeups wakeups;
    bool started;
    bool disposed;

    public NpgsqlEngine(NpgsqlEngineOptions options)
    {
        this.options = options;
        database = new(options);
        jobs = new(database, options);
        wakeups = new(database, options, jobs);
        writer = new(database, options, jobs, wakeups);
        rows = new(database, options.Models);
        Log = new NpgsqlLog(database, writer);
        Snapshots = new NpgsqlSnapshots(database);
    }

    public IEventLog Log { get; }

    public IRows Rows => rows;

    public IJobQueue Jobs => jobs;

    public ISnapshots Snapshots { get; }

    /// <summary>Hears of commits. Set it before the start: what listens to the log usually needs the log first.</summary>
    public ICommitObserver? Observer
    {
        get => database.Observer;
        set => database.Observer = value;
    }

    /// <summary>True while the writer has its connection.</summary>
    public bool IsUp => writer.IsUp;

    /// <summary>The id under which this node holds jobs now. It changes when a lease was lost.</summary>
    public string Node => jobs.Node;

    internal NpgsqlJobs JobsOfThisNode => jobs;

    internal EventWriter Writer => writer;

    /// <summary>Makes the tables that are missing, folds read models that are new, and takes part in the work. Call it again after it has failed.</summary>
    /// <exception cref="StorageUnavailableException">The database is away.</exception>
    /// <exception cref="InvalidOperationException">The schema was made by a newer version.</exception>
    public async Task StartAsync(CancellationToken ct)
    {
        var fresh = await database.Once(connection => Schema.Ensure(connection, options.Schema, options.Models, ct));
        foreach (var model in fresh)
        {
            await rows.Rebuild(model, ct);
        }
        await jobs.Start(ct);
        await writer.Start();
        wakeups.Start(writer);
        started = true;
    }

    /// <summary>Commits what is queued, gives the jobs back, and takes the node out of the list.</summary>
    public async ValueTask DisposeAsync()
    {
        if (disposed)
        {
            return;
        }
        disposed = true;
        if (started)
        {
            await wakeups.DisposeAsync();
            await writer.DisposeAsync();
            await jobs.DisposeAsync();
        }
        await database.DisposeAsync();
    }
}
