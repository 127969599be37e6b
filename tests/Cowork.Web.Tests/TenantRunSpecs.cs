using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>The runs of a tenant: filters, and pages that do not move while others write.</summary>
public sealed class TenantRunSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static List<string> Ids(Got page) => [.. page.Json.GetProperty("runs").EnumerateArray().Select(run => run.GetProperty("run_id").GetString()!)];

    /// <summary>All pages of a list, each by the cursor of the one before alone.</summary>
    async Task<List<string>> All(string query, HttpClient? by = null, int limit = 2)
    {
        var page = (await (by ?? http).Get($"/runs?limit={limit}&{query}")).Is(200);
        var found = Ids(page);
        while (page["next_cursor"] is { Length: > 0 } cursor)
        {
            page = (await (by ?? http).Get($"/runs?limit={limit}&cursor={cursor}")).Is(200);
            found.AddRange(Ids(page));
        }
        return found;
    }

    [Fact]
    public async Task A_list_has_the_beginning_of_a_long_message()
    {
        var by = (await tenant.Another()).Http;
        var run = (await by.Turn(await by.NewSession(), $"/say Größe {string.Concat(Enumerable.Repeat("ä", 50_000))}")).Is(200)["run_id"];
        var row = (await by.Get("/runs")).Is(200).Json.GetProperty("runs")[0];
        Assert.Equal(run, row.GetProperty("run_id").GetString());
        foreach (var (member, beginning) in ((string, string)[])[("message", "/say Größe äää"), ("reply", "Größe äää")])
        {
            var shown = row.GetProperty(member).GetString()!;
            Assert.StartsWith(beginning, shown, StringComparison.Ordinal);
            Assert.EndsWith("ä…", shown, StringComparison.Ordinal);
            Assert.True(shown.Length <= 300);
        }
    }

    [Fact]
    public async Task Runs_are_found_by_what_they_are_and_come_from()
    {
        var here = await tenant.Another();
        var by = here.Http;
        var project = (await by.Post("/api/v1/projects", """{"name":"p"}""")).Is(201)["id"];
        var inProject = (await by.Post("/api/v1/conversations", $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];
        var session = await by.NewSession();
        var said = (await by.Turn(session, "/say Grüße aus Köln")).Is(200)["run_id"];
        var failed = (await by.Turn(session, "/fail model_failed")).Is(200);
        Assert.Equal("failed", failed["status"]);
        var held = (await by.Turn(session, "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}")).Is(200)["run_id"];
        var elsewhere = (await by.Turn(inProject, "/say plain")).Is(200)["run_id"];
        var skill = (await by.Post("/skills", """{"name":"s","prompt_template":"/say of a skill"}""")).Is(201)["skill_id"];
        var first = (await by.Post($"/skills/{skill}/run", $$"""{"session_id":"{{inProject}}"}""")).Is(200)["run_id"];
        (await by.Post($"/skills/{skill}/versions", """{"prompt_template":"/say again"}""")).Is(201);
        var second = (await by.Post($"/skills/{skill}/run", $$"""{"session_id":"{{inProject}}"}""")).Is(200)["run_id"];
        var schedule = (await by.Post(
            "/scheduled-runs", $$"""{"name":"n","session_id":"{{inProject}}","skill_id":"{{skill}}","interval_seconds":3600,"active":false}""")).Is(201)["schedule_id"];
        var triggered = (await by.Post($"/scheduled-runs/{schedule}/trigger", """{"wait_for_completion":true}""")).Is(200)["run_id"];
        // What lists by skill and schedule follows the log.
        await by.Until($"/runs?schedule_id={schedule}", page => Ids(page).Count == 1);

        List<string> all = [triggered, second, first, elsewhere, held, failed["run_id"], said];
        Assert.Equal(all, await All(""));
        Assert.Equal(all, await All("", limit: 200));
        Assert.Equal([failed["run_id"]], await All("status=failed"));
        Assert.Equal([held, failed["run_id"]], await All("status=approval_required,failed"));
        Assert.Equal([triggered, second, first, elsewhere, said], await All("status=completed"));
        Assert.Equal([triggered, second, first, elsewhere, failed["run_id"], said], await All("status=completed,failed"));
        Assert.Equal([held, failed["run_id"], said], await All($"session_id={session}"));
        Assert.Equal([failed["run_id"]], await All($"session_id={session}&status=failed,cancelled"));
        Assert.Equal([triggered, second, first, elsewhere], await All($"project_id={project}"));
        Assert.Equal([triggered, second, first], await All($"skill_id={skill}"));
        Assert.Equal([triggered, second], await All($"skill_id={skill}&skill_version=2"));
        Assert.Equal([first], await All($"skill_id={skill}&skill_version=1&status=completed"));
        Assert.Equal([triggered], await All($"schedule_id={schedule}"));
        Assert.Equal([triggered], await All("source=schedule"));
        Assert.Equal([second, first], await All("source=skill"));
        Assert.Equal([elsewhere, held, failed["run_id"], said], await All("source=message"));
        Assert.Equal(all, await All("model=offline&lineage=none"));
        Assert.Empty(await All("model=other"));
        Assert.Empty(await All("lineage=any"));
        Assert.Equal([said], await All("q=GR%C3%9C%20k%C3%B6ln"));
        Assert.Equal([triggered, second, first, elsewhere, said], await All("q=say&status=completed"));
        var moment = (await by.Get($"/runs/{elsewhere}"))["created_at"];
        Assert.Equal([triggered, second, first, elsewhere], await All($"since={moment}"));
        Assert.Equal([held, failed["run_id"], said], await All($"until={moment}"));
        Assert.Equal(all, await All("since=0001-01-01&until=9999-12-31"));

        // As it was: the run that waits now was not there.
        var before = (await by.Get($"/runs/{failed["run_id"]}/steps")).Is(200)["as_of_gid"];
        Assert.Equal([failed["run_id"], said], await All($"as_of={before}"));
        Assert.Equal("running", (await by.Get($"/runs?limit=1&as_of={long.Parse(before, System.Globalization.CultureInfo.InvariantCulture) - 1}")).Is(200)
            .Json.GetProperty("runs")[0].GetProperty("status").GetString());

        var row = (await by.Get($"/runs?skill_id={skill}&skill_version=1")).Is(200).Json.GetProperty("runs")[0];
        Assert.Equal(
            ["run_id", "session_id", "status", "model", "message", "reply", "error", "pending_approval_ids", "requested_by", "source", "skill_id", "skill_version", "schedule_id",
                "skills", "lineage", "attempt", "stop_reason", "cancel_requested", "total_tokens", "input_tokens", "output_tokens", "tool_calls", "cost_usd", "created_at",
                "started_at", "completed_at", "updated_at", "gid", "version"],
            row.EnumerateObject().Select(member => member.Name));
        Assert.Equal(("/say of a skill", "of a skill", "user:local", "skill"), (Text("message"), Text("reply"), Text("requested_by"), Text("source")));
        string? Text(string name) => row.GetProperty(name).GetString();

        (await by.Delete($"/sessions/{session}")).Is(204);
        Assert.Equal([triggered, second, first, elsewhere], await All(""));

        async Task<List<string>> All(string query, int limit = 2) => await this.All(query, by, limit);
    }

    [Theory]
    [InlineData("status=done")]
    [InlineData("status=")]
    [InlineData("skill_version=1")]
    [InlineData("source=x")]
    [InlineData("lineage=x")]
    [InlineData("since=yesterday")]
    [InlineData("limit=201")]
    [InlineData("limit=0")]
    [InlineData("session_id=a%20b")]
    [InlineData("as_of=x")]
    public async Task A_filter_that_cannot_be_read_is_refused(string query) => (await http.Get($"/runs?{query}")).IsProblem(422, "invalid_request");

    [Fact]
    public async Task A_cursor_is_of_one_list_one_tenant_and_one_filter()
    {
        var session = await http.NewSession();
        for (var i = 0; i < 3; i++)
        {
            (await http.Turn(session, "/say ok")).Is(200);
        }
        var query = $"session_id={session}&status=completed";
        var cursor = (await http.Get($"/runs?{query}&limit=1")).Is(200)["next_cursor"];
        (await http.Get($"/runs?{query}&limit=1&cursor={cursor}")).Is(200);
        (await http.Get($"/runs?limit=100&cursor={cursor}")).Is(200);
        (await http.Get($"/runs?session_id={session}&status=failed&cursor={cursor}")).IsProblem(422, "unknown_cursor");
        (await http.Get($"/runs?q=ok&cursor={cursor}")).IsProblem(422, "unknown_cursor");
        (await http.Get($"/sessions/{session}/runs?cursor={cursor}")).IsProblem(422, "unknown_cursor");
        (await http.Get($"/runs?cursor={(cursor[9] == 'A' ? $"{cursor[..9]}B{cursor[10..]}" : $"{cursor[..9]}A{cursor[10..]}")}")).IsProblem(422, "unknown_cursor");
        (await http.Get("/runs?cursor=AAAA")).IsProblem(422, "unknown_cursor");
        using var stranger = await tenant.Stranger("member", "admin");
        (await stranger.Get($"/runs?cursor={cursor}")).IsProblem(422, "unknown_cursor");
    }

    [Fact]
    public async Task Pages_show_each_run_of_the_first_pages_moment_once_while_others_write()
    {
        var seed = Seeds.One(18);
        var random = new Random(seed);
        var here = await tenant.Another();
        string[] sessions = [await here.Http.NewSession(), await here.Http.NewSession(), await here.Http.NewSession()];
        for (var i = 0; i < 30; i++)
        {
            (await here.Http.Turn(sessions[i % 3], "/say ok")).Is(200);
        }
        using var over = new CancellationTokenSource();
        var writing = Task.Run(async () =>
        {
            for (var i = 0; !over.IsCancellationRequested; i++)
            {
                (await here.Http.Turn(sessions[i % 3], "/say new")).Is(200);
            }
        });
        for (var round = 0; round < 5; round++)
        {
            foreach (var filter in (string[])["", "status=completed,failed&", $"session_id={sessions[1]}&"])
            {
                var page = (await here.Http.Get($"/runs?{filter}limit={random.Next(1, 12)}")).Is(200);
                var (moment, found) = (page["as_of_gid"], new List<(long Gid, string Id)>());
                while (true)
                {
                    found.AddRange(page.Json.GetProperty("runs").EnumerateArray().Select(run => (run.GetProperty("gid").GetInt64(), run.GetProperty("run_id").GetString()!)));
                    Assert.Equal(moment, page["as_of_gid"]);
                    if (page["next_cursor"] is not { Length: > 0 } cursor)
                    {
                        break;
                    }
                    page = (await here.Http.Get($"/runs?limit={random.Next(1, 12)}&cursor={cursor}")).Is(200);
                }
                Assert.Equal(found.OrderByDescending(run => run.Gid).DistinctBy(run => run.Id), found);
                Assert.All(found, run => Assert.True(run.Gid <= long.Parse(moment, System.Globalization.CultureInfo.InvariantCulture)));
                // Each that was there then, as the log has it. One that had not completed then may have since.
                var log = (await here.Http.Get($"/runs?{filter.Replace("status=completed,failed&", "", StringComparison.Ordinal)}limit=200&as_of={moment}")).Is(200);
                var wanted = Ids(log);
                var missing = wanted.Except(found.Select(run => run.Id)).ToList();
                Assert.True(missing.Count <= (filter.StartsWith("status", StringComparison.Ordinal) ? 1 : 0), $"seed {seed}: {string.Join(' ', missing)}");
                Assert.Empty(found.Select(run => run.Id).Except(wanted));
            }
        }
        await over.CancelAsync();
        await writing;
    }
}
