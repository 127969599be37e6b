using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

using Cowork.Application;
using Cowork.Connectors;
using Cowork.Testing;

using Microsoft.IdentityModel.Tokens;

namespace Cowork.Web.Tests;

/// <summary>A service with OAuth, and two hosts on one database that are registered there.</summary>
public sealed class OAuthHosts : IAsyncLifetime
{
    internal OAuthServer Service { get; private set; } = null!;

    public LiveHost Host { get; private set; } = null!;

    public LiveHost Other { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Service = await OAuthServer.Start();
        HostSettings Registered(HostSettings settings) => settings with
        {
            TokenMode = true,
            Egress = [EgressTarget.Parse($"127.0.0.1:{Service.Port}")!],
            OAuth = new(ImmutableDictionary<string, OAuthProvider>.Empty.Add("google-sheets", Service.Provider)),
            JobRetries = [.. Enumerable.Repeat(TimeSpan.FromMilliseconds(50), 20)],
        };
        Host = await LiveHost.Start(Registered);
        Other = await LiveHost.Start(settings => Registered(settings) with { Database = Host.Database, MasterKeys = _ => MasterKeySource.Read(_ => null, Host.Data) });
    }

    public async ValueTask DisposeAsync()
    {
        await Other.DisposeAsync();
        await Host.DisposeAsync();
        await Service.DisposeAsync();
        await Ledger.CheckLog(Host.Database);
    }
}

/// <summary>OAuth 2.0 of connections: the way to the service and back, and what becomes of the tokens.</summary>
public sealed partial class ConnectorAuthorizationSpecs(OAuthHosts hosts) : IClassFixture<OAuthHosts>, IAsyncLifetime
{
    static int _tenants;

    readonly OAuthServer service = hosts.Service;
    readonly string org = $"oauth-{Interlocked.Increment(ref _tenants)}";
    HttpClient http = null!;
    HttpClient other = null!;

    public async ValueTask InitializeAsync()
    {
        (service.Declines, service.IsAway, service.RefusesRefresh, service.RefusesTokens, service.Lifetime) = (false, false, false, false, TimeSpan.FromHours(1));
        var token = await hosts.Host.Token(org, "admin", "member", "auditor");
        (http, other) = (hosts.Host.Client(token), hosts.Other.Client(token));
    }

    public ValueTask DisposeAsync()
    {
        http.Dispose();
        other.Dispose();
        return default;
    }

    [Fact]
    public async Task A_start_answers_where_to_send_the_browser_with_a_state_and_PKCE()
    {
        var start = (await http.Get("/api/v1/connectors/oauth/google-sheets/start")).Is(200);
        var url = new Uri(start["url"]);
        var query = Query(url);
        Assert.Equal($"{service.Url}/authorize", url.GetLeftPart(UriPartial.Path));
        Assert.Equal(
            ("code", OAuthServer.ClientId, start["state"], "S256", "offline_access sheets", "offline"),
            (query["response_type"], query["client_id"], query["state"], query["code_challenge_method"], query["scope"], query["access_type"]));
        Assert.Equal(43, query["code_challenge"].Length);
        Assert.Equal($"{hosts.Host.Url}/api/v1/connectors/oauth/callback", query["redirect_uri"]);
        Assert.InRange(DateTimeOffset.Parse(start["expires_at"]) - TimeProvider.System.GetUtcNow(), TimeSpan.FromMinutes(9), TimeSpan.FromMinutes(10));
        var second = (await http.Get("/api/v1/connectors/oauth/google-sheets/start")).Is(200);
        Assert.NotEqual(start["state"], second["state"]);
        Assert.NotEqual(query["code_challenge"], Query(new(second["url"]))["code_challenge"]);
        // Nothing is there before the user agrees.
        Assert.Equal("0", (await http.Get("/api/v1/connectors/connections")).Is(200)["total"]);
    }

    [Fact]
    public async Task What_cannot_be_started_is_refused()
    {
        (await http.Get("/api/v1/connectors/oauth/nothing/start")).IsProblem(404, "not_found");
        (await http.Get("/api/v1/connectors/oauth/http/start")).IsProblem(404, "not_found");
        var unknown = (await http.Get("/api/v1/connectors/oauth/github/start")).IsProblem(503, "oauth_not_configured");
        Assert.Contains("Cowork:Connectors:OAuth:github", unknown["detail"], StringComparison.Ordinal);
        (await http.Get("/api/v1/connectors/oauth/google-sheets/start?connection_id=conn_01k9golden0000000000000000")).IsProblem(404, "not_found");
        (await http.Get($"/api/v1/connectors/oauth/google-sheets/start?name={new string('x', 201)}")).IsProblem(422);
        (await http.Get("/api/v1/connectors/oauth/google-sheets/start?name=%20")).IsProblem(422);
        var foreign = await Connected("mine");
        using var stranger = hosts.Host.Client(await hosts.Host.Token($"{org}-stranger", "member"));
        (await stranger.Get($"/api/v1/connectors/oauth/google-sheets/start?connection_id={foreign}")).IsProblem(404, "not_found");
        using var auditor = hosts.Host.Client(await hosts.Host.Token(org, "auditor"));
        (await auditor.Get("/api/v1/connectors/oauth/google-sheets/start")).IsProblem(403, "role_missing");
        (await hosts.Host.Http.Get("/api/v1/connectors/oauth/google-sheets/start")).IsProblem(401);
    }

    [Fact]
    public async Task A_user_who_agrees_has_a_connection_that_works()
    {
        var page = await Finish(await Start("?name=Sales%20%3Cb%3Esheets"));
        Assert.Equal((HttpStatusCode.OK, "text/html"), (page.Status, page.ContentType));
        Assert.Contains("Google Sheets is connected", page.Text, StringComparison.Ordinal);
        Assert.Contains("Sales &lt;b&gt;sheets", page.Text, StringComparison.Ordinal);
        Assert.Contains($"user:ann in {org}", page.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page.Text, StringComparison.OrdinalIgnoreCase);
        Assert.Equal("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", page.Headers.GetValues("Content-Security-Policy").Single());
        Assert.Equal(("no-referrer", "no-store", "nosniff"), (
            page.Headers.GetValues("Referrer-Policy").Single(), page.Headers.CacheControl!.ToString(), page.Headers.GetValues("X-Content-Type-Options").Single()));
        var connection = (await http.Get("/api/v1/connectors/connections")).Is(200).Json.GetProperty("data").EnumerateArray().Single();
        Assert.Equal(
            ("google-sheets", "Sales <b>sheets", "connected"),
            (connection.GetProperty("spec_id").GetString(), connection.GetProperty("name").GetString(), connection.GetProperty("status").GetString()));
        var refreshes = service.Refreshes;
        Assert.Equal("connected", (await http.Post($"/api/v1/connectors/connections/{connection.GetProperty("id").GetString()}/test")).Is(200)["status"]);
        Assert.Equal(refreshes, service.Refreshes);
    }

    [Fact]
    public async Task Any_host_takes_the_answer()
    {
        var location = await service.Agree((await Start())["url"]);
        var page = await other.Get(location.PathAndQuery);
        Assert.Contains("is connected", page.Is(200).Text, StringComparison.Ordinal);
        Assert.Equal("1", (await http.Get("/api/v1/connectors/connections")).Is(200)["total"]);
    }

    [Fact]
    public async Task A_state_is_taken_once_also_when_it_comes_to_two_hosts_at_the_same_time()
    {
        var location = await service.Agree((await Start())["url"]);
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => (i % 2 == 0 ? http : other).Get(location.PathAndQuery)));
        Assert.Single(answers, page => page.Status == HttpStatusCode.OK);
        Assert.All(answers.Where(page => page.Status != HttpStatusCode.OK), page => Assert.Equal(HttpStatusCode.Conflict, page.Status));
        var again = await http.Get(location.PathAndQuery);
        Assert.Contains("This link was used before", again.Is(409).Text, StringComparison.Ordinal);
        Assert.Equal("1", (await http.Get("/api/v1/connectors/connections")).Is(200)["total"]);
    }

    [Fact]
    public async Task An_answer_that_belongs_to_no_request_leads_nowhere()
    {
        var location = await service.Agree((await Start())["url"]);
        var query = Query(location);
        var (state, code) = (query["state"], Uri.EscapeDataString(query["code"]));
        var parts = state.Split('.');
        var foreign = $"{Base64UrlEncoder.Encode($"{org}-stranger")}.{parts[1]}";
        foreach (var wrong in (string[])
            [
                "", $"?code={code}", $"?state={state}", $"?state={foreign}&code={code}", $"?state={parts[0]}.{OAuthClient.NewSecret()}&code={code}", $"?state={parts[1]}&code={code}",
                $"?state={state}x&code={code}", $"?state=%00.%00&code={code}", $"?state={new string('a', 5000)}&code={code}", $"?state={state}&code={code}&error=access_denied",
                $"?state={state}&state={state}&code={code}", $"?state={state}&code={code}&code={code}", $"?state=..&code={code}", $"?state=%3Cscript%3E.x&code={code}",
            ])
        {
            var page = await http.Get($"/api/v1/connectors/oauth/callback{wrong}");
            Assert.Contains("This link leads nowhere", page.Is(400).Text, StringComparison.Ordinal);
        }
        // None of them has used it up.
        Assert.Contains("is connected", (await http.Get(location.PathAndQuery)).Is(200).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_declines_connects_nothing()
    {
        service.Declines = true;
        var pending = (await http.Post("/api/v1/connectors/connections", """{"spec_id":"google-sheets","name":"waits","credentials":{}}""")).Is(201);
        Assert.Equal("pending", pending["status"]);
        var page = await Finish(await Start($"?connection_id={pending["id"]}"));
        Assert.Contains("declined. Nothing was connected.", page.Is(400).Text, StringComparison.Ordinal);
        Assert.DoesNotContain("alert", page.Text, StringComparison.Ordinal);
        Assert.Equal("pending", (await http.Get($"/api/v1/connectors/connections/{pending["id"]}")).Is(200)["status"]);
        var odd = await Start();
        Assert.Contains("<code>unknown_error</code>", (await http.Get($"/api/v1/connectors/oauth/callback?state={odd["state"]}&error=%3Cscript%3E")).Is(400).Text, StringComparison.Ordinal);
        Assert.Equal("1", (await http.Get("/api/v1/connectors/connections")).Is(200)["total"]);
    }

    [Fact]
    public async Task A_connection_that_waits_gets_the_tokens()
    {
        var pending = (await http.Post("/api/v1/connectors/connections", """{"spec_id":"google-sheets","name":"waits","credentials":{}}""")).Is(201);
        (await Finish(await Start($"?connection_id={pending["id"]}"))).Is(200);
        Assert.Equal(("connected", "waits"), (await Of(pending["id"], "status"), await Of(pending["id"], "name")));
    }

    [Fact]
    public async Task A_code_that_the_service_does_not_take_connects_nothing()
    {
        var first = await Start();
        var made = (await http.Get($"/api/v1/connectors/oauth/callback?state={first["state"]}&code=made-up")).Is(502);
        Assert.Contains("127.0.0.1 refuses: invalid_grant.", made.Text, StringComparison.Ordinal);
        // A code that somebody else was given is worth nothing with this verifier.
        var (mine, theirs) = (await Start(), await Start());
        var code = Uri.EscapeDataString(Query(await service.Agree(theirs["url"]))["code"]);
        (await http.Get($"/api/v1/connectors/oauth/callback?state={mine["state"]}&code={code}")).Is(502);
        service.IsAway = true;
        var away = await Start();
        Assert.Contains("answers 503", (await Finish(away)).Is(502).Text, StringComparison.Ordinal);
        Assert.Equal("0", (await http.Get("/api/v1/connectors/connections")).Is(200)["total"]);
    }

    [Fact]
    public async Task A_service_inside_is_not_asked_for_tokens()
    {
        await using var fenced = await LiveHost.Start(settings => settings with { OAuth = new(ImmutableDictionary<string, OAuthProvider>.Empty.Add("google-sheets", service.Provider)) });
        var start = (await fenced.Http.Get("/api/v1/connectors/oauth/google-sheets/start")).Is(200);
        var given = service.Given.Count;
        var page = await fenced.Http.Get((await service.Agree(start["url"])).PathAndQuery);
        Assert.Contains("lies where connections may not reach", page.Is(502).Text, StringComparison.Ordinal);
        Assert.Equal(given, service.Given.Count);
    }

    [Fact]
    public async Task Tokens_are_refreshed_before_they_end_and_the_new_ones_are_kept()
    {
        service.Lifetime = TimeSpan.FromSeconds(10);
        var id = await Connected("short");
        var before = service.Seen.Last();
        service.Lifetime = TimeSpan.FromHours(1);
        var refreshes = service.Refreshes;
        Assert.Equal("connected", await Test(http, id));
        Assert.Equal(refreshes + 1, service.Refreshes);
        Assert.NotEqual(before, service.Seen.Last());
        // The other host knows them.
        Assert.Equal("connected", await Test(other, id));
        Assert.Equal(refreshes + 1, service.Refreshes);
    }

    [Fact]
    public async Task Tokens_that_the_service_takes_no_more_are_refreshed_once()
    {
        var id = await Connected("revoked");
        service.ExpireAll();
        var refreshes = service.Refreshes;
        Assert.Equal("connected", await Test(http, id));
        Assert.Equal(refreshes + 1, service.Refreshes);
        service.RefusesTokens = true;
        var tested = (await http.Post($"/api/v1/connectors/connections/{id}/test")).Is(200);
        Assert.Equal(("error", "Google Sheets refuses the tokens. The authorization has ended there. Start it again for this connection."), (tested["status"], tested["status_detail"]));
        Assert.Equal(refreshes + 2, service.Refreshes);
        Assert.Equal(0, service.Reused);
    }

    [Fact]
    public async Task Of_many_requests_on_two_hosts_one_refreshes()
    {
        var id = await Connected("busy");
        service.ExpireAll();
        var refreshes = service.Refreshes;
        var tested = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => Test(i % 2 == 0 ? http : other, id)));
        Assert.All(tested, status => Assert.Equal("connected", status));
        Assert.Equal((refreshes + 1, 0), (service.Refreshes, service.Reused));
    }

    [Fact]
    public async Task When_the_service_takes_the_refresh_token_no_more_the_user_agrees_again()
    {
        var id = await Connected("ended");
        service.ExpireAll();
        service.RefusesRefresh = true;
        var refreshes = service.Refreshes;
        Assert.Equal("error", await Test(http, id));
        Assert.Equal("The authorization has ended there. Start it again for this connection.", await Of(id, "status_detail"));
        Assert.Equal("error", await Test(other, id));
        Assert.Equal(refreshes + 1, service.Refreshes);
        service.RefusesRefresh = false;
        (await Finish(await Start($"?connection_id={id}"))).Is(200);
        Assert.Equal("connected", await Of(id, "status"));
        Assert.Equal("connected", await Test(other, id));
    }

    [Fact]
    public async Task While_the_service_gives_no_tokens_the_present_ones_work_to_their_end()
    {
        service.Lifetime = TimeSpan.FromSeconds(20);
        var id = await Connected("away");
        service.IsAway = true;
        Assert.Equal("connected", await Test(http, id));
        service.ExpireAll();
        Assert.Equal("error", await Test(http, id));
        Assert.Equal("127.0.0.1 answers 503.", await Of(id, "status_detail"));
        service.IsAway = false;
        Assert.Equal("connected", await Test(other, id));
    }

    [Fact]
    public async Task A_deleted_connection_gives_its_tokens_back_also_to_a_service_that_is_away()
    {
        var first = await Connected("deleted");
        var refresh = service.Given.Last();
        Assert.DoesNotContain(refresh, service.Revoked);
        (await http.Delete($"/api/v1/connectors/connections/{first}")).Is(204);
        await Patience.Until(() => service.Revoked.Contains(refresh));
        var second = await Connected("deleted too");
        var later = service.Given.Last();
        service.IsAway = true;
        (await http.Delete($"/api/v1/connectors/connections/{second}")).Is(204);
        (await http.Get($"/api/v1/connectors/connections/{second}")).IsProblem(404);
        service.IsAway = false;
        await Patience.Until(() => service.Revoked.Contains(later));
        var pending = (await http.Post("/api/v1/connectors/connections", """{"spec_id":"google-sheets","name":"waits","credentials":{}}""")).Is(201);
        (await http.Delete($"/api/v1/connectors/connections/{pending["id"]}")).Is(204);
    }

    [Fact]
    public async Task Tokens_for_a_connection_that_was_deleted_meanwhile_are_given_back()
    {
        var pending = (await http.Post("/api/v1/connectors/connections", """{"spec_id":"google-sheets","name":"waits","credentials":{}}""")).Is(201);
        var start = await Start($"?connection_id={pending["id"]}");
        (await http.Delete($"/api/v1/connectors/connections/{pending["id"]}")).Is(204);
        Assert.Contains("was deleted meanwhile", (await Finish(start)).Is(409).Text, StringComparison.Ordinal);
        Assert.Contains(service.Given.Last(), service.Revoked);
    }

    [Fact]
    public async Task No_token_verifier_or_secret_is_in_an_answer_or_an_event()
    {
        var start = await Start();
        var location = await service.Agree(start["url"]);
        var page = (await http.Get(location.PathAndQuery)).Is(200);
        var list = (await http.Get("/api/v1/connectors/connections")).Is(200);
        var events = (await http.Get("/events?limit=1000")).Is(200);
        Assert.Contains("authorization_requested", events.Text, StringComparison.Ordinal);
        foreach (var secret in service.Given.Append(Query(location)["code"]).Append(start["state"]).Append(start["state"].Split('.')[1]).Append(OAuthServer.ClientSecret))
        {
            foreach (var text in (string[])[page.Text, list.Text, events.Text])
            {
                Assert.DoesNotContain(secret, text, StringComparison.Ordinal);
                Assert.DoesNotContain(Convert.ToBase64String(Encoding.UTF8.GetBytes(secret))[..16], text, StringComparison.Ordinal);
            }
        }
        // The challenge is the digest of what the log keeps encrypted.
        Assert.DoesNotContain(Query(new(start["url"]))["code_challenge"], events.Text, StringComparison.Ordinal);
        Assert.Equal(32, SHA256.HashSizeInBytes);
    }

    async Task<Got> Start(string query = "") => (await http.Get($"/api/v1/connectors/oauth/google-sheets/start{query}")).Is(200);

    async Task<Got> Finish(Got start) => await http.Get((await service.Agree(start["url"])).PathAndQuery);

    async Task<string> Connected(string name)
    {
        (await Finish(await Start($"?name={Uri.EscapeDataString(name)}"))).Is(200);
        return (await http.Get("/api/v1/connectors/connections")).Is(200).Json.GetProperty("data").EnumerateArray()
            .Single(one => one.GetProperty("name").GetString() == name).GetProperty("id").GetString()!;
    }

    static async Task<string> Test(HttpClient by, string id) => (await by.Post($"/api/v1/connectors/connections/{id}/test")).Is(200)["status"];

    async Task<string> Of(string id, string member) => (await http.Get($"/api/v1/connectors/connections/{id}")).Is(200)[member];

    static Dictionary<string, string> Query(Uri url) => Pair().Matches(url.Query).ToDictionary(
        pair => pair.Groups["name"].Value, pair => Uri.UnescapeDataString(pair.Groups["value"].Value.Replace('+', ' ')));

    [GeneratedRegex(@"[?&](?<name>[^=&]+)=(?<value>[^&]*)")]
    private static partial Regex Pair();
}
