using System.Globalization;

namespace Cowork.Web;

/// <summary>How many files and connections the process may have open.</summary>
static class OpenFiles
{
    /// <summary>For the database, the files of runs, the listener and what the runtime opens.</summary>
    const int KeptForTheHost = 400;

    /// <summary>The connections that may be served: as many as configured, where the process may open so many files.</summary>
    public static int ConnectionsOf(int configured) => (int)Math.Max(10, Math.Min(configured, Limit() - KeptForTheHost));

    /// <summary>The soft limit (<c>ulimit -n</c>), which .NET raises to the hard one at its start.</summary>
    static long Limit()
    {
        var line = File.ReadLines("/proc/self/limits").FirstOrDefault(line => line.StartsWith("Max open files", StringComparison.Ordinal));
        return line?["Max open files".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var soft, ..]
            && long.TryParse(soft, NumberStyles.None, CultureInfo.InvariantCulture, out var limit) ? limit : long.MaxValue;
    }
}
