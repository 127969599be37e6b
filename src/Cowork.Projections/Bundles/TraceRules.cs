using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;
using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>An event of a bundle.</summary>
/// <param name="At">Its JSON path.</param>
/// <param name="Event">Without its data, which <paramref name="Json"/> has; where texts of a data subject are sealed in it, with the opened data.</param>
/// <param name="IsOwn">It lies in the run's own stream.</param>
sealed record TraceEntry(string At, JsonElement Json, RecordedEvent Event, bool IsOwn)
{
    /// <summary>The data subject whose texts are sealed in it; null: nobody's are.</summary>
    public string? Subject { get; init; }

    /// <summary>Its sealed texts cannot be opened: they were erased.</summary>
    public bool IsErased { get; init; }
}

/// <summary>
/// What the events of a run say of each other, in every format: which events must be there, once, of this run and in order. The run's own stream has no gap, so that its
/// hashes cover what its events name. The events of other streams have gaps before them, and only these rules cover that they are there.
/// </summary>
static class TraceRules
{
    /// <summary>The actor of what a run's driver writes.</summary>
    const string Driver = "agent";

    /// <param name="past">Of a counterfactual, the beginning of the run that it goes off from; of others nothing.</param>
    public static void Check(List<TraceEntry> entries, List<TraceEntry> own, IReadOnlyList<TraceEntry> past, CancellationToken ct)
    {
        var run = own[0].Event.Event is RunCreated created && Run.Aggregate.Stream(created.RunId) == own[0].Event.Stream
            ? created
            : throw Fault(own[0].At, "The run's own stream does not begin with its run_created.");
        CheckIdentity(entries, own[0].Event, ct);
        CheckCorrelation(entries, own[0].Event);
        CheckStreams(entries, run);
        CheckQueue(entries, own, run);
        CheckCalls(own, past, run.Counterfactual is not null, ct);
        CheckTotals(own);
        CheckArtifacts(entries, own);
        CheckMemories(entries, own, past, run);
        CheckBudget(entries);
    }

    /// <summary>The beginning of the run that a counterfactual goes off from; of another run nothing.</summary>
    public static List<TraceEntry> PastOf(List<TraceEntry> own, List<TraceEntry> related) =>
        own.Count > 0 && own[0].Event.Event is RunCreated { Counterfactual.Of: var cut } && Run.Aggregate.Stream(cut.RunId) is var stream
            ? related.FindAll(entry => entry.Event.Stream == stream && entry.Event.Version <= cut.Version)
            : [];

    /// <summary>A reservation and its settlement lie in the stream of one day, which is that of the reservation.</summary>
    static string BudgetDay(RecordedEvent e) => e.Event is BudgetEvent.BudgetSettled && e.Stream.StartsWith($"{Budget.Aggregate.Name}-", StringComparison.Ordinal)
        ? e.Stream
        : Budget.Aggregate.Stream(BudgetKey.Of(e.At));

    /// <summary>Each settlement is of the reservation before it in its stream, and settles what was reserved.</summary>
    static void CheckBudget(List<TraceEntry> entries)
    {
        var open = new Dictionary<string, BudgetEvent.BudgetReserved>(StringComparer.Ordinal);
        foreach (var (at, _, e, _) in entries)
        {
            switch (e.Event)
            {
                case BudgetEvent.BudgetReserved reserved:
                    Require(open.TryAdd(e.Stream, reserved), at, "The call before it is not settled.");
                    break;
                case BudgetEvent.BudgetSettled settled:
                    Require(
                        open.Remove(e.Stream, out var held) && (held.Step, held.Attempt, held.ReservedMicroUsd) == (settled.Step, settled.Attempt, settled.ReservedMicroUsd),
                        at, "It settles no call that was reserved.");
                    break;
            }
        }
    }

    /// <summary>Each event is of the run's tenant, and there once.</summary>
    static void CheckIdentity(List<TraceEntry> entries, RecordedEvent first, CancellationToken ct)
    {
        var places = new Dictionary<Guid, string>();
        foreach (var (at, _, e, _) in entries)
        {
            ct.ThrowIfCancellationRequested();
            Require(e.Org == first.Org, $"{at}.tenant_id", $"The run's tenant is {Quoted(first.Org)}.");
            Require(places.TryAdd(e.Id, at), $"{at}.id", $"{places[e.Id]} has the same id.");
        }
    }

    /// <summary>What the driver writes, and what the commit of the turn writes, has the correlation of the request that asked for the run.</summary>
    static void CheckCorrelation(List<TraceEntry> entries, RecordedEvent first)
    {
        if (first.Correlation is null)
        {
            // Nobody traced the request. A driver that is traced has spans of its own.
            return;
        }
        foreach (var (at, _, e, _) in entries.Where(entry => entry.Event.Actor == Driver || entry.Event.Event is SessionEvent.RunQueued))
        {
            Require(e.Correlation == first.Correlation, $"{at}.correlation_id", $"The run's is {Quoted(first.Correlation)}.");
        }
    }

    /// <summary>Each event belongs to the run and lies in the stream of what it is about. The run's artifacts have no gap, and it writes a memory once.</summary>
    static void CheckStreams(List<TraceEntry> entries, RunCreated run)
    {
        var artifacts = new Dictionary<string, (RecordedEvent Last, ArtifactEvent.ArtifactDiscovered Content)>(StringComparer.Ordinal);
        var memories = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in entries)
        {
            var (at, _, e, isOwn) = entry;
            Require(isOwn == e.Event is RunEvent, at, "The event does not belong into its stream.");
            var (stream, ofRun, session) = e.Event switch
            {
                RunEvent => (e.Stream, (RunKey?)run.RunId, run.SessionId),
                SessionEvent.RunQueued q => (Session.Aggregate.Stream(run.SessionId), q.RunId, run.SessionId),
                SessionEvent.RunDequeued d => (Session.Aggregate.Stream(run.SessionId), d.RunId, run.SessionId),
                // A path that was erased names no stream.
                ArtifactEvent.ArtifactDiscovered a => (
                    Artifact.Aggregate.Stream(entry.IsErased ? a.ArtifactId : Artifact.KeyOf(run.SessionId, a.Path)), a.RunId, a.SessionId),
                MemoryEvent.MemoryWritten m => (Memory.Aggregate.Stream(m.MemoryId), m.RunId, m.SessionId),
                BudgetEvent.BudgetReserved r => (BudgetDay(e), r.RunId, run.SessionId),
                BudgetEvent.BudgetSettled s => (BudgetDay(e), s.RunId, run.SessionId),
                BudgetEvent.BudgetSoftLimitReached => (BudgetDay(e), run.RunId, run.SessionId),
                ScheduleEvent.ScheduleTriggered t when run.Source?.ScheduleId is { } schedule => (Schedule.Aggregate.Stream(schedule), t.RunId, run.SessionId),
                _ => throw Fault($"{at}.type", "No run has such an event."),
            };
            Require(ofRun == run.RunId, $"{at}.data", "The event is of another run.");
            Require(session == run.SessionId, $"{at}.data", "The event is of another session.");
            Require(stream == e.Stream, $"{at}.stream_id", "The event does not belong into its stream.");
            switch (e.Event)
            {
                case ArtifactEvent.ArtifactDiscovered a:
                    Require(Artifact.Aggregate.Stream(a.ArtifactId) == e.Stream, $"{at}.data", "The artifact's id is not that of its path.");
                    Require(a.Bytes >= 0 && a.Version >= 1, $"{at}.data", "An artifact has a size and a version.");
                    // One run writes at a time in a session, so that only what a client's cell wrote can be between two of this one.
                    Require(
                        !artifacts.TryGetValue(e.Stream, out var before)
                        || (e.Version - 1 == before.Last.Version
                            ? a.Version - 1 == before.Content.Version && (entry.IsErased || a.Sha256 != before.Content.Sha256)
                            : e.Version > before.Last.Version && a.Version > before.Content.Version),
                        at, "The artifact's version before it is missing, or it is there twice.");
                    artifacts[e.Stream] = (e, a);
                    break;
                case MemoryEvent.MemoryWritten:
                    Require(memories.Add(e.Stream), at, "The run wrote the memory before.");
                    break;
            }
        }
    }

    /// <summary>The run was queued once, after it was created, and left the queue once, when it ended; a schedule's run was triggered once.</summary>
    static void CheckQueue(List<TraceEntry> entries, List<TraceEntry> own, RunCreated run)
    {
        var end = own[^1].Event;
        var hasEnded = end.Event is RunCompleted or RunFailed or RunCancelled;
        var queued = Single<SessionEvent.RunQueued>(1);
        Require(queued!.Event.Position > own[0].Event.Position, $"{queued.At}.gid", "The run was queued before it was created.");
        if (Single<SessionEvent.RunDequeued>(hasEnded ? 1 : 0) is { } dequeued)
        {
            Require(dequeued.Event.Position > end.Position, $"{dequeued.At}.gid", "The run left the queue before it ended.");
            Require(dequeued.Event.Version > queued.Event.Version, $"{dequeued.At}.version", "The run left the queue before it was queued.");
        }
        Single<ScheduleEvent.ScheduleTriggered>(run.Source?.ScheduleId is null ? 0 : 1);

        TraceEntry? Single<TEvent>(int count)
            where TEvent : Event
        {
            var found = entries.Where(entry => entry.Event.Event is TEvent).ToList();
            Require(found.Count <= count, found.Count > count ? found[count].At : "$.events", count == 0 ? "The run cannot have this event." : "The event is there twice.");
            Require(found.Count == count, "$.events", $"The event {EventTypes.NamesOf(typeof(TEvent)).Last()} of the run is missing.");
            return found.FirstOrDefault();
        }
    }

    /// <summary>
    /// Each answer has the calls that it counts, and each call its policy decision, its approval where the policy asked for one, and its result. Only a call that was
    /// allowed has a result that is no error. An answer's request shows feedback that was given before, once, and the reply has seen all of it. Nothing follows the end.
    /// </summary>
    static void CheckCalls(List<TraceEntry> own, IReadOnlyList<TraceEntry> past, bool isCounterfactual, CancellationToken ct)
    {
        var open = new Queue<ToolCall>();
        // Arguments that were erased have not the digest that they had.
        var isErased = own.Concat(past).Any(entry => entry.IsErased && entry.Event.Event is ToolCall);
        var (expected, steps) = (0L, 0L);
        var isAllowed = false;
        var unseen = 0;
        PolicyDecision? asked = null;
        ApprovalRequested? pending = null;
        var isRefused = false;
        var hasEnded = false;
        foreach (var before in past.Select(entry => entry.Event.Event))
        {
            steps += before is MemoryRetrieval or LlmResponse or ToolResult ? 1 : 0;
            unseen += before is FeedbackReceived ? 1 : before is LlmResponse { Feedback: { } shown } ? -shown : 0;
            if (before is ToolCall called)
            {
                open.Enqueue(called);
            }
            else if (before is ToolResult)
            {
                open.TryDequeue(out _);
            }
        }
        foreach (var entry in own)
        {
            var (at, _, e, _) = entry;
            ct.ThrowIfCancellationRequested();
            Require(
                isCounterfactual || e.Event is not (ApprovalServed or ToolResult { Source: not null } or LlmResponse { Source: not null } or FeedbackReceived { Source: not null }),
                at, "Only a counterfactual is served from the record of another run.");
            Require(!hasEnded, at, "The run has ended before.");
            Require(expected == 0 || e.Event is ToolCall, at, $"The model's answer has {expected} more calls.");
            Require(asked is null || e.Event is ApprovalRequested or ApprovalServed, at, "The request for the approval is missing.");
            Require(!isRefused || e.Event is ToolResult { IsError: true } or RunCancelled, at, "A refused call has no result but the refusal.");
            Require(
                pending is null || e.Event is ApprovalDecided or RunCancelRequested or FeedbackReceived, at, "The decision on the approval is missing.");
            switch (e.Event)
            {
                case MemoryRetrieval:
                    steps++;
                    break;
                case LlmResponse answer:
                    Require(open.Count == 0, at, "A call of the answer before has no result.");
                    Require(answer.Step == ++steps, at, $"It is step {steps} of the run.");
                    Require(answer.Feedback is not (< 1) && (answer.Feedback ?? 0) <= unseen, at, "Its request shows feedback that nobody gave.");
                    unseen -= answer.Feedback ?? 0;
                    Require(
                        (answer.Continues ?? false) == (answer.ToolCalls == 0 && unseen > 0), at,
                        "The run goes on after an answer without calls while feedback waits, and only then.");
                    expected = answer.ToolCalls;
                    break;
                case FeedbackReceived:
                    unseen++;
                    break;
                case AssistantReply:
                    Require(unseen == 0, at, "Feedback waits that this reply has not seen.");
                    break;
                case ToolCall call:
                    Require(expected-- > 0, at, "The model's answer has no such call.");
                    open.Enqueue(call);
                    break;
                case PolicyDecision decision:
                    Require(open.TryPeek(out var judged) && judged.Id == decision.ToolCallId && !isAllowed, at, "The decision is about no call that waits for one.");
                    isAllowed = decision.Outcome == PolicyOutcome.Allow;
                    isRefused = decision.Outcome == PolicyOutcome.Deny;
                    asked = decision.Outcome == PolicyOutcome.Confirm ? decision : null;
                    break;
                case ApprovalRequested request:
                    Require(asked is not null && asked.ToolCallId == request.ToolCallId && asked.Rule == request.Rule, at, "The policy did not ask for this approval.");
                    var waiting = open.Peek();
                    Require(
                        waiting.Name == request.ToolName && waiting.Input == request.ToolInput
                        && (isErased || waiting.Input is not Content.Inline text || Digest(text.Text) == request.ArgsDigest),
                        at, "The approval is about another call.");
                    (asked, pending) = (null, request);
                    break;
                case ApprovalServed served:
                    Require(
                        asked is not null && asked.ToolCallId == served.ToolCallId && open.Peek() is var same && same.Name == served.ToolName
                        && (isErased || same.Input is not Content.Inline given || Digest(given.Text) == served.ArgsDigest),
                        at, "The policy did not ask for this approval.");
                    asked = null;
                    isAllowed = served.Outcome == ApprovalOutcome.Approved;
                    isRefused = !isAllowed;
                    break;
                case ApprovalDecided decided:
                    Require(pending is not null && pending.ApprovalId == decided.ApprovalId, at, "Nobody asked for this approval.");
                    pending = null;
                    isAllowed = decided.Outcome == ApprovalOutcome.Approved;
                    isRefused = !isAllowed;
                    break;
                case ToolResult result:
                    Require(open.TryDequeue(out var called) && called.Id == result.Id && called.Name == result.Name, at, "The result is of no call that waits for one.");
                    Require(isAllowed || result.IsError, at, "No decision of the policy and no approval allows the call.");
                    Require(result.Source is not null == (isAllowed && isCounterfactual), at, "A call of a counterfactual that is allowed says where its result is from.");
                    Require(result.Step == ++steps, at, $"It is step {steps} of the run.");
                    (isAllowed, isRefused) = (false, false);
                    break;
                case RunCompleted:
                    Require(open.Count == 0, at, "A call has no result.");
                    hasEnded = true;
                    break;
                case RunFailed or RunCancelled:
                    hasEnded = true;
                    break;
            }
        }
    }

    /// <summary>A completed run says what its events sum up to.</summary>
    static void CheckTotals(List<TraceEntry> own)
    {
        if (own[^1] is { Event.Event: RunCompleted completed, At: var at })
        {
            var run = own.Select(entry => entry.Event).Aggregate((RunRow?)null, Runs.Evolve)!;
            Require(
                (completed.TotalTokens, completed.ToolCalls, completed.CostMicroUsd) == (run.TotalTokens, run.ToolCalls, run.CostMicroUsd), at,
                "The totals are not the sums of the run's events.");
        }
    }

    /// <summary>
    /// What <c>write_file</c> and <c>move_file</c> say that they wrote below the output root is there. The result's text names the path, and the call's arguments the content.
    /// </summary>
    static void CheckArtifacts(List<TraceEntry> entries, List<TraceEntry> own)
    {
        var written = entries.Select(entry => entry.Event.Event).OfType<ArtifactEvent.ArtifactDiscovered>()
            .ToLookup(artifact => Artifact.KeyOf(artifact.SessionId, artifact.Path).Value, StringComparer.Ordinal);
        var session = ((RunCreated)own[0].Event.Event).SessionId;
        var calls = new Dictionary<string, ToolCall>(StringComparer.Ordinal);
        foreach (var (at, _, e, _) in own)
        {
            if (e.Event is ToolCall call)
            {
                calls[call.Id] = call;
            }
            if (e.Event is not ToolResult { IsError: false, Content: Content.Inline said, Source: null or Counterfactual.Live } result
                || calls.GetValueOrDefault(result.Id) is not { Input: Content.Inline arguments })
            {
                continue;
            }
            var isMissing = result.Name switch
            {
                // A path that is spelt another way than the result shows it is not looked for: the result may name it in another form.
                "write_file" => Argument(arguments.Text, "path") is { } path && OutputRoot.Contains(path) && Argument(arguments.Text, "content") is { } content
                    && said.Text == $"Wrote {path} ({Encoding.UTF8.GetByteCount(content)} bytes)."
                    && !written[Artifact.KeyOf(session, path).Value].Any(artifact => artifact.Sha256 == Digest(content)),
                "move_file" => Argument(arguments.Text, "to") is { } to && OutputRoot.Contains(to) && said.Text.EndsWith($" to {to}.", StringComparison.Ordinal)
                    && !written.Contains(Artifact.KeyOf(session, to).Value),
                _ => false,
            };
            Require(!isMissing, at, "The artifact that the call wrote is missing.");
        }
    }

    /// <summary>A text of a call's arguments; null: there is none.</summary>
    internal static string? Argument(string json, string name)
    {
        try
        {
            var arguments = JsonElement.Parse(json);
            return arguments.ValueKind == JsonValueKind.Object && arguments.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
                ? value.GetString()
                : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // The model may write anything.
            return null;
        }
    }

    /// <summary>
    /// What a call was told to remember is there, before the call's result. A memory has the name of what it comes from: a call, the session's summary, or what was learned.
    /// </summary>
    static void CheckMemories(List<TraceEntry> entries, List<TraceEntry> own, IReadOnlyList<TraceEntry> past, RunCreated run)
    {
        var written = entries.Where(entry => entry.Event.Event is MemoryEvent.MemoryWritten).ToDictionary(entry => entry.Event.Stream, StringComparer.Ordinal);
        var steps = StepsOf(own, past);
        // A call whose result a crash prevented may have left its memory.
        var ofCalls = Enumerable.Range(1, steps + 1).Select(step => MemoryOf(run.RunId, step)).ToHashSet(StringComparer.Ordinal);
        var notes = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [StreamOf($"session_summary {run.SessionId.Value}")] = "session_summary",
            [StreamOf($"learning {run.RunId.Value}")] = "learning",
        };
        var hasCompleted = own[^1].Event.Event is RunCompleted;
        foreach (var (at, _, e, _) in written.Values)
        {
            var memory = (MemoryEvent.MemoryWritten)e.Event;
            var isNote = notes.TryGetValue(e.Stream, out var kind);
            Require(isNote || ofCalls.Contains(e.Stream), $"{at}.stream_id", "No call of the run and no note on it has this memory.");
            Require(memory.Kind == (kind ?? "memory"), $"{at}.data", $"The memory's kind is {kind ?? "memory"}.");
            Require(!isNote || (hasCompleted && e.Position > own[^1].Event.Position), at, "Notes follow the completed run.");
            Require(
                memory.Event is not { } from || (from.StreamId == own[0].Event.Stream && from.Version >= 1 && from.Version <= own[^1].Event.Version), $"{at}.data",
                "The memory follows from no event of the run.");
        }
        foreach (var (at, _, e, _) in own)
        {
            if (e.Event is ToolResult { Name: "remember", IsError: false, Source: null or Counterfactual.Live } result)
            {
                Require(
                    written.TryGetValue(MemoryOf(run.RunId, result.Step), out var memory) && memory.Event.Position < e.Position, at,
                    "The memory that the call kept is missing.");
            }
        }
    }

    /// <summary>How many steps a run has, with those of its past.</summary>
    internal static int StepsOf(IEnumerable<TraceEntry> own, IEnumerable<TraceEntry> past) =>
        past.Concat(own).Count(entry => entry.Event.Event is MemoryRetrieval or LlmResponse or ToolResult);

    /// <summary>The stream of the memory that a call keeps.</summary>
    internal static string MemoryOf(RunKey run, int step) => StreamOf($"memory {run.Id}:{step}");

    static string StreamOf(string name) => Memory.Aggregate.Stream(new(Ids.KeyOf(name)));

    static string Digest(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
