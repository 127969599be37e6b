using System.Data;
using System.Net.Sockets;
using System.Text.RegularExpressions;

using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The connections of one engine, and what their failures mean.</summary>
sealed partial class Database : IAsyncDisposable
{
    const string IdleInTransactionTimeout = "25P03";

    readonly NpgsqlDataSource pool;
    readonly NpgsqlConnectionStringBuilder apart;

    public Database(StorageOptions options)
    {
        if (!SchemaName().IsMatch(options.Schema))
        {
            throw new ArgumentException($"\"{options.Schema}\" is no name for a schema: lower-case letters, digits and underscores.", nameof(options));
        }
        Schema = options.Schema;
        var given = new NpgsqlConnectionStringBuilder(options.ConnectionString);
        var pooled = new NpgsqlConnectionStringBuilder(options.ConnectionString)
        {
            // Asking for GSS encryption can look up names, for a minute where no name server answers, and none of Npgsql's time-outs ends it.
            GssEncryptionMode = given.ShouldSerialize("GSS Encryption Mode") ? given.GssEncryptionMode : GssEncryptionMode.Disable,
            ApplicationName = "cowork",
            MaxAutoPrepare = 50,
            AutoPrepareMinUsages = 2,
            Timeout = 3,
            CommandTimeout = (int)Math.Ceiling(options.CommandTimeout.TotalSeconds),
            // A server that does not answer does not answer a cancel request either.
            CancellationTimeout = -1,
            NoResetOnClose = true,
            // A connection that has been idle for long may have been cut by something in between.
            ConnectionIdleLifetime = 60,
            MaxPoolSize = 32,
        };
        apart = new(pooled.ConnectionString) { Pooling = false, MaxAutoPrepare = 0 };
        pool = NpgsqlDataSource.Create(pooled);
    }

    public string Schema { get; }

    /// <summary>Hears of commits.</summary>
    public ICommitObserver? Observer { get; set; }

    public NpgsqlDataSource Pool => pool;

    /// <summary>A connection outside the pool, not open yet.</summary>
    /// <param name="autoPrepare">For statements that nobody prepares.</param>
    public NpgsqlConnection Apart(string purpose, bool autoPrepare = false) =>
        new(new NpgsqlConnectionStringBuilder(apart.ConnectionString) { ApplicationName = $"cowork {purpose}", MaxAutoPrepare = autoPrepare ? 50 : 0 }.ConnectionString);

    /// <summary>Something that may safely be done twice. A pooled connection may have died unnoticed, so the first failure of that kind is not believed.</summary>
    public async ValueTask<T> WithReconnect<T>(Func<NpgsqlConnection, ValueTask<T>> work, CancellationToken ct)
    {
        for (var again = false; ; again = true)
        {
            NpgsqlConnection? connection = null;
            try
            {
                connection = await pool.OpenConnectionAsync(ct);
                return await work(connection);
            }
            catch (Exception e) when (IsAway(e))
            {
                if (again || connection is null || connection.State == ConnectionState.Open || e.InnerException is TimeoutException)
                {
                    throw Unavailable(e);
                }
                pool.Clear();
            }
            finally
            {
                if (connection is not null)
                {
                    await connection.DisposeAsync();
                }
            }
        }
    }

    /// <summary>Something on a connection of its own, tried once.</summary>
    public async Task<T> OnOwnConnection<T>(Func<NpgsqlConnection, Task<T>> work)
    {
        try
        {
            await using var connection = Apart("once");
            await connection.OpenAsync();
            return await work(connection);
        }
        catch (Exception e) when (IsAway(e))
        {
            throw Unavailable(e);
        }
    }

    /// <summary>True for failures that pass when the database is back, or has room again: nothing is wrong with what was asked.</summary>
    public static bool IsAway(Exception e) => e switch
    {
        PostgresException p => p.SqlState is
            PostgresErrorCodes.QueryCanceled or PostgresErrorCodes.LockNotAvailable or PostgresErrorCodes.IoError or PostgresErrorCodes.ReadOnlySqlTransaction
            or PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected or IdleInTransactionTimeout
            || p.SqlState.StartsWith("08", StringComparison.Ordinal)
            || p.SqlState.StartsWith("53", StringComparison.Ordinal)
            || p.SqlState.StartsWith("57P", StringComparison.Ordinal),
        NpgsqlException or SocketException or IOException or TimeoutException => true,
        _ => false,
    };

    public static StorageUnavailableException Unavailable(Exception e) => new($"The database is away: {e.Message}", e);

    public ValueTask DisposeAsync() => pool.DisposeAsync();

    [GeneratedRegex("^[a-z_][a-z0-9_]{0,40}$")]
    private static partial Regex SchemaName();
}
