namespace Cowork.Web.Tests;

/// <summary>Forks of sessions and runs over HTTP.</summary>
public sealed class ForkSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_run_forks_at_an_event_and_the_fork_goes_on_by_itself()
    {
        var session = await http.NewSession();
        var run = (await http.Turn(session, "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"kestrels\"}\n/say written")).Is(200)["run_id"];
        var feed = (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Json.GetProperty("events").EnumerateArray().ToList();
        var result = feed.Single(e => e.GetProperty("type").GetString() == "tool_result");
        var at = result.GetProperty("id").GetInt64();
        var made = (await http.Post($"/runs/{run}/fork", $$"""{"at_event":{{at}},"message":"/say forked"}""", ("Idempotency-Key", "fork-1"))).Is(201);
        var fork = made["session_id"];
        Assert.Equal($"/sessions/{fork}", made.Headers.Location!.ToString());
        var from = made.Json.GetProperty("forked_from");
        Assert.Equal((session, run, at, result.GetProperty("hash").GetString()),
            (from.GetProperty("session_id").GetString(), from.GetProperty("run_id").GetString(), from.GetProperty("event_id").GetInt64(), from.GetProperty("hash").GetString()));
        var effect = Assert.Single(made.Json.GetProperty("effects").EnumerateArray());
        Assert.Equal(("write_file", "create", true), (effect.GetProperty("tool").GetString(), effect.GetProperty("kind").GetString(), effect.GetProperty("is_certain").GetBoolean()));
        Assert.Equal((await http.Get($"/sessions/{session}")).Is(200)["workspace_path"], made["workspace_path"]);

        var again = (await http.Post($"/runs/{run}/fork", $$"""{"at_event":{{at}},"message":"/say forked"}""", ("Idempotency-Key", "fork-1"))).Is(201);
        Assert.Equal((made.Text, "true"), (again.Text, again.Headers.GetValues("Idempotency-Replayed").Single()));
        await http.Until($"/runs/{made["run_id"]}", ended => ended["status"] == "completed");
        var forked = (await http.Get($"/runs/{made["run_id"]}")).Is(200);
        Assert.Equal(("forked", "fork", session), (forked["reply"], forked.Json.GetProperty("lineage").GetProperty("kind").GetString(), forked.Json.GetProperty("lineage").GetProperty("session_id").GetString()));
        Assert.Equal(session, (await http.Get($"/sessions/{fork}")).Is(200).Json.GetProperty("forked_from").GetProperty("session_id").GetString());
        var replay = (await http.Post($"/runs/{made["run_id"]}/replay")).Is(200);
        Assert.True(replay["verdict"] == "equal" && !replay.Json.GetProperty("unproved").EnumerateArray().Any(), replay.Text);
        // The other session has what it had.
        var now = (await http.Get($"/sessions/{session}/events?since_id=0")).Is(200).Json.GetProperty("events").EnumerateArray();
        Assert.DoesNotContain(now, e => e.GetProperty("run_id").GetString() is { } of && of != run);
    }

    [Fact]
    public async Task A_session_forks_without_a_message_and_waits_for_one()
    {
        var session = await http.NewSession();
        await http.Turn(session, "/say first");
        var made = (await http.Post($"/sessions/{session}/fork")).Is(201);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, made.Json.GetProperty("run_id").ValueKind);
        Assert.Equal(1, made.Json.GetProperty("forked_from").GetProperty("runs").GetArrayLength());
        Assert.Equal("second", (await http.Turn(made["session_id"], "/say second")).Is(200)["reply"]);
    }

    [Theory]
    [InlineData("{\"at_event\":0}", 422, "$.at_event")]
    [InlineData("{\"at_event\":9007199254740991}", 422, "$.at_event")]
    [InlineData("{\"at_event\":\"1\"}", 422, "$.at_event")]
    [InlineData("{\"message\":\" \"}", 422, "$.message")]
    public async Task What_no_fork_can_be_made_of_is_refused(string body, int status, string place)
    {
        var session = await http.NewSession();
        var run = (await http.Turn(session, "/say first")).Is(200)["run_id"];
        foreach (var path in (string[])[$"/sessions/{session}/fork", $"/runs/{run}/fork"])
        {
            Assert.True((await http.Post(path, body)).IsProblem(status, "invalid_request").Json.GetProperty("errors").TryGetProperty(place, out _));
        }
    }

    [Fact]
    public async Task Another_tenants_sessions_and_runs_do_not_fork()
    {
        var session = await http.NewSession();
        var run = (await http.Turn(session, "/say ours")).Is(200)["run_id"];
        using var other = await tenant.Stranger("member");
        (await other.Post($"/runs/{run}/fork")).IsProblem(404, "not_found");
        (await other.Post($"/sessions/{session}/fork")).IsProblem(404, "not_found");
    }
}
