using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A bundle proves itself: a sound one passes, and of any other the bad place is named.</summary>
public sealed class TraceSpecs
{
    const string Message = "go\nread_file {\"path\":\"a\"}";

    [Fact]
    public async Task A_bundle_is_sound_and_the_same_every_time()
    {
        var (bench, run) = await Ran(Message);
        var bundle = await Bundle(bench, run);
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        Assert.Equal(($"run_{run}", "completed", 0), (report!.RunId, report.Status, report.Blobs));
        Assert.Equal(bundle, await Bundle(bench, run));
        Assert.Equal(bundle, CanonicalJson.Of(bundle));
    }

    [Fact]
    public async Task Any_changed_byte_is_found_and_its_place_is_named()
    {
        var (bench, run) = await Ran(Message);
        var bundle = await Bundle(bench, run);
        var random = new Random(7);
        for (var at = 0; at < bundle.Length; at++)
        {
            var was = bundle[at];
            bundle[at] = (byte)(was ^ (1 << random.Next(8)));
            var (report, fault) = TraceVerifier.Verify(bundle);
            Assert.True(report is null && fault is { Place.Length: > 0, What.Length: > 0 }, $"byte {at}: {(char)was} became {(char)bundle[at]} and nobody saw it");
            bundle[at] = was;
        }
        Assert.Null(TraceVerifier.Verify(bundle).Fault);
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
                while (events[^1]!["stream_id"]!.GetValue<string>() != $"run-{run}")
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
        root.Remove("digests");
        root["digests"] = TraceBundle.Digests(root);
        var (report, fault) = TraceVerifier.Verify(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())));
        Assert.Null(report);
        Assert.StartsWith(place, fault!.Place, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_lies_in_the_blob_store_is_in_the_bundle_and_is_checked()
    {
        var (bench, run) = await Ran(new string('x', 100_000));
        var bundle = await Bundle(bench, run);
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        // The message, and the reply that repeats it.
        Assert.Equal(2, report!.Blobs);
        var text = Encoding.UTF8.GetString(bundle);
        var at = text.IndexOf("base64\":\"", StringComparison.Ordinal) + 30;
        bundle[at] = bundle[at] == 'A' ? (byte)'B' : (byte)'A';
        Assert.StartsWith("$.blobs[0]", TraceVerifier.Verify(bundle).Fault!.Place, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{\"format\":\"cowork-trace/1\",\"run\":1,\"events\":2,\"artifacts\":3,\"blobs\":4,\"head\":5,\"digests\":6}")]
    [InlineData("{\"a\":1e999}")]
    public void What_is_no_bundle_is_told_so(string text) => Assert.NotNull(TraceVerifier.Verify(Encoding.UTF8.GetBytes(text)).Fault);

    static async Task<byte[]> Bundle(Bench bench, string run) =>
        (await TraceBundle.Build(bench.Engine, bench.Blobs, Bench.Org, "s", run, default))!;

    static async Task<(Bench, string)> Ran(string message)
    {
        var bench = new Bench();
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", message);
        await foreach (var (claim, lost) in host.Node.Claims(default))
        {
            Assert.True(await ((IJobHandler)host.Driver).Run(claim, lost));
            break;
        }
        return (bench, run);
    }
}
