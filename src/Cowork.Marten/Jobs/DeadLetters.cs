using Npgsql;

namespace Cowork.Marten;

/// <summary>A job that failed as often as it is tried, with its last failure.</summary>
/// <param name="Id">Of the letter; a job that is replayed and fails again gets another.</param>
/// <param name="Exception">Type of the last failure.</param>
/// <param name="Attempts">How often the job was tried.</param>
/// <param name="SentAt">When the last attempt failed.</param>
public sealed record DeadLetter(Guid Id, string OrgId, string Kind, string Key, string Exception, string Message, int Attempts, DateTimeOffset SentAt);

/// <summary>
/// The jobs that were given up: a dead letter is the row of its job, far in the future and with a letter's id. With <c>org</c> null, those of all tenants.
/// </summary>
public sealed class DeadLetters
{
    const string Columns = "letter, tenant_id, kind, key, error_type, error, attempts, failed_at";

    readonly Database database;
    readonly JobQueue jobs;
    readonly string list;
    readonly string count;
    readonly string find;
    readonly string replay;
    readonly string discard;

    internal DeadLetters(Database database, JobQueue jobs)
    {
        (this.database, this.jobs) = (database, jobs);
        var s = database.Schema;
        const string Which = "letter IS NOT NULL AND ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR key = $3)";
        list = $"SELECT {Columns} FROM {s}.jobs WHERE {Which} ORDER BY failed_at DESC, letter LIMIT $4";
        count = $"SELECT count(*) FROM {s}.jobs WHERE {Which}";
        find = $"SELECT {Columns} FROM {s}.jobs WHERE letter = $2 AND ($1 IS NULL OR tenant_id = $1)";
        replay = $"UPDATE {s}.jobs SET due = now(), attempts = 0, letter = NULL WHERE letter = ANY ($2) AND ($1 IS NULL OR tenant_id = $1)";
        discard = $"DELETE FROM {s}.jobs WHERE letter = $2 AND ($1 IS NULL OR tenant_id = $1)";
    }

    /// <summary>The newest first, no more than <paramref name="max"/>.</summary>
    /// <param name="kind">Of the jobs; null: any.</param>
    /// <param name="key">Of the jobs; null: any.</param>
    public ValueTask<IReadOnlyList<DeadLetter>> List(string? org, int max, CancellationToken ct, string? kind = null, string? key = null) =>
        database.WithReconnect(
            ScopeOf(org),
            connection => Read(
                connection, new(list) { Parameters = { Parameter.Text(org), Parameter.Text(kind), Parameter.Text(key), Parameter.Long(max) } }, ct),
            ct);

    public ValueTask<long> Count(string? org, CancellationToken ct, string? kind = null, string? key = null) => database.WithReconnect(
        ScopeOf(org),
        async connection =>
        {
            await using var reader = await connection.Read(
                ct, new NpgsqlBatchCommand(count) { Parameters = { Parameter.Text(org), Parameter.Text(kind), Parameter.Text(key) } });
            await reader.ReadAsync(ct);
            return reader.GetInt64(0);
        },
        ct);

    public async ValueTask<DeadLetter?> Find(string? org, Guid id, CancellationToken ct)
    {
        var found = await database.WithReconnect(
            ScopeOf(org), connection => Read(connection, new(find) { Parameters = { Parameter.Text(org), new() { Value = id } } }, ct), ct);
        return found is [var letter] ? letter : null;
    }

    /// <summary>Makes their jobs due again, to be tried as often as new ones. Answers how many there were.</summary>
    public async ValueTask<int> Replay(string? org, IReadOnlyCollection<Guid> ids, CancellationToken ct)
    {
        var count = await Change(replay, org, new NpgsqlParameter { Value = ids.ToArray() }, ct);
        jobs.Poke();
        return count;
    }

    /// <summary>Deletes the job. False: there is no such letter.</summary>
    public async ValueTask<bool> Discard(string? org, Guid id, CancellationToken ct) => await Change(discard, org, new NpgsqlParameter { Value = id }, ct) > 0;

    static string ScopeOf(string? org) => org ?? ScopedConnection.Everyone;

    static async ValueTask<IReadOnlyList<DeadLetter>> Read(ScopedConnection connection, NpgsqlBatchCommand statement, CancellationToken ct)
    {
        await using var reader = await connection.Read(ct, statement);
        var letters = new List<DeadLetter>();
        while (await reader.ReadAsync(ct))
        {
            letters.Add(new(
                reader.GetGuid(0), reader.GetString(1), reader.GetString(2), reader.GetString(3), reader.GetString(4), reader.GetString(5), reader.GetInt32(6),
                new(reader.GetDateTime(7))));
        }
        return letters;
    }

    ValueTask<int> Change(string sql, string? org, NpgsqlParameter which, CancellationToken ct) => database.WithReconnect(
        ScopeOf(org), async connection => await connection.Execute([new(sql) { Parameters = { Parameter.Text(org), which.Clone() } }], ct), ct);
}
