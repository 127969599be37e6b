using System.Globalization;

namespace Cowork.Bench;

/// <summary>Seconds of processor time.</summary>
readonly record struct CpuUse(double Host, double Postgres)
{
    public static CpuUse operator -(CpuUse a, CpuUse b) => new(a.Host - b.Host, a.Postgres - b.Postgres);
}

/// <summary>Reads from /proc what a host and a PostgreSQL server with all its backends have used.</summary>
/// <param name="host">Null: this process.</param>
sealed class ProcessCpu(int postmaster, int? host = null)
{
    const double TicksPerSecond = 100; // USER_HZ, a constant of the Linux ABI on every architecture .NET runs on

    public CpuUse Now()
    {
        var postgres = 0.0;
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), out var pid) && Stat(pid) is { } stat && (pid == postmaster || stat.Parent == postmaster))
            {
                // The postmaster's count of its dead children is theirs; no backend has children of its own.
                postgres += stat.Own + (pid == postmaster ? stat.Children : 0);
            }
        }
        return new((Stat(host ?? Environment.ProcessId)?.Own ?? 0) / TicksPerSecond, postgres / TicksPerSecond);
    }

    static (int Parent, double Own, double Children)? Stat(int pid)
    {
        try
        {
            var text = File.ReadAllText($"/proc/{pid}/stat");
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return (Number(1), Number(11) + Number(12), Number(13) + Number(14));

            int Number(int i) => int.Parse(fields[i], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return null; // It ended between the listing and the reading.
        }
    }
}
