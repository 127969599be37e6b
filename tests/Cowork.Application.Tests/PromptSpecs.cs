using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application.Storage;

using Microsoft.Extensions.AI;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>What a request's digest covers, told by a second way to make it: as any JSON, put into its canonical form.</summary>
public sealed class PromptSpecs
{
    [Fact]
    public void The_digest_of_a_request_is_that_of_its_canonical_form()
    {
        IReadOnlyList<ChatMessage> messages =
        [
            new(ChatRole.System, "You are an agent."),
            new(ChatRole.User, "Wörter \"und\" 😀\n\u0001\u007f\u2028\\ \ud83d" + new string('ß', 20_000) + "😀"),
            new(ChatRole.Assistant, [new TextContent("a"), Call("zz", "recall", """{"query":"a\tb"}"""), new TextContent("b"), Call("a", "remember", "no json"), Call("ö", "x", "{}")]),
            new(ChatRole.Tool, [new FunctionResultContent("zz", "\r\n")]),
            new(ChatRole.Tool, [new FunctionResultContent("b", null), new FunctionResultContent("a", "{\"k\": 1.0}"), Call("c", "y", "[]")]),
            new(ChatRole.Assistant, [new TextReasoningContent(null) { ProtectedData = """{"format":"x","a":"\ud800"}""" }, new TextContent("c"), Call("a", "x", "{}")]),
            new(ChatRole.Tool, [new FunctionResultContent("r", "1")]),
            new(ChatRole.Assistant, ""),
            new(ChatRole.User, []),
        ];
        AITool[] tools = [AIFunctionFactory.Create(() => 0, "list_files"), AIFunctionFactory.Create(() => 0, "a_\"tool\"")];
        Assert.Equal(ByTree("mo\"del", messages, tools), Prompt.Digest("mo\"del", messages, tools));
        Assert.Equal(ByTree("m", [], []), Prompt.Digest("m", [], []));
        Assert.NotEqual(Prompt.Digest("m", messages, tools), Prompt.Digest("m", messages, [.. tools.Reverse()]));
        Assert.Equal(ByTree("m", messages, tools, new('a', 64)), Prompt.Digest("m", messages, tools, new('a', 64)));
    }

    [Fact]
    public void Two_calls_of_one_id_have_no_digest() => Assert.Throws<JsonException>(
        () => Prompt.Digest("m", [new(ChatRole.Assistant, [Call("a", "x", "{}"), Call("a", "y", "{}")])], []));

    static FunctionCallContent Call(string id, string name, string arguments) => CallArguments.Call(id, name, arguments);

    static string ByTree(string model, IReadOnlyList<ChatMessage> messages, IReadOnlyList<AITool> tools, string? offered = null)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("model", model);
            if (offered is not null)
            {
                writer.WriteString("offered", offered);
            }
            writer.WriteStartArray("messages");
            foreach (var message in messages)
            {
                writer.WriteStartObject();
                writer.WriteString("role", message.Role.Value);
                writer.WriteString("text", message.Text);
                foreach (var content in message.Contents)
                {
                    if (content is FunctionCallContent call)
                    {
                        writer.WriteString($"call {call.CallId}", $"{call.Name} {CallArguments.Text(call)}");
                    }
                    else if (content is TextReasoningContent { ProtectedData: { } reasoning })
                    {
                        writer.WriteString("reasoning", reasoning);
                    }
                    else if (content is FunctionResultContent result)
                    {
                        writer.WriteString($"result {result.CallId}", (string?)result.Result);
                    }
                }
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
            writer.WriteStartArray("tools");
            foreach (var tool in tools)
            {
                writer.WriteStringValue(tool.Name);
            }
            writer.WriteEndArray();
            writer.WriteEndObject();
        }
        return Convert.ToHexStringLower(SHA256.HashData(CanonicalJson.Of(json.WrittenSpan)));
    }
}
