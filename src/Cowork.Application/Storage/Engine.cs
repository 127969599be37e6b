using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Application.Storage;

/// <param name="ConnectionString">Of a role that may make tables in the schema, or has made them.</param>
/// <param name="Node">Names this node among those on the database. A host takes a new one at every start.</param>
/// <param name="Models">Every read model: those that are written in the append transaction, and those that follow the log.</param>
public sealed record EngineOptions(string ConnectionString, string Node, IReadOnlyList<IRowModel> Models)
{
    /// <summary>Lower-case letters, digits and underscores.</summary>
    public string Schema { get; init; } = "cowork";

    /// <summary>Earlier nodes that are known to be dead: their jobs can be claimed at once instead of when their lease runs out.</summary>
    public IReadOnlyList<string> DeadNodes { get; init; } = [];

    public ICommitObserver? Observer { get; init; }

    public TimeProvider Clock { get; init; } = TimeProvider.System;

    public ILoggerFactory Logs { get; init; } = NullLoggerFactory.Instance;

    /// <summary>Kinds of jobs that this node leaves to the others: it commits them, and never claims one.</summary>
    public IReadOnlyList<string> KindsLeftToOthers { get; init; } = [];

    /// <summary>How long a node that is not heard of keeps its jobs.</summary>
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Between two signs of life; several must fit into a lease.</summary>
    public TimeSpan Heartbeat { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long callers wait for a database that went away before they hear of it.</summary>
    public TimeSpan OutageDeadline { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Jobs that this node does at once.</summary>
    public int Parallel { get; init; } = 1_000;

    /// <summary>
    /// Pauses before a job that failed is tried again. After the last one an engine that keeps dead letters puts the job aside; another one always takes
    /// the first. Not empty.
    /// </summary>
    public IReadOnlyList<TimeSpan> JobRetries { get; init; } =
        [TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(2), TimeSpan.FromMinutes(10)];

    /// <summary>How long one command may take.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>A storage engine: the log in Marten's tables, read models, jobs and snapshots, in one PostgreSQL schema that any other engine can open.</summary>
public interface IEngine : IAsyncDisposable
{
    /// <summary>As <c>Cowork:Engine</c> and <c>/health/ready</c> call it.</summary>
    string Name { get; }

    IEventLog Log { get; }

    IRows Rows { get; }

    IJobQueue Jobs { get; }

    ISnapshots Snapshots { get; }

    IAsyncProjectionStore AsyncProjections { get; }

    /// <summary>Where commands go on this engine: straight to the one who executes them, or by its message bus.</summary>
    ICommandExecutor Over(CommandHandler commands) => commands;

    /// <summary>Hears of commits. Set it before the start: what listens to the log usually needs the log first.</summary>
    ICommitObserver? Observer { get; set; }

    /// <summary>True while it can write.</summary>
    bool IsUp { get; }

    /// <summary>The id under which this node holds jobs now. It changes when a lease was lost.</summary>
    string Node { get; }

    /// <summary>
    /// Makes the tables that are missing, folds read models that are new, and takes part in the work. Call it again after it has failed. To dispose of
    /// the engine commits what is queued, gives the jobs back, and takes the node out of the list.
    /// </summary>
    /// <exception cref="StorageUnavailableException">The database is away.</exception>
    /// <exception cref="InvalidOperationException">The schema was made by a newer version.</exception>
    Task StartAsync(CancellationToken ct);
}
