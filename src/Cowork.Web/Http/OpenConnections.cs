using System.Net;

using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Cowork.Web.Http;

/// <summary>
/// The connections that are open, counted whole and by address. One too many from an address is closed before anything is read or negotiated on it, and so is one on
/// which no request begins in time. A trusted proxy may have as many as it needs: its connections are its clients'. The server itself closes those past the number of the
/// whole host, and does not count those that have become WebSockets; here they count.
/// </summary>
public sealed class OpenConnections(HttpLimits limits, IReadOnlyList<IPNetwork> proxies, int max, TimeProvider clock)
{
    readonly Lock gate = new();
    readonly Dictionary<string, int> ofAddress = [];
    long refused;

    /// <summary>Connections that are open.</summary>
    public int Count { get; private set; }

    /// <summary>The most that may be open.</summary>
    public int Max => max;

    /// <summary>Connections that were closed since the host's start because their address or the host had too many, or because nothing came on them.</summary>
    public long Refused => Volatile.Read(ref refused);

    public void Use(ListenOptions endpoint) => endpoint.Use(next => connection => Serve(next, connection));

    async Task Serve(ConnectionDelegate next, ConnectionContext connection)
    {
        var from = (connection.RemoteEndPoint as IPEndPoint)?.Address;
        var address = Networks.Place(from);
        if (!Enter(address, from is not null && proxies.Any(network => network.Contains(Networks.Plain(from))) ? int.MaxValue : limits.ConnectionsPerAddress))
        {
            Interlocked.Increment(ref refused);
            connection.Abort();
            return;
        }
        try
        {
            if (await HasBegun(connection))
            {
                await next(connection);
            }
            else
            {
                Interlocked.Increment(ref refused);
                connection.Abort();
            }
        }
        finally
        {
            Leave(address);
        }
    }

    /// <summary>Waits for the first byte, and leaves it to whoever reads next.</summary>
    async Task<bool> HasBegun(ConnectionContext connection)
    {
        using var late = new CancellationTokenSource(limits.RequestTimeout, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, connection.ConnectionClosed);
        try
        {
            var first = await connection.Transport.Input.ReadAsync(either.Token);
            connection.Transport.Input.AdvanceTo(first.Buffer.Start);
            return !first.IsCanceled;
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            return false;
        }
    }

    bool Enter(string address, int most)
    {
        lock (gate)
        {
            var has = ofAddress.GetValueOrDefault(address);
            if (has >= most || Count >= max)
            {
                return false;
            }
            ofAddress[address] = has + 1;
            Count++;
            return true;
        }
    }

    void Leave(string address)
    {
        lock (gate)
        {
            Count--;
            if (--ofAddress[address] == 0)
            {
                ofAddress.Remove(address);
            }
        }
    }
}
