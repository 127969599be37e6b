using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Browser.Tests;

/// <summary>
/// Serves the pages of specs from two origins, each a port of its own, neither of them the host's: <see cref="Site"/> is that of a page, <see cref="Tools"/> that of
/// what the page embeds.
/// </summary>
public sealed class PageServer : IAsyncDisposable
{
    readonly ConcurrentDictionary<string, string> pages = new();
    readonly LoopbackListener site;
    readonly LoopbackListener tools;

    public PageServer() => (site, tools) = (new(Serve), new(Serve));

    public string Site => $"http://127.0.0.1:{site.Port}";

    public string Tools => $"http://127.0.0.1:{tools.Port}";

    /// <summary>Serves a page from both origins. Answers its path.</summary>
    /// <param name="html">The whole document.</param>
    public string Add(string html)
    {
        var path = $"/{pages.Count + 1}.html";
        Assert.True(pages.TryAdd(path, html), "Two specs added a page at the same time.");
        return path;
    }

    public async ValueTask DisposeAsync()
    {
        await site.DisposeAsync();
        await tools.DisposeAsync();
    }

    async Task Serve(Socket connection)
    {
        try
        {
            await using var wire = new NetworkStream(connection, ownsSocket: true);
            using var lines = new StreamReader(wire, Encoding.ASCII);
            var line = await lines.ReadLineAsync();
            while (await lines.ReadLineAsync() is { Length: > 0 })
            {
                // The headers of a request for a page tell nothing.
            }
            var found = line?.Split(' ') is [_, var path, ..] && pages.TryGetValue(path, out var html) ? html : null;
            var body = Encoding.UTF8.GetBytes(found ?? "");
            var head = $"HTTP/1.1 {(found is null ? "404 Not Found" : "200 OK")}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n";
            await wire.WriteAsync(Encoding.ASCII.GetBytes(head));
            await wire.WriteAsync(body);
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            // The browser closed a connection that it had opened ahead of need.
        }
    }
}
