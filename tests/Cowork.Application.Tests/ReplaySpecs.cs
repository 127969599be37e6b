using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The loop runs again on what is recorded, and makes the recorded events with their hashes, or the first one that it does not make is named.</summary>
public sealed class ReplaySpecs
{
    /// <summary>Everything that can be recorded of a run.</summary>
    static readonly string[] Kinds =
    [
        "run_created", "run_started", "run_resumed", "memory_retrieval", "tools_offered", "output_delta", "thinking_delta", "model_retried", "llm_response", "tool_call",
        "policy_decision", "approval_requested", "approval_decided", "tool_result", "assistant_reply", "feedback_received", "run_cancel_requested", "run_completed", "run_failed",
        "run_cancelled",
    ];

    [Fact]
    public async Task A_thousand_recorded_runs_with_every_kind_of_step_replay_with_equal_hashes_from_the_log_and_from_their_bundles()
    {
        var kinds = new HashSet<string>(StringComparer.Ordinal);
        var (replayed, codes) = (0, new HashSet<string>(StringComparer.Ordinal));
        foreach (var seed in Seeds.Many(ordinary: 100, chaos: 4_000))
        {
            using var runs = new RecordedRuns(seed);
            await runs.Make(10);
            foreach (var run in runs.Runs)
            {
                var own = await runs.Harness.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default);
                kinds.UnionWith(own.Events.Select(e => EventTypes.FeedType(e.Type)));
                codes.UnionWith(own.Events.Select(e => e.Event).OfType<RunEvent.RunFailed>().Select(e => e.Error.Code));
                var records = new List<IRunRecord> { new LoggedRun(runs.Harness.Engine, runs.Harness.Blobs, RunHarness.Org, run) };
                if (replayed % 4 == 0)
                {
                    records.Add(Read((await TraceBundle.Build(runs.Harness.Engine, runs.Harness.Blobs, RunHarness.Org, new(RecordedRuns.Session), run, default))!));
                }
                foreach (var record in records)
                {
                    var report = await RunReplay.Of(record, default);
                    Assert.True(
                        report is { Verdict: ReplayReport.Equal, Divergence: null, Unproved.Count: 0 } && (report.Events, report.Head) == (own.Version, own.Hash),
                        $"seed {seed}: {run.Id} in {record.GetType().Name}: {report.Divergence} {string.Join(", ", report.Unproved)}");
                    Assert.Equal(own.Events.Count(e => e.Event is RunEvent.PolicyDecision), report.PolicyDecisions);
                }
                replayed++;
            }
        }
        Assert.True(replayed >= 1_000, $"{replayed}");
        Assert.Equal(Kinds.Order(StringComparer.Ordinal), kinds.Order(StringComparer.Ordinal));
        Assert.Superset(
            new HashSet<string>(["model_failed", "model_refused", "budget_exceeded", "limit_tokens", "limit_tool_calls", "limit_rounds", "limit_time"], StringComparer.Ordinal), codes);
    }

    /// <summary>Nothing is there that could be asked: models, tools, other sources and the database would throw.</summary>
    [Fact]
    public async Task A_replay_asks_no_model_calls_no_tool_and_writes_nothing()
    {
        using var runs = new RecordedRuns(Seeds.One(4711));
        await runs.Make(10);
        var (asked, stored) = (runs.Asked, runs.Harness.Blobs.Count);
        var log = await runs.Harness.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default);
        runs.Forbid();
        runs.Harness.Engine.FailPoint = (_, _) => throw new InvalidOperationException("A replay writes.");
        foreach (var run in runs.Runs)
        {
            var report = await RunReplay.Of(new LoggedRun(runs.Harness.Engine, new ReadOnlyBlobs(runs.Harness.Blobs), RunHarness.Org, run), default);
            Assert.Equal((ReplayReport.Equal, null), (report.Verdict, report.Divergence));
        }
        Assert.Equal((asked, stored), (runs.Asked, runs.Harness.Blobs.Count));
        Assert.Equal(log.Head, (await runs.Harness.Engine.Feed(RunHarness.Org, null, 0, 1, default)).Head);
    }

    /// <summary>Edits of a recorded run, with hashes computed anew or not, and where the replay is another first.</summary>
    public static TheoryData<string, bool, string, string> Edits => new()
    {
        { "tool_result content", false, "tool_result", "hash" },
        { "tool_result content", true, "llm_response", "model_request" },
        { "output_delta text", false, "output_delta", "hash" },
        { "output_delta text", true, "assistant_reply", "event" },
        { "assistant_reply content", true, "assistant_reply", "event" },
        { "llm_response request_sha256", true, "llm_response", "model_request" },
        { "llm_response step", true, "llm_response", "event" },
        { "tool_call input", true, "approval_requested", "policy_decision" },
        { "policy_decision rule", true, "policy_decision", "policy_decision" },
        { "policy_decision subject", true, "policy_decision", "policy_decision" },
        { "approval_requested expires_at", true, "approval_requested", "policy_decision" },
        { "run_completed total_tokens", true, "run_completed", "event" },
        { "run_created message", true, "llm_response", "model_request" },
        { "memory_retrieval history", true, "llm_response", "model_request" },
        { "drop policy_decision", true, "approval_requested", "next_step" },
        { "drop tool_result", true, "policy_decision", "next_step" },
        { "drop run_completed", false, "", "" },
        { "twice llm_response", true, "llm_response", "next_step" },
        { "earlier turn", false, "llm_response", "model_request" },
    };

    [Theory]
    [MemberData(nameof(Edits))]
    public async Task A_changed_record_is_named_at_the_first_event_that_the_loop_does_not_make(string edit, bool isRechained, string type, string what)
    {
        var root = JsonNode.Parse(await Approved())!.AsObject();
        var events = root["events"]!.AsArray();
        JsonObject Last(string of) => events.Last(e => (string?)e!["event_type"] == of)!.AsObject();
        switch (edit.Split(' '))
        {
            case ["drop", var dropped]:
                events.Remove(dropped == "tool_result" ? events.First(e => (string?)e!["event_type"] == dropped) : Last(dropped));
                break;
            case ["twice", var doubled]:
                var copy = Last(doubled).DeepClone();
                events.Insert(events.IndexOf(Last(doubled)) + 1, copy);
                break;
            case ["earlier", "turn"]:
                root["related"]!.AsArray().Single(e => (string?)e!["type"] == "assistant_reply.v1")!["data"]!["content"] = "something else";
                break;
            case [var of, "history"]:
                Last(of)["data"]!["history"] = new JsonArray();
                break;
            case [var of, "subject"]:
                Last(of)["data"]!["subject"]!["kind"] = "read";
                break;
            case [var of, var member] when Last(of)["data"]![member] is var value:
                Last(of)["data"]![member] = member == "expires_at" ? "2030-01-01T00:00:00.000Z" : value!.GetValueKind() == JsonValueKind.Number
                    ? (long)value + 1
                    : value.GetValue<string>() is { Length: 64 } ? new string('0', 64) : $"{value} and more";
                break;
        }
        if (isRechained)
        {
            TamperedBundles.Rechain(root);
        }
        var report = await RunReplay.Of(Read(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString()))), default);
        Assert.Equal((type, what), (report.Divergence?.Type ?? "", report.Divergence?.What ?? ""));
        Assert.Equal(what == "" ? ReplayReport.Equal : ReplayReport.Diverged, report.Verdict);
        if (report.Divergence is { } divergence)
        {
            Assert.NotEqual(divergence.Recorded, divergence.Replayed);
        }
    }

    /// <summary>A record without settings, as earlier releases made them, and one whose format has no earlier turns: what they cannot prove is told.</summary>
    [Fact]
    public async Task What_an_older_record_cannot_prove_is_told()
    {
        var root = JsonNode.Parse(await Approved())!.AsObject();
        foreach (var e in root["events"]!.AsArray())
        {
            _ = (e!["data"]!.AsObject().Remove("settings"), e["data"]!.AsObject().Remove("subject"));
        }
        root["format"] = TraceBundle.ThirdFormat;
        root.Remove("related");
        TamperedBundles.Rechain(root);
        var report = await RunReplay.Of(Read(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString()))), default);
        Assert.Equal((ReplayReport.Equal, 0, 0), (report.Verdict, report.ModelRequests, report.PolicyDecisions));
        Assert.Equal([("model_requests", 2), ("policy_decisions", 2)], report.Unproved.Select(part => (part.Part, part.Count)));
    }

    /// <summary>Bundles of one run as each format has them, and one of this release with the settings of its host, kept for ever.</summary>
    [Theory]
    [InlineData("cowork-trace-1", 0, 0)]
    [InlineData("cowork-trace-2", 0, 0)]
    [InlineData("cowork-trace-3", 0, 0)]
    [InlineData("cowork-trace-4", 0, 0)]
    [InlineData("cowork-trace-4-settings", 2, 2)]
    public async Task A_bundle_of_every_release_replays(string name, int requests, int verdicts)
    {
        var report = await RunReplay.Of(Read(await File.ReadAllBytesAsync(Path.Combine(AppContext.BaseDirectory, "bundles", $"{name}.json"))), default);
        Assert.Equal((ReplayReport.Equal, null), (report.Verdict, report.Divergence));
        Assert.Equal((requests, verdicts), (report.ModelRequests, report.PolicyDecisions));
    }

    [Fact]
    public async Task A_record_that_no_host_wrote_diverges_and_never_throws()
    {
        var bundle = await Approved();
        foreach (var seed in Seeds.Many(ordinary: 300, chaos: 20_000))
        {
            var random = new Random(seed);
            var root = JsonNode.Parse(bundle)!.AsObject();
            var events = root["events"]!.AsArray();
            for (var edits = random.Next(1, 4); edits > 0; edits--)
            {
                var (from, to) = (random.Next(events.Count), random.Next(events.Count));
                var moved = events[from]!.DeepClone();
                if (random.Next(2) == 0)
                {
                    events.RemoveAt(from);
                }
                events.Insert(Math.Min(to, events.Count), moved);
            }
            TamperedBundles.Rechain(root);
            var (record, fault) = BundledRun.Read(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())), default);
            Assert.True(record is not null || fault is not null);
            if (record is not null)
            {
                Assert.True(await RunReplay.Of(record, default) is { Verdict: ReplayReport.Equal } or { Divergence: not null }, $"seed {seed}");
            }
        }
    }

    /// <summary>The bundle of a run with an earlier turn, a call that is allowed and one that a person approved.</summary>
    static async Task<byte[]> Approved()
    {
        var files = new InMemoryBlobs();
        var harness = new RunHarness { Blobs = files, ToolsOf = _ => [new CountingTool(), new Writer()] };
        var host = harness.AddHost("n0");
        await host.OpenSession("s");
        await host.Send("s", "before");
        await host.Drive();
        var run = await host.Send("s", "go\nread_file {\"path\":\"a\"}\nwrite_file {\"path\":\"b\"}");
        await host.Drive();
        Assert.Null(await host.Decide(((Run.Suspended)await host.Commands.State(RunHarness.Org, Run.Aggregate, run, default)).Pending!.ApprovalId, approved: true));
        await host.Drive();
        return (await TraceBundle.Build(harness.Engine, files, RunHarness.Org, new("s"), run, default))!;
    }

    static BundledRun Read(byte[] bundle)
    {
        var (run, fault) = BundledRun.Read(bundle, default);
        Assert.Null(fault);
        return run!;
    }

    /// <summary>A tool whose calls a person approves.</summary>
    sealed class Writer : ITool
    {
        public string Name => "write_file";

        public string Description => "Writes.";

        public JsonElement Schema { get; } = JsonElement.Parse("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(new CallSubject("create", "b"));

        public Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct) => Task.FromResult(ToolOutcome.Ok("Wrote b."));
    }

    sealed class ReadOnlyBlobs(IBlobs blobs) : IBlobs
    {
        public bool HasRoom() => throw new InvalidOperationException();

        public ValueTask<string> Put(ReadOnlyMemory<byte> bytes, CancellationToken ct) => throw new InvalidOperationException("A replay stores.");

        public ValueTask<(string Sha256, long Bytes)> Put(Stream bytes, CancellationToken ct) => throw new InvalidOperationException("A replay stores.");

        public ValueTask Keep(IReadOnlyCollection<string> digests, CancellationToken ct) => throw new InvalidOperationException("A replay keeps.");

        public ValueTask<byte[]?> Get(string sha256, CancellationToken ct) => blobs.Get(sha256, ct);

        public ValueTask<Stream?> Open(string sha256, CancellationToken ct) => blobs.Open(sha256, ct);
    }
}
