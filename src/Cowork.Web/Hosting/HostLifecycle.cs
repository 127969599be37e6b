using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// What stands behind the endpoints: the database, the engine, and the work on runs. The host listens before any of it is there, and
/// goes on listening while the database is away.
/// </summary>
public sealed partial class HostLifecycle(
    HostSettings settings, DataDirectory data, IServiceProvider services, IHostApplicationLifetime lifetime, TimeProvider clock, ILoggerFactory logs, ILogger<HostLifecycle> logger)
    : BackgroundService, IAsyncDisposable
{
    /// <summary>Who issues the operator's token.</summary>
    public const string Actor = "system";

    static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(500);

    /// <summary>Often enough that a node's new id is on disk long before anybody could want to know it.</summary>
    static readonly TimeSpan WriteNodeEvery = TimeSpan.FromSeconds(2);

    readonly TaskCompletionSource listening = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    PrivatePostgres? postgres;
    IEngine? engine;
    volatile bool started;
    int disposed;

    /// <summary>The engine answers requests; it may be waiting for its database at the moment.</summary>
    public bool IsStarted => started;

    /// <summary>Started, and the database is there.</summary>
    public bool IsReady => started && engine is { IsUp: true };

    /// <summary>Done when the host is ready for the first time, or has given up.</summary>
    public Task FirstReady => ready.Task;

    public IEngine Engine => engine ?? throw new StorageUnavailableException("The engine is not started yet.");

    /// <summary>Where this host listens.</summary>
    public string Url { get; set; } = "";

    /// <summary>What the process is to end with.</summary>
    public int ExitCode { get; private set; }

    /// <summary>The host listens. Before that nothing is started: a second host fails at its port and disturbs nothing.</summary>
    public void Begin() => listening.TrySetResult();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await listening.Task.WaitAsync(stoppingToken);
            var database = settings.Database is not null ? "a database of yours" : "a private PostgreSQL";
            LogStart(logger, settings.Engine, Url, data.Path, database, settings.TokenMode ? "token" : "local");
            if (settings.Models.Count > 0)
            {
                LogModels(logger, settings.Models, settings.Runs.DefaultModel);
            }
            await StartEngine(stoppingToken);
            var first = await AdminToken(stoppingToken);
            var driven = services.GetRequiredService<DrivenRuns>();
            var runner = services.GetRequiredService<JobRunner>();
            var projector = services.GetRequiredService<Projector>();
            started = true;
            LogReady(logger, Url);
            Greet(first);
            ready.TrySetResult();
            List<Task> loops =
            [
                runner.Run(stoppingToken), projector.Run(stoppingToken), UntilStopped(driven.WatchOthers(stoppingToken)), UntilStopped(KeepNodeWritten(stoppingToken)),
            ];
            if (settings.Schedules)
            {
                loops.Add(UntilStopped(services.GetRequiredService<ClockWatch>().Run(stoppingToken)));
            }
            // They end when the host is told to stop. One that fails before stops the host: it would seem to work, and do less than it says.
            await await Task.WhenAny(loops);
            await Task.WhenAll(loops);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Told to stop before everything was there.
        }
#pragma warning disable CA1031 // Whatever it is, the host cannot work; the person who started it hears why, and the process ends with an error.
        catch (Exception e)
#pragma warning restore CA1031
        {
            ExitCode = 1;
            if (e is PostgresMissingException or PrivatePostgresException or InvalidOperationException or ArgumentException or UnauthorizedAccessException)
            {
                LogCannot(logger, e.Message);
            }
            else
            {
                LogBroken(logger, e);
            }
            lifetime.StopApplication();
        }
        finally
        {
            ready.TrySetResult();
        }
    }

    /// <summary>Gives the leases back and stops the private PostgreSQL. Called when no request is under way any more.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposed, 1) == 1)
        {
            return;
        }
        started = false;
        if (engine is not null)
        {
            await engine.DisposeAsync();
        }
        if (postgres is not null)
        {
            await postgres.DisposeAsync();
        }
        Dispose();
    }

    async Task StartEngine(CancellationToken ct)
    {
        var database = settings.Database;
        if (database is null)
        {
            postgres = await PrivatePostgres.Start(new(data.In("postgres")), logs.CreateLogger<PrivatePostgres>(), ct);
            database = postgres.ConnectionString;
        }
        var node = $"node_{Ids.NewKey(clock.GetUtcNow())}";
        engine = Engines.New(settings.Engine, new(database, node, ReadModels.Tables)
        {
            DeadNodes = data.PreviousNodes,
            Observer = new LateObserver(services),
            KindsLeftToOthers = settings.Schedules ? [] : [Scheduler.JobKind],
            Clock = clock,
            Logs = logs,
            Parallel = settings.Runs.Parallel,
            JobRetries = settings.JobRetries,
        });
        // The old ids stay written until their jobs can be claimed.
        data.WorkAs([node, .. data.PreviousNodes]);
        for (var told = false; ; told = true)
        {
            try
            {
                await engine.StartAsync(ct);
                break;
            }
            catch (StorageUnavailableException e)
            {
                if (!told)
                {
                    LogWaits(logger, e.InnerException?.Message ?? e.Message);
                }
                await Task.Delay(RetryAfter, clock, ct);
            }
        }
        data.WorkAs([engine.Node]);
    }

    /// <summary>Makes the operator's token at the first start, and sees to it that the database knows it. Answers it when it is new.</summary>
    async Task<BearerToken?> AdminToken(CancellationToken ct)
    {
        var path = data.In("admin-token");
        var known = File.Exists(path) ? BearerToken.Parse((await File.ReadAllTextAsync(path, ct)).Trim()) : null;
        var token = known ?? BearerToken.New(RequestAuthorization.LocalOrg, clock.GetUtcNow());
        if (known is null)
        {
            var writing = path + ".new";
            File.Delete(writing);
            await using (var file = new FileStream(writing, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                await file.WriteAsync(System.Text.Encoding.ASCII.GetBytes(token.Reveal() + "\n"), ct);
                file.Flush(flushToDisk: true);
            }
            File.Move(writing, path, overwrite: true);
        }
        var commands = services.GetRequiredService<ICommandExecutor>();
        while (true)
        {
            try
            {
                await commands.Execute(token.Org, new Origin(Actor), new IssueToken(token.Key, "admin", "admin", ApiToken.Roles, token.SecretSha256), ct);
                return known is null ? token : null;
            }
            catch (StorageUnavailableException)
            {
                await Task.Delay(RetryAfter, clock, ct);
            }
        }
    }

    /// <summary>For the person who started the host for the first time.</summary>
    void Greet(BearerToken? first)
    {
        if (first is null)
        {
            return;
        }
        var header = settings.TokenMode ? " -H \"authorization: Bearer $(cat " + data.In("admin-token") + ")\"" : "";
        Console.WriteLine($"""

            The admin token, also in {data.In("admin-token")}:
              {first.Reveal()}

            Try it:
              curl -s {Url}/sessions{header} -H 'content-type: application/json' -d '{"{"}"session_id":"first"{"}"}'
              curl -s {Url}/sessions/first/turn{header} -H 'content-type: application/json' -d '{"{"}"message":"Hello"{"}"}'

            """);
    }

    async Task KeepNodeWritten(CancellationToken ct)
    {
        var written = Engine.Node;
        while (true)
        {
            await Task.Delay(WriteNodeEvery, clock, ct);
            if (Engine.Node is var now && now != written)
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

    /// <summary>The feed hub and the projector read from the log that they hear of, so that they can be made only after the engine.</summary>
    sealed class LateObserver(IServiceProvider services) : ICommitObserver
    {
        ICommitObserver[]? observers;

        ICommitObserver[] Observers => observers ??= [services.GetRequiredService<FeedHub>(), services.GetRequiredService<Projector>()];

        public void Committed(IReadOnlyList<FeedEntry> entries) => Array.ForEach(Observers, o => o.Committed(entries));

        public void OthersWrote() => Array.ForEach(Observers, o => o.OthersWrote());
    }

    [LoggerMessage(1, LogLevel.Information, "Cowork, engine {Engine}, listens on {Url}; data directory {Data}, {Database}, {Mode} mode")]
    static partial void LogStart(ILogger logger, string engine, string url, string data, string database, string mode);

    [LoggerMessage(Level = LogLevel.Information, Message = "Models: {Models}; the default is {Default}")]
    static partial void LogModels(ILogger logger, IReadOnlyList<ModelSettings> models, string @default);

    [LoggerMessage(2, LogLevel.Information, "Ready: {Url}")]
    static partial void LogReady(ILogger logger, string url);

    [LoggerMessage(3, LogLevel.Warning, "The database does not answer ({Reason}); it is tried again until it does")]
    static partial void LogWaits(ILogger logger, string reason);

    [LoggerMessage(4, LogLevel.Critical, "Cannot work: {Reason}")]
    static partial void LogCannot(ILogger logger, string reason);

    [LoggerMessage(5, LogLevel.Critical, "Cannot work")]
    static partial void LogBroken(ILogger logger, Exception e);

    [LoggerMessage(6, LogLevel.Warning, "This node's new id cannot be written into the data directory, and that is tried again: {Reason}")]
    static partial void LogNodeNotWritten(ILogger logger, string reason);
}
