using System.Buffers;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Desktop;

/// <summary>
/// The events of contract C's stream. Each is a pure function of one event of the session's feed, so that a stream which is read again, on any host and at any time, has
/// the same bytes. Data: <c>{taskId, sessionId, ts, …, patch, append}</c>; <c>patch</c> has members of the task with their new values and <c>append</c> texts that are
/// added to members, so that a reader who applies both has what <c>GET /tasks/{taskId}</c> shows.
/// </summary>
sealed class TaskEvents(IBlobs blobs)
{
    // All readers of a session share one entry and send the same bytes.
    static readonly ConditionalWeakTable<FeedEntry, byte[]> Rendered = [];

    /// <summary>The lines of an entry; empty: contract C shows nothing of it.</summary>
    public async ValueTask<byte[]> Lines(FeedEntry entry, CancellationToken ct)
    {
        if (Rendered.TryGetValue(entry, out var known))
        {
            return known;
        }
        var lines = await Render(entry, ct);
        Rendered.AddOrUpdate(entry, lines);
        return lines;
    }

    /// <param name="id">Null: the event has none, and a reader resumes behind the one before it.</param>
    public static byte[] Lines(long? id, string name, ReadOnlySpan<byte> data)
    {
        var head = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{(id is null ? "" : $"id: {id}\n")}event: {name}\ndata: "));
        return [.. head, .. data, .. "\n\n"u8];
    }

    async ValueTask<byte[]> Render(FeedEntry entry, CancellationToken ct)
    {
        if (EventTypes.TypeOf(entry.Type) is null)
        {
            // A later release wrote it.
            return [];
        }
        var e = entry.Read();
        // Texts that the event only names: a blob never changes, so that the rendering is still one of the event alone.
        var text = e switch
        {
            RunEvent.RunCreated created => await Text(created.Message, ct),
            RunEvent.AssistantReply reply => await Text(reply.Content, ct),
            RunEvent.FeedbackReceived feedback => await Text(feedback.Text, ct),
            _ => null,
        };
        var data = new ArrayBufferWriter<byte>(entry.Data.Length + 256);
        string? name;
        using (var json = new Utf8JsonWriter(data, RelaxedJson.Writing))
        {
            name = Write(json, entry, e, text);
        }
        return name is null ? [] : Lines(entry.FeedId, name, data.WrittenSpan);
    }

    /// <summary>A text that is gone, or sealed, is none.</summary>
    async ValueTask<string?> Text(Content content, CancellationToken ct)
    {
        try
        {
            return await blobs.Text(content, ct);
        }
        catch (InvalidDataException)
        {
            return null;
        }
    }

    /// <summary>Writes the data and answers the event's name; null: contract C shows nothing of it.</summary>
    static string? Write(Utf8JsonWriter json, FeedEntry entry, Event e, string? text)
    {
        var task = e is SessionEvent.RunDequeued { NextRunId: var next } ? next : entry.Run;
        if (NameOf(e) is not { } name || (task is null && e is not ArtifactEvent))
        {
            return null;
        }
        json.WriteStartObject();
        json.WriteString("taskId", task?.TaskId);
        json.WriteString("sessionId", entry.Session?.Id);
        json.WriteString("ts", HashChain.Timestamp(entry.At));
        WriteContent(json, entry, e, text);
        WritePatch(json, e, text);
        if (e is RunEvent.OutputDelta delta)
        {
            json.WriteStartObject("append");
            json.WriteString("reply", delta.Text);
            json.WriteEndObject();
        }
        json.WriteEndObject();
        return name;
    }

    static string? NameOf(Event e) => e switch
    {
        RunEvent.RunCreated => "task.created",
        RunEvent.ThinkingDelta => "agent.thought",
        RunEvent.LlmResponse => "token.usage",
        RunEvent.ToolCall => "agent.tool.call",
        RunEvent.ToolResult => "agent.tool.result",
        RunEvent.ApprovalRequested => "approval.required",
        RunEvent.ApprovalDecided => "approval.resolved",
        RunEvent.RunCompleted => "task.completed",
        RunEvent.RunFailed => "task.failed",
        RunEvent.RunCancelled => "task.cancelled",
        RunEvent or SessionEvent.RunQueued or SessionEvent.RunDequeued => "task.updated",
        ArtifactEvent.ArtifactDiscovered => "artifact.created",
        _ => null,
    };

    /// <summary>What the event tells beside the change of its task.</summary>
    static void WriteContent(Utf8JsonWriter json, FeedEntry entry, Event e, string? text)
    {
        switch (e)
        {
            case RunEvent.RunCreated created:
                var row = Projections.Runs.Evolve(null, Recorded(entry, created))!;
                json.WritePropertyName("task");
                JsonSerializer.Serialize(json, DesktopTask.Of(row with { Message = Content.Of(text ?? "") }, isFirst: false, said: null), DesktopJson.Answers.DesktopTask);
                break;
            case RunEvent.ThinkingDelta thought:
                json.WriteString("text", thought.Text);
                break;
            case RunEvent.LlmResponse answer:
                json.WriteString("model", answer.Model);
                json.WriteNumber("inputTokens", answer.InputTokens);
                json.WriteNumber("outputTokens", answer.OutputTokens);
                WriteMoney(json, answer.CostMicroUsd);
                break;
            case RunEvent.ToolCall call:
                json.WriteString("callId", call.Id);
                json.WriteString("name", call.Name);
                WriteArguments(json, call.Input);
                break;
            case RunEvent.ToolResult result:
                json.WriteString("callId", result.Id);
                json.WriteString("name", result.Name);
                json.WriteBoolean("isError", result.IsError);
                json.WriteString("preview", SessionFeed.Preview(SessionFeed.Shown(result.Content)));
                break;
            case RunEvent.ApprovalRequested asked:
                json.WriteString("approvalId", asked.ApprovalId.Id);
                json.WriteString("callId", asked.ToolCallId);
                json.WriteString("name", asked.ToolName);
                WriteArguments(json, asked.ToolInput);
                json.WriteString("reason", asked.Reason);
                json.WriteString("rule", asked.Rule);
                json.WriteString("expiresAt", HashChain.Timestamp(asked.ExpiresAt));
                break;
            case RunEvent.ApprovalDecided decided:
                json.WriteString("approvalId", decided.ApprovalId.Id);
                json.WriteString("outcome", decided.Outcome.ToString().ToLowerInvariant());
                json.WriteString("decidedBy", decided.By);
                json.WriteString("note", decided.Note);
                break;
            case RunEvent.ModelRetried retried:
                json.WriteStartObject("retry");
                json.WriteNumber("attempt", retried.Attempt);
                json.WriteString("code", retried.Code);
                json.WriteNumber("waitMs", retried.WaitMs);
                json.WriteEndObject();
                break;
            case RunEvent.FeedbackReceived feedback:
                json.WriteStartObject("feedback");
                json.WriteString("text", text);
                json.WriteString("by", feedback.By);
                json.WriteEndObject();
                break;
            case RunEvent.RunCompleted completed:
                json.WriteNumber("totalTokens", completed.TotalTokens);
                json.WriteNumber("toolCalls", completed.ToolCalls);
                WriteMoney(json, completed.CostMicroUsd);
                json.WriteString("stopReason", completed.StopReason);
                break;
            case ArtifactEvent.ArtifactDiscovered artifact:
                json.WritePropertyName("artifact");
                JsonSerializer.Serialize(json, ArtifactMetadata.Of(artifact), DesktopJson.Answers.ArtifactMetadata);
                break;
        }
    }

    /// <summary>What the event changes of its task. Pieces of text change no time.</summary>
    static void WritePatch(Utf8JsonWriter json, Event e, string? text)
    {
        if (e is RunEvent.RunCreated or RunEvent.ThinkingDelta or ArtifactEvent)
        {
            return;
        }
        json.WriteStartObject("patch");
        var status = e switch
        {
            SessionEvent.RunQueued { Ahead: > 0 } => TaskStatuses.Queued,
            SessionEvent => TaskStatuses.Ready,
            RunEvent.RunStarted => TaskStatuses.Planning,
            RunEvent.OutputDelta or RunEvent.PolicyDecision or RunEvent.AssistantReply or RunEvent.ApprovalDecided => TaskStatuses.Running,
            RunEvent.ApprovalRequested => TaskStatuses.AwaitingConfirmation,
            RunEvent.RunCompleted => TaskStatuses.Completed,
            RunEvent.RunFailed => TaskStatuses.Failed,
            RunEvent.RunCancelled => TaskStatuses.Cancelled,
            _ => null,
        };
        if (status is not null)
        {
            json.WriteString("status", status);
        }
        switch (e)
        {
            case RunEvent.MemoryRetrieval:
                json.WriteNumber("steps", 1);
                break;
            case RunEvent.LlmResponse answer:
                json.WriteNumber("steps", answer.Step);
                if (answer.ToolCalls > 0 || answer.Continues == true)
                {
                    json.WriteNull("reply");
                }
                break;
            case RunEvent.ToolResult result:
                json.WriteNumber("steps", result.Step);
                break;
            case RunEvent.ModelRetried or RunEvent.RunResumed:
                json.WriteNull("reply");
                break;
            case RunEvent.AssistantReply:
                json.WriteString("reply", text);
                break;
            case RunEvent.ApprovalRequested asked:
                json.WriteStartArray("pendingApprovalIds");
                json.WriteStringValue(asked.ApprovalId.Id);
                json.WriteEndArray();
                break;
            case RunEvent.ApprovalDecided:
                json.WriteStartArray("pendingApprovalIds");
                json.WriteEndArray();
                break;
            case RunEvent.RunFailed failed:
                json.WriteStartObject("error");
                json.WriteString("code", failed.Error.Code);
                json.WriteString("message", failed.Error.Message);
                json.WriteEndObject();
                break;
        }
        if (e is not (SessionEvent or RunEvent.OutputDelta))
        {
            json.WriteString("updatedAt", HashChain.Timestamp(e.At));
        }
        json.WriteEndObject();
    }

    static void WriteMoney(Utf8JsonWriter json, long? microUsd)
    {
        if (microUsd is { } cost)
        {
            json.WriteNumber("costUSD", Money.Usd(cost));
        }
        else
        {
            json.WriteNull("costUSD");
        }
    }

    static void WriteArguments(Utf8JsonWriter json, Content input)
    {
        json.WritePropertyName("input");
        SessionFeed.Arguments(SessionFeed.Shown(input)).WriteTo(json);
    }

    internal static RecordedEvent Recorded(FeedEntry entry, Event e) => new(
        entry.Org, entry.Stream, entry.Version, entry.Id, entry.Type, e, entry.Data, entry.At, entry.Actor, entry.Hash, entry.Position, entry.Correlation);
}
