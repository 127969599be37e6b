using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Cowork.Marten;

/// <summary>Where a PostgreSQL server's programs lie.</summary>
/// <param name="Directory">Holds <c>initdb</c> and <c>postgres</c>.</param>
/// <param name="Major">For example 15.</param>
/// <param name="Version">For example <c>15.18</c>, as the server itself says.</param>
public sealed partial record PostgresBinaries(string Directory, int Major, string Version)
{
    /// <summary>The oldest major version that the schema is written for.</summary>
    public const int OldestMajor = 13;

    public string Initdb => Path.Combine(Directory, "initdb");

    public string Postgres => Path.Combine(Directory, "postgres");

    /// <summary>The server can compress its log with LZ4, which costs a tenth of its own method: version 15 and newer, when it was built with the library.</summary>
    public bool HasLz4 => Major >= 15 && File.ReadAllBytes(Postgres).AsSpan().IndexOf("liblz4.so"u8) >= 0;

    /// <summary>Every installation on PATH and in the distributions' usual places, newest first.</summary>
    public static IReadOnlyList<PostgresBinaries> Installed()
    {
        var onPath = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        var found = new List<PostgresBinaries>();
        var places = onPath.Concat(Versions("/usr/lib/postgresql")).Concat(Pgdg()).Append("/usr/local/pgsql/bin");
        foreach (var directory in places.Where(p => File.Exists(Path.Combine(p, "initdb")) && File.Exists(Path.Combine(p, "postgres"))).Select(WhereItLies).Distinct())
        {
            if (Ask(directory) is { } binaries)
            {
                found.Add(binaries);
            }
        }
        return [.. found.Where(b => b.Major >= OldestMajor).OrderByDescending(b => b.Major)];
    }

    /// <summary>The newest installation; with <paramref name="major"/>, the one that can open a data directory of that version.</summary>
    /// <exception cref="PostgresMissingException">There is none.</exception>
    public static PostgresBinaries Choose(int? major)
    {
        var installed = Installed();
        if (installed.FirstOrDefault(b => major is null || b.Major == major) is { } chosen)
        {
            return chosen;
        }
        throw new PostgresMissingException(installed.Count == 0
            ? $"No PostgreSQL server ({OldestMajor} or newer) is installed: neither PATH nor /usr/lib/postgresql/*/bin holds initdb and postgres. "
                + "Install it (Debian, Ubuntu: apt-get install postgresql), or point ConnectionStrings__Cowork at a server that runs already."
            : $"The data directory was made by PostgreSQL {major}, and only {string.Join(", ", installed.Select(b => b.Version))} is installed. "
                + $"Install that version (Debian: apt-get install postgresql-{major}), or move the data over with pg_upgrade.");
    }

    static IEnumerable<string> Versions(string root) =>
        System.IO.Directory.Exists(root) ? System.IO.Directory.GetDirectories(root).Select(version => Path.Combine(version, "bin")) : [];

    static IEnumerable<string> Pgdg() => System.IO.Directory.GetDirectories("/usr", "pgsql-*").Select(version => Path.Combine(version, "bin"));

    /// <summary>PATH may hold links to programs whose companions lie beside them.</summary>
    static string WhereItLies(string directory) =>
        Path.GetDirectoryName(File.ResolveLinkTarget(Path.Combine(directory, "postgres"), returnFinalTarget: true)?.FullName) is { } real
            && File.Exists(Path.Combine(real, "initdb")) ? real : directory;

    static PostgresBinaries? Ask(string directory)
    {
        var ask = ServerUser.Program(Path.Combine(directory, "postgres"), "--version");
        ask.RedirectStandardOutput = true;
        using var process = Process.Start(ask);
        var answer = process?.StandardOutput.ReadToEnd() ?? "";
        process?.WaitForExit();
        var version = VersionNumber().Match(answer);
        return version.Success ? new(directory, int.Parse(version.Groups["major"].Value), version.Value) : null;
    }

    [GeneratedRegex(@"(?<major>\d+)(\.\d+|devel|beta\d+|rc\d+)")]
    private static partial Regex VersionNumber();
}

/// <summary>PostgreSQL's programs are not installed. The message says what to install.</summary>
public sealed class PostgresMissingException : Exception
{
    public PostgresMissingException()
    {
    }

    public PostgresMissingException(string message)
        : base(message)
    {
    }

    public PostgresMissingException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
