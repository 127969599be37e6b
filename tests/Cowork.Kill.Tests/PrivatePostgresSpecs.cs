using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Npgsql;

namespace Cowork.Kill.Tests;

public sealed class PrivatePostgresSpecs : IAsyncLifetime
{
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

        Assert.Equal("kept", await Answer(() => Ask(postgres, "select word from t")));
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
        Assert.Equal("1", await Answer(() => Ask(second, "select 1::text")));
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

    [Theory]
    [InlineData("000")]
    [InlineData("027")]
    [InlineData("077")]
    public async Task Whatever_the_umask_is_the_server_is_behind_its_walls_and_knows_no_keys(string umask)
    {
        await using var host = HostProcess.LaunchUnder(umask, _directory, null, ("OPENAI_API_KEY", "sk-of-the-host"));
        await host.Ready();
        var data = Path.Combine(_directory, "postgres");
        // Some settings are shown to the superuser only.
        var connection = (await PrivatePostgres.FindRunning(data, CancellationToken.None))!.Replace("cowork_host", "cowork", StringComparison.Ordinal);
        Assert.Equal("", await Ask(connection, "show listen_addresses"));
        Assert.Equal($"{data}|0700", await Ask(connection, "select current_setting('unix_socket_directories') || '|' || current_setting('unix_socket_permissions')"));
        Assert.Equal("128MB", await Ask(connection, "show shared_buffers"));
        var pid = (await File.ReadAllLinesAsync(Path.Combine(data, "postmaster.pid")))[0];
        Assert.DoesNotContain("sk-of-the-host", await File.ReadAllTextAsync($"/proc/{pid}/environ"));
        Assert.Contains("sk-of-the-host", await File.ReadAllTextAsync($"/proc/{host.Pid}/environ"));
        var anybody = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;
        Assert.All((string[])["postgres", "blobs", "workspaces", "postgres/cowork.conf", "postgres/postgres.log", "admin-token"], name =>
            Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(Path.Combine(_directory, name)) & anybody));
    }

    [Fact]
    public async Task Only_the_users_of_host_and_server_get_in_whatever_files_say()
    {
        var data = Path.Combine(_directory, "postgres");
        await using (var postgres = await Start(data))
        {
            await Ask(postgres, "alter system set listen_addresses = '*'");
        }
        await File.AppendAllTextAsync(Path.Combine(data, "pg_hba.conf"), "local all all trust\nhost all all 0.0.0.0/0 trust\n");
        await using var again = await Start(data);
        Assert.Equal("", await Ask(again, "show listen_addresses"));
        Assert.Equal("local peer", await Ask(again, "select string_agg(distinct type || ' ' || auth_method, ',') from pg_hba_file_rules"));
        var refused = await Assert.ThrowsAsync<PostgresException>(() => Ask(again.ConnectionString.Replace("cowork_host", "postgres"), "select ''"));
        Assert.Equal("28000", refused.SqlState);
    }

    /// <summary>Releases before took their settings only where the server could see them, and let in everybody who came to the socket.</summary>
    [Fact]
    public async Task A_server_of_an_earlier_release_gets_its_walls()
    {
        var data = Path.Combine(_directory, "postgres");
        await (await Start(data)).DisposeAsync();
        var settings = Path.Combine(data, "postgresql.conf");
        await File.WriteAllTextAsync(settings, (await File.ReadAllTextAsync(settings)).Replace("include = 'cowork.conf'", "include_if_exists = 'cowork.conf'"));
        await File.WriteAllTextAsync(Path.Combine(data, "pg_hba.conf"), "local all all trust\n");
        var user = await ServerUser.For(data, CancellationToken.None);
        await user.Write(Path.Combine(data, "cowork.conf"), $"listen_addresses = ''\nunix_socket_directories = '{data}'\nunix_socket_permissions = '0700'\n");
        var server = user.Command("setsid", "sh", "-c", "exec \"$0\" -D \"$1\" </dev/null >/dev/null 2>&1", PostgresBinaries.Choose(null).Postgres, data);
        using var before = Process.Start(server)!;
        await Patience.Until(async () => await PrivatePostgres.FindRunning(data, CancellationToken.None) is not null);

        await using var postgres = await Start(data);
        Assert.NotEqual(before.Id, postgres.ProcessId);
        Assert.Equal("local peer", await Ask(postgres, "select string_agg(distinct type || ' ' || auth_method, ',') from pg_hba_file_rules"));
        Assert.Contains("\ninclude = 'cowork.conf'", await File.ReadAllTextAsync(settings));
    }

    [Theory]
    [InlineData("777", "may be changed by others (mode 777)")]
    [InlineData("770", "may be changed by others (mode 770)")]
    [InlineData(null, "belongs to the user with id")]
    public async Task A_data_directory_that_is_not_the_hosts_alone_is_refused_with_a_sentence(string? mode, string words)
    {
        var directory = _directory;
        Directory.CreateDirectory(directory);
        if (mode is not null)
        {
            File.SetUnixFileMode(directory, (UnixFileMode)Convert.ToInt32(mode, 8));
        }
        else if (Environment.IsPrivilegedProcess)
        {
            await ServerUser.Finish(ServerUser.Program("chown", "nobody", directory), CancellationToken.None);
        }
        else
        {
            directory = "/usr/share";
        }
        await using var host = HostProcess.Launch(directory, null);
        Assert.Equal(1, await host.Exited());
        Assert.Contains($"cowork: The data directory {directory} {words}", host.Output);
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

    [Theory]
    [InlineData("cowork")]
    [InlineData("cowork_host")]
    public async Task What_an_earlier_release_made_as_another_role_belongs_to_the_owner_after_a_start(string role)
    {
        var directory = TestPostgres.NewDirectory();
        await using (var before = await PrivatePostgres.Start(new(directory), NullLogger.Instance, default))
        {
            await Ask(before, $"ALTER DATABASE cowork OWNER TO {role}");
            var at = new NpgsqlConnectionStringBuilder(before.AdministratorConnectionString) { Username = role }.ConnectionString;
            await using var engine = StorageEngine.New(new(at, "a", [Chain.Tallies, Chain.Marks]));
            await engine.StartAsync(default);
            await engine.Log.Append(new Chain("default", "run-1").Commit("before"), default);
        }
        await using (var after = await PrivatePostgres.Start(new(directory), NullLogger.Instance, default))
        {
            Assert.Equal("cowork_owner", await Ask(after, """
                SELECT string_agg(DISTINCT pg_get_userbyid(owner), ' ') FROM (
                    SELECT relowner FROM pg_class WHERE relnamespace = 'cowork'::regnamespace
                    UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'cowork'::regnamespace
                    UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = 'cowork'
                    UNION ALL SELECT datdba FROM pg_database WHERE datname = 'cowork') o (owner)
                """));
            await using var engine = StorageEngine.New(
                new(after.ConnectionString, "b", [Chain.Tallies, Chain.Marks, Chain.Words()]) { OwnerConnectionString = after.OwnerConnectionString });
            await engine.StartAsync(default);
            Assert.Equal(new AppendResult.Ok(2), await engine.Log.Append(new Chain("default", "run-2").Commit("after"), default));
            Assert.Equal("2", await Ask(after, "SET ROLE cowork_reader; SELECT count(*)::text FROM cowork.log_events"));
        }
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>A terminal's Ctrl-C goes to a session's processes.</summary>
    static string SessionOf(string process) => File.ReadAllText($"/proc/{process}/stat").Split(") ")[^1].Split(' ')[3];

    static Task<string?> Ask(PrivatePostgres postgres, string sql) => Ask(postgres.AdministratorConnectionString, sql);

    static async Task<string?> Ask(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(connectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (string?)await command.ExecuteScalarAsync();
    }

    /// <summary>What a server answers as soon as it answers.</summary>
    static async Task<string?> Answer(Func<Task<string?>> ask)
    {
        var (answer, fault) = (default(string), "");
        await Patience.Until(
            async () =>
            {
                try
                {
                    answer = await ask();
                    return true;
                }
                catch (NpgsqlException e)
                {
                    fault = e.Message;
                    return false;
                }
            },
            () => fault, "the server answers");
        return answer;
    }
}
