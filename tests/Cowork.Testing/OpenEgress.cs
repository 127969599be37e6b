using System.Net;

using Cowork.Application;

namespace Cowork.Testing;

/// <summary>Lets everything through, for specs of what is behind the fence.</summary>
public sealed class OpenEgress : IEgress
{
    public async ValueTask<EgressVerdict> Check(string host, int port, CancellationToken ct) => new([.. await Dns.GetHostAddressesAsync(host, ct)], null);
}
