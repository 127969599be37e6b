using System.Net;
using System.Net.Sockets;

namespace Cowork.Testing;

/// <summary>Stands between a client and PostgreSQL's socket, and breaks what passes through it.</summary>
public sealed class CuttingProxy : IAsyncDisposable
{
    readonly string target;
    readonly Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    readonly List<(Socket Client, Socket Server)> pairs = [];
    readonly CancellationTokenSource stopping = new();
    readonly Task accepting;
    bool deaf;

    /// <param name="target">PostgreSQL's unix socket.</param>
    public CuttingProxy(string target)
    {
        this.target = target;
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        Port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        accepting = Accept();
    }

    public int Port { get; }

    /// <summary>The server's answers are swallowed: what is sent takes effect, and nobody hears of it.</summary>
    public bool IsDeaf
    {
        get => Volatile.Read(ref deaf);
        set => Volatile.Write(ref deaf, value);
    }

    /// <summary>Cuts every connection.</summary>
    public void Cut()
    {
        lock (pairs)
        {
            foreach (var (client, server) in pairs)
            {
                client.Dispose();
                server.Dispose();
            }
            pairs.Clear();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stopping.CancelAsync();
        listener.Dispose();
        Cut();
        await accepting;
        stopping.Dispose();
    }

    async Task Accept()
    {
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var client = await listener.AcceptAsync(stopping.Token);
                var server = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await server.ConnectAsync(new UnixDomainSocketEndPoint(target), stopping.Token);
                lock (pairs)
                {
                    pairs.Add((client, server));
                }
                _ = Copy(client, server, answers: false);
                _ = Copy(server, client, answers: true);
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                // The server is away, or the test is over.
            }
        }
    }

    async Task Copy(Socket from, Socket to, bool answers)
    {
        var buffer = new byte[16 * 1024];
        try
        {
            int read;
            while ((read = await from.ReceiveAsync(buffer)) > 0)
            {
                if (!answers || !IsDeaf)
                {
                    await to.SendAsync(buffer.AsMemory(0, read));
                }
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Cut.
        }
        from.Dispose();
        to.Dispose();
    }
}
