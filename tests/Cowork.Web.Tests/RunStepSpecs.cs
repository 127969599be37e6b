using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>What a run did, step by step, and its part of the session's feed.</summary>
public sealed class RunStepSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Write = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";

    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task The_steps_of_a_run_have_its_times_its_events_and_its_verdicts()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, Write)).Is(200);
        var waiting = (await http.Get($"/runs/{turn["run_id"]}/steps")).Is(200);
        Assert.Equal("queue completed, memory completed, model completed, tool waiting, approval waiting", Told(waiting));
        var asked = waiting.Json.GetProperty("steps")[4].GetProperty("approval");
        Assert.Equal(("pending", JsonValueKind.Null), (asked.GetProperty("status").GetString(), asked.GetProperty("by").ValueKind));

        (await http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", """{"approved":true,"note":"fine"}""")).Is(200);
        await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        var steps = (await http.Get($"/runs/{turn["run_id"]}/steps")).Is(200);
        Assert.Equal(
            "queue completed, memory completed, model completed, tool completed, approval completed, queue completed, model completed, end completed", Told(steps));
        var all = steps.Json.GetProperty("steps").EnumerateArray().ToList();
        Assert.Equal([null, 1, 2, 3, null, null, 4, null], all.Select(step => step.GetProperty("step").ValueKind == JsonValueKind.Null ? (int?)null : step.GetProperty("step").GetInt32()));
        Assert.Equal(("approved", "user:local", "fine"), (Text(all[4].GetProperty("approval"), "status"), Text(all[4].GetProperty("approval"), "by"), Text(all[4].GetProperty("approval"), "note")));
        Assert.Equal(("write_file", "confirm"), (Text(all[3], "name"), Text(all[3].GetProperty("policy"), "outcome")));
        Assert.All(all, step => Assert.True(Time(step, "ended_at") >= Time(step, "started_at")));
        Assert.All(
            all.Where(step => Text(step, "kind") == "model"),
            step =>
            {
                Assert.InRange(Time(step, "first_token_at"), Time(step, "started_at"), Time(step, "ended_at"));
                Assert.Equal(64, Text(step, "request_sha256")!.Length);
                Assert.True(step.GetProperty("input_tokens").GetInt64() > 0);
            });
        // The call began when it was approved and not before.
        Assert.True(Time(all[3], "started_at") >= Time(all[4], "ended_at"));

        // Each event of the run's stream is in one step, with the hash that the bundle has.
        var bundle = (await http.Get($"/runs/{turn["run_id"]}/trace")).Is(200).Json;
        var own = bundle.GetProperty("events").EnumerateArray().Where(e => Text(e, "stream_id") == Text(bundle.GetProperty("head"), "stream_id"))
            .Select(e => (e.GetProperty("version").GetInt64(), Text(e, "hash"), Text(e, "id"))).ToList();
        var placed = all.SelectMany(step => step.GetProperty("events").EnumerateArray()).OrderBy(e => e.GetProperty("version").GetInt64()).ToList();
        Assert.Equal(own, placed.Select(e => (e.GetProperty("version").GetInt64(), Text(e, "hash"), Text(e, "event_id"))));
        Assert.Equal(Text(bundle.GetProperty("head"), "hash"), Text(steps.Json.GetProperty("head"), "hash"));

        // As it was when the approval was asked for.
        Assert.Equal(waiting.Text, (await http.Get($"/runs/{turn["run_id"]}/steps?as_of={waiting["as_of_gid"]}")).Is(200).Text);
    }

    [Fact]
    public async Task A_rejected_call_and_a_cancelled_run_say_so()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, Write)).Is(200);
        (await http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", """{"approved":false}""")).Is(200);
        await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        Assert.StartsWith(
            "queue completed, memory completed, model completed, tool denied, approval denied,", Told((await http.Get($"/runs/{turn["run_id"]}/steps")).Is(200)), StringComparison.Ordinal);

        var cancelled = (await http.Turn(session, Write)).Is(200);
        (await http.Post($"/runs/{cancelled["run_id"]}/cancel")).Is(202);
        var steps = (await http.Get($"/runs/{cancelled["run_id"]}/steps")).Is(200);
        Assert.Equal("queue completed, memory completed, model completed, tool cancelled, approval denied, end cancelled", Told(steps));
        Assert.Equal(
            ["run_cancel_requested", "run_cancelled"],
            steps.Json.GetProperty("steps")[5].GetProperty("events").EnumerateArray().Select(e => e.GetProperty("type").GetString()));
    }

    [Fact]
    public async Task A_run_that_fails_or_is_stopped_has_the_step_it_ended_in_and_calls_that_were_never_made_take_no_time()
    {
        var session = await http.NewSession();
        var failed = (await http.Turn(session, "/fail the model hung up")).Is(200)["run_id"];
        var steps = (await http.Get($"/runs/{failed}/steps")).Is(200);
        Assert.Equal("queue completed, memory completed, model failed, end failed", Told(steps));
        var (round, end) = (steps.Json.GetProperty("steps")[2], steps.Json.GetProperty("steps")[3]);
        Assert.Equal(Text(end.GetProperty("error"), "message"), Text(round.GetProperty("error"), "message"));
        Assert.Equal((Time(end, "ended_at"), 64), (Time(round, "ended_at"), Text(round, "request_sha256")!.Length));

        var stopped = (await http.Turn(session, "/sleep 30000", wait: false)).Is(202)["run_id"];
        await http.Until($"/runs/{stopped}/steps", got => Told(got).EndsWith("model running", StringComparison.Ordinal));
        (await http.Post($"/runs/{stopped}/cancel")).Is(202);
        await http.Until($"/runs/{stopped}", run => run["status"] == "cancelled");
        steps = (await http.Get($"/runs/{stopped}/steps")).Is(200);
        Assert.Equal("queue completed, memory completed, model cancelled, end cancelled", Told(steps));
        Assert.Equal(Time(steps.Json.GetProperty("steps")[3], "ended_at"), Time(steps.Json.GetProperty("steps")[2], "ended_at"));

        var limited = (await http.Turn(session, string.Join("\n", Enumerable.Repeat("/tool list_files {}", 62)))).Is(200)["run_id"];
        steps = (await http.Get($"/runs/{limited}/steps")).Is(200);
        Assert.EndsWith("tool cancelled, tool cancelled, end failed", Told(steps), StringComparison.Ordinal);
        Assert.All(
            steps.Json.GetProperty("steps").EnumerateArray().Where(step => Text(step, "kind") == "tool"), step => Assert.Equal(0, step.GetProperty("duration_ms").GetInt64()));
    }

    [Fact]
    public async Task A_comparison_takes_a_steps_time_as_the_steps_do()
    {
        var session = await http.NewSession();
        var turn = (await http.Turn(session, Write)).Is(200);
        (await http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", """{"approved":true}""")).Is(200);
        await http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        var steps = (await http.Get($"/runs/{turn["run_id"]}/steps")).Is(200).Json.GetProperty("steps").EnumerateArray()
            .Where(step => Text(step, "kind") is "memory" or "model" or "tool").Select(step => (Text(step, "kind"), step.GetProperty("duration_ms").GetInt64()));
        var compared = (await http.Get($"/runs/diff?left={turn["run_id"]}&right={turn["run_id"]}")).Is(200).Json.GetProperty("steps").EnumerateArray()
            .Select(step => (Text(step.GetProperty("left"), "kind"), step.GetProperty("left").GetProperty("duration_ms").GetInt64()));
        Assert.Equal(steps, compared);
    }

    [Fact]
    public async Task A_runs_part_of_the_feed_is_what_the_feed_has_of_it_in_pages_and_as_it_happens()
    {
        var session = await http.NewSession();
        (await http.Turn(session, "/say before")).Is(200);
        var turn = (await http.Turn(session, "/say one\n/say two")).Is(200)["run_id"];
        var after = (await http.Turn(session, "/say after")).Is(200)["run_id"];
        foreach (var run in (string[])[turn, after])
        {
            var wanted = (await http.Events(session)).Where(e => Text(e, "run_id") == run).Select(e => e.GetRawText()).ToList();
            var (since, found) = (0L, new List<string>());
            while (true)
            {
                var page = (await http.Get($"/runs/{run}/events?limit=3&since_id={since}")).Is(200);
                Assert.Equal((session, run), (page["session_id"], page["run_id"]));
                found.AddRange(page.Json.GetProperty("events").EnumerateArray().Select(e => e.GetRawText()));
                since = page.Json.GetProperty("next_since_id").GetInt64();
                if (!page.Json.GetProperty("has_more").GetBoolean())
                {
                    break;
                }
            }
            Assert.Equal(wanted, found);
            Assert.Equal((await http.Events(session)).Count, since);

            await using var whole = await EventReader.Open(http, $"/runs/{run}/stream");
            var middle = JsonElement.Parse(wanted[2]).GetProperty("id").GetInt64();
            await using var rest = await EventReader.Open(http, $"/runs/{run}/stream?since_id=0", middle);
            var last = JsonElement.Parse(wanted[^1]).GetProperty("id").GetInt64();
            Assert.Equal(wanted, (await whole.Through(last)).Select(e => e.Data.GetRawText()));
            Assert.Equal(wanted.Skip(3), (await rest.Through(last)).Select(e => e.Data.GetRawText()));
        }
        (await http.Get($"/runs/{turn}/events?since_id=9999")).IsProblem(422, "cursor_ahead");
        (await http.Get($"/runs/{turn}/stream?since_id=9999")).IsProblem(422, "cursor_ahead");
    }

    [Fact]
    public async Task A_run_is_followed_from_its_begin_while_others_of_its_session_go_on()
    {
        var session = await http.NewSession();
        var first = (await http.Turn(session, "/sleep 300\n/say one", wait: false)).Is(202)["run_id"];
        var second = (await http.Turn(session, "/say two", wait: false)).Is(202)["run_id"];
        await using var reader = await EventReader.Open(http, $"/runs/{second}/stream");
        var waiting = http.Get($"/runs/{second}/events?since_id={(await http.Events(session)).Count}&wait_seconds=30");
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var types = new List<string?>();
        while (types is not [.., "run_completed"])
        {
            var e = (await reader.Next(timeout.Token))!.Value;
            Assert.Equal(second, Text(e.Data, "run_id"));
            types.Add(Text(e.Data, "type"));
        }
        Assert.Equal("run_created", types[0]);
        Assert.NotEqual("[]", (await waiting).Is(200)["events"]);
        Assert.Equal("completed", (await http.Get($"/runs/{first}")).Is(200)["status"]);
    }

    static string Told(Got steps) => string.Join(", ", steps.Json.GetProperty("steps").EnumerateArray().Select(step => $"{Text(step, "kind")} {Text(step, "status")}"));

    static string? Text(JsonElement of, string name) => of.GetProperty(name).GetString();

    static DateTimeOffset Time(JsonElement of, string name) => of.GetProperty(name).GetDateTimeOffset();
}
