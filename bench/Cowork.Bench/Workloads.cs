using System.Diagnostics;

using Cowork.Marten;

using Npgsql;

namespace Cowork.Bench;

/// <summary>Runs what a plan asks for and prints it, as rows of tables for RESULTS.md.</summary>
sealed class Workloads
{
    const int Starts = 3;
    const int Rounds = 3;

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

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
        if (plan.Has("appends", "runs", "feed"))
        {
            Say($"\n| workload | per second | : pgbench c=64 | p50 ms | p99 ms | host µs/event | PostgreSQL µs/event |\n|---|---|---|---|---|---|---|");
            await workloads.InProcess();
        }
        if (plan.Has("http"))
        {
            await workloads.OverHttp(server);
        }
        if (plan.Has("platform"))
        {
            await workloads.Platform(server);
        }
        if (plan.Has("tokens"))
        {
            await workloads.Tokens(server);
        }
        if (plan.Has("desktop"))
        {
            await workloads.Desktop(server);
        }
        if (plan.Has("console"))
        {
            await workloads.OfConsole(server);
        }
        if (plan.Has("context"))
        {
            await workloads.Context(server);
        }
        if (plan.Has("works"))
        {
            await workloads.OfWorks(server);
        }
        if (plan.Has("groups"))
        {
            await workloads.OfGroups(server);
        }
        if (plan.Has("audit"))
        {
            await workloads.Audit(await NewDatabase(server, "bench_audit"));
        }
        if (plan.Has("million"))
        {
            await workloads.Million(await NewDatabase(server, "bench_million"));
        }
        if (plan.Has("bundles"))
        {
            await workloads.Bundles(server);
        }
        if (plan.Has("asof"))
        {
            await workloads.AsOf(server);
        }
        if (plan.Has("replay"))
        {
            await workloads.Replay(server);
        }
        if (plan.Has("growth"))
        {
            await workloads.Growing(server);
        }
        if (plan.Has("sse"))
        {
            await workloads.Feed();
        }
        if (plan.Has("kernels"))
        {
            await workloads.Kernels();
        }
        if (plan.Has("peers"))
        {
            await workloads.Peer(server);
        }
        var after = await Yardstick(server, plan, "after");
        Say($"pgbench after : before = {after / before:0.00}");
    }

    async Task Start(string server)
    {
        Say($"\n| host | ready s | first run ended s | ready on an empty database s | idle MiB | idle host CPU % | idle PostgreSQL CPU % | idle transactions/s |");
        Say($"|---|---|---|---|---|---|---|---|");
        foreach (var (n, build) in plan.Hosts.Index())
        {
            var own = await NewDatabase(server, $"bench_start_{n}");
            var data = Path.Combine(directory, $"start-{n}");
            var empty = await HostStart.Measure(build, own, data, postmaster, TimeSpan.FromSeconds(1));
            var starts = new List<HostStart>();
            for (var i = 0; i < Starts; i++)
            {
                starts.Add(await HostStart.Measure(build, own, data, postmaster, plan.Time));
            }
            double Median(Func<HostStart, double> of) => starts.Select(of).Order().ElementAt(Starts / 2);
            var (ready, firstRun) = (Median(s => s.Ready.TotalSeconds), Median(s => s.FirstRun.TotalSeconds));
            var (memory, host, postgres) = (Median(s => s.IdleMebibytes), Median(s => s.Idle.Host * 100), Median(s => s.Idle.Postgres * 100));
            var transactions = Median(s => s.IdleTransactions);
            Say($"| {build.Name} | {ready:0.00} | {firstRun:0.00} | {empty.Ready.TotalSeconds:0.00} | {memory:0} | {host:0.0} | {postgres:0.0} | {transactions:0.0} |");
        }
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

    /// <summary>Appends with and without heads in turn, then the log that they made.</summary>
    async Task Audit(string own)
    {
        await using var storage = await StorageBench.Start(own, Path.Combine(directory, "audit-blobs"));
        var audit = new AuditBench(storage, own);
        Say($"\n| appends, 64 in flight | per second | p99 ms | host µs/event | PostgreSQL µs/event |\n|---|---|---|---|---|");
        var (without, with) = (new List<double>(), new List<double>());
        for (var round = 0; round < Rounds; round++)
        {
            await Appended("without heads", without, () => storage.Appends(64, plan.Time, cpu));
            await Appended("with the tree and heads", with, () => audit.WithHeads(() => storage.Appends(64, plan.Time, cpu)));
        }
        Say($"with : without = {with.Order().ElementAt(Rounds / 2) / without.Order().ElementAt(Rounds / 2):0.00}");
        var (events, tree) = await audit.Tree();
        var copy = await audit.Copy();
        var (_, verified) = await audit.Verify();
        Say($"a log of {events} events: tree made at {tree:0} events/s, verified at {verified:0} events/s, COPY at {copy:0} rows/s; verified : COPY = {verified / copy:0.00}");

        async Task Appended(string what, List<double> seen, Func<Task<Measured>> measure)
        {
            var m = await measure();
            seen.Add(m.PerSecond);
            Say($"| {what} | {m.PerSecond:0} | {m.Percentile(.99):0.00} | {m.Cpu.Host * 1e6 / m.Count:0} | {m.Cpu.Postgres * 1e6 / m.Count:0} |");
        }
    }

    /// <summary>A log of a million events, made by ordinary appends with heads: verified beside COPY of its rows, and its heads and proofs asked for.</summary>
    async Task Million(string own)
    {
        const int Events = 1_000_000;
        await using (var storage = await StorageBench.Start(own, Path.Combine(directory, "million-blobs")))
        {
            var audit = new AuditBench(storage, own);
            var made = Stopwatch.StartNew();
            await audit.WithHeads(async () =>
            {
                await storage.Fill(64, Events);
                return Events;
            });
            Say($"\n{Events} events appended with heads in {made.Elapsed.TotalSeconds:0} s");
            Say($"\n| a log of a million events | s | events/s | : COPY | client µs/event | PostgreSQL µs/event | managed MiB at the most |\n|---|---|---|---|---|---|---|");
            for (var round = 0; round < Rounds; round++)
            {
                var before = cpu.Now();
                var copy = await audit.Copy();
                var used = cpu.Now() - before;
                Say($"| COPY … TO STDOUT | {Events / copy:0.0} | {copy:0} | 1 | {used.Host * 1e6 / Events:0.0} | {used.Postgres * 1e6 / Events:0.0} | |");
                before = cpu.Now();
                var (state, middle, seconds, mebibytes) = await audit.Verify(LogVerifierState.Begin);
                used = cpu.Now() - before;
                var (verified, of) = (state.Position / seconds, state.Position / 1e6);
                Say($"| verified | {seconds:0.0} | {verified:0} | {verified / copy:0.00} | {used.Host / of:0.0} | {used.Postgres / of:0.0} | {mebibytes:0.0} |");
                if (round == Rounds - 1)
                {
                    var rest = await audit.Verify(middle);
                    var events = rest.State.Position - middle.Position;
                    var perSecond = events / rest.Seconds;
                    Say($"| verified from event {middle.Position + 1} on | {rest.Seconds:0.0} | {perSecond:0} | {perSecond / copy:0.00} | | | {rest.Mebibytes:0.0} |");
                }
            }
        }
        await using var host = await HostProcess.Start(HostBuild.This, own, Path.Combine(directory, "million"));
        var random = new Random(1);
        Say($"\n| GET, 1 in flight, a million events | p50 ms | p99 ms |\n|---|---|---|");
        foreach (var (what, path) in ((string, Func<string>)[])
        [
            ("/audit/heads/latest", () => "/audit/heads/latest"), ("/audit/heads?limit=100", () => "/audit/heads?limit=100"),
            ("/audit/proof?event=gid", () => $"/audit/proof?event={random.Next(1, Events)}"),
            ("/audit/consistency?from=size", () => $"/audit/consistency?from={random.Next(1, Events)}"),
        ])
        {
            var asked = await Load.Run(1, TimeSpan.FromSeconds(1), plan.Time, new(postmaster, host.Id), async (_, _) => await host.Http.GetByteArrayAsync(path()));
            Say($"| {what} | {asked.Percentile(.5):0.00} | {asked.Percentile(.99):0.00} |");
        }
    }

    async Task OnStorage(Func<StorageBench, Task> workload)
    {
        await using var storage = await StorageBench.Start(database, Path.Combine(directory, "blobs"));
        await workload(storage);
    }

    async Task OverHttp(string server)
    {
        await using var hosts = await Hosts(server, "bench_http");
        foreach (var host in hosts.All)
        {
            await host.WarmUp(postmaster);
        }
        Say($"\n| workload | host | per second | p50 ms | p99 ms | host CPU µs a turn | PostgreSQL CPU µs a turn | : beside |\n|---|---|---|---|---|---|---|---|");
        foreach (var inFlight in new[] { 1, 16, 64, 256 })
        {
            await InTurn(hosts, $"turns with the reply (2 commits), {inFlight} in flight", (host, cpu) => host.Turns(inFlight, "/say hello", Settling, plan.Time, cpu));
        }
        await InTurn(
            hosts, "turns with one tool call (4 commits), 64 in flight", (host, cpu) => host.Turns(64, "/tool list_files {}\n/say hello", Settling, plan.Time, cpu));
    }

    /// <summary>Measures the hosts in alternation, so that what else the machine does is shared between them.</summary>
    async Task InTurn(HostSet hosts, string what, Func<HostProcess, ProcessCpu, Task<Measured>> measure)
    {
        var seen = hosts.All.Select(_ => new List<Measured>()).ToList();
        for (var round = 0; round < Rounds; round++)
        {
            foreach (var (n, host) in hosts.All.Index())
            {
                seen[n].Add(await measure(host, new(postmaster, host.Id)));
            }
        }
        var medians = seen.Select(rounds => rounds.OrderBy(m => m.PerSecond).ElementAt(Rounds / 2)).ToList();
        foreach (var (n, m) in medians.Index())
        {
            var (host, postgres) = (m.Cpu.Host * 1e6 / m.Count, m.Cpu.Postgres * 1e6 / m.Count);
            var ratio = n == 0 && medians.Count > 1 ? FormattableString.Invariant($"{m.PerSecond / medians[1].PerSecond:0.00}") : "";
            Say($"| {what} | {plan.Hosts[n].Name} | {m.PerSecond:0} | {m.Percentile(.5):0.00} | {m.Percentile(.99):0.00} | {host:0} | {postgres:0} | {ratio} |");
        }
    }

    async Task Platform(string server)
    {
        const int Listed = 100_000;
        const int Files = 1_000;
        const int Mebibytes = 256;
        await using var host = await HostProcess.Start(HostBuild.This, await NewDatabase(server, "bench_platform"), Path.Combine(directory, "platform"));
        await host.WarmUp(postmaster);
        var own = new ProcessCpu(postmaster, host.Id);
        var bench = new PlatformBench(host, own, plan.Time, directory);
        Say($"\n| contract B | p50 ms | p99 ms |\n|---|---|---|");
        foreach (var inFlight in new[] { 1, 64 })
        {
            var turns = await host.Turns(inFlight, "/say hello", Settling, plan.Time, own);
            var deltas = await bench.FirstDelta(inFlight);
            Say($"| a turn of contract A, {inFlight} in flight | {turns.Percentile(.5):0.00} | {turns.Percentile(.99):0.00} |");
            Say($"| first text delta of a response, {inFlight} in flight | {At(deltas, .5):0.00} | {At(deltas, .99):0.00} |");
        }
        var (upload, copy) = await bench.UploadAndCopy(Mebibytes);
        await bench.Files(Files);
        foreach (var inFlight in new[] { 1, 16 })
        {
            var found = await bench.Search(inFlight, Files);
            Say($"| search in {Files} files, {inFlight} in flight | {found.Percentile(.5):0.00} | {found.Percentile(.99):0.00} |");
        }
        await bench.Conversations(Listed);
        await host.Sql("VACUUM ANALYZE");
        foreach (var number in new[] { 1, 100 })
        {
            var page = await bench.Page(number);
            Say($"| page {number} of {Listed} conversations | {page.Percentile(.5):0.00} | {page.Percentile(.99):0.00} |");
        }
        Say($"\nupload {upload / 1e6:0} MB/s, cp with sync {copy / 1e6:0} MB/s: {upload / copy:0.00}");
    }

    async Task Desktop(string server)
    {
        var data = Path.Combine(directory, "desktop");
        await using var host = await HostProcess.Start(HostBuild.This, await NewDatabase(server, "bench_desktop"), data);
        await host.WarmUp(postmaster);
        var bench = new DesktopBench(host, new(postmaster, host.Id), plan.Time, (await File.ReadAllTextAsync(Path.Combine(data, "admin-token"))).Trim());
        Say($"\n| first event on an open stream | p50 ms | p99 ms |\n|---|---|---|");
        foreach (var inFlight in new[] { 1, 16 })
        {
            var turns = await bench.FirstEventOfTurn(inFlight);
            var tasks = await bench.FirstEventOfTask(inFlight);
            Say($"| of a turn of contract A, {inFlight} in flight | {At(turns, .5):0.00} | {At(turns, .99):0.00} |");
            Say($"| of a task of contract C, {inFlight} in flight | {At(tasks, .5):0.00} | {At(tasks, .99):0.00} |");
        }
    }

    async Task OfConsole(string server)
    {
        const int Followed = 100_000;
        await using var host = await HostProcess.Start(HostBuild.This, await NewDatabase(server, "bench_console"), Path.Combine(directory, "console"));
        await host.WarmUp(postmaster);
        await using var bench = await ConsoleBench.Start(host);
        Say($"\n| page | KiB | requests | first paint ms | content ms | again: KiB | first paint ms | content ms |\n|---|---|---|---|---|---|---|---|");
        foreach (var (path, content) in new[] { ("/health/live", "pre"), ("/console/", ".figures"), ("/console/runs", "tbody tr"), ("/console/feed", ".vrow") })
        {
            var (cold, warm) = await bench.Open(path, content);
            Say($"| {path} | {cold.KiB:0} | {cold.Requests} | {cold.Paint:0} | {cold.Content:0} | {warm.KiB:0} | {warm.Paint:0} | {warm.Content:0} |");
        }
        var followed = await bench.Follow(125, Followed);
        Say($"\n| the feed's page | p50 ms | p99 ms | longest ms |\n|---|---|---|---|");
        foreach (var (what, times) in new[]
        {
            ($"an event's time to its row in sight, {followed.PerSecond:0} events/s", followed.Lags), ("a frame meanwhile", followed.Live),
            ("a frame while all that is kept is scrolled through", followed.Scrolled),
        })
        {
            Say($"| {what} | {At(times, .5):0} | {At(times, .99):0} | {times[^1]:0} |");
        }
        Say($"\nmemory of the page: {string.Join(", ", followed.Heaps.Select(heap => $"{heap.Bytes / 1048576.0:0} MiB after {heap.Events} events"))}");
    }

    async Task Tokens(string server)
    {
        var data = Path.Combine(directory, "tokens");
        await using var host = await HostProcess.Start(HostBuild.This, await NewDatabase(server, "bench_tokens"), data);
        await host.WarmUp(postmaster);
        using var bench = new TokenBench(host, new(postmaster, host.Id), plan.Time);
        await bench.Prepare();
        Say($"\n| tokens of contract D | per second | p50 ms | p99 ms |\n|---|---|---|---|");
        foreach (var inFlight in new[] { 1, 16 })
        {
            foreach (var (what, measured) in new[]
            {
                ("routing tokens issued to members", await bench.IssueOwn(inFlight)),
                ("app's requests verified, claimed and answered with a routing token", await bench.IssueByApp(inFlight)),
            })
            {
                Say($"| {what}, {inFlight} in flight | {measured.PerSecond:0} | {measured.Percentile(.5):0.00} | {measured.Percentile(.99):0.00} |");
            }
        }
        Say($"| tokens read and verified by one thread, without HTTP | {await bench.Verified():0} | | |");
    }

    async Task Context(string server)
    {
        var data = Path.Combine(directory, "context");
        await using var host = await HostProcess.Start(HostBuild.This, await NewDatabase(server, "bench_context"), data);
        await host.WarmUp(postmaster);
        var bench = new ContextBench(host, data, new(postmaster, host.Id), plan.Time);
        var (find, sum, cold, unchanged) = await bench.Run();
        Say($"\n| {ContextBench.Files} files of 2 KiB | files/s | : find | : sha256sum |\n|---|---|---|---|");
        foreach (var (what, figure) in new[] { ("find", find), ("sha256sum", sum), ("context sync, cold", cold), ("context sync, unchanged", unchanged) })
        {
            Say($"| {what} | {figure:0} | {figure / find:0.000} | {figure / sum:0.000} |");
        }
        Say($"\n| search over {ContextBench.Files} files | p50 ms | p99 ms |\n|---|---|---|");
        foreach (var inFlight in new[] { 1, 16 })
        {
            var found = await bench.Query(inFlight);
            Say($"| {inFlight} in flight | {found.Percentile(.5):0.00} | {found.Percentile(.99):0.00} |");
        }
    }

    async Task OfWorks(string server)
    {
        int[] counts = [100, 1_000_000];
        var own = await NewDatabase(server, "bench_works");
        await using var host = await HostProcess.Start(HostBuild.This, own, Path.Combine(directory, "works"));
        await host.WarmUp(postmaster);
        var bench = new WorksBench(host, new(postmaster, host.Id), plan.Time, own);
        var measured = new List<(string What, Measured Measured)>();
        foreach (var count in counts)
        {
            await bench.Fill(count);
            foreach (var (what, measure) in bench.All)
            {
                measured.Add((what, await measure()));
            }
        }
        Say($"\n| contract E | p50 ms at {counts[0]} works | p99 ms | p50 ms at {counts[1]} works | p99 ms | ratio of the p50s |\n|---|---|---|---|---|---|");
        foreach (var of in measured.GroupBy(m => m.What, m => m.Measured))
        {
            var (few, many) = (of.First(), of.Last());
            var ratio = many.Percentile(.5) / few.Percentile(.5);
            Say($"| {of.Key} | {few.Percentile(.5):0.00} | {few.Percentile(.99):0.00} | {many.Percentile(.5):0.00} | {many.Percentile(.99):0.00} | {ratio:0.00} |");
        }
    }

    async Task OfGroups(string server)
    {
        const int Quiet = 2_000;
        var own = await NewDatabase(server, "bench_groups");
        // All of them are one user's.
        var settings = new Dictionary<string, string> { ["Cowork__Http__SocketsPerMember"] = "100000", ["Cowork__Http__MessagesPerSecond"] = "1000" };
        await using var host = await HostProcess.Start(HostBuild.This with { Settings = settings }, own, Path.Combine(directory, "groups"));
        await host.WarmUp(postmaster);
        var bench = new GroupsBench(host, plan.Time);
        // First, while the host has no garbage to spare.
        var each = await bench.MemoryOfOne(Quiet);
        Say($"\na connection to a group on which nothing is said: {each / 1024:0.0} KiB of the host, {(1L << 30) / each:0} in a GiB, over {Quiet}");
        Say($"\n| contract D, 10 groups of 50 connections | messages | p50 ms | p99 ms |\n|---|---|---|---|");
        foreach (var isFeed in (bool[])[false, true, false, true])
        {
            var (delays, messages) = await bench.Deliver(isFeed);
            var how = isFeed ? "by the session's feed (server-sent events)" : "by WebSocket";
            Say($"| a message until each has it, {how} | {messages} | {At(delays, .5):0.00} | {At(delays, .99):0.00} |");
        }
        Say($"\n| a group's messages | p50 ms, last page | p99 ms | p50 ms, a page in the middle | p99 ms |\n|---|---|---|---|---|");
        foreach (var count in (int[])[10, 1_000, 100_000])
        {
            await bench.Fill(own, count);
            var (last, middle) = (await bench.Pages(postmaster, _ => $"?limit=10"), await bench.Pages(postmaster, n => $"?limit=5&since={n * 7_919L % (count - 5)}"));
            Say($"| {count} | {last.Percentile(.5):0.00} | {last.Percentile(.99):0.00} | {middle.Percentile(.5):0.00} | {middle.Percentile(.99):0.00} |");
        }
    }

    async Task Bundles(string server)
    {
        var own = await NewDatabase(server, "bench_bundles");
        await using var host = await HostProcess.Start(HostBuild.This with { Settings = LongRun.Settings }, own, Path.Combine(directory, "bundles"));
        await host.WarmUp(postmaster);
        await BundleFigures.Measure(host, 100);
        Say($"\n| the bundle of a run | KB | request ms | µs an event | host's highest MiB | verify ms | µs an event | verify allocates MiB |");
        Say($"|---|---|---|---|---|---|---|---|");
        foreach (var events in (int[])[10, 1_000, 10_000])
        {
            var of = await BundleFigures.Measure(host, events);
            var (kilobytes, request, check) = (of.Bytes / 1000.0, of.HostMs * 1000 / of.Events, of.VerifyMs * 1000 / of.Events);
            var (memory, allocated) = (of.HostMebibytes, of.VerifyMebibytes);
            Say($"| {of.Events} events | {kilobytes:0} | {of.HostMs:0.0} | {request:0} | {memory:0} | {of.VerifyMs:0.0} | {check:0} | {allocated:0.0} |");
        }
    }

    async Task AsOf(string server)
    {
        var own = await NewDatabase(server, "bench_asof");
        var build = HostBuild.This with { Settings = LongRun.Settings };
        await using var host = await HostProcess.Start(build, own, Path.Combine(directory, "asof"));
        await host.WarmUp(postmaster);
        var bench = new PastBench(host, plan.Time, postmaster);
        var runs = new List<(int Events, string Run, long Middle)>();
        foreach (var events in (int[])[10, 1_000, 10_000])
        {
            runs.Add(await bench.Make(events));
        }
        await host.Sql("VACUUM ANALYZE");
        Say($"\n| GET of a run | p50 ms | p99 ms | with as_of at its middle, p50 ms | p99 ms | ratio of the p50s |\n|---|---|---|---|---|---|");
        foreach (var (events, run, middle) in runs)
        {
            var (now, then) = (await bench.Get($"/runs/{run}"), await bench.Get($"/runs/{run}?as_of={middle}"));
            var (p50, thenP50) = (now.Percentile(.5), then.Percentile(.5));
            Say($"| of {events} events | {p50:0.00} | {now.Percentile(.99):0.00} | {thenP50:0.00} | {then.Percentile(.99):0.00} | {thenP50 / p50:0.00} |");
        }
    }

    async Task Replay(string server)
    {
        var own = await NewDatabase(server, "bench_replay");
        await using var host = await HostProcess.Start(HostBuild.This with { Settings = LongRun.Settings }, own, Path.Combine(directory, "replay"));
        await host.WarmUp(postmaster);
        var bench = new PastBench(host, plan.Time, postmaster);
        Say($"\n| runs, one after another | runs | made, steps/s | replayed, steps/s | replayed, events/s | replayed : made |\n|---|---|---|---|---|---|");
        foreach (var calls in (int[])[1, 10, 100, 1_000])
        {
            var of = await bench.Replays(calls);
            Say($"| of {of.Steps} steps | {of.Runs} | {of.Made:0} | {of.Replayed:0} | {of.Events:0} | {of.Replayed / of.Made:0.0} |");
        }
    }

    async Task Growing(string server)
    {
        Say($"\n| turns over HTTP | host | per second | p50 ms | p99 ms | host CPU µs a turn | PostgreSQL CPU µs a turn |\n|---|---|---|---|---|---|---|");
        await Grow(server, "memories", [10, 1_000, 10_000, 100_000], (growth, count) => growth.WithMemories(count));
        await Grow(server, "sessions", [10, 1_000, 10_000, 100_000], (growth, count) => growth.WithSessions(count));
        await Grow(server, "runs in the session", [10, 100, 1_000, 10_000], (growth, count) => growth.WithRuns(count));
    }

    async Task Grow(string server, string what, long[] counts, Func<Growth, long, Task<Measured>> measure)
    {
        await using var hosts = await Hosts(server, $"bench_{what.Split(' ')[0]}");
        foreach (var (n, host) in hosts.All.Index())
        {
            await host.WarmUp(postmaster);
            var growth = new Growth(host, new(postmaster, host.Id), plan.Time);
            foreach (var count in n == 0 ? counts : counts[..^1])
            {
                var m = await measure(growth, count);
                var (cpu, postgres) = (m.Cpu.Host * 1e6 / m.Count, m.Cpu.Postgres * 1e6 / m.Count);
                Say($"| {count} {what} | {plan.Hosts[n].Name} | {m.PerSecond:0} | {m.Percentile(.5):0.00} | {m.Percentile(.99):0.00} | {cpu:0} | {postgres:0} |");
            }
        }
    }

    async Task Feed()
    {
        await using var host = await FeedLatency.Start(database, Path.Combine(directory, "host"));
        var (commits, delays) = await host.Measure(1_000, plan.Time);
        var (commit, delay) = (At(commits, .99), At(delays, .99));
        Say($"\n1 000 events/s: commit p50 {At(commits, .5):0.00} ms, p99 {commit:0.00} ms;");
        Say($"acknowledged → SSE at the client p50 {At(delays, .5):0.00} ms, p99 {delay:0.00} ms; ratio of the p99s {delay / commit:0.00}");
    }

    async Task Peer(string server)
    {
        Say($"\n| peer | workload | per second | p50 ms | p99 ms |\n|---|---|---|---|---|");
        foreach (var peer in new[] { "restate", "dbos" })
        {
            foreach (var level in await Peers.Run(peer, server, plan.Time, [1, 16, 64], directory))
            {
                Say($"| {level.Peer} {level.Version} | durable runs of three steps, {level.InFlight} in flight | {level.PerSecond:0} | {level.P50Ms:0.00} | {level.P99Ms:0.00} |");
            }
        }
    }

    async Task Kernels()
    {
        Say($"\n| kernels | first cell cold s | warm s | 1 + 1 p50 ms | p99 ms | MiB a kernel | cells/s over {KernelFigures.Count} |\n|---|---|---|---|---|---|---|");
        Print("in sandboxes", await KernelFigures.Measure(plan.Time, directory));
        Print("(peer) jupyter_client, no sandbox", await KernelFigures.MeasurePeer(plan.Time));

        static void Print(string what, KernelFigures f) =>
            Say($"| {what} | {f.ColdS:0.0} | {f.WarmS:0.0} | {f.P50Ms:0.0} | {f.P99Ms:0.0} | {f.Mebibytes:0} | {f.CellsPerSecond:0} |");
    }

    async Task<HostSet> Hosts(string server, string name)
    {
        var hosts = new HostSet();
        foreach (var (n, build) in plan.Hosts.Index())
        {
            hosts.All.Add(await HostProcess.Start(build, await NewDatabase(server, $"{name}_{n}"), Path.Combine(directory, $"{name}-{n}")));
        }
        return hosts;
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
        foreach (var sql in (string[])[$"CREATE DATABASE {name}", $"GRANT CREATE ON DATABASE {name} TO cowork_host"])
        {
            await using var command = new NpgsqlCommand(sql, connection);
            await command.ExecuteNonQueryAsync();
        }
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

    /// <summary>Hosts that run at the same time, in the plan's order.</summary>
    sealed class HostSet : IAsyncDisposable
    {
        public List<HostProcess> All { get; } = [];

        public async ValueTask DisposeAsync()
        {
            foreach (var host in All)
            {
                await host.DisposeAsync();
            }
        }
    }
}
