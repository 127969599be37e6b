using System.Data;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>Reads the read models' tables, and makes them anew from the log.</summary>
sealed class RowStore : IRows
{
    /// <summary>Rows that are looked at for each word of a search, and for all of them together.</summary>
    const int CandidatesMax = 100;

    /// <summary>
    /// Rows of a scope that are compared with a search's words, the last changed first, before the index of pieces is asked. Words that one row in forty has are found
    /// among them, at the cost of a page; of rarer ones the index finds few.
    /// </summary>
    const int ComparedMax = 1_000;

    /// <summary>Things with a name whose rows are looked at together.</summary>
    const int NamedMax = 10_000;

    /// <summary>The text in the rows of models that are found by parts of words.</summary>
    const string NameMember = "text";

    const int EventsPerPage = 2_000;

    /// <summary>Streams that may still change before writers are stopped for the swap.</summary>
    const int LastStreamsMax = 200;

    const int CatchUpsMax = 20;

    /// <summary>A rebuild's own table of the rows that the log takes away.</summary>
    const string EndedRows = "pg_temp.ended_rows";

    readonly Database database;
    readonly string schema;
    readonly AsyncProjectionStore following;
    readonly Dictionary<string, IRowModel> models;

    public RowStore(Database database, AsyncProjectionStore following, IReadOnlyList<IRowModel> models)
    {
        this.database = database;
        this.following = following;
        schema = database.Schema;
        this.models = models.ToDictionary(m => m.Table);
    }

    public ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct)
    {
        var sql = $"SELECT id, created, version, row FROM {schema}.{Known(table).Table} WHERE tenant_id = $1 AND id = $2";
        return database.WithReconnect(
            org,
            async connection => (await Rows(connection, new(sql) { Parameters = { Parameter.Text(org), Parameter.Text(key) } }, ct)).FirstOrDefault(),
            ct);
    }

    public ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct)
    {
        var sql = $"SELECT id, created, version, row FROM {schema}.{Known(table).Table} WHERE tenant_id = $1 AND id = ANY ($2)";
        return database.WithReconnect<IReadOnlyList<Row>>(
            org,
            async connection =>
                await Rows(connection, new(sql) { Parameters = { Parameter.Text(org), Parameter.Texts([.. keys.Select(Parameter.Holdable)]) } }, ct),
            ct);
    }

    public async ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct) =>
        query.Named is { OfFew: false } named ? await ListNamed(org, table, query, named, ct) : (await Lists(org, table, [query], ct))[0];

    public ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct)
    {
        if (queries.Count == 0)
        {
            return new([]);
        }
        var lists = queries.Select(query =>
        {
            var parameters = new List<Func<NpgsqlParameter>>();
            var which = Which(org, table, query, parameters);
            parameters.Add(() => Parameter.Long(query.Limit));
            return (Sql: $"SELECT id, created, version, row FROM {schema}.{table} WHERE {which} ORDER BY created DESC LIMIT ${parameters.Count}", parameters);
        }).ToList();
        return database.WithReconnect<IReadOnlyList<IReadOnlyList<Row>>>(
            org,
            async connection =>
            {
                await using var reader = await connection.Read(ct, [.. lists.Select(list => Statement(list.Sql, list.parameters))]);
                var found = new List<IReadOnlyList<Row>>(queries.Count);
                foreach (var query in queries)
                {
                    if (found.Count > 0)
                    {
                        await reader.NextResultAsync(ct);
                    }
                    found.Add(await Rows(reader, ct, query.Bytes));
                }
                return found;
            },
            ct);
    }

    /// <summary>
    /// Rows of a list by their names. Names that one thing in forty has are found among the newest, at the cost of a page; of rarer ones the index finds few. What else the
    /// list asks is asked of what was found, as many at a time as a statement looks at quickly.
    /// </summary>
    async ValueTask<IReadOnlyList<Row>> ListNamed(string org, string table, RowQuery query, NamedLike named, CancellationToken ct)
    {
        var (found, bytes, before) = (new List<Row>(), 0L, query.Before);
        for (var isByPieces = false; ; isByPieces = true)
        {
            var (keys, last) = await Named(org, named, before, isByPieces, ct);
            if (keys.Length > 0)
            {
                var parameters = new List<Func<NpgsqlParameter>>();
                var which = Which(org, table, query with { Named = null }, parameters);
                parameters.Add(() => Parameter.Texts(keys));
                parameters.Add(() => Parameter.Long(query.Limit - found.Count));
                // As an expression, so that no plan walks through the list to find the keys.
                var sql = $"""
                    SELECT id, created, version, row FROM {schema}.{table} WHERE {which} AND id = ANY (${parameters.Count - 1})
                    ORDER BY created + 0 DESC LIMIT ${parameters.Count}
                    """;
                var rows = await database.WithReconnect(org, async connection => await Rows(connection, Statement(sql, parameters), ct, query.Bytes - bytes), ct);
                found.AddRange(rows);
                bytes += rows.Sum(row => (long)row.Json.Length);
            }
            if (last is null || found.Count >= query.Limit || bytes > query.Bytes)
            {
                return found;
            }
            before = last;
        }
    }

    /// <summary>Keys of things with a name, and the place behind which the next call goes on; null: there are no more of them.</summary>
    /// <param name="isByPieces">The index finds them. Otherwise the next ones of the list are compared.</param>
    ValueTask<(string[] Keys, long? Last)> Named(string org, NamedLike named, long? before, bool isByPieces, CancellationToken ct)
    {
        var parameters = new List<Func<NpgsqlParameter>> { () => Parameter.Text(org), () => Parameter.Text(named.Kind) };
        var place = before is { } position ? $" AND created < {Next(parameters, () => Parameter.Long(position))}" : "";
        var has = string.Join(" AND ", named.Words.Select(word => $"strpos(row ->> '{NameMember}', {Next(parameters, () => Parameter.Text(word))}) > 0"));
        var sql = isByPieces
            ? $"""
               SELECT id, created, true FROM (
                   SELECT id, created FROM {schema}.{Fence.ViewOf(Known(named.Table).Table)}
                   WHERE {SearchTerms.Column} @> {Next(parameters, () => Parameter.Texts(SearchTerms.Asked(org, named)))} AND {has}
                       AND coalesce(tenant_id, '') = $1 AND coalesce(scope, '') = $2{place} OFFSET 0) f
               ORDER BY created DESC LIMIT {NamedMax}
               """
            : $"SELECT id, created, {has} FROM {schema}.{Known(named.Table).Table} WHERE tenant_id = $1 AND scope = $2{place} ORDER BY created DESC LIMIT {ComparedMax}";
        return database.WithReconnect<(string[], long?)>(
            org,
            async connection =>
            {
                var off = new NpgsqlBatchCommand($"SELECT set_config('enable_seqscan', '{(isByPieces ? "off" : "on")}', true)");
                await using var reader = await connection.Read(ct, off, Statement(sql, parameters));
                await reader.NextResultAsync(ct);
                var (keys, last, looked) = (new List<string>(), 0L, 0);
                while (await reader.ReadAsync(ct))
                {
                    (last, looked) = (reader.GetInt64(1), looked + 1);
                    if (reader.GetBoolean(2))
                    {
                        keys.Add(reader.GetString(0)[(named.Kind.Length + 1)..]);
                    }
                }
                return ([.. keys], looked == (isByPieces ? NamedMax : ComparedMax) ? last : null);
            },
            ct);
    }

    public ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct)
    {
        var parameters = new List<Func<NpgsqlParameter>>();
        var which = Which(org, table, query, parameters);
        var count = $"SELECT count(*) FROM {schema}.{table} WHERE {which}";
        parameters.Add(() => Parameter.Long(query.Limit));
        parameters.Add(() => Parameter.Long(offset));
        // What is passed over is counted in the index alone; only rows that are shown are read.
        var sql = $"""
            SELECT id, created, version, row FROM {schema}.{table}
            WHERE {which} AND created <= (SELECT created FROM {schema}.{table} WHERE {which} ORDER BY created DESC OFFSET ${parameters.Count} LIMIT 1)
            ORDER BY created DESC LIMIT ${parameters.Count - 1}
            """;
        return database.WithReconnect(
            org,
            async connection =>
            {
                var off = new NpgsqlBatchCommand($"SELECT set_config('enable_seqscan', '{(query.Named is null ? "on" : "off")}', true)");
                await using var reader = await connection.Read(ct, off, Statement(count, parameters[..^2]), Statement(sql, parameters));
                await reader.NextResultAsync(ct);
                await reader.ReadAsync(ct);
                var total = reader.GetInt64(0);
                await reader.NextResultAsync(ct);
                return new RowPage(await Rows(reader, ct, query.Bytes), total);
            },
            ct);
    }

    /// <summary>The condition on the rows of a list, with parameters from 1 on.</summary>
    string Which(string org, string table, RowQuery query, List<Func<NpgsqlParameter>> parameters)
    {
        var model = Known(table);
        model.Check(query);
        parameters.Add(() => Parameter.Text(org));
        var sql = "tenant_id = $1";
        if (query.Scope is not null)
        {
            parameters.Add(() => Parameter.Text(query.Scope));
            sql += $" AND scope = ${parameters.Count}";
            if (query.Status is not null)
            {
                parameters.Add(() => Parameter.Text(query.Status));
                // As an expression where no index has both, so that no plan goes by the status, which without statistics looks as good as the scope.
                sql += $" AND {(model.Lists.HasFlag(RowLists.ByScopeAndStatus) ? "status" : "coalesce(status, '')")} = ${parameters.Count}";
            }
        }
        else if (query.Status is not null)
        {
            sql += $" AND {StatusIs(model, query.Status, parameters)}";
        }
        if (query.Before is { } before)
        {
            parameters.Add(() => Parameter.Long(before));
            sql += $" AND created < ${parameters.Count}";
        }
        if (query.Having is { } having)
        {
            parameters.Add(() => Parameter.Text(having.Text));
            sql += $" AND row ->> {Schema.Literal(having.Member)} = ${parameters.Count}";
        }
        if (query.Named is { } named)
        {
            sql += IsNamed(org, table, named, parameters);
        }
        return query.Owner is { } owner ? sql + OwnedBy(owner, table) : sql;
    }

    /// <summary>The condition on the names of rows: of few rows, each name is looked up; of many, the index tells the keys of those that have it.</summary>
    string IsNamed(string org, string table, NamedLike named, List<Func<NpgsqlParameter>> parameters)
    {
        var has = string.Concat(named.Words.Select(word => $" AND strpos(n.row ->> '{NameMember}', {Next(parameters, () => Parameter.Text(word))}) > 0"));
        var begin = Next(parameters, () => Parameter.Text($"{named.Kind}-"));
        if (named.OfFew)
        {
            var key = named.ByParent ? $"split_part({table}.id, '.', 1)" : $"{table}.id";
            return $" AND (SELECT true FROM {schema}.{Known(named.Table).Table} n WHERE n.tenant_id = {table}.tenant_id AND n.id = {begin} || {key}{has})";
        }
        return $"""
             AND id = ANY (ARRAY(SELECT substr(n.id, length({begin}) + 1) FROM {schema}.{Fence.ViewOf(Known(named.Table).Table)} n
                WHERE {SearchTerms.Column} @> {Next(parameters, () => Parameter.Texts(SearchTerms.Asked(org, named)))}{has} AND n.tenant_id = $1))
            """;
    }

    /// <summary>Adds a parameter. Answers what it is called in the statement.</summary>
    static string Next(List<Func<NpgsqlParameter>> parameters, Func<NpgsqlParameter> parameter)
    {
        parameters.Add(parameter);
        return $"${parameters.Count}";
    }

    /// <summary>A subquery that answers a value is looked up row by row, by the primary key; one that is joined may be read whole when the planner has no statistics.</summary>
    string OwnedBy(RowOwner owner, string row)
    {
        var key = owner.Member is { } member ? $"{row}.row ->> {Schema.Literal(member)}" : $"{row}.scope";
        return $" AND ({key} IS NULL{In(owner.Table)}{(owner.OrTable is { } other ? In(other) : "")})";

        string In(string table) => $" OR (SELECT true FROM {schema}.{Known(table).Table} o WHERE o.tenant_id = {row}.tenant_id AND o.id = {key})";
    }

    static NpgsqlBatchCommand Statement(string sql, List<Func<NpgsqlParameter>> parameters)
    {
        var statement = new NpgsqlBatchCommand(sql);
        parameters.ForEach(p => statement.Parameters.Add(p()));
        return statement;
    }

    public async ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct)
    {
        if (!Known(table).KeepsHistory)
        {
            throw new ArgumentException($"{table} keeps no history.", nameof(table));
        }
        var pieces = PartsOfWords.Pieces(org, query.Scope, query.Words);
        var page = await Moment(org, table, query, pieces, isByPieces: false, ct);
        return page is null or { HasMore: true } || pieces.Length == 0 ? page : await Moment(org, table, query with { Position = page.Position }, pieces, isByPieces: true, ct);
    }

    /// <summary>The rows as they are, and those that were replaced since; null: the log has not come to the position.</summary>
    /// <param name="isByPieces">The index of pieces finds the rows with the words. Otherwise the rows are compared, some of them where there are pieces.</param>
    ValueTask<MomentPage?> Moment(string org, string table, MomentQuery query, long[] pieces, bool isByPieces, CancellationToken ct)
    {
        const string Columns = "t.id, t.created, t.version, t.row, t.at, t.updated";
        const string Order = "ORDER BY t.at DESC, t.updated DESC LIMIT $3";
        var parameters = new List<Func<NpgsqlParameter>>
        {
            () => Parameter.Text(org), () => Parameter.Text(query.Scope), () => Parameter.Long(query.Limit + 1L),
        };
        var status = query.Status is { } of ? Next(parameters, () => Parameter.Text(of)) : null;
        var moment = query.Position is { } position ? Next(parameters, () => Parameter.Long(position)) : null;
        var place = (query.After is { } after
                ? $" AND (t.at, t.updated) < ({Next(parameters, () => Parameter.Long(after.At))}, {Next(parameters, () => Parameter.Long(after.Position))})"
                : "")
            + (moment is null ? "" : $" AND t.updated <= {moment}");
        var here = $"t.tenant_id = $1 AND t.scope = $2{(status is null ? "" : $" AND t.status = {status}")}{place}";
        var has = string.Concat(query.Words.Select(word => $" AND strpos(t.text, {Next(parameters, () => Parameter.Text(word))}) > 0"));
        var current = isByPieces
            ? $"""
               SELECT {Columns} FROM (
                   SELECT t.tenant_id, t.id FROM (
                       SELECT t.tenant_id, t.id, t.at, t.updated FROM {schema}.{Fence.ViewOf(table)} t
                       WHERE t.pieces @> {Next(parameters, () => new NpgsqlParameter<long[]> { TypedValue = pieces })}{has} AND coalesce(t.tenant_id, '') = $1
                           AND coalesce(t.scope, '') = $2{(status is null ? "" : $" AND coalesce(t.status, '') = {status}")}{place} OFFSET 0) t
                   {Order}) f
               JOIN {schema}.{table} t ON t.tenant_id = f.tenant_id AND t.id = f.id
               """
            : query.Words.Count == 0 || pieces.Length == 0 ? $"SELECT {Columns} FROM {schema}.{table} t WHERE {here}{has} {Order}"
            : $"""
               SELECT {Columns} FROM (
                   SELECT {Columns}, t.text FROM {schema}.{table} t WHERE {here} ORDER BY t.at DESC, t.updated DESC LIMIT {ComparedMax}) t
               WHERE true{has} {Order}
               """;
        var past = moment is null || query.OnlyUnchanged ? ""
            : $" UNION ALL (SELECT {Columns} FROM {schema}.{Schema.PastOf(table)} t WHERE {here}{has} AND t.until > {moment} {Order})";
        var sql = $"SELECT h.gid, t.* FROM {schema}.head h LEFT JOIN (SELECT * FROM (({current}){past}) t {Order}) t ON true ORDER BY t.at DESC, t.updated DESC";
        return database.WithReconnect<MomentPage?>(
            org,
            async connection =>
            {
                var off = new NpgsqlBatchCommand($"SELECT set_config('enable_seqscan', '{(isByPieces ? "off" : "on")}', true)");
                await using var reader = await connection.Read(ct, off, Statement(sql, parameters));
                await reader.NextResultAsync(ct);
                var rows = new List<(ChangePlace, Row)>();
                var (head, bytes, hasMore) = (0L, 0L, false);
                while (!hasMore && await reader.ReadAsync(ct))
                {
                    head = reader.GetInt64(0);
                    if (await reader.IsDBNullAsync(1, ct))
                    {
                        break;
                    }
                    hasMore = rows.Count == query.Limit || bytes > query.Bytes;
                    if (!hasMore)
                    {
                        var row = new Row(reader.GetString(1), reader.GetInt64(2), reader.GetInt64(3), reader.GetFieldValue<byte[]>(4));
                        rows.Add((new(reader.GetInt64(5), reader.GetInt64(6)), row));
                        bytes += row.Json.Length;
                    }
                }
                return query.Position > head ? null : new(query.Position ?? head, rows, hasMore);
            },
            ct);
    }

    public ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct)
    {
        var parameters = new List<Func<NpgsqlParameter>>();
        var (live, gone) = WhichPast(org, table, query, parameters);
        parameters.Add(() => Parameter.Long(query.Limit + query.Offset));
        var last = $"ORDER BY created DESC LIMIT ${parameters.Count}";
        // What a changed row holds now is needed only where it tells the row's stream.
        var json = models[table] is IReadModel { IsStreamInRow: true } ? "row" : "CASE WHEN updated <= $2 THEN row END";
        var sql = $"""
            SELECT * FROM (
                (SELECT id, created, version, updated > $2, {json} FROM {schema}.{table} WHERE {live} {last})
                UNION ALL (SELECT id, created, 0, true, NULL FROM {schema}.{Schema.GoneRows} WHERE {gone} {last})) t
            {last} OFFSET {query.Offset.ToString(System.Globalization.CultureInfo.InvariantCulture)}
            """;
        return database.WithReconnect<IReadOnlyList<PastRow>>(
            org,
            async connection =>
            {
                await using var reader = await connection.Read(ct, Statement(sql, parameters));
                var rows = new List<PastRow>();
                while (await reader.ReadAsync(ct))
                {
                    rows.Add(new(
                        reader.GetString(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetBoolean(3), reader.IsDBNull(4) ? default : reader.GetFieldValue<byte[]>(4)));
                }
                return rows;
            },
            ct);
    }

    public ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct)
    {
        var parameters = new List<Func<NpgsqlParameter>>();
        var (live, gone) = WhichPast(org, table, query, parameters);
        var sql = $"SELECT (SELECT count(*) FROM {schema}.{table} WHERE {live}) + (SELECT count(*) FROM {schema}.{Schema.GoneRows} WHERE {gone})";
        return database.WithReconnect(org, async connection => (long)(await connection.Ask(Statement(sql, parameters), ct))!, ct);
    }

    /// <summary>The conditions on rows that are there and on what deleted ones left. The tenant is the first parameter, the position the second.</summary>
    (string Live, string Gone) WhichPast(string org, string table, PastQuery query, List<Func<NpgsqlParameter>> parameters)
    {
        if (Known(table).OwnerMember is null)
        {
            throw new ArgumentException($"{table} is not read as of a position.", nameof(table));
        }
        var both = $"tenant_id = {Next(parameters, () => Parameter.Text(org))} AND created <= {Next(parameters, () => Parameter.Long(query.Position))}";
        if (query.Scope is { } scope)
        {
            both += $" AND scope = {Next(parameters, () => Parameter.Text(scope))}";
        }
        if (query.Keys is { } keys)
        {
            both += $" AND id = ANY ({Next(parameters, () => Parameter.Texts([.. keys.Select(Parameter.Holdable)]))})";
        }
        if (query.Before is { } before)
        {
            both += $" AND created < {Next(parameters, () => Parameter.Long(before))}";
        }
        var status = query.Status is { } of ? $" AND (updated > $2 OR status = {Next(parameters, () => Parameter.Text(of))})" : "";
        var viewer = query.Viewer is { } principal ? $" AND owner = {Next(parameters, () => Parameter.Text(principal))}" : "";
        return (both + status + (query.OnlyChanged ? " AND updated > $2" : ""), $"{both} AND model = '{table}' AND until > $2{viewer}");
    }

    public ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct)
    {
        var parameters = new List<Func<NpgsqlParameter>> { () => Parameter.Text(org), () => Parameter.Long(atMost) };
        Known(table).Check(new(Status: status));
        var having = StatusIs(Known(table), status, parameters) + (owner is null ? "" : OwnedBy(owner, table));
        var sql = $"SELECT count(*) FROM (SELECT FROM {schema}.{table} WHERE tenant_id = $1 AND {having} LIMIT $2) t";
        return database.WithReconnect(
            org,
            async connection => (long)(await connection.Ask(Statement(sql, parameters), ct))!,
            ct);
    }

    public ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct)
    {
        if (!Known(table).Searched)
        {
            throw new ArgumentException($"{table} is not searched.", nameof(table));
        }
        var wanted = (owner is null ? "" : OwnedBy(owner, "t"))
            + (status is null ? "" : " AND t.status = $4")
            + (share is null ? "" : $" AND coalesce(t.row ->> {Schema.Literal(share.Member)}, $5) = $5");
        var sql = $"""
            SELECT id, created, version, row FROM (
                SELECT DISTINCT ON (t.id) t.* FROM (SELECT ARRAY[term] AS terms FROM unnest($2) term UNION ALL SELECT $2) q
                CROSS JOIN LATERAL (
                    SELECT t.tenant_id, t.id, t.created, t.version, t.row, t.search FROM {schema}.{Fence.ViewOf(table)} t
                    WHERE {SearchTerms.Column} @> q.terms{wanted} LIMIT {CandidatesMax}) t) found
            WHERE tenant_id = $1
            ORDER BY (SELECT count(*) FROM unnest({SearchTerms.Column}) term WHERE term = ANY ($2)) DESC, created DESC LIMIT $3
            """;
        var terms = SearchTerms.Asked(org, query);
        return terms.Length == 0 ? new([]) : database.WithReconnect<IReadOnlyList<Row>>(
            org,
            async connection =>
            {
                // Without statistics a walk through the whole table looks cheap, because so many rows are thought to match.
                var search = new NpgsqlBatchCommand(sql)
                {
                    Parameters = { Parameter.Text(org), Parameter.Texts(terms), Parameter.Long(limit), Parameter.Text(status), Parameter.Text(share?.Value ?? "") },
                };
                await using var reader = await connection.Read(ct, new NpgsqlBatchCommand("SELECT set_config('enable_seqscan', 'off', true)"), search);
                await reader.NextResultAsync(ct);
                return await Rows(reader, ct);
            },
            ct);
    }

    public async Task<long> Rebuild(IRowModel model, CancellationToken ct)
    {
        Known(model.Table);
        return await database.OnOwnersConnection(async connection =>
        {
            await Run(connection, $"SELECT pg_advisory_lock(hashtextextended('cowork rebuild {schema}.{model.Table}', 0))", ct);
            return model is IReadModel inline ? await Rebuild(connection, inline, ct) : await following.Rebuild(connection, (IAsyncProjection)model, ct);
        });
    }

    /// <summary>As <see cref="ISubjectStore.Refold"/>: what a live table has of a stream, and of its past, is made anew.</summary>
    internal async Task Refold(string org, string stream, CancellationToken ct)
    {
        foreach (var model in models.Values.OfType<IReadModel>().Where(m => stream.StartsWith(m.Aggregate + "-", StringComparison.Ordinal)))
        {
            await using var connection = database.Apart("refold");
            await connection.OpenAsync(ct);
            await using var transaction = await connection.BeginTransactionAsync(ct);
            // Writers wait: nobody appends to the stream between the fold and its rows.
            await Head(connection, take: true, ct);
            var keys = new List<(string Org, string Key)>();
            await foreach (var page in Fold(connection, model, ct, (org, stream)))
            {
                await Write(connection, new RowTable(schema, model.Table, model), page, ct, gone: page.Keys);
                keys.AddRange(page.Keys);
            }
            if (model.KeepsHistory)
            {
                await using var past = new NpgsqlCommand(
                    $"DELETE FROM {schema}.{Schema.PastOf(model.Table)} t USING unnest($1, $2) d (tenant_id, id) WHERE t.tenant_id = d.tenant_id AND t.id = d.id", connection)
                { Parameters = { Parameter.Texts([.. keys.Select(k => k.Org)]), Parameter.Texts([.. keys.Select(k => k.Key)]) } };
                await past.ExecuteNonQueryAsync(ct);
            }
            await transaction.CommitAsync(ct);
        }
    }

    public async Task<string?> FindDifference(IRowModel model, CancellationToken ct)
    {
        Known(model.Table);
        return await database.OnOwnersConnection(async connection =>
        {
            await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, ct);
            return model is IReadModel inline ? await FindDifference(connection, inline, ct) : await following.FindDifference(connection, (IAsyncProjection)model, ct);
        });
    }

    /// <summary>
    /// The whole log is folded from one snapshot of it, then the streams that changed meanwhile are folded again, until few are left; writers wait only while
    /// these few are done and the tables change names.
    /// </summary>
    async Task<long> Rebuild(NpgsqlConnection connection, IReadModel model, CancellationToken ct)
    {
        var next = $"{model.Table}_next";
        await Run(connection, $"DROP TABLE IF EXISTS {schema}.{next};" + Schema.Table(schema, next, model), ct);
        await Run(connection, $"CREATE TEMP TABLE {EndedRows} (tenant_id text, id text, PRIMARY KEY (tenant_id, id))", ct);
        var target = new RowTable(schema, next, model);
        var (folded, position) = (0L, 0L);
        await using (var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, ct))
        {
            position = await Head(connection, take: false, ct);
            await foreach (var page in Fold(connection, model, ct))
            {
                await Write(connection, target, page, ct);
                folded += page.Events;
            }
            await transaction.CommitAsync(ct);
        }
        for (var i = 0; ; i++)
        {
            var to = await Head(connection, take: false, ct);
            var changed = await Changed(connection, model, position, ct);
            if (changed.Count <= LastStreamsMax || i == CatchUpsMax)
            {
                break;
            }
            folded += await Again(connection, model, target, changed, ct);
            position = to;
        }
        await using (var transaction = await connection.BeginTransactionAsync(ct))
        {
            await Head(connection, take: true, ct);
            folded += await Again(connection, model, target, await Changed(connection, model, position, ct), ct);
            await Run(
                connection,
                $"""
                DELETE FROM {schema}.{Schema.GoneRows} g WHERE g.model = '{model.Table}'
                    AND NOT EXISTS (SELECT FROM {EndedRows} e WHERE e.tenant_id = g.tenant_id AND e.id = g.id);
                DROP TABLE {EndedRows};
                """,
                ct);
            await Run(connection, Schema.Swap(schema, next, model, await Fence.Roles(connection, schema, model.Table, ct)), ct);
            await transaction.CommitAsync(ct);
        }
        await Run(connection, $"ANALYZE {schema}.{model.Table}", ct);
        return folded;
    }

    async Task<string?> FindDifference(NpgsqlConnection connection, IReadModel model, CancellationToken ct)
    {
        var known = new HashSet<(string Org, string Key)>();
        var gone = await Gone(connection, model, ct);
        await foreach (var page in Fold(connection, model, ct))
        {
            var live = await Live(connection, model, page.Keys, ct);
            foreach (var ((org, key), (until, was)) in model.OwnerMember is null ? [] : page.Ended)
            {
                if (!gone.Remove((org, key), out var left) || left != new GoneRow(was?.Value.Scope, was?.Value.Member(model.OwnerMember!), was?.Created ?? 0, until))
                {
                    return $"{org} {key}, which is gone";
                }
            }
            if (model.Keyed)
            {
                known.UnionWith(page.Keys);
            }
            foreach (var (org, key) in page.Keys)
            {
                var made = page.Rows.GetValueOrDefault((org, key));
                if (!Same(org, model, made, live.GetValueOrDefault((org, key))))
                {
                    return $"{org} {key}";
                }
            }
        }
        if (gone.Count > 0)
        {
            var (org, key) = gone.Keys.Min();
            return $"{org} {key}, which no event has taken away";
        }
        // What is left are rows that no event went into.
        await using var extra = new NpgsqlCommand(
            $"""
            SELECT t.tenant_id, t.id FROM {schema}.{model.Table} t
            WHERE $2 OR NOT EXISTS (SELECT FROM {schema}.mt_streams s WHERE s.tenant_id = t.tenant_id AND s.id = $1 || t.id)
            """,
            connection)
        {
            Parameters = { Parameter.Text(model.Aggregate + "-"), new NpgsqlParameter<bool> { TypedValue = model.Keyed } },
        };
        await using var reader = await extra.ExecuteReaderAsync(ct);
        while (await reader.ReadAsync(ct))
        {
            if (!known.Contains((reader.GetString(0), reader.GetString(1))))
            {
                return $"{reader.GetString(0)} {reader.GetString(1)}";
            }
        }
        return null;
    }

    /// <summary>The condition by which a model is listed by its status. A partial index is found only by a status that stands in the statement itself.</summary>
    static string StatusIs(IRowModel model, string status, List<Func<NpgsqlParameter>> parameters)
    {
        if (model.ListedStatuses.Count > 0)
        {
            return $"status = {Schema.Literal(status)}";
        }
        parameters.Add(() => Parameter.Text(status));
        return $"status = ${parameters.Count}";
    }

    IRowModel Known(string table) => models.TryGetValue(table, out var model) ? model : throw new ArgumentException($"There is no read model {table}.", nameof(table));

    static async Task<List<Row>> Rows(ScopedConnection connection, NpgsqlBatchCommand statement, CancellationToken ct, long bytesMax = long.MaxValue)
    {
        await using var reader = await connection.Read(ct, statement);
        return await Rows(reader, ct, bytesMax);
    }

    /// <summary>Reads rows up to a number of bytes, and at least one.</summary>
    static async Task<List<Row>> Rows(NpgsqlDataReader reader, CancellationToken ct, long bytesMax = long.MaxValue)
    {
        var rows = new List<Row>();
        var bytes = 0L;
        while (bytes <= bytesMax && await reader.ReadAsync(ct))
        {
            rows.Add(new(reader.GetString(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetFieldValue<byte[]>(3)));
            bytes += rows[^1].Json.Length;
        }
        return rows;
    }

    static async Task Run(NpgsqlConnection connection, string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 0 };
        await command.ExecuteNonQueryAsync(ct);
    }

    async Task<long> Head(NpgsqlConnection connection, bool take, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand($"SELECT gid FROM {schema}.head{(take ? " FOR UPDATE" : "")}", connection);
        return (long)(await command.ExecuteScalarAsync(ct))!;
    }

    /// <summary>A model's streams that have events after a position.</summary>
    async Task<List<(string Org, string Stream)>> Changed(NpgsqlConnection connection, IReadModel model, long after, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(
            $"SELECT DISTINCT tenant_id, stream_id FROM {schema}.mt_events WHERE seq_id > $1 AND starts_with(stream_id, $2)", connection)
        {
            Parameters = { Parameter.Long(after), Parameter.Text(model.Aggregate + "-") },
            CommandTimeout = 0,
        };
        await using var reader = await command.ExecuteReaderAsync(ct);
        var streams = new List<(string, string)>();
        while (await reader.ReadAsync(ct))
        {
            streams.Add((reader.GetString(0), reader.GetString(1)));
        }
        return streams;
    }

    async Task<long> Again(NpgsqlConnection connection, IReadModel model, RowTable target, List<(string Org, string Stream)> streams, CancellationToken ct)
    {
        var folded = 0L;
        foreach (var (org, stream) in streams)
        {
            await foreach (var page in Fold(connection, model, ct, (org, stream)))
            {
                await Write(connection, target, page, ct, gone: page.Keys);
                folded += page.Events;
            }
        }
        return folded;
    }

    /// <summary>What the model's deleted rows have left.</summary>
    async Task<Dictionary<(string Org, string Key), GoneRow>> Gone(NpgsqlConnection connection, IReadModel model, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand($"SELECT tenant_id, id, scope, owner, created, until FROM {schema}.{Schema.GoneRows} WHERE model = $1", connection)
        {
            Parameters = { Parameter.Text(model.Table) },
            CommandTimeout = 0,
        };
        await using var reader = await command.ExecuteReaderAsync(ct);
        var gone = new Dictionary<(string, string), GoneRow>();
        while (await reader.ReadAsync(ct))
        {
            string? Text(int i) => reader.IsDBNull(i) ? null : reader.GetString(i);
            gone.Add((reader.GetString(0), reader.GetString(1)), new(Text(2), Text(3), reader.GetInt64(4), reader.GetInt64(5)));
        }
        return gone;
    }

    static async Task Write(
        NpgsqlConnection connection, RowTable target, FoldedPage page, CancellationToken ct, IEnumerable<(string, string)>? gone = null)
    {
        var changes = new TableChanges();
        foreach (var key in gone ?? [])
        {
            changes.Gone.Add(key);
        }
        foreach (var ((org, key), row) in page.Rows)
        {
            changes.Add(org, new("", key, row.Version, row.Value), row.Created, row.Updated);
        }
        foreach (var (key, ended) in page.Ended)
        {
            changes.Ended.TryAdd(key, ended);
        }
        await using var batch = new NpgsqlBatch(connection) { Timeout = 0 };
        target.AddTo(batch.BatchCommands, changes);
        if (page.Ended.Count > 0)
        {
            batch.BatchCommands.Add(new($"INSERT INTO {EndedRows} SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING")
            {
                Parameters = { Parameter.Texts([.. page.Ended.Keys.Select(k => k.Org)]), Parameter.Texts([.. page.Ended.Keys.Select(k => k.Key)]) },
            });
        }
        if (batch.BatchCommands.Count > 0)
        {
            await batch.ExecuteNonQueryAsync(ct);
        }
    }

    /// <summary>Folds a model's streams one after another, a page of whole streams at a time.</summary>
    async IAsyncEnumerable<FoldedPage> Fold(
        NpgsqlConnection connection, IReadModel model, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct, (string Org, string Stream)? only = null)
    {
        var prefix = model.Aggregate + "-";
        var (org, stream, version) = only is { } one ? (one.Org, one.Stream, 0L) : ("", prefix, 0L);
        var rows = new Dictionary<string, (object? Row, long Made, long Updated, long Version)>();
        var page = new FoldedPage();
        RecordedEvent? last = null;
        var isExpired = false;
        while (true)
        {
            var events = await Page(connection, prefix, org, stream, version, only is not null, ct);
            foreach (var e in events)
            {
                if (last is not null && (last.Org != e.Org || last.Stream != e.Stream))
                {
                    Close();
                    isExpired = false;
                }
                if (e.Event is Tombstone && !isExpired)
                {
                    // The rows of the whole stream went with the data.
                    isExpired = true;
                    rows.Clear();
                    if (!model.Keyed)
                    {
                        rows[model.KeyOf(e)!] = default;
                    }
                }
                if (!isExpired && model.KeyOf(e) is { } key)
                {
                    var (before, made, _, _) = rows.GetValueOrDefault(key);
                    var row = model.Evolve(before, e);
                    rows[key] = (row, row is null ? 0 : before is null ? e.Position : made, e.Position, e.Version);
                    if (before is not null && row is null)
                    {
                        page.Ended.TryAdd((e.Org, key), (e.Position, new(made, e.Position, e.Version, model.Value(before))));
                    }
                }
                last = e;
                page.Events++;
            }
            if (events.Count < EventsPerPage)
            {
                if (last is not null)
                {
                    Close();
                }
                yield return page;
                yield break;
            }
            if (page.Keys.Count > 0)
            {
                yield return page;
                page = new();
            }
            (org, stream, version) = (last!.Org, last.Stream, last.Version);
        }

        void Close()
        {
            foreach (var (key, (row, made, updated, at)) in rows)
            {
                page.Keys.Add((last!.Org, key));
                if (row is not null)
                {
                    page.Rows.Add((last.Org, key), new(made, updated, at, model.Value(row)));
                }
            }
            rows.Clear();
        }
    }

    async Task<List<RecordedEvent>> Page(NpgsqlConnection connection, string prefix, string org, string stream, long version, bool only, CancellationToken ct)
    {
        var which = only ? "tenant_id = $1 AND stream_id = $2 AND version > $3" : "(tenant_id, stream_id, version) > ($1, $2, $3)";
        await using var command = new NpgsqlCommand(
            $"""
            SELECT version, id, type, data, timestamp, user_name, headers->>'hash', seq_id, correlation_id, causation_id, tenant_id, stream_id
            FROM {schema}.mt_events
            WHERE {which} AND starts_with(stream_id, $4) ORDER BY tenant_id, stream_id, version LIMIT {EventsPerPage}
            """,
            connection)
        {
            Parameters = { Parameter.Text(org), Parameter.Text(stream), Parameter.Long(version), Parameter.Text(prefix) },
            CommandTimeout = 0,
        };
        await using var reader = await command.ExecuteReaderAsync(ct);
        var events = new List<RecordedEvent>();
        while (await reader.ReadAsync(ct))
        {
            events.Add(EventLog.Event(reader, reader.GetString(10), reader.GetString(11), database.Subjects));
        }
        return events;
    }

    async Task<Dictionary<(string Org, string Key), LiveRow>> Live(NpgsqlConnection connection, IReadModel model, List<(string Org, string Key)> keys, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(
            $"""
            SELECT t.tenant_id, t.id, t.scope, t.status, t.created, t.updated, t.version, t.row
                {(model.Searched ? ", t.search" : model.KeepsHistory ? ", t.text, t.at, t.pieces" : "")}
            FROM unnest($1, $2) u (tenant_id, id) JOIN {schema}.{model.Table} t ON t.tenant_id = u.tenant_id AND t.id = u.id
            """,
            connection)
        {
            Parameters = { Parameter.Texts([.. keys.Select(k => k.Org)]), Parameter.Texts([.. keys.Select(k => k.Key)]) },
            CommandTimeout = 0,
        };
        await using var reader = await command.ExecuteReaderAsync(ct);
        var live = new Dictionary<(string, string), LiveRow>();
        while (await reader.ReadAsync(ct))
        {
            string? Text(int i) => reader.IsDBNull(i) ? null : reader.GetString(i);
            live.Add(
                (reader.GetString(0), reader.GetString(1)),
                new(Text(2), Text(3), reader.GetInt64(4), reader.GetInt64(5), reader.GetInt64(6), reader.GetFieldValue<byte[]>(7), model.Searched ? Text(8) : null,
                    model.KeepsHistory ? new(reader.GetInt64(9), reader.GetString(8)) : null, model.KeepsHistory ? reader.GetFieldValue<long[]>(10) : null));
        }
        return live;
    }

    static bool Same(string org, IReadModel model, RowWrite? made, LiveRow? live) => (made, live) switch
    {
        (null, null) => true,
        (null, _) or (_, null) => false,
        var (m, l) => m.Value.Scope == l.Scope && m.Value.Status == l.Status && m.Created == l.Created && m.Updated == l.Updated && m.Version == l.Version
            && m.Value.Json.Span.SequenceEqual(l.Json) && (!model.Searched || SearchTerms.Of(model, org, m.Value) == l.Search) && m.Value.Place == l.Place
            && (l.Pieces is null || PartsOfWords.Pieces(org, m.Value.Scope, m.Value.Place!.Text).SequenceEqual(l.Pieces)),
    };

    sealed record LiveRow(string? Scope, string? Status, long Created, long Updated, long Version, byte[] Json, string? Search, RowPlace? Place, long[]? Pieces);

    /// <summary>What a deleted row has left.</summary>
    readonly record struct GoneRow(string? Scope, string? Owner, long Created, long Until);

    /// <summary>Whole streams' worth of folding.</summary>
    sealed class FoldedPage
    {
        public List<(string Org, string Key)> Keys { get; } = [];

        public Dictionary<(string Org, string Key), RowWrite> Rows { get; } = [];

        /// <summary>Rows that an event took away, as they were before it.</summary>
        public Dictionary<(string Org, string Key), (long Until, RowWrite? Was)> Ended { get; } = [];

        public long Events { get; set; }
    }
}
