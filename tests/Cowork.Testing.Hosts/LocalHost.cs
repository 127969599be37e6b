namespace Cowork.Testing.Hosts;

/// <summary>A host in local mode for all specs of a class.</summary>
public sealed class LocalHost : IAsyncLifetime
{
    public LiveHost Host { get; private set; } = null!;

    public HttpClient Http => Host.Http;

    public async ValueTask InitializeAsync() => Host = await LiveHost.Start();

    public ValueTask DisposeAsync() => Host.DisposeAsync();
}
