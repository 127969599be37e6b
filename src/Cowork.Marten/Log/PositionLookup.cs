using Cowork.Application;
using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Finds positions by time and by event id without an index on either, which every append would pay for: times rise with positions, and an id has its time in it. The steps
/// are as many as the log's length has bits.
/// </summary>
sealed class PositionLookup(Database database) : IPositions
{
    /// <summary>Events behind the place where the times pass the wanted one, among which hosts that write at once may have mixed theirs.</summary>
    const int Mixed = 1_000;

    /// <summary>How far the time of an id may lie from those of the events around it: the next is tried where the one before finds nothing.</summary>
    static readonly TimeSpan[] Apart = [TimeSpan.FromSeconds(2), TimeSpan.FromMinutes(5)];

    readonly string head = $"SELECT gid FROM {database.Schema}.head";

    readonly string at = $"""
        WITH RECURSIVE steps (low, high) AS (
            SELECT 0::bigint, gid FROM {database.Schema}.head
            UNION ALL
            SELECT CASE WHEN e.timestamp <= $1 THEN m.middle ELSE s.low END, CASE WHEN e.timestamp <= $1 THEN s.high ELSE m.middle - 1 END
            FROM steps s CROSS JOIN LATERAL (SELECT (s.low + s.high + 1) / 2 AS middle) m
            LEFT JOIN LATERAL (SELECT timestamp FROM {database.Schema}.mt_events WHERE seq_id = m.middle) e ON true
            WHERE s.low < s.high)
        SELECT greatest(found.low, (
            SELECT max(seq_id) FROM {database.Schema}.mt_events WHERE seq_id > found.low AND seq_id <= found.low + {Mixed} AND timestamp <= $1))
        FROM (SELECT max(low) AS low FROM steps) found
        """;

    readonly string of = $"SELECT seq_id FROM {database.Schema}.mt_events WHERE seq_id > $3 AND seq_id <= $4 AND tenant_id = $1 AND id = $2";

    /// <summary>The tree's tiles of leaves have the least and the greatest id of their events: they also find one whose time is far from that of the events around it.</summary>
    readonly string inTree = $"""
        SELECT e.seq_id FROM {database.Schema}.merkle_tiles t
        JOIN {database.Schema}.mt_events e ON e.seq_id > t.number * {MerkleTiles.Width} AND e.seq_id <= (t.number + 1) * {MerkleTiles.Width} AND e.id = $2 AND e.tenant_id = $1
        WHERE t.least_id <= $2 AND t.greatest_id >= $2
        """;

    public ValueTask<long> Head(CancellationToken ct) => Ask(() => new(head), ct);

    public ValueTask<long> At(DateTimeOffset time, CancellationToken ct) => Ask(() => new(at) { Parameters = { Parameter.Time(time) } }, ct);

    public async ValueTask<long?> Of(string org, Guid id, CancellationToken ct)
    {
        if (TimeOf(id) is { } time)
        {
            foreach (var apart in Apart)
            {
                var (first, last) = (await At(time - apart, ct), await At(time + apart, ct));
                var found = await database.WithReconnect(
                    org,
                    async connection => (long?)await connection.Ask(
                        new(of) { Parameters = { Parameter.Text(org), new NpgsqlParameter<Guid> { TypedValue = id }, Parameter.Long(first - Mixed), Parameter.Long(last) } }, ct),
                    ct);
                if (found is not null)
                {
                    return found;
                }
            }
        }
        return await database.WithReconnect(
            org,
            async connection => (long?)await connection.Ask(new(inTree) { Parameters = { Parameter.Text(org), new NpgsqlParameter<Guid> { TypedValue = id } } }, ct),
            ct);
    }

    /// <summary>The time in a UUID of version 7; null: it is another one, or its time is none that the log can have.</summary>
    static DateTimeOffset? TimeOf(Guid id)
    {
        var milliseconds = Convert.ToInt64(id.ToString("N")[..12], 16);
        return id.Version == 7 && milliseconds <= DateTimeOffset.MaxValue.AddYears(-1).ToUnixTimeMilliseconds() && milliseconds >= 1_000_000
            ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds)
            : null;
    }

    /// <summary>Positions are of the whole log: the times between which one lies are other tenants' too.</summary>
    ValueTask<long> Ask(Func<NpgsqlBatchCommand> statement, CancellationToken ct) =>
        database.WithReconnect(ScopedConnection.Everyone, async connection => (long)(await connection.Ask(statement(), ct))!, ct);
}
