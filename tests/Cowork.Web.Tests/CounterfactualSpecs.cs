using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Counterfactuals over HTTP: another policy, model or message from an event on, and nothing outside is touched.</summary>
public sealed class CounterfactualSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Wrote = "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"kestrels\"}\n/say written";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task Nothing_changed_is_what_was_recorded_and_a_changed_policy_parts_at_the_call_that_it_denies()
    {
        var (session, run) = await Recorded(Wrote);
        var feed = await Feed(session);
        var same = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{At(feed, "llm_response")}}}""", ("Idempotency-Key", "same"))).Is(200);
        Assert.Equal(("completed", "written", "0"), (same["status"], same["reply"], same["total_tokens"]));
        var equal = (await http.Get($"/runs/diff?left={run}&right={same["run_id"]}")).Is(200).Json;
        Assert.Equal((JsonValueKind.Null, JsonValueKind.Null), (equal.GetProperty("first_divergence").ValueKind, equal.GetProperty("reply").ValueKind));
        Assert.Equal(same["run_id"], (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{At(feed, "llm_response")}}}""", ("Idempotency-Key", "same"))).Is(200)["run_id"]);

        var denied = (await http.Post(
            $"/runs/{run}/counterfactual",
            $$"""{"from_event":{{At(feed, "policy_decision")}},"rules":[{"name":"read_only","outcome":"deny","reason":"Nothing is written.","kinds":["create","overwrite"]}]}""")).Is(200);
        var lineage = (await http.Get($"/runs/{denied["run_id"]}")).Is(200).Json.GetProperty("lineage");
        Assert.Equal(
            ("counterfactual", run, session, "policy"),
            (lineage.GetProperty("kind").GetString(), lineage.GetProperty("run_id").GetString(), lineage.GetProperty("session_id").GetString(),
                lineage.GetProperty("changed").EnumerateArray().Single().GetString()));
        Assert.Equal(feed.Single(e => e.GetProperty("version").GetInt64() == lineage.GetProperty("version").GetInt64() && e.GetProperty("stream_id").GetString() == lineage.GetProperty("stream_id").GetString())
            .GetProperty("hash").GetString(), lineage.GetProperty("hash").GetString());
        var parted = (await http.Get($"/runs/diff?left={run}&right={denied["run_id"]}")).Is(200).Json.GetProperty("first_divergence");
        Assert.Equal(("verdict", "deny (read_only)"), (parted.GetProperty("what").GetString(), parted.GetProperty("right").GetString()));
        foreach (var made in (string[])[same["run_id"], denied["run_id"]])
        {
            var replay = (await http.Post($"/runs/{made}/replay")).Is(200);
            Assert.True(replay["verdict"] == "equal" && !replay.Json.GetProperty("unproved").EnumerateArray().Any(), replay.Text);
        }
        // The recorded run's session has what it had.
        Assert.Equal(feed.Count, (await Feed(session)).Count);
    }

    [Fact]
    public async Task A_call_that_is_not_recorded_is_a_stub_and_is_made_only_when_it_is_allowed_and_the_hosts_policy_allows_it()
    {
        var (session, run) = await Recorded("/say hello");
        var folder = (await http.Get($"/sessions/{session}")).Is(200)["workspace_path"];
        var from = At(await Feed(session), "llm_response");
        var path = Path.Combine(folder, ".anton", "output", "other.md");
        const string Write = "/tool write_file {\\\"path\\\":\\\".anton/output/other.md\\\",\\\"content\\\":\\\"owls\\\"}";
        var stubbed = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{from}},"message":"{{Write}}"}""")).Is(200);
        Assert.Equal(("stub", false), (await Source(stubbed), File.Exists(path)));
        var given = (await http.Post($"/runs/{run}/counterfactual", $$$"""{"from_event":{{{from}}},"message":"{{{Write}}}","stubs":{"write_file":"Wrote it elsewhere."}}""")).Is(200);
        var result = (await Feed(given["session_id"])).Single(e => Type(e) == "tool_result").GetProperty("payload");
        Assert.Equal(("stub", "Wrote it elsewhere."), (result.GetProperty("source").GetString(), result.GetProperty("content_preview").GetString()));
        var live = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{from}},"message":"{{Write}}","allow":["write_file"]}""")).Is(200);
        Assert.Equal(("live", "owls"), (await Source(live), await File.ReadAllTextAsync(path)));
        // A proposed policy opens nothing that the host's does not: a person is asked, although the proposed one allows all.
        const string Outside = "/tool write_file {\\\"path\\\":\\\"plain.md\\\",\\\"content\\\":\\\"owls\\\"}";
        var asked = (await http.Post(
            $"/runs/{run}/counterfactual",
            $$"""{"from_event":{{from}},"message":"{{Outside}}","allow":["write_file"],"rules":[{"name":"all","outcome":"allow","reason":"Everything."}]}""")).Is(200);
        Assert.Equal(("approval_required", false), (asked["status"], File.Exists(Path.Combine(folder, "plain.md"))));
        (await http.Post($"/approvals/{asked.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", """{"approved":false}""")).Is(200);
        var unasked = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{from}},"message":"{{Outside}}","approvals":"reject"}""")).Is(200);
        Assert.Equal("completed", unasked["status"]);
        Assert.Contains((await Feed(unasked["session_id"])).Select(Type), type => type == "approval_served");
    }

    [Fact]
    public async Task Another_version_of_a_skill_is_shown_and_what_it_allows_is_judged_by_it()
    {
        var skill = (await http.Post("/api/v1/skills", """{"name":"lister","description":"d","instructions":"List.","tools":["list_files"]}""")).Is(201)["id"];
        var conversation = (await http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var input = JsonSerializer.Serialize(new { conversation_id = conversation, input = Wrote, stream = false, skill_ids = new[] { skill } });
        var run = (await http.Post("/api/v1/responses", input)).Is(200)["id"].Replace("resp_", "run_", StringComparison.Ordinal);
        (await http.Send(HttpMethod.Patch, $"/api/v1/skills/{skill}", """{"tools":["write_file"]}""")).Is(200);
        var at = At(await Feed((await http.Get($"/runs/{run}")).Is(200)["session_id"]), "policy_decision");
        var made = (await http.Post($"/runs/{run}/counterfactual", $$$"""{"from_event":{{{at}}},"skill_versions":{"{{{skill}}}":2}}""")).Is(200);
        Assert.Equal(("completed", "stub"), (made["status"], await Source(made)));
        var shown = (await http.Get($"/runs/{made["run_id"]}")).Is(200).Json;
        Assert.Equal(
            ("2", "skills"), (shown.GetProperty("skills")[0].GetProperty("version").GetRawText(), shown.GetProperty("lineage").GetProperty("changed")[0].GetString()));
        Assert.Equal("verdict", (await http.Get($"/runs/diff?left={run}&right={made["run_id"]}")).Is(200).Json.GetProperty("first_divergence").GetProperty("what").GetString());
        Assert.Equal("equal", (await http.Post($"/runs/{made["run_id"]}/replay")).Is(200)["verdict"]);
    }

    [Fact]
    public async Task What_a_person_said_is_erased_in_it_too()
    {
        var session = (await http.Post("/sessions", """{"subject":"ursula"}""")).Is(201)["session_id"];
        var run = (await http.Turn(session, "/say falcons")).Is(200)["run_id"];
        var body = $$"""{"from_event":{{At(await Feed(session), "llm_response")}},"message":"/say more falcons"}""";
        var made = (await http.Post($"/runs/{run}/counterfactual", body)).Is(200);
        string[] paths = [$"/runs/{made["run_id"]}", $"/sessions/{made["session_id"]}/events?since_id=0", $"/runs/{made["run_id"]}/trace"];
        foreach (var path in paths)
        {
            Assert.Contains("falcons", (await http.Get(path)).Is(200).Text, StringComparison.Ordinal);
        }
        (await http.Delete("/subjects/ursula")).Is(202);
        await http.Until("/subjects/ursula", got => got.Is(200)["state"] == "erased");
        foreach (var path in paths)
        {
            Assert.DoesNotContain("falcons", (await http.Get(path)).Text, StringComparison.Ordinal);
        }
        (await http.Post($"/runs/{run}/counterfactual", body)).IsProblem(409);
    }

    [Fact]
    public async Task One_that_is_under_way_is_cancelled()
    {
        var (session, run) = await Recorded("/say quick");
        var body = $$"""{"from_event":{{At(await Feed(session), "llm_response")}},"message":"/sleep 60000","wait_for_completion":false}""";
        var made = (await http.Post($"/runs/{run}/counterfactual", body)).Is(202)["run_id"];
        (await http.Post($"/runs/{made}/cancel")).IsOneOf(200, 202);
        await http.Until($"/runs/{made}", got => got["status"] == "cancelled");
        var replay = (await http.Post($"/runs/{made}/replay")).Is(200);
        Assert.True(replay["verdict"] == "equal", replay.Text);
        Assert.Equal("completed", (await http.Get($"/runs/{run}")).Is(200)["status"]);
    }

    /// <summary>The commands of docs/replay.md, with a run and an event of this host.</summary>
    [Fact]
    public async Task What_the_page_shows_is_done()
    {
        var (session, run) = await Recorded(Wrote);
        var at = At(await Feed(session), "llm_response");
        var commands = (await File.ReadAllLinesAsync(Path.Combine(Root(AppContext.BaseDirectory), "docs/replay.md")))
            .Where(line => line.StartsWith("curl", StringComparison.Ordinal) && line.Contains("/counterfactual -H \"$J\" -d '", StringComparison.Ordinal)).ToList();
        Assert.Equal(3, commands.Count);
        foreach (var command in commands)
        {
            var body = command[(command.IndexOf('\'', StringComparison.Ordinal) + 1)..command.LastIndexOf('\'')]
                .Replace("\"from_event\":7", $"\"from_event\":{at}", StringComparison.Ordinal);
            var made = (await http.Post($"/runs/{run}/counterfactual", body)).Is(200);
            Assert.Equal("completed", made["status"]);
            (await http.Get($"/runs/diff?left={run}&right={made["run_id"]}")).Is(200);
        }
    }

    static string Root(string below) => File.Exists(Path.Combine(below, "Cowork.sln")) ? below : Root(Path.GetDirectoryName(below)!);

    [Theory]
    [InlineData("{}", 422, "$.from_event")]
    [InlineData("{\"from_event\":0}", 422, "$.from_event")]
    [InlineData("{\"from_event\":9007199254740991}", 422, "$.from_event")]
    [InlineData("{\"from_event\":3,\"model\":\"nobody\"}", 422, "$.model")]
    [InlineData("{\"from_event\":3,\"rulez\":[]}", 422, "$.rulez")]
    [InlineData("{\"from_event\":3,\"rules\":[]}", 422, "$.rules")]
    [InlineData("{\"from_event\":3,\"rules\":[],\"policy\":{}}", 422, "$.policy")]
    [InlineData("{\"from_event\":3,\"allow\":[\"wirte_file\"]}", 422, "$.allow")]
    [InlineData("{\"from_event\":3,\"allow\":[null]}", 422, "$.allow")]
    [InlineData("{\"from_event\":3,\"stubs\":{\"nobody\":\"x\"}}", 422, "$.stubs")]
    [InlineData("{\"from_event\":3,\"stubs\":{\"write_file\":null}}", 422, "$.stubs")]
    [InlineData("{\"from_event\":3,\"message\":\" \"}", 422, "$.message")]
    [InlineData("{\"from_event\":3,\"budget_usd\":-1}", 422, "$.budget_usd")]
    [InlineData("{\"from_event\":3,\"budget_usd\":1e300}", 422, "$.budget_usd")]
    [InlineData("{\"from_event\":3,\"approvals\":\"maybe\"}", 422, "$.approvals")]
    [InlineData("{\"from_event\":3,\"skill_versions\":{\"skill_01k9sk1110000000000000000b\":1}}", 422, "$.skill_versions.skill_01k9sk1110000000000000000b")]
    [InlineData("{\"from_event\":3,\"skill_versions\":{\"x\":1}}", 422, "$.skill_versions")]
    public async Task What_no_counterfactual_can_be_made_of_is_refused(string body, int status, string place)
    {
        var (_, run) = await Recorded("/say first");
        var refused = await http.Post($"/runs/{run}/counterfactual", body);
        Assert.True(refused.Is(status).Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
    }

    [Theory]
    [InlineData("skill_versions")]
    [InlineData("stubs")]
    public async Task A_member_with_names_of_its_own_is_an_object(string member)
    {
        var (_, run) = await Recorded("/say first");
        var refused = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":3,"{{member}}":[]}""")).Is(422);
        Assert.Equal("Has the wrong type: an object is wanted.", refused.Json.GetProperty("errors").GetProperty($"$.{member}")[0].GetString());
    }

    [Fact]
    public async Task Neither_an_auditor_nor_another_tenant_starts_one_and_none_goes_off_from_another()
    {
        var (session, run) = await Recorded("/say ours");
        var body = $$"""{"from_event":{{At(await Feed(session), "llm_response")}}}""";
        using var other = await tenant.Stranger("member");
        (await other.Post($"/runs/{run}/counterfactual", body)).IsProblem(404, "not_found");
        using var auditor = await tenant.Client("auditor");
        (await auditor.Post($"/runs/{run}/counterfactual", body)).Is(403);
        var made = (await http.Post($"/runs/{run}/counterfactual", body)).Is(200);
        var again = At(await Feed(made["session_id"]), "llm_response");
        (await http.Post($"/runs/{made["run_id"]}/counterfactual", $$"""{"from_event":{{again}}}""")).IsProblem(422, "invalid_request");
    }

    async Task<(string Session, string Run)> Recorded(string message)
    {
        var session = await http.NewSession();
        return (session, (await http.Turn(session, message)).Is(200)["run_id"]);
    }

    async Task<List<JsonElement>> Feed(string session) => [.. (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Json.GetProperty("events").EnumerateArray()];

    static string? Type(JsonElement e) => e.GetProperty("type").GetString();

    static long At(List<JsonElement> feed, string type) => feed.First(e => Type(e) == type).GetProperty("id").GetInt64();

    async Task<string?> Source(Got run) =>
        (await Feed(run["session_id"])).Single(e => Type(e) == "tool_result").GetProperty("payload").GetProperty("source").GetString();
}
