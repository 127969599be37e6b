using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>An approval as <c>GET /approvals</c> shows it: the requested call with its reason, and the decision.</summary>
/// <param name="Status"><c>pending</c>, <c>approved</c>, <c>rejected</c> or <c>expired</c>.</param>
/// <param name="ToolInput">The arguments as the model wrote them.</param>
/// <param name="Rule">The policy rule that requires the approval.</param>
public sealed record ApprovalRow(
    string ApprovalId,
    string SessionId,
    string RunId,
    string ToolCallId,
    string ToolName,
    Content ToolInput,
    string ArgsDigest,
    string Reason,
    string Rule,
    string Status,
    DateTimeOffset CreatedAt,
    DateTimeOffset ExpiresAt,
    DateTimeOffset? DecidedAt,
    string? DecidedBy,
    string? DecisionNote);

/// <summary>The read model of approvals: <c>GET /approvals</c>. An approval's events are in its run's stream; each approval has its own row.</summary>
public static class Approvals
{
    public static ReadModel<ApprovalRow> Model { get; } = new(
        "approvals", Run.Aggregate.Name, RowJson.Default.ApprovalRow, Evolve,
        Scope: row => Ids.SessionKey(row.SessionId),
        Status: row => row.Status,
        Key: e => e.Event switch
        {
            ApprovalRequested r => Ids.Key(r.ApprovalId, "appr"),
            ApprovalDecided d => Ids.Key(d.ApprovalId, "appr"),
            _ => null,
        });

    public static ApprovalRow? Evolve(ApprovalRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ApprovalRequested r, _) => new(
            r.ApprovalId, r.SessionId, $"run_{e.Stream[(Run.Aggregate.Name.Length + 1)..]}", r.ToolCallId, r.ToolName, r.ToolInput, r.ArgsDigest, r.Reason, r.Rule,
            "pending", e.At, r.ExpiresAt, null, null, null),
        (ApprovalDecided d, { } pending) => pending with
        {
            Status = d.Outcome.ToString().ToLowerInvariant(),
            DecidedAt = e.At,
            DecidedBy = d.By,
            DecisionNote = d.Note,
        },
        (_, _) => row,
    };

    /// <summary>Writes the approval as answers show it.</summary>
    /// <param name="input">The arguments' text from the blob store; null: writes the stored content.</param>
    public static void Write(Utf8JsonWriter json, ApprovalRow row, string? input = null)
    {
        json.WriteStartObject();
        json.WriteString("approval_id", row.ApprovalId);
        json.WriteString("session_id", row.SessionId);
        json.WriteString("run_id", row.RunId);
        json.WriteString("tool_call_id", row.ToolCallId);
        json.WriteString("tool_name", row.ToolName);
        if ((input ?? (row.ToolInput as Content.Inline)?.Text) is { } text)
        {
            SessionFeed.WriteInput(json, "tool_input", text);
        }
        else
        {
            RunSummary.WriteContent(json, "tool_input", row.ToolInput, null);
        }
        json.WriteString("args_digest", row.ArgsDigest);
        json.WriteString("reason", row.Reason);
        json.WriteString("rule", row.Rule);
        json.WriteString("status", row.Status);
        json.WriteString("created_at", HashChain.Timestamp(row.CreatedAt));
        json.WriteString("expires_at", HashChain.Timestamp(row.ExpiresAt));
        RunSummary.WriteTime(json, "decided_at", row.DecidedAt);
        json.WriteString("decided_by", row.DecidedBy);
        json.WriteString("decision_note", row.DecisionNote);
        json.WriteEndObject();
    }
}
