using Cowork.Application.Storage;

using JasperFx;
using JasperFx.Events;

using Marten;
using Marten.Services;

using Npgsql;

namespace Cowork.Marten;

/// <summary>
/// Writes a flush as one Marten session: the head row first, then every stream with its expected version through Marten's own append, then the read
/// models as an inline projection.
/// </summary>
sealed class MartenFlush : IFlush, IAsyncDisposable
{
    readonly Database database;
    readonly JobOutbox outbox;
    readonly Func<CancellationToken, Task> prepared;
    readonly NpgsqlFlush statements;
    readonly RowsProjection rows;
    readonly IEventRegistry registry;
    readonly string setSequence;
    readonly string insertFeed;
    readonly string restoreSequence;

    /// <param name="prepared">What follows when the tables are there, before anything is written.</param>
    public MartenFlush(Database database, EngineOptions options, JobOutbox outbox, AsyncDaemon daemon, Func<CancellationToken, Task> prepared)
    {
        (this.database, this.outbox, this.prepared) = (database, outbox, prepared);
        statements = new(options.Schema, options.Models);
        rows = new(statements);
        Store = MartenStore.New(database, options, rows, daemon);
        registry = (IEventRegistry)Store.Options.Events;
        setSequence = $"SELECT setval('{options.Schema}.mt_events_sequence', greatest($1, 1), $2)";
        insertFeed = $"INSERT INTO {options.Schema}.feed (tenant_id, session_id, feed_id, gid, run_id) SELECT * FROM unnest($1, $2, $3, $4, $5)";
        restoreSequence = $"""
            WITH held AS MATERIALIZED (SELECT gid FROM {options.Schema}.head FOR UPDATE)
            SELECT setval('{options.Schema}.mt_events_sequence', greatest(gid, 1), gid > 0) FROM held
            """;
    }

    public DocumentStore Store { get; }

    public bool InTransaction => true;

    /// <inheritdoc/>
    /// <remarks>Functions and small tables of Marten's own. Two hosts may start at once, so only one looks at a time.</remarks>
    public async Task Prepare(CancellationToken ct)
    {
        await MakeOwn(ct);
        await prepared(ct);
    }

    public List<Claim> Write(NpgsqlConnection connection, NpgsqlTransaction? transaction, FlushPlan plan, string node, Func<string, bool> takes, Action sending)
    {
        using var session = Store.LightweightSession(SessionOptions.ForTransaction(transaction!));
        var events = new List<IEvent>(plan.Entries.Length);
        var streams = session.PendingChanges.Streams();
        foreach (var pending in plan.Accepted)
        {
            foreach (var write in pending.Commit.Writes)
            {
                // Not through session.Events.Append: it would put the writes to a stream together, and those of one name in two tenants, out of the log's order.
                streams.Add(Stream(pending.Commit.Org, write, events));
            }
        }
        var head = new TakeHead(
            statements.Append(plan, [], new(0), node, takes),
            events.Count == 0 ? null : new(setSequence) { Parameters = { Parameter.Long(plan.HeadWas), new NpgsqlParameter<bool> { TypedValue = plan.HeadWas > 0 } } },
            node,
            streams);
        session.QueueOperation(head);
        foreach (var statement in new[] { statements.Cancel(plan), Feed(plan) }.OfType<NpgsqlBatchCommand>())
        {
            session.QueueOperation(new Statement(statement));
        }
        var messages = outbox.Enlist(session, plan.Jobs);
        sending();
        rows.Plan = plan;
        try
        {
            session.SaveChangesAsync().GetAwaiter().GetResult();
        }
        finally
        {
            rows.Plan = null;
        }
        for (var i = 0; i < events.Count; i++)
        {
            if (events[i].Sequence != plan.HeadWas + 1 + i)
            {
                throw new InvalidOperationException($"Marten gave {events[i].StreamKey} {events[i].Version} the position {events[i].Sequence} instead of {plan.HeadWas + 1 + i}.");
            }
        }
        transaction!.Commit();
        outbox.Flush(messages);
        return head.Claims;
    }

    /// <inheritdoc/>
    /// <remarks>A sequence takes no part in a transaction that fails, and Marten draws from it in the middle.</remarks>
    public void Restore(NpgsqlConnection connection)
    {
        using var command = new NpgsqlCommand(restoreSequence, connection);
        command.ExecuteNonQuery();
    }

    public ValueTask DisposeAsync() => Store.DisposeAsync();

    async Task MakeOwn(CancellationToken ct) => await database.Once(async connection =>
    {
        await using var take = new NpgsqlCommand($"SELECT pg_advisory_lock(hashtextextended('cowork marten {database.Schema}', 0))", connection);
        await take.ExecuteNonQueryAsync(ct);
        try
        {
            await Store.Storage.ApplyAllConfiguredChangesToDatabaseAsync(AutoCreate.CreateOrUpdate);
            return true;
        }
        catch (Exception e) when (TakeHead.Unwrapped(e) is NpgsqlException inner && Database.IsAway(inner))
        {
            throw Database.Unavailable(inner);
        }
    });

    StreamAction Stream(string org, Write write, List<IEvent> events)
    {
        var stream = new StreamAction(write.Stream, StreamActionType.Append) { TenantId = org, ExpectedVersionOnServer = write.Expected };
        foreach (var e in write.Events)
        {
            var wrapped = registry.BuildEvent(e.Event);
            (wrapped.Id, wrapped.Timestamp, wrapped.UserName) = (e.Id, e.At, e.Actor);
            (wrapped.CorrelationId, wrapped.CausationId) = (e.Correlation, e.Causation);
            wrapped.SetHeader("hash", e.Hash);
            if (write.Session is not null)
            {
                wrapped.SetHeader("session", write.Session);
            }
            if (write.Run is not null)
            {
                wrapped.SetHeader("run", write.Run);
            }
            stream.AddEvent(wrapped);
            events.Add(wrapped);
        }
        return stream;
    }

    NpgsqlBatchCommand? Feed(FlushPlan plan)
    {
        var entries = plan.Entries.Where(e => e.Session is not null).ToList();
        return entries.Count == 0 ? null : new(insertFeed)
        {
            Parameters =
            {
                Parameter.Texts([.. entries.Select(e => e.Org)]), Parameter.Texts([.. entries.Select(e => e.Session)]), Parameter.Longs([.. entries.Select(e => e.FeedId)]),
                Parameter.Longs([.. entries.Select(e => e.Position)]), Parameter.Texts([.. entries.Select(e => e.Run)]),
            },
        };
    }
}
