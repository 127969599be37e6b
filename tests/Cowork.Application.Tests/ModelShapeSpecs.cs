using System.IO.Compression;
using System.Text;
using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>Shapes that real providers have beside the documented ones, and what is made of them.</summary>
public sealed class ModelShapeSpecs
{
    public static TheoryData<string> Providers => ["openai", "anthropic"];

    static string Choice(string delta, string? reason = null, string more = "") =>
        $$"""{"choices":[{"index":0,"delta":{{delta}},"finish_reason":{{(reason is null ? "null" : $"\"{reason}\"")}}}]{{more}}}""";

    static string Roles(ModelServer.Exchange asked) =>
        string.Join(' ', asked.Body.GetProperty("messages").EnumerateArray().Select(m => m.GetProperty("role").GetString()));

    static async Task<string> Reply(ModelHarness bench, IEnumerable<RunEvent> events) => await bench.Text(events.OfType<AssistantReply>().Single().Content);

    [Theory, MemberData(nameof(Providers))]
    public async Task There_is_one_system_message_and_it_stands_first(string provider)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream(bench.Wire.Say("The budget is 40.")).ThenStream(bench.Wire.Say("x"));
        await bench.Run("What is the budget of alpha?");
        var retrieved = (await bench.Run("Say the budget of alpha.")).OfType<MemoryRetrieval>().Single();
        Assert.NotEmpty(retrieved.Context);
        AssertOneSystem("Memories:");

        // Also where a caller has more of them, and not at the head.
        bench.Server.ThenStream(bench.Wire.Say("x"));
        await bench.Client.GetResponseAsync([new(ChatRole.System, "One."), new(ChatRole.User, "?"), new(ChatRole.System, " "), new(ChatRole.System, "Two.")]);
        AssertOneSystem("One.\n\nTwo.");

        void AssertOneSystem(string text)
        {
            var asked = bench.Server.Asked.Last();
            var all = asked.Body.GetProperty("messages").EnumerateArray().ToList();
            Assert.DoesNotContain(all.Skip(1), m => m.GetProperty("role").GetString() == "system");
            Assert.Contains(text, provider == "openai" ? all[0].GetProperty("content").GetString() : asked.Body.GetProperty("system").GetString());
            Assert.Equal(provider == "openai" ? "system" : "user", all[0].GetProperty("role").GetString());
        }
    }

    [Theory]
    [InlineData("openai", "system user")]
    [InlineData("anthropic", "user")]
    public async Task An_empty_reply_is_left_out_of_later_turns(string provider, string roles)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text(" "), .. bench.Wire.End()]).ThenStream(bench.Wire.Say("x"));
        await bench.Run("first");
        await bench.Ended(await bench.Host.Send("s", "second"));
        Assert.Equal(roles, Roles(bench.Server.Asked.Last()));
        Assert.Contains("first", bench.Server.Asked.Last().Body.GetProperty("messages").GetRawText());
        Assert.Contains("second", bench.Server.Asked.Last().Body.GetProperty("messages").GetRawText());
    }

    [Theory]
    [InlineData("openai", """{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}""", "model_failed", "error")]
    [InlineData("openai", """{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"network_error"}]}""", "model_failed", "network_error")]
    [InlineData("openai", """{"choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}]}""", "model_failed", "insufficient_system_resource")]
    [InlineData("openai", """{"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}""", "model_failed", "abort")]
    [InlineData("openai", """{"choices":[{"index":0,"delta":{},"finish_reason":"error","error":{"code":502,"message":"Upstream died."}}]}""", "model_failed", "Upstream died.")]
    [InlineData("openai", """{"object":"error","message":"The engine is dead.","type":"InternalServerError","code":500}""", "model_failed", "The engine is dead.")]
    [InlineData("openai", """{"error":{"message":"Please try again in 3s.","type":"server_error"}}""", "model_unavailable", "Please try again in 3s.")]
    [InlineData("openai", """{"error":"CUDA out of memory","choices":[]}""", "model_failed", "CUDA out of memory")]
    [InlineData("openai", """{"detail":[{"loc":["body","messages"],"msg":"Too many."}]}""", "model_failed", "body.messages: Too many.")]
    [InlineData("openai", "event: error\ndata: {\"message\":\"Boom.\"}", "model_failed", "Boom.")]
    [InlineData("openai", """{"error_code":17,"error_msg":"Daily limit reached."}""", "model_failed", "Daily limit reached.")]
    [InlineData("openai", """{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}""", "model_failed", "insufficient balance")]
    [InlineData("openai", "[DONE]", "model_failed", "before it was complete")]
    [InlineData("anthropic", """{"error":{"message":"The proxy died."}}""", "model_failed", "The proxy died.")]
    [InlineData("anthropic", """{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}""", "model_unavailable", "Overloaded")]
    [InlineData("anthropic", """{"type":"message_stop"}""", "model_failed", "before it was complete")]
    public async Task A_bad_end_is_no_answer(string provider, string last, string code, string words)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server.ThenStream([.. wire.Begin, wire.Text("half a sen"), last, .. provider == "openai" ? ["[DONE]"] : Array.Empty<string>()]).ThenStream(wire.Say("whole"));
        var events = await bench.Run();
        var retried = Assert.Single(events.OfType<ModelRetried>());
        Assert.Equal(code, retried.Code);
        Assert.Contains(words, retried.Message);
        Assert.Equal("whole", await Reply(bench, events));
    }

    [Theory]
    [InlineData("[DONE]")]
    [InlineData("""{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"null"}]}""", "[DONE]")]
    [InlineData("""{"choices":[]}""", "[DONE]")]
    [InlineData("""{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls"}]}""", "[DONE]")]
    public async Task A_stream_that_does_not_say_how_it_ended_is_no_answer(params string[] data)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = s.Retries with { Attempts = 2 } });
        bench.Server.ThenStream(data).ThenStream(data);
        Assert.Equal("model_failed", Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Code);
    }

    [Theory]
    [InlineData("openai", "content_filter", "content_filter")]
    [InlineData("openai", "sensitive", "content_filter")]
    [InlineData("openai", "length", "length")]
    [InlineData("openai", "model_length", "length")]
    [InlineData("openai", "MAX_TOKENS", "length")]
    [InlineData("openai", "of_its_own", "of_its_own")]
    [InlineData("openai", "eos", null)]
    [InlineData("anthropic", "refusal", "content_filter")]
    [InlineData("anthropic", "max_tokens", "length")]
    [InlineData("anthropic", "stop_sequence", null)]
    public async Task An_early_end_is_told_to_the_reader(string provider, string reason, string? told)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text("and then"), .. bench.Wire.End(reason)]);
        var events = await bench.Run();
        Assert.Equal(told ?? "stop", events.OfType<LlmResponse>().Single().StopReason);
        Assert.Equal(told, Assert.IsType<RunCompleted>(events[^1]).StopReason);
        Assert.Equal("and then", await Reply(bench, events));
    }

    [Theory]
    [InlineData("openai", "network_error", "stop", null)]
    [InlineData("openai", "length", "stop", "length")]
    [InlineData("openai", "length", "tool_calls", "length")]
    [InlineData("openai", "content_filter", "stop", "content_filter")]
    [InlineData("openai", "stop", "length", "length")]
    [InlineData("anthropic", "max_tokens", "end_turn", "length")]
    public async Task A_good_end_that_a_gateway_adds_hides_no_bad_one(string provider, string first, string second, string? told)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text("half a sen"), .. bench.Wire.End(first)[..^1], .. bench.Wire.End(second)]);
        var end = (await bench.Run())[^1];
        if (told is null)
        {
            Assert.Equal("model_failed", Assert.IsType<RunFailed>(end).Error.Code);
        }
        else
        {
            Assert.Equal(told, Assert.IsType<RunCompleted>(end).StopReason);
        }
    }

    [Theory]
    [InlineData("""{"content":{"type":"text","text":"Hello"}}""", "delta")]
    [InlineData("""{"content":"Hello"}""", "message")]
    [InlineData("\"Hello\"", "text")]
    public async Task Text_is_read_in_the_places_that_servers_have_for_it(string piece, string member)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        bench.Server.ThenStream([$$"""{"choices":[{"index":0,"{{member}}":{{piece}}}]}""", .. bench.Wire.End()]);
        Assert.Equal("Hello", await Reply(bench, await bench.Run()));
    }

    [Fact]
    public async Task A_whole_message_after_its_pieces_says_nothing_new()
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        const string Call = """{"index":0,"id":"a","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}""";
        bench.Server
            .ThenStream(
                Choice("""{"content":"Look"}"""), Choice("""{"content":"ing."}"""), Choice($$"""{"tool_calls":[{{Call}}]}"""),
                $$"""{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Looking.","tool_calls":[{{Call}}]},"finish_reason":"tool_calls"}]}""", "[DONE]")
            .ThenStream(
                Choice("""{"content":"Ag"}"""), Choice("""{"content":"ain."}"""),
                $$"""{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Again.","tool_calls":[{{Call}}]},"finish_reason":"tool_calls"}]}""", "[DONE]")
            .ThenStream(
                Choice("""{"reasoning_content":"Hm."}"""), Choice("""{"content":"Do"}"""), Choice("""{"content":"ne."}"""),
                """{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Done."},"finish_reason":"stop"}]}""", "[DONE]");
        var events = await bench.Run();
        Assert.Equal(2, events.OfType<ToolCall>().Count());
        Assert.Equal("Looking.Again.Done.", string.Concat(events.OfType<OutputDelta>().Select(d => d.Text)));
        Assert.Equal("Done.", await Reply(bench, events));
    }

    [Fact]
    public async Task A_call_that_comes_again_as_a_whole_is_one_call()
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        bench.Server
            .ThenStream([
                Choice("""{"tool_calls":[{"index":0,"id":"a","function":{"name":"read_file","arguments":""}}]}"""),
                Choice("""{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":\"1\"}"}}]}"""),
                Choice("""{"tool_calls":[{"index":0,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}]}"""), .. bench.Wire.End("tool_calls"),
            ])
            .ThenStream(bench.Wire.Say("done"));
        Assert.Equal(Content.Of("{\"path\":\"1\"}"), Assert.Single((await bench.Run()).OfType<ToolCall>()).Input);
        Assert.Single(bench.Harness.Tool.Calls);
    }

    [Fact]
    public async Task A_gateway_may_end_any_format_with_its_own_mark()
    {
        await using var bench = new ModelHarness("anthropic", s => s with { Retries = ModelRetries.None });
        bench.Server.ThenStream([.. bench.Wire.Begin, bench.Wire.Text("x"), .. bench.Wire.End()[..^1], "[DONE]"]);
        Assert.Equal("x", await Reply(bench, await bench.Run()));
    }

    [Fact]
    public async Task A_refusal_in_its_own_member_is_told_too()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStream(Choice("""{"content":null,"refusal":"I will not."}"""), Choice("{}", "stop"), "[DONE]");
        var events = await bench.Run();
        Assert.Equal("content_filter", Assert.IsType<RunCompleted>(events[^1]).StopReason);
        Assert.Equal("I will not.", await Reply(bench, events));
    }

    [Theory]
    [InlineData("openai", "")]
    [InlineData("openai", "{\\\"path\\\":")]
    [InlineData("openai", "{\\\"path\\\":\\\"a\\\"}")]
    [InlineData("anthropic", "")]
    [InlineData("anthropic", "{\\\"path\\\":")]
    public async Task A_call_that_was_cut_off_is_not_made_and_the_model_is_told(string provider, string arguments)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server
            .ThenStream([.. wire.Begin, wire.CallBegin(0, "a", "read_file"), wire.CallPiece(0, arguments), wire.CallBegin(1, "b", "read_file"), .. wire.End("length")])
            .ThenStream(wire.Say("shorter"));
        var events = await bench.Run();
        Assert.Empty(bench.Harness.Tool.Calls);
        Assert.Equal(["a", "b"], events.OfType<ToolCall>().Select(c => c.Id));
        var results = events.OfType<ToolResult>().ToList();
        Assert.All(results, r => Assert.True(r.IsError));
        Assert.Equal([(3, "a"), (4, "b")], results.Select(r => (r.Step, r.Id)));
        Assert.Contains("cut off (length)", await bench.Text(results[0].Content));
        Assert.Equal((5, "stop"), (events.OfType<LlmResponse>().Last().Step, events.OfType<LlmResponse>().Last().StopReason));
        Assert.Null(Assert.IsType<RunCompleted>(events[^1]).StopReason);
        Assert.Contains("cut off (length)", bench.Server.Asked.Last().Body.GetRawText());
    }

    public static TheoryData<string, string[]> Calls => new()
    {
        {
            "two whole calls of one index",
            [
                """{"index":0,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}""",
                """{"index":0,"id":"b","function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "two calls of one index in pieces",
            [
                """{"index":0,"id":"a","function":{"name":"read_file","arguments":""}}""", """{"index":0,"function":{"arguments":"{\"path\":"}}""", """{"index":0,"function":{"arguments":"\"1\"}"}}""",
                """{"index":0,"id":"b","function":{"name":"read_file","arguments":""}}""", """{"index":0,"id":"","function":{"name":null,"arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "two calls without an index",
            [
                """{"id":"a","function":{"name":"read_file","arguments":"{\"path\":"}}""",
                """{"id":"a","function":{"arguments":"\"1\"}"}}""",
                """{"id":"b","function":{"name":"read_file","arguments":{"path":"2"}}}""",
            ]
        },
        {
            "two calls whose pieces are interleaved under one index",
            [
                """{"index":0,"id":"a","function":{"name":"read_file"}}""",
                """{"index":0,"id":"b","function":{"name":"read_file"}}""",
                """{"index":0,"id":"a","function":{"arguments":"{\"path\":\"1\"}"}}""",
                """{"index":0,"id":"b","function":{"arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "another id with each piece",
            [
                """{"index":0,"id":"r1","function":{"name":"read_file","arguments":""}}""",
                """{"index":0,"id":"r2","function":{"name":"","arguments":"{\"path\":"}}""",
                """{"index":0,"id":"r3","function":{"arguments":"\"1\"}"}}""",
                """{"index":1,"id":"r4","function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "another id and the name again with each piece",
            [
                """{"index":0,"id":"r1","function":{"name":"read_file","arguments":""}}""",
                """{"index":0,"id":"r2","function":{"name":"read_file","arguments":"{\"path\":"}}""",
                """{"index":0,"id":"r3","function":{"name":"read_file","arguments":"\"1\"}"}}""",
                """{"index":1,"id":"r4","function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "the same id twice",
            [
                """{"index":0,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}""",
                """{"index":1,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        {
            "the same id twice under one index",
            [
                """{"index":0,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}""",
                """{"index":0,"id":"a","function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}""",
            ]
        },
        { "no ids", ["""{"index":0,"function":{"name":"read_file","arguments":"{\"path\":\"1\"}"}}""", """{"index":1,"id":null,"function":{"name":"read_file","arguments":"{\"path\":\"2\"}"}}"""] },
    };

    [Theory, MemberData(nameof(Calls))]
    public async Task Calls_are_told_apart(string what, string[] pieces)
    {
        Assert.NotEmpty(what);
        await using var bench = new ModelHarness("openai");
        bench.Server.ThenStream([.. pieces.Select(p => Choice($$"""{"tool_calls":[{{p}}]}""")), .. bench.Wire.End("tool_calls")]).ThenStream(bench.Wire.Say("done"));
        var events = await bench.Run();
        var calls = events.OfType<ToolCall>().ToList();
        Assert.Equal(["1", "2"], calls.Select(c => JsonElement.Parse(((Content.Inline)c.Input).Text).GetProperty("path").GetString()));
        Assert.Equal(2, calls.Select(c => c.Id).Distinct().Count());
        Assert.Equal(2, bench.Harness.Tool.Calls.Count);
        Assert.Equal("done", await Reply(bench, events));
    }

    [Fact]
    public async Task Two_calls_without_arguments_under_one_index_are_two()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server
            .ThenStream([Choice("""{"tool_calls":[{"index":0,"id":"a","function":{"name":"read_file","arguments":""}},{"index":0,"id":"b","function":{"name":"read_file","arguments":""}}]}"""), .. bench.Wire.End("tool_calls")])
            .ThenStream(bench.Wire.Say("done"));
        Assert.Equal(["a", "b"], (await bench.Run()).OfType<ToolCall>().Select(c => c.Id));
    }

    [Fact]
    public async Task Blocks_of_one_index_are_told_apart()
    {
        await using var bench = new ModelHarness("anthropic");
        var wire = bench.Wire;
        bench.Server
            .ThenStream([.. wire.Begin, wire.CallBegin(0, "a", "read_file"), wire.CallPiece(0, "{\\\"path\\\":\\\"1\\\"}"), wire.CallBegin(0, "b", "read_file"), wire.CallPiece(0, "{\\\"path\\\":\\\"2\\\"}"), .. wire.End("tool_calls")])
            .ThenStream(wire.Say("done"));
        Assert.Equal(
            [("a", Content.Of("{\"path\":\"1\"}")), ("b", Content.Of("{\"path\":\"2\"}"))], (await bench.Run()).OfType<ToolCall>().Select(c => (c.Id, c.Input)));
    }

    [Fact]
    public async Task The_old_form_of_a_call_is_read()
    {
        await using var bench = new ModelHarness("openai");
        bench.Server
            .ThenStream(
                Choice("""{"function_call":{"name":"read_file","arguments":"{\"path\""}}"""), Choice("""{"function_call":{"arguments":":\"x\"}"}}"""), Choice("{}", "function_call"), "[DONE]")
            .ThenStream(bench.Wire.Say("done"));
        var events = await bench.Run();
        Assert.Equal(Content.Of("{\"path\":\"x\"}"), events.OfType<ToolCall>().Single().Input);
        Assert.Equal("tool_calls", events.OfType<LlmResponse>().First().StopReason);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task A_call_to_a_tool_that_is_not_there_is_answered(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        bench.Server.ThenStream([.. wire.Begin, wire.CallBegin(0, "a", "read file/now"), wire.CallPiece(0, "{}"), .. wire.End("tool_calls")]).ThenStream(wire.Say("sorry"));
        var events = await bench.Run();
        Assert.Equal("read file/now", events.OfType<ToolCall>().Single().Name);
        Assert.Contains("There is no tool named", await bench.Text(events.OfType<ToolResult>().Single().Content));
        Assert.Equal("sorry", await Reply(bench, events));
        var again = bench.Server.Asked.Last().Body.GetProperty("messages").GetRawText();
        Assert.Contains("\"read_file_now\"", again); // as a provider accepts it
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task Tools_have_names_that_providers_accept_and_are_called_by_them(string provider)
    {
        await using var bench = new ModelHarness(provider);
        var wire = bench.Wire;
        var schema = JsonElement.Parse("""{"type":"object"}""");
        string[] names = ["mail:send/now", "mail.send.now", new string('n', 80), $"{new string('n', 80)}2"];
        List<AITool> tools = [.. names.Select(name => AIFunctionFactory.CreateDeclaration(name, "x", schema))];
        bench.Server.ThenStream([.. wire.Begin, wire.CallBegin(0, "a", "mail_send_now_2"), wire.CallPiece(0, "{}"), .. wire.End("tool_calls")]);
        var answer = await bench.Client.GetResponseAsync([new(ChatRole.User, "?")], new() { Tools = tools });
        Assert.Equal("mail.send.now", answer.Messages.Single().Contents.OfType<FunctionCallContent>().Single().Name);
        var sent = bench.Server.Asked.Last().Body.GetProperty("tools").EnumerateArray()
            .Select(t => (provider == "openai" ? t.GetProperty("function") : t).GetProperty("name").GetString()!).ToList();
        Assert.Equal(["mail_send_now", "mail_send_now_2"], sent.Take(2));
        Assert.Equal(4, sent.Distinct().Count());
        Assert.All(sent, name => Assert.Matches("^[a-zA-Z0-9_-]{1,64}$", name));
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task An_empty_result_of_a_tool_is_said_in_words(string provider)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream(bench.Wire.Say("x"));
        await bench.Client.GetResponseAsync(
        [
            new(ChatRole.User, "?"), new(ChatRole.Assistant, [CallArguments.Call("a", "read_file", "{}")]), new(ChatRole.Tool, [new FunctionResultContent("a", "")]),
        ]);
        Assert.Contains("(The tool answered nothing.)", bench.Server.Asked.Last().Body.GetProperty("messages").GetRawText());
    }

    public static TheoryData<string, string> Streams => new()
    {
        { "empty data", ": hi\n\ndata:\n\ndata: \n\n{0}\n\ndata\n\n{1}\n\ndata: [DONE]\n\n" },
        { "comments between and within", ":\n: OPENROUTER PROCESSING\n\n: x\n{0}\n: y\n\n{1}\n: z\n\ndata: [DONE]\n\n" },
        { "no blank line at the end", "{0}\n\n{1}" },
        { "no newline after the last of two lines", "{0}\n\n{1}\n\ndata: [DONE]" },
        { "CRLF", "{0}\r\n\r\n{1}\r\n\r\ndata: [DONE]\r\n\r\n" },
        { "CR", "{0}\r\r{1}\r\rdata: [DONE]\r\r" },
        { "no space", "{2}\n\n{3}\n\ndata:[DONE]\n\n" },
        { "a BOM", "\ufeff{0}\n\n{1}\n\ndata: [DONE]\n\n" },
        { "ids, retries and names", "id: 1\nretry: 10\nevent: message\n{0}\n\nid: 2\n{1}\n\nevent: done\ndata: [DONE]\n\n" },
        { "no blank line between", "{0}\n{1}\ndata: [DONE]\n\n" },
        { "white space around", "\n\n\n{0}\n\n\n\n{1}  \n\ndata:  [DONE]  \n\n\n" },
        { "a cut after the end", "{0}\n\n{1}\n\ndata: {{\"choices\":[],\"usage\":{{\"prompt_tok" },
        { "members for errors that say nothing", "data: {{\"choices\":[],\"error\":{{}}}}\n\ndata: {{\"error\":null,\"errors\":[]}}\n\ndata: {{\"message\":\"Place 3 in the queue.\"}}\n\n{0}\n\n{1}\n\ndata: [DONE]\n\n" },
        { "null deltas and no choices", "data: {{\"choices\":[]}}\n\ndata: {{\"choices\":null}}\n\ndata: {{\"choices\":[{{\"delta\":null}}]}}\n\n{0}\n\n{1}\n\ndata: [DONE]\n\n" },
    };

    const string First = """{"choices":[{"index":0,"delta":{"role":"assistant","content":"Grüße "}}]}""";
    const string Second = """{"choices":[{"index":0,"delta":{"content":"😀."},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}""";

    [Theory, MemberData(nameof(Streams))]
    public async Task A_stream_is_read_as_good_clients_read_it(string what, string stream)
    {
        Assert.NotEmpty(what);
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        var text = string.Format(System.Globalization.CultureInfo.InvariantCulture, stream, $"data: {First}", $"data: {Second}", $"data:{First}", $"data:{Second}");
        bench.Server.ThenBytes([Encoding.UTF8.GetBytes(text)]);
        var events = await bench.Run();
        Assert.Equal("Grüße 😀.", await Reply(bench, events));
        Assert.Equal((7, 3, null), (events.OfType<LlmResponse>().Single().InputTokens, events.OfType<LlmResponse>().Single().OutputTokens, events.OfType<LlmResponse>().Single().UsageEstimated));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("x-gzip")]
    [InlineData("deflate")]
    [InlineData("deflate", true)]
    [InlineData("br")]
    [InlineData("gzip, br")]
    [InlineData("identity")]
    public async Task A_stream_that_is_compressed_although_nobody_asked_is_read(string encoding, bool bare = false)
    {
        await using var bench = new ModelHarness("openai", s => s with { Retries = ModelRetries.None });
        var bytes = Encoding.UTF8.GetBytes($"data: {First}\n\ndata: {Second}\n\ndata: [DONE]\n\n");
        foreach (var one in encoding.Split(", "))
        {
            using var packed = new MemoryStream();
            using (Stream packing = one switch
            {
                "br" => new BrotliStream(packed, CompressionLevel.Fastest, leaveOpen: true),
                "deflate" => bare ? new DeflateStream(packed, CompressionLevel.Fastest, leaveOpen: true) : new ZLibStream(packed, CompressionLevel.Fastest, leaveOpen: true),
                "identity" => new BufferedStream(packed),
                _ => new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true),
            })
            {
                packing.Write(bytes);
                packing.Flush();
                bytes = one == "identity" ? bytes : [];
            }
            bytes = one == "identity" ? bytes : packed.ToArray();
        }
        bench.Server.ThenBytes(bytes.Select(b => new[] { b }), $"Content-Encoding: {encoding}").ThenBody(400, "application/json", "x");
        Assert.Equal("Grüße 😀.", await Reply(bench, await bench.Run()));
        Assert.Equal("identity", bench.Server.Asked.First().Headers["Accept-Encoding"]);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task An_answer_that_comes_in_two_parts_cut_anywhere_is_the_whole(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        var wire = bench.Wire;
        var bytes = Bytes([.. wire.Begin, wire.Text("Grüße 😀"), wire.CallBegin(0, "ä", "read_file"), wire.CallPiece(0, "{\\\"path\\\":\\\"ü\\ud83d"), wire.CallPiece(0, "\\ude00\\\"}"), .. wire.End("tool_calls", 7, 8, 1)]);
        string? whole = null;
        for (var cut = 0; cut <= bytes.Length; cut++)
        {
            bench.Server.ThenBytes([bytes[..cut], bytes[cut..]]);
            var answer = await bench.Client.GetResponseAsync([new(ChatRole.User, "?")]);
            var said = $"{answer.Text} {string.Join(' ', answer.Messages.SelectMany(m => m.Contents.OfType<FunctionCallContent>()).Select(c => $"{c.CallId} {CallArguments.Text(c)}"))} {answer.Usage?.InputTokenCount} {answer.FinishReason}";
            Assert.Equal(whole ??= said, said);
        }
        Assert.Equal("Grüße 😀 ä {\"path\":\"ü😀\"} 7 tool_calls", whole);
    }

    [Theory, MemberData(nameof(Providers))]
    public async Task An_answer_whose_stream_ends_anywhere_is_the_whole_or_none(string provider)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        var wire = bench.Wire;
        var bytes = Bytes([.. wire.Begin, wire.Text("Grüße "), wire.Text("😀."), .. wire.End()]);
        var (wholes, breaks) = (0, 0);
        for (var length = 0; length <= bytes.Length; length++)
        {
            var cut = bytes[..length];
            bench.Server.ThenBytes([cut]);
            try
            {
                var answer = await bench.Client.GetResponseAsync([new(ChatRole.User, "?")]);
                Assert.Equal("Grüße 😀.", answer.Text);
                wholes++;
            }
            catch (ModelException e)
            {
                Assert.Equal(ModelException.Failed, e.Code);
                breaks++;
            }
        }
        Assert.True(wholes > 10 && breaks > 100, $"{wholes} {breaks}");
    }

    static byte[] Bytes(IEnumerable<string> data) =>
        Encoding.UTF8.GetBytes(string.Concat(data.Select(d => d.StartsWith("event:", StringComparison.Ordinal) ? $"{d}\n\n" : $"data: {d}\n\n")));

    public static TheoryData<string, string[], long, long, long?, bool> Usages => new()
    {
        { "openai", [Choice("""{"content":"abcdefgh"}""", "stop", ""","usage":{"prompt_tokens":5,"completion_tokens":2}""")], 5, 2, null, false },
        { "openai", ["""{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop","usage":{"prompt_tokens":5,"completion_tokens":2,"cached_tokens":3}}]}"""], 5, 2, 3, false },
        { "openai", [Choice("""{"content":"x"}""", "stop"), """{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_cache_hit_tokens":1}}"""], 5, 2, 1, false },
        { "openai", [Choice("""{"content":"x"}""", "stop"), """{"choices":[],"x_groq":{"usage":{"prompt_tokens":5,"completion_tokens":2}}}"""], 5, 2, null, false },
        { "openai", [Choice("""{"content":"x"}""", null, ""","usage":{"prompt_tokens":5,"completion_tokens":1}"""), Choice("{}", "stop", ""","usage":{"input_tokens":5,"output_tokens":2}""")], 5, 2, null, false },
        { "openai", [Choice("""{"content":"x"}""", null, ""","usage":{"prompt_tokens":5,"completion_tokens":2}"""), Choice("{}", "stop", ""","usage":{"prompt_tokens":0,"completion_tokens":0}""")], 5, 2, null, false },
        { "openai", [Choice("""{"content":"abcdefgh"}""", "stop", ""","usage":{"prompt_tokens":5}""")], 5, 2, null, true },
        { "openai", [Choice("""{"content":"abcdefgh"}""", "stop", ""","usage":{"total_tokens":7}""")], 5, 2, null, true },
        { "openai", [Choice("""{"content":"x"}""", "stop", ""","usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":107}""")], 5, 102, null, false },
        { "openai", [Choice("""{"content":"x"}""", "stop", ""","usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}""")], 5, 2, null, false },
        { "openai", [Choice("""{"content":"abcdefghi"}""", "stop")], -1, 3, null, true },
        { "openai", [Choice("""{"reasoning_content":"abcd","content":"abcd"}""", "stop", ""","usage":null""")], -1, 2, null, true },
        { "openai", [Choice("""{"content":"x"}""", "stop", ""","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}""")], -1, 1, null, true },
        {
            "anthropic",
            [
                """{"type":"message_start","message":{"usage":{"input_tokens":1900,"output_tokens":1}}}""",
                """{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}""",
                """{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"output_tokens":2}}""",
            ], 1_900, 2, 0, false
        },
        {
            "anthropic",
            [
                """{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":1800,"cache_creation_input_tokens":90,"output_tokens":1}}}""",
                """{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}""",
                """{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}""",
            ], 1_900, 2, 1_800, false
        },
        {
            "anthropic",
            [
                """{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":1800,"cache_creation_input_tokens":90,"output_tokens":1}}}""",
                """{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}""",
                """{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":10,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":2}}""",
            ], 1_900, 2, 1_800, false
        },
        {
            "anthropic",
            [
                """{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}""",
                """{"type":"content_block_delta","delta":{"type":"text_delta","text":"abcdefgh"}}""",
                """{"type":"message_delta","delta":{"stop_reason":"end_turn"}}""",
            ], 5, 2, 0, true
        },
        { "anthropic", ["""{"type":"content_block_delta","delta":{"type":"text_delta","text":"abcdefgh"}}""", """{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"""], -1, 2, null, true },
    };

    [Theory, MemberData(nameof(Usages))]
    public async Task Tokens_are_found_where_they_stand_and_estimated_where_they_do_not(string provider, string[] stream, long input, long output, long? cached, bool estimated)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream(stream);
        var events = await bench.Run();
        var answer = events.OfType<LlmResponse>().Single();
        if (input < 0)
        {
            input = (Encoding.UTF8.GetByteCount(bench.Server.Asked.Single().Body.GetRawText()) + 3) / 4;
        }
        Assert.Equal((input, output, cached, estimated ? true : (bool?)null), (answer.InputTokens, answer.OutputTokens, answer.CachedTokens, answer.UsageEstimated));
        Assert.Equal(new ModelPrice(2, 8, 0.5m).CostMicroUsd(input, output, cached ?? 0), answer.CostMicroUsd);
        Assert.Equal(input + output, ((RunCompleted)events[^1]).TotalTokens);
    }

    [Fact]
    public async Task A_budget_holds_with_estimated_tokens()
    {
        await using var bench = new ModelHarness("openai", limits: RunLimits.Default with { Tokens = 500 });
        bench.Server.ThenStream(Choice($$"""{"content":"{{new string('x', 3_000)}}"}""", "stop"));
        Assert.Equal("limit_tokens", Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Code);
    }

    [Theory]
    [InlineData("openai", """{"choices":[],"usage":{"prompt_tokens":1900,"completion_tokens":1}}""")]
    [InlineData("anthropic", """{"type":"message_start","message":{"usage":{"input_tokens":1900,"output_tokens":1}}}""")]
    public async Task What_a_provider_says_of_a_broken_attempt_counts(string provider, string usage)
    {
        await using var bench = new ModelHarness(provider, s => s with { Retries = s.Retries with { Attempts = 3 } });
        bench.Server.ThenCut(usage, bench.Wire.Text("x")).ThenStream([.. bench.Wire.Begin, bench.Wire.Text("x"), .. bench.Wire.End(input: 10, output: 5)]);
        var events = await bench.Run();
        Assert.Equal(new ModelUsage(1_900, 1, (1_900 * 2) + 8), events.OfType<ModelRetried>().Single().Usage);
        var completed = Assert.IsType<RunCompleted>(events[^1]);
        Assert.Equal((1_916, (1_900 * 2) + 8 + (10 * 2) + (5 * 8)), (completed.TotalTokens, completed.CostMicroUsd));

        // The last attempt of a run that fails counts, too.
        await using var broken = new ModelHarness(provider, s => s with { Retries = ModelRetries.None });
        broken.Server.ThenCut(usage, broken.Wire.Text("x"));
        var failed = Assert.IsType<RunFailed>((await broken.Run())[^1]);
        Assert.Equal(new ModelUsage(1_900, 1, (1_900 * 2) + 8), failed.Usage);
    }

    [Fact]
    public async Task A_budget_ends_attempts_that_break_off()
    {
        await using var bench = new ModelHarness("openai", limits: RunLimits.Default with { Tokens = 3_000 });
        for (var i = 0; i < 4; i++)
        {
            bench.Server.ThenCut("""{"choices":[],"usage":{"prompt_tokens":1900,"completion_tokens":1}}""", bench.Wire.Text("x"));
        }
        Assert.Equal("limit_tokens", Assert.IsType<RunFailed>((await bench.Run())[^1]).Error.Code);
        Assert.Equal(2, bench.Server.Asked.Count);
    }

    [Fact]
    public async Task Notes_are_counted_by_estimate_too()
    {
        await using var bench = new ModelHarness("openai", notes: true);
        bench.Server.ThenStream(bench.Wire.Say("x")).ThenStream(Choice("""{"content":"{\"summary\":\"s\",\"learning\":null}"}""", "stop"));
        await bench.Run();
        await bench.Until(async () => (await bench.Harness.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.Any(e => e.Is<MemoryEvent.MemoryWritten>()));
        var entry = (await bench.Harness.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries.First(e => e.Is<MemoryEvent.MemoryWritten>());
        var notes = JsonElement.Parse(entry.Data.Span).GetProperty("notes");
        Assert.True(notes.GetProperty("usage_estimated").GetBoolean());
        Assert.True(notes.GetProperty("input_tokens").GetInt64() > 100);
        Assert.True(notes.GetProperty("cost_micro_usd").GetInt64() > 100);
    }
}
