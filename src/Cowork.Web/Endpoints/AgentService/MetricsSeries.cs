using Cowork.Marten;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>The figures of a stretch of time.</summary>
/// <param name="ThroughGid">Position of the last event that they count; null: they count none.</param>
/// <param name="Latency">Of the runs that started and ended in it, and of the approvals that were decided in it.</param>
public sealed record MetricsPoint(
    DateTimeOffset From, DateTimeOffset To, long? ThroughGid, long Created, long Started, long Completed, long Failed, long Cancelled, Latencies Latency, long InputTokens,
    long OutputTokens, long TotalTokens, decimal CostUsd)
{
    public static MetricsPoint Of(DateTimeOffset from, TimeSpan length, MetricsRow.OfTime of, long? through) => new(
        from, from + length, through, of.Created, of.Started, of.Completed, of.Failed, of.Cancelled,
        new(Percentiles.Of(of.Queue), Percentiles.Of(of.Execution), Percentiles.Of(of.Approval)), of.InputTokens, of.OutputTokens, of.InputTokens + of.OutputTokens,
        Domain.Money.Usd(of.CostMicroUsd));
}

/// <param name="AsOfGid">The figures include every event of the tenant up to this position, and no later one.</param>
/// <param name="Points">Every stretch of the time that was asked for, oldest first, also those in which nothing happened.</param>
public sealed record MetricsSeriesAnswer(DateTimeOffset From, DateTimeOffset To, string Bucket, long AsOfGid, IReadOnlyList<MetricsPoint> Points);

/// <summary>The tenant's runs by status.</summary>
/// <param name="Total">Of all of them.</param>
/// <param name="AsOfGid">Every event of the tenant up to this position is counted, and none after it.</param>
public sealed record RunCounts(long Queued, long Running, long ApprovalRequired, long Completed, long Failed, long Cancelled, long Total, long AsOfGid);

static class MetricsSeriesEndpoints
{
    /// <summary>Rows that one request reads.</summary>
    const int RowsMax = 1_440;

    static readonly Dictionary<string, TimeSpan> Lengths = new()
    {
        ["1m"] = TimeSpan.FromMinutes(1),
        ["5m"] = TimeSpan.FromMinutes(5),
        ["15m"] = TimeSpan.FromMinutes(15),
        ["1h"] = TimeSpan.FromHours(1),
        ["6h"] = TimeSpan.FromHours(6),
        ["1d"] = TimeSpan.FromDays(1),
    };

    static readonly TimeQuery From = new("from", "From the stretch of this time on; without it, 24 of them.");
    static readonly TimeQuery To = new("to", "Up to the stretch of this time; without it, up to now.");
    static readonly ChoiceQuery Bucket = new("bucket", [.. Lengths.Keys], "1h", "How long the stretches are; days are those of UTC.", "MetricsBucket");

    public static void MapMetricsSeries(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/metrics/series", Series).WithName("getMetricsSeries").WithTags("Operations")
            .WithSummary("The tenant's runs in figures over time: ends, latencies, tokens, cost")
            .Takes(From).Takes(To).Takes(Bucket)
            .Produces<MetricsSeriesAnswer>().Refuses(422);
        routes.MapGet("/runs/counts", Counts).WithName("getRunCounts").WithTags("Runs")
            .WithSummary("How many runs the tenant has, by status")
            .Produces<RunCounts>().Refuses();
    }

    static async Task<IResult> Series(HttpContext http, Caller caller, StorageEngine engine, TimeProvider clock, CancellationToken ct)
    {
        var bucket = Bucket.Read(http);
        var length = Lengths[bucket];
        var to = To.Read(http) ?? clock.GetUtcNow();
        var end = Metrics.Begin(length, to) is var begin && begin == to && To.Read(http) is not null ? begin
            : begin > DateTimeOffset.MaxValue - length ? begin : begin + length;
        var from = Metrics.Begin(length, From.Read(http) ?? (end > DateTimeOffset.MinValue + (24 * length) ? end - (24 * length) : DateTimeOffset.MinValue));
        var stretch = Metrics.Stretches.Last(of => of <= length);
        if (from >= end)
        {
            return ErrorResult.Invalid(From.Name, "Must be before the end.");
        }
        if ((end - from) / stretch > RowsMax)
        {
            return ErrorResult.Invalid(From.Name, $"At most {RowsMax * stretch.TotalHours:0.#} hours by {bucket}.");
        }
        // Read the checkpoint first: rows that are read later include everything up to it.
        var asOf = (await engine.AsyncProjections.Progress(ct)).Of(Metrics.Model.Table).Checkpoint.Position;
        var keys = new List<string>();
        for (var at = from; at < end; at += stretch)
        {
            keys.Add(Metrics.KeyOf(stretch, at));
        }
        var rows = (await engine.Rows.Get(caller.Org, Metrics.Model.Table, keys, ct))
            .ToDictionary(row => row.Key, row => ((MetricsRow.OfTime)Metrics.Model.Read(row.Json.Span), row.Version), StringComparer.Ordinal);
        var points = new List<MetricsPoint>();
        for (var at = from; at < end; at += length)
        {
            var (sum, through) = (MetricsRow.OfTime.None, (long?)null);
            for (var part = at; part < at + length; part += stretch)
            {
                if (rows.TryGetValue(Metrics.KeyOf(stretch, part), out var found))
                {
                    (sum, through) = (sum.Plus(found.Item1), Math.Max(through ?? 0, found.Version));
                }
            }
            points.Add(MetricsPoint.Of(at, length, sum, through));
        }
        return JsonResult.Of(
            200, new(from, end, bucket, points.Select(point => point.ThroughGid ?? 0).Append(asOf).Max(), points), AgentServiceJson.Answers.MetricsSeriesAnswer);
    }

    static async Task<IResult> Counts(Caller caller, StorageEngine engine, CancellationToken ct)
    {
        var checkpoint = (await engine.AsyncProjections.Progress(ct)).Of(Metrics.Model.Table).Checkpoint.Position;
        var row = await engine.Rows.Get(caller.Org, Metrics.Model.Table, Metrics.TenantKey, ct);
        var figures = row is null ? Metrics.Empty(default) : (MetricsRow.OfTenant)Metrics.Model.Read(row.Json.Span);
        var s = figures.Statuses;
        return JsonResult.Of(
            200,
            new RunCounts(s.Queued, s.Running, s.ApprovalRequired, s.Completed, s.Failed, s.Cancelled, figures.Runs, Math.Max(row?.Version ?? 0, checkpoint)),
            AgentServiceJson.Answers.RunCounts);
    }
}
