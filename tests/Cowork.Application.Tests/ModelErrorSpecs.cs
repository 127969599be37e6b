using System.Globalization;
using System.Text;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>What providers and the proxies before them say about a failure, in all its forms: the reason, the delay, and never the key.</summary>
public sealed class ModelErrorSpecs
{
    public static TheoryData<string, string, string> Bodies => new()
    {
        { "application/json", """{"error":{"message":"No such model.","type":"invalid_request_error","code":"model_not_found"}}""", "No such model." },
        { "application/json", """{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"}}""", "max_tokens: too large" },
        { "application/json", """[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"x","reason":"API_KEY_INVALID"}]}}]""", "API key not valid." },
        { "application/json", """{"detail":[{"type":"missing","loc":["body","messages",0,"content"],"msg":"Field required"},{"loc":["body"],"msg":"Extra"}]}""", "body.messages.0.content: Field required; body: Extra" },
        { "application/json", """{"detail":"Not Found"}""", "Not Found" },
        { "application/json", """{"object":"error","message":{"detail":[{"loc":["body","x"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error"}""", "body.x: Extra inputs are not permitted" },
        { "application/json", """{"success":false,"errors":[{"code":7003,"message":"Could not route"},{"code":7000,"message":"No route"}],"result":null}""", "Could not route; No route" },
        { "application/json", """{"errors":["First.","Second."]}""", "First.; Second." },
        { "application/problem+json", """{"type":"about:blank","title":"Bad Request","status":400,"detail":"The model is wrong.","errors":{"model":["Unknown."]}}""", "Bad Request: The model is wrong.: model: Unknown." },
        { "application/json", """{"error":"invalid_request","error_description":"Nothing fits."}""", "invalid_request: Nothing fits." },
        { "application/json", """{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":\"temperature\"}","provider_name":"X"}}}""", "Provider returned error: {\"error\":\"temperature\"}" },
        { "application/json", "\"Just a text.\"", "Just a text." },
        { "application/json", """{"code":"x-17","path":"/v1"}""", """{"code":"x-17","path":"/v1"}""" },
        { "application/json", """{"error":{"message":"Cut in the""", """{"error":{"message":"Cut in the""" },
        { "text/event-stream", "event: error\ndata: {\"error\":{\"message\":\"As an event.\"}}\n\ndata: [DONE]\n\n", "As an event." },
        { "text/plain", "upstream connect error or\ndisconnect/reset before headers", "upstream connect error or disconnect/reset before headers" },
        {
            "text/html", "<!DOCTYPE html><html><head><title>413 Request Entity Too Large</title><style>b { color: red }</style><script>alert(\"x < y\")</script></head>"
                + "<body><!-- padding > --><h1>413&nbsp;Too Large</h1><p>Say &quot;less&quot;.</p></body></html>",
            "413 Request Entity Too Large 413 Too Large Say \"less\"."
        },
        { "text/html", "<html><script>never closed", "" },
        { "application/json", "", "" },
        { "application/json", "{}", "" },
    };

    [Theory, MemberData(nameof(Bodies))]
    public async Task The_reason_reaches_the_runs_error(string type, string body, string reason)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(400, type, body);
        var failed = Assert.IsType<RunFailed>((await bench.Run())[^1]).Error;
        Assert.Equal(new("model_refused", $"The model \"clever\" answered 400{(reason.Length == 0 ? "" : ": ")}{reason}"), failed);
    }

    [Fact]
    public async Task A_reason_is_cut_to_two_thousand_characters()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(400, "text/plain", string.Join(' ', Enumerable.Repeat("lorem", 50_000)));
        var message = Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Message;
        Assert.InRange(message.Length, 1_900, 2_000);
        Assert.EndsWith("lorem…", message);
    }

    [Theory]
    [InlineData("""{"error":{"message":"The account is empty.","code":"insufficient_quota"}}""", "model_refused", "The account is empty.")]
    [InlineData("""{"error":{"message":"Overloaded.","code":503}}""", "model_unavailable", "Overloaded.")]
    public async Task An_error_with_status_200_is_an_error(string body, string code, string words)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        bench.Server.ThenBody(200, "application/json", body);
        var failed = Assert.IsType<RunFailed>((await bench.Run())[^1]).Error;
        Assert.Equal(code, failed.Code);
        Assert.Contains(words, failed.Message);
    }

    public static TheoryData<string?, string, long> Delays => new()
    {
        { "Retry-After: 7", "{}", 7_000 },
        { "Retry-After: 7.25", "{}", 7_250 },
        { "retry-after-ms: 1500.5", "{}", 1_501 },
        { "retry-after-ms: 1500\r\nRetry-After: 2", "{}", 1_500 },
        { null, """[{"error":{"code":429,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17s"}]}}]""", 17_000 },
        { null, """{"error":{"code":429,"details":[{"retryDelay":"17.318s"}]}}""", 17_318 },
        { null, """{"error":{"details":[{"retryDelay":{"seconds":4,"nanos":500000000}}]}}""", 4_500 },
        { null, """{"error":{"message":"Rate limit reached for m. Please try again in 1.5s. Visit https://x.y for 3 more."}}""", 1_500 },
        { null, """{"error":{"message":"Please try again in 2520ms."}}""", 2_520 },
        { null, """{"error":{"message":"Please try again in 0m30.5s."}}""", 30_500 },
        { null, """{"error":{"message":"Please retry after 6 seconds."}}""", 6_000 },
        { null, "Too many requests, retry in 1 minute", 60_000 },
        { null, """{"message":"Slow down","retry_after":3.5}""", 3_500 },
        { null, """{"error":"loading","estimated_time":20.0}""", 20_000 },
        { "Retry-After: 8", """{"error":{"message":"Please try again in 2s."}}""", 8_000 },
    };

    [Theory, MemberData(nameof(Delays))]
    public async Task A_delay_is_honoured_wherever_it_stands(string? header, string body, long ms)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(429, "application/json", body, header is null ? [] : [header]).ThenStream(bench.Wire.Say("now"));
        var events = await bench.Run();
        Assert.Equal(ms, events.OfType<ModelRetried>().Single().WaitMs);
        Assert.IsType<RunCompleted>(events[^1]);
    }

    [Theory]
    [InlineData("Retry-After: soon")]
    [InlineData("Retry-After: -5")]
    [InlineData("Retry-After: NaN")]
    [InlineData("retry-after-ms: 1e999")]
    [InlineData("Retry-After: Thu, 01 Jan 1970 00:00:00 GMT")]
    public async Task A_delay_that_makes_no_sense_is_none(string header)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(503, """{"error":{"message":"Waiting for 3 workers; try again."}}""", header).ThenStream(bench.Wire.Say("now"));
        var events = await bench.Run();
        Assert.InRange(events.OfType<ModelRetried>().Single().WaitMs, 250, 500);
    }

    [Theory]
    [InlineData("""{"error":{"message":"Please try again in 1m30s."}}""")]
    [InlineData("""{"error":{"details":[{"retryDelay":"3600s"}]}}""")]
    public async Task A_delay_that_is_too_long_ends_the_attempts(string body)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStatus(429, body);
        Assert.Equal("model_unavailable", Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Code);
    }

    [Fact]
    public async Task A_delay_in_the_middle_of_a_stream_is_honoured_too()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStream([bench.Wire.Text("x"), """{"error":{"code":429,"message":"Please try again in 9s."}}"""]).ThenStream(bench.Wire.Say("now"));
        var retried = (await bench.Run()).OfType<ModelRetried>().Single();
        Assert.Equal(("model_unavailable", 9_000), (retried.Code, retried.WaitMs));
    }

    [Theory]
    [InlineData(400, "text/plain", "I got Authorization: Bearer {0}.")]
    [InlineData(400, "text/html", "<pre>x-api-key: {0}</pre>")]
    [InlineData(401, "application/json", """{{"error":{{"message":"Incorrect API key provided: {1}***{2}. Mind it."}}}}""")]
    [InlineData(403, "application/json", """{{"detail":[{{"loc":["header"],"msg":"no rights for {1}..."}}]}}""")]
    [InlineData(500, "application/json", """{{"errors":["{0}","...{2}"]}}""")]
    public async Task Nothing_of_the_key_is_told(int status, string type, string body)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        bench.Server.ThenBody(status, type, string.Format(CultureInfo.InvariantCulture, body, ModelHarness.Key, ModelHarness.Key[..8], ModelHarness.Key[^4..]));
        foreach (var e in await bench.Run())
        {
            var stored = Encoding.UTF8.GetString(EventJson.Write(e));
            Assert.DoesNotContain(ModelHarness.Key[..4], stored);
            Assert.False(e is RunFailed && stored.Contains(ModelHarness.Key[^4..], StringComparison.Ordinal), stored);
        }
    }

    [Fact]
    public async Task Nor_in_the_models_id_or_the_word_for_the_end()
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        bench.Server.ThenStream($$"""{"model":"m-{{ModelHarness.Key}}","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"own_{{ModelHarness.Key}}"}]}""", "[DONE]");
        var events = await bench.Run();
        Assert.IsType<RunCompleted>(events[^1]);
        Assert.All(events, e => Assert.DoesNotContain(ModelHarness.Key, Encoding.UTF8.GetString(EventJson.Write(e))));
    }

    [Fact]
    public async Task Words_that_are_like_an_end_of_the_key_stay()
    {
        await using var bench = new ModelHarness("openai", s => s with { Key = "test-key-0123-last" });
        bench.Server.ThenBody(400, "text/plain", "The latest test of model 0123 is the last one.");
        Assert.EndsWith(": The latest test of model 0123 is the last one.", Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Message);
    }

    [Fact]
    public async Task Nor_is_a_credential_of_a_proxys_own()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(400, "text/plain", """upstream said no to {"authorization": "Bearer c2VjcmV0c2VjcmV0", "api-key": "0123456789abcdef"} at https://x/?key=AIza12345678""");
        var message = Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Message;
        Assert.EndsWith("""upstream said no to {"authorization": "Bearer ***", "api-key": "***"} at https://x/?key=***""", message);
    }

    /// <summary>Heartbeats of many kinds, none of which is a part of an answer.</summary>
    public static TheoryData<string, string> Heartbeats => new()
    {
        { "openai", ": OPENROUTER PROCESSING\n\n" },
        { "openai", ":\n" },
        { "openai", "data:\n\n" },
        { "openai", "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n" },
        { "openai", "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"reasoning_content\":null,\"tool_calls\":[]}}]}\n\n" },
        { "openai", "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n" },
        { "openai", "event: ping\ndata: {\"choices\":[]}\n\n" },
        { "openai", "event: heartbeat\ndata: alive\n\n" },
        { "anthropic", "event: ping\ndata: {\"type\":\"ping\"}\n\n" },
        { "anthropic", "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}\n\n" },
        { "anthropic", "data: {\"type\":\"message_start\",\"message\":{}}\n\n" },
    };

    [Theory, MemberData(nameof(Heartbeats))]
    public async Task Heartbeats_are_no_beginning(string provider, string beat)
    {
        await using var bench = new ModelHarness(provider, s => s with { Timeouts = s.Timeouts with { FirstContent = TimeSpan.FromSeconds(40) } });
        var (asking, started) = (Ask(bench, beat), bench.Clock.GetUtcNow());
        var e = await Assert.ThrowsAsync<ModelException>(() => asking);
        Assert.Equal(("model_unavailable", "The model did not start to answer within 00:00:40."), (e.Code, e.Message));
        Assert.True(bench.Clock.GetUtcNow() - started >= TimeSpan.FromSeconds(40));
    }

    [Theory, MemberData(nameof(Heartbeats))]
    public async Task Heartbeats_keep_no_answer_alive(string provider, string beat)
    {
        await using var bench = new ModelHarness(provider, s => s with { Timeouts = s.Timeouts with { Idle = TimeSpan.FromSeconds(4) } });
        var (asking, started) = (Ask(bench, beat, isContent: false, bench.Wire.Text("Well")), bench.Clock.GetUtcNow());
        var e = await Assert.ThrowsAsync<ModelException>(() => asking);
        Assert.Equal(("model_failed", "The model's answer stood still for 00:00:04."), (e.Code, e.Message));
        Assert.True(bench.Clock.GetUtcNow() - started >= TimeSpan.FromSeconds(4));
    }

    [Fact]
    public async Task Contents_keep_an_answer_alive_until_it_took_too_long_altogether()
    {
        await using var bench = new ModelHarness("openai", s => s with { Timeouts = new(TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(4), TimeSpan.FromSeconds(4), TimeSpan.FromSeconds(40)) });
        var (asking, started) = (Ask(bench, "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"h\"}}]}\n\n", isContent: true), bench.Clock.GetUtcNow());
        var e = await Assert.ThrowsAsync<ModelException>(() => asking);
        Assert.Equal(("model_failed", "The model's answer took longer than 00:00:40."), (e.Code, e.Message));
        Assert.True(bench.Clock.GetUtcNow() - started >= TimeSpan.FromSeconds(40));
    }

    [Fact]
    public async Task A_whole_answer_is_not_given_up_because_its_stream_stays_open()
    {
        await using var bench = new ModelHarness("openai", s => s with { Timeouts = s.Timeouts with { Idle = TimeSpan.FromSeconds(4) } });
        var asking = Ask(bench, ":\n\n", isContent: false, """{"choices":[{"index":0,"delta":{"content":"whole"},"finish_reason":"stop"}]}""");
        Assert.Equal("whole", (await asking).Text);
    }

    /// <summary>Asks, is answered by a beginning and then by the same piece again and again, and lets a second of the clock pass after each.</summary>
    /// <param name="isContent">The piece is content: the clock goes on when it was read.</param>
    static async Task<ChatResponse> Ask(ModelHarness bench, string beat, bool isContent = false, params string[] begin)
    {
        var (next, sent) = (new SemaphoreSlim(0), new SemaphoreSlim(0));
        bench.Server.Then(async e =>
        {
            await e.Head();
            foreach (var data in begin)
            {
                await e.Event(data);
            }
            while (true)
            {
                await e.Send(beat);
                sent.Release();
                await next.WaitAsync(Patience.Limit);
            }
        });
        var contents = 0;
        var asking = Collect();
        for (var beats = 1; !asking.IsCompleted; beats++)
        {
            await Task.WhenAny(asking, sent.WaitAsync(Patience.Limit));
            var read = begin.Length + (isContent ? beats : 0);
            while (!asking.IsCompleted && Volatile.Read(ref contents) < read)
            {
                await Task.Yield();
            }
            bench.Clock.Advance(TimeSpan.FromSeconds(1));
            next.Release();
        }
        return await asking;

        async Task<ChatResponse> Collect()
        {
            var updates = new List<ChatResponseUpdate>();
            await foreach (var update in bench.Client.GetStreamingResponseAsync([new(ChatRole.User, "?")]))
            {
                updates.Add(update);
                Interlocked.Increment(ref contents);
            }
            return updates.ToChatResponse();
        }
    }

    /// <summary>What a provider says in place of events, under their type, is the reason of the failure.</summary>
    [Theory]
    [InlineData("<html><head><style>x</style></head><body><h1>Sign in</h1></body></html>", "Sign in")]
    [InlineData("""{"error":{"message":"No such model."}}""", "No such model.")]
    [InlineData("{\n  \"error\": {\n    \"message\": \"No such model.\"\n  }\n}", "No such model.")]
    [InlineData("{\"message\":{\"content\":\"x\"},\"done\":false}\n{\"error\":\"The model crashed.\"}\n", "The model crashed.")]
    [InlineData("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\nerror: {\"code\":500,\"message\":\"The slot is gone.\"}\n\n", "The slot is gone.")]
    public async Task What_stands_in_place_of_a_stream_is_the_reason(string body, string reason)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(200, "text/event-stream", body);
        var e = await Assert.ThrowsAsync<ModelException>(() => bench.Client.GetResponseAsync([new(ChatRole.User, "?")]));
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("openai", """{"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}""")]
    [InlineData(
        "anthropic", """{"type":"message","model":"m-1","content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo."}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":3}}""")]
    public async Task A_whole_answer_of_a_server_that_does_not_stream_is_taken(string provider, string body)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenBody(200, "application/json", body);
        var answer = await bench.Client.GetResponseAsync([new(ChatRole.User, "?")]);
        Assert.Equal(
            ("Hello.", "m-1", 7L, 3L, ChatFinishReason.Stop),
            (answer.Text, answer.ModelId, answer.Usage!.InputTokenCount, answer.Usage.OutputTokenCount, answer.FinishReason));
    }

    [Fact]
    public async Task A_tool_call_of_a_whole_answer_is_taken()
    {
        await using var bench = new ModelHarness("anthropic");
        bench.Server.ThenBody(
            200, "application/json", """{"type":"message","content":[{"type":"tool_use","id":"t","name":"read_file","input":{"path":"a"}}],"stop_reason":"tool_use","usage":{}}""");
        var call = Assert.Single((await bench.Client.GetResponseAsync([new(ChatRole.User, "?")])).Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>());
        Assert.Equal(("read_file", """{"path":"a"}"""), (call.Name, CallArguments.Text(call)));
    }

    [Fact]
    public async Task What_hides_in_a_reason_is_written_out()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenBody(400, "application/json", """{"error":{"message":"a\u202eb\u001b[2Kc\u0007"}}""");
        var e = await Assert.ThrowsAsync<ModelException>(() => bench.Client.GetResponseAsync([new(ChatRole.User, "?")]));
        Assert.Contains(@"a\u202eb\u001b[2Kc\u0007", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"a\":\"x\u202ey\"}", @"{""a"":""x\u202ey""}")]
    [InlineData("{\"a\":\"\U000e0001\u200d\"}", "{\"a\":\"\\udb40\\udc01\u200d\"}")]
    [InlineData("{\"a\":\"plain ö 😀\"}", "{\"a\":\"plain ö 😀\"}")]
    public void Hidden_characters_of_a_JSON_line_are_escaped_as_JSON_does(string json, string expected)
    {
        Assert.Equal(expected, VisibleText.OfJson(json));
        Assert.Equal(System.Text.Json.JsonElement.Parse(json).GetProperty("a").GetString(), System.Text.Json.JsonElement.Parse(expected).GetProperty("a").GetString());
    }
}
