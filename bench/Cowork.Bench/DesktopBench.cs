using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;

namespace Cowork.Bench;

/// <summary>What users of contract C wait for: the first event of a task that they gave, on a stream that is open, beside that of contract A's feed.</summary>
/// <param name="token">The admin token: contract C always wants one.</param>
sealed class DesktopBench(HostProcess host, ProcessCpu cpu, TimeSpan time, string token)
{
    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    /// <summary>
    /// From the request that gives a task to the first byte of its first event, in milliseconds, sorted. Each worker has a session and an open stream of its own.
    /// </summary>
    public Task<double[]> FirstEventOfTask(int inFlight) => FirstEvent(
        inFlight, session => $"/api/cowork/sessions/{session}/events?lastEventId=0", session => $"/api/cowork/sessions/{session}/tasks", new { prompt = "/say hello" }, "taskId");

    /// <summary>The same of contract A: from the request that sends a turn to its first event in the feed.</summary>
    public Task<double[]> FirstEventOfTurn(int inFlight) => FirstEvent(
        inFlight, session => $"/sessions/{session}/events/stream?since_id=0", session => $"/sessions/{session}/turn",
        new { message = "/say hello", wait_for_completion = false }, "run_id");

    async Task<double[]> FirstEvent(int inFlight, Func<string, string> stream, Func<string, string> give, object body, string id)
    {
        var prefix = $"d{Stopwatch.GetTimestamp():x}-";
        var arrived = new ConcurrentDictionary<string, TaskCompletionSource<long>>(StringComparer.Ordinal);
        var member = $"\"{id}\":\"";
        using var over = new CancellationTokenSource();
        var readers = new List<Task>();
        for (var worker = 0; worker < inFlight; worker++)
        {
            var session = $"{prefix}{worker}";
            await host.Session(session);
            var response = await host.Http.SendAsync(Request(HttpMethod.Get, stream(session), null), HttpCompletionOption.ResponseHeadersRead);
            readers.Add(Read(response.EnsureSuccessStatusCode()));
        }
        var delays = new ConcurrentBag<double>();
        await Load.Run(inFlight, Settling, time, cpu, async (worker, _) =>
        {
            var start = Stopwatch.GetTimestamp();
            using var response = await host.Http.SendAsync(Request(HttpMethod.Post, give($"{prefix}{worker}"), body));
            var given = await response.EnsureSuccessStatusCode().Content.ReadFromJsonAsync<JsonElement>();
            var seen = await arrived.GetOrAdd(given.GetProperty(id).GetString()!, _ => new()).Task;
            delays.Add(Stopwatch.GetElapsedTime(start, seen).TotalMilliseconds);
        });
        await over.CancelAsync();
        await Task.WhenAll(readers);
        return [.. delays.Order()];

        async Task Read(HttpResponseMessage response)
        {
            using var whole = response;
            using var lines = new StreamReader(await response.Content.ReadAsStreamAsync());
            try
            {
                while (await lines.ReadLineAsync(over.Token) is { } line)
                {
                    var now = Stopwatch.GetTimestamp();
                    if (line.IndexOf(member, StringComparison.Ordinal) is >= 0 and var at && line.IndexOf('"', at + member.Length) is >= 0 and var end)
                    {
                        arrived.GetOrAdd(line[(at + member.Length)..end], _ => new()).TrySetResult(now);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                // All delays are measured.
            }
        }
    }

    HttpRequestMessage Request(HttpMethod method, string path, object? body) => new(method, path)
    {
        Content = body is null ? null : JsonContent.Create(body),
        Headers = { Authorization = new AuthenticationHeaderValue("Bearer", token) },
    };
}
