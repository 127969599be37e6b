using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application;

/// <summary>Finds where a session forks: which runs the prefix has whole, and of which one the beginning.</summary>
public sealed class ForkPoints(IEventLog log, IRunQueries queries, CommandHandler commands)
{
    const int PageEvents = 500;

    /// <summary>The fork at an event of a run.</summary>
    /// <param name="at">The event's id in the session's feed; null: the last event of the run.</param>
    public async ValueTask<(SessionFork? Fork, Refusal? Refused)> OfRun(string org, SessionKey session, RunKey run, long? at, CancellationToken ct)
    {
        FeedEntry? entry = null;
        if (at is { } id)
        {
            entry = await EntryAt(org, session, id, ct);
            if (entry?.Run != run)
            {
                return (null, NoEvent(id, "of the run"));
            }
        }
        var (state, last, cut, begun, memory) = (Run.Aggregate.Initial, (RecordedEvent?)null, (RecordedEvent?)null, (RunCreated?)null, (MemoryRetrieval?)null);
        await foreach (var e in Events(org, run, ct))
        {
            if (entry is not null && e.Position > entry.Position)
            {
                break;
            }
            state = Run.Evolve(e.Event is RunCreated first ? await commands.BeginOf(org, Run.Aggregate, first, ct) : state, (RunEvent)e.Event);
            (last, begun, memory) = (e, e.Event as RunCreated ?? begun, e.Event as MemoryRetrieval ?? memory);
            cut = state is Run.Ended ? cut : e;
        }
        if (last is null || begun is null)
        {
            return (null, NoEvent(at ?? 0, "of the run"));
        }
        if (begun.Counterfactual is not null && state is not Run.Ended { Status: "completed" })
        {
            return (null, NotWithin);
        }
        var earlier = memory?.History ?? [.. await queries.Earlier(org, session, Limits.HistoryTurnsMax, ct)];
        var cuts = begun.Fork?.Cuts ?? [];
        if (state is not Run.Ended { Status: "completed" })
        {
            cuts = cuts.Add(new(run, cut!.Version, cut.Hash));
        }
        var feedId = entry?.FeedId ?? (await log.OfRun(org, session, run, ct)).Last(e => e.Stream == last.Stream).FeedId;
        return (Fork(session, run, new(last.Stream, last.Version), last.Hash, feedId, earlier.Remove(run).Add(run), cuts), null);
    }

    /// <summary>
    /// Where a counterfactual goes off from a run: the last event before another one behind which the run's loop stood, so that it has whole answers and no call that was
    /// judged and not made. What a run retrieved when it began belongs to both.
    /// </summary>
    /// <param name="from">The first event that may be another one: its id in the session's feed.</param>
    public async ValueTask<(GoingOff? At, Refusal? Refused)> OfCounterfactual(string org, SessionKey session, RunKey run, long from, CancellationToken ct)
    {
        var entry = await EntryAt(org, session, from, ct);
        if (entry?.Run != run)
        {
            return (null, Refusal.Invalid("invalid_request", "$.from_event", $"There is no event {from} of the run: it is the id that the session's feed has."));
        }
        var (state, begun, memory) = (Run.Aggregate.Initial, (RunCreated?)null, (MemoryRetrieval?)null);
        var (owed, known, cut) = (0, 0L, (RecordedEvent?)null);
        await foreach (var e in Events(org, run, ct))
        {
            begun ??= e.Event as RunCreated;
            if (begun is { Counterfactual: not null })
            {
                return (null, Refusal.Invalid(
                    "invalid_request", "$.from_event", $"The run is a counterfactual of {begun.Counterfactual.Of.RunId}: go off from that one, with all that is to be otherwise."));
            }
            known = e.Version;
            if (e.Position >= entry.Position && memory is not null)
            {
                continue;
            }
            state = Run.Evolve(state, (RunEvent)e.Event);
            memory ??= e.Event as MemoryRetrieval;
            // What an answer brings along is recorded with it: its calls, the results of those that are not made, and the reply.
            owed = e.Event is LlmResponse answer
                ? (answer.ToolCalls * (ModelRound.WhyNotCalled(answer.StopReason) is null ? 1 : 2)) + (answer is { ToolCalls: 0, Continues: not true } ? 1 : 0)
                : Math.Max(owed - (e.Event is ToolCall or ToolResult or AssistantReply ? 1 : 0), 0);
            if (owed == 0 && state is Run.Active { Memory: not null, Allowed: false, Reply: null, CancelRequested: false }
                && e.Event is not (PolicyDecision or ApprovalDecided or OutputDelta or ThinkingDelta))
            {
                cut = e;
            }
        }
        if (begun is null || memory is null || cut is null)
        {
            return (null, Refusal.Invalid("invalid_request", "$.from_event", "The run has not begun to work: there is nothing to go off from."));
        }
        var of = new RunCut(run, cut.Version, cut.Hash);
        var inFeed = (await log.OfRun(org, session, run, ct)).First(e => e.Id == cut.Id).FeedId;
        var fork = Fork(session, run, new(cut.Stream, cut.Version), cut.Hash, inFeed, memory.History, begun.Fork?.Cuts ?? []);
        return (new(fork, new(of, from, known, []), begun), null);
    }

    /// <summary>The fork at an event of a session.</summary>
    /// <param name="at">The event's id in the session's feed; null: the last event of the session.</param>
    public async ValueTask<(SessionFork? Fork, Refusal? Refused)> OfSession(string org, SessionKey session, long? at, CancellationToken ct)
    {
        var head = (await log.Feed(org, session, long.MaxValue - 1, 1, ct)).Head;
        if (await EntryAt(org, session, at ?? head, ct) is not { } entry)
        {
            return (null, NoEvent(at ?? head, "of the session"));
        }
        var (history, ended) = (new List<RunKey>(), new HashSet<RunKey>());
        RunCut? cut = null;
        var isSettled = false;
        for (var to = entry.FeedId; to > 0 && history.Count < Limits.HistoryTurnsMax; to -= PageEvents)
        {
            var after = Math.Max(to - PageEvents, 0);
            var page = (await log.Feed(org, session, after, (int)(to - after), ct)).Entries;
            foreach (var e in page.Where(e => e.FeedId <= to && e.Run is { } of && e.Stream == Run.Aggregate.Stream(of)).Reverse())
            {
                var run = e.Run!.Value;
                if (e.Is<RunCompleted>() && history.Count < Limits.HistoryTurnsMax)
                {
                    history.Insert(0, run);
                }
                if (e.Is<RunCompleted>() || e.Is<RunFailed>() || e.Is<RunCancelled>())
                {
                    ended.Add(run);
                }
                else if (!isSettled && !ended.Contains(run) && !(e.Is<RunCreated>() || e.Is<FeedbackReceived>() || e.Is<RunCancelRequested>()))
                {
                    // The newest event of a run that had begun and not ended.
                    (cut, isSettled) = (new(run, e.Version, e.Hash), true);
                }
                isSettled |= e.Is<RunCompleted>() || e.Is<RunFailed>();
            }
        }
        if (cut is not null && (await log.Load(org, Run.Aggregate.Stream(cut.RunId), 0, 1, ct)).Events is [{ Event: RunCreated { Counterfactual: not null } }])
        {
            return (null, NotWithin);
        }
        ImmutableList<RunKey> all = [.. history];
        ImmutableList<RunCut> cuts = [];
        if (await commands.State(org, Session.Aggregate, session, ct) is Session.Open { Fork: { } before })
        {
            (all, cuts) = ([.. before.History, .. all], before.Cuts ?? []);
        }
        if (cut is not null)
        {
            (all, cuts) = (all.Add(cut.RunId), cuts.Add(cut));
        }
        return (Fork(session, null, new(entry.Stream, entry.Version), entry.Hash, entry.FeedId, all, cuts), null);
    }

    static SessionFork Fork(SessionKey session, RunKey? run, EventRef at, string hash, long feedId, ImmutableList<RunKey> history, ImmutableList<RunCut> cuts)
    {
        history = history.Count > Limits.HistoryTurnsMax ? history.GetRange(history.Count - Limits.HistoryTurnsMax, Limits.HistoryTurnsMax) : history;
        cuts = cuts.RemoveAll(cut => !history.Contains(cut.RunId));
        return new(session, run, at, hash, feedId, history, cuts.IsEmpty ? null : cuts);
    }

    async ValueTask<FeedEntry?> EntryAt(string org, SessionKey session, long id, CancellationToken ct) =>
        id > 0 && (await log.Feed(org, session, id - 1, 1, ct)).Entries is [var found] && found.FeedId == id ? found : null;

    static readonly Refusal NotWithin = Refusal.Invalid("invalid_request", "$.at_event", "A counterfactual forks when it has completed, at its end.");

    static Refusal NoEvent(long id, string of) => Refusal.Invalid("invalid_request", "$.at_event", $"There is no event {id} {of}: it is the id that the session's feed has.");

    IAsyncEnumerable<RecordedEvent> Events(string org, RunKey run, CancellationToken ct) => LoggedRun.Pages(log, org, run, ct);

    /// <summary>What outside effects the runs of a prefix had by their record, oldest first, at most <see cref="EffectsMax"/>, and how many more.</summary>
    public async ValueTask<(IReadOnlyList<PastEffect> Effects, int More)> Effects(string org, SessionFork fork, CancellationToken ct)
    {
        var (found, more) = (new List<PastEffect>(), 0);
        foreach (var run in fork.History)
        {
            var until = fork.Cuts?.Find(cut => cut.RunId == run)?.Version ?? long.MaxValue;
            var (calls, allowed, steps) = (new Dictionary<string, ToolCall>(StringComparer.Ordinal), new Dictionary<string, PolicyDecision>(StringComparer.Ordinal), 0);
            var approvals = new Dictionary<ApprovalKey, string>();
            await foreach (var e in Events(org, run, ct))
            {
                if (e.Version > until)
                {
                    break;
                }
                switch (e.Event)
                {
                    case MemoryRetrieval or LlmResponse:
                        steps++;
                        break;
                    case ToolCall call:
                        calls[call.Id] = call;
                        break;
                    case PolicyDecision decision when IsWrite(calls.GetValueOrDefault(decision.ToolCallId)?.Name, decision):
                        allowed[decision.ToolCallId] = decision;
                        break;
                    case ApprovalRequested asked:
                        approvals[asked.ApprovalId] = asked.ToolCallId;
                        break;
                    case ApprovalDecided { Outcome: not ApprovalOutcome.Approved } refused when approvals.TryGetValue(refused.ApprovalId, out var of):
                        allowed.Remove(of);
                        break;
                    case ToolResult result:
                        steps++;
                        if (allowed.Remove(result.Id, out var verdict))
                        {
                            Add(new(run, steps, result.Name, Kind(result.Name, verdict), Paths(verdict), IsCertain: !result.IsError));
                        }
                        break;
                }
            }
            // A call without a result may have been made when the prefix ends. One that waits for a person was not.
            foreach (var (id, verdict) in allowed.Where(open => open.Value.Outcome == PolicyOutcome.Allow))
            {
                Add(new(run, steps + 1, calls[id].Name, Kind(calls[id].Name, verdict), Paths(verdict), IsCertain: false));
            }
        }
        return (found, more);

        void Add(PastEffect effect)
        {
            if (found.Count < EffectsMax)
            {
                found.Add(effect);
            }
            else
            {
                more++;
            }
        }
    }

    /// <summary>Effects in one answer.</summary>
    public const int EffectsMax = 200;

    /// <summary>Kinds of access that only read.</summary>
    static readonly string[] Reads = ["list", "read", "search", "recall", CallSubject.ConnectorRead, CallSubject.ConnectorScan, "invalid"];

    static readonly string[] Writers = ["write_file", "delete_file", "move_file", "remember", "scratchpad"];

    static bool IsWrite(string? tool, PolicyDecision decision) =>
        tool is not null && decision.Outcome != PolicyOutcome.Deny
        && (decision.Subject is { } subject ? !Reads.Contains(subject.Kind)
            : Writers.Contains(tool)
                || ((tool == "query_connector" || OutsideToolNames.IsOne(tool)) && decision.Rule is not (CallSubject.ConnectorRead or CallSubject.ConnectorScan)));

    /// <summary>Runs of earlier releases recorded no kind of access: the rule that decided is as near.</summary>
    static string Kind(string tool, PolicyDecision verdict) => verdict.Subject?.Kind ?? verdict.Rule;

    static ImmutableList<string> Paths(PolicyDecision verdict) => verdict.Subject is { } subject ? [.. CallSubject.Of(subject).Paths] : [];
}

/// <summary>Where a counterfactual goes off.</summary>
/// <param name="Fork">Of its session.</param>
/// <param name="Counterfactual">Nothing is otherwise yet.</param>
/// <param name="Begun">The beginning of the run that it goes off from.</param>
public sealed record GoingOff(SessionFork Fork, Counterfactual Counterfactual, RunCreated Begun);

/// <summary>Something outside the log that a run of a prefix did, by its record.</summary>
/// <param name="Step">Number of the step in the run.</param>
/// <param name="Kind">The kind of access: <c>create</c>, <c>overwrite</c>, <c>delete</c>, <c>move</c>, <c>execute</c>, <c>remember</c>, <c>connector_write</c>.</param>
/// <param name="Paths">The places that it touched, and the source that it asked.</param>
/// <param name="IsCertain">False: it failed, or has no result in the prefix, and may have happened.</param>
public sealed record PastEffect(RunKey RunId, int Step, string Tool, string Kind, IReadOnlyList<string> Paths, bool IsCertain);
