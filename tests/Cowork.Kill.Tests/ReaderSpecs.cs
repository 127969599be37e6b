using Cowork.Marten;
using Cowork.Testing;

using Marten;

using Npgsql;

using Reader;

namespace Cowork.Kill.Tests;

/// <summary>Programs of others that read a private database while the host works on it: the one of docs/marten.md, and such as harm what they read.</summary>
public sealed class ReaderSpecs : IAsyncLifetime
{
    readonly string data = TestPostgres.NewDirectory();
    HostProcess? host;

    string Postgres => Path.Combine(data, "postgres");

    public async ValueTask InitializeAsync() => host = await HostProcess.Start(data, database: null);

    public async ValueTask DisposeAsync()
    {
        await host!.DisposeAsync();
        Directory.Delete(data, recursive: true);
    }

    [Fact]
    public async Task The_program_of_the_page_reads_streams_and_raw_events_and_states_and_follows_the_log()
    {
        await host!.Http.NewSession("s1");
        var run = (await host.Http.Turn("s1", "one")).Is(200)["run_id"]["run_".Length..];
        (await host.Http.Turn("s1", "two")).Is(200);
        await using var log = LogReader.Open((await PrivatePostgres.FindRunningForReader(Postgres, default))!);
        await using var mine = DocumentStore.For(await TestPostgres.NewDatabase());

        var events = await LogReader.Stream(log, "default", run);
        Assert.IsType<RunCreated>(events[0].Data);
        Assert.Equal("s1", ((RunCreated)events[0].Data).SessionId);
        Assert.IsType<RunCompleted>(events[^1].Data);
        Assert.Equal(64, events[0].GetHeader("hash")!.ToString()!.Length);
        Assert.Equal(2, (await LogReader.Raw(log, "default", "run_completed.v1", 0)).Count);
        var state = await LogReader.Live(log, "default", run);
        Assert.True(state!.IsCompleted);
        Assert.NotEmpty(state.Text);

        Assert.Equal(2, (await LogReader.Follow(log, mine, "default")).Runs);
        (await host.Http.Turn("s1", "three")).Is(200);
        Assert.Equal(3, (await LogReader.Follow(log, mine, "default")).Runs);
        Assert.Equal(3, (await LogReader.Follow(log, mine, "default")).Runs);
    }

    [Fact]
    public async Task A_reader_may_read_everything_and_write_nothing()
    {
        await host!.Http.NewSession("s1");
        var reader = (await PrivatePostgres.FindRunningForReader(Postgres, default))!;
        Assert.True(await Ask<long>(reader, "SELECT count(*) FROM cowork.log_events") > 0);
        Assert.True(await Ask<long>(reader, "SELECT count(*) FROM cowork.sessions") > 0);
        foreach (var harm in (string[])[
            "ALTER TABLE cowork.mt_events DROP COLUMN headers", "DELETE FROM cowork.mt_events", "UPDATE cowork.head SET gid = 0", "DROP SCHEMA cowork CASCADE", "CREATE TABLE public.mine (i int)"])
        {
            var refused = await Assert.ThrowsAsync<PostgresException>(() => Ask<string>(reader + ";Options=-c default_transaction_read_only=off", harm));
            Assert.Equal(PostgresErrorCodes.InsufficientPrivilege, refused.SqlState);
        }
    }

    [Fact]
    public async Task Hosts_own_nothing_the_owner_cannot_drop_a_column_and_neither_is_a_superuser()
    {
        var (host, owner) = ((await PrivatePostgres.FindRunning(Postgres, default))!, (await PrivatePostgres.FindRunningForOwner(Postgres, default))!);
        foreach (var (role, code) in (IEnumerable<(string, string)>)[(host, PostgresErrorCodes.InsufficientPrivilege), (owner, PostgresErrorCodes.DependentObjectsStillExist)])
        {
            Assert.False(await Ask<bool>(role, "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = current_user"));
            var refused = await Assert.ThrowsAsync<PostgresException>(() => Ask<string>(role, "ALTER TABLE cowork.mt_events DROP COLUMN headers"));
            Assert.Equal(code, refused.SqlState);
        }
        Assert.Equal(0, await Ask<long>(host, "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"));
        Assert.Equal(1, await Ask<long>(host, "SELECT count(DISTINCT usename) FROM pg_stat_activity WHERE application_name = 'cowork writer' AND usename = current_user"));
    }

    static async Task<T> Ask<T>(string at, string sql)
    {
        await using var connection = new NpgsqlConnection(at + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (T)(await command.ExecuteScalarAsync())!;
    }
}
