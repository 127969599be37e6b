using System.Text;
using System.Text.Json.Nodes;

using Cowork.Projections;
using Cowork.Testing;

namespace Cowork.Browser.Tests;

/// <summary>The console opens the texts of data subjects in a bundle as <c>cowork verify</c> does, and proves those that were erased.</summary>
public sealed class ConsoleSealSpecs(Chromium chromium, BrowsedHost browsed)
{
    /// <summary>How many tampered forms of each bundle are compared.</summary>
    const int Tampered = 20;

    const string Word = "zephyrquartz";

    [Fact]
    public async Task A_bundle_of_a_data_subject_has_the_same_verdict_before_and_after_the_erasure()
    {
        var host = await browsed.Started;
        using var http = host.Client(host.AdminToken);
        var page = await chromium.NewPage();
        await using var context = page.Context;
        await page.GotoAsync($"{host.Url}/console/");

        var session = (await http.Post("/sessions", """{"subject":"of-a-bundle","metadata":{"auth_context":{"of":"nobody"}}}""")).Is(201)["session_id"];
        var run = (await http.Turn(session, $$"""
            /tool write_file {"path":".anton/output/{{Word}}.md","content":"# {{Word}}"}
            /tool remember {"content":"{{Word}}"}
            /tool write_file {"path":"{{Word}}.txt","content":"{{Word}}"}
            /say {{Word}} {{new string('x', 9_000)}}
            """)).Is(200);
        var approval = run.Json.GetProperty("pending_approval_ids")[0].GetString();
        (await http.Post($"/approvals/{approval}/decision", $$"""{"approved":true,"note":"{{Word}}"}""")).Is(200);
        await http.Until($"/runs/{run["run_id"]}", got => got.Is(200)["status"] == "completed");
        var before = await http.GetByteArrayAsync($"/runs/{run["run_id"]}/trace");
        (await http.Delete("/subjects/of-a-bundle")).Is(202);
        await http.Until("/subjects/of-a-bundle", got => got.Is(200)["state"] == "erased");
        var after = await http.GetByteArrayAsync($"/runs/{run["run_id"]}/trace");
        Assert.Contains(Word, Encoding.UTF8.GetString(before), StringComparison.Ordinal);
        Assert.DoesNotContain(Word, Encoding.UTF8.GetString(after), StringComparison.Ordinal);

        var verdicts = await BrowserVerifier.Verdicts(page, [before, after]);
        foreach (var (bundle, found) in new[] { before, after }.Zip(verdicts))
        {
            var (report, fault) = TraceVerifier.Verify(bundle);
            Assert.Null(fault);
            Assert.True(found.Fault is null, $"{found.Fault}");
            Assert.Equal((report!.RunId, report.Digest, report.Events, report.Erased), (found.Report!.RunId, found.Report.Digest, found.Report.Events, found.Report.Erased));
        }
        Assert.Equal(0, verdicts[0].Report!.Erased);
        Assert.NotEqual(0, verdicts[1].Report!.Erased);

        var random = new Random(Seeds.One(841));
        byte[][] passedOff =
        [
            .. new[] { "tool_result", "policy_decision", "memory_written", "output_delta" }
                .Select(type => TamperedBundles.Blanked(before, e => (string?)e["event_type"] == type)),
            TamperedBundles.Blanked(before, e => !e.ContainsKey("payload")), Unproved(after),
        ];
        foreach (var (bundle, forged) in new[] { before, after }.Zip((byte[][][])[passedOff, []]))
        {
            Assert.All(forged, file => Assert.EndsWith(".content_key", TraceVerifier.Verify(file).Fault?.Location ?? "sound", StringComparison.Ordinal));
            List<byte[]> files = [.. forged, .. TamperedBundles.Of(bundle, random).Take(Tampered)];
            foreach (var (file, found) in files.Zip(await BrowserVerifier.Verdicts(page, files)))
            {
                var wanted = TraceVerifier.Verify(file).Fault;
                Assert.True(wanted?.Location == found.Fault?.Location, $"{wanted}, in the browser {found.Fault}");
            }
        }
    }

    /// <summary>Without the event that erased the subject.</summary>
    static byte[] Unproved(byte[] bundle)
    {
        var root = JsonNode.Parse(bundle)!.AsObject();
        var related = root["related"]!.AsArray();
        related.Remove(related.Single(e => (string?)e!["type"] == "subject_erased.v1"));
        return TamperedBundles.Sealed(root);
    }
}
