using System.Data.Common;

using Cowork.Application.Storage;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>Writes a flush in one round trip: one call with arrays for the log, the feed and the jobs, and one statement for each read model.</summary>
sealed class NpgsqlFlush(string schema, IReadOnlyList<IRowModel> models) : IFlush
{
    readonly Dictionary<string, RowTable> tables = models.OfType<IReadModel>().ToDictionary(m => m.Table, m => new RowTable(schema, m.Table, m.Searched));
    readonly string append = $"SELECT * FROM {schema}.append_{Schema.Version}({string.Join(", ", Enumerable.Range(1, 37).Select(i => $"${i}"))})";
    readonly string cancel = $"""
        DELETE FROM {schema}.jobs j USING unnest($1, $2, $3) c (tenant_id, kind, key)
        WHERE j.tenant_id = c.tenant_id AND j.kind = c.kind AND j.key = c.key AND j.holder IS NULL
        """;
    readonly string setSequence = $"SELECT setval('{schema}.mt_events_sequence', $1)";

    public bool InTransaction => false;

    public Task Prepare(CancellationToken ct) => Task.CompletedTask;

    public List<Claim> Write(NpgsqlConnection connection, NpgsqlTransaction? transaction, FlushPlan plan, string node, Func<string, bool> takes, Action sending)
    {
        using var batch = new NpgsqlBatch(connection) { BatchCommands = { Append(plan, plan.Streams.Values, plan.Events, node, takes) } };
        if (Cancel(plan) is { } cancelled)
        {
            batch.BatchCommands.Add(cancelled);
        }
        Rows(plan).ForEach(batch.BatchCommands.Add);
        if (plan.Entries.Length > 0)
        {
            // Last: a sequence takes no part in a transaction that fails.
            batch.BatchCommands.Add(new(setSequence) { Parameters = { Parameter.Long(plan.HeadIs) } });
        }
        if (transaction is not null)
        {
            batch.BatchCommands.Add(new("COMMIT"));
        }
        // Prepared apart from being executed: a refused value would leave a statement half prepared. After the first time this asks nothing.
        batch.Prepare();
        sending();
        using var reader = batch.ExecuteReader();
        var claims = new List<Claim>();
        while (reader.Read())
        {
            if (ClaimOf(reader, node) is { } claim)
            {
                claims.Add(claim);
            }
        }
        while (reader.NextResult())
        {
            // Errors of the later statements come up here.
        }
        return claims;
    }

    public void Restore(NpgsqlConnection connection)
    {
        // Nothing but the sequence outlives a rollback, and it is set last.
    }

    /// <summary>The call of the function that takes the head row and then writes what it is given: streams and events, finished jobs, new jobs.</summary>
    public NpgsqlBatchCommand Append(FlushPlan plan, IReadOnlyCollection<StreamMove> streams, EventColumns events, string node, Func<string, bool> takes)
    {
        var fresh = streams.Where(s => s.Was == 0).ToList();
        var known = streams.Where(s => s.Was > 0).ToList();
        return new(append)
        {
            Parameters =
            {
                Parameter.Long(plan.HeadWas), Parameter.Long(plan.HeadIs),
                Parameter.Texts(Column(fresh, s => s.Org)), Parameter.Texts(Column(fresh, s => s.Stream)), Parameter.Longs(Column(fresh, s => s.Is)),
                Parameter.Times(Column(fresh, s => s.FirstAt)), Parameter.Times(Column(fresh, s => s.LastAt)),
                Parameter.Texts(Column(known, s => s.Org)), Parameter.Texts(Column(known, s => s.Stream)), Parameter.Longs(Column(known, s => s.Was)),
                Parameter.Longs(Column(known, s => s.Is)), Parameter.Times(Column(known, s => s.LastAt)),
                Parameter.Texts(events.Tenant), Parameter.Texts(events.Stream), Parameter.Longs(events.Version), Parameter.Guids(events.Id), Parameter.Texts(events.Type),
                Parameter.Texts(events.Dotnet), Parameter.Jsons(events.Data, NpgsqlDbType.Jsonb), Parameter.Times(events.At),
                Parameter.Texts(events.Correlation), Parameter.Texts(events.Causation), Parameter.Texts(events.User), Parameter.Jsons(events.Headers, NpgsqlDbType.Jsonb),
                Parameter.Texts(events.Session), Parameter.Longs(events.Feed), Parameter.Texts(events.Run),
                Parameter.Texts([.. plan.Done.Keys.Select(c => c.Org)]), Parameter.Texts([.. plan.Done.Keys.Select(c => c.Kind)]),
                Parameter.Texts([.. plan.Done.Keys.Select(c => c.Key)]), Parameter.Longs([.. plan.Done.Keys.Select(c => c.Epoch)]),
                Parameter.Texts([.. plan.Done.Values]),
                Parameter.Texts([.. plan.Jobs.Keys.Select(j => j.Org)]), Parameter.Texts([.. plan.Jobs.Keys.Select(j => j.Kind)]),
                Parameter.Texts([.. plan.Jobs.Keys.Select(j => j.Key)]), Parameter.MaybeTimes([.. plan.Jobs.Values.Select(j => j.Due?.UtcDateTime)]),
                Parameter.Texts([.. plan.Jobs.Values.Select(j => j.Due is null && takes(j.Kind) ? node : null)]),
            },
        };
    }

    /// <summary>Takes back jobs that nobody is at; null: none is.</summary>
    public NpgsqlBatchCommand? Cancel(FlushPlan plan) => plan.Cancelled.Count == 0 ? null : new(cancel)
    {
        Parameters =
        {
            Parameter.Texts([.. plan.Cancelled.Select(c => c.Org)]), Parameter.Texts([.. plan.Cancelled.Select(c => c.Kind)]),
            Parameter.Texts([.. plan.Cancelled.Select(c => c.Key)]),
        },
    };

    /// <summary>A job that the function answered, if the node has it.</summary>
    public static Claim? ClaimOf(DbDataReader row, string node) =>
        !row.IsDBNull(4) && row.GetString(4) == node ? new(row.GetString(0), row.GetString(1), row.GetString(2), row.GetInt64(3)) : null;

    /// <summary>The statements that write the read models' rows.</summary>
    public List<NpgsqlBatchCommand> Rows(FlushPlan plan)
    {
        var commands = new List<NpgsqlBatchCommand>();
        foreach (var (table, changes) in plan.Tables)
        {
            tables[table].AddTo(commands, changes);
        }
        return commands;
    }

    static T[] Column<T>(List<StreamMove> streams, Func<StreamMove, T> of)
    {
        var column = new T[streams.Count];
        for (var i = 0; i < column.Length; i++)
        {
            column[i] = of(streams[i]);
        }
        return column;
    }
}
