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
        var (replayed, left, codes) = (0, 0, new HashSet<string>(StringComparer.Ordinal));
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
                    left += await SameEffects(runs.Harness, run, own.Events, report);
                }
                replayed++;
            }
        }
        Assert.True(replayed >= 1_000 && left >= 500, $"{replayed}, {left}");
        Assert.Equal(Kinds.Order(StringComparer.Ordinal), kinds.Order(StringComparer.Ordinal));
        Assert.Superset(
            new HashSet<string>(["model_failed", "model_refused", "budget_exceeded", "limit_tokens", "limit_tool_calls", "limit_rounds", "limit_time"], StringComparer.Ordinal), codes);
    }

    /// <summary>What a run used and left is what is recorded of it. Answers how many artifacts and memories those were.</summary>
    static async Task<int> SameEffects(RunHarness harness, RunKey run, IReadOnlyList<RecordedEvent> own, ReplayReport report)
    {
        var row = own.Aggregate((RunRow?)null, Runs.Evolve)!;
        var made = report.Made;
        Assert.Equal((row.TotalTokens, Money.Usd(row.CostMicroUsd), 0), (made.InputTokens + made.OutputTokens, made.CostUsd, made.More));
        var entries = (await harness.Engine.OfRun(RunHarness.Org, new(RecordedRuns.Session), run, default)).Select(entry => entry.Read()).ToList();
        Assert.Equal(
            entries.OfType<ArtifactEvent.ArtifactDiscovered>().Select(artifact => (artifact.Path, artifact.Version, artifact.Sha256, artifact.Bytes)),
            made.Artifacts.Select(artifact => (artifact.Path, artifact.Version, artifact.Sha256, artifact.Bytes)));
        Assert.Equal(
            entries.OfType<MemoryEvent.MemoryWritten>().Select(memory => (memory.MemoryId, memory.Kind, NamedText.Digest(memory.Text))),
            made.Memories.Select(memory => (memory.MemoryId, memory.Kind, memory.Sha256)));
        return made.Artifacts.Count + made.Memories.Count;
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
        { "drop run_completed", false, "memory_written", "memory" },
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

    /// <summary>
    /// Edits of what a run cost and left in other streams, each by one who computes all hashes anew, and where the replay is another first. Of several events the first is edited.
    /// </summary>
    public static TheoryData<string, string, string> EffectEdits => new()
    {
        { "artifact_discovered sha256", "artifact_discovered", "artifact" },
        { "artifact_discovered bytes", "artifact_discovered", "artifact" },
        { "artifact_discovered path", "artifact_discovered", "artifact" },
        { "artifact_discovered title", "artifact_discovered", "artifact" },
        { "artifact_discovered media_type", "artifact_discovered", "artifact" },
        { "artifact_discovered run_id", "artifact_discovered", "artifact" },
        { "drop artifact_discovered", "tool_result", "artifact" },
        { "twice artifact_discovered", "artifact_discovered", "artifact" },
        { "move artifact_discovered", "artifact_discovered", "artifact" },
        { "memory_written text", "memory_written", "memory" },
        { "memory_written memory_id", "memory_written", "memory" },
        { "memory_written kind", "memory_written", "memory" },
        { "drop memory_written", "tool_result", "memory" },
        { "twice memory_written", "memory_written", "memory" },
        { "session_summary text", "memory_written", "memory" },
        { "session_summary kind", "memory_written", "memory" },
        { "drop session_summary", "run_completed", "memory" },
        { "learning text", "memory_written", "memory" },
        { "drop learning", "run_completed", "memory" },
        { "llm_response cost_micro_usd", "llm_response", "cost" },
        { "llm_response output_tokens", "llm_response", "cost" },
        { "budget_reserved reserved_micro_usd", "budget_reserved", "cost" },
        { "budget_reserved model", "budget_reserved", "cost" },
        { "budget_reserved step", "budget_reserved", "cost" },
        { "budget_reserved attempt", "budget_reserved", "cost" },
        { "drop budget_reserved", "llm_response", "cost" },
        { "budget_settled spent_micro_usd", "budget_settled", "cost" },
        { "budget_settled assumed", "budget_settled", "cost" },
        { "drop budget_settled", "llm_response", "cost" },
    };

    [Theory]
    [MemberData(nameof(EffectEdits))]
    public async Task What_a_run_cost_wrote_or_kept_otherwise_is_named_with_both_sides(string edit, string type, string what)
    {
        var root = JsonNode.Parse(await Costly())!.AsObject();
        var events = root["events"]!.AsArray();
        JsonObject First(string of) => events.First(e => (string?)e!["event_type"] == of || (string?)e["data"]!["kind"] == of)!.AsObject();
        switch (edit.Split(' '))
        {
            case ["drop", var dropped]:
                events.Remove(First(dropped));
                break;
            case ["twice", var doubled]:
                events.Insert(events.IndexOf(First(doubled)) + 1, First(doubled).DeepClone());
                break;
            case ["move", var moved]:
                var away = First(moved);
                events.Remove(away);
                away["gid"] = (long)events[2]!["gid"]!;
                events.Insert(2, away);
                break;
            case [var of, var member]:
                var data = First(of)["data"]!;
                data[member] = data[member] switch
                {
                    null => true,
                    JsonValue value when value.GetValueKind() == JsonValueKind.Number => (long)value + 1,
                    JsonValue value when value.GetValue<string>() is { Length: 64 } => new string('0', 64),
                    JsonValue value when member.EndsWith("_id", StringComparison.Ordinal) => $"{value.GetValue<string>()[..^1]}{(value.GetValue<string>()[^1] == '7' ? '6' : '7')}",
                    var text => $"{text} and more",
                };
                break;
        }
        TamperedBundles.Rechain(root);
        var report = await RunReplay.Of(Read(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString()))), default);
        Assert.True((type, what) == (report.Divergence?.Type, report.Divergence?.What), $"{report.Divergence}");
        Assert.NotEqual(report.Divergence!.Recorded, report.Divergence.Replayed);
        Assert.Contains(edit.StartsWith("drop", StringComparison.Ordinal) ? "Nothing" : "{", report.Divergence.Recorded, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_replay_tells_what_a_run_used_and_left()
    {
        var report = await RunReplay.Of(Read(await Costly()), default);
        Assert.Equal((ReplayReport.Equal, null, null), (report.Verdict, report.Divergence, report.Past));
        Assert.Empty(report.Unproved);
        // Three of input and two of output in each of two rounds, at two and at ten micro-USD.
        Assert.Equal((6, 4, 0.000_052m), (report.Made.InputTokens, report.Made.OutputTokens, report.Made.CostUsd));
        var artifact = Assert.Single(report.Made.Artifacts);
        Assert.Equal((4, ".anton/output/a.md", 1, NamedText.Digest(Content.Of("# Kraken")), 8), (artifact.Step, artifact.Path, artifact.Version, artifact.Sha256, artifact.Bytes));
        Assert.Equal([(3, "memory"), (null, "session_summary"), (null, "learning")], report.Made.Memories.Select(memory => (memory.Step, memory.Kind)));
        Assert.Equal(NamedText.Digest(Content.Of("tea")), report.Made.Memories[0].Sha256);
    }

    /// <summary>The bundle of a run with a price, that remembers something, writes an artifact, and learns where a fact stands.</summary>
    static async Task<byte[]> Costly()
    {
        using var work = new Workspace();
        var files = new InMemoryBlobs();
        var harness = new RunHarness
        {
            Blobs = files,
            Workspace = work.Root,
            Model = new() { Price = new(2, 10) },
            ToolsOf = host =>
            [
                new Remember(new MemoryBook(host.Commands, host.Queries, files)), new WriteFile(Policy.BuiltIn, files, Workspace.NoUploads),
                new ReadFile(Policy.BuiltIn, Workspace.NoUploads, files),
            ],
        };
        work.Write("a.txt", "tea.txt:1: green");
        var host = harness.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send(
            "s", "go\nremember {\"content\":\"tea\"}\nwrite_file {\"path\":\".anton/output/a.md\",\"content\":\"# Kraken\"}\nread_file {\"path\":\"a.txt\"}");
        await host.Drive();
        Assert.Equal("completed", Assert.IsType<Run.Ended>(await host.Commands.State(RunHarness.Org, Run.Aggregate, run, default)).Status);
        return (await TraceBundle.Build(harness.Engine, files, RunHarness.Org, new("s"), run, default))!;
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
        Assert.Equal([("model_requests", 2), ("notes", 1), ("policy_decisions", 2)], report.Unproved.Select(part => (part.Part, part.Count)));
    }

    /// <summary>Bundles of one run as each format has them, and one of this release with the settings of its host, kept for ever.</summary>
    [Theory]
    [InlineData("cowork-trace-1", 0, 0)]
    [InlineData("cowork-trace-2", 0, 0)]
    [InlineData("cowork-trace-3", 0, 0)]
    [InlineData("cowork-trace-4", 0, 0)]
    [InlineData("cowork-trace-4-settings", 2, 2)]
    [InlineData("cowork-trace-4-sealed", 2, 2)]
    [InlineData("cowork-trace-4-counterfactual", 1, 0)]
    public async Task A_bundle_of_every_release_replays(string name, int requests, int verdicts)
    {
        var report = await RunReplay.Of(Read(await File.ReadAllBytesAsync(Path.Combine(AppContext.BaseDirectory, "bundles", $"{name}.json"))), default);
        Assert.Equal((ReplayReport.Equal, null), (report.Verdict, report.Divergence));
        Assert.Equal((requests, verdicts), (report.ModelRequests, report.PolicyDecisions));
    }

    /// <summary>The same run as <c>cowork-trace-4-sealed</c>, whose data subject was erased meanwhile.</summary>
    [Fact]
    public void A_kept_bundle_of_a_run_whose_subject_was_erased_cannot_be_replayed()
    {
        var (run, fault) = BundledRun.Read(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "bundles", "cowork-trace-4-erased.json")), default);
        Assert.Equal((null, BundledRun.Erased), (run, fault?.Message));
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
