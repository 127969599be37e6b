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
        };
        await using var postgres = await TcpPostgres.Start(null, secrets["right password"]);
        var database = new NpgsqlConnectionStringBuilder(await postgres.NewDatabase(secrets["right password"], "CREATE TABLE t (a int); INSERT INTO t VALUES (1)"));
        await using var echo = new EchoServer();
        await using var collector = await Collector.Start();
        var own = await TestPostgres.NewDatabase();
        var answers = new List<string>();
        string output;
        await using (var host = await HostProcess.Start(
            Data, own,
            environment: [.. collector.Environment(), ("Cowork__Egress__Allow__0", $"127.0.0.1:{postgres.Port}"), ("Cowork__Egress__Allow__1", $"127.0.0.1:{echo.Port}")]))
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
            Assert.Contains("a\\n1\\n[1 rows.]", string.Concat(answers), StringComparison.Ordinal);
            Assert.True(echo.Asked > 0, "Nobody asked the echo.");
            // The services repeated secrets, which were taken out.
            Assert.Contains(answers, answer => answer.Contains("***", StringComparison.Ordinal) || answer.Contains("•••", StringComparison.Ordinal)
                || answer.Contains("\\u2022\\u2022\\u2022", StringComparison.Ordinal));
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
            await Collector.Until(
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

    /// <summary>A service that repeats what it is sent: in its body as it is, in JSON, in base64 and in hexadecimal, and in a header.</summary>
    sealed class EchoServer : IAsyncDisposable
    {
        readonly HttpListener listener;
        readonly Task serving;
        int asked;

        public EchoServer()
        {
            (listener, Port) = TestListener();
            serving = Serve();
        }

        public int Port { get; }

        public int Asked => Volatile.Read(ref asked);

        static (HttpListener, int) TestListener()
        {
            // A port that was free a moment ago may be taken: the next one is tried.
            for (var tries = 0; ; tries++)
            {
                using var probe = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
                probe.Start();
                var port = ((IPEndPoint)probe.LocalEndpoint).Port;
                probe.Stop();
                var listener = new HttpListener { Prefixes = { $"http://127.0.0.1:{port}/" } };
                try
                {
                    listener.Start();
                    return (listener, port);
                }
                catch (HttpListenerException) when (tries < 10)
                {
                    // Another one.
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            listener.Close();
            await serving;
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
