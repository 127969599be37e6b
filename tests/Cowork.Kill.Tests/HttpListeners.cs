using System.Net;
using System.Net.Sockets;

namespace Cowork.Kill.Tests;

/// <summary>Services of specs, on free ports of this machine.</summary>
static class HttpListeners
{
    /// <summary>A listener that has started, and its port.</summary>
    public static (HttpListener Listener, int Port) Start()
    {
        // A port that was free a moment ago may be taken: the next one is tried.
        for (var tries = 0; ; tries++)
        {
            using var probe = new TcpListener(IPAddress.Loopback, 0);
            probe.Start();
            var port = ((IPEndPoint)probe.LocalEndpoint).Port;
            probe.Stop();
            var listener = new HttpListener { Prefixes = { $"http://127.0.0.1:{port}/" } };
            try
            {
                listener.Start();
                return (listener, port);
            }
            catch (HttpListenerException) when (tries < 10)
            {
                // Another one.
            }
        }
    }
}
