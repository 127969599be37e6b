using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text.Json;

namespace Cowork.Bench;

/// <summary>A host to be measured: this build's, or that of another release beside it.</summary>
/// <param name="Name">As tables show it.</param>
/// <param name="Dll">Path of its <c>Cowork.Web.dll</c>.</param>
/// <param name="Settings">Environment variables that it needs beside those of any host.</param>
sealed record HostBuild(string Name, string Dll, IReadOnlyDictionary<string, string> Settings)
{
    public static HostBuild This { get; } = new("this build", Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll"), new Dictionary<string, string>());

    /// <summary>Another build, written as <c>DLL</c> or <c>DLL,NAME=VALUE,…</c>; null: there is no such file.</summary>
    public static HostBuild? Beside(string text)
    {
        var parts = text.Split(',');
        return File.Exists(parts[0])
            ? new("beside", Path.GetFullPath(parts[0]), parts[1..].Select(p => p.Split('=', 2)).ToDictionary(p => p[0], p => p.ElementAtOrDefault(1) ?? ""))
            : null;
    }
}

/// <summary>A host as a process of its own, called over HTTP as any client would.</summary>
sealed class HostProcess : IAsyncDisposable
{
    static readonly TimeSpan ReadyTimeout = TimeSpan.FromMinutes(2);

    readonly Process process;
    readonly HttpClient http;
    readonly string database;

    HostProcess(Process process, HttpClient http, string database, TimeSpan ready) => (this.process, this.http, this.database, Ready) = (process, http, database, ready);

    /// <summary>From the start of the process to <c>/health/ready</c>.</summary>
    public TimeSpan Ready { get; }

    public int Id => process.Id;

    public HttpClient Http => http;

    public static async Task<HostProcess> Start(HostBuild build, string database, string data)
    {
        var port = FreePort();
        var start = new ProcessStartInfo("dotnet", [build.Dll, "--data", data, "--port", $"{port}"])
        {
            RedirectStandardOutput = true,
            Environment =
            {
                ["ConnectionStrings__Cowork"] = Roles.Host(database),
                ["ConnectionStrings__CoworkOwner"] = database,
                ["Logging__LogLevel__Default"] = "Warning",
            },
        };
        foreach (var (name, value) in build.Settings)
        {
            start.Environment[name] = value;
        }
        var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 512 }) { BaseAddress = new($"http://127.0.0.1:{port}") };
        var started = Stopwatch.GetTimestamp();
        var process = Process.Start(start)!;
        var said = "";
        process.OutputDataReceived += (_, line) => said = line.Data ?? said;
        process.BeginOutputReadLine();
        try
        {
            while (!await Answers(http))
            {
                if (process.HasExited || Stopwatch.GetElapsedTime(started) > ReadyTimeout)
                {
                    throw new InvalidOperationException(process.HasExited ? $"The host has ended with {process.ExitCode}: {said}" : "The host did not get ready.");
                }
                await Task.Delay(2);
            }
        }
        catch
        {
            http.Dispose();
            process.Kill();
            process.Dispose();
            throw;
        }
        return new(process, http, database, Stopwatch.GetElapsedTime(started));
    }

    /// <summary>Makes a session unless it is there.</summary>
    public async Task Session(string id) => await Post("/sessions", new { session_id = id }, HttpStatusCode.Created, HttpStatusCode.Conflict);

    /// <summary>Sends a turn and waits for its end, which must be a good one. Answers the run's id.</summary>
    public async Task<string> Turn(string session, string message)
    {
        var run = await Post($"/sessions/{session}/turn", new { message }, HttpStatusCode.OK);
        return run.GetProperty("status").GetString() == "completed" ? run.GetProperty("run_id").GetString()! : throw new InvalidOperationException(run.GetRawText());
    }

    /// <summary>Turns that wait for their end. Each worker has a session of its own.</summary>
    public async Task<Measured> Turns(int inFlight, string message, TimeSpan warmUp, TimeSpan time, ProcessCpu cpu)
    {
        var prefix = $"t{Stopwatch.GetTimestamp():x}-";
        for (var worker = 0; worker < inFlight; worker++)
        {
            await Session($"{prefix}{worker}");
        }
        return await Load.Run(inFlight, warmUp, time, cpu, (worker, _) => Turn($"{prefix}{worker}", message));
    }

    /// <summary>Compiles what is hot, and gives the planner statistics: what is measured after it is neither the JIT nor tables that nobody has counted.</summary>
    public async Task WarmUp(int postmaster)
    {
        await Turns(64, "/say hello", TimeSpan.FromSeconds(8), TimeSpan.Zero, new(postmaster, Id));
        await Sql("ANALYZE");
    }

    /// <summary>The first column of a statement's first row, on the host's database.</summary>
    public async Task<object?> Sql(string sql)
    {
        await using var connection = new Npgsql.NpgsqlConnection(database + ";Pooling=false;Command Timeout=0");
        await connection.OpenAsync();
        await using var command = new Npgsql.NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync();
    }

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        using (Process.Start("/bin/sh", ["-c", $"kill {process.Id}"]))
        {
            await process.WaitForExitAsync();
        }
        process.Dispose();
    }

    static async Task<bool> Answers(HttpClient http)
    {
        try
        {
            using var answer = await http.GetAsync("/health/ready");
            return answer.IsSuccessStatusCode;
        }
        catch (HttpRequestException)
        {
            // It does not listen yet.
            return false;
        }
    }

    async Task<JsonElement> Post(string path, object body, params HttpStatusCode[] expected)
    {
        using var response = await http.PostAsJsonAsync(path, body);
        var answer = await response.Content.ReadFromJsonAsync<JsonElement>();
        return expected.Contains(response.StatusCode) ? answer : throw new InvalidOperationException($"{response.StatusCode} {answer.GetRawText()}");
    }

    static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
