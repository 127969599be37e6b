using Cowork.Web.Http;

using Microsoft.AspNetCore.HttpOverrides;

using IPNetwork = System.Net.IPNetwork;

namespace Cowork.Web;

/// <summary>The proxies in front of the host: what they say of the client in <c>X-Forwarded-For</c>, <c>-Proto</c>, <c>-Host</c> and <c>-Prefix</c> is so; what others
/// say is not heard.</summary>
static class TrustedProxies
{
    /// <exception cref="ArgumentException">An entry is no address or network, or is one that everybody is in.</exception>
    public static IReadOnlyList<IPNetwork> Read(IConfigurationSection proxies) => [.. proxies.GetChildren().Where(entry => entry.Value is not null).Select(entry =>
        Networks.Normal(entry.Value!.Trim()) is not { } network
            ? throw proxies.InvalidValue(entry.Key, "an address or a network such as 10.0.0.0/8 or 2001:db8::/32")
            : IPNetwork.Parse(network) is { PrefixLength: > 0 } named ? named
            : throw proxies.InvalidValue(entry.Key, "the network of your proxies; this one has every address in it, so that every client could say where it comes from"))];

    /// <summary>A chain of proxies is followed from the nearest on as far as each is trusted: the client is the first address that is not.</summary>
    public static ForwardedHeadersOptions Options(IReadOnlyList<IPNetwork> proxies)
    {
        var options = new ForwardedHeadersOptions
        {
            ForwardedHeaders = ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto | ForwardedHeaders.XForwardedHost | ForwardedHeaders.XForwardedPrefix,
            ForwardLimit = null,
        };
        // The framework trusts loopback; here only what is named is trusted.
        options.KnownProxies.Clear();
        options.KnownIPNetworks.Clear();
        foreach (var network in proxies)
        {
            options.KnownIPNetworks.Add(network);
        }
        return options;
    }
}
