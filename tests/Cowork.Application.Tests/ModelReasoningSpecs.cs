using System.Text;
using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.AI;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>What only its provider understands comes back to it as it came: from the log, in its place, and within its run.</summary>
public sealed class ModelReasoningSpecs
{
    /// <summary>The first answer's pieces, and the assistant message that the second request must hold.</summary>
    public static TheoryData<string, string[], string> Answers => new()
    {
        {
            "openai", // DeepSeek, Moonshot, vLLM
            [
                Delta("""{"role":"assistant","content":null,"reasoning_content":"Let me "}"""), Delta("""{"content":null,"reasoning_content":"look. \u00e4\ud83d\ude00"}"""),
                Delta("""{"content":"Looking.","reasoning_content":null}"""), Call("""{"index":0,"id":"c1","function":{"name":"read_file","arguments":"{\"path\":\"a\"}"}}"""),
            ],
            """{"role":"assistant","content":"Looking.","reasoning_content":"Let me look. \u00e4\ud83d\ude00","tool_calls":[{"id":"c1","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"a\"}"}}]}"""
        },
        {
            "openai", // OpenRouter
            [
                Delta("""{"reasoning":"Hm","reasoning_details":[{"type":"reasoning.text","text":"Hm","format":"x","index":0}]}"""),
                Delta("""{"reasoning":"m.","reasoning_details":[{"type":"reasoning.text","text":"m.","format":"x","index":0}]}"""),
                Delta("""{"reasoning_details":[{"type":"reasoning.text","signature":"s1","format":"x","index":0},{"type":"reasoning.encrypted","data":"ZW5j","id":"e1","format":"x","index":1}]}"""),
                Call("""{"index":0,"id":"c1","function":{"name":"read_file","arguments":"{}"}}"""),
            ],
            """
            {"role":"assistant","content":null,"reasoning":"Hmm.","reasoning_details":[{"type":"reasoning.text","text":"Hmm.","format":"x","index":0,"signature":"s1"},
            {"type":"reasoning.encrypted","data":"ZW5j","id":"e1","format":"x","index":1}],"tool_calls":[{"id":"c1","type":"function","function":{"name":"read_file","arguments":"{}"}}]}
            """
        },
        {
            "openai", // Gemini: a signature on the first of two parallel calls, and one on the message
            [
                Call("""{"index":0,"id":"c1","function":{"name":"read_file","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln+/="}}}"""),
                Call("""{"index":1,"id":"c2","function":{"name":"read_file","arguments":"{\"path\":\"b\"}"}}"""), Delta("""{"content":"","extra_content":{"google":{"thought_signature":"bXNn"}}}"""),
            ],
            """
            {"role":"assistant","content":null,"extra_content":{"google":{"thought_signature":"bXNn"}},"tool_calls":[
            {"id":"c1","type":"function","function":{"name":"read_file","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln+/="}}},
            {"id":"c2","type":"function","function":{"name":"read_file","arguments":"{\"path\":\"b\"}"}}]}
            """
        },
        {
            "openai", // Mistral
            [
                Delta("""{"content":[{"type":"thinking","thinking":[{"type":"text","text":"So "}]}]}"""), Delta("""{"content":[{"type":"thinking","thinking":[{"type":"text","text":"then."}]}]}"""),
                Delta("""{"content":"Well."}"""), Call("""{"index":0,"id":"c1","function":{"name":"read_file","arguments":"{}"}}"""),
            ],
            """
            {"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"So then."}]},{"type":"text","text":"Well."}],
            "tool_calls":[{"id":"c1","type":"function","function":{"name":"read_file","arguments":"{}"}}]}
            """
        },
        {
            "anthropic",
            [
                Block(0, """{"type":"thinking","thinking":"","signature":""}"""), BlockDelta(0, """{"type":"thinking_delta","thinking":"Let me "}"""),
                BlockDelta(0, """{"type":"thinking_delta","thinking":"look.\ud83d"}"""), BlockDelta(0, """{"type":"signature_delta","signature":"EqQB+/=="}"""),
                Block(1, """{"type":"redacted_thinking","data":"ZGF0YQ=="}"""), Block(2, """{"type":"text","text":""}"""), BlockDelta(2, """{"type":"text_delta","text":"Looking."}"""),
                Block(3, """{"type":"thinking","thinking":"","signature":"whole"}"""),
                Block(4, """{"type":"tool_use","id":"c1","name":"read_file","input":{}}"""), BlockDelta(4, """{"type":"input_json_delta","partial_json":"{\"path\":\"a\"}"}"""),
            ],
            """
            {"role":"assistant","content":[{"type":"thinking","thinking":"Let me look.\ud83d","signature":"EqQB+/=="},{"type":"redacted_thinking","data":"ZGF0YQ=="},
            {"type":"text","text":"Looking."},{"type":"thinking","thinking":"","signature":"whole"},{"type":"tool_use","id":"c1","name":"read_file","input":{"path":"a"}}]}
            """
        },
    };

    static string Delta(string delta) => $$"""{"choices":[{"index":0,"delta":{{delta}}}]}""";

    static string Call(string call) => Delta($$"""{"tool_calls":[{{call}}]}""");

    static string Block(int index, string block) => $$"""{"type":"content_block_start","index":{{index}},"content_block":{{block}}}""";

    static string BlockDelta(int index, string delta) => $$"""{"type":"content_block_delta","index":{{index}},"delta":{{delta}}}""";

    /// <summary>Without white space outside of strings, and with each character in one spelling.</summary>
    static string Compact(string json) => json.Replace("\n", "", StringComparison.Ordinal).Replace("\\u00e4", "ä", StringComparison.Ordinal).Replace("\\ud83d\\ude00", "😀", StringComparison.Ordinal);

    static string AssistantMessage(ModelServer.Exchange asked) =>
        asked.Body.GetProperty("messages").EnumerateArray().Single(m => m.GetProperty("role").GetString() == "assistant").GetRawText();

    [Theory, MemberData(nameof(Answers))]
    public async Task It_comes_back_after_a_tool_call_as_it_came(string provider, string[] pieces, string message)
    {
        await using var bench = new ModelHarness(provider);
        bench.Server.ThenStream([.. pieces, .. bench.Wire.End("tool_calls")]).ThenStream(bench.Wire.Say("done")).ThenStream(bench.Wire.Say("next"));
        var events = await bench.Run();
        Assert.IsType<RunCompleted>(events[^1]);
        var asked = bench.Server.Asked.ToList();
        Assert.Equal(Compact(message), AssistantMessage(asked[1]));

        // It is in the round's event and nowhere else, and the digest of the second request covers it.
        var answers = events.OfType<LlmResponse>().ToList();
        Assert.NotNull(answers[0].Reasoning);
        Assert.Null(answers[1].Reasoning);
        Assert.DoesNotContain("\"reasoning\"", Encoding.UTF8.GetString(EventJson.Write(answers[1])));
        Assert.Empty(events.OfType<ThinkingDelta>());
        Assert.DoesNotContain("look.", string.Concat(events.OfType<OutputDelta>().Select(d => d.Text)));
        foreach (var entry in (await bench.Harness.Engine.Feed(RunHarness.Org, null, 0, int.MaxValue, default)).Entries)
        {
            Assert.DoesNotContain("ignature", Encoding.UTF8.GetString(SessionFeed.Bytes(entry, tenant: false)));
        }

        // A later turn sees what was said, and none of the round's tools and thinking.
        await bench.Ended(await bench.Host.Send("s", "again"));
        Assert.Equal(provider == "openai" ? """{"role":"assistant","content":"done"}""" : """{"role":"assistant","content":[{"type":"text","text":"done"}]}""", AssistantMessage(bench.Server.Asked.Last()));
    }

    [Theory, MemberData(nameof(Answers))]
    public async Task A_host_that_takes_over_sends_it_too(string provider, string[] pieces, string message)
    {
        var wire = Dialect.Of(provider);
        for (var at = 0; ; at++)
        {
            await using var server = new ModelServer();
            for (var i = 0; i < 4; i++)
            {
                server.Then(async e =>
                {
                    var isFirst = e.Body.GetProperty("messages").GetArrayLength() <= (provider == "openai" ? 2 : 1);
                    await e.Head();
                    foreach (var data in isFirst ? [.. pieces, .. wire.End("tool_calls")] : wire.Say("done"))
                    {
                        await e.Event(data);
                    }
                    await e.End();
                });
            }
            var bench = new RunHarness { Options = new() { DefaultModel = "clever" } };
            using var catalog = new ModelCatalog(
                [new() { Name = "clever", Provider = provider, Model = "m", BaseUrl = server.Url }], new(Workspace.Files(), bench.Clock), bench.Clock);
            bench.Models["clever"] = catalog.Clients["clever"];
            var host = bench.AddHost("n0");
            await host.OpenSession("s");
            var run = await host.Send("s", "hello");
            bench.DieAt([(at, true)]);
            var (_, crashes) = await bench.Outlive(host, async left =>
            {
                bench.Clock.Advance(TimeSpan.FromMinutes(1));
                await left.Drive();
                return bench.Engine.Jobs.Count > 0;
            });
            Assert.Equal("run_completed", (await bench.Story($"run-{run.Value}"))[^1]);
            Assert.Equal(Compact(message), AssistantMessage(server.Asked.Last()));
            if (crashes == 0)
            {
                Assert.True(at >= 3, $"Only {at} commits.");
                return;
            }
        }
    }

    [Theory, MemberData(nameof(Answers))]
    public async Task Thinking_is_shown_as_its_own_type_where_the_policy_says_so(string provider, string[] pieces, string message)
    {
        Assert.NotEmpty(message);
        await using var bench = new ModelHarness(provider, policy: PolicyFile.Parse("""{"show_thinking": true}"""u8));
        bench.Server.ThenStream([.. pieces, .. bench.Wire.End("tool_calls")]).ThenStream(bench.Wire.Say("done"));
        var events = await bench.Run();
        var thinking = string.Concat(events.OfType<ThinkingDelta>().Select(t => t.Text));
        Assert.Contains(thinking, (string[])["Let me look. ä😀", "Hmm.", "", "So then.", "Let me look.\\ud83d"]);
        Assert.All(events.OfType<ThinkingDelta>(), t => Assert.True(events.ToList().IndexOf(t) < events.ToList().FindIndex(e => e is LlmResponse)));
    }

    [Fact]
    public async Task Thinking_is_shown_while_it_comes_and_voided_with_its_round()
    {
        await using var bench = new ModelHarness("openai", policy: PolicyFile.Parse("""{"show_thinking": true}"""u8));
        var shown = new TaskCompletionSource();
        bench.Server
            .Then(async e =>
            {
                await e.Head();
                await e.Event(Delta("""{"reasoning_content":"First"}"""));
                await shown.Task;
                e.Cut();
            })
            .ThenStream([Delta("""{"reasoning_content":"Second"}"""), .. bench.Wire.Say("done")]);
        var run = await bench.Send();
        await bench.Until(async () => (await bench.Events(run)).Any(e => e is ThinkingDelta), TimeSpan.FromMilliseconds(100));
        shown.SetResult();
        var events = await bench.Ended(run);
        Assert.Equal(
            ["run_created", "run_started", "memory_retrieval", "thinking_delta", "model_retried", "thinking_delta", "output_delta", "llm_response", "assistant_reply", "run_completed"],
            events.Select(e => EventTypes.FeedType(EventTypes.NameOf(e))));
    }

    [Fact]
    public async Task What_is_long_lies_in_the_blob_store_and_in_the_bundle()
    {
        await using var bench = new ModelHarness("openai");
        var thought = new string('h', 100_000);
        bench.Server
            .ThenStream([Delta($$"""{"reasoning_content":"{{thought}}"}"""), Call("""{"index":0,"id":"c","function":{"name":"read_file","arguments":"{}"}}"""), .. bench.Wire.End("tool_calls")])
            .ThenStream(bench.Wire.Say("done"));
        var run = await bench.Send();
        var events = await bench.Ended(run);
        var blob = Assert.IsType<Content.Blob>(events.OfType<LlmResponse>().First().Reasoning);
        Assert.Equal(thought, JsonElement.Parse(AssistantMessage(bench.Server.Asked.Last())).GetProperty("reasoning_content").GetString());
        Assert.Contains(blob.Sha256, Encoding.UTF8.GetString((await TraceBundle.Build(bench.Harness.Engine, bench.Harness.Blobs, RunHarness.Org, new("s"), run, default))!));
    }

    [Fact]
    public void A_digest_covers_what_is_sent_back_and_is_the_old_one_without_it()
    {
        List<ChatMessage> With(params AIContent[] contents) => [new(ChatRole.Assistant, [.. contents])];
        var text = new TextContent("a");
        Assert.Equal(Prompt.Digest("m", With(text), []), Prompt.Digest("m", With(new TextReasoningContent("shown"), text), []));
        Assert.NotEqual(Prompt.Digest("m", With(text), []), Prompt.Digest("m", With(new TextReasoningContent(null) { ProtectedData = "{}" }, text), []));
    }

    [Fact]
    public async Task What_is_deep_comes_back_too()
    {
        await using var bench = new ModelHarness("openai");
        var deep = $"{string.Concat(Enumerable.Repeat("{\"a\":", 55))}1{new string('}', 55)}";
        bench.Server
            .ThenStream([Delta($$"""{"extra_content":{{deep}}}"""), Call("""{"index":0,"id":"c","function":{"name":"read_file","arguments":"{}"}}"""), .. bench.Wire.End("tool_calls")])
            .ThenStream(bench.Wire.Say("done"));
        Assert.IsType<RunCompleted>((await bench.Run())[^1]);
        Assert.Contains($"\"extra_content\":{deep}", AssistantMessage(bench.Server.Asked.Last()));
    }

    [Fact]
    public async Task What_another_format_wrote_is_not_sent()
    {
        await using var bench = new ModelHarness("anthropic");
        bench.Server.ThenStream(bench.Wire.Say("x"));
        var before = new ChatMessage(ChatRole.Assistant, [new TextReasoningContent(null) { ProtectedData = """{"format":"openai","message":{"reasoning_content":"h"}}""" }, new TextContent("a")]);
        await bench.Client.GetResponseAsync([new(ChatRole.User, "?"), before, new(ChatRole.User, "!")]);
        Assert.Equal("""{"role":"assistant","content":[{"type":"text","text":"a"}]}""", AssistantMessage(bench.Server.Asked.Single()));
    }
}
