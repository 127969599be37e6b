using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Endpoints.Operations;
using Cowork.Web.Endpoints.Platform;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(TimeConverter)])]
[JsonSerializable(typeof(NoBody))]
[JsonSerializable(typeof(NewSession))]
[JsonSerializable(typeof(SessionAnswer))]
[JsonSerializable(typeof(SessionDetails))]
[JsonSerializable(typeof(SessionList))]
[JsonSerializable(typeof(NewTurn))]
[JsonSerializable(typeof(TurnAnswer))]
[JsonSerializable(typeof(RunDetails))]
[JsonSerializable(typeof(RunList))]
[JsonSerializable(typeof(CancelAnswer))]
[JsonSerializable(typeof(ArtifactList))]
[JsonSerializable(typeof(ArtifactSummary))]
[JsonSerializable(typeof(ArtifactVersionList))]
[JsonSerializable(typeof(NewDecision))]
[JsonSerializable(typeof(ApprovalDetails))]
[JsonSerializable(typeof(ApprovalList))]
[JsonSerializable(typeof(NewSkill))]
[JsonSerializable(typeof(NewSkillVersion))]
[JsonSerializable(typeof(NewSkillRun))]
[JsonSerializable(typeof(NewScheduledRun))]
[JsonSerializable(typeof(NewTrigger))]
[JsonSerializable(typeof(ScheduledRunDetails))]
[JsonSerializable(typeof(ScheduledRunList))]
[JsonSerializable(typeof(ScheduledRunLedger))]
[JsonSerializable(typeof(TriggerAnswer))]
[JsonSerializable(typeof(SchedulePreview))]
[JsonSerializable(typeof(SkillDetails))]
[JsonSerializable(typeof(SkillList))]
[JsonSerializable(typeof(SkillVersionDetails))]
[JsonSerializable(typeof(SkillVersionList))]
[JsonSerializable(typeof(SkillRunAnswer))]
[JsonSerializable(typeof(MemoryDetails))]
[JsonSerializable(typeof(MemoryList))]
[JsonSerializable(typeof(FeedEvent))]
[JsonSerializable(typeof(EventList))]
[JsonSerializable(typeof(TenantEventList))]
[JsonSerializable(typeof(NewToken))]
[JsonSerializable(typeof(IssuedToken))]
[JsonSerializable(typeof(TokenShape))]
[JsonSerializable(typeof(TokenList))]
[JsonSerializable(typeof(ToolList))]
[JsonSerializable(typeof(MetricsAnswer))]
[JsonSerializable(typeof(ProjectionList))]
[JsonSerializable(typeof(Liveness))]
[JsonSerializable(typeof(Readiness))]
[JsonSerializable(typeof(ProblemShape))]
public sealed partial class WebJson : JsonSerializerContext;

/// <summary>Answers are read by people too: only what JSON must have escaped is.</summary>
static class Answers
{
    public static JsonWriterOptions Writing { get; } = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static WebJson Json { get; } = new(new JsonSerializerOptions(WebJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}

/// <summary>ISO-8601, UTC, milliseconds, <c>Z</c>.</summary>
public sealed class TimeConverter : JsonConverter<DateTimeOffset>
{
    public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetDateTimeOffset();

    public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) => writer.WriteStringValue(HashChain.Timestamp(value));
}
