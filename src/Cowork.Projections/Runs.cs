using System.Collections.Immutable;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>What a run goes back to.</summary>
/// <param name="Kind"><c>fork</c>: its session forked from another one; <c>counterfactual</c>: it does otherwise what another run did.</param>
/// <param name="RunId">The run that the session forked from; null: it forked from a session.</param>
/// <param name="StreamId">Of the last event of the common past.</param>
/// <param name="Hash">Of that event: it covers its stream up to there.</param>
/// <param name="FromEvent">Of a counterfactual, the event from which on it goes otherwise: its id in that session's feed.</param>
/// <param name="Changed">Of a counterfactual, what is otherwise: <c>message</c>, <c>model</c>, <c>policy</c>, <c>skills</c>.</param>
/// <param name="Allow">Of a counterfactual, the tools whose calls are made; left out: none.</param>
public sealed record RunLineage(
    string Kind, SessionKey SessionId, RunKey? RunId, string StreamId, long Version, string Hash,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? FromEvent = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ImmutableList<string>? Changed = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ImmutableList<string>? Allow = null)
{
    public static RunLineage? Of(RunCreated created) => created.Fork is not { } fork ? null
        : created.Counterfactual is { } other
            ? new("counterfactual", fork.SessionId, fork.RunId, fork.Event.StreamId, fork.Event.Version, fork.Hash, other.FromEvent, other.Changed, other.Allow)
        : new("fork", fork.SessionId, fork.RunId, fork.Event.StreamId, fork.Event.Version, fork.Hash);
}

/// <summary>A run as <c>GET /runs/{id}</c> and <c>GET /sessions/{id}/runs</c> show it.</summary>
/// <param name="Status"><c>queued</c>, <c>running</c>, <c>approval_required</c>, <c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
/// <param name="Reply">The model's latest text.</param>
/// <param name="RequestedBy">Actor who sent the turn.</param>
/// <param name="CancelRequested">A cancel was requested; the run may not have stopped yet.</param>
/// <param name="Source">The skill that rendered the message; null: a person wrote it.</param>
/// <param name="OutputTokens">Those of the total that the models wrote.</param>
/// <param name="Issuers">The persons behind the token that the turn was sent with; null: nobody else.</param>
/// <param name="StopReason">Why the reply ends early: <c>length</c>, <c>content_filter</c>, or the provider's own word. Null: the model ended it.</param>
/// <param name="Skills">The active skills; null: none.</param>
/// <param name="ContextFiles">Paths of the files that the turn named as context; null: none.</param>
/// <param name="UpdatedAt">Time of the run's last event that is no piece of text; null: the row is of an earlier form.</param>
/// <param name="HasActed">The model has said something, or something that it asked for was judged.</param>
/// <param name="HasText">The model has said something that may become the reply. The run's state has it until it is one.</param>
/// <param name="Steps">Recorded steps: the retrieval of memories, answers of the model, results of calls.</param>
/// <param name="HasUnpricedTokens">Some of the tokens have no known price, so that the cost does not tell of them. Null: none.</param>
/// <param name="Lineage">Where its session forked from; null: it did not.</param>
public sealed record RunRow(
    RunKey RunId,
    SessionKey SessionId,
    string Status,
    Content Message,
    string Model,
    Content? Reply,
    RunError? Error,
    ImmutableList<ApprovalKey> PendingApprovalIds,
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
    RunSource? Source = null,
    long OutputTokens = 0,
    string? StopReason = null,
    ImmutableList<Issuer>? Issuers = null,
    ImmutableList<RunSkill>? Skills = null,
    ImmutableList<string>? ContextFiles = null,
    DateTimeOffset? UpdatedAt = null,
    bool HasActed = false,
    bool HasText = false,
    int Steps = 0,
    bool? HasUnpricedTokens = null,
    RunLineage? Lineage = null)
{
    /// <summary>Those of the total that the models read, cached ones included.</summary>
    [JsonIgnore]
    public long InputTokens => TotalTokens - OutputTokens;

    /// <summary>What the models cost, in US dollars.</summary>
    [JsonIgnore]
    public decimal CostUsd => Money.Usd(CostMicroUsd);

    /// <summary>The status is final.</summary>
    [JsonIgnore]
    public bool HasEnded => Status is "completed" or "failed" or "cancelled";
}

/// <summary>A skill that was active in a run, with its name and version at that time.</summary>
public sealed record RunSkill(SkillKey Id, string Name, int Version);

/// <summary>The read model of runs: <c>GET /runs/{id}</c>, <c>GET /sessions/{id}/runs</c>.</summary>
public static class Runs
{
    /// <summary>Index status of a live run with a cancel request, by which the driver on another node finds it. Answers show <c>running</c>.</summary>
    public const string Cancelling = "cancelling";

    /// <summary>Counted, so that no tenant has too many.</summary>
    public const string Queued = "queued";

    /// <summary>The statuses of runs that have not ended.</summary>
    public static IReadOnlyList<string> Live { get; } = [Queued, Running, ApprovalRequired, Cancelling];

    public const string Running = "running";
    public const string ApprovalRequired = "approval_required";
    public const string Completed = "completed";
    public const string Failed = "failed";
    public const string Cancelled = "cancelled";

    /// <summary>The index statuses that have a list: all but that of nearly all runs, which are found in the list of the tenant's.</summary>
    public static IReadOnlyList<string> Listed { get; } = [.. Live, Failed, Cancelled];

    public static ReadModel<RunRow> Model { get; } = new(
        "runs", Run.Aggregate.Name, RowJson.Default.RunRow, Evolve,
        Scope: row => row.SessionId.Value,
        Status: row => row is { CancelRequested: true, HasEnded: false } ? Cancelling : row.Status)
    {
        Lists = RowLists.OfTenant | RowLists.ByScope | RowLists.ByStatus,
        ListedStatuses = Listed,
        OwnerMember = "requested_by",
        Form = 3,
    };

    /// <summary>Who asked for a run: of one that an agent addressed, the member whose message began it. Whoever asked for it may be kept from approving what it does.</summary>
    static string RequesterOf(RunCreated created, string actor) => created.Agent is { CalledBy: not null } agent ? $"user:{agent.Sender}" : actor;

    public static RunRow? Evolve(RunRow? row, RecordedEvent e) =>
        Fold(row, e) is { } after ? e.Event is OutputDelta or ThinkingDelta ? after : after with { UpdatedAt = e.At } : null;

    static RunRow? Fold(RunRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (RunCreated c, _) => new(
            c.RunId, c.SessionId, "queued", c.Message, c.Model, null, null, [], 0, 0, 0, 0, false, c.IdempotencyKey, RequesterOf(c, e.Actor), e.At, null, null,
            c.Source,
            Issuers: c.Issuers, Skills: c.Skills is null ? null : [.. c.Skills.Select(skill => new RunSkill(skill.Id, skill.Name, skill.Version))],
            ContextFiles: c.ContextFiles is null ? null : [.. c.ContextFiles.Select(file => file.Path)],
            Lineage: RunLineage.Of(c)),
        (_, null) => null,
        (RunStarted, { } r) => r with { Status = "running", StartedAt = e.At, Attempt = 1 },
        (RunResumed s, { } r) => r with { Attempt = s.Attempt, HasText = r.HasText && s.Attempt == r.Attempt },
        (OutputDelta, { HasActed: true, HasText: true } r) => r,
        (OutputDelta, { } r) => r with { HasActed = true, HasText = true },
        (PolicyDecision, { } r) => r with { HasActed = true },
        (MemoryRetrieval, { } r) => r with { Steps = r.Steps + 1 },
        (ToolResult t, { } r) => r with { Steps = t.Step },
        // Another run has paid for a recorded answer.
        (LlmResponse { Source: not null } l, { } r) => r with
        {
            ToolCalls = r.ToolCalls + l.ToolCalls,
            Steps = l.Step,
            HasText = r.HasText && l is { ToolCalls: 0, Continues: null },
        },
        (LlmResponse l, { } r) => r with
        {
            TotalTokens = r.TotalTokens + l.InputTokens + l.OutputTokens,
            OutputTokens = r.OutputTokens + l.OutputTokens,
            ToolCalls = r.ToolCalls + l.ToolCalls,
            CostMicroUsd = r.CostMicroUsd + (l.CostMicroUsd ?? 0),
            Steps = l.Step,
            HasText = r.HasText && l is { ToolCalls: 0, Continues: null },
            HasUnpricedTokens = l.CostMicroUsd is null ? true : r.HasUnpricedTokens,
        },
        (ModelRetried m, { } r) => (m.Usage is { } used ? WithUsage(r, used) : r) with { HasText = false },
        (ApprovalRequested a, { } r) => r with { Status = "approval_required", PendingApprovalIds = [a.ApprovalId] },
        (ApprovalDecided, { } r) => r with { Status = "running", PendingApprovalIds = [] },
        (AssistantReply a, { } r) => r with { Reply = a.Content, HasActed = true },
        (RunCancelRequested, { } r) => r with { CancelRequested = true },
        (RunCompleted c, { } r) => r with { Status = "completed", CompletedAt = e.At, StopReason = c.StopReason },
        (RunFailed f, { } r) => (f.Usage is { } used ? WithUsage(r, used) : r) with { Status = "failed", Error = f.Error, CompletedAt = e.At },
        (RunCancelled, { } r) => r with { Status = "cancelled", CompletedAt = e.At },
        (_, { } r) => r,
    };

    static RunRow WithUsage(RunRow row, ModelUsage used) => row with
    {
        TotalTokens = row.TotalTokens + used.InputTokens + used.OutputTokens,
        OutputTokens = row.OutputTokens + used.OutputTokens,
        CostMicroUsd = row.CostMicroUsd + (used.CostMicroUsd ?? 0),
        HasUnpricedTokens = used.CostMicroUsd is null ? true : row.HasUnpricedTokens,
    };
}
