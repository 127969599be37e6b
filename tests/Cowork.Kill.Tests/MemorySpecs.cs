using System.Collections.Concurrent;
using System.Text;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>A host that has little memory, and clients that ask for much of it at once.</summary>
public sealed class MemorySpecs
{
    const int Clients = 24;

    static readonly TimeSpan Time = TimeSpan.FromSeconds(8);

    [Fact]
    public async Task A_host_without_memory_refuses_and_goes_on()
    {
        // 192 MiB; the number is hexadecimal.
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase(), 0, ("DOTNET_GCHeapHardLimit", "C000000"));
        var metadata = new string('m', 60_000);
        for (var i = 0; i < 150; i++)
        {
            await Known(host, HttpMethod.Post, "/sessions", $$$"""{"metadata":{"m":"{{{metadata}}}"}}""");
        }
        var session = await host.Http.NewSession("s");
        var big = Encoding.UTF8.GetBytes($$"""{"message":"/say x","junk":"{{new string('j', 4_000_000)}}"}""");
        var many = Encoding.UTF8.GetBytes($$"""{"message":"/say x","junk":[{{string.Join(',', Enumerable.Repeat("{\"a\":[]}", 400_000))}}]}""");
        var seen = new ConcurrentBag<(int Status, string? Code, string What)>();
        using var over = new CancellationTokenSource(Time);
        using var tooLong = new CancellationTokenSource(Patience.Limit);
        // On a busy machine it takes longer until so much is asked for at once that there is not enough.
        bool IsSeen() => seen.Any(one => one.Status == 200) && seen.Any(one => one.Status == 503);
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            for (var i = client; !over.IsCancellationRequested || (!IsSeen() && !tooLong.IsCancellationRequested); i++)
            {
                var (method, path, body) = (i % 5) switch
                {
                    0 => (HttpMethod.Post, $"/sessions/{session}/turn", big),
                    1 => (HttpMethod.Post, $"/sessions/{session}/turn", many),
                    2 => (HttpMethod.Get, "/sessions?limit=1000", null),
                    3 => (HttpMethod.Get, "/events?limit=1000", null),
                    _ => (HttpMethod.Get, $"/sessions/{session}/runs?limit=1000", null),
                };
                var got = await host.Http.Send(method, path, body, "application/json");
                seen.Add(((int)got.Status, got.Code, $"{method} {path} {(got.Status >= System.Net.HttpStatusCode.InternalServerError ? got.Text : "")}"));
            }
        })));
        Assert.False(host.HasExited, host.Output);
        Assert.DoesNotContain(seen, one => one.Status >= 500 && one is not { Status: 503, Code: "memory_pressure" });
        Assert.Contains(seen, one => one.Status == 200);
        Assert.Contains(seen, one => one.Status == 503);
        // It works as before.
        await host.Http.Until("/health/ready", got => (int)got.Status == 200);
        var turn = await host.Http.Turn(await host.Http.NewSession("after"), "/say still here");
        Assert.Equal("still here", turn.Is(200)["reply"]);
        Assert.True((await host.Http.Get("/metrics")).Is(200).Json.GetProperty("host").GetProperty("memory_refused").GetInt64() > 0);
    }

    static async Task Known(HostProcess host, HttpMethod method, string path, string body)
    {
        while (true)
        {
            var got = await host.Http.Send(method, path, body);
            if ((int)got.Status is 200 or 201)
            {
                return;
            }
            Assert.Equal("memory_pressure", got.Code);
            await Task.Delay(50);
        }
    }
}
