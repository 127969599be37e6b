using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Skills over HTTP, as contract A has them.</summary>
public sealed class SkillSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    async Task<Got> NewSkill(string name, string template, string more = "") =>
        (await http.Post("/skills", $$"""{"name":"{{name}}","prompt_template":{{JsonSerializer.Serialize(template)}}{{more}}}""")).Is(201);

    static string[] Strings(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetString()!)];

    [Fact]
    public async Task A_skill_is_created_listed_shown_and_deleted()
    {
        var made = await NewSkill("cohort_churn", "Show churn by {dimension} for {period}.", ""","description":"Analyze churn by cohort","metadata":{"team":"analytics"}""");
        var id = made["skill_id"];
        Assert.Equal($"/skills/{id}", made.Headers.Location!.ToString());
        Assert.StartsWith("skill_", id, StringComparison.Ordinal);
        Assert.Equal(
            ("cohort_churn", "Analyze churn by cohort", """{"team":"analytics"}""", "1", "Show churn by {dimension} for {period}."),
            (made["name"], made["description"], made["metadata"], made["latest_version"], made["prompt_template"]));
        Assert.Equal(["dimension", "period"], Strings(made.Json.GetProperty("required_params")));
        Assert.Equal(made["created_at"], made["updated_at"]);
        Assert.Equal(made.Text, (await http.Get($"/skills/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get("/skills?limit=1")).Is(200).Json.GetProperty("skills")[0].GetRawText());
        (await http.Post("/skills", """{"name":"cohort_churn","prompt_template":"x"}""")).IsProblem(409, "skill_exists");

        (await http.Delete($"/skills/{id}")).Is(204);
        foreach (var path in (string[])["", "/versions", "/versions/1"])
        {
            (await http.Get($"/skills/{id}{path}")).IsProblem(404, "not_found");
        }
        (await http.Delete($"/skills/{id}")).IsProblem(404);
        (await http.Post($"/skills/{id}/versions", """{"prompt_template":"x"}""")).IsProblem(404);
        (await http.Post($"/skills/{id}/run", """{"session_id":"nobody"}""")).IsProblem(404);
        Assert.DoesNotContain(id, (await http.Get("/skills?limit=1000")).Text, StringComparison.Ordinal);
        await NewSkill("cohort_churn", "x");
    }

    [Fact]
    public async Task Versions_are_added_and_never_change()
    {
        var made = await NewSkill("versions", "one {a}", ""","metadata":{"b":1.50,"a":[]},"description":"first" """);
        var id = made["skill_id"];
        var second = (await http.Post($"/skills/{id}/versions", """{"prompt_template":"two {b} {a}","description":"second","metadata":{}}""")).Is(201);
        Assert.Equal($"/skills/{id}/versions/2", second.Headers.Location!.ToString());
        Assert.Equal((id, "2", "two {b} {a}"), (second["skill_id"], second["version"], second["prompt_template"]));
        Assert.Equal(["a", "b"], Strings(second.Json.GetProperty("required_params")));
        var third = (await http.Post($"/skills/{id}/versions", """{"prompt_template":"three"}""")).Is(201);
        Assert.Equal(("second", "{}"), (third["description"], third["metadata"]));

        var skill = (await http.Get($"/skills/{id}")).Is(200);
        Assert.Equal(("3", "three", "second", made["created_at"], third["created_at"]),
            (skill["latest_version"], skill["prompt_template"], skill["description"], skill["created_at"], skill["updated_at"]));
        var listed = (await http.Get($"/skills/{id}/versions")).Is(200);
        Assert.Equal(id, listed["skill_id"]);
        var versions = listed.Json.GetProperty("versions").EnumerateArray().ToList();
        Assert.Equal([3, 2, 1], versions.Select(v => v.GetProperty("version").GetInt32()));
        // Beside itself, a version says which is the latest now.
        Assert.Equal("2", second["latest_version"]);
        var unchanged = second.Text.Replace("\"latest_version\":2", "\"latest_version\":3", StringComparison.Ordinal);
        Assert.Equal(unchanged, versions[1].GetRawText());
        Assert.Equal(unchanged, (await http.Get($"/skills/{id}/versions/2")).Is(200).Text);
        var first = (await http.Get($"/skills/{id}/versions/1")).Is(200);
        Assert.Equal(("one {a}", "first", """{"b":1.50,"a":[]}"""), (first["prompt_template"], first["description"], first["metadata"]));
        (await http.Get($"/skills/{id}/versions/4")).IsProblem(404, "not_found");
        (await http.Get($"/skills/{id}/versions/0")).IsProblem(422);
        (await http.Get($"/skills/{id}/versions/latest")).IsProblem(422);
        Assert.Single((await http.Get($"/skills/{id}/versions?limit=1")).Json.GetProperty("versions").EnumerateArray());
    }

    [Fact]
    public async Task A_skill_runs_as_a_turn_that_says_what_it_came_to()
    {
        var id = (await NewSkill("runs", "/say {greeting}, {n} times {{really}}"))["skill_id"];
        var session = await http.NewSession();
        var ran = (await http.Post($"/skills/{id}/run", $$$"""{"session_id":"{{{session}}}","params":{"greeting":"hello","n":2,"extra":[1]}}""")).Is(200);
        Assert.Equal(
            ("completed", "hello, 2 times {really}", "/say hello, 2 times {really}", id, "1", "False", session),
            (ran["status"], ran["reply"], ran["rendered_prompt"], ran["skill_id"], ran["skill_version"], ran["reused"], ran["session_id"]));
        (await http.Post($"/skills/{id}/versions", """{"prompt_template":"/say bye"}""")).Is(201);
        var latest = (await http.Post($"/skills/{id}/run", $$"""{"session_id":"{{session}}"}""")).Is(200);
        Assert.Equal(("bye", "2"), (latest["reply"], latest["skill_version"]));
        var older = (await http.Post($"/skills/{id}/run", $$$"""{"session_id":"{{{session}}}","version":1,"params":{"greeting":"hi","n":true}}""")).Is(200);
        Assert.Equal(("hi, true times {really}", "1"), (older["reply"], older["skill_version"]));

        var run = (await http.Get($"/runs/{older["run_id"]}")).Is(200);
        Assert.Equal((id, "1", "", older["rendered_prompt"]), (run["skill_id"], run["skill_version"], run["schedule_id"], run["message"]));
        var runs = (await http.Get($"/sessions/{session}/runs")).Json.GetProperty("runs").EnumerateArray().Select(r => r.GetProperty("skill_version").GetInt32());
        Assert.Equal([1, 2, 1], runs);
        var trace = (await http.Get($"/runs/{older["run_id"]}/trace")).Is(200).Json;
        Assert.Equal((id, 1), (trace.GetProperty("run").GetProperty("skill_id").GetString(), trace.GetProperty("run").GetProperty("skill_version").GetInt32()));
        var created = trace.GetProperty("events").EnumerateArray().Single(e => e.GetProperty("type").GetString() == "run_created.v1").GetProperty("data");
        Assert.Equal($$"""{"skill_id":"{{id}}","skill_version":1}""", created.GetProperty("source").GetRawText());
    }

    [Fact]
    public async Task A_skill_run_waits_and_repeats_like_a_turn()
    {
        var id = (await NewSkill("waits", "/sleep {ms}\n/say slept"))["skill_id"];
        var session = await http.NewSession();
        string Body(string ms, string more) => $$"""{"session_id":"{{session}}","params":{"ms":{{ms}}},{{more}}}""";
        var going = (await http.Post($"/skills/{id}/run", Body("60000", """ "wait_for_completion":false,"idempotency_key":"k" """))).Is(202);
        Assert.Equal(("/sleep 60000\n/say slept", "1"), (going["rendered_prompt"], going["skill_version"]));
        var again = (await http.Post($"/skills/{id}/run", Body("60000", """ "wait_timeout_seconds":0,"idempotency_key":"k" """))).Is(202);
        Assert.Equal((going["run_id"], "True", going["rendered_prompt"]), (again["run_id"], again["reused"], again["rendered_prompt"]));
        var other = (await http.Post($"/skills/{id}/run", Body("1", """ "idempotency_key":"k" """))).IsProblem(422, "idempotency_key_reused");
        Assert.Equal(going["run_id"], other["run_id"]);
        (await http.Post($"/runs/{going["run_id"]}/cancel")).Is(202);

        var header = ("Idempotency-Key", "skill-run-1");
        var first = (await http.Post($"/skills/{id}/run", Body("1", """ "wait_timeout_seconds":60 """), header)).Is(200);
        var replayed = (await http.Post($"/skills/{id}/run", Body("1", """ "wait_timeout_seconds":60 """), header)).Is(200);
        Assert.Equal((first["run_id"], "true"), (replayed["run_id"], replayed.Headers.GetValues("Idempotency-Replayed").Single()));
    }

    [Fact]
    public async Task What_the_template_lacks_is_named_and_nothing_is_started()
    {
        var id = (await NewSkill("lacks", "{zeta}{alpha}{beta}"))["skill_id"];
        var session = await http.NewSession();
        Task<Got> Run(string more) => http.Post($"/skills/{id}/run", $$"""{"session_id":"{{session}}"{{more}}}""");
        var missing = (await Run(""","params":{"beta":"x","alpha":null}""")).IsProblem(400, "missing_params");
        Assert.Equal("Parameters are missing: alpha, zeta.", missing["detail"]);
        Assert.Equal("Parameters are missing: alpha, beta, zeta.", (await Run("")).IsProblem(400, "missing_params")["detail"]);
        (await Run(""","params":{"beta":"","alpha":" ","zeta":"\n"}""")).IsProblem(400, "blank_prompt");
        (await Run(""","params":{"beta":{},"alpha":1,"zeta":1}""")).IsProblem(422, "invalid_request");
        (await Run(""","params":{"beta":1,"alpha":1,"zeta":1},"version":2""")).IsProblem(404, "not_found");
        (await Run(""","params":{"beta":1,"alpha":1,"zeta":1},"version":-1""")).IsProblem(400, "invalid_version");
        (await Run(""","params":{"beta":1,"alpha":1,"zeta":1},"version":"1" """)).IsProblem(422, "invalid_request");
        (await Run(""","params":[]""")).IsProblem(422, "invalid_request");
        (await http.Post($"/skills/{id}/run", """{"params":{}}""")).IsProblem(422, "invalid_request");
        (await http.Post($"/skills/{id}/run", """{"session_id":"nobody","params":{"beta":1,"alpha":1,"zeta":1}}""")).IsProblem(404, "not_found");
        var large = new string('x', 100_000);
        (await Run($$""","params":{"beta":"{{large}}","alpha":"{{large}}","zeta":"{{large}}"}""")).IsProblem(422, "prompt_too_long");
        Assert.Empty((await http.Get($"/sessions/{session}/runs")).Json.GetProperty("runs").EnumerateArray());
    }

    [Fact]
    public async Task A_template_longer_than_an_event_holds_comes_back_whole_and_runs()
    {
        var template = $"/say {{a}}\n{new string('ü', 80_000)}";
        var made = await NewSkill("long", template);
        Assert.Equal(template, made["prompt_template"]);
        Assert.Equal(template, (await http.Get($"/skills/{made["skill_id"]}")).Is(200)["prompt_template"]);
        var ran = (await http.Post($"/skills/{made["skill_id"]}/run", $$$"""{"session_id":"{{{await http.NewSession()}}}","params":{"a":"x"}}""")).Is(200);
        Assert.Equal(template.Replace("{a}", "x", StringComparison.Ordinal), ran["rendered_prompt"]);
    }

    [Fact]
    public async Task A_creation_that_is_sent_again_is_answered_again()
    {
        var header = ("Idempotency-Key", "skill-1");
        const string Body = """{"name":"again","prompt_template":"{a}"}""";
        var first = (await http.Post("/skills", Body, header)).Is(201);
        var second = (await http.Post("/skills", Body, header)).Is(201);
        Assert.Equal((first.Text, "true"), (second.Text, second.Headers.GetValues("Idempotency-Replayed").Single()));
        (await http.Post("/skills", """{"name":"again2","prompt_template":"{a}"}""", header)).IsProblem(422, "idempotency_key_reused");
        var versions = $"/skills/{first["skill_id"]}/versions";
        var added = (await http.Post(versions, """{"prompt_template":"{b}"}""", header)).Is(201);
        Assert.Equal(added.Text, (await http.Post(versions, """{"prompt_template":"{b}"}""", header)).Is(201).Text);
        Assert.Equal("2", (await http.Get($"/skills/{first["skill_id"]}"))["latest_version"]);
    }

    [Fact]
    public async Task Another_tenant_sees_none_of_it_and_has_its_own_names()
    {
        var id = (await NewSkill("tenants", "/say x"))["skill_id"];
        using var other = await tenant.Stranger("member");
        using var auditor = await tenant.Client("auditor");
        (await other.Post("/skills", """{"name":"tenants","prompt_template":"x"}""")).Is(201);
        Assert.DoesNotContain(id, (await other.Get("/skills")).Is(200).Text, StringComparison.Ordinal);
        (await other.Get($"/skills/{id}")).IsProblem(404);
        (await other.Get($"/skills/{id}/versions")).IsProblem(404);
        (await other.Get($"/skills/{id}/versions/1")).IsProblem(404);
        (await other.Delete($"/skills/{id}")).IsProblem(404);
        (await other.Post($"/skills/{id}/versions", """{"prompt_template":"x"}""")).IsProblem(404);
        (await other.Post($"/skills/{id}/run", $$"""{"session_id":"{{await other.NewSession()}}"}""")).IsProblem(404);
        (await auditor.Get($"/skills/{id}")).Is(200);
        (await auditor.Post("/skills", """{"name":"auditors","prompt_template":"x"}""")).IsProblem(403, "role_missing");
        (await auditor.Delete($"/skills/{id}")).IsProblem(403);
    }

    [Theory]
    [InlineData("""{"prompt_template":"x"}""", "$.name")]
    [InlineData("""{"name":"","prompt_template":"x"}""", "$.name")]
    [InlineData("""{"name":"a b","prompt_template":"x"}""", "$.name")]
    [InlineData("""{"name":"n"}""", "$.prompt_template")]
    [InlineData("""{"name":"n","prompt_template":" \n"}""", "$.prompt_template")]
    [InlineData("""{"name":"n","prompt_template":"{}"}""", "$.prompt_template")]
    [InlineData("""{"name":"n","prompt_template":"{a.b}"}""", "$.prompt_template")]
    [InlineData("""{"name":"n","prompt_template":"a } b"}""", "$.prompt_template")]
    [InlineData("""{"name":"n","prompt_template":"x","metadata":[]}""", "$.metadata")]
    [InlineData("""{"name":"n","prompt_template":"x","description":7}""", "$.description")]
    [InlineData("""{"name":"n","prompt_template":"x\u0000"}""", "$.prompt_template")]
    public async Task A_skill_that_is_none_is_refused_with_the_place(string body, string place) =>
        Assert.True((await http.Post("/skills", body)).IsProblem(422).Json.GetProperty("errors").TryGetProperty(place, out _), place);
}
