using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What the policy would decide of a call.</summary>
/// <param name="Subject">What the call would touch, as it resolves now.</param>
/// <param name="Matching">Names of all rules that match it; the first that may decide does.</param>
public sealed record CheckedCall(PolicyVerdict Verdict, CallSubject Subject, IReadOnlyList<string> Matching);

/// <summary>Holds a call against the rules in force, without making it and without recording anything.</summary>
public sealed class PolicyCheck(CommandHandler commands, IWorkspaces workspaces, Toolbox toolbox, Policy policy)
{
    /// <summary>Null: the session is not there, or its folders are none that its tenant may use.</summary>
    /// <param name="input">The arguments, as a model would write them.</param>
    public async ValueTask<CheckedCall?> Of(string org, SessionKey session, string tool, string input, CancellationToken ct)
    {
        if (await commands.LatestState(org, Session.Aggregate, session, ct) is not Session.Open open || await workspaces.Grants(org, open, ct) is not { } folders)
        {
            return null;
        }
        var subject = await toolbox.Subject(new(org, session, default, folders, "policy check", 1), tool, input, ct);
        return new(CallPolicy.Verdict(policy, tool, subject), subject, [.. policy.Rules.Where(rule => rule.Matches(tool, subject)).Select(rule => rule.Name)]);
    }
}
