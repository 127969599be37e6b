using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

using Cowork.Marten;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>Marked secrets are put everywhere they can go, and looked for everywhere, in every form in which they could appear.</summary>
public sealed class SecretLeakSpecs : DirectorySpecs
{
    const string Connections = "/api/v1/connectors/connections";

    /// <summary>With characters that JSON, URLs and HTML write differently.</summary>
    static string Mark(string place) => $"Mk7-{place}-\"q'/+%41&<{place}-end";

    /// <summary>What may stand in a header.</summary>
    static string Token(string place) => $"Mk7{place}0123456789abcdef{place}End";

    [Fact]
    public async Task A_secret_appears_in_no_event_log_line_trace_metric_problem_bundle_or_dump()
    {
        var secrets = new Dictionary<string, string>
        {
            ["right password"] = Mark("right"),
            ["wrong password"] = Mark("wrong"),
            ["changed password"] = Mark("changed"),
            ["password in another field"] = Mark("port"),
            ["password as a field"] = Mark("field"),
            ["password of a broken body"] = Mark("broken"),
            ["password of a repeat"] = Mark("repeat"),
            ["header"] = Token("header"),
            ["bearer"] = Token("bearer"),
            ["basic"] = Token("basic"),
            ["user information"] = Token("userinfo"),
            ["OAuth client secret"] = Mark("client"),
            ["authorization code"] = Token("code"),
            ["access token"] = Token("access1"),
            ["refresh token"] = Token("refresh1"),
            ["refreshed access token"] = Token("access2"),
            ["rotated refresh token"] = Token("refresh2"),
            ["MCP header"] = Token("mcpheader"),
            ["MCP bearer"] = Token("mcpbearer"),
            ["MCP variable"] = Mark("mcpvariable"),
        };
        await using var postgres = await TcpPostgres.Start(null, secrets["right password"]);
        var database = new NpgsqlConnectionStringBuilder(await postgres.NewDatabase(secrets["right password"], "CREATE TABLE t (a int); INSERT INTO t VALUES (1)"));
        await using var echo = new EchoServer
        {
            // Each token is refreshed before it is used, because it ends soon.
            Tokens = form =>
            {
                var isRefresh = form["grant_type"] == "refresh_token";
                if (!isRefresh)
                {
                    secrets["code verifier"] = form["code_verifier"];
                }
                return JsonSerializer.Serialize(new
                {
                    access_token = secrets[isRefresh ? "refreshed access token" : "access token"],
                    refresh_token = secrets[isRefresh ? "rotated refresh token" : "refresh token"],
                    expires_in = isRefresh ? 3_600 : 20,
                    // A service may say more than it is asked.
                    scope = form.GetValueOrDefault("refresh_token") ?? form.GetValueOrDefault("code"),
                });
            },
        };
        await using var collector = await Collector.Start();
        var own = await TestPostgres.NewDatabase();
        var answers = new List<string>();
        string output;
        await using (var host = await HostProcess.Start(
            Data, own,
            environment:
            [
                .. collector.Environment(), ("Cowork__Egress__Allow__0", $"127.0.0.1:{postgres.Port}"), ("Cowork__Egress__Allow__1", $"127.0.0.1:{echo.Port}"),
                ("Cowork__Connectors__OAuth__GitHub__ClientId", "cowork"), ("Cowork__Connectors__OAuth__GitHub__ClientSecret", secrets["OAuth client secret"]),
                ("Cowork__Connectors__OAuth__GitHub__Authorize", $"http://127.0.0.1:{echo.Port}/authorize"),
                ("Cowork__Connectors__OAuth__GitHub__Token", $"http://127.0.0.1:{echo.Port}/token"), ("Cowork__Connectors__OAuth__GitHub__Api", $"http://127.0.0.1:{echo.Port}/api"),
                ("Cowork__Connectors__McpCommands__marked__Command", "python3"), ("Cowork__Connectors__McpCommands__marked__Arguments__0", "-c"),
                ("Cowork__Connectors__McpCommands__marked__Arguments__1", EchoProgram), ("Cowork__Connectors__McpCommands__marked__Variables__0", "MARKED"),
            ]))
        {
            async Task<Got> Post(string path, string body, params (string, string)[] headers)
            {
                var got = await host.Http.Post(path, body, headers);
                answers.Add(got.Text + got.Headers);
                return got;
            }

            string Postgres(string password, string? port = null, string? extra = null) => JsonSerializer.Serialize(new
            {
                spec_id = "postgres",
                name = "marked",
                credentials = new Dictionary<string, object?>
                {
                    ["host"] = "127.0.0.1",
                    ["port"] = (object?)port ?? postgres.Port,
                    ["database"] = database.Database,
                    ["user"] = database.Username,
                    ["password"] = password,
                    [extra ?? "sslmode"] = "disable",
                },
            });

            string Http(params (string Key, string Value)[] fields) => JsonSerializer.Serialize(new
            {
                spec_id = "http",
                name = "marked",
                credentials = fields.Append(("base_url", $"http://127.0.0.1:{echo.Port}/")).DistinctBy(field => field.Item1)
                    .ToDictionary(field => field.Item1, field => field.Item2),
            });

            var right = (await Post(Connections, Postgres(secrets["right password"]), ("Idempotency-Key", "leak-1"))).Is(201);
            Assert.Equal("connected", right["status"]);
            (await Post(Connections, Postgres(secrets["right password"]), ("Idempotency-Key", "leak-1"))).Is(201);
            (await Post(Connections, Postgres(secrets["password of a repeat"]), ("Idempotency-Key", "leak-1"))).IsProblem(422);
            Assert.Equal("error", (await Post(Connections, Postgres(secrets["wrong password"]))).Is(201)["status"]);
            (await Post(Connections, Postgres("x", secrets["password in another field"]))).IsProblem(422);
            (await Post(Connections, Postgres("x", extra: secrets["password as a field"]))).IsProblem(422);
            (await Post(Connections, Postgres(secrets["password of a broken body"])[..^2])).IsProblem(400);
            var credentials = JsonDocument.Parse(Postgres(secrets["changed password"])).RootElement.GetProperty("credentials").GetRawText();
            var changed = await host.Http.Send(HttpMethod.Patch, $"{Connections}/{right["id"]}", $$"""{"credentials":{{credentials}}}""");
            answers.Add(changed.Text);
            Assert.Equal("error", changed.Is(200)["status"]);
            (await Post($"{Connections}/{right["id"]}/test", "{}")).Is(200);

            var sources = new List<string> { (await Post(Connections, Postgres(secrets["right password"]))).Is(201)["id"] };
            foreach (var fields in ((string, string)[][])
            [
                [("headers", $"X-Api-Key: {secrets["header"]}")], [("bearer", secrets["bearer"])], [("user", "ann"), ("password", secrets["basic"])],
                [("base_url", $"http://ann:{secrets["user information"]}@127.0.0.1:{echo.Port}/")],
            ])
            {
                var made = await Post(Connections, Http(fields));
                if ((int)made.Status == 201)
                {
                    sources.Add(made["id"]);
                }
            }
            Assert.True(sources.Count >= 4, string.Join('\n', answers));

            string Mcp(string name, params (string Key, string Value)[] fields) =>
                JsonSerializer.Serialize(new { spec_id = "mcp", name, credentials = fields.ToDictionary(field => field.Key, field => field.Value) });
            Assert.Equal("connected", (await Post(Connections, Mcp("over-http", ("url", $"http://127.0.0.1:{echo.Port}/mcp"), ("bearer", secrets["MCP bearer"]),
                ("headers", $"X-Api-Key: {secrets["MCP header"]}")))).Is(201)["status"]);
            Assert.Equal("connected", (await Post(Connections, Mcp("over-pipes", ("command", "marked"), ("variables", $"MARKED={secrets["MCP variable"]}")))).Is(201)["status"]);
            var begun = (await host.Http.Get("/api/v1/connectors/oauth/github/start?name=marked")).Is(200);
            var agreed = await host.Http.Get($"/api/v1/connectors/oauth/callback?state={Uri.EscapeDataString(begun["state"])}&code={secrets["authorization code"]}");
            answers.Add(agreed.Text + agreed.Headers);
            Assert.Contains("is connected", agreed.Text, StringComparison.Ordinal);
            // Whoever has the code once more, and a code for nothing.
            answers.Add((await host.Http.Get($"/api/v1/connectors/oauth/callback?state={Uri.EscapeDataString(begun["state"])}&code={secrets["authorization code"]}")).Text);
            answers.Add((await host.Http.Get($"/api/v1/connectors/oauth/callback?state=x&code={secrets["authorization code"]}")).Text);
            var consented = (await host.Http.Get($"{Connections}?spec_id=github")).Is(200).Json.GetProperty("data")[0].GetProperty("id").GetString()!;
            sources.Add(consented);
            await host.Http.NewSession("leaks");
            foreach (var source in sources)
            {
                foreach (var query in (string[])["SELECT a FROM t WHERE a = 1", "SELECT nothing FROM t WHERE a = 1", "GET /echo", "{\"method\":\"GET\",\"path\":\"/echo?x=1\"}"])
                {
                    foreach (var action in (string[])["schema", "query"])
                    {
                        var turn = await host.Http.Turn("leaks", $"/tool query_connector {JsonSerializer.Serialize(new { action, connection_id = source, query })}");
                        answers.Add(turn.Is(200).Text);
                        answers.Add((await host.Http.Get($"/runs/{turn["run_id"]}/trace")).Is(200).Text);
                        if (turn["status"] == "approval_required")
                        {
                            (await Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0]}/decision", """{"approved":true}""")).Is(200);
                            answers.Add((await host.Http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed")).Text);
                        }
                    }
                }
            }
            foreach (var tool in (string[])["mcp__over-http__echo", "mcp__over-pipes__echo"])
            {
                var turn = await host.Http.Turn("leaks", $"/tool {tool} {{\"a\":1}}");
                Assert.Contains("said", turn.Is(200)["reply"], StringComparison.Ordinal);
                answers.Add(turn.Text);
                answers.Add((await host.Http.Get($"/runs/{turn["run_id"]}/trace")).Is(200).Text);
            }
            Assert.Contains("tools_offered", string.Concat(answers), StringComparison.Ordinal);
            // The tokens are given back.
            (await host.Http.Delete($"{Connections}/{consented}")).Is(204);
            await Patience.Until(() => echo.Paths.Any(path => path.EndsWith("/grant", StringComparison.Ordinal)), () => "the tokens were not given back");
            Assert.Contains("a\\n1\\n[1 rows.]", string.Concat(answers), StringComparison.Ordinal);
            Assert.True(echo.Asked > 0, "Nobody asked the echo.");
            // The services repeated secrets, which were taken out.
            Assert.Contains(answers, answer => answer.Contains("***", StringComparison.Ordinal) || answer.Contains("•••", StringComparison.Ordinal)
                || answer.Contains("\\u2022\\u2022\\u2022", StringComparison.Ordinal));
            await ChainOfTrust(host, secrets, answers);
            answers.Add((await CoworkCli.Run(own, ["keys", "rotate", "--data-keys", "--data", Data])).Output);
            foreach (var path in (string[])
            [
                Connections, $"{Connections}/{right["id"]}", "/events?since_id=0&limit=1000", "/sessions/leaks/events?since_id=0&limit=1000", "/metrics", "/approvals",
                "/health/ready", "/openapi.json",
            ])
            {
                answers.Add((await host.Http.Get(path)).Is(200).Text);
            }
            answers.Add((await host.Http.Get("/metrics", ("Accept", "text/plain"))).Is(200).Text);
            await Patience.Until(
                () => collector.Bodies.Count > 3 && collector.Spans.Any(span => span.Name.StartsWith("execute_tool", StringComparison.Ordinal)), () => "no trace came");
            await host.Stop();
            output = host.Output;
        }

        var places = new Dictionary<string, IReadOnlyCollection<byte[]>>
        {
            ["an answer"] = [.. answers.Select(Encoding.UTF8.GetBytes)],
            ["the log"] = [Encoding.UTF8.GetBytes(output)],
            ["telemetry"] = [.. collector.Bodies, .. collector.Headers.Select(Encoding.UTF8.GetBytes)],
            ["the dump"] = [await Dump(own)],
            ["the data directory"] = [.. Directory.EnumerateFiles(Data, "*", SearchOption.AllDirectories).Select(File.ReadAllBytes)],
        };
        Assert.Contains("connection_created", Encoding.UTF8.GetString(places["the dump"].Single()), StringComparison.Ordinal);
        var found = new List<string>();
        foreach (var (name, secret) in secrets)
        {
            foreach (var (form, bytes) in Forms(secret))
            {
                found.AddRange(
                    from place in places
                    from content in place.Value
                    where content.AsSpan().IndexOf(bytes) >= 0
                    select $"{name} as {form} in {place.Key}: {Around(content, bytes)}");
            }
        }
        Assert.Empty(found.Distinct());
    }

    /// <summary>Uses everything of contract D that is secret, and refuses some of it. Only the answers that show a secret once are not looked at.</summary>
    static async Task ChainOfTrust(HostProcess host, Dictionary<string, string> secrets, List<string> answers)
    {
        using var app = await RequestSigner.App(host.Http, "leaks");
        var group = (await host.Http.Post("/groups", """{"title":"leaks"}""")).Is(201)["group_id"];
        var opened = (await app.Send(host.Http, "/infra/groups", $$"""{"group_id":"{{group}}","org_id":"default","user_id":"local"}""")).Is(201);
        // The second line of the PEM has the end of the private scalar.
        secrets["session's private key"] = opened["session_private_key"].Split('\n')[2];
        secrets["routing token"] = (await host.Http.Post($"/groups/{group}/token")).Is(200)["routing_token"];
        // Every private key of P-256 begins so in PKCS#8: the service's signing keys, too.
        secrets["a private key"] = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        using var agents = RequestSigner.Controller(opened, "agents");
        const string Body = """{"agent_id":"assistant","messages":[{"role":"user","content":"/say hello"}]}""";
        answers.Add((await agents.Send(host.Http, "/agents/run", Body)).Is(200).Text);
        answers.Add((await agents.Send(host.Http, "/agents/run", Body, r => r.Claims["aud"] = "x")).IsProblem(401).Text);
        using var controller = RequestSigner.Controller(opened, "orchestrator");
        var cleanup = $$"""{"group_id":"{{group}}"}""";
        answers.Add((await controller.Send(host.Http, "/infra/cleanup", cleanup, r => r.Claims["aud"] = "x")).IsProblem(401).Text);
        answers.Add((await controller.Send(host.Http, "/infra/cleanup", cleanup)).Is(200).Text);
        answers.Add((await host.Http.Get($"/groups/{group}/ws?token={secrets["routing token"]}")).Text);
        answers.Add((await host.Http.Get($"/groups/{group}/ws?token={secrets["routing token"]}x")).Text);
        foreach (var path in (string[])["/infra/jwks.json", "/infra/app-keys", $"/groups/{group}", $"/sessions/{group.Replace("grp_", "sess_", StringComparison.Ordinal)}/events?since_id=0"])
        {
            answers.Add((await host.Http.Get(path)).Is(200).Text);
        }
    }

    /// <summary>A program that repeats the variable that its connection gives it, wherever it can.</summary>
    const string EchoProgram = """
        import base64, json, os, sys
        marked = os.environ.get("MARKED", "")
        said = "said " + marked + " " + base64.b64encode(marked.encode()).decode() + " " + marked.encode().hex()
        sys.stderr.write(said + "\n")
        for line in sys.stdin:
            message = json.loads(line)
            method, result = message.get("method"), None
            if method == "initialize":
                result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": said, "version": "1"}}
            elif method == "tools/list":
                result = {"tools": [{"name": "echo", "description": said, "annotations": {"readOnlyHint": True},
                                     "inputSchema": {"type": "object", "properties": {"a": {"description": said}}}}]}
            elif method == "tools/call":
                result = {"content": [{"type": "text", "text": said}]}
            answer = {"result": result} if result is not None else {"error": {"code": -32601, "message": said}}
            if "id" in message: print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
        """;

    [Fact]
    public void Every_form_of_a_secret_would_be_found()
    {
        var secret = Mark("x");
        foreach (var text in (string[])
        [
            secret, JsonSerializer.Serialize(secret), Uri.EscapeDataString(secret), WebUtility.UrlEncode(secret), Convert.ToBase64String(Encoding.UTF8.GetBytes($"ann:{secret}")),
            Convert.ToBase64String(Encoding.UTF8.GetBytes($"x{secret}")), Convert.ToBase64String(Encoding.UTF8.GetBytes($"xy{secret}z")),
            Convert.ToHexString(Encoding.UTF8.GetBytes(secret)), Convert.ToHexStringLower(Encoding.UTF8.GetBytes(secret)),
            JsonSerializer.Serialize(JsonSerializer.Serialize(secret)),
        ])
        {
            Assert.Contains(Forms(secret), form => Encoding.UTF8.GetBytes(text).AsSpan().IndexOf(form.Bytes) >= 0);
        }
    }

    static IEnumerable<(string Form, byte[] Bytes)> Forms(string secret)
    {
        var plain = Encoding.UTF8.GetBytes(secret);
        yield return ("itself", plain);
        foreach (var encoder in (JavaScriptEncoder[])[JavaScriptEncoder.Default, JavaScriptEncoder.UnsafeRelaxedJsonEscaping])
        {
            var json = JsonEncodedText.Encode(secret, encoder).ToString();
            yield return ("JSON", Encoding.UTF8.GetBytes(json));
            yield return ("JSON in JSON", Encoding.UTF8.GetBytes(JsonEncodedText.Encode(json, encoder).ToString()));
        }
        yield return ("a part of a URL", Encoding.UTF8.GetBytes(Uri.EscapeDataString(secret)));
        yield return ("a form", Encoding.UTF8.GetBytes(WebUtility.UrlEncode(secret)));
        yield return ("hexadecimal", Encoding.UTF8.GetBytes(Convert.ToHexString(plain)));
        yield return ("hexadecimal", Encoding.UTF8.GetBytes(Convert.ToHexStringLower(plain)));
        for (var offset = 0; offset < 3; offset++)
        {
            byte[] padded = [.. new byte[offset], .. plain];
            var whole = Convert.ToBase64String(padded)[(offset == 0 ? 0 : 4)..(padded.Length / 3 * 4)];
            yield return ($"base64 at {offset}", Encoding.UTF8.GetBytes(whole));
            yield return ($"base64 of URLs at {offset}", Encoding.UTF8.GetBytes(whole.Replace('+', '-').Replace('/', '_')));
        }
    }

    static string Around(byte[] content, byte[] found)
    {
        var at = content.AsSpan().IndexOf(found);
        return Encoding.UTF8.GetString(content.AsSpan(Math.Max(0, at - 80), Math.Min(200, content.Length - Math.Max(0, at - 80))));
    }

    /// <summary>All of the database, as <c>pg_dump</c> writes it.</summary>
    static async Task<byte[]> Dump(string database)
    {
        var of = new NpgsqlConnectionStringBuilder(database);
        var start = new ProcessStartInfo(
            Path.Combine(PostgresBinaries.Choose(null).Directory, "pg_dump"), ["-h", of.Host!, "-p", $"{of.Port}", "-U", of.Username!, "--inserts", of.Database!])
        {
            RedirectStandardOutput = true,
        };
        using var dump = Process.Start(start)!;
        using var text = new MemoryStream();
        await dump.StandardOutput.BaseStream.CopyToAsync(text);
        await dump.WaitForExitAsync();
        Assert.Equal(0, dump.ExitCode);
        return text.ToArray();
    }

    /// <summary>
    /// A service that repeats what it is sent: in its body as it is, in JSON, in base64 and in hexadecimal, and in a header; at <c>/token</c> it gives tokens, and at <c>/mcp</c>
    /// it speaks MCP.
    /// </summary>
    sealed class EchoServer : IAsyncDisposable
    {
        readonly HttpListener listener;
        readonly Task serving;
        int asked;

        public EchoServer()
        {
            (listener, Port) = HttpListeners.Start();
            serving = Serve();
        }

        public int Port { get; }

        public int Asked => Volatile.Read(ref asked);

        /// <summary>Answers the fields of a form at the token endpoint, in JSON.</summary>
        public Func<Dictionary<string, string>, string> Tokens { get; init; } = _ => "{}";

        public System.Collections.Concurrent.ConcurrentQueue<string> Paths { get; } = new();

        public async ValueTask DisposeAsync()
        {
            listener.Close();
            await serving;
        }

        /// <summary>What an MCP server with one tool answers, which says what it was sent wherever it can; null: it was told something.</summary>
        static string? Message(string sent, string said)
        {
            if (sent.Length == 0 || JsonElement.Parse(sent) is not { ValueKind: JsonValueKind.Object } message || !message.TryGetProperty("id", out var id))
            {
                return null;
            }
            object? result = message.GetProperty("method").GetString() switch
            {
                "initialize" => new
                {
                    protocolVersion = message.GetProperty("params").GetProperty("protocolVersion").GetString(),
                    capabilities = new { tools = new { } },
                    serverInfo = new { name = said, version = "1" },
                },
                "tools/list" => new
                {
                    tools = new[]
                    {
                        new
                        {
                            name = "echo",
                            description = said,
                            annotations = new { readOnlyHint = true },
                            inputSchema = new { type = "object", properties = new { a = new { description = said } } },
                        },
                    },
                },
                "tools/call" => new { content = new[] { new { type = "text", text = said } } },
                _ => null,
            };
            return result is null
                ? JsonSerializer.Serialize(new { jsonrpc = "2.0", id, error = new { code = -32_601, message = said } })
                : JsonSerializer.Serialize(new { jsonrpc = "2.0", id, result });
        }

        async Task Serve()
        {
            try
            {
                while (true)
                {
                    var http = await listener.GetContextAsync();
                    Interlocked.Increment(ref asked);
                    var sent = string.Join('\n', http.Request.Headers.AllKeys.Select(name => $"{name}: {http.Request.Headers[name]}"));
                    var values = http.Request.Headers.AllKeys.Select(name => Encoding.UTF8.GetBytes(http.Request.Headers[name]!)).ToList();
                    var body = Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new
                    {
                        sent,
                        base64 = values.Select(Convert.ToBase64String),
                        hex = values.Select(Convert.ToHexStringLower),
                    }));
                    Paths.Enqueue(http.Request.Url!.AbsolutePath);
                    if (http.Request.Url.AbsolutePath is "/token" or "/mcp")
                    {
                        var sentBody = await new StreamReader(http.Request.InputStream).ReadToEndAsync();
                        var answer = http.Request.Url.AbsolutePath == "/mcp" ? Message(sentBody, $"said {Encoding.UTF8.GetString(body)}")
                            : Tokens(sentBody.Split('&').Select(pair => pair.Split('=', 2)).ToDictionary(pair => pair[0], pair => WebUtility.UrlDecode(pair[1])));
                        http.Response.StatusCode = answer is null ? 202 : 200;
                        body = Encoding.UTF8.GetBytes(answer ?? "");
                    }
                    http.Response.ContentType = "application/json";
                    http.Response.Headers["X-Echo"] = http.Request.Headers["X-Api-Key"] ?? http.Request.Headers["Authorization"] ?? "";
                    http.Response.ContentLength64 = body.Length;
                    await http.Response.OutputStream.WriteAsync(body);
                    http.Response.Close();
                }
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                // It ends.
            }
        }
    }
}
