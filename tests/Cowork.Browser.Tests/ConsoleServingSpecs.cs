using System.IO.Compression;
using System.Net;
using System.Text.RegularExpressions;

namespace Cowork.Browser.Tests;

/// <summary>The console's files as any client gets them.</summary>
public sealed partial class ConsoleServingSpecs(BrowsedHost browsed)
{
    [Fact]
    public async Task Each_page_is_the_document_whose_base_leads_to_the_console_and_whose_files_are_there_and_kept()
    {
        using var http = await Client();
        using var redirect = await http.GetAsync("/console?x=1");
        Assert.Equal((HttpStatusCode.PermanentRedirect, "console/?x=1"), (redirect.StatusCode, redirect.Headers.GetValues("Location").Single()));
        var version = "";
        foreach (var (path, up) in (IEnumerable<(string, string)>)[("", "./"), ("runs", "./"), ("runs/run_1", "../"), ("a/b/c", "../../")])
        {
            using var page = await http.GetAsync("/console/" + path);
            var html = await page.Content.ReadAsStringAsync();
            Assert.Equal((HttpStatusCode.OK, "text/html", "no-cache"), (page.StatusCode, page.Content.Headers.ContentType?.MediaType, page.Headers.CacheControl?.ToString()));
            Assert.Contains($"<base href=\"{up}\">", html, StringComparison.Ordinal);
            // Nothing in it is code or style of its own: the policy lets none through.
            Assert.DoesNotMatch("<style|<script(?! type=\"module\" src=)| on[a-z]+=| style=", html);
            var policy = page.Headers.GetValues("Content-Security-Policy").Single();
            Assert.StartsWith("default-src 'none'; script-src 'self'; style-src 'self';", policy, StringComparison.Ordinal);
            Assert.Contains("require-trusted-types-for 'script'", policy, StringComparison.Ordinal);
            Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
            var files = File().Matches(html).Select(match => match.Groups[1].Value).ToHashSet();
            Assert.True(files.Count > 15, html);
            version = files.First().Split('/')[1];
            foreach (var file in path.Length == 0 ? files : [])
            {
                using var answer = await http.GetAsync("/console/" + file);
                Assert.Equal((file, HttpStatusCode.OK, "public, max-age=31536000, immutable"), (file, answer.StatusCode, answer.Headers.CacheControl?.ToString()));
                Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
                Assert.Equal(policy, answer.Headers.GetValues("Content-Security-Policy").Single());
            }
        }
        // The frame of previews runs its own script and no other one, and loads nothing.
        using var preview = await http.GetAsync($"/console/-/{version}/preview.html");
        var within = preview.Content.Headers.ContentType?.MediaType == "text/html" ? preview.Headers.GetValues("Content-Security-Policy").Single() : "";
        Assert.Matches("^sandbox allow-scripts; default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri", within);
        foreach (var (path, status) in (IEnumerable<(string, int)>)[
            ($"-/{version}/js/none.js", 404), ("-/none/js/app.js", 200), ("-/", 404), ("console.css", 404), ("index.html", 404), ($"-/{version}/index.html", 404), ($"-/{version}/../Console.cs", 404)])
        {
            using var answer = await http.GetAsync("/console/" + path);
            Assert.Equal((path, status), (path, (int)answer.StatusCode));
            Assert.NotEqual("text/html", answer.Content.Headers.ContentType?.MediaType);
        }
    }

    [Fact]
    public async Task A_file_is_packed_as_the_client_takes_it_known_by_its_tag_and_only_read()
    {
        using var http = await Client();
        var style = File().Match(await http.GetStringAsync("/console/")).Groups[1].Value is var first ? $"/console/{first[..first.IndexOf('/', 2)]}/console.css" : "";
        var plain = await http.GetByteArrayAsync(style);
        var tags = new HashSet<string>();
        foreach (var (encoding, unpack) in (IEnumerable<(string, Func<Stream, Stream>)>)[
            ("br", s => new BrotliStream(s, CompressionMode.Decompress)), ("gzip", s => new GZipStream(s, CompressionMode.Decompress)), ("identity", s => s)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, style) { Headers = { { "Accept-Encoding", $"{encoding}, zstd;q=0.5" } } };
            using var answer = await http.SendAsync(request);
            Assert.Equal(encoding == "identity" ? [] : [encoding], answer.Content.Headers.ContentEncoding);
            Assert.Equal("Accept-Encoding", string.Join(',', answer.Headers.Vary.Where(v => v != "Origin")));
            using var unpacked = new MemoryStream();
            await unpack(await answer.Content.ReadAsStreamAsync()).CopyToAsync(unpacked);
            Assert.Equal(plain, unpacked.ToArray());
            Assert.True(encoding == "identity" || answer.Content.Headers.ContentLength < plain.Length / 2);
            Assert.True(tags.Add(answer.Headers.ETag!.ToString()));
            using var again = new HttpRequestMessage(HttpMethod.Get, style) { Headers = { { "Accept-Encoding", encoding }, { "If-None-Match", answer.Headers.ETag.ToString() } } };
            using var unchanged = await http.SendAsync(again);
            Assert.Equal((HttpStatusCode.NotModified, 0), (unchanged.StatusCode, (await unchanged.Content.ReadAsByteArrayAsync()).Length));
            using var head = new HttpRequestMessage(HttpMethod.Head, style) { Headers = { { "Accept-Encoding", encoding } } };
            using var heads = await http.SendAsync(head);
            Assert.Equal((HttpStatusCode.OK, answer.Content.Headers.ContentLength), (heads.StatusCode, heads.Content.Headers.ContentLength));
        }
        using var refused = await http.PostAsync("/console/", null);
        Assert.Equal((HttpStatusCode.MethodNotAllowed, "GET, HEAD, OPTIONS"), (refused.StatusCode, string.Join(", ", refused.Content.Headers.Allow)));
    }

    [Fact]
    public async Task The_sign_in_is_told_to_everybody()
    {
        var host = await browsed.Started;
        var config = (await host.Http.Get("/console/config.json")).Is(200);
        Assert.Equal(("none", ""), (config["auth"], config["oidc"]));
    }

    async Task<HttpClient> Client() =>
        new(new SocketsHttpHandler { AllowAutoRedirect = false, AutomaticDecompression = DecompressionMethods.None, UseProxy = false }) { BaseAddress = new((await browsed.Started).Url) };

    [GeneratedRegex("(?:href|src)=\"(-/[^\"]+)\"")]
    private static partial Regex File();
}
