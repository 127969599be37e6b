using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Sessions, turns and runs on a host in local mode: what works.</summary>
public sealed class AgentServiceSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_session_is_created_with_nothing_but_a_post()
    {
        var made = (await http.Post("/sessions")).Is(201);
        Assert.Matches("^sess_[0-9a-hjkmnp-tv-z]{26}$", made["session_id"]);
        Assert.Equal($"/sessions/{made["session_id"]}", made.Headers.Location!.ToString());
        Assert.Equal("{}", made["metadata"]);
        Assert.True(Directory.Exists(made["workspace_path"]));
        Assert.Equal(tenant.WorkspaceOf(made["session_id"]), made["workspace_path"]);
    }

    [Fact]
    public async Task Metadata_comes_back_as_it_came_and_the_auth_context_never()
    {
        const string Asked = """{"session_id":"meta","metadata":{"z":1.50,"a":[true,null,"é"],"auth_context":{"user_id":"secret-u"},"n":{"b":1,"b":2}}}""";
        const string Shown = """{"z":1.50,"a":[true,null,"é"],"n":{"b":2}}""";
        Assert.Equal(Shown, (await http.Post("/sessions", Asked)).Is(201).Json.GetProperty("metadata").GetRawText());
        Assert.Equal(Shown, (await http.Get("/sessions/meta")).Is(200).Json.GetProperty("metadata").GetRawText());
        var feed = await http.Get("/sessions/meta/events");
        Assert.Equal(JsonValueKind.Object, feed.Json.GetProperty("events")[0].GetProperty("payload").GetProperty("metadata").ValueKind);
        foreach (var path in (string[])["/sessions", "/sessions/meta", "/sessions/meta/events", "/events?limit=1000"])
        {
            Assert.DoesNotContain("secret-u", (await http.Get(path)).Is(200).Text);
        }
    }

    [Fact]
    public async Task A_session_answers_to_every_form_of_its_id()
    {
        var key = (await http.NewSession())["sess_".Length..];
        await http.NewSession("own.Name-1");
        foreach (var form in (string[])[$"sess_{key}", $"conv_{key}", key])
        {
            Assert.Equal($"sess_{key}", (await http.Get($"/sessions/{form}")).Is(200)["session_id"]);
        }
        foreach (var form in (string[])["own.Name-1", "conv_own.Name-1"])
        {
            Assert.Equal("own.Name-1", (await http.Get($"/sessions/{form}")).Is(200)["session_id"]);
        }
    }

    [Fact]
    public async Task A_turn_waits_for_its_run_and_tells_all_about_it()
    {
        var session = await http.NewSession("turns");
        var turn = (await http.Turn(session, "/say Hello there")).Is(200);
        Assert.Equal(
            ["run_id", "session_id", "status", "reply", "error", "pending_approval_ids", "total_tokens", "tool_calls", "cost_usd", "created_at", "stop_reason", "reused", "run"],
            turn.Json.EnumerateObject().Select(m => m.Name));
        Assert.Equal(("completed", "False", ""), (turn["status"], turn["reused"], turn["error"]));
        Assert.Contains("Hello there", turn["reply"]);
        Assert.Matches(@"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", turn["created_at"]);

        var run = (await http.Get($"/runs/{turn["run_id"]}")).Is(200);
        Assert.Equal(
            [
                "run_id", "session_id", "status", "reply", "error", "pending_approval_ids", "total_tokens", "tool_calls", "cost_usd", "created_at",
                "message", "model", "skill_id", "skill_version", "schedule_id", "started_at", "completed_at", "attempt", "stop_reason", "skills", "lineage",
                "id", "prompt", "response", "input_tokens", "output_tokens", "cancel_requested", "worker_mode",
            ],
            run.Json.EnumerateObject().Select(m => m.Name));
        Assert.Equal(("/say Hello there", "offline", "1"), (run["message"], run["model"], run["attempt"]));

        var key = turn["run_id"]["run_".Length..];
        foreach (var form in (string[])[key, $"resp_{key}", $"task_{key}"])
        {
            Assert.Equal(turn["run_id"], (await http.Get($"/runs/{form}")).Is(200)["run_id"]);
        }
        var listed = (await http.Get($"/sessions/{session}/runs")).Is(200);
        Assert.Equal((session, run.Text), (listed["session_id"], listed.Json.GetProperty("runs")[0].GetRawText()));
        Assert.Equal("[]", (await http.Get($"/runs/{key}/artifacts")).Is(200)["artifacts"]);
        Assert.Equal("cowork-trace/4", (await http.Get($"/runs/{key}/trace")).Is(200)["format"]);
    }

    [Fact]
    public async Task Runs_and_sessions_are_listed_newest_first_up_to_the_limit()
    {
        var session = await http.NewSession();
        var runs = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            runs.Insert(0, (await http.Turn(session, "/say ok")).Is(200)["run_id"]);
        }
        Assert.Equal(runs[..2], (await http.Get($"/sessions/{session}/runs?limit=2")).Json.GetProperty("runs").EnumerateArray().Select(r => r.GetProperty("run_id").GetString()));
        var newer = await http.NewSession();
        Assert.Equal(newer, (await http.Get("/sessions?limit=1")).Json.GetProperty("sessions")[0].GetProperty("session_id").GetString());
    }

    [Fact]
    public async Task A_turn_that_nobody_waits_for_answers_202_and_goes_on()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, "/sleep 150\n/say done", wait: false)).Is(202);
        Assert.Contains(turn["status"], (string[])["queued", "running"]);
        var ended = await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        Assert.Contains("done", ended["reply"]);
    }

    [Fact]
    public async Task A_wait_that_is_over_answers_202_and_the_run_goes_on()
    {
        var session = await http.NewSession();
        var turn = (await http.Post($"/sessions/{session}/turn", """{"message":"/sleep 600\n/say done","wait_timeout_seconds":0.1}""")).Is(202);
        Assert.Equal($"/runs/{turn["run_id"]}", turn.Headers.Location!.ToString());
        await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
    }

    [Fact]
    public async Task A_long_message_to_a_session_that_is_not_there_leaves_nothing_behind()
    {
        await using var host = await LiveHost.Start();
        var blobs = Path.Combine(host.Data, "blobs");
        (await host.Http.Turn("nowhere", new string('x', 100_000))).IsProblem(404, "not_found");
        Assert.Empty(Directory.GetFiles(blobs, "*", SearchOption.AllDirectories));
        (await host.Http.Turn(await host.Http.NewSession(), "/say " + new string('x', 100_000))).Is(200);
        Assert.NotEmpty(Directory.GetFiles(blobs, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task Texts_of_refused_and_repeated_requests_leave_nothing_behind()
    {
        await using var host = await LiveHost.Start();
        var blobs = Directory.CreateDirectory(Path.Combine(host.Data, "blobs")).FullName;
        var (text, session) = (new string('x', 100_000), await host.Http.NewSession());
        (await host.Http.Post("/skills/skill_00000000000000000000000000/versions", $$"""{"prompt_template":"{{text}}"}""")).IsProblem(404, "not_found");
        (await host.Http.Post("/skills", """{"name":"taken","prompt_template":"short"}""")).Is(201);
        (await host.Http.Post("/skills", $$"""{"name":"taken","prompt_template":"{{text}}"}""")).Is(409);
        (await host.Http.Post(
            "/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"skill_00000000000000000000000000","interval_seconds":60,"params":{"a":"{{text}}"} }""")).IsProblem(404, "not_found");
        Assert.Empty(Directory.GetFiles(blobs, "*", SearchOption.AllDirectories));
        (await host.Http.Post("/skills", $$"""{"name":"long","prompt_template":"{{text}}"}""")).Is(201);
        var kept = Assert.Single(Directory.GetFiles(blobs, "*", SearchOption.AllDirectories));
        Assert.Equal(Path.GetFileName(kept)[..2], Path.GetFileName(Path.GetDirectoryName(kept)));
    }

    [Fact]
    public async Task An_operator_sweeps_the_blob_store()
    {
        await using var host = await LiveHost.Start();
        var blobs = Microsoft.Extensions.DependencyInjection.ServiceProviderServiceExtensions.GetRequiredService<FileBlobs>(host.Services);
        var sha256 = await blobs.Put(new byte[70_000], default);
        var path = Path.Combine(host.Data, "blobs", "pending", sha256);
        Assert.Equal("""{"dry_run":true,"removed":0,"removed_bytes":0,"left":1}""", (await host.Http.Post("/engine/blobs/sweep?dry_run=true", "")).Is(200).Text);
        File.SetLastWriteTimeUtc(path, File.GetLastWriteTimeUtc(path).AddDays(-2));
        Assert.Equal("""{"dry_run":true,"removed":1,"removed_bytes":70000,"left":0}""", (await host.Http.Post("/engine/blobs/sweep?dry_run=true", "")).Is(200).Text);
        Assert.True(File.Exists(path));
        Assert.Equal("""{"dry_run":false,"removed":1,"removed_bytes":70000,"left":0}""", (await host.Http.Post("/engine/blobs/sweep", "")).Is(200).Text);
        Assert.False(File.Exists(path));
        (await host.Http.Post("/engine/blobs/sweep?dry_run=perhaps", "")).Is(422);
        using (new FileStream(Path.Combine(host.Data, "blobs", ".sweep"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        {
            (await host.Http.Post("/engine/blobs/sweep", "")).IsProblem(409, "sweep_under_way");
        }
    }

    [Fact]
    public async Task A_page_of_large_events_is_short_and_nothing_is_left_out_of_the_feed()
    {
        var session = await http.NewSession();
        var text = new string('x', 60_000);
        for (var i = 0; i < 160; i++)
        {
            await http.Post($"/sessions/{session}/turn", $$"""{"message":"/say {{text}}","wait_for_completion":false}""");
        }
        var seen = new List<long>();
        var pages = 0;
        for (long since = 0; ; pages++)
        {
            var page = await http.Events(session, since);
            seen.AddRange(page.Select(e => e.GetProperty("id").GetInt64()));
            if (page.Count == 0)
            {
                break;
            }
            since = seen[^1];
        }
        Assert.Equal(Enumerable.Range(1, seen.Count).Select(id => (long)id), seen);
        Assert.True(pages > 1 && seen.Count >= 320, $"{pages} pages, {seen.Count} events");
        await using var stream = await EventReader.Open(http, $"/sessions/{session}/events/stream");
        Assert.Equal(seen, (await stream.Through(seen[^1])).Select(e => e.Id).Take(seen.Count));
    }

    /// <summary>A proxy before a host in local mode makes an administrator of everybody who reaches the proxy.</summary>
    [Theory]
    [InlineData("Forwarded", "for=192.0.2.1")]
    [InlineData("X-Forwarded-For", "192.0.2.1")]
    [InlineData("x-forwarded-proto", "https")]
    [InlineData("X-Forwarded-Host", "")]
    public async Task Local_mode_takes_nothing_from_a_proxy(string header, string value)
    {
        (await tenant.Host.Http.Post("/tokens", """{"name":"x"}""", (header, value))).IsProblem(403, "forwarded");
        (await tenant.Host.Http.Get("/health/ready", (header, value))).IsProblem(403, "forwarded");
    }

    [Fact]
    public async Task A_client_that_goes_away_does_not_stop_the_run()
    {
        var session = await http.NewSession();
        using var gone = new CancellationTokenSource();
        var asking = http.PostAsync($"/sessions/{session}/turn", new StringContent("""{"message":"/sleep 300\n/say done"}""", null, "application/json"), gone.Token);
        await http.Until($"/sessions/{session}/runs", got => got.Json.GetProperty("runs").GetArrayLength() == 1);
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
        await http.Until($"/sessions/{session}/runs", got => got.Json.GetProperty("runs")[0].GetProperty("status").GetString() == "completed");
    }

    [Fact]
    public async Task A_model_that_fails_fails_the_run_with_a_reason()
    {
        var turn = (await http.Turn(await http.NewSession(), "/fail out of ideas")).Is(200);
        Assert.Equal("failed", turn["status"]);
        Assert.Contains("out of ideas", turn.Json.GetProperty("error").GetProperty("message").GetString());
        Assert.NotEmpty(turn.Json.GetProperty("error").GetProperty("code").GetString()!);
    }

    [Fact]
    public async Task Long_messages_and_replies_come_back_whole()
    {
        var text = string.Concat(Enumerable.Repeat("wörd ", 20_000));
        var turn = (await http.Turn(await http.NewSession(), "/say " + text)).Is(200);
        Assert.Contains(text.TrimEnd(), turn["reply"]);
        Assert.Equal("/say " + text, (await http.Get($"/runs/{turn["run_id"]}")).Is(200)["message"]);
    }

    [Fact]
    public async Task A_running_run_is_cancelled_within_a_second_or_so_and_an_ended_one_stays_as_it_is()
    {
        var session = await http.NewSession();
        var run = (await http.Turn(session, "/sleep 60000\n/say never", wait: false))["run_id"];
        await http.Until($"/runs/{run}", got => got["status"] == "running");
        var asked = (await http.Post($"/runs/{run}/cancel")).Is(202);
        Assert.Equal((run, "True"), (asked["run_id"], asked["cancel_requested"]));
        await http.Until($"/runs/{run}", got => got["status"] == "cancelled");
        var again = (await http.Post($"/runs/{run}/cancel")).Is(200);
        Assert.Equal(("cancelled", "False"), (again["status"], again["cancel_requested"]));
    }

    [Fact]
    public async Task A_queued_run_is_cancelled_at_once()
    {
        var session = await http.NewSession();
        var first = (await http.Turn(session, "/sleep 60000", wait: false))["run_id"];
        var second = (await http.Turn(session, "/say second", wait: false)).Is(202);
        Assert.Equal("queued", second["status"]);
        Assert.Equal("cancelled", (await http.Post($"/runs/{second["run_id"]}/cancel")).Is(202)["status"]);
        Assert.Equal("cancelled", (await http.Get($"/runs/{second["run_id"]}"))["status"]);
        await http.Post($"/runs/{first}/cancel", "{}");
    }

    [Fact]
    public async Task A_deleted_session_is_gone_with_its_runs_and_its_id_is_not_free_again()
    {
        var session = await http.NewSession("short-lived");
        var ended = (await http.Turn(session, "/say ok")).Is(200)["run_id"];
        var live = (await http.Turn(session, "/sleep 60000", wait: false))["run_id"];
        await using var reader = await EventReader.Open(http, $"/sessions/{session}/events/stream");
        (await http.Delete($"/sessions/{session}")).Is(204);
        string[] paths =
        [
            "/sessions/short-lived", "/sessions/short-lived/runs", "/sessions/short-lived/events", "/sessions/short-lived/events/stream",
            $"/runs/{ended}", $"/runs/{live}", $"/runs/{live}/artifacts", $"/runs/{ended}/trace",
        ];
        foreach (var path in paths)
        {
            (await http.Get(path)).IsProblem(404, "not_found");
        }
        (await http.Delete($"/sessions/{session}")).IsProblem(404);
        (await http.Turn(session, "hello")).IsProblem(404);
        (await http.Post($"/runs/{live}/cancel")).IsProblem(404);
        (await http.Post("/sessions", """{"session_id":"short-lived"}""")).IsProblem(409, "session_exists");
        Assert.DoesNotContain("short-lived", (await http.Get("/sessions?limit=1000")).Text);
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var last = "";
        while (await reader.Next(timeout.Token) is { } seen)
        {
            last = seen.Type;
        }
        Assert.Equal("session_deleted", last);
        // The live one is stopped all the same, which the tenant's feed shows.
        for (var (since, isStopped) = ("0", false); !isStopped;)
        {
            var page = (await http.Get($"/events?since_id={since}&limit=1000&wait_seconds=30").WaitAsync(timeout.Token)).Is(200);
            Assert.NotEqual(since, page["next_since_id"]);
            (since, isStopped) = (page["next_since_id"], page.Text.Contains($"\"run_id\":\"{live}\",\"type\":\"run_cancelled\"", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task The_tools_are_published_with_their_schemas()
    {
        var published = (await http.Get("/tools")).Is(200).Json;
        Assert.Equal(["mcp__<connection>__<tool>"], published.GetProperty("patterns").EnumerateArray().Select(pattern => pattern.GetProperty("pattern").GetString()));
        var tools = published.GetProperty("tools").EnumerateArray().ToList();
        Assert.Equal(["delete_file", "list_files", "move_file", "query_connector", "read_file", "recall", "remember", "scratchpad", "search_files", "write_file"], tools.Select(t => t.GetProperty("name").GetString()).Order());
        Assert.All(tools, t => Assert.Equal("object", t.GetProperty("input_schema").GetProperty("type").GetString()));
    }

    [Fact]
    public async Task Health_names_the_engine()
    {
        Assert.Equal("live", (await http.Get("/health/live")).Is(200)["status"]);
        Assert.Equal(("ready", "marten"), ((await http.Get("/health/ready")).Is(200)["status"], (await http.Get("/health/ready"))["engine"]));
    }

    [Fact]
    public async Task Head_is_get_without_the_body()
    {
        var session = await http.NewSession();
        var of = $"/sessions/{session}";
        foreach (var path in (string[])["/sessions", of, $"{of}/events", $"{of}/events/stream", "/events/stream", "/health/ready", "/openapi.json"])
        {
            var head = (await http.Send(HttpMethod.Head, path, null)).Is(200);
            Assert.Empty(head.Text);
        }
        Assert.Empty((await http.Send(HttpMethod.Head, "/sessions/nobody", null)).Is(404).Text);
    }

    [Fact]
    public async Task Options_say_what_an_address_takes()
    {
        using var answer = await http.SendAsync(new HttpRequestMessage(HttpMethod.Options, "/sessions"));
        Assert.Equal(204, (int)answer.StatusCode);
        Assert.Equal(["GET", "HEAD", "OPTIONS", "POST"], answer.Content.Headers.Allow.Order());
    }
}
