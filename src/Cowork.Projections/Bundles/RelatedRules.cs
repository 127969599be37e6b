using Cowork.Application;
using Cowork.Application.Storage;
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
    /// <param name="related">Events of other streams.</param>
    /// <param name="entries">What concerns the run, whatever stream it lies in.</param>
    /// <param name="own">The run's own stream.</param>
    /// <param name="erasures">Those of the related events that are there for what was erased.</param>
    public static void Check(
        List<TraceEntry> related, List<TraceEntry> entries, List<TraceEntry> own, IReadOnlyCollection<TraceEntry> erasures, CancellationToken ct)
    {
        var places = new BundlePlaces(related, entries, ct);
        CheckNames(own, places, ct);
        CheckCells(related, own, places);
        CheckLeft(related, own, places);
        places.Name(erasures);
        places.RequireNamed();
    }

    /// <summary>What the run's own events name is there, as they name it, and was there before.</summary>
    public static void CheckNames(List<TraceEntry> own, BundlePlaces places, CancellationToken ct)
    {
        var cuts = RelatedEvents.CutsOf(own.Select(entry => entry.Event.Event));
        // What a counterfactual retrieved is in the beginning that it has of the other run.
        var retrieved = own[0].Event.Event is RunCreated { Counterfactual.Of: var past } ? places.UpTo(past).Where(entry => entry.Event.Event is MemoryRetrieval) : [];
        foreach (var entry in retrieved.Concat(own))
        {
            var (at, _, e, _) = entry;
            ct.ThrowIfCancellationRequested();
            foreach (var (i, named) in RelatedEvents.NamedBy(e.Event).Index())
            {
                var found = places.Named(at, named.Stream, named.Version, named.IsEarlier ? e.Position : long.MaxValue);
                // A text of one of them was erased, and the other one's is not that person's: what is left of both is the same.
                var isAsNamed = entry.IsErased == found.IsErased || found.Event.Event is Tombstone
                    ? named.IsAsNamed(found.Event.Event)
                    : RelatedEvents.NamedBy(Redacted(entry)).ElementAt(i).IsAsNamed(Redacted(found));
                Require(isAsNamed, found.At, $"It is not what {at} names.");
            }
            foreach (var cut in e.Event is RunCreated begun ? RelatedEvents.PartsOf(begun) : [])
            {
                var last = places.Named(at, Run.Aggregate.Stream(cut.RunId), cut.Version, e.Position);
                Require(last.Event.Hash == cut.Hash, last.At, $"It is not the event at which {at} forked.");
            }
            foreach (var earlier in ((e.Event as MemoryRetrieval)?.History ?? []).Where(run => !cuts.Contains(run)))
            {
                var stream = Run.Aggregate.Stream(earlier);
                var created = places.Named(at, stream, 1, e.Position);
                Require(created.Event.Event is RunCreated turn && turn.RunId == earlier, created.At, "It is not the begin of an earlier turn.");
                var reply = places.ReplyOf(stream) ?? throw Fault(at, $"The reply of the earlier turn {Quoted(earlier.Id)} is missing.");
                places.Named(at, stream, reply.Event.Version, e.Position);
            }
            foreach (var said in (e.Event as MemoryRetrieval)?.Conversation ?? [])
            {
                var stream = Run.Aggregate.Stream(said.RunId);
                var created = places.Named(at, stream, 1, e.Position);
                Require(
                    created.Event.Event is RunCreated { Agent: { } agent } answering && answering.RunId == said.RunId
                        && (said.AgentId is null ? agent.CalledBy is null && agent.By == said.By : (agent.Id, agent.Nickname) == (said.AgentId, said.By)),
                    created.At, "It is not what was said in the group.");
                if (said.AgentId is not null)
                {
                    var reply = places.ReplyOf(stream) ?? throw Fault(at, $"The answer {Quoted(said.RunId.Id)} is missing.");
                    places.Named(at, stream, reply.Event.Version, e.Position);
                }
            }
        }
    }

    /// <summary>
    /// Artifacts and memories that a counterfactual has of the run that it goes off from are that run's, and were there before. Bundles of earlier releases have none of them.
    /// </summary>
    static void CheckLeft(List<TraceEntry> related, List<TraceEntry> own, BundlePlaces places)
    {
        if (own[0].Event.Event is not RunCreated { Counterfactual.Of: var past })
        {
            return;
        }
        var begun = places.UpTo(past).First().Event.Event as RunCreated ?? throw Fault(own[0].At, "The beginning of the other run is missing.");
        var steps = TraceRules.StepsOf([], places.UpTo(past));
        var kept = Enumerable.Range(1, steps).Select(step => TraceRules.MemoryOf(past.RunId, step)).ToHashSet(StringComparer.Ordinal);
        foreach (var entry in related.Where(entry => entry.Event.Position < own[0].Event.Position))
        {
            var e = entry.Event;
            var isLeft = e.Event switch
            {
                ArtifactEvent.ArtifactDiscovered artifact => artifact.RunId == past.RunId && artifact.SessionId == begun.SessionId
                    && Artifact.Aggregate.Stream(entry.IsErased ? artifact.ArtifactId : Artifact.KeyOf(begun.SessionId, artifact.Path)) == e.Stream,
                MemoryEvent.MemoryWritten memory => memory.RunId == past.RunId && memory.SessionId == begun.SessionId && kept.Contains(e.Stream),
                // The text of a memory may have expired since.
                Tombstone => EventTypes.Is<MemoryEvent.MemoryWritten>(e.Type) && kept.Contains(e.Stream),
                _ => false,
            };
            if (isLeft)
            {
                places.Name(e.Stream, e.Version);
            }
        }
    }

    static Event Redacted(TraceEntry entry) => PersonalShape.Of(EventTypes.ByName[entry.Event.Type].Shape) is { } shape
        ? EventJson.Read(entry.Event.Type, EventSeal.Redact(Bytes(TraceVerifier.DataOf(entry)), shape), entry.Event.At)
        : entry.Event.Event;

    /// <summary>The executions are those of the run's calls, and each call that executed a cell has its execution from the queue to its end.</summary>
    /// <param name="events">Of scratchpads, among others.</param>
    public static void CheckCells(IReadOnlyList<TraceEntry> events, List<TraceEntry> own, BundlePlaces places)
    {
        var run = (RunCreated)own[0].Event.Event;
        var steps = TraceRules.StepsOf(own, run.Counterfactual is { Of: var past } ? places.UpTo(past) : []);
        // A call whose result a crash prevented may have executed its cell.
        var cells = Enumerable.Range(1, steps + 1).Select(step => UseScratchpad.CellOf(run.RunId, step)).ToHashSet();
        var executions = new Dictionary<(string Stream, int Execution), CellQueued>();
        var ended = new Dictionary<CellKey, (CellQueued Queued, CellCompleted Completed, long Position)>();
        var scratchpads = events.Where(entry => entry.Event.Event is CellQueued).Select(entry => entry.Event.Stream).ToHashSet(StringComparer.Ordinal);
        foreach (var (at, _, e, _) in events)
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
            places.Name(e.Stream, e.Version);
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
                case ToolResult { Name: RelatedEvents.CellTool, IsError: false, Source: null or Counterfactual.Live } result
                    when calls.GetValueOrDefault(result.Id)?.Input is Content.Inline input && TraceRules.Argument(input.Text, "action") == "exec":
                    Require(
                        ended.TryGetValue(UseScratchpad.CellOf(run.RunId, result.Step), out var cell) && cell.Position < e.Position, at,
                        "The execution of its cell is missing.");
                    Require(
                        cell.Queued.Code is not Content.Inline code || code.Text == TraceRules.Argument(input.Text, "code"), at,
                        "The cell that was executed has another code.");
                    break;
            }
        }
    }
}

/// <summary>Where the events of a bundle are, and which of other streams nothing has named yet.</summary>
sealed class BundlePlaces
{
    readonly Dictionary<(string Stream, long Version), TraceEntry> places = [];
    readonly Dictionary<string, TraceEntry> replies = new(StringComparer.Ordinal);
    readonly HashSet<(string Stream, long Version)> unnamed = [];
    readonly List<TraceEntry> related;

    /// <param name="related">Events of other streams, which something must name.</param>
    /// <param name="entries">All others.</param>
    public BundlePlaces(List<TraceEntry> related, List<TraceEntry> entries, CancellationToken ct)
    {
        this.related = related;
        var ids = new Dictionary<Guid, string>();
        foreach (var entry in entries.Concat(related))
        {
            ct.ThrowIfCancellationRequested();
            var (at, e) = (entry.At, entry.Event);
            Require(e.Org == entries[0].Event.Org, $"{at}.tenant_id", $"The run's tenant is {Quoted(entries[0].Event.Org)}.");
            Require(ids.TryAdd(e.Id, at), $"{at}.id", $"{ids[e.Id]} has the same id.");
            Require(places.TryAdd((e.Stream, e.Version), entry), at, "The event is there twice.");
            if (e.Event is AssistantReply)
            {
                replies.TryAdd(e.Stream, entry);
            }
        }
        unnamed.UnionWith(related.Select(entry => (entry.Event.Stream, entry.Event.Version)));
    }

    /// <summary>The beginning of a run, as far as the bundle has it, in order.</summary>
    public IEnumerable<TraceEntry> UpTo(RunCut cut)
    {
        var stream = Run.Aggregate.Stream(cut.RunId);
        return related.Where(entry => entry.Event.Stream == stream && entry.Event.Version <= cut.Version);
    }

    /// <summary>The reply of a run; null: the bundle has none.</summary>
    public TraceEntry? ReplyOf(string stream) => replies.GetValueOrDefault(stream);

    /// <summary>Something names the event.</summary>
    public void Name(string stream, long version) => unnamed.Remove((stream, version));

    /// <summary>The event that another one names.</summary>
    /// <param name="at">The place of what names it.</param>
    /// <param name="before">A position that it must lie before.</param>
    public TraceEntry Named(string at, string stream, long version, long before)
    {
        var found = places.GetValueOrDefault((stream, version)) ?? throw Fault(at, $"Version {version} of {Quoted(stream)}, which the event names, is missing.");
        Require(found.Event.Position < before, $"{found.At}.gid", $"It was recorded after {at}, which names it.");
        Name(stream, version);
        return found;
    }

    public void Name(IReadOnlyCollection<TraceEntry> entries)
    {
        foreach (var entry in entries)
        {
            Name(entry.Event.Stream, entry.Event.Version);
        }
    }

    /// <summary>Each event of another stream was named.</summary>
    public void RequireNamed() =>
        Require(
            unnamed.Count == 0, related.Find(entry => unnamed.Contains((entry.Event.Stream, entry.Event.Version)))?.At ?? "$.related", "No event of the run names it.");
}
