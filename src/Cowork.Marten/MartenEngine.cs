using Cowork.Application;
using Cowork.Application.Storage;

using Marten;

using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Cowork.Marten;

/// <summary>
/// The storage engine on Marten and Wolverine: streams are fetched and appended to by Marten, in the tables that the other engine uses too, so that a database
/// which one has written opens in the other; commands and jobs are Wolverine's messages. What they have no part in (feeds, rows' reading, leases, wake-ups) is
/// the other engine's.
/// </summary>
public sealed class MartenEngine : IEngine
{
    readonly EngineOptions options;
    readonly NpgsqlEngine shared;
    readonly MartenFlush flush;
    readonly AsyncDaemon daemon;
    readonly WolverineJobs jobs;
    Bus? bus;
    CommandHandler? commands;

    public MartenEngine(EngineOptions options)
    {
        this.options = options;
        MartenFlush? flushMade = null;
        WolverineJobs? jobsMade = null;
        var outbox = new JobOutbox(() => Bus.Runtime, options.Logs.CreateLogger<JobOutbox>());
        daemon = new(options, () => shared!.AsyncProjections, () => flush!.Store);
        shared = new(
            options with { Observer = daemon.Wakeup },
            database => flushMade = new(database, options, outbox, daemon, StartBus),
            database => jobsMade = new(database, options, () => Bus.Runtime));
        (flush, jobs) = (flushMade!, jobsMade!);
        Log = new MartenLog(shared.Log, shared.Database, flush.Store);
        AsyncProjections = new MartenFollowing(shared.AsyncProjections, daemon);
        DeadLetters = new(shared.Database, () => Bus.Runtime);
    }

    public string Name => "marten";

    /// <summary>For what else runs on it. Whoever appends goes through <see cref="Log"/>.</summary>
    public IDocumentStore Store => flush.Store;

    public IEventLog Log { get; }

    public IRows Rows => shared.Rows;

    public IJobQueue Jobs => shared.Jobs;

    public ISnapshots Snapshots => shared.Snapshots;

    public IAsyncProjectionStore AsyncProjections { get; }


    public ICommitObserver? Observer
    {
        get => daemon.Wakeup.Next;
        set => daemon.Wakeup.Next = value;
    }

    public bool IsUp => shared.IsUp;

    public string Node => shared.Node;

    internal NpgsqlEngine Shared => shared;

    internal DeadLetters DeadLetters { get; }

    internal Bus Bus => bus ?? throw new StorageUnavailableException("The engine is not started yet.");

    public ICommandExecutor Over(CommandHandler commands)
    {
        this.commands = commands;
        return new WolverineCommandExecutor(() => Bus.Runtime);
    }

    /// <summary>Answers a request to one of <see cref="EngineRoutes"/>.</summary>
    public Task Serve(HttpContext http, EngineRoute route) => Bus.Serve(http, route.Method, route.Pattern);

    public Task StartAsync(CancellationToken ct) => shared.StartAsync(ct);

    public async ValueTask DisposeAsync()
    {
        try
        {
            await daemon.DisposeAsync();
            // The jobs are given back first, so that no message is left waiting for one.
            await shared.Stop();
            if (bus is not null)
            {
                await bus.DisposeAsync();
            }
        }
        finally
        {
            await flush.DisposeAsync();
            await shared.DisposeAsync();
        }
    }

    /// <summary>The bus, built and not started.</summary>
    /// <param name="generateInto">The directory that the handlers' code is about to be written to; null: it is there.</param>
    internal Bus BuildBus(string? generateInto = null) => Bus.Build(
        options, flush.Store,
        new(() => commands ?? throw new InvalidOperationException("Nobody has said who executes commands."), new JobMessages(jobs, options), DeadLetters),
        generateInto);

    /// <summary>What libraries wrap as they like, in the port's words; null: the database is not away.</summary>
    internal static StorageUnavailableException? Outage(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            if (inner is StorageUnavailableException outage)
            {
                return outage;
            }
            if (Database.IsAway(inner))
            {
                return Database.Unavailable(inner);
            }
        }
        return null;
    }

    async Task StartBus(CancellationToken ct)
    {
        if (bus is not null)
        {
            return;
        }
        bus = BuildBus();
        try
        {
            await bus.Start(ct);
        }
        catch (Exception e)
        {
            await bus.DisposeAsync();
            bus = null;
            if (Outage(e) is { } outage)
            {
                throw outage;
            }
            throw;
        }
    }
}
