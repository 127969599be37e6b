using System.Text.Json.Serialization;

using Cowork.Application.Storage;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>Contract A, the agent service (contracts/A-agent-service.md).</summary>
static class AgentServiceDialect
{
    public static Dialect Dialect { get; } = new("/", AgentServiceJson.Answers, ProblemDetails.Form, Map);

    static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapSessions();
        routes.MapTurns();
        routes.MapRuns();
        routes.MapTenantRuns();
        routes.MapRunSteps();
        routes.MapRunFeeds();
        routes.MapSeenStream();
        routes.MapMetricsSeries();
        routes.MapTenantBudget();
        routes.MapUpcomingSlots();
        routes.MapScheduleLedgers();
        routes.MapNotebooks();
        routes.MapSearch();
        routes.MapRunReplays();
        routes.MapForks();
        routes.MapCounterfactuals();
        routes.MapApprovals();
        routes.MapArtifacts();
        routes.MapSkills();
        routes.MapMemories();
        routes.MapScheduledRuns();
        routes.MapFeeds();
        routes.MapMetrics();
    }
}

/// <summary>Bodies and answers: snake_case, nulls shown, times in milliseconds with <c>Z</c>.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, Converters = [typeof(ContentConverter), typeof(TimestampConverter)])]
[JsonSerializable(typeof(NewSession))]
[JsonSerializable(typeof(SessionAnswer))]
[JsonSerializable(typeof(SessionDetails))]
[JsonSerializable(typeof(SessionList))]
[JsonSerializable(typeof(NewTurn))]
[JsonSerializable(typeof(TurnAnswer))]
[JsonSerializable(typeof(RunDetails))]
[JsonSerializable(typeof(RunList))]
[JsonSerializable(typeof(TenantRunList))]
[JsonSerializable(typeof(RunStepList))]
[JsonSerializable(typeof(RunEventList))]
[JsonSerializable(typeof(MetricsSeriesAnswer))]
[JsonSerializable(typeof(RunCounts))]
[JsonSerializable(typeof(TenantBudget))]
[JsonSerializable(typeof(UpcomingSlotList))]
[JsonSerializable(typeof(ScheduleLedger))]
[JsonSerializable(typeof(NotebookList))]
[JsonSerializable(typeof(NotebookExecutionList))]
[JsonSerializable(typeof(SearchAnswer))]
[JsonSerializable(typeof(CancelAnswer))]
[JsonSerializable(typeof(ArtifactList))]
[JsonSerializable(typeof(ArtifactSummary))]
[JsonSerializable(typeof(ArtifactSummaryList))]
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
[JsonSerializable(typeof(SkillDetails))]
[JsonSerializable(typeof(SkillList))]
[JsonSerializable(typeof(SkillVersionDetails))]
[JsonSerializable(typeof(SkillVersionList))]
[JsonSerializable(typeof(SkillRunAnswer))]
[JsonSerializable(typeof(MemoryDetails))]
[JsonSerializable(typeof(MemoryList))]
[JsonSerializable(typeof(TenantMemoryList))]
[JsonSerializable(typeof(FeedEvent))]
[JsonSerializable(typeof(EventList))]
[JsonSerializable(typeof(TenantEventList))]
[JsonSerializable(typeof(MetricsAnswer))]
[JsonSerializable(typeof(RunTrace))]
[JsonSerializable(typeof(NewFork))]
[JsonSerializable(typeof(ForkAnswer))]
[JsonSerializable(typeof(NewCounterfactual))]
[JsonSerializable(typeof(Cowork.Application.ReplayReport))]
[JsonSerializable(typeof(Cowork.Application.RunDifference))]
public sealed partial class AgentServiceJson : JsonSerializerContext
{
    /// <summary>The context for answers: with relaxed escaping.</summary>
    public static AgentServiceJson Answers => field ??= new(RelaxedJson.Of(Default.Options));
}
