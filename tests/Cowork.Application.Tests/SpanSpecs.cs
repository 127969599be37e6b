using System.Collections.Concurrent;
using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Which trace a run is in, and what its events say of it.</summary>
public sealed class SpanSpecs : IDisposable
{
    readonly ActivitySource test = new("test");
    readonly ConcurrentQueue<Activity> spans = new();
    ActivityListener? listener;

    public void Dispose()
    {
        listener?.Dispose();
        test.Dispose();
    }

    void Listen(ActivitySamplingResult sampling = ActivitySamplingResult.AllDataAndRecorded)
    {
        listener = new()
        {
            ShouldListenTo = source => source.Name is "Cowork" or "test",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => sampling,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
    }

    [Fact]
    public async Task An_event_names_the_trace_and_the_span_of_the_command_that_wrote_it()
    {
        Listen();
        var (bench, run, trace) = await Ran();
        var events = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events;
        var commands = spans.Where(s => s.OperationName.StartsWith("command ", StringComparison.Ordinal)).Select(s => s.SpanId.ToHexString()).ToHashSet();
        Assert.All(events, e => Assert.True(e.Correlation == trace && commands.Contains(e.Causation!), e.ToString()));
        var driven = Assert.Single(spans, s => s.OperationName == "run" && (string?)s.GetTagItem("cowork.run_id") == run.Id);
        Assert.Equal((trace, events[0].Causation), (driven.TraceId.ToHexString(), driven.ParentSpanId.ToHexString()));
    }

    [Fact]
    public async Task A_trace_that_is_not_recorded_is_named_all_the_same_and_its_run_is_not_recorded()
    {
        Listen(ActivitySamplingResult.PropagationData);
        var (bench, run, trace) = await Ran();
        var events = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events;
        Assert.All(events, e => Assert.Equal((trace, null), (e.Correlation, e.Causation)));
        // Other specs run at the same time, and are heard here too.
        Assert.DoesNotContain(spans, s => s.Recorded && s.TraceId.ToHexString() == trace);
    }

    [Fact]
    public async Task What_another_request_does_to_a_run_is_of_its_own_trace_with_a_link_to_the_runs()
    {
        Listen();
        var bench = new RunHarness();
        var host = bench.AddHost("n");
        await host.OpenSession("s");
        RunKey run;
        string began, cancelled;
        using (var request = test.StartActivity("turn"))
        {
            began = request!.TraceId.ToHexString();
            run = await host.Send("s", "hello");
        }
        using (var request = test.StartActivity("cancel"))
        {
            Assert.Null((await host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default)).Refused);
            cancelled = request!.TraceId.ToHexString();
        }
        var events = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events;
        Assert.Equal([began, cancelled, cancelled], events.Select(e => e.Correlation));
        var command = Assert.Single(spans, s => s.TraceId.ToHexString() == cancelled && s.OperationName.StartsWith("command ", StringComparison.Ordinal));
        Assert.Equal((began, events[0].Causation), Assert.Single(command.Links.Select(l => (l.Context.TraceId.ToHexString(), l.Context.SpanId.ToHexString()))));
    }

    [Fact]
    public async Task A_batch_of_a_projection_is_in_the_trace_of_its_first_recorded_event_with_a_link_to_each_other()
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n");
        await host.OpenSession("s");
        await host.Send("s", "not traced");
        Listen();
        var commands = new List<(string? Trace, string? Span)>();
        foreach (var _ in Enumerable.Range(0, 3))
        {
            using var request = test.StartActivity("turn");
            var run = await host.Send("s", "hello");
            var events = (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events;
            commands.Add((events[0].Correlation, events[0].Causation));
        }
        await new Projector(bench.Engine, ReadModels.AsyncProjections, bench.Clock, NullLogger<Projector>.Instance).CatchUp(default);
        var batch = Assert.Single(spans, s => s.OperationName == "project metrics" && s.TraceId.ToHexString() == commands[0].Trace);
        Assert.Equal(commands[0].Span, batch.ParentSpanId.ToHexString());
        Assert.Equal(commands[1..], batch.Links.Select(l => ((string?)l.Context.TraceId.ToHexString(), (string?)l.Context.SpanId.ToHexString())));
        Assert.Equal(("ok", 4), ((string?)batch.GetTagItem("cowork.projection.outcome"), (int?)batch.GetTagItem("cowork.event_count")));
    }

    [Fact]
    public async Task A_name_that_a_model_made_up_is_in_no_span()
    {
        Listen();
        var (bench, run, _) = await Ran("go\nno_such_tool_told_by_the_model {}");
        Assert.Contains("tool_result", await bench.Story($"run-{run.Value}"));
        Assert.DoesNotContain(spans, s => s.OperationName.Contains("told_by_the_model", StringComparison.Ordinal));
    }

    async Task<(RunHarness, RunKey, string?)> Ran(string message = "hello")
    {
        var bench = new RunHarness();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        RunKey run;
        string? trace;
        using (var request = test.StartActivity("request"))
        {
            trace = request?.TraceId.ToHexString();
            run = await host.Send("s", message, by: RunHarness.User with { Correlation = trace });
        }
        await foreach (var (claim, lost) in host.Node.Claims(default))
        {
            Assert.True(await ((IJobHandler)host.Driver).Run(claim, lost));
            break;
        }
        return (bench, run, trace);
    }
}
