using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;

namespace Cowork.Testing;

/// <summary>
/// A provider of models on a loopback port that does what a test tells it, down to the byte: each request is answered by the next answer that was
/// put in. What is on the wire is in the test, not here.
/// </summary>
public sealed class ModelServer : IAsyncDisposable
{
    readonly TcpListener listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource stopping = new();
    readonly ConcurrentQueue<Func<Exchange, Task>> answers = new();
    readonly Channel<Exchange> exchanges = Channel.CreateUnbounded<Exchange>();
    readonly Task accepting;

    public ModelServer()
    {
        listener.Start();
        accepting = Accept();
    }

    public Uri Url => new($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/v1");

    /// <summary>Everything that was asked, in order.</summary>
    public ConcurrentQueue<Exchange> Asked { get; } = new();

    /// <summary>Answers what no answer was put in for; null: such a request is refused.</summary>
    public Func<Exchange, Task>? Otherwise { get; set; }

    /// <summary>Puts in the answer to one request more.</summary>
    public ModelServer Then(Func<Exchange, Task> answer)
    {
        answers.Enqueue(answer);
        return this;
    }

    public ModelServer ThenStatus(int status, string body, params string[] headers) => ThenBody(status, "application/json", body, headers);

    /// <summary>A whole stream: every line one event's data.</summary>
    public ModelServer ThenStream(params string[] data) => ThenStreamAfter(Task.CompletedTask, data);

    /// <summary>The same, begun when something else is done.</summary>
    public ModelServer ThenStreamAfter(Task done, params string[] data) => Then(async e =>
    {
        await done;
        await e.Head();
        foreach (var one in data)
        {
            await e.Event(one);
        }
        await e.End();
    });

    /// <summary>A whole stream, byte by byte as it is on the wire, in pieces of the connection.</summary>
    public ModelServer ThenBytes(IEnumerable<byte[]> pieces, params string[] headers) => Then(async e =>
    {
        await e.Head(headers: headers);
        foreach (var piece in pieces)
        {
            await e.Send(piece);
        }
        await e.End();
    });

    /// <summary>A body of any kind, whole.</summary>
    public ModelServer ThenBody(int status, string type, string body, params string[] headers) => Then(async e =>
    {
        await e.Head(status, type, headers);
        await e.Send(body);
        await e.End();
    });

    /// <summary>A stream whose connection breaks after these.</summary>
    public ModelServer ThenCut(params string[] data) => Then(async e =>
    {
        await e.Head();
        foreach (var one in data)
        {
            await e.Event(one);
        }
        e.Cut();
    });

    /// <summary>Takes back the answers that nobody asked for.</summary>
    public void Forget() => answers.Clear();

    /// <summary>The next request that comes in, read whole.</summary>
    public async Task<Exchange> NextRequest()
    {
        using var deadline = new CancellationTokenSource(Patience.Limit);
        return await exchanges.Reader.ReadAsync(deadline.Token);
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        listener.Stop();
        await accepting;
        foreach (var exchange in Asked)
        {
            exchange.Cut();
        }
        stopping.Dispose();
    }

    async Task Accept()
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var client = await listener.AcceptTcpClientAsync(stopping.Token);
                _ = Serve(client);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException || (e is SocketException && stopping.IsCancellationRequested))
            {
                return;
            }
            catch (SocketException)
            {
                // That client hung up before it was let in; the next one may not.
            }
        }
    }

    async Task Serve(TcpClient client)
    {
        try
        {
            var exchange = await Exchange.Read(client, stopping.Token);
            Asked.Enqueue(exchange);
            var answer = answers.TryDequeue(out var next) ? next : Otherwise ?? (e => e.Refuse("The test put in no more answers."));
            exchanges.Writer.TryWrite(exchange);
            await answer(exchange);
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // The client went away, or the test is over.
            client.Close();
        }
    }

    /// <summary>One request and the way to answer it.</summary>
    public sealed class Exchange
    {
        readonly TcpClient client;
        readonly NetworkStream wire;
        readonly CancellationToken stopping;

        Exchange(TcpClient client, CancellationToken stopping)
        {
            this.client = client;
            this.stopping = stopping;
            wire = client.GetStream();
        }

        public string Target { get; private set; } = "";

        public Dictionary<string, string> Headers { get; } = new(StringComparer.OrdinalIgnoreCase);

        public JsonElement Body { get; private set; }

        public async Task Head(int status = 200, string type = "text/event-stream", params string[] headers)
        {
            var lines = string.Concat(headers.Select(h => $"{h}\r\n"));
            await Raw($"HTTP/1.1 {status.ToString(CultureInfo.InvariantCulture)} X\r\nContent-Type: {type}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n{lines}\r\n");
        }

        public Task Event(string data) => Send(data.StartsWith("event:", StringComparison.Ordinal) ? $"{data}\n\n" : $"data: {data}\n\n");

        /// <summary>Bytes of the body, as they are.</summary>
        public Task Send(string text) => Send(Encoding.UTF8.GetBytes(text));

        /// <summary>Bytes of the body; none are none, since an empty chunk would end it.</summary>
        public async Task Send(ReadOnlyMemory<byte> bytes)
        {
            if (bytes.IsEmpty)
            {
                return;
            }
            await Raw($"{bytes.Length:x}\r\n");
            await wire.WriteAsync(bytes, stopping);
            await Raw("\r\n");
        }

        public async Task End()
        {
            await Raw("0\r\n\r\n");
            client.Close();
        }

        public async Task Refuse(string why)
        {
            await Head(418, "application/json");
            await Send($$$"""{"error":{"message":"{{{why}}}"}}""");
            await End();
        }

        /// <summary>The connection is gone without a word.</summary>
        public void Cut() => client.Close();

        /// <summary>Returns when the client has hung up.</summary>
        public async Task Gone()
        {
            try
            {
                while (await wire.ReadAsync(new byte[1], stopping) > 0)
                {
                }
            }
            catch (IOException)
            {
                // It did not even say goodbye.
            }
        }

        internal static async Task<Exchange> Read(TcpClient client, CancellationToken stopping)
        {
            var exchange = new Exchange(client, stopping);
            var head = new StringBuilder();
            var one = new byte[1];
            while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
            {
                if (await exchange.wire.ReadAsync(one, stopping) == 0)
                {
                    throw new IOException("The request broke off.");
                }
                head.Append((char)one[0]);
            }
            var lines = head.ToString().Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
            exchange.Target = lines[0];
            foreach (var line in lines[1..])
            {
                var colon = line.IndexOf(':', StringComparison.Ordinal);
                exchange.Headers[line[..colon]] = line[(colon + 1)..].Trim();
            }
            var body = await exchange.ReadBody();
            exchange.Body = JsonElement.Parse(body);
            return exchange;
        }

        async Task<byte[]> ReadBody()
        {
            if (Headers.TryGetValue("Content-Length", out var length))
            {
                var body = new byte[int.Parse(length, CultureInfo.InvariantCulture)];
                await wire.ReadExactlyAsync(body, stopping);
                return body;
            }
            throw new IOException("The request has no length.");
        }

        async Task Raw(string text)
        {
            await wire.WriteAsync(Encoding.UTF8.GetBytes(text), stopping);
            await wire.FlushAsync(stopping);
        }
    }
}
