using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;

namespace Cowork.Bench;

/// <summary>
/// What keeping a project's files indexed costs (contract C): at first, and when nothing has changed, beside programs that only look at them or read them; and what a search
/// over them takes.
/// </summary>
sealed class ContextBench(HostProcess host, string data, ProcessCpu cpu, TimeSpan time)
{
    public const int Files = 10_000;

    const int FilesOfFolder = 100;

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    /// <summary>Words of a file, about 2 KiB.</summary>
    const int WordsOfFile = 300;

    static readonly string[] Words =
        [.. "harbour invoice kiln lantern meadow needle orchard pebble quarry ribbon saddle timber urn valley walnut yarn anchor basket candle drawer".Split(' ')];

    /// <summary>Files a second of <c>find</c>, of <c>sha256sum</c>, of the first synchronisation until the last file is found, and of one of a tree that has not changed.</summary>
    public async Task<(double Find, double Sha256Sum, double Cold, double Unchanged)> Run()
    {
        // The folders are those of the sessions that the caller created.
        host.Http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(Path.Combine(data, "admin-token"))).Trim());
        await host.Session("tree");
        var folder = Path.Combine(data, "workspaces", "tree");
        for (var i = 0; i < Files; i++)
        {
            var parent = Directory.CreateDirectory(Path.Combine(folder, $"part-{i / FilesOfFolder}"));
            await File.WriteAllTextAsync(Path.Combine(parent.FullName, $"note-{i}.md"), Text(i));
        }
        var find = await PerSecond(() => Shell($"find '{folder}' -type f | wc -l"));
        var sum = await PerSecond(() => Shell($"find '{folder}' -type f -print0 | xargs -0 sha256sum | wc -l"));
        var cold = await PerSecond(async () =>
        {
            await Sync(folder);
            while ((await Sync()).GetProperty("pending").GetInt32() > 0)
            {
                await Task.Delay(20);
            }
        });
        using var found = await host.Http.PostAsJsonAsync("/api/cowork/context/query", new { query = $"c{Files - 1}", topK = 1 });
        if ((await found.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>()).GetArrayLength() != 1)
        {
            throw new InvalidOperationException("The last file is not found.");
        }
        var unchanged = await PerSecond(async () =>
        {
            if ((await Sync(folder)).GetProperty("unchanged").GetInt32() != Files)
            {
                throw new InvalidOperationException("Files have changed.");
            }
        });
        return (find, sum, cold, unchanged);
    }

    /// <summary>Searches for two words that many files have and one that a single file has.</summary>
    public async Task<Measured> Query(int inFlight) => await Load.Run(inFlight, Settling, time, cpu, async (worker, n) =>
    {
        var of = ((worker * 7_919) + n) % Files;
        var query = new { query = $"{Words[n % Words.Length]} {Words[worker % Words.Length]} c{of}", topK = 10 };
        using var response = await host.Http.PostAsJsonAsync("/api/cowork/context/query", query);
        if ((await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>()).GetArrayLength() == 0)
        {
            throw new InvalidOperationException($"File {of} was not found.");
        }
    });

    async Task<JsonElement> Sync(params string[] files)
    {
        using var response = await host.Http.PostAsJsonAsync("/api/cowork/context/sync", new { files });
        return await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>();
    }

    static async Task<double> PerSecond(Func<Task> work)
    {
        var start = Stopwatch.GetTimestamp();
        await work();
        return Files / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    static async Task Shell(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("sh", ["-c", command]) { RedirectStandardOutput = true })!;
        var counted = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (int.Parse(counted, CultureInfo.InvariantCulture) != Files)
        {
            throw new InvalidOperationException($"{command}: {counted}");
        }
    }

    static string Text(int n) => $"Note of customer c{n}.\n\n"
        + string.Join(' ', Enumerable.Range(0, WordsOfFile).Select(i => Words[((n * 31) + (i * i) + (i / 7)) % Words.Length] + (i % 12 == 11 ? ".\n" : "")));
}
