using System.Text;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The statements that write one read model's table.</summary>
sealed class RowTable(string schema, string table, bool searched)
{
    readonly string upsert = $"""
        INSERT INTO {schema}.{table} (tenant_id, id, scope, status, created, updated, version, row{(searched ? ", search" : "")})
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8{(searched ? ", $9" : "")})
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            scope = excluded.scope, status = excluded.status, updated = excluded.updated, version = excluded.version,
            row = excluded.row{(searched ? ", search = excluded.search" : "")}
        """;

    readonly string delete = $"DELETE FROM {schema}.{table} t USING unnest($1, $2) d (tenant_id, id) WHERE t.tenant_id = d.tenant_id AND t.id = d.id";

    public void AddTo(ICollection<NpgsqlBatchCommand> batch, TableChanges changes)
    {
        if (changes.Gone.Count > 0)
        {
            batch.Add(new(delete)
            {
                Parameters = { Parameter.Texts([.. changes.Gone.Select(k => k.Org)]), Parameter.Texts([.. changes.Gone.Select(k => k.Key)]) },
            });
        }
        if (changes.Count > 0)
        {
            var n = changes.Count;
            var (org, id, scope, status, search) = (new string?[n], new string?[n], new string?[n], new string?[n], new string?[searched ? n : 0]);
            var (created, updated, version, json) = (new long[n], new long[n], new long[n], new ReadOnlyMemory<byte>[n]);
            var i = 0;
            foreach (var (key, row) in changes.Rows)
            {
                (org[i], id[i], scope[i], status[i]) = (key.Org, key.Key, row.Value.Scope, row.Value.Status);
                (created[i], updated[i], version[i], json[i]) = (row.Created, row.Updated, row.Version, row.Value.Json);
                if (searched)
                {
                    search[i] = SearchTerms.Of(key.Org, row.Value.Search);
                }
                i++;
            }
            var command = new NpgsqlBatchCommand(upsert)
            {
                Parameters =
                {
                    Parameter.Texts(org), Parameter.Texts(id), Parameter.Texts(scope), Parameter.Texts(status),
                    Parameter.Longs(created), Parameter.Longs(updated), Parameter.Longs(version), Parameter.Jsons(json, NpgsqlDbType.Json),
                },
            };
            if (searched)
            {
                command.Parameters.Add(Parameter.Texts(search));
            }
            batch.Add(command);
        }
    }
}

/// <summary>Typed parameters: no boxing of elements, no guessing of types.</summary>
static class Parameter
{
    public static NpgsqlParameter Long(long value) => new NpgsqlParameter<long> { TypedValue = value, NpgsqlDbType = NpgsqlDbType.Bigint };

    /// <summary>What PostgreSQL cannot hold (NUL, half a surrogate pair) is replaced: there is nothing of that name to be found, and nobody's mistake is an error here.</summary>
    public static NpgsqlParameter Text(string? value) => new() { Value = value is null ? DBNull.Value : Holdable(value), NpgsqlDbType = NpgsqlDbType.Text };

    /// <summary>The text as PostgreSQL can hold it.</summary>
    public static string Holdable(string value) =>
        value.AsSpan().IndexOfAnyInRange('\ud800', '\udfff') < 0 && !value.Contains('\0')
            ? value
            : Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(value)).Replace('\0', '\ufffd');

    public static NpgsqlParameter Time(DateTimeOffset value) =>
        new NpgsqlParameter<DateTime> { TypedValue = value.UtcDateTime, NpgsqlDbType = NpgsqlDbType.TimestampTz };

    public static NpgsqlParameter Texts(string?[] values) => new NpgsqlParameter<string?[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text };

    public static NpgsqlParameter Longs(long[] values) => new NpgsqlParameter<long[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bigint };

    public static NpgsqlParameter Integers(int[] values) => new NpgsqlParameter<int[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Integer };

    public static NpgsqlParameter Guids(Guid[] values) => new NpgsqlParameter<Guid[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Uuid };

    public static NpgsqlParameter Times(DateTime[] values) =>
        new NpgsqlParameter<DateTime[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.TimestampTz };

    public static NpgsqlParameter MaybeTimes(DateTime?[] values) =>
        new NpgsqlParameter<DateTime?[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.TimestampTz };

    public static NpgsqlParameter MaybeLongs(long?[] values) =>
        new NpgsqlParameter<long?[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bigint };

    public static NpgsqlParameter Jsons(ReadOnlyMemory<byte>[] values, NpgsqlDbType type) =>
        new NpgsqlParameter<ReadOnlyMemory<byte>[]> { TypedValue = values, NpgsqlDbType = NpgsqlDbType.Array | type };

    public static NpgsqlParameter Bytes(ReadOnlyMemory<byte> value) =>
        new NpgsqlParameter<ReadOnlyMemory<byte>> { TypedValue = value, NpgsqlDbType = NpgsqlDbType.Bytea };
}
