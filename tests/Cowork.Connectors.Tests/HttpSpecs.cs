using System.Collections.Immutable;
using System.IO.Compression;
using System.Text;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

namespace Cowork.Connectors.Tests;

/// <summary>Requests of a connection to a web service: where they go, what of the answer a model gets, and what a hostile server cannot do.</summary>
public sealed class HttpSpecs
{
    static readonly DateTimeOffset At = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    [Fact]
    public async Task A_request_goes_below_the_base_URL_with_the_connections_credentials()
    {
        await using var server = new WebServer(request => request.Answer(200, """{"orders":[]}"""));
        Assert.Equal("HTTP 200\nContent-Type: application/json\n\n{\"orders\":[]}", await Text(server, "/orders?page=2", ("bearer", "s3cr3t-token"), ("headers", "X-Team: sales\nX-Api-Version: 3")));
        var asked = Assert.Single(server.Asked);
        Assert.Equal("GET /v1/orders?page=2", asked.Line);
        Assert.Equal(("Bearer s3cr3t-token", "sales", "3"), (asked.Headers["Authorization"], asked.Headers["X-Team"], asked.Headers["X-Api-Version"]));
        Assert.DoesNotContain("traceparent", asked.Headers.Keys);
    }

    [Fact]
    public async Task A_user_and_a_password_are_sent_as_basic_credentials()
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        await Text(server, "/", ("user", "ann"), ("password", "pässwort"));
        Assert.Equal("Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes("ann:pässwort")), Assert.Single(server.Asked).Headers["Authorization"]);
    }

    [Fact]
    public async Task A_write_is_sent_as_it_was_approved_with_a_key_that_stays_the_same()
    {
        await using var server = new WebServer(request => request.Answer(201, """{"id":7}"""));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var write = new ConnectorRequest.Write("""{"method":"POST","path":"orders","query":{"dry":true,"tag":["a b","c"]},"headers":{"If-Match":"x"},"body":{"item":7}}""", 100, "run_1:3");
        var answer = Assert.IsType<ConnectorAnswer.Text>(await http.Ask(Settings(server), write, CancellationToken.None));
        Assert.EndsWith("{\"id\":7}", answer.Content, StringComparison.Ordinal);
        var asked = Assert.Single(server.Asked);
        Assert.Equal("POST /v1/orders?dry=true&tag=a%20b&tag=c", asked.Line);
        Assert.Equal(("""{"item":7}""", "application/json", "run_1:3", "x"), (asked.Body, asked.Headers["Content-Type"], asked.Headers["Idempotency-Key"], asked.Headers["If-Match"]));
    }

    [Theory]
    [InlineData("POST /orders")]
    [InlineData("""{"method":"DELETE","path":"/orders/7"}""")]
    [InlineData("""{"method":"PATCH","path":"/orders/7","body":{}}""")]
    public async Task What_may_change_something_is_no_query(string text)
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        Assert.Equal(ConnectorEffect.Write, await http.Judge(Settings(server), new ConnectorRequest.Query(text, 10), CancellationToken.None));
        Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(server), new ConnectorRequest.Query(text, 10), CancellationToken.None));
        Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(server), new ConnectorRequest.Sample(text, 10), CancellationToken.None));
        Assert.Empty(server.Asked);
    }

    [Theory]
    [InlineData("/orders")]
    [InlineData("GET /orders")]
    [InlineData("HEAD /orders")]
    [InlineData("""{"path":"/orders","headers":{"Accept":"text/csv"}}""")]
    public async Task What_only_asks_is_a_read(string text)
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        Assert.Equal(ConnectorEffect.Read, await http.Judge(Settings(server), new ConnectorRequest.Query(text, 10), CancellationToken.None));
        Assert.Equal(ConnectorEffect.Write, await http.Judge(Settings(server), new ConnectorRequest.Write(text, 10, "t"), CancellationToken.None));
        Assert.IsType<ConnectorAnswer.Text>(await http.Ask(Settings(server), new ConnectorRequest.Query(text, 10), CancellationToken.None));
    }

    [Theory]
    [InlineData("SELECT 1", "A request is a line such as")]
    [InlineData("", "A request is a line such as")]
    [InlineData("{", "The request is not JSON")]
    [InlineData("""{"path":"/a","path":"/b"}""", "The request is not JSON")]
    [InlineData("""{"method":"GET"}""", "A request needs a \"path\"")]
    [InlineData("""{"method":"TRACE","path":"/"}""", "A request needs a \"path\", and a \"method\"")]
    [InlineData("""{"path":"/","timeout":3}""", "A request has no \"timeout\"")]
    [InlineData("""{"path":"/","body":{}}""", "A GET request has no body")]
    [InlineData("""{"path":"/","query":{"a":{"b":1}}}""", "\"query\" holds \"a\"")]
    [InlineData("""{"path":"/","query":[1]}""", "\"query\" must be a JSON object")]
    [InlineData("""{"path":"/","headers":{"X-HTTP-Method-Override":"DELETE"}}""", "A GET request takes no header \"X-HTTP-Method-Override\"")]
    [InlineData("""{"path":"/","headers":{"Authorization":"Bearer other"}}""", "takes no header \"Authorization\"")]
    [InlineData("""{"method":"POST","path":"/","headers":{"Host":"other"}}""", "is not a request's to set")]
    [InlineData("""{"method":"POST","path":"/","headers":{"Transfer-Encoding":"chunked"}}""", "is not a request's to set")]
    [InlineData("""{"method":"POST","path":"/","headers":{"A":"b\r\nC: d"}}""", "characters that no header's value has")]
    [InlineData("""{"method":"POST","path":"/","headers":{"A b":"c"}}""", "characters that no header's name has")]
    [InlineData("""{"method":"POST","path":"/","headers":{"Content-Type":"a\nb"},"body":"x"}""", "characters that no header's value has")]
    [InlineData("""{"path":"/a\r\nHost: b"}""", "no control character")]
    [InlineData("/a#b", "no fragment")]
    public async Task What_is_no_request_is_told_and_not_sent(string text, string why)
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        foreach (var request in (ConnectorRequest[])[new ConnectorRequest.Query(text, 10), new ConnectorRequest.Write(text, 10, "t")])
        {
            if (request is ConnectorRequest.Query || !text.Contains("\"body\":{}", StringComparison.Ordinal))
            {
                Assert.Contains(why, Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(server), request, CancellationToken.None)).Reason, StringComparison.Ordinal);
            }
        }
        Assert.Empty(server.Asked);
    }

    [Theory]
    [InlineData("/../admin")]
    [InlineData("..")]
    [InlineData("/a/../../admin")]
    [InlineData("/%2e%2e/admin")]
    [InlineData("/%2E./admin")]
    [InlineData("/..%2fadmin")]
    [InlineData("/%252e%252e/admin")]
    [InlineData("/..\\admin")]
    [InlineData("/..%5cadmin")]
    [InlineData("/..;/admin")]
    [InlineData("http://127.0.0.1:1/v1/x")]
    [InlineData("https://example.com/v1/x")]
    [InlineData("http://evil@{server}/v1/x")]
    [InlineData("http://{server}/v2/x")]
    [InlineData("http://{server}/v1x")]
    [InlineData("http://{server}/v1/../v2")]
    [InlineData("HTTP://{server}.evil.example/v1/x")]
    public async Task No_path_leads_out_of_the_base_URL(string path)
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var text = $$"""{"path":{{System.Text.Json.JsonSerializer.Serialize(path.Replace("{server}", $"127.0.0.1:{server.Port}", StringComparison.Ordinal))}}}""";
        Assert.Equal(
            "The path leads out of the connection's base URL.",
            Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(server), new ConnectorRequest.Query(text, 10), CancellationToken.None)).Reason);
        Assert.Empty(server.Asked);
    }

    [Theory]
    [InlineData("", "GET /v1")]
    [InlineData("/", "GET /v1")]
    [InlineData("?a=..", "GET /v1?a=..")]
    [InlineData("//127.0.0.1:1/x", "GET /v1/127.0.0.1:1/x")]
    [InlineData("/a b/ä", "GET /v1/a%20b/%C3%A4")]
    [InlineData("/a.b/..c/d..", "GET /v1/a.b/..c/d..")]
    [InlineData("http://{server}/v1/next?cursor=2", "GET /v1/next?cursor=2")]
    public async Task A_path_counts_from_the_base_URL(string path, string line)
    {
        await using var server = new WebServer(request => request.Answer(200, "{}"));
        var text = $$"""{"path":{{System.Text.Json.JsonSerializer.Serialize(path.Replace("{server}", $"127.0.0.1:{server.Port}", StringComparison.Ordinal))}}}""";
        await Text(server, text);
        Assert.Equal(line, Assert.Single(server.Asked).Line);
    }

    [Fact]
    public async Task A_redirect_below_the_base_URL_is_followed_by_a_read_and_shown_to_a_write()
    {
        await using var server = new WebServer(request => request.Line.EndsWith("/old", StringComparison.Ordinal) ? request.Redirect("new?x=1", 307) : request.Answer(200, "there"));
        Assert.EndsWith("there", await Text(server, "/old"), StringComparison.Ordinal);
        Assert.Equal(["GET /v1/old", "GET /v1/new?x=1"], server.Asked.Select(asked => asked.Line));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var write = Assert.IsType<ConnectorAnswer.Text>(await http.Ask(Settings(server), new ConnectorRequest.Write("POST /old", 1, "t"), CancellationToken.None));
        Assert.StartsWith("HTTP 307\n", write.Content, StringComparison.Ordinal);
        Assert.Equal(3, server.Asked.Count);
    }

    [Theory]
    [InlineData("http://127.0.0.1:{inside}/v1/secret")]
    [InlineData("http://169.254.169.254/latest/meta-data/")]
    [InlineData("http://localhost:{inside}/v1/")]
    [InlineData("//127.0.0.1:{inside}/v1/")]
    [InlineData("/admin")]
    [InlineData("/v1/../admin")]
    [InlineData("/v1/%2e%2e/admin")]
    [InlineData("file:///etc/passwd")]
    [InlineData("gopher://127.0.0.1:{inside}/")]
    [InlineData("https://example.com/v1/")]
    public async Task A_redirect_out_of_the_base_URL_is_not_followed(string to)
    {
        await using var inside = new WebServer(request => request.Answer(200, "inside"));
        await using var server = new WebServer(request => request.Redirect(to.Replace("{inside}", $"{inside.Port}", StringComparison.Ordinal)));
        var failed = await Failed(server, "/", ("bearer", "s3cr3t-token"));
        Assert.Equal($"127.0.0.1:{server.Port} redirects out of the connection's base URL.", failed.Reason);
        Assert.Empty(inside.Asked);
    }

    [Fact]
    public async Task A_redirect_to_TLS_says_what_to_do_and_a_ring_of_them_ends()
    {
        await using var secured = new WebServer(request => request.Redirect("https://127.0.0.1/v1/"));
        Assert.Contains("begins with https://", (await Failed(secured, "/")).Reason, StringComparison.Ordinal);
        await using var ring = new WebServer(request => request.Redirect("/v1/again"));
        Assert.Equal($"127.0.0.1:{ring.Port} redirects more than 5 times.", (await Failed(ring, "/")).Reason);
        Assert.Equal(6, ring.Asked.Count);
    }

    [Fact]
    public async Task What_is_inside_is_not_reached_and_the_reason_tells_nothing_of_it()
    {
        await using var inside = new WebServer(request => request.Answer(200, "inside"));
        using var http = new HttpConnector(new([], [], TimeProvider.System), TimeProvider.System);
        foreach (var host in (string[])["127.0.0.1", "localhost", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"])
        {
            var settings = Settings($"http://{host}:{inside.Port}");
            Assert.Contains("lies where connections may not reach", (await http.Probe(settings, CancellationToken.None)).WhyNot, StringComparison.Ordinal);
            var failed = Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(settings, new ConnectorRequest.Query("/", 1), CancellationToken.None));
            Assert.True(failed.IsUnreachable);
        }
        Assert.Empty(inside.Asked);
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("br")]
    [InlineData("deflate")]
    public async Task A_compressed_body_is_unpacked(string coding)
    {
        await using var server = new WebServer(request => request.Answer(200, Packed(coding, Encoding.UTF8.GetBytes("unpacked")), "text/plain", $"Content-Encoding: {coding}"));
        Assert.EndsWith("\n\nunpacked", await Text(server, "/"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gzip", 1)]
    [InlineData("gzip, gzip", 2)]
    [InlineData("br", 1)]
    public async Task A_bomb_is_unpacked_to_the_limit_and_no_further(string coding, int times)
    {
        var bomb = new byte[64 << 20];
        Array.Fill(bomb, (byte)'a');
        for (var i = 0; i < times; i++)
        {
            bomb = Packed(coding[..Math.Min(coding.Length, coding == "br" ? 2 : 4)], bomb);
        }
        await using var server = new WebServer(request => request.Answer(200, bomb, "text/plain", $"Content-Encoding: {coding}"));
        var before = GC.GetTotalAllocatedBytes();
        var answer = await Answer(server, "/");
        Assert.InRange(Encoding.UTF8.GetByteCount(answer.Content), 900_000, ConnectorLimits.BytesMax);
        Assert.Equal("The answer is longer: this is its beginning.", answer.Cut);
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 64 << 20);
    }

    [Theory]
    [InlineData("gzip", "The answer of {host} is compressed and cannot be unpacked.")]
    [InlineData("zstd", "The answer of {host} is compressed and cannot be unpacked.")]
    [InlineData("gzip, gzip, gzip", "The answer of {host} is compressed and cannot be unpacked.")]
    public async Task A_body_that_cannot_be_unpacked_is_told(string coding, string why)
    {
        await using var server = new WebServer(request => request.Answer(200, "this is not compressed", "text/plain", $"Content-Encoding: {coding}"));
        Assert.Equal(why.Replace("{host}", $"127.0.0.1:{server.Port}", StringComparison.Ordinal), (await Failed(server, "/")).Reason);
    }

    [Fact]
    public async Task A_body_without_end_is_cut_and_the_connection_closed()
    {
        var closed = new TaskCompletionSource();
        await using var server = new WebServer(async request =>
        {
            await request.Head(200, "text/plain");
            try
            {
                var block = Encoding.ASCII.GetBytes(new string('x', 64 * 1024));
                while (true)
                {
                    await request.Send(block);
                }
            }
            catch (IOException)
            {
                closed.SetResult();
            }
        });
        var answer = await Answer(server, "/");
        Assert.Equal("The answer is longer: this is its beginning.", answer.Cut);
        Assert.InRange(answer.Content.Length, 900_000, ConnectorLimits.BytesMax);
        await closed.Task.WaitAsync(Patience.Limit);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_server_that_never_answers_or_never_ends_is_left_after_the_time(bool begins)
    {
        var clock = new TestClock();
        await using var server = new WebServer(async request =>
        {
            if (begins)
            {
                await request.Head(200, "text/plain");
                await request.Send(Encoding.ASCII.GetBytes("some"));
            }
            await request.Forever();
        });
        using var http = new HttpConnector(server.Fence(clock), clock);
        var answering = http.Ask(Settings(server), new ConnectorRequest.Query("/", 1), CancellationToken.None).AsTask();
        var probing = http.Probe(Settings(server), CancellationToken.None).AsTask();
        await Patience.Until(() => server.Asked.Count == 2);
        if (begins)
        {
            // The head alone is an answer to a probe.
            Assert.Null((await probing).WhyNot);
        }
        clock.Advance(ConnectorLimits.AskTime);
        var failed = Assert.IsType<ConnectorAnswer.Failed>(await answering);
        Assert.Equal(new($"127.0.0.1:{server.Port} did not answer in time.", IsUnreachable: true), failed);
        Assert.Equal(begins ? null : failed.Reason, (await probing).WhyNot);
    }

    [Fact]
    public async Task Whoever_cancels_gets_no_answer()
    {
        await using var server = new WebServer(request => request.Forever());
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        using var cancel = new CancellationTokenSource();
        var answering = http.Ask(Settings(server), new ConnectorRequest.Query("/", 1), cancel.Token).AsTask();
        await Patience.Until(() => server.Asked.Count == 1);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => answering);
    }

    [Fact]
    public async Task What_is_no_HTTP_or_breaks_off_or_has_endless_headers_is_told_plainly()
    {
        async Task<string> Reason(Func<WebServer.Request, Task> answer)
        {
            await using var server = new WebServer(answer);
            return (await Failed(server, "/")).Reason.Replace($"127.0.0.1:{server.Port}", "it", StringComparison.Ordinal);
        }
        Assert.Equal("it does not answer in HTTP.", await Reason(async request => await request.Send(Encoding.ASCII.GetBytes("SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n"))));
        Assert.Equal("The connection to it broke off.", await Reason(_ => Task.CompletedTask));
        Assert.Equal("The connection to it broke off.", await Reason(async request =>
        {
            await request.Head(200, "text/plain", "Content-Length: 100");
            await request.Send(Encoding.ASCII.GetBytes("half"));
        }));
        Assert.Equal("it answered with more headers than are read.", await Reason(async request =>
        {
            await request.Send(Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\n"));
            for (var i = 0; i < 10_000; i++)
            {
                await request.Send(Encoding.ASCII.GetBytes($"X-{i}: {new string('y', 100)}\r\n"));
            }
        }));
        var gone = new WebServer(_ => Task.CompletedTask);
        await gone.DisposeAsync();
        using var http = new HttpConnector(gone.Fence(), TimeProvider.System);
        Assert.Equal(
            $"127.0.0.1:{gone.Port} takes no connection.", Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(gone), new ConnectorRequest.Query("/", 1), CancellationToken.None)).Reason);
    }

    [Theory]
    [InlineData("text/plain; charset=iso-8859-1", new byte[] { 0x67, 0x72, 0xfc, 0x6e }, "grün")]
    [InlineData("text/plain; charset=windows-1252", new byte[] { 0x80, 0x20, 0x35 }, "€ 5")]
    [InlineData("text/plain; charset=\"utf-16le\"", new byte[] { 0x67, 0x00, 0xfc, 0x00 }, "gü")]
    [InlineData("text/plain", new byte[] { 0xff, 0xfe, 0x67, 0x00 }, "g")]
    [InlineData("text/plain", new byte[] { 0xef, 0xbb, 0xbf, 0x67 }, "g")]
    [InlineData("text/plain; charset=klingon", new byte[] { 0x67, 0xc3, 0xbc }, "gü")]
    [InlineData("text/plain; charset=utf-7", new byte[] { 0x2b, 0x41, 0x44, 0x77, 0x2d }, "+ADw-")]
    [InlineData("image/png", new byte[] { 0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00 }, "(The content is no text.)")]
    [InlineData("text/plain; charset=utf-8", new byte[] { 0x61, 0x00, 0x62 }, "(The content is no text.)")]
    public async Task Text_is_read_in_the_encoding_that_it_has(string type, byte[] bytes, string text)
    {
        await using var server = new WebServer(request => request.Answer(200, bytes, type));
        Assert.EndsWith($"\n\n{text}", await Text(server, "/"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_a_JSON_list_the_first_elements_are_shown()
    {
        await using var server = new WebServer(request => request.Answer(200, $"[{string.Join(',', Enumerable.Range(1, 50).Select(n => $"{{\"id\":{n}}}"))}]"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var answer = Assert.IsType<ConnectorAnswer.Text>(await http.Ask(Settings(server), new ConnectorRequest.Sample("/orders", 2), CancellationToken.None));
        Assert.EndsWith("\n\n[{\"id\":1},{\"id\":2}]", answer.Content, StringComparison.Ordinal);
        Assert.Equal("The list has 50 elements: these are the first 2.", answer.Cut);
    }

    [Fact]
    public async Task A_refusal_of_the_service_is_shown_and_one_of_the_credentials_is_the_connections_fault()
    {
        await using var server = new WebServer(request => request.Line.EndsWith("/open", StringComparison.Ordinal)
            ? request.Answer(404, """{"error":"no such order"}""") : request.Answer(401, """{"error":"bad token s3cr3t-token"}"""));
        Assert.Equal("HTTP 404\nContent-Type: application/json\n\n{\"error\":\"no such order\"}", await Text(server, "/open"));
        var failed = await Failed(server, "/", ("bearer", "s3cr3t-token"));
        Assert.Equal(new($"127.0.0.1:{server.Port} refuses the connection's credentials (401).", IsUnreachable: true), failed);
    }

    [Theory]
    [InlineData(200, null)]
    [InlineData(302, null)]
    [InlineData(404, null)]
    [InlineData(405, null)]
    [InlineData(401, "{host} refuses the credentials.")]
    [InlineData(403, "{host} refuses the credentials.")]
    [InlineData(503, "{host} answers 503.")]
    public async Task A_probe_reaches_the_base_URL(int status, string? whyNot)
    {
        await using var server = new WebServer(request => request.Answer(status, "", "text/plain", "Location: http://169.254.169.254/"));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var probe = await http.Probe(Settings(server, ("bearer", "s3cr3t-token")), CancellationToken.None);
        Assert.Equal(whyNot?.Replace("{host}", $"127.0.0.1:{server.Port}", StringComparison.Ordinal), probe.WhyNot);
        Assert.Equal("GET /v1", Assert.Single(server.Asked).Line);
    }

    [Fact]
    public async Task A_service_that_repeats_what_it_was_sent_does_not_give_a_secret_away()
    {
        const string Secret = "p&ss \"wörd\"/+ 12345";
        await using var server = new WebServer(request => request.Answer(
            200,
            System.Text.Json.JsonSerializer.Serialize(new { request.Headers, raw = Secret, url = Uri.EscapeDataString(Secret), form = System.Net.WebUtility.UrlEncode(Secret) })
                + System.Net.WebUtility.HtmlEncode(Secret) + Convert.ToBase64String(Encoding.UTF8.GetBytes($"x{Secret}y")) + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{{\"k\":\"{Secret}\"}}")),
            "text/plain",
            $"ETag: \"{Uri.EscapeDataString(Secret)}\""));
        (string, string)[] fields = [("user", "ann"), ("password", Secret), ("headers", "X-Key: k3y-of-service")];
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        // As every caller of connectors does.
        var text = SecretScrubber.Of(Settings(server, fields), http.Spec).Scrub(await Text(server, "/", fields));
        foreach (var form in (string[])["wörd", "12345", "MTIzN", "k3y-of", "p%26ss", "p&amp;ss", Convert.ToBase64String(Encoding.UTF8.GetBytes($"ann:{Secret}"))[8..24]])
        {
            Assert.DoesNotContain(form, text, StringComparison.OrdinalIgnoreCase);
        }
        Assert.Contains(SecretScrubber.Mark, text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_schema_is_a_summary_of_the_OpenAPI_document()
    {
        const string Document = """
            {"openapi":"3.1.0","paths":{"/pets/{id}":{"parameters":[{"$ref":"#/components/parameters/Id"}],
              "get":{"summary":"Show a pet","parameters":[{"name":"full","in":"query","schema":{"type":["boolean","null"]}}]},
              "put":{"operationId":"putPet","requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Pet"}}}}}},
              "/odd":{"get":7,"post":{"parameters":"none","requestBody":[]},"trace":{}}},
             "components":{"parameters":{"Id":{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}},
              "schemas":{"Pet":{"type":"object","properties":{"name":{"type":"string"},"tag":{"$ref":"#/components/schemas/Pet"}}}}}}
            """;
        await using var server = new WebServer(request => request.Answer(200, Document));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var table = Assert.IsType<ConnectorAnswer.Table>(
            await http.Ask(Settings(server, ("openapi_url", "/openapi.json"), ("bearer", "s3cr3t-token")), new ConnectorRequest.Schema(), CancellationToken.None));
        Assert.Equal(["method", "path", "summary", "parameters", "body"], table.Columns);
        Assert.Equal(
            [
                "GET|/pets/{id}|Show a pet|id (path, integer, required), full (query, boolean|null)|",
                "PUT|/pets/{id}|putPet|id (path, integer, required)|application/json: {name: string, tag: object}",
                "POST|/odd|||",
            ],
            table.Rows.Select(row => string.Join('|', row)));
        Assert.Equal(("GET /v1/openapi.json", "Bearer s3cr3t-token"), (Assert.Single(server.Asked).Line, server.Asked.Single().Headers["Authorization"]));
        Assert.Contains("A web service at", Assert.IsType<ConnectorAnswer.Text>(await http.Ask(Settings(server), new ConnectorRequest.Schema(), CancellationToken.None)).Content, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_document_elsewhere_is_read_without_the_connections_credentials()
    {
        await using var server = new WebServer(request => request.Answer(200, """{"swagger":"2.0","paths":{}}"""));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        Assert.IsType<ConnectorAnswer.Table>(await http.Ask(
            Settings(server, ("openapi_url", $"{server.Url}/docs.json"), ("bearer", "s3cr3t-token")), new ConnectorRequest.Schema(), CancellationToken.None));
        Assert.DoesNotContain("Authorization", Assert.Single(server.Asked).Headers.Keys);
    }

    [Theory]
    [InlineData("not JSON")]
    [InlineData("[]")]
    [InlineData("""{"paths":[]}""")]
    [InlineData("""{"paths":{"/a":{"get":{"parameters":[{"$ref":"#/x/../y"},{"$ref":7},null]}}}""")]
    public async Task What_is_no_OpenAPI_document_is_told(string document)
    {
        await using var server = new WebServer(request => request.Answer(200, document));
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        var failed = Assert.IsType<ConnectorAnswer.Failed>(await http.Ask(Settings(server, ("openapi_url", "/d")), new ConnectorRequest.Schema(), CancellationToken.None));
        Assert.Contains("is no OpenAPI document in JSON", failed.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("base_url", "example.com", "begins with https://")]
    [InlineData("base_url", "file:///etc/passwd", "begins with https://")]
    [InlineData("base_url", "https://ann:pass@example.com", "a user or a password")]
    [InlineData("base_url", "https://example.com/?key=1", "before a query")]
    [InlineData("headers", "X-Key", "lines such as")]
    [InlineData("headers", "X Key: 1", "Line 1")]
    [InlineData("headers", "A: 1\nHost: other", "not a connection's to set")]
    [InlineData("bearer", "Bearer abc", "without \"Bearer\"")]
    [InlineData("bearer", "a\nb", "without \"Bearer\"")]
    [InlineData("user", "ann", "go together")]
    [InlineData("password", "x", "go together")]
    [InlineData("openapi_url", "../openapi.json", "a path below the base URL")]
    public void A_field_that_cannot_be_used_is_told_without_its_value(string key, string value, string why)
    {
        using var http = new HttpConnector(new([], [], TimeProvider.System), TimeProvider.System);
        var fault = Assert.Single(http.Check(Settings("https://example.com", (key, value))));
        Assert.Contains(why, fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(value, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Usual_fields_are_right()
    {
        using var http = new HttpConnector(new([], [], TimeProvider.System), TimeProvider.System);
        Assert.Empty(http.Check(Settings("https://example.com/v1/", ("headers", "Authorization: ApiKey abc\nX-B: c"), ("openapi_url", "openapi.json"))));
        Assert.Empty(http.Check(Settings("https://example.com", ("user", "ann"), ("password", "p:w"), ("openapi_url", "https://docs.example.com/openapi.json"))));
        Assert.Equal(["base_url"], http.Spec.Fields.Where(field => field.IsRequired).Select(field => field.Key));
    }

    internal static ConnectionSettings Settings(string url, params (string Key, string Value)[] fields) => new(
        "acme", ConnectionKey.New(At), "http", fields.Aggregate(ImmutableDictionary<string, string>.Empty.Add("base_url", url), (all, field) => all.SetItem(field.Key, field.Value)));

    static ConnectionSettings Settings(WebServer server, params (string Key, string Value)[] fields) => Settings($"{server.Url}/v1", fields);

    static async Task<ConnectorAnswer> Ask(WebServer server, string text, (string Key, string Value)[] fields)
    {
        using var http = new HttpConnector(server.Fence(), TimeProvider.System);
        return await http.Ask(Settings(server, fields), new ConnectorRequest.Query(text, 1_000), CancellationToken.None);
    }

    static async Task<ConnectorAnswer.Text> Answer(WebServer server, string text, params (string Key, string Value)[] fields)
    {
        var answer = await Ask(server, text, fields);
        Assert.True(answer is ConnectorAnswer.Text, answer.ToString());
        return (ConnectorAnswer.Text)answer;
    }

    static async Task<string> Text(WebServer server, string text, params (string Key, string Value)[] fields) => (await Answer(server, text, fields)).Content;

    static async Task<ConnectorAnswer.Failed> Failed(WebServer server, string text, params (string Key, string Value)[] fields) =>
        Assert.IsType<ConnectorAnswer.Failed>(await Ask(server, text, fields));

    static byte[] Packed(string coding, byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (Stream pack = coding switch { "gzip" => new GZipStream(packed, CompressionLevel.Fastest), "br" => new BrotliStream(packed, CompressionLevel.Fastest), _ => new ZLibStream(packed, CompressionLevel.Fastest) })
        {
            pack.Write(bytes);
        }
        return packed.ToArray();
    }
}
