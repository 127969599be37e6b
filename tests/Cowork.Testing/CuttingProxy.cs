using System.Net.Sockets;

namespace Cowork.Testing;

/// <summary>Stands between a client and PostgreSQL's socket, and breaks what passes through it.</summary>
public sealed class CuttingProxy : IAsyncDisposable
{
    readonly string target;
    readonly LoopbackListener listener;
    readonly List<(Socket Client, Socket Server)> pairs = [];
    bool deaf;

    /// <param name="target">PostgreSQL's unix socket.</param>
    public CuttingProxy(string target)
    {
        this.target = target;
        listener = new(Serve);
    }

    public int Port => listener.Port;

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
        await listener.DisposeAsync();
        Cut();
    }

    async Task Serve(Socket client)
    {
        try
        {
            var server = await LoopbackListener.Connect(target);
            lock (pairs)
            {
                pairs.Add((client, server));
            }
            _ = Copy(client, server, answers: false);
            _ = Copy(server, client, answers: true);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The server is away.
            client.Dispose();
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
