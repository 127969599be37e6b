using System.Diagnostics;

namespace Cowork.Bench;

/// <summary>What came of a load: how many operations in how long, and how long each took.</summary>
/// <param name="Latencies">Milliseconds, sorted.</param>
/// <param name="Cpu">Seconds of processor time used meanwhile.</param>
sealed record Measured(long Count, double Seconds, double[] Latencies, CpuUse Cpu)
{
    public double PerSecond => Count / Seconds;

    public double Percentile(double p) => Latencies.Length == 0 ? 0 : Latencies[Math.Min(Latencies.Length - 1, (int)(p * Latencies.Length))];
}

/// <summary>Closed loops: so many workers, each starting its next operation when its last one is done.</summary>
static class Load
{
    /// <param name="operation">Given the worker's number and its operation's; one call is one operation.</param>
    public static async Task<Measured> Run(int workers, TimeSpan warmUp, TimeSpan time, ProcessCpu cpu, Func<int, int, Task> operation)
    {
        var from = Stopwatch.GetTimestamp() + (long)(warmUp.TotalSeconds * Stopwatch.Frequency);
        var until = from + (long)(time.TotalSeconds * Stopwatch.Frequency);
        var started = new TaskCompletionSource<CpuUse>();
        using var warm = new Timer(_ => started.TrySetResult(cpu.Now()), null, warmUp, Timeout.InfiniteTimeSpan);
        var loops = Enumerable.Range(0, workers).Select(worker => Task.Run(async () =>
        {
            var latencies = new List<double>();
            for (var i = 0; ; i++)
            {
                var start = Stopwatch.GetTimestamp();
                if (start >= until)
                {
                    return latencies;
                }
                await operation(worker, i);
                var end = Stopwatch.GetTimestamp();
                if (start >= from && end <= until)
                {
                    latencies.Add((end - start) * 1000.0 / Stopwatch.Frequency);
                }
            }
        })).ToList();
        var all = (await Task.WhenAll(loops)).SelectMany(l => l).Order().ToArray();
        var used = cpu.Now() - await started.Task;
        return new(all.Length, time.TotalSeconds, all, used);
    }
}
