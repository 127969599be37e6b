using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application.Models;

/// <summary>
/// The terms of use of a model: price, limit and retries. A client returns them from <see cref="Microsoft.Extensions.AI.IChatClient.GetService"/>; without them
/// the price is unknown and a request is not retried.
/// </summary>
/// <param name="Price">Null: unknown, and so are costs.</param>
/// <param name="MaxOutputTokens">Limit of one answer; null: the provider's own limit.</param>
public sealed record ModelTerms(ModelPrice? Price, int? MaxOutputTokens, ModelRetries Retries)
{
    /// <summary>Output tokens that are reserved for an answer whose limit is the provider's own.</summary>
    public const int OutputTokensAssumed = 16_384;

    public static ModelTerms Unknown { get; } = new(null, null, ModelRetries.None);
}

/// <summary>Prices in US dollars per million tokens, which is micro-USD per token.</summary>
/// <param name="Cached">Price of input tokens from the provider's cache; null: the same as <paramref name="Input"/>.</param>
public sealed record ModelPrice(decimal Input, decimal Output, decimal? Cached = null)
{
    /// <summary>Cost in micro-USD, rounded up, so that a sum of costs is never less than the real cost.</summary>
    /// <param name="input">Input tokens, including cached ones.</param>
    public long CostMicroUsd(long input, long output, long cached)
    {
        (input, output) = (Math.Clamp(input, 0, Limits.MicroUsdMax), Math.Clamp(output, 0, Limits.MicroUsdMax));
        cached = Math.Clamp(cached, 0, input);
        return Whole(((input - cached) * Input) + (cached * (Cached ?? Input)) + (output * Output));
    }

    public long CostMicroUsd(UsageDetails usage) => CostMicroUsd(usage.InputTokenCount ?? 0, usage.OutputTokenCount ?? 0, usage.CachedInputTokenCount ?? 0);

    /// <summary>The highest cost of a call in micro-USD, whatever part of its input comes from the provider's cache.</summary>
    public long MostMicroUsd(long input, long output) => Whole((input * Math.Max(Input, Cached ?? 0)) + (output * Output));

    /// <summary>Rounded up, and no more than an event can hold.</summary>
    static long Whole(decimal microUsd) => (long)Math.Min(Math.Ceiling(microUsd), Limits.MicroUsdMax);
}

/// <summary>The retry policy for requests without a complete answer: exponential back-off with jitter.</summary>
/// <param name="Attempts">Number of attempts, including the first.</param>
/// <param name="FirstDelay">Delay after the first attempt; each further delay doubles.</param>
/// <param name="MaxDelay">Longest delay. A provider that asks for a longer one gets no further request.</param>
public sealed record ModelRetries(int Attempts, TimeSpan FirstDelay, TimeSpan MaxDelay)
{
    public static ModelRetries None { get; } = new(1, TimeSpan.Zero, TimeSpan.Zero);

    public static ModelRetries Default { get; } = new(5, TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(60));

    /// <summary>
    /// The delay before the next attempt; null: no further attempt. Half of the delay is jitter, so that requests which failed together do not return
    /// together. The jitter follows from the seed, so that a replay has the same delays.
    /// </summary>
    /// <param name="attempt">Number of the failed attempt, from 1.</param>
    /// <param name="retryAfter">The delay that the provider asked for: a lower bound.</param>
    public TimeSpan? DelayAfter(int attempt, TimeSpan? retryAfter, string seed)
    {
        if (attempt >= Attempts || retryAfter > MaxDelay)
        {
            return null;
        }
        var longest = Math.Min(MaxDelay.TotalMilliseconds, FirstDelay.TotalMilliseconds * Math.Pow(2, attempt - 1));
        var delay = TimeSpan.FromMilliseconds(Math.Round(longest * (0.5 + (0.5 * new Random(Seed(seed, attempt)).NextDouble()))));
        return retryAfter > delay ? retryAfter : delay;
    }

    /// <summary>FNV-1a: the same on every machine, unlike <see cref="string.GetHashCode()"/>.</summary>
    static int Seed(string seed, int attempt)
    {
        var hash = 2166136261u;
        foreach (var c in seed)
        {
            hash = unchecked((hash ^ c) * 16777619);
        }
        return unchecked((int)((hash ^ (uint)attempt) * 16777619));
    }
}
