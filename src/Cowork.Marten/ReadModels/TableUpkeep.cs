using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Migrates the read models' tables of an earlier release while the node works: builds and drops indexes concurrently, and drops unused columns once no other node,
/// which may be of the earlier release, is alive. A step that fails is left to the next start.
/// </summary>
sealed partial class TableUpkeep(Database database, StorageOptions options) : IAsyncDisposable
{
    /// <summary>Dropping a column takes an exclusive lock. It must not wait behind a long query, with every other query queued behind it.</summary>
    const string LockTimeout = "500ms";

    readonly CancellationTokenSource stopping = new();
    readonly ILogger logger = options.Logs.CreateLogger<TableUpkeep>();
    Task work = Task.CompletedTask;

    /// <summary>Ends when the tables are migrated, or the rest is left to the next start.</summary>
    public Task Done => work;

    /// <param name="node">Id of this node.</param>
    public void Start(string node) => work = Task.Run(() => Run(node, stopping.Token));

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await work;
        stopping.Dispose();
    }

    async Task Run(string node, CancellationToken ct)
    {
        try
        {
            await using var connection = database.AsOwner("upkeep");
            await connection.OpenAsync(ct);
            var statements = await Wanted(connection, node, ct);
            // Of several nodes one does it; a connection that ends gives the lock back.
            if (statements.Count == 0 || await Ask(connection, $"SELECT pg_try_advisory_lock(hashtextextended('cowork upkeep {options.Schema}', 0))", ct) is not true)
            {
                return;
            }
            await Execute(connection, $"SET client_min_messages = warning; SET statement_timeout = 0; SET lock_timeout = '{LockTimeout}'", ct);
            foreach (var statement in await Wanted(connection, node, ct))
            {
                await Execute(connection, statement, ct);
                LogDone(logger, statement);
            }
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // The node stops.
        }
        catch (Exception e) when (e is NpgsqlException or System.Net.Sockets.SocketException or IOException or TimeoutException)
        {
            LogLater(logger, e.Message);
        }
    }

    /// <summary>The statements to execute in this order, each outside a transaction.</summary>
    async Task<List<string>> Wanted(NpgsqlConnection connection, string node, CancellationToken ct)
    {
        var schema = options.Schema;
        var there = new Dictionary<(string Table, string Index), bool>();
        await using (var ask = new NpgsqlCommand(
            """
            SELECT t.relname::text, c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
            WHERE t.relnamespace = to_regnamespace($1) AND t.relname = ANY ($2) AND NOT i.indisprimary
            """,
            connection)
        {
            Parameters = { Parameter.Text(schema), Parameter.Texts([.. options.Models.Select(m => m.Table), "feed"]) },
        })
        await using (var reader = await ask.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                there.Add((reader.GetString(0), reader.GetString(1)), reader.GetBoolean(2));
            }
        }
        var wanted = new List<string>();
        if (!there.GetValueOrDefault(("feed", "feed_position")))
        {
            wanted.Add($"DROP INDEX CONCURRENTLY IF EXISTS {schema}.feed_position");
            wanted.Add($"CREATE INDEX CONCURRENTLY feed_position ON {schema}.feed (gid)");
        }
        foreach (var model in options.Models)
        {
            var indexes = Schema.Indexes(model).ToDictionary(index => $"{model.Table}_{index.Name}", index => index.On);
            foreach (var (name, on) in indexes)
            {
                if (!there.TryGetValue((model.Table, name), out var isValid) || !isValid)
                {
                    // One that was not finished is in the way of the next try.
                    wanted.Add($"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}");
                    wanted.Add($"CREATE INDEX CONCURRENTLY {name} ON {schema}.{model.Table} {on}");
                }
            }
            wanted.AddRange(there.Keys.Where(index => index.Table == model.Table && !indexes.ContainsKey(index.Index))
                .Select(index => $"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{index.Index}"));
        }
        await using (var ask = new NpgsqlCommand(
            $"""
            SELECT table_name::text FROM information_schema.columns
            WHERE table_schema = $1 AND table_name = ANY ($2) AND column_name = 'words' AND NOT EXISTS (SELECT FROM {schema}.nodes WHERE expires > now() AND id <> $3)
            """,
            connection)
        {
            Parameters = { Parameter.Text(schema), Parameter.Texts([.. options.Models.Select(m => m.Table)]), Parameter.Text(node) },
        })
        await using (var reader = await ask.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                var table = reader.GetString(0);
                var search = options.Models.Single(m => m.Table == table).Searched ? "" : ", DROP COLUMN IF EXISTS search";
                wanted.Add($"ALTER TABLE {schema}.{table} DROP COLUMN IF EXISTS words{search}");
            }
        }
        return wanted;
    }

    static async Task<object?> Ask(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        return await command.ExecuteScalarAsync(ct);
    }

    static async Task Execute(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 0 };
        await command.ExecuteNonQueryAsync(ct);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "A table of an earlier release was brought up to date: {Statement}")]
    static partial void LogDone(ILogger logger, string statement);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A table of an earlier release could not be brought up to date now, and works as it is: {Reason}")]
    static partial void LogLater(ILogger logger, string reason);
}
