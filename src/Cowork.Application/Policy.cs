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
    /// path, and calls without one.
    /// </summary>
    public ImmutableArray<string> Paths { get; init; } = [];

    /// <summary>Fits only calls inside (true) or outside (false) the grants.</summary>
    public bool? InsideGrants { get; init; }

    /// <summary>Fits only calls whose input could not be judged.</summary>
    public bool Unjudgeable { get; init; }

    public bool Fits(string tool, CallSubject subject) =>
        (!Unjudgeable || subject.Invalid is not null)
        && (Kinds.IsEmpty || Kinds.Contains(subject.Kind))
        && (Tools.IsEmpty || Tools.Any(t => FileSystemName.MatchesSimpleExpression(t, tool, ignoreCase: false)))
        && (InsideGrants is not { } inside || inside == subject.InsideGrants)
        && (Paths.IsEmpty || (subject.Path is { } path && Paths.Any(p => HasPart(path, p))));

    // A file named like a secret folder is treated as one: by its path alone it could be either.
    static bool HasPart(string path, string pattern) =>
        path.Split('/').Any(part => FileSystemName.MatchesSimpleExpression(pattern.TrimEnd('/'), part, ignoreCase: true));
}

/// <summary>Judges calls by an ordered list of rules: the first that fits decides, and what no rule fits is denied.</summary>
public sealed class Policy(IEnumerable<PolicyRule> rules)
{
    /// <summary>The rule named when none fits.</summary>
    public const string NoRule = "no_rule";

    /// <summary>The rules of contracts/decisions.md, "Tools and policy", for the tools that only read and remember.</summary>
    public static Policy BuiltIn { get; } = new(
    [
        new("invalid_input", PolicyOutcome.Deny, "The call's input cannot be judged.") { Unjudgeable = true },
        new("secret_path", PolicyOutcome.Deny, "The path looks like one that holds secrets.")
        {
            Paths = [".env*", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "secrets/"],
        },
        new("outside_grants", PolicyOutcome.Deny, "The path leads out of the folders granted to the session.") { InsideGrants = false },
        new("read_inside", PolicyOutcome.Allow, "Reading inside the grants.") { Kinds = ["list", "read", "search"], InsideGrants = true },
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

    /// <summary>True when the content of a file inside the grant may be shown without asking: what listings and searches go by.</summary>
    /// <param name="relative">The file's path as it resolves, relative to the grant.</param>
    public bool MayShow(string relative) => Judge("read_file", new("read", relative)).Outcome == PolicyOutcome.Allow;
}
