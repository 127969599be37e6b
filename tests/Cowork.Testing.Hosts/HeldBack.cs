using Npgsql;

namespace Cowork.Testing.Hosts;

/// <summary>
/// Holds back, inside PostgreSQL, every commit that has an event which fits a condition, so that a host can be killed between what it did and its record of
/// it. What was held back when it is let go never took place.
/// </summary>
public sealed class HeldBack : IAsyncDisposable
{
    const int Lock = 4711;

    const string Waiting = "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4711 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

    readonly NpgsqlConnection connection;

    HeldBack(NpgsqlConnection connection) => this.connection = connection;

    /// <param name="condition">On <c>NEW</c>, a row of mt_events.</param>
    public static async Task<HeldBack> Begin(string database, string condition)
    {
        var connection = new NpgsqlConnection(database + ";Pooling=false");
        await connection.OpenAsync();
        var held = new HeldBack(connection);
        await held.Do($"""
            SELECT pg_advisory_lock({Lock});
            CREATE FUNCTION cowork.hold_back() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF {condition} THEN PERFORM pg_advisory_xact_lock({Lock}); END IF; RETURN NEW; END $$;
            CREATE TRIGGER hold_back BEFORE INSERT ON cowork.mt_events FOR EACH ROW EXECUTE FUNCTION cowork.hold_back();
            ALTER TABLE cowork.mt_events ENABLE ALWAYS TRIGGER hold_back;
            """);
        return held;
    }

    /// <summary>Waits until a commit is held back.</summary>
    public Task Caught() => Patience.Until(async () => await Ask($"SELECT count(*) FROM {Waiting}") > 0, "a commit is held back");

    /// <summary>Makes an end of what is held back, and holds nothing back any more.</summary>
    public async ValueTask DisposeAsync()
    {
        await Do($"SELECT pg_terminate_backend(pid) FROM {Waiting}");
        await Patience.Until(async () => await Ask($"SELECT count(*) FROM {Waiting}") == 0, "nothing is held back");
        await Do("DROP TRIGGER hold_back ON cowork.mt_events; DROP FUNCTION cowork.hold_back()");
        await connection.DisposeAsync();
    }

    async Task Do(string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    async Task<long> Ask(string sql)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return (long)(await command.ExecuteScalarAsync())!;
    }
}
