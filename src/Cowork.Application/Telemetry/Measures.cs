using System.Diagnostics;
using System.Diagnostics.Metrics;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The host's metrics (docs/telemetry.md). Names and units follow OpenTelemetry's conventions. An instrument without a listener does nothing.</summary>
public static class Measures
{
    public const string MeterName = "Cowork";

    static readonly Meter Meter = new(MeterName, typeof(Measures).Assembly.GetName().Version?.ToString());

    static readonly InstrumentAdvice<double> ShortDurations = new()
    {
        HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    };

    static readonly InstrumentAdvice<double> LongDurations = new() { HistogramBucketBoundaries = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600] };

    static readonly InstrumentAdvice<long> BatchSizes = new() { HistogramBucketBoundaries = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] };

    static readonly InstrumentAdvice<long> TokenCounts = new()
    {
        HistogramBucketBoundaries = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864],
    };

    /// <summary>From the request of an append until it is on disk or refused.</summary>
    public static Histogram<double> AppendDuration { get; } = Meter.CreateHistogram("cowork.append.duration", "s", "How long an append took.", null, ShortDurations);

    /// <summary>Duration of a transaction that writes commits.</summary>
    public static Histogram<double> FlushDuration { get; } =
        Meter.CreateHistogram("db.client.operation.duration", "s", "How long a transaction that writes commits took.", null, ShortDurations);

    public static Histogram<long> BatchSize { get; } = Meter.CreateHistogram("cowork.append.batch.size", "{commit}", "Commits that one transaction wrote.", null, BatchSizes);

    public static Counter<long> Events { get; } = Meter.CreateCounter<long>("cowork.events", "{event}", "Events appended.");

    public static Counter<long> Runs { get; } = Meter.CreateCounter<long>("cowork.runs", "{run}", "Runs that ended, by outcome.");

    public static Histogram<double> RunQueue { get; } =
        Meter.CreateHistogram("cowork.run.queue.duration", "s", "From a run's acceptance until it started.", null, LongDurations);

    public static Histogram<double> RunExecution { get; } =
        Meter.CreateHistogram("cowork.run.execution.duration", "s", "From a run's start until its end, without the waiting for approvals.", null, LongDurations);

    public static Histogram<long> ModelTokens { get; } = Meter.CreateHistogram("gen_ai.client.token.usage", "{token}", "Tokens of a model's answer.", null, TokenCounts);

    public static Histogram<double> ModelDuration { get; } =
        Meter.CreateHistogram("gen_ai.client.operation.duration", "s", "How long a model took to answer.", null, LongDurations);

    public static Counter<double> ModelCost { get; } = Meter.CreateCounter<double>("cowork.model.cost", "{USD}", "What models with a known price cost.");

    public static Counter<long> BudgetWarnings { get; } =
        Meter.CreateCounter<long>("cowork.budget.warnings", "{warning}", "Days of tenants whose models reached the soft limit of the budget.");

    public static Counter<long> BudgetRefusals { get; } =
        Meter.CreateCounter<long>("cowork.budget.refusals", "{call}", "Calls of models that the budget did not pay for.");

    public static UpDownCounter<long> JobsHeld { get; } = Meter.CreateUpDownCounter<long>("cowork.jobs.held", "{job}", "Jobs that this node holds.");

    public static UpDownCounter<long> Followers { get; } = Meter.CreateUpDownCounter<long>("cowork.feed.followers", "{follower}", "Open event streams.");

    public static Histogram<double> FeedLag { get; } =
        Meter.CreateHistogram("cowork.feed.lag", "s", "From an event's time until it is handed to an open stream.", null, ShortDurations);

    public static Counter<long> BlobsSwept { get; } = Meter.CreateCounter<long>("cowork.blobs.swept", "{file}", "Files of the blob store that no commit named, removed.");

    public static Counter<long> BlobBytesSwept { get; } = Meter.CreateCounter<long>("cowork.blobs.swept.size", "By", "Bytes of the files that were removed.");

    /// <summary>Counts and times an appended event of a run.</summary>
    /// <param name="before">The run before the commit.</param>
    internal static void RunEventAppended(RunEvent e, Run before, StreamStart start)
    {
        if (before is Run.Queued { Request.Counterfactual: not null } or Run.Active { Request.Counterfactual: not null }
            or Run.Suspended { Before.Request.Counterfactual: not null })
        {
            // What would have happened is no measure of what did.
            return;
        }
        switch (e)
        {
            case RunEvent.RunStarted:
                RunQueue.Record((e.At - start.At).TotalSeconds);
                break;
            case RunEvent.RunCompleted:
                RecordEnd("completed", null);
                break;
            case RunEvent.RunFailed failed:
                RecordEnd("failed", failed.Error.Code);
                break;
            case RunEvent.RunCancelled:
                RecordEnd("cancelled", null);
                break;
        }

        void RecordEnd(string outcome, string? code)
        {
            var tags = new TagList { { "cowork.run.outcome", outcome } };
            if (code is not null)
            {
                tags.Add("error.type", code);
            }
            Runs.Add(1, tags);
            // A run that waits for an approval does not execute.
            var (run, until) = before switch
            {
                Run.Active active => (active, e.At),
                Run.Suspended s => (s.Before, s.Pending?.At ?? e.At),
                _ => (null, e.At),
            };
            if (run is not null)
            {
                RunExecution.Record((until - run.StartedAt - run.Waited).TotalSeconds, tags);
            }
        }
    }
}
