using System.Collections.Immutable;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// A run's summary in a bundle: money in US dollars, absent values as null, texts as they are stored (the text, or its <c>sha256</c> and <c>bytes</c>).
/// </summary>
/// <remarks>The fields of contracts/decisions.md ("Runs") and, after <c>lineage</c>, those of the original service (docs/compatibility.md).</remarks>
/// <param name="WorkerMode">Always <c>queue</c>.</param>
/// <param name="Skills">The active skills; left out when there was none.</param>
public sealed record RunSummary(
    RunKey RunId, SessionKey SessionId, string Status, Content? Reply, RunError? Error, ImmutableList<ApprovalKey> PendingApprovalIds, long TotalTokens, int ToolCalls,
    decimal CostUsd, DateTimeOffset CreatedAt, Content Message, string Model, SkillKey? SkillId, int? SkillVersion, ScheduleKey? ScheduleId, DateTimeOffset? StartedAt,
    DateTimeOffset? CompletedAt, int Attempt, RunLineage? Lineage, RunKey Id, Content Prompt, Content? Response, long InputTokens, long OutputTokens, bool CancelRequested,
    string WorkerMode, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ImmutableList<RunSkill>? Skills = null)
{
    /// <summary>A run is taken from the durable queue of its session, by whatever host; in the original service's other mode, <c>local</c>, the request carried it.</summary>
    public const string WorkerModeOfAll = "queue";

    /// <summary>Names of the members that bundles have since <c>cowork-trace/3</c>.</summary>
    public static readonly IReadOnlyList<string> SinceThirdFormat = ["id", "prompt", "response", "input_tokens", "output_tokens", "cancel_requested", "worker_mode"];

    public static RunSummary Of(RunRow run) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, run.Error, run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd, run.CreatedAt, run.Message,
        run.Model, run.Source?.SkillId, run.Source?.SkillVersion, run.Source?.ScheduleId, run.StartedAt, run.CompletedAt, run.Attempt, run.Lineage,
        run.RunId, run.Message, run.Reply, run.InputTokens, run.OutputTokens, run.CancelRequested, WorkerModeOfAll, run.Skills);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(ContentConverter), typeof(TimestampConverter)])]
[JsonSerializable(typeof(RunSummary))]
[JsonSerializable(typeof(IReadOnlyList<string>))]
sealed partial class BundleJson : JsonSerializerContext;
