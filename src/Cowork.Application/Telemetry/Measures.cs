using System.Diagnostics;
using System.Diagnostics.Metrics;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What is counted and timed (docs/telemetry.md). Names and units follow OpenTelemetry's conventions; while nobody listens an instrument does nothing.</summary>
public static class Measures
{
    public const string MeterName = "Cowork";

    static readonly Meter Meter = new(MeterName, typeof(Measures).Assembly.GetName().Version?.ToString());

    static readonly InstrumentAdvice<double> Short = new() { HistogramBucketBoundaries = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] };

    static readonly InstrumentAdvice<double> Long = new() { HistogramBucketBoundaries = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600] };

    static readonly InstrumentAdvice<long> Powers = new() { HistogramBucketBoundaries = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] };

    static readonly InstrumentAdvice<long> Tokens = new()
    {
        HistogramBucketBoundaries = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864],
    };

    /// <summary>From an append's asking until it is on disk, or is refused.</summary>
    public static Histogram<double> AppendDuration { get; } = Meter.CreateHistogram("cowork.append.duration", "s", "How long an append took.", null, Short);

    /// <summary>One transaction on the database.</summary>
    public static Histogram<double> FlushDuration { get; } =
        Meter.CreateHistogram("db.client.operation.duration", "s", "How long a transaction that writes commits took.", null, Short);

    public static Histogram<long> BatchSize { get; } = Meter.CreateHistogram("cowork.append.batch.size", "{commit}", "Commits that one transaction wrote.", null, Powers);

    public static Counter<long> Events { get; } = Meter.CreateCounter<long>("cowork.events", "{event}", "Events appended.");

    public static Counter<long> Runs { get; } = Meter.CreateCounter<long>("cowork.runs", "{run}", "Runs that ended, by outcome.");

    public static Histogram<double> RunQueue { get; } =
        Meter.CreateHistogram("cowork.run.queue.duration", "s", "From a run's acceptance until it started.", null, Long);

    public static Histogram<double> RunExecution { get; } =
        Meter.CreateHistogram("cowork.run.execution.duration", "s", "From a run's start until its end, without the waiting for approvals.", null, Long);

    public static Histogram<long> ModelTokens { get; } = Meter.CreateHistogram("gen_ai.client.token.usage", "{token}", "Tokens of a model's answer.", null, Tokens);

    public static Histogram<double> ModelDuration { get; } =
        Meter.CreateHistogram("gen_ai.client.operation.duration", "s", "How long a model took to answer.", null, Long);

    public static Counter<double> ModelCost { get; } = Meter.CreateCounter<double>("cowork.model.cost", "{USD}", "What models with a known price cost.");

    public static UpDownCounter<long> JobsHeld { get; } = Meter.CreateUpDownCounter<long>("cowork.jobs.held", "{job}", "Jobs that this node holds.");

    public static UpDownCounter<long> Followers { get; } = Meter.CreateUpDownCounter<long>("cowork.feed.followers", "{follower}", "Open event streams.");

    public static Histogram<double> FeedLag { get; } =
        Meter.CreateHistogram("cowork.feed.lag", "s", "From an event's time until it is handed to an open stream.", null, Short);

    /// <summary>An event of a run was appended.</summary>
    /// <param name="before">The run before the commit.</param>
    internal static void Happened(RunEvent e, Run before, Began began)
    {
        switch (e)
        {
            case RunEvent.RunStarted:
                RunQueue.Record((e.At - began.At).TotalSeconds);
                break;
            case RunEvent.RunCompleted:
                Ended("completed", null);
                break;
            case RunEvent.RunFailed failed:
                Ended("failed", failed.Error.Code);
                break;
            case RunEvent.RunCancelled:
                Ended("cancelled", null);
                break;
        }

        void Ended(string outcome, string? code)
        {
            var tags = new TagList { { "cowork.run.outcome", outcome } };
            if (code is not null)
            {
                tags.Add("error.type", code);
            }
            Runs.Add(1, tags);
            // While a person is waited for, the run does not execute.
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
