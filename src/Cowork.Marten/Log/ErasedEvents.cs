using Npgsql;

namespace Cowork.Marten;

/// <summary>Events whose texts nobody can read any more, because the key of their data subject was destroyed. They are sound: their hashes are over the sealed form.</summary>
public static class ErasedEvents
{
    /// <param name="connection">Open, of a role that may read all.</param>
    /// <param name="through">The last position that counts.</param>
    public static async Task<long> Count(NpgsqlConnection connection, string schema, long through, CancellationToken ct)
    {
        await using var has = new NpgsqlCommand("SELECT to_regclass($1) IS NOT NULL", connection) { Parameters = { new() { Value = $"{schema}.subject_keys" } } };
        if (await has.ExecuteScalarAsync(ct) is not true)
        {
            // A database of a release that sealed nothing.
            return 0;
        }
        await using var count = new NpgsqlCommand(
            $"""
            SELECT count(*) FROM {schema}.subject_keys k JOIN {schema}.subject_streams s USING (tenant_id, subject) JOIN {schema}.mt_events e USING (tenant_id, stream_id)
            WHERE k.wrapped IS NULL AND e.seq_id <= $1 AND e.data @? '$.**.enc ? (@ == "A256GCM")'
            """,
            connection)
        { Parameters = { new() { Value = through } }, CommandTimeout = 0 };
        return (long)(await count.ExecuteScalarAsync(ct))!;
    }
}
