using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;

using static Cowork.Projections.TraceJson;

namespace Cowork.Projections;

/// <summary>The summary of a sound bundle of a session. The texts are what the file says: escape them where they are shown.</summary>
/// <param name="Runs">Those that were judged as a bundle of the run would be.</param>
/// <param name="Head">Hash of the last event of the session's own stream.</param>
/// <param name="Digest">SHA-256 of the file up to its last line.</param>
public sealed record SessionReport(string Format, string TenantId, string SessionId, int Events, int Runs, int Blobs, string Head, string Digest)
{
    /// <summary>The signed head that covers the events; null: none does.</summary>
    public TraceSignature? Signature { get; init; }

    /// <summary>Events with texts that were erased.</summary>
    public int Erased { get; init; }
}

/// <summary>
/// Checks a bundle of a session: each event, that the session's feed has no gap and neither has any stream of the session, its runs and scratchpads; the rules of
/// <see cref="TraceRules"/> and <see cref="RelatedRules"/> for each run; the blobs; count and digest. It keeps the events in memory, which it bounds, and no blob.
/// </summary>
static class SessionVerifier
{
    static readonly string[] HeaderMembers = ["session_id", "tenant_id"];

    static readonly string[] EventMembers = [.. TraceVerifier.RelatedMembers, "feed_id", "session_id"];

    static readonly string[] LogMembers = ["head", "key", "proof", "statement"];

    static readonly string[] EndMembers = ["count", "feed_id", "hash", "sha256", "stream_id", "version"];

    static readonly string[] Order = ["event", "related", "blob", "end"];

    /// <param name="anchors">A head that agrees with them must cover the events. Null: it need not, and its key is the file's own.</param>
    public static async Task<SessionReport> Check(LineReader lines, JsonElement first, TrustAnchors? anchors, CancellationToken ct)
    {
        var header = BundleLines.Header(first, HeaderMembers);
        var (tenant, sessionId) = (Text(header, "tenant_id", "line 1.header"), Text(header, "session_id", "line 1.header"));
        var format = Text(first, "format", "line 1");
        var hasProofs = format != SessionBundle.FirstFormat;
        var check = new SessionCheck(tenant, sessionId, hasProofs);
        var (part, bytes) = (0, 0L);
        while (await lines.Next(ct) is { } line)
        {
            var now = Array.IndexOf(Order, line.Kind);
            Require(now >= part, line.At, now < 0 ? $"A bundle of a session has no {Quoted(line.Kind)}." : $"A line of {Order[part]} was before.");
            part = now;
            bytes += line.Kind == "blob" ? 0 : line.Bytes;
            Require(bytes <= TraceVerifier.BundleBytesMax, line.At, $"The events have more than {TraceVerifier.BundleBytesMax} bytes.");
            var at = $"{line.At}.{line.Kind}";
            switch (line.Kind)
            {
                case "event":
                    check.Event(at, line.Of);
                    break;
                case "related":
                    check.Related(at, line.Of);
                    break;
                case "blob":
                    check.Blob(at, line.Of);
                    break;
                default:
                    var hasLog = hasProofs && line.Of.TryGetProperty(LogPart.Name, out _);
                    RequireMembers(line.Of, at, hasLog ? [.. EndMembers, LogPart.Name] : EndMembers);
                    var (runs, head) = check.End(at, line.Of, ct);
                    Require(Text(line.Of, "sha256", at) == line.Before, $"{at}.sha256", "It is not the digest of the lines before it.");
                    var signature = hasLog ? check.Log($"{at}.log", line.Of, anchors) : null;
                    Require(
                        signature is not null || anchors is null, $"{at}.log",
                        "No signed head covers the events, and one that agrees with the keys or heads that were given is required.");
                    await BundleLines.RequireEnd(lines, ct);
                    return new(format, tenant, sessionId, check.Events.Count, runs, check.Blobs, head, line.Before!) { Signature = signature, Erased = check.Erased };
            }
        }
        throw Fault("end", "The file ends before its last line: it is cut.");
    }

    /// <summary>What was read of a bundle so far.</summary>
    sealed class SessionCheck(string tenant, string named, bool hasProofs)
    {
        readonly SessionKey session = SessionKey.Parse(named) ?? throw Fault("line 1.header.session_id", "No session has this id.");
        readonly Dictionary<string, (long Version, string Hash)> heads = new(StringComparer.Ordinal);
        readonly Dictionary<string, (long Version, string Hash)> relatedHeads = new(StringComparer.Ordinal);
        readonly Dictionary<RunKey, List<TraceEntry>> ofRuns = [];
        readonly List<TraceEntry> related = [];
        readonly SortedSet<string> wanted = new(StringComparer.Ordinal);
        readonly HashSet<string> settings = new(StringComparer.Ordinal);
        readonly List<(long Position, byte[] Hash)> leaves = [];
        string lastBlob = "";
        long gid;
        long relatedGid;

        public List<TraceEntry> Events { get; } = [];

        public int Blobs { get; private set; }

        public int Erased => Events.Concat(related).Count(entry => entry.IsErased);

        public void Event(string at, JsonElement e)
        {
            var entry = TraceVerifier.CheckEvent(
                at, e, BundleLines.WithOptional(e, EventMembers, hasProofs ? ["causation_id", "run_id"] : ["run_id"]), heads);
            var (stream, version) = (entry.Event.Stream, entry.Event.Version);
            Require(entry.Event.Org == tenant, $"{at}.tenant_id", $"The session's tenant is {Quoted(tenant)}.");
            Require(Text(e, "session_id", at) == named, $"{at}.session_id", $"The session is {Quoted(named)}.");
            Require(Number(e, "feed_id", at) == Events.Count + 1, $"{at}.feed_id", $"The feed's event {Events.Count + 1} is missing.");
            Require(entry.Event.Position > gid, $"{at}.gid", $"The event before it has position {gid}.");
            var isRun = entry.Event.Event is RunEvent;
            if (isRun || entry.Event.Event is SessionEvent or ScratchpadEvent)
            {
                var next = heads.GetValueOrDefault(stream).Version + 1;
                Require(version == next, at, $"Version {next} of {Quoted(stream)} is missing.");
                Require(
                    entry.Event.Event is not SessionEvent || stream == Session.Aggregate.Stream(session), $"{at}.stream_id", "The event is of another session.");
            }
            (heads[stream], gid) = ((version, entry.Event.Hash), entry.Event.Position);
            if (e.TryGetProperty("run_id", out _))
            {
                var run = RunKey.Parse(Text(e, "run_id", at)) ?? throw Fault($"{at}.run_id", "No run has this id.");
                Require(!isRun || stream == Run.Aggregate.Stream(run), $"{at}.run_id", "The event is of another run.");
                if (!ofRuns.TryGetValue(run, out var entries))
                {
                    ofRuns[run] = entries = [];
                }
                entries.Add(entry with { IsOwn = isRun });
            }
            else
            {
                Require(!isRun, $"{at}.run_id", "The event is of a run.");
            }
            Events.Add(entry);
            Leaf(at, e, entry);
            settings.UnionWith(TraceBundle.SettingsNamedBy([entry.Event.Event]));
            TraceBundle.FindBlobs(TraceVerifier.DataOf(entry), wanted);
        }

        public void Related(string at, JsonElement e)
        {
            var entry = TraceVerifier.CheckEvent(at, e, RelatedMembers(e), relatedHeads, isRelated: true);
            Require(entry.Event.Position > relatedGid, $"{at}.gid", $"The event before it has position {relatedGid}.");
            (relatedHeads[entry.Event.Stream], relatedGid) = ((entry.Event.Version, entry.Event.Hash), entry.Event.Position);
            related.Add(entry);
            Leaf(at, e, entry);
            TraceBundle.FindBlobs(TraceVerifier.DataOf(entry), wanted);
        }

        public void Blob(string at, JsonElement blob)
        {
            RequireMembers(blob, at, ["base64", "bytes", "sha256"]);
            var bytes = Base64(blob, at);
            var sha256 = Text(blob, "sha256", at);
            Require(ArtifactBytes.HaveDigest(bytes, sha256), at, $"The bytes do not have the digest {Quoted(sha256)}.");
            Require(Number(blob, "bytes", at) == bytes.Length, $"{at}.bytes", $"The content has {bytes.Length} bytes.");
            // In order, so that a session has one bundle.
            Require(string.CompareOrdinal(sha256, lastBlob) > 0, at, "The blob before it has a greater digest, or the same.");
            Require(wanted.Remove(sha256) | settings.Remove(sha256), at, "No event refers to it.");
            lastBlob = sha256;
            Blobs++;
        }

        /// <summary>Checks the signed head, and what the host said of the end.</summary>
        public TraceSignature Log(string at, JsonElement end, TrustAnchors? anchors)
        {
            var part = Object(Member(end, LogPart.Name, at), at);
            RequireMembers(part, at, LogMembers);
            var (head, signature) = SignedParts.CheckHead(part, at, anchors);
            var made = MerkleTree.Root(
                [.. leaves.OrderBy(leaf => leaf.Position).Select(leaf => (leaf.Position - 1, leaf.Hash))], head.TreeSize, SignedParts.Hashes(part, "proof", at));
            Require(
                made is not null && Convert.ToHexStringLower(made) == head.RootHash, $"{at}.proof",
                "The events and the proof do not make the root of the signed head: an event is not the one that the log has at its place, or its place is another one.");
            SignedParts.CheckStatement(part, at, SignedParts.LinesTyp, SignedParts.PayloadOf(end), anchors);
            return signature;
        }

        void Leaf(string at, JsonElement e, TraceEntry entry)
        {
            if (hasProofs)
            {
                var of = entry.Event;
                leaves.Add((of.Position, SignedParts.LeafOf(
                    e, new(of.Org, of.Stream, of.Version, of.Id, of.Type, of.At, of.Actor, of.Hash, "", of.Position, of.Correlation), at).LeafHash()));
            }
        }

        string[] RelatedMembers(JsonElement e)
        {
            if (!hasProofs)
            {
                return TraceVerifier.RelatedMembers;
            }
            var members = BundleLines.WithOptional(e, TraceVerifier.RelatedMembers, "causation_id", "run_id", "session_id");
            return e.ValueKind == JsonValueKind.Object && e.TryGetProperty("feed_id", out _) ? [.. members, "feed_id"] : members;
        }

        /// <summary>Answers how many runs there are, and the head hash of the session.</summary>
        public (int Runs, string Head) End(string at, JsonElement end, CancellationToken ct)
        {
            Require(Number(end, "count", at) == Events.Count && Number(end, "feed_id", at) == Events.Count, at, $"The feed has {Events.Count} events.");
            var stream = Session.Aggregate.Stream(session);
            Require(Text(end, "stream_id", at) == stream, $"{at}.stream_id", "It is not the session's stream.");
            // A group is created before its session, and both are in the feed.
            Require(
                Events.Find(entry => entry.Event.Stream == stream) is { Event.Event: SessionEvent.SessionCreated }, at, "The session's stream does not begin with its creation.");
            var head = heads.GetValueOrDefault(stream);
            Require(Number(end, "version", at) == head.Version, $"{at}.version", $"The last event of the stream is version {head.Version}.");
            Require(Text(end, "hash", at) == head.Hash, $"{at}.hash", "It is not the hash of the stream's last event.");
            Require(wanted.Count == 0, at, $"The blob {Quoted(wanted.Min ?? "")} is missing.");
            var erasures = BundledContents.CheckErasures([.. Events, .. related]);
            var places = new BundlePlaces(related, Events, ct);
            var cells = CellsOfRuns();
            foreach (var (run, entries) in ofRuns)
            {
                var own = entries.Where(entry => entry.IsOwn).ToList();
                Require(own.Count > 0, entries[0].At, "The run has no event of its own.");
                TraceRules.Check(entries, own, TraceRules.PastOf(own, related), ct);
                RelatedRules.CheckNames(own, places, ct);
                RelatedRules.CheckCells(cells.GetValueOrDefault(run) ?? [], own, places);
            }
            places.Name(erasures);
            places.RequireNamed();
            return (ofRuns.Count, head.Hash);
        }

        /// <summary>The events of executions by the run that asked for them.</summary>
        Dictionary<RunKey, List<TraceEntry>> CellsOfRuns()
        {
            var asked = new Dictionary<(string Stream, int Execution), RunKey>();
            var cells = new Dictionary<RunKey, List<TraceEntry>>();
            foreach (var entry in Events)
            {
                if (RelatedEvents.ExecutionOf(entry.Event.Event) is not { } execution)
                {
                    continue;
                }
                if (entry.Event.Event is ScratchpadEvent.CellQueued { RunId: { } run })
                {
                    asked[(entry.Event.Stream, execution)] = run;
                }
                if (asked.TryGetValue((entry.Event.Stream, execution), out var of))
                {
                    if (!cells.TryGetValue(of, out var found))
                    {
                        cells[of] = found = [];
                    }
                    found.Add(entry);
                }
            }
            return cells;
        }
    }
}
