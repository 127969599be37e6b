using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The tables of data subjects: their keys, and the streams and blobs with their texts.</summary>
sealed class SubjectStore(Database database, RowStore rows) : ISubjectStore
{
    readonly string schema = database.Schema;

    public SubjectKeyRow? Find(string org, string subject) => Wait(database.WithReconnect<SubjectKeyRow?>(
        org,
        async connection => await Keys(connection, $"tenant_id = $1 AND subject = $2", [Parameter.Text(org), Parameter.Text(subject)], default) is [var one] ? one.Key : null,
        default));

    public LoggedKey? Logged(string org, string subject) => Wait(database.WithReconnect<LoggedKey?>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(default, new NpgsqlBatchCommand(
                $"""
                SELECT max(data ->> 'key_id'), max(data ->> 'commitment'), bool_or(type = ANY ($3)) FROM {schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2
                """)
            {
                Parameters =
                {
                    Parameter.Text(org), Parameter.Text(DataSubject.Aggregate.Stream(DataSubject.KeyOf(subject))),
                    Parameter.Texts([.. EventTypes.NamesOf(typeof(DataSubjectEvent.SubjectErased))]),
                },
            });
            return await reader.ReadAsync(default) && !reader.IsDBNull(0) ? new(reader.GetString(0), reader.GetString(1), reader.GetBoolean(2)) : null;
        },
        default));

    public string? BlobOf(string org, string subject, string sha256) => Wait(database.WithReconnect<string?>(
        org,
        async connection => await Texts(
            connection, $"SELECT stored FROM {schema}.subject_blobs WHERE tenant_id = $1 AND subject = $2 AND sha256 = $3 LIMIT 1",
            [Parameter.Text(org), Parameter.Text(subject), Parameter.Text(sha256)], default) is [var stored] ? stored : null,
        default));

    public ValueTask<(string Org, SealedBlob Blob)?> SealedBlobOf(string sha256, CancellationToken ct) => database.WithReconnect<(string, SealedBlob)?>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(
                $"""
                SELECT tenant_id, subject, stored FROM {schema}.subject_blobs b JOIN {schema}.subject_keys k USING (tenant_id, subject)
                WHERE sha256 = $1 AND k.wrapped IS NOT NULL LIMIT 1
                """)
            { Parameters = { Parameter.Text(sha256) } });
            return await reader.ReadAsync(ct) ? (reader.GetString(0), new SealedBlob(reader.GetString(1), sha256, reader.GetString(2))) : null;
        },
        ct);

    // It jumps from tenant to tenant in the index, however many subjects each has.
    public ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct) => database.WithReconnect<IReadOnlyList<string>>(
        ScopedConnection.Everyone,
        async connection => await Texts(
            connection,
            $"""
            WITH RECURSIVE t AS (
                (SELECT tenant_id FROM {schema}.subject_keys ORDER BY tenant_id LIMIT 1)
                UNION ALL
                SELECT (SELECT k.tenant_id FROM {schema}.subject_keys k WHERE k.tenant_id > t.tenant_id ORDER BY k.tenant_id LIMIT 1) FROM t WHERE t.tenant_id IS NOT NULL)
            SELECT tenant_id FROM t WHERE tenant_id IS NOT NULL
            """,
            [], ct),
        ct);

    public ValueTask<Erasures> ErasedSince(string org, long number, CancellationToken ct) => database.WithReconnect<Erasures>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(
                $"SELECT subject, erased, pending FROM {schema}.subject_keys WHERE tenant_id = $1 AND (erased > $2 OR pending)")
            { Parameters = { Parameter.Text(org), Parameter.Long(number) } });
            var (subjects, pending, last) = (new List<string>(), new HashSet<string>(), number);
            while (await reader.ReadAsync(ct))
            {
                if (reader.GetInt64(1) > number)
                {
                    subjects.Add(reader.GetString(0));
                }
                last = Math.Max(last, reader.GetInt64(1));
                if (reader.GetBoolean(2))
                {
                    pending.Add(reader.GetString(0));
                }
            }
            return new(subjects, pending, last);
        },
        ct);

    public ValueTask<IReadOnlyList<ListedSubject>> List(string org, string? after, int max, CancellationToken ct) =>
        Listed(org, "k.subject > $2 ORDER BY k.subject COLLATE \"C\" LIMIT $3", [Parameter.Text(after ?? ""), Parameter.Long(max)], ct);

    public async ValueTask<ListedSubject?> Get(string org, string subject, CancellationToken ct) =>
        await Listed(org, "k.subject = $2", [Parameter.Text(subject)], ct) is [var one] ? one : null;

    public ValueTask<IReadOnlyList<string>> Streams(string org, string subject, string after, int max, CancellationToken ct) =>
        Page(org, "subject_streams", "stream_id", subject, after, max, ct);

    public ValueTask<string?> FindMissingStream(CancellationToken ct) => database.WithReconnect<string?>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(new NpgsqlBatchCommand(SubjectFaults.FirstMissing(schema)), timeout: 0, ct);
            return await reader.ReadAsync(ct) ? $"event {reader.GetInt64(0)} of {reader.GetString(1)}" : null;
        },
        ct);

    public async ValueTask<long> RestoreStreams(CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone, async connection => await connection.Execute([new NpgsqlBatchCommand(SubjectFaults.Restore(schema))], ct, timeout: 0), ct);

    public ValueTask<IReadOnlySet<string>> StreamsOf(string org, IReadOnlySet<string> subjects, IReadOnlyList<string> streams, CancellationToken ct) =>
        database.WithReconnect<IReadOnlySet<string>>(
            org,
            async connection => (await Texts(
                connection, $"SELECT stream_id FROM {schema}.subject_streams WHERE tenant_id = $1 AND stream_id = ANY ($2) AND subject = ANY ($3)",
                [Parameter.Text(org), Parameter.Texts([.. streams]), Parameter.Texts([.. subjects])], ct)).ToHashSet(),
            ct);

    public ValueTask<IReadOnlyList<string>> Blobs(string org, string subject, string after, int max, CancellationToken ct) =>
        Page(org, "subject_blobs", "stored", subject, after, max, ct);

    public ValueTask<IReadOnlyList<(string Org, SubjectKeyRow Key)>> NotUnder(string masterId, int max, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyList<(string, SubjectKeyRow)>>(
            ScopedConnection.Everyone,
            async connection => await Keys(connection, "master_id <> $1 LIMIT $2", [Parameter.Text(masterId), Parameter.Long(max)], ct), ct);

    public async ValueTask Rewrap(string org, SubjectKeyRow before, WrappedKey wrapped, CancellationToken ct) => await Do(
        org,
        $"UPDATE {schema}.subject_keys SET master_id = $4, wrapped = $5 WHERE tenant_id = $1 AND subject = $2 AND wrapped = $3",
        [
            Parameter.Text(org), Parameter.Text(before.Subject), Parameter.Text(before.Wrapped!.Ciphertext), Parameter.Text(wrapped.MasterId),
            Parameter.Text(wrapped.Ciphertext),
        ],
        ct);

    public async ValueTask Refold(string org, string stream, CancellationToken ct)
    {
        await Do(org, $"DELETE FROM {schema}.snapshots WHERE tenant_id = $1 AND stream_id = $2", [Parameter.Text(org), Parameter.Text(stream)], ct);
        try
        {
            await rows.Refold(org, stream, ct);
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            throw Database.Unavailable(e);
        }
    }

    public async ValueTask Complete(string org, string subject, CancellationToken ct)
    {
        await Do(org, $"DELETE FROM {schema}.subject_blobs WHERE tenant_id = $1 AND subject = $2", [Parameter.Text(org), Parameter.Text(subject)], ct);
        await Do(org, $"UPDATE {schema}.subject_keys SET pending = false WHERE tenant_id = $1 AND subject = $2", [Parameter.Text(org), Parameter.Text(subject)], ct);
    }

    ValueTask<IReadOnlyList<string>> Page(string org, string table, string column, string subject, string after, int max, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyList<string>>(
            org,
            async connection => await Texts(
                connection,
                $"SELECT {column} FROM {schema}.{table} WHERE tenant_id = $1 AND subject = $2 AND {column} COLLATE \"C\" > $3 ORDER BY {column} COLLATE \"C\" LIMIT $4",
                [Parameter.Text(org), Parameter.Text(subject), Parameter.Text(after), Parameter.Long(max)], ct),
            ct);

    ValueTask<IReadOnlyList<ListedSubject>> Listed(string org, string which, NpgsqlParameter[] parameters, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyList<ListedSubject>>(
            org,
            async connection =>
            {
                var statement = new NpgsqlBatchCommand(
                    $"""
                    SELECT k.subject, k.key_id, k.wrapped IS NOT NULL,
                        (SELECT count(*) FROM {schema}.subject_streams s WHERE s.tenant_id = k.tenant_id AND s.subject = k.subject),
                        (SELECT count(*) FROM {schema}.subject_blobs b WHERE b.tenant_id = k.tenant_id AND b.subject = k.subject)
                    FROM {schema}.subject_keys k WHERE k.tenant_id = $1 AND {which}
                    """)
                { Parameters = { Parameter.Text(org) } };
                foreach (var parameter in parameters)
                {
                    statement.Parameters.Add(parameter.Clone());
                }
                await using var reader = await connection.Read(ct, statement);
                var found = new List<ListedSubject>();
                while (await reader.ReadAsync(ct))
                {
                    found.Add(new(reader.GetString(0), reader.GetString(1), reader.GetBoolean(2), reader.GetInt64(3), reader.GetInt64(4)));
                }
                return found;
            },
            ct);

    async Task<List<(string Org, SubjectKeyRow Key)>> Keys(ScopedConnection connection, string which, NpgsqlParameter[] parameters, CancellationToken ct)
    {
        await using var reader = await connection.Read(
            ct, Statement($"SELECT tenant_id, subject, key_id, master_id, wrapped FROM {schema}.subject_keys WHERE {which}", parameters));
        var keys = new List<(string, SubjectKeyRow)>();
        while (await reader.ReadAsync(ct))
        {
            keys.Add((
                reader.GetString(0),
                new(reader.GetString(1), reader.GetString(2), reader.IsDBNull(4) ? null : new WrappedKey(reader.GetString(3), reader.GetString(4)))));
        }
        return keys;
    }

    static async Task<List<string>> Texts(ScopedConnection connection, string sql, NpgsqlParameter[] parameters, CancellationToken ct)
    {
        await using var reader = await connection.Read(ct, Statement(sql, parameters));
        var texts = new List<string>();
        while (await reader.ReadAsync(ct))
        {
            texts.Add(reader.GetString(0));
        }
        return texts;
    }

    async ValueTask Do(string org, string sql, NpgsqlParameter[] parameters, CancellationToken ct) =>
        await database.WithReconnect(org, async connection => await connection.Execute([Statement(sql, parameters)], ct), ct);

    /// <summary>Work may be done twice, and a parameter belongs to one command.</summary>
    static NpgsqlBatchCommand Statement(string sql, NpgsqlParameter[] parameters)
    {
        var statement = new NpgsqlBatchCommand(sql);
        foreach (var parameter in parameters)
        {
            statement.Parameters.Add(parameter.Clone());
        }
        return statement;
    }

    /// <summary>What opens an event is not asynchronous; it waits once for each subject in a process.</summary>
    static T Wait<T>(ValueTask<T> asked) => Task.Run(async () => await asked).GetAwaiter().GetResult();
}
