using System.Diagnostics;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web.Http;

using Microsoft.Net.Http.Headers;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Percentiles in seconds, with an error below 1 %; null: no samples.</summary>
public sealed record Percentiles(long Count, double? P50, double? P90, double? P95, double? P99)
{
    public static Percentiles Of(LatencyHistogram of) => new(of.Count, of.Quantile(0.5), of.Quantile(0.9), of.Quantile(0.95), of.Quantile(0.99));
}

/// <param name="Queue">From creation to start.</param>
/// <param name="Execution">From start to end, without waits for approvals.</param>
/// <param name="Approval">From the request for an approval to its decision.</param>
public sealed record Latencies(Percentiles Queue, Percentiles Execution, Percentiles Approval);

/// <param name="LagEvents">Log positions that the projection has not processed.</param>
/// <param name="Parked">True: the projection cannot fold the next event; <c>GET /projections</c> shows it.</param>
public sealed record ProjectionFigures(string Name, long Position, long LagEvents, bool Parked);

/// <param name="Waiting">Due, and held by no node.</param>
/// <param name="Held">Held by a node.</param>
/// <param name="Later">Not due yet.</param>
public sealed record JobFigures(long Waiting, long Held, long Later);

/// <summary>What this process has open, and the most that it may.</summary>
/// <param name="Refused">Since the host's start.</param>
public sealed record OpenFigures(long Open, long Max, long Refused);

/// <summary>A place outside the database that heads are sent to, as this host knows it.</summary>
/// <param name="Sent">Number of the last head that this host has seen there.</param>
/// <param name="Failures">Tries that failed since the host's start.</param>
/// <param name="Failing">True: the last try failed; <c>GET /health/ready</c> says why.</param>
public sealed record HeadTargetFigures(string Name, long Sent, long Failures, bool Failing);

/// <summary>The tree over the log and its signed heads, as this host knows them.</summary>
/// <param name="TreeSize">Events that the tree has.</param>
/// <param name="TreeLagEvents">Log positions that the tree does not have yet.</param>
/// <param name="Heads">Heads that were signed.</param>
/// <param name="HeadTreeSize">Events that the last head covers.</param>
/// <param name="HeadAt">When it was signed; null: none was.</param>
/// <param name="Fault">True: no head is signed, because the database is not what it was; <c>GET /health/ready</c> says why.</param>
public sealed record AuditFigures(
    long TreeSize, long TreeLagEvents, long Heads, long HeadTreeSize, DateTimeOffset? HeadAt, bool Fault, IReadOnlyList<HeadTargetFigures> Targets)
{
    public static AuditFigures Of(TreeProgress tree, HeadProgress heads, HeadPublisher publisher) => new(
        tree.Size, Math.Max(0, tree.Head - tree.Size), heads.Number, heads.Last?.TreeSize ?? 0, heads.Last?.Timestamp, tree.Fault is not null || heads.Fault is not null,
        [.. publisher.Progress.Select(target => new HeadTargetFigures(target.Name, target.Sent, target.Failures, target.Error is not null))]);
}

/// <summary>Metrics of the host and of all tenants together.</summary>
/// <param name="LogHead">Position of the last event.</param>
/// <param name="MemoryRefused">Requests that this host had no memory for, since its start.</param>
/// <param name="WrongTokensSpared">Wrong tokens that were refused without a look into the database, since the host's start.</param>
public sealed record HostFigures(
    string Engine, long LogHead, IReadOnlyList<ProjectionFigures> Projections, JobFigures Jobs, OpenFigures Connections, OpenFigures Streams, long WrongTokensSpared,
    long MemoryRefused, long MemoryBytes, double CpuSeconds, DateTimeOffset StartedAt, AuditFigures Audit);

/// <summary>What a tenant has of something, and may have.</summary>
public sealed record QuotaFigures(long Used, long Limit);

/// <param name="PerSecond">The most at one host, in the long run.</param>
/// <param name="Refused">At this host since its start.</param>
public sealed record RequestFigures(long PerSecond, long Refused);

/// <summary>The tenant's quotas (docs/limits.md).</summary>
/// <param name="Streams">Open at this host.</param>
public sealed record TenantQuotaFigures(
    RequestFigures Requests, QuotaFigures Streams, QuotaFigures Sessions, QuotaFigures Schedules, QuotaFigures QueuedRuns, QuotaFigures StoredBytes, QuotaFigures Blobs);

/// <summary>Answer of <c>GET /metrics</c>.</summary>
/// <param name="SuccessRate">Completed runs divided by completed and failed runs; null: there are none.</param>
/// <param name="Since">Creation of the first run; null: there is none.</param>
/// <param name="AsOfGid">The metrics include every event of the tenant up to this position, and no later one.</param>
/// <param name="Host">Null: the caller is no auditor or administrator of the operator's own tenant.</param>
/// <param name="Completed">This and those up to <c>cancelled</c>: the same as in <c>status_counts</c>, for clients of the original service.</param>
/// <param name="LatencyP50">The same as <c>latency.execution.p50</c>; 0: no run has ended.</param>
/// <param name="LatencyP95">The same as <c>latency.execution.p95</c>; 0: no run has ended.</param>
public sealed record MetricsAnswer(
    long RunCount, StatusCounts StatusCounts, double? SuccessRate, Latencies Latency, long TotalTokens, decimal CostUsd, DateTimeOffset? Since, long AsOfGid,
    TenantQuotaFigures Quotas, HostFigures? Host, long Queued, long Running, long ApprovalRequired, long Completed, long Failed, long Cancelled, double LatencyP50,
    double LatencyP95);

static class MetricsEndpoints
{
    static readonly MediaTypeHeaderValue Json = MediaTypeHeaderValue.Parse("application/json");
    static readonly MediaTypeHeaderValue OpenMetrics = MediaTypeHeaderValue.Parse("application/openmetrics-text; version=1.0.0; charset=utf-8");
    static readonly MediaTypeHeaderValue Prometheus = MediaTypeHeaderValue.Parse("text/plain; version=0.0.4; charset=utf-8");

    public static void MapMetrics(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/metrics", Get).WithName("getMetrics").WithTags("Operations")
            .WithSummary("The tenant's runs in figures: counts, success, latencies, tokens, cost; as JSON, or as text for Prometheus when the client asks for that")
            .Produces<MetricsAnswer>()
            .AlsoAsText(Prometheus.MediaType.Value!, OpenMetrics.MediaType.Value!)
            .Refuses();

    static async Task<IResult> Get(
        HttpContext http, Caller caller, StorageEngine engine, TenantUsage usage, RequestRates rates, OpenStreams streams, OpenConnections connections, WrongTokens wrong,
        RequestMemory memory, AuditTree tree, HeadSigner heads, HeadPublisher publisher, CancellationToken ct)
    {
        // Read the checkpoint first: rows that are read later include everything up to it.
        var progress = await engine.AsyncProjections.Progress(ct);
        var row = await engine.Rows.Get(caller.Org, Metrics.Model.Table, Metrics.TenantKey, ct);
        var figures = row is null ? null : (MetricsRow.OfTenant)Metrics.Model.Read(row.Json.Span);
        var asOf = Math.Max(row?.Version ?? 0, progress.Of(Metrics.Model.Table).Checkpoint.Position);
        var open = new OpenFigures(connections.Count, connections.Max, connections.Refused);
        var host = caller.SeesHost
            ? Host(progress, await engine.Jobs.Backlog(ct), open, new(streams.Count, streams.Max, streams.Refused), wrong.Spared, memory.Refused,
                AuditFigures.Of(tree.Progress, heads.Progress, publisher))
            : null;
        var quotas = Quotas(await usage.Show(caller.Org, ct), rates.Refused(caller.Org), streams.Of(caller.Org));
        http.Response.Headers.Append(HeaderNames.Vary, HeaderNames.Accept);
        var choice = ContentNegotiation.Choose(http, [Json, OpenMetrics, Prometheus]);
        return choice == Json
            ? JsonResult.Of(200, Answer(figures, asOf, quotas, host), AgentServiceJson.Answers.MetricsAnswer)
            : new TextResult(choice.ToString(), Exposition.Of(Families(figures ?? Metrics.Empty(default), asOf, quotas, host), openMetrics: choice == OpenMetrics));
    }

    static TenantQuotaFigures Quotas((TenantFigures Has, long QueuedRuns, TenantQuota May) of, long refused, int streams) => new(
        new(of.May.RequestsPerSecond, refused), new(streams, of.May.Streams), new(of.Has.Sessions, of.May.Sessions), new(of.Has.Schedules, of.May.Schedules),
        new(of.QueuedRuns, of.May.QueuedRuns!.Value), new(of.Has.StoredBytes, of.May.StoredBytes), new(of.Has.Blobs, of.May.Blobs));

    static MetricsAnswer Answer(MetricsRow.OfTenant? known, long asOf, TenantQuotaFigures quotas, HostFigures? host)
    {
        var figures = known ?? Metrics.Empty(default);
        var (s, execution) = (figures.Statuses, Percentiles.Of(figures.Execution));
        var ended = s.Completed + s.Failed;
        return new(
            figures.Runs, s, ended == 0 ? null : (double)s.Completed / ended, new(Percentiles.Of(figures.Queue), execution, Percentiles.Of(figures.Approval)),
            figures.InputTokens + figures.OutputTokens, Domain.Money.Usd(figures.CostMicroUsd),
            known?.Since, asOf, quotas, host, s.Queued, s.Running, s.ApprovalRequired, s.Completed,
            s.Failed, s.Cancelled, execution.P50 ?? 0, execution.P95 ?? 0);
    }

    static HostFigures Host(Progress progress, Backlog backlog, OpenFigures connections, OpenFigures streams, long wrongTokensSpared, long memoryRefused, AuditFigures audit)
    {
        using var process = Process.GetCurrentProcess();
        return new(
            StorageEngine.Name, progress.Head,
            [.. progress.Models.Select(m => new ProjectionFigures(m.Table, m.Checkpoint.Position, progress.Head - m.Checkpoint.Position, m.Parked is not null))],
            new(backlog.Waiting, backlog.Held, backlog.Later), connections, streams, wrongTokensSpared, memoryRefused, process.WorkingSet64,
            process.TotalProcessorTime.TotalSeconds, process.StartTime, audit);
    }

    static IEnumerable<MetricFamily> Families(MetricsRow.OfTenant figures, long asOf, TenantQuotaFigures quotas, HostFigures? host)
    {
        var s = figures.Statuses;
        yield return new MetricFamily.Counter("cowork_runs_created", "Runs that were asked for.", null, new Sample(figures.Runs));
        yield return new MetricFamily.Counter(
            "cowork_runs_ended", "Runs that have ended, by how they did.", null,
            new(s.Completed, ("status", "completed")), new(s.Failed, ("status", "failed")), new(s.Cancelled, ("status", "cancelled")));
        yield return new MetricFamily.Gauge(
            "cowork_runs_open", "Runs that have not ended, by the state that they are in.", null,
            new(s.Queued, ("status", "queued")), new(s.Running, ("status", "running")), new(s.ApprovalRequired, ("status", "approval_required")));
        yield return new MetricFamily.Latency("cowork_run_queue_seconds", "From a run asked for to its start.", figures.Queue);
        yield return new MetricFamily.Latency(
            "cowork_run_execution_seconds", "From a run's start to its end, without what was waited for approvals.", figures.Execution);
        yield return new MetricFamily.Latency("cowork_approval_wait_seconds", "From an approval asked for to its decision.", figures.Approval);
        yield return new MetricFamily.Counter(
            "cowork_tokens", "Tokens that models read and wrote.", null,
            new(figures.InputTokens, ("direction", "input")), new(figures.OutputTokens, ("direction", "output")));
        yield return new MetricFamily.Counter(
            "cowork_cost_usd", "What models cost, as far as they have a price.", "usd", new Sample((double)Domain.Money.Usd(figures.CostMicroUsd)));
        yield return new MetricFamily.Gauge("cowork_metrics_as_of_gid", "Every event of the tenant up to this position is counted, and none after it.", null, new Sample(asOf));
        (string Name, QuotaFigures Of)[] bounded =
        [
            ("streams", quotas.Streams), ("sessions", quotas.Sessions), ("schedules", quotas.Schedules), ("queued_runs", quotas.QueuedRuns),
            ("stored_bytes", quotas.StoredBytes), ("blobs", quotas.Blobs),
        ];
        yield return new MetricFamily.Gauge(
            "cowork_quota_used", "What the tenant has of what is bounded.", null, [.. bounded.Select(quota => new Sample(quota.Of.Used, ("quota", quota.Name)))]);
        yield return new MetricFamily.Gauge(
            "cowork_quota_limit", "What the tenant may have of it.", null,
            [.. bounded.Select(quota => new Sample(quota.Of.Limit, ("quota", quota.Name))), new Sample(quotas.Requests.PerSecond, ("quota", "requests_per_second"))]);
        yield return new MetricFamily.Counter(
            "cowork_requests_refused", "Requests of the tenant that this host refused because there were too many in a second.", null, new Sample(quotas.Requests.Refused));
        if (host is null)
        {
            yield break;
        }
        yield return new MetricFamily.Gauge(
            "cowork_open", "What is open at this host.", null, new(host.Connections.Open, ("what", "connections")), new(host.Streams.Open, ("what", "streams")));
        yield return new MetricFamily.Gauge(
            "cowork_open_max", "What may be open at this host.", null, new(host.Connections.Max, ("what", "connections")), new(host.Streams.Max, ("what", "streams")));
        yield return new MetricFamily.Counter(
            "cowork_open_refused", "Connections and streams that this host refused.", null,
            new(host.Connections.Refused, ("what", "connections")), new(host.Streams.Refused, ("what", "streams")));
        yield return new MetricFamily.Counter(
            "cowork_wrong_tokens_spared", "Wrong tokens that this host refused without a look into the database.", null, new Sample(host.WrongTokensSpared));
        yield return new MetricFamily.Gauge("cowork_host_info", "The engine that stores the log.", null, new Sample(1, ("engine", host.Engine)));
        yield return new MetricFamily.Gauge("cowork_log_head_gid", "Position of the log's last event.", null, new Sample(host.LogHead));
        yield return new MetricFamily.Gauge(
            "cowork_projection_lag_events", "Positions of the log that a projection has not come to yet.", null,
            [.. host.Projections.Select(p => new Sample(p.LagEvents, ("projection", p.Name)))]);
        yield return new MetricFamily.Gauge(
            "cowork_projection_parked", "1: the projection stands before an event that it cannot fold.", null,
            [.. host.Projections.Select(p => new Sample(p.Parked ? 1 : 0, ("projection", p.Name)))]);
        yield return new MetricFamily.Gauge(
            "cowork_jobs", "Jobs of all hosts, by whether they wait, are being done, or are not due yet.", null,
            new(host.Jobs.Waiting, ("state", "waiting")), new(host.Jobs.Held, ("state", "held")), new(host.Jobs.Later, ("state", "later")));
        yield return new MetricFamily.Counter("cowork_memory_refused", "Requests that this host had no memory for.", null, new Sample(host.MemoryRefused));
        yield return new MetricFamily.Gauge("cowork_audit_tree_events", "Events that the tree over the log has.", null, new Sample(host.Audit.TreeSize));
        yield return new MetricFamily.Gauge(
            "cowork_audit_tree_lag_events", "Positions of the log that the tree over it does not have yet.", null, new Sample(host.Audit.TreeLagEvents));
        yield return new MetricFamily.Counter("cowork_audit_heads", "Heads of the log that were signed.", null, new Sample(host.Audit.Heads));
        yield return new MetricFamily.Gauge("cowork_audit_head_events", "Events that the last signed head covers.", null, new Sample(host.Audit.HeadTreeSize));
        yield return new MetricFamily.Gauge(
            "cowork_audit_head_time_seconds", "When the last head was signed, since 1970; 0: none was.", "seconds",
            new Sample((host.Audit.HeadAt?.ToUnixTimeMilliseconds() ?? 0) / 1000.0));
        if (host.Audit.Targets.Count > 0)
        {
            yield return new MetricFamily.Gauge(
                "cowork_audit_sent_heads", "Number of the last head that a place outside was sent.", null,
                [.. host.Audit.Targets.Select(target => new Sample(target.Sent, ("target", target.Name)))]);
            yield return new MetricFamily.Counter(
                "cowork_audit_send_failures", "Tries to send a head to a place outside that failed.", null,
                [.. host.Audit.Targets.Select(target => new Sample(target.Failures, ("target", target.Name)))]);
        }
        yield return new MetricFamily.Gauge("cowork_audit_fault", "1: no head is signed, because the database is not what it was.", null, new Sample(host.Audit.Fault ? 1 : 0));
        yield return new MetricFamily.Gauge("process_resident_memory_bytes", "Memory of this host's process.", "bytes", new Sample(host.MemoryBytes));
        yield return new MetricFamily.Counter("process_cpu_seconds", "Processor time of this host's process.", "seconds", new Sample(host.CpuSeconds));
        yield return new MetricFamily.Gauge(
            "process_start_time_seconds", "When this host's process was started, since 1970.", "seconds", new Sample(host.StartedAt.ToUnixTimeMilliseconds() / 1000.0));
    }
}
