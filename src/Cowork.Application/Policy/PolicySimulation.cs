using System.Runtime.InteropServices;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Which past decisions a policy is held against.</summary>
/// <param name="After">Only decisions behind this position.</param>
/// <param name="Through">Only decisions up to this position, which is not beyond the end of the log.</param>
/// <param name="Max">Decisions that are judged at most.</param>
/// <param name="Tools">Names of tools, <c>*</c> and <c>?</c> allowed; empty: all.</param>
public sealed record SimulationRange(long After, long Through, int Max, IReadOnlyList<string> Tools);

/// <summary>How a call was decided, or would be.</summary>
/// <param name="Outcome">Null: it cannot be judged again.</param>
/// <param name="Rule">Null: no rule decided.</param>
public readonly record struct Judgement(PolicyOutcome? Outcome, string? Rule);

/// <summary>A call that would be decided otherwise, or that cannot be judged again.</summary>
/// <param name="Event">The decision.</param>
/// <param name="Reason">Of the proposed rule.</param>
public sealed record SimulatedCall(FeedEntry Event, string ToolCallId, string Tool, Judgement Before, Judgement After, string? Reason, IReadOnlyList<string> Paths);

/// <param name="Decisions">That were held against the policy, whatever came of it.</param>
/// <param name="Calls">How many, by what became of them and what would.</param>
/// <param name="Tools">The same by tool.</param>
/// <param name="Rules">The same by rule.</param>
/// <param name="Unknown">Calls that cannot be judged again, by the reason.</param>
/// <param name="Examples">The first ones of each change.</param>
/// <param name="Next">The position behind which the rest is; null: there is none.</param>
public sealed record Simulation(
    long Decisions, IReadOnlyDictionary<(PolicyOutcome Before, PolicyOutcome? After), long> Calls,
    IReadOnlyDictionary<(string Tool, PolicyOutcome Before, PolicyOutcome? After), long> Tools, IReadOnlyDictionary<(Judgement Before, Judgement After), long> Rules,
    IReadOnlyDictionary<string, long> Unknown, IReadOnlyList<SimulatedCall> Examples, long? Next);

/// <summary>
/// Holds a proposed policy against the decisions in a tenant's log, but for those of counterfactuals, which decided nothing. Each call is judged again with what its decision
/// recorded: paths as they resolved then. Nothing of the world is looked at, and what the record does not tell is counted as unknown. One request reads a bounded part of the
/// log and keeps counts.
/// </summary>
public sealed class PolicySimulation(IEventLog log)
{
    /// <summary>The decision is of an earlier release, which did not record what the rules were held against, and the proposed rules ask for it.</summary>
    public const string FactsNotRecorded = "facts_not_recorded";

    /// <summary>The call is not in the log where its run has it.</summary>
    public const string CallNotFound = "call_not_found";

    /// <summary>Counted under this name when there are more tools or rules than are told apart: their names are the model's.</summary>
    public const string Others = "…";

    const int EventsMax = 20_000;
    const int PageEvents = 500;
    const int ToldApartMax = 500;
    const int CallsKept = 10_000;
    const int ExamplesOfChange = 5;

    /// <summary>Events of its run before a decision among which its call stands.</summary>
    const int CallWithin = 200;

    public async ValueTask<Simulation> Run(string org, Policy policy, SimulationRange range, CancellationToken ct)
    {
        var hypothetical = new Dictionary<string, bool>(StringComparer.Ordinal);
        var names = new Dictionary<(string Stream, string Call), string>();
        var calls = new Dictionary<(PolicyOutcome, PolicyOutcome?), long>();
        var tools = new Dictionary<(string, PolicyOutcome, PolicyOutcome?), long>();
        var rules = new Dictionary<(Judgement, Judgement), long>();
        var unknown = new Dictionary<string, long>();
        var examples = new List<SimulatedCall>();
        var (at, decisions, events) = (range.After, 0L, 0);
        while (at < range.Through && decisions < range.Max && events < EventsMax)
        {
            var page = (await log.Feed(org, null, at, PageEvents, ct)).Entries;
            if (page.Count == 0 || page[0].Position > range.Through)
            {
                at = range.Through;
                break;
            }
            foreach (var entry in page.TakeWhile(e => e.Position <= range.Through))
            {
                if (decisions == range.Max)
                {
                    break;
                }
                at = entry.Position;
                events++;
                if (Tombstones.Is(entry.Data.Span))
                {
                    continue;
                }
                if (entry.Is<RunEvent.RunCreated>())
                {
                    Note(entry.Stream, entry.Read());
                }
                else if (entry.Is<RunEvent.ToolCall>())
                {
                    if (names.Count == CallsKept)
                    {
                        names.Clear();
                    }
                    var call = (RunEvent.ToolCall)entry.Read();
                    names[(entry.Stream, call.Id)] = call.Name;
                }
                else if (entry.Is<RunEvent.PolicyDecision>())
                {
                    if (await IsHypothetical(entry.Stream))
                    {
                        continue;
                    }
                    var decision = (RunEvent.PolicyDecision)entry.Read();
                    var tool = names.GetValueOrDefault((entry.Stream, decision.ToolCallId)) ?? await NameOf(org, entry, decision.ToolCallId, ct);
                    if (!IsAsked(tool, range.Tools))
                    {
                        continue;
                    }
                    decisions++;
                    Judge(entry, decision, tool);
                }
            }
            await Task.Yield();
        }
        return new(decisions, calls, tools, rules, unknown, examples, at < range.Through ? at : null);

        bool Note(string stream, Event? created)
        {
            if (hypothetical.Count == CallsKept)
            {
                hypothetical.Clear();
            }
            return hypothetical[stream] = created is RunEvent.RunCreated { Counterfactual: not null };
        }

        // A run that was created before the range is asked for.
        async ValueTask<bool> IsHypothetical(string stream) =>
            hypothetical.TryGetValue(stream, out var known) ? known : Note(stream, (await log.Load(org, stream, 0, 1, ct)).Events is [var first, ..] ? first.Event : null);

        void Judge(FeedEntry entry, RunEvent.PolicyDecision decision, string? tool)
        {
            var before = new Judgement(decision.Outcome, decision.Rule);
            var (verdict, why) = tool is null ? (null, CallNotFound) : Verdict(policy, tool, decision);
            var after = new Judgement(verdict?.Outcome, verdict?.Rule);
            if (verdict is null)
            {
                Count(unknown, why!, why!);
            }
            Count(calls, (decision.Outcome, after.Outcome), default);
            Count(tools, (tool ?? Others, decision.Outcome, after.Outcome), (Others, decision.Outcome, after.Outcome));
            Count(rules, (before, after), (before with { Rule = Others }, after with { Rule = Others }));
            if (after.Outcome != before.Outcome && examples.Count(e => (e.Before.Outcome, e.After.Outcome) == (before.Outcome, after.Outcome)) < ExamplesOfChange)
            {
                var paths = decision.Subject is { } subject ? CallSubject.Of(subject).Paths.ToList() : [];
                examples.Add(new(entry, decision.ToolCallId, tool ?? Others, before, after, verdict?.Reason, paths));
            }
        }
    }

    /// <summary>What the policy says of a recorded call; null: the record does not tell, for the reason beside it.</summary>
    static (PolicyVerdict? Verdict, string? Why) Verdict(Policy policy, string tool, RunEvent.PolicyDecision decision)
    {
        // Neither is a rule of a policy: no other policy decides otherwise.
        if (decision.Rule is CallPolicy.SkillTools or Policy.NotGranted)
        {
            return (new(decision.Outcome, decision.Rule, decision.Reason), null);
        }
        var verdict = decision.Subject is { } subject ? policy.Evaluate(tool, CallSubject.Of(subject))
            : policy.EvaluateByTool(tool, isJudgeable: decision.Outcome != PolicyOutcome.Deny);
        return (verdict, verdict is null ? FactsNotRecorded : null);
    }

    static bool IsAsked(string? tool, IReadOnlyList<string> tools) =>
        tools.Count == 0 || (tool is not null && tools.Any(t => System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(t, tool, ignoreCase: false)));

    /// <summary>The tool of a call, from the part of its run's stream before the decision; null: it is not there.</summary>
    async ValueTask<string?> NameOf(string org, FeedEntry decision, string call, CancellationToken ct)
    {
        var after = Math.Max(0, decision.Version - 1 - CallWithin);
        var slice = await log.Load(org, decision.Stream, after, (int)(decision.Version - 1 - after), ct);
        return slice.Events.Select(e => e.Event).OfType<RunEvent.ToolCall>().LastOrDefault(e => e.Id == call)?.Name;
    }

    static void Count<TKey>(Dictionary<TKey, long> counts, TKey key, TKey others)
        where TKey : notnull
    {
        var counted = counts.Count < ToldApartMax || counts.ContainsKey(key) ? key : others;
        CollectionsMarshal.GetValueRefOrAddDefault(counts, counted, out _)++;
    }
}
