using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Web;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Bench;

/// <summary>How long after an append's acknowledgement its event is with a client that follows the feed: of a host in this process, so that both are on one clock.</summary>
sealed class FeedLatency : IAsyncDisposable
{
    readonly CoworkHost host;
    readonly HttpClient http;

    FeedLatency(CoworkHost host)
    {
        this.host = host;
        http = new(new SocketsHttpHandler { MaxConnectionsPerServer = 512 }) { BaseAddress = new(host.Url) };
    }

    public static async Task<FeedLatency> Start(string connectionString, string data)
    {
        var builder = CoworkHost.NewBuilder();
        builder.Configuration["Logging:LogLevel:Default"] = "Warning";
        // Its greeting is for people who start a host.
        var console = Console.Out;
        Console.SetOut(TextWriter.Null);
        try
        {
            var host = CoworkHost.Start(builder, new() { Data = data, Port = 0, Database = connectionString });
            await host.FirstReady;
            return new(host);
        }
        finally
        {
            Console.SetOut(console);
        }
    }

    /// <summary>
    /// Appends at a rate, and how long after each acknowledgement its event arrives over SSE. Both in milliseconds, sorted; a negative delay is 0: the
    /// event was there before the append's caller went on.
    /// </summary>
    public async Task<(double[] Commits, double[] Delays)> Measure(int perSecond, TimeSpan time)
    {
        var session = SessionKey.Own("latency");
        await Post("/sessions", new { session_id = session.Id }, HttpStatusCode.Created);
        var commands = host.Services.GetRequiredService<CommandHandler>();
        var total = (int)(perSecond * time.TotalSeconds);
        var acknowledged = new long[total];
        var arrived = new long[total];
        using var stop = new CancellationTokenSource(time + TimeSpan.FromSeconds(30));
        var reading = Task.Run(async () =>
        {
            using var response = await http.GetAsync($"/sessions/{session.Id}/events/stream?since_id=1", HttpCompletionOption.ResponseHeadersRead, stop.Token);
            using var lines = new StreamReader(await response.EnsureSuccessStatusCode().Content.ReadAsStreamAsync(stop.Token));
            while (await lines.ReadLineAsync(stop.Token) is { } line)
            {
                if (line.StartsWith("id:", StringComparison.Ordinal))
                {
                    var n = int.Parse(line.AsSpan(3)) - 2;
                    arrived[n] = Stopwatch.GetTimestamp();
                    if (n == total - 1)
                    {
                        return;
                    }
                }
            }
        });
        var commits = new double[total];
        var pending = new List<Task>();
        var begin = Stopwatch.GetTimestamp();
        for (var i = 0; i < total; i++)
        {
            var due = begin + (long)((double)i / perSecond * Stopwatch.Frequency);
            while (Stopwatch.GetTimestamp() < due)
            {
                await Task.Delay(1);
            }
            pending.Add(Append(i));
        }
        await Task.WhenAll(pending);
        await reading;
        // Which append became which feed id does not matter to a reader: the k-th to be acknowledged is held against the k-th to arrive.
        Array.Sort(acknowledged);
        Array.Sort(arrived);
        var delays = acknowledged.Zip(arrived, (a, b) => Math.Max(0, (b - a) * 1000.0 / Stopwatch.Frequency)).Order().ToArray();
        Array.Sort(commits);
        return (commits, delays);

        async Task Append(int i)
        {
            await Task.Yield();
            var start = Stopwatch.GetTimestamp();
            var run = RunKey.New(DateTimeOffset.UnixEpoch);
            var refused = await commands.Commit(
                "default", new Origin("user:bench"),
                work => work.Do(Run.Aggregate, run, new RunCommand.Create(run, session, Content.Of("hello"), "offline", null, work.Now), session), stop.Token);
            acknowledged[i] = Stopwatch.GetTimestamp();
            commits[i] = (acknowledged[i] - start) * 1000.0 / Stopwatch.Frequency;
            if (refused is not null)
            {
                throw new InvalidOperationException(refused.Code);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        http.Dispose();
        await host.DisposeAsync();
    }

    async Task<JsonElement> Post(string path, object body, HttpStatusCode expected)
    {
        using var response = await http.PostAsJsonAsync(path, body);
        var answer = await response.Content.ReadFromJsonAsync<JsonElement>();
        return response.StatusCode == expected ? answer : throw new InvalidOperationException($"{response.StatusCode} {answer.GetRawText()}");
    }
}
