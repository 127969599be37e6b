using System.Diagnostics;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>What <c>GET /metrics</c> shows, kept so that it costs one row however many runs there were: the tenant's figures, and what is to be known of the
/// runs that have not ended.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "case")]
[JsonDerivedType(typeof(OfTenant), "tenant")]
[JsonDerivedType(typeof(OfRun), "run")]
public abstract record MetricsRow
{
    /// <param name="Since">When the first run was asked for.</param>
    /// <param name="Runs">How many were asked for.</param>
    /// <param name="Statuses">How many of them are in each state now.</param>
    /// <param name="Queue">From asked for to started, of those that started.</param>
    /// <param name="Execution">From started to ended, less what was waited for approvals, of those that started and ended, however they did.</param>
    /// <param name="Approval">From asked for to decided, of every approval.</param>
    public sealed record OfTenant(
        DateTimeOffset Since, long Runs, StatusCounts Statuses, long InputTokens, long OutputTokens, long CostMicroUsd,
        LatencyHistogram Queue, LatencyHistogram Execution, LatencyHistogram Approval) : MetricsRow;

    /// <summary>A run that has not ended.</summary>
    /// <param name="StartedAt">Null: it waits in the queue.</param>
    /// <param name="AskedAt">When the approval was asked for that it waits for; null: none.</param>
    /// <param name="Waited">What it waited for approvals so far.</param>
    public sealed record OfRun(DateTimeOffset CreatedAt, DateTimeOffset? StartedAt, DateTimeOffset? AskedAt, TimeSpan Waited) : MetricsRow;
}

/// <summary>Runs by state.</summary>
public sealed record StatusCounts(long Queued, long Running, long ApprovalRequired, long Completed, long Failed, long Cancelled)
{
    public static StatusCounts None { get; } = new(0, 0, 0, 0, 0, 0);
}

/// <summary>The metrics' model, which follows the log: <c>GET /metrics</c>.</summary>
public static class Metrics
{
    /// <summary>Key of the tenant's row; the others are those of runs.</summary>
    public const string TenantKey = "tenant";

    public static AsyncProjection<MetricsRow> Model { get; } = new(
        "metrics",
        [.. new[]
        {
            typeof(RunCreated), typeof(RunStarted), typeof(LlmResponse), typeof(ApprovalRequested), typeof(ApprovalDecided), typeof(RunCompleted), typeof(RunFailed),
            typeof(RunCancelled),
        }.Select(type => EventTypes.ByType[type])],
        RowJson.Default.MetricsRow,
        e => [OfTenant(e), OfRun(e)],
        Evolve);

    /// <summary>What there is to show before the first run.</summary>
    public static MetricsRow.OfTenant Nothing(DateTimeOffset since) =>
        new(since, 0, StatusCounts.None, 0, 0, 0, LatencyHistogram.Empty, LatencyHistogram.Empty, LatencyHistogram.Empty);

    static RowKey OfTenant(RecordedEvent e) => new(e.Org, TenantKey);

    static RowKey OfRun(RecordedEvent e) => new(e.Org, e.Stream[(Run.Aggregate.Name.Length + 1)..]);

    static IReadOnlyList<(RowKey Key, MetricsRow? Row)> Evolve(Func<RowKey, MetricsRow?> before, RecordedEvent e)
    {
        var (ofTenant, ofRun) = (OfTenant(e), OfRun(e));
        var (tenant, run) = Evolve((MetricsRow.OfTenant?)before(ofTenant) ?? Nothing(e.At), (MetricsRow.OfRun?)before(ofRun), e.Event);
        return [(ofTenant, tenant), (ofRun, run)];
    }

    static (MetricsRow.OfTenant Tenant, MetricsRow.OfRun? Run) Evolve(MetricsRow.OfTenant tenant, MetricsRow.OfRun? run, Event e)
    {
        var counts = tenant.Statuses;
        return (e, run) switch
        {
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
            (ApprovalRequested, { AskedAt: null }) => (
                tenant with { Statuses = counts with { Running = counts.Running - 1, ApprovalRequired = counts.ApprovalRequired + 1 } },
                run with { AskedAt = e.At }),
            (ApprovalDecided, { AskedAt: { } asked }) => (
                tenant with
                {
                    Statuses = counts with { Running = counts.Running + 1, ApprovalRequired = counts.ApprovalRequired - 1 },
                    Approval = tenant.Approval.Add(e.At - asked),
                },
                run with { AskedAt = null, Waited = run.Waited + (e.At - asked) }),
            (RunCompleted, { }) => Ended(tenant, run, e.At, Left(run, counts) with { Completed = counts.Completed + 1 }),
            (RunFailed, { }) => Ended(tenant, run, e.At, Left(run, counts) with { Failed = counts.Failed + 1 }),
            (RunCancelled, { }) => Ended(tenant, run, e.At, Left(run, counts) with { Cancelled = counts.Cancelled + 1 }),
            _ => throw new UnreachableException($"{e.GetType().Name} after {run}"),
        };
    }

    static (MetricsRow.OfTenant, MetricsRow.OfRun?) Ended(MetricsRow.OfTenant tenant, MetricsRow.OfRun run, DateTimeOffset at, StatusCounts counts) => (
        tenant with
        {
            Statuses = counts,
            Execution = run.StartedAt is { } started ? tenant.Execution.Add(at - started - run.Waited) : tenant.Execution,
        },
        null);

    /// <summary>The counts without the state that the run was in.</summary>
    static StatusCounts Left(MetricsRow.OfRun run, StatusCounts counts) => run switch
    {
        { StartedAt: null } => counts with { Queued = counts.Queued - 1 },
        { AskedAt: not null } => counts with { ApprovalRequired = counts.ApprovalRequired - 1 },
        _ => counts with { Running = counts.Running - 1 },
    };
}
