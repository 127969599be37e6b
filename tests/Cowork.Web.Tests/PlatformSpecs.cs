using System.Text.Json;

using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Projects and conversations over HTTP, as contract B has them.</summary>
public sealed class PlatformSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Projects = "/api/v1/projects";
    const string Conversations = "/api/v1/conversations";
    const string Schedules = "/api/v1/schedules";
    const string General = "proj_00000000000000000000000000";

    readonly HttpClient http = tenant.Http;

    async Task<string> NewProject(string name = "Sales", string more = "") => (await http.Post(Projects, $$"""{"name":"{{name}}"{{more}}}""")).Is(201)["id"];

    async Task<string> NewConversation(string? project = null, string more = "") =>
        (await http.Post(Conversations, $$"""{"project_id":{{(project is null ? "null" : $"\"{project}\"")}}{{more}}}""")).Is(201)["id"];

    Task<Got> Patch(string path, string body) => http.Send(HttpMethod.Patch, path, body);

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    static string Ids(Got list) => string.Join(' ', list.Is(200).Json.GetProperty("data").EnumerateArray().Select(item => item.GetProperty("id").GetString()));

    /// <summary>A connection to what no connection reaches: it exists, and its status says why it is of no use.</summary>
    async Task<string> NewConnection() => (await http.Post(
        "/api/v1/connectors/connections",
        """{"spec_id":"postgres","name":"x","credentials":{"host":"127.0.0.1","port":1,"database":"d","user":"u","password":"p"}}""")).Is(201)["id"];

    [Fact]
    public async Task A_project_names_connections_that_exist_or_is_told_which_do_not()
    {
        var (live, gone) = (await NewConnection(), await NewConnection());
        (await http.Delete($"/api/v1/connectors/connections/{gone}")).Is(204);
        foreach (var (ids, path, named) in ((string, string, string)[])
        [
            ($"\"{live}\",\"conn_001\",\"{gone}\"", "$.connector_ids[1]", $"conn_001, {gone}"), ("\"x\\u202ey\"", "$.connector_ids[0]", "x\\u202ey"),
        ])
        {
            var refused = (await http.Post(Projects, $$"""{"name":"x","connector_ids":[{{ids}}]}""")).IsProblem(422, "unknown_connection");
            Assert.Equal([path], Members(refused.Json.GetProperty("errors")));
            Assert.Contains($"There is no such connection: {named}.", refused["detail"]);
        }
        var project = (await http.Post(Projects, $$"""{"name":"x","connector_ids":["{{live}}"]}""")).Is(201)["id"];
        (await Patch($"{Projects}/{project}", $$"""{"connector_ids":["{{gone}}"]}""")).IsProblem(422, "unknown_connection");
        // One that was deleted since takes nothing from the project.
        (await http.Delete($"/api/v1/connectors/connections/{live}")).Is(204);
        Assert.Equal($"[\"{live}\"]", (await Patch($"{Projects}/{project}", """{"name":"y"}""")).Is(200)["connector_ids"]);
    }

    [Fact]
    public async Task A_project_is_created_listed_shown_changed_and_deleted()
    {
        var skill = (await http.Post("/skills", """{"name":"platform_report","prompt_template":"x"}""")).Is(201)["skill_id"];
        var (first, second) = (await NewConnection(), await NewConnection());
        var both = $$"""["{{first}}","{{second}}"]""";
        var made = (await http.Post(
            Projects, $$"""{"name":"Sales Automation","description":"Weekly","connector_ids":{{both}},"skill_ids":["{{skill}}"],"model":"offline"}""")).Is(201);
        var id = made["id"];
        Assert.StartsWith("proj_", id, StringComparison.Ordinal);
        Assert.Equal($"{Projects}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["id", "name", "description", "connector_ids", "skill_ids", "model", "created_at", "updated_at"], Members(made.Json));
        Assert.Equal(
            ("Sales Automation", "Weekly", both, $"[\"{skill}\"]", "offline", made["created_at"]),
            (made["name"], made["description"], made["connector_ids"], made["skill_ids"], made["model"], made["updated_at"]));
        Assert.Equal(made.Text, (await http.Get($"{Projects}/{id}")).Is(200).Text);
        Assert.Equal(made.Text, (await http.Get($"{Projects}?limit=1")).Is(200).Json.GetProperty("data")[0].GetRawText());

        // What is left out stays, and null clears.
        var named = (await Patch($"{Projects}/{id}", """{"name":"Sales","model":null}""")).Is(200);
        Assert.Equal(("Sales", "Weekly", both, ""), (named["name"], named["description"], named["connector_ids"], named["model"]));
        Assert.NotEqual(made["updated_at"], named["updated_at"]);
        var cleared = (await Patch($"{Projects}/{id}", $$"""{"description":null,"connector_ids":["{{second}}"],"skill_ids":[]}""")).Is(200);
        Assert.Equal(("Sales", "", $"[\"{second}\"]", "[]"), (cleared["name"], cleared["description"], cleared["connector_ids"], cleared["skill_ids"]));
        Assert.Equal(cleared.Text, (await Patch($"{Projects}/{id}", "{}")).Is(200).Text);
        Assert.Equal(cleared.Text, (await http.Get($"{Projects}/{id}")).Is(200).Text);

        (await http.Delete($"{Projects}/{id}")).Is(204);
        (await http.Get($"{Projects}/{id}")).IsProblem(404, "not_found");
        (await Patch($"{Projects}/{id}", "{}")).IsProblem(404, "not_found");
        (await http.Delete($"{Projects}/{id}")).IsProblem(404, "not_found");
        (await http.Post(Conversations, $$"""{"project_id":"{{id}}"}""")).IsProblem(404, "not_found");
        (await http.Get($"{Conversations}?project_id={id}")).IsProblem(404, "not_found");
    }

    [Theory]
    [InlineData("{}", "$.name")]
    [InlineData("""{"name":" "}""", "$.name")]
    [InlineData("""{"name":null}""", "$.name")]
    [InlineData("""{"name":7}""", "$.name")]
    [InlineData("""{"name":"x","connector_ids":[""]}""", "$.connector_ids[0]")]
    [InlineData("""{"name":"x","connector_ids":["a","a"]}""", "$.connector_ids[1]")]
    [InlineData("""{"name":"x","connector_ids":"a"}""", "$.connector_ids")]
    [InlineData("""{"name":"x","skill_ids":["skill_01k9golden0000000000000000"]}""", "$.skill_ids[0]")]
    [InlineData("""{"name":"x","skill_ids":["no skill"]}""", "$.skill_ids[0]")]
    [InlineData("""{"name":"x","model":"no such model"}""", "$.model")]
    public async Task A_project_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var refused = (await http.Post(Projects, body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        if (body != "{}")
        {
            var project = await NewProject();
            refused = (await Patch($"{Projects}/{project}", body)).IsProblem(422);
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        }
    }

    [Theory]
    [InlineData("""{"skill_ids":null}""", "$.skill_ids")]
    [InlineData("""{"connector_ids":null}""", "$.connector_ids")]
    [InlineData("""{"connector_ids":[1]}""", "$.connector_ids")]
    [InlineData("""{"description":["x"]}""", "$.description")]
    public async Task A_change_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var refused = (await Patch($"{Projects}/{await NewProject()}", body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
    }

    [Fact]
    public async Task Every_tenant_has_the_built_in_project_last_in_its_list_and_it_stays_as_it_is()
    {
        await using var other = await tenant.Another();
        var general = (await other.Http.Get($"{Projects}/{General}")).Is(200);
        Assert.Equal(("General", "[]", "[]", "", "1970-01-01T00:00:00.000Z"), (general["name"], general["connector_ids"], general["skill_ids"], general["model"], general["created_at"]));
        var ids = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            ids.Insert(0, (await other.Http.Post(Projects, """{"name":"x"}""")).Is(201)["id"]);
        }
        ids.Add(General);
        foreach (var (limit, offset) in ((int, int)[])[(50, 0), (3, 0), (2, 2), (3, 3), (1, 1), (4, 0), (1, 3), (2, 4), (2, 400)])
        {
            var page = (await other.Http.Get($"{Projects}?limit={limit}&offset={offset}")).Is(200);
            Assert.Equal(["object", "data", "total", "limit", "offset", "has_more"], Members(page.Json));
            Assert.Equal(
                (string.Join(' ', ids.Skip(offset).Take(limit)), "list", "4", $"{limit}", $"{offset}", $"{offset + limit < 4}"),
                (Ids(page), page["object"], page["total"], page["limit"], page["offset"], page["has_more"]));
        }
        (await other.Http.Delete($"{Projects}/{General}")).IsProblem(409, "project_built_in");
        (await other.Http.Send(HttpMethod.Patch, $"{Projects}/{General}", """{"name":"Mine"}""")).IsProblem(409, "project_built_in");
    }

    [Fact]
    public async Task A_conversation_is_created_shown_changed_archived_and_deleted()
    {
        var project = await NewProject();
        var made = (await http.Post(Conversations, $$"""{"project_id":"{{project}}","title":"Q2 analysis","goal":"Analyse Q2 revenue by region"}""")).Is(201);
        var id = made["id"];
        Assert.StartsWith("conv_", id, StringComparison.Ordinal);
        Assert.Equal($"{Conversations}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(["id", "project_id", "title", "goal", "status", "created_at", "updated_at"], Members(made.Json));
        Assert.Equal((project, "Q2 analysis", "Analyse Q2 revenue by region", "active"), (made["project_id"], made["title"], made["goal"], made["status"]));
        Assert.Equal(made.Text, (await http.Get($"{Conversations}/{id}")).Is(200).Text);

        var archived = (await Patch($"{Conversations}/{id}", """{"status":"archived","goal":null}""")).Is(200);
        Assert.Equal(("archived", "", "Q2 analysis"), (archived["status"], archived["goal"], archived["title"]));
        Assert.Equal(archived.Text, (await http.Get($"{Conversations}/{id}")).Is(200).Text);
        Assert.Equal(id, Ids(await http.Get($"{Conversations}?project_id={project}&status=archived")));
        Assert.Equal("", Ids(await http.Get($"{Conversations}?project_id={project}&status=active")));
        (await http.Get($"{Conversations}/{id}/items")).Is(200);
        // Whoever says something in an archived conversation goes on with it.
        (await http.Turn(id, "/say hello")).Is(200);
        Assert.Equal("active", (await http.Get($"{Conversations}/{id}"))["status"]);
        Assert.Equal(id, Ids(await http.Get($"{Conversations}?project_id={project}&status=active")));

        (await http.Delete($"{Conversations}/{id}")).Is(204);
        (await http.Get($"{Conversations}/{id}")).IsProblem(404, "not_found");
        (await http.Get($"{Conversations}/{id}/items")).IsProblem(404, "not_found");
        (await Patch($"{Conversations}/{id}", "{}")).IsProblem(404, "not_found");
        (await http.Delete($"{Conversations}/{id}")).IsProblem(404, "not_found");
        (await http.Get($"/sessions/{id}")).IsProblem(404, "not_found");
        Assert.Equal("", Ids(await http.Get($"{Conversations}?project_id={project}")));
    }

    [Theory]
    [InlineData("""{"title":""}""", "$.title")]
    [InlineData("""{"goal":" "}""", "$.goal")]
    [InlineData("""{"title":1}""", "$.title")]
    [InlineData("""{"status":"deleted"}""", "$.status")]
    [InlineData("""{"status":null}""", "$.status")]
    public async Task A_conversation_that_is_not_valid_is_refused_and_says_where(string body, string path)
    {
        var refused = (await Patch($"{Conversations}/{await NewConversation()}", body)).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        if (!body.Contains("status", StringComparison.Ordinal))
        {
            refused = (await http.Post(Conversations, body)).IsProblem(422);
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(path, out _), refused.Text);
        }
    }

    [Theory]
    [InlineData("limit=0")]
    [InlineData("limit=1001")]
    [InlineData("limit=ten")]
    [InlineData("offset=-1")]
    [InlineData("offset=1.5")]
    [InlineData("status=deleted")]
    [InlineData("project_id=")]
    [InlineData("project_id=no%20id")]
    public async Task Nonsense_in_a_lists_query_is_refused(string query)
    {
        (await http.Get($"{Conversations}?{query}")).IsProblem(422, "invalid_request");
        (await http.Get($"{Conversations}?limit=201")).IsProblem(422, "invalid_request");
        if (query.StartsWith("limit", StringComparison.Ordinal) || query.StartsWith("offset", StringComparison.Ordinal))
        {
            (await http.Get($"{Projects}?{query}")).IsProblem(422, "invalid_request");
        }
    }

    [Fact]
    public async Task Conversations_are_listed_by_project_and_status_in_pages_with_the_right_total()
    {
        await using var other = await tenant.Another();
        var here = other.Http;
        var project = (await here.Post(Projects, """{"name":"x"}""")).Is(201)["id"];
        var all = new List<(string Id, bool InProject, bool Archived)>();
        for (var i = 0; i < 12; i++)
        {
            var (inProject, archived) = (i % 2 == 0, i % 3 == 0);
            var id = (await here.Post(Conversations, inProject ? $$"""{"project_id":"{{project}}"}""" : null)).Is(201)["id"];
            if (archived)
            {
                (await here.Send(HttpMethod.Patch, $"{Conversations}/{id}", """{"status":"archived"}""")).Is(200);
            }
            all.Insert(0, (id, inProject, archived));
        }
        Assert.Equal("50", (await here.Get(Conversations))["limit"]);
        foreach (var of in (string?[])[null, project, General])
        {
            foreach (var status in (string?[])[null, "all", "active", "archived"])
            {
                var wanted = all
                    .Where(c => (of is null || c.InProject == (of == project)) && (status is null or "all" || c.Archived == (status == "archived"))).Select(c => c.Id).ToList();
                foreach (var (limit, offset) in ((int, int)[])[(200, 0), (2, 0), (2, 2), (1, 5), (3, 11), (5, 100)])
                {
                    var query = $"limit={limit}&offset={offset}{(of is null ? "" : $"&project_id={of}")}{(status is null ? "" : $"&status={status}")}";
                    var page = (await here.Get($"{Conversations}?{query}")).Is(200);
                    Assert.Equal(
                        (query, string.Join(' ', wanted.Skip(offset).Take(limit)), $"{wanted.Count}", $"{offset + limit < wanted.Count}"),
                        (query, Ids(page), page["total"], page["has_more"]));
                }
            }
        }
    }

    [Fact]
    public async Task A_session_is_a_conversation_of_the_built_in_project_and_the_same_runs_are_seen_through_both_contracts()
    {
        var session = await http.NewSession("own-conversation");
        var shown = (await http.Get($"{Conversations}/conv_{session}")).Is(200);
        Assert.Equal(($"conv_{session}", "", "", "active"), (shown["id"], shown["project_id"], shown["title"], shown["status"]));
        Assert.Contains($"conv_{session}", Ids(await http.Get($"{Conversations}?project_id={General}")), StringComparison.Ordinal);
        var conversation = await NewConversation(General);
        Assert.Equal(conversation.Replace("conv_", "sess_", StringComparison.Ordinal), (await http.Get($"/sessions/{conversation}")).Is(200)["session_id"]);

        var turn = (await http.Turn(conversation, "/say A reply.")).Is(200);
        var items = (await http.Get($"{Conversations}/{conversation}/items")).Is(200).Json.GetProperty("data");
        Assert.Equal(["user /say A reply.", "assistant A reply."], items.EnumerateArray().Select(item => $"{item.GetProperty("role")} {item.GetProperty("content")}"));
        Assert.All(items.EnumerateArray(), item => Assert.Equal(turn["run_id"].Replace("run_", "resp_", StringComparison.Ordinal), item.GetProperty("response_id").GetString()));
        var feed = (await http.Get($"/sessions/{conversation}/events?since_id=0")).Is(200).Text;
        Assert.Equal(feed, (await http.Get($"/sessions/{conversation.Replace("conv_", "sess_", StringComparison.Ordinal)}/events?since_id=0")).Is(200).Text);
        Assert.Equal("/say A reply.", (await http.Get($"{Conversations}/{conversation}"))["title"]);
        Assert.DoesNotContain("session_changed", feed, StringComparison.Ordinal);
        (await Patch($"{Conversations}/{conversation}", """{"title":"Other"}""")).Is(200);
        Assert.Equal("session_changed", (await http.Events(conversation))[^1].GetProperty("type").GetString());

        (await http.Delete($"/sessions/{session}")).Is(204);
        (await http.Get($"{Conversations}/conv_{session}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task The_first_message_gives_the_title_and_a_cleared_one_is_given_again()
    {
        var id = await NewConversation();
        (await http.Turn(id, "/say   Summarise last week's sales data\nfor the board's meeting, by region and product")).Is(200);
        Assert.Equal("/say Summarise last week's sales data for the board's", (await http.Get($"{Conversations}/{id}"))["title"]);
        (await http.Turn(id, "/say second")).Is(200);
        Assert.StartsWith("/say Summarise", (await http.Get($"{Conversations}/{id}"))["title"], StringComparison.Ordinal);
        Assert.Equal("", (await Patch($"{Conversations}/{id}", """{"title":null}""")).Is(200)["title"]);
        (await http.Turn(id, "/say third")).Is(200);
        Assert.Equal("/say third", (await http.Get($"{Conversations}/{id}"))["title"]);
    }

    [Fact]
    public async Task Items_are_paged_back_from_the_newest_in_the_order_in_which_they_were_said()
    {
        var id = await NewConversation();
        for (var i = 1; i <= 4; i++)
        {
            (await http.Turn(id, $"/say {i}")).Is(200);
        }
        var held = (await http.Turn(id, """/tool write_file {"path":"r.md","content":"x"}""")).Is(200);
        Assert.Equal("approval_required", held["status"]);
        var whole = (await http.Get($"{Conversations}/{id}/items")).Is(200);
        Assert.Equal(["object", "data", "limit", "first_id", "last_id", "has_more"], Members(whole.Json));
        Assert.Equal(["id", "role", "content", "response_id", "created_at"], Members(whole.Json.GetProperty("data")[0]));
        var ids = whole.Json.GetProperty("data").EnumerateArray().Select(item => item.GetProperty("id").GetString()!).ToList();
        Assert.Equal((9, 9, ids[0], ids[^1], "False"), (ids.Count, ids.Distinct().Count(), whole["first_id"], whole["last_id"], whole["has_more"]));
        Assert.Equal(
            ["/say 1", "1", "/say 2", "2", "/say 3", "3", "/say 4", "4"], whole.Json.GetProperty("data").EnumerateArray().Select(item => item.GetProperty("content").GetString()).Take(8));
        for (var limit = 1; limit <= 10; limit++)
        {
            var (seen, before) = (new List<string>(), "");
            while (true)
            {
                var page = (await http.Get($"{Conversations}/{id}/items?limit={limit}{before}")).Is(200);
                seen.InsertRange(0, Ids(page).Split(' ', StringSplitOptions.RemoveEmptyEntries));
                if (page["has_more"] == "False")
                {
                    break;
                }
                Assert.Equal(limit, page.Json.GetProperty("data").GetArrayLength());
                before = $"&before={page["first_id"]}";
            }
            Assert.Equal(ids, seen);
        }
        var elsewhere = await NewConversation();
        (await http.Turn(elsewhere, "/say x")).Is(200);
        foreach (var nonsense in (string[])["before=", "before=x", "before=msg_x_user", $"before={(await http.Get($"{Conversations}/{elsewhere}/items"))["first_id"]}", "limit=0", "limit=1001"])
        {
            (await http.Get($"{Conversations}/{id}/items?{nonsense}")).IsProblem(422, "invalid_request");
        }
        Assert.Equal("", Ids(await http.Get($"{Conversations}/{elsewhere}/items?before={(await http.Get($"{Conversations}/{elsewhere}/items"))["first_id"]}")));
    }

    [Fact]
    public async Task A_repeated_request_does_nothing_again()
    {
        (string, string)[] key = [("Idempotency-Key", "platform-1")];
        var project = (await http.Post(Projects, """{"name":"once"}""", key)).Is(201);
        var again = (await http.Post(Projects, """{"name":"once"}""", key)).Is(201);
        Assert.Equal((project.Text, "true"), (again.Text, again.Headers.GetValues("Idempotency-Replayed").Single()));
        (await http.Post(Projects, """{"name":"twice"}""", key)).IsProblem(422, "idempotency_key_reused");
        var made = (await http.Post(Conversations, $$"""{"project_id":"{{project["id"]}}"}""", key)).Is(201);
        Assert.Equal(made.Text, (await http.Post(Conversations, $$"""{"project_id":"{{project["id"]}}"}""", key)).Is(201).Text);
        var changed = (await http.Send(HttpMethod.Patch, $"{Conversations}/{made["id"]}", """{"title":"one"}""", key)).Is(200);
        (await Patch($"{Conversations}/{made["id"]}", """{"title":"two"}""")).Is(200);
        Assert.Equal(changed.Text, (await http.Send(HttpMethod.Patch, $"{Conversations}/{made["id"]}", """{"title":"one"}""", key)).Is(200).Text);
        Assert.Equal("two", (await http.Get($"{Conversations}/{made["id"]}"))["title"]);
    }

    [Fact]
    public async Task Who_may_only_read_changes_nothing()
    {
        var (project, conversation) = (await NewProject(), await NewConversation());
        using var auditor = await tenant.Client("auditor");
        (await auditor.Get($"{Projects}/{project}")).Is(200);
        (await auditor.Get($"{Conversations}/{conversation}/items")).Is(200);
        foreach (var (method, path) in ((HttpMethod, string)[])
            [(HttpMethod.Post, Projects), (HttpMethod.Patch, $"{Projects}/{project}"), (HttpMethod.Delete, $"{Projects}/{project}"), (HttpMethod.Post, Conversations),
            (HttpMethod.Patch, $"{Conversations}/{conversation}"), (HttpMethod.Delete, $"{Conversations}/{conversation}")])
        {
            (await auditor.Send(method, path, method == HttpMethod.Delete ? null : """{"name":"x"}""")).IsProblem(403, "role_missing");
        }
    }

    [Fact]
    public async Task Deleting_a_project_while_conversations_begin_turns_are_sent_files_are_uploaded_and_schedules_fire_leaves_nothing_half_there()
    {
        var project = await NewProject();
        var first = new List<string>();
        for (var i = 0; i < 4; i++)
        {
            first.Add(await NewConversation(project));
        }
        var schedules = new List<string>();
        for (var i = 0; i < 2; i++)
        {
            schedules.Add((await http.Post(Schedules, $$"""{"project_id":"{{project}}","cron":"0 9 * * 1","prompt":"/say hello"}""")).Is(201)["id"]);
        }
        using var over = new CancellationTokenSource();
        var made = new System.Collections.Concurrent.ConcurrentBag<string>();
        var runs = new System.Collections.Concurrent.ConcurrentBag<string>();
        var files = new System.Collections.Concurrent.ConcurrentBag<string>();
        var fired = 0;
        var clients = Enumerable.Range(0, 12).Select(client => Task.Run(async () =>
        {
            while (!over.IsCancellationRequested)
            {
                if (client >= 10)
                {
                    var got = await http.Post($"{Schedules}/{schedules[client - 10]}/run");
                    Assert.True((int)got.Status is 200 or 202 or 404 or 409 or 429, got.Text);
                    if ((int)got.Status is 200 or 202)
                    {
                        Interlocked.Increment(ref fired);
                    }
                }
                else if (client >= 8)
                {
                    var got = await http.Upload("kraken", "a.txt", ("project_id", project));
                    Assert.True((int)got.Status is 201 or 404, got.Text);
                    if ((int)got.Status == 201)
                    {
                        files.Add(got["id"]);
                    }
                }
                else if (client % 2 == 0)
                {
                    var got = await http.Post(Conversations, $$"""{"project_id":"{{project}}"}""");
                    Assert.True((int)got.Status is 201 or 404, got.Text);
                    if ((int)got.Status == 201)
                    {
                        made.Add(got["id"]);
                    }
                }
                else
                {
                    var got = await http.Turn(first[client / 2], "/say hello", wait: false);
                    Assert.True((int)got.Status is 200 or 202 or 404 or 429, got.Text);
                    if ((int)got.Status is 200 or 202)
                    {
                        runs.Add(got["run_id"]);
                    }
                }
            }
        })).ToList();
        await Patience.Until(() => clients.Exists(client => client.IsFaulted) || (made.Count >= 20 && runs.Count >= 20 && files.Count >= 10 && Volatile.Read(ref fired) >= 5));
        (await http.Delete($"{Projects}/{project}")).Is(204);
        // After the answer nothing of the project is there, and nothing begins in it.
        foreach (var conversation in first.Concat(made))
        {
            (await http.Get($"{Conversations}/{conversation}")).IsProblem(404, "not_found");
        }
        await over.CancelAsync();
        await Task.WhenAll(clients);
        foreach (var conversation in first.Concat(made))
        {
            (await http.Get($"{Conversations}/{conversation}")).IsProblem(404, "not_found");
            (await http.Turn(conversation, "/say hello")).IsProblem(404, "not_found");
        }
        foreach (var run in runs)
        {
            (await http.Get($"/runs/{run}")).IsProblem(404, "not_found");
        }
        foreach (var gone in files.Select(file => $"/api/v1/files/{file}").Concat(schedules.Select(schedule => $"{Schedules}/{schedule}")))
        {
            (await http.Get(gone)).IsProblem(404, "not_found");
        }
        Assert.Equal("[]", (await http.Get("/api/v1/files/search?q=kraken")).Is(200)["data"]);
        Assert.DoesNotContain(project, (await http.Get($"{Projects}?limit=200")).Text, StringComparison.Ordinal);
        var rows = tenant.Host.Services.GetRequiredService<Application.Storage.IRows>();
        foreach (var table in (string[])[Sessions.Model.Table, Files.Model.Table])
        {
            Assert.Empty(await rows.List(tenant.Org, table, new(Scope: project["proj_".Length..]), default));
        }
        foreach (var run in runs)
        {
            // Its end is recorded although nobody sees it any more.
            await Patience.Until(async () => Runs.Model.Read((await rows.Get(tenant.Org, Runs.Model.Table, run["run_".Length..], default))!.Json.Span).HasEnded);
        }
        Assert.Null(await rows.FindDifference(Sessions.Model, default));
        Assert.Null(await rows.FindDifference(Projections.Projects.Model, default));
    }
}
