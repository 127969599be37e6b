using System.Collections.Frozen;

namespace Cowork.Domain;

/// <summary>
/// The names under which events are stored, for ever: renaming a class must not rename history. The name without its version is the
/// event's type in the feeds. A later version is a new line here and never changes an old one.
/// </summary>
public static class EventTypes
{
    public static FrozenDictionary<string, Type> ByName { get; } = new Dictionary<string, Type>
    {
        ["session_created.v1"] = typeof(SessionEvent.SessionCreated),
        ["session_deleted.v1"] = typeof(SessionEvent.SessionDeleted),
        ["run_queued.v1"] = typeof(SessionEvent.RunQueued),
        ["run_dequeued.v1"] = typeof(SessionEvent.RunDequeued),
        ["run_created.v1"] = typeof(RunEvent.RunCreated),
        ["run_started.v1"] = typeof(RunEvent.RunStarted),
        ["run_resumed.v1"] = typeof(RunEvent.RunResumed),
        ["memory_retrieval.v1"] = typeof(RunEvent.MemoryRetrieval),
        ["output_delta.v1"] = typeof(RunEvent.OutputDelta),
        ["model_retried.v1"] = typeof(RunEvent.ModelRetried),
        ["llm_response.v1"] = typeof(RunEvent.LlmResponse),
        ["tool_call.v1"] = typeof(RunEvent.ToolCall),
        ["policy_decision.v1"] = typeof(RunEvent.PolicyDecision),
        ["approval_requested.v1"] = typeof(RunEvent.ApprovalRequested),
        ["approval_decided.v1"] = typeof(RunEvent.ApprovalDecided),
        ["tool_result.v1"] = typeof(RunEvent.ToolResult),
        ["assistant_reply.v1"] = typeof(RunEvent.AssistantReply),
        ["run_cancel_requested.v1"] = typeof(RunEvent.RunCancelRequested),
        ["run_completed.v1"] = typeof(RunEvent.RunCompleted),
        ["run_failed.v1"] = typeof(RunEvent.RunFailed),
        ["run_cancelled.v1"] = typeof(RunEvent.RunCancelled),
        ["artifact_discovered.v1"] = typeof(ArtifactEvent.ArtifactDiscovered),
        ["memory_written.v1"] = typeof(MemoryEvent.MemoryWritten),
        ["skill_created.v1"] = typeof(SkillEvent.SkillCreated),
        ["skill_version_added.v1"] = typeof(SkillEvent.SkillVersionAdded),
        ["skill_deleted.v1"] = typeof(SkillEvent.SkillDeleted),
        ["name_claimed.v1"] = typeof(UniqueNameEvent.NameClaimed),
        ["name_released.v1"] = typeof(UniqueNameEvent.NameReleased),
        ["schedule_created.v1"] = typeof(ScheduleEvent.ScheduleCreated),
        ["schedule_paused.v1"] = typeof(ScheduleEvent.SchedulePaused),
        ["schedule_resumed.v1"] = typeof(ScheduleEvent.ScheduleResumed),
        ["schedule_triggered.v1"] = typeof(ScheduleEvent.ScheduleTriggered),
        ["schedule_skipped.v1"] = typeof(ScheduleEvent.ScheduleSkipped),
        ["schedule_replanned.v1"] = typeof(ScheduleEvent.ScheduleReplanned),
        ["schedule_deleted.v1"] = typeof(ScheduleEvent.ScheduleDeleted),
        ["idempotency_key_claimed.v1"] = typeof(IdempotencyKeyEvent.IdempotencyKeyClaimed),
        ["token_issued.v1"] = typeof(ApiTokenEvent.TokenIssued),
        ["token_revoked.v1"] = typeof(ApiTokenEvent.TokenRevoked),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    public static FrozenDictionary<Type, string> ByType { get; } = ByName.ToFrozenDictionary(pair => pair.Value, pair => pair.Key);

    /// <summary>The type that feeds show: the stored name without its version.</summary>
    public static string FeedType(string storedName) => storedName[..storedName.LastIndexOf('.')];
}
