using System.Runtime.CompilerServices;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>Reads the log; what is written goes through the <see cref="EventWriter"/>.</summary>
sealed class EventLog(Database database, EventWriter writer) : IEventLog
{
    public IContentKeys? Keys => database.Subjects;

    const int ScanPage = 1_000;

    const string FeedColumns =
        "e.seq_id, e.tenant_id, e.id, e.type, e.timestamp, e.stream_id, e.version, e.headers->>'hash', e.user_name, e.data, e.correlation_id, e.causation_id";

    readonly string load = $"""
        SELECT version, id, type, CASE WHEN version > $3 THEN data END, timestamp, user_name, headers->>'hash', seq_id, correlation_id, causation_id
        FROM {database.Schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2 AND version >= $3 ORDER BY version LIMIT $4
        """;

    readonly string last = $"SELECT version, headers->>'hash' FROM {database.Schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1";

    readonly string sessionFeed = $"""
        SELECT {FeedColumns}, f.feed_id, f.session_id, f.run_id FROM {database.Schema}.feed f JOIN {database.Schema}.mt_events e ON e.seq_id = f.gid
        WHERE f.tenant_id = $1 AND f.session_id = $2 AND f.feed_id > $3 ORDER BY f.feed_id LIMIT $4
        """;

    readonly string sessionHead =
        $"SELECT feed_id FROM {database.Schema}.feed WHERE tenant_id = $1 AND session_id = $2 ORDER BY feed_id DESC LIMIT 1";

    readonly string tenantFeed = $"""
        SELECT {FeedColumns}, 0::bigint, e.headers->>'session', e.headers->>'run' FROM {database.Schema}.mt_events e
        WHERE e.tenant_id = $1 AND e.seq_id > $2 ORDER BY e.seq_id LIMIT $3
        """;

    readonly string head = $"SELECT gid FROM {database.Schema}.head";

    readonly string ofRun = $"""
        SELECT {FeedColumns}, f.feed_id, f.session_id, f.run_id FROM {database.Schema}.feed f JOIN {database.Schema}.mt_events e ON e.seq_id = f.gid
        WHERE f.tenant_id = $1 AND f.session_id = $2 AND f.run_id = $3 AND f.feed_id > $4 ORDER BY f.feed_id LIMIT $5
        """;

    readonly string feedOfRun = $"""
        SELECT {FeedColumns}, f.feed_id, f.session_id, f.run_id FROM {database.Schema}.feed f JOIN {database.Schema}.mt_events e ON e.seq_id = f.gid
        WHERE f.tenant_id = $1 AND f.session_id = $2 AND f.feed_id > $3 AND f.feed_id <= $3 + {IEventLog.FeedWindow} AND f.run_id = $5 ORDER BY f.feed_id LIMIT $4
        """;

    readonly string scan = $"""
        SELECT version, id, type, data, timestamp, user_name, headers->>'hash', seq_id, correlation_id, causation_id, tenant_id, stream_id
        FROM {database.Schema}.mt_events WHERE seq_id > $1 ORDER BY seq_id LIMIT {ScanPage}
        """;

    public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => writer.Append(commit, ct);

    public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct) => database.WithReconnect<StreamSlice>(
        org,
        async connection =>
        {
            var (version, hash) = (0L, HashChain.Root);
            var events = new List<RecordedEvent>();
            var statement = new NpgsqlBatchCommand(load)
            {
                // The event before the first comes along for its hash.
                Parameters = { Parameter.Text(org), Parameter.Text(stream), Parameter.Long(after), Parameter.Long(after > 0 ? (long)max + 1 : max) },
            };
            await using (var reader = await connection.Read(ct, statement))
            {
                while (await reader.ReadAsync(ct))
                {
                    (version, hash) = (reader.GetInt64(0), HashOrRoot(reader, 6));
                    if (version > after)
                    {
                        events.Add(Event(reader, org, stream, database.Subjects));
                    }
                }
            }
            if (version == 0 && after > 0)
            {
                // There are fewer events than the caller thinks.
                await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(last) { Parameters = { Parameter.Text(org), Parameter.Text(stream) } });
                if (await reader.ReadAsync(ct))
                {
                    (version, hash) = (reader.GetInt64(0), HashOrRoot(reader, 1));
                }
            }
            return new(version, hash, events);
        },
        ct);

    public ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct) => database.WithReconnect<FeedPage>(
        org,
        async connection =>
        {
            NpgsqlBatchCommand[] statements = session is not { } of
                ? [new(tenantFeed) { Parameters = { Parameter.Text(org), Parameter.Long(after), Parameter.Long(max) } }, new(head)]
                :
                [
                    new(sessionFeed) { Parameters = { Parameter.Text(org), Parameter.Text(of.Value), Parameter.Long(after), Parameter.Long(max) } },
                    new(sessionHead) { Parameters = { Parameter.Text(org), Parameter.Text(of.Value) } },
                ];
            await using var reader = await connection.Read(ct, statements);
            var (entries, isCut) = await Entries(reader, PageBytes.Max, ct);
            await reader.NextResultAsync(ct);
            return new(entries, await reader.ReadAsync(ct) ? reader.GetInt64(0) : 0, isCut);
        },
        ct);

    public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct) => database.WithReconnect<FeedPage>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct,
                new(feedOfRun)
                {
                    Parameters = { Parameter.Text(org), Parameter.Text(session.Value), Parameter.Long(after), Parameter.Long(max), Parameter.Text(run.Value) },
                },
                new(sessionHead) { Parameters = { Parameter.Text(org), Parameter.Text(session.Value) } });
            var (entries, isCut) = await Entries(reader, PageBytes.Max, ct);
            await reader.NextResultAsync(ct);
            return new(entries, await reader.ReadAsync(ct) ? reader.GetInt64(0) : 0, isCut);
        },
        ct);

    public ValueTask<IReadOnlyList<FeedEntry>> OfRun(
        string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue) => database.WithReconnect<IReadOnlyList<FeedEntry>>(
        org,
        async connection =>
        {
            await using var reader = await connection.Read(
                ct,
                new NpgsqlBatchCommand(ofRun)
                {
                    Parameters = { Parameter.Text(org), Parameter.Text(session.Value), Parameter.Text(run.Value), Parameter.Long(after), Parameter.Long(max) },
                });
            return (await Entries(reader, max == int.MaxValue ? long.MaxValue : PageBytes.Max, ct)).Entries;
        },
        ct);

    public async IAsyncEnumerable<RecordedEvent> Scan(long after, [EnumeratorCancellation] CancellationToken ct)
    {
        while (true)
        {
            var from = after;
            var page = await database.WithReconnect(
                ScopedConnection.Everyone,
                async connection =>
                {
                    await using var reader = await connection.Read(ct, new NpgsqlBatchCommand(scan) { Parameters = { Parameter.Long(from) } });
                    var events = new List<RecordedEvent>();
                    while (await reader.ReadAsync(ct))
                    {
                        events.Add(Event(reader, reader.GetString(10), reader.GetString(11), database.Subjects));
                    }
                    return events;
                },
                ct);
            foreach (var e in page)
            {
                yield return e;
            }
            if (page.Count < ScanPage)
            {
                yield break;
            }
            after = page[^1].Position;
        }
    }

    /// <summary>An event from columns in the order of <see cref="load"/>.</summary>
    internal static RecordedEvent Event(NpgsqlDataReader reader, string org, string stream, IContentKeys keys)
    {
        var type = reader.GetString(2);
        var data = reader.GetFieldValue<byte[]>(3);
        var at = new DateTimeOffset(reader.GetDateTime(4));
        var open = EventSeal.MayBeSealed(data) ? EventSeal.Open(data, type, new(org, stream, reader.GetInt64(0)), keys).Data : data;
        return new(
            org, stream, reader.GetInt64(0), reader.GetGuid(1), type, EventJson.ReadStored(type, open, at), data, at,
            reader.IsDBNull(5) ? "" : reader.GetString(5), reader.IsDBNull(6) ? "" : reader.GetString(6), reader.GetInt64(7),
            reader.IsDBNull(8) ? null : reader.GetString(8), reader.IsDBNull(9) ? null : reader.GetString(9));
    }

    /// <summary>An event that another program wrote has no hash: the chain begins after it.</summary>
    static string HashOrRoot(NpgsqlDataReader reader, int column) => reader.IsDBNull(column) ? HashChain.Root : reader.GetString(column);

    /// <summary>Reads entries up to a number of bytes, and at least one.</summary>
    async Task<(IReadOnlyList<FeedEntry> Entries, bool IsCut)> Entries(NpgsqlDataReader reader, long bytesMax, CancellationToken ct)
    {
        var entries = new List<FeedEntry>();
        var bytes = 0L;
        while (await reader.ReadAsync(ct))
        {
            if (bytes > bytesMax)
            {
                return (entries, true);
            }
            // jsonb orders members its own way; a reader gets the same bytes as one who was told while it was written.
            var data = CanonicalJson.Of(reader.GetFieldValue<byte[]>(9));
            bytes += data.Length;
            entries.Add(new(
                reader.GetInt64(12), reader.GetInt64(0), reader.GetString(1), reader.IsDBNull(13) ? null : new SessionKey(reader.GetString(13)),
                reader.IsDBNull(14) ? null : new RunKey(reader.GetString(14)), reader.GetGuid(2), reader.GetString(3), new(reader.GetDateTime(4)),
                reader.GetString(5), reader.GetInt64(6), reader.IsDBNull(7) ? "" : reader.GetString(7), reader.IsDBNull(8) ? "" : reader.GetString(8),
                data, reader.IsDBNull(10) ? null : reader.GetString(10), reader.IsDBNull(11) ? null : reader.GetString(11))
            {
                Keys = database.Subjects,
            });
        }
        return (entries, false);
    }
}
