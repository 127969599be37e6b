using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;
using Cowork.Web.Endpoints.AgentService;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>
/// A private group on a host of tokens: Ann administers it, Carl is a member, Bob is in the organisation and no member. Each of its messages, and whatever came of them,
/// holds the word <c>topsecret</c>.
/// </summary>
public sealed class PrivateGroup : IAsyncLifetime
{
    const string Org = "grouped";

    public LiveHost Host { get; private set; } = null!;

    public HttpClient Ann { get; private set; } = null!;

    public HttpClient Bob { get; private set; } = null!;

    public HttpClient Carl { get; private set; } = null!;

    public HttpClient Approver { get; private set; } = null!;

    public HttpClient Auditor { get; private set; } = null!;

    public HttpClient Admin { get; private set; } = null!;

    public string Group { get; private set; } = null!;

    public string Session => $"sess_{Group["grp_".Length..]}";

    /// <summary>Position of the last event of the group's feed.</summary>
    public long LastEvent { get; private set; }

    /// <summary>Where something else could have been answered in the run: an event's id in the group's feed.</summary>
    public long FromEvent { get; private set; }

    /// <summary>What of the group a path may name, by the name of its parameter.</summary>
    public Dictionary<string, string> Ids { get; } = new(StringComparer.Ordinal);

    public async ValueTask InitializeAsync()
    {
        Host = await LiveHost.Start(settings => settings with { TokenMode = true });
        (Ann, Bob, Carl) = (await User("ann", "member"), await User("bob", "member"), await User("carl", "member"));
        (Approver, Auditor, Admin) = (await User("abe", "approver"), await User("audrey", "auditor"), await User("adam", "admin"));
        Group = (await Ann.Post("/groups", """{"title":"topsecret","is_private":true}""")).Is(201)["group_id"];
        (await Ann.Post($"/groups/{Group}/members", """{"user_id":"carl"}""")).Is(201);
        var run = await Say("/tool remember {\"content\":\"the topsecret launch is on Friday\"}\n/say topsecret");
        await Say("/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"topsecret\"}");
        var commands = Host.Services.GetRequiredService<ICommandExecutor>();
        var now = TimeProvider.System.GetUtcNow();
        var (pad, cell) = (ScratchpadKey.New(now), CellKey.New(now));
        var code = new RunCode(
            pad, SessionKey.FromId(Session), Content.Of("topsecret"), new(cell, CellTypes.Code, Content.Of("'topsecret'"), "python"), RunKey.FromId(run), Begins: true);
        Assert.Null((await commands.Execute(Org, new("agent"), code, default)).Refused);
        var held = await Say("/tool write_file {\"path\":\"r.md\",\"content\":\"topsecret\"}", "approval_required");
        Ids["session_id"] = Ids["sessionId"] = Session;
        Ids["run_id"] = Ids["taskId"] = run;
        Ids["group_id"] = Group;
        Ids["approval_id"] = (await Ann.Get($"/runs/{held}")).Is(200).Json.GetProperty("pending_approval_ids")[0].GetString()!;
        Ids["memory_id"] = (await Ann.Get($"/sessions/{Session}/memories")).Is(200).Json.GetProperty("memories").EnumerateArray()
            .First(memory => memory.GetProperty("kind").GetString() == "memory").GetProperty("memory_id").GetString()!;
        Ids["artifact_id"] = Ids["artifactId"] = (await Ann.Events(Session)).First(e => e.GetProperty("type").GetString() == "artifact_discovered").GetProperty("payload")
            .GetProperty("artifact_id").GetString()!;
        LastEvent = (await Ann.Events(Session))[^1].GetProperty("gid").GetInt64();
        FromEvent = (await Ann.Events(Session)).First(e => e.GetProperty("type").GetString() == "llm_response" && e.GetProperty("run_id").GetString() == run).GetProperty("id").GetInt64();
        Ids["scratchpad_id"] = pad.Id;
        Ids["cell_id"] = cell.Id;
    }

    public async ValueTask DisposeAsync() => await Host.DisposeAsync();

    /// <summary>Says something in the group, and waits for what comes of it.</summary>
    public async Task<string> Say(string text, string status = "completed")
    {
        var said = (await Ann.Post($"/groups/{Group}/messages", JsonSerializer.Serialize(new { text }))).Is(202);
        var run = said.Json.GetProperty("runs")[0].GetProperty("run_id").GetString()!;
        await Ann.Until($"/runs/{run}", got => got["status"] == status);
        return run;
    }

    public async Task<HttpClient> User(string user, params string[] roles)
    {
        using var operatorClient = Host.Client(Host.AdminToken);
        var issued = await operatorClient.Post("/tokens", JsonSerializer.Serialize(new { name = user, user, roles, org_id = Org }));
        return Host.Client(issued.Is(201)["token"]);
    }
}

/// <summary>What is said in a private group is its members', whatever contract somebody asks by.</summary>
public sealed class GroupPrivacySpecs(PrivateGroup fixture) : IClassFixture<PrivateGroup>
{
    /// <summary>Parameters of paths that name nothing of a group, and what the probe gives for them.</summary>
    static readonly Dictionary<string, string> Neutral = new(StringComparer.Ordinal)
    {
        ["version"] = "1",
        ["path"] = "r.md",
        ["spec"] = "github",
        ["user_id"] = "carl",
        ["skill_id"] = "skill_01k9group0000000000000000a",
        ["schedule_id"] = "sched_01k9group0000000000000000a",
        ["project_id"] = "general",
        ["file_id"] = "file_01k9group0000000000000000a",
        ["connection_id"] = "conn_01k9group0000000000000000a",
        ["token_id"] = "01k9group0000000000000000a",
        ["work_id"] = "work_01k9group0000000000000000a",
        ["id"] = "01k9group0000000000000000a",
        ["app_id"] = "acme",
        ["kid"] = "k",
        ["subject"] = "nobody",
    };

    /// <summary>Streams of the tenant that name no session: they have no end.</summary>
    static readonly string[] Endless = ["/shell/events", "/stream"];

    /// <summary>Requests whose body has an id that their sender makes up.</summary>
    static readonly string[] MakesUp = ["post /sessions"];

    /// <summary>What a member may ask of a group's run through other contracts, because it takes nothing but time or a decision, or makes nothing.</summary>
    static readonly string[] Allowed =
    [
        "post /runs/{run_id}/cancel", "post /api/v1/responses/{run_id}/cancel", "post /api/cowork/tasks/{taskId}/stop", "post /approvals/{approval_id}/decision",
        "post /runs/{run_id}/replay",
    ];

    /// <summary>Bodies of requests that name a session, or what belongs to one, elsewhere than in their address; <c>SESSION</c> and the like stand for the group's.</summary>
    static readonly Dictionary<string, string> Bodies = new(StringComparer.Ordinal)
    {
        ["post /api/v1/responses"] = """{"conversation_id":"SESSION","input":"hello","stream":false}""",
        ["post /api/v1/responses/cancel"] = """{"conversation_id":"SESSION"}""",
        ["post /api/v1/scratchpads"] = """{"conversation_id":"SESSION","title":"x"}""",
        ["post /api/v1/scratchpads/import"] = """{"conversation_id":"SESSION","notebook":{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[]}}""",
        ["post /api/v1/schedules"] = """{"project_id":"PROJECT","conversation_id":"SESSION","prompt":"x","cron":"0 9 * * 1","timezone":"UTC"}""",
        ["post /api/v1/artifacts/open"] = """{"artifact_id":"ARTIFACT"}""",
        ["post /api/cowork/stream-token"] = """{"sessionId":"SESSION"}""",
        ["post /scheduled-runs"] = """{"name":"x","session_id":"SESSION","skill_id":"SKILL","interval_seconds":3600}""",
        ["post /infra/groups"] = """{"group_id":"GROUP","org_id":"grouped","user_id":"bob"}""",
        ["post /infra/routing-token"] = """{"group_id":"GROUP","user_id":"bob"}""",
        ["post /infra/cleanup"] = """{"group_id":"GROUP","reason":"x"}""",
        ["post /policy/check"] = """{"tool":"read_file","session_id":"SESSION","input":{"path":"r.md"}}""",
        ["post /skills/{skill_id}/run"] = """{"session_id":"SESSION"}""",
    };

    string[] Secrets => ["topsecret", .. fixture.Ids.Values.Select(id => id[(id.IndexOf('_', StringComparison.Ordinal) + 1)..])];

    [Fact]
    public async Task Who_is_no_member_finds_nothing_by_any_route_and_any_id()
    {
        var seen = new List<string>();
        var probed = 0;
        foreach (var (method, template, operation) in await Operations())
        {
            var names = Parameters(template);
            Assert.All(names, name => Assert.True(
                fixture.Ids.ContainsKey(name) || Neutral.ContainsKey(name),
                $"{template}: say in GroupPrivacySpecs what {{{name}}} of a private group is, or that nothing of it is."));
            if (names.Any(fixture.Ids.ContainsKey))
            {
                foreach (var moment in Moments(operation))
                {
                    var got = await Send(fixture.Bob, method, $"{template}{moment}", Any(method, template));
                    seen.AddRange(IsHidden(got) ? [] : [$"{method} {template}{moment}: {(int)got.Status} {got.Text}"]);
                    probed++;
                }
            }
            else if (method == "get" && !Array.Exists(Endless, end => template.EndsWith(end, StringComparison.Ordinal)))
            {
                foreach (var query in Queries(operation))
                {
                    var got = await fixture.Bob.Get($"{Fill(template)}?{query}");
                    seen.AddRange(IsHidden(got) || !Shows(got) ? [] : [$"{method} {template}?{query}: {(int)got.Status} {got.Text}"]);
                    probed++;
                }
            }
        }
        Assert.Empty(seen);
        Assert.True(probed > 90, $"{probed} requests");
    }

    [Fact]
    public async Task Bodies_that_name_a_private_group_find_nothing_for_others_and_change_nothing_for_members()
    {
        var skill = (await fixture.Ann.Post("/skills", """{"name":"probe","prompt_template":"/say x"}""")).Is(201)["skill_id"];
        foreach (var (method, template, operation) in await Operations())
        {
            var names = BodyIds(operation).Where(name => fixture.Ids.ContainsKey(name) || name is "conversation_id" or "response_id" or "task_id").ToList();
            var where = $"{method} {template}";
            if (names.Count == 0 || MakesUp.Contains(where))
            {
                continue;
            }
            Assert.True(Bodies.ContainsKey(where), $"{where} takes {string.Join(", ", names)}: say in GroupPrivacySpecs.Bodies how it would ask for a private group.");
            var body = Bodies[where].Replace("SESSION", fixture.Session, StringComparison.Ordinal).Replace("ARTIFACT", fixture.Ids["artifact_id"], StringComparison.Ordinal)
                .Replace("SKILL", skill, StringComparison.Ordinal).Replace("PROJECT", ProjectKey.General.Id, StringComparison.Ordinal)
                .Replace("GROUP", fixture.Group, StringComparison.Ordinal);
            var path = Fill(template).Replace(Neutral["skill_id"], skill, StringComparison.Ordinal);
            var strange = await fixture.Bob.Send(new(method.ToUpperInvariant()), path, body);
            var isInfra = template.StartsWith("/infra/", StringComparison.Ordinal);
            Assert.True(IsHidden(strange) || (isInfra && (int)strange.Status is 401 or 403), $"{where}: {(int)strange.Status} {strange.Text}");
            if (where == "post /api/v1/responses/cancel" || isInfra)
            {
                // A member may cancel what runs, and another spec needs it; the last are contract D's own.
                continue;
            }
            var member = await fixture.Ann.Send(new(method.ToUpperInvariant()), path, body);
            Assert.True(
                member.Code == "session_of_group" || (where == "post /api/cowork/stream-token" && (int)member.Status == 201)
                    || (where == "post /policy/check" && member.Code == "role_missing"), $"{where}: {(int)member.Status} {member.Text}");
        }
    }

    [Fact]
    public async Task A_member_reads_all_of_it_by_any_contract_and_changes_nothing()
    {
        foreach (var path in (string[])
        [
            "/sessions/{session_id}", "/sessions/{session_id}/runs", "/sessions/{session_id}/events", "/sessions/{session_id}/memories", "/runs/{run_id}", "/runs/{run_id}/trace",
            "/runs/{run_id}/artifacts", "/approvals/{approval_id}", "/approvals?session_id={session_id}&status=all", "/artifacts/{artifact_id}",
            "/artifacts/{artifact_id}/versions",
            "/memories/{memory_id}", "/api/v1/conversations/{session_id}", "/api/v1/conversations/{session_id}/items", "/api/v1/responses/{run_id}",
            "/api/v1/artifacts/{artifact_id}", "/api/v1/memories/{memory_id}", "/api/v1/scratchpads/{scratchpad_id}", "/api/v1/scratchpads?conversation_id={session_id}",
            "/api/v1/scratchpads/{scratchpad_id}/cells/{cell_id}", "/api/cowork/sessions/{sessionId}", "/api/cowork/sessions/{sessionId}/tasks",
            "/api/cowork/sessions/{sessionId}/usage", "/api/cowork/tasks/{taskId}", "/api/cowork/tasks/{taskId}/artifacts", "/groups/{group_id}",
        ])
        {
            foreach (var reader in (HttpClient[])[fixture.Ann, fixture.Carl, fixture.Auditor, fixture.Admin])
            {
                (await reader.Get(Fill(path))).Is(200);
                if (path is "/sessions/{session_id}" or "/runs/{run_id}")
                {
                    (await reader.Get($"{Fill(path)}?as_of={fixture.LastEvent}")).Is(200);
                }
            }
        }
        foreach (var (method, template, _) in (await Operations()).Where(o => o.Method != "get" && !o.Template.StartsWith("/groups", StringComparison.Ordinal)))
        {
            var where = $"{method} {template}";
            if (Parameters(template).Any(fixture.Ids.ContainsKey) && !Allowed.Contains(where))
            {
                var got = await Send(fixture.Ann, method, template, Any(method, template));
                // Holds are an admin's, of whatever session.
                Assert.True(got.Code == (template.EndsWith("/hold", StringComparison.Ordinal) ? "role_missing" : "session_of_group"), $"{where}: {(int)got.Status} {got.Text}");
            }
        }
        // No list of sessions has it, not even for members.
        const string Search = "/api/v1/conversations/search?q=topsecret";
        foreach (var path in (string[])["/sessions", "/api/v1/conversations", Search, "/api/cowork/sessions", "/api/v1/responses/in-flight-list"])
        {
            Assert.DoesNotContain(fixture.Session["sess_".Length..], (await fixture.Ann.Get(path)).Is(200).Text);
        }
    }

    [Fact]
    public async Task Who_decides_sees_what_is_asked_for_and_nothing_else()
    {
        var approval = fixture.Ids["approval_id"];
        Assert.Contains(approval, (await fixture.Approver.Get("/approvals")).Is(200).Text);
        Assert.Contains("topsecret", (await fixture.Approver.Get($"/approvals/{approval}")).Is(200).Text);
        Assert.DoesNotContain(approval, (await fixture.Bob.Get("/approvals")).Is(200).Text);
        (await fixture.Approver.Get($"/runs/{fixture.Ids["run_id"]}")).IsProblem(404);
        (await fixture.Approver.Get($"/sessions/{fixture.Session}/events")).IsProblem(404);
    }

    [Fact]
    public async Task What_agents_of_a_group_remember_is_recalled_in_it_and_nowhere_else()
    {
        // It becomes the title of a conversation of another person, who must not seem to have found a secret.
        const string Question = "/tool recall {\"query\":\"launch Friday\"}\n/say done";
        var elsewhere = (await fixture.Bob.Turn(await fixture.Bob.NewSession(), Question)).Is(200)["run_id"];
        var trace = (await fixture.Bob.Get($"/runs/{elsewhere}/trace")).Is(200).Text;
        Assert.DoesNotContain(fixture.Ids["memory_id"]["mem_".Length..], trace);
        Assert.DoesNotContain("on Friday", trace);
        // Another agent's lane: that of the first waits for an approval.
        var inside = await fixture.Host.Services.GetRequiredService<IRunQueries>()
            .RecallAll("grouped", new ProjectKey(fixture.Session["sess_".Length..]), "launch Friday", 10, default);
        Assert.Contains(inside, memory => memory.From.Id.Value == fixture.Ids["memory_id"]["mem_".Length..]);
        Assert.Empty((await fixture.Bob.Get("/api/v1/memories")).Is(200).Json.GetProperty("data").EnumerateArray());
    }

    [Fact]
    public async Task No_session_works_in_the_folder_of_a_group()
    {
        var folder = (await fixture.Ann.Get($"/sessions/{fixture.Session}")).Is(200)["workspace_path"];
        Assert.True(Directory.Exists(folder));
        foreach (var path in (string[])[folder, Path.Combine(folder, ".anton"), Path.GetDirectoryName(folder)!, Path.GetDirectoryName(Path.GetDirectoryName(folder)!)!])
        {
            (await fixture.Bob.Post("/sessions", JsonSerializer.Serialize(new { workspace_path = path }))).IsProblem(422, "workspace_refused");
            (await fixture.Bob.Post("/api/cowork/sessions", JsonSerializer.Serialize(new { grants = (object[])[new { path }] }))).IsProblem(422, "grant_refused");
        }
    }

    [Fact]
    public async Task A_member_who_is_removed_reads_no_stream_of_it_any_further()
    {
        using var dora = await fixture.User("dora", "member");
        (await fixture.Ann.Post($"/groups/{fixture.Group}/members", """{"user_id":"dora"}""")).Is(201);
        await using var a = await EventReader.Open(dora, $"/sessions/{fixture.Session}/events/stream");
        await using var c = await EventReader.Open(dora, $"/api/cowork/sessions/{fixture.Session}/events");
        await using var b = await EventReader.Open(dora, $"/api/v1/responses/{await Held()}/events");
        (await fixture.Ann.Delete($"/groups/{fixture.Group}/members/dora")).Is(204);
        foreach (var reader in (EventReader[])[a, b, c])
        {
            Assert.DoesNotContain(await reader.ToEnd(), e => e.Data.ToString().Contains("nobody else", StringComparison.Ordinal));
        }
        (await dora.Get($"/sessions/{fixture.Session}")).IsProblem(404);

        async Task<string> Held() => (await fixture.Ann.Get($"/approvals/{fixture.Ids["approval_id"]}")).Is(200)["run_id"].Replace("run_", "resp_", StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stream_that_begins_behind_the_removal_of_its_reader_ends_at_once()
    {
        using var erin = await fixture.User("erin", "member");
        (await fixture.Ann.Post($"/groups/{fixture.Group}/members", """{"user_id":"erin"}""")).Is(201);
        (await fixture.Ann.Delete($"/groups/{fixture.Group}/members/erin")).Is(204);
        var last = long.Parse((await fixture.Ann.Get($"/sessions/{fixture.Session}/events?limit=1000")).Is(200)["next_since_id"]);
        var streams = fixture.Host.Services.GetRequiredService<EventStream>();
        using var patience = new CancellationTokenSource(Patience.Limit);
        await foreach (var entry in streams.WhileSeen(new("grouped", "user:erin", ["member"], false, ""), SessionKey.FromId(fixture.Session), last, patience.Token))
        {
            Assert.Fail($"{entry.Type} is shown to whom is no member.");
        }
    }

    [Fact]
    public async Task A_public_group_is_read_by_its_organisation_and_listed_as_no_session()
    {
        var open = (await fixture.Ann.Post("/groups", """{"title":"all hands"}""")).Is(201);
        (await fixture.Bob.Get($"/sessions/{open["session_id"]}")).Is(200);
        (await fixture.Bob.Turn(open["session_id"], "/say hello")).IsProblem(409, "session_of_group");
        (await fixture.Bob.Delete($"/sessions/{open["session_id"]}")).IsProblem(409, "session_of_group");
        Assert.DoesNotContain(open["session_id"], (await fixture.Bob.Get("/sessions")).Is(200).Text);
    }

    async Task<List<(string Method, string Template, JsonNode Operation)>> Operations()
    {
        var document = JsonNode.Parse((await fixture.Ann.Get("/openapi.json")).Text)!;
        return [.. document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject().Select(operation => (operation.Key, path.Key, Resolved(document, operation.Value!))))];
    }

    /// <summary>The operation with the schema of its body in place of a reference.</summary>
    static JsonNode Resolved(JsonNode document, JsonNode operation)
    {
        var copy = operation.DeepClone();
        foreach (var (_, media) in copy["requestBody"]?["content"]?.AsObject() ?? [])
        {
            if ((string?)media!["schema"]?["$ref"] is { } name)
            {
                media["schema"] = document["components"]!["schemas"]![name[(name.LastIndexOf('/') + 1)..]]!.DeepClone();
            }
        }
        return copy;
    }

    static IEnumerable<string> BodyIds(JsonNode operation) => (operation["requestBody"]?["content"]?.AsObject() ?? [])
        .Where(media => media.Key == "application/json").SelectMany(media => media.Value!["schema"]?["properties"]?.AsObject().Select(p => p.Key) ?? []);

    static List<string> Parameters(string template) =>
        [.. template.Split('{').Skip(1).Select(part => part[..part.IndexOf('}', StringComparison.Ordinal)])];

    /// <summary>The address with nothing but the whole list, and with each id of the group that it takes.</summary>
    IEnumerable<string> Queries(JsonNode operation)
    {
        var parameters = (operation["parameters"]?.AsArray() ?? []).Where(p => (string?)p!["in"] == "query").ToList();
        string Value(JsonNode p) => (string)p["name"]! switch
        {
            "limit" => p["schema"]?["maximum"]?.ToString() ?? "100",
            "conversation_id" => fixture.Session,
            "left" or "right" or "before" => fixture.Ids["run_id"],
            "q" => "topsecret",
            "cron" => "0 9 * * 1",
            "status" or "scope" or "source" or "type" => "all",
            "path" => ".anton/output/r.md",
            var name when fixture.Ids.TryGetValue(name, out var id) => id,
            var name when Neutral.TryGetValue(name, out var id) => id,
            _ => "x",
        };
        var always = parameters.Where(p => (bool?)p!["required"] == true || (string?)p["name"] == "limit").Select(p => $"{p!["name"]}={Uri.EscapeDataString(Value(p))}").ToList();
        var ids = parameters.Where(p => ((string)p!["name"]!).EndsWith("_id", StringComparison.Ordinal) || (string?)p["name"] is "before" or "after" or "status")
            .Select(p => $"{p!["name"]}={Uri.EscapeDataString(Value(p))}").Except(always);
        return ids.Select(id => string.Join('&', always.Append(id))).Prepend(string.Join('&', always));
    }

    /// <summary>As it is, and where the address shows the past, as it was.</summary>
    IEnumerable<string> Moments(JsonNode operation) =>
        (operation["parameters"]?.AsArray() ?? []).Any(p => (string?)p!["name"] == "as_of") ? ["", $"?as_of={fixture.LastEvent}"] : [""];

    string Fill(string template) => fixture.Ids.Concat(Neutral)
        .Aggregate(template, (path, id) => path.Replace($"{{{id.Key}}}", id.Value, StringComparison.Ordinal));

    Task<Got> Send(HttpClient http, string method, string template, string? body) => http.Send(new(method.ToUpperInvariant()), Fill(template), body);

    /// <summary>A body with which any route is content that takes one.</summary>
    string? Any(string method, string template) => method is not ("post" or "patch" or "put") ? null : ProbeBodies.Of(template, fixture.FromEvent);

    static bool IsHidden(Got got) => ((int)got.Status, got.Code) is (404, "not_found") or (403, "role_missing" or "operator_only")
        // The address of sockets asks for an upgrade before it looks at anything.
        or (426, _);

    /// <summary>A search repeats the question.</summary>
    bool Shows(Got got) => Secrets.Any(secret => got.Text.Replace("\"q\":\"topsecret\"", "", StringComparison.Ordinal).Contains(secret, StringComparison.Ordinal));
}
