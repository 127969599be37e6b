using System.Collections.Immutable;
using System.Numerics;
using System.Text.Json.Serialization;

namespace Cowork.Projections;

/// <summary>
/// A histogram of durations in whole milliseconds with a bounded number of log-linear buckets: 64 between any number and its double. Up to 128 ms each
/// millisecond has its own bucket; above, a bucket's middle differs by less than 1 % (1/128) from every duration in the bucket. Bucket bounds use integer
/// arithmetic, so that every machine folds the same log into the same bytes.
/// </summary>
/// <param name="Count">Number of durations.</param>
/// <param name="SumMs">Sum of the durations.</param>
/// <param name="Buckets">Number of durations per bucket that is not empty, by the bucket's number.</param>
public sealed record LatencyHistogram(long Count, long SumMs, ImmutableSortedDictionary<int, long> Buckets)
{
    /// <summary>There are 2 to the power of this buckets between a number and its double.</summary>
    const int PrecisionBits = 6;

    public static LatencyHistogram Empty { get; } = new(0, 0, ImmutableSortedDictionary<int, long>.Empty);

    [JsonIgnore]
    public double SumSeconds => SumMs / 1000.0;

    /// <summary>The histogram with one more duration. A negative one, which two hosts with different clocks can cause, counts as zero.</summary>
    public LatencyHistogram Add(TimeSpan duration)
    {
        var ms = Math.Max(0, (long)duration.TotalMilliseconds);
        var bucket = BucketOf(ms);
        return new(Count + 1, SumMs + ms, Buckets.SetItem(bucket, Buckets.GetValueOrDefault(bucket) + 1));
    }

    /// <summary>The durations of both.</summary>
    public LatencyHistogram Plus(LatencyHistogram other)
    {
        var buckets = Buckets;
        foreach (var (bucket, count) in other.Buckets)
        {
            buckets = buckets.SetItem(bucket, buckets.GetValueOrDefault(bucket) + count);
        }
        return new(Count + other.Count, SumMs + other.SumMs, buckets);
    }

    /// <summary>The quantile by nearest rank, in seconds, with an error below 1 %; null: the histogram is empty.</summary>
    /// <param name="quantile">Above 0, at most 1.</param>
    public double? Quantile(double quantile)
    {
        if (Count == 0)
        {
            return null;
        }
        var rank = Math.Clamp((long)Math.Ceiling(quantile * Count), 1, Count);
        foreach (var (bucket, count) in Buckets)
        {
            rank -= count;
            if (rank <= 0)
            {
                var (first, last) = RangeOf(bucket);
                return (first + last) / 2.0 / 1000;
            }
        }
        throw new System.Diagnostics.UnreachableException("The buckets' counts add up to Count.");
    }

    /// <summary>Number of durations up to <paramref name="bound"/>. Exact at the end of a bucket: up to 128 ms, and at 2ⁿ times 64 to 127 ms.</summary>
    public long CountUpTo(TimeSpan bound)
    {
        var (ms, total) = ((long)bound.TotalMilliseconds, 0L);
        foreach (var (bucket, count) in Buckets)
        {
            if (RangeOf(bucket).Last > ms)
            {
                break;
            }
            total += count;
        }
        return total;
    }

    /// <summary>Bucket 0 holds zero. The others include their upper bound, so that round durations are bounds.</summary>
    static int BucketOf(long ms)
    {
        if (ms == 0)
        {
            return 0;
        }
        var above = ms - 1;
        var shift = Math.Max(0, BitOperations.Log2((ulong)Math.Max(1, above)) - PrecisionBits);
        return 1 + (shift << PrecisionBits) + (int)(above >> shift);
    }

    /// <summary>The first and the last millisecond of a bucket.</summary>
    static (long First, long Last) RangeOf(int bucket)
    {
        if (bucket == 0)
        {
            return (0, 0);
        }
        var i = bucket - 1;
        var shift = Math.Max(0, (i >> PrecisionBits) - 1);
        var above = (long)(i - (shift << PrecisionBits)) << shift;
        return (above + 1, above + (1L << shift));
    }
}
