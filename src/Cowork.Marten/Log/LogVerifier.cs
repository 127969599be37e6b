using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>The first event that is not what it was, or the first place where one is missing.</summary>
/// <param name="Position">The event's position; where only a head tells that something was changed, the first position that it can be.</param>
/// <param name="Through">The last position that it can be.</param>
/// <param name="Message">A sentence. It may repeat what the database says: escape it where it is shown.</param>
public sealed record LogFault(long Position, long Through, string Message)
{
    /// <summary>The event's stream; null: there is no such event, or several may be meant.</summary>
    public string? Stream { get; init; }
}

/// <summary>How far a verification has come: what a later one goes on from.</summary>
/// <param name="Position">All events up to it were verified.</param>
/// <param name="Nodes">The complete subtrees of the tree over them, in hex (<see cref="MerkleTree.NodesOf(long)"/>).</param>
/// <param name="InFeeds">Events that are in a session's feed.</param>
/// <param name="Unhashed">Events that another program wrote without a hash.</param>
/// <param name="Head">The last signed head whose root the tree had; null: none yet.</param>
/// <param name="Expired">Events whose data expired: a tombstone stands in its place, as a later event says.</param>
public sealed record LogVerifierState(long Position, IReadOnlyList<string> Nodes, long InFeeds, long Unhashed, NumberedHead? Head, long Expired = 0)
{
    public static LogVerifierState Begin { get; } = new(0, [], 0, 0, null);
}

/// <summary>What was found.</summary>
/// <param name="State">As far as everything was right.</param>
/// <param name="Fault">Null: everything is.</param>
/// <param name="NotCovered">Events after the last head.</param>
public sealed record LogVerdict(LogVerifierState State, LogFault? Fault, long NotCovered)
{
    /// <summary>Heads of an earlier time than the head before them: a clock of a host was wrong. Only those that this verification has read.</summary>
    public long HeadsBack { get; init; }

    /// <summary>Number of the first of them; null: there is none.</summary>
    public long? FirstHeadBack { get; init; }
}

/// <summary>What a verification is told from outside of the database, which whoever has it could have changed.</summary>
/// <param name="Keys">The only keys whose signatures count, by id; null: those that the log itself names, which whoever rewrites a log can replace.</param>
/// <param name="Heads">Heads that were kept elsewhere, in any order: the log must have their trees.</param>
public sealed record OutsideKnowledge(IReadOnlyDictionary<string, PublicKey>? Keys, IReadOnlyList<SignedHead> Heads)
{
    public static OutsideKnowledge None { get; } = new(null, []);
}

/// <summary>
/// Verifies the whole log as it lies in PostgreSQL, in one pass and in bounded memory: positions without a gap, the hash chain of every stream, the feeds of sessions, the tree
/// over it all, and the signed heads. It changes nothing, and takes nothing that it reads for true.
/// </summary>
/// <param name="connection">Open, of a role that may read all. In a transaction it sees what that sees.</param>
/// <param name="operators">The operators' tenant, which has heads and keys.</param>
public sealed partial class LogVerifier(NpgsqlConnection connection, string schema, string operators, OutsideKnowledge outside)
{
    /// <summary>Positions of a page. While the server makes its rows, this program verifies those before; between two pages one of them waits.</summary>
    const int PageMax = 8_000;

    /// <summary>Rows that are handed from the reader to the verifier together, and their bytes after which fewer are.</summary>
    const int PartRows = 128;
    const int PartBytes = 256 * 1024;

    /// <summary>Parts that wait for the verifier.</summary>
    const int PartsMax = 4;

    /// <summary>Streams, and feeds, whose last event is remembered. Others are asked for.</summary>
    const int RememberedMax = 50_000;

    const int HeadsPage = 500;

    /// <summary>Levels of tiles over as many events as there can be.</summary>
    const int TileLevels = 12;

    const string NoEvent = "There is no event at this position, and there are later ones.";

    static readonly SearchValues<char> HexDigits = SearchValues.Create("0123456789abcdef");

    readonly Dictionary<(string, string), (long Version, string Hash)> streams = [];
    readonly Dictionary<(string, string), long> feeds = [];
    readonly Queue<(SignedHead Head, long Number, long Position)> heads = [];
    readonly Queue<SignedHead> kept = new(outside.Heads.OrderBy(head => head.TreeSize));
    readonly List<LogFault> faults = [];
    IReadOnlyDictionary<string, PublicKey> keys = new Dictionary<string, PublicKey>();
    MerkleFrontier tree = new();
    NumberedHead? last;
    LogVerifierState verified = LogVerifierState.Begin;
    long inFeeds, unhashed, expired, headsRead, headSize, storedTree, keptAgrees, headsBack;
    long? firstHeadBack;
    DateTimeOffset headAt;
    Guid lastId;

    /// <summary>Called after each page, with what a later verification can go on from.</summary>
    public Action<LogVerifierState>? Progress { get; init; }

    /// <summary>Verifies the log from where an earlier verification ended.</summary>
    /// <param name="from">What it left; <see cref="LogVerifierState.Begin"/>: the whole log.</param>
    /// <param name="isTransaction">The connection has a transaction that sees one state of the database: none is begun.</param>
    public async Task<LogVerdict> Verify(LogVerifierState from, CancellationToken ct, bool isTransaction = false)
    {
        (tree, last, inFeeds, unhashed) = (new(from.Position, from.Nodes.Select(Convert.FromHexString)), from.Head, from.InFeeds, from.Unhashed);
        expired = from.Expired;
        (headsRead, headSize, headAt) = (from.Head?.Number ?? 0, from.Head?.Head.TreeSize ?? 0, from.Head?.Head.Timestamp ?? default);
        verified = from;
        while (kept.TryPeek(out var known) && known.TreeSize < from.Position)
        {
            // The verification that came so far has compared it.
            kept.Dequeue();
        }
        await Run(Fence.EnterForGood, ct);
        keys = outside.Keys ?? await KeysOfTheLog(ct);
        foreach (var known in kept)
        {
            // A key that the log does not name, or names for another one, tells of the log.
            if ((outside.Keys is not null || (keys.TryGetValue(known.Kid, out var key) && Jws.Thumbprint(key) == known.Kid))
                && await HeadText.WhyWrong(known, keys.GetValueOrDefault) is { } why)
            {
                throw new InvalidDataException($"A head over {known.TreeSize} events that was kept outside is none, whatever the log is: {why}");
            }
        }
        var end = await End(ct);
        if (end < from.Position)
        {
            return Verdict(new(end + 1, from.Position, $"The log ends at position {end}, and an earlier verification has seen {from.Position} events: its end is gone."));
        }
        storedTree = await StoredTree(ct);
        Root();
        if (faults is [var differs, ..])
        {
            return Verdict(differs);
        }
        while (tree.Size < end)
        {
            if (await Page(end, ct) is { } fault)
            {
                return Verdict(fault);
            }
            Progress?.Invoke(verified);
        }
        // What came meanwhile, and what is compared as a whole, is seen in one state of the database.
        await using var transaction = isTransaction ? null : await connection.BeginTransactionAsync(System.Data.IsolationLevel.RepeatableRead, ct);
        for (end = await End(ct); tree.Size < end;)
        {
            if (await Page(end, ct) is { } fault)
            {
                return Verdict(fault);
            }
        }
        return Verdict(await Whole(ct));
    }

    LogVerifierState State() => new(tree.Size, [.. tree.Nodes.Select(Convert.ToHexStringLower)], inFeeds, unhashed, last, expired);

    LogVerdict Verdict(LogFault? fault) =>
        new(verified, fault, verified.Position - (verified.Head?.Head.TreeSize ?? 0)) { HeadsBack = headsBack, FirstHeadBack = firstHeadBack };

    /// <summary>Verifies the next events. Answers the first fault.</summary>
    async Task<LogFault?> Page(long end, CancellationToken ct)
    {
        var (after, through) = (tree.Size, Math.Min(end, tree.Size + PageMax));
        await MoreHeads(through, ct);
        faults.Clear();
        var waiting = new List<LoggedRow>();
        await using (var batch = new NpgsqlBatch(connection)
        {
            Timeout = 0,
            BatchCommands =
            {
                new($"""
                    SELECT t.level, t.number, t.hashes FROM generate_series(0, {TileLevels - 1}) l
                    JOIN {schema}.merkle_tiles t ON t.level = l AND t.number BETWEEN $1 >> ({MerkleTiles.Height} * (l + 1)) AND $2 >> ({MerkleTiles.Height} * (l + 1))
                    """)
                {
                    Parameters = { Parameter.Long(after), Parameter.Long(through) },
                },
                new($"""
                    SELECT e.seq_id, e.tenant_id, e.stream_id, e.version, e.id, e.type, e.data, e.timestamp, e.user_name, e.correlation_id, e.causation_id, e.headers,
                        e.is_archived, e.bdata IS NOT NULL, f.tenant_id, f.session_id, f.feed_id, f.run_id
                    FROM {schema}.mt_events e LEFT JOIN {schema}.feed f ON f.gid = e.seq_id AND f.gid > $1 AND f.gid <= $2
                    WHERE e.seq_id > $1 AND e.seq_id <= $2 ORDER BY e.seq_id
                    """)
                {
                    Parameters = { Parameter.Long(after), Parameter.Long(through) },
                },
            },
        })
        await using (var reader = await batch.ExecuteReaderAsync(ct))
        {
            var tiles = new Dictionary<TileKey, byte[]>();
            while (await reader.ReadAsync(ct))
            {
                tiles[new(reader.GetInt32(0), reader.GetInt64(1))] = reader.GetFieldValue<byte[]>(2);
            }
            await reader.NextResultAsync(ct);
            using var canonical = new PooledBuffer(PartBytes);
            var parts = Channel.CreateBounded<List<ReadRow>>(new BoundedChannelOptions(PartsMax) { SingleReader = true, SingleWriter = true });
            using var stop = new CancellationTokenSource();
            var reading = Task.Run(() => Read(reader, parts.Writer, stop.Token, ct), CancellationToken.None);
            try
            {
                await foreach (var part in parts.Reader.ReadAllAsync(CancellationToken.None))
                {
                    if (!Verify(part, tiles, waiting, canonical))
                    {
                        break;
                    }
                }
            }
            finally
            {
                await stop.CancelAsync();
                await reading;
            }
        }
        faults.AddRange(wrongHeads.Where(found => found.Through <= tree.Size));
        if (faults.Count == 0 && tree.Size < through)
        {
            Fault(tree.Size + 1, NoEvent);
        }
        await Look(waiting, ct);
        await Judge(ct);
        if (faults.Count == 0)
        {
            verified = State();
        }
        // One that names its event comes before a head that only tells of a range with it.
        return faults.MinBy(found => (found.Through, found.Through - found.Position));
    }

    /// <summary>Reads rows and hands them on, until there are no more, one cannot be read, or the verifier has found a fault.</summary>
    static async Task Read(NpgsqlDataReader reader, ChannelWriter<List<ReadRow>> parts, CancellationToken stop, CancellationToken ct)
    {
        try
        {
            var (part, bytes, isReadable) = (new List<ReadRow>(PartRows), 0, true);
            while (isReadable && !stop.IsCancellationRequested && await reader.ReadAsync(ct))
            {
                var row = ReadRow.Of(reader);
                part.Add(row);
                bytes += row.Data.Length;
                isReadable = row.Fault is null;
                if (part.Count == PartRows || bytes > PartBytes)
                {
                    await parts.WriteAsync(part, stop);
                    (part, bytes) = (new(PartRows), 0);
                }
            }
            await parts.WriteAsync(part, stop);
            parts.Complete();
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            parts.TryComplete();
        }
        catch (Exception e)
        {
            parts.TryComplete(e);
        }
    }

    /// <summary>Verifies rows. False: no more of the page need be looked at.</summary>
    /// <param name="data">Room for the data of one event in canonical form.</param>
    bool Verify(List<ReadRow> part, Dictionary<TileKey, byte[]> tiles, List<LoggedRow> waiting, PooledBuffer data)
    {
        foreach (var read in part)
        {
            if (read.Position != tree.Size + 1)
            {
                var isTwice = read.Position == tree.Size && read.Feed is not null && read.Id == lastId;
                Fault(
                    Math.Min(read.Position, tree.Size + 1),
                    isTwice ? "It is in feeds twice." : read.Position > tree.Size ? NoEvent : "There are two events at this position.");
                return false;
            }
            data.Clear();
            if (Row(read, data) is not { } row)
            {
                return false;
            }
            lastId = read.Id;
            Chain(row, data.Written, waiting);
            Feed(row, read.Feed, waiting);
            tree.Add(row.Leaf.LeafHash(), (level, hash) => Tile(read.Position, level, hash, tiles));
            Root();
            if (faults.Count > 0 && waiting.Count == 0)
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>An event. Null: its row holds what no event of ours can, and was noted as a fault.</summary>
    LoggedRow? Row(ReadRow read, PooledBuffer data)
    {
        var (position, org, stream) = (read.Position, read.Org, read.Stream);
        try
        {
            if (read.Fault is { } unreadable)
            {
                throw unreadable;
            }
            var at = new DateTimeOffset(read.At);
            CanonicalJson.Write(data, read.Data);
            var headers = Headers.Read(read.Headers);
            if (at.UtcTicks % TimeSpan.TicksPerMillisecond != 0)
            {
                Fault(position, "Its time is no whole millisecond.", stream);
            }
            if (read.IsMarked)
            {
                Fault(position, "It is marked as archived, or has data beside its data.", stream);
            }
            if (headers.HasMore)
            {
                Fault(position, "Its headers have a member that no event has.", stream);
            }
            if (headers.Hash is null)
            {
                unhashed++;
                if (EventTypes.ByName.ContainsKey(read.Type))
                {
                    Fault(position, "It has no hash.", stream);
                }
            }
            if (Tombstones.Is(data.Written) || ExpirySchema.IsExpiry(read.Type))
            {
                if (headers.Hash is null || !IsHash(headers.Hash))
                {
                    Fault(position, "It has no hash.", stream);
                }
                Remember(position, org, stream, read.Version, read.Type, headers.Session, data.Written, at);
            }
            var isSame = read.Feed is { } feed && feed.Org == org && feed.Session == headers.Session && feed.Run == headers.Run;
            if (read.Feed is not null && !isSame)
            {
                Fault(position, "The feed has it in another session, run or tenant than the event says.", stream);
            }
            return new(
                new(
                    position, org, stream, read.Version,
                    headers.Hash ?? HashChain.Next(HashChain.Root, org, stream, read.Version, read.Id, read.Type, at, read.Actor, data.Written),
                    isSame ? read.Feed!.Value.FeedId : 0, headers.Session is null ? null : new SessionKey(headers.Session),
                    headers.Run is null ? null : new RunKey(headers.Run), read.Correlation, read.Causation),
                headers.Hash, read);
        }
        catch (Exception e) when (e is JsonException or InvalidCastException or FormatException or ArgumentException or OverflowException)
        {
            Fault(position, $"It cannot be read: {e.Message}");
            return null;
        }
    }

    /// <summary>Compares an event with the one before it in its stream, if that is remembered.</summary>
    void Chain(LoggedRow row, ReadOnlySpan<byte> data, List<LoggedRow> waiting)
    {
        var (key, leaf) = ((row.Leaf.Org, row.Leaf.Stream), row.Leaf);
        if (leaf.Version == 1)
        {
            if (streams.ContainsKey(key))
            {
                Fault(leaf.Position, "Its stream has a first event before it.", leaf.Stream);
            }
            Link(row, HashChain.Root, data);
        }
        else if (streams.TryGetValue(key, out var before))
        {
            if (before.Version != leaf.Version - 1)
            {
                Fault(leaf.Position, $"It is version {leaf.Version} of its stream, after version {before.Version}.", leaf.Stream);
            }
            Link(row, before.Hash, data);
        }
        else
        {
            (row.NeedsChain, row.Data) = (true, data.ToArray());
            waiting.Add(row);
        }
        Remember(streams, key, (leaf.Version, row.Hash ?? HashChain.Root));
    }

    void Link(LoggedRow row, string previous, ReadOnlySpan<byte> data)
    {
        if (row.Hash is { } hash && !(IsHash(previous) && row.IsAfter(previous, hash, data)))
        {
            Fault(row.Leaf.Position, "It does not have its hash: the event or the one before it in its stream was changed.", row.Leaf.Stream);
        }
    }

    /// <summary>Compares an event with its row in the feed of its session, and that with the row before it.</summary>
    void Feed(LoggedRow row, FeedRow? inFeed, List<LoggedRow> waiting)
    {
        var leaf = row.Leaf;
        if (inFeed is not { } feed)
        {
            if (leaf.Session is not null)
            {
                Fault(leaf.Position, "The feed of its session does not have it.", leaf.Stream);
            }
            return;
        }
        inFeeds++;
        if (leaf.FeedId == 0)
        {
            return;
        }
        var key = (feed.Org, feed.Session);
        if (feeds.TryGetValue(key, out var before) || feed.FeedId == 1)
        {
            if (before != feed.FeedId - 1)
            {
                Fault(leaf.Position, $"It is number {feed.FeedId} of its session's feed, after number {before}.", leaf.Stream);
            }
        }
        else
        {
            row.NeedsFeed = true;
            if (!row.NeedsChain)
            {
                waiting.Add(row);
            }
        }
        Remember(feeds, key, feed.FeedId);
    }

    /// <summary>Compares with what was not remembered.</summary>
    async Task Look(List<LoggedRow> waiting, CancellationToken ct)
    {
        if (waiting.Count == 0)
        {
            return;
        }
        var (chained, fed) = (waiting.Where(row => row.NeedsChain).ToList(), waiting.Where(row => row.NeedsFeed).ToList());
        await using var batch = new NpgsqlBatch(connection)
        {
            Timeout = 0,
            BatchCommands =
            {
                new($"""
                    SELECT u.nr, e.seq_id, e.headers->>'hash' FROM unnest($1, $2, $3) WITH ORDINALITY u (tenant_id, stream_id, version, nr)
                    JOIN {schema}.mt_events e ON e.tenant_id = u.tenant_id AND e.stream_id = u.stream_id AND e.version = u.version
                    """)
                {
                    Parameters =
                    {
                        Parameter.Texts([.. chained.Select(row => row.Leaf.Org)]), Parameter.Texts([.. chained.Select(row => row.Leaf.Stream)]),
                        Parameter.Longs([.. chained.Select(row => row.Leaf.Version - 1)]),
                    },
                },
                new($"""
                    SELECT u.nr, f.gid FROM unnest($1, $2, $3) WITH ORDINALITY u (tenant_id, session_id, feed_id, nr)
                    JOIN {schema}.feed f ON f.tenant_id = u.tenant_id AND f.session_id = u.session_id AND f.feed_id = u.feed_id
                    """)
                {
                    Parameters =
                    {
                        Parameter.Texts([.. fed.Select(row => row.Leaf.Org)]), Parameter.Texts([.. fed.Select(row => row.Leaf.Session!.Value.Value)]),
                        Parameter.Longs([.. fed.Select(row => row.Leaf.FeedId - 1)]),
                    },
                },
            },
        };
        await using var reader = await batch.ExecuteReaderAsync(ct);
        var found = new Dictionary<long, (long Position, string Hash)>();
        while (await reader.ReadAsync(ct))
        {
            found[reader.GetInt64(0)] = (reader.GetInt64(1), Text(reader, 2) ?? HashChain.Root);
        }
        foreach (var (i, row) in chained.Index())
        {
            if (found.TryGetValue(i + 1, out var before) && before.Position < row.Leaf.Position)
            {
                Link(row, before.Hash, row.Data);
            }
            else
            {
                Fault(row.Leaf.Position, $"It is version {row.Leaf.Version} of its stream, and version {row.Leaf.Version - 1} is not before it.", row.Leaf.Stream);
            }
        }
        await reader.NextResultAsync(ct);
        var numbers = new Dictionary<long, long>();
        while (await reader.ReadAsync(ct))
        {
            numbers[reader.GetInt64(0)] = reader.GetInt64(1);
        }
        foreach (var (i, row) in fed.Index())
        {
            if (!numbers.TryGetValue(i + 1, out var before) || before >= row.Leaf.Position)
            {
                Fault(row.Leaf.Position, $"It is number {row.Leaf.FeedId} of its session's feed, and number {row.Leaf.FeedId - 1} is not before it.", row.Leaf.Stream);
            }
        }
    }

    /// <summary>Compares a subtree that an event completes with the one that the stored tree has.</summary>
    void Tile(long position, int level, byte[] hash, Dictionary<TileKey, byte[]> tiles)
    {
        if (level % MerkleTiles.Height != 0)
        {
            return;
        }
        var index = (position - 1) >> level;
        var offset = (int)(index % MerkleTiles.Width) * MerkleTree.HashBytes;
        if (!tiles.TryGetValue(new(level / MerkleTiles.Height, index / MerkleTiles.Width), out var hashes) || hashes.Length < offset + MerkleTree.HashBytes)
        {
            // The tree grows behind the log.
            if (position <= storedTree)
            {
                Fault(position, "The tree over the log does not have it: the tree was changed. cowork rebuild makes it anew.");
            }
        }
        else if (!hashes.AsSpan(offset, MerkleTree.HashBytes).SequenceEqual(hash))
        {
            Fault(position, "It is not the event that the tree over the log has: the event was changed, or the tree.");
        }
    }

    /// <summary>The table with the tree has a row for each tile of a tree of a size, and no others; null: it has.</summary>
    async Task<LogFault?> Tiles(long size, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(
            $"SELECT level, count(*), min(number), max(number), sum(length(hashes))::bigint FROM {schema}.merkle_tiles GROUP BY level ORDER BY level", connection)
        {
            CommandTimeout = 0,
        };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        var wanted = 0;
        while (await reader.ReadAsync(ct))
        {
            var hashes = wanted < TileLevels ? size >> (MerkleTiles.Height * wanted) : 0;
            var rows = (hashes + MerkleTiles.Width - 1) / MerkleTiles.Width;
            if (reader.GetInt32(0) != wanted || reader.GetInt64(1) != rows || reader.GetInt64(2) != 0 || reader.GetInt64(3) != rows - 1
                || reader.GetInt64(4) != hashes * MerkleTree.HashBytes)
            {
                return Wrong(wanted);
            }
            wanted++;
        }
        return wanted < TileLevels && size >> (MerkleTiles.Height * wanted) > 0 ? Wrong(wanted) : null;

        LogFault Wrong(int level) => new(
            tree.Size + 1, tree.Size + 1,
            $"The tree over the log has other tiles of level {level} than a tree of {size} events: some are gone, or were added. cowork rebuild makes it anew.");
    }

    /// <summary>Compares the tree with the heads over so many events.</summary>
    void Root()
    {
        while (heads.TryPeek(out var next) && next.Head.TreeSize <= tree.Size)
        {
            heads.Dequeue();
            Compare(next.Head, next.Head.Timestamp, $"head {next.Number}", last?.Head.TreeSize ?? 0);
            last = faults.Count == 0 ? new(next.Number, next.Position, next.Head) : last;
        }
        while (kept.TryPeek(out var known) && known.TreeSize <= tree.Size)
        {
            kept.Dequeue();
            // The log's own heads up to there may have been signed anew.
            Compare(known, known.Timestamp, "a head that was kept outside", last?.Head.TreeSize is { } own && own < known.TreeSize ? own : keptAgrees);
            keptAgrees = known.TreeSize;
        }
    }

    /// <param name="agrees">Up to there the log is the one that was signed.</param>
    void Compare(SignedHead head, DateTimeOffset at, string name, long agrees)
    {
        if (head.TreeSize == tree.Size && Convert.ToHexStringLower(tree.Root()) != head.RootHash)
        {
            faults.Add(new(
                Math.Min(agrees + 1, head.TreeSize), head.TreeSize,
                $"An event up to position {head.TreeSize} is not the one of {name}, which was signed at {HashChain.Timestamp(at)}."));
        }
    }

    /// <summary>Reads heads until there is one beyond a position, and checks their signatures.</summary>
    async Task MoreHeads(long through, CancellationToken ct)
    {
        while (heads.Count == 0 || heads.Last().Head.TreeSize < through)
        {
            var page = new List<(long Version, long Position, string Type, string Data)>();
            await using (var ask = new NpgsqlCommand(
                $"""
                SELECT version, seq_id, type, data::text FROM {schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2 AND version > $3
                ORDER BY version LIMIT {HeadsPage}
                """,
                connection)
            { Parameters = { Parameter.Text(operators), Parameter.Text(AuditHeads.Stream), Parameter.Long(headsRead) } })
            await using (var reader = await ask.ExecuteReaderAsync(ct))
            {
                while (await reader.ReadAsync(ct))
                {
                    page.Add((reader.GetInt64(0), reader.GetInt64(1), reader.GetString(2), reader.GetString(3)));
                }
            }
            foreach (var (version, position, type, data) in page)
            {
                headsRead = version;
                if (await Head(version, position, type, data) is { } head)
                {
                    heads.Enqueue((head, version, position));
                }
            }
            if (page.Count < HeadsPage)
            {
                return;
            }
        }
    }

    /// <summary>A head of the log; null: it is none, and was noted as a fault.</summary>
    async ValueTask<SignedHead?> Head(long version, long position, string type, string data)
    {
        SignedHead head;
        try
        {
            head = AuditHeads.HeadOf((AuditHeadsEvent.HeadSigned)EventJson.Read(type, Encoding.UTF8.GetBytes(data), default));
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException or InvalidCastException)
        {
            wrongHeads.Add(new(position, position, $"It is no head: {e.Message}") { Stream = AuditHeads.Stream });
            return null;
        }
        var why = head.TreeSize >= position ? "It is over events that come after it."
            : head.TreeSize <= headSize ? "It is over no more events than the head before it."
            : await HeadText.WhyWrong(head, keys.GetValueOrDefault) is { } wrong ? $"Head {version} is not signed. {wrong}"
            : null;
        if (why is null)
        {
            if (head.Timestamp < headAt)
            {
                (headsBack, firstHeadBack) = (headsBack + 1, firstHeadBack ?? version);
            }
            (headSize, headAt) = (head.TreeSize, head.Timestamp);
            return head;
        }
        // A key of the log may have been changed instead.
        wrongHeads.Add(new(outside.Keys is null ? Math.Min(position, headSize + 1) : position, position, why) { Stream = AuditHeads.Stream });
        return null;
    }

    /// <summary>Heads that are none. One is told when its position is reached: what comes before it may be changed, too.</summary>
    readonly List<LogFault> wrongHeads = [];

    /// <summary>What is compared when all events were seen.</summary>
    async Task<LogFault?> Whole(CancellationToken ct)
    {
        await MoreHeads(long.MaxValue, ct);
        if (wrongHeads.MinBy(found => found.Through) is { } wrong)
        {
            return wrong;
        }
        var end = tree.Size;
        if (heads.TryPeek(out var ahead))
        {
            return new(end + 1, ahead.Head.TreeSize, $"The log ends at position {end}, and head {ahead.Number} is over {ahead.Head.TreeSize} events: its end is gone.");
        }
        if (kept.TryPeek(out var known))
        {
            return new(end + 1, known.TreeSize, $"The log ends at position {end}, and a head that was kept outside is over {known.TreeSize} events: its end is gone.");
        }
        var sum = $"SELECT coalesce(sum(version), 0)::bigint FROM {schema}.mt_streams";
        var stray = $"""
            SELECT s.id, s.version, coalesce(l.version, 0), s.is_archived FROM {schema}.mt_streams s
            LEFT JOIN LATERAL (
                SELECT version FROM {schema}.mt_events e WHERE e.tenant_id = s.tenant_id AND e.stream_id = s.id ORDER BY version DESC LIMIT 1) l ON true
            WHERE l.version IS DISTINCT FROM s.version OR s.is_archived LIMIT 1
            """;
        await using var batch = new NpgsqlBatch(connection)
        {
            Timeout = 0,
            BatchCommands =
            {
                new($"""
                    SELECT gid, (SELECT count(*) FROM {schema}.feed), ({sum}), (SELECT last_seq_id FROM {schema}.mt_event_progression WHERE name = '{MerkleStore.ProgressName}')
                    FROM {schema}.head
                    """),
                new(stray),
            },
        };
        await using var reader = await batch.ExecuteReaderAsync(ct);
        if (!await reader.ReadAsync(ct))
        {
            return new(end + 1, end + 1, "The row with the log's last position is gone.");
        }
        var (gid, inFeed, versions, treeSize) = (reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2), await reader.IsDBNullAsync(3, ct) ? 0 : reader.GetInt64(3));
        await reader.NextResultAsync(ct);
        if (await reader.ReadAsync(ct))
        {
            var (said, there) = (reader.GetInt64(1), reader.GetInt64(2));
            return new(
                end + 1, end + 1,
                said == there ? "A stream is marked as archived, which no stream is: stock Marten does not read it."
                : $"A stream is said to be at version {said}, and its last event is version {there}: its end is gone, or was added.")
            {
                Stream = reader.GetString(0),
            };
        }
        await reader.DisposeAsync();
        return gid != end
            ? new(Math.Min(end, gid) + 1, Math.Max(end, gid), $"The log ends at position {end}, and its last position is said to be {gid}: its end is gone, or was added.")
            : treeSize > end ? new(end + 1, treeSize, $"The log ends at position {end}, and the tree over it has {treeSize} events: its end is gone.")
            : versions != end ? new(end + 1, end + 1, $"The streams are said to have {versions} events, and the log has {end}.")
            : inFeed != inFeeds ? new(end + 1, end + 1, $"The feeds have {inFeed} rows, and {inFeeds} events are in one.")
            : await Tiles(treeSize, ct);
    }

    async Task<IReadOnlyDictionary<string, PublicKey>> KeysOfTheLog(CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand(
            $"SELECT type, data::text FROM {schema}.mt_events WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version", connection)
        {
            Parameters = { Parameter.Text(operators), Parameter.Text(SigningKeys.Aggregate.Stream(SigningKeys.Key)) },
        };
        await using var reader = await ask.ExecuteReaderAsync(ct);
        var found = new Dictionary<string, PublicKey>();
        while (await reader.ReadAsync(ct))
        {
            try
            {
                if (EventJson.Read(reader.GetString(0), Encoding.UTF8.GetBytes(reader.GetString(1)), default) is SigningKeysEvent.SigningKeyMade made
                    && made.Key.Purpose == SigningKeys.Heads)
                {
                    found.TryAdd(made.Key.Kid, made.Key.Public);
                }
            }
            catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
            {
                // The event is judged where it lies; a key that cannot be read signs nothing.
            }
        }
        return found;
    }

    /// <summary>Events that the stored tree has.</summary>
    async Task<long> StoredTree(CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand($"SELECT last_seq_id FROM {schema}.mt_event_progression WHERE name = '{MerkleStore.ProgressName}'", connection);
        return await ask.ExecuteScalarAsync(ct) is long size ? size : 0;
    }

    async Task<long> End(CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand($"SELECT coalesce(max(seq_id), 0) FROM {schema}.mt_events", connection);
        return (long)(await ask.ExecuteScalarAsync(ct))!;
    }

    async Task Run(string sql, CancellationToken ct)
    {
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(ct);
    }

    void Fault(long position, string message, string? stream = null) => faults.Add(new(position, position, message) { Stream = stream });

    static void Remember<TKey, TValue>(Dictionary<TKey, TValue> there, TKey key, TValue value)
        where TKey : notnull
    {
        if (there.Count >= RememberedMax && !there.ContainsKey(key))
        {
            there.Clear();
        }
        there[key] = value;
    }

    static bool IsHash(string text) => text.Length == 64 && !text.AsSpan().ContainsAnyExcept(HexDigits);

    static string? Text(NpgsqlDataReader reader, int column) => reader.IsDBNull(column) ? null : reader.GetString(column);

    readonly record struct FeedRow(string Org, string Session, long FeedId, string? Run);

    /// <summary>The members of an event's headers. What is no object has none of them.</summary>
    /// <param name="HasMore">There is another member, or one that is no text.</param>
    readonly record struct Headers(string? Hash, string? Run, string? Session, bool HasMore)
    {
        public static Headers Read(ReadOnlySpan<byte> json)
        {
            var (hash, run, session, hasMore) = ((string?)null, (string?)null, (string?)null, false);
            var reader = new Utf8JsonReader(json);
            if (json.IsEmpty || !reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return default;
            }
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var (isHash, isRun, isSession) = (reader.ValueTextEquals("hash"u8), reader.ValueTextEquals("run"u8), reader.ValueTextEquals("session"u8));
                reader.Read();
                var text = reader.TokenType == JsonTokenType.String ? reader.GetString() : null;
                (hash, run, session) = (isHash ? text : hash, isRun ? text : run, isSession ? text : session);
                hasMore |= text is null || !(isHash || isRun || isSession);
                reader.Skip();
            }
            return new(hash, run, session, hasMore);
        }
    }

    /// <summary>A row as it came from the database.</summary>
    sealed class ReadRow
    {
        public long Position { get; private set; }

        public string Org { get; private set; } = "";

        public string Stream { get; private set; } = "";

        public long Version { get; private set; }

        public Guid Id { get; private set; }

        public string Type { get; private set; } = "";

        public byte[] Data { get; private set; } = [];

        public DateTime At { get; private set; }

        public string Actor { get; private set; } = "";

        public string? Correlation { get; private set; }

        public string? Causation { get; private set; }

        public byte[]? Headers { get; private set; }

        /// <summary>It is marked as archived, or has data beside its data.</summary>
        public bool IsMarked { get; private set; }

        /// <summary>Null: no feed has it.</summary>
        public FeedRow? Feed { get; private set; }

        /// <summary>Why it cannot be read; null: it can.</summary>
        public Exception? Fault { get; private set; }

        public static ReadRow Of(NpgsqlDataReader reader)
        {
            var row = new ReadRow { Position = reader.GetInt64(0) };
            try
            {
                (row.Org, row.Stream, row.Version) = (reader.GetString(1), reader.GetString(2), reader.GetInt64(3));
                (row.Id, row.Type, row.Data, row.At) = (reader.GetGuid(4), reader.GetString(5), reader.GetFieldValue<byte[]>(6), reader.GetDateTime(7));
                (row.Actor, row.Correlation, row.Causation) = (Text(reader, 8) ?? "", Text(reader, 9), Text(reader, 10));
                row.Headers = reader.IsDBNull(11) ? null : reader.GetFieldValue<byte[]>(11);
                row.IsMarked = (!reader.IsDBNull(12) && reader.GetBoolean(12)) || reader.GetBoolean(13);
                row.Feed = reader.IsDBNull(14) ? null : new(reader.GetString(14), reader.GetString(15), reader.GetInt64(16), Text(reader, 17));
            }
            catch (Exception e) when (e is InvalidCastException or FormatException or ArgumentException or OverflowException)
            {
                row.Fault = e;
            }
            return row;
        }
    }

    /// <param name="Hash">Null: the event has none.</param>
    sealed record LoggedRow(AuditLeaf Leaf, string? Hash, ReadRow Read)
    {
        /// <summary>The event before it in its stream has to be asked for.</summary>
        public bool NeedsChain { get; set; }

        /// <summary>In canonical form, while the event before it is asked for.</summary>
        public byte[] Data { get; set; } = [];

        /// <summary>The event before it in its feed has to be asked for.</summary>
        public bool NeedsFeed { get; set; }

        /// <summary>It has its hash after another one. Where its data expired, that cannot be computed: the digest of what stays, and the tree, prove it.</summary>
        public bool IsAfter(string previous, string hash, ReadOnlySpan<byte> data) =>
            Tombstones.Is(data) || HashChain.IsNext(hash, previous, Leaf.Org, Leaf.Stream, Leaf.Version, Read.Id, Read.Type, new(Read.At), Read.Actor, data);
    }
}
