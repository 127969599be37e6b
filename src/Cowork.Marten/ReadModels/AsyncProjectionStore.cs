using System.Data;

using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Following models: rows in tables like those of the read models, checkpoints where Marten keeps those of its projections. A checkpoint's time grows
/// with every change of it, so that one that was read tells whether anybody, a rebuild too, has written since.
/// </summary>
sealed class AsyncProjectionStore : IAsyncProjectionStore
{
    /// <summary>So far a page looks at most: when few events are wanted, a step of a follower must not read the whole log.</summary>
    const int PositionsMax = 20_000;

    const int EventsPerPage = 1_000;

    /// <summary>Events that may be left to fold before followers are stopped for the swap.</summary>
    const int LastEventsMax = 500;

    /// <summary>Seconds: a batch may hold much text to be indexed.</summary>
    const int BatchTimeout = 60;

    readonly Database database;
    readonly string schema;
    readonly Dictionary<string, IAsyncProjection> models;
    readonly Dictionary<string, RowTable> tables;
    readonly string progress;
    readonly string read;
    readonly string take;
    readonly string advance;
    readonly string unpark;
    readonly string park;

    public AsyncProjectionStore(Database database, IReadOnlyList<IRowModel> models)
    {
        this.database = database;
        schema = database.Schema;
        this.models = models.OfType<IAsyncProjection>().ToDictionary(m => m.Table);
        tables = this.models.Values.ToDictionary(m => m.Table, m => new RowTable(schema, m.Table, m));
        progress = $"""
            SELECT h.gid, p.name, p.last_seq_id, p.last_updated, k.gid, k.tenant_id, k.stream_id, k.event_id, k.type, k.error, k.at
            FROM {schema}.head h LEFT JOIN {schema}.mt_event_progression p ON p.name = ANY ($1) LEFT JOIN {schema}.parked k ON k.name = p.name
            ORDER BY p.name
            """;
        read = $"""
            SELECT e.version, e.id, e.type, e.data, e.timestamp, e.user_name, e.headers->>'hash', e.seq_id, e.correlation_id, e.causation_id, e.tenant_id, e.stream_id,
                least(h.gid, $1 + {PositionsMax})
            FROM {schema}.head h LEFT JOIN LATERAL (
                SELECT * FROM {schema}.mt_events l
                WHERE l.seq_id > $1 AND l.seq_id <= least(h.gid, $1 + {PositionsMax}, $4) AND l.type = ANY ($2) ORDER BY l.seq_id LIMIT $3) e ON true
            ORDER BY e.seq_id
            """;
        take = $"SELECT last_seq_id FROM {schema}.mt_event_progression WHERE name = $1 FOR UPDATE";
        const string Now = "greatest(clock_timestamp(), last_updated + interval '1 microsecond')";
        advance = $"""
            UPDATE {schema}.mt_event_progression SET last_seq_id = $2, last_updated = {Now} WHERE name = $1 AND last_seq_id = $3 AND last_updated = $4
            RETURNING last_updated
            """;
        unpark = $"DELETE FROM {schema}.parked WHERE name = $1";
        park = $"""
            WITH here AS (SELECT FROM {schema}.mt_event_progression WHERE name = $1 AND last_seq_id = $2 AND last_updated = $3 FOR UPDATE)
            INSERT INTO {schema}.parked (name, gid, tenant_id, stream_id, event_id, type, error, at)
            SELECT $1, $4, $5, $6, $7, $8, $9, $10 FROM here
            ON CONFLICT (name) DO UPDATE SET
                gid = excluded.gid, tenant_id = excluded.tenant_id, stream_id = excluded.stream_id, event_id = excluded.event_id, type = excluded.type,
                error = excluded.error, at = excluded.at
            """;
    }

    /// <summary>The name of a model's checkpoint: as Marten calls the one shard of a projection.</summary>
    public static string NameOf(string table) => $"{table}:All";

    public ValueTask<Progress> Progress(CancellationToken ct) => database.WithReconnect<Progress>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(progress) { Parameters = { Parameter.Texts([.. models.Keys.Select(NameOf)]) } });
            var head = 0L;
            var followed = new List<Followed>();
            while (await reader.ReadAsync(ct))
            {
                head = reader.GetInt64(0);
                if (!reader.IsDBNull(1))
                {
                    Poison? parked = reader.IsDBNull(4) ? null : new(
                        reader.GetInt64(4), reader.GetString(5), reader.GetString(6), reader.GetGuid(7), reader.GetString(8), reader.GetString(9), new(reader.GetDateTime(10)));
                    followed.Add(new(reader.GetString(1)[..^NameOf("").Length], new(reader.GetInt64(2), new(reader.GetDateTime(3))), parked));
                }
            }
            return new(head, followed);
        },
        ct);

    public ValueTask<LogPage> Read(IReadOnlyCollection<string> types, long after, int max, CancellationToken ct) =>
        database.WithReconnect(ScopedConnection.Everyone, async connection => await Page(connection, types, after, long.MaxValue, max, ct), ct);

    public ValueTask<IReadOnlyDictionary<RowKey, Row>> Load(string table, IReadOnlyCollection<RowKey> keys, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyDictionary<RowKey, Row>>(
            ScopedConnection.Everyone, async connection => await Rows(connection, $"{schema}.{Known(table).Table}", keys, ct), ct);

    public ValueTask<Checkpoint?> Advance(string table, Checkpoint from, long to, IReadOnlyList<ProjectedRow> rows, CancellationToken ct)
    {
        var name = NameOf(Known(table).Table);
        return database.WithReconnect(
            ScopedConnection.Everyone,
            async connection =>
            {
                try
                {
                    await using var transaction = await connection.Begin(ct);
                    var move = new NpgsqlBatchCommand(advance)
                    {
                        Parameters = { Parameter.Text(name), Parameter.Long(to), Parameter.Long(from.Position), Parameter.Time(from.At) },
                    };
                    if (await connection.Ask(move, ct) is not DateTime at)
                    {
                        return null;
                    }
                    await Write(connection, tables[table], rows, [new(unpark) { Parameters = { Parameter.Text(name) } }], ct);
                    await transaction.CommitAsync(ct);
                    return new Checkpoint(to, new(at));
                }
                catch (PostgresException e) when (!Database.IsAway(e))
                {
                    throw new InvalidOperationException($"The database refused the rows of {table}: {e.MessageText}", e);
                }
            },
            ct);
    }

    public ValueTask<bool> Park(string table, Checkpoint at, Poison poison, CancellationToken ct)
    {
        var name = NameOf(Known(table).Table);
        return database.WithReconnect(
            ScopedConnection.Everyone,
            async connection =>
            {
                var statement = new NpgsqlBatchCommand(park)
                {
                    Parameters =
                    {
                        Parameter.Text(name), Parameter.Long(at.Position), Parameter.Time(at.At), Parameter.Long(poison.Position), Parameter.Text(poison.Org),
                        Parameter.Text(poison.Stream), new() { Value = poison.EventId }, Parameter.Text(poison.Type), Parameter.Text(poison.Error), Parameter.Time(poison.At),
                    },
                };
                return await connection.Execute([statement], ct) == 1;
            },
            ct);
    }

    /// <summary>Folds the log into a table beside the live one; followers wait only while the last events are folded and the tables change names.</summary>
    internal async Task<long> Rebuild(NpgsqlConnection connection, IAsyncProjection model, CancellationToken ct)
    {
        var (next, name) = ($"{model.Table}_next", NameOf(model.Table));
        await Run(connection, $"DROP TABLE IF EXISTS {schema}.{next};" + Schema.Table(schema, next, model), ct);
        var target = new RowTable(schema, next, model);
        var scoped = new ScopedConnection(connection, ScopedConnection.Everyone);
        var (folded, position) = (0L, 0L);
        while (await Head(connection, ct) - position > LastEventsMax)
        {
            await Further();
        }
        await using (var transaction = await connection.BeginTransactionAsync(ct))
        {
            await using (var lockCheckpoint = new NpgsqlCommand(take, connection) { Parameters = { Parameter.Text(name) } })
            {
                await lockCheckpoint.ExecuteScalarAsync(ct);
            }
            for (var head = await Head(connection, ct); position < head;)
            {
                await Further();
            }
            await Run(connection, Schema.Swap(schema, next, model, await Fence.Roles(connection, schema, model.Table, ct)), ct);
            await using var step = new NpgsqlBatch(connection)
            {
                BatchCommands =
                {
                    new($"""
                        UPDATE {schema}.mt_event_progression SET last_seq_id = $2, last_updated = greatest(clock_timestamp(), last_updated + interval '1 microsecond')
                        WHERE name = $1
                        """) { Parameters = { Parameter.Text(name), Parameter.Long(position) } },
                    new(unpark) { Parameters = { Parameter.Text(name) } },
                },
            };
            await step.ExecuteNonQueryAsync(ct);
            await transaction.CommitAsync(ct);
        }
        await Run(connection, $"ANALYZE {schema}.{model.Table}", ct);
        return folded;

        async Task Further()
        {
            var page = await Page(scoped, model.Types, position, long.MaxValue, EventsPerPage, ct);
            await Fold(scoped, model, $"{schema}.{next}", target, page, ct);
            (folded, position) = (folded + page.Events.Count, page.Through);
        }
    }

    /// <summary>Folds the log up to the model's checkpoint into a table of this session, and compares. Called in a transaction with one snapshot.</summary>
    internal async Task<string?> FindDifference(NpgsqlConnection connection, IAsyncProjection model, CancellationToken ct)
    {
        const string There = "pg_temp";
        var check = $"{model.Table}_check";
        await using var ask = new NpgsqlCommand($"SELECT last_seq_id FROM {schema}.mt_event_progression WHERE name = $1", connection)
        {
            Parameters = { Parameter.Text(NameOf(model.Table)) },
        };
        var through = (long)(await ask.ExecuteScalarAsync(ct))!;
        await Run(connection, Schema.Table(There, check, model), ct);
        var target = new RowTable(There, check, model);
        var scoped = new ScopedConnection(connection, ScopedConnection.Everyone);
        for (var position = 0L; position < through;)
        {
            var page = await Page(scoped, model.Types, position, through, EventsPerPage, ct);
            await Fold(scoped, model, $"{There}.{check}", target, page, ct);
            position = page.Through;
        }
        string Columns(string of) =>
            $"({of}.scope, {of}.status, {of}.created, {of}.updated, {of}.version, {of}.row::text{(model.Searched ? $", {of}.search" : "")})";
        await using var compare = new NpgsqlCommand(
            $"""
            SELECT coalesce(l.tenant_id, m.tenant_id) || ' ' || coalesce(l.id, m.id)
            FROM {schema}.{model.Table} l FULL JOIN {There}.{check} m ON m.tenant_id = l.tenant_id AND m.id = l.id
            WHERE l.id IS NULL OR m.id IS NULL OR {Columns("l")} IS DISTINCT FROM {Columns("m")}
            ORDER BY 1 LIMIT 1
            """,
            connection)
        { CommandTimeout = 0 };
        return (string?)await compare.ExecuteScalarAsync(ct);
    }

    IAsyncProjection Known(string table) => models.TryGetValue(table, out var model) ? model : throw new ArgumentException($"No model {table} follows the log.", nameof(table));

    static async Task Run(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 0 };
        await command.ExecuteNonQueryAsync(ct);
    }

    async Task<long> Head(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand($"SELECT gid FROM {schema}.head", connection);
        return (long)(await command.ExecuteScalarAsync(ct))!;
    }

    static async Task Fold(ScopedConnection connection, IAsyncProjection model, string from, RowTable into, LogPage page, CancellationToken ct)
    {
        if (page.Unreadable is { } unreadable)
        {
            throw new InvalidOperationException(
                $"Event {unreadable.Position} ({unreadable.Type} {unreadable.EventId} in {unreadable.Stream}) cannot be read: {unreadable.Error}");
        }
        var rows = await ProjectedRow.Fold(model, page.Events, async keys => await Rows(connection, from, keys, ct));
        await Write(connection, into, rows, [], ct);
    }

    static async Task Write(
        ScopedConnection connection, RowTable table, IReadOnlyList<ProjectedRow> rows, IReadOnlyList<NpgsqlBatchCommand> more, CancellationToken ct)
    {
        var changes = new TableChanges();
        foreach (var row in rows)
        {
            changes.Add(row.Key.Org, new("", row.Key.Key, row.Updated, row.Value), row.Created, row.Updated, again: row.IsNew);
        }
        var statements = new List<NpgsqlBatchCommand>();
        table.AddTo(statements, changes);
        statements.AddRange(more);
        if (statements.Count > 0)
        {
            await connection.Execute(statements, ct, BatchTimeout);
        }
    }

    async Task<LogPage> Page(ScopedConnection connection, IReadOnlyCollection<string> types, long after, long through, int max, CancellationToken ct)
    {
        var statement = new NpgsqlBatchCommand(read) { Parameters = { Parameter.Long(after), Parameter.Texts([.. types]), Parameter.Long(max), Parameter.Long(through) } };
        await using var reader = await connection.Read(statement, BatchTimeout, ct);
        var events = new List<RecordedEvent>();
        while (await reader.ReadAsync(ct))
        {
            through = Math.Min(through, reader.GetInt64(12));
            if (reader.IsDBNull(7))
            {
                break;
            }
            try
            {
                var e = EventLog.Event(reader, reader.GetString(10), reader.GetString(11), database.Subjects);
                events.Add(e with { Data = CanonicalJson.Of(e.Data.Span) });
            }
            catch (Exception e) when (e is System.Text.Json.JsonException or InvalidOperationException or FormatException or ArgumentException)
            {
                var position = reader.GetInt64(7);
                return new(events, position - 1, new(position, reader.GetString(10), reader.GetString(11), reader.GetGuid(1), reader.GetString(2), e.Message, default));
            }
        }
        return new(events, events.Count == max ? events[^1].Position : Math.Max(after, through));
    }

    static async Task<Dictionary<RowKey, Row>> Rows(ScopedConnection connection, string table, IReadOnlyCollection<RowKey> keys, CancellationToken ct)
    {
        var statement = new NpgsqlBatchCommand(
            $"""
            SELECT t.tenant_id, t.id, t.created, t.version, t.row FROM unnest($1, $2) u (tenant_id, id) JOIN {table} t ON t.tenant_id = u.tenant_id AND t.id = u.id
            """)
        {
            Parameters = { Parameter.Texts([.. keys.Select(k => k.Org)]), Parameter.Texts([.. keys.Select(k => k.Key)]) },
        };
        await using var reader = await connection.Read(ct, statement);
        var rows = new Dictionary<RowKey, Row>();
        while (await reader.ReadAsync(ct))
        {
            var key = new RowKey(reader.GetString(0), reader.GetString(1));
            rows.Add(key, new(key.Key, reader.GetInt64(2), reader.GetInt64(3), reader.GetFieldValue<byte[]>(4)));
        }
        return rows;
    }
}
