using System.Collections.Immutable;

using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>The step of a run that asks its model.</summary>
public sealed partial class ModelStep(
    RunRecorder recorder, IReadOnlyDictionary<string, IChatClient> models, Toolbox toolbox, IRunQueries queries, IBlobs blobs, RunOptions options, Policy policy,
    Budgets budgets, RunRecords recorded, TimeProvider clock,
    ILogger<ModelStep> logger)
{
    /// <summary>Asks, again where the model's terms allow it, and records the answer with its text as it comes.</summary>
    internal async ValueTask<Refusal?> Ask(DrivenRun run, Run.Active state, CancellationToken stop, CancellationToken ct)
    {
        var (claim, request) = (run.Claim, state.Request);
        var counterfactual = request.Counterfactual;
        if (counterfactual is not null)
        {
            var record = await recorded.Of(run.Org, counterfactual, ct);
            if (record.OfferAt(state.StepsDone + 1) is { } known && known.Tools != state.Offered)
            {
                var command = (DateTimeOffset now) => new RunCommand.OfferTools(claim.Epoch, known.Tools, known.Count, known.LeftOut, now);
                if (await recorder.Record(run, command, ct) is { } refused)
                {
                    return refused;
                }
                state = state with { Offered = known.Tools };
            }
            if (!counterfactual.Changed.Contains(Counterfactual.ModelChanged) && record.AnswerAt(state.StepsDone + 1) is { } answered
                && await Recorded(run, state, answered, ct) is { } served)
            {
                return await recorder.Record(run, served, ct);
            }
        }
        if (!models.TryGetValue(request.Model, out var model))
        {
            return await recorder.Fail(run, "unknown_model", $"There is no model \"{request.Model}\".", ct);
        }
        var (folders, fault) = await recorder.Grants(run, state, ct);
        if (fault is not null)
        {
            return await recorder.Fail(run, fault.Code, fault.Message, ct);
        }
        // A request that is made again, after a crash or on another host, offers what it offered before.
        if (counterfactual is null && state is { StepAttempt: 1 } or { Offered: null } && await toolbox.Look(run.Org, state, stop) is { } offer)
        {
            var command = (DateTimeOffset now) => new RunCommand.OfferTools(claim.Epoch, offer.Tools, offer.Count, offer.LeftOut, now);
            if (await recorder.Record(run, command, ct) is { } refused)
            {
                return refused;
            }
            state = state with { Offered = offer.Tools };
        }
        var tools = await toolbox.DeclarationsFor(state, ct);
        Prompt? prompt = null;
        // The offline model reads the folder itself, which in a counterfactual is a tool's call like any other.
        var folder = folders is null || counterfactual?.Allows("read_file") is false ? null : new SessionFolder(run.Org, request.SessionId, folders, request.Subject);
        var chat = new ChatOptions { ModelId = request.Model, Tools = [.. tools], AdditionalProperties = new() { [OfflineModel.Workspace] = folder } };
        var terms = Budgets.TermsOf(model);
        ModelRound round;
        var spent = 0L;
        for (var attempt = 1; ; attempt++)
        {
            Refusal? unpaid;
            do
            {
                prompt = await WithAllFeedback(run, state, prompt, tools, ct);
                var cost = Budgets.CostOf(run.Key, state.StepsDone + 1, state.StepAttempt + attempt - 1, request.Model, model, prompt.Messages, chat);
                unpaid = OverOwnBudget(counterfactual, state, cost) ?? await budgets.Reserve(run, state, cost, prompt.Feedback, ct);
            }
            while (unpaid?.Code == Budgets.PromptIsOld);
            if (unpaid is not null)
            {
                return unpaid.Code == "budget_exceeded" ? await recorder.Fail(run, unpaid.Code, unpaid.Detail, ct) : unpaid;
            }
            stop.ThrowIfCancellationRequested();
            run.Held?.SpentMicroUsd = null;
            round = new(state, options.DeltaEvery, policy.ShowThinking, clock);
            using var call = ModelCall.Start(model, request.Model, request.RunId, request.SessionId, clock);
            try
            {
                await round.Read(
                    model.GetStreamingResponseAsync(prompt.Messages, chat, stop),
                    text => Show(now => new RunCommand.RecordText(claim.Epoch, text, now)),
                    thinking => Show(now => new RunCommand.RecordThinking(claim.Epoch, thinking, now)),
                    stop);
                if (call is not null)
                {
                    round.Describe(call, terms.Price);
                }
                break;
            }
            catch (RunFencedException fenced)
            {
                call?.Fail(fenced.Refused.Code);
                return fenced.Refused;
            }
            catch (ModelException e)
            {
                call?.Fail(e.Code);
                // The provider's words may hold pieces of the prompt; they stand in the run's events, where the prompt does.
                LogNoAnswer(logger, run.Key, request.Model, e.Code, e.InnerException?.GetType().Name);
                var used = Used(e, terms);
                run.Held?.SpentMicroUsd = used?.CostMicroUsd ?? (e.IsUnbilled ? 0 : null);
                if (!e.CanRetry || terms.Retries.DelayAfter(attempt, e.RetryAfter, $"{run.Key.Value}:{state.StepsDone}") is not { } wait)
                {
                    return await recorder.Fail(run, e.Code, e.Message, ct, used, prompt.Sha256);
                }
                // What came so far was perhaps shown: the log says that it does not count.
                var retry = (DateTimeOffset now) => new RunCommand.RetryModel(claim.Epoch, e.Code, RunRecorder.ErrorText(e.Message), wait, now, used, prompt.Sha256);
                if (await Settle(retry) is { } notRetried)
                {
                    return notRetried;
                }
                spent += used is null ? 0 : used.InputTokens + used.OutputTokens;
                if (state.Usage.Tokens + spent > options.Limits.Tokens)
                {
                    // The run ends at its limit instead of asking again.
                    return null;
                }
                await Task.Delay(wait, clock, stop);
            }
            catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
            {
                call?.Fail(ModelException.Failed);
                LogModelFailed(logger, e, run.Key, request.Model);
                return await recorder.Fail(run, ModelException.Failed, e.Message, ct, requestSha256: prompt.Sha256);
            }
        }
        if (await recorder.WhyFenced(run, ct) is { } over)
        {
            return over;
        }
        var kept = blobs.For(claim.Org, state.Subject);
        var answer = await round.Answer(prompt, terms.Price, kept, ct);
        var reply = answer.Calls.IsEmpty ? await kept.Store(round.Text, ct) : null;
        run.Held?.SpentMicroUsd = answer.CostMicroUsd;
        return await Settle(now => new RunCommand.RecordAnswer(claim.Epoch, round.Tail, reply, answer, now, round.ThinkingTail));

        ValueTask<Refusal?> Settle(Func<DateTimeOffset, RunCommand> outcome) => budgets.Settle(run, also => recorder.Record(run, outcome, ct, also), ct);

        async Task Show(Func<DateTimeOffset, RunCommand> piece)
        {
            if (await recorder.Record(run, piece, ct) is { } refused)
            {
                throw new RunFencedException(refused);
            }
        }
    }

    /// <summary>
    /// The recorded answer to the request that the run makes, with the feedback that the recorded run had by then; null: it would ask something else. Requests with the same
    /// digest show the same.
    /// </summary>
    async ValueTask<Func<DateTimeOffset, RunCommand>?> Recorded(DrivenRun run, Run.Active state, RecordedAnswer answer, CancellationToken ct)
    {
        var (response, waiting) = (answer.Response, state.Feedback ?? []);
        if (waiting.Count > answer.Waiting.Count || !waiting.SequenceEqual(answer.Waiting.Take(waiting.Count).Select(said => said.Text)))
        {
            return null;
        }
        var shown = response.Feedback ?? 0;
        var asked = state with { Feedback = answer.Waiting.IsEmpty ? null : [.. answer.Waiting.Take(shown).Select(said => said.Text)] };
        var prompt = await Prompt.Build(run.Org, asked, await toolbox.DeclarationsFor(asked, ct), queries, blobs, ct);
        if (prompt.Sha256 != response.RequestSha256)
        {
            return null;
        }
        var given = new Answer(
            response.Model, response.StopReason, response.RequestSha256, response.InputTokens, response.OutputTokens, response.CostMicroUsd, answer.Calls, response.CachedTokens,
            response.UsageEstimated is true, response.Reasoning, ModelRound.WhyNotCalled(response.StopReason), shown,
            Source: Counterfactual.Recorded);
        var reply = answer.Calls.IsEmpty ? await blobs.Store(answer.Text, ct) : null;
        ImmutableList<RunEvent.FeedbackReceived> served = [.. answer.Waiting.Skip(waiting.Count).Select(said => said with { Source = Counterfactual.Recorded })];
        return now => new RunCommand.RecordAnswer(run.Claim.Epoch, answer.Text, reply, given, now, answer.Thinking, served);
    }

    /// <summary>The refusal of a call that the budget of the counterfactual does not pay for; null: it does, or the run is none.</summary>
    static Refusal? OverOwnBudget(Counterfactual? counterfactual, Run.Active state, Reservation? call) =>
        counterfactual?.BudgetMicroUsd is { } budget && state.Used.CostMicroUsd + (call?.MicroUsd ?? 0) > budget
            ? new(
                "budget_exceeded", 429,
                $"The counterfactual may cost {Money.Usd(budget)} USD: it has cost {Money.Usd(state.Used.CostMicroUsd)}, and the next call of the model may cost "
                + $"{Money.Usd(call?.MicroUsd ?? 0)}.")
            : null;

    /// <summary>The request with all feedback that there is when it is sent: some may have come while it was made, or while another attempt was waited for.</summary>
    /// <param name="earlier">The request of the attempt before; null: this is the first.</param>
    async ValueTask<Prompt> WithAllFeedback(DrivenRun run, Run.Active state, Prompt? earlier, IReadOnlyList<AITool> tools, CancellationToken ct)
    {
        var prompt = earlier ?? await Prompt.Build(run.Org, state, tools, queries, blobs, ct);
        while (await recorder.Current(run, inLog: earlier is not null, ct) is { } now && (now.Feedback?.Count ?? 0) != prompt.Feedback)
        {
            prompt = await Prompt.Build(run.Org, now, tools, queries, blobs, ct);
        }
        return prompt;
    }

    /// <summary>What the provider said that a failed attempt used; null: it said nothing.</summary>
    static ModelUsage? Used(ModelException e, ModelTerms terms) => e.Usage is not { } usage ? null : new(
        usage.InputTokenCount ?? 0, usage.OutputTokenCount ?? 0, terms.Price?.CostMicroUsd(usage));

    [LoggerMessage(Level = LogLevel.Warning, Message = "The model {Model} gave no whole answer in run {Run}: {Code} ({Cause})")]
    static partial void LogNoAnswer(ILogger logger, RunKey run, string model, string code, string? cause);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The model {Model} failed in run {Run}")]
    static partial void LogModelFailed(ILogger logger, Exception e, RunKey run, string model);

    /// <summary>Carries a refusal out of the reading of a model's stream.</summary>
    sealed class RunFencedException(Refusal refused) : Exception(refused.Code)
    {
        public Refusal Refused { get; } = refused;
    }
}
