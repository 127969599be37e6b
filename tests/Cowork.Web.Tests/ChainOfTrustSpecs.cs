using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>A tenant with an app, and a group whose member is ann.</summary>
public sealed class TrustedTenant : IAsyncLifetime
{
    public const string Org = "trust";

    public LiveHost Host { get; private set; } = null!;

    public HttpClient Admin { get; private set; } = null!;

    /// <summary>Calls as ann.</summary>
    public HttpClient Member { get; private set; } = null!;

    public RequestSigner App { get; private set; } = null!;

    public RequestSigner OtherApp { get; private set; } = null!;

    public string Group { get; private set; } = "";

    /// <summary>Another group of ann's.</summary>
    public string OtherGroup { get; private set; } = "";

    public async ValueTask InitializeAsync()
    {
        Host = await LiveHost.Start(settings => settings with { TokenMode = true });
        Admin = Host.Client(await Host.Token(Org, "admin", "member"));
        Member = Host.Client(await Host.Token(Org, "member"));
        App = await RequestSigner.App(Admin, "desk");
        OtherApp = await RequestSigner.App(Admin, "other");
        Group = await NewGroup();
        OtherGroup = await NewGroup();
    }

    public async Task<string> NewGroup(bool isPrivate = false) =>
        (await Member.Post("/groups", $$"""{"title":"t","is_private":{{(isPrivate ? "true" : "false")}}}""")).Is(201)["group_id"];

    /// <summary>Opens a session of the group's controller.</summary>
    public async Task<Got> Open(string? group = null, RequestSigner? app = null) =>
        (await (app ?? App).Send(Host.Http, "/infra/groups", $$"""{"group_id":"{{group ?? Group}}","org_id":"{{Org}}","user_id":"ann"}""")).Is(201);

    public async ValueTask DisposeAsync()
    {
        foreach (var one in (IDisposable[])[Admin, Member, App, OtherApp])
        {
            one.Dispose();
        }
        await Host.DisposeAsync();
    }
}

/// <summary>
/// Every link of the chain of trust refuses what is not exactly right: each case is a request that is accepted, changed in one thing. The request without the change is
/// accepted afterwards, so that it was the change that was refused, and that what is refused uses nothing up.
/// </summary>
public sealed class ChainOfTrustSpecs(TrustedTenant tenant) : IClassFixture<TrustedTenant>
{
    readonly HttpClient http = tenant.Host.Http;

    /// <summary>A signed request of one link.</summary>
    /// <param name="Status">When it is accepted.</param>
    sealed record Link(RequestSigner Signer, string Path, string Body, int Status);

    public static TheoryData<string> Links => ["open", "route", "cleanup", "run", "run-stream"];

    async Task<Link> LinkOf(string name)
    {
        switch (name)
        {
            case "open":
                return new(tenant.App, "/infra/groups", $$"""{"group_id":"{{tenant.Group}}","org_id":"{{TrustedTenant.Org}}","user_id":"ann"}""", 201);
            case "route":
                return new(tenant.App, "/infra/routing-token", $$"""{"group_id":"{{tenant.Group}}","user_id":"ann"}""", 200);
            case "run" or "run-stream":
                return new(
                    RequestSigner.Controller(await tenant.Open(), "agents"), $"/agents/{name}", """{"agent_id":"assistant","messages":[{"role":"user","content":"/say ok"}]}""", 200);
            default:
                return new(RequestSigner.Controller(await tenant.Open(), "orchestrator"), "/infra/cleanup", $$"""{"group_id":"{{tenant.Group}}","reason":"idle"}""", 200);
        }
    }

    static readonly ECDsa Stranger = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    static readonly Dictionary<string, (string Code, Action<Signed> Change)> Changes = new()
    {
        ["forged: another key under the same kid"] = ("token_invalid", r => r.Key = Stranger),
        ["forged: the signature is another token's"] = ("token_invalid", r =>
        {
            var other = Signed.Compact(r.Header.ToJsonString(), new JsonObject { ["iss"] = (string)r.Claims["iss"]! }.ToJsonString(), r.Key, HashAlgorithmName.SHA256);
            r.Token = $"{r.Token[..r.Token.LastIndexOf('.')]}.{other.Split('.')[2]}";
        }
        ),
        ["forged: a bit of the signature"] = ("token_invalid", r => r.Token = r.Token[..^4] + (r.Token[^4] == 'A' ? 'B' : 'A') + r.Token[^3..]),
        ["no signature"] = ("token_invalid", r => r.Token = r.Token[..(r.Token.LastIndexOf('.') + 1)]),
        ["alg none"] = ("token_invalid", r => (r.Header["alg"], r.Token) = ("none", Unsigned(r, "none"))),
        ["alg None"] = ("token_invalid", r => r.Token = Unsigned(r, "None")),
        ["alg HS256, with the public key as the secret"] = ("token_invalid", r => r.Token = Hmac(r)),
        ["alg ES384"] = ("token_invalid", r => (r.Header["alg"], r.Hash) = ("ES384", HashAlgorithmName.SHA384)),
        ["alg RS256"] = ("token_invalid", r => r.Header["alg"] = "RS256"),
        ["signed with SHA-384 under ES256"] = ("token_invalid", r => r.Hash = HashAlgorithmName.SHA384),
        ["no typ"] = ("token_invalid", r => r.Header.Remove("typ")),
        ["typ JWT"] = ("token_invalid", r => r.Header["typ"] = "JWT"),
        ["typ of a certificate"] = ("token_invalid", r => r.Header["typ"] = "cowork-cert+jwt"),
        ["typ of a routing token"] = ("token_invalid", r => r.Header["typ"] = "cowork-routing+jwt"),
        ["typ of the other kind of request"] = ("token_invalid", r => r.Header["typ"] = (string)r.Header["typ"]! == "cowork-app+jwt" ? "cowork-session+jwt" : "cowork-app+jwt"),
        ["no kid"] = ("token_invalid", r => r.Header.Remove("kid")),
        ["a kid that nobody has"] = ("token_invalid", r => r.Header["kid"] = RequestSigner.Thumbprint(Stranger)),
        ["a kid that nobody has, and its key in the header"] = ("token_invalid", r =>
            (r.Header["kid"], r.Header["jwk"], r.Key) = (RequestSigner.Thumbprint(Stranger), RequestSigner.JwkOf(Stranger), Stranger)),
        ["a key in the header"] = ("token_invalid", r => (r.Header["jwk"], r.Key) = (RequestSigner.JwkOf(Stranger), Stranger)),
        ["an address of keys in the header"] = ("token_invalid", r => (r.Header["jku"], r.Key) = ("https://evil.example/jwks.json", Stranger)),
        ["an address of a certificate in the header"] = ("token_invalid", r => (r.Header["x5u"], r.Key) = ("https://evil.example/cert.pem", Stranger)),
        ["crit"] = ("token_invalid", r => r.Header["crit"] = new JsonArray("exp")),
        ["b64"] = ("token_invalid", r => r.Header["b64"] = true),
        ["a member of the header twice"] = ("token_invalid", r => r.Token = Signed.Compact(Twice(r.Header, "alg"), r.Claims.ToJsonString(), r.Key, r.Hash)),
        ["a claim twice"] = ("token_invalid", r => r.Token = Signed.Compact(r.Header.ToJsonString(), Twice(r.Claims, "aud"), r.Key, r.Hash)),
        ["oversized"] = ("token_invalid", r => r.Claims["more"] = new string('x', 8 << 10)),
        ["nonsense"] = ("token_invalid", r => r.Token = "nonsense"),
        ["nonsense with dots"] = ("token_invalid", r => r.Token = "ey.ey.ey"),
        ["another issuer"] = ("token_invalid", r => r.Claims["iss"] = "other@trust"),
        ["an issuer of another tenant"] = ("token_invalid", r => r.Claims["iss"] = "desk@default"),
        ["no issuer"] = ("token_invalid", r => r.Claims.Remove("iss")),
        ["an issuer that is no text"] = ("token_invalid", r => r.Claims["iss"] = new JsonArray((string)r.Claims["iss"]!)),
        ["another audience"] = ("foreign_audience", r => r.Claims["aud"] = (string)r.Claims["aud"]! == "agents" ? "orchestrator" : "agents"),
        ["this audience and another"] = ("foreign_audience", r => r.Claims["aud"] = new JsonArray("orchestrator", "agents")),
        ["no audience"] = ("foreign_audience", r => r.Claims.Remove("aud")),
        ["expired"] = ("token_expired", r => Shift(r, -66)),
        ["from the future"] = ("token_not_yet_valid", r => Shift(r, 30)),
        ["not before later"] = ("token_not_yet_valid", r => r.Claims["nbf"] = (long)r.Claims["iat"]! + 30),
        ["valid for too long"] = ("token_invalid", r => r.Claims["exp"] = (long)r.Claims["iat"]! + 61),
        ["no end"] = ("token_invalid", r => r.Claims.Remove("exp")),
        ["an end that is no number"] = ("token_invalid", r => r.Claims["exp"] = "soon"),
        ["no beginning"] = ("token_invalid", r => r.Claims.Remove("iat")),
        ["an end before the beginning"] = ("token_invalid", r => r.Claims["exp"] = (long)r.Claims["iat"]! - 1),
        ["another method"] = ("request_mismatch", r => r.Claims["htm"] = "GET"),
        ["the method in small letters"] = ("request_mismatch", r => r.Claims["htm"] = "post"),
        ["no method"] = ("request_mismatch", r => r.Claims.Remove("htm")),
        ["another path"] = ("request_mismatch", r => r.Claims["htu"] = $"{r.Claims["htu"]}/"),
        ["the path in other letters"] = ("request_mismatch", r => r.Claims["htu"] = ((string)r.Claims["htu"]!).Replace("/infra", "/Infra", StringComparison.Ordinal).Replace("/agents", "/Agents", StringComparison.Ordinal)),
        ["the path written otherwise"] = ("request_mismatch", r => r.Claims["htu"] = ((string)r.Claims["htu"]!).Replace("/infra", "/%69nfra", StringComparison.Ordinal).Replace("/agents", "/%61gents", StringComparison.Ordinal)),
        ["another host"] = ("request_mismatch", r => r.Claims["htu"] = $"http://evil.example{r.Path}"),
        ["another scheme"] = ("request_mismatch", r => r.Claims["htu"] = ((string)r.Claims["htu"]!).Replace("http:", "https:", StringComparison.Ordinal)),
        ["a user in the address"] = ("request_mismatch", r => r.Claims["htu"] = ((string)r.Claims["htu"]!).Replace("://", "://ann@", StringComparison.Ordinal)),
        ["the path alone"] = ("request_mismatch", r => r.Claims["htu"] = r.Path),
        ["no address"] = ("request_mismatch", r => r.Claims.Remove("htu")),
        ["a query that was not signed"] = ("request_mismatch", r => r.Path += "?debug=1"),
        ["an empty query that was not signed"] = ("request_mismatch", r => r.Path += "?"),
        ["another query"] = ("request_mismatch", r => (r.Path, r.Claims["htu"]) = ($"{r.Path}?a=1&b=2", $"{r.Claims["htu"]}?b=2&a=1")),
        ["a query that was not sent"] = ("request_mismatch", r => r.Claims["htu"] = $"{r.Claims["htu"]}?debug=1"),
        ["another body"] = ("request_mismatch", r => r.Body = r.Body.Replace("{", "{ ", StringComparison.Ordinal)),
        ["another body's digest"] = ("request_mismatch", r => r.Claims["bsh"] = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
        ["a digest in hex"] = ("token_invalid", r => r.Claims["bsh"] = new string('a', 64)),
        ["no digest"] = ("token_invalid", r => r.Claims.Remove("bsh")),
        ["no jti"] = ("token_invalid", r => r.Claims.Remove("jti")),
        ["an empty jti"] = ("token_invalid", r => r.Claims["jti"] = ""),
        ["a long jti"] = ("token_invalid", r => r.Claims["jti"] = new string('x', 129)),
        ["a jti that the log cannot keep"] = ("token_invalid", r => r.Claims["jti"] = "a\0b"),
        ["a jti that is no text"] = ("token_invalid", r => r.Claims["jti"] = 7),
        ["no credentials"] = ("unauthorized", r => (r.Scheme, r.Token, r.Certificate) = ("Basic", "YTpi", null)),
    };

    public static IEnumerable<TheoryDataRow<string, string>> Cases() => from link in Links from change in Changes.Keys select new TheoryDataRow<string, string>(link, change);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task A_request_that_is_not_exactly_right_is_refused(string name, string change)
    {
        var link = await LinkOf(name);
        var (code, apply) = Changes[change];
        var refused = await link.Signer.Send(http, link.Path, link.Body, apply);
        // Where bearer tokens will do, too, what is no JWT of an app is a wrong one of those.
        var isBearer = name == "route" && refused.Code == "unauthorized";
        refused.IsProblem(401, isBearer ? "unauthorized" : code);
        Assert.True(refused.Headers.WwwAuthenticate.Count > 0);
        (await link.Signer.Send(http, link.Path, link.Body)).Is(link.Status);
    }

    [Theory]
    [MemberData(nameof(Links))]
    public async Task What_may_differ_is_accepted(string name)
    {
        var link = await LinkOf(name);
        Action<Signed>[] harmless =
        [
            r => r.Claims["aud"] = new JsonArray((string)r.Claims["aud"]!),
            r => Shift(r, -60), r => Shift(r, 3),
            r => r.Claims["exp"] = (long)r.Claims["iat"]! + 1,
            r => r.Claims["nbf"] = (long)r.Claims["iat"]!,
            r => (r.Path, r.Claims["htu"]) = ($"{r.Path}?a=1&b=%20", $"{r.Claims["htu"]}?a=1&b=%20"),
            r => r.Claims["htu"] = ((string)r.Claims["htu"]!).Replace("http:", "HTTP:", StringComparison.Ordinal),
            r => r.Claims["more"] = "is ignored",
        ];
        foreach (var change in harmless)
        {
            (await link.Signer.Send(http, link.Path, link.Body, change)).Is(link.Status);
        }
    }

    [Theory]
    [MemberData(nameof(Links))]
    public async Task A_request_that_was_accepted_is_not_accepted_again(string name)
    {
        var link = await LinkOf(name);
        var signed = link.Signer.Sign(http, link.Path, link.Body);
        (await http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).Is(link.Status);
        (await http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).IsProblem(401, "token_replayed");
        // Another token with the same jti neither.
        (await link.Signer.Send(http, link.Path, link.Body, r => r.Claims["jti"] = (string)signed.Claims["jti"]!)).IsProblem(401, "token_replayed");
        // A hundred of one request at once: one of them.
        var once = link.Signer.Sign(http, link.Path, link.Body);
        var all = await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => http.Send(once.Method, once.Path, once.Body, once.Headers)));
        Assert.Single(all, got => (int)got.Status == link.Status);
        Assert.Equal(99, all.Count(got => got.Code == "token_replayed"));
    }

    [Fact]
    public async Task Several_authorizations_or_certificates_are_none()
    {
        foreach (var name in Links)
        {
            var link = await LinkOf(name);
            foreach (var header in (string[])["Authorization", "X-Session-Cert"])
            {
                var signed = link.Signer.Sign(http, link.Path, link.Body);
                if (signed.Headers.FirstOrDefault(h => h.Name == header) is { Name: not null } twice)
                {
                    Assert.Contains("HTTP/1.1 401", await Raw(signed, [.. signed.Headers, twice]));
                    Assert.DoesNotContain("HTTP/1.1 401", await Raw(signed, signed.Headers));
                }
            }
        }

        async Task<string> Raw(Signed request, (string Name, string Value)[] headers)
        {
            var address = new Uri(tenant.Host.Url);
            using var client = new TcpClient(address.Host, address.Port);
            var text = $"POST {request.Path} HTTP/1.1\r\nHost: {address.Authority}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {request.Body.Length}\r\n"
                + string.Concat(headers.Select(header => $"{header.Name}: {header.Value}\r\n")) + $"\r\n{request.Body}";
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(text));
            using var reader = new StreamReader(client.GetStream());
            return await reader.ReadToEndAsync();
        }
    }

    [Fact]
    public async Task A_revoked_key_is_worth_nothing_at_once_and_another_one_of_the_app_goes_on()
    {
        using var first = await RequestSigner.App(tenant.Admin, "rotating");
        using var second = await RequestSigner.App(tenant.Admin, "rotating");
        var opened = RequestSigner.Controller(await tenant.Open(app: first), "orchestrator");
        var kept = RequestSigner.Controller(await tenant.Open(app: second), "orchestrator");
        (await tenant.Admin.Send(HttpMethod.Delete, $"/infra/app-keys/{first.Kid}", null)).Is(204);
        var body = $$"""{"group_id":"{{tenant.Group}}","org_id":"{{TrustedTenant.Org}}","user_id":"ann"}""";
        (await first.Send(http, "/infra/groups", body)).IsProblem(401, "token_invalid");
        var cleanup = $$"""{"group_id":"{{tenant.Group}}"}""";
        (await opened.Send(http, "/infra/cleanup", cleanup)).IsProblem(401, "certificate_invalid");
        (await kept.Send(http, "/infra/cleanup", cleanup)).Is(200);
        await tenant.Open(app: second);
        (await tenant.Admin.Send(HttpMethod.Delete, $"/infra/app-keys/{first.Kid}", null)).IsProblem(404);
        Assert.DoesNotContain(first.Kid, (await tenant.Admin.Get("/infra/app-keys")).Is(200).Text);
        Assert.Contains(second.Kid, (await tenant.Admin.Get("/infra/app-keys")).Is(200).Text);
    }

    [Fact]
    public async Task A_key_of_another_kind_or_app_signs_nothing()
    {
        var session = RequestSigner.Controller(await tenant.Open(), "orchestrator");
        var link = await LinkOf("open");
        // A session's key as an app's, an app's as a session's, and another app's.
        (await session.Send(http, link.Path, link.Body, r => (r.Header["typ"], r.Scheme, r.Claims["iss"]) = ("cowork-app+jwt", "Bearer", tenant.App.Issuer))).IsProblem(401, "token_invalid");
        (await tenant.OtherApp.Send(http, link.Path, link.Body, r => r.Claims["iss"] = tenant.App.Issuer)).IsProblem(401, "token_invalid");
        var cleanup = $$"""{"group_id":"{{tenant.Group}}"}""";
        (await tenant.App.Send(http, "/infra/cleanup", cleanup, r => (r.Header["typ"], r.Scheme, r.Certificate) = ("cowork-session+jwt", "Signature", session.Certificate)))
            .IsProblem(401, "token_invalid");
        // A certificate of another session, whose key did not sign.
        var other = RequestSigner.Controller(await tenant.Open(), "orchestrator");
        (await session.Send(http, "/infra/cleanup", cleanup, r => r.Certificate = other.Certificate)).IsProblem(401, "token_invalid");
        (await session.Send(http, "/infra/cleanup", cleanup)).Is(200);
    }

    public static TheoryData<string> BadCertificates => ["none", "nonsense", "routing", "heads", "self-made", "old", "early", "without cnf", "of another curve", "other alg"];

    [Theory]
    [MemberData(nameof(BadCertificates))]
    public async Task A_certificate_that_is_not_the_orchestrators_is_worth_nothing(string what)
    {
        var session = RequestSigner.Controller(await tenant.Open(), "orchestrator");
        var keyring = tenant.Host.Services.GetRequiredService<SigningKeyring>();
        var claims = JsonNode.Parse(Jws.Read(session.Certificate!, SessionCertificates.Typ)!.Payload.GetRawText())!.AsObject();
        var now = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds();
        Task<string> Certified(string purpose = Domain.SigningKeys.Orchestrator, string typ = SessionCertificates.Typ) =>
            keyring.Sign(purpose, typ, claims.ToJsonString(), CancellationToken.None).AsTask();
        var certificate = what switch
        {
            "none" => null,
            "nonsense" => "nonsense",
            "routing" => await Certified(typ: RoutingTokens.Typ),
            "heads" => await Certified(Domain.SigningKeys.Heads),
            "self-made" => Jws.Sign(Stranger, Jws.Read(session.Certificate!, SessionCertificates.Typ)!.Kid, SessionCertificates.Typ, claims.ToJsonString()),
            "old" => await With(("iat", now - 3_700), ("exp", now - 100)),
            "early" => await With(("iat", now + 100), ("exp", now + 3_700)),
            "without cnf" => await With(("cnf", null)),
            "of another curve" => await With(("cnf", JsonNode.Parse("""{"jwk":{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}}"""))),
            _ => session.Certificate!.Replace(session.Certificate.Split('.')[0], "eyJhbGciOiJub25lIiwidHlwIjoiY293b3JrLWNlcnQrand0In0", StringComparison.Ordinal),
        };
        var body = $$"""{"group_id":"{{tenant.Group}}"}""";
        var refused = await session.Send(http, "/infra/cleanup", body, r => r.Certificate = certificate);
        refused.IsProblem(401, what switch { "none" => "unauthorized", "old" => "certificate_expired", _ => "certificate_invalid" });
        // The same certificate, made anew without the change, will do.
        claims = JsonNode.Parse(Jws.Read(session.Certificate!, SessionCertificates.Typ)!.Payload.GetRawText())!.AsObject();
        var right = await Certified();
        (await session.Send(http, "/infra/cleanup", body, r => r.Certificate = right)).Is(200);

        Task<string> With(params (string Claim, JsonNode? Value)[] changes)
        {
            foreach (var (claim, value) in changes)
            {
                claims[claim] = value;
            }
            return Certified();
        }
    }

    [Fact]
    public async Task Who_may_not_is_told_so()
    {
        string Body(string group, string org = TrustedTenant.Org, string user = "ann") => $$"""{"group_id":"{{group}}","org_id":"{{org}}","user_id":"{{user}}"}""";
        (await tenant.App.Send(http, "/infra/groups", Body(tenant.Group, org: "other"))).IsProblem(403, "foreign_org");
        (await tenant.App.Send(http, "/infra/groups", Body(tenant.Group, user: "bob"))).IsProblem(403, "not_a_member");
        (await tenant.App.Send(http, "/infra/groups", Body("grp_01kdvkjr000000000000000031"))).IsProblem(404, "not_found");
        (await tenant.App.Send(http, "/infra/routing-token", Body(tenant.Group, user: "bob"))).IsProblem(403, "not_a_member");
        (await tenant.App.Send(http, "/infra/routing-token", Body("grp_01kdvkjr000000000000000031"))).IsProblem(404, "not_found");
        (await tenant.App.Send(http, "/infra/groups", "{}")).IsProblem(422, "invalid_request");
        // Another tenant's app, and a group of this one.
        using var theirs = tenant.Host.Client(await tenant.Host.Token("trust-2", "admin"));
        using var foreign = await RequestSigner.App(theirs, "desk");
        (await foreign.Send(http, "/infra/groups", Body(tenant.Group))).IsProblem(404, "not_found");
        (await foreign.Send(http, "/infra/routing-token", Body(tenant.Group))).IsProblem(404, "not_found");
        // The certificate of one group, and another group of the same member.
        var session = RequestSigner.Controller(await tenant.Open(), "orchestrator");
        (await session.Send(http, "/infra/cleanup", $$"""{"group_id":"{{tenant.OtherGroup}}"}""")).IsProblem(403, "foreign_group");
        (await session.Send(http, "/infra/cleanup", $$"""{"group_id":"{{tenant.Group}}"}""")).Is(200);
        // A bearer token is no app's, and gets the token of its own user alone.
        (await tenant.Member.Post("/infra/groups", Body(tenant.Group))).IsProblem(401, "token_invalid");
        (await tenant.Member.Post("/infra/routing-token", Body(tenant.Group, user: "bob"))).IsProblem(403, "foreign_user");
        (await tenant.Member.Post("/infra/routing-token", Body(tenant.Group))).Is(200);
        (await http.Post("/infra/routing-token", Body(tenant.Group))).IsProblem(401, "unauthorized");
    }

    [Fact]
    public async Task A_session_has_a_key_that_is_shown_once()
    {
        var body = $$"""{"group_id":"{{tenant.Group}}","org_id":"{{TrustedTenant.Org}}","user_id":"ann"}""";
        var opened = (await tenant.App.Send(http, "/infra/groups", body, r => r.More.Add(("Idempotency-Key", "once")))).Is(201);
        Assert.StartsWith("-----BEGIN PRIVATE KEY-----", opened["session_private_key"], StringComparison.Ordinal);
        (await tenant.App.Send(http, "/infra/groups", body, r => r.More.Add(("Idempotency-Key", "once")))).IsProblem(409, "secret_not_replayable");
        var again = await tenant.Open();
        Assert.Equal(opened["group_controller_id"], again["group_controller_id"]);
        Assert.NotEqual(opened["session_certificate"], again["session_certificate"]);
        Assert.NotEqual(again["group_controller_id"], (await tenant.Open(tenant.OtherGroup))["group_controller_id"]);
        var certificate = Jws.Read(opened["session_certificate"], SessionCertificates.Typ)!.Payload;
        Assert.Equal(tenant.Group, certificate.GetProperty("sub").GetString());
        Assert.Equal(3_600, certificate.GetProperty("exp").GetInt64() - certificate.GetProperty("iat").GetInt64());
    }

    [Fact]
    public async Task A_member_gets_a_token_for_the_group_by_itself_and_nobody_else_does()
    {
        var token = (await tenant.Member.Post($"/groups/{tenant.Group}/token")).Is(200)["routing_token"];
        var claims = Jws.Read(token, RoutingTokens.Typ)!.Payload;
        Assert.Equal(("ann", tenant.Group, "admin"), (claims.GetProperty("sub").GetString(), claims.GetProperty("group_id").GetString(), claims.GetProperty("role").GetString()));
        using var stranger = tenant.Host.Client(await tenant.Host.Token("trust-3", "member"));
        (await stranger.Post($"/groups/{tenant.Group}/token")).IsProblem(404, "not_found");
        // By an app, the persons who could have signed are behind it.
        var byApp = Jws.Read((await tenant.App.Send(http, "/infra/routing-token", $$"""{"group_id":"{{tenant.Group}}","user_id":"ann"}""")).Is(200)["routing_token"], RoutingTokens.Typ)!;
        Assert.Equal(["app:desk@trust", "user:ann", "user:admin@default"], byApp.Payload.GetProperty("behind").EnumerateArray().Select(person => person.GetProperty("actor").GetString()));
    }

    /// <summary>Refused requests are counted together in the security events, and write nothing by themselves.</summary>
    [Fact]
    public async Task A_flood_of_bad_requests_writes_nothing()
    {
        var link = await LinkOf("open");
        var log = tenant.Host.Services.GetRequiredService<IEventLog>();
        async Task<long> Head() => (await log.Feed(TrustedTenant.Org, null, 0, 1, default)).Head;
        var before = await Head();
        var all = await Task.WhenAll(Enumerable.Range(0, 300).Select(i => link.Signer.Send(http, link.Path, link.Body, r => r.Claims["aud"] = $"nobody-{i}")));
        Assert.All(all, got => got.IsProblem(401, "foreign_audience"));
        Assert.Equal(before, await Head());
    }

    static void Shift(Signed request, int seconds) =>
        (request.Claims["iat"], request.Claims["exp"]) = ((long)request.Claims["iat"]! + seconds, (long)request.Claims["exp"]! + seconds);

    static string Unsigned(Signed request, string alg)
    {
        request.Header["alg"] = alg;
        return Signed.Compact(request.Header.ToJsonString(), request.Claims.ToJsonString(), request.Key, request.Hash) is var token ? token[..(token.LastIndexOf('.') + 1)] : "";
    }

    static string Hmac(Signed request)
    {
        request.Header["alg"] = "HS256";
        var token = Signed.Compact(request.Header.ToJsonString(), request.Claims.ToJsonString(), request.Key, request.Hash);
        var content = token[..token.LastIndexOf('.')];
        return $"{content}.{System.Buffers.Text.Base64Url.EncodeToString(HMACSHA256.HashData(request.Key.ExportSubjectPublicKeyInfo(), Encoding.ASCII.GetBytes(content)))}";
    }

    static string Twice(JsonObject members, string name) => $"{members.ToJsonString()[..^1]},\"{name}\":{members[name]!.ToJsonString()}}}";
}
