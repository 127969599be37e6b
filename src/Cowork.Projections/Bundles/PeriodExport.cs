using System.Globalization;
using System.IO.Pipelines;

using Cowork.Application.Storage;

namespace Cowork.Projections;

/// <summary>A part of a tenant's log that goes out.</summary>
/// <param name="From">The time that was asked for; null: from the log's beginning.</param>
/// <param name="To">The time that was asked for; null: to the log's end.</param>
/// <param name="After">The events have positions above this one.</param>
/// <param name="Through">And up to this one.</param>
public sealed record ExportRange(DateTimeOffset? From, DateTimeOffset? To, long After, long Through);

/// <summary>
/// All events of a tenant between two positions of the log, in order, in lines (<see cref="LineWriter"/>): <c>cowork-export/1</c>. Memory does not grow with the length.
/// <see cref="PeriodVerifier"/> checks it.
/// </summary>
public static class PeriodExport
{
    public const string Format = "cowork-export/1";

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
    public static async Task Write(IEventLog log, string org, ExportRange range, PipeWriter output, CancellationToken ct)
    {
        using var lines = new LineWriter(output);
        await lines.Begin(
            Format,
            [
                ("after", Number(range.After)), ("from", LineWriter.Json(range.From is { } from ? HashChain.Timestamp(from) : null)),
                ("tenant_id", LineWriter.Json(org)), ("to", LineWriter.Json(range.To is { } to ? HashChain.Timestamp(to) : null)),
            ],
            ct);
        var hashes = new PreviousHashes(log, org);
        var last = range.After;
        for (var isOver = last >= range.Through; !isOver;)
        {
            var page = await log.Feed(org, null, last, PageEvents, ct);
            foreach (var entry in page.Entries)
            {
                isOver = entry.Position > range.Through;
                if (isOver)
                {
                    break;
                }
                await lines.Event(entry, await hashes.Before(entry, ct), feedId: 0, ct);
                last = entry.Position;
            }
            isOver |= last >= range.Through || page.Entries.Count == 0;
        }
        await lines.End([("last", Number(last)), ("through", Number(range.Through))], ct);
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
