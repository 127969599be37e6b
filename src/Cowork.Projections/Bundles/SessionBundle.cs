using System.Globalization;
using System.IO.Pipelines;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>
/// What happened in a session, in lines (<see cref="LineWriter"/>): <c>cowork-session/1</c>. All events of its feed, with those of its runs and scratchpads; the events of
/// other streams that its runs name; the blobs that all of these name. Artifacts are there by their digests. It is a pure function of the log. Memory grows with
/// what is named and not with what happened. <see cref="SessionVerifier"/> checks it.
/// </summary>
public static class SessionBundle
{
    public const string Format = "cowork-session/1";

    const int PageEvents = 500;

    public static async Task Write(IEventLog log, IBlobs blobs, string org, SessionKey session, PipeWriter output, CancellationToken ct)
    {
        using var lines = new LineWriter(output);
        await lines.Begin(Format, [("session_id", LineWriter.Json(session.Id)), ("tenant_id", LineWriter.Json(org))], ct);
        var stream = Session.Aggregate.Stream(session);
        var hashes = new PreviousHashes(log, org);
        var named = new HashSet<(string Stream, long Version)>();
        var digests = new SortedSet<string>(StringComparer.Ordinal);
        var settings = new HashSet<string>(StringComparer.Ordinal);
        var earlier = new HashSet<RunKey>();
        var told = new HashSet<long>();
        var runs = new HashSet<RunKey>();
        // Runs of which a fork has the beginning only.
        var cuts = new HashSet<RunKey>();
        var (feedId, head) = (0L, (Version: 0L, Hash: HashChain.Root));
        for (var through = long.MaxValue; feedId < through;)
        {
            var page = await log.Feed(org, session, feedId, PageEvents, ct);
            // What happens meanwhile is not in it.
            through = Math.Min(through, page.Head);
            foreach (var entry in page.Entries.TakeWhile(entry => entry.FeedId <= through))
            {
                await lines.Event(entry with { Session = session }, await hashes.Before(entry, ct), entry.FeedId, ct);
                Names(entry);
                feedId = entry.FeedId;
            }
            if (page.Entries.Count == 0)
            {
                break;
            }
        }
        foreach (var related in await Related())
        {
            var data = CanonicalJson.Of(related.Event.Data.Span);
            TraceBundle.FindBlobs(JsonElement.Parse(data), digests);
            await lines.Related(related, data, ct);
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
            [("feed_id", Number(feedId)), ("hash", LineWriter.Json(head.Hash)), ("stream_id", LineWriter.Json(stream)), ("version", Number(head.Version))], ct);

        void Names(FeedEntry entry)
        {
            told.Add(entry.Position);
            TraceBundle.FindBlobs(JsonElement.Parse(entry.Data.Span), digests);
            if (entry.Stream == stream)
            {
                head = (entry.Version, entry.Hash);
            }
            if (entry.Is<RunEvent.RunCreated>() || entry.Is<RunEvent.MemoryRetrieval>() || entry.Is<RunEvent.RunStarted>() || entry.Is<RunEvent.RunResumed>())
            {
                var e = EventJson.Read(entry.Type, entry.Data.Span, entry.At);
                settings.UnionWith(TraceBundle.SettingsNamedBy([e]));
                named.UnionWith(RelatedEvents.NamedBy(e).Select(one => (one.Stream, one.Version)));
                earlier.UnionWith((e as RunEvent.MemoryRetrieval)?.History ?? []);
                if (e is RunEvent.RunCreated created)
                {
                    cuts.UnionWith(RelatedEvents.CutsOf([e]));
                    runs.Add(created.RunId);
                }
            }
        }

        async Task<IEnumerable<ChainedEvent>> Related()
        {
            var found = new SortedDictionary<long, ChainedEvent>();
            foreach (var (of, version) in named)
            {
                Add(await RelatedEvents.At(log, org, of, version, ct));
            }
            foreach (var of in earlier.Where(run => !runs.Contains(run) && !cuts.Contains(run)).Select(run => Run.Aggregate.Stream(run)))
            {
                Add(await RelatedEvents.At(log, org, of, 1, ct));
                Add(await RelatedEvents.ReplyOf(log, org, of, ct));
            }
            return found.Values;

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
