using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using static Cowork.Web.Tests.UploadedForm;

namespace Cowork.Web.Tests;

/// <summary>Files over HTTP, as contract B has them.</summary>
public sealed class FileSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    const string Files = "/api/v1/files";

    readonly HttpClient http = tenant.Http;

    async Task<string> NewProject() => (await http.Post("/api/v1/projects", """{"name":"Sales"}""")).Is(201)["id"];

    async Task<string> NewConversation(string? project = null) =>
        (await http.Post("/api/v1/conversations", project is null ? "{}" : $$"""{"project_id":"{{project}}"}""")).Is(201)["id"];

    static string Ids(Got list) => string.Join(' ', list.Is(200).Json.GetProperty("data").EnumerateArray().Select(file => file.GetProperty("id").GetString()));

    static string[] Members(JsonElement of) => [.. of.EnumerateObject().Select(member => member.Name)];

    async Task<HttpResponseMessage> Content(string id, Action<HttpRequestHeaders>? headers = null, HttpMethod? method = null)
    {
        var request = new HttpRequestMessage(method ?? HttpMethod.Get, $"{Files}/{id}/content");
        headers?.Invoke(request.Headers);
        return await http.SendAsync(request);
    }

    [Fact]
    public async Task A_file_is_uploaded_listed_shown_and_deleted()
    {
        var (project, conversation) = (await NewProject(), await NewConversation());
        var made = (await http.Upload("%PDF-1.7 and so on", "Q2-report.pdf", ("project_id", project), ("conversation_id", conversation))).Is(201);
        var id = made["id"];
        Assert.StartsWith("file_", id, StringComparison.Ordinal);
        Assert.Equal($"{Files}/{id}", made.Headers.Location!.ToString());
        Assert.Equal(
            ["id", "name", "mime_type", "size", "project_id", "conversation_id", "status", "status_code", "status_detail", "created_at"], Members(made.Json));
        Assert.Equal(
            ("Q2-report.pdf", "application/pdf", "18", project, conversation),
            (made["name"], made["mime_type"], made["size"], made["project_id"], made["conversation_id"]));
        Assert.Equal(id, (await http.Get($"{Files}/{id}")).Is(200)["id"]);
        foreach (var query in (string[])["", $"?project_id={project}", $"?conversation_id={conversation}", $"?project_id={project}&conversation_id={conversation}"])
        {
            Assert.Contains(id, Ids(await http.Get(Files + query)), StringComparison.Ordinal);
        }
        (await http.Delete($"{Files}/{id}")).Is(204);
        foreach (var path in (string[])[id, $"{id}/content"])
        {
            (await http.Get($"{Files}/{path}")).IsProblem(404, "not_found");
        }
        (await http.Delete($"{Files}/{id}")).IsProblem(404, "not_found");
        Assert.Equal("", Ids(await http.Get($"{Files}?conversation_id={conversation}")));
        var feed = await http.Events(conversation);
        Assert.Equal("file_uploaded", feed.First(e => e.GetProperty("type").GetString()!.StartsWith("file_", StringComparison.Ordinal)).GetProperty("type").GetString());
        Assert.Contains("file_deleted", feed.Select(e => e.GetProperty("type").GetString()));
    }

    [Fact]
    public async Task Files_are_listed_by_project_conversation_and_both_in_pages_with_the_right_total()
    {
        await using var other = await tenant.Another();
        var here = other.Http;
        var project = (await here.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];
        var conversation = (await here.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var all = new List<(string Id, bool OfProject, bool OfConversation)>();
        for (var i = 0; i < 12; i++)
        {
            var (ofProject, ofConversation) = (i % 2 == 0, i % 3 == 0);
            var fields = new List<(string, string)>();
            if (ofProject)
            {
                fields.Add((i % 4 == 0 ? "<project_id" : "project_id", project));
            }
            if (ofConversation)
            {
                fields.Add(("conversation_id", conversation));
            }
            all.Insert(0, ((await here.Upload($"file {i}", $"{i}.txt", [.. fields])).Is(201)["id"], ofProject, ofConversation));
        }
        (string Query, Func<(string Id, bool OfProject, bool OfConversation), bool> Fits)[] filters =
        [
            ("", _ => true), ($"&project_id={project}", f => f.OfProject), ($"&conversation_id={conversation}", f => f.OfConversation),
            ($"&project_id={project}&conversation_id={conversation}", f => f.OfProject && f.OfConversation),
            ("&project_id=proj_00000000000000000000000000", f => !f.OfProject && !f.OfConversation),
        ];
        foreach (var (query, fits) in filters)
        {
            foreach (var (limit, offset) in ((int, int)[])[(50, 0), (2, 0), (2, 1), (3, 3), (200, 12)])
            {
                var page = (await here.Get($"{Files}?limit={limit}&offset={offset}{query}")).Is(200);
                var wanted = all.Where(fits).Select(f => f.Id).ToList();
                Assert.Equal(["object", "data", "total", "limit", "offset", "has_more"], Members(page.Json));
                Assert.Equal(
                    (string.Join(' ', wanted.Skip(offset).Take(limit)), "list", $"{wanted.Count}", $"{offset + limit < wanted.Count}"),
                    (Ids(page), page["object"], page["total"], page["has_more"]));
            }
        }
        (await here.Get($"{Files}?project_id=proj_01k9nobody0000000000000000")).IsProblem(404, "not_found");
        (await here.Get($"{Files}?conversation_id=nobody")).IsProblem(404, "not_found");
        foreach (var query in (string[])["limit=0", "limit=1001", "offset=-1", "project_id=", "conversation_id=no%20id"])
        {
            (await here.Get($"{Files}?{query}")).IsProblem(422, "invalid_request");
        }
    }

    [Theory]
    [InlineData("""name="file"; filename="../../etc/passwd" """, "passwd")]
    [InlineData("""name="file"; filename="C:\fakepath\win.ini" """, "win.ini")]
    [InlineData("""name="file"; filename="Übersicht 📊.txt" """, "Übersicht 📊.txt")]
    [InlineData("""name="file"; filename="a%22b\"c.txt" """, "a\"b\"c.txt")]
    [InlineData("""name="file"; filename="x.txt"; filename*=UTF-8''%E2%82%AC%20rates.txt""", "€ rates.txt")]
    [InlineData("name=file; filename=plain.txt", "plain.txt")]
    public async Task A_name_is_data_and_comes_back_as_it_was_given_without_folders(string disposition, string name)
    {
        var made = (await http.UploadRaw(Part(disposition.TrimEnd(), "x") + End)).Is(201);
        Assert.Equal(name, made["name"]);
        using var got = await Content(made["id"]);
        Assert.Equal(("attachment", name), (got.Content.Headers.ContentDisposition!.DispositionType, got.Content.Headers.ContentDisposition.FileNameStar));
    }

    [Fact]
    public async Task A_form_that_is_no_form_with_one_file_is_refused_and_says_why()
    {
        var file = Part("""name="file"; filename="a.txt" """.TrimEnd(), "x");
        (string Form, string ContentType, int Status, string Code)[] refused =
        [
            ("{}", "application/json", 415, "unsupported_media_type"),
            ("file=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
            (file + End, "multipart/mixed; boundary=" + Boundary, 415, "unsupported_media_type"),
            (file + End, "multipart/form-data", 400, "malformed_form"),
            (file + End, "multipart/form-data; boundary=" + new string('b', 71), 400, "malformed_form"),
            (file + End, "multipart/form-data; boundary=other", 400, "malformed_form"),
            (file, ContentType, 400, "malformed_form"),
            ("", ContentType, 400, "malformed_form"),
            ($"--{Boundary}\r\n\r\nx\r\n{End}", ContentType, 400, "malformed_form"),
            ($"--{Boundary}\r\nContent-Disposition: form-data\r\n\r\nx\r\n{End}", ContentType, 400, "malformed_form"),
            ($"--{Boundary}\r\nX: {new string('x', 20_000)}\r\n\r\nx\r\n{End}", ContentType, 400, "malformed_form"),
            (End, ContentType, 422, "invalid_request"),
            (Part("name=\"project_id\"", "") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"", "no name") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"; filename=\"\"", "x") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"; filename=\"a/..\"", "x") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"; filename=\"a\u0001b\"", "x") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"; filename*=UTF-8''a%00b", "x") + End, ContentType, 422, "invalid_request"),
            (Part("name=\"file\"; filename=\"a%0Ab\"", "x") + End, ContentType, 422, "invalid_request"),
            (Part($"name=\"file\"; filename=\"{string.Concat(Enumerable.Repeat("📊", 64))}\"", "x") + End, ContentType, 422, "invalid_request"),
            (file + file + End, ContentType, 422, "invalid_request"),
            (file + Part("name=\"project_id\"", "proj_1") + Part("name=\"project_id\"", "proj_1") + End, ContentType, 422, "invalid_request"),
            (file + Part("name=\"project_id\"", new string('p', 5_000)) + End, ContentType, 422, "invalid_request"),
            (file + Part("name=\"project_id\"", "no id") + End, ContentType, 422, "invalid_request"),
            (file + string.Concat(Enumerable.Repeat(Part("name=\"more\"", "x"), 40)) + End, ContentType, 422, "invalid_request"),
            (file + Part("name=\"project_id\"", "proj_01k9nobody0000000000000000") + End, ContentType, 404, "not_found"),
            (file + Part("name=\"conversation_id\"", "nobody") + End, ContentType, 404, "not_found"),
        ];
        var before = (await http.Get(Files)).Is(200)["total"];
        foreach (var (form, contentType, status, code) in refused)
        {
            var got = await http.UploadRaw(form, contentType);
            Assert.True((int)got.Status == status && got.Code == code, $"{form[..Math.Min(form.Length, 200)]} as {contentType}: {(int)got.Status} {got.Text}");
        }
        Assert.Equal(before, (await http.Get(Files)).Is(200)["total"]);
        (await http.UploadRaw(Part("name=\"unknown\"", "x") + file + Part("name=\"other\"", "y") + End)).Is(201);
        (await http.UploadRaw("A preamble that nobody reads.\r\n" + file + End + "An epilogue.")).Is(201);
    }

    [Theory]
    [InlineData("%PDF-1.4", "x.txt", "application/pdf")]
    [InlineData("name,value\n", "x.csv", "text/csv")]
    [InlineData("only text", "photo.png", "text/plain")]
    [InlineData("\0\u0002", "x.txt", "application/octet-stream")]
    [InlineData("", "x.csv", "text/csv")]
    public async Task The_media_type_is_what_the_content_is_whatever_the_client_says(string content, string name, string type) =>
        Assert.Equal(type, (await http.Upload(Encoding.UTF8.GetBytes(content), name, mediaType: "image/jpeg")).Is(201)["mime_type"]);

    [Fact]
    public async Task A_files_bytes_come_as_they_were_sent_whole_or_in_ranges_and_as_no_page_of_this_host()
    {
        const string Page = "<script>alert(\"é\")</script>";
        var id = (await http.Upload(Page, "index page é.html")).Is(201)["id"];
        using var got = await Content(id);
        Assert.Equal((200, Page, "text/html"), ((int)got.StatusCode, await got.Content.ReadAsStringAsync(), got.Content.Headers.ContentType!.ToString()));
        Assert.Equal("nosniff", got.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("sandbox; default-src 'none'", got.Headers.GetValues("Content-Security-Policy").Single());
        Assert.Equal("index page é.html", got.Content.Headers.ContentDisposition!.FileNameStar);
        Assert.Equal($"\"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Page)))}\"", got.Headers.ETag!.ToString());
        using var head = await Content(id, method: HttpMethod.Head);
        Assert.Equal((200, 28L), ((int)head.StatusCode, head.Content.Headers.ContentLength));
        using var known = await Content(id, h => h.IfNoneMatch.Add(got.Headers.ETag));
        Assert.Equal((304, ""), ((int)known.StatusCode, await known.Content.ReadAsStringAsync()));
        using var part = await Content(id, h => h.Range = new(1, 6));
        Assert.Equal((206, "script", "bytes 1-6/28"), ((int)part.StatusCode, await part.Content.ReadAsStringAsync(), part.Content.Headers.ContentRange!.ToString()));
        using var same = await Content(id, h => (h.Range, h.IfRange) = (new(1, 6), new(got.Headers.ETag)));
        Assert.Equal(206, (int)same.StatusCode);
        using var changed = await Content(id, h => (h.Range, h.IfRange) = (new(1, 6), new(new EntityTagHeaderValue("\"other\""))));
        Assert.Equal((200, Page), ((int)changed.StatusCode, await changed.Content.ReadAsStringAsync()));
        // A server may answer several ranges with the whole (RFC 9110, section 14.2).
        using var several = await Content(id, h => h.TryAddWithoutValidation("Range", "bytes=0-1,3-4"));
        Assert.Equal((200, Page), ((int)several.StatusCode, await several.Content.ReadAsStringAsync()));
        (await http.Get($"{Files}/{id}/content", ("Range", "bytes=28-"))).IsProblem(416, "range_not_satisfiable");
        (await http.Get($"{Files}/{id}/content", ("If-Match", "\"other\""))).IsProblem(412, "precondition_failed");
        var empty = (await http.Upload("", "empty.txt")).Is(201);
        Assert.Equal("0", empty["size"]);
        using var nothing = await Content(empty["id"]);
        Assert.Equal((200, ""), ((int)nothing.StatusCode, await nothing.Content.ReadAsStringAsync()));
    }

    [Fact]
    public async Task The_same_upload_under_one_key_is_one_file_and_another_is_refused()
    {
        var conversation = await NewConversation();
        (string, string)[] fields = [("conversation_id", conversation)];
        var first = (await http.Upload("same"u8.ToArray(), "a.txt", fields, "k1")).Is(201);
        var again = (await http.Upload("same"u8.ToArray(), "a.txt", [("<conversation_id", conversation)], "k1")).Is(201);
        Assert.Equal((first.Text, "true"), (again.Text, again.Headers.GetValues("Idempotency-Replayed").Single()));
        (await http.Upload("other"u8.ToArray(), "a.txt", fields, "k1")).IsProblem(422, "idempotency_key_reused");
        (await http.Upload("same"u8.ToArray(), "b.txt", fields, "k1")).IsProblem(422, "idempotency_key_reused");
        (await http.Upload("same"u8.ToArray(), "a.txt", null, "k1")).IsProblem(422, "idempotency_key_reused");
        (await http.Upload("same"u8.ToArray(), "a.txt", fields, "")).IsProblem(422, "invalid_request");
        Assert.Equal(first["id"], Ids(await http.Get($"{Files}?conversation_id={conversation}")));
        var atOnce = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => http.Upload(new byte[300_000], "b.bin", fields, "k2")));
        Assert.Single(atOnce.Where(got => (int)got.Status == 201).Select(got => got["id"]).Distinct());
        Assert.All(atOnce, got => Assert.True((int)got.Status is 201 or 409, got.Text));
        Assert.Equal("2", (await http.Get($"{Files}?conversation_id={conversation}"))["total"]);
        // What is stored once under its digest is two files all the same, and the one does not go with the other.
        var (one, two) = ((await http.Upload("twice")).Is(201)["id"], (await http.Upload("twice")).Is(201)["id"]);
        Assert.NotEqual(one, two);
        (await http.Delete($"{Files}/{one}")).Is(204);
        using var left = await Content(two);
        Assert.Equal("twice", await left.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task Files_go_with_their_project_or_their_conversation_and_none_is_uploaded_to_what_is_deleted()
    {
        var project = await NewProject();
        var (inside, outside) = (await NewConversation(project), await NewConversation());
        var ids = new List<string>();
        foreach (var fields in ((string, string)[][])[[("project_id", project)], [("conversation_id", inside)], [("project_id", project), ("conversation_id", outside)]])
        {
            ids.Add((await http.Upload("x", "x.txt", fields)).Is(201)["id"]);
        }
        var both = (await http.Upload("y", "y.txt", ("project_id", project), ("conversation_id", outside))).Is(201)["id"];
        var stays = (await http.Upload("z", "z.txt", ("conversation_id", outside))).Is(201)["id"];
        using var stop = new CancellationTokenSource();
        var uploading = Enumerable.Range(0, 4).Select(i => Task.Run(async () =>
        {
            var made = new List<string>();
            while (true)
            {
                var got = await http.Upload("race", "r.txt", i % 2 == 0 ? ("project_id", project) : ("conversation_id", inside));
                if ((int)got.Status == 404)
                {
                    return made;
                }
                made.Add(got.Is(201)["id"]);
            }
        })).ToList();
        (await http.Delete($"/api/v1/projects/{project}")).Is(204);
        ids.Add(both);
        ids.AddRange((await Task.WhenAll(uploading)).SelectMany(made => made));
        foreach (var id in ids)
        {
            (await http.Get($"{Files}/{id}")).IsProblem(404, "not_found");
        }
        (await http.Get($"{Files}/{stays}")).Is(200);
        var session = (await http.Upload("s", "s.txt", ("conversation_id", await http.NewSession("file-session")))).Is(201)["id"];
        (await http.Delete("/sessions/file-session")).Is(204);
        (await http.Get($"{Files}/{session}")).IsProblem(404, "not_found");
        (await http.Delete($"/api/v1/conversations/{outside}")).Is(204);
        (await http.Get($"{Files}/{stays}")).IsProblem(404, "not_found");
        (await http.Upload("x", "x.txt", ("conversation_id", outside))).IsProblem(404, "not_found");
        (await http.Upload("x", "x.txt", ("project_id", project))).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task A_files_text_is_extracted_and_searched_in_its_project_and_conversation()
    {
        await using var other = await tenant.Another();
        var here = other.Http;
        var project = (await here.Post("/api/v1/projects", """{"name":"x"}""")).Is(201)["id"];
        var conversation = (await here.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        var csv = (await here.Upload("name,town\nAda,London\nGrace,Arlington\n", "people.csv", ("project_id", project), ("conversation_id", conversation))).Is(201)["id"];
        var notes = (await here.Upload(new string('x', 900) + " lorem ipsum " + new string('y', 900) + "\nThe kraken of London sleeps.\n", "notes.txt", ("conversation_id", conversation))).Is(201)["id"];
        var html = (await here.Upload("<p>London <script>kraken()</script>bridge</p>", "page.html")).Is(201)["id"];
        var pdf = (await here.Upload("%PDF-1.7 and nothing else", "broken.pdf")).Is(201)["id"];
        var empty = (await here.Upload("", "empty.txt")).Is(201)["id"];
        foreach (var id in (string[])[csv, notes, html])
        {
            var ready = await here.Until($"{Files}/{id}", got => got["status"] != "processing");
            Assert.Equal(("ready", ""), (ready["status"], ready["status_code"]));
        }
        var broken = await here.Until($"{Files}/{pdf}", got => got["status"] != "processing");
        Assert.Equal(("failed", "broken_document"), (broken["status"], broken["status_code"]));
        Assert.EndsWith(".", broken["status_detail"], StringComparison.Ordinal);
        Assert.Equal("empty_file", (await here.Until($"{Files}/{empty}", got => got["status"] != "processing"))["status_code"]);

        async Task<string> Found(string query) => string.Join(' ', (await here.Get($"{Files}/search?{query}")).Is(200).Json.GetProperty("data").EnumerateArray()
            .Select(hit => hit.GetProperty("file_id").GetString()).Distinct().Order());
        string Of(params string[] ids) => string.Join(' ', ids.Order());
        Assert.Equal(Of(csv, notes, html), await Found("q=london"));
        Assert.Equal(Of(csv), await Found($"q=london&project_id={project}"));
        Assert.Equal(Of(csv, notes), await Found($"q=london&conversation_id={conversation}"));
        Assert.Equal(Of(csv), await Found($"q=london&conversation_id={conversation}&project_id={project}"));
        Assert.Equal(Of(html), await Found("q=london&project_id=proj_00000000000000000000000000"));
        Assert.Equal("", await Found("q=nowhere"));
        var hit = (await here.Get($"{Files}/search?q=kraken&limit=1")).Is(200).Json.GetProperty("data")[0];
        Assert.Equal(["file_id", "name", "project_id", "conversation_id", "first_line", "last_line", "snippet", "score"], Members(hit));
        Assert.Equal(("notes.txt", conversation), (hit.GetProperty("name").GetString(), hit.GetProperty("conversation_id").GetString()));
        Assert.Contains("kraken", hit.GetProperty("snippet").GetString(), StringComparison.Ordinal);
        Assert.InRange(hit.GetProperty("snippet").GetString()!.Length, 1, 600);
        foreach (var query in (string[])["", "q=", "q=x&limit=0", "q=x&limit=1001", "q=x&offset=1001", $"q={new string('x', 1001)}", "q=a%00b", "q=x&project_id="])
        {
            (await here.Get($"{Files}/search?{query}")).IsProblem(422, "invalid_request");
        }
        (await here.Get($"{Files}/search?q=x&conversation_id=nobody")).IsProblem(404, "not_found");
        Assert.Equal("", string.Join(' ', (await http.Get($"{Files}/search?q=kraken")).Is(200).Json.GetProperty("data").EnumerateArray()));

        // The agent sees what the conversation has.
        var turn = (await here.Turn(conversation, "/tool list_files {}\n/tool read_file {\"path\":\"files/people.csv\"}")).Is(200);
        var results = (await here.Events(conversation)).Where(e => e.GetProperty("type").GetString() == "tool_result")
            .Select(e => e.GetProperty("payload").GetProperty("content_preview").GetString()!).ToList();
        Assert.Contains("files/people.csv (uploaded, ", results[0], StringComparison.Ordinal);
        Assert.Contains("Grace", results[1], StringComparison.Ordinal);

        (await here.Delete($"{Files}/{notes}")).Is(204);
        Assert.Equal(Of(csv), await Found($"q=london&conversation_id={conversation}"));
        (await here.Delete($"/api/v1/conversations/{conversation}")).Is(204);
        Assert.Equal(Of(html), await Found("q=london"));
    }

    [Fact]
    public async Task A_turn_sees_what_was_uploaded_before_it_on_any_host_also_where_there_was_nothing_just_before()
    {
        await using var one = await LiveHost.Start();
        await using var other = await LiveHost.Start(settings => settings with { Database = one.Database });
        var conversation = (await one.Http.Post("/api/v1/conversations", "{}")).Is(201)["id"];
        async Task<string> Listed(LiveHost host)
        {
            (await host.Http.Turn(conversation, "/tool list_files {}")).Is(200);
            return (await host.Http.Events(conversation)).Last(e => e.GetProperty("type").GetString() == "tool_result").GetProperty("payload").GetProperty("content_preview").GetString()!;
        }
        Assert.DoesNotContain("uploaded", await Listed(one), StringComparison.Ordinal);
        Assert.DoesNotContain("uploaded", await Listed(one), StringComparison.Ordinal);
        var mine = (await one.Http.Upload("a", "mine.txt", ("conversation_id", conversation))).Is(201)["id"];
        Assert.Contains("files/mine.txt (uploaded, ", await Listed(one), StringComparison.Ordinal);
        (await one.Http.Delete($"{Files}/{mine}")).Is(204);
        Assert.DoesNotContain("uploaded", await Listed(one), StringComparison.Ordinal);
        (await other.Http.Upload("b", "theirs.txt", ("conversation_id", conversation))).Is(201);
        Assert.Contains("files/theirs.txt (uploaded, ", await Listed(one), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_only_reads_uploads_and_deletes_nothing()
    {
        var id = (await http.Upload("x")).Is(201)["id"];
        using var auditor = await tenant.Client("auditor");
        (await auditor.Upload("x")).IsProblem(403, "role_missing");
        (await auditor.Delete($"{Files}/{id}")).IsProblem(403, "role_missing");
        (await auditor.Get($"{Files}/{id}")).Is(200);
    }
}
