using System.Text.Json;

using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>The figures of <c>GET /metrics</c> while projections are parked and hosts restarted, paused and killed.</summary>
public sealed class MetricsKillSpecs : DirectorySpecs
{
    [Fact]
    public async Task A_parked_projection_is_shown_fails_nothing_and_goes_on_after_a_rebuild_or_a_restart()
    {
        const string Spoil = "UPDATE cowork.metrics SET row = '{\"case\":\"tenant\"}' WHERE id = 'tenant'";
        var database = await TestPostgres.NewDatabase();
        string good;
        await using (var first = await HostProcess.Start(Data, database))
        {
            await first.Http.NewSession("p");
            await first.Http.Turn("p", "/say before");
            await first.Http.Until("/metrics", Completed(1));
            // The next event finds a row that it cannot be folded into.
            await Ask(database, Spoil);
            Assert.Equal("completed", (await first.Http.Turn("p", "/say after")).Is(200)["status"]);
            var ready = await first.Http.Until("/health/ready", Parked(1));
            Assert.Equal(("ready", "metrics"), (ready.Is(200)["status"], ready.Json.GetProperty("parked")[0].GetString()));
            var shown = (await first.Http.Get("/projections")).Is(200).Json.GetProperty("projections").EnumerateArray()
                .Single(projection => projection.GetProperty("parked").ValueKind == JsonValueKind.Object);
            var poison = shown.GetProperty("parked");
            Assert.True(shown.GetProperty("position").GetInt64() < poison.GetProperty("gid").GetInt64());
            Assert.Equal("run_created.v1", poison.GetProperty("type").GetString());
            Assert.StartsWith("run-", poison.GetProperty("stream_id").GetString(), StringComparison.Ordinal);
            await first.Said("metrics is PARKED");

            var (code, output) = await CoworkCli.Run(database, "rebuild");
            Assert.True(code == 0, output);
            await first.Http.Until("/metrics", Completed(2));
            await first.Http.Until("/health/ready", Parked(0));
            await first.Http.Turn("p", "/say once more");
            await first.Http.Until("/metrics", Completed(3));

            good = await Ask(database, "SELECT row::text FROM cowork.metrics WHERE id = 'tenant'");
            await Ask(database, Spoil);
            await first.Http.Turn("p", "/say last");
            await first.Http.Until("/health/ready", Parked(1));
            Assert.Equal(0, await first.Stop());
        }
        await Ask(database, $"UPDATE cowork.metrics SET row = '{good}' WHERE id = 'tenant'");
        await using var second = await HostProcess.Start(Data, database);
        await second.Http.Until("/metrics", Completed(4));
        await second.Http.Until("/health/ready", Parked(0));
        await second.Said("metrics is no longer parked");
        Assert.Equal(0, await second.Stop());
        await Ledger.Check(database, []);

        static Func<Got, bool> Completed(int runs) => got => (int)got.Status == 200 && got.Json.GetProperty("status_counts").GetProperty("completed").GetInt32() == runs;
        static Func<Got, bool> Parked(int models) => got => got.Is(200).Json.GetProperty("parked").GetArrayLength() == models;
    }

    [Fact]
    public async Task Two_hosts_count_every_run_once_and_a_host_killed_in_the_middle_leaves_exact_counts()
    {
        var database = await TestPostgres.NewDatabase();
        var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        try
        {
            var turn = 0;
            var dead = false;
            var clients = new Clients(() => Volatile.Read(ref dead) || Interlocked.Increment(ref turn) % 2 == 0 ? b.Url : a.Url, "metered");
            await clients.Open(sessions: 6);
            var sending = clients.SendTurns(clients: 12, each: 8, sessions: 6, "/sleep 20\n/tool list_files {}\n/say done");
            await b.Http.Until("/metrics", got => got.Json.GetProperty("status_counts").GetProperty("completed").GetInt64() > 10);
            await a.Kill();
            Volatile.Write(ref dead, true);
            await a.DisposeAsync();
            await sending;
            await clients.AllCompleted();
            var counted = await b.Http.Until("/metrics", got => got.Json.GetProperty("status_counts").GetProperty("completed").GetInt64() >= 96);
            var status = counted.Json.GetProperty("status_counts");
            Assert.Equal((96, 96), (clients.Acknowledged.Distinct().Count(), (int)status.GetProperty("completed").GetInt64()));
            Assert.Equal((96, 0, 0), (counted.Json.GetProperty("run_count").GetInt32(), status.GetProperty("queued").GetInt32(), status.GetProperty("running").GetInt32()));
            Assert.Equal(96, Count(counted.Json.GetProperty("latency"), "execution"));
            Assert.Equal(0, await b.Stop());
            await Ledger.Check(database, clients.Acknowledged);
        }
        catch (Exception e)
        {
            var left = await Ask(database, """
                SELECT concat_ws(E'\n', now(), (SELECT string_agg(concat_ws(' ', kind, key, holder, epoch, due, again), E'\n') FROM cowork.jobs),
                    (SELECT string_agg(concat_ws(' ', id, expires), E'\n') FROM cowork.nodes),
                    (SELECT string_agg(concat_ws(' ', e.seq_id, e.stream_id, e.type, e.data->>'epoch', e.timestamp::time), E'\n' ORDER BY e.seq_id)
                        FROM cowork.mt_events e JOIN cowork.runs r ON e.stream_id = 'run-' || r.id WHERE r.status = 'running'))
                """);
            throw new InvalidOperationException($"{e.Message}\nLeft in the database:\n{left}\nThe hosts said:\n{a.Output}\n\n{b.Output}", e);
        }
    }

    [Fact]
    public async Task A_host_that_is_stopped_in_its_tracks_does_not_hold_the_figures_of_the_others()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: Shared);
        await using var b = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: Shared);
        var runs = new List<string>();
        await a.Http.NewSession("a");
        await b.Http.NewSession("b");
        await Turn(a, "a");
        await Counted(a);
        // One of the two has been at it so far.
        await Paused(a, b, "b");
        await Paused(b, a, "a");
        await Paused(a, b, "b");
        await Counted(a);
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, runs);

        async Task Paused(HostProcess paused, HostProcess goesOn, string session)
        {
            paused.Pause();
            await Turn(goesOn, session);
            await Counted(goesOn);
            await Turn(goesOn, session);
            await Counted(goesOn);
            paused.Continue();
        }

        async Task Turn(HostProcess host, string session) => runs.Add((await host.Http.Turn(session, "/say hello")).Is(200)["run_id"]);

        // Before the lease of the one that is stopped is over.
        Task Counted(HostProcess host) => Patience.Within(TimeSpan.FromSeconds(8), () => host.Http.Until(
            "/metrics", got => got.Is(200).Json.GetProperty("status_counts").GetProperty("completed").GetInt32() == runs.Count));
    }

    static int Count(JsonElement latency, string of) => latency.GetProperty(of).GetProperty("count").GetInt32();

    static async Task<string> Ask(string database, string sql)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using var command = source.CreateCommand(sql);
        return (string?)await command.ExecuteScalarAsync() ?? "";
    }
}
