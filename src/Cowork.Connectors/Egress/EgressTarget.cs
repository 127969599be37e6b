using System.Globalization;
using System.Net;

namespace Cowork.Connectors;

/// <summary>An entry of <c>Cowork:Egress:Allow</c>: a target inside that connections may reach all the same.</summary>
public sealed record EgressTarget
{
    readonly string? name;
    readonly IPAddress? address;
    readonly IPNetwork? network;
    readonly int? port;

    EgressTarget(string? name, IPAddress? address, IPNetwork? network, int? port) => (this.name, this.address, this.network, this.port) = (name, address, network, port);

    /// <summary>Reads <c>host:port</c>, <c>192.0.2.5:443</c>, <c>[2001:db8::5]:443</c> or a network such as <c>10.1.0.0/16</c>, which is allowed on every port.</summary>
    /// <returns>Null: the text is none of these. A network of every address is none either: it would switch the fence off.</returns>
    public static EgressTarget? Parse(string text)
    {
        if (text.Contains('/', StringComparison.Ordinal))
        {
            // With more of an address than its length has, the text may mean the address or the network.
            return IPNetwork.TryParse(text, out var network) && network.PrefixLength > 0 && IPAddress.Parse(text[..text.IndexOf('/')]).Equals(network.BaseAddress)
                ? new(null, null, network, null)
                : null;
        }
        var colon = text.LastIndexOf(':');
        if (colon <= 0 || !int.TryParse(text[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port is 0 or > IPEndPoint.MaxPort)
        {
            return null;
        }
        var host = text[..colon];
        var isBracketed = host.StartsWith('[') && host.EndsWith(']');
        if (IPAddress.TryParse(isBracketed ? host[1..^1] : host, out var address))
        {
            return (address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6) == isBracketed ? new(null, EmbeddedAddress.Of(address), null, port) : null;
        }
        return Uri.CheckHostName(host) == UriHostNameType.Dns ? new(NormalName(host), null, null, port) : null;
    }

    /// <summary>The entry names exactly this target, not a network around it.</summary>
    /// <param name="host">As the connection names it.</param>
    /// <param name="resolved">The address that is connected to.</param>
    public bool Names(string host, IPAddress resolved, int onPort) =>
        port == onPort && (name is null ? EmbeddedAddress.Of(resolved).Equals(address) : name == NormalName(host));

    /// <summary>The entry as it is written.</summary>
    public override string ToString() => network is { } of ? of.ToString() : address is not null ? new IPEndPoint(address, port!.Value).ToString() : $"{name}:{port}";

    /// <summary>The entry is a network that the address lies in.</summary>
    public bool Surrounds(IPAddress resolved) => network is { } around && (around.Contains(resolved) || around.Contains(EmbeddedAddress.Of(resolved)));

    /// <summary>Names are compared without regard to case and to the dot that ends an absolute one.</summary>
    internal static string NormalName(string host) => host.TrimEnd('.').ToLowerInvariant();
}
