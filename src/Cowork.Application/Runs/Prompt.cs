using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>What the model is sent in a round. It follows from the run's events and the turns that they name, and from nothing else.</summary>
/// <param name="Sha256">Of the request's canonical form.</param>
public sealed record Prompt(IReadOnlyList<ChatMessage> Messages, string Sha256)
{
    const string Instructions =
        "You are an agent that works in the user's folder. Use the tools to look before you answer, name the files that an answer comes from, "
        + "and say so when you do not know.";

    public static async ValueTask<Prompt> Build(string org, Run.Active run, IReadOnlyList<AITool> tools, IRunQueries queries, IBlobs blobs, CancellationToken ct)
    {
        var messages = new List<ChatMessage> { new(ChatRole.System, Instructions) };
        if (run.Memory is { Context: { Count: > 0 } context } memory)
        {
            var text = new StringBuilder("Memories:");
            for (var i = 0; i < context.Count; i++)
            {
                text.Append("\n- [").Append(memory.Provenance[i].Id).Append("] ")
                    .Append((await blobs.Text(context[i], ct)).ReplaceLineEndings(" "));
            }
            messages.Add(new(ChatRole.System, text.ToString()));
        }
        foreach (var turn in await queries.Turns(org, run.Memory?.History ?? [], ct))
        {
            messages.Add(new(ChatRole.User, await blobs.Text(turn.Message, ct)));
            messages.Add(new(ChatRole.Assistant, await blobs.Text(turn.Reply, ct)));
        }
        messages.Add(new(ChatRole.User, await blobs.Text(run.Request.Message, ct)));
        foreach (var said in run.Transcript)
        {
            messages.Add(said switch
            {
                ConversationEntry.ByModel m => await ByModel(m, blobs, ct),
                ConversationEntry.ByTool t => new(ChatRole.Tool, [new FunctionResultContent(t.CallId, await blobs.Text(t.Content, ct))]),
                _ => throw new System.Diagnostics.UnreachableException(said.GetType().Name),
            });
        }
        return new(messages, Digest(run.Request.Model, messages, tools));
    }

    static async ValueTask<ChatMessage> ByModel(ConversationEntry.ByModel said, IBlobs blobs, CancellationToken ct)
    {
        var message = new ChatMessage { Role = ChatRole.Assistant };
        if (said.Text.Length > 0)
        {
            message.Contents.Add(new TextContent(said.Text));
        }
        foreach (var call in said.Calls)
        {
            message.Contents.Add(CallArguments.Call(call.Id, call.Name, await blobs.Text(call.Input, ct)));
        }
        return message;
    }

    internal static string Digest(string model, IReadOnlyList<ChatMessage> messages, IReadOnlyList<AITool> tools)
    {
        var json = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteString("model", model);
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
