using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Text;

using Cowork.Web.Endpoints.Works;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>
/// Holds the port from the first moment: answers 503 <c>starting</c> (and 200 to <c>/health/live</c>) until the host is composed, which then accepts on the same
/// socket, so that no connection is refused in between. With a certificate it speaks TLS, and HTTP/1.1 there.
/// </summary>
sealed class StartingListener : IAsyncDisposable
{
    const int Backlog = 512;
    const int RequestBytesMax = 16 << 10;

    /// <summary>More connections than these wait in the socket's backlog, and find the host there or are answered later.</summary>
    const int ConnectionsMax = 64;

    /// <summary>Of <c>fcntl</c>: a second descriptor, which child processes do not inherit.</summary>
    const int DuplicateCloseOnExec = 1030;

    static readonly TimeSpan RequestDeadline = TimeSpan.FromSeconds(5);

    readonly Socket socket;
    readonly ServerCertificate? certificate;
    readonly TimeProvider clock;
    readonly CancellationTokenSource stopping = new();
    readonly SemaphoreSlim connections = new(ConnectionsMax, ConnectionsMax);
    readonly Task loop;
    int disposed;

    StartingListener(Socket socket, ServerCertificate? certificate, TimeProvider clock)
    {
        (this.socket, this.certificate, this.clock) = (socket, certificate, clock);
        loop = Accept();
    }

    public IPEndPoint EndPoint => (IPEndPoint)socket.LocalEndPoint!;

    /// <param name="certificate">Null: it speaks plain HTTP.</param>
    /// <exception cref="SocketException">The port is taken, or the address is not this machine's.</exception>
    public static StartingListener Start(IPAddress address, int port, ServerCertificate? certificate, TimeProvider clock)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }
            socket.Bind(new IPEndPoint(address, port));
            socket.Listen(Backlog);
            return new(socket, certificate, clock);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>The same listening socket under another descriptor, for the server that takes over. Whoever takes it closes it.</summary>
    public Socket HandOver()
    {
        var handle = Fcntl((int)socket.Handle, DuplicateCloseOnExec, 0);
        return handle >= 0
            ? new(new SafeSocketHandle(handle, ownsHandle: true))
            : throw new IOException($"The listening socket cannot be handed over: error {Marshal.GetLastPInvokeError()}.");
    }

    /// <summary>Accepts no more; what was accepted is answered. No-op when it is called again.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref disposed, 1) == 1)
        {
            return;
        }
        await stopping.CancelAsync();
        await loop;
        socket.Dispose();
        for (var i = 0; i < ConnectionsMax; i++)
        {
            await connections.WaitAsync();
        }
        connections.Dispose();
        stopping.Dispose();
    }

    async Task Accept()
    {
        await Task.Yield();
        try
        {
            while (true)
            {
                await connections.WaitAsync(stopping.Token);
                Socket client;
                try
                {
                    client = await socket.AcceptAsync(stopping.Token);
                }
                catch
                {
                    connections.Release();
                    throw;
                }
                _ = Serve(client);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The host takes over, or the process ends.
        }
    }

    async Task Serve(Socket client)
    {
        using var deadline = new CancellationTokenSource(RequestDeadline, clock);
        try
        {
            await using var stream = await Open(client, deadline.Token);
            var request = new byte[RequestBytesMax];
            var length = 0;
            while (length < request.Length && request.AsSpan(0, length).IndexOf("\r\n\r\n"u8) < 0)
            {
                var read = await stream.ReadAsync(request.AsMemory(length), deadline.Token);
                if (read == 0)
                {
                    break;
                }
                length += read;
            }
            await stream.WriteAsync(AnswerTo(request.AsSpan(0, length)), deadline.Token);
            if (stream is SslStream encrypted)
            {
                await encrypted.ShutdownAsync();
            }
            client.Shutdown(SocketShutdown.Send);
            // A connection that is closed over unread bytes is reset, and the client may lose the answer.
            while (await client.ReceiveAsync(request, deadline.Token) > 0)
            {
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or IOException or AuthenticationException)
        {
            // The client has gone, takes too long, or does not agree to the terms of TLS.
        }
        finally
        {
            client.Dispose();
            connections.Release();
        }
    }

    async Task<Stream> Open(Socket client, CancellationToken ct)
    {
        var plain = new NetworkStream(client, ownsSocket: false);
        if (certificate is null)
        {
            return plain;
        }
        var encrypted = new SslStream(plain);
        try
        {
            await encrypted.AuthenticateAsServerAsync(certificate.Options([SslApplicationProtocol.Http11]), ct);
            return encrypted;
        }
        catch
        {
            await encrypted.DisposeAsync();
            throw;
        }
    }

    /// <summary>What every request hears until the host is composed.</summary>
    public const string Starting = "The host is starting; the database does not answer yet.";

    static byte[] AnswerTo(ReadOnlySpan<byte> request)
    {
        var isLive = request.StartsWith("GET /health/live "u8) || request.StartsWith("GET /health/live?"u8);
        return isLive ? RawResponse.Of(200, "application/json", "", """{"status":"live"}"""u8)
            : WorksDialect.Owns(request)
            ? RawResponse.Of(503, "application/json", $"Retry-After: 1\r\n{WorksDialect.VersionHeader}: {WorksDialect.Version}\r\n", WorkError.Starting())
            : RawResponse.Of(503, "application/problem+json", "Retry-After: 1\r\n", Encoding.UTF8.GetBytes($$"""
                {"type":"urn:cowork:problem:starting","title":"Service Unavailable","status":503,"detail":"{{Starting}}",
                "code":"starting","trace_id":"{{System.Diagnostics.ActivityTraceId.CreateRandom()}}"}
                """));
    }

    [DllImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    static extern int Fcntl(int descriptor, int command, int argument);
}
