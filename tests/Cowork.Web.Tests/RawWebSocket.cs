using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>A client of a WebSocket, over HTTP/1.1 or HTTP/2, that sends whatever bytes it likes.</summary>
sealed class RawWebSocket : IDisposable
{
    static readonly TimeSpan Deadline = Patience.Limit;

    readonly IDisposable client;
    readonly Stream stream;

    RawWebSocket(TcpClient client) => (this.client, stream) = (client, client.GetStream());

    RawWebSocket(HttpResponseMessage answer, Stream stream) => (client, this.stream) = (answer, stream);

    public const byte Text = 1;
    public const byte Binary = 2;
    public const byte Close = 8;
    public const byte Ping = 9;
    public const byte Pong = 10;

    /// <summary>Shakes hands, and fails unless the host agrees.</summary>
    public static async Task<RawWebSocket> Open(Uri address, int? receiveBuffer = null)
    {
        var (socket, answer) = await Ask(address, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", receiveBuffer);
        Assert.StartsWith("HTTP/1.1 101", answer, StringComparison.Ordinal);
        return socket;
    }

    /// <summary>The same over HTTP/2 (RFC 8441), on a connection of the client's.</summary>
    public static async Task<RawWebSocket> Open(HttpMessageInvoker over, Uri address)
    {
        var answer = await Connect(over, address);
        Assert.Equal((HttpStatusCode.OK, HttpVersion.Version20), (answer.StatusCode, answer.Version));
        return new(answer, await answer.Content.ReadAsStreamAsync());
    }

    /// <summary>Asks for a WebSocket over HTTP/2.</summary>
    /// <param name="protocol">What the connection is to become.</param>
    public static async Task<HttpResponseMessage> Connect(HttpMessageInvoker over, Uri address, string protocol = "websocket")
    {
        var request = new HttpRequestMessage(HttpMethod.Connect, new UriBuilder(address) { Scheme = "https" }.Uri)
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.Protocol = protocol;
        request.Headers.Add("sec-websocket-version", "13");
        using var deadline = new CancellationTokenSource(Deadline);
        return await over.SendAsync(request, deadline.Token);
    }

    /// <summary>Connects, and sends the beginning of a request.</summary>
    public static async Task<RawWebSocket> Begin(Uri address)
    {
        var client = new TcpClient();
        await client.ConnectAsync(address.Host, address.Port);
        var socket = new RawWebSocket(client);
        await socket.TrySend("GET "u8.ToArray());
        return socket;
    }

    /// <summary>Sends a request with these headers, and answers the head of what comes back.</summary>
    /// <param name="line">Method and version, around the address.</param>
    public static async Task<(RawWebSocket Socket, string Answer)> Ask(
        Uri address, string headers, int? receiveBuffer = null, (string Method, string Version)? line = null)
    {
        var client = new TcpClient();
        if (receiveBuffer is { } size)
        {
            client.ReceiveBufferSize = size;
        }
        await client.ConnectAsync(address.Host, address.Port);
        var socket = new RawWebSocket(client);
        var (method, version) = line ?? ("GET", "1.1");
        await socket.Send(Encoding.ASCII.GetBytes($"{method} {address.PathAndQuery} HTTP/{version}\r\nHost: {address.Authority}\r\n{headers}\r\n\r\n"));
        var head = new List<byte>();
        var one = new byte[1];
        while (head.Count < 4 || Encoding.ASCII.GetString([.. head[^4..]]) != "\r\n\r\n")
        {
            await socket.Read(one);
            head.Add(one[0]);
        }
        return (socket, Encoding.ASCII.GetString([.. head]));
    }

    /// <summary>A frame as a client sends it.</summary>
    /// <param name="length">What the header says; null: as long as the payload is.</param>
    public static byte[] Frame(byte opcode, ReadOnlySpan<byte> payload, bool isLast = true, bool isMasked = true, ulong? length = null)
    {
        var said = length ?? (ulong)payload.Length;
        var frame = new List<byte> { (byte)((isLast ? 0x80 : 0) | opcode) };
        var mask = (byte)(isMasked ? 0x80 : 0);
        Span<byte> extended = stackalloc byte[8];
        switch (said)
        {
            case < 126:
                frame.Add((byte)(mask | (byte)said));
                break;
            case < 65536:
                frame.Add((byte)(mask | 126));
                BinaryPrimitives.WriteUInt16BigEndian(extended, (ushort)said);
                frame.AddRange(extended[..2]);
                break;
            default:
                frame.Add((byte)(mask | 127));
                BinaryPrimitives.WriteUInt64BigEndian(extended, said);
                frame.AddRange(extended);
                break;
        }
        if (isMasked)
        {
            // A mask of zeros leaves the payload as it is.
            frame.AddRange(new byte[4]);
        }
        frame.AddRange(payload);
        return [.. frame];
    }

    public static byte[] Frame(byte opcode, string payload, bool isLast = true) => Frame(opcode, Encoding.UTF8.GetBytes(payload), isLast);

    /// <summary>Sends bytes until the host takes no more of them.</summary>
    public async Task<bool> TrySend(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            await Send(bytes);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    public async Task Send(ReadOnlyMemory<byte> bytes)
    {
        using var deadline = new CancellationTokenSource(Deadline);
        await stream.WriteAsync(bytes, deadline.Token);
        await stream.FlushAsync(deadline.Token);
    }

    /// <summary>The next frame; null: the host has gone.</summary>
    public async Task<(byte Opcode, byte[] Payload)?> Next()
    {
        try
        {
            var head = new byte[2];
            await Read(head);
            var length = (long)(head[1] & 0x7F);
            if (length >= 126)
            {
                var extended = new byte[length == 126 ? 2 : 8];
                await Read(extended);
                length = extended.Length == 2 ? BinaryPrimitives.ReadUInt16BigEndian(extended) : BinaryPrimitives.ReadInt64BigEndian(extended);
            }
            var payload = new byte[length];
            await Read(payload);
            return ((byte)(head[0] & 0x0F), payload);
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>The code with which the host ends the connection; null: it breaks it off.</summary>
    public async Task<int?> UntilClosed()
    {
        while (await Next() is { } frame)
        {
            if (frame.Opcode == Close)
            {
                return BinaryPrimitives.ReadUInt16BigEndian(frame.Payload);
            }
        }
        return null;
    }

    /// <summary>Sends frames until the host takes no more of them, and answers the code with which it ends the connection.</summary>
    public async Task<int?> UntilClosedAfter(IEnumerable<byte[]> frames)
    {
        foreach (var frame in frames)
        {
            if (!await TrySend(frame))
            {
                break;
            }
        }
        return await UntilClosed();
    }

    public void Dispose() => client.Dispose();

    async Task Read(byte[] buffer)
    {
        using var deadline = new CancellationTokenSource(Deadline);
        await stream.ReadExactlyAsync(buffer, deadline.Token);
    }
}
