using System.Collections.Immutable;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>The addresses of a host's name; none when it has none.</summary>
/// <exception cref="SocketException">The name is unknown.</exception>
public delegate ValueTask<IPAddress[]> ResolveHost(string host, CancellationToken ct);

/// <summary>
/// Decides which addresses connections reach: those of the public internet, and what the administrator lists. An address of this machine, of an inner network or of the
/// host's own database is none of them. The decision is about the resolved address, and that address is connected to, so that neither the spelling of a host nor a name
/// that changes its address gets past it (docs/decisions/0054-the-fence-stands-where-connections-are-made.md).
/// </summary>
/// <param name="allow"><c>Cowork:Egress:Allow</c>.</param>
/// <param name="ownDatabase">Host names and ports of the host's own database. They are reached only when an entry names them: a network around them does not do.</param>
/// <param name="resolve">Null: the machine's resolver.</param>
/// <param name="ownAddresses">Addresses of this machine's interfaces; null: as the system tells them.</param>
public sealed class EgressFence(
    IReadOnlyList<EgressTarget> allow, IReadOnlyList<DnsEndPoint> ownDatabase, TimeProvider clock, ResolveHost? resolve = null, Func<IReadOnlyList<IPAddress>>? ownAddresses = null)
    : IEgress
{
    /// <summary>A name may have several addresses, of which the first does not answer.</summary>
    static readonly TimeSpan AddressMax = TimeSpan.FromSeconds(5);

    readonly ResolveHost resolve = resolve ?? (async (host, ct) => await Dns.GetHostAddressesAsync(host, ct));
    readonly Func<IReadOnlyList<IPAddress>> ownAddresses = ownAddresses ?? OfThisMachine;

    /// <inheritdoc/>
    public async ValueTask<EgressVerdict> Check(string host, int port, CancellationToken ct)
    {
        if (port is <= 0 or > IPEndPoint.MaxPort || await AddressesOf(host, ct) is not { Length: > 0 } addresses)
        {
            return Refused(host, port);
        }
        var own = await OwnDatabase(port, ct);
        var permitted = addresses.Where(address => Permits(host, address, port, own)).ToImmutableList();
        return permitted.IsEmpty ? Refused(host, port) : new(permitted, null);
    }

    /// <summary>Connects to a target over TCP.</summary>
    /// <exception cref="EgressException">The target may not be reached.</exception>
    /// <exception cref="SocketException">It does not answer.</exception>
    public async ValueTask<Stream> Connect(DnsEndPoint target, CancellationToken ct)
    {
        var verdict = await Check(target.Host, target.Port, ct);
        if (verdict.WhyNot is { } whyNot)
        {
            throw new EgressException(whyNot);
        }
        var addresses = verdict.Addresses;
        for (var i = 0; ; i++)
        {
            using var time = new CancellationTokenSource(AddressMax, clock);
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
            var socket = new Socket(addresses[i].AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(addresses[i], target.Port), linked.Token);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (Exception e)
            {
                socket.Dispose();
                var isOutOfTime = e is OperationCanceledException && !ct.IsCancellationRequested;
                if (!isOutOfTime && e is not SocketException)
                {
                    throw;
                }
                if (i + 1 < addresses.Count)
                {
                    continue;
                }
                if (isOutOfTime)
                {
                    throw new SocketException((int)SocketError.TimedOut);
                }
                throw;
            }
        }
    }

    /// <summary>
    /// Sends HTTP requests through the fence, each over <c>http</c> or <c>https</c>, without a proxy, cookies and the ids of our traces. It follows no redirect: whoever
    /// wants to follows it himself, with a new request.
    /// </summary>
    /// <param name="connect">The longest time until a connection is there, TLS included.</param>
    public HttpMessageHandler NewHandler(TimeSpan connect) => new FencedHandler(new()
    {
        // A proxy would connect in our place, to whatever it resolves the name to.
        UseProxy = false,
        AllowAutoRedirect = false,
        UseCookies = false,
        ActivityHeadersPropagator = null,
        AutomaticDecompression = DecompressionMethods.None,
        // Closes the connection of a response that is not read to its end.
        MaxResponseDrainSize = 0,
        PooledConnectionLifetime = TimeSpan.FromMinutes(2),
        ConnectTimeout = connect,
        ConnectCallback = (context, ct) => Connect(context.DnsEndPoint, ct),
    });

    /// <summary>
    /// One sentence for a name that is unknown and for one that is known and inside: what a client is told must not be a map of the network that the host stands in.
    /// </summary>
    static EgressVerdict Refused(string host, int port) => EgressVerdict.Refused(
        $"{host}:{port} is unknown, or lies where connections may not reach. The administrator can allow it (Cowork:Egress:Allow).");

    bool Permits(string host, IPAddress address, int port, HashSet<IPAddress> own)
    {
        if (allow.Any(target => target.Names(host, address, port)))
        {
            return true;
        }
        var plain = EmbeddedAddress.Of(address);
        return !own.Contains(plain) && !ownDatabase.Any(database => database.Port == port && EgressTarget.NormalName(database.Host) == EgressTarget.NormalName(host))
            && (allow.Any(target => target.Surrounds(address)) || (PublicAddress.Is(address) && !ownAddresses().Contains(plain)));
    }

    /// <summary>Null: the host has no address, or is no host.</summary>
    async ValueTask<IPAddress[]?> AddressesOf(string host, CancellationToken ct)
    {
        if (IPAddress.TryParse(host.StartsWith('[') && host.EndsWith(']') ? host[1..^1] : host, out var literal))
        {
            return [literal];
        }
        // The path of a unix socket and a list of hosts are no name.
        if (Uri.CheckHostName(host) != UriHostNameType.Dns)
        {
            return null;
        }
        try
        {
            return await resolve(host, ct);
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>The addresses at which the host's own database answers on a port.</summary>
    async ValueTask<HashSet<IPAddress>> OwnDatabase(int port, CancellationToken ct)
    {
        var own = new HashSet<IPAddress>();
        foreach (var database in ownDatabase.Where(database => database.Port == port))
        {
            own.UnionWith((await AddressesOf(database.Host, ct) ?? []).Select(EmbeddedAddress.Of));
        }
        return own;
    }

    static IReadOnlyList<IPAddress> OfThisMachine() =>
        [.. NetworkInterface.GetAllNetworkInterfaces().SelectMany(one => one.GetIPProperties().UnicastAddresses).Select(one => EmbeddedAddress.Of(one.Address))];
}
