using System.Text.Json;

namespace Cowork.Testing.Hosts;

/// <summary>
/// The one host of a project of specs: local mode, the usual settings, a database of its own. It starts when the first class asks for it. When all specs
/// are done, <see cref="Ledger"/> checks its database.
/// </summary>
public sealed class SharedHost : IAsyncDisposable
{
    readonly Lazy<Task<LiveHost>> host = new(() => LiveHost.Start());

    public Task<LiveHost> Started => host.Value;

    public async ValueTask DisposeAsync()
    {
        if (host.IsValueCreated)
        {
            var started = await host.Value;
            await started.DisposeAsync();
            await Ledger.CheckLog(started.Database);
        }
    }
}

/// <summary>A tenant of the shared host for the specs of one class, which run one after the other. What other classes do is not seen in it.</summary>
public sealed class TestTenant(SharedHost shared) : IAsyncLifetime
{
    static int _tenants;

    /// <summary>Names the class, for whoever reads the database.</summary>
    public string Org { get; } = $"{TestContext.Current.TestClass?.TestClassSimpleName.ToLowerInvariant()}-{Interlocked.Increment(ref _tenants)}";

    public LiveHost Host { get; private set; } = null!;

    /// <summary>Calls as the tenant's user <c>local</c>, who has every role.</summary>
    public HttpClient Http { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Host = await shared.Started;
        using var admin = Host.Client(Host.AdminToken);
        var roles = (string[])["admin", "approver", "auditor", "member"];
        var issued = await admin.Post("/tokens", JsonSerializer.Serialize(new { name = "spec", user = "local", roles, org_id = Org }));
        Http = Host.Client(issued.Is(201)["token"]);
    }

    /// <summary>Calls as another user of the tenant, <c>ann</c>, with these roles.</summary>
    public async Task<HttpClient> Client(params string[] roles) => Host.Client(await Host.Token(Org, roles));

    /// <summary>Calls as the user <c>ann</c> of a tenant that nobody else has, with these roles.</summary>
    public async Task<HttpClient> Stranger(params string[] roles) => Host.Client(await Host.Token($"{Org}-stranger-{Interlocked.Increment(ref _tenants)}", roles));

    /// <summary>The folder that a session has when none was asked for.</summary>
    public string WorkspaceOf(string session) => Path.Combine(Host.Data, "workspaces", $"@{Org}", session);

    /// <summary>A new tenant of the same host.</summary>
    public async Task<TestTenant> Another()
    {
        var another = new TestTenant(shared);
        await another.InitializeAsync();
        return another;
    }

    public ValueTask DisposeAsync()
    {
        Http.Dispose();
        return default;
    }
}
