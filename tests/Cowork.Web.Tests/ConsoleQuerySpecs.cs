using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>What a console asks beside runs: one stream, figures over time, what comes next, searches and the rules.</summary>
public sealed class ConsoleQuerySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task One_stream_has_what_its_reader_sees_of_all_sessions_and_resumes()
    {
        var here = await tenant.Another();
        using var member = await here.Client("member");
        var since = (await here.Http.Get("/runs/counts")).Is(200)["as_of_gid"];
        var group = (await here.Http.Post("/groups", """{"title":"t","is_private":true}""")).Is(201)["group_id"];
        (await here.Http.Post($"/groups/{group}/messages", """{"text":"/say hidden"}""")).Is(202);
        (await here.Http.Post("/tokens", """{"name":"more"}""")).Is(201);
        var (first, second) = (await member.NewSession(), await here.Http.NewSession());
        var ran = (await member.Turn(first, "/say one")).Is(200)["run_id"];
        (await here.Http.Turn(second, "/say two")).Is(200);

        await using var all = await EventReader.Open(here.Http, $"/stream?since_id={since}");
        await using var theirs = await EventReader.Open(member, $"/stream?since_id={since}");
        await using var some = await EventReader.Open(member, $"/stream?types=run_completed,run_created&session_id={first}&since_id={since}");
        var seenByAll = await Until(all, second);
        var seen = await Until(theirs, second);
        Assert.Contains(seenByAll, e => e.GetProperty("session_id").GetString() == "sess_" + group["grp_".Length..]);
        Assert.Contains(seenByAll, e => e.GetProperty("type").GetString() == "token_issued");
        Assert.Equal(
            seenByAll.Where(e => e.GetProperty("session_id").GetString() is { } of && (of == first || of == second)).Select(e => e.GetRawText()), seen.Select(e => e.GetRawText()));
        Assert.Equal(["run_created", "run_completed"], (await Until(some, first)).Select(e => e.GetProperty("type").GetString()));
        Assert.Contains(seen, e => e.GetProperty("run_id").GetString() == ran);

        var middle = seen[3].GetProperty("gid").GetInt64();
        await using var rest = await EventReader.Open(member, "/stream", middle);
        Assert.Equal(seen.Skip(4).Select(e => e.GetRawText()), (await Until(rest, second)).Select(e => e.GetRawText()));
        (await member.Get($"/stream?since_id={long.MaxValue}")).IsProblem(422, "cursor_ahead");

        async Task<List<JsonElement>> Until(EventReader reader, string session)
        {
            using var timeout = new CancellationTokenSource(Patience.Limit);
            var found = new List<JsonElement>();
            while (!found.Exists(e => e.GetProperty("session_id").GetString() == session && e.GetProperty("type").GetString() == "run_completed"))
            {
                var e = (await reader.Next(timeout.Token))!.Value;
                if (e.Type != "cursor")
                {
                    found.Add(e.Data);
                }
            }
            return found;
        }
    }

    [Fact]
    public async Task Counts_and_series_are_what_the_runs_were_and_say_up_to_which_event()
    {
        var here = await tenant.Another();
        var session = await here.Http.NewSession();
        (await here.Http.Turn(session, "/say ok")).Is(200);
        (await here.Http.Turn(session, "/fail model_failed")).Is(200);
        (await here.Http.Turn(session, "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}")).Is(200);
        var counts = await here.Http.Until("/runs/counts", got => got["approval_required"] == "1");
        Assert.Equal(("0", "0", "1", "1", "0", "3"), (counts["queued"], counts["running"], counts["completed"], counts["failed"], counts["cancelled"], counts["total"]));
        foreach (var (bucket, points) in ((string, int)[])[("1m", 24), ("5m", 24), ("15m", 24), ("1h", 24), ("6h", 24), ("1d", 24)])
        {
            var series = (await here.Http.Get($"/metrics/series?bucket={bucket}")).Is(200);
            var all = series.Json.GetProperty("points").EnumerateArray().ToList();
            Assert.Equal((bucket, points), (series["bucket"], all.Count));
            Assert.Equal((3L, 1L, 1L), (Sum("created"), Sum("completed"), Sum("failed")));
            Assert.Equal(2, all.Sum(point => point.GetProperty("latency").GetProperty("execution").GetProperty("count").GetInt64()));
            Assert.True(Sum("total_tokens") > 0 && Sum("total_tokens") == Sum("input_tokens") + Sum("output_tokens"));
            Assert.All(all.Zip(all.Skip(1)), pair => Assert.Equal(pair.First.GetProperty("to").GetString(), pair.Second.GetProperty("from").GetString()));
            long Sum(string name) => all.Sum(point => point.GetProperty(name).GetInt64());
        }
        foreach (var bad in (string[])["bucket=2h", "from=x", "from=2026-01-02&to=2026-01-01", "from=2020-01-01&bucket=1m", "from=0001-01-01&to=9999-12-31&bucket=1d"])
        {
            (await here.Http.Get($"/metrics/series?{bad}")).IsProblem(422, "invalid_request");
        }
        Assert.Equal("10", (await here.Http.Get("/budget")).Is(200)["daily_limit_usd"]);
    }

    [Fact]
    public async Task The_next_slots_of_all_schedules_come_soonest_first()
    {
        var here = await tenant.Another();
        var session = await here.Http.NewSession();
        var skill = (await here.Http.Post("/skills", """{"name":"s","prompt_template":"/say ok"}""")).Is(201)["skill_id"];
        foreach (var (name, start, active) in ((string, int, string)[])[("later", 7200, "true"), ("soon", 600, "true"), ("paused", 60, "false")])
        {
            (await here.Http.Post(
                "/scheduled-runs",
                $$"""{"name":"{{name}}","session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":3600,"start_in_seconds":{{start}},"active":{{active}}}""")).Is(201);
        }
        var slots = (await here.Http.Get("/schedules/upcoming")).Is(200).Json.GetProperty("slots").EnumerateArray().ToList();
        Assert.Equal(["soon", "later"], slots.Select(slot => slot.GetProperty("name").GetString()));
        Assert.Equal((session, skill), (slots[0].GetProperty("session_id").GetString(), slots[0].GetProperty("skill_id").GetString()));
        Assert.Single((await here.Http.Get("/schedules/upcoming?limit=1")).Is(200).Json.GetProperty("slots").EnumerateArray());
        (await here.Http.Get("/schedules/upcoming?limit=0")).IsProblem(422, "invalid_request");
    }

    [Fact]
    public async Task A_schedule_s_ledger_says_what_was_done_to_it_and_what_became_of_its_times()
    {
        var here = await tenant.Another();
        var session = await here.Http.NewSession();
        var skill = (await here.Http.Post("/skills", """{"name":"s","prompt_template":"/say ok"}""")).Is(201)["skill_id"];
        var schedule = (await here.Http.Post(
            "/scheduled-runs", $$"""{"name":"often","session_id":"{{session}}","skill_id":"{{skill}}","interval_seconds":3600,"params":{"a":1} }""")).Is(201)["schedule_id"];
        await here.Http.Until($"/schedules/{schedule}/ledger", got => got.Json.GetProperty("entries").GetArrayLength() == 2);
        (await here.Http.Post($"/scheduled-runs/{schedule}/trigger", """{"wait_for_completion":true}""")).Is(200);
        (await here.Http.Post($"/scheduled-runs/{schedule}/pause")).Is(200);
        (await here.Http.Post($"/scheduled-runs/{schedule}/resume")).Is(200);
        var ledger = (await here.Http.Get($"/schedules/{schedule}/ledger")).Is(200).Json;
        var entries = ledger.GetProperty("entries").EnumerateArray().ToList();
        Assert.Equal(["resumed", "paused", "triggered", "fired", "created"], entries.Select(entry => entry.GetProperty("kind").GetString()));
        Assert.Equal([5, 4, 3, 2, 1], entries.Select(entry => entry.GetProperty("version").GetInt32()));
        Assert.Equal("completed", entries[2].GetProperty("status").GetString());
        Assert.NotEqual(JsonValueKind.Null, entries[3].GetProperty("slot").ValueKind);
        Assert.Equal(ledger.GetProperty("schedule").GetProperty("next_run_at").GetString(), entries[0].GetProperty("next_run_at").GetString());
        Assert.Equal((3600, "often", 1), (
            ledger.GetProperty("schedule").GetProperty("interval_seconds").GetInt32(), ledger.GetProperty("schedule").GetProperty("name").GetString(),
            ledger.GetProperty("schedule").GetProperty("params").GetProperty("a").GetInt32()));
        var first = (await here.Http.Get($"/schedules/{schedule}/ledger?limit=3")).Is(200);
        var rest = (await here.Http.Get($"/schedules/{schedule}/ledger?limit=3&before={first["next_before"]}")).Is(200);
        Assert.Equal(
            entries.Select(entry => entry.GetRawText()),
            first.Json.GetProperty("entries").EnumerateArray().Concat(rest.Json.GetProperty("entries").EnumerateArray()).Select(entry => entry.GetRawText()));
        Assert.Equal(JsonValueKind.Null, rest.Json.GetProperty("next_before").ValueKind);

        var prompt = (await here.Http.Post("/api/v1/schedules", """{"project_id":"proj_00000000000000000000000000","cron":"30 2 * * *","timezone":"Europe/Berlin","prompt":"/say night"}""")).Is(201)["id"];
        var other = (await here.Http.Get($"/schedules/{prompt}/ledger")).Is(200).Json.GetProperty("schedule");
        Assert.Equal(("30 2 * * *", "Europe/Berlin", "/say night"), (
            other.GetProperty("cron").GetString(), other.GetProperty("timezone").GetString(), other.GetProperty("prompt").GetString()));
        (await here.Http.Delete($"/scheduled-runs/{schedule}")).Is(204);
        (await here.Http.Get($"/schedules/{schedule}/ledger")).IsProblem(404, "not_found");
        (await http.Get($"/schedules/{prompt}/ledger")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Artifacts_of_all_sessions_that_the_reader_sees_come_in_pages_newest_first()
    {
        var here = await tenant.Another();
        var (first, second) = (await here.Http.NewSession(), await here.Http.NewSession());
        foreach (var (session, name) in ((string, string)[])[(first, "a.txt"), (second, "b.csv"), (first, "c")])
        {
            (await here.Http.Turn(session, $$"""/tool write_file {"path":".anton/output/{{name}}","content":"{{name}}"}""")).Is(200);
        }
        Assert.Equal(["c", "b.csv", "a.txt"], await Names("/artifacts"));
        Assert.Equal(["c", "a.txt"], await Names($"/artifacts?session_id={first}"));
        var page = (await here.Http.Get("/artifacts?limit=2")).Is(200);
        var next = (await here.Http.Get($"/artifacts?limit=2&cursor={page["next_cursor"]}")).Is(200);
        Assert.Equal((2, 1), (page.Json.GetProperty("artifacts").GetArrayLength(), next.Json.GetProperty("artifacts").GetArrayLength()));
        Assert.Equal((JsonValueKind.Null, "file"), (
            next.Json.GetProperty("next_cursor").ValueKind, page.Json.GetProperty("artifacts")[0].GetProperty("kind").GetString()));
        Assert.DoesNotContain("b.csv", await Names("/artifacts", http));
        (await http.Get($"/artifacts?session_id={first}")).IsProblem(404, "not_found");
        (await here.Http.Delete($"/sessions/{second}")).Is(204);
        Assert.Equal(["c", "a.txt"], await Names("/artifacts"));

        async Task<List<string?>> Names(string path, HttpClient? by = null) =>
            [.. (await (by ?? here.Http).Get(path)).Is(200).Json.GetProperty("artifacts").EnumerateArray().Select(artifact => Path.GetFileName(artifact.GetProperty("path").GetString()))];
    }

    [Fact]
    public async Task One_search_finds_messages_replies_titles_and_memories_that_the_reader_sees()
    {
        var here = await tenant.Another();
        using var member = await here.Client("member");
        var session = await here.Http.NewSession();
        var run = (await here.Http.Turn(session, "/say The churn of cohort seven")).Is(200)["run_id"];
        var group = (await here.Http.Post("/groups", """{"title":"t","is_private":true}""")).Is(201)["group_id"];
        (await here.Http.Post($"/groups/{group}/messages", """{"text":"/say secret churn"}""")).Is(202);
        var found = await here.Http.Until(
            "/search?q=churn&limit=100", got => got.Json.GetProperty("hits").EnumerateArray().Select(hit => hit.GetProperty("kind").GetString()).Distinct().Count() == 4);
        Assert.Contains(found.Json.GetProperty("hits").EnumerateArray(), hit => hit.GetProperty("kind").GetString() == "replies" && hit.GetProperty("run_id").GetString() == run);
        Assert.DoesNotContain("secret", (await member.Get("/search?q=churn&limit=100")).Is(200).Text, StringComparison.Ordinal);
        Assert.All(
            (await here.Http.Get("/search?q=churn&kinds=replies")).Is(200).Json.GetProperty("hits").EnumerateArray(),
            hit => Assert.Equal(("replies", "assistant"), (hit.GetProperty("kind").GetString(), hit.GetProperty("role").GetString())));
        (await here.Http.Get("/search?q=churn&kinds=x")).IsProblem(422, "invalid_request");
        (await here.Http.Delete($"/sessions/{session}")).Is(204);
        Assert.DoesNotContain("seven", (await here.Http.Get("/search?q=churn&limit=100")).Is(200).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Operators_see_how_many_jobs_of_each_kind_there_are_and_when_the_next_is_due()
    {
        var here = await tenant.Another();
        (await here.Http.Turn(await here.Http.NewSession(), "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}")).Is(200);
        var jobs = (await here.Host.Http.Get("/engine/jobs")).Is(200).Json.GetProperty("jobs").EnumerateArray().ToList();
        var expiry = jobs.Single(job => job.GetProperty("kind").GetString() == "approval_expiry");
        Assert.True(expiry.GetProperty("later").GetInt64() >= 1 && expiry.GetProperty("next_due_at").GetDateTimeOffset() > TimeProvider.System.GetUtcNow());
        Assert.Equal(jobs.Select(job => job.GetProperty("kind").GetString()).Order(StringComparer.Ordinal), jobs.Select(job => job.GetProperty("kind").GetString()));
    }

    [Fact]
    public async Task Memories_of_all_sessions_that_the_reader_sees_come_newest_first_by_pages()
    {
        var here = await tenant.Another();
        using var member = await here.Client("member");
        var (one, two) = (await here.Http.NewSession(), await here.Http.NewSession());
        var run = (await here.Http.Turn(one, "/tool remember {\"content\":\"Mara signs.\"}\n/say ok")).Is(200)["run_id"];
        (await here.Http.Turn(two, "/tool remember {\"content\":\"Bob counts.\"}\n/say ok")).Is(200);
        (await here.Http.Post("/api/v1/memories", """{"content":"Years begin in April."}""")).Is(201);
        var group = (await here.Http.Post("/groups", """{"title":"t","is_private":true}""")).Is(201)["group_id"];
        (await here.Http.Post($"/groups/{group}/messages", """{"text":"/tool remember {\"content\":\"hidden\"}\n/say ok"}""")).Is(202);
        var all = await here.Http.Until("/memories?limit=200", got => got.Text.Contains("\"content\":\"hidden\"", StringComparison.Ordinal));
        var facts = Contents(await here.Http.Get("/memories?kind=memory"));
        Assert.Equal(["hidden", "Years begin in April.", "Bob counts.", "Mara signs."], facts);
        Assert.Equal(["Years begin in April.", "Bob counts.", "Mara signs."], Contents(await member.Get("/memories?kind=memory")));
        var mara = all.Json.GetProperty("memories").EnumerateArray().Single(memory => memory.GetProperty("content").GetString() == "Mara signs.");
        Assert.Equal((one, run), (mara.GetProperty("session_id").GetString(), mara.GetProperty("run_id").GetString()));
        var paged = new List<string?>();
        for (string? cursor = ""; cursor is not null;)
        {
            var page = (await member.Get(cursor.Length == 0 ? "/memories?kind=memory&limit=1" : $"/memories?cursor={cursor}&limit=1")).Is(200);
            paged.AddRange(Contents(page));
            cursor = page.Json.GetProperty("next_cursor").GetString();
        }
        Assert.Equal(["Years begin in April.", "Bob counts.", "Mara signs."], paged);
        (await here.Http.Delete($"/sessions/{two}")).Is(204);
        Assert.Equal(["Years begin in April.", "Mara signs."], Contents(await member.Get("/memories?kind=memory")));
        (await here.Http.Get("/memories?kind=x")).IsProblem(422, "invalid_request");
        (await here.Http.Get("/memories?cursor=x")).IsProblem(422, "unknown_cursor");

        static List<string?> Contents(Got answer) => [.. answer.Is(200).Json.GetProperty("memories").EnumerateArray().Select(memory => memory.GetProperty("content").GetString())];
    }

    [Theory]
    [InlineData("member")]
    [InlineData("approver")]
    [InlineData("auditor")]
    [InlineData("admin")]
    public async Task The_operations_that_a_role_opens_are_those_that_its_callers_may_call(string role)
    {
        using var caller = await tenant.Client(role);
        var operations = (await caller.Get("/roles")).Is(200).Json.GetProperty("operations").EnumerateArray().ToList();
        var opened = operations.Where(operation =>
            !operation.GetProperty("for_operators").GetBoolean()
            && operation.GetProperty("roles").EnumerateArray().Select(one => one.GetString()).ToList() is var roles && (roles.Count == 0 || roles.Contains(role)));
        Assert.Equal(
            (await caller.Get("/me")).Is(200).Json.GetProperty("operations").EnumerateArray().Select(operation => operation.GetString()),
            opened.Select(operation => operation.GetProperty("operation").GetString()).Order(StringComparer.Ordinal));
        var issue = operations.Single(operation => operation.GetProperty("operation").GetString() == "issueToken");
        Assert.Equal(("POST", "/tokens", "Tokens"), (issue.GetProperty("method").GetString(), issue.GetProperty("path").GetString(), issue.GetProperty("tag").GetString()));
    }

    [Fact]
    public async Task A_call_is_held_against_the_rules_and_nothing_is_done()
    {
        var session = await http.NewSession();
        var asked = (await http.Post("/policy/check", $$$"""{"tool":"write_file","session_id":"{{{session}}}","input":{"path":"a.txt","content":"x"}}""")).Is(200);
        Assert.Equal(("confirm", "create_inside"), (asked["outcome"], asked["rule"]));
        Assert.Equal(
            ["create_inside"], asked.Json.GetProperty("rules").EnumerateArray().Where(rule => rule.GetProperty("matches").GetBoolean()).Select(rule => rule.GetProperty("name").GetString()));
        Assert.Equal(
            "allow", (await http.Post("/policy/check", $$$"""{"tool":"write_file","session_id":"{{{session}}}","input":{"path":".anton/output/a.txt","content":"x"}}""")).Is(200)["outcome"]);
        Assert.Equal("secret_path", (await http.Post("/policy/check", $$$"""{"tool":"read_file","session_id":"{{{session}}}","input":{"path":".env"}}""")).Is(200)["rule"]);
        Assert.Equal("invalid_input", (await http.Post("/policy/check", $$"""{"tool":"nothing","session_id":"{{session}}"}""")).Is(200)["rule"]);
        Assert.Single(await http.Events(session));
        (await http.Post("/policy/check", """{"tool":"read_file","session_id":"nobody"}""")).IsProblem(404, "not_found");
        (await http.Post("/policy/check", """{"tool":" ","session_id":"x","input":3}""")).IsProblem(422, "invalid_request");
        using var member = await tenant.Client("member");
        (await member.Post("/policy/check", $$"""{"tool":"read_file","session_id":"{{session}}"}""")).IsProblem(403, "role_missing");
    }
}
