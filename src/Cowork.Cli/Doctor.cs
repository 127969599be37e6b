using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Kernels;
using Cowork.Marten;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Cli;

/// <summary><c>cowork doctor</c> lists what is installed, what is missing, and the command that installs it.</summary>
static class Doctor
{
    /// <param name="Fix">What to type or read to get what is missing; null: nothing is missing.</param>
    /// <param name="Required">The host does not start without it.</param>
    sealed record Finding(string Component, string Found, string? Fix = null, bool Required = false);

    public static async Task<int> Run(string[] options)
    {
        var reader = options.Contains("--reader");
        if (CommandOptions.Read("doctor", reader ? "--reader" : "--connection-string", options) is not { } given)
        {
            return Usage.Error;
        }
        var postgres = Path.Combine(given.Data, "postgres");
        return given.HasFlag ? await PrintConnectionString(postgres, reader) : await Report(postgres);
    }

    /// <param name="reader">Of the role that may only read, instead of the hosts' own.</param>
    static async Task<int> PrintConnectionString(string postgres, bool reader)
    {
        if (reader && DatabaseVariable() is { } variable)
        {
            Console.Error.WriteLine($"cowork: {variable} names a database of yours; docs/marten.md shows how to make a reader there. This one is of the private database.");
        }
        try
        {
            var found = reader ? PrivatePostgres.FindRunningForReader(postgres, CancellationToken.None) : PrivatePostgres.FindRunning(postgres, CancellationToken.None);
            if (await found is { } running)
            {
                Console.WriteLine(running);
                return 0;
            }
            Console.Error.WriteLine($"cowork: no private database runs in {postgres}. Start it: ./cowork up --data {Path.GetDirectoryName(postgres)}");
        }
        catch (UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"cowork: {postgres} belongs to another user. Run this command as the user who started the host.");
        }
        return 1;
    }

    static async Task<int> Report(string postgres)
    {
        List<Finding> findings =
        [
            new(".NET", RuntimeInformation.FrameworkDescription),
            FindServer(),
            await FindDatabase(postgres),
            await FindMasterKey(Path.GetDirectoryName(postgres)!),
            FindTimeZones(),
            await FindKernels(),
            FindTool("notebooks", "/usr/bin/python3", ["-I", "-c", Notebooks], "apt-get install --no-install-recommends python3-nbformat python3-pandas python3-matplotlib"),
            FindTool("Node.js", "node", ["--version"], "apt-get install --no-install-recommends nodejs npm"),
            FindTool("npm", "npm", ["--version"], "apt-get install --no-install-recommends nodejs npm"),
            FindTool("Chromium", "/usr/bin/chromium", ["--version"], "apt-get install --no-install-recommends chromium"),
            .. AskHost(),
        ];
        foreach (var finding in findings)
        {
            var mark = finding.Fix is null ? "ok" : finding.Required ? "MISSING" : "missing";
            Console.WriteLine($"{mark,-8} {finding.Component,-12} {finding.Found}");
            if (finding.Fix is not null)
            {
                Console.WriteLine($"{"",-21} {finding.Fix}");
            }
        }
        return findings.Exists(f => f is { Fix: not null, Required: true }) ? 1 : 0;
    }

    static Finding FindServer()
    {
        var installed = PostgresBinaries.Installed();
        return installed.Count > 0
            ? new("PostgreSQL", string.Join(", ", installed.Select(b => $"{b.Version} in {b.Directory}")))
            : DatabaseVariable() is { } variable
                ? new("PostgreSQL", $"no server installed, and none is needed: {variable} names one")
                : new("PostgreSQL", "no server installed", "apt-get install --no-install-recommends postgresql   (or name a server in ConnectionStrings__Cowork)", Required: true);
    }

    static async Task<Finding> FindDatabase(string postgres)
    {
        if (DatabaseVariable() is { } variable)
        {
            return new("database", $"the one that {variable} names");
        }
        try
        {
            return await PrivatePostgres.FindRunning(postgres, CancellationToken.None) is { } running ? new("database", $"private, running: {running}")
                : File.Exists(Path.Combine(postgres, "PG_VERSION")) ? new("database", $"private, stopped: {postgres}")
                : new("database", $"private, not created yet: ./cowork up creates it in {postgres}");
        }
        catch (UnauthorizedAccessException)
        {
            return new("database", $"private, belongs to another user: {postgres}");
        }
    }

    /// <summary>Where the key is from, by its id; and what a host says that runs and has another one than its database.</summary>
    static async Task<Finding> FindMasterKey(string data)
    {
        const string Component = "master key";
        try
        {
            var isGiven = !string.IsNullOrWhiteSpace(Environment.GetEnvironmentVariable(MasterKeySource.Variable));
            if (!isGiven && !File.Exists(MasterKeyFile.In(data)))
            {
                return new(Component, $"not made yet: the first start makes it in {MasterKeyFile.In(data)}");
            }
            var keys = MasterKeySource.Read(Environment.GetEnvironmentVariable, data);
            return await Health.WhyNotReady(data, "secrets_unreadable") is { } why
                ? new(Component, why, "docs/connectors.md#keys", Required: true)
                : new(Component, $"{keys.Newest} ({keys.Source})");
        }
        catch (ArgumentException e)
        {
            return new(Component, e.Message, "docs/connectors.md#keys", Required: true);
        }
    }

    /// <summary>Schedules need the time zone database, which a slim image may lack; UTC is always there.</summary>
    static Finding FindTimeZones() => TimeZones.Find("Europe/Berlin") is not null
        ? new("time zones", $"{TimeZoneInfo.GetSystemTimeZones().Count} zones")
        : new("time zones", "only UTC; the host refuses schedules in other zones", "apt-get install tzdata");

    /// <summary>Starts a kernel in a sandbox, as the host does before the first cell.</summary>
    static async Task<Finding> FindKernels()
    {
        using var kernels = new SandboxedKernels([], TimeProvider.System, NullLogger<SandboxedKernels>.Instance);
        return await kernels.WhyUnavailable(CancellationToken.None) is { } why
            ? new("cells", "cannot run; the rest of the host does without them", why)
            : new("cells", $"run in sandboxes: {string.Join(", ", kernels.Specs.Select(s => s.DisplayName))}");
    }

    /// <summary>The variable that names a database; null: the host uses a private one.</summary>
    static string? DatabaseVariable() =>
        Array.Find(["ConnectionStrings__Cowork", "DATABASE_URL", "PGHOST"], name => !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(name)));

    /// <summary>Models as the host reads its configuration: <c>--report</c> prints them without starting anything.</summary>
    static IEnumerable<Finding> AskHost()
    {
        const string Offline = "offline: built in, needs no key and no network";
        if (!File.Exists(HostProgram.Dll))
        {
            return [new("models", Offline), new("host", "not built, so its configuration is unknown", "./cowork up builds it")];
        }
        var (code, output, error) = RunProgram("dotnet", [HostProgram.Dll, "--report"]);
        if (code != 0)
        {
            // The host's own sentence, which never holds a key.
            return [new("host", error.Trim(), "correct the configuration: README.md, docs/models.md", Required: true)];
        }
        var report = JsonElement.Parse(output);
        var defaultModel = report.GetProperty("default_model").GetString();
        return
        [
            .. report.GetProperty("models").EnumerateArray().Select(model => DescribeModel(model, defaultModel)),
            new("models", Offline + (defaultModel == "offline" ? " (the default)" : "")),
        ];
    }

    static Finding DescribeModel(JsonElement model, string? defaultModel)
    {
        var (name, hasKey) = (model.GetProperty("name").GetString(), model.GetProperty("has_key").GetBoolean());
        var at = model.GetProperty("base_url").GetString() ?? "the provider's own address";
        var found = $"{name}: {model.GetProperty("provider").GetString()} {model.GetProperty("model").GetString()} at {at}, {(hasKey ? "with a key" : "without a key")}"
            + (name == defaultModel ? " (the default)" : "");
        var fix = $"name the variable that holds its key: Cowork__Models__{name}__KeyVariable=… (docs/models.md)";
        return new("models", found, model.GetProperty("is_ready").GetBoolean() ? null : fix);
    }

    /// <summary>Versions of what cells of the tests import.</summary>
    const string Notebooks = "from importlib.metadata import version; print(*[f'{m} {version(m)}' for m in ('nbformat', 'pandas', 'matplotlib')], sep=', ')";

    /// <summary>What the host runs without, and the tests do not.</summary>
    static Finding FindTool(string component, string program, string[] arguments, string fix)
    {
        try
        {
            var (code, output, _) = RunProgram(program, arguments);
            if (code == 0)
            {
                return new(component, output.Trim());
            }
        }
        catch (Win32Exception)
        {
            // The program is not installed.
        }
        return new(component, "not installed; only ./cowork test needs it", fix);
    }

    static (int Code, string Output, string Error) RunProgram(string program, string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.GetAwaiter().GetResult());
    }
}
