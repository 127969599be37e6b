using Cowork.Application.Storage;

using Npgsql;

namespace Cowork.Marten;

/// <summary>Jobs are claimed as they are committed, or by a look at the table every second.</summary>
sealed class NpgsqlJobs : LeasedJobs
{
    const int ClaimsMax = 64;

    /// <summary>Claims that wait to be taken up here; with more, the free jobs are left to other nodes.</summary>
    const int BacklogMax = 128;

    readonly string claim;
    readonly string nextDue;

    public NpgsqlJobs(Database database, EngineOptions options)
        : base(database, options)
    {
        var s = database.Schema;
        claim = $"""
            UPDATE {s}.jobs j SET holder = $1, epoch = nextval('{s}.job_epochs')
            FROM (
                SELECT f.tenant_id, f.kind, f.key FROM {s}.jobs f
                WHERE f.due <= now() AND f.kind <> ALL ($3) AND (f.holder IS NULL OR NOT EXISTS (SELECT FROM {s}.nodes n WHERE n.id = f.holder AND n.expires > now()))
                ORDER BY f.due LIMIT $2 FOR UPDATE SKIP LOCKED) free
            WHERE j.tenant_id = free.tenant_id AND j.kind = free.kind AND j.key = free.key
                AND EXISTS (SELECT FROM {s}.nodes n WHERE n.id = $1 AND n.expires > now())
            RETURNING j.tenant_id, j.kind, j.key, j.epoch
            """;
        nextDue = $"SELECT extract(epoch FROM min(due) - now())::float8 FROM {s}.jobs WHERE due > now() AND holder IS NULL AND kind <> ALL ($1)";
    }

    protected override bool PutsAside => false;

    /// <summary>A job that fails is tried again until it does not.</summary>
    public override ValueTask Fail(Claim claim, Exception why, CancellationToken ct) => Release(claim, Options.JobRetries[0], ct);

    protected override async Task<TimeSpan> Find(CancellationToken ct)
    {
        if (Unread >= BacklogMax)
        {
            return PollPause;
        }
        var me = Node;
        var (claims, next) = await Database.WithReconnect(
            async connection =>
            {
                await using var batch = new NpgsqlBatch(connection)
                {
                    BatchCommands =
                    {
                        new(claim) { Parameters = { Parameter.Text(me), Parameter.Long(ClaimsMax), Parameter.Texts([.. Options.KindsLeftToOthers]) } },
                        new(nextDue) { Parameters = { Parameter.Texts([.. Options.KindsLeftToOthers]) } },
                    },
                };
                await using var reader = await batch.ExecuteReaderAsync(ct);
                var claims = await Read(reader, ct);
                await reader.NextResultAsync(ct);
                await reader.ReadAsync(ct);
                return (claims, reader.IsDBNull(0) ? (double?)null : reader.GetDouble(0));
            },
            ct);
        claims.ForEach(c => Hand(c, me));
        return claims.Count == ClaimsMax ? TimeSpan.Zero
            : next is { } seconds && seconds < PollPause.TotalSeconds ? TimeSpan.FromSeconds(Math.Max(seconds, 0.001))
            : PollPause;
    }
}
