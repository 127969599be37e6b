using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Hosts and databases are killed while work is under way; nothing that was acknowledged is lost or done twice (faults.md, rows 1 to 8).</summary>
public sealed class KillSpecs : DirectorySpecs
{
    const string Message = "/sleep 20\n/tool list_files {}\n/tool remember {\"content\":\"the launch is on Friday\"}\n/say done";

    readonly int seed = Seeds.One(20261121);

    [Fact]
    public async Task A_host_killed_again_and_again_loses_nothing_and_repeats_nothing()
    {
        var random = new Random(seed);
        var database = await TestPostgres.NewDatabase();
        var host = await HostProcess.Start(Data, database);
        try
        {
            var clients = new Clients(() => host.Url, "killed");
            await clients.Open(sessions: 8);
            using var over = new CancellationTokenSource();
            var following = clients.Follow(over.Token);
            var sending = clients.SendTurns(clients: 16, each: 12, sessions: 8, Message);
            for (var kills = 0; kills < 5; kills++)
            {
                var before = clients.Acknowledged.Count;
                await Task.Delay(random.Next(50, 700));
                await host.Kill();
                await host.DisposeAsync();
                host = await HostProcess.Start(Data, database);
                // Progress is made in every life, so that no loop of crashes starves.
                await Patience.Until(() => sending.IsCompleted || clients.Acknowledged.Count > before, "a turn is accepted after the restart");
            }
            await sending;
            await clients.AllCompleted();
            await over.CancelAsync();
            await following;
            Assert.Equal(16 * 12, clients.Acknowledged.Distinct().Count());
            clients.SawTheSame();
            Assert.Equal(0, await host.Stop());
            await Ledger.Check(database, clients.Acknowledged);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"seed {seed}; the host said:\n{host.Output}", e);
        }
        finally
        {
            await host.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_killed_host_finds_its_private_database_and_goes_on()
    {
        await using var first = await HostProcess.Start(Data, database: null);
        var clients = new Clients(() => first.Url, "private");
        await clients.Open();
        await clients.SendTurns(clients: 4, each: 2, sessions: 1, "/sleep 2000\n/say done");
        await first.Kill();
        await using var second = await HostProcess.Start(Data, database: null);
        var later = new Clients(() => second.Url, "private");
        await later.SendTurns(clients: 4, each: 2, sessions: 1, "/sleep 2000\n/say done");
        // The same keys: the very runs that were accepted before the crash.
        Assert.Equal(clients.Acknowledged.Order(), later.Acknowledged.Order());
        await later.AllCompleted();
        Assert.Equal(0, await second.Stop());
    }

    [Fact]
    public async Task A_killed_PostgreSQL_is_started_again_by_its_host_and_nothing_is_lost()
    {
        await using var host = await HostProcess.Start(Data, database: null);
        await Telling(() => KillPostgresUnderLoad(host), host);
    }

    async Task KillPostgresUnderLoad(HostProcess host)
    {
        var clients = new Clients(() => host.Url, "pg");
        await clients.Open(sessions: 8);
        using var over = new CancellationTokenSource();
        var following = clients.Follow(over.Token);
        var sending = clients.SendTurns(clients: 16, each: 12, sessions: 8, Message);
        for (var kills = 0; kills < 3; kills++)
        {
            var before = clients.Acknowledged.Count;
            await Patience.Until(() => sending.IsCompleted || clients.Acknowledged.Count > before + 10, "turns are accepted");
            KillPostgres();
            await Patience.Until(() => sending.IsCompleted || clients.Acknowledged.Count > before + 20, "turns are accepted after the database came back");
        }
        await sending;
        await clients.AllCompleted();
        await over.CancelAsync();
        await following;
        Assert.False(host.HasExited);
        clients.SawTheSame();
        Assert.All(clients.Refusals, status => Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, status));
        var connection = await Cowork.Marten.PrivatePostgres.FindRunningForOwner(Path.Combine(Data, "postgres"), CancellationToken.None);
        await Patience.Until(async () => (await host.Http.GetAsync("/health/ready")).IsSuccessStatusCode, "the host is ready");
        await Ledger.Check(connection!, clients.Acknowledged);
        Assert.Equal(0, await host.Stop());
    }

    [Fact]
    public async Task While_the_database_is_away_answers_are_503_with_Retry_After_and_then_right_again()
    {
        await using var host = await HostProcess.Start(Data, database: null);
        await host.Http.NewSession("away");
        SignalPostgres("STOP");
        try
        {
            var answer = await host.Http.Turn("away", "hello");
            answer.IsProblem(503, "storage_unavailable");
            Assert.True(answer.Headers.Contains("Retry-After"));
            (await host.Http.Get("/health/live")).Is(200);
            await host.Http.Until("/health/ready", got => (int)got.Status == 503);
        }
        finally
        {
            SignalPostgres("CONT");
        }
        await host.Http.Until("/health/ready", got => (int)got.Status == 200);
        Assert.Equal("completed", (await host.Http.Turn("away", "/say back")).Is(200)["status"]);
    }

    [Fact]
    public async Task Two_hosts_are_one_service_with_one_feed_and_each_run_once()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        var turn = 0;
        var clients = new Clients(() => (Interlocked.Increment(ref turn) % 2 == 0 ? a : b).Url, "two");
        await clients.Open(sessions: 8);
        using var over = new CancellationTokenSource();
        var following = clients.Follow(over.Token);
        await clients.SendTurns(clients: 16, each: 10, sessions: 8, Message);
        await clients.AllCompleted();
        await over.CancelAsync();
        await following;
        clients.SawTheSame();
        Assert.Equal(160, clients.Acknowledged.Distinct().Count());
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, clients.Acknowledged);
    }

    [Fact]
    public async Task A_run_is_cancelled_through_the_other_host_within_a_second()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        await a.Http.NewSession("cancel");
        var run = (await a.Http.Turn("cancel", "/sleep 60000", wait: false)).Is(202)["run_id"];
        await b.Http.Until($"/runs/{run}", got => got["status"] == "running");
        (await b.Http.Post($"/runs/{run}/cancel")).Is(202);
        await Patience.Within(TimeSpan.FromSeconds(2), () => a.Http.Until($"/runs/{run}", got => got["status"] == "cancelled"));
        await Ledger.Check(database, [run]);
    }

    [Fact]
    public async Task A_paused_host_is_fenced_and_the_other_finishes_its_runs()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        var clients = new Clients(() => a.Url, "paused");
        await clients.Open(sessions: 8);
        await clients.SendTurns(clients: 8, each: 1, sessions: 8, "/sleep 1500\n/tool list_files {}\n/say done");
        foreach (var run in clients.Acknowledged)
        {
            await b.Http.Until($"/runs/{run}", got => got["status"] == "running");
        }
        a.Pause();
        foreach (var run in clients.Acknowledged)
        {
            var got = await b.Http.Until($"/runs/{run}", g => g["status"] == "completed");
            Assert.Equal("2", got["attempt"]);
        }
        a.Continue();
        // It finds out, and is a host like any other again.
        await a.Http.NewSession("afterwards");
        Assert.Equal("completed", (await a.Http.Turn("afterwards", "/say here again")).Is(200)["status"]);
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, clients.Acknowledged);
    }

    [Fact]
    public async Task A_graceful_stop_gives_runs_to_the_other_host_at_once()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        await a.Http.NewSession("handed");
        var run = (await a.Http.Turn("handed", "/sleep 1500\n/say done", wait: false)).Is(202)["run_id"];
        await b.Http.Until($"/runs/{run}", got => got["status"] == "running");
        Assert.Equal(0, await a.Stop());
        // Well within the lease of ten seconds.
        Assert.Equal("2", (await Patience.Within(TimeSpan.FromSeconds(6), () => b.Http.Until($"/runs/{run}", got => got["status"] == "completed")))["attempt"]);
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, [run]);
    }

    void KillPostgres() => SignalPostgres("KILL");

    void SignalPostgres(string signal)
    {
        var postmaster = int.Parse(File.ReadLines(Path.Combine(Data, "postgres", "postmaster.pid")).First());
        // A stopped postmaster alone would still answer through its backends.
        var pids = signal == "KILL" ? [postmaster] : Children(postmaster).Append(postmaster);
        foreach (var pid in pids)
        {
            using var kill = System.Diagnostics.Process.Start("/bin/sh", ["-c", $"kill -{signal} {pid}"]);
            kill.WaitForExit();
        }
    }

    static IEnumerable<int> Children(int parent)
    {
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), out var pid) && File.Exists($"{directory}/stat"))
            {
                var stat = File.ReadAllText($"{directory}/stat");
                if (stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1] == $"{parent}")
                {
                    yield return pid;
                }
            }
        }
    }

    /// <summary>Puts what the hosts said into the failure.</summary>
    static async Task Telling(Func<Task> test, params HostProcess[] hosts)
    {
        try
        {
            await test();
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{e.Message}\nThe hosts said:\n{string.Join("\n\n", hosts.Select(host => host.Output))}", e);
        }
    }
}
