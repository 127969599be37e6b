using System.Globalization;
using System.Net;

using Cowork.Application;
using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Marten;

namespace Cowork.Web;

/// <summary>How a host is to run: command line before <c>Cowork:…</c> (appsettings.json, <c>Cowork__…</c>) before what is usual.</summary>
public sealed record HostSettings
{
    public static string Usage { get; } = $"""
        usage: [--port N] [--data DIR] [--engine NAME] | --report

          --port N        default 26866; 0: any free one
          --data DIR      private state: tokens, blobs, workspaces, the private PostgreSQL; default $XDG_DATA_HOME/cowork or ~/.local/share/cowork
          --engine NAME   {string.Join(" or ", Engines.Names)}; default {Engines.Default}
          --report        starts nothing: prints the engine and the models that are configured, without their keys

        Without ConnectionStrings__Cowork, DATABASE_URL or PGHOST the host runs a PostgreSQL of its own in the data directory.
        """;

    public string Engine { get; init; } = Engines.Default;

    public IPAddress Bind { get; init; } = IPAddress.Loopback;

    /// <summary>0: any free one.</summary>
    public int Port { get; init; } = 26866;

    /// <summary>Absolute path of the data directory.</summary>
    public required string Data { get; init; }

    /// <summary>Null: a private PostgreSQL in the data directory.</summary>
    public string? Database { get; init; }

    /// <summary>Callers need a token. Never false when bound to anything but loopback.</summary>
    public bool TokenMode { get; init; }

    /// <summary>Names by which local mode may be called, beside those of loopback.</summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>Other sites whose pages may call.</summary>
    public IReadOnlyList<string> CorsOrigins { get; init; } = [];

    /// <summary>Absolute paths of the folders that a session's workspace may lie in.</summary>
    public IReadOnlyList<string> WorkspaceRoots { get; init; } = [];

    /// <summary>Absolute path of the blob store, when it is shared between hosts.</summary>
    public string? Blobs { get; init; }

    public RunOptions Runs { get; init; } = new();

    /// <summary>The models beside the offline one.</summary>
    public IReadOnlyList<ModelSettings> Models { get; init; } = [];

    public ApprovalOptions Approvals { get; init; } = new();

    public MemoryOptions Memory { get; init; } = new();

    /// <summary>This host decides slots of schedules; otherwise it leaves them to the others.</summary>
    public bool Schedules { get; init; } = true;

    /// <summary><c>Cowork:Jobs:RetryAfter</c>: pauses before a job that failed is tried again.</summary>
    public IReadOnlyList<TimeSpan> JobRetries { get; init; } = new EngineOptions("", "", []).JobRetries;

    /// <summary>What agents may do: of the file that <c>Cowork:Policy</c> names, or built in.</summary>
    public Policy Policy { get; init; } = Policy.BuiltIn;

    /// <summary>Null: nothing is sent to a collector.</summary>
    public TelemetrySettings? Telemetry { get; init; }

    /// <summary>Log lines are JSON objects.</summary>
    public bool JsonLog { get; init; }

    /// <summary>How often an idle event stream says that it is alive.</summary>
    public TimeSpan HeartbeatEvery { get; init; } = TimeSpan.FromSeconds(15);

    /// <exception cref="ArgumentException">The message says what is wrong, in words for the person at the command line.</exception>
    public static HostSettings Read(string[] args, IConfiguration configuration)
    {
        var given = Options(args);
        var cowork = configuration.GetSection("Cowork");
        var bind = BindOf(cowork["Bind"]);
        var loopback = IPAddress.IsLoopback(bind);
        var mode = cowork["Auth:Mode"];
        if (mode is not (null or "" or "local" or "token"))
        {
            throw new ArgumentException($"Cowork:Auth:Mode is \"{mode}\"; it may be local or token.");
        }
        if (mode == "local" && !loopback)
        {
            throw new ArgumentException($"Cowork:Auth:Mode=local lets everybody in who can reach {bind}; it is only for loopback.");
        }
        var roots = cowork.GetSection("WorkspaceRoots").Get<string[]>() ?? [];
        if (roots.FirstOrDefault(root => !Path.IsPathFullyQualified(root)) is { } relative)
        {
            throw new ArgumentException($"Cowork:WorkspaceRoots holds \"{relative}\", which is no absolute path.");
        }
        var models = ModelConfiguration.Read(configuration);
        return new()
        {
            Engine = EngineOf(given.GetValueOrDefault("engine") ?? cowork["Engine"]),
            Bind = bind,
            Port = PortOf(given.GetValueOrDefault("port") ?? cowork["Port"]),
            Data = Path.TrimEndingDirectorySeparator(Path.GetFullPath(given.GetValueOrDefault("data") ?? NonEmpty(cowork["Data"]) ?? DefaultData())),
            Database = DatabaseOf(configuration),
            TokenMode = mode == "token" || !loopback,
            AllowedHosts = cowork.GetSection("AllowedHosts").Get<string[]>() ?? [],
            CorsOrigins = cowork.GetSection("Cors:Origins").Get<string[]>() ?? [],
            WorkspaceRoots = roots,
            Blobs = NonEmpty(cowork["Blobs"]) is { } blobs ? Path.GetFullPath(blobs) : null,
            Runs = RunsOf(cowork.GetSection("Runs"), models),
            Models = models,
            JobRetries = JobRetriesOf(cowork.GetSection("Jobs")),
            Approvals = ApprovalsOf(cowork.GetSection("Approvals")),
            Memory = new() { NotesByModel = NotesByModel(cowork["Memory:Notes"]) },
            Telemetry = TelemetrySettings.Read(configuration),
            JsonLog = NonEmpty(cowork["Log:Format"]) switch
            {
                null or "text" => false,
                "json" => true,
                { } other => throw new ArgumentException($"Cowork:Log:Format is \"{other}\"; it may be text or json."),
            },
            Schedules = Switch(configuration, "Cowork:Scheduler:Enabled") && Switch(configuration, "ANTON_SERVICE_SCHEDULER_ENABLED"),
            Policy = NonEmpty(cowork["Policy"]) is { } policy ? PolicyFile.Read(Path.GetFullPath(policy)) : Policy.BuiltIn,
        };
    }

    static Dictionary<string, string> Options(string[] args)
    {
        var given = new Dictionary<string, string>();
        for (var i = 0; i < args.Length; i++)
        {
            var parts = args[i].Split('=', 2);
            if (parts[0] is not ("--port" or "--data" or "--engine"))
            {
                throw new ArgumentException($"There is no option {args[i]}.\n\n{Usage}");
            }
            if (parts.Length == 1 && ++i == args.Length)
            {
                throw new ArgumentException($"{parts[0]} wants a value.\n\n{Usage}");
            }
            given[parts[0][2..]] = parts.Length == 2 ? parts[1] : args[i];
        }
        return given;
    }

    static string EngineOf(string? name) => Engines.Known(NonEmpty(name) ?? Engines.Default);

    static IPAddress BindOf(string? text) => NonEmpty(text) switch
    {
        null or "localhost" => IPAddress.Loopback,
        "*" or "+" => IPAddress.IPv6Any,
        { } some when IPAddress.TryParse(some, out var address) => address,
        _ => throw new ArgumentException($"Cowork:Bind is \"{text}\"; it may be an address, localhost or *."),
    };

    static int PortOf(string? text) => NonEmpty(text) switch
    {
        null => 26866,
        { } some when int.TryParse(some, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port <= 65535 => port,
        _ => throw new ArgumentException($"\"{text}\" is no port: 0…65535."),
    };

    static RunOptions RunsOf(IConfigurationSection runs, IReadOnlyList<ModelSettings> models)
    {
        var usual = new RunOptions();
        var model = NonEmpty(runs["DefaultModel"]) ?? ModelCatalog.Default(models);
        if (model != OfflineModel.Name && models.All(m => m.Name != model))
        {
            throw new ArgumentException($"Cowork:Runs:DefaultModel is \"{model}\"; there are {string.Join(", ", models.Select(m => m.Name).Append(OfflineModel.Name))}.");
        }
        var limits = usual.Limits;
        return new()
        {
            DefaultModel = model,
            Limits = new(
                runs.GetValue("Limits:Tokens", limits.Tokens), runs.GetValue("Limits:ToolCalls", limits.ToolCalls), runs.GetValue("Limits:Rounds", limits.Rounds),
                runs.GetValue("Limits:Time", limits.Time)),
            QueuedPerSessionMax = runs.GetValue("QueuedPerSessionMax", usual.QueuedPerSessionMax),
            QueuedPerTenantMax = runs.GetValue("QueuedPerTenantMax", usual.QueuedPerTenantMax),
            IdempotencyKept = runs.GetValue("IdempotencyKept", usual.IdempotencyKept),
            Parallel = runs.GetValue("Parallel", usual.Parallel),
            DeltaEvery = runs.GetValue("DeltaEvery", usual.DeltaEvery),
        };
    }

    static TimeSpan[] JobRetriesOf(IConfigurationSection jobs)
    {
        var given = jobs.GetSection("RetryAfter").Get<TimeSpan[]>() ?? [.. new EngineOptions("", "", []).JobRetries];
        return given.Length is > 0 and <= 20 && given.All(pause => pause > TimeSpan.Zero)
            ? given
            : throw new ArgumentException("Cowork:Jobs:RetryAfter is a list of 1 to 20 pauses, each longer than nothing.");
    }

    static ApprovalOptions ApprovalsOf(IConfigurationSection approvals)
    {
        var usual = new ApprovalOptions();
        var expire = approvals.GetValue("ExpireAfter", usual.ExpireAfter);
        return expire > TimeSpan.Zero
            ? new() { ExpireAfter = expire, FourEyes = approvals.GetValue("FourEyes", usual.FourEyes) }
            : throw new ArgumentException($"Cowork:Approvals:ExpireAfter is {expire}; it must be longer than nothing.");
    }

    static bool NotesByModel(string? notes) => NonEmpty(notes) switch
    {
        null or "model" => true,
        "extract" => false,
        _ => throw new ArgumentException($"Cowork:Memory:Notes is \"{notes}\"; it may be model or extract."),
    };

    /// <summary>On, unless it says otherwise.</summary>
    static bool Switch(IConfiguration configuration, string name) => NonEmpty(configuration[name])?.ToLowerInvariant() switch
    {
        null or "true" or "1" => true,
        "false" or "0" => false,
        var other => throw new ArgumentException($"{name} is \"{other}\"; it may be true or false."),
    };

    static string? DatabaseOf(IConfiguration configuration)
    {
        if ((NonEmpty(configuration.GetConnectionString("Cowork")) ?? NonEmpty(configuration["DATABASE_URL"])) is { } given)
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

    static string? NonEmpty(string? text) => string.IsNullOrWhiteSpace(text) ? null : text.Trim();
}
