using System.Buffers;
using System.Collections.Frozen;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A message as members of a group see it.</summary>
/// <param name="Seq">Dense from 1 within the group.</param>
/// <param name="Json">One JSON object in UTF-8: <c>{type, seq, ts, …}</c>.</param>
public sealed record GroupMessage(long Seq, ReadOnlyMemory<byte> Json);

/// <param name="Head">Seq of the group's last message at the time of reading, as far as the page had to look for it.</param>
/// <param name="HasMore">There are further messages behind the page's last one.</param>
public sealed record GroupPage(IReadOnlyList<GroupMessage> Messages, long Head, bool HasMore);

/// <summary>
/// The feed of a group's session as messages: <c>user_message_stored</c>, <c>agent_start</c>, <c>text_delta</c>, <c>tool_call</c>, <c>tool_result</c>,
/// <c>agent_message</c>, <c>agent_error</c> and <c>done</c>. An event shows as a number of messages that its type alone tells, so that <c>seq</c> is the same on every
/// host at every time. What it costs to find a place does not grow with the feed: each <see cref="MarkEvery"/>th event has a mark in the database, which whoever counts
/// past it leaves there.
/// </summary>
public sealed class GroupFeed(IEventLog log, IGroupStore store, IBlobs blobs)
{
    /// <summary>Events between two marks. A reader counts so many at the most before the first one that it shows.</summary>
    public const int MarkEvery = 256;

    const int EventsOfPage = MarkEvery;

    /// <summary>Runs whose agents are remembered, about.</summary>
    const long RunsKept = 10_000;

    /// <summary>
    /// How many messages an event shows as. This table is for ever: another number would give messages of feeds that are there another <c>seq</c>.
    /// </summary>
    static readonly FrozenDictionary<Type, int> Counts = new Dictionary<Type, int>
    {
        [typeof(GroupEvent.GroupMessageStored)] = 1,
        [typeof(GroupEvent.GroupCallsStopped)] = 1,
        [typeof(RunEvent.RunStarted)] = 1,
        [typeof(RunEvent.RunResumed)] = 1,
        [typeof(RunEvent.ModelRetried)] = 1,
        [typeof(RunEvent.OutputDelta)] = 1,
        [typeof(RunEvent.ToolCall)] = 1,
        [typeof(RunEvent.ToolResult)] = 1,
        [typeof(RunEvent.AssistantReply)] = 1,
        [typeof(RunEvent.RunCompleted)] = 1,
        [typeof(RunEvent.RunFailed)] = 2,
        [typeof(RunEvent.RunCancelled)] = 1,
    }.ToFrozenDictionary();

    static readonly JsonWriterOptions Writing = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    readonly LastUsed<(string Org, RunKey Run), AnsweringAgent> agents = new(RunsKept);

    /// <summary>How many messages the event shows as.</summary>
    public static int CountOf(FeedEntry entry) => EventTypes.TypeOf(entry.Type) is { } type ? Counts.GetValueOrDefault(type) : 0;

    /// <summary>The end of the group's feed.</summary>
    public async ValueTask<GroupMark> Head(string org, GroupKey group, CancellationToken ct) =>
        await Count(org, group, await store.MarkByFeedId(org, group.Session, long.MaxValue, ct), long.MaxValue, ct);

    /// <summary>The seq of the last message that the feed shows up to an event.</summary>
    public async ValueTask<long> SeqOf(string org, GroupKey group, long feedId, CancellationToken ct) =>
        (await Count(org, group, await store.MarkByFeedId(org, group.Session, feedId, ct), feedId, ct)).Seq;

    /// <summary>Messages after a place, oldest first.</summary>
    /// <param name="since">Seq of the message before the first one.</param>
    /// <param name="through">Seq of the last message that the page may have; null: any.</param>
    /// <param name="bytes">The page ends after the message with which it has more bytes.</param>
    public async ValueTask<GroupPage> Page(string org, GroupKey group, long since, int limit, long bytes, long? through, CancellationToken ct)
    {
        var at = await store.MarkBySeq(org, group.Session, since, ct);
        var marks = new List<GroupMark>();
        var messages = new List<GroupMessage>();
        while (true)
        {
            var page = await log.Feed(org, group.Session, at.FeedId, EventsOfPage, ct);
            foreach (var entry in page.Entries)
            {
                var count = CountOf(entry);
                if (at.Seq + count > since && count > 0)
                {
                    foreach (var message in await Render(org, entry, at.Seq, ct))
                    {
                        if (message.Seq <= since)
                        {
                            continue;
                        }
                        if (messages.Count == limit || bytes < 0 || message.Seq > through)
                        {
                            await Leave(org, group, marks, ct);
                            return new(messages, message.Seq, true);
                        }
                        messages.Add(message);
                        bytes -= message.Json.Length;
                    }
                }
                at = Pass(at, entry, count, marks);
            }
            if (page.Entries.Count < EventsOfPage && !page.IsCut)
            {
                await Leave(org, group, marks, ct);
                return new(messages, at.Seq, false);
            }
        }
    }

    /// <summary>The last messages before a place, oldest first.</summary>
    /// <param name="before">Seq of the message after the last one.</param>
    /// <param name="bytes">The page begins with the message with which it has more bytes.</param>
    public async ValueTask<IReadOnlyList<GroupMessage>> PageBefore(string org, GroupKey group, long before, int limit, long bytes, CancellationToken ct)
    {
        var since = Math.Max(0, before - 1 - limit);
        var kept = new Queue<GroupMessage>();
        var size = 0L;
        while (since < before - 1)
        {
            // Read in portions, because what goes is read, too.
            var page = await Page(org, group, since, (int)(before - 1 - since), bytes, before - 1, ct);
            foreach (var message in page.Messages)
            {
                kept.Enqueue(message);
                size += message.Json.Length;
                while (kept.Count > 1 && size - kept.Peek().Json.Length > bytes)
                {
                    size -= kept.Dequeue().Json.Length;
                }
                since = message.Seq;
            }
            if (!page.HasMore || page.Messages.Count == 0)
            {
                break;
            }
        }
        return [.. kept];
    }

    /// <summary>The messages that an event shows as.</summary>
    /// <param name="before">Seq of the last message before them.</param>
    public async ValueTask<IReadOnlyList<GroupMessage>> Render(string org, FeedEntry entry, long before, CancellationToken ct)
    {
        var count = CountOf(entry);
        if (count == 0)
        {
            return [];
        }
        var e = entry.Read();
        var agent = RunOf(entry, e) is { } run ? await AgentOf(org, run, ct) : null;
        var text = e switch
        {
            GroupEvent.GroupMessageStored stored => await Text(stored.Text, ct),
            RunEvent.AssistantReply reply => await Text(reply.Content, ct),
            RunEvent.ToolCall call => await Text(call.Input, ct),
            RunEvent.ToolResult result => await Text(result.Content, ct) is { } whole ? SessionFeed.Preview(whole) : null,
            _ => null,
        };
        var messages = new GroupMessage[count];
        for (var i = 0; i < count; i++)
        {
            messages[i] = new(before + i + 1, Write(entry, e, i, before + i + 1, agent, text));
        }
        return messages;
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

    /// <summary>Who answers in a run, and what: both are in its first event, and never change.</summary>
    async ValueTask<AnsweringAgent> AgentOf(string org, RunKey run, CancellationToken ct)
    {
        if (agents.Get((org, run)) is { } known)
        {
            return known;
        }
        var slice = await log.Load(org, Run.Aggregate.Stream(run), 0, 1, ct);
        var agent = slice.Events is [{ Event: RunEvent.RunCreated { Agent: { } of } }] ? new AnsweringAgent(of.Id, of.Nickname, of.MessageId) : AnsweringAgent.None;
        agents.Put((org, run), agent);
        return agent;
    }

    /// <summary>Counts from a mark to an event, or to the end of the feed.</summary>
    async ValueTask<GroupMark> Count(string org, GroupKey group, GroupMark from, long through, CancellationToken ct)
    {
        var marks = new List<GroupMark>();
        var at = from;
        while (at.FeedId < through)
        {
            var page = await log.Feed(org, group.Session, at.FeedId, (int)Math.Min(EventsOfPage, through - at.FeedId), ct);
            foreach (var entry in page.Entries)
            {
                at = Pass(at, entry, CountOf(entry), marks);
            }
            if (page.Entries.Count == 0 || (page.Entries.Count < EventsOfPage && !page.IsCut))
            {
                break;
            }
        }
        await Leave(org, group, marks, ct);
        return at;
    }

    /// <summary>The place behind an event. Notes the mark that is due there.</summary>
    public static GroupMark Pass(GroupMark at, FeedEntry entry, int count, ICollection<GroupMark> marks)
    {
        var next = new GroupMark(entry.FeedId, at.Seq + count);
        if (next.FeedId % MarkEvery == 0)
        {
            marks.Add(next);
        }
        return next;
    }

    /// <summary>Leaves marks for those who come after.</summary>
    public ValueTask Leave(string org, GroupKey group, IReadOnlyList<GroupMark> marks, CancellationToken ct) =>
        marks.Count == 0 ? default : store.PutMarks(org, group.Session, marks, ct);

    static ReadOnlyMemory<byte> Write(FeedEntry entry, Event e, int nr, long seq, AnsweringAgent? agent, string? text)
    {
        var output = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(output, Writing))
        {
            json.WriteStartObject();
            json.WriteString("type", TypeOf(e, nr));
            json.WriteNumber("seq", seq);
            json.WriteString("ts", HashChain.Timestamp(entry.At));
            if (RunOf(entry, e) is { } run)
            {
                json.WriteString("run_id", run.Id);
                json.WriteString("agent_id", agent?.Id);
                json.WriteString("message_id", agent?.MessageId);
            }
            WriteContent(json, e, nr, agent, text);
            json.WriteEndObject();
        }
        return output.WrittenMemory.ToArray();
    }

    /// <summary>The run that a message is about; null: it is about none.</summary>
    static RunKey? RunOf(FeedEntry entry, Event e) => e is GroupEvent.GroupCallsStopped stopped ? stopped.RunId : entry.Run;

    static string TypeOf(Event e, int nr) => e switch
    {
        GroupEvent.GroupMessageStored => "user_message_stored",
        RunEvent.RunStarted or RunEvent.RunResumed or RunEvent.ModelRetried => "agent_start",
        RunEvent.OutputDelta => "text_delta",
        RunEvent.ToolCall => "tool_call",
        RunEvent.ToolResult => "tool_result",
        RunEvent.AssistantReply => "agent_message",
        GroupEvent.GroupCallsStopped => "agent_error",
        RunEvent.RunFailed when nr == 0 => "agent_error",
        RunEvent.RunCompleted or RunEvent.RunFailed or RunEvent.RunCancelled => "done",
        _ => throw new System.Diagnostics.UnreachableException(e.GetType().Name),
    };

    static void WriteContent(Utf8JsonWriter json, Event e, int nr, AnsweringAgent? agent, string? text)
    {
        switch (e)
        {
            case GroupEvent.GroupMessageStored stored:
                json.WriteString("message_id", stored.MessageId);
                json.WriteString("user_id", stored.Sender);
                json.WriteString("text", text);
                json.WriteStartArray("agent_ids");
                foreach (var call in stored.Calls)
                {
                    json.WriteStringValue(call.AgentId);
                }
                json.WriteEndArray();
                break;
            case RunEvent.RunStarted:
                WriteStart(json, agent, 1);
                break;
            case RunEvent.RunResumed resumed:
                WriteStart(json, agent, resumed.Attempt);
                break;
            case RunEvent.ModelRetried retried:
                WriteStart(json, agent, retried.Attempt);
                break;
            case RunEvent.OutputDelta delta:
                json.WriteString("text", delta.Text);
                break;
            case RunEvent.ToolCall call:
                json.WriteString("id", call.Id);
                json.WriteString("name", call.Name);
                json.WritePropertyName("input");
                if (text is null)
                {
                    json.WriteNullValue();
                }
                else
                {
                    SessionFeed.Arguments(text).WriteTo(json);
                }
                break;
            case RunEvent.ToolResult result:
                json.WriteString("id", result.Id);
                json.WriteString("name", result.Name);
                json.WriteString("content_preview", text);
                json.WriteBoolean("is_error", result.IsError);
                break;
            case RunEvent.AssistantReply:
                json.WriteString("text", text);
                break;
            case GroupEvent.GroupCallsStopped stopped:
                var (code, why) = WhyStopped(stopped.Reason);
                json.WriteString("code", code);
                json.WriteString("message", $"{why} Not asked: {string.Join(", ", stopped.Addressed)}.");
                break;
            case RunEvent.RunFailed failed when nr == 0:
                json.WriteString("code", failed.Error.Code);
                json.WriteString("message", failed.Error.Message);
                break;
            default:
                json.WriteString("status", e switch { RunEvent.RunCompleted => "completed", RunEvent.RunFailed => "failed", _ => "cancelled" });
                break;
        }
    }

    static (string Code, string Sentence) WhyStopped(StoppedCalls reason) => reason switch
    {
        StoppedCalls.Depth => ("agent_depth_exceeded", $"Agents have handed the message on {Limits.AgentDepthMax} times."),
        StoppedCalls.Runs => ("message_runs_exceeded", $"The message has led to {Limits.RunsPerMessageMax} runs."),
        StoppedCalls.QueueFull => ("session_queue_full", "As many runs wait as may."),
        StoppedCalls.Archived => ("group_archived", "The group was closed."),
        _ => throw new System.Diagnostics.UnreachableException(reason.ToString()),
    };

    static void WriteStart(Utf8JsonWriter json, AnsweringAgent? agent, int attempt)
    {
        json.WriteString("nickname", agent?.Nickname);
        json.WriteNumber("attempt", attempt);
    }

    /// <param name="MessageId">The client's id of the message that is answered; null: it had none.</param>
    sealed record AnsweringAgent(string? Id, string? Nickname, string? MessageId)
    {
        /// <summary>The run is no agent's of the group.</summary>
        public static AnsweringAgent None { get; } = new(null, null, null);
    }
}
