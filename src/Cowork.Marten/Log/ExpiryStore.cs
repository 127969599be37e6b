using Cowork.Application;
using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>Finds what may expire, and puts tombstones in its place.</summary>
sealed class ExpiryStore(Database database, IReadOnlyList<IRowModel> models) : IExpiryStore
{
    /// <summary>Seconds: it reads all of a session's events, or of the log.</summary>
    const int ReadTimeout = 600;

    readonly string s = database.Schema;
    readonly IReadModel[] inline = [.. models.OfType<IReadModel>()];
    readonly IAsyncProjection[] projections = [.. models.OfType<IAsyncProjection>()];
    readonly HashSet<string> counted = [.. models.OfType<IAsyncProjection>().Where(m => m.CountsStored).SelectMany(m => m.Types)];

    /// <summary>The events that a stream's expiry names, with their place <c>at</c> among them. The tenant is the first parameter, the stream or the session the second.</summary>
    string From(string stream) => ExpiryRemoval.SessionOf(stream) is null
        ? $"(SELECT version AS at, * FROM {s}.mt_events WHERE tenant_id = $1 AND stream_id = $2) e"
        : $"""
            (SELECT f.feed_id AS at, l.* FROM {s}.feed f JOIN {s}.mt_events l ON l.seq_id = f.gid
            WHERE f.tenant_id = $1 AND f.session_id = $2 AND {ExpirySchema.IsOfSession("l.stream_id")}) e
            """;

    static NpgsqlParameter Key(string stream) => Parameter.Text(ExpiryRemoval.SessionOf(stream) is { } session ? session.Value : stream);

    public ValueTask<DateTimeOffset> Now(CancellationToken ct) => database.WithReconnect(
        ScopedConnection.Everyone,
        async connection => new DateTimeOffset((DateTime)(await connection.Ask(new("SELECT clock_timestamp()"), ct))!),
        ct);

    public ValueTask<IReadOnlyList<string>> Tenants(CancellationToken ct) => Texts(
        ScopedConnection.Everyone,
        new($"""
            WITH RECURSIVE t AS (
                (SELECT tenant_id FROM {s}.mt_streams ORDER BY tenant_id LIMIT 1)
                UNION ALL SELECT (SELECT m.tenant_id FROM {s}.mt_streams m WHERE m.tenant_id > t.tenant_id ORDER BY m.tenant_id LIMIT 1) FROM t WHERE t.tenant_id IS NOT NULL)
            SELECT tenant_id FROM t WHERE tenant_id IS NOT NULL
            """),
        ct);

    public ValueTask<IReadOnlyList<string>> Quiet(string org, string aggregate, string after, DateTimeOffset before, int max, CancellationToken ct) => Texts(
        org,
        new($"""
            SELECT t.id FROM {s}.mt_streams t WHERE t.tenant_id = $1 AND t.id > $2 AND starts_with(t.id, $3) AND t.timestamp <= $4
                AND (SELECT e.type FROM {s}.mt_events e WHERE e.tenant_id = t.tenant_id AND e.stream_id = t.id AND e.version = t.version) <> ALL ($5)
            ORDER BY t.id LIMIT $6
            """)
        {
            Parameters =
            {
                Parameter.Text(org), Parameter.Text(after), Parameter.Text(aggregate + "-"), Parameter.Time(before), Parameter.Texts([.. ExpirySchema.Removals]),
                Parameter.Long(max),
            },
        },
        ct);

    public ValueTask<DateTimeOffset?> LastAt(string org, string stream, CancellationToken ct) => database.WithReconnect<DateTimeOffset?>(
        org,
        async connection =>
        {
            var sql = ExpiryRemoval.SessionOf(stream) is null
                ? $"SELECT timestamp FROM {s}.mt_events WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1"
                : $"""
                    SELECT e.timestamp FROM {s}.feed f JOIN {s}.mt_events e ON e.seq_id = f.gid WHERE f.tenant_id = $1 AND f.session_id = $2
                    ORDER BY f.feed_id DESC LIMIT 1
                    """;
            return await connection.Ask(new(sql) { Parameters = { Parameter.Text(org), Key(stream) } }, ct) is DateTime at ? new DateTimeOffset(at) : null;
        },
        ct);

    public ValueTask<NamedEvents?> Named(string org, string stream, CancellationToken ct) => database.WithReconnect<NamedEvents?>(
        org,
        async connection =>
        {
            var read = new NpgsqlBatchCommand(
                $"""
                SELECT e.at, e.seq_id, e.stream_id, e.version, e.id, e.type, e.timestamp, coalesce(e.user_name, ''), coalesce(e.headers->>'hash', '')
                FROM {From(stream)} ORDER BY e.at
                """)
            {
                Parameters = { Parameter.Text(org), Key(stream) },
            };
            using var digest = new ExpiredDigest();
            var through = 0L;
            await using (var reader = await connection.Read(read, ReadTimeout, ct))
            {
                while (await reader.ReadAsync(ct))
                {
                    through = reader.GetInt64(0);
                    digest.Add(
                        reader.GetInt64(1), reader.GetString(2), reader.GetInt64(3), reader.GetGuid(4), reader.GetString(5), new(reader.GetDateTime(6)), reader.GetString(7),
                        reader.GetString(8));
                }
            }
            return digest.Events == 0 ? null : new(through, digest.Events, digest.Hex(), await LastAt(org, stream, ct) ?? default);
        },
        ct);

    public ValueTask<long?> ExpiredAt(string org, string stream, CancellationToken ct) =>
        database.WithReconnect(org, async connection => (await Authority(connection, org, stream, ct))?.Position, ct);

    public ValueTask<Removal> Remove(string org, string stream, long after, int max, CancellationToken ct) => database.WithReconnect<Removal>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var transaction = await connection.Begin(ct);
            if (await Authority(connection, org, stream, ct) is not { } authority)
            {
                return new(RemovalStep.Done, 0, after);
            }
            if (!await ModelsAreReady(connection, authority.Position, ct))
            {
                return new(RemovalStep.Later, 0, after);
            }
            if (await connection.Ask(new($"SELECT {s}.why_kept($1, $2)") { Parameters = { Parameter.Text(org), Parameter.Long(authority.Position) } }, ct) is string)
            {
                return new(RemovalStep.Kept, 0, after);
            }
            var events = new List<RecordedEvent>();
            var through = after;
            var read = 0;
            var page = new NpgsqlBatchCommand(
                $"""
                SELECT e.version, e.id, e.type, e.data, e.timestamp, e.user_name, e.headers->>'hash', e.seq_id, e.correlation_id, e.causation_id, e.stream_id, e.at
                FROM {From(stream)} WHERE e.at > $3 AND e.at <= $4 ORDER BY e.at LIMIT $5
                """)
            {
                Parameters = { Parameter.Text(org), Key(stream), Parameter.Long(after), Parameter.Long(authority.Through), Parameter.Long(max) },
            };
            await using (var reader = await connection.Read(page, ReadTimeout, ct))
            {
                while (await reader.ReadAsync(ct))
                {
                    (read, through) = (read + 1, reader.GetInt64(11));
                    if (EventLog.Event(reader, org, reader.GetString(10), database.Subjects) is { Event: not Tombstone } e)
                    {
                        events.Add(e with { Data = CanonicalJson.Of(e.Data.Span) });
                    }
                }
            }
            if (events.Count > 0)
            {
                await Replace(connection, org, authority.Position, events, ct);
            }
            await transaction.CommitAsync(ct);
            return new(read < max ? RemovalStep.Done : RemovalStep.Further, events.Count, through);
        },
        ct);

    public ValueTask<RemovedFigures> Figures(string org, string stream, CancellationToken ct) => database.WithReconnect<RemovedFigures>(
        org,
        async connection =>
        {
            var read = new NpgsqlBatchCommand($"SELECT e.data, e.timestamp FROM {From(stream)} WHERE e.data ? 'tombstone' ORDER BY e.at")
            {
                Parameters = { Parameter.Text(org), Key(stream) },
            };
            await using var reader = await connection.Read(read, ReadTimeout, ct);
            using var digest = new TombstoneDigest();
            var (bytes, blobs) = (0L, 0L);
            while (await reader.ReadAsync(ct))
            {
                var stone = Tombstones.Read(CanonicalJson.Of(reader.GetFieldValue<byte[]>(0)), new(reader.GetDateTime(1)));
                digest.Add(stone);
                (bytes, blobs) = (bytes + stone.Bytes, blobs + stone.Blobs);
            }
            return new(digest.Count, bytes, blobs, digest.Hex());
        },
        ct);

    public ValueTask<IReadOnlyList<ExpiredBlob>> Blobs(DateTimeOffset before, int max, CancellationToken ct) => database.WithReconnect<IReadOnlyList<ExpiredBlob>>(
        ScopedConnection.Everyone,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct,
                new NpgsqlBatchCommand(
                    $"""
                    SELECT sha256, max(withdrawn), string_agg(xmin::text, ' ') FROM {s}.{ExpirySchema.Blobs} WHERE withdrawn IS NULL OR withdrawn <= $1
                    GROUP BY sha256 ORDER BY sha256 LIMIT $2
                    """)
                {
                    Parameters = { Parameter.Time(before), Parameter.Long(max) },
                });
            var found = new List<ExpiredBlob>();
            while (await reader.ReadAsync(ct))
            {
                found.Add(new(reader.GetString(0), await reader.IsDBNullAsync(1, ct) ? null : new DateTimeOffset(reader.GetDateTime(1)), reader.GetString(2)));
            }
            return found;
        },
        ct);

    public ValueTask<IReadOnlySet<string>> StillNamed(IReadOnlyCollection<string> digests, CancellationToken ct) => database.WithReconnect<IReadOnlySet<string>>(
        ScopedConnection.Everyone,
        async connection =>
        {
            var search = new NpgsqlBatchCommand(
                $"""
                SELECT DISTINCT d #>> '{"{}"}' FROM {s}.mt_events e CROSS JOIN LATERAL jsonb_path_query(e.data, 'lax $.**.sha256') d
                WHERE jsonb_typeof(d) = 'string' AND d #>> '{"{}"}' = ANY ($1)
                """)
            {
                Parameters = { Parameter.Texts([.. digests]) },
            };
            var found = new HashSet<string>(StringComparer.Ordinal);
            await using (var reader = await connection.Read(search, timeout: 0, ct))
            {
                while (await reader.ReadAsync(ct))
                {
                    found.Add(reader.GetString(0));
                }
            }
            // The connection reads one thing at a time.
            await FindSealed(connection, digests, found, ct);
            return found;
        },
        ct);

    /// <summary>Adds those that only sealed texts name. What sealed texts name and is sealed itself has its digest beside them.</summary>
    async Task FindSealed(ScopedConnection connection, IReadOnlyCollection<string> digests, HashSet<string> found, CancellationToken ct)
    {
        var search = new NpgsqlBatchCommand(
            $"""
            SELECT e.version, e.type, e.data, e.tenant_id, e.stream_id
            FROM (SELECT DISTINCT tenant_id, stream_id FROM {s}.subject_streams) t JOIN {s}.mt_events e USING (tenant_id, stream_id)
            """);
        await using var reader = await connection.Read(search, timeout: 0, ct);
        while (await reader.ReadAsync(ct))
        {
            var data = reader.GetFieldValue<byte[]>(2);
            if (EventSeal.MayBeSealed(data))
            {
                var open = EventSeal.Open(data, reader.GetString(1), new(reader.GetString(3), reader.GetString(4), reader.GetInt64(0)), database.Subjects);
                found.UnionWith(BlobContent.NamedBy([open.Data]).Where(digests.Contains));
            }
        }
    }

    public ValueTask Note(IReadOnlyCollection<string> digests, DateTimeOffset at, CancellationToken ct) => Write(
        digests,
        [
            new($"UPDATE {s}.{ExpirySchema.Blobs} SET withdrawn = $2 WHERE sha256 = ANY ($1)") { Parameters = { Parameter.Texts([.. digests]), Parameter.Time(at) } },
        ],
        ct);

    public ValueTask Forget(IReadOnlyCollection<ExpiredBlob> blobs, CancellationToken ct) => Write(
        blobs,
        [
            // A removal that is under way has the row, and this waits for it and compares again.
            new($"""
                DELETE FROM {s}.{ExpirySchema.Blobs} b USING unnest($1, $2) n (sha256, revision)
                WHERE b.sha256 = n.sha256 AND b.xmin::text = ANY (string_to_array(n.revision, ' '))
                """)
            {
                Parameters = { Parameter.Texts([.. blobs.Select(blob => blob.Sha256)]), Parameter.Texts([.. blobs.Select(blob => blob.Revision)]) },
            },
        ],
        ct);

    public ValueTask Drop(IReadOnlyCollection<string> digests, CancellationToken ct) => Write(
        digests,
        [
            new($"DELETE FROM {s}.{ExpirySchema.Blobs} WHERE sha256 = ANY ($1)") { Parameters = { Parameter.Texts([.. digests]) } },
            new($"DELETE FROM {s}.subject_blobs WHERE stored = ANY ($1)") { Parameters = { Parameter.Texts([.. digests]) } },
        ],
        ct);

    /// <summary>Executes statements about blobs, if there are any.</summary>
    async ValueTask Write<T>(IReadOnlyCollection<T> about, IReadOnlyList<NpgsqlBatchCommand> statements, CancellationToken ct)
    {
        if (about.Count > 0)
        {
            await database.WithReconnect(ScopedConnection.Everyone, async connection => await connection.Execute(statements, ct), ct);
        }
    }

    async Task<(long Position, long Through)?> Authority(ScopedConnection connection, string org, string stream, CancellationToken ct)
    {
        await using var reader = await connection.Read(
            ct,
            new NpgsqlBatchCommand(
                $"""
                SELECT seq_id, (data->'expired'->>'through')::bigint FROM {s}.mt_events WHERE tenant_id = $1 AND stream_id = $2 AND type = ANY ($3)
                ORDER BY version DESC LIMIT 1
                """)
            {
                Parameters = { Parameter.Text(org), Parameter.Text(stream), Parameter.Texts([.. ExpirySchema.Authorities.Select(a => a.Type)]) },
            });
        return await reader.ReadAsync(ct) ? (reader.GetInt64(0), reader.GetInt64(1)) : null;
    }

    /// <summary>
    /// False: a model that follows the log has not folded what is to go, or a table is made anew beside the live one and would bring the rows back.
    /// </summary>
    async Task<bool> ModelsAreReady(ScopedConnection connection, long position, CancellationToken ct)
    {
        var ask = new NpgsqlBatchCommand(
            $"""
            SELECT coalesce(bool_and(pg_try_advisory_xact_lock_shared(hashtextextended('cowork rebuild {s}.' || t, 0))), true)
                AND NOT EXISTS (SELECT FROM (SELECT last_seq_id FROM {s}.mt_event_progression WHERE name = ANY ($2)) p WHERE p.last_seq_id < $3)
            FROM unnest($1) t
            """)
        {
            Parameters =
            {
                Parameter.Texts([.. models.Select(m => m.Table)]), Parameter.Texts([.. projections.Select(m => AsyncProjectionStore.NameOf(m.Table))]),
                Parameter.Long(position),
            },
        };
        return await connection.Ask(ask, ct) is true;
    }

    async Task Replace(ScopedConnection connection, string org, long by, List<RecordedEvent> events, CancellationToken ct)
    {
        var stones = events.Select(e => System.Text.Encoding.UTF8.GetString(Tombstones.Write(Tombstones.Of(e, by, counted.Contains(e.Type))))).ToArray();
        var streams = events.Select(e => e.Stream).Distinct().ToArray();
        var statements = new List<NpgsqlBatchCommand>
        {
            new($"SELECT {s}.expire_events($1, $2, $3)")
            {
                Parameters =
                {
                    Parameter.Text(org), Parameter.Longs([.. events.Select(e => e.Position)]),
                    new NpgsqlParameter<string[]> { TypedValue = stones, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Jsonb },
                },
            },
            new($"DELETE FROM {s}.snapshots WHERE tenant_id = $1 AND stream_id = ANY ($2)") { Parameters = { Parameter.Text(org), Parameter.Texts(streams) } },
        };
        foreach (var model in inline)
        {
            if (events.Where(e => e.Stream.StartsWith(model.Aggregate + "-", StringComparison.Ordinal)).Select(model.KeyOf).OfType<string>().Distinct().ToArray() is [_, ..] keys)
            {
                statements.Add(Delete(model.Table, org, keys));
                if (model.OwnerMember is not null)
                {
                    statements.Add(new($"DELETE FROM {s}.{Schema.GoneRows} WHERE tenant_id = $1 AND model = '{model.Table}' AND id = ANY ($2)")
                    {
                        Parameters = { Parameter.Text(org), Parameter.Texts(keys) },
                    });
                }
                if (model.KeepsHistory)
                {
                    statements.Add(Delete(Schema.PastOf(model.Table), org, keys));
                }
            }
        }
        foreach (var model in projections)
        {
            if (events.Where(e => model.Types.Contains(e.Type)).SelectMany(model.OwnedBy).Select(key => key.Key).Distinct().ToArray() is [_, ..] keys)
            {
                statements.Add(Delete(model.Table, org, keys));
            }
        }
        if (BlobContent.NamedBy(events.Select(e => e.Data)) is { Count: > 0 } named)
        {
            // In one order, so that two removals wait for each other and never both.
            statements.Add(new(ExpirySchema.NoteRemoved(s)) { Parameters = { Parameter.Text(org), Parameter.Texts([.. named.Order(StringComparer.Ordinal)]) } });
        }
        await connection.Execute(statements, ct, ReadTimeout);
    }

    NpgsqlBatchCommand Delete(string table, string org, string[] keys) =>
        new($"DELETE FROM {s}.{table} WHERE tenant_id = $1 AND id = ANY ($2)") { Parameters = { Parameter.Text(org), Parameter.Texts(keys) } };

    ValueTask<IReadOnlyList<string>> Texts(string scope, NpgsqlBatchCommand statement, CancellationToken ct) => database.WithReconnect<IReadOnlyList<string>>(
        scope,
        async connection =>
        {
            await using var reader = await connection.Read(statement, ReadTimeout, ct);
            var found = new List<string>();
            while (await reader.ReadAsync(ct))
            {
                found.Add(reader.GetString(0));
            }
            return found;
        },
        ct);
}
