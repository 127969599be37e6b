using System.Globalization;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>
/// A run as a bundle has it. Nothing is proved by reading it: hashes, order and rules are left to <see cref="TraceVerifier"/> and to the replay, which name the first place
/// that does not fit.
/// </summary>
public sealed class BundledRun : IRunRecord
{
    /// <summary>Why there is no run, though the bundle may be sound.</summary>
    public const string Erased = "Texts of the run were erased: it cannot be replayed.";

    readonly List<RecordedEvent> events = [];
    readonly Dictionary<string, JsonElement> blobs = new(StringComparer.Ordinal);
    readonly Dictionary<RunKey, EarlierTurn> turns = [];
    readonly Dictionary<string, List<RecordedEvent>> earlier = new(StringComparer.Ordinal);
    readonly List<RecordedEvent> effects = [];
    readonly List<RecordedEvent> left = [];
    readonly Dictionary<CellKey, IReadOnlyList<CellFile>> cells = [];
    readonly Dictionary<Guid, string> places = [];
    readonly Dictionary<RunKey, Content> messages = [];

    BundledRun(JsonElement root)
    {
        Object(root, "$");
        Format = Text(root, "format", "$");
        Require(TraceBundle.Formats.Contains(Format), "$.format", $"The format is none of {string.Join(", ", TraceBundle.Formats)}.");
        var stream = Text(TraceJson.Part(root, "head"), "stream_id", "$.head");
        foreach (var (i, e) in List(root, "events", "$").EnumerateArray().Index())
        {
            var at = $"$.events[{i}]";
            Object(e, at);
            if (Text(e, "stream_id", at) == stream)
            {
                events.Add(Placed(e, at));
            }
            else if (RunEffects.Is(Text(e, "type", at)))
            {
                effects.Add(Placed(e, at));
            }
        }
        Require(events.Count > 0 && events[0].Event is RunEvent.RunCreated, "$.events", "The run's own stream does not begin with its run_created.");
        (Org, Run) = (events[0].Org, ((RunEvent.RunCreated)events[0].Event).RunId);
        foreach (var (i, blob) in List(root, "blobs", "$").EnumerateArray().Index())
        {
            blobs[Text(Object(blob, $"$.blobs[{i}]"), "sha256", $"$.blobs[{i}]")] = blob;
        }
        if (Format == TraceBundle.Format)
        {
            ReadTurns(List(root, "related", "$"));
        }
    }

    /// <summary>The earlier turns: how each began, and what it came to.</summary>
    void ReadTurns(JsonElement related)
    {
        var begun = new Dictionary<string, RunEvent.RunCreated>(StringComparer.Ordinal);
        foreach (var (i, part) in related.EnumerateArray().Index())
        {
            var at = $"$.related[{i}]";
            var read = Placed(Object(part, at), at);
            if (read.Event is RunEvent)
            {
                earlier.TryAdd(read.Stream, []);
                earlier[read.Stream].Add(read);
            }
            switch (read)
            {
                case { Event: RunEvent.RunCreated created } e:
                    begun[e.Stream] = created;
                    messages[created.RunId] = created.Message;
                    break;
                case { Event: RunEvent.AssistantReply reply } e when begun.TryGetValue(e.Stream, out var turn):
                    turns[turn.RunId] = new(turn.RunId, turn.Message, reply.Content);
                    break;
                case { Event: ArtifactEvent.ArtifactDiscovered or MemoryEvent.MemoryWritten }:
                    left.Add(read);
                    break;
                case { Event: ScratchpadEvent.CellCompleted done }:
                    cells[done.CellId] = done.Result.Files ?? [];
                    break;
            }
        }
    }

    public string Format { get; }

    public string Org { get; }

    public RunKey Run { get; }

    /// <summary>Reads a bundle of at most <see cref="TraceVerifier.BundleBytesMax"/> bytes, or says what is wrong with it.</summary>
    public static (BundledRun? Run, TraceFault? Fault) Read(ReadOnlySpan<byte> bundle, CancellationToken ct)
    {
        if (bundle.Length > TraceVerifier.BundleBytesMax)
        {
            return (null, new("$", $"The file has more than {TraceVerifier.BundleBytesMax} bytes."));
        }
        try
        {
            // One pass before anything is built: it bounds the depth, and finds members that are there twice.
            return CanonicalJson.FirstDeviation(bundle, TraceVerifier.DepthMax, ct) is { } at
                ? (null, new($"byte {at}", "From here on the file is not in canonical form (RFC 8785)."))
                : (new(JsonElement.Parse(bundle, new() { MaxDepth = TraceVerifier.DepthMax })), null);
        }
        catch (TraceFaultException e)
        {
            return (null, e.Fault);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            return (null, new("$", $"The file is no bundle: {Quoted(e.Message)}"));
        }
    }

    /// <summary>The JSON path of an event; null: the bundle does not have it.</summary>
    public string? PlaceOf(Guid id) => places.GetValueOrDefault(id);

    public IAsyncEnumerable<RecordedEvent> Events(CancellationToken ct) => Each(events, ct);

    public IAsyncEnumerable<RecordedEvent> Effects(CancellationToken ct) => Each(effects, ct);

    public IAsyncEnumerable<RecordedEvent> PastEffects(RunCut cut, CancellationToken ct) => Each(
        left.Where(e => cut.RunId == ((e.Event as ArtifactEvent.ArtifactDiscovered)?.RunId ?? (e.Event as MemoryEvent.MemoryWritten)?.RunId)), ct);

    public ValueTask<IReadOnlyList<CellFile>?> FilesOfCell(RunKey of, int step, CancellationToken ct) => new(cells.GetValueOrDefault(UseScratchpad.CellOf(of, step)));

    static async IAsyncEnumerable<RecordedEvent> Each(IEnumerable<RecordedEvent> some, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        await Task.CompletedTask;
        foreach (var e in some)
        {
            ct.ThrowIfCancellationRequested();
            yield return e;
        }
    }

    /// <summary>An event, whose place is noted.</summary>
    RecordedEvent Placed(JsonElement e, string at)
    {
        var read = Read(e, at);
        places[read.Id] = at;
        return read;
    }

    public async IAsyncEnumerable<RecordedEvent> Past(RunCut cut, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        await Task.CompletedTask;
        foreach (var e in earlier.GetValueOrDefault(Domain.Run.Aggregate.Stream(cut.RunId)) ?? [])
        {
            ct.ThrowIfCancellationRequested();
            if (e.Version <= cut.Version)
            {
                yield return e;
            }
        }
    }

    public ValueTask<EarlierPart?> Part(string org, RunCut cut, CancellationToken ct)
    {
        var state = Domain.Run.Aggregate.Initial;
        foreach (var e in earlier.GetValueOrDefault(Domain.Run.Aggregate.Stream(cut.RunId)) ?? [])
        {
            state = e.Version <= cut.Version ? Domain.Run.Evolve(state, (RunEvent)e.Event) : state;
        }
        return new(EarlierPart.Of(state));
    }

    public ValueTask<byte[]?> Blob(string sha256, CancellationToken ct) => new(blobs.TryGetValue(sha256, out var blob) ? Base64(blob, "$.blobs") : null);

    public ValueTask<IReadOnlyList<EarlierTurn>> Turns(string org, IReadOnlyList<RunKey> runs, CancellationToken ct) =>
        new([.. runs.Select(run => turns.GetValueOrDefault(run)).OfType<EarlierTurn>()]);

    public ValueTask<IReadOnlyList<Content?>> Said(string org, IReadOnlyList<GroupEntry> entries, CancellationToken ct) =>
        new([.. entries.Select(entry => entry.AgentId is not null ? turns.GetValueOrDefault(entry.RunId)?.Reply : messages.GetValueOrDefault(entry.RunId))]);

    static RecordedEvent Read(JsonElement e, string at)
    {
        var type = Text(e, "type", at);
        var id = Guid.TryParseExact(Text(e, "id", at), "D", out var parsed) ? parsed : throw Fault($"{at}.id", "It is not an event id.");
        var ts = DateTimeOffset.TryParseExact(
            Text(e, "ts", at), "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
            ? time
            : throw Fault($"{at}.ts", "It is not a timestamp.");
        var data = Bytes(Member(e, "data", at)).ToArray();
        var (org, stream, version) = (Text(e, "tenant_id", at), Text(e, "stream_id", at), Number(e, "version", at));
        var open = BundledContents.Open(at, e, new(org, stream, version), type, data);
        Require(open is not { IsErased: true }, at, Erased);
        try
        {
            return new(
                org, stream, version, id, type, EventJson.ReadStored(type, open?.Data ?? data, ts), data, ts, Text(e, "actor", at),
                Text(e, "hash", at), Number(e, "gid", at));
        }
        catch (Exception fault) when (IsUnreadable(fault))
        {
            throw Fault(at, $"The event cannot be read: {Quoted(fault.Message)}");
        }
    }
}
