using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The statements on the tables of jobs and nodes. Times are the database's: nodes' clocks may differ.</summary>
sealed class JobTable
{
    /// <summary>How far in the future a dead letter's job lies. Earlier releases used the same mark, so that their dead letters are found.</summary>
    public static readonly TimeSpan DeadLettered = TimeSpan.FromDays(365_000);

    /// <summary>Jobs that a look judges of those that have waited longest, and of each tenant when there are more.</summary>
    const int LookedAt = 1024;
    const int LookedAtOfEach = 64;

    readonly Database database;
    readonly StorageOptions options;
    readonly string register;
    readonly string beat;
    readonly string claim;
    readonly string freeOrphans;
    readonly string epochs;
    readonly string nextDue;
    readonly string own;
    readonly string delete;
    readonly string redo;
    readonly string release;
    readonly string fail;
    readonly string count;
    readonly string countKinds;
    readonly string upcoming;
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
        const string Free = "f.holder IS NULL AND f.letter IS NULL";
        upcoming = $"SELECT key, due FROM {s}.jobs f WHERE kind = $2 AND tenant_id = $1 AND {Free} ORDER BY due LIMIT $3";
        register = $"INSERT INTO {s}.nodes (id, expires) VALUES ($1, now() + $2) ON CONFLICT (id) DO UPDATE SET expires = excluded.expires";
        beat = $"""
            WITH mine AS (UPDATE {s}.nodes SET expires = now() + $2 WHERE id = $1 AND expires > now() RETURNING id)
            SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM {s}.nodes n WHERE n.id <> $1 AND {Alive}), (SELECT gid FROM {s}.head),
                (SELECT extract(epoch FROM min(due) - now())::float8 FROM {s}.jobs j WHERE j.kind <> ALL ($3) AND j.holder IS NULL AND j.letter IS NULL),
                EXISTS (SELECT FROM {s}.jobs j WHERE j.kind <> ALL ($3) AND j.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = j.holder AND {Alive}))
            """;
        // Those that have waited longest are looked at first. When there may be more than that, some of each tenant's are looked at, too, so that none is behind
        // another's thousands. Each tenant's next job has a place, counted from the jobs that the tenant has here; who has fewest comes first. As places grow and free
        // slots become fewer, JobSlots.Lets lets a beginning of the list, and what comes after it waits.
        claim = $"""
            WITH RECURSIVE oldest AS MATERIALIZED (
                SELECT f.tenant_id, f.kind, f.key, f.due FROM {s}.jobs f WHERE {Free} AND f.due <= now() AND f.kind <> ALL ($3) ORDER BY f.due LIMIT {LookedAt}
            ), queues AS (
                (SELECT f.kind, f.tenant_id FROM {s}.jobs f WHERE {Free} AND (SELECT count(*) = {LookedAt} FROM oldest) ORDER BY f.kind, f.tenant_id LIMIT 1)
                UNION ALL
                SELECT n.kind, n.tenant_id FROM queues q CROSS JOIN LATERAL (
                    SELECT f.kind, f.tenant_id FROM {s}.jobs f WHERE {Free} AND (f.kind, f.tenant_id) > (q.kind, q.tenant_id) ORDER BY f.kind, f.tenant_id LIMIT 1) n
            ), candidates AS (
                SELECT * FROM oldest
                UNION
                SELECT n.* FROM queues q CROSS JOIN LATERAL (
                    SELECT f.tenant_id, f.kind, f.key, f.due FROM {s}.jobs f
                    WHERE {Free} AND f.kind = q.kind AND f.tenant_id = q.tenant_id AND f.due <= now() ORDER BY f.due LIMIT {LookedAtOfEach}) n
                WHERE q.kind <> ALL ($3)
            ), placed AS (
                SELECT c.*, coalesce(h.count, 0) + row_number() OVER (PARTITION BY c.kind, c.tenant_id ORDER BY c.due, c.key) AS place
                FROM candidates c LEFT JOIN unnest($4, $5, $6) h (kind, tenant_id, count) ON h.kind = c.kind AND h.tenant_id = c.tenant_id
            ), ordered AS (
                SELECT p.*, coalesce(k.free, l.free, $11) - row_number() OVER (PARTITION BY p.kind ORDER BY p.place, p.due, p.key) AS left_free
                FROM placed p LEFT JOIN unnest($7, $8) k (kind, free) ON k.kind = p.kind LEFT JOIN unnest($9, $10) l (kind, free) ON l.kind = p.kind
            ), judged AS MATERIALIZED (
                SELECT o.*, left_free >= 0 AND (place = 1 OR place <= {JobSlots.PerFreeSlot} * left_free) AS let FROM ordered o
            ), claimed AS (
                UPDATE {s}.jobs j SET holder = $1, epoch = nextval('{s}.job_epochs')
                FROM (
                    SELECT f.tenant_id, f.kind, f.key FROM (SELECT * FROM judged WHERE let ORDER BY place, due LIMIT $2) a
                    JOIN {s}.jobs f ON f.tenant_id = a.tenant_id AND f.kind = a.kind AND f.key = a.key
                    WHERE {Free} AND f.due <= now() FOR UPDATE OF f SKIP LOCKED) free
                WHERE j.tenant_id = free.tenant_id AND j.kind = free.kind AND j.key = free.key
                    AND EXISTS (SELECT FROM {s}.nodes n WHERE n.id = $1 AND {Alive})
                RETURNING j.tenant_id, j.kind, j.key, j.epoch
            )
            SELECT c.tenant_id, c.kind, c.key, c.epoch, true FROM claimed c
            UNION ALL
            SELECT DISTINCT w.tenant_id, w.kind, '', 0::bigint, w.let FROM judged w
                WHERE NOT EXISTS (SELECT FROM claimed c WHERE c.tenant_id = w.tenant_id AND c.kind = w.kind AND c.key = w.key)
            """;
        freeOrphans = $"""
            UPDATE {s}.jobs j SET holder = NULL
            FROM (
                SELECT o.tenant_id, o.kind, o.key FROM {s}.jobs o
                WHERE o.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = o.holder AND {Alive}) FOR UPDATE SKIP LOCKED) lost
            WHERE j.tenant_id = lost.tenant_id AND j.kind = lost.kind AND j.key = lost.key
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
            SELECT count(*) FILTER (WHERE n.id IS NULL AND j.due <= now()), count(n.id), count(*) FILTER (WHERE n.id IS NULL AND j.due > now() AND j.letter IS NULL)
            FROM {s}.jobs j LEFT JOIN {s}.nodes n ON n.id = j.holder AND {Alive}
            """;
        countKinds = $"""
            SELECT j.kind, count(*) FILTER (WHERE n.id IS NULL AND j.letter IS NULL AND j.due <= now()), count(n.id),
                count(*) FILTER (WHERE n.id IS NULL AND j.letter IS NULL AND j.due > now()), count(j.letter),
                min(j.due) FILTER (WHERE n.id IS NULL AND j.letter IS NULL AND j.due <= now()), min(j.due) FILTER (WHERE n.id IS NULL AND j.letter IS NULL AND j.due > now())
            FROM {s}.jobs j LEFT JOIN {s}.nodes n ON n.id = j.holder AND {Alive} GROUP BY j.kind ORDER BY j.kind COLLATE "C"
            """;
        // A node that lost its lease goes on under its first name, a dot and a number.
        forgetNodes = $"""
            DELETE FROM {s}.nodes n WHERE n.expires < now() - interval '1 day'
                OR EXISTS (SELECT FROM unnest($1) d (id) WHERE n.id = d.id OR starts_with(n.id, d.id || '.'))
            """;
        forgetNode = $"DELETE FROM {s}.nodes WHERE id = $1";
        freeJobs = $"UPDATE {s}.jobs SET holder = NULL WHERE holder = $1";
    }

    /// <summary>What a look finds.</summary>
    /// <param name="Waiting">The tenants whose due jobs have no slot here.</param>
    /// <param name="IsMissed">Another node was at jobs for which there are slots here.</param>
    /// <param name="NextDue">Until the next job is due; null: none waits.</param>
    public sealed record Found(List<Claim> Claims, List<(string Kind, string Org)> Waiting, bool IsMissed, TimeSpan? NextDue);

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
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(beat) { Parameters = { Parameter.Text(node), Interval(options.Lease), LeftToOthers } });
            await reader.ReadAsync(ct);
            return new(
                reader.GetInt64(0) > 0, reader.GetInt64(1), reader.GetInt64(2), reader.IsDBNull(3) ? null : TimeSpan.FromSeconds(reader.GetDouble(3)), reader.GetBoolean(4));
        },
        ct);

    /// <summary>Epochs that no claim has had.</summary>
    public ValueTask<List<long>> Epochs(int count, CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(epochs) { Parameters = { Parameter.Long(count) } });
            var fresh = new List<long>(count);
            while (await reader.ReadAsync(ct))
            {
                fresh.Add(reader.GetInt64(0));
            }
            return fresh;
        },
        ct);

    /// <summary>Frees what nodes hold that do not live.</summary>
    public ValueTask<int> FreeOrphans(CancellationToken ct) => Batch(() => [new(freeOrphans)], ct);

    /// <summary>Claims jobs that are due and free, for each tenant as many as <see cref="JobSlots.Lets"/> lets, its longest due first.</summary>
    /// <param name="slots">What this node holds, and what is free of the kinds that it holds some of.</param>
    public ValueTask<Found> Take(
        string node, int max, (IReadOnlyList<(string Kind, string Org, int Count)> Taken, IReadOnlyList<(string Kind, int Free)> Free) slots, CancellationToken ct) =>
        database.WithReconnect(
            ScopedConnection.Everyone,
            async connection =>
            {
                await using var reader = await connection.Read(
                    ct,
                    new NpgsqlBatchCommand(claim)
                    {
                        Parameters =
                        {
                            Parameter.Text(node), Parameter.Long(max), LeftToOthers,
                            Parameter.Texts([.. slots.Taken.Select(t => t.Kind)]), Parameter.Texts([.. slots.Taken.Select(t => t.Org)]),
                            Parameter.Longs([.. slots.Taken.Select(t => (long)t.Count)]),
                            Parameter.Texts([.. slots.Free.Select(f => f.Kind)]), Parameter.Longs([.. slots.Free.Select(f => (long)f.Free)]),
                            Parameter.Texts([.. options.ParallelOf.Keys]), Parameter.Longs([.. options.ParallelOf.Values.Select(n => (long)n)]),
                            Parameter.Long(options.Parallel),
                        },
                    },
                    new NpgsqlBatchCommand(nextDue) { Parameters = { LeftToOthers } });
                var found = new Found([], [], IsMissed: false, null);
                while (await reader.ReadAsync(ct))
                {
                    var (org, kind, key, epoch, isLet) = (reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), reader.GetBoolean(4));
                    if (epoch > 0)
                    {
                        found.Claims.Add(new(org, kind, key, epoch));
                    }
                    else if (isLet)
                    {
                        found = found with { IsMissed = true };
                    }
                    else
                    {
                        found.Waiting.Add((kind, org));
                    }
                }
                await reader.NextResultAsync(ct);
                await reader.ReadAsync(ct);
                return found with { NextDue = reader.IsDBNull(0) ? null : TimeSpan.FromSeconds(reader.GetDouble(0)) };
            },
            ct);

    public ValueTask<List<Claim>> HeldBy(string node, CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(own) { Parameters = { Parameter.Text(node) } });
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
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand($"SELECT id, expires FROM {database.Schema}.nodes WHERE expires > now() ORDER BY id"));
            var nodes = new List<(string, DateTimeOffset)>();
            while (await reader.ReadAsync(ct))
            {
                nodes.Add((reader.GetString(0), new(reader.GetDateTime(1))));
            }
            return nodes;
        },
        ct);

    public ValueTask<IReadOnlyList<(string Key, DateTimeOffset Due)>> Upcoming(string org, string kind, int max, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyList<(string, DateTimeOffset)>>(
            org,
            async connection =>
            {
                await using var reader = await connection.Read(
                    ct, new NpgsqlBatchCommand(upcoming) { Parameters = { Parameter.Text(org), Parameter.Text(kind), Parameter.Long(max) } });
                var found = new List<(string, DateTimeOffset)>();
                while (await reader.ReadAsync(ct))
                {
                    found.Add((reader.GetString(0), new(reader.GetDateTime(1))));
                }
                return found;
            },
            ct);

    public ValueTask<Backlog> Backlog(CancellationToken ct) => database.WithReconnect<Backlog>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(count));
            await reader.ReadAsync(ct);
            return new(reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2));
        },
        ct);

    public ValueTask<IReadOnlyList<KindBacklog>> BacklogByKind(CancellationToken ct) => database.WithReconnect<IReadOnlyList<KindBacklog>>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(countKinds));
            var kinds = new List<KindBacklog>();
            while (await reader.ReadAsync(ct))
            {
                kinds.Add(new(reader.GetString(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetInt64(3), reader.GetInt64(4), Time(reader, 5), Time(reader, 6)));
            }
            return kinds;
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
    ValueTask<int> Batch(Func<NpgsqlBatchCommand[]> commands, CancellationToken ct) =>
        database.WithReconnect(ScopedConnection.Everyone, async connection => await connection.Execute(commands(), ct), ct);

    static DateTimeOffset? Time(NpgsqlDataReader reader, int column) => reader.IsDBNull(column) ? null : new(reader.GetDateTime(column));

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
