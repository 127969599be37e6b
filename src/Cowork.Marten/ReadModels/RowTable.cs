using System.Text;

using Cowork.Application;
using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>The statements that write one read model's table.</summary>
/// <param name="table">The live table, or one that is to take its place.</param>
/// <param name="isLive">True: what is replaced is kept for a while, where the model keeps its history.</param>
sealed class RowTable(string schema, string table, IRowModel model, bool isLive = false)
{
    /// <summary>
    /// A row is needed by pages whose moment is at most <see cref="RowHistory.Kept"/> ago by the clock of a host, and goes by the database's clock: the rest is what the two
    /// may differ.
    /// </summary>
    static readonly string PastKept = $"interval '{(RowHistory.Kept + TimeSpan.FromMinutes(10)).TotalMinutes.ToString(System.Globalization.CultureInfo.InvariantCulture)} minutes'";

    readonly bool searched = model.Searched;
    readonly bool placed = model.KeepsHistory;

    readonly string upsert = $"""
        INSERT INTO {schema}.{table} (tenant_id, id, scope, status, created, updated, version, row
            {(model.Searched ? ", search" : "")}{(model.KeepsHistory ? ", at, text, pieces" : "")})
        SELECT {(model.KeepsHistory ? "u.t, u.i, u.s, u.st, u.c, u.u, u.v, u.r, u.a, u.x, u.p::bigint[]" : "*")}
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8{(model.Searched ? ", $9" : model.KeepsHistory ? ", $9, $10, $11" : "")})
            {(model.KeepsHistory ? "u (t, i, s, st, c, u, v, r, a, x, p)" : "")}
        ON CONFLICT (tenant_id, id) DO UPDATE SET
            scope = excluded.scope, status = excluded.status, updated = excluded.updated, version = excluded.version,
            row = excluded.row{(model.Searched ? ", search = excluded.search" : "")}
            {(model.KeepsHistory ? ", at = excluded.at, text = excluded.text, pieces = excluded.pieces" : "")}
        """;

    readonly string delete = $"DELETE FROM {schema}.{table} t USING unnest($1, $2) d (tenant_id, id) WHERE t.tenant_id = d.tenant_id AND t.id = d.id";

    /// <summary>No reader sees the log between the events of one flush, so that all of its changes may have happened at its end.</summary>
    readonly string keep = $"""
        INSERT INTO {schema}.{Schema.PastOf(table)} (tenant_id, id, scope, status, created, updated, version, row, at, text, until)
        SELECT t.tenant_id, t.id, t.scope, t.status, t.created, t.updated, t.version, t.row, t.at, t.text, (SELECT gid FROM {schema}.head)
        FROM unnest($1, $2) k (tenant_id, id) JOIN {schema}.{table} t ON t.tenant_id = k.tenant_id AND t.id = k.id
        ON CONFLICT DO NOTHING
        """;

    /// <summary>
    /// What a deleted row leaves. A row that was made in the same flush is not in the live table. A rebuild knows each row as it was, and puts it in the place of what is there.
    /// </summary>
    readonly string end = $"""
        INSERT INTO {schema}.{Schema.GoneRows} (tenant_id, model, id, scope, owner, created, until)
        SELECT g.tenant_id, '{model.Table}', g.id, coalesce(t.scope, g.scope), coalesce(t.row ->> {Schema.Literal(model.OwnerMember ?? "")}, g.owner),
            coalesce(t.created, g.created), g.until
        FROM unnest($1, $2, $3, $4, $5, $6) g (tenant_id, id, scope, owner, created, until)
        LEFT JOIN {schema}.{model.Table} t ON t.tenant_id = g.tenant_id AND t.id = g.id{(isLive ? "" : " AND false")}
        WHERE coalesce(t.created, g.created) IS NOT NULL
        ON CONFLICT {(isLive ? "DO NOTHING" : """
            (tenant_id, model, id) DO UPDATE SET scope = excluded.scope, owner = excluded.owner, created = excluded.created, until = excluded.until
            """)}
        """;

    /// <summary>Takes away more than a flush adds, so that what is kept stays small without anybody's work beside the writer's.</summary>
    readonly string forget = $"""
        DELETE FROM {schema}.{Schema.PastOf(table)} WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM {schema}.{Schema.PastOf(table)} WHERE until_at < clock_timestamp() - {PastKept} ORDER BY until_at LIMIT $1))
        """;

    public void AddTo(ICollection<NpgsqlBatchCommand> batch, TableChanges changes)
    {
        if (isLive && placed && changes.Gone.Count + changes.Count > 0)
        {
            (string Org, string Key)[] keys = [.. changes.Gone.Union(changes.Rows.Select(row => row.Key))];
            batch.Add(new(keep) { Parameters = { Parameter.Texts([.. keys.Select(k => k.Org)]), Parameter.Texts([.. keys.Select(k => k.Key)]) } });
            batch.Add(new(forget) { Parameters = { Parameter.Long(4L * keys.Length) } });
        }
        if (changes.Ended.Count > 0 && model.OwnerMember is { } owner)
        {
            var ended = changes.Ended.ToList();
            batch.Add(new(end)
            {
                Parameters =
                {
                    Parameter.Texts([.. ended.Select(e => e.Key.Org)]), Parameter.Texts([.. ended.Select(e => e.Key.Key)]),
                    Parameter.Texts([.. ended.Select(e => e.Value.Was?.Value.Scope)]), Parameter.Texts([.. ended.Select(e => e.Value.Was?.Value.Member(owner))]),
                    Parameter.MaybeLongs([.. ended.Select(e => e.Value.Was?.Created)]), Parameter.Longs([.. ended.Select(e => e.Value.Until)]),
                },
            });
        }
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
            var (at, text, pieces) = (new long[placed ? n : 0], new string?[placed ? n : 0], new string?[placed ? n : 0]);
            var i = 0;
            foreach (var (key, row) in changes.Rows)
            {
                (org[i], id[i], scope[i], status[i]) = (key.Org, key.Key, row.Value.Scope, row.Value.Status);
                (created[i], updated[i], version[i], json[i]) = (row.Created, row.Updated, row.Version, row.Value.Json);
                if (searched)
                {
                    search[i] = SearchTerms.Of(model, key.Org, row.Value);
                }
                if (placed)
                {
                    (at[i], text[i]) = row.Value.Place!;
                    // An array of arrays has no rows of different lengths, so that each goes as its text.
                    pieces[i] = $"{{{string.Join(',', PartsOfWords.Pieces(key.Org, row.Value.Scope, text[i]!))}}}";
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
            if (placed)
            {
                command.Parameters.Add(Parameter.Longs(at));
                command.Parameters.Add(Parameter.Texts(text));
                command.Parameters.Add(Parameter.Texts(pieces));
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
