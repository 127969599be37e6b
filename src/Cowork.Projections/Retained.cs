using System.Collections.Immutable;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A session or a day whose data was removed.</summary>
/// <param name="Stream">The stream of the event that let it expire.</param>
/// <param name="Position">Of the event that says that the data is gone.</param>
public sealed record RemovedData(string Stream, long Events, long Position, DateTimeOffset At);

/// <summary>What retention has done in a tenant.</summary>
/// <param name="Last">What was removed last, the newest first.</param>
/// <param name="Held">Keys of sessions that a legal hold keeps.</param>
public sealed record RetainedRow(long Sessions, long Days, long Events, ImmutableList<RemovedData> Last, ImmutableSortedSet<string> Held)
{
    public static RetainedRow None { get; } = new(0, 0, 0, [], ImmutableSortedSet.Create<string>(StringComparer.Ordinal));
}

/// <summary>The async projection of what was removed and what is held, one row for each tenant: <c>GET /retention</c>.</summary>
public static class Retained
{
    public const string TenantKey = "tenant";

    /// <summary>Removals that are shown.</summary>
    const int LastMax = 100;

    /// <summary>Events of all tenants that a look folds on top of the row: a projection lags by more only while it is made anew.</summary>
    const int UnfoldedMax = 1_000;

    public static AsyncProjection<RetainedRow> Model { get; } = new(
        "retained",
        [.. new[]
        {
            typeof(SessionEvent.SessionHeld), typeof(SessionEvent.SessionReleased), typeof(SessionEvent.SessionRemoved), typeof(SecurityEvent.SecurityRemoved),
            typeof(HostEvent.HostsRemoved),
        }.SelectMany(EventTypes.NamesOf)],
        RowJson.Default.RetainedRow,
        e => [Key(e)],
        (before, e) => [(Key(e), Evolve(before(Key(e)) ?? RetainedRow.None, e))])
    {
        Lists = RowLists.None,
        // What was held and released counts as little when its data is gone as before.
        TakesTombstones = true,
    };

    /// <summary>The row with what is in the log and not folded yet, so that somebody who has just held or released a session sees it.</summary>
    public static async ValueTask<RetainedRow> Latest(string org, IRows rows, IAsyncProjectionStore projections, CancellationToken ct)
    {
        var from = (await projections.Progress(ct)).Of(Model.Table).Checkpoint.Position;
        var row = await rows.Get(org, Model.Table, TenantKey, ct);
        var folded = row is null ? RetainedRow.None : Model.Read(row.Json.Span);
        // Each event of these types changes the row: what it has is what came up to its version.
        return (await projections.Read(Model.Types, from, UnfoldedMax, ct)).Events.Where(e => e.Org == org && e.Position > (row?.Version ?? 0)).Aggregate(folded, Evolve);
    }

    static RowKey Key(RecordedEvent e) => new(e.Org, TenantKey);

    static RetainedRow Evolve(RetainedRow row, RecordedEvent e) => e.Event switch
    {
        SessionEvent.SessionHeld => row with { Held = row.Held.Add(Session.Aggregate.KeyOf(e.Stream)) },
        SessionEvent.SessionReleased => row with { Held = row.Held.Remove(Session.Aggregate.KeyOf(e.Stream)) },
        SessionEvent.SessionRemoved r => Removed(row with { Sessions = row.Sessions + 1 }, r.Events, e),
        SecurityEvent.SecurityRemoved r => Removed(row with { Days = row.Days + 1 }, r.Events, e),
        HostEvent.HostsRemoved r => Removed(row with { Days = row.Days + 1 }, r.Events, e),
        _ => row,
    };

    static RetainedRow Removed(RetainedRow row, long events, RecordedEvent e) => row with
    {
        Events = row.Events + events,
        Last = [.. row.Last.Prepend(new(e.Stream, events, e.Position, e.At)).Take(LastMax)],
    };
}

/// <summary>The queries of retention on the read models.</summary>
public sealed class RetentionQueries(IRows rows) : IRetentionQueries
{
    const int Page = 1_000;

    public async ValueTask<IReadOnlySet<string>> InUse(string org, CancellationToken ct)
    {
        var (found, past) = (new HashSet<string>(StringComparer.Ordinal), new HashSet<string>(StringComparer.Ordinal));
        await foreach (var row in All(org, Sessions.Model.Table, null, ct))
        {
            if (Sessions.Model.Read(row.Json.Span).Fork is { } fork)
            {
                found.Add(fork.SessionId.Value);
                past.UnionWith(fork.History.Select(run => run.Value));
            }
        }
        // A fork of a fork has runs of both for its past, and the one between them may have been deleted.
        foreach (var runs in past.Chunk(Page))
        {
            found.UnionWith((await rows.Get(org, Runs.Model.Table, runs, ct)).Select(row => Runs.Model.Read(row.Json.Span).SessionId.Value));
        }
        foreach (var scope in Schedules.Scopes)
        {
            await foreach (var row in All(org, Schedules.Model.Table, scope, ct))
            {
                if (Schedules.Model.Read(row.Json.Span).SessionId is { } session)
                {
                    found.Add(session.Value);
                }
            }
        }
        return found;
    }

    async IAsyncEnumerable<Row> All(string org, string table, string? scope, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        for (long? before = null; ;)
        {
            var page = await rows.List(org, table, new(scope, Limit: Page, Before: before), ct);
            foreach (var row in page)
            {
                yield return row;
            }
            if (page.Count < Page)
            {
                yield break;
            }
            before = page[^1].Created;
        }
    }
}
