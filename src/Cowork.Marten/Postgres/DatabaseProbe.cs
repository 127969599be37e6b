using Npgsql;

namespace Cowork.Marten;

/// <summary>What a look at a given database found.</summary>
/// <param name="Unreachable">Why no connection can be made at the moment; null: one can.</param>
/// <param name="StartupOptions">False: something in between takes no options with a connection's first message, as pgbouncer does.</param>
public sealed record DatabaseProbe(string? Unreachable, bool StartupOptions)
{
    /// <summary>Connects, and finds out whether a session is one: whether what is set, prepared and locked stays with a connection between two transactions.</summary>
    /// <exception cref="InvalidOperationException">The server refuses the connection, or is none that Cowork can work with. Waiting would not change that.</exception>
    public static async Task<DatabaseProbe> Ask(string connectionString, CancellationToken ct)
    {
        for (var options = true; ; options = false)
        {
            try
            {
                await using var source = SessionSettings.Source(SessionSettings.Once(connectionString, options));
                await using var connection = await source.OpenConnectionAsync(ct);
                if (await IsShared(source, connection, ct))
                {
                    throw new InvalidOperationException(
                        "Between here and PostgreSQL a pooler gives every transaction another session (pgbouncer with pool_mode = transaction or statement). Cowork prepares "
                        + "statements, listens and takes locks for a session: use the pooler with pool_mode = session, or PostgreSQL's own port (docs/deploy.md).");
                }
                await ServerFacts.Require(connection, ct);
                return new(null, options);
            }
            catch (PostgresException e) when (options && IsUnsupportedParameter(e))
            {
                // Once more, with nothing in the first message.
            }
            catch (Exception e) when (Database.IsAway(e) && !Database.IsDenied(e))
            {
                return new(e.Message, options);
            }
            catch (PostgresException e)
            {
                throw new InvalidOperationException($"The database refuses the connection: {e.MessageText}", e);
            }
        }
    }

    /// <summary>pgbouncer's words; its code means any breach of the protocol.</summary>
    static bool IsUnsupportedParameter(PostgresException e) =>
        e.SqlState == PostgresErrorCodes.ProtocolViolation && e.MessageText.Contains("startup parameter", StringComparison.Ordinal);

    /// <summary>
    /// While the first connection is between two transactions, another one begins one. When it gets the server process of the first, or the first comes back to
    /// another process, the process belongs to the transaction and not to the connection.
    /// </summary>
    static async Task<bool> IsShared(NpgsqlDataSource source, NpgsqlConnection first, CancellationToken ct)
    {
        var before = await Pid(first, ct);
        NpgsqlConnection second;
        try
        {
            second = await source.OpenConnectionAsync(ct);
        }
        catch (NpgsqlException)
        {
            // There is only one. That is too few, but it is no pooler.
            return false;
        }
        await using (second)
        {
            await using var transaction = await second.BeginTransactionAsync(ct);
            return await Pid(second, ct) == before || await Pid(first, ct) != before;
        }
    }

    static async Task<int> Pid(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand("SELECT pg_backend_pid()", connection);
        return (int)(await ask.ExecuteScalarAsync(ct))!;
    }
}
