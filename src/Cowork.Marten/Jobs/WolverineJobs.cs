using Cowork.Application.Storage;

using Npgsql;

using Wolverine;
using Wolverine.Runtime;

namespace Cowork.Marten;

/// <summary>
/// Jobs come as messages. What has no message here is found by a look at the table: the jobs of nodes that died or stopped, those of the other engine, and
/// those whose message waits too long in another node's queue; it gets one.
/// </summary>
sealed class WolverineJobs : LeasedJobs
{
    const int FoundMax = 500;

    /// <summary>How long a job that is free and due may wait for its message.</summary>
    static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    /// <summary>How long a message that was sent from here may be under way before another one is.</summary>
    static readonly TimeSpan SentBefore = TimeSpan.FromSeconds(15);

    readonly Func<IWolverineRuntime> runtime;
    readonly Dictionary<(string Org, string Kind, string Key, long Epoch), long> sent = [];
    readonly string claim;
    readonly string when;
    readonly string left;

    public WolverineJobs(Database database, EngineOptions options, Func<IWolverineRuntime> runtime)
        : base(database, options)
    {
        this.runtime = runtime;
        var s = database.Schema;
        claim = $"""
            UPDATE {s}.jobs j SET holder = $1, epoch = nextval('{s}.job_epochs')
            WHERE j.tenant_id = $2 AND j.kind = $3 AND j.key = $4 AND (j.due <= now() OR j.due > now() + $5)
                AND (j.holder IS NULL OR NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = j.holder AND n.expires > now()))
                AND EXISTS (SELECT FROM {s}.nodes n WHERE n.id = $1 AND n.expires > now())
            RETURNING j.tenant_id, j.kind, j.key, j.epoch
            """;
        when = $"SELECT extract(epoch FROM due - now())::float8 FROM {s}.jobs WHERE tenant_id = $1 AND kind = $2 AND key = $3 AND holder IS NULL AND due > now()";
        left = $"""
            SELECT j.tenant_id, j.kind, j.key, j.epoch FROM {s}.jobs j
            WHERE j.due <= now() AND j.kind <> ALL ($3) AND (
                j.holder IS NULL AND j.due <= now() - $1
                OR j.holder IS NOT NULL AND NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = j.holder AND n.expires > now()))
            ORDER BY j.due LIMIT $2
            """;
    }

    protected override bool PutsAside => true;

    /// <summary>A job is held when its message has come.</summary>
    public override bool Takes(string kind) => false;

    /// <summary>A message may claim its job for this node.</summary>
    public bool MayTake(string kind) => IsConsumed && !Paused && !Options.KindsLeftToOthers.Contains(kind);

    /// <summary>Claims one job, if it is free and due, or was put aside: then its message comes because somebody replays it.</summary>
    public async ValueTask<JobFound> Claim(string org, string kind, string key, CancellationToken ct)
    {
        var me = Node;
        return await Database.WithReconnect<JobFound>(
            async connection =>
            {
                await using var batch = new NpgsqlBatch(connection)
                {
                    BatchCommands =
                    {
                        new(claim) { Parameters = { Parameter.Text(me), Parameter.Text(org), Parameter.Text(kind), Parameter.Text(key), Interval(DeadLettered / 2) } },
                        new(when) { Parameters = { Parameter.Text(org), Parameter.Text(kind), Parameter.Text(key) } },
                    },
                };
                await using var reader = await batch.ExecuteReaderAsync(ct);
                if (await Read(reader, ct) is [var mine])
                {
                    return new JobFound.Mine(mine, me);
                }
                await reader.NextResultAsync(ct);
                return await reader.ReadAsync(ct) ? new JobFound.Later(TimeSpan.FromSeconds(Math.Max(reader.GetDouble(0), 0.001))) : new JobFound.Nothing();
            },
            ct);
    }

    /// <summary>The message that brought the job counts its failures; a job without one is tried again soon.</summary>
    public override ValueTask Fail(Claim claim, Exception why, CancellationToken ct)
    {
        if (Held.TryGetValue(claim, out var hold) && hold.IsWatched)
        {
            hold.End(new HeldJobOutcome.Failed(why));
            return default;
        }
        return Release(claim, Options.JobRetries[0], ct);
    }

    protected override async Task<TimeSpan> Find(CancellationToken ct)
    {
        if (Held.Count >= Options.Parallel)
        {
            return PollPause;
        }
        var found = await Database.WithReconnect(
            async connection =>
            {
                await using var command = new NpgsqlCommand(left, connection)
                {
                    Parameters = { Interval(Grace), Parameter.Long(FoundMax), Parameter.Texts([.. Options.KindsLeftToOthers]) },
                };
                await using var reader = await command.ExecuteReaderAsync(ct);
                return await Read(reader, ct);
            },
            ct);
        var now = Options.Clock.GetTimestamp();
        foreach (var (old, _) in sent.Where(s => Options.Clock.GetElapsedTime(s.Value, now) > SentBefore).ToList())
        {
            sent.Remove(old);
        }
        var bus = new MessageBus(runtime());
        foreach (var job in found)
        {
            if (sent.TryAdd((job.Org, job.Kind, job.Key, job.Epoch), now))
            {
                await bus.PublishAsync(new JobDue(job.Kind, job.Key), new DeliveryOptions { TenantId = job.Org });
            }
        }
        return PollPause;
    }
}

/// <summary>What a message found of its job.</summary>
abstract record JobFound
{
    /// <param name="Holder">The name under which this node holds it.</param>
    public sealed record Mine(Claim Claim, string Holder) : JobFound;

    /// <summary>It is free and not due yet.</summary>
    public sealed record Later(TimeSpan Wait) : JobFound;

    /// <summary>It is done, or in the hands of a node that lives.</summary>
    public sealed record Nothing : JobFound;
}
