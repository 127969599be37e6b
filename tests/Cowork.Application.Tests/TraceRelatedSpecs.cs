using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A bundle has what the run used of other streams, as it was, and nothing else of them.</summary>
public sealed class TraceRelatedSpecs : IDisposable
{
    readonly RichRun rich = new();

    public void Dispose() => rich.Dispose();

    [Fact]
    public async Task An_auditor_reads_what_the_run_used_from_the_file_alone()
    {
        var bundle = await rich.Bundle();
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        Assert.Equal(("completed", 1), (report!.Status, report.Artifacts));
        var related = JsonNode.Parse(bundle)!["related"]!.AsArray();
        Assert.Equal(
            [
                "skill_version_added.v1", "memory_changed.v1", "session_created.v1", "run_created.v1", "assistant_reply.v1", "memory_written.v1",
                "scratchpad_created.v1", "cell_queued.v1", "cell_started.v1", "cell_output.v1", "cell_completed.v1",
            ],
            related.Select(e => (string)e!["type"]!));
        JsonNode Data(string type) => related.Single(e => (string?)e!["type"] == type)!["data"]!;
        Assert.Equal("Be very brief.", (string?)Data("skill_version_added.v1")["definition"]!["instructions"]);
        Assert.Equal("The kraken wakes.", (string?)Data("memory_changed.v1")["text"]);
        Assert.Equal((rich.Earlier.Id, "Hello."), ((string?)Data("run_created.v1")["run_id"], (string?)Data("run_created.v1")["message"]));
        Assert.Equal(("print(1)", rich.Later.Id), ((string?)Data("cell_queued.v1")["code"], (string?)Data("cell_queued.v1")["run_id"]));
        Assert.NotNull(Data("cell_completed.v1")["result"]!["outputs"]);
        Assert.Equal("approved", (string?)JsonNode.Parse(bundle)!["events"]!.AsArray().Single(e => (string?)e!["type"] == "approval_decided.v1")!["data"]!["outcome"]);
    }

    [Theory]
    [InlineData("""{"tombstone":{"by":4711}}""", "related", "memory-", null)]
    [InlineData("""{"tombstone":{"by":4711,"blobs":1,"bytes":2,"cost_micro_usd":3,"counterfactual":1,"input_tokens":4,"output_tokens":5}}""", "related", "memory-", null)]
    [InlineData("""{"tombstone":{}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":0}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":-1}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":1.5}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":"4711"}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":4711,"counterfactual":2}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":4711,"note":1}}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":[4711]}""", "related", "memory-", "data")]
    [InlineData("""{"tombstone":{"by":4711},"zest":1}""", "related", "memory-", "data")]
    [InlineData("""{"text":"Another one.","tombstone":{"by":4711}}""", "related", "memory-", "hash")]
    [InlineData("""{"tombstone":{"by":4711}}""", "related", "session-", "hash")] // What else a run rests on does not expire before it.
    [InlineData("""{"tombstone":{"by":4711}}""", "related", "skill-", "hash")]
    [InlineData("""{"tombstone":{"by":4711}}""", "events", "run-", "hash")]
    [InlineData("""{"tombstone":{"by":4711}}""", "events", "memory-", "hash")]
    public async Task Memories_that_a_run_was_told_of_may_have_expired_and_nothing_else_of_it(string stone, string list, string begin, string? named)
    {
        var bundle = await rich.Bundle();
        var place = JsonNode.Parse(bundle)![list]!.AsArray().Index().First(e => ((string)e.Item!["stream_id"]!).StartsWith(begin, StringComparison.Ordinal)).Index;
        var (report, fault) = TraceVerifier.Verify(TamperedBundles.WithTombstones(bundle, stone, list, begin));
        Assert.Equal(named switch { null => null, "data" => $"$.{list}[{place}].data", _ => $"$.{list}[{place}]" }, fault?.Location);
        Assert.Equal(named is null ? 2 : null, report?.Expired);
    }

    [Theory]
    [InlineData("skill_version_added.v1")]
    [InlineData("memory_changed.v1")]
    [InlineData("session_created.v1")]
    [InlineData("run_created.v1")]
    [InlineData("assistant_reply.v1")]
    [InlineData("memory_written.v1")]
    [InlineData("cell_queued.v1")]
    [InlineData("cell_completed.v1")]
    public async Task What_the_run_names_cannot_be_left_out(string type)
    {
        var (report, fault) = Forged(await rich.Bundle(), related => related.Remove(related.Single(e => (string?)e!["type"] == type)));
        Assert.Null(report);
        Assert.Matches("^\\$\\.(events|related)", fault!.Location);
    }

    [Theory]
    [InlineData("skill_version_added.v1", "definition.instructions", "Be long.")]
    [InlineData("skill_version_added.v1", "definition.name", "other")]
    [InlineData("memory_changed.v1", "text", "The kraken eats.")]
    [InlineData("run_created.v1", "run_id", "run_01k9golden0000000000000001")]
    [InlineData("cell_queued.v1", "code", "print(2)")]
    [InlineData("cell_queued.v1", "run_id", "run_01k9golden0000000000000001")]
    [InlineData("cell_queued.v1", "execution", "2")]
    [InlineData("cell_completed.v1", "cell_id", "cell_01k9golden0000000000000001")]
    [InlineData("scratchpad_created.v1", "session_id", "t")]
    public async Task What_the_runs_own_events_repeat_of_it_cannot_be_changed_by_one_who_computes_hashes(string type, string member, string value)
    {
        var bundle = await rich.Bundle();
        var head = TraceVerifier.Verify(bundle).Report!.Head;
        var (report, fault) = Forged(bundle, related =>
        {
            var e = related.Single(e => (string?)e!["type"] == type)!;
            var names = member.Split('.');
            var parent = names[..^1].Aggregate(e["data"]!, (of, name) => of[name]!);
            parent[names[^1]] = long.TryParse(value, CultureInfo.InvariantCulture, out var number) ? number : value;
        });
        Assert.Null(report);
        Assert.Matches("^\\$\\.(events|related)", fault!.Location);
        Assert.Equal(head, (string?)JsonNode.Parse(bundle)!["head"]!["hash"]);
    }

    [Fact]
    public async Task Nothing_that_the_run_does_not_name_is_there()
    {
        var bundle = await rich.Bundle();
        var other = (await rich.Harness.Engine.Load(RunHarness.Org, $"skill-{RichRun.Brief.Value}", 0, 1, default)).Events[0];
        var (report, fault) = Forged(bundle, related =>
        {
            var first = related[0]!.DeepClone();
            (first["version"], first["prev_hash"], first["id"], first["gid"]) = (1L, HashChain.Root, other.Id.ToString(), other.Position);
            (first["type"], first["data"]) = (other.Type, JsonNode.Parse(other.Data.Span));
            (first["ts"], first["actor"]) = (HashChain.Timestamp(other.At), other.Actor);
            related.Insert(0, first);
        });
        Assert.Null(report);
        Assert.Equal(("$.related[0]", "No event of the run names it."), (fault!.Location, fault.Message));
    }

    [Theory]
    [InlineData("skill_version_added.v1")]
    [InlineData("memory_changed.v1")]
    [InlineData("assistant_reply.v1")]
    public async Task What_the_run_used_was_there_before(string type)
    {
        var (report, fault) = Forged(await rich.Bundle(), related =>
        {
            var late = related.Single(e => (string?)e!["type"] == type)!;
            related.Remove(late);
            late["gid"] = 1_000_000;
            related.Add(late);
        });
        Assert.Null(report);
        Assert.EndsWith(".gid", fault!.Location, StringComparison.Ordinal);
    }

    /// <summary>The verdict on a bundle whose related events were changed by one who computes hashes and digests.</summary>
    static (TraceReport? Report, TraceFault? Fault) Forged(byte[] bundle, Action<JsonArray> edit)
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        var related = root["related"]!.AsArray();
        edit(related);
        var heads = new Dictionary<string, (long Version, string Hash)>();
        foreach (var e in related.Select(e => e!.AsObject()))
        {
            var (stream, version) = ((string)e["stream_id"]!, (long)e["version"]!);
            if (heads.TryGetValue(stream, out var before) && before.Version == version - 1)
            {
                e["prev_hash"] = before.Hash;
            }
            e["hash"] = HashChain.Next(
                (string)e["prev_hash"]!, (string)e["tenant_id"]!, stream, version, Guid.Parse((string)e["id"]!), (string)e["type"]!,
                DateTimeOffset.Parse((string)e["ts"]!, CultureInfo.InvariantCulture), (string)e["actor"]!, Canonical(e["data"]));
            heads[stream] = (version, (string)e["hash"]!);
        }
        root.Remove("digests");
        TamperedBundles.Seal(root);
        return TraceVerifier.Verify(Canonical(root));
    }

    static byte[] Canonical(JsonNode? node) => CanonicalJson.Of(Encoding.UTF8.GetBytes(node?.ToJsonString() ?? "null"));
}
