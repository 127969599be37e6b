using System.Collections.Immutable;

using static Cowork.Domain.RunCommand;
using static Cowork.Domain.RunEvent;

namespace Cowork.Domain;

/// <summary>
/// Commands to a run. Those of the driver carry the epoch of the claim under which it works: a driver whose run was taken over
/// by another node is refused with <c>run_fenced</c>.
/// </summary>
public abstract record RunCommand(DateTimeOffset Now)
{
    /// <param name="Source">What the message was made from; null: somebody's own words.</param>
    public sealed record Create(
        string RunId, string SessionId, Content Message, string Model, string? IdempotencyKey, DateTimeOffset Now, RunSource? Source = null) : RunCommand(Now);

    /// <summary>Begins the run, or takes it over from a driver that is gone.</summary>
    public sealed record Begin(long Epoch, string Node, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordMemory(long Epoch, ImmutableList<Recalled> Items, ImmutableList<string> History, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordText(long Epoch, string Text, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>The model gave no whole answer and is to be asked again after a wait; what it had said in this round does not count.</summary>
    /// <param name="Code">What the run would have failed with, had this been the last attempt.</param>
    public sealed record RetryModel(long Epoch, string Code, string Message, TimeSpan Wait, DateTimeOffset Now) : RunCommand(Now);

    /// <param name="Tail">The text since the last delta.</param>
    /// <param name="Reply">The whole text, as stored, when the answer asks for no tool.</param>
    public sealed record RecordAnswer(long Epoch, string Tail, Content? Reply, Answer Answer, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordPolicy(long Epoch, string CallId, PolicyOutcome Outcome, string Rule, string Reason, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>Policy wants a person to confirm the call: asks, and suspends the run until there is a decision.</summary>
    /// <param name="ArgsDigest">Hex SHA-256 of the call's input as the model wrote it.</param>
    /// <param name="Paths">What the call would touch, as its paths resolve now; null: nothing that has a path.</param>
    public sealed record RequestApproval(
        long Epoch, string CallId, string ApprovalId, string Rule, string Reason, string ArgsDigest, DateTimeOffset ExpiresAt, DateTimeOffset Now,
        ImmutableList<string>? Paths = null) : RunCommand(Now);

    /// <summary>A person's decision, or that there was none in time. It needs no claim: nobody drives a suspended run.</summary>
    /// <param name="By">The principal that decides: <c>user:ann</c>, <c>system</c>.</param>
    public sealed record DecideApproval(string ApprovalId, ApprovalOutcome Outcome, string By, string? Note, DateTimeOffset Now) : RunCommand(Now);

    public sealed record RecordResult(long Epoch, string CallId, Content Result, bool IsError, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>Ends the run with the reply that the model gave.</summary>
    public sealed record Complete(long Epoch, DateTimeOffset Now) : RunCommand(Now);

    public sealed record Fail(long Epoch, string Code, string Message, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>The driver has stopped what it was doing because cancelling was asked for.</summary>
    public sealed record ConfirmCancel(long Epoch, DateTimeOffset Now) : RunCommand(Now);

    /// <summary>Asks for the run to be cancelled; one that has not started, or is suspended, is cancelled at once.</summary>
    public sealed record Cancel(DateTimeOffset Now) : RunCommand(Now);
}

public abstract record RunEvent(DateTimeOffset At) : Event(At)
{
    /// <param name="Source">What the message was made from; null: somebody's own words.</param>
    public sealed record RunCreated(
        string RunId, string SessionId, Content Message, string Model, string? IdempotencyKey, DateTimeOffset At, RunSource? Source = null) : RunEvent(At);

    public sealed record RunStarted(long Epoch, string Node, DateTimeOffset At) : RunEvent(At);

    /// <summary>
    /// Another claim goes on with the run. A greater <paramref name="Attempt"/> than before: the driver was lost, and the step that was under way is done
    /// again. The same: the run had been suspended, and no step was under way.
    /// </summary>
    public sealed record RunResumed(int Attempt, long Epoch, string Node, DateTimeOffset At) : RunEvent(At);

    /// <param name="Provenance">Where each memory came from, best first.</param>
    /// <param name="Context">The text put before the model, one entry for each of <paramref name="Provenance"/>.</param>
    /// <param name="History">Ids of the session's earlier runs put before the model, oldest first. They have ended, so they cannot change.</param>
    public sealed record MemoryRetrieval(
        int RetrievedCount, ImmutableList<Provenance> Provenance, ImmutableList<Content> Context, ImmutableList<string> History, DateTimeOffset At) : RunEvent(At);

    /// <summary>
    /// A piece of the model's text, committed before any client sees it. The pieces of a round, joined, are its whole text; <see cref="ModelRetried"/>
    /// and <see cref="RunResumed"/> begin the round anew, and the pieces before them are no part of the answer.
    /// </summary>
    public sealed record OutputDelta(string Text, DateTimeOffset At) : RunEvent(At);

    /// <summary>The model gave no whole answer: it is asked again, and the pieces of text that came in this round so far are void.</summary>
    /// <param name="Attempt">Of the attempt at the step that comes now.</param>
    /// <param name="Code">Why: <c>model_unavailable</c> or <c>model_failed</c>.</param>
    /// <param name="WaitMs">Milliseconds until it is asked again.</param>
    public sealed record ModelRetried(int Step, int Attempt, string Code, string Message, long WaitMs, DateTimeOffset At) : RunEvent(At);

    /// <param name="Step">Number of the step in the run, from 1; with the run's id it names the step for ever.</param>
    /// <param name="Attempt">2 and more: the step had begun before, and a crash or a failure of the model cut it short.</param>
    /// <param name="RequestSha256">Digest of the request's canonical form; the request itself follows from the events before.</param>
    /// <param name="InputTokens">All of them, also those that the provider had cached.</param>
    /// <param name="CostMicroUsd">Millionths of a US dollar; null when the model has no price.</param>
    /// <param name="CachedTokens">How many of the input tokens the provider had cached; null when it does not say.</param>
    public sealed record LlmResponse(
        int Step, int Attempt, string Model, string StopReason, string RequestSha256, long InputTokens, long OutputTokens, int ToolCalls, long? CostMicroUsd,
        DateTimeOffset At, long? CachedTokens = null) : RunEvent(At);

    /// <param name="Id">The model's id of the call, made unique within the run.</param>
    /// <param name="Input">The arguments as the model wrote them: JSON text, if the model kept to its schema.</param>
    public sealed record ToolCall(string Id, string Name, Content Input, DateTimeOffset At) : RunEvent(At);

    public sealed record PolicyDecision(string ToolCallId, PolicyOutcome Outcome, string Rule, string Reason, DateTimeOffset At) : RunEvent(At);

    /// <summary>The run is suspended until somebody decides, or until it is too late to.</summary>
    /// <param name="ToolInput">The arguments as the model wrote them.</param>
    /// <param name="ArgsDigest">Hex SHA-256 of them: the call that is resumed is the one that was asked for.</param>
    /// <param name="Rule">The rule of the policy that asks.</param>
    /// <param name="Paths">What the call would touch, as its paths resolved when it was asked about: only that may it touch. Null: not known, or nothing that has a path.</param>
    public sealed record ApprovalRequested(
        string ApprovalId, string SessionId, string ToolCallId, string ToolName, Content ToolInput, string ArgsDigest, string Reason, string Rule, DateTimeOffset ExpiresAt,
        DateTimeOffset At, ImmutableList<string>? Paths = null) : RunEvent(At);

    /// <param name="By"><c>system</c> when it expired, or when the run was cancelled.</param>
    public sealed record ApprovalDecided(string ApprovalId, ApprovalOutcome Outcome, string By, string? Note, DateTimeOffset At) : RunEvent(At);

    public sealed record ToolResult(int Step, int Attempt, string Id, string Name, Content Content, bool IsError, DateTimeOffset At) : RunEvent(At);

    public sealed record AssistantReply(Content Content, DateTimeOffset At) : RunEvent(At);

    public sealed record RunCancelRequested(DateTimeOffset At) : RunEvent(At);

    public sealed record RunCompleted(long TotalTokens, int ToolCalls, long CostMicroUsd, DateTimeOffset At) : RunEvent(At);

    public sealed record RunFailed(RunError Error, DateTimeOffset At) : RunEvent(At);

    public sealed record RunCancelled(DateTimeOffset At) : RunEvent(At);
}

/// <summary>What a run's message was made from.</summary>
/// <param name="SkillVersion">Of the skill, the very one whose template was rendered.</param>
/// <param name="ScheduleId">The schedule that started the run.</param>
/// <param name="Slot">The planned time that it was started for; null: by hand.</param>
public sealed record RunSource(string? SkillId = null, int? SkillVersion = null, string? ScheduleId = null, DateTimeOffset? Slot = null);

/// <param name="Code">Stable snake_case: <c>limit_tokens</c>, <c>model_failed</c>, ….</param>
public sealed record RunError(string Code, string Message);

/// <param name="Kind"><c>session_summary</c>, <c>learning</c> or <c>memory</c>.</param>
/// <param name="Id">The memory's id, <c>mem_…</c>.</param>
/// <param name="Version">Of the memory, as it was put before the model.</param>
/// <param name="RunId">The run that the memory came from.</param>
/// <param name="Event">The event of that run that it follows from.</param>
public sealed record Provenance(string Kind, string Id, long? Version = null, string? RunId = null, EventRef? Event = null);

/// <summary>A memory as it was retrieved for a run.</summary>
public sealed record Recalled(Provenance From, Content Text);

/// <summary>A call that the model asks for.</summary>
public sealed record RequestedCall(string Id, string Name, Content Input);

/// <summary>What the model answered in one round, apart from its text.</summary>
public sealed record Answer(
    string Model, string StopReason, string RequestSha256, long InputTokens, long OutputTokens, long? CostMicroUsd, ImmutableList<RequestedCall> Calls,
    long? CachedTokens = null);

public enum PolicyOutcome
{
    Allow,

    /// <summary>A person has to approve the very call.</summary>
    Confirm,
    Deny,
}

public enum ApprovalOutcome
{
    Approved,
    Rejected,

    /// <summary>Nobody decided in time: it counts as rejected, by the system.</summary>
    Expired,
}

/// <summary>An approval that a run waits for.</summary>
public sealed record AskedApproval(string ApprovalId, string Rule, string ArgsDigest, DateTimeOffset At, DateTimeOffset ExpiresAt, ImmutableList<string>? Paths = null);

public sealed record DecidedApproval(string ApprovalId, ApprovalOutcome Outcome);

/// <summary>What was approved: this rule's question, about a call with these arguments on these paths, and nothing else.</summary>
public sealed record Granted(string ApprovalId, string Rule, string ArgsDigest, ImmutableList<string>? Paths = null);

/// <summary>One thing that the driver must do now. Everything else about a run follows from its events.</summary>
public abstract record NextStep
{
    public sealed record Begin : NextStep;

    public sealed record RetrieveMemory(Content Message) : NextStep;

    public sealed record AskModel(int Round) : NextStep;

    public sealed record JudgeCall(RequestedCall Call) : NextStep;

    /// <param name="Step">With the run's id, the idempotency token that the tool gets: the same at every attempt.</param>
    /// <param name="Granted">What was approved; null when policy allowed the call by itself.</param>
    public sealed record CallTool(RequestedCall Call, int Step, int Attempt, Granted? Granted = null) : NextStep;

    /// <summary>Nothing is to be done before somebody has decided.</summary>
    public sealed record WaitApproval(string ApprovalId) : NextStep;

    public sealed record Finish : NextStep;

    public sealed record GiveUp(string Code, string Message) : NextStep;

    public sealed record ConfirmCancel : NextStep;

    public sealed record Done : NextStep;
}

/// <summary>One line of the conversation between the run and the model.</summary>
public abstract record ConversationEntry
{
    /// <summary>Text of the model, then its calls; <paramref name="Text"/> is the joined deltas.</summary>
    public sealed record ByModel(string Text, ImmutableList<RequestedCall> Calls) : ConversationEntry;

    public sealed record ByTool(string CallId, string Name, Content Content, bool IsError) : ConversationEntry;
}

/// <summary>What the run was asked for.</summary>
public sealed record RunRequest(string RunId, string SessionId, Content Message, string Model, string? IdempotencyKey, RunSource? Source = null);

/// <summary>What a run has used so far.</summary>
public sealed record RunUsage(long Tokens, int ToolCalls, int Rounds, long CostMicroUsd)
{
    public static RunUsage Zero { get; } = new(0, 0, 0, 0);
}

/// <summary>
/// One turn's work: a message, the rounds of the model, the calls of its tools, and one end. It is a state machine that asks for the
/// next thing to be done (<see cref="Next"/>) and never does anything itself, so a crash at any point is just another "what next?".
/// </summary>
public abstract record Run
{
    public sealed record None : Run;

    public sealed record Queued(RunRequest Request) : Run;

    /// <param name="Epoch">Of the claim that may write.</param>
    /// <param name="StepsDone">Steps recorded so far.</param>
    /// <param name="StepAttempt">Which attempt at the step under way this is, from 1.</param>
    /// <param name="Memory">Null until memory was retrieved.</param>
    /// <param name="Partial">Deltas of the round under way.</param>
    /// <param name="Open">Calls without a result, in the order in which the model asked for them.</param>
    /// <param name="Allowed">True when the first open call may be made: policy lets it, or it was approved.</param>
    /// <param name="Granted">What was approved of the first open call.</param>
    /// <param name="Reply">Set when the model answered without asking for a tool.</param>
    /// <param name="Waited">How long approvals were waited for: it does not count as the run's time.</param>
    /// <param name="Approvals">Those that were decided, oldest first.</param>
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
        Granted? Granted,
        Content? Reply,
        RunUsage Usage,
        TimeSpan Waited,
        ImmutableList<DecidedApproval> Approvals,
        bool CancelRequested) : Run;

    /// <summary>Nobody drives it: it waits for a decision, or has got one and waits for a driver.</summary>
    /// <param name="Before">As it was, and as it goes on under a new claim.</param>
    /// <param name="Pending">Null: decided.</param>
    public sealed record Suspended(Active Before, AskedApproval? Pending) : Run;

    /// <param name="Status"><c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
    public sealed record Ended(RunRequest Request, string Status, Content? Reply, ImmutableList<DecidedApproval> Approvals) : Run;

    public static Aggregate<RunCommand, RunEvent, Run> Aggregate { get; } = new("run", new None(), Decide, Evolve);

    public static Decision<RunEvent> Decide(RunCommand command, Run state) => (command, state) switch
    {
        (Create c, None) => new RunCreated(c.RunId, c.SessionId, c.Message, c.Model, c.IdempotencyKey, c.Now, c.Source),
        (Create, _) => Decision<RunEvent>.Nothing,
        (_, None) => Refusal.NotFound("run"),

        (Begin c, Queued) => new RunStarted(c.Epoch, c.Node, c.Now),
        (Begin c, Active a) when c.Epoch > a.Epoch => new RunResumed(a.Attempt + 1, c.Epoch, c.Node, c.Now),
        (Begin c, Active a) when c.Epoch == a.Epoch => Decision<RunEvent>.Nothing,
        (Begin c, Suspended { Pending: null } s) when c.Epoch > s.Before.Epoch => new RunResumed(s.Before.Attempt, c.Epoch, c.Node, c.Now),
        (RunCommand.Cancel c, Queued) => Decision<RunEvent>.Of(new RunCancelRequested(c.Now), new RunCancelled(c.Now)),
        (RunCommand.Cancel, Active { CancelRequested: true } or Ended) => Decision<RunEvent>.Nothing,
        (RunCommand.Cancel c, Active) => new RunCancelRequested(c.Now),
        (RunCommand.Cancel c, Suspended s) => CancelSuspended(c, s),
        (DecideApproval c, _) => Settled(c, state),

        (RecordMemory c, Active a) when c.Epoch == a.Epoch && a.Memory is null => new MemoryRetrieval(
            c.Items.Count, [.. c.Items.Select(i => i.From)], [.. c.Items.Select(i => i.Text)], c.History, c.Now),
        (RecordText c, Active a) when c.Epoch == a.Epoch => new OutputDelta(c.Text, c.Now),
        (RetryModel c, Active a) when c.Epoch == a.Epoch =>
            new ModelRetried(a.StepsDone + 1, a.StepAttempt + 1, c.Code, c.Message, (long)c.Wait.TotalMilliseconds, c.Now),
        (RecordAnswer c, Active a) when c.Epoch == a.Epoch => Answered(c, a),
        (RecordPolicy c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId => Judged(c, a, call),
        (RequestApproval c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId => Decision<RunEvent>.Of(
            new PolicyDecision(c.CallId, PolicyOutcome.Confirm, c.Rule, c.Reason, c.Now),
            new ApprovalRequested(c.ApprovalId, a.Request.SessionId, call.Id, call.Name, call.Input, c.ArgsDigest, c.Reason, c.Rule, c.ExpiresAt, c.Now, c.Paths)),
        (RecordResult c, Active a) when c.Epoch == a.Epoch && a.Open is [var call, ..] && call.Id == c.CallId =>
            new ToolResult(a.StepsDone + 1, a.StepAttempt, call.Id, call.Name, c.Result, c.IsError, c.Now),
        (Complete c, Active { Reply: not null } a) when c.Epoch == a.Epoch =>
            new RunCompleted(a.Usage.Tokens, a.Usage.ToolCalls, a.Usage.CostMicroUsd, c.Now),
        // Whatever goes wrong while a run is being stopped, it was stopped.
        (Fail c, Active { CancelRequested: true } a) when c.Epoch == a.Epoch => new RunCancelled(c.Now),
        (Fail c, Active a) when c.Epoch == a.Epoch => new RunFailed(new(c.Code, c.Message), c.Now),
        (RunCommand.ConfirmCancel c, Active { CancelRequested: true } a) when c.Epoch == a.Epoch => new RunCancelled(c.Now),

        _ => Refusal.Conflict("run_fenced", "The run has ended or is being driven under another claim."),
    };

    public static Run Evolve(Run state, RunEvent e) => (e, state) switch
    {
        (RunCreated c, _) => new Queued(new(c.RunId, c.SessionId, c.Message, c.Model, c.IdempotencyKey, c.Source)),
        (RunStarted s, Queued q) => new Active(
            q.Request, s.At, s.Epoch, 1, 0, 1, null, [], "", [], false, null, null, RunUsage.Zero, TimeSpan.Zero, [], false),
        (RunResumed r, Active a) => a with { Epoch = r.Epoch, Attempt = r.Attempt, StepAttempt = a.StepAttempt + 1, Partial = "" },
        (RunResumed r, Suspended s) => s.Before with { Epoch = r.Epoch, Attempt = r.Attempt },
        (RunCancelRequested, Queued q) => q,
        (RunCancelled, Queued q) => new Ended(q.Request, "cancelled", null, []),
        (MemoryRetrieval m, Active a) => StepDone(a) with { Memory = m },
        (OutputDelta d, Active a) => a with { Partial = a.Partial + d.Text },
        (ModelRetried r, Active a) => a with { Partial = "", StepAttempt = r.Attempt },
        (LlmResponse l, Active a) => StepDone(a) with
        {
            Partial = "",
            Transcript = a.Transcript.Add(new ConversationEntry.ByModel(a.Partial, [])),
            Usage = new(
                a.Usage.Tokens + l.InputTokens + l.OutputTokens, a.Usage.ToolCalls + l.ToolCalls, a.Usage.Rounds + 1,
                a.Usage.CostMicroUsd + (l.CostMicroUsd ?? 0)),
        },
        (ToolCall t, Active a) => Asked(a, new(t.Id, t.Name, t.Input)),
        (PolicyDecision p, Active a) => a with { Allowed = p.Outcome == PolicyOutcome.Allow },
        (ApprovalRequested r, Active a) => new Suspended(a, new(r.ApprovalId, r.Rule, r.ArgsDigest, r.At, r.ExpiresAt, r.Paths)),
        (ApprovalDecided d, Suspended { Pending: { } asked } s) => new Suspended(Decided(s.Before, asked, d), null),
        (ToolResult t, Active a) => ResultOf(a, t),
        (ToolResult t, Suspended s) => s with { Before = ResultOf(s.Before, t) },
        (AssistantReply r, Active a) => a with { Reply = r.Content },
        (RunCancelRequested, Active a) => a with { CancelRequested = true },
        (RunCancelRequested, Suspended s) => s with { Before = s.Before with { CancelRequested = true } },
        (RunCompleted, Active a) => EndOf(a, "completed"),
        (RunFailed, Active a) => EndOf(a, "failed"),
        (RunCancelled, Active a) => EndOf(a, "cancelled"),
        (RunCancelled, Suspended s) => EndOf(s.Before, "cancelled"),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };

    /// <summary>The one thing that the world must do now for this run.</summary>
    public static NextStep Next(Run state, RunLimits limits, DateTimeOffset now) => state switch
    {
        Queued or Suspended { Pending: null } => new NextStep.Begin(),
        Suspended { Pending: { } asked } => new NextStep.WaitApproval(asked.ApprovalId),
        Active { CancelRequested: true } => new NextStep.ConfirmCancel(),
        Active a when a.Usage.Tokens > limits.Tokens => new NextStep.GiveUp("limit_tokens", $"The run used more than {limits.Tokens} tokens."),
        Active { Reply: not null } => new NextStep.Finish(),
        Active a when now - a.StartedAt - a.Waited > limits.Time => new NextStep.GiveUp("limit_time", $"The run took longer than {limits.Time}."),
        Active a when a.Usage.ToolCalls > limits.ToolCalls =>
            new NextStep.GiveUp("limit_tool_calls", $"The run asked for more than {limits.ToolCalls} tool calls."),
        Active { Memory: null } a => new NextStep.RetrieveMemory(a.Request.Message),
        Active { Open: [var call, ..], Allowed: false } => new NextStep.JudgeCall(call),
        Active { Open: [var call, ..] } a => new NextStep.CallTool(call, a.StepsDone + 1, a.StepAttempt, a.Granted),
        Active a when a.Usage.Rounds >= limits.Rounds => new NextStep.GiveUp("limit_rounds", $"The run used {limits.Rounds} model rounds."),
        Active a => new NextStep.AskModel(a.Usage.Rounds + 1),
        Ended or None => new NextStep.Done(),
        _ => throw new System.Diagnostics.UnreachableException(state.GetType().Name),
    };

    static Active StepDone(Active a) => a with { StepsDone = a.StepsDone + 1, StepAttempt = 1 };

    static Active Asked(Active a, RequestedCall call) => a with
    {
        Open = a.Open.Add(call),
        Transcript = a.Transcript[^1] is ConversationEntry.ByModel last
            ? a.Transcript.SetItem(a.Transcript.Count - 1, last with { Calls = last.Calls.Add(call) })
            : throw new System.Diagnostics.UnreachableException("A tool call follows the answer that asked for it."),
    };

    static Active ResultOf(Active a, ToolResult t) => StepDone(a) with
    {
        Open = a.Open.RemoveAt(0),
        Allowed = false,
        Granted = null,
        Transcript = a.Transcript.Add(new ConversationEntry.ByTool(t.Id, t.Name, t.Content, t.IsError)),
    };

    static Active Decided(Active a, AskedApproval asked, ApprovalDecided d)
    {
        var approved = d.Outcome == ApprovalOutcome.Approved;
        return a with
        {
            Allowed = approved,
            Granted = approved ? new(asked.ApprovalId, asked.Rule, asked.ArgsDigest, asked.Paths) : null,
            Waited = a.Waited + (d.At - asked.At),
            Approvals = a.Approvals.Add(new(d.ApprovalId, d.Outcome)),
        };
    }

    static Ended EndOf(Active a, string status) => new(a.Request, status, a.Reply, a.Approvals);

    static Decision<RunEvent> Judged(RecordPolicy c, Active a, RequestedCall call)
    {
        var judged = new PolicyDecision(c.CallId, c.Outcome, c.Rule, c.Reason, c.Now);
        return c.Outcome == PolicyOutcome.Allow
            ? judged
            : Decision<RunEvent>.Of(judged, Refused(a, call, $"Refused by policy ({c.Rule}): {c.Reason}", c.Now));
    }

    static ToolResult Refused(Active a, RequestedCall call, string why, DateTimeOffset now) =>
        new(a.StepsDone + 1, a.StepAttempt, call.Id, call.Name, Content.Of(why), IsError: true, now);

    /// <summary>The first decision holds. The same again is silence, another one is refused.</summary>
    static Decision<RunEvent> Settled(DecideApproval c, Run state)
    {
        if (state is Suspended { Pending: { } asked, Before: var a } && asked.ApprovalId == c.ApprovalId)
        {
            var expired = c.Now >= asked.ExpiresAt;
            return (c.Outcome, expired) switch
            {
                (ApprovalOutcome.Expired, false) => Decision<RunEvent>.Nothing,
                (ApprovalOutcome.Approved or ApprovalOutcome.Rejected, true) => Refusal.Conflict("approval_decided", "The approval has expired."),
                (ApprovalOutcome.Approved, _) => new ApprovalDecided(c.ApprovalId, c.Outcome, c.By, c.Note, c.Now),
                _ => Decision<RunEvent>.Of(
                    new ApprovalDecided(c.ApprovalId, c.Outcome, c.By, c.Note, c.Now),
                    Refused(
                        a, a.Open[0],
                        c.Outcome == ApprovalOutcome.Expired ? "Refused: nobody approved this call in time."
                        : string.IsNullOrWhiteSpace(c.Note) ? $"Refused by {c.By}."
                        : $"Refused by {c.By}: {c.Note}",
                        c.Now)),
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
        if (s.Pending is { } asked)
        {
            events.Add(new ApprovalDecided(asked.ApprovalId, ApprovalOutcome.Rejected, "system", "The run was cancelled.", c.Now));
        }
        events.Add(new RunCancelled(c.Now));
        return Decision<RunEvent>.Of(events);
    }

    static Decision<RunEvent> Answered(RecordAnswer c, Active a)
    {
        var events = new List<RunEvent>();
        if (c.Tail.Length > 0)
        {
            for (var i = 0; i < c.Tail.Length;)
            {
                var length = Math.Min(Limits.DeltaCharsMax, c.Tail.Length - i);
                if (i + length < c.Tail.Length && char.IsHighSurrogate(c.Tail[i + length - 1]))
                {
                    length--;
                }
                events.Add(new OutputDelta(c.Tail.Substring(i, length), c.Now));
                i += length;
            }
        }
        var answer = c.Answer;
        events.Add(new LlmResponse(
            a.StepsDone + 1, a.StepAttempt, answer.Model, answer.StopReason, answer.RequestSha256,
            answer.InputTokens, answer.OutputTokens, answer.Calls.Count, answer.CostMicroUsd, c.Now, answer.CachedTokens));
        events.AddRange(answer.Calls.Select(call => new ToolCall(call.Id, call.Name, call.Input, c.Now)));
        if (c.Reply is not null)
        {
            events.Add(new AssistantReply(c.Reply, c.Now));
        }
        return Decision<RunEvent>.Of(events);
    }
}
