using System.Diagnostics;
using System.Globalization;

using Cowork.Projections;

namespace Cowork.Bench;

/// <summary>What the bundle of a run costs at so many events.</summary>
/// <param name="Bytes">Of the bundle.</param>
/// <param name="HostMs">From the request to the last byte, the median.</param>
/// <param name="HostMebibytes">Highest resident memory of the host since it began.</param>
/// <param name="VerifyMs">The median.</param>
/// <param name="VerifyMebibytes">That one check allocates.</param>
sealed record BundleFigures(int Events, int Bytes, double HostMs, double HostMebibytes, double VerifyMs, double VerifyMebibytes)
{
    const int Checks = 5;

    /// <summary>Makes a run of about so many events and exports it.</summary>
    public static async Task<BundleFigures> Measure(HostProcess host, int events)
    {
        var path = $"/runs/{await LongRun.Make(host, events)}/trace";
        var bundle = await host.Http.GetByteArrayAsync(path);
        var (asked, verified, allocated) = (new List<double>(), new List<double>(), 0L);
        var count = 0;
        for (var i = 0; i < Checks; i++)
        {
            var began = Stopwatch.GetTimestamp();
            bundle = await host.Http.GetByteArrayAsync(path);
            asked.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            var before = GC.GetAllocatedBytesForCurrentThread();
            began = Stopwatch.GetTimestamp();
            var (report, fault) = TraceVerifier.Verify(bundle);
            verified.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            count = report?.Events ?? throw new InvalidOperationException(fault!.Message);
        }
        return new(count, bundle.Length, Median(asked), HighestMebibytes(host.Id), Median(verified), allocated / 1048576.0);
    }

    static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    static double HighestMebibytes(int process)
    {
        var line = File.ReadLines($"/proc/{process}/status").First(line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
        return double.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024;
    }
}
