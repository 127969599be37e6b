using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>The step of a run that calls a tool.</summary>
public sealed partial class ToolStep(RunRecorder recorder, Toolbox toolbox, IBlobs blobs, TimeProvider clock, ILogger<ToolStep> logger)
{
    /// <summary>The result of a call whose arguments are not those that a person approved.</summary>
    internal const string NotApproved = "Refused: the arguments are not those that were approved.";

    /// <summary>Executes the call and records its result.</summary>
    internal async ValueTask<Refusal?> Call(DrivenRun run, Run.Active state, NextStep.CallTool step, CancellationToken stop, CancellationToken ct)
    {
        var (context, fault) = await recorder.Context(run, state, step.Step, step.Attempt, ct);
        if (context is null)
        {
            return await recorder.Fail(run, fault!.Code, fault.Message, ct);
        }
        var startedAt = ModelRound.Millisecond(clock);
        var outcome = await MakeCall(context with { Granted = step.Granted }, step.Call, stop, ct);
        var text = NamedText.Of(outcome.Text);
        if (!text.Bytes.IsEmpty && await recorder.WhyFenced(run, ct) is { } fenced)
        {
            return fenced;
        }
        var content = await text.Store(blobs, ct);
        var facts = new List<ArtifactFacts>();
        foreach (var file in outcome.WrittenFiles)
        {
            facts.Add(await ArtifactFacts.Of(blobs, file.Path, file.Sha256, ct));
        }
        return await recorder.Record(
            run, now => new RunCommand.RecordResult(run.Claim.Epoch, step.Call.Id, content, outcome.IsError, now, startedAt), ct,
            also: work => Discover(work, state.Request, outcome.WrittenFiles, facts));
    }

    async Task<ToolOutcome> MakeCall(ToolContext context, RequestedCall call, CancellationToken stop, CancellationToken ct)
    {
        using var span = Spans.Tool(toolbox.TracedName(call.Name), context);
        try
        {
            var input = await blobs.Text(call.Input, ct);
            var outcome = context.Granted is { } granted && granted.ArgsDigest != CallPolicy.ArgsDigest(input)
                ? ToolOutcome.Error(NotApproved)
                : await toolbox.Run(context, call.Name, input, stop);
            if (outcome.IsError)
            {
                span.SetError("tool_error");
            }
            return outcome;
        }
        catch (Exception e) when (e is not StorageUnavailableException && !(e is OperationCanceledException && stop.IsCancellationRequested))
        {
            span.SetError(e.GetType().Name);
            LogToolFailed(logger, e, context.Run, call.Name);
            return ToolOutcome.Error("The tool failed.");
        }
    }

    /// <summary>What the call wrote becomes part of the session's artifacts with its result.</summary>
    static async ValueTask<Refusal?> Discover(UnitOfWork work, RunRequest request, ImmutableList<WrittenFile> written, List<ArtifactFacts> facts)
    {
        // A session's project never changes.
        var project = written.Count > 0 && await work.State(Session.Aggregate, request.SessionId) is Session.Open session ? session.Project : null;
        foreach (var (file, fact) in written.Zip(facts))
        {
            var key = Artifact.KeyOf(request.SessionId, file.Path);
            var discover = new ArtifactCommand.Discover(
                key, request.SessionId, request.RunId, file.Path, file.Sha256, file.Bytes, OutputRoot.MediaType(file.Path), work.Now, fact.Type, fact.Title, project);
            if (await work.Do(Artifact.Aggregate, key, discover, request.SessionId, request.RunId) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The tool {Tool} failed in run {Run}")]
    static partial void LogToolFailed(ILogger logger, Exception e, RunKey run, string tool);
}
