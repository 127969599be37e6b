using System.Diagnostics;
using System.Globalization;

namespace Cowork.Bench;

/// <summary>How soon a host is there, and what it costs while nobody asks for anything.</summary>
/// <param name="Ready">From the start of the process to <c>/health/ready</c>.</param>
/// <param name="FirstRun">From the start of the process to the end of its first run.</param>
/// <param name="IdleMebibytes">Resident, after the idle time.</param>
/// <param name="Idle">Of each second of the idle time.</param>
/// <param name="IdleTransactions">That the server has committed or rolled back in each second of the idle time.</param>
sealed record HostStart(TimeSpan Ready, TimeSpan FirstRun, double IdleMebibytes, CpuUse Idle, double IdleTransactions)
{
    /// <summary>What a host does once, a little after its start (indexing, compiling what was hot), is none of its idle cost.</summary>
    static readonly TimeSpan Settling = TimeSpan.FromSeconds(5);

    // Of the whole server: the database is the only one that is used. A backend tells of its work with up to a second's delay, and so at both ends.
    const string Transactions = "SELECT sum(xact_commit + xact_rollback)::float8 FROM pg_stat_database";

    /// <summary>Starts a host, sends it one turn, leaves it alone, and stops it.</summary>
    public static async Task<HostStart> Measure(HostBuild build, string database, string data, int postmaster, TimeSpan idle)
    {
        var started = Stopwatch.GetTimestamp();
        await using var host = await HostProcess.Start(build, database, data);
        await host.Session("first");
        await host.Turn("first", "/say hello");
        var firstRun = Stopwatch.GetElapsedTime(started);
        await Task.Delay(Settling);
        var cpu = new ProcessCpu(postmaster, host.Id);
        var (used, transactions) = (cpu.Now(), (double)(await host.Sql(Transactions))!);
        await Task.Delay(idle);
        used = cpu.Now() - used;
        transactions = (double)(await host.Sql(Transactions))! - transactions;
        var seconds = idle.TotalSeconds;
        return new(host.Ready, firstRun, Resident(host.Id), new(used.Host / seconds, used.Postgres / seconds), transactions / seconds);
    }

    static double Resident(int pid)
    {
        var line = File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal));
        return double.Parse(line["VmRSS:".Length..^"kB".Length], CultureInfo.InvariantCulture) / 1024;
    }
}
