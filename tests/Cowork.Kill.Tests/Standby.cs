using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>A streaming standby of a private PostgreSQL, in a directory of its own.</summary>
sealed class Standby : IAsyncDisposable
{
    readonly PostgresBinaries binaries;
    readonly ServerUser user;
    readonly string primary;

    Standby(string directory, PostgresBinaries binaries, ServerUser user, string primary) =>
        (Directory, this.binaries, this.user, this.primary) = (directory, binaries, user, primary);

    /// <summary>Its data, and its socket.</summary>
    public string Directory { get; }

    string Address => new NpgsqlConnectionStringBuilder(primary) { Host = Directory, Pooling = false }.ConnectionString;

    /// <summary>Copies the primary, starts the copy, and waits until it answers.</summary>
    public static async Task<Standby> Of(PrivatePostgres primary)
    {
        var directory = TestPostgres.NewDirectory();
        var user = await ServerUser.For(directory, CancellationToken.None);
        await user.Own(directory, CancellationToken.None);
        var standby = new Standby(directory, PostgresBinaries.Choose(null), user, primary.AdministratorConnectionString);
        await standby.Run("pg_basebackup", "-h", new NpgsqlConnectionStringBuilder(primary.ConnectionString).Host!, "-U", "cowork", "-D", directory, "-R", "-X", "stream", "-c", "fast");
        // The lock of the primary's socket, which lies in its data directory.
        foreach (var file in (string[])[".s.PGSQL.5432", ".s.PGSQL.5432.lock"])
        {
            File.Delete(Path.Combine(directory, file));
        }
        var walls = $"-c hba_file={directory}/cowork_hba.conf -c ident_file={directory}/cowork_ident.conf";
        await standby.Run(
            "pg_ctl", "-D", directory, "-w", "-l", Path.Combine(directory, "standby.log"), "-o", $"-c listen_addresses= -k {directory} {walls}", "start");
        return standby;
    }

    /// <summary>Waits until it has all that the primary has written.</summary>
    public async Task CaughtUp()
    {
        var end = await Ask(new NpgsqlConnectionStringBuilder(primary) { Pooling = false }.ConnectionString, "SELECT pg_current_wal_flush_lsn()::text");
        await Patience.Until(async () => await Ask(Address, $"SELECT (pg_last_wal_replay_lsn() >= '{end}'::pg_lsn)::text") == "true", $"the standby has come to {end}");
    }

    public Task Promote() => Run("pg_ctl", "-D", Directory, "-w", "promote");

    public async ValueTask DisposeAsync()
    {
        await Run("pg_ctl", "-D", Directory, "-m", "immediate", "-w", "stop");
        System.IO.Directory.Delete(Directory, recursive: true);
    }

    static async Task<string> Ask(string at, string sql)
    {
        await using var connection = new NpgsqlConnection(at);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (string)(await command.ExecuteScalarAsync())!;
    }

    Task<string> Run(string program, params string[] arguments) =>
        ServerUser.Finish(user.Command([Path.Combine(binaries.Directory, program), .. arguments]), CancellationToken.None);
}
