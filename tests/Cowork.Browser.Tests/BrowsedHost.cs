using System.Collections.Immutable;

using Cowork.Connectors;

namespace Cowork.Browser.Tests;

/// <summary>
/// The one host of the project: local mode, which lets the pages of <see cref="Pages"/> call it (<c>Cowork:Cors:Origins</c>). It starts when the first spec asks for it.
/// </summary>
public sealed class BrowsedHost : IAsyncDisposable
{
    /// <summary>Where users of a source would agree: the host is registered there. Nobody goes there.</summary>
    public const string Consent = "https://github.example/authorize";

    readonly Lazy<Task<LiveHost>> host;

    public BrowsedHost() => host = new(() => LiveHost.Start(settings => settings with
    {
        CorsOrigins = [Pages.Site, Pages.Tools],
        // Who works on the console needs no build to try its specs.
        ConsoleFiles = Environment.GetEnvironmentVariable("COWORK_CONSOLE_FILES"),
        OAuth = new(ImmutableDictionary<string, OAuthProvider>.Empty.Add(
            "github", new("cowork", null, new(Consent), new("https://github.example/token"), null, "https://github.example/api", ["repo"]))),
        // Bundles with a signed head are waited for.
        Heads = settings.Heads with { Every = TimeSpan.FromSeconds(1) },
    }));

    public PageServer Pages { get; } = new();

    public Task<LiveHost> Started => host.Value;

    public async ValueTask DisposeAsync()
    {
        if (host.IsValueCreated)
        {
            var started = await host.Value;
            await started.DisposeAsync();
            await Ledger.CheckLog(started.Database);
        }
        await Pages.DisposeAsync();
    }
}
