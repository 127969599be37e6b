using System.Text.Json;

using Cowork.Application;

namespace Cowork.Web.Tests;

/// <summary>Sessions of contract C.</summary>
public sealed class DesktopSessionSpecs(TestTenant tenant) : IClassFixture<TestTenant>, IDisposable
{
    const string Sessions = "/api/cowork/sessions";

    readonly HttpClient http = tenant.Http;

    /// <summary>The operator of a host in local mode, who may grant any folder of the machine.</summary>
    readonly HttpClient local = tenant.Host.Client(tenant.Host.AdminToken);

    readonly string top = Directory.CreateTempSubdirectory("cowork-desktop-").FullName;

    public void Dispose()
    {
        Directory.Delete(top, recursive: true);
        local.Dispose();
    }

    string Folder(string name) => Directory.CreateDirectory(Path.Combine(top, name)).FullName;

    static object Grant(string path, params string[] outputRoots) => new { path, allowWrite = true, allowCreate = true, allowDelete = false, outputRoots };

    Task<Got> Create(object body) => local.Post(Sessions, JsonSerializer.Serialize(body));

    [Theory]
    [InlineData("/api/cowork/sessions")]
    [InlineData("/api/cowork/sessions/nobody")]
    public async Task Every_route_wants_a_token_also_in_local_mode(string path)
    {
        var refused = (await tenant.Host.Http.Get(path)).IsProblem(401, "unauthorized");
        Assert.Equal("Bearer realm=\"cowork\"", refused.Headers.WwwAuthenticate.ToString());
        (await tenant.Host.Http.Get(path, ("Authorization", "Basic eDp5"))).IsProblem(401, "unauthorized");
        (await tenant.Host.Http.Get(path, ("Authorization", "Bearer cowork_nonsense"))).IsProblem(401, "unauthorized");
        using var admin = tenant.Host.Client(tenant.Host.AdminToken);
        Assert.NotEqual(401, (int)(await admin.Get(path)).Status);
    }

    [Fact]
    public async Task A_session_of_another_contract_has_its_one_implicit_grant()
    {
        var made = (await http.Post("/sessions", "{}")).Is(201);
        var conversation = (await http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var shown = (await http.Get($"/api/cowork/sessions/{made["session_id"]}")).Is(200);
        Assert.Equal(["sessionId", "userId", "grants", "connectors", "createdAt", "status"], shown.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal((made["session_id"], "local", "[]", "active", made["created_at"]), (shown["sessionId"], shown["userId"], shown["connectors"], shown["status"], shown["createdAt"]));
        Assert.Equal(
            $$"""[{"path":"{{made["workspace_path"]}}","allowWrite":true,"allowCreate":true,"allowDelete":true,"outputRoots":[".anton/output"]}]""", shown["grants"]);
        var listed = (await http.Get("/api/cowork/sessions?limit=2")).Is(200).Json;
        Assert.Equal(JsonValueKind.Array, listed.ValueKind);
        Assert.Equal([conversation.Replace("conv_", "sess_", StringComparison.Ordinal), made["session_id"]], listed.EnumerateArray().Select(s => s.GetProperty("sessionId").GetString()));
        // Any form of an id is accepted.
        Assert.Equal(shown.Text, (await http.Get($"/api/cowork/sessions/{made["session_id"].Replace("sess_", "conv_", StringComparison.Ordinal)}")).Is(200).Text);
        Assert.Equal(shown.Text, (await http.Get($"/api/cowork/sessions/{made["session_id"]["sess_".Length..]}")).Is(200).Text);
        (await http.Get("/api/cowork/sessions/nobody")).IsProblem(404, "not_found");
        Assert.True((await http.Get("/api/cowork/sessions/a%20b")).IsProblem(422).Json.GetProperty("errors").TryGetProperty("sessionId", out _));
        (await http.Get("/api/cowork/sessions?limit=0")).IsProblem(422);
    }

    [Fact]
    public async Task A_session_has_the_grants_that_it_was_created_with_by_their_real_paths()
    {
        var (docs, data) = (Folder("docs"), Folder("data"));
        File.CreateSymbolicLink(Path.Combine(top, "link"), docs);
        var made = (await Create(new
        {
            grants = new[] { Grant($"{top}/link", "out", "./a/../b", $"{top}/link/c"), (object)new { path = $"{data}/" } },
            connectors = new[] { new { provider = "postgres", scopes = (string[])["read"], allowActions = true } },
        })).Is(201);
        Assert.Equal($"{Sessions}/{made["sessionId"]}", made.Headers.Location!.ToString());
        Assert.Equal(
            $$"""
            [{"path":"{{docs}}","allowWrite":true,"allowCreate":true,"allowDelete":false,"outputRoots":["out","b","{{docs}}/c"]},{"path":"{{data}}","allowWrite":false,"allowCreate":false,"allowDelete":false,"outputRoots":[]}]
            """.Trim(), made["grants"]);
        Assert.Equal("""[{"provider":"postgres","connectionId":null,"scopes":["read"],"allowActions":true}]""", made["connectors"]);
        Assert.StartsWith("sess_", made["sessionId"], StringComparison.Ordinal);
        Assert.Equal(made.Text, (await local.Get($"{Sessions}/{made["sessionId"]}")).Is(200).Text);
        // The other contracts open it: the first folder is the session's.
        Assert.Equal(docs, (await local.Get($"/sessions/{made["sessionId"]}")).Is(200)["workspace_path"]);
        Assert.Equal("active", (await local.Get($"/api/v1/conversations/{made["sessionId"]}")).Is(200)["status"]);
        (await local.Delete($"{Sessions}/{made["sessionId"]}")).Is(204);
        (await local.Get($"{Sessions}/{made["sessionId"]}")).IsProblem(404, "not_found");
        (await local.Delete($"{Sessions}/{made["sessionId"]}")).IsProblem(404, "not_found");
        Assert.True(Directory.Exists(docs));
    }

    [Fact]
    public async Task Without_folders_a_session_has_one_of_its_own()
    {
        foreach (var body in (string[])["{}", """{"grants":[],"connectors":[]}""", """{"grants":null}"""])
        {
            var made = (await http.Post(Sessions, body)).Is(201);
            var path = made.Json.GetProperty("grants")[0].GetProperty("path").GetString();
            Assert.Equal(tenant.WorkspaceOf(made["sessionId"]), path);
            Assert.Equal("""[".anton/output"]""", made.Json.GetProperty("grants")[0].GetProperty("outputRoots").GetRawText());
        }
        Assert.Equal(201, (int)(await http.Send(HttpMethod.Post, Sessions, (byte[]?)null, "application/json")).Status);
    }

    [Fact]
    public async Task A_repeat_under_a_key_is_the_same_session_also_when_its_folder_is_gone()
    {
        var body = JsonSerializer.Serialize(new { grants = new[] { Grant(Folder("once")) } });
        var first = (await local.Post(Sessions, body, ("Idempotency-Key", top))).Is(201);
        Directory.Delete(Path.Combine(top, "once"));
        var again = (await local.Post(Sessions, body, ("Idempotency-Key", top))).Is(201);
        Assert.Equal((first.Text, "true"), (again.Text, again.Headers.GetValues("Idempotency-Replayed").Single()));
        (await local.Post(Sessions, "{}", ("Idempotency-Key", top))).IsProblem(422, "idempotency_key_reused");
    }

    public static TheoryData<string, string> Refused => new()
    {
        { "relative/path", "absolute" }, { "{top}/none", "no such folder" }, { "{top}/file", "no such folder" }, { "{top}/file/x", "" }, { "{top}/dangling", "no such folder" },
        { "{top}/round", "" }, { "/", "root of the file system" }, { "/etc", "system" }, { "/etc/ssl", "system" }, { "/proc", "system" }, { "/proc/self", "" }, { "/sys", "system" },
        { "/dev", "system" }, { "/usr", "system" }, { "/usr/bin", "system" }, { "/var", "system" }, { "/root", "home" }, { "{top}/to-etc", "system" }, { "{top}/to-root", "root of the file system" },
        { "{top}/../../etc", "system" }, { "/tmp", "" }, { "{data}", "host's own data" }, { "{data}/workspaces", "host's own data" }, { "{top}/to-data", "host's own data" },
        { "{top}/.ssh", "keys" }, { "{top}/x/.AWS/y", "keys" }, { "{top}/to-keys", "keys" },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task A_folder_that_may_not_be_granted_is_refused_with_its_place(string path, string why)
    {
        File.WriteAllText(Path.Combine(top, "file"), "");
        Folder(".ssh");
        Folder("x/.AWS/y");
        foreach (var (name, target) in ((string, string)[])
            [("dangling", "nothing"), ("round", "round"), ("to-etc", "/etc"), ("to-root", "/"), ("to-data", tenant.Host.Data), ("to-keys", Path.Combine(top, ".ssh"))])
        {
            File.CreateSymbolicLink(Path.Combine(top, name), target);
        }
        var asked = path.Replace("{top}", top, StringComparison.Ordinal).Replace("{data}", tenant.Host.Data, StringComparison.Ordinal);
        var refused = (await Create(new { grants = new[] { Grant(Folder("good")), Grant(asked) } })).IsProblem(422, "grant_refused");
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty("$.grants[1].path", out _), refused.Text);
        Assert.Contains(why, refused["detail"], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"grants":[{}]}""", "$.grants[0].path")]
    [InlineData("""{"grants":[null]}""", "$.grants[0]")]
    [InlineData("""{"grants":{}}""", "$.grants")]
    [InlineData("""{"grants":[{"path":5}]}""", "$.grants[0].path")]
    [InlineData("""{"grants":[{"path":"/tmp/x","allowWrite":"yes"}]}""", "$.grants[0].allowWrite")]
    [InlineData("""{"grants":[{"path":"/tmp/a\u0000"}]}""", "$.grants[0].path")]
    [InlineData("""{"grants":[{"path":"{top}","outputRoots":["a",""]}]}""", "$.grants[0].outputRoots[1]")]
    [InlineData("""{"grants":[{"path":"{top}","outputRoots":["a","../b"]}]}""", "$.grants[0].outputRoots[1]")]
    [InlineData("""{"grants":[{"path":"{top}","outputRoots":["/etc"]}]}""", "$.grants[0].outputRoots[0]")]
    [InlineData("""{"grants":[{"path":"{top}"},{"path":"{top}/"}]}""", "$.grants[1].path")]
    [InlineData("""{"connectors":[{}]}""", "$.connectors[0].provider")]
    [InlineData("""{"connectors":[null]}""", "$.connectors[0]")]
    [InlineData("""{"connectors":[{"provider":"postgres"},{"provider":"postgress"}]}""", "$.connectors[1].provider")]
    [InlineData("""{"connectors":[{"provider":"postgres","connectionId":"a b"}]}""", "$.connectors[0].connectionId")]
    [InlineData("""{"connectors":[{"provider":"postgres","connectionId":"conn_01m80bw0ypq47sgbgw2mmtjfwf"}]}""", "$.connectors[0].connectionId")]
    [InlineData("""{"connectors":[{"provider":"postgres","scopes":[""]}]}""", "$.connectors[0].scopes[0]")]
    public async Task A_bad_body_is_refused_with_its_place(string body, string place)
    {
        var refused = (await local.Post(Sessions, body.Replace("{top}", top, StringComparison.Ordinal))).IsProblem(422);
        Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
    }

    [Theory]
    [InlineData("/api/cowork/sessions", """{"grants":{}}""", "$.grants", "an array")]
    [InlineData("/api/cowork/sessions", """{"grants":[5]}""", "$.grants[0]", "an object")]
    [InlineData("/api/cowork/sessions", """{"grants":[{"allowWrite":"yes"}]}""", "$.grants[0].allowWrite", "true or false")]
    [InlineData("/api/cowork/sessions", """{"grants":[{"path":5}]}""", "$.grants[0].path", "a string")]
    [InlineData("/api/cowork/sessions", """{"connectors":[{"provider":"postgres","scopes":["a",5]}]}""", "$.connectors[0].scopes[1]", "a string")]
    [InlineData("/api/cowork/config/budget", """{"dailyLimitUSD":"25"}""", "$.dailyLimitUSD", "a number")]
    [InlineData("/api/cowork/context/query", """{"query":"a","topK":"5"}""", "$.topK", "a whole number")]
    [InlineData("/myworks", """{"bucket":"deals","label":"a","payload":{},"tags":["a",5]}""", "$.tags[1]", "a string")]
    public async Task A_value_of_another_type_is_refused_with_the_type_that_is_wanted_there(string path, string body, string place, string wanted)
    {
        var refused = await local.Send(path.EndsWith("budget", StringComparison.Ordinal) ? HttpMethod.Put : HttpMethod.Post, path, body);
        Assert.Equal(422, (int)refused.Status);
        var errors = path == "/myworks" ? refused.Json.GetProperty("error").GetProperty("details").GetProperty("errors") : refused.Json.GetProperty("errors");
        Assert.Equal($"Has the wrong type: {wanted} is wanted.", errors.GetProperty(place)[0].GetString());
    }

    [Theory]
    [InlineData("/runs/nope", "run")]
    [InlineData("/api/v1/responses/nope", "response")]
    [InlineData("/api/cowork/tasks/nope", "task")]
    [InlineData("/api/cowork/tasks/nope/artifacts", "task")]
    [InlineData("/api/cowork/tasks/task_01m80bw0ypq47sgbgw2mmtjfwf", "task")]
    public async Task What_is_not_there_is_called_as_the_contract_calls_it(string path, string noun) =>
        Assert.Equal($"There is no such {noun}.", (await local.Get(path)).IsProblem(404, "not_found")["detail"]);

    [Fact]
    public async Task Another_tenant_of_a_local_host_is_granted_no_folder_of_the_machine() =>
        (await http.Post(Sessions, JsonSerializer.Serialize(new { grants = new[] { Grant(Folder("docs")) } }))).IsProblem(422, "grant_refused");

    [Fact]
    public async Task In_token_mode_a_grant_lies_in_a_configured_root_of_its_tenant()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, WorkspaceRoots = WorkspaceRoot.Read([$"{top}/roots/{{org}}"]) });
        var (ours, theirs, beside) = (Folder("roots/acme/docs"), Folder("roots/globex/docs"), Folder("beside"));
        using var acme = host.Client(await host.Token("acme", "member"));
        using var admin = host.Client(host.AdminToken);
        var made = (await acme.Post(Sessions, JsonSerializer.Serialize(new { grants = new[] { Grant(ours, ".") } }))).Is(201);
        Assert.Equal("completed", (await acme.Turn(made["sessionId"], "/tool write_file {\"path\":\"a.txt\",\"content\":\"apples\"}")).Is(200)["status"]);
        Assert.Equal("apples", await File.ReadAllTextAsync(Path.Combine(ours, "a.txt")));
        foreach (var path in (string[])[theirs, beside, $"{top}/roots"])
        {
            (await acme.Post(Sessions, JsonSerializer.Serialize(new { grants = new[] { Grant(path) } }))).IsProblem(422, "grant_refused");
            (await admin.Post(Sessions, JsonSerializer.Serialize(new { grants = new[] { Grant(path) } }))).IsProblem(422, "grant_refused");
        }
    }

    [Fact]
    public async Task What_a_task_does_is_held_to_the_grants_and_its_artifacts_are_the_same_in_every_contract()
    {
        var (docs, data) = (Folder("docs"), Folder("data"));
        File.WriteAllText(Path.Combine(docs, "a.txt"), "apples");
        var session = (await Create(new { grants = new[] { Grant(docs, "out"), (object)new { path = data, allowWrite = true, allowCreate = true, outputRoots = (string[])[data] } } })).Is(201)["sessionId"];

        var turn = (await local.Turn(
            session,
            $$"""
            /tool write_file {"path":"out/report.html","content":"<title>Fruit</title><p>apples"}
            /tool write_file {"path":"{{data}}/rows.csv","content":"a,b"}
            /tool delete_file {"path":"a.txt"}
            /tool read_file {"path":"../beside.txt"}
            """)).Is(200);
        Assert.Equal("completed", turn["status"]);
        Assert.True(File.Exists(Path.Combine(docs, "a.txt")));
        var rules = (await local.Events(session)).Where(e => e.GetProperty("type").GetString() == "policy_decision").Select(e => e.GetProperty("payload").GetProperty("rule").GetString());
        Assert.Equal(["write_output", "write_output", "not_granted", "outside_grants"], rules);

        var run = turn["run_id"];
        var task = run.Replace("run_", "task_", StringComparison.Ordinal);
        var artifacts = (await local.Get($"/api/cowork/tasks/{task}/artifacts")).Is(200).Json;
        Assert.Equal(
            [("report.html", "out/report.html", "report", "text/html; charset=utf-8", 29L, 1, task), ("rows.csv", $"{data}/rows.csv", "doc", "text/csv; charset=utf-8", 3L, 1, task)],
            artifacts.EnumerateArray().Select(a => (
                a.GetProperty("name").GetString()!, a.GetProperty("path").GetString()!, a.GetProperty("type").GetString()!, a.GetProperty("contentType").GetString()!,
                a.GetProperty("size").GetInt64(), a.GetProperty("version").GetInt32(), a.GetProperty("taskId").GetString()!)));
        Assert.Equal(["artifactId", "taskId", "name", "path", "type", "contentType", "size", "sha256", "version", "createdAt"], artifacts[0].EnumerateObject().Select(m => m.Name));
        Assert.Equal(artifacts.GetRawText(), (await local.Get($"/api/cowork/tasks/{run}/artifacts")).Is(200).Json.GetRawText());
        (await local.Get("/api/cowork/tasks/task_01m80bw0ypq47sgbgw2mmtjfwf/artifacts")).IsProblem(404);
        var listed = (await local.Get($"/runs/{run}/artifacts")).Is(200).Json.GetProperty("artifacts");
        Assert.Equal(
            artifacts.EnumerateArray().Select(a => (a.GetProperty("artifactId").GetString(), a.GetProperty("sha256").GetString())),
            listed.EnumerateArray().Select(a => (a.GetProperty("artifact_id").GetString(), a.GetProperty("sha256").GetString())));

        foreach (var artifact in artifacts.EnumerateArray())
        {
            var id = artifact.GetProperty("artifactId").GetString();
            var (content, sha256) = ($"/api/cowork/artifacts/{id}/content", artifact.GetProperty("sha256").GetString());
            using var got = await local.GetAsync(content);
            var bytes = await got.Content.ReadAsByteArrayAsync();
            Assert.Equal(sha256, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)));
            Assert.Equal((artifact.GetProperty("contentType").GetString(), $"\"{sha256}\"", "nosniff"), (
                got.Content.Headers.ContentType!.ToString(), got.Headers.ETag!.ToString(), got.Headers.GetValues("X-Content-Type-Options").Single()));
            Assert.StartsWith("sandbox", got.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
            Assert.Equal(304, (int)(await local.Get(content, ("If-None-Match", $"\"{sha256}\""))).Status);
            var part = await local.Get(content, ("Range", "bytes=1-2"));
            Assert.Equal((206, System.Text.Encoding.UTF8.GetString(bytes[1..3])), ((int)part.Status, part.Text));
            // Contract B serves the same bytes at the artifact's path.
            var path = (await local.Get($"/api/v1/artifacts/{id}")).Is(200)["path"];
            var preview = (await local.Get($"/api/v1/artifacts/preview?project_id=proj_00000000000000000000000000&path={Uri.EscapeDataString(path)}")).Is(200);
            Assert.Equal($"\"{sha256}\"", preview["etag"]);
            Assert.Equal(System.Text.Encoding.UTF8.GetString(bytes), (await local.Get(preview["url"])).Is(200).Text);
        }
        (await local.Get("/api/cowork/artifacts/art_01m80bw0ypq47sgbgw2mmtjfwf/content")).IsProblem(404);
        (await tenant.Host.Http.Get($"/api/cowork/artifacts/{artifacts[0].GetProperty("artifactId").GetString()}/content")).IsProblem(401);
    }

    [Fact]
    public async Task A_cell_works_in_the_granted_folders_and_what_it_writes_below_an_output_root_is_an_artifact()
    {
        var (docs, data) = (Folder("docs"), Folder("data"));
        File.WriteAllText(Path.Combine(data, "a.txt"), "apples");
        var session = (await Create(new { grants = new[] { Grant(docs, "out"), (object)new { path = data } } })).Is(201)["sessionId"];
        var code = $$"""
            import os
            print(os.getcwd(), open("{{data}}/a.txt").read())
            open("out/rows.csv", "w").write("a,b")
            for path in ("b.txt", "{{data}}/a.txt"):
                try:
                    open(path, "w")
                except OSError as e:
                    print(os.strerror(e.errno))
            """;
        var pad = (await local.Post("/api/v1/scratchpads", JsonSerializer.Serialize(new { conversation_id = session, title = "Cells", cells = new[] { new { type = "code", content = code } } }))).Is(201);
        var ran = (await local.Post($"/api/v1/scratchpads/{pad["id"]}/cells/{pad.Json.GetProperty("cells")[0].GetProperty("id")}/run", """{"stream":false}""")).Is(200);
        Assert.Equal(
            $"{docs} apples\nRead-only file system\nRead-only file system\n",
            string.Concat(ran.Json.GetProperty("outputs").EnumerateArray().Select(output => output.GetProperty("data").GetString())));
        var artifacts = (await local.Get("/api/v1/artifacts?project_id=proj_00000000000000000000000000&limit=1000")).Is(200).Json.GetProperty("data");
        var id = artifacts.EnumerateArray().First(artifact => artifact.GetProperty("path").GetString() == "out/rows.csv").GetProperty("id").GetString();
        Assert.Equal("a,b", (await local.Get($"/api/cowork/artifacts/{id}/content")).Is(200).Text);
        Assert.Equal("apples", await File.ReadAllTextAsync(Path.Combine(data, "a.txt")));
    }

    [Fact]
    public async Task An_approval_lets_nothing_through_that_the_grant_does_not_allow()
    {
        var docs = Folder("docs");
        var session = (await Create(new { grants = new[] { new { path = docs, allowCreate = true } } })).Is(201)["sessionId"];
        var asked = (await local.Turn(session, "/tool write_file {\"path\":\"a.txt\",\"content\":\"theirs\"}")).Is(200);
        var approval = asked.Json.GetProperty("pending_approval_ids")[0].GetString();
        // While a person decides about creating the file, another program creates it.
        File.WriteAllText(Path.Combine(docs, "a.txt"), "mine");
        (await local.Post($"/approvals/{approval}/decision", """{"approved":true}""")).Is(200);
        await local.Until($"/runs/{asked["run_id"]}", run => run["status"] == "completed");
        Assert.Equal("mine", await File.ReadAllTextAsync(Path.Combine(docs, "a.txt")));
        var result = (await local.Events(session)).Single(e => e.GetProperty("type").GetString() == "tool_result");
        Assert.Contains("not_granted", result.GetProperty("payload").GetProperty("content_preview").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connections_are_used_as_far_as_they_are_granted()
    {
        var connection = (await http.Post(
            "/api/v1/connectors/connections",
            """{"spec_id":"postgres","name":"shop","credentials":{"host":"127.0.0.1","port":1,"database":"d","user":"u","password":"p"}}""")).Is(201)["id"];
        async Task<string> Said(string connectors, string call)
        {
            var session = (await http.Post(Sessions, $$"""{"connectors":{{connectors}}}""")).Is(201)["sessionId"];
            (await http.Turn(session, $"/tool query_connector {call}")).Is(200);
            var told = (await http.Events(session)).Last(e => e.GetProperty("type").GetString() is "tool_result" or "policy_decision").GetProperty("payload");
            return told.TryGetProperty("content_preview", out var text) ? text.GetString()! : told.GetProperty("rule").GetString()!;
        }
        var (list, write) = ("""{"action":"list"}""", $$"""{"action":"write","connection_id":"{{connection}}","query":"INSERT INTO t VALUES (1)"}""");
        Assert.Equal("There is no connection.", await Said("[]", list));
        Assert.Equal("There is no connection.", await Said("""[{"provider":"sqlite"}]""", list));
        Assert.Contains("shop", await Said("""[{"provider":"postgres"}]""", list), StringComparison.Ordinal);
        Assert.Contains("shop", await Said($$"""[{"provider":"postgres","connectionId":"{{connection}}"}]""", list), StringComparison.Ordinal);
        Assert.Contains("not granted that connection", await Said("[]", write), StringComparison.Ordinal);
        Assert.Contains("allows no actions", await Said("""[{"provider":"postgres"}]""", write), StringComparison.Ordinal);
        (await http.Post(Sessions, $$"""{"connectors":[{"provider":"sqlite","connectionId":"{{connection}}"}]}""")).IsProblem(422, "unknown_connection");
    }
}
