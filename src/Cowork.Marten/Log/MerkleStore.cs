using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The tiles of the tree over the log, in a table of ours; its size lies where Marten keeps the progress of its projections.</summary>
sealed class MerkleStore(Database database) : IMerkleStore, IHeadDeliveries
{
    /// <summary>Name of the tree's progress.</summary>
    public const string ProgressName = "merkle_tiles:All";

    const int BatchTimeout = 60;

    /// <summary>
    /// What a leaf is made of. Data, time and actor come along only where the event has no hash, because another program wrote it. The feed is joined by position, which has an
    /// index of its own.
    /// </summary>
    /// <param name="from">Names the events <c>e</c>, and the rows of the feed <c>f</c>.</param>
    static string Columns(string from) => $"""
        SELECT e.seq_id, e.tenant_id, e.stream_id, e.version, e.headers->>'hash', coalesce(f.feed_id, 0), e.headers->>'session', e.headers->>'run', e.correlation_id,
            e.causation_id, e.id, e.type, e.user_name, CASE WHEN e.headers->>'hash' IS NULL THEN e.data END, e.timestamp{from}
        """;

    readonly string size = $"SELECT last_seq_id FROM {database.Schema}.mt_event_progression WHERE name = '{ProgressName}'";

    readonly string read = Columns($"""
        , h.gid
        FROM {database.Schema}.head h
        LEFT JOIN {database.Schema}.mt_events e ON e.seq_id > $1 AND e.seq_id <= $2
        LEFT JOIN (SELECT gid, feed_id FROM {database.Schema}.feed WHERE gid > $1 AND gid <= $2) f ON f.gid = e.seq_id
        ORDER BY e.seq_id
        """);

    readonly string grow = $"""
        UPDATE {database.Schema}.mt_event_progression SET last_seq_id = $2, last_updated = greatest(clock_timestamp(), last_updated + interval '1 microsecond')
        WHERE name = '{ProgressName}' AND last_seq_id = $1
        """;

    readonly string put = $"""
        INSERT INTO {database.Schema}.merkle_tiles AS t (level, number, hashes, least_id, greatest_id)
            SELECT * FROM unnest($1, $2, $3, $4, $5)
        ON CONFLICT (level, number) DO UPDATE SET
            hashes = excluded.hashes, least_id = least(t.least_id, excluded.least_id), greatest_id = greatest(t.greatest_id, excluded.greatest_id)
        """;

    readonly string replace = $"""
        INSERT INTO {database.Schema}.merkle_tiles AS t (level, number, hashes, least_id, greatest_id)
            SELECT * FROM unnest($1, $2, $3, $4, $5)
        ON CONFLICT (level, number) DO UPDATE SET
            hashes = excluded.hashes || substr(t.hashes, length(excluded.hashes) + 1),
            least_id = least(t.least_id, excluded.least_id), greatest_id = greatest(t.greatest_id, excluded.greatest_id)
        WHERE substr(t.hashes, 1, length(excluded.hashes)) <> excluded.hashes
        """;

    readonly string tiles = $"""
        SELECT t.level, t.number, t.hashes FROM unnest($1, $2) u (level, number)
        JOIN {database.Schema}.merkle_tiles t ON t.level = u.level AND t.number = u.number
        """;

    readonly string byPosition = Columns($"""

        FROM {database.Schema}.mt_events e
        LEFT JOIN (SELECT gid, feed_id FROM {database.Schema}.feed WHERE gid = $2) f ON f.gid = e.seq_id
        WHERE e.tenant_id = $1 AND e.seq_id = $2
        """);

    readonly string byPositions = Columns($"""

        FROM {database.Schema}.mt_events e
        LEFT JOIN (SELECT gid, feed_id FROM {database.Schema}.feed WHERE gid = ANY ($2)) f ON f.gid = e.seq_id
        WHERE e.tenant_id = $1 AND e.seq_id = ANY ($2) ORDER BY e.seq_id
        """);

    readonly string sent = $"SELECT number FROM {database.Schema}.head_deliveries WHERE target = $1";

    readonly string send = $"""
        INSERT INTO {database.Schema}.head_deliveries (target, number) VALUES ($1, $2) ON CONFLICT (target) DO UPDATE SET number = excluded.number
        """;

    public ValueTask<long> Size(CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone, async connection => await connection.Ask(new(size), ct) is long there ? there : 0, ct);

    public ValueTask<AuditPage> Read(long after, int max, CancellationToken ct) => database.WithReconnect<AuditPage>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(
                new NpgsqlBatchCommand(read) { Parameters = { Parameter.Long(after), Parameter.Long(after + max) } }, BatchTimeout, ct);
            var (head, entries) = (0L, new List<AuditEntry>());
            while (await reader.ReadAsync(ct))
            {
                head = reader.GetInt64(15);
                if (!reader.IsDBNull(0))
                {
                    entries.Add(Entry(reader));
                }
            }
            return new(head, entries);
        },
        ct);

    public ValueTask<bool> Grow(long from, long to, IReadOnlyList<MerkleTile> grown, CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var transaction = await connection.Begin(ct);
            if (await connection.Execute([new(grow) { Parameters = { Parameter.Long(from), Parameter.Long(to) } }], ct, BatchTimeout) != 1)
            {
                return false;
            }
            await connection.Execute([Write(put, grown)], ct, BatchTimeout);
            await transaction.CommitAsync(ct);
            return true;
        },
        ct);

    public ValueTask<int> Replace(IReadOnlyList<MerkleTile> made, CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone, async connection => await connection.Execute([Write(replace, made)], ct, BatchTimeout), ct);

    public ValueTask<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>> Tiles(IReadOnlyCollection<TileKey> keys, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyDictionary<TileKey, ReadOnlyMemory<byte>>>(
            ScopedConnection.Everyone,
            async connection =>
            {
                await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(tiles)
                {
                    Parameters = { Parameter.Integers([.. keys.Select(key => key.Level)]), Parameter.Longs([.. keys.Select(key => key.Number)]) },
                });
                var found = new Dictionary<TileKey, ReadOnlyMemory<byte>>();
                while (await reader.ReadAsync(ct))
                {
                    found.Add(new(reader.GetInt32(0), reader.GetInt64(1)), reader.GetFieldValue<byte[]>(2));
                }
                return found;
            },
            ct);

    public ValueTask<AuditEntry?> Find(string org, long position, CancellationToken ct) => database.WithReconnect(
        org, connection => At(connection, org, position, ct), ct);

    public ValueTask<IReadOnlyList<AuditEntry>> Find(string org, IReadOnlyList<long> positions, CancellationToken ct) => database.WithReconnect<IReadOnlyList<AuditEntry>>(
        org,
        async connection =>
        {
            var entries = new List<AuditEntry>();
            await using var reader = await connection.Read(
                ct, new NpgsqlBatchCommand(byPositions) { Parameters = { Parameter.Text(org), Parameter.Longs([.. positions]) } });
            while (await reader.ReadAsync(ct))
            {
                entries.Add(Entry(reader));
            }
            return entries;
        },
        ct);

    public ValueTask<long> Sent(string target, CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone,
        async connection => await connection.Ask(new(sent) { Parameters = { Parameter.Text(target) } }, ct) is long number ? number : 0, ct);

    public async ValueTask Sent(string target, long number, CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone,
        async connection => await connection.Execute([new(send) { Parameters = { Parameter.Text(target), Parameter.Long(number) } }], ct), ct);

    async ValueTask<AuditEntry?> At(ScopedConnection connection, string org, long position, CancellationToken ct)
    {
        await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(byPosition) { Parameters = { Parameter.Text(org), Parameter.Long(position) } });
        return await reader.ReadAsync(ct) ? Entry(reader) : null;
    }

    static NpgsqlBatchCommand Write(string statement, IReadOnlyList<MerkleTile> tiles) => new(statement)
    {
        Parameters =
        {
            Parameter.Integers([.. tiles.Select(tile => tile.Key.Level)]), Parameter.Longs([.. tiles.Select(tile => tile.Key.Number)]),
            new() { Value = tiles.Select(tile => tile.Hashes.ToArray()).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bytea },
            new() { Value = tiles.Select(tile => tile.Ids?.Least).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Uuid },
            new() { Value = tiles.Select(tile => tile.Ids?.Greatest).ToArray(), NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Uuid },
        },
    };

    /// <summary>An event from <see cref="Columns"/>.</summary>
    static AuditEntry Entry(NpgsqlDataReader reader)
    {
        var (org, stream, version, id) = (reader.GetString(1), reader.GetString(2), reader.GetInt64(3), reader.GetGuid(10));
        var hash = reader.IsDBNull(4)
            ? HashChain.Next(
                HashChain.Root, org, stream, version, id, reader.GetString(11), new(reader.GetDateTime(14)), reader.IsDBNull(12) ? "" : reader.GetString(12),
                CanonicalJson.Of(Encoding.UTF8.GetBytes(reader.GetString(13))))
            : reader.GetString(4);
        return new(
            new(
                reader.GetInt64(0), org, stream, version, hash, reader.GetInt64(5), reader.IsDBNull(6) ? null : new SessionKey(reader.GetString(6)),
                reader.IsDBNull(7) ? null : new RunKey(reader.GetString(7)), reader.IsDBNull(8) ? null : reader.GetString(8), reader.IsDBNull(9) ? null : reader.GetString(9)),
            id);
    }
}
