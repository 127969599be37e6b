using System.Text;

using Cowork.Testing;

namespace Cowork.Connectors.Tests;

/// <summary>What services with OAuth are asked, in the form that each wants, and what of their answers is taken.</summary>
public sealed class OAuthSpecs
{
    const string ClientSecret = "s3cret/+ &=";

    [Fact]
    public async Task A_code_is_exchanged_in_the_form_that_the_service_wants()
    {
        await using var server = new WebServer(request => request.Answer(200, """{"access_token":"at","refresh_token":"rt","expires_in":3600,"token_type":"Bearer"}"""));
        using var client = new OAuthClient(server.Fence(), TimeProvider.System);
        foreach (var spec in OAuthSpec.All)
        {
            var answer = await client.Exchange(Provider(server, spec), "c&de", "verifier", "https://cowork.example/cb", CancellationToken.None);
            Assert.Equal(new OAuthTokens("at", "rt", TimeSpan.FromHours(1)), answer.Tokens);
        }
        var form = "grant_type=authorization_code&code=c%26de&redirect_uri=https%3A%2F%2Fcowork.example%2Fcb&code_verifier=verifier&client_id=id&client_secret=s3cret%2F%2B+%26%3D";
        var asked = server.Asked.ToDictionary(request => request.Line[(request.Line.IndexOf('/', StringComparison.Ordinal) + 1)..]);
        foreach (var name in (string[])["google-sheets", "github", "slack"])
        {
            Assert.Equal(form, asked[$"{name}/token"].Body);
            Assert.Equal("application/json", asked[$"{name}/token"].Headers["Accept"]);
        }
        Assert.Equal(
            """{"grant_type":"authorization_code","code":"c\u0026de","redirect_uri":"https://cowork.example/cb","code_verifier":"verifier"}""", asked["notion/token"].Body);
        Assert.Equal($"Basic {Convert.ToBase64String(Encoding.UTF8.GetBytes("id:s3cret%2F%2B+%26%3D"))}", asked["notion/token"].Headers["Authorization"]);
        Assert.Equal("2022-06-28", asked["notion/token"].Headers["Notion-Version"]);
    }

    [Fact]
    public async Task Tokens_are_given_back_in_the_form_that_the_service_wants()
    {
        await using var server = new WebServer(request => request.Answer(204, ""));
        using var client = new OAuthClient(server.Fence(), TimeProvider.System);
        foreach (var spec in OAuthSpec.All)
        {
            Assert.Null(await client.Revoke(Provider(server, spec), "at", "rt", CancellationToken.None));
        }
        var asked = server.Asked.ToList();
        Assert.Equal(
            ["POST /google-sheets/revoke", "POST /notion/revoke", "DELETE /github/api/applications/id/grant", "POST /slack/revoke"], asked.Select(request => request.Line));
        Assert.StartsWith("token=rt&token_type_hint=refresh_token&client_id=id", asked[0].Body, StringComparison.Ordinal);
        Assert.Equal("""{"token":"at"}""", asked[1].Body);
        Assert.Equal("""{"access_token":"at"}""", asked[2].Body);
        Assert.StartsWith("Basic ", asked[2].Headers["Authorization"], StringComparison.Ordinal);
        Assert.Equal("Bearer at", asked[3].Headers["Authorization"]);
    }

    [Theory]
    [InlineData(200, false)]
    [InlineData(400, false)]
    [InlineData(404, false)]
    [InlineData(503, true)]
    [InlineData(429, true)]
    public async Task Revocation_is_tried_again_when_the_service_may_do_it_later(int status, bool again)
    {
        await using var server = new WebServer(request => request.Answer(status, "{}"));
        using var client = new OAuthClient(server.Fence(), TimeProvider.System);
        Assert.Equal(again, await client.Revoke(Provider(server, OAuthSpec.All[0]), "at", null, CancellationToken.None) is not null);
    }

    [Theory]
    [InlineData(200, "access_token=at&scope=repo&token_type=bearer", "at", null, null)]
    [InlineData(200, """{"access_token":"at","expires_in":"120"}""", "at", null, 120.0)]
    [InlineData(200, """{"ok":true,"access_token":"xoxb-1","expires_in":1e300}""", "xoxb-1", null, 315_360_000.0)]
    [InlineData(200, """{"access_token":"at","expires_in":-5,"refresh_token":"r t"}""", "at", null, null)]
    [InlineData(200, """{"access_token":"at","access_token":"second"}""", "at", null, null)]
    public async Task An_answer_is_read_as_services_write_it(int status, string body, string access, string? refresh, double? seconds)
    {
        var answer = await Refresh(status, body);
        Assert.Equal(new(access, refresh, seconds is { } s ? TimeSpan.FromSeconds(s) : null), answer.Tokens);
        Assert.Equal("tokens", answer.Tokens!.ToString());
    }

    [Theory]
    [InlineData(400, """{"error":"invalid_grant","error_description":"<script>"}""", true, "it refuses: invalid_grant.")]
    [InlineData(200, """{"error":"bad_verification_code"}""", true, "it refuses: bad_verification_code.")]
    [InlineData(200, """{"ok":false,"error":"invalid_code"}""", true, "it refuses: invalid_code.")]
    [InlineData(400, """{"error":"<script>alert(1)</script>"}""", true, "it refuses: unknown_error.")]
    [InlineData(401, "", true, "it answers 401.")]
    [InlineData(403, "<html>", true, "it answers 403.")]
    [InlineData(500, """{"error":"invalid_grant"}""", false, "it answers 500.")]
    [InlineData(503, "", false, "it answers 503.")]
    [InlineData(429, "", false, "it answers 429.")]
    [InlineData(400, """{"error":"temporarily_unavailable"}""", false, "it answers 400.")]
    [InlineData(302, "", false, "it answers 302.")]
    [InlineData(200, "", false, "it answers without an access token that can be sent.")]
    [InlineData(200, "[]", false, "it answers without an access token that can be sent.")]
    [InlineData(200, """{"access_token":"a\r\nb"}""", false, "it answers without an access token that can be sent.")]
    [InlineData(200, """{"access_token":["at"]}""", false, "it answers without an access token that can be sent.")]
    [InlineData(200, """{"access_token":""}""", false, "it answers without an access token that can be sent.")]
    public async Task An_answer_without_tokens_says_why_and_whether_it_is_final(int status, string body, bool isRefused, string why)
    {
        var answer = await Refresh(status, body);
        Assert.Null(answer.Tokens);
        Assert.Equal((isRefused, why), (answer.IsRefused, answer.WhyNot!.Replace("127.0.0.1", "it", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_token_endpoint_that_never_answers_sends_without_end_or_lies_inside_gives_a_plain_reason()
    {
        var clock = new TestClock();
        await using var silent = new WebServer(request => request.Forever());
        using var waiting = new OAuthClient(silent.Fence(clock), clock);
        var refresh = waiting.Refresh(Provider(silent, OAuthSpec.All[0]), "rt", CancellationToken.None).AsTask();
        await Patience.Until(() => !silent.Asked.IsEmpty);
        clock.Advance(TimeSpan.FromSeconds(15));
        Assert.Equal("127.0.0.1 did not answer in time.", (await refresh).WhyNot);
        await using var endless = new WebServer(async request =>
        {
            await request.Head(200, "application/json");
            while (true)
            {
                await request.Send(new byte[64 * 1024]);
            }
        });
        using var client = new OAuthClient(endless.Fence(), TimeProvider.System);
        Assert.False((await client.Refresh(Provider(endless, OAuthSpec.All[0]), "rt", CancellationToken.None)).IsRefused);
        using var fenced = new OAuthClient(new([], [], TimeProvider.System), TimeProvider.System);
        Assert.Contains("lies where connections may not reach", (await fenced.Refresh(Provider(endless, OAuthSpec.All[0]), "rt", CancellationToken.None)).WhyNot, StringComparison.Ordinal);
        Assert.NotNull(await fenced.Revoke(Provider(endless, OAuthSpec.All[0]), "at", "rt", CancellationToken.None));
    }

    [Fact]
    public void The_address_for_the_browser_has_what_each_service_wants()
    {
        foreach (var spec in OAuthSpec.All)
        {
            var url = OAuthClient.AuthorizeUrl(spec.Usual with { ClientId = "my id" }, "https://cowork.example/cb?x", "st&te", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").AbsoluteUri;
            Assert.StartsWith($"{spec.Usual.Authorize}?response_type=code&client_id=my%20id&redirect_uri=https%3A%2F%2Fcowork.example%2Fcb%3Fx&state=st%26te", url, StringComparison.Ordinal);
            // The example of RFC 7636, appendix B.
            Assert.Contains("&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256", url, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("slack", "GET /conversations.list?limit=5", true)]
    [InlineData("slack", "GET /conversations.history?channel=C1", true)]
    [InlineData("slack", "GET /auth.test", true)]
    [InlineData("slack", "GET /chat.postMessage?channel=C1&text=hello", false)]
    [InlineData("slack", "GET /conversations.archive?channel=C1&x=.list", false)]
    [InlineData("slack", "GET /chat.postMessage/?channel=C1", false)]
    [InlineData("github", "GET /user/repos", true)]
    [InlineData("github", "POST /user/repos", false)]
    public void A_call_that_changes_something_is_no_read_whatever_its_method(string spec, string call, bool isRead) =>
        Assert.Equal(isRead, OAuthSpec.All.Single(known => known.Id == spec).IsRead(HttpCall.Read(call, out _)!));

    [Theory]
    [InlineData("slack", """{"ok":false,"error":"token_expired"}""", true)]
    [InlineData("slack", """{"ok":false,"error":"channel_not_found"}""", false)]
    [InlineData("slack", """{"ok":true}""", false)]
    [InlineData("slack", """["ok"]""", false)]
    [InlineData("slack", """{"ok":fal""", false)]
    [InlineData("github", """{"ok":false,"error":"token_expired"}""", false)]
    public void A_refusal_in_a_body_counts_where_the_service_has_them(string spec, string body, bool isRefusal) =>
        Assert.Equal(isRefusal, OAuthSpec.All.Single(known => known.Id == spec).IsRefusal(body));

    [Fact]
    public void A_registration_never_shows_its_secret() =>
        Assert.DoesNotContain("hush", $"{OAuthSpec.All[0].Usual with { ClientSecret = "hush" }}", StringComparison.Ordinal);

    static async Task<OAuthAnswer> Refresh(int status, string body)
    {
        await using var server = new WebServer(request => request.Answer(status, body, headers: "Location: http://169.254.169.254/"));
        using var client = new OAuthClient(server.Fence(), TimeProvider.System);
        return await client.Refresh(Provider(server, OAuthSpec.All[0]), "rt", CancellationToken.None);
    }

    static OAuthProvider Provider(WebServer server, OAuthSpec spec) => spec.Usual with
    {
        ClientId = "id",
        ClientSecret = ClientSecret,
        Token = new($"{server.Url}/{spec.Id}/token"),
        Revoke = spec.Usual.Revoke is null ? null : new($"{server.Url}/{spec.Id}/revoke"),
        Api = $"{server.Url}/{spec.Id}/api",
    };
}
