using System.Net;

namespace Cowork.Connectors;

/// <summary>Refuses what is no request over TCP to a web server before anything is sent.</summary>
sealed class FencedHandler(SocketsHttpHandler inner) : DelegatingHandler(inner)
{
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (request.RequestUri is not { IsAbsoluteUri: true, Scheme: "http" or "https" } target)
        {
            throw new EgressException("Only addresses that begin with http:// or https:// are reached.");
        }
        // HTTP/3 would connect over UDP and ask nobody.
        if (request.Version > HttpVersion.Version20)
        {
            request.Version = HttpVersion.Version20;
        }
        request.VersionPolicy = HttpVersionPolicy.RequestVersionOrLower;
        return base.SendAsync(request, cancellationToken);
    }
}
