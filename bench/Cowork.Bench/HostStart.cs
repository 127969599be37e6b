using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;

using Npgsql;

namespace Cowork.Bench;

/// <summary>A host as a process of its own: how soon it is there, and what it costs while nobody asks for anything.</summary>
/// <param name="Ready">From the start of the process to <c>/health/ready</c>.</param>
/// <param name="FirstRun">From the start of the process to the end of its first run.</param>
/// <param name="IdleMebibytes">Resident, after the idle time.</param>
/// <param name="Idle">Of each second of the idle time.</param>
/// <param name="IdleTransactions">That the server has committed or rolled back in each second of the idle time.</param>
sealed record HostStart(TimeSpan Ready, TimeSpan FirstRun, double IdleMebibytes, CpuUse Idle, double IdleTransactions)
{
    /// <summary>What a host does once, a little after its start (indexing, compiling what was hot), is none of its idle cost.</summary>
    static readonly TimeSpan Settling = TimeSpan.FromSeconds(5);

    static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Starts a host, sends it one turn, leaves it alone, and stops it.</summary>
    public static async Task<HostStart> Measure(string database, string data, int postmaster, TimeSpan idle)
    {
        var port = FreePort();
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "Cowork.Web.dll"), "--data", data, "--port", $"{port}"])
        {
            RedirectStandardOutput = true,
            Environment = { ["ConnectionStrings__Cowork"] = database, ["Logging__LogLevel__Default"] = "Warning" },
        };
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        var began = Stopwatch.GetTimestamp();
        using var process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        try
        {
            await Answer(http, process, began);
            var ready = Stopwatch.GetElapsedTime(began);
            await Post(http, "/sessions", new { session_id = "first" });
            await Post(http, "/sessions/first/turn", new { message = "/say hello" });
            var firstRun = Stopwatch.GetElapsedTime(began);
            await Task.Delay(Settling);
            var cpu = new ProcessCpu(postmaster, process.Id);
            var (used, transactions) = (cpu.Now(), await Transactions(database));
            await Task.Delay(idle);
            used = cpu.Now() - used;
            transactions = await Transactions(database) - transactions;
            var seconds = idle.TotalSeconds;
            return new(ready, firstRun, Resident(process.Id), new(used.Host / seconds, used.Postgres / seconds), transactions / seconds);
        }
        finally
        {
            using (Process.Start("kill", [$"{process.Id}"]))
            {
                await process.WaitForExitAsync();
            }
        }
    }

    static async Task Answer(HttpClient http, Process process, long began)
    {
        while (Stopwatch.GetElapsedTime(began) < Patience && !process.HasExited)
        {
            try
            {
                using var answer = await http.GetAsync("/health/ready");
                if (answer.IsSuccessStatusCode)
                {
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // It does not listen yet.
            }
            await Task.Delay(2);
        }
        throw new InvalidOperationException(process.HasExited ? $"The host has ended with {process.ExitCode}." : "The host did not get ready.");
    }

    static async Task Post(HttpClient http, string path, object body)
    {
        using var response = await http.PostAsJsonAsync(path, body);
        // The session of an earlier start is there already.
        if (!response.IsSuccessStatusCode && response.StatusCode != HttpStatusCode.Conflict)
        {
            throw new InvalidOperationException($"{response.StatusCode} {await response.Content.ReadAsStringAsync()}");
        }
    }

    /// <summary>Of the whole server: the database is the only one that is used. A backend tells of its work with up to a second's delay, and so at both ends.</summary>
    static async Task<double> Transactions(string database)
    {
        await using var connection = new NpgsqlConnection(database + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand("SELECT sum(xact_commit + xact_rollback)::float8 FROM pg_stat_database", connection);
        return (double)(await command.ExecuteScalarAsync())!;
    }

    static double Resident(int pid)
    {
        var line = File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
        return double.Parse(line["VmRSS:".Length..^"kB".Length], CultureInfo.InvariantCulture) / 1024;
    }

    static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
