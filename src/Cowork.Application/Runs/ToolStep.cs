using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>The step of a run that calls a tool.</summary>
public sealed partial class ToolStep(RunRecorder recorder, Toolbox toolbox, IBlobs blobs, RunRecords recorded, TimeProvider clock, ILogger<ToolStep> logger)
{
    /// <summary>The result of a call whose arguments are not those that a person approved.</summary>
    internal const string NotApproved = "Refused: the arguments are not those that were approved.";

    /// <summary>Executes the call and records its result.</summary>
    internal async ValueTask<Refusal?> Call(DrivenRun run, Run.Active state, NextStep.CallTool step, CancellationToken stop, CancellationToken ct)
    {
        var counterfactual = state.Request.Counterfactual;
        if (counterfactual is not null && await Served(run, state, counterfactual, step.Call, ct) is var (served, isError, source))
        {
            return await recorder.Record(run, now => new RunCommand.RecordResult(run.Claim.Epoch, step.Call.Id, served, isError, now, Source: source), ct);
        }
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
        var content = await text.Store(blobs.For(run.Claim.Org, state.Subject), ct);
        var facts = new List<ArtifactFacts>();
        foreach (var file in outcome.WrittenFiles)
        {
            facts.Add(await ArtifactFacts.Of(blobs, file.Path, file.Sha256, ct));
        }
        return await recorder.Record(
            run,
            now => new RunCommand.RecordResult(
                run.Claim.Epoch, step.Call.Id, content, outcome.IsError, now, startedAt, counterfactual is null ? null : Counterfactual.Live), ct,
            also: work => Discover(work, state.Request, outcome.WrittenFiles, facts));
    }

    /// <summary>The result that a call of a counterfactual has without being made; null: it is made.</summary>
    async ValueTask<(Content Result, bool IsError, string Source)?> Served(
        DrivenRun run, Run.Active state, Counterfactual counterfactual, RequestedCall call, CancellationToken ct)
    {
        var digest = NamedText.Digest(call.Input);
        if (counterfactual.StubFor(call.Name, digest) is { } given)
        {
            return (given, false, Counterfactual.Stub);
        }
        if ((await recorded.Of(run.Org, counterfactual, ct)).Find(call.Name, digest, CallPolicy.EarlierCalls(state, call))?.Result is { } result)
        {
            return (result.Content, result.IsError, Counterfactual.Recorded);
        }
        return counterfactual.Allows(call.Name) ? null
            : await toolbox.IsRead(state.Offered, call.Name, ct) ? (Content.Of(NotRead(call.Name)), true, Counterfactual.Stub)
            : (Content.Of(NotMade(call.Name)), false, Counterfactual.Stub);
    }

    /// <summary>The stub of a call that would only read.</summary>
    internal static string NotRead(string tool) => $"Not called: this is a counterfactual, whose record has no result of this call, and {tool} is not allowed in it.";

    /// <summary>The stub of a call that would change something.</summary>
    internal static string NotMade(string tool) => $"Not called: this is a counterfactual, and nothing was changed. Go on as if {tool} had succeeded.";

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
