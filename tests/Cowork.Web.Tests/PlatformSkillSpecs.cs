using System.Text.Json;
using System.Text.RegularExpressions;

namespace Cowork.Web.Tests;

/// <summary>Skills over HTTP as contract B has them, and active in responses.</summary>
public sealed class PlatformSkillSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Skills = "/api/v1/skills";

    readonly HttpClient http = tenant.Http;

    static string Body(string name, string more = "") => $$"""{"name":"{{name}}","description":"d"{{more}}}""";

    async Task<string> NewSkill(string name, string more = "") => (await http.Post(Skills, Body(name, more))).Is(201)["id"];

    Task<Got> Patch(string id, string body) => http.Send(HttpMethod.Patch, $"{Skills}/{id}", body);

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    Task<Got> Respond(string conversation, string input, string more = "") =>
        http.Post("/api/v1/responses", $$"""{"conversation_id":"{{conversation}}","input":{{JsonSerializer.Serialize(input)}},"stream":false{{more}}}""");

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    static string Names(Got got) => string.Join(
        ' ', got.Is(200).Json.GetProperty("skills").EnumerateArray().Select(skill => $"{skill.GetProperty("name").GetString()}.{skill.GetProperty("version").GetInt32()}"));

    [Fact]
    public async Task A_skill_is_registered_listed_shown_changed_and_deleted()
    {
        var made = (await http.Post(Skills, Body("weekly-report", ""","instructions":"Be brief.","tools":["sql_query","send_email"]"""))).Is(201);
        var id = made["id"];
        Assert.StartsWith("skill_", id, StringComparison.Ordinal);
        Assert.Equal($"{Skills}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["id", "name", "description", "instructions", "tools", "latest_version", "created_at", "updated_at"], Members(made.Json));
        Assert.Equal(
            ("weekly-report", "d", "Be brief.", """["sql_query","send_email"]""", "1", made["created_at"]),
            (made["name"], made["description"], made["instructions"], made["tools"], made["latest_version"], made["updated_at"]));
        Assert.Equal(made.Text, (await http.Get($"{Skills}/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get($"{Skills}?limit=1")).Is(200).Json.GetProperty("data")[0].GetRawText());

        // What is left out stays, null clears, and a change that changes nothing is none.
        var changed = (await Patch(id, """{"name":"daily-report","tools":[]}""")).Is(200);
        Assert.Equal(("daily-report", "d", "Be brief.", "[]", "2"), (changed["name"], changed["description"], changed["instructions"], changed["tools"], changed["latest_version"]));
        Assert.Equal(changed.Text, (await Patch(id, """{"name":"daily-report","instructions":"Be brief."}""")).Is(200).Text);
        var cleared = (await Patch(id, """{"instructions":null,"description":"e"}""")).Is(200);
        Assert.Equal(("e", "", "3"), (cleared["description"], cleared["instructions"], cleared["latest_version"]));

        var versions = (await http.Get($"{Skills}/{id}/versions?limit=2")).Is(200);
        Assert.Equal(["object", "data", "total", "limit", "offset", "has_more"], Members(versions.Json));
        Assert.Equal(("list", "3", "True"), (versions["object"], versions["total"], versions["has_more"]));
        Assert.Equal(["id", "version", "name", "description", "instructions", "tools", "created_at"], Members(versions.Json.GetProperty("data")[0]));
        var first = (await http.Get($"{Skills}/{id}/versions?offset=2")).Is(200).Json.GetProperty("data")[0];
        Assert.Equal(
            (id, 1, "weekly-report", "Be brief."),
            (first.GetProperty("id").GetString(), first.GetProperty("version").GetInt32(), first.GetProperty("name").GetString(), first.GetProperty("instructions").GetString()));

        (await http.Delete($"{Skills}/{id}")).Is(204);
        foreach (var gone in (Got[])[await http.Get($"{Skills}/{id}"), await Patch(id, "{}"), await http.Delete($"{Skills}/{id}"), await http.Get($"{Skills}/{id}/versions")])
        {
            gone.IsProblem(404, "not_found");
        }
    }

    [Fact]
    public async Task A_name_is_had_by_one_skill_and_a_renamed_or_deleted_one_gives_it_back()
    {
        var id = await NewSkill("unique-a");
        (await http.Post(Skills, Body("unique-a"))).IsProblem(409, "skill_exists");
        var other = await NewSkill("unique-b");
        (await Patch(other, """{"name":"unique-a"}""")).IsProblem(409, "skill_exists");
        (await Patch(id, """{"name":"unique-c"}""")).Is(200);
        (await Patch(other, """{"name":"unique-a"}""")).Is(200);
        (await http.Delete($"{Skills}/{id}")).Is(204);
        await NewSkill("unique-c");
        await NewSkill("unique-b");
        await using var stranger = await tenant.Another();
        (await stranger.Http.Post(Skills, Body("unique-a"))).Is(201);
    }

    [Theory]
    [InlineData("""{"description":"d"}""", "$.name")]
    [InlineData("""{"name":null,"description":"d"}""", "$.name")]
    [InlineData("""{"name":"Weekly","description":"d"}""", "$.name")]
    [InlineData("""{"name":"weekly_report","description":"d"}""", "$.name")]
    [InlineData("""{"name":"bad-a"}""", "$.description")]
    [InlineData("""{"name":"bad-b","description":" "}""", "$.description")]
    [InlineData("""{"name":"bad-c","description":null}""", "$.description")]
    [InlineData("""{"name":"bad-d","description":"d","instructions":7}""", "$.instructions")]
    [InlineData("""{"name":"bad-e","description":"d","tools":"recall"}""", "$.tools")]
    [InlineData("""{"name":"bad-f","description":"d","tools":[""]}""", "$.tools[0]")]
    [InlineData("""{"name":"bad-g","description":"d","tools":["a","a"]}""", "$.tools[1]")]
    public async Task A_skill_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var refused = (await http.Post(Skills, body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        var member = path.Split('.', '[')[1];
        if (body.Contains($"\"{member}\"", StringComparison.Ordinal))
        {
            refused = (await Patch(await NewSkill($"valid-{Regex.Match(body, "bad-[a-z]|[Ww]eekly_?|null").Value.ToLowerInvariant().Replace('_', 'x')}"), body)).IsProblem(422);
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        }
    }

    [Fact]
    public async Task What_is_too_long_and_lists_without_sense_are_refused()
    {
        (await http.Post(Skills, Body("long-a", $",\"instructions\":\"{new string('x', (64 * 1024) + 1)}\""))).IsProblem(422);
        (await http.Post(Skills, Body("long-b", $",\"instructions\":\"{new string('x', 64 * 1024)}\""))).Is(201);
        (await http.Post(Skills, Body("long-c", $",\"tools\":[{string.Join(',', Enumerable.Range(0, 101).Select(i => $"\"t{i}\""))}]"))).IsProblem(422);
        (await Patch(await NewSkill("long-d"), """{"tools":null}""")).IsProblem(422);
        foreach (var query in (string[])["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=x", "limit=1&limit=2"])
        {
            (await http.Get($"{Skills}?{query}")).IsProblem(422);
        }
        (await http.Get($"{Skills}/no%20skill")).IsProblem(422);
        (await http.Get($"{Skills}/skill_01k9golden0000000000000000/versions")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Both_contracts_show_one_skill()
    {
        var template = (await http.Post("/skills", """{"name":"Cohort_Churn","prompt_template":"/say {x}"}""")).Is(201)["skill_id"];
        var shown = (await http.Get($"{Skills}/{template}")).Is(200);
        Assert.Equal(("Cohort_Churn", "", "", "[]", "1"), (shown["name"], shown["description"], shown["instructions"], shown["tools"], shown["latest_version"]));
        (await Patch(template, """{"instructions":"Be brief."}""")).Is(200);
        var other = (await http.Get($"/skills/{template}")).Is(200);
        Assert.Equal(("2", "/say {x}", shown["created_at"]), (other["latest_version"], other["prompt_template"], other["created_at"]));
        var run = (await http.Post($"/skills/{template}/run", $$$"""{"session_id":"{{{await http.NewSession()}}}","params":{"x":"hello"}}""")).Is(200);
        Assert.Equal(("hello", "2", "[]"), (run["reply"], run["skill_version"], run.Json.GetProperty("run").GetProperty("skills").GetRawText()));

        var instructions = await NewSkill("no-template", ""","instructions":"x" """);
        Assert.Equal("", (await http.Get($"/skills/{instructions}")).Is(200)["prompt_template"]);
        (await http.Delete($"/skills/{instructions}")).Is(204);
        (await http.Get($"{Skills}/{instructions}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_response_names_its_skills_in_both_contracts_and_in_its_bundle()
    {
        var (mine, ofProject) = (await NewSkill("mine", ""","tools":["list_files"]"""), await NewSkill("of-project"));
        await NewSkill("by-name");
        var project = (await http.Post("/api/v1/projects", $$"""{"name":"x","skill_ids":["{{ofProject}}"]}""")).Is(201)["id"];
        var conversation = await NewConversation(project);
        var response = await Respond(conversation, "/by-name and more\n/say done", $$""","skill_ids":["{{mine}}"]""");
        Assert.Equal("of-project.1 by-name.1 mine.1", Names(response));
        Assert.Equal(["id", "name", "version"], Members(response.Json.GetProperty("skills")[0]));
        Assert.Equal(mine, response.Json.GetProperty("skills")[2].GetProperty("id").GetString());
        Assert.Equal("/by-name and more\n/say done", response["input"]);
        (await Patch(mine, """{"description":"other"}""")).Is(200);
        Assert.Equal(response.Text, (await http.Get($"/api/v1/responses/{response["id"]}")).Is(200).Text);
        Assert.Equal("of-project.1 by-name.1 mine.1", Names(await http.Get($"/runs/{response["id"]}")));
        var bundle = (await http.Get($"/runs/{response["id"]}/trace")).Is(200);
        Assert.Equal(3, bundle.Json.GetProperty("run").GetProperty("skills").GetArrayLength());
        // The agent service's turns in the project have its skills too; elsewhere there are none.
        Assert.Equal("of-project.1", Names(await http.Get($"/runs/{(await http.Turn(conversation, "/by-name hello")).Is(200)["run_id"]}")));
        Assert.Equal("", Names(await Respond(await NewConversation(), "/no-such-skill hello")));
    }

    [Fact]
    public async Task Tools_that_the_skills_do_not_name_are_refused_by_policy()
    {
        var (lists, recalls, plain) = (await NewSkill("lists", ""","tools":["list_files"]"""), await NewSkill("recalls", ""","tools":["recall"]"""), await NewSkill("plain"));
        var conversation = await NewConversation();
        async Task<string> Rules(string input, params string[] skills)
        {
            var response = (await Respond(conversation, input, $",\"skill_ids\":[{string.Join(',', skills.Select(id => $"\"{id}\""))}]")).Is(200);
            var events = (await http.Get($"/runs/{response["id"]}/trace")).Is(200).Json.GetProperty("events").EnumerateArray();
            return string.Join(' ', events.Where(e => e.GetProperty("event_type").GetString() == "policy_decision").Select(e => e.GetProperty("data").GetProperty("rule").GetString()));
        }
        const string Both = "/tool list_files {}\n/tool recall {\"query\":\"x\"}";
        Assert.Equal("read_inside memory", await Rules(Both));
        Assert.Equal("read_inside memory", await Rules(Both, plain));
        Assert.Equal("read_inside skill_tools", await Rules(Both, lists));
        Assert.Equal("skill_tools memory", await Rules(Both, plain, recalls));
        Assert.Equal("read_inside memory", await Rules(Both, lists, recalls));
    }

    [Fact]
    public async Task Skills_that_are_not_there_are_refused_and_a_repeat_is_answered_as_before()
    {
        var conversation = await NewConversation();
        var (gone, here) = (await NewSkill("gone"), await NewSkill("here"));
        (string, string)[] key = [("Idempotency-Key", "skills-1")];
        var body = $$"""{"conversation_id":"{{conversation}}","input":"/say once","stream":false,"skill_ids":["{{gone}}"]}""";
        var once = (await http.Post("/api/v1/responses", body, key)).Is(200);
        (await http.Delete($"{Skills}/{gone}")).Is(204);
        Assert.Equal((once["id"], "gone.1"), ((await http.Post("/api/v1/responses", body, key)).Is(200)["id"], Names(once)));
        foreach (var (ids, path) in ((string, string)[])
        [
            ($"\"{here}\",\"{gone}\"", "$.skill_ids[1]"), ("\"skill_01k9golden0000000000000000\"", "$.skill_ids[0]"), ("\"no skill\"", "$.skill_ids[0]"), ("\"\"", "$.skill_ids[0]"),
        ])
        {
            var refused = (await Respond(conversation, "hello", $",\"skill_ids\":[{ids}]")).IsProblem(422);
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        }
        await using var stranger = await tenant.Another();
        var theirs = (await stranger.Http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        (await stranger.Http.Post("/api/v1/responses", $$"""{"conversation_id":"{{theirs}}","input":"/here x","stream":false,"skill_ids":["{{here}}"]}"""))
            .IsProblem(422, "unknown_skill");
        Assert.Equal("[]", (await stranger.Http.Post("/api/v1/responses", $$"""{"conversation_id":"{{theirs}}","input":"/here x","stream":false}""")).Is(200)["skills"]);
    }
}
