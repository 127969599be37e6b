using System.Data;
using System.Diagnostics;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>
/// Writes this node's commits: all that wait at a moment in one transaction and, as long as nobody else writes, in one round trip. It numbers
/// positions and feed ids itself from what it remembers; the database only guards, first of all by the head row, which every writer of every
/// node takes before anything else. A numbered flush gets into the tables as one Marten session: <see cref="Flush"/>.
/// </summary>
/// <remarks>
/// It has a thread and a connection of its own and blocks on both: one commit at a time passes through the fewest hands that way.
/// </remarks>
sealed partial class EventWriter : IAsyncDisposable
{
    const int CommitsMax = 512;
    const int BytesMax = 4 << 20;
    const int CacheMax = 100_000;

    /// <summary>Events of other nodes that are worth reading one by one to bring the caches up to date; beyond that they start anew.</summary>
    const int NewsMax = 5_000;

    /// <summary>Flushes that take the head row first, in a round trip of their own, after another node was found writing.</summary>
    const int ContendedFlushes = 32;

    static readonly TimeSpan BackOffMin = TimeSpan.FromMilliseconds(10);
    static readonly TimeSpan BackOffMax = TimeSpan.FromMilliseconds(200);

    readonly StorageOptions options;
    readonly Database database;
    readonly JobQueue jobs;
    readonly NodeHeartbeat heartbeat;
    readonly Wakeups wakeups;
    readonly TimeProvider clock;
    readonly ILogger logger;
    readonly Flush flush;
    readonly string schema;
    readonly Func<string, bool> isTable;
    readonly string lockHead;
    readonly string news;

    readonly object gate = new();
    readonly ManualResetEvent stop = new(false);
    readonly TaskCompletionSource ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Thread thread;
    List<Pending> queue = [];
    bool asleep;
    bool stopping;
    bool suspect;

    // What follows is the thread's own.
    readonly RecentCache<(string Org, string Stream)> versions = new(CacheMax);
    readonly RecentCache<(string Org, string Session)> feeds = new(CacheMax);
    readonly List<Pending> carried = [];
    NpgsqlConnection? connection;
    (int Pid, DateTime Started) backend;
    FlushPlan? sent;
    FlushPlan? doubt;
    int contended;
    int lastFlush;
    long lostAt;
    TimeSpan backOff = BackOffMin;
    NpgsqlTransaction? transaction;

    long head;
    volatile bool up;
    volatile bool down;

    public EventWriter(Database database, StorageOptions options, NodeHeartbeat heartbeat, JobQueue jobs, Wakeups wakeups, Flush flush)
    {
        (this.database, this.options, this.heartbeat, this.jobs, this.wakeups, this.flush) = (database, options, heartbeat, jobs, wakeups, flush);
        clock = options.Clock;
        logger = options.Logs.CreateLogger<EventWriter>();
        schema = database.Schema;
        isTable = options.Models.OfType<IReadModel>().Select(m => m.Table).ToHashSet().Contains;
        lockHead = $"SELECT gid FROM {schema}.head FOR UPDATE";
        news = $"SELECT seq_id, tenant_id, stream_id, version, headers->>'session' FROM {schema}.mt_events WHERE seq_id > $1 ORDER BY seq_id LIMIT {NewsMax + 1}";
        thread = new(Run) { IsBackground = true, Name = "cowork writer" };
    }

    /// <summary>True while it has its connection.</summary>
    public bool IsUp => up;

    /// <summary>The log's last position as far as this node knows.</summary>
    public long Head => Volatile.Read(ref head);

    /// <summary>Commits that failed and were never acknowledged leave no trace here; for tests: how many flushes went out.</summary>
    public long Flushes { get; private set; }

    public Task Start()
    {
        thread.Start();
        return ready.Task;
    }

    public async ValueTask<AppendResult> Append(Commit commit, CancellationToken ct)
    {
        CommitRules.Check(commit, isTable);
        ct.ThrowIfCancellationRequested();
        if (down)
        {
            throw new StorageUnavailableException("The database is away.");
        }
        var pending = new Pending(commit);
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopping, this);
            queue.Add(pending);
            if (asleep)
            {
                asleep = false;
                Monitor.Pulse(gate);
            }
        }
        if (!ct.CanBeCanceled)
        {
            return await pending.Outcome.ConfigureAwait(false);
        }
        using (ct.UnsafeRegister(static (p, token) => ((Pending)p!).Withdraw(token), pending))
        {
            return await pending.Outcome.ConfigureAwait(false);
        }
    }

    /// <summary>Something else has found the database away: look whether the connection still lives.</summary>
    public void Suspect()
    {
        lock (gate)
        {
            suspect = true;
            asleep = false;
            Monitor.Pulse(gate);
        }
    }

    public async ValueTask DisposeAsync()
    {
        lock (gate)
        {
            stopping = true;
            asleep = false;
            Monitor.Pulse(gate);
        }
        stop.Set();
        if (thread.IsAlive)
        {
            await Task.Run(thread.Join);
        }
        stop.Dispose();
    }

    void Run()
    {
        try
        {
            Connect();
            using (var ask = new NpgsqlCommand($"SELECT gid FROM {schema}.head", connection))
            {
                Volatile.Write(ref head, (long)ask.ExecuteScalar()!);
            }
            ready.TrySetResult();
        }
        catch (Exception e)
        {
            connection?.Dispose();
            stopping = true;
            ready.TrySetException(Database.IsAway(e) ? Database.Unavailable(e) : e);
            return;
        }
        while (WaitForWork())
        {
            try
            {
                if (connection is null && !Reconnect())
                {
                    continue;
                }
                if (suspect)
                {
                    suspect = false;
                    Ping();
                }
                if (connection is null)
                {
                    continue;
                }
                if (doubt is { } unsure)
                {
                    Attempt(unsure.Part);
                }
                else if (carried.Count > 0)
                {
                    var batch = carried.ToList();
                    carried.Clear();
                    Attempt(batch);
                }
                else
                {
                    Settle();
                    Attempt(TakeBatch());
                }
            }
            catch (Exception e)
            {
                // Not foreseen; whoever waits must hear of it, and the next batch deserves a new connection.
                LogBroken(e);
                Disconnect();
                FailAll(e);
            }
        }
        up = false;
        FailAll(new StorageUnavailableException("This node stops."));
        connection?.Dispose();
    }

    /// <summary>False: told to stop, and nothing is left to be done.</summary>
    bool WaitForWork()
    {
        lock (gate)
        {
            while (true)
            {
                if (stopping && (connection is null || (queue.Count == 0 && doubt is null && carried.Count == 0)))
                {
                    return false;
                }
                if (queue.Count > 0 || suspect || connection is null || doubt is not null || carried.Count > 0)
                {
                    return true;
                }
                asleep = true;
                Monitor.Wait(gate);
            }
        }
    }

    /// <summary>Callers that have just been answered tend to come again at once: waiting until no more come makes the next flush larger, without a timer.</summary>
    void Settle()
    {
        var seen = Volatile.Read(ref queue).Count;
        var quiet = 0;
        for (var i = 0; i < 200 && seen < lastFlush && quiet < 4; i++)
        {
            Thread.Yield();
            var now = Volatile.Read(ref queue).Count;
            quiet = now == seen ? quiet + 1 : 0;
            seen = now;
        }
    }

    List<Pending> TakeBatch()
    {
        List<Pending> taken;
        lock (gate)
        {
            taken = queue;
            queue = [];
        }
        var size = 0;
        var count = 0;
        while (count < taken.Count && count < CommitsMax && (count == 0 || size + taken[count].Size <= BytesMax))
        {
            size += taken[count++].Size;
        }
        if (count < taken.Count)
        {
            lock (gate)
            {
                queue.InsertRange(0, taken[count..]);
            }
            taken.RemoveRange(count, taken.Count - count);
        }
        taken.RemoveAll(pending => !pending.Take());
        return taken;
    }

    /// <summary>
    /// Writes a batch, as often and in as many parts as it takes for every commit to have its answer. A commit that PostgreSQL refuses fails alone: the batch
    /// is halved until it stands alone. When the connection breaks, what has no answer is carried over.
    /// </summary>
    void Attempt(IReadOnlyList<Pending> batch)
    {
        var parts = new Stack<IReadOnlyList<Pending>>();
        parts.Push(batch);
        while (parts.TryPop(out var part))
        {
            if (part.Count == 0)
            {
                continue;
            }
            try
            {
                WriteObserved(part);
                continue;
            }
            catch (Exception e) when (IsLost(e) && (sent is not null || connection is not { State: ConnectionState.Open }))
            {
                // Whether the transaction took place is not known. The answer comes from the log, once there is a connection.
                LogLost(e.Message);
                doubt ??= sent;
                if (doubt is null)
                {
                    carried.AddRange(part);
                }
                Disconnect();
            }
            catch (Exception e) when (Database.IsAway(e))
            {
                // Disk full, time-out, read-only: rolled back for certain, and no fault of the commits.
                RollBack();
                foreach (var pending in part)
                {
                    pending.Fail(Database.Unavailable(e));
                }
            }
            catch (Exception e)
            {
                if (sent is null || Undone(sent))
                {
                    RollBack();
                    if (part.Count == 1)
                    {
                        LogRefused(part[0].Commit.Org, part[0].Commit.Writes.Count > 0 ? part[0].Commit.Writes[0].Stream : "", e.Message);
                        part[0].Fail(new InvalidOperationException($"The database refused the commit: {e.Message}", e));
                    }
                    else
                    {
                        parts.Push([.. part.Skip(part.Count / 2)]);
                        parts.Push([.. part.Take(part.Count / 2)]);
                    }
                }
            }
            sent = null;
            if (connection is null)
            {
                while (parts.TryPop(out var rest))
                {
                    carried.AddRange(rest);
                }
            }
        }
    }

    /// <summary>
    /// Something broke on this side while a flush was under way. Makes sure on a new connection that it did not take place; false: it did, and is
    /// answered, or will be when there is a connection.
    /// </summary>
    bool Undone(FlushPlan plan)
    {
        Disconnect();
        doubt = plan;
        if (!Reconnect())
        {
            return false;
        }
        try
        {
            LockHead();
            doubt = null;
            var landed = Landed(plan);
            RollBack();
            if (landed == true)
            {
                Succeed(plan, held: null);
            }
            return landed != true;
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            doubt = plan;
            Disconnect();
            return false;
        }
    }

    void WriteObserved(IReadOnlyList<Pending> part)
    {
        using var span = Spans.Source.HasListeners() ? Spans.Flush(part.Select(pending => pending.Trace)) : null;
        span?.SetTag("cowork.commit_count", part.Count);
        if (part.Count > 1)
        {
            span?.SetTag("db.operation.batch.size", part.Count);
        }
        var began = clock.GetTimestamp();
        string? failed = null;
        try
        {
            Write(part);
        }
        catch (Exception e)
        {
            failed = e is PostgresException { SqlState: var state } ? state : e.GetType().Name;
            span.SetError(failed);
            throw;
        }
        finally
        {
            Measures.BatchSize.Record(part.Count);
            if (Measures.FlushDuration.Enabled)
            {
                var tags = new TagList { { "db.system.name", "postgresql" }, { "db.operation.name", "flush" } };
                if (failed is not null)
                {
                    tags.Add("error.type", failed);
                }
                Measures.FlushDuration.Record(clock.GetElapsedTime(began).TotalSeconds, tags);
            }
        }
    }

    void Write(IReadOnlyList<Pending> part)
    {
        sent = null;
        if (doubt is not null || contended > 0)
        {
            WriteLocked(part, verify: false);
            return;
        }
        var plan = PlanFor(part, certain: false, gone: null);
        if (plan.Behind)
        {
            WriteLocked(part, verify: false);
            return;
        }
        if (plan.Accepted.Count > 0)
        {
            try
            {
                FindFeeds(plan);
                plan.Number(head);
                Succeed(plan, Execute(plan));
                return;
            }
            catch (PostgresException e) when (IsGuard(e))
            {
                RollBack();
                WriteLocked(part, verify: e.SqlState != Schema.HeadMoved);
                return;
            }
        }
        AnswerRefused(plan);
    }

    /// <summary>
    /// Takes the head row, then writes: two round trips, in which nobody else can write. Nodes that write at the same time pass each other the row in the
    /// order of their asking, so that none starves.
    /// </summary>
    /// <param name="verify">What is remembered about the part has been found wrong: ask for all of it.</param>
    void WriteLocked(IReadOnlyList<Pending> part, bool verify)
    {
        while (true)
        {
            sent = null;
            LockHead();
            if (doubt is { } unsure)
            {
                doubt = null;
                var landed = Landed(unsure);
                if (landed != false)
                {
                    RollBack();
                    if (landed == true)
                    {
                        Succeed(unsure, held: null);
                    }
                    else
                    {
                        jobs.Reconcile();
                        foreach (var pending in unsure.Part)
                        {
                            pending.Fail(new StorageUnavailableException("The connection broke, and nothing tells whether the commit took place."));
                        }
                    }
                    return;
                }
            }
            var plan = PlanFor(part, certain: true, gone: verify ? Verify(part) : null);
            if (plan.Accepted.Count == 0)
            {
                RollBack();
                AnswerRefused(plan);
                return;
            }
            try
            {
                FindFeeds(plan);
                plan.Number(head);
                Succeed(plan, Execute(plan));
                return;
            }
            catch (PostgresException e) when (IsGuard(e) && !verify)
            {
                RollBack();
                verify = true;
            }
        }
    }

    /// <summary>A connection that breaks while its transaction's first answer is read can say that it is disposed of instead.</summary>
    static bool IsLost(Exception e) => Database.IsAway(e) || e is ObjectDisposedException;

    static bool IsGuard(PostgresException e) =>
        e.SqlState is Schema.HeadMoved or Schema.StreamMoved or Schema.JobMoved
        || (e.SqlState == PostgresErrorCodes.UniqueViolation && e.TableName is "feed" or "mt_events" or "mt_streams");

    /// <summary>Begins a transaction, takes the head row, and learns what other nodes have written since.</summary>
    void LockHead()
    {
        transaction = connection!.BeginTransaction();
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
            if (!reader.IsDBNull(4) && feeds.TryGet((org, reader.GetString(4)), out var feed))
            {
                feeds.Put((org, reader.GetString(4)), feed + 1);
            }
        }
        if (count != now - head)
        {
            // Too many, or the database is not the one that it was.
            versions.Clear();
            feeds.Clear();
        }
        Volatile.Write(ref head, now);
        database.Observer?.OthersWrote();
    }

    /// <summary>Whether a transaction of which nothing was heard took place. Its numbers are its own, so one event tells; null: it has none.</summary>
    bool? Landed(FlushPlan plan)
    {
        if (plan.Entries.Length == 0)
        {
            return null;
        }
        using var ask = new NpgsqlCommand($"SELECT id FROM {schema}.mt_events WHERE seq_id = $1", connection) { Parameters = { Parameter.Long(plan.HeadWas + 1) } };
        return ask.ExecuteScalar() is Guid id && id == plan.Entries[0].Id;
    }

    /// <summary>Asks for everything that a part rests on. Answers the claims that are not this node's any more.</summary>
    HashSet<Claim> Verify(IReadOnlyList<Pending> part)
    {
        var streams = part.SelectMany(p => p.Commit.Writes.Select(w => (p.Commit.Org, w.Stream))).Distinct().ToList();
        var sessions = part.SelectMany(p => p.Commit.Writes.Where(w => w.Session is not null).Select(w => (p.Commit.Org, w.Session!))).Distinct().ToList();
        foreach (var stream in streams)
        {
            versions.Put(stream, 0);
        }
        using (var ask = new NpgsqlCommand(
            $"SELECT s.tenant_id, s.id, s.version FROM unnest($1, $2) u (tenant_id, id) JOIN {schema}.mt_streams s ON s.tenant_id = u.tenant_id AND s.id = u.id", connection)
        {
            Parameters = { Parameter.Texts([.. streams.Select(s => s.Org)]), Parameter.Texts([.. streams.Select(s => s.Stream)]) },
        })
        using (var reader = ask.ExecuteReader())
        {
            while (reader.Read())
            {
                versions.Put((reader.GetString(0), reader.GetString(1)), reader.GetInt64(2));
            }
        }
        AskFeeds(sessions);
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

    /// <summary>Judges a part commit by commit, each seeing the ones before it.</summary>
    /// <param name="certain">What is remembered is up to date, because the head row is held.</param>
    FlushPlan PlanFor(IReadOnlyList<Pending> part, bool certain, HashSet<Claim>? gone)
    {
        var plan = new FlushPlan(part);
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
            string? moved = null;
            foreach (var write in commit.Writes)
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

    void FindFeeds(FlushPlan plan)
    {
        List<(string, string)>? unknown = null;
        foreach (var pending in plan.Accepted)
        {
            foreach (var write in pending.Commit.Writes)
            {
                if (write.Session is null || plan.Feeds.ContainsKey((pending.Commit.Org, write.Session)))
                {
                    continue;
                }
                var key = (pending.Commit.Org, write.Session);
                if (feeds.TryGet(key, out var feed))
                {
                    plan.Feeds.Add(key, feed);
                }
                else if (write.Expected == 0 && write.Stream == Session.Aggregate.Stream(write.Session))
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
            AskFeeds(unknown);
            foreach (var key in unknown)
            {
                feeds.TryGet(key, out var feed);
                plan.Feeds[key] = feed;
            }
        }
    }

    void AskFeeds(List<(string Org, string Session)> sessions)
    {
        using var ask = new NpgsqlCommand(
            $"""
            SELECT u.tenant_id, u.session_id, coalesce((SELECT f.feed_id FROM {schema}.feed f WHERE f.tenant_id = u.tenant_id AND f.session_id = u.session_id
                AND f.gid <= $3 ORDER BY f.feed_id DESC LIMIT 1), 0) FROM unnest($1, $2) u (tenant_id, session_id)
            """,
            connection)
        {
            // As of the head that is known here: what others wrote after it is counted when it is read as news, and must not be counted twice.
            Parameters = { Parameter.Texts([.. sessions.Select(s => s.Org)]), Parameter.Texts([.. sessions.Select(s => s.Session)]), Parameter.Long(head) },
        };
        using var reader = ask.ExecuteReader();
        while (reader.Read())
        {
            feeds.Put((reader.GetString(0), reader.GetString(1)), reader.GetInt64(2));
        }
    }

    /// <summary>Writes a numbered plan, and commits it. Answers the jobs that this node holds from now on.</summary>
    Held Execute(FlushPlan plan)
    {
        var ours = heartbeat.Node;
        transaction ??= connection!.BeginTransaction();
        try
        {
            var claims = flush.Write(transaction, plan, ours, jobs.Takes, sending: () => sent = plan);
            sent = null;
            transaction = null;
            return new(claims, ours);
        }
        catch (PostgresException) when (connection is { State: ConnectionState.Open })
        {
            sent = null;
            throw;
        }
    }

    /// <summary>It is in the log: remembers, tells who listens, and answers.</summary>
    /// <param name="held">The jobs that came with it; null: the database has to be asked.</param>
    void Succeed(FlushPlan plan, Held? held)
    {
        Flushes++;
        lastFlush = plan.Part.Count;
        Volatile.Write(ref head, Math.Max(head, plan.HeadIs));
        foreach (var (key, move) in plan.Streams)
        {
            versions.Put(key, move.Is);
        }
        foreach (var (key, feed) in plan.Feeds)
        {
            feeds.Put(key, feed);
        }
        foreach (var done in plan.Done.Keys)
        {
            jobs.Forget(done);
        }
        try
        {
            database.Observer?.Committed(plan.Entries);
        }
        catch (Exception e)
        {
            // Whoever listens badly must not make a commit look as if it had failed.
            LogObserver(e);
        }
        if (held is null)
        {
            jobs.Reconcile();
        }
        else
        {
            foreach (var claim in held.Claims)
            {
                jobs.Hand(claim, held.Node!);
            }
            if (held.Claims.Count < plan.Jobs.Count)
            {
                foreach (var job in plan.Jobs.Values)
                {
                    jobs.LookAt(job.Due ?? DateTimeOffset.MinValue);
                }
            }
        }
        var first = plan.HeadWas + 1;
        foreach (var pending in plan.Accepted)
        {
            var count = pending.Commit.Writes.Sum(w => w.Events.Count);
            pending.Answer(new AppendResult.Ok(count == 0 ? 0 : first));
            first += count;
        }
        AnswerRefused(plan);
        wakeups.Wrote();
    }

    void AnswerRefused(FlushPlan plan)
    {
        foreach (var (pending, why) in plan.Refused)
        {
            if (why is AppendResult.Fenced && pending.Commit.Done is { } lost)
            {
                jobs.Lose(lost);
            }
            pending.Answer(why);
        }
    }

    void RollBack()
    {
        if (connection is { State: ConnectionState.Open } && transaction is not null)
        {
            try
            {
                transaction.Rollback();
            }
            catch (Exception e) when (Database.IsAway(e))
            {
                Disconnect();
            }
        }
        transaction = null;
        if (connection is { State: not ConnectionState.Open })
        {
            Disconnect();
        }
    }

    /// <summary>Opens the connection and makes an end of the one before: a server may hold its transaction, and with it the head row, long after we have let it go.</summary>
    void Connect()
    {
        var fresh = database.Apart("writer", autoPrepare: true);
        try
        {
            fresh.Open();
            var (pid, started) = backend;
            using var begin = new NpgsqlBatch(fresh)
            {
                BatchCommands =
                {
                    new($"""
                        SELECT set_config(name, value, false) FROM (VALUES
                            ('jit', 'off'), ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
                            ('enable_bitmapscan', 'off'), ('statement_timeout', '{(int)(options.CommandTimeout.TotalMilliseconds * 0.8)}'),
                            ('idle_in_transaction_session_timeout', '{(int)options.CommandTimeout.TotalMilliseconds}')) s (name, value)
                        """),
                    // The function writes every stream before its events, so the foreign key looks up what is there for certain; that costs an eighth of the server's work.
                    // Only a superuser may leave it out, as on a private PostgreSQL.
                    new("DO $do$ BEGIN PERFORM set_config('session_replication_role', 'replica', false); EXCEPTION WHEN insufficient_privilege THEN NULL; END $do$"),
                    new("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2")
                    {
                        Parameters = { new() { Value = pid }, new NpgsqlParameter<DateTime> { TypedValue = started, NpgsqlDbType = NpgsqlDbType.TimestampTz } },
                    },
                    new("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
                },
            };
            using var reader = begin.ExecuteReader();
            reader.NextResult();
            reader.NextResult();
            reader.Read();
            backend = (reader.GetInt32(0), reader.GetDateTime(1));
        }
        catch
        {
            fresh.Dispose();
            throw;
        }
        connection = fresh;
        transaction = null;
        up = true;
    }

    bool Reconnect()
    {
        try
        {
            Connect();
        }
        catch (Exception e)
        {
            if (!down && clock.GetElapsedTime(lostAt) >= options.OutageDeadline)
            {
                down = true;
                LogAway(e.Message);
            }
            if (down)
            {
                FailAll(Database.Unavailable(e));
            }
            stop.WaitOne(backOff);
            backOff = TimeSpan.FromTicks(Math.Min(backOff.Ticks * 2, BackOffMax.Ticks));
            return false;
        }
        backOff = BackOffMin;
        down = false;
        LogBack();
        return true;
    }

    void Disconnect()
    {
        if (connection is not null)
        {
            up = false;
            lostAt = clock.GetTimestamp();
            connection.Dispose();
            connection = null;
            transaction = null;
        }
    }

    void Ping()
    {
        try
        {
            using var command = new NpgsqlCommand("SELECT 1", connection);
            command.ExecuteNonQuery();
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            Disconnect();
        }
    }

    /// <summary>Answers everybody who waits, those included whose commit may have happened.</summary>
    void FailAll(Exception e)
    {
        List<Pending> waiting;
        lock (gate)
        {
            waiting = queue;
            queue = [];
        }
        waiting.RemoveAll(pending => !pending.Take());
        waiting.AddRange(carried);
        carried.Clear();
        if (doubt is not null)
        {
            waiting.AddRange(doubt.Part);
            doubt = null;
            jobs.Reconcile();
        }
        waiting.ForEach(pending => pending.Fail(e));
    }

    /// <summary>Jobs that came with a commit, held by this node.</summary>
    sealed record Held(List<Claim> Claims, string? Node);

    [LoggerMessage(1, LogLevel.Warning, "The writer lost its connection: {Reason}")]
    partial void LogLost(string reason);

    [LoggerMessage(2, LogLevel.Error, "The database is away: {Reason}")]
    partial void LogAway(string reason);

    [LoggerMessage(3, LogLevel.Information, "The writer is connected again")]
    partial void LogBack();

    [LoggerMessage(4, LogLevel.Error, "The writer met what it does not know")]
    partial void LogBroken(Exception e);

    [LoggerMessage(5, LogLevel.Error, "PostgreSQL refused a commit to {Stream} of {Org}: {Reason}")]
    partial void LogRefused(string org, string stream, string reason);

    [LoggerMessage(6, LogLevel.Error, "A listener to commits failed")]
    partial void LogObserver(Exception e);
}
