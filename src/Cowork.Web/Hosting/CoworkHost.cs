using Cowork.Web.Http;

using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace Cowork.Web;

/// <summary>One host: listens, works, and stops with everything that it started.</summary>
public sealed class CoworkHost : IAsyncDisposable
{
    readonly WebApplication app;
    readonly DataDirectory data;
    readonly HostLifecycle lifecycle;

    CoworkHost(WebApplication app, DataDirectory data)
    {
        this.app = app;
        this.data = data;
        lifecycle = app.Services.GetRequiredService<HostLifecycle>();
    }

    public IServiceProvider Services => app.Services;

    /// <summary>For example <c>http://127.0.0.1:26866</c>: with the real port.</summary>
    public string Url => lifecycle.Url;

    /// <summary>Done when the database answers for the first time, or the host has given up.</summary>
    public Task FirstReady => lifecycle.FirstReady;

    /// <summary>Runs a host until it is told to stop (SIGTERM, Ctrl-C). Answers the process's exit code: 0, 1 when it cannot work, 2 when it was asked wrongly.</summary>
    public static async Task<int> Run(string[] args)
    {
        if (args is ["-h" or "--help", ..])
        {
            Console.WriteLine(HostSettings.Usage);
            return 0;
        }
        var builder = NewBuilder();
        var asksForReport = args is ["--report"];
        HostSettings settings;
        try
        {
            settings = HostSettings.Read(asksForReport ? [] : args, builder.Configuration);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 2;
        }
        if (asksForReport)
        {
            Console.WriteLine(HostReport.Of(settings));
            return 0;
        }
        try
        {
            await using var host = await Start(builder, settings);
            await host.app.WaitForShutdownAsync();
            return host.lifecycle.ExitCode;
        }
        catch (Exception e) when (e is DataDirectoryTakenException or UnauthorizedAccessException || (e is IOException && e.InnerException is not AddressInUseException))
        {
            Console.Error.WriteLine($"cowork: {e.Message}");
            return 1;
        }
        catch (IOException e) when (e.InnerException is AddressInUseException)
        {
            Console.Error.WriteLine($"cowork: port {settings.Port} on {settings.Bind} is taken by another program. Choose one with --port; 0 takes any that is free.");
            return 1;
        }
    }

    public static WebApplicationBuilder NewBuilder() =>
        WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });

    /// <summary>Returns when the host listens; the database may come later.</summary>
    /// <exception cref="DataDirectoryTakenException">Another host works on the data directory.</exception>
    /// <exception cref="IOException">The port is taken.</exception>
    public static async Task<CoworkHost> Start(WebApplicationBuilder builder, HostSettings settings)
    {
        var data = DataDirectory.Take(settings.Data);
        try
        {
            Composition.Compose(builder, settings, data);
            var app = builder.Build();
            Map(app);
            var host = new CoworkHost(app, data);
            await app.StartAsync();
            var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
            host.lifecycle.Url = address.Replace("[::]", "127.0.0.1", StringComparison.Ordinal).Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal);
            data.ListensAt(host.Url);
            host.lifecycle.Begin();
            return host;
        }
        catch
        {
            data.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync();
        await lifecycle.DisposeAsync();
        await app.DisposeAsync();
        data.Dispose();
    }

    static void Map(WebApplication app)
    {
        app.UseMiddleware<ProblemBoundary>();
        app.UseMiddleware<HeadAsGet>();
        app.UseMiddleware<OriginGuard>();
        app.UseRouting();
        app.UseMiddleware<RequestAuthorization>();
        app.Services.GetRequiredService<Dialects>().Map(app);
        app.MapOpenApi("/openapi.json").OpenToAll();
    }
}
