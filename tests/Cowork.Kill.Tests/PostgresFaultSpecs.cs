using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>A PostgreSQL of each test's own, that dies, hangs and comes back under load.</summary>
public sealed class PostgresFaultSpecs : OwnPostgresHarness
{
    string Socket => Path.Combine(new NpgsqlConnectionStringBuilder(Postgres.ConnectionString).Host!, ".s.PGSQL.5432");

    protected override IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string> { ["fsync"] = "off", ["max_wal_size"] = "256MB" };

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task The_writers_backend_killed_under_load(int seed) =>
        await Survives(Postgres.ConnectionString, seed, 4, async _ =>
        {
            await using var other = new NpgsqlConnection(Postgres.ConnectionString + ";Pooling=false");
            await other.OpenAsync();
            var pid = await Ask<int>("SELECT pid FROM pg_stat_activity WHERE application_name = 'cowork writer' LIMIT 1");
            Process.GetProcessById(pid).Kill();
            // PostgreSQL then ends every session, a moment later. What is written from there on is written after the fault.
            await Patience.Until(async () => await Ends(other), "the server ends every session");
        });

    [Fact]
    public async Task The_server_stopped_at_once_under_load() =>
        await Survives(Postgres.ConnectionString, 3, 3, async _ =>
        {
            // SIGQUIT: what pg_ctl stop -m immediate sends.
            using var kill = Process.Start("/bin/sh", ["-c", $"kill -QUIT {Postgres.ProcessId}"]);
            await kill.WaitForExitAsync();
        });

    [Fact]
    public async Task The_writers_session_ended_by_an_administrator_under_load() =>
        await Survives(Postgres.ConnectionString, 4, 10, async _ =>
            await Ask<bool>("SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity WHERE application_name = 'cowork writer'"));

    [Theory]
    [InlineData(5, false)]
    [InlineData(6, true)] // the server's answers are lost first, so that commits take place of which nobody hears
    public async Task The_network_cut_under_load(int seed, bool deaf)
    {
        await using var proxy = new CuttingProxy(Socket);
        var through = new NpgsqlConnectionStringBuilder(Postgres.ConnectionString) { Host = "127.0.0.1", Port = proxy.Port }.ConnectionString;
        await Survives(through, seed, 12, async random =>
        {
            proxy.IsDeaf = deaf;
            await Task.Delay(random.Next(30));
            proxy.Cut();
            proxy.IsDeaf = false;
        });
    }

    [Fact]
    public async Task A_network_that_hangs_is_noticed_within_the_time_of_a_command()
    {
        await using var proxy = new CuttingProxy(Socket);
        var through = new NpgsqlConnectionStringBuilder(Postgres.ConnectionString) { Host = "127.0.0.1", Port = proxy.Port }.ConnectionString;
        var node = NodeOf(await Start(through, "a"));
        var chain = new Chain(Org, "run-1", "s1");
        await node.Log.Append(chain.Commit("before"), None);

        proxy.IsDeaf = true;
        var unheard = chain.Commit("unheard");
        await Patience.Within(TimeSpan.FromSeconds(20), () => Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Log.Append(unheard, None)));

        proxy.IsDeaf = false;
        proxy.Cut();
        await Patience.Until(async () => await IsUp(node, new Chain(Org, $"run-after-{Stopwatch.GetTimestamp()}")), "it heals");
        await chain.Reload(node.Log);
        Assert.InRange(chain.Version, 1, 2);
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_server_that_stays_away_fails_callers_soon_and_then_at_once_and_heals_by_itself()
    {
        var engine = await Start(Postgres.ConnectionString, "a");
        var node = NodeOf(engine);
        await node.Log.Append(new Chain(Org, "run-before").Commit("text"), None);
        await Postgres.DisposeAsync();

        await Patience.Within(
            TimeSpan.FromSeconds(6), () => Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Log.Append(new Chain(Org, "run-1").Commit("text"), None)));
        var at = Stopwatch.GetTimestamp();
        await Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Log.Append(new Chain(Org, "run-2").Commit("text"), None));
        await Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Log.Load(Org, "run-1", 0, 10, None));
        await Assert.ThrowsAsync<StorageUnavailableException>(async () => await node.Rows.Get(Org, "tallies", "1", None));
        Assert.InRange(Stopwatch.GetElapsedTime(at), TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(1)));
        Assert.False(engine.IsUp);

        Postgres = await Boot();
        at = Stopwatch.GetTimestamp();
        await Patience.Until(() => engine.IsUp, "the writer has its connection back");
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new Chain(Org, "run-3").Commit("text"), None));
        Assert.InRange(Stopwatch.GetElapsedTime(at), TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(2)));
        await AssertLedger(node);
    }

    [Fact]
    public async Task An_idle_node_notices_that_the_server_went_and_came_back()
    {
        var engine = await Start(Postgres.ConnectionString, "a");
        await Postgres.DisposeAsync();
        await Patience.Until(() => !engine.IsUp, "it notices");
        Postgres = await Boot();
        await Patience.Until(() => engine.IsUp, "it heals");
        Assert.IsType<AppendResult.Ok>(await engine.Log.Append(new Chain(Org, "run-1").Commit("text"), None));
    }

    [Fact]
    public async Task Jobs_outlive_the_server()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var claim = await worker.Next();
        await Postgres.DisposeAsync();
        await node.Jobs.Release(claim, TimeSpan.Zero, None);
        Postgres = await Boot();
        Assert.Equal("1", (await worker.Next()).Key);
    }

    /// <summary>Whether the session has been ended from without.</summary>
    static async Task<bool> Ends(NpgsqlConnection connection)
    {
        try
        {
            await using var ask = new NpgsqlCommand("SELECT 1", connection);
            await ask.ExecuteScalarAsync();
            return false;
        }
        catch (NpgsqlException)
        {
            return true;
        }
    }

    /// <summary>
    /// Writers that never stop, and faults between their commits. Whatever was acknowledged is there once; what was not is there or not, and its writer can tell.
    /// </summary>
    async Task Survives(string at, int seed, int faults, Func<Random, Task> fault)
    {
        seed = Seeds.One(seed);
        var heard = new Heard();
        var engine = await Start(at, "a", heard);
        var node = NodeOf(engine);
        using var stop = new CancellationTokenSource();
        var acknowledged = new List<(string Stream, Guid Id)>();
        var unsure = 0;
        var writers = Enumerable.Range(0, 24).Select(w => Task.Run(async () =>
        {
            var chain = new Chain(Org, $"run-{w}", $"s{w % 3}");
            while (!stop.IsCancellationRequested)
            {
                var commit = chain.Commit("one", "two");
                try
                {
                    Assert.IsType<AppendResult.Ok>(await node.Log.Append(commit, None));
                }
                catch (StorageUnavailableException)
                {
                    Interlocked.Increment(ref unsure);
                    var last = chain.Version;
                    await Patience.Until(() => Reloads(chain, node), "the log can be read again");
                    Assert.True(chain.Version == last || chain.Version == last - 2, $"seed {seed}: half a commit");
                    continue;
                }
                lock (acknowledged)
                {
                    acknowledged.AddRange(commit.Writes[0].Events.Select(e => (e.Stream, e.Id)));
                }
            }
        })).ToList();

        var random = new Random(seed);
        for (var i = 0; i < faults; i++)
        {
            var count = Acknowledged();
            await Patience.Until(() => Acknowledged() >= count + 100 || writers.Exists(w => w.IsFaulted), $"seed {seed}: progress before fault {i}");
            await Task.Delay(random.Next(40));
            await fault(random);
        }
        var after = Acknowledged();
        await Patience.Until(() => Acknowledged() >= after + 100 || writers.Exists(w => w.IsFaulted), $"seed {seed}: progress after the last fault");
        await stop.CancelAsync();
        await Task.WhenAll(writers);

        var log = (await AssertLedger(node)).Where(e => e.Stream.StartsWith("run-", StringComparison.Ordinal)).ToList();
        var there = log.Select(e => (e.Stream, e.Id)).ToHashSet();
        Assert.True(acknowledged.TrueForAll(there.Contains), $"seed {seed}: something acknowledged is missing");
        Assert.True(log.Count - acknowledged.Count <= unsure * 2, $"seed {seed}: more was written than was asked for");
        Assert.Equal(heard.Entries.Count, heard.Entries.Select(e => e.Position).Distinct().Count());

        int Acknowledged()
        {
            lock (acknowledged)
            {
                return acknowledged.Count;
            }
        }
    }

    static async Task<bool> Reloads(Chain chain, Node node)
    {
        try
        {
            await chain.Reload(node.Log);
            // A node that has its connection has also settled what it was in doubt about.
            return await IsUp(node, new Chain(Org, $"probe-{Stopwatch.GetTimestamp()}-{Environment.CurrentManagedThreadId}")) && await Again(chain, node);
        }
        catch (StorageUnavailableException)
        {
            return false;
        }
    }

    static async Task<bool> Again(Chain chain, Node node)
    {
        await chain.Reload(node.Log);
        return true;
    }

    static async Task<bool> IsUp(Node node, Chain probe)
    {
        try
        {
            return await node.Log.Append(probe.Commit("up?"), None) is AppendResult.Ok;
        }
        catch (StorageUnavailableException)
        {
            return false;
        }
    }

    /// <summary>Asks the server, as soon as it answers: the fault before may have only just been.</summary>
    async Task<T> Ask<T>(string sql)
    {
        T? answer = default;
        await Patience.Until(
            async () =>
            {
                try
                {
                    await using var connection = new NpgsqlConnection(Postgres.ConnectionString + ";Pooling=false");
                    await connection.OpenAsync();
                    await using var command = new NpgsqlCommand(sql, connection);
                    answer = await command.ExecuteScalarAsync() is T found ? found : default;
                    return answer is not null && !answer.Equals(default(T));
                }
                catch (NpgsqlException)
                {
                    return false;
                }
            },
            sql);
        return answer!;
    }
}
