using System.Globalization;
using System.Security.Cryptography;

using Xunit;

namespace Cowork.Testing;

/// <summary>
/// Seeds of every random search in the specs. An ordinary run has the fixed seeds that the specs name, so that a red run is red again.
/// <c>./cowork test --chaos</c> (COWORK_CHAOS=1) draws new ones and searches for longer. COWORK_SEED names a seed for either. A test's output has the seed that
/// is not the spec's own, and the seed at which a repeated search failed.
/// </summary>
public static class Seeds
{
    /// <summary>Whether seeds are drawn and long searches run.</summary>
    public static bool Chaos { get; } = Environment.GetEnvironmentVariable("COWORK_CHAOS") == "1";

    static readonly int? Given =
        Environment.GetEnvironmentVariable("COWORK_SEED") is { Length: > 0 } text ? int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture) : null;

    /// <summary>The seed of one search.</summary>
    /// <param name="ordinary">The spec's own seed.</param>
    public static int One(int ordinary)
    {
        var seed = First(ordinary);
        if (seed != ordinary)
        {
            Print(seed);
        }
        return seed;
    }

    /// <summary>Seeds of a search that is repeated: consecutive ones from 1, or from the first that chaos draws or COWORK_SEED names.</summary>
    /// <param name="ordinary">Repetitions in an ordinary run.</param>
    /// <param name="chaos">Repetitions under chaos.</param>
    public static IEnumerable<int> Many(int ordinary, int chaos)
    {
        var seed = First(1);
        var left = Chaos ? chaos : ordinary;
        try
        {
            for (; left > 0; left--)
            {
                yield return seed;
                seed++;
            }
        }
        finally
        {
            // The enumeration ends early when its body throws.
            if (left > 0)
            {
                Print(seed);
            }
        }
    }

    /// <summary>How a seed is given again.</summary>
    public static string Name(int seed) => $"COWORK_SEED={seed}";

    static void Print(int seed) => TestContext.Current.TestOutputHelper?.WriteLine(Name(seed));

    static int First(int ordinary) => Given ?? (Chaos ? RandomNumberGenerator.GetInt32(1, 1_000_000) : ordinary);
}
