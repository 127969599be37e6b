using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application;

/// <summary>Two runs side by side.</summary>
/// <param name="FirstDivergence">The first step at which they did another thing, or got another result; null: all steps are alike.</param>
/// <param name="Steps">Steps of the same number beside each other, at most <see cref="RunDiff.StepsMax"/>.</param>
/// <param name="MoreSteps">Steps that are not shown.</param>
/// <param name="Artifacts">What is not the same in both, by path. A counterfactual has those of its common past.</param>
/// <param name="Memories">
/// Memories and notes that are not the same in both, by kind and number. A counterfactual has those of its common past, and no notes: then none are compared.
/// </param>
/// <param name="Reply">The replies; null: they are the same.</param>
/// <param name="Deltas">Right minus left, of the whole runs.</param>
public sealed record RunDifference(
    DiffedRun Left, DiffedRun Right, DiffPlace? FirstDivergence, RunDeltas Deltas, IReadOnlyList<DiffedStep> Steps, int MoreSteps, IReadOnlyList<DiffedArtifact> Artifacts,
    IReadOnlyList<DiffedMemory> Memories, DiffedTexts? Reply);

/// <summary>One of two runs that are compared.</summary>
/// <param name="Status"><c>queued</c>, <c>running</c>, <c>approval_required</c>, <c>completed</c>, <c>failed</c> or <c>cancelled</c>.</param>
/// <param name="DurationMs">From its creation to its last event.</param>
public sealed record DiffedRun(RunKey RunId, string Status, string? ErrorCode, string Model, int Steps, long InputTokens, long OutputTokens, decimal CostUsd, long DurationMs);

/// <param name="What">
/// <c>missing</c>: one of the runs has no such step; <c>kind</c>: one asked the model and the other called a tool; <c>request</c>: the model was asked something else;
/// <c>answer</c>: it answered something else; <c>tool</c>: another tool; <c>arguments</c>; <c>verdict</c>: the policy or a person decided otherwise; <c>result</c>;
/// <c>memories</c>: other ones were retrieved.
/// </param>
public sealed record DiffPlace(int Step, string What, string? Left, string? Right);

/// <summary>Right minus left.</summary>
public sealed record RunDeltas(long InputTokens, long OutputTokens, decimal CostUsd, long DurationMs, int Steps);

/// <param name="Differs">As in <see cref="DiffPlace.What"/>; null: the steps are alike.</param>
public sealed record DiffedStep(int Step, string? Differs, RunStep? Left, RunStep? Right, RunDeltas Deltas);

/// <summary>A step of a run.</summary>
/// <param name="Kind"><c>memory</c>, <c>model</c> or <c>tool</c>.</param>
/// <param name="Sha256">What the step asked: the digest of the request to the model, of the tool's arguments, or of the texts of the memories.</param>
/// <param name="OutcomeSha256">What came of it: the digest of the answer with its calls, or of the tool's result.</param>
/// <param name="Tool">The tool's name.</param>
/// <param name="Verdict">What the policy decided, the rule, and what a person decided.</param>
/// <param name="Arguments">Of a tool, where the other run's step has others: at most 2 000 characters.</param>
/// <param name="DurationMs">From its start, as the driver recorded it, to its end. Where it did not, from the event before: the same as in the run's steps.</param>
/// <param name="Source">Of a counterfactual: <c>recorded</c>, <c>stub</c> or <c>live</c>, as its event has it.</param>
public sealed record RunStep(
    string Kind, string Sha256, string OutcomeSha256, string? Tool, string? Verdict, bool IsError, int Attempt, long InputTokens, long OutputTokens, decimal CostUsd,
    long DurationMs, string? Arguments = null, string? Source = null);

/// <param name="LeftSha256">Null: the run did not make it.</param>
/// <param name="RightSha256">Null: the run did not make it.</param>
public sealed record DiffedArtifact(string Path, string? LeftSha256, string? RightSha256);

/// <param name="Kind"><c>memory</c>: what a call kept; <c>session_summary</c>: the run's line of it; <c>learning</c>.</param>
/// <param name="Number">The n-th of its kind in the run, from 1.</param>
/// <param name="LeftSha256">Of its text; null: the run did not keep it.</param>
/// <param name="RightSha256">As of the left.</param>
public sealed record DiffedMemory(string Kind, int Number, string? LeftSha256, string? RightSha256);

/// <summary>Two texts, at most 2 000 characters of each; null: the run has none.</summary>
public sealed record DiffedTexts(string? Left, string? Right);

/// <summary>
/// Aligns two runs by the numbers of their steps. What a step asked is compared by digests, so that it needs neither the same ids nor the same time. After the first divergence the
/// requests to the model are others by themselves, because each shows all that came before it.
/// </summary>
public static class RunDiff
{
    /// <summary>Steps in one answer: more than a run within the default limits has.</summary>
    public const int StepsMax = 500;

    const int TextCharsMax = 2_000;

    public static async Task<RunDifference> Of(IRunRecord left, IRunRecord right, CancellationToken ct)
    {
        var (a, b) = (await Story.Read(left, ct), await Story.Read(right, ct));
        var steps = new List<DiffedStep>();
        DiffPlace? first = null;
        var all = Math.Max(a.Steps.Count, b.Steps.Count);
        for (var i = 0; i < all; i++)
        {
            var (x, y) = (a.Steps.ElementAtOrDefault(i), b.Steps.ElementAtOrDefault(i));
            var differs = Differs(x?.Step, y?.Step);
            first ??= differs is null ? null : new(i + 1, differs, Shown(differs, x), Shown(differs, y));
            if (i < StepsMax)
            {
                var isOther = differs == "arguments";
                steps.Add(new(
                    i + 1, differs, isOther ? x!.Step with { Arguments = x.Arguments } : x?.Step,
                    isOther ? y!.Step with { Arguments = y.Arguments } : y?.Step, Deltas(x?.Step, y?.Step)));
            }
        }
        var artifacts = a.Artifacts.Keys.Union(b.Artifacts.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal)
            .Select(path => new DiffedArtifact(path, a.Artifacts.GetValueOrDefault(path), b.Artifacts.GetValueOrDefault(path)))
            .Where(artifact => artifact.LeftSha256 != artifact.RightSha256).ToList();
        var memories = a.Memories.Keys.Union(b.Memories.Keys).OrderBy(key => key.Kind, StringComparer.Ordinal).ThenBy(key => key.Number)
            .Where(key => key.Kind == Memory.Fact || !(a.IsCounterfactual || b.IsCounterfactual))
            .Select(key => new DiffedMemory(key.Kind, key.Number, a.Memories.GetValueOrDefault(key), b.Memories.GetValueOrDefault(key)))
            .Where(memory => memory.LeftSha256 != memory.RightSha256).ToList();
        return new(
            a.Run, b.Run, first,
            new(
                b.Run.InputTokens - a.Run.InputTokens, b.Run.OutputTokens - a.Run.OutputTokens, b.Run.CostUsd - a.Run.CostUsd, b.Run.DurationMs - a.Run.DurationMs,
                b.Run.Steps - a.Run.Steps),
            steps, Math.Max(all - StepsMax, 0), artifacts, memories, a.Reply == b.Reply ? null : new(Cut(a.Reply), Cut(b.Reply)));
    }

    static string? Differs(RunStep? left, RunStep? right) =>
        left is null || right is null ? "missing"
        : left.Kind != right.Kind ? "kind"
        : left.Tool != right.Tool ? "tool"
        : left.Sha256 != right.Sha256 ? (left.Kind switch { "model" => "request", "tool" => "arguments", _ => "memories" })
        : left.Verdict != right.Verdict ? "verdict"
        : left.OutcomeSha256 != right.OutcomeSha256 || left.IsError != right.IsError ? (left.Kind == "model" ? "answer" : "result")
        : null;

    static string? Shown(string differs, ToldStep? step) => step is null ? null : differs switch
    {
        "missing" or "kind" => step.Step.Tool ?? step.Step.Kind,
        "tool" => step.Step.Tool,
        "arguments" => step.Arguments,
        "verdict" => step.Step.Verdict,
        "answer" or "result" => step.Outcome,
        _ => step.Step.Sha256,
    };

    static RunDeltas Deltas(RunStep? left, RunStep? right) => new(
        (right?.InputTokens ?? 0) - (left?.InputTokens ?? 0), (right?.OutputTokens ?? 0) - (left?.OutputTokens ?? 0), (right?.CostUsd ?? 0) - (left?.CostUsd ?? 0),
        (right?.DurationMs ?? 0) - (left?.DurationMs ?? 0), 0);

    static string? Cut(string? text) => text is null ? null : FileText.Truncate(text, TextCharsMax);

    /// <summary>A step with texts of it, cut.</summary>
    sealed record ToldStep(RunStep Step, string? Arguments, string Outcome);

    /// <summary>A run as it is told, from its own events.</summary>
    sealed record Story(
        DiffedRun Run, IReadOnlyList<ToldStep> Steps, string? Reply, IReadOnlyDictionary<string, string> Artifacts, IReadOnlyDictionary<(string Kind, int Number), string> Memories,
        bool IsCounterfactual)
    {
        public static async Task<Story> Read(IRunRecord record, CancellationToken ct)
        {
            var blobs = new RecordedBlobs(record);
            var steps = new List<ToldStep>();
            var calls = new Dictionary<string, ToolCall>(StringComparer.Ordinal);
            var verdicts = new Dictionary<string, string>(StringComparer.Ordinal);
            var approvals = new Dictionary<ApprovalKey, string>();
            var (status, error, model, reply) = ("queued", (string?)null, "", (string?)null);
            var (text, answer, answered) = (new StringBuilder(), (LlmResponse?)null, new StringBuilder());
            var (input, output, cost) = (0L, 0L, 0L);
            DateTimeOffset? begin = null;
            var asked = default(DateTimeOffset);
            RunCut? past = null;
            // A step begins when the driver recorded it to, else with the event before its first one, as in RunSteps.
            var (before, last, round) = (default(DateTimeOffset), default(DateTimeOffset), (DateTimeOffset?)null);
            await foreach (var e in Whole(record, ct))
            {
                if (answer is not null && e.Event is not ToolCall)
                {
                    AddAnswer();
                }
                switch (e.Event)
                {
                    case RunCreated created:
                        // A counterfactual takes the time that the common past took, and its own.
                        (begin, model, past) = (e.At - (begin is { } common ? last - common : TimeSpan.Zero), created.Model, created.Counterfactual?.Of);
                        break;
                    case RunStarted or RunResumed:
                        (status, round) = ("running", null);
                        text.Clear();
                        break;
                    case MemoryRetrieval memory:
                        var memories = new StringBuilder();
                        foreach (var content in memory.Context)
                        {
                            memories.Append(await blobs.Text(content, ct)).Append('\n');
                        }
                        Add(new("memory", Digest(memories.ToString()), Digest(memories.ToString()), null, null, false, 1, 0, 0, 0, Ms(before, e.At)), null, memories.ToString());
                        break;
                    case ToolsOffered or ThinkingDelta:
                        round ??= before;
                        break;
                    case OutputDelta delta:
                        round ??= before;
                        text.Append(delta.Text);
                        break;
                    case ModelRetried retried:
                        round = null;
                        text.Clear();
                        (input, output, cost) = (
                            input + (retried.Usage?.InputTokens ?? 0), output + (retried.Usage?.OutputTokens ?? 0), cost + (retried.Usage?.CostMicroUsd ?? 0));
                        break;
                    case LlmResponse said:
                        (answer, asked, round) = (said, said.AskedAt ?? round ?? before, null);
                        answered.Clear().Append(text);
                        text.Clear();
                        (input, output, cost) = (input + said.InputTokens, output + said.OutputTokens, cost + (said.CostMicroUsd ?? 0));
                        break;
                    case ToolCall call:
                        calls[call.Id] = call;
                        answered.Append('\n').Append(call.Name).Append(' ').Append(await blobs.Text(call.Input, ct));
                        break;
                    case PolicyDecision decision:
                        verdicts[decision.ToolCallId] = $"{decision.Outcome.ToString().ToLowerInvariant()} ({decision.Rule})";
                        break;
                    case ApprovalRequested wanted:
                        (status, approvals[wanted.ApprovalId]) = ("approval_required", wanted.ToolCallId);
                        break;
                    case ApprovalDecided decided when approvals.TryGetValue(decided.ApprovalId, out var of):
                        (status, verdicts[of]) = ("running", $"{verdicts.GetValueOrDefault(of)}, {decided.Outcome.ToString().ToLowerInvariant()}");
                        break;
                    case ApprovalServed served:
                        verdicts[served.ToolCallId] = $"{verdicts.GetValueOrDefault(served.ToolCallId)}, {served.Outcome.ToString().ToLowerInvariant()}";
                        break;
                    case ToolResult result:
                        var arguments = calls.TryGetValue(result.Id, out var made) ? await blobs.Text(made.Input, ct) : "";
                        var outcome = await blobs.Text(result.Content, ct);
                        Add(
                            new(
                                "tool", Digest(arguments), Digest(outcome), result.Name, verdicts.GetValueOrDefault(result.Id), result.IsError, result.Attempt, 0, 0, 0,
                                Ms(result.StartedAt ?? before, e.At), Source: result.Source),
                            Cut(arguments), outcome);
                        break;
                    case AssistantReply said:
                        reply = await blobs.Text(said.Content, ct);
                        break;
                    case RunCompleted:
                        status = "completed";
                        break;
                    case RunFailed failed:
                        (status, error) = ("failed", failed.Error.Code);
                        (input, output, cost) = (
                            input + (failed.Usage?.InputTokens ?? 0), output + (failed.Usage?.OutputTokens ?? 0), cost + (failed.Usage?.CostMicroUsd ?? 0));
                        break;
                    case RunCancelled:
                        status = "cancelled";
                        break;
                }
                last = e.At;
                before = e.Event switch
                {
                    FeedbackReceived or RunCancelRequested => before,
                    ModelRetried pause => e.At + TimeSpan.FromMilliseconds(pause.WaitMs),
                    _ => e.At,
                };
            }
            if (answer is not null)
            {
                AddAnswer();
            }
            var (artifacts, kept, numbers) = (
                new Dictionary<string, string>(StringComparer.Ordinal), new Dictionary<(string, int), string>(), new Dictionary<string, int>(StringComparer.Ordinal));
            await foreach (var e in Left(record, past, ct))
            {
                if (e.Event is ArtifactEvent.ArtifactDiscovered artifact)
                {
                    artifacts[artifact.Path] = artifact.Sha256;
                }
                else if (e.Event is MemoryEvent.MemoryWritten memory)
                {
                    numbers[memory.Kind] = numbers.GetValueOrDefault(memory.Kind) + 1;
                    kept[(memory.Kind, numbers[memory.Kind])] = Digest(SessionNotes.LastLine(memory.Kind, await blobs.Text(memory.Text, ct)));
                }
            }
            return new(
                new(record.Run, status, error, model, steps.Count, input, output, Money.Usd(cost), begin is { } from ? (long)(last - from).TotalMilliseconds : 0),
                steps, reply, artifacts, kept, past is not null);

            static long Ms(DateTimeOffset from, DateTimeOffset to) => Math.Max(0, (long)(to - from).TotalMilliseconds);

            void AddAnswer()
            {
                var said = answer!;
                answer = null;
                Add(
                    new(
                        "model", said.RequestSha256, Digest(answered.ToString()), null, null, false, said.Attempt, said.InputTokens, said.OutputTokens,
                        Money.Usd(said.CostMicroUsd ?? 0),
                        Ms(asked, said.At), Source: said.Source),
                    null, answered.ToString());
            }

            void Add(RunStep step, string? arguments, string outcome) => steps.Add(new(step, arguments, FileText.Truncate(outcome, TextCharsMax)));
        }

        /// <summary>The run's events, and before them those of its past in another run.</summary>
        static async IAsyncEnumerable<RecordedEvent> Whole(IRunRecord record, [EnumeratorCancellation] CancellationToken ct)
        {
            await foreach (var e in record.Events(ct))
            {
                if (e.Event is RunCreated { Counterfactual.Of: { } cut })
                {
                    await foreach (var past in record.Past(cut, ct))
                    {
                        yield return past;
                    }
                }
                yield return e;
            }
        }

        /// <summary>What the run left in other streams, and before it what its past in another run did.</summary>
        static async IAsyncEnumerable<RecordedEvent> Left(IRunRecord record, RunCut? past, [EnumeratorCancellation] CancellationToken ct)
        {
            if (past is not null)
            {
                await foreach (var e in record.PastEffects(past, ct))
                {
                    yield return e;
                }
            }
            await foreach (var e in record.Effects(ct))
            {
                yield return e;
            }
        }

        static string Digest(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }
}
