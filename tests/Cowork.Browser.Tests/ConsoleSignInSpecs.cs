namespace Cowork.Browser.Tests;

/// <summary>The console of a host in token mode.</summary>
public sealed class ConsoleSignInSpecs(Chromium chromium)
{
    [Fact]
    public async Task A_token_stays_in_the_page_unless_it_is_to_be_kept_and_what_its_roles_may_not_do_is_not_offered()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true });
        var (auditor, member) = (await host.Token("acme", "auditor"), await host.Token("acme", "member"));
        await using (var tab = await ConsoleTab.Open(chromium, host.Url, "runs"))
        {
            tab.Expected = "401";
            await tab["#token"].WaitForAsync();
            await tab.IsForEverybody();
            await tab["#token"].FillAsync("cowork_wrong");
            await tab.Press("Enter");
            await tab.Shows("does not know this token");
            await tab["#token"].FillAsync(member);
            await tab.Press("Enter");
            await tab["h1 >> text=Runs"].WaitForAsync();
            Assert.Equal(
                ["Overview", "Runs", "Compare", "Sessions", "Approvals", "Schedules", "Skills", "Scratchpads", "Files", "Artifacts", "Memories", "Groups", "Works", "Connectors", "Metrics", "Access"],
                await tab[".nav-link"].EvaluateAllAsync<string[]>("links => links.map(link => link.firstChild.textContent)"));
            Assert.DoesNotContain(member, tab.Page.Url, StringComparison.Ordinal);
            Assert.Equal("{}{}", await tab.Page.EvaluateAsync<string>("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"));
            Assert.Empty(await tab.Page.Context.CookiesAsync());
            // What another member makes comes by itself.
            await tab[".nav-link >> text=Skills"].ClickAsync();
            await tab.Shows("No skills yet");
            await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
            using var other = host.Client(await host.Token("acme", "member"));
            (await other.Post("/skills", """{"name":"greet","prompt_template":"/say Hello {name}"}""")).Is(201);
            await tab["tbody tr >> text=greet"].WaitForAsync();
            // A page of the feed is nothing for a member, also by its address.
            await tab.Page.EvaluateAsync("history.pushState({}, '', 'feed'); dispatchEvent(new PopStateEvent('popstate'))");
            await tab.Shows("Not for your role");
            // The page forgets it.
            await tab.Go("runs");
            await tab["#token"].WaitForAsync();
        }
        await using (var tab = await ConsoleTab.Open(chromium, host.Url, ""))
        {
            tab.Expected = "401";
            await tab["#token"].FillAsync(auditor);
            await tab["label >> text=Keep it"].ClickAsync();
            await tab.Press("Enter");
            await tab["h1 >> text=Overview"].WaitForAsync();
            await tab.Go("feed");
            await tab.Shows("none is missing");
            // A token that is taken back ends the stay.
            using var itself = host.Client(auditor);
            using var admin = host.Client(await host.Token("acme", "admin"));
            (await admin.Delete($"/tokens/{(await itself.Get("/me")).Is(200)["token_id"]}")).Is(204);
            await tab.Go("runs");
            await tab["#token"].WaitForAsync();
            Assert.Equal("{}", await tab.Page.EvaluateAsync<string>("JSON.stringify(sessionStorage)"));
        }
    }

    [Fact]
    public async Task What_was_being_written_when_a_token_was_taken_back_waits_for_who_wrote_it()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true });
        using var admin = host.Client(await host.Token("acme", "admin"));
        var first = await host.Token("acme", "member");
        using var member = host.Client(first);
        var session = await member.NewSession();
        await using var tab = await ConsoleTab.Open(chromium, host.Url, $"sessions/{session}");
        tab.Expected = "401";
        await SignIn(first);
        await tab["#message"].FillAsync("half a sentence");
        await Revoke(first);
        var second = await host.Token("acme", "member");
        await SignIn(second);
        await tab.Page.WaitForFunctionAsync("() => document.querySelector('#message')?.value === 'half a sentence'");

        // A dialog waits, too, and no key reaches a page behind the door.
        await tab[".nav-link >> text=Memories"].ClickAsync();
        await tab["dialog button >> text=Leave it"].ClickAsync();
        await tab["h1 >> text=Memories"].WaitForAsync();
        await tab.Press("n");
        await tab["#memory-content"].FillAsync("half a fact");
        await Revoke(second);
        await tab["#token"].WaitForAsync();
        var third = await host.Token("acme", "member");
        await SignIn(third);
        await tab.Page.WaitForFunctionAsync("() => document.querySelector('dialog:modal #memory-content')?.value === 'half a fact'");

        await Revoke(third);
        var another = await admin.Post("/tokens", """{"name":"test","user":"bob","roles":["member"]}""");
        await SignIn(another.Is(201)["token"]);
        await tab["h1 >> text=Memories"].WaitForAsync();
        await tab["[data-state=live] >> visible=true"].First.WaitForAsync();
        Assert.Equal(0, await tab["dialog"].CountAsync());

        async Task SignIn(string token)
        {
            await tab["#token"].FillAsync(token);
            await tab.Press("Enter");
            await tab["#token"].WaitForAsync(new() { State = Microsoft.Playwright.WaitForSelectorState.Detached });
        }

        async Task Revoke(string token)
        {
            using var itself = host.Client(token);
            (await admin.Delete($"/tokens/{(await itself.Get("/me")).Is(200)["token_id"]}")).Is(204);
        }
    }

    [Fact]
    public async Task A_token_that_is_kept_is_of_one_host_where_several_have_one_name_behind_prefixes()
    {
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, ConsoleFiles = Environment.GetEnvironmentVariable("COWORK_CONSOLE_FILES") });
        var token = await host.Token("acme", "member");
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs", "/one", page => page.Context.RouteAsync(
            url => url.StartsWith($"{host.Url}/one/", StringComparison.Ordinal) || url.StartsWith($"{host.Url}/two/", StringComparison.Ordinal),
            route => route.ContinueAsync(new() { Url = host.Url + route.Request.Url[(host.Url.Length + "/one".Length)..] })));
        // The stream is asked for by a worker, whose requests nobody here turns.
        tab.Expected = "401|404";
        await tab["#token"].FillAsync(token);
        await tab["label >> text=Keep it"].ClickAsync();
        await tab.Press("Enter");
        await tab["h1 >> text=Runs"].WaitForAsync();
        await tab.Page.GotoAsync($"{host.Url}/two/console/runs");
        await tab["#token"].WaitForAsync();
        await tab.Page.GotoAsync($"{host.Url}/one/console/runs");
        await tab["h1 >> text=Runs"].WaitForAsync();
    }

    [Fact]
    public async Task People_of_an_authority_sign_in_there_with_a_code_and_come_back_to_the_page_that_they_wanted()
    {
        await using var authority = new SignInAuthority();
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = authority.Settings });
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs?status=failed");
        (tab.Expected, tab.Elsewhere) = ("401", authority.Issuer);
        await tab["button >> text=Sign in"].ClickAsync();
        await tab["h1 >> text=Runs"].WaitForAsync();
        await tab.Shows("ann");
        Assert.Equal($"{host.Url}/console/runs?status=failed", tab.Page.Url);
        Assert.Equal("{}{}", await tab.Page.EvaluateAsync<string>("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"));
        Assert.Empty(authority.Refused);
        // A code that somebody else brings belongs to no attempt of this tab.
        await tab.Go("?code=stolen&state=made-up");
        await tab.Shows("another attempt");
        Assert.Equal($"{host.Url}/console/", tab.Page.Url);
        Assert.Empty(authority.Refused);
    }

    [Fact]
    public async Task A_token_of_the_authority_is_renewed_before_its_end_and_who_signs_out_does_so_there()
    {
        await using var authority = new SignInAuthority { Refreshes = true };
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = authority.Settings });
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "memories", prepare: page => page.Clock.InstallAsync());
        (tab.Expected, tab.Elsewhere) = ("401", authority.Issuer);
        await tab["button >> text=Sign in"].ClickAsync();
        await tab["h1 >> text=Memories"].WaitForAsync();
        await tab.Press("n");
        await tab["#memory-content"].FillAsync("half a fact");
        await tab.Page.RunAndWaitForResponseAsync(() => tab.Page.Clock.FastForwardAsync(250_000), $"{authority.Issuer}/token");
        Assert.Equal((1, "half a fact"), (authority.Renewed, await tab["#memory-content"].InputValueAsync()));
        // Nothing of it is kept outside of the page.
        Assert.Equal("{}{}", await tab.Page.EvaluateAsync<string>("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"));
        await tab.Press("Escape");
        await tab["button >> text=Sign out"].ClickAsync();
        await tab["#token"].WaitForAsync();
        Assert.Equal(["of-ann"], authority.SignedOut);
        Assert.Equal(($"{host.Url}/console/", 0), (tab.Page.Url, authority.Refused.Count));
    }

    [Fact]
    public async Task Who_is_not_let_in_is_told_why()
    {
        await using var authority = new SignInAuthority { Roles = ["gardener"] };
        await using var host = await LiveHost.Start(settings => settings with { TokenMode = true, Oidc = authority.Settings });
        await using var tab = await ConsoleTab.Open(chromium, host.Url, "runs");
        (tab.Expected, tab.Elsewhere) = ("401|403", authority.Issuer);
        await tab["button >> text=Sign in"].ClickAsync();
        await tab.Shows("no_role");
        await tab["#token"].FillAsync("cowork_\u201cpasted");
        await tab.Press("Enter");
        await tab.Shows("A token has no");
        await tab.IsForEverybody();
    }
}
