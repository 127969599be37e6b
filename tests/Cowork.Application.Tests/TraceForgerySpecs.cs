using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

using static Cowork.Testing.TamperedBundles;

namespace Cowork.Application.Tests;

/// <summary>
/// What docs/trace.md says: a forger who leaves the run's own events as they are, and computes all digests and the hashes of other streams anew, is found where the run's
/// events say what must be there. Whatever a file holds, it gets a verdict.
/// </summary>
public sealed class TraceForgerySpecs : IDisposable
{
    const string Correlation = "0af7651916cd43dd8448eb211c80319c";

    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    public static TheoryData<string, string> Edits => new()
    {
        { "drop run_queued.v1", "$.events" },
        { "drop run_dequeued.v1", "$.events" },
        { "drop memory of the call", "tool_result remember" },
        { "drop artifact of write_file", "tool_result write_file" },
        { "drop artifact of move_file", "tool_result move_file" },
        { "other content artifact_discovered.v1", "tool_result write_file" },
        { "repeat run_queued.v1", "repeated" },
        { "repeat run_dequeued.v1", "repeated" },
        { "repeat artifact_discovered.v1", "repeated" },
        { "repeat memory_written.v1", "repeated" },
        { "id run_dequeued.v1", "edited.id" },
        { "tenant run_dequeued.v1", "edited.tenant_id" },
        { "other run run_dequeued.v1", "edited.data" },
        { "other run artifact_discovered.v1", "edited.data" },
        { "other run memory_written.v1", "edited.data" },
        { "stream artifact_discovered.v1", "edited.stream_id" },
        { "stream memory_written.v1", "edited.stream_id" },
        { "stream run_queued.v1", "edited.stream_id" },
        { "kind memory_written.v1", "edited.data" },
        { "size artifact_discovered.v1", "edited.data" },
        { "correlation tool_result.v1", "edited.correlation_id" },
        { "correlation run_queued.v1", "edited.correlation_id" },
        { "no correlation run_completed.v1", "edited.correlation_id" },
        { "gid run_queued.v1", "edited.gid" },
        { "feed run_queued.v1", "edited.gid" },
    };

    [Theory]
    [MemberData(nameof(Edits))]
    public async Task A_forger_who_leaves_the_runs_own_events_alone_is_found_at_the_place(string edit, string place)
    {
        var root = JsonNode.Parse(await Bundle())!.AsObject();
        var head = root["head"]!["hash"]!.GetValue<string>();
        var events = root["events"]!.AsArray();
        var type = edit[(edit.LastIndexOf(' ') + 1)..];
        var at = events.Index().FirstOrDefault(e => (string?)e.Item!["type"] == type).Index;
        var edited = events[at]!.AsObject();
        switch (edit[..edit.LastIndexOf(' ')])
        {
            case "drop":
                events.RemoveAt(at);
                break;
            case "drop memory of the":
                events.Remove(events.First(e => (string?)e!["type"] == "memory_written.v1" && (string?)e["data"]!["kind"] == "memory"));
                break;
            case "drop artifact of":
                var gone = events.Where(e => (string?)e!["type"] == "artifact_discovered.v1").ElementAt(type == "write_file" ? 0 : 1)!;
                root["artifacts"]!.AsArray().RemoveAt(type == "write_file" ? 0 : 1);
                events.Remove(gone);
                break;
            case "other content":
                (edited["data"]!["sha256"], root["artifacts"]![0]!["sha256"]) = (new string('a', 64), new string('a', 64));
                break;
            case "repeat":
                var again = edited.DeepClone().AsObject();
                var last = events.Last(e => (string?)e!["stream_id"] == (string?)edited["stream_id"])!;
                (again["version"], again["prev_hash"], again["id"]) = ((long)last["version"]! + 1, (string?)last["hash"], "0198c0de-0000-7000-8000-000000000001");
                (again["gid"], again["feed_id"]) = ((long)events[^1]!["gid"]! + 1, (long)events[^1]!["feed_id"]! + 1);
                events.Add(again);
                Rehash(again);
                break;
            case "id":
                edited["id"] = (string?)events[0]!["id"];
                break;
            case "tenant":
                edited["tenant_id"] = "acme";
                break;
            case "other run":
                edited["data"]!["run_id"] = "run_01h00000000000000000000000";
                break;
            case "stream":
                edited["stream_id"] = $"{((string)edited["stream_id"]!).Split('-')[0]}-01h00000000000000000000000";
                break;
            case "kind":
                edited["data"]!["kind"] = "fact";
                break;
            case "size":
                edited["data"]!["bytes"] = -1;
                break;
            case "correlation":
                edited["correlation_id"] = new string('b', 32);
                break;
            case "no correlation":
                edited.Remove("correlation_id");
                break;
            case "gid":
                edited["gid"] = (long)events[at - 1]!["gid"]!;
                break;
            default:
                edited["feed_id"] = (long)edited["feed_id"]! + 1;
                break;
        }
        if ((string?)edited["stream_id"] != (string?)root["head"]!["stream_id"])
        {
            edited["payload"] = edited["data"]!.DeepClone();
            Rehash(edited);
        }
        var (report, fault) = Sealed(root);
        Assert.Null(report);
        Assert.Equal(head, root["head"]!["hash"]!.GetValue<string>());
        int ResultOf(string tool) => events.Index().First(e => (string?)e.Item!["type"] == "tool_result.v1" && (string?)e.Item["data"]!["name"] == tool).Index;
        Assert.Equal(
            place.Split('.') switch
            {
                ["edited", .. var member] => string.Join('.', [$"$.events[{at}]", .. member]),
                ["repeated"] => $"$.events[{events.Count - 1}]",
                [var named] when named.StartsWith("tool_result ", StringComparison.Ordinal) => $"$.events[{ResultOf(named["tool_result ".Length..])}]",
                _ => place,
            },
            fault!.Location);
    }

    [Theory]
    [InlineData("policy_decision.v1", "approval_requested.v1", "approval_decided.v1")]
    [InlineData("policy_decision.v1")]
    [InlineData("approval_requested.v1")]
    [InlineData("approval_decided.v1")]
    [InlineData("tool_result.v1")]
    [InlineData("tool_call.v1")]
    [InlineData("llm_response.v1")]
    public async Task A_run_whose_stream_is_chained_anew_still_needs_its_decisions_approvals_calls_and_results(params string[] types)
    {
        var root = JsonNode.Parse(await Bundle())!.AsObject();
        var events = root["events"]!.AsArray();
        foreach (var e in events.Where(e => types.Contains((string?)e!["type"])).ToList())
        {
            events.Remove(e);
        }
        Rechain(root);
        var (report, fault) = Sealed(root);
        Assert.Null(report);
        Assert.NotNull(fault);
    }

    [Theory]
    [InlineData("total_tokens")]
    [InlineData("tool_calls")]
    [InlineData("cost_micro_usd")]
    public async Task A_completed_run_tells_the_sums_of_its_events(string total)
    {
        var root = JsonNode.Parse(await Bundle())!.AsObject();
        var (at, completed) = root["events"]!.AsArray().Index().Single(e => (string?)e.Item!["type"] == "run_completed.v1");
        completed!["data"]![total] = (long)completed["data"]![total]! + 1;
        Rechain(root);
        Assert.Equal($"$.events[{at}]", Sealed(root).Fault!.Location);
    }

    [Theory]
    [InlineData("positions")]
    [InlineData("correlations")]
    [InlineData("artifact's time")]
    [InlineData("notes")]
    [InlineData("queue")]
    public async Task What_no_event_of_the_run_names_is_covered_by_the_heads_digest_alone(string edit)
    {
        var bundle = await Bundle();
        var root = JsonNode.Parse(bundle)!.AsObject();
        var events = root["events"]!.AsArray();
        switch (edit)
        {
            case "positions":
                events.ToList().ForEach(e => e!["gid"] = (long)e["gid"]! + 7);
                break;
            case "correlations":
                events.ToList().ForEach(e => e!["correlation_id"] = new string('c', 32));
                break;
            case "artifact's time":
                var artifact = events.First(e => (string?)e!["type"] == "artifact_discovered.v1")!.AsObject();
                (artifact["ts"], root["artifacts"]![0]!["created_at"]) = ("2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z");
                Rehash(artifact);
                break;
            case "notes":
                events.Remove(events.First(e => (string?)e!["type"] == "memory_written.v1" && (string?)e["data"]!["kind"] == "session_summary"));
                break;
            default:
                var queued = events.Single(e => (string?)e!["type"] == "run_queued.v1")!.AsObject();
                queued["data"]!["ahead"] = 3;
                queued["payload"] = queued["data"]!.DeepClone();
                Rehash(queued);
                // The run left the queue in the stream's next version.
                var dequeued = events.Single(e => (string?)e!["type"] == "run_dequeued.v1")!.AsObject();
                dequeued["prev_hash"] = (string?)queued["hash"];
                Rehash(dequeued);
                break;
        }
        var was = TraceVerifier.Verify(bundle).Report!;
        var (report, fault) = Sealed(root);
        Assert.Null(fault);
        Assert.Equal(was.Head, report!.Head);
        Assert.NotEqual(was.Digest, report.Digest);
        // Who leaves the head as it was is found.
        root["head"]!["digest"] = was.Digest;
        Assert.Equal("$.head.digest", TraceVerifier.Verify(Canonical(root)).Fault!.Location);
    }

    [Fact]
    public async Task A_bundle_is_judged_by_the_format_that_it_names_and_the_verdict_names_it_too()
    {
        var bundle = await Bundle();
        var sound = TraceVerifier.Verify(bundle, TraceBundle.Format).Report!;
        Assert.Equal(TraceBundle.Format, sound.Format);
        Assert.Empty(sound.NotCovered);
        foreach (var (format, notCovered) in ((string, int)[])[(TraceBundle.ThirdFormat, 1), (TraceBundle.SecondFormat, 2), (TraceBundle.FirstFormat, 3)])
        {
            var root = JsonNode.Parse(bundle)!.AsObject();
            if (format == TraceBundle.ThirdFormat)
            {
                root.Remove("related");
            }
            else
            {
                TraceSpecs.AsBefore(root);
            }
            root["format"] = format;
            _ = format == TraceBundle.FirstFormat && root.Remove("artifact_bytes");
            var older = Sealed(root).Report!;
            Assert.Equal((format, notCovered), (older.Format, older.NotCovered.Count));
            Assert.Equal("$.format", TraceVerifier.Verify(Canonical(root), TraceBundle.Format).Fault!.Location);
        }
    }

    [Fact]
    public async Task No_random_change_of_the_bytes_is_sound_and_none_is_an_exception()
    {
        var bundle = await Bundle();
        foreach (var seed in Seeds.Many(400, 20_000))
        {
            var random = new Random(seed);
            var changed = Changed(bundle, random);
            var (report, fault) = TraceVerifier.Verify(changed);
            Assert.True(report is null == fault is not null);
            Assert.True(report is null || changed.AsSpan().SequenceEqual(bundle), $"seed {seed}");
        }
    }

    [Fact]
    public async Task No_random_change_of_a_value_is_an_exception_and_only_positions_and_correlations_change_unseen()
    {
        var bundle = await Bundle();
        foreach (var seed in Seeds.Many(400, 20_000))
        {
            var random = new Random(seed);
            var root = JsonNode.Parse(bundle)!.AsObject();
            var path = Replace(root, random);
            var before = Canonical(root);
            var canBeSealed = root["head"] is JsonObject && root["format"] is JsonValue format && format.TryGetValue<string>(out _);
            var (report, _) = canBeSealed ? Sealed(root) : TraceVerifier.Verify(before);
            Assert.True(
                report is null || Canonical(root).AsSpan().SequenceEqual(bundle) || path is "gid" or "feed_id" or "correlation_id", $"seed {seed}: {path}");
            // The same by one who computes the hashes too gets a verdict.
            if (canBeSealed && root["events"] is JsonArray events && events.All(e => e is JsonObject) && TryRechain(root))
            {
                _ = Sealed(root);
            }
        }
    }

    public static TheoryData<string> NoBundles => new()
    {
        "", " ", "{}", "[]", "\"text\"", "null", "1", "-", "{\"a\":1e999}", "{\"a\":1,\"a\":1}", "{\"\\ud800\":1}", "[\"\\ud800\"]", "{\"b\":1,\"a\":1}", "[1.0]", "\ufeff{}",
        "{\"format\":\"cowork-trace/9\"}", "{\"format\":3}", new string('[', 100_000), string.Concat(Enumerable.Repeat("{\"a\":", 100_000)),
        "{\"artifact_bytes\":[],\"artifacts\":[],\"blobs\":[],\"digests\":{},\"events\":[],\"format\":\"cowork-trace/3\",\"head\":{},\"run\":{}}",
        "{\"artifact_bytes\":[],\"artifacts\":[],\"blobs\":[],\"digests\":{},\"events\":[],\"format\":\"cowork-trace/4\",\"head\":{},\"related\":[1],\"run\":{}}",
        "{\"artifact_bytes\":[],\"artifacts\":[],\"blobs\":[],\"digests\":{},\"events\":[1],\"format\":\"cowork-trace/3\","
            + "\"head\":{\"digest\":\"\",\"hash\":\"\",\"stream_id\":\"\",\"version\":1},\"run\":{}}",
    };

    [Theory]
    [MemberData(nameof(NoBundles))]
    public void Whatever_is_no_bundle_gets_a_verdict(string text) => Assert.NotNull(TraceVerifier.Verify(Encoding.UTF8.GetBytes(text)).Fault);

    [Theory]
    [InlineData("\"a\":1,\"b\":[1,{\"c\":\"\"}],\"d\":{}", null)]
    [InlineData("\"a\": 1", 5L)]
    [InlineData("\"a\":1 ,\"b\":1", 6L)]
    [InlineData("\"b\":1,\"a\":1", 7L)]
    [InlineData("\"b\":{\"b\":1,\"a\":1}", 12L)]
    [InlineData("\"a\":1.50", 8L)]
    [InlineData("\"a\":\"\\u0061\"", 6L)]
    [InlineData("\"\\u0061\":1", 2L)]
    [InlineData("\"\ud83d\ude00\":1,\"\ufb33\":1", null)] // By UTF-16 code units, not by code points.
    [InlineData("\"\ufb33\":1,\"\ud83d\ude00\":1", 9L)]
    public void The_first_byte_that_is_not_canonical_is_found_without_sorting(string members, long? at)
    {
        var json = Encoding.UTF8.GetBytes($"{{{members}}}");
        Assert.Equal(at, CanonicalJson.FirstDeviation(json, 8, default));
        Assert.Equal(at is null, CanonicalJson.Of(json).AsSpan().SequenceEqual(json));
    }

    [Fact]
    public async Task A_check_can_be_cancelled()
    {
        var bundle = await Bundle();
        Assert.Throws<OperationCanceledException>(() => TraceVerifier.Verify(bundle, ct: new CancellationToken(canceled: true)));
    }

    static (TraceReport? Report, TraceFault? Fault) Sealed(JsonObject root) => TraceVerifier.Verify(TamperedBundles.Sealed(root));

    /// <summary>The bundle of a run that wrote an artifact, kept a memory, and asked a person for the last call.</summary>
    async Task<byte[]> Bundle()
    {
        var blobs = new InMemoryBlobs();
        var memories = new LateMemories();
        var bench = new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads), new MoveFile(Policy.BuiltIn, blobs, Workspace.NoUploads), new Remember(memories)] };
        var host = bench.AddHost("n0");
        memories.Book = new MemoryBook(host.Commands, host.Queries, blobs);
        await host.OpenSession("s");
        var run = await host.Send(
            "s",
            """
            go
            write_file {"path":".anton/output/a.txt","content":"hello"}
            move_file {"from":".anton/output/a.txt","to":".anton/output/b.txt"}
            remember {"content":"tea"}
            write_file {"path":"report.md","content":"hello"}
            """,
            by: new("user:ann", Correlation));
        await host.Drive();
        // To move a file and to write beside the output root need a person.
        var approvals = 0;
        for (; await host.Commands.State(RunHarness.Org, Run.Aggregate, run, default) is Run.Suspended { Pending: { } pending }; approvals++)
        {
            Assert.Null(await host.Decide(pending.ApprovalId, approved: true));
            await host.Drive();
        }
        Assert.Equal(2, approvals);
        var bundle = (await TraceBundle.Build(bench.Engine, blobs, RunHarness.Org, new("s"), run, default))!;
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        Assert.Equal(("completed", 1, 2), (report!.Status, report.Artifacts, JsonNode.Parse(bundle)!["artifacts"]!.AsArray().Count));
        return bundle;
    }

    /// <summary>Memories of a host that is made after its tools.</summary>
    sealed class LateMemories : IMemories
    {
        public MemoryBook? Book { get; set; }

        public ValueTask<MemoryKey?> Remember(ToolContext context, string content, CancellationToken ct) => Book!.Remember(context, content, ct);

        public ValueTask<IReadOnlyList<(Provenance From, string Text)>> Recall(ToolContext context, string query, int limit, CancellationToken ct) => Book!.Recall(context, query, limit, ct);
    }
}
