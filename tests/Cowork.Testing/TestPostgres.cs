using System.Globalization;

using Cowork.Marten;

using Microsoft.Extensions.Logging.Abstractions;

using Npgsql;

using Xunit.Sdk;
using Xunit.v3;

namespace Cowork.Testing;

/// <summary>
/// One private PostgreSQL for a test process, started by the first that asks and stopped by <see cref="TestPostgresPipeline"/>; a database of its own for each
/// that asks.
/// </summary>
public static class TestPostgres
{
    static readonly Lazy<Task<PrivatePostgres>> Server = new(Start);
    static int _databases;

    /// <summary>The connection string of a new, empty database.</summary>
    public static async Task<string> NewDatabase()
    {
        var server = await Server.Value;
        var name = $"test_{Interlocked.Increment(ref _databases)}";
        await using var connection = new NpgsqlConnection(server.AdministratorConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var create = new NpgsqlCommand($"create database {name} template template0", connection);
        await create.ExecuteNonQueryAsync();
        return new NpgsqlConnectionStringBuilder(server.AdministratorConnectionString) { Database = name }.ConnectionString;
    }

    /// <summary>
    /// The addresses of a host on a database of <see cref="NewDatabase"/>: the hosts' role, which row-level security fences in, and the owner's. A role that a spec has
    /// made stands alone.
    /// </summary>
    public static (string Host, string? Owner) Roles(string database)
    {
        try
        {
            return new NpgsqlConnectionStringBuilder(database) is { Username: "cowork" } administrator
                ? (new NpgsqlConnectionStringBuilder(administrator.ConnectionString) { Username = "cowork_host" }.ConnectionString, database)
                : (database, null);
        }
        catch (ArgumentException)
        {
            // It is the host's to say what is wrong with it.
            return (database, null);
        }
    }

    /// <summary>What expires in a database is removed once a signed head has it, and not only minutes later: those pass by the database's own clock.</summary>
    /// <param name="database">An address of the owner's, with the schema.</param>
    public static async Task RemoveAtOnce(string database)
    {
        await using var connection = new NpgsqlConnection(database + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand("UPDATE cowork.expiry_rules SET wait = '0'", connection);
        await command.ExecuteNonQueryAsync();
    }

    /// <summary>Stops the server and removes its directory. No-op when no spec has asked for a database.</summary>
    internal static async ValueTask Stop()
    {
        if (Server.IsValueCreated)
        {
            await (await Server.Value).DisposeAsync();
        }
    }

    /// <summary>A name that no other test has, below the temporary directory. Nothing is made there.</summary>
    public static string NewDirectory() =>
        Path.Combine(Path.GetTempPath(), $"cowork-test-{Environment.ProcessId}-{Interlocked.Increment(ref _databases)}");

    static async Task<PrivatePostgres> Start()
    {
        if (!TestPostgresPipeline.Started)
        {
            throw new InvalidOperationException("Nothing would stop the server: add [assembly: TestPipelineStartup(typeof(TestPostgresPipeline))] to the project.");
        }
        await SweepOrphans();
        var options = new PrivatePostgresOptions(NewDirectory())
        {
            Ephemeral = true,
            Settings = new Dictionary<string, string> { ["max_connections"] = "400", ["shared_buffers"] = "64MB", ["max_wal_size"] = "512MB" },
        };
        return await PrivatePostgres.Start(options, NullLogger.Instance, CancellationToken.None);
    }

    /// <summary>A test process that was killed leaves its servers behind, as a host would.</summary>
    static async Task SweepOrphans()
    {
        foreach (var directory in Directory.GetDirectories(Path.GetTempPath(), "cowork-test-*"))
        {
            var owner = Path.GetFileName(directory).Split('-')[2];
            if (int.TryParse(owner, CultureInfo.InvariantCulture, out var pid) && !Directory.Exists($"/proc/{pid}"))
            {
                try
                {
                    await PrivatePostgres.Remove(directory, CancellationToken.None);
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // Another test process sweeps it at this moment, or another user left it.
                }
            }
        }
    }
}

/// <summary>
/// Stops the PostgreSQL of a test process when all specs and fixtures are done. When it was stopped on the way out of the process, to remove the files of some
/// hundred databases could take longer than the 10 s that xunit waits there, and a green run failed with "Foreground threads were left running".
/// </summary>
public sealed class TestPostgresPipeline : ITestPipelineStartup
{
    internal static bool Started { get; private set; }

    public ValueTask StartAsync(IMessageSink diagnosticMessageSink)
    {
        Started = true;
        return default;
    }

    public ValueTask StopAsync() => TestPostgres.Stop();
}
