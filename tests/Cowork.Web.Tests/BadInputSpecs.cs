using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>No input gives a 5xx, and every refusal is a problem with a stable code.</summary>
public sealed class BadInputSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static readonly string Long = new('x', 129);

    [Theory]
    // POST /sessions
    [InlineData("/sessions", "[]", 422, "invalid_request", "$")]
    [InlineData("/sessions", "null", 422, "invalid_request", "$")]
    [InlineData("/sessions", "5", 422, "invalid_request", "$")]
    [InlineData("/sessions", "{\"session_id\":5}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"a b\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"é\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"..\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"sess_mine\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"conv_x\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"session_id\":\"a\\u0000\"}", 422, "invalid_request", "$.session_id")]
    [InlineData("/sessions", "{\"workspace_path\":\"\"}", 422, "invalid_request", "$.workspace_path")]
    [InlineData("/sessions", "{\"workspace_path\":\"relative/path\"}", 422, "workspace_refused", "$.workspace_path")]
    [InlineData("/sessions", "{\"workspace_path\":\"/etc\"}", 422, "workspace_refused", "$.workspace_path")]
    [InlineData("/sessions", "{\"metadata\":[]}", 422, "invalid_request", "$.metadata")]
    [InlineData("/sessions", "{\"metadata\":\"text\"}", 422, "invalid_request", "$.metadata")]
    [InlineData("/sessions", "{\"metadata\":{\"auth_context\":3}}", 422, "invalid_request", "$.metadata.auth_context")]
    [InlineData("/sessions", "{\"metadata\":{\"a\":[1,\"\\ud800\"]}}", 422, "invalid_request", "$.metadata.a[1]")]
    [InlineData("/sessions", "{\"metadata\":{\"a\":\"\\udc00\\ud800\"}}", 422, "invalid_request", "$.metadata.a")]
    [InlineData("/sessions", "{\"metadata\":{\"a\":\"\\u0000\"}}", 422, "invalid_request", "$.metadata.a")]
    [InlineData("/sessions", "{\"metadata\":{\"\\u0000\":1}}", 422, "invalid_request", "$.metadata")]
    [InlineData("/sessions", "{\"metadata\":{\"a\":1e400}}", 422, "invalid_request", "$.metadata.a")]
    [InlineData("/sessions", "{\"metadata\":{\"a\":[[-1e999]]}}", 422, "invalid_request", "$.metadata.a[0][0]")]
    [InlineData("/sessions", "{", 400, "malformed_json", null)]
    [InlineData("/sessions", "{\"a\":1,}", 400, "malformed_json", null)]
    [InlineData("/sessions", "{\"a\":NaN}", 400, "malformed_json", null)]
    [InlineData("/sessions", "{'a':1}", 400, "malformed_json", null)]
    [InlineData("/sessions", "{} {}", 400, "malformed_json", null)]
    [InlineData("/sessions", "{\"a\":01}", 400, "malformed_json", null)]
    [InlineData("/sessions", "{\"a\":\"\t\"}", 400, "malformed_json", null)]
    [InlineData("/sessions", " ", 400, "malformed_json", null)]
    // POST /sessions/{id}/turn
    [InlineData("/sessions/bad/turn", "{}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"\"}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":\" \\n\\t \"}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":null}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":7}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":[\"a\"]}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"a\\u0000b\"}", 422, "invalid_request", "$.message")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"idempotency_key\":\"\"}", 422, "invalid_request", "$.idempotency_key")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"idempotency_key\":9}", 422, "invalid_request", "$.idempotency_key")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"wait_timeout_seconds\":-1}", 422, "invalid_request", "$.wait_timeout_seconds")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"wait_timeout_seconds\":3600.5}", 422, "invalid_request", "$.wait_timeout_seconds")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"wait_timeout_seconds\":\"300\"}", 422, "invalid_request", "$.wait_timeout_seconds")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"wait_for_completion\":\"yes\"}", 422, "invalid_request", "$.wait_for_completion")]
    [InlineData("/sessions/bad/turn", "{\"message\":\"x\",\"wait_for_completion\":1}", 422, "invalid_request", "$.wait_for_completion")]
    [InlineData("/sessions/nobody/turn", "{\"message\":\"x\"}", 404, "not_found", null)]
    [InlineData("/sessions/sess_nobody/turn", "{\"message\":\"x\"}", 404, "not_found", null)]
    [InlineData("/sessions/a%20b/turn", "{\"message\":\"x\"}", 422, "invalid_request", "session_id")]
    [InlineData("/runs/nobody/cancel", "{}", 404, "not_found", null)]
    [InlineData("/runs/run_01m80bw0ypq47sgbgw2mmtjfwf/cancel", "{}", 404, "not_found", null)]
    [InlineData("/runs/run_01m80bw0ypq47sgbgw2mmtjfwf/replay", "{}", 404, "not_found", null)]
    [InlineData("/runs/x:y/replay", "{}", 422, "invalid_request", "run_id")]
    // POST /groups
    [InlineData("/groups", "{}", 422, "invalid_request", "$.title")]
    [InlineData("/groups", "{\"title\":\" \"}", 422, "invalid_request", "$.title")]
    [InlineData("/groups", "{\"title\":7}", 422, "invalid_request", "$.title")]
    [InlineData("/groups", "{\"title\":\"a\\u0000\"}", 422, "invalid_request", "$.title")]
    [InlineData("/groups", "{\"title\":\"x\",\"org_id\":\"\"}", 422, "invalid_request", "$.org_id")]
    [InlineData("/groups", "{\"title\":\"x\",\"is_private\":\"yes\"}", 422, "invalid_request", "$.is_private")]
    [InlineData("/groups", "{\"title\":\"x\",\"agent_ids\":\"assistant\"}", 422, "invalid_request", "$.agent_ids")]
    [InlineData("/groups", "{\"title\":\"x\",\"agent_ids\":[null]}", 422, "invalid_request", "$.agent_ids[0]")]
    [InlineData("/groups", "{\"title\":\"x\",\"agent_ids\":[\"assistant\",\"assistant\"]}", 422, "invalid_request", "$.agent_ids[1]")]
    [InlineData("/groups", "{\"title\":\"x\",\"agent_ids\":[\"nobody\"]}", 422, "unknown_agent", "$.agent_ids[0]")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/messages", "{}", 422, "invalid_request", "$.text")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/messages", "{\"text\":\" \"}", 422, "invalid_request", "$.text")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/messages", "{\"text\":\"x\",\"message_id\":\"\"}", 422, "invalid_request", "$.message_id")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/messages", "{\"text\":\"x\",\"agent_ids\":{}}", 422, "invalid_request", "$.agent_ids")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/messages", "{\"text\":\"x\"}", 404, "not_found", null)]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/members", "{\"user_id\":\"a:b\"}", 422, "invalid_request", "$.user_id")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/members", "{\"role\":\"king\"}", 422, "invalid_request", "$.role")]
    [InlineData("/groups/grp_01m80bw0ypq47sgbgw2mmtjfwf/members", "{}", 404, "not_found", null)]
    [InlineData("/groups/nobody/members", "{}", 404, "not_found", null)]
    [InlineData("/groups/a%20b/messages", "{\"text\":\"x\"}", 422, "invalid_request", "group_id")]
    // POST /tokens
    [InlineData("/tokens", "{}", 422, "invalid_request", "$.name")]
    [InlineData("/tokens", "{\"name\":\" \"}", 422, "invalid_request", "$.name")]
    [InlineData("/tokens", "{\"name\":\"x\",\"roles\":[]}", 422, "invalid_request", "$.roles")]
    [InlineData("/tokens", "{\"name\":\"x\",\"roles\":[null]}", 422, "invalid_request", "$.roles")]
    [InlineData("/tokens", "{\"name\":\"x\",\"roles\":\"admin\"}", 422, "invalid_request", "$.roles")]
    [InlineData("/tokens", "{\"name\":\"x\",\"roles\":[\"king\"]}", 422, "unknown_role", "$.roles")]
    [InlineData("/tokens", "{\"name\":\"x\",\"user\":\"a:b\"}", 422, "invalid_request", "$.user")]
    [InlineData("/tokens", "{\"name\":\"x\",\"org_id\":\"*DEFAULT*\"}", 422, "invalid_request", "$.org_id")]
    public async Task A_bad_body_is_refused_with_its_place(string path, string body, int status, string code, string? place)
    {
        await http.Post("/sessions", """{"session_id":"bad"}""");
        var refused = (await http.Post(path, body)).IsProblem(status, code);
        if (place is not null)
        {
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
        }
    }

    [Theory]
    [InlineData("/sessions?limit=0", 422, "limit")]
    [InlineData("/sessions?limit=1001", 422, "limit")]
    [InlineData("/sessions?limit=", 422, "limit")]
    [InlineData("/sessions?limit=ten", 422, "limit")]
    [InlineData("/sessions?limit=1.5", 422, "limit")]
    [InlineData("/sessions?limit=1&limit=2", 422, "limit")]
    [InlineData("/sessions?limit=%2B5", 422, "limit")]
    [InlineData("/sessions?limit=99999999999999999999", 422, "limit")]
    [InlineData("/sessions/q/events?since_id=-1", 422, "since_id")]
    [InlineData("/sessions/q/events?since_id=x", 422, "since_id")]
    [InlineData("/sessions/q/events?since_id=9223372036854775808", 422, "since_id")]
    [InlineData("/sessions/q/events?since_id=%00", 422, "since_id")]
    [InlineData("/sessions/q/events?since_id=9223372036854775807", 422, "since_id")]
    [InlineData("/sessions/q/events?since_id=2", 422, "since_id")]
    [InlineData("/sessions/q/events?wait_seconds=61", 422, "wait_seconds")]
    [InlineData("/sessions/q/events?wait_seconds=-1", 422, "wait_seconds")]
    [InlineData("/sessions/q/events?limit=1001", 422, "limit")]
    [InlineData("/sessions/q/events/stream?since_id=-1", 422, "since_id")]
    [InlineData("/sessions/q/events/stream?since_id=1.0", 422, "since_id")]
    [InlineData("/sessions/q/events/stream?since_id=2", 422, "since_id")]
    [InlineData("/events?since_id=9000000000000", 422, "since_id")]
    [InlineData("/events/stream?since_id=9000000000000", 422, "since_id")]
    [InlineData("/sessions/q/runs?limit=-5", 422, "limit")]
    [InlineData("/sessions/%F0%9F%8C%8A", 422, "session_id")]
    [InlineData("/sessions/a%2Fb", 422, "session_id")]
    [InlineData("/sessions/%20", 422, "session_id")]
    [InlineData("/runs/x:y", 422, "run_id")]
    [InlineData("/runs/diff", 422, "left")]
    [InlineData("/runs/diff?left=x:y&right=x", 422, "left")]
    [InlineData("/runs/diff?left=run_01m80bw0ypq47sgbgw2mmtjfwf", 422, "right")]
    [InlineData("/runs/diff?left=run_01m80bw0ypq47sgbgw2mmtjfwf&right=run_01m80bw0ypq47sgbgw2mmtjfwf", 404, null)]
    [InlineData("/tokens/x'y", 422, "token_id")]
    [InlineData("/sessions/nobody", 404, null)]
    [InlineData("/sessions/sess_nobody/runs", 404, null)]
    [InlineData("/sessions/nobody/events/stream", 404, null)]
    [InlineData("/runs/run_01M80BW0YPQ47SGBGW2MMTJFWF", 404, null)]
    [InlineData("/runs/nobody/trace", 404, null)]
    [InlineData("/runs/run_01m80bw0ypq47sgbgw2mmtjfwf/artifacts", 404, null)]
    [InlineData("/tokens/token_01m80bw0ypq47sgbgw2mmtjfwf", 404, null)]
    [InlineData("/no/such/place", 404, null)]
    [InlineData("/", 404, null)]
    public async Task A_bad_address_is_refused_with_its_place(string path, int status, string? place)
    {
        await http.Post("/sessions", """{"session_id":"q"}""");
        var refused = (await http.Get(path)).IsProblem(status);
        if (place is not null)
        {
            Assert.True(refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
        }
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("x")]
    [InlineData("1.5")]
    [InlineData("9999999")]
    public async Task A_bad_last_event_id_is_refused_before_the_stream_begins(string id) =>
        (await http.Get($"/sessions/{await http.NewSession()}/events/stream", ("Last-Event-ID", id))).IsProblem(422);

    [Fact]
    public async Task Ids_beyond_128_characters_are_refused()
    {
        foreach (var path in (string[])[$"/sessions/{Long}{Long}", $"/sessions/{Long}{Long}/runs", $"/sessions/{Long}{Long}/events", $"/runs/{Long}{Long}", $"/runs/{Long}{Long}/trace", $"/tokens/{Long}{Long}"])
        {
            (await http.Get(path)).IsProblem(422);
        }
        (await http.Post("/sessions", $$"""{"session_id":"{{Long}}"}""")).IsProblem(422);
        (await http.Post("/sessions", $$"""{"session_id":"{{Long[..128]}}"}""")).Is(201);
        (await http.Get($"/sessions/{Long}")).IsProblem(404, "not_found");
        // The prefix of contract B comes on top.
        Assert.Equal($"conv_{Long[..128]}", (await http.Get($"/api/v1/conversations/conv_{Long[..128]}")).Is(200)["id"]);
    }

    [Fact]
    public async Task Wrong_methods_say_which_are_right()
    {
        (string, string)[] wrong = [("PUT", "/sessions"), ("PATCH", "/sessions/x"), ("DELETE", "/runs/x"), ("POST", "/events"), ("GET", "/sessions/x/turn")];
        foreach (var (method, path) in wrong)
        {
            using var answer = await http.SendAsync(new HttpRequestMessage(new(method), path));
            Assert.Equal((405, "application/problem+json"), ((int)answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
            Assert.NotEmpty(answer.Content.Headers.Allow);
        }
    }

    [Theory]
    [InlineData("text/plain", 415)]
    [InlineData("application/x-www-form-urlencoded", 415)]
    [InlineData("", 415)]
    [InlineData("nonsense", 415)]
    [InlineData("application/json; charset=utf-16", 415)]
    [InlineData("application/json; charset=iso-8859-1", 415)]
    [InlineData("application/json; charset=utf-8", 201)]
    [InlineData("application/json; charset=\"UTF-8\"", 201)]
    [InlineData("application/json; charset=utf8", 201)]
    [InlineData("application/json; charset=us-ascii", 201)]
    [InlineData("application/vnd.api+json", 201)]
    [InlineData("APPLICATION/JSON", 201)]
    public async Task A_body_is_json_or_refused(string contentType, int status)
    {
        var got = await http.Send(HttpMethod.Post, "/sessions", "{}"u8.ToArray(), contentType);
        _ = status == 415 ? got.IsProblem(415, "unsupported_media_type") : got.Is(201);
    }

    [Theory]
    [InlineData("gzip", 415)]
    [InlineData("identity, br", 415)]
    [InlineData("identity", 201)]
    public async Task A_body_that_is_compressed_is_refused_and_the_refusal_says_so(string coding, int status)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/sessions") { Content = new StringContent("{}", Encoding.UTF8, "application/json") };
        request.Content.Headers.TryAddWithoutValidation("Content-Encoding", coding);
        using var got = await http.SendAsync(request);
        Assert.Equal(status, (int)got.StatusCode);
        Assert.Equal(status == 415, (await got.Content.ReadAsStringAsync()).Contains("Content-Encoding", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Bytes_that_are_no_text_are_no_json_and_a_byte_order_mark_does_no_harm()
    {
        (await http.Send(HttpMethod.Post, "/sessions", [.. "{\"metadata\":{\"a\":\""u8, 0xC3, 0x28, .. "\"}}"u8], "application/json")).IsProblem(400, "malformed_json");
        (await http.Send(HttpMethod.Post, "/sessions", [0xEF, 0xBB, 0xBF, .. "{}"u8], "application/json")).Is(201);
        (await http.Send(HttpMethod.Post, "/sessions", Encoding.Unicode.GetBytes("{}"), "application/json")).IsProblem(400, "malformed_json");
    }

    [Fact]
    public async Task Nesting_ends_at_64_levels_and_a_member_may_stand_twice()
    {
        static string Nested(int levels) => "{\"metadata\":{\"a\":" + new string('[', levels - 2) + new string(']', levels - 2) + "}}";
        (await http.Post("/sessions", Nested(64))).Is(201);
        (await http.Post("/sessions", Nested(65))).IsProblem(422, "invalid_request");
        (await http.Post("/sessions", Nested(10_000))).IsProblem(422, "invalid_request");
        (await http.Post("/sessions", new string('[', 100_000))).IsProblem(400, "malformed_json");
        Assert.Equal("twice-b", (await http.Post("/sessions", """{"session_id":"twice-a","session_id":"twice-b","unknown":{"x":[1]}}""")).Is(201)["session_id"]);
    }

    [Fact]
    public async Task Large_bodies_are_taken_up_to_4_mib_and_messages_up_to_256_kib()
    {
        var session = await http.NewSession();
        static string Padded(int bytes) => "{" + new string(' ', bytes) + "}";
        (await http.Post("/sessions", Padded(3 << 20))).Is(201);
        (await http.Post("/sessions", Padded(4 << 20))).IsProblem(413, "payload_too_large");
        using var endless = new HttpRequestMessage(HttpMethod.Post, "/sessions") { Content = new StreamContent(new MemoryStream(Encoding.UTF8.GetBytes(Padded(5 << 20)))) };
        endless.Content.Headers.ContentType = new("application/json");
        endless.Headers.TransferEncodingChunked = true;
        using var answer = await http.SendAsync(endless);
        Assert.Equal(413, (int)answer.StatusCode);
        (await http.Turn(session, new string('m', 256 * 1024), wait: false)).Is(202);
        (await http.Turn(session, new string('m', (256 * 1024) + 1), wait: false)).IsProblem(422, "invalid_request");
        (await http.Turn(session, new string('é', 200 * 1024), wait: false)).IsProblem(422, "invalid_request");
    }

    /// <summary>faults.md, rows 15, 18, 34: every route of /openapi.json, with bodies broken in every way.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task No_broken_body_gives_a_5xx(int seed)
    {
        seed = Seeds.One(seed);
        var random = new Random(seed);
        await http.Post("/sessions", """{"session_id":"fuzz"}""");
        var run = (await http.Turn("fuzz", "/say ok", wait: false))["run_id"];
        var document = JsonNode.Parse((await http.Get("/openapi.json")).Is(200).Text)!;
        foreach (var (template, operations) in document["paths"]!.AsObject())
        {
            if (template.EndsWith("/shell/events", StringComparison.Ordinal))
            {
                // A stream without a cursor always begins, and is endless.
                continue;
            }
            foreach (var (method, _) in operations!.AsObject())
            {
                for (var i = 0; i < 20; i++)
                {
                    var path = template.Replace("{session_id}", Id(random, "fuzz"), StringComparison.Ordinal).Replace("{run_id}", Id(random, run), StringComparison.Ordinal)
                        .Replace("{sessionId}", Id(random, "fuzz"), StringComparison.Ordinal).Replace("{taskId}", Id(random, run), StringComparison.Ordinal)
                        .Replace("{token_id}", Id(random, "token_x"), StringComparison.Ordinal) + Query(random);
                    if (method == "get" && (template.EndsWith("/stream", StringComparison.Ordinal) || template.EndsWith("{sessionId}/events", StringComparison.Ordinal)))
                    {
                        // One that cannot begin: a stream that does is endless.
                        path = path.Split('?')[0] + "?since_id=-1";
                    }
                    if (method == "delete" && path.Contains("/fuzz", StringComparison.Ordinal))
                    {
                        continue;
                    }
                    var body = method is "post" ? Broken(random) : null;
                    var got = await http.Send(new HttpMethod(method.ToUpperInvariant()), path, body, "application/json", Header(random));
                    Assert.True((int)got.Status < 500, $"seed {seed}: {method} {path} {(body is null ? "" : Encoding.UTF8.GetString(body))}: {(int)got.Status} {got.Text}");
                    if ((int)got.Status >= 400 && template.EndsWith("/oauth/callback", StringComparison.Ordinal) && got.ContentType == "text/html")
                    {
                        // A browser comes here from the service, and shows its user a page.
                        continue;
                    }
                    if ((int)got.Status >= 400)
                    {
                        got.IsProblem((int)got.Status);
                    }
                }
            }
        }
    }

    static string Id(Random random, string known) => random.Next(8) switch
    {
        0 => Uri.EscapeDataString(new string((char)random.Next(0x20, 0x2FF), random.Next(1, 200))),
        1 => "sess_" + random.Next(),
        2 => "%E0%A4%A",
        3 => "..%2F..%2Fetc",
        _ => known,
    };

    static string Query(Random random) => random.Next(6) switch
    {
        0 => "?limit=" + random.NextInt64(),
        1 => "?since_id=" + (random.NextDouble() * 10),
        2 => "?limit=%00&since_id=%FF",
        3 => "?wait_seconds=" + random.Next(-5, 0),
        4 => "?unknown=1&=&&",
        _ => "",
    };

    static (string, string)[] Header(Random random) => random.Next(5) switch
    {
        0 => [("Idempotency-Key", new string((char)random.Next(0x21, 0x7E), random.Next(0, 400)))],
        1 => [("traceparent", "00-" + random.Next())],
        2 => [("Last-Event-ID", "\"nonsense")],
        _ => [],
    };

    static readonly string[] Members =
    [
        "session_id", "workspace_path", "metadata", "message", "idempotency_key", "wait_for_completion", "wait_timeout_seconds", "name", "user", "roles", "org_id", "grants",
        "connectors",
    ];

    static readonly string[] Values =
    [
        "null", "true", "1e400", "-0", "1.5", "9007199254740993", "\"\"", "\"x\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udfff x\"", "[]", "{}", "[[1]]", "{\"auth_context\":[]}",
        "{\"a\":{\"b\":[1e999]}}", "\"/tmp/../etc\"", "\"../..\"", "\"\\uD83D\\uDE00\"", "\"' or 1=1 --\"", "123456789012345678901234567890", "\"\\b\\f\\/\"", "\"\u2028\"",
    ];

    static byte[] Broken(Random random)
    {
        var members = Enumerable.Range(0, random.Next(0, 6)).Select(_ => $"\"{Members[random.Next(Members.Length)]}\":{Values[random.Next(Values.Length)]}");
        var json = Encoding.UTF8.GetBytes($"{{{string.Join(',', members)}}}");
        switch (random.Next(8))
        {
            case 0:
                return json[..random.Next(json.Length)];
            case 1:
                json[random.Next(json.Length)] = (byte)random.Next(256);
                return json;
            case 2:
                return [0xEF, 0xBB, 0xBF, .. json];
            case 3:
                return Encoding.UTF8.GetBytes(new string('[', random.Next(1, 20_000)));
            case 4:
                random.NextBytes(json);
                return json;
            default:
                return json;
        }
    }

    [Theory]
    [InlineData("/sessions", "\"\\u0000\",", "[", "]")]
    [InlineData("/sessions", "1e999,", "[", "]")]
    public async Task A_body_of_faults_is_refused_for_the_first_of_them(string path, string fault, string before, string after)
    {
        var faults = string.Concat(Enumerable.Repeat(fault, 4_000_000 / fault.Length)).TrimEnd(',');
        var refused = (await http.Post(path, $$$"""{"metadata":{"a":{{{before}}}{{{faults}}}{{{after}}} } }""")).IsProblem(422, "invalid_request");
        Assert.Equal(20, refused.Json.GetProperty("errors").EnumerateObject().Sum(e => e.Value.GetArrayLength()));
    }

    [Theory]
    [InlineData("/sessions", """{"metadata":{"a":"LONG"}}""")]
    [InlineData("/skills", """{"name":"m","prompt_template":"x","metadata":{"a":"LONG"}}""")]
    public async Task Metadata_has_a_limit_of_its_own(string path, string body)
    {
        var refused = (await http.Post(path, body.Replace("LONG", new string('x', 65_536)))).IsProblem(422, "invalid_request");
        Assert.Contains("at most 65536 bytes", refused["detail"]);
        (await http.Post(path, body.Replace("LONG", new string('x', 65_000)))).Is(201);
    }

    [Theory]
    [InlineData("GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request")]
    [InlineData("GET /sessions/a%00b/events HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request")]
    [InlineData("GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request")]
    [InlineData("GET / HTTP/1.1\r\n\r\n", 400, "bad_request")]
    [InlineData("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request")]
    [InlineData("NONSENSE\r\n\r\n", 400, "bad_request")]
    [InlineData("POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400, "bad_request")]
    [InlineData("POST /sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n", 400, "bad_request")]
    [InlineData("POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n", 400, "bad_request")]
    [InlineData(
        "POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n", 400, "bad_request")]
    [InlineData("GET /LONG HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "address_too_long")]
    [InlineData("GET / HTTP/1.1\r\nHost: localhost\r\nX: LONG\r\n\r\n", 431, "headers_too_large")]
    [InlineData("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505, "http_version_unsupported")]
    public async Task What_is_no_http_is_told_so_with_a_problem_and_the_host_lives_on(string sent, int status, string code)
    {
        var url = new Uri(tenant.Host.Url);
        // A request that is answered before it, on the same connection, changes nothing.
        foreach (var before in (string[])["", "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"])
        {
            using var socket = new TcpClient(url.Host, url.Port);
            await socket.GetStream().WriteAsync(Encoding.Latin1.GetBytes(before + sent.Replace("LONG", new string('x', 40_000))));
            using var answer = new StreamReader(socket.GetStream());
            var all = await answer.ReadToEndAsync();
            var last = all[all.LastIndexOf($"HTTP/1.1 {status} ", StringComparison.Ordinal)..];
            var (head, body) = (last[..last.IndexOf("\r\n\r\n", StringComparison.Ordinal)], last[(last.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]);
            Assert.StartsWith($"HTTP/1.1 {status} ", head);
            Assert.Contains("\r\nContent-Type: application/problem+json\r\n", head);
            Assert.Contains($"\r\nContent-Length: {body.Length}\r\n", head);
            var problem = JsonNode.Parse(body)!;
            Assert.Equal((status, code), ((int)problem["status"]!, (string?)problem["code"]));
        }
        (await http.Get("/health/ready")).Is(200);
    }
}
