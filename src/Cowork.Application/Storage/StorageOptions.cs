using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Application.Storage;

/// <param name="ConnectionString">Of the host's role.</param>
/// <param name="Node">Names this node among those on the database. A host takes a new one at every start.</param>
/// <param name="Models">Every read model: those that are written in the append transaction, and those that follow the log.</param>
public sealed record StorageOptions(string ConnectionString, string Node, IReadOnlyList<IRowModel> Models)
{
    /// <summary>
    /// Connection string of the role that owns the schema, makes and migrates the tables, and rebuilds read models. Null: the host's role owns them, or another program
    /// migrates (<c>cowork migrate</c>).
    /// </summary>
    public string? OwnerConnectionString { get; init; }

    /// <summary>That role's address, or the host's own.</summary>
    public string Owner => OwnerConnectionString ?? ConnectionString;

    /// <summary>Lower-case letters, digits and underscores.</summary>
    public string Schema { get; init; } = "cowork";

    /// <summary>False: something between here and PostgreSQL takes no options with a connection's first message.</summary>
    public bool StartupOptions { get; init; } = true;

    /// <summary>Earlier nodes that are known to be dead: their jobs can be claimed at once instead of when their lease runs out.</summary>
    public IReadOnlyList<string> DeadNodes { get; init; } = [];

    /// <summary>Of the embedding model whose vectors the database is to hold, where it has the extension; null: it holds none.</summary>
    public int? VectorDimensions { get; init; }

    /// <summary>What the keys of data subjects are under; null: this program opens none, and what is sealed looks erased to it.</summary>
    public Func<MasterKeyring?>? MasterKeys { get; init; }

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

    /// <summary>Jobs of one kind that this node does at once, unless <see cref="ParallelOf"/> says otherwise.</summary>
    public int Parallel { get; init; } = 80;

    /// <summary>The kinds of jobs of which this node does more, or fewer, at once.</summary>
    public IReadOnlyDictionary<string, int> ParallelOf { get; init; } = new Dictionary<string, int>();

    /// <summary>Jobs of a kind that this node does at once.</summary>
    public int SlotsOf(string kind) => ParallelOf.GetValueOrDefault(kind, Parallel);

    /// <summary>Pauses before a job that failed is tried again. After the last one it becomes a dead letter. Not empty.</summary>
    public IReadOnlyList<TimeSpan> JobRetries { get; init; } =
        [TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(2), TimeSpan.FromMinutes(10)];

    /// <summary>How long one command may take.</summary>
    public TimeSpan CommandTimeout { get; init; } = TimeSpan.FromSeconds(5);
}
