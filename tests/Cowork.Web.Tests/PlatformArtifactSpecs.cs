using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Artifacts as contract B has them.</summary>
public sealed class PlatformArtifactSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Artifacts = "/api/v1/artifacts";
    const string General = "proj_00000000000000000000000000";

    readonly HttpClient http = tenant.Http;

    async Task<string> NewProject() => (await http.Post("/api/v1/projects", """{"name":"Sales"}""")).Is(201)["id"];

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    /// <summary>A run of the conversation writes the file.</summary>
    async Task Write(string conversation, string path, string content)
    {
        var input = JsonSerializer.Serialize(new { path = $".anton/output/{path}", content });
        var turn = (await http.Turn(conversation, $"/tool write_file {input}")).Is(200);
        Assert.Equal("completed", turn["status"]);
    }

    static List<JsonElement> Data(Got list) => [.. list.Is(200).Json.GetProperty("data").EnumerateArray()];

    static string Paths(Got list) => string.Join(' ', Data(list).Select(a => a.GetProperty("path").GetString()));

    async Task<(HttpStatusCode Status, string Text, HttpResponseHeaders Headers, HttpContentHeaders Content)> Serve(
        string project, string path, HttpMethod? method = null, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(method ?? HttpMethod.Get, $"{Artifacts}/serve/{project}/{path}");
        foreach (var (name, value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }
        using var response = await http.SendAsync(request);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(), response.Headers, response.Content.Headers);
    }

    [Fact]
    public async Task An_artifact_has_the_type_and_title_of_its_content()
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        (string Path, string Content, string Type, string Title)[] files =
        [
            ("sales/index.html", "<html><head><title>Sales &amp; <b>more</b></title></head><script src=\"assets/chart.js\"></script>", "app", "Sales & more"),
            ("plain/index.html", "<h1>No <i>scripts</i></h1>", "report", "No scripts"),
            ("q2.html", "<p>x<script>1</script>", "report", "q2.html"),
            ("notes.md", "text\n# Heading ##\n", "doc", "Heading"),
            ("kpi.dashboard.json", "{}", "dashboard", "kpi.dashboard.json"),
            ("chart.json", """{"$schema":"https://vega.github.io/schema/vega-lite/v5.json"}""", "dashboard", "chart.json"),
            ("data.json", "{}", "doc", "data.json"),
            ("rows.csv", "a,b", "doc", "rows.csv"),
        ];
        foreach (var (path, content, _, _) in files)
        {
            await Write(conversation, path, content);
        }
        var listed = Data(await http.Get($"{Artifacts}?project_id={project}"));
        Assert.Equal(
            files.Reverse().Select(f => (f.Path, f.Type, f.Title, project)),
            listed.Select(a => (a.GetProperty("path").GetString()!, a.GetProperty("type").GetString()!, a.GetProperty("title").GetString()!, a.GetProperty("project_id").GetString()!)));
        Assert.Equal(["id", "project_id", "title", "type", "path", "created_at", "updated_at"], listed[0].EnumerateObject().Select(m => m.Name));
        Assert.Equal(listed[0].GetRawText(), (await http.Get($"{Artifacts}/{listed[0].GetProperty("id").GetString()}")).Is(200).Text);

        Assert.Equal("chart.json kpi.dashboard.json", Paths(await http.Get($"{Artifacts}?project_id={project}&type=dashboard")));
        Assert.Equal("sales/index.html", Paths(await http.Get($"{Artifacts}?project_id={project}&type=app")));
        var page = (await http.Get($"{Artifacts}?project_id={project}&type=report&limit=1&offset=1")).Is(200);
        Assert.Equal(("plain/index.html", "2", "1", "1", "False"), (Paths(page), page["total"], page["limit"], page["offset"], page["has_more"]));
        foreach (var wrong in (string[])["type=game", "limit=0", "limit=1001", "offset=-1", "project_id=%20"])
        {
            (await http.Get($"{Artifacts}?{wrong}")).IsProblem(422);
        }
        (await http.Get($"{Artifacts}?project_id=proj_0000000000000000000000000Z")).IsProblem(404, "not_found");

        await Write(conversation, "notes.md", "# Another title");
        var written = Data(await http.Get($"{Artifacts}?project_id={project}")).Single(a => a.GetProperty("path").GetString() == "notes.md");
        Assert.Equal("Another title", written.GetProperty("title").GetString());
        Assert.True(written.GetProperty("updated_at").GetDateTimeOffset() > written.GetProperty("created_at").GetDateTimeOffset());
    }

    [Fact]
    public async Task An_artifact_of_no_project_is_of_the_built_in_one()
    {
        await Write(await http.NewSession(), "general.md", "x");
        var artifact = Data(await http.Get($"{Artifacts}?project_id={General}")).First(a => a.GetProperty("path").GetString() == "general.md");
        Assert.Equal(JsonValueKind.Null, artifact.GetProperty("project_id").ValueKind);
        Assert.Equal("x", (await Serve(General, "general.md")).Text);
        Assert.Equal($"{Artifacts}/serve/{General}/general.md", (await http.Get($"{Artifacts}/preview?path=general.md&project_id={General}")).Is(200)["url"]);
    }

    [Fact]
    public async Task The_file_that_was_written_last_lies_at_a_path_and_goes_with_its_conversation()
    {
        var project = await NewProject();
        var (first, second) = (await NewConversation(project), await NewConversation(project));
        await Write(first, "r.md", "of the first");
        await Write(second, "r.md", "of the second");
        Assert.Equal("of the second", (await Serve(project, "r.md")).Text);
        await Write(first, "r.md", "of the first again");
        Assert.Equal("of the first again", (await Serve(project, "r.md")).Text);
        Assert.Equal("r.md r.md", Paths(await http.Get($"{Artifacts}?project_id={project}")));
        var gone = Data(await http.Get($"{Artifacts}?project_id={project}"))[1].GetProperty("id").GetString();

        (await http.Delete($"/api/v1/conversations/{first}")).Is(204);
        Assert.Equal("of the second", (await Serve(project, "r.md")).Text);
        var left = (await http.Get($"{Artifacts}?project_id={project}")).Is(200);
        Assert.Equal(("r.md", "1"), (Paths(left), left["total"]));
        (await http.Get($"{Artifacts}/{gone}")).IsProblem(404, "not_found");
        (await http.Post($"{Artifacts}/open", $$"""{"artifact_id":"{{gone}}"}""")).IsProblem(404, "not_found");

        (await http.Delete($"/api/v1/projects/{project}")).Is(204);
        Assert.Equal(HttpStatusCode.NotFound, (await Serve(project, "r.md")).Status);
        (await http.Get($"{Artifacts}/preview?path=r.md&project_id={project}")).IsProblem(404, "not_found");
        Assert.DoesNotContain(Data(await http.Get($"{Artifacts}?limit=200")), a => a.GetProperty("project_id").GetString() == project);
    }

    [Fact]
    public async Task A_preview_has_the_text_of_a_small_file()
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        await Write(conversation, "ä b/größe.html", "<p>ü");
        await Write(conversation, "long.txt", new string('x', 200_000));
        await Write(conversation, "image.png", "no picture");
        var preview = (await http.Get($"{Artifacts}/preview?path={Uri.EscapeDataString("ä b/größe.html")}&project_id={project}")).Is(200);
        Assert.Equal(["artifact", "url", "content_type", "size", "etag", "content"], preview.Json.EnumerateObject().Select(m => m.Name));
        Assert.Equal(("text/html; charset=utf-8", "5", "<p>ü"), (preview["content_type"], preview["size"], preview["content"]));
        var served = await http.GetAsync(preview["url"]);
        Assert.Equal("<p>ü", await served.Content.ReadAsStringAsync());
        Assert.Equal(preview["etag"], served.Headers.ETag!.Tag);
        Assert.Equal(200_000, (await http.Get($"{Artifacts}/preview?path=long.txt&project_id={project}")).Is(200)["content"].Length);
        Assert.Equal(JsonValueKind.Null, (await http.Get($"{Artifacts}/preview?path=image.png&project_id={project}")).Is(200).Json.GetProperty("content").ValueKind);
        foreach (var wrong in (string[])["", "path=long.txt", $"project_id={project}", $"path=&project_id={project}"])
        {
            (await http.Get($"{Artifacts}/preview?{wrong}")).IsProblem(422);
        }
        (await http.Get($"{Artifacts}/preview?path=other.txt&project_id={project}")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task An_app_is_served_in_a_sandbox_with_its_files()
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        await Write(conversation, "sales/index.html", "<script src=\"assets/chart.js\"></script>");
        await Write(conversation, "sales/assets/chart.js", "draw()");
        var page = await Serve(project, "sales/index.html");
        Assert.Equal(("text/html; charset=utf-8", "same-origin"), ($"{page.Content.ContentType}", page.Headers.GetValues("Cross-Origin-Resource-Policy").Single()));
        var policy = page.Headers.GetValues("Content-Security-Policy").Single();
        Assert.StartsWith("sandbox allow-scripts; default-src 'none';", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("allow-same-origin", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("connect-src", policy, StringComparison.Ordinal);
        Assert.Equal("nosniff", page.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.False(page.Headers.Contains("Set-Cookie"));
        Assert.Null(page.Content.ContentDisposition);

        // Relative links are those of the address.
        var link = new Uri(new Uri(http.BaseAddress!, $"{Artifacts}/serve/{project}/sales/index.html"), "assets/chart.js");
        using var script = await http.GetAsync(link);
        Assert.Equal(("draw()", "text/javascript; charset=utf-8"), (await script.Content.ReadAsStringAsync(), $"{script.Content.Headers.ContentType}"));
        Assert.Equal("cross-origin", script.Headers.GetValues("Cross-Origin-Resource-Policy").Single());

        var tag = script.Headers.ETag!.Tag;
        Assert.Equal(HttpStatusCode.NotModified, (await Serve(project, "sales/assets/chart.js", null, ("If-None-Match", tag))).Status);
        var part = await Serve(project, "sales/assets/chart.js", null, ("Range", "bytes=1-3"));
        Assert.Equal((HttpStatusCode.PartialContent, "raw"), (part.Status, part.Text));
        Assert.Equal(HttpStatusCode.RequestedRangeNotSatisfiable, (await Serve(project, "sales/assets/chart.js", null, ("Range", "bytes=9-"))).Status);
        var head = await Serve(project, "sales/assets/chart.js", HttpMethod.Head);
        Assert.Equal((HttpStatusCode.OK, "", 6L), (head.Status, head.Text, head.Content.ContentLength));
    }

    [Theory]
    [InlineData("sales")]
    [InlineData("sales/")]
    [InlineData("sales/other.js")]
    [InlineData("sales//index.html")]
    [InlineData("SALES/index.html")]
    [InlineData("sales%2Findex.html")]
    [InlineData("sales%5Cindex.html")]
    [InlineData("%2e%2e%2f%2e%2e%2fsecret.md")]
    [InlineData("..%2f..%2fsecret.md")]
    [InlineData("%252e%252e/%252e%252e/secret.md")]
    [InlineData("..\\..\\secret.md")]
    [InlineData("%2fetc%2fpasswd")]
    [InlineData("/etc/passwd")]
    [InlineData("file:///etc/passwd")]
    [InlineData(".anton/output/sales/index.html")]
    [InlineData("")]
    public async Task A_path_that_no_run_has_written_is_not_there(string path)
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        await Write(conversation, "sales/index.html", "x");
        (await http.Turn(conversation, """/tool write_file {"path":"secret.md","content":"topsecret"}""")).Is(200);
        var got = await Serve(project, path);
        Assert.Equal(HttpStatusCode.NotFound, got.Status);
        Assert.DoesNotContain("topsecret", got.Text, StringComparison.Ordinal);
        if (path.Length > 0)
        {
            (await http.Get($"{Artifacts}/preview?path={Uri.EscapeDataString(path)}&project_id={project}")).IsProblem(404, "not_found");
        }
    }

    [Fact]
    public async Task Dots_and_control_characters_lead_nowhere()
    {
        var project = await NewProject();
        var conversation = await NewConversation(project);
        await Write(conversation, "sales/index.html", "topsecret");
        using var client = new HttpClient { BaseAddress = http.BaseAddress };
        client.DefaultRequestHeaders.Authorization = http.DefaultRequestHeaders.Authorization;
        foreach (var path in (string[])["..", "../..", "sales\\index.html", "..\\..\\secret.md", "a/../../../..", "%2e%2e/%2e%2e", "a%00b", "a%0ab", new string('x', 4_000), string.Concat(Enumerable.Repeat("a/", 2_000))])
        {
            using var request = new HttpRequestMessage(
                HttpMethod.Get, new Uri($"{tenant.Host.Url}{Artifacts}/serve/{project}/{path}", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }));
            using var response = await client.SendAsync(request);
            // What leads upwards is another address of the API, and no file.
            Assert.StartsWith("application/", response.Content.Headers.ContentType!.MediaType, StringComparison.Ordinal);
            Assert.DoesNotContain("topsecret", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
    }

    /// <summary>A page in a sandbox has no origin, and its browser says so.</summary>
    [Fact]
    public async Task A_page_in_the_sandbox_cannot_call_the_api()
    {
        using var page = tenant.Host.Client(null);
        foreach (var (method, path, body) in ((string, string, string?)[])[("POST", "/sessions", "{}"), ("GET", "/sessions", null), ("GET", $"{Artifacts}", null), ("DELETE", "/sessions/x", null)])
        {
            (await page.Send(new HttpMethod(method), path, body, ("Origin", "null"))).IsProblem(403, "foreign_origin");
        }
        var preflight = await page.Send(HttpMethod.Options, "/sessions", null, ("Origin", "null"), ("Access-Control-Request-Method", "POST"));
        Assert.False(preflight.Headers.Contains("Access-Control-Allow-Origin"));
    }

    [Fact]
    public async Task An_artifact_is_opened_in_the_shells_of_its_tenant()
    {
        var project = await NewProject();
        await Write(await NewConversation(project), "sales/index.html", "<title>Sales</title><script>1</script>");
        var artifact = Data(await http.Get($"{Artifacts}?project_id={project}"))[0];
        var open = $$"""{"artifact_id":"{{artifact.GetProperty("id").GetString()}}"}""";
        Assert.Equal("0", (await http.Post($"{Artifacts}/open", open)).Is(202)["delivered_to"]);

        using var stranger = await tenant.Stranger("member");
        await using (var first = await EventReader.Open(http, "/api/v1/shell/events"))
        await using (var second = await EventReader.Open(http, "/api/v1/shell/events"))
        await using (var foreign = await EventReader.Open(stranger, "/api/v1/shell/events"))
        {
            await Delivered(2);
            using var deadline = new CancellationTokenSource(Patience.Limit);
            foreach (var shell in (EventReader[])[first, second])
            {
                var (_, type, data) = (await shell.Next(deadline.Token))!.Value;
                Assert.Equal(("artifact.open", "artifact.open", artifact.GetRawText()), (type, data.GetProperty("type").GetString(), data.GetProperty("artifact").GetRawText()));
                Assert.Equal($"{Artifacts}/serve/{project}/sales/index.html", data.GetProperty("url").GetString());
            }
        }
        await Delivered(0);
        (await stranger.Post($"{Artifacts}/open", open)).IsProblem(404, "not_found");
        foreach (var wrong in (string[])["{}", """{"artifact_id":null}""", """{"artifact_id":"a b"}"""])
        {
            (await http.Post($"{Artifacts}/open", wrong)).IsProblem(422);
        }
        using var auditor = await tenant.Client("auditor");
        (await auditor.Post($"{Artifacts}/open", open)).IsProblem(403, "role_missing");
        Assert.Equal(HttpStatusCode.OK, (await http.SendAsync(new(HttpMethod.Head, "/api/v1/shell/events"))).StatusCode);

        // A shell is connected when its answer begins, and gone some time after its connection is.
        Task Delivered(int to) => Patience.Until(async () => (await http.Post($"{Artifacts}/open", open)).Is(202), got => got["delivered_to"] == $"{to}", got => got.Text);
    }
}
