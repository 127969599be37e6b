using System.Collections.Immutable;
using System.Text.Json.Serialization;

using static Cowork.Domain.RunCommand;
using static Cowork.Domain.RunEvent;

namespace Cowork.Domain;

/// <summary>
/// Commands to a run. A driver's commands carry the epoch of its claim: after another node has taken the run over, they are refused with <c>run_fenced</c>.
/// </summary>
public abstract record RunCommand(DateTimeOffset Now)
{
    /// <param name="Source">The skill that rendered the message; null: a person wrote it.</param>
    /// <param name="Goal">What the conversation is for when the turn is sent; null: it has no goal.</param>
    /// <param name="Skills">The skills that are active; null: none.</param>
    /// <param name="ContextFiles">The files that were read for the turn, in its order; null: none.</param>
    /// <param name="Folders">The folders that the session was granted; null: it has its one implicit grant.</param>
    /// <param name="Agent">The agent of a group that answers; null: the run is no group's.</param>
    /// <param name="Fork">Where its session forked from; null: it did not.</param>
    /// <param name="Counterfactual">What it does otherwise than another run; null: it is a run of its own.</param>
    public sealed record Create(
        RunKey RunId, SessionKey SessionId, Content Message, string Model, string? IdempotencyKey, DateTimeOffset Now, RunSource? Source = null,
        ImmutableList<Issuer>? Issuers = null, Content? Goal = null, ImmutableList<ActiveSkill>? Skills = null,
        ImmutableList<ContextText>? ContextFiles = null, ImmutableList<FolderGrant>? Folders = null, RunAgent? Agent = null,
        SessionFork? Fork = null, ImmutableList<TranscriptMessage>? Transcript = null, Counterfactual? Counterfactual = null, string? Subject = null) : RunCommand(Now);

    /// <summary>Starts the run, or takes it over from a lost driver.</summary>
    /// <param name="Settings">As in <see cref="RunStarted"/>; null: they are not recorded.</param>
    public sealed record Start(long Epoch, string Node, DateTimeOffset Now, string? Settings = null) : RunCommand(Now);

    /// <param name="Conversation">Of a group's run; null: it is no group's.</param>
    public sealed record RecordMemory(
        long Epoch, ImmutableList<RetrievedMemory> Items, ImmutableList<RunKey> History, DateTimeOffset Now, ImmutableList<GroupEntry>? Conversation = null)
        : RunCommand(Now);

    /// <summary>Records the tools of outside sources that the model is offered from the next request on.</summary>
    /// <param name="Tools">As in <see cref="ToolsOffered"/>.</param>
    public sealed record OfferTools(long Epoch, Content Tools, int Count, ImmutableList<UnofferedTool>? LeftOut, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordText(long Epoch, string Text, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordThinking(long Epoch, string Text, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>Records that the model gave no complete answer and will be asked again after a delay. The text of this round is void.</summary>
    /// <param name="Code">The error code that the run would fail with after the last attempt.</param>
    /// <param name="Usage">What the provider said that the attempt used; null: it said nothing.</param>
    /// <param name="RequestSha256">As in <see cref="LlmResponse"/>.</param>
    public sealed record RetryModel(
        long Epoch, string Code, string Message, TimeSpan Wait, DateTimeOffset Now, ModelUsage? Usage = null, string? RequestSha256 = null) : RunCommand(Now);

    /// <param name="Tail">The text since the last delta.</param>
    /// <param name="Reply">The complete text of an answer without tool calls; null: the answer calls tools.</param>
    /// <param name="ThinkingTail">The shown thinking since the last delta of it.</param>
    /// <param name="Served">Feedback that the recorded run had waiting when it recorded this answer, and this one has not; null: none.</param>
    public sealed record RecordAnswer(
        long Epoch, string Tail, Content? Reply, Answer Answer, DateTimeOffset Now, string ThinkingTail = "", ImmutableList<FeedbackReceived>? Served = null)
        : RunCommand(Now);

    /// <param name="Subject">What was judged; null: the call's name alone.</param>
    public sealed record RecordPolicy(
        long Epoch, string CallId, PolicyOutcome Outcome, string Rule, string Reason, DateTimeOffset Now, JudgedCall? Subject = null) : RunCommand(Now);

    /// <summary>Requests the approval that the policy demands and suspends the run until the decision.</summary>
    /// <param name="ArgsDigest">Hex SHA-256 of the call's input as the model wrote it.</param>
    /// <param name="Paths">The paths that the call would touch, resolved now; null: it has no paths.</param>
    /// <param name="Subject">What was judged.</param>
    public sealed record RequestApproval(
        long Epoch, string CallId, ApprovalKey ApprovalId, string Rule, string Reason, string ArgsDigest, DateTimeOffset ExpiresAt, DateTimeOffset Now,
        ImmutableList<string>? Paths = null, JudgedCall? Subject = null) : RunCommand(Now);

    /// <summary>Records a person's decision or the expiry of an approval. It needs no claim, because a suspended run has no driver.</summary>
    /// <param name="By">The principal who decides: <c>user:ann</c>, <c>system</c>.</param>
    /// <param name="Issuers">The persons behind the token of who decides; null: nobody else.</param>
    public sealed record DecideApproval(
        ApprovalKey ApprovalId, ApprovalOutcome Outcome, string By, string? Note, DateTimeOffset Now, ImmutableList<Issuer>? Issuers = null) : RunCommand(Now);

    /// <summary>Records that the policy demands approval, and serves a decision of the record in place of asking a person.</summary>
    /// <param name="Decision">The decision.</param>
    public sealed record ServeDecision(
        long Epoch, string CallId, string Rule, string Reason, string ArgsDigest, ServedDecision Decision, DateTimeOffset Now, JudgedCall? Subject = null)
        : RunCommand(Now);

    /// <param name="StartedAt">When the tool was called.</param>
    /// <param name="Source">As in <see cref="ToolResult"/>.</param>
    public sealed record RecordResult(
        long Epoch, string CallId, Content Result, bool IsError, DateTimeOffset Now, DateTimeOffset? StartedAt = null, string? Source = null) : RunCommand(Now);

    /// <summary>Ends the run with the model's reply.</summary>
    public sealed record Complete(long Epoch, DateTimeOffset Now) : RunCommand(Now);

    /// <param name="Usage">What the provider said that the last attempt at an answer used; null: nothing, or the run failed for another reason.</param>
    /// <param name="RequestSha256">As in <see cref="LlmResponse"/>, of that attempt.</param>
    public sealed record Fail(long Epoch, string Code, string Message, DateTimeOffset Now, ModelUsage? Usage = null, string? RequestSha256 = null) : RunCommand(Now);

    /// <summary>Ends the run after the driver has stopped its step because of a cancel request.</summary>
    public sealed record ConfirmCancel(long Epoch, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>Requests that the run is cancelled. A queued or suspended run is cancelled at once.</summary>
    public sealed record Cancel(DateTimeOffset Now) : RunCommand(Now);

    /// <summary>
    /// Says something to a run that has not ended. Every later request to the model shows it. It needs no claim, and it neither starts nor interrupts a step.
    /// </summary>
    /// <param name="Text">Not blank, at most <see cref="Limits.MessageBytesMax"/> bytes.</param>
    /// <param name="By">The principal: <c>user:ann</c>.</param>
    /// <param name="Issuers">The persons behind the principal's token; null: nobody else.</param>
    /// <param name="Source">As in <see cref="FeedbackReceived"/>.</param>
    public sealed record GiveFeedback(Content Text, string By, DateTimeOffset Now, ImmutableList<Issuer>? Issuers = null, string? Source = null) : RunCommand(Now);
}

public abstract record RunEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Source">The skill that rendered the message; null: a person wrote it.</param>
    /// <param name="Issuers">The persons behind the token of who sent the turn; null: nobody else.</param>
    /// <param name="Goal">The goal of the conversation, as the prompt has it; null: none.</param>
    /// <param name="Skills">The active skills in the order of the prompt; null: none.</param>
    /// <param name="ContextFiles">The files in the prompt, as they were read when the turn was accepted; null: none.</param>
    /// <param name="Folders">The granted folders, as the prompt has them; null: the one implicit grant, of which the prompt says nothing.</param>
    /// <param name="Agent">The agent of a group that answers, as it was when the run was created; null: the run is no group's.</param>
    /// <param name="Fork">Where its session forked from: of runs that are cut there, the prompt shows as much. Null: it did not.</param>
    /// <param name="Transcript">What was said before the message, as a group's controller tells it; null: as the session or group has it.</param>
    /// <param name="Counterfactual">What it does otherwise than another run, whose beginning is its own; null: it is a run of its own.</param>
    public sealed record RunCreated(
        RunKey RunId, SessionKey SessionId, Content Message, string Model, string? IdempotencyKey, DateTimeOffset At, RunSource? Source = null,
        ImmutableList<Issuer>? Issuers = null, Content? Goal = null, ImmutableList<ActiveSkill>? Skills = null,
        ImmutableList<ContextText>? ContextFiles = null, ImmutableList<FolderGrant>? Folders = null, RunAgent? Agent = null,
        SessionFork? Fork = null, ImmutableList<TranscriptMessage>? Transcript = null, Counterfactual? Counterfactual = null, string? Subject = null) : RunEvent(At);

    /// <param name="Settings">
    /// Hexadecimal SHA-256 of the settings under which the node drives the run (limits, policy, names of its tools), which the blob store has. A replay asks with them what the
    /// run asked. Null: they were not recorded.
    /// </param>
    public sealed record RunStarted(long Epoch, string Node, DateTimeOffset At, string? Settings = null) : RunEvent(At);

    /// <summary>
    /// Another claim continues the run. A higher <paramref name="Attempt"/>: the driver was lost, and its unfinished step is repeated. The same attempt: the run
    /// was suspended and had no unfinished step.
    /// </summary>
    /// <param name="Settings">As in <see cref="RunStarted"/>, where they are others than before; null: they are the same, or not recorded.</param>
    public sealed record RunResumed(int Attempt, long Epoch, string Node, DateTimeOffset At, string? Settings = null) : RunEvent(At);

    /// <param name="Provenance">The origin of each memory, best match first.</param>
    /// <param name="Context">The texts in the prompt, one for each <paramref name="Provenance"/>.</param>
    /// <param name="History">Ids of the session's earlier runs in the prompt, oldest first. They have ended and cannot change.</param>
    /// <param name="Conversation">What was said in the group before, as the prompt has it, oldest first; null: the run is no group's.</param>
    public sealed record MemoryRetrieval(
        int RetrievedCount, ImmutableList<Provenance> Provenance, ImmutableList<Content> Context, ImmutableList<RunKey> History, DateTimeOffset At,
        ImmutableList<GroupEntry>? Conversation = null) : RunEvent(At);

    /// <summary>
    /// The tools of outside sources that the model is offered beside the host's own, from the next request until another event of this type. So a request is the same after a
    /// crash and on another host, whatever the sources offer by then.
    /// </summary>
    /// <param name="Tools">A JSON list of their declarations, ordered by name: <c>{connection_id, description, name, read_only, schema, tool}</c>.</param>
    /// <param name="LeftOut">What is not among them; null: nothing.</param>
    public sealed record ToolsOffered(
        [property: Personal(PersonalAttribute.List)] Content Tools, int Count, DateTimeOffset At, ImmutableList<UnofferedTool>? LeftOut = null) : RunEvent(At);

    /// <summary>
    /// A piece of the model's text, committed before a client sees it. The pieces of a round, joined, are its text; <see cref="ModelRetried"/> and
    /// <see cref="RunResumed"/> restart the round and void the pieces before them.
    /// </summary>
    public sealed record OutputDelta([property: Personal] string Text, DateTimeOffset At) : RunEvent(At);

    /// <summary>
    /// A piece of the model's thinking, recorded only where the policy shows thinking. It is no part of the answer's text. What voids an <see cref="OutputDelta"/>
    /// voids it too.
    /// </summary>
    public sealed record ThinkingDelta([property: Personal] string Text, DateTimeOffset At) : RunEvent(At);

    /// <summary>The model gave no complete answer and will be asked again. The pieces of text of this round are void.</summary>
    /// <param name="Attempt">Number of the next attempt at the step.</param>
    /// <param name="Code">The reason: <c>model_unavailable</c> or <c>model_failed</c>.</param>
    /// <param name="WaitMs">Delay before the next attempt in milliseconds.</param>
    /// <param name="Usage">What the provider said that the failed attempt used; null: it said nothing.</param>
    /// <param name="RequestSha256">As in <see cref="LlmResponse"/>, of the failed attempt; null: not recorded.</param>
    public sealed record ModelRetried(
        int Step, int Attempt, string Code, [property: Personal] string Message, long WaitMs, DateTimeOffset At, ModelUsage? Usage = null, string? RequestSha256 = null)
        : RunEvent(At);

    /// <param name="Step">Number of the step in the run, from 1. With the run's id it identifies the step permanently.</param>
    /// <param name="Attempt">2 or more: a crash or a failure of the model interrupted an earlier attempt at the step.</param>
    /// <param name="RequestSha256">Digest of the canonical request; the request itself follows from the earlier events.</param>
    /// <param name="InputTokens">All input tokens, including cached ones.</param>
    /// <param name="CostMicroUsd">Cost in micro-USD; null: the model has no price.</param>
    /// <param name="CachedTokens">Input tokens from the provider's cache; null: the provider does not report them.</param>
    /// <param name="UsageEstimated">True: the provider did not report all tokens, and those that it left out are estimated from the text. Null: it did.</param>
    /// <param name="Reasoning">
    /// What the provider wants back with the next request of this run (thinking, signatures), as JSON in the form of its wire format. Null: the answer had none.
    /// </param>
    /// <param name="Feedback">How much of the feedback that waited the request showed, oldest first, behind all else. Null: none.</param>
    /// <param name="Continues">
    /// True: the answer calls no tool, and feedback waits that it has not seen. It is not the run's reply, and the model is asked again. Null: otherwise.
    /// </param>
    /// <param name="AskedAt">When the request was sent; null: an earlier release did not record it.</param>
    /// <param name="FirstTokenAt">When the first text, thinking or call of the answer came; null: it had none, or an earlier release did not record it.</param>
    /// <param name="Source"><c>recorded</c>: the answer of another run to the same request. It cost that run its tokens, and this one none. Null: the model was asked.</param>
    public sealed record LlmResponse(
        int Step, int Attempt, string Model, string StopReason, string RequestSha256, long InputTokens, long OutputTokens, int ToolCalls, long? CostMicroUsd,
        DateTimeOffset At, long? CachedTokens = null, bool? UsageEstimated = null, [property: Personal(PersonalAttribute.Object)] Content? Reasoning = null,
        int? Feedback = null, bool? Continues = null, DateTimeOffset? AskedAt = null, DateTimeOffset? FirstTokenAt = null, string? Source = null) : RunEvent(At);

    /// <param name="Id">The model's id of the call, made unique in the run.</param>
    /// <param name="Input">The arguments as the model wrote them, which may not be valid JSON.</param>
    public sealed record ToolCall(string Id, string Name, [property: Personal(PersonalAttribute.Object)] Content Input, DateTimeOffset At) : RunEvent(At);

    /// <param name="Subject">What the rules were held against; null: it was not recorded, or an active skill's list of tools decided.</param>
    public sealed record PolicyDecision(
        string ToolCallId, PolicyOutcome Outcome, string Rule, [property: Personal] string Reason, DateTimeOffset At, JudgedCall? Subject = null) : RunEvent(At);

    /// <summary>The run is suspended until a person decides or the approval expires.</summary>
    /// <param name="ToolInput">The arguments as the model wrote them.</param>
    /// <param name="ArgsDigest">Hex SHA-256 of the arguments. It proves that the executed call is the approved one.</param>
    /// <param name="Rule">The policy rule that requires the approval.</param>
    /// <param name="Paths">The resolved paths that the call may touch when approved. Null: unknown, or the call has no paths.</param>
    public sealed record ApprovalRequested(
        ApprovalKey ApprovalId, SessionKey SessionId, string ToolCallId, string ToolName, [property: Personal(PersonalAttribute.Object)] Content ToolInput,
        string ArgsDigest, [property: Personal] string Reason, string Rule, DateTimeOffset ExpiresAt, DateTimeOffset At,
        [property: Personal] ImmutableList<string>? Paths = null) : RunEvent(At);

    /// <param name="By">The principal who decided; <c>system</c>: it expired, or the run was cancelled.</param>
    /// <param name="Issuers">The persons behind the token of who decided; null: nobody else.</param>
    public sealed record ApprovalDecided(
        ApprovalKey ApprovalId, ApprovalOutcome Outcome, string By, [property: Personal] string? Note, DateTimeOffset At, ImmutableList<Issuer>? Issuers = null)
        : RunEvent(At);

    /// <summary>In a counterfactual: a call that the policy wants approved has the decision that the record has of the same call. Nobody is asked.</summary>
    /// <param name="ArgsDigest">Hex SHA-256 of the arguments, which are those of the recorded call.</param>
    /// <param name="By">Who decided in the recorded run; <c>system</c>: no decision is recorded, and unrecorded ones count as rejected.</param>
    /// <param name="RunId">The recorded run; null: no decision is recorded.</param>
    /// <param name="ApprovalId">The approval there; null: no decision is recorded.</param>
    public sealed record ApprovalServed(
        string ToolCallId, string ToolName, string ArgsDigest, ApprovalOutcome Outcome, string By, [property: Personal] string? Note, DateTimeOffset At, RunKey? RunId = null,
        ApprovalKey? ApprovalId = null) : RunEvent(At);

    /// <param name="StartedAt">When the tool was called; null: it was not, or an earlier release did not record it.</param>
    /// <param name="Source">
    /// In a counterfactual, where the result is from: <c>recorded</c>, the record of the other run has it; <c>stub</c>, the call was not made; <c>live</c>, it was. Null: the
    /// call was refused, or the run is no counterfactual.
    /// </param>
    public sealed record ToolResult(
        int Step, int Attempt, string Id, string Name, Content Content, bool IsError, DateTimeOffset At, DateTimeOffset? StartedAt = null, string? Source = null) : RunEvent(At);

    public sealed record AssistantReply(Content Content, DateTimeOffset At) : RunEvent(At);

    /// <summary>
    /// Somebody said something to the run. It waits until an answer of the model whose request showed it (<see cref="LlmResponse.Feedback"/>), and stands before that answer
    /// in the conversation from then on.
    /// </summary>
    /// <param name="By">The principal: <c>user:ann</c>.</param>
    /// <param name="Issuers">The persons behind the principal's token; null: nobody else.</param>
    /// <param name="Source"><c>recorded</c>: it was said to the run whose counterfactual this one is. Null: it was said to this one.</param>
    public sealed record FeedbackReceived(Content Text, string By, DateTimeOffset At, ImmutableList<Issuer>? Issuers = null, string? Source = null) : RunEvent(At);

    public sealed record RunCancelRequested(DateTimeOffset At) : RunEvent(At);

    /// <param name="StopReason">Why the reply ends early: <c>length</c>, <c>content_filter</c>, or the provider's own word. Null: the model ended it.</param>
    public sealed record RunCompleted(long TotalTokens, int ToolCalls, long CostMicroUsd, DateTimeOffset At, string? StopReason = null) : RunEvent(At);

    /// <param name="Usage">What the provider said that the last attempt at an answer used; null: nothing, or the run failed for another reason.</param>
    /// <param name="RequestSha256">As in <see cref="LlmResponse"/>, of that attempt; null: not recorded, or the run failed for another reason.</param>
    public sealed record RunFailed(RunError Error, DateTimeOffset At, ModelUsage? Usage = null, string? RequestSha256 = null) : RunEvent(At);

    public sealed record RunCancelled(DateTimeOffset At) : RunEvent(At);
}

/// <summary>The source of a run's message.</summary>
/// <param name="SkillVersion">The version of the skill whose template was rendered.</param>
/// <param name="ScheduleId">The schedule that started the run; null: none.</param>
/// <param name="Slot">The planned time of the run; null: a manual trigger.</param>
public sealed record RunSource(SkillKey? SkillId = null, int? SkillVersion = null, ScheduleKey? ScheduleId = null, DateTimeOffset? Slot = null);

/// <param name="Code">Stable snake_case: <c>limit_tokens</c>, <c>model_failed</c>, ….</param>
public sealed record RunError(string Code, [property: Personal] string Message);

/// <summary>What an attempt without a complete answer used.</summary>
/// <param name="CostMicroUsd">Cost in micro-USD; null: the model has no price.</param>
public sealed record ModelUsage(long InputTokens, long OutputTokens, long? CostMicroUsd);

/// <param name="Kind"><c>session_summary</c>, <c>learning</c> or <c>memory</c>.</param>
/// <param name="Version">Version of the memory in the prompt.</param>
/// <param name="RunId">The run that the memory came from.</param>
/// <param name="Event">The event of that run that the memory was derived from.</param>
public sealed record Provenance(string Kind, MemoryKey Id, long? Version = null, RunKey? RunId = null, EventRef? Event = null);

/// <summary>A tool of an outside source that a run's model is not offered.</summary>
/// <param name="Tool">The source's name of it; null: none of the source's tools is offered.</param>
/// <param name="Reason">A sentence.</param>
public sealed record UnofferedTool(ConnectionKey ConnectionId, string? Tool, string Reason);

/// <summary>A memory that was retrieved for a run.</summary>
public sealed record RetrievedMemory(Provenance From, Content Text);

/// <summary>What the policy was told of a call when it judged it: the facts of that moment, which nobody can look up later.</summary>
/// <param name="Kind">The kind of access: <c>read</c>, <c>overwrite</c>, ….</param>
/// <param name="Path">Null: the call has no path.</param>
/// <param name="Target">The target of a move.</param>
/// <param name="More">Further paths that the call says it touches; null: none.</param>
/// <param name="OutsideGrants">True: the path leads out of the grants. Null: it does not.</param>
/// <param name="NotGranted">Why a grant of the session does not allow the call; null: the grants allow it.</param>
/// <param name="Source">The outside source that the call asks; null: none.</param>
/// <param name="EstimateSeconds">How long the call says it may take; null: it says nothing.</param>
/// <param name="Invalid">Why the call cannot be judged; null: it can.</param>
public sealed record JudgedCall(
    string Kind, JudgedPath? Path = null, JudgedPath? Target = null, ImmutableList<JudgedPath>? More = null, bool? OutsideGrants = null,
    [property: Personal] string? NotGranted = null, string? Source = null, int? EstimateSeconds = null, [property: Personal] string? Invalid = null);

/// <param name="Name">The one name of the place: what people are shown.</param>
/// <param name="Relative">What rules look at: relative to the folder of the grant that decides; null: the same as the name.</param>
/// <param name="IsOutput">True: it lies below an output root of that grant. Null: it does not.</param>
public sealed record JudgedPath([property: Personal] string Name, [property: Personal] string? Relative = null, bool? IsOutput = null);

/// <summary>A tool call that the model requests.</summary>
public sealed record RequestedCall(string Id, string Name, Content Input);

/// <summary>The model's answer in one round, without its text. See <see cref="LlmResponse"/>.</summary>
/// <param name="Refused">Why none of the calls is made: the answer that asks for them was cut off. Null: they may be made.</param>
/// <param name="Feedback">How much of the feedback that waited its request showed.</param>
/// <param name="AskedAt">When the request was sent.</param>
/// <param name="FirstTokenAt">When the first content of the answer came; null: it had none.</param>
/// <param name="Source">As in <see cref="LlmResponse"/>.</param>
public sealed record Answer(
    string Model, string StopReason, string RequestSha256, long InputTokens, long OutputTokens, long? CostMicroUsd, ImmutableList<RequestedCall> Calls,
    long? CachedTokens = null, bool UsageEstimated = false, Content? Reasoning = null, string? Refused = null, int Feedback = 0, DateTimeOffset? AskedAt = null,
    DateTimeOffset? FirstTokenAt = null, string? Source = null);

public enum PolicyOutcome
{
    Allow,

    /// <summary>A person must approve the call.</summary>
    Confirm,
    Deny,
}

public enum ApprovalOutcome
{
    Approved,
    Rejected,

    /// <summary>Nobody decided in time. The system counts it as rejected.</summary>
    Expired,
}

/// <summary>The pending approval of a suspended run.</summary>
public sealed record PendingApproval(ApprovalKey ApprovalId, string Rule, string ArgsDigest, DateTimeOffset At, DateTimeOffset ExpiresAt, ImmutableList<string>? Paths = null);

public sealed record DecidedApproval(ApprovalKey ApprovalId, ApprovalOutcome Outcome);

/// <summary>An approved call: it covers this rule, these arguments and these paths only.</summary>
public sealed record GrantedApproval(ApprovalKey ApprovalId, string Rule, string ArgsDigest, ImmutableList<string>? Paths = null);

/// <summary>The next step of a run's driver. Everything else about a run follows from its events.</summary>
public abstract record NextStep
{
    public sealed record Start : NextStep;

    public sealed record RetrieveMemory(Content Message) : NextStep;

    public sealed record AskModel(int Round) : NextStep;

    public sealed record EvaluatePolicy(RequestedCall Call) : NextStep;

    /// <param name="Step">With the run's id it is the tool's idempotency token, the same at each attempt.</param>
    /// <param name="Granted">The approval of the call; null: the policy allowed it.</param>
    public sealed record CallTool(RequestedCall Call, int Step, int Attempt, GrantedApproval? Granted = null) : NextStep;

    /// <summary>No step until a person has decided.</summary>
    public sealed record WaitApproval(ApprovalKey ApprovalId) : NextStep;

    public sealed record Finish : NextStep;

    public sealed record GiveUp(string Code, string Message) : NextStep;

    public sealed record ConfirmCancel : NextStep;

    public sealed record Done : NextStep;
}

/// <summary>An entry of the conversation between the run and the model.</summary>
public abstract record ConversationEntry
{
    /// <summary>The model's text, which is its joined deltas, and then its tool calls.</summary>
    /// <param name="Reasoning">See <see cref="LlmResponse"/>.</param>
    public sealed record ByModel(string Text, ImmutableList<RequestedCall> Calls, Content? Reasoning = null) : ConversationEntry;

    public sealed record ByTool(string CallId, string Name, Content Content, bool IsError) : ConversationEntry;

    /// <summary>Feedback, at the place where the model saw it first.</summary>
    public sealed record ByUser(Content Text) : ConversationEntry;
}

/// <summary>The request that created the run.</summary>
public sealed record RunRequest(
    RunKey RunId, SessionKey SessionId, Content Message, string Model, string? IdempotencyKey, RunSource? Source = null, Content? Goal = null,
    ImmutableList<ActiveSkill>? Skills = null, ImmutableList<ContextText>? ContextFiles = null, ImmutableList<FolderGrant>? Folders = null, RunAgent? Agent = null,
    ImmutableList<Issuer>? Issuers = null, SessionFork? Fork = null, ImmutableList<TranscriptMessage>? Transcript = null, Counterfactual? Counterfactual = null,
    string? Subject = null)
{
    /// <summary>
    /// True: the agent, if there is one, names no tools or this one, and no active skill names tools, or one names this tool. A skill that names none leaves the tools to
    /// the others.
    /// </summary>
    public bool MayCall(string tool) => Agent?.Tools?.Contains(tool) is not false && MaySkillsCall(tool);

    bool MaySkillsCall(string tool) => Skills?.Any(skill => skill.Tools is not null) is not true || Skills.Any(skill => skill.Tools?.Contains(tool) is true);
}

/// <summary>A message of a conversation that a group's controller keeps, as the prompt has it in place of the group's own.</summary>
/// <param name="Role"><c>system</c>, <c>user</c> or <c>assistant</c>.</param>
public sealed record TranscriptMessage(string Role, Content Text);

/// <summary>The agent of a group that a run answers as, and what it answers.</summary>
/// <param name="Id">Of <c>Cowork:Agents</c>.</param>
/// <param name="By">Who addressed it: the user, or the nickname of the agent.</param>
/// <param name="Sender">The user who sent the message that it answers, or that began the chain of agents that address agents.</param>
/// <param name="MessageId">The id of that message.</param>
/// <param name="Depth">0: a member addressed it; one more for each agent in between.</param>
/// <param name="Instructions">Part of the prompt; null: it has none of its own.</param>
/// <param name="Tools">The only tools that the run may call; null: all that there are.</param>
/// <param name="CalledBy">The run of the agent that addressed it; null: a member did.</param>
public sealed record RunAgent(
    string Id, string Nickname, string By, string Sender, string MessageId, int Depth, Content? Instructions = null, ImmutableList<string>? Tools = null, RunKey? CalledBy = null);

/// <summary>A skill that is active in a run, as it was when the turn was accepted.</summary>
/// <param name="Instructions">Part of the prompt; null: the version has none.</param>
/// <param name="Tools">The tools that the run may call; null: the version names none.</param>
public sealed record ActiveSkill(SkillKey Id, string Name, int Version, Content? Instructions = null, ImmutableList<string>? Tools = null);

/// <summary>A file that a turn names as context, as it was when the turn was accepted.</summary>
/// <param name="Path">As the turn names it.</param>
/// <param name="ReadSha256">Lower-case hexadecimal, of the bytes of the file that the text is made of. No blob holds them.</param>
/// <param name="ReadBytes">Their number.</param>
/// <param name="Text">Part of the prompt: the whole text, or its beginning.</param>
/// <param name="IsCut">True: the file goes on behind the text.</param>
public sealed record ContextText([property: Personal] string Path, string ReadSha256, long ReadBytes, Content Text, bool IsCut);

/// <summary>The run's usage so far, for its limits.</summary>
public sealed record RunUsage(long Tokens, int ToolCalls, int Rounds, long CostMicroUsd)
{
    public static RunUsage Zero { get; } = new(0, 0, 0, 0);

    public static RunUsage operator -(RunUsage all, RunUsage part) =>
        new(all.Tokens - part.Tokens, all.ToolCalls - part.ToolCalls, all.Rounds - part.Rounds, all.CostMicroUsd - part.CostMicroUsd);
}

/// <summary>
/// The work on one turn: a message, rounds of the model, tool calls, and one end. It is a state machine whose next step (<see cref="Next"/>) a driver executes,
/// so that after a crash at any point the driver asks for the next step again.
/// </summary>
public abstract record Run
{
    public sealed record None : Run;

    /// <param name="Feedback">Oldest first; null: none.</param>
    /// <param name="Past">The other run where this one goes off from it; null: the run begins by itself.</param>
    public sealed record Queued(RunRequest Request, ImmutableList<Content>? Feedback = null, Active? Past = null) : Run, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Request.Subject;
    }

    /// <param name="Epoch">Epoch of the claim that may write.</param>
    /// <param name="StepsDone">Number of recorded steps.</param>
    /// <param name="StepAttempt">Number of the attempt at the current step, from 1.</param>
    /// <param name="Memory">Null: memory was not retrieved yet.</param>
    /// <param name="Partial">Joined deltas of the current round.</param>
    /// <param name="Open">Calls without a result, in the model's order.</param>
    /// <param name="Allowed">The first open call may be executed: the policy allowed it, or it was approved.</param>
    /// <param name="Granted">The approval of the first open call; null: none.</param>
    /// <param name="Reply">The reply of an answer without tool calls; null: none yet.</param>
    /// <param name="Waited">Time spent waiting for approvals, which does not count towards the time limit.</param>
    /// <param name="Approvals">The decided approvals, oldest first.</param>
    /// <param name="StopReason">Why the latest answer ends early; null: it does not.</param>
    /// <param name="Feedback">What no answer's request has shown yet, oldest first; null: none. It is the end of the next request.</param>
    /// <param name="Offered">The tools of outside sources that the model is offered, as in <see cref="ToolsOffered"/>; null: it was never offered any.</param>
    /// <param name="Settings">As in <see cref="RunStarted"/>; null: not recorded.</param>
    /// <param name="Inherited">What of the usage another run has paid for: limits count it, and totals do not. Null: nothing.</param>
    public sealed record Active(
        RunRequest Request,
        DateTimeOffset StartedAt,
        long Epoch,
        int Attempt,
        int StepsDone,
        int StepAttempt,
        MemoryRetrieval? Memory,
        ImmutableList<ConversationEntry> Transcript,
        string Partial,
        ImmutableList<RequestedCall> Open,
        bool Allowed,
        GrantedApproval? Granted,
        Content? Reply,
        RunUsage Usage,
        TimeSpan Waited,
        ImmutableList<DecidedApproval> Approvals,
        bool CancelRequested,
        string? StopReason = null,
        ImmutableList<Content>? Feedback = null,
        Content? Offered = null,
        string? Settings = null,
        RunUsage? Inherited = null) : Run, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Request.Subject;

        /// <summary>What the run has used itself.</summary>
        [JsonIgnore]
        public RunUsage Used => Usage - (Inherited ?? RunUsage.Zero);

        /// <summary>The first millisecond after the run's time limit.</summary>
        public DateTimeOffset TimeUpAt(RunLimits limits) => StartedAt + Waited + limits.Time + TimeSpan.FromMilliseconds(1);
    }

    /// <summary>The run has no driver: it waits for a decision, or after the decision for a driver.</summary>
    /// <param name="Before">The state that a new claim continues.</param>
    /// <param name="Pending">The pending approval; null: it was decided.</param>
    public sealed record Suspended(Active Before, PendingApproval? Pending) : Run, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Before.Subject;
    }

    /// <param name="Status"><c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
    /// <param name="Partial">What was said of a reply that was not finished.</param>
    public sealed record Ended(RunRequest Request, string Status, Content? Reply, ImmutableList<DecidedApproval> Approvals, string? Partial = null) : Run, IOfSubject
    {
        [JsonIgnore]
        public string? Subject => Request.Subject;
    }

    public static Aggregate<RunKey, RunCommand, RunEvent, Run> Aggregate { get; } = new("run", new None(), Decide, Evolve)
    {
        PastOf = static first => first is RunCreated { Counterfactual.Of: { } cut } ? (cut.RunId, cut.Version) : null,
    };

    public static Decision<RunEvent> Decide(RunCommand command, Run state) => (command, state) switch
    {
        (Create c, None) => new RunCreated(
            c.RunId, c.SessionId, c.Message, c.Model, c.IdempotencyKey, c.Now, c.Source, c.Issuers, c.Goal, c.Skills, c.ContextFiles, c.Folders, c.Agent,
            c.Fork, c.Transcript, c.Counterfactual, c.Subject),
        (Create, _) => Decision<RunEvent>.Nothing,
        (_, None) => Refusal.NotFound("run"),

        (Start c, Queued) => new RunStarted(c.Epoch, c.Node, c.Now, c.Settings),
        (Start c, Active a) when c.Epoch > a.Epoch => new RunResumed(a.Attempt + 1, c.Epoch, c.Node, c.Now, ChangedSettings(c, a)),
        (Start c, Active a) when c.Epoch == a.Epoch => Decision<RunEvent>.Nothing,
        (Start c, Suspended { Pending: null } s) when c.Epoch > s.Before.Epoch => new RunResumed(
            s.Before.Attempt, c.Epoch, c.Node, c.Now, ChangedSettings(c, s.Before)),
        (RunCommand.Cancel c, Queued) => Decision<RunEvent>.Of(new RunCancelRequested(c.Now), new RunCancelled(c.Now)),
        (RunCommand.Cancel, Active { CancelRequested: true } or Ended) => Decision<RunEvent>.Nothing,
        (RunCommand.Cancel c, Active) => new RunCancelRequested(c.Now),
        (RunCommand.Cancel c, Suspended s) => CancelSuspended(c, s),
        (DecideApproval c, _) => RecordDecision(c, state),
        (GiveFeedback c, _) => RecordFeedback(c, state),

        (RecordMemory c, Active a) when c.Epoch == a.Epoch && a.Memory is null => new MemoryRetrieval(
            c.Items.Count, [.. c.Items.Select(i => i.From)], [.. c.Items.Select(i => i.Text)], c.History, c.Now, c.Conversation),
        (OfferTools c, Active a) when c.Epoch == a.Epoch => new ToolsOffered(c.Tools, c.Count, c.Now, c.LeftOut),
        (RecordText c, Active a) when c.Epoch == a.Epoch => new OutputDelta(c.Text, c.Now),
        (RecordThinking c, Active a) when c.Epoch == a.Epoch => new ThinkingDelta(c.Text, c.Now),
        (RetryModel c, Active a) when c.Epoch == a.Epoch =>
            new ModelRetried(a.StepsDone + 1, a.StepAttempt + 1, c.Code, c.Message, (long)c.Wait.TotalMilliseconds, c.Now, c.Usage, c.RequestSha256),
        (RecordAnswer c, Active a) when c.Epoch == a.Epoch => SplitAnswer(c, a),
        (RecordPolicy c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId => RecordVerdict(c, a, call),
        (RequestApproval c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId => Decision<RunEvent>.Of(
            new PolicyDecision(c.CallId, PolicyOutcome.Confirm, c.Rule, c.Reason, c.Now, c.Subject),
            new ApprovalRequested(c.ApprovalId, a.Request.SessionId, call.Id, call.Name, call.Input, c.ArgsDigest, c.Reason, c.Rule, c.ExpiresAt, c.Now, c.Paths)),
        (ServeDecision c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId => RecordServed(c, a, call),
        (RecordResult c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId =>
            new ToolResult(a.StepsDone + 1, a.StepAttempt, call.Id, call.Name, c.Result, c.IsError, c.Now, c.StartedAt, c.Source),
        (Complete c, Active { Reply: not null } a) when c.Epoch == a.Epoch =>
            new RunCompleted(a.Used.Tokens, a.Used.ToolCalls, a.Used.CostMicroUsd, c.Now, a.StopReason),
        // A failure after a cancel request counts as cancelled.
        (Fail c, Active { CancelRequested: true } a) when c.Epoch == a.Epoch => new RunCancelled(c.Now),
        (Fail c, Active a) when c.Epoch == a.Epoch => new RunFailed(new(c.Code, c.Message), c.Now, c.Usage, c.RequestSha256),
        (RunCommand.ConfirmCancel c, Active { CancelRequested: true } a) when c.Epoch == a.Epoch => new RunCancelled(c.Now),

        _ => Refusal.Conflict("run_fenced", "The run has ended, or another claim drives it."),
    };

    public static Run Evolve(Run state, RunEvent e) => (e, state) switch
    {
        (RunCreated c, _) => new Queued(
            new(
                c.RunId, c.SessionId, c.Message, c.Model, c.IdempotencyKey, c.Source, c.Goal, c.Skills, c.ContextFiles, c.Folders, c.Agent, c.Issuers, c.Fork, c.Transcript,
                c.Counterfactual, c.Subject),
            Past: c.Counterfactual is null ? null : state as Active),
        (RunStarted s, Queued { Past: { } past } q) => GoneOff(s, past, q),
        (RunStarted s, Queued q) => new Active(
            q.Request, s.At, s.Epoch, 1, 0, 1, null, [], "", [], false, null, null, RunUsage.Zero, TimeSpan.Zero, [], false, Feedback: q.Feedback,
            Settings: s.Settings),
        (FeedbackReceived f, Queued q) => q with { Feedback = (q.Feedback ?? []).Add(f.Text) },
        (FeedbackReceived f, Active a) => WithFeedback(a, f),
        (FeedbackReceived f, Suspended s) => s with { Before = WithFeedback(s.Before, f) },
        (RunResumed r, Active a) => a with { Epoch = r.Epoch, Attempt = r.Attempt, StepAttempt = a.StepAttempt + 1, Partial = "", Settings = r.Settings ?? a.Settings },
        (RunResumed r, Suspended s) => s.Before with { Epoch = r.Epoch, Attempt = r.Attempt, Settings = r.Settings ?? s.Before.Settings },
        (RunCancelRequested, Queued q) => q,
        (RunCancelled, Queued q) => new Ended(q.Request, "cancelled", null, []),
        (MemoryRetrieval m, Active a) => AfterStep(a) with { Memory = m },
        (ToolsOffered o, Active a) => a with { Offered = o.Tools },
        (OutputDelta d, Active a) => a with { Partial = a.Partial + d.Text },
        (ThinkingDelta, Active a) => a,
        (ModelRetried r, Active a) => a with
        {
            Partial = "",
            StepAttempt = r.Attempt,
            Usage = r.Usage is not { } used ? a.Usage : a.Usage with
            {
                Tokens = a.Usage.Tokens + used.InputTokens + used.OutputTokens,
                CostMicroUsd = a.Usage.CostMicroUsd + (used.CostMicroUsd ?? 0),
            },
        },
        (LlmResponse l, Active a) => AfterStep(a) with
        {
            Inherited = l.Source is null ? a.Inherited : (a.Inherited ?? RunUsage.Zero) with
            {
                Tokens = (a.Inherited?.Tokens ?? 0) + l.InputTokens + l.OutputTokens,
                CostMicroUsd = (a.Inherited?.CostMicroUsd ?? 0) + (l.CostMicroUsd ?? 0),
            },
            Partial = "",
            StopReason = l.StopReason is "stop" or "tool_calls" ? null : l.StopReason,
            Transcript = a.Transcript.AddRange(Shown(a, l)).Add(new ConversationEntry.ByModel(a.Partial, [], l.Reasoning)),
            Feedback = Unseen(a, l.Feedback ?? 0),
            Usage = new(
                a.Usage.Tokens + l.InputTokens + l.OutputTokens, a.Usage.ToolCalls + l.ToolCalls, a.Usage.Rounds + 1,
                a.Usage.CostMicroUsd + (l.CostMicroUsd ?? 0)),
        },
        (ToolCall t, Active a) => WithCall(a, new(t.Id, t.Name, t.Input)),
        (PolicyDecision p, Active a) => a with { Allowed = p.Outcome == PolicyOutcome.Allow },
        (ApprovalServed s, Active a) => a with { Allowed = s.Outcome == ApprovalOutcome.Approved },
        (ApprovalRequested r, Active a) => new Suspended(a, new(r.ApprovalId, r.Rule, r.ArgsDigest, r.At, r.ExpiresAt, r.Paths)),
        (ApprovalDecided d, Suspended { Pending: { } pending } s) => new Suspended(WithDecision(s.Before, pending, d), null),
        (ToolResult t, Active a) => WithResult(a, t),
        (ToolResult t, Suspended s) => s with { Before = WithResult(s.Before, t) },
        (AssistantReply r, Active a) => a with { Reply = r.Content },
        (RunCancelRequested, Active a) => a with { CancelRequested = true },
        (RunCancelRequested, Suspended s) => s with { Before = s.Before with { CancelRequested = true } },
        (RunCompleted, Active a) => EndOf(a, "completed"),
        (RunFailed, Active a) => EndOf(a, "failed"),
        (RunCancelled, Active a) => EndOf(a, "cancelled"),
        (RunCancelled, Suspended s) => EndOf(s.Before, "cancelled"),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>The next step for the driver.</summary>
    public static NextStep Next(Run state, RunLimits limits, DateTimeOffset now) => state switch
    {
        Queued or Suspended { Pending: null } => new NextStep.Start(),
        Suspended { Pending: { } pending } => new NextStep.WaitApproval(pending.ApprovalId),
        Active { CancelRequested: true } => new NextStep.ConfirmCancel(),
        Active a when a.Usage.Tokens > limits.Tokens => new NextStep.GiveUp("limit_tokens", $"The run used more than {limits.Tokens} tokens."),
        Active { Reply: not null } => new NextStep.Finish(),
        Active a when now - a.StartedAt - a.Waited > limits.Time => new NextStep.GiveUp("limit_time", $"The run took longer than {limits.Time}."),
        Active a when a.Usage.ToolCalls > limits.ToolCalls =>
            new NextStep.GiveUp("limit_tool_calls", $"The run asked for more than {limits.ToolCalls} tool calls."),
        Active { Memory: null } a => new NextStep.RetrieveMemory(a.Request.Message),
        Active { Open: [var call, ..], Allowed: false } => new NextStep.EvaluatePolicy(call),
        Active { Open: [var call, ..] } a => new NextStep.CallTool(call, a.StepsDone + 1, a.StepAttempt, a.Granted),
        Active a when a.Usage.Rounds >= limits.Rounds => new NextStep.GiveUp("limit_rounds", $"The run used {limits.Rounds} model rounds."),
        Active a => new NextStep.AskModel(a.Usage.Rounds + 1),
        Ended or None => new NextStep.Done(),
        _ => throw new System.Diagnostics.UnreachableException(state.GetType().Name),
    };

    /// <summary>A run that goes off from another one: it has done what that one had, and what was judged of a call without a result is judged again.</summary>
    static Active GoneOff(RunStarted s, Active past, Queued q) => past with
    {
        Request = q.Request,
        StartedAt = s.At,
        Epoch = s.Epoch,
        Attempt = 1,
        StepAttempt = 1,
        Partial = "",
        Allowed = false,
        Granted = null,
        Waited = TimeSpan.Zero,
        Approvals = [],
        CancelRequested = false,
        Feedback = q.Feedback is null ? past.Feedback : (past.Feedback ?? []).AddRange(q.Feedback),
        Settings = s.Settings,
        Inherited = past.Usage,
    };

    static string? ChangedSettings(Start c, Active a) => c.Settings == a.Settings ? null : c.Settings;

    static Active AfterStep(Active a) => a with { StepsDone = a.StepsDone + 1, StepAttempt = 1 };

    static Active WithCall(Active a, RequestedCall call) => a with
    {
        Open = a.Open.Add(call),
        Transcript = a.Transcript[^1] is ConversationEntry.ByModel last
            ? a.Transcript.SetItem(a.Transcript.Count - 1, last with { Calls = last.Calls.Add(call) })
            : throw new System.Diagnostics.UnreachableException("A tool call follows the model's answer."),
    };

    static Active WithResult(Active a, ToolResult t) => AfterStep(a) with
    {
        Open = a.Open.RemoveAt(0),
        Allowed = false,
        Granted = null,
        Transcript = a.Transcript.Add(new ConversationEntry.ByTool(t.Id, t.Name, t.Content, t.IsError)),
    };

    static Active WithDecision(Active a, PendingApproval pending, ApprovalDecided d)
    {
        var approved = d.Outcome == ApprovalOutcome.Approved;
        return a with
        {
            Allowed = approved,
            Granted = approved ? new(pending.ApprovalId, pending.Rule, pending.ArgsDigest, pending.Paths) : null,
            Waited = a.Waited + (d.At - pending.At),
            Approvals = a.Approvals.Add(new(d.ApprovalId, d.Outcome)),
        };
    }

    static Ended EndOf(Active a, string status) => new(a.Request, status, a.Reply, a.Approvals, a.Reply is null && a.Partial.Length > 0 ? a.Partial : null);

    static Active WithFeedback(Active a, FeedbackReceived f) => a with { Feedback = (a.Feedback ?? []).Add(f.Text) };

    /// <summary>The feedback that the request of an answer showed.</summary>
    static IEnumerable<ConversationEntry> Shown(Active a, LlmResponse answer) => (a.Feedback ?? []).Take(answer.Feedback ?? 0).Select(text => new ConversationEntry.ByUser(text));

    /// <summary>The feedback that waits behind an answer whose request showed the first ones; null: none.</summary>
    static ImmutableList<Content>? Unseen(Active a, int shown) => a.Feedback is { } waiting && waiting.Count > shown ? waiting.RemoveRange(0, shown) : null;

    /// <summary>A run takes feedback as long as it can still show it to the model.</summary>
    static Decision<RunEvent> RecordFeedback(GiveFeedback c, Run state)
    {
        var (refusal, waiting) = state switch
        {
            Queued q => (null, q.Feedback),
            // What is served with an answer was said before it.
            Active a when c.Source is not null => (null, a.Feedback),
            Active { CancelRequested: true } => ("It is being stopped.", null),
            Active { Reply: not null } => ("Its reply is there.", null),
            Active a => (null, a.Feedback),
            Suspended s => (null, s.Before.Feedback),
            Ended e => ($"It has {(e.Status == "cancelled" ? "been " : "")}{e.Status}.", (ImmutableList<Content>?)null),
            _ => throw new System.Diagnostics.UnreachableException(state.GetType().Name),
        };
        return refusal is not null ? Refusal.Conflict("task_ended", refusal)
            : waiting?.Count >= Limits.FeedbackWaitingMax
                ? Refusal.TooMany("feedback_full", $"{Limits.FeedbackWaitingMax} messages wait already for the model's next request.")
            : new FeedbackReceived(c.Text, c.By, c.Now, c.Issuers, c.Source);
    }

    static Decision<RunEvent> RecordVerdict(RecordPolicy c, Active a, RequestedCall call)
    {
        var verdict = new PolicyDecision(c.CallId, c.Outcome, c.Rule, c.Reason, c.Now, c.Subject);
        return c.Outcome == PolicyOutcome.Allow
            ? verdict
            : Decision<RunEvent>.Of(verdict, RefusedCall(a, call, $"Refused by policy ({c.Rule}): {c.Reason}", c.Now));
    }

    static Decision<RunEvent> RecordServed(ServeDecision c, Active a, RequestedCall call)
    {
        var decided = c.Decision;
        var verdict = new PolicyDecision(c.CallId, PolicyOutcome.Confirm, c.Rule, c.Reason, c.Now, c.Subject);
        var served = new ApprovalServed(call.Id, call.Name, c.ArgsDigest, decided.Outcome, decided.By, decided.Note, c.Now, decided.RunId, decided.ApprovalId);
        return decided.Outcome == ApprovalOutcome.Approved
            ? Decision<RunEvent>.Of(verdict, served)
            : Decision<RunEvent>.Of(verdict, served, RefusedCall(a, call, WhyRefused(decided.Outcome, decided.By, decided.Note), c.Now));
    }

    static string WhyRefused(ApprovalOutcome outcome, string by, string? note) =>
        outcome == ApprovalOutcome.Expired ? "Refused: nobody approved this call in time."
        : string.IsNullOrWhiteSpace(note) ? $"Refused by {by}."
        : $"Refused by {by}: {note}";

    static ToolResult RefusedCall(Active a, RequestedCall call, string reason, DateTimeOffset now) =>
        new(a.StepsDone + 1, a.StepAttempt, call.Id, call.Name, Content.Of(reason), IsError: true, now);

    /// <summary>The first decision is final. The same decision again is a no-op; a different one is refused.</summary>
    static Decision<RunEvent> RecordDecision(DecideApproval c, Run state)
    {
        if (state is Suspended { Pending: { } pending, Before: var a } && pending.ApprovalId == c.ApprovalId)
        {
            var expired = c.Now >= pending.ExpiresAt;
            return (c.Outcome, expired) switch
            {
                (ApprovalOutcome.Expired, false) => Decision<RunEvent>.Nothing,
                (ApprovalOutcome.Approved or ApprovalOutcome.Rejected, true) => Refusal.Conflict("approval_decided", "The approval has expired."),
                (ApprovalOutcome.Approved, _) => new ApprovalDecided(c.ApprovalId, c.Outcome, c.By, c.Note, c.Now, c.Issuers),
                _ => Decision<RunEvent>.Of(
                    new ApprovalDecided(c.ApprovalId, c.Outcome, c.By, c.Note, c.Now, c.Issuers),
                    RefusedCall(a, a.Open[0], WhyRefused(c.Outcome, c.By, c.Note), c.Now)),
            };
        }
        var decided = state switch
        {
            Active active => active.Approvals,
            Suspended suspended => suspended.Before.Approvals,
            Ended ended => ended.Approvals,
            _ => [],
        };
        return decided.Find(d => d.ApprovalId == c.ApprovalId) switch
        {
            null => Refusal.NotFound("approval"),
            { Outcome: var outcome } when outcome == c.Outcome => Decision<RunEvent>.Nothing,
            { Outcome: var outcome } => Refusal.Conflict("approval_decided", $"The approval was decided before: {outcome.ToString().ToLowerInvariant()}."),
        };
    }

    static Decision<RunEvent> CancelSuspended(RunCommand.Cancel c, Suspended s)
    {
        var events = new List<RunEvent> { new RunCancelRequested(c.Now) };
        if (s.Pending is { } pending)
        {
            events.Add(new ApprovalDecided(pending.ApprovalId, ApprovalOutcome.Rejected, "system", "The run was cancelled.", c.Now));
        }
        events.Add(new RunCancelled(c.Now));
        return Decision<RunEvent>.Of(events);
    }

    /// <summary>A text in pieces that an event may hold, none of which ends within a character.</summary>
    static IEnumerable<string> Pieces(string text)
    {
        for (var i = 0; i < text.Length;)
        {
            var length = Math.Min(Limits.DeltaCharsMax, text.Length - i);
            if (i + length < text.Length && char.IsHighSurrogate(text[i + length - 1]))
            {
                length--;
            }
            yield return text.Substring(i, length);
            i += length;
        }
    }

    static Decision<RunEvent> SplitAnswer(RecordAnswer c, Active a)
    {
        var events = new List<RunEvent>();
        foreach (var said in c.Served ?? [])
        {
            var served = said with { At = c.Now };
            events.Add(served);
            a = WithFeedback(a, served);
        }
        events.AddRange(Pieces(c.ThinkingTail).Select(text => new ThinkingDelta(text, c.Now)));
        events.AddRange(Pieces(c.Tail).Select(text => new OutputDelta(text, c.Now)));
        var answer = c.Answer;
        // What was said while the model wrote its answer is not in it: the model is asked again instead of ending the run with that answer.
        var goesOn = c.Reply is not null && Unseen(a, answer.Feedback) is not null;
        events.Add(new LlmResponse(
            a.StepsDone + 1, a.StepAttempt, answer.Model, answer.StopReason, answer.RequestSha256,
            answer.InputTokens, answer.OutputTokens, answer.Calls.Count, answer.CostMicroUsd, c.Now, answer.CachedTokens,
            answer.UsageEstimated ? true : null, answer.Reasoning, answer.Feedback > 0 ? answer.Feedback : null, goesOn ? true : null,
            answer.AskedAt, answer.FirstTokenAt, answer.Source));
        events.AddRange(answer.Calls.Select(call => new ToolCall(call.Id, call.Name, call.Input, c.Now)));
        if (answer.Refused is { } reason)
        {
            // The model's answer is step StepsDone + 1, and each result the step after the one before it.
            events.AddRange(answer.Calls.Select((call, i) =>
                new ToolResult(a.StepsDone + 2 + i, 1, call.Id, call.Name, Content.Of(reason), IsError: true, c.Now)));
        }
        if (c.Reply is not null && !goesOn)
        {
            events.Add(new AssistantReply(c.Reply, c.Now));
        }
        return Decision<RunEvent>.Of(events);
    }
}
