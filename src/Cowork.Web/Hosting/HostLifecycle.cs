using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web.Endpoints.Groups;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// Starts the storage before anything else of the host, and its work after everything else: what is composed finds a database, and goes on while that is away.
/// </summary>
public sealed partial class HostLifecycle(
    HostSettings settings, DataDirectory data, StorageEngine engine, IServiceProvider services, IHostApplicationLifetime lifetime, TimeProvider clock,
    ILogger<HostLifecycle> logger)
    : BackgroundService, IHostedLifecycleService
{
    static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(500);

    /// <summary>Often enough that a node's new id is on disk long before another start could need it.</summary>
    static readonly TimeSpan WriteNodeEvery = TimeSpan.FromSeconds(2);

    readonly TaskCompletionSource composed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    volatile bool working;

    /// <summary>Jobs are done here, the database is there, and its master key is.</summary>
    public bool IsReady => working && engine.IsUp && WhyNoKey is null;

    /// <summary>Why the secrets of the database cannot be opened here; null: they can.</summary>
    public string? WhyNoKey => composed.Task.IsCompleted ? services.GetRequiredService<MasterKeyCheck>().WhyNot : null;

    /// <summary>Done when the host is ready for the first time, waits for a master key, or has given up.</summary>
    public Task FirstReady => ready.Task;

    /// <summary>Where this host listens.</summary>
    public string Url { get; set; } = "";

    /// <summary>What the process is to end with.</summary>
    public int ExitCode { get; private set; }

    public async Task StartingAsync(CancellationToken cancellationToken)
    {
        engine.Observer = new CommitObservers(() =>
        [
            services.GetRequiredService<SubjectWatch>(), services.GetRequiredService<CommandHandler>(), services.GetRequiredService<SessionHistory>(),
            services.GetRequiredService<MemoryIndex>(),
            services.GetRequiredService<FileQueries>(), services.GetRequiredService<ToolConnections>(), services.GetRequiredService<GroupMessages>(),
            services.GetRequiredService<FeedHub>(), services.GetRequiredService<Projector>(), services.GetRequiredService<AuditTree>(), services.GetRequiredService<OpenRequests>(),
            services.GetRequiredService<GroupCredentials>(),
            services.GetRequiredService<SessionFiles>(),
        ]);
        services.GetRequiredService<SubjectKeyring>().Erased += org =>
        {
            services.GetRequiredService<CommandHandler>().ForgetAll();
            services.GetRequiredService<MemoryIndex>().Forget(org);
            (services.GetRequiredService<IRunQueries>() as RunQueries)?.Forget();
        };
        // What the programs of a killed host left goes at the start, not when somebody asks for a connection.
        _ = services.GetRequiredService<ConnectorCatalog>();
        // The old ids stay written until their jobs can be claimed.
        data.WorkAs([engine.Node, .. data.PreviousNodes]);
        var isStarted = false;
        for (var told = false; ; told = true)
        {
            try
            {
                if (!isStarted)
                {
                    await engine.StartAsync(cancellationToken);
                    isStarted = true;
                }
                // A host that starts amid an erasure shows nothing of it either.
                await services.GetRequiredService<SubjectKeyring>().RefreshAll(cancellationToken);
                break;
            }
            catch (StorageUnavailableException e)
            {
                if (!told)
                {
                    LogWaits(logger, e.InnerException?.Message ?? e.Message);
                }
                await Task.Delay(RetryAfter, clock, cancellationToken);
            }
        }
        data.WorkAs([engine.Node]);
    }

    public Task StartedAsync(CancellationToken cancellationToken)
    {
        composed.TrySetResult();
        return Task.CompletedTask;
    }

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await composed.Task.WaitAsync(stoppingToken);
            var first = await services.GetRequiredService<OperatorToken>().Ensure(stoppingToken);
            var keys = services.GetRequiredService<MasterKeyCheck>();
            // Another host has the key and does the jobs meanwhile.
            await keys.UntilUsable(() => ready.TrySetResult(), stoppingToken);
            var driven = services.GetRequiredService<DrivenRuns>();
            var projector = services.GetRequiredService<Projector>();
            engine.Jobs.StartDispatching(services.GetRequiredService<IJobDispatcher>());
            working = true;
            LogReady(logger, Url);
            Greet(first);
            ready.TrySetResult();
            List<Task> loops =
            [
                services.GetRequiredService<OpenRequests>().Run(stoppingToken), services.GetRequiredService<TokenUses>().Run(stoppingToken),
                services.GetRequiredService<SecurityLog>().Run(stoppingToken), services.GetRequiredService<HostJournal>().Run(stoppingToken),
                services.GetRequiredService<BlobSweep>().Run(stoppingToken), services.GetRequiredService<RetentionStart>().Run(stoppingToken),
                services.GetRequiredService<SessionFiles>().Run(stoppingToken),
                services.GetRequiredService<FileTexts>().Run(stoppingToken), services.GetRequiredService<ContextIndex>().Run(stoppingToken),
                services.GetRequiredService<ContextVectors>().Run(stoppingToken), services.GetRequiredService<GroupConnections>().Run(stoppingToken),
                services.GetRequiredService<GroupCredentials>().Run(stoppingToken),
                services.GetRequiredService<AuditTree>().Run(stoppingToken), services.GetRequiredService<HeadSigner>().Run(stoppingToken),
                projector.Run(stoppingToken), UntilStopped(driven.WatchOthers(stoppingToken)), UntilStopped(KeepNodeWritten(stoppingToken)),
                UntilStopped(keys.Run(stoppingToken)),
            ];
            if (services.GetService<AuthorityKeys>() is { } authority)
            {
                loops.Add(authority.Run(stoppingToken));
            }
            if (settings.Schedules)
            {
                loops.Add(UntilStopped(services.GetRequiredService<ClockWatch>().Run(stoppingToken)));
            }
            // They end when the host is told to stop. One that fails before stops the host: it would seem to work, and do less than it says.
            await await Task.WhenAny(loops);
            await Task.WhenAll(loops);
            await services.GetRequiredService<HeadSigner>().SignLast();
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Told to stop before everything was there.
        }
        catch (StorageUnavailableException e)
        {
            ExitCode = 1;
            LogCannot(logger, e.Message);
            lifetime.StopApplication();
        }
#pragma warning disable CA1031 // Whatever it is, the host cannot work; the person who started it hears why, and the process ends with an error.
        catch (Exception e)
#pragma warning restore CA1031
        {
            ExitCode = 1;
            LogBroken(logger, e);
            lifetime.StopApplication();
        }
        finally
        {
            engine.Jobs.StopDispatching();
            working = false;
            ready.TrySetResult();
        }
    }

    /// <summary>For the person who started the host for the first time.</summary>
    void Greet(BearerToken? first)
    {
        if (first is not null)
        {
            Console.WriteLine(services.GetRequiredService<OperatorToken>().Greeting(first, Url, isTerminal: !Console.IsOutputRedirected));
        }
    }

    async Task KeepNodeWritten(CancellationToken ct)
    {
        var written = engine.Node;
        while (true)
        {
            await Task.Delay(WriteNodeEvery, clock, ct);
            if (engine.Node is var now && now != written)
            {
                try
                {
                    data.WorkAs([now]);
                    written = now;
                }
                catch (IOException e)
                {
                    // It only spares the next start a wait for the lease.
                    LogNodeNotWritten(logger, e.Message);
                }
            }
        }
    }

    static async Task UntilStopped(Task task)
    {
        try
        {
            await task;
        }
        catch (OperationCanceledException)
        {
            // That is how it ends.
        }
    }

    [LoggerMessage(2, LogLevel.Information, "Ready: {Url}")]
    static partial void LogReady(ILogger logger, string url);

    [LoggerMessage(3, LogLevel.Warning, "The database does not answer ({Reason}); it is tried again until it does")]
    static partial void LogWaits(ILogger logger, string reason);

    [LoggerMessage(4, LogLevel.Critical, "The host cannot work: {Reason}")]
    static partial void LogCannot(ILogger logger, string reason);

    [LoggerMessage(5, LogLevel.Critical, "Cannot work")]
    static partial void LogBroken(ILogger logger, Exception e);

    [LoggerMessage(6, LogLevel.Warning, "This node's new id cannot be written into the data directory, and that is tried again: {Reason}")]
    static partial void LogNodeNotWritten(ILogger logger, string reason);
}
