using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// What the tables of data subjects have otherwise than the log, which knows each key, its erasure, and the streams that have something sealed. Whoever changes them by hand
/// can destroy texts, or bring a key back, and no hash tells.
/// </summary>
public static class SubjectFaults
{
    /// <summary>An event with a text that is sealed.</summary>
    const string IsSealed = """@? '$.**.enc ? (@ == "A256GCM")'""";

    /// <summary>The subjects of such an event.</summary>
    const string Subjects = """'$.** ? (@.enc == "A256GCM").subject'""";

    /// <summary>The first difference; null: there is none. What a table lacks for the moment while an erasure is under way is none.</summary>
    /// <param name="connection">Open, of a role that may read all. Each table is compared in one state of the database.</param>
    public static async Task<LogFault?> Find(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        var has = await Has(connection, schema, ct);
        var tenants = new HashSet<string>(StringComparer.Ordinal);
        await using (var compare = new NpgsqlCommand(
            $"""
            WITH said AS (
                SELECT tenant_id, max(data ->> 'subject') AS subject, max(stream_id::text) AS stream, max(data ->> 'key_id') AS key_id, max(seq_id) AS position,
                    bool_or(type = ANY ($2)) AS erased, bool_or(type = ANY ($3)) AS completed
                FROM {schema}.mt_events WHERE type = ANY ($1) OR type = ANY ($2) OR type = ANY ($3) GROUP BY tenant_id, stream_id)
            SELECT coalesce(s.tenant_id, k.tenant_id), coalesce(s.subject, k.subject), s.stream, coalesce(s.position, 0), coalesce(s.erased, false), coalesce(s.completed, false),
                s.subject IS NOT NULL, k.subject IS NOT NULL, coalesce(s.key_id = k.key_id, false), coalesce(k.wrapped IS NOT NULL, false), coalesce(k.erased, 0),
                coalesce(k.pending, false)
            FROM said s FULL JOIN {(has ? $"{schema}.subject_keys" : "(SELECT '' tenant_id, '' subject, '' key_id, '' wrapped, 0 erased, false pending LIMIT 0)")} k
                ON s.tenant_id = k.tenant_id AND s.subject = k.subject
            ORDER BY 4, 1, 2
            """,
            connection)
        {
            Parameters = { Names(typeof(DataSubjectEvent.SubjectKeyMade)), Names(typeof(DataSubjectEvent.SubjectErased)), Names(typeof(DataSubjectEvent.SubjectErasureCompleted)) },
            CommandTimeout = 0,
        })
        {
            await using var reader = await compare.ExecuteReaderAsync(ct);
            while (await reader.ReadAsync(ct))
            {
                var (org, subject) = (reader.GetString(0), reader.GetString(1));
                tenants.Add(org);
                var (isErased, isCompleted) = (reader.GetBoolean(4), reader.GetBoolean(5));
                var (isLogged, isThere, isTheKey, isOpen) = (reader.GetBoolean(6), reader.GetBoolean(7), reader.GetBoolean(8), reader.GetBoolean(9));
                var (number, isPending) = (reader.GetInt64(10), reader.GetBoolean(11));
                var why = !isLogged ? "the table subject_keys has a key that the log does not know"
                    : !isThere ? "the log has a key, and the table subject_keys has none"
                    : !isTheKey ? "the table subject_keys has another key than the log"
                    : !isErased && !isOpen ? "the key was destroyed, and the log has no erasure"
                    : !isErased && (number != 0 || isPending) ? "the table subject_keys tells of an erasure that the log does not have"
                    : isErased && isOpen ? "the log has an erasure, and the key is there"
                    : isErased && number == 0 ? "the log has an erasure, and the table subject_keys has none"
                    : isCompleted && isPending ? "the log has the end of an erasure, and the table subject_keys does not"
                    : null;
                if (why is not null)
                {
                    var position = Math.Max(1, reader.GetInt64(3));
                    return new(position, position, $"Of the data subject {subject} of {org} {why}.") { Stream = await reader.IsDBNullAsync(2, ct) ? null : reader.GetString(2) };
                }
            }
        }
        if (tenants.Count == 0 || !has)
        {
            return null;
        }
        await using var ask = new NpgsqlCommand(FirstMissing(schema), connection) { CommandTimeout = 0 };
        await using var missing = await ask.ExecuteReaderAsync(ct);
        const string Unknown = "The event has sealed texts, and the table subject_streams does not know its stream, so that an erasure would leave copies. Rebuild it.";
        return await missing.ReadAsync(ct) ? new(missing.GetInt64(0), missing.GetInt64(0), Unknown) { Stream = missing.GetString(1) } : null;
    }

    /// <summary>Position and stream of the first event whose stream has sealed texts that the table does not know of.</summary>
    internal static string FirstMissing(string schema) => $"SELECT e.seq_id, e.stream_id::text FROM {Missing(schema)} ORDER BY e.seq_id LIMIT 1";

    /// <summary>Makes the table know these streams again.</summary>
    internal static string Restore(string schema) =>
        $"""
        INSERT INTO {schema}.subject_streams (tenant_id, subject, stream_id)
        SELECT DISTINCT e.tenant_id, s #>> '{"{}"}', e.stream_id FROM {Missing(schema, $", LATERAL jsonb_path_query(e.data, {Subjects}) s")} ON CONFLICT DO NOTHING
        """;

    /// <summary>Only of tenants that have data subjects, and only streams that the table does not have at all.</summary>
    static string Missing(string schema, string with = "") =>
        $"""
        {schema}.mt_events e{with} WHERE EXISTS (SELECT FROM {schema}.subject_keys k WHERE k.tenant_id = e.tenant_id)
        AND NOT EXISTS (SELECT FROM {schema}.subject_streams t WHERE t.tenant_id = e.tenant_id AND t.stream_id = e.stream_id) AND e.data {IsSealed}
        """;

    static async Task<bool> Has(NpgsqlConnection connection, string schema, CancellationToken ct)
    {
        await using var has = new NpgsqlCommand("SELECT to_regclass($1) IS NOT NULL", connection) { Parameters = { new() { Value = $"{schema}.subject_keys" } } };
        return await has.ExecuteScalarAsync(ct) is true;
    }

    static NpgsqlParameter Names(Type type) => Parameter.Texts([.. EventTypes.NamesOf(type)]);
}
