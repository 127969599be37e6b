using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>What a server and a database must be.</summary>
static class ServerFacts
{
    /// <summary>Asks on an open connection, before anything is made there.</summary>
    /// <exception cref="StorageUnavailableException">It is a standby, or read-only: a primary may be there soon.</exception>
    /// <exception cref="InvalidOperationException">It is none that Cowork can work with; the message says what to do.</exception>
    public static async Task Require(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(
            """
            SELECT current_database()::text, current_setting('server_encoding'), current_setting('server_version_num')::integer, pg_is_in_recovery(),
                current_setting('transaction_read_only') = 'on'
            """,
            connection);
        await using var reader = await ask.ExecuteReaderAsync(ct);
        await reader.ReadAsync(ct);
        var (database, encoding, version) = (reader.GetString(0), reader.GetString(1), reader.GetInt32(2));
        if (version / 10_000 < PostgresBinaries.OldestMajor)
        {
            throw new InvalidOperationException($"The server is PostgreSQL {version / 10_000}; Cowork needs version {PostgresBinaries.OldestMajor} or newer.");
        }
        if (encoding != "UTF8")
        {
            throw new InvalidOperationException(
                $"The database \"{database}\" has the encoding {encoding}, in which most of the world's text cannot be stored. Cowork needs UTF8: "
                + $"CREATE DATABASE {database}_utf8 ENCODING 'UTF8' TEMPLATE template0");
        }
        RequirePrimary(isStandby: reader.GetBoolean(3), isReadOnly: reader.GetBoolean(4));
    }

    /// <exception cref="StorageUnavailableException">The server takes no writes: a primary may be there soon.</exception>
    public static void RequirePrimary(bool isStandby, bool isReadOnly)
    {
        if (isStandby)
        {
            throw new StorageUnavailableException("The server is a standby, which takes no writes.");
        }
        if (isReadOnly)
        {
            throw new StorageUnavailableException("The server takes no writes: its transactions are read-only (default_transaction_read_only).");
        }
    }
}
