using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// The index of texts in two tables: a row for each text, and one for each of its passages. A passage has the terms of <see cref="Stemmer"/> as hashes of scope and
/// term, in a GIN index: what a search costs depends on the passages of its scopes that have its terms, and not on what else there is.
/// </summary>
sealed class TextStore(Database database) : ITexts
{
    /// <summary>Passages of one term that a search looks at. Those with a rarer term are found by that one.</summary>
    const int HitsMax = 5_000;

    /// <summary>Passages that one statement inserts.</summary>
    const int InsertedAtOnce = 500;

    /// <summary>Passages of one text: what a large table, or one that a small file unfolds into, may take of the database.</summary>
    const int PassagesMax = 100_000;

    /// <summary>Seconds for writing a batch of passages, or for removing an owner's.</summary>
    const int WriteTimeout = 60;

    readonly string schema = database.Schema;

    public ValueTask<IReadOnlyList<TextEntry>> Of(string org, string owner, CancellationToken ct) => database.WithReconnect<IReadOnlyList<TextEntry>>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct,
                new NpgsqlBatchCommand($"SELECT name, version, sha256, left_out FROM {schema}.texts WHERE tenant_id = $1 AND owner = $2")
                {
                    Parameters = { Parameter.Text(org), Parameter.Text(owner) },
                });
            var entries = new List<TextEntry>();
            while (await reader.ReadAsync(ct))
            {
                entries.Add(new(reader.GetString(0), reader.GetString(1), await Text(2), await Text(3)));

                async Task<string?> Text(int column) => await reader.IsDBNullAsync(column, ct) ? null : reader.GetString(column);
            }
            return entries;
        },
        ct);

    public async ValueTask Put(string org, TextKey key, TextEntry entry, IReadOnlyList<string> scopes, TextIndex? text, CancellationToken ct)
    {
        var hashes = new TermHashes(org, scopes);
        var passages = text is null ? [] : text.TermsOfPassages();
        var count = Math.Min(passages.Length, PassagesMax);
        await database.WithReconnect(
            org,
            async connection =>
            {
                // Batch by batch: all at once would be the text several times in memory.
                await using var transaction = await connection.Begin(ct);
                await connection.Execute(Row(org, key, entry, scopes, text, count, hashes), ct, WriteTimeout);
                for (var from = 0; from < count; from += InsertedAtOnce)
                {
                    await connection.Execute([Insert(org, key, text!, passages, from, Math.Min(InsertedAtOnce, count - from), hashes)], ct, WriteTimeout);
                }
                await transaction.CommitAsync(ct);
                return count;
            },
            ct);
    }

    public async ValueTask Put(string org, IReadOnlyList<NewText> added, CancellationToken ct)
    {
        var statements = added.SelectMany(text =>
        {
            var hashes = new TermHashes(org, text.Scopes);
            var passages = text.Text is null ? [] : text.Text.TermsOfPassages();
            var count = Math.Min(passages.Length, PassagesMax);
            var row = Row(org, text.Key, text.Entry, text.Scopes, text.Text, count, hashes);
            return count == 0 ? row : row.Append(Insert(org, text.Key, text.Text!, passages, 0, count, hashes));
        }).ToList();
        await database.WithReconnect(
            org,
            async connection =>
            {
                await using var transaction = await connection.Begin(ct);
                await connection.Execute(statements, ct, WriteTimeout);
                await transaction.CommitAsync(ct);
                return added.Count;
            },
            ct);
    }

    /// <summary>The row of a text, and no passages.</summary>
    IEnumerable<NpgsqlBatchCommand> Row(string org, TextKey key, TextEntry entry, IReadOnlyList<string> scopes, TextIndex? text, int count, TermHashes hashes) =>
        [
            new($"""
                INSERT INTO {schema}.texts AS t (tenant_id, owner, name, version, sha256, left_out, scopes, title, passages, length)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                ON CONFLICT (tenant_id, owner, name) DO UPDATE SET version = excluded.version, sha256 = excluded.sha256, left_out = excluded.left_out,
                    scopes = excluded.scopes, title = excluded.title, passages = excluded.passages, length = excluded.length
                """)
            {
                Parameters =
                {
                    Parameter.Text(org), Parameter.Text(key.Owner), Parameter.Text(key.Name), Parameter.Text(entry.Version), Parameter.Text(entry.Sha256),
                    Parameter.Text(entry.LeftOut),
                    Parameter.Texts([.. scopes.Select(scope => Scope(org, scope))]), Parameter.Longs([.. (text?.Title ?? []).SelectMany(hashes.Of)]),
                    new NpgsqlParameter<int> { TypedValue = count }, Parameter.Long(text?.TotalLength ?? 0),
                },
            },
            new($"DELETE FROM {schema}.passages WHERE text_id = {IdOf}") { Parameters = { Parameter.Text(org), Parameter.Text(key.Owner), Parameter.Text(key.Name) } },
        ];

    const string Key = "tenant_id = $1 AND owner = $2 AND name = $3";

    string IdOf => $"(SELECT id FROM {schema}.texts WHERE {Key})";

    NpgsqlBatchCommand Insert(string org, TextKey key, TextIndex text, IReadOnlyList<(string Term, int Count)>[] passages, int from, int n, TermHashes hashes)
    {
        var (nr, first, last, length) = (new int[n], new int[n], new int[n], new int[n]);
        var (body, fields, terms, counts) = (new string?[n], new string?[n], new string?[n], new string?[n]);
        for (var i = 0; i < n; i++)
        {
            var passage = text.Passage(from + i);
            (nr[i], first[i], last[i], length[i]) = (from + i, passage.FirstLine, passage.LastLine, text.Length(from + i));
            var values = text.Fields(from + i);
            body[i] = values.Count > 0 ? null : Parameter.Holdable(passage.Text);
            fields[i] = values.Count > 0 ? JsonSerializer.Serialize(values.SelectMany(f => new[] { Parameter.Holdable(f.Name), Parameter.Holdable(f.Value) })) : null;
            var (hashed, counted) = (new StringBuilder("{"), new StringBuilder("{"));
            foreach (var (term, count) in passages[from + i])
            {
                foreach (var hash in hashes.Of(term))
                {
                    hashed.Append(CultureInfo.InvariantCulture, $"{(hashed.Length > 1 ? "," : "")}{hash}");
                    counted.Append(CultureInfo.InvariantCulture, $"{(counted.Length > 1 ? "," : "")}{count}");
                }
            }
            (terms[i], counts[i]) = (hashed.Append('}').ToString(), counted.Append('}').ToString());
        }
        return new(
            $"""
            INSERT INTO {schema}.passages (tenant_id, text_id, nr, first_line, last_line, length, body, fields, terms, counts)
            SELECT $1, {IdOf}, p.nr, p.first_line, p.last_line, p.length, p.body, p.fields::json, p.terms::bigint[], p.counts::integer[]
            FROM unnest($4, $5, $6, $7, $8, $9, $10, $11) p (nr, first_line, last_line, length, body, fields, terms, counts)
            """)
        {
            Parameters =
            {
                Parameter.Text(org), Parameter.Text(key.Owner), Parameter.Text(key.Name),
                Parameter.Integers(nr), Parameter.Integers(first), Parameter.Integers(last), Parameter.Integers(length),
                Parameter.Texts(body), Parameter.Texts(fields), Parameter.Texts(terms), Parameter.Texts(counts),
            },
        };
    }

    public async ValueTask Touch(string org, string owner, IReadOnlyList<TextEntry> entries, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new($"UPDATE {schema}.texts t SET version = n.version FROM unnest($3, $4) n (name, version) WHERE t.tenant_id = $1 AND t.owner = $2 AND t.name = n.name")
                {
                    Parameters =
                    {
                        Parameter.Text(org), Parameter.Text(owner), Parameter.Texts([.. entries.Select(e => e.Name)]), Parameter.Texts([.. entries.Select(e => e.Version)]),
                    },
                },
            ],
            ct),
        ct);

    public async ValueTask Remove(string org, string owner, IReadOnlyList<string>? names, CancellationToken ct) => await database.WithReconnect(
        org,
        async connection => await connection.Execute(
            [
                new($"DELETE FROM {schema}.texts WHERE tenant_id = $1 AND owner = $2{(names is null ? "" : " AND name = ANY ($3)")}")
                {
                    Parameters = { Parameter.Text(org), Parameter.Text(owner), Parameter.Texts([.. names ?? []]) },
                },
            ],
            ct,
            WriteTimeout),
        ct);

    public async ValueTask<long> Sweep(CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone,
        async connection => await connection.Execute(
            [
                new($"""
                    DELETE FROM {schema}.texts t WHERE owner LIKE 'session:%'
                    AND NOT EXISTS (SELECT FROM {schema}.sessions s WHERE s.tenant_id = t.tenant_id AND s.id = substr(t.owner, 9))
                    """),
                new($"""
                    DELETE FROM {schema}.texts t USING (
                        SELECT tenant_id, owner FROM {schema}.texts WHERE owner LIKE 'grant:/%' GROUP BY tenant_id, owner
                        EXCEPT SELECT tenant_id, 'grant:' || coalesce(g.path, s.row ->> 'workspace_path') FROM {schema}.sessions s
                            LEFT JOIN LATERAL (SELECT value ->> 'path' AS path FROM json_array_elements(s.row -> 'grants')) g ON true) gone
                    WHERE t.tenant_id = gone.tenant_id AND t.owner = gone.owner
                    """),
            ],
            ct,
            WriteTimeout),
        ct);

    public async ValueTask<IReadOnlyList<MissingText>> Missing(MissingText? after, int max, CancellationToken ct) => await database.WithReconnect(
        ScopedConnection.Everyone,
        async connection =>
        {
            var missing = new List<MissingText>();
            await using var reader = await connection.Read(
                new($"""
                    SELECT tenant_id, id FROM {schema}.files f WHERE (tenant_id, id) > ($1, $2) AND row ->> 'Text' IS NOT NULL
                    AND NOT EXISTS (SELECT FROM {schema}.texts t WHERE t.tenant_id = f.tenant_id AND t.owner = 'file:' || f.id)
                    ORDER BY tenant_id, id LIMIT $3
                    """)
                {
                    Parameters = { Parameter.Text(after?.Org ?? ""), Parameter.Text(after?.File.Value ?? ""), Parameter.Long(max) },
                },
                WriteTimeout, ct);
            while (await reader.ReadAsync(ct))
            {
                missing.Add(new(reader.GetString(0), new(reader.GetString(1))));
            }
            return missing;
        },
        ct);

    public ValueTask<TextMatches> Match(string org, IReadOnlyList<string> scopes, IReadOnlyList<string> terms, int max, CancellationToken ct)
    {
        var hashes = new TermHashes(org, scopes);
        List<(long Hash, int Term)> asked = [.. terms.SelectMany((term, nr) => hashes.Of(term).Select(hash => (hash, nr)))];
        var sql = $"""
            WITH q AS MATERIALIZED (SELECT * FROM unnest($3, $4) u (hash, term)),
            scoped AS MATERIALIZED (SELECT id, owner, name, title, passages, length FROM {schema}.texts_searched WHERE tenant_id = $1 AND scopes && $2 AND passages > 0),
            whole AS (SELECT coalesce(sum(passages), 0)::bigint AS passages, coalesce(sum(length), 0)::bigint AS length FROM scoped),
            titled AS MATERIALIZED (SELECT DISTINCT q.term, s.id, s.passages FROM scoped s JOIN q ON q.hash = ANY (s.title)),
            hits AS MATERIALIZED (
                SELECT DISTINCT ON (q.term, p.text_id, p.nr) q.term, p.text_id, p.nr, p.length, p.count FROM q CROSS JOIN LATERAL (
                    SELECT text_id, nr, length, counts[array_position(terms, q.hash)] AS count FROM {schema}.passages_searched WHERE terms @> ARRAY[q.hash] LIMIT {HitsMax}) p),
            containing AS MATERIALIZED (
                SELECT term, sum(n) AS n FROM (
                    SELECT term, count(*) AS n FROM hits h WHERE NOT EXISTS (SELECT FROM titled t WHERE t.term = h.term AND t.id = h.text_id) GROUP BY term
                    UNION ALL SELECT term, sum(passages) FROM titled GROUP BY term) found
                GROUP BY term),
            weighted AS (SELECT c.term, ln(1 + (greatest(0, whole.passages - c.n) + 0.5) / (c.n + 0.5)) AS weight FROM containing c CROSS JOIN whole),
            best AS (
                SELECT h.text_id, h.nr FROM hits h JOIN weighted w USING (term) CROSS JOIN whole
                GROUP BY h.text_id, h.nr
                ORDER BY sum(w.weight * h.count / (h.count + {Constant(TextSearch.K1)} * ({Constant(1 - TextSearch.B)} + {Constant(TextSearch.B)} * h.length
                    / greatest(1, whole.length::float8 / greatest(1, whole.passages))))) * (1 + sum(w.weight) / (SELECT sum(weight) FROM weighted)) DESC, h.text_id, h.nr
                LIMIT $5)
            SELECT whole.passages, whole.length, (SELECT array_agg(term) FROM containing), (SELECT array_agg(n::bigint) FROM containing), s.owner, s.name,
                p.first_line, p.last_line, p.length, p.body, p.fields, (SELECT array_agg(h.term) FROM hits h WHERE h.text_id = p.text_id AND h.nr = p.nr),
                (SELECT array_agg(h.count) FROM hits h WHERE h.text_id = p.text_id AND h.nr = p.nr)
            FROM whole LEFT JOIN (best JOIN {schema}.passages_searched p USING (text_id, nr) JOIN scoped s ON s.id = p.text_id) ON true
            ORDER BY s.name, s.id, p.nr
            """;
        return database.WithReconnect(
            org,
            async connection =>
            {
                // Without statistics a walk through the whole table looks cheap, because so many rows are thought to match.
                await using var reader = await connection.Read(
                    ct,
                    new NpgsqlBatchCommand("SELECT set_config('enable_seqscan', 'off', true)"),
                    new NpgsqlBatchCommand(sql)
                    {
                        Parameters =
                        {
                            Parameter.Text(org), Parameter.Texts([.. scopes.Select(scope => Scope(org, scope))]), Parameter.Longs([.. asked.Select(a => a.Hash)]),
                            Parameter.Integers([.. asked.Select(a => a.Term)]), Parameter.Long(max),
                        },
                    });
                await reader.NextResultAsync(ct);
                return await Matches(reader, terms.Count, ct);
            },
            ct);
    }

    static async ValueTask<TextMatches> Matches(NpgsqlDataReader reader, int terms, CancellationToken ct)
    {
        var (passages, length, containing, candidates) = (0L, 0L, new long[terms], new List<Candidate>());
        while (await reader.ReadAsync(ct))
        {
            (passages, length) = (reader.GetInt64(0), reader.GetInt64(1));
            if (!await reader.IsDBNullAsync(2, ct))
            {
                foreach (var (term, n) in reader.GetFieldValue<int[]>(2).Zip(reader.GetFieldValue<long[]>(3)))
                {
                    containing[term] = n;
                }
            }
            if (await reader.IsDBNullAsync(4, ct))
            {
                continue;
            }
            var counts = new int[terms];
            foreach (var (term, count) in reader.GetFieldValue<int[]>(11).Zip(reader.GetFieldValue<int[]>(12)))
            {
                counts[term] = count;
            }
            string[] values = await reader.IsDBNullAsync(10, ct) ? [] : JsonSerializer.Deserialize<string[]>(reader.GetString(10))!;
            List<(string Name, string Value)> fields = [.. values.Chunk(2).Select(pair => (pair[0], pair[1]))];
            var text = fields.Count > 0 ? TextIndex.TextOf(fields) : reader.GetString(9);
            candidates.Add(new(reader.GetString(4), new(reader.GetString(5), reader.GetInt32(6), reader.GetInt32(7), text), fields, reader.GetInt32(8), counts));
        }
        return new(passages, length, containing, candidates);
    }

    static string Constant(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    /// <summary>A scope in the index of all tenants' scopes.</summary>
    public static string Scope(string org, string scope) => $"{org} {scope}";

    /// <summary>The terms of a text in each of its scopes: the first 8 bytes of the SHA-256 of tenant, scope and term.</summary>
    sealed class TermHashes(string org, IReadOnlyList<string> scopes)
    {
        readonly Dictionary<string, long[]> known = new(StringComparer.Ordinal);

        public long[] Of(string term)
        {
            if (!known.TryGetValue(term, out var hashes))
            {
                known.Add(term, hashes = [.. scopes.Select(scope => Hash($"{org}\0{scope}\0{term}"))]);
            }
            return hashes;
        }

        static long Hash(string text)
        {
            Span<byte> hash = stackalloc byte[32];
            SHA256.HashData(Encoding.UTF8.GetBytes(text), hash);
            return BinaryPrimitives.ReadInt64BigEndian(hash);
        }
    }
}
