using Microsoft.AspNetCore.Http.Features;

namespace Cowork.Web.Http;

/// <summary>Endpoint metadata: the endpoint upgrades its connection to a WebSocket.</summary>
public sealed record TakesWebSocket;

/// <summary>The guard of the request's connection, once that was upgraded.</summary>
sealed class WebSocketGuard(FrameLimits limits, TimeProvider clock)
{
    /// <summary>
    /// Null: the connection was not upgraded. It ends with the request, so that the client can still be waited for when the framework has given its WebSocket up.
    /// </summary>
    public FrameGuard? Guard { get; private set; }

    public Stream Around(Stream connection) => Guard = new(connection, limits, clock);
}

/// <summary>
/// Puts a <see cref="FrameGuard"/> between a connection and the WebSocket that the framework makes of it, for HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441). It stands before
/// the framework's middleware for WebSockets.
/// </summary>
public sealed class WebSocketGuards(RequestDelegate next, HttpLimits limits, TimeProvider clock)
{
    public Task InvokeAsync(HttpContext http)
    {
        if (http.GetEndpoint()?.Metadata.GetMetadata<TakesWebSocket>() is not null)
        {
            var guard = new WebSocketGuard(limits.Frames, clock);
            http.Features.Set(guard);
            if (http.Features.Get<IHttpUpgradeFeature>() is { IsUpgradableRequest: true } upgrade)
            {
                http.Features.Set<IHttpUpgradeFeature>(new GuardedUpgrade(upgrade, guard));
            }
            if (http.Features.Get<IHttpExtendedConnectFeature>() is { IsExtendedConnect: true } connect)
            {
                http.Features.Set<IHttpExtendedConnectFeature>(new GuardedConnect(connect, guard));
            }
        }
        return next(http);
    }

    sealed class GuardedUpgrade(IHttpUpgradeFeature inner, WebSocketGuard guard) : IHttpUpgradeFeature
    {
        public bool IsUpgradableRequest => inner.IsUpgradableRequest;

        public async Task<Stream> UpgradeAsync() => guard.Around(await inner.UpgradeAsync());
    }

    sealed class GuardedConnect(IHttpExtendedConnectFeature inner, WebSocketGuard guard) : IHttpExtendedConnectFeature
    {
        public bool IsExtendedConnect => inner.IsExtendedConnect;

        public string? Protocol => inner.Protocol;

        public async ValueTask<Stream> AcceptAsync() => guard.Around(await inner.AcceptAsync());
    }
}
