using System.Net;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Browser.Tests;

/// <summary>A browser's own EventSource on contract C's stream, which sends no headers of ours and reconnects by itself.</summary>
public sealed class EventSourceSpecs(Chromium chromium, BrowsedHost browsed)
{
    const string Page =
        """
        <!doctype html><title>events</title><script>
        const names = ["session.snapshot", "task.created", "task.updated", "agent.tool.call", "agent.tool.result", "token.usage", "approval.required", "approval.resolved",
            "task.completed", "task.cancelled"];
        window.seen = [];
        window.follow = url => {
            window.source = new EventSource(url);
            for (const name of names) {
                window.source.addEventListener(name, e => window.seen.push(e.lastEventId + " " + name + " " + e.data));
            }
        };
        </script>
        """;

    [Fact]
    public async Task An_EventSource_that_is_cut_off_after_every_event_sees_each_once_and_goes_on_with_a_new_token()
    {
        var (host, pages) = (await browsed.Started, browsed.Pages);
        using var http = host.Client(host.AdminToken);
        var session = await http.NewSession();
        await using var proxy = new CuttingOff(new Uri(host.Url).Port);
        var page = await chromium.NewPage();
        await using var context = page.Context;
        await page.GotoAsync(pages.Site + pages.Add(Page));

        await page.EvaluateAsync("url => follow(url)", $"http://127.0.0.1:{proxy.Port}/api/cowork/sessions/{session}/events?access_token={await Token()}");
        await page.WaitForFunctionAsync("seen.length > 0");
        var first = await Work("/tool list_files {}\\n/say one");
        await page.WaitForFunctionAsync("seen.some(line => line.includes('task.completed'))");
        // When the token's time is over the EventSource closes, and the page opens another one with a new token behind the last event.
        await page.EvaluateAsync("source.close()");
        var second = await Work("/say two");
        var last = (await page.EvaluateAsync<string>("seen[seen.length - 1]")).Split(' ')[0];
        await page.EvaluateAsync(
            "url => follow(url)", $"http://127.0.0.1:{proxy.Port}/api/cowork/sessions/{session}/events?access_token={await Token()}&lastEventId={last}");
        await page.WaitForFunctionAsync($"seen.some(line => line.includes('task.completed') && line.includes('{second}'))");

        var seen = (await page.EvaluateAsync<string[]>("seen")).ToList();
        Assert.StartsWith("session.snapshot", seen[0].Split(' ', 2)[1]);
        await using var whole = await EventReader.Open(http, $"/api/cowork/sessions/{session}/events", long.Parse(seen[0].Split(' ')[0]));
        var wanted = await whole.Through(long.Parse(seen[^1].Split(' ')[0]));
        Assert.Equal(wanted.Select(e => $"{e.Id} {e.Type} {e.Data.GetRawText()}"), seen.Skip(1));
        Assert.Contains(first, seen[1]);
        Assert.True(proxy.Connections >= seen.Count - 2, $"{proxy.Connections} connections for {seen.Count} events");

        async Task<string> Token() => (await http.Post("/api/cowork/stream-token", $$"""{"sessionId":"{{session}}"}""")).Is(201)["token"];

        async Task<string> Work(string prompt)
        {
            var task = (await http.Post($"/api/cowork/sessions/{session}/tasks", $$"""{"prompt":"{{prompt}}"}""")).Is(201)["taskId"];
            await http.Until($"/api/cowork/tasks/{task}", got => got["status"] == "completed");
            return task;
        }
    }

    /// <summary>Stands between a browser and the host, and breaks each connection off when it has carried one event. It has the browser come back at once.</summary>
    sealed class CuttingOff : IAsyncDisposable
    {
        readonly LoopbackListener listener;
        readonly int host;
        int connections;

        public CuttingOff(int host)
        {
            this.host = host;
            listener = new(Serve);
        }

        public int Port => listener.Port;

        public int Connections => Volatile.Read(ref connections);

        public ValueTask DisposeAsync() => listener.DisposeAsync();

        async Task Serve(Socket browser)
        {
            try
            {
                using var _ = browser;
                using var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                await server.ConnectAsync(new IPEndPoint(IPAddress.Loopback, host));
                var there = Copy(browser, server);
                var carried = new StringBuilder();
                var buffer = new byte[16 * 1024];
                while (await server.ReceiveAsync(buffer) is > 0 and var length)
                {
                    carried.Append(Encoding.Latin1.GetString(buffer, 0, length));
                    var text = carried.ToString();
                    var data = text.IndexOf("data: ", StringComparison.Ordinal);
                    var end = data < 0 ? -1 : text.IndexOf("\n\n", data, StringComparison.Ordinal);
                    // What of this event came before went out already.
                    var upTo = end < 0 ? length : length - (text.Length - (end + 2));
                    var sent = Encoding.Latin1.GetString(buffer, 0, upTo).Replace("retry: 1000", "retry: 0001", StringComparison.Ordinal);
                    await browser.SendAsync(Encoding.Latin1.GetBytes(sent));
                    if (end >= 0)
                    {
                        Interlocked.Increment(ref connections);
                        return;
                    }
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // One of the two has gone.
            }
        }

        static async Task Copy(Socket from, Socket to)
        {
            try
            {
                var buffer = new byte[16 * 1024];
                while (await from.ReceiveAsync(buffer) is > 0 and var length)
                {
                    await to.SendAsync(buffer.AsMemory(0, length));
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // The connection was broken off.
            }
        }
    }
}
