using System.Text.Json;

using Cowork.Domain;

using Microsoft.Extensions.Configuration;

namespace Cowork.Web.Tests;

/// <summary>Scheduled runs over HTTP, as contract A has them.</summary>
public sealed class ScheduledRunSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_schedule_is_created_listed_shown_and_deleted()
    {
        var (session, skill) = await Ready("plan", "/say {a} {b}");
        var made = await Planned(
            session, skill, """ "name":"daily-kpi","skill_version":1,"params":{"b":2,"a":"x","more":[1]},"interval_seconds":3600,"start_in_seconds":1800,"misfire":"none" """);
        var id = made["schedule_id"];
        Assert.Matches("^sched_[0-9a-hjkmnp-tv-z]{26}$", id);
        Assert.Equal($"/scheduled-runs/{id}", made.Headers.Location!.ToString());
        Assert.Equal(
            ("daily-kpi", session, skill, "1", """{"b":2,"a":"x","more":[1]}""", "3600", "active", "none", "skip"),
            (made["name"], made["session_id"], made["skill_id"], made["skill_version"], made["params"], made["interval_seconds"], made["status"], made["misfire"], made["overlap"]));
        foreach (var nothing in (string[])["last_run_id", "last_run_at", "last_skip"])
        {
            Assert.Equal(JsonValueKind.Null, made.Json.GetProperty(nothing).ValueKind);
        }
        Assert.InRange(Time(made, "next_run_at") - Time(made, "created_at"), TimeSpan.FromSeconds(1_799), TimeSpan.FromSeconds(1_800));
        Assert.Equal(made.Text, (await http.Get($"/scheduled-runs/{id}")).Is(200).Text);

        var paused = await Planned(session, skill, """ "name":"later","params":{"a":1,"b":true},"interval_seconds":60,"active":false """);
        Assert.Equal(("paused", "", ""), (paused["status"], paused["next_run_at"], paused["skill_version"]));
        Assert.Equal([paused["schedule_id"], id], await Listed("?limit=2"));
        Assert.Equal([id], (await Listed("?status=active")).Where(listed => listed == id || listed == paused["schedule_id"]));
        Assert.Equal([paused["schedule_id"]], (await Listed("?status=paused")).Where(listed => listed == id || listed == paused["schedule_id"]));
        (await http.Get("/scheduled-runs?status=gone")).IsProblem(422, "invalid_request");

        (await http.Delete($"/scheduled-runs/{id}")).Is(204);
        (await http.Get($"/scheduled-runs/{id}")).IsProblem(404, "not_found");
        (await http.Get($"/scheduled-runs/{id}/runs")).IsProblem(404, "not_found");
        foreach (var action in (string[])["trigger", "pause", "resume"])
        {
            (await http.Post($"/scheduled-runs/{id}/{action}")).IsProblem(404, "not_found");
        }
        (await http.Delete($"/scheduled-runs/{id}")).IsProblem(404, "not_found");
        Assert.DoesNotContain(id, await Listed("?limit=1000"));
    }

    [Fact]
    public async Task Due_runs_start_on_their_own_within_a_quarter_of_a_second_and_are_in_feed_and_ledger()
    {
        var (session, skill) = await Ready("due", "/say {a}");
        var id = (await Planned(session, skill, """ "name":"every-second","params":{"a":"hi"},"interval_seconds":1 """))["schedule_id"];
        var ledger = await http.Until($"/scheduled-runs/{id}/runs", got => Runs(got).Count(Fired) >= 6);
        (await http.Post($"/scheduled-runs/{id}/pause")).Is(200);

        var fired = Runs(ledger).Where(Fired).ToList();
        var late = fired.Select(line => (line.GetProperty("decided_at").GetDateTimeOffset() - line.GetProperty("slot").GetDateTimeOffset()).TotalMilliseconds).Order().ToList();
        Assert.True(late[late.Count / 2] < 250, $"Late by {string.Join(", ", late)} ms");
        var slots = fired.Select(line => line.GetProperty("slot").GetDateTimeOffset()).Order().ToList();
        Assert.All(slots, slot => Assert.Equal(slots[0].Millisecond, slot.Millisecond));

        var first = fired[^1];
        var run = (await http.Until($"/runs/{first.GetProperty("run_id").GetString()}", got => got["status"] == "completed"));
        Assert.Equal(("hi", skill, "1", id), (run["reply"], run["skill_id"], run["skill_version"], run["schedule_id"]));
        var told = (await http.Events(session)).First(e => e.GetProperty("type").GetString() == "schedule_triggered");
        Assert.Equal(run["run_id"], told.GetProperty("run_id").GetString());
        var payload = told.GetProperty("payload");
        Assert.Equal(
            (id, skill, 1, "automatic"),
            (payload.GetProperty("schedule_id").GetString(), payload.GetProperty("skill_id").GetString(), payload.GetProperty("skill_version").GetInt32(),
                payload.GetProperty("mode").GetString()));
        var shown = (await http.Get($"/scheduled-runs/{id}")).Is(200);
        Assert.NotEqual("", shown["last_run_id"]);
        Assert.NotEqual("", shown["last_run_at"]);
        Assert.Single(Runs((await http.Get($"/scheduled-runs/{id}/runs?limit=1")).Is(200)));
    }

    [Fact]
    public async Task Triggered_by_hand_it_answers_like_a_turn()
    {
        var (session, skill) = await Ready("hand", "/sleep 200\n/say {a}");
        var id = (await Planned(session, skill, """ "name":"by-hand","params":{"a":"hello"},"interval_seconds":3600,"active":false """))["schedule_id"];
        var accepted = (await http.Post($"/scheduled-runs/{id}/trigger")).Is(202);
        Assert.Equal((id, session, skill, "1", "False"), (accepted["schedule_id"], accepted["session_id"], accepted["skill_id"], accepted["skill_version"], accepted["reused"]));
        var waited = (await http.Post($"/scheduled-runs/{id}/trigger", """{"wait_for_completion":true,"wait_timeout_seconds":30}""")).Is(200);
        Assert.Equal(("completed", "hello"), (waited["status"], waited["reply"]));
        var keyed = (await http.Post($"/scheduled-runs/{id}/trigger", """{"wait_for_completion":true,"idempotency_key":"k"}""")).Is(200);
        var again = (await http.Post($"/scheduled-runs/{id}/trigger", """{"wait_for_completion":true,"idempotency_key":"k"}""")).Is(200);
        Assert.Equal((keyed["run_id"], "True"), (again["run_id"], again["reused"]));
        var header = (await http.Post($"/scheduled-runs/{id}/trigger", null, ("Idempotency-Key", "trigger-1"))).Is(202);
        var replayed = await http.Post($"/scheduled-runs/{id}/trigger", null, ("Idempotency-Key", "trigger-1"));
        Assert.Equal(header["run_id"], replayed["run_id"]);
        Assert.True(replayed.Headers.Contains("Idempotency-Replayed"));

        var lines = Runs((await http.Get($"/scheduled-runs/{id}/runs")).Is(200));
        Assert.Equal(4, lines.Count);
        Assert.All(lines, line => Assert.Equal(("manual", "fired", JsonValueKind.Null), (
            line.GetProperty("mode").GetString(), line.GetProperty("outcome").GetString(), line.GetProperty("slot").ValueKind)));
        Assert.Contains((await http.Events(session)).Where(e => e.GetProperty("type").GetString() == "schedule_triggered"), e =>
            e.GetProperty("payload").GetProperty("mode").GetString() == "manual" && e.GetProperty("run_id").GetString() == waited["run_id"]);
        Assert.Equal("paused", (await http.Get($"/scheduled-runs/{id}")).Is(200)["status"]);
    }

    [Fact]
    public async Task Paused_it_waits_and_resumed_it_is_planned_from_then()
    {
        var (session, skill) = await Ready("pause", "/say x");
        var id = (await Planned(session, skill, """ "name":"p","interval_seconds":600,"start_in_seconds":5 """))["schedule_id"];
        var paused = (await http.Post($"/scheduled-runs/{id}/pause", null, ("Idempotency-Key", "pause-1"))).Is(200);
        Assert.Equal(("paused", ""), (paused["status"], paused["next_run_at"]));
        Assert.Equal(paused.Text, (await http.Get($"/scheduled-runs/{id}")).Is(200).Text);
        Assert.Equal(paused.Text, (await http.Post($"/scheduled-runs/{id}/pause")).Is(200).Text);

        var resumed = (await http.Post($"/scheduled-runs/{id}/resume")).Is(200);
        Assert.Equal("active", resumed["status"]);
        Assert.Equal(600, (Time(resumed, "next_run_at") - Time(resumed, "updated_at")).TotalSeconds);
        Assert.Equal(resumed.Text, (await http.Get($"/scheduled-runs/{id}")).Is(200).Text);
        Assert.Equal(resumed.Text, (await http.Post($"/scheduled-runs/{id}/resume", "{}")).Is(200).Text);

        // The same request again is answered as it was, and does nothing.
        var replayed = (await http.Post($"/scheduled-runs/{id}/pause", null, ("Idempotency-Key", "pause-1"))).Is(200);
        Assert.Equal(paused.Text, replayed.Text);
        Assert.Equal("active", (await http.Get($"/scheduled-runs/{id}")).Is(200)["status"]);
    }

    [Fact]
    public async Task A_schedule_whose_skill_or_session_has_gone_says_so()
    {
        var (session, skill) = await Ready("gone", "/say x");
        var id = (await Planned(session, skill, """ "name":"g","interval_seconds":1,"start_in_seconds":1 """))["schedule_id"];
        (await http.Delete($"/skills/{skill}")).Is(204);
        // On a busy machine some seconds may be missed before one is skipped for its skill.
        var shown = await http.Until($"/scheduled-runs/{id}", got => got["last_skip"].Contains("skill_not_found", StringComparison.Ordinal));
        Assert.Equal("active", shown["status"]);
        var line = Runs((await http.Get($"/scheduled-runs/{id}/runs")).Is(200)).First(l => l.GetProperty("reason").GetString() == "skill_not_found");
        Assert.Equal(
            ("skipped", "skill_not_found", "There is no such skill."),
            (line.GetProperty("outcome").GetString(), line.GetProperty("reason").GetString(), line.GetProperty("detail").GetString()));
        Assert.Contains((await http.Events(session)).Where(e => e.GetProperty("type").GetString() == "schedule_skipped"), e =>
            e.GetProperty("payload").GetProperty("reason").GetString() == "skill_not_found");
        (await http.Post($"/scheduled-runs/{id}/trigger")).IsProblem(404, "skill_not_found");
        (await http.Post($"/scheduled-runs/{id}/pause")).Is(200);

        var (other, there) = await Ready("gone-too", "/say x");
        var orphan = (await Planned(other, there, """ "name":"o","interval_seconds":1,"start_in_seconds":1 """))["schedule_id"];
        (await http.Delete($"/sessions/{other}")).Is(204);
        await http.Until($"/scheduled-runs/{orphan}", got => got["last_skip"].Contains("session_not_found", StringComparison.Ordinal));
        (await http.Post($"/scheduled-runs/{orphan}/trigger")).IsProblem(404, "not_found");
        (await http.Delete($"/scheduled-runs/{orphan}")).Is(204);
    }

    [Fact]
    public async Task An_interval_is_no_shorter_than_the_host_allows()
    {
        await using var host = await LiveHost.Start(s => s with { ScheduleIntervalMin = TimeSpan.FromSeconds(10) });
        var session = await host.Http.NewSession();
        var skill = (await host.Http.Post("/skills", """{"name":"s","prompt_template":"/say hi"}""")).Is(201)["skill_id"];
        var refused = await host.Http.Post("/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":9}""");
        Assert.Contains("The shortest interval here is 10 s", refused.IsProblem(422, "invalid_request")["detail"]);
        (await host.Http.Post("/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":10}""")).Is(201);
    }

    [Theory]
    [InlineData("""{"name":""}""", 422, "$.name")]
    [InlineData("""{"name":" "}""", 422, "$.name")]
    [InlineData("""{"name":7}""", 422, "$.name")]
    [InlineData("""{"session_id":null}""", 422, "$.session_id")]
    [InlineData("""{"session_id":"a b"}""", 422, "$.session_id")]
    [InlineData("""{"session_id":"nobody"}""", 404, null)]
    [InlineData("""{"skill_id":null}""", 422, "$.skill_id")]
    [InlineData("""{"skill_id":"skill_01k9sk1110000000000000000z"}""", 404, null)]
    [InlineData("""{"skill_id":"churn"}""", 404, null)]
    [InlineData("""{"skill_version":0}""", 400, null)]
    [InlineData("""{"skill_version":2}""", 404, null)]
    [InlineData("""{"skill_version":"1"}""", 422, "$.skill_version")]
    [InlineData("""{"params":[]}""", 422, "$.params")]
    [InlineData("""{"params":null}""", 422, "$.params")]
    [InlineData("""{"params":{}}""", 422, "$.params")]
    [InlineData("""{"params":{"b":"x"}}""", 422, "$.params")]
    [InlineData("""{"params":{"a":{}}}""", 422, "$.params.a")]
    [InlineData("""{"params":{"a":" "}}""", 422, "$.params")]
    [InlineData("""{"interval_seconds":null}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":0}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":-60}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":0.5}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":"60"}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":99999999999}""", 422, "$.interval_seconds")]
    [InlineData("""{"interval_seconds":99999999999999999999}""", 422, "$.interval_seconds")]
    [InlineData("""{"start_in_seconds":-1}""", 422, "$.start_in_seconds")]
    [InlineData("""{"start_in_seconds":99999999999}""", 422, "$.start_in_seconds")]
    [InlineData("""{"active":"yes"}""", 422, "$.active")]
    [InlineData("""{"misfire":"two"}""", 422, "$.misfire")]
    [InlineData("""{"misfire":"One"}""", 422, "$.misfire")]
    [InlineData("""{"misfire":1}""", 422, "$.misfire")]
    [InlineData("""{"overlap":""}""", 422, "$.overlap")]
    public async Task What_cannot_be_planned_is_refused(string change, int status, string? place)
    {
        var (session, skill) = await Ready($"no-{Ids.KeyOf(change)}", "{a}");
        var body = new Dictionary<string, JsonElement>
        {
            ["name"] = JsonElement.Parse("\"n\""),
            ["session_id"] = JsonElement.Parse($"\"{session}\""),
            ["skill_id"] = JsonElement.Parse($"\"{skill}\""),
            ["params"] = JsonElement.Parse("""{"a":"x"}"""),
            ["interval_seconds"] = JsonElement.Parse("60"),
        };
        var right = JsonSerializer.Serialize(body);
        foreach (var member in JsonElement.Parse(change).EnumerateObject())
        {
            body[member.Name] = member.Value;
        }
        var refused = (await http.Post("/scheduled-runs", JsonSerializer.Serialize(body), ("Idempotency-Key", session))).IsProblem(status);
        if (place is not null)
        {
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
        }
        // A refusal makes nothing and holds no key.
        var made = (await http.Post("/scheduled-runs", right, ("Idempotency-Key", session))).Is(201);
        (await http.Delete($"/scheduled-runs/{made["schedule_id"]}")).Is(204);
    }

    [Fact]
    public async Task The_same_creation_twice_is_one_schedule_also_when_its_skill_has_gone_meanwhile()
    {
        var (session, skill) = await Ready("twice", "/say x");
        var body = $$"""{"name":"t","session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":3600,"start_in_seconds":3600}""";
        var first = (await http.Post("/scheduled-runs", body, ("Idempotency-Key", "create-1"))).Is(201);
        (await http.Delete($"/skills/{skill}")).Is(204);
        var again = (await http.Post("/scheduled-runs", body, ("Idempotency-Key", "create-1"))).Is(201);
        Assert.Equal(first.Text, again.Text);
        Assert.True(again.Headers.Contains("Idempotency-Replayed"));
        (await http.Post("/scheduled-runs", body.Replace("3600", "7200", StringComparison.Ordinal), ("Idempotency-Key", "create-1"))).IsProblem(422, "idempotency_key_reused");
        (await http.Post("/scheduled-runs", body)).IsProblem(404, "not_found");
    }

    [Theory]
    [InlineData("cron=0%209%20*%20*%20MON&timezone=Europe/Berlin&count=2&from=2026-03-28T12:00:00Z", """{"next":["2026-03-30T07:00:00.000Z","2026-04-06T07:00:00.000Z"]}""")]
    [InlineData("cron=30%202%20*%20*%20*&timezone=Europe/Berlin&count=2&from=2026-03-28T12:00:00Z", """{"next":["2026-03-29T01:00:00.000Z","2026-03-30T00:30:00.000Z"]}""")]
    [InlineData("cron=@daily&from=2026-01-01&count=1", """{"next":["2026-01-02T00:00:00.000Z"]}""")]
    [InlineData("cron=@daily&from=2026-01-01T09:00%2B09:00&count=1", """{"next":["2026-01-02T00:00:00.000Z"]}""")]
    [InlineData("cron=0%200%2029%202%20*&from=2026-01-01T00:00:00.5Z&count=2", """{"next":["2028-02-29T00:00:00.000Z","2032-02-29T00:00:00.000Z"]}""")]
    [InlineData("cron=0%200%201%201%20*&from=9997-01-01T00:00:00Z&count=9", """{"next":["9998-01-01T00:00:00.000Z","9999-01-01T00:00:00.000Z"]}""")]
    [InlineData("cron=@daily&from=9999-12-31T23:59:59Z", """{"next":[]}""")]
    [InlineData("cron=@daily&timezone=Europe/Berlin&count=1&from=9999-12-31T23:59:59Z", """{"next":[]}""")]
    [InlineData("cron=@daily&timezone=America/New_York&count=1&from=9999-12-31T23:59:59Z", """{"next":[]}""")]
    [InlineData("cron=*%20*%20*%20*%20*&from=9999-12-31T23:58:00Z", """{"next":["9999-12-31T23:59:00.000Z"]}""")]
    [InlineData("cron=@daily&count=1&from=0001-01-01T00:00:00Z", """{"next":["0001-01-02T00:00:00.000Z"]}""")]
    [InlineData("cron=@daily&timezone=Europe/Berlin&count=1&from=0001-01-01T00:00:00Z", """{"next":["0001-01-01T23:06:00.000Z"]}""")]
    [InlineData("cron=@daily&timezone=America/New_York&count=1&from=0001-01-01T00:00:00Z", """{"next":["0001-01-01T04:57:00.000Z"]}""")]
    public async Task A_cron_expression_is_previewed(string query, string answer) =>
        Assert.Equal(answer, (await http.Get($"/api/v1/schedules/preview?{query}")).Is(200).Text);

    [Fact]
    public async Task A_preview_shows_five_times_from_now()
    {
        var next = (await http.Get("/api/v1/schedules/preview?cron=*%20*%20*%20*%20*")).Is(200).Json.GetProperty("next").EnumerateArray().Select(t => t.GetDateTimeOffset()).ToList();
        Assert.Equal(5, next.Count);
        Assert.InRange(next[0] - TimeProvider.System.GetUtcNow(), TimeSpan.FromSeconds(-30), TimeSpan.FromSeconds(60));
        Assert.All(next.Zip(next.Skip(1)), pair => Assert.Equal(TimeSpan.FromMinutes(1), pair.Second - pair.First));
        Assert.Equal(1000, (await http.Get("/api/v1/schedules/preview?cron=@hourly&count=1000")).Is(200).Json.GetProperty("next").GetArrayLength());
    }

    [Theory]
    [InlineData("", "invalid_request", "cron")]
    [InlineData("cron=", "invalid_request", "cron")]
    [InlineData("cron=@daily&cron=@hourly", "invalid_request", "cron")]
    [InlineData("cron=*%20*%20*%20*", "invalid_cron", "cron")]
    [InlineData("cron=*%20*%20*%20*%20*%20*", "invalid_cron", "cron")]
    [InlineData("cron=0%200%2030%202%20*", "invalid_cron", "cron")]
    [InlineData("cron=@daily&timezone=Mars/Olympus", "unknown_time_zone", "timezone")]
    [InlineData("cron=@daily&timezone=../../etc/passwd", "unknown_time_zone", "timezone")]
    [InlineData("cron=@daily&timezone=", "invalid_request", "timezone")]
    [InlineData("cron=@daily&count=0", "invalid_request", "count")]
    [InlineData("cron=@daily&count=1001", "invalid_request", "count")]
    [InlineData("cron=@daily&count=x", "invalid_request", "count")]
    [InlineData("cron=@daily&from=yesterday", "invalid_request", "from")]
    [InlineData("cron=@daily&from=0001-01-01T00:00:00%2B14:00", "invalid_request", "from")] // before the calendar, in UTC
    [InlineData("cron=0%200%2030%202%20*&from=9999-12-31T23:59:59Z", "invalid_cron", "cron")]
    [InlineData("cron=@daily&from=2026-02-30T00:00:00Z", "invalid_request", "from")]
    public async Task What_cannot_be_previewed_is_refused(string query, string code, string place)
    {
        var refused = (await http.Get($"/api/v1/schedules/preview?{query}")).IsProblem(422, code);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
    }

    [Fact]
    public async Task Another_tenant_sees_no_schedule_of_ours()
    {
        var (session, skill) = await Ready("ours", "/say x");
        var id = (await Planned(session, skill, """ "name":"ours","interval_seconds":3600,"start_in_seconds":3600 """))["schedule_id"];
        using var theirs = await tenant.Stranger("member");
        Assert.Empty((await theirs.Get("/scheduled-runs")).Is(200).Json.GetProperty("scheduled_runs").EnumerateArray());
        (await theirs.Get($"/scheduled-runs/{id}")).IsProblem(404, "not_found");
        (await theirs.Get($"/scheduled-runs/{id}/runs")).IsProblem(404, "not_found");
        foreach (var action in (string[])["trigger", "pause", "resume"])
        {
            (await theirs.Post($"/scheduled-runs/{id}/{action}")).IsProblem(404, "not_found");
        }
        (await theirs.Delete($"/scheduled-runs/{id}")).IsProblem(404, "not_found");
        (await theirs.Post("/scheduled-runs", $$"""{"name":"x","session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":60}""")).IsProblem(404, "not_found");
        using var reader = await tenant.Client("auditor");
        (await reader.Get($"/scheduled-runs/{id}")).Is(200);
        (await reader.Post($"/scheduled-runs/{id}/pause")).IsProblem(403, "role_missing");
    }

    [Fact]
    public async Task A_host_whose_scheduler_is_off_starts_nothing_by_itself()
    {
        await using var off = await LiveHost.Start(settings => settings with { Schedules = false });
        await off.Http.NewSession("s");
        var skill = (await off.Http.Post("/skills", """{"name":"x","prompt_template":"/say x"}""")).Is(201)["skill_id"];
        var made = (await off.Http.Post("/scheduled-runs", $$"""{"name":"x","session_id":"s","skill_id":"{{skill}}","interval_seconds":1}""")).Is(201);
        var id = made["schedule_id"];
        Assert.Equal("completed", (await off.Http.Post($"/scheduled-runs/{id}/trigger", """{"wait_for_completion":true}""")).Is(200)["status"]);
        // Long enough that a host that is on would have started two.
        await off.Http.Until("/health/ready", _ => TimeProvider.System.GetUtcNow() > Time(made, "created_at").AddSeconds(2));
        Assert.Equal("manual", Assert.Single(Runs((await off.Http.Get($"/scheduled-runs/{id}/runs")).Is(200))).GetProperty("mode").GetString());
    }

    [Theory]
    [InlineData(null, null, true)]
    [InlineData("true", "true", true)]
    [InlineData("false", null, false)]
    [InlineData(null, "false", false)]
    [InlineData("False", "true", false)]
    [InlineData("0", null, false)]
    public void The_scheduler_is_switched_off_by_either_name(string? anton, string? own, bool isOn) =>
        Assert.Equal(isOn, Read(anton, own).Schedules);

    [Fact]
    public void A_switch_that_is_neither_on_nor_off_is_refused() => Assert.Throws<ArgumentException>(() => Read("maybe", null));

    static HostSettings Read(string? anton, string? own) => HostSettings.Read([], new ConfigurationBuilder().AddInMemoryCollection(
        [new("ANTON_SERVICE_SCHEDULER_ENABLED", anton), new("Cowork:Scheduler:Enabled", own)]).Build());

    static DateTimeOffset Time(Got got, string member) => got.Json.GetProperty(member).GetDateTimeOffset();

    static List<JsonElement> Runs(Got ledger) => [.. ledger.Json.GetProperty("runs").EnumerateArray()];

    static bool Fired(JsonElement line) => line.GetProperty("outcome").GetString() == "fired";

    async Task<(string Session, string Skill)> Ready(string name, string template)
    {
        var session = await http.NewSession(name);
        var skill = (await http.Post("/skills", JsonSerializer.Serialize(new { name, prompt_template = template }))).Is(201)["skill_id"];
        return (session, skill);
    }

    async Task<Got> Planned(string session, string skill, string more) =>
        (await http.Post("/scheduled-runs", $$"""{"session_id":"{{session}}","skill_id":"{{skill}}",{{more}}}""")).Is(201);

    async Task<List<string>> Listed(string query) =>
        [.. (await http.Get($"/scheduled-runs{query}")).Is(200).Json.GetProperty("scheduled_runs").EnumerateArray().Select(s => s.GetProperty("schedule_id").GetString()!)];
}
