using System.Collections.Immutable;
using System.Numerics;
using System.Text.Json.Serialization;

namespace Cowork.Projections;

/// <summary>
/// How long something took, over any number of times, in a bounded number of buckets whose width grows with what they hold: 64 between any number and its
/// double. Whole milliseconds; up to 128 of them each has a bucket of its own, and above a bucket's middle is less than 1 % (1/128) from whatever lies in it.
/// Buckets come from whole numbers only, so that every machine folds the same log into the same bytes.
/// </summary>
/// <param name="Count">How many there were.</param>
/// <param name="SumMs">What they come to together.</param>
/// <param name="Buckets">How many there were in each bucket that is not empty, by its number.</param>
public sealed record LatencyHistogram(long Count, long SumMs, ImmutableSortedDictionary<int, long> Buckets)
{
    /// <summary>Buckets between a number and its double: 2 to the power of this.</summary>
    const int Bits = 6;

    public static LatencyHistogram Empty { get; } = new(0, 0, ImmutableSortedDictionary<int, long>.Empty);

    [JsonIgnore]
    public double SumSeconds => SumMs / 1000.0;

    /// <summary>The same with one more; less than nothing (two hosts whose clocks differ) is nothing.</summary>
    public LatencyHistogram Add(TimeSpan took)
    {
        var ms = Math.Max(0, (long)took.TotalMilliseconds);
        var bucket = BucketOf(ms);
        return new(Count + 1, SumMs + ms, Buckets.SetItem(bucket, Buckets.GetValueOrDefault(bucket) + 1));
    }

    /// <summary>
    /// The smallest time that so large a part of all did not exceed (nearest rank), in seconds, give or take 1 %; null: there were none.
    /// </summary>
    /// <param name="part">Above 0, at most 1.</param>
    public double? Percentile(double part)
    {
        if (Count == 0)
        {
            return null;
        }
        var rank = Math.Clamp((long)Math.Ceiling(part * Count), 1, Count);
        foreach (var (bucket, count) in Buckets)
        {
            rank -= count;
            if (rank <= 0)
            {
                var (first, last) = RangeOf(bucket);
                return (first + last) / 2.0 / 1000;
            }
        }
        throw new System.Diagnostics.UnreachableException("The buckets hold as many as there were.");
    }

    /// <summary>How many took no longer. Exact where a bucket ends: up to 128 ms, and at every number of the form 2ⁿ times 64 to 127 milliseconds.</summary>
    public long AtMost(TimeSpan time)
    {
        var (ms, count) = ((long)time.TotalMilliseconds, 0L);
        foreach (var (bucket, many) in Buckets)
        {
            if (RangeOf(bucket).Last > ms)
            {
                break;
            }
            count += many;
        }
        return count;
    }

    /// <summary>Bucket 0 is for nothing at all; the others end at their upper edge, inclusive, so that round times are edges.</summary>
    static int BucketOf(long ms)
    {
        if (ms == 0)
        {
            return 0;
        }
        var above = ms - 1;
        var shift = Math.Max(0, BitOperations.Log2((ulong)Math.Max(1, above)) - Bits);
        return 1 + (shift << Bits) + (int)(above >> shift);
    }

    /// <summary>The milliseconds that a bucket holds, from the first to the last.</summary>
    static (long First, long Last) RangeOf(int bucket)
    {
        if (bucket == 0)
        {
            return (0, 0);
        }
        var i = bucket - 1;
        var shift = Math.Max(0, (i >> Bits) - 1);
        var above = (long)(i - (shift << Bits)) << shift;
        return (above + 1, above + (1L << shift));
    }
}
