using System.Diagnostics;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

using Npgsql;

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

    /// <summary>How often a batch is tried again that PostgreSQL undid because of other sessions (deadlock, serialization).</summary>
    const int ConflictsMax = 5;

    /// <summary>Connections that may be lost in a row, without a flush between them, before the commits that were under way hear of it.</summary>
    const int SetbacksMax = 8;

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
    readonly LogPositions positions;
    readonly WriterConnection connection;
    readonly Func<string, bool> isTable;

    readonly object gate = new();
    readonly ManualResetEvent stop = new(false);
    readonly Thread thread;
    List<Pending> queue = [];
    bool asleep;
    bool stopping;
    bool suspect;

    // What follows is the thread's own.
    readonly List<Pending> carried = [];
    FlushPlan? sent;
    FlushPlan? doubt;
    int lastFlush;
    int setbacks;
    TimeSpan backOff = BackOffMin;

    /// <summary>Why callers are not kept waiting any more; null: they are.</summary>
    volatile StorageUnavailableException? down;

    public EventWriter(Database database, StorageOptions options, NodeHeartbeat heartbeat, JobQueue jobs, Wakeups wakeups, Flush flush)
    {
        (this.database, this.options, this.heartbeat, this.jobs, this.wakeups, this.flush) = (database, options, heartbeat, jobs, wakeups, flush);
        clock = options.Clock;
        logger = options.Logs.CreateLogger<EventWriter>();
        positions = new(database, jobs);
        connection = new(database, options);
        isTable = options.Models.OfType<IReadModel>().Select(m => m.Table).ToHashSet().Contains;
        thread = new(Run) { IsBackground = true, Name = "cowork writer" };
    }

    /// <summary>True while it takes commits: it has its connection, and refuses no more what came while it had none.</summary>
    public bool IsUp => connection.IsUp && down is null;

    /// <summary>The log's last position as far as this node knows.</summary>
    public long Head => positions.Head;

    /// <summary>Commits that failed and were never acknowledged leave no trace here; for tests: how many flushes went out.</summary>
    public long Flushes { get; private set; }

    /// <summary>Makes the first connection, and learns where the log ends. It may be called again after it has failed.</summary>
    /// <exception cref="StorageUnavailableException">The database is away, or takes no writes.</exception>
    public Task Connect() => Task.Run(() =>
    {
        connection.Close();
        try
        {
            connection.Open();
            positions.AskHead(connection.Connection);
        }
        catch (Exception e)
        {
            connection.Close();
            if (Database.IsAway(e))
            {
                throw Database.Unavailable(e);
            }
            throw;
        }
    });

    /// <summary>Begins to write, after <see cref="Connect"/>.</summary>
    public void Start() => thread.Start();

    public async ValueTask<AppendResult> Append(Commit commit, CancellationToken ct)
    {
        CommitRules.Check(commit, isTable);
        ct.ThrowIfCancellationRequested();
        if (down is { } why)
        {
            throw Database.Again(why);
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
        while (WaitForWork())
        {
            try
            {
                if (connection.IsGone && !Reconnect())
                {
                    continue;
                }
                if (suspect)
                {
                    suspect = false;
                    connection.Check();
                }
                if (connection.IsGone)
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
                // Unexpected: the callers must hear of it, and the next batch deserves a new connection.
                LogBroken(e);
                connection.Close();
                FailAll(e);
            }
        }
        FailAll(new StorageUnavailableException("This node stops."));
        connection.Close();
    }

    /// <summary>False: told to stop, and nothing is left to be done.</summary>
    bool WaitForWork()
    {
        lock (gate)
        {
            while (true)
            {
                if (stopping && (connection.IsGone || (queue.Count == 0 && doubt is null && carried.Count == 0)))
                {
                    return false;
                }
                if (queue.Count > 0 || suspect || connection.IsGone || doubt is not null || carried.Count > 0)
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
        var conflicts = 0;
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
            catch (Exception e) when (IsLost(e) && (sent is not null || !connection.IsOpen))
            {
                // Whether the transaction took place is not known. The answer comes from the log, once there is a connection.
                LogLost(e.Message);
                doubt ??= sent;
                connection.Close();
                Carry(part, e);
            }
            catch (Exception e) when (Database.IsConflict(e) && doubt is null && conflicts++ < ConflictsMax)
            {
                // Another session's locks were in the way. The transaction is undone, and nothing speaks against it a moment later.
                connection.RollBack(cleanse: true);
                stop.WaitOne(BackOffMin * conflicts);
                parts.Push(part);
            }
            catch (Exception e) when (Database.IsNoPrimary(e) || IsDemoted(e))
            {
                // Undone for certain, but for what was in doubt before. The connection leads to a server that takes no writes; another may by now.
                LogLost(e.Message);
                connection.Close();
                Carry(part, e);
            }
            catch (Exception e) when (Database.IsAway(e))
            {
                // Disk full, time-out, a right that is missing: rolled back for certain, and no fault of the commits.
                connection.RollBack(cleanse: true);
                if (e is PostgresException { SqlState: PostgresErrorCodes.InsufficientPrivilege })
                {
                    // Connecting anew finds out whether this node may write at all, and until it may, it is not ready.
                    connection.Close();
                }
                Fail(part, Database.Unavailable(e));
            }
            catch (Exception e)
            {
                if (doubt is not null)
                {
                    connection.RollBack(cleanse: true);
                    Fail(part, Database.Unavailable(e));
                }
                else if (sent is null || Undone(sent))
                {
                    connection.RollBack(cleanse: true);
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
            if (connection.IsGone)
            {
                while (parts.TryPop(out var rest))
                {
                    carried.AddRange(rest);
                }
            }
        }
    }

    /// <summary>
    /// Keeps a part for the next connection, unless connection after connection is lost over it: what brings a server down each time must not do so for ever.
    /// What is in doubt is a part already.
    /// </summary>
    void Carry(IReadOnlyList<Pending> part, Exception e)
    {
        if (++setbacks > SetbacksMax)
        {
            Fail(part, Database.Unavailable(e));
        }
        else if (doubt is null)
        {
            carried.AddRange(part);
        }
        if (setbacks > 1)
        {
            stop.WaitOne(BackOffMin * setbacks);
        }
    }

    /// <summary>Fails a part that is not tried again, and with it what was in doubt: nobody waits for that answer any more.</summary>
    void Fail(IReadOnlyList<Pending> part, Exception e)
    {
        foreach (var pending in part)
        {
            pending.Fail(e);
        }
        if (doubt is { } unsure)
        {
            doubt = null;
            foreach (var pending in unsure.Part)
            {
                pending.Fail(e);
            }
            // Jobs that came with it may be held under this node's name.
            jobs.Reconcile();
        }
    }

    /// <summary>What a standby refuses has many codes; those that can mean other things, too, are settled by a question.</summary>
    bool IsDemoted(Exception e)
    {
        if (e is not PostgresException { SqlState: PostgresErrorCodes.FeatureNotSupported or PostgresErrorCodes.ObjectNotInPrerequisiteState })
        {
            return false;
        }
        connection.RollBack();
        connection.Check();
        return connection.IsGone;
    }

    /// <summary>
    /// Something broke on this side while a flush was under way. Makes sure on a new connection that it did not take place; false: it did, and is
    /// answered, or will be when there is a connection.
    /// </summary>
    bool Undone(FlushPlan plan)
    {
        connection.Close();
        doubt = plan;
        if (!Reconnect())
        {
            return false;
        }
        try
        {
            LockHead();
            var landed = positions.Landed(plan, connection.Connection);
            doubt = null;
            connection.RollBack();
            if (landed == true)
            {
                Succeed(plan, held: null);
            }
            return landed != true;
        }
        catch (Exception e) when (Database.IsAway(e))
        {
            connection.Close();
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
        var started = clock.GetTimestamp();
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
                Measures.FlushDuration.Record(clock.GetElapsedTime(started).TotalSeconds, tags);
            }
        }
    }

    void Write(IReadOnlyList<Pending> part)
    {
        sent = null;
        if (doubt is not null || positions.IsContended)
        {
            WriteLocked(part, verify: false);
            return;
        }
        positions.FindPins(part, connection.Connection);
        var plan = positions.Plan(part, certain: false, gone: null);
        if (plan.Behind)
        {
            WriteLocked(part, verify: false);
            return;
        }
        if (plan.Accepted.Count > 0)
        {
            try
            {
                positions.Number(plan, connection.Connection);
                Succeed(plan, Execute(plan));
                return;
            }
            catch (PostgresException e) when (IsGuard(e))
            {
                connection.RollBack();
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
                var landed = positions.Landed(unsure, connection.Connection);
                doubt = null;
                if (landed != false)
                {
                    connection.RollBack();
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
            positions.FindPins(part, connection.Connection);
            var plan = positions.Plan(part, certain: true, gone: verify ? positions.Verify(part, connection.Connection) : null);
            if (plan.Accepted.Count == 0)
            {
                connection.RollBack();
                AnswerRefused(plan);
                return;
            }
            try
            {
                positions.Number(plan, connection.Connection);
                Succeed(plan, Execute(plan));
                return;
            }
            catch (PostgresException e) when (IsGuard(e) && !verify)
            {
                connection.RollBack();
                verify = true;
            }
        }
    }

    /// <summary>A connection that breaks while its transaction's first answer is read can say that it is disposed of instead.</summary>
    static bool IsLost(Exception e) => Database.IsAway(e) || e is ObjectDisposedException;

    static bool IsGuard(PostgresException e) =>
        e.SqlState is Schema.HeadMoved or Schema.StreamMoved or Schema.JobMoved
        || (e.SqlState == PostgresErrorCodes.UniqueViolation && e.TableName is "feed" or "mt_events" or "mt_streams");

    void LockHead()
    {
        connection.Begin();
        positions.LockHead(connection.Connection);
    }

    /// <summary>Writes a numbered plan, and commits it. Answers the jobs that this node holds from now on.</summary>
    Held Execute(FlushPlan plan)
    {
        var ours = heartbeat.Node;
        var transaction = connection.Begin();
        var slots = jobs.Reserve();
        try
        {
            var claims = flush.Write(transaction, plan, ours, slots.Takes, sending: () => sent = plan);
            sent = null;
            connection.Committed();
            return new(claims, ours, slots);
        }
        catch (Exception e)
        {
            slots.Dispose();
            if (e is PostgresException && connection.IsOpen)
            {
                sent = null;
            }
            throw;
        }
    }

    /// <summary>It is in the log: remembers, tells who listens, and answers.</summary>
    /// <param name="held">The jobs that came with it; null: the database has to be asked.</param>
    void Succeed(FlushPlan plan, Held? held)
    {
        Flushes++;
        setbacks = 0;
        lastFlush = plan.Part.Count;
        positions.Remember(plan);
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
            // A commit that took place must not look as if it had failed.
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
            held.Slots.Dispose();
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

    bool Reconnect()
    {
        try
        {
            connection.Open();
        }
        catch (Exception e)
        {
            if (e is PostgresException { SqlState: PostgresErrorCodes.TooManyConnections })
            {
                // This node's own readers may have taken the last one.
                database.ClearPool();
            }
            if (connection.Outage >= options.OutageDeadline)
            {
                if (down is null)
                {
                    LogAway(e.Message);
                }
                FailAll(down = Database.Unavailable(e));
            }
            stop.WaitOne(backOff);
            backOff = TimeSpan.FromTicks(Math.Min(backOff.Ticks * 2, BackOffMax.Ticks));
            return false;
        }
        backOff = BackOffMin;
        // Whoever sees from now on that this node is up can also read.
        database.ForgetServers();
        down = null;
        LogBack();
        return true;
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

    /// <summary>Jobs that came with a commit, held by this node, and the slots that were reserved for them until they are handed over.</summary>
    sealed record Held(List<Claim> Claims, string? Node, JobReservation Slots);

    [LoggerMessage(1, LogLevel.Warning, "The writer lost its connection: {Reason}")]
    partial void LogLost(string reason);

    [LoggerMessage(2, LogLevel.Error, "The database is away: {Reason}")]
    partial void LogAway(string reason);

    [LoggerMessage(3, LogLevel.Information, "The writer is connected again")]
    partial void LogBack();

    [LoggerMessage(4, LogLevel.Error, "Unexpected error while writing a batch; its callers are told, and the writer connects anew")]
    partial void LogBroken(Exception e);

    [LoggerMessage(5, LogLevel.Error, "PostgreSQL refused a commit to {Stream} of {Org}: {Reason}")]
    partial void LogRefused(string org, string stream, string reason);

    [LoggerMessage(6, LogLevel.Error, "A listener to commits failed")]
    partial void LogObserver(Exception e);
}
