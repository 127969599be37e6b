using System.Collections.Immutable;
using System.Globalization;
using System.Net;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Connectors;
using Cowork.Marten;

namespace Cowork.Web;

/// <summary>How the host runs. The command line overrides <c>Cowork:…</c> (appsettings.json, <c>Cowork__…</c>), which overrides the defaults.</summary>
public sealed record HostSettings
{
    const int JobRetriesMax = 20;

    /// <summary>The shortest time of a setting that zero would switch off.</summary>
    static readonly TimeSpan Instant = TimeSpan.FromMilliseconds(1);

    const int ConnectionsMaxDefault = 5_000;

    static readonly TimeSpan KeepAliveDefault = TimeSpan.FromSeconds(15);

    static readonly TimeSpan WaitMaxDefault = TimeSpan.FromHours(1);

    static readonly TimeSpan ScheduleIntervalDefault = TimeSpan.FromSeconds(10);

    /// <summary>Each takes up to 256 MiB in a process of its own. With one alone, a tenant's large file would stop those of all others.</summary>
    const int ExtractionsDefault = 2;

    static readonly TimeSpan SecurityFoldDefault = TimeSpan.FromMinutes(1);

    static readonly TimeSpan LongestTime = TimeSpan.FromDays(3_660);

    public static string Usage { get; } = $"""
        usage: dotnet Cowork.Web.dll [--port N] [--data DIR] | --report

          --port N        default 26866; 0: any free one
          --data DIR      private state: tokens, blobs, workspaces, the private PostgreSQL; default $XDG_DATA_HOME/cowork or ~/.local/share/cowork
                          (./cowork up: data/ beside the script)
          --report        starts nothing: prints the models that are configured, without their keys

        Without ConnectionStrings__Cowork, DATABASE_URL or PGHOST the host runs a PostgreSQL of its own in the data directory.
        """;

    public IPAddress Bind { get; init; } = IPAddress.Loopback;

    /// <summary>0: any free one.</summary>
    public int Port { get; init; } = 26866;

    /// <summary>Absolute path of the data directory.</summary>
    public required string Data { get; init; }

    /// <summary>Null: a private PostgreSQL in the data directory.</summary>
    public string? Database { get; init; }

    /// <summary>Reads the master keys of the host whose data directory is given.</summary>
    public Func<string, MasterKeyring> MasterKeys { get; init; } = data => MasterKeySource.Read(_ => null, data);

    /// <summary>Address of the role that owns the schema of that database and migrates it. Null: the host's role is the owner, or another program migrates.</summary>
    public string? DatabaseOwner { get; init; }

    /// <summary>The certificate that the host shows; null: it speaks plain HTTP.</summary>
    public TlsSettings? Tls { get; init; }

    /// <summary><c>Cowork:TrustedProxies</c>: networks (CIDR) of the proxies whose word about the client is taken.</summary>
    public IReadOnlyList<IPNetwork> TrustedProxies { get; init; } = [];

    /// <summary>The authority whose tokens let callers in beside API tokens; null: none.</summary>
    public OidcSettings? Oidc { get; init; }

    /// <summary>Folder of the console's files, for who works on them; null: those of the program.</summary>
    public string? ConsoleFiles { get; init; }

    /// <summary>Callers need a token. Never false when bound to anything but loopback, behind a proxy, or with an authority.</summary>
    public bool TokenMode { get; init; }

    /// <summary>Host names that are accepted beside those of loopback. Empty: local mode accepts no other, and token mode any.</summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>Origins of other sites whose pages may call this host.</summary>
    public IReadOnlyList<string> CorsOrigins { get; init; } = [];

    /// <summary>The folders that a session's workspace may lie in, beside the tenant's own.</summary>
    public IReadOnlyList<WorkspaceRoot> WorkspaceRoots { get; init; } = [];

    /// <summary>Absolute path of the blob store, when it is shared between hosts.</summary>
    public string? Blobs { get; init; }

    /// <summary><c>Cowork:Blobs:S3</c>: the bucket of the blob store; null: it is a folder.</summary>
    public S3Settings? S3 { get; init; }

    /// <summary><c>Cowork:Files:BytesMax</c>: the largest file that may be uploaded.</summary>
    public long FileBytesMax { get; init; } = Domain.Limits.FileBytesMax;

    /// <summary><c>Cowork:Privacy:Seal</c>: which sessions have a data subject (docs/privacy.md).</summary>
    public Sealing Seal { get; init; } = Sealing.Marked;

    /// <summary><c>Cowork:Files:Extractions</c>: files whose text this host extracts at once.</summary>
    public int Extractions { get; init; } = ExtractionsDefault;

    public BlobSweepOptions BlobSweep { get; init; } = new();

    public RunOptions Runs { get; init; } = new();

    /// <summary>The models beside the offline one.</summary>
    public IReadOnlyList<ModelSettings> Models { get; init; } = [];

    /// <summary><c>Cowork:Agents</c>: the agents that groups may have, beside the built-in one.</summary>
    public IReadOnlyList<AgentDefinition> Agents { get; init; } = [];

    /// <summary>The embedding model; null: the project context is searched by full text alone.</summary>
    public EmbeddingSettings? Embeddings { get; init; }

    public ApprovalOptions Approvals { get; init; } = new();

    public TokenOptions Tokens { get; init; } = new();

    /// <summary><c>Cowork:Security:FoldEvery</c>: what is equal in that while is one security event.</summary>
    public TimeSpan SecurityFold { get; init; } = SecurityFoldDefault;

    /// <summary><c>Cowork:Audit</c>: when heads of the log are signed.</summary>
    public HeadSettings Heads { get; init; } = HeadSettings.Default;

    /// <summary><c>Cowork:Audit</c>: where heads are sent.</summary>
    public HeadTargetSettings HeadTargets { get; init; } = HeadTargetSettings.None;

    public MemoryOptions Memory { get; init; } = new();

    public ScratchpadOptions Scratchpads { get; init; } = new();

    public GroupOptions Groups { get; init; } = new();

    /// <summary><c>Cowork:Retention</c>: how long data is kept.</summary>
    public RetentionOptions Retention { get; init; } = new();

    /// <summary>This host decides the slots of schedules; false: the other hosts do.</summary>
    public bool Schedules { get; init; } = true;

    /// <summary><c>Cowork:Jobs:RetryAfter</c>: pauses before a job that failed is tried again.</summary>
    public IReadOnlyList<TimeSpan> JobRetries { get; init; } = new StorageOptions("", "", []).JobRetries;

    /// <summary><c>Cowork:Connectors:SqliteRoots</c>: folders (absolute) in which SQLite files may be opened; none: no such file is.</summary>
    public IReadOnlyList<string> SqliteRoots { get; init; } = [];

    /// <summary><c>Cowork:Egress:Allow</c>: targets inside that connections may reach.</summary>
    public IReadOnlyList<EgressTarget> Egress { get; init; } = [];

    /// <summary><c>Cowork:Connectors:OAuth</c>: where this host is registered as an OAuth client.</summary>
    public OAuthRegistrations OAuth { get; init; } = new(ImmutableDictionary<string, OAuthProvider>.Empty);

    /// <summary><c>Cowork:Connectors:PublicUrl</c>: under which users' browsers reach this host; null: as it is asked.</summary>
    public string? PublicUrl { get; init; }

    /// <summary><c>Cowork:Connectors:McpCommands</c>: the programs that connections to MCP servers may start.</summary>
    public ImmutableDictionary<string, McpCommand> McpCommands { get; init; } = ImmutableDictionary<string, McpCommand>.Empty;

    /// <summary>What agents may do: the rules of the file that <c>Cowork:Policy</c> names, else the built-in ones.</summary>
    public Policy Policy { get; init; } = Policy.BuiltIn;

    /// <summary>Null: the host sends no telemetry.</summary>
    public TelemetrySettings? Telemetry { get; init; }

    /// <summary>Log lines are JSON objects.</summary>
    public bool JsonLog { get; init; }

    /// <summary><c>Cowork:Http:KeepAlive</c>: the longest silence of a response that is not complete. Then a stream sends a comment, and an answer white space.</summary>
    public TimeSpan KeepAlive { get; init; } = KeepAliveDefault;

    /// <summary><c>Cowork:Http:ConnectionsMax</c>: connections that are served at once; what comes beyond them is closed.</summary>
    public int ConnectionsMax { get; init; } = ConnectionsMaxDefault;

    /// <summary><c>Cowork:Http</c>: what clients have at once.</summary>
    public HttpLimits Limits { get; init; } = new();

    /// <summary><c>Cowork:Quotas</c>: what tenants may have and do.</summary>
    public TenantQuotas Quotas { get; init; } = TenantQuotas.Default;

    /// <summary><c>Cowork:Scheduler:IntervalMin</c>: the shortest interval of a new schedule.</summary>
    public TimeSpan ScheduleIntervalMin { get; init; } = ScheduleIntervalDefault;

    /// <summary><c>Cowork:Http:WaitMax</c>: the longest time that a request waits for a run or an event, whatever it asks for.</summary>
    public TimeSpan WaitMax { get; init; } = WaitMaxDefault;

    /// <exception cref="ArgumentException">The message is a sentence for the person at the command line: which setting, its value, and what it may be.</exception>
    public static HostSettings Read(string[] args, IConfiguration configuration)
    {
        var given = Options(args);
        var cowork = configuration.GetSection("Cowork");
        var bind = BindOf(cowork);
        var loopback = IPAddress.IsLoopback(bind);
        var mode = cowork.OneOf("Auth:Mode", "local", "token");
        if (mode == "local" && !loopback)
        {
            throw new ArgumentException($"Cowork:Auth:Mode is local, which admits everybody who can reach {bind}. Local mode needs a loopback address; use token.");
        }
        var tls = TlsSettings.Read(cowork.GetSection("Tls"));
        var proxies = Web.TrustedProxies.Read(cowork.GetSection("TrustedProxies"));
        var oidc = OidcSettings.Read(cowork.GetSection("Auth"));
        if (mode == "local" && oidc is not null)
        {
            throw new ArgumentException("Cowork:Auth:Mode is local, which lets everybody in without a token, and Cowork:Auth:Authority names who issues tokens. Use token.");
        }
        if (mode == "local" && proxies.Count > 0)
        {
            throw new ArgumentException(
                "Cowork:Auth:Mode is local, which makes everybody who reaches the host its administrator, and Cowork:TrustedProxies names a proxy that lets others in. Use token.");
        }
        if (!loopback && tls is null && proxies.Count == 0 && cowork.Text("Tls:Mode") is null)
        {
            throw new ArgumentException(
                $"Cowork:Bind is {cowork.Text("Bind")}: other machines reach this host, and tokens would cross the network in the clear. Do one of these: give it a certificate"
                + " (Cowork__Tls__Certificate and Cowork__Tls__Key, or Cowork__Tls__Pfx); name the proxy in front of it that has one (Cowork__TrustedProxies__0=10.0.0.0/8);"
                + " bind it to 127.0.0.1; or, where the network is yours alone, Cowork__Tls__Mode=none.");
        }
        var s3 = S3Settings.Read(cowork.GetSection("Blobs:S3"));
        if (s3 is not null && cowork.Text("Blobs") is { } folder)
        {
            throw new ArgumentException($"Cowork:Blobs is the folder {folder}, and Cowork:Blobs:S3 names the bucket {s3.Bucket}. Blobs lie in one of them: leave the other out.");
        }
        var targets = HeadTargetSettings.Read(cowork.GetSection("Audit"));
        var models = ModelConfiguration.Read(configuration);
        return new()
        {
            Bind = bind,
            Port = PortOf(given.GetValueOrDefault("port") ?? cowork.Text("Port")),
            Data = Path.TrimEndingDirectorySeparator(Path.GetFullPath(given.GetValueOrDefault("data") ?? cowork.Text("Data") ?? DefaultData())),
            Database = DatabaseOf(configuration),
            MasterKeys = data => MasterKeySource.Read(name => configuration[name], data),
            DatabaseOwner = configuration.Text("ConnectionStrings:CoworkOwner") is { } owner ? PostgresAddress.Parse(owner) : null,
            Tls = tls,
            TrustedProxies = proxies,
            Oidc = oidc,
            TokenMode = mode == "token" || !loopback || proxies.Count > 0 || oidc is not null,
            AllowedHosts = cowork.GetSection("AllowedHosts").Get<string[]>() ?? [],
            CorsOrigins = cowork.GetSection("Cors:Origins").Get<string[]>() ?? [],
            WorkspaceRoots = WorkspaceRoot.Read(cowork.GetSection("WorkspaceRoots").Get<string[]>() ?? []),
            Blobs = cowork.Text("Blobs") is { } blobs ? Path.GetFullPath(blobs) : null,
            S3 = s3,
            FileBytesMax = cowork.Number("Files:BytesMax", 0, long.MaxValue / 2) ?? Domain.Limits.FileBytesMax,
            Seal = SealOf(cowork.Text("Privacy:Seal")),
            Extractions = cowork.Number("Files:Extractions", 1, 100) ?? ExtractionsDefault,
            BlobSweep = BlobSweepOf(cowork.GetSection("Blobs")),
            Runs = RunsOf(cowork.GetSection("Runs"), models),
            Models = models,
            Agents = AgentConfiguration.Read(cowork.GetSection("Agents"), models),
            Embeddings = ModelConfiguration.ReadEmbeddings(configuration),
            JobRetries = JobRetriesOf(cowork.GetSection("Jobs:RetryAfter")),
            Approvals = ApprovalsOf(cowork.GetSection("Approvals")),
            SecurityFold = cowork.Time("Security:FoldEvery", TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)) ?? SecurityFoldDefault,
            Heads = new(cowork.Time("Audit:HeadEvery", TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(1)) ?? HeadSettings.Default.Every, targets.Any),
            HeadTargets = targets,
            Tokens = TokensOf(cowork.GetSection("Tokens")),
            Memory = new() { NotesByModel = cowork.OneOf("Memory:Notes", "model", "extract") != "extract" },
            Scratchpads = ScratchpadsOf(cowork.GetSection("Kernels")),
            Retention = RetentionOf(cowork.GetSection("Retention")),
            Groups = new() { IdleAfter = cowork.Time("Groups:IdleAfter", TimeSpan.Zero, TimeSpan.FromDays(3_650)) ?? new GroupOptions().IdleAfter },
            Telemetry = TelemetrySettings.Read(configuration),
            JsonLog = cowork.OneOf("Log:Format", "text", "json") == "json",
            KeepAlive = cowork.Time("Http:KeepAlive", Instant, TimeSpan.FromDays(1)) ?? KeepAliveDefault,
            ConnectionsMax = cowork.Number("Http:ConnectionsMax", 10, 1_000_000) ?? ConnectionsMaxDefault,
            Limits = HttpLimits.Read(cowork.GetSection("Http")),
            Quotas = QuotaConfiguration.Read(cowork.GetSection("Quotas")),
            ScheduleIntervalMin = cowork.Time("Scheduler:IntervalMin", TimeSpan.FromSeconds(1), LongestTime) ?? ScheduleIntervalDefault,
            WaitMax = cowork.Time("Http:WaitMax", TimeSpan.Zero, WaitMaxDefault) ?? WaitMaxDefault,
            Schedules = (cowork.Switch("Scheduler:Enabled") ?? true) && (configuration.Switch("ANTON_SERVICE_SCHEDULER_ENABLED") ?? true),
            SqliteRoots = SqliteRootsOf(cowork.GetSection("Connectors:SqliteRoots")),
            OAuth = OAuthConfiguration.Read(cowork.GetSection("Connectors:OAuth")),
            McpCommands = McpConfiguration.Read(cowork.GetSection("Connectors:McpCommands")),
            ConsoleFiles = cowork.Text("Console:Files") is { } console ? Path.GetFullPath(console) : null,
            PublicUrl = OAuthConfiguration.PublicUrl(cowork.GetSection("Connectors")),
            Egress = EgressOf(cowork.GetSection("Egress:Allow")),
            Policy = cowork.Text("Policy") is { } policy ? PolicyFile.Read(Path.GetFullPath(policy)) : Policy.BuiltIn,
        };
    }

    static Dictionary<string, string> Options(string[] args)
    {
        var given = new Dictionary<string, string>();
        for (var i = 0; i < args.Length; i++)
        {
            var parts = args[i].Split('=', 2);
            if (parts[0] is not ("--port" or "--data"))
            {
                throw new ArgumentException($"There is no option {args[i]}.\n\n{Usage}");
            }
            if (parts.Length == 1 && ++i == args.Length)
            {
                throw new ArgumentException($"{parts[0]} needs a value.\n\n{Usage}");
            }
            given[parts[0][2..]] = parts.Length == 2 ? parts[1] : args[i];
        }
        return given;
    }

    static IPAddress BindOf(IConfiguration cowork) => cowork.Text("Bind") switch
    {
        null or "localhost" => IPAddress.Loopback,
        "*" or "+" => IPAddress.IPv6Any,
        { } text when IPAddress.TryParse(text, out var address) => address,
        _ => throw cowork.InvalidValue("Bind", "an address, localhost or *"),
    };

    static int PortOf(string? text) => text switch
    {
        null => 26866,
        _ when int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= 65535 => port,
        _ => throw new ArgumentException($"\"{text}\" is not a port: 0…65535."),
    };

    static RunOptions RunsOf(IConfiguration runs, IReadOnlyList<ModelSettings> models)
    {
        var usual = new RunOptions();
        var limits = usual.Limits;
        var model = runs.Text("DefaultModel") ?? ModelCatalog.Default(models);
        if (model != OfflineModel.Name && models.All(m => m.Name != model))
        {
            throw new ArgumentException($"Cowork:Runs:DefaultModel is \"{model}\"; there are {string.Join(", ", models.Select(m => m.Name).Append(OfflineModel.Name))}.");
        }
        return new()
        {
            DefaultModel = model,
            Limits = new(
                runs.Number("Limits:Tokens", 1, long.MaxValue) ?? limits.Tokens, runs.Number("Limits:ToolCalls", 0, int.MaxValue) ?? limits.ToolCalls,
                runs.Number("Limits:Rounds", 1, int.MaxValue) ?? limits.Rounds, runs.Time("Limits:Time", Instant, LongestTime) ?? limits.Time),
            QueuedPerSessionMax = runs.Number("QueuedPerSessionMax", 0, int.MaxValue) ?? usual.QueuedPerSessionMax,
            QueuedPerTenantMax = runs.Number("QueuedPerTenantMax", 0, int.MaxValue) ?? usual.QueuedPerTenantMax,
            IdempotencyKept = runs.Time("IdempotencyKept", Instant, LongestTime) ?? usual.IdempotencyKept,
            Parallel = runs.Number("Parallel", 1, 100_000) ?? usual.Parallel,
            DeltaEvery = runs.Time("DeltaEvery", TimeSpan.Zero, TimeSpan.FromDays(1)) ?? usual.DeltaEvery,
        };
    }

    static ScratchpadOptions ScratchpadsOf(IConfiguration kernels)
    {
        var usual = new ScratchpadOptions();
        var limits = usual.Limits;
        return new()
        {
            Max = kernels.Number("Max", 1, 1_000) ?? usual.Max,
            IdleTime = kernels.Time("IdleTime", TimeSpan.FromSeconds(1), LongestTime) ?? usual.IdleTime,
            OutputEvery = kernels.Time("OutputEvery", TimeSpan.Zero, TimeSpan.FromMinutes(1)) ?? usual.OutputEvery,
            Limits = new(
                kernels.Time("Limits:Time", TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)) ?? limits.Time,
                kernels.Number("Limits:OutputBytes", 1_024, Domain.Limits.CellOutputBytesMax) ?? limits.OutputBytes,
                kernels.Number("Limits:MemoryBytes", 256L << 20, 1L << 40) ?? limits.MemoryBytes,
                kernels.Number("Limits:Processes", 24, 4_096) ?? limits.Processes,
                kernels.Number("Limits:DiskBytes", 1L << 20, 1L << 40) ?? limits.DiskBytes),
        };
    }

    static IReadOnlyList<TimeSpan> JobRetriesOf(IConfigurationSection pauses)
    {
        TimeSpan[] given = [.. pauses.GetChildren().Select(pause => pauses.Time(pause.Key, Instant, LongestTime)).OfType<TimeSpan>()];
        return given.Length switch
        {
            0 => new StorageOptions("", "", []).JobRetries,
            <= JobRetriesMax => given,
            _ => throw new ArgumentException($"{pauses.Path} lists {given.Length} pauses; it may list 1…{JobRetriesMax}."),
        };
    }

    static IReadOnlyList<string> SqliteRootsOf(IConfiguration roots) => [.. roots.GetChildren().Where(entry => entry.Value is not null).Select(entry =>
        Path.IsPathFullyQualified(entry.Value!.Trim()) ? Path.GetFullPath(entry.Value.Trim()) : throw roots.InvalidValue(entry.Key, "the absolute path of a folder"))];

    static IReadOnlyList<EgressTarget> EgressOf(IConfigurationSection allow) => [.. allow.GetChildren().Where(entry => entry.Value is not null).Select(entry =>
        EgressTarget.Parse(entry.Value!.Trim()) ?? throw allow.InvalidValue(entry.Key, "host:port, or a network such as 10.1.0.0/16 with nothing beyond its length"))];

    static ApprovalOptions ApprovalsOf(IConfiguration approvals)
    {
        var usual = new ApprovalOptions();
        return new()
        {
            ExpireAfter = approvals.Time("ExpireAfter", Instant, LongestTime) ?? usual.ExpireAfter,
            FourEyes = approvals.Switch("FourEyes") ?? usual.FourEyes,
        };
    }

    static RetentionOptions RetentionOf(IConfiguration retention) => new()
    {
        SessionsDays = DaysOf(retention, "Sessions"),
        SecurityDays = DaysOf(retention, "Security"),
        Every = retention.Time("Every", TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)) ?? new RetentionOptions().Every,
    };

    /// <summary>A period of retention in days: <c>90.00:00:00</c>.</summary>
    static int DaysOf(IConfiguration retention, string name)
    {
        var period = retention.Time(name, TimeSpan.Zero, TimeSpan.FromDays(RetentionOptions.DaysMax)) ?? TimeSpan.Zero;
        return period.Ticks % TimeSpan.TicksPerDay == 0
            ? (int)period.TotalDays
            : throw retention.InvalidValue(name, "a number of whole days, written as 90.00:00:00");
    }

    static BlobSweepOptions BlobSweepOf(IConfiguration blobs)
    {
        var usual = new BlobSweepOptions();
        return new()
        {
            Every = blobs.Time("SweepEvery", TimeSpan.Zero, TimeSpan.FromDays(30)) ?? usual.Every,
            After = blobs.Time("SweepAfter", TimeSpan.FromMinutes(10), LongestTime) ?? usual.After,
        };
    }

    static TokenOptions TokensOf(IConfiguration tokens)
    {
        var usual = new TokenOptions();
        return new()
        {
            ExpireAfter = tokens.Time("ExpireAfter", TimeSpan.FromMinutes(1), LongestTime) ?? usual.ExpireAfter,
            Overlap = tokens.Time("Overlap", TimeSpan.Zero, TimeSpan.FromDays(30)) ?? usual.Overlap,
            NewOperator = tokens.Switch("NewOperator") ?? usual.NewOperator,
        };
    }

    static string? DatabaseOf(IConfiguration configuration)
    {
        if ((configuration.Text("ConnectionStrings:Cowork") ?? configuration.Text("DATABASE_URL")) is { } given)
        {
            return PostgresAddress.Parse(given);
        }
        return PostgresAddress.FromVariables(name => configuration[name]);
    }

    static string DefaultData()
    {
        var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        var shared = Environment.GetEnvironmentVariable("XDG_DATA_HOME") is { } xdg && Path.IsPathFullyQualified(xdg) ? xdg : Path.Combine(home, ".local", "share");
        return Path.Combine(shared, "cowork");
    }

    static Sealing SealOf(string? text) => text switch
    {
        null or "marked" => Sealing.Marked,
        "off" => Sealing.Off,
        "user" => Sealing.User,
        _ => throw new ArgumentException($"Cowork:Privacy:Seal is {text}: it must be off, marked or user."),
    };
}
