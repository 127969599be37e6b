using System.Text.Json;

namespace Cowork.Web.Tests;

/// <summary>A host of its own settings: tokens are asked for, decisions need a second person, and pages of another origin are let in.</summary>
public sealed class TokenHost : IAsyncLifetime
{
    public LiveHost Host { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Host = await LiveHost.Start(settings => settings with
    {
        TokenMode = true,
        Approvals = new() { FourEyes = true },
        CorsOrigins = ["https://app.example"],
    });

    public ValueTask DisposeAsync() => Host.DisposeAsync();
}

/// <summary>Token mode: who may do what, and that tenants never see each other.</summary>
public sealed class AccessSpecs(TokenHost tokens) : IClassFixture<TokenHost>
{
    readonly LiveHost host = tokens.Host;

    [Theory]
    [InlineData(null)]
    [InlineData("Bearer")]
    [InlineData("Bearer ")]
    [InlineData("Bearer nonsense")]
    [InlineData("Bearer cowork_ZGVmYXVsdA.01m80bw0ypq47sgbgw2mmtjfwf.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    [InlineData("Bearer cowork_..")]
    [InlineData("Bearer cowork_!!.x.y")]
    [InlineData("Basic YWRtaW46YWRtaW4=")]
    public async Task Without_a_token_of_ours_there_is_401_with_a_challenge(string? authorization)
    {
        foreach (var path in (string[])["/sessions", "/sessions/x", "/runs/x", "/events", "/events/stream", "/tokens", "/tools"])
        {
            var refused = await host.Http.Get(path, authorization is null ? [] : [("Authorization", authorization)]);
            refused.IsProblem(401, "unauthorized");
            Assert.Equal("Bearer", refused.Headers.WwwAuthenticate.Single().Scheme);
        }
        foreach (var open in (string[])["/health/live", "/health/ready", "/openapi.json"])
        {
            (await host.Http.Get(open)).Is(200);
        }
    }

    [Fact]
    public async Task A_secret_with_one_letter_changed_opens_nothing()
    {
        var token = host.AdminToken;
        (await host.Client(token).Get("/sessions")).Is(200);
        (await host.Client(token[..^2] + (token[^2] == 'A' ? "B" : "A") + token[^1]).Get("/sessions")).IsProblem(401);
    }

    [Theory]
    //          role        read turn feed list-tokens issue
    [InlineData("admin", 200, 200, 200, 200, 201)]
    [InlineData("member", 200, 200, 403, 403, 403)]
    [InlineData("approver", 200, 403, 403, 403, 403)]
    [InlineData("auditor", 200, 403, 200, 200, 403)]
    public async Task Roles_open_what_they_should(string role, int read, int turn, int feed, int list, int issue)
    {
        using var admin = host.Client(await host.Token("roles", "admin"));
        await admin.Post("/sessions", """{"session_id":"shared"}""");
        using var client = host.Client(await host.Token("roles", role));
        void Is(int status, Got got) => _ = status == 403 ? got.IsProblem(403, "role_missing") : got.Is(status);
        Is(read, await client.Get("/sessions/shared"));
        Is(turn, await client.Turn("shared", "/say ok"));
        Is(feed, await client.Get("/events"));
        Is(list, await client.Get("/tokens"));
        Is(issue, await client.Post("/tokens", """{"name":"more"}"""));
    }

    [Fact]
    public async Task A_revoked_token_is_worth_nothing_from_then_on()
    {
        var token = await host.Token("revoked", "admin");
        using var client = host.Client(token);
        var id = (await client.Get("/tokens")).Is(200).Json.GetProperty("tokens")[0].GetProperty("token_id").GetString();
        Assert.Equal(id, (await client.Get($"/tokens/{id}")).Is(200)["token_id"]);
        (await client.Delete($"/tokens/{id}")).Is(204);
        (await client.Get("/sessions")).IsProblem(401);
    }

    [Fact]
    public async Task No_answer_holds_a_secret_or_its_hash()
    {
        using var operatorClient = host.Client(host.AdminToken);
        var issued = (await operatorClient.Post("/tokens", """{"name":"n","user":"bob","roles":["member"]}""")).Is(201);
        var (token, id) = (issued["token"], issued["token_id"]);
        Assert.Equal($"/tokens/{id}", issued.Headers.Location!.ToString());
        var hash = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.ASCII.GetBytes(token.Split('.')[2])));
        foreach (var path in (string[])["/tokens", $"/tokens/{id}", "/events?limit=1000"])
        {
            var text = (await operatorClient.Get(path)).Is(200).Text;
            Assert.DoesNotContain(token.Split('.')[2], text);
            Assert.DoesNotContain(hash, text);
        }
        using var bob = host.Client(token);
        Assert.Equal("user:bob", (await operatorClient.Get($"/sessions/{await bob.NewSession()}"))["created_by"]);
    }

    [Fact]
    public async Task Only_the_operator_issues_tokens_for_other_tenants()
    {
        using var admin = host.Client(await host.Token("one", "admin"));
        (await admin.Post("/tokens", """{"name":"x","org_id":"two"}""")).IsProblem(403, "foreign_org");
        using var ordinary = host.Client(await host.Token("default", "admin"));
        (await ordinary.Post("/tokens", """{"name":"x","org_id":"two"}""")).IsProblem(403, "foreign_org");
        (await admin.Post("/tokens", """{"name":"x","org_id":"one"}""")).Is(201);
    }

    [Fact]
    public async Task Deciding_needs_the_role_and_with_four_eyes_another_person_and_is_the_tenants_own()
    {
        const string Message = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";
        using var ann = host.Client(await host.Token("deciding", "member", "approver"));
        using var viewer = host.Client(await host.Token("deciding", "member"));
        using var other = host.Client(await host.Token("not-deciding", "approver"));
        using var admin = host.Client(host.AdminToken);
        var bobs = await admin.Send(HttpMethod.Post, "/tokens", JsonSerializer.Serialize(new { name = "b", user = "bob", roles = (string[])["approver"], org_id = "deciding" }));
        using var bob = host.Client(bobs.Is(201)["token"]);
        var turn = (await ann.Turn(await ann.NewSession(), Message)).Is(200);
        var path = $"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}";
        const string Yes = """{"approved":true}""";
        (await viewer.Post($"{path}/decision", Yes)).IsProblem(403, "role_missing");
        (await other.Get(path)).IsProblem(404);
        (await other.Post($"{path}/decision", Yes)).IsProblem(404);
        Assert.Empty((await other.Get("/approvals?status=all")).Is(200).Json.GetProperty("approvals").EnumerateArray());
        (await ann.Post($"{path}/decision", Yes)).IsProblem(403, "four_eyes");
        Assert.Equal("user:bob", (await bob.Post($"{path}/decision", Yes)).Is(200)["decided_by"]);
        await ann.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
    }

    [Fact]
    public async Task Tenants_never_see_each_other()
    {
        using var theirs = host.Client(await host.Token("them", "admin", "member"));
        using var ours = host.Client(await host.Token("us", "admin", "member"));
        var probe = await TenantProbe.Fill(theirs);
        foreach (var roles in (string[][])[["admin"], ["approver"], ["auditor"], ["member"], ["admin", "approver", "auditor", "member"]])
        {
            using var looking = host.Client(await host.Token("us", roles));
            var (seen, probed) = await probe.Look(looking);
            Assert.Empty(seen);
            Assert.True(probed >= 60, $"{probed} routes");
        }
        // The same id is free in another tenant, and is another session in another folder.
        var same = (await ours.Post("/sessions", """{"session_id":"private"}""")).Is(201);
        Assert.NotEqual((await theirs.Get("/sessions/private"))["workspace_path"], same["workspace_path"]);
        (await ours.Post("/sessions", $$"""{"workspace_path":"{{(await theirs.Get("/sessions/private"))["workspace_path"]}}"}""")).IsProblem(422, "workspace_refused");
        Assert.Equal("completed", (await theirs.Get($"/runs/{probe.Run}")).Is(200)["status"]);
    }

    [Fact]
    public async Task A_listed_origin_gets_cors_and_another_none()
    {
        using var preflight = new HttpRequestMessage(HttpMethod.Options, "/sessions");
        preflight.Headers.Add("Origin", "https://app.example");
        preflight.Headers.Add("Access-Control-Request-Method", "POST");
        // Of us, of a library and of a tracer.
        const string Asked = "authorization,content-type,idempotency-key,if-match,cache-control,x-requested-with,x-stainless-lang,baggage,sentry-trace";
        preflight.Headers.Add("Access-Control-Request-Headers", Asked);
        using var allowed = await host.Http.SendAsync(preflight);
        Assert.Equal(204, (int)allowed.StatusCode);
        Assert.Equal("https://app.example", allowed.Headers.GetValues("Access-Control-Allow-Origin").Single());
        Assert.Equal(Asked, allowed.Headers.GetValues("Access-Control-Allow-Headers").Single());
        var refused = await host.Http.Get("/sessions", ("Origin", "https://app.example"));
        Assert.Equal("https://app.example", refused.IsProblem(401).Headers.GetValues("Access-Control-Allow-Origin").Single());
        Assert.False((await host.Http.Get("/health/live", ("Origin", "https://evil.example"))).Headers.Contains("Access-Control-Allow-Origin"));
    }
}

/// <summary>Local mode: the local user needs no token, and other people's web pages get nowhere.</summary>
public sealed class LocalModeSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    /// <summary>Without a token: the local user of the default tenant.</summary>
    readonly HttpClient http = tenant.Host.Http;

    [Theory]
    [InlineData("localhost", 200)]
    [InlineData("localhost:1", 200)]
    [InlineData("127.0.0.1:26866", 200)]
    [InlineData("127.8.8.8", 200)]
    [InlineData("[::1]:80", 200)]
    [InlineData("evil.example", 403)]
    [InlineData("evil.example:26866", 403)]
    [InlineData("localhost.evil.org", 403)]
    [InlineData("127.0.0.1.nip.io", 403)]
    [InlineData("192.168.0.1", 403)]
    public async Task A_foreign_host_is_refused(string name, int status)
    {
        var got = await http.Get("/sessions", ("Host", name));
        _ = status == 403 ? got.IsProblem(403, "foreign_host") : got.Is(status);
    }

    /// <summary>Without names, token mode answers under any: a page under a name that was bound to the host has no credential.</summary>
    [Fact]
    public async Task In_token_mode_names_count_where_some_are_listed()
    {
        await using var named = await LiveHost.Start(settings => settings with { TokenMode = true, AllowedHosts = ["cowork.example"] });
        using var ann = named.Client(await named.Token("named", "member"));
        foreach (var name in (string[])["cowork.example", "COWORK.example:8443", "localhost", "127.0.0.1:1"])
        {
            (await ann.Get("/sessions", ("Host", name))).Is(200);
        }
        (await ann.Get("/sessions", ("Host", "evil.example"))).IsProblem(403, "foreign_host");
        (await named.Http.Get("/infra/jwks.json", ("Host", "10.0.0.5"))).IsProblem(403, "foreign_host");
        (await named.Http.Get("/health/ready", ("Host", "10.0.0.5"))).Is(200);
    }

    [Theory]
    [InlineData("https://evil.example", 403)]
    [InlineData("null", 403)]
    [InlineData("http://localhost:3000", 403)]
    [InlineData("same", 201)]
    public async Task A_foreign_origin_is_refused(string origin, int status)
    {
        var got = await http.Post("/sessions", "{}", ("Origin", origin == "same" ? tenant.Host.Url : origin));
        _ = status == 403 ? got.IsProblem(403, "foreign_origin") : got.Is(status);
    }

    [Fact]
    public async Task A_bearer_that_is_given_must_be_valid()
    {
        (await http.Get("/sessions", ("Authorization", "Bearer nonsense"))).IsProblem(401);
        using var admin = tenant.Host.Client(tenant.Host.AdminToken);
        (await admin.Get("/sessions")).Is(200);
        var made = (await http.Get($"/sessions/{await http.NewSession()}")).Is(200);
        Assert.Equal(("user:local", Path.Combine(tenant.Host.Data, "workspaces", made["session_id"])), (made["created_by"], made["workspace_path"]));
        Assert.Equal("user:admin", (await http.Get($"/sessions/{await admin.NewSession()}"))["created_by"]);
    }

    [Fact]
    public void The_admin_token_is_for_its_owner_only()
    {
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(tenant.Host.Data, "admin-token")));
        Assert.Equal(default, File.GetUnixFileMode(tenant.Host.Data) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite));
    }
}
