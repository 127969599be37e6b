using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>A run as contract B shows it.</summary>
/// <param name="Input">The user's message.</param>
/// <param name="Output">
/// The reply, first as the contract has it (<c>text</c>), then as the clients of OpenAI read it (<c>message</c>). Empty: it failed or was cancelled, and nothing was said.
/// </param>
/// <param name="Status"><c>in_progress</c>, also while it waits in the queue or for an approval; <c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
/// <param name="PendingApprovalIds">Approvals that it waits for.</param>
/// <param name="ScheduleId">The schedule that started it; null: a person did.</param>
/// <param name="Skills">The skills that are active in it, in the order of the prompt.</param>
public sealed record ResponseDetails(
    string Id, string Object, string ConversationId, string Input, IReadOnlyList<OutputItem> Output, [property: ResponseStatus] string Status, string Model,
    ResponseUsage Usage, DateTimeOffset CreatedAt, ResponseError? Error, IReadOnlyList<ApprovalKey> PendingApprovalIds,
    IReadOnlyList<RunSkill> Skills, ScheduleKey? ScheduleId)
{
    const string Word = "response";

    /// <param name="run">With the texts themselves, not their digests.</param>
    /// <param name="messageId">The id of the reply's message.</param>
    public static ResponseDetails Of(RunRow run, string messageId)
    {
        var (text, status) = (TextOf(run.Reply), StatusOf(run));
        return new(
            run.RunId.ResponseId, Word, run.SessionId.ConversationId, TextOf(run.Message),
            run is { HasEnded: true, Status: not "completed" } && text.Length == 0 ? []
                : [OutputItem.PlainText(text), OutputItem.Message(messageId, status is "in_progress" or "completed" ? status : "incomplete", [ContentPart.Of(text)])],
            status, run.Model,
            new(run.InputTokens, run.OutputTokens, run.TotalTokens), run.CreatedAt, run.Error is { } error ? new(error.Code, error.Message) : null, run.PendingApprovalIds,
            run.Skills ?? [], run.Source?.ScheduleId);
    }

    static string TextOf(Content? content) => content is Content.Inline inline ? inline.Text : "";

    public static string StatusOf(RunRow run) => run.HasEnded ? run.Status : "in_progress";
}

/// <summary>An item of a response's output.</summary>
/// <param name="Type"><c>text</c> or <c>message</c>.</param>
/// <param name="Text">Of a <c>text</c>.</param>
/// <param name="Content">Of a <c>message</c>.</param>
public sealed record OutputItem(
    string Type,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Text = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Id = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Role = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Status = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<ContentPart>? Content = null)
{
    public static OutputItem PlainText(string text) => new("text", text);

    /// <param name="status"><c>in_progress</c>, <c>completed</c>, or <c>incomplete</c>: the text is not the reply.</param>
    public static OutputItem Message(string id, string status, IReadOnlyList<ContentPart> content) => new("message", Id: id, Role: "assistant", Status: status, Content: content);
}

/// <param name="Type"><c>output_text</c>.</param>
/// <param name="Annotations">Always empty.</param>
public sealed record ContentPart(string Type, string Text, IReadOnlyList<JsonElement> Annotations)
{
    public static ContentPart Of(string text) => new("output_text", text, []);
}

public sealed record ResponseUsage(long InputTokens, long OutputTokens, long TotalTokens);

public sealed record ResponseError(string Code, string Message);

/// <summary>An event of a response's stream, with the members that its type has.</summary>
/// <param name="SequenceNumber">From 0, without a gap; the same in every reading of the response.</param>
public sealed record ResponseEvent(
    string Type, long SequenceNumber, string ResponseId,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ResponseDetails? Response = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? ItemId = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? OutputIndex = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? ContentIndex = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] OutputItem? Item = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ContentPart? Part = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Delta = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Text = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ResponseToolCall? ToolCall = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ResponseToolResult? ToolResult = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ResponseApproval? Approval = null);

/// <param name="Input">The arguments: an object where the model wrote one, else its text.</param>
public sealed record ResponseToolCall(string Id, string Name, JsonElement Input);

/// <param name="ContentPreview">The beginning of the result.</param>
public sealed record ResponseToolResult(string Id, string Name, string ContentPreview, bool IsError);

public sealed record ResponseApproval(ApprovalKey ApprovalId, string ToolName, JsonElement ToolInput, string Reason, DateTimeOffset ExpiresAt);

/// <param name="LatestSeq">The sequence number of its last event so far.</param>
public sealed record InFlightResponse(bool InFlight, string ResponseId, string ConversationId, long LatestSeq, DateTimeOffset CreatedAt);

/// <summary>A page of a list.</summary>
/// <param name="Object"><c>list</c>.</param>
/// <param name="Total">How many there are, on all pages.</param>
public sealed record InFlightList(string Object, IReadOnlyList<InFlightResponse> Data, int Total, int Limit, int Offset, bool HasMore);
