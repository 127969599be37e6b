using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A bundle proves itself: a sound one passes, and of any other the bad place is named.</summary>
public sealed class TraceSpecs : IDisposable
{
    const string Message = "go\nread_file {\"path\":\"a\"}";

    readonly Workspace work = new();

    public void Dispose() => work.Dispose();

    [Fact]
    public async Task A_bundle_is_sound_and_the_same_every_time()
    {
        var (bench, run) = await Ran(Message);
        var bundle = await Bundle(bench, run);
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        // The one blob has the settings of the host that drove the run.
        Assert.Equal((run.Id, "completed", 1), (report!.RunId, report.Status, report.Blobs));
        Assert.Equal(bundle, await Bundle(bench, run));
        Assert.Equal(bundle, CanonicalJson.Of(bundle));
    }

    [Fact]
    public async Task Any_changed_byte_is_found_and_its_place_is_named()
    {
        var (bench, run) = await Wrote("hello");
        var bundle = await Bundle(bench, run);
        Parallel.For(
            0, bundle.Length, () => bundle.ToArray(),
            (at, _, changed) =>
            {
                changed[at] ^= (byte)(1 << (at * 5 % 8));
                var (report, fault) = TraceVerifier.Verify(changed);
                Assert.True(
                    report is null && fault is { Location.Length: > 0, Message.Length: > 0 }, $"byte {at}: {(char)bundle[at]} became {(char)changed[at]} and nobody saw it");
                changed[at] = bundle[at];
                return changed;
            },
            _ => { });
        Assert.Equal((1, 0), Contents(TraceVerifier.Verify(bundle)));
    }

    [Fact]
    public async Task A_bundle_cut_short_or_prolonged_is_found()
    {
        var (bench, run) = await Ran(Message);
        var bundle = await Bundle(bench, run);
        for (var length = 0; length < bundle.Length; length += 97)
        {
            Assert.NotNull(TraceVerifier.Verify(bundle.AsSpan(0, length)).Fault);
        }
        Assert.NotNull(TraceVerifier.Verify([.. bundle, (byte)'\n']).Fault);
        Assert.NotNull(TraceVerifier.Verify([.. bundle, .. bundle]).Fault);
    }

    /// <summary>Edits by somebody who computes the digests anew, as far as that goes.</summary>
    public static TheoryData<string, string> Edits => new()
    {
        { "$.run.status", "$.run.status" },
        { "$.run.total_tokens", "$.run.total_tokens" },
        { "$.events[2].data", "$.events[2]" },
        { "$.events[2].actor", "$.events[2]" },
        { "$.events[2].ts", "$.events[2]" },
        { "$.events[2].type", "$.events[2]" },
        { "$.events[2].hash", "$.events[2]" },
        { "$.events[2].gid", "$.events[3].gid" },
        { "drop", "$.events[3]" },
        { "swap", "$.events[3]" },
        { "tail", "$.head.version" },
        { "head", "$.head.hash" },
        { "extra", "$.more" },
    };

    [Theory]
    [MemberData(nameof(Edits))]
    public async Task A_forger_who_mends_the_digests_is_still_found_at_the_place(string edit, string place)
    {
        var (bench, run) = await Ran(Message);
        var root = JsonNode.Parse(await Bundle(bench, run))!.AsObject();
        var events = root["events"]!.AsArray();
        switch (edit)
        {
            case "drop":
                events.RemoveAt(3);
                break;
            case "swap":
                var (a, b) = (events[3]!.DeepClone(), events[4]!.DeepClone());
                (events[3], events[4]) = (b, a);
                break;
            case "tail":
                while (events[^1]!["stream_id"]!.GetValue<string>() != $"run-{run.Value}")
                {
                    events.RemoveAt(events.Count - 1);
                }
                events.RemoveAt(events.Count - 1);
                break;
            case "head":
                root["head"]!["hash"] = new string('0', 64);
                break;
            case "extra":
                root["more"] = 1;
                break;
            case "$.run.status":
                root["run"]!["status"] = "failed";
                break;
            case "$.run.total_tokens":
                root["run"]!["total_tokens"] = 1;
                break;
            default:
                var member = edit[(edit.LastIndexOf('.') + 1)..];
                events[2]![member] = member switch
                {
                    "data" => new JsonObject { ["epoch"] = 9, ["node"] = "x" },
                    "ts" => "2026-01-01T09:00:00.001Z",
                    "gid" => 1_000,
                    "hash" => new string('1', 64),
                    "type" => "run_cancelled.v1",
                    _ => "user:mallory",
                };
                break;
        }
        var (report, fault) = Digested(root);
        Assert.Null(report);
        Assert.StartsWith(place, fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_lies_in_the_blob_store_is_in_the_bundle_and_is_checked()
    {
        var (bench, run) = await Ran(new string('x', 100_000));
        var bundle = await Bundle(bench, run);
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        // The message, the reply that repeats it, and the settings of the host that drove the run.
        Assert.Equal(3, report!.Blobs);
        var text = Encoding.UTF8.GetString(bundle);
        var at = text.IndexOf("base64\":\"", StringComparison.Ordinal) + 30;
        bundle[at] = bundle[at] == 'A' ? (byte)'B' : (byte)'A';
        Assert.StartsWith("$.blobs[0]", TraceVerifier.Verify(bundle).Fault!.Location, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Small_artifacts_are_in_the_bundle_and_of_others_it_says_that_they_are_not()
    {
        var (small, large) = (new string('s', 60_000), new string('l', (64 * 1024) + 1));
        // Seventeen make up the most that a bundle holds; one more goes past it, and a smaller one after that does not. The first comes twice.
        string[] contents = [large, .. Enumerable.Range(0, 18).Select(i => $"{i:d2}{small}"), "tiny", $"00{small}"];
        var (bench, run) = await Wrote(contents);
        var bundle = await Bundle(bench, run);
        Assert.Equal((18, 2), Contents(TraceVerifier.Verify(bundle)));
        var told = JsonNode.Parse(bundle)!["artifact_bytes"]!.AsArray();
        Assert.Equal(
            ["too_large", .. Enumerable.Repeat("", 17), "past_all", ""], told.Select(content => (string?)content!["left_out"] ?? ""));
        Assert.Equal("tiny", Encoding.UTF8.GetString(Convert.FromBase64String((string)told[^1]!["base64"]!)));
        Assert.Equal(bundle, await Bundle(bench, run));
    }

    [Fact]
    public async Task An_artifact_whose_bytes_are_gone_does_not_keep_its_run_from_being_proved()
    {
        var (bench, run) = await Wrote("hello");
        var bundle = await TraceBundle.Build(bench.Engine, new InMemoryBlobs(), RunHarness.Org, new("s"), run, default);
        Assert.Equal("missing", (string?)JsonNode.Parse(bundle)!["artifact_bytes"]![0]!["left_out"]);
        Assert.Equal((0, 1), Contents(TraceVerifier.Verify(bundle)));
    }

    [Fact]
    public async Task A_bundle_of_before_there_were_bytes_of_artifacts_is_still_checked()
    {
        var (bench, run) = await Wrote("hello");
        Assert.Equal((0, 1), Contents(Forged(await Bundle(bench, run), root =>
        {
            AsBefore(root);
            root["format"] = "cowork-trace/1";
            root.Remove("artifact_bytes");
        })));
    }

    [Fact]
    public async Task A_bundle_of_before_there_were_the_original_services_members_is_still_checked()
    {
        var (bench, run) = await Wrote("hello");
        var bundle = await Bundle(bench, run);
        Assert.Equal((1, 0), Contents(Forged(bundle, AsBefore)));
        // They are no members of the format of before.
        Assert.Equal("$.related", Forged(bundle, root => root["format"] = "cowork-trace/3").Fault!.Location);
        Assert.Equal("$.head.digest", Forged(bundle, root => { root["format"] = "cowork-trace/2"; root.Remove("related"); }).Fault!.Location);
        Assert.Equal(
            "$.events[0].event_type",
            Forged(bundle, root => { root["format"] = "cowork-trace/2"; root.Remove("related"); root["head"]!.AsObject().Remove("digest"); }).Fault!.Location);
        Assert.Equal("$.events[0].event_type", Forged(bundle, root => { AsBefore(root); root["format"] = "cowork-trace/3"; root["head"]!["digest"] = ""; }).Fault!.Location);
    }

    /// <summary>Bundles of one run as each format has them, kept for ever.</summary>
    [Theory]
    [InlineData("cowork-trace-1", 0, 3)]
    [InlineData("cowork-trace-2", 1, 2)]
    [InlineData("cowork-trace-3", 1, 1)]
    [InlineData("cowork-trace-4", 1, 0)]
    public void A_bundle_of_every_release_stays_readable(string name, int artifacts, int notCovered)
    {
        var (report, fault) = TraceVerifier.Verify(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "bundles", $"{name}.json")));
        Assert.Null(fault);
        Assert.Equal((name.Replace("-trace-", "-trace/", StringComparison.Ordinal), "completed"), (report!.Format, report.Status));
        Assert.Equal((artifacts, notCovered), (report.Artifacts, report.NotCovered.Count));
    }

    [Theory]
    [InlineData("run", "id", "$.run.id")]
    [InlineData("run", "prompt", "$.run.prompt")]
    [InlineData("run", "response", "$.run.response")]
    [InlineData("run", "input_tokens", "$.run.input_tokens")]
    [InlineData("run", "output_tokens", "$.run.output_tokens")]
    [InlineData("run", "cancel_requested", "$.run.cancel_requested")]
    [InlineData("run", "worker_mode", "$.run.worker_mode")]
    [InlineData("events", "event_type", "$.events[0].event_type")]
    [InlineData("events", "payload", "$.events[0].payload")]
    [InlineData("events", "session_id", "$.events[0].session_id")]
    [InlineData("artifacts", "id", "$.artifacts[0].id")]
    [InlineData("artifacts", "kind", "$.artifacts[0].kind")]
    public async Task A_member_that_says_again_what_another_says_must_say_the_same(string part, string member, string place)
    {
        var (bench, run) = await Wrote("hello");
        Assert.Equal(place, Forged(await Bundle(bench, run), root => (root[part] is JsonArray list ? list[0]! : root[part]!)[member] = "forged").Fault!.Location);
    }

    /// <summary>The bundle in the format of before.</summary>
    internal static void AsBefore(JsonObject root)
    {
        root["format"] = "cowork-trace/2";
        root.Remove("related");
        Assert.True(root["head"]!.AsObject().Remove("digest"));
        foreach (var member in RunSummary.SinceThirdFormat)
        {
            root["run"]!.AsObject().Remove(member);
        }
        foreach (var e in root["events"]!.AsArray())
        {
            Assert.True(e!.AsObject().Remove("event_type") && e.AsObject().Remove("payload") && e.AsObject().Remove("session_id"));
        }
        foreach (var artifact in root["artifacts"]!.AsArray())
        {
            Assert.True(artifact!.AsObject().Remove("id") && artifact.AsObject().Remove("kind"));
        }
    }

    [Theory]
    [InlineData("other bytes", "$.artifact_bytes[0]")]
    [InlineData("no base64", "$.artifact_bytes[0].base64")]
    [InlineData("digest", "$.artifact_bytes[0].sha256")]
    [InlineData("size", "$.artifact_bytes[0].bytes")]
    [InlineData("left out for no reason", "$.artifact_bytes[0].left_out")]
    [InlineData("put in past the limit", "$.artifact_bytes[1].base64")]
    [InlineData("left out for another reason", "$.artifact_bytes[1].left_out")]
    [InlineData("swapped", "$.artifact_bytes[0].sha256")]
    [InlineData("dropped", "$.artifact_bytes")]
    [InlineData("one more", "$.artifact_bytes")]
    [InlineData("no object", "$.artifact_bytes[0]")]
    [InlineData("no array", "$.artifact_bytes")]
    [InlineData("no part", "$.artifact_bytes")]
    [InlineData("old format", "$.artifact_bytes")]
    public async Task Forged_bytes_of_artifacts_are_found_at_the_place(string edit, string place)
    {
        var (bench, run) = await Wrote("hello", new string('l', 70_000));
        var (report, fault) = Forged(await Bundle(bench, run), root =>
        {
            var contents = root["artifact_bytes"]!.AsArray();
            var (small, large) = (contents[0]!.AsObject(), contents[1]!.AsObject());
            switch (edit)
            {
                case "other bytes":
                    small["base64"] = Convert.ToBase64String("jello"u8);
                    break;
                case "no base64":
                    small["base64"] = "?";
                    break;
                case "digest":
                    small["sha256"] = new string('0', 64);
                    break;
                case "size":
                    small["bytes"] = 6;
                    break;
                case "left out for no reason":
                    small.Remove("base64");
                    small["left_out"] = "too_large";
                    break;
                case "put in past the limit":
                    large.Remove("left_out");
                    large["base64"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(new string('l', 70_000)));
                    break;
                case "left out for another reason":
                    large["left_out"] = "missing";
                    break;
                case "swapped":
                    contents.RemoveAt(0);
                    contents.Add(small);
                    break;
                case "dropped":
                    contents.RemoveAt(1);
                    break;
                case "one more":
                    contents.Add(small.DeepClone());
                    break;
                case "no object":
                    contents[0] = 1;
                    break;
                case "no array":
                    root["artifact_bytes"] = 1;
                    break;
                case "no part":
                    root.Remove("artifact_bytes");
                    break;
                default:
                    root["format"] = "cowork-trace/1";
                    break;
            }
        });
        Assert.Null(report);
        Assert.Equal(place, fault!.Location);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{\"format\":\"cowork-trace/2\",\"run\":1,\"events\":2,\"artifacts\":3,\"artifact_bytes\":7,\"blobs\":4,\"head\":5,\"digests\":6}")]
    [InlineData("{\"format\":\"cowork-trace/1\",\"run\":1,\"events\":2,\"artifacts\":3,\"blobs\":4,\"head\":5,\"digests\":6}")]
    [InlineData("{\"a\":1e999}")]
    public void What_is_no_bundle_is_told_so(string text) => Assert.NotNull(TraceVerifier.Verify(Encoding.UTF8.GetBytes(text)).Fault);

    static (TraceReport? Report, TraceFault? Fault) Forged(byte[] bundle, Action<JsonObject> edit)
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        edit(root);
        return Digested(root);
    }

    /// <summary>The verdict on a changed bundle whose digests were computed anew.</summary>
    static (TraceReport? Report, TraceFault? Fault) Digested(JsonObject root)
    {
        root.Remove("digests");
        TamperedBundles.Seal(root);
        return TraceVerifier.Verify(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())));
    }

    /// <summary>How many contents of artifacts a sound bundle has, and how many it leaves out.</summary>
    static (int Artifacts, int LeftOut) Contents((TraceReport? Report, TraceFault? Fault) verdict)
    {
        Assert.Null(verdict.Fault);
        return (verdict.Report!.Artifacts, verdict.Report.LeftOut);
    }

    static async Task<byte[]> Bundle(RunHarness bench, RunKey run) =>
        (await TraceBundle.Build(bench.Engine, bench.Blobs, RunHarness.Org, new("s"), run, default))!;

    static Task<(RunHarness, RunKey)> Ran(string message) => Ran(new RunHarness(), message);

    /// <summary>A run that wrote files with these contents below its output root.</summary>
    async Task<(RunHarness, RunKey)> Wrote(params string[] contents)
    {
        var blobs = new InMemoryBlobs();
        var calls = contents.Select((content, i) => $"\nwrite_file {JsonSerializer.Serialize(new { path = $".anton/output/{i}.txt", content })}");
        return await Ran(new RunHarness { Blobs = blobs, Workspace = work.Root, Tools = [new WriteFile(Policy.BuiltIn, blobs, Workspace.NoUploads)] }, $"go{string.Concat(calls)}");
    }

    static async Task<(RunHarness, RunKey)> Ran(RunHarness bench, string message)
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", message);
        await host.DriveOne();
        return (bench, run);
    }
}
