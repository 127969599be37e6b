using System.Net;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Testing;

using Microsoft.Extensions.Configuration;
using Microsoft.IdentityModel.Tokens;

namespace Cowork.Web.Tests;

/// <summary>An authority, and a host that takes its tokens beside its own.</summary>
public sealed class OidcHost : IAsyncLifetime
{
    internal RsaSecurityKey Key { get; } = IdentityProvider.NewKey("first");

    internal IdentityProvider Authority { get; private set; } = null!;

    public LiveHost Host { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Authority = await IdentityProvider.Start(Key);
        Host = await LiveHost.Start(settings => settings with
        {
            TokenMode = true,
            Oidc = Authority.Settings,
            Approvals = new() { FourEyes = true },
            SecurityFold = TimeSpan.FromMilliseconds(500),
        });
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await Authority.DisposeAsync();
        await Ledger.CheckLog(Host.Database);
    }
}

/// <summary>Tokens of an authority (OpenID Connect): whom they let in, as whom, and for how long.</summary>
public sealed class OidcSpecs(OidcHost oidc) : IClassFixture<OidcHost>
{
    static readonly TimeSpan Deadline = Patience.Limit;

    readonly LiveHost host = oidc.Host;
    readonly IdentityProvider authority = oidc.Authority;

    [Fact]
    public async Task Who_signs_in_with_a_code_and_PKCE_works_as_that_person_beside_API_tokens()
    {
        using var ann = host.Client(await authority.TokenByCode("ann", Roles("signed", "member", "auditor")));
        var session = await ann.NewSession();
        Assert.Equal("completed", (await ann.Turn(session, "/say hello")).Is(200)["status"]);
        Assert.Equal("user:ann", (await ann.Get($"/sessions/{session}"))["created_by"]);
        using var colleague = host.Client(await host.Token("signed", "member"));
        (await colleague.Get($"/sessions/{session}")).Is(200);
        (await ann.Get("/tokens/token_01k9golden0000000000000000")).IsProblem(404);
        (await ann.Post("/tokens", """{"name":"x"}""")).IsProblem(403, "role_missing");
        var granted = await ann.Until("/events?limit=1000", got => Events(got, "access_granted").Any(e => Text(e, "actor") == "user:ann" && Text(e, "token_id") is null));
        Assert.NotNull(granted);
        await ann.Until("/events?limit=1000", got => Events(got, "access_denied").Any(e => Text(e, "actor") == "user:ann" && Text(e, "code") == "role_missing"));
    }

    [Theory]
    [InlineData("expired", "token_expired", "expired")]
    [InlineData("another audience", "unauthorized", "foreign_audience")]
    [InlineData("another issuer", "unauthorized", "foreign_issuer")]
    [InlineData("another issuer, as ours", "unauthorized", "bad_signature")]
    [InlineData("alg none", "unauthorized", "bad_algorithm")]
    [InlineData("HS256 with the public key", "unauthorized", "bad_algorithm")]
    [InlineData("one letter changed", "unauthorized", "bad_signature")]
    [InlineData("claims changed", "unauthorized", "bad_signature")]
    [InlineData("not yet", "unauthorized", "unknown")]
    [InlineData("without an end", "unauthorized", "unknown")]
    [InlineData("for a logout", "unauthorized", "bad_algorithm")]
    [InlineData("a key of its own", "unauthorized", "bad_signature")]
    [InlineData("nonsense", "unauthorized", "unknown")]
    public async Task A_token_that_is_not_what_it_should_be_opens_nothing(string what, string code, string reason)
    {
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        var good = new JsonObject
        {
            ["iss"] = authority.Issuer,
            ["aud"] = "cowork",
            ["sub"] = "ann",
            ["org_id"] = "refused",
            ["exp"] = now + 600,
            ["realm_access"] = new JsonObject { ["roles"] = new JsonArray("member") },
        };
        // What is right is let in, so that each case below is refused for what is wrong with it.
        using (var right = host.Client(Signed(good, oidc.Key)))
        {
            (await right.Get("/sessions")).Is(200);
        }
        await using var other = await IdentityProvider.Start(IdentityProvider.NewKey("first"));
        JsonObject With(string name, JsonNode? value)
        {
            var claims = (JsonObject)good.DeepClone();
            claims[name] = value;
            if (value is null)
            {
                claims.Remove(name);
            }
            return claims;
        }
        var token = await authority.Token("ann", Roles("refused", "member"));
        var bad = what switch
        {
            "expired" => Signed(With("exp", now - 5), oidc.Key),
            "another audience" => await authority.Token("ann", Roles("refused", "member"), audience: "payroll"),
            "another issuer" => await other.Token("ann", Roles("refused", "member")),
            "another issuer, as ours" => Signed(good, IdentityProvider.NewKey("first")),
            "alg none" => $"{Part(new JsonObject { ["alg"] = "none", ["kid"] = "first" })}.{Part(good)}.",
            "HS256 with the public key" => ByPublicKey(good),
            "one letter changed" => token[..^5] + (token[^5] == 'A' ? 'B' : 'A') + token[^4..],
            "claims changed" => $"{token.Split('.')[0]}.{Part(With("org_id", "default"))}.{token.Split('.')[2]}",
            "not yet" => Signed(With("nbf", now + 300), oidc.Key),
            "without an end" => Signed(With("exp", null), oidc.Key),
            "for a logout" => Signed(good, oidc.Key, type: "logout+jwt"),
            "a key of its own" => Signed(good, IdentityProvider.NewKey("mine")),
            _ => "eyJhbGciOiJSUzI1NiJ9.e30x.x",
        };
        using var client = host.Client(bad);
        foreach (var path in (string[])["/sessions", "/events/stream", "/runs/x"])
        {
            var refused = (await client.Get(path)).IsProblem(401, code);
            Assert.Equal("Bearer", refused.Headers.WwwAuthenticate.Single().Scheme);
        }
        (await client.Post("/sessions", "{}")).IsProblem(401, code);
        using var operators = host.Client(host.AdminToken);
        await operators.Until("/events?limit=1000", got => Events(got, "access_refused").Any(e => Text(e, "reason") == reason));
    }

    [Theory]
    //          claims                                                                                    answer
    [InlineData("""{"org_id":"mapped","realm_access":{"roles":["member","offline_access"]}}""", 200, null)]
    [InlineData("""{"org_id":["mapped"],"realm_access":{"roles":"auditor member"}}""", 200, null)]
    [InlineData("""{"org_id":{"mapped":{}},"realm_access":{"roles":["approver"]}}""", 200, null)]
    [InlineData("""{"realm_access":{"roles":["member"]}}""", 403, "unknown_org")]
    [InlineData("""{"org_id":["a","b"],"realm_access":{"roles":["member"]}}""", 403, "unknown_org")]
    [InlineData("""{"org_id":"default","realm_access":{"roles":["admin"]}}""", 403, "unknown_org")]
    [InlineData("""{"org_id":"a/b","realm_access":{"roles":["member"]}}""", 403, "unknown_org")]
    [InlineData("""{"org_id":7,"realm_access":{"roles":["member"]}}""", 403, "unknown_org")]
    [InlineData("""{"org_id":"mapped"}""", 403, "no_role")]
    [InlineData("""{"org_id":"mapped","realm_access":{"roles":["root","Admin"]}}""", 403, "no_role")]
    [InlineData("""{"org_id":"mapped","realm_access":["member"]}""", 403, "no_role")]
    [InlineData("""{"org_id":"mapped","roles":["member"]}""", 403, "no_role")]
    public async Task Claims_name_the_tenant_and_the_roles(string claims, int status, string? code)
    {
        using var client = host.Client(await authority.Token("ann", JsonElement.Parse(claims)));
        var got = await client.Get("/sessions");
        _ = code is null ? got.Is(status) : got.IsProblem(status, code);
    }

    [Theory]
    //          what the claims hold beside iss and aud                                                                      answer
    [InlineData(""" "sub":"ann","org_id":"odd","exp":1e300 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":253402300799 """, 200, null)]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":4e9,"nbf":-1 """, 200, null)]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":4e9,"nbf":253402300799 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":-1e300 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":4e9,"nbf":1e300 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":4e9,"nbf":-1e300 """, 401, "unauthorized")]
    [InlineData(""" "sub":"\ud800","org_id":"odd","exp":4e9 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"\udc00","exp":4e9 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":{"\ud800":1},"exp":4e9 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","\ud800":1,"exp":4e9 """, 401, "unauthorized")]
    [InlineData(""" "sub":"ann","org_id":"odd","exp":4e9,"jti":"\ud800" """, 401, "unauthorized")]
    public async Task Odd_claims_are_answered(string claims, int status, string? code)
    {
        var payload = $$$"""{"iss":"{{{authority.Issuer}}}","aud":"cowork","realm_access":{"roles":["member"]},{{{claims}}}}""";
        var text = $"{Part(new JsonObject { ["alg"] = "RS256", ["typ"] = "at+jwt", ["kid"] = oidc.Key.KeyId })}.{Base64UrlEncoder.Encode(payload)}";
        using var client = host.Client($"{text}.{Base64UrlEncoder.Encode(oidc.Key.Rsa.SignData(Encoding.ASCII.GetBytes(text), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))}");
        var got = await client.Get("/sessions");
        _ = code is null ? got.Is(status) : got.IsProblem(status, code);
    }

    [Theory]
    [InlineData("ann", "user:ann")]
    [InlineData("auth0|5f7c8ec7c33c6c004bbafe82", "user:auth0%7C5f7c8ec7c33c6c004bbafe82")]
    [InlineData("ann@example.com", "user:ann%40example.com")]
    [InlineData("Ünal 7%", "user:%C3%9Cnal%207%25")]
    public async Task A_person_of_any_name_is_one_principal(string user, string actor)
    {
        using var client = host.Client(await authority.Token(user, Roles("named", "member", "admin")));
        Assert.Equal(actor, (await client.Get($"/sessions/{await client.NewSession()}"))["created_by"]);
        // A token that this person issues for himself is his.
        using var own = host.Client((await client.Post("/tokens", """{"name":"own"}""")).Is(201)["token"]);
        Assert.Equal(actor, (await own.Get($"/sessions/{await own.NewSession()}"))["created_by"]);
    }

    [Fact]
    public async Task Tenants_of_an_authority_never_see_each_other()
    {
        using var one = host.Client(await authority.Token("ann", Roles("one", "admin", "member", "auditor")));
        using var two = host.Client(await authority.Token("ann", Roles("two", "admin", "member", "auditor")));
        var session = await one.NewSession("private");
        var run = (await one.Turn(session, "/say topsecret")).Is(200)["run_id"];
        foreach (var path in (string[])[$"/sessions/{session}", $"/runs/{run}", $"/runs/{run}/trace", $"/sessions/{session}/events"])
        {
            (await two.Get(path)).IsProblem(404);
        }
        Assert.DoesNotContain("topsecret", (await two.Get("/events?limit=1000")).Is(200).Text);
        (await two.NewSession("private")).ToString();
        (await two.Post("/tokens", """{"name":"x","org_id":"one"}""")).IsProblem(403, "foreign_org");
        (await two.Post("/tokens", """{"name":"x","operator":true}""")).IsProblem(403, "operator_only");
        (await two.Get("/projections")).IsProblem(403, "operator_only");
    }

    [Fact]
    public async Task Two_persons_are_two_whatever_their_tokens_are()
    {
        using var ann = host.Client(await authority.Token("ann", Roles("eyes", "member", "approver")));
        using var annByToken = host.Client(await host.Token("eyes", "approver"));
        using var bob = host.Client(await authority.Token("bob", Roles("eyes", "approver")));
        using var admin = host.Client(await authority.Token("cleo", Roles("eyes", "admin")));
        var turn = (await ann.Turn(await ann.NewSession(), "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done")).Is(200);
        var path = $"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision";
        const string Yes = """{"approved":true}""";
        (await ann.Post(path, Yes)).IsProblem(403, "four_eyes");
        (await annByToken.Post(path, Yes)).IsProblem(403, "four_eyes");
        Assert.Equal("user:bob", (await bob.Post(path, Yes)).Is(200)["decided_by"]);
        // Cleo issues herself another name, and both are she.
        var second = (await admin.Post("/tokens", """{"name":"x","user":"dora","roles":["approver"]}""")).Is(201);
        Assert.Equal("""["user:cleo"]""", second.Json.GetProperty("issuers").GetRawText());
        using var cleoAsMember = host.Client(await authority.Token("cleo", Roles("eyes", "member")));
        var hers = (await cleoAsMember.Turn(await cleoAsMember.NewSession(), "/tool write_file {\"path\":\"r.md\",\"content\":\"x\"}")).Is(200);
        using var dora = host.Client(second["token"]);
        (await dora.Post($"/approvals/{hers.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", Yes)).IsProblem(403, "four_eyes");
    }

    [Fact]
    public async Task A_key_of_idempotency_is_a_persons_over_all_of_their_tokens()
    {
        using var first = host.Client(await authority.Token("ann", Roles("keyed", "member")));
        using var renewed = host.Client(await authority.Token("ann", Roles("keyed", "member"), seconds: 700));
        using var bob = host.Client(await authority.Token("bob", Roles("keyed", "member")));
        var made = (await first.Post("/sessions", "{}", ("Idempotency-Key", "k"))).Is(201);
        Assert.Equal(made["session_id"], (await renewed.Post("/sessions", "{}", ("Idempotency-Key", "k"))).Is(201)["session_id"]);
        Assert.NotEqual(made["session_id"], (await bob.Post("/sessions", "{}", ("Idempotency-Key", "k"))).Is(201)["session_id"]);
    }

    [Fact]
    public async Task A_stream_ends_with_the_token_that_opened_it()
    {
        using var lasting = host.Client(await authority.Token("ann", Roles("ending", "member")));
        var path = $"/sessions/{await lasting.NewSession()}/events";
        // A machine with much else to do needs longer than 3 s to open both.
        for (var (seconds, ended) = (3, false); !ended; seconds *= 2)
        {
            Assert.InRange(seconds, 3, 100);
            using var brief = host.Client(await authority.Token("ann", Roles("ending", "member"), seconds: seconds));
            var waits = brief.Get($"{path}?since_id=1&wait_seconds=60");
            using var stream = await brief.GetAsync($"{path}/stream?since_id=1", HttpCompletionOption.ResponseHeadersRead);
            ended = stream.StatusCode == HttpStatusCode.OK;
            if (ended)
            {
                using var timeout = new CancellationTokenSource(Deadline);
                await using var reader = await EventReader.Of(stream);
                Assert.Null(await End(reader, timeout.Token));
            }
            var answer = await waits;
            ended = ended && answer["code"] != "token_expired";
            if (ended)
            {
                answer.IsProblem(401, "access_ended");
                (await brief.Get("/sessions")).IsProblem(401, "token_expired");
            }
        }
    }

    [Fact]
    public async Task A_connection_to_a_group_ends_with_the_token_that_asked_for_it()
    {
        using var lasting = host.Client(await authority.Token("ann", Roles("connected", "member")));
        var group = (await lasting.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        await using var stays = await GroupClient.Open(host.Url, group, (await lasting.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"]);
        List<string>? tokens = null;
        List<GroupClient> opened = [];
        for (var seconds = 3; opened.Count < 2; seconds *= 2)
        {
            // A machine with much else to do needs longer.
            Assert.InRange(seconds, 3, 100);
            using var brief = host.Client(await authority.Token("ann", Roles("connected", "member"), seconds: seconds));
            Got[] issued = [await brief.Post($"/groups/{group}/token", "{}"), await brief.Post("/infra/routing-token", $$"""{"group_id":"{{group}}","user_id":"ann"}""")];
            tokens = issued.All(got => (int)got.Status == 200) ? [.. issued.Select(got => got["routing_token"])] : null;
            opened = tokens is null ? [] : [.. await Opened(tokens[0]), .. await Opened(tokens[1])];
        }
        foreach (var client in opened)
        {
            Assert.Equal(4401, await client.UntilClosed());
            await client.DisposeAsync();
        }
        // The routing token itself has not expired.
        using var late = new ClientWebSocket { Options = { CollectHttpResponseDetails = true } };
        await Assert.ThrowsAsync<WebSocketException>(() => late.ConnectAsync(GroupClient.Address(host.Url, group, tokens![0]), CancellationToken.None));
        Assert.Equal(HttpStatusCode.Unauthorized, late.HttpStatusCode);
        await stays.Say("still here", "m1");
        await stays.Until("user_message_stored");

        async Task<List<GroupClient>> Opened(string token)
        {
            try
            {
                return [await GroupClient.Open(host.Url, group, token)];
            }
            catch (WebSocketException)
            {
                // It is too late.
                return [];
            }
        }
    }

    [Fact]
    public async Task A_new_key_works_at_once_and_a_withdrawn_one_no_longer()
    {
        var (first, second) = (IdentityProvider.NewKey("r1"), IdentityProvider.NewKey("r2"));
        await using var rotating = await IdentityProvider.Start(first);
        await using var own = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = rotating.Settings with { RefreshEvery = TimeSpan.FromSeconds(2) } });
        using var old = own.Client(await rotating.Token("ann", Roles("rotating", "member")));
        var session = await old.NewSession();
        rotating.SignWith(second, first);
        using var renewed = own.Client(await rotating.Token("ann", Roles("rotating", "member")));
        (await renewed.Get("/sessions")).Is(200);
        (await old.Get("/sessions")).Is(200);
        await using var reader = await EventReader.Open(old, $"/sessions/{session}/events/stream?since_id=1");
        var group = (await old.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        await using var socket = await GroupClient.Open(own.Url, group, (await old.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"]);
        rotating.SignWith(second);
        await old.Until("/sessions", got => (int)got.Status == 401);
        using var timeout = new CancellationTokenSource(Deadline);
        Assert.Null(await End(reader, timeout.Token));
        Assert.Equal(4401, await socket.UntilClosed());
        (await renewed.Get("/sessions")).Is(200);
    }

    [Fact]
    public async Task Made_up_names_of_keys_do_not_make_the_host_ask_the_authority_each_time()
    {
        await using var asked = await IdentityProvider.Start(oidc.Key);
        await using var own = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = asked.Settings with { RefreshEvery = TimeSpan.FromMinutes(5) } });
        using var right = own.Client(await asked.Token("ann", Roles("asking", "member")));
        (await right.Get("/sessions")).Is(200);
        var before = asked.KeyRequests;
        var claims = new JsonObject { ["iss"] = asked.Issuer, ["aud"] = "cowork", ["sub"] = "ann", ["org_id"] = "asking", ["exp"] = 9_999_999_999 };
        await Task.WhenAll(Enumerable.Range(0, 60).Select(async n =>
        {
            using var client = own.Client(Signed(claims, new RsaSecurityKey(oidc.Key.Rsa) { KeyId = $"made-up-{n}" }));
            (await client.Get("/sessions")).IsProblem(401);
        }));
        Assert.InRange(asked.KeyRequests - before, 1, 2);
        (await right.Get("/sessions")).Is(200);
    }

    [Fact]
    public async Task An_address_that_guesses_is_told_so_and_a_right_token_from_it_works()
    {
        await using var own = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = authority.Settings, Limits = new() { FailuresPerMinute = 3 } });
        using var right = own.Client(await authority.Token("ann", Roles("guessing", "member")));
        using var expired = own.Client(await authority.Token("ann", Roles("guessing", "member"), seconds: 1));
        using var wrong = own.Client(await authority.Token("ann", Roles("guessing", "member"), audience: "payroll"));
        await expired.Until("/sessions", got => got.Code == "token_expired");
        for (var i = 0; i < 6; i++)
        {
            (await expired.Get("/sessions")).IsProblem(401, "token_expired");
        }
        for (var i = 0; i < 6; i++)
        {
            _ = i < 3 ? (await wrong.Get("/sessions")).IsProblem(401, "unauthorized") : (await wrong.Get("/sessions")).IsProblem(429, "too_many_failures");
        }
        (await right.Get("/sessions")).Is(200);
    }

    [Fact]
    public async Task While_the_authority_is_away_its_tokens_wait_and_API_tokens_work()
    {
        var key = IdentityProvider.NewKey("away");
        var first = await IdentityProvider.Start(key);
        var (port, token, settings) = (first.Port, await first.Token("ann", Roles("away", "member")), first.Settings);
        await first.DisposeAsync();
        await using var own = await LiveHost.Start(usual => usual with { TokenMode = true, Oidc = settings with { KeysKept = TimeSpan.FromSeconds(1) } });
        using var ann = own.Client(token);
        using var api = own.Client(await own.Token("away", "member"));
        (await api.Get("/sessions")).Is(200);
        Assert.NotNull((await ann.Get("/sessions")).IsProblem(503, "authority_unavailable").Headers.RetryAfter);
        (await own.Http.Get("/health/ready")).Is(200);
        var second = await IdentityProvider.Start(key, port);
        await ann.Until("/sessions", got => (int)got.Status == 200);
        // Gone again: the keys that are known go on for as long as they may.
        await second.DisposeAsync();
        (await ann.Get("/sessions")).Is(200);
        await ann.Until("/sessions", got => (int)got.Status == 503);
        (await api.Get("/sessions")).Is(200);
        await using var third = await IdentityProvider.Start(key, port);
        await ann.Until("/sessions", got => (int)got.Status == 200);
    }

    [Theory]
    [InlineData("Cowork:Auth:Authority=https://login.example", "without Cowork:Auth:Audience")]
    [InlineData("Cowork:Auth:Audience=cowork", "Cowork:Auth:Authority names none")]
    [InlineData("Cowork:Auth:Authority=http://login.example Cowork:Auth:Audience=cowork", "anybody in between can give this host keys of his own. Use https")]
    [InlineData("Cowork:Auth:Authority=login.example Cowork:Auth:Audience=cowork", "must be an absolute https address")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:Mode=local", "Cowork:Auth:Authority names who issues tokens. Use token.")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:Roles:root=x", "Cowork:Auth:Roles:root is about a role that does not exist")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:Org=acme Cowork:Auth:OrgClaim=tid", "Leave one of them out")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:Org=a/b", "names the tenant \"a/b\"")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:Orgs:a=x Cowork:Auth:Orgs:b=x", "gives \"x\" to more than one tenant")]
    [InlineData("Cowork:Auth:Authority=https://login.example Cowork:Auth:Audience=cowork Cowork:Auth:ClockSkew=01:00:00", "Cowork:Auth:ClockSkew is \"01:00:00\"")]
    public void Settings_that_do_not_fit_are_told_in_a_sentence(string settings, string sentence) =>
        Assert.Contains(sentence, Assert.Throws<ArgumentException>(() => Read(settings)).Message);

    [Fact]
    public async Task Tenants_and_roles_may_have_other_names_at_the_authority()
    {
        var read = Read(
            $"Cowork:Auth:Authority={authority.Issuer} Cowork:Auth:Audience:0=other Cowork:Auth:Audience:1=cowork Cowork:Auth:OrgClaim=https://example.com/tenant"
            + " Cowork:Auth:RoleClaim=https://example.com/groups Cowork:Auth:UserClaim=preferred_username"
            + " Cowork:Auth:Orgs:acme=8f1c Cowork:Auth:Orgs:default=ops Cowork:Auth:Roles:admin:0=g-admins Cowork:Auth:Roles:member:0=g-admins Cowork:Auth:Roles:member:1=g-staff");
        Assert.True(read.TokenMode);
        await using var own = await LiveHost.Start(usual => usual with { TokenMode = true, Oidc = read.Oidc });
        async Task<Got> As(string tenant, string group, string path)
        {
            using var client = own.Client(await authority.Token("x-7", new Dictionary<string, object>
            {
                ["https://example.com/tenant"] = tenant,
                ["https://example.com/groups"] = (string[])[group],
                ["preferred_username"] = "ann",
            }));
            return await client.Get(path);
        }
        (await As("8f1c", "g-admins", "/tokens")).Is(200);
        (await As("8f1c", "g-staff", "/sessions")).Is(200);
        (await As("8f1c", "g-staff", "/tokens")).IsProblem(403, "role_missing");
        (await As("8f1c", "member", "/sessions")).IsProblem(403, "no_role");
        (await As("acme", "g-staff", "/sessions")).IsProblem(403, "unknown_org");
        // Where the settings give the operators' tenant away, its roles see the host, and make nobody an operator.
        (await As("ops", "g-admins", "/projections")).Is(200);
    }

    static HostSettings Read(string settings) => HostSettings.Read(
        ["--data", "/tmp/cowork-not-made"],
        new ConfigurationBuilder()
            .AddInMemoryCollection(settings.Split(' ').Select(pair => KeyValuePair.Create(pair[..pair.IndexOf('=')], (string?)pair[(pair.IndexOf('=') + 1)..]))).Build());

    static object Roles(string org, params string[] roles) => new { org_id = org, realm_access = new { roles } };

    static string Part(JsonObject json) => Base64UrlEncoder.Encode(Encoding.UTF8.GetBytes(json.ToJsonString()));

    static string Signed(JsonObject claims, RsaSecurityKey key, string type = "at+jwt")
    {
        var text = $"{Part(new JsonObject { ["alg"] = "RS256", ["typ"] = type, ["kid"] = key.KeyId })}.{Part(claims)}";
        return $"{text}.{Base64UrlEncoder.Encode(key.Rsa.SignData(Encoding.ASCII.GetBytes(text), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))}";
    }

    string ByPublicKey(JsonObject claims)
    {
        var text = $"{Part(new JsonObject { ["alg"] = "HS256", ["typ"] = "JWT", ["kid"] = "first" })}.{Part(claims)}";
        var secret = Encoding.ASCII.GetBytes(oidc.Key.Rsa.ExportSubjectPublicKeyInfoPem());
        return $"{text}.{Base64UrlEncoder.Encode(HMACSHA256.HashData(secret, Encoding.ASCII.GetBytes(text)))}";
    }

    static async Task<object?> End(EventReader reader, CancellationToken ct)
    {
        try
        {
            return await reader.Next(ct);
        }
        catch (Exception e) when (e is IOException or HttpRequestException && !ct.IsCancellationRequested)
        {
            // Cut instead of ended: over either way.
            return null;
        }
    }

    static IEnumerable<JsonElement> Events(Got page, string type) => page.Json.GetProperty("events").EnumerateArray().Where(e => e.GetProperty("type").GetString() == type);

    static string? Text(JsonElement e, string name) =>
        e.GetProperty("payload").TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
