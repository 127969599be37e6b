using Npgsql;

namespace Cowork.Bench;

/// <summary>Runs what a plan asks for and prints it, as rows of tables for RESULTS.md.</summary>
sealed class Workloads
{
    const int Starts = 3;

    readonly Plan plan;
    readonly string database;
    readonly string directory;
    readonly int postmaster;
    readonly ProcessCpu cpu;
    readonly double yardstick;

    Workloads(Plan plan, string database, string directory, int postmaster, double yardstick)
    {
        (this.plan, this.database, this.directory, this.postmaster, this.yardstick) = (plan, database, directory, postmaster, yardstick);
        cpu = new(postmaster);
    }

    public static async Task Run(Plan plan, string server, int postmaster, string directory)
    {
        await Pgbench.Prepare(server);
        var before = await Yardstick(server, plan, "before");
        var workloads = new Workloads(plan, await NewDatabase(server, "bench"), directory, postmaster, before);
        if (plan.Has("start"))
        {
            await workloads.Start(server);
        }
        if (plan.Has("appends", "runs", "feed", "http"))
        {
            Say($"\n| workload | per second | : pgbench c=64 | p50 ms | p99 ms | host µs/event | PostgreSQL µs/event |\n|---|---|---|---|---|---|---|");
            await workloads.InProcess();
        }
        if (plan.Has("http", "sse"))
        {
            await workloads.OverHttp();
        }
        var after = await Yardstick(server, plan, "after");
        Say($"pgbench after : before = {after / before:0.00}");
    }

    async Task Start(string newDatabasesOn)
    {
        Say($"\n| ready s | first run ended s | ready on an empty database s | idle MiB | idle host CPU % | idle PostgreSQL CPU % | idle transactions/s |");
        Say($"|---|---|---|---|---|---|---|");
        var database = await NewDatabase(newDatabasesOn, "bench_start");
        var data = Path.Combine(directory, "start");
        var empty = await HostStart.Measure(database, data, postmaster, TimeSpan.FromSeconds(1));
        var starts = new List<HostStart>();
        for (var i = 0; i < Starts; i++)
        {
            starts.Add(await HostStart.Measure(database, data, postmaster, plan.Time));
        }
        double Median(Func<HostStart, double> of) => starts.Select(of).Order().ElementAt(Starts / 2);
        var (ready, firstRun) = (Median(s => s.Ready.TotalSeconds), Median(s => s.FirstRun.TotalSeconds));
        var (memory, host, server) = (Median(s => s.IdleMebibytes), Median(s => s.Idle.Host * 100), Median(s => s.Idle.Postgres * 100));
        var transactions = Median(s => s.IdleTransactions);
        Say($"| {ready:0.00} | {firstRun:0.00} | {empty.Ready.TotalSeconds:0.00} | {memory:0} | {host:0.0} | {server:0.0} | {transactions:0.0} |");
    }

    async Task InProcess()
    {
        // A feed is read of what was appended.
        foreach (var inFlight in plan.Has("appends", "feed") ? new[] { 1, 16, 64, 256 } : [])
        {
            await OnStorage(async engine =>
                Print($"single-event appends, {inFlight} in flight", await engine.Appends(inFlight, plan.Time, cpu), eventsEach: 1));
        }
        foreach (var sessions in plan.Has("appends") ? new[] { 1, 16, 64 } : [])
        {
            var peer = await MartenPeer.Appends(database, sessions, plan.Time, cpu);
            Print($"(peer) Marten alone: quick appends of one event, {sessions} sessions", peer, eventsEach: 1);
        }
        foreach (var inFlight in plan.Has("runs") ? new[] { 1, 64 } : [])
        {
            await OnStorage(async engine =>
                Print($"3-step runs in process (4 commits, 5 events), {inFlight} in flight", await engine.Runs(inFlight, plan.Time, cpu), eventsEach: 5));
        }
        if (plan.Has("feed"))
        {
            await OnStorage(async engine =>
            {
                var (pages, events) = await engine.FeedReads(4, plan.Time, cpu);
                Print("feed read in pages of 500, 4 readers", pages, eventsEach: (double)events / Math.Max(1, pages.Count));
            });
        }
    }

    async Task OnStorage(Func<StorageBench, Task> workload)
    {
        await using var storage = await StorageBench.Start(database);
        await workload(storage);
    }

    async Task OverHttp()
    {
        var latencies = new List<string>();
        await using var host = await HostBench.Start(database, Path.Combine(directory, "host"));
        foreach (var inFlight in plan.Has("http") ? new[] { 1, 64 } : [])
        {
            Print($"turns over HTTP with the reply (3 commits), {inFlight} in flight", await host.Turns(inFlight, "/say hello", plan.Time, cpu), eventsEach: 10);
        }
        if (plan.Has("http"))
        {
            var turns = await host.Turns(64, "/tool list_files {}\n/say hello", plan.Time, cpu);
            Print("turns over HTTP with one tool call (5 commits), 64 in flight", turns, eventsEach: 14);
        }
        if (plan.Has("sse"))
        {
            var (commits, delays) = await host.FeedLatency(1_000, plan.Time);
            var (commit, delay) = (At(commits, .99), At(delays, .99));
            latencies.Add(FormattableString.Invariant($"1 000 events/s: commit p50 {At(commits, .5):0.00} ms, p99 {commit:0.00} ms;"));
            latencies.Add(FormattableString.Invariant(
                $"acknowledged → SSE at the client p50 {At(delays, .5):0.00} ms, p99 {delay:0.00} ms; ratio of the p99s {delay / commit:0.00}"));
        }
        Console.WriteLine();
        latencies.ForEach(Console.WriteLine);
    }

    static async Task<double> Yardstick(string server, Plan plan, string when)
    {
        var seconds = (int)plan.Time.TotalSeconds;
        var one = await Pgbench.Run(server, 1, Math.Max(2, seconds / 2));
        var many = await Pgbench.Run(server, 64, seconds);
        Say($"pgbench {when}: prepared single INSERT, {one:0}/s at 1 client, {many:0}/s at 64 clients");
        return many;
    }

    static async Task<string> NewDatabase(string server, string name)
    {
        await using var connection = new NpgsqlConnection(server + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand($"CREATE DATABASE {name}", connection);
        await command.ExecuteNonQueryAsync();
        return new NpgsqlConnectionStringBuilder(server) { Database = name }.ConnectionString;
    }

    void Print(string what, Measured m, double eventsEach)
    {
        var events = Math.Max(1, m.Count * eventsEach);
        var (host, postgres) = (m.Cpu.Host * 1e6 / events, m.Cpu.Postgres * 1e6 / events);
        Say($"| {what} | {m.PerSecond:0} | {m.PerSecond / yardstick:0.00} | {m.Percentile(.5):0.00} | {m.Percentile(.99):0.00} | {host:0} | {postgres:0} |");
    }

    static double At(double[] sorted, double p) => sorted[Math.Min(sorted.Length - 1, (int)(p * sorted.Length))];

    static void Say(FormattableString line) => Console.WriteLine(FormattableString.Invariant(line));
}
