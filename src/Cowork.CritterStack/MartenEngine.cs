using Cowork.Application.Storage;
using Cowork.Npgsql;

using Marten;

namespace Cowork.CritterStack;

/// <summary>
/// The storage engine on Marten: streams are fetched and appended to by it, in the tables that the other engine uses too, so that a database which one has
/// written opens in the other. What Marten has no part in (feeds, rows' reading, jobs, leases, wake-ups) is the other engine's.
/// </summary>
public sealed class MartenEngine : IEngine
{
    readonly NpgsqlEngine shared;
    readonly MartenFlush flush;

    public MartenEngine(EngineOptions options)
    {
        MartenFlush? made = null;
        shared = new(options, database => made = new(database, options), database => new NpgsqlJobs(database, options));
        flush = made!;
        Log = new MartenLog(shared.Log, shared.Database, flush.Store);
    }

    public string Name => "marten";

    /// <summary>For what else runs on it. Whoever appends goes through <see cref="Log"/>.</summary>
    public IDocumentStore Store => flush.Store;

    public IEventLog Log { get; }

    public IRows Rows => shared.Rows;

    public IJobQueue Jobs => shared.Jobs;

    public ISnapshots Snapshots => shared.Snapshots;

    public IFollowing Following => shared.Following;

    public ICommitObserver? Observer
    {
        get => shared.Observer;
        set => shared.Observer = value;
    }

    public bool IsUp => shared.IsUp;

    public string Node => shared.Node;

    internal NpgsqlEngine Shared => shared;

    public Task StartAsync(CancellationToken ct) => shared.StartAsync(ct);

    public async ValueTask DisposeAsync()
    {
        await shared.DisposeAsync();
        await flush.DisposeAsync();
    }
}
