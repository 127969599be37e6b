using System.Globalization;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Events whose data expired. A tombstone stands only where a later event names it; what stays of the events that one names has its digest; and once an event says that the
/// data is gone, none of it is there.
/// </summary>
public sealed partial class LogVerifier
{
    const int AuthoritiesMax = 10_000;

    readonly List<(long Position, string Org, string Stream, long Version, string? Session, long By)> stones = [];
    readonly List<(long Position, string Org, string Stream, string? Session, IExpiryEvent Expiry)> expiries = [];
    readonly List<(long Position, string Org, string Stream, IRemovalEvent Removal)> removals = [];
    readonly Dictionary<long, Expiry?> authorities = [];

    /// <summary>Notes what is judged when the page is read.</summary>
    /// <exception cref="JsonException">The data is not of its shape.</exception>
    void Remember(long position, string org, string stream, long version, string type, string? inFeed, ReadOnlySpan<byte> data, DateTimeOffset at)
    {
        if (Tombstones.Is(data))
        {
            stones.Add((position, org, stream, version, inFeed, Tombstones.Read(data, at).By));
        }
        else
        {
            switch (EventJson.Read(type, data, at))
            {
                case IExpiryEvent expiry:
                    expiries.Add((position, org, stream, inFeed, expiry));
                    break;
                case IRemovalEvent removal:
                    removals.Add((position, org, stream, removal));
                    break;
            }
        }
    }

    /// <summary>Judges what the page had of expired data.</summary>
    async Task Judge(CancellationToken ct)
    {
        foreach (var stone in stones)
        {
            if (await AuthorityAt(stone.By, ct) is not { } by || !by.Names(stone.Position, stone.Org, stone.Stream, stone.Version, stone.Session, await FeedIdOf(stone, by, ct)))
            {
                Fault(stone.Position, "Its data is gone, and no event of the log says that it expired.", stone.Stream);
            }
            else
            {
                expired++;
            }
        }
        foreach (var (position, org, stream, inFeed, expiry) in expiries)
        {
            await Compare(position, org, stream, inFeed, expiry.Expired, ct);
        }
        foreach (var (position, org, stream, removal) in removals)
        {
            await Gone(position, org, stream, removal, ct);
        }
        stones.Clear();
        expiries.Clear();
        removals.Clear();
    }

    async ValueTask<long> FeedIdOf((long Position, string Org, string Stream, long Version, string? Session, long By) stone, Expiry by, CancellationToken ct)
    {
        if (by.Session is null)
        {
            return 0;
        }
        await using var ask = new NpgsqlCommand($"SELECT feed_id FROM {schema}.feed WHERE tenant_id = $1 AND session_id = $2 AND gid = $3", connection)
        {
            Parameters = { Parameter.Text(stone.Org), Parameter.Text(by.Session), Parameter.Long(stone.Position) },
        };
        return await ask.ExecuteScalarAsync(ct) is long feedId ? feedId : long.MaxValue;
    }

    /// <summary>The event at a position, if data expires by it; null: it is another one.</summary>
    async ValueTask<Expiry?> AuthorityAt(long position, CancellationToken ct)
    {
        if (authorities.TryGetValue(position, out var known))
        {
            return known;
        }
        if (authorities.Count >= AuthoritiesMax)
        {
            authorities.Clear();
        }
        await using var ask = new NpgsqlCommand(
            $"SELECT tenant_id, stream_id, version, type, data::text, headers->>'session' FROM {schema}.mt_events WHERE seq_id = $1", connection)
        {
            Parameters = { Parameter.Long(position) },
        };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        Expiry? found = null;
        if (await reader.ReadAsync(ct)
            && ExpirySchema.Authorities.Any(a => a.Type == reader.GetString(3) && reader.GetString(1).StartsWith(a.Aggregate + "-", StringComparison.Ordinal)))
        {
            try
            {
                if (EventJson.Read(reader.GetString(3), Encoding.UTF8.GetBytes(reader.GetString(4)), default) is IExpiryEvent { Expired: { } said })
                {
                    var session = Text(reader, 5);
                    found = session is null || reader.GetString(1) == $"{Session.Aggregate.Name}-{session}"
                        ? new(position, reader.GetString(0), reader.GetString(1), reader.GetInt64(2), session, said.Through)
                        : null;
                }
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
            {
                // The event is judged where it lies; one that cannot be read lets nothing expire.
            }
        }
        return authorities[position] = found;
    }

    /// <summary>Compares what stays of the events that an event lets expire with the digest that it has.</summary>
    async Task Compare(long position, string org, string stream, string? inFeed, ExpiredEvents said, CancellationToken ct)
    {
        using var digest = new ExpiredDigest();
        var first = 0L;
        await using var ask = new NpgsqlCommand(
            $"SELECT e.seq_id, e.stream_id, e.version, e.id, e.type, e.timestamp, coalesce(e.user_name, ''), coalesce(e.headers->>'hash', '') FROM {Named(inFeed)} ORDER BY e.at",
            connection)
        {
            Parameters = { Parameter.Text(org), Parameter.Text(inFeed ?? stream), Parameter.Long(said.Through) },
            CommandTimeout = 0,
        };
        await using (var reader = await ask.ExecuteReaderAsync(ct))
        {
            while (await reader.ReadAsync(ct))
            {
                first = first == 0 ? reader.GetInt64(0) : first;
                digest.Add(
                    reader.GetInt64(0), reader.GetString(1), reader.GetInt64(2), reader.GetGuid(3), reader.GetString(4), new(reader.GetDateTime(5)), reader.GetString(6),
                    reader.GetString(7));
            }
        }
        if (digest.Events != said.Events || digest.Hex() != said.Digest)
        {
            faults.Add(new(
                first == 0 ? position : Math.Min(first, position), position,
                string.Create(CultureInfo.InvariantCulture, $"What stays of the {said.Events} events whose data expired by event {position} is not what it was."))
            {
                Stream = stream,
            });
        }
    }

    /// <summary>Looks for data that came back after an event said that it is gone, and compares the tombstones in its place with the digest that the event has.</summary>
    async Task Gone(long position, string org, string stream, IRemovalEvent said, CancellationToken ct)
    {
        await using var last = new NpgsqlCommand(
            $"""
            SELECT (data->'expired'->>'through')::bigint, headers->>'session' FROM {schema}.mt_events
            WHERE tenant_id = $1 AND stream_id = $2 AND type = ANY ($3) AND seq_id < $4 ORDER BY version DESC LIMIT 1
            """,
            connection)
        {
            Parameters =
            {
                Parameter.Text(org), Parameter.Text(stream), Parameter.Texts([.. ExpirySchema.Authorities.Select(a => a.Type)]), Parameter.Long(position),
            },
        };
        (long Through, string? Session)? named = null;
        await using (var reader = await last.ExecuteReaderAsync(ct))
        {
            if (await reader.ReadAsync(ct) && !await reader.IsDBNullAsync(0, ct))
            {
                named = (reader.GetInt64(0), Text(reader, 1));
            }
        }
        if (named is not { } of)
        {
            Fault(position, "It says that data is gone which no event let expire.", stream);
            return;
        }
        await using var back = new NpgsqlCommand($"SELECT e.seq_id, e.stream_id, e.data::text, e.timestamp FROM {Named(of.Session)} ORDER BY e.at", connection)
        {
            Parameters = { Parameter.Text(org), Parameter.Text(of.Session ?? stream), Parameter.Long(of.Through) },
            CommandTimeout = 0,
        };
        using var digest = new TombstoneDigest();
        var first = position;
        await using var found = await back.ExecuteReaderAsync(ct);
        while (await found.ReadAsync(ct))
        {
            var data = CanonicalJson.Of(Encoding.UTF8.GetBytes(found.GetString(2)));
            if (!Tombstones.Is(data))
            {
                Fault(found.GetInt64(0), "Its data expired and was removed, and is there.", found.GetString(1));
                return;
            }
            try
            {
                digest.Add(Tombstones.Read(data, new(found.GetDateTime(3))));
            }
            catch (JsonException)
            {
                // It is judged where it lies.
                return;
            }
            first = Math.Min(first, found.GetInt64(0));
        }
        if (said.TombstonesSha256 is { } tombstones && (tombstones, said.Events) != (digest.Hex(), digest.Count))
        {
            faults.Add(new(first, position, string.Create(
                CultureInfo.InvariantCulture, $"The tombstones of the {said.Events} events whose data was removed by event {position} are not those that were written."))
            {
                Stream = stream,
            });
        }
    }

    /// <summary>The events that an expiry names. The tenant is the first parameter, session or stream the second, the last of them the third.</summary>
    string Named(string? inFeed) => inFeed is null
        ? $"(SELECT version AS at, * FROM {schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2 AND version <= $3) e"
        : $"""
            (SELECT f.feed_id AS at, l.* FROM {schema}.feed f JOIN {schema}.mt_events l ON l.seq_id = f.gid
            WHERE f.tenant_id = $1 AND f.session_id = $2 AND f.feed_id <= $3 AND {ExpirySchema.IsOfSession("l.stream_id")}) e
            """;

    /// <summary>An event by which data expires.</summary>
    sealed record Expiry(long Position, string Org, string Stream, long Version, string? Session, long Through)
    {
        public bool Names(long position, string org, string stream, long version, string? inFeed, long feedId) =>
            org == Org && position < Position
            && (Session is null
                ? stream == Stream && version < Version && version <= Through
                : inFeed == Session && feedId <= Through && ExpiredEvents.Aggregates.Contains(stream[..Math.Max(0, stream.IndexOf('-', StringComparison.Ordinal))]));
    }
}
