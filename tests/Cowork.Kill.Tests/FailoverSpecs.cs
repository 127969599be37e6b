
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>Servers that are reachable and take no writes, and servers that take over from others.</summary>
public sealed class FailoverSpecs : OwnPostgresHarness
{
    string Administrator => Postgres.AdministratorConnectionString;

    protected override string Address => Administrator;

    protected override string? Owner => null;

    [Fact]
    public async Task A_server_that_becomes_read_only_is_told_to_callers_and_the_node_heals_by_itself()
    {
        var engine = await Start(Administrator, "a");
        var chain = new Chain(Org, "run-1");
        await engine.Log.Append(chain.Commit("before"), None);

        await Execute("ALTER DATABASE cowork SET default_transaction_read_only = on");
        await CutAll();
        for (var i = 0; i < 3; i++)
        {
            await Patience.Within(TimeSpan.FromSeconds(6), () => Assert.ThrowsAsync<StorageUnavailableException>(
                async () => await engine.Log.Append(new Chain(Org, $"run-late-{i}").Commit("late"), None).AsTask().WaitAsync(Deadline)));
        }
        Assert.False(engine.IsUp);

        await Execute("ALTER DATABASE cowork RESET default_transaction_read_only");
        await Patience.Until(() => engine.IsUp, "it heals");
        await chain.Reload(engine.Log);
        Assert.IsType<AppendResult.Ok>(await engine.Log.Append(chain.Commit("after"), None));
        await AssertLedger(NodeOf(engine));
    }

    [Fact]
    public async Task An_idle_node_notices_that_its_server_takes_no_writes_any_more()
    {
        var engine = await Start(Administrator, "a");
        await Execute("ALTER DATABASE cowork SET default_transaction_read_only = on");
        await CutAll();
        await Patience.Until(() => !engine.IsUp, "it notices");
        await Execute("ALTER DATABASE cowork RESET default_transaction_read_only");
        await Patience.Until(() => engine.IsUp, "it heals");
    }

    [Fact]
    public async Task A_commit_that_is_undone_by_a_deadlock_is_written_again()
    {
        var engine = await Start(Administrator, "a");
        var chain = new Chain(Org, "run-1", "s1", "1");
        await engine.Log.Append(chain.Commit("one"), None);
        // It takes a read model's row, which the writer takes second, and then the head row, which the writer takes first. The writer waits longest, and is undone.
        await using var other = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(Administrator) { Pooling = false, Options = "-c deadlock_timeout=60s" }.ConnectionString);
        await other.OpenAsync();
        await using var transaction = await other.BeginTransactionAsync();
        await using (var row = new NpgsqlCommand("SELECT FROM cowork.tallies FOR UPDATE", other))
        {
            await row.ExecuteNonQueryAsync();
        }
        var append = engine.Log.Append(chain.Commit("two"), None).AsTask();
        const string Waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cowork writer' AND wait_event_type = 'Lock'";
        await Patience.Until(async () => await Ask<long>(Waiting) == 1, "the writer waits");
        await using (var head = new NpgsqlCommand("SELECT FROM cowork.head FOR UPDATE", other))
        {
            await head.ExecuteNonQueryAsync();
        }
        Assert.Equal(1, await Ask<long>("SELECT deadlocks FROM pg_stat_database WHERE datname = 'cowork'", until: 1));
        await transaction.CommitAsync();
        Assert.Equal(new AppendResult.Ok(2), await append);
        await AssertLedger(NodeOf(engine));
    }

    [Fact]
    public async Task A_host_goes_over_to_the_standby_that_is_promoted()
    {
        await using var standby = await Standby.Of(Postgres);
        var both = new NpgsqlConnectionStringBuilder(Administrator) { Host = $"{new NpgsqlConnectionStringBuilder(Administrator).Host},{standby.Directory}", TargetSessionAttributes = "read-write" }.ConnectionString;
        var data = TestPostgres.NewDirectory();
        await using (var host = await HostProcess.Start(data, both))
        {
            await host.Http.NewSession("s1");
            for (var i = 0; i < 3; i++)
            {
                (await host.Http.Turn("s1", $"before {i}")).Is(200);
            }
            await standby.CaughtUp();
            await Postgres.DisposeAsync();

            (await host.Http.Turn("s1", "nobody takes it")).IsProblem(503, "storage_unavailable");
            await host.Http.Until("/health/ready", got => (int)got.Status == 503);
            (await host.Http.Turn("s1", "nor this")).IsProblem(503, "storage_unavailable");

            await standby.Promote();
            await Patience.Within(TimeSpan.FromSeconds(15), () => host.Http.Until("/health/ready", got => (int)got.Status == 200));
            (await host.Http.Turn("s1", "after")).Is(200);
            (await host.Http.Get("/health/live")).Is(200);
        }
        await using var engine = StorageEngine.New(new(both, "checks", []));
        await engine.StartAsync(None);
        var texts = 0;
        await foreach (var e in engine.Log.Scan(0, None))
        {
            texts += e.Type.StartsWith("run_created", StringComparison.Ordinal) ? 1 : 0;
        }
        Assert.InRange(texts, 4, 6);
        Directory.Delete(data, recursive: true);
    }

    [Fact]
    public async Task A_host_whose_database_is_read_only_at_the_start_waits_until_it_is_not()
    {
        await Execute("ALTER DATABASE cowork SET default_transaction_read_only = on");
        var data = TestPostgres.NewDirectory();
        await using (var host = HostProcess.Launch(data, Administrator))
        {
            await host.Listening();
            await host.Said("read-only");
            (await host.Http.Get("/health/ready")).IsProblem(503);
            await Execute("ALTER DATABASE cowork RESET default_transaction_read_only");
            await host.Ready();
        }
        Directory.Delete(data, recursive: true);
    }

    [Fact]
    public async Task A_host_whose_database_becomes_read_only_answers_503_and_heals_by_itself()
    {
        var data = TestPostgres.NewDirectory();
        await using (var host = await HostProcess.Start(data, Administrator))
        {
            await host.Http.NewSession("s1");
            await Execute("ALTER DATABASE cowork SET default_transaction_read_only = on");
            await CutAll();
            for (var i = 0; i < 3; i++)
            {
                (await host.Http.Turn("s1", $"late {i}")).IsProblem(503, "storage_unavailable");
            }
            (await host.Http.Get("/health/ready")).IsProblem(503);
            (await host.Http.Get("/health/live")).Is(200);
            await Execute("ALTER DATABASE cowork RESET default_transaction_read_only");
            await host.Http.Until("/health/ready", got => (int)got.Status == 200);
            (await host.Http.Turn("s1", "after")).Is(200);
        }
        Directory.Delete(data, recursive: true);
    }

    async Task<T> Ask<T>(string sql, T? until = default)
        where T : struct
    {
        T answer = default;
        await Patience.Until(
            async () =>
            {
                await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(Administrator) { Pooling = false }.ConnectionString);
                await connection.OpenAsync();
                await using var command = new NpgsqlCommand(sql, connection);
                answer = (T)(await command.ExecuteScalarAsync())!;
                return until is null || answer.Equals(until.Value);
            },
            sql);
        return answer;
    }

    /// <summary>Ends every other session of the database.</summary>
    Task CutAll() => Execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cowork' AND pid <> pg_backend_pid()");

    /// <summary>As an administrator, from another database.</summary>
    async Task Execute(string sql)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(Administrator) { Database = "postgres", Pooling = false }.ConnectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }
}
