using System.Net;
using System.Net.Sockets;

namespace Cowork.Connectors;

/// <summary>IPv6 addresses that stand for an IPv4 address: what is sent to one arrives at the other.</summary>
static class EmbeddedAddress
{
    static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");
    static readonly IPNetwork SixToFour = IPNetwork.Parse("2002::/16");

    /// <summary>
    /// The IPv4 address behind an IPv4-mapped address (RFC 4291, 2.5.5.2), a NAT64 address with the well-known prefix (RFC 6052) or a 6to4 address (RFC 3056); else the
    /// address itself, without its zone.
    /// </summary>
    public static IPAddress Of(IPAddress address)
    {
        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return address;
        }
        var bytes = address.GetAddressBytes();
        return address.IsIPv4MappedToIPv6 || Nat64.Contains(new IPAddress(bytes)) ? new(bytes.AsSpan(12, 4))
            : SixToFour.Contains(new IPAddress(bytes)) ? new(bytes.AsSpan(2, 4))
            : new(bytes);
    }
}
