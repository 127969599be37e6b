using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.Logging;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>
/// The jobs of this node. A node holds its jobs for as long as it says by the database's clock that it lives; whoever is not heard of for a lease
/// loses them to the others, and takes a new name before it goes on. How a job gets here is each engine's own affair.
/// </summary>
abstract partial class LeasedJobs : IJobQueue, IAsyncDisposable
{
    /// <summary>
    /// How far in the future a job lies that was put aside. An engine that puts jobs aside brings it back when its dead letter is replayed, or when the job is
    /// asked for again; one that does not, when it starts.
    /// </summary>
    public static readonly TimeSpan DeadLettered = TimeSpan.FromDays(365_000);

    /// <summary>Between two looks for jobs that nobody told this node of.</summary>
    protected static readonly TimeSpan PollPause = TimeSpan.FromSeconds(1);

    readonly ConcurrentQueue<(Claim Claim, HeldJob Hold, DateTimeOffset Due)> unreleased = new();
    readonly Channel<Claim> handed = Channel.CreateUnbounded<Claim>();
    readonly SemaphoreSlim poke = new(0);
    readonly CancellationTokenSource stopping = new();
    readonly ILogger logger;
    readonly string register;
    readonly string beat;
    readonly string own;
    readonly string delete;
    readonly string redo;
    readonly string release;
    readonly string count;
    readonly string hurry;
    Task loops = Task.CompletedTask;
    volatile string node;
    volatile bool registered;
    volatile bool reconcile;
    int incarnation = 1;
    int consumers;
    long lastBeat;

    protected LeasedJobs(Database database, EngineOptions options)
    {
        (Database, Options) = (database, options);
        logger = options.Logs.CreateLogger(GetType());
        node = options.Node;
        var s = database.Schema;
        register = $"INSERT INTO {s}.nodes (id, expires) VALUES ($1, now() + $2) ON CONFLICT (id) DO UPDATE SET expires = excluded.expires";
        beat = $"""
            WITH mine AS (UPDATE {s}.nodes SET expires = now() + $2 WHERE id = $1 AND expires > now() RETURNING id)
            SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM {s}.nodes WHERE id <> $1 AND expires > now())
            """;
        own = $"SELECT tenant_id, kind, key, epoch FROM {s}.jobs WHERE holder = $1";
        const string Mine = "tenant_id = $1 AND kind = $2 AND key = $3 AND epoch = $4 AND holder = $5";
        delete = $"DELETE FROM {s}.jobs WHERE {Mine} AND again IS NULL";
        redo = $"UPDATE {s}.jobs SET holder = NULL, due = again, again = NULL WHERE {Mine} AND again IS NOT NULL";
        release = $"UPDATE {s}.jobs SET holder = NULL, due = least(again, now() + $6), again = NULL WHERE {Mine}";
        hurry = $"UPDATE {s}.jobs SET due = now() WHERE kind = $1 AND holder IS NULL AND due > now() AND due < now() + $2";
        count = $"""
            SELECT count(*) FILTER (WHERE n.id IS NULL AND j.due <= now()), count(n.id), count(*) FILTER (WHERE n.id IS NULL AND j.due > now())
            FROM {s}.jobs j LEFT JOIN {s}.nodes n ON n.id = j.holder AND n.expires > now()
            """;
    }

    /// <summary>The name under which this node holds jobs.</summary>
    public string Node => node;

    /// <summary>Somebody here takes up jobs, so that what this node commits may as well be its own.</summary>
    public bool IsConsumed => registered && Volatile.Read(ref consumers) > 0;

    /// <summary>Whether a job that is due at once may be this node's as soon as it is committed.</summary>
    public virtual bool Takes(string kind) => IsConsumed && !Options.KindsLeftToOthers.Contains(kind);

    /// <summary>Other nodes live on the database, as far as is known.</summary>
    public bool HasPeers { get; private set; }

    /// <summary>For tests: a node that is stopped in its tracks neither gives signs of life nor notices.</summary>
    internal bool Paused { get; set; }

    /// <summary>Whether a job that fails too often is given up.</summary>
    protected abstract bool PutsAside { get; }

    protected Database Database { get; }

    protected EngineOptions Options { get; }

    /// <summary>The jobs that are held here.</summary>
    protected ConcurrentDictionary<Claim, HeldJob> Held { get; } = new();

    /// <summary>Claims that wait to be taken up.</summary>
    protected int Unread => handed.Reader.Count;

    public async Task Start(CancellationToken ct)
    {
        await Database.WithReconnect(
            async connection =>
            {
                await using var batch = new NpgsqlBatch(connection)
                {
                    BatchCommands =
                    {
                        // A later incarnation of a node is called as the first one, a dot and a number.
                        new($"""
                            DELETE FROM {Database.Schema}.nodes n WHERE n.expires < now() - interval '1 day'
                                OR EXISTS (SELECT FROM unnest($1) d (id) WHERE n.id = d.id OR starts_with(n.id, d.id || '.'))
                            """) { Parameters = { Parameter.Texts([.. Options.DeadNodes, Options.Node]) } },
                        new($"UPDATE {Database.Schema}.jobs SET holder = NULL WHERE holder = $1") { Parameters = { Parameter.Text(Options.Node) } },
                    },
                };
                if (!PutsAside)
                {
                    batch.BatchCommands.Add(new($"UPDATE {Database.Schema}.jobs SET due = now() WHERE due > now() + $1") { Parameters = { Interval(DeadLettered / 2) } });
                }
                return await batch.ExecuteNonQueryAsync(ct);
            },
            ct);
        await Register(ct);
        await Beat(ct);
        loops = Task.WhenAll(Live(stopping.Token), Look(stopping.Token));
    }

    public async IAsyncEnumerable<(Claim Claim, CancellationToken Lost)> Claims([EnumeratorCancellation] CancellationToken ct)
    {
        Interlocked.Increment(ref consumers);
        Poke();
        try
        {
            await foreach (var next in handed.Reader.ReadAllAsync(ct))
            {
                if (Held.TryGetValue(next, out var hold))
                {
                    yield return (next, hold.Lost.Token);
                }
            }
        }
        finally
        {
            if (Interlocked.Decrement(ref consumers) == 0)
            {
                GiveBackUnread();
            }
        }
    }

    public async ValueTask Complete(Claim claim, CancellationToken ct)
    {
        if (Held.TryGetValue(claim, out var hold))
        {
            await Change(claim, hold, [delete, redo], after: null, ct);
            Forget(claim);
            Poke();
        }
    }

    public async ValueTask Release(Claim claim, TimeSpan after, CancellationToken ct)
    {
        if (Drop(claim, out var hold))
        {
            try
            {
                await GiveBack(claim, hold, after, ct);
            }
            catch (Exception e) when (e is StorageUnavailableException or OperationCanceledException)
            {
                // Nobody here does it any more, and the lease does not run out while this node lives: it is given back as soon as the database allows.
                unreleased.Enqueue((claim, hold, Options.Clock.GetUtcNow() + after));
            }
            hold.End(new HeldJobOutcome.GivenBack());
            Poke();
        }
    }

    public ValueTask<Backlog> Backlog(CancellationToken ct) => Database.WithReconnect<Backlog>(
        async connection =>
        {
            await using var command = new NpgsqlCommand(count, connection);
            await using var reader = await command.ExecuteReaderAsync(ct);
            await reader.ReadAsync(ct);
            return new(reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2));
        },
        ct);

    public async ValueTask Hurry(string kind, CancellationToken ct)
    {
        await Database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(hurry, connection) { Parameters = { Parameter.Text(kind), Interval(DeadLettered / 2) } };
                return await command.ExecuteNonQueryAsync(ct);
            },
            ct);
        Poke();
    }

    public abstract ValueTask Fail(Claim claim, Exception why, CancellationToken ct);

    /// <summary>The node id under which a claim is held here; null: it is not.</summary>
    public string? HolderOf(Claim claim) => Held.TryGetValue(claim, out var hold) ? hold.Node : null;

    /// <summary>
    /// A job that this node has committed for itself, or claimed. Answers the hold; null: it was claimed under an old name, or is given back because nobody
    /// here takes jobs up.
    /// </summary>
    /// <param name="watched">The caller waits for its end.</param>
    public HeldJob? Hand(Claim claim, string holder, bool watched = false)
    {
        if (holder != node)
        {
            return null;
        }
        var hold = new HeldJob(holder) { IsWatched = watched };
        if (!Held.TryAdd(claim, hold))
        {
            hold = Held.GetValueOrDefault(claim);
            hold?.IsWatched |= watched;
            return hold;
        }
        Measures.JobsHeld.Add(1, new KeyValuePair<string, object?>("cowork.job.kind", claim.Kind));
        if (Volatile.Read(ref consumers) > 0)
        {
            handed.Writer.TryWrite(claim);
            return hold;
        }
        if (Drop(claim, out _))
        {
            unreleased.Enqueue((claim, hold, Options.Clock.GetUtcNow()));
            Poke();
        }
        return null;
    }

    /// <summary>It is done.</summary>
    public void Forget(Claim claim)
    {
        if (Drop(claim, out var hold))
        {
            hold.End(new HeldJobOutcome.Done());
        }
    }

    /// <summary>Another node has it.</summary>
    public void Lose(Claim claim)
    {
        if (Drop(claim, out var hold))
        {
            hold.Lost.Cancel();
            hold.End(new HeldJobOutcome.Lost());
        }
    }

    bool Drop(Claim claim, [NotNullWhen(true)] out HeldJob? hold)
    {
        var dropped = Held.TryRemove(claim, out hold);
        if (dropped)
        {
            Measures.JobsHeld.Add(-1, new KeyValuePair<string, object?>("cowork.job.kind", claim.Kind));
        }
        return dropped;
    }

    /// <summary>There may be something to claim.</summary>
    public void Poke()
    {
        if (poke.CurrentCount == 0)
        {
            poke.Release();
        }
    }

    /// <summary>A commit of this node may have taken place without its jobs having been handed over.</summary>
    public void Reconcile()
    {
        reconcile = true;
        Poke();
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await loops;
        foreach (var claim in Held.Keys)
        {
            Lose(claim);
        }
        try
        {
            await Database.WithReconnect(
                async connection =>
                {
                    await using var batch = new NpgsqlBatch(connection)
                    {
                        BatchCommands =
                        {
                            new($"UPDATE {Database.Schema}.jobs SET holder = NULL WHERE holder = $1") { Parameters = { Parameter.Text(node) } },
                            new($"DELETE FROM {Database.Schema}.nodes WHERE id = $1") { Parameters = { Parameter.Text(node) } },
                        },
                    };
                    return await batch.ExecuteNonQueryAsync();
                },
                CancellationToken.None);
        }
        catch (StorageUnavailableException e)
        {
            LogNotGivenBack(e.Message);
        }
        stopping.Dispose();
        poke.Dispose();
    }

    /// <summary>Looks for jobs that nobody told this node of. Answers how long there will be none.</summary>
    protected abstract Task<TimeSpan> Find(CancellationToken ct);

    protected static NpgsqlParameter<TimeSpan> Interval(TimeSpan time) => new() { TypedValue = time, NpgsqlDbType = NpgsqlDbType.Interval };

    protected static async Task<List<Claim>> Read(NpgsqlDataReader reader, CancellationToken ct)
    {
        var claims = new List<Claim>();
        while (await reader.ReadAsync(ct))
        {
            claims.Add(new(reader.GetString(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3)));
        }
        return claims;
    }

    void GiveBackUnread()
    {
        while (handed.Reader.TryRead(out var claim))
        {
            if (Drop(claim, out var hold))
            {
                unreleased.Enqueue((claim, hold, Options.Clock.GetUtcNow()));
                hold.End(new HeldJobOutcome.GivenBack());
            }
        }
        Poke();
    }

    ValueTask<int> GiveBack(Claim claim, HeldJob hold, TimeSpan after, CancellationToken ct) => Change(claim, hold, [release], after, ct);

    ValueTask<int> Change(Claim claim, HeldJob hold, string[] statements, TimeSpan? after, CancellationToken ct) => Database.WithReconnect(
        async connection =>
        {
            await using var batch = new NpgsqlBatch(connection);
            foreach (var sql in statements)
            {
                var command = new NpgsqlBatchCommand(sql)
                {
                    Parameters = { Parameter.Text(claim.Org), Parameter.Text(claim.Kind), Parameter.Text(claim.Key), Parameter.Long(claim.Epoch), Parameter.Text(hold.Node) },
                };
                if (after is { } time)
                {
                    command.Parameters.Add(Interval(time));
                }
                batch.BatchCommands.Add(command);
            }
            return await batch.ExecuteNonQueryAsync(ct);
        },
        ct);

    async Task Register(CancellationToken ct)
    {
        var asked = Options.Clock.GetTimestamp();
        await Database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(register, connection) { Parameters = { Parameter.Text(node), Interval(Options.Lease) } };
                return await command.ExecuteNonQueryAsync(ct);
            },
            ct);
        Volatile.Write(ref lastBeat, asked);
        registered = true;
        Poke();
    }

    /// <summary>False: the lease is over by the database's clock.</summary>
    async Task<bool> Beat(CancellationToken ct)
    {
        var asked = Options.Clock.GetTimestamp();
        var (mine, peers) = await Database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(beat, connection) { Parameters = { Parameter.Text(node), Interval(Options.Lease) } };
                await using var reader = await command.ExecuteReaderAsync(ct);
                await reader.ReadAsync(ct);
                return (reader.GetInt64(0), reader.GetInt64(1));
            },
            ct);
        HasPeers = peers > 0;
        if (mine == 0)
        {
            return false;
        }
        Volatile.Write(ref lastBeat, asked);
        return true;
    }

    async Task Live(CancellationToken ct)
    {
        while (await Options.Clock.Pause(Options.Heartbeat, ct))
        {
            if (Paused)
            {
                continue;
            }
            try
            {
                // An answer that takes longer is worth less than a look at the clock.
                using var patience = new CancellationTokenSource(Options.Lease / 4, Options.Clock);
                using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, patience.Token);
                if (!registered)
                {
                    await Register(either.Token);
                }
                else if (!await Beat(either.Token))
                {
                    Lapse();
                    await Register(either.Token);
                }
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
#pragma warning disable CA1031 // Whatever it is, a node that gave no more signs of life would lose every job from now on.
            catch (Exception e)
#pragma warning restore CA1031
            {
                if (e is not (StorageUnavailableException or OperationCanceledException))
                {
                    LogFailed("sign of life", e);
                }
                if (registered && Options.Clock.GetElapsedTime(Volatile.Read(ref lastBeat)) + Options.Heartbeat >= Options.Lease)
                {
                    Lapse();
                }
            }
        }
    }

    /// <summary>The others may have the jobs by now. Whoever is still at one here is told, and what it writes under the old name is refused.</summary>
    void Lapse()
    {
        registered = false;
        var old = node;
        node = $"{Options.Node}.{++incarnation}";
        LogLapsed(old, node);
        foreach (var claim in Held.Keys)
        {
            Lose(claim);
        }
        unreleased.Clear();
    }

    async Task Look(CancellationToken ct)
    {
        var wait = TimeSpan.Zero;
        while (!ct.IsCancellationRequested)
        {
            try
            {
                await poke.WaitAsync(wait, ct);
                wait = PollPause;
                while (unreleased.TryPeek(out var back))
                {
                    var after = back.Due - Options.Clock.GetUtcNow();
                    await GiveBack(back.Claim, back.Hold, after > TimeSpan.Zero ? after : TimeSpan.Zero, ct);
                    unreleased.TryDequeue(out _);
                }
                if (!IsConsumed || Paused)
                {
                    continue;
                }
                if (reconcile)
                {
                    reconcile = false;
                    await HandOwn(ct);
                }
                wait = await Find(ct);
            }
            catch (OperationCanceledException) when (ct.IsCancellationRequested)
            {
                return;
            }
            catch (StorageUnavailableException)
            {
                reconcile = true;
            }
#pragma warning disable CA1031 // Whatever it is, what nobody looks for lies there until the host is started anew.
            catch (Exception e)
#pragma warning restore CA1031
            {
                LogFailed("look for jobs", e);
                reconcile = true;
            }
        }
    }

    async Task HandOwn(CancellationToken ct)
    {
        var me = node;
        var mine = await Database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(own, connection) { Parameters = { Parameter.Text(me) } };
                await using var reader = await command.ExecuteReaderAsync(ct);
                return await Read(reader, ct);
            },
            ct);
        mine.ForEach(c => Hand(c, me));
    }

    [LoggerMessage(1, LogLevel.Warning, "{Old} was not heard of for a lease; it goes on as {New}, and its jobs are free")]
    partial void LogLapsed(string old, string @new);

    [LoggerMessage(2, LogLevel.Warning, "The jobs could not be given back, and are free when the lease is over: {Reason}")]
    partial void LogNotGivenBack(string reason);

    [LoggerMessage(3, LogLevel.Error, "This node's {Work} failed, and is tried again")]
    partial void LogFailed(string work, Exception e);
}
