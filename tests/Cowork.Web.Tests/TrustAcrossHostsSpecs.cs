using Cowork.Application;
using Cowork.Domain;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Two hosts on one database believe the same, and nothing twice.</summary>
public sealed class TrustAcrossHostsSpecs
{
    static Task<LiveHost> Second(LiveHost first) => LiveHost.Start(async settings =>
    {
        Directory.CreateDirectory(settings.Data, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        MasterKeyFile.Write(MasterKeyFile.In(settings.Data), MasterKeyFile.Read(MasterKeyFile.In(first.Data)));
        return await Task.FromResult(settings with { Database = first.Database, TokenMode = true });
    });

    [Fact]
    public async Task What_one_host_has_accepted_another_refuses_and_what_one_has_revoked_none_believes()
    {
        var tenant = new TrustedTenant();
        await tenant.InitializeAsync();
        await using var second = await Second(tenant.Host);
        var body = $$"""{"group_id":"{{tenant.Group}}","org_id":"{{TrustedTenant.Org}}","user_id":"ann"}""";
        // The address is the first host's: a proxy in front of both would name one for both.
        string Address(HttpClient http) => new Uri(http.BaseAddress!, "/infra/groups").AbsoluteUri;
        var signed = tenant.App.Sign(tenant.Host.Http, "/infra/groups", body);
        (await tenant.Host.Http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).Is(201);
        (await tenant.App.Send(second.Http, "/infra/groups", body, r => r.Claims["jti"] = (string)signed.Claims["jti"]!)).IsProblem(401, "token_replayed");
        // A hundred at both at once: one of them.
        const string Jti = "both-at-once";
        var all = await Task.WhenAll(Enumerable.Range(0, 100).Select(i => tenant.App.Send(
            i % 2 == 0 ? tenant.Host.Http : second.Http, "/infra/groups", body, r => r.Claims["jti"] = Jti)));
        Assert.Single(all, got => (int)got.Status == 201);
        Assert.Equal(99, all.Count(got => got.Code == "token_replayed"));
        Assert.NotEqual(Address(tenant.Host.Http), Address(second.Http));

        // Certificates and routing tokens of one are believed by the other.
        var controller = RequestSigner.Controller(await tenant.Open(), "orchestrator");
        (await controller.Send(second.Http, "/infra/cleanup", $$"""{"group_id":"{{tenant.Group}}"}""")).Is(200);
        var token = (await tenant.Member.Post($"/groups/{tenant.Group}/token")).Is(200)["routing_token"];
        var group = GroupKey.FromId(tenant.Group);
        Assert.Equal("ann", (await second.Services.GetRequiredService<RoutingTokens>().Verify(token, group, default)).Grant?.User);

        using var agents = RequestSigner.Controller(await tenant.Open(), "agents");
        using var stream = await AgentStream.Open(
            second.Http, agents, "/agents/run-stream", """{"agent_id":"assistant","messages":[{"role":"user","content":"/tool write_file {\"path\":\"x.md\",\"content\":\"x\"}"}]}""");
        await stream.UntilStatus("approval_required");
        (await tenant.Admin.Send(HttpMethod.Delete, $"/infra/app-keys/{tenant.App.Kid}", null)).Is(204);
        Assert.DoesNotContain(await stream.UntilEnd(), result => result.GetProperty("type").GetString() == "final");
        (await tenant.App.Send(second.Http, "/infra/groups", body)).IsProblem(401, "token_invalid");
        await tenant.DisposeAsync();
    }

    [Fact]
    public async Task Keys_are_rotated_under_load_and_nobody_is_refused()
    {
        var tenant = new TrustedTenant();
        await tenant.InitializeAsync();
        await using var second = await Second(tenant.Host);
        HttpClient[] hosts = [tenant.Host.Http, second.Http];
        using var over = new CancellationTokenSource();
        var requests = 0;
        var load = Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
        {
            for (var i = 0; !over.IsCancellationRequested; i++)
            {
                // Opened at one, closed at the other.
                var body = $$"""{"group_id":"{{tenant.Group}}","org_id":"{{TrustedTenant.Org}}","user_id":"ann"}""";
                using var controller = RequestSigner.Controller((await tenant.App.Send(hosts[(worker + i) % 2], "/infra/groups", body)).Is(201), "orchestrator");
                (await controller.Send(hosts[(worker + i + 1) % 2], "/infra/cleanup", $$"""{"group_id":"{{tenant.Group}}"}""")).Is(200);
                Interlocked.Increment(ref requests);
            }
        })).ToList();
        var kids = new HashSet<string>();
        using var operators = tenant.Host.Client(tenant.Host.AdminToken);
        for (var rotation = 0; rotation < 3; rotation++)
        {
            var before = Volatile.Read(ref requests);
            kids.Add((await operators.Post("/infra/signing-keys", """{"purpose":"orchestrator"}""")).Is(201)["kid"]);
            await tenant.Host.Http.Until("/health/live", _ => Volatile.Read(ref requests) > before + 8 || load.Exists(one => one.IsFaulted));
        }
        await over.CancelAsync();
        await Task.WhenAll(load);
        Assert.Equal(3, kids.Count);
        var published = (await second.Http.Until("/infra/jwks.json", got => kids.All(kid => got.Text.Contains(kid, StringComparison.Ordinal)))).Text;
        Assert.Contains("\"purpose\":\"orchestrator\"", published, StringComparison.Ordinal);
        (await tenant.Admin.Post("/infra/signing-keys", """{"purpose":"orchestrator"}""")).IsProblem(403, "operator_only");
        (await operators.Post("/infra/signing-keys", """{"purpose":"nothing"}""")).IsProblem(422, "invalid_request");
        await tenant.DisposeAsync();
    }

    /// <summary>A proxy that ends TLS, has another name and takes a prefix away: the client signs what it asks for.</summary>
    [Fact]
    public async Task Behind_a_trusted_proxy_the_address_is_the_clients()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, TrustedProxies = [System.Net.IPNetwork.Parse("127.0.0.0/8")] });
        using var admin = host.Client(await host.Token("proxied", "admin", "member"));
        var group = (await admin.Post("/groups", """{"title":"t"}""")).Is(201)["group_id"];
        using var app = await RequestSigner.App(admin, "desk");
        var body = $$"""{"group_id":"{{group}}","org_id":"proxied","user_id":"ann"}""";
        (string, string)[] forwarded =
            [("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "cowork.example"), ("X-Forwarded-Prefix", "/api")];
        // Where what was made lies is told as the client asks for it.
        var made = (await admin.Send(HttpMethod.Post, "/groups", """{"title":"t"}""", [.. forwarded])).Is(201);
        Assert.Equal($"/api/groups/{made["group_id"]}", made.Headers.Location!.OriginalString);
        foreach (var (address, status) in ((string, int)[])
        [
            ("https://cowork.example/api/infra/groups", 201), ("https://cowork.example:443/api/infra/groups", 201), ("https://COWORK.example/api/infra/groups", 201),
            ("https://cowork.example/infra/groups", 401), ("http://cowork.example/api/infra/groups", 401), ("https://cowork.example:8443/api/infra/groups", 401),
            ($"{host.Url}/infra/groups", 401),
        ])
        {
            var got = await app.Send(host.Http, "/infra/groups", body, r =>
            {
                r.Claims["htu"] = address;
                r.More.AddRange(forwarded);
            });
            Assert.True((int)got.Status == status, $"{address}: {(int)got.Status} {got.Text}");
        }
    }
}
