using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>Memories over HTTP as contract B has them, and in runs.</summary>
public sealed class PlatformMemorySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Memories = "/api/v1/memories";
    const string General = "proj_00000000000000000000000000";

    readonly HttpClient http = tenant.Http;

    static string Body(string content, string? project = null) => JsonSerializer.Serialize(new { content, project_id = project });

    async Task<string> NewMemory(string content, string? project = null) => (await http.Post(Memories, Body(content, project))).Is(201)["id"];

    async Task<string> NewProject() => (await http.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    Task<Got> Patch(string id, string body) => http.Send(HttpMethod.Patch, $"{Memories}/{id}", body);

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    async Task<string> Ids(string query) =>
        string.Join(' ', (await http.Get($"{Memories}?{query}")).Is(200).Json.GetProperty("data").EnumerateArray().Select(memory => memory.GetProperty("id").GetString()));

    /// <summary>The facts that a turn was reminded of.</summary>
    async Task<string> Reminded(string conversation, string message)
    {
        var run = (await http.Turn(conversation, message)).Is(200)["run_id"];
        var retrieval = (await http.Get($"/runs/{run}/trace")).Is(200).Json.GetProperty("events").EnumerateArray()
            .Single(e => e.GetProperty("event_type").GetString() == "memory_retrieval").GetProperty("data").GetProperty("provenance");
        return string.Join(
            ' ', retrieval.EnumerateArray().Where(from => from.GetProperty("kind").GetString() == "memory").Select(from => from.GetProperty("id").GetString()).Order());
    }

    [Fact]
    public async Task A_memory_is_stated_listed_shown_changed_and_deleted()
    {
        var project = await NewProject();
        var made = (await http.Post(Memories, Body("Always use Q3 targets.", project))).Is(201);
        var id = made["id"];
        Assert.StartsWith("mem_", id, StringComparison.Ordinal);
        Assert.Equal($"{Memories}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["id", "content", "project_id", "source", "created_at", "updated_at"], Members(made.Json));
        Assert.Equal(("Always use Q3 targets.", project, "user", made["created_at"]), (made["content"], made["project_id"], made["source"], made["updated_at"]));
        Assert.Equal(made.Text, (await http.Get($"{Memories}/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get($"{Memories}?project_id={project}")).Is(200).Json.GetProperty("data")[0].GetRawText());

        var changed = (await Patch(id, """{"content":"Always use Q4 targets."}""")).Is(200);
        Assert.Equal(("Always use Q4 targets.", project, made["created_at"]), (changed["content"], changed["project_id"], changed["created_at"]));
        Assert.Equal(changed.Text, (await Patch(id, "{}")).Is(200).Text);
        Assert.Equal(changed.Text, (await http.Get($"{Memories}/{id}")).Is(200).Text);
        // The agent service shows the same memory, which has no session and no run there.
        var other = (await http.Get($"/memories/{id}")).Is(200);
        Assert.Equal(("Always use Q4 targets.", "memory", "2", "", ""), (other["content"], other["kind"], other["version"], other["session_id"], other["run_id"]));

        (await http.Delete($"{Memories}/{id}")).Is(204);
        foreach (var gone in (Got[])[await http.Get($"{Memories}/{id}"), await Patch(id, "{}"), await http.Delete($"{Memories}/{id}"), await http.Get($"/memories/{id}")])
        {
            gone.IsProblem(404, "not_found");
        }
        Assert.Equal("", await Ids($"project_id={project}"));
    }

    [Fact]
    public async Task Lists_are_global_or_of_a_project_by_source_and_in_pages()
    {
        var project = await NewProject();
        var mine = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            mine.Insert(0, await NewMemory($"fact {i}", project));
        }
        var run = (await http.Turn(await NewConversation(project), "/tool remember {\"content\":\"The kraken sleeps.\"}")).Is(200)["run_id"];
        var agents = await Ids($"project_id={project}&source=agent");
        var shown = (await http.Get($"{Memories}/{agents}")).Is(200);
        Assert.Equal(("The kraken sleeps.", project, "agent"), (shown["content"], shown["project_id"], shown["source"]));
        Assert.Equal(run, (await http.Get($"/memories/{agents}")).Is(200)["run_id"]);
        Assert.Equal(string.Join(' ', mine), await Ids($"project_id={project}&source=user"));
        Assert.Equal(string.Join(' ', mine.Prepend(agents)), await Ids($"project_id={project}&source=all"));
        Assert.Equal(string.Join(' ', mine.Take(2)), await Ids($"project_id={project}&offset=1&limit=2"));
        var page = (await http.Get($"{Memories}?project_id={project}&offset=1&limit=2")).Is(200);
        Assert.Equal(["object", "data", "total", "limit", "offset", "has_more"], Members(page.Json));
        Assert.Equal(("list", "4", "2", "1", "True"), (page["object"], page["total"], page["limit"], page["offset"], page["has_more"]));

        // Without a project: the global ones, which are those of "General".
        var global = await NewMemory("a global fact");
        Assert.Equal("", (await http.Get($"{Memories}/{global}")).Is(200)["project_id"]);
        var general = await NewMemory("another", General);
        Assert.Equal("", (await http.Get($"{Memories}/{general}")).Is(200)["project_id"]);
        Assert.StartsWith($"{general} {global}", await Ids("limit=2"), StringComparison.Ordinal);
        Assert.Equal(await Ids(""), await Ids($"project_id={General}"));
        // What the agent changes by its user's hand is its own still, and a summary of a session is no memory of this contract.
        Assert.Equal("agent", (await Patch(agents, """{"content":"The kraken wakes."}""")).Is(200)["source"]);
        var summary = (await http.Get($"/sessions/{(await http.Get($"/runs/{run}"))["session_id"]}/memories")).Is(200).Json.GetProperty("memories").EnumerateArray()
            .First(memory => memory.GetProperty("kind").GetString() == "session_summary").GetProperty("memory_id").GetString()!;
        (await http.Get($"{Memories}/{summary}")).IsProblem(404, "not_found");
        (await Patch(summary, """{"content":"x"}""")).IsProblem(404, "not_found");
        (await http.Delete($"{Memories}/{summary}")).IsProblem(404, "not_found");
    }

    [Theory]
    [InlineData("{}", "$.content")]
    [InlineData("""{"content":null}""", "$.content")]
    [InlineData("""{"content":" "}""", "$.content")]
    [InlineData("""{"content":7}""", "$.content")]
    [InlineData("""{"content":["x"]}""", "$.content")]
    [InlineData("""{"content":"x","project_id":"no project"}""", "$.project_id")]
    public async Task A_memory_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var refused = (await http.Post(Memories, body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        if (path == "$.content" && body != "{}")
        {
            (await Patch(await NewMemory("x"), body)).IsProblem(422);
        }
    }

    [Fact]
    public async Task What_is_too_long_and_lists_without_sense_are_refused()
    {
        (await http.Post(Memories, Body(new('x', 4_001)))).IsProblem(422);
        await NewMemory(new('x', 4_000));
        (await http.Post(Memories, Body("x", "proj_01k9golden0000000000000000"))).IsProblem(404, "not_found");
        (await http.Get($"{Memories}?project_id=proj_01k9golden0000000000000000")).IsProblem(404, "not_found");
        foreach (var query in (string[])["source=robot", "source=", "limit=0", "limit=1001", "offset=-1", "project_id=", "project_id=no%20project"])
        {
            (await http.Get($"{Memories}?{query}")).IsProblem(422);
        }
        (await http.Get($"{Memories}/no%20memory")).IsProblem(422);
    }

    [Fact]
    public async Task Runs_are_reminded_of_global_memories_and_of_their_projects_as_they_are_now()
    {
        var (project, other) = (await NewProject(), await NewProject());
        var (global, ofProject) = (await NewMemory("The wombat sleeps."), await NewMemory("The wombat wakes.", project));
        await NewMemory("The wombat eats.", other);
        var conversation = await NewConversation(project);
        Assert.Equal(string.Join(' ', new[] { global, ofProject }.Order()), await Reminded(conversation, "wombat"));
        Assert.Equal(global, await Reminded(await NewConversation(), "wombat"));
        (await Patch(global, """{"content":"The numbat sleeps."}""")).Is(200);
        Assert.Equal((ofProject, global), (await Reminded(conversation, "wombat"), await Reminded(conversation, "numbat")));
        (await http.Delete($"{Memories}/{ofProject}")).Is(204);
        Assert.Equal("", await Reminded(conversation, "wombat"));
    }

    [Fact]
    public async Task A_deleted_project_or_conversation_takes_its_memories_with_it()
    {
        var project = await NewProject();
        var mine = await NewMemory("a fact", project);
        var conversation = await NewConversation();
        (await http.Turn(conversation, "/tool remember {\"content\":\"The quokka sleeps.\"}")).Is(200);
        var agents = await Ids("source=agent&limit=1");
        Assert.Equal("The quokka sleeps.", (await http.Get($"{Memories}/{agents}")).Is(200)["content"]);
        (await http.Delete($"/api/v1/conversations/{conversation}")).Is(204);
        (await http.Get($"{Memories}/{agents}")).IsProblem(404, "not_found");
        (await Patch(agents, """{"content":"x"}""")).IsProblem(404, "not_found");
        Assert.DoesNotContain(agents, await Ids("source=agent"), StringComparison.Ordinal);
        Assert.Equal("", await Reminded(await NewConversation(), "quokka"));

        (await http.Delete($"/api/v1/projects/{project}")).Is(204);
        (await http.Get($"{Memories}/{mine}")).IsProblem(404, "not_found");
        (await http.Get($"{Memories}?project_id={project}")).IsProblem(404, "not_found");
        (await http.Post(Memories, Body("x", project))).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_repeat_states_a_memory_once_and_no_tenant_sees_anothers()
    {
        (string, string)[] key = [("Idempotency-Key", "memory-1")];
        var once = (await http.Post(Memories, Body("once"), key)).Is(201);
        Assert.Equal(once.Text, (await http.Post(Memories, Body("once"), key)).Is(201).Text);
        (await http.Post(Memories, Body("twice"), key)).IsProblem(422, "idempotency_key_reused");
        await using var stranger = await tenant.Another();
        (await stranger.Http.Get($"{Memories}/{once["id"]}")).IsProblem(404, "not_found");
        (await stranger.Http.Delete($"{Memories}/{once["id"]}")).IsProblem(404, "not_found");
        Assert.Equal("0", (await stranger.Http.Get(Memories)).Is(200)["total"]);
    }
}
