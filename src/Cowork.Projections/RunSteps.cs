using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Projections;

/// <summary>An event of a step, or several of one type that follow each other: pieces of a text.</summary>
/// <param name="Type">As feeds name it.</param>
/// <param name="Count">1, or how many there are from <paramref name="Version"/> to <paramref name="ThroughVersion"/>.</param>
public sealed record StepEvent(
    string Type, Guid EventId, string StreamId, long Version, long Gid, DateTimeOffset Ts, string Hash, int Count, long ThroughVersion, long ThroughGid, string ThroughHash);

/// <summary>What the policy decided of a call.</summary>
public sealed record StepPolicy(PolicyOutcome Outcome, string Rule, string Reason);

/// <summary>The wait for a person.</summary>
/// <param name="By">Who decided; null: nobody has.</param>
public sealed record StepApproval(ApprovalKey ApprovalId, string Status, string? By, string? Note, string Rule, DateTimeOffset ExpiresAt);

/// <summary>A stretch of a run: what it did, or what it waited for.</summary>
/// <param name="Kind">One of <see cref="RunSteps.Kinds"/>.</param>
/// <param name="Step">Number of the recorded step; null: it is none, or has no outcome yet.</param>
/// <param name="StartedAt">As the driver recorded it, where it did; else the time of the event before.</param>
/// <param name="EndedAt">Null: it goes on.</param>
public sealed record TimelineStep(string Kind, int? Step, int Attempt, string? Name, string Status, DateTimeOffset StartedAt, DateTimeOffset? EndedAt)
{
    /// <summary>When the first piece of an answer came; null: none did, or the step is no answer.</summary>
    public DateTimeOffset? FirstTokenAt { get; init; }

    /// <summary>The model as its provider names it.</summary>
    public string? Model { get; init; }

    public ModelUsage? Usage { get; init; }

    public long? CachedTokens { get; init; }

    public string? ToolCallId { get; init; }

    public string? RequestSha256 { get; init; }

    public string? StopReason { get; init; }

    public StepPolicy? Policy { get; init; }

    public StepApproval? Approval { get; init; }

    public RunError? Error { get; init; }

    public IReadOnlyList<StepEvent> Events { get; init; } = [];
}

/// <summary>
/// The steps of a run, a fold over its own stream: each stretch of time from the turn to the end is in one, and each event too.
/// </summary>
public sealed class RunSteps
{
    public const string Queue = "queue";
    public const string Memory = "memory";
    public const string Model = "model";
    public const string Retry = "retry";
    public const string Tool = "tool";
    public const string Approval = "approval";
    public const string Recovery = "recovery";
    public const string Feedback = "feedback";
    public const string End = "end";

    /// <summary>The kinds of steps.</summary>
    public static IReadOnlyList<string> Kinds { get; } = [Queue, Memory, Model, Retry, Tool, Approval, Recovery, Feedback, End];

    public const string Running = "running";
    public const string Waiting = "waiting";
    public const string Completed = "completed";
    public const string Failed = "failed";
    public const string Cancelled = "cancelled";
    public const string Denied = "denied";

    /// <summary>The statuses of steps.</summary>
    public static IReadOnlyList<string> Statuses { get; } = [Running, Waiting, Completed, Failed, Cancelled, Denied];

    readonly List<TimelineStep> steps = [];
    readonly List<RecordedEvent> unplaced = [];
    string model = "";
    int attempt = 1;
    int done;
    bool hasReplied;
    DateTimeOffset last;

    /// <summary>The steps of a run up to its last event that is given.</summary>
    /// <param name="events">The run's stream from its first event on.</param>
    public static IReadOnlyList<TimelineStep> Of(IEnumerable<RecordedEvent> events)
    {
        var fold = new RunSteps();
        foreach (var e in events)
        {
            fold.Add(e);
        }
        return fold.Shown();
    }

    void Add(RecordedEvent e)
    {
        switch (e.Event)
        {
            case RunCreated created:
                model = created.Model;
                Begin(new(Queue, null, 1, null, Waiting, e.At, null), e);
                break;
            case RunStarted:
                Close(IndexOf(Queue), step => step with { Status = Completed, EndedAt = e.At }, e);
                break;
            case RunResumed resumed:
                Resume(resumed, e);
                break;
            case MemoryRetrieval:
                Begin(new(Memory, done = 1, attempt, null, Completed, last, e.At), e);
                break;
            case ToolsOffered or OutputDelta or ThinkingDelta:
                Attach(Round(e.At), e, step => e.Event is ToolsOffered ? step : step with { FirstTokenAt = step.FirstTokenAt ?? e.At });
                break;
            case ModelRetried retried:
                Close(Round(e.At), step => step with
                {
                    Step = retried.Step,
                    Attempt = retried.Attempt - 1,
                    Status = Failed,
                    EndedAt = e.At,
                    Usage = retried.Usage,
                    RequestSha256 = retried.RequestSha256,
                    Error = new(retried.Code, retried.Message),
                }, e);
                attempt = retried.Attempt;
                last = e.At + TimeSpan.FromMilliseconds(retried.WaitMs);
                steps.Add(new(Retry, retried.Step, retried.Attempt, null, Completed, e.At, last) { Error = new(retried.Code, retried.Message) });
                return;
            case LlmResponse answer:
                Close(Round(e.At), step => step with
                {
                    Step = answer.Step,
                    Attempt = answer.Attempt,
                    Status = Completed,
                    StartedAt = answer.AskedAt ?? step.StartedAt,
                    FirstTokenAt = answer.FirstTokenAt ?? step.FirstTokenAt,
                    EndedAt = e.At,
                    Model = answer.Model,
                    Usage = new(answer.InputTokens, answer.OutputTokens, answer.CostMicroUsd),
                    CachedTokens = answer.CachedTokens,
                    RequestSha256 = answer.RequestSha256,
                    StopReason = answer.StopReason,
                }, e);
                (done, attempt) = (answer.Step, 1);
                break;
            case ToolCall call:
                Begin(new(Tool, null, 1, call.Name, Waiting, e.At, null) { ToolCallId = call.Id }, e);
                break;
            case PolicyDecision decision:
                Attach(IndexOfCall(decision.ToolCallId), e, step => step with { Policy = new(decision.Outcome, decision.Rule, decision.Reason) });
                break;
            case ApprovalRequested asked:
                Begin(new(Approval, null, 1, asked.ToolName, Waiting, e.At, null)
                {
                    ToolCallId = asked.ToolCallId,
                    Approval = new(asked.ApprovalId, "pending", null, null, asked.Rule, asked.ExpiresAt),
                }, e);
                break;
            case ApprovalDecided decided:
                var outcome = decided.Outcome.ToString().ToLowerInvariant();
                Close(IndexOf(Approval), step => step with
                {
                    Status = decided.Outcome == ApprovalOutcome.Approved ? Completed : Denied,
                    EndedAt = e.At,
                    Approval = step.Approval! with { Status = outcome, By = decided.By, Note = decided.Note },
                }, e);
                break;
            case ToolResult result:
                Close(IndexOfCall(result.Id), step => step with
                {
                    Step = result.Step,
                    Attempt = result.Attempt,
                    Status = IsDenied(step) ? Denied : result.IsError ? Failed : Completed,
                    StartedAt = result.StartedAt ?? (last > step.StartedAt ? last : step.StartedAt),
                    EndedAt = e.At,
                }, e);
                (done, attempt) = (result.Step, 1);
                break;
            case AssistantReply:
                hasReplied = true;
                Attach(steps.FindLastIndex(step => step.Kind == Model), e, step => step);
                break;
            case FeedbackReceived feedback:
                steps.Add(new(Feedback, null, attempt, feedback.By, Completed, e.At, e.At) { Events = [Shape(e)] });
                return;
            case RunCancelRequested:
                unplaced.Add(e);
                return;
            case RunCompleted:
                Finish(e, Completed, null);
                break;
            case RunFailed failed:
                Finish(e, Failed, failed);
                break;
            case RunCancelled:
                Finish(e, Cancelled, null);
                break;
        }
        last = e.At;
    }

    /// <summary>The same attempt: a driver goes on where a decision was waited for. Another: one was lost.</summary>
    void Resume(RunResumed resumed, RecordedEvent e)
    {
        if (resumed.Attempt == Math.Max(1, Resumed))
        {
            Begin(new(Queue, null, resumed.Attempt, null, Completed, last, e.At), e);
        }
        else
        {
            for (var i = 0; i < steps.Count; i++)
            {
                if (steps[i] is { Kind: Model, EndedAt: null } lost)
                {
                    steps[i] = lost with { Status = Failed, EndedAt = last, Error = new("driver_lost", "The host that drove the run was lost.") };
                }
            }
            attempt++;
            Begin(new(Recovery, null, resumed.Attempt, null, Completed, last, e.At), e);
        }
        Resumed = resumed.Attempt;
    }

    /// <summary>Number of the driver's attempt at the run.</summary>
    int Resumed { get; set; } = 1;

    bool IsDenied(TimelineStep tool) =>
        tool.Policy?.Outcome == PolicyOutcome.Deny || steps.Exists(step => step is { Kind: Approval, Status: Denied } && step.ToolCallId == tool.ToolCallId);

    void Finish(RecordedEvent e, string status, RunFailed? failed)
    {
        var under = status == Completed || failed is { Error.Code: "limit_tokens" or "limit_tool_calls" or "limit_rounds" } ? -1 : InterruptedBy(e);
        for (var i = 0; i < steps.Count; i++)
        {
            if (steps[i] is { EndedAt: null } open)
            {
                steps[i] = open with
                {
                    Status = i == under ? status : Cancelled,
                    // A call that was never made takes no time.
                    StartedAt = open.Kind == Tool && i != under ? e.At : open.StartedAt,
                    EndedAt = e.At,
                    Usage = open.Kind == Model ? failed?.Usage : open.Usage,
                    RequestSha256 = open.Kind == Model ? failed?.RequestSha256 : open.RequestSha256,
                    Error = i == under ? failed?.Error ?? open.Error : open.Error,
                };
            }
        }
        steps.Add(new(End, null, Resumed, null, status, e.At, e.At) { Error = failed?.Error, Events = [.. unplaced.Append(e).Select(Shape)] });
        unplaced.Clear();
    }

    /// <summary>The step that was under way when the run ended, open; -1: none was. What was asked and never answered has no event of its own.</summary>
    int InterruptedBy(RecordedEvent end)
    {
        if (steps.FindIndex(step => step is { Kind: Tool, EndedAt: null }) is >= 0 and var call)
        {
            var isMade = steps[call].Policy?.Outcome switch
            {
                PolicyOutcome.Allow => true,
                // A call whose approval was decided is made when a driver has the run.
                PolicyOutcome.Confirm => steps.FindLast(step => step.Kind is Approval or Queue or Recovery) is not { Kind: Approval },
                _ => false,
            };
            if (isMade)
            {
                steps[call] = steps[call] with { StartedAt = last };
            }
            return isMade ? call : -1;
        }
        if (steps is [.., { Kind: Retry } pause] && pause.EndedAt > end.At)
        {
            steps[^1] = pause with { EndedAt = null };
            return steps.Count - 1;
        }
        return hasReplied || IndexOf(Queue) >= 0 ? -1 : Round(last);
    }

    /// <summary>What is under way behind the last event.</summary>
    List<TimelineStep> Shown()
    {
        var hasEnded = steps.Exists(step => step.Kind == End);
        var waits = steps.Exists(step => step is { EndedAt: null, Kind: Queue or Approval });
        if (!hasEnded && !waits && steps.Count > 0)
        {
            if (steps.FindIndex(step => step is { Kind: Tool, EndedAt: null }) is >= 0 and var open)
            {
                // A call whose approval was decided goes on when a driver has the run.
                var isDecided = steps[open].Policy?.Outcome == PolicyOutcome.Confirm && steps.FindLast(step => step.Kind is Approval or Queue or Recovery) is { Kind: Approval };
                steps[open] = steps[open] with { Status = isDecided ? Waiting : Running, StartedAt = last };
            }
            else if (!steps.Exists(step => step.EndedAt is null))
            {
                Round(last);
            }
        }
        foreach (var e in unplaced)
        {
            Attach(steps.Count - 1, e, step => step);
        }
        return steps;
    }

    /// <summary>The answer that is under way: the one that has begun, or else a new one.</summary>
    int Round(DateTimeOffset now)
    {
        if (IndexOf(Model) is >= 0 and var open)
        {
            return open;
        }
        steps.Add(new(Model, done + 1, attempt, model, Running, last < now ? last : now, null));
        return steps.Count - 1;
    }

    int IndexOf(string kind) => steps.FindLastIndex(step => step.Kind == kind && step.EndedAt is null);

    int IndexOfCall(string id) => steps.FindLastIndex(step => step.Kind == Tool && step.ToolCallId == id);

    void Begin(TimelineStep step, RecordedEvent e) => steps.Add(step with { Events = [Shape(e)] });

    void Close(int at, Func<TimelineStep, TimelineStep> after, RecordedEvent e) => Attach(at, e, after);

    void Attach(int at, RecordedEvent e, Func<TimelineStep, TimelineStep> after)
    {
        if (at < 0)
        {
            // A stream that no host wrote. Each event is shown all the same.
            steps.Add(new(Feedback, null, attempt, null, Completed, e.At, e.At) { Events = [Shape(e)] });
            return;
        }
        var step = after(steps[at]);
        var events = (List<StepEvent>)[.. step.Events];
        if (e.Event is OutputDelta or ThinkingDelta && events is [.., var piece] && piece.Type == EventTypes.FeedType(e.Type) && piece.ThroughVersion == e.Version - 1)
        {
            events[^1] = piece with { Count = piece.Count + 1, ThroughVersion = e.Version, ThroughGid = e.Position, ThroughHash = e.Hash };
        }
        else
        {
            events.Add(Shape(e));
        }
        steps[at] = step with { Events = events };
    }

    static StepEvent Shape(RecordedEvent e) =>
        new(EventTypes.FeedType(e.Type), e.Id, e.Stream, e.Version, e.Position, e.At, e.Hash, 1, e.Version, e.Position, e.Hash);
}
