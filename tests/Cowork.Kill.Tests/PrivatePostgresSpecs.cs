using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Npgsql;

namespace Cowork.Kill.Tests;

public sealed class PrivatePostgresSpecs : IAsyncLifetime
{
    static readonly TimeSpan Deadline = TimeSpan.FromSeconds(30);

    readonly string _directory = TestPostgres.NewDirectory();

    public ValueTask InitializeAsync() => default;

    public async ValueTask DisposeAsync()
    {
        foreach (var left in Directory.GetDirectories(Path.GetTempPath(), Path.GetFileName(_directory) + "*"))
        {
            if (await PrivatePostgres.FindRunning(Path.Combine(left, "postgres"), CancellationToken.None) is not null)
            {
                await (await Start(Path.Combine(left, "postgres"))).DisposeAsync();
            }
            Directory.Delete(left, recursive: true);
        }
    }

    [Fact]
    public async Task A_server_is_made_answers_and_is_gone_after_dispose()
    {
        var data = Path.Combine(_directory, "postgres");
        await using (var postgres = await Start(data))
        {
            Assert.Equal("on", await Ask(postgres, "show data_checksums"));
            Assert.Equal("", await Ask(postgres, "show listen_addresses"));
            Assert.Equal("UTF8", await Ask(postgres, "select getdatabaseencoding()::text"));
            Assert.Equal("C.UTF-8", await Ask(postgres, "select datcollate::text from pg_database where datname = current_database()"));
            Assert.Equal(data, await Ask(postgres, "show data_directory"));
            Assert.StartsWith($"{postgres.ProcessId}\n", await File.ReadAllTextAsync(Path.Combine(data, "postmaster.pid")), StringComparison.Ordinal);
            Assert.Equal(postgres.ConnectionString, await PrivatePostgres.FindRunning(data, CancellationToken.None));
        }
        Assert.False(File.Exists(Path.Combine(data, "postmaster.pid")));
        Assert.Null(await PrivatePostgres.FindRunning(data, CancellationToken.None));
    }

    [Fact]
    public async Task A_server_holds_nothing_of_its_host()
    {
        await using var postgres = await Start(Path.Combine(_directory, "postgres"));
        var fds = new[] { 0, 1, 2 }.Select(fd => new FileInfo($"/proc/{postgres.ProcessId}/fd/{fd}").LinkTarget);
        Assert.Equal(["/dev/null", postgres.LogFile, postgres.LogFile], fds);
        Assert.NotEqual(SessionOf("self"), SessionOf($"{postgres.ProcessId}"));
    }

    [Fact]
    public async Task A_directory_of_another_major_version_names_the_package_that_opens_it()
    {
        Directory.CreateDirectory(_directory);
        await File.WriteAllTextAsync(Path.Combine(_directory, "PG_VERSION"), "9\n");
        var missing = await Assert.ThrowsAsync<PostgresMissingException>(() => Start(_directory));
        Assert.Contains("apt-get install postgresql-9", missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_killed_server_comes_back_with_what_was_committed()
    {
        await using var postgres = await Start(Path.Combine(_directory, "postgres"));
        var killed = postgres.ProcessId;
        await Ask(postgres, "create table t as select 'kept' as word; select word from t");

        Process.GetProcessById(killed!.Value).Kill();

        Assert.Equal("kept", await Eventually(() => Ask(postgres, "select word from t")));
        Assert.NotEqual(killed, postgres.ProcessId);
    }

    [Fact]
    public async Task A_server_that_outlived_its_host_is_taken_over_and_supervised()
    {
        var data = Path.Combine(_directory, "postgres");
        // A host that was killed disposes nothing; for the server it makes no difference that this one lives on. It must not supervise, though.
        var first = await Start(data);
        var pid = first.ProcessId;
        await first.Abandon();

        await using var second = await Start(data);
        Assert.Equal(pid, second.ProcessId);

        Process.GetProcessById(pid!.Value).Kill();
        Assert.Equal("1", await Eventually(() => Ask(second, "select 1::text")));
        Assert.NotEqual(pid, second.ProcessId);
    }

    [Fact]
    public async Task A_directory_opens_again_with_what_it_held()
    {
        var data = Path.Combine(_directory, "postgres");
        await using (var first = await Start(data))
        {
            await Ask(first, "create table t as select 'kept' as word; select word from t");
        }
        await using var again = await Start(data);
        Assert.Equal("kept", await Ask(again, "select word from t"));
    }

    [Fact]
    public async Task A_path_too_long_for_a_socket_has_its_socket_elsewhere()
    {
        var data = Path.Combine(_directory, new string('l', 100), "a, \"b\" 'c'", "postgres");
        string socket;
        await using (var postgres = await Start(data))
        {
            Assert.Equal(data, await Ask(postgres, "show data_directory"));
            socket = new NpgsqlConnectionStringBuilder(postgres.ConnectionString).Host!;
            Assert.True(socket.Length <= 93, socket);
            Assert.True(Directory.Exists(socket));
        }
        Assert.False(Directory.Exists(socket));
    }

    [Fact]
    public async Task A_stale_lock_file_that_names_a_living_process_is_no_obstacle()
    {
        var data = Path.Combine(_directory, "postgres");
        await (await Start(data)).DisposeAsync();
        await File.WriteAllTextAsync(Path.Combine(data, "postmaster.pid"), $"{Environment.ProcessId}\n{data}\n1\n5432\n{data}\n\n");
        await using var postgres = await Start(data);
        Assert.Equal("1", await Ask(postgres, "select 1::text"));
    }

    [Fact]
    public async Task A_directory_that_only_the_host_may_enter_is_no_obstacle()
    {
        var closed = Path.Combine(_directory, "closed");
        Directory.CreateDirectory(closed, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        await using var postgres = await Start(Path.Combine(closed, "data", "postgres"));
        Assert.Equal("1", await Ask(postgres, "select 1::text"));
        Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(closed) & (UnixFileMode.OtherExecute | UnixFileMode.OtherRead | UnixFileMode.OtherWrite));
    }

    [Fact]
    public async Task Somebody_elses_files_are_left_alone()
    {
        Directory.CreateDirectory(_directory);
        await File.WriteAllTextAsync(Path.Combine(_directory, "letter.txt"), "dear");
        var refused = await Assert.ThrowsAsync<PrivatePostgresException>(() => Start(_directory));
        Assert.Contains("not empty", refused.Message, StringComparison.Ordinal);
        Assert.Equal("dear", await File.ReadAllTextAsync(Path.Combine(_directory, "letter.txt")));
    }

    [Fact]
    public async Task A_server_that_cannot_start_says_why()
    {
        var data = Path.Combine(_directory, "postgres");
        var options = new PrivatePostgresOptions(data)
        {
            Ephemeral = true,
            Settings = new Dictionary<string, string> { ["shared_buffers"] = "lots" },
            StartTimeout = TimeSpan.Zero,
        };
        var failed = await Assert.ThrowsAsync<PrivatePostgresException>(() => PrivatePostgres.Start(options, NullLogger.Instance, CancellationToken.None));
        Assert.Contains("shared_buffers", failed.Message, StringComparison.Ordinal);
    }

    static Task<PrivatePostgres> Start(string directory) =>
        PrivatePostgres.Start(new(directory), NullLogger.Instance, CancellationToken.None);

    [Fact]
    public async Task What_an_earlier_release_made_as_the_superuser_belongs_to_the_hosts_after_a_start()
    {
        var directory = TestPostgres.NewDirectory();
        await using (var before = await PrivatePostgres.Start(new(directory), NullLogger.Instance, default))
        {
            await Ask(before, "ALTER DATABASE cowork OWNER TO cowork");
            await using var engine = StorageEngine.New(new(before.AdministratorConnectionString, "a", [Chain.Tallies, Chain.Marks]));
            await engine.StartAsync(default);
            await engine.Log.Append(new Chain("default", "run-1").Commit("before"), default);
        }
        await using (var after = await PrivatePostgres.Start(new(directory), NullLogger.Instance, default))
        {
            Assert.Equal("cowork_host", await Ask(after, """
                SELECT string_agg(DISTINCT pg_get_userbyid(owner), ' ') FROM (
                    SELECT relowner FROM pg_class WHERE relnamespace = 'cowork'::regnamespace
                    UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'cowork'::regnamespace
                    UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = 'cowork'
                    UNION ALL SELECT datdba FROM pg_database WHERE datname = 'cowork') o (owner)
                """));
            await using var engine = StorageEngine.New(new(after.ConnectionString, "b", [Chain.Tallies, Chain.Marks, Chain.Words()]));
            await engine.StartAsync(default);
            Assert.Equal(new AppendResult.Ok(2), await engine.Log.Append(new Chain("default", "run-2").Commit("after"), default));
            Assert.Equal("2", await Ask(after, "SET ROLE cowork_reader; SELECT count(*)::text FROM cowork.log_events"));
        }
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>A terminal's Ctrl-C goes to a session's processes.</summary>
    static string SessionOf(string process) => File.ReadAllText($"/proc/{process}/stat").Split(") ")[^1].Split(' ')[3];

    static async Task<string?> Ask(PrivatePostgres postgres, string sql)
    {
        await using var connection = new NpgsqlConnection(postgres.AdministratorConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (string?)await command.ExecuteScalarAsync();
    }

    static async Task<T> Eventually<T>(Func<Task<T>> ask)
    {
        using var timeout = new CancellationTokenSource(Deadline);
        while (true)
        {
            try
            {
                return await ask();
            }
            catch (NpgsqlException) when (!timeout.IsCancellationRequested)
            {
                await Task.Delay(20, CancellationToken.None);
            }
        }
    }
}
