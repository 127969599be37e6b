using System.Collections.Immutable;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>A run as <c>GET /runs/{id}</c> and <c>GET /sessions/{id}/runs</c> show it.</summary>
/// <param name="Status"><c>queued</c>, <c>running</c>, <c>approval_required</c>, <c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
/// <param name="Reply">The model's text so far, or its last.</param>
/// <param name="RequestedBy">Who sent the turn.</param>
/// <param name="CancelRequested">Asked for, not yet done.</param>
/// <param name="Source">What the message was made from; null: somebody's own words.</param>
public sealed record RunRow(
    string RunId,
    string SessionId,
    string Status,
    Content Message,
    string Model,
    Content? Reply,
    RunError? Error,
    ImmutableList<string> PendingApprovalIds,
    long TotalTokens,
    int ToolCalls,
    long CostMicroUsd,
    int Attempt,
    bool CancelRequested,
    string? IdempotencyKey,
    string RequestedBy,
    DateTimeOffset CreatedAt,
    DateTimeOffset? StartedAt,
    DateTimeOffset? CompletedAt,
    RunSource? Source = null)
{
    /// <summary>Nothing more will happen to the run.</summary>
    [JsonIgnore]
    public bool HasEnded => Status is "completed" or "failed" or "cancelled";
}

/// <summary>The runs' read model: <c>GET /runs/{id}</c>, <c>GET /sessions/{id}/runs</c>.</summary>
public static class Runs
{
    /// <summary>What a driver on another node looks for: a run that is to be stopped. Shown as <c>running</c>.</summary>
    public const string Cancelling = "cancelling";

    public static ReadModel<RunRow> Model { get; } = new(
        "runs", Run.Aggregate.Name, RowJson.Default.RunRow, Evolve,
        Scope: row => Ids.SessionKey(row.SessionId),
        Status: row => row is { CancelRequested: true, HasEnded: false } ? Cancelling : row.Status);

    public static RunRow? Evolve(RunRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (RunCreated c, _) => new(
            c.RunId, c.SessionId, "queued", c.Message, c.Model, null, null, [], 0, 0, 0, 0, false, c.IdempotencyKey, e.Actor, e.At, null, null, c.Source),
        (_, null) => null,
        (RunStarted, { } r) => r with { Status = "running", StartedAt = e.At, Attempt = 1 },
        (RunResumed s, { } r) => r with { Attempt = s.Attempt },
        (LlmResponse l, { } r) => r with
        {
            TotalTokens = r.TotalTokens + l.InputTokens + l.OutputTokens,
            ToolCalls = r.ToolCalls + l.ToolCalls,
            CostMicroUsd = r.CostMicroUsd + (l.CostMicroUsd ?? 0),
        },
        (ApprovalRequested a, { } r) => r with { Status = "approval_required", PendingApprovalIds = [a.ApprovalId] },
        (ApprovalDecided, { } r) => r with { Status = "running", PendingApprovalIds = [] },
        (AssistantReply a, { } r) => r with { Reply = a.Content },
        (RunCancelRequested, { } r) => r with { CancelRequested = true },
        (RunCompleted, { } r) => r with { Status = "completed", CompletedAt = e.At },
        (RunFailed f, { } r) => r with { Status = "failed", Error = f.Error, CompletedAt = e.At },
        (RunCancelled, { } r) => r with { Status = "cancelled", CompletedAt = e.At },
        (_, { } r) => r,
    };
}
