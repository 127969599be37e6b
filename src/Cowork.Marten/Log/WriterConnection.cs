using System.Data;

using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The writer's connection and its transaction. Used by the writer's thread alone, but for <see cref="IsUp"/>.</summary>
sealed class WriterConnection(Database database, StorageOptions options)
{
    /// <summary>Whether the server is a standby, whether transactions are read-only there, and whether this role may write the log.</summary>
    readonly string state = $"""
        SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
            coalesce(has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(h.oid, 'UPDATE') AND has_table_privilege(e.oid, 'INSERT'), false)
        FROM (VALUES (0)) one
        LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = '{database.Schema}'
        LEFT JOIN pg_catalog.pg_class h ON h.relnamespace = s.oid AND h.relname = 'head'
        LEFT JOIN pg_catalog.pg_class e ON e.relnamespace = s.oid AND e.relname = 'mt_events'
        """;
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
                    // Only a superuser may leave it out, and on a private PostgreSQL the hosts' role, which was granted the setting.
                    new("DO $do$ BEGIN PERFORM set_config('session_replication_role', 'replica', false); EXCEPTION WHEN insufficient_privilege THEN NULL; END $do$"),
                    new("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2")
                    {
                        Parameters = { new() { Value = pid }, new NpgsqlParameter<DateTime> { TypedValue = started, NpgsqlDbType = NpgsqlDbType.TimestampTz } },
                    },
                    new("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
                    new(state),
                },
            };
            using var reader = begin.ExecuteReader();
            reader.NextResult();
            reader.NextResult();
            reader.Read();
            backend = (reader.GetInt32(0), reader.GetDateTime(1));
            reader.NextResult();
            reader.Read();
            Judge(reader);
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

    /// <param name="cleanse">PostgreSQL refused a statement for a reason that nobody expected: nothing of what the connection has prepared is relied on.</param>
    public void RollBack(bool cleanse = false)
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
        if (IsOpen && cleanse)
        {
            Database.Cleanse(connection!);
        }
        if (!IsOpen)
        {
            Close();
        }
    }

    /// <summary>Finds out whether it still lives, and leads to a server that takes writes; closes it when not.</summary>
    public void Check()
    {
        try
        {
            using var ask = new NpgsqlCommand(state, connection);
            using var reader = ask.ExecuteReader();
            reader.Read();
            Judge(reader);
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

    void Judge(NpgsqlDataReader state)
    {
        ServerFacts.RequirePrimary(isStandby: state.GetBoolean(0), isReadOnly: state.GetBoolean(1));
        if (!state.GetBoolean(2))
        {
            throw new StorageUnavailableException($"The role may not write into the schema \"{database.Schema}\".") { IsDenied = true };
        }
    }
}
