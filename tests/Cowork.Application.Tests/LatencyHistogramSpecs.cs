using System.Text.Json;

using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Percentiles from buckets against those from all values.</summary>
public sealed class LatencyHistogramSpecs
{
    /// <summary>What <see cref="LatencyHistogram"/> promises: half a bucket, which is 1/64 wide.</summary>
    const double ErrorMax = 1.0 / 128;

    static readonly double[] Parts = [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1];

    [Theory]
    [InlineData("uniform")]
    [InlineData("exponential")]
    [InlineData("heavy-tailed")]
    [InlineData("two humps")]
    [InlineData("all alike")]
    [InlineData("powers of two and their neighbours")]
    [InlineData("short")]
    public void A_percentile_is_less_than_one_per_cent_from_the_exact_one(string distribution)
    {
        foreach (var count in (int[])[1, 2, 3, 10, 99, 100, 101, 20_000])
        {
            var random = new Random(Seeds.One(7) + count);
            var values = Enumerable.Range(0, count).Select(i => Draw(distribution, random, i)).ToList();
            var histogram = Of(values);
            values.Sort();
            foreach (var part in Parts)
            {
                var exact = values[(int)Math.Clamp((long)Math.Ceiling(part * count), 1, count) - 1] / 1000.0;
                var told = histogram.Quantile(part)!.Value;
                Assert.True(Math.Abs(told - exact) <= exact * ErrorMax, $"{distribution}, {count} values, {part}: {told} instead of {exact}");
            }
        }
    }

    [Fact]
    public void No_value_is_further_from_its_buckets_middle_than_promised()
    {
        for (var ms = 0L; ms < 1L << 45; ms = ms < 5_000 ? ms + 1 : ms + (ms / 97) + 1)
        {
            foreach (var near in (long[])[ms, (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)ms + 1), (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)ms + 1) + 1])
            {
                var told = Of([near]).Quantile(0.5)!.Value * 1000;
                Assert.True(Math.Abs(told - near) <= near * ErrorMax, $"{near} ms is told as {told}");
                Assert.True(near > 128 || told == near, $"{near} ms is told as {told}");
            }
        }
    }

    [Fact]
    public void Counts_sums_and_what_was_at_most_so_long_are_exact()
    {
        var random = new Random(Seeds.One(3));
        var values = Enumerable.Range(0, 5_000).Select(i => Draw(i % 2 == 0 ? "exponential" : "heavy-tailed", random, i)).ToList();
        // The bounds themselves, and what lies right beside them.
        double[] bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];
        values.AddRange(bounds.SelectMany(b => new[] { (long)(b * 1000) - 1, (long)(b * 1000), (long)(b * 1000) + 1 }));
        var histogram = Of(values);
        Assert.Equal(values.Count, histogram.Count);
        Assert.Equal(values.Sum(), histogram.SumMs);
        Assert.Equal(values.Count, histogram.Buckets.Values.Sum());
        foreach (var bound in bounds)
        {
            Assert.Equal((bound, values.LongCount(v => v <= bound * 1000)), (bound, histogram.CountUpTo(TimeSpan.FromSeconds(bound))));
        }
    }

    [Fact]
    public void A_histogram_of_any_number_of_values_stays_small()
    {
        var random = new Random(Seeds.One(5));
        var histogram = Of(Enumerable.Range(0, 100_000).Select(i => Draw("heavy-tailed", random, i)));
        Assert.InRange(histogram.Buckets.Count, 1, 64 * 40);
        Assert.InRange(JsonSerializer.SerializeToUtf8Bytes(histogram).Length, 1, 32_000);
    }

    [Fact]
    public void Nothing_and_less_than_nothing_are_no_fault()
    {
        Assert.Null(LatencyHistogram.Empty.Quantile(0.5));
        Assert.Equal(0, LatencyHistogram.Empty.CountUpTo(TimeSpan.FromHours(1)));
        var one = LatencyHistogram.Empty.Add(TimeSpan.FromSeconds(-3));
        Assert.Equal((1L, 0L, 0.0), (one.Count, one.SumMs, one.Quantile(1)));
        Assert.Equal(1, one.CountUpTo(TimeSpan.Zero));
    }

    [Fact]
    public void A_histogram_is_kept_as_it_was()
    {
        var histogram = Of([0, 1, 1, 128, 129, 5_000_000]);
        var read = JsonSerializer.Deserialize<LatencyHistogram>(JsonSerializer.SerializeToUtf8Bytes(histogram))!;
        Assert.Equal((histogram.Count, histogram.SumMs), (read.Count, read.SumMs));
        Assert.Equal(histogram.Buckets, read.Buckets);
    }

    static LatencyHistogram Of(IEnumerable<long> values) => values.Aggregate(LatencyHistogram.Empty, (h, ms) => h.Add(TimeSpan.FromMilliseconds(ms)));

    static long Draw(string distribution, Random random, int i) => distribution switch
    {
        "uniform" => random.NextInt64(0, 60_000),
        "exponential" => (long)(-Math.Log(1 - random.NextDouble()) * 3_000),
        "heavy-tailed" => (long)Math.Min(20 / Math.Pow(1 - random.NextDouble(), 1.2), 4e9),
        "two humps" => random.Next(2) == 0 ? random.Next(5, 15) : random.Next(290_000, 310_000),
        "all alike" => 12_345,
        "powers of two and their neighbours" => (1L << (i % 32)) + random.Next(-1, 2) is var near and >= 0 ? near : 0,
        "short" => random.Next(0, 4),
        _ => throw new ArgumentOutOfRangeException(nameof(distribution)),
    };
}
