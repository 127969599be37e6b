using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application;

/// <summary>An answer of the model that is recorded.</summary>
/// <param name="Text">Its whole text.</param>
/// <param name="Thinking">What was shown of the model's thinking.</param>
/// <param name="Waiting">The feedback that waited when it was recorded, of which its request showed the first ones.</param>
public sealed record RecordedAnswer(LlmResponse Response, string Text, string Thinking, ImmutableList<RequestedCall> Calls, ImmutableList<FeedbackReceived> Waiting);

/// <summary>A call that is recorded.</summary>
/// <param name="Verdict">Null: it was not judged.</param>
/// <param name="Decision">Of a person; null: nobody was asked, or nobody has decided yet.</param>
/// <param name="Result">What the tool answered; null: the call was not made.</param>
public sealed record RecordedCall(PolicyDecision? Verdict, ApprovalDecided? Decision, ToolResult? Result);

/// <summary>What the world answered to a run, by what the run asked: the record that a counterfactual is served from.</summary>
public sealed class RecordedOutcomes
{
    readonly Dictionary<int, RecordedAnswer> answers = [];
    readonly List<(int Step, ToolsOffered Offer)> offers = [];
    readonly Dictionary<(string Tool, string ArgsDigest), List<RecordedCall>> calls = [];

    RecordedOutcomes()
    {
    }

    /// <summary>Events that were read.</summary>
    public int Events { get; private set; }

    /// <summary>Reads a run's own stream.</summary>
    public static async Task<RecordedOutcomes> Read(IAsyncEnumerable<RecordedEvent> events, CancellationToken ct)
    {
        var read = new RecordedOutcomes();
        var (text, thinking, waiting, steps) = (new StringBuilder(), new StringBuilder(), ImmutableList<FeedbackReceived>.Empty, 0);
        var open = new Dictionary<string, (ToolCall Call, PolicyDecision? Verdict, ApprovalDecided? Decision)>(StringComparer.Ordinal);
        var approvals = new Dictionary<ApprovalKey, string>();
        await foreach (var e in events.WithCancellation(ct))
        {
            read.Events++;
            switch (e.Event)
            {
                case MemoryRetrieval:
                    steps++;
                    break;
                case ToolsOffered offered:
                    read.offers.Add((steps + 1, offered));
                    break;
                case RunResumed or ModelRetried:
                    text.Clear();
                    thinking.Clear();
                    break;
                case OutputDelta delta:
                    text.Append(delta.Text);
                    break;
                case ThinkingDelta delta:
                    thinking.Append(delta.Text);
                    break;
                case FeedbackReceived feedback:
                    waiting = waiting.Add(feedback);
                    break;
                case LlmResponse response:
                    read.answers[response.Step] = new(response, text.ToString(), thinking.ToString(), [], waiting);
                    steps = response.Step;
                    waiting = waiting.RemoveRange(0, Math.Min(response.Feedback ?? 0, waiting.Count));
                    text.Clear();
                    thinking.Clear();
                    break;
                case ToolCall call when read.answers.TryGetValue(steps, out var answer):
                    read.answers[steps] = answer with { Calls = answer.Calls.Add(new(call.Id, call.Name, call.Input)) };
                    open[call.Id] = (call, null, null);
                    break;
                case PolicyDecision verdict when open.TryGetValue(verdict.ToolCallId, out var judged):
                    open[verdict.ToolCallId] = judged with { Verdict = verdict };
                    break;
                case ApprovalRequested request:
                    approvals[request.ApprovalId] = request.ToolCallId;
                    break;
                // A run that is cancelled while it waits has its approval rejected by the host: nobody decided.
                case ApprovalDecided { By: "system", Outcome: ApprovalOutcome.Rejected }:
                    break;
                case ApprovalDecided decided when approvals.TryGetValue(decided.ApprovalId, out var of) && open.TryGetValue(of, out var asked):
                    open[of] = asked with { Decision = decided };
                    break;
                case ToolResult result when open.Remove(result.Id, out var made):
                    steps = result.Step;
                    var isMade = made.Verdict?.Outcome == PolicyOutcome.Allow || made.Decision?.Outcome == ApprovalOutcome.Approved;
                    read.Add(made.Call, new(made.Verdict, made.Decision, isMade ? result : null));
                    break;
            }
        }
        foreach (var (call, verdict, decision) in open.Values.Where(call => call.Verdict is not null))
        {
            read.Add(call, new(verdict, decision, null));
        }
        return read;
    }

    /// <summary>The answer at a step of the run; null: the run did not ask the model there.</summary>
    public RecordedAnswer? AnswerAt(int step) => answers.GetValueOrDefault(step);

    /// <summary>What the model was offered of outside sources at a step; null: nothing.</summary>
    public ToolsOffered? OfferAt(int step) => offers.FindLast(offer => offer.Step <= step).Offer;

    /// <summary>A call by its name and arguments. The run may have made it several times: then the one with this number, and behind the last one the last.</summary>
    /// <param name="earlier">How many of the same calls were made before it.</param>
    public RecordedCall? Find(string tool, string argsDigest, int earlier) =>
        calls.TryGetValue((tool, argsDigest), out var same) ? same[Math.Min(earlier, same.Count - 1)] : null;

    void Add(ToolCall call, RecordedCall recorded)
    {
        var key = (call.Name, NamedText.Digest(call.Input));
        if (!calls.TryGetValue(key, out var same))
        {
            calls[key] = same = [];
        }
        same.Add(recorded);
    }
}

/// <summary>Reads the records that counterfactuals are served from. What is recorded up to a version does not change, so that each is read once and kept for a while.</summary>
public sealed class RunRecords(IEventLog log)
{
    /// <summary>Events of the records that are kept, about 100 MB of long ones.</summary>
    const long EventsKept = 100_000;

    readonly LastUsed<(string Org, RunKey Run, long Through), RecordedOutcomes> cache = new(EventsKept, static record => 1 + record.Events);

    /// <summary>The record that a counterfactual names.</summary>
    public async ValueTask<RecordedOutcomes> Of(string org, Counterfactual counterfactual, CancellationToken ct)
    {
        var key = (org, counterfactual.Of.RunId, counterfactual.Known);
        if (cache.Get(key) is not { } known)
        {
            known = await RecordedOutcomes.Read(UpTo(log, org, counterfactual.Of.RunId, counterfactual.Known, ct), ct);
            cache.Put(key, known);
        }
        return known;
    }

    /// <summary>A run's own stream up to a version.</summary>
    internal static async IAsyncEnumerable<RecordedEvent> UpTo(IEventLog log, string org, RunKey run, long version, [EnumeratorCancellation] CancellationToken ct)
    {
        await foreach (var e in LoggedRun.Pages(log, org, run, ct))
        {
            if (e.Version > version)
            {
                yield break;
            }
            yield return e;
        }
    }
}
