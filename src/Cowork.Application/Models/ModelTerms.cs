namespace Cowork.Application.Models;

/// <summary>
/// Under what a model is used, beside how it is asked. A client answers it for <see cref="Microsoft.Extensions.AI.IChatClient.GetService"/>; one that knows of none costs
/// nothing that is known, and is asked once.
/// </summary>
/// <param name="Price">Null: not known, so that costs are not known either.</param>
/// <param name="MaxOutputTokens">Of one answer; null: the provider's own limit.</param>
public sealed record ModelTerms(ModelPrice? Price, int? MaxOutputTokens, ModelRetries Retries)
{
    public static ModelTerms Unknown { get; } = new(null, null, ModelRetries.None);
}

/// <summary>US dollars per million tokens, which is millionths of a dollar per token.</summary>
/// <param name="Cached">Of input tokens that the provider had cached; null: as <paramref name="Input"/>.</param>
public sealed record ModelPrice(decimal Input, decimal Output, decimal? Cached = null)
{
    /// <summary>Millionths of a US dollar, rounded up: a sum of costs is never less than what was spent.</summary>
    /// <param name="input">Input tokens, the cached ones included.</param>
    public long CostMicroUsd(long input, long output, long cached)
    {
        cached = Math.Min(cached, input);
        return (long)Math.Ceiling(((input - cached) * Input) + (cached * (Cached ?? Input)) + (output * Output));
    }
}

/// <summary>How often, and after what, a model is asked again that gave no whole answer.</summary>
/// <param name="Attempts">All of them, the first included.</param>
/// <param name="First">The wait after the first attempt; each further one is twice as long.</param>
/// <param name="Longest">No wait is longer; a provider that wants a longer one is not asked again.</param>
public sealed record ModelRetries(int Attempts, TimeSpan First, TimeSpan Longest)
{
    public static ModelRetries None { get; } = new(1, TimeSpan.Zero, TimeSpan.Zero);

    public static ModelRetries Default { get; } = new(5, TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(60));

    /// <summary>
    /// The wait before the next attempt; null: there is none. The second half of a wait is left to chance, so that those who failed together
    /// do not come back together; the chance follows from the seed, so that a run can be told again.
    /// </summary>
    /// <param name="attempt">The one that failed, from 1.</param>
    /// <param name="asked">What the provider asked for: at least that long.</param>
    public TimeSpan? After(int attempt, TimeSpan? asked, string seed)
    {
        if (attempt >= Attempts || asked > Longest)
        {
            return null;
        }
        var most = Math.Min(Longest.TotalMilliseconds, First.TotalMilliseconds * Math.Pow(2, attempt - 1));
        var wait = TimeSpan.FromMilliseconds(Math.Round(most * (0.5 + (0.5 * new Random(Seed(seed, attempt)).NextDouble()))));
        return asked > wait ? asked : wait;
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
