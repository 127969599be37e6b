using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>The step of a run that asks its model.</summary>
public sealed partial class ModelStep(
    RunRecorder recorder, IReadOnlyDictionary<string, IChatClient> models, Toolbox toolbox, IRunQueries queries, IBlobs blobs, RunOptions options, TimeProvider clock,
    ILogger<ModelStep> logger)
{
    /// <summary>Asks, again where the model's terms allow it, and records the answer with its text as it comes.</summary>
    internal async ValueTask<Refusal?> Ask(DrivenRun run, Run.Active state, CancellationToken stop, CancellationToken ct)
    {
        var (claim, request) = (run.Claim, state.Request);
        if (!models.TryGetValue(request.Model, out var model))
        {
            return await recorder.Fail(run, "unknown_model", $"There is no model \"{request.Model}\".", ct);
        }
        if (await recorder.Workspace(run, state, ct) is not { } workspace)
        {
            return await recorder.Fail(run, "session_deleted", "The session was deleted.", ct);
        }
        var tools = toolbox.Declarations;
        var prompt = await Prompt.Build(run.Org, state, tools, queries, blobs, ct);
        var chat = new ChatOptions { ModelId = request.Model, Tools = [.. tools], AdditionalProperties = new() { [OfflineModel.Workspace] = workspace } };
        var terms = model.GetService(typeof(ModelTerms)) as ModelTerms ?? ModelTerms.Unknown;
        ModelRound round;
        for (var attempt = 1; ; attempt++)
        {
            round = new(state, options.DeltaEvery, clock);
            using var call = ModelCall.Start(model, request.Model, request.RunId, request.SessionId, clock);
            try
            {
                await round.Read(
                    model.GetStreamingResponseAsync(prompt.Messages, chat, stop),
                    async text =>
                    {
                        if (await recorder.Record(run, now => new RunCommand.RecordText(claim.Epoch, text, now), ct) is { } refused)
                        {
                            throw new RunFencedException(refused);
                        }
                    },
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
                if (!e.CanRetry || terms.Retries.DelayAfter(attempt, e.RetryAfter, $"{run.Key.Value}:{state.StepsDone}") is not { } wait)
                {
                    return await recorder.Fail(run, e.Code, e.Message, ct);
                }
                // What came so far was perhaps shown: the log says that it does not count.
                var retry = (DateTimeOffset now) => new RunCommand.RetryModel(claim.Epoch, e.Code, RunRecorder.ErrorText(e.Message), wait, now);
                if (await recorder.Record(run, retry, ct) is { } refused)
                {
                    return refused;
                }
                await Task.Delay(wait, clock, stop);
            }
            catch (Exception e) when (e is not (OperationCanceledException or StorageUnavailableException))
            {
                call?.Fail(ModelException.Failed);
                LogModelFailed(logger, e, run.Key, request.Model);
                return await recorder.Fail(run, ModelException.Failed, e.Message, ct);
            }
        }
        var answer = await round.Answer(prompt.Sha256, terms.Price, blobs, ct);
        var reply = answer.Calls.IsEmpty ? await blobs.Store(round.Text, ct) : null;
        return await recorder.Record(run, now => new RunCommand.RecordAnswer(claim.Epoch, round.Tail, reply, answer, now), ct);
    }

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
