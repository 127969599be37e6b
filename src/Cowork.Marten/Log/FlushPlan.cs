using System.Buffers;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Marten;

/// <summary>What one flush is going to write: which commits of a batch go in, and once it is numbered, every row.</summary>
sealed class FlushPlan(IReadOnlyList<Pending> part, IContentKeys? keys = null)
{
    static readonly Dictionary<string, string> DotnetTypes = EventTypes.ByName.ToDictionary(
        pair => pair.Key, pair => $"{pair.Value.Shape.FullName}, {pair.Value.Shape.Assembly.GetName().Name}");

    readonly ArrayBufferWriter<byte> headers = new(4096);

    /// <summary>All commits of the batch, accepted or refused.</summary>
    public IReadOnlyList<Pending> Part { get; } = part;

    public List<Pending> Accepted { get; } = [];

    public List<(Pending Pending, AppendResult Why)> Refused { get; } = [];

    /// <summary>Streams that are written, with the versions before and after.</summary>
    public Dictionary<(string Org, string Stream), StreamMove> Streams { get; } = [];

    /// <summary>Last feed id of every session that is written to, after the flush.</summary>
    public Dictionary<(string Org, SessionKey Session), long> Feeds { get; } = [];

    /// <summary>Finished jobs, with the node id that holds each.</summary>
    public Dictionary<Claim, string> Done { get; } = [];

    /// <summary>A commit builds on a version that the cache has not seen: another node wrote.</summary>
    public bool Behind { get; set; }

    public long HeadWas { get; private set; }

    public long HeadIs => HeadWas + Entries.Length;

    public FeedEntry[] Entries { get; private set; } = [];

    public EventColumns Events { get; private set; } = new(0);

    public Dictionary<(string Org, string Kind, string Key), Job> Jobs { get; } = [];

    /// <summary>Jobs that are taken back. One that a later commit asks for again stays, and is due when the earlier of the two was.</summary>
    public HashSet<(string Org, string Kind, string Key)> Cancelled { get; } = [];

    public Dictionary<string, TableChanges> Tables { get; } = [];

    /// <summary>Gives every event its position and feed id. <see cref="Feeds"/> must hold the last feed ids before.</summary>
    public void Number(long head)
    {
        HeadWas = head;
        var count = 0;
        foreach (var pending in Accepted)
        {
            foreach (var write in pending.Commit.Writes)
            {
                count += write.Events.Count;
            }
        }
        Entries = new FeedEntry[count];
        Events = new(count);
        var slices = new (int Start, int Length)[count];
        var at = 0;
        foreach (var pending in Accepted)
        {
            var commit = pending.Commit;
            foreach (var write in commit.Writes)
            {
                var first = head + at + 1;
                var feed = write.Session is { } session ? Feeds[(commit.Org, session)] : 0;
                foreach (var e in write.Events)
                {
                    var feedId = write.Session is null ? 0 : ++feed;
                    var start = headers.WrittenCount;
                    WriteHeaders(e.Hash, write.Session, write.Run);
                    slices[at] = (start, headers.WrittenCount - start);
                    Events.Put(at, e, feedId, write, DotnetTypes[e.Type]);
                    at++;
                    Entries[at - 1] = new(
                        feedId, head + at, commit.Org, write.Session, write.Run, e.Id, e.Type, e.At, e.Stream, e.Version, e.Hash, e.Actor, e.Data,
                        e.Correlation, e.Causation)
                    {
                        Keys = keys,
                    };
                }
                if (write.Session is { } written)
                {
                    Feeds[(commit.Org, written)] = feed;
                }
                foreach (var row in write.Rows)
                {
                    if (!Tables.TryGetValue(row.Table, out var changes))
                    {
                        Tables.Add(row.Table, changes = new());
                    }
                    var before = first - write.Expected - 1;
                    var ended = row.Ended > 0 ? before + row.Ended : 0;
                    changes.Add(
                        commit.Org, row, row.Made > 0 ? before + row.Made : first, before + row.Version, again: row.Made > 1 && write.Expected > 0, ended);
                }
            }
            foreach (var (kind, name) in commit.Cancelled)
            {
                Jobs.Remove((commit.Org, kind, name));
                Cancelled.Add((commit.Org, kind, name));
            }
            foreach (var job in commit.Jobs)
            {
                var key = (commit.Org, job.Kind, job.Key);
                Cancelled.Remove(key);
                if (!Jobs.TryGetValue(key, out var known) || (known.Due is { } due && (job.Due is null || job.Due < due)))
                {
                    Jobs[key] = job;
                }
            }
        }
        // Only now does the buffer stay where it is.
        var all = headers.WrittenMemory;
        for (var i = 0; i < count; i++)
        {
            Events.Headers[i] = all.Slice(slices[i].Start, slices[i].Length);
        }
    }

    void WriteHeaders(string hash, SessionKey? session, RunKey? run)
    {
        headers.Write("{\"hash\":"u8);
        CanonicalJson.WriteString(headers, hash);
        if (session is { } of)
        {
            headers.Write(",\"session\":"u8);
            CanonicalJson.WriteString(headers, of.Value);
        }
        if (run is { } about)
        {
            headers.Write(",\"run\":"u8);
            CanonicalJson.WriteString(headers, about.Value);
        }
        headers.Write("}"u8);
    }
}

/// <summary>A stream's way through a flush.</summary>
sealed class StreamMove(string org, string stream, long was, DateTimeOffset at)
{
    public string Org { get; } = org;

    public string Stream { get; } = stream;

    public long Was { get; } = was;

    public long Is { get; set; } = was;

    public DateTime FirstAt { get; } = at.UtcDateTime;

    public DateTime LastAt { get; set; } = at.UtcDateTime;
}

/// <summary>The events of a flush, column by column, as <c>unnest</c> takes them.</summary>
sealed class EventColumns(int count)
{
    public string[] Tenant { get; } = new string[count];

    public string[] Stream { get; } = new string[count];

    public long[] Version { get; } = new long[count];

    public Guid[] Id { get; } = new Guid[count];

    public string[] Type { get; } = new string[count];

    public string[] Dotnet { get; } = new string[count];

    public ReadOnlyMemory<byte>[] Data { get; } = new ReadOnlyMemory<byte>[count];

    public DateTime[] At { get; } = new DateTime[count];

    public string?[] Correlation { get; } = new string?[count];

    public string?[] Causation { get; } = new string?[count];

    public string[] User { get; } = new string[count];

    public ReadOnlyMemory<byte>[] Headers { get; } = new ReadOnlyMemory<byte>[count];

    public string?[] Session { get; } = new string?[count];

    public long[] Feed { get; } = new long[count];

    public string?[] Run { get; } = new string?[count];

    public void Put(int i, RecordedEvent e, long feed, Write write, string dotnet)
    {
        Tenant[i] = e.Org;
        Stream[i] = e.Stream;
        Version[i] = e.Version;
        Id[i] = e.Id;
        Type[i] = e.Type;
        Dotnet[i] = dotnet;
        Data[i] = e.Data;
        At[i] = e.At.UtcDateTime;
        Correlation[i] = e.Correlation;
        Causation[i] = e.Causation;
        User[i] = e.Actor;
        Session[i] = write.Session?.Value;
        Feed[i] = feed;
        Run[i] = write.Run?.Value;
    }
}

/// <summary>The rows of one read model after a flush: of several changes of a row the last one counts.</summary>
sealed class TableChanges
{
    readonly Dictionary<(string Org, string Key), RowWrite> rows = [];

    /// <summary>Rows that went in this flush, even when they came back: what comes back is a new row.</summary>
    public HashSet<(string Org, string Key)> Gone { get; } = [];

    /// <summary>Rows that an event took away: its position, and the row as this flush would have written it; null: as the table has it.</summary>
    public Dictionary<(string Org, string Key), (long Until, RowWrite? Was)> Ended { get; } = [];

    public IEnumerable<KeyValuePair<(string Org, string Key), RowWrite>> Rows => rows;

    public int Count => rows.Count;

    /// <param name="made">Position of the event that made the row, if the row is new.</param>
    /// <param name="last">Position of the last event that it shows.</param>
    /// <param name="again">There may have been a row that went within the same write.</param>
    /// <param name="ended">Position of the event that took the row away; 0: none did.</param>
    public void Add(string org, RowChange change, long made, long last, bool again = false, long ended = 0)
    {
        var key = (org, change.Key);
        if (change.Row is null)
        {
            rows.Remove(key, out var was);
            Gone.Add(key);
            if (ended > 0)
            {
                Ended.TryAdd(key, (ended, was));
            }
            return;
        }
        if (again)
        {
            rows.Remove(key);
            Gone.Add(key);
        }
        rows[key] = new(rows.TryGetValue(key, out var before) ? before.Created : made, last, change.Version, change.Row);
    }
}

/// <summary>A row as it is upserted; a row that is there already keeps its own <paramref name="Created"/>.</summary>
sealed record RowWrite(long Created, long Updated, long Version, RowValue Value);
