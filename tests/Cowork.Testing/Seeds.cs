using System.Globalization;
using System.Security.Cryptography;

using Xunit;

namespace Cowork.Testing;

/// <summary>
/// Seeds of every random search in the specs. An ordinary run has the fixed seeds that the specs name, so that a red run is red again.
/// <c>./cowork test --chaos</c> (COWORK_CHAOS=1) draws new ones and searches for longer. COWORK_SEED names a seed for either. Each seed is in the output of its test.
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
        TestContext.Current.TestOutputHelper?.WriteLine($"COWORK_SEED={seed}");
        return seed;
    }

    /// <summary>Seeds of a search that is repeated: consecutive ones from 1, or from the first that chaos draws or COWORK_SEED names.</summary>
    /// <param name="ordinary">Repetitions in an ordinary run.</param>
    /// <param name="chaos">Repetitions under chaos.</param>
    public static IEnumerable<int> Many(int ordinary, int chaos)
    {
        var first = First(1);
        for (var i = 0; i < (Chaos ? chaos : ordinary); i++)
        {
            var seed = first + i;
            TestContext.Current.TestOutputHelper?.WriteLine($"COWORK_SEED={seed}");
            yield return seed;
        }
    }

    static int First(int ordinary) => Given ?? (Chaos ? RandomNumberGenerator.GetInt32(1, 1_000_000) : ordinary);
}
