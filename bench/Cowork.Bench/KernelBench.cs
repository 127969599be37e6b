using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

using Cowork.Application;
using Cowork.Kernels;

using Microsoft.Extensions.Logging.Abstractions;

namespace Cowork.Bench;

/// <summary>What kernels cost, in their sandboxes and, as the peer, driven by jupyter_client without one.</summary>
/// <param name="ColdS">From the first start to the end of its first cell.</param>
/// <param name="WarmS">The same, the median of later ones.</param>
/// <param name="P50Ms">A cell <c>1 + 1</c>, from sending it to its end.</param>
/// <param name="Mebibytes">Of one kernel after its cells, with its bridge and bubblewrap; shared pages by share.</param>
/// <param name="CellsPerSecond">Over all kernels that run at once.</param>
sealed record KernelFigures(double ColdS, double WarmS, double P50Ms, double P99Ms, double Mebibytes, double CellsPerSecond)
{
    const int Starts = 5;
    const int Trips = 500;

    /// <summary>Kernels at once.</summary>
    public const int Count = 8;

    static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static async Task<KernelFigures> Measure(TimeSpan time, string directory)
    {
        using var kernels = new SandboxedKernels([], TimeProvider.System, NullLogger<SandboxedKernels>.Instance);
        var starts = new List<double>();
        var before = Children(Environment.ProcessId).ToHashSet();
        var trips = new List<double>();
        var memory = 0.0;
        for (var i = 0; i < Starts; i++)
        {
            var began = Stopwatch.GetTimestamp();
            await using var kernel = await Start(kernels, directory, 0);
            await Cell(kernel);
            starts.Add(Stopwatch.GetElapsedTime(began).TotalSeconds);
            if (i == Starts - 1)
            {
                for (var trip = 0; trip < Trips; trip++)
                {
                    began = Stopwatch.GetTimestamp();
                    await Cell(kernel);
                    trips.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
                }
                memory = Children(Environment.ProcessId).Where(p => !before.Contains(p)).SelectMany(Tree).Sum(Resident);
            }
        }
        var all = new List<IKernel>();
        for (var i = 0; i < Count; i++)
        {
            all.Add(await Start(kernels, directory, i));
            await Cell(all[i]);
        }
        var started = Stopwatch.GetTimestamp();
        var done = await Task.WhenAll(all.Select(async kernel =>
        {
            var count = 0;
            for (; Stopwatch.GetElapsedTime(started) < time; count++)
            {
                await Cell(kernel);
            }
            return count;
        }));
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        foreach (var kernel in all)
        {
            await kernel.DisposeAsync();
        }
        trips.Sort();
        return new(starts[0], starts.Skip(1).Order().ElementAt(2), trips[Trips / 2], trips[Trips * 99 / 100], memory, done.Sum() / seconds);
    }

    public static async Task<KernelFigures> MeasurePeer(TimeSpan time)
    {
        var line = "";
        string[] arguments = ["jupyter.py", time.TotalSeconds.ToString(CultureInfo.InvariantCulture), Count.ToString(CultureInfo.InvariantCulture)];
        await Peers.Output("/usr/bin/python3", arguments, Peers.Folder("kernels"), new Dictionary<string, string>(), l => line = l);
        return JsonSerializer.Deserialize<KernelFigures>(line, Json)!;
    }

    static ValueTask<IKernel> Start(SandboxedKernels kernels, string directory, int number) =>
        kernels.Start(new(Grants.Of(Grant.Of(Directory.CreateDirectory(Path.Combine(directory, $"kernel-{number}")).FullName)), KernelLimits.Default), CancellationToken.None);

    static async Task Cell(IKernel kernel)
    {
        KernelMessage? last = null;
        await foreach (var message in kernel.Execute("1 + 1", CancellationToken.None))
        {
            last = message;
        }
        if (last is not KernelMessage.Done { Outcome: KernelOutcome.Succeeded })
        {
            throw new InvalidOperationException($"A cell ended with {last}.");
        }
    }

    static IEnumerable<int> Tree(int process) => Children(process).SelectMany(Tree).Prepend(process);

    static IEnumerable<int> Children(int process) => Directory.GetDirectories($"/proc/{process}/task")
        .SelectMany(task => File.ReadAllText($"{task}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Select(child => int.Parse(child, CultureInfo.InvariantCulture));

    static double Resident(int process)
    {
        var line = File.ReadLines($"/proc/{process}/smaps_rollup").First(l => l.StartsWith("Pss:", StringComparison.Ordinal));
        return double.Parse(line["Pss:".Length..^"kB".Length], CultureInfo.InvariantCulture) / 1024;
    }
}
