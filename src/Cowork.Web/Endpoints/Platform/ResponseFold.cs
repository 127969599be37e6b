using System.Globalization;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using static Cowork.Domain.RunEvent;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>
/// A response as its run's events make it: the events of its stream, numbered, and the object itself. It is a fold of nothing but those events, so that a stream that
/// is read again, on any host and at any time, has the same numbers and the same text.
/// </summary>
/// <param name="run">The run.</param>
/// <param name="input">The user's message, which an event may only name by its digest.</param>
sealed class ResponseFold(RunKey run, string input)
{
    /// <summary>Types of events that contract B adds to those of OpenAI.</summary>
    public const string ToolCalled = "response.tool_call", ToolAnswered = "response.tool_result", ApprovalRequired = "response.approval_required", Cancelled = "response.cancelled";

    /// <summary>The message follows the plain text, which is the output's first item.</summary>
    public const int FirstMessage = 1;

    readonly string stream = Run.Aggregate.Stream(run);
    readonly StringBuilder text = new();
    RunRow? row;
    int messages;
    bool isOpen;

    /// <summary>The number of the next event.</summary>
    public long Next { get; private set; }

    /// <summary>The last event ends the stream.</summary>
    public bool HasEnded => row is { HasEnded: true };

    /// <summary>Null: no event of the run was folded.</summary>
    public DateTimeOffset? CreatedAt => row?.CreatedAt;

    /// <summary>The response as it is now. Before there is a reply, its text is what has been said of one.</summary>
    /// <exception cref="InvalidOperationException">No event of the run was folded.</exception>
    public ResponseDetails Details => ResponseDetails.Of(
        (row ?? throw new InvalidOperationException("There is no response yet.")) with
        {
            Message = Content.Of(input),
            Reply = row.Reply as Content.Inline ?? Content.Of(text.ToString()),
        },
        MessageId(Math.Max(messages, 1)));

    /// <summary>What an entry of the session's feed adds to the response's stream; entries that are not the run's add nothing.</summary>
    public IReadOnlyList<ResponseEvent> Add(FeedEntry entry)
    {
        if (entry.Stream != stream)
        {
            return [];
        }
        var happened = entry.Read();
        row = Runs.Evolve(row, new(
            entry.Org, entry.Stream, entry.Version, entry.Id, entry.Type, happened, entry.Data, entry.At, entry.Actor, entry.Hash, entry.Position, entry.Correlation));
        var events = new List<ResponseEvent>();
        switch (happened)
        {
            case RunCreated:
                events.Add(Event("response.created") with { Response = Details });
                break;
            case RunStarted:
                events.Add(Event("response.in_progress") with { Response = Details });
                break;
            case OutputDelta delta:
                Say(events, delta.Text);
                break;
            case ModelRetried or RunResumed { Attempt: > 1 }:
                // The text of the round is void, and the round begins anew.
                Close(events, "incomplete");
                text.Clear();
                break;
            case LlmResponse { ToolCalls: > 0 } or LlmResponse { Continues: true }:
                // What the model says before its calls, or before it has seen all feedback, is not the reply.
                Close(events, "incomplete");
                text.Clear();
                break;
            case AssistantReply reply:
                if (!isOpen)
                {
                    Say(events, reply.Content is Content.Inline whole ? whole.Text : "");
                }
                Close(events, "completed");
                break;
            case ToolCall call:
                events.Add(Event(ToolCalled) with { ToolCall = new(call.Id, call.Name, SessionFeed.Arguments(SessionFeed.Shown(call.Input))) });
                break;
            case ToolResult result:
                events.Add(Event(ToolAnswered) with { ToolResult = new(result.Id, result.Name, SessionFeed.Preview(SessionFeed.Shown(result.Content)), result.IsError) });
                break;
            case ApprovalRequested asked:
                events.Add(Event(ApprovalRequired) with
                {
                    Response = Details,
                    Approval = new(asked.ApprovalId, asked.ToolName, SessionFeed.Arguments(SessionFeed.Shown(asked.ToolInput)), asked.Reason, asked.ExpiresAt),
                });
                break;
            case RunCompleted or RunFailed or RunCancelled:
                Close(events, "incomplete");
                events.Add(Event($"response.{row!.Status}") with { Response = Details });
                break;
        }
        return Numbered(events);
    }

    /// <summary>
    /// The end of a response whose conversation was deleted: its run is being cancelled, and nobody can read it any more. Nothing when it has ended before.
    /// </summary>
    public IReadOnlyList<ResponseEvent> Cancel(DateTimeOffset at)
    {
        if (row is null || HasEnded)
        {
            return [];
        }
        row = row with { Status = "cancelled", CompletedAt = at };
        var events = new List<ResponseEvent>();
        Close(events, "incomplete");
        events.Add(Event(Cancelled) with { Response = Details });
        return Numbered(events);
    }

    List<ResponseEvent> Numbered(List<ResponseEvent> events)
    {
        for (var i = 0; i < events.Count; i++)
        {
            events[i] = events[i] with { SequenceNumber = Next++ };
        }
        return events;
    }

    void Say(List<ResponseEvent> events, string piece)
    {
        if (!isOpen)
        {
            (isOpen, messages) = (true, messages + 1);
            text.Clear();
            events.Add(OfItem("response.output_item.added") with { ItemId = null, Item = OutputItem.Message(MessageId(messages), "in_progress", []) });
            events.Add(OfPart("response.content_part.added") with { Part = ContentPart.Of("") });
        }
        text.Append(piece);
        events.Add(OfPart("response.output_text.delta") with { Delta = piece });
    }

    void Close(List<ResponseEvent> events, string status)
    {
        if (isOpen)
        {
            isOpen = false;
            var said = text.ToString();
            events.Add(OfPart("response.output_text.done") with { Text = said });
            events.Add(OfPart("response.content_part.done") with { Part = ContentPart.Of(said) });
            events.Add(OfItem("response.output_item.done") with { ItemId = null, Item = OutputItem.Message(MessageId(messages), status, [ContentPart.Of(said)]) });
        }
    }

    ResponseEvent OfPart(string type) => OfItem(type) with { ContentIndex = 0 };

    ResponseEvent OfItem(string type) => Event(type) with { ItemId = MessageId(messages), OutputIndex = FirstMessage + messages - 1 };

    ResponseEvent Event(string type) => new(type, 0, run.ResponseId);

    /// <param name="number">From 1.</param>
    string MessageId(int number) => string.Create(CultureInfo.InvariantCulture, $"msg_{run.Value}_{number}");
}
