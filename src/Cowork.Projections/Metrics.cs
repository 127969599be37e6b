using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Serialization;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>The rows behind <c>GET /metrics</c>: one with the tenant's totals, so that the request reads one row at any number of runs, and one for each run that
/// has not ended.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "case")]
[JsonDerivedType(typeof(OfTenant), "tenant")]
[JsonDerivedType(typeof(OfRun), "run")]
[JsonDerivedType(typeof(OfTime), "time")]
public abstract record MetricsRow
{
    /// <param name="Since">When the first run was created.</param>
    /// <param name="Runs">Number of runs created.</param>
    /// <param name="Statuses">Number of runs by present status.</param>
    /// <param name="Queue">Time from creation to start, of each run that started.</param>
    /// <param name="Execution">Time from start to end without the waits for approvals, of each run that started and ended, with any outcome.</param>
    /// <param name="Approval">Time from request to decision, of each decided approval.</param>
    public sealed record OfTenant(
        DateTimeOffset Since, long Runs, StatusCounts Statuses, long InputTokens, long OutputTokens, long CostMicroUsd,
        LatencyHistogram Queue, LatencyHistogram Execution, LatencyHistogram Approval) : MetricsRow;

    /// <summary>A run that has not ended.</summary>
    /// <param name="StartedAt">Null: the run is queued.</param>
    /// <param name="AskedAt">When the pending approval was requested; null: none is pending.</param>
    /// <param name="Waited">Time that the run has waited for approvals so far.</param>
    /// <param name="IsCounterfactual">True: only what it costs is counted. Null: it is a run like others.</param>
    public sealed record OfRun(
        DateTimeOffset CreatedAt, DateTimeOffset? StartedAt, DateTimeOffset? AskedAt, TimeSpan Waited,
        [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? IsCounterfactual = null) : MetricsRow;

    /// <summary>What happened in a stretch of time. An event counts in the stretch that its own time lies in.</summary>
    /// <param name="Queue">As in <see cref="OfTenant"/>, of the runs that started.</param>
    /// <param name="Execution">Of the runs that ended.</param>
    /// <param name="Approval">Of the approvals that were decided.</param>
    public sealed record OfTime(
        long Created, long Started, long Completed, long Failed, long Cancelled, long InputTokens, long OutputTokens, long CostMicroUsd, LatencyHistogram Queue,
        LatencyHistogram Execution, LatencyHistogram Approval) : MetricsRow
    {
        public static OfTime None { get; } = new(0, 0, 0, 0, 0, 0, 0, 0, LatencyHistogram.Empty, LatencyHistogram.Empty, LatencyHistogram.Empty);

        public OfTime Plus(OfTime other) => new(
            Created + other.Created, Started + other.Started, Completed + other.Completed, Failed + other.Failed, Cancelled + other.Cancelled,
            InputTokens + other.InputTokens, OutputTokens + other.OutputTokens, CostMicroUsd + other.CostMicroUsd, Queue.Plus(other.Queue), Execution.Plus(other.Execution),
            Approval.Plus(other.Approval));
    }
}

/// <summary>Number of runs by status.</summary>
public sealed record StatusCounts(long Queued, long Running, long ApprovalRequired, long Completed, long Failed, long Cancelled)
{
    public static StatusCounts None { get; } = new(0, 0, 0, 0, 0, 0);
}

/// <summary>The async projection of metrics: <c>GET /metrics</c>, <c>/metrics/series</c>, <c>/runs/counts</c>.</summary>
public static class Metrics
{
    /// <summary>Key of the tenant's row; the keys of the other rows are run keys.</summary>
    public const string TenantKey = "tenant";

    /// <summary>The lengths of stretches that have rows. Longer ones are sums of these.</summary>
    public static IReadOnlyList<TimeSpan> Stretches { get; } = [TimeSpan.FromMinutes(1), TimeSpan.FromHours(1), TimeSpan.FromDays(1)];

    public static AsyncProjection<MetricsRow> Model { get; } = new(
        "metrics",
        [.. new[]
        {
            typeof(RunCreated), typeof(RunStarted), typeof(LlmResponse), typeof(ModelRetried), typeof(ApprovalRequested), typeof(ApprovalDecided), typeof(RunCompleted),
            typeof(RunFailed), typeof(RunCancelled),
        }.SelectMany(EventTypes.NamesOf)],
        RowJson.Default.MetricsRow,
        e => [TenantRow(e), RunRow(e), .. Stretches.Select(of => new RowKey(e.Org, KeyOf(of, e.At)))],
        Evolve)
    {
        Lists = RowLists.None,
        Form = 2,
        TakesTombstones = true,
    };

    /// <summary>Key of the row of the stretch that a time lies in. No run's key has a space.</summary>
    public static string KeyOf(TimeSpan stretch, DateTimeOffset time) =>
        string.Create(CultureInfo.InvariantCulture, $"{stretch.TotalMinutes} {Begin(stretch, time).UtcDateTime:yyyy-MM-ddTHH:mm}");

    /// <summary>Begin of the stretch that a time lies in. Days are those of UTC.</summary>
    public static DateTimeOffset Begin(TimeSpan stretch, DateTimeOffset time) => new(time.UtcTicks - (time.UtcTicks % stretch.Ticks), TimeSpan.Zero);

    /// <summary>The totals before the first run.</summary>
    public static MetricsRow.OfTenant Empty(DateTimeOffset since) =>
        new(since, 0, StatusCounts.None, 0, 0, 0, LatencyHistogram.Empty, LatencyHistogram.Empty, LatencyHistogram.Empty);

    static RowKey TenantRow(RecordedEvent e) => new(e.Org, TenantKey);

    static RowKey RunRow(RecordedEvent e) => new(e.Org, Run.Aggregate.KeyOf(e.Stream));

    static List<(RowKey Key, MetricsRow? Row)> Evolve(Func<RowKey, MetricsRow?> before, RecordedEvent e)
    {
        var (tenantKey, runKey) = (TenantRow(e), RunRow(e));
        var of = (MetricsRow.OfRun?)before(runKey);
        var (tenant, run) = Evolve((MetricsRow.OfTenant?)before(tenantKey) ?? Empty(e.At), of, e);
        var changed = new List<(RowKey, MetricsRow?)> { (tenantKey, tenant), (runKey, run) };
        foreach (var stretch in Stretches)
        {
            var key = new RowKey(e.Org, KeyOf(stretch, e.At));
            changed.Add((key, Evolve((MetricsRow.OfTime?)before(key) ?? MetricsRow.OfTime.None, of, e)));
        }
        return changed;
    }

    static MetricsRow.OfTime Evolve(MetricsRow.OfTime time, MetricsRow.OfRun? run, RecordedEvent e)
    {
        time = WithUsage(time, e.Event);
        return (EventTypes.TypeOf(e.Type)?.Name, run) switch
        {
            // What would have happened is not counted among what did; what it costs is spent.
            (nameof(RunCreated), _) when IsCounterfactual(e.Event) => time,
            (_, { IsCounterfactual: true }) => time,
            (nameof(RunCreated), _) => time with { Created = time.Created + 1 },
            (nameof(RunStarted), { }) => time with { Started = time.Started + 1, Queue = time.Queue.Add(e.At - run.CreatedAt) },
            (nameof(ApprovalDecided), { AskedAt: { } askedAt }) => time with { Approval = time.Approval.Add(e.At - askedAt) },
            (nameof(RunCompleted), { }) => End(time, run, e.At) with { Completed = time.Completed + 1 },
            (nameof(RunFailed), { }) => End(time, run, e.At) with { Failed = time.Failed + 1 },
            (nameof(RunCancelled), { }) => End(time, run, e.At) with { Cancelled = time.Cancelled + 1 },
            _ => time,
        };
    }

    static MetricsRow.OfTime WithUsage(MetricsRow.OfTime time, Event e) => UsageOf(e) is not { } used ? time : time with
    {
        InputTokens = time.InputTokens + used.InputTokens,
        OutputTokens = time.OutputTokens + used.OutputTokens,
        CostMicroUsd = time.CostMicroUsd + (used.CostMicroUsd ?? 0),
    };

    static MetricsRow.OfTime End(MetricsRow.OfTime time, MetricsRow.OfRun run, DateTimeOffset at) =>
        run.StartedAt is { } started ? time with { Execution = time.Execution.Add(at - started - run.Waited) } : time;

    /// <summary>What an event did shows by its type and time alone, so that events whose data expired go on to count.</summary>
    static (MetricsRow.OfTenant Tenant, MetricsRow.OfRun? Run) Evolve(MetricsRow.OfTenant tenant, MetricsRow.OfRun? run, RecordedEvent e)
    {
        tenant = WithUsage(tenant, e.Event);
        var counts = tenant.Statuses;
        return (EventTypes.TypeOf(e.Type)?.Name, run) switch
        {
            (nameof(RunCreated), null) when IsCounterfactual(e.Event) => (tenant, new(e.At, null, null, TimeSpan.Zero, IsCounterfactual: true)),
            // What would have happened is not counted among what did; what it costs is spent.
            (nameof(RunCompleted) or nameof(RunFailed) or nameof(RunCancelled), { IsCounterfactual: true }) => (tenant, null),
            (_, { IsCounterfactual: true }) => (tenant, run),
            (nameof(RunCreated), null) => (
                tenant with { Runs = tenant.Runs + 1, Statuses = counts with { Queued = counts.Queued + 1 } },
                new(e.At, null, null, TimeSpan.Zero)),
            (nameof(RunStarted), { StartedAt: null }) => (
                tenant with
                {
                    Statuses = counts with { Queued = counts.Queued - 1, Running = counts.Running + 1 },
                    Queue = tenant.Queue.Add(e.At - run.CreatedAt),
                },
                run with { StartedAt = e.At }),
            (nameof(LlmResponse) or nameof(ModelRetried), { }) => (tenant, run),
            (nameof(ApprovalRequested), { AskedAt: null }) => (
                tenant with { Statuses = counts with { Running = counts.Running - 1, ApprovalRequired = counts.ApprovalRequired + 1 } },
                run with { AskedAt = e.At }),
            (nameof(ApprovalDecided), { AskedAt: { } askedAt }) => (
                tenant with
                {
                    Statuses = counts with { Running = counts.Running + 1, ApprovalRequired = counts.ApprovalRequired - 1 },
                    Approval = tenant.Approval.Add(e.At - askedAt),
                },
                run with { AskedAt = null, Waited = run.Waited + (e.At - askedAt) }),
            (nameof(RunCompleted), { }) => End(tenant, run, e.At, Without(run, counts) with { Completed = counts.Completed + 1 }),
            (nameof(RunFailed), { }) => End(tenant, run, e.At, Without(run, counts) with { Failed = counts.Failed + 1 }),
            (nameof(RunCancelled), { }) => End(tenant, run, e.At, Without(run, counts) with { Cancelled = counts.Cancelled + 1 }),
            _ => throw new UnreachableException($"{e.Type} after {run}"),
        };
    }

    static bool IsCounterfactual(Event e) => e is RunCreated { Counterfactual: not null } or Tombstone { IsCounterfactual: true };

    /// <summary>What an event has used; null: nothing. An answer that was served had cost before.</summary>
    static ModelUsage? UsageOf(Event e) => e switch
    {
        LlmResponse { Source: null } l => new(l.InputTokens, l.OutputTokens, l.CostMicroUsd),
        ModelRetried r => r.Usage,
        RunFailed f => f.Usage,
        Tombstone t => new(t.InputTokens, t.OutputTokens, t.CostMicroUsd),
        _ => null,
    };

    static MetricsRow.OfTenant WithUsage(MetricsRow.OfTenant tenant, Event e) => UsageOf(e) is not { } used ? tenant : tenant with
    {
        InputTokens = tenant.InputTokens + used.InputTokens,
        OutputTokens = tenant.OutputTokens + used.OutputTokens,
        CostMicroUsd = tenant.CostMicroUsd + (used.CostMicroUsd ?? 0),
    };

    static (MetricsRow.OfTenant, MetricsRow.OfRun?) End(MetricsRow.OfTenant tenant, MetricsRow.OfRun run, DateTimeOffset at, StatusCounts counts) => (
        tenant with
        {
            Statuses = counts,
            Execution = run.StartedAt is { } started ? tenant.Execution.Add(at - started - run.Waited) : tenant.Execution,
        },
        null);

    /// <summary>The counts with the run taken out of its present status.</summary>
    static StatusCounts Without(MetricsRow.OfRun run, StatusCounts counts) => run switch
    {
        { StartedAt: null } => counts with { Queued = counts.Queued - 1 },
        { AskedAt: not null } => counts with { ApprovalRequired = counts.ApprovalRequired - 1 },
        _ => counts with { Running = counts.Running - 1 },
    };
}
