using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>StreamState states put aside, one for each stream: the newest wins.</summary>
sealed class SnapshotStore(Database database) : ISnapshots
{
    readonly string load = $"SELECT version, hash, state, rows FROM {database.Schema}.snapshots WHERE tenant_id = $1 AND stream_id = $2 AND schema = $3";

    readonly string save = $"""
        INSERT INTO {database.Schema}.snapshots AS s (tenant_id, stream_id, version, schema, hash, state, rows) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (tenant_id, stream_id) DO UPDATE SET
            version = excluded.version, schema = excluded.schema, hash = excluded.hash, state = excluded.state, rows = excluded.rows
        WHERE s.version < excluded.version OR s.schema <> excluded.schema
        """;

    public ValueTask<Snapshot?> Load(string org, string stream, string schema, CancellationToken ct) => database.WithReconnect<Snapshot?>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct, new NpgsqlBatchCommand(load) { Parameters = { Parameter.Text(org), Parameter.Text(stream), Parameter.Text(schema) } });
            return await reader.ReadAsync(ct)
                ? new(reader.GetInt64(0), reader.GetString(1), schema, reader.GetFieldValue<byte[]>(2), reader.GetFieldValue<byte[]>(3))
                : null;
        },
        ct);

    public async ValueTask Save(string org, string stream, Snapshot snapshot, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new(save)
                {
                    Parameters =
                    {
                        Parameter.Text(org), Parameter.Text(stream), Parameter.Long(snapshot.Version), Parameter.Text(snapshot.Schema), Parameter.Text(snapshot.Hash),
                        Parameter.Bytes(snapshot.State), Parameter.Bytes(snapshot.Rows),
                    },
                },
            ],
            ct),
        ct);
}
