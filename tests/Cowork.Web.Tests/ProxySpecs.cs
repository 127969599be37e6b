using System.Net;
using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>A host that names loopback as its proxy, beside one that names another network.</summary>
public sealed class ProxiedHosts : IAsyncLifetime
{
    public LiveHost Trusting { get; private set; } = null!;

    public LiveHost Other { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        var one = LiveHost.Start(settings => settings with { TokenMode = true, TrustedProxies = [IPNetwork.Parse("127.0.0.0/8")], SecurityFold = TimeSpan.FromMilliseconds(500) });
        Other = await LiveHost.Start(settings => settings with { TokenMode = true, TrustedProxies = [IPNetwork.Parse("10.0.0.0/8")], SecurityFold = TimeSpan.FromMilliseconds(500) });
        Trusting = await one;
    }

    public async ValueTask DisposeAsync()
    {
        await Trusting.DisposeAsync();
        await Other.DisposeAsync();
    }
}

/// <summary>What a proxy says of the client is so when the proxy is named, and not heard from anybody else.</summary>
public sealed class ProxySpecs(ProxiedHosts hosts) : IClassFixture<ProxiedHosts>
{
    [Theory]
    //          X-Forwarded-For                          opens
    [InlineData("203.0.113.7", 200)]
    [InlineData("198.51.100.1, 203.0.113.7", 200)]              // what the client itself wrote stands before what the proxy saw
    [InlineData("203.0.113.7, 127.0.0.9", 200)]                 // two proxies, both named
    [InlineData("203.0.113.7:4711", 200)]
    [InlineData("203.0.113.7, 198.51.100.1", 401)]              // a hop that is not trusted is the client
    [InlineData("198.51.100.1", 401)]
    [InlineData("unknown", 401)]
    [InlineData("203.0.113.7, nonsense", 401)]
    [InlineData(null, 401)]
    public async Task A_token_for_a_network_is_worth_something_when_the_named_proxy_says_so(string? forwarded, int status)
    {
        var headers = forwarded is null ? [] : ((string, string)[])[("X-Forwarded-For", forwarded)];
        using var client = hosts.Trusting.Client(await Bound(hosts.Trusting));
        Assert.Equal(status, (int)(await client.Get("/sessions", headers)).Status);
        using var other = hosts.Other.Client(await Bound(hosts.Other));
        Assert.Equal(401, (int)(await other.Get("/sessions", headers)).Status);
    }

    [Fact]
    public async Task Security_events_have_the_clients_address()
    {
        foreach (var (host, expected) in ((LiveHost, string)[])[(hosts.Trusting, "2001:db8::7"), (hosts.Other, "127.0.0.1")])
        {
            using var member = host.Client(await host.Token("seen", "member"));
            (await member.Get("/sessions", ("X-Forwarded-For", "2001:db8::7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "cowork.example"))).Is(200);
            using var auditor = host.Client(await host.Token("seen", "auditor"));
            await auditor.Until("/events?limit=1000", got => got.Json.GetProperty("events").EnumerateArray()
                .Any(e => e.GetProperty("type").GetString() == "access_granted" && e.GetProperty("payload").GetProperty("address").GetString() == expected
                    && e.GetProperty("payload").GetProperty("roles").GetRawText() == """["member"]"""));
        }
    }

    /// <summary>The framework's own switch would believe everybody, and take the header away before local mode sees it.</summary>
    [Fact]
    public async Task Local_mode_refuses_what_came_through_a_proxy_whatever_the_framework_is_told()
    {
        const string Switch = "ASPNETCORE_FORWARDEDHEADERS_ENABLED";
        // Other hosts of this process that begin meanwhile do not heed it either.
        Environment.SetEnvironmentVariable(Switch, "true");
        try
        {
            await using var host = await LiveHost.Start();
            (await host.Http.Get("/sessions", ("X-Forwarded-For", "203.0.113.7"))).IsProblem(403, "forwarded");
            (await host.Http.Get("/sessions")).Is(200);
        }
        finally
        {
            Environment.SetEnvironmentVariable(Switch, null);
        }
    }

    static async Task<string> Bound(LiveHost host)
    {
        using var admin = host.Client(host.AdminToken);
        var asked = JsonSerializer.Serialize(new { name = "bound", user = "ann", org_id = "proxied", addresses = (string[])["203.0.113.0/24"] });
        return (await admin.Post("/tokens", asked)).Is(201)["token"];
    }
}
