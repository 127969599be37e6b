using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Evaluates the policy for the calls of a model, and requests approval where the policy demands it.</summary>
public sealed class CallPolicy(Toolbox toolbox, Policy policy, IBlobs blobs, ApprovalOptions approvals, RunRecords recorded)
{
    /// <summary>The rule in the verdict on a tool that no active skill names, while one of them names tools.</summary>
    public const string SkillTools = "skill_tools";

    /// <summary>The rule in the verdict on a tool that the run's agent does not name, while it names tools.</summary>
    public const string AgentTools = "agent_tools";

    /// <summary>What an approval is given for: hexadecimal SHA-256 of the arguments as they stand in the call.</summary>
    internal static string ArgsDigest(string input) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(input)));

    /// <summary>Puts the verdict on a call into the work, or the question to a person.</summary>
    internal async ValueTask<Refusal?> Evaluate(
        UnitOfWork work, DrivenRun run, Run.Active state, ToolContext context, RequestedCall call, CancellationToken ct)
    {
        var request = state.Request;
        if (!request.MayCall(call.Name))
        {
            var (rule, reason) = Unnamed(request, call.Name);
            return await RunRecorder.Command(work, run, new RunCommand.RecordPolicy(run.Claim.Epoch, call.Id, PolicyOutcome.Deny, rule, reason, work.Now));
        }
        var input = await blobs.Text(call.Input, ct);
        if (request.Counterfactual is { } counterfactual)
        {
            return await Evaluate(work, run, state, counterfactual, context, call, input, ct);
        }
        var subject = await toolbox.Subject(context, call.Name, input, ct);
        var verdict = Verdict(policy, call.Name, subject);
        return verdict.Outcome == PolicyOutcome.Confirm
            ? await Ask(work, run, call, verdict, ArgsDigest(input), subject)
            : await RunRecorder.Command(
                work, run, new RunCommand.RecordPolicy(run.Claim.Epoch, call.Id, verdict.Outcome, verdict.Rule, verdict.Reason, work.Now, subject.Recorded()));
    }

    /// <summary>Judges a call of a counterfactual. What the record has of the same call is not asked of the world or of a person again.</summary>
    async ValueTask<Refusal?> Evaluate(
        UnitOfWork work, DrivenRun run, Run.Active state, Counterfactual counterfactual, ToolContext context, RequestedCall call, string input, CancellationToken ct)
    {
        var (digest, isAllowed) = (ArgsDigest(input), counterfactual.Allows(call.Name));
        // What a person decided is not taken for a call that would be made once more.
        var known = isAllowed ? null : (await recorded.Of(run.Org, counterfactual, ct)).Find(call.Name, digest, EarlierCalls(state, call));
        var subject = isAllowed ? await toolbox.Subject(context, call.Name, input, ct)
            : known?.Verdict?.Subject is { } judged ? CallSubject.Of(judged)
            : await toolbox.SubjectUnasked(context, call.Name, input, ct);
        var verdict = Verdict(policy, await PolicyOf(counterfactual, blobs, ct), counterfactual, call.Name, subject);
        var epoch = run.Claim.Epoch;
        if (verdict.Outcome != PolicyOutcome.Confirm)
        {
            return await RunRecorder.Command(
                work, run, new RunCommand.RecordPolicy(epoch, call.Id, verdict.Outcome, verdict.Rule, verdict.Reason, work.Now, subject.Recorded()));
        }
        var decision = known?.Decision is { } decided ? new ServedDecision(decided.Outcome, decided.By, decided.Note, counterfactual.Of.RunId, decided.ApprovalId)
            : counterfactual.RejectsUnrecorded is true && !isAllowed ? new ServedDecision(ApprovalOutcome.Rejected, "system", Unrecorded)
            : null;
        return decision is null
            ? await Ask(work, run, call, verdict, digest, subject)
            : await RunRecorder.Command(
                work, run, new RunCommand.ServeDecision(epoch, call.Id, verdict.Rule, verdict.Reason, digest, decision, work.Now, subject.Recorded()));
    }

    /// <summary>How many calls with the same name and arguments have a result already.</summary>
    internal static int EarlierCalls(Run.Active state, RequestedCall call)
    {
        var digest = NamedText.Digest(call.Input);
        var open = state.Open.Count(other => IsSame(other));
        return state.Transcript.OfType<ConversationEntry.ByModel>().SelectMany(said => said.Calls).Count(other => IsSame(other)) - open;

        bool IsSame(RequestedCall other) => other.Name == call.Name && NamedText.Digest(other.Input) == digest;
    }

    /// <summary>The policy that a counterfactual proposes; null: none.</summary>
    internal static async ValueTask<Policy?> PolicyOf(Counterfactual counterfactual, IBlobs blobs, CancellationToken ct) =>
        counterfactual.Policy is { } proposed && await blobs.Text(proposed, ct) is var text && text is not (PersonalAttribute.Object or PersonalAttribute.Text)
            ? PolicyFile.Parse(Encoding.UTF8.GetBytes(text))
            : null;

    /// <summary>
    /// The verdict on a call of a counterfactual: by the policy that it proposes. A call that may be made is held to the host's policy as well: the stricter verdict counts.
    /// </summary>
    /// <param name="proposed">Null: the host's policy.</param>
    internal static PolicyVerdict Verdict(Policy host, Policy? proposed, Counterfactual counterfactual, string tool, CallSubject subject)
    {
        var verdict = Verdict(proposed ?? host, tool, subject);
        if (counterfactual.Allows(tool))
        {
            var ofHost = Verdict(host, tool, subject);
            return proposed is null || ofHost.Outcome >= verdict.Outcome ? ofHost : verdict;
        }
        return verdict.Outcome == PolicyOutcome.Confirm ? verdict with { Reason = $"{verdict.Reason} {NotMade}" } : verdict;
    }

    /// <summary>What a person who is asked about a call of a counterfactual should know.</summary>
    const string NotMade = "The run is a counterfactual: this call is not made.";

    const string Unrecorded = "No decision on this call is recorded.";

    /// <summary>The verdict on a call; the reason of a question to a person names what it is about.</summary>
    internal static PolicyVerdict Verdict(Policy policy, string tool, CallSubject subject) => policy.Evaluate(tool, subject) switch
    {
        { Outcome: PolicyOutcome.Confirm } verdict => verdict with { Reason = WithPaths(verdict.Reason, subject) },
        var verdict => verdict,
    };

    /// <summary>The rule and the reason of the verdict on a tool that the run's agent, or no active skill, names.</summary>
    internal static (string Rule, string Reason) Unnamed(RunRequest request, string tool)
    {
        var (rule, who) = request.Agent?.Tools?.Contains(tool) is false ? (AgentTools, "agent names") : (SkillTools, "skills name");
        return (rule, $"The run's {who} the tools it may call, and {FileText.Truncate(tool, 100)} is none of them.");
    }

    /// <summary>Asks a person about the call, and gives the job up: the decision, or its lack, starts it again.</summary>
    async ValueTask<Refusal?> Ask(UnitOfWork work, DrivenRun run, RequestedCall call, PolicyVerdict verdict, string argsDigest, CallSubject subject)
    {
        var (key, until) = (ApprovalKey.New(work.Now), work.Now + approvals.ExpireAfter);
        var ask = new RunCommand.RequestApproval(
            run.Claim.Epoch, call.Id, key, verdict.Rule, verdict.Reason, argsDigest, until, work.Now, PathsOf(subject), subject.Recorded());
        if (await RunRecorder.Command(work, run, ask) is { } refused)
        {
            return refused;
        }
        work.Finish(run.Claim);
        work.Start(new Job(ApprovalExpiry.JobKind, key.Value, until));
        return null;
    }

    /// <summary>What an approval of the call covers; null: it has no paths.</summary>
    internal static ImmutableList<string>? PathsOf(CallSubject subject) => subject.Paths.Any() ? [.. subject.Paths] : null;

    /// <summary>The reason with what it is about, as the paths resolve: what a person is to decide on.</summary>
    static string WithPaths(string reason, CallSubject subject) =>
        subject.Paths.Any() ? $"{reason} ({string.Join(" → ", subject.Paths.Select(path => VisibleText.Of(FileText.Truncate(path, 500))))})" : reason;
}
