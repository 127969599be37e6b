using System.Collections.Immutable;
using System.IO.Enumeration;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A rule of the policy. The outcome applies to a call that every set condition matches.</summary>
/// <param name="Name">Stable snake_case. The <c>policy_decision</c> event records the name of the rule that matched.</param>
/// <param name="Reason">The explanation for the model and the user.</param>
public sealed record PolicyRule(string Name, PolicyOutcome Outcome, string Reason)
{
    /// <summary>Matches these values of <see cref="CallSubject.Kind"/>; empty: any.</summary>
    public ImmutableArray<string> Kinds { get; init; } = [];

    /// <summary>Matches tools by name, with the wildcards <c>*</c> and <c>?</c>; empty: any.</summary>
    public ImmutableArray<string> Tools { get; init; } = [];

    /// <summary>
    /// Matches paths with a part that matches one of these patterns, ignoring case: <c>.env*</c> matches any part, <c>secrets/</c> a folder and everything
    /// below it. Empty: any path, and calls without one. For a call with two paths, an allow rule must match both; a confirm or deny rule must match one.
    /// </summary>
    public ImmutableArray<string> Paths { get; init; } = [];

    /// <summary>
    /// Matches paths below one of these folders, relative to the folder of the grant that holds the path. Empty: any path, and calls without one. Two paths: see
    /// <see cref="Paths"/>.
    /// </summary>
    public ImmutableArray<string> Below { get; init; } = [];

    /// <summary>Matches only paths below an output root of their grant. Two paths: see <see cref="Paths"/>.</summary>
    public bool BelowOutput { get; init; }

    /// <summary>Matches only calls inside (true) or outside (false) the grants; null: any.</summary>
    public bool? InsideGrants { get; init; }

    /// <summary>Matches only calls with an invalid input.</summary>
    public bool InvalidInput { get; init; }

    /// <summary>Matches only calls that say they may take more seconds; null: any.</summary>
    public int? EstimateOver { get; init; }

    public bool Matches(string tool, CallSubject subject) =>
        (!InvalidInput || subject.Invalid is not null)
        && (Kinds.IsEmpty || Kinds.Contains(subject.Kind))
        && (Tools.IsEmpty || Tools.Any(t => FileSystemName.MatchesSimpleExpression(t, tool, ignoreCase: false)))
        && (EstimateOver is not { } seconds || subject.EstimateSeconds > seconds)
        && (InsideGrants is not { } inside || inside == subject.InsideGrants)
        && (Paths.IsEmpty || MatchesPaths(subject, path => Paths.Any(p => HasPart(path.Relative, p))))
        && (Below.IsEmpty || MatchesPaths(subject, path => Below.Any(b => path.Relative.StartsWith(b.TrimEnd('/') + "/", StringComparison.Ordinal))))
        && (!BelowOutput || MatchesPaths(subject, path => path.IsOutput));

    bool MatchesPaths(CallSubject subject, Func<TouchedPath, bool> matches) =>
        subject.Path is not null && (Outcome == PolicyOutcome.Allow ? subject.Touched.All(matches) : subject.Touched.Any(matches));

    // A file with a secret folder's name matches too: the path alone does not tell a file from a folder.
    static bool HasPart(string path, string pattern) =>
        path.Split('/').Any(part => FileSystemName.MatchesSimpleExpression(pattern.TrimEnd('/'), part, ignoreCase: true));
}

/// <summary>Evaluates calls by an ordered list of rules. The first match decides; a call without a match is denied.</summary>
public sealed class Policy(IEnumerable<PolicyRule> rules)
{
    /// <summary>The name in the verdict when no rule matches.</summary>
    public const string NoRule = "no_rule";

    /// <summary>
    /// The rule in the verdict on a change that the session's grant does not allow. It comes before all others: no rule and no approval allows what a grant does not.
    /// </summary>
    public const string NotGranted = "not_granted";

    /// <summary>The rules of contracts/decisions.md, "Tools and policy", for the built-in tools.</summary>
    public static Policy BuiltIn { get; } = new(
    [
        new("invalid_input", PolicyOutcome.Deny, "The call's input cannot be judged.") { InvalidInput = true },
        new("secret_path", PolicyOutcome.Deny, "The path looks like one that holds secrets.")
        {
            Paths =
            [
                ".env*", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "secrets/", ".ssh/", ".gnupg/", ".aws/", ".azure/", ".kube/", ".docker/", ".npmrc", ".pypirc",
                ".netrc", ".pgpass", ".git-credentials", "*.pem", "*.key", "*.p12", "*.pfx",
            ],
        },
        new("outside_grants", PolicyOutcome.Deny, "The path leads out of the folders granted to the session.") { InsideGrants = false },
        new("read_inside", PolicyOutcome.Allow, "Reading inside the grants.") { Kinds = ["list", "read", "search"], InsideGrants = true },
        new("write_output", PolicyOutcome.Allow, "Writing below the output root.") { Kinds = ["create", "overwrite"], BelowOutput = true },
        new("create_inside", PolicyOutcome.Confirm, "A new file outside the output root.") { Kinds = ["create"], InsideGrants = true },
        new("overwrite_inside", PolicyOutcome.Confirm, "A file outside the output root would get another content.") { Kinds = ["overwrite"], InsideGrants = true },
        new("delete_inside", PolicyOutcome.Confirm, "A file would be deleted.") { Kinds = ["delete"], InsideGrants = true },
        new("move_inside", PolicyOutcome.Confirm, "A file would be moved.") { Kinds = ["move"], InsideGrants = true },
        new("connector_alter", PolicyOutcome.Deny, "Structures of an outside source, or several statements in one.") { Kinds = [CallSubject.ConnectorAlter] },
        new("connector_bulk", PolicyOutcome.Deny, "More than 10000 rows of an outside source.") { Kinds = [CallSubject.ConnectorBulk] },
        new("connector_write", PolicyOutcome.Confirm, "An outside source may be changed.") { Kinds = [CallSubject.ConnectorWrite] },
        new("connector_scan", PolicyOutcome.Confirm, "Everything would be read: the query has neither WHERE nor LIMIT.") { Kinds = [CallSubject.ConnectorScan] },
        new("connector_read", PolicyOutcome.Allow, "Reading an outside source.") { Kinds = [CallSubject.ConnectorRead] },
        new("long_cell", PolicyOutcome.Confirm, "The code may take more than 90 seconds.") { Kinds = ["execute"], EstimateOver = 90 },
        new("cell", PolicyOutcome.Allow, "Code in the sandbox of the scratchpad.") { Kinds = ["execute"] },
        new("memory", PolicyOutcome.Allow, "Remembering and recalling.") { Kinds = ["remember", "recall"] },
    ]);

    public ImmutableArray<PolicyRule> Rules { get; } = [.. rules];

    /// <summary>Readers of feeds see what a model thinks before it answers. Otherwise only the trace has it.</summary>
    public bool ShowThinking { get; init; }

    /// <summary>The verdict on a call. A call with an invalid input, or one that a grant does not allow, is never allowed, whatever the rules say.</summary>
    public PolicyVerdict Evaluate(string toolName, CallSubject subject)
    {
        if (subject is { Invalid: null, InsideGrants: true, NotGranted: { } why })
        {
            return new(PolicyOutcome.Deny, NotGranted, why);
        }
        foreach (var rule in Rules)
        {
            if (rule.Matches(toolName, subject) && (subject.Invalid is null || rule.Outcome == PolicyOutcome.Deny))
            {
                return new(rule.Outcome, rule.Name, subject.Invalid ?? rule.Reason);
            }
        }
        return new(PolicyOutcome.Deny, NoRule, subject.Invalid ?? "No rule of the policy allows this.");
    }

    /// <summary>The verdict on a call of which nothing but the tool is known; null: a rule asks for more before one decides.</summary>
    /// <param name="isJudgeable">The call's input was found valid.</param>
    public PolicyVerdict? EvaluateByTool(string toolName, bool isJudgeable)
    {
        foreach (var rule in Rules)
        {
            if (!rule.Tools.IsEmpty && !rule.Tools.Any(t => FileSystemName.MatchesSimpleExpression(t, toolName, ignoreCase: false)))
            {
                continue;
            }
            // A call whose input was valid fits no rule for others.
            if (rule.InvalidInput && isJudgeable)
            {
                continue;
            }
            var asksForMore = rule is not
            {
                Kinds.IsEmpty: true, Paths.IsEmpty: true, Below.IsEmpty: true, BelowOutput: false, InsideGrants: null, InvalidInput: false, EstimateOver: null,
            };
            return asksForMore || (!isJudgeable && rule.Outcome != PolicyOutcome.Deny) ? null : new(rule.Outcome, rule.Name, rule.Reason);
        }
        return new(PolicyOutcome.Deny, NoRule, "No rule of the policy allows this.");
    }

    /// <summary>
    /// Evaluates the policy again when the tool has opened its files, because a link or file may have changed since it was allowed or approved. Answers the error for
    /// the model; null: the call may proceed.
    /// </summary>
    public ToolOutcome? Reevaluate(string toolName, CallSubject subject, GrantedApproval? granted) => Evaluate(toolName, subject) switch
    {
        { Outcome: PolicyOutcome.Allow } => null,
        { Outcome: PolicyOutcome.Confirm } verdict when granted is not null && verdict.Rule == granted.Rule && CoversPaths(granted, subject) => null,
        { Outcome: PolicyOutcome.Confirm } verdict =>
            ToolOutcome.Error($"Refused: what the call would touch has changed since it was {(granted is null ? "allowed" : "approved")} (now {verdict.Rule})."),
        var verdict => ToolOutcome.Error($"Refused by policy ({verdict.Rule}): {verdict.Reason}"),
    };

    /// <summary>An approval covers the approved paths only, although the rule may match others.</summary>
    static bool CoversPaths(GrantedApproval granted, CallSubject subject) => granted.Paths is not { } paths || paths.SequenceEqual(subject.Paths, StringComparer.Ordinal);

    /// <summary>True: listings and searches may show the file, because <c>read_file</c> is allowed without approval.</summary>
    /// <param name="relative">The resolved path, relative to the folder of its grant.</param>
    public bool MayShow(string relative) => Evaluate("read_file", new("read", relative)).Outcome == PolicyOutcome.Allow;
}
