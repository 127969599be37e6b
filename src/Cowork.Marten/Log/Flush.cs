using Cowork.Application.Storage;

using Marten;
using Marten.Services;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Marten;

/// <summary>
/// Writes a flush in one round trip: a Marten session with one storage operation, which is one call with arrays for the log, the feed and the jobs, one
/// statement for each read model, and the commit.
/// </summary>
sealed class Flush(string schema, IReadOnlyList<IRowModel> models, IDocumentStore store)
{
    readonly SubjectTables subjects = new(schema);
    readonly Dictionary<string, RowTable> tables = models.OfType<IReadModel>().ToDictionary(m => m.Table, m => new RowTable(schema, m.Table, m, isLive: true));
    readonly string append = $"SELECT * FROM {schema}.append_{Schema.Version}({string.Join(", ", Enumerable.Range(1, 38).Select(i => $"${i}"))})";
    readonly string cancel = $"""
        DELETE FROM {schema}.jobs j USING unnest($1, $2, $3) c (tenant_id, kind, key)
        WHERE j.tenant_id = c.tenant_id AND j.kind = c.kind AND j.key = c.key AND j.holder IS NULL
        """;
    readonly string setSequence = $"SELECT setval('{schema}.mt_events_sequence', $1)";

    /// <summary>
    /// Writes the plan and commits it. It takes the head row before anything else, and raises one of <see cref="Schema"/>'s codes when something is not where
    /// the plan expects it. Answers the jobs that <paramref name="node"/> holds from now on.
    /// </summary>
    /// <param name="takes">Whether the node takes a tenant's job that is due at once.</param>
    /// <param name="sending">Called when the plan may reach the server, from where on its fate is not known until there is an answer.</param>
    public List<Claim> Write(NpgsqlTransaction transaction, FlushPlan plan, string node, Func<string, Job, bool> takes, Action sending)
    {
        var statements = new List<NpgsqlBatchCommand> { Append(plan, node, takes) };
        if (Cancel(plan) is { } cancelled)
        {
            statements.Add(cancelled);
        }
        Rows(plan, statements);
        subjects.AddTo(statements, plan);
        if (plan.Entries.Length > 0)
        {
            // A sequence takes no part in a transaction that fails, so that it is set last.
            statements.Add(new(setSequence) { Parameters = { Parameter.Long(plan.HeadIs) } });
        }
        statements.Add(new("COMMIT"));
        var operation = new FlushOperation(statements, node);
        using var session = store.LightweightSession(SessionOptions.ForTransaction(transaction));
        session.QueueOperation(operation);
        sending();
        // The writer has a thread of its own, which has nothing else to do meanwhile.
        session.SaveChangesAsync().GetAwaiter().GetResult();
        return operation.Claims;
    }

    /// <summary>The call of the function that takes the head row and then writes what it is given: streams and events, finished jobs, new jobs.</summary>
    NpgsqlBatchCommand Append(FlushPlan plan, string node, Func<string, Job, bool> takes)
    {
        var (streams, events) = (plan.Streams.Values, plan.Events);
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
                Parameter.Texts([.. plan.Jobs.Select(j => j.Value.Due is null && takes(j.Key.Org, j.Value) ? node : null)]),
                Parameter.MaybeLongs([.. plan.Jobs.Values.Select(j => j.Epoch)]),
            },
        };
    }

    /// <summary>Takes back jobs that nobody is at; null: none is.</summary>
    NpgsqlBatchCommand? Cancel(FlushPlan plan) => plan.Cancelled.Count == 0 ? null : new(cancel)
    {
        Parameters =
        {
            Parameter.Texts([.. plan.Cancelled.Select(c => c.Org)]), Parameter.Texts([.. plan.Cancelled.Select(c => c.Kind)]),
            Parameter.Texts([.. plan.Cancelled.Select(c => c.Key)]),
        },
    };

    /// <summary>Adds the statements that write the read models' rows.</summary>
    void Rows(FlushPlan plan, List<NpgsqlBatchCommand> statements)
    {
        foreach (var (table, changes) in plan.Tables)
        {
            tables[table].AddTo(statements, changes);
        }
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
