using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;

using Microsoft.Extensions.Logging.Abstractions;

using Npgsql;

namespace Cowork.Testing.Hosts;

/// <summary>What must hold of a database after any fault (faults.md, "the ledger check").</summary>
public static class Ledger
{
    /// <summary>Checks a database in which nothing is under way any more.</summary>
    /// <param name="acknowledged">Ids of runs whose acceptance a client was told of.</param>
    public static async Task Check(string database, IReadOnlyCollection<string> acknowledged)
    {
        await using var source = NpgsqlDataSource.Create(database);
        // An active group has a job that looks whether it is idle.
        await Nothing(source, """
            select 'job ' || kind || ' ' || key from cowork.jobs j where not (kind = 'group_idle'
                and exists (select 1 from cowork.groups g where (g.tenant_id, g.id) = (j.tenant_id, j.key) and g.row ->> 'status' = 'active'))
            """);
        await CheckLog(source, database, acknowledged, allEnded: true);
    }

    /// <summary>Checks a database whose host was stopped while runs were under way.</summary>
    public static async Task CheckLog(string database)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await CheckLog(source, database, [], allEnded: false);
    }

    static async Task CheckLog(NpgsqlDataSource source, string database, IReadOnlyCollection<string> acknowledged, bool allEnded)
    {
        await Nothing(source, "select 'head ' || gid from cowork.head where gid <> (select count(*) from cowork.mt_events)");
        await Nothing(source, "select 'positions ' || count(*) from cowork.mt_events having max(seq_id) <> count(*) or min(seq_id) <> 1");
        await Nothing(source, "select stream_id from cowork.mt_events group by tenant_id, stream_id having max(version) <> count(*) or min(version) <> 1");
        await Nothing(source, """
            select stream_id from cowork.mt_events e join cowork.mt_streams s on (s.tenant_id, s.id) = (e.tenant_id, e.stream_id)
            group by stream_id, s.version having max(e.version) <> s.version
            """);
        await Nothing(source, "select session_id from cowork.feed group by tenant_id, session_id having max(feed_id) <> count(*) or min(feed_id) <> 1");
        await Nothing(source, """
            select 'feed order ' || a.session_id
            from (select session_id, gid, lag(gid) over (partition by tenant_id, session_id order by feed_id) before from cowork.feed) a where a.before >= a.gid
            """);
        await Nothing(source, """
            select 'not in the feed ' || stream_id || ' ' || version from cowork.mt_events e
            where headers ? 'session' and not exists (select 1 from cowork.feed f where f.gid = e.seq_id)
            """);

        await using var engine = StorageEngine.New(new(database, "ledger", ReadModels.Tables));
        await engine.StartAsync(CancellationToken.None);
        await Chain(engine.Log, acknowledged, allEnded);
        var projector = new Projector(engine.AsyncProjections, ReadModels.AsyncProjections, TimeProvider.System, NullLogger<Projector>.Instance);
        await projector.CatchUp(CancellationToken.None);
        Assert.Empty(projector.Parked);
        await Nothing(source, """
            select 'metrics of ' || e.tenant_id from cowork.mt_events e left join cowork.metrics m on m.tenant_id = e.tenant_id and m.id = 'tenant'
            where e.type like 'run\_%' and not exists (
                select 1 from cowork.mt_events c where c.tenant_id = e.tenant_id and c.stream_id = e.stream_id and c.version = 1 and c.data::text like '%"counterfactual"%')
            group by e.tenant_id, m.row::text having
                (m.row::text::json->>'runs')::bigint is distinct from count(*) filter (where e.type = 'run_created.v1')
                or (m.row::text::json#>>'{statuses,completed}')::bigint is distinct from count(*) filter (where e.type = 'run_completed.v1')
                or (m.row::text::json#>>'{statuses,failed}')::bigint is distinct from count(*) filter (where e.type = 'run_failed.v1')
                or (m.row::text::json#>>'{statuses,cancelled}')::bigint is distinct from count(*) filter (where e.type = 'run_cancelled.v1')
            """);
        foreach (var model in ReadModels.Tables)
        {
            Assert.Null(await engine.Rows.FindDifference(model, CancellationToken.None));
        }
    }

    /// <summary>Hashes, one end for every run that has ended, no step recorded twice.</summary>
    static async Task Chain(IEventLog log, IReadOnlyCollection<string> acknowledged, bool allEnded)
    {
        var heads = new Dictionary<(string, string), string>();
        var runs = new Dictionary<string, List<RunEvent>>();
        var expiring = new HashSet<string>();
        var schedules = new Dictionary<string, List<ScheduleEvent>>();
        await foreach (var e in log.Scan(0, CancellationToken.None))
        {
            var key = (e.Org, e.Stream);
            var hash = HashChain.Next(
                heads.GetValueOrDefault(key, HashChain.Root), e.Org, e.Stream, e.Version, e.Id, e.Type, e.At, e.Actor, CanonicalJson.Of(e.Data.Span));
            // Of data that expired the hash is all that stays.
            Assert.True(hash == e.Hash || e.Event is Tombstone, $"{e.Stream} {e.Version} does not have its hash");
            heads[key] = e.Hash;
            if (e.Event is Tombstone)
            {
                expiring.Add(e.Stream);
            }
            if (e.Event is ScheduleEvent about)
            {
                if (!schedules.TryGetValue(e.Stream, out var past))
                {
                    schedules.Add(e.Stream, past = []);
                }
                past.Add(about);
            }
            if (e.Event is RunEvent of)
            {
                if (of is RunEvent.RunCreated created)
                {
                    runs.Add(created.RunId.Id, []);
                }
                if (runs.TryGetValue($"run_{e.Stream["run-".Length..]}", out var past))
                {
                    past.Add(of);
                }
                else
                {
                    // Its beginning has expired, and the removal has not come so far.
                    Assert.Contains(e.Stream, expiring);
                }
            }
        }
        Assert.Empty(acknowledged.Except(runs.Keys));
        foreach (var (stream, events) in schedules)
        {
            Slots(stream, events, runs);
        }
        foreach (var (run, events) in runs)
        {
            var ends = events.Count(e => e is RunEvent.RunCompleted or RunEvent.RunFailed or RunEvent.RunCancelled);
            Assert.True(ends == 1 || (ends == 0 && !allEnded), $"{run} has {ends} ends: {JsonSerializer.Serialize(events.Select(e => e.GetType().Name))}");
            var steps = events.Select(e => e switch
            {
                RunEvent.LlmResponse l => l.Step,
                RunEvent.ToolResult t => t.Step,
                _ => 0,
            }).Where(step => step > 0).ToList();
            Assert.True(steps.SequenceEqual(steps.Distinct().Order()), $"{run} recorded the steps {string.Join(", ", steps)}");
            Assert.True(events.Count(e => e is RunEvent.MemoryRetrieval) <= 1, $"{run} retrieved memory twice");
        }
    }

    /// <summary>Each slot was decided once, in order, and the run that it speaks of is there, once.</summary>
    static void Slots(string stream, List<ScheduleEvent> events, Dictionary<string, List<RunEvent>> runs)
    {
        var last = DateTimeOffset.MinValue;
        foreach (var e in events)
        {
            var (slot, through) = e switch
            {
                ScheduleEvent.ScheduleTriggered t => (t.Slot, t.Slot),
                ScheduleEvent.ScheduleSkipped s => (s.Slot, s.Through ?? s.Slot),
                _ => (null, null),
            };
            Assert.False(slot <= last, $"{stream} decided {slot:O} after {last:O}");
            last = through ?? last;
        }
        var schedule = new ScheduleKey(Schedule.Aggregate.KeyOf(stream));
        var started = events.OfType<ScheduleEvent.ScheduleTriggered>().Select(t => (t.RunId.Id, t.Slot)).Order();
        var created = runs.Values.Select(run => run[0]).OfType<RunEvent.RunCreated>().Where(c => c.Source?.ScheduleId == schedule).Select(c => (c.RunId.Id, c.Source!.Slot)).Order();
        Assert.Equal(started, created);
    }

    static async Task Nothing(NpgsqlDataSource source, string query)
    {
        await using var command = source.CreateCommand(query);
        if (await command.ExecuteScalarAsync() is { } found)
        {
            Assert.Fail($"{found} — from: {query}");
        }
    }
}
