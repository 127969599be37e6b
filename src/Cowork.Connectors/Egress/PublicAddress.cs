using System.Net;
using System.Net.Sockets;

namespace Cowork.Connectors;

/// <summary>Tells addresses of the public internet from those of inner networks and of no network.</summary>
public static class PublicAddress
{
    /// <summary>The blocks of IPv4 that are not globally reachable (IANA, IPv4 Special-Purpose Address Registry), multicast and the reserved block.</summary>
    static readonly IPNetwork[] Inner =
    [
        IPNetwork.Parse("0.0.0.0/8"), // this network; Linux connects 0.0.0.0 to itself
        IPNetwork.Parse("10.0.0.0/8"), // private
        IPNetwork.Parse("100.64.0.0/10"), // carrier-grade NAT
        IPNetwork.Parse("127.0.0.0/8"), // loopback
        IPNetwork.Parse("169.254.0.0/16"), // link-local, where clouds answer with credentials
        IPNetwork.Parse("172.16.0.0/12"), // private
        IPNetwork.Parse("192.0.0.0/24"), // protocol assignments
        IPNetwork.Parse("192.0.2.0/24"), // documentation
        IPNetwork.Parse("192.88.99.0/24"), // relays of 6to4
        IPNetwork.Parse("192.168.0.0/16"), // private
        IPNetwork.Parse("198.18.0.0/15"), // benchmarks
        IPNetwork.Parse("198.51.100.0/24"), // documentation
        IPNetwork.Parse("203.0.113.0/24"), // documentation
        IPNetwork.Parse("224.0.0.0/4"), // multicast
        IPNetwork.Parse("240.0.0.0/4"), // reserved, and broadcast
    ];

    /// <summary>All of IPv6 that is global unicast (RFC 4291, 2.4). Loopback, fc00::/7, fe80::/10, ff00::/8 and everything that is not assigned lie outside.</summary>
    static readonly IPNetwork GlobalUnicast = IPNetwork.Parse("2000::/3");

    /// <summary>The blocks within it that are not globally reachable (IANA, IPv6 Special-Purpose Address Registry).</summary>
    static readonly IPNetwork[] InnerUnicast =
    [
        IPNetwork.Parse("2001::/23"), // protocol assignments, Teredo among them, which hides an IPv4 address
        IPNetwork.Parse("2001:db8::/32"), // documentation
        IPNetwork.Parse("3fff::/20"), // documentation
    ];

    /// <summary>True: the address, and the IPv4 address that it may stand for, belong to the public internet.</summary>
    public static bool Is(IPAddress address)
    {
        var plain = EmbeddedAddress.Of(address);
        return plain.AddressFamily == AddressFamily.InterNetwork
            ? !Array.Exists(Inner, block => block.Contains(plain))
            : GlobalUnicast.Contains(plain) && !Array.Exists(InnerUnicast, block => block.Contains(plain));
    }
}
