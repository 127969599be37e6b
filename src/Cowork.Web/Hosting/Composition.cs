using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Http;

using Microsoft.Extensions.Logging.Console;

namespace Cowork.Web;

/// <summary>Puts the host together. What needs the engine is made when it is first asked for, which the gate allows only after the engine has started.</summary>
static class Composition
{
    static readonly IReadOnlyList<Dialect> Dialects = [AgentServiceDialect.Dialect, PlatformDialect.Dialect, OperationsDialect.Dialect];

    public static void Compose(WebApplicationBuilder builder, HostSettings settings, DataDirectory data)
    {
        Log(builder.Logging, settings);
        Listen(builder.WebHost, settings);
        var services = builder.Services;
        services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(8));
        services.AddSingleton(settings);
        services.AddSingleton(settings.Runs);
        services.AddSingleton(settings.Approvals);
        services.AddSingleton(settings.Memory);
        services.AddSingleton(settings.Policy);
        services.AddSingleton(data);
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton<HostLifecycle>();
        services.AddHostedService(all => all.GetRequiredService<HostLifecycle>());
        services.AddTelemetry(settings.Telemetry);
        AddStorage(services, settings, data);
        AddRuns(services);
        services.AddSingleton(new Dialects(Dialects));
        services.AddSingleton<Workspaces>();
        services.AddSingleton<RunViews>();
        services.AddSingleton<WaitingTurns>();
        services.AddSingleton<FeedPages>();
        services.AddSingleton<EventStream>();
        services.ConfigureHttpJsonOptions(options =>
        {
            options.SerializerOptions.NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.Strict;
            options.SerializerOptions.PropertyNamingPolicy = System.Text.Json.JsonNamingPolicy.SnakeCaseLower;
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, HttpJson.Default);
            foreach (var dialect in Dialects)
            {
                options.SerializerOptions.TypeInfoResolverChain.Insert(0, dialect.Shapes);
            }
        });
        services.AddOpenApi(options => options.Describe());
    }

    static void AddStorage(IServiceCollection services, HostSettings settings, DataDirectory data)
    {
        services.AddSingleton(all => all.GetRequiredService<HostLifecycle>().Engine.Log);
        services.AddSingleton(all => all.GetRequiredService<HostLifecycle>().Engine.Rows);
        services.AddSingleton(all => all.GetRequiredService<HostLifecycle>().Engine.Snapshots);
        services.AddSingleton(all => all.GetRequiredService<HostLifecycle>().Engine.AsyncProjections);
        services.AddSingleton<IReadOnlyList<IReadModel>>(ReadModels.All);
        services.AddSingleton<IReadOnlyList<IAsyncProjection>>(ReadModels.AsyncProjections);
        services.AddSingleton<Projector>();
        services.AddSingleton<IBlobs>(new FileBlobs(settings.Blobs ?? data.In("blobs")));
        services.AddSingleton<NextTime>(CronTimes.Next);
        services.AddSingleton<CommandHandler>();
        services.AddSingleton(all => all.GetRequiredService<HostLifecycle>().Engine.Over(all.GetRequiredService<CommandHandler>()));
        services.AddSingleton<FeedHub>();
        services.AddSingleton<IRunQueries, RunQueries>();
    }

    static void AddRuns(IServiceCollection services)
    {
        services.AddSingleton<Turns>();
        services.AddSingleton<SkillRuns>();
        services.AddSingleton<SessionFiles>(all => new(all.GetRequiredService<Policy>()));
        services.AddSingleton<IMemories, MemoryBook>();
        services.AddSingleton<ITool, ListFiles>();
        services.AddSingleton<ITool, ReadFile>();
        services.AddSingleton<ITool, SearchFiles>();
        services.AddSingleton<ITool, WriteFile>();
        services.AddSingleton<ITool, DeleteFile>();
        services.AddSingleton<ITool, MoveFile>();
        services.AddSingleton<ITool, Remember>();
        services.AddSingleton<ITool, Recall>();
        services.AddSingleton<Toolbox>();
        services.AddSingleton(all => new ModelCatalog(
            all.GetRequiredService<HostSettings>().Models, ActivatorUtilities.CreateInstance<OfflineModel>(all), all.GetRequiredService<TimeProvider>()));
        services.AddSingleton(all => all.GetRequiredService<ModelCatalog>().Clients);
        services.AddSingleton<CallPolicy>();
        services.AddSingleton<RunRecorder>();
        services.AddSingleton<MemoryStep>();
        services.AddSingleton<ModelStep>();
        services.AddSingleton<ToolStep>();
        services.AddSingleton<DrivenRuns>();
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<RunDriver>(all, all.GetRequiredService<HostLifecycle>().Engine.Node));
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<RunDriver>());
        services.AddSingleton<ApprovalDecisions>();
        services.AddSingleton<IJobHandler, ApprovalExpiry>();
        services.AddSingleton<IJobHandler, RunNotes>();
        services.AddSingleton<ScheduledRuns>();
        services.AddSingleton<IJobHandler>(all => ActivatorUtilities.CreateInstance<Scheduler>(all, all.GetRequiredService<HostLifecycle>().Engine.Jobs));
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<ClockWatch>(all, all.GetRequiredService<HostLifecycle>().Engine.Jobs));
        services.AddSingleton<IReadOnlyList<IJobHandler>>(all => [.. all.GetServices<IJobHandler>()]);
        // The queue is the engine's to dispose of, so that it is no service of its own here.
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<JobRunner>(
            all, all.GetRequiredService<HostLifecycle>().Engine.Jobs, all.GetRequiredService<RunOptions>().Parallel));
    }

    static void Listen(IWebHostBuilder web, HostSettings settings) => web.ConfigureKestrel(kestrel =>
    {
        kestrel.AddServerHeader = false;
        // More than any endpoint takes, so that a body that is somewhat too large is read to its end and its sender hears the answer.
        kestrel.Limits.MaxRequestBodySize = 16L * JsonScan.BodyBytesMax;
        kestrel.Listen(settings.Bind, settings.Port);
    });

    static void Log(ILoggingBuilder logging, HostSettings settings)
    {
        logging.ClearProviders();
        // Why a host did not start is told once, in a sentence, by whoever started it.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
        // At every start and stop they tell at length what goes well.
        foreach (var library in (string[])["JasperFx", "Marten", "Wolverine"])
        {
            logging.AddFilter(library, LogLevel.Warning);
        }
        logging.AddConsole(console => console.FormatterName = settings.JsonLog ? "cowork-json" : "cowork-text");
        logging.AddConsoleFormatter<TextLogFormatter, ConsoleFormatterOptions>();
        logging.AddConsoleFormatter<JsonLogFormatter, ConsoleFormatterOptions>();
    }
}
