using System.Collections.Concurrent;
using System.Data;
using System.Net.Sockets;
using System.Text.RegularExpressions;

using Cowork.Application;
using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The connections of one engine, and what their failures mean.</summary>
sealed partial class Database : IAsyncDisposable
{
    const string IdleInTransactionTimeout = "25P03";

    const string TransactionTimeout = "25P04";

    /// <summary>How often work is done again that PostgreSQL undid because of other sessions.</summary>
    const int ConflictsMax = 5;

    static readonly TimeSpan ConflictPause = TimeSpan.FromMilliseconds(5);

    readonly StorageOptions options;
    readonly NpgsqlDataSource pool;
    readonly ConnectionQueue queue;
    readonly ConcurrentDictionary<(string Purpose, bool AutoPrepare, bool Owner), NpgsqlDataSource> apart = new();

    public Database(StorageOptions options)
    {
        if (!SchemaName().IsMatch(options.Schema))
        {
            throw new ArgumentException($"\"{options.Schema}\" is no name for a schema: lower-case letters, digits and underscores.", nameof(options));
        }
        this.options = options;
        Schema = options.Schema;
        var address = SessionSettings.Pooled(options);
        pool = SessionSettings.Source(address);
        queue = new(address.Pooling ? address.MaxPoolSize : int.MaxValue, options.Clock);
    }

    public string Schema { get; }

    /// <summary>Hears of commits.</summary>
    public ICommitObserver? Observer { get; set; }

    /// <summary>The keys of data subjects. Set before anything is read.</summary>
    public SubjectKeyring Subjects { get; set; } = null!;

    /// <summary>Closes the connections that nobody uses.</summary>
    public void ClearPool() => pool.Clear();

    /// <summary>
    /// Forgets which of several servers takes no writes: each source remembers for a second, and one that was promoted meanwhile is passed over. No-op with one server.
    /// </summary>
    public void ForgetServers()
    {
        foreach (var source in apart.Values.Append(pool).OfType<NpgsqlMultiHostDataSource>())
        {
            source.ClearDatabaseStates();
        }
    }

    /// <summary>Where Marten gets connections of its own: as the owner, and as one that works for all tenants.</summary>
    public NpgsqlDataSource Unscoped => Source("marten", autoPrepare: false, owner: true);

    /// <summary>A connection outside the pool, for work that is for all tenants. It is not open yet.</summary>
    /// <param name="autoPrepare">For statements that nobody prepares.</param>
    public NpgsqlConnection Apart(string purpose, bool autoPrepare = false) => Source(purpose, autoPrepare, owner: false).CreateConnection();

    /// <summary>The same as the role that owns the schema, where that role's address is known; else as the host's.</summary>
    public NpgsqlConnection AsOwner(string purpose) => Source(purpose, autoPrepare: false, owner: true).CreateConnection();

    /// <summary>
    /// Something that may safely be done twice. A pooled connection may have died unnoticed, or lead to a server that is no primary any more, so the first failure
    /// of that kind is not believed. Where there are fewer connections than callers, they wait for their turn.
    /// </summary>
    /// <param name="scope">The tenant whose rows the statements see, or <see cref="ScopedConnection.Everyone"/>.</param>
    public async ValueTask<T> WithReconnect<T>(string scope, Func<ScopedConnection, ValueTask<T>> work, CancellationToken ct)
    {
        var again = false;
        for (var conflicts = 0; ;)
        {
            var turn = await queue.Wait(ct);
            NpgsqlConnection? connection = null;
            try
            {
                connection = await pool.OpenConnectionAsync(ct);
                try
                {
                    return await work(new(connection, scope));
                }
                catch (Exception e) when ((e as PostgresException ?? e.InnerException as PostgresException) is not null)
                {
                    Cleanse(connection);
                    throw;
                }
            }
            catch (PostgresException e) when (e.SqlState == PostgresErrorCodes.TooManyConnections && connection is null && turn.Shrink())
            {
                // The server has fewer connections than the pool may hold: one that is in use here comes back soon.
            }
            catch (Exception e) when (IsConflict(e) && conflicts < ConflictsMax)
            {
                await Task.Delay(ConflictPause * ++conflicts, options.Clock, ct);
            }
            catch (Exception e) when (IsAway(e))
            {
                var broken = connection is not null && (connection.State != ConnectionState.Open || IsNoPrimary(e));
                if (again || !broken || e.InnerException is TimeoutException)
                {
                    throw Unavailable(e);
                }
                again = true;
                pool.Clear();
            }
            finally
            {
                if (connection is not null)
                {
                    await connection.DisposeAsync();
                }
                turn.Dispose();
            }
        }
    }

    /// <summary>Something that the owner of the schema does, on a connection of its own, tried once.</summary>
    public async Task<T> OnOwnersConnection<T>(Func<NpgsqlConnection, Task<T>> work)
    {
        try
        {
            await using var connection = AsOwner("once");
            await connection.OpenAsync();
            return await work(connection);
        }
        catch (Exception e) when (IsAway(e))
        {
            throw Unavailable(e);
        }
    }

    /// <summary>
    /// Forgets what a connection has prepared. When a statement of a batch fails while Npgsql prepares them by itself, the two sides may differ about what is
    /// prepared; a later command was seen to end with "Received unexpected backend message".
    /// </summary>
    public static void Cleanse(NpgsqlConnection connection)
    {
        if (connection.State != ConnectionState.Open)
        {
            return;
        }
        try
        {
            connection.UnprepareAll();
        }
        catch (Exception e) when (e is NpgsqlException or InvalidOperationException)
        {
            NpgsqlConnection.ClearPool(connection);
        }
    }

    /// <summary>True for failures that pass when the database is back, has room again, or gives a right back: nothing is wrong with what was asked.</summary>
    public static bool IsAway(Exception e) => e switch
    {
        StorageUnavailableException => true,
        PostgresException p => p.SqlState is
            PostgresErrorCodes.QueryCanceled or PostgresErrorCodes.LockNotAvailable or PostgresErrorCodes.IoError or IdleInTransactionTimeout or TransactionTimeout
            || p.SqlState.StartsWith("08", StringComparison.Ordinal)
            || p.SqlState.StartsWith("53", StringComparison.Ordinal)
            || p.SqlState.StartsWith("57P", StringComparison.Ordinal)
            || IsNoPrimary(e) || IsConflict(e) || IsDenied(e),
        NpgsqlException or SocketException or IOException or TimeoutException => true,
        _ => false,
    };

    /// <summary>True: the server takes no writes, because it is a standby or read-only, or it is about to go or to come.</summary>
    public static bool IsNoPrimary(Exception e) => e is PostgresException
    {
        SqlState: PostgresErrorCodes.ReadOnlySqlTransaction or PostgresErrorCodes.AdminShutdown or PostgresErrorCodes.CrashShutdown or PostgresErrorCodes.CannotConnectNow
    };

    /// <summary>True: PostgreSQL undid the work because of what other sessions did at the same time. Done again, it succeeds.</summary>
    public static bool IsConflict(Exception e) => e is PostgresException { SqlState: PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected };

    /// <summary>True: this host's role may not do what the host must do, may not connect any more, or the database or the schema is gone.</summary>
    public static bool IsDenied(Exception e) => e is StorageUnavailableException { IsDenied: true }
        || (e is PostgresException { SqlState: var state } && (state is PostgresErrorCodes.InsufficientPrivilege or PostgresErrorCodes.InvalidCatalogName
            or PostgresErrorCodes.InvalidSchemaName || state.StartsWith("28", StringComparison.Ordinal)));

    /// <summary>What callers of the storage hear of a failure that passes.</summary>
    public static StorageUnavailableException Unavailable(Exception e) => e switch
    {
        StorageUnavailableException known => Again(known),
        PostgresException denied when IsDenied(e) => new($"The database refuses: {denied.MessageText}", e) { IsDenied = true },
        _ => new($"The database is away: {e.Message}", e),
    };

    /// <summary>The same once more, for another caller.</summary>
    public static StorageUnavailableException Again(StorageUnavailableException e) => new(e.Message, e.InnerException ?? e) { IsDenied = e.IsDenied };

    public async ValueTask DisposeAsync()
    {
        await pool.DisposeAsync();
        foreach (var source in apart.Values)
        {
            await source.DisposeAsync();
        }
    }

    NpgsqlDataSource Source(string purpose, bool autoPrepare, bool owner) =>
        apart.GetOrAdd(
            (purpose, autoPrepare, owner),
            _ => SessionSettings.Source(SessionSettings.Apart(owner ? options with { ConnectionString = options.Owner } : options, purpose, autoPrepare), Fence.EnterForGood));

    [GeneratedRegex("^[a-z_][a-z0-9_]{0,40}$")]
    private static partial Regex SchemaName();
}
