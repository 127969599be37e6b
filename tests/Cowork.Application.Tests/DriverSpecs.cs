using System.Runtime.CompilerServices;
using System.Text.Json;

using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>What a driver hears may be late, early or never: it goes by the log, waits for nobody who has nothing to say, and does nothing twice.</summary>
public sealed class DriverSpecs : IDisposable
{
    static readonly TimeSpan Deadline = Patience.Limit;

    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task A_decision_that_comes_before_the_answer_to_the_commit_that_asked_is_acted_on_at_once()
    {
        var blobs = new Testing.InMemoryBlobs();
        var bench = new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)] };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        using var stopping = new CancellationTokenSource();
        var working = Task.Run(() => host.Work(stopping.Token));
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (after && commit.Writes.SelectMany(w => w.Events).Select(e => e.Event).OfType<ApprovalRequested>().FirstOrDefault() is { } asked)
            {
                // The driver stands here, between its commit and its knowing, until another job has the run in hand.
                Assert.Null(host.Decide(asked.ApprovalId, approved: true).GetAwaiter().GetResult());
                Assert.True(SpinWait.SpinUntil(() => bench.Engine.Jobs.Any(j => j.Kind == host.Driver.Kind && j.Holder == "n1") && host.Node.Ready == 0, Deadline));
            }
        };
        var run = await host.Send("s", "go\nwrite_file {\"path\":\"report.md\",\"content\":\"hello\"}");
        await Patience.Until(async () => (await bench.Story($"run-{run.Value}"))[^1] == "run_completed", () => JobsOf(bench));
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(work.Root, "report.md")));
        await stopping.CancelAsync();
        await working;
    }

    [Fact]
    public async Task A_tool_that_gives_up_by_itself_has_failed_and_the_run_goes_on()
    {
        var bench = new RunHarness { Tools = [new ImpatientTool()] };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nread_file {}");
        await host.Drive();
        var result = (await Events(bench, run)).OfType<ToolResult>().Single();
        Assert.Equal((true, Content.Of("The tool failed.")), (result.IsError, result.Content));
        Assert.Equal("run_completed", (await bench.Story($"run-{run.Value}"))[^1]);
    }

    [Fact]
    public async Task What_a_tool_answers_at_length_lies_in_the_blob_store_and_the_model_reads_it_whole()
    {
        var text = string.Concat(Enumerable.Range(0, 20_000).Select(i => $"{i}, "));
        var bench = new RunHarness { Tools = [new LongTool(text)] };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nread_file {}");
        await host.Drive();
        var result = (await Events(bench, run)).OfType<ToolResult>().Single();
        var blob = Assert.IsType<Content.Blob>(result.Content);
        Assert.Equal((text.Length, text), ((int)blob.Bytes, await bench.Blobs.Text(blob, default)));
        Assert.Equal(text, bench.Model.Told.Single());
    }

    [Fact]
    public async Task A_driver_that_was_taken_over_does_not_wait_for_a_model_that_says_no_more()
    {
        var bench = new RunHarness { Options = new() { DefaultModel = "silent", DeltaEvery = TimeSpan.Zero }, Models = { ["silent"] = new SilentModel() } };
        var (first, second) = (bench.AddHost("n1"), bench.AddHost("n2"));
        await first.OpenSession("s");
        var run = await first.Send("s", "go");
        var isTaken = false;
        bench.Engine.FailPoint = (commit, after) =>
        {
            if (!after && !isTaken && commit.Writes.Any(w => w.Events.Any(e => e.Event is OutputDelta)))
            {
                isTaken = true;
                var taken = second.Commands.Commit(
                    RunHarness.Org, RunHarness.User, work => work.Do(Run.Aggregate, run, new RunCommand.Start(1_000, "n2", work.Now), new SessionKey("s"), run), default).AsTask();
                Assert.Null(taken.GetAwaiter().GetResult());
            }
        };
        await Task.Run(first.DriveOne).WaitAsync(Deadline);
        Assert.Equal(["run_created", "run_started", "memory_retrieval", "run_resumed"], await bench.Story($"run-{run.Value}"));
    }

    [Fact]
    public async Task A_clock_that_is_set_back_does_not_have_the_model_asked_twice()
    {
        var bench = new RunHarness { Options = new() { DefaultModel = "silent", DeltaEvery = TimeSpan.Zero }, Models = { ["silent"] = new SilentModel() } };
        var host = bench.AddHost("n1");
        await host.OpenSession("s");
        var run = await host.Send("s", "go");
        var driving = host.DriveOne();
        await Patience.Until(async () => (await bench.Story($"run-{run.Value}"))[^1] == "output_delta", () => JobsOf(bench));
        bench.Clock.Set(-TimeSpan.FromMinutes(1));
        // The run's time is measured out, and by the time of day a minute of it is left.
        bench.Clock.Advance(RunLimits.Default.Time + TimeSpan.FromMilliseconds(1));
        await driving.WaitAsync(Deadline);
        Assert.Equal(["run_created", "run_started", "memory_retrieval", "output_delta", "run_failed"], await bench.Story($"run-{run.Value}"));
        Assert.Equal("limit_time", (await Events(bench, run)).OfType<RunFailed>().Single().Error.Code);
    }

    static string JobsOf(RunHarness bench) => $"Jobs: {string.Join(", ", bench.Engine.Jobs)}";

    static async Task<IEnumerable<Event>> Events(RunHarness bench, RunKey run) =>
        (await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events.Select(e => e.Event);

    sealed class LongTool(string text) : ITool
    {
        public string Name => "read_file";

        public string Description => "Says much.";

        public JsonElement Schema { get; } = ToolInput.Schema("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(new CallSubject("read", "x"));

        public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct) => Task.FromResult(ToolOutcome.Ok(text));
    }

    /// <summary>Has a time-out of its own, which looks like being cancelled.</summary>
    sealed class ImpatientTool : ITool
    {
        public string Name => "read_file";

        public string Description => "Waits too little.";

        public JsonElement Schema { get; } = ToolInput.Schema("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(new CallSubject("read", "x"));

        public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct) => throw new TaskCanceledException("Nobody answered in time.");
    }

    /// <summary>Says one word, and then nothing until nobody listens any more.</summary>
    sealed class SilentModel : IChatClient
    {
        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            yield return new(ChatRole.Assistant, "Well");
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
        }

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
            GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }
}
