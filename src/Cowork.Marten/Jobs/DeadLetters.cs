using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>A dead letter is the row of its job, far in the future and with a letter's id.</summary>
sealed class DeadLetters(Database database, JobQueue jobs) : IDeadLetters
{
    const string Columns = "letter, tenant_id, kind, key, error_type, error, attempts, failed_at";

    readonly string list = $"SELECT {Columns} FROM {database.Schema}.jobs WHERE letter IS NOT NULL AND ($1 IS NULL OR tenant_id = $1) ORDER BY failed_at DESC, letter LIMIT $2";
    readonly string find = $"SELECT {Columns} FROM {database.Schema}.jobs WHERE letter = $2 AND ($1 IS NULL OR tenant_id = $1)";
    readonly string replay = $"UPDATE {database.Schema}.jobs SET due = now(), attempts = 0, letter = NULL WHERE letter = ANY ($2) AND ($1 IS NULL OR tenant_id = $1)";
    readonly string discard = $"DELETE FROM {database.Schema}.jobs WHERE letter = $2 AND ($1 IS NULL OR tenant_id = $1)";

    public ValueTask<IReadOnlyList<DeadLetter>> List(string? org, int max, CancellationToken ct) =>
        database.WithReconnect(connection => Read(new(list, connection) { Parameters = { Parameter.Text(org), Parameter.Long(max) } }, ct), ct);

    public async ValueTask<DeadLetter?> Find(string? org, Guid id, CancellationToken ct) =>
        (await database.WithReconnect(connection => Read(new(find, connection) { Parameters = { Parameter.Text(org), new() { Value = id } } }, ct), ct)) is [var letter] ? letter : null;

    public async ValueTask<int> Replay(string? org, IReadOnlyCollection<Guid> ids, CancellationToken ct)
    {
        var count = await Change(replay, org, new NpgsqlParameter { Value = ids.ToArray() }, ct);
        jobs.Poke();
        return count;
    }

    public async ValueTask<bool> Discard(string? org, Guid id, CancellationToken ct) => await Change(discard, org, new NpgsqlParameter { Value = id }, ct) > 0;

    static async ValueTask<IReadOnlyList<DeadLetter>> Read(NpgsqlCommand command, CancellationToken ct)
    {
        await using (command)
        {
            await using var reader = await command.ExecuteReaderAsync(ct);
            var letters = new List<DeadLetter>();
            while (await reader.ReadAsync(ct))
            {
                letters.Add(new(
                    reader.GetGuid(0), reader.GetString(1), reader.GetString(2), reader.GetString(3), reader.GetString(4), reader.GetString(5), reader.GetInt32(6),
                    new(reader.GetDateTime(7))));
            }
            return letters;
        }
    }

    ValueTask<int> Change(string sql, string? org, NpgsqlParameter which, CancellationToken ct) => database.WithReconnect(
        async connection =>
        {
            await using var command = new NpgsqlCommand(sql, connection) { Parameters = { Parameter.Text(org), which.Clone() } };
            return await command.ExecuteNonQueryAsync(ct);
        },
        ct);
}
