using System.Net;

using Cowork.Projections;

namespace Cowork.Web.Http;

/// <summary>Why a token does not let a request in.</summary>
public enum TokenFault
{
    /// <summary>It does.</summary>
    None,

    /// <summary>It is no token of ours, was revoked, or belongs to a tenant that is not here.</summary>
    Unknown,

    /// <summary>There is a token of that id, with another secret, or the secret is one that a rotation replaced.</summary>
    WrongSecret,

    /// <summary>Its time is over.</summary>
    Expired,

    /// <summary>It may not be used from this address.</summary>
    ForeignAddress,
}

/// <summary>What a token is worth at a time: asked when a request comes in, and again while it goes on.</summary>
/// <param name="Until">When it ends by itself; null: it does not.</param>
public readonly record struct Admission(TokenFault Fault, DateTimeOffset? Until)
{
    /// <param name="row">Null: there is no token of that id.</param>
    /// <param name="from">The address of the request; null: it has none.</param>
    public static Admission Of(TokenRow? row, BearerToken sent, IPAddress? from, DateTimeOffset now)
    {
        if (row is null)
        {
            return new(TokenFault.Unknown, null);
        }
        var until = row.ExpiresAt;
        if (!sent.Matches(row.SecretSha256))
        {
            if (row.PreviousSha256 is not { } previous || !sent.Matches(previous))
            {
                return new(TokenFault.WrongSecret, null);
            }
            until = row.PreviousUntil;
        }
        return until <= now ? new(TokenFault.Expired, until)
            : row.Addresses is { } networks && (from is null || !Networks.Contain(networks, from)) ? new(TokenFault.ForeignAddress, until)
            : new(TokenFault.None, until);
    }
}

/// <summary>Networks in CIDR notation, of IPv4 and IPv6; a single address is a network of one.</summary>
public static class Networks
{
    /// <summary>The network in its one form, without what an address has beyond its length; null: the text is none.</summary>
    public static string? Normal(string text) => Parse(text) is { } network ? network.ToString() : null;

    /// <param name="networks">In their normal form.</param>
    public static bool Contain(IReadOnlyList<string> networks, IPAddress address)
    {
        var plain = Plain(address);
        return networks.Any(network => IPNetwork.Parse(network).Contains(plain));
    }

    /// <summary>An IPv4 address also where a socket of both families shows it as one of IPv6.</summary>
    public static IPAddress Plain(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;

    /// <summary>What counts as one address: an IPv4 address, or the /64 of an IPv6 address, of which whoever has one has all.</summary>
    public static string Place(IPAddress? address)
    {
        if (address is null)
        {
            return "";
        }
        var plain = Plain(address);
        if (plain.AddressFamily != System.Net.Sockets.AddressFamily.InterNetworkV6)
        {
            return plain.ToString();
        }
        var bytes = plain.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes).ToString();
    }

    static IPNetwork? Parse(string text)
    {
        if (text.Contains('/', StringComparison.Ordinal))
        {
            return IPNetwork.TryParse(text, out var network) ? network : null;
        }
        // A short form such as 10.1 is an address to the parser, and a network to whoever writes it.
        return IPAddress.TryParse(text, out var address) && (text.Contains(':', StringComparison.Ordinal) || text.Count(c => c == '.') == 3)
            ? new(Plain(address), Plain(address).GetAddressBytes().Length * 8)
            : null;
    }
}
