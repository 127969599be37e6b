using System.Collections.Frozen;

namespace Cowork.Domain;

/// <summary>
/// The permanent stored names of events: renaming a class must not rename history. The name without its version is the event's type in the feeds. A new
/// version is a new line and never changes an old one: the record of the old shape keeps its line, with the function that upcasts it. Code that looks for an
/// event compares its type (<see cref="Is{TEvent}"/>), which matches every version.
/// </summary>
public static class EventTypes
{
    public static FrozenDictionary<string, EventType> ByName { get; } = new[]
    {
        Of<SessionEvent.SessionCreated>("session_created.v1"),
        Of<SessionEvent.SessionChanged>("session_changed.v1"),
        Of<SessionEvent.SessionDeleted>("session_deleted.v1"),
        Of<SessionEvent.SessionHeld>("session_held.v1"),
        Of<SessionEvent.SessionReleased>("session_released.v1"),
        Of<SessionEvent.SessionExpired>("session_expired.v1"),
        Of<SessionEvent.SessionRemoved>("session_removed.v1"),
        Of<SessionEvent.RunQueued>("run_queued.v1"),
        Of<SessionEvent.RunDequeued>("run_dequeued.v1"),
        Of<RunEvent.RunCreated>("run_created.v1"),
        Of<RunEvent.RunStarted>("run_started.v1"),
        Of<RunEvent.RunResumed>("run_resumed.v1"),
        Of<RunEvent.MemoryRetrieval>("memory_retrieval.v1"),
        Of<RunEvent.ToolsOffered>("tools_offered.v1"),
        Of<RunEvent.OutputDelta>("output_delta.v1"),
        Of<RunEvent.ThinkingDelta>("thinking_delta.v1"),
        Of<RunEvent.ModelRetried>("model_retried.v1"),
        Of<RunEvent.LlmResponse>("llm_response.v1"),
        Of<RunEvent.ToolCall>("tool_call.v1"),
        Of<RunEvent.PolicyDecision>("policy_decision.v1"),
        Of<RunEvent.ApprovalRequested>("approval_requested.v1"),
        Of<RunEvent.ApprovalDecided>("approval_decided.v1"),
        Of<RunEvent.ApprovalServed>("approval_served.v1"),
        Of<RunEvent.ToolResult>("tool_result.v1"),
        Of<RunEvent.AssistantReply>("assistant_reply.v1"),
        Of<RunEvent.FeedbackReceived>("feedback_received.v1"),
        Of<RunEvent.RunCancelRequested>("run_cancel_requested.v1"),
        Of<RunEvent.RunCompleted>("run_completed.v1"),
        Of<RunEvent.RunFailed>("run_failed.v1"),
        Of<RunEvent.RunCancelled>("run_cancelled.v1"),
        Of<ProjectEvent.ProjectCreated>("project_created.v1"),
        Of<ProjectEvent.ProjectChanged>("project_changed.v1"),
        Of<ProjectEvent.ProjectDeleted>("project_deleted.v1"),
        Of<GroupEvent.GroupCreated>("group_created.v1"),
        Of<GroupEvent.GroupMemberAdded>("group_member_added.v1"),
        Of<GroupEvent.GroupMemberRemoved>("group_member_removed.v1"),
        Of<GroupEvent.GroupMessageStored>("group_message_stored.v1"),
        Of<GroupEvent.GroupArchiveRequested>("group_archive_requested.v1"),
        Of<GroupEvent.GroupArchived>("group_archived.v1"),
        Of<GroupEvent.GroupAgentAnswered>("group_agent_answered.v1"),
        Of<GroupEvent.GroupCallsStopped>("group_calls_stopped.v1"),
        Of<ActiveGroupsEvent.ActiveGroupOpened>("active_group_opened.v1"),
        Of<ActiveGroupsEvent.ActiveGroupClosed>("active_group_closed.v1"),
        Of<WorkEvent.WorkCreated>("work_created.v1"),
        Of<WorkEvent.WorkChanged>("work_changed.v1"),
        Of<WorkEvent.WorkDeleted>("work_deleted.v1"),
        Of<ConnectionEvent.ConnectionCreated>("connection_created.v1"),
        Of<ConnectionEvent.ConnectionRenamed>("connection_renamed.v1"),
        Of<ConnectionEvent.ConnectionSecretReplaced>("connection_secret_replaced.v1"),
        Of<ConnectionEvent.ConnectionProbed>("connection_probed.v1"),
        Of<ConnectionEvent.ConnectionReencrypted>("connection_reencrypted.v1"),
        Of<ConnectionEvent.ConnectionDeleted>("connection_deleted.v1"),
        Of<AuthorizationRequestEvent.AuthorizationRequested>("authorization_requested.v1"),
        Of<AuthorizationRequestEvent.AuthorizationAnswered>("authorization_answered.v1"),
        Of<ConnectionRefreshEvent.ConnectionRefreshStarted>("connection_refresh_started.v1"),
        Of<ConnectionRefreshEvent.ConnectionRefreshFailed>("connection_refresh_failed.v1"),
        Of<DataKeysEvent.DataKeyMade>("data_key_made.v1"),
        Of<DataKeysEvent.DataKeyRewrapped>("data_key_rewrapped.v1"),
        Of<DataSubjectEvent.SubjectKeyMade>("subject_key_made.v1"),
        Of<DataSubjectEvent.SubjectHeld>("subject_held.v1"),
        Of<DataSubjectEvent.SubjectReleased>("subject_released.v1"),
        Of<DataSubjectEvent.SubjectErased>("subject_erased.v1"),
        Of<DataSubjectEvent.SubjectErasureCompleted>("subject_erasure_completed.v1"),
        Of<MasterKeysEvent.MasterKeyAdopted>("master_key_adopted.v1"),
        Of<MasterKeysEvent.KeyTenantRegistered>("key_tenant_registered.v1"),
        Of<GroupSessionEvent.GroupSessionOpened>("group_session_opened.v1"),
        Of<GroupSessionEvent.GroupCleanedUp>("group_cleaned_up.v1"),
        Of<AppKeyEvent.AppKeyRegistered>("app_key_registered.v1"),
        Of<AppKeyEvent.AppKeyRevoked>("app_key_revoked.v1"),
        Of<OneUseEvent.TokenUsed>("token_used.v1"),
        Of<SigningKeysEvent.SigningKeyMade>("signing_key_made.v1"),
        Of<SigningKeysEvent.SigningKeyRewrapped>("signing_key_rewrapped.v1"),
        Of<UploadedFileEvent.FileUploaded>("file_uploaded.v1"),
        Of<UploadedFileEvent.FileTextExtracted>("file_text_extracted.v1"),
        Of<UploadedFileEvent.FileExtractionFailed>("file_extraction_failed.v1"),
        Of<UploadedFileEvent.FileDeleted>("file_deleted.v1"),
        Of<ArtifactEvent.ArtifactDiscovered>("artifact_discovered.v1"),
        Of<ScratchpadEvent.ScratchpadCreated>("scratchpad_created.v1"),
        Of<ScratchpadEvent.ScratchpadRenamed>("scratchpad_renamed.v1"),
        Of<ScratchpadEvent.ScratchpadSaved>("scratchpad_saved.v1"),
        Of<ScratchpadEvent.ScratchpadDeleted>("scratchpad_deleted.v1"),
        Of<ScratchpadEvent.CellAppended>("cell_appended.v1"),
        Of<ScratchpadEvent.CellEdited>("cell_edited.v1"),
        Of<ScratchpadEvent.CellMoved>("cell_moved.v1"),
        Of<ScratchpadEvent.CellDeleted>("cell_deleted.v1"),
        Of<ScratchpadEvent.CellQueued>("cell_queued.v1"),
        Of<ScratchpadEvent.CellStarted>("cell_started.v1"),
        Of<ScratchpadEvent.CellOutput>("cell_output.v1"),
        Of<ScratchpadEvent.CellDisplaysUpdated>("cell_displays_updated.v1"),
        Of<ScratchpadEvent.CellCompleted>("cell_completed.v1"),
        Of<ScratchpadEvent.CellInterruptRequested>("cell_interrupt_requested.v1"),
        Of<ScratchpadEvent.KernelStarted>("kernel_started.v1"),
        Of<ScratchpadEvent.KernelRestartRequested>("kernel_restart_requested.v1"),
        Of<ScratchpadEvent.KernelRestarted>("kernel_restarted.v1"),
        Of<ScratchpadEvent.KernelLost>("kernel_lost.v1"),
        Of<ScratchpadEvent.KernelStopped>("kernel_stopped.v1"),
        Of<MemoryEvent.MemoryWritten>("memory_written.v1"),
        Of<MemoryEvent.MemoryCreated>("memory_created.v1"),
        Of<MemoryEvent.MemoryChanged>("memory_changed.v1"),
        Of<MemoryEvent.MemoryDeleted>("memory_deleted.v1"),
        Of<SkillEvent.SkillCreated>("skill_created.v1"),
        Of<SkillEvent.SkillVersionAdded>("skill_version_added.v1"),
        Of<SkillEvent.SkillDeleted>("skill_deleted.v1"),
        Of<UniqueNameEvent.NameClaimed>("name_claimed.v1"),
        Of<UniqueNameEvent.NameReleased>("name_released.v1"),
        Of<ScheduleEvent.ScheduleCreated>("schedule_created.v1"),
        Of<ScheduleEvent.ScheduleChanged>("schedule_changed.v1"),
        Of<ScheduleEvent.SchedulePaused>("schedule_paused.v1"),
        Of<ScheduleEvent.ScheduleResumed>("schedule_resumed.v1"),
        Of<ScheduleEvent.ScheduleTriggered>("schedule_triggered.v1"),
        Of<ScheduleEvent.ScheduleSkipped>("schedule_skipped.v1"),
        Of<ScheduleEvent.ScheduleReplanned>("schedule_replanned.v1"),
        Of<ScheduleEvent.ScheduleDeleted>("schedule_deleted.v1"),
        Of<IdempotencyKeyClaimedV1, IdempotencyKeyEvent.IdempotencyKeyClaimed>("idempotency_key_claimed.v1", e => e.Upcast()),
        Of<IdempotencyKeyEvent.IdempotencyKeyClaimed>("idempotency_key_claimed.v2"),
        Of<BudgetEvent.BudgetLimitsSet>("budget_limits_set.v1"),
        Of<BudgetEvent.BudgetReserved>("budget_reserved.v1"),
        Of<BudgetEvent.BudgetSettled>("budget_settled.v1"),
        Of<BudgetEvent.BudgetSoftLimitReached>("budget_soft_limit_reached.v1"),
        Of<ApiTokenEvent.TokenIssued>("token_issued.v1"),
        Of<ApiTokenEvent.TokenRotated>("token_rotated.v1"),
        Of<ApiTokenEvent.TokenRolesChanged>("token_roles_changed.v1"),
        Of<ApiTokenEvent.TokenRevoked>("token_revoked.v1"),
        Of<OperatorsEvent.OperatorAdded>("operator_added.v1"),
        Of<OperatorsEvent.OperatorRemoved>("operator_removed.v1"),
        Of<AuditHeadsEvent.HeadSigned>("head_signed.v1"),
        Of<SecurityEvent.AccessGranted>("access_granted.v1"),
        Of<SecurityEvent.AccessRefused>("access_refused.v1"),
        Of<SecurityEvent.AccessDenied>("access_denied.v1"),
        Of<SecurityEvent.DataExported>("data_exported.v1"),
        Of<SecurityEvent.SecurityExpired>("security_expired.v1"),
        Of<SecurityEvent.SecurityRemoved>("security_removed.v1"),
        Of<HostEvent.HostStarted>("host_started.v1"),
        Of<HostEvent.HostStopped>("host_stopped.v1"),
        Of<HostEvent.HostsExpired>("hosts_expired.v1"),
        Of<HostEvent.HostsRemoved>("hosts_removed.v1"),
        Of<RetentionEvent.RetentionSet>("retention_set.v1"),
    }.ToFrozenDictionary(type => type.Name, StringComparer.Ordinal);

    static readonly FrozenDictionary<Type, string> Newest = ByName.Values.Where(type => type.Upcast is null).ToFrozenDictionary(type => type.Type, type => type.Name);

    /// <summary>The name under which a new event is stored.</summary>
    public static string NameOf(Event e) => Newest[e.GetType()];

    /// <summary>All stored names of events that are read as this type.</summary>
    public static IEnumerable<string> NamesOf(Type type) => ByName.Values.Where(known => known.Type == type).Select(known => known.Name);

    /// <summary>The type of a stored event after upcasting; null: this version does not know the name.</summary>
    public static Type? TypeOf(string storedName) => ByName.GetValueOrDefault(storedName)?.Type;

    /// <summary>The stored event, of any version, is read as this type.</summary>
    public static bool Is<TEvent>(string storedName)
        where TEvent : Event => TypeOf(storedName) == typeof(TEvent);

    /// <summary>The type that feeds show: the stored name without its version.</summary>
    public static string FeedType(string storedName) => ByName.GetValueOrDefault(storedName)?.FeedType ?? EventType.WithoutVersion(storedName);

    static EventType Of<TEvent>(string name)
        where TEvent : Event => new(name, typeof(TEvent), typeof(TEvent));

    static EventType Of<TShape, TEvent>(string name, Func<TShape, TEvent> upcast)
        where TShape : Event
        where TEvent : Event => new(name, typeof(TShape), typeof(TEvent), e => upcast((TShape)e));
}

/// <summary>A stored name with its types.</summary>
/// <param name="Name">Snake case with a version: <c>run_created.v1</c>.</param>
/// <param name="Shape">The record whose JSON is stored under the name.</param>
/// <param name="Type">The event's type after upcasting: the shape itself, or its successor.</param>
/// <param name="Upcast">Converts the shape to the type; null: they are the same.</param>
public sealed record EventType(string Name, Type Shape, Type Type, Func<Event, Event>? Upcast = null)
{
    /// <summary>The name without its version.</summary>
    public string FeedType { get; } = WithoutVersion(Name);

    internal static string WithoutVersion(string storedName) => storedName[..storedName.LastIndexOf('.')];
}
