using System.Collections.Immutable;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>An approval as <c>GET /approvals</c> shows it: the requested call with its reason, and the decision.</summary>
/// <param name="Status"><c>pending</c>, <c>approved</c>, <c>rejected</c> or <c>expired</c>.</param>
/// <param name="ToolInput">The arguments as the model wrote them.</param>
/// <param name="Rule">The policy rule that requires the approval.</param>
/// <param name="Issuers">The persons behind the token of who decided; null: nobody else.</param>
public sealed record ApprovalRow(
    ApprovalKey ApprovalId,
    SessionKey SessionId,
    RunKey RunId,
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
    string? DecisionNote,
    ImmutableList<Issuer>? Issuers = null);

/// <summary>The read model of approvals: <c>GET /approvals</c>. An approval's events are in its run's stream; each approval has its own row.</summary>
public static class Approvals
{
    public static ReadModel<ApprovalRow> Model { get; } = new(
        "approvals", Run.Aggregate.Name, RowJson.Default.ApprovalRow, Evolve,
        Scope: row => row.SessionId.Value,
        Status: row => row.Status,
        Key: e => e.Event switch
        {
            ApprovalRequested r => r.ApprovalId.Value,
            ApprovalDecided d => d.ApprovalId.Value,
            _ => null,
        })
    {
        OwnerMember = "run_id",
        StreamKey = row => row.RunId.Value,
    };

    public static ApprovalRow? Evolve(ApprovalRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (ApprovalRequested r, _) => new(
            r.ApprovalId, r.SessionId, new(Run.Aggregate.KeyOf(e.Stream)), r.ToolCallId, r.ToolName, r.ToolInput, r.ArgsDigest, r.Reason, r.Rule,
            "pending", e.At, r.ExpiresAt, null, null, null),
        (ApprovalDecided d, { } pending) => pending with
        {
            Status = d.Outcome.ToString().ToLowerInvariant(),
            DecidedAt = e.At,
            DecidedBy = d.By,
            DecisionNote = d.Note,
            Issuers = d.Issuers,
        },
        (_, _) => row,
    };

    /// <summary>
    /// The arguments of a call as answers show them: an object, or the text that the model wrote when it is none. Arguments that are not in their event are
    /// <c>{sha256, bytes}</c>.
    /// </summary>
    public static JsonElement Shown(Content input) => input is Content.Inline { Text: var text }
        ? SessionFeed.Arguments(text)
        : JsonSerializer.SerializeToElement(input, RowJson.Default.Content);
}
