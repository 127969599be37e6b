using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Schedules over HTTP as contract B has them.</summary>
public sealed class PlatformScheduleSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Schedules = "/api/v1/schedules";

    /// <summary>Comes due at no time of a test.</summary>
    const string Yearly = "0 0 1 1 *";

    readonly HttpClient http = tenant.Http;

    async Task<string> NewProject() => (await http.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    static string Body(string project, string prompt = "/say done", string cron = Yearly, string more = "") =>
        $$"""{"project_id":"{{project}}","cron":"{{cron}}","prompt":"{{prompt}}"{{more}}}""";

    Task<Got> Patch(string id, string body) => http.Send(HttpMethod.Patch, $"{Schedules}/{id}", body);

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    async Task<string> Ids(string query) => string.Join(
        ' ', (await http.Get($"{Schedules}?{query}")).Is(200).Json.GetProperty("data").EnumerateArray().Select(schedule => schedule.GetProperty("id").GetString()));

    [Fact]
    public async Task A_schedule_is_created_listed_shown_changed_paused_resumed_and_deleted()
    {
        var project = await NewProject();
        var made = (await http.Post(Schedules, Body(project, "Generate weekly sales digest", "0 9 * * 1", ""","timezone":"America/New_York" """))).Is(201);
        var id = made["id"];
        Assert.StartsWith("sched_", id, StringComparison.Ordinal);
        Assert.Equal($"{Schedules}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(
            ["id", "project_id", "cron", "timezone", "prompt", "conversation_id", "status", "misfire", "overlap", "last_run_at", "next_run_at", "created_at", "updated_at"],
            Members(made.Json));
        Assert.Equal(
            (project, "0 9 * * 1", "America/New_York", "Generate weekly sales digest", "", "active", "one", "skip", ""),
            (made["project_id"], made["cron"], made["timezone"], made["prompt"], made["conversation_id"], made["status"], made["misfire"], made["overlap"], made["last_run_at"]));
        var preview = (await http.Get($"{Schedules}/preview?cron=0%209%20*%20*%201&timezone=America/New_York&count=1&from={made["created_at"]}")).Is(200);
        Assert.Equal(preview.Json.GetProperty("next")[0].GetString(), made["next_run_at"]);
        Assert.Equal(made.Text, (await http.Get($"{Schedules}/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get($"{Schedules}?project_id={project}")).Is(200).Json.GetProperty("data")[0].GetRawText());

        var changed = (await Patch(id, $$"""{"cron":"{{Yearly}}","timezone":"UTC","overlap":"queue"}""")).Is(200);
        Assert.Equal(
            (Yearly, "UTC", "Generate weekly sales digest", "one", "queue"), (changed["cron"], changed["timezone"], changed["prompt"], changed["misfire"], changed["overlap"]));
        Assert.EndsWith("-01-01T00:00:00.000Z", changed["next_run_at"], StringComparison.Ordinal);
        Assert.Equal(changed.Text, (await Patch(id, "{}")).Is(200).Text);
        var paused = (await Patch(id, """{"status":"paused","prompt":"/say again"}""")).Is(200);
        Assert.Equal(("paused", "", "/say again"), (paused["status"], paused["next_run_at"], paused["prompt"]));
        Assert.Equal(("", id), (await Ids($"project_id={project}&status=active"), await Ids($"project_id={project}&status=paused")));
        Assert.Equal(changed["next_run_at"], (await Patch(id, """{"status":"active"}""")).Is(200)["next_run_at"]);

        (await http.Delete($"{Schedules}/{id}")).Is(204);
        foreach (var gone in (Got[])[
            await http.Get($"{Schedules}/{id}"), await Patch(id, "{}"), await http.Delete($"{Schedules}/{id}"), await http.Get($"{Schedules}/{id}/runs"),
            await http.Post($"{Schedules}/{id}/run", "{}")])
        {
            gone.IsProblem(404, "not_found");
        }
    }

    [Fact]
    public async Task A_run_by_hand_answers_as_a_response_and_stands_in_the_ledger()
    {
        var project = await NewProject();
        var id = (await http.Post(Schedules, Body(project))).Is(201)["id"];
        var run = (await http.Post($"{Schedules}/{id}/run", "{}", ("Prefer", "wait=30"))).Is(200);
        Assert.Equal(("completed", "/say done", id), (run["status"], run["input"], run["schedule_id"]));
        Assert.Equal($"/api/v1/responses/{run["id"]}", run.Headers.Location!.ToString());
        Assert.Equal(run.Text, (await http.Get($"/api/v1/responses/{run["id"]}")).Is(200).Text);
        var conversation = (await http.Get($"/api/v1/conversations/{run["conversation_id"]}")).Is(200);
        Assert.Equal((project, "/say done"), (conversation["project_id"], conversation["title"]));
        Assert.Equal(id, (await http.Get($"/runs/{run["id"]}")).Is(200)["schedule_id"]);

        (string, string)[] key = [("Idempotency-Key", "run-1"), ("Prefer", "wait=30")];
        var once = (await http.Post($"{Schedules}/{id}/run", "{}", key)).Is(200);
        Assert.Equal(once["id"], (await http.Post($"{Schedules}/{id}/run", "{}", key)).Is(200)["id"]);
        Assert.NotEqual(run["conversation_id"], once["conversation_id"]);
        Assert.Equal("2", (await http.Get($"/api/v1/conversations?project_id={project}")).Is(200)["total"]);

        var ledger = (await http.Get($"{Schedules}/{id}/runs")).Is(200);
        Assert.Equal(["object", "data", "limit", "offset", "has_more"], Members(ledger.Json));
        var older = (await http.Get($"{Schedules}/{id}/runs?offset=1&limit=1")).Is(200);
        Assert.Equal((ledger.Json.GetProperty("data")[1].GetRawText(), "False"), (older.Json.GetProperty("data")[0].GetRawText(), older["has_more"]));
        Assert.Equal(2, ledger.Json.GetProperty("data").GetArrayLength());
        var line = ledger.Json.GetProperty("data")[1];
        Assert.Equal(
            ["slot", "through", "count", "outcome", "mode", "response_id", "conversation_id", "status", "reason", "detail", "decided_at"], Members(line));
        Assert.Equal(
            ("fired", "manual", run["id"], run["conversation_id"], "completed"),
            (line.GetProperty("outcome").GetString(), line.GetProperty("mode").GetString(), line.GetProperty("response_id").GetString(),
                line.GetProperty("conversation_id").GetString(), line.GetProperty("status").GetString()));
        Assert.Equal(("1", "True"), ((await http.Get($"{Schedules}/{id}/runs?limit=1")).Is(200)["limit"], (await http.Get($"{Schedules}/{id}/runs?limit=1"))["has_more"]));
        Assert.NotEqual("", (await http.Get($"{Schedules}/{id}")).Is(200)["last_run_at"]);
    }

    [Fact]
    public async Task A_run_that_goes_on_is_answered_with_202_and_goes_on_with_its_conversation()
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        var made = (await http.Post(Schedules, Body(project, "/sleep 60000", more: $",\"conversation_id\":\"{conversation}\""))).Is(201);
        Assert.Equal(conversation, made["conversation_id"]);
        var run = (await http.Post($"{Schedules}/{made["id"]}/run", "{}")).Is(202);
        Assert.Equal(("in_progress", conversation), (run["status"], run["conversation_id"]));
        (await http.Post($"/api/v1/responses/{run["id"]}/cancel", "{}")).Is(200);
        (await http.Delete($"/api/v1/conversations/{conversation}")).Is(204);
        (await http.Post($"{Schedules}/{made["id"]}/run", "{}")).IsProblem(404, "not_found");
    }

    [Theory]
    [InlineData("""{"cron":"0 9 * * 1","prompt":"x"}""", "$.project_id")]
    [InlineData("""{"project_id":"ID","prompt":"x"}""", "$.cron")]
    [InlineData("""{"project_id":"ID","cron":"","prompt":"x"}""", "$.cron")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * *","prompt":"x"}""", "$.cron")]
    [InlineData("""{"project_id":"ID","cron":"0 0 9 * * 1","prompt":"x"}""", "$.cron")]
    [InlineData("""{"project_id":"ID","cron":"0 0 30 2 *","prompt":"x"}""", "$.cron")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1"}""", "$.prompt")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1","prompt":" "}""", "$.prompt")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1","prompt":"x","timezone":"Mars/Base"}""", "$.timezone")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1","prompt":"x","misfire":"two"}""", "$.misfire")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1","prompt":"x","overlap":"never"}""", "$.overlap")]
    [InlineData("""{"project_id":"ID","cron":"0 9 * * 1","prompt":"x","conversation_id":"OTHER"}""", "$.conversation_id")]
    [InlineData("""{"project_id":"no project","cron":"0 9 * * 1","prompt":"x"}""", "$.project_id")]
    public async Task A_schedule_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        body = body.Replace("ID", await NewProject(), StringComparison.Ordinal).Replace("OTHER", await NewConversation(), StringComparison.Ordinal);
        var refused = (await http.Post(Schedules, body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
    }

    [Theory]
    [InlineData("""{"cron":null}""", "$.cron")]
    [InlineData("""{"cron":"0 9 * *"}""", "$.cron")]
    [InlineData("""{"prompt":""}""", "$.prompt")]
    [InlineData("""{"timezone":"Mars/Base"}""", "$.timezone")]
    [InlineData("""{"timezone":null}""", "$.timezone")]
    [InlineData("""{"status":"asleep"}""", "$.status")]
    [InlineData("""{"status":null}""", "$.status")]
    [InlineData("""{"misfire":null}""", "$.misfire")]
    [InlineData("""{"overlap":"never"}""", "$.overlap")]
    public async Task A_change_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var id = (await http.Post(Schedules, Body(await NewProject()))).Is(201)["id"];
        var refused = (await Patch(id, body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
    }

    [Fact]
    public async Task What_is_not_there_is_not_found_and_lists_without_sense_are_refused()
    {
        (await http.Post(Schedules, Body("proj_01k9golden0000000000000000"))).IsProblem(404, "not_found");
        (await http.Post(Schedules, Body(await NewProject(), more: ""","conversation_id":"conv_01k9golden0000000000000000" """))).IsProblem(404, "not_found");
        (await http.Get($"{Schedules}?project_id=proj_01k9golden0000000000000000")).IsProblem(404, "not_found");
        foreach (var query in (string[])["status=asleep", "limit=0", "limit=1001", "offset=-1", "project_id=no%20project"])
        {
            (await http.Get($"{Schedules}?{query}")).IsProblem(422);
        }
        (await http.Get($"{Schedules}/no%20schedule")).IsProblem(422);
        await using var stranger = await tenant.Another();
        Assert.Equal("0", (await stranger.Http.Get(Schedules)).Is(200)["total"]);
    }

    [Fact]
    public async Task Each_contract_shows_the_schedules_that_it_can_say()
    {
        var project = await NewProject();
        var ours = (await http.Post(Schedules, Body(project))).Is(201)["id"];
        var skill = (await http.Post("/skills", """{"name":"planned","prompt_template":"/say x"}""")).Is(201)["skill_id"];
        var theirs = (await http.Post(
            "/scheduled-runs", $$"""{"session_id":"{{await http.NewSession()}}","skill_id":"{{skill}}","active":false}""")).Is(201)["schedule_id"];
        Assert.DoesNotContain(theirs, await Ids("limit=200"), StringComparison.Ordinal);
        Assert.DoesNotContain(ours, (await http.Get("/scheduled-runs")).Is(200).Text, StringComparison.Ordinal);
        Assert.Contains(theirs, (await http.Get("/scheduled-runs?status=paused")).Is(200).Text, StringComparison.Ordinal);
        foreach (var got in (Got[])[
            await http.Get($"{Schedules}/{theirs}"), await Patch(theirs, "{}"), await http.Delete($"{Schedules}/{theirs}"), await http.Post($"{Schedules}/{theirs}/run", "{}"),
            await http.Get($"{Schedules}/{theirs}/runs"), await http.Get($"/scheduled-runs/{ours}"), await http.Delete($"/scheduled-runs/{ours}"),
            await http.Post($"/scheduled-runs/{ours}/trigger", "{}"), await http.Post($"/scheduled-runs/{ours}/pause", "{}"), await http.Get($"/scheduled-runs/{ours}/runs")])
        {
            got.IsProblem(404, "not_found");
        }
        (await http.Delete($"/api/v1/projects/{project}")).Is(204);
        (await http.Get($"{Schedules}/{ours}")).IsProblem(404, "not_found");
    }
}
