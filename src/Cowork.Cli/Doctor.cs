using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Marten;

namespace Cowork.Cli;

/// <summary><c>cowork doctor</c>: what is here, what is missing, and the command that mends it.</summary>
static class Doctor
{
    /// <param name="Mend">What to type when it is missing; null: it is there.</param>
    /// <param name="Required">Without it the host does not start.</param>
    sealed record Finding(string What, string Found, string? Mend = null, bool Required = false);

    public static async Task<int> Run(string[] options)
    {
        var data = "data";
        var connectionString = false;
        for (var i = 0; i < options.Length; i++)
        {
            switch (options[i])
            {
                case "--connection-string":
                    connectionString = true;
                    break;
                case var given when given.StartsWith("--data=", StringComparison.Ordinal):
                    data = given["--data=".Length..];
                    break;
                case "--data" when i + 1 < options.Length:
                    data = options[++i];
                    break;
                default:
                    return Usage.Wrong($"doctor does not know {options[i]}, or misses its value");
            }
        }
        var postgres = Path.Combine(Path.GetFullPath(data), "postgres");
        return connectionString ? await PrintConnectionString(postgres) : await Report(postgres);
    }

    static async Task<int> PrintConnectionString(string postgres)
    {
        try
        {
            if (await PrivatePostgres.FindRunning(postgres, CancellationToken.None) is { } running)
            {
                Console.WriteLine(running);
                return 0;
            }
            Console.Error.WriteLine($"cowork: no private database runs on {postgres}. Start it: ./cowork up --data {Path.GetDirectoryName(postgres)}");
        }
        catch (UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"cowork: {postgres} is another user's. Ask as the user who started it.");
        }
        return 1;
    }

    static async Task<int> Report(string postgres)
    {
        List<Finding> findings =
        [
            new(".NET", RuntimeInformation.FrameworkDescription),
            Server(),
            await Database(postgres),
            Zones(),
            Tool("bubblewrap", "bwrap", ["--version"], "apt-get install bubblewrap"),
            Tool(
                "Jupyter",
                "python3",
                ["-c", "import ipykernel, jupyter_client; print('ipykernel', ipykernel.__version__)"],
                "apt-get install python3-ipykernel python3-jupyter-client"),
            .. Host(),
        ];
        foreach (var finding in findings)
        {
            var mark = finding.Mend is null ? "ok" : finding.Required ? "MISSING" : "missing";
            Console.WriteLine($"{mark,-8} {finding.What,-12} {finding.Found}");
            if (finding.Mend is not null)
            {
                Console.WriteLine($"{"",-21} {finding.Mend}");
            }
        }
        return findings.Exists(f => f is { Mend: not null, Required: true }) ? 1 : 0;
    }

    static Finding Server()
    {
        var installed = PostgresBinaries.Installed();
        return installed.Count > 0
            ? new("PostgreSQL", string.Join(", ", installed.Select(b => $"{b.Version} in {b.Directory}")))
            : GivenDatabase() is { } given
                ? new("PostgreSQL", $"no server installed, and none needed: {given} names one")
                : new("PostgreSQL", "no server installed", "apt-get install --no-install-recommends postgresql   (or name a server in ConnectionStrings__Cowork)", Required: true);
    }

    static async Task<Finding> Database(string postgres)
    {
        if (GivenDatabase() is { } given)
        {
            return new("database", $"the one that {given} names");
        }
        try
        {
            return await PrivatePostgres.FindRunning(postgres, CancellationToken.None) is { } running ? new("database", $"private, running: {running}")
                : File.Exists(Path.Combine(postgres, "PG_VERSION")) ? new("database", $"private, stopped: {postgres}")
                : new("database", $"private, not made yet: ./cowork up makes it in {postgres}");
        }
        catch (UnauthorizedAccessException)
        {
            return new("database", $"private, another user's: {postgres}");
        }
    }

    /// <summary>For schedules that go by a zone's clocks. A slim image may come without the database; UTC is always there.</summary>
    static Finding Zones() => TimeZones.Find("Europe/Berlin") is not null
        ? new("time zones", $"{TimeZoneInfo.GetSystemTimeZones().Count} zones")
        : new("time zones", "none but UTC; schedules that name another are refused", "apt-get install tzdata");

    static string? GivenDatabase() =>
        Array.Find(["ConnectionStrings__Cowork", "DATABASE_URL", "PGHOST"], name => !string.IsNullOrEmpty(Environment.GetEnvironmentVariable(name)));

    /// <summary>Engine and models as the host reads them, whose configuration is its own: it is asked, and does not start.</summary>
    static IEnumerable<Finding> Host()
    {
        const string Offline = "offline: built in, needs no key and no network";
        if (!File.Exists(HostProgram.Dll))
        {
            return [new("models", Offline), new("host", "not built, so that its configuration is not known", "./cowork up builds it")];
        }
        var (code, said, complaint) = Ask("dotnet", [HostProgram.Dll, "--report"]);
        if (code != 0)
        {
            // A sentence of the host's own, which names no key.
            return [new("host", complaint.Trim(), "mend the configuration: README.md, docs/models.md", Required: true)];
        }
        var report = JsonElement.Parse(said);
        var (usual, engine) = (report.GetProperty("default_model").GetString(), report.GetProperty("engine").GetString());
        return
        [
            new("engine", string.Join(", ", report.GetProperty("engines").EnumerateArray().Select(e => e.GetString()).Select(name => name == engine ? $"{name} (chosen)" : name))),
            .. report.GetProperty("models").EnumerateArray().Select(model => Model(model, usual)),
            new("models", Offline + (usual == "offline" ? " (the default)" : "")),
        ];
    }

    static Finding Model(JsonElement model, string? usual)
    {
        var (name, hasKey) = (model.GetProperty("name").GetString(), model.GetProperty("has_key").GetBoolean());
        var at = model.GetProperty("base_url").GetString() ?? "the provider's own address";
        var found = $"{name}: {model.GetProperty("provider").GetString()} {model.GetProperty("model").GetString()} at {at}, {(hasKey ? "with a key" : "without a key")}"
            + (name == usual ? " (the default)" : "");
        var mend = $"name the variable that holds its key: Cowork__Models__{name}__KeyVariable=… (docs/models.md)";
        return new("models", found, model.GetProperty("is_ready").GetBoolean() ? null : mend);
    }

    /// <summary>For notebook cells. The host runs without them.</summary>
    static Finding Tool(string what, string program, string[] arguments, string mend)
    {
        try
        {
            var (code, said, _) = Ask(program, arguments);
            if (code == 0)
            {
                return new(what, said.Trim());
            }
        }
        catch (Win32Exception)
        {
            // Not installed: the answer below.
        }
        return new(what, "not installed; only notebook cells want it", mend);
    }

    static (int Code, string Said, string Complaint) Ask(string program, string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var complaint = process.StandardError.ReadToEndAsync();
        var said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, said, complaint.GetAwaiter().GetResult());
    }
}
