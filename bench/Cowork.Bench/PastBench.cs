using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;

using Cowork.Application;

namespace Cowork.Bench;

/// <summary>Runs as fast as they are made and as fast as they are replayed, by one caller.</summary>
/// <param name="Steps">Of each run.</param>
/// <param name="Runs">How many were made; each of them was replayed, and again as long as there was time.</param>
/// <param name="Made">Steps a second, from the turn to its reply.</param>
/// <param name="Replayed">Steps a second, from the request for the replay to its report.</param>
/// <param name="Events">Events of the runs a second, when they are replayed.</param>
sealed record ReplayFigures(int Steps, int Runs, double Made, double Replayed, double Events);

/// <summary>What the past costs: a run as it was beside the run as it is, and a run made again from its record beside the run itself.</summary>
sealed class PastBench(HostProcess host, TimeSpan time, int postmaster)
{
    static readonly TimeSpan Settling = TimeSpan.FromMilliseconds(500);

    /// <summary>Makes a session of about so many events with one run. Answers what concerns the run, its id, and the position of the event in its middle.</summary>
    public async Task<(int Events, string Run, long Middle)> Make(int events)
    {
        var run = await LongRun.Make(host, events);
        var stream = $"run-{run["run_".Length..]}";
        var middle = await host.Sql($"""
            SELECT seq_id FROM cowork.mt_events WHERE stream_id = '{stream}' AND version = (SELECT max(version) / 2 FROM cowork.mt_events WHERE stream_id = '{stream}')
            """);
        var bundle = await host.Http.GetFromJsonAsync<JsonElement>($"/runs/{run}/trace");
        return (bundle.GetProperty("events").GetArrayLength(), run, (long)middle!);
    }

    /// <summary>One caller that asks for something again and again.</summary>
    public Task<Measured> Get(string path) => Load.Run(1, Settling, time, new(postmaster, host.Id), async (_, _) =>
    {
        using var answer = await host.Http.GetAsync(path);
        await answer.EnsureSuccessStatusCode().Content.ReadAsByteArrayAsync();
    });

    /// <summary>Makes runs of so many calls for as long as a workload takes, at least one, and replays them for as long, each at least once.</summary>
    public async Task<ReplayFigures> Replays(int calls)
    {
        var session = string.Create(CultureInfo.InvariantCulture, $"replay-{calls}");
        await host.Session(session);
        var message = LongRun.Message(calls);
        await Replay(await host.Turn(session, message));
        var runs = new List<string>();
        var watch = Stopwatch.StartNew();
        do
        {
            runs.Add(await host.Turn(session, message));
        }
        while (watch.Elapsed < time);
        var making = watch.Elapsed.TotalSeconds;
        var (steps, events, replays) = (0L, 0L, 0);
        watch.Restart();
        do
        {
            var report = await Replay(runs[replays++ % runs.Count]);
            (steps, events) = (steps + report.GetProperty("steps").GetInt64(), events + report.GetProperty("events").GetInt64());
        }
        while (watch.Elapsed < time || replays < runs.Count);
        var replaying = watch.Elapsed.TotalSeconds;
        var each = steps / replays;
        return new((int)each, runs.Count, runs.Count * each / making, steps / replaying, events / replaying);
    }

    async Task<JsonElement> Replay(string run)
    {
        using var answer = await host.Http.PostAsync($"/runs/{run}/replay", null);
        var report = await answer.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>();
        return report.GetProperty("verdict").GetString() == ReplayReport.Equal ? report : throw new InvalidOperationException(report.GetRawText());
    }
}
