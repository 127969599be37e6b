using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>A part of a tenant's log that goes out.</summary>
/// <param name="From">The time that was asked for; null: from the log's beginning.</param>
/// <param name="To">The time that was asked for; null: to the log's end.</param>
/// <param name="After">The events have positions above this one.</param>
/// <param name="Through">And up to this one.</param>
public sealed record ExportRange(DateTimeOffset? From, DateTimeOffset? To, long After, long Through);

/// <summary>
/// All events of a tenant between two positions of the log, in order, in lines (<see cref="LineWriter"/>): <c>cowork-export/2</c>. Where a signed head covers the period,
/// positions of other tenants stand in it as hashes of the tree over the log, so that the tree's root follows from the file, and the last line has the head and a statement about
/// the end. Memory does not grow with the length. <see cref="PeriodVerifier"/> checks it.
/// </summary>
public static class PeriodExport
{
    public const string Format = "cowork-export/2";

    /// <summary>The format without a signed head. The verifier still accepts it.</summary>
    public const string FirstFormat = "cowork-export/1";

    /// <summary>The formats that the verifier reads, newest first.</summary>
    public static readonly IReadOnlyList<string> Formats = [Format, FirstFormat];

    const int PageEvents = 500;

    /// <summary>
    /// The positions of a period. It begins at the tenant's first event at or after <paramref name="from"/>, and ends before the first at or after <paramref name="to"/>:
    /// a part of the log without gaps, so that each stream's events follow each other, and one period begins where the one before it ends. Times ascend but for the clocks
    /// of several hosts; where they do not, the same question has the same answer, because the places that are looked at do not depend on the log's length.
    /// </summary>
    /// <param name="after">Where an earlier export of the same period ended; 0: nothing of it is there.</param>
    public static async Task<ExportRange> Range(IEventLog log, string org, DateTimeOffset? from, DateTimeOffset? to, long after, CancellationToken ct)
    {
        var head = (await log.Feed(org, null, 0, 1, ct)).Head;
        var begin = from is { } first ? await Before(log, org, first, head, ct) : 0;
        var end = to is { } last ? await Before(log, org, last, head, ct) : head;
        return new(from, to, Math.Max(after, begin), Math.Max(end, begin));
    }

    /// <summary>Writes the events of a range, and what they were.</summary>
    /// <param name="proofs">Null: the export has no signed head.</param>
    public static async Task Write(IEventLog log, LogProofs? proofs, string org, ExportRange range, PipeWriter output, CancellationToken ct)
    {
        var covering = proofs is null ? null : await proofs.Covering(range.Through, ct);
        using var lines = new LineWriter(output);
        await lines.Begin(
            Format,
            [
                ("after", Number(range.After)), ("from", LineWriter.Json(range.From is { } from ? HashChain.Timestamp(from) : null)),
                ("tenant_id", LineWriter.Json(org)), ("to", LineWriter.Json(range.To is { } to ? HashChain.Timestamp(to) : null)),
            ],
            ct);
        var hashes = new PreviousHashes(log, org);
        var (last, proved) = (range.After, 0L);
        await Gap(range.After);
        for (var isOver = last >= range.Through; !isOver;)
        {
            var page = await log.Feed(org, null, last, PageEvents, ct);
            var entries = page.Entries.TakeWhile(entry => entry.Position <= range.Through).ToList();
            var leaves = proofs is null || entries.Count == 0 ? [] : await proofs.Leaves(org, [.. entries.Select(entry => entry.Position)], ct);
            var gaps = covering is null ? null : await Gaps(entries);
            foreach (var (i, entry) in entries.Index())
            {
                if (gaps is not null && entry.Position - 1 > proved)
                {
                    await lines.Gap(entry.Position - 1, gaps.Dequeue(), ct);
                }
                // A leaf of another event would be a log that was changed while it was read.
                await lines.Event(entry, await hashes.Before(entry, ct), leaves.Count == entries.Count ? leaves[i] : null, ct);
                last = proved = entry.Position;
            }
            isOver = entries.Count < page.Entries.Count || last >= range.Through || page.Entries.Count == 0;
        }
        await Gap(range.Through);
        await lines.End([("last", Number(last)), ("through", Number(range.Through))], Log, ct);

        async ValueTask Gap(long to)
        {
            if (covering is not null && to > proved)
            {
                await lines.Gap(to, await proofs!.Nodes(MerkleTree.NodesBetween(proved, to), ct), ct);
                proved = to;
            }
        }

        // The hashes of what lies before the events of a page, read at once.
        async ValueTask<Queue<IEnumerable<byte[]>>> Gaps(List<FeedEntry> entries)
        {
            var (nodes, lengths, before) = (new List<MerkleNode>(), new List<int>(), proved);
            foreach (var position in entries.Select(entry => entry.Position))
            {
                if (position - 1 > before)
                {
                    var gap = MerkleTree.NodesBetween(before, position - 1);
                    nodes.AddRange(gap);
                    lengths.Add(gap.Count);
                }
                before = position;
            }
            var read = await proofs!.Nodes(nodes, ct);
            var (gaps, at) = (new Queue<IEnumerable<byte[]>>(), 0);
            foreach (var length in lengths)
            {
                gaps.Enqueue(read.Skip(at).Take(length));
                at += length;
            }
            return gaps;
        }

        async ValueTask<string?> Log(string end)
        {
            if (covering is not var (head, key) || await proofs!.State(SignedParts.LinesTyp, end, ct) is not { } statement)
            {
                return null;
            }
            // What joins this export to the one that ends where it begins, which has the first head that covers its end.
            var before = range.After > 0 && await proofs.Covering(range.After, ct) is var (earlier, _) ? earlier.Head.TreeSize : 0;
            var json = new ArrayBufferWriter<byte>();
            using (var writer = new Utf8JsonWriter(json))
            {
                writer.WriteStartObject();
                if (before > 0)
                {
                    writer.WriteStartObject("consistency");
                    SignedParts.WriteHashes(writer, "hashes", await proofs.Consistency(before, head.Head.TreeSize, ct));
                    writer.WriteNumber("tree_size", before);
                    writer.WriteEndObject();
                }
                SignedParts.WriteHead(writer, head, key);
                SignedParts.WriteHashes(writer, "proof", await proofs.Nodes(MerkleTree.NodesBetween(range.Through, head.Head.TreeSize), ct));
                writer.WritePropertyName("statement");
                SignedParts.WriteStatement(writer, statement);
                writer.WriteEndObject();
            }
            return Encoding.UTF8.GetString(CanonicalJson.Of(json.WrittenSpan));
        }
    }

    static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);

    /// <summary>The position before the tenant's first event at or after a time: behind each position below it lies an event before the time.</summary>
    static async ValueTask<long> Before(IEventLog log, string org, DateTimeOffset at, long head, CancellationToken ct)
    {
        var position = 0L;
        for (var bit = 1L << 62; bit > 0; bit >>= 1)
        {
            if (position + bit - 1 < head && (await log.Feed(org, null, position + bit - 1, 1, ct)).Entries is [var next, ..] && next.At < at)
            {
                position += bit;
            }
        }
        return position;
    }
}
