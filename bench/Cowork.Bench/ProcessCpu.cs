using System.Diagnostics;
using System.Globalization;

namespace Cowork.Bench;

/// <summary>Seconds of processor time.</summary>
readonly record struct CpuUse(double Host, double Postgres)
{
    public static CpuUse operator -(CpuUse a, CpuUse b) => new(a.Host - b.Host, a.Postgres - b.Postgres);
}

/// <summary>Reads from /proc what this process and a PostgreSQL server with all its backends have used.</summary>
sealed class ProcessCpu(int postmaster)
{
    const double TicksPerSecond = 100; // USER_HZ, a constant of the Linux ABI on every architecture .NET runs on

    public CpuUse Now()
    {
        using var self = Process.GetCurrentProcess();
        var postgres = 0.0;
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), out var pid) && Stat(pid) is { } stat && (pid == postmaster || stat.Parent == postmaster))
            {
                // The postmaster's count of its dead children is theirs; no backend has children of its own.
                postgres += stat.Own + (pid == postmaster ? stat.Children : 0);
            }
        }
        return new(self.TotalProcessorTime.TotalSeconds, postgres / TicksPerSecond);
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
