using System.Data;

using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The writer's connection and its transaction. Used by the writer's thread alone, but for <see cref="IsUp"/>.</summary>
sealed class WriterConnection(Database database, StorageOptions options)
{
    NpgsqlConnection? connection;
    NpgsqlTransaction? transaction;
    (int Pid, DateTime Started) backend;
    long lostAt;
    volatile bool up;

    public bool IsUp
    {
        get => up;
        private set => up = value;
    }

    public bool IsOpen => connection is { State: ConnectionState.Open };

    /// <summary>There is none: it was lost and let go of.</summary>
    public bool IsGone => connection is null;

    /// <summary>How long it has been gone.</summary>
    public TimeSpan Outage => options.Clock.GetElapsedTime(lostAt);

    public NpgsqlConnection Connection => connection ?? throw new InvalidOperationException("The writer has no connection.");

    /// <summary>Opens it and makes an end of the one before: a server may hold its transaction, and with it the head row, long after this node has let it go.</summary>
    public void Open()
    {
        var fresh = database.Apart("writer", autoPrepare: true);
        try
        {
            fresh.Open();
            var (pid, started) = backend;
            using var begin = new NpgsqlBatch(fresh)
            {
                BatchCommands =
                {
                    new($"""
                        SELECT set_config(name, value, false) FROM (VALUES
                            ('jit', 'off'), ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
                            ('enable_bitmapscan', 'off'), ('statement_timeout', '{(int)(options.CommandTimeout.TotalMilliseconds * 0.8)}'),
                            ('idle_in_transaction_session_timeout', '{(int)options.CommandTimeout.TotalMilliseconds}')) s (name, value)
                        """),
                    // The function writes every stream before its events, so the foreign key looks up what is there for certain; that costs an eighth of the server's work.
                    // Only a superuser may leave it out, as on a private PostgreSQL.
                    new("DO $do$ BEGIN PERFORM set_config('session_replication_role', 'replica', false); EXCEPTION WHEN insufficient_privilege THEN NULL; END $do$"),
                    new("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2")
                    {
                        Parameters = { new() { Value = pid }, new NpgsqlParameter<DateTime> { TypedValue = started, NpgsqlDbType = NpgsqlDbType.TimestampTz } },
                    },
                    new("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
                },
            };
            using var reader = begin.ExecuteReader();
            reader.NextResult();
            reader.NextResult();
            reader.Read();
            backend = (reader.GetInt32(0), reader.GetDateTime(1));
        }
        catch
        {
            fresh.Dispose();
            throw;
        }
        (connection, transaction) = (fresh, null);
        IsUp = true;
    }

    /// <summary>The transaction that is under way, or a new one.</summary>
    public NpgsqlTransaction Begin() => transaction ??= Connection.BeginTransaction();

    /// <summary>The statements that were sent have committed it.</summary>
    public void Committed() => transaction = null;

    public void RollBack()
    {
        if (IsOpen && transaction is not null)
        {
            try
            {
                transaction.Rollback();
            }
            catch (Exception e) when (Database.IsAway(e))
            {
                Close();
            }
        }
        transaction = null;
        if (!IsOpen)
        {
            Close();
        }
    }

    /// <summary>Finds out whether it still lives, and closes it when it does not.</summary>
    public void Ping()
    {
        try
        {
            using var command = new NpgsqlCommand("SELECT 1", connection);
            command.ExecuteNonQuery();
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            Close();
        }
    }

    public void Close()
    {
        if (connection is not null)
        {
            IsUp = false;
            lostAt = options.Clock.GetTimestamp();
            connection.Dispose();
            (connection, transaction) = (null, null);
        }
    }
}
