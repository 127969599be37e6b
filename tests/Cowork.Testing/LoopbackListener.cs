using System.Net;
using System.Net.Sockets;

namespace Cowork.Testing;

/// <summary>Accepts connections on a free port of this machine, for what stands between a client and a server.</summary>
public sealed class LoopbackListener : IAsyncDisposable
{
    readonly Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    readonly Task accepting;

    /// <param name="serve">Called with each connection, which it disposes of.</param>
    public LoopbackListener(Func<Socket, Task> serve)
    {
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        Port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        accepting = Accept(serve);
    }

    public int Port { get; }

    /// <summary>A connection to PostgreSQL's unix socket.</summary>
    public static async Task<Socket> Connect(string socket)
    {
        var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await connection.ConnectAsync(new UnixDomainSocketEndPoint(socket));
        return connection;
    }

    public async ValueTask DisposeAsync()
    {
        listener.Dispose();
        await accepting;
    }

    async Task Accept(Func<Socket, Task> serve)
    {
        try
        {
            while (true)
            {
                _ = serve(await listener.AcceptAsync());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It ends.
        }
    }
}
