using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;

namespace Cowork.Bench;

/// <summary>What users of contract B wait for: the first words of a response, a page of a long list, a search through many files, an upload.</summary>
sealed class PlatformBench(HostProcess host, ProcessCpu cpu, TimeSpan time, string directory)
{
    const int Makers = 16;
    const int Uploads = 3;

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    static readonly string[] Words =
        [.. "harbour invoice kiln lantern meadow needle orchard pebble quarry ribbon saddle timber urn valley walnut yarn anchor basket candle drawer".Split(' ')];

    /// <summary>From the request to the first text delta of its stream; each worker has a conversation of its own and reads every stream to its end.</summary>
    public async Task<double[]> FirstDelta(int inFlight)
    {
        var prefix = $"p{Stopwatch.GetTimestamp():x}-";
        for (var worker = 0; worker < inFlight; worker++)
        {
            await host.Session($"{prefix}{worker}");
        }
        var delays = new ConcurrentBag<double>();
        await Load.Run(inFlight, Settling, time, cpu, async (worker, _) =>
        {
            var start = Stopwatch.GetTimestamp();
            using var request = new HttpRequestMessage(HttpMethod.Post, "/api/v1/responses")
            {
                Content = JsonContent.Create(new { conversation_id = $"conv_{prefix}{worker}", input = "/say hello" }),
            };
            using var response = await host.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            using var lines = new StreamReader(await response.EnsureSuccessStatusCode().Content.ReadAsStreamAsync());
            while (await lines.ReadLineAsync() is { } line)
            {
                if (line == "event: response.output_text.delta")
                {
                    delays.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                }
            }
        });
        return [.. delays.Order()];
    }

    /// <summary>Makes conversations until there are so many.</summary>
    public async Task Conversations(int count) =>
        await Each(count, async n => await host.Session($"listed-{n}"), Makers);

    /// <summary>A page of 50 of the conversations.</summary>
    /// <param name="number">From 1.</param>
    public async Task<Measured> Page(int number) => await Load.Run(
        1, Settling, time, cpu, (_, _) => host.Http.GetByteArrayAsync($"/api/v1/conversations?limit=50&offset={(number - 1) * 50}"));

    /// <summary>Uploads text files of 120 words, and waits until the last is searched.</summary>
    public async Task Files(int count)
    {
        await Each(count, async n => await Upload($"note-{n}.md", new StringContent(Text(n))), Makers);
        var until = Stopwatch.GetTimestamp() + (5 * 60 * Stopwatch.Frequency);
        while (await host.Sql("SELECT count(*) FROM cowork.files WHERE row->>'status' = 'processing'") is not 0L)
        {
            if (Stopwatch.GetTimestamp() > until)
            {
                throw new InvalidOperationException("The files are not ready.");
            }
            await Task.Delay(100);
        }
        await host.Sql("VACUUM ANALYZE");
    }

    /// <summary>Searches for two words that many files have and one that a single file has.</summary>
    public async Task<Measured> Search(int inFlight, int files) => await Load.Run(inFlight, Settling, time, cpu, async (worker, n) =>
    {
        var of = ((worker * 7_919) + n) % files;
        var found = await host.Http.GetFromJsonAsync<JsonElement>($"/api/v1/files/search?q={Words[n % Words.Length]}+{Words[worker % Words.Length]}+c{of}&limit=10");
        if (found.GetProperty("data").GetArrayLength() == 0)
        {
            throw new InvalidOperationException($"File {of} was not found.");
        }
    });

    /// <summary>Bytes a second of an upload over HTTP, and of <c>cp</c> of the same file with <c>sync</c>; the medians.</summary>
    public async Task<(double Upload, double Copy)> UploadAndCopy(int mebibytes)
    {
        var (from, to) = (Path.Combine(directory, "upload.bin"), Path.Combine(directory, "copy.bin"));
        var (uploads, copies) = (new List<double>(), new List<double>());
        for (var i = 0; i < Uploads; i++)
        {
            await Write(from, mebibytes, i);
            var start = Stopwatch.GetTimestamp();
            using (var process = Process.Start("sh", ["-c", $"cp '{from}' '{to}' && sync '{to}'"]))
            {
                await process.WaitForExitAsync();
            }
            copies.Add(mebibytes * 1_048_576.0 / Stopwatch.GetElapsedTime(start).TotalSeconds);
            File.Delete(to);
            start = Stopwatch.GetTimestamp();
            await using (var file = File.OpenRead(from))
            {
                await Upload($"upload-{i}.bin", new StreamContent(file, 1 << 17));
            }
            uploads.Add(mebibytes * 1_048_576.0 / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return (uploads.Order().ElementAt(Uploads / 2), copies.Order().ElementAt(Uploads / 2));
    }

    async Task Upload(string name, HttpContent content)
    {
        using var form = new MultipartFormDataContent { { content, "file", name } };
        using var response = await host.Http.PostAsync("/api/v1/files", form);
        response.EnsureSuccessStatusCode();
    }

    static string Text(int n) => $"Note of customer c{n}.\n\n"
        + string.Join(' ', Enumerable.Range(0, 120).Select(i => Words[((n * 31) + (i * i) + (i / 7)) % Words.Length] + (i % 12 == 11 ? ".\n" : "")));

    /// <summary>No two rounds write the same bytes, which would be one blob.</summary>
    static async Task Write(string path, int mebibytes, int round)
    {
        var block = new byte[1 << 20];
        new Random(round).NextBytes(block);
        await using var file = File.Create(path);
        for (var i = 0; i < mebibytes; i++)
        {
            BitConverter.TryWriteBytes(block, i);
            await file.WriteAsync(block);
        }
    }

    static async Task Each(int count, Func<int, Task> make, int makers)
    {
        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, makers).Select(async _ =>
        {
            for (var n = Interlocked.Increment(ref next); n < count; n = Interlocked.Increment(ref next))
            {
                await make(n);
            }
        }));
    }
}
