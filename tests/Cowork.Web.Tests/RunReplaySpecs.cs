namespace Cowork.Web.Tests;

/// <summary>Runs that are replayed on the host that recorded them, and runs beside each other.</summary>
public sealed class RunReplaySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_run_replays_as_far_as_it_has_come_with_equal_hashes_and_nothing_is_written()
    {
        var session = await http.NewSession();
        await http.Turn(session, "/say before");
        var waiting = (await http.Turn(session, "/tool write_file {\"path\":\"notes.md\",\"content\":\"kestrels\"}\n/say written")).Is(200);
        await Equal(waiting["run_id"]);
        var approval = waiting.Json.GetProperty("pending_approval_ids")[0].GetString();
        (await http.Post($"/approvals/{approval}/decision", """{"approved":true}""")).Is(200);
        await http.Until($"/runs/{waiting["run_id"]}", run => run["status"] == "completed");
        var before = (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Text;
        await Equal(waiting["run_id"]);
        Assert.Equal(before, (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Text);
    }

    async Task Equal(string run)
    {
        var report = (await http.Post($"/runs/{run}/replay")).Is(200);
        Assert.True(report["verdict"] == "equal", report.Text);
        Assert.Empty(report.Json.GetProperty("unproved").EnumerateArray());
        var head = (await http.Get($"/runs/{run}/trace")).Is(200).Json.GetProperty("head");
        Assert.Equal((head.GetProperty("hash").GetString(), head.GetProperty("version").GetInt64()), (report["head"], report.Json.GetProperty("events").GetInt64()));
    }

    [Fact]
    public async Task Two_runs_are_aligned_by_step_and_the_first_difference_is_named()
    {
        // A tenant that remembers nothing.
        await using var fresh = await tenant.Another();
        async Task<string> Run(string message) => (await fresh.Http.Turn(await fresh.Http.NewSession(), message)).Is(200)["run_id"];
        var other = await Run("/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"x\"}");
        var same = await Run("kestrels");
        var alike = (await fresh.Http.Get($"/runs/diff?left={same}&right={same}")).Is(200);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, alike.Json.GetProperty("first_divergence").ValueKind);
        Assert.All(alike.Json.GetProperty("steps").EnumerateArray(), step => Assert.Equal(System.Text.Json.JsonValueKind.Null, step.GetProperty("differs").ValueKind));

        var diff = (await fresh.Http.Get($"/runs/diff?left={same}&right={other}")).Is(200);
        var first = diff.Json.GetProperty("first_divergence");
        Assert.Equal((2, "request"), (first.GetProperty("step").GetInt32(), first.GetProperty("what").GetString()));
        Assert.Equal(2, diff.Json.GetProperty("deltas").GetProperty("steps").GetInt32());
        var artifact = Assert.Single(diff.Json.GetProperty("artifacts").EnumerateArray());
        Assert.Equal((".anton/output/r.md", System.Text.Json.JsonValueKind.Null), (artifact.GetProperty("path").GetString(), artifact.GetProperty("left_sha256").ValueKind));
    }

    [Fact]
    public async Task A_replay_tells_what_the_run_wrote_and_kept_and_a_counterfactual_has_that_of_the_common_past()
    {
        var session = await http.NewSession();
        var run = (await http.Turn(
            session,
            "/tool write_file {\"path\":\".anton/output/kraken.md\",\"content\":\"# Kraken\"}\n/tool remember {\"content\":\"The kraken sleeps.\"}\n/say done")).Is(200)["run_id"];
        var made = (await http.Post($"/runs/{run}/replay")).Is(200).Json.GetProperty("made");
        var artifact = Assert.Single((await http.Get($"/runs/{run}/artifacts")).Is(200).Json.GetProperty("artifacts").EnumerateArray());
        var again = Assert.Single(made.GetProperty("artifacts").EnumerateArray());
        Assert.Equal(
            (".anton/output/kraken.md", artifact.GetProperty("sha256").GetString()), (again.GetProperty("path").GetString(), again.GetProperty("sha256").GetString()));
        Assert.Contains("memory", made.GetProperty("memories").EnumerateArray().Select(memory => memory.GetProperty("kind").GetString()));

        var from = (await http.Events(session)).Last(e => e.GetProperty("type").GetString() == "llm_response").GetProperty("id").GetInt64();
        var other = (await http.Post($"/runs/{run}/counterfactual", $$"""{"from_event":{{from}},"message":"/say otherwise"}""")).Is(200)["run_id"];
        var report = (await http.Post($"/runs/{other}/replay")).Is(200);
        Assert.Equal(("equal", 0), (report["verdict"], report.Json.GetProperty("unproved").GetArrayLength()));
        var past = report.Json.GetProperty("past");
        Assert.Equal(again.GetRawText(), Assert.Single(past.GetProperty("artifacts").EnumerateArray()).GetRawText());
        Assert.Equal("memory", Assert.Single(past.GetProperty("memories").EnumerateArray()).GetProperty("kind").GetString());
        var diff = (await http.Get($"/runs/diff?left={run}&right={other}")).Is(200);
        Assert.Equal((0, 0), (diff.Json.GetProperty("artifacts").GetArrayLength(), diff.Json.GetProperty("memories").GetArrayLength()));
    }

    [Fact]
    public async Task Another_tenants_run_is_neither_replayed_nor_compared()
    {
        var ours = (await http.Turn(await http.NewSession(), "/say ours")).Is(200)["run_id"];
        using var other = await tenant.Stranger("member");
        (await other.Post($"/runs/{ours}/replay")).IsProblem(404, "not_found");
        (await other.Get($"/runs/diff?left={ours}&right={ours}")).IsProblem(404, "not_found");
    }
}
