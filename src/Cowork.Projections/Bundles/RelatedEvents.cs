using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.RunEvent;
using static Cowork.Domain.ScratchpadEvent;

namespace Cowork.Projections;

/// <summary>An event of another stream that one of a run's own events names by stream and version.</summary>
/// <param name="IsAsNamed">The event there says what the run's event says of it.</param>
/// <param name="IsEarlier">The event was recorded before the one that names it.</param>
sealed record NamedEvent(string Stream, long Version, Func<Event, bool> IsAsNamed, bool IsEarlier = true);

/// <summary>An event with the hash of the one before it in its stream.</summary>
sealed record ChainedEvent(RecordedEvent Event, string PreviousHash);

/// <summary>
/// What a run used of other streams, as it was: the session and the schedule as they were created, versions of skills and memories, message and reply of the earlier turns in its
/// prompt, what was said before in a group, and the cells that it executed. Only what the run's own events name belongs to it, so that a verifier knows what must be there and
/// that nothing else is. A counterfactual has besides what its common past left in other streams.
/// </summary>
static class RelatedEvents
{
    /// <summary>Name of the tool that executes cells.</summary>
    public const string CellTool = "scratchpad";

    const int PageEvents = 500;

    /// <summary>Events at the end of a completed run among which its reply lies: it is followed by the end, and at most by what was said to it meanwhile.</summary>
    const int LastEvents = 8;

    /// <summary>What an event of the run names by stream and version.</summary>
    public static IEnumerable<NamedEvent> NamedBy(Event e)
    {
        switch (e)
        {
            case RunCreated created:
                // The turn's commit may make the session too.
                yield return new(Session.Aggregate.Stream(created.SessionId), 1, static first => first is SessionEvent.SessionCreated, IsEarlier: false);
                if (created.Source?.ScheduleId is { } schedule)
                {
                    yield return new(Schedule.Aggregate.Stream(schedule), 1, static first => first is ScheduleEvent.ScheduleCreated);
                }
                if (created.Source is { SkillId: { } rendered, SkillVersion: { } version })
                {
                    yield return new(Skill.Aggregate.Stream(rendered), version, found => Definition(found, version) is not null);
                }
                foreach (var cut in PartsOf(created))
                {
                    for (var cutVersion = 1L; cutVersion <= cut.Version; cutVersion++)
                    {
                        yield return new(Run.Aggregate.Stream(cut.RunId), cutVersion, static found => found is RunEvent);
                    }
                }
                foreach (var skill in created.Skills ?? [])
                {
                    yield return new(
                        Skill.Aggregate.Stream(skill.Id), skill.Version,
                        found => Definition(found, skill.Version) is { } definition && (definition.Name, definition.Instructions) == (skill.Name, skill.Instructions));
                }
                break;
            case MemoryRetrieval memory:
                foreach (var (from, text) in memory.Provenance.Zip(memory.Context))
                {
                    if (from.Version is { } shown)
                    {
                        yield return new(Memory.Aggregate.Stream(from.Id), shown, found => found is Tombstone || Text(found) == text);
                    }
                }
                break;
        }
    }

    /// <summary>The runs whose beginnings a run rests on: those that its fork has cut, and the one that it goes off from.</summary>
    public static IEnumerable<RunCut> PartsOf(RunCreated created) =>
        created.Counterfactual is { Of: var past } ? (created.Fork?.Cuts ?? []).Append(past) : created.Fork?.Cuts ?? [];

    /// <summary>The runs of which a fork has the beginning only: they have no reply to show.</summary>
    public static HashSet<RunKey> CutsOf(IEnumerable<Event> own) =>
        (own.OfType<RunCreated>().FirstOrDefault()?.Fork?.Cuts ?? []).Select(cut => cut.RunId).ToHashSet();

    /// <summary>The execution that an event of a scratchpad is about; null: it is about none.</summary>
    public static int? ExecutionOf(Event e) => e switch
    {
        CellQueued queued => queued.Execution,
        CellStarted started => started.Execution,
        CellOutput output => output.Execution,
        CellDisplaysUpdated updated => updated.Execution,
        CellInterruptRequested interrupted => interrupted.Execution,
        CellCompleted completed => completed.Execution,
        _ => null,
    };

    /// <summary>All of them in the order of the log.</summary>
    /// <param name="used">What the run's own events name.</param>
    /// <param name="told">Positions of what concerns the run, whatever stream it lies in: that is among its events already.</param>
    public static async Task<IReadOnlyList<ChainedEvent>> Of(
        IEventLog log, string org, SessionKey session, RunKey run, UsedByRun used, IReadOnlySet<long> told, CancellationToken ct)
    {
        var found = new SortedDictionary<long, ChainedEvent>();
        if (used.Past is { } past)
        {
            foreach (var e in await Retrieved(log, org, past, ct))
            {
                used.Add(e.Event);
            }
            await foreach (var left in LoggedRun.LeftBy(log, org, past, ct))
            {
                Add(await At(log, org, left.Stream, left.Version, ct));
            }
        }
        foreach (var (stream, version) in used.Named)
        {
            Add(await At(log, org, stream, version, ct));
        }
        foreach (var (of, hasReply) in used.Runs)
        {
            var stream = Run.Aggregate.Stream(of);
            Add(await At(log, org, stream, 1, ct));
            if (hasReply)
            {
                Add(await ReplyOf(log, org, stream, ct));
            }
        }
        if (used.HasCells)
        {
            foreach (var cell in await Cells(log, org, session, run, used, ct))
            {
                Add(cell);
            }
        }
        return [.. found.Values];

        void Add(ChainedEvent? e)
        {
            if (e is not null && !told.Contains(e.Event.Position))
            {
                found[e.Event.Position] = e;
            }
        }
    }

    /// <summary>The same events, and those that erased the subjects of whose texts the bundle has no key.</summary>
    /// <param name="keys">Those that were asked for what the bundle has already.</param>
    public static async Task<IReadOnlyList<ChainedEvent>> WithErasures(
        IEventLog log, string org, IReadOnlyList<ChainedEvent> related, DisclosedKeys keys, CancellationToken ct)
    {
        foreach (var e in related.Select(chained => chained.Event))
        {
            BundledContents.KeyOf(org, e.Stream, e.Data.Span, keys);
        }
        var erasures = new List<ChainedEvent>();
        foreach (var subject in keys.Erased)
        {
            var previous = HashChain.Root;
            foreach (var e in (await log.Load(org, DataSubject.Aggregate.Stream(DataSubject.KeyOf(subject)), 0, PageEvents, ct)).Events)
            {
                if (e.Event is DataSubjectEvent.SubjectErased)
                {
                    erasures.Add(new(e, previous));
                }
                previous = e.Hash;
            }
        }
        return erasures.Count == 0 ? related : [.. related.Concat(erasures).OrderBy(chained => chained.Event.Position)];
    }

    /// <summary>What a run retrieved that another one goes off from.</summary>
    public static async Task<IReadOnlyList<RecordedEvent>> Retrieved(IEventLog log, string org, RunCut past, CancellationToken ct)
    {
        var stream = Run.Aggregate.Stream(past.RunId);
        for (var after = 0L; after < past.Version;)
        {
            var slice = await log.Load(org, stream, after, PageEvents, ct);
            if (slice.Events.FirstOrDefault(e => e.Event is MemoryRetrieval) is { } retrieved)
            {
                return [retrieved];
            }
            if (slice.Events.Count < PageEvents)
            {
                break;
            }
            after = slice.Version;
        }
        return [];
    }

    /// <summary>The event of a stream at a version; null: there is none.</summary>
    public static async ValueTask<ChainedEvent?> At(IEventLog log, string org, string stream, long version, CancellationToken ct)
    {
        var slice = await log.Load(org, stream, Math.Max(version - 2, 0), version == 1 ? 1 : 2, ct);
        return slice.Events is [.., var e] && e.Version == version ? new(e, version == 1 ? HashChain.Root : slice.Events[0].Hash) : null;
    }

    /// <summary>A completed run's reply; null: it has none.</summary>
    public static async ValueTask<ChainedEvent?> ReplyOf(IEventLog log, string org, string stream, CancellationToken ct)
    {
        var end = (await log.Load(org, stream, long.MaxValue - 1, 1, ct)).Version;
        for (var last = LastEvents; ; last = int.MaxValue)
        {
            var slice = await log.Load(org, stream, Math.Max(end - last, 0), last, ct);
            if (slice.Events.LastOrDefault(e => e.Event is AssistantReply) is { } reply)
            {
                return await At(log, org, stream, reply.Version, ct);
            }
            if (slice.Events is [] or [{ Version: 1 }, ..])
            {
                return null;
            }
        }
    }

    /// <summary>The executions that the run's calls asked for, with the creation of their scratchpads.</summary>
    static async Task<List<ChainedEvent>> Cells(IEventLog log, string org, SessionKey session, RunKey run, UsedByRun used, CancellationToken ct)
    {
        var asked = new Dictionary<string, (long First, HashSet<int> Open)>(StringComparer.Ordinal);
        var until = used.Until ?? long.MaxValue;
        for (var after = used.From; after < until;)
        {
            var page = await log.Feed(org, session, after, PageEvents, ct);
            foreach (var entry in page.Entries.TakeWhile(entry => entry.FeedId < until).Where(entry => entry.Is<CellQueued>()))
            {
                if (entry.Read() is CellQueued queued && queued.RunId == run)
                {
                    asked.TryAdd(entry.Stream, (entry.Version, []));
                    asked[entry.Stream].Open.Add(queued.Execution);
                }
            }
            if (page.Entries is not [.., var newest])
            {
                break;
            }
            after = newest.FeedId;
        }
        var found = new List<ChainedEvent>();
        foreach (var (scratchpad, (first, open)) in asked)
        {
            found.AddRange((await log.Load(org, scratchpad, 0, 1, ct)).Events.Select(e => new ChainedEvent(e, HashChain.Root)));
            var executions = open.ToHashSet();
            // The event before the first comes along for its hash. No execution is the first event of its scratchpad.
            var (after, previous) = (first - 2, "");
            while (open.Count > 0)
            {
                var slice = await log.Load(org, scratchpad, after, PageEvents, ct);
                foreach (var e in slice.Events)
                {
                    if (e.Version >= first && ExecutionOf(e.Event) is { } execution && executions.Contains(execution))
                    {
                        found.Add(new(e, previous));
                        if (e.Event is CellCompleted)
                        {
                            open.Remove(execution);
                        }
                    }
                    previous = e.Hash;
                }
                if (slice.Events.Count == 0)
                {
                    break;
                }
                after = slice.Version;
            }
        }
        return found;
    }

    static SkillDefinition? Definition(Event e, int version) => e switch
    {
        SkillEvent.SkillCreated created when version == 1 => created.Definition,
        SkillEvent.SkillVersionAdded added when added.Version == version => added.Definition,
        _ => null,
    };

    static Content? Text(Event e) => e switch
    {
        MemoryEvent.MemoryWritten written => written.Text,
        MemoryEvent.MemoryCreated created => created.Text,
        MemoryEvent.MemoryChanged changed => changed.Text,
        _ => null,
    };

    /// <summary>The data with the texts of data subjects opened.</summary>
    public static byte[] Open(ChainedEvent chained, byte[] data, IContentKeys? keys) => keys is null ? data
        : EventSeal.Open(data, chained.Event.Type, new(chained.Event.Org, chained.Event.Stream, chained.Event.Version), keys).Data;

    /// <summary>Writes an event with what its hash covers, its hash and its place in the log. It may lie in no session's feed, and so has no place there.</summary>
    public static void Write(Utf8JsonWriter writer, ChainedEvent chained, byte[] data, IContentKeys? keys)
    {
        var e = chained.Event;
        writer.WriteStartObject();
        writer.WriteString("tenant_id", e.Org);
        writer.WriteString("stream_id", e.Stream);
        writer.WriteNumber("version", e.Version);
        writer.WriteString("id", e.Id);
        writer.WriteString("type", e.Type);
        writer.WriteString("ts", HashChain.Timestamp(e.At));
        writer.WriteString("actor", e.Actor);
        HiddenMembers.Write(writer, e.Type, data);
        BundledContents.WriteKey(writer, e.Org, e.Stream, data, keys);
        writer.WriteString("prev_hash", chained.PreviousHash);
        writer.WriteString("hash", e.Hash);
        writer.WriteNumber("gid", e.Position);
        if (e.Correlation is not null)
        {
            writer.WriteString("correlation_id", e.Correlation);
        }
        writer.WriteEndObject();
    }
}

/// <summary>What the own events of a run name of other streams, gathered event by event, so that none of them must be kept.</summary>
sealed class UsedByRun
{
    readonly HashSet<(string Stream, long Version)> named = [];
    readonly HashSet<(RunKey Run, bool HasReply)> runs = [];
    HashSet<RunKey> cuts = [];

    public IEnumerable<(string Stream, long Version)> Named => named;

    /// <summary>Other runs whose message is named, and mostly the reply.</summary>
    public IEnumerable<(RunKey Run, bool HasReply)> Runs => runs;

    /// <summary>The run that it goes off from; null: none.</summary>
    public RunCut? Past { get; private set; }

    /// <summary>It executed cells.</summary>
    public bool HasCells { get; private set; }

    /// <summary>Place of its first event in its session's feed.</summary>
    public long From { get; private set; }

    /// <summary>Place of its end in its session's feed; null: it has not ended.</summary>
    public long? Until { get; private set; }

    /// <summary>Adds an event of the run.</summary>
    /// <param name="feedId">Its place in its session's feed.</param>
    public void Add(Event e, long feedId)
    {
        From = From == 0 ? feedId : From;
        Until = e is RunCompleted or RunFailed or RunCancelled ? feedId : null;
        if (e is RunCreated created)
        {
            (Past, cuts) = (created.Counterfactual?.Of, RelatedEvents.CutsOf([created]));
        }
        HasCells |= e is ToolCall { Name: RelatedEvents.CellTool } or ToolResult { Name: RelatedEvents.CellTool };
        Add(e);
    }

    /// <summary>Adds an event that counts as one of the run.</summary>
    public void Add(Event e)
    {
        named.UnionWith(RelatedEvents.NamedBy(e).Select(one => (one.Stream, one.Version)));
        if (e is MemoryRetrieval memory)
        {
            runs.UnionWith(memory.History.Where(run => !cuts.Contains(run)).Select(run => (run, true)));
            runs.UnionWith((memory.Conversation ?? []).Select(said => (said.RunId, said.AgentId is not null)));
        }
    }
}
