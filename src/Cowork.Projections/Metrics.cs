using System.Diagnostics;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>The rows behind <c>GET /metrics</c>: one with the tenant's totals, so that the request reads one row at any number of runs, and one for each run that
/// has not ended.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "case")]
[JsonDerivedType(typeof(OfTenant), "tenant")]
[JsonDerivedType(typeof(OfRun), "run")]
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
}

/// <summary>Number of runs by status.</summary>
public sealed record StatusCounts(long Queued, long Running, long ApprovalRequired, long Completed, long Failed, long Cancelled)
{
    public static StatusCounts None { get; } = new(0, 0, 0, 0, 0, 0);
}

/// <summary>The async projection of metrics: <c>GET /metrics</c>.</summary>
public static class Metrics
{
    /// <summary>Key of the tenant's row; the keys of the other rows are run keys.</summary>
    public const string TenantKey = "tenant";

    public static AsyncProjection<MetricsRow> Model { get; } = new(
        "metrics",
        [.. new[]
        {
            typeof(RunCreated), typeof(RunStarted), typeof(LlmResponse), typeof(ModelRetried), typeof(ApprovalRequested), typeof(ApprovalDecided), typeof(RunCompleted),
            typeof(RunFailed), typeof(RunCancelled),
        }.SelectMany(EventTypes.NamesOf)],
        RowJson.Default.MetricsRow,
        e => [TenantRow(e), RunRow(e)],
        Evolve)
    {
        Lists = RowLists.None,
    };

    /// <summary>The totals before the first run.</summary>
    public static MetricsRow.OfTenant Empty(DateTimeOffset since) =>
        new(since, 0, StatusCounts.None, 0, 0, 0, LatencyHistogram.Empty, LatencyHistogram.Empty, LatencyHistogram.Empty);

    static RowKey TenantRow(RecordedEvent e) => new(e.Org, TenantKey);

    static RowKey RunRow(RecordedEvent e) => new(e.Org, Run.Aggregate.KeyOf(e.Stream));

    static IReadOnlyList<(RowKey Key, MetricsRow? Row)> Evolve(Func<RowKey, MetricsRow?> before, RecordedEvent e)
    {
        var (tenantKey, runKey) = (TenantRow(e), RunRow(e));
        var (tenant, run) = Evolve((MetricsRow.OfTenant?)before(tenantKey) ?? Empty(e.At), (MetricsRow.OfRun?)before(runKey), e.Event);
        return [(tenantKey, tenant), (runKey, run)];
    }

    static (MetricsRow.OfTenant Tenant, MetricsRow.OfRun? Run) Evolve(MetricsRow.OfTenant tenant, MetricsRow.OfRun? run, Event e)
    {
        var counts = tenant.Statuses;
        return (e, run) switch
        {
            (RunCreated { Counterfactual: not null }, null) => (tenant, new(e.At, null, null, TimeSpan.Zero, IsCounterfactual: true)),
            (_, { IsCounterfactual: true }) => OfCounterfactual(tenant, run, e),
            (RunCreated, null) => (
                tenant with { Runs = tenant.Runs + 1, Statuses = counts with { Queued = counts.Queued + 1 } },
                new(e.At, null, null, TimeSpan.Zero)),
            (RunStarted, { StartedAt: null }) => (
                tenant with
                {
                    Statuses = counts with { Queued = counts.Queued - 1, Running = counts.Running + 1 },
                    Queue = tenant.Queue.Add(e.At - run.CreatedAt),
                },
                run with { StartedAt = e.At }),
            (LlmResponse l, { }) => (
                tenant with
                {
                    InputTokens = tenant.InputTokens + l.InputTokens,
                    OutputTokens = tenant.OutputTokens + l.OutputTokens,
                    CostMicroUsd = tenant.CostMicroUsd + (l.CostMicroUsd ?? 0),
                },
                run),
            (ModelRetried r, { }) => (WithUsage(tenant, r.Usage), run),
            (ApprovalRequested, { AskedAt: null }) => (
                tenant with { Statuses = counts with { Running = counts.Running - 1, ApprovalRequired = counts.ApprovalRequired + 1 } },
                run with { AskedAt = e.At }),
            (ApprovalDecided, { AskedAt: { } askedAt }) => (
                tenant with
                {
                    Statuses = counts with { Running = counts.Running + 1, ApprovalRequired = counts.ApprovalRequired - 1 },
                    Approval = tenant.Approval.Add(e.At - askedAt),
                },
                run with { AskedAt = null, Waited = run.Waited + (e.At - askedAt) }),
            (RunCompleted, { }) => End(tenant, run, e.At, Without(run, counts) with { Completed = counts.Completed + 1 }),
            (RunFailed f, { }) => End(WithUsage(tenant, f.Usage), run, e.At, Without(run, counts) with { Failed = counts.Failed + 1 }),
            (RunCancelled, { }) => End(tenant, run, e.At, Without(run, counts) with { Cancelled = counts.Cancelled + 1 }),
            _ => throw new UnreachableException($"{e.GetType().Name} after {run}"),
        };
    }

    /// <summary>What would have happened is not counted among what did; what it costs is spent.</summary>
    static (MetricsRow.OfTenant, MetricsRow.OfRun?) OfCounterfactual(MetricsRow.OfTenant tenant, MetricsRow.OfRun run, Event e) => e switch
    {
        LlmResponse { Source: null } l => (WithUsage(tenant, new(l.InputTokens, l.OutputTokens, l.CostMicroUsd)), run),
        ModelRetried r => (WithUsage(tenant, r.Usage), run),
        RunFailed f => (WithUsage(tenant, f.Usage), null),
        RunCompleted or RunCancelled => (tenant, null),
        _ => (tenant, run),
    };

    static MetricsRow.OfTenant WithUsage(MetricsRow.OfTenant tenant, ModelUsage? used) => used is null ? tenant : tenant with
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
