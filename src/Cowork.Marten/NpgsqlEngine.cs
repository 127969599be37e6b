using Cowork.Application.Storage;

namespace Cowork.Marten;

/// <summary>The storage engine over plain Npgsql: the log in Marten's tables, read models, jobs and snapshots, on one PostgreSQL schema.</summary>
public sealed class NpgsqlEngine : IEngine
{
    readonly EngineOptions options;
    readonly Database database;
    readonly LeasedJobs jobs;
    readonly AsyncProjectionStore following;
    readonly RowStore rows;
    readonly IFlush flush;
    readonly EventWriter writer;
    readonly Wakeups wakeups;
    bool started;
    bool stopped;

    public NpgsqlEngine(EngineOptions options)
        : this(options, _ => new NpgsqlFlush(options.Schema, options.Models), database => new NpgsqlJobs(database, options))
    {
    }

    /// <summary>All of it but the way into the log and the way that jobs take, which are another engine's.</summary>
    internal NpgsqlEngine(EngineOptions options, Func<Database, IFlush> newFlush, Func<Database, LeasedJobs> newJobs)
    {
        this.options = options;
        database = new(options);
        flush = newFlush(database);
        jobs = newJobs(database);
        wakeups = new(database, options, jobs);
        writer = new(database, options, jobs, wakeups, flush);
        following = new(database, options.Models);
        rows = new(database, following, options.Models);
        Log = new EventLog(database, writer);
        Snapshots = new SnapshotStore(database);
    }

    public string Name => "npgsql";

    public IEventLog Log { get; }

    public IRows Rows => rows;

    public IJobQueue Jobs => jobs;

    public ISnapshots Snapshots { get; }

    public IAsyncProjectionStore AsyncProjections => following;

    public ICommitObserver? Observer
    {
        get => database.Observer;
        set => database.Observer = value;
    }

    public bool IsUp => writer.IsUp;

    public string Node => jobs.Node;

    internal Database Database => database;

    internal LeasedJobs JobsOfThisNode => jobs;

    internal EventWriter Writer => writer;

    public async Task StartAsync(CancellationToken ct)
    {
        var fresh = await database.Once(connection => Schema.Ensure(connection, options.Schema, options.Models, ct));
        await flush.Prepare(ct);
        foreach (var model in fresh)
        {
            await rows.Rebuild(model, ct);
        }
        await jobs.Start(ct);
        await writer.Start();
        wakeups.Start(writer);
        started = true;
    }

    public async ValueTask DisposeAsync()
    {
        await Stop();
        await database.DisposeAsync();
    }

    /// <summary>All of the end but that of the connections, which others may use.</summary>
    internal async Task Stop()
    {
        if (started && !stopped)
        {
            stopped = true;
            await wakeups.DisposeAsync();
            await writer.DisposeAsync();
            await jobs.DisposeAsync();
        }
    }
}
