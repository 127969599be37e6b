using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// A connection for statements that see one tenant's rows. The scope goes along with the statements, in the transaction in which they are executed, and row-level
/// security holds them to it (<see cref="Fence"/>): a connection without one sees no tenant at all.
/// </summary>
/// <param name="scope">The tenant, or <see cref="Everyone"/>.</param>
readonly struct ScopedConnection(NpgsqlConnection connection, string scope)
{
    /// <summary>The scope of the node's own work, which is for all tenants. No tenant can be called so.</summary>
    public const string Everyone = "*";

    public ValueTask<NpgsqlTransaction> Begin(CancellationToken ct) => connection.BeginTransactionAsync(ct);

    /// <summary>Sends the statements in one round trip, and answers with the rows of the first.</summary>
    public Task<NpgsqlDataReader> Read(CancellationToken ct, params NpgsqlBatchCommand[] statements) => Read(Batch(statements), ct);

    /// <summary>The same for one statement that may take its time.</summary>
    /// <param name="timeout">Seconds; 0: as long as it takes.</param>
    public Task<NpgsqlDataReader> Read(NpgsqlBatchCommand statement, int timeout, CancellationToken ct)
    {
        var batch = Batch([statement]);
        batch.Timeout = timeout;
        return Read(batch, ct);
    }

    /// <summary>The first value of the first row; null: there is no row.</summary>
    public async Task<object?> Ask(NpgsqlBatchCommand statement, CancellationToken ct)
    {
        await using var reader = await Read(ct, statement);
        return await reader.ReadAsync(ct) ? reader.GetValue(0) : null;
    }

    /// <summary>Answers how many rows the statements have changed.</summary>
    /// <param name="timeout">Seconds; null: as the address says.</param>
    public async Task<int> Execute(IEnumerable<NpgsqlBatchCommand> statements, CancellationToken ct, int? timeout = null)
    {
        await using var batch = Batch(statements);
        batch.Timeout = timeout ?? batch.Timeout;
        return await batch.ExecuteNonQueryAsync(ct);
    }

    /// <summary>Goes past the answer to the first statement, which sets the scope.</summary>
    static async Task<NpgsqlDataReader> Read(NpgsqlBatch batch, CancellationToken ct)
    {
        var reader = await batch.ExecuteReaderAsync(ct);
        try
        {
            await reader.NextResultAsync(ct);
            return reader;
        }
        catch
        {
            await reader.DisposeAsync();
            throw;
        }
    }

    NpgsqlBatch Batch(IEnumerable<NpgsqlBatchCommand> statements)
    {
        var batch = new NpgsqlBatch(connection) { BatchCommands = { new(Fence.Enter) { Parameters = { Parameter.Text(scope) } } } };
        foreach (var statement in statements)
        {
            batch.BatchCommands.Add(statement);
        }
        return batch;
    }
}
