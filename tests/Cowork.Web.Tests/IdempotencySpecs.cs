using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>The same request twice does its work once: by the header on every POST, by the body's key on a turn.</summary>
public sealed class IdempotencySpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    static (string, string) Key(string key) => ("Idempotency-Key", key);

    static bool IsReplay(Got got) => got.Headers.TryGetValues("Idempotency-Replayed", out var said) && said.Single() == "true";

    [Fact]
    public async Task A_session_is_made_once_for_a_key()
    {
        var first = (await http.Post("/sessions", """{"metadata":{"a":1}}""", Key("s-1"))).Is(201);
        var again = (await http.Post("/sessions", """{"metadata":{"a":1}}""", Key("s-1"))).Is(201);
        Assert.False(IsReplay(first));
        Assert.True(IsReplay(again));
        Assert.Equal((first.Text, first.Headers.Location), (again.Text, again.Headers.Location));
        (await http.Post("/sessions", """{"metadata":{"a":2}}""", Key("s-1"))).IsProblem(422, "idempotency_key_reused");
        Assert.NotEqual(first.Text, (await http.Post("/sessions", """{"metadata":{"a":1}}""", Key("s-2"))).Is(201).Text);
    }

    [Theory]
    [InlineData("""{"wait_for_completion":false,"message":"/say \u0061"}""")] // another order and spelling
    [InlineData("""{ "message" : "/say a", "wait_for_completion" : false }""")] // white space
    [InlineData("""{"message":"/say a","wait_for_completion":true}""")]
    [InlineData("""{"message":"/say a","wait_timeout_seconds":7.5}""")]
    public async Task A_repeat_may_be_written_differently_and_wait_for_another_time(string repeat)
    {
        var session = await http.NewSession();
        var first = (await http.Post($"/sessions/{session}/turn", """{"message":"/say a","wait_for_completion":false}""", Key("same"))).Is(202);
        var again = await http.Post($"/sessions/{session}/turn", repeat, Key("same"));
        Assert.Equal((first["run_id"], true), (again["run_id"], IsReplay(again)));
        (await http.Post($"/sessions/{session}/turn", """{"message":"/say b"}""", Key("same"))).IsProblem(422, "idempotency_key_reused");
    }

    [Fact]
    public async Task A_body_with_a_member_twice_is_compared_by_its_bytes()
    {
        const string Twice = """{"metadata":{"a":1},"metadata":{"a":2}}""";
        var first = (await http.Post("/sessions", Twice, Key("twice"))).Is(201);
        Assert.Equal(first.Text, (await http.Post("/sessions", Twice, Key("twice"))).Is(201).Text);
        (await http.Post("/sessions", """{"metadata":{"a":2}}""", Key("twice"))).IsProblem(422, "idempotency_key_reused");
    }

    [Fact]
    public async Task A_refused_request_leaves_its_key_free()
    {
        await http.NewSession("taken");
        (await http.Post("/sessions", """{"session_id":"taken"}""", Key("free"))).IsProblem(409, "session_exists");
        (await http.Post("/sessions", """{"session_id":"taken-not"}""", Key("free"))).Is(201);
    }

    [Fact]
    public async Task A_replayed_turn_answers_with_the_run_as_it_is_now()
    {
        var session = await http.NewSession();
        const string Body = """{"message":"/sleep 200\n/say done","wait_for_completion":false}""";
        var first = (await http.Post($"/sessions/{session}/turn", Body, Key("t-1"))).Is(202);
        await http.Until($"/runs/{first["run_id"]}", run => run["status"] == "completed");
        var again = (await http.Post($"/sessions/{session}/turn", Body, Key("t-1"))).Is(200);
        Assert.Equal((first["run_id"], "completed", "False", true), (again["run_id"], again["status"], again["reused"], IsReplay(again)));
        var reused = (await http.Post($"/sessions/{session}/turn", """{"message":"other"}""", Key("t-1"))).IsProblem(422, "idempotency_key_reused");
        Assert.Equal(first["run_id"], reused["run_id"]);
        Assert.True(reused.Json.GetProperty("errors").TryGetProperty("Idempotency-Key", out _));
    }

    [Fact]
    public async Task A_key_counts_for_one_path_and_one_caller()
    {
        var (one, two) = (await http.NewSession(), await http.NewSession());
        const string Body = """{"message":"/say ok"}""";
        var first = (await http.Post($"/sessions/{one}/turn", Body, Key("scoped"))).Is(200);
        var elsewhere = (await http.Post($"/sessions/{two}/turn", Body, Key("scoped"))).Is(200);
        Assert.NotEqual(first["run_id"], elsewhere["run_id"]);
        using var other = await tenant.Client("member");
        var otherCaller = (await other.Post($"/sessions/{one}/turn", Body, Key("scoped"))).Is(200);
        Assert.NotEqual(first["run_id"], otherCaller["run_id"]);
    }

    [Fact]
    public async Task A_cancellation_answers_the_same_again()
    {
        var run = (await http.Turn(await http.NewSession(), "/sleep 60000", wait: false))["run_id"];
        var first = (await http.Post($"/runs/{run}/cancel", "{}", Key("c-1"))).Is(202);
        await http.Until($"/runs/{run}", got => got["status"] == "cancelled");
        var again = (await http.Post($"/runs/{run}/cancel", "{}", Key("c-1"))).Is(202);
        Assert.Equal((first.Text, true), (again.Text, IsReplay(again)));
        Assert.Equal("False", (await http.Post($"/runs/{run}/cancel", "{}", Key("c-2"))).Is(200)["cancel_requested"]);
    }

    [Fact]
    public async Task A_repeat_shows_what_the_first_request_left_whatever_became_of_it_since()
    {
        var session = await http.NewSession();
        var skill = (await http.Post("/skills", """{"name":"moving","prompt_template":"/say 1"}""", Key("m-1"))).Is(201);
        var added = (await http.Post($"/skills/{skill["skill_id"]}/versions", """{"prompt_template":"/say 2"}""", Key("m-2"))).Is(201);
        (await http.Post($"/skills/{skill["skill_id"]}/versions", """{"prompt_template":"/say 3"}""")).Is(201);
        var schedule = (await http.Post(
            "/scheduled-runs", $$"""{"name":"m","session_id":"{{session}}","skill_id":"{{skill["skill_id"]}}","interval_seconds":60,"active":false}""")).Is(201);
        var unchanged = (await http.Post($"/scheduled-runs/{schedule["schedule_id"]}/pause", "{}", Key("m-3"))).Is(200);
        (await http.Post($"/scheduled-runs/{schedule["schedule_id"]}/resume")).Is(200);
        var run = (await http.Turn(session, "/say ok")).Is(200)["run_id"];
        var ended = (await http.Post($"/runs/{run}/cancel", "{}", Key("m-4"))).Is(200);
        (string Path, string Body, string Key, Got First)[] all =
        [
            ("/skills", """{"name":"moving","prompt_template":"/say 1"}""", "m-1", skill),
            ($"/skills/{skill["skill_id"]}/versions", """{"prompt_template":"/say 2"}""", "m-2", added),
            ($"/scheduled-runs/{schedule["schedule_id"]}/pause", "{}", "m-3", unchanged),
            ($"/runs/{run}/cancel", "{}", "m-4", ended),
        ];
        foreach (var (path, body, key, first) in all)
        {
            var again = await http.Post(path, body, Key(key));
            Assert.Equal((first.Status, first.Text, first.Headers.Location, true), (again.Status, again.Text, again.Headers.Location, IsReplay(again)));
        }
        Assert.Equal(("paused", "False"), (unchanged["status"], ended["cancel_requested"]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_key_of_an_earlier_release_is_answered_with_what_that_one_stored(bool isLong)
    {
        var blobs = tenant.Host.Services.GetRequiredService<IBlobs>();
        var (name, scope, body) = ($"before-{isLong}", "user:local POST /sessions", """{"metadata":{"a":1}}""");
        var stored = $$$"""{"session_id":"sess_before","metadata":{"text":"{{{new string('x', isLong ? Limits.InlineBytesMax : 1)}}}"}}""";
        var claimed = new IdempotencyKeyClaimedV1(
            scope, name, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(body))), null, new(201, "/sessions/sess_before", await blobs.Store(stored, default)),
            TimeProvider.System.GetUtcNow());
        await Append(IdempotencyKey.Aggregate.Stream(IdempotencyKey.StreamKey(scope, name)), "idempotency_key_claimed.v1", claimed);
        var again = (await http.Post("/sessions", body, Key(name))).Is(201);
        Assert.Equal((stored, "/sessions/sess_before", true), (again.Text, again.Headers.Location!.ToString(), IsReplay(again)));
        (await http.Post("/sessions", "{}", Key(name))).IsProblem(422, "idempotency_key_reused");
    }

    [Fact]
    public async Task A_secret_is_shown_once()
    {
        (await http.Post("/tokens", """{"name":"once"}""", Key("secret"))).Is(201);
        (await http.Post("/tokens", """{"name":"once"}""", Key("secret"))).IsProblem(409, "secret_not_replayable");
        var listed = (await http.Get("/tokens")).Is(200).Json.GetProperty("tokens").EnumerateArray().Count(t => t.GetProperty("name").GetString() == "once");
        Assert.Equal(1, listed);
    }

    [Theory]
    [InlineData("")]
    [InlineData("with\ttab")]
    [InlineData("ümlaut")]
    [InlineData("256")]
    public async Task A_key_is_1_to_255_printable_ascii_characters(string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/sessions");
        request.Headers.TryAddWithoutValidation("Idempotency-Key", key == "256" ? new string('k', 256) : key);
        var utf8 = new SocketsHttpHandler { UseProxy = false, RequestHeaderEncodingSelector = (_, _) => System.Text.Encoding.UTF8 };
        using var raw = new HttpClient(utf8) { BaseAddress = http.BaseAddress, DefaultRequestHeaders = { Authorization = http.DefaultRequestHeaders.Authorization } };
        using var answer = await raw.SendAsync(request);
        Assert.Equal(422, (int)answer.StatusCode);
        (await http.Post("/sessions", "{}", Key(new string('k', 255)))).Is(201);
    }

    [Fact]
    public async Task The_bodys_key_brings_the_run_back_for_ever()
    {
        var session = await http.NewSession();
        const string Body = """{"message":"/say ok","idempotency_key":"k-1"}""";
        var first = (await http.Post($"/sessions/{session}/turn", Body)).Is(200);
        var again = (await http.Post($"/sessions/{session}/turn", Body)).Is(200);
        Assert.Equal((first["run_id"], "False", "True", false), (again["run_id"], first["reused"], again["reused"], IsReplay(again)));
        var reused = (await http.Post($"/sessions/{session}/turn", """{"message":"other","idempotency_key":"k-1"}""")).IsProblem(422, "idempotency_key_reused");
        Assert.Equal(first["run_id"], reused["run_id"]);
        Assert.NotEqual(first["run_id"], (await http.Post($"/sessions/{await http.NewSession()}/turn", Body)).Is(200)["run_id"]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Sixty_four_at_once_with_one_key_are_one_run(bool inBody)
    {
        var session = await http.NewSession();
        var body = inBody ? """{"message":"/say ok","idempotency_key":"same"}""" : """{"message":"/say ok"}""";
        var all = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => inBody
            ? http.Post($"/sessions/{session}/turn", body)
            : http.Post($"/sessions/{session}/turn", body, Key("same"))));
        Assert.All(all, got => Assert.Equal("completed", got.Is(200)["status"]));
        Assert.Single(all.Select(got => got["run_id"]).Distinct());
        Assert.Equal(63, all.Count(got => inBody ? got["reused"] == "True" : IsReplay(got)));
        Assert.Equal(1, (await http.Get($"/sessions/{session}/runs")).Json.GetProperty("runs").GetArrayLength());
        Assert.Single(await http.Events(session), e => e.GetProperty("type").GetString() == "run_created");
    }

    [Fact]
    public async Task Sixty_four_sessions_of_one_id_are_one_session()
    {
        var all = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => http.Post("/sessions", """{"session_id":"crowded"}""")));
        Assert.Single(all, got => (int)got.Status == 201);
        Assert.All(all.Where(got => (int)got.Status != 201), got => got.IsProblem(409, "session_exists"));
        Assert.Equal(JsonValueKind.Array, (await http.Get("/sessions/crowded/events")).Json.GetProperty("events").ValueKind);
    }

    /// <summary>Appends an event as the first of its stream.</summary>
    async Task Append(string stream, string type, Event e)
    {
        var (id, data) = (Ids.NewEventId(e.At), EventJson.Write(e));
        var at = DateTimeOffset.FromUnixTimeMilliseconds(e.At.ToUnixTimeMilliseconds());
        var hash = HashChain.Next(HashChain.Root, tenant.Org, stream, 1, id, type, at, "user:local", data);
        var write = new Write(stream, 0, [new(tenant.Org, stream, 1, id, type, e, data, at, "user:local", hash)], null, null, []);
        Assert.IsType<AppendResult.Ok>(await tenant.Host.Services.GetRequiredService<IEventLog>().Append(new(tenant.Org, [write], [], null, new("user:local")), default));
    }
}
