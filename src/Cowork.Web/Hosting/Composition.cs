using System.Net.Sockets;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Connectors;
using Cowork.Domain;
using Cowork.Kernels;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web.Endpoints.Agents;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Endpoints.Desktop;
using Cowork.Web.Endpoints.Groups;
using Cowork.Web.Endpoints.Infra;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Endpoints.Works;
using Cowork.Web.Http;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging.Console;
using Wolverine.Http;

namespace Cowork.Web;

/// <summary>Puts the host together, over a database that was there a moment ago.</summary>
static class Composition
{
    static readonly IReadOnlyList<Dialect> Dialects =
        [
            AgentServiceDialect.Dialect, PlatformDialect.Dialect, DesktopDialect.Dialect, GroupsDialect.Dialect, InfraDialect.Dialect, AgentsDialect.Dialect, WorksDialect.Dialect,
            OperationsDialect.Dialect,
        ];

    public static void Compose(WebApplicationBuilder builder, HostSettings settings, DataDirectory data, DatabaseAddress database, ListenTerms listen)
    {
        Listen(builder.WebHost, settings.Limits, listen);
        var services = builder.Services;
        services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(8));
        services.AddSingleton(settings);
        services.AddSingleton(settings.Runs);
        services.AddSingleton(settings.Approvals);
        services.AddSingleton(settings.Memory);
        services.AddSingleton(settings.Scratchpads);
        services.AddSingleton(settings.Policy);
        services.AddSingleton(data);
        services.AddSingleton<OperatorToken>();
        services.AddSingleton<HostLifecycle>();
        services.AddHostedService(all => all.GetRequiredService<HostLifecycle>());
        services.AddTelemetry(settings.Telemetry);
        AddStorage(builder, settings, data, database);
        AddRuns(services);
        services.AddSingleton(all => new EgressFence(settings.Egress, PostgresAddress.Servers(database.Host), all.GetRequiredService<TimeProvider>()));
        services.AddSingleton<IEgress>(all => all.GetRequiredService<EgressFence>());
        services.AddSingleton(new Dialects(Dialects));
        services.AddSingleton<CommandAnswers>();
        services.AddSingleton(settings.Quotas);
        services.AddSingleton(settings.Limits);
        services.AddSingleton(all => new OpenConnections(settings.Limits, settings.TrustedProxies, listen.ConnectionsMax, all.GetRequiredService<TimeProvider>()));
        services.AddSingleton<OpenStreams>();
        services.AddSingleton<RequestRates>();
        services.AddSingleton<RequestMemory>();
        services.AddSingleton<WrongTokens>();
        services.AddSingleton<StreamTokens>();
        services.AddSingleton<OpenRequests>();
        if (settings.Oidc is { } oidc)
        {
            services.AddSingleton(oidc);
            services.AddSingleton<AuthorityKeys>();
            services.AddSingleton<AuthorityTokens>();
        }
        services.AddSingleton<TokenUses>();
        services.AddSingleton<SecurityLog>();
        services.AddSingleton<HostJournal>();
        services.AddSingleton(settings.Heads);
        services.AddSingleton<AuditTree>();
        services.AddSingleton<AuditHeadLog>();
        services.AddSingleton<LogProofs>();
        services.AddSingleton<IHeadMemory, HeadFile>();
        services.AddSingleton<HeadSigner>();
        services.AddSingleton<IReadOnlyList<IHeadTarget>>(all => HeadTargets(settings.HeadTargets, all));
        services.AddSingleton<HeadPublisher>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<HeadPublisher>());
        services.AddSingleton<Workspaces>();
        services.AddSingleton<IWorkspaces>(all => all.GetRequiredService<Workspaces>());
        services.AddSingleton(all => new ReadView(
            all.GetRequiredService<IRows>(), null, all.GetRequiredService<CommandHandler>(), all.GetRequiredService<IEventLog>()));
        services.AddSingleton<RunViews>();
        services.AddSingleton<DiskRoom>();
        services.AddSingleton(new ConsoleAssets(settings.ConsoleFiles));
        services.AddSingleton<TurnWaiter>();
        services.AddSingleton<FeedPages>();
        services.AddSingleton<EventStream>();
        services.AddSingleton<RunFeeds>();
        services.AddSingleton<TaskViews>();
        services.AddSingleton<SessionSnapshots>();
        services.AddSingleton<Responses>();
        services.AddSingleton<Shells>();
        services.AddSingleton<CellStreams>();
        services.AddSingleton<ScratchpadViews>();
        services.AddSingleton<WorkViews>();
        services.AddSingleton<ReplayViews>();
        services.AddSingleton<GroupFeed>();
        services.AddSingleton<GroupRooms>();
        services.AddSingleton<GroupCredentials>();
        services.AddSingleton<MemberRates>();
        services.AddSingleton<GroupSocketServices>();
        services.AddSingleton<GroupSockets>();
        services.AddSingleton(all => new GroupConnections(
            all.GetRequiredService<IGroupStore>(), () => all.GetRequiredService<StorageEngine>().Node, all.GetRequiredService<TimeProvider>(),
            all.GetRequiredService<ILogger<GroupConnections>>()));
        services.ConfigureHttpJsonOptions(options =>
        {
            options.SerializerOptions.NumberHandling = System.Text.Json.Serialization.JsonNumberHandling.Strict;
            options.SerializerOptions.PropertyNamingPolicy = System.Text.Json.JsonNamingPolicy.SnakeCaseLower;
            options.SerializerOptions.Converters.Add(new TimestampConverter());
            options.SerializerOptions.TypeInfoResolverChain.Insert(0, HttpJson.Default);
            foreach (var dialect in Dialects)
            {
                options.SerializerOptions.TypeInfoResolverChain.Insert(0, dialect.Shapes);
            }
        });
        services.AddOpenApi(options => options.Describe());
    }

    static void AddStorage(WebApplicationBuilder builder, HostSettings settings, DataDirectory data, DatabaseAddress database)
    {
        var services = builder.Services;
        services.AddCoworkStorage(new(database.Host, $"node_{Ids.NewKey(TimeProvider.System.GetUtcNow())}", ReadModels.Tables)
        {
            OwnerConnectionString = database.Owner,
            StartupOptions = database.StartupOptions,
            DeadNodes = data.PreviousNodes,
            VectorDimensions = settings.Embeddings?.Dimensions,
            KindsLeftToOthers = [.. settings.Schedules ? [] : (string[])[Scheduler.JobKind], .. settings.HeadTargets.Any ? [] : (string[])[HeadPublisher.JobKind]],
            ParallelOf = new Dictionary<string, int>
            {
                [Run.Aggregate.Name] = settings.Runs.Parallel,
                [FileExtraction.JobKind] = settings.Extractions,
                [ScratchpadHolder.JobKind] = settings.Scratchpads.Max,
            },
            JobRetries = settings.JobRetries,
            MasterKeys = new Lazy<MasterKeyring>(() => settings.MasterKeys(data.Path)) is var masters ? () => masters.Value : null,
        });
        services.AddWolverineHttp();
        services.AddSingleton<IReadOnlyList<IReadModel>>(ReadModels.All);
        services.AddSingleton<IReadOnlyList<IAsyncProjection>>(ReadModels.AsyncProjections);
        services.AddSingleton<Projector>();
        if (settings.S3 is { } s3)
        {
            services.AddSingleton(_ => new S3Blobs(s3));
            services.AddSingleton<IBlobs>(all => new SealedBlobs(all.GetRequiredService<S3Blobs>(), all.GetRequiredService<SubjectKeyring>()));
            services.AddSingleton<IBlobSweeper>(all => all.GetRequiredService<S3Blobs>());
            services.AddSingleton<IBlobWithdrawal>(all => all.GetRequiredService<S3Blobs>());
            services.AddSingleton<IArchives>(all => all.GetRequiredService<S3Blobs>());
        }
        else
        {
            services.AddSingleton(new FileBlobs(settings.Blobs ?? data.In("blobs")));
            services.AddSingleton<IBlobs>(all => new SealedBlobs(all.GetRequiredService<FileBlobs>(), all.GetRequiredService<SubjectKeyring>()));
            services.AddSingleton<IBlobSweeper>(all => all.GetRequiredService<FileBlobs>());
            services.AddSingleton<IBlobWithdrawal>(all => all.GetRequiredService<FileBlobs>());
            services.AddSingleton<IArchives>(all => all.GetRequiredService<FileBlobs>());
        }
        services.AddSingleton<IRows>(all => new ErasingRows(all.GetRequiredService<StorageEngine>().Rows, all.GetRequiredService<SubjectKeyring>(), ReadModels.Tables));
        services.AddSingleton<SubjectWatch>();
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<Subjects>(all, settings.Seal));
        services.AddSingleton<SubjectErasure>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<SubjectErasure>());
        services.AddSingleton<BlobSweep>();
        services.AddSingleton<IDocumentText>(all => new ConfinedDocumentText(
            ExtractionLimits.Default, data.In("documents"), all.GetRequiredService<TimeProvider>(), all.GetRequiredService<ILogger<ConfinedDocumentText>>()));
        services.AddSingleton<IKernels>(all => new SandboxedKernels(
            [settings.Data, AppContext.BaseDirectory], all.GetRequiredService<TimeProvider>(), all.GetRequiredService<ILogger<SandboxedKernels>>()));
        services.AddSingleton<NextTime>(CronTimes.Next);
        services.AddSingleton<CommandHandler>();
        services.AddSingleton<TextCommands>();
        services.AddSingleton<FeedHub>();
        services.AddSingleton<MemoryIndex>();
        services.AddSingleton<IRunQueries, RunQueries>();
        services.AddSingleton<FileQueries>();
        services.AddSingleton<IFileQueries>(all => all.GetRequiredService<FileQueries>());
        services.AddSingleton<IScratchpadQueries, ScratchpadQueries>();
        services.AddSingleton<TenantUsage>();
    }

    static List<IHeadTarget> HeadTargets(HeadTargetSettings settings, IServiceProvider all)
    {
        var targets = new List<IHeadTarget>();
        if (settings.File is { } file)
        {
            targets.Add(new HeadFileTarget(file));
        }
        var clock = all.GetRequiredService<TimeProvider>();
        if (settings.Webhook is { } webhook)
        {
            var handler = all.GetRequiredService<EgressFence>().NewHandler(HeadWebhookTarget.AnswerMax);
            targets.Add(new HeadWebhookTarget(webhook, all.GetRequiredService<SigningKeyring>(), handler, clock));
        }
        if (settings.S3 is { } s3)
        {
            targets.Add(new HeadBucketTarget(s3.NewClient(HeadWebhookTarget.AnswerMax), s3, settings.RetainDays, settings.Compliance, clock));
        }
        return targets;
    }

    static void AddRuns(IServiceCollection services)
    {
        services.AddSingleton<Turns>();
        services.AddSingleton<SkillRuns>();
        services.AddSingleton(all => new AgentCatalog(all.GetRequiredService<HostSettings>().Agents));
        services.AddSingleton<GroupRuns>();
        services.AddSingleton<GroupMessages>();
        services.AddSingleton<SessionFiles>();
        services.AddSingleton<FileTexts>();
        services.AddSingleton(all => new ContextVectors(
            all.GetRequiredService<IVectors>(), all.GetRequiredService<HostSettings>().Embeddings is { } model ? new(model, all.GetRequiredService<TimeProvider>()) : null,
            all.GetRequiredService<TimeProvider>(), all.GetRequiredService<ILogger<ContextVectors>>()));
        services.AddSingleton<ContextIndex>();
        services.AddSingleton<IMemories, MemoryBook>();
        services.AddSingleton<RunFiles>();
        services.AddSingleton<ContextFiles>();
        services.AddSingleton<ITool, ListFiles>();
        services.AddSingleton<ITool, ReadFile>();
        services.AddSingleton<ITool, SearchFiles>();
        services.AddSingleton<ITool, WriteFile>();
        services.AddSingleton<ITool, DeleteFile>();
        services.AddSingleton<ITool, MoveFile>();
        services.AddSingleton<ITool, Remember>();
        services.AddSingleton<ITool, Recall>();
        services.AddSingleton<ITool, QueryConnector>();
        AddConnectors(services);
        services.AddSingleton<ITool, UseScratchpad>();
        services.AddSingleton<Toolbox>();
        services.AddSingleton(all => new ModelCatalog(
            all.GetRequiredService<HostSettings>().Models, ActivatorUtilities.CreateInstance<OfflineModel>(all), all.GetRequiredService<TimeProvider>()));
        services.AddSingleton(all => all.GetRequiredService<ModelCatalog>().Clients);
        services.AddSingleton<Budgets>();
        services.AddSingleton<SessionUsage>();
        services.AddSingleton<CallPolicy>();
        services.AddSingleton<PolicySimulation>();
        services.AddSingleton<PolicyCheck>();
        services.AddSingleton<RecordedSettings>();
        services.AddSingleton<RunReplays>();
        services.AddSingleton<ForkPoints>();
        services.AddSingleton<Forks>();
        services.AddSingleton<RunRecords>();
        services.AddSingleton<Counterfactuals>();
        services.AddSingleton<ForkEndpoints.Making>();
        services.AddSingleton<RunRecorder>();
        services.AddSingleton<SessionHistory>();
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<MemoryStep>(all, all.GetRequiredService<StorageOptions>().Node));
        services.AddSingleton<ModelStep>();
        services.AddSingleton<ToolStep>();
        services.AddSingleton<DrivenRuns>();
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<RunDriver>(all, all.GetRequiredService<StorageOptions>().Node));
        services.AddSingleton<ApprovalDecisions>();
        services.AddSingleton<ApprovalExpiry>();
        services.AddSingleton<RunNotes>();
        services.AddSingleton<FileDeletion>();
        services.AddSingleton<ScratchpadDeletion>();
        services.AddSingleton<IdleKernels>();
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<ScratchpadHolder>(all, all.GetRequiredService<StorageOptions>().Node));
        services.AddSingleton<NotebookCopies>();
        services.AddSingleton<FileExtraction>();
        services.AddSingleton<ProjectDeletion>();
        services.AddSingleton<GroupArchive>();
        services.AddSingleton<WriteGroupArchive>(all => all.GetRequiredService<GroupArchive>().Write);
        services.AddSingleton<GroupArchiving>();
        services.AddSingleton(all => all.GetRequiredService<HostSettings>().Groups);
        services.AddSingleton<IdleGroups>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<GroupArchiving>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<IdleGroups>());
        services.AddSingleton(all => all.GetRequiredService<HostSettings>().Retention);
        services.AddSingleton<IRetentionQueries, RetentionQueries>();
        services.AddSingleton<ExpiredBlobs>();
        services.AddSingleton<RetentionSweep>();
        services.AddSingleton<RetentionStart>();
        services.AddSingleton<ExpiryRemoval>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<RetentionSweep>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ExpiryRemoval>());
        services.AddSingleton<ScheduledRuns>();
        services.AddSingleton<Scheduler>();
        services.AddSingleton<ClockWatch>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<RunDriver>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ApprovalExpiry>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<RunNotes>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ProjectDeletion>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<FileDeletion>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ScratchpadDeletion>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ScratchpadHolder>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<FileExtraction>());
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<Scheduler>());
        services.AddSingleton(all => ActivatorUtilities.CreateInstance<JobExecutor>(all, all.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping));
    }

    static void AddConnectors(IServiceCollection services)
    {
        services.AddSingleton(all => all.GetRequiredService<StorageOptions>().MasterKeys!()!);
        services.AddSingleton(new OperatorsTenant(RequestAuthorization.LocalOrg));
        services.AddSingleton<TenantSecrets>();
        services.AddSingleton<SigningKeyring>();
        services.AddSingleton<RoutingTokens>();
        services.AddSingleton<SessionCertificates>();
        services.AddSingleton<SignedCallers>();
        services.AddSingleton<AgentRuns>();
        services.AddSingleton<MasterKeyCheck>();
        services.AddSingleton<ConnectionSecrets>();
        services.AddSingleton<IConnectionSecrets>(all => all.GetRequiredService<ConnectionSecrets>());
        services.AddSingleton<IConnector, PostgresConnector>();
        services.AddSingleton<IConnector>(all => new SqliteConnector(all.GetRequiredService<HostSettings>().SqliteRoots, all.GetRequiredService<TimeProvider>()));
        services.AddSingleton<ConnectorCatalog>();
        services.AddSingleton<ConnectorCalls>();
        services.AddSingleton<ConnectionAccess>();
        services.AddSingleton<ToolConnections>();
        services.AddSingleton<OutsideTools>();
        services.AddSingleton<IConnector, HttpConnector>();
        services.AddSingleton(all => new McpCommands(all.GetRequiredService<HostSettings>().McpCommands, Path.GetTempPath()));
        services.AddSingleton<IConnector, McpConnector>();
        services.AddSingleton(all => all.GetRequiredService<HostSettings>().OAuth);
        services.AddSingleton<OAuthClient>();
        services.AddSingleton<ConnectionTokens>();
        services.AddSingleton<Authorizations>();
        services.AddSingleton<ConnectionRevocation>();
        services.AddSingleton<IJobHandler>(all => all.GetRequiredService<ConnectionRevocation>());
        foreach (var spec in OAuthSpec.All)
        {
            services.AddSingleton<IConnector>(all => ActivatorUtilities.CreateInstance<OAuthConnector>(all, spec));
        }
    }

    // Not ListenHandle: it never closes the descriptor, so that whoever connects while the host stops would wait in its backlog instead of being refused.
    static void Listen(IWebHostBuilder web, HttpLimits limits, ListenTerms terms) =>
        web.UseSockets(sockets => sockets.CreateBoundListenSocket = _ => terms.Socket).ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = terms.ConnectionsMax;
            // More than any endpoint takes, so that a body that is somewhat too large is read to its end and its sender hears the answer.
            kestrel.Limits.MaxRequestBodySize = 16L * JsonValidator.BodyBytesMax;
            kestrel.Limits.RequestHeadersTimeout = limits.RequestTimeout;
            kestrel.Listen(terms.Socket.LocalEndPoint!, endpoint =>
            {
                endpoint.ApplicationServices.GetRequiredService<OpenConnections>().Use(endpoint);
                if (terms.Certificate is { } certificate)
                {
                    endpoint.Protocols = HttpProtocols.Http1AndHttp2;
                    endpoint.Use(CloseOnOldClients);
                    endpoint.UseHttps(new TlsHandshakeCallbackOptions { OnConnection = _ => ValueTask.FromResult(certificate.Options()) });
                }
                RejectedRequests.Use(endpoint);
            });
        });

    /// <summary>
    /// To a client that offers TLS 1.1 at the most, the framework does not ask for the terms and then finds no certificate: an unhandled exception, and a line with its
    /// stack for each. The connection ends without one.
    /// </summary>
    static ConnectionDelegate CloseOnOldClients(ConnectionDelegate next) => async connection =>
    {
        try
        {
            await next(connection);
        }
        catch (NotSupportedException)
        {
            connection.Abort();
        }
    };

    public static void Log(ILoggingBuilder logging, HostSettings settings)
    {
        logging.ClearProviders();
        logging.Services.TryAddSingleton(TimeProvider.System);
        // Why a host did not start is told once, in a sentence, by whoever started it.
        logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
        // It tells of every request with its query, which may hold a stream token.
        logging.AddFilter("Microsoft.AspNetCore.Hosting.Diagnostics", LogLevel.Warning);
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

/// <summary>How the host takes connections.</summary>
/// <param name="Socket">What it accepts on, already listening. The server closes it as soon as it is to stop.</param>
/// <param name="ConnectionsMax">Connections that are served at once, whatever is spoken on them.</param>
/// <param name="Certificate">Null: it speaks plain HTTP.</param>
sealed record ListenTerms(Socket Socket, int ConnectionsMax, ServerCertificate? Certificate);
