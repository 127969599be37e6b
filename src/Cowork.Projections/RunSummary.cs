using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// A run's summary in a bundle: the fields of contracts/decisions.md ("Runs"), money in US dollars, absent values as null, texts as they are stored.
/// </summary>
public sealed record RunSummary(
    RunKey RunId, SessionKey SessionId, string Status, Content? Reply, RunError? Error, ImmutableList<ApprovalKey> PendingApprovalIds, long TotalTokens, int ToolCalls,
    decimal CostUsd, DateTimeOffset CreatedAt, Content Message, string Model, SkillKey? SkillId, int? SkillVersion, ScheduleKey? ScheduleId, DateTimeOffset? StartedAt,
    DateTimeOffset? CompletedAt, int Attempt, JsonElement? Lineage)
{
    public static RunSummary Of(RunRow run) => new(
        run.RunId, run.SessionId, run.Status, run.Reply, run.Error, run.PendingApprovalIds, run.TotalTokens, run.ToolCalls, run.CostUsd, run.CreatedAt, run.Message,
        run.Model, run.Source?.SkillId, run.Source?.SkillVersion, run.Source?.ScheduleId, run.StartedAt, run.CompletedAt, run.Attempt, Lineage: null);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(ContentConverter), typeof(TimestampConverter)])]
[JsonSerializable(typeof(RunSummary))]
sealed partial class BundleJson : JsonSerializerContext;
