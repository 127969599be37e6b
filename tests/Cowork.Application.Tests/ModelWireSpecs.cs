using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Domain;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>Real answers of both kinds of provider, as they come over a socket.</summary>
public sealed class ModelWireSpecs
{
    public static TheoryData<string> Providers => ["openai", "anthropic"];

    [Theory, MemberData(nameof(Providers))]
    public async Task An_answer_is_recorded_with_its_text_model_usage_and_cost(string provider)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text("Good "), bench.Wire.Text("morning."), .. bench.Wire.End(input: 1_000, output: 20, cached: 400)]);
        var events = await bench.Run();
        var answer = Assert.Single(events.OfType<LlmResponse>());
        Assert.Equal(
            (Dialect.ModelId, "stop", 1_000, 20, 400L, 1),
            (answer.Model, answer.StopReason, answer.InputTokens, answer.OutputTokens, answer.CachedTokens, answer.Attempt));
        Assert.Equal((600 * 2) + (400 / 2) + (20 * 8), answer.CostMicroUsd);
        Assert.Equal("Good morning.", await bench.Text(Assert.Single(events.OfType<AssistantReply>()).Content));
        Assert.Equal("Good morning.", string.Concat(events.OfType<OutputDelta>().Select(d => d.Text)));
        Assert.Equal(answer.CostMicroUsd, Assert.IsType<RunCompleted>(events[^1]).CostMicroUsd);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Without_a_price_the_cost_is_not_known(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Price = null });
        bench.Server.ThenStream(bench.Wire.Say("x"));
        Assert.Null((await bench.Run()).OfType<LlmResponse>().Single().CostMicroUsd);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task A_request_says_what_the_provider_wants_to_hear(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Request = s.Request.Add("temperature", JsonElement.Parse("0.2")).Add("model", JsonElement.Parse("\"x\"")) });
        bench.Server.ThenStream(bench.Wire.Say("x"));
        await bench.Run("What is \"this\"? ü");
        var asked = Assert.Single(bench.Server.Asked);
        Assert.StartsWith($"POST /v1/{(provider == "openai" ? "chat/completions" : "messages")} ", asked.Target);
        Assert.Equal("application/json", asked.Headers["Content-Type"]);
        Assert.Equal(
            provider == "openai" ? $"Bearer {ModelHarness.Key}" : ModelHarness.Key, asked.Headers[provider == "openai" ? "Authorization" : "x-api-key"]);
        var body = asked.Body;
        Assert.Equal(("m", true, 300, 0.2), (
            body.GetProperty("model").GetString(), body.GetProperty("stream").GetBoolean(), body.GetProperty("max_tokens").GetInt32(),
            body.GetProperty("temperature").GetDouble()));
        var last = body.GetProperty("messages").EnumerateArray().Last();
        Assert.Equal("user", last.GetProperty("role").GetString());
        Assert.Contains("What is \\\"this\\\"? ü", last.GetRawText());
        var tool = body.GetProperty("tools")[0];
        Assert.Equal("read_file", (provider == "openai" ? tool.GetProperty("function") : tool).GetProperty("name").GetString());
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task No_key_is_sent_where_none_is_wanted(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Key = null });
        bench.Server.ThenStream(bench.Wire.Say("x"));
        Assert.IsType<RunCompleted>((await bench.Run())[^1]);
        Assert.DoesNotContain(Assert.Single(bench.Server.Asked).Headers.Keys, k => k is "Authorization" or "x-api-key");
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Two_calls_that_come_interleaved_are_two_calls(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server
            .ThenStream([
                .. wire.Begin, wire.Text("Looking."), wire.CallBegin(0, "id_a", "read_file"), wire.CallBegin(1, "id_b", "read_file"), wire.CallPiece(1, "{\\\"path\\\":"),
                wire.CallPiece(0, "{\\\"path\\\":\\\"a\\\""), wire.CallPiece(1, " \\\"b\\\"}"), wire.CallPiece(0, "}"), .. wire.End("tool_calls"),
            ])
            .ThenStream(wire.Say("done"));
        var events = await bench.Run();
        var calls = events.OfType<ToolCall>().ToList();
        Assert.Equal(["id_a", "id_b"], calls.Select(c => c.Id));
        Assert.Equal([Content.Of("{\"path\":\"a\"}"), Content.Of("{\"path\": \"b\"}")], calls.Select(c => c.Input));
        Assert.Equal(["tool_calls", "stop"], events.OfType<LlmResponse>().Select(l => l.StopReason));
        Assert.Equal("done", await bench.Text(events.OfType<AssistantReply>().Single().Content));

        // The second request holds what was asked for and what came of it.
        var messages = bench.Server.Asked.Last().Body.GetProperty("messages").GetRawText();
        Assert.Contains("id_a", messages);
        Assert.Contains("Looking.", messages);
        Assert.Equal(2, messages.Split(provider == "openai" ? "\"tool_call_id\"" : "\"tool_use_id\"").Length - 1);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Broken_arguments_are_recorded_as_they_were_written_and_the_model_is_told(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server
            .ThenStream([.. wire.Begin, wire.CallBegin(0, "id_a", "read_file"), wire.CallPiece(0, "{\\\"path\\\": \\\"a"), .. wire.End("tool_calls")])
            .ThenStream(wire.Say("sorry"));
        var events = await bench.Run();
        Assert.Equal(Content.Of("{\"path\": \"a"), events.OfType<ToolCall>().Single().Input);
        Assert.True(events.OfType<ToolResult>().Single().IsError);
        Assert.Contains("not JSON", await bench.Text(events.OfType<ToolResult>().Single().Content));
        Assert.Empty(bench.Harness.Tool.Calls);
        Assert.IsType<RunCompleted>(events[^1]);

        var again = bench.Server.Asked.Last().Body.GetProperty("messages").EnumerateArray().First(m => m.GetProperty("role").GetString() == "assistant");
        var arguments = provider == "openai"
            ? JsonElement.Parse(again.GetProperty("tool_calls")[0].GetProperty("function").GetProperty("arguments").GetString()!)
            : again.GetProperty("content")[0].GetProperty("input");
        Assert.Equal("{\"path\": \"a", arguments.GetProperty("not_json").GetString());
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task NUL_and_halves_of_characters_break_nothing(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server
            .ThenStream([
                .. wire.Begin, wire.CallBegin(0, "id\\u0000", "re\\ud800ad"), wire.CallPiece(0, "{\\\"path\\\":\\\"\\ud800\\u0000\\\"}"), .. wire.End("tool_calls"),
            ])
            .ThenStream([.. wire.Begin, wire.Text("a\\u0000b \\ud83d"), wire.Text("\\ude00 \\udc00"), wire.Text("\\ud800"), wire.Text("!"), .. wire.End("s\\u0000\\ud800")]);
        var events = await bench.Run();
        var call = events.OfType<ToolCall>().Single();
        Assert.Equal(("id\\u0000", "re\\ud800ad", Content.Of("{\"path\":\"\\ud800\\u0000\"}")), (call.Id, call.Name, call.Input));
        Assert.Equal("a\\u0000b 😀 \\udc00\\ud800!", await bench.Text(events.OfType<AssistantReply>().Single().Content));
        Assert.Equal("s\\u0000\\ud800", events.OfType<LlmResponse>().Last().StopReason);
        Assert.IsType<RunCompleted>(events[^1]);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task An_empty_answer_is_an_empty_reply(string provider)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. bench.Wire.Begin, .. bench.Wire.End(output: 0)]).ThenStream(bench.Wire.Say("second"));
        var events = await bench.Run();
        Assert.Equal(Content.Of(""), events.OfType<AssistantReply>().Single().Content);
        Assert.IsType<RunCompleted>(events[^1]);

        // Nor does it stand in the next turn's way.
        Assert.IsType<RunCompleted>((await bench.Ended(await bench.Host.Send("s", "again")))[^1]);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task An_answer_cut_at_its_limit_says_so(string provider)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text("and then"), .. bench.Wire.End("length")]);
        Assert.Equal("length", (await bench.Run()).OfType<LlmResponse>().Single().StopReason);
    }

    public static TheoryData<string, string> Strange => new()
    {
        { "openai", """{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hm","audio":{"data":"x"}}}]}""" },
        { "openai", """{"choices":[{"index":1,"delta":{"content":"another choice"}}]}""" },
        { "openai", """{"choices":[{"index":0,"delta":{"content":7}}],"usage":"none","model":null}""" },
        { "openai", """{"choices":[{"index":0,"delta":{"content":[{"type":"image_url","url":"x"},{"type":"text","text":""}]}}]}""" },
        { "openai", """{"choices":{},"x":[]}""" },
        { "openai", """{"choices":[null,3,{"index":0}],"usage":{"prompt_tokens":-5,"completion_tokens":"many"}}""" },
        { "openai", """{"usage":{"prompt_tokens":1e300,"completion_tokens":9007199254740993000}}""" },
        { "anthropic", """{"type":"content_block_start","index":5,"content_block":{"type":"thinking","thinking":"hm"}}""" },
        { "anthropic", """{"type":"content_block_delta","index":5,"delta":{"type":"signature_delta","signature":"x"}}""" },
        { "anthropic", """{"type":"content_block_delta","index":6,"delta":{"type":"input_json_delta","partial_json":"{}"}}""" },
        { "anthropic", """{"type":"content_block_start","index":7,"content_block":{"type":"server_tool_use","id":"x","name":"web_search","input":{}}}""" },
        { "anthropic", """{"type":"something_newer","data":[1]}""" },
        { "anthropic", """{"type":"message_start","message":{"usage":{"input_tokens":1e300}}}""" },
        { "anthropic", """{"no":"type"}""" },
    };

    [Theory, MemberData(nameof(Strange))]
    public async Task What_is_not_known_is_passed_over(string provider, string data)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        var wire = bench.Wire;
        bench.Server.ThenStream([.. wire.Begin, wire.Text("be"), data, wire.Text("fore"), .. wire.End()]);
        var events = await bench.Run();
        Assert.IsType<RunCompleted>(events[^1]);
        Assert.Equal("before", await bench.Text(events.OfType<AssistantReply>().Single().Content));
        Assert.Empty(events.OfType<ToolCall>());
    }

    [Theory]
    [InlineData("""[{"id":"a","function":{"name":"read_file","arguments":{"path":"x"}}},{"id":"b","function":{"name":"read_file","arguments":"{\"path\":\"y\"}"}}]""")] // no index
    [InlineData("""[{"function":{"name":"read_file","arguments":"{\"path\":\"x\"}"}},{"function":{"name":"read_file","arguments":"{\"path\":\"y\"}"}}]""")]             // nor id
    public async Task Calls_of_looser_servers_are_told_apart(string calls)
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStream($$$"""{"choices":[{"delta":{"tool_calls":{{{calls}}}},"finish_reason":"tool_calls"}]}""", "[DONE]").ThenStream(bench.Wire.Say("done"));
        var events = await bench.Run();
        Assert.Equal([Content.Of("{\"path\":\"x\"}"), Content.Of("{\"path\":\"y\"}")], events.OfType<ToolCall>().Select(c => c.Input));
        Assert.Equal(2, events.OfType<ToolCall>().Select(c => c.Id).Distinct().Count());
    }

    [Fact]
    public async Task The_same_events_make_the_same_request()
    {
        var digests = new List<string>();
        for (var i = 0; i < 2; i++)
        {
            await using var bench = new ModelHarness("openai");
            bench.Server.ThenStream(bench.Wire.Say("x"));
            digests.Add((await bench.Run()).OfType<LlmResponse>().Single().RequestSha256);
        }
        Assert.Equal(digests[0], digests[1]);
    }

    [Fact]
    public async Task An_answer_in_one_piece_is_the_streamed_one()
    {
        await using var bench = new ModelHarness("anthropic");
        bench.Server.ThenStream(bench.Wire.Say("one ", "piece"));
        var answer = await bench.Client.GetResponseAsync([new(ChatRole.User, "?")]);
        Assert.Equal(("one piece", 10L), (answer.Text, answer.Usage?.InputTokenCount));
    }
}
