using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Connectors.Tests;

/// <summary>A web server on a loopback port that does what a spec tells it, down to the byte: one function answers each request.</summary>
sealed class WebServer : IAsyncDisposable
{
    readonly LoopbackListener listener;
    readonly CancellationTokenSource stopping = new();

    /// <param name="answer">Answers a request; the connection is closed after it.</param>
    public WebServer(Func<Request, Task> answer) => listener = new(async socket =>
    {
        using (socket)
        {
            try
            {
                await using var wire = new NetworkStream(socket, ownsSocket: false);
                if (await Request.Read(wire, stopping.Token) is { } request)
                {
                    Asked.Enqueue(request);
                    await answer(request);
                }
            }
            catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
            {
                // The client went away, or the spec is over.
            }
        }
    });

    public int Port => listener.Port;

    public string Url => $"http://127.0.0.1:{Port}";

    public ConcurrentQueue<Request> Asked { get; } = new();

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        await listener.DisposeAsync();
        stopping.Dispose();
    }

    /// <summary>A fence that lets connections to this server through, and to nothing else inside.</summary>
    public EgressFence Fence(TimeProvider? clock = null) => new([EgressTarget.Parse($"127.0.0.1:{Port}")!], [], clock ?? TimeProvider.System);

    public sealed class Request(string line, Dictionary<string, string> headers, string body, NetworkStream wire, CancellationToken stopping)
    {
        /// <summary>Such as <c>GET /orders?page=2</c>.</summary>
        public string Line => line;

        public IReadOnlyDictionary<string, string> Headers => headers;

        public string Body => body;

        /// <summary>Done when the spec is over.</summary>
        public Task Forever() => Task.Delay(Timeout.Infinite, stopping);

        public Task Answer(int status, string text, string type = "application/json", params string[] headers) => Answer(status, Encoding.UTF8.GetBytes(text), type, headers);

        public async Task Answer(int status, byte[] bytes, string type, params string[] headers)
        {
            await Head(status, type, [.. headers, $"Content-Length: {bytes.Length}"]);
            await Send(bytes);
        }

        public Task Redirect(string to, int status = 302) => Answer(status, "", "text/plain", $"Location: {to}");

        public Task Head(int status, string type, params string[] headers) => Send(Encoding.ASCII.GetBytes(
            $"HTTP/1.1 {status.ToString(CultureInfo.InvariantCulture)} X\r\nContent-Type: {type}\r\nConnection: close\r\n{string.Concat(headers.Select(header => header + "\r\n"))}\r\n"));

        public async Task Send(ReadOnlyMemory<byte> bytes) => await wire.WriteAsync(bytes, stopping);

        internal static async Task<Request?> Read(NetworkStream wire, CancellationToken stopping)
        {
            var head = new StringBuilder();
            var one = new byte[1];
            while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
            {
                if (await wire.ReadAsync(one, stopping) == 0)
                {
                    return null;
                }
                head.Append((char)one[0]);
            }
            var lines = head.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
            var headers = lines[1..].Select(line => line.Split(':', 2)).ToDictionary(pair => pair[0], pair => pair[1].Trim(), StringComparer.OrdinalIgnoreCase);
            var body = headers.ContainsKey("Transfer-Encoding") ? await ReadChunks(wire, stopping)
                : await ReadBytes(wire, headers.TryGetValue("Content-Length", out var length) ? int.Parse(length, CultureInfo.InvariantCulture) : 0, stopping);
            return new(string.Join(' ', lines[0].Split(' ')[..2]), headers, Encoding.UTF8.GetString(body), wire, stopping);
        }

        static async Task<byte[]> ReadBytes(NetworkStream wire, int count, CancellationToken stopping)
        {
            var bytes = new byte[count];
            await wire.ReadExactlyAsync(bytes, stopping);
            return bytes;
        }

        static async Task<byte[]> ReadChunks(NetworkStream wire, CancellationToken stopping)
        {
            using var all = new MemoryStream();
            while (true)
            {
                var line = new StringBuilder();
                while (line is not { Length: >= 2 } || line[^1] != '\n')
                {
                    line.Append((char)(await ReadBytes(wire, 1, stopping))[0]);
                }
                var size = int.Parse(line.ToString().Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                all.Write(await ReadBytes(wire, size, stopping));
                await ReadBytes(wire, 2, stopping);
                if (size == 0)
                {
                    return all.ToArray();
                }
            }
        }
    }
}
