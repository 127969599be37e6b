using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The statements on the tables of jobs and nodes. Times are the database's: nodes' clocks may differ.</summary>
sealed class JobTable
{
    /// <summary>How far in the future a dead letter's job lies. Earlier releases used the same mark, so that their dead letters are found.</summary>
    public static readonly TimeSpan DeadLettered = TimeSpan.FromDays(365_000);

    readonly Database database;
    readonly StorageOptions options;
    readonly string register;
    readonly string beat;
    readonly string claim;
    readonly string epochs;
    readonly string nextDue;
    readonly string own;
    readonly string delete;
    readonly string redo;
    readonly string release;
    readonly string fail;
    readonly string count;
    readonly string hurry;
    readonly string forgetNodes;
    readonly string forgetNode;
    readonly string freeJobs;

    public JobTable(Database database, StorageOptions options)
    {
        (this.database, this.options) = (database, options);
        var s = database.Schema;
        const string Mine = "tenant_id = $1 AND kind = $2 AND key = $3 AND epoch = $4 AND holder = $5";
        const string Alive = "n.expires > now()";
        register = $"INSERT INTO {s}.nodes (id, expires) VALUES ($1, now() + $2) ON CONFLICT (id) DO UPDATE SET expires = excluded.expires";
        beat = $"""
            WITH mine AS (UPDATE {s}.nodes SET expires = now() + $2 WHERE id = $1 AND expires > now() RETURNING id)
            SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM {s}.nodes n WHERE n.id <> $1 AND {Alive}), (SELECT gid FROM {s}.head),
                (SELECT extract(epoch FROM min(due) - now())::float8 FROM {s}.jobs j WHERE j.kind <> ALL ($3) AND j.holder IS NULL AND j.letter IS NULL),
                EXISTS (SELECT FROM {s}.jobs j WHERE j.kind <> ALL ($3) AND j.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = j.holder AND {Alive}))
            """;
        claim = $"""
            UPDATE {s}.jobs j SET holder = $1, epoch = nextval('{s}.job_epochs')
            FROM (
                SELECT f.tenant_id, f.kind, f.key FROM {s}.jobs f
                WHERE f.due <= now() AND f.kind <> ALL ($3) AND (f.holder IS NULL OR NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = f.holder AND {Alive}))
                ORDER BY f.due LIMIT $2 FOR UPDATE SKIP LOCKED) free
            WHERE j.tenant_id = free.tenant_id AND j.kind = free.kind AND j.key = free.key
                AND EXISTS (SELECT FROM {s}.nodes n WHERE n.id = $1 AND {Alive})
            RETURNING j.tenant_id, j.kind, j.key, j.epoch
            """;
        epochs = $"SELECT nextval('{s}.job_epochs') FROM generate_series(1, $1)";
        nextDue = $"SELECT extract(epoch FROM min(due) - now())::float8 FROM {s}.jobs WHERE due > now() AND holder IS NULL AND letter IS NULL AND kind <> ALL ($1)";
        own = $"SELECT tenant_id, kind, key, epoch FROM {s}.jobs WHERE holder = $1";
        delete = $"DELETE FROM {s}.jobs WHERE {Mine} AND again IS NULL";
        redo = $"UPDATE {s}.jobs SET holder = NULL, due = again, again = NULL, attempts = 0 WHERE {Mine} AND again IS NOT NULL";
        release = $"UPDATE {s}.jobs SET holder = NULL, due = least(again, now() + $6), again = NULL WHERE {Mine}";
        fail = $"""
            UPDATE {s}.jobs SET holder = NULL, again = NULL, error_type = $6, error = $7, failed_at = now(),
                attempts = CASE WHEN again IS NULL THEN attempts + 1 ELSE 0 END,
                due = CASE WHEN again IS NOT NULL THEN again WHEN attempts < cardinality($8) THEN now() + ($8)[attempts + 1] ELSE now() + $9 END,
                letter = CASE WHEN again IS NULL AND attempts >= cardinality($8) THEN gen_random_uuid() END
            WHERE {Mine}
            """;
        hurry = $"UPDATE {s}.jobs SET due = now() WHERE kind = $1 AND holder IS NULL AND due > now() AND letter IS NULL";
        count = $"""
            SELECT count(*) FILTER (WHERE n.id IS NULL AND j.due <= now()), count(n.id), count(*) FILTER (WHERE n.id IS NULL AND j.due > now())
            FROM {s}.jobs j LEFT JOIN {s}.nodes n ON n.id = j.holder AND {Alive}
            """;
        // A node that lost its lease goes on under its first name, a dot and a number.
        forgetNodes = $"""
            DELETE FROM {s}.nodes n WHERE n.expires < now() - interval '1 day'
                OR EXISTS (SELECT FROM unnest($1) d (id) WHERE n.id = d.id OR starts_with(n.id, d.id || '.'))
            """;
        forgetNode = $"DELETE FROM {s}.nodes WHERE id = $1";
        freeJobs = $"UPDATE {s}.jobs SET holder = NULL WHERE holder = $1";
    }

    /// <summary>What a sign of life brings back.</summary>
    /// <param name="IsAlive">False: the lease was over already, and nothing was renewed.</param>
    /// <param name="Peers">Other nodes that live.</param>
    /// <param name="Head">The log's last position.</param>
    /// <param name="NextDue">Until the first free job is due; negative: it waits. Null: there is none.</param>
    /// <param name="HasOrphans">Jobs are held by nodes that do not live.</param>
    public sealed record Pulse(bool IsAlive, long Peers, long Head, TimeSpan? NextDue, bool HasOrphans);

    public static NpgsqlParameter<TimeSpan> Interval(TimeSpan time) => new() { TypedValue = time, NpgsqlDbType = NpgsqlDbType.Interval };

    /// <summary>Frees what dead nodes, and this node under an earlier life, still seem to hold.</summary>
    public ValueTask<int> ForgetDeadNodes(CancellationToken ct) => Batch(
        () => [
            new(forgetNodes) { Parameters = { Parameter.Texts([.. options.DeadNodes, options.Node]) } },
            new(freeJobs) { Parameters = { Parameter.Text(options.Node) } },
        ],
        ct);

    /// <summary>The node's end: its jobs are free at once.</summary>
    public ValueTask<int> Leave(string node) => Batch(
        () => [new(freeJobs) { Parameters = { Parameter.Text(node) } }, new(forgetNode) { Parameters = { Parameter.Text(node) } }], CancellationToken.None);

    public ValueTask<int> Register(string node, CancellationToken ct) =>
        Batch(() => [new(register) { Parameters = { Parameter.Text(node), Interval(options.Lease) } }], ct);

    public ValueTask<Pulse> Beat(string node, CancellationToken ct) => database.WithReconnect<Pulse>(
        async connection =>
        {
            await using var command = new NpgsqlCommand(beat, connection) { Parameters = { Parameter.Text(node), Interval(options.Lease), LeftToOthers } };
            await using var reader = await command.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            return new(
                reader.GetInt64(0) > 0, reader.GetInt64(1), reader.GetInt64(2), reader.IsDBNull(3) ? null : TimeSpan.FromSeconds(reader.GetDouble(3)), reader.GetBoolean(4));
        },
        ct);

    /// <summary>Epochs that no claim has had.</summary>
    public ValueTask<List<long>> Epochs(int count, CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var command = new NpgsqlCommand(epochs, connection) { Parameters = { Parameter.Long(count) } };
            await using var reader = await command.ExecuteReaderAsync(ct);
            var fresh = new List<long>(count);
            while (await reader.ReadAsync(ct))
            {
                fresh.Add(reader.GetInt64(0));
            }
            return fresh;
        },
        ct);

    /// <summary>Claims jobs that are due and free, the longest due first. Answers also how long it is until the next one is due; null: none waits.</summary>
    public ValueTask<(List<Claim> Claims, TimeSpan? NextDue)> Take(string node, int max, CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var batch = new NpgsqlBatch(connection)
            {
                BatchCommands = { new(claim) { Parameters = { Parameter.Text(node), Parameter.Long(max), LeftToOthers } }, new(nextDue) { Parameters = { LeftToOthers } } },
            };
            await using var reader = await batch.ExecuteReaderAsync(ct);
            var claims = await Claims(reader, ct);
            await reader.NextResultAsync(ct);
            await reader.ReadAsync(ct);
            return (claims, reader.IsDBNull(0) ? (TimeSpan?)null : TimeSpan.FromSeconds(reader.GetDouble(0)));
        },
        ct);

    public ValueTask<List<Claim>> HeldBy(string node, CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var command = new NpgsqlCommand(own, connection) { Parameters = { Parameter.Text(node) } };
            await using var reader = await command.ExecuteReaderAsync(ct);
            return await Claims(reader, ct);
        },
        ct);

    public ValueTask<int> Complete(Claim claim, string holder, CancellationToken ct) => Batch(() => [Of(delete, claim, holder), Of(redo, claim, holder)], ct);

    public ValueTask<int> Release(Claim claim, string holder, TimeSpan after, CancellationToken ct) => Batch(() => [Of(release, claim, holder, Interval(after))], ct);

    public ValueTask<int> Fail(Claim claim, string holder, Exception why, CancellationToken ct) => Batch(
        () => [
            Of(
                fail, claim, holder, Parameter.Text(why.GetType().FullName), Parameter.Text(why.Message),
                new NpgsqlParameter<TimeSpan[]> { TypedValue = [.. options.JobRetries], NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Interval }, Interval(DeadLettered)),
        ],
        ct);

    public ValueTask<int> Hurry(string kind, CancellationToken ct) => Batch(() => [new(hurry) { Parameters = { Parameter.Text(kind) } }], ct);

    /// <summary>Nodes that live.</summary>
    public ValueTask<List<(string Id, DateTimeOffset Expires)>> Nodes(CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var command = new NpgsqlCommand($"SELECT id, expires FROM {database.Schema}.nodes WHERE expires > now() ORDER BY id", connection);
            await using var reader = await command.ExecuteReaderAsync(ct);
            var nodes = new List<(string, DateTimeOffset)>();
            while (await reader.ReadAsync(ct))
            {
                nodes.Add((reader.GetString(0), new(reader.GetDateTime(1))));
            }
            return nodes;
        },
        ct);

    public ValueTask<Backlog> Backlog(CancellationToken ct) => database.WithReconnect<Backlog>(
        async connection =>
        {
            await using var command = new NpgsqlCommand(count, connection);
            await using var reader = await command.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            return new(reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2));
        },
        ct);

    NpgsqlParameter LeftToOthers => Parameter.Texts([.. options.KindsLeftToOthers]);

    static NpgsqlBatchCommand Of(string sql, Claim claim, string holder, params NpgsqlParameter[] more)
    {
        var command = new NpgsqlBatchCommand(sql)
        {
            Parameters = { Parameter.Text(claim.Org), Parameter.Text(claim.Kind), Parameter.Text(claim.Key), Parameter.Long(claim.Epoch), Parameter.Text(holder) },
        };
        foreach (var parameter in more)
        {
            command.Parameters.Add(parameter);
        }
        return command;
    }

    /// <param name="commands">Called for each attempt: Npgsql lets no parameter belong to two commands.</param>
    ValueTask<int> Batch(Func<NpgsqlBatchCommand[]> commands, CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var batch = new NpgsqlBatch(connection);
            foreach (var command in commands())
            {
                batch.BatchCommands.Add(command);
            }
            return await batch.ExecuteNonQueryAsync(ct);
        },
        ct);

    static async Task<List<Claim>> Claims(NpgsqlDataReader reader, CancellationToken ct)
    {
        var claims = new List<Claim>();
        while (await reader.ReadAsync(ct))
        {
            claims.Add(new(reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3)));
        }
        return claims;
    }
}
