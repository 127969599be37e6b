using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json;

namespace Cowork.Testing.Hosts;

/// <summary>
/// Clients that go on through any outage: each sends turns one after another under keys of its own and tries again until it is told that the turn is
/// accepted. Followers read one session's feed all the time, one by polling and one by SSE, over whatever host is there.
/// </summary>
public sealed class Clients(Func<string> url, string session)
{
    /// <summary>A request that takes longer is sent again, like one that was cut: this is no bound on what a spec waits for.</summary>
    static readonly HttpClient Http = new(new SocketsHttpHandler { UseProxy = false, MaxConnectionsPerServer = 512 }) { Timeout = TimeSpan.FromSeconds(60) };

    readonly ConcurrentDictionary<string, string> runOf = new();

    /// <summary>Ids of the runs that were acknowledged.</summary>
    public IReadOnlyCollection<string> Acknowledged => [.. runOf.Values];

    /// <summary>Statuses that were answered instead of an acknowledgement.</summary>
    public ConcurrentBag<HttpStatusCode> Refusals { get; } = [];

    public List<(long Id, string Type, string Hash)> Polled { get; } = [];

    public List<(long Id, string Type, string Hash)> Streamed { get; } = [];

    public async Task Open(int sessions = 1)
    {
        for (var i = 0; i < sessions; i++)
        {
            await Send("/sessions", new { session_id = i == 0 ? session : $"{session}-{i}" }, HttpStatusCode.Created, HttpStatusCode.Conflict);
        }
    }

    /// <summary>Sends turns until they are all acknowledged.</summary>
    public Task SendTurns(int clients, int each, int sessions, string message) => Task.WhenAll(Enumerable.Range(0, clients).Select(client => Task.Run(async () =>
    {
        for (var i = 0; i < each; i++)
        {
            var key = $"{client}-{i}";
            var to = client % sessions == 0 ? session : $"{session}-{client % sessions}";
            var answer = await Send(
                $"/sessions/{to}/turn", new { message, idempotency_key = key, wait_for_completion = false }, HttpStatusCode.OK, HttpStatusCode.Accepted);
            runOf[key] = answer.GetProperty("run_id").GetString()!;
        }
    })));

    /// <summary>Waits until every acknowledged run has ended, and that as it should.</summary>
    public async Task AllCompleted()
    {
        foreach (var run in Acknowledged)
        {
            var ended = await Patience.Until(
                () => Try(HttpMethod.Get, $"/runs/{run}", null),
                got => got is { Status: HttpStatusCode.OK, Json: var json } && json.GetProperty("status").GetString() is "completed" or "failed" or "cancelled",
                got => $"{got?.Json}", $"{run} has ended");
            Assert.True(ended!.Value.Json.GetProperty("status").GetString() == "completed", ended.Value.Json.GetRawText());
        }
    }

    /// <summary>Follows until the token is cancelled and the feed's end is reached; reconnects with its cursor.</summary>
    public Task Follow(CancellationToken until) => Task.WhenAll(Poll(until), Stream(until));

    public void SawTheSame()
    {
        Assert.NotEmpty(Polled);
        Assert.Equal(Enumerable.Range(1, Polled.Count).Select(id => (long)id), Polled.Select(e => e.Id));
        // The stream is cut at a moment of its own; as far as it goes it is the same.
        Assert.Equal(Polled.Take(Streamed.Count), Streamed);
        Assert.True(Streamed.Count > Polled.Count / 2, $"{Streamed.Count} of {Polled.Count} came over the stream.");
    }

    async Task Poll(CancellationToken until)
    {
        while (true)
        {
            var last = until.IsCancellationRequested;
            var since = Polled.Count == 0 ? 0 : Polled[^1].Id;
            if (await Try(HttpMethod.Get, $"/sessions/{session}/events?since_id={since}&wait_seconds={(last ? 0 : 1)}", null) is not { Status: HttpStatusCode.OK, Json: var page })
            {
                await Task.Delay(20, CancellationToken.None);
                continue;
            }
            var events = page.GetProperty("events").EnumerateArray().Select(Seen).ToList();
            Polled.AddRange(events);
            if (last && events.Count == 0)
            {
                return;
            }
        }
    }

    async Task Stream(CancellationToken until)
    {
        while (!until.IsCancellationRequested)
        {
            try
            {
                using var request = new HttpRequestMessage(HttpMethod.Get, $"{url()}/sessions/{session}/events/stream");
                request.Headers.Add("Last-Event-ID", $"{(Streamed.Count == 0 ? 0 : Streamed[^1].Id)}");
                using var response = await Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, until);
                if (!response.IsSuccessStatusCode)
                {
                    await Task.Delay(20, CancellationToken.None);
                    continue;
                }
                using var lines = new StreamReader(await response.Content.ReadAsStreamAsync(until));
                while (await lines.ReadLineAsync(until) is { } line)
                {
                    if (line.StartsWith("data:", StringComparison.Ordinal))
                    {
                        Streamed.Add(Seen(JsonElement.Parse(line[5..])));
                    }
                }
            }
            catch (Exception e) when (e is HttpRequestException or IOException or JsonException or OperationCanceledException)
            {
                // Cut, maybe in the middle of a line: the cursor is that of the last whole event.
                await Task.Delay(20, CancellationToken.None);
            }
        }
    }

    static (long, string, string) Seen(JsonElement e) => (e.GetProperty("id").GetInt64(), e.GetProperty("type").GetString()!, e.GetProperty("hash").GetString()!);

    async Task<JsonElement> Send(string path, object body, params HttpStatusCode[] accepted)
    {
        while (true)
        {
            if (await Try(HttpMethod.Post, path, JsonSerializer.Serialize(body)) is { } got)
            {
                if (accepted.Contains(got.Status))
                {
                    return got.Json;
                }
                Refusals.Add(got.Status);
                Assert.True(got.Status == HttpStatusCode.ServiceUnavailable, $"{path}: {(int)got.Status} {got.Json}");
            }
            await Task.Delay(20, CancellationToken.None);
        }
    }

    /// <summary>Null: nobody there, or the connection was cut.</summary>
    async Task<(HttpStatusCode Status, JsonElement Json)?> Try(HttpMethod method, string path, string? body)
    {
        try
        {
            using var request = new HttpRequestMessage(method, url() + path);
            request.Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json");
            using var response = await Http.SendAsync(request);
            return (response.StatusCode, JsonElement.Parse(await response.Content.ReadAsStringAsync()));
        }
        catch (Exception e) when (e is HttpRequestException or IOException or JsonException or TaskCanceledException)
        {
            return null;
        }
    }
}
