using System.Globalization;

using Cowork.Application;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>
/// The vectors in <see cref="VectorTable"/>. Where the caller's folders hold few chunks, each is compared: that is exact, and what other tenants have costs nothing.
/// Where they hold many, an HNSW index finds near ones, and looks on until it has enough of the caller's.
/// </summary>
/// <param name="dimensions">Of the embedding model; null: none is configured.</param>
sealed class VectorStore(Database database, int? dimensions) : IVectors
{
    /// <summary>Chunks that a query is compared with one by one.</summary>
    internal const long ComparedMax = 20_000;

    readonly string schema = database.Schema;

    /// <summary>Where the names of the extension are, quoted.</summary>
    string extension = "public";

    public string? WhyNot { get; private set; } = dimensions is null ? "no embedding model is configured." : "the database is not there yet.";

    /// <summary>More chunks than these are searched through the index.</summary>
    internal long Compared { get; set; } = ComparedMax;

    /// <param name="owned">Why the owner of the schema could not make what is missing; null: it could, or is not known here.</param>
    internal async Task Find(NpgsqlConnection host, string? owned, CancellationToken ct)
    {
        if (dimensions is { } wanted)
        {
            var (found, why) = await VectorTable.Find(host, schema, wanted, ct);
            (extension, WhyNot) = (found ?? extension, found is null ? owned ?? why : null);
        }
    }

    public ValueTask<IReadOnlyList<(string Org, string Owner)>> Owners(CancellationToken ct) => database.WithReconnect<IReadOnlyList<(string, string)>>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(ct, new NpgsqlBatchCommand($"SELECT DISTINCT tenant_id, owner FROM {schema}.texts WHERE owner LIKE 'grant:/%'"));
            var owners = new List<(string, string)>();
            while (await reader.ReadAsync(ct))
            {
                owners.Add((reader.GetString(0), reader.GetString(1)));
            }
            return owners;
        },
        ct);

    const string Digest = "sha256(convert_to(p.body, 'UTF8'))";

    public ValueTask<IReadOnlyList<UnembeddedChunk>> Missing(string org, string owner, VectorKind kind, ChunkPlace after, int max, CancellationToken ct) =>
        database.WithReconnect<IReadOnlyList<UnembeddedChunk>>(
            org,
            async connection =>
            {
                await using var reader = await connection.Read(
                    ct,
                    new NpgsqlBatchCommand($"""
                        SELECT p.text_id, p.nr, {Digest}, p.body FROM {schema}.texts t JOIN {schema}.passages p ON p.text_id = t.id
                        WHERE t.tenant_id = $1 AND t.owner = $2 AND (p.text_id, p.nr) > ($3, $4) AND p.body IS NOT NULL
                        AND NOT EXISTS (SELECT FROM {schema}.{VectorTable.Name} v
                            WHERE v.text_id = p.text_id AND v.digest = {Digest} AND v.model = $5 AND v.dimensions = $6)
                        ORDER BY p.text_id, p.nr LIMIT $7
                        """)
                    {
                        Parameters =
                        {
                            Parameter.Text(org), Parameter.Text(owner), Parameter.Long(after.Text), Integer(after.Nr), Parameter.Text(kind.Model), Integer(kind.Dimensions),
                            Parameter.Long(max),
                        },
                    });
                var chunks = new List<UnembeddedChunk>();
                while (await reader.ReadAsync(ct))
                {
                    chunks.Add(new(new(reader.GetInt64(0), reader.GetInt32(1)), reader.GetFieldValue<byte[]>(2), reader.GetString(3)));
                }
                return chunks;
            },
            ct);

    public async ValueTask Put(string org, VectorKind kind, IReadOnlyList<(UnembeddedChunk Chunk, float[] Vector)> vectors, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new($"""
                    INSERT INTO {schema}.{VectorTable.Name} (tenant_id, text_id, digest, model, dimensions, embedding)
                    SELECT $1, t.id, u.digest, $2, $3, u.embedding::{extension}.vector
                    FROM unnest($4, $5, $6) u (id, digest, embedding) JOIN {schema}.texts t ON t.id = u.id AND t.tenant_id = $1
                    FOR KEY SHARE OF t
                    ON CONFLICT DO NOTHING
                    """)
                {
                    Parameters =
                    {
                        Parameter.Text(org), Parameter.Text(kind.Model), Integer(kind.Dimensions), Parameter.Longs([.. vectors.Select(v => v.Chunk.Place.Text)]),
                        new NpgsqlParameter<byte[][]>
                        {
                            TypedValue = [.. vectors.Select(v => v.Chunk.Digest.ToArray())], NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Bytea,
                        },
                        Parameter.Texts([.. vectors.Select(v => Text(v.Vector))]),
                    },
                },
            ],
            ct),
        ct);

    public async ValueTask RemoveStale(string org, string owner, VectorKind kind, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new($"""
                    DELETE FROM {schema}.{VectorTable.Name} v USING {schema}.texts t
                    WHERE t.tenant_id = $1 AND t.owner = $2 AND v.text_id = t.id AND ((v.model, v.dimensions) <> ($3, $4)
                        OR NOT EXISTS (SELECT FROM {schema}.passages p WHERE p.text_id = v.text_id AND {Digest} = v.digest))
                    """)
                {
                    Parameters = { Parameter.Text(org), Parameter.Text(owner), Parameter.Text(kind.Model), Integer(kind.Dimensions) },
                },
            ],
            ct),
        ct);

    public async ValueTask<IReadOnlyList<(string Owner, Passage Passage)>> Nearest(
        string org, IReadOnlyList<string> scopes, VectorKind kind, float[] query, int max, CancellationToken ct)
    {
        var scopesAsked = Parameter.Texts([.. scopes.Select(scope => TextStore.Scope(org, scope))]);
        var scoped = $"SELECT id, owner, name, passages FROM {schema}.texts_searched WHERE tenant_id = $1 AND scopes && $2 AND passages > 0";
        try
        {
            return await database.WithReconnect<IReadOnlyList<(string, Passage)>>(
                org,
                async connection =>
                {
                    var chunks = (long)(await connection.Ask(
                        new($"SELECT coalesce(sum(passages), 0)::bigint FROM ({scoped}) s") { Parameters = { Parameter.Text(org), scopesAsked.Clone() } }, ct))!;
                    await using var reader = await connection.Read(
                        ct,
                        new NpgsqlBatchCommand(Plan),
                        new NpgsqlBatchCommand($"""
                            WITH scoped AS MATERIALIZED ({scoped}), near AS MATERIALIZED ({(chunks <= Compared ? Exact : Indexed(kind.Dimensions))})
                            SELECT s.owner, s.name, p.first_line, p.last_line, p.body
                            FROM near n JOIN scoped s ON s.id = n.text_id
                                JOIN {schema}.passages_searched p ON p.text_id = n.text_id AND p.body IS NOT NULL AND {Digest} = n.digest
                            ORDER BY n.distance, s.name, s.id, p.nr LIMIT $5
                            """)
                        {
                            Parameters =
                            {
                                Parameter.Text(org), scopesAsked.Clone(), Parameter.Text(kind.Model), Integer(kind.Dimensions), Parameter.Long(max), Parameter.Text(Text(query)),
                            },
                        });
                    await reader.NextResultAsync(ct);
                    var found = new List<(string, Passage)>();
                    while (await reader.ReadAsync(ct))
                    {
                        found.Add((reader.GetString(0), new(reader.GetString(1), reader.GetInt32(2), reader.GetInt32(3), reader.GetString(4))));
                    }
                    return found;
                },
                ct);
        }
        catch (PostgresException e) when (e.SqlState.StartsWith("42", StringComparison.Ordinal) || e.SqlState.StartsWith("58", StringComparison.Ordinal))
        {
            throw new VectorsLostException($"The database's vectors are gone: {e.MessageText}", e);
        }
    }

    /// <summary>
    /// The index goes on until it has enough. Otherwise each text's vectors are looked up by the text: all other ways lead through the vectors of all tenants.
    /// </summary>
    const string Plan = """
        SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '100', true),
            set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
        """;

    string Exact => $"""
        SELECT v.text_id, v.digest, v.embedding OPERATOR({extension}.<=>) $6::{extension}.vector AS distance
        FROM {schema}.{Fence.ViewOf(VectorTable.Name)} v JOIN scoped s ON s.id = v.text_id
        WHERE v.tenant_id = $1 AND v.model = $3 AND v.dimensions = $4 ORDER BY distance LIMIT $5
        """;

    /// <summary>As the index is written down: another form of the same would be compared one by one. IS TRUE keeps the list of texts from becoming the outer loop.</summary>
    string Indexed(int length)
    {
        var n = length.ToString(CultureInfo.InvariantCulture);
        var distance = $"v.embedding::{extension}.vector({n}) OPERATOR({extension}.<=>) $6::{extension}.vector({n})";
        return $"""
            SELECT v.text_id, v.digest, {distance} AS distance FROM {schema}.{Fence.ViewOf(VectorTable.Name)} v
            WHERE v.tenant_id = $1 AND v.model = $3 AND v.dimensions = {n} AND $4 = {n} AND (v.text_id IN (SELECT id FROM scoped)) IS TRUE
            ORDER BY {distance} LIMIT $5
            """;
    }

    static NpgsqlParameter<int> Integer(int value) => new() { TypedValue = value };

    /// <summary>As the extension reads it.</summary>
    static string Text(float[] vector) => $"[{string.Join(',', vector.Select(number => number.ToString("R", CultureInfo.InvariantCulture)))}]";
}
