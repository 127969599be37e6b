using Cowork.Domain;

using static Cowork.Domain.RunEvent;
using static Cowork.Domain.ScratchpadEvent;
using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// What a run's own events say of the events in <c>related</c>: which must be there, as they are named, and before the event that names them. No other may be there.
/// The run's hashes cover what names them, so that nobody who keeps the run's head puts another version of a skill, a memory or an earlier turn in their place unseen, where
/// the run's event repeats its content; and no one drops one anywhere.
/// </summary>
static class RelatedRules
{
    public static void Check(List<TraceEntry> related, List<TraceEntry> entries, List<TraceEntry> own, CancellationToken ct)
    {
        var first = own[0].Event;
        var run = (RunCreated)first.Event;
        var places = related.ToDictionary(entry => (entry.Event.Stream, entry.Event.Version));
        var ids = entries.ToDictionary(entry => entry.Event.Id, entry => entry.At);
        var told = entries.ToDictionary(entry => (entry.Event.Stream, entry.Event.Version));
        foreach (var (at, _, e, _) in related)
        {
            ct.ThrowIfCancellationRequested();
            Require(e.Org == first.Org, $"{at}.tenant_id", $"The run's tenant is {Quoted(first.Org)}.");
            Require(ids.TryAdd(e.Id, at), $"{at}.id", $"{ids[e.Id]} has the same id.");
        }
        var replies = related.Where(entry => entry.Event.Event is AssistantReply).GroupBy(entry => entry.Event.Stream, StringComparer.Ordinal)
            .ToDictionary(group => group.Key, group => group.First(), StringComparer.Ordinal);
        var unnamed = places.Keys.ToHashSet();
        foreach (var (at, _, e, _) in own)
        {
            ct.ThrowIfCancellationRequested();
            foreach (var named in RelatedEvents.NamedBy(e.Event))
            {
                var found = Named(at, named.Stream, named.Version, named.IsEarlier ? e.Position : long.MaxValue);
                Require(named.IsAsNamed(found.Event.Event), found.At, $"It is not what {at} names.");
            }
            foreach (var earlier in (e.Event as MemoryRetrieval)?.History ?? [])
            {
                var stream = Run.Aggregate.Stream(earlier);
                var created = Named(at, stream, 1, e.Position);
                Require(created.Event.Event is RunCreated turn && turn.RunId == earlier, created.At, "It is not the begin of an earlier turn.");
                var reply = replies.GetValueOrDefault(stream)
                    ?? throw Fault(at, $"The reply of the earlier turn {Quoted(earlier.Id)} is missing in $.related.");
                Named(at, stream, reply.Event.Version, e.Position);
            }
        }
        CheckCells(related, own, run, unnamed);
        Require(unnamed.Count == 0, related.Find(entry => unnamed.Contains((entry.Event.Stream, entry.Event.Version)))?.At ?? "$.related", "No event of the run names it.");

        TraceEntry Named(string at, string stream, long version, long before)
        {
            var found = places.GetValueOrDefault((stream, version)) ?? told.GetValueOrDefault((stream, version))
                ?? throw Fault(at, $"Version {version} of {Quoted(stream)}, which the event names, is missing in $.related.");
            Require(found.Event.Position < before, $"{found.At}.gid", $"It was recorded after {at}, which names it.");
            unnamed.Remove((stream, version));
            return found;
        }
    }

    /// <summary>The executions are those of the run's calls, and each call that executed a cell has its execution from the queue to its end.</summary>
    static void CheckCells(List<TraceEntry> related, List<TraceEntry> own, RunCreated run, HashSet<(string Stream, long Version)> unnamed)
    {
        var steps = own.Count(entry => entry.Event.Event is MemoryRetrieval or LlmResponse or ToolResult);
        // A call whose result a crash prevented may have executed its cell.
        var cells = Enumerable.Range(1, steps + 1).Select(step => RelatedEvents.CellOf(run.RunId, step)).ToHashSet();
        var executions = new Dictionary<(string Stream, int Execution), CellQueued>();
        var ended = new Dictionary<CellKey, (CellQueued Queued, CellCompleted Completed, long Position)>();
        var scratchpads = related.Where(entry => entry.Event.Event is CellQueued).Select(entry => entry.Event.Stream).ToHashSet(StringComparer.Ordinal);
        foreach (var (at, _, e, _) in related)
        {
            if (e.Event is not ScratchpadEvent)
            {
                continue;
            }
            if (e.Event is CellQueued queued)
            {
                Require(queued.RunId == run.RunId && cells.Contains(queued.CellId), $"{at}.data", "No call of the run has this cell.");
                executions[(e.Stream, queued.Execution)] = queued;
            }
            if (e.Event is ScratchpadCreated created)
            {
                Require(
                    created.SessionId == run.SessionId && Scratchpad.Aggregate.Stream(created.ScratchpadId) == e.Stream, $"{at}.data",
                    "It is no scratchpad of the run's session.");
                Require(scratchpads.Contains(e.Stream), at, "The run executed no cell of it.");
            }
            else
            {
                var of = RelatedEvents.ExecutionOf(e.Event) is { } execution ? executions.GetValueOrDefault((e.Stream, execution)) : null;
                Require(of is not null, at, "It is about no execution that the run asked for.");
                if (e.Event is CellCompleted completed)
                {
                    Require(completed.CellId == of!.CellId, $"{at}.data", "It is about another cell.");
                    ended[of.CellId] = (of, completed, e.Position);
                }
            }
            unnamed.Remove((e.Stream, e.Version));
        }
        var calls = new Dictionary<string, ToolCall>(StringComparer.Ordinal);
        foreach (var (at, _, e, _) in own)
        {
            switch (e.Event)
            {
                case ToolCall call:
                    calls[call.Id] = call;
                    break;
                // Arguments that lie in the blob store name their code by its digest alone.
                case ToolResult { Name: RelatedEvents.CellTool, IsError: false } result
                    when calls.GetValueOrDefault(result.Id)?.Input is Content.Inline input && TraceRules.Argument(input.Text, "action") == "exec":
                    Require(
                        ended.TryGetValue(RelatedEvents.CellOf(run.RunId, result.Step), out var cell) && cell.Position < e.Position, at,
                        "The execution of the cell is missing in $.related.");
                    Require(
                        cell.Queued.Code is not Content.Inline code || code.Text == TraceRules.Argument(input.Text, "code"), at,
                        "The cell that was executed has another code.");
                    break;
            }
        }
    }
}
