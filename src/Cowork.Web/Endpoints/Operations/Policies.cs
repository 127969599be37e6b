using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Operations;

/// <summary>A rule as the policy file has it (docs/policy.md), with the members that it sets.</summary>
/// <param name="Name">Events and approvals name it.</param>
/// <param name="Reason">What the model and the approver read.</param>
public sealed record PolicyRuleShape(
    string Name, [property: PolicyOutcomes] string Outcome, string Reason,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Kinds = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Tools = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Paths = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] IReadOnlyList<string>? Below = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? BelowOutput = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? InsideGrants = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? EstimateOver = null,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] bool? Unjudgeable = null)
{
    public static PolicyRuleShape Of(PolicyRule rule) => new(
        rule.Name, PolicyWords.Of(rule.Outcome), rule.Reason, Some(rule.Kinds), Some(rule.Tools), Some(rule.Paths), Some(rule.Below), rule.BelowOutput ? true : null,
        rule.InsideGrants, rule.EstimateOver, rule.InvalidInput ? true : null);

    static IReadOnlyList<string>? Some(IReadOnlyList<string> words) => words.Count == 0 ? null : words;
}

/// <summary>The policy in force on this host, in the form of the policy file.</summary>
/// <param name="ShowThinking">Readers of feeds see what models think.</param>
public sealed record PolicyRules(IReadOnlyList<PolicyRuleShape> Rules, bool ShowThinking)
{
    public static PolicyRules Of(Policy policy) => new([.. policy.Rules.Select(PolicyRuleShape.Of)], policy.ShowThinking);
}

/// <param name="Digest">Hex SHA-256 of <c>policy</c> in its RFC 8785 form: equal policies have equal ones, however their files are written.</param>
public sealed record PolicyInForce(string Digest, PolicyRules Policy);

/// <summary>Body of <c>POST /policy/simulate</c>: <c>rules</c>, or a whole <c>policy</c>.</summary>
/// <param name="Rules">The rules, as the policy file has them.</param>
/// <param name="Policy">The content of a policy file.</param>
/// <param name="From">Only decisions at or after this moment: a gid, as text, the id of an event, or a time. Null: from the beginning.</param>
/// <param name="To">Only decisions up to this moment. Null: up to now.</param>
/// <param name="Limit">Decisions that one request judges: 1 to 10 000; null: 1 000.</param>
/// <param name="Tools">Only calls of these tools, <c>*</c> and <c>?</c> allowed. Null: of all.</param>
/// <param name="Cursor">The <c>next_cursor</c> of the answer before, with the same policy.</param>
public sealed record NewSimulation(
    [property: NeverNull] JsonElement? Rules = null, [property: NeverNull] JsonElement? Policy = null, string? From = null, string? To = null, long? Limit = null,
    IReadOnlyList<string>? Tools = null, string? Cursor = null) : IRequestBody<NewSimulation>
{
    public const int UsualLimit = 1_000;

    public static JsonTypeInfo<NewSimulation> Json => OperationsJson.Default.NewSimulation;

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        if (Rules is null == Policy is null)
        {
            errors.Add(Rules is null ? "$.rules" : "$.policy", "Either rules or a policy is required.");
        }
        if (Limit is < 1 or > Limits.SimulatedDecisionsMax)
        {
            errors.Add("$.limit", $"Must be from 1 to {Limits.SimulatedDecisionsMax}.");
        }
        if (Tools is { } tools && (tools.Count is 0 or > Limits.SimulatedToolsMax || tools.Any(tool => string.IsNullOrWhiteSpace(tool) || tool.Length > Limits.ToolNameCharsMax)))
        {
            errors.Add("$.tools", $"A list of 1 to {Limits.SimulatedToolsMax} names of tools, of at most {Limits.ToolNameCharsMax} characters each.");
        }
    }
}

/// <summary>Body of <c>POST /policy/check</c>: a call as a model would make it.</summary>
/// <param name="Input">The arguments; null: none.</param>
/// <param name="SessionId">The session whose folders and connections the call would use.</param>
public sealed record NewPolicyCheck([property: NeverNull] string? Tool, [property: NeverNull] string? SessionId, JsonElement? Input = null) : IRequestBody<NewPolicyCheck>
{
    public static JsonTypeInfo<NewPolicyCheck> Json => OperationsJson.Default.NewPolicyCheck;

    public static bool IsClosed => true;

    public void Validate(ValidationErrors errors)
    {
        if (string.IsNullOrWhiteSpace(Tool) || Tool.Length > Limits.ToolNameCharsMax)
        {
            errors.Add("$.tool", $"The name of a tool, of at most {Limits.ToolNameCharsMax} characters, is required.");
        }
        if (string.IsNullOrEmpty(SessionId))
        {
            errors.Add("$.session_id", "A session is required.");
        }
        if (Input is { ValueKind: not (JsonValueKind.Object or JsonValueKind.Null) })
        {
            errors.Add("$.input", "Must be an object.");
        }
    }
}

/// <summary>What a call would touch.</summary>
/// <param name="Kind">The kind of access: <c>read</c>, <c>overwrite</c>, ….</param>
/// <param name="Paths">As they resolve now, and the outside source that it asks.</param>
/// <param name="Invalid">Why the call cannot be judged; null: it can.</param>
public sealed record CheckedSubject(string Kind, IReadOnlyList<string> Paths, string? Invalid);

/// <param name="Matches">The rule matches the call. The first that does decides, unless the call cannot be judged: then it is the first that denies.</param>
public sealed record CheckedRule(string Name, [property: PolicyOutcomes] string Outcome, bool Matches);

/// <summary>What the policy in force would decide.</summary>
/// <param name="Rule">The rule that decides; <c>no_rule</c>: none matches; <c>not_granted</c>: a grant of the session does not allow the call.</param>
/// <param name="Rules">All rules, in their order.</param>
public sealed record PolicyCheckAnswer(
    string Tool, [property: PolicyOutcomes] string Outcome, string Rule, string Reason, CheckedSubject Subject, IReadOnlyList<CheckedRule> Rules);

/// <param name="Before">What became of the calls.</param>
/// <param name="After">What would; <c>unknown</c>: the record does not tell.</param>
public sealed record SimulatedCalls([property: PolicyOutcomes] string Before, [property: SimulatedOutcomes] string After, long Calls);

/// <param name="Tool"><c>…</c>: others.</param>
public sealed record SimulatedTool(string Tool, [property: PolicyOutcomes] string Before, [property: SimulatedOutcomes] string After, long Calls);

/// <param name="RuleBefore">The rule that decided.</param>
/// <param name="RuleAfter">The rule that would; null: it is not known.</param>
public sealed record SimulatedRule(
    string? RuleBefore, string? RuleAfter, [property: PolicyOutcomes] string Before, [property: SimulatedOutcomes] string After, long Calls);

/// <param name="Reason"><c>facts_not_recorded</c>: an earlier release did not write down what the rules ask for; <c>call_not_found</c>.</param>
public sealed record UnknownCalls(string Reason, long Calls);

/// <summary>A call that would be decided otherwise, or of which that is not known.</summary>
/// <param name="RunId">Its run: <c>GET /runs/{id}?as_of={gid}</c> shows it at that moment.</param>
/// <param name="EventId">Of the decision.</param>
/// <param name="Paths">What it touches, as it resolved then.</param>
/// <param name="Reason">Of the rule that would decide; null: it is not known.</param>
public sealed record SimulationExample(
    RunKey? RunId, SessionKey? SessionId, Guid EventId, long Gid, DateTimeOffset Ts, string ToolCallId, string Tool, IReadOnlyList<string> Paths,
    [property: PolicyOutcomes] string Before, string RuleBefore, [property: SimulatedOutcomes] string After, string? RuleAfter, string? Reason);

/// <summary>What a policy would have decided. Counts are those of this answer; those of all answers to one series of cursors add up.</summary>
/// <param name="Digest">Of the proposed policy, as <c>GET /policy</c> has it.</param>
/// <param name="Decisions">That were held against it.</param>
/// <param name="Changed">Calls that would have been decided otherwise.</param>
/// <param name="Unknown">Calls that cannot be judged again.</param>
/// <param name="NextCursor">Null: there are no further decisions.</param>
public sealed record SimulationAnswer(
    string Digest, long Decisions, long Changed, long Unknown, IReadOnlyList<SimulatedCalls> Outcomes, IReadOnlyList<SimulatedTool> ByTool,
    IReadOnlyList<SimulatedRule> ByRule, IReadOnlyList<UnknownCalls> UnknownReasons, IReadOnlyList<SimulationExample> Examples, string? NextCursor);

static class PolicyWords
{
    public const string Unknown = "unknown";

    public static string Of(PolicyOutcome? outcome) => outcome?.ToString().ToLowerInvariant() ?? Unknown;
}

static class PolicyEndpoints
{
    public static void MapPolicy(this IEndpointRouteBuilder routes)
    {
        var policy = routes.MapGroup("/policy").WithTags("Policy").RequireAuditor();
        policy.MapGet("", Get).WithName("getPolicy")
            .WithSummary("Show the rules in force on this host, with their digest")
            .Produces<PolicyInForce>().Refuses();
        policy.MapPost("/check", Check).WithName("checkPolicy")
            .WithSummary("Hold a call against the rules in force: which one decides, and which match; nothing is done")
            .Produces<PolicyCheckAnswer>().Refuses(400, 404, 413, 415, 422);
        policy.MapPost("/simulate", Simulate).WithName("simulatePolicy").WithMetadata(new Exports("policy_simulation", static _ => null))
            .WithSummary("Hold a proposed policy against the decisions in the log: what would have been allowed, asked or denied")
            .Produces<SimulationAnswer>().Refuses(400, 413, 415, 422);
    }

    static async Task<IResult> Check(Body<NewPolicyCheck> body, Caller caller, PolicyCheck check, Policy policy, IRows rows, CancellationToken ct)
    {
        var (tool, session) = (body.Value.Tool!, PathIds.Key<SessionKey>(body.Value.SessionId!, "$.session_id"));
        if (await rows.FindSession(caller, session, ct) is null
            || await check.Of(caller.Org, session, tool, body.Value.Input is { ValueKind: JsonValueKind.Object } input ? input.GetRawText() : "{}", ct) is not { } found)
        {
            return ErrorResult.NotFound("session");
        }
        return JsonResult.Of(
            200,
            new PolicyCheckAnswer(
                tool, PolicyWords.Of(found.Verdict.Outcome), found.Verdict.Rule, found.Verdict.Reason,
                new(found.Subject.Kind, [.. found.Subject.Paths], found.Subject.Invalid),
                [.. policy.Rules.Select(rule => new CheckedRule(rule.Name, PolicyWords.Of(rule.Outcome), found.Matching.Contains(rule.Name)))]),
            OperationsJson.Answers.PolicyCheckAnswer);
    }

    static JsonResult<PolicyInForce> Get(Policy policy)
    {
        var rules = PolicyRules.Of(policy);
        return JsonResult.Of(200, new PolicyInForce(DigestOf(rules), rules), OperationsJson.Answers.PolicyInForce);
    }

    static string DigestOf(PolicyRules rules) =>
        Convert.ToHexStringLower(SHA256.HashData(CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(rules, OperationsJson.Answers.PolicyRules))));

    static async Task<IResult> Simulate(
        Body<NewSimulation> body, Caller caller, PolicySimulation simulation, IPositions positions, TimeProvider clock, CancellationToken ct)
    {
        var asked = body.Value;
        var (policy, unfit) = ProposedPolicy.Read(asked.Rules, asked.Policy);
        if (policy is null)
        {
            return unfit!;
        }
        long after, through;
        if (asked.Cursor is { } cursor)
        {
            if (!TryRead(cursor, out after, out through) || through > await positions.Head(ct))
            {
                return ErrorResult.Invalid("$.cursor", "Is no cursor of a simulation.", "unknown_cursor");
            }
        }
        else
        {
            through = asked.To is { } to ? await AsOf.Position("$.to", to, caller.Org, positions, clock, ct) : await positions.Head(ct);
            after = asked.From is not { } from ? 0
                : TimeQuery.Parse(from) is { } time ? await positions.At(time.AddMilliseconds(-1), ct)
                : await AsOf.Position("$.from", from, caller.Org, positions, clock, ct) - 1;
            if (asked is { From: not null, To: not null } && after >= through)
            {
                return ErrorResult.Invalid("$.to", "Must not be before from.");
            }
        }
        var range = new SimulationRange(after, through, (int)(asked.Limit ?? NewSimulation.UsualLimit), asked.Tools ?? []);
        var found = await simulation.Run(caller.Org, policy, range, ct);
        return JsonResult.Of(
            200,
            new SimulationAnswer(
                DigestOf(PolicyRules.Of(policy)), found.Decisions, found.Calls.Where(c => c.Key.After is not null && c.Key.After != c.Key.Before).Sum(c => c.Value),
                found.Unknown.Values.Sum(),
                [.. found.Calls.Select(c => new SimulatedCalls(PolicyWords.Of(c.Key.Before), PolicyWords.Of(c.Key.After), c.Value))],
                [.. found.Tools.Select(c => new SimulatedTool(c.Key.Tool, PolicyWords.Of(c.Key.Before), PolicyWords.Of(c.Key.After), c.Value))],
                [
                    .. found.Rules.Select(c => new SimulatedRule(
                        c.Key.Before.Rule, c.Key.After.Rule, PolicyWords.Of(c.Key.Before.Outcome), PolicyWords.Of(c.Key.After.Outcome), c.Value)),
                ],
                [.. found.Unknown.Select(c => new UnknownCalls(c.Key, c.Value))], [.. found.Examples.Select(Example)],
                found.Next is { } next ? string.Create(CultureInfo.InvariantCulture, $"{next}-{through}") : null),
            OperationsJson.Answers.SimulationAnswer);
    }

    static SimulationExample Example(SimulatedCall call) => new(
        call.Event.Run, call.Event.Session, call.Event.Id, call.Event.Position, call.Event.At, call.ToolCallId, call.Tool, call.Paths, PolicyWords.Of(call.Before.Outcome),
        call.Before.Rule!, PolicyWords.Of(call.After.Outcome), call.After.Rule, call.Reason);

    static bool TryRead(string cursor, out long after, out long through)
    {
        (after, through) = (0, 0);
        return cursor.Split('-') is [var first, var last] && long.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out after)
            && long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out through);
    }

}

/// <summary>A policy that a request proposes.</summary>
static class ProposedPolicy
{
    /// <summary>The policy, read like a policy file, or where it is at fault.</summary>
    /// <param name="rules">The rules; null: <paramref name="policy"/> is the content of a file.</param>
    public static (Policy? Policy, ErrorResult? Unfit) Read(JsonElement? rules, JsonElement? policy)
    {
        var json = policy is { } whole ? whole.GetRawText() : $$"""{"rules":{{rules!.Value.GetRawText()}}}""";
        try
        {
            var read = PolicyFile.Parse(Encoding.UTF8.GetBytes(json));
            return read.Rules.Length <= Limits.SimulatedRulesMax ? (read, null)
                : (null, ErrorResult.Invalid("$.rules", $"A proposed policy has at most {Limits.SimulatedRulesMax} rules.", "invalid_policy"));
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            // The message begins with the place in the file.
            var end = e.Message.IndexOf(": ", StringComparison.Ordinal);
            var (place, what) = e is FormatException && end > 0 ? (e.Message[..end], e.Message[(end + 2)..]) : ("$", e.Message);
            return (null, ErrorResult.Invalid(policy is null ? place : $"$.policy{place[1..]}", what, "invalid_policy"));
        }
    }
}
