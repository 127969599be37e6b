using Cowork.Application.Storage;
using Cowork.Domain;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// What the writer remembers of the log: its last position, versions of streams, last ids of feeds. It judges and numbers commits by that; while the head row is
/// held it learns what other nodes have written since. Used by the writer's thread alone, but for <see cref="Head"/>.
/// </summary>
sealed class LogPositions(Database database, JobQueue jobs)
{
    const int CacheMax = 100_000;

    /// <summary>Events of other nodes that are worth reading one by one to bring the caches up to date; beyond that they start anew.</summary>
    const int NewsMax = 5_000;

    /// <summary>Flushes that take the head row first, in a round trip of their own, after another node was found writing.</summary>
    const int ContendedFlushes = 32;

    readonly RecentCache<(string Org, string Stream)> versions = new(CacheMax);
    readonly RecentCache<(string Org, SessionKey Session)> feeds = new(CacheMax);
    readonly string schema = database.Schema;
    readonly string lockHead = $"SELECT gid FROM {database.Schema}.head FOR UPDATE";
    readonly string news =
        $"SELECT seq_id, tenant_id, stream_id, version, headers->>'session' FROM {database.Schema}.mt_events WHERE seq_id > $1 ORDER BY seq_id LIMIT {NewsMax + 1}";
    int contended;
    long head;

    /// <summary>Last position that another node is known to have written.</summary>
    long foreign;

    /// <summary>The log's last position as far as this node knows.</summary>
    public long Head => Volatile.Read(ref head);

    /// <summary>Other nodes write at the same time, so that what is remembered is probably old.</summary>
    public bool IsContended => contended > 0;

    /// <summary>At the start: where the log ends.</summary>
    public void AskHead(NpgsqlConnection connection)
    {
        using var ask = new NpgsqlCommand($"SELECT gid FROM {schema}.head", connection);
        var now = (long)ask.ExecuteScalar()!;
        foreign = now == head ? foreign : now;
        Volatile.Write(ref head, now);
    }

    /// <summary>A plan is in the log.</summary>
    public void Remember(FlushPlan plan)
    {
        Volatile.Write(ref head, Math.Max(head, plan.HeadIs));
        foreach (var (key, move) in plan.Streams)
        {
            versions.Put(key, move.Is);
        }
        foreach (var (key, feed) in plan.Feeds)
        {
            feeds.Put(key, feed);
        }
    }

    /// <summary>Gives an accepted plan its positions and feed ids.</summary>
    public void Number(FlushPlan plan, NpgsqlConnection connection)
    {
        FindFeeds(plan, connection);
        plan.Number(head);
    }

    /// <summary>Takes the head row in the transaction that is under way, and learns what other nodes have written since.</summary>
    public void LockHead(NpgsqlConnection connection)
    {
        using var batch = new NpgsqlBatch(connection)
        {
            BatchCommands = { new(lockHead), new(news) { Parameters = { Parameter.Long(head) } } },
        };
        batch.Prepare();
        using var reader = batch.ExecuteReader();
        reader.Read();
        var now = reader.GetInt64(0);
        if (now == head)
        {
            contended = Math.Max(0, contended - 1);
            return;
        }
        contended = ContendedFlushes;
        reader.NextResult();
        var count = 0L;
        while (reader.Read())
        {
            count++;
            var org = reader.GetString(1);
            versions.Put((org, reader.GetString(2)), reader.GetInt64(3));
            if (!reader.IsDBNull(4) && (org, new SessionKey(reader.GetString(4))) is var key && feeds.TryGet(key, out var feed))
            {
                feeds.Put(key, feed + 1);
            }
        }
        if (count != now - head)
        {
            // Too many, or the database is not the one that it was.
            versions.Clear();
            feeds.Clear();
        }
        foreign = now;
        Volatile.Write(ref head, now);
        database.Observer?.OthersWrote();
    }

    /// <summary>Whether a transaction of which nothing was heard took place. Its numbers are its own, so one event tells; null: it has none.</summary>
    public bool? Landed(FlushPlan plan, NpgsqlConnection connection)
    {
        if (plan.Entries.Length == 0)
        {
            return null;
        }
        using var ask = new NpgsqlCommand($"SELECT id FROM {schema}.mt_events WHERE seq_id = $1", connection) { Parameters = { Parameter.Long(plan.HeadWas + 1) } };
        return ask.ExecuteScalar() is Guid id && id == plan.Entries[0].Id;
    }

    /// <summary>Asks for everything that a part rests on. Answers the claims that are not this node's any more.</summary>
    public HashSet<Claim> Verify(IReadOnlyList<Pending> part, NpgsqlConnection connection)
    {
        var streams = part.SelectMany(p => p.Commit.Writes.Select(w => w.Stream).Concat(p.Commit.Pins.Select(pin => pin.Stream)).Select(stream => (p.Commit.Org, stream)))
            .Distinct().ToList();
        var sessions = part.SelectMany(p => p.Commit.Writes.Select(w => w.Session).OfType<SessionKey>().Select(session => (p.Commit.Org, session))).Distinct().ToList();
        AskVersions(streams, connection);
        AskFeeds(sessions, connection);
        var claims = part.Select(p => p.Commit.Done).OfType<Claim>().ToList();
        var gone = claims.ToHashSet();
        if (claims.Count > 0)
        {
            using var ask = new NpgsqlCommand(
                $"""
                SELECT j.tenant_id, j.kind, j.key, j.epoch, j.holder FROM unnest($1, $2, $3) u (tenant_id, kind, key)
                JOIN {schema}.jobs j ON j.tenant_id = u.tenant_id AND j.kind = u.kind AND j.key = u.key WHERE j.holder IS NOT NULL
                """,
                connection)
            {
                Parameters = { Parameter.Texts([.. claims.Select(c => c.Org)]), Parameter.Texts([.. claims.Select(c => c.Kind)]), Parameter.Texts([.. claims.Select(c => c.Key)]) },
            };
            using var reader = ask.ExecuteReader();
            while (reader.Read())
            {
                var claim = new Claim(reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3));
                if (jobs.HolderOf(claim) == reader.GetString(4))
                {
                    gone.Remove(claim);
                }
            }
        }
        return gone;
    }

    /// <summary>
    /// Asks for the versions of pinned streams that are not remembered. Nothing is written to them, so that nothing in the tables guards what is remembered of them but the
    /// head row: where it stands as it is remembered, nobody else has written since.
    /// </summary>
    public void FindPins(IReadOnlyList<Pending> part, NpgsqlConnection connection)
    {
        List<(string Org, string Stream)>? unknown = null;
        foreach (var pending in part)
        {
            foreach (var pin in pending.Commit.Pins)
            {
                if (!versions.TryGet((pending.Commit.Org, pin.Stream), out _))
                {
                    (unknown ??= []).Add((pending.Commit.Org, pin.Stream));
                }
            }
        }
        if (unknown is not null)
        {
            AskVersions(unknown, connection);
        }
    }

    /// <summary>Plans a part commit by commit, each seeing the ones before it.</summary>
    /// <param name="certain">What is remembered is up to date, because the head row is held.</param>
    public FlushPlan Plan(IReadOnlyList<Pending> part, bool certain, HashSet<Claim>? gone)
    {
        var plan = new FlushPlan(part, database.Subjects);
        var undo = new List<(StreamMove Move, long Is, DateTime LastAt)>();
        foreach (var pending in part)
        {
            var commit = pending.Commit;
            if (commit.Done is { } done)
            {
                if (jobs.HolderOf(done) is not { } holder || gone?.Contains(done) == true || !plan.Done.TryAdd(done, holder))
                {
                    plan.Refused.Add((pending, new AppendResult.Fenced()));
                    continue;
                }
            }
            undo.Clear();
            var moved = commit.Knows < foreign ? commit.Writes[0].Stream : Unpinned(plan, commit, certain);
            foreach (var write in moved is null ? commit.Writes : [])
            {
                var key = (commit.Org, write.Stream);
                if (plan.Streams.TryGetValue(key, out var move))
                {
                    if (write.Expected != move.Is)
                    {
                        moved = write.Stream;
                        break;
                    }
                }
                else
                {
                    if (versions.TryGet(key, out var version) && version != write.Expected)
                    {
                        if (certain || write.Expected < version)
                        {
                            moved = write.Stream;
                            break;
                        }
                        plan.Behind = true;
                    }
                    plan.Streams.Add(key, move = new(commit.Org, write.Stream, write.Expected, write.Events[0].At));
                }
                undo.Add((move, move.Is, move.LastAt));
                move.Is = write.Expected + write.Events.Count;
                move.LastAt = write.Events[^1].At.UtcDateTime;
            }
            if (moved is not null)
            {
                for (var i = undo.Count - 1; i >= 0; i--)
                {
                    var (move, was, at) = undo[i];
                    (move.Is, move.LastAt) = (was, at);
                    if (was == move.Was)
                    {
                        plan.Streams.Remove((move.Org, move.Stream));
                    }
                }
                if (commit.Done is not null)
                {
                    plan.Done.Remove(commit.Done);
                }
                plan.Refused.Add((pending, new AppendResult.Moved(moved)));
                continue;
            }
            plan.Accepted.Add(pending);
        }
        return plan;
    }

    /// <summary>The first stream that is not where the commit pins it; null: none is.</summary>
    string? Unpinned(FlushPlan plan, Commit commit, bool certain)
    {
        foreach (var pin in commit.Pins)
        {
            var key = (commit.Org, pin.Stream);
            var version = plan.Streams.TryGetValue(key, out var move) ? move.Is : versions.TryGet(key, out var known) ? known : 0;
            if (version == pin.Version)
            {
                continue;
            }
            if (certain || version > pin.Version)
            {
                return pin.Stream;
            }
            plan.Behind = true;
        }
        return null;
    }

    void AskVersions(List<(string Org, string Stream)> streams, NpgsqlConnection connection)
    {
        foreach (var stream in streams)
        {
            versions.Put(stream, 0);
        }
        using var ask = new NpgsqlCommand(
            $"SELECT s.tenant_id, s.id, s.version FROM unnest($1, $2) u (tenant_id, id) JOIN {schema}.mt_streams s ON s.tenant_id = u.tenant_id AND s.id = u.id", connection)
        {
            Parameters = { Parameter.Texts([.. streams.Select(s => s.Org)]), Parameter.Texts([.. streams.Select(s => s.Stream)]) },
        };
        using var reader = ask.ExecuteReader();
        while (reader.Read())
        {
            versions.Put((reader.GetString(0), reader.GetString(1)), reader.GetInt64(2));
        }
    }

    void FindFeeds(FlushPlan plan, NpgsqlConnection connection)
    {
        List<(string, SessionKey)>? unknown = null;
        foreach (var pending in plan.Accepted)
        {
            foreach (var write in pending.Commit.Writes)
            {
                if (write.Session is not { } session || plan.Feeds.ContainsKey((pending.Commit.Org, session)))
                {
                    continue;
                }
                var key = (pending.Commit.Org, session);
                if (feeds.TryGet(key, out var feed))
                {
                    plan.Feeds.Add(key, feed);
                }
                else if (write.Expected == 0 && write.Stream == Session.Aggregate.Stream(session))
                {
                    // A session that begins has no feed yet. Were it otherwise, the feed's key would tell.
                    plan.Feeds.Add(key, 0);
                }
                else
                {
                    plan.Feeds.Add(key, -1);
                    (unknown ??= []).Add(key);
                }
            }
        }
        if (unknown is not null)
        {
            AskFeeds(unknown, connection);
            foreach (var key in unknown)
            {
                feeds.TryGet(key, out var feed);
                plan.Feeds[key] = feed;
            }
        }
    }

    void AskFeeds(List<(string Org, SessionKey Session)> sessions, NpgsqlConnection connection)
    {
        using var ask = new NpgsqlCommand(
            $"""
            SELECT u.tenant_id, u.session_id, coalesce((SELECT f.feed_id FROM {schema}.feed f WHERE f.tenant_id = u.tenant_id AND f.session_id = u.session_id
                AND f.gid <= $3 ORDER BY f.feed_id DESC LIMIT 1), 0) FROM unnest($1, $2) u (tenant_id, session_id)
            """,
            connection)
        {
            // As of the head that is known here: what others wrote after it is counted when it is read as news, and must not be counted twice.
            Parameters = { Parameter.Texts([.. sessions.Select(s => s.Org)]), Parameter.Texts([.. sessions.Select(s => s.Session.Value)]), Parameter.Long(head) },
        };
        using var reader = ask.ExecuteReader();
        while (reader.Read())
        {
            feeds.Put((reader.GetString(0), new(reader.GetString(1))), reader.GetInt64(2));
        }
    }
}
