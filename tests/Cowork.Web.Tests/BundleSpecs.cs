using System.Text;
using System.Text.Json.Nodes;

using Cowork.Projections;

using Json.Schema;

namespace Cowork.Web.Tests;

/// <summary>Bundles of sessions, of runs with contents, and exports of periods, as a host answers them and as the verifier reads them.</summary>
public sealed class BundleSpecs(WatchedHost watched) : IClassFixture<WatchedHost>
{
    readonly LiveHost host = watched.Host;

    [Fact]
    public async Task A_sessions_bundle_and_a_runs_archive_are_sound_and_the_same_every_time()
    {
        using var member = host.Client(await host.Token("bundled", "member"));
        var session = await member.NewSession();
        var run = (await member.Turn(session, "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"x\"}\n/say done")).Is(200)["run_id"];
        (await member.Turn(session, "/say once more")).Is(200);
        foreach (var (path, type, format) in ((string, string, string)[])
            [($"/sessions/{session}/trace", "application/x-ndjson", "cowork-session/2"), ($"/runs/{run}/trace?include=content", "application/zip", "cowork-trace/4")])
        {
            using var answer = await member.GetAsync(path);
            Assert.Equal((200, type), ((int)answer.StatusCode, answer.Content.Headers.ContentType!.MediaType));
            Assert.Equal("attachment", answer.Content.Headers.ContentDisposition!.DispositionType);
            var bytes = await answer.Content.ReadAsByteArrayAsync();
            var (report, fault) = await BundleFile.Verify(new MemoryStream(bytes), null, null, default);
            Assert.Null(fault);
            Assert.Equal(format, report!.Format);
            Assert.Equal(WithoutLog(bytes), WithoutLog(await member.GetByteArrayAsync(path)));
            if (type == "application/x-ndjson")
            {
                AssertDescribed("cowork-session-2", [.. Encoding.UTF8.GetString(bytes).TrimEnd('\n').Split('\n')]);
            }
            Assert.Empty((await member.Send(HttpMethod.Head, path, null)).Is(200).Text);
        }
        (await member.Get("/sessions/nobody/trace")).IsProblem(404, "not_found");
        (await member.Get($"/runs/{run}/trace?include=all")).IsProblem(422, "invalid_request");
        AssertDescribed("cowork-trace-4", (await member.Get($"/runs/{run}/trace?include=none")).Is(200).Text);
    }

    [Fact]
    public async Task An_auditor_exports_a_period_and_goes_on_behind_a_position()
    {
        using var member = host.Client(await host.Token("exporting", "member"));
        using var auditor = host.Client(await host.Token("exporting", "auditor"));
        var session = await member.NewSession();
        (await member.Turn(session, "/say topsecret")).Is(200);
        (await member.Get("/audit/export")).IsProblem(403, "role_missing");
        var whole = await Export(auditor, "");
        var all = (await auditor.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().Select(e => e.GetProperty("gid").GetInt64()).ToList();
        var told = Events(whole).Select(e => (long)e["gid"]!).ToList();
        Assert.Equal(all.Take(told.Count), told);
        Assert.Contains("run_completed.v1", Events(whole).Select(e => (string)e["type"]!));
        Assert.DoesNotContain("secret_sha256\":", whole, StringComparison.Ordinal);
        AssertDescribed("cowork-export-2", whole.TrimEnd('\n').Split('\n'));
        var rest = Events(await Export(auditor, $"?after={told[4]}"));
        Assert.Equal(told[5], (long)rest[0]["gid"]!);
        var at = (string)Events(whole)[6]["ts"]!;
        Assert.All(Events(await Export(auditor, $"?to={at}")), e => Assert.True(string.CompareOrdinal((string)e["ts"]!, at) < 0));
        Assert.All(Events(await Export(auditor, $"?from={at}")), e => Assert.True(string.CompareOrdinal((string)e["ts"]!, at) >= 0));
        // Nobody else's events are there.
        Assert.All(Events(whole), e => Assert.Equal("exporting", (string?)e["tenant_id"]));
        foreach (var (query, place) in ((string, string)[])[("?after=9000000000000", "after"), ("?after=x", "after"), ("?from=yesterday", "from"), ("?from=2026-01-02&to=2026-01-01", "to")])
        {
            var refused = (await auditor.Get($"/audit/export{query}")).IsProblem(422, "invalid_request");
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
        }
        await auditor.Until(
            "/events?limit=1000",
            page => page.Json.GetProperty("events").EnumerateArray().Any(
                e => e.GetProperty("type").GetString() == "data_exported" && e.GetProperty("payload").GetProperty("what").GetString() == "events"
                    && e.GetProperty("payload").GetProperty("id").GetString() == "../.."));
    }

    [Fact]
    public async Task A_groups_session_has_a_bundle_like_any_other()
    {
        using var member = host.Client(await host.Token("grouped", "member"));
        var group = (await member.Post("/groups", """{"title":"Sales"}""")).Is(201);
        (await member.Post($"/groups/{group["group_id"]}/messages", """{"text":"@assistant /say hello"}""")).Is(202);
        var session = group["session_id"];
        await member.Until($"/sessions/{session}/runs", runs => runs.Json.GetProperty("runs").EnumerateArray().Any(run => run.GetProperty("status").GetString() == "completed"));
        var bytes = await member.GetByteArrayAsync($"/sessions/{session}/trace");
        var (report, fault) = await BundleFile.Verify(new MemoryStream(bytes), null, null, default);
        Assert.Null(fault);
        Assert.Equal(1, report!.Runs);
        AssertDescribed("cowork-session-2", Encoding.UTF8.GetString(bytes).TrimEnd('\n').Split('\n'));
        var run = (await member.Get($"/sessions/{session}/runs")).Is(200).Json.GetProperty("runs")[0].GetProperty("run_id").GetString();
        await IsDescribed(member, $"/runs/{run}/trace", "\"agent\":{", "cowork-trace-4");
    }

    [Fact]
    public async Task Bundles_of_a_fork_are_as_their_schemas_say()
    {
        using var member = host.Client(await host.Token("forked", "member"));
        var session = await member.NewSession();
        (await member.Turn(session, "/say before")).Is(200);
        var run = (await member.Turn(session, "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"x\"}\n/say done")).Is(200)["run_id"];
        var cut = (await member.Events(session)).Single(e => e.GetProperty("type").GetString() == "tool_result").GetProperty("id").GetInt64();
        foreach (var path in (string[])[$"/runs/{run}/fork", $"/sessions/{session}/fork"])
        {
            var fork = (await member.Post(path, $$"""{"at_event":{{cut}},"message":"/say forked"}""")).Is(201);
            await member.Until($"/runs/{fork["run_id"]}", ended => ended["status"] == "completed");
            await IsDescribed(member, $"/runs/{fork["run_id"]}/trace", "\"fork\"", "cowork-trace-4");
            await IsDescribed(member, $"/sessions/{fork["session_id"]}/trace", "\"fork\"", "cowork-session-2");
        }
    }

    /// <summary>A bundle in lines without the signed head, which comes a little later, and with a statement, of which no two signatures are the same.</summary>
    static byte[] WithoutLog(byte[] bytes)
    {
        var text = Encoding.Latin1.GetString(bytes);
        var (last, log) = (text.LastIndexOf("\n{\"end\"", StringComparison.Ordinal), text.LastIndexOf("\"log\":", StringComparison.Ordinal));
        return last < 0 || log < last ? bytes : Encoding.Latin1.GetBytes(text[..log] + text[(text.LastIndexOf("}},", StringComparison.Ordinal) + 3)..]);
    }

    /// <summary>The bundle is sound, has a member and is as the schema says, each of its lines by itself.</summary>
    static async Task IsDescribed(HttpClient member, string path, string has, string schema)
    {
        var bytes = await member.GetByteArrayAsync(path);
        var (_, fault) = await BundleFile.Verify(new MemoryStream(bytes), null, null, default);
        Assert.Null(fault);
        var text = Encoding.UTF8.GetString(bytes).TrimEnd('\n');
        Assert.Contains(has, text, StringComparison.Ordinal);
        AssertDescribed(schema, text.Split('\n'));
    }

    [Theory]
    [InlineData("cowork-trace-4")]
    [InlineData("cowork-trace-4-settings")]
    [InlineData("cowork-trace-4-sealed")]
    [InlineData("cowork-trace-4-erased")]
    [InlineData("cowork-trace-4-counterfactual")]
    public void A_kept_bundle_is_as_its_schema_says_and_a_changed_one_is_not(string name)
    {
        var bundle = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "bundles", $"{name}.json"));
        AssertDescribed("cowork-trace-4", bundle);
        foreach (var changed in (string[])
            [
                bundle.Replace("\"format\":\"cowork-trace/4\"", "\"format\":\"cowork-trace/3\"", StringComparison.Ordinal),
                bundle.Replace("\"gid\":", "\"position\":", StringComparison.Ordinal),
                bundle.Replace("\"status\":\"completed\"", "\"status\":\"done\"", StringComparison.Ordinal),
            ])
        {
            Assert.False(Schema("cowork-trace-4").Evaluate(Json(changed)).IsValid);
        }
    }

    static void AssertDescribed(string name, params string[] documents)
    {
        var schema = Schema(name);
        foreach (var document in documents)
        {
            var result = schema.Evaluate(Json(document), new() { OutputFormat = OutputFormat.List, RequireFormatValidation = true });
            var faults = result.Details?.Where(detail => detail.Errors is not null).SelectMany(detail => detail.Errors!.Values.Select(error => $"{detail.InstanceLocation} {error}")) ?? [];
            Assert.True(result.IsValid, $"{name}: {string.Join("; ", faults.Take(5))}: {document}");
        }
    }

    static readonly System.Collections.Concurrent.ConcurrentDictionary<string, JsonSchema> Schemas = new();

    static JsonSchema Schema(string name) =>
        Schemas.GetOrAdd(name, static name => JsonSchema.FromText(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "schemas", $"{name}.json"))));

    static System.Text.Json.JsonElement Json(string text) => System.Text.Json.JsonElement.Parse(text);

    static async Task<string> Export(HttpClient auditor, string query)
    {
        var bytes = await auditor.GetByteArrayAsync($"/audit/export{query}");
        var (report, fault) = await BundleFile.Verify(new MemoryStream(bytes), null, null, default);
        Assert.Null(fault);
        Assert.Equal("exporting", report!.TenantId);
        return Encoding.UTF8.GetString(bytes);
    }

    static List<JsonNode> Events(string lines) => [.. lines.TrimEnd('\n').Split('\n').Select(line => JsonNode.Parse(line)!["event"]).OfType<JsonObject>()];
}
