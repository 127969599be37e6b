using System.Text;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

using static Cowork.Domain.RunCommand;
using static Cowork.Domain.RunEvent;

namespace Cowork.Application;

/// <summary>
/// Runs the agent loop again on what is recorded of a run: <see cref="Run.Next"/> says what to do, the recorded answers of the model and results of the tools are what
/// comes of it, and <see cref="Run.Decide"/> makes the events, which are compared with the recorded ones to the byte. What persons, providers, tools, the clock and the node
/// brought in is taken from the record; requests to the model, verdicts of the policy, step numbers, limits, totals and ends are made anew. Nothing is written, called or
/// asked.
/// </summary>
public sealed class RunReplay : IAsyncDisposable
{
    /// <summary>Bytes of an event's data of which a side of a divergence is cut.</summary>
    const int SideBytesMax = 8_000;

    /// <summary>A driver's timer and the time of day are two clocks; a run that its timer ended may say a time that is that much before its limit.</summary>
    static readonly TimeSpan ClocksDifferBy = TimeSpan.FromSeconds(1);

    const string NoSettings = "The settings that the run was driven under are not recorded.";

    static readonly RunLimits NoLimits = new(long.MaxValue, int.MaxValue, int.MaxValue, TimeSpan.FromDays(36_500));

    /// <summary>The host's own tools in the releases that did not record their names.</summary>
    static readonly string[] FirstTools = ["delete_file", "list_files", "move_file", "read_file", "recall", "remember", "search_files", "write_file"];

    static readonly string[][] EarlierTools = [[.. FirstTools, "query_connector", "scratchpad"], [.. FirstTools, "query_connector"], FirstTools];

    static readonly JsonElement NoSchema = JsonElement.Parse("{}");

    readonly IRunRecord record;
    readonly RecordedBlobs blobs;
    readonly IAsyncEnumerator<RecordedEvent> recorded;
    readonly List<RecordedEvent> ahead = [];
    readonly List<UnprovedPart> unproved = [];
    readonly RunEffects effects;
    readonly CancellationToken ct;
    Run state = Run.Aggregate.Initial;
    RecordedEvent? last;
    string hash = HashChain.Root;
    string? named;
    RunSettings? settings;
    IReadOnlyList<string>? tools;
    Policy? proposed;
    ReplayedEffects? past;
    DateTimeOffset askedAt;
    int steps, requests, verdicts;

    RunReplay(IRunRecord record, CancellationToken ct)
    {
        this.record = record;
        this.ct = ct;
        blobs = new(record);
        recorded = record.Events(ct).GetAsyncEnumerator(ct);
        effects = new(record, record.Run, record.Effects(ct), isPast: false, Unproved, ct);
    }

    /// <summary>Replays a run as far as it is recorded.</summary>
    public static async Task<ReplayReport> Of(IRunRecord record, CancellationToken ct)
    {
        await using var replay = new RunReplay(record, ct);
        return await replay.Report();
    }

    public async ValueTask DisposeAsync()
    {
        await recorded.DisposeAsync();
        await effects.DisposeAsync();
    }

    async Task<ReplayReport> Report()
    {
        ReplayDivergence? divergence = null;
        try
        {
            while (await Peek() is { } e)
            {
                ct.ThrowIfCancellationRequested();
                await Replay(e);
            }
            await End();
        }
        catch (DivergedException e)
        {
            divergence = e.Divergence;
        }
        return new(
            record.Run, divergence is null ? ReplayReport.Equal : ReplayReport.Diverged, last?.Version ?? 0, steps, requests, verdicts, last is null ? null : hash,
            [.. unproved.OrderBy(part => part.Part, StringComparer.Ordinal)], divergence, effects.Report(), past);
    }

    /// <summary>Judges what the run left behind its last event.</summary>
    async ValueTask End()
    {
        try
        {
            await effects.End(state);
        }
        catch (Exception fault) when (IsUnreadable(fault) && last is not null)
        {
            throw Diverged("unreadable", last, Data(last), fault.Message);
        }
    }

    /// <summary>The recorded event that many places ahead of the next one; null: the record ends before it.</summary>
    async ValueTask<RecordedEvent?> Peek(int places = 0)
    {
        while (ahead.Count <= places)
        {
            if (!await recorded.MoveNextAsync())
            {
                return null;
            }
            ahead.Add(recorded.Current);
        }
        return ahead[places];
    }

    async ValueTask Replay(RecordedEvent e)
    {
        try
        {
            if (e.Event is RunCreated created && state is Run.None)
            {
                if (created.Counterfactual is { } counterfactual)
                {
                    await GoOff(counterfactual, e);
                }
                await Compare(created);
                return;
            }
            var decision = Run.Decide(await CommandFor(e), state);
            if (decision.Refused is { } refused || decision.Events.Count == 0)
            {
                throw Diverged("next_step", e, Data(e), decision.Refused?.Detail ?? "Nothing.");
            }
            foreach (var made in decision.Events)
            {
                await Compare(made);
            }
        }
        catch (Exception fault) when (IsUnreadable(fault))
        {
            throw Diverged("unreadable", e, Data(e), fault.Message);
        }
    }

    /// <summary>Begins a counterfactual with what it has in common with the other run.</summary>
    async ValueTask GoOff(Counterfactual counterfactual, RecordedEvent e)
    {
        var cut = counterfactual.Of;
        RecordedEvent? behind = null;
        await using var left = new RunEffects(record, cut.RunId, record.PastEffects(cut, ct), isPast: true, Unproved, ct);
        await foreach (var common in record.Past(cut, ct))
        {
            await left.Before(common.Position, state);
            var before = state;
            (state, behind) = (Run.Evolve(state, (RunEvent)common.Event), common);
            await left.After(common, before);
            left.Steps = state is Run.Active at ? at.StepsDone : left.Steps;
        }
        await left.End(state);
        past = left.Report();
        if (behind?.Version != cut.Version || behind.Hash != cut.Hash)
        {
            throw Diverged("hash", e, cut.Hash, behind is null ? "The record does not have the beginning of the run." : behind.Hash);
        }
        proposed = await CallPolicy.PolicyOf(counterfactual, blobs, ct);
        steps = state is Run.Active active ? active.StepsDone : 0;
    }

    /// <summary>What a record that no host wrote makes the loop throw.</summary>
    static bool IsUnreadable(Exception e) => e is
        JsonException or InvalidDataException or FormatException or ArgumentException or OverflowException or NotSupportedException or KeyNotFoundException
        or NullReferenceException or InvalidOperationException or System.Diagnostics.UnreachableException or InvalidCastException;

    /// <summary>The command that the recorded event follows from: of a person, of a node that starts the run, or of its loop.</summary>
    async ValueTask<RunCommand> CommandFor(RecordedEvent e)
    {
        switch (e.Event)
        {
            case RunStarted started:
                await Use(started.Settings);
                return new Start(started.Epoch, started.Node, e.At, started.Settings);
            case RunResumed resumed:
                await Use(resumed.Settings ?? named);
                return new Start(resumed.Epoch, resumed.Node, e.At, resumed.Settings ?? named);
            case FeedbackReceived feedback:
                return new RunCommand.GiveFeedback(feedback.Text, feedback.By, e.At, feedback.Issuers, feedback.Source);
            case RunCancelRequested:
                return new RunCommand.Cancel(e.At);
            case ApprovalDecided decided:
                return new RunCommand.DecideApproval(decided.ApprovalId, decided.Outcome, decided.By, decided.Note, e.At, decided.Issuers);
            default:
                return state is Run.Active active
                    ? await OfLoop(active, e)
                    : throw Diverged("next_step", e, Data(e), Told(Run.Next(state, NoLimits, e.At)));
        }
    }

    /// <summary>What the loop does, with the recorded outcome.</summary>
    async ValueTask<RunCommand> OfLoop(Run.Active run, RecordedEvent e)
    {
        if (e.Event is RunFailed failed)
        {
            return await Failure(run, e, failed);
        }
        if (e.Event is RunCancelled)
        {
            return new ConfirmCancel(run.Epoch, e.At);
        }
        // A step that was under way when somebody asked for the end may still have been recorded, and nothing after it.
        var next = Run.Next(run.CancelRequested && e.Event is not (PolicyDecision or RunCompleted) ? run with { CancelRequested = false } : run, Limits, askedAt);
        switch (next, e.Event)
        {
            case (NextStep.RetrieveMemory, MemoryRetrieval memory) when memory.Provenance.Count == memory.Context.Count:
                return new RecordMemory(
                    run.Epoch, [.. memory.Provenance.Zip(memory.Context, (from, text) => new RetrievedMemory(from, text))], memory.History, e.At, memory.Conversation);
            case (NextStep.AskModel, ToolsOffered offered):
                return new OfferTools(run.Epoch, offered.Tools, offered.Count, offered.LeftOut, e.At);
            case (NextStep.AskModel, OutputDelta delta):
                return new RecordText(run.Epoch, delta.Text, e.At);
            case (NextStep.AskModel, ThinkingDelta delta):
                return new RecordThinking(run.Epoch, delta.Text, e.At);
            case (NextStep.AskModel, ModelRetried retried):
                var retrySha256 = retried.RequestSha256 is null ? null : await Request(run, AnyFeedback(run), e, retried.RequestSha256);
                return new RetryModel(run.Epoch, retried.Code, retried.Message, TimeSpan.FromMilliseconds(retried.WaitMs), e.At, retried.Usage, retrySha256);
            case (NextStep.AskModel, LlmResponse answer):
                return await Answer(run, e, answer);
            case (NextStep.EvaluatePolicy judged, PolicyDecision decision):
                return await Verdict(run, e, judged.Call, decision);
            case (NextStep.CallTool call, ToolResult result):
                var isApproved = call.Granted is not { } granted || granted.ArgsDigest == CallPolicy.ArgsDigest(await blobs.Text(call.Call.Input, ct));
                return new RecordResult(run.Epoch, call.Call.Id, isApproved ? result.Content : Content.Of(ToolStep.NotApproved), result.IsError || !isApproved, e.At,
                    result.StartedAt, result.Source);
            case (NextStep.Finish, RunCompleted):
                return new Complete(run.Epoch, e.At);
            default:
                throw Diverged("next_step", e, Data(e), Told(next));
        }
    }

    RunLimits Limits => settings?.Limits ?? NoLimits;

    /// <summary>A failure that the limits demand is made anew; any other came from outside.</summary>
    async ValueTask<RunCommand> Failure(Run.Active run, RecordedEvent e, RunFailed failed)
    {
        if (!failed.Error.Code.StartsWith("limit_", StringComparison.Ordinal))
        {
            var sha256 = failed.RequestSha256 is null ? null : await Request(run, AnyFeedback(run), e, failed.RequestSha256);
            return new Fail(run.Epoch, failed.Error.Code, failed.Error.Message, e.At, failed.Usage, sha256);
        }
        if (settings is null)
        {
            Unproved("limits", NoSettings);
            return new Fail(run.Epoch, failed.Error.Code, failed.Error.Message, e.At);
        }
        var isEarly = run.TimeUpAt(Limits) is var end && end > e.At && end - e.At <= ClocksDifferBy;
        return Run.Next(run, Limits, isEarly && failed.Error.Code == "limit_time" ? end : e.At) is NextStep.GiveUp why
            ? new Fail(run.Epoch, why.Code, why.Message, e.At)
            : throw Diverged("next_step", e, Data(e), Told(Run.Next(run, Limits, e.At)));
    }

    /// <summary>A failed attempt does not say how much feedback its request showed: all that waits now, or less where some came while it was under way.</summary>
    static IEnumerable<int> AnyFeedback(Run.Active run) => Enumerable.Range(0, (run.Feedback?.Count ?? 0) + 1).Reverse();

    /// <summary>The recorded answer to the request that the loop makes.</summary>
    async ValueTask<RunCommand> Answer(Run.Active run, RecordedEvent e, LlmResponse answer)
    {
        var calls = new List<RequestedCall>();
        for (var i = 1; i <= answer.ToolCalls && await Peek(i) is { Event: ToolCall call }; i++)
        {
            calls.Add(new(call.Id, call.Name, call.Input));
        }
        var shown = Math.Min(answer.Feedback ?? 0, run.Feedback?.Count ?? 0);
        var sha256 = await Request(run, [shown], e, answer.RequestSha256);
        var given = new Answer(
            answer.Model, answer.StopReason, sha256, answer.InputTokens, answer.OutputTokens, Cost(run, e, answer), [.. calls], answer.CachedTokens, answer.UsageEstimated is true,
            answer.Reasoning, ModelRound.WhyNotCalled(answer.StopReason), shown, answer.AskedAt, answer.FirstTokenAt, answer.Source);
        return new RecordAnswer(run.Epoch, "", calls.Count == 0 ? NamedText.Of(run.Partial).Content : null, given, e.At);
    }

    /// <summary>What the answer cost: its tokens at the price that the host had, or as recorded where the record does not have that.</summary>
    long? Cost(Run.Active run, RecordedEvent e, LlmResponse answer)
    {
        if (answer.Source is not null || settings?.Prices is null)
        {
            return answer.CostMicroUsd;
        }
        var cost = settings.PriceOf(run.Request.Model)?.CostMicroUsd(answer.InputTokens, answer.OutputTokens, answer.CachedTokens ?? 0);
        return cost == answer.CostMicroUsd ? cost : throw Diverged("cost", e, Data(e), $"llm_response {Text(EventJson.Write(answer with { CostMicroUsd = cost }))}");
    }

    /// <summary>Makes the request anew and answers its digest, which is the recorded one.</summary>
    /// <param name="shown">How much of the feedback that waits it may show.</param>
    /// <param name="sha256">The recorded digest.</param>
    async ValueTask<string> Request(Run.Active run, IEnumerable<int> shown, RecordedEvent e, string sha256)
    {
        if (!await HasHistory(run))
        {
            Unproved("model_requests", "The record does not have the earlier turns that the prompt shows.");
            return sha256;
        }
        string? first = null;
        foreach (var (names, count) in Sets(tools).SelectMany(names => shown.Select(count => (names, count))))
        {
            var asked = run with { Feedback = run.Feedback?.GetRange(0, count) };
            var made = (await Prompt.Build(record.Org, asked, await Declared(asked, names), record, blobs, ct)).Sha256;
            first ??= made;
            if (made == sha256)
            {
                tools = names;
                requests++;
                return sha256;
            }
        }
        if (tools is null)
        {
            // Another set of tools, or another release's prompt: nothing tells them from a changed record.
            Unproved("model_requests", "The names of the tools that the model was offered are not recorded, and with those of earlier releases the request is another.");
            return sha256;
        }
        throw Diverged("model_request", e, sha256, first!);
    }

    /// <summary>The record has all earlier turns, and of those that are cut as much as the prompt shows.</summary>
    async ValueTask<bool> HasHistory(Run.Active run)
    {
        var history = run.Memory?.History ?? [];
        var cuts = (run.Request.Fork?.Cuts ?? []).RemoveAll(cut => !history.Contains(cut.RunId));
        foreach (var cut in cuts)
        {
            if (await record.Part(record.Org, cut, ct) is null)
            {
                return false;
            }
        }
        var whole = history.RemoveAll(earlier => cuts.Exists(cut => cut.RunId == earlier));
        return whole.IsEmpty || (await record.Turns(record.Org, whole, ct)).Count == whole.Count;
    }

    static string[][] Sets(IReadOnlyList<string>? recorded) => recorded is null ? EarlierTools : [[.. recorded]];

    /// <summary>What the model is offered. A request's digest has the names of tools, and of those of outside sources the digest of their declarations.</summary>
    async ValueTask<IReadOnlyList<AITool>> Declared(Run.Active run, IReadOnlyList<string> own)
    {
        var names = own.Where(run.Request.MayCall);
        if (run.Offered is not null)
        {
            names = names.Concat(OutsideTool.Read(await blobs.Text(run.Offered, ct)).Select(tool => tool.Name));
        }
        return [.. names.Select(name => AIFunctionFactory.CreateDeclaration(name, null, NoSchema))];
    }

    /// <summary>Judges the call anew.</summary>
    async ValueTask<RunCommand> Verdict(Run.Active run, RecordedEvent e, RequestedCall call, PolicyDecision decision)
    {
        if (!run.Request.MayCall(call.Name))
        {
            verdicts++;
            var (rule, reason) = CallPolicy.Unnamed(run.Request, call.Name);
            return new RecordPolicy(run.Epoch, call.Id, PolicyOutcome.Deny, rule, reason, e.At);
        }
        var request = (await Peek(1))?.Event as ApprovalRequested;
        var verdict = new PolicyVerdict(decision.Outcome, decision.Rule, decision.Reason);
        var (paths, until) = (request?.Paths, request?.ExpiresAt ?? e.At);
        if (settings is null || decision.Subject is null)
        {
            Unproved("policy_decisions", settings is null ? NoSettings : "What was judged is not recorded.");
        }
        else
        {
            var subject = CallSubject.Of(decision.Subject);
            verdict = run.Request.Counterfactual is { } counterfactual
                ? CallPolicy.Verdict(settings.Policy, proposed, counterfactual, call.Name, subject)
                : CallPolicy.Verdict(settings.Policy, call.Name, subject);
            (paths, until) = (CallPolicy.PathsOf(subject), e.At + settings.ApprovalTime);
            verdicts++;
        }
        if (verdict.Outcome == PolicyOutcome.Confirm && (await Peek(1))?.Event is ApprovalServed served)
        {
            return new ServeDecision(
                run.Epoch, call.Id, verdict.Rule, verdict.Reason, CallPolicy.ArgsDigest(await blobs.Text(call.Input, ct)),
                new(served.Outcome, served.By, served.Note, served.RunId, served.ApprovalId), e.At, decision.Subject);
        }
        return verdict.Outcome == PolicyOutcome.Confirm
            ? new RequestApproval(
                run.Epoch, call.Id, request?.ApprovalId ?? default, verdict.Rule, verdict.Reason, CallPolicy.ArgsDigest(await blobs.Text(call.Input, ct)), until, e.At, paths,
                decision.Subject)
            : new RecordPolicy(run.Epoch, call.Id, verdict.Outcome, verdict.Rule, verdict.Reason, e.At, decision.Subject);
    }

    /// <summary>Replays from now on under the settings with this digest.</summary>
    async ValueTask Use(string? sha256)
    {
        if (sha256 == named)
        {
            return;
        }
        (named, settings, tools) = (sha256, null, null);
        if (sha256 is not null && await record.Blob(sha256, ct) is { } json && Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(json)) == sha256)
        {
            settings = RunSettings.Read(json);
            tools = settings.Tools;
        }
        effects.Settings = settings;
    }

    /// <summary>Compares an event that the loop makes with the next recorded one, and goes on from it.</summary>
    async ValueTask Compare(RunEvent made)
    {
        if (await Peek() is not { } e)
        {
            throw Diverged("event", last!, "The record ends between events of one commit.", $"{EventTypes.FeedType(EventTypes.NameOf(made))} {Text(EventJson.Write(made))}");
        }
        await effects.Before(e.Position, state);
        var name = EventTypes.NameOf(made);
        if (made.GetType() != e.Event.GetType())
        {
            throw Diverged("next_step", e, Data(e), $"{EventTypes.FeedType(name)} {Text(EventJson.Write(made))}");
        }
        var data = EventJson.Write(made);
        // An event of an earlier version is compared in the form that this version reads it in.
        // So is one with texts of a data subject, which nobody seals to the same bytes twice.
        var isStored = e.Type == name && !EventSeal.MayBeSealed(e.Data.Span);
        var was = isStored ? CanonicalJson.Of(e.Data.Span) : EventJson.Write(e.Event);
        if (!data.AsSpan().SequenceEqual(was))
        {
            throw Diverged(made is PolicyDecision or ApprovalRequested ? "policy_decision" : "event", e, Text(was), Text(data));
        }
        var next = HashChain.Next(hash, record.Org, e.Stream, (last?.Version ?? 0) + 1, e.Id, e.Type, e.At, e.Actor, isStored ? data : CanonicalJson.Of(e.Data.Span));
        if (next != e.Hash)
        {
            throw Diverged("hash", e, e.Hash, next);
        }
        var before = state;
        state = Run.Evolve(state, made);
        await effects.After(e, before);
        (hash, last) = (next, e);
        ahead.RemoveAt(0);
        steps += made is MemoryRetrieval or LlmResponse or ToolResult ? 1 : 0;
        effects.Steps = steps;
        if (made is not (FeedbackReceived or RunCancelRequested or OutputDelta or ThinkingDelta or ModelRetried or ToolsOffered))
        {
            askedAt = e.At;
        }
    }

    void Unproved(string part, string reason)
    {
        var known = unproved.FindIndex(one => one.Part == part && one.Reason == reason);
        if (known < 0)
        {
            unproved.Add(new(part, 1, reason));
        }
        else
        {
            unproved[known] = unproved[known] with { Count = unproved[known].Count + 1 };
        }
    }

    DivergedException Diverged(string what, RecordedEvent e, string recordedSide, string replayed) =>
        DivergedException.At(what, state is Run.Active active ? active.StepsDone + 1 : steps, e, recordedSide, replayed);

    static string Data(RecordedEvent e) => $"{EventTypes.FeedType(e.Type)} {Text(e.Data.Span)}";

    static string Text(ReadOnlySpan<byte> json) => Encoding.UTF8.GetString(json.Length <= SideBytesMax ? json : json[..SideBytesMax]);

    static string Told(NextStep next) => next switch
    {
        NextStep.AskModel ask => $"The loop asks the model, round {ask.Round}.",
        NextStep.RetrieveMemory => "The loop retrieves memories.",
        NextStep.EvaluatePolicy judge => $"The loop judges the call {judge.Call.Id} of {judge.Call.Name}.",
        NextStep.CallTool call => $"The loop calls {call.Call.Name}, step {call.Step}.",
        NextStep.Finish => "The loop completes the run.",
        NextStep.GiveUp why => $"The loop fails the run: {why.Code}.",
        NextStep.ConfirmCancel => "The loop cancels the run.",
        NextStep.WaitApproval wait => $"The run waits for the decision on {wait.ApprovalId.Id}.",
        _ => "The loop does nothing.",
    };
}
