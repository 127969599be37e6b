using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// What happened in a session, in lines (<see cref="LineWriter"/>): <c>cowork-session/2</c>. All events of its feed, with those of its runs and scratchpads; the events of
/// other streams that its runs name; the blobs that all of these name. Artifacts are there by their digests. It is a pure function of the log, but for <c>log</c> in the
/// last line, which is there from the first signed head on that covers the events. Memory grows with what is named, and by a position for each event.
/// <see cref="SessionVerifier"/> checks it.
/// </summary>
public static class SessionBundle
{
    public const string Format = "cowork-session/2";

    /// <summary>The format without a signed head. The verifier still accepts it.</summary>
    public const string FirstFormat = "cowork-session/1";

    /// <summary>The formats that the verifier reads, newest first.</summary>
    public static readonly IReadOnlyList<string> Formats = [Format, FirstFormat];

    const int PageEvents = 500;

    /// <param name="proofs">Null: the bundle has no signed head.</param>
    public static async Task Write(IEventLog log, IBlobs blobs, LogProofs? proofs, string org, SessionKey session, PipeWriter output, CancellationToken ct)
    {
        using var lines = new LineWriter(output);
        await lines.Begin(Format, [("session_id", LineWriter.Json(session.Id)), ("tenant_id", LineWriter.Json(org))], ct);
        var stream = Session.Aggregate.Stream(session);
        var hashes = new PreviousHashes(log, org);
        var keys = new DisclosedKeys(log.Keys);
        var named = new HashSet<(string Stream, long Version)>();
        var digests = new SortedSet<string>(StringComparer.Ordinal);
        var settings = new HashSet<string>(StringComparer.Ordinal);
        var earlier = new HashSet<RunKey>();
        var told = new HashSet<long>();
        var runs = new HashSet<RunKey>();
        // Runs of which a fork has the beginning only.
        var cuts = new HashSet<RunKey>();
        var pasts = new HashSet<RunCut>();
        var (feedId, head) = (0L, (Version: 0L, Hash: HashChain.Root));
        for (var through = long.MaxValue; feedId < through;)
        {
            var page = await log.Feed(org, session, feedId, PageEvents, ct);
            // What happens meanwhile is not in it.
            through = Math.Min(through, page.Head);
            var entries = page.Entries.TakeWhile(entry => entry.FeedId <= through).Select(entry => entry with { Keys = keys }).ToList();
            var leaves = await Leaves([.. entries.Select(entry => entry.Position)]);
            foreach (var entry in entries)
            {
                await lines.Event(
                    entry with { Session = session }, await hashes.Before(entry, ct), leaves.GetValueOrDefault(entry.Position), ct,
                    BundledContents.KeyOf(org, entry.Stream, entry.Data.Span, keys));
                Names(entry);
                feedId = entry.FeedId;
            }
            if (page.Entries.Count == 0)
            {
                break;
            }
        }
        var used = await RelatedEvents.WithErasures(log, org, await Related(), keys, ct);
        var leavesOfUsed = await Leaves([.. used.Select(related => related.Event.Position)]);
        foreach (var related in used)
        {
            var data = CanonicalJson.Of(related.Event.Data.Span);
            TraceBundle.FindBlobs(JsonElement.Parse(RelatedEvents.Open(related, data, keys)), digests);
            await lines.Related(
                related, data, leavesOfUsed.GetValueOrDefault(related.Event.Position), BundledContents.KeyOf(org, related.Event.Stream, data, keys), ct);
        }
        foreach (var sha256 in digests.Union(settings).Order(StringComparer.Ordinal))
        {
            // Settings that are gone prove less, and do not keep the session from being proved.
            if (await blobs.Get(sha256, ct) is { } bytes)
            {
                await lines.Blob(sha256, bytes, ct);
            }
            else if (digests.Contains(sha256))
            {
                throw new InvalidDataException($"The blob {sha256} is missing.");
            }
        }
        await lines.End(
            [("feed_id", Number(feedId)), ("hash", LineWriter.Json(head.Hash)), ("stream_id", LineWriter.Json(stream)), ("version", Number(head.Version))],
            Log, ct);

        async ValueTask<Dictionary<long, AuditLeaf>> Leaves(long[] positions) =>
            proofs is null || positions.Length == 0 ? [] : (await proofs.Leaves(org, positions, ct)).ToDictionary(leaf => leaf.Position);

        async ValueTask<string?> Log(string end)
        {
            long[] positions = [.. told.Concat(used.Select(related => related.Event.Position)).Order()];
            if (proofs is null || positions.Length == 0 || await proofs.Covering(positions[^1], ct) is not var (covering, key)
                || await proofs.State(SignedParts.LinesTyp, end, ct) is not { } statement)
            {
                return null;
            }
            var json = new ArrayBufferWriter<byte>();
            using (var writer = new Utf8JsonWriter(json))
            {
                writer.WriteStartObject();
                SignedParts.WriteHead(writer, covering, key);
                SignedParts.WriteHashes(writer, "proof", await proofs.Inclusion(positions, covering.Head.TreeSize, ct));
                writer.WritePropertyName("statement");
                SignedParts.WriteStatement(writer, statement);
                writer.WriteEndObject();
            }
            return Encoding.UTF8.GetString(CanonicalJson.Of(json.WrittenSpan));
        }

        void Names(FeedEntry entry)
        {
            told.Add(entry.Position);
            TraceBundle.FindBlobs(JsonElement.Parse(entry.Open().Span), digests);
            if (entry.Stream == stream)
            {
                head = (entry.Version, entry.Hash);
            }
            if (entry.Is<RunEvent.RunCreated>() || entry.Is<RunEvent.MemoryRetrieval>() || entry.Is<RunEvent.RunStarted>() || entry.Is<RunEvent.RunResumed>())
            {
                var e = entry.Read();
                settings.UnionWith(TraceBundle.SettingsNamedBy([e]));
                named.UnionWith(RelatedEvents.NamedBy(e).Select(one => (one.Stream, one.Version)));
                earlier.UnionWith((e as RunEvent.MemoryRetrieval)?.History ?? []);
                if (e is RunEvent.RunCreated created)
                {
                    cuts.UnionWith(RelatedEvents.CutsOf([e]));
                    runs.Add(created.RunId);
                    if (created.Counterfactual is { Of: var past })
                    {
                        pasts.Add(past);
                    }
                }
            }
        }

        async Task<IReadOnlyList<ChainedEvent>> Related()
        {
            var found = new SortedDictionary<long, ChainedEvent>();
            foreach (var past in pasts)
            {
                foreach (var e in await RelatedEvents.Retrieved(log, org, past, ct))
                {
                    named.UnionWith(RelatedEvents.NamedBy(e.Event).Select(one => (one.Stream, one.Version)));
                    earlier.UnionWith(((RunEvent.MemoryRetrieval)e.Event).History);
                }
            }
            foreach (var (of, version) in named)
            {
                Add(await RelatedEvents.At(log, org, of, version, ct));
            }
            foreach (var of in earlier.Where(run => !runs.Contains(run) && !cuts.Contains(run)).Select(run => Run.Aggregate.Stream(run)))
            {
                Add(await RelatedEvents.At(log, org, of, 1, ct));
                Add(await RelatedEvents.ReplyOf(log, org, of, ct));
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
    }

    static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
}
