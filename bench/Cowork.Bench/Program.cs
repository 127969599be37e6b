using Cowork.Bench;
using Cowork.Npgsql;

using Microsoft.Extensions.Logging.Abstractions;

string[] known = ["appends", "runs", "http", "feed", "sse"];
var seconds = 8;
var wanted = new List<string>();
for (var i = 0; i < args.Length; i++)
{
    if (args[i] == "--seconds" && i + 1 < args.Length && int.TryParse(args[i + 1], out var given) && given > 0)
    {
        seconds = given;
        i++;
    }
    else if (known.Contains(args[i]))
    {
        wanted.Add(args[i]);
    }
    else
    {
        Console.Error.WriteLine($"usage: cowork bench [--seconds N] [{string.Join(" | ", known)}]…");
        return 2;
    }
}
wanted = wanted.Count == 0 ? [.. known] : wanted;

var time = TimeSpan.FromSeconds(seconds);
var directory = Directory.CreateTempSubdirectory("cowork-bench-").FullName;
try
{
    await using var postgres = await PrivatePostgres.Start(new(Path.Combine(directory, "postgres")), NullLogger<PrivatePostgres>.Instance, CancellationToken.None);
    var database = postgres.ConnectionString;
    var cpu = new ProcessCpu(postgres.ProcessId!.Value);
    await Pgbench.Prepare(database);
    var before = await Yardstick("before");

    if (wanted.Intersect(["appends", "runs", "feed"]).Any())
    {
        await using var engine = await EngineBench.Start(database, "bench");
        if (wanted.Contains("appends") || wanted.Contains("feed"))
        {
            foreach (var inFlight in new[] { 1, 16, 64, 256 })
            {
                Print($"single-event appends, {inFlight} in flight", await engine.Appends(inFlight, time, cpu), eventsEach: 1);
            }
        }
        if (wanted.Contains("runs"))
        {
            foreach (var inFlight in new[] { 1, 64 })
            {
                Print($"3-step runs in process (4 commits, 5 events), {inFlight} in flight", await engine.Runs(inFlight, time, cpu), eventsEach: 5);
            }
        }
        if (wanted.Contains("feed"))
        {
            var (pages, events) = await engine.FeedReads(4, time, cpu);
            Print("feed read in pages of 500, 4 readers", pages, eventsEach: (double)events / Math.Max(1, pages.Count));
        }
    }
    if (wanted.Intersect(["http", "sse"]).Any())
    {
        await using var host = await HostBench.Start(database, Path.Combine(directory, "host"));
        if (wanted.Contains("http"))
        {
            foreach (var inFlight in new[] { 1, 64 })
            {
                Print($"turns over HTTP with the reply (3 commits), {inFlight} in flight", await host.Turns(inFlight, "/say hello", time, cpu), eventsEach: 10);
            }
            Print("turns over HTTP with one tool call (5 commits), 64 in flight", await host.Turns(64, "/tool list_files {}\n/say hello", time, cpu), eventsEach: 14);
        }
        if (wanted.Contains("sse"))
        {
            var (commits, delays) = await host.FeedLatency(1_000, time);
            var (commit, delay) = (At(commits, .99), At(delays, .99));
            Console.WriteLine(FormattableString.Invariant($"\n1 000 events/s: commit p50 {At(commits, .5):0.00} ms, p99 {commit:0.00} ms;"));
            Console.WriteLine(FormattableString.Invariant(
                $"acknowledged → SSE at the client p50 {At(delays, .5):0.00} ms, p99 {delay:0.00} ms; ratio of the p99s {delay / commit:0.00}"));
        }
    }
    var after = await Yardstick("after");
    Console.WriteLine(FormattableString.Invariant($"pgbench after : before = {after / before:0.00}"));

    async Task<double> Yardstick(string when)
    {
        var one = await Pgbench.Run(database, 1, Math.Max(2, seconds / 2));
        var many = await Pgbench.Run(database, 64, seconds);
        Console.WriteLine(FormattableString.Invariant($"pgbench {when}: prepared single INSERT, {one:0}/s at 1 client, {many:0}/s at 64 clients"));
        if (when == "before")
        {
            Console.WriteLine("\n| workload | per second | : pgbench c=64 | p50 ms | p99 ms | host µs/event | PostgreSQL µs/event |\n|---|---|---|---|---|---|---|");
        }
        return many;
    }

    void Print(string what, Measured m, double eventsEach)
    {
        var events = Math.Max(1, m.Count * eventsEach);
        var (host, server) = (m.Cpu.Host * 1e6 / events, m.Cpu.Postgres * 1e6 / events);
        Console.WriteLine(FormattableString.Invariant(
            $"| {what} | {m.PerSecond:0} | {m.PerSecond / before:0.00} | {m.Percentile(.5):0.00} | {m.Percentile(.99):0.00} | {host:0} | {server:0} |"));
    }
}
finally
{
    Directory.Delete(directory, recursive: true);
}
return 0;

static double At(double[] sorted, double p) => sorted[Math.Min(sorted.Length - 1, (int)(p * sorted.Length))];
