using System.Collections.Concurrent;
using System.Diagnostics;

using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>What a trace shows of the writer, which writes for many at once.</summary>
public sealed partial class MartenStorageSpec
{
    [Fact]
    public async Task A_flush_lies_in_one_trace_and_is_linked_to_all_others_that_it_serves()
    {
        var node = await Open("a");
        using var test = new ActivitySource("test");
        var flushes = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name is "Cowork" or "test",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = span => flushes.Enqueue(span),
        };
        ActivitySource.AddActivityListener(listener);
        var callers = new ConcurrentBag<string>();
        await Task.WhenAll(Enumerable.Range(0, 64).Select(i => Task.Run(async () =>
        {
            using var caller = test.StartActivity("caller");
            callers.Add(caller!.Id!);
            Assert.IsType<AppendResult.Ok>(await node.Log.Append(new Chain(Org, $"run-{i}").Commit("one"), None));
        })));

        // The last flush ends after its callers have been answered.
        bool IsServed(string caller) => Served().Contains(caller);
        IEnumerable<string> Served() => flushes.Where(f => f.OperationName == "flush")
            .SelectMany(f => f.Links.Select(l => $"00-{l.Context.TraceId}-{l.Context.SpanId}-01").Prepend(f.ParentId!));
        Assert.True(SpinWait.SpinUntil(() => callers.All(IsServed), Deadline), $"{callers.Count(c => !IsServed(c))} of {callers.Count} were served by no flush.");
        Assert.Equal(callers.Order(), Served().Where(callers.Contains).Order());
        Assert.Contains(flushes, f => f.OperationName == "flush" && f.Links.Any() && f.GetTagItem("db.operation.batch.size") is int and > 1);
    }
}
