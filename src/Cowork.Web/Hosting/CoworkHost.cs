using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

using Cowork.Application.Models;
using Cowork.Marten;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// One host: listens from the first moment, prepares its database, composes everything over it, works, and stops with everything that it started.
/// </summary>
public sealed partial class CoworkHost : IAsyncDisposable
{
    static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(500);

    readonly DataDirectory data;
    readonly HostSettings settings;
    readonly WebApplicationBuilder builder;
    readonly StartingListener listener;
    readonly ServerCertificate? certificate;
    readonly CancellationTokenSource stopping = new();
    readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Task<int> work;
    PrivatePostgres? postgres;
    WebApplication? app;

    CoworkHost(WebApplicationBuilder builder, HostSettings settings, DataDirectory data, StartingListener listener, ServerCertificate? certificate)
    {
        (this.builder, this.settings, this.data, this.listener, this.certificate) = (builder, settings, data, listener, certificate);
        var address = listener.EndPoint.Address;
        var name = address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any) ? IPAddress.Loopback : address;
        Url = $"{(certificate is null ? "http" : "https")}://{new IPEndPoint(name, listener.EndPoint.Port)}";
        data.ListensAt(Url);
        work = Work();
    }

    /// <summary>Of the composed host: after <see cref="FirstReady"/>.</summary>
    public IServiceProvider Services => app?.Services ?? throw new InvalidOperationException("The host is not composed yet.");

    /// <summary>For example <c>http://127.0.0.1:26866</c>: with the real port.</summary>
    public string Url { get; }

    /// <summary>Done when the host is ready for the first time, or has given up.</summary>
    public Task FirstReady => ready.Task;

    /// <summary>Runs a host until it is told to stop (SIGTERM, Ctrl-C). Answers the process's exit code: 0, 1 when it cannot work, 2 when it was asked wrongly.</summary>
    public static async Task<int> Run(string[] args)
    {
        if (args is ["-h" or "--help", ..])
        {
            Console.WriteLine(HostSettings.Usage);
            return 0;
        }
        var builder = NewBuilder();
        var asksForReport = args is ["--report"];
        HostSettings settings;
        try
        {
            settings = HostSettings.Read(asksForReport ? [] : args, builder.Configuration);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 2;
        }
        if (asksForReport)
        {
            Console.WriteLine(HostReport.Of(settings));
            return 0;
        }
        try
        {
            await using var host = Start(builder, settings);
            // Before the host is composed nothing else listens to them.
            using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, host.StopOn);
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, host.StopOn);
            return await host.work;
        }
        catch (Exception e) when (e is DataDirectoryTakenException or DataDirectoryUnsafeException or ServerCertificateException or UnauthorizedAccessException or IOException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
        catch (SocketException e)
        {
            Console.Error.WriteLine(e.SocketErrorCode == SocketError.AddressAlreadyInUse
                ? $"cowork: port {settings.Port} on {settings.Bind} is taken by another program. Choose one with --port; 0 takes any that is free."
                : $"cowork: cannot listen on {settings.Bind}, port {settings.Port}: {e.Message}");
            return 1;
        }
    }

    public static WebApplicationBuilder NewBuilder()
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        // With ASPNETCORE_FORWARDEDHEADERS_ENABLED the framework believes everybody's X-Forwarded headers, and takes them away before OriginGuard looks.
        builder.Configuration["ForwardedHeaders_Enabled"] = "false";
        return builder;
    }

    /// <summary>Returns when the host listens; everything else comes later, see <see cref="FirstReady"/>.</summary>
    /// <exception cref="DataDirectoryTakenException">Another host works on the data directory.</exception>
    /// <exception cref="DataDirectoryUnsafeException">It belongs to another user, or others may change it.</exception>
    /// <exception cref="ServerCertificateException">The TLS certificate cannot be used.</exception>
    /// <exception cref="SocketException">The port is taken.</exception>
    public static CoworkHost Start(WebApplicationBuilder builder, HostSettings settings)
    {
        var certificate = settings.Tls is { } tls ? ServerCertificate.Of(tls, TimeProvider.System) : null;
        var data = DataDirectory.Take(settings.Data);
        try
        {
            return new(builder, settings, data, StartingListener.Start(settings.Bind, settings.Port, certificate, TimeProvider.System), certificate);
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await work;
        stopping.Dispose();
    }

    void StopOn(PosixSignalContext context)
    {
        context.Cancel = true;
        stopping.Cancel();
    }

    /// <summary>Answers the process's exit code. It never throws: a start that cannot work ends with a sentence in the log.</summary>
    async Task<int> Work()
    {
        await Task.Yield();
        Composition.Log(builder.Logging, settings);
        // What is logged before the host is composed goes where the host's own lines go.
        var framework = new ServiceCollection();
        foreach (var service in builder.Services)
        {
            ((ICollection<ServiceDescriptor>)framework).Add(service);
        }
        await using var early = framework.BuildServiceProvider();
        var logs = early.GetRequiredService<ILoggerFactory>();
        var logger = logs.CreateLogger<CoworkHost>();
        var following = certificate?.Follow(logs.CreateLogger<ServerCertificate>(), stopping.Token) ?? Task.CompletedTask;
        try
        {
            LogStart(logger, Url, data.Path, settings.Database is null ? "a private PostgreSQL" : "a database of yours", settings.TokenMode ? "token" : "local");
            var connections = OpenFiles.ConnectionsOf(settings.ConnectionsMax);
            if (connections < settings.ConnectionsMax)
            {
                LogFewFiles(logger, connections, settings.ConnectionsMax);
            }
            if (settings.Models.Count > 0)
            {
                LogModels(logger, settings.Models, settings.Runs.DefaultModel);
            }
            var database = await Prepare(logs, logger, stopping.Token);
            Composition.Compose(builder, settings, data, database, new(listener.HandOver(), connections, certificate));
            app = builder.Build();
            Map(app, settings);
            using var rejected = RejectedRequests.Listen(app.Services);
            var lifecycle = app.Services.GetRequiredService<HostLifecycle>();
            lifecycle.Url = Url;
            await app.StartAsync(stopping.Token);
            await listener.DisposeAsync();
            _ = lifecycle.FirstReady.ContinueWith(_ => ready.TrySetResult(), TaskScheduler.Default);
            using var stop = stopping.Token.Register(() => app.Lifetime.StopApplication());
            await app.WaitForShutdownAsync();
            return lifecycle.ExitCode;
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            return 0;
        }
        catch (Exception e) when (e is PostgresMissingException or PrivatePostgresException or InvalidOperationException or ArgumentException or UnauthorizedAccessException)
        {
            LogCannot(logger, e.Message);
            return 1;
        }
#pragma warning disable CA1031 // Whatever it is, the host cannot work; the person who started it hears why, and the process ends with an error.
        catch (Exception e)
#pragma warning restore CA1031
        {
            LogBroken(logger, e);
            return 1;
        }
        finally
        {
            await Stop();
            await stopping.CancelAsync();
            await following;
            ready.TrySetResult();
        }
    }

    /// <summary>Starts the private PostgreSQL or waits for a given database.</summary>
    async Task<DatabaseAddress> Prepare(ILoggerFactory logs, ILogger logger, CancellationToken ct)
    {
        if (settings.Database is not { } given)
        {
            postgres = await PrivatePostgres.Start(new(data.In("postgres")) { Vectors = settings.Embeddings is not null }, logs.CreateLogger<PrivatePostgres>(), ct);
            return new(postgres.ConnectionString, postgres.OwnerConnectionString, true);
        }
        for (var told = false; ; told = true)
        {
            var found = await DatabaseProbe.Ask(given, ct);
            if (found.Unreachable is not { } reason)
            {
                return new(given, settings.DatabaseOwner, found.StartupOptions);
            }
            if (!told)
            {
                LogWaits(logger, reason);
            }
            await Task.Delay(RetryAfter, TimeProvider.System, ct);
        }
    }

    async Task Stop()
    {
        await listener.DisposeAsync();
        if (app is not null)
        {
            await app.StopAsync();
            await app.Services.GetRequiredService<StorageEngine>().DisposeAsync();
            await app.DisposeAsync();
        }
        if (postgres is not null)
        {
            await postgres.DisposeAsync();
        }
        data.Dispose();
    }

    static void Map(WebApplication app, HostSettings settings)
    {
        if (settings.TrustedProxies.Count > 0)
        {
            app.UseForwardedHeaders(TrustedProxies.Options(settings.TrustedProxies));
        }
        app.UseMiddleware<ErrorBoundary>();
        app.UseMiddleware<HeadAsGet>();
        app.UseMiddleware<OriginGuard>();
        app.UseMiddleware<ConsoleServer>();
        app.UseRouting();
        app.UseMiddleware<RequestAuthorization>();
        app.UseMiddleware<MemoryGuard>();
        app.UseMiddleware<AsOfGuard>();
        app.UseMiddleware<WebSocketGuards>();
        // Pings find a peer that is gone without a word.
        app.UseWebSockets(new() { KeepAliveInterval = settings.KeepAlive, KeepAliveTimeout = settings.Limits.Frames.SendTime });
        app.UseEngine();
        app.Services.GetRequiredService<Dialects>().Map(app);
        app.MapOpenApi("/openapi.json").AllowAnonymous();
    }

    [LoggerMessage(1, LogLevel.Information, "Cowork listens on {Url}; data directory {Data}, {Database}, {Mode} mode")]
    static partial void LogStart(ILogger logger, string url, string data, string database, string mode);

    [LoggerMessage(9, LogLevel.Warning, "At most {Connections} connections are served, not {Configured}: the process may not open more files (ulimit -n)")]
    static partial void LogFewFiles(ILogger logger, int connections, int configured);

    [LoggerMessage(2, LogLevel.Information, "Models: {Models}; the default is {Default}")]
    static partial void LogModels(ILogger logger, IReadOnlyList<ModelSettings> models, string @default);

    [LoggerMessage(3, LogLevel.Warning, "The database does not answer ({Reason}); the host tries again until it does")]
    static partial void LogWaits(ILogger logger, string reason);

    [LoggerMessage(4, LogLevel.Critical, "The host cannot work: {Reason}")]
    static partial void LogCannot(ILogger logger, string reason);

    [LoggerMessage(5, LogLevel.Critical, "The host cannot work")]
    static partial void LogBroken(ILogger logger, Exception e);
}
