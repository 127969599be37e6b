using System.Reflection;

using Cowork.Application;
using Cowork.Application.Storage;

using JasperFx;
using JasperFx.CodeGeneration;

using Marten;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

using Wolverine;
using Wolverine.ErrorHandling;
using Wolverine.Http;
using Wolverine.Marten;
using Wolverine.Runtime;
using Wolverine.Runtime.Handlers;

namespace Cowork.Marten;

/// <summary>
/// Marten and Wolverine in a host of their own inside the engine: what surrounds them listens before there is a database, and learns of its address only
/// then. It has no lifetime and no server; the engine starts and stops it, and the outer host passes requests on.
/// </summary>
sealed class Bus : IAsyncDisposable
{
    /// <summary>The assembly that the build fills with the code of the handlers.</summary>
    public const string Generated = "Cowork.Marten.Generated";

    const string JobQueue = "jobs";

    static readonly TimeSpan[] BusyRetries = [TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(100), TimeSpan.FromMilliseconds(250)];

    readonly IHost host;
    readonly Dictionary<(string Method, string Pattern), RequestDelegate> endpoints;
    bool started;

    Bus(IHost host, Routes routes)
    {
        this.host = host;
        Runtime = host.Services.GetRequiredService<IWolverineRuntime>();
        endpoints = routes.DataSources.SelectMany(s => s.Endpoints).OfType<RouteEndpoint>()
            .SelectMany(e => e.Metadata.GetMetadata<IHttpMethodMetadata>()!.HttpMethods.Select(m => (m, e)))
            .ToDictionary(p => (p.m, p.e.RoutePattern.RawText!), p => p.e.RequestDelegate!);
    }

    public IWolverineRuntime Runtime { get; }

    public IServiceProvider Services => host.Services;

    /// <summary>Every kind of command that there is: a new one needs no line here.</summary>
    public static IEnumerable<Type> CommandTypes =>
        typeof(ICommand).Assembly.GetTypes().Where(t => t is { IsAbstract: false, IsInterface: false } && t.IsAssignableTo(typeof(ICommand)));

    /// <summary>Builds the host and starts nothing: for generating code, and before a start.</summary>
    /// <param name="generateInto">The directory that the handlers' code is about to be written to; null: it is there, in an assembly of its own.</param>
    public static Bus Build(EngineOptions options, IDocumentStore store, BusParts parts, string? generateInto = null)
    {
        var builder = Host.CreateEmptyApplicationBuilder(new() { ContentRootPath = AppContext.BaseDirectory, ApplicationName = "cowork" });
        var services = builder.Services;
        services.RemoveAll<ILoggerFactory>();
        services.AddSingleton(options.Logs);
        services.AddSingleton<IHostLifetime, NoLifetime>();
        services.AddSingleton(options.Clock);
        services.AddSingleton(_ => parts.Commands());
        services.AddSingleton(parts.Jobs);
        services.AddSingleton(parts.DeadLetters);
        services.AddRouting();
        services.ConfigureHttpJsonOptions(json => json.SerializerOptions.PropertyNamingPolicy = System.Text.Json.JsonNamingPolicy.SnakeCaseLower);
        services.AddMarten(new StoreOptions()).UseLightweightSessions().IntegrateWithWolverine(integration =>
        {
            integration.MessageStorageSchemaName = options.Schema;
            integration.TransportSchemaName = options.Schema;
            integration.AutoCreate = AutoCreate.CreateOrUpdate;
        });
        // The engine's own, which is there before the host is and outlives it.
        services.AddSingleton(store);
        services.AddWolverine(ExtensionDiscovery.ManualOnly, wolverine => Configure(wolverine, options, generateInto));
        services.AddWolverineHttp();
        var host = builder.Build();
        var routes = new Routes(host.Services);
        routes.MapWolverineEndpoints();
        return new(host, routes);
    }

    public async Task Start(CancellationToken ct)
    {
        started = true;
        await host.StartAsync(ct);
        if (Missing(CommandTypes) is [_, ..] missing)
        {
            throw new InvalidOperationException($"The build has generated no code for {string.Join(", ", missing)}. Build Cowork.Marten.Generated anew.");
        }
    }

    /// <summary>Of kinds of commands: the messages that no generated code handles.</summary>
    public IReadOnlyList<string> Missing(IEnumerable<Type> commands)
    {
        var written = Runtime.Options.CodeGeneration.ApplicationAssembly.GetExportedTypes().Select(t => t.Name).ToHashSet();
        var handled = host.Services.GetRequiredService<HandlerGraph>().Chains.Where(chain => written.Contains(chain.TypeName)).Select(chain => chain.MessageType).ToHashSet();
        return [.. commands.Select(c => typeof(Execute<>).MakeGenericType(c)).Append(typeof(JobDue)).Where(m => !handled.Contains(m)).Select(m => m.ToString())];
    }

    /// <summary>Answers a request that the outer host has found its route and its caller for.</summary>
    public async Task Serve(HttpContext http, string method, string pattern)
    {
        var outer = http.RequestServices;
        await using var scope = host.Services.CreateAsyncScope();
        http.RequestServices = scope.ServiceProvider;
        try
        {
            await endpoints[(method, pattern)](http);
        }
        finally
        {
            http.RequestServices = outer;
        }
    }

    /// <summary>The routes that are served here.</summary>
    public IEnumerable<(string Method, string Pattern)> Endpoints => endpoints.Keys;

    public async ValueTask DisposeAsync()
    {
        if (started)
        {
            await host.StopAsync(CancellationToken.None);
        }
        await ((IAsyncDisposable)host).DisposeAsync();
    }

    static void Configure(WolverineOptions wolverine, EngineOptions options, string? generateInto)
    {
        wolverine.ServiceName = "cowork";
        wolverine.ApplicationAssembly = generateInto is null ? Assembly.Load(Generated) : typeof(Bus).Assembly;
        wolverine.CodeGeneration.TypeLoadMode = TypeLoadMode.Static;
        if (generateInto is not null)
        {
            wolverine.CodeGeneration.GeneratedCodeOutputPath = generateInto;
        }
        wolverine.Discovery.DisableConventionalDiscovery();
        wolverine.Discovery.IncludeType(typeof(JobDueHandler));
        foreach (var command in CommandTypes)
        {
            wolverine.Discovery.IncludeType(typeof(ExecuteHandler<>).MakeGenericType(command));
        }
        // A run takes as long as it takes; its limits are the driver's affair.
        wolverine.DefaultExecutionTimeout = TimeSpan.FromDays(7);
        // Whoever waits for a job takes no thread. More messages than jobs at once, so that those which find nothing to do pass by.
        wolverine.PublishMessage<JobDue>().ToLocalQueue(JobQueue).UseDurableInbox().MaximumParallelMessages(options.Parallel + 64);
        wolverine.OnException<StreamBusyException>().RetryWithCooldown(BusyRetries).WithFullJitter();
        wolverine.OnAnyException().ScheduleRetry([.. options.JobRetries]).Then.MoveToErrorQueue();

        var durability = wolverine.Durability;
        durability.Mode = DurabilityMode.Balanced;
        // A node that is not heard of for a lease is gone, for Wolverine as for the jobs.
        durability.HealthCheckPollingTime = options.Heartbeat;
        durability.FirstHealthCheckExecution = TimeSpan.FromMilliseconds(100);
        durability.StaleNodeTimeout = options.Lease - options.Heartbeat;
        durability.StaleNodeEjectionThreshold = 1;
        durability.CheckAssignmentPeriod = options.Heartbeat;
        durability.NodeReassignmentPollingTime = options.Heartbeat;
        durability.OrphanedMessageSweepPollingTime = options.Heartbeat;
        // A timer fires within this time of its due time.
        durability.ScheduledJobFirstExecution = TimeSpan.Zero;
        durability.ScheduledJobPollingTime = TimeSpan.FromMilliseconds(200);
        // Messages come from here alone, and a job's row says whether it was done: nothing is won by remembering them.
        durability.KeepAfterMessageHandling = TimeSpan.FromSeconds(10);
        durability.HandledMessageCleanupPollingTime = TimeSpan.FromSeconds(10);
        durability.DurabilityMetricsEnabled = false;
        durability.NodeAssignmentHealthCheckTracingEnabled = false;
        durability.DrainTimeout = TimeSpan.FromSeconds(5);
    }

    /// <summary>It neither listens to signals nor says that it has started.</summary>
    sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }

    sealed class Routes(IServiceProvider services) : IEndpointRouteBuilder
    {
        public IServiceProvider ServiceProvider => services;

        public ICollection<EndpointDataSource> DataSources { get; } = [];

        public IApplicationBuilder CreateApplicationBuilder() => new ApplicationBuilder(services);
    }
}

/// <summary>What the handlers work with.</summary>
/// <param name="Commands">Asked for when the first command comes.</param>
sealed record BusParts(Func<CommandHandler> Commands, JobMessages Jobs, DeadLetters DeadLetters);
