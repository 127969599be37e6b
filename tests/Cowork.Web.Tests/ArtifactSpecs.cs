using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Artifacts over HTTP: each session's own, with every version's digest and bytes.</summary>
public sealed class ArtifactSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static string Sha(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    static string Write(string path, string content) => $"/tool write_file {JsonSerializer.Serialize(new { path = $".anton/output/{path}", content })}";

    static List<JsonElement> Array(Got got, string member) => [.. got.Is(200).Json.GetProperty(member).EnumerateArray()];

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    async Task<(string Run, JsonElement Artifact)> Made(string session, string path, string content)
    {
        var run = (await http.Turn(session, Write(path, content))).Is(200)["run_id"];
        return (run, Array(await http.Get($"/runs/{run}/artifacts"), "artifacts")[^1]);
    }

    async Task<HttpResponseMessage> Content(string path, Action<HttpRequestHeaders>? headers = null, HttpMethod? method = null)
    {
        var request = new HttpRequestMessage(method ?? HttpMethod.Get, path);
        headers?.Invoke(request.Headers);
        return await http.SendAsync(request);
    }

    [Fact]
    public async Task An_artifact_is_shown_with_its_versions_and_their_digests()
    {
        var session = await http.NewSession();
        var (first, made) = await Made(session, "report.md", "# One\n");
        var id = Text(made, "artifact_id");
        var (second, _) = await Made(session, "report.md", "# Two\n");
        var (third, again) = await Made(session, "report.md", "# Two\n");
        Assert.Equal((id, "2"), (Text(again, "artifact_id"), Text(again, "version")));

        var shown = (await http.Get($"/artifacts/{id}")).Is(200);
        Assert.Equal(
            (id, session, third, ".anton/output/report.md", Sha("# Two\n"), "6", "2", "text/markdown", Text(made, "created_at"), Text(again, "created_at")),
            (shown["artifact_id"], shown["session_id"], shown["run_id"], shown["path"], shown["sha256"], shown["bytes"], shown["version"], shown["media_type"],
                shown["created_at"], shown["updated_at"]));
        var listed = await http.Get($"/artifacts/{id}/versions");
        Assert.Equal((id, session, ".anton/output/report.md"), (listed["artifact_id"], listed["session_id"], listed["path"]));
        Assert.Equal(
            [("2", Sha("# Two\n"), "6", second), ("1", Sha("# One\n"), "6", first)],
            Array(listed, "versions").Select(v => (Text(v, "version"), Text(v, "sha256"), Text(v, "bytes"), Text(v, "run_id"))));
        Assert.All(Array(listed, "versions"), v => Assert.EndsWith("Z", Text(v, "created_at"), StringComparison.Ordinal));
        Assert.Single(Array(await http.Get($"/artifacts/{id}/versions?limit=1"), "versions"));
    }

    [Fact]
    public async Task A_versions_bytes_come_as_they_were_written_and_as_no_page_of_this_host()
    {
        var session = await http.NewSession();
        var page = "<script>alert(\"é\")</script>";
        var (_, made) = await Made(session, "sub/index page é.html", page);
        await Made(session, "sub/index page é.html", "later");
        var path = $"/artifacts/{Text(made, "artifact_id")}/versions/1/content";
        using var got = await Content(path);
        Assert.Equal((200, page), ((int)got.StatusCode, await got.Content.ReadAsStringAsync()));
        Assert.Equal("text/html", got.Content.Headers.ContentType!.ToString());
        Assert.Equal($"\"{Sha(page)}\"", got.Headers.ETag!.ToString());
        Assert.Equal("nosniff", got.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("sandbox; default-src 'none'", got.Headers.GetValues("Content-Security-Policy").Single());
        Assert.Equal($"sha-256=:{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(page)))}:", got.Headers.GetValues("Repr-Digest").Single());
        Assert.Equal(("attachment", "index page é.html"), (got.Content.Headers.ContentDisposition!.DispositionType, got.Content.Headers.ContentDisposition.FileNameStar));
        Assert.Equal("bytes", got.Headers.AcceptRanges.Single());

        using var head = await Content(path, method: HttpMethod.Head);
        Assert.Equal((200, (long)Encoding.UTF8.GetByteCount(page)), ((int)head.StatusCode, head.Content.Headers.ContentLength));
        using var known = await Content(path, h => h.IfNoneMatch.Add(got.Headers.ETag));
        Assert.Equal((304, ""), ((int)known.StatusCode, await known.Content.ReadAsStringAsync()));
        using var part = await Content(path, h => h.Range = new(1, 6));
        Assert.Equal((206, "script", "bytes 1-6/28"), ((int)part.StatusCode, await part.Content.ReadAsStringAsync(), part.Content.Headers.ContentRange!.ToString()));
        using var tail = await Content(path, h => h.Range = new(null, 9));
        Assert.Equal((206, "</script>"), ((int)tail.StatusCode, await tail.Content.ReadAsStringAsync()));
        (await http.Get(path, ("Range", "bytes=28-"))).IsProblem(416, "range_not_satisfiable");
        (await http.Get(path, ("If-Match", "\"other\""))).IsProblem(412, "precondition_failed");
        (await http.Get(path.Replace("/1/", "/3/", StringComparison.Ordinal))).IsProblem(404, "not_found");
        (await http.Get(path.Replace("/1/", "/0/", StringComparison.Ordinal))).IsProblem(422);
    }

    [Fact]
    public async Task An_artifact_larger_than_a_buffer_comes_whole()
    {
        var content = string.Concat(Enumerable.Range(0, 30_000).Select(i => $"{i},"));
        var (_, made) = await Made(await http.NewSession(), "numbers.csv", content);
        using var got = await Content($"/artifacts/{Text(made, "artifact_id")}/versions/1/content");
        Assert.Equal(Text(made, "sha256"), Convert.ToHexStringLower(SHA256.HashData(await got.Content.ReadAsByteArrayAsync())));
    }

    [Fact]
    public async Task Artifacts_are_the_tenants_own_and_go_with_their_session()
    {
        var session = await http.NewSession();
        var (_, made) = await Made(session, "r.md", "x");
        var of = $"/artifacts/{Text(made, "artifact_id")}";
        string[] paths = [of, $"{of}/versions", $"{of}/versions/1/content"];
        using var other = await tenant.Stranger("admin");
        foreach (var path in paths)
        {
            (await other.Get(path)).IsProblem(404, "not_found");
            (await http.Get(path)).Is(200);
        }
        (await http.Delete($"/sessions/{session}")).Is(204);
        foreach (var path in paths)
        {
            (await http.Get(path)).IsProblem(404, "not_found");
        }
        (await http.Get("/artifacts/run_01k9nobody0000000000000000")).IsProblem(404, "not_found");
        (await http.Get("/artifacts/%20")).IsProblem(422);
    }

    [Fact]
    public async Task Two_sessions_that_write_one_folder_at_once_have_each_their_own_versions()
    {
        const int Rounds = 12;
        var root = TestPostgres.NewDirectory();
        await using var host = await LiveHost.Start(s => s with { WorkspaceRoots = [new(root)] });
        var shared = Path.Combine(root, "shared");
        string[] sessions = ["s", "t", "u"];
        foreach (var session in sessions)
        {
            (await host.Http.Post("/sessions", JsonSerializer.Serialize(new { session_id = session, workspace_path = shared }))).Is(201);
        }
        await Task.WhenAll(sessions.Select(async session =>
        {
            for (var i = 1; i <= Rounds; i++)
            {
                // The same path and the same bytes as the others, beside bytes of its own.
                (await host.Http.Turn(session, $"{Write("own.md", $"{session} {i}")}\n{Write("same.md", $"same {i}")}")).Is(200);
            }
        }));
        var ids = new HashSet<string>();
        foreach (var session in sessions)
        {
            var runs = Array(await host.Http.Get($"/sessions/{session}/runs"), "runs").Select(r => Text(r, "run_id")).Reverse().ToList();
            Assert.Equal(Rounds, runs.Count);
            await IsOwn(host, session, runs, "own.md", i => $"{session} {i}", ids);
            await IsOwn(host, session, runs, "same.md", i => $"same {i}", ids);
        }
        Assert.Equal(2 * sessions.Length, ids.Count);
        Directory.Delete(root, recursive: true);
    }

    static async Task IsOwn(LiveHost host, string session, List<string> runs, string name, Func<int, string> content, HashSet<string> ids)
    {
        for (var i = 1; i <= runs.Count; i++)
        {
            var made = Array(await host.Http.Get($"/runs/{runs[i - 1]}/artifacts"), "artifacts").Single(a => Text(a, "path") == $".anton/output/{name}");
            Assert.Equal(
                (session, runs[i - 1], $"{i}", Sha(content(i))), (Text(made, "session_id"), Text(made, "run_id"), Text(made, "version"), Text(made, "sha256")));
            ids.Add(Text(made, "artifact_id"));
            var bytes = await host.Http.Get($"/artifacts/{Text(made, "artifact_id")}/versions/{i}/content");
            Assert.Equal(content(i), bytes.Is(200).Text);
        }
    }
}
