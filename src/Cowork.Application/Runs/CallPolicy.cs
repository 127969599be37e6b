using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Evaluates the policy for the calls of a model, and requests approval where the policy demands it.</summary>
public sealed class CallPolicy(Toolbox toolbox, Policy policy, IBlobs blobs, ApprovalOptions approvals)
{
    /// <summary>The rule in the verdict on a tool that no active skill names, while one of them names tools.</summary>
    public const string SkillTools = "skill_tools";

    /// <summary>The rule in the verdict on a tool that the run's agent does not name, while it names tools.</summary>
    public const string AgentTools = "agent_tools";

    /// <summary>What an approval is given for: hexadecimal SHA-256 of the arguments as they stand in the call.</summary>
    internal static string ArgsDigest(string input) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(input)));

    /// <summary>Puts the verdict on a call into the work, or the question to a person.</summary>
    internal async ValueTask<Refusal?> Evaluate(
        UnitOfWork work, DrivenRun run, RunRequest request, ToolContext context, RequestedCall call, CancellationToken ct)
    {
        if (!request.MayCall(call.Name))
        {
            var (rule, reason) = Unnamed(request, call.Name);
            return await RunRecorder.Command(work, run, new RunCommand.RecordPolicy(run.Claim.Epoch, call.Id, PolicyOutcome.Deny, rule, reason, work.Now));
        }
        var input = await blobs.Text(call.Input, ct);
        var subject = await toolbox.Subject(context, call.Name, input, ct);
        var verdict = Verdict(policy, call.Name, subject);
        return verdict.Outcome == PolicyOutcome.Confirm
            ? await Ask(work, run, call, verdict, ArgsDigest(input), subject)
            : await RunRecorder.Command(
                work, run, new RunCommand.RecordPolicy(run.Claim.Epoch, call.Id, verdict.Outcome, verdict.Rule, verdict.Reason, work.Now, subject.Recorded()));
    }

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
