using System.Collections.Immutable;
using System.IO.Enumeration;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>One line of the policy: when every matcher that is set fits the call, the outcome is its verdict.</summary>
/// <param name="Name">Stable snake_case; every policy_decision event carries the name of the rule that matched.</param>
/// <param name="Reason">What the model and the user are told.</param>
public sealed record PolicyRule(string Name, PolicyOutcome Outcome, string Reason)
{
    /// <summary>Fits these kinds of <see cref="CallSubject.Kind"/>; empty: every kind.</summary>
    public ImmutableArray<string> Kinds { get; init; } = [];

    /// <summary>Fits these tools by name, <c>*</c> and <c>?</c> allowed; empty: every tool.</summary>
    public ImmutableArray<string> Tools { get; init; } = [];

    /// <summary>
    /// Fits paths with a part that matches one of these, letters' case aside: <c>.env*</c> any part, <c>secrets/</c> a folder and all below it. Empty: every
    /// path, and calls without one. Of a call with two paths both must fit to be allowed, and either to be asked about or denied.
    /// </summary>
    public ImmutableArray<string> Paths { get; init; } = [];

    /// <summary>Fits paths below one of these folders, relative to the grant. Empty: every path, and calls without one. Two paths: as above.</summary>
    public ImmutableArray<string> Below { get; init; } = [];

    /// <summary>Fits only calls inside (true) or outside (false) the grants.</summary>
    public bool? InsideGrants { get; init; }

    /// <summary>Fits only calls whose input could not be judged.</summary>
    public bool Unjudgeable { get; init; }

    public bool Fits(string tool, CallSubject subject) =>
        (!Unjudgeable || subject.Invalid is not null)
        && (Kinds.IsEmpty || Kinds.Contains(subject.Kind))
        && (Tools.IsEmpty || Tools.Any(t => FileSystemName.MatchesSimpleExpression(t, tool, ignoreCase: false)))
        && (InsideGrants is not { } inside || inside == subject.InsideGrants)
        && (Paths.IsEmpty || FitsPaths(subject, path => Paths.Any(p => HasPart(path, p))))
        && (Below.IsEmpty || FitsPaths(subject, path => Below.Any(b => path.StartsWith(b.TrimEnd('/') + "/", StringComparison.Ordinal))));

    bool FitsPaths(CallSubject subject, Func<string, bool> fits) =>
        subject.Path is not null && (Outcome == PolicyOutcome.Allow ? subject.Paths.All(fits) : subject.Paths.Any(fits));

    // A file named like a secret folder is treated as one: by its path alone it could be either.
    static bool HasPart(string path, string pattern) =>
        path.Split('/').Any(part => FileSystemName.MatchesSimpleExpression(pattern.TrimEnd('/'), part, ignoreCase: true));
}

/// <summary>Judges calls by an ordered list of rules: the first that fits decides, and what no rule fits is denied.</summary>
public sealed class Policy(IEnumerable<PolicyRule> rules)
{
    /// <summary>The rule named when none fits.</summary>
    public const string NoRule = "no_rule";

    /// <summary>The rules of contracts/decisions.md, "Tools and policy", for the tools that there are.</summary>
    public static Policy BuiltIn { get; } = new(
    [
        new("invalid_input", PolicyOutcome.Deny, "The call's input cannot be judged.") { Unjudgeable = true },
        new("secret_path", PolicyOutcome.Deny, "The path looks like one that holds secrets.")
        {
            Paths = [".env*", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "secrets/"],
        },
        new("outside_grants", PolicyOutcome.Deny, "The path leads out of the folders granted to the session.") { InsideGrants = false },
        new("read_inside", PolicyOutcome.Allow, "Reading inside the grants.") { Kinds = ["list", "read", "search"], InsideGrants = true },
        new("write_output", PolicyOutcome.Allow, "Writing below the output root.") { Kinds = ["create", "overwrite"], Below = [OutputRoot.Path] },
        new("create_inside", PolicyOutcome.Confirm, "A new file outside the output root.") { Kinds = ["create"], InsideGrants = true },
        new("overwrite_inside", PolicyOutcome.Confirm, "A file outside the output root would get another content.") { Kinds = ["overwrite"], InsideGrants = true },
        new("delete_inside", PolicyOutcome.Confirm, "A file would be deleted.") { Kinds = ["delete"], InsideGrants = true },
        new("move_inside", PolicyOutcome.Confirm, "A file would be moved.") { Kinds = ["move"], InsideGrants = true },
        new("memory", PolicyOutcome.Allow, "Remembering and recalling.") { Kinds = ["remember", "recall"] },
    ]);

    public ImmutableArray<PolicyRule> Rules { get; } = [.. rules];

    /// <summary>The verdict on a call. A call whose input could not be judged is never allowed, whatever the rules say.</summary>
    public PolicyVerdict Judge(string toolName, CallSubject subject)
    {
        foreach (var rule in Rules)
        {
            if (rule.Fits(toolName, subject) && (subject.Invalid is null || rule.Outcome == PolicyOutcome.Deny))
            {
                return new(rule.Outcome, rule.Name, subject.Invalid ?? rule.Reason);
            }
        }
        return new(PolicyOutcome.Deny, NoRule, subject.Invalid ?? "No rule of the policy allows this.");
    }

    /// <summary>
    /// The verdict when a call is made, on what it would really touch: since it was allowed or approved, a link may have been turned, or a file made. Answers
    /// the error to tell the model, or null.
    /// </summary>
    public ToolOutcome? Again(string toolName, CallSubject subject, Granted? granted) => Judge(toolName, subject) switch
    {
        { Outcome: PolicyOutcome.Allow } => null,
        { Outcome: PolicyOutcome.Confirm } verdict when granted is not null && verdict.Rule == granted.Rule && IsOn(granted, subject) => null,
        { Outcome: PolicyOutcome.Confirm } verdict =>
            ToolOutcome.Error($"Refused: what the call would touch has changed since it was {(granted is null ? "allowed" : "approved")} (now {verdict.Rule})."),
        var verdict => ToolOutcome.Error($"Refused by policy ({verdict.Rule}): {verdict.Reason}"),
    };

    /// <summary>The rule's question may be the same for every path; what was approved was these.</summary>
    static bool IsOn(Granted granted, CallSubject subject) => granted.Paths is not { } paths || paths.SequenceEqual(subject.Paths, StringComparer.Ordinal);

    /// <summary>True when the content of a file inside the grant may be shown without asking: what listings and searches go by.</summary>
    /// <param name="relative">The file's path as it resolves, relative to the grant.</param>
    public bool MayShow(string relative) => Judge("read_file", new("read", relative)).Outcome == PolicyOutcome.Allow;
}
